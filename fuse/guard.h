/* SPDX-License-Identifier: GPL-2.0-or-later */
/* guard - a process that does nothing but wait for the end of this one, to abort the FUSE connection if it was
 * killed.
 *
 * When a daemon is killed the kernel closes its descriptors of the FUSE device, and the last one ends all requests. A
 * thread that waits in the kernel for a page, uninterruptibly (pages.h), keeps its descriptor open, and the page may be one
 * that nobody reads any more: then neither ever ends. The guard sees the end of the others, and writes to
 * /sys/fs/fuse/connections/N/abort. It is a fork without exec, makes system calls only, and needs no memory of its
 * own to speak of. Who kills it as well (a whole cgroup) has to write there himself. */
#ifndef FUSE_GUARD_H
#define FUSE_GUARD_H

#include <sys/types.h>

struct guard {
	pid_t pid;    /* 0: none */
	int alive_fd; /* open in the daemon while it lives */
};

/* guard_start - abort_fd < 0: without one. Any thread but a loop's: a fork takes a moment.
 * guard_end - it ends, and aborts nothing. */
void guard_start(struct guard *guard, int abort_fd);
void guard_end(struct guard *guard);

#endif
