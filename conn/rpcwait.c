/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpcwait - see rpcwait.h. Every wait is the one in race_wait(), whose time-out is the earliest
 * thing due; every attempt ends in attempt_finish(). Sockets are non-blocking and, also for UDP,
 * connected, so that ICMP errors are seen. */
#include "rpcwait.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "addr.h"
#include "call.h"
#include "local.h"
#include "util.h"

enum { MARK_LEN = 4 };

#define RESEND_FIRST_NS (250 * NS_PER_MS) /* then doubled each time */

/* ---- request and results ----------------------------------------------------------------- */

void request_begin(struct rpc_request *request, const struct cred *cred, uint32_t prog,
		   uint32_t vers, uint32_t proc)
{
	call_init(&request->call);
	request->args_len = 0;
	request->args = call_begin(&request->call, request->bytes, sizeof(request->bytes), cred,
				   prog, vers, proc, &request->args_room);
}

void request_word(struct rpc_request *request, uint32_t word)
{
	assert(request->args_room - request->args_len >= sizeof(word));
	rpc_write(request->args + request->args_len, word);
	request->args_len += sizeof(word);
}

void request_string(struct rpc_request *request, const char *string)
{
	uint32_t len = (uint32_t)strlen(string), pad = (uint32_t)xdr_pad(len);

	request_word(request, len);
	assert(request->args_room - request->args_len >= len + pad);
	memcpy(request->args + request->args_len, string, len);
	memset(request->args + request->args_len + len, 0, pad);
	request->args_len += len + pad;
}

void request_end(struct rpc_request *request)
{
	call_end(&request->call, request->args_len);
	call_seal(&request->call);
}

static uint32_t results_left(const struct results *results)
{
	return (uint32_t)(results->end - results->at);
}

uint32_t results_word(struct results *results)
{
	uint32_t word;

	if (results->bad || results_left(results) < sizeof(word)) {
		results->bad = true;
		return 0;
	}
	word = rpc_read(results->at);
	results->at += sizeof(word);
	return word;
}

const uint8_t *results_opaque(struct results *results, uint32_t min, uint32_t max,
			      uint32_t *ret_len)
{
	uint32_t len = results_word(results);
	const uint8_t *bytes = results->at;

	if (!results->bad && (len < min || len > max || len > results_left(results) ||
			      xdr_pad(len) > results_left(results) - len))
		results->bad = true;
	if (results->bad)
		return NULL;
	results->at += len + xdr_pad(len);
	*ret_len = len;
	return bytes;
}

/* ---- one attempt: ending ----------------------------------------------------------------- */

static bool attempt_is_active(const struct attempt *attempt)
{
	return attempt->state != ATTEMPT_IDLE && attempt->state != ATTEMPT_DONE;
}

/* A reserved port must not sit in TIME_WAIT: there are few, and a host that mounts much at boot
 * would run out of them. Nothing of value is in flight any more, so the stream is reset. */
static void attempt_close(struct attempt *attempt)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	if (attempt->reserved && attempt->connected)
		setsockopt(attempt->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	closep(&attempt->fd);
	attempt->fd = -1;
	record_deinit(&attempt->reader);
}

static void attempt_finish(struct attempt *attempt, int status)
{
	attempt->status = status;
	attempt->state = ATTEMPT_DONE;
	attempt_close(attempt);
}

static void attempt_time_out(struct attempt *attempt)
{
	attempt_finish(attempt, attempt->garbage ? -EBADMSG : -ETIMEDOUT);
}

/* ---- one attempt: receiving -------------------------------------------------------------- */

/* True if these bytes are the answer; otherwise *ret_error says whether they are RPC at all. */
static bool attempt_take_reply(struct attempt *attempt, const uint8_t *bytes, uint32_t len,
			       int *ret_error)
{
	struct rpc_reply reply;

	*ret_error = rpc_reply_parse(bytes, len, &reply) ? -EBADMSG : 0;
	if (*ret_error || reply.xid != attempt->request->call.xid)
		return false;
	attempt->results_len = reply.status ? 0 : len - reply.results_off;
	attempt->results = malloc(max_size(attempt->results_len, 1));
	if (!attempt->results) {
		*ret_error = -ENOMEM;
		return false;
	}
	memcpy(attempt->results, bytes + len - attempt->results_len, attempt->results_len);
	attempt->reply = reply;
	attempt->replied = true;
	return true;
}

