/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_top - fusenfs top [MOUNT [INTERVAL]]: a live screen of mounts, connections and the processes that load them.
 *
 *	o  the next mount           c  connections on or off       p  processes on or off
 *	h  what the keys are        q  end
 *
 * Every interval each daemon is asked once. One that does not answer is a line that says so, and is asked again. */
#include <errno.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "client.h"
#include "command.h"
#include "load.h"
#include "process_name.h"
#include "sample.h"
#include "screen.h"
#include "slow.h"
#include "text.h"

enum { LOADS_SHOWN = 10, MOUNTS_MAX = 64, NUMBERS_WIDTH = 100, NAME_MIN = 12, WITH_LATENCY_WIDTH = 136 };
static const int64_t AGAIN_NS = 10 * NS_PER_S;

struct mount_view {
	struct target target;
	json_t *earlier, *later;
	struct message error;
	struct slow slow;
	bool found;               /* in this round's list */
	int64_t again_ns;         /* it did not answer: ask again then, the keys shall work */
};

struct top {
	const struct command_line *line;
	struct mount_view *mounts[MOUNTS_MAX];
	unsigned int n_mounts, selected;
	int64_t interval_ns;
	bool hide_connections, hide_processes, help;
};

/* ---- asking ------------------------------------------------------------------------------ */

static void view_free(struct mount_view *view)
{
	json_decref(view->earlier);
	json_decref(view->later);
	target_deinit(&view->target);
	free(view);
}

static struct mount_view *find_view(struct top *top, const struct target *target)
{
	for (unsigned int i = 0; i < top->n_mounts; i++) {
		struct target *its = &top->mounts[i]->target;

		if (its->major == target->major && its->minor == target->minor && !strcmp(its->mount, target->mount))
			return top->mounts[i];
	}
	return NULL;
}

/* Takes over the target. */
static void note_target(struct top *top, struct target *target)
{
	struct mount_view *view = find_view(top, target);

	if (!view && top->n_mounts < MOUNTS_MAX) {
		view = calloc(1, sizeof(*view));
		if (view) {
			view->target = *target;
			*target = (struct target){ 0 };
			top->mounts[top->n_mounts++] = view;
		}
	}
	if (view)
		view->found = true;
	target_deinit(target);
}

static void drop_gone(struct top *top)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < top->n_mounts; i++) {
		if (top->mounts[i]->found)
			top->mounts[n++] = top->mounts[i];
		else
			view_free(top->mounts[i]);
	}
	top->n_mounts = n;
	if (top->selected >= n)
		top->selected = 0;
}

/* The mounts there are now. */
static void look_for_mounts(struct top *top)
{
	struct target one, *all = NULL;
	struct message error;
	unsigned int n = 0;

	for (unsigned int i = 0; i < top->n_mounts; i++)
		top->mounts[i]->found = false;
	if (top->line->n_words) {
		if (!target_for(top->line->words[0], top->line->ctl, &one, &error))
			note_target(top, &one);
	} else if (!target_all(&all, &n)) {
		for (unsigned int i = 0; i < n; i++)
			note_target(top, &all[i]);
		free(all);
	}
	drop_gone(top);
}

static double bytes_of(const json_t *earlier, const json_t *conn)
{
	return sample_delta(earlier, conn, "received_bytes") + sample_delta(earlier, conn, "sent_bytes");
}

static void note_slow(struct mount_view *view)
{
	double rates[SLOW_MAX], seconds = sample_delta(view->earlier, view->later, "monotonic_seconds");
	const json_t *conns = json_object_get(view->later, "connections"), *conn;
	unsigned int n = 0;
	size_t i;

	json_array_foreach(conns, i, conn) {
		const json_t *before = sample_connection(view->earlier, (int)client_whole(conn, "id"));
		bool takes_data = !strcmp(client_text(conn, "state"), "up") && !client_is(conn, "metadata") && before;

		if (n < SLOW_MAX && seconds > 0)
			rates[n++] = takes_data ? bytes_of(before, conn) / seconds : -1;
	}
	slow_note(&view->slow, rates, n, clock_ns());
}

