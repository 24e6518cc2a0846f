/* SPDX-License-Identifier: GPL-2.0-or-later */
/* server - see server.h. */
#include "server.h"

#include <errno.h>

#include "policy.h"
#include "pool_parts.h"
#include "util.h"

static const int64_t NEWS_NS = 1 * NS_PER_S;
static const int64_t DIAL_ALL_NS = 1 * NS_PER_S;
static const int64_t OVERDUE_NS = 200 * NS_PER_MS;

enum server_state pool_server_state(const struct pool *pool)
{
	return (enum server_state)atomic_load_explicit(&pool->server, memory_order_acquire);
}

int64_t pool_silent_since_ns(const struct pool *pool)
{
	return atomic_load_explicit(&pool->silent_since_ns, memory_order_relaxed);
}

bool pool_is_suspicious(const struct pool *pool)
{
	return atomic_load_explicit(&pool->suspicious, memory_order_relaxed);
}

static int64_t relaxed(const _Atomic(int64_t) *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

int64_t pool_others_rx_ns(const struct pool *pool, const struct connection *conn)
{
	int64_t rx_ns = 0;

	for (unsigned int i = 0; i < pool_n_slots(pool); i++)
		if (&pool->conns[i] != conn)
			rx_ns = max_i64(rx_ns, relaxed(&pool->conns[i].load.last_rx_ns));
	return rx_ns;
}

static void tell(struct pool *pool, struct pool_event *event)
{
	event->n_up = atomic_load(&pool->n_up);
	if (pool->config.event)
		pool->config.event(pool->config.userdata, event);
}

/* ---- the state --------------------------------------------------------------------------- */

static unsigned int look(const struct pool *pool, struct policy_server *ret_signs)
{
	unsigned int n_up = 0;

	for (unsigned int i = 0; i < pool_n_slots(pool); i++) {
		const struct conn_load *load = &pool->conns[i].load;
		int state = atomic_load_explicit(&load->state, memory_order_acquire);
		int64_t owed_ns = relaxed(&load->waiting_since_ns), rtt_ns;

		ret_signs->last_rx_ns = max_i64(ret_signs->last_rx_ns,
						max_i64(relaxed(&load->last_rx_ns),
							relaxed(&load->last_progress_ns)));
		if (state != CONN_UP && state != CONN_SUSPECT)
			continue;
		n_up++;
		rtt_ns = relaxed(&load->rtt_ns);
		if (rtt_ns && (!ret_signs->rtt_ns || rtt_ns < ret_signs->rtt_ns))
			ret_signs->rtt_ns = rtt_ns;
		if (owed_ns && (!ret_signs->owed_since_ns || owed_ns < ret_signs->owed_since_ns))
			ret_signs->owed_since_ns = owed_ns;
	}
	ret_signs->connected = n_up > 0;
	return n_up;
}

/* Fills the event; true if it is to be told. */
static bool change(struct pool *pool, enum server_state old, enum server_state new,
		   struct pool_event *ret_event, int64_t now_ns) REQUIRES(pool->lock)
{
	struct server_watch *watch = &pool->watch;

	if (old == new)
		return false;
	if (old == SERVER_UP)
		watch->down_since_ns = watch->silent_since_ns;
	*ret_event = (struct pool_event){
		.type = new == SERVER_UP	   ? POOL_SERVER_UP :
			new == SERVER_WAITING ? POOL_SERVER_WAITING :
						POOL_SERVER_DOWN,
		.reconnected = watch->was_up,
		.was_down = watch->told_down,
		.outage_ns = new == SERVER_UP ? now_ns - watch->down_since_ns : 0,
	};
	watch->was_up = watch->was_up || new == SERVER_UP;
	/* Whoever mounts hears of it in another way. */
	watch->told_down = watch->was_up && (new == SERVER_DOWN ||
					     (new == SERVER_WAITING && watch->told_down));
	return watch->was_up;
}

/* A server that is back after a while is back on all paths; one whose last connection was lost may
 * still be on those that wait for their time. Seldom: something may break whatever comes up. */
static bool is_time_to_dial(struct server_watch *watch, enum server_state new,
			    const struct policy_server *signs)
{
	bool is_back = new == SERVER_UP && signs->now_ns - watch->down_since_ns >= DIAL_ALL_NS;

	if ((!is_back && signs->connected) || signs->now_ns - watch->dialled_ns < DIAL_ALL_NS)
		return false;
	watch->dialled_ns = signs->now_ns;
	return true;
}

void server_update(struct pool *pool, int64_t now_ns)
{
	struct policy_server signs = { .now_ns = now_ns, .detect_ns = pool->config.detect_ns };
	struct pool_event event;
	enum server_state old, new;
	unsigned int n_up;
	bool changed, dial;

	mutex_lock(&pool->lock);
	signs.now_ns = now_ns = pool->watch.looked_ns = max_i64(now_ns, pool->watch.looked_ns);
	n_up = look(pool, &signs);
	old = pool_server_state(pool);
	signs.silent_since_ns = pool->watch.silent_since_ns;
	new = policy_server(&signs);
	pool->watch.silent_since_ns = signs.silent_since_ns;
	changed = change(pool, old, new, &event, now_ns);
	atomic_store(&pool->n_up, n_up);
	atomic_store_explicit(&pool->silent_since_ns,
			      new == SERVER_UP ? 0 : signs.silent_since_ns, memory_order_relaxed);
	atomic_store_explicit(&pool->server, (int)new, memory_order_release);
	atomic_store_explicit(&pool->suspicious,
			      signs.owed_since_ns && now_ns - signs.owed_since_ns >= OVERDUE_NS,
			      memory_order_relaxed);
	dial = changed && is_time_to_dial(&pool->watch, new, &signs);
	mutex_unlock(&pool->lock);
	if (dial)
		pool_dial_all(pool);
	if (changed)
		tell(pool, &event);
}

/* ---- news of connections ----------------------------------------------------------------- */

static void note(struct pool_event *news, int64_t *news_ns, const struct pool_event *event)
{
	unsigned int n_conns = news->n_conns + 1, n_moved = news->n_moved + event->n_moved;

	if (n_conns == 1) {
		*news = *event;
		*news_ns = clock_ns();
	}
	news->n_conns = n_conns;
	news->n_moved = n_moved;
}

static bool take(struct pool_event *news, int64_t news_ns, int64_t now_ns, struct pool_event *ret)
{
	if (!news->n_conns || now_ns - news_ns < NEWS_NS)
		return false;
	*ret = *news;
	news->n_conns = news->n_moved = 0;
	return true;
}

bool server_has_news(struct pool *pool)
{
	bool has;

	mutex_lock(&pool->lock);
	has = pool->watch.lost.n_conns || pool->watch.back.n_conns;
	mutex_unlock(&pool->lock);
	return has;
}

void server_tell_news(struct pool *pool, int64_t now_ns)
{
	struct server_watch *watch = &pool->watch;
	struct pool_event lost, back;
	bool has_lost, has_back;

	mutex_lock(&pool->lock);
	if (pool_server_state(pool) == SERVER_DOWN) /* which is the news */
		watch->lost.n_conns = watch->lost.n_moved = watch->back.n_conns = 0;
	has_lost = pool_server_state(pool) == SERVER_UP &&
		   take(&watch->lost, watch->lost_ns, now_ns, &lost);
	has_back = pool_server_state(pool) == SERVER_UP &&
		   take(&watch->back, watch->back_ns, now_ns, &back);
	mutex_unlock(&pool->lock);
	if (has_lost)
		tell(pool, &lost);
	if (has_back)
		tell(pool, &back);
}

/* Those of the first round come as they are: whoever mounts waits for them. */
static void add_news(struct pool *pool, const struct pool_event *event)
{
	struct server_watch *watch = &pool->watch;

	mutex_lock(&pool->lock);
	if (event->type == POOL_CONN_UP)
		note(&watch->back, &watch->back_ns, event);
	else
		note(&watch->lost, &watch->lost_ns, event);
	mutex_unlock(&pool->lock);
}

static void note_waiters(struct pool *pool, struct connection *conn, int error)
{
	mutex_lock(&pool->lock);
	if (error && !conn->has_failed && !conn->up_since_ns) {
		conn->has_failed = true;
		pool->n_failed++;
		if (!pool->first_error)
			pool->first_error = error;
	}
	pthread_cond_broadcast(&pool->changed);
	mutex_unlock(&pool->lock);
}

static void tell_path(struct pool *pool, const struct pool_event *lost)
{
	struct pool_event event = *lost;

	event.type = POOL_PATH_LOST;
	tell(pool, &event);
}

static void report(struct pool *pool, struct connection *conn, enum conn_state old, int error,
		   const char *reason, unsigned int n_moved)
{
	struct pool_event event = {
		.type = conn->state == CONN_UP ? POOL_CONN_UP : POOL_CONN_DOWN,
		.reconnected = atomic_load_explicit(&conn->load.reconnects, memory_order_relaxed) > 0,
		.conn = conn->id,
		.n_conns = 1,
		.error = error,
		.reason = reason,
		.n_moved = n_moved,
		.remote = conn->remote,
		.local = conn->local,
	};

	bool is_news = conn->state == CONN_UP || !conn->told_lost;

	note_waiters(pool, conn, error);
	if (conn->state == CONN_DOWN)
		tell_path(pool, &event);
	conn->told_lost = conn->state != CONN_UP;
	if (!is_news)
		return; /* a further dial that failed */
	if (event.reconnected)
		add_news(pool, &event);
	else
		tell(pool, &event);
}

void pool_conn_changed(struct pool *pool, struct connection *conn, enum conn_state old, int error,
		       const char *reason, unsigned int n_moved)
{
	struct pool_loop *own = &pool->loops[loop_index(conn->loop)];

	if (atomic_load(&pool->closing))
		return;
	server_update(pool, clock_ns());
	pool_tick_soon(own);
	queue_kick_others(pool, own, false);
	if (conn->state == CONN_SUSPECT)
		return;
	if (old != CONN_SUSPECT || conn->state != CONN_UP)
		report(pool, conn, old, error, reason, n_moved);
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

uint32_t pool_datagram_max(const struct pool *pool)
{
	return atomic_load(&pool->datagram_max);
}

void pool_datagram_max_is(struct pool *pool, struct connection *conn, uint32_t max)
{
	struct pool_event event = { .type = POOL_DATAGRAM_MAX, .conn = conn->id, .remote = conn->remote };
	uint32_t known = atomic_load(&pool->datagram_max);

	while (!known || max < known)
		if (atomic_compare_exchange_weak(&pool->datagram_max, &known, max)) {
			if (known)
				tell(pool, &event);
			return;
		}
}

void pool_no_resvport(struct pool *pool, struct connection *conn, int error)
{
	struct pool_event event = { .type = POOL_NO_RESVPORT, .conn = conn->id, .error = error };

	if (!atomic_exchange(&pool->said_no_resvport, true))
		tell(pool, &event);
}

void pool_no_srcport(struct pool *pool, struct connection *conn, int error)
{
	struct pool_event event = { .type = POOL_NO_SRCPORT, .conn = conn->id, .error = error };

	if (!atomic_exchange(&pool->said_no_srcport, true))
		tell(pool, &event);
}

static unsigned int local_index(const struct pool *pool, const struct connection *conn)
{
	return (unsigned int)(conn->from - pool->config.locals);
}

void pool_no_local(struct pool *pool, struct connection *conn, int error)
{
	struct pool_event event = {
		.type = POOL_NO_LOCAL, .conn = conn->id, .error = error,
		.local_index = local_index(pool, conn),
	};
	uint32_t bit = UINT32_C(1) << event.local_index;

	if (!(atomic_fetch_or(&pool->said_no_local, bit) & bit))
		tell(pool, &event);
}

void pool_has_local(struct pool *pool, struct connection *conn)
{
	if (conn->from)
		atomic_fetch_and(&pool->said_no_local, ~(UINT32_C(1) << local_index(pool, conn)));
}
