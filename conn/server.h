/* SPDX-License-Identifier: GPL-2.0-or-later */
/* server - the server as a whole: does it answer, since when not, and what of it is news.
 *
 * PRIVATE to conn/. One setter, server_update(), called by every loop's tick and whenever a connection
 * changes; the decision is policy_server()'s. Connections that come and go within a second are one
 * event, and none at all when the server itself went: a server that restarts is two lines in a log,
 * not two for each connection. Any loop's thread. */
#ifndef CONN_SERVER_H
#define CONN_SERVER_H

#include "conn.h"

struct connection;

/* Part of struct pool, under its lock. */
struct server_watch {
	int64_t silent_since_ns; /* 0: it answers */
	int64_t down_since_ns;   /* for the outage told with POOL_SERVER_UP */
	int64_t looked_ns;       /* the last update's time: loops have clocks of their own */
	int64_t dialled_ns;      /* when all were last told to dial */
	bool was_up;             /* ever */
	bool told_down;
	/* Not told yet: the first of each kind, n_conns and n_moved of all; n_conns 0: none. */
	struct pool_event lost, back;
	int64_t lost_ns, back_ns;
};

/* server_update - look at all connections and set the server's state. */
void server_update(struct pool *pool, int64_t now_ns);
/* server_tell_news - what happened to connections, once it is old enough. */
void server_tell_news(struct pool *pool, int64_t now_ns);
bool server_has_news(struct pool *pool);

#endif
