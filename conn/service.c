/* SPDX-License-Identifier: GPL-2.0-or-later */
/* service - see service.h. Sockets are non-blocking; everything is the loop's thread's once it
 * runs. */
#include "service.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/uio.h>

#include "addr.h"
#include "loop.h"
#include "record.h"
#include "rpc.h"
#include "util.h"

enum { BACKLOG = 8, BURST = 16, MARK_LEN = 4 };
static const int64_t IDLE_NS = 60 * NS_PER_S;
static const int64_t TICK_NS = 10 * NS_PER_S;

struct service_conn {
	struct service *service;
	struct loop_watch watch; /* fd < 0: free */
	struct record_reader reader;
	struct sockaddr_storage from;
	int64_t used_ns;
};

struct service_socket {
	struct service *service;
	struct loop_watch watch;
	uint16_t port;
};

struct service {
	struct service_config config;
	struct loop *loop;
	bool started;
	struct loop_timer timer;
	struct service_socket sockets[SERVICE_N_TRANSPORTS];
	struct service_conn conns[SERVICE_MAX_CONNS];
};

/* ---- a call ------------------------------------------------------------------------------ */

static enum rpc_verdict dispatch(const struct service_config *config, const struct rpc_call *head,
				 const struct service_call *call, uint8_t *results,
				 uint32_t *ret_len, bool *ret_silent)
{
	if (head->verdict != RPC_SUCCESS)
		return head->verdict;
	if (head->prog != config->prog)
		return RPC_PROG_UNAVAIL;
	if (head->vers != config->vers)
		return RPC_PROG_MISMATCH;
	if (head->proc == 0)
		return RPC_SUCCESS;
	switch (config->handle(config->userdata, call, results, ret_len)) {
	case SERVICE_DONE:
		return RPC_SUCCESS;
	case SERVICE_NO_SUCH:
		return RPC_PROC_UNAVAIL;
	case SERVICE_BAD_ARGS:
		return RPC_GARBAGE_ARGS;
	case SERVICE_NO_ANSWER:
		*ret_silent = true;
		break;
	}
	return RPC_SYSTEM_ERR;
}

int service_answer(const struct service_config *config, const struct sockaddr_storage *from,
		   const uint8_t *record, uint32_t len, uint8_t *reply)
{
	uint8_t results[SERVICE_RESULTS_MAX];
	uint32_t head_len, results_len = 0;
	enum rpc_verdict verdict;
	struct service_call call;
	struct rpc_call head;
	bool silent = false;

	if (rpc_call_parse(record, len, &head))
		return -EBADMSG;
	call = (struct service_call){
		.proc = head.proc,
		.args = record + head.args_off,
		.args_len = len - head.args_off,
		.from = from,
	};
	verdict = dispatch(config, &head, &call, results, &results_len, &silent);
	if (silent)
		return 0;
	head_len = rpc_reply_header(reply, head.xid, verdict, config->vers);
	if (verdict != RPC_SUCCESS)
		return (int)head_len;
	memcpy(reply + head_len, results, results_len);
	return (int)(head_len + results_len);
}

/* ---- connections ------------------------------------------------------------------------- */

static void conn_end(struct service_conn *conn)
{
	if (conn->watch.fd < 0)
		return;
	loop_watch_del(conn->service->loop, &conn->watch);
	close(conn->watch.fd);
	conn->watch.fd = -1;
	record_deinit(&conn->reader);
}

static int conn_message(struct record_reader *reader, const uint8_t *bytes, uint32_t len,
			uint32_t placed UNUSED)
{
	struct service_conn *conn = container_of(reader, struct service_conn, reader);
	uint8_t reply[MARK_LEN + SERVICE_REPLY_MAX];
	int n = service_answer(&conn->service->config, &conn->from, bytes, len, reply + MARK_LEN);

	if (n <= 0)
		return n;
	rpc_write(reply, RPC_LAST_FRAGMENT | (uint32_t)n);
	if (send(conn->watch.fd, reply, (size_t)(MARK_LEN + n), MSG_NOSIGNAL | MSG_DONTWAIT) !=
	    MARK_LEN + n)
		return -EPIPE;
	return 0;
}