/* Not 0 ends the stream. A record with another xid is nobody's: passed over. */
static int attempt_message(struct record_reader *reader, const uint8_t *bytes, uint32_t len,
			   uint32_t placed UNUSED)
{
	struct attempt *attempt = container_of(reader, struct attempt, reader);
	int error;

	return attempt_take_reply(attempt, bytes, len, &error) ? -EALREADY : error;
}

static int attempt_begin(struct record_reader *reader UNUSED, const uint8_t *bytes UNUSED,
			 uint32_t have UNUSED, uint32_t len UNUSED,
			 struct placement *ret_where UNUSED)
{
	return -EINVAL; /* nothing is placed */
}

static const struct record_ops attempt_records = {
	.message = attempt_message,
	.begin = attempt_begin,
};

static void note_peer_bytes(struct attempt *attempt, const void *bytes, size_t n)
{
	if (attempt->n_peer_bytes)
		return;
	attempt->n_peer_bytes = (uint32_t)min_size(n, sizeof(attempt->peer_bytes));
	memcpy(attempt->peer_bytes, bytes, attempt->n_peer_bytes);
}

static bool is_transient(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static void attempt_receive_tcp(struct attempt *attempt)
{
	struct iovec iov[2];
	struct msghdr message = { .msg_iov = iov };
	ssize_t n;
	int error;

	message.msg_iovlen = (size_t)record_iov(&attempt->reader, 0, iov);
	n = recvmsg(attempt->fd, &message, MSG_DONTWAIT);
	if (n < 0 && is_transient(errno))
		return;
	if (n <= 0) {
		attempt_finish(attempt, n ? -errno : -ECONNRESET);
		return;
	}
	/* The first bytes come into the first vector: nothing is gathered before a mark is read. */
	note_peer_bytes(attempt, iov[0].iov_base, min_size((size_t)n, iov[0].iov_len));
	error = record_advance(&attempt->reader, (size_t)n);
	if (error)
		attempt_finish(attempt, attempt->replied ? attempt->reply.status : error);
}

/* Datagrams may come from anybody: what is no answer is passed over. */
static void attempt_receive_udp(struct attempt *attempt)
{
	cleanup(freep) uint8_t *bytes = malloc(RPCWAIT_RECORD_MAX);
	ssize_t n;
	int error;

	if (!bytes) {
		attempt_finish(attempt, -ENOMEM);
		return;
	}
	n = recv(attempt->fd, bytes, RPCWAIT_RECORD_MAX, MSG_DONTWAIT);
	if (n < 0 && is_transient(errno))
		return;
	if (n < 0) {
		attempt_finish(attempt, -errno);
		return;
	}
	note_peer_bytes(attempt, bytes, (size_t)n);
	if (attempt_take_reply(attempt, bytes, (uint32_t)n, &error))
		attempt_finish(attempt, attempt->reply.status);
	else if (error == -EBADMSG)
		attempt->garbage = true;
	else if (error)
		attempt_finish(attempt, error);
}

/* ---- one attempt: connecting and sending ------------------------------------------------- */

static uint16_t local_port(int fd)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &len) ? 0 : sockaddr_port(&sa);
}

static void attempt_connected(struct race *race, struct attempt *attempt, int64_t now)
{
	attempt->state = ATTEMPT_SENDING;
	attempt->connected = !attempt->udp;
	attempt->connected_ns = now;
	attempt->source_port = local_port(attempt->fd);
	if (!race->first_connected_ns)
		race->first_connected_ns = now;
	if (!attempt->udp && record_init(&attempt->reader, &attempt_records, RPCWAIT_RECORD_MAX))
		attempt_finish(attempt, -ENOMEM);
}

static int attempt_bind(struct attempt *attempt, const struct pool_local *local, bool resvport)
{
	struct sockaddr_storage host = local_host(local, attempt->addr.sa.ss_family);
	int error = local ? socket_bind_device(attempt->fd, local) : 0;
	uint16_t port;

	if (error)
		return error;
	/* Without one it still is worth trying: the server may allow any port. */
	attempt->reserved = resvport && !socket_bind_resvport(attempt->fd, &host, &port);
	return attempt->reserved || !local ? 0 : socket_bind_host(attempt->fd, &host);
}

static int attempt_bind_first(const struct race *race, struct attempt *attempt)
{
	int error = -EADDRNOTAVAIL;

	if (!race->n_locals)
		return attempt_bind(attempt, NULL, race->resvport);
	for (unsigned int i = 0; i < race->n_locals && error; i++)
		if (local_fits(&race->locals[i], attempt->addr.sa.ss_family))
			error = attempt_bind(attempt, &race->locals[i], race->resvport);
	return error;
}

