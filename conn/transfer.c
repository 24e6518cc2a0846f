/* SPDX-License-Identifier: GPL-2.0-or-later */
/* transfer - the bytes of a connection: its send queue, one sendmsg(2) for many calls, and replies
 * back to the calls they answer. The loop's thread only. Small calls overtake bulk ones that have
 * not begun to leave, for a second at most. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "call.h"
#include "connection.h"
#include "loop.h"
#include "pool.h"
#include "rpc.h"
#include "util.h"

enum {
	SEND_IOVS = 64,
	RECEIVES_PER_TURN = 8,
	RATE_BYTES_MIN = 256 * 1024,
};
static const int64_t RATE_SAMPLE_NS = 50 * NS_PER_MS;
static const int64_t RATE_SHORT_NS = 2 * NS_PER_MS;

/* ---- measuring --------------------------------------------------------------------------- */

static uint64_t relaxed_u64(const _Atomic(uint64_t) *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

/* Only the loop's thread counts: no locked instruction is needed. */
static void count(_Atomic(uint64_t) *counter, uint64_t n)
{
	atomic_store_explicit(counter, relaxed_u64(counter) + n, memory_order_relaxed);
}

static void count_bound(struct connection *conn, struct call *call, int sign)
{
	_Atomic(uint32_t) *n = &conn->load.n_outstanding;
	uint32_t one = (uint32_t)sign;

	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + one,
			      memory_order_relaxed);
	if (call->size == CALL_BULK)
		conn->n_bulk += one;
	if (call->place && call->reply_max >= RECORD_PLACE_MIN)
		conn->n_placed += one;
}

void transfer_update_window(struct connection *conn)
{
	uint64_t window = policy_window(relaxed_u64(&conn->load.rate),
					atomic_load_explicit(&conn->load.rtt_ns, memory_order_relaxed),
					pool_transfer_max(conn->pool),
					pool_config_of(conn->pool)->window);

	if (conn->datagram.active)
		window = datagram_window(conn, window);
	atomic_store_explicit(&conn->load.window, window, memory_order_relaxed);
}

/* The rate is what comes and goes while bulk calls are bound; time without any does not count, nor the
 * round trip of the first: it says nothing of what the path carries, and over a long path the connection
 * with the most calls would look like the fastest and get ever more. */
static void rate_sample(struct connection *conn, int64_t now_ns)
{
	int64_t took_ns = now_ns - conn->rate_since_ns;
	uint64_t sample;
	bool warming_up;

	if (!conn->rate_since_ns || conn->rate_bytes < RATE_BYTES_MIN)
		return;
	if (took_ns < (conn->n_bulk ? RATE_SAMPLE_NS : RATE_SHORT_NS))
		return;
	sample = (uint64_t)((double)conn->rate_bytes * 1e9 / (double)took_ns);
	warming_up = policy_is_warming_up(conn->warm_bytes,
					  atomic_load_explicit(&conn->load.rtt_ns, memory_order_relaxed));
	atomic_store_explicit(&conn->load.rate,
			      policy_rate(relaxed_u64(&conn->load.rate), sample, warming_up),
			      memory_order_relaxed);
	conn->warm_bytes += conn->rate_bytes;
	conn->rate_since_ns = conn->rated_ns = now_ns;
	conn->rate_bytes = 0;
	transfer_update_window(conn);
}

static void rate_begin(struct connection *conn, int64_t now_ns)
{
	if (conn->rate_since_ns)
		return;
	if (policy_is_cold(now_ns - conn->rated_ns))
		conn->warm_bytes = 0;
	conn->rate_since_ns = now_ns + atomic_load_explicit(&conn->load.rtt_ns, memory_order_relaxed);
	conn->rate_bytes = 0;
}

static void rate_end(struct connection *conn, int64_t now_ns)
{
	rate_sample(conn, now_ns);
	conn->rate_since_ns = 0;
}

