/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry - see registry.h. DUMP is what is asked: GETADDR answers for the transport that it came
 * by, and over a UNIX socket that is none of ours. */
#include "registry.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "addr.h"
#include "rpcbind.h"
#include "rpcwait.h"
#include "util.h"

enum { RPCBIND_PROGRAM = 100000, RPCBIND_VERSION = 4 };
enum { RPCBIND_SET = 1, RPCBIND_UNSET = 2, RPCBIND_DUMP = 4 };
enum { TEXT_MAX = 256, DUMP_MAX = 4096 };

static const char SOCKET[] = "/run/rpcbind.sock";
static const int64_t LOOPBACK_LATER_NS = 300 * NS_PER_MS;

static const char *const netids[SERVICE_N_TRANSPORTS] = {
	[SERVICE_TCP] = "tcp",
	[SERVICE_UDP] = "udp",
	[SERVICE_TCP6] = "tcp6",
	[SERVICE_UDP6] = "udp6",
};

/* ---- asking ------------------------------------------------------------------------------ */

static struct pool_addr loopback(bool v6, uint16_t port)
{
	struct pool_addr addr = {.len = v6 ? sizeof(struct sockaddr_in6)
					   : sizeof(struct sockaddr_in)};

	addr.sa.ss_family = v6 ? AF_INET6 : AF_INET;
	if (v6)
		((struct sockaddr_in6 *)&addr.sa)->sin6_addr = in6addr_loopback;
	else
		((struct sockaddr_in *)&addr.sa)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sockaddr_set_port(&addr.sa, port);
	return addr;
}

static struct pool_addr local_socket(void)
{
	struct pool_addr addr = {.len = sizeof(struct sockaddr_un)};
	struct sockaddr_un *sa = (struct sockaddr_un *)&addr.sa;

	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path, SOCKET, sizeof(SOCKET));
	return addr;
}

/* The winner's results are the race's. */
static int ask(struct race *race, const struct rpc_request *request, int64_t until_ns,
	       struct attempt **ret_winner)
{
	struct pool_addr local = local_socket(), tcp = loopback(false, RPCBIND_PORT);
	int64_t now_ns = clock_ns();

	race_init(race, until_ns);
	race->resvport = true;
	race_add(race, &local, false, request, now_ns);
	race_add(race, &tcp, false, request, now_ns + LOOPBACK_LATER_NS);
	*ret_winner = race_run(race);
	return *ret_winner ? 0 : race->attempts[1].status;
}

/* ---- list -------------------------------------------------------------------------------- */

static int transport_of(const uint8_t *netid, uint32_t len)
{
	for (int i = 0; i < SERVICE_N_TRANSPORTS; i++)
		if (strlen(netids[i]) == len && !memcmp(netids[i], netid, len))
			return i;
	return -1;
}

/* The port of a universal address ("0.0.0.0.8.1"), as the decoder of GETADDR has it: it takes the
 * string with its length in front. */
static uint16_t port_of(const uint8_t *uaddr, uint32_t len)
{
	uint16_t port = 0;

	return rpcbind_getaddr_decode(uaddr - 4, len + 4 + (uint32_t)xdr_pad(len), &port) ? 0
											  : port;
}

static void take_entry(struct results *results, uint32_t prog, struct registry_entry entries[],
		       unsigned int *n)
{
	uint32_t entry_prog = results_word(results), vers = results_word(results);
	uint32_t netid_len = 0, uaddr_len = 0, owner_len = 0;
	const uint8_t *netid = results_opaque(results, 0, TEXT_MAX, &netid_len);
	const uint8_t *uaddr = results_opaque(results, 0, TEXT_MAX, &uaddr_len);
	int transport;

	results_opaque(results, 0, TEXT_MAX, &owner_len);
	if (results->bad || entry_prog != prog || *n == REGISTRY_MAX_ENTRIES)
		return;
	transport = transport_of(netid, netid_len);
	if (transport >= 0)
		entries[(*n)++] = (struct registry_entry){
			.vers = vers,
			.transport = (enum service_transport)transport,
			.port = port_of(uaddr, uaddr_len),
		};
}

