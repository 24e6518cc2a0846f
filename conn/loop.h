/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop - an event loop: one thread, one epoll set, an inbox and timers.
 *
 * PUBLIC. A loop runs what it watches to completion and never blocks anywhere but in epoll_wait(2).
 * It knows nothing of what it watches: connections (conn/) and FUSE descriptors (fuse/) look alike.
 *
 * One turn: descriptors of priority LOOP_FIRST, the inbox, expired timers, descriptors of priority
 * LOOP_LAST, then the end-of-turn list. Sockets come first and requests last, so that an answer
 * never waits behind new work, and everything a turn submitted leaves in one sendmsg(2).
 *
 * Before it sleeps it may busy-poll (loop_spin()): for who would rather spend CPU time than the time of a wake-up.
 *
 * Threads: unless a comment says "any thread", a function may be called only on the loop's own
 * thread, or before loop_start(). */
#ifndef CONN_LOOP_H
#define CONN_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/queue.h>

struct loop;

enum loop_priority { LOOP_FIRST, LOOP_LAST };

/* A descriptor in the epoll set. The owner embeds and fills it; it must stay in place until
 * loop_watch_del(). ready() gets the EPOLL* bits and may delete this or any other watch. */
struct loop_watch {
	int fd;
	enum loop_priority priority;
	void (*ready)(struct loop_watch *watch, uint32_t events);
};

/* A timer. Zero-initialise, set expired. One-shot; expired() may set it again. */
struct loop_timer {
	void (*expired)(struct loop_timer *timer, int64_t now_ns);
	int64_t at_ns;                    /* CLOCK_MONOTONIC */
	bool armed;                       /* the loop's */
	TAILQ_ENTRY(loop_timer) link;     /* the loop's */
};

/* A message to a loop. It belongs to the loop from loop_post() until run() is called. */
struct loop_task {
	void (*run)(struct loop_task *task);
	STAILQ_ENTRY(loop_task) link;     /* the loop's */
};

/* Work to do once at the end of the turn in which loop_at_turn_end() was called. */
struct loop_turn_end {
	void (*run)(struct loop_turn_end *end);
	bool queued;                      /* the loop's */
	STAILQ_ENTRY(loop_turn_end) link; /* the loop's */
};

/* loop_new - a loop numbered index, not yet running. 0 or -errno. */
int loop_new(unsigned int index, struct loop **ret_loop);
/* loop_free - after loop_join(), or if never started. Takes NULL. */
void loop_free(struct loop *loop);

/* loop_start - start the thread, all signals blocked in it. 0 or -errno. Any thread. */
int loop_start(struct loop *loop);
/* loop_stop - ask the thread to leave after its current turn. Any thread. */
void loop_stop(struct loop *loop);
/* loop_join - wait until it has left. Not on a loop's thread. */
void loop_join(struct loop *loop);

/* loop_current - the loop whose thread this is, or NULL. Any thread. */
struct loop *loop_current(void);
/* loop_index - its number. Any thread. */
unsigned int loop_index(const struct loop *loop);
/* loop_now_ns - clock_ns() as of the start of the turn; at most one turn old. */
int64_t loop_now_ns(const struct loop *loop);

/* loop_watch_add - watch->fd with EPOLL* events (EPOLLEXCLUSIVE and EPOLLET allowed). 0 or -errno. */
int loop_watch_add(struct loop *loop, struct loop_watch *watch, uint32_t events);
/* loop_watch_mod - other events; not for a descriptor added with EPOLLEXCLUSIVE (epoll_ctl(2)). */
int loop_watch_mod(struct loop *loop, struct loop_watch *watch, uint32_t events);
/* loop_watch_del - stop watching; ready() is not called again, not even later in this turn. */
void loop_watch_del(struct loop *loop, struct loop_watch *watch);

/* loop_timer_set - (re)arm for at_ns; not before the next turn, even if that is in the past.
 * loop_timer_cancel - disarm; does nothing if not armed. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, int64_t at_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

/* loop_at_turn_end - run end->run() once when this turn ends; twice in a turn counts once. */
void loop_at_turn_end(struct loop *loop, struct loop_turn_end *end);

/* loop_spin - after a turn that had something to do, look for more during ns before sleeping; 0: do not. Any thread. */
void loop_spin(struct loop *loop, int64_t ns);

/* loop_post - run the task on the loop's thread soon; tasks run in the order posted. Never blocks.
 * After the loop has stopped, tasks are run by loop_join()'s caller. Any thread. */
void loop_post(struct loop *loop, struct loop_task *task);

#endif
