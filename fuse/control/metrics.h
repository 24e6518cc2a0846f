/* SPDX-License-Identifier: GPL-2.0-or-later */
/* metrics - HTTP for whoever watches a mount (metrics=ADDR:PORT), by libmicrohttpd:
 *
 *	/metrics   all that is counted, as text of Prometheus (metrics_text.c)
 *	/livez	   200 if all loops run, else 503: it does not depend on the server
 *	/readyz	   200 if the server answers and there is a connection to it, else 503
 *
 * Nothing is changed by it and nothing asked for, but whoever can reach the address learns the mount's name, its
 * server, and what is done there; so it is off, and on the loopback if no address is given.
 *
 * It has no thread: the control thread watches its descriptor, and runs it. At most METRICS_CLIENTS connections, of
 * METRICS_PATIENCE_S each when nothing comes. */
#ifndef FUSE_CONTROL_METRICS_H
#define FUSE_CONTROL_METRICS_H

#include "report.h"

struct metrics;

enum { METRICS_CLIENTS = 8, METRICS_PATIENCE_S = 5 };

/* metrics_open - 0 or -errno; the report is asked from within metrics_run(). metrics_close - takes NULL. */
int metrics_open(struct report *report, const struct sockaddr_storage *sa, struct metrics **ret_metrics);
void metrics_close(struct metrics *metrics);
/* metrics_fd - readable when there is something to do; -1 for NULL. metrics_timeout_ns - and in so long anyway. */
int metrics_fd(const struct metrics *metrics);
int64_t metrics_timeout_ns(const struct metrics *metrics);
void metrics_run(struct metrics *metrics);

/* metrics_text - what /metrics answers, to free; NULL: no memory. */
char *metrics_text(struct report *report, size_t *ret_size);

#endif
