/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool - N connections on L loops, and the calls that none of them has.
 *
 * A call is bound as late as possible: at once to the connection that can finish it soonest, else it
 * waits in the pool's queue and a connection takes it when it has room (small calls before bulk).
 * The queue is shared and locked; bound calls belong to their connection's loop and are not.
 *
 * Lost work is looked for in two places: a connection that has room pulls, and every loop's tick
 * (TICK_NS while anything is outstanding or a connection is not up) pulls and expires. */
#include "conn.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "addr.h"
#include "call.h"
#include "connection.h"
#include "mutex.h"
#include "pool.h"
#include "util.h"

enum { BROKEN_MAX = 3 }; /* connections that may break with EBADMSG under one call */

static const int64_t TICK_NS = 250 * NS_PER_MS;
static const int64_t IDLE_TICK_NS = 10 * NS_PER_S;
static const int64_t RESOLVE_EVERY_NS = 5 * NS_PER_S;

/* A loop and what the pool keeps for it; the loop thread's, but for pull_posted. */
struct pool_loop {
	struct pool *pool;
	struct loop *loop;
	struct loop_timer tick;
	bool ticking_fast;
	struct loop_task start;
	struct loop_task pull;         /* asked for by another thread */
	_Atomic(bool) pull_posted;
	struct loop_turn_end pull_end; /* asked for by this one */
	struct call_list delayed; /* pool_submit_after() */
	unsigned int turn;        /* the policy's */
};

struct pool {
	struct pool_config config; /* constant, but for addrs under lock */
	unsigned int n_loops;
	struct pool_loop loops[POOL_MAX_LOOPS];
	struct connection *conns;  /* config.n_connections of them */
	_Atomic(uint32_t) transfer_max;
	_Atomic(bool) closing;
	_Atomic(int) server;       /* enum server_state; written under lock */
	_Atomic(unsigned int) n_up;

	_Atomic(uint64_t) n_ambiguous, n_bad_replies, n_resent, n_repeated, n_handed_over;
	_Atomic(bool) said_no_resvport;

	struct mutex lock;         /* guards what follows; no callback and no second lock under it */
	pthread_cond_t changed;    /* a connection came up or failed */
	struct call_list small, bulk;
	_Atomic(unsigned int) n_queued; /* written under lock */
	int64_t no_conn_since_ns;
	bool was_up;               /* ever */
	int64_t down_since_ns;     /* for the outage told with POOL_SERVER_UP */
	int64_t resolved_ns;
	struct resolver *resolver;
	unsigned int n_failed;     /* connections whose first dial failed */
	int first_error;
};

const struct pool_config *pool_config_of(const struct pool *pool)
{
	return &pool->config;
}

uint32_t pool_transfer_max(const struct pool *pool)
{
	return atomic_load_explicit(&pool->transfer_max, memory_order_relaxed);
}

void pool_set_transfer_max(struct pool *pool, uint32_t bytes)
{
	atomic_store_explicit(&pool->transfer_max, bytes, memory_order_relaxed);
}

unsigned int pool_n_loops(const struct pool *pool)
{
	return pool->n_loops;
}

struct loop *pool_loop(struct pool *pool, unsigned int index)
{
	return pool->loops[index].loop;
}

enum server_state pool_server_state(const struct pool *pool)
{
	return (enum server_state)atomic_load_explicit(&pool->server, memory_order_acquire);
}

/* The pool_loop of the calling thread, or NULL. */
static struct pool_loop *own_loop(struct pool *pool)
{
	struct loop *loop = loop_current();

	if (!loop || loop_index(loop) >= pool->n_loops)
		return NULL;
	return pool->loops[loop_index(loop)].loop == loop ? &pool->loops[loop_index(loop)] : NULL;
}

static void tell(struct pool *pool, struct pool_event *event)
{
	event->n_up = atomic_load(&pool->n_up);
	if (pool->config.event)
		pool->config.event(pool->config.userdata, event);
}

/* ---- done -------------------------------------------------------------------------------- */

