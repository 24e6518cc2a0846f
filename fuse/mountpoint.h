/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountpoint - may we mount there? Everything that can be known before the network is asked.
 *
 * libfuse mounts silently over files, non-empty directories and itself; these checks do not let it.
 *
 * A directory below a dead server hangs whoever looks at it, so nothing that could be one is looked
 * at: /proc/self/mountinfo tells first what is mounted where, and the few system calls that do walk
 * the path run in a child process that is given up after some seconds. A hung child costs the mount
 * one error message, nothing else.
 *
 * Plain blocking functions for the thread that mounts, called before any thread is started (they
 * fork). Failures come as a message, its action filled in. */
#ifndef FUSE_MOUNTPOINT_H
#define FUSE_MOUNTPOINT_H

#include <stdbool.h>

#include "message.h"

struct fuse_session;
struct message;
struct options;

struct mountpoint {
	char *path;  /* absolute, no symbolic links: as /proc/mounts will show it. For an inherited
		      * descriptor "/dev/fd/N" */
	int fuse_fd; /* N of /dev/fd/N: a FUSE descriptor someone else has mounted; else -1 */
};

/* mountpoint_check - options->mountpoint exists, is a directory, empty (nonempty), no mount point
 * (overmount; an autofs trigger is fine) and ours to mount on. A fusenfs mount whose daemon died
 * is unmounted and logged (stale-mount). "/dev/fd/N" is recognised and nothing checked but N.
 * 0, or -errno with *ret_error; mountpoint_deinit() after success. */
int mountpoint_check(const struct options *options, struct mountpoint *ret_mountpoint,
		     struct message *ret_error);
void mountpoint_deinit(struct mountpoint *mountpoint);

/* mountpoint_check_fuse - /dev/fuse can be opened; without privilege: fusermount3 is there and
 * allow_other permitted by /etc/fuse.conf. Not needed with an inherited descriptor. */
int mountpoint_check_fuse(const struct options *options, struct message *ret_error);
/* Its parts, without an action. mountpoint_check_device - /dev/fuse. mountpoint_check_helper - fusermount3.
 * mountpoint_user_allow_other - may users give allow_other? */
int mountpoint_check_device(struct message *ret_error);
int mountpoint_check_helper(struct message *ret_error);
bool mountpoint_user_allow_other(void);

/* mountpoint_mount - mount the session there, by mount(2) or fusermount3. Returns -EIO with a message that has what
 * libfuse or fusermount3 say of it, unless options->debug, when that goes to stderr. Which is caught for the while:
 * what other threads say there is lost. */
int mountpoint_mount(struct fuse_session *session, const struct options *options, const struct mountpoint *mountpoint,
		     struct message *ret_error);

/* What is mounted at a path, by /proc/self/mountinfo alone. */
struct mount_entry {
	unsigned int major, minor; /* of the super block: /sys/fs/fuse/connections/MINOR, bdi */
	char type[64];             /* "fuse.fusenfs"; "": the path is no mount point */
	char source[1024];
};

/* mountpoint_lookup - the visible mount whose mount point is exactly this absolute path. Touches
 * no file system but proc. 0, or -errno if mountinfo cannot be read. */
int mountpoint_lookup(const char *path, struct mount_entry *ret_entry);

/* mountpoint_unmount - detach it lazily: umount2(2), or fusermount3 without privilege. 0 or -errno.
 * Forks; never waits for a file system. */
int mountpoint_unmount(const char *path);

#endif
