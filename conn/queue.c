/* SPDX-License-Identifier: GPL-2.0-or-later */
/* queue - the calls that no connection has: new, waiting, delayed, on their way, or just left behind
 * by a connection that was lost.
 *
 * A call is bound as late as possible: at once to the connection that can finish it soonest, else it
 * waits in the pool's queue and a connection takes it when it has room (small calls before bulk).
 * The queue is shared and locked; bound calls belong to their connection's loop and are not. */
#include <errno.h>
#include <string.h>

#include "call.h"
#include "pool_parts.h"
#include "util.h"

enum { BROKEN_MAX = 3 }; /* connections that may break with EBADMSG under one call */

/* ---- done -------------------------------------------------------------------------------- */

void pool_finish(struct pool *pool, struct call *call)
{
	if (call->status && call->ambiguous)
		atomic_fetch_add_explicit(&pool->n_ambiguous, 1, memory_order_relaxed);
	call->state = CALL_IDLE;
	call->done(call);
}

void queue_finish_all(struct pool *pool, struct call_list *calls, int status)
{
	struct call *call;

	while ((call = TAILQ_FIRST(calls))) {
		TAILQ_REMOVE(calls, call, link);
		if (status)
			call_fail(call, status);
		pool_finish(pool, call);
	}
}

void call_cancel(struct call *call)
{
	atomic_store_explicit(&call->cancelled, true, memory_order_relaxed);
}

bool pool_is_out_of_patience(const struct pool *pool, const struct call *call)
{
	return call->impatient && pool_server_state(pool) != SERVER_UP;
}

int pool_expiry(const struct pool *pool, const struct call *call, int64_t now_ns)
{
	if (call_is_cancelled(call))
		return -EINTR;
	return call->deadline_ns > now_ns && pool_is_out_of_patience(pool, call) ? -EHOSTDOWN :
										     -ETIMEDOUT;
}

/* ---- choosing ---------------------------------------------------------------------------- */

static int64_t now_of(const struct pool_loop *own)
{
	return own ? loop_now_ns(own->loop) : clock_ns();
}

/* Every loop writes these, so not at every call. */
static void note_small(struct pool *pool, int64_t now_ns)
{
	int64_t since_ns = now_ns - atomic_load_explicit(&pool->small_ns, memory_order_relaxed);
	int64_t busy_ns = policy_small_busy_ns(since_ns);

	if (!policy_small_counts(since_ns))
		return;
	atomic_store_explicit(&pool->small_ns, now_ns, memory_order_relaxed);
	if (busy_ns)
		atomic_store_explicit(&pool->md_until_ns, now_ns + busy_ns, memory_order_relaxed);
}

bool pool_is_small_busy(const struct pool *pool, int64_t now_ns)
{
	return now_ns < atomic_load_explicit(&pool->md_until_ns, memory_order_relaxed);
}

bool pool_stick(struct pool *pool)
{
	return atomic_exchange(&pool->sticks, true);
}

/* Those that take calls: how many. */
static unsigned int look(struct pool *pool, struct policy_conn *conns, int64_t now_ns)
{
	bool md = pool_is_small_busy(pool, now_ns);
	unsigned int n = pool_n_active(pool);

	for (unsigned int i = 0; i < n; i++) {
		connection_snapshot(&pool->conns[i], &conns[i]);
		conns[i].md = md && pool_is_md(pool, i);
	}
	return n;
}

