/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_pool - against a server that misbehaves: every call is done exactly once, with the answer that
 * is its own or an error that is true, and nothing waits for longer than it must.
 *
 * Every test has a server and a pool of its own, so they run side by side. Times are short, and
 * asserted only where they are the point, with much room. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../conn/addr.h"
#include "../../conn/conn.h"
#include "../../conn/rpc.h"
#include "../../conn/util.h"
#include "fakeserver.h"

enum { LENGTH_MAX = 1 << 20, PATIENCE_S = 30, SIDE_BY_SIDE = 6 };
/* A connection is dead after so long a silence: in tests of that, and in all others. */
static const int64_t DETECT_NS = 1 * NS_PER_S;
static const int64_t DETECT_LONG_NS = 10 * NS_PER_S;
static const int64_t SHORT_NS = 100 * NS_PER_MS; /* a deadline that is meant to pass */

/* A test's own; what changes is under lock. */
struct bench {
	struct fake_server *server;
	struct pool *pool;
	struct pool_config config;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int n_done;
	unsigned int events[POOL_NO_RESVPORT + 1];
	unsigned int n_told_lost;
};

struct test_call {
	struct call call;
	struct bench *bench;
	struct fake_args args;
	uint8_t *payload, *place_to; /* WRITE; READ */
	unsigned int n_done;         /* under the bench's lock, as what follows */
	int status;
	bool ambiguous, was_placed;
	int64_t done_ns;
	bool bad_reply;              /* done() is to complain */
	unsigned int n_again;        /* done() is to submit it again, so many times */
	struct loop_task task;
	uint8_t head[CALL_HEAD_SMALL];
};

/* ---- the bench --------------------------------------------------------------------------- */

static void on_event(void *userdata, const struct pool_event *event)
{
	struct bench *bench = userdata;

	pthread_mutex_lock(&bench->lock);
	bench->events[event->type] += event->n_conns ? event->n_conns : 1;
	if (event->type == POOL_CONN_DOWN)
		bench->n_told_lost++;
	pthread_cond_broadcast(&bench->changed);
	pthread_mutex_unlock(&bench->lock);
}

static void bench_init(struct bench *bench, unsigned int n_connections, unsigned int n_loops)
{
	struct sockaddr_in *sin = (struct sockaddr_in *)&bench->config.addrs[0].sa;
	pthread_condattr_t attr;

	*bench = (struct bench){ .server = fake_server_new() };
	pthread_mutex_init(&bench->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&bench->changed, &attr);
	pthread_condattr_destroy(&attr);
	bench->config = (struct pool_config){
		.n_connections = n_connections,
		.n_loops = n_loops,
		.n_addrs = 1,
		.prog = FAKE_PROG,
		.vers = FAKE_VERS,
		.transfer_max = LENGTH_MAX,
		.connect_ns = 2 * NS_PER_S,
		.detect_ns = DETECT_LONG_NS,
		.event = on_event,
		.userdata = bench,
	};
	sin->sin_family = AF_INET;
	sin->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sin->sin_port = htons(fake_server_port(bench->server));
	bench->config.addrs[0].len = sizeof(*sin);
}

static int64_t patience(void)
{
	return clock_ns() + PATIENCE_S * NS_PER_S;
}

static void bench_open(struct bench *bench)
{
	assert(!pool_open(&bench->config, &bench->pool));
	assert(!pool_wait_up(bench->pool, bench->config.n_connections, patience()));
}

static void bench_start(struct bench *bench, unsigned int n_connections, unsigned int n_loops)
{
	bench_init(bench, n_connections, n_loops);
	bench_open(bench);
}

/* One that finds out soon about silence. */
static void bench_start_alert(struct bench *bench, unsigned int n_connections)
{
	bench_init(bench, n_connections, 2);
	bench->config.detect_ns = DETECT_NS;
	bench_open(bench);
}

/* When every call is done, windows must be empty again: what is counted twice would stay. */
static void check_accounts(struct bench *bench)
{
	struct conn_info info;

	for (unsigned int i = 0; i < bench->config.n_connections; i++) {
		int64_t until_ns = patience();

		do
			pool_conn_info(bench->pool, i, &info);
		while ((info.bytes_outstanding || info.n_outstanding) && clock_ns() < until_ns);
		assert(!info.bytes_outstanding && !info.n_outstanding);
	}
}

static void bench_stop(struct bench *bench)
{
	pool_close(bench->pool);
	bench->pool = NULL;
	fake_server_free(bench->server);
	pthread_cond_destroy(&bench->changed);
	pthread_mutex_destroy(&bench->lock);
}

static struct timespec patience_timespec(void)
{
	int64_t ns = patience();

	return (struct timespec){ .tv_sec = (time_t)(ns / NS_PER_S),
				  .tv_nsec = (long)(ns % NS_PER_S) };
}

/* What the pool was doing when a test ran out of patience. */
static void show(struct bench *bench)
{
	struct pool_info pool;

	pool_info(bench->pool, &pool);
	fprintf(stderr, "server %d, %u up, %u queued, %u done\n", (int)pool.server, pool.n_up,
		pool.n_queued, bench->n_done);
	for (unsigned int i = 0; i < bench->config.n_connections; i++) {
		struct conn_info conn;

		pool_conn_info(bench->pool, i, &conn);
		fprintf(stderr, "%u: %s, %u calls, %lu bytes outstanding, %lu sent, %lu received\n",
			i, conn_state_name(conn.state), conn.n_outstanding, conn.bytes_outstanding,
			conn.bytes_sent, conn.bytes_received);
	}
}

/* Until so many calls are done in all. */
static void wait_done(struct bench *bench, unsigned int n)
{
	struct timespec until = patience_timespec();

	pthread_mutex_lock(&bench->lock);
	while (bench->n_done < n)
		if (pthread_cond_timedwait(&bench->changed, &bench->lock, &until)) {
			show(bench);
			assert(!"a call is not done");
		}
	assert(bench->n_done == n);
	pthread_mutex_unlock(&bench->lock);
}

static void wait_event(struct bench *bench, enum pool_event_type type, unsigned int n)
{
	struct timespec until = patience_timespec();

	pthread_mutex_lock(&bench->lock);
	while (bench->events[type] < n)
		assert(!pthread_cond_timedwait(&bench->changed, &bench->lock, &until));
	pthread_mutex_unlock(&bench->lock);
}

static unsigned int n_events(struct bench *bench, enum pool_event_type type)
{
	unsigned int n;

	pthread_mutex_lock(&bench->lock);
	n = bench->events[type];
	pthread_mutex_unlock(&bench->lock);
	return n;
}

static void wait_server(struct bench *bench, enum server_state state)
{
	int64_t until_ns = patience();

	while (pool_server_state(bench->pool) != state) {
		assert(clock_ns() < until_ns);
		usleep(1000);
	}
}

