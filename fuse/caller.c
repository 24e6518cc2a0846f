/* SPDX-License-Identifier: GPL-2.0-or-later */
/* caller - see caller.h. */
#include "caller.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../conn/util.h"

enum { STATUS_MAX = 8192, CACHED = 64 };
static const uint64_t CAP_SETGID_BIT = UINT64_C(1) << 6;
static const uint64_t SIGKILL_BIT = UINT64_C(1) << 8;
static const int64_t CACHE_NS = 1 * NS_PER_S;

/* Groups lately read by this thread. Keyed by who is asked for, so that a process which has taken
 * another identity is not answered with those of the former. */
static _Thread_local struct cached_groups {
	pid_t tid;
	uint32_t uid, gid;
	int64_t until_ns;
	uint32_t n;
	uint32_t gids[CRED_MAX_GROUPS];
} cache[CACHED];

static const unsigned long KERNEL_PF_SIGNALED = 0x400; /* include/linux/sched.h: ABI of stat */

/* The text of /proc/TID/file, or false. */
static bool read_proc(pid_t tid, const char *file, char *text)
{
	char path[64];
	ssize_t n;
	int fd;

	if (tid <= 0)
		return false;
	/* /proc/TID opens for any thread, although only processes are listed there. */
	snprintf(path, sizeof(path), "/proc/%d/%s", tid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, STATUS_MAX - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return true;
}

/* What follows "\nName:" */
static const char *field(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? at + strlen(name) : NULL;
}

static uint64_t hex_field(const char *text, const char *name)
{
	const char *at = field(text, name);

	return at ? strtoull(at, NULL, 16) : 0;
}

static void parse_groups(const char *text, uint32_t gid, struct cached_groups *entry)
{
	const char *at = field(text, "\nGroups:");

	entry->n = 0;
	while (at && entry->n < CRED_MAX_GROUPS) {
		char *end;
		unsigned long value = strtoul(at, &end, 10);

		if (end == at || memchr(at, '\n', (size_t)(end - at)))
			break;
		at = end;
		if (value != gid)
			entry->gids[entry->n++] = (uint32_t)value;
	}
}

static void refresh(struct cached_groups *entry, pid_t tid, const struct cred *cred, int64_t now_ns)
{
	char text[STATUS_MAX];

	*entry = (struct cached_groups){ .tid = tid, .uid = cred->uid, .gid = cred->gid };
	if (!read_proc(tid, "status", text))
		return;
	parse_groups(text, cred->gid, entry);
	if (!(hex_field(text, "\nCapPrm:") & CAP_SETGID_BIT))
		entry->until_ns = now_ns + CACHE_NS;
}

void caller_groups(pid_t tid, struct cred *cred, unsigned int max)
{
	struct cached_groups *entry = &cache[(unsigned int)tid % CACHED];
	int64_t now_ns = clock_ns();

	if (entry->tid != tid || entry->uid != cred->uid || entry->gid != cred->gid ||
	    entry->until_ns <= now_ns)
		refresh(entry, tid, cred, now_ns);
	cred->n_gids = (uint32_t)min_size(entry->n, max);
	memcpy(cred->gids, entry->gids, cred->n_gids * sizeof(cred->gids[0]));
}

/* A thread that is exiting because of a signal has none pending any more; proc_pid_stat(5) has its
 * flags, the seventh field behind the name. */
static bool is_dying(pid_t tid)
{
	char text[STATUS_MAX];
	unsigned long flags = 0;
	const char *at;

	if (!read_proc(tid, "stat", text))
		return false;
	at = strrchr(text, ')');
	if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %lu", &flags) != 1)
		return false;
	return flags & KERNEL_PF_SIGNALED;
}

enum caller_fate caller_fate(pid_t tid)
{
	char text[STATUS_MAX];
	uint64_t pending;

	if (!read_proc(tid, "status", text))
		return CALLER_UNKNOWN;
	pending = hex_field(text, "\nSigPnd:") | hex_field(text, "\nShdPnd:");
	return pending & SIGKILL_BIT || is_dying(tid) ? CALLER_KILLED : CALLER_ALIVE;
}
