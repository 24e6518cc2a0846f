/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_rpc - call headers are byte for byte what RFC 5531 says and the same each time; reply
 * headers are understood, refused, or waited for. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/call.h"
#include "../../conn/rpc.h"
#include "../../conn/util.h"

/* Replies as words; a verifier body of verf_len bytes follows its length word (the fifth). */
struct reply_row {
	const char *what;
	uint32_t words[10];
	uint32_t n_words;
	uint32_t verf_len;
	int parsed; /* what rpc_reply_parse() returns for the whole */
	int status;
	uint32_t low, high;
};

static const struct reply_row replies[] = {
	{ "success", { 7, 1, 0, 0, 0, 0 }, 6, .parsed = 0 },
	{ "success, verifier of 5 bytes", { 7, 1, 0, 6, 5, 0 }, 6, .verf_len = 5 },
	{ "success, verifier of 400 bytes", { 7, 1, 0, 6, 400, 0 }, 6, .verf_len = 400 },
	{ "verifier too long", { 7, 1, 0, 6, 401, 0 }, 6, .parsed = -EBADMSG },
	{ "verifier length is negative", { 7, 1, 0, 6, 0x80000000, 0 }, 6, .parsed = -EBADMSG },
	{ "verifier length wraps", { 7, 1, 0, 6, 0xffffffff, 0 }, 6, .parsed = -EBADMSG },
	{ "program unavailable", { 7, 1, 0, 0, 0, 1 }, 6, .status = -EPROTONOSUPPORT },
	{ "version unavailable", { 7, 1, 0, 0, 0, 2, 4, 4 }, 8, .status = -EPROTONOSUPPORT,
	  .low = 4, .high = 4 },
	{ "version unavailable, cut", { 7, 1, 0, 0, 0, 2, 4 }, 7, .parsed = -EAGAIN },
	{ "procedure unavailable", { 7, 1, 0, 0, 0, 3 }, 6, .status = -EOPNOTSUPP },
	{ "garbage arguments", { 7, 1, 0, 0, 0, 4 }, 6, .status = -EIO },
	{ "system error", { 7, 1, 0, 0, 0, 5 }, 6, .status = -EIO },
	{ "accept_stat unknown", { 7, 1, 0, 0, 0, 6 }, 6, .parsed = -EBADMSG },
	{ "RPC version", { 7, 1, 1, 0, 2, 2 }, 6, .status = -EPROTONOSUPPORT, .low = 2, .high = 2 },
	{ "credential refused", { 7, 1, 1, 1, 5 }, 5, .status = -EACCES },
	{ "credential refused, RPCSEC_GSS reason", { 7, 1, 1, 1, 13 }, 5, .status = -EACCES },
	{ "reject_stat unknown", { 7, 1, 1, 2, 0 }, 5, .parsed = -EBADMSG },
	{ "reply_stat unknown", { 7, 1, 2, 0, 0, 0 }, 6, .parsed = -EBADMSG },
	{ "a call, not a reply", { 7, 0, 2, 100003, 3, 0, 0, 0, 0, 0 }, 10, .parsed = -EBADMSG },
	{ "direction unknown", { 7, 2, 0, 0, 0, 0 }, 6, .parsed = -EBADMSG },
	{ "HTTP", { 0x48545450, 0x2f312e31, 0x20343030 }, 3, .parsed = -EBADMSG },
};

static uint32_t build(const struct reply_row *row, uint8_t *record)
{
	uint32_t len = 0;

	for (uint32_t i = 0; i < row->n_words; i++) {
		rpc_write(record + len, row->words[i]);
		len += 4;
		if (i == 4 && row->verf_len) {
			memset(record + len, 0xee, row->verf_len + 3);
			len += row->verf_len + (uint32_t)xdr_pad(row->verf_len);
		}
	}
	return len;
}

/* In memory of exactly len bytes, at an odd address: ASan sees any overread. */
static int parse_exact(const uint8_t *record, uint32_t len, struct rpc_reply *ret)
{
	uint8_t *copy = malloc(len + 1);
	int result;

	assert(copy);
	if (len)
		memcpy(copy + 1, record, len);
	result = rpc_reply_parse(copy + 1, len, ret);
	free(copy);
	return result;
}

static void test_reply(const struct reply_row *row)
{
	uint8_t record[512];
	uint32_t len = build(row, record);
	struct rpc_reply reply = { .xid = 0xdead }, part;
	int result = parse_exact(record, len, &reply);

	assert(result == row->parsed);
	if (result) {
		assert(reply.xid == 0xdead); /* outputs are set on success only */
	} else {
		assert(reply.xid == 7 && reply.status == row->status);
		assert(reply.results_off == len);
		assert(reply.vers_low == row->low && reply.vers_high == row->high);
	}
	/* Still arriving: no answer yet, or already the final one. */
	for (uint32_t have = 0; have < len; have++) {
		int early = parse_exact(record, have, &part);

		assert(early == -EAGAIN || (early == -EBADMSG && result == -EBADMSG));
	}
}

