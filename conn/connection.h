/* SPDX-License-Identifier: GPL-2.0-or-later */
/* connection - one TCP connection to the server, or a UDP socket (datagram.h): dial, send queue, receive state,
 * health, abort.
 *
 * PRIVATE to conn/. It belongs to one loop for good and only that loop's thread touches it, but for
 * `load`, which every thread may read to choose a connection (relaxed: stale numbers cost balance,
 * never correctness). The pool above decides what happens to calls; the connection tells it. */
#ifndef CONN_CONNECTION_H
#define CONN_CONNECTION_H

#include <stdatomic.h>

#include "conn.h"
#include "datagram.h"
#include "flight.h"
#include "histogram.h"
#include "policy.h"
#include "record.h"
#include "rescue.h"

TAILQ_HEAD(call_list, call);
LIST_HEAD(xid_bucket, call);

enum { XID_BUCKETS = 64 };

/* What other threads see. */
struct conn_load {
	_Atomic(int) state;                 /* enum conn_state; written by connection_set_state() */
	_Atomic(bool) leaving;              /* no new calls: connection_leave() */
	_Atomic(uint16_t) port;             /* local, of the last socket that was connected */
	_Atomic(uint64_t) bytes_outstanding; /* also added to by whoever hands a call over */
	_Atomic(uint32_t) n_outstanding;
	_Atomic(uint64_t) window;
	_Atomic(uint64_t) rate;
	_Atomic(int64_t) rtt_ns;
	_Atomic(int64_t) waiting_since_ns;  /* an answer is owed and no byte has come since; 0: none owed */
	_Atomic(int64_t) last_rx_ns;        /* outlives the socket */
	_Atomic(int64_t) last_progress_ns;  /* the server's kernel took more of a call on its way */
	_Atomic(uint64_t) bytes_sent, bytes_received, calls_done, reconnects;
	_Atomic(uint64_t) lost, segments;   /* of the present socket, when last looked at: loss.h */
	_Atomic(int) error;
};

struct connection {
	struct pool *pool;
	struct loop *loop;
	unsigned int id;
	struct conn_load load;

	/* The loop thread's. */
	enum conn_state state;
	struct loop_watch watch;      /* fd -1 while CONN_DOWN */
	uint32_t watched;             /* EPOLL* bits */
	struct loop_timer timer;      /* CONN_CONNECTING: limit; CONN_DOWN: next dial */
	unsigned int n_failures;      /* dials since it was last up for long */
	uint16_t local_port;          /* to dial from again; 0: any */
	_Atomic(int) next_port;       /* after connection_leave(): from this one, 0: any other; -1: the same */
	int64_t left_ns;              /* when it was first seen to leave */
	struct pool_addr dialled;     /* where to, last */
	const struct pool_local *from; /* of the pool's, last; NULL: it has none for that family */
	bool strayed;                 /* these were not its own, for that had failed */

	/* Calls that the server may have executed, while the connection is made anew for them: first
	 * from the same address and port to the same, so that the server's duplicate request cache
	 * recognises them (retransmission.md R2 a). Empty once it is up or that has failed. */
	struct call_list replay;
	struct sockaddr_storage replay_from;
	unsigned int n_replay_dials;
	struct sockaddr_storage local, remote; /* under the pool's lock for readers elsewhere */

	struct call_list send_queue;  /* bound, the first one sent in part (send_offset bytes) */
	size_t send_offset;
	struct call_list sent;        /* wholly sent, unanswered, oldest first */
	struct xid_bucket by_xid[XID_BUCKETS]; /* both */
	struct loop_turn_end flush;   /* once per turn in which something was queued */
	unsigned int n_bulk;          /* bound bulk calls */
	unsigned int n_placed;        /* bound calls whose reply may be large enough to be placed */

	struct record_reader reader;
	struct rescue rescue;
	struct call *placing;         /* whose payload the reader is filling */
	int stop_error;               /* errno: lose the connection after this message; 0 */
	const char *stop_reason;

	int64_t state_since_ns;
	const char *last_reason;      /* of the last change for the worse; static text or NULL */
	uint64_t retransmits;         /* TCP's, on sockets that are closed */
	struct histogram latency;     /* of calls of the pool's program that were answered on it */
	_Atomic(int) verdict;         /* enum path_verdict; loop 0 writes it */
	int64_t up_since_ns;          /* CONN_UP first */
	bool told_lost;               /* and not up again since */
	bool has_failed;              /* counted in the pool's n_failed; under its lock */
	struct flight flight;
	struct datagram datagram;
	uint64_t acked;               /* of load.bytes_sent, by the server's kernel, when last looked at */
	int64_t acked_ns;
	int64_t rate_since_ns;        /* start of the rate sample; 0: none running */
	uint64_t rate_bytes;          /* carried since */
	uint64_t warm_bytes;          /* carried before, since the last long pause */
	int64_t rated_ns;             /* end of the last sample */

