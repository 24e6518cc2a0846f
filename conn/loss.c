/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loss - see loss.h. Here alone the kernel's own struct tcp_info is used: that of netinet/tcp.h ends before what is
 * asked for, and the two do not go together. */
#include "loss.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "connection.h"

void loss_look(struct connection *conn)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (conn->datagram.active || getsockopt(conn->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		return;
	/* An older kernel fills less of it, and the rest stays 0. */
	atomic_store_explicit(&conn->load.lost, (uint64_t)info.tcpi_total_retrans + info.tcpi_rcv_ooopack,
			      memory_order_relaxed);
	atomic_store_explicit(&conn->load.segments, (uint64_t)info.tcpi_data_segs_out + info.tcpi_data_segs_in,
			      memory_order_relaxed);
}
