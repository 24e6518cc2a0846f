/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay_rule - what the server's answer to a question proves about a call whose reply was lost:
 * was it executed, may it be sent again? Pure functions; replay.h asks the questions and obeys.
 *
 * The nonce. Whether an object found under the name is the one our lost call made, or that of
 * somebody who was faster, must be certain: programs lock by MKDIR, SYMLINK and CREATE, and there
 * shall be neither two winners nor none. Owner and time do not tell two hosts of one user apart.
 * So every call that makes an object gives it an access time of our own: the present one and a
 * random part below 2^24 ns more, never a multiple of 100 ns. Who finds exactly that has found his
 * own object; one that stores microseconds or units of 100 ns keeps enough of it, too. It lies a
 * little behind the times that the server gives, so that reading with `relatime` does not change
 * it. The modification time, which programs do look at, stays the server's.
 *
 * A server that stores whole seconds, or ignores the time given (Ganesha and older knfsd, for
 * symbolic links), leaves the nonce silent. Then owner, emptiness and a ctime not before that of
 * the directory as it was last seen must do, and for a symbolic link its target. That is not good
 * enough for O_EXCL, which has EXCLUSIVE for such servers. */
#ifndef FUSE_REPLAY_RULE_H
#define FUSE_REPLAY_RULE_H

#include "nfs3.h"

enum { REPLAY_NONCE_BITS = 24 };

/* What comes next. */
enum replay_verdict {
	REPLAY_EXECUTED, /* it has happened, by our call: success */
	REPLAY_SEND,     /* it has not: once more, with a new xid */
	REPLAY_EXISTS,   /* it has not, and cannot: somebody else's object is there */
	REPLAY_GONE,     /* it has not, and cannot: somebody else has taken the name away */
	REPLAY_UNKNOWN,  /* cannot be told */
};

/* What is found under a name, compared with the file that the operation is about. */
enum replay_sight {
	SIGHT_NOTHING,
	SIGHT_SAME,
	SIGHT_OTHER,
};

/* An object as our call would have made it. */
struct replay_made {
	mode_t type;           /* S_IFMT bits */
	uint32_t uid;
	dev_t rdev;            /* of a device */
	struct timespec nonce; /* its access time */
	bool nonce_ignored;    /* this server ignores it for objects of this type, as seen before */
	bool strict;           /* O_EXCL: nothing else is a proof */
	struct timespec since; /* ctime of the directory before the call; 0: unknown */
};

enum replay_owner {
	REPLAY_OURS,
	REPLAY_NOT_OURS,
	REPLAY_OURS_BY_TARGET, /* if it leads where ours does: READLINK */
	REPLAY_OURS_PERHAPS,   /* if it gets our time: servers make it first, and a call of ours may be
				* being executed now. Not ours, if it does not in a second */
};

/* replay_nonce - the access time for an object that is made at `now`; random: 64 bits. */
struct timespec replay_nonce(struct timespec now, uint64_t random);
/* replay_nonce_ignored - has a server, as its reply to the making call shows, ignored it? */
bool replay_nonce_ignored(struct timespec nonce, const struct attr *made);
/* replay_nonce_kept - or kept it, so that nobody else's object looks like this one? */
bool replay_nonce_kept(struct timespec nonce, const struct attr *made);
/* replay_owner - whose object is that? */
enum replay_owner replay_owner(const struct replay_made *made, const struct attr *found);

/* replay_judge_link - sight: the new name, compared with the file linked to. */
enum replay_verdict replay_judge_link(enum replay_sight sight);
/* replay_judge_remove - sight: the name, compared with the victim. */
enum replay_verdict replay_judge_remove(enum replay_sight sight);
/* replay_judge_rename - both names, compared with what is renamed. noent: the replay found nothing
 * to rename. */
enum replay_verdict replay_judge_rename(enum replay_sight from, enum replay_sight to, bool noent);
/* replay_judge_resize - SETATTR with a size. before: ctime before the call, NULL: unknown. A
 * replay is guarded by found->ctime, so that the first copy, should it come late, does not follow
 * unseen. */
enum replay_verdict replay_judge_resize(const struct setattr *set, const struct timespec *before,
					const struct attr *found);

/* replay_pause_ns - before try number n + 1 of what got no answer: 0.25 s, doubling to 2 s. */
int64_t replay_pause_ns(unsigned int n);

#endif
