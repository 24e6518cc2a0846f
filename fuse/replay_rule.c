/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay_rule - see replay_rule.h. No state, no clock. */
#include "replay_rule.h"

#include <stdlib.h>

#include "../conn/util.h"

/* ---- what a call has made ---------------------------------------------------------------- */

enum nonce { NONCE_OURS, NONCE_OTHER, NONCE_SILENT };

struct timespec replay_nonce(struct timespec now, uint64_t random)
{
	int64_t ns = now.tv_nsec + (int64_t)(random & ((1 << REPLAY_NONCE_BITS) - 1));

	if (ns % 100 == 0)
		ns += 1 + (int64_t)(random >> 32) % 99;
	return (struct timespec){ now.tv_sec + ns / NS_PER_S, (long)(ns % NS_PER_S) };
}

/* Stored as it was sent, cut to a unit of so many ns? */
static bool is_stored(struct timespec nonce, struct timespec found, long unit)
{
	return found.tv_sec == nonce.tv_sec && found.tv_nsec == nonce.tv_nsec - nonce.tv_nsec % unit;
}

/* Whole seconds, perhaps rounded, perhaps even ones (FAT); or milliseconds. */
static bool is_coarse(struct timespec nonce, struct timespec found)
{
	if (found.tv_nsec == 0)
		return llabs((long long)found.tv_sec - (long long)nonce.tv_sec) <= 2;
	return is_stored(nonce, found, NS_PER_MS);
}

static enum nonce compare_nonce(struct timespec nonce, struct timespec found)
{
	if (is_stored(nonce, found, 1) || is_stored(nonce, found, 100) ||
	    is_stored(nonce, found, 1000))
		return NONCE_OURS;
	return is_coarse(nonce, found) ? NONCE_SILENT : NONCE_OTHER;
}

bool replay_nonce_ignored(struct timespec nonce, const struct attr *made)
{
	return compare_nonce(nonce, made->atime) == NONCE_OTHER;
}

bool replay_nonce_kept(struct timespec nonce, const struct attr *made)
{
	return compare_nonce(nonce, made->atime) == NONCE_OURS;
}

static bool is_empty(const struct attr *found)
{
	if (S_ISREG(found->mode))
		return found->size == 0;
	return !S_ISDIR(found->mode) || found->nlink <= 2; /* 1: not counted */
}

static bool is_new(const struct replay_made *made, const struct attr *found)
{
	return is_empty(found) && !time_before(found->ctime, made->since);
}

enum replay_owner replay_owner(const struct replay_made *made, const struct attr *found)
{
	enum nonce nonce = compare_nonce(made->nonce, found->atime);

	if ((found->mode & S_IFMT) != made->type)
		return REPLAY_NOT_OURS;
	if ((made->type == S_IFCHR || made->type == S_IFBLK) && found->rdev != made->rdev)
		return REPLAY_NOT_OURS;
	if (nonce == NONCE_OURS)
		return REPLAY_OURS;
	if (!is_new(made, found))
		return REPLAY_NOT_OURS;
	if (nonce == NONCE_OTHER && !made->nonce_ignored)
		return REPLAY_OURS_PERHAPS;
	if (made->strict)
		return REPLAY_NOT_OURS;
	if (made->uid != found->uid && made->uid != 0) /* root may have been squashed */
		return REPLAY_NOT_OURS;
	return made->type == S_IFLNK ? REPLAY_OURS_BY_TARGET : REPLAY_OURS;
}

/* ---- names ------------------------------------------------------------------------------- */

enum replay_verdict replay_judge_link(enum replay_sight sight)
{
	switch (sight) {
	case SIGHT_NOTHING:
		return REPLAY_SEND;
	case SIGHT_SAME:
		return REPLAY_EXECUTED;
	case SIGHT_OTHER:
		return REPLAY_EXISTS;
	}
	return REPLAY_UNKNOWN;
}

/* Another file of that name came after ours had gone, and is never removed. */
enum replay_verdict replay_judge_remove(enum replay_sight sight)
{
	return sight == SIGHT_SAME ? REPLAY_SEND : REPLAY_EXECUTED;
}

/* Both names the same: two names of one file, and rename(2) does nothing. */
enum replay_verdict replay_judge_rename(enum replay_sight from, enum replay_sight to, bool noent)
{
	if (to == SIGHT_SAME)
		return REPLAY_EXECUTED;
	if (from == SIGHT_SAME)
		return REPLAY_SEND;
	return noent && from == SIGHT_NOTHING ? REPLAY_GONE : REPLAY_UNKNOWN;
}

/* ---- SETATTR ----------------------------------------------------------------------------- */

static bool is_as_set(const struct setattr *set, const struct attr *found)
{
	return (!(set->set & SET_SIZE) || set->size == found->size) &&
	       (!(set->set & SET_MODE) || (set->mode & 07777) == (found->mode & 07777)) &&
	       (!(set->set & SET_UID) || set->uid == found->uid) &&
	       (!(set->set & SET_GID) || set->gid == found->gid);
}

enum replay_verdict replay_judge_resize(const struct setattr *set, const struct timespec *before,
					const struct attr *found)
{
	bool changed = before && !time_equal(*before, found->ctime);

	return changed && is_as_set(set, found) ? REPLAY_EXECUTED : REPLAY_SEND;
}

int64_t replay_pause_ns(unsigned int n)
{
	return n >= 3 ? 2 * NS_PER_S : (250 * NS_PER_MS) << n;
}
