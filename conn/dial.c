/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dial - see dial.h. */
#include "dial.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "local.h"
#include "loop.h"
#include "pool_parts.h"
#include "util.h"

enum { SEND_TAIL = 256 * 1024 };

static void set_int(int fd, int level, int name, int value)
{
	/* Each of these only tunes; a kernel without one is no reason to fail. */
	setsockopt(fd, level, name, &value, sizeof(value));
}

static void set_user_timeout(int fd, const struct pool_config *config)
{
	set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(config->detect_ns * 2 / NS_PER_MS));
}

void dial_retune(const struct connection *conn)
{
	if (conn->watch.fd >= 0)
		set_user_timeout(conn->watch.fd, pool_config_of(conn->pool));
}

static void tune(int fd, const struct pool_config *config)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 20);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 5);
	set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
	set_user_timeout(fd, config);
	/* Keeps small calls from queueing in the kernel behind megabytes of WRITE. */
	set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, SEND_TAIL);
}

/* A reserved one, if it is to be one and can be; else any. */
static int bind_resvport_or_any(struct connection *conn, int fd, const struct sockaddr_storage *host)
{
	int error;

	if (pool_config_of(conn->pool)->resvport) {
		error = socket_bind_resvport(fd, host, &conn->local_port);
		if (!error || error == -EADDRNOTAVAIL)
			return error;
		pool_no_resvport(conn->pool, conn, -error);
	}
	return conn->from ? socket_bind_host(fd, host) : 0;
}

static int bind_port(struct connection *conn, int fd, const struct sockaddr_storage *host)
{
	const struct pool_config *config = pool_config_of(conn->pool);
	int error;

	/* The one it had before, so that the server's duplicate request cache recognises a call sent again. */
	if (!TAILQ_EMPTY(&conn->replay)) {
		if (!socket_bind_again(fd, &conn->replay_from))
			return 0;
		connection_give_up_replays(conn);
	}
	if (conn->local_port && !socket_bind_port(fd, host, conn->local_port))
		return 0;
	conn->local_port = 0;
	if (!config->srcport_low)
		return bind_resvport_or_any(conn, fd, host);
	error = socket_bind_range(fd, host, config->srcport_low, config->srcport_high, &conn->local_port);
	if (error && error != -EADDRNOTAVAIL)
		pool_no_srcport(conn->pool, conn, -error);
	return error;
}

static int bind_source(struct connection *conn, int fd, int family)
{
	struct sockaddr_storage host = local_host(conn->from, family);
	int error = 0;

	if (!conn->from && pool_config_of(conn->pool)->n_locals)
		return -EADDRNOTAVAIL;
	if (conn->from)
		error = socket_bind_device(fd, conn->from);
	if (!error)
		error = bind_port(conn, fd, &host);
	if (conn->from && error && error != -EADDRINUSE && error != -EACCES)
		pool_no_local(conn->pool, conn, -error);
	return error;
}

int dial_start(struct connection *conn, const struct pool_addr *addr)
{
	const struct sockaddr *sa = (const struct sockaddr *)&addr->sa;
	int type = addr->udp ? SOCK_DGRAM : SOCK_STREAM;
	int fd = socket(sa->sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return -errno;
	conn->datagram.active = addr->udp;
	if (addr->udp)
		datagram_opened(conn, fd);
	else
		tune(fd, pool_config_of(conn->pool));
	error = bind_source(conn, fd, sa->sa_family);
	if (error) {
		close(fd);
		return error;
	}
	conn->watch.fd = fd;
	conn->watched = EPOLLIN | EPOLLOUT;
	error = connect(fd, sa, addr->len) && errno != EINPROGRESS ? -errno : 0;
	if (!error)
		error = loop_watch_add(conn->loop, &conn->watch, conn->watched);
	if (error) {
		close(fd);
		conn->watch.fd = -1;
	}
	return error;
}