static int pick(struct pool *pool, const struct call *call, uint64_t ahead, struct pool_loop *own)
{
	struct policy_conn conns[POOL_MAX_CONNECTIONS];
	unsigned int n = look(pool, conns, now_of(own));
	int i;

	if (call->sticky && atomic_load_explicit(&pool->sticks, memory_order_relaxed))
		return policy_stripe(conns, n, call->key);
	if (call->size == CALL_BULK && pool->config.stripe == STRIPE_RR)
		return policy_stripe(conns, n, atomic_fetch_add(&pool->bulk_turn, 1));
	if (call->size == CALL_BULK && pool->config.stripe == STRIPE_FILE)
		return policy_stripe(conns, n, call->key);
	i = policy_pick(conns, n, &(struct policy_ask){
		.size = call->size,
		.cost = call->cost,
		.ahead = ahead,
		.own_loop = own ? loop_index(own->loop) : UINT32_MAX,
		.turn = own ? own->turn++ : call->xid,
		.company = own ? own->company : UINT32_MAX,
	});
	if (own && i >= 0 && call->size == CALL_SMALL)
		own->company = (unsigned int)i;
	return i;
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

void queue_kick_others(struct pool *pool, struct pool_loop *own, bool even_empty)
{
	if (!even_empty && !atomic_load(&pool->n_queued))
		return;
	for (unsigned int i = 0; i < pool_n_slots(pool); i++)
		if (pool->conns[i].loop != own->loop &&
		    atomic_load(&pool->conns[i].load.state) == CONN_UP)
			kick(pool, pool->conns[i].loop, own);
}

static struct call_list *queue_for(struct pool *pool, const struct call *call)
	REQUIRES(pool->lock)
{
	return call->size == CALL_SMALL ? &pool->small : &pool->bulk;
}

static void count_queued(struct pool *pool, const struct call *call, int sign) REQUIRES(pool->lock)
{
	atomic_fetch_add(&pool->n_queued, (unsigned int)sign);
	if (call->size == CALL_BULK)
		atomic_fetch_add(&pool->bytes_queued, (uint64_t)(int64_t)sign * call->cost);
}

static void enqueue(struct pool *pool, struct call *call, bool front)
{
	mutex_lock(&pool->lock);
	call->state = CALL_QUEUED;
	call->submitted_ns = now_of(pool_own_loop(pool));
	if (front)
		TAILQ_INSERT_HEAD(queue_for(pool, call), call, link);
	else
		TAILQ_INSERT_TAIL(queue_for(pool, call), call, link);
	count_queued(pool, call, 1);
	mutex_unlock(&pool->lock);
}

/* After enqueue(): a connection may have got room since none was found, and pulled before. */
static void wake_for_queue(struct pool *pool, const struct call *like, struct pool_loop *own)
{
	uint64_t queued = atomic_load(&pool->bytes_queued);
	int i = pick(pool, like, queued > like->cost ? queued - like->cost : 0, own);

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
		pool_tick_soon(own);
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
	struct pool_loop *own = pool_own_loop(pool);
	struct call like = { .size = call->size, .cost = call->cost, .xid = call->xid,
			     .key = call->key };
	bool waits = !front && call->size == CALL_BULK && atomic_load(&pool->n_queued);
	int i = waits ? POLICY_QUEUE : pick(pool, call, 0, own);

	if (i >= 0) {
		give(pool, call, &pool->conns[i], own);
		return;
	}
	enqueue(pool, call, front);
	/* The call may be done by now: only its likeness is looked at. */
	wake_for_queue(pool, &like, own);
	if (own)
		pool_tick_soon(own);
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
	} else if (call_is_cancelled(call)) {
		connection_unreserve(conn, call);
		call_fail(call, -EINTR);
		pool_finish(pool, call);
		pool_pull(pool, conn); /* it leaves room */
	} else if (conn->state == CONN_UP) {
		connection_bind(conn, call);
		pool_tick_soon(&pool->loops[loop_index(conn->loop)]);
	} else {
		connection_unreserve(conn, call);
		route(pool, call, true);
	}
}

static void finish_run(struct loop_task *task)
{
	struct call *call = container_of(task, struct call, hand_over);

	pool_finish(call->pool, call);
}

/* From the inbox: never from within a submission. */
static void fail_later(struct pool *pool, struct call *call, int error)
{
	struct pool_loop *own = pool_own_loop(pool);

	call_fail(call, error);
	if (atomic_load(&pool->stopped)) {
		pool_finish(pool, call); /* one level for each call */
		return;
	}
	call->state = CALL_MOVING;
	call->hand_over.run = finish_run;
	loop_post(own ? own->loop : pool->loops[0].loop, &call->hand_over);
}

