/* SPDX-License-Identifier: GPL-2.0-or-later */
/* datagram - see datagram.h. */
#include "datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "call.h"
#include "connection.h"
#include "pool_parts.h"
#include "rpc.h"
#include "util.h"

enum {
	MARK_LEN = 4,
	BUFFER = 4 << 20,
	WINDOW_FIRST = 64 << 10,
	PAYLOAD_MAX = 65507,       /* RFC 768 over IPv4 */
	HEADERS_V4 = 20 + 8, HEADERS_V6 = 40 + 8,
	MTU_UNKNOWN = 1280,
	RECEIVES_PER_TURN = 32,
};

static int family_of(const struct connection *conn)
{
	return conn->dialled.sa.ss_family;
}

/* ---- the socket -------------------------------------------------------------------------- */

static void set_fragments(const struct connection *conn, int fd, bool allowed)
{
	int v4 = allowed ? IP_PMTUDISC_DONT : IP_PMTUDISC_DO;
	int v6 = allowed ? IPV6_PMTUDISC_DONT : IPV6_PMTUDISC_DO;

	if (family_of(conn) == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof(v6));
	else
		setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof(v4));
}

/* As large as we may: an answer that finds no room is lost. */
static void set_buffer(int fd, int forced, int plain)
{
	int bytes = BUFFER;

	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)))
		setsockopt(fd, SOL_SOCKET, plain, &bytes, sizeof(bytes));
}

void datagram_opened(struct connection *conn, int fd)
{
	set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	set_fragments(conn, fd, pool_config_of(conn->pool)->udp_fragments);
}

static uint32_t ask_max(const struct connection *conn)
{
	bool v6 = family_of(conn) == AF_INET6;
	int mtu = MTU_UNKNOWN, headers = v6 ? HEADERS_V6 : HEADERS_V4;
	socklen_t len = sizeof(mtu);

	if (getsockopt(conn->watch.fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len) ||
	    mtu <= headers)
		mtu = MTU_UNKNOWN;
	return (uint32_t)min_size((size_t)(mtu - headers), PAYLOAD_MAX);
}

static void learn_max(struct connection *conn)
{
	pool_datagram_max_is(conn->pool, conn, ask_max(conn));
}

/* The kernel counts what a datagram takes, about twice its bytes if it is small. */
static uint64_t receive_room(int fd)
{
	int bytes = 0;
	socklen_t len = sizeof(bytes);

	if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, &len))
		return WINDOW_FIRST;
	return (uint64_t)bytes / 4;
}

void datagram_connected(struct connection *conn)
{
	struct datagram *datagram = &conn->datagram;

	datagram->in_flight = 0;
	datagram->window = WINDOW_FIRST;
	datagram->threshold = UINT64_MAX;
	datagram->window_max = max_size(receive_room(conn->watch.fd), WINDOW_FIRST);
	datagram->halved_ns = 0;
	learn_max(conn);
}

void datagram_closed(struct connection *conn)
{
	loop_timer_cancel(conn->loop, &conn->datagram.timer);
	conn->datagram.active = false;
}

/* ---- the window -------------------------------------------------------------------------- */

static uint64_t least_window(const struct connection *conn)
{
	return 2 * ((uint64_t)pool_transfer_max(conn->pool) + CALL_HEAD_SMALL);
}

uint64_t datagram_window(const struct connection *conn, uint64_t window)
{
	const struct datagram *datagram = &conn->datagram;

	if (pool_config_of(conn->pool)->window)
		return min_size(window, datagram->window_max);
	return max_size(min_size(datagram->window, datagram->window_max), least_window(conn));
}

static void open_window(struct connection *conn, const struct call *call)
{
	struct datagram *datagram = &conn->datagram;
	uint64_t more = call->cost;

	if (datagram->window >= datagram->window_max || 2 * datagram->in_flight < datagram->window)
		return; /* nobody waited for it to open */
	if (datagram->window >= datagram->threshold)
		more = max_size((uint64_t)call->cost * call->cost / datagram->window, 1);
	datagram->window += more;
	transfer_update_window(conn);
}

/* Once in a round trip: what was lost together was lost for one reason. */
static void halve_window(struct connection *conn, const struct call *call, int64_t now_ns)
{
	struct datagram *datagram = &conn->datagram;

	if (call->sent_ns < datagram->halved_ns)
		return;
	datagram->window = max_size(min_size(datagram->window, datagram->window_max) / 2, least_window(conn));
	datagram->threshold = datagram->window;
	datagram->halved_ns = now_ns;
	transfer_update_window(conn);
}

/* ---- sending again ----------------------------------------------------------------------- */

static struct policy_rtt *rtt_of(struct connection *conn, const struct call *call)
{
	return &conn->datagram.rtts[call->proc % DATAGRAM_PROCEDURES];
}

static int64_t due_ns(struct connection *conn, const struct call *call)
{
	return call->sent_ns + policy_resend_ns(rtt_of(conn, call), call->class, call->n_repeats,
						pool_config_of(conn->pool)->timeo_ns);
}

static void set_timer(struct connection *conn, int64_t at_ns)
{
	struct loop_timer *timer = &conn->datagram.timer;

	if (!timer->armed || at_ns < timer->at_ns)
		loop_timer_set(conn->loop, timer, at_ns);
}

void datagram_landed(struct connection *conn, const struct call *call)
{
	conn->datagram.in_flight -= call->cost;
	if (!TAILQ_EMPTY(&conn->send_queue))
		loop_at_turn_end(conn->loop, &conn->flush);
}

