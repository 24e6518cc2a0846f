/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock - see lock.h: the lock manager's pool, how it ends, and how operations come to its loop. */
#include "lock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/utsname.h>

#include "dev.h"
#include "lock_parts.h"
#include "log.h"

/* Two: one may break, and a lock call of an owner waits for his last one anyway. */
enum { N_CONNECTIONS = 2, AT_ONCE_MS = 100 };

/* ---- the pool ---------------------------------------------------------------------------- */

/* Its port may be another one when it comes back. */
static void event(void *userdata, const struct pool_event *event)
{
	struct locks *locks = userdata;

	switch (event->type) {
	case POOL_CONN_DOWN:
	case POOL_SERVER_DOWN:
		if (event->n_up == 0 && !atomic_load(&locks->closing))
			lock_find_lost(locks);
		break;
	case POOL_BAD_REPLY:
		log_warn(MSG_BAD_REPLY, "the lock manager of %s: %s",
			 locks->fs->options->source.host, event->reason);
		break;
	case POOL_CONN_UP:
	case POOL_PATH_LOST:
		if (event->reconnected)
			lock_check_all(locks);
		break;
	case POOL_SERVER_UP:
	case POOL_SERVER_WAITING:
	case POOL_NO_RESVPORT:
	case POOL_NO_LOCAL: /* the file system's pool says so */
	case POOL_DATAGRAM_MAX:
	case POOL_NO_SRCPORT:
		break;
	}
}

void locks_tune(struct locks *locks, const struct options *options)
{
	struct pool_config config;

	if (!locks)
		return;
	options_pool_config(options, &config);
	config.n_connections = N_CONNECTIONS;
	pool_tune(locks->pool, &config); /* no more connections: it cannot fail */
}

/* A server knows a client by its address: all lock calls come from one, of each family. */
static void use_one_local(struct pool_config *config)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < config->n_locals; i++) {
		const struct pool_local *local = &config->locals[i];

		if (n && (config->locals[0].sa.ss_family == AF_UNSPEC ||
			  config->locals[0].sa.ss_family == local->sa.ss_family || n == 2))
			continue;
		if (n && local->sa.ss_family == AF_UNSPEC)
			continue;
		config->locals[n++] = *local;
	}
	config->n_locals = n;
}

static int open_pool(struct locks *locks)
{
	struct pool_config config;

	options_pool_config(locks->fs->options, &config);
	config.n_connections = N_CONNECTIONS;
	config.n_loops = 1;
	use_one_local(&config);
	config.prog = NLM4_PROGRAM;
	config.vers = NLM4_VERSION;
	config.transfer_max = (uint32_t)KIB(64);
	config.event = event;
	config.userdata = locks;
	return pool_open(&config, &locks->pool);
}

/* This host, to the server; and something that no other mount of it has. */
static void name_ourselves(struct locks *locks)
{
	struct utsname names;
	uint64_t random = (uint64_t)clock_ns();

	uname(&names);
	snprintf(locks->caller_name, sizeof(locks->caller_name), "%.64s", names.nodename);
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random ^= (uint64_t)getpid() << 32;
	snprintf(locks->oh, sizeof(locks->oh), "fusenfs-%016llx", (unsigned long long)random);
	locks->looker_svid = (uint32_t)(random & 0x3fffffff);
	locks->next_svid = locks->looker_svid + 1;
}

/* ---- the record of them ------------------------------------------------------------------ */

static void begin_recorded(struct loop_task *task)
{
	struct locks *locks = container_of(task, struct locks, record_task);
	struct lock_op *op;

	while ((op = TAILQ_FIRST(&locks->unrecorded))) {
		TAILQ_REMOVE(&locks->unrecorded, op, link);
		lock_begin_again(op);
	}
}

/* Once for each that was waited for: the task has run before the next is. */
static void recorded(void *userdata)
{
	struct locks *locks = userdata;

	locks->record_task.run = begin_recorded;
	loop_post(locks->loop, &locks->record_task);
}

static bool can_be_called(void *userdata)
{
	struct locks *locks = userdata;

	return responder_is_ready(locks->responder);
}

