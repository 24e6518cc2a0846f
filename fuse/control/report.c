/* SPDX-License-Identifier: GPL-2.0-or-later */
/* report - see report.h. Histograms and users are in report_counts.c. */
#include "report.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

#include "../../conn/util.h"
#include "../live.h"
#include "../lock.h"
#include "../request.h"
#include "../stats.h"
#include "../wback_pool.h"
#include "report_parts.h"

static const int64_t LOOPS_NS = 500 * NS_PER_MS;    /* that status waits for them */
static const int64_t LOOPS_ALIVE_NS = 2 * NS_PER_S; /* and health: a busy one is alive */

void report_init(struct report *report, struct fs *fs, const struct live *live)
{
	*report = (struct report){ .fs = fs, .live = live, .started_ns = clock_ns() };
}

json_t *report_string(const char *text)
{
	json_t *json = json_string(text ? text : "");
	cleanup(freep) char *copy = json || !text ? NULL : strdup(text);

	if (json || !copy)
		return json;
	for (unsigned char *byte = (unsigned char *)copy; *byte; byte++)
		if (*byte >= 0x80)
			*byte = '?';
	return json_string(copy);
}

double report_seconds(int64_t ns)
{
	return ns > 0 ? (double)ns / 1e9 : 0.0;
}

static double since(const struct report *report, int64_t at_ns)
{
	return at_ns ? report_seconds(report->snapshot.now_ns - at_ns) : 0.0;
}

