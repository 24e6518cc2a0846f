/* SPDX-License-Identifier: GPL-2.0-or-later */
/* steer - see steer.h. */
#include "steer.h"

#include <stdlib.h>
#include <time.h>

#include "policy.h"
#include "pool_parts.h"
#include "util.h"

static const int64_t SAMPLE_NS = 750 * NS_PER_MS;
static const int64_t PAUSE_NS = 60 * NS_PER_S;
static const uint64_t LEAST = 512 * 1024; /* bytes per second: less tells nothing of paths */

enum { VAIN_MAX = 16, BLIND_MAX = 4, PAUSES_MAX = 4 };

_Static_assert(POOL_MAX_CONNECTIONS <= 64, "steer.bytes");

static uint64_t carried(const struct connection *conn)
{
	return atomic_load_explicit(&conn->load.bytes_sent, memory_order_relaxed) +
	       atomic_load_explicit(&conn->load.bytes_received, memory_order_relaxed);
}

static int64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static void begin(struct pool *pool, int64_t now_ns)
{
	struct steer *steer = &pool->steer;

	steer->since_ns = now_ns;
	steer->cpu_ns = cpu_ns();
	steer->n_ticks = steer->n_busy = 0;
	for (unsigned int i = 0; i < pool_n_slots(pool); i++)
		steer->bytes[i] = carried(&pool->conns[i]);
}

/* Bytes per second. Returns their sum. */
static uint64_t measure(const struct pool *pool, int64_t now_ns, struct policy_path paths[])
{
	const struct steer *steer = &pool->steer;
	double seconds = (double)(now_ns - steer->since_ns) / 1e9;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < pool_n_slots(pool); i++) {
		const struct connection *conn = &pool->conns[i];

		paths[i] = (struct policy_path){
			.up = atomic_load(&conn->load.state) == CONN_UP && !connection_is_retired(conn) &&
			      !pool_is_md(pool, i),
			.rate = (uint64_t)((double)(carried(conn) - steer->bytes[i]) / seconds),
		};
		sum += paths[i].rate;
	}
	return sum;
}

/* Is it the paths that bulk calls wait for? Not, if this process itself is busy. */
static bool is_limited(const struct pool *pool, int64_t now_ns)
{
	const struct steer *steer = &pool->steer;
	int64_t cpu = cpu_ns() - steer->cpu_ns, all = (now_ns - steer->since_ns) * pool->n_loops;

	return steer->n_busy * 4 >= steer->n_ticks * 3 && cpu < all / 4;
}

static bool leave(struct pool *pool, struct connection *conn, uint16_t port)
{
	struct connection *nobody = NULL;

	if (!atomic_compare_exchange_strong(&pool->leaving, &nobody, conn))
		return false;
	atomic_store(&conn->next_port, port);
	atomic_store(&conn->verdict, PATH_MOVING);
	connection_leave(conn);
	return true;
}

static void give_up_for_now(struct steer *steer, int64_t now_ns)
{
	steer->pause_until_ns = now_ns + (PAUSE_NS << steer->n_pauses);
	steer->n_pauses = (unsigned int)min_size(steer->n_pauses + 1, PAUSES_MAX);
	steer->n_vain = steer->n_blind = 0;
}

static void forget_move(struct steer *steer)
{
	if (steer->moved)
		atomic_store(&steer->moved->verdict, PATH_UNTRIED);
	steer->moved = NULL;
	steer->going_back = false;
}

static void judge(struct pool *pool, const struct policy_path paths[], uint64_t sum, int64_t now_ns)
{
	struct steer *steer = &pool->steer;
	struct connection *conn = steer->moved;

	steer->moved = NULL;
	if (steer->going_back) {
		steer->going_back = false;
		atomic_store(&conn->verdict, PATH_RETURNED);
		return;
	}
	switch (policy_steered(steer->before, sum, steer->moved_before, paths[conn->id].rate)) {
	case POLICY_BETTER:
		atomic_store(&conn->verdict, PATH_BETTER);
		steer->n_vain = steer->n_blind = steer->n_pauses = 0;
		return;
	case POLICY_WORSE:
		if (leave(pool, conn, steer->old_port)) {
			steer->moved = conn;
			steer->going_back = true;
		} else {
			atomic_store(&conn->verdict, PATH_UNTRIED);
		}
		break;
	case POLICY_SAME:
		atomic_store(&conn->verdict, PATH_SAME);
		break;
	}
	if (++steer->n_vain >= VAIN_MAX)
		give_up_for_now(steer, now_ns);
}

static void try_another(struct pool *pool, const struct policy_path paths[], uint64_t sum)
{
	struct steer *steer = &pool->steer;
	bool blind = steer->n_blind < BLIND_MAX;
	int i = policy_steer(paths, pool_n_slots(pool), blind, (uint32_t)random());

	if (i < 0)
		return;
	steer->n_blind += !policy_stands_out(paths, pool_n_slots(pool), (unsigned int)i);
	steer->old_port = pool->conns[i].load.port;
	if (!leave(pool, &pool->conns[i], 0))
		return;
	steer->moved = &pool->conns[i];
	steer->before = sum;
	steer->moved_before = paths[i].rate;
}

static bool is_on_its_way(const struct pool *pool)
{
	const struct connection *moved = pool->steer.moved;

	return moved && (atomic_load(&pool->leaving) == moved ||
			 atomic_load(&moved->load.state) != CONN_UP);
}

void steer_tick(struct pool *pool, int64_t now_ns)
{
	struct policy_path paths[POOL_MAX_CONNECTIONS];
	struct steer *steer = &pool->steer;
	uint64_t sum;
	bool limited;

	if (!pool->config.redial || now_ns < steer->pause_until_ns)
		return;
	if (pool_server_state(pool) != SERVER_UP || pool_is_suspicious(pool)) {
		steer->since_ns = 0; /* it is not the paths, or not the time to find out */
		forget_move(steer);
		return;
	}
	if (steer->moved && connection_is_retired(steer->moved))
		forget_move(steer);
	if (!steer->since_ns || is_on_its_way(pool)) {
		begin(pool, now_ns);
		return;
	}
	if (steer->moved)
		atomic_store(&steer->moved->verdict, PATH_JUDGING);
	steer->n_ticks++;
	steer->n_busy += atomic_load(&pool->n_queued) > 0;
	if (now_ns - steer->since_ns < SAMPLE_NS)
		return;
	sum = measure(pool, now_ns, paths);
	limited = sum >= LEAST && is_limited(pool, now_ns);
	if (!limited)
		forget_move(steer); /* nothing to compare with */
	else if (steer->moved)
		judge(pool, paths, sum, now_ns);
	if (limited && !steer->moved && now_ns >= steer->pause_until_ns)
		try_another(pool, paths, sum);
	begin(pool, now_ns);
}