static void ask_one(struct top *top, struct mount_view *view)
{
	json_t *answer = client_ask(&view->target, top->line->ctl, "stats", NULL, &view->error);

	json_decref(view->earlier);
	view->earlier = view->later;
	view->later = answer;
	view->again_ns = answer ? 0 : clock_ns() + AGAIN_NS;
	if (view->earlier && view->later)
		note_slow(view);
}

static void ask(struct top *top)
{
	look_for_mounts(top);
	for (unsigned int i = 0; i < top->n_mounts; i++)
		if (clock_ns() >= top->mounts[i]->again_ns)
			ask_one(top, top->mounts[i]);
}

/* ---- drawing ----------------------------------------------------------------------------- */

/* Names get what the numbers leave. Of a path the end says more. */
static const char *shorten(const char *name, char text[TABLE_CELL])
{
	unsigned int columns = screen_columns(), room = columns > NUMBERS_WIDTH + 2 * NAME_MIN ?
							      (columns - NUMBERS_WIDTH) / 2 : NAME_MIN;
	size_t len = strlen(name);

	if (len <= room)
		snprintf(text, TABLE_CELL, "%.*s", TABLE_CELL - 1, name);
	else
		snprintf(text, TABLE_CELL, "...%.*s", TABLE_CELL - 4, name + len - (room - 3));
	return text;
}

static void draw_mounts(const struct top *top, FILE *stream)
{
	static const char *const heads[] = { "", "MOUNT", "SOURCE", "STATE", "CONNS", "READ", "WRITE", "OPS/s",
					     "WAIT", "p50", "p99", "SERVER p50", "p99" };
	struct table table;
	char text[TEXT_SIZE], name[TABLE_CELL];

	table_init(&table, heads, ARRAY_SIZE(heads), 0x1ff0);
	for (unsigned int i = 0; i < top->n_mounts; i++) {
		const struct mount_view *view = top->mounts[i];
		struct sample now;

		table_row(&table);
		table_set(&table, 0, "%s", i == top->selected ? ">" : "");
		table_set(&table, 1, "%s", shorten(view->target.mount, name));
		table_set(&table, 2, "%s", shorten(view->target.source, name));
		table_set(&table, 3, "%s", view->later ? client_text(view->later, "state") :
				 view->error.id == MSG_CTL_DENIED ? "not yours" : "no answer");
		if (!view->later)
			continue;
		table_set(&table, 4, "%.0f/%.0f", client_number(view->later, "connections_up"),
			  client_number(view->later, "connections_wanted"));
		table_set(&table, 8, "%.0f", client_number(view->later, "requests.waiting"));
		if (!view->earlier)
			continue;
		sample_between(view->earlier, view->later, &now);
		table_set(&table, 5, "%s", text_rate(now.read_bytes, text));
		table_set(&table, 6, "%s", text_rate(now.written_bytes, text));
		table_set(&table, 7, "%s", text_count(now.reads + now.writes + now.metadata, text));
		table_set(&table, 9, "%s", text_latency(now.app_p50, text));
		table_set(&table, 10, "%s", text_latency(now.app_p99, text));
		table_set(&table, 11, "%s", text_latency(now.server_p50, text));
		table_set(&table, 12, "%s", text_latency(now.server_p99, text));
	}
	table_print(&table, stream);
	table_deinit(&table);
}

static const char *remark(const struct mount_view *view, unsigned int i, const json_t *conn, char *text)
{
	const char *state = client_text(conn, "state"), *reason = client_text(conn, "reason");
	char age[TEXT_SIZE];

	text[0] = '\0';
	if (slow_is(&view->slow, i, clock_ns()))
		snprintf(text, TABLE_CELL, "<- slow path?");
	else if (strcmp(state, "up") != 0)
		snprintf(text, TABLE_CELL, "%s%sfor %s", reason, *reason ? " " : "",
			 text_age(client_number(conn, "since_seconds"), age));
	else if (client_is(conn, "metadata"))
		snprintf(text, TABLE_CELL, "small calls");
	return text;
}

/* The remark is to be seen in any case. */
static bool has_room(void)
{
	return screen_columns() >= WITH_LATENCY_WIDTH;
}