void pool_finish(struct pool *pool, struct call *call)
{
	if (call->status && call->ambiguous)
		atomic_fetch_add_explicit(&pool->n_ambiguous, 1, memory_order_relaxed);
	call->state = CALL_IDLE;
	call->done(call);
}

static void finish_all(struct pool *pool, struct call_list *calls, int status)
{
	struct call *call;

	while ((call = TAILQ_FIRST(calls))) {
		TAILQ_REMOVE(calls, call, link);
		if (status)
			call_fail(call, status);
		pool_finish(pool, call);
	}
}

static bool is_cancelled(const struct call *call)
{
	return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

void call_cancel(struct call *call)
{
	atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
}

/* ---- choosing ---------------------------------------------------------------------------- */

static int pick(struct pool *pool, const struct call *call, struct pool_loop *own)
{
	struct policy_conn conns[POOL_MAX_CONNECTIONS];
	unsigned int n = pool->config.n_connections;

	for (unsigned int i = 0; i < n; i++)
		connection_snapshot(&pool->conns[i], &conns[i]);
	return policy_pick(conns, n, call->size, call->cost, own ? loop_index(own->loop) : UINT32_MAX,
			   own ? own->turn++ : call->xid);
}

/* Have a loop look at the queue. */
static void kick(struct pool *pool, struct loop *loop, struct pool_loop *own)
{
	struct pool_loop *target = &pool->loops[loop_index(loop)];

	if (target == own)
		loop_at_turn_end(loop, &target->pull_end);
	else if (!atomic_exchange(&target->pull_posted, true))
		loop_post(loop, &target->pull);
}

/* What is queued may suit a connection of another loop, now that one of this loop's is not what it
 * was. */
static void kick_others(struct pool *pool, struct pool_loop *own)
{
	if (!atomic_load(&pool->n_queued))
		return;
	for (unsigned int i = 0; i < pool->config.n_connections; i++)
		if (pool->conns[i].loop != own->loop &&
		    atomic_load(&pool->conns[i].load.state) == CONN_UP)
			kick(pool, pool->conns[i].loop, own);
}

static void tick_soon(struct pool_loop *own)
{
	if (own->ticking_fast)
		return;
	own->ticking_fast = true;
	loop_timer_set(own->loop, &own->tick, loop_now_ns(own->loop) + TICK_NS);
}

static struct call_list *queue_for(struct pool *pool, const struct call *call)
	REQUIRES(pool->lock)
{
	return call->size == CALL_SMALL ? &pool->small : &pool->bulk;
}

static void enqueue(struct pool *pool, struct call *call, bool front)
{
	mutex_lock(&pool->lock);
	call->state = CALL_QUEUED;
	if (front)
		TAILQ_INSERT_HEAD(queue_for(pool, call), call, link);
	else
		TAILQ_INSERT_TAIL(queue_for(pool, call), call, link);
	atomic_fetch_add(&pool->n_queued, 1);
	mutex_unlock(&pool->lock);
}

/* After enqueue(): a connection may have got room since none was found, and pulled before. */
static void wake_for_queue(struct pool *pool, const struct call *like, struct pool_loop *own)
{
	int i = pick(pool, like, own);

	if (i >= 0)
		kick(pool, pool->conns[i].loop, own);
}

static void hand_over_run(struct loop_task *task);

static void give(struct pool *pool, struct call *call, struct connection *conn,
		 struct pool_loop *own)
{
	connection_reserve(conn, call);
	call->conn = conn;
	if (own && conn->loop == own->loop) {
		connection_bind(conn, call);
		tick_soon(own);
		return;
	}
	atomic_fetch_add_explicit(&pool->n_handed_over, 1, memory_order_relaxed);
	call->state = CALL_MOVING;
	call->hand_over.run = hand_over_run;
	loop_post(conn->loop, &call->hand_over);
}

/* Bind, hand over or queue; never fails. Bulk does not overtake bulk that is queued: whoever submits
 * in done() would take the room that the answered call has just left, for ever. */
static void route(struct pool *pool, struct call *call, bool front)
{
	struct pool_loop *own = own_loop(pool);
	struct call like = { .size = call->size, .cost = call->cost, .xid = call->xid };
	bool waits = !front && call->size == CALL_BULK && atomic_load(&pool->n_queued);
	int i = waits ? POLICY_QUEUE : pick(pool, call, own);

	if (i >= 0) {
		give(pool, call, &pool->conns[i], own);
		return;
	}
	enqueue(pool, call, front);
	/* The call may be done by now: only its likeness is looked at. */
	wake_for_queue(pool, &like, own);
	if (own)
		tick_soon(own);
	else
		kick(pool, pool->loops[0].loop, NULL);
}

static void hand_over_run(struct loop_task *task)
{
	struct call *call = container_of(task, struct call, hand_over);
	struct connection *conn = call->conn;
	struct pool *pool = call->pool;

	if (atomic_load(&pool->closing)) {
		connection_unreserve(conn, call);
		call_fail(call, -ECONNABORTED);
		pool_finish(pool, call);
	} else if (is_cancelled(call)) {
		connection_unreserve(conn, call);
		call_fail(call, -EINTR);
		pool_finish(pool, call);
		pool_pull(pool, conn); /* it leaves room */
	} else if (conn->state == CONN_UP) {
		connection_bind(conn, call);
		tick_soon(&pool->loops[loop_index(conn->loop)]);
	} else {
		connection_unreserve(conn, call);
		route(pool, call, true);
	}
}

static int start(struct pool *pool, struct call *call)
{
	if (atomic_load_explicit(&pool->closing, memory_order_acquire))
		return -ECONNABORTED;
	if (!pool->config.hard && pool_server_state(pool) == SERVER_DOWN)
		return -EHOSTDOWN;
	call_seal(call);
	call->cost = call->head_len + call->payload_len + call->reply_max;
	route(pool, call, false);
	return 0;
}

/* As before its first submission. */
static void clear(struct pool *pool, struct call *call)
{
	call->pool = pool;
	call->status = 0;
	call->ambiguous = call->sent = call->resent = false;
	call->n_broken = 0;
	call->results = NULL;
	call->results_len = call->placed_len = 0;
	call->sent_ns = 0;
	call->n_sent = call->n_repeats = 0;
	atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
}

int pool_submit(struct pool *pool, struct call *call)
{
	clear(pool, call);
	return start(pool, call);
}

/* ---- later ------------------------------------------------------------------------------- */

static void delay_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct call *call = container_of(timer, struct call, delay);
	struct pool *pool = call->pool;
	struct pool_loop *own = &pool->loops[loop_index(call->loop)];
	int error;

	TAILQ_REMOVE(&own->delayed, call, link);
	if (is_cancelled(call))
		error = -EINTR;
	else if (call->deadline_ns <= now_ns)
		error = -ETIMEDOUT;
	else
		error = start(pool, call);
	if (!error)
		return;
	call_fail(call, error);
	pool_finish(pool, call);
}

