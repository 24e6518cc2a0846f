/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool - N connections on L loops: making and ending them, addresses, the tick, numbers for people.
 *
 * Lost work is looked for in two places: a connection that has room pulls, and every loop's tick
 * (TICK_NS while anything is outstanding or a connection is not up) pulls and expires. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "addr.h"
#include "dial.h"
#include "local.h"
#include "pool_parts.h"
#include "util.h"

static const int64_t TICK_NS = 125 * NS_PER_MS;
static const int64_t LATE_NS = 1 * NS_PER_S;
static const int64_t IDLE_TICK_NS = 10 * NS_PER_S;
static const int64_t SETTLED_NS = 1 * NS_PER_S;
static const int64_t LOCAL_AGAIN_NS = 30 * NS_PER_S;

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

struct pool_loop *pool_own_loop(struct pool *pool)
{
	struct loop *loop = loop_current();

	if (!loop || loop_index(loop) >= pool->n_loops)
		return NULL;
	return pool->loops[loop_index(loop)].loop == loop ? &pool->loops[loop_index(loop)] : NULL;
}

void pool_tick_soon(struct pool_loop *own)
{
	if (own->ticking_fast)
		return;
	own->ticking_fast = true;
	own->tick_due_ns = loop_now_ns(own->loop) + TICK_NS;
	loop_timer_set(own->loop, &own->tick, own->tick_due_ns);
}

/* ---- addresses --------------------------------------------------------------------------- */

/* Each n connections have all n addresses, every time from another one on, so that a loop's connections do not
 * all have the same. After failures, the next ones. */
static struct pool_addr address_of(const struct pool *pool, const struct connection *conn,
				   unsigned int n_failures)
{
	unsigned int n = pool->config.n_addrs;

	return pool->config.addrs[(conn->id + conn->id / n + n_failures) % n];
}

static unsigned int common_multiple(unsigned int a, unsigned int b)
{
	unsigned int multiple = a;

	while (multiple % b)
		multiple += a;
	return multiple;
}

/* In turn, too, and every pair of an address and a local end comes, also after failures. NULL if none fits. */
static const struct pool_local *local_of(const struct pool *pool, const struct connection *conn, int family,
					 unsigned int n_failures)
{
	const struct pool_config *config = &pool->config;
	unsigned int n = local_n_fit(config->locals, config->n_locals, family);

	if (!n)
		return NULL;
	return local_pick(config->locals, config->n_locals, family,
			  conn->id + conn->id / (config->n_addrs * n) +
			  n_failures + n_failures / common_multiple(config->n_addrs, n));
}

bool pool_next_path(struct pool *pool, struct connection *conn)
{
	bool any;

	mutex_lock(&pool->lock);
	any = pool->config.n_addrs > 0;
	if (any) {
		conn->dialled = address_of(pool, conn, conn->n_failures);
		conn->from = local_of(pool, conn, conn->dialled.sa.ss_family, conn->n_failures);
		conn->strayed = conn->n_failures > 0;
		conn->remote = conn->dialled.sa;
	}
	mutex_unlock(&pool->lock);
	return any;
}

void pool_conn_addresses(struct pool *pool, struct connection *conn)
{
	struct sockaddr_storage local = { 0 }, remote = { 0 };
	socklen_t len = sizeof(local);

	getsockname(conn->watch.fd, (struct sockaddr *)&local, &len);
	len = sizeof(remote);
	getpeername(conn->watch.fd, (struct sockaddr *)&remote, &len);
	conn->local_port = sockaddr_port(&local);
	atomic_store(&conn->load.port, conn->local_port);
	mutex_lock(&pool->lock);
	conn->local = local;
	conn->remote = remote;
	mutex_unlock(&pool->lock);
}

static bool is_at_home(struct pool *pool, const struct connection *conn, int64_t now_ns)
{
	const struct pool_local *from = conn->from;
	struct pool_addr home = conn->dialled;

	mutex_lock(&pool->lock);
	if (pool->config.n_addrs) {
		home = address_of(pool, conn, 0);
		from = local_of(pool, conn, home.sa.ss_family, 0);
	}
	mutex_unlock(&pool->lock);
	if (!sockaddr_same_host(&home.sa, &conn->dialled.sa) ||
	    sockaddr_port(&home.sa) != sockaddr_port(&conn->dialled.sa))
		return false;
	/* Nobody knows whether one that failed works by now, other than by trying. */
	return from == conn->from || (conn->strayed && now_ns - conn->up_since_ns < LOCAL_AGAIN_NS);
}

/* Worth it, and without harm: others carry on meanwhile. */
static bool should_go_home(struct pool *pool, const struct connection *conn, int64_t now_ns)
{
	return conn->state == CONN_UP && !connection_is_retired(conn) && atomic_load(&pool->n_up) > 1 &&
	       !pool_is_suspicious(pool) && !is_at_home(pool, conn, now_ns);
}

