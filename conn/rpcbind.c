/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpcbind - see rpcbind.h. A portmapper is asked by UDP because that costs one packet, and soon
 * after by TCP because firewalls often drop UDP to this port (it is used for reflection attacks).
 * GETADDR has no choice: the server ignores the netid in it and answers for the transport that the
 * question came by (RFC 1833 section 2.2.1; seen with rpcbind 1.2.6). */
#include "rpcbind.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "addr.h"
#include "rpcwait.h"
#include "util.h"

enum { RPCBIND_PROGRAM = 100000 };
enum { PORTMAP_VERSION = 2, PORTMAP_GETPORT = 3 };
enum { RPCBIND_VERSION = 3, RPCBIND_GETADDR = 3 };
enum { UADDR_MAX = 128 }; /* an IPv6 address with scope and six more characters is half of it */

#define TCP_LATER_NS (200 * NS_PER_MS)
#define NEXT_ADDR_NS (100 * NS_PER_MS)

/* ---- decoders ---------------------------------------------------------------------------- */

int rpcbind_getport_decode(const uint8_t *bytes, uint32_t len, uint16_t *ret_port)
{
	struct results results = { bytes, bytes + len, false };
	uint32_t port = results_word(&results);

	if (results.bad || port > UINT16_MAX)
		return -EBADMSG;
	*ret_port = (uint16_t)port;
	return 0;
}

/* A decimal of 0..255 that ends just before *end, with a dot in front of it; *end moves to the dot.
 * Negative if there is none. */
static int uaddr_octet(const uint8_t *uaddr, uint32_t *end)
{
	uint32_t at = *end;
	int value = 0, scale = 1;

	while (at > 0 && uaddr[at - 1] >= '0' && uaddr[at - 1] <= '9' && scale < 1000) {
		value += (uaddr[--at] - '0') * scale;
		scale *= 10;
	}
	if (scale == 1 || value > 255 || at == 0 || uaddr[at - 1] != '.')
		return -1;
	*end = at - 1;
	return value;
}

/* A universal address, RFC 5665: "fe80::1.8.1" is port 8 * 256 + 1; empty if not registered. */
int rpcbind_getaddr_decode(const uint8_t *bytes, uint32_t len, uint16_t *ret_port)
{
	struct results results = { bytes, bytes + len, false };
	uint32_t end = 0;
	const uint8_t *uaddr = results_opaque(&results, 0, UADDR_MAX, &end);
	int low, high;

	if (results.bad)
		return -EBADMSG;
	if (!end) {
		*ret_port = 0;
		return 0;
	}
	low = uaddr_octet(uaddr, &end);
	high = low < 0 ? -1 : uaddr_octet(uaddr, &end);
	if (high < 0)
		return -EBADMSG;
	*ret_port = (uint16_t)(high << 8 | low);
	return 0;
}

/* ---- asking ------------------------------------------------------------------------------ */

static void getport_encode(struct rpc_request *request, const struct rpcbind_query *query)
{
	request_begin(request, NULL, RPCBIND_PROGRAM, PORTMAP_VERSION, PORTMAP_GETPORT);
	request_word(request, query->prog);
	request_word(request, query->vers);
	request_word(request, (uint32_t)query->protocol);
	request_word(request, 0);
	request_end(request);
}

static void getaddr_encode(struct rpc_request *request, const struct rpcbind_query *query)
{
	request_begin(request, NULL, RPCBIND_PROGRAM, RPCBIND_VERSION, RPCBIND_GETADDR);
	request_word(request, query->prog);
	request_word(request, query->vers);
	request_string(request, query->protocol == IPPROTO_UDP ? "udp6" : "tcp6");
	request_string(request, ""); /* address: the one we reach it at */
	request_string(request, ""); /* owner */
	request_end(request);
}

static int answer_decode(const struct attempt *attempt, uint16_t *ret_port)
{
	if (attempt->addr.sa.ss_family == AF_INET6)
		return rpcbind_getaddr_decode(attempt->results, attempt->results_len, ret_port);
	return rpcbind_getport_decode(attempt->results, attempt->results_len, ret_port);
}

static void race_fill(struct race *race, const struct rpcbind_query *query,
		      const struct rpc_request *getport, const struct rpc_request *getaddr)
{
	int64_t start = clock_ns();

	for (unsigned int i = 0; i < query->n_addrs; i++, start += NEXT_ADDR_NS) {
		struct pool_addr addr = query->addrs[i];
		bool v6 = addr.sa.ss_family == AF_INET6;

		sockaddr_set_port(&addr.sa, query->rpcbind_port);
		if (v6) {
			race_add(race, &addr, query->protocol == IPPROTO_UDP, getaddr, start);
			continue;
		}
		race_add(race, &addr, true, getport, start);
		race_add(race, &addr, false, getport, start + TCP_LATER_NS);
	}
}

static unsigned int index_of(const struct rpcbind_query *query, const struct pool_addr *addr)
{
	unsigned int i = 0;

	while (i < query->n_addrs && !sockaddr_same_host(&query->addrs[i].sa, &addr->sa))
		i++;
	return i;
}

/* Of the first address; by TCP, if it was asked by both: a lost datagram says nothing. */
static int first_error(const struct race *race)
{
	const struct attempt *first = &race->attempts[0];

	if (race->n > 1 && sockaddr_same_host(&first[0].addr.sa, &first[1].addr.sa))
		return first[1].status;
	return race->n ? first->status : -EINVAL;
}

int rpcbind_query_run(const struct rpcbind_query *query, uint16_t *ret_port,
		      unsigned int *ret_index)
{
	struct rpc_request getport, getaddr;
	struct attempt *winner;
	struct race race;
	int error;

	getport_encode(&getport, query);
	getaddr_encode(&getaddr, query);
	race_init(&race, query->until_ns);
	race.cancel_fd = query->cancel_fd;
	race.locals = query->locals;
	race.n_locals = query->n_locals;
	race_fill(&race, query, &getport, &getaddr);
	winner = race_run(&race);
	if (winner)
		error = answer_decode(winner, ret_port);
	else
		error = first_error(&race);
	if (!error)
		*ret_index = index_of(query, &winner->addr);
	race_deinit(&race);
	return error;
}
