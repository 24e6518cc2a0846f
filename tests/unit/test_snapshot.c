/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_snapshot - what a pool tells of itself, also when a loop does not answer; and what can be changed while it
 * lives: the number of its connections, and whether calls wait for a server that is away. */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../conn/conn.h"
#include "../../conn/rpc.h"
#include "../../conn/snapshot.h"
#include "../../conn/util.h"
#include "fakeserver.h"

enum { PATIENCE_S = 30, CALLS = 400 };

struct bench {
	struct fake_server *server;
	struct pool *pool;
	struct pool_config config;
	struct pool_snapshot snapshot;
	_Atomic(unsigned int) n_done, n_failed;
};

struct one_call {
	struct call call;
	struct bench *bench;
	_Atomic(unsigned int) n_done;
	_Atomic(int) status;
	uint8_t head[CALL_HEAD_SMALL];
};

static struct bench *bench_new(unsigned int n_connections, unsigned int n_loops)
{
	struct bench *bench = calloc(1, sizeof(*bench));
	struct sockaddr_in *sin = (struct sockaddr_in *)&bench->config.addrs[0].sa;

	bench->server = fake_server_new();
	bench->config = (struct pool_config){
		.n_connections = n_connections,
		.n_loops = n_loops,
		.n_addrs = 1,
		.prog = FAKE_PROG,
		.vers = FAKE_VERS,
		.transfer_max = MIB(1),
		.connect_ns = 2 * NS_PER_S,
		.detect_ns = 1 * NS_PER_S,
	};
	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sin->sin_port = htons(fake_server_port(bench->server));
	bench->config.addrs[0].len = sizeof(*sin);
	assert(!pool_open(&bench->config, &bench->pool));
	assert(!pool_wait_up(bench->pool, n_connections, clock_ns() + PATIENCE_S * NS_PER_S));
	return bench;
}

static void bench_free(struct bench *bench)
{
	pool_close(bench->pool);
	fake_server_free(bench->server);
	free(bench);
}

static const struct pool_snapshot *look(struct bench *bench)
{
	pool_snapshot(bench->pool, 5 * NS_PER_S, &bench->snapshot);
	return &bench->snapshot;
}

static void done(struct call *call)
{
	struct one_call *one = container_of(call, struct one_call, call);

	one->n_done++;
	one->status = call->status;
	one->bench->n_failed += call->status != 0;
	one->bench->n_done++;
}

static void submit(struct one_call *one, struct bench *bench, uint32_t id, uint32_t action, int64_t deadline_ns)
{
	const struct cred cred = { .uid = 1 };
	uint32_t words[6] = { id, action, UINT32_MAX, 0, 0, 0 }, room;
	uint8_t *args;

	one->bench = bench;
	call_init(&one->call);
	args = call_begin(&one->call, one->head, sizeof(one->head), &cred, FAKE_PROG, FAKE_VERS, FAKE_PROC, &room);
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = htonl(words[i]);
	memcpy(args, words, sizeof(words));
	call_end(&one->call, sizeof(words));
	one->call.done = done;
	one->call.reply_max = 4096;
	one->call.deadline_ns = deadline_ns;
	pool_submit(bench->pool, &one->call);
}

static void wait_done(struct bench *bench, unsigned int n)
{
	int64_t until_ns = clock_ns() + PATIENCE_S * NS_PER_S;

	while (bench->n_done < n && clock_ns() < until_ns)
		usleep(1000);
	assert(bench->n_done == n);
}

static void wait_conns(struct bench *bench, unsigned int n, unsigned int n_up)
{
	int64_t until_ns = clock_ns() + PATIENCE_S * NS_PER_S;

	while ((look(bench)->n_conns != n || bench->snapshot.pool.n_up != n_up) && clock_ns() < until_ns)
		usleep(5000);
	assert(bench->snapshot.n_conns == n && bench->snapshot.pool.n_up == n_up);
}

/* ---- telling ----------------------------------------------------------------------------- */

