/* SPDX-License-Identifier: GPL-2.0-or-later */
/* snapshot - see snapshot.h. A loop gathers with no lock held (getsockopt(2) is a system call), then copies under
 * the snapshot's lock. One task per loop: if it is still in the inbox, it will serve the next asker as well. */
#include "snapshot.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>

#include "call.h"
#include "pool_parts.h"
#include "util.h"

const char *path_verdict_name(enum path_verdict verdict)
{
	static const char *const names[] = { "untried", "moving", "judging", "better", "same", "returned" };

	return names[verdict];
}

/* ---- on the loop ------------------------------------------------------------------------- */

static void look_at_calls(const struct connection *conn, const struct call_list *calls,
			  struct conn_snapshot *snapshot)
{
	const struct call *call;

	TAILQ_FOREACH(call, calls, link) {
		int64_t at_ns = call->first_sent_ns ? call->first_sent_ns : call->bound_ns;

		if (call == &conn->probe)
			continue;
		snapshot->n_calls++;
		snapshot->n_unsent += calls == &conn->send_queue;
		if (!snapshot->oldest_ns || at_ns < snapshot->oldest_ns)
			snapshot->oldest_ns = at_ns;
	}
}

uint64_t snapshot_retransmits(const struct connection *conn, int64_t *ret_rtt_ns)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (conn->datagram.active) {
		*ret_rtt_ns = conn->datagram.rtts[0].smoothed_ns; /* of NULL */
		return 0; /* counted where they are sent */
	}
	if (conn->watch.fd < 0 || getsockopt(conn->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return 0;
	*ret_rtt_ns = (int64_t)info.tcpi_rtt * 1000;
	return info.tcpi_total_retrans;
}

static void gather(const struct connection *conn, struct conn_snapshot *ret_snapshot)
{
	*ret_snapshot = (struct conn_snapshot){
		.since_ns = conn->state_since_ns,
		.reason = conn->last_reason,
		.retransmits = conn->retransmits,
	};
	ret_snapshot->retransmits += snapshot_retransmits(conn, &ret_snapshot->tcp_rtt_ns);
	look_at_calls(conn, &conn->sent, ret_snapshot);
	look_at_calls(conn, &conn->send_queue, ret_snapshot);
	look_at_calls(conn, &conn->replay, ret_snapshot);
}

void snapshot_run(struct loop_task *task)
{
	struct pool_loop *own = container_of(task, struct pool_loop, snapshot);
	struct snapshots *snapshots = &own->pool->snapshots;
	struct pool *pool = own->pool;
	struct conn_snapshot snapshot;

	atomic_store(&own->snapshot_posted, false);
	for (unsigned int i = loop_index(own->loop); i < pool_n_slots(pool); i += pool->n_loops) {
		gather(&pool->conns[i], &snapshot);
		mutex_lock(&snapshots->lock);
		snapshots->conns[i] = snapshot;
		mutex_unlock(&snapshots->lock);
	}
	mutex_lock(&snapshots->lock);
	own->snapshot_ns = clock_ns();
	pthread_cond_broadcast(&snapshots->changed);
	mutex_unlock(&snapshots->lock);
}

void snapshot_probe_run(struct loop_task *task)
{
	struct pool_loop *own = container_of(task, struct pool_loop, probe);
	struct pool *pool = own->pool;

	atomic_store(&own->probe_posted, false);
	if (atomic_load(&pool->closing))
		return;
	for (unsigned int i = loop_index(own->loop); i < pool_n_active(pool); i += pool->n_loops)
		if (pool->conns[i].state == CONN_UP || pool->conns[i].state == CONN_SUSPECT)
			connection_send_probe(&pool->conns[i]);
	pool_tick_soon(own);
}

void snapshot_count(struct connection *conn, const struct call *call, int64_t now_ns)
{
	struct pool_loop *own = &conn->pool->loops[loop_index(conn->loop)];

	if (call->proc < POOL_MAX_PROCS && call->prog == conn->pool->config.prog && call != &conn->probe) {
		histogram_add(&own->latency[call->proc], now_ns - call->first_sent_ns);
		histogram_add(&conn->latency, now_ns - call->first_sent_ns);
	}
}

/* ---- for whoever asks -------------------------------------------------------------------- */

static bool all_answered(const struct pool *pool, int64_t asked_ns) REQUIRES(pool->snapshots.lock)
{
	for (unsigned int i = 0; i < pool->n_loops; i++)
		if (pool->loops[i].snapshot_ns < asked_ns)
			return false;
	return true;
}

static void ask(struct pool *pool, int64_t wait_ns)
{
	int64_t asked_ns = clock_ns(), until_ns = asked_ns + wait_ns;
	struct timespec until = { .tv_sec = (time_t)(until_ns / NS_PER_S),
				  .tv_nsec = (long)(until_ns % NS_PER_S) };
	int error = 0;

	for (unsigned int i = 0; i < pool->n_loops; i++)
		if (!atomic_exchange(&pool->loops[i].snapshot_posted, true))
			loop_post(pool->loops[i].loop, &pool->loops[i].snapshot);
	mutex_lock(&pool->snapshots.lock);
	while (!error && !all_answered(pool, asked_ns))
		error = pthread_cond_timedwait(&pool->snapshots.changed, &pool->snapshots.lock.os, &until);
	for (unsigned int i = 0; i < pool->n_loops; i++)
		pool->loops[i].snapshot_stale = pool->loops[i].snapshot_ns < asked_ns;
	mutex_unlock(&pool->snapshots.lock);
}

static void read_connection(struct pool *pool, unsigned int id, struct conn_snapshot *ret_snapshot)
{
	struct connection *conn = &pool->conns[id];

	mutex_lock(&pool->snapshots.lock);
	*ret_snapshot = pool->snapshots.conns[id];
	mutex_unlock(&pool->snapshots.lock);
	pool_conn_info(pool, id, &ret_snapshot->info);
	ret_snapshot->stale = pool->loops[id % pool->n_loops].snapshot_stale;
	ret_snapshot->retired = connection_is_retired(conn);
	ret_snapshot->leaving = atomic_load(&conn->load.leaving);
	ret_snapshot->md = pool_is_md(pool, id);
	ret_snapshot->verdict = (enum path_verdict)atomic_load(&conn->verdict);
}

static int64_t oldest_of(const struct call_list *calls, int64_t oldest_ns)
{
	const struct call *first = TAILQ_FIRST(calls);

	if (!first || (oldest_ns && oldest_ns <= first->submitted_ns))
		return oldest_ns;
	return first->submitted_ns;
}

static int64_t oldest_queued(struct pool *pool)
{
	int64_t oldest_ns;

	mutex_lock(&pool->lock);
	oldest_ns = oldest_of(&pool->bulk, oldest_of(&pool->small, 0));
	mutex_unlock(&pool->lock);
	return oldest_ns;
}

void pool_snapshot(struct pool *pool, int64_t wait_ns, struct pool_snapshot *ret_snapshot)
{
	ask(pool, wait_ns);
	ret_snapshot->now_ns = clock_ns();
	pool_info(pool, &ret_snapshot->pool);
	ret_snapshot->silent_since_ns = pool_silent_since_ns(pool);
	ret_snapshot->last_rx_ns = pool_others_rx_ns(pool, NULL);
	ret_snapshot->oldest_queued_ns = oldest_queued(pool);
	ret_snapshot->n_loops = pool->n_loops;
	ret_snapshot->n_stale_loops = ret_snapshot->n_conns = 0;
	for (unsigned int i = 0; i < pool->n_loops; i++)
		ret_snapshot->n_stale_loops += pool->loops[i].snapshot_stale;
	for (unsigned int i = 0; i < pool_n_slots(pool); i++) {
		struct conn_snapshot *conn = &ret_snapshot->conns[ret_snapshot->n_conns];

		read_connection(pool, i, conn);
		ret_snapshot->n_conns += !conn->retired || conn->info.state != CONN_DOWN;
	}
}

void pool_probe(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->n_loops; i++)
		if (!atomic_exchange(&pool->loops[i].probe_posted, true))
			loop_post(pool->loops[i].loop, &pool->loops[i].probe);
}

void pool_latency(const struct pool *pool, unsigned int proc, struct histogram_sum *sum)
{
	for (unsigned int i = 0; i < pool->n_loops; i++)
		histogram_read(&pool->loops[i].latency[proc], sum);
}

void pool_conn_latency(const struct pool *pool, unsigned int id, struct histogram_sum *sum)
{
	histogram_read(&pool->conns[id].latency, sum);
}
