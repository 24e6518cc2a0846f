/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe - the stages of mount.h, one function each. A stage returns MOUNT_OK or says why not; what
 * it found is in the result. Who is asked: all addresses until one of them has answered, then that
 * one alone, which has become addrs[0]. When several addresses or transports fail, the failure
 * reported is the one that got furthest: it tells most about the server. */
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <string.h>

#include "addr.h"
#include "mount.h"
#include "mount3.h"
#include "rpcbind.h"
#include "rpcwait.h"
#include "util.h"

enum { NFS_PROGRAM = 100003, NFS_VERSION = 3, NFS_PORT = 2049, PROC_NULL = 0 };

#define STAGE_DEFAULT_NS (5 * NS_PER_S)
#define FIND_PORT_NS (2 * NS_PER_S)     /* for the portmapper to name the NFS port */
#define FIRST_ASK_NS (1 * NS_PER_S)     /* for it to name mountd's UDP port, if TCP will do too */
#define NEXT_ADDR_NS (250 * NS_PER_MS)  /* as happy eyeballs does: RFC 8305 section 8 */
#define NEXT_TRANSPORT_NS (500 * NS_PER_MS)
#define REFUSAL_LIST_NS (2 * NS_PER_S)  /* for the export list that explains a refusal */
#define UMNT_NS (1 * NS_PER_S)

struct probe {
	const struct mount_query *query;
	struct mount_result *result;
	int64_t stage_ns, deadline_ns;
	int64_t until_ns;          /* limit of the present stage */
	unsigned int n_candidates; /* addrs[0..n) may be the server; 1 once one has answered */
	uint16_t udp_port, tcp_port; /* mountd's; 0: not by this transport */
};

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

