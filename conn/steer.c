/* SPDX-License-Identifier: GPL-2.0-or-later */
/* steer - see steer.h. */
#include "steer.h"

#include <stdlib.h>
#include <time.h>

#include "policy.h"
#include "pool_parts.h"
#include "util.h"

static const int64_t SAMPLE_NS = 750 * NS_PER_MS;
static const int64_t SILENCE_NS = 250 * NS_PER_MS; /* on all of them */
static const int64_t PAUSE_NS = 60 * NS_PER_S;
static const uint64_t LEAST = 512 * 1024; /* bytes per second: less tells nothing of paths */

enum { VAIN_MAX = 16, BLIND_MAX = 4, PAUSES_MAX = 4, MANY = 6 };

_Static_assert(POOL_MAX_CONNECTIONS <= 64, "steer.counts");

static uint64_t carried(const struct connection *conn)
{
	return atomic_load_explicit(&conn->load.bytes_sent, memory_order_relaxed) +
	       atomic_load_explicit(&conn->load.bytes_received, memory_order_relaxed);
}

static struct steer_count count(const struct connection *conn)
{
	return (struct steer_count){
		.bytes = carried(conn),
		.lost = atomic_load_explicit(&conn->load.lost, memory_order_relaxed),
		.segments = atomic_load_explicit(&conn->load.segments, memory_order_relaxed),
	};
}

/* A new socket counts from 0. */
static uint64_t since(uint64_t before, uint64_t now)
{
	return now > before ? now - before : 0;
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
		steer->counts[i] = count(&pool->conns[i]);
}

