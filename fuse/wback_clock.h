/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_clock - what only time brings to written data: the end of a quarantine, another attempt to
 * save what is held, the end of patience. While there is something of the kind, a timer on loop 0
 * ticks and has those files looked at; nothing waits in a thread. Any thread. */
#ifndef FUSE_WBACK_CLOCK_H
#define FUSE_WBACK_CLOCK_H

#include <stdbool.h>
#include <sys/queue.h>

#include "../conn/util.h"

struct fs;
struct wback_clock;

#define WBACK_TICK_NS (100 * NS_PER_MS)

/* A wback's place on the clock; the clock's. */
struct wback_timed {
	bool watched;
	TAILQ_ENTRY(wback_timed) link;
};

struct wback_clock *wback_clock_new(struct fs *fs);
void wback_clock_free(struct wback_clock *clock);

/* wback_clock_watch - look at it (wback_tick()) at the next tick, once. The caller keeps the inode. */
void wback_clock_watch(struct wback_clock *clock, struct wback_timed *timed);
/* wback_clock_unwatch - it goes away. */
void wback_clock_unwatch(struct wback_clock *clock, struct wback_timed *timed);
/* wback_clock_start - tick at least once more: a writer waits for memory. */
void wback_clock_start(struct wback_clock *clock);
/* wback_clock_run - a tick now. */
void wback_clock_run(struct wback_clock *clock);

#endif