static int open_nsm(struct locks *locks)
{
	struct nsm_config config = {
		.oh = locks->oh,
		.name = locks->caller_name,
		.recorded = recorded,
		.can_be_called = can_be_called,
		.userdata = locks,
	};

	locks->nsm = nsm_new(&config);
	return locks->nsm ? 0 : -ENOMEM;
}

static void name_thread(struct loop_task *task UNUSED)
{
	pthread_setname_np(pthread_self(), "locks");
}

int locks_open(struct fs *fs, struct locks **ret_locks)
{
	struct locks *locks = calloc(1, sizeof(*locks));
	int error;

	if (!locks)
		return -ENOMEM;
	locks->fs = fs;
	LIST_INIT(&locks->files);
	TAILQ_INIT(&locks->unrecorded);
	TAILQ_INIT(&locks->unfound);
	locks->find_at_ns = INT64_MAX;
	locks->timer.expired = lock_timer_expired;
	name_ourselves(locks);
	locks->want_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	locks->idle_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	locks->silent_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	error = locks->want_fd < 0 || locks->idle_fd < 0 || locks->silent_fd < 0 ? -errno : open_pool(locks);
	if (error) {
		closep(&locks->want_fd);
		closep(&locks->idle_fd);
		closep(&locks->silent_fd);
		free(locks);
		return error;
	}
	locks->loop = pool_loop(locks->pool, 0);
	locks->name_task.run = name_thread;
	loop_post(locks->loop, &locks->name_task);
	error = lock_grant_open(locks);
	if (!error)
		error = open_nsm(locks);
	if (error) {
		locks_free(locks);
		return error;
	}
	*ret_locks = locks;
	return 0;
}

/* ---- operations come in ------------------------------------------------------------------ */

static void test(struct lock_op *op)
{
	const struct lock_owner *owner;
	const struct lock_range *range;

	if (lock_obstacle(op, &owner, &range) <= LOCK_OBSTACLE_ASKED) {
		lock_enqueue(op);
		return;
	}
	op->found = (struct nlm4_test){
		.status = NLM4_STATUS_DENIED,
		.holder = { range->start, range->end, range->type == LOCK_EXCLUSIVE },
	};
	op->found_pid = owner->pid;
	lock_finish(op, 0);
}

static bool has_anything(const struct lock_owner *owner)
{
	return owner->held.n || owner->lost || !TAILQ_EMPTY(&owner->queue);
}

/* Nothing is asked of the server for what is not there. */
static void begin_free(struct lock_op *op)
{
	struct lock_file *file = lock_file_of(op->locks, op->inode);
	struct lock_owner *owner = file ? lock_owner_of(file, op->key) : NULL;

	if (!owner || !has_anything(owner) || lock_join(op)) {
		lock_finish(op, 0);
		return;
	}
	op->cred = owner->cred; /* he may not be one who could lock it now */
	lock_enqueue(op);
}

static void begin_release(struct lock_op *op)
{
	struct lock_file *file = lock_file_of(op->locks, op->inode);
	struct lock_owner *owner;

	if (file)
		LIST_FOREACH(owner, &file->owners, link)
			if (owner->opened == op->opened && has_anything(owner))
				lock_give_back(owner, 0, UINT64_MAX);
	lock_finish(op, 0);
}

static void begin(struct loop_task *task)
{
	struct lock_op *op = container_of(task, struct lock_op, task);

	if (op->kind == LOCK_FREE)
		begin_free(op);
	else if (op->kind == LOCK_RELEASE)
		begin_release(op);
	else if (atomic_load(&op->locks->closing))
		lock_finish(op, -ENOLCK);
	else if (!lock_find(op))
		return;
	else if (op->kind == LOCK_SET && !nsm_hold(op->locks->nsm))
		TAILQ_INSERT_TAIL(&op->locks->unrecorded, op, link);
	else if (lock_join(op))
		lock_finish(op, -ENOLCK);
	else if (op->kind == LOCK_TEST)
		test(op);
	else
		lock_try(op);
}

void lock_begin_again(struct lock_op *op)
{
	begin(&op->task);
}

void lock_begin(struct lock_op *op)
{
	op->task.run = begin;
	loop_post(op->locks->loop, &op->task);
}

static void settle_kept(struct loop_task *task)
{
	lock_op_free(container_of(task, struct lock_op, task));
}