static void connection_row(struct table *table, const struct mount_view *view, unsigned int i, const json_t *conn)
{
	const json_t *before = sample_connection(view->earlier, (int)client_whole(conn, "id"));
	const json_t *took = json_object_get(conn, "latency"), *took_before = json_object_get(before, "latency");
	double seconds = sample_delta(view->earlier, view->later, "monotonic_seconds");
	char text[TABLE_CELL];

	table_row(table);
	table_set(table, 0, "%.0f", client_number(conn, "id"));
	table_set(table, 1, "%s", client_text(conn, "local"));
	table_set(table, 2, "%s", client_text(conn, "remote"));
	table_set(table, 3, "%s", client_is(conn, "leaving") ? "leaving" : client_text(conn, "state"));
	if (before && seconds > 0) {
		table_set(table, 4, "%.1f", sample_delta(before, conn, "received_bytes") / seconds / 1e6);
		table_set(table, 5, "%.1f", sample_delta(before, conn, "sent_bytes") / seconds / 1e6);
		table_set(table, 6, "%s", text_count(sample_delta(before, conn, "calls") / seconds, text));
		if (has_room()) {
			table_set(table, 9, "%s", text_latency(sample_latency(took_before, took, 0.5), text));
			table_set(table, 10, "%s", text_latency(sample_latency(took_before, took, 0.99), text));
		}
		table_set(table, 11, "%.1f", sample_delta(before, conn, "tcp_retransmits") / seconds);
	}
	table_set(table, 7, "%.0f", client_number(conn, "in_flight"));
	table_set(table, 8, "%s", text_latency(client_number(conn, "tcp_rtt_seconds"), text));
	table_set(table, 12, "%.0f", client_number(conn, "reconnects"));
	table_set(table, 13, "%s", remark(view, i, conn, text));
}

static void draw_connections(const struct mount_view *view, FILE *stream)
{
	const char *const heads[] = { "CONN", "LOCAL", "REMOTE", "STATE", "RX MB/s", "TX MB/s", "CALLS/s", "INFLIGHT", "RTT",
				      has_room() ? "p50" : "", has_room() ? "p99" : "", "RETRANS/s", "RECONNECTS", "" };
	const json_t *conns = json_object_get(view->later, "connections"), *conn;
	struct table table;
	size_t i;

	table_init(&table, heads, ARRAY_SIZE(heads), 0x1ff0);
	json_array_foreach(conns, i, conn)
		connection_row(&table, view, (unsigned int)i, conn);
	table_print(&table, stream);
	table_deinit(&table);
	fputc('\n', stream);
}

static const char *user_name(unsigned int uid, char *text)
{
	const struct passwd *user = getpwuid(uid);

	if (user)
		snprintf(text, TABLE_CELL, "%s", user->pw_name);
	else
		snprintf(text, TABLE_CELL, "%u", uid);
	return text;
}

static void draw_processes(const struct mount_view *view, FILE *stream)
{
	static const char *const heads[] = { "PID", "USER", "READ", "WRITE", "OPS/s", "COMMAND" };
	struct load loads[LOADS_SHOWN];
	unsigned int n = view->earlier ? load_between(view->earlier, view->later, loads, LOADS_SHOWN) : 0;
	char text[TABLE_CELL], name[PROCESS_NAME_SIZE];
	struct table table;

	table_init(&table, heads, ARRAY_SIZE(heads), 0x1d);
	for (unsigned int i = 0; i < n; i++) {
		table_row(&table);
		table_set(&table, 0, "%d", loads[i].pid);
		table_set(&table, 1, "%s", user_name(loads[i].uid, text));
		table_set(&table, 2, "%s", text_rate(loads[i].read_bytes, text));
		table_set(&table, 3, "%s", text_rate(loads[i].written_bytes, text));
		table_set(&table, 4, "%s", text_count(loads[i].operations, text));
		table_set(&table, 5, "%s", process_name(loads[i].pid, name));
	}
	table_print(&table, stream);
	table_deinit(&table);
}