int registry_decode(const uint8_t *bytes, uint32_t len, uint32_t prog,
		    struct registry_entry entries[REGISTRY_MAX_ENTRIES], unsigned int *ret_n)
{
	struct results results = {bytes, bytes + len, false};
	unsigned int n = 0, n_seen = 0;

	while (results_word(&results) == 1 && n_seen++ < DUMP_MAX)
		take_entry(&results, prog, entries, &n);
	if (results.bad)
		return -EBADMSG;
	*ret_n = n;
	return 0;
}

int registry_list(uint32_t prog, int64_t until_ns,
		  struct registry_entry entries[REGISTRY_MAX_ENTRIES], unsigned int *ret_n)
{
	struct rpc_request request;
	struct attempt *winner;
	struct race race;
	int error;

	request_begin(&request, NULL, RPCBIND_PROGRAM, RPCBIND_VERSION, RPCBIND_DUMP);
	request_end(&request);
	error = ask(&race, &request, until_ns, &winner);
	if (!error)
		error = registry_decode(winner->results, winner->results_len, prog, entries, ret_n);
	race_deinit(&race);
	return error;
}

/* ---- set, unset -------------------------------------------------------------------------- */

static int change(uint32_t proc, uint32_t prog, const struct registry_entry *entry,
		  int64_t until_ns)
{
	struct rpc_request request;
	struct attempt *winner;
	struct race race;
	char uaddr[32];
	int error;

	snprintf(uaddr, sizeof(uaddr), "%s.%u.%u", service_is_v6(entry->transport) ? "::" : "0.0.0.0",
		 entry->port >> 8, entry->port & 255);
	request_begin(&request, NULL, RPCBIND_PROGRAM, RPCBIND_VERSION, proc);
	request_word(&request, prog);
	request_word(&request, entry->vers);
	request_string(&request, netids[entry->transport]);
	request_string(&request, uaddr);
	request_string(&request,
		       "superuser"); /* what it calls root; it looks for itself over its socket */
	request_end(&request);
	error = ask(&race, &request, until_ns, &winner);
	if (!error) {
		struct results results = {winner->results, winner->results + winner->results_len,
					  false};

		error = results_word(&results) == 1 ? 0 : -EEXIST;
	}
	race_deinit(&race);
	return error;
}

int registry_set(uint32_t prog, const struct registry_entry *entry, int64_t until_ns)
{
	return change(RPCBIND_SET, prog, entry, until_ns);
}

int registry_unset(uint32_t prog, const struct registry_entry *entry, int64_t until_ns)
{
	return change(RPCBIND_UNSET, prog, entry, until_ns);
}

/* ---- looking ----------------------------------------------------------------------------- */

bool registry_is_dead(uint32_t prog, const struct registry_entry *entry, int64_t until_ns)
{
	bool udp = entry->transport == SERVICE_UDP || entry->transport == SERVICE_UDP6;
	struct pool_addr addr = loopback(service_is_v6(entry->transport), entry->port);
	struct rpc_request request;
	struct race race;
	bool dead;

	request_begin(&request, NULL, prog, entry->vers, 0);
	request_end(&request);
	race_init(&race, until_ns);
	race_add(&race, &addr, udp, &request, clock_ns());
	dead = !race_run(&race) && race.attempts[0].status == -ECONNREFUSED;
	race_deinit(&race);
	return dead;
}

bool registry_is_seen(uint32_t prog, const struct registry_entry *entry, int64_t until_ns)
{
	struct pool_addr addr = loopback(service_is_v6(entry->transport), 0);
	struct rpcbind_query query = {
		.addrs = &addr,
		.n_addrs = 1,
		.rpcbind_port = RPCBIND_PORT,
		.prog = prog,
		.vers = entry->vers,
		.protocol = entry->transport == SERVICE_UDP || entry->transport == SERVICE_UDP6
				    ? IPPROTO_UDP
				    : IPPROTO_TCP,
		.until_ns = until_ns,
	};
	unsigned int index;
	uint16_t port = 0;

	return !rpcbind_query_run(&query, &port, &index) && port == entry->port;
}
