/* SPDX-License-Identifier: GPL-2.0-or-later */
/* connection - life and health of one TCP connection. Its bytes are in transfer.c.
 *
 *   DOWN -> CONNECTING: connection_dial(), from the timer.
 *   CONNECTING -> UP: the server answered a NULL call.   UP -> SUSPECT: it owes an answer for long.
 *   SUSPECT -> UP: a byte came.   any -> DOWN: connection_lose(), which resets the socket first.
 *
 * A lost connection that had calls of CALL_OTHER in flight is dialled again at once for them, from
 * the same port; see `replay` in connection.h.
 *
 * connection_set_state() is the only way from one to another. */
#include "connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "dial.h"
#include "health.h"
#include "loop.h"
#include "loss.h"
#include "pool_parts.h"
#include "util.h"

static const int64_t SYN_NS = 2 * NS_PER_S;     /* when the server is away, or for a replay */
static const int64_t PROVEN_NS = 10 * NS_PER_S; /* up for so long: it does not just flap */

static const int64_t DRAIN_NS = 500 * NS_PER_MS;
static const int64_t STUCK_NS = 4 * NS_PER_S;   /* of one that shall be dialled anew */
static const int64_t REPLAY_PAUSE_NS = 100 * NS_PER_MS;

enum { NULL_PROCEDURE = 0, ANSWERS_MAX = 16 * 1024 * 1024, REPLAY_DIALS = 2 };

const char *conn_state_name(enum conn_state state)
{
	static const char *const names[] = { "down", "connecting", "up", "suspect" };

	return names[state];
}

static void connection_set_state(struct connection *conn, enum conn_state state)
{
	if (conn->state != state)
		conn->state_since_ns = clock_ns();
	conn->state = state;
	/* Sequentially consistent, like n_queued in the pool: whoever queues a call because this
	 * was not up, and this when it looks for queued calls because it is, do not miss each other. */
	atomic_store(&conn->load.state, (int)state);
}

void connection_snapshot(const struct connection *conn, struct policy_conn *ret_conn)
{
	const struct conn_load *load = &conn->load;

	*ret_conn = (struct policy_conn){
		.state = atomic_load(&load->leaving) ? CONN_SUSPECT :
						       (enum conn_state)atomic_load(&load->state),
		.loop = loop_index(conn->loop),
		.bytes_outstanding = atomic_load(&load->bytes_outstanding),
		.window = atomic_load_explicit(&load->window, memory_order_relaxed),
		.rate = atomic_load_explicit(&load->rate, memory_order_relaxed),
		.rtt_ns = atomic_load_explicit(&load->rtt_ns, memory_order_relaxed),
	};
}

void connection_reserve(struct connection *conn, const struct call *call)
{
	atomic_fetch_add(&conn->load.bytes_outstanding, call->cost);
}

void connection_unreserve(struct connection *conn, const struct call *call)
{
	atomic_fetch_sub(&conn->load.bytes_outstanding, call->cost);
}

void connection_bind(struct connection *conn, struct call *call)
{
	transfer_bind(conn, call);
}

/* ---- calls for which it is made anew ----------------------------------------------------- */

static void send_replays(struct connection *conn)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&conn->replay))) {
		TAILQ_REMOVE(&conn->replay, call, link);
		connection_reserve(conn, call);
		transfer_bind(conn, call);
	}
}

void connection_give_up_replays(struct connection *conn)
{
	pool_reroute(conn->pool, &conn->replay, ETIMEDOUT);
}

/* Of the calls of a lost connection, keep those to replay. */
static void keep_for_replay(struct connection *conn, struct call_list *calls, bool path_suspect)
{
	int64_t now_ns = clock_ns();
	struct call *call, *next;

	conn->replay_from = conn->local;
	for (call = TAILQ_FIRST(calls); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (policy_lost(call->class, call->n_sent || call->resent) != POLICY_AMBIGUOUS ||
		    call_is_cancelled(call) || call->deadline_ns <= now_ns ||
		    !policy_may_replay(call->class, now_ns - call->first_sent_ns, path_suspect,
				       call->n_replays))
			continue;
		TAILQ_REMOVE(calls, call, link);
		call->n_replays++;
		call->n_repeats = 0;
		pool_note_resend(conn->pool, call);
		TAILQ_INSERT_TAIL(&conn->replay, call, link);
	}
}