/* 0, or why it must not be sent. */
static int refusal(struct pool *pool, const struct call *call)
{
	enum server_state server = pool_server_state(pool);

	if (atomic_load_explicit(&pool->closing, memory_order_acquire))
		return -ECONNABORTED;
	if (call->deadline_ns != INT64_MAX && call->deadline_ns <= clock_ns())
		return -ETIMEDOUT; /* it would be sent, and executed perhaps */
	if (pool_is_out_of_patience(pool, call))
		return -EHOSTDOWN;
	return !pool->config.hard && server == SERVER_DOWN ? -EHOSTDOWN : 0;
}

static void start(struct pool *pool, struct call *call)
{
	int error = refusal(pool, call);

	if (error) {
		fail_later(pool, call, error);
		return;
	}
	call_seal(call);
	call->cost = call->head_len + call->payload_len + call->reply_max;
	if (call->size == CALL_SMALL && pool->config.md_connections)
		note_small(pool, now_of(pool_own_loop(pool)));
	route(pool, call, false);
}

/* As before its first submission. */
static void clear(struct pool *pool, struct call *call)
{
	call->pool = pool;
	call->status = 0;
	call->ambiguous = call->sent = call->resent = false;
	call->n_broken = 0;
	call->results = NULL;
	call->left = NULL;
	call->results_len = call->placed_len = 0;
	call->sent_ns = 0;
	call->first_sent_ns = 0;
	call->n_sent = call->n_repeats = call->n_moves = call->n_replays = 0;
	atomic_store_explicit(&call->cancelled, false, memory_order_relaxed);
}

void pool_submit(struct pool *pool, struct call *call)
{
	clear(pool, call);
	start(pool, call);
}

/* ---- later ------------------------------------------------------------------------------- */

static void delay_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct call *call = container_of(timer, struct call, delay);
	struct pool *pool = call->pool;
	struct pool_loop *own = &pool->loops[loop_index(call->loop)];

	TAILQ_REMOVE(&own->delayed, call, link);
	if (!call_is_cancelled(call) && call->deadline_ns > now_ns) {
		start(pool, call);
		return;
	}
	call_fail(call, pool_expiry(pool, call, now_ns));
	pool_finish(pool, call);
}

/* A cancelled call does not wait for its time, nor one that has run out of patience. */
static void expire_delayed(struct pool_loop *own, int64_t now_ns)
{
	struct pool *pool = own->pool;
	struct call *call, *next;

	/* done() may add to the end, and no more than that. */
	for (call = TAILQ_FIRST(&own->delayed); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (!call_is_cancelled(call) && !pool_is_out_of_patience(pool, call))
			continue;
		loop_timer_cancel(own->loop, &call->delay);
		delay_expired(&call->delay, now_ns);
	}
}

void pool_submit_after(struct pool *pool, struct call *call, int64_t delay_ns)
{
	struct pool_loop *own = pool_own_loop(pool);
	int64_t at_ns;

	clear(pool, call);
	if (!own || atomic_load(&pool->closing)) {
		fail_later(pool, call, -ECONNABORTED);
		return;
	}
	call->state = CALL_DELAYED;
	call->loop = own->loop;
	call->delay = (struct loop_timer){ .expired = delay_expired };
	TAILQ_INSERT_TAIL(&own->delayed, call, link);
	at_ns = min_i64(loop_now_ns(own->loop) + delay_ns, call->deadline_ns);
	loop_timer_set(own->loop, &call->delay, at_ns);
	pool_tick_soon(own);
}

/* ---- the queue --------------------------------------------------------------------------- */

