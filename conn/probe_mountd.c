/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_mountd - the stages of mountd (RFC 1813 appendix I): which ports it has, MNT, EXPORT, UMNT.
 * See probe.h. */
#include "probe.h"

#include <errno.h>
#include <string.h>

#include "addr.h"
#include "mount3.h"
#include "util.h"

#define FIRST_ASK_NS (1 * NS_PER_S)     /* to name mountd's UDP port, if TCP will do too */
#define NEXT_ADDR_NS (250 * NS_PER_MS)  /* as happy eyeballs does: RFC 8305 section 8 */
#define NEXT_TRANSPORT_NS (500 * NS_PER_MS)
#define REFUSAL_LIST_NS (2 * NS_PER_S)  /* for the export list that explains a refusal */
#define UMNT_NS (1 * NS_PER_S)

/* ---- where it is ------------------------------------------------------------------------- */

bool mount_is_elsewhere(const struct mount_query *query)
{
	return query->mount_host || (query->mount_family != AF_UNSPEC && query->mount_family != query->family);
}

enum mount_failure probe_mountd_find(struct probe *probe)
{
	const struct mount_query *query = probe->query;
	const char *host = query->mount_host ?: query->address ?: query->host;
	enum mount_failure failure;

	if (!mount_is_elsewhere(query))
		return MOUNT_OK;
	failure = probe_resolve_host(probe, host, query->mount_family, 0, probe->mountds, &probe->n_mountds);
	probe->result->about_mountd = failure != MOUNT_OK;
	return failure;
}

/* Unless that is elsewhere: where NFS has answered, or else wherever the server may be. */
static void fill_mountds(struct probe *probe)
{
	if (mount_is_elsewhere(probe->query))
		return;
	memcpy(probe->mountds, probe->result->addrs, sizeof(probe->mountds));
	probe->n_mountds = probe->n_candidates;
}

static void it_is_this(struct probe *probe, unsigned int i)
{
	struct pool_addr addr = probe->mountds[i];

	probe->mountds[0] = addr;
	probe->n_mountds = 1;
	probe_addr_to_front_by_host(probe->result, &addr);
	probe->n_candidates = 1;
}

/* ---- ports ------------------------------------------------------------------------------- */

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
	int error = probe_ask_port(probe, probe->mountds, probe->n_mountds, MOUNT_PROGRAM, protocol, until_ns,
				   ret_port, &index);

	if (!error)
		it_is_this(probe, index);
	return error;
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

enum mount_failure probe_rpcbind(struct probe *probe)
{
	uint16_t port = probe->query->mount_port;
	int error;

	fill_mountds(probe);
	if (port) {
		probe->udp_port = may_use(probe, MOUNT_UDP) ? port : 0;
		probe->tcp_port = may_use(probe, MOUNT_TCP) ? port : 0;
		return MOUNT_OK;
	}
	probe_enter(probe, MOUNT_STAGE_RPCBIND);
	probe->result->mountd = probe->mountds[0];
	error = find_mount_ports(probe);
	if (probe->udp_port || probe->tcp_port)
		return MOUNT_OK;
	if (!error)
		return MOUNT_MOUNTD_MISSING;
	probe->result->error = -error;
	return error == -ETIMEDOUT ? probe_timed_out(probe, MOUNT_RPCBIND_REFUSED)
				   : MOUNT_RPCBIND_REFUSED;
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

	for (unsigned int i = 0; i < probe->n_mountds && port; i++) {
		struct pool_addr addr = probe->mountds[i];

		sockaddr_set_port(&addr.sa, port);
		race_add(race, &addr, udp, request, start_ns + i * NEXT_ADDR_NS);
	}
}

static void note_mountd(struct mount_result *result, const struct attempt *attempt)
{
	probe_note_attempt(result, attempt);
	result->mountd = attempt->addr;
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
		probe->mountds[0] = winner->addr;
		probe->n_mountds = 1;
		*ret_winner = winner;
		return MOUNT_OK;
	}
	loser = probe_most_telling(race, mountd_failure_rank);
	note_mountd(probe->result, loser);
	if (loser->status == -ETIMEDOUT)
		return probe_timed_out(probe, MOUNT_MOUNTD_TIMEOUT);
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

enum mount_failure probe_mnt(struct probe *probe)
{
	const struct mount_query *query = probe->query;
	const struct attempt *winner;
	enum mount_failure failure;
	struct rpc_request request;
	struct race race;

	probe_enter(probe, MOUNT_STAGE_MOUNTD);
	if (strlen(query->path) > MOUNT3_PATH_MAX) {
		probe->result->mountstat = MNT3ERR_NAMETOOLONG;
		return MOUNT_MOUNTD_ERROR;
	}
	mount3_mnt_encode(&request, query->mount_vers, query->path);
	probe_race_begin(probe->query, &race, probe->until_ns);
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
enum mount_failure probe_exports(struct probe *probe, bool *ret_covered)
{
	const struct attempt *winner;
	enum mount_failure failure;
	struct rpc_request request;
	struct race race;

	mount3_export_encode(&request, probe->query->mount_vers);
	probe_race_begin(probe->query, &race, probe->until_ns);
	race.cancel_fd = probe->query->cancel_fd;
	failure = mountd_call(probe, &race, MOUNT_TCP, &request, &winner);
	if (!failure)
		failure = take_exports(probe->result, winner, probe->query->path, ret_covered);
	race_deinit(&race);
	return failure;
}

/* NFS-Ganesha says ACCES also for what it does not export: the list tells these apart. What is
 * known about the refusal itself stays as it is, whatever becomes of the list. */
enum mount_failure probe_explain_refusal(struct probe *probe, enum mount_failure refusal)
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

/* ---- UMNT -------------------------------------------------------------------------------- */

void mount_umnt(const struct mount_query *query, const struct mount_result *result)
{
	struct pool_addr addr = result->mountd;
	struct rpc_request request;
	struct race race;

	if (!addr.len || !result->mount_port || strlen(query->path) > MOUNT3_PATH_MAX)
		return;
	mount3_umnt_encode(&request, query->mount_vers, query->path);
	sockaddr_set_port(&addr.sa, result->mount_port);
	probe_race_begin(query, &race, clock_ns() + UMNT_NS);
	race.no_reply = true;
	race_add(&race, &addr, result->mount_transport == MOUNT_UDP, &request, 0);
	race_run(&race);
	race_deinit(&race);
}
