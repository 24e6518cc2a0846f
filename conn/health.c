/* SPDX-License-Identifier: GPL-2.0-or-later */
/* health - see health.h. */
#include "health.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include "call.h"
#include "loop.h"
#include "pool_parts.h"
#include "util.h"

/* ---- the tick ---------------------------------------------------------------------------- */

static bool is_expired(const struct connection *conn, const struct call *call, int64_t now_ns)
{
	bool in_part = transfer_is_partly_sent(conn, call);

	if (call->deadline_ns <= now_ns)
		return true;
	if (!in_part && pool_is_out_of_patience(conn->pool, call))
		return true;
	return !call->sent && call_is_cancelled(call);
}

static uint64_t acked_bytes(const struct connection *conn)
{
	uint64_t sent = atomic_load_explicit(&conn->load.bytes_sent, memory_order_relaxed);
	int unacked;

	if (conn->datagram.active)
		return sent; /* no kernel confirms them, and none sends them again */
	if (ioctl(conn->watch.fd, SIOCOUTQ, &unacked) < 0)
		return 0;
	return sent - (uint64_t)unacked;
}

/* A sent call that changes things may not be forgotten while our own kernel could still deliver it.
 * What the server's kernel has, no reset takes back (retransmission.md R5). */
static bool needs_reset(const struct connection *conn, const struct call *call)
{
	if (transfer_is_partly_sent(conn, call))
		return true;
	return call->sent && call->class != CALL_IDEMPOTENT && acked_bytes(conn) < call->sent_end;
}

/* True if the connection must be reset to be rid of a call. */
static bool take_expired(struct connection *conn, struct call_list *from, int64_t now_ns,
			 struct call_list *expired)
{
	struct call *call, *next;

	for (call = TAILQ_FIRST(from); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call == &conn->probe || !is_expired(conn, call, now_ns))
			continue;
		if (needs_reset(conn, call))
			return true;
		transfer_unbind(conn, call);
		call_fail(call, pool_expiry(conn->pool, call, now_ns));
		TAILQ_INSERT_TAIL(expired, call, link);
	}
	return false;
}

void health_expire(struct connection *conn, int64_t now_ns)
{
	struct call_list expired = TAILQ_HEAD_INITIALIZER(expired);
	struct call *call;
	bool reset;

	reset = take_expired(conn, &conn->sent, now_ns, &expired);
	reset = take_expired(conn, &conn->send_queue, now_ns, &expired) || reset;
	while ((call = TAILQ_FIRST(&expired))) {
		TAILQ_REMOVE(&expired, call, link);
		pool_finish(conn->pool, call);
	}
	if (reset)
		connection_lose(conn, ETIMEDOUT, "a call was not answered in time");
}

/* A server that is alive may still have dropped a call: Ganesha does when a file goes away under it,
 * knfsd does with duplicates in progress. */
void health_repeat(struct connection *conn, int64_t now_ns)
{
	const struct pool_config *config = pool_config_of(conn->pool);
	struct call_list elsewhere = TAILQ_HEAD_INITIALIZER(elsewhere);
	struct call_list given_back = TAILQ_HEAD_INITIALIZER(given_back);
	struct call *call, *next;

	for (call = TAILQ_FIRST(&conn->sent); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call == &conn->probe || call == conn->placing || call_is_cancelled(call))
			continue;
		switch (policy_repeat(&(struct policy_unanswered){
			.class = call->class,
			.size = call->size,
			.replayed = call->n_replays > 0,
			.n_repeats = call->n_repeats,
			.waited_ns = now_ns - call->sent_ns,
			.timeo_ns = config->timeo_ns,
			.retrans = config->retrans,
			.hard = config->hard,
		})) {
		case POLICY_WAIT:
			break;
		case POLICY_REPEAT_HERE:
			pool_count_repeat(conn->pool);
			transfer_repeat(conn, call);
			break;
		case POLICY_REPEAT_ELSEWHERE:
			transfer_unbind(conn, call);
			TAILQ_INSERT_TAIL(&elsewhere, call, link);
			break;
		case POLICY_GIVE_BACK:
			if (needs_reset(conn, call))
				break; /* the connection is found out sooner or later */
			transfer_unbind(conn, call);
			call_fail(call, -ETIMEDOUT);
			TAILQ_INSERT_TAIL(&given_back, call, link);
			break;
		}
	}
	queue_finish_all(conn->pool, &given_back, 0);
	while ((call = TAILQ_FIRST(&elsewhere))) {
		TAILQ_REMOVE(&elsewhere, call, link);
		pool_repeat(conn->pool, call);
	}
}

/* Nobody can answer a call that is still on its way: while a large WRITE crawls over a slow link, a
 * silent server is no sign of a dead path. True if the oldest unanswered call has not arrived and
 * more of it has since the last tick. */
static bool is_arriving(struct connection *conn)
{
	const struct call *oldest = TAILQ_FIRST(&conn->sent);
	uint64_t before = conn->acked_ns >= connection_waiting_since(conn) ? conn->acked : UINT64_MAX;

	if (conn->datagram.active)
		return false;
	conn->acked = acked_bytes(conn);
	conn->acked_ns = loop_now_ns(conn->loop);
	return conn->acked > before && (!oldest || oldest->sent_end > conn->acked);
}

/* Segments in flight, not bytes to send: a busy server may have closed its window. By UDP a NULL call is answered,
 * also beside one that takes its time. */
bool health_has_unacked(const struct connection *conn)
{
	struct tcp_info info = { .tcpi_unacked = 0 };
	socklen_t len = sizeof(info);

	if (conn->datagram.active)
		return true;
	return !getsockopt(conn->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len) && info.tcpi_unacked;
}

static enum policy_health health(struct connection *conn, int64_t now_ns)
{
	struct policy_signs signs = {
		.now_ns = now_ns,
		.waiting_since_ns = connection_waiting_since(conn),
		.last_rx_ns = atomic_load_explicit(&conn->load.last_rx_ns, memory_order_relaxed),
		.others_rx_ns = pool_others_rx_ns(conn->pool, conn),
		.suspicious = pool_is_suspicious(conn->pool),
		.rtt_ns = atomic_load_explicit(&conn->load.rtt_ns, memory_order_relaxed),
		.detect_ns = pool_config_of(conn->pool)->detect_ns,
	};

	signs.unacked = signs.waiting_since_ns && health_has_unacked(conn);
	return policy_health(&signs);
}

void health_judge(struct connection *conn, int64_t now_ns)
{
	if (connection_waiting_since(conn) && is_arriving(conn)) {
		connection_set_waiting(conn, now_ns);
		atomic_store_explicit(&conn->load.last_progress_ns, now_ns, memory_order_relaxed);
	}
	switch (health(conn, now_ns)) {
	case POLICY_HEALTHY:
		break;
	case POLICY_PROBE:
		connection_send_probe(conn);
		break;
	case POLICY_SUSPECT:
		connection_send_probe(conn);
		connection_suspect(conn, "no answer for a while");
		break;
	case POLICY_BLACK_HOLE:
		connection_lose_path(conn, ETIMEDOUT, "silent, while others were answered");
		break;
	case POLICY_DEAD:
		if (pool_server_state(conn->pool) == SERVER_UP)
			connection_lose_path(conn, ETIMEDOUT, "silent");
		else
			connection_lose(conn, ETIMEDOUT, "silent");
		break;
	}
}
