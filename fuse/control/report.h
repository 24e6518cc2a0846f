/* SPDX-License-Identifier: GPL-2.0-or-later */
/* report - what the control socket answers, as JSON. "schema": 1: keys keep their meaning, new ones may come, units
 * are in the key. All functions run on the thread of control.c; those that return NULL had no memory. */
#ifndef FUSE_CONTROL_REPORT_H
#define FUSE_CONTROL_REPORT_H

#include <jansson.h>

#include "../../conn/snapshot.h"
#include "../fs.h"

struct live;

struct report {
	struct fs *fs;
	const struct live *live;
	int64_t started_ns;
	bool ending;                   /* it is being unmounted */
	struct pool_snapshot snapshot; /* the last one: too large for a stack */
};

void report_init(struct report *report, struct fs *fs, const struct live *live);

/* report_status - state, server, options in force, connections, what waits. all: and what is counted: operations
 * and procedures with their histograms, bytes, who asked, the process. */
json_t *report_status(struct report *report, bool all);
/* report_health - live: the loops answer; it does not depend on the server. ready: the server does, and there is a
 * connection to it. */
json_t *report_health(struct report *report);
/* report_is_live, report_is_ready - the same as answers. Both leave a new snapshot. */
bool report_is_live(struct report *report);
bool report_is_ready(struct report *report);
/* report_options - what is in force. */
json_t *report_options(struct report *report);
json_t *report_error(const struct message *error);
/* report_string - names may be any bytes, JSON may not: what is not UTF-8 is '?'. NULL is "". Any thread. */
json_t *report_string(const char *text);
/* report_text - one line, to free; lets go of json. NULL: no memory. */
char *report_text(json_t *json);

#endif
