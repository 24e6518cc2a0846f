/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_replay_rule - every rule of replay_rule.h as a row. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "../../conn/util.h"
#include "../../fuse/replay_rule.h"

/* ---- the nonce --------------------------------------------------------------------------- */

static void test_nonce(void)
{
	static const struct {
		struct timespec now;
		uint64_t random;
		struct timespec nonce;
	} rows[] = {
		{ { 100, 5 }, 0x10, { 100, 21 } },
		/* never a multiple of 100 ns */
		{ { 100, 0 }, 0, { 100, 1 } },
		{ { 100, 100 }, UINT64_C(98) << 32, { 100, 199 } },
		/* over the end of the second */
		{ { 100, 999999999 }, 0xffffff, { 101, 16777214 } },
		{ { 100, 999999900 }, UINT64_C(98) << 32, { 100, 999999999 } },
		{ { 100, 999999999 }, 1, { 101, 1 } },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct timespec nonce = replay_nonce(rows[i].now, rows[i].random);

		if (!time_equal(nonce, rows[i].nonce))
			fprintf(stderr, "row %u: %ld.%09ld\n", i, (long)nonce.tv_sec, nonce.tv_nsec);
		assert(time_equal(nonce, rows[i].nonce));
		assert(nonce.tv_nsec % 100 && nonce.tv_nsec < NS_PER_S);
		assert(!time_before(nonce, rows[i].now));
	}
}

/* ---- whose object? ----------------------------------------------------------------------- */

enum { NULL_DEVICE = 0x103, ZERO_DEVICE = 0x105 };