/* "10.0.0.7:2049", "[fd00::1]:2049" */
static json_t *address(const struct sockaddr_storage *sa)
{
	char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "", text[NI_MAXHOST + NI_MAXSERV + 4];

	if (sa->ss_family == AF_UNSPEC ||
	    getnameinfo((const struct sockaddr *)sa, sizeof(*sa), host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return json_null();
	snprintf(text, sizeof(text), sa->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	return json_string(text);
}

/* ---- the state --------------------------------------------------------------------------- */

static const char *server_word(const struct report *report)
{
	if (!fs_is_found(report->fs))
		return "not found";
	switch (report->snapshot.pool.server) {
	case SERVER_UP: return "up";
	case SERVER_WAITING: return "silent";
	case SERVER_DOWN: break;
	}
	return "down";
}

static bool is_ready(const struct report *report)
{
	const struct pool_info *pool = &report->snapshot.pool;

	return fs_is_found(report->fs) && !report->ending && pool->server == SERVER_UP && pool->n_up;
}

static const char *state_word(const struct report *report)
{
	const struct pool_info *pool = &report->snapshot.pool;

	if (!fs_is_found(report->fs) || pool->server == SERVER_DOWN || !pool->n_up)
		return "down";
	return pool->server == SERVER_WAITING || pool->n_up < pool->n_connections ? "degraded" : "ok";
}

static void add_state(struct report *report, json_t *json)
{
	const struct options *options = report->fs->options;

	json_object_set_new(json, "schema", json_integer(1));
	json_object_set_new(json, "mount", report_string(live_point(report->live)));
	json_object_set_new(json, "source", report_string(options->source.text));
	json_object_set_new(json, "state", json_string(state_word(report)));
	json_object_set_new(json, "live", json_boolean(!report->snapshot.n_stale_loops));
	json_object_set_new(json, "ready", json_boolean(is_ready(report)));
	json_object_set_new(json, "unmounting", json_boolean(report->ending));
	json_object_set_new(json, "pid", json_integer(getpid()));
	json_object_set_new(json, "uid", json_integer(geteuid()));
	json_object_set_new(json, "version", json_string(FUSENFS_VERSION));
	json_object_set_new(json, "uptime_seconds", json_real(since(report, report->started_ns)));
}

/* Some servers want that. */
static bool has_reserved_ports(const struct pool_snapshot *snapshot)
{
	for (unsigned int i = 0; i < snapshot->n_conns; i++) {
		const struct sockaddr_storage *sa = &snapshot->conns[i].info.local;
		uint16_t port = sa->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)sa)->sin6_port :
							    ((const struct sockaddr_in *)sa)->sin_port;

		if (sa->ss_family == AF_UNSPEC || ntohs(port) >= 1024)
			return false;
	}
	return snapshot->n_conns > 0;
}

static json_t *server(struct report *report)
{
	const struct pool_snapshot *snapshot = &report->snapshot;

	return json_pack("{s:o, s:i, s:b, s:s, s:f, s:f, s:I}", "host",
			 report_string(report->fs->options->source.host), "nfs_version", 3,
			 "reserved_ports", (int)has_reserved_ports(snapshot), "state",
			 server_word(report), "silent_seconds", since(report, snapshot->silent_since_ns),
			 "heard_seconds", since(report, snapshot->last_rx_ns), "addresses",
			 (json_int_t)pool_n_addresses(report->fs->pool));
}

/* ---- connections ------------------------------------------------------------------------- */

static json_t *reason(const struct conn_snapshot *conn)
{
	const char *name = conn->info.error ? strerrorname_np(conn->info.error) : NULL;

	if (conn->info.state == CONN_UP && !conn->info.reconnects)
		return json_null();
	if (name)
		return json_string(name);
	return conn->reason ? json_string(conn->reason) : json_null();
}

static json_t *connection(const struct report *report, const struct conn_snapshot *conn, bool all)
{
	const struct conn_info *info = &conn->info;
	struct histogram_sum latency = { 0 };
	json_t *json = json_object();

	json_object_set_new(json, "id", json_integer(info->id));
	json_object_set_new(json, "state", json_string(conn_state_name(info->state)));
	json_object_set_new(json, "local", address(&info->local));
	json_object_set_new(json, "remote", address(&info->remote));
	json_object_set_new(json, "transport", json_string(info->udp ? "udp" : "tcp"));
	json_object_set_new(json, "since_seconds", json_real(since(report, conn->since_ns)));
	json_object_set_new(json, "reason", reason(conn));
	json_object_set_new(json, "detail", conn->reason ? json_string(conn->reason) : json_null());
	json_object_set_new(json, "in_flight", json_integer(conn->n_calls));
	json_object_set_new(json, "unsent", json_integer(conn->n_unsent));
	json_object_set_new(json, "oldest_seconds", json_real(since(report, conn->oldest_ns)));
	json_object_set_new(json, "received_bytes", json_integer((json_int_t)info->bytes_received));
	json_object_set_new(json, "sent_bytes", json_integer((json_int_t)info->bytes_sent));
	json_object_set_new(json, "calls", json_integer((json_int_t)info->calls_done));
	json_object_set_new(json, "rate_bytes_per_second", json_integer((json_int_t)info->rate));
	json_object_set_new(json, "rtt_seconds", json_real(report_seconds(info->rtt_ns)));
	json_object_set_new(json, "tcp_rtt_seconds", json_real(report_seconds(conn->tcp_rtt_ns)));
	json_object_set_new(json, "tcp_retransmits", json_integer((json_int_t)conn->retransmits));
	json_object_set_new(json, "reconnects", json_integer((json_int_t)info->reconnects));
	pool_conn_latency(report->fs->pool, info->id, &latency);
	json_object_set_new(json, "latency", report_latency(&latency, all));
	json_object_set_new(json, "steering", json_string(path_verdict_name(conn->verdict)));
	json_object_set_new(json, "metadata", json_boolean(conn->md));
	json_object_set_new(json, "leaving", json_boolean(conn->leaving || conn->retired));
	json_object_set_new(json, "stale", json_boolean(conn->stale));
	return json;
}

static json_t *connections(struct report *report, bool all)
{
	json_t *json = json_array();

	for (unsigned int i = 0; i < report->snapshot.n_conns; i++)
		json_array_append_new(json, connection(report, &report->snapshot.conns[i], all));
	return json;
}

/* ---- what waits -------------------------------------------------------------------------- */

static json_t *requests(struct report *report)
{
	struct request_table *table = report->fs->requests;
	const struct pool_info *pool = &report->snapshot.pool;
	struct request_oldest oldest = { 0 };
	bool any = request_table_oldest(table, &oldest);
	const char *op = stats_op_name(oldest.opcode);
	json_t *json = json_object();

	json_object_set_new(json, "waiting", json_integer(request_table_count(table)));
	json_object_set_new(json, "oldest_seconds", json_real(any ? since(report, oldest.start_ns) : 0.0));
	if (any)
		json_object_set_new(json, "oldest",
				    json_pack("{s:s, s:i, s:i}", "operation", op ? op : "OTHER", "pid", (int)oldest.tid,
					      "uid", (int)oldest.uid));
	json_object_set_new(json, "queued_calls", json_integer(pool->n_queued));
	json_object_set_new(json, "oldest_queued_seconds",
			    json_real(since(report, report->snapshot.oldest_queued_ns)));
	json_object_set_new(json, "ambiguous_total", json_integer((json_int_t)pool->n_ambiguous));
	json_object_set_new(json, "resent_total", json_integer((json_int_t)pool->n_resent));
	json_object_set_new(json, "repeated_total", json_integer((json_int_t)pool->n_repeated));
	json_object_set_new(json, "handed_over_total", json_integer((json_int_t)pool->n_handed_over));
	json_object_set_new(json, "bad_replies_total", json_integer((json_int_t)pool->n_bad_replies));
	return json;
}

static const char *locks_word(const struct fs *fs, const struct locks_info *info)
{
	if (!fs->locks)
		return "local";
	switch (info->manager) {
	case LOCK_MANAGER_UNASKED: return "not asked";
	case LOCK_MANAGER_FOUND: return "found";
	case LOCK_MANAGER_ABSENT: break;
	}
	return "absent";
}

static json_t *lock_counts(const struct fs *fs)
{
	struct locks_info info = { 0 };

	if (fs->locks)
		locks_info(fs->locks, &info);
	return json_pack("{s:s, s:b, s:b, s:i, s:i, s:i}", "manager", locks_word(fs, &info), "posix_shared",
			 (int)fs->options->nlm_posix, "flock_shared", (int)fs->options->nlm_flock, "held", (int)info.held,
			 "waiting", (int)info.waiting, "lost", (int)info.lost);
}

/* ---- answers ----------------------------------------------------------------------------- */

static void add_options(struct report *report, json_t *json)
{
	static const char *const levels[] = { "error", "warn", "info", "debug", "trace" };
	cleanup(freep) char *words = live_words(report->live);

	json_object_set_new(json, "options", report_string(words));
	json_object_set_new(json, "log", json_string(levels[log_get_level()]));
	json_object_set_new(json, "umounttimeo_seconds",
			    json_real(report_seconds(report->fs->options->umounttimeo_ns)));
}

json_t *report_options(struct report *report)
{
	json_t *json = json_pack("{s:i, s:o}", "schema", 1, "mount", report_string(live_point(report->live)));

	add_options(report, json);
	return json;
}

json_t *report_status(struct report *report, bool all)
{
	json_t *json = json_object();

	pool_snapshot(report->fs->pool, LOOPS_NS, &report->snapshot);
	add_state(report, json);
	json_object_set_new(json, "server", server(report));
	add_options(report, json);
	json_object_set_new(json, "connections", connections(report, all));
	json_object_set_new(json, "connections_up", json_integer(report->snapshot.pool.n_up));
	json_object_set_new(json, "connections_wanted", json_integer(report->snapshot.pool.n_connections));
	json_object_set_new(json, "requests", requests(report));
	json_object_set_new(json, "locks", lock_counts(report->fs));
	json_object_set_new(json, "unsaved_bytes", json_integer((json_int_t)wback_pool_bytes(report->fs->wback)));
	json_object_set_new(json, "open_files", json_integer(atomic_load(&report->fs->n_open_files)));
	json_object_set_new(json, "inodes", json_integer((json_int_t)inode_table_count(report->fs->inodes)));
	json_object_set_new(json, "loops", json_integer(report->snapshot.n_loops));
	json_object_set_new(json, "loops_busy", json_integer(report->snapshot.n_stale_loops));
	report_add_counts(report, json);
	if (all)
		report_add_histograms(report, json);
	return json;
}

json_t *report_health(struct report *report)
{
	json_t *json = json_object();

	pool_snapshot(report->fs->pool, LOOPS_ALIVE_NS, &report->snapshot);
	add_state(report, json);
	json_object_set_new(json, "server", server(report));
	json_object_set_new(json, "loops", json_integer(report->snapshot.n_loops));
	json_object_set_new(json, "loops_busy", json_integer(report->snapshot.n_stale_loops));
	return json;
}

bool report_is_live(struct report *report)
{
	pool_snapshot(report->fs->pool, LOOPS_ALIVE_NS, &report->snapshot);
	return !report->snapshot.n_stale_loops;
}

bool report_is_ready(struct report *report)
{
	pool_snapshot(report->fs->pool, LOOPS_NS, &report->snapshot);
	return is_ready(report);
}

json_t *report_error(const struct message *error)
{
	json_t *tries = json_array();

	for (unsigned int i = 0; i < error->n_tries; i++)
		json_array_append_new(tries, report_string(error->try[i]));
	return json_pack("{s:i, s:{s:s, s:o, s:o, s:o, s:o}}", "schema", 1, "error", "id", message_id_name(error->id),
			 "action", report_string(error->action), "reason", report_string(error->reason), "why",
			 report_string(error->why), "try", tries);
}

char *report_text(json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(9));
	char *line = NULL;

	json_decref(json);
	if (text && asprintf(&line, "%s\n", text) < 0)
		line = NULL;
	free(text);
	return line;
}