static void sleep_ms(unsigned int ms)
{
	usleep(ms * 1000);
}

/* ---- calls ------------------------------------------------------------------------------- */

static void check_pattern(const struct test_call *test, const uint8_t *bytes, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert(bytes[i] == fake_pattern(test->args.id, i));
}

static void check_results(struct test_call *test)
{
	const struct call *call = &test->call;

	assert(call->results_len >= 8 && rpc_read(call->results) == test->args.id);
	assert(rpc_read(call->results + 4) == test->args.length);
	if (call->placed_len) {
		assert(call->results_len == 8 && call->placed_len == test->args.length);
		check_pattern(test, test->place_to, call->placed_len);
	} else {
		assert(call->results_len ==
		       8 + test->args.length + xdr_pad(test->args.length));
		check_pattern(test, call->results + 8, test->args.length);
	}
}

static void done(struct call *call)
{
	struct test_call *test = container_of(call, struct test_call, call);
	struct bench *bench = test->bench;
	bool again;

	assert(call->state == CALL_IDLE);
	if (!call->status)
		check_results(test);
	if (test->bad_reply && !call->status)
		call_bad_reply(call, "the test does not like it");
	pthread_mutex_lock(&bench->lock);
	test->n_done++;
	test->status = call->status;
	test->ambiguous = call->ambiguous;
	test->was_placed = call->placed_len > 0;
	test->done_ns = clock_ns();
	again = !call->status && test->n_again > 0;
	test->n_again -= again;
	bench->n_done++;
	pthread_cond_broadcast(&bench->changed);
	pthread_mutex_unlock(&bench->lock);
	if (again)
		pool_submit(bench->pool, call); /* refused when the pool is being closed */
}

static int place(struct call *call, const uint8_t *results, uint32_t have,
		 struct placement *ret_where)
{
	struct test_call *test = container_of(call, struct test_call, call);

	if (have < 8)
		return 0;
	if (rpc_read(results) != test->args.id || rpc_read(results + 4) != test->args.length)
		return -EBADMSG;
	*ret_where = (struct placement){ 8, test->place_to, test->args.length };
	return 1;
}

static void encode(struct test_call *test)
{
	uint32_t room;
	uint8_t *at = call_begin(&test->call, test->head, sizeof(test->head), NULL, FAKE_PROG,
				 FAKE_VERS, FAKE_PROC, &room);

	rpc_write(at, test->args.id);
	rpc_write(at + 4, test->args.action);
	rpc_write(at + 8, test->args.times);
	rpc_write(at + 12, test->args.extra);
	rpc_write(at + 16, test->args.length);
	rpc_write(at + 20, test->args.payload);
	call_end(&test->call, sizeof(test->args));
}

/* One that the server answers with `length` bytes, unless action says otherwise (the first time). */
static struct test_call *call_new(struct bench *bench, uint32_t id, enum fake_action action,
				  uint32_t length)
{
	struct test_call *test = calloc(1, sizeof(*test));

	assert(test);
	test->bench = bench;
	test->args = (struct fake_args){ id, action, action != FAKE_ANSWER, 0, length, 0 };
	call_init(&test->call);
	test->call.done = done;
	test->call.reply_max = 8 + length + 4;
	if (length >= 16 * 1024) {
		test->place_to = malloc(length);
		assert(test->place_to);
		test->call.place = place;
		test->call.size = CALL_BULK;
	}
	encode(test);
	return test;
}

static void call_set_payload(struct test_call *test, uint32_t n)
{
	test->payload = malloc(n);
	assert(test->payload);
	for (uint32_t i = 0; i < n; i++)
		test->payload[i] = fake_pattern(test->args.id, i);
	test->call.payload = test->payload;
	test->call.payload_len = test->args.payload = n;
	test->call.size = CALL_BULK;
	test->call.class = CALL_WRITE;
	encode(test);
}

static void call_free(struct test_call *test)
{
	free(test->payload);
	free(test->place_to);
	free(test);
}

static void submit(struct test_call *test)
{
	pool_submit(test->bench->pool, &test->call);
}

/* For calls that are done. */
static void expect(struct test_call *test, int status, bool ambiguous)
{
	pthread_mutex_lock(&test->bench->lock);
	assert(test->n_done == 1);
	if (test->status != status || test->ambiguous != ambiguous)
		fprintf(stderr, "call %u: status %d, ambiguous %d, wanted %d, %d\n", test->args.id,
			test->status, test->ambiguous, status, ambiguous);
	assert(test->status == status && test->ambiguous == ambiguous);
	pthread_mutex_unlock(&test->bench->lock);
}

static uint64_t total_reconnects(struct bench *bench)
{
	struct conn_info info;
	uint64_t n = 0;

	for (unsigned int i = 0; i < bench->config.n_connections; i++) {
		pool_conn_info(bench->pool, i, &info);
		n += info.reconnects;
	}
	return n;
}

static unsigned int count_up(struct bench *bench)
{
	struct conn_info info;
	unsigned int n = 0;

	for (unsigned int i = 0; i < bench->config.n_connections; i++) {
		pool_conn_info(bench->pool, i, &info);
		n += info.state == CONN_UP;
	}
	return n;
}

/* All up, after so many losses. (The event comes a second later.) */
static void wait_reconnected(struct bench *bench, uint64_t reconnects)
{
	int64_t until_ns = patience();

	while (total_reconnects(bench) < reconnects || count_up(bench) < bench->config.n_connections) {
		assert(clock_ns() < until_ns);
		usleep(1000);
	}
}

static void wait_lost(struct bench *bench, uint64_t n)
{
	int64_t until_ns = patience();

	while (total_reconnects(bench) < n) {
		assert(clock_ns() < until_ns);
		usleep(1000);
	}
}

/* A small call that is answered, to see that all is well. */
static void expect_works(struct bench *bench, uint32_t id)
{
	struct test_call *test = call_new(bench, id, FAKE_ANSWER, 20);
	uint8_t copy[64];

	test->call.deadline_ns = patience();
	assert(!pool_call_wait(bench->pool, &test->call, copy, sizeof(copy)));
	assert(test->call.results == copy && test->call.results_len == 28);
	assert(rpc_read(copy) == id);
	check_pattern(test, copy + 8, 20);
	call_free(test);
}

/* ---- all well ---------------------------------------------------------------------------- */

static void check_up(unsigned int n_connections, unsigned int n_loops)
{
	struct bench bench;
	struct pool_info info;

	bench_start(&bench, n_connections, n_loops);
	assert(fake_server_n_accepted(bench.server) == n_connections);
	pool_info(bench.pool, &info);
	assert(info.server == SERVER_UP && info.n_up == n_connections);
	assert(info.n_connections == n_connections);
	for (unsigned int i = 0; i < n_connections; i++) {
		struct conn_info conn;

		pool_conn_info(bench.pool, i, &conn);
		assert(conn.id == i && conn.state == CONN_UP && !conn.error && !conn.reconnects);
		assert(sockaddr_port(&conn.remote) == fake_server_port(bench.server));
		assert(sockaddr_port(&conn.local) && conn.calls_done == 1 && conn.rtt_ns > 0);
	}
	expect_works(&bench, 1);
	check_accounts(&bench);
	wait_event(&bench, POOL_CONN_UP, n_connections);
	assert(n_events(&bench, POOL_SERVER_UP) == 1);
	bench_stop(&bench);
}