static int attempt_socket(const struct race *race, struct attempt *attempt)
{
	int family = attempt->addr.sa.ss_family, on = 1;
	int type = attempt->udp ? SOCK_DGRAM : SOCK_STREAM;

	attempt->fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (attempt->fd < 0)
		return -errno;
	if (!attempt->udp)
		setsockopt(attempt->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return attempt_bind_first(race, attempt);
}

static void attempt_start(struct race *race, struct attempt *attempt, int64_t now)
{
	int error = attempt_socket(race, attempt);

	if (!error && connect(attempt->fd, (struct sockaddr *)&attempt->addr.sa, attempt->addr.len))
		error = -errno;
	if (!error)
		attempt_connected(race, attempt, now);
	else if (error == -EINPROGRESS || error == -EINTR)
		attempt->state = ATTEMPT_CONNECTING;
	else
		attempt_finish(attempt, error);
}

static void attempt_sent(struct race *race, struct attempt *attempt, int64_t now)
{
	attempt->state = ATTEMPT_RECEIVING;
	attempt->resend_interval_ns = RESEND_FIRST_NS;
	attempt->resend_ns = now + RESEND_FIRST_NS;
	if (race->no_reply)
		attempt_finish(attempt, 0);
}

/* A peer that talks first and hangs up (a login service, a proxy) has left bytes to explain it. */
static void attempt_send_failed(struct attempt *attempt, int error)
{
	uint8_t bytes[sizeof(attempt->peer_bytes)];
	ssize_t n = recv(attempt->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (n > 0)
		note_peer_bytes(attempt, bytes, (size_t)n);
	attempt_finish(attempt, error == -EPIPE ? -ECONNRESET : error);
}

static void attempt_send(struct race *race, struct attempt *attempt, int64_t now)
{
	uint32_t skip = attempt->udp ? MARK_LEN : attempt->sent;
	uint32_t left = attempt->request->call.head_len - skip;
	ssize_t n = send(attempt->fd, attempt->request->bytes + skip, left,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && is_transient(errno))
		return;
	if (n < 0) {
		attempt_send_failed(attempt, -errno);
		return;
	}
	attempt->sent += (uint32_t)n;
	if (attempt->udp || (uint32_t)n == left)
		attempt_sent(race, attempt, now);
}

static void attempt_resend(struct attempt *attempt, int64_t now)
{
	const struct rpc_request *request = attempt->request;
	ssize_t n = send(attempt->fd, request->bytes + MARK_LEN, request->call.head_len - MARK_LEN,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	attempt->resend_interval_ns *= 2;
	attempt->resend_ns = now + attempt->resend_interval_ns;
	if (n < 0 && !is_transient(errno))
		attempt_finish(attempt, -errno);
}

static void attempt_connect_done(struct race *race, struct attempt *attempt, int64_t now)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len))
		error = errno;
	if (error)
		attempt_finish(attempt, -error);
	else
		attempt_connected(race, attempt, now);
}

/* Its descriptor is ready. */
static void attempt_advance(struct race *race, struct attempt *attempt, int64_t now)
{
	if (attempt->state == ATTEMPT_CONNECTING)
		attempt_connect_done(race, attempt, now);
	if (attempt->state == ATTEMPT_SENDING)
		attempt_send(race, attempt, now);
	else if (attempt->state == ATTEMPT_RECEIVING && attempt->udp)
		attempt_receive_udp(attempt);
	else if (attempt->state == ATTEMPT_RECEIVING)
		attempt_receive_tcp(attempt);
}

/* ---- the race ---------------------------------------------------------------------------- */

void race_init(struct race *race, int64_t until_ns)
{
	memset(race, 0, sizeof(*race));
	race->connect_until_ns = race->deadline_ns = until_ns;
	race->reply_ns = INT64_MAX;
}

void race_deinit(struct race *race)
{
	for (unsigned int i = 0; i < race->n; i++) {
		attempt_close(&race->attempts[i]);
		free(race->attempts[i].results);
	}
	race->n = 0;
}

void race_add(struct race *race, const struct pool_addr *addr, bool udp,
	      const struct rpc_request *request, int64_t start_ns)
{
	if (race->n == RACE_MAX_ATTEMPTS)
		return;
	race->attempts[race->n++] = (struct attempt){
		.addr = *addr,
		.udp = udp,
		.request = request,
		.start_ns = start_ns,
		.fd = -1,
	};
}