/* A cancelled call does not wait for its time. */
static void expire_delayed(struct pool_loop *own, int64_t now_ns)
{
	struct call *call, *next;

	/* done() may add to the end, and no more than that. */
	for (call = TAILQ_FIRST(&own->delayed); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (!is_cancelled(call))
			continue;
		loop_timer_cancel(own->loop, &call->delay);
		delay_expired(&call->delay, now_ns);
	}
}

int pool_submit_after(struct pool *pool, struct call *call, int64_t delay_ns)
{
	struct pool_loop *own = own_loop(pool);
	int64_t at_ns;

	if (!own || atomic_load(&pool->closing))
		return -ECONNABORTED;
	clear(pool, call);
	call->state = CALL_DELAYED;
	call->loop = own->loop;
	call->delay = (struct loop_timer){ .expired = delay_expired };
	TAILQ_INSERT_TAIL(&own->delayed, call, link);
	at_ns = min_i64(loop_now_ns(own->loop) + delay_ns, call->deadline_ns);
	loop_timer_set(own->loop, &call->delay, at_ns);
	tick_soon(own);
	return 0;
}

/* ---- the queue --------------------------------------------------------------------------- */

/* The next call this connection may take now, or NULL. */
static struct call *dequeue(struct pool *pool, const struct policy_conn *conn, bool others_up)
{
	struct call *call;

