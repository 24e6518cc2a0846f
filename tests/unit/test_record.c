/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_record - however a stream is cut into receives, the same records come out; what breaks the
 * rules of RFC 5531 section 11 or a limit breaks the stream.
 *
 * A record tells in its first words how it wants to be received, so that the same stream can be
 * checked against its own bytes whatever way the reader took. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/record.h"
#include "../../conn/rpc.h"
#include "../../conn/util.h"

enum {
	RECORD_MAX = 80 * 1024,
	STREAM_MAX = 512 * 1024,
	RECORDS_MAX = 512,
	PREFIX = 12, /* words: how, head_len, payload_len */
};

enum how { GATHER = 1, PLACE, STOP };

struct expected {
	uint32_t off, len; /* in plain[] */
};

/* A stream, and its records without marks. */
struct stream {
	uint32_t len, plain_len;
	unsigned int n;
	struct expected records[RECORDS_MAX];
	uint8_t bytes[STREAM_MAX], plain[STREAM_MAX];
};

struct receiver {
	struct record_reader reader;
	const struct stream *stream;
	unsigned int n;                /* records handed out */
	unsigned int n_placed;
	unsigned int n_begun;
	bool forget;                   /* the payload, as soon as it is being placed */
	bool forgotten;
	bool placing;
	uint8_t payload[RECORD_MAX];
};

static struct stream stream;
static struct receiver receiver;

/* ---- building a stream ------------------------------------------------------------------- */

static uint32_t seed = 1;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return below ? (uint32_t)(((uint64_t)seed * below) >> 32) : 0;
}

static void stream_clear(void)
{
	stream.len = stream.plain_len = stream.n = 0;
}

static void put_word(uint32_t word)
{
	assert(stream.len + 4 <= STREAM_MAX);
	rpc_write(stream.bytes + stream.len, word);
	stream.len += 4;
}

static struct expected *add_plain(enum how how, uint32_t len, uint32_t head_len,
				  uint32_t payload_len)
{
	struct expected *record = &stream.records[stream.n++];
	uint8_t prefix[PREFIX];

	assert(stream.n <= RECORDS_MAX && stream.plain_len + len <= STREAM_MAX);
	*record = (struct expected){ stream.plain_len, len };
	rpc_write(prefix, (uint32_t)how);
	rpc_write(prefix + 4, head_len);
	rpc_write(prefix + 8, payload_len);
	for (uint32_t i = 0; i < len; i++)
		stream.plain[record->off + i] =
			i < PREFIX ? prefix[i] : (uint8_t)(i * 7 + stream.n);
	stream.plain_len += len;
	return record;
}

static void put_fragment(const struct expected *record, uint32_t from, uint32_t n, bool last)
{
	put_word((last ? RPC_LAST_FRAGMENT : 0) | n);
	assert(stream.len + n <= STREAM_MAX);
	if (n)
		memcpy(stream.bytes + stream.len, stream.plain + record->off + from, n);
	stream.len += n;
}

static void add(enum how how, uint32_t len, uint32_t head_len, uint32_t payload_len)
{
	put_fragment(add_plain(how, len, head_len, payload_len), 0, len, true);
}

/* A record in fragments of at most `piece` bytes; empty ones before, between and behind. */
static void add_fragments(uint32_t len, uint32_t piece, bool with_empty)
{
	const struct expected *record = add_plain(GATHER, len, 0, 0);
	uint32_t from = 0, n;

	do {
		if (with_empty)
			put_fragment(record, from, 0, false);
		n = (uint32_t)min_size(piece, len - from);
		put_fragment(record, from, n, from + n == len && !with_empty);
		from += n;
	} while (from < len);
	if (with_empty)
		put_fragment(record, from, 0, true);
}

/* ---- receiving it ------------------------------------------------------------------------ */

static int message(struct record_reader *reader, const uint8_t *bytes, uint32_t len,
		   uint32_t placed)
{
	const struct expected *record = &receiver.stream->records[receiver.n];
	const uint8_t *plain = receiver.stream->plain + record->off;

	assert(reader == &receiver.reader && receiver.n < receiver.stream->n);
	receiver.n++;
	if (placed) {
		assert(receiver.placing && rpc_read(plain) == PLACE);
		assert(len == rpc_read(plain + 4) && placed == rpc_read(plain + 8));
		assert(receiver.forgotten || !memcmp(receiver.payload, plain + len, placed));
		receiver.n_placed++;
	} else if (!receiver.placing) {
		assert(len == record->len);
	}
	if (len)
		assert(!memcmp(bytes, plain, len));
	receiver.placing = receiver.forgotten = false;
	return len >= 4 && rpc_read(plain) == STOP ? -ESTALE : 0;
}