static void go_home(struct pool *pool, struct connection *conn, int64_t now_ns)
{
	struct connection *nobody = NULL;

	if (now_ns - conn->up_since_ns >= SETTLED_NS && should_go_home(pool, conn, now_ns) &&
	    atomic_compare_exchange_strong(&pool->leaving, &nobody, conn))
		connection_leave(conn);
}

unsigned int pool_n_addresses(struct pool *pool)
{
	unsigned int n;

	mutex_lock(&pool->lock);
	n = pool->config.n_addrs;
	mutex_unlock(&pool->lock);
	return n;
}

void pool_arrived(struct pool *pool, struct connection *conn)
{
	struct connection *expected = conn;

	atomic_compare_exchange_strong(&pool->leaving, &expected, NULL);
}

/* ---- the tick ---------------------------------------------------------------------------- */

/* Whether this loop has anything that time can change. Without an address nobody is dialled. */
static bool is_busy(struct pool_loop *own, int64_t now_ns)
{
	struct pool *pool = own->pool;
	bool dials = pool_n_addresses(pool) > 0;

	if (atomic_load(&pool->n_queued) || !TAILQ_EMPTY(&own->delayed) ||
	    atomic_load(&pool->suspicious) || server_has_news(pool))
		return true;
	for (unsigned int i = loop_index(own->loop); i < pool_n_slots(pool); i += pool->n_loops) {
		struct connection *conn = &pool->conns[i];

		if (conn->state == CONN_DOWN && (connection_is_retired(conn) || !dials))
			continue;
		if (connection_is_retired(conn) || conn->state != CONN_UP || connection_waiting_since(conn) ||
		    atomic_load(&conn->load.leaving) || should_go_home(pool, conn, now_ns))
			return true;
	}
	return false;
}

static void tick_connections(struct pool_loop *own, int64_t now_ns)
{
	struct pool *pool = own->pool;

	for (unsigned int i = loop_index(own->loop); i < pool_n_slots(pool); i += pool->n_loops) {
		connection_tick(&pool->conns[i], now_ns);
		go_home(pool, &pool->conns[i], now_ns);
	}
}

static void tick_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct pool_loop *own = container_of(timer, struct pool_loop, tick);
	struct pool *pool = own->pool;

	/* Was it this process that did not run? Then nobody was silent; judge next time. */
	if (now_ns - own->tick_due_ns < LATE_NS) {
		tick_connections(own, now_ns);
		if (loop_index(own->loop) == 0)
			steer_tick(pool, now_ns);
		server_update(pool, now_ns);
	}
	queue_expire(own, now_ns);
	queue_pull_all(own);
	queue_kick_others(pool, own, atomic_load(&pool->suspicious));
	server_tell_news(pool, now_ns);
	own->ticking_fast = is_busy(own, now_ns);
	own->tick_due_ns = now_ns + (own->ticking_fast ? TICK_NS : IDLE_TICK_NS);
	loop_timer_set(own->loop, timer, own->tick_due_ns);
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
static void dial_run(struct loop_task *task)
{
	struct pool_loop *own = container_of(task, struct pool_loop, dial);
	struct pool *pool = own->pool;
	bool retune;

	atomic_store(&own->dial_posted, false);
	if (atomic_load(&pool->closing) || !pool_n_addresses(pool))
		return;
	retune = atomic_exchange(&own->retune, false);
	for (unsigned int i = loop_index(own->loop); i < pool_n_slots(pool); i += pool->n_loops) {
		if (retune)
			dial_retune(&pool->conns[i]);
		if (pool->conns[i].state != CONN_DOWN || connection_is_retired(&pool->conns[i]))
			continue;
		pool->conns[i].n_failures = 0; /* it was not its path */
		connection_dial(&pool->conns[i]);
	}
	pool_tick_soon(own);
}

static int open_loops(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->n_loops; i++) {
		struct pool_loop *own = &pool->loops[i];
		int error = loop_new(i, &own->loop);

		if (error)
			return error;
		loop_spin(own->loop, pool->config.spin_ns);
		own->pool = pool;
		own->company = i; /* its first connection */
		own->tick.expired = tick_expired;
		own->latency = calloc(POOL_MAX_PROCS, sizeof(own->latency[0]));
		if (!own->latency)
			return -ENOMEM;
		own->dial.run = dial_run;
		own->snapshot.run = snapshot_run;
		own->probe.run = snapshot_probe_run;
		own->pull.run = queue_pull_run;
		own->pull_end.run = queue_pull_end_run;
		TAILQ_INIT(&own->delayed);
	}
	return 0;
}

