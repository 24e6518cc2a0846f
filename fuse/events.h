/* SPDX-License-Identifier: GPL-2.0-or-later */
/* events - what happens to connections and server, as lines in the log. */
#ifndef FUSE_EVENTS_H
#define FUSE_EVENTS_H

#include "../conn/conn.h"

/* events_log - a pool_config.event callback; userdata is the struct options of the mount. */
void events_log(void *userdata, const struct pool_event *event);

#endif