static int begin(struct record_reader *reader, const uint8_t *bytes, uint32_t have, uint32_t len,
		 struct placement *ret_where)
{
	assert(reader == &receiver.reader && have < len && len >= RECORD_PLACE_MIN);
	assert(len == receiver.stream->records[receiver.n].len);
	receiver.n_begun++;
	if (have < PREFIX)
		return 0;
	if (rpc_read(bytes) != PLACE)
		return -ENOTSUP;
	if (have < rpc_read(bytes + 4))
		return 0;
	ret_where->head_len = rpc_read(bytes + 4);
	ret_where->payload_len = rpc_read(bytes + 8);
	ret_where->payload = receiver.payload;
	receiver.placing = true;
	return 1;
}

static const struct record_ops ops = { .message = message, .begin = begin };

static void receiver_start(void)
{
	struct record_reader reader = receiver.reader;

	receiver = (struct receiver){ .stream = &stream };
	receiver.reader = reader;
	record_reset(&receiver.reader);
}

/* n bytes of the stream at most, as one recvmsg(2) would put them. Returns how many, or -errno. */
static int feed(uint32_t from, uint32_t n, uint32_t lookahead)
{
	struct iovec iov[2];
	int n_iov = record_iov(&receiver.reader, lookahead, iov), error;
	uint32_t taken = 0;

	assert(n_iov == 1 || n_iov == 2);
	assert(iov[n_iov - 1].iov_len > 0);
	n = (uint32_t)min_size(n, stream.len - from);
	for (int i = 0; i < n_iov; i++) {
		uint32_t part = (uint32_t)min_size(n - taken, iov[i].iov_len);

		if (part)
			memcpy(iov[i].iov_base, stream.bytes + from + taken, part);
		taken += part;
	}
	error = record_advance(&receiver.reader, taken);
	if (receiver.forget && receiver.placing && !receiver.forgotten) {
		record_forget_payload(&receiver.reader);
		receiver.forgotten = true;
		memset(receiver.payload, 0xee, sizeof(receiver.payload));
	}
	return error ? error : (int)taken;
}

/* Everything from `from` to `to` in receives of at most `piece` bytes. 0 or -errno. */
static int feed_range(uint32_t from, uint32_t to, uint32_t piece, uint32_t lookahead)
{
	while (from < to) {
		int n = feed(from, (uint32_t)min_size(piece, to - from), lookahead);

		if (n < 0)
			return n;
		from += (uint32_t)n;
	}
	return 0;
}

static void expect_all(uint32_t piece, uint32_t lookahead)
{
	receiver_start();
	assert(!feed_range(0, stream.len, piece, lookahead));
	assert(receiver.n == stream.n);
}

static void expect_break(int error, unsigned int n)
{
	static const uint32_t pieces[] = { 1, 3, 1000, STREAM_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		receiver_start();
		assert(feed_range(0, stream.len, pieces[i], 0) == error);
		assert(receiver.n == n);
	}
}

/* Every cut in two (or at every step-th byte), each half as it fits. */
static void expect_all_cuts(uint32_t step)
{
	static const uint32_t lookaheads[] = { 0, RECORD_LOOKAHEAD };

	for (size_t i = 0; i < ARRAY_SIZE(lookaheads); i++) {
		for (uint32_t cut = 0; cut <= stream.len; cut += step) {
			receiver_start();
			assert(!feed_range(0, cut, STREAM_MAX, lookaheads[i]));
			assert(!feed_range(cut, stream.len, STREAM_MAX, lookaheads[i]));
			assert(receiver.n == stream.n);
		}
		expect_all(1, lookaheads[i]);
		expect_all(STREAM_MAX, lookaheads[i]);
	}
}

/* ---- tests ------------------------------------------------------------------------------- */

static void test_small(void)
{
	stream_clear();
	add(GATHER, 0, 0, 0);
	add(GATHER, 1, 0, 0);
	add(GATHER, 24, 0, 0);
	add(GATHER, 3, 0, 0);
	add(GATHER, 100, 0, 0);
	expect_all_cuts(1);
	/* Every cut in three, too. */
	for (uint32_t a = 0; a <= stream.len; a++)
		for (uint32_t b = a; b <= stream.len; b++) {
			receiver_start();
			assert(!feed_range(0, a, STREAM_MAX, 0));
			assert(!feed_range(a, b, STREAM_MAX, 0));
			assert(!feed_range(b, stream.len, STREAM_MAX, 0));
			assert(receiver.n == stream.n);
		}
	assert(!receiver.n_begun); /* small records are not asked about */
}

