/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool (private half) - what a connection tells the pool and asks of it. All on the thread of the
 * connection's loop. The public half is conn.h. */
#ifndef CONN_POOL_H
#define CONN_POOL_H

#include "conn.h"
#include "connection.h"

/* pool_config_of - constant while the pool lives, but for the addresses. */
const struct pool_config *pool_config_of(const struct pool *pool);
uint32_t pool_transfer_max(const struct pool *pool);
/* pool_next_path - where to dial now and from where: its own address and local end, after failures the
 * others in turn. Sets conn->dialled, from, strayed, remote. False: there is no address. */
bool pool_next_path(struct pool *pool, struct connection *conn);
/* pool_arrived - if it was leaving, another one may now. */
void pool_arrived(struct pool *pool, struct connection *conn);

/* pool_conn_changed - conn->state changed; error and reason as for connection_lose(), n_moved its
 * calls that went elsewhere. */
void pool_conn_changed(struct pool *pool, struct connection *conn, enum conn_state old, int error,
		       const char *reason, unsigned int n_moved);
/* pool_conn_addresses - record the socket's names for pool_conn_info(). */
void pool_conn_addresses(struct pool *pool, struct connection *conn);
/* pool_pull - bind queued calls to conn while it has room. */
void pool_pull(struct pool *pool, struct connection *conn);
/* pool_note_loss - a connection that was up is lost: before its calls are sent again. */
void pool_note_loss(struct pool *pool);
/* pool_reroute - the calls of a connection lost by error: sent again elsewhere, parked, or failed as
 * ambiguous. One whose reply seems to be what breaks connection after connection (EBADMSG) ends
 * with -EIO. Returns how many go on. Empties the list. */
unsigned int pool_reroute(struct pool *pool, struct call_list *calls, int error);
/* pool_note_resend - a call leaves a lost connection and goes on. */
void pool_note_resend(struct pool *pool, struct call *call);
/* pool_repeat - send an unbound idempotent call again, anywhere. */
void pool_repeat(struct pool *pool, struct call *call);
void pool_count_repeat(struct pool *pool);
/* pool_is_out_of_patience - whether an impatient call is to end now. */
bool pool_is_out_of_patience(const struct pool *pool, const struct call *call);
/* pool_expiry - the status of a call that ends unanswered at now_ns. */
int pool_expiry(const struct pool *pool, const struct call *call, int64_t now_ns);
/* pool_finish - call->status is set: let go of the call and run done(). */
void pool_finish(struct pool *pool, struct call *call);
/* pool_others_rx_ns - when a byte last came on another connection than conn (NULL: on any); 0: never. */
int64_t pool_others_rx_ns(const struct pool *pool, const struct connection *conn);
/* pool_is_suspicious - an answer is overdue on some connection. */
bool pool_is_suspicious(const struct pool *pool);
/* pool_is_small_busy - small calls follow each other now (policy_small_busy_ns()). */
bool pool_is_small_busy(const struct pool *pool, int64_t now_ns);
/* snapshot_count - a call was answered. snapshot_retransmits - of the present socket; its round trip, too. */
void snapshot_count(struct connection *conn, const struct call *call, int64_t now_ns);
uint64_t snapshot_retransmits(const struct connection *conn, int64_t *ret_rtt_ns);
/* pool_datagram_max_is - of this connection: datagram.h. */
void pool_datagram_max_is(struct pool *pool, struct connection *conn, uint32_t max);
void pool_bad_reply(struct pool *pool, struct connection *conn, const char *what);
void pool_no_resvport(struct pool *pool, struct connection *conn, int error);
void pool_no_srcport(struct pool *pool, struct connection *conn, int error);
/* pool_no_local - conn->from cannot be used. pool_has_local - it can: the next time is news again. */
void pool_no_local(struct pool *pool, struct connection *conn, int error);
void pool_has_local(struct pool *pool, struct connection *conn);

#endif