static void test_fresh(void)
{
	struct bench *bench = bench_new(3, 2);
	struct one_call *silent = calloc(1, sizeof(*silent)), *other = calloc(1, sizeof(*other));
	struct histogram_sum sum = { 0 };
	unsigned int n_calls = 0;
	int64_t before_ns = clock_ns();

	submit(silent, bench, 1, FAKE_SILENT, INT64_MAX);
	submit(other, bench, 2, FAKE_ANSWER, INT64_MAX);
	wait_done(bench, 1);
	assert(look(bench)->n_conns == 3 && bench->snapshot.n_loops == 2 && !bench->snapshot.n_stale_loops);
	assert(bench->snapshot.pool.server == SERVER_UP && bench->snapshot.last_rx_ns >= before_ns);
	for (unsigned int i = 0; i < 3; i++) {
		const struct conn_snapshot *conn = &bench->snapshot.conns[i];

		assert(!conn->stale && !conn->retired && conn->info.id == i && conn->info.state == CONN_UP);
		assert(conn->tcp_rtt_ns > 0 && conn->since_ns > 0 && conn->since_ns <= before_ns);
		assert(conn->verdict == PATH_UNTRIED && !conn->reason);
		n_calls += conn->n_calls;
		if (conn->n_calls)
			assert(conn->oldest_ns >= before_ns - NS_PER_S && conn->oldest_ns <= clock_ns());
	}
	assert(n_calls == 1); /* NULL calls are not counted */
	pool_latency(bench->pool, FAKE_PROC, &sum);
	assert(sum.count == 1 && sum.max_ns < PATIENCE_S * NS_PER_S);
	bench_free(bench);
	assert(silent->n_done == 1);
	free(silent);
	free(other);
}

struct blocker {
	struct loop_task task;
	_Atomic(bool) running, go;
};

static void block(struct loop_task *task)
{
	struct blocker *blocker = container_of(task, struct blocker, task);

	blocker->running = true;
	while (!blocker->go)
		usleep(1000);
}

/* A loop that is stuck costs the time given, and leaves the others to be seen. */
static void test_stale(void)
{
	struct bench *bench = bench_new(4, 2);
	struct blocker blocker = { .task.run = block };
	int64_t start_ns;

	loop_post(pool_loop(bench->pool, 1), &blocker.task);
	while (!blocker.running)
		usleep(1000);
	for (unsigned int round = 0; round < 3; round++) {
		start_ns = clock_ns();
		pool_snapshot(bench->pool, 100 * NS_PER_MS, &bench->snapshot);
		assert(clock_ns() - start_ns >= 100 * NS_PER_MS && clock_ns() - start_ns < 3 * NS_PER_S);
		assert(bench->snapshot.n_stale_loops == 1 && bench->snapshot.n_conns == 4);
		for (unsigned int i = 0; i < 4; i++) {
			assert(bench->snapshot.conns[i].stale == (i % 2 == 1));
			assert(bench->snapshot.conns[i].info.state == CONN_UP);
		}
	}
	blocker.go = true;
	assert(!look(bench)->n_stale_loops);
	bench_free(bench);
}

static void test_probe(void)
{
	struct bench *bench = bench_new(2, 2);
	int64_t asked_ns = clock_ns(), until_ns = asked_ns + PATIENCE_S * NS_PER_S;

	pool_probe(bench->pool);
	while (look(bench)->last_rx_ns < asked_ns && clock_ns() < until_ns)
		usleep(1000);
	assert(bench->snapshot.last_rx_ns >= asked_ns);
	fake_server_freeze(bench->server, true);
	usleep(50000);
	asked_ns = clock_ns();
	pool_probe(bench->pool);
	usleep(200000);
	assert(look(bench)->last_rx_ns < asked_ns);
	fake_server_freeze(bench->server, false);
	bench_free(bench);
}

