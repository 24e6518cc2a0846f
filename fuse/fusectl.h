/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusectl - /sys/fs/fuse/connections/N, the kernel's own view and end of a FUSE mount. Its files are
 * opened while all is well, for whoever mounted, if fusectl is mounted there (systemd does that).
 *
 * `abort` answers every request that waits, whatever the daemon or its threads are doing: the last
 * resort when the daemon has to end and the kernel does not let go of the mount in time. N is the minor
 * number of its device, and given to the next mount when the super block has gone; the open file is not. */
#ifndef FUSE_FUSECTL_H
#define FUSE_FUSECTL_H

#include <stdbool.h>

struct fuse_session;

struct fusectl {
	int abort_fd; /* -1: none */
	unsigned int minor;
};

/* fusectl_open - of the mount at this path; what cannot be opened is left out. Does not touch the
 * mount. */
void fusectl_open(struct fusectl *fusectl, const char *path);
void fusectl_close(struct fusectl *fusectl);
/* fusectl_abort - 0 or -errno; -EBADF without a descriptor. Never waits. */
int fusectl_abort(const struct fusectl *fusectl);
/* fusectl_is_mounted - the session has ended: is the mount at path the one that was opened, dead but not
 * detached? Needs no fusectl. */
bool fusectl_is_mounted(const struct fusectl *fusectl, struct fuse_session *session, const char *path);

#endif