void transfer_tick(struct connection *conn, int64_t now_ns)
{
	uint64_t rate = relaxed_u64(&conn->load.rate);

	flight_update(conn, now_ns);
	if (conn->n_bulk)
		return;
	rate = policy_rate_idle(rate, now_ns - conn->rated_ns);
	atomic_store_explicit(&conn->load.rate, rate, memory_order_relaxed);
}

/* Without bulk around it, which would be waited for, and make a window that grows with its own
 * queue. The smallest lately: a sample below is taken as it is, one above pulls slowly. */
static void rtt_sample(struct connection *conn, int64_t sample_ns)
{
	int64_t rtt_ns = atomic_load_explicit(&conn->load.rtt_ns, memory_order_relaxed);

	if (!rtt_ns || sample_ns < rtt_ns)
		rtt_ns = max_i64(sample_ns, 1);
	else
		rtt_ns += (sample_ns - rtt_ns) / 64;
	atomic_store_explicit(&conn->load.rtt_ns, rtt_ns, memory_order_relaxed);
}

/* ---- calls and xids ---------------------------------------------------------------------- */

static struct xid_bucket *bucket(struct connection *conn, uint32_t xid)
{
	return &conn->by_xid[xid % XID_BUCKETS];
}

static struct call *find(struct connection *conn, uint32_t xid)
{
	struct call *call;

	LIST_FOREACH(call, bucket(conn, xid), xid_link)
		if (call->xid == xid)
			return call;
	return NULL;
}

static size_t call_bytes(const struct call *call)
{
	return call->head_len + call->payload_len + xdr_pad(call->payload_len);
}

bool transfer_is_partly_sent(const struct connection *conn, const struct call *call)
{
	return conn->send_offset && call == TAILQ_FIRST(&conn->send_queue);
}

static bool is_wholly_sent(const struct call *call)
{
	return call->sent && call->state == CALL_BOUND && call->sent_ns > 0;
}

/* Behind what is sent in part and behind small ones; small before bulk that has not begun. */
static void enqueue(struct connection *conn, struct call *call)
{
	struct call *before = TAILQ_LAST(&conn->send_queue, call_list);
	int64_t now_ns = loop_now_ns(conn->loop);

	if (call->size == CALL_SMALL)
		while (before && before->size == CALL_BULK && !transfer_is_partly_sent(conn, before) &&
		       policy_overtakes(now_ns - before->bound_ns))
			before = TAILQ_PREV(before, call_list, link);
	if (before)
		TAILQ_INSERT_AFTER(&conn->send_queue, before, call, link);
	else
		TAILQ_INSERT_HEAD(&conn->send_queue, call, link);
}

void transfer_bind(struct connection *conn, struct call *call)
{
	int64_t now_ns = loop_now_ns(conn->loop);

	call->state = CALL_BOUND;
	call->conn = conn;
	call->sent = false;
	call->n_sent = 0;
	call->sent_ns = 0;
	call->bound_ns = now_ns;
	enqueue(conn, call);
	LIST_INSERT_HEAD(bucket(conn, call->xid), call, xid_link);
	count_bound(conn, call, 1);
	if (call->size == CALL_BULK)
		rate_begin(conn, now_ns);
	if (!connection_waiting_since(conn))
		connection_set_waiting(conn, now_ns);
	loop_at_turn_end(conn->loop, &conn->flush);
}

void transfer_repeat(struct connection *conn, struct call *call)
{
	if (conn->datagram.active)
		datagram_landed(conn, call);
	TAILQ_REMOVE(&conn->sent, call, link);
	call->sent_ns = 0;
	call->n_repeats++;
	enqueue(conn, call);
	loop_at_turn_end(conn->loop, &conn->flush);
}

