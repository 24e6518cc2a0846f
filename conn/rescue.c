/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rescue - see rescue.h. */
#include "rescue.h"

#include "call.h"
#include "health.h"
#include "pool_parts.h"
#include "util.h"

/* As the connections are now: each call that goes to one makes it busy. */
static bool is_worth_it(struct connection *conn, const struct call *call, int64_t now_ns)
{
	struct policy_conn conns[POOL_MAX_CONNECTIONS];
	struct pool *pool = conn->pool;
	unsigned int n = pool_n_active(pool);
	bool md = pool_is_small_busy(pool, now_ns);

	if (atomic_load(&pool->n_queued) || conn->id >= n)
		return false;
	for (unsigned int i = 0; i < n; i++) {
		connection_snapshot(&pool->conns[i], &conns[i]);
		conns[i].md = md && pool_is_md(pool, i);
	}
	return policy_rescues(conns, n, conn->id, call->cost, now_ns - call->sent_ns, call->n_moves);
}

static void move(struct connection *conn, struct call *call)
{
	uint64_t cost = call->cost;

	transfer_unbind(conn, call);
	conn->rescue.late_bytes += cost;
	conn->rescue.n_late++;
	atomic_fetch_add(&conn->load.bytes_outstanding, cost);
	call->n_moves++;
	call->left = conn;
	pool_repeat(conn->pool, call);
}

static bool is_path(struct connection *conn)
{
	return conn->placing || (connection_waiting_since(conn) && health_has_unacked(conn));
}

void rescue_tick(struct connection *conn, int64_t now_ns)
{
	struct call *call = TAILQ_FIRST(&conn->sent), *next;

	if (!conn->n_bulk || conn->datagram.active || !is_path(conn))
		return;
	for (; call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call->size != CALL_BULK || call->class != CALL_IDEMPOTENT || call_is_cancelled(call))
			continue;
		if (!is_worth_it(conn, call, now_ns))
			return; /* nor are those that were sent later */
		move(conn, call);
	}
}

void rescue_came_late(struct connection *conn)
{
	struct rescue *rescue = &conn->rescue;
	uint64_t bytes;

	if (!rescue->n_late)
		return;
	bytes = rescue->late_bytes / rescue->n_late--;
	rescue->late_bytes -= bytes;
	atomic_fetch_sub(&conn->load.bytes_outstanding, bytes);
}

void rescue_forget(struct connection *conn)
{
	atomic_fetch_sub(&conn->load.bytes_outstanding, conn->rescue.late_bytes);
	conn->rescue = (struct rescue){ 0 };
}
