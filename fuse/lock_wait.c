/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_wait - see lock_parts.h: who cannot have a lock now, and when he asks again.
 *
 * For what this mount has, he is woken when it goes. For what others have, the server is asked again
 * after 10 ms, then twice that, up to a second; by the first in line only, if the next ones want what
 * he wants. Where it can call us (lock_grant.c), it keeps him in mind; once it has done so in time, he asks
 * by himself only every 30 s, as the Linux client does. One that did not is not trusted any more: firewalls let
 * through the calls of clients, and often not those to them. */
#include <errno.h>

#include "lock_parts.h"

static const int64_t PAUSE_NS = 10 * NS_PER_MS;
static const int64_t PAUSE_MAX_NS = 1 * NS_PER_S;
static const int64_t PAUSE_TRUSTED_NS = 30 * NS_PER_S;
static const int64_t GRACE_PAUSE_NS = 1 * NS_PER_S;
static const int64_t RETRY_NS = 1 * NS_PER_S;
static const int64_t TICK_NS = 100 * NS_PER_MS; /* to see who has gone */

void lock_set_timer(struct locks *locks, int64_t at_ns)
{
	if (!locks->timer.armed || locks->timer.at_ns > at_ns)
		loop_timer_set(locks->loop, &locks->timer, at_ns);
}

static void enter(struct lock_op *op)
{
	if (!op->waiting) {
		op->waiting = true;
		atomic_fetch_add(&op->locks->n_waiting, 1);
		TAILQ_INSERT_TAIL(&op->owner->file->waiting, op, link);
	}
	lock_set_timer(op->locks, min_i64(op->try_at_ns, fs_now_ns() + TICK_NS));
}

static void leave(struct lock_op *op)
{
	if (!op->waiting)
		return;
	op->waiting = false;
	atomic_fetch_sub(&op->locks->n_waiting, 1);
	TAILQ_REMOVE(&op->owner->file->waiting, op, link);
}

/* Who came first, and wants what could not be had beside this. */
static bool has_elder(const struct lock_op *op)
{
	const struct lock_op *elder;

	TAILQ_FOREACH(elder, &op->owner->file->waiting, link) {
		if (elder == op)
			return false;
		if (elder->owner != op->owner && lock_clashes(elder, op))
			return true;
	}
	return false;
}

void lock_try(struct lock_op *op)
{
	const struct lock_owner *owner;
	const struct lock_range *range;
	enum lock_obstacle obstacle = lock_obstacle(op, &owner, &range);

	if (obstacle == LOCK_OBSTACLE_ASKED && !op->wait)
		obstacle = LOCK_OBSTACLE_NONE;
	if (obstacle == LOCK_OBSTACLE_HELD && !op->wait) {
		leave(op);
		lock_give_up(op, -EAGAIN);
	} else if (obstacle != LOCK_OBSTACLE_NONE && op->wait && !op->is_flock &&
		   lock_would_deadlock(op)) {
		leave(op);
		lock_give_up(op, -EDEADLK);
	} else if (obstacle != LOCK_OBSTACLE_NONE || (op->wait && !op->hinted && has_elder(op))) {
		op->try_at_ns = INT64_MAX; /* until it is kicked */
		op->pause_ns = 0;
		enter(op);
	} else {
		leave(op);
		lock_enqueue(op);
	}
}

void lock_wait(struct lock_op *op)
{
	op->pause_ns = op->pause_ns ? min_i64(2 * op->pause_ns, PAUSE_MAX_NS) : PAUSE_NS;
	if (op->blocked && op->locks->grants_come)
		op->pause_ns = PAUSE_TRUSTED_NS;
	op->waited_long = op->pause_ns == PAUSE_TRUSTED_NS;
	op->try_at_ns = fs_now_ns() + (op->hinted ? 0 : op->pause_ns);
	enter(op);
}

void lock_wait_grace(struct lock_op *op)
{
	op->try_at_ns = fs_now_ns() + GRACE_PAUSE_NS;
	enter(op);
}

void lock_retry_later(struct lock_op *op)
{
	op->try_at_ns = fs_now_ns() + RETRY_NS;
	lock_set_timer(op->locks, op->try_at_ns);
}

/* Each is asked once: who gives up, or waits on, changes the list. */
void lock_kick(struct lock_file *file)
{
	struct lock_op_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct lock_op *op;

	TAILQ_CONCAT(&waiting, &file->waiting, link);
	while ((op = TAILQ_FIRST(&waiting))) {
		TAILQ_REMOVE(&waiting, op, link);
		TAILQ_INSERT_TAIL(&file->waiting, op, link);
		if (op->try_at_ns == INT64_MAX)
			lock_try(op);
	}
}