	mutex_lock(&pool->lock);
	call = TAILQ_FIRST(&pool->small);
	if (!call) {
		call = TAILQ_FIRST(&pool->bulk);
		if (call && !policy_has_room(conn, call->cost, others_up))
			call = NULL;
	}
	if (call) {
		TAILQ_REMOVE(queue_for(pool, call), call, link);
		atomic_fetch_sub(&pool->n_queued, 1);
	}
	mutex_unlock(&pool->lock);
	return call;
}

static bool others_are_up(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->config.n_connections; i++)
		if (!pool->conns[i].md &&
		    atomic_load_explicit(&pool->conns[i].load.state, memory_order_relaxed) == CONN_UP)
			return true;
	return false;
}

void pool_pull(struct pool *pool, struct connection *conn)
{
	struct policy_conn snapshot;
	struct call *call;

	while (conn->state == CONN_UP && atomic_load(&pool->n_queued)) {
		connection_snapshot(conn, &snapshot);
		call = dequeue(pool, &snapshot, others_are_up(pool));
		if (!call)
			return;
		if (is_cancelled(call)) {
			call_fail(call, -EINTR);
			pool_finish(pool, call);
			continue;
		}
		give(pool, call, conn, &pool->loops[loop_index(conn->loop)]);
	}
}

/* Own connections, the least loaded first: one call each in turn would need a merge for no gain. */
static void pull_all(struct pool_loop *own)
{
	struct pool *pool = own->pool;

	for (unsigned int i = loop_index(own->loop); i < pool->config.n_connections;
	     i += pool->n_loops)
		pool_pull(pool, &pool->conns[i]);
}

static void pull_run(struct loop_task *task)
{
	struct pool_loop *own = container_of(task, struct pool_loop, pull);

	atomic_store(&own->pull_posted, false);
	if (atomic_load(&own->pool->closing))
		return;
	pull_all(own);
	tick_soon(own);
}

static void pull_end_run(struct loop_turn_end *end)
{
	pull_all(container_of(end, struct pool_loop, pull_end));
}

static void take_expired(struct pool *pool, struct call_list *queue, int64_t now_ns,
			 struct call_list *expired) REQUIRES(pool->lock)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(queue); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call->deadline_ns > now_ns && !is_cancelled(call))
			continue;
		TAILQ_REMOVE(queue, call, link);
		atomic_fetch_sub(&pool->n_queued, 1);
		call_fail(call, is_cancelled(call) ? -EINTR : -ETIMEDOUT);
		TAILQ_INSERT_TAIL(expired, call, link);
	}
}

static void expire_queued(struct pool *pool, int64_t now_ns)
{
	struct call_list expired = TAILQ_HEAD_INITIALIZER(expired);

	if (!atomic_load(&pool->n_queued))
		return;
	mutex_lock(&pool->lock);
	take_expired(pool, &pool->small, now_ns, &expired);
	take_expired(pool, &pool->bulk, now_ns, &expired);
	mutex_unlock(&pool->lock);
	finish_all(pool, &expired, 0);
}

/* What the end of its connection means for a call: 0 if it goes on, else the status it ends with. */
static int fate(struct call *call, int error, int64_t now_ns)
{
	bool sent = call->n_sent > 0;

	if (is_cancelled(call))
		return -EINTR;
	if (policy_lost(call->class, sent) == POLICY_AMBIGUOUS || call->deadline_ns <= now_ns)
		return -ETIMEDOUT;
	if (error == EBADMSG && sent && ++call->n_broken >= BROKEN_MAX)
		return -EIO;
	return 0;
}

unsigned int pool_reroute(struct pool *pool, struct call_list *calls, int error)
{
	int64_t now_ns = clock_ns();
	unsigned int n = 0;
	struct call *call;
	int status;

	while ((call = TAILQ_LAST(calls, call_list))) {
		TAILQ_REMOVE(calls, call, link);
		status = fate(call, error, now_ns);
		if (status) {
			call_fail(call, status);
			pool_finish(pool, call);
			continue;
		}
		if (call->n_sent) {
			call->resent = true;
			atomic_fetch_add_explicit(&pool->n_resent, 1, memory_order_relaxed);
		}
		call->sent = false;
		route(pool, call, true);
		n++;
	}
	return n;
}

