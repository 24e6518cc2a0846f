/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusectl - see fusectl.h. */
#include "fusectl.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <unistd.h>

#include "../conn/util.h"
#include "mountpoint.h"

static int open_file(unsigned int minor, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/%s", minor, name);
	return open(path, flags | O_CLOEXEC);
}

void fusectl_open(struct fusectl *fusectl, const char *path)
{
	struct mount_entry entry;

	if (mountpoint_lookup(path, &entry) || !entry.type[0])
		return;
	fusectl->minor = entry.minor;
	fusectl->abort_fd = open_file(entry.minor, "abort", O_WRONLY);
}

void fusectl_close(struct fusectl *fusectl)
{
	closep(&fusectl->abort_fd);
	fusectl->abort_fd = -1;
}

int fusectl_abort(const struct fusectl *fusectl)
{
	if (fusectl->abort_fd < 0)
		return -EBADF;
	return write(fusectl->abort_fd, "1", 1) == 1 ? 0 : -errno;
}

/* The kernel takes notifications of a connection that was aborted, too, and finds the root as long as
 * the super block lives: until then its number is nobody else's. */
bool fusectl_is_mounted(const struct fusectl *fusectl, struct fuse_session *session, const char *path)
{
	struct mount_entry entry;

	return fuse_lowlevel_notify_inval_inode(session, FUSE_ROOT_ID, -1, 0) == 0 &&
	       !mountpoint_lookup(path, &entry) && entry.type[0] && entry.major == 0 &&
	       entry.minor == fusectl->minor;
}
