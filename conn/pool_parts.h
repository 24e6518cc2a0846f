/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool_parts - what the parts of the pool share: pool.c (making, addresses, the tick), queue.c (the
 * calls that no connection has), server.c (the server's state and the news of connections). */
#ifndef CONN_POOL_PARTS_H
#define CONN_POOL_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "connection.h"
#include "mutex.h"
#include "pool.h"
#include "server.h"
#include "snapshot.h"
#include "steer.h"

/* A loop and what the pool keeps for it; the loop thread's, but for pull_posted. */
struct pool_loop {
	struct pool *pool;
	struct loop *loop;
	struct loop_timer tick;
	bool ticking_fast;
	int64_t tick_due_ns;
	struct loop_task dial;         /* what is down, now */
	_Atomic(bool) dial_posted;
	struct loop_task pull;         /* asked for by another thread */
	_Atomic(bool) pull_posted;
	struct loop_turn_end pull_end; /* asked for by this one */
	_Atomic(bool) retune;          /* dial: options of sockets have changed */
	struct loop_task snapshot, probe; /* asked for by another thread */
	_Atomic(bool) snapshot_posted, probe_posted;
	int64_t snapshot_ns;           /* when it last wrote down what it owns; under snapshots.lock */
	bool snapshot_stale;           /* pool_snapshot()'s */
	struct histogram *latency;     /* by procedure, POOL_MAX_PROCS of them */
	struct call_list delayed;      /* pool_submit_after() */
	unsigned int turn, company;    /* the policy's */
};

/* What the loops have written down (snapshot.h). */
struct snapshots {
	struct mutex lock;             /* guards conns, and every loop's snapshot_ns */
	pthread_cond_t changed;        /* a loop did */
	struct conn_snapshot conns[POOL_MAX_CONNECTIONS];
};

struct pool {
	struct pool_config config; /* constant, but for addrs under lock */
	unsigned int n_loops;
	struct pool_loop loops[POOL_MAX_LOOPS];
	struct connection *conns;  /* room for POOL_MAX_CONNECTIONS; n_slots of them are initialised. Those from
				    * config.n_connections on are retired, or on their way there */
	_Atomic(unsigned int) n_slots;
	_Atomic(uint32_t) transfer_max;
	_Atomic(uint32_t) datagram_max;   /* 0: not known */
	_Atomic(bool) closing;
	_Atomic(bool) stopped;     /* the loops, for good */
	_Atomic(int) server;       /* enum server_state; written by server.c, under lock */
	_Atomic(int64_t) silent_since_ns; /* 0: SERVER_UP */
	_Atomic(unsigned int) n_up;
	_Atomic(bool) suspicious;  /* an answer is overdue somewhere: idle connections are probed, too */

	_Atomic(uint64_t) n_losses;
	_Atomic(uint64_t) n_ambiguous, n_bad_replies, n_resent, n_repeated, n_handed_over;
	_Atomic(bool) said_no_resvport, said_no_srcport;
	_Atomic(uint32_t) said_no_local; /* by index */

	_Atomic(struct connection *) leaving; /* connection_leave(): one at a time */
	_Atomic(bool) sticks;             /* pool_stick() */
	_Atomic(uint64_t) bulk_turn;      /* STRIPE_RR: counts calls */
	_Atomic(uint64_t) bytes_queued;   /* cost of bulk; written under lock */
	_Atomic(int64_t) small_ns;        /* the last small call that counted */
	_Atomic(int64_t) md_until_ns;     /* md connections are kept free */

	struct steer steer;        /* loop 0's */
	struct snapshots snapshots;

	struct mutex lock;         /* guards what follows; no callback and no second lock under it */
	pthread_cond_t changed;    /* a connection came up or failed */
	struct call_list small, bulk;
	_Atomic(unsigned int) n_queued; /* written under lock */
	struct server_watch watch;
	unsigned int n_failed;     /* connections that have failed, since there are addresses */
	int first_error;
};

/* pool_own_loop - the pool_loop of the calling thread, or NULL. */
struct pool_loop *pool_own_loop(struct pool *pool);
/* pool_tick_soon - something is outstanding: tick at TICK_NS, not at leisure. The loop's thread. */
void pool_tick_soon(struct pool_loop *own);
/* pool_n_active - connections that take calls: the first ones. Fewer than were made, after pool_tune(). */
static inline unsigned int pool_n_active(const struct pool *pool)
{
	return atomic_load_explicit(&pool->config.n_connections, memory_order_acquire);
}

static inline unsigned int pool_n_slots(const struct pool *pool)
{
	return atomic_load_explicit(&pool->n_slots, memory_order_acquire);
}

/* pool_is_md - kept for small calls while there are any. */
static inline bool pool_is_md(const struct pool *pool, unsigned int id)
{
	unsigned int n = pool_n_active(pool), n_md = atomic_load(&pool->config.md_connections);

	return n_md < n ? id >= n - n_md : id > 0;
}

/* pool_dial_all - have every loop dial those of its connections that are down. Any thread. */
void pool_dial_all(struct pool *pool);

/* queue_kick_others - what is queued may suit a connection of another loop, now that one of this
 * loop's is not what it was; or those have to tick. queue_pull_all - for own connections. */
void queue_kick_others(struct pool *pool, struct pool_loop *own, bool even_empty);
void queue_pull_all(struct pool_loop *own);
void queue_pull_run(struct loop_task *task);
void queue_pull_end_run(struct loop_turn_end *end);
/* queue_expire - end what has waited too long: queued, or delayed on this loop. */
void queue_expire(struct pool_loop *own, int64_t now_ns);
/* snapshot_run, snapshot_probe_run - a loop's tasks. */
void snapshot_run(struct loop_task *task);
void snapshot_probe_run(struct loop_task *task);
/* queue_finish_all - run done() of all; status: 0 if each has its own. */
void queue_finish_all(struct pool *pool, struct call_list *calls, int status);

#endif
