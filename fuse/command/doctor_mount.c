/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor_mount - a mount that is there: what its daemon says of itself, and what surrounds it on this host. Nothing here
 * asks the mount, which may hang. */
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../mountinfo.h"
#include "client.h"
#include "doctor.h"
#include "text.h"

enum { FILES_SPARE = 64, HOST_MAX = 96, PATH_SIZE = 4096 };
static const uint64_t PROGRAM_BYTES = MIB(64); /* of the daemon besides what options bound */

/* ---- the daemon -------------------------------------------------------------------------- */

int doctor_mount_status(struct doctor *doctor)
{
	struct message error;

	doctor->status = client_ask(doctor->target, doctor->ctl, "status", &doctor->pid, &error);
	if (doctor->status)
		return 0;
	findings_message(&doctor->findings, FINDING_FAIL, "daemon", &error);
	return -1;
}

static void check_daemon(struct doctor *doctor)
{
	const char *state = client_text(doctor->status, "state");
	char age[TEXT_SIZE];

	if (!client_is(doctor->status, "live"))
		findings_add(&doctor->findings, FINDING_FAIL, "daemon", "try: fusenfs umount --force, and mount again",
			     "it answers, but %.0f of its %.0f event loops do not",
			     client_number(doctor->status, "loops_busy"), client_number(doctor->status, "loops"));
	else
		findings_add(&doctor->findings, FINDING_OK, "daemon", NULL, "pid %d answers, version %s, up %s",
			     (int)doctor->pid, client_text(doctor->status, "version"),
			     text_age(client_number(doctor->status, "uptime_seconds"), age));
	if (!strcmp(state, "ok"))
		findings_add(&doctor->findings, FINDING_OK, "state", NULL, "ok, the server is %s",
			     client_text(doctor->status, "server.state"));
	else
		findings_add(&doctor->findings, !strcmp(state, "down") ? FINDING_FAIL : FINDING_WARN, "state", NULL,
			     "%s: the server is %s (silent for %.0f s), %.0f requests wait", state,
			     client_text(doctor->status, "server.state"),
			     client_number(doctor->status, "server.silent_seconds"),
			     client_number(doctor->status, "requests.waiting"));
}

/* ---- connections ------------------------------------------------------------------------- */

struct spread {
	char host[HOST_MAX];
	unsigned int n;
};

/* "10.0.0.7:2049" counts for 10.0.0.7. */
static unsigned int count(struct spread spread[], unsigned int n, const char *remote)
{
	const char *colon = strrchr(remote, ':');
	char host[HOST_MAX];
	unsigned int i = 0;

	snprintf(host, sizeof(host), "%.*s", (int)(colon ? colon - remote : (long)strlen(remote)), remote);
	while (i < n && strcmp(spread[i].host, host) != 0)
		i++;
	if (i == n) {
		spread[n] = (struct spread){ .n = 0 };
		strcpy(spread[n++].host, host);
	}
	spread[i].n++;
	return n;
}

static void check_connection(struct doctor *doctor, const json_t *conn)
{
	const char *why = client_text(conn, "detail")[0] ? client_text(conn, "detail") : client_text(conn, "reason");

	if (strcmp(client_text(conn, "state"), "up") != 0)
		findings_add(&doctor->findings, FINDING_WARN, "connection", NULL, "%.0f to %s: %s for %.0f s%s%s",
			     client_number(conn, "id"), client_text(conn, "remote"), client_text(conn, "state"),
			     client_number(conn, "since_seconds"), why[0] ? ": " : "", why);
}

static void tell_spread(struct doctor *doctor, const struct spread spread[], unsigned int n)
{
	unsigned int least = UINT32_MAX, most = 0;
	double wanted = client_number(doctor->status, "connections_wanted");
	double n_addresses = client_number(doctor->status, "server.addresses");
	char list[256] = "";
	size_t used = 0;

	for (unsigned int i = 0; i < n; i++) {
		least = spread[i].n < least ? spread[i].n : least;
		most = spread[i].n > most ? spread[i].n : most;
		if (used < sizeof(list))
			used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%u to %s", i ? ", " : "",
						 spread[i].n, spread[i].host);
	}
	if (most > least + 1)
		findings_add(&doctor->findings, FINDING_WARN, "balance", "try: wait; they return one by one",
			     "connections are not evenly spread: %s", list);
	else if (wanted < n_addresses)
		findings_add(&doctor->findings, FINDING_WARN, "balance", "try: fusenfs set MOUNT nconnect=N",
			     "%.0f connections cannot use %.0f addresses", wanted, n_addresses);
	else
		findings_add(&doctor->findings, FINDING_OK, "balance", NULL, "%.0f of %.0f connections up: %s",
			     client_number(doctor->status, "connections_up"), wanted, list);
}