/* Why and since when. */
static void test_lost(void)
{
	struct bench *bench = bench_new(1, 1);
	int64_t before_ns = clock_ns(), until_ns = before_ns + PATIENCE_S * NS_PER_S;

	fake_server_stop(bench->server);
	while (look(bench)->conns[0].info.state == CONN_UP && clock_ns() < until_ns)
		usleep(5000);
	while (look(bench)->conns[0].info.error != ECONNREFUSED && clock_ns() < until_ns)
		usleep(5000);
	assert(bench->snapshot.conns[0].since_ns >= before_ns && bench->snapshot.conns[0].info.reconnects == 1);
	fake_server_start(bench->server);
	wait_conns(bench, 1, 1);
	bench_free(bench);
}

/* ---- changing ---------------------------------------------------------------------------- */

/* Up and down while calls come: every one is answered, once. */
static void test_connections(void)
{
	static const unsigned int counts[] = { 5, 1, 3, 64, 2, 2, 7 };
	struct bench *bench = bench_new(2, 2);
	struct one_call *calls = calloc(CALLS * ARRAY_SIZE(counts), sizeof(*calls));
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(counts); i++) {
		for (unsigned int j = 0; j < CALLS; j++, n++) {
			submit(&calls[n], bench, n, FAKE_ANSWER, INT64_MAX);
			if (j == CALLS / 2) {
				bench->config.n_connections = counts[i];
				assert(!pool_tune(bench->pool, &bench->config));
			}
		}
		wait_done(bench, n);
		wait_conns(bench, counts[i], counts[i]);
		assert(bench->snapshot.pool.n_connections == counts[i]);
	}
	assert(!bench->n_failed);
	for (unsigned int i = 0; i < n; i++)
		assert(calls[i].n_done == 1);
	for (unsigned int i = 0; i < bench->snapshot.n_conns; i++)
		assert(!bench->snapshot.conns[i].info.reconnects); /* none was lost for it */
	bench_free(bench);
	free(calls);
}

/* A connection that has an unanswered call stays until that is answered, and takes no other. */
static void test_retired_waits(void)
{
	struct bench *bench = bench_new(2, 1);
	struct one_call *kept = calloc(8, sizeof(*kept));
	unsigned int n_retired = 0;

	for (unsigned int i = 0; i < 8; i++)
		submit(&kept[i], bench, i, FAKE_SILENT, clock_ns() + NS_PER_S * 2);
	bench->config.n_connections = 1;
	assert(!pool_tune(bench->pool, &bench->config));
	look(bench);
	for (unsigned int i = 0; i < bench->snapshot.n_conns; i++)
		n_retired += bench->snapshot.conns[i].retired;
	assert(n_retired == 1 && bench->snapshot.n_conns == 2);
	wait_done(bench, 8);
	wait_conns(bench, 1, 1);
	bench_free(bench);
	free(kept);
}

/* hard: calls wait for a server that is away; soft: they fail at once. */
static void test_hard(void)
{
	struct bench *bench = bench_new(1, 1);
	struct one_call *first = calloc(1, sizeof(*first)), *second = calloc(1, sizeof(*second));
	int64_t until_ns = clock_ns() + PATIENCE_S * NS_PER_S;

	bench->config.hard = true;
	assert(!pool_tune(bench->pool, &bench->config));
	fake_server_stop(bench->server);
	while (pool_server_state(bench->pool) != SERVER_DOWN && clock_ns() < until_ns)
		usleep(5000);
	submit(first, bench, 1, FAKE_ANSWER, INT64_MAX);
	usleep(300000);
	assert(!first->n_done && look(bench)->pool.n_queued == 1 && bench->snapshot.oldest_queued_ns);
	bench->config.hard = false;
	assert(!pool_tune(bench->pool, &bench->config));
	submit(second, bench, 2, FAKE_ANSWER, clock_ns() + 20 * NS_PER_S);
	wait_done(bench, 1);
	assert(second->n_done == 1 && second->status == -EHOSTDOWN);
	fake_server_start(bench->server);
	wait_done(bench, 2);
	assert(first->status == 0);
	bench_free(bench);
	free(first);
	free(second);
}

int main(void)
{
	test_fresh();
	test_stale();
	test_probe();
	test_lost();
	test_connections();
	test_retired_waits();
	test_hard();
	puts("snapshot: ok");
	return 0;
}