void transfer_unbind(struct connection *conn, struct call *call)
{
	bool is_sent = is_wholly_sent(call);

	TAILQ_REMOVE(is_sent ? &conn->sent : &conn->send_queue, call, link);
	if (is_sent && conn->datagram.active)
		datagram_landed(conn, call);
	LIST_REMOVE(call, xid_link);
	connection_unreserve(conn, call);
	count_bound(conn, call, -1);
	if (conn->placing == call) {
		record_forget_payload(&conn->reader);
		conn->placing = NULL;
	}
	if (call->size == CALL_BULK && !conn->n_bulk)
		rate_end(conn, loop_now_ns(conn->loop));
	call->state = CALL_IDLE;
}

/* ---- sending ----------------------------------------------------------------------------- */

static int add_part(struct iovec *iov, int n, const void *base, size_t len, size_t *offset)
{
	if (*offset >= len) {
		*offset -= len;
		return n;
	}
	iov[n] = (struct iovec){ (char *)(uintptr_t)base + *offset, len - *offset };
	*offset = 0;
	return n + 1;
}

/* Calls that nobody wants any more are not sent, unless they have begun to leave. As many are looked
 * at as one sendmsg(2) may take. False if nothing is left to send. */
bool transfer_has_calls(struct connection *conn)
{
	struct call_list dropped = TAILQ_HEAD_INITIALIZER(dropped);
	struct call *call, *next = TAILQ_FIRST(&conn->send_queue);

	for (int i = 0; i < SEND_IOVS && (call = next); i++) {
		next = TAILQ_NEXT(call, link);
		if (call->sent || !call_is_cancelled(call))
			continue;
		transfer_unbind(conn, call);
		TAILQ_INSERT_TAIL(&dropped, call, link);
	}
	while ((call = TAILQ_FIRST(&dropped))) {
		TAILQ_REMOVE(&dropped, call, link);
		call_fail(call, -EINTR);
		pool_finish(conn->pool, call);
	}
	return !TAILQ_EMPTY(&conn->send_queue);
}

/* The queue as iovecs, beginning where the first call stands. */
static int gather_queue(struct connection *conn, struct iovec *iov, size_t *ret_len)
{
	static const uint8_t zeros[3];
	size_t offset = conn->send_offset;
	struct call *call;
	int n = 0;

	TAILQ_FOREACH(call, &conn->send_queue, link) {
		if (n + 3 > SEND_IOVS)
			break;
		n = add_part(iov, n, call->head, call->head_len, &offset);
		if (call->payload_len) {
			n = add_part(iov, n, call->payload, call->payload_len, &offset);
			n = add_part(iov, n, zeros, xdr_pad(call->payload_len), &offset);
		}
	}
	*ret_len = 0;
	for (int i = 0; i < n; i++)
		*ret_len += iov[i].iov_len;
	return n;
}

void transfer_sent(struct connection *conn, size_t n)
{
	int64_t now_ns = loop_now_ns(conn->loop);
	uint64_t at = relaxed_u64(&conn->load.bytes_sent) - conn->send_offset;
	struct call *call;

	count(&conn->load.bytes_sent, n);
	n += conn->send_offset;
	while ((call = TAILQ_FIRST(&conn->send_queue)) && n > 0) {
		call->sent = true;
		if (n < call_bytes(call))
			break;
		n -= call_bytes(call);
		at += call_bytes(call);
		call->sent_end = at;
		call->sent_ns = now_ns;
		if (!call->first_sent_ns)
			call->first_sent_ns = now_ns;
		call->n_sent++;
		TAILQ_REMOVE(&conn->send_queue, call, link);
		TAILQ_INSERT_TAIL(&conn->sent, call, link);
	}
	conn->send_offset = n;
}

void transfer_watch_output(struct connection *conn, bool wanted)
{
	uint32_t events = EPOLLIN | (wanted ? (uint32_t)EPOLLOUT : 0);

	if (conn->watched == events)
		return;
	conn->watched = events;
	loop_watch_mod(conn->loop, &conn->watch, events);
}