static int conn_begin(struct record_reader *reader UNUSED, const uint8_t *bytes UNUSED,
		      uint32_t have UNUSED, uint32_t len UNUSED, struct placement *ret_where UNUSED)
{
	return -EINVAL; /* nothing is placed */
}

static const struct record_ops conn_records = {.message = conn_message, .begin = conn_begin};

static void conn_ready(struct loop_watch *watch, uint32_t events UNUSED)
{
	struct service_conn *conn = container_of(watch, struct service_conn, watch);
	struct iovec iov[2];
	struct msghdr message = {.msg_iov = iov};
	ssize_t n;

	message.msg_iovlen = (size_t)record_iov(&conn->reader, SERVICE_RECORD_MAX, iov);
	n = recvmsg(watch->fd, &message, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	conn->used_ns = clock_ns();
	if (n <= 0 || record_advance(&conn->reader, (size_t)n))
		conn_end(conn);
}

static struct service_conn *free_conn(struct service *service)
{
	struct service_conn *oldest = &service->conns[0];

	for (unsigned int i = 0; i < SERVICE_MAX_CONNS; i++) {
		if (service->conns[i].watch.fd < 0)
			return &service->conns[i];
		if (service->conns[i].used_ns < oldest->used_ns)
			oldest = &service->conns[i];
	}
	conn_end(oldest);
	return oldest;
}

static void conn_start(struct service *service, int fd, const struct sockaddr_storage *from)
{
	struct service_conn *conn = free_conn(service);

	if (record_init(&conn->reader, &conn_records, SERVICE_RECORD_MAX)) {
		close(fd);
		return;
	}
	conn->from = *from;
	conn->used_ns = clock_ns();
	conn->watch = (struct loop_watch){.fd = fd, .priority = LOOP_FIRST, .ready = conn_ready};
	if (loop_watch_add(service->loop, &conn->watch, EPOLLIN)) {
		close(fd);
		conn->watch.fd = -1;
		record_deinit(&conn->reader);
	}
}

static void tcp_ready(struct loop_watch *watch, uint32_t events UNUSED)
{
	struct service *service = container_of(watch, struct service_socket, watch)->service;
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);
	int fd = accept4(watch->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		conn_start(service, fd, &from);
}

static void timer_expired(struct loop_timer *timer, int64_t now_ns)
{
	struct service *service = container_of(timer, struct service, timer);

	for (unsigned int i = 0; i < SERVICE_MAX_CONNS; i++)
		if (service->conns[i].watch.fd >= 0 &&
		    now_ns - service->conns[i].used_ns >= IDLE_NS)
			conn_end(&service->conns[i]);
	loop_timer_set(service->loop, timer, now_ns + TICK_NS);
}

/* ---- datagrams --------------------------------------------------------------------------- */

/* The reply leaves from the address that was asked: what came in as its destination goes out as its
 * source. */
static bool udp_answer_one(struct service *service, int fd)
{
	uint8_t record[SERVICE_RECORD_MAX], reply[SERVICE_REPLY_MAX];
	union {
		struct cmsghdr align;
		uint8_t bytes[128];
	} control;
	struct iovec iov = {record, sizeof(record)};
	struct sockaddr_storage from = {0};
	struct msghdr message = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
	int len;

	if (n < 0)
		return errno == EINTR;
	if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
		return true;
	len = service_answer(&service->config, &from, record, (uint32_t)n, reply);
	if (len <= 0)
		return true;
	iov = (struct iovec){reply, (size_t)len};
	message.msg_flags = 0;
	(void)sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	return true;
}

static void udp_ready(struct loop_watch *watch, uint32_t events UNUSED)
{
	struct service *service = container_of(watch, struct service_socket, watch)->service;

	for (int i = 0; i < BURST && udp_answer_one(service, watch->fd); i++)
		;
}

/* ---- sockets ----------------------------------------------------------------------------- */

static bool is_tcp(enum service_transport transport)
{
	return transport == SERVICE_TCP || transport == SERVICE_TCP6;
}

static int set_options(int fd, enum service_transport transport)
{
	int on = 1, error = 0;

	if (service_is_v6(transport))
		error = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (!error && transport == SERVICE_UDP)
		error = setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
	if (!error && transport == SERVICE_UDP6)
		error = setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on));
	return error ? -errno : 0;
}

