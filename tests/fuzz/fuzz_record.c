/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_record - an arbitrary stream in arbitrary pieces gives the records that a reassembler of
 * twenty lines finds in it, and breaks where that one does.
 *
 * The first byte of the input is the size of the pieces, the second the lookahead. A record whose
 * first byte is odd has its payload placed. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/record.h"
#include "../../conn/rpc.h"
#include "../../conn/util.h"

enum { FUZZ_RECORD_MAX = 96 * 1024, HEAD = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is still to come, as the reference sees it, and the record it expects next. */
struct reference {
	const uint8_t *at, *end;
	uint8_t record[FUZZ_RECORD_MAX];
	uint32_t len;
	bool placing;
	uint8_t payload[FUZZ_RECORD_MAX];
};

static struct reference reference;

/* 1: reference.record is whole. 0: the stream ends before. -EBADMSG: it is broken. */
static int reference_next(void)
{
	unsigned int n_fragments = 0;
	uint32_t mark, n;

	reference.len = 0;
	do {
		if (reference.end - reference.at < 4)
			return 0;
		mark = rpc_read(reference.at);
		n = mark & ~RPC_LAST_FRAGMENT;
		if (n > FUZZ_RECORD_MAX - reference.len)
			return -EBADMSG;
		/* One whole fragment is not counted. */
		if (++n_fragments > RECORD_FRAGMENTS_MAX)
			return -EBADMSG;
		if ((size_t)(reference.end - reference.at) - 4 < n)
			return 0;
		if (n)
			memcpy(reference.record + reference.len, reference.at + 4, n);
		reference.len += n;
		reference.at += 4 + n;
	} while (!(mark & RPC_LAST_FRAGMENT));
	return 1;
}

static int message(struct record_reader *reader UNUSED, const uint8_t *bytes, uint32_t len,
		   uint32_t placed)
{
	assert(reference_next() == 1);
	if (!reference.placing) {
		assert(!placed && len == reference.len);
		assert(!len || !memcmp(bytes, reference.record, len));
		return 0;
	}
	reference.placing = false;
	assert(len == HEAD && placed == (reference.len - HEAD) / 2);
	assert(!memcmp(bytes, reference.record, len));
	assert(!memcmp(reference.payload, reference.record + len, placed));
	return 0;
}

static int begin(struct record_reader *reader UNUSED, const uint8_t *bytes, uint32_t have,
		 uint32_t len, struct placement *ret_where)
{
	assert(len >= RECORD_PLACE_MIN && len <= FUZZ_RECORD_MAX && have < len);
	if (have < HEAD)
		return 0;
	if (!(bytes[0] & 1))
		return -ENOTSUP;
	*ret_where = (struct placement){ HEAD, reference.payload, (len - HEAD) / 2 };
	reference.placing = true;
	return 1;
}

static const struct record_ops ops = { .message = message, .begin = begin };

/* 0 or -errno. *ret_left: bytes not fed when it broke. */
static int feed(struct record_reader *reader, const uint8_t *bytes, size_t n, size_t piece,
		uint32_t lookahead)
{
	struct iovec iov[2];
	int error = 0;

	while (n > 0 && !error) {
		size_t left = min_size(n, piece), taken = 0;
		int n_iov = record_iov(reader, lookahead, iov);

		for (int i = 0; i < n_iov; i++) {
			size_t part = min_size(left - taken, iov[i].iov_len);

			if (part)
				memcpy(iov[i].iov_base, bytes + taken, part);
			taken += part;
		}
		assert(taken > 0);
		bytes += taken;
		n -= taken;
		error = record_advance(reader, taken);
	}
	return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record_reader reader;
	int error, expected;

	if (size < 2)
		return 0;
	reference.at = data + 2;
	reference.end = data + size;
	reference.placing = false;
	assert(!record_init(&reader, &ops, FUZZ_RECORD_MAX));
	error = feed(&reader, data + 2, size - 2, data[0] < 128 ? 1U + data[0] : 64U * data[0],
		     16U * data[1]);
	/* No record is left that the reader has not handed out. */
	expected = reference_next();
	assert(error == 0 || error == -EBADMSG);
	assert(expected == (error ? -EBADMSG : 0));
	record_deinit(&reader);
	return 0;
}

#include "replay.h"
