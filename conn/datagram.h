/* SPDX-License-Identifier: GPL-2.0-or-later */
/* datagram - a connection that is a connected UDP socket: one datagram, one RPC message, no
 * record marks.
 *
 * PRIVATE to conn/. UDP loses datagrams, so every call is sent again until it is answered, by
 * the same socket, with the same xid and bytes: the server's reply cache knows it by these and
 * our port. When: RFC 5531 leaves that to the client. Here each procedure has an estimate of its
 * round trip (as TCP's, RFC 6298), and a call is sent again after that and four deviations, then
 * after twice that, and so on. Answers to calls that were sent twice say nothing about the round
 * trip (Karn's rule), and until one comes that does, later calls wait longer, too. What must not
 * be executed twice (CALL_ONCE) is not sent again, but given back to its owner, who looks what
 * became of it.
 *
 * Bytes in flight are bounded by a window of our own, for small calls, too (a path with an MTU
 * of 1500 has no others): it opens with every answer, and is halved when one is overdue.
 * Datagrams that would have to be cut into fragments are avoided: a fragment that is lost may be
 * replaced by one of another datagram, for its identification has 16 bits (RFC 4963), and the
 * UDP checksum finds most of that, not all. So the path's MTU is asked of the kernel (IP_MTU,
 * ip(7)) and told to the owner of the pool, who makes calls that fit. What cannot be made
 * smaller (a symbolic link of a thousand characters), or was made before the MTU fell, goes in
 * fragments all the same.
 *
 * The loop's thread only. */
#ifndef CONN_DATAGRAM_H
#define CONN_DATAGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "policy.h"

struct connection;
struct pool_addr;

enum { DATAGRAM_PROCEDURES = 32 };

/* Part of struct connection. */
struct datagram {
	bool active;               /* the socket is one; else it is TCP's */
	struct loop_timer timer;   /* the next call to be sent again */
	struct policy_rtt rtts[DATAGRAM_PROCEDURES]; /* by procedure number */
	uint64_t in_flight;        /* cost of the calls that were sent and not answered */
	uint64_t window;           /* how much that may be */
	uint64_t threshold;        /* up to it the window doubles each round trip, then it grows slowly */
	uint64_t window_max;       /* what our receive buffer takes */
	int64_t halved_ns;         /* when it was last; 0: never */
};

void datagram_init(struct connection *conn);
/* datagram_opened - a new socket, before it is connected: its buffers, and fragments or none. */
void datagram_opened(struct connection *conn, int fd);
/* datagram_connected - the window begins anew, and the MTU is known. */
void datagram_connected(struct connection *conn);
void datagram_closed(struct connection *conn);
/* datagram_window - bound a connection's window, which is `window` by its rate and the options. */
uint64_t datagram_window(const struct connection *conn, uint64_t window);
/* datagram_landed - a call that was sent is no longer in flight: it is answered, given up, or to
 * be sent again. */
void datagram_landed(struct connection *conn, const struct call *call);
/* datagram_answered - a call was, and is still bound. */
void datagram_answered(struct connection *conn, const struct call *call);
/* datagram_flush, datagram_receive - as transfer_flush() and transfer_receive(). */
int datagram_flush(struct connection *conn);
int datagram_receive(struct connection *conn);

#endif
