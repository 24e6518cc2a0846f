/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control - the control socket of a mount: what it does, and how that is changed.
 *
 * A client sends one line, a verb and perhaps words, and gets one line back, a JSON object; then both are done:
 *
 *	status            state, options, connections, what waits (report.h)
 *	stats             the same, with all that is counted
 *	health            is it alive, is it ready
 *	probe             have every connection ask the server for a sign of life
 *	set LIST          change options (live.h); remount LIST, check LIST: on behalf of mount(8)
 *	save              begin to save what was written and is not stable
 *
 * Keys of the answer never change their meaning, new ones may come; units are in the key. An error is an object
 * "error" with the id, reason, why and try of message.h.
 *
 * One thread serves the socket, and never touches the mount: it answers while the server is down, while the
 * kernel waits for us, while it is being unmounted; what a loop that is stuck owns is marked as old. Only the
 * owner of the daemon and root are answered: mode 0600, and the kernel is asked who the peer is. At most
 * CONTROL_CLIENTS at a time; who says or reads nothing for CONTROL_PATIENCE_NS is dropped. */
#ifndef FUSE_CONTROL_CONTROL_H
#define FUSE_CONTROL_CONTROL_H

#include "../fs.h"

struct control;

enum { CONTROL_CLIENTS = 8, CONTROL_LINE_MAX = 16384 };
#define CONTROL_PATIENCE_NS (3 * NS_PER_S)

/* control_start - for the mount at point; options are those that fs has. NULL if there is none, which is said in
 * the log and no reason to end. control_stop - takes NULL; waits for the thread, which waits for nothing long. */
struct control *control_start(struct fs *fs, struct options *options, const char *point);
void control_stop(struct control *control);
/* control_ending - it is being unmounted, says the status from now on. Takes NULL. */
void control_ending(struct control *control);

#endif
