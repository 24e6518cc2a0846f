/* SPDX-License-Identifier: GPL-2.0-or-later */
/* steer - moves connections off crowded and bad paths.
 *
 * PRIVATE to conn/. A trunk, an ECMP fabric or a cloud hashes each connection by its addresses and ports to one
 * path, for life. Of eight connections to four links half of the time none takes one of the links, and the mount has
 * three quarters of what it could have. The client cannot see paths, but it can choose another source port and see
 * what becomes of it.
 *
 * So while bulk calls wait for connections, and it is not this process that is too slow, most of a second at a time: if one
 * connection carries much less than the best one (it shares a link with others, or its path loses packets), or now
 * and then without such a sign (all may share one link), it takes no more calls and, when those it has are
 * answered, is dialled from another port. Then the next sample is compared: more in all, or the connection itself
 * carries twice as much, and it was worth it; less, and it goes back to its old port. Attempts that were in vain are
 * counted; after some of them nothing is tried for a minute, then two, up to a quarter of an hour. An idle mount, or one
 * that waits for something else, is left alone.
 *
 * Thread: that of loop 0, in its tick. policy_steer() and policy_steered() decide. */
#ifndef CONN_STEER_H
#define CONN_STEER_H

#include <stdbool.h>
#include <stdint.h>

struct connection;
struct pool;

/* Part of struct pool. */
struct steer {
	int64_t since_ns;              /* this sample's start; 0: none */
	int64_t cpu_ns;                /* of the process, then */
	uint64_t bytes[64];            /* that each connection had carried, then */
	unsigned int n_ticks, n_busy;  /* of it; and those with bulk calls waiting */
	struct connection *moved;      /* whose change is to be judged; NULL */
	uint16_t old_port;
	uint64_t before, moved_before; /* bytes per second, of all and of it, before */
	bool going_back;
	unsigned int n_vain, n_blind, n_pauses;
	int64_t pause_until_ns;
};

void steer_tick(struct pool *pool, int64_t now_ns);

#endif