static void test_up(void)
{
	check_up(1, 1);
	check_up(1, 4); /* loops without a connection */
	check_up(7, 3);
	check_up(64, 0);
}

struct submitter {
	struct bench *bench;
	pthread_t thread;
	unsigned int n;
	struct test_call *calls[400];
};

static void *submit_all(void *arg)
{
	struct submitter *submitter = arg;

	for (unsigned int i = 0; i < submitter->n; i++)
		submit(submitter->calls[i]);
	return NULL;
}

/* Many calls of all sizes from threads that are no loops. */
static void check_many(unsigned int n_connections, unsigned int n_loops)
{
	static const uint32_t lengths[] = { 0, 4, 100, 4096, 16384, 40000, 100, 131072 };
	struct submitter submitters[4];
	struct bench bench;
	uint32_t id = 0;

	bench_start(&bench, n_connections, n_loops);
	for (size_t s = 0; s < ARRAY_SIZE(submitters); s++) {
		struct submitter *submitter = &submitters[s];

		submitter->bench = &bench;
		submitter->n = ARRAY_SIZE(submitter->calls);
		for (unsigned int i = 0; i < submitter->n; i++, id++) {
			submitter->calls[i] = call_new(&bench, id, FAKE_ANSWER,
						       lengths[id % ARRAY_SIZE(lengths)]);
			if (id % 5 == 0)
				call_set_payload(submitter->calls[i], 1 + id % 5000);
		}
	}
	for (size_t s = 0; s < ARRAY_SIZE(submitters); s++)
		assert(!pthread_create(&submitters[s].thread, NULL, submit_all, &submitters[s]));
	for (size_t s = 0; s < ARRAY_SIZE(submitters); s++)
		pthread_join(submitters[s].thread, NULL);
	wait_done(&bench, id);
	check_accounts(&bench);
	assert(!total_reconnects(&bench));
	for (size_t s = 0; s < ARRAY_SIZE(submitters); s++)
		for (unsigned int i = 0; i < submitters[s].n; i++) {
			struct test_call *test = submitters[s].calls[i];
			unsigned int seen = fake_server_seen(bench.server, test->args.id);

			expect(test, 0, false);
			/* On a machine that takes a second for it, it has been repeated. */
			assert(seen >= 1 && seen <= 1 + test->call.n_repeats);
			assert(fake_server_payload_ok(bench.server, test->args.id));
			call_free(test);
		}
	bench_stop(&bench);
}

static void test_many(void)
{
	check_many(1, 1);
	check_many(8, 2);
	check_many(5, 3);
}

/* Payloads of 1 MiB go to their own buffers, whatever the pieces. */
static void test_placed(void)
{
	enum { N = 24 };
	struct test_call *calls[N];
	struct bench bench;
	unsigned int n_placed = 0;

	bench_start(&bench, 3, 2);
	for (uint32_t i = 0; i < N; i++) {
		calls[i] = call_new(&bench, i, i % 3 ? FAKE_ANSWER : FAKE_UNKNOWN, LENGTH_MAX - i);
		submit(calls[i]);
	}
	wait_done(&bench, N);
	for (int i = 0; i < N; i++) {
		expect(calls[i], 0, false);
		n_placed += calls[i]->was_placed;
		call_free(calls[i]);
	}
	assert(n_placed > N / 2);
	check_accounts(&bench);
	bench_stop(&bench);
}

/* ---- one connection breaks --------------------------------------------------------------- */

struct broken_row {
	const char *what;
	enum fake_action action;
	uint32_t times, extra, length;
	enum call_class class;
	uint32_t payload_len;
	int status;
	bool ambiguous;
	unsigned int seen;      /* how often the server gets it */
	unsigned int reconnects;
	unsigned int bad_replies;
};

static const struct broken_row broken[] = {
	{ "closed: again, elsewhere", FAKE_CLOSE, 1, .length = 50, .seen = 2, .reconnects = 1 },
	{ "closed five times", FAKE_CLOSE, 5, .length = 50, .seen = 6, .reconnects = 5 },
	{ "reset", FAKE_RESET, 1, .length = 50, .seen = 2, .reconnects = 1 },
	{ "cut in the head", FAKE_CUT, 1, .length = 2, .seen = 2, .reconnects = 1 },
	{ "cut in a placed payload", FAKE_CUT, 2, .length = 300000, .seen = 3, .reconnects = 2 },
	{ "closed under a WRITE", FAKE_CLOSE, 1, .length = 8, .payload_len = 100001, .seen = 2,
	  .class = CALL_WRITE, .reconnects = 1 },
	{ "cut under a WRITE", FAKE_CUT, 1, .length = 8, .payload_len = 3, .seen = 2,
	  .class = CALL_WRITE, .reconnects = 1 },
	{ "closed under a CREATE: again, to the reply cache", FAKE_CLOSE, 1, .length = 50,
	  .class = CALL_OTHER, .seen = 2, .reconnects = 1 },
	{ "cut under a CREATE", FAKE_CUT, 1, .length = 50, .class = CALL_OTHER, .seen = 2,
	  .reconnects = 1 },
	{ "reset under a CREATE, twice", FAKE_RESET, 2, .length = 50, .class = CALL_OTHER, .seen = 3,
	  .reconnects = 2 },
	{ "closed under a CREATE again and again", FAKE_CLOSE, 99, .length = 50,
	  .class = CALL_OTHER, .seen = 3, .status = -ETIMEDOUT, .ambiguous = true,
	  .reconnects = 3 },
	{ "closed under a REMOVE: never again", FAKE_CLOSE, 1, .length = 50, .class = CALL_ONCE,
	  .seen = 1, .status = -ETIMEDOUT, .ambiguous = true, .reconnects = 1 },
	{ "garbage for a CREATE", FAKE_GARBAGE, 1, .length = 50, .class = CALL_OTHER, .seen = 2,
	  .reconnects = 1, .bad_replies = 1 },
	{ "garbage", FAKE_GARBAGE, 1, .length = 50, .seen = 2, .reconnects = 1, .bad_replies = 1 },
	{ "garbage for ever", FAKE_GARBAGE, 99, .length = 50, .seen = 3, .reconnects = 3,
	  .bad_replies = 3, .status = -EIO },
	{ "garbage for ever, WRITE", FAKE_GARBAGE, 99, .length = 8, .payload_len = 100, .seen = 3,
	  .class = CALL_WRITE, .reconnects = 3, .bad_replies = 3, .status = -EIO,
	  .ambiguous = true },
	{ "mark too large", FAKE_BAD_MARK, 1, .length = 50, .seen = 2, .reconnects = 1,
	  .bad_replies = 1 },
	{ "a call for a reply", FAKE_CALL, 1, .length = 50, .seen = 2, .reconnects = 1,
	  .bad_replies = 1 },
	{ "longer than allowed", FAKE_LONGER, 99, .extra = 8, .length = 50, .seen = 1,
	  .status = -EIO, .reconnects = 1, .bad_replies = 1 },
	{ "large, and longer than allowed", FAKE_LONGER, 99, .extra = 8, .length = 50000, .seen = 1,
	  .status = -EIO, .reconnects = 1, .bad_replies = 1 },
	{ "answered twice", FAKE_TWICE, 1, .length = 50, .seen = 1 },
	{ "large, answered twice", FAKE_TWICE, 1, .length = 200000, .seen = 1 },
	{ "unknown xids before", FAKE_UNKNOWN, 1, .length = 50, .seen = 1 },
	{ "fragments", FAKE_FRAGMENTS, 1, .extra = 7, .length = 1000, .seen = 1 },
	{ "large, in fragments", FAKE_FRAGMENTS, 1, .extra = 30000, .length = 200000, .seen = 1 },
	{ "byte by byte", FAKE_TRICKLE, 1, .extra = 1, .length = 50, .seen = 1 },
	{ "large, in pieces", FAKE_TRICKLE, 1, .extra = 9000, .length = 200000, .seen = 1 },
	{ "refused", FAKE_REFUSE, 1, .length = 50, .seen = 1, .status = -EIO },
	{ "deaf", FAKE_DEAF, 1, .length = 50, .seen = 2, .reconnects = 1 },
	{ "deaf under a CREATE", FAKE_DEAF, 1, .length = 50, .class = CALL_OTHER, .seen = 1,
	  .status = -ETIMEDOUT, .ambiguous = true, .reconnects = 1 },
};