static void test_fragments(void)
{
	stream_clear();
	add_fragments(40, 7, false);
	add(GATHER, 20, 0, 0);
	add_fragments(33, 11, true);
	add_fragments(0, 1, true); /* a record of nothing but empty fragments */
	add_fragments(0, 1, false);
	add_fragments(5, 1, false);
	add(GATHER, 8, 0, 0);
	expect_all_cuts(1);
}

/* The sizes around each limit, placed and gathered. */
static void test_large(void)
{
	static const uint32_t lens[] = { RECORD_PLACE_MIN - 1, RECORD_PLACE_MIN,
					 RECORD_PLACE_MIN + 1 };

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		stream_clear();
		add(GATHER, 10, 0, 0);
		add(GATHER, lens[i], 0, 0);
		add(PLACE, lens[i], 128, lens[i] - 128 - 3);
		add(GATHER, 10, 0, 0);
		expect_all_cuts(13);
	}
}

static void test_placed(void)
{
	stream_clear();
	add(PLACE, RECORD_PLACE_MIN + 5, 40, RECORD_PLACE_MIN - 40);
	expect_all_cuts(1);

	/* As large as heads may be; no payload; no tail; a large tail. */
	stream_clear();
	add(PLACE, 20000, RECORD_HEAD_MAX, 20000 - RECORD_HEAD_MAX);
	add(PLACE, 20000, 100, 0);
	add(PLACE, 20000, 100, 19900);
	add(PLACE, 20000, 100, 7);
	expect_all_cuts(101);
	receiver_start();
	assert(!feed_range(0, stream.len, 1400, RECORD_LOOKAHEAD));
	assert(receiver.n == 4 && receiver.n_placed == 3); /* one has no payload */

	/* With little read ahead, payloads are placed even if everything is there at once. */
	receiver_start();
	assert(!feed_range(0, stream.len, STREAM_MAX, RECORD_LOOKAHEAD));
	assert(receiver.n_placed == 3);
}

/* The payload goes straight to its place: the receive that brings it has it as its first iovec. */
static void test_placed_directly(void)
{
	struct iovec iov[2];

	stream_clear();
	add(PLACE, 60000, 100, 59896);
	receiver_start();
	assert(feed(0, 500, RECORD_LOOKAHEAD) == 500);
	assert(record_iov(&receiver.reader, RECORD_LOOKAHEAD, iov) == 2);
	assert((uint8_t *)iov[0].iov_base == receiver.payload + 500 - 4 - 100);
	assert(iov[0].iov_len == 59896 - (500 - 4 - 100));
	assert(iov[1].iov_len == RECORD_LOOKAHEAD);
	/* Thrown away, it takes the whole buffer at a time. */
	record_forget_payload(&receiver.reader);
	receiver.forgotten = true;
	assert(record_iov(&receiver.reader, RECORD_LOOKAHEAD, iov) == 1);
	assert(iov[0].iov_len > 50000);
	assert(!feed_range(500, stream.len, STREAM_MAX, RECORD_LOOKAHEAD) && receiver.n == 1);
}

/* A small record that has begun is received to its end, whatever the lookahead. */
static void test_small_whole(void)
{
	struct iovec iov[2];

	stream_clear();
	add(GATHER, 9000, 0, 0);
	receiver_start();
	assert(feed(0, RECORD_LOOKAHEAD, RECORD_LOOKAHEAD) == RECORD_LOOKAHEAD);
	assert(record_iov(&receiver.reader, RECORD_LOOKAHEAD, iov) == 1);
	assert(iov[0].iov_len == 9004 - RECORD_LOOKAHEAD);
}

static void test_forget(void)
{
	stream_clear();
	add(PLACE, 30000, 60, 29900);
	add(GATHER, 50, 0, 0);
	add(PLACE, 30000, 60, 29900);
	for (uint32_t first = 200; first < 30004; first += 977) {
		receiver_start();
		receiver.forget = true;
		assert(!feed_range(0, first, STREAM_MAX, 0));
		assert(receiver.forgotten);
		receiver.forget = false;
		assert(!feed_range(first, stream.len, 5000, RECORD_LOOKAHEAD));
		assert(receiver.n == 3 && receiver.n_placed == 2);
	}
	/* Nothing was written after it was forgotten. */
	receiver_start();
	receiver.forget = true;
	assert(!feed_range(0, 29900, 1000, 0));
	for (size_t i = 0; i < sizeof(receiver.payload); i++)
		assert(receiver.payload[i] == 0xee);
}