static int listen_on(int fd, enum service_transport transport, uint16_t *ret_port)
{
	struct sockaddr_storage sa = {.ss_family = service_is_v6(transport) ? AF_INET6 : AF_INET};
	socklen_t len = service_is_v6(transport) ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int error = set_options(fd, transport);

	if (error)
		return error;
	if (bind(fd, (struct sockaddr *)&sa, len) || (is_tcp(transport) && listen(fd, BACKLOG)) ||
	    getsockname(fd, (struct sockaddr *)&sa, &len))
		return -errno;
	*ret_port = sockaddr_port(&sa);
	return 0;
}

static int socket_open(struct service *service, enum service_transport transport)
{
	struct service_socket *sock = &service->sockets[transport];
	int type = (is_tcp(transport) ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
	int fd = socket(service_is_v6(transport) ? AF_INET6 : AF_INET, type, 0);
	int error = fd < 0 ? -errno : listen_on(fd, transport, &sock->port);

	sock->service = service;
	sock->watch = (struct loop_watch){
		.fd = fd,
		.priority = LOOP_FIRST,
		.ready = is_tcp(transport) ? tcp_ready : udp_ready,
	};
	if (!error)
		error = loop_watch_add(service->loop, &sock->watch, EPOLLIN);
	if (error) {
		closep(&fd);
		sock->watch.fd = -1;
		sock->port = 0;
	}
	return error;
}

uint16_t service_port(const struct service *service, enum service_transport transport)
{
	return service->sockets[transport].port;
}

/* 0 if there is one, else why there is none. */
static int open_sockets(struct service *service)
{
	int error = 0, first_error = 0;
	unsigned int n = 0;

	for (int i = 0; i < SERVICE_N_TRANSPORTS; i++) {
		error = socket_open(service, (enum service_transport)i);
		n += !error;
		first_error = first_error ? first_error : error;
	}
	return n ? 0 : first_error;
}

static struct service *service_new(const struct service_config *config)
{
	struct service *service = calloc(1, sizeof(*service));

	if (!service)
		return NULL;
	service->config = *config;
	service->timer.expired = timer_expired;
	for (unsigned int i = 0; i < SERVICE_MAX_CONNS; i++) {
		service->conns[i].service = service;
		service->conns[i].watch.fd = -1;
	}
	for (unsigned int i = 0; i < SERVICE_N_TRANSPORTS; i++)
		service->sockets[i].watch.fd = -1;
	return service;
}

int service_open(const struct service_config *config, struct service **ret_service)
{
	struct service *service = service_new(config);
	int error;

	if (!service)
		return -ENOMEM;
	error = loop_new(0, &service->loop);
	if (!error)
		error = open_sockets(service);
	if (!error) {
		loop_timer_set(service->loop, &service->timer, clock_ns() + TICK_NS);
		error = loop_start(service->loop);
	}
	if (error) {
		service_close(service);
		return error;
	}
	service->started = true;
	*ret_service = service;
	return 0;
}

void service_close(struct service *service)
{
	if (!service)
		return;
	if (service->started) {
		loop_stop(service->loop);
		loop_join(service->loop);
	}
	for (unsigned int i = 0; i < SERVICE_MAX_CONNS; i++)
		conn_end(&service->conns[i]);
	for (unsigned int i = 0; i < SERVICE_N_TRANSPORTS; i++) {
		if (service->sockets[i].watch.fd < 0)
			continue;
		loop_watch_del(service->loop, &service->sockets[i].watch);
		close(service->sockets[i].watch.fd);
	}
	loop_free(service->loop);
	free(service);
}
