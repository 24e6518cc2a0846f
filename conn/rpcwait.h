/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpcwait - blocking RPC calls for the thread that mounts: no pool, no loop, only poll(2).
 *
 * One call is a race of attempts: the same question to several addresses, or by UDP and by TCP.
 * An attempt starts at its time, or at once when no earlier one is under way any more, so that an
 * address that swallows packets costs a fraction of a second and one that refuses costs nothing.
 * The first attempt whose call succeeds wins and ends the race; what became of the others stays
 * in them, for whoever has to explain why nobody won. UDP calls are sent again, the same bytes,
 * until they are answered.
 *
 * Used by one thread at a time. Nothing outlives race_deinit(). */
#ifndef CONN_RPCWAIT_H
#define CONN_RPCWAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"
#include "record.h"
#include "rpc.h"

enum {
	RPCWAIT_RECORD_MAX = 64 * 1024,
	RPCWAIT_REQUEST_MAX = 2048, /* header, and a path of 1024 bytes */
	RACE_MAX_ATTEMPTS = 2 * POOL_MAX_ADDRS,
};

/* ---- the question ------------------------------------------------------------------------ */

struct rpc_request {
	struct call call;
	uint32_t args_len, args_room;
	uint8_t *args;
	uint8_t bytes[RPCWAIT_REQUEST_MAX] __attribute__((aligned(8))); /* with the record mark */
};

/* request_begin, then the arguments, then request_end. Strings are at most
 * RPCWAIT_REQUEST_MAX - CALL_HEADER_MAX - 64 bytes: the caller checks. */
void request_begin(struct rpc_request *request, const struct cred *cred, uint32_t prog,
		   uint32_t vers, uint32_t proc);
void request_word(struct rpc_request *request, uint32_t word);
void request_string(struct rpc_request *request, const char *string);
void request_end(struct rpc_request *request);

/* ---- the answer -------------------------------------------------------------------------- */

/* A bounded cursor over results. After a failure every further read gives 0 and NULL, so that a
 * decoder may look at `bad` once, before it uses what it has read to find or size anything. */
struct results {
	const uint8_t *at, *end;
	bool bad;
};

uint32_t results_word(struct results *results);
/* results_opaque - variable-length opaque or string of min..max bytes: points into the results. */
const uint8_t *results_opaque(struct results *results, uint32_t min, uint32_t max,
			      uint32_t *ret_len);

/* ---- the race ---------------------------------------------------------------------------- */

enum attempt_state {
	ATTEMPT_IDLE,       /* start_ns is to come */
	ATTEMPT_CONNECTING,
	ATTEMPT_SENDING,
	ATTEMPT_RECEIVING,
	ATTEMPT_DONE,
};

struct attempt {
	/* Set by race_add(). */
	struct pool_addr addr;
	const struct rpc_request *request;
	bool udp;
	int64_t start_ns;

	/* The outcome. */
	int status;             /* 0: answered. -errno: -ETIMEDOUT is silence, -ECONNRESET also the
				 * end of the stream, -EBADMSG bytes that are not RPC */
	bool connected;         /* TCP only */
	bool replied;           /* by RPC; status is then reply.status */
	struct rpc_reply reply;
	uint8_t *results;
	uint32_t results_len;
	uint16_t source_port;
	uint8_t peer_bytes[16]; /* the first ones that came, if any */
	uint32_t n_peer_bytes;

	/* rpcwait.c's. */
	enum attempt_state state;
	int fd;
	bool reserved;          /* source port below 1024 */
	bool garbage;           /* UDP: something came that was no answer */
	uint32_t sent;
	int64_t connected_ns;
	int64_t resend_ns, resend_interval_ns;
	struct record_reader reader;
};

struct race {
	bool resvport;            /* bind to reserved ports where permitted */
	const struct pool_local *locals; /* bind to the first one that fits and can be had; borrowed */
	unsigned int n_locals;    /* 0: the kernel chooses */
	bool no_reply;            /* an attempt has won when the call is sent */
	int64_t connect_until_ns; /* limit of connecting */
	int64_t reply_ns;         /* limit of sending and answering, from when it was connected */
	int64_t deadline_ns;      /* of all */
	int cancel_fd;            /* readable: the race ends, nobody has won; 0: none */
	bool cancelled;           /* outcome: it was */
	int64_t first_connected_ns; /* outcome; 0: none */
	unsigned int n;
	struct attempt attempts[RACE_MAX_ATTEMPTS];
};

/* race_init - every limit is `until_ns`. race_deinit - closes and frees everything. */
void race_init(struct race *race, int64_t until_ns);
void race_deinit(struct race *race);
/* race_add - one more attempt; those beyond RACE_MAX_ATTEMPTS are dropped. The request must live
 * as long as the race. */
void race_add(struct race *race, const struct pool_addr *addr, bool udp,
	      const struct rpc_request *request, int64_t start_ns);
/* race_run - the winner, or NULL when every attempt has failed, time is up or it was cancelled. The
 * losers' sockets are closed. Blocks until connect_until_ns + reply_ns or deadline_ns at most. */
struct attempt *race_run(struct race *race);

#endif
