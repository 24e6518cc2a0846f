/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor_server - the server as a mount would meet it: every address of it at once, each in a thread of its own, and
 * then, line by line, what the one that got furthest has said. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "../../conn/util.h"
#include "../nfs3.h"
#include "../nlm4.h"
#include "doctor.h"

enum { NO_VERSION = 0x7fffffff, MOUNT_PROGRAM = 100005 };
static const int64_t SLOW_NAME_NS = 1 * NS_PER_S;

static int64_t stage_end_ns(const struct doctor *doctor)
{
	return min_i64(clock_ns() + doctor->options.stage_ns, doctor->deadline_ns);
}

static void fail(struct doctor *doctor, const char *check, const struct mount_query *query,
		 const struct mount_result *result)
{
	struct message message;

	message_from_mount_result(&doctor->options, query, result, &message);
	findings_message(&doctor->findings, FINDING_FAIL, check, &message);
}

/* ---- the name ---------------------------------------------------------------------------- */

static void add_address(struct doctor *doctor, const struct pool_addr *addr)
{
	struct doctor_address *address = &doctor->addresses[doctor->n_addresses];

	for (unsigned int i = 0; i < doctor->n_addresses; i++)
		if (addr_same_host(&doctor->addresses[i].addr.sa, &addr->sa))
			return;
	if (doctor->n_addresses == POOL_MAX_ADDRS)
		return;
	*address = (struct doctor_address){ .addr = *addr };
	addr_text(&addr->sa, address->text);
	doctor->n_addresses++;
}

static void name_failed(struct doctor *doctor, int error)
{
	struct mount_result result = { .failure = MOUNT_DNS_FAILED, .gai_error = error, .error = errno };

	if (error == -ETIMEDOUT)
		result.failure = MOUNT_DNS_TIMEOUT;
	fail(doctor, "name", &doctor->query, &result);
}

static void name_found(struct doctor *doctor, const struct pool_addr addrs[], unsigned int n, int64_t took_ns)
{
	char list[POOL_MAX_ADDRS * (ADDR_TEXT_MAX + 2)] = "", text[ADDR_TEXT_MAX];
	bool literal = n == 1 && !strcmp(addr_text(&addrs[0].sa, text), doctor->query.host);
	bool slow = took_ns > SLOW_NAME_NS;
	size_t used = 0;

	if (literal) {
		findings_add(&doctor->findings, FINDING_OK, "name", NULL, "%s is an address", text);
		return;
	}
	for (unsigned int i = 0; i < n; i++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
					 addr_text(&addrs[i].sa, text));
	findings_add(&doctor->findings, slow ? FINDING_WARN : FINDING_OK, "name",
		     slow ? "try: a name server that answers, in /etc/resolv.conf; or /etc/hosts" : NULL,
		     "%s is %s (%.*f ms%s)", doctor->query.host, list, took_ns < NS_PER_MS * 10 ? 1 : 0,
		     (double)took_ns / 1e6, slow ? ": slow" : "");
}

static void check_name(struct doctor *doctor)
{
	const char *host = doctor->query.address ?: doctor->query.host;
	struct pool_addr addrs[POOL_MAX_ADDRS];
	int64_t began_ns = clock_ns();
	unsigned int n = 0;
	int error = mount_resolve(host, doctor->query.family, 0, stage_end_ns(doctor), 0, addrs, &n);

	if (error)
		name_failed(doctor, error);
	else
		name_found(doctor, addrs, n, clock_ns() - began_ns);
	for (unsigned int i = 0; !error && i < n && (i == 0 || doctor->options.dns == DNS_ALL); i++)
		add_address(doctor, &addrs[i]);
	for (unsigned int i = 0; i < doctor->options.n_addrs; i++)
		add_address(doctor, &doctor->options.addrs[i]);
}

/* ---- each address ------------------------------------------------------------------------ */

static bool nfs_answers(const struct mount_result *result)
{
	return result->failure == MOUNT_OK || result->stage > MOUNT_STAGE_NULL;
}

static void *ask(void *argument)
{
	struct doctor_address *address = argument;
	int64_t until_ns = min_i64(clock_ns() + DOCTOR_QUERY_NS, address->query.deadline_ns);

	address->query.deadline_ns = until_ns;
	mount_query_run(&address->query, &address->result);
	if (nfs_answers(&address->result))
		mount_null(&address->query, &address->result.addrs[0], NFS3_PROGRAM, NO_VERSION,
			   clock_ns() + address->query.stage_ns, &address->versions);
	return NULL;
}

