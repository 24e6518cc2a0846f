/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place - where the control socket of a mount is: MAJOR:MINOR.sock in
 *
 *	/run/fusenfs             root's mounts
 *	$XDG_RUNTIME_DIR/fusenfs a user's, as his session has it (/run/user/UID); else
 *	/tmp/fusenfs-UID
 *
 * A directory of another owner, a symbolic link, and one that others may write to are not used: not to listen in,
 * and not to connect. With ctl=PATH the socket is there, and a link to it in the usual place. */
#ifndef FUSE_CONTROL_PLACE_H
#define FUSE_CONTROL_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { PLACE_MAX = 4, PLACE_SIZE = 256 };

/* place_directories - of this user's mounts, in the order of preference. Returns how many. */
unsigned int place_directories(uid_t uid, char directories[PLACE_MAX][PLACE_SIZE]);
/* place_make - for ourselves: the first that is there or can be made. 0 or -errno. */
int place_make(char directory[PLACE_SIZE]);
/* place_is_safe - is it a directory of this user's that others cannot write to? */
bool place_is_safe(const char *directory, uid_t uid);
/* place_socket - the name of a mount's. 0, or -ENAMETOOLONG. */
int place_socket(const char *directory, unsigned int major, unsigned int minor, char path[PLACE_SIZE]);

#endif
