/* SPDX-License-Identifier: GPL-2.0-or-later */
/* request_table - see request_table.h, and request.h on interruption.
 *
 * The kernel sends one INTERRUPT for a request, at the first signal of its process, whatever the
 * signal; a SIGKILL that follows sends none. So an interrupted request is watched: at once and then
 * every WATCH_NS its process is looked up, and it is answered when a SIGKILL is pending (the kernel
 * turns a fatal SIGINT or SIGTERM into one) or the process is gone. */
#include "request_table.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "buffer.h"
#include "caller.h"
#include "dev.h"
#include "prefetch.h"

enum { SHARDS = 16, BUCKETS = 64, UNMATCHED = 8, OLD_MAX = 32 };
static const int64_t WATCH_NS = 200 * NS_PER_MS;
static const int64_t UNKNOWN_PROCESS_NS = 2 * NS_PER_S;
static const int64_t UNMATCHED_NS = 2 * NS_PER_S;
static const int64_t OVERDUE_NS = 1 * NS_PER_S;
static const int64_t OLD_NS = 400 * NS_PER_MS; /* waiting for longer than a healthy server takes */
static const int64_t GRACE_NS = 1 * NS_PER_S; /* calls end by themselves first */

LIST_HEAD(request_bucket, request);

struct request_shard {
	struct mutex lock; /* guards what follows */
	struct request_bucket buckets[BUCKETS];
	unsigned int n;
	struct {
		uint64_t unique;
		int64_t at_ns;
	} unmatched[UNMATCHED];
	unsigned int next_unmatched;
	unsigned int next_looked;  /* the bucket to begin the next look with */
};

/* An interrupted request, watched by the loop that read its INTERRUPT. */
struct watched {
	struct request_table *table;
	struct loop *loop;
	struct loop_timer timer;
	uint64_t unique;
	int64_t since_ns;
	LIST_ENTRY(watched) link;
};

struct request_table {
	struct fs *fs;
	struct loop *loop;         /* whose timer looks for requests past their deadline */
	struct loop_timer overdue;
	int64_t trimmed_ns;
	struct loop_task start;
	struct request_shard shards[SHARDS];
	struct mutex watched_lock; /* guards watched, for request_table_free() */
	LIST_HEAD(, watched) watched;
};

static struct request_shard *shard_of(struct request_table *table, uint64_t unique)
{
	/* The kernel counts in steps of two; bit 0 marks interrupts. */
	return &table->shards[(unique >> 1) % SHARDS];
}

static struct request_bucket *bucket_of(struct request_shard *shard, uint64_t unique)
{
	return &shard->buckets[(unique >> 1) / SHARDS % BUCKETS];
}

static bool take_unmatched(struct request_shard *shard, uint64_t unique, int64_t now_ns)
	REQUIRES(shard->lock)
{
	for (unsigned int i = 0; i < UNMATCHED; i++) {
		if (shard->unmatched[i].unique != unique)
			continue;
		shard->unmatched[i].unique = 0;
		return now_ns - shard->unmatched[i].at_ns < UNMATCHED_NS;
	}
	return false;
}

void request_table_add(struct request_table *table, struct request *request)
{
	struct request_shard *shard = shard_of(table, request->unique);
	bool interrupted;

	request->registered = true;
	mutex_lock(&shard->lock);
	LIST_INSERT_HEAD(bucket_of(shard, request->unique), request, hash_link);
	shard->n++;
	interrupted = take_unmatched(shard, request->unique, request->start_ns);
	mutex_unlock(&shard->lock);
	if (interrupted)
		request_interrupt(table, request->unique);
}

void request_table_remove(struct request_table *table, struct request *request)
{
	struct request_shard *shard = shard_of(table, request->unique);

	mutex_lock(&shard->lock);
	LIST_REMOVE(request, hash_link);
	shard->n--;
	mutex_unlock(&shard->lock);
}

static struct request *find(struct request_shard *shard, uint64_t unique) REQUIRES(shard->lock)
{
	struct request *request;

	LIST_FOREACH(request, bucket_of(shard, unique), hash_link)
		if (request->unique == unique)
			return request;
	return NULL;
}

static void remember(struct request_shard *shard, uint64_t unique, int64_t now_ns)
	REQUIRES(shard->lock)
{
	unsigned int i = shard->next_unmatched++ % UNMATCHED;

	shard->unmatched[i].unique = unique;
	shard->unmatched[i].at_ns = now_ns;
}

/* Who waits for a request, and what he is to hear of. */
struct waiter {
	pid_t tid;
	bool any_signal;
};

