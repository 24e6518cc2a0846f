/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe - see probe.h. Who is asked: all addresses until one of them has answered, then that one
 * alone, which has become addrs[0]. When several addresses or transports fail, the failure reported
 * is the one that got furthest: it tells most about the server. */
#include "probe.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>

#include "addr.h"
#include "mount3.h"
#include "rpcbind.h"
#include "util.h"

enum { NFS_PROGRAM = 100003, NFS_VERSION = 3, NFS_PORT = 2049, PROC_NULL = 0 };

#define STAGE_DEFAULT_NS (5 * NS_PER_S)
#define FIND_PORT_NS (2 * NS_PER_S)     /* for the portmapper to name the NFS port */
#define RETRY_NS (2 * NS_PER_S)         /* for the portmapper to name another transport, and that to answer */
#define NEXT_ADDR_NS (250 * NS_PER_MS)  /* as happy eyeballs does: RFC 8305 section 8 */

const char *mount_stage_name(enum mount_stage stage)
{
	static const char *const names[] = {
		[MOUNT_STAGE_RESOLVE] = "resolve", [MOUNT_STAGE_CONNECT] = "connect",
		[MOUNT_STAGE_NULL] = "null",       [MOUNT_STAGE_RPCBIND] = "rpcbind",
		[MOUNT_STAGE_MOUNTD] = "mountd",   [MOUNT_STAGE_DONE] = "done",
	};

	return names[stage];
}

void mount_result_deinit(struct mount_result *result)
{
	mount3_exports_free(result->exports, result->n_exports);
	result->exports = NULL;
	result->n_exports = 0;
}

/* ---- stages and candidates --------------------------------------------------------------- */

void probe_init(struct probe *probe, const struct mount_query *query,
		       struct mount_result *result)
{
	*result = (struct mount_result){ 0 };
	*probe = (struct probe){
		.query = query,
		.result = result,
		.stage_ns = query->stage_ns > 0 ? query->stage_ns : STAGE_DEFAULT_NS,
		.deadline_ns = query->deadline_ns ? query->deadline_ns : INT64_MAX,
	};
}

void probe_enter_at(struct probe *probe, enum mount_stage stage, int64_t now)
{
	probe->result->stage = stage;
	probe->result->stage_started_ns[stage] = now;
	probe->until_ns = min_i64(now + probe->stage_ns, probe->deadline_ns);
}

void probe_enter(struct probe *probe, enum mount_stage stage)
{
	probe_enter_at(probe, stage, clock_ns());
}

enum mount_failure probe_timed_out(const struct probe *probe, enum mount_failure failure)
{
	return clock_ns() >= probe->deadline_ns ? MOUNT_DEADLINE : failure;
}

static void addr_to_front(struct mount_result *result, unsigned int i)
{
	struct pool_addr addr = result->addrs[i];

	memmove(&result->addrs[1], &result->addrs[0], i * sizeof(addr));
	result->addrs[0] = addr;
}

void probe_addr_to_front_by_host(struct mount_result *result, const struct pool_addr *addr)
{
	for (unsigned int i = 0; i < result->n_addrs; i++)
		if (sockaddr_same_host(&result->addrs[i].sa, &addr->sa)) {
			addr_to_front(result, i);
			return;
		}
}

static void set_nfs_service(struct mount_result *result, enum mount_transport transport, uint16_t port)
{
	result->nfs_port = port;
	result->nfs_transport = transport;
	for (unsigned int i = 0; i < result->n_addrs; i++) {
		sockaddr_set_port(&result->addrs[i].sa, port);
		result->addrs[i].udp = transport == MOUNT_UDP;
	}
}

void probe_note_attempt(struct mount_result *result, const struct attempt *attempt)
{
	result->error = attempt->status < 0 ? -attempt->status : 0;
	result->vers_low = attempt->reply.vers_low;
	result->vers_high = attempt->reply.vers_high;
	probe_addr_to_front_by_host(result, &attempt->addr);
}

void probe_race_begin(const struct mount_query *query, struct race *race, int64_t until_ns)
{
	race_init(race, until_ns);
	race->locals = query->locals;
	race->n_locals = query->n_locals;
}

/* ---- resolve ----------------------------------------------------------------------------- */

enum mount_failure probe_resolve_host(struct probe *probe, const char *host, int family, uint16_t port,
				      struct pool_addr addrs[], unsigned int *ret_n)
{
	int error = mount_resolve(host, family, port, probe->until_ns, probe->query->cancel_fd, addrs, ret_n);

