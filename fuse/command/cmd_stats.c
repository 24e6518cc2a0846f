/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_stats - fusenfs stats MOUNT [INTERVAL [COUNT]]: a line per interval, as vmstat(8) has them; the first is of all
 * the time since it was mounted. --format=mountstats: as /proc/self/mountstats, for mountstats(8) and nfsiostat(8). */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "client.h"
#include "command.h"
#include "sample.h"

enum { HEAD_EVERY = 20 };

struct pace {
	int64_t interval_ns; /* 0: one line */
	long count;          /* 0: for ever */
};

static bool parse_pace(const struct command_line *line, struct pace *ret_pace, struct message *error)
{
	double interval = 0;
	char *end = NULL;

	*ret_pace = (struct pace){ 0 };
	if (line->n_words > 1) {
		interval = strtod(line->words[1], &end);
		if (*end || !(interval >= 0.1 && interval <= 86400)) {
			message_set(error, MSG_USAGE, "'%.40s' is no interval (0.1 to 86400 seconds)", line->words[1]);
			return false;
		}
	}
	if (line->n_words > 2) {
		ret_pace->count = strtol(line->words[2], &end, 10);
		if (*end || ret_pace->count < 1) {
			message_set(error, MSG_USAGE, "'%.40s' is no count", line->words[2]);
			return false;
		}
	}
	ret_pace->interval_ns = (int64_t)(interval * 1e9);
	return true;
}

/* ---- lines ------------------------------------------------------------------------------- */

static void print_head(void)
{
	puts("------read------ -----write------ -----meta----- ---now---- ----app ms--- --server ms-- -----us-----\n"
	     "   MB/s    ops/s    MB/s    ops/s    ops/s  hit%  wait conns    p50    p99    p50    p99  cpu%     MB");
}

/* Six columns wide: "0.21", "12.3", "1234"; "-": nothing happened. */
static const char *milliseconds(double seconds, char text[16])
{
	double ms = seconds * 1e3;

	if (seconds <= 0)
		snprintf(text, 16, "-");
	else
		snprintf(text, 16, "%.*f", ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0, ms);
	return text;
}

static void print_line(const json_t *earlier, const json_t *later)
{
	char a50[16], a99[16], s50[16], s99[16];
	struct sample sample;

	sample_between(earlier, later, &sample);
	printf("%7.1f %8.0f %7.1f %8.0f %8.0f %5.0f %5.0f %5.0f %6s %6s %6s %6s %5.0f %6.0f\n", sample.read_bytes / 1e6,
	       sample.reads, sample.written_bytes / 1e6, sample.writes, sample.metadata, sample.metadata_hits * 100,
	       client_number(later, "requests.waiting"), client_number(later, "connections_up"),
	       milliseconds(sample.app_p50, a50), milliseconds(sample.app_p99, a99), milliseconds(sample.server_p50, s50),
	       milliseconds(sample.server_p99, s99), sample.cpu * 100,
	       client_number(later, "process.resident_bytes") / 1e6);
	fflush(stdout);
}

static void print_json(const json_t *earlier, const json_t *later)
{
	struct sample sample;
	json_t *json;

	sample_between(earlier, later, &sample);
	json = json_pack("{s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "schema", 1, "mount",
			 client_text(later, "mount"), "interval_seconds", sample.seconds, "read_bytes_per_second",
			 sample.read_bytes, "reads_per_second", sample.reads, "written_bytes_per_second",
			 sample.written_bytes, "writes_per_second", sample.writes, "metadata_per_second", sample.metadata,
			 "metadata_hit_ratio", sample.metadata_hits);
	json_object_set_new(json, "waiting", json_real(client_number(later, "requests.waiting")));
	json_object_set_new(json, "connections_up", json_real(client_number(later, "connections_up")));
	json_object_set_new(json, "application_p50_seconds", json_real(sample.app_p50));
	json_object_set_new(json, "application_p99_seconds", json_real(sample.app_p99));
	json_object_set_new(json, "server_p50_seconds", json_real(sample.server_p50));
	json_object_set_new(json, "server_p99_seconds", json_real(sample.server_p99));
	json_object_set_new(json, "cpu_ratio", json_real(sample.cpu));
	json_object_set_new(json, "resident_bytes", json_real(client_number(later, "process.resident_bytes")));
	json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(6));
	putchar('\n');
	fflush(stdout);
	json_decref(json);
}

/* ---- mountstats -------------------------------------------------------------------------- */