static void test_header_auth_none(void)
{
	static const uint32_t want[] = { 0, 0, 2, 100005, 3, 1, 0, 0, 0, 0 };
	uint32_t head[64], room;
	struct call call;
	uint8_t *args;

	call_init(&call);
	assert(call.class == CALL_IDEMPOTENT && call.size == CALL_SMALL);
	assert(call.deadline_ns == INT64_MAX && !call.payload && !call.head);
	args = call_begin(&call, (uint8_t *)head, sizeof(head), NULL, 100005, 3, 1, &room);
	assert(args == (uint8_t *)head + 44 && room == sizeof(head) - 44 - 16);
	for (unsigned int i = 1; i < ARRAY_SIZE(want); i++)
		assert(rpc_read((uint8_t *)&head[1 + i]) == want[i]);
	rpc_write(args, 0x01020304);
	call_end(&call, 4);
	call_seal(&call);
	assert(call.head_len == 48);
	assert(rpc_read((uint8_t *)&head[0]) == (0x80000000 | 44));
	assert(rpc_read((uint8_t *)&head[1]) == call.xid);
}

static void test_header_auth_sys(uint32_t n_gids)
{
	struct cred cred = { .uid = 1000, .gid = 0xfffffffe, .n_gids = n_gids };
	uint32_t n = n_gids < CRED_MAX_GROUPS ? n_gids : CRED_MAX_GROUPS;
	_Alignas(4) uint8_t head[CALL_HEAD_SMALL], again[CALL_HEAD_SMALL];
	const uint8_t *at = head + 4 + 24;
	struct call call, twin;
	uint32_t room, machine_len;

	for (uint32_t i = 0; i < CRED_MAX_GROUPS; i++)
		cred.gids[i] = 7000 + i;
	call_init(&call);
	call_begin(&call, head, sizeof(head), &cred, 100003, 3, 6, &room);
	machine_len = rpc_read(at + 12);
	assert(machine_len >= 1 && machine_len <= 16);
	assert(rpc_read(at) == 1 && rpc_read(at + 4) <= RPC_AUTH_MAX);
	assert(rpc_read(at + 4) == 8 + ((machine_len + 3) & ~3U) + 12 + 4 * n);
	for (uint32_t i = machine_len; i & 3; i++)
		assert(!at[16 + i]);
	at += 16 + ((machine_len + 3) & ~3U);
	assert(rpc_read(at) == 1000 && rpc_read(at + 4) == 0xfffffffe && rpc_read(at + 8) == n);
	for (uint32_t i = 0; i < n; i++)
		assert(rpc_read(at + 12 + 4 * i) == 7000 + i);
	at += 12 + 4 * n;
	assert(rpc_read(at) == 0 && rpc_read(at + 4) == 0 && at + 8 == head + call.head_len);
	assert(call.head_len <= CALL_HEADER_MAX && room == sizeof(head) - call.head_len - 16);

	call_init(&twin);
	call_begin(&twin, again, sizeof(again), &cred, 100003, 3, 6, &room);
	assert(twin.xid == call.xid + 1);
	assert(!memcmp(head + 8, again + 8, call.head_len - 8)); /* all but the xid */
}

/* The mark counts the payload and its padding; a renewed call differs in its xid only. */
static void test_seal(void)
{
	static const struct { uint32_t payload, padded; } rows[] = {
		{ 0, 0 }, { 1, 4 }, { 3, 4 }, { 4, 4 }, { 1048576, 1048576 }, { 1048573, 1048576 },
	};
	uint32_t head[64], before[64], room;
	struct call call;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		call_init(&call);
		call_begin(&call, (uint8_t *)head, sizeof(head), NULL, 100003, 3, 7, &room);
		call_end(&call, 0);
		call.payload_len = rows[i].payload;
		call_seal(&call);
		assert(rpc_read((uint8_t *)head) == (0x80000000 | (40 + rows[i].padded)));
	}
	memcpy(before, head, sizeof(head));
	call_seal(&call); /* a re-send */
	assert(!memcmp(before, head, call.head_len));
	call_renew(&call);
	call_seal(&call);
	assert(rpc_read((uint8_t *)&head[1]) == call.xid && head[1] != before[1]);
	before[1] = head[1];
	assert(!memcmp(before, head, call.head_len));
}

enum { N_THREADS = 4, N_XIDS = 10000 };

