/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop - one thread, one epoll set, the descriptors it watches. Only the thread touches watches,
 * timers and the end-of-turn list; everyone else leaves tasks in the inbox, under the lock, and
 * wakes it. The inbox is taken whole and run without the lock. */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "mutex.h"
#include "util.h"

enum { EVENTS_PER_TURN = 64 };

STAILQ_HEAD(task_list, loop_task);

struct loop {
	unsigned int index;
	int epoll_fd;
	pthread_t thread;
	bool started;
	_Atomic(bool) stopping;
	int64_t now_ns;
	_Atomic(int64_t) spin_ns;
	bool busy; /* the last turn had something to do */

	struct epoll_event events[EVENTS_PER_TURN]; /* of this turn; data.ptr NULL once deleted */
	int n_events;
	TAILQ_HEAD(timer_list, loop_timer) timers; /* by at_ns */
	STAILQ_HEAD(, loop_turn_end) turn_end;

	/* Edge-triggered, so that a wake-up costs the sleeper no read(2). */
	struct loop_watch wake;
	/* Set before the last look at has_mail; a poster looks at it after setting has_mail. Both
	 * are sequentially consistent, so that one of the two sees the other: a loop that is awake
	 * is not woken, one that sleeps is. */
	_Atomic(bool) asleep;
	_Atomic(bool) has_mail; /* written under lock */
	struct mutex lock;      /* guards inbox */
	struct task_list inbox;
};

static _Thread_local struct loop *current_loop;

static void wake_ready(struct loop_watch *watch UNUSED, uint32_t events UNUSED)
{
	/* The inbox is looked at in every turn. */
}

int loop_new(unsigned int index, struct loop **ret_loop)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int error;

	if (!loop)
		return -ENOMEM;
	loop->index = index;
	mutex_init(&loop->lock);
	TAILQ_INIT(&loop->timers);
	STAILQ_INIT(&loop->inbox);
	STAILQ_INIT(&loop->turn_end);
	loop->now_ns = clock_ns();
	loop->wake = (struct loop_watch){ .priority = LOOP_FIRST, .ready = wake_ready };
	loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->wake.fd < 0 || loop->epoll_fd < 0) {
		error = -errno;
		loop_free(loop);
		return error;
	}
	error = loop_watch_add(loop, &loop->wake, EPOLLIN | EPOLLET);
	if (error) {
		loop_free(loop);
		return error;
	}
	*ret_loop = loop;
	return 0;
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	closep(&loop->wake.fd);
	closep(&loop->epoll_fd);
	mutex_deinit(&loop->lock);
	free(loop);
}

struct loop *loop_current(void)
{
	return current_loop;
}

unsigned int loop_index(const struct loop *loop)
{
	return loop->index;
}

int64_t loop_now_ns(const struct loop *loop)
{
	return loop->now_ns;
}

/* ---- watches ----------------------------------------------------------------------------- */

static int watch_ctl(struct loop *loop, int op, struct loop_watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = watch };

	return epoll_ctl(loop->epoll_fd, op, watch->fd, &event) ? -errno : 0;
}

int loop_watch_add(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	return watch_ctl(loop, EPOLL_CTL_ADD, watch, events);
}

int loop_watch_mod(struct loop *loop, struct loop_watch *watch, uint32_t events)
{
	return watch_ctl(loop, EPOLL_CTL_MOD, watch, events);
}

void loop_watch_del(struct loop *loop, struct loop_watch *watch)
{
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL);
	for (int i = 0; i < loop->n_events; i++)
		if (loop->events[i].data.ptr == watch)
			loop->events[i].data.ptr = NULL;
}

static void run_watches(struct loop *loop, enum loop_priority priority)
{
	for (int i = 0; i < loop->n_events; i++) {
		struct loop_watch *watch = loop->events[i].data.ptr;

		if (!watch || watch->priority != priority)
			continue;
		loop->events[i].data.ptr = NULL;
		watch->ready(watch, loop->events[i].events);
	}
}

/* ---- timers ------------------------------------------------------------------------------ */

void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ns)
{
	struct loop_timer *before;

	loop_timer_cancel(loop, timer);
	/* In the past means in the next turn: one that is set again and again starves nobody. */
	at_ns = max_i64(at_ns, loop->now_ns + 1);
	timer->at_ns = at_ns;
	timer->armed = true;
	TAILQ_FOREACH_REVERSE(before, &loop->timers, timer_list, link)
		if (before->at_ns <= at_ns)
			break;
	if (before)
		TAILQ_INSERT_AFTER(&loop->timers, before, timer, link);
	else
		TAILQ_INSERT_HEAD(&loop->timers, timer, link);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
	if (!timer->armed)
		return;
	timer->armed = false;
	TAILQ_REMOVE(&loop->timers, timer, link);
}

static void run_timers(struct loop *loop)
{
	struct loop_timer *timer;

	while ((timer = TAILQ_FIRST(&loop->timers)) && timer->at_ns <= loop->now_ns) {
		loop_timer_cancel(loop, timer);
		timer->expired(timer, loop->now_ns);
	}
}