	struct call probe;            /* NULL, to come up and to stay up */
	bool probing;
	uint8_t probe_head[256];
};

int connection_init(struct connection *conn, struct pool *pool, struct loop *loop, unsigned int id);
/* connection_deinit - the loop has stopped; no calls left. */
void connection_deinit(struct connection *conn);

/* connection_dial - from CONN_DOWN, now. */
void connection_dial(struct connection *conn);
/* connection_lose - reset the socket (RST, so that nothing of it is delivered later), give its calls
 * back to the pool, dial again after a pause. error: errno; reason: static text. */
void connection_lose(struct connection *conn, int error, const char *reason);
/* connection_lose_path - the same, and never again from this port: its path is the suspect. */
void connection_lose_path(struct connection *conn, int error, const char *reason);
/* connection_leave - take no more calls and, once those it has are answered, be dialled anew where the pool says
 * (pool_next_path()). The others carry on. */
void connection_leave(struct connection *conn); /* any thread */
/* connection_is_retired - nconnect was lowered: it is to end, and not to be dialled. */
bool connection_is_retired(const struct connection *conn);
/* connection_give_up_replays - the same ports cannot be had: what became of these calls has to be found out otherwise. */
void connection_give_up_replays(struct connection *conn);
/* connection_suspect - no new calls until a byte comes. */
void connection_suspect(struct connection *conn, const char *reason);
/* connection_send_probe - a NULL call, unless one is under way. */
void connection_send_probe(struct connection *conn);
/* connection_reserve - count a call that is about to be bound; any thread. */
void connection_reserve(struct connection *conn, const struct call *call);
void connection_unreserve(struct connection *conn, const struct call *call);
/* connection_bind - queue a reserved call; it leaves at the end of the turn. CONN_UP only. */
void connection_bind(struct connection *conn, struct call *call);
/* connection_tick - health and deadlines; about eight times a second while anything is bound. */
void connection_tick(struct connection *conn, int64_t now_ns);
/* connection_drain - move every bound call to *list, as at the end of the pool. */
void connection_drain(struct connection *conn, struct call_list *list);
void connection_snapshot(const struct connection *conn, struct policy_conn *ret_conn);

/* connection_waiting_since, connection_set_waiting - load.waiting_since_ns, by its only writer. */
static inline int64_t connection_waiting_since(const struct connection *conn)
{
	return atomic_load_explicit(&conn->load.waiting_since_ns, memory_order_relaxed);
}

static inline void connection_set_waiting(struct connection *conn, int64_t since_ns)
{
	atomic_store_explicit(&conn->load.waiting_since_ns, since_ns, memory_order_relaxed);
}

/* Between connection.c (life and health) and transfer.c (bytes). */

/* transfer_init, transfer_deinit - queues and receive buffer. 0 or -errno. */
int transfer_init(struct connection *conn);
void transfer_deinit(struct connection *conn);
/* transfer_receive - take what the socket has. 1 if it may have more, 0, or -errno with
 * conn->stop_reason set. */
int transfer_receive(struct connection *conn);
/* transfer_tick - what was measured long ago is believed less. */
void transfer_tick(struct connection *conn, int64_t now_ns);
/* transfer_bind - as connection_bind(), in any state with a socket. */
void transfer_bind(struct connection *conn, struct call *call);
/* transfer_is_partly_sent - the kernel has taken some of its bytes, and not the last. */
bool transfer_is_partly_sent(const struct connection *conn, const struct call *call);
/* transfer_unbind - forget a bound call. Not one that was sent in part. */
void transfer_unbind(struct connection *conn, struct call *call);
/* transfer_repeat - queue a wholly sent call again. */
void transfer_repeat(struct connection *conn, struct call *call);
/* transfer_flush - send what is queued; asks for EPOLLOUT when the socket is full. */
int transfer_flush(struct connection *conn);
/* For datagram.c. transfer_has_calls - something is to be sent, once what nobody wants any more is dropped.
 * transfer_sent - the kernel took n bytes of the queue. transfer_received - n bytes came. transfer_message - a
 * whole reply, as record_ops.message. transfer_watch_output - whether to wait for room. */
bool transfer_has_calls(struct connection *conn);
void transfer_sent(struct connection *conn, size_t n);
void transfer_received(struct connection *conn, size_t n);
int transfer_message(struct connection *conn, const uint8_t *bytes, uint32_t len, uint32_t placed);
void transfer_watch_output(struct connection *conn, bool wanted);
void transfer_update_window(struct connection *conn);
/* transfer_reset - the socket is gone: move all calls to *list, start a new stream. */
void transfer_reset(struct connection *conn, struct call_list *list);

#endif
