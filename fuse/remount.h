/* SPDX-License-Identifier: GPL-2.0-or-later */
/* remount - mount -o remount: change a fusenfs mount that is there, never make a second one.
 *
 * What can change is mount(2)'s, which is done here: ro, rw, nosuid, nodev, noexec, noatime and their opposites; and the
 * live options (live.h), which the daemon changes. mount(8) adds the options of fstab, so one that the mount already
 * has is no error; one that cannot change and is new or has another value is (remount-fixed), and then nothing is
 * changed. If the daemon does not answer, its runfile says what it has. */
#ifndef FUSE_REMOUNT_H
#define FUSE_REMOUNT_H

#include "options.h"

/* remount_main - 0, or -errno with a message. */
int remount_main(const struct options *options, struct message *ret_error);

#endif
