/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapshot - the pool as people see it: every connection, and how long the server took.
 *
 * PUBLIC. Only a loop touches its sockets, so it is asked, through its inbox, to write down what it owns. A loop
 * that does not come to that in time (it is busy, or stuck) leaves its connections `stale`: with the numbers that
 * every thread can read, and what it wrote down before. Nobody waits longer than he wants to. */
#ifndef CONN_SNAPSHOT_H
#define CONN_SNAPSHOT_H

#include "conn.h"
#include "histogram.h"

/* What steering (steer.h) thinks of a connection's path. */
enum path_verdict {
	PATH_UNTRIED,  /* never moved */
	PATH_MOVING,   /* about to be dialled from another port, to see whether that is better */
	PATH_JUDGING,  /* it was, and what comes of it is being measured */
	PATH_BETTER,   /* it was worth it */
	PATH_SAME,     /* it made no difference */
	PATH_RETURNED, /* it was worse: back to the old port */
};
const char *path_verdict_name(enum path_verdict verdict);

struct conn_snapshot {
	struct conn_info info;
	bool stale;             /* its loop did not answer: what follows is older, or zero */
	bool retired;           /* nconnect was lowered: it takes no more calls */
	bool leaving;           /* it is being moved to another port or address */
	bool md;                /* kept for small calls while there are any */
	int64_t since_ns;       /* when it came into its state */
	const char *reason;     /* static text: why it is not up, or was lost last; may be NULL */
	unsigned int n_calls;   /* on it, sent or not */
	unsigned int n_unsent;  /* of these */
	int64_t oldest_ns;      /* when the oldest of them was given to a connection; 0: there is none */
	int64_t tcp_rtt_ns;     /* the kernel's smoothed round trip; 0: no socket */
	uint64_t retransmits;   /* TCP segments sent again, over all of its sockets */
	enum path_verdict verdict;
};

struct pool_snapshot {
	struct pool_info pool;
	int64_t now_ns;
	int64_t silent_since_ns;      /* pool_silent_since_ns() */
	int64_t last_rx_ns;           /* when a byte last came on any connection; 0: never */
	unsigned int n_loops, n_stale_loops;
	unsigned int n_conns;         /* with those that are retired, but not yet closed */
	struct conn_snapshot conns[POOL_MAX_CONNECTIONS];
	int64_t oldest_queued_ns;     /* of the calls that wait for a connection; 0: there is none */
};

/* pool_snapshot - wait for the loops at most wait_ns. Not on a loop's thread; one thread at a time. */
void pool_snapshot(struct pool *pool, int64_t wait_ns, struct pool_snapshot *ret_snapshot);

/* pool_probe - have every connection that is up send a NULL call; pool_snapshot() tells when a byte came. Never
 * waits. Any thread. */
void pool_probe(struct pool *pool);

enum { POOL_MAX_PROCS = 32 };
/* pool_latency - add how long calls of procedure proc of config.prog took the server, from the first byte sent to
 * the answer; the resolution is a turn of the loop. Any thread. */
void pool_latency(const struct pool *pool, unsigned int proc, struct histogram_sum *sum);
/* pool_conn_latency - the same, of all procedures, over connection id (conn_info) with all of its sockets. */
void pool_conn_latency(const struct pool *pool, unsigned int id, struct histogram_sum *sum);

#endif
