/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount - the life of a mount, from checked options to the last close. */
#ifndef FUSE_MOUNT_H
#define FUSE_MOUNT_H

#include "message.h"
#include "options.h"

/* mount_main - mount, tell `ready`, serve until unmounted or told to stop (SIGINT, SIGTERM), unmount.
 * On failure nothing is left mounted and *ret_error says why. ready(userdata, line) is called once, when
 * the mount point is live and the root's attributes were read; with bg a second later at the latest,
 * whether or not there is a server. Returns an exit code. */
int mount_main(const struct options *options, void (*ready)(void *userdata, const char *line),
	       void *userdata, struct message *ret_error);

#endif