void pool_count_repeat(struct pool *pool)
{
	atomic_fetch_add_explicit(&pool->n_repeated, 1, memory_order_relaxed);
}

void pool_repeat(struct pool *pool, struct call *call)
{
	call->n_repeats++;
	pool_count_repeat(pool);
	route(pool, call, true);
}

/* ---- the server's state ------------------------------------------------------------------ */

static unsigned int count_up(struct pool *pool)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < pool->config.n_connections; i++) {
		int state = atomic_load_explicit(&pool->conns[i].load.state, memory_order_acquire);

		n += state == CONN_UP || state == CONN_SUSPECT;
	}
	return n;
}

/* The only writer of pool->server. Tells the owner about a change. */
static void update_server(struct pool *pool, int64_t now_ns)
{
	struct pool_event event = { 0 };
	enum server_state old, new;
	unsigned int n_up;

	mutex_lock(&pool->lock);
	n_up = count_up(pool);
	old = pool_server_state(pool);
	if (n_up || old == SERVER_UP)
		pool->no_conn_since_ns = now_ns;
	new = policy_server(n_up, now_ns, pool->no_conn_since_ns, pool->config.grace_ns);
	if (old == SERVER_UP && new != SERVER_UP)
		pool->down_since_ns = now_ns;
	event.reconnected = pool->was_up;
	pool->was_up = pool->was_up || new == SERVER_UP;
	event.outage_ns = new == SERVER_UP ? now_ns - pool->down_since_ns : 0;
	atomic_store(&pool->n_up, n_up);
	atomic_store_explicit(&pool->server, (int)new, memory_order_release);
	mutex_unlock(&pool->lock);
	if (old == new)
		return;
	event.type = new == SERVER_UP	     ? POOL_SERVER_UP :
		     new == SERVER_WAITING ? POOL_SERVER_WAITING :
					       POOL_SERVER_DOWN;
	tell(pool, &event);
}

static void note_waiters(struct pool *pool, const struct connection *conn, int error)
{
	mutex_lock(&pool->lock);
	if (error && conn->n_failures == 1) {
		pool->n_failed++;
		if (!pool->first_error)
			pool->first_error = error;
	}
	pthread_cond_broadcast(&pool->changed);
	mutex_unlock(&pool->lock);
}

void pool_conn_changed(struct pool *pool, struct connection *conn, enum conn_state old, int error,
		       const char *reason, unsigned int n_moved)
{
	struct pool_event event = {
		.type = conn->state == CONN_UP ? POOL_CONN_UP : POOL_CONN_DOWN,
		.reconnected = atomic_load_explicit(&conn->load.reconnects, memory_order_relaxed) > 0,
		.conn = conn->id,
		.error = error,
		.reason = reason,
		.n_moved = n_moved,
		.remote = conn->remote,
		.local = conn->local,
	};

	if (atomic_load(&pool->closing))
		return;
	update_server(pool, clock_ns());
	tick_soon(&pool->loops[loop_index(conn->loop)]);
	kick_others(pool, &pool->loops[loop_index(conn->loop)]);
	if (conn->state == CONN_SUSPECT)
		return;
	if (old == CONN_SUSPECT && conn->state == CONN_UP) {
		pool_pull(pool, conn);
		return;
	}
	note_waiters(pool, conn, error);
	if (old != CONN_CONNECTING || conn->state == CONN_UP || conn->n_failures == 1)
		tell(pool, &event); /* not every further dial that fails */
	if (conn->state == CONN_UP)
		pool_pull(pool, conn);
}

void pool_bad_reply(struct pool *pool, struct connection *conn, const char *what)
{
	struct pool_event event = {
		.type = POOL_BAD_REPLY, .conn = conn->id, .reason = what, .remote = conn->remote
	};

	atomic_fetch_add_explicit(&pool->n_bad_replies, 1, memory_order_relaxed);
	tell(pool, &event);
}