static void print_transport(const json_t *conn)
{
	double calls = client_number(conn, "calls");

	if (!strcmp(client_text(conn, "transport"), "udp"))
		printf("\txprt:\tudp 0 1 %.0f %.0f 0 0 0 0 0 0\n", calls, calls);
	else
		printf("\txprt:\ttcp 0 1 %.0f 0 0 %.0f %.0f 0 0 0 0 0 0\n", client_number(conn, "reconnects") + 1,
		       calls, calls);
}

/* As the kernel does in /proc/self/mountstats, whose lines are taken apart at blanks. */
static void put_mangled(const char *text)
{
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte <= ' ' || byte == '\\' || byte == '#' || byte >= 0x7f)
			printf("\\%03o", byte);
		else
			putchar(byte);
	}
}

/* What is not counted is 0: the events, and the bytes of each procedure. */
static void print_mountstats(const json_t *answer)
{
	json_t *calls = json_object_get(answer, "procedures"), *conn, *one;
	double read = client_number(answer, "read_bytes"), written = client_number(answer, "written_bytes");
	const char *name;
	size_t i;

	fputs("device ", stdout);
	put_mangled(client_text(answer, "source"));
	fputs(" mounted on ", stdout);
	put_mangled(client_text(answer, "mount"));
	fputs(" with fstype nfs statvers=1.1\n\topts:\t", stdout);
	put_mangled(client_text(answer, "options"));
	printf("\n\tage:\t%.0f\n", client_number(answer, "uptime_seconds"));
	puts("\tcaps:\tcaps=0x0,wtmult=4096,dtsize=65536,bsize=0,namlen=255\n\tsec:\tflavor=1,pseudoflavor=1");
	fputs("\tevents:\t", stdout);
	for (i = 0; i < 27; i++)
		fputs(i < 26 ? "0 " : "0\n", stdout);
	printf("\tbytes:\t%.0f %.0f 0 0 %.0f %.0f %.0f %.0f\n", read, written, read, written,
	       read / 4096, written / 4096);
	puts("\tRPC iostats version: 1.1  p/v: 100003/3 (nfs)");
	json_array_foreach(json_object_get(answer, "connections"), i, conn)
		print_transport(conn);
	puts("\tper-op statistics");
	json_object_foreach(calls, name, one) {
		double count = client_number(one, "count"), ms = client_number(one, "total_seconds") * 1e3;

		printf("\t%12s: %.0f %.0f 0 %.0f %.0f 0 %.0f %.0f 0\n", name, count, count,
		       !strcmp(name, "WRITE") ? written : 0.0, !strcmp(name, "READ") ? read : 0.0, ms, ms);
	}
	putchar('\n');
}

/* ---- the command ------------------------------------------------------------------------- */

static void print_one(const struct command_line *line, const json_t *earlier, const json_t *later, long number)
{
	if (line->format) {
		print_mountstats(later);
	} else if (line->json) {
		print_json(earlier, later);
	} else {
		if (number % HEAD_EVERY == 0)
			print_head();
		print_line(earlier, later);
	}
}

static int run(const struct command_line *line, const struct target *target, const struct pace *pace)
{
	int64_t at_ns = clock_ns();
	json_t *earlier = NULL, *later;
	struct message error;

	for (long number = 0;; number++) {
		later = client_ask(target, line->ctl, "stats", NULL, &error);
		if (!later)
			break;
		print_one(line, earlier, later, number);
		json_decref(earlier);
		earlier = later;
		if (!pace->interval_ns || number + 1 == pace->count || ferror(stdout))
			break;
		at_ns = max_i64(at_ns + pace->interval_ns, clock_ns());
		poll(NULL, 0, (int)((at_ns - clock_ns()) / NS_PER_MS));
	}
	json_decref(earlier);
	return later ? EXIT_OK : command_fail(line, &error);
}

int command_stats(const struct command_line *line)
{
	struct target target = { 0 };
	struct message error;
	struct pace pace;
	int status;

	if (!parse_pace(line, &pace, &error))
		return command_fail(line, &error);
	if (line->format && strcmp(line->format, "mountstats") != 0) {
		message_set(&error, MSG_USAGE, "--format=%.40s is not known", line->format);
		message_try(&error, "fusenfs stats --format=mountstats MOUNT");
		return command_fail(line, &error);
	}
	if (target_for(line->words[0], line->ctl, &target, &error))
		return command_fail(line, &error);
	status = run(line, &target, &pace);
	target_deinit(&target);
	return status;
}
