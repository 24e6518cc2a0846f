/* SPDX-License-Identifier: GPL-2.0-or-later */
/* process - the daemon as a process: what keeps it alive and answering while others wait for it.
 *
 *   PR_SET_IO_FLUSHER   memory for it must not wait for pages to be written back through it.
 *   oom_score_adj -500  the kernel's choice falls on others first: who kills the daemon kills the
 *                       mount of everybody. Only lowered, and only where permitted (root). -1000
 *                       would be immunity; a daemon that leaks should not have that.
 *   mlockall            what was touched once stays in memory: no page of the program or its data has
 *                       to be read back, perhaps from a disk that is just as stuck. Only where no
 *                       limit applies (RLIMIT_MEMLOCK, CAP_IPC_LOCK): with one, an mmap(2) of years
 *                       later would fail. ON_FAULT: nothing is loaded in advance.
 *   core dumps          are written, without file contents (buffer.c): the mount hangs as long as the
 *                       dump takes, and a few megabytes take no time.
 *   chdir("/")          no directory is kept busy, least of all one of the mount.
 *
 * What the daemon opens while it runs lies in /proc, /dev and, when a server has to be looked up
 * again, what the resolver reads in /etc and /usr/lib. So a mount on one of those would be waited
 * for by its own daemon's helper thread, though by no loop. */
#ifndef FUSE_PROCESS_H
#define FUSE_PROCESS_H

#include <stdint.h>

/* process_protect - all that; what is not permitted is left out. Before there are threads, after the
 * last fork(2): locks are not inherited. */
void process_protect(void);

/* process_trim - give back what a burst has left unused in malloc(3)'s arenas, if that is much. It takes milliseconds:
 * now and then, on a thread that nobody waits for. */
void process_trim(void);

/* process_children_fd - process 1 of a container inherits the orphans: a descriptor that is readable when a child
 * has ended, -1 for any other process. Blocks SIGCHLD; before there are threads. process_reap - take leave of all
 * that have. On a thread that is not waiting for a child of its own. */
int process_children_fd(void);
void process_reap(int fd);

/* process_call_limit_ns - how long a call may last so that the kernel does not abort the mount for it:
 * Linux 6.14 does that to requests that exceed fs.fuse.default_request_timeout or
 * max_request_timeout. INT64_MAX: no such limit. Logs one. */
int64_t process_call_limit_ns(void);
/* process_limit_of - the same for given values of the two, in seconds; 0: not set. */
int64_t process_limit_of(uint64_t default_s, uint64_t max_s);

#endif