/* Nearer to a mount. */
static bool is_further(const struct mount_result *a, const struct mount_result *b)
{
	if (!a->failure != !b->failure)
		return !a->failure;
	return a->stage > b->stage;
}

static void ask_all(struct doctor *doctor)
{
	pthread_t threads[POOL_MAX_ADDRS];
	bool started[POOL_MAX_ADDRS];

	for (unsigned int i = 0; i < doctor->n_addresses; i++) {
		struct doctor_address *address = &doctor->addresses[i];

		address->query = doctor->query;
		address->query.address = address->text;
		address->query.family = address->addr.sa.ss_family;
		address->query.deadline_ns = doctor->deadline_ns;
		started[i] = !pthread_create(&threads[i], NULL, ask, address);
		if (!started[i])
			ask(address);
	}
	for (unsigned int i = 0; i < doctor->n_addresses; i++) {
		if (started[i])
			pthread_join(threads[i], NULL);
		if (!doctor->best || is_further(&doctor->addresses[i].result, &doctor->best->result))
			doctor->best = &doctor->addresses[i];
	}
}

/* ---- ports ------------------------------------------------------------------------------- */

static int program_port(struct doctor *doctor, uint32_t prog, uint32_t vers, uint16_t *ret_port)
{
	return mount_program_port(&doctor->query, &doctor->best->addr, prog, vers, stage_end_ns(doctor), ret_port);
}

static void rpcbind_failed(struct doctor *doctor, int error)
{
	bool needed = !doctor->query.mount_port && !mount_is_elsewhere(&doctor->query);
	char remedy[128];

	snprintf(remedy, sizeof(remedy), "try: -o port=%u,mountport=20048",
		 doctor->query.nfs_port ? doctor->query.nfs_port : 2049);
	findings_add(&doctor->findings, needed ? FINDING_FAIL : FINDING_WARN, "rpcbind", remedy,
		     "port %u of %s: %s; it tells which ports the services have", doctor->query.rpcbind_port ?: 111,
		     doctor->best->text, error == -ETIMEDOUT ? "no answer" : strerrordesc_np(-error));
}

static void check_rpcbind(struct doctor *doctor)
{
	static const struct {
		const char *name;
		uint32_t prog, vers;
	} programs[] = { { "NFS", NFS3_PROGRAM, 3 },
			 { "mount service", MOUNT_PROGRAM, 3 },
			 { "lock manager", NLM4_PROGRAM, NLM4_VERSION } };
	char list[256] = "";
	size_t used = 0;

	if (doctor->query.nfs_port && doctor->query.mount_port) {
		findings_add(&doctor->findings, FINDING_OK, "rpcbind", NULL, "not needed: both ports are given");
		return;
	}
	if (!doctor->query.nfs_port && !doctor->best->result.rpcbind_answered) {
		rpcbind_failed(doctor, doctor->best->result.error ? -doctor->best->result.error : -ETIMEDOUT);
		return; /* it was asked for the NFS port, in vain */
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(programs); i++) {
		uint16_t port = 0;
		int error = program_port(doctor, programs[i].prog, programs[i].vers, &port);

		if (error) {
			rpcbind_failed(doctor, error);
			return;
		}
		if (port)
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s %u", used ? ", " : "",
						 programs[i].name, port);
	}
	findings_add(&doctor->findings, FINDING_OK, "rpcbind", NULL, "answers: %s",
		     list[0] ? list : "it knows no NFS over TCP");
}

static void check_nfs(struct doctor *doctor)
{
	const struct mount_result *result = &doctor->best->result;
	const struct mount_null *versions = &doctor->best->versions;
	char list[64] = "NFSv3";
	size_t used = 0;

	if (!nfs_answers(result)) {
		fail(doctor, "nfs", &doctor->best->query, result);
		return;
	}
	for (uint32_t vers = versions->vers_low; vers && vers <= versions->vers_high && vers < 10; vers++)
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%sNFSv%u", used ? ", " : "", vers);
	findings_add(&doctor->findings, FINDING_OK, "nfs", NULL, "port %u%s: %s", result->nfs_port,
		     result->nfs_transport == MOUNT_UDP ? " (UDP)" : "", list);
}

static bool is_about_mountd(enum mount_failure failure)
{
	return failure == MOUNT_MOUNTD_MISSING || failure == MOUNT_MOUNTD_REFUSED ||
	       failure == MOUNT_MOUNTD_TIMEOUT || failure == MOUNT_MOUNTD_BAD_REPLY || failure == MOUNT_DEADLINE;
}