void call_bad_reply(struct call *call, const char *what)
{
	struct connection *conn = call->conn;

	conn->stop_error = EBADMSG;
	conn->stop_reason = what;
	pool_bad_reply(conn->pool, conn, what);
}

void pool_no_resvport(struct pool *pool, struct connection *conn, int error)
{
	struct pool_event event = { .type = POOL_NO_RESVPORT, .conn = conn->id, .error = error };

	if (!atomic_exchange(&pool->said_no_resvport, true))
		tell(pool, &event);
}

/* ---- addresses --------------------------------------------------------------------------- */

struct pool_addr pool_next_address(struct pool *pool, struct connection *conn)
{
	struct pool_addr addr;

	mutex_lock(&pool->lock);
	addr = pool->config.addrs[(conn->id + conn->n_dials++) % pool->config.n_addrs];
	conn->remote = addr.sa;
	mutex_unlock(&pool->lock);
	return addr;
}

void pool_conn_addresses(struct pool *pool, struct connection *conn)
{
	struct sockaddr_storage local = { 0 }, remote = { 0 };
	socklen_t len = sizeof(local);

	getsockname(conn->watch.fd, (struct sockaddr *)&local, &len);
	len = sizeof(remote);
	getpeername(conn->watch.fd, (struct sockaddr *)&remote, &len);
	conn->local_port = sockaddr_port(&local);
	mutex_lock(&pool->lock);
	conn->local = local;
	conn->remote = remote;
	mutex_unlock(&pool->lock);
}

static void resolved(void *userdata, int error, const struct pool_addr *addrs, unsigned int n)
{
	struct pool *pool = userdata;

	mutex_lock(&pool->lock);
	pool->resolver = NULL;
	pool->resolved_ns = clock_ns();
	if (!error && n) {
		memcpy(pool->config.addrs, addrs, n * sizeof(addrs[0]));
		pool->config.n_addrs = n;
	}
	mutex_unlock(&pool->lock);
}

/* Loop 0 resolves for all, so that one answer at a time is awaited. */
void pool_dial_failed(struct pool *pool, struct loop *loop)
{
	struct resolver *resolver = NULL;
	bool wanted;

	if (!pool->config.host || loop_index(loop) != 0)
		return;
	mutex_lock(&pool->lock);
	wanted = !pool->resolver && clock_ns() - pool->resolved_ns >= RESOLVE_EVERY_NS;
	mutex_unlock(&pool->lock);
	if (!wanted || resolve_async(pool->config.host, pool->config.family,
				     (uint16_t)atoi(pool->config.service), loop, resolved, pool,
				     &resolver))
		return;
	mutex_lock(&pool->lock);
	pool->resolver = resolver;
	mutex_unlock(&pool->lock);
}

/* ---- the tick ---------------------------------------------------------------------------- */

/* Whether this loop has anything that time can change. */
static bool is_busy(struct pool_loop *own)
{
	struct pool *pool = own->pool;

	if (atomic_load(&pool->n_queued) || !TAILQ_EMPTY(&own->delayed))
		return true;
	for (unsigned int i = loop_index(own->loop); i < pool->config.n_connections;
	     i += pool->n_loops) {
		struct connection *conn = &pool->conns[i];

		if (conn->state != CONN_UP || conn->waiting_since_ns)
			return true;
	}
	return false;
}

static void tick_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct pool_loop *own = container_of(timer, struct pool_loop, tick);
	struct pool *pool = own->pool;

	for (unsigned int i = loop_index(own->loop); i < pool->config.n_connections;
	     i += pool->n_loops)
		connection_tick(&pool->conns[i], now_ns);
	expire_delayed(own, now_ns);
	expire_queued(pool, now_ns);
	pull_all(own);
	kick_others(pool, own);
	update_server(pool, now_ns);
	own->ticking_fast = is_busy(own);
	loop_timer_set(own->loop, timer, now_ns + (own->ticking_fast ? TICK_NS : IDLE_TICK_NS));
}

