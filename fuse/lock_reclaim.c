/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_reclaim - see lock_parts.h: is what we hold still held?
 *
 * A connection was lost; the server may have been restarted, and then it has forgotten all locks. For
 * each range that an owner holds, in front of what else he wants:
 *   look     TEST, as nobody in particular: the lock itself is in the way, then all is well;
 *   reclaim  nobody's is, or it is too early for such questions (grace period): LOCK with reclaim set. If
 *            that is refused as the grace period is over, anybody could have had it: lost;
 *   again    somebody's shared one is in the way of the TEST: a plain LOCK says whether ours is possible.
 */
#include <stdio.h>

#include "lock_parts.h"
#include "log.h"

static void check_range(struct lock_owner *owner, const struct lock_range *range)
{
	struct lock_op *op = lock_op_own(owner, LOCK_SET, range->start, range->end, range->type);

	if (!op)
		return;
	op->check = LOCK_CHECK_LOOK;
	lock_push(op);
}

static bool is_being_checked(const struct lock_owner *owner)
{
	const struct lock_op *op;

	TAILQ_FOREACH(op, &owner->queue, link)
		if (op->check)
			return true;
	return false;
}

static void check_all(struct loop_task *task)
{
	struct locks *locks = container_of(task, struct locks, check_task);
	const struct lock_range *range;
	struct lock_owner *owner;
	struct lock_file *file;

	atomic_store(&locks->check_posted, false);
	lock_ask_all(locks); /* it may have forgotten who waits */
	LIST_FOREACH(file, &locks->files, link)
		LIST_FOREACH(owner, &file->owners, link)
			if (!is_being_checked(owner))
				TAILQ_FOREACH(range, &owner->held.list, link)
					check_range(owner, range);
}

void lock_check_all(struct locks *locks)
{
	if (atomic_exchange(&locks->check_posted, true))
		return;
	locks->check_task.run = check_all;
	loop_post(locks->loop, &locks->check_task);
}

/* ---- lost -------------------------------------------------------------------------------- */

static void set_lost(struct lock_owner *owner, bool lost)
{
	if (owner->lost == lost)
		return;
	owner->lost = lost;
	if (lost)
		atomic_fetch_add(&owner->file->inode->n_locks_lost, 1);
	else
		atomic_fetch_sub(&owner->file->inode->n_locks_lost, 1);
	atomic_fetch_add(&owner->file->locks->n_lost, lost ? 1 : -1U);
}

void lock_forgive(struct lock_owner *owner)
{
	set_lost(owner, false);
}

static void tell_lost(const struct lock_op *op)
{
	const struct lock_owner *owner = op->owner;
	char end[24] = "the end";

	if (op->end != UINT64_MAX)
		snprintf(end, sizeof(end), "%llu", (unsigned long long)op->end);
	log_error(MSG_LOCK_LOST,
		  "the server has forgotten a lock of process %d on file %llu (bytes %llu to %s): reads and "
		  "writes of the file fail until it is unlocked or closed",
		  (int)owner->pid, (unsigned long long)op->inode->fileid,
		  (unsigned long long)op->start, end);
}

static void lose(struct lock_op *op)
{
	struct lock_owner *owner = op->owner;

	tell_lost(op);
	set_lost(owner, true);
	if (lock_hold(owner, op->start, op->end, LOCK_NONE))
		log_warn(MSG_NO_MEMORY, "out of memory: a lock is believed to be held");
	lock_finish(op, 0);
}

/* ---- what the server says ---------------------------------------------------------------- */

static void next(struct lock_op *op, enum lock_check check)
{
	op->check = check;
	lock_push(op);
}

/* It stays the first of its queue: nothing else of the owner's goes before it is known. */
static void later(struct lock_op *op)
{
	op->check = LOCK_CHECK_LOOK;
	TAILQ_INSERT_HEAD(&op->owner->queue, op, link);
	lock_retry_later(op);
}

static void looked(struct lock_op *op)
{
	const struct nlm4_test *found = &op->found;

	switch (found->status) {
	case NLM4_STATUS_GRANTED:
	case NLM4_STATUS_DENIED_GRACE_PERIOD:
		next(op, LOCK_CHECK_RECLAIM);
		break;
	case NLM4_STATUS_DENIED:
		if (found->svid == op->owner->svid)
			lock_finish(op, 0);
		else if (op->type == LOCK_EXCLUSIVE || found->holder.exclusive)
			lose(op);
		else
			next(op, LOCK_CHECK_AGAIN);
		break;
	case NLM4_STATUS_DENIED_NOLOCKS:
	case NLM4_STATUS_BLOCKED:
	case NLM4_STATUS_DEADLCK:
	case NLM4_STATUS_ROFS:
	case NLM4_STATUS_STALE_FH:
	case NLM4_STATUS_FBIG:
	case NLM4_STATUS_FAILED:
		lose(op);
		break;
	}
}

void lock_checked(struct lock_op *op, int error, enum nlm4_status status)
{
	op->try_at_ns = 0;
	if (error)
		later(op);
	else if (op->check == LOCK_CHECK_LOOK)
		looked(op);
	else if (status == NLM4_STATUS_GRANTED)
		lock_finish(op, 0);
	else
		lose(op);
}