static void test_limits(void)
{
	stream_clear();
	add(GATHER, RECORD_MAX, 0, 0);
	add(GATHER, 4, 0, 0);
	expect_all_cuts(997);

	stream_clear();
	add(GATHER, 4, 0, 0);
	put_word(RPC_LAST_FRAGMENT | (RECORD_MAX + 1));
	expect_break(-EBADMSG, 1);

	stream_clear();
	put_word(0xffffffff);
	expect_break(-EBADMSG, 0);

	/* The sum of the fragments counts. */
	stream_clear();
	add_fragments(RECORD_MAX, 20000, false);
	expect_all(1000, 0);
	stream_clear();
	put_fragment(add_plain(GATHER, RECORD_MAX, 0, 0), 0, RECORD_MAX, false);
	put_word(RPC_LAST_FRAGMENT | 1);
	expect_break(-EBADMSG, 0);

	/* So does their number: a stream of empty ones ends. */
	stream_clear();
	for (int i = 0; i <= RECORD_FRAGMENTS_MAX; i++)
		put_word(0);
	expect_break(-EBADMSG, 0);
	stream_clear();
	add_fragments(RECORD_FRAGMENTS_MAX, 1, false);
	expect_all(500, 0);
}

/* A placement that does not fit its record breaks the stream, not the memory. */
static void test_bad_placement(void)
{
	static const struct {
		uint32_t len, head_len, payload_len;
	} rows[] = {
		{ 20000, RECORD_HEAD_MAX + 1, 100 },
		{ 20000, 100, 19901 },
		{ 20000, 100, 0xffffffff },
		{ 20000, 1000, 0xfffffc18 }, /* the sum wraps to 0 */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		stream_clear();
		add(PLACE, rows[i].len, rows[i].head_len, rows[i].payload_len);
		receiver_start();
		assert(feed_range(0, 10000, 3000, 0) == -EBADMSG);
		assert(!receiver.n);
	}
}

/* One whose begin() never knows enough is gathered. */
static void test_undecided(void)
{
	stream_clear();
	add(PLACE, 20000, 5000, 100);
	expect_all(700, 0);
	assert(!receiver.n_placed);
}

static void test_stop(void)
{
	stream_clear();
	add(GATHER, 30, 0, 0);
	add(STOP, 30, 0, 0);
	add(GATHER, 30, 0, 0);
	expect_break(-ESTALE, 2);
	/* And from the start again, as for a new stream. */
	stream_clear();
	add(GATHER, 30, 0, 0);
	expect_all_cuts(1);
}

/* ---- against chance ---------------------------------------------------------------------- */

static void add_random(void)
{
	uint32_t len, head_len, piece;

	switch (rnd(4)) {
	case 0:
		add(GATHER, rnd(300), 0, 0);
		break;
	case 1:
		add(GATHER, rnd(RECORD_MAX / 2), 0, 0);
		break;
	case 2:
		len = RECORD_PLACE_MIN + rnd(20000);
		head_len = PREFIX + rnd(500);
		add(PLACE, len, head_len, rnd(len - head_len + 1));
		break;
	default:
		len = rnd(rnd(2) ? 100 : 30000);
		piece = 1 + len / (1 + rnd(20));
		add_fragments(len, piece, rnd(2));
		break;
	}
}

static void test_random(void)
{
	for (int round = 0; round < 300; round++) {
		uint32_t largest = rnd(2) ? 200 : 70000;
		uint32_t from = 0;

		stream_clear();
		for (uint32_t i = 1 + rnd(10); i > 0; i--)
			add_random();
		receiver_start();
		while (from < stream.len) {
			uint32_t most = 1 + rnd(largest);
			int n;

			receiver.forget = rnd(50) == 0;
			n = feed(from, most, rnd(2) ? RECORD_LOOKAHEAD : 0);
			assert(n > 0);
			from += (uint32_t)n;
		}
		assert(receiver.n == stream.n);
	}
}

int main(void)
{
	assert(!record_init(&receiver.reader, &ops, RECORD_MAX));
	test_small();
	test_fragments();
	test_large();
	test_placed();
	test_placed_directly();
	test_small_whole();
	test_forget();
	test_limits();
	test_bad_placement();
	test_undecided();
	test_stop();
	test_random();
	record_deinit(&receiver.reader);
	puts("record: ok");
	return 0;
}
