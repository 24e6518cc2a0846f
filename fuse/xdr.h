/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xdr - a cursor over bytes a server sent (RFC 4506). It never reads past the end: the first item
 * that does not fit sets bad and empties the cursor, and everything read from then on is zero, so
 * that a decoder checks once, at its end, and before it follows a length or a count. The bytes may
 * start at any alignment. */
#ifndef FUSE_XDR_H
#define FUSE_XDR_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct xdr_in {
	const uint8_t *next;
	uint32_t left;
	bool bad;
};

static inline void xdr_fail(struct xdr_in *in)
{
	in->left = 0;
	in->bad = true;
}

/* xdr_take - the next n bytes, or NULL if there are fewer. */
static inline const uint8_t *xdr_take(struct xdr_in *in, uint32_t n)
{
	const uint8_t *at = in->next;

	if (in->left < n) {
		xdr_fail(in);
		return NULL;
	}
	in->next += n;
	in->left -= n;
	return at;
}

static inline uint32_t xdr_load_u32(const uint8_t *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof(word));
	return be32toh(word);
}

static inline uint64_t xdr_load_u64(const uint8_t *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return be64toh(word);
}

static inline uint32_t xdr_u32(struct xdr_in *in)
{
	const uint8_t *at = xdr_take(in, 4);

	return at ? xdr_load_u32(at) : 0;
}

static inline uint64_t xdr_u64(struct xdr_in *in)
{
	const uint8_t *at = xdr_take(in, 8);

	return at ? xdr_load_u64(at) : 0;
}

/* xdr_bool - any value but 0 is true, as for the kernel's client. */
static inline bool xdr_bool(struct xdr_in *in)
{
	return xdr_u32(in) != 0;
}

/* xdr_opaque - variable-length data: *ret_len is min..max, or the cursor goes bad. NULL if bad. */
static inline const uint8_t *xdr_opaque(struct xdr_in *in, uint32_t min, uint32_t max,
					uint32_t *ret_len)
{
	uint32_t len = xdr_u32(in);
	const uint8_t *at;

	if (in->bad || len < min || len > max) {
		xdr_fail(in);
		return NULL;
	}
	at = xdr_take(in, len);
	if (at)
		xdr_take(in, -len & 3);
	if (in->bad)
		return NULL;
	*ret_len = len;
	return at;
}

#endif
