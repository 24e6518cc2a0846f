/* SPDX-License-Identifier: GPL-2.0-or-later */
/* caller - what /proc tells about the process that made a request. Only its status file is read:
 * maps, cmdline and exe take locks that a process waiting for us may hold. Any thread. */
#ifndef FUSE_CALLER_H
#define FUSE_CALLER_H

#include <sys/types.h>

#include "../conn/conn.h"

/* caller_groups - add the thread's supplementary groups to cred, at most max, in the kernel's
 * order, leaving out cred->gid (AUTH_SYS sends it apart). A thread that could not change its groups
 * (no CAP_SETGID) is asked again only after a second; any other each time. */
void caller_groups(pid_t tid, struct cred *cred, unsigned int max);

enum caller_fate {
	CALLER_ALIVE,   /* and not about to die */
	CALLER_KILLED,  /* a SIGKILL is pending, or it is exiting by a signal */
	CALLER_UNKNOWN, /* not to be seen: gone, or of another pid namespace */
};
enum caller_fate caller_fate(pid_t tid);

#endif