/* Bytes per second. Returns their sum. */
static uint64_t measure(const struct pool *pool, int64_t now_ns, struct policy_path paths[])
{
	const struct steer *steer = &pool->steer;
	double seconds = (double)(now_ns - steer->since_ns) / 1e9;
	uint64_t sum = 0;

	for (unsigned int i = 0; i < pool_n_slots(pool); i++) {
		const struct connection *conn = &pool->conns[i];
		struct steer_count before = steer->counts[i], now = count(conn);

		paths[i] = (struct policy_path){
			.up = atomic_load(&conn->load.state) == CONN_UP && !connection_is_retired(conn) &&
			      !(pool_is_md(pool, i) && pool_is_small_busy(pool, now_ns)),
			.rate = (uint64_t)((double)(now.bytes - before.bytes) / seconds),
			.lost = since(before.lost, now.lost),
			.segments = since(before.segments, now.segments),
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

/* A reader asks for so much at once: in the end each connection has the last of it, and nothing is queued. */
static bool all_busy(const struct pool *pool)
{
	if (atomic_load(&pool->n_queued))
		return true;
	for (unsigned int i = 0; i < pool_n_active(pool); i++)
		if (atomic_load(&pool->conns[i].load.state) == CONN_UP &&
		    !atomic_load_explicit(&pool->conns[i].load.n_outstanding, memory_order_relaxed))
			return false;
	return true;
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

static void give_up_for_now(struct steer *steer, uint64_t sum, int64_t now_ns)
{
	steer->sum_at_pause = sum > steer->before ? sum : steer->before;
	steer->pause_until_ns = now_ns + (PAUSE_NS << steer->n_pauses);
	steer->n_pauses = (unsigned int)min_size(steer->n_pauses + 1, PAUSES_MAX);
	steer->n_vain = steer->n_blind = 0;
}

static void set_verdicts(struct steer *steer, enum path_verdict verdict)
{
	for (unsigned int i = 0; i < steer->n_moves; i++)
		atomic_store(&steer->moves[i].conn->verdict, verdict);
}

/* As they are now, they stay. */
static void end_moves(struct steer *steer, enum path_verdict verdict)
{
	set_verdicts(steer, verdict);
	steer->n_moves = steer->n_left = 0;
	steer->doubtful = steer->lossy = steer->going_back = false;
}

static bool any_lossy(const struct steer *steer, const struct policy_path paths[], unsigned int n)
{
	for (unsigned int i = 0; i < steer->n_moves; i++)
		if (policy_is_lossy(paths, n, steer->moves[i].conn->id))
			return true;
	return false;
}

static enum policy_steered result(const struct pool *pool, const struct policy_path paths[], uint64_t sum)
{
	const struct steer *steer = &pool->steer;
	uint64_t its = 0;

	for (unsigned int i = 0; i < steer->n_moves; i++)
		its += paths[steer->moves[i].conn->id].rate;
	if (steer->lossy)
		return any_lossy(steer, paths, pool_n_slots(pool)) ? POLICY_SAME : POLICY_BETTER;
	return policy_steered(steer->before, sum, steer->moved_before, its);
}

static void judge(struct pool *pool, const struct policy_path paths[], uint64_t sum, int64_t now_ns)
{
	struct steer *steer = &pool->steer;

	if (steer->going_back) {
		end_moves(steer, PATH_RETURNED);
		return;
	}
	switch (result(pool, paths, sum)) {
	case POLICY_BETTER:
		end_moves(steer, PATH_BETTER);
		steer->n_vain = steer->n_blind = steer->n_pauses = 0;
		steer->resumed = false;
		steer->one_by_one = false;
		return;
	case POLICY_WORSE:
		if (!steer->doubtful) { /* whoever reads in order may have waited for one that moved */
			steer->doubtful = true;
			return;
		}
		steer->one_by_one = steer->n_moves > 1;
		steer->going_back = true;
		steer->n_left = 0;
		break;
	case POLICY_SAME:
		end_moves(steer, PATH_SAME);
		break;
	}
	if (++steer->n_vain >= VAIN_MAX)
		give_up_for_now(steer, sum, now_ns);
}

static void add_move(struct pool *pool, struct policy_path paths[], int i)
{
	struct steer *steer = &pool->steer;

	steer->moves[steer->n_moves++] = (struct steer_move){ &pool->conns[i], pool->conns[i].load.port };
	steer->moved_before += paths[i].rate;
	steer->lossy = steer->lossy || policy_is_lossy(paths, pool_n_slots(pool), (unsigned int)i);
	paths[i].up = false; /* for the next one */
}

static void try_another(struct pool *pool, struct policy_path paths[], uint64_t sum)
{
	struct steer *steer = &pool->steer;
	bool blind = steer->n_blind < BLIND_MAX;
	unsigned int n = pool_n_slots(pool);
	int i = policy_steer(paths, n, blind, (uint32_t)random());

	if (i < 0)
		return;
	steer->n_blind += !policy_stands_out(paths, n, (unsigned int)i);
	steer->before = sum;
	steer->moved_before = 0;
	add_move(pool, paths, i);
	if (steer->one_by_one || pool_n_active(pool) < MANY)
		return;
	i = policy_steer(paths, n, false, (uint32_t)random());
	if (i >= 0)
		add_move(pool, paths, i);
}

/* One leaves at a time. True until all are there. */
static bool go_on(struct pool *pool)
{
	struct steer *steer = &pool->steer;
	const struct steer_move *move = &steer->moves[steer->n_left];

	if (steer->n_left < steer->n_moves && leave(pool, move->conn, steer->going_back ? move->old_port : 0))
		steer->n_left++;
	if (steer->n_left < steer->n_moves)
		return true;
	for (unsigned int i = 0; i < steer->n_moves; i++)
		if (atomic_load(&pool->leaving) == steer->moves[i].conn ||
		    atomic_load(&steer->moves[i].conn->load.state) != CONN_UP)
			return true;
	return false;
}

static bool has_retired(const struct steer *steer)
{
	for (unsigned int i = 0; i < steer->n_moves; i++)
		if (connection_is_retired(steer->moves[i].conn))
			return true;
	return false;
}

/* In a pause: the paths may not be what they were. */
static void look_out(struct pool *pool, const struct policy_path paths[], uint64_t sum, int64_t now_ns)
{
	struct steer *steer = &pool->steer;
	bool lossy = false;

	for (unsigned int i = 0; i < pool_n_slots(pool) && !steer->resumed; i++)
		lossy = lossy || policy_is_lossy(paths, pool_n_slots(pool), i);
	steer->resumed = steer->resumed || lossy;
	if (lossy || policy_steered(steer->sum_at_pause, sum, 0, 0) == POLICY_WORSE)
		steer->pause_until_ns = now_ns;
}

/* With a sample of some length. */
static void decide(struct pool *pool, int64_t now_ns)
{
	struct policy_path paths[POOL_MAX_CONNECTIONS];
	struct steer *steer = &pool->steer;
	uint64_t sum = measure(pool, now_ns, paths);

	if (sum < LEAST || !is_limited(pool, now_ns)) {
		end_moves(steer, PATH_UNTRIED); /* nothing to compare with */
		return;
	}
	if (now_ns < steer->pause_until_ns)
		look_out(pool, paths, sum, now_ns);
	if (steer->n_moves)
		judge(pool, paths, sum, now_ns);
	if (!steer->n_moves && now_ns >= steer->pause_until_ns)
		try_another(pool, paths, sum);
}

void steer_tick(struct pool *pool, int64_t now_ns)
{
	struct steer *steer = &pool->steer;

	if (!pool->config.redial)
		return;
	if (pool_server_state(pool) != SERVER_UP || now_ns - pool_others_rx_ns(pool, NULL) >= SILENCE_NS) {
		steer->since_ns = 0; /* it is not the paths, or not the time to find out */
		end_moves(steer, PATH_UNTRIED);
		return;
	}
	if (has_retired(steer))
		end_moves(steer, PATH_UNTRIED);
	if (!steer->since_ns || go_on(pool)) {
		begin(pool, now_ns);
		return;
	}
	set_verdicts(steer, PATH_JUDGING);
	steer->n_ticks++;
	steer->n_busy += all_busy(pool);
	if (now_ns - steer->since_ns < SAMPLE_NS)
		return;
	decide(pool, now_ns);
	begin(pool, now_ns);
}
