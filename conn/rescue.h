/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rescue - READs that a slow or silent path holds up are asked for elsewhere.
 *
 * PRIVATE to conn/. Who reads in order waits for the oldest of his READs. While it crawls over a crowded link, or its
 * connection has just become a black hole, the others soon have nothing to do: all that he may have ahead is there. So when
 * nothing is queued and a connection is idle that would have the READ in half the time that it has waited already, it
 * goes there. Only if it is the path that is slow: the reply has begun to arrive, or the server's kernel has not
 * confirmed what was sent. One that waits for the server's disk stays where it is.
 *
 * What comes late of the answer that was left is read and dropped, and counted as outstanding until then: its
 * connection is not as idle as it looks.
 *
 * The loop's thread. */
#ifndef CONN_RESCUE_H
#define CONN_RESCUE_H

#include <stdint.h>

struct connection;

/* Part of struct connection: what was asked for elsewhere, and may still come. */
struct rescue {
	uint64_t late_bytes;
	unsigned int n_late;
};

/* rescue_tick - of a connection that has a socket. */
void rescue_tick(struct connection *conn, int64_t now_ns);
/* rescue_came_late - an answer came that nobody waits for. rescue_forget - none will, the socket is gone. */
void rescue_came_late(struct connection *conn);
void rescue_forget(struct connection *conn);

#endif