static void expire_replays(struct connection *conn, int64_t now_ns)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(&conn->replay); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call->deadline_ns > now_ns && !call_is_cancelled(call))
			continue;
		TAILQ_REMOVE(&conn->replay, call, link);
		call_fail(call, pool_expiry(conn->pool, call, now_ns));
		pool_finish(conn->pool, call);
		next = TAILQ_FIRST(&conn->replay); /* done() may have changed the list */
	}
}

/* ---- the NULL call that proves it works -------------------------------------------------- */

static void probe_done(struct call *call)
{
	struct connection *conn = container_of(call, struct connection, probe);

	conn->probing = false;
	if (call->status) {
		conn->stop_error = -call->status;
		conn->stop_reason = "the server refused a NULL call";
		return;
	}
	if (conn->state != CONN_CONNECTING)
		return;
	loop_timer_cancel(conn->loop, &conn->timer);
	conn->up_since_ns = loop_now_ns(conn->loop);
	connection_set_state(conn, CONN_UP);
	pool_has_local(conn->pool, conn);
	pool_arrived(conn->pool, conn);
	send_replays(conn);
	pool_conn_changed(conn->pool, conn, CONN_CONNECTING, 0, NULL, 0);
}

void connection_send_probe(struct connection *conn)
{
	const struct pool_config *config = pool_config_of(conn->pool);
	uint32_t room;

	if (conn->probing)
		return;
	call_init(&conn->probe);
	call_begin(&conn->probe, conn->probe_head, sizeof(conn->probe_head), NULL, config->prog,
		   config->vers, NULL_PROCEDURE, &room);
	call_end(&conn->probe, 0);
	call_seal(&conn->probe);
	conn->probe.done = probe_done;
	conn->probing = true;
	connection_reserve(conn, &conn->probe);
	transfer_bind(conn, &conn->probe);
}

/* ---- dialling ---------------------------------------------------------------------------- */

static void dial_later(struct connection *conn)
{
	bool server_up = pool_server_state(conn->pool) == SERVER_UP;
	int64_t pause_ns = policy_backoff_ns(conn->n_failures++, server_up, (uint32_t)random());

	if (!TAILQ_EMPTY(&conn->replay))
		pause_ns = conn->n_replay_dials ? REPLAY_PAUSE_NS : 0;
	loop_timer_set(conn->loop, &conn->timer, clock_ns() + pause_ns);
}

static void dial_failed(struct connection *conn, int error, const char *reason)
{
	atomic_store_explicit(&conn->load.error, error, memory_order_relaxed);
	conn->last_reason = reason;
	conn->local_port = 0; /* the path of this port may be the reason */
	if (conn->n_replay_dials >= REPLAY_DIALS)
		connection_give_up_replays(conn);
	dial_later(conn);
	pool_arrived(conn->pool, conn);
	pool_conn_changed(conn->pool, conn, CONN_CONNECTING, error, reason, 0);
}

/* While the server is away a SYN of ours goes out every now and then, so that its return is noticed:
 * the kernel's own repetitions get rarer and rarer. */
static int64_t connect_limit_ns(const struct connection *conn)
{
	int64_t limit_ns = pool_config_of(conn->pool)->connect_ns;

	if (pool_server_state(conn->pool) != SERVER_UP || !TAILQ_EMPTY(&conn->replay))
		return min_i64(limit_ns, SYN_NS);
	return limit_ns;
}