static void draw_selected(const struct top *top, FILE *stream)
{
	const struct mount_view *view = top->n_mounts ? top->mounts[top->selected] : NULL;

	if (!view)
		return;
	if (!view->later) {
		fprintf(stream, "%s\n", view->error.reason);
		return;
	}
	if (!top->hide_connections)
		draw_connections(view, stream);
	if (!top->hide_processes)
		draw_processes(view, stream);
}

static void draw_help(FILE *stream)
{
	fputs("o  the next mount\nc  connections on or off\np  processes on or off\nh  this\nq  end\n\n"
	      "READ, WRITE, OPS/s, p50, p99: of system calls, during the last interval; SERVER, and those\n"
	      "of a connection: of the server's answers. RTT: of the kernel's packets.\n"
	      "WAIT: system calls that have no answer yet. '<- slow path?': it has carried less than half of what\n"
	      "the others do for 10 s.\n",
	      stream);
}

static void draw(const struct top *top)
{
	char *page = NULL;
	size_t len;
	FILE *stream = open_memstream(&page, &len);

	if (!stream)
		return;
	fprintf(stream,
		SCREEN_REVERSE "fusenfs top  %u mount%s, every %g s   o next  c connections  p processes  h help  q end\n",
		top->n_mounts, top->n_mounts == 1 ? "" : "s", (double)top->interval_ns / 1e9);
	if (top->help) {
		fputc('\n', stream);
		draw_help(stream);
	} else if (!top->n_mounts) {
		fputs("\nno fusenfs mounts\n", stream);
	} else {
		draw_mounts(top, stream);
		fputc('\n', stream);
		draw_selected(top, stream);
	}
	fclose(stream);
	screen_draw(page);
	free(page);
}

/* ---- keys -------------------------------------------------------------------------------- */

/* False: the end. */
static bool handle(struct top *top, int key)
{
	switch (key) {
	case 'q':
	case -1:
		return false;
	case 'o':
		top->selected = top->n_mounts ? (top->selected + 1) % top->n_mounts : 0;
		break;
	case 'c':
		top->hide_connections = !top->hide_connections;
		break;
	case 'p':
		top->hide_processes = !top->hide_processes;
		break;
	case 'h':
	case '?':
		top->help = !top->help;
		break;
	default:
		break;
	}
	return true;
}

static void run(struct top *top)
{
	int64_t next_ns;
	bool goes_on = true;

	while (goes_on) {
		ask(top);
		draw(top);
		next_ns = clock_ns() + top->interval_ns;
		if (top->n_mounts && top->mounts[0]->later && !top->mounts[0]->earlier)
			next_ns = clock_ns() + min_i64(top->interval_ns, NS_PER_S / 2); /* the first rates soon */
		while (goes_on && clock_ns() < next_ns) {
			goes_on = handle(top, screen_key((int)((next_ns - clock_ns()) / NS_PER_MS) + 1));
			if (goes_on)
				draw(top);
		}
	}
}

static bool parse_interval(const struct command_line *line, int64_t *ret_ns, struct message *error)
{
	char *end = NULL;
	double interval = line->n_words > 1 ? strtod(line->words[1], &end) : 2;

	if ((end && *end) || !(interval >= 0.1 && interval <= 3600)) {
		message_set(error, MSG_USAGE, "'%.40s' is no interval (0.1 to 3600 seconds)", line->words[1]);
		return false;
	}
	*ret_ns = (int64_t)(interval * 1e9);
	return true;
}

int command_top(const struct command_line *line)
{
	struct top top = { .line = line };
	struct message error;

	if (!parse_interval(line, &top.interval_ns, &error))
		return command_fail(line, &error);
	look_for_mounts(&top);
	if (line->n_words && !top.n_mounts) {
		struct target target;

		return target_find(line->words[0], &target, &error) ? command_fail(line, &error) : EXIT_SYSTEM;
	}
	if (screen_open()) {
		message_set(&error, MSG_USAGE, "top needs a terminal");
		message_try(&error, "fusenfs status");
		return command_fail(line, &error);
	}
	run(&top);
	screen_close();
	while (top.n_mounts)
		view_free(top.mounts[--top.n_mounts]);
	return EXIT_OK;
}
