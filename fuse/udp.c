/* SPDX-License-Identifier: GPL-2.0-or-later */
/* udp - see udp.h. */
#include "udp.h"

#include <errno.h>

#include "../conn/util.h"

enum {
	CALL_ROOM = 24 + 8 + 120 + 8 + 88, /* of a WRITE before its data: header, AUTH_SYS, verifier, arguments */
	LISTING_ROOM = 64,                 /* of a READDIR reply before what its count counts */
	PAGE = 4096, LEAST = 512,
};

uint32_t udp_fits(uint32_t max)
{
	uint32_t room = max > CALL_ROOM ? max - CALL_ROOM : 0, size = LEAST;

	if (room < LEAST)
		return 0;
	if (room >= PAGE)
		return (uint32_t)min_size(room & ~(uint32_t)(PAGE - 1), UDP_TRANSFER_MAX);
	while (size * 2 <= room)
		size *= 2;
	return size;
}

uint32_t udp_fits_listing(uint32_t max)
{
	return max > LISTING_ROOM ? (max - LISTING_ROOM) & ~UINT32_C(3) : 0;
}

static int check_one(const struct fs *fs, const char *name, uint32_t asked, uint32_t max, struct message *error)
{
	const struct options *options = fs->options;

	if (asked <= udp_fits(max) || options->udpfrag)
		return 0;
	message_set(error, MSG_UDP_FRAGMENTS, "%s=%u does not fit into one packet to %s", name, asked,
		    options->source.host);
	options_action(options, error);
	message_why(error, "NFS goes by UDP, and %u bytes fit. Larger datagrams are cut into fragments, which can be "
			   "put together wrongly without being noticed, on fast links within seconds: data is "
			   "corrupted.", udp_fits(max));
	message_try(error, "leave %s out, or use TCP", name);
	message_try(error, "-o udpfrag, where the risk is known (fusenfs(8))");
	return -EMSGSIZE;
}

int udp_check(const struct fs *fs, struct message *error)
{
	const struct options *options = fs->options;
	uint32_t max = pool_datagram_max(fs->pool);
	int bad;

	if (!max)
		return 0;
	if (!udp_fits(max)) {
		message_set(error, MSG_UDP_FRAGMENTS, "packets of %u bytes are too small for NFS over UDP", max);
		options_action(options, error);
		message_try(error, "use TCP");
		return -EMSGSIZE;
	}
	bad = check_one(fs, "rsize", options->rsize, max, error);
	return bad ? bad : check_one(fs, "wsize", options->wsize, max, error);
}

void udp_transfer(const struct fs *fs, struct call *call, uint32_t count, uint32_t largest)
{
	if (count >= largest && pool_datagram_max(fs->pool))
		call->size = CALL_BULK;
}

/* Two connections may say so at once: the smaller one stays. */
static void lower(_Atomic(uint32_t) *size, uint32_t limit)
{
	uint32_t old = atomic_load(size);

	while (limit && old > limit && !atomic_compare_exchange_weak(size, &old, limit))
		;
}

void udp_limit(struct fs *fs)
{
	const struct options *options = fs->options;
	uint32_t max = pool_datagram_max(fs->pool);

	if (!max)
		return;
	lower(&fs->rsize, options->udpfrag && options->rsize ? UDP_TRANSFER_MAX : udp_fits(max));
	lower(&fs->wsize, options->udpfrag && options->wsize ? UDP_TRANSFER_MAX : udp_fits(max));
	lower(&fs->readdirsize, udp_fits_listing(max));
	pool_set_transfer_max(fs->pool, (uint32_t)max_size(fs->rsize, fs->wsize));
}
