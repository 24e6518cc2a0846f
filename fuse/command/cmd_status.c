/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_status - fusenfs status [MOUNT]: one line for each mount and for what is wrong with it; of one mount, all.
 * Rates are of a moment: the daemons are asked twice. One that does not answer is a line that says so. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../control/report.h"
#include "client.h"
#include "command.h"
#include "process_name.h"
#include "sample.h"
#include "text.h"

enum { MOMENT_MS = 300, WIDTH = 100 };

struct view {
	struct target target;
	json_t *earlier, *later; /* NULL: no answer */
	struct message error;
};

/* ---- asking ------------------------------------------------------------------------------ */

static void ask(const struct command_line *line, struct view *views, unsigned int n, bool later)
{
	for (unsigned int i = 0; i < n; i++) {
		struct view *view = &views[i];

		if (later && !view->earlier)
			continue; /* it did not answer, and would keep us waiting again */
		*(later ? &view->later : &view->earlier) =
			client_ask(&view->target, line->ctl, "stats", NULL, &view->error);
	}
}

static void views_free(struct view *views, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		json_decref(views[i].earlier);
		json_decref(views[i].later);
		target_deinit(&views[i].target);
	}
	free(views);
}

static struct view *find_views(const struct command_line *line, unsigned int *ret_n, struct message *error)
{
	struct target *targets = NULL;
	struct view *views;
	unsigned int n = 1;

	if (line->n_words) {
		views = calloc(1, sizeof(*views));
		if (views && target_for(line->words[0], line->ctl, &views[0].target, error)) {
			free(views);
			return NULL;
		}
	} else {
		views = target_all(&targets, &n) ? NULL : calloc(n ? n : 1, sizeof(*views));
		for (unsigned int i = 0; views && i < n; i++)
			views[i].target = targets[i];
		free(targets);
	}
	if (!views)
		message_set(error, MSG_NO_MEMORY, "out of memory");
	*ret_n = n;
	return views;
}

/* ---- the table of mounts ----------------------------------------------------------------- */

static void row_without_answer(struct table *table, const struct view *view)
{
	table_row(table);
	table_set(table, 0, "%s", view->target.mount);
	table_set(table, 1, "%s", view->target.source);
	table_set(table, 2, view->error.id == MSG_CTL_DENIED ? "not yours" : "no answer");
}

static void row_of(struct table *table, const struct view *view)
{
	char text[TEXT_SIZE];
	struct sample now;

	if (!view->later) {
		row_without_answer(table, view);
		return;
	}
	sample_between(view->earlier, view->later, &now);
	table_row(table);
	table_set(table, 0, "%s", view->target.mount);
	table_set(table, 1, "%s", client_text(view->later, "source"));
	table_set(table, 2, "%s", client_is(view->later, "unmounting") ? "ending" : client_text(view->later, "state"));
	table_set(table, 3, "%.0f/%.0f", client_number(view->later, "connections_up"),
		  client_number(view->later, "connections_wanted"));
	table_set(table, 4, "%s", text_rate(now.read_bytes, text));
	table_set(table, 5, "%s", text_rate(now.written_bytes, text));
	table_set(table, 6, "%s", text_count(now.reads + now.writes + now.metadata, text));
	table_set(table, 7, "%s", text_latency(now.app_p99, text));
	table_set(table, 8, "%s", text_age(client_number(view->later, "uptime_seconds"), text));
}

static const char *plural(double n)
{
	return n == 1 ? "" : "s";
}

/* What is wrong, below the table: a line each. */
static void print_trouble(const struct view *view, FILE *stream)
{
	const json_t *conns = client_value(view->later, "connections"), *conn;
	double waiting = client_number(view->later, "requests.waiting");
	char text[TEXT_SIZE];
	size_t i;

	if (!view->later) {
		if (view->error.reason[0])
			text_print(stream, "%s: %s", view->target.mount, view->error.reason);
		return;
	}
	if (strcmp(client_text(view->later, "server.state"), "up") != 0)
		text_print(stream, "%s: server %s is %s for %s, %.0f request%s waiting", view->target.mount,
			client_text(view->later, "server.host"), client_text(view->later, "server.state"),
			text_age(client_number(view->later, "server.silent_seconds"), text), waiting, plural(waiting));
	json_array_foreach(conns, i, conn) {
		const char *state = client_text(conn, "state"), *reason = client_text(conn, "reason");

		if (!strcmp(state, "up"))
			continue;
		text_print(stream, "%s: connection %.0f: %s for %s%s%s%s", view->target.mount,
			client_number(conn, "id"), state, text_age(client_number(conn, "since_seconds"), text),
			*reason ? " (" : "", reason, *reason ? ")" : "");
	}
	if (!strcmp(client_text(view->later, "locks.manager"), "absent"))
		text_print(stream, "%s: locks fail: the lock manager of %s cannot be had (-o nolock keeps them on this host)",
			view->target.mount, client_text(view->later, "server.host"));
	if (client_number(view->later, "locks.lost"))
		text_print(stream, "%s: %.0f owner%s of locks that the server has forgotten", view->target.mount,
			client_number(view->later, "locks.lost"), plural(client_number(view->later, "locks.lost")));
	if (client_number(view->later, "loops_busy"))
		text_print(stream, "%s: %.0f of %.0f event loops did not answer in time", view->target.mount,
			client_number(view->later, "loops_busy"), client_number(view->later, "loops"));
}