/* ---- opening ----------------------------------------------------------------------------- */

static unsigned int default_loops(unsigned int n_connections)
{
	cpu_set_t cpus;
	unsigned int n = 2;

	if (!sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) > 2)
		n = (unsigned int)CPU_COUNT(&cpus);
	return (unsigned int)min_size(min_size(n, n_connections), POOL_MAX_LOOPS);
}

/* On the loop's thread: dial its connections, all in parallel. */
static void start_run(struct loop_task *task)
{
	struct pool_loop *own = container_of(task, struct pool_loop, start);
	struct pool *pool = own->pool;

	if (atomic_load(&pool->closing))
		return;
	for (unsigned int i = loop_index(own->loop); i < pool->config.n_connections;
	     i += pool->n_loops)
		connection_dial(&pool->conns[i]);
	tick_soon(own);
}

static int open_loops(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->n_loops; i++) {
		struct pool_loop *own = &pool->loops[i];
		int error = loop_new(i, &own->loop);

		if (error)
			return error;
		own->pool = pool;
		own->tick.expired = tick_expired;
		own->start.run = start_run;
		own->pull.run = pull_run;
		own->pull_end.run = pull_end_run;
		TAILQ_INIT(&own->delayed);
	}
	return 0;
}

static int open_connections(struct pool *pool)
{
	unsigned int n = pool->config.n_connections;

	pool->conns = calloc(n, sizeof(pool->conns[0]));
	if (!pool->conns)
		return -ENOMEM;
	for (unsigned int i = 0; i < n; i++)
		pool->conns[i].watch.fd = -1;
	for (unsigned int i = 0; i < n; i++) {
		int error = connection_init(&pool->conns[i], pool,
					    pool->loops[i % pool->n_loops].loop, i);

		if (error)
			return error;
		pool->conns[i].md = i >= n - pool->config.md_connections;
	}
	return 0;
}

static int start_loops(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->n_loops; i++) {
		int error = loop_start(pool->loops[i].loop);

		if (error)
			return error;
	}
	for (unsigned int i = 0; i < pool->n_loops; i++)
		loop_post(pool->loops[i].loop, &pool->loops[i].start);
	return 0;
}

static void init_lock(struct pool *pool)
{
	pthread_condattr_t monotonic;

	mutex_init(&pool->lock);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->changed, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

static void seed_random(void)
{
	unsigned int seed = 0;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = (unsigned int)clock_ns();
	srandom(seed);
}

int pool_open(const struct pool_config *config, struct pool **ret_pool)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	int error;

	if (!pool)
		return -ENOMEM;
	pool->config = *config;
	pool->n_loops = config->n_loops ? config->n_loops : default_loops(config->n_connections);
	pool->n_loops = (unsigned int)min_size(pool->n_loops, POOL_MAX_LOOPS);
	atomic_store(&pool->transfer_max, config->transfer_max);
	atomic_store(&pool->server, SERVER_WAITING);
	pool->no_conn_since_ns = pool->down_since_ns = pool->resolved_ns = clock_ns();
	init_lock(pool);
	TAILQ_INIT(&pool->small);
	TAILQ_INIT(&pool->bulk);
	seed_random();
	error = open_loops(pool);
	if (!error)
		error = open_connections(pool);
	if (!error)
		error = start_loops(pool);
	if (error) {
		pool_close(pool);
		return error;
	}
	*ret_pool = pool;
	return 0;
}

static struct timespec timespec_of(int64_t ns)
{
	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S) };
}

int pool_wait_up(struct pool *pool, unsigned int n, int64_t deadline_ns)
{
	struct timespec deadline = timespec_of(deadline_ns);
	int error = 0;

	mutex_lock(&pool->lock);
	/* n_up, not the connections: when it says so, the server's state does, too. */
	while (atomic_load(&pool->n_up) < n && !error) {
		if (pool->n_failed >= pool->config.n_connections)
			error = pool->first_error;
		else
			error = pthread_cond_timedwait(&pool->changed, &pool->lock.os, &deadline);
	}
	if (atomic_load(&pool->n_up) >= n)
		error = 0;
	mutex_unlock(&pool->lock);
	return -error;
}