int transfer_flush(struct connection *conn)
{
	struct iovec iov[SEND_IOVS];
	size_t len;
	ssize_t n;

	if (conn->datagram.active)
		return datagram_flush(conn);
	while (transfer_has_calls(conn)) {
		struct msghdr message = { .msg_iov = iov };

		message.msg_iovlen = (size_t)gather_queue(conn, iov, &len);
		n = sendmsg(conn->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n > 0)
			transfer_sent(conn, (size_t)n);
		if (n < (ssize_t)len) {
			transfer_watch_output(conn, true);
			return 0;
		}
	}
	transfer_watch_output(conn, false);
	return 0;
}

/* ---- receiving --------------------------------------------------------------------------- */

static int refuse(struct connection *conn, const char *what)
{
	conn->stop_error = EBADMSG;
	conn->stop_reason = what;
	pool_bad_reply(conn->pool, conn, what);
	return -EBADMSG;
}

/* The reply is what is wrong: to send the call again would only break the next connection. */
static int refuse_reply(struct connection *conn, struct call *call, const char *what)
{
	transfer_unbind(conn, call);
	call_fail(call, -EIO);
	pool_finish(conn->pool, call);
	return refuse(conn, what);
}

static void answered(struct connection *conn, struct call *call)
{
	int64_t now_ns = loop_now_ns(conn->loop);

	if (call->size == CALL_SMALL && call->class == CALL_IDEMPOTENT && call->n_sent == 1 &&
	    !call->n_repeats && !call->resent && !conn->n_bulk)
		rtt_sample(conn, now_ns - call->sent_ns);
	conn->rate_bytes += call->payload_len;
	count(&conn->load.calls_done, 1);
	snapshot_count(conn, call, now_ns);
	if (conn->datagram.active)
		datagram_answered(conn, call);
}

int transfer_message(struct connection *conn, const uint8_t *bytes, uint32_t len, uint32_t placed)
{
	struct rpc_reply reply;
	struct call *call;

	if (rpc_reply_parse(bytes, len, &reply))
		return refuse(conn, "not an RPC reply");
	call = find(conn, reply.xid);
	if (!call) { /* late: its owner was answered at the deadline, or by another connection */
		rescue_came_late(conn);
		return 0;
	}
	if (transfer_is_partly_sent(conn, call) && (call->n_repeats || call->resent))
		return 0; /* the repetition will be answered, too */
	/* The answer to an earlier copy will do, also while the repetition is queued. */
	if (!call->n_sent && !call->n_repeats && !call->resent)
		return refuse(conn, "an answer before its call was sent");
	if (placed && conn->placing != call)
		return refuse(conn, "a reply to a call that was made meanwhile");
	if (len - reply.results_off > call->reply_max)
		return refuse_reply(conn, call, "a reply larger than its procedure allows");
	if (call->left == conn)
		rescue_came_late(conn); /* it had come back */
	conn->placing = NULL;
	answered(conn, call);
	transfer_unbind(conn, call);
	call->status = reply.status;
	call->ambiguous = false;
	call->results = bytes + reply.results_off;
	call->results_len = len - reply.results_off;
	call->placed_len = placed;
	pool_finish(conn->pool, call);
	return -conn->stop_error;
}

static int message(struct record_reader *reader, const uint8_t *bytes, uint32_t len,
		   uint32_t placed)
{
	return transfer_message(container_of(reader, struct connection, reader), bytes, len, placed);
}

static int begin(struct record_reader *reader, const uint8_t *bytes, uint32_t have, uint32_t len,
		 struct placement *ret_where)
{
	struct connection *conn = container_of(reader, struct connection, reader);
	struct rpc_reply reply;
	struct call *call;
	int placed;

	placed = rpc_reply_parse(bytes, have, &reply);
	if (placed)
		return placed == -EAGAIN ? 0 : placed;
	call = find(conn, reply.xid);
	if (!call) {
		*ret_where = (struct placement){ .head_len = reply.results_off,
						 .payload_len = len - reply.results_off };
		return 1;
	}
	if (!call->place || reply.status || !is_wholly_sent(call) ||
	    len - reply.results_off > call->reply_max)
		return -ENOTSUP;
	placed = call->place(call, bytes + reply.results_off, have - reply.results_off, ret_where);
	if (placed > 0) {
		ret_where->head_len += reply.results_off;
		conn->placing = call;
	}
	return placed;
}

