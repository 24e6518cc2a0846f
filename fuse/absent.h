/* SPDX-License-Identifier: GPL-2.0-or-later */
/* absent - names that are not there: ENOENT without asking again (lookupcache=all).
 *
 * That a name is missing is true of one state of its directory, told by mtime and ctime. So an
 * entry remembers the times at which it was learned and counts only while the directory has them;
 * whether those are still valid attributes, or were known to be settled (attr.h) when the name was
 * looked up, is the caller's to find out. What this mount makes is taken out by name as well.
 *
 * Directories are known by nodeid, which no other inode ever gets: no reference is held, and
 * entries of dead ones just age. Of ABSENT_MAX names (about 4 MiB) those not asked for lately go
 * first.
 *
 * Sharded; any thread. */
#ifndef FUSE_ABSENT_H
#define FUSE_ABSENT_H

#include <stdbool.h>

#include "inode.h"

struct absent;

enum { ABSENT_MAX = 32768 };

struct absent *absent_new(void);
/* absent_free - takes NULL. */
void absent_free(struct absent *absent);

/* absent_add - dir/name was not there when dir had these attributes. Without memory it is not
 * remembered. */
void absent_add(struct absent *absent, const struct inode *dir, const char *name,
		const struct attr *dir_attr);
/* absent_find - is it known not to be in dir, that has these attributes? */
bool absent_find(struct absent *absent, const struct inode *dir, const char *name,
		 const struct attr *dir_attr);
/* absent_drop - it is there. */
void absent_drop(struct absent *absent, const struct inode *dir, const char *name);

#endif