static void *take_xids(void *userdata)
{
	uint32_t *xids = userdata;

	for (int i = 0; i < N_XIDS; i++)
		xids[i] = rpc_next_xid();
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void test_xids_are_unique(void)
{
	static uint32_t xids[N_THREADS * N_XIDS];
	pthread_t threads[N_THREADS];

	for (int i = 0; i < N_THREADS; i++)
		assert(!pthread_create(&threads[i], NULL, take_xids, xids + i * N_XIDS));
	for (int i = 0; i < N_THREADS; i++)
		assert(!pthread_join(threads[i], NULL));
	qsort(xids, N_THREADS * N_XIDS, sizeof(uint32_t), compare);
	for (int i = 1; i < N_THREADS * N_XIDS; i++)
		assert(xids[i] != xids[i - 1]);
}

/* ---- the server's side ------------------------------------------------------------------- */

/* Calls as words, with a credential body of cred_len bytes behind the seventh and eighth. */
struct call_row {
	const char *what;
	uint32_t words[10];
	uint32_t cred_len;
	int parsed;
	enum rpc_verdict verdict;
};

static const struct call_row calls[] = {
	{ "a call", { 7, 0, 2, 100021, 4, 5, 0, 0, 0, 0 }, .cred_len = 0 },
	{ "AUTH_SYS", { 7, 0, 2, 100021, 4, 5, 1, 20, 0, 0 }, .cred_len = 20 },
	{ "AUTH_SYS, 5 bytes", { 7, 0, 2, 100021, 4, 5, 1, 5, 0, 0 }, .cred_len = 8 },
	{ "AUTH_SYS, 400 bytes", { 7, 0, 2, 100021, 4, 5, 1, 400, 0, 0 }, .cred_len = 400 },
	{ "credential too long", { 7, 0, 2, 100021, 4, 5, 1, 401, 0, 0 }, .cred_len = 404, .parsed = -EBADMSG },
	{ "credential not there", { 7, 0, 2, 100021, 4, 5, 1, 24, 0, 0 }, .parsed = -EBADMSG },
	{ "its length wraps", { 7, 0, 2, 100021, 4, 5, 1, 0xffffffff, 0, 0 }, .parsed = -EBADMSG },
	{ "verifier not there", { 7, 0, 2, 100021, 4, 5, 0, 0, 0, 4 }, .parsed = -EBADMSG },
	{ "a reply", { 7, 1, 0, 0, 0, 0, 0, 0, 0, 0 }, .parsed = -EBADMSG },
	{ "RPC version 3", { 7, 0, 3, 100021, 4, 5, 0, 0, 0, 0 }, .verdict = RPC_VERSION_MISMATCH },
	{ "RPCSEC_GSS", { 7, 0, 2, 100021, 4, 5, 6, 0, 0, 0 }, .verdict = RPC_BAD_CRED },
};

static void test_call(const struct call_row *row)
{
	uint8_t record[40 + RPC_AUTH_MAX + 4] = { 0 };
	struct rpc_call call = { 0 };
	uint32_t len = 0;

	for (uint32_t i = 0; i < 10; i++) {
		rpc_write(record + len, row->words[i]);
		len += 4 + (i == 7 ? row->cred_len : 0);
	}
	assert(rpc_call_parse(record, len, &call) == row->parsed);
	if (row->parsed)
		return;
	assert(call.xid == 7 && call.verdict == row->verdict);
	if (call.verdict != RPC_SUCCESS)
		return;
	assert(call.prog == 100021 && call.vers == 4 && call.proc == 5 && call.args_off == len);
	for (uint32_t cut = 0; cut < len; cut++)
		assert(rpc_call_parse(record, cut, &call) == -EBADMSG);
}

/* What the server's side writes, the client's side understands. */
static void test_reply_header(void)
{
	static const int status[] = {
		[RPC_SUCCESS] = 0,
		[RPC_PROG_UNAVAIL] = -EPROTONOSUPPORT,
		[RPC_PROG_MISMATCH] = -EPROTONOSUPPORT,
		[RPC_PROC_UNAVAIL] = -EOPNOTSUPP,
		[RPC_GARBAGE_ARGS] = -EIO,
		[RPC_SYSTEM_ERR] = -EIO,
		[RPC_VERSION_MISMATCH] = -EPROTONOSUPPORT,
		[RPC_BAD_CRED] = -EACCES,
	};
	uint8_t record[RPC_REPLY_HEADER_MAX];
	struct rpc_reply reply;

	for (uint32_t i = 0; i < ARRAY_SIZE(status); i++) {
		uint32_t len = rpc_reply_header(record, 9, (enum rpc_verdict)i, 4);

		assert(len <= sizeof(record) && !rpc_reply_parse(record, len, &reply));
		assert(reply.xid == 9 && reply.status == status[i] && reply.results_off == len);
		if (i == RPC_PROG_MISMATCH)
			assert(reply.vers_low == 4 && reply.vers_high == 4);
	}
}

int main(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(calls); i++) {
		printf("%s\n", calls[i].what);
		test_call(&calls[i]);
	}
	test_reply_header();
	for (unsigned int i = 0; i < ARRAY_SIZE(replies); i++) {
		printf("%s\n", replies[i].what);
		test_reply(&replies[i]);
	}
	test_header_auth_none();
	for (uint32_t n = 0; n <= CRED_MAX_GROUPS + 1; n++)
		test_header_auth_sys(n);
	test_seal();
	test_xids_are_unique();
	return 0;
}