static void check_connections(struct doctor *doctor)
{
	const json_t *conns = client_value(doctor->status, "connections");
	struct spread spread[POOL_MAX_CONNECTIONS + 1];
	unsigned int n = 0;

	for (size_t i = 0; i < json_array_size(conns) && i < POOL_MAX_CONNECTIONS; i++) {
		const json_t *conn = json_array_get(conns, i);

		check_connection(doctor, conn);
		if (!client_is(conn, "leaving") && client_text(conn, "remote")[0])
			n = count(spread, n, client_text(conn, "remote"));
	}
	if (n)
		tell_spread(doctor, spread, n);
}

/* ---- other mounts ------------------------------------------------------------------------ */

static bool is_kernels(const struct mount_row *row, const char *source)
{
	size_t len = strlen(source);

	while (len > 1 && source[len - 1] == '/' && source[len - 2] != ':')
		len--;
	return (!strcmp(row->type, "nfs") || !strcmp(row->type, "nfs4")) && !strncmp(row->source, source, len) &&
	       (row->source[len] == '\0' || row->source[len] == '/');
}

static void check_others(struct doctor *doctor)
{
	struct mount_table table = { 0 };
	bool found = false;

	if (mount_table_load(&table))
		return;
	for (size_t i = 0; i < table.n; i++) {
		if (!is_kernels(&table.rows[i], doctor->target->source))
			continue;
		found = true;
		findings_add(&doctor->findings, FINDING_WARN, "kernel-nfs", "try: use one of the two",
			     "the kernel's client has it at %s, too: each sees the other's changes late",
			     table.rows[i].point);
	}
	if (!found)
		findings_add(&doctor->findings, FINDING_OK, "kernel-nfs", NULL, "the kernel's client does not mount it");
	mount_table_deinit(&table);
}

/* ---- limits of the daemon ---------------------------------------------------------------- */

static FILE *open_proc(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return fopen(path, "re");
}

/* Of cgroup version 2: "0::/system.slice/x.service". False if there is none. */
static bool find_cgroup(pid_t pid, char path[PATH_SIZE])
{
	FILE *stream = open_proc(pid, "cgroup");
	char line[PATH_SIZE - 64];
	bool found = false;

	while (stream && !found && fgets(line, sizeof(line), stream)) {
		found = !strncmp(line, "0::/", 4);
		line[strcspn(line, "\n")] = '\0';
	}
	if (stream)
		fclose(stream);
	if (found)
		snprintf(path, PATH_SIZE, "/sys/fs/cgroup%s", line + 3);
	return found;
}

/* The least of its own and of those above it; UINT64_MAX: none. */
static uint64_t memory_limit(char path[PATH_SIZE])
{
	static const char root[] = "/sys/fs/cgroup";
	uint64_t least = UINT64_MAX;

	while (strlen(path) > sizeof(root) - 1) {
		size_t len = strlen(path);
		uint64_t limit;
		FILE *stream;

		strncat(path, "/memory.max", PATH_SIZE - len - 1);
		stream = fopen(path, "re");
		path[len] = '\0';
		if (stream && fscanf(stream, "%" SCNu64, &limit) == 1 && limit < least)
			least = limit;
		if (stream)
			fclose(stream);
		*strrchr(path, '/') = '\0';
	}
	return least;
}

static void check_memory(struct doctor *doctor)
{
	uint64_t needed = doctor->options.wbuf + doctor->options.cachesize + PROGRAM_BYTES, limit;
	char path[PATH_SIZE], has[TEXT_SIZE], wants[TEXT_SIZE];

	if (!find_cgroup(doctor->pid, path))
		return;
	limit = memory_limit(path);
	if (limit == UINT64_MAX)
		findings_add(&doctor->findings, FINDING_OK, "memory", NULL, "no cgroup limits the daemon");
	else
		findings_add(&doctor->findings, limit < needed ? FINDING_WARN : FINDING_OK, "memory",
			     limit < needed ? "try: a higher MemoryMax, or smaller wbuf= and cachesize=" : NULL,
			     "its cgroup may use %s; wbuf and cachesize allow it %s", text_bytes((double)limit, has),
			     text_bytes((double)needed, wants));
}

static void check_files(struct doctor *doctor)
{
	unsigned int needed = doctor->options.nconnect + 2 * doctor->options.n_loops + FILES_SPARE;
	FILE *stream = open_proc(doctor->pid, "limits");
	unsigned long limit = 0;
	char line[256];

	while (stream && fgets(line, sizeof(line), stream))
		if (sscanf(line, "Max open files %lu", &limit) == 1)
			break;
	if (stream)
		fclose(stream);
	if (limit)
		findings_add(&doctor->findings, limit < needed ? FINDING_WARN : FINDING_OK, "files",
			     limit < needed ? "try: ulimit -Hn, or LimitNOFILE= in its unit" : NULL,
			     "it may open %lu files, and needs about %u", limit, needed);
}

void doctor_mount(struct doctor *doctor)
{
	check_daemon(doctor);
	check_connections(doctor);
	check_others(doctor);
	check_memory(doctor);
	check_files(doctor);
}
