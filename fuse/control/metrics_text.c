/* SPDX-License-Identifier: GPL-2.0-or-later */
/* metrics_text - all that is counted, in Prometheus's text format (version 0.0.4). Names never change their meaning;
 * units are the base ones, and in the name. Histograms have a bucket for every doubling of a microsecond. */
#include <stdio.h>
#include <stdlib.h>

#include "../../conn/util.h"
#include "../live.h"
#include "../request.h"
#include "../stats.h"
#include "../wback_pool.h"
#include "metrics.h"
#include "report_parts.h"

static void begin(FILE *stream, const char *name, const char *type, const char *help)
{
	fprintf(stream, "# HELP fusenfs_%s %s\n# TYPE fusenfs_%s %s\n", name, help, name, type);
}

static void single(FILE *stream, const char *name, const char *type, const char *help, double value)
{
	begin(stream, name, type, help);
	fprintf(stream, "fusenfs_%s %.9g\n", name, value);
}

static void put_label(FILE *stream, const char *name, const char *text)
{
	fprintf(stream, "%s=\"", name);
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", stream);
		else if (*text == '"' || *text == '\\')
			fprintf(stream, "\\%c", *text);
		else
			fputc((unsigned char)*text < 0x80 ? *text : '?', stream); /* UTF-8 is asked for */
	}
	fputc('"', stream);
}

static void put_infos(struct report *report, FILE *stream)
{
	begin(stream, "build_info", "gauge", "The program; always 1.");
	fputs("fusenfs_build_info{version=\"" FUSENFS_VERSION "\"} 1\n", stream);
	begin(stream, "mount_info", "gauge", "The mount; always 1.");
	fputs("fusenfs_mount_info{", stream);
	put_label(stream, "source", report->fs->options->source.text);
	fputc(',', stream);
	put_label(stream, "mount", live_point(report->live));
	fputs(",version=\"3\"} 1\n", stream);
}

/* ---- connections ------------------------------------------------------------------------- */

static double is_up(const struct conn_snapshot *conn) { return conn->info.state == CONN_UP; }
static double sent(const struct conn_snapshot *conn) { return (double)conn->info.bytes_sent; }
static double received(const struct conn_snapshot *conn) { return (double)conn->info.bytes_received; }
static double in_flight(const struct conn_snapshot *conn) { return conn->n_calls; }
static double rtt(const struct conn_snapshot *conn) { return report_seconds(conn->tcp_rtt_ns); }
static double retransmits(const struct conn_snapshot *conn) { return (double)conn->retransmits; }
static double reconnects(const struct conn_snapshot *conn) { return (double)conn->info.reconnects; }

static const struct {
	const char *name, *type, *help;
	double (*value)(const struct conn_snapshot *conn);
} of_connections[] = {
	{ "connection_up", "gauge", "Is the connection up?", is_up },
	{ "connection_sent_bytes_total", "counter", "Bytes sent.", sent },
	{ "connection_received_bytes_total", "counter", "Bytes received.", received },
	{ "connection_inflight", "gauge", "Calls on the connection that are not answered.", in_flight },
	{ "connection_rtt_seconds", "gauge", "The kernel's smoothed round trip time.", rtt },
	{ "connection_retransmits_total", "counter", "TCP segments that were sent again.", retransmits },
	{ "connection_reconnects_total", "counter", "How often it was lost and made again.", reconnects },
};

static void put_connections(const struct pool_snapshot *snapshot, FILE *stream)
{
	for (unsigned int row = 0; row < ARRAY_SIZE(of_connections); row++) {
		begin(stream, of_connections[row].name, of_connections[row].type, of_connections[row].help);
		for (unsigned int i = 0; i < snapshot->n_conns; i++)
			fprintf(stream, "fusenfs_%s{conn=\"%u\"} %.17g\n", of_connections[row].name,
				snapshot->conns[i].info.id, of_connections[row].value(&snapshot->conns[i]));
	}
}

/* ---- histograms -------------------------------------------------------------------------- */

static void put_histogram(FILE *stream, const char *name, const char *op, const struct histogram_sum *sum)
{
	unsigned long long count = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t end_us = histogram_end_us(i);

		count += sum->n[i];
		if (!(end_us & (end_us - 1)) && i < HISTOGRAM_BUCKETS - 1)
			fprintf(stream, "fusenfs_%s_bucket{op=\"%s\",le=\"%.9g\"} %llu\n", name, op, (double)end_us / 1e6,
				count);
	}
	fprintf(stream, "fusenfs_%s_bucket{op=\"%s\",le=\"+Inf\"} %llu\n", name, op, count);
	fprintf(stream, "fusenfs_%s_sum{op=\"%s\"} %.9f\n", name, op, (double)sum->total_ns / 1e9);
	fprintf(stream, "fusenfs_%s_count{op=\"%s\"} %llu\n", name, op, count);
}

