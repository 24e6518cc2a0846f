/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_nlm4 - calls of the lock manager as they are on the wire, and replies that are cut, too long or
 * senseless. */
#undef NDEBUG
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../../fuse/nlm4.h"

static const struct nlm4_owner owner = { .caller_name = "host", .oh = "mount", .svid = 7 };
static const struct fhandle fh = { .len = 5, .data = { 1, 2, 3, 4, 5 } };

static uint32_t word(const struct call *call, uint32_t from_end)
{
	uint32_t value;

	memcpy(&value, call->head + call->head_len - from_end, sizeof(value));
	return be32toh(value);
}

static uint64_t hyper(const struct call *call, uint32_t from_end)
{
	return (uint64_t)word(call, from_end) << 32 | word(call, from_end - 4);
}

static void begin(struct call *call, uint32_t *head)
{
	call_init(call);
	call->head = (uint8_t *)head;
	call->head_size = CALL_HEAD_SMALL;
}

/* The arguments end with svid, offset, length (of LOCK: reclaim and state behind). */
static void test_arguments(void)
{
	static const struct {
		struct nlm4_range range;
		uint64_t offset, len;
	} rows[] = {
		{ { 0, UINT64_MAX, true }, 0, 0 },
		{ { 10, 19, false }, 10, 10 },
		{ { UINT64_MAX - 1, UINT64_MAX - 1, true }, UINT64_MAX - 1, 1 },
	};
	uint32_t head[CALL_HEAD_SMALL / 4];
	struct call call;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		begin(&call, head);
		assert(!nlm4_unlock_encode(&call, NULL, &fh, &owner, &rows[i].range));
		assert(call.class == CALL_WRITE && word(&call, 20) == 7);
		assert(hyper(&call, 16) == rows[i].offset && hyper(&call, 8) == rows[i].len);
		begin(&call, head);
		assert(!nlm4_lock_encode(&call, NULL, &fh, &owner, &rows[i].range, true, 3));
		assert(call.class == CALL_WRITE && hyper(&call, 24) == rows[i].offset);
		assert(word(&call, 8) == 1 && word(&call, 4) == 3);
		begin(&call, head);
		assert(!nlm4_test_encode(&call, NULL, &fh, &owner, &rows[i].range));
		assert(call.class == CALL_IDEMPOTENT && hyper(&call, 8) == rows[i].len);
	}
}

static void test_no_room(void)
{
	struct nlm4_range range = { 0, 1, true };
	uint32_t head[CALL_HEAD_SMALL / 4];
	struct call call;

	begin(&call, head);
	call.head_size = 80; /* the header is 44 bytes, 16 are kept back */
	assert(nlm4_unlock_encode(&call, NULL, &fh, &owner, &range) == -ENAMETOOLONG);
}

/* In memory of exactly that size, so that a sanitizer sees a byte too far. */
static int decode(const uint32_t *words, uint32_t len, struct nlm4_test *ret_test,
		  enum nlm4_status *ret_status)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct call call;
	int error;

	assert(copy);
	memcpy(copy, words, len);
	call_init(&call);
	call.results = copy;
	call.results_len = len;
	error = ret_test ? nlm4_test_decode(&call, ret_test) : nlm4_status_decode(&call, ret_status);
	free(copy);
	return error;
}

static void test_status(void)
{
	uint32_t good[] = { htobe32(1), 0, htobe32(NLM4_STATUS_BLOCKED) };
	uint32_t senseless[] = { 0, htobe32(NLM4_STATUS_FAILED + 1) };
	uint32_t long_cookie[] = { htobe32(5000), 0, 0 };
	enum nlm4_status status = NLM4_STATUS_GRANTED;

	assert(!decode(good, sizeof(good), NULL, &status) && status == NLM4_STATUS_BLOCKED);
	for (uint32_t len = 0; len < sizeof(good); len++)
		assert(decode(good, len, NULL, &status) == -EBADMSG);
	assert(decode(senseless, sizeof(senseless), NULL, &status) == -EBADMSG);
	assert(decode(long_cookie, sizeof(long_cookie), NULL, &status) == -EBADMSG);
}

static void test_holder(void)
{
	uint32_t denied[] = { 0, htobe32(NLM4_STATUS_DENIED), htobe32(1), htobe32(42), htobe32(2), 0,
			      0, htobe32(100), 0, htobe32(50) };
	struct nlm4_test test;

	assert(!decode(denied, sizeof(denied), &test, NULL));
	assert(test.status == NLM4_STATUS_DENIED && test.svid == 42 && test.holder.exclusive);
	assert(test.holder.start == 100 && test.holder.end == 149);
	for (uint32_t len = 0; len < sizeof(denied); len++)
		assert(decode(denied, len, &test, NULL) == -EBADMSG);
	denied[9] = 0; /* to the end */
	assert(!decode(denied, sizeof(denied), &test, NULL) && test.holder.end == UINT64_MAX);
	denied[8] = denied[9] = 0xffffffff; /* and beyond */
	assert(!decode(denied, sizeof(denied), &test, NULL) && test.holder.end == UINT64_MAX);
	denied[4] = htobe32(2000); /* no such owner handle */
	assert(decode(denied, sizeof(denied), &test, NULL) == -EBADMSG);
}

static void test_errno(void)
{
	assert(nlm4_errno(NLM4_STATUS_GRANTED) == 0);
	assert(nlm4_errno(NLM4_STATUS_DENIED) == -EAGAIN);
	assert(nlm4_errno(NLM4_STATUS_DEADLCK) == -EDEADLK);
	assert(nlm4_errno(NLM4_STATUS_DENIED_NOLOCKS) == -ENOLCK);
	assert(nlm4_errno(NLM4_STATUS_STALE_FH) == -ESTALE);
}

int main(void)
{
	test_arguments();
	test_no_room();
	test_status();
	test_holder();
	test_errno();
	return 0;
}