#define NONCE { 1000, 123456789 }
#define MADE(type_, uid_, ...) { .type = (type_), .uid = (uid_), .nonce = NONCE, ##__VA_ARGS__ }
#define FOUND(mode_, nlink_, sec, nsec, ...) \
	{ .mode = (mode_), .nlink = (nlink_), .atime = { (sec), (nsec) }, .ctime = { 1000, 0 }, \
	  .uid = 7, ##__VA_ARGS__ }

static const struct owner_row {
	const char *what;
	struct replay_made made;
	struct attr found;
	enum replay_owner owner;
	bool ignored; /* what a reply with such attributes teaches */
} owners[] = {
	{ "the very time", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 2, 1000, 123456789),
	  REPLAY_OURS, false },
	{ "units of 100 ns", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 2, 1000, 123456700),
	  REPLAY_OURS, false },
	{ "microseconds", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 2, 1000, 123456000),
	  REPLAY_OURS, false },
	{ "squashed: another owner, proved all the same", MADE(S_IFDIR, 0),
	  { .mode = S_IFDIR | 0755, .atime = NONCE, .uid = 65534 }, REPLAY_OURS, false },
	{ "somebody has already put something in", MADE(S_IFDIR, 7),
	  FOUND(S_IFDIR | 0755, 3, 1000, 123456789), REPLAY_OURS, false },

	{ "one ns off: the other host's", MADE(S_IFDIR, 7),
	  FOUND(S_IFDIR | 0755, 2, 1000, 123456788), REPLAY_OURS_PERHAPS, true },
	{ "and of another user: all may be squashed", MADE(S_IFDIR, 8),
	  FOUND(S_IFDIR | 0755, 2, 1000, 123456788), REPLAY_OURS_PERHAPS, true },
	{ "and not empty", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 3, 1000, 123456788),
	  REPLAY_NOT_OURS, true },
	{ "and older than the directory was before", MADE(S_IFDIR, 7, .since = { 1000, 1 }),
	  FOUND(S_IFDIR | 0755, 2, 1000, 123456788), REPLAY_NOT_OURS, true },
	{ "another second", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 2, 1001, 123456789),
	  REPLAY_OURS_PERHAPS, true },
	{ "the next microsecond", MADE(S_IFREG, 7), FOUND(S_IFREG, 1, 1000, 123457000),
	  REPLAY_OURS_PERHAPS, true },
	{ "another type", MADE(S_IFDIR, 7), FOUND(S_IFREG, 1, 1000, 123456789),
	  REPLAY_NOT_OURS, false },
	{ "another device", MADE(S_IFCHR, 7, .rdev = NULL_DEVICE),
	  FOUND(S_IFCHR, 1, 1000, 123456789, .rdev = ZERO_DEVICE), REPLAY_NOT_OURS, false },
	{ "the device", MADE(S_IFCHR, 7, .rdev = NULL_DEVICE),
	  FOUND(S_IFCHR, 1, 1000, 123456789, .rdev = NULL_DEVICE), REPLAY_OURS, false },
	{ "a pipe has no device number", MADE(S_IFIFO, 7, .rdev = NULL_DEVICE),
	  FOUND(S_IFIFO, 1, 1000, 123456789), REPLAY_OURS, false },

	/* Nothing proved by the time: the rest decides. */
	{ "whole seconds", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 2, 1000, 0),
	  REPLAY_OURS, false },
	{ "whole seconds, rounded", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 2, 1002, 0),
	  REPLAY_OURS, false },
	{ "whole seconds, but long after", MADE(S_IFDIR, 7),
	  FOUND(S_IFDIR | 0755, 2, 1003, 0), REPLAY_OURS_PERHAPS, true },
	{ "milliseconds", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 2, 1000, 123000000),
	  REPLAY_OURS, false },
	{ "seconds, another owner", MADE(S_IFDIR, 8), FOUND(S_IFDIR | 0755, 2, 1000, 0),
	  REPLAY_NOT_OURS, false },
	{ "seconds, root, who may be squashed", MADE(S_IFDIR, 0),
	  FOUND(S_IFDIR | 0755, 2, 1000, 0), REPLAY_OURS, false },
	{ "seconds, not empty", MADE(S_IFDIR, 7), FOUND(S_IFDIR | 0755, 3, 1000, 0),
	  REPLAY_NOT_OURS, false },
	{ "seconds, links not counted", MADE(S_IFDIR, 7),
	  FOUND(S_IFDIR | 0755, 1, 1000, 0), REPLAY_OURS, false },
	{ "seconds, a file with something in it", MADE(S_IFREG, 7),
	  FOUND(S_IFREG, 1, 1000, 0, .size = 1), REPLAY_NOT_OURS, false },
	{ "seconds, older than the directory was before", MADE(S_IFDIR, 7, .since = { 1000, 1 }),
	  FOUND(S_IFDIR | 0755, 2, 1000, 0), REPLAY_NOT_OURS, false },
	{ "seconds, as old as the directory", MADE(S_IFDIR, 7, .since = { 1000, 0 }),
	  FOUND(S_IFDIR | 0755, 2, 1000, 0), REPLAY_OURS, false },
	{ "a server that ignores the time given", MADE(S_IFDIR, 7, .nonce_ignored = true),
	  FOUND(S_IFDIR | 0755, 2, 1000, 55), REPLAY_OURS, true },
	{ "a symbolic link there", MADE(S_IFLNK, 7, .nonce_ignored = true),
	  FOUND(S_IFLNK, 1, 1000, 55, .size = 5), REPLAY_OURS_BY_TARGET, true },
	{ "a symbolic link with the very time", MADE(S_IFLNK, 7, .nonce_ignored = true),
	  FOUND(S_IFLNK, 1, 1000, 123456789, .size = 5), REPLAY_OURS, false },
	{ "O_EXCL, the very time", MADE(S_IFREG, 7, .strict = true),
	  FOUND(S_IFREG, 1, 1000, 123456789), REPLAY_OURS, false },
	{ "O_EXCL, whole seconds", MADE(S_IFREG, 7, .strict = true),
	  FOUND(S_IFREG, 1, 1000, 0), REPLAY_NOT_OURS, false },
	{ "O_EXCL, a server that ignores the time given",
	  MADE(S_IFREG, 7, .strict = true, .nonce_ignored = true),
	  FOUND(S_IFREG, 1, 1000, 55), REPLAY_NOT_OURS, true },
	{ "a symbolic link of somebody else's", MADE(S_IFLNK, 8, .nonce_ignored = true),
	  FOUND(S_IFLNK, 1, 1000, 55, .size = 5), REPLAY_NOT_OURS, true },
};

static void test_owner(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(owners); i++) {
		const struct owner_row *row = &owners[i];
		enum replay_owner owner = replay_owner(&row->made, &row->found);
		bool ignored = replay_nonce_ignored(row->made.nonce, &row->found);

		if (owner != row->owner || ignored != row->ignored)
			fprintf(stderr, "%s: owner %d, ignored %d\n", row->what, owner, ignored);
		assert(owner == row->owner && ignored == row->ignored);
	}
}

/* ---- names ------------------------------------------------------------------------------- */