/* When its present state has lasted too long. */
static int64_t attempt_limit(const struct race *race, const struct attempt *attempt)
{
	int64_t left;

	if (attempt->state == ATTEMPT_IDLE || attempt->state == ATTEMPT_CONNECTING)
		return min_i64(race->connect_until_ns, race->deadline_ns);
	left = race->deadline_ns - attempt->connected_ns;
	return attempt->connected_ns + min_i64(race->reply_ns, left);
}

/* The next time at which there is something to do for it besides its descriptor. */
static int64_t attempt_due(const struct race *race, const struct attempt *attempt)
{
	int64_t limit = attempt_limit(race, attempt);

	if (attempt->state == ATTEMPT_IDLE)
		return min_i64(limit, attempt->start_ns);
	if (attempt->state == ATTEMPT_RECEIVING && attempt->udp)
		return min_i64(limit, attempt->resend_ns);
	return limit;
}

static bool race_has_active(const struct race *race)
{
	for (unsigned int i = 0; i < race->n; i++)
		if (attempt_is_active(&race->attempts[i]))
			return true;
	return false;
}

static bool race_has_idle(const struct race *race)
{
	for (unsigned int i = 0; i < race->n; i++)
		if (race->attempts[i].state == ATTEMPT_IDLE)
			return true;
	return false;
}

/* Start what is due, send again, give up. */
static void attempt_tick(struct race *race, struct attempt *attempt, int64_t now)
{
	if (attempt->state == ATTEMPT_DONE)
		return;
	if (now >= attempt_limit(race, attempt))
		attempt_time_out(attempt);
	else if (attempt->state == ATTEMPT_IDLE &&
		 (now >= attempt->start_ns || !race_has_active(race)))
		attempt_start(race, attempt, now);
	else if (attempt->state == ATTEMPT_RECEIVING && attempt->udp && now >= attempt->resend_ns)
		attempt_resend(attempt, now);
}

/* False when nothing is left to wait for. */
static bool race_tick(struct race *race, int64_t now)
{
	do
		for (unsigned int i = 0; i < race->n; i++)
			attempt_tick(race, &race->attempts[i], now);
	while (!race_has_active(race) && race_has_idle(race));
	return race_has_active(race);
}

static int race_poll(const struct race *race, struct pollfd fds[], int64_t now)
{
	int64_t due = race->deadline_ns;
	struct timespec timeout;

	for (unsigned int i = 0; i < race->n; i++) {
		const struct attempt *attempt = &race->attempts[i];
		bool receiving = attempt->state == ATTEMPT_RECEIVING;

		fds[i] = (struct pollfd){ attempt->fd, receiving ? POLLIN : POLLOUT, 0 };
		if (attempt->state != ATTEMPT_DONE)
			due = min_i64(due, attempt_due(race, attempt));
	}
	fds[race->n] = (struct pollfd){ race->cancel_fd > 0 ? race->cancel_fd : -1, POLLIN, 0 };
	due = max_i64(due - now, 0);
	timeout.tv_sec = (time_t)(due / NS_PER_S);
	timeout.tv_nsec = (long)(due % NS_PER_S);
	return ppoll(fds, race->n + 1, &timeout, NULL);
}

/* Wait once and deal with what came. The winner, if there is one now. */
static struct attempt *race_wait(struct race *race, int64_t now)
{
	struct pollfd fds[RACE_MAX_ATTEMPTS + 1];

	if (race_poll(race, fds, now) <= 0)
		return NULL; /* a time-out; or EINTR: waiting is resumed with what is left */
	race->cancelled = fds[race->n].revents != 0;
	now = clock_ns();
	for (unsigned int i = 0; i < race->n; i++) {
		struct attempt *attempt = &race->attempts[i];

		if (!fds[i].revents || !attempt_is_active(attempt))
			continue;
		attempt_advance(race, attempt, now);
		if (attempt->state == ATTEMPT_DONE && !attempt->status)
			return attempt;
	}
	return NULL;
}

/* -ECANCELED tells those that lost from those that failed. */
static void race_stop(struct race *race)
{
	for (unsigned int i = 0; i < race->n; i++)
		if (race->attempts[i].state != ATTEMPT_DONE)
			attempt_finish(&race->attempts[i], -ECANCELED);
}

struct attempt *race_run(struct race *race)
{
	struct attempt *winner = NULL;
	int64_t now = clock_ns();

	while (!winner && !race->cancelled && race_tick(race, now)) {
		winner = race_wait(race, now);
		now = clock_ns();
	}
	race_stop(race);
	return winner;
}