static void print_mounts(struct view *views, unsigned int n)
{
	static const char *const heads[] = { "MOUNT", "SOURCE", "STATE", "CONNS", "READ", "WRITE", "OPS/s", "p99", "UP" };
	struct table table;

	table_init(&table, heads, ARRAY_SIZE(heads), 0x1f0);
	for (unsigned int i = 0; i < n; i++)
		row_of(&table, &views[i]);
	table_print(&table, stdout);
	table_deinit(&table);
	for (unsigned int i = 0; i < n; i++)
		print_trouble(&views[i], stdout);
}

/* ---- all of one mount -------------------------------------------------------------------- */

static void connection_row(struct table *table, const json_t *earlier, const json_t *conn, double seconds)
{
	const json_t *before = sample_connection(earlier, (int)client_whole(conn, "id"));
	char text[TEXT_SIZE];

	table_row(table);
	table_set(table, 0, "%.0f%s", client_number(conn, "id"), client_is(conn, "metadata") ? " md" : "");
	table_set(table, 1, "%s", client_text(conn, "local"));
	table_set(table, 2, "%s", client_text(conn, "remote"));
	table_set(table, 3, "%s%s", client_is(conn, "leaving") ? "leaving" : client_text(conn, "state"),
		  client_is(conn, "stale") ? "?" : "");
	table_set(table, 4, "%.0f", client_number(conn, "in_flight"));
	table_set(table, 5, "%s", text_latency(client_number(conn, "oldest_seconds"), text));
	table_set(table, 6, "%s", text_rate(sample_delta(before, conn, "received_bytes") / seconds, text));
	table_set(table, 7, "%s", text_rate(sample_delta(before, conn, "sent_bytes") / seconds, text));
	table_set(table, 8, "%s", text_latency(client_number(conn, "tcp_rtt_seconds"), text));
	table_set(table, 9, "%s", text_latency(client_number(conn, "latency.p50_seconds"), text));
	table_set(table, 10, "%s", text_latency(client_number(conn, "latency.p99_seconds"), text));
	table_set(table, 11, "%.0f", client_number(conn, "tcp_retransmits"));
	table_set(table, 12, "%.0f", client_number(conn, "reconnects"));
	table_set(table, 13, "%s", client_text(conn, "steering"));
}

static void print_connections(const struct view *view)
{
	static const char *const heads[] = { "CONN", "LOCAL", "REMOTE", "STATE", "INFLIGHT", "OLDEST", "RX",
					     "TX",   "RTT",   "p50",  "p99",	  "RETRANS", "RECONNECTS", "STEERING" };
	const json_t *conns = client_value(view->later, "connections"), *conn;
	double seconds = sample_delta(view->earlier, view->later, "monotonic_seconds");
	struct table table;
	size_t i;

	table_init(&table, heads, ARRAY_SIZE(heads), 0x1ff0);
	json_array_foreach(conns, i, conn)
		connection_row(&table, view->earlier, conn, seconds > 0 ? seconds : 1);
	table_print(&table, stdout);
	table_deinit(&table);
}

static void print_latencies(const struct view *view, const char *key, const char *head)
{
	const char *const heads[] = { head, "COUNT", !strcmp(key, "operations") ? "ERRORS" : "", "p50", "p99", "MAX" };
	json_t *all = json_object_get(view->later, key), *one;
	struct table table;
	char text[TEXT_SIZE];
	const char *name;

	if (!json_object_size(all))
		return;
	table_init(&table, heads, ARRAY_SIZE(heads), 0x3e);
	json_object_foreach(all, name, one) {
		table_row(&table);
		table_set(&table, 0, "%s", name);
		table_set(&table, 1, "%.0f", client_number(one, "count"));
		if (json_object_get(one, "errors"))
			table_set(&table, 2, "%.0f", client_number(one, "errors"));
		table_set(&table, 3, "%s", text_latency(client_number(one, "p50_seconds"), text));
		table_set(&table, 4, "%s", text_latency(client_number(one, "p99_seconds"), text));
		table_set(&table, 5, "%s", text_latency(client_number(one, "max_seconds"), text));
	}
	table_print(&table, stdout);
	table_deinit(&table);
	putchar('\n');
}

/* Words with commas, in lines that are not too long. */
static void print_words(const char *words)
{
	const char *head = "options   ";

	while (*words) {
		size_t n = 0, next;

		while ((next = strcspn(words + n, ",")), next += words[n + next] == ',') {
			if (n && strlen(head) + n + next > WIDTH)
				break;
			n += next;
		}
		text_print(stdout, "%s%.*s", head, (int)n, words);
		head = "          ";
		words += n;
	}
}

