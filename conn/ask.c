/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ask - see ask.h. */
#include "ask.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "addr.h"
#include "rpcbind.h"
#include "rpcwait.h"
#include "util.h"

static const int64_t TCP_LATER_NS = 1 * NS_PER_S;

static int port_of(const struct ask *ask, int protocol, uint16_t *ret_port)
{
	struct rpcbind_query query = {
		.addrs = ask->host,
		.n_addrs = 1,
		.rpcbind_port = RPCBIND_PORT,
		.prog = ask->prog,
		.vers = ask->vers,
		.protocol = protocol,
		.until_ns = ask->until_ns,
		.cancel_fd = ask->cancel_fd,
		.locals = ask->locals,
		.n_locals = ask->n_locals,
	};
	unsigned int index;

	return rpcbind_query_run(&query, ret_port, &index);
}

static void request_of(const struct ask *ask, struct rpc_request *request)
{
	request_begin(request, ask->cred, ask->prog, ask->vers, ask->proc);
	for (uint32_t i = 0; i < ask->args_len; i += 4)
		request_word(request, rpc_read(ask->args + i));
	request_end(request);
}

static int take(struct race *race, const struct attempt *winner, uint8_t results[ASK_RESULTS_MAX],
		uint32_t *ret_len)
{
	if (!winner)
		return race->attempts[race->n - 1].status;
	if (winner->results_len > ASK_RESULTS_MAX)
		return -EBADMSG;
	memcpy(results, winner->results, winner->results_len);
	*ret_len = winner->results_len;
	return 0;
}

int ask_run(const struct ask *ask, uint8_t results[ASK_RESULTS_MAX], uint32_t *ret_len)
{
	struct pool_addr tcp = *ask->host, udp = *ask->host;
	uint16_t tcp_port = 0, udp_port = 0;
	struct rpc_request request;
	struct race race;
	int error;

	if (ask->args_len > ASK_ARGS_MAX)
		return -EMSGSIZE;
	error = port_of(ask, IPPROTO_UDP, &udp_port);
	if (!error)
		error = port_of(ask, IPPROTO_TCP, &tcp_port);
	if (!error && !udp_port && !tcp_port)
		error = -ENOENT;
	if (error)
		return error;
	request_of(ask, &request);
	sockaddr_set_port(&udp.sa, udp_port);
	sockaddr_set_port(&tcp.sa, tcp_port);
	race_init(&race, ask->until_ns);
	race.resvport = ask->resvport;
	race.cancel_fd = ask->cancel_fd;
	race.locals = ask->locals;
	race.n_locals = ask->n_locals;
	if (udp_port)
		race_add(&race, &udp, true, &request, clock_ns());
	if (tcp_port)
		race_add(&race, &tcp, false, &request, clock_ns() + TCP_LATER_NS);
	error = take(&race, race_run(&race), results, ret_len);
	race_deinit(&race);
	return error;
}