/* The bulk call that conns[i] takes now, or NULL. The longer it takes, the further back it looks. */
static struct call *next_bulk(struct pool *pool, const struct policy_conn *conns, unsigned int n,
			      unsigned int i)
	REQUIRES(pool->lock)
{
	uint64_t ahead = 0, least = 0;
	uint32_t cost = 0;
	struct call *call;

	TAILQ_FOREACH(call, &pool->bulk, link) {
		if (call->cost != cost) {
			cost = call->cost;
			least = policy_ahead(conns, n, i, cost);
		}
		if (least <= ahead)
			return call;
		if (least == POLICY_NEVER)
			return NULL; /* a smaller one does not pass it for ever */
		ahead += call->cost;
	}
	return NULL;
}

/* The next call conns[i] may take now, or NULL. */
static struct call *dequeue(struct pool *pool, const struct policy_conn *conns, unsigned int n,
			    unsigned int i)
{
	struct call *call;

	mutex_lock(&pool->lock);
	call = TAILQ_FIRST(&pool->small);
	if (!call)
		call = next_bulk(pool, conns, n, i);
	if (call) {
		TAILQ_REMOVE(queue_for(pool, call), call, link);
		count_queued(pool, call, -1);
	}
	mutex_unlock(&pool->lock);
	return call;
}

void pool_pull(struct pool *pool, struct connection *conn)
{
	struct policy_conn conns[POOL_MAX_CONNECTIONS];
	struct call *call;
	unsigned int n;

	while (conn->state == CONN_UP && atomic_load(&pool->n_queued)) {
		n = look(pool, conns, loop_now_ns(conn->loop));
		if (conn->id >= n)
			return;
		call = dequeue(pool, conns, n, conn->id);
		if (!call)
			return;
		if (call_is_cancelled(call)) {
			call_fail(call, -EINTR);
			pool_finish(pool, call);
			continue;
		}
		give(pool, call, conn, &pool->loops[loop_index(conn->loop)]);
	}
}

/* Own connections, the least loaded first: one call each in turn would need a merge for no gain. */
void queue_pull_all(struct pool_loop *own)
{
	struct pool *pool = own->pool;

	for (unsigned int i = loop_index(own->loop); i < pool_n_active(pool); i += pool->n_loops)
		pool_pull(pool, &pool->conns[i]);
}

void queue_pull_run(struct loop_task *task)
{
	struct pool_loop *own = container_of(task, struct pool_loop, pull);

	atomic_store(&own->pull_posted, false);
	if (atomic_load(&own->pool->closing))
		return;
	queue_pull_all(own);
	pool_tick_soon(own);
}

void queue_pull_end_run(struct loop_turn_end *end)
{
	queue_pull_all(container_of(end, struct pool_loop, pull_end));
}

static void take_expired(struct pool *pool, struct call_list *queue, int64_t now_ns,
			 struct call_list *expired) REQUIRES(pool->lock)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(queue); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call->deadline_ns > now_ns && !call_is_cancelled(call) &&
		    !pool_is_out_of_patience(pool, call))
			continue;
		TAILQ_REMOVE(queue, call, link);
		count_queued(pool, call, -1);
		call_fail(call, pool_expiry(pool, call, now_ns));
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
	queue_finish_all(pool, &expired, 0);
}

void queue_expire(struct pool_loop *own, int64_t now_ns)
{
	expire_delayed(own, now_ns);
	expire_queued(own->pool, now_ns);
}

/* What the end of its connection means for a call that is not replayed on the same one: 0 if it goes
 * on, else the status it ends with. */
static int fate(struct call *call, int error, int64_t now_ns)
{
	bool sent = call->n_sent > 0;

	if (call_is_cancelled(call))
		return -EINTR;
	if (policy_lost(call->class, sent || call->resent) == POLICY_AMBIGUOUS ||
	    call->deadline_ns <= now_ns)
		return -ETIMEDOUT;
	if (error == EBADMSG && sent && ++call->n_broken >= BROKEN_MAX)
		return -EIO;
	return 0;
}

void pool_note_resend(struct pool *pool, struct call *call)
{
	call->sent = false;
	if (!call->n_sent)
		return;
	call->n_sent = 0;
	call->resent = true;
	atomic_fetch_add_explicit(&pool->n_resent, 1, memory_order_relaxed);
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
		pool_note_resend(pool, call);
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