static void print_waiting(const struct view *view)
{
	double waiting = client_number(view->later, "requests.waiting");
	double queued = client_number(view->later, "requests.queued_calls");
	char text[TEXT_SIZE], name[PROCESS_NAME_SIZE];
	int pid = (int)client_whole(view->later, "requests.oldest.pid");

	if (waiting > 0)
		text_print(stdout, "requests  %.0f in flight, the oldest for %s: %s of %s (pid %d); calls without a connection: %.0f",
			   waiting, text_latency(client_number(view->later, "requests.oldest_seconds"), text),
			   client_text(view->later, "requests.oldest.operation"), process_name(pid, name),
			   process_tgid(pid), queued);
	else
		text_print(stdout, "requests  0 in flight; calls without a connection: %.0f", queued);
	printf("          so far: outcome unknown %.0f, sent again after a loss %.0f, repeated without an answer %.0f,"
	       " bad replies %.0f\n",
	       client_number(view->later, "requests.ambiguous_total"),
	       client_number(view->later, "requests.resent_total"),
	       client_number(view->later, "requests.repeated_total"),
	       client_number(view->later, "requests.bad_replies_total"));
}

static void print_locks(const json_t *answer)
{
	const char *manager = client_text(answer, "locks.manager");

	if (!strcmp(manager, "local"))
		text_print(stdout, "locks     on this host only");
	else
		text_print(stdout, "locks     %.0f held, %.0f waiting; lock manager %s", client_number(answer, "locks.held"),
			   client_number(answer, "locks.waiting"), manager);
}

static bool goes_by_udp(const json_t *answer)
{
	const json_t *first = json_array_get(client_value(answer, "connections"), 0);

	return first && !strcmp(client_text(first, "transport"), "udp");
}

static void print_details(const struct view *view)
{
	const json_t *answer = view->later;
	char unsaved[TEXT_SIZE], heard[TEXT_SIZE], memory[TEXT_SIZE];

	putchar('\n');
	text_print(stdout, "server    %s, %s, NFS version %.0f%s, %.0f address%s, from ports %s 1024, heard %s ago",
		   client_text(answer, "server.host"), client_text(answer, "server.state"),
		   client_number(answer, "server.nfs_version"), goes_by_udp(answer) ? " over UDP" : "",
		   client_number(answer, "server.addresses"),
		   client_number(answer, "server.addresses") == 1 ? "" : "es",
		   client_is(answer, "server.reserved_ports") ? "below" : "from",
		   text_age(client_number(answer, "server.heard_seconds"), heard));
	text_print(stdout, "daemon    version %s, pid %.0f, %s, %.1f s of CPU, log level %s", client_text(answer, "version"),
		   client_number(answer, "pid"), text_bytes(client_number(answer, "process.resident_bytes"), memory),
		   client_number(answer, "process.cpu_seconds"), client_text(answer, "log"));
	print_waiting(view);
	printf("files     %.0f open, %.0f known, %s not yet on stable storage\n", client_number(answer, "open_files"),
	       client_number(answer, "inodes"), text_bytes(client_number(answer, "unsaved_bytes"), unsaved));
	print_locks(answer);
	print_words(client_text(answer, "options"));
	putchar('\n');
	print_latencies(view, "operations", "OPERATION");
	print_latencies(view, "procedures", "SERVER CALL");
	print_connections(view);
}

/* ---- JSON -------------------------------------------------------------------------------- */

static json_t *without_answer(const struct view *view)
{
	return json_pack("{s:i, s:o, s:o, s:s, s:b, s:b, s:s}", "schema", 1, "mount", report_string(view->target.mount),
			 "source", report_string(view->target.source), "state", "unknown", "live", 0, "ready", 0, "error",
			 message_id_name(view->error.id));
}

/* Of one mount its object, of all an array. */
static void print_json(const struct view *views, unsigned int n, bool one)
{
	json_t *all = json_array(), *json;

	for (unsigned int i = 0; i < n; i++)
		json_array_append_new(all, views[i].earlier ? json_incref(views[i].earlier) : without_answer(&views[i]));
	json = one ? json_array_get(all, 0) : all;
	json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(all);
}

int command_status(const struct command_line *line)
{
	struct message error;
	unsigned int n = 0;
	struct view *views = find_views(line, &n, &error);
	bool one = line->n_words > 0;
	int status = EXIT_OK;

	if (!views)
		return command_fail(line, &error);
	ask(line, views, n, false);
	if (line->json) {
		print_json(views, n, one);
	} else if (!n) {
		puts("no fusenfs mounts");
	} else {
		poll(NULL, 0, MOMENT_MS);
		ask(line, views, n, true);
		print_mounts(views, n);
		if (one && views[0].later)
			print_details(&views[0]);
	}
	if (one && !views[0].earlier) {
		message_print(&views[0].error, false, stderr);
		status = (int)message_exit_code(&views[0].error);
	}
	views_free(views, n);
	return status;
}
