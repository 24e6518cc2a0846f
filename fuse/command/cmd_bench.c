/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_bench - fusenfs bench SERVER:/PATH/FILE [-o OPTIONS]: the nconnect that pays. Each step is measured several
 * times, in turn, so that what else goes on in the network is shared by all. With --write the path is a directory: a
 * file is made there, and removed, also after ^C. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "../control/report_parts.h"
#include "bench.h"
#include "command.h"
#include "text.h"

enum { ROUNDS = 2, STEPS_TO = 16 };
static const double SECONDS_DEFAULT = 15, SECONDS_MIN = 0.5, SECONDS_MAX = 3600;
static const double PAYS = 1.05; /* what is no more than that is noise */

static _Atomic(bool) stopped;

struct bench {
	const struct command_line *line;
	struct options options;
	struct bench_file file;
	struct bench_step steps[BENCH_MAX_STEPS];
	unsigned int n_steps;
	double seconds;
};

/* ---- figures ----------------------------------------------------------------------------- */

static double rate(const struct bench_step *step)
{
	return step->wall_ns ? (double)step->bytes * 1e9 / (double)step->wall_ns : 0;
}

static double cpu(const struct bench_step *step)
{
	return step->used_ns ? (double)step->cpu_ns / (double)step->used_ns : 0;
}

static double gain(const struct bench *bench, unsigned int i)
{
	double before = i ? rate(&bench->steps[i - 1]) : 0;

	return before > 0 ? rate(&bench->steps[i]) / before - 1 : 0;
}

/* The fewest connections that no larger number is faster than. */
static unsigned int best_of(const struct bench *bench)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i < bench->n_steps; i++)
		if (rate(&bench->steps[i]) > rate(&bench->steps[best]) * PAYS)
			best = i;
	return best;
}

/* ---- what is said ------------------------------------------------------------------------ */

static void print_table(const struct bench *bench)
{
	static const char *const heads[] = { "nconnect", "MB/s", "gain", "p99 ms", "client CPU" };
	struct table table;

	table_init(&table, heads, ARRAY_SIZE(heads), 0x1f);
	for (unsigned int i = 0; i < bench->n_steps; i++) {
		const struct bench_step *step = &bench->steps[i];

		table_row(&table);
		table_set(&table, 0, "%u", step->nconnect);
		table_set(&table, 1, "%.1f", rate(step) / 1e6);
		table_set(&table, 2, i ? "%+.0f %%" : "-", gain(bench, i) * 100);
		table_set(&table, 3, "%.2f", (double)histogram_quantile_us(&step->latency, 990) / 1e3);
		table_set(&table, 4, "%.0f %%", cpu(step) * 100);
	}
	table_print(&table, stdout);
	table_deinit(&table);
}

/* What more connections would not help with, if it is seen. */
static const char *limit_text(const struct bench_step *best, char *text, size_t size)
{
	double cpus = (double)sysconf(_SC_NPROCESSORS_ONLN);

	text[0] = '\0';
	if (best->nic_share > 0.85)
		snprintf(text, size, "; the limit is now the %g Gbit/s card %s, %.0f %% used", best->nic_mbit / 1e3,
			 best->nic, best->nic_share * 100);
	else if (cpu(best) > 0.7 * cpus)
		snprintf(text, size, "; the limit may be the CPU of this host, %.0f %% of %g", cpu(best) * 100, cpus * 100);
	return text;
}

/* The list as given, without nconnect. A string to free. */
static char *other_options(const struct options *options)
{
	char *kept = NULL, *list = options->given ? strdup(options->given) : NULL, *rest = list, *word;
	size_t size = 0;
	FILE *stream = open_memstream(&kept, &size);

	while (stream && (word = strsep(&rest, ",")))
		if (*word && strncmp(word, "nconnect=", 9) != 0 && strcmp(word, "defaults") != 0)
			fprintf(stream, "%s,", word);
	if (stream)
		fclose(stream);
	free(list);
	return kept;
}

static void command_text(const struct bench *bench, char *text, size_t size)
{
	const struct source *source = &bench->options.source;
	size_t path_at = strlen(source->text) - strlen(source->path);
	cleanup(freep) char *others = other_options(&bench->options);
	char word[MESSAGE_TEXT_MAX], quoted[MESSAGE_TEXT_MAX], list[MESSAGE_TEXT_MAX], options[MESSAGE_TEXT_MAX];

	if (strlen(source->text) < strlen(source->path) || strcmp(source->text + path_at, source->path) != 0)
		snprintf(word, sizeof(word), "%s:%s", source->host, bench->file.export_path);
	else
		snprintf(word, sizeof(word), "%.*s%s", (int)path_at, source->text, bench->file.export_path);
	snprintf(list, sizeof(list), "%snconnect=%u", others ? others : "", bench->steps[best_of(bench)].nconnect);
	snprintf(text, size, "fusenfs %s /mnt -o %s", message_quote(word, quoted, sizeof(quoted)),
		 message_quote(list, options, sizeof(options)));
}

static void print_advice(const struct bench *bench)
{
	unsigned int best = best_of(bench);
	char limit[160], command[2 * MESSAGE_TEXT_MAX];

	printf("best: nconnect=%u", bench->steps[best].nconnect);
	if (best + 1 < bench->n_steps && gain(bench, best + 1) < 0.005)
		printf(" (%u gains nothing", bench->steps[best + 1].nconnect);
	else if (best + 1 < bench->n_steps)
		printf(" (%u gains %.0f %%", bench->steps[best + 1].nconnect, gain(bench, best + 1) * 100);
	else
		printf(" (the largest that was tried");
	command_text(bench, command, sizeof(command));
	printf("%s)     use: %s\n", limit_text(&bench->steps[best], limit, sizeof(limit)), command);
}