void connection_dial(struct connection *conn)
{
	struct pool_addr addr;
	int error;

	if (conn->state != CONN_DOWN)
		return;
	if (connection_is_retired(conn)) {
		connection_give_up_replays(conn);
		return;
	}
	if (!TAILQ_EMPTY(&conn->replay))
		conn->n_replay_dials++;
	else if (!pool_next_path(conn->pool, conn))
		return;
	addr = conn->dialled;
	conn->stop_error = 0;
	conn->stop_reason = NULL;
	error = dial_start(conn, &addr);
	if (error) {
		dial_failed(conn, -error, NULL);
		return;
	}
	connection_set_state(conn, CONN_CONNECTING);
	loop_timer_set(conn->loop, &conn->timer, clock_ns() + connect_limit_ns(conn));
}

static int connect_result(struct connection *conn)
{
	socklen_t len = sizeof(int);
	int error = 0;

	if (getsockopt(conn->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len))
		return -errno;
	return -error;
}

static void connected(struct connection *conn)
{
	int error = connect_result(conn);

	if (error) {
		connection_lose(conn, -error, NULL);
		return;
	}
	pool_conn_addresses(conn->pool, conn);
	if (conn->datagram.active)
		datagram_connected(conn);
	if (TAILQ_EMPTY(&conn->replay))
		loop_timer_set(conn->loop, &conn->timer,
			       clock_ns() + pool_config_of(conn->pool)->connect_ns);
	connection_send_probe(conn);
}

/* ---- losing it --------------------------------------------------------------------------- */

/* RST instead of FIN: what the kernel still holds of our calls is discarded, not delivered later,
 * and no TIME_WAIT keeps the port. */
static void reset_socket(struct connection *conn)
{
	struct linger discard = { .l_onoff = 1, .l_linger = 0 };
	int64_t rtt_ns;

	conn->retransmits += snapshot_retransmits(conn, &rtt_ns);
	setsockopt(conn->watch.fd, SOL_SOCKET, SO_LINGER, &discard, sizeof(discard));
	loop_watch_del(conn->loop, &conn->watch);
	datagram_closed(conn);
	close(conn->watch.fd);
	conn->watch.fd = -1;
}

static void forget_probe(struct connection *conn, struct call_list *calls)
{
	if (!conn->probing)
		return;
	conn->probing = false;
	TAILQ_REMOVE(calls, &conn->probe, link);
}

/* Answers that are here already count. As many as fit into a socket's buffer, for the server may go
 * on sending. */
static void take_answers(struct connection *conn)
{
	uint64_t before = atomic_load_explicit(&conn->load.bytes_received, memory_order_relaxed);

	while (transfer_receive(conn) > 0)
		if (atomic_load_explicit(&conn->load.bytes_received, memory_order_relaxed) - before >
		    ANSWERS_MAX)
			return;
}

/* Back-off starts anew for one that worked for a while; one that flaps gets rarer. */
static void note_end(struct connection *conn)
{
	if (loop_now_ns(conn->loop) - conn->up_since_ns >= PROVEN_NS)
		conn->n_failures = 0;
}

static void lose(struct connection *conn, int error, const char *reason, bool path_suspect)
{
	struct call_list calls = TAILQ_HEAD_INITIALIZER(calls);
	enum conn_state old = conn->state;
	unsigned int n_moved;

	if (old == CONN_DOWN)
		return;
	connection_set_state(conn, CONN_DOWN);
	atomic_store(&conn->load.leaving, false);
	atomic_store(&conn->next_port, -1);
	pool_arrived(conn->pool, conn);
	if (old != CONN_CONNECTING && error != EBADMSG)
		take_answers(conn);
	reset_socket(conn);
	transfer_reset(conn, &calls);
	forget_probe(conn, &calls);
	if (old == CONN_CONNECTING) {
		dial_failed(conn, error, reason);
		return;
	}
	atomic_store_explicit(&conn->load.error, error, memory_order_relaxed);
	conn->last_reason = reason;
	atomic_fetch_add_explicit(&conn->load.reconnects, 1, memory_order_relaxed);
	pool_note_loss(conn->pool);
	note_end(conn);
	if (path_suspect)
		conn->local_port = 0;
	conn->n_replay_dials = 0;
	keep_for_replay(conn, &calls, path_suspect);
	n_moved = pool_reroute(conn->pool, &calls, error);
	pool_conn_changed(conn->pool, conn, old, error, reason, n_moved);
	dial_later(conn);
}

