/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dial - the socket of a connection: made, tuned, bound to a source (local.h) and on its way to the server.
 *
 * PRIVATE to conn/; the loop's thread. When to dial, and what follows, is connection.c's. */
#ifndef CONN_DIAL_H
#define CONN_DIAL_H

struct connection;
struct pool_addr;

/* dial_start - connect(2) has begun, and conn->watch is told of its end; or -errno, and there is no socket. From the port
 * of the calls to replay, if there are any and it is free; else from local_port; else from a new one. */
int dial_start(struct connection *conn, const struct pool_addr *addr);
/* dial_retune - options of the present socket that depend on the configuration. */
void dial_retune(const struct connection *conn);

#endif