void datagram_answered(struct connection *conn, const struct call *call)
{
	if (call->sent_ns && !call->resent)
		policy_rtt_answered(rtt_of(conn, call), loop_now_ns(conn->loop) - call->sent_ns,
				    call->n_repeats);
	open_window(conn, call);
}

/* CALL_ONCE: its owner finds out what became of it. */
static void give_back(struct connection *conn, struct call *call, struct call_list *given_back)
{
	transfer_unbind(conn, call);
	call_fail(call, -ETIMEDOUT);
	TAILQ_INSERT_TAIL(given_back, call, link);
}

static void resend(struct connection *conn, struct call *call, int64_t now_ns)
{
	halve_window(conn, call, now_ns);
	pool_count_repeat(conn->pool);
	conn->retransmits++;
	transfer_repeat(conn, call);
	policy_rtt_missed(rtt_of(conn, call), call->n_repeats);
}

static void timer_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct connection *conn = container_of(timer, struct connection, datagram.timer);
	struct call_list given_back = TAILQ_HEAD_INITIALIZER(given_back);
	int64_t next_ns = INT64_MAX;
	struct call *call, *next;

	for (call = TAILQ_FIRST(&conn->sent); call; call = next) {
		next = TAILQ_NEXT(call, link);
		if (call_is_cancelled(call))
			continue;
		if (due_ns(conn, call) > now_ns)
			next_ns = min_i64(next_ns, due_ns(conn, call));
		else if (call->class == CALL_ONCE)
			give_back(conn, call, &given_back);
		else
			resend(conn, call, now_ns);
	}
	if (next_ns != INT64_MAX)
		set_timer(conn, next_ns);
	queue_finish_all(conn->pool, &given_back, 0);
}

void datagram_init(struct connection *conn)
{
	conn->datagram.timer.expired = timer_expired;
}

/* ---- sending ----------------------------------------------------------------------------- */

static ssize_t send_message(struct connection *conn, const struct call *call, size_t *ret_len)
{
	static const uint8_t zeros[3];
	struct iovec iov[] = {
		{ call->head + MARK_LEN, call->head_len - MARK_LEN },
		{ (void *)(uintptr_t)call->payload, call->payload_len },
		{ (void *)(uintptr_t)zeros, xdr_pad(call->payload_len) },
	};
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = call->payload_len ? 3 : 1 };

	*ret_len = iov[0].iov_len + (call->payload_len ? iov[1].iov_len + iov[2].iov_len : 0);
	return sendmsg(conn->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Too large for the path, and made already. */
static ssize_t send_in_fragments(struct connection *conn, const struct call *call)
{
	size_t len;
	ssize_t n;

	learn_max(conn);
	set_fragments(conn, conn->watch.fd, true);
	n = send_message(conn, call, &len);
	set_fragments(conn, conn->watch.fd, pool_config_of(conn->pool)->udp_fragments);
	return n;
}

/* The path, or this host's packet filter, does not take it now: as good as lost on the way. */
static bool is_loss(int error)
{
	return error == EPERM || error == ENOBUFS || error == EMSGSIZE;
}

/* 1: sent. 0: no room. -errno. */
static int send_one(struct connection *conn, struct call *call)
{
	size_t len;
	ssize_t n = send_message(conn, call, &len);

	if (n < 0 && errno == EMSGSIZE)
		n = send_in_fragments(conn, call);
	if (n < 0 && errno == EAGAIN)
		return 0;
	if (n < 0 && !is_loss(errno))
		return -errno;
	conn->datagram.in_flight += call->cost;
	transfer_sent(conn, call->head_len + call->payload_len + xdr_pad(call->payload_len));
	set_timer(conn, due_ns(conn, call));
	return 1;
}

/* What proves that the connection works does not wait. */
static bool may_fly(const struct connection *conn, const struct call *call)
{
	const struct datagram *datagram = &conn->datagram;

	return !datagram->in_flight || datagram->in_flight + call->cost <= datagram_window(conn, UINT64_MAX) ||
	       call == &conn->probe;
}

int datagram_flush(struct connection *conn)
{
	int sent = 1;

	while (sent > 0 && transfer_has_calls(conn) && may_fly(conn, TAILQ_FIRST(&conn->send_queue)))
		sent = send_one(conn, TAILQ_FIRST(&conn->send_queue));
	if (sent < 0)
		return sent;
	transfer_watch_output(conn, !sent);
	return 0;
}

/* ---- receiving --------------------------------------------------------------------------- */

/* 1: there may be more, 0: that was all, -errno. The socket is connected: nobody else's
 * datagrams come. One that is no reply is passed over. */
static int receive_one(struct connection *conn)
{
	uint8_t *buffer = conn->reader.buffer;
	ssize_t n = recv(conn->watch.fd, buffer, RECORD_BUFFER, MSG_DONTWAIT);
	struct rpc_reply reply;

	if (n < 0 && errno == EMSGSIZE) { /* an ICMP message: the path's MTU has fallen */
		learn_max(conn);
		return 1;
	}
	if (n < 0)
		return errno == EAGAIN ? 0 : errno == EINTR ? 1 : -errno;
	if (rpc_reply_parse(buffer, (uint32_t)n, &reply))
		return 1;
	transfer_received(conn, (size_t)n);
	return transfer_message(conn, buffer, (uint32_t)n, 0) ?: 1;
}

int datagram_receive(struct connection *conn)
{
	int more = 1;

	for (int i = 0; i < RECEIVES_PER_TURN && more > 0; i++)
		more = receive_one(conn);
	return more;
}
