/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flight - how much of a connection is on the wire while small calls are made beside bulk ones.
 *
 * PRIVATE to conn/. TCP sends what it may, and what a link cannot carry waits in front of it: with the usual
 * congestion control until that queue is full, which is tens of milliseconds that every small call waits, too,
 * also one on a connection of its own. So while small calls follow each other (policy_small_busy_ns()) a
 * connection with bulk calls is bounded to what its path carries in a short while: what the server sends by
 * the receive window it is told (TCP_WINDOW_CLAMP, tcp(7)), what we send by the socket's send buffer. When they
 * cease the kernel's own sizing takes over again. */
#ifndef CONN_FLIGHT_H
#define CONN_FLIGHT_H

#include <stdint.h>

struct connection;

/* Part of struct connection. */
struct flight {
	uint32_t bound;     /* bytes; 0: the kernel decides */
	int64_t updated_ns;
};

/* flight_update - bound it, or no longer; often, for it is cheap when nothing is to be changed. The loop's
 * thread, with a socket. */
void flight_update(struct connection *conn, int64_t now_ns);

#endif