/* What was trusted in is forgotten. */
void lock_ask_now(struct lock_op *op)
{
	op->pause_ns = 0;
	op->waited_long = false;
	op->try_at_ns = 0;
	lock_try(op);
}

void lock_ask_all(struct locks *locks)
{
	struct lock_op *op;
	struct lock_file *file;

	locks->grants_come = false;
	LIST_FOREACH(file, &locks->files, link)
		TAILQ_FOREACH(op, &file->waiting, link)
			if (op->try_at_ns != INT64_MAX)
				op->try_at_ns = 0;
	lock_set_timer(locks, fs_now_ns());
}

void lock_stop_waiting(struct locks *locks)
{
	struct lock_file *file, *next;
	struct lock_op *op;

	lock_find_stop(locks);
	while ((op = TAILQ_FIRST(&locks->unrecorded))) {
		TAILQ_REMOVE(&locks->unrecorded, op, link);
		lock_finish(op, -EINTR);
	}
	for (file = LIST_FIRST(&locks->files); file; file = next) {
		next = LIST_NEXT(file, link);
		file->n_pins++;
		while ((op = TAILQ_FIRST(&file->waiting))) {
			leave(op);
			lock_give_up(op, -EINTR);
		}
		lock_file_unpin(file);
	}
}

/* ---- time -------------------------------------------------------------------------------- */

static bool has_gone(const struct lock_op *op)
{
	return lock_is_gone(op) || atomic_load(&op->locks->closing);
}

static void look_at_waiting(struct lock_file *file, int64_t now_ns, int64_t *next_ns)
{
	struct lock_op *op, *next;
	bool kick = false;

	for (op = TAILQ_FIRST(&file->waiting); op; op = next) {
		next = TAILQ_NEXT(op, link);
		if (has_gone(op) || now_ns >= op->deadline_ns) {
			leave(op);
			lock_give_up(op, has_gone(op) ? -EINTR :
							request_errno(op->locks->fs, -ETIMEDOUT));
			kick = true;
		} else if (now_ns >= op->try_at_ns) {
			lock_try(op);
		} else {
			*next_ns = min_i64(*next_ns, min_i64(op->try_at_ns, now_ns + TICK_NS));
		}
	}
	if (kick)
		lock_kick(file);
}

/* Behind what is tried again until the server answers, nobody waits for it. */
static void fail_queued(struct lock_owner *owner)
{
	int error = request_errno(owner->file->locks->fs, -EHOSTDOWN);
	struct lock_op *op = TAILQ_NEXT(TAILQ_FIRST(&owner->queue), link), *next;

	for (; op; op = next) {
		next = TAILQ_NEXT(op, link);
		if (!op->request || op->check)
			continue;
		if (op->kind == LOCK_FREE) {
			lock_tell_early(op, error);
			continue;
		}
		TAILQ_REMOVE(&owner->queue, op, link);
		lock_finish(op, error);
	}
}

static bool is_down(const struct locks *locks)
{
	return locks->fs->options->down != DOWN_HARD &&
	       pool_server_state(locks->pool) == SERVER_DOWN;
}

static void look_at_retries(struct lock_file *file, int64_t now_ns, int64_t *next_ns)
{
	struct lock_owner *owner, *next;

	for (owner = LIST_FIRST(&file->owners); owner; owner = next) {
		struct lock_op *first = TAILQ_FIRST(&owner->queue);

		next = LIST_NEXT(owner, link);
		if (!first || first->in_flight)
			continue;
		if (is_down(file->locks))
			fail_queued(owner);
		if (now_ns >= first->try_at_ns)
			lock_resume(owner);
		else
			*next_ns = min_i64(*next_ns, first->try_at_ns);
	}
}

void lock_timer_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct locks *locks = container_of(timer, struct locks, timer);
	struct lock_file *file, *next;
	int64_t next_ns = INT64_MAX;

	lock_find_tick(locks, now_ns, &next_ns);
	for (file = LIST_FIRST(&locks->files); file; file = next) {
		next = LIST_NEXT(file, link);
		file->n_pins++;
		look_at_retries(file, now_ns, &next_ns);
		look_at_waiting(file, now_ns, &next_ns);
		lock_file_unpin(file);
	}
	if (next_ns != INT64_MAX)
		lock_set_timer(locks, next_ns);
}