/* False: there is no such request (any more). */
static bool look_up(struct request_table *table, uint64_t unique, bool remember_it,
		    struct waiter *ret_waiter)
{
	struct request_shard *shard = shard_of(table, unique);
	struct request *request;

	mutex_lock(&shard->lock);
	request = find(shard, unique);
	if (request)
		*ret_waiter = (struct waiter){ request->tid, request->any_signal };
	else if (remember_it)
		remember(shard, unique, loop_now_ns(loop_current()));
	mutex_unlock(&shard->lock);
	return request != NULL;
}

/* Answer EINTR, if the request's own thread has not replied meanwhile. Its call goes on if it was
 * sent; its done half finds the request answered. */
static void interrupt(struct request_table *table, uint64_t unique)
{
	struct request_shard *shard = shard_of(table, unique);
	struct request *request;
	fuse_req_t req = NULL;
	int fd = -1;

	mutex_lock(&shard->lock);
	request = find(shard, unique);
	if (request && !atomic_exchange(&request->answered, true)) {
		req = request->req;
		fd = request->dev_fd;
		call_cancel(&request->call);
	}
	mutex_unlock(&shard->lock);
	if (!req)
		return;
	dev_reply_to(fd);
	fuse_reply_err(req, EINTR);
}

static bool should_interrupt(struct request_table *table, const struct waiter *waiter,
			     int64_t since_ns, int64_t now_ns)
{
	enum caller_fate fate;

	if (table->fs->options->intr || waiter->any_signal)
		return true;
	fate = caller_fate(waiter->tid);
	return fate == CALLER_KILLED ||
	       (fate == CALLER_UNKNOWN && now_ns - since_ns >= UNKNOWN_PROCESS_NS);
}

static void watch_end(struct watched *watched)
{
	mutex_lock(&watched->table->watched_lock);
	LIST_REMOVE(watched, link);
	mutex_unlock(&watched->table->watched_lock);
	free(watched);
}

static void watch_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct watched *watched = container_of(timer, struct watched, timer);
	struct waiter waiter;

	if (!look_up(watched->table, watched->unique, false, &waiter)) {
		watch_end(watched);
	} else if (should_interrupt(watched->table, &waiter, watched->since_ns, now_ns)) {
		interrupt(watched->table, watched->unique);
		watch_end(watched);
	} else {
		loop_timer_set(watched->loop, timer, now_ns + WATCH_NS);
	}
}

static void watch(struct request_table *table, uint64_t unique, int64_t now_ns)
{
	struct watched *watched = calloc(1, sizeof(*watched));

	if (!watched)
		return; /* then the deadline ends it */
	*watched = (struct watched){
		.table = table,
		.loop = loop_current(),
		.timer.expired = watch_expired,
		.unique = unique,
		.since_ns = now_ns,
	};
	mutex_lock(&table->watched_lock);
	LIST_INSERT_HEAD(&table->watched, watched, link);
	mutex_unlock(&table->watched_lock);
	loop_timer_set(watched->loop, &watched->timer, now_ns + WATCH_NS);
}

void request_interrupt(struct request_table *table, uint64_t unique)
{
	int64_t now_ns = loop_now_ns(loop_current());
	struct waiter waiter;

	if (!look_up(table, unique, true, &waiter))
		return;
	if (should_interrupt(table, &waiter, now_ns, now_ns))
		interrupt(table, unique);
	else
		watch(table, unique, now_ns);
}

/* ---- deadlines --------------------------------------------------------------------------- */

/* Claim the answer of one overdue request. False: there is none. */
static bool take_overdue(struct request_shard *shard, int64_t before_ns, fuse_req_t *ret_req,
			 int *ret_fd)
{
	struct request *request;
	bool found = false;

	mutex_lock(&shard->lock);
	for (unsigned int i = 0; i < BUCKETS && !found && shard->n; i++) {
		LIST_FOREACH(request, &shard->buckets[i], hash_link) {
			if (request->deadline_ns > before_ns ||
			    atomic_exchange(&request->answered, true))
				continue;
			*ret_req = request->req;
			*ret_fd = request->dev_fd;
			call_cancel(&request->call); /* of `hard`, it would be sent whenever the server is back */
			found = true;
			break;
		}
	}
	mutex_unlock(&shard->lock);
	return found;
}

static bool is_older(const struct request *request, const struct request_oldest *than)
{
	return !request_answered(request) && (!than->start_ns || request->start_ns < than->start_ns);
}