void connection_lose(struct connection *conn, int error, const char *reason)
{
	lose(conn, error, reason, false);
}

void connection_lose_path(struct connection *conn, int error, const char *reason)
{
	lose(conn, error, reason, true);
}

void connection_suspect(struct connection *conn, const char *reason)
{
	if (conn->state != CONN_UP)
		return;
	connection_set_state(conn, CONN_SUSPECT);
	conn->last_reason = reason;
	pool_conn_changed(conn->pool, conn, CONN_UP, 0, reason, 0);
}

void connection_drain(struct connection *conn, struct call_list *list)
{
	TAILQ_CONCAT(list, &conn->replay, link);
	if (conn->state == CONN_DOWN)
		return;
	connection_set_state(conn, CONN_DOWN);
	loop_timer_cancel(conn->loop, &conn->timer);
	reset_socket(conn);
	transfer_reset(conn, list);
	forget_probe(conn, list);
}

/* ---- leaving ----------------------------------------------------------------------------- */

bool connection_is_retired(const struct connection *conn)
{
	return conn->id >= pool_n_active(conn->pool);
}

void connection_leave(struct connection *conn)
{
	atomic_store(&conn->load.leaving, true);
}

/* What is outstanding may be asked for elsewhere, if there is anything. */
static void depart(struct connection *conn)
{
	struct call_list calls = TAILQ_HEAD_INITIALIZER(calls);
	int port = atomic_exchange(&conn->next_port, -1);

	connection_set_state(conn, CONN_DOWN);
	atomic_store(&conn->load.leaving, false);
	reset_socket(conn);
	transfer_reset(conn, &calls);
	forget_probe(conn, &calls);
	pool_reroute(conn->pool, &calls, 0);
	conn->n_failures = 0;
	if (port >= 0)
		conn->local_port = (uint16_t)port;
	if (connection_is_retired(conn))
		pool_arrived(conn->pool, conn);
	connection_dial(conn);
}

/* Whoever hands a call over reserves it first. */
static bool is_empty(const struct connection *conn)
{
	return !conn->probing && TAILQ_EMPTY(&conn->sent) && TAILQ_EMPTY(&conn->send_queue) &&
	       !atomic_load(&conn->load.bytes_outstanding);
}

/* One whose calls are not answered does not get empty: small packets may pass where large ones do not. Only
 * while others are answered; else it is the server that is slow. */
static bool is_stuck(struct connection *conn, int64_t now_ns)
{
	const struct conn_load *load = &conn->load;
	int64_t last_ns = max_i64(atomic_load_explicit(&load->last_rx_ns, memory_order_relaxed),
				  atomic_load_explicit(&load->last_progress_ns, memory_order_relaxed));

	return now_ns - conn->left_ns >= STUCK_NS && now_ns - last_ns >= STUCK_NS / 2 &&
	       now_ns - pool_others_rx_ns(conn->pool, conn) < STUCK_NS / 4;
}

static bool all_idempotent(const struct call_list *calls)
{
	const struct call *call;

	TAILQ_FOREACH(call, calls, link)
		if (call->class != CALL_IDEMPOTENT)
			return false;
	return true;
}

/* A slow path takes seconds for what it has begun, and whoever reads in order waits for it. */
static bool is_drained(const struct connection *conn, int64_t now_ns)
{
	return is_empty(conn) || (now_ns - conn->left_ns >= DRAIN_NS && atomic_load(&conn->pool->n_up) > 1 &&
				  all_idempotent(&conn->sent) && all_idempotent(&conn->send_queue));
}

