/* SPDX-License-Identifier: GPL-2.0-or-later */
/* remount - see remount.h. */
#include "remount.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "../conn/util.h"
#include "mountpoint.h"
#include "runfile.h"

static int refuse(const struct options *options, struct message *error, int number, enum message_id id,
		  const char *text)
{
	message_set(error, id, "%s", text);
	message_action(error, "remount %s", options->mountpoint);
	return number;
}

static int not_mounted(const struct options *options, struct message *error)
{
	char text[MESSAGE_TEXT_MAX];

	snprintf(text, sizeof(text), "%s is no mount point of fusenfs", options->mountpoint);
	return refuse(options, error, -EINVAL, MSG_NO_DAEMON, text);
}

static int is_fixed(const struct options *options, const char *name, struct message *error)
{
	char text[MESSAGE_TEXT_MAX];

	snprintf(text, sizeof(text), "'%s' cannot be changed while it is mounted", name);
	refuse(options, error, -EINVAL, MSG_REMOUNT_FIXED, text);
	message_try(error, "umount %s && mount %s", options->mountpoint, options->mountpoint);
	return -EINVAL;
}

/* The mount point is not walked to: it may be of a server that is away. mount(8) gives it as it is in
 * /proc/mounts. */
static int look_up(const struct options *options, struct mount_entry *ret_entry)
{
	int error = mountpoint_lookup(options->mountpoint, ret_entry);

	if (!error && strncmp(ret_entry->type, "fuse.fusenfs", strlen("fuse.fusenfs")) != 0)
		error = -EINVAL;
	return error;
}

int remount_main(const struct options *options, struct message *ret_error)
{
	cleanup(freep) char *running = NULL;
	struct mount_entry entry;
	unsigned long flags;
	const char *fixed;

	if (look_up(options, &entry))
		return not_mounted(options, ret_error);
	running = runfile_options(&entry);
	fixed = options_fixed_change(running, options->given, &flags);
	if (fixed)
		return is_fixed(options, fixed, ret_error);
	if (!mount(NULL, options->mountpoint, NULL, MS_REMOUNT | flags, NULL))
		return 0;
	return refuse(options, ret_error, -errno, MSG_SYSTEM, strerrordesc_np(errno));
}