/* The epoll timeout in ms, rounded up so that a timer is never woken for too early. */
static int timeout_ms(const struct loop *loop)
{
	const struct loop_timer *timer = TAILQ_FIRST(&loop->timers);
	int64_t ns;

	if (!timer)
		return -1;
	ns = timer->at_ns - clock_ns();
	if (ns <= 0)
		return 0;
	return (int)min_i64((ns + NS_PER_MS - 1) / NS_PER_MS, 60 * 1000);
}

/* ---- inbox and end of turn --------------------------------------------------------------- */

void loop_post(struct loop *loop, struct loop_task *task)
{
	bool was_empty;

	mutex_lock(&loop->lock);
	was_empty = STAILQ_EMPTY(&loop->inbox);
	STAILQ_INSERT_TAIL(&loop->inbox, task, link);
	atomic_store(&loop->has_mail, true);
	mutex_unlock(&loop->lock);
	if (was_empty && atomic_load(&loop->asleep))
		eventfd_write(loop->wake.fd, 1);
}

/* True if anything was run. */
static bool run_inbox(struct loop *loop)
{
	struct task_list taken = STAILQ_HEAD_INITIALIZER(taken);
	struct loop_task *task;
	bool any = false;

	if (!atomic_load(&loop->has_mail))
		return false;
	mutex_lock(&loop->lock);
	STAILQ_CONCAT(&taken, &loop->inbox);
	atomic_store(&loop->has_mail, false);
	mutex_unlock(&loop->lock);
	while ((task = STAILQ_FIRST(&taken))) {
		STAILQ_REMOVE_HEAD(&taken, link);
		task->run(task);
		any = true;
	}
	return any;
}

void loop_at_turn_end(struct loop *loop, struct loop_turn_end *end)
{
	if (end->queued)
		return;
	end->queued = true;
	STAILQ_INSERT_TAIL(&loop->turn_end, end, link);
}

static void run_turn_end(struct loop *loop)
{
	struct loop_turn_end *end;

	while ((end = STAILQ_FIRST(&loop->turn_end))) {
		STAILQ_REMOVE_HEAD(&loop->turn_end, link);
		end->queued = false;
		end->run(end);
	}
}

/* ---- the thread -------------------------------------------------------------------------- */

void loop_spin(struct loop *loop, int64_t ns)
{
	atomic_store_explicit(&loop->spin_ns, ns, memory_order_relaxed);
}

static bool may_spin(const struct loop *loop, int64_t since_ns)
{
	const struct loop_timer *timer = TAILQ_FIRST(&loop->timers);
	int64_t now_ns = clock_ns();

	return !atomic_load_explicit(&loop->has_mail, memory_order_relaxed) &&
	       !atomic_load_explicit(&loop->stopping, memory_order_relaxed) &&
	       now_ns - since_ns < atomic_load_explicit(&loop->spin_ns, memory_order_relaxed) &&
	       !(timer && timer->at_ns <= now_ns);
}

/* Nobody need wake it meanwhile: mail is looked for. */
static int spin(struct loop *loop)
{
	int64_t since_ns = clock_ns();
	int n;

	do {
		n = epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, 0);
	} while (!n && may_spin(loop, since_ns));
	return n;
}

static int sleep_until_ready(struct loop *loop)
{
	int timeout;

	atomic_store(&loop->asleep, true);
	timeout = atomic_load(&loop->has_mail) ? 0 : timeout_ms(loop);
	return epoll_wait(loop->epoll_fd, loop->events, EVENTS_PER_TURN, timeout);
}

static void turn(struct loop *loop)
{
	loop->n_events = 0;
	if (loop->busy && atomic_load_explicit(&loop->spin_ns, memory_order_relaxed))
		loop->n_events = spin(loop);
	if (loop->n_events <= 0)
		loop->n_events = sleep_until_ready(loop);
	atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
	loop->now_ns = clock_ns();
	loop->busy = loop->n_events > 0;
	run_watches(loop, LOOP_FIRST);
	if (run_inbox(loop))
		loop->busy = true;
	run_timers(loop);
	run_watches(loop, LOOP_LAST);
	run_turn_end(loop);
	loop->n_events = 0;
}

static void *loop_main(void *arg)
{
	struct loop *loop = arg;

	current_loop = loop;
	while (!atomic_load_explicit(&loop->stopping, memory_order_acquire))
		turn(loop);
	current_loop = NULL;
	return NULL;
}

int loop_start(struct loop *loop)
{
	char name[16];
	sigset_t all, old;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&loop->thread, NULL, loop_main, loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error)
		return -error;
	snprintf(name, sizeof(name), "loop%u", loop->index);
	pthread_setname_np(loop->thread, name);
	loop->started = true;
	return 0;
}

void loop_stop(struct loop *loop)
{
	atomic_store_explicit(&loop->stopping, true, memory_order_release);
	eventfd_write(loop->wake.fd, 1);
}

void loop_join(struct loop *loop)
{
	if (loop->started)
		pthread_join(loop->thread, NULL);
	loop->started = false;
	while (run_inbox(loop))
		;
}
