/* SPDX-License-Identifier: GPL-2.0-or-later */
/* live - options that change while it is mounted: `fusenfs set`, `mount -o remount`.
 *
 * A list of words is parsed together with those the mount was made with, by the same parser: all of it holds from
 * then on, or, with an error, none. Plain values are atomics that every thread reads; the rest is told to whoever
 * keeps it: the pools (times, connections), attribute policy, read-ahead, the log. Requests that wait for ever
 * because of `hard` get a deadline when that goes. What the kernel was told before (how long attributes hold) holds
 * for as long as it was told.
 *
 * Thread: that of the control socket, but for live_new() and live_free(). */
#ifndef FUSE_LIVE_H
#define FUSE_LIVE_H

#include "fs.h"

struct live;

/* live_new - of the mount at point, an absolute path; options are those that fs has. NULL: no memory. */
struct live *live_new(struct fs *fs, struct options *options, const char *point);
void live_free(struct live *live); /* takes NULL */

/* live_on_metrics - who serves metrics=: serve() is called before anything else changes, with the address that is to be
 * (AF_UNSPEC: none), and from within live_set(). 0, or -errno: then it serves as before, and nothing changes. */
void live_on_metrics(struct live *live, int (*serve)(void *userdata, const struct sockaddr_storage *sa), void *userdata);

enum live_how {
	LIVE_SET,           /* words of mount(2), such as ro, are an error */
	LIVE_REMOUNT,       /* they are the caller's business */
	LIVE_REMOUNT_CHECK, /* as that, but nothing changes */
};
/* live_set - 0, or -errno with the reason. */
int live_set(struct live *live, const char *list, enum live_how how, struct message *ret_error);
/* live_words - what is in force. A string to free; NULL: no memory. */
char *live_words(const struct live *live);
const char *live_point(const struct live *live);

#endif