	if (error == -ECANCELED)
		return MOUNT_CANCELLED;
	if (error == -ETIMEDOUT)
		return probe_timed_out(probe, MOUNT_DNS_TIMEOUT);
	if (error == EAI_MEMORY)
		return MOUNT_NO_MEMORY;
	probe->result->gai_error = error;
	return error ? MOUNT_DNS_FAILED : MOUNT_OK;
}

static enum mount_failure probe_resolve(struct probe *probe)
{
	const struct mount_query *query = probe->query;
	struct mount_result *result = probe->result;
	enum mount_failure failure;

	probe_enter(probe, MOUNT_STAGE_RESOLVE);
	failure = probe_resolve_host(probe, query->address ?: query->host, query->family, query->nfs_port,
				     result->addrs, &result->n_addrs);
	result->nfs_port = query->nfs_port;
	probe->n_candidates = result->n_addrs;
	return failure;
}

/* ---- the portmapper ---------------------------------------------------------------------- */

/* Of all addresses at once; TCP or UDP is how the program is to be reached. */
static struct rpcbind_query port_question(const struct mount_query *query, const struct pool_addr *addrs,
					  unsigned int n_addrs, uint32_t prog, uint32_t vers,
					  int protocol, int64_t until_ns)
{
	return (struct rpcbind_query){
		.addrs = addrs,
		.n_addrs = n_addrs,
		.rpcbind_port = query->rpcbind_port ? query->rpcbind_port : RPCBIND_PORT,
		.prog = prog,
		.vers = vers,
		.protocol = protocol,
		.until_ns = until_ns,
		.cancel_fd = query->cancel_fd,
		.locals = query->locals,
		.n_locals = query->n_locals,
	};
}

int probe_ask_port(struct probe *probe, const struct pool_addr *addrs, unsigned int n_addrs, uint32_t prog,
		   int protocol, int64_t until_ns, uint16_t *ret_port, unsigned int *ret_index)
{
	struct rpcbind_query ask = port_question(probe->query, addrs, n_addrs, prog,
						 3 /* NFS and MOUNT */, protocol, until_ns);
	int error = rpcbind_query_run(&ask, ret_port, ret_index);

	if (!error)
		probe->result->rpcbind_answered = true;
	return error;
}

int mount_program_port(const struct mount_query *query, const struct pool_addr *server, uint32_t prog,
		       uint32_t vers, int64_t deadline_ns, uint16_t *ret_port)
{
	struct rpcbind_query ask = port_question(query, server, 1, prog, vers, IPPROTO_TCP, deadline_ns);
	unsigned int index;

	return rpcbind_query_run(&ask, ret_port, &index);
}

/* The portmapper gets less than half of the stage, for many firewalls let only 2049 through. -errno: it does
 * not answer. *ret_port is 0 if NFS is not registered for that transport. */
static int ask_nfs_port(struct probe *probe, enum mount_transport transport, int64_t until_ns, uint16_t *ret_port)
{
	int protocol = transport == MOUNT_UDP ? IPPROTO_UDP : IPPROTO_TCP;
	unsigned int index;

	return probe_ask_port(probe, probe->result->addrs, probe->n_candidates, NFS_PROGRAM, protocol, until_ns,
			      ret_port, &index);
}

static int64_t ask_until_ns(const struct probe *probe)
{
	int64_t limit = min_i64(FIND_PORT_NS, probe->stage_ns * 2 / 5);

	return min_i64(clock_ns() + limit, probe->until_ns);
}

/* nfs(5): the port the portmapper names, 2049 if it names none. A server that has NFS by UDP only says so here,
 * if nobody has asked for a transport. */
static void find_nfs_service(struct probe *probe)
{
	bool discover = probe->query->nfs_transport == MOUNT_DISCOVER;
	enum mount_transport transport = discover ? MOUNT_TCP : probe->query->nfs_transport;
	int64_t until_ns = ask_until_ns(probe);
	uint16_t port = probe->query->nfs_port, other = 0;
	int error = port ? 0 : ask_nfs_port(probe, transport, until_ns, &port);

	if (!error && !port && discover && !ask_nfs_port(probe, MOUNT_UDP, until_ns, &other) && other) {
		transport = MOUNT_UDP;
		port = other;
	}
	set_nfs_service(probe->result, transport, port ? port : NFS_PORT);
}

/* ---- connect and NULL -------------------------------------------------------------------- */

static enum mount_failure connect_failure(int status)
{
	switch (-status) {
	case ECONNREFUSED:
		return MOUNT_CONN_REFUSED;
	case ETIMEDOUT:
		return MOUNT_CONN_TIMEOUT;
	case ENETUNREACH:
	case EHOSTUNREACH:
		return MOUNT_NET_UNREACHABLE;
	case ENOMEM:
		return MOUNT_NO_MEMORY;
	default:
		return MOUNT_CONN_ERROR;
	}
}