static void check_outcome(struct bench *bench, const struct broken_row *row, struct test_call *test,
			  int64_t start_ns)
{
	struct pool_info info;
	unsigned int seen;
	bool exact;

	expect(test, row->status, row->ambiguous);
	/* On a machine that stands still for a moment everything is silent: deaf ones may be more. */
	exact = row->action != FAKE_DEAF && clock_ns() - start_ns < NS_PER_S;
	seen = fake_server_seen(bench->server, 1000);
	assert(exact ? seen == row->seen : seen >= row->seen);
	if (row->payload_len)
		assert(fake_server_payload_ok(bench->server, 1000));
	wait_reconnected(bench, row->reconnects);
	assert(exact ? total_reconnects(bench) == row->reconnects :
		       total_reconnects(bench) >= row->reconnects);
	pool_info(bench->pool, &info);
	assert(info.n_bad_replies == row->bad_replies);
	assert(info.n_ambiguous >= row->ambiguous);
}

/* The call of the row among others, which all must be answered. False: its port was taken. */
static bool run_broken(const struct broken_row *row, unsigned int n_connections)
{
	enum { N_OTHERS = 40 };
	struct test_call *test, *others[N_OTHERS];
	struct bench bench;
	int64_t start_ns = clock_ns();
	bool taken;

	if (row->action == FAKE_DEAF)
		bench_start_alert(&bench, n_connections);
	else
		bench_start(&bench, n_connections, 2);
	test = call_new(&bench, 1000, row->action, row->length);
	test->args.times = row->times;
	test->args.extra = row->extra;
	if (row->payload_len)
		call_set_payload(test, row->payload_len);
	test->call.class = row->class;
	encode(test);
	for (uint32_t i = 0; i < N_OTHERS; i++) {
		others[i] = call_new(&bench, i, FAKE_ANSWER, i % 8 ? 30 : 100000);
		if (i % 5 == 0)
			call_set_payload(others[i], 5000);
		submit(others[i]);
		if (i == N_OTHERS / 2)
			submit(test);
	}
	wait_done(&bench, N_OTHERS + 1);
	taken = row->class == CALL_OTHER && !row->status && test->status == -ETIMEDOUT && test->ambiguous;
	if (!taken)
		check_outcome(&bench, row, test, start_ns);
	for (int i = 0; i < N_OTHERS; i++) {
		/* Innocent, but on the connection that sends garbage again and again. */
		if (others[i]->status != -EIO || row->times < 3)
			expect(others[i], 0, false);
		call_free(others[i]);
	}
	expect_works(&bench, 2000);
	check_accounts(&bench);
	bench_stop(&bench);
	assert(test->n_done == 1);
	call_free(test);
	return !taken;
}

/* The port that a call is to be replayed from may have become another program's. Not again and again. */
static void check_broken(const struct broken_row *row, unsigned int n_connections)
{
	unsigned int n = 0;

	while (!run_broken(row, n_connections))
		assert(++n < 3);
}

static void test_broken(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		if (broken[i].action != FAKE_DEAF)
			check_broken(&broken[i], i % 2 ? 4 : 1);
}

static void test_broken_deaf(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		if (broken[i].action == FAKE_DEAF)
			check_broken(&broken[i], 2);
}

/* Every tenth call breaks its connection, on all of them, all the time. */
static void test_storm(void)
{
	static const enum fake_action actions[] = { FAKE_CLOSE, FAKE_CUT, FAKE_RESET };
	enum { N = 600 };
	struct test_call *calls[N];
	struct bench bench;

	bench_start(&bench, 8, 3);
	for (uint32_t i = 0; i < N; i++) {
		calls[i] = call_new(&bench, i, i % 10 ? FAKE_ANSWER : actions[i / 10 % 3],
				    i % 4 ? 40 : 70000);
		if (i % 7 == 0)
			call_set_payload(calls[i], 20000);
		if (i % 11 == 0)
			calls[i]->call.class = CALL_OTHER;
		submit(calls[i]);
	}
	wait_done(&bench, N);
	for (uint32_t i = 0; i < N; i++) {
		if (calls[i]->call.class == CALL_OTHER && calls[i]->status)
			expect(calls[i], -ETIMEDOUT, true);
		else
			expect(calls[i], 0, false);
		if (calls[i]->call.class == CALL_OTHER)
			assert(fake_server_seen(bench.server, i) <= 3);
		call_free(calls[i]);
	}
	expect_works(&bench, 2000);
	check_accounts(&bench);
	bench_stop(&bench);
}

static void test_out_of_order(void)
{
	enum { N = 16 };
	struct test_call *calls[N];
	struct bench bench;

	bench_start(&bench, 1, 1);
	for (uint32_t i = 0; i < N; i++) {
		calls[i] = call_new(&bench, i, FAKE_REVERSE, i % 4 ? 10 : 50000);
		calls[i]->args.extra = N;
		encode(calls[i]);
		submit(calls[i]);
	}
	wait_done(&bench, N);
	for (int i = 0; i < N; i++) {
		expect(calls[i], 0, false);
		call_free(calls[i]);
	}
	check_accounts(&bench);
	bench_stop(&bench);
}

