/* SPDX-License-Identifier: GPL-2.0-or-later */
/* listener - the socket of control.h: made with mode 0600 in a safe place, taken away at the end. */
#ifndef FUSE_CONTROL_LISTENER_H
#define FUSE_CONTROL_LISTENER_H

#include "place.h"

struct listener {
	int fd;
	ino_t inode;           /* of path: the next mount may have our number, and its socket our name */
	char path[PLACE_SIZE]; /* "": none */
	char link[PLACE_SIZE]; /* with ctl=: in the usual place; "": none */
};

/* listener_open - for the mount at point; ctl: ctl=PATH, or NULL. What a daemon that was killed has left there is
 * replaced. 0 or -errno; listener_close() in both cases, once. */
int listener_open(struct listener *listener, const char *point, const char *ctl);
void listener_close(struct listener *listener);

#endif
