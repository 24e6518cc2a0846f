/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_clock - see wback_clock.h. */
#include "wback_clock.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "../conn/conn.h"
#include "../conn/mutex.h"
#include "fs.h"
#include "wback.h"

struct wback_clock {
	struct fs *fs;
	struct loop_timer timer;  /* loop 0's */
	struct loop_task start;
	_Atomic(bool) ticking;    /* the timer is set, or will be */
	struct mutex lock;        /* guards what follows */
	TAILQ_HEAD(, wback_timed) watched;
	unsigned int n_watched;
};

static struct loop *loop_of(struct wback_clock *clock)
{
	return pool_loop(clock->fs->pool, 0);
}

static void start_run(struct loop_task *task)
{
	struct wback_clock *clock = container_of(task, struct wback_clock, start);
	struct loop *loop = loop_of(clock);

	loop_timer_set(loop, &clock->timer, loop_now_ns(loop) + WBACK_TICK_NS);
}

void wback_clock_start(struct wback_clock *clock)
{
	if (!atomic_exchange(&clock->ticking, true))
		loop_post(loop_of(clock), &clock->start);
}

void wback_clock_watch(struct wback_clock *clock, struct wback_timed *timed)
{
	mutex_lock(&clock->lock);
	if (!timed->watched) {
		timed->watched = true;
		TAILQ_INSERT_TAIL(&clock->watched, timed, link);
		clock->n_watched++;
	}
	mutex_unlock(&clock->lock);
	wback_clock_start(clock);
}

static void take_out_locked(struct wback_clock *clock, struct wback_timed *timed)
	REQUIRES(clock->lock)
{
	TAILQ_REMOVE(&clock->watched, timed, link);
	timed->watched = false;
	clock->n_watched--;
}

void wback_clock_unwatch(struct wback_clock *clock, struct wback_timed *timed)
{
	mutex_lock(&clock->lock);
	if (timed->watched)
		take_out_locked(clock, timed);
	mutex_unlock(&clock->lock);
}

static unsigned int count(struct wback_clock *clock)
{
	unsigned int n;

	mutex_lock(&clock->lock);
	n = clock->n_watched;
	mutex_unlock(&clock->lock);
	return n;
}

/* NULL: it is just going, or there is none. */
static struct inode *take_first(struct wback_clock *clock)
{
	struct inode *inode = NULL;
	struct wback_timed *timed;

	mutex_lock(&clock->lock);
	timed = TAILQ_FIRST(&clock->watched);
	if (timed) {
		take_out_locked(clock, timed);
		inode = inode_try_ref(wback_timed_inode(timed));
	}
	mutex_unlock(&clock->lock);
	return inode;
}

/* Those that need another look come back at the end of the list. */
void wback_clock_run(struct wback_clock *clock)
{
	for (unsigned int n = count(clock); n > 0; n--) {
		struct inode *inode = take_first(clock);

		if (!inode)
			continue;
		wback_tick(inode);
		inode_put(clock->fs->inodes, inode);
	}
	wback_pool_tick(clock->fs->wback);
}

static bool is_needed(struct wback_clock *clock)
{
	return count(clock) || wback_pool_n_queued(clock->fs->wback);
}

static void expired(struct loop_timer *timer, int64_t now_ns)
{
	struct wback_clock *clock = container_of(timer, struct wback_clock, timer);

	wback_clock_run(clock);
	if (!is_needed(clock)) {
		atomic_store(&clock->ticking, false);
		/* Somebody may have come before that, and believed that it ticks. */
		if (!is_needed(clock) || atomic_exchange(&clock->ticking, true))
			return;
	}
	loop_timer_set(loop_of(clock), timer, now_ns + WBACK_TICK_NS);
}

struct wback_clock *wback_clock_new(struct fs *fs)
{
	struct wback_clock *clock = calloc(1, sizeof(*clock));

	if (!clock)
		return NULL;
	clock->fs = fs;
	clock->timer.expired = expired;
	clock->start.run = start_run;
	mutex_init(&clock->lock);
	TAILQ_INIT(&clock->watched);
	return clock;
}

void wback_clock_free(struct wback_clock *clock)
{
	if (!clock)
		return;
	mutex_deinit(&clock->lock);
	free(clock);
}