static void probe_init(struct probe *probe, const struct mount_query *query,
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

static void stage_enter_at(struct probe *probe, enum mount_stage stage, int64_t now)
{
	probe->result->stage = stage;
	probe->result->stage_started_ns[stage] = now;
	probe->until_ns = min_i64(now + probe->stage_ns, probe->deadline_ns);
}

static void stage_enter(struct probe *probe, enum mount_stage stage)
{
	stage_enter_at(probe, stage, clock_ns());
}

/* Silence is the stage's failure, unless it was the limit of all stages that ended it. */
static enum mount_failure timed_out(const struct probe *probe, enum mount_failure failure)
{
	return clock_ns() >= probe->deadline_ns ? MOUNT_DEADLINE : failure;
}

/* Address i becomes addrs[0]; the others keep their order. */
static void addr_to_front(struct mount_result *result, unsigned int i)
{
	struct pool_addr addr = result->addrs[i];

	memmove(&result->addrs[1], &result->addrs[0], i * sizeof(addr));
	result->addrs[0] = addr;
}

static void addr_to_front_by_host(struct mount_result *result, const struct pool_addr *addr)
{
	for (unsigned int i = 0; i < result->n_addrs; i++)
		if (sockaddr_same_host(&result->addrs[i].sa, &addr->sa)) {
			addr_to_front(result, i);
			return;
		}
}

static void set_nfs_port(struct mount_result *result, uint16_t port)
{
	result->nfs_port = port;
	for (unsigned int i = 0; i < result->n_addrs; i++)
		sockaddr_set_port(&result->addrs[i].sa, port);
}

/* The facts of an attempt, failed or not, that a message may want. */
static void note_attempt(struct mount_result *result, const struct attempt *attempt)
{
	result->error = attempt->status < 0 ? -attempt->status : 0;
	result->vers_low = attempt->reply.vers_low;
	result->vers_high = attempt->reply.vers_high;
	addr_to_front_by_host(result, &attempt->addr);
}

static void race_begin(const struct mount_query *query, struct race *race, int64_t until_ns)
{
	race_init(race, until_ns);
	race->locals = query->locals;
	race->n_locals = query->n_locals;
}

/* ---- resolve ----------------------------------------------------------------------------- */

static enum mount_failure probe_resolve(struct probe *probe)
{
	const struct mount_query *query = probe->query;
	struct mount_result *result = probe->result;
	int error;

	stage_enter(probe, MOUNT_STAGE_RESOLVE);
	error = mount_resolve(query->host, query->family, query->nfs_port, probe->until_ns,
			      query->cancel_fd, result->addrs, &result->n_addrs);
	if (error == -ECANCELED)
		return MOUNT_CANCELLED;
	if (error == -ETIMEDOUT)
		return timed_out(probe, MOUNT_DNS_TIMEOUT);
	if (error == EAI_MEMORY)
		return MOUNT_NO_MEMORY;
	result->gai_error = error;
	result->nfs_port = query->nfs_port;
	probe->n_candidates = result->n_addrs;
	return error ? MOUNT_DNS_FAILED : MOUNT_OK;
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

static int ask_port(struct probe *probe, uint32_t prog, int protocol, int64_t until_ns,
		    uint16_t *ret_port, unsigned int *ret_index)
{
	struct rpcbind_query ask = port_question(probe->query, probe->result->addrs,
						 probe->n_candidates, prog, 3 /* NFS and MOUNT */,
						 protocol, until_ns);
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

/* nfs(5): the port the portmapper names, 2049 if it names none. It gets less than half of the
 * stage, for many firewalls let only 2049 through. */
static uint16_t find_nfs_port(struct probe *probe)
{
	int64_t limit = min_i64(FIND_PORT_NS, probe->stage_ns * 2 / 5);
	int64_t until = min_i64(clock_ns() + limit, probe->until_ns);
	unsigned int index;
	uint16_t port = 0;

	if (ask_port(probe, NFS_PROGRAM, IPPROTO_TCP, until, &port, &index))
		return NFS_PORT;
	return port ? port : NFS_PORT;
}

static bool may_use(const struct probe *probe, enum mount_transport transport)
{
	return probe->query->mount_transport == MOUNT_DISCOVER ||
	       probe->query->mount_transport == transport;
}

/* 0 or -errno. */
static int find_mount_port(struct probe *probe, enum mount_transport transport, int64_t until_ns,
			   uint16_t *ret_port)
{
	int protocol = transport == MOUNT_UDP ? IPPROTO_UDP : IPPROTO_TCP;
	unsigned int index = 0;
	int error = ask_port(probe, MOUNT_PROGRAM, protocol, until_ns, ret_port, &index);

	if (error)
		return error;
	addr_to_front(probe->result, index);
	probe->n_candidates = 1;
	return 0;
}

/* 0 or the error of the last question. Silence after the first leaves time for the second, which
 * may go another way: by IPv6, a question about TCP is asked by TCP. */
static int find_mount_ports(struct probe *probe)
{
	int64_t until = probe->until_ns;
	int error = 0;

	if (probe->query->mount_transport == MOUNT_DISCOVER)
		until = min_i64(until, clock_ns() + min_i64(FIRST_ASK_NS, probe->stage_ns / 2));
	if (may_use(probe, MOUNT_UDP))
		error = find_mount_port(probe, MOUNT_UDP, until, &probe->udp_port);
	if (may_use(probe, MOUNT_TCP))
		error = find_mount_port(probe, MOUNT_TCP, probe->until_ns, &probe->tcp_port);
	return error;
}

static enum mount_failure probe_rpcbind(struct probe *probe)
{
	uint16_t port = probe->query->mount_port;
	int error;

	if (port) {
		probe->udp_port = may_use(probe, MOUNT_UDP) ? port : 0;
		probe->tcp_port = may_use(probe, MOUNT_TCP) ? port : 0;
		return MOUNT_OK;
	}
	stage_enter(probe, MOUNT_STAGE_RPCBIND);
	error = find_mount_ports(probe);
	if (probe->udp_port || probe->tcp_port)
		return MOUNT_OK;
	if (!error)
		return MOUNT_MOUNTD_MISSING;
	probe->result->error = -error;
	return error == -ETIMEDOUT ? timed_out(probe, MOUNT_RPCBIND_REFUSED)
				   : MOUNT_RPCBIND_REFUSED;
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
	if (attempt->replied)
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

/* Of the failed attempts, the one to report. */
static const struct attempt *most_telling(const struct race *race,
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
		race_add(race, &probe->result->addrs[i], false, null, start + i * step);
}

static enum mount_failure nfs_race_failed(struct probe *probe, const struct race *race)
{
	const struct attempt *attempt = most_telling(race, nfs_failure_rank);
	struct mount_result *result = probe->result;

	note_attempt(result, attempt);
	if (!attempt->connected)
		result->stage = MOUNT_STAGE_CONNECT;
	memcpy(result->peer_bytes, attempt->peer_bytes, attempt->n_peer_bytes);
	result->n_peer_bytes = attempt->n_peer_bytes;
	if (attempt->status == -ETIMEDOUT)
		return timed_out(probe, nfs_failure(attempt));
	return nfs_failure(attempt);
}

static enum mount_failure probe_nfs(struct probe *probe)
{
	const struct attempt *attempt;
	enum mount_failure failure = MOUNT_OK;
	struct rpc_request null;
	struct race race;

	stage_enter(probe, MOUNT_STAGE_CONNECT);
	if (!probe->query->nfs_port)
		set_nfs_port(probe->result, find_nfs_port(probe));
	request_begin(&null, NULL, NFS_PROGRAM, NFS_VERSION, PROC_NULL);
	request_end(&null);
	race_begin(probe->query, &race, probe->until_ns);
	race.cancel_fd = probe->query->cancel_fd;
	nfs_race_fill(probe, &race, &null);
	attempt = race_run(&race) ?: refused_credential(&race);
	if (race.first_connected_ns)
		stage_enter_at(probe, MOUNT_STAGE_NULL, race.first_connected_ns);
	if (attempt)
		addr_to_front_by_host(probe->result, &attempt->addr);
	else
		failure = nfs_race_failed(probe, &race);
	probe->n_candidates = 1;
	race_deinit(&race);
	return failure;
}

/* ---- mountd ------------------------------------------------------------------------------ */

static enum mount_failure mountd_failure(const struct attempt *attempt)
{
	if (attempt->replied && attempt->status == -EACCES)
		return MOUNT_ACCESS_DENIED;
	if (attempt->replied && attempt->status == -EPROTONOSUPPORT)
		return MOUNT_MOUNTD_MISSING;
	if (attempt->status == -ETIMEDOUT)
		return MOUNT_MOUNTD_TIMEOUT;
	if (attempt->status == -ENOMEM)
		return MOUNT_NO_MEMORY;
	if (attempt->replied || attempt->connected || attempt->status == -EBADMSG)
		return MOUNT_MOUNTD_BAD_REPLY;
	return MOUNT_MOUNTD_REFUSED;
}

/* Small: tells more. A refusal tells more than packets lost by UDP, not more than a connection on
 * which nothing was said. */
static unsigned int mountd_failure_rank(const struct attempt *attempt)
{
	if (attempt->replied)
		return 0;
	if (attempt->connected || attempt->status == -EBADMSG)
		return 1;
	return attempt->status == -ETIMEDOUT ? 3 : 2;
}

static void mountd_race_add(struct probe *probe, struct race *race, enum mount_transport transport,
			    const struct rpc_request *request, int64_t start_ns)
{
	bool udp = transport == MOUNT_UDP;
	uint16_t port = udp ? probe->udp_port : probe->tcp_port;

	for (unsigned int i = 0; i < probe->n_candidates && port; i++) {
		struct pool_addr addr = probe->result->addrs[i];

		sockaddr_set_port(&addr.sa, port);
		race_add(race, &addr, udp, request, start_ns + i * NEXT_ADDR_NS);
	}
}

static void note_mountd(struct mount_result *result, const struct attempt *attempt)
{
	note_attempt(result, attempt);
	result->mount_port = sockaddr_port(&attempt->addr.sa);
	result->mount_source_port = attempt->source_port;
	result->mount_transport = attempt->udp ? MOUNT_UDP : MOUNT_TCP;
}

/* Ask mountd; `first` says which transport has a start. *ret_winner lives as long as the race, and
 * the race is the caller's to end in any case. */
static enum mount_failure mountd_call(struct probe *probe, struct race *race,
				      enum mount_transport first,
				      const struct rpc_request *request,
				      const struct attempt **ret_winner)
{
	enum mount_transport second = first == MOUNT_UDP ? MOUNT_TCP : MOUNT_UDP;
	int64_t start = clock_ns();
	const struct attempt *winner, *loser;

	mountd_race_add(probe, race, first, request, start);
	mountd_race_add(probe, race, second, request, start + NEXT_TRANSPORT_NS);
	winner = race_run(race);
	if (winner) {
		note_mountd(probe->result, winner);
		*ret_winner = winner;
		return MOUNT_OK;
	}
	loser = most_telling(race, mountd_failure_rank);
	note_mountd(probe->result, loser);
	if (loser->status == -ETIMEDOUT)
		return timed_out(probe, MOUNT_MOUNTD_TIMEOUT);
	return mountd_failure(loser);
}

static enum mount_failure mountstat_failure(uint32_t status)
{
	switch (status) {
	case MNT3_OK:
		return MOUNT_OK;
	case MNT3ERR_PERM:
	case MNT3ERR_ACCES:
		return MOUNT_ACCESS_DENIED;
	case MNT3ERR_NOENT:
		return MOUNT_EXPORT_NOT_FOUND;
	case MNT3ERR_NOTDIR:
		return MOUNT_NOT_DIRECTORY;
	default:
		return MOUNT_MOUNTD_ERROR;
	}
}

static enum mount_failure take_mnt(struct mount_result *result, const struct attempt *winner)
{
	struct mount3_mnt mnt;

	if (mount3_mnt_decode(winner->results, winner->results_len, &mnt)) {
		result->error = EBADMSG;
		return MOUNT_MOUNTD_BAD_REPLY;
	}
	result->mountstat = mnt.status;
	if (mnt.status != MNT3_OK)
		return mountstat_failure(mnt.status);
	result->fh_len = mnt.fh_len;
	memcpy(result->fh, mnt.fh, mnt.fh_len);
	result->n_flavors = mnt.n_flavors;
	memcpy(result->flavors, mnt.flavors, sizeof(mnt.flavors));
	return mount3_accepts_sys(mnt.flavors, mnt.n_flavors) ? MOUNT_OK : MOUNT_AUTH_FLAVOR;
}

static enum mount_failure probe_mnt(struct probe *probe)
{
	const struct mount_query *query = probe->query;
	const struct attempt *winner;
	enum mount_failure failure;
	struct rpc_request request;
	struct race race;

	stage_enter(probe, MOUNT_STAGE_MOUNTD);
	if (strlen(query->path) > MOUNT3_PATH_MAX) {
		probe->result->mountstat = MNT3ERR_NAMETOOLONG;
		return MOUNT_MOUNTD_ERROR;
	}
	mount3_mnt_encode(&request, query->mount_vers, query->path);
	race_begin(probe->query, &race, probe->until_ns);
	race.cancel_fd = probe->query->cancel_fd;
	race.resvport = query->resvport;
	failure = mountd_call(probe, &race, MOUNT_UDP, &request, &winner);
	if (!failure)
		failure = take_mnt(probe->result, winner);
	race_deinit(&race);
	return failure;
}

static enum mount_failure take_exports(struct mount_result *result, const struct attempt *winner,
				       const char *path, bool *ret_covered)
{
	struct mount3_exports exports;
	int error = mount3_export_decode(winner->results, winner->results_len, path, &exports);

	if (error) {
		result->error = -error;
		return error == -ENOMEM ? MOUNT_NO_MEMORY : MOUNT_MOUNTD_BAD_REPLY;
	}
	result->exports = exports.list;
	result->n_exports = exports.n;
	result->exports_truncated = exports.truncated;
	*ret_covered = exports.covered;
	return MOUNT_OK;
}

/* The EXPORT list; by TCP if possible, for it may be longer than a datagram. */
static enum mount_failure probe_exports(struct probe *probe, bool *ret_covered)
{
	const struct attempt *winner;
	enum mount_failure failure;
	struct rpc_request request;
	struct race race;

	mount3_export_encode(&request, probe->query->mount_vers);
	race_begin(probe->query, &race, probe->until_ns);
	race.cancel_fd = probe->query->cancel_fd;
	failure = mountd_call(probe, &race, MOUNT_TCP, &request, &winner);
	if (!failure)
		failure = take_exports(probe->result, winner, probe->query->path, ret_covered);
	race_deinit(&race);
	return failure;
}

/* NFS-Ganesha says ACCES also for what it does not export: the list tells these apart. What is
 * known about the refusal itself stays as it is, whatever becomes of the list. */
static enum mount_failure explain_refusal(struct probe *probe, enum mount_failure refusal)
{
	struct mount_result *result = probe->result, before = *result;
	enum mount_failure failure;
	bool covered = false;

	probe->until_ns = min_i64(clock_ns() + min_i64(REFUSAL_LIST_NS, probe->stage_ns),
				  probe->deadline_ns);
	failure = probe_exports(probe, &covered);
	before.exports = result->exports;
	before.n_exports = result->n_exports;
	before.exports_truncated = result->exports_truncated;
	*result = before;
	if (!failure && !covered && result->mountstat)
		return MOUNT_EXPORT_NOT_FOUND;
	return refusal;
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
	stage_enter(probe, MOUNT_STAGE_DONE);
	return 0;
}

int mount_query_run(const struct mount_query *query, struct mount_result *ret_result)
{
	enum mount_failure failure;
	struct probe probe;

	probe_init(&probe, query, ret_result);
	failure = probe_resolve(&probe);
	if (!failure)
		failure = probe_nfs(&probe);
	if (!failure)
		failure = probe_rpcbind(&probe);
	if (!failure)
		failure = probe_mnt(&probe);
	if (failure == MOUNT_ACCESS_DENIED || failure == MOUNT_EXPORT_NOT_FOUND)
		failure = explain_refusal(&probe, failure);
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
		failure = probe_rpcbind(&probe);
	if (!failure) {
		stage_enter(&probe, MOUNT_STAGE_MOUNTD);
		failure = probe_exports(&probe, &covered);
	}
	return probe_finish(&probe, failure);
}

void mount_umnt(const struct mount_query *query, const struct mount_result *result)
{
	struct pool_addr addr = result->addrs[0];
	struct rpc_request request;
	struct race race;

	if (!result->n_addrs || !result->mount_port || strlen(query->path) > MOUNT3_PATH_MAX)
		return;
	mount3_umnt_encode(&request, query->mount_vers, query->path);
	sockaddr_set_port(&addr.sa, result->mount_port);
	race_begin(query, &race, clock_ns() + UMNT_NS);
	race.no_reply = true;
	race_add(&race, &addr, result->mount_transport == MOUNT_UDP, &request, 0);
	race_run(&race);
	race_deinit(&race);
}