/* Only what has happened: most errors never do. */
static void put_errors(struct report *report, FILE *stream)
{
	static const char name[] = "fuse_errors_total";
	uint64_t errors[STATS_ERRNOS];

	begin(stream, name, "counter", "Requests that ended with an error, \"not there\" (ENOENT) among them.");
	for (unsigned int op = 0; op < STATS_OPS; op++) {
		if (!stats_op_name(op))
			continue;
		stats_errors(report->fs->stats, op, errors);
		for (unsigned int kind = 0; kind < STATS_ERRNOS; kind++)
			if (errors[kind])
				fprintf(stream, "fusenfs_%s{op=\"%s\",errno=\"%s\"} %llu\n", name, stats_op_name(op),
					stats_errno_name(kind), (unsigned long long)errors[kind]);
	}
}

static void put_operations(struct report *report, FILE *stream)
{
	static const char name[] = "fuse_request_duration_seconds";

	begin(stream, name, "histogram", "From a request's arrival to its reply: what programs wait for.");
	for (unsigned int op = 0; op < STATS_OPS; op++) {
		struct histogram_sum sum = { 0 };

		if (!stats_op_name(op))
			continue;
		stats_op(report->fs->stats, op, &sum);
		if (sum.count)
			put_histogram(stream, name, stats_op_name(op), &sum);
	}
	put_errors(report, stream);
}

static void put_procedures(struct report *report, FILE *stream)
{
	static const char name[] = "rpc_request_duration_seconds";

	begin(stream, name, "histogram", "From a call's first byte to its answer: what the server takes.");
	for (unsigned int proc = 0; report_procedure_name(proc); proc++) {
		struct histogram_sum sum = { 0 };

		pool_latency(report->fs->pool, proc, &sum);
		if (sum.count)
			put_histogram(stream, name, report_procedure_name(proc), &sum);
	}
}

/* ---- all of it --------------------------------------------------------------------------- */

static void put_totals(struct report *report, FILE *stream)
{
	struct stats_totals totals;

	stats_totals(report->fs->stats, &totals);
	single(stream, "read_bytes_total", "counter", "Bytes that programs have read.", (double)totals.read_bytes);
	single(stream, "written_bytes_total", "counter", "Bytes that programs have written.",
	       (double)totals.written_bytes);
	begin(stream, "cache_hits_total", "counter", "Operations answered from memory.");
	fprintf(stream, "fusenfs_cache_hits_total{cache=\"metadata\"} %llu\n", (unsigned long long)totals.n_meta_hits);
	begin(stream, "cache_misses_total", "counter", "Operations for which the server was asked.");
	fprintf(stream, "fusenfs_cache_misses_total{cache=\"metadata\"} %llu\n",
		(unsigned long long)(totals.n_meta - totals.n_meta_hits));
}

static void put_requests(struct report *report, FILE *stream)
{
	struct request_oldest oldest = { 0 };
	bool any = request_table_oldest(report->fs->requests, &oldest);

	single(stream, "waiting_requests", "gauge", "Requests that are not answered yet.",
	       request_table_count(report->fs->requests));
	single(stream, "oldest_request_seconds", "gauge", "Since when the oldest of them waits.",
	       any ? report_seconds(report->snapshot.now_ns - oldest.start_ns) : 0.0);
	single(stream, "ambiguous_ops_total", "counter", "Calls that may have been executed when they were lost.",
	       (double)report->snapshot.pool.n_ambiguous);
	single(stream, "unsaved_bytes", "gauge", "Written, and not yet on the server's stable storage.",
	       (double)wback_pool_bytes(report->fs->wback));
}

char *metrics_text(struct report *report, size_t *ret_size)
{
	char *text = NULL;
	FILE *stream = open_memstream(&text, ret_size);

	if (!stream)
		return NULL;
	single(stream, "ready", "gauge", "Does the server answer?", report_is_ready(report)); /* takes a snapshot */
	put_infos(report, stream);
	put_connections(&report->snapshot, stream);
	put_totals(report, stream);
	put_requests(report, stream);
	put_operations(report, stream);
	put_procedures(report, stream);
	single(stream, "process_cpu_seconds_total", "counter", "CPU time of the daemon.", report_cpu_seconds());
	single(stream, "process_resident_memory_bytes", "gauge", "Memory of the daemon.",
	       (double)report_resident_bytes());
	if (fclose(stream)) {
		free(text);
		return NULL;
	}
	return text;
}