/* False: nothing can be asked of it. */
static bool check_mountd(struct doctor *doctor)
{
	const struct mount_result *result = &doctor->best->result;

	if (result->failure == MOUNT_RPCBIND_REFUSED && !mount_is_elsewhere(&doctor->query))
		return false; /* has been said */
	if (is_about_mountd(result->failure) || !result->mount_port) {
		fail(doctor, "mountd", &doctor->best->query, result);
		return false;
	}
	findings_add(&doctor->findings, FINDING_OK, "mountd", NULL, "port %u (%s) answers", result->mount_port,
		     result->mount_transport == MOUNT_UDP ? "UDP" : "TCP");
	return true;
}

/* ---- permission -------------------------------------------------------------------------- */

static void check_access(struct doctor *doctor)
{
	const struct mount_result *result = &doctor->best->result;

	if (result->failure)
		fail(doctor, "access", &doctor->best->query, result);
	else
		findings_add(&doctor->findings, FINDING_OK, "access", NULL, "this host may mount '%s'",
			     doctor->query.path);
}

/* ---- the other addresses ----------------------------------------------------------------- */

static bool is_same_root(const struct mount_result *a, const struct mount_result *b)
{
	return a->fh_len == b->fh_len && !memcmp(a->fh, b->fh, a->fh_len);
}

static void check_address(struct doctor *doctor, struct doctor_address *address)
{
	static const char remedy[] = "try: an own name for each server, or -o dns=first";
	const struct mount_result *result = &address->result;
	bool proves = !mount_is_elsewhere(&doctor->query);
	struct message message;

	if (result->failure) {
		message_from_mount_result(&doctor->options, &address->query, result, &message);
		findings_add(&doctor->findings, FINDING_WARN, "address", "try: take it out of the name",
			     "%s is not used: %s", address->text, message.reason);
	} else if (proves && !is_same_root(result, &doctor->best->result)) {
		findings_add(&doctor->findings, FINDING_WARN, "address", remedy,
			     "%s is not the same server as %s (another root handle): it is not used", address->text,
			     doctor->best->text);
	} else {
		findings_add(&doctor->findings, FINDING_OK, "address", NULL, "%s: %s, answers in %.2f ms", address->text,
			     proves ? "the same root handle" : "NFS", (double)address->versions.took_ns / 1e6);
	}
}

static void check_locks(struct doctor *doctor)
{
	static const char remedy[] = "try: -o nolock keeps them on each host; or start it on the server";
	struct pool_addr lock_manager = doctor->best->addr;
	struct sockaddr_in *sa = (struct sockaddr_in *)(void *)&lock_manager.sa; /* same place in both families */
	struct mount_null null = { 0 };
	uint16_t port = 0;
	int error;

	if (!doctor->options.nlm_posix && !doctor->options.nlm_flock)
		return;
	error = program_port(doctor, NLM4_PROGRAM, NLM4_VERSION, &port);
	if (!error && port) {
		lock_manager.udp = false;
		sa->sin_port = htons(port);
		mount_null(&doctor->query, &lock_manager, NLM4_PROGRAM, NLM4_VERSION, stage_end_ns(doctor), &null);
	}
	if (null.replied)
		findings_add(&doctor->findings, FINDING_OK, "locks", NULL, "lock manager (NLM 4) at port %u", port);
	else if (!error && port)
		findings_add(&doctor->findings, FINDING_WARN, "locks", remedy,
			     "the lock manager at port %u: %s: locks fail with ENOLCK", port,
			     null.error == -ETIMEDOUT ? "no answer" : strerrordesc_np(-null.error));
	else
		findings_add(&doctor->findings, FINDING_WARN, "locks", remedy,
			     error ? "the portmapper does not tell where the lock manager is: locks fail with ENOLCK" :
				     "the server has no lock manager (NLM 4): locks fail with ENOLCK");
}

void doctor_server(struct doctor *doctor)
{
	check_name(doctor);
	if (!doctor->n_addresses)
		return;
	ask_all(doctor);
	check_rpcbind(doctor);
	check_nfs(doctor);
	if (nfs_answers(&doctor->best->result) && check_mountd(doctor) && !doctor_exports(doctor))
		check_access(doctor);
	if (!doctor->best->result.failure) {
		doctor_session(doctor);
		check_locks(doctor);
	}
	for (unsigned int i = 0; i < doctor->n_addresses && doctor->n_addresses > 1; i++)
		if (&doctor->addresses[i] != doctor->best || !doctor->best->result.failure)
			check_address(doctor, &doctor->addresses[i]);
	for (unsigned int i = 0; i < doctor->n_addresses; i++)
		mount_result_deinit(&doctor->addresses[i].result);
}