/* A complaint in done() closes the connection; what else was on it goes on. */
static void test_bad_reply(void)
{
	struct test_call *calls[10];
	struct pool_info info;
	struct bench bench;

	bench_start(&bench, 1, 1);
	for (uint32_t i = 0; i < ARRAY_SIZE(calls); i++) {
		calls[i] = call_new(&bench, i, FAKE_ANSWER, 10);
		calls[i]->bad_reply = i == 3;
		submit(calls[i]);
	}
	wait_done(&bench, ARRAY_SIZE(calls));
	wait_reconnected(&bench, 1);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		expect(calls[i], 0, false);
		call_free(calls[i]);
	}
	pool_info(bench.pool, &info);
	assert(info.n_bad_replies == 1 && n_events(&bench, POOL_BAD_REPLY) == 1);
	assert(total_reconnects(&bench) == 1);
	bench_stop(&bench);
}

/* A connection that the server closed is dialled from its old port, for the server's reply cache. */
static void test_ports(void)
{
	enum { ROUNDS = 4 };
	struct test_call *calls[ROUNDS];
	struct bench bench;
	int n_same = 0;

	bench_start(&bench, 1, 1);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		calls[i] = call_new(&bench, i, FAKE_CLOSE, 10);
		submit(calls[i]);
		wait_done(&bench, i + 1);
		expect(calls[i], 0, false);
		assert(fake_server_n_accepted(bench.server) == i + 2);
		n_same += fake_server_peer_port(bench.server, i + 1) ==
			  fake_server_peer_port(bench.server, i);
	}
	assert(n_same >= ROUNDS - 1); /* some other program may have taken it meanwhile */
	bench_stop(&bench);
	for (int i = 0; i < ROUNDS; i++)
		call_free(calls[i]);
}

/* A connection that is silent while others are answered is dialled from another port: its path may be
 * the reason. What may have been executed is not replayed there. */
static void check_deaf(enum call_class class, int status)
{
	struct test_call *test;
	uint16_t before[3];
	struct bench bench;
	int64_t start_ns;

	bench_start_alert(&bench, ARRAY_SIZE(before));
	for (unsigned int i = 0; i < ARRAY_SIZE(before); i++)
		before[i] = fake_server_peer_port(bench.server, i);
	test = call_new(&bench, 1, FAKE_DEAF, 10);
	test->args.times = 1;
	test->call.class = class;
	test->call.size = CALL_BULK; /* which is not sent elsewhere after a second */
	encode(test);
	start_ns = clock_ns();
	submit(test);
	wait_done(&bench, 1);
	expect(test, status, status != 0);
	assert(test->done_ns - start_ns >= DETECT_NS && test->done_ns - start_ns < 3 * DETECT_NS);
	wait_reconnected(&bench, 1);
	assert(total_reconnects(&bench) == 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(before); i++)
		assert(fake_server_peer_port(bench.server, 3) != before[i]);
	bench_stop(&bench);
	call_free(test);
}

static void test_deaf(void)
{
	check_deaf(CALL_IDEMPOTENT, 0);
	check_deaf(CALL_OTHER, -ETIMEDOUT);
}

/* ---- time -------------------------------------------------------------------------------- */

/* Sent and not answered in time; the connection answers NULL all the while. */
static void test_deadline_sent(void)
{
	static const struct {
		enum call_class class;
		bool ambiguous;
		unsigned int reconnects;
	} rows[] = {
		/* Only forgotten: a late answer is dropped. */
		{ CALL_IDEMPOTENT, false, 0 },
		/* The server's kernel has it: a reset would not take it back. */
		{ CALL_WRITE, true, 0 },
		{ CALL_OTHER, true, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct test_call *test;
		struct bench bench;

		bench_start(&bench, 1, 1);
		test = call_new(&bench, 1, FAKE_SILENT, 10);
		if (rows[i].class == CALL_WRITE)
			call_set_payload(test, 100);
		test->call.class = rows[i].class;
		test->call.deadline_ns = clock_ns() + SHORT_NS;
		submit(test);
		wait_done(&bench, 1);
		expect(test, -ETIMEDOUT, rows[i].ambiguous);
		assert(test->done_ns >= test->call.deadline_ns);
		assert(fake_server_seen(bench.server, 1) == 1);
		expect_works(&bench, 2);
		assert(total_reconnects(&bench) == rows[i].reconnects);
		check_accounts(&bench);
		bench_stop(&bench);
		call_free(test);
	}
}

/* Its payload is being received when its time comes: the memory is its owner's again at once, and the
 * rest of the stream goes on. */
static void test_deadline_placing(void)
{
	struct test_call *test;
	struct bench bench;

	bench_start(&bench, 1, 1);
	test = call_new(&bench, 1, FAKE_TRICKLE, LENGTH_MAX);
	test->args.extra = 2000;
	encode(test);
	test->call.deadline_ns = clock_ns() + SHORT_NS;
	submit(test);
	wait_done(&bench, 1);
	expect(test, -ETIMEDOUT, false);
	memset(test->place_to, 0x5a, LENGTH_MAX);
	expect_works(&bench, 2); /* behind it in the same stream */
	for (int i = 0; i < LENGTH_MAX; i++)
		assert(test->place_to[i] == 0x5a);
	assert(!total_reconnects(&bench));
	check_accounts(&bench);
	bench_stop(&bench);
	call_free(test);
}

/* Never sent: nothing is ambiguous, whatever the class. */
static void test_deadline_unsent(void)
{
	struct test_call *calls[6];
	struct bench bench;

	bench_init(&bench, 2, 2);
	bench.config.hard = true;
	bench_open(&bench);
	fake_server_stop(bench.server);
	wait_server(&bench, SERVER_DOWN); /* hard: calls are parked all the same */
	for (uint32_t i = 0; i < ARRAY_SIZE(calls); i++) {
		calls[i] = call_new(&bench, i, FAKE_ANSWER, i % 2 ? 10 : 100000);
		calls[i]->call.class = (enum call_class)(i % 3);
		calls[i]->call.deadline_ns = clock_ns() + SHORT_NS;
		submit(calls[i]);
	}
	wait_done(&bench, ARRAY_SIZE(calls));
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		expect(calls[i], -ETIMEDOUT, false);
		call_free(calls[i]);
	}
	check_accounts(&bench);
	bench_stop(&bench);
}

/* A large call has begun to leave on the only connection. */
static void wait_partly_sent(struct bench *bench)
{
	struct conn_info info;

	do {
		sleep_ms(1);
		pool_conn_info(bench->pool, 0, &info);
	} while (info.bytes_sent < 4096);
}

