/* SPDX-License-Identifier: GPL-2.0-or-later */
/* steer - moves connections off crowded and bad paths.
 *
 * PRIVATE to conn/. A trunk, an ECMP fabric or a cloud hashes each connection by its addresses and ports to one
 * path, for life. Of eight connections to four links half of the time none takes one of the links, and the mount has
 * three quarters of what it could have. The client cannot see paths, but it can choose another source port and see
 * what becomes of it.
 *
 * So while bulk calls keep all connections busy, and it is not this process that is too slow, most of a second at a time: if one
 * connection carries much less than the best one (it shares a link with others), or loses packets that others do not, or now
 * and then without such a sign (all may share one link), it takes no more calls and, when those it has are
 * answered, is dialled from another port. Then the next sample is compared: more in all, or the connection itself
 * carries twice as much, and it was worth it; less, in two samples, and it goes back to its old port. Attempts that were in vain are
 * counted; after some of them nothing is tried for a minute, then two, up to a quarter of an hour, unless they
 * all together carry less than they did then, or one begins to lose packets. An idle mount, or one
 * that waits for something else, is left alone.
 *
 * Where there are many connections, two move at the same time, unless that has made it worse before: they find a link
 * that nobody uses in half as many attempts.
 *
 * Thread: that of loop 0, in its tick. policy_steer() and policy_steered() decide. */
#ifndef CONN_STEER_H
#define CONN_STEER_H

#include <stdbool.h>
#include <stdint.h>

struct connection;
struct pool;

enum { STEER_TOGETHER = 2 };

struct steer_move {
	struct connection *conn;
	uint16_t old_port;
};

/* Part of struct pool. */
struct steer {
	int64_t since_ns;              /* this sample's start; 0: none */
	int64_t cpu_ns;                /* of the process, then */
	struct steer_count {           /* of each connection, then: carried bytes, packets */
		uint64_t bytes, lost, segments;
	} counts[64];
	unsigned int n_ticks, n_busy;  /* of it; and those in which all were busy with bulk calls */
	struct steer_move moves[STEER_TOGETHER]; /* whose change is to be judged */
	unsigned int n_moves, n_left;  /* how many; those that have been told to leave */
	uint64_t before, moved_before; /* bytes per second, of all and of these, before */
	bool doubtful;                 /* one sample was worse */
	bool lossy;                    /* their old paths lost packets: there is no way back */
	bool going_back;
	bool one_by_one;               /* two at the same time were worse */
	unsigned int n_vain, n_blind, n_pauses;
	int64_t pause_until_ns;
	uint64_t sum_at_pause;         /* much less, and it ends early */
	bool resumed;                  /* it has ended early before, for packets are lost */
};

void steer_tick(struct pool *pool, int64_t now_ns);

#endif
