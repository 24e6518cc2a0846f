/* SPDX-License-Identifier: GPL-2.0-or-later */
/* health - what time does to a connection that has a socket: calls that have waited too long, calls to be sent
 * again, and whether it is alive.
 *
 * PRIVATE to conn/; for connection_tick(), on the loop's thread. Each may lose the connection. */
#ifndef CONN_HEALTH_H
#define CONN_HEALTH_H

#include "connection.h"

/* health_expire - end calls whose deadline has passed, or that nobody wants any more. */
void health_expire(struct connection *conn, int64_t now_ns);
/* health_repeat - send again, here or elsewhere, what was not answered (policy_repeat()). */
void health_repeat(struct connection *conn, int64_t now_ns);
/* health_judge - is it alive (policy_health())? Probe, suspect or lose it. */
/* health_has_unacked - segments are in flight that the server's kernel has not confirmed. */
bool health_has_unacked(const struct connection *conn);
void health_judge(struct connection *conn, int64_t now_ns);

#endif