/* Until there are n. Others see one when it is complete. */
static int add_connections(struct pool *pool, unsigned int n)
{
	for (unsigned int i = pool_n_slots(pool); i < n; i++) {
		int error = connection_init(&pool->conns[i], pool,
					    pool->loops[i % pool->n_loops].loop, i);

		if (error) {
			connection_deinit(&pool->conns[i]);
			return error;
		}
		atomic_store_explicit(&pool->n_slots, i + 1, memory_order_release);
	}
	return 0;
}

/* Memory that no connection has used is not taken from the system. */
static int open_connections(struct pool *pool)
{
	pool->conns = calloc(POOL_MAX_CONNECTIONS, sizeof(pool->conns[0]));
	return pool->conns ? add_connections(pool, pool->config.n_connections) : -ENOMEM;
}

static int start_loops(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->n_loops; i++) {
		int error = loop_start(pool->loops[i].loop);

		if (error)
			return error;
	}
	return 0;
}

void pool_dial_all(struct pool *pool)
{
	for (unsigned int i = 0; i < pool->n_loops; i++)
		if (!atomic_exchange(&pool->loops[i].dial_posted, true))
			loop_post(pool->loops[i].loop, &pool->loops[i].dial);
}

void pool_set_addresses(struct pool *pool, const struct pool_addr addrs[], unsigned int n)
{
	mutex_lock(&pool->lock);
	memcpy(pool->config.addrs, addrs, n * sizeof(addrs[0]));
	pool->config.n_addrs = n;
	pool->n_failed = 0;
	pool->first_error = 0;
	for (unsigned int i = 0; i < pool_n_slots(pool); i++)
		pool->conns[i].has_failed = false;
	mutex_unlock(&pool->lock);
	pool_dial_all(pool);
}

int pool_tune(struct pool *pool, const struct pool_config *config)
{
	struct pool_config *own = &pool->config;
	int error = add_connections(pool, config->n_connections);

	if (error)
		return error;
	own->hard = config->hard;
	own->window = config->window;
	own->md_connections = config->md_connections;
	own->stripe = config->stripe;
	own->redial = config->redial;
	own->timeo_ns = config->timeo_ns;
	own->retrans = config->retrans;
	own->detect_ns = config->detect_ns;
	own->spin_ns = config->spin_ns;
	own->n_connections = config->n_connections;
	for (unsigned int i = 0; i < pool->n_loops; i++) {
		loop_spin(pool->loops[i].loop, config->spin_ns);
		atomic_store(&pool->loops[i].retune, true);
	}
	pool_dial_all(pool);
	return 0;
}

static void init_locks(struct pool *pool)
{
	pthread_condattr_t monotonic;

	mutex_init(&pool->lock);
	mutex_init(&pool->snapshots.lock);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->changed, &monotonic);
	pthread_cond_init(&pool->snapshots.changed, &monotonic);
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
	atomic_store(&pool->server, config->n_addrs ? SERVER_WAITING : SERVER_DOWN);
	pool->watch.silent_since_ns = pool->watch.down_since_ns = clock_ns();
	if (!config->n_addrs)
		pool->watch.silent_since_ns -= config->detect_ns;
	init_locks(pool);
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
	pool_dial_all(pool);
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
	for (unsigned int i = 0; i < pool_n_slots(pool); i++)
		connection_drain(&pool->conns[i], calls);
	mutex_lock(&pool->lock);
	TAILQ_CONCAT(calls, &pool->small, link);
	TAILQ_CONCAT(calls, &pool->bulk, link);
	atomic_store(&pool->n_queued, 0);
	atomic_store(&pool->bytes_queued, 0);
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
	for (unsigned int i = 0; i < pool->n_loops; i++)
		if (pool->loops[i].loop)
			loop_stop(pool->loops[i].loop);
	join_loops(pool);
	atomic_store(&pool->stopped, true);
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
	queue_finish_all(pool, &calls, -ECONNABORTED);
	for (unsigned int i = 0; i < pool_n_slots(pool); i++)
		connection_deinit(&pool->conns[i]);
	free(pool->conns);
	for (unsigned int i = 0; i < pool->n_loops; i++) {
		loop_free(pool->loops[i].loop);
		free(pool->loops[i].latency);
	}
	pthread_cond_destroy(&pool->snapshots.changed);
	pthread_cond_destroy(&pool->changed);
	mutex_deinit(&pool->snapshots.lock);
	mutex_deinit(&pool->lock);
	free(pool);
}

/* ---- losses ------------------------------------------------------------------------------ */

void pool_note_loss(struct pool *pool)
{
	atomic_fetch_add_explicit(&pool->n_losses, 1, memory_order_release);
}

uint64_t pool_n_losses(const struct pool *pool)
{
	return atomic_load_explicit(&pool->n_losses, memory_order_acquire);
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
	ret_info->udp = conn->dialled.udp;
	mutex_unlock(&pool->lock);
}