static void test_names(void)
{
	static const struct {
		enum replay_sight sight;
		enum replay_verdict link, remove;
	} rows[] = {
		{ SIGHT_NOTHING, REPLAY_SEND, REPLAY_EXECUTED },
		{ SIGHT_SAME, REPLAY_EXECUTED, REPLAY_SEND },
		{ SIGHT_OTHER, REPLAY_EXISTS, REPLAY_EXECUTED }, /* never removed */
	};
	static const struct {
		enum replay_sight from, to;
		bool noent;
		enum replay_verdict verdict;
	} renames[] = {
		{ SIGHT_NOTHING, SIGHT_SAME, false, REPLAY_EXECUTED },
		{ SIGHT_OTHER, SIGHT_SAME, false, REPLAY_EXECUTED }, /* the old name is in use again */
		{ SIGHT_SAME, SIGHT_SAME, false, REPLAY_EXECUTED },  /* two names of one file */
		{ SIGHT_SAME, SIGHT_NOTHING, false, REPLAY_SEND },
		{ SIGHT_SAME, SIGHT_OTHER, false, REPLAY_SEND },     /* to be replaced */
		{ SIGHT_NOTHING, SIGHT_NOTHING, false, REPLAY_UNKNOWN },
		{ SIGHT_NOTHING, SIGHT_OTHER, false, REPLAY_UNKNOWN },
		{ SIGHT_OTHER, SIGHT_OTHER, false, REPLAY_UNKNOWN }, /* another file is never moved */
		{ SIGHT_OTHER, SIGHT_NOTHING, false, REPLAY_UNKNOWN },
		/* The replay found nothing. */
		{ SIGHT_NOTHING, SIGHT_SAME, true, REPLAY_EXECUTED },
		{ SIGHT_NOTHING, SIGHT_OTHER, true, REPLAY_GONE },
		{ SIGHT_NOTHING, SIGHT_NOTHING, true, REPLAY_GONE },
		{ SIGHT_OTHER, SIGHT_NOTHING, true, REPLAY_UNKNOWN },
		{ SIGHT_SAME, SIGHT_NOTHING, true, REPLAY_SEND },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		assert(replay_judge_link(rows[i].sight) == rows[i].link);
		assert(replay_judge_remove(rows[i].sight) == rows[i].remove);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(renames); i++)
		assert(replay_judge_rename(renames[i].from, renames[i].to, renames[i].noent) ==
		       renames[i].verdict);
}

/* ---- SETATTR with a size, pauses --------------------------------------------------------- */

static void test_resize(void)
{
	static const struct timespec before = { 50, 1 };
	static const struct {
		const char *what;
		struct setattr set;
		const struct timespec *before;
		struct attr found;
		enum replay_verdict verdict;
	} rows[] = {
		{ "done", { SET_SIZE, .size = 3 }, &before, { .size = 3, .ctime = { 50, 2 } },
		  REPLAY_EXECUTED },
		{ "not yet", { SET_SIZE, .size = 3 }, &before, { .size = 4, .ctime = { 50, 1 } },
		  REPLAY_SEND },
		{ "had the size already", { SET_SIZE, .size = 3 }, &before,
		  { .size = 3, .ctime = { 50, 1 } }, REPLAY_SEND },
		{ "changed, but not by us", { SET_SIZE, .size = 3 }, &before,
		  { .size = 9, .ctime = { 60, 0 } }, REPLAY_SEND },
		{ "ctime not known", { SET_SIZE, .size = 3 }, NULL, { .size = 3, .ctime = { 50, 2 } },
		  REPLAY_SEND },
		{ "the mode, too", { SET_SIZE | SET_MODE, .size = 3, .mode = 0700 }, &before,
		  { 0100700, .size = 3, .ctime = { 50, 2 } }, REPLAY_EXECUTED },
		{ "another mode", { SET_SIZE | SET_MODE, .size = 3, .mode = 0700 }, &before,
		  { 0104700, .size = 3, .ctime = { 50, 2 } }, REPLAY_SEND },
		{ "another owner", { SET_SIZE | SET_UID, .size = 3, .uid = 5 }, &before,
		  { .uid = 6, .size = 3, .ctime = { 50, 2 } }, REPLAY_SEND },
		{ "another group", { SET_SIZE | SET_GID, .size = 3, .gid = 5 }, &before,
		  { .gid = 6, .size = 3, .ctime = { 50, 2 } }, REPLAY_SEND },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		enum replay_verdict verdict =
			replay_judge_resize(&rows[i].set, rows[i].before, &rows[i].found);

		if (verdict != rows[i].verdict)
			fprintf(stderr, "%s: %d\n", rows[i].what, verdict);
		assert(verdict == rows[i].verdict);
	}
}

static void test_pause(void)
{
	static const int64_t ms[] = { 250, 500, 1000, 2000, 2000 };

	for (unsigned int i = 0; i < ARRAY_SIZE(ms); i++)
		assert(replay_pause_ns(i) == ms[i] * NS_PER_MS);
	assert(replay_pause_ns(1000) == 2 * NS_PER_S);
}

int main(void)
{
	test_nonce();
	test_owner();
	test_names();
	test_resize();
	test_pause();
	return 0;
}
