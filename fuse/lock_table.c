/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_table - see lock_parts.h: who has what, and who is in whose way. */
#include "lock_parts.h"

#include <errno.h>
#include <stdlib.h>

struct lock_file *lock_file_of(struct locks *locks, const struct inode *inode)
{
	struct lock_file *file;

	LIST_FOREACH(file, &locks->files, link)
		if (file->inode == inode)
			return file;
	return NULL;
}

struct lock_owner *lock_owner_of(struct lock_file *file, uint64_t key)
{
	struct lock_owner *owner;

	LIST_FOREACH(owner, &file->owners, link)
		if (owner->key == key)
			return owner;
	return NULL;
}

/* ---- making and freeing ------------------------------------------------------------------ */

static struct lock_file *lock_file_new(struct locks *locks, struct inode *inode)
{
	struct lock_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->locks = locks;
	file->inode = inode_ref(inode);
	LIST_INIT(&file->owners);
	TAILQ_INIT(&file->waiting);
	LIST_INSERT_HEAD(&locks->files, file, link);
	responder_want(locks->responder, true);
	return file;
}

static void lock_file_check(struct lock_file *file)
{
	if (!LIST_EMPTY(&file->owners) || file->n_pins)
		return;
	LIST_REMOVE(file, link);
	if (LIST_EMPTY(&file->locks->files)) {
		responder_want(file->locks->responder, false);
		nsm_unhold(file->locks->nsm);
	}
	lock_check_empty(file->locks);
	inode_put(file->locks->fs->inodes, file->inode);
	free(file);
}

void lock_file_unpin(struct lock_file *file)
{
	file->n_pins--;
	lock_file_check(file);
}

static struct lock_owner *owner_new(struct lock_file *file, uint64_t key)
{
	struct lock_owner *owner = calloc(1, sizeof(*owner));

	if (!owner)
		return NULL;
	owner->file = file;
	owner->key = key;
	owner->svid = file->locks->next_svid++;
	lock_ranges_init(&owner->held);
	TAILQ_INIT(&owner->queue);
	LIST_INSERT_HEAD(&file->owners, owner, link);
	atomic_fetch_add(&file->inode->n_lock_owners, 1);
	return owner;
}

int lock_hold(struct lock_owner *owner, uint64_t start, uint64_t end, enum lock_type type)
{
	unsigned int before = owner->held.n;
	int error = lock_ranges_set(&owner->held, start, end, type);

	atomic_fetch_add(&owner->file->locks->n_held, owner->held.n - before);
	return error;
}

void lock_owner_check(struct lock_owner *owner)
{
	struct lock_file *file = owner->file;

	if (owner->n_ops || owner->held.n || owner->lost)
		return;
	LIST_REMOVE(owner, link);
	atomic_fetch_sub(&file->inode->n_lock_owners, 1);
	free(owner);
	lock_file_check(file);
}

int lock_join(struct lock_op *op)
{
	struct lock_file *file = lock_file_of(op->locks, op->inode);
	struct lock_owner *owner;

	if (!file)
		file = lock_file_new(op->locks, op->inode);
	if (!file)
		return -ENOMEM;
	owner = lock_owner_of(file, op->key);
	if (!owner)
		owner = owner_new(file, op->key);
	if (!owner) {
		lock_file_check(file);
		return -ENOMEM;
	}
	owner->n_ops++;
	op->owner = owner;
	return 0;
}

void lock_leave(struct lock_op *op)
{
	struct lock_owner *owner = op->owner;

	if (!owner)
		return;
	op->owner = NULL;
	owner->n_ops--;
	lock_owner_check(owner);
}

/* ---- conflicts --------------------------------------------------------------------------- */

bool lock_is_leaving(const struct lock_owner *owner, uint64_t start, uint64_t end)
{
	const struct lock_op *op;

	TAILQ_FOREACH(op, &owner->queue, link)
		if (op->kind == LOCK_FREE && op->start <= end && start <= op->end)
			return true;
	return false;
}

bool lock_clashes(const struct lock_op *a, const struct lock_op *b)
{
	return a->start <= b->end && b->start <= a->end &&
	       (a->type == LOCK_EXCLUSIVE || b->type == LOCK_EXCLUSIVE);
}

static bool has_asked(const struct lock_owner *owner, const struct lock_op *op)
{
	const struct lock_op *other;

	TAILQ_FOREACH(other, &owner->queue, link)
		if (other->kind == LOCK_SET && lock_clashes(other, op))
			return true;
	return false;
}

enum lock_obstacle lock_obstacle(const struct lock_op *op, const struct lock_owner **ret_owner,
				 const struct lock_range **ret_range)
{
	enum lock_obstacle worst = LOCK_OBSTACLE_NONE;
	const struct lock_owner *owner;

	LIST_FOREACH(owner, &op->owner->file->owners, link) {
		const struct lock_range *range;

		if (owner == op->owner)
			continue;
		if (worst < LOCK_OBSTACLE_ASKED && has_asked(owner, op))
			worst = LOCK_OBSTACLE_ASKED;
		range = lock_ranges_conflict(&owner->held, op->start, op->end, op->type);
		if (!range)
			continue;
		*ret_owner = owner;
		*ret_range = range;
		if (!lock_is_leaving(owner, range->start, range->end))
			return LOCK_OBSTACLE_HELD;
		worst = LOCK_OBSTACLE_LEAVING;
	}
	return worst;
}

/* ---- deadlock ---------------------------------------------------------------------------- */

enum { DEADLOCK_STEPS = 1000 };

/* Does he, by this operation that waits, wait for the process with that key? An owner is a process: he
 * may wait on one file and hold on another. */
static bool waits_for(const struct lock_op *op, uint64_t key, unsigned int *steps)
{
	const struct lock_owner *owner;
	const struct lock_file *file;
	const struct lock_op *next;

	LIST_FOREACH(owner, &op->owner->file->owners, link) {
		if (owner == op->owner ||
		    !lock_ranges_conflict(&owner->held, op->start, op->end, op->type))
			continue;
		if (owner->key == key)
			return true;
		LIST_FOREACH(file, &op->locks->files, link)
			TAILQ_FOREACH(next, &file->waiting, link)
				if (next->key == owner->key && *steps && (*steps)-- &&
				    waits_for(next, key, steps))
					return true;
	}
	return false;
}

bool lock_would_deadlock(const struct lock_op *op)
{
	unsigned int steps = DEADLOCK_STEPS;

	return waits_for(op, op->key, &steps);
}
