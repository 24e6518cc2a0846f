/* SPDX-License-Identifier: GPL-2.0-or-later */
/* events - what happens to connections and server, as lines in the log. */
#ifndef FUSE_EVENTS_H
#define FUSE_EVENTS_H

#include "options.h"

/* events_log - of the mount with these options. On a loop's thread; does not wait. */
void events_log(const struct options *options, const struct pool_event *event);

#endif