/* ---- closing ----------------------------------------------------------------------------- */

static void collect_calls(struct pool *pool, struct call_list *calls)
{
	for (unsigned int i = 0; i < pool->n_loops; i++) {
		TAILQ_CONCAT(calls, &pool->loops[i].delayed, link);
		TAILQ_INIT(&pool->loops[i].delayed);
	}
	for (unsigned int i = 0; pool->conns && i < pool->config.n_connections; i++)
		if (pool->conns[i].pool)
			connection_drain(&pool->conns[i], calls);
	mutex_lock(&pool->lock);
	TAILQ_CONCAT(calls, &pool->small, link);
	TAILQ_CONCAT(calls, &pool->bulk, link);
	atomic_store(&pool->n_queued, 0);
	mutex_unlock(&pool->lock);
}

static void join_loops(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->n_loops; i++)
		if (pool->loops[i].loop)
			loop_join(pool->loops[i].loop);
}

static void stop_loops(struct pool *pool)
{
	struct resolver *resolver;

	for (unsigned int i = 0; i < pool->n_loops; i++)
		if (pool->loops[i].loop)
			loop_stop(pool->loops[i].loop);
	join_loops(pool);
	mutex_lock(&pool->lock);
	resolver = pool->resolver;
	pool->resolver = NULL;
	mutex_unlock(&pool->lock);
	resolver_cancel(resolver);
	join_loops(pool); /* what later ones left for earlier ones before they stopped */
}

void pool_close(struct pool *pool)
{
	struct call_list calls = TAILQ_HEAD_INITIALIZER(calls);

	if (!pool)
		return;
	atomic_store_explicit(&pool->closing, true, memory_order_release);
	stop_loops(pool);
	collect_calls(pool, &calls);
	finish_all(pool, &calls, -ECONNABORTED);
	for (unsigned int i = 0; pool->conns && i < pool->config.n_connections; i++)
		connection_deinit(&pool->conns[i]);
	free(pool->conns);
	for (unsigned int i = 0; i < pool->n_loops; i++)
		loop_free(pool->loops[i].loop);
	pthread_cond_destroy(&pool->changed);
	mutex_deinit(&pool->lock);
	free(pool);
}

/* ---- for people -------------------------------------------------------------------------- */

static uint64_t relaxed(const _Atomic(uint64_t) *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

void pool_info(struct pool *pool, struct pool_info *ret_info)
{
	*ret_info = (struct pool_info){
		.server = pool_server_state(pool),
		.n_connections = pool->config.n_connections,
		.n_up = atomic_load(&pool->n_up),
		.n_queued = atomic_load(&pool->n_queued),
		.n_ambiguous = relaxed(&pool->n_ambiguous),
		.n_bad_replies = relaxed(&pool->n_bad_replies),
		.n_resent = relaxed(&pool->n_resent),
		.n_repeated = relaxed(&pool->n_repeated),
		.n_handed_over = relaxed(&pool->n_handed_over),
	};
}

void pool_conn_info(struct pool *pool, unsigned int id, struct conn_info *ret_info)
{
	struct connection *conn = &pool->conns[id];
	struct conn_load *load = &conn->load;

	*ret_info = (struct conn_info){
		.id = id,
		.state = (enum conn_state)atomic_load(&load->state),
		.n_outstanding = atomic_load(&load->n_outstanding),
		.bytes_outstanding = relaxed(&load->bytes_outstanding),
		.bytes_sent = relaxed(&load->bytes_sent),
		.bytes_received = relaxed(&load->bytes_received),
		.calls_done = relaxed(&load->calls_done),
		.reconnects = relaxed(&load->reconnects),
		.rate = relaxed(&load->rate),
		.rtt_ns = atomic_load(&load->rtt_ns),
		.error = atomic_load(&load->error),
	};
	mutex_lock(&pool->lock);
	ret_info->local = conn->local;
	ret_info->remote = conn->remote;
	mutex_unlock(&pool->lock);
}