/* On a connection whose socket is full, behind a WRITE that is sent in part. */
static void test_deadline_stuck(void)
{
	struct test_call *large, *small;
	struct bench bench;

	bench_start(&bench, 1, 1);
	fake_server_freeze(bench.server, true);
	large = call_new(&bench, 1, FAKE_ANSWER, 8);
	call_set_payload(large, 8 << 20);
	large->call.class = CALL_OTHER;
	submit(large);
	wait_partly_sent(&bench);
	small = call_new(&bench, 2, FAKE_ANSWER, 8);
	small->call.class = CALL_OTHER;
	small->call.deadline_ns = clock_ns() + SHORT_NS;
	submit(small);
	wait_done(&bench, 1);
	expect(small, -ETIMEDOUT, false);
	assert(!total_reconnects(&bench));
	/* Cut: its last byte never left, so even a call that is not idempotent may be sent again. The
	 * server takes no more than 4 MiB in one, so it ends with the pool. */
	pool_close(bench.pool);
	bench.pool = NULL;
	wait_done(&bench, 2);
	expect(large, -ECONNABORTED, false);
	bench_stop(&bench);
	call_free(large);
	call_free(small);
}

/* A call that was cut while it was sent is sent again, of whatever class. */
static void test_half_sent(void)
{
	struct test_call *test;
	struct bench bench;

	bench_init(&bench, 2, 2);
	bench_open(&bench);
	fake_server_freeze(bench.server, true);
	test = call_new(&bench, 1, FAKE_ANSWER, 8);
	call_set_payload(test, 4000000);
	test->call.class = CALL_OTHER;
	submit(test);
	sleep_ms(50);
	fake_server_stop(bench.server);
	fake_server_start(bench.server);
	fake_server_freeze(bench.server, false);
	wait_done(&bench, 1);
	expect(test, 0, false);
	assert(fake_server_seen(bench.server, 1) == 1);
	assert(fake_server_payload_ok(bench.server, 1));
	bench_stop(&bench);
	call_free(test);
}

/* A large WRITE over a slow link takes longer than silence may. */
static void test_slow_link(void)
{
	struct test_call *test;
	struct bench bench;

	bench_init(&bench, 1, 1);
	bench.config.detect_ns = NS_PER_S;
	bench_open(&bench);
	test = call_new(&bench, 1, FAKE_ANSWER, 8);
	call_set_payload(test, 4000000);
	fake_server_pace(bench.server, 2000); /* two seconds */
	submit(test);
	wait_done(&bench, 1);
	expect(test, 0, false);
	assert(fake_server_seen(bench.server, 1) == 1 && !total_reconnects(&bench));
	assert(n_events(&bench, POOL_SERVER_WAITING) == 0); /* it takes what we send */
	bench_stop(&bench);
	call_free(test);
}

/* ---- interest lost ----------------------------------------------------------------------- */

static void test_cancel(void)
{
	struct test_call *queued, *sent, *moved;
	struct bench bench;

	bench_init(&bench, 2, 2);
	bench.config.hard = true;
	bench_open(&bench);
	/* Sent: done when it is answered; here it never is, until its connection ends. */
	sent = call_new(&bench, 1, FAKE_MUTE, 10);
	sent->args.times = 2;
	encode(sent);
	submit(sent);
	while (!fake_server_seen(bench.server, 1))
		sleep_ms(1);
	call_cancel(&sent->call);
	sleep_ms(20);
	wait_done(&bench, 0);
	fake_server_stop(bench.server);
	wait_done(&bench, 1);
	expect(sent, -EINTR, false);
	/* Not sent. */
	wait_event(&bench, POOL_SERVER_WAITING, 1);
	queued = call_new(&bench, 2, FAKE_ANSWER, 10);
	submit(queued);
	moved = call_new(&bench, 3, FAKE_ANSWER, 10);
	moved->call.class = CALL_OTHER;
	submit(moved);
	call_cancel(&queued->call);
	call_cancel(&moved->call);
	wait_done(&bench, 3);
	expect(queued, -EINTR, false);
	expect(moved, -EINTR, false);
	fake_server_start(bench.server);
	expect_works(&bench, 4);
	assert(!fake_server_seen(bench.server, 2) && !fake_server_seen(bench.server, 3));
	check_accounts(&bench);
	bench_stop(&bench);
	call_free(queued);
	call_free(sent);
	call_free(moved);
}

static void submit_delayed(struct loop_task *task)
{
	struct test_call *test = container_of(task, struct test_call, task);
	int64_t delay_ns = test->args.id == 1 ? 30 * NS_PER_MS : 60 * NS_PER_S;

	pool_submit_after(test->bench->pool, &test->call, delay_ns);
	if (test->args.id == 2)
		call_cancel(&test->call);
}

static void test_later(void)
{
	struct test_call *calls[5];
	struct bench bench;
	int64_t start_ns;

	bench_start(&bench, 2, 2);
	start_ns = clock_ns();
	for (uint32_t id = 1; id < ARRAY_SIZE(calls); id++) {
		calls[id] = call_new(&bench, id, FAKE_ANSWER, 10);
		calls[id]->task.run = submit_delayed;
		if (id == 3)
			calls[id]->call.deadline_ns = clock_ns() + SHORT_NS;
		loop_post(pool_loop(bench.pool, id % 2), &calls[id]->task);
	}
	wait_done(&bench, 3);
	expect(calls[1], 0, false);
	assert(calls[1]->done_ns - start_ns >= 30 * NS_PER_MS);
	expect(calls[2], -EINTR, false);
	expect(calls[3], -ETIMEDOUT, false);
	pool_submit_after(bench.pool, &calls[1]->call, 0);
	wait_done(&bench, 4);
	assert(calls[1]->status == -ECONNABORTED); /* not on a loop */
	pool_close(bench.pool);
	bench.pool = NULL;
	wait_done(&bench, 5);
	expect(calls[4], -ECONNABORTED, false);
	bench_stop(&bench);
	for (uint32_t id = 1; id < ARRAY_SIZE(calls); id++)
		call_free(calls[id]);
}

/* ---- the end ----------------------------------------------------------------------------- */

/* Whatever state a call is in, pool_close() ends it. */
static void test_close(void)
{
	for (int round = 0; round < 20; round++) {
		enum { N = 60 };
		struct test_call *calls[N];
		struct bench bench;

		bench_start(&bench, 4, 3);
		if (round % 2)
			fake_server_freeze(bench.server, true);
		for (uint32_t i = 0; i < N; i++) {
			calls[i] = call_new(&bench, i, i % 4 ? FAKE_SILENT : FAKE_ANSWER,
					    i % 3 ? 10 : 100000);
			if (i % 5 == 0)
				call_set_payload(calls[i], 300000);
			submit(calls[i]);
		}
		usleep((useconds_t)(round * 200));
		pool_close(bench.pool);
		bench.pool = NULL;
		wait_done(&bench, N);
		for (uint32_t i = 0; i < N; i++) {
			assert(calls[i]->n_done == 1);
			assert(!calls[i]->status || calls[i]->status == -ECONNABORTED);
			call_free(calls[i]);
		}
		bench_stop(&bench);
	}
	pool_close(NULL);
}