static const struct record_ops record_ops = { .message = message, .begin = begin };

void transfer_received(struct connection *conn, size_t n)
{
	int64_t now_ns = loop_now_ns(conn->loop);

	count(&conn->load.bytes_received, n);
	atomic_store_explicit(&conn->load.last_rx_ns, now_ns, memory_order_relaxed);
	connection_set_waiting(conn, 0);
	conn->rate_bytes += n;
	rate_sample(conn, now_ns);
	flight_update(conn, now_ns);
}

/* 1: there may be more, 0: that was all, -errno. */
static int receive_once(struct connection *conn)
{
	struct iovec iov[2];
	struct msghdr message_header = { .msg_iov = iov };
	size_t wanted = 0;
	ssize_t n;
	int error;

	message_header.msg_iovlen =
		(size_t)record_iov(&conn->reader, conn->n_placed ? RECORD_LOOKAHEAD : 0, iov);
	for (size_t i = 0; i < message_header.msg_iovlen; i++)
		wanted += iov[i].iov_len;
	n = recvmsg(conn->watch.fd, &message_header, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? 0 : errno == EINTR ? 1 : -errno;
	if (n == 0) {
		conn->stop_reason = "closed by the server";
		return -ECONNRESET;
	}
	transfer_received(conn, (size_t)n);
	error = record_advance(&conn->reader, (size_t)n);
	if (error)
		return error;
	return (size_t)n == wanted;
}

/* A record may be as long as the largest transfer, which grows once the server has told its limits.
 * The floor is for directory pages of servers with small transfers. */
static void update_limits(struct connection *conn)
{
	uint32_t transfer_max = pool_transfer_max(conn->pool);
	uint32_t record_max = (uint32_t)max_size(transfer_max, RECORD_BUFFER) + 8192;

	if (conn->reader.record_max == record_max)
		return;
	if (conn->reader.mode == RECORD_GATHER && record_max < conn->reader.record_max)
		return; /* what has begun to arrive was within the limit */
	conn->reader.record_max = record_max;
	transfer_update_window(conn);
}

int transfer_receive(struct connection *conn)
{
	int more = 1;

	conn->stop_reason = NULL;
	update_limits(conn);
	if (conn->datagram.active)
		more = datagram_receive(conn);
	for (int i = 0; i < RECEIVES_PER_TURN && more > 0 && !conn->datagram.active; i++)
		more = receive_once(conn);
	if (more == -EBADMSG && !conn->stop_reason)
		refuse(conn, "broken record marking");
	if (atomic_load_explicit(&conn->load.n_outstanding, memory_order_relaxed) &&
	    !connection_waiting_since(conn))
		connection_set_waiting(conn, loop_now_ns(conn->loop));
	return more;
}

/* ---- life -------------------------------------------------------------------------------- */

int transfer_init(struct connection *conn)
{
	TAILQ_INIT(&conn->send_queue);
	TAILQ_INIT(&conn->sent);
	for (unsigned int i = 0; i < XID_BUCKETS; i++)
		LIST_INIT(&conn->by_xid[i]);
	transfer_update_window(conn);
	return record_init(&conn->reader, &record_ops, 0); /* transfer_receive() sets the limit */
}

void transfer_deinit(struct connection *conn)
{
	record_deinit(&conn->reader);
}

void transfer_reset(struct connection *conn, struct call_list *list)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&conn->sent)) || (call = TAILQ_FIRST(&conn->send_queue))) {
		transfer_unbind(conn, call);
		TAILQ_INSERT_TAIL(list, call, link);
	}
	conn->send_offset = 0;
	rescue_forget(conn);
	conn->flight = (struct flight){ 0 };
	connection_set_waiting(conn, 0);
	record_reset(&conn->reader);
	transfer_update_window(conn);
}