static enum mount_failure nfs_failure(const struct attempt *attempt)
{
	if (attempt->replied && attempt->reply.vers_high)
		return MOUNT_VERSION_UNSUPPORTED;
	if (attempt->replied || attempt->status == -EBADMSG)
		return MOUNT_NOT_NFS;
	if (!attempt->connected)
		return connect_failure(attempt->status);
	if (attempt->status == -ETIMEDOUT)
		return MOUNT_NFS_TIMEOUT;
	return attempt->status == -ENOMEM ? MOUNT_NO_MEMORY : MOUNT_NOT_NFS;
}

/* Small: tells more. */
static unsigned int nfs_failure_rank(const struct attempt *attempt)
{
	static const enum mount_failure order[] = {
		MOUNT_NO_MEMORY,   MOUNT_VERSION_UNSUPPORTED, MOUNT_NOT_NFS,
		MOUNT_NFS_TIMEOUT, MOUNT_CONN_REFUSED,        MOUNT_CONN_TIMEOUT,
		MOUNT_CONN_ERROR,  MOUNT_NET_UNREACHABLE,
	};
	enum mount_failure failure = nfs_failure(attempt);
	unsigned int rank = 0;

	while (rank < ARRAY_SIZE(order) && order[rank] != failure)
		rank++;
	return rank;
}

const struct attempt *probe_most_telling(const struct race *race,
					  unsigned int (*rank)(const struct attempt *attempt))
{
	const struct attempt *best = &race->attempts[0];

	for (unsigned int i = 1; i < race->n; i++)
		if (rank(&race->attempts[i]) < rank(best))
			best = &race->attempts[i];
	return best;
}

/* A server that wants no AUTH_NONE, even for NULL, is one nevertheless: mountd will say more. */
static const struct attempt *refused_credential(const struct race *race)
{
	for (unsigned int i = 0; i < race->n; i++)
		if (race->attempts[i].replied && race->attempts[i].status == -EACCES)
			return &race->attempts[i];
	return NULL;
}

static void nfs_race_fill(struct probe *probe, struct race *race, const struct rpc_request *null)
{
	int64_t start = clock_ns(), step = NEXT_ADDR_NS;

	/* The last one, too, must have most of the stage. */
	step = min_i64(step, probe->stage_ns / (2 * (int64_t)probe->n_candidates));
	race->reply_ns = probe->stage_ns;
	race->deadline_ns = probe->deadline_ns;
	for (unsigned int i = 0; i < probe->n_candidates; i++)
		race_add(race, &probe->result->addrs[i], probe->result->addrs[i].udp, null, start + i * step);
}

static enum mount_failure nfs_race_failed(struct probe *probe, const struct race *race)
{
	const struct attempt *attempt = probe_most_telling(race, nfs_failure_rank);
	struct mount_result *result = probe->result;

	probe_note_attempt(result, attempt);
	if (!attempt->connected)
		result->stage = MOUNT_STAGE_CONNECT;
	memcpy(result->peer_bytes, attempt->peer_bytes, attempt->n_peer_bytes);
	result->n_peer_bytes = attempt->n_peer_bytes;
	if (attempt->status == -ETIMEDOUT)
		return probe_timed_out(probe, nfs_failure(attempt));
	return nfs_failure(attempt);
}

static enum mount_failure ask_nfs(struct probe *probe)
{
	const struct attempt *attempt;
	enum mount_failure failure = MOUNT_OK;
	struct rpc_request null;
	struct race race;

	request_begin(&null, NULL, NFS_PROGRAM, NFS_VERSION, PROC_NULL);
	request_end(&null);
	probe_race_begin(probe->query, &race, probe->until_ns);
	race.cancel_fd = probe->query->cancel_fd;
	nfs_race_fill(probe, &race, &null);
	attempt = race_run(&race) ?: refused_credential(&race);
	if (race.first_connected_ns)
		probe_enter_at(probe, MOUNT_STAGE_NULL, race.first_connected_ns);
	if (attempt)
		probe_addr_to_front_by_host(probe->result, &attempt->addr);
	else
		failure = nfs_race_failed(probe, &race);
	race_deinit(&race);
	return failure;
}

/* TCP was refused, and nobody has asked for it: by UDP, if that is registered. What was refused is told if this
 * is in vain. */
static enum mount_failure ask_nfs_by_udp(struct probe *probe, enum mount_failure refusal)
{
	struct mount_result *result = probe->result, before = *result;
	uint16_t port = 0;