/* Before anything is up. */
static void test_close_early(void)
{
	for (int round = 0; round < 20; round++) {
		struct test_call *test;
		struct bench bench;

		bench_init(&bench, 16, 4);
		if (round % 2)
			fake_server_stop(bench.server);
		assert(!pool_open(&bench.config, &bench.pool));
		test = call_new(&bench, 1, FAKE_ANSWER, 10);
		submit(test);
		usleep((useconds_t)(round * 50));
		pool_close(bench.pool);
		bench.pool = NULL;
		wait_done(&bench, 1);
		assert(!test->status || test->status == -ECONNABORTED);
		bench_stop(&bench);
		call_free(test);
	}
}

/* ---- the server goes and comes ----------------------------------------------------------- */

static void test_server_gone(void)
{
	struct test_call *parked, *late;
	struct pool_info info;
	struct bench bench;

	bench_start(&bench, 3, 2);
	fake_server_stop(bench.server);
	wait_event(&bench, POOL_SERVER_WAITING, 1);
	parked = call_new(&bench, 1, FAKE_ANSWER, 10);
	submit(parked);
	wait_server(&bench, SERVER_DOWN);
	wait_event(&bench, POOL_SERVER_DOWN, 1);
	late = call_new(&bench, 2, FAKE_ANSWER, 10);
	submit(late);
	wait_done(&bench, 1);
	expect(late, -EHOSTDOWN, false);
	late->n_done = 0;
	pool_info(bench.pool, &info);
	assert(info.server == SERVER_DOWN && !info.n_up && info.n_queued == 1);
	fake_server_start(bench.server);
	wait_server(&bench, SERVER_UP);
	wait_done(&bench, 2);
	expect(parked, 0, false);
	wait_event(&bench, POOL_SERVER_UP, 2);
	assert(!pool_wait_up(bench.pool, 3, patience()));
	submit(late);
	wait_done(&bench, 3);
	expect(late, 0, false);
	check_accounts(&bench);
	bench_stop(&bench);
	call_free(parked);
	call_free(late);
}

/* It neither answers nor closes: found out by silence alone. */
static void test_server_frozen(void)
{
	struct test_call *test, *impatient;
	struct bench bench;
	int64_t start_ns;

	bench_start_alert(&bench, 8);
	fake_server_freeze(bench.server, true);
	test = call_new(&bench, 1, FAKE_ANSWER, 10);
	impatient = call_new(&bench, 2, FAKE_ANSWER, 10);
	impatient->call.impatient = true;
	start_ns = clock_ns();
	submit(test);
	submit(impatient);
	wait_event(&bench, POOL_SERVER_WAITING, 1);
	wait_done(&bench, 1);
	expect(impatient, -EHOSTDOWN, false);
	wait_event(&bench, POOL_SERVER_DOWN, 1);
	assert(clock_ns() - start_ns >= DETECT_NS && clock_ns() - start_ns < 3 * DETECT_NS);
	/* All are found out, and none is news: the server is. */
	wait_lost(&bench, 8);
	sleep_ms(1500);
	assert(!n_events(&bench, POOL_CONN_DOWN));
	fake_server_freeze(bench.server, false);
	wait_done(&bench, 2);
	expect(test, 0, false);
	wait_event(&bench, POOL_SERVER_UP, 2);
	expect_works(&bench, 3);
	wait_reconnected(&bench, 8);
	bench_stop(&bench);
	call_free(test);
	call_free(impatient);
}

/* Connections that break together are one event. */
static void test_news(void)
{
	struct test_call *calls[4];
	struct bench bench;

	bench_start(&bench, 5, 2);
	for (uint32_t i = 0; i < ARRAY_SIZE(calls); i++) {
		calls[i] = call_new(&bench, i, FAKE_CLOSE, 10);
		submit(calls[i]);
	}
	wait_done(&bench, ARRAY_SIZE(calls));
	wait_event(&bench, POOL_CONN_DOWN, (unsigned int)total_reconnects(&bench));
	assert(bench.n_told_lost == 1);
	wait_event(&bench, POOL_CONN_UP, 5 + (unsigned int)total_reconnects(&bench));
	bench_stop(&bench);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		call_free(calls[i]);
}

/* A slow call is not a dead connection: NULL is answered. */
static void test_server_busy(void)
{
	struct test_call *slow, *other;
	struct bench bench;

	bench_start_alert(&bench, 1);
	slow = call_new(&bench, 1, FAKE_REVERSE, 10);
	slow->args.extra = 2;
	encode(slow);
	submit(slow);
	sleep_ms(2500); /* more than twice what silence may last */
	other = call_new(&bench, 2, FAKE_REVERSE, 10);
	other->args.extra = 2;
	encode(other);
	submit(other);
	wait_done(&bench, 2);
	expect(slow, 0, false);
	expect(other, 0, false);
	assert(!total_reconnects(&bench));
	bench_stop(&bench);
	call_free(slow);
	call_free(other);
}

static void test_no_server(void)
{
	struct bench bench;

	bench_init(&bench, 3, 2);
	fake_server_stop(bench.server);
	assert(!pool_open(&bench.config, &bench.pool));
	assert(pool_wait_up(bench.pool, 1, patience()) == -ECONNREFUSED);
	bench_stop(&bench);

	bench_init(&bench, 3, 2);
	fake_server_refuse_null(bench.server, true);
	assert(!pool_open(&bench.config, &bench.pool));
	assert(pool_wait_up(bench.pool, 3, patience()) == -EPROTONOSUPPORT);
	fake_server_refuse_null(bench.server, false);
	wait_server(&bench, SERVER_UP);
	bench_stop(&bench);

	/* Connected, but no answer. */
	bench_init(&bench, 2, 2);
	bench.config.connect_ns = SHORT_NS;
	fake_server_freeze(bench.server, true);
	assert(!pool_open(&bench.config, &bench.pool));
	assert(pool_wait_up(bench.pool, 1, clock_ns() + 1000) == -ETIMEDOUT);
	assert(pool_wait_up(bench.pool, 1, patience()) == -ETIMEDOUT);
	fake_server_freeze(bench.server, false);
	wait_server(&bench, SERVER_UP);
	bench_stop(&bench);
}

/* ---- who gets what ----------------------------------------------------------------------- */