static void tick_leaving(struct connection *conn, int64_t now_ns)
{
	if (!conn->left_ns)
		conn->left_ns = now_ns;
	if (is_drained(conn, now_ns))
		depart(conn);
	else if (is_stuck(conn, now_ns))
		lose(conn, ETIMEDOUT, "its calls are not answered", true);
	else
		health_judge(conn, now_ns);
}

/* ---- events ------------------------------------------------------------------------------ */

static void alive(struct connection *conn)
{
	int64_t last_rx_ns = atomic_load_explicit(&conn->load.last_rx_ns, memory_order_relaxed);

	if (conn->state != CONN_SUSPECT || last_rx_ns < loop_now_ns(conn->loop))
		return;
	connection_set_state(conn, CONN_UP);
	pool_conn_changed(conn->pool, conn, CONN_SUSPECT, 0, NULL, 0);
}

static void socket_ready(struct loop_watch *watch, uint32_t events)
{
	struct connection *conn = container_of(watch, struct connection, watch);
	int error = 0;

	if (conn->state == CONN_CONNECTING && !conn->probing) {
		connected(conn);
		return;
	}
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		error = transfer_receive(conn);
		if (error >= 0)
			alive(conn);
	}
	if (error >= 0 && (events & EPOLLOUT))
		error = transfer_flush(conn);
	if (error < 0) {
		connection_lose(conn, -error, conn->stop_reason);
		return;
	}
	pool_pull(conn->pool, conn);
}

static void flush_ready(struct loop_turn_end *end)
{
	struct connection *conn = container_of(end, struct connection, flush);
	int error;

	/* While EPOLLOUT is awaited the socket is full. */
	if (conn->watch.fd < 0 || (conn->watched & EPOLLOUT && conn->state != CONN_CONNECTING))
		return;
	if (conn->state == CONN_CONNECTING && !conn->probing)
		return; /* EPOLLOUT is awaited for connect(2) */
	error = transfer_flush(conn);
	if (error)
		connection_lose(conn, -error, NULL);
}

static void timer_expired(struct loop_timer *timer, int64_t now_ns UNUSED)
{
	struct connection *conn = container_of(timer, struct connection, timer);

	if (conn->state == CONN_CONNECTING)
		connection_lose(conn, ETIMEDOUT, conn->probing ? "connected, but no answer" : NULL);
	else
		connection_dial(conn);
}

/* ---- the tick ----------------------------------------------------------------------------- */

static bool has_socket(const struct connection *conn)
{
	return conn->state == CONN_UP || conn->state == CONN_SUSPECT;
}

void connection_tick(struct connection *conn, int64_t now_ns)
{
	expire_replays(conn, now_ns);
	if (!has_socket(conn))
		return;
	health_expire(conn, now_ns);
	if (!has_socket(conn))
		return;
	if (!conn->datagram.active)
		health_repeat(conn, now_ns);
	rescue_tick(conn, now_ns);
	if (conn->n_bulk && pool_config_of(conn->pool)->redial)
		loss_look(conn);
	transfer_tick(conn, now_ns);
	if (atomic_load(&conn->load.leaving) || connection_is_retired(conn)) {
		tick_leaving(conn, now_ns);
	} else {
		conn->left_ns = 0;
		health_judge(conn, now_ns);
	}
}

/* ---- making and unmaking ----------------------------------------------------------------- */

int connection_init(struct connection *conn, struct pool *pool, struct loop *loop, unsigned int id)
{
	*conn = (struct connection){
		.pool = pool,
		.loop = loop,
		.id = id,
		.watch = { .fd = -1, .priority = LOOP_FIRST, .ready = socket_ready },
		.timer = { .expired = timer_expired },
		.flush = { .run = flush_ready },
		.next_port = -1,
		.state_since_ns = clock_ns(),
	};
	TAILQ_INIT(&conn->replay);
	datagram_init(conn);
	return transfer_init(conn);
}

void connection_deinit(struct connection *conn)
{
	closep(&conn->watch.fd);
	transfer_deinit(conn);
}
