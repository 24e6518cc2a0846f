/* SPDX-License-Identifier: GPL-2.0-or-later */
/* target - a fusenfs mount of this host, as /proc/self/mountinfo has it. Nothing here asks the mount. */
#ifndef FUSE_COMMAND_TARGET_H
#define FUSE_COMMAND_TARGET_H

#include <stdbool.h>
#include <sys/types.h>

#include "../message.h"

struct target {
	char *mount, *source;
	unsigned int major, minor;
	uid_t owner; /* of the daemon */
};

/* target_find - the mount at a path as typed: compared as words first; if that is not found, it is resolved by a
 * child process that is given up after seconds. 0, or -errno with the reason (no-daemon). */
int target_find(const char *path, struct target *ret_target, struct message *ret_error);
/* target_for - the same for a command that was given its socket: what is mounted elsewhere (another mount namespace)
 * has a name all the same. ctl may be NULL. */
int target_for(const char *path, const char *ctl, struct target *ret_target, struct message *ret_error);
/* target_all - every one; targets_free() later. 0 or -errno. */
int target_all(struct target **ret_targets, unsigned int *ret_n);
void target_deinit(struct target *target);
void targets_free(struct target *targets, unsigned int n);
/* target_is_there - is it still mounted? */
bool target_is_there(const struct target *target);

#endif
