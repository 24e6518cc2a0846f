/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountprobe - facts about a directory that may be hung, gathered by a child process. Private to
 * mountpoint.c and tests. */
#ifndef FUSE_MOUNTPROBE_H
#define FUSE_MOUNTPROBE_H

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "mountpoint.h"

enum { PROBE_LIMIT_MS = 5000, PROBE_ALIVE_MS = 1000, PROBE_MAX_ENTRIES = 1000 };

/* How far the child came. What it knows is in the fields above the mark of each. */
enum probe_stage { PROBE_WALKING, PROBE_FOUND, PROBE_DONE };

/* Memory shared with the child; read it after probe_fork(). */
struct probe {
	_Atomic(enum probe_stage) stage;
	char path[PATH_MAX];      /* as far as it was resolved */
	struct mount_entry mount; /* at path; type "" if none */
	/* PROBE_FOUND */
	int error;                /* errno that ended it, 0 */
	mode_t mode;              /* this and the rest only where nothing is mounted */
	uid_t owner;
	bool writable;
	unsigned int n_entries;   /* counted up to PROBE_MAX_ENTRIES + 1 */
	/* PROBE_DONE */
};

struct probe *probe_new(void);
void probe_freep(struct probe **probe); /* for cleanup() */

/* probe_fork - find out about a path as typed. 0: see the stage, also when the child was given up
 * after PROBE_LIMIT_MS (PROBE_ALIVE_MS for the answer of a fusenfs mount). -errno: no child. Call
 * it before threads are started. */
int probe_fork(struct probe *probe, const char *typed);

/* probe_is_fusenfs - a mount of ours is at path. */
bool probe_is_fusenfs(const struct probe *probe);

#endif
