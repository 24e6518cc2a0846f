/* SPDX-License-Identifier: GPL-2.0-or-later */
/* service - a small RPC server: one program, one version, over TCP and UDP, IPv4 and IPv6.
 *
 * PUBLIC. For what a server calls its clients for. Each transport has a port of its own, chosen by
 * the kernel, open to everybody: so nothing that comes in is believed. A record is at most
 * SERVICE_RECORD_MAX bytes, a connection that sends anything but records with calls ends, there are
 * at most SERVICE_MAX_CONNS of them (a new one takes the place of that which has been idle
 * longest), and one that is idle for a minute ends. Replies are not queued: who does not read loses
 * his connection.
 *
 * NULL is answered here; another program, version or procedure as RFC 5531 section 9 says.
 *
 * Thread: one of its own, a loop that carries nothing else; handle() is called there, and may wait
 * for a moment. */
#ifndef CONN_SERVICE_H
#define CONN_SERVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
	SERVICE_RECORD_MAX = 4096,
	SERVICE_RESULTS_MAX = 1040,
	SERVICE_MAX_CONNS = 8,
};

/* In the order of ports[]. */
enum service_transport {
	SERVICE_TCP,
	SERVICE_UDP,
	SERVICE_TCP6,
	SERVICE_UDP6,
	SERVICE_N_TRANSPORTS
};

static inline bool service_is_v6(enum service_transport transport)
{
	return transport == SERVICE_TCP6 || transport == SERVICE_UDP6;
}

struct service;

struct service_call {
	uint32_t proc; /* not NULL's */
	const uint8_t *args;
	uint32_t args_len;
	const struct sockaddr_storage *from; /* IPv4 as such, never mapped */
};

enum service_verdict {
	SERVICE_DONE,	   /* *ret_len bytes of results, a multiple of 4 */
	SERVICE_NO_SUCH,   /* PROC_UNAVAIL */
	SERVICE_BAD_ARGS,  /* GARBAGE_ARGS */
	SERVICE_NO_ANSWER, /* he may ask again */
};

struct service_config {
	uint32_t prog, vers;
	enum service_verdict (*handle)(void *userdata, const struct service_call *call,
				       uint8_t results[SERVICE_RESULTS_MAX], uint32_t *ret_len);
	void *userdata;
};

/* service_open - 0, listening; or -errno: not even one transport. A family that this host does not
 * have is left out: its ports are 0. service_close - waits for the handler that runs. Takes NULL.
 */
int service_open(const struct service_config *config, struct service **ret_service);
void service_close(struct service *service);
uint16_t service_port(const struct service *service, enum service_transport transport);

/* service_answer - what is answered to a record: the reply's length, 0 for none; or -EBADMSG: no
 * call. reply has SERVICE_REPLY_MAX bytes. The service without its sockets, for tests. */
enum { SERVICE_REPLY_MAX = SERVICE_RESULTS_MAX + 32 };
int service_answer(const struct service_config *config, const struct sockaddr_storage *from,
		   const uint8_t *record, uint32_t len, uint8_t *reply);

#endif