	probe->until_ns = min_i64(clock_ns() + min_i64(RETRY_NS, probe->stage_ns), probe->deadline_ns);
	if (ask_nfs_port(probe, MOUNT_UDP, probe->until_ns, &port) || !port)
		return refusal;
	set_nfs_service(result, MOUNT_UDP, probe->query->nfs_port ? probe->query->nfs_port : port);
	if (!ask_nfs(probe))
		return MOUNT_OK;
	*result = before;
	return refusal;
}

static enum mount_failure probe_nfs(struct probe *probe)
{
	enum mount_failure failure;

	probe_enter(probe, MOUNT_STAGE_CONNECT);
	find_nfs_service(probe);
	failure = ask_nfs(probe);
	if (failure == MOUNT_CONN_REFUSED && probe->query->nfs_transport == MOUNT_DISCOVER &&
	    probe->result->nfs_transport == MOUNT_TCP)
		failure = ask_nfs_by_udp(probe, failure);
	probe->n_candidates = 1;
	return failure;
}

/* ---- the proof --------------------------------------------------------------------------- */

static void proof_encode(struct rpc_request *request, const struct call *call)
{
	call_init(&request->call);
	request->args_len = 0;
	memcpy(request->bytes, call->head, call->head_len);
	request->call.head = request->bytes;
	request->call.head_size = sizeof(request->bytes);
	request->call.head_len = call->head_len;
	request->call.xid = call->xid;
	request_end(request);
}

static enum mount_failure judge(struct probe *probe, const struct attempt *answer)
{
	const struct mount_proof *proof = probe->query->proof;

	switch (proof->judge(proof, answer->results, answer->results_len)) {
	case MOUNT_IS_IT:
		return MOUNT_OK;
	case MOUNT_IS_ANOTHER:
		return MOUNT_OTHER_SERVER;
	case MOUNT_CANNOT_TELL:
		break;
	}
	return MOUNT_NFS_TIMEOUT;
}

static enum mount_failure probe_prove(struct probe *probe)
{
	enum mount_failure failure;
	struct rpc_request request;
	const struct attempt *answer;
	struct race race;

	probe_enter(probe, MOUNT_STAGE_MOUNTD);
	proof_encode(&request, probe->query->proof->call);
	probe_race_begin(probe->query, &race, probe->until_ns);
	race.cancel_fd = probe->query->cancel_fd;
	race.resvport = probe->query->resvport;
	race_add(&race, &probe->result->addrs[0], probe->result->addrs[0].udp, &request, clock_ns());
	answer = race_run(&race);
	failure = answer ? judge(probe, answer) : nfs_race_failed(probe, &race);
	race_deinit(&race);
	return failure;
}

/* ---- all together ------------------------------------------------------------------------ */

static bool is_cancelled(const struct mount_query *query)
{
	struct pollfd cancel = { .fd = query->cancel_fd, .events = POLLIN };

	return query->cancel_fd > 0 && poll(&cancel, 1, 0) > 0;
}

static int probe_finish(struct probe *probe, enum mount_failure failure)
{
	if (failure && is_cancelled(probe->query))
		failure = MOUNT_CANCELLED;
	probe->result->failure = failure;
	if (failure)
		return -EIO;
	probe_enter(probe, MOUNT_STAGE_DONE);
	return 0;
}

static enum mount_failure probe_mount(struct probe *probe)
{
	enum mount_failure failure = probe_rpcbind(probe);

	if (!failure)
		failure = probe_mnt(probe);
	if (failure == MOUNT_ACCESS_DENIED || failure == MOUNT_EXPORT_NOT_FOUND)
		failure = probe_explain_refusal(probe, failure);
	return failure;
}

int mount_query_run(const struct mount_query *query, struct mount_result *ret_result)
{
	enum mount_failure failure;
	struct probe probe;

	probe_init(&probe, query, ret_result);
	failure = probe_resolve(&probe);
	if (!failure && !query->proof)
		failure = probe_mountd_find(&probe);
	if (!failure)
		failure = probe_nfs(&probe);
	if (!failure)
		failure = query->proof ? probe_prove(&probe) : probe_mount(&probe);
	return probe_finish(&probe, failure);
}

int mount_exports(const struct mount_query *query, struct mount_result *ret_result)
{
	enum mount_failure failure;
	struct probe probe;
	bool covered;

	probe_init(&probe, query, ret_result);
	failure = probe_resolve(&probe);
	if (!failure)
		failure = probe_mountd_find(&probe);
	if (!failure)
		failure = probe_rpcbind(&probe);
	if (!failure) {
		probe_enter(&probe, MOUNT_STAGE_MOUNTD);
		failure = probe_exports(&probe, &covered);
	}
	return probe_finish(&probe, failure);
}