static void settle_undone(struct loop_task *task)
{
	struct lock_op *op = container_of(task, struct lock_op, task);

	lock_undo(op);
	lock_op_free(op);
}

void lock_settle(struct lock_op *op, bool keep)
{
	op->task.run = keep ? settle_kept : settle_undone;
	if (loop_current() == op->locks->loop)
		op->task.run(&op->task);
	else
		loop_post(op->locks->loop, &op->task);
}

/* ---- the end ----------------------------------------------------------------------------- */

static void give_everything_back(struct loop_task *task)
{
	struct locks *locks = container_of(task, struct locks, close_task);
	struct lock_owner *owner;
	struct lock_file *file;

	locks->is_emptying = true;
	lock_stop_waiting(locks);
	LIST_FOREACH(file, &locks->files, link)
		LIST_FOREACH(owner, &file->owners, link)
			if (has_anything(owner))
				lock_give_back(owner, 0, UINT64_MAX);
	lock_check_empty(locks);
}

void lock_check_empty(struct locks *locks)
{
	if (locks->is_emptying && LIST_EMPTY(&locks->files))
		eventfd_write(locks->idle_fd, 1);
}

static void fall_silent(struct loop_task *task)
{
	struct locks *locks = container_of(task, struct locks, silent_task);

	dev_fall_silent();
	eventfd_write(locks->silent_fd, 1);
}

/* A reply from here on would leave on a descriptor that may be closed by then. */
static void silence_loop(struct locks *locks)
{
	struct pollfd silent = { .fd = locks->silent_fd, .events = POLLIN };

	locks->silent_task.run = fall_silent;
	loop_post(locks->loop, &locks->silent_task);
	while (poll(&silent, 1, -1) < 0 && errno == EINTR)
		;
}

void locks_info(const struct locks *locks, struct locks_info *ret_info)
{
	*ret_info = (struct locks_info){
		.manager = atomic_load(&locks->manager),
		.held = atomic_load(&locks->n_held),
		.waiting = atomic_load(&locks->n_waiting),
		.lost = atomic_load(&locks->n_lost),
	};
}

void locks_close(struct locks *locks, int64_t wait_ns)
{
	struct pollfd idle = { .events = POLLIN };
	eventfd_t count;
	bool clean;

	if (!locks)
		return;
	locks->close_task.run = give_everything_back;
	loop_post(locks->loop, &locks->close_task);
	idle.fd = locks->idle_fd;
	clean = poll(&idle, 1, locks_server_answers(locks) ? (int)(wait_ns / NS_PER_MS) : AT_ONCE_MS) > 0;
	if (clean)
		eventfd_read(locks->idle_fd, &count); /* also for ThreadSanitizer: all replies were before it */
	if (!clean && locks_server_answers(locks))
		log_warn(MSG_LOCKS_LEFT, "locks could not be given back: %s keeps them until it is told (fusenfs sm-notify)",
			 locks->fs->options->source.host);
	atomic_store(&locks->closing, true);
	responder_stop(locks->responder);
	nsm_stop(locks->nsm, clean);
	silence_loop(locks);
}

/* What no answer has come for is forgotten with its owner. */
static void forget_owners(struct locks *locks)
{
	struct lock_file *file;
	struct lock_owner *owner;
	struct lock_op *op;

	while ((file = LIST_FIRST(&locks->files))) {
		file->n_pins++;
		while ((owner = LIST_FIRST(&file->owners))) {
			owner->n_ops++;
			while ((op = TAILQ_FIRST(&owner->queue))) {
				TAILQ_REMOVE(&owner->queue, op, link);
				lock_finish(op, -EINTR);
			}
			lock_hold(owner, 0, UINT64_MAX, LOCK_NONE);
			owner->lost = false;
			owner->n_ops = 0;
			lock_owner_check(owner);
		}
		lock_file_unpin(file);
	}
}

void locks_free(struct locks *locks)
{
	if (!locks)
		return;
	atomic_store(&locks->closing, true);
	pool_close(locks->pool);
	lock_stop_waiting(locks);
	forget_owners(locks);
	responder_free(locks->responder);
	nsm_free(locks->nsm);
	closep(&locks->want_fd);
	closep(&locks->idle_fd);
	closep(&locks->silent_fd);
	free(locks);
}
