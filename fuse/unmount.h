/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unmount - the end of a mount, within umounttimeo whatever the server and the users do.
 *
 * After umount(8) the kernel has ended the session: what is in flight or not yet stable gets the time.
 * umount -f ends it even if files are in use, and leaves a dead mount behind: that is detached.
 * On a signal data is made stable first, with most of the time; then the mount is detached lazily and
 * served until its last user is gone, in the rest; then the kernel is told to drop it (fusectl.h).
 * A mount of somebody else's (/dev/fd/N) cannot be detached from here: it ends with its descriptor, and its users get
 * ENOTCONN then.
 * Data that could not be saved is named in the log, file by file (write-lost). */
#ifndef FUSE_UNMOUNT_H
#define FUSE_UNMOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "fs.h"

struct fusectl;

struct unmount {
	struct fs *fs;
	const char *path; /* NULL: somebody else has mounted it, and unmounts it */
	const struct fusectl *fusectl;
	int gone_fd; /* readable when the kernel has ended the session */
};

/* unmount_run - gone: the kernel has let go already. True if nothing is mounted any more; the loops
 * still run. */
bool unmount_run(const struct unmount *unmount, bool gone);

#endif
