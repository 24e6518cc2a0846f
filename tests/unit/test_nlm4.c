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
		assert(!nlm4_lock_encode(&call, NULL, &fh, &owner, &rows[i].range,
					 (struct nlm4_lock_how){ .reclaim = true, .state = 3 }));
		assert(call.class == CALL_WRITE && hyper(&call, 24) == rows[i].offset);
		assert(word(&call, 8) == 1 && word(&call, 4) == 3);
		begin(&call, head);
		assert(!nlm4_cancel_encode(&call, NULL, &fh, &owner, &rows[i].range));
		assert(call.class == CALL_WRITE && hyper(&call, 16) == rows[i].offset);
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

/* ---- what the server calls us for -------------------------------------------------------- */

/* cookie, exclusive, name, file handle, owner, svid, offset, length */
static uint32_t granted_args(uint32_t *words, const char *oh, uint32_t fh_len)
{
	uint32_t n = 0, oh_len = (uint32_t)strlen(oh);

	words[n++] = htobe32(4);
	words[n++] = htobe32(0x01020304);
	words[n++] = htobe32(1);
	words[n++] = htobe32(3);
	memcpy(&words[n++], "nas", 4);
	words[n++] = htobe32(fh_len);
	memset(&words[n], 0xaa, (fh_len + 3) / 4 * 4);
	n += (fh_len + 3) / 4;
	words[n++] = htobe32(oh_len);
	memset(&words[n], 0, (oh_len + 3) / 4 * 4);
	memcpy(&words[n], oh, oh_len);
	n += (oh_len + 3) / 4;
	words[n++] = htobe32(42);
	words[n++] = 0;
	words[n++] = htobe32(100);
	words[n++] = 0;
	words[n++] = htobe32(50);
	return n * 4;
}

static int granted_decode(const uint32_t *words, uint32_t len, struct nlm4_granted *ret_granted)
{
	uint8_t *copy = malloc(len ? len : 1);
	int error;

	assert(copy);
	memcpy(copy, words, len);
	error = nlm4_granted_decode(copy, len, ret_granted);
	free(copy);
	return error;
}

static void test_granted(void)
{
	static const struct {
		const char *oh, *kept;
	} rows[] = {
		{ "fusenfs-1", "fusenfs-1" },
		{ "", "" },
		{ "../../etc", "" },
		{ "a b", "" },
		{ "0123456789012345678901234567890", "0123456789012345678901234567890" },
		{ "01234567890123456789012345678901", "" }, /* longer than any of ours */
	};
	uint32_t words[128], len;
	struct nlm4_granted granted;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		len = granted_args(words, rows[i].oh, 9);
		assert(!granted_decode(words, len, &granted));
		assert(!strcmp(granted.oh, rows[i].kept) && granted.svid == 42 && granted.fh.len == 9);
		assert(granted.range.start == 100 && granted.range.end == 149 && granted.range.exclusive);
		assert(granted.cookie.len == 4 && !memcmp(granted.cookie.data, "\1\2\3\4", 4));
		for (uint32_t cut = 0; cut < len; cut++)
			assert(granted_decode(words, cut, &granted) == -EBADMSG);
	}
	assert(granted_decode(words, granted_args(words, "x", 65), &granted) == -EBADMSG);
	words[0] = htobe32(NLM4_COOKIE_MAX + 1);
	assert(granted_decode(words, sizeof(words), &granted) == -EBADMSG);
}

static void test_granted_answers(void)
{
	struct nlm4_cookie cookie = { .len = 5, .data = { 1, 2, 3, 4, 5 } };
	static const uint8_t reply[] = { 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0, 1 };
	uint8_t results[16];
	uint32_t head[CALL_HEAD_SMALL / 4];
	struct call call;

	assert(nlm4_granted_reply(results, &cookie, false) == 16 && !memcmp(results, reply, 16));
	begin(&call, head);
	assert(!nlm4_granted_res_encode(&call, NULL, &cookie, false));
	assert(!memcmp(call.head + call.head_len - 16, reply, 16));
	cookie.len = NLM4_COOKIE_MAX;
	begin(&call, head);
	assert(!nlm4_granted_res_encode(&call, NULL, &cookie, true));
}

static void test_notify(void)
{
	uint32_t words[] = { htobe32(3), 0, htobe32(7), 1, 2, 3, 4 };
	char name[NLM4_NOTIFY_NAME_MAX];
	uint8_t priv[NLM4_PRIV_LEN];

	memcpy(&words[1], "nas", 4);
	assert(!nlm4_notify_decode((uint8_t *)words, sizeof(words), name, priv));
	assert(!strcmp(name, "nas") && !memcmp(priv, &words[3], sizeof(priv)));
	for (uint32_t cut = 0; cut < sizeof(words); cut++)
		assert(nlm4_notify_decode((uint8_t *)words, cut, name, priv) == -EBADMSG);
	memcpy(&words[1], "n\0s", 4);
	assert(nlm4_notify_decode((uint8_t *)words, sizeof(words), name, priv) == -EBADMSG);
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
	test_granted();
	test_granted_answers();
	test_notify();
	test_errno();
	return 0;
}