static json_t *steps_json(const struct bench *bench)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < bench->n_steps; i++) {
		const struct bench_step *step = &bench->steps[i];

		json_array_append_new(list, json_pack("{s:i, s:f, s:f, s:f, s:f, s:f}", "nconnect", (int)step->nconnect,
						      "bytes_per_second", rate(step), "gain", gain(bench, i), "p50_seconds",
						      (double)histogram_quantile_us(&step->latency, 500) / 1e6, "p99_seconds",
						      (double)histogram_quantile_us(&step->latency, 990) / 1e6,
						      "client_cpus", cpu(step)));
	}
	return list;
}

static void print_json(const struct bench *bench)
{
	char command[2 * MESSAGE_TEXT_MAX];
	json_t *json;

	command_text(bench, command, sizeof(command));
	json = json_pack("{s:i, s:o, s:b, s:I, s:i, s:i, s:o, s:i, s:o}", "schema", 1, "subject",
			 report_string(bench->options.source.text), "write", (int)bench->file.write, "file_bytes",
			 (json_int_t)bench->file.size, "transfer_bytes", (int)bench->file.transfer, "addresses",
			 (int)bench->file.n_addrs, "steps", steps_json(bench), "best_nconnect",
			 (int)bench->steps[best_of(bench)].nconnect, "command", report_string(command));
	json_dumpf(json, stdout, JSON_COMPACT | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(json);
}

static void print_head(const struct bench *bench)
{
	char size[TEXT_SIZE];

	printf("%s %s %s %s, again and again, by %s of %u KiB: it is the path that is measured, not the server's disk.\n",
	       bench->file.write ? "Writing a file of" : "Reading", text_bytes((double)bench->file.size, size),
	       bench->file.write ? "in" : "of", bench->options.source.text, bench->file.write ? "WRITEs" : "READs",
	       bench->file.transfer / 1024);
	fflush(stdout);
}

/* ---- measuring --------------------------------------------------------------------------- */

static void on_signal(int number UNUSED)
{
	atomic_store(&stopped, true);
}

static void catch_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* 1, 2, 4 ... 16; up to the nconnect= that was given. */
static void choose_steps(struct bench *bench)
{
	bool given = bench->options.given && strstr(bench->options.given, "nconnect=");
	unsigned int most = given ? bench->options.nconnect : STEPS_TO;

	for (unsigned int n = 1; n < most; n *= 2)
		bench->steps[bench->n_steps++].nconnect = n;
	bench->steps[bench->n_steps++].nconnect = most;
}

static int measure(struct bench *bench)
{
	int64_t slice_ns = (int64_t)(bench->seconds * 1e9) / (ROUNDS * (int64_t)bench->n_steps);
	int error = 0;

	for (unsigned int round = 0; round < ROUNDS; round++)
		for (unsigned int i = 0; !error && i < bench->n_steps; i++)
			error = bench_slice(&bench->file, &bench->steps[i], slice_ns, &stopped);
	return error;
}

static int fail(const struct bench *bench, struct message *error)
{
	message_action(error, "measure %s", bench->options.source.text);
	return command_fail(bench->line, error);
}

static int report(struct bench *bench, int error, struct message *message)
{
	if (error == -EINTR) {
		message_set(message, MSG_INTERRUPTED, "interrupted");
		return fail(bench, message);
	}
	if (error) {
		message_set(message, MSG_BENCH_FAILED, "%s", strerrordesc_np(-error));
		message_why(message, "a %s, or a connection for it, failed.", bench->file.write ? "WRITE" : "READ");
		return fail(bench, message);
	}
	if (bench->line->json) {
		print_json(bench);
	} else {
		print_table(bench);
		print_advice(bench);
	}
	return EXIT_OK;
}

static int run(struct bench *bench)
{
	struct message message;
	int status;

	if (bench->line->write)
		catch_signals();
	if (bench_file_find(&bench->file, &bench->options, bench->line->write, &message)) {
		status = fail(bench, &message);
	} else {
		if (!bench->line->json)
			print_head(bench);
		choose_steps(bench);
		status = report(bench, measure(bench), &message);
	}
	if (bench_file_close(&bench->file))
		return status;
	message_set(&message, MSG_BENCH_FAILED, "%s could not be removed", bench->file.name);
	message_try(&message, "rm %s/%s, when the server answers", bench->options.source.path, bench->file.name);
	return fail(bench, &message);
}

static bool take_seconds(struct bench *bench)
{
	const char *text = bench->line->seconds;
	char *rest = NULL;

	bench->seconds = text ? strtod(text, &rest) : SECONDS_DEFAULT;
	return !text || (*text && !*rest && bench->seconds >= SECONDS_MIN && bench->seconds <= SECONDS_MAX);
}

int command_bench(const struct command_line *line)
{
	struct bench bench = { .line = line };
	struct message error;
	int status;

	if (!take_seconds(&bench)) {
		message_set(&error, MSG_BAD_VALUE, "--seconds=%.40s is no number of %g to %g", line->seconds, SECONDS_MIN,
			    SECONDS_MAX);
		return command_fail(line, &error);
	}
	if (options_parse_mount(line->words[0], "/mnt", line->options, &bench.options, &error))
		return command_fail(line, &error);
	status = run(&bench);
	options_deinit(&bench.options);
	return status;
}
