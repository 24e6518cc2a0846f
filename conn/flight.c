/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flight - see flight.h. */
#include "flight.h"

#include <linux/tcp.h>

#include "connection.h"
#include "policy.h"
#include "pool.h"
#include "util.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72 /* Linux 5.15: buffers that were set are sized by the kernel again */
#endif

static const int64_t UPDATE_NS = 100 * NS_PER_MS;

enum { CLAMP_NONE = 1 << 30 }; /* more than any receive buffer */

static int64_t least_rtt_ns(const struct connection *conn)
{
	struct tcp_info info = { .tcpi_min_rtt = 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(conn->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return 0;
	return (int64_t)info.tcpi_min_rtt * 1000;
}

static void bound_receive(int fd, int bytes)
{
	setsockopt(fd, IPPROTO_TCP, TCP_WINDOW_CLAMP, &bytes, sizeof(bytes));
}

/* Only where it can be taken back: a buffer that was set is never sized by the kernel again before 5.15. */
static void bound_send(int fd, int bytes)
{
	int unlock = 0;

	if (setsockopt(fd, SOL_SOCKET, SO_BUF_LOCK, &unlock, sizeof(unlock)) || !bytes)
		return;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void set_bound(struct connection *conn, uint32_t bound)
{
	bound_receive(conn->watch.fd, bound ? (int)bound : CLAMP_NONE);
	bound_send(conn->watch.fd, (int)bound);
	conn->flight.bound = bound;
}

void flight_update(struct connection *conn, int64_t now_ns)
{
	bool small_busy = pool_is_small_busy(conn->pool, now_ns);

	if (conn->datagram.active)
		return; /* has a window of its own */
	if (!small_busy) {
		if (conn->flight.bound)
			set_bound(conn, 0);
		return;
	}
	if (!conn->n_bulk || (conn->flight.bound && now_ns - conn->flight.updated_ns < UPDATE_NS))
		return;
	conn->flight.updated_ns = now_ns;
	set_bound(conn, policy_flight(atomic_load_explicit(&conn->load.rate, memory_order_relaxed),
				      least_rtt_ns(conn)));
}
