/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpc - RFC 5531 call and reply headers. The only state is made once, by the first call of the
 * process: where xids start, and the bytes every AUTH_SYS credential begins with. These never
 * change, for a server recognises a re-sent call by its bytes. */
#include "rpc.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/random.h>

#include "util.h"

enum { RPC_VERSION = 2 };
enum { DIRECTION_CALL, DIRECTION_REPLY };
enum { REPLY_ACCEPTED, REPLY_DENIED };
enum { FLAVOR_NONE, FLAVOR_SYS };
enum { REJECT_RPC_MISMATCH, REJECT_AUTH_ERROR };

enum {
	ACCEPT_SUCCESS,
	ACCEPT_PROG_UNAVAIL,
	ACCEPT_PROG_MISMATCH,
	ACCEPT_PROC_UNAVAIL,
	ACCEPT_GARBAGE_ARGS,
	ACCEPT_SYSTEM_ERR,
};

enum {
	FIXED_SIZE = 6 * 4 + 2 * 4 + 2 * 4, /* call header, credential's and verifier's two words */
	MACHINE_MAX = 16,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic(uint32_t) last_xid;
static uint8_t machine[4 + 4 + MACHINE_MAX]; /* stamp, length, host name, zeros */
static uint32_t machine_size;

static void random_words(uint32_t words[2])
{
	if (getrandom(words, 2 * sizeof(words[0]), GRND_NONBLOCK) == 2 * (ssize_t)sizeof(words[0]))
		return;
	words[0] = (uint32_t)hash_bytes(&(int64_t){ clock_ns() }, sizeof(int64_t), getpid());
	words[1] = (uint32_t)time(NULL);
}

static void rpc_init(void)
{
	char name[256] = "";
	uint32_t words[2], len;

	random_words(words);
	atomic_init(&last_xid, words[0]);
	if (gethostname(name, sizeof(name) - 1) < 0 || !name[0])
		memcpy(name, "fusenfs", sizeof("fusenfs"));
	len = (uint32_t)strnlen(name, MACHINE_MAX);
	rpc_write(machine, words[1]);
	rpc_write(machine + 4, len);
	memcpy(machine + 8, name, len);
	machine_size = 8 + len + (uint32_t)xdr_pad(len);
}

uint32_t rpc_next_xid(void)
{
	pthread_once(&once, rpc_init);
	return atomic_fetch_add_explicit(&last_xid, 1, memory_order_relaxed) + 1;
}

static uint8_t *put(uint8_t *at, uint32_t word)
{
	rpc_write(at, word);
	return at + 4;
}

static bool is_none(const struct cred *cred)
{
	return !cred || cred->none;
}

static uint32_t n_groups(const struct cred *cred)
{
	return cred->n_gids < CRED_MAX_GROUPS ? cred->n_gids : CRED_MAX_GROUPS;
}

static uint32_t cred_size(const struct cred *cred)
{
	pthread_once(&once, rpc_init);
	return is_none(cred) ? 0 : machine_size + 3 * 4 + 4 * n_groups(cred);
}

uint32_t rpc_call_header_size(const struct cred *cred)
{
	return FIXED_SIZE + cred_size(cred);
}

static uint8_t *put_cred(uint8_t *at, const struct cred *cred)
{
	at = put(at, is_none(cred) ? FLAVOR_NONE : FLAVOR_SYS);
	at = put(at, cred_size(cred));
	if (is_none(cred))
		return at;
	memcpy(at, machine, machine_size);
	at = put(at + machine_size, cred->uid);
	at = put(at, cred->gid);
	at = put(at, n_groups(cred));
	for (uint32_t i = 0; i < n_groups(cred); i++)
		at = put(at, cred->gids[i]);
	return at;
}

void rpc_call_header(uint8_t *at, uint32_t xid, uint32_t prog, uint32_t vers, uint32_t proc,
		     const struct cred *cred)
{
	at = put(at, xid);
	at = put(at, DIRECTION_CALL);
	at = put(at, RPC_VERSION);
	at = put(at, prog);
	at = put(at, vers);
	at = put(at, proc);
	at = put_cred(at, cred);
	at = put(at, FLAVOR_NONE);
	put(at, 0);
}

/* Both mismatches end with the lowest and the highest version served. */
static int parse_versions(const uint8_t *record, uint32_t len, uint32_t off,
			  struct rpc_reply *reply)
{
	if (len < off + 8)
		return -EAGAIN;
	reply->vers_low = rpc_read(record + off);
	reply->vers_high = rpc_read(record + off + 4);
	reply->results_off = off + 8;
	reply->status = -EPROTONOSUPPORT;
	return 0;
}

static int parse_accepted(const uint8_t *record, uint32_t len, struct rpc_reply *reply)
{
	uint32_t verf_len, off;

	if (len < 20)
		return -EAGAIN;
	verf_len = rpc_read(record + 16);
	if (verf_len > RPC_AUTH_MAX)
		return -EBADMSG;
	off = 20 + verf_len + (uint32_t)xdr_pad(verf_len);
	if (len < off + 4)
		return -EAGAIN;
	reply->results_off = off + 4;
	switch (rpc_read(record + off)) {
	case ACCEPT_SUCCESS:
		reply->status = 0;
		return 0;
	case ACCEPT_PROG_UNAVAIL:
		reply->status = -EPROTONOSUPPORT;
		return 0;
	case ACCEPT_PROG_MISMATCH:
		return parse_versions(record, len, off + 4, reply);
	case ACCEPT_PROC_UNAVAIL:
		reply->status = -EOPNOTSUPP;
		return 0;
	case ACCEPT_GARBAGE_ARGS:
	case ACCEPT_SYSTEM_ERR:
		reply->status = -EIO;
		return 0;
	default:
		return -EBADMSG;
	}
}

static int parse_denied(const uint8_t *record, uint32_t len, struct rpc_reply *reply)
{
	if (len < 16)
		return -EAGAIN;
	switch (rpc_read(record + 12)) {
	case REJECT_RPC_MISMATCH:
		return parse_versions(record, len, 16, reply);
	case REJECT_AUTH_ERROR:
		if (len < 20)
			return -EAGAIN;
		reply->results_off = 20;
		reply->status = -EACCES;
		return 0;
	default:
		return -EBADMSG;
	}
}

int rpc_reply_parse(const uint8_t *record, uint32_t len, struct rpc_reply *ret)
{
	struct rpc_reply reply = { 0 };
	int error;

	if (len < 8)
		return -EAGAIN;
	reply.xid = rpc_read(record);
	if (rpc_read(record + 4) != DIRECTION_REPLY)
		return -EBADMSG;
	if (len < 12)
		return -EAGAIN;
	switch (rpc_read(record + 8)) {
	case REPLY_ACCEPTED:
		error = parse_accepted(record, len, &reply);
		break;
	case REPLY_DENIED:
		error = parse_denied(record, len, &reply);
		break;
	default:
		return -EBADMSG;
	}
	if (!error)
		*ret = reply;
	return error;
}

/* ---- the server's side ------------------------------------------------------------------- */

/* Flavor, length, body at off, of which len is the end. The offset behind it; 0: it does not fit. */
static uint32_t skip_auth(const uint8_t *record, uint32_t len, uint32_t off, uint32_t *ret_flavor)
{
	uint32_t body;

	if (len < off + 8)
		return 0;
	*ret_flavor = rpc_read(record + off);
	body = rpc_read(record + off + 4);
	if (body > RPC_AUTH_MAX || len - off - 8 < body + xdr_pad(body))
		return 0;
	return off + 8 + body + (uint32_t)xdr_pad(body);
}

int rpc_call_parse(const uint8_t *record, uint32_t len, struct rpc_call *ret_call)
{
	uint32_t flavor = 0, verifier = 0, off;
	struct rpc_call call = { 0 };

	if (len < FIXED_SIZE || rpc_read(record + 4) != DIRECTION_CALL)
		return -EBADMSG;
	call.xid = rpc_read(record);
	if (rpc_read(record + 8) != RPC_VERSION) {
		call.verdict = RPC_VERSION_MISMATCH;
		*ret_call = call;
		return 0;
	}
	off = skip_auth(record, len, 24, &flavor);
	if (off)
		off = skip_auth(record, len, off, &verifier);
	if (!off)
		return -EBADMSG;
	if (flavor != FLAVOR_NONE && flavor != FLAVOR_SYS) {
		call.verdict = RPC_BAD_CRED;
		*ret_call = call;
		return 0;
	}
	call.prog = rpc_read(record + 12);
	call.vers = rpc_read(record + 16);
	call.proc = rpc_read(record + 20);
	call.args_off = off;
	*ret_call = call;
	return 0;
}

enum { AUTH_BADCRED = 1 };

static uint8_t *put_denied(uint8_t *at, enum rpc_verdict verdict)
{
	at = put(at, REPLY_DENIED);
	if (verdict == RPC_BAD_CRED) {
		at = put(at, REJECT_AUTH_ERROR);
		return put(at, AUTH_BADCRED);
	}
	at = put(at, REJECT_RPC_MISMATCH);
	at = put(at, RPC_VERSION);
	return put(at, RPC_VERSION);
}

uint32_t rpc_reply_header(uint8_t *at, uint32_t xid, enum rpc_verdict verdict, uint32_t vers)
{
	uint8_t *start = at;

	at = put(at, xid);
	at = put(at, DIRECTION_REPLY);
	if (verdict == RPC_VERSION_MISMATCH || verdict == RPC_BAD_CRED)
		return (uint32_t)(put_denied(at, verdict) - start);
	at = put(at, REPLY_ACCEPTED);
	at = put(at, FLAVOR_NONE);
	at = put(at, 0);
	at = put(at, verdict); /* the numbers are accept_stat's */
	if (verdict == RPC_PROG_MISMATCH) {
		at = put(at, vers);
		at = put(at, vers);
	}
	return (uint32_t)(at - start);
}