static void look_for_oldest(struct request_shard *shard, struct request_oldest *oldest)
{
	struct request *request;

	mutex_lock(&shard->lock);
	for (unsigned int i = 0; i < BUCKETS && shard->n; i++)
		LIST_FOREACH(request, &shard->buckets[i], hash_link)
			if (is_older(request, oldest))
				*oldest = (struct request_oldest){
					.start_ns = request->start_ns,
					.opcode = request->opcode,
					.uid = request->uid,
					.tid = request->tid,
				};
	mutex_unlock(&shard->lock);
}

bool request_table_oldest(struct request_table *table, struct request_oldest *ret_oldest)
{
	struct request_oldest oldest = { 0 };

	for (unsigned int i = 0; i < SHARDS; i++)
		look_for_oldest(&table->shards[i], &oldest);
	if (!oldest.start_ns)
		return false;
	*ret_oldest = oldest;
	return true;
}

void request_table_limit(struct request_table *table, int64_t deadline_ns)
{
	struct request *request;

	for (unsigned int i = 0; i < SHARDS; i++) {
		struct request_shard *shard = &table->shards[i];

		mutex_lock(&shard->lock);
		for (unsigned int j = 0; j < BUCKETS && shard->n; j++)
			LIST_FOREACH(request, &shard->buckets[j], hash_link)
				if (request->deadline_ns == INT64_MAX && request->opcode != FUSE_SETLKW)
					request->deadline_ns = deadline_ns;
		mutex_unlock(&shard->lock);
	}
}

/* The kernel tells nothing of signals to those who wait in O_DIRECT reads and writes: whoever has been
 * waiting for long is looked at. Returns how many requests are in flight. */
static unsigned int look_for_killed(struct request_table *table, struct request_shard *shard,
				    int64_t before_ns)
{
	struct {
		uint64_t unique;
		pid_t tid;
	} old[OLD_MAX];
	struct request *request;
	unsigned int n = 0, n_all;

	mutex_lock(&shard->lock);
	n_all = shard->n;
	for (unsigned int i = 0; i < BUCKETS && n < OLD_MAX && n_all; i++) {
		LIST_FOREACH(request, &shard->buckets[shard->next_looked++ % BUCKETS], hash_link) {
			if (n == OLD_MAX || request->start_ns > before_ns ||
			    request_answered(request))
				continue;
			old[n].unique = request->unique;
			old[n++].tid = request->tid;
		}
	}
	mutex_unlock(&shard->lock);
	for (unsigned int i = 0; i < n; i++)
		if (caller_fate(old[i].tid) == CALLER_KILLED)
			interrupt(table, old[i].unique);
	return n_all;
}

static void overdue_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct request_table *table = container_of(timer, struct request_table, overdue);
	int error = request_errno(table->fs, -ETIMEDOUT);
	unsigned int n = 0;
	fuse_req_t req;
	int fd;

	for (unsigned int i = 0; i < SHARDS; i++) {
		n += look_for_killed(table, &table->shards[i], now_ns - OLD_NS);
		while (take_overdue(&table->shards[i], now_ns - GRACE_NS, &req, &fd)) {
			dev_reply_to(fd);
			fuse_reply_err(req, -error);
		}
	}
	if (now_ns - table->trimmed_ns >= OVERDUE_NS) {
		table->trimmed_ns = now_ns;
		prefetch_tick(table->fs->prefetch, now_ns);
		buffer_trim();
	}
	loop_timer_set(table->loop, timer, now_ns + (n ? WATCH_NS : OVERDUE_NS));
}

static void overdue_start(struct loop_task *task)
{
	struct request_table *table = container_of(task, struct request_table, start);

	table->overdue.expired = overdue_expired;
	loop_timer_set(table->loop, &table->overdue, loop_now_ns(table->loop) + OVERDUE_NS);
}

void request_table_start(struct request_table *table)
{
	table->loop = pool_loop(table->fs->pool, 0);
	table->start.run = overdue_start;
	loop_post(table->loop, &table->start);
}

unsigned int request_table_count(struct request_table *table)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < SHARDS; i++) {
		mutex_lock(&table->shards[i].lock);
		n += table->shards[i].n;
		mutex_unlock(&table->shards[i].lock);
	}
	return n;
}

struct request_table *request_table_new(struct fs *fs)
{
	struct request_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->fs = fs;
	for (unsigned int i = 0; i < SHARDS; i++)
		mutex_init(&table->shards[i].lock);
	mutex_init(&table->watched_lock);
	return table;
}

void request_table_free(struct request_table *table)
{
	struct watched *watched;

	if (!table)
		return;
	while ((watched = LIST_FIRST(&table->watched))) {
		LIST_REMOVE(watched, link);
		free(watched);
	}
	for (unsigned int i = 0; i < SHARDS; i++)
		mutex_deinit(&table->shards[i].lock);
	mutex_deinit(&table->watched_lock);
	free(table);
}