/* Whoever submits again in done() leaves room to those who wait. */
static void test_fair(void)
{
	struct test_call *greedy[4], *patient;
	struct bench bench;
	unsigned int left = 0;

	bench_init(&bench, 1, 1);
	bench.config.transfer_max = 32768; /* a window of two calls */
	bench.config.window = 65536;
	bench_open(&bench);
	for (uint32_t i = 0; i < ARRAY_SIZE(greedy); i++) {
		greedy[i] = call_new(&bench, i, FAKE_ANSWER, 30000);
		greedy[i]->n_again = 2000;
		submit(greedy[i]);
	}
	patient = call_new(&bench, 9, FAKE_ANSWER, 30000);
	submit(patient);
	pthread_mutex_lock(&bench.lock);
	while (!patient->n_done)
		pthread_cond_wait(&bench.changed, &bench.lock);
	for (size_t i = 0; i < ARRAY_SIZE(greedy); i++)
		left += greedy[i]->n_again;
	for (size_t i = 0; i < ARRAY_SIZE(greedy); i++)
		greedy[i]->n_again = 0;
	pthread_mutex_unlock(&bench.lock);
	expect(patient, 0, false);
	assert(left > 4000);
	pool_close(bench.pool);
	bench.pool = NULL;
	bench_stop(&bench);
	for (size_t i = 0; i < ARRAY_SIZE(greedy); i++)
		call_free(greedy[i]);
	call_free(patient);
}

/* Calls that wait for room get it when there is some, not at the next tick. */
static void test_wake_ups(void)
{
	enum { ROUNDS = 60, N = 24 };
	unsigned int n_slow = 0;
	struct bench bench;

	bench_init(&bench, 4, 3);
	bench.config.transfer_max = 32768;
	bench.config.window = 65536;
	bench_open(&bench);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		struct test_call *calls[N];
		int64_t start_ns = clock_ns();

		for (uint32_t i = 0; i < N; i++) {
			calls[i] = call_new(&bench, round * N + i, FAKE_ANSWER,
					    i % 5 ? 30000 : 10);
			submit(calls[i]);
		}
		wait_done(&bench, (round + 1) * N);
		n_slow += clock_ns() - start_ns >= 200 * NS_PER_MS;
		for (uint32_t i = 0; i < N; i++) {
			expect(calls[i], 0, false);
			call_free(calls[i]);
		}
	}
	assert(n_slow < ROUNDS / 4);
	check_accounts(&bench);
	bench_stop(&bench);
}

enum { MD_ALL_CALLS = 64, MD_CALLS = 24 }; /* the latter take less than half a second, also where all is slow */

/* Bulk calls, after two small ones if `small`. True if the md connection had none of them. */
static bool md_is_kept_free(struct bench *bench, unsigned int n_done, bool small)
{
	unsigned int n = small ? MD_CALLS : MD_ALL_CALLS;
	struct test_call *calls[MD_ALL_CALLS];
	struct conn_info before, after;
	uint32_t i = 0;

	pool_conn_info(bench->pool, 2, &before);
	for (; small && i < 2; i++) {
		calls[i] = call_new(bench, i, FAKE_ANSWER, 10);
		submit(calls[i]);
		wait_done(bench, n_done + i + 1);
		usleep(20 * 1000); /* a burst counts once */
	}
	for (; i < n; i++) {
		calls[i] = call_new(bench, i, FAKE_ANSWER, 200000);
		submit(calls[i]);
	}
	wait_done(bench, n_done + n);
	pool_conn_info(bench->pool, 2, &after);
	for (i = 0; i < n; i++) {
		expect(calls[i], 0, false);
		call_free(calls[i]);
	}
	return after.bytes_received - before.bytes_received < 1000;
}

/* mdconnect: no bulk there while others are up and small calls follow each other, which a process that
 * stands still for a quarter of a second hides. All when the others are not up. */
static void test_md(void)
{
	enum { ATTEMPTS = 20 };
	struct test_call *calls[8], *deaf;
	struct bench bench;
	bool kept = false;

	bench_init(&bench, 3, 2);
	bench.config.md_connections = 1;
	bench_open(&bench);
	assert(!md_is_kept_free(&bench, 0, false));
	for (unsigned int i = 0; i < ATTEMPTS && !kept; i++)
		kept = md_is_kept_free(&bench, MD_ALL_CALLS + i * MD_CALLS, true);
	assert(kept);
	bench_stop(&bench);

	/* One bulk connection, deaf: what waits for it goes to the other when it is suspect. */
	bench_init(&bench, 2, 2);
	bench.config.md_connections = 1;
	bench.config.transfer_max = 100000;
	bench.config.window = 1;
	bench.config.detect_ns = 2 * NS_PER_S; /* suspect after half of that, at a tick */
	bench_open(&bench);
	deaf = call_new(&bench, 1000, FAKE_DEAF, 100000);
	submit(deaf);
	for (uint32_t i = 0; i < 8; i++) {
		calls[i] = call_new(&bench, i, FAKE_ANSWER, 100000);
		submit(calls[i]);
	}
	wait_done(&bench, 9);
	expect(deaf, 0, false);
	for (uint32_t i = 0; i < 8; i++) {
		expect(calls[i], 0, false);
		call_free(calls[i]);
	}
	call_free(deaf);
	bench_stop(&bench);
}

/* The server's limits are known only when some calls have been made. */
static void test_transfer_max(void)
{
	struct test_call *test;
	struct bench bench;

	bench_init(&bench, 2, 2);
	bench.config.transfer_max = 4096;
	bench_open(&bench);
	expect_works(&bench, 1);
	pool_set_transfer_max(bench.pool, LENGTH_MAX);
	test = call_new(&bench, 2, FAKE_ANSWER, LENGTH_MAX);
	submit(test);
	wait_done(&bench, 1);
	expect(test, 0, false);
	assert(!total_reconnects(&bench));
	bench_stop(&bench);
	call_free(test);
}

/* ---- all of them ------------------------------------------------------------------------- */

static void (*const tests[])(void) = {
	test_up,	     test_many,		   test_placed,	       test_broken,
	test_broken_deaf,    test_storm,	   test_out_of_order,  test_bad_reply,
	test_ports,	     test_deaf,	   test_news,	       test_deadline_sent,   test_deadline_placing, test_deadline_unsent,
	test_deadline_stuck, test_half_sent,	   test_slow_link,     test_cancel,
	test_later,	     test_close,	   test_close_early,   test_server_gone,
	test_server_frozen,  test_server_busy,	   test_no_server,     test_fair,
	test_wake_ups,	     test_md,		   test_transfer_max,
};

static _Atomic(unsigned int) next_test;

static void *run_some(void *arg UNUSED)
{
	unsigned int i;

	while ((i = atomic_fetch_add(&next_test, 1)) < ARRAY_SIZE(tests))
		tests[i]();
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t threads[SIDE_BY_SIDE];

	if (argc > 1) {
		tests[atoi(argv[1])](); /* one, for the debugger */
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert(!pthread_create(&threads[i], NULL, run_some, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	puts("pool: ok");
	return 0;
}
