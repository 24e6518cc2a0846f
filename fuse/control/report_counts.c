/* SPDX-License-Identifier: GPL-2.0-or-later */
/* report_counts - the numbers of report.h: latencies, bytes, users, the process. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "../stats.h"
#include "report_parts.h"

static const char *const procedures[] = { /* RFC 1813 section 3.3 */
	"NULL",   "GETATTR", "SETATTR", "LOOKUP", "ACCESS", "READLINK", "READ",        "WRITE",
	"CREATE", "MKDIR",   "SYMLINK", "MKNOD",  "REMOVE", "RMDIR",    "RENAME",      "LINK",
	"READDIR", "READDIRPLUS", "FSSTAT", "FSINFO", "PATHCONF", "COMMIT",
};

const char *report_procedure_name(unsigned int proc)
{
	return proc < ARRAY_SIZE(procedures) ? procedures[proc] : NULL;
}

/* The end of a bucket, but not more than the most that was seen. */
static void add_quantile(json_t *json, const char *key, const struct histogram_sum *sum, unsigned int thousandths)
{
	double ns = (double)histogram_quantile_us(sum, thousandths) * 1e3;

	json_object_set_new(json, key, json_real((ns < (double)sum->max_ns ? ns : (double)sum->max_ns) / 1e9));
}

/* [[end of the bucket in us, count], ...], of those that are not empty. */
static json_t *buckets(const struct histogram_sum *sum)
{
	json_t *json = json_array();

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		if (sum->n[i])
			json_array_append_new(json, json_pack("[I, I]", (json_int_t)histogram_end_us(i),
							      (json_int_t)sum->n[i]));
	return json;
}

json_t *report_latency(const struct histogram_sum *sum, bool all)
{
	json_t *json = json_object();

	json_object_set_new(json, "count", json_integer((json_int_t)sum->count));
	json_object_set_new(json, "total_seconds", json_real((double)sum->total_ns / 1e9));
	json_object_set_new(json, "max_seconds", json_real((double)sum->max_ns / 1e9));
	add_quantile(json, "p50_seconds", sum, 500);
	add_quantile(json, "p99_seconds", sum, 990);
	if (all)
		json_object_set_new(json, "buckets_us", buckets(sum));
	return json;
}

static json_t *errors_of(struct report *report, unsigned int op)
{
	uint64_t errors[STATS_ERRNOS];
	json_t *json = json_object();

	stats_errors(report->fs->stats, op, errors);
	for (unsigned int kind = 0; kind < STATS_ERRNOS; kind++)
		if (errors[kind])
			json_object_set_new(json, stats_errno_name(kind), json_integer((json_int_t)errors[kind]));
	return json;
}

static json_t *operations(struct report *report, bool all)
{
	json_t *json = json_object(), *one;

	for (unsigned int op = 0; op < STATS_OPS; op++) {
		struct histogram_sum sum = { 0 };
		uint64_t n_errors;

		if (!stats_op_name(op))
			continue;
		n_errors = stats_op(report->fs->stats, op, &sum);
		if (!sum.count)
			continue;
		one = report_latency(&sum, all);
		json_object_set_new(one, "errors", json_integer((json_int_t)n_errors));
		if (n_errors)
			json_object_set_new(one, "errnos", errors_of(report, op));
		json_object_set_new(json, stats_op_name(op), one);
	}
	return json;
}

static json_t *calls(struct report *report, bool all)
{
	json_t *json = json_object();

	for (unsigned int proc = 0; proc < ARRAY_SIZE(procedures); proc++) {
		struct histogram_sum sum = { 0 };

		pool_latency(report->fs->pool, proc, &sum);
		if (sum.count)
			json_object_set_new(json, procedures[proc], report_latency(&sum, all));
	}
	return json;
}

double report_cpu_seconds(void)
{
	struct timespec used;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
	return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

int64_t report_resident_bytes(void)
{
	FILE *stream = fopen("/proc/self/statm", "re");
	long long size = 0, resident = 0;

	if (!stream)
		return 0;
	if (fscanf(stream, "%lld %lld", &size, &resident) != 2)
		resident = 0;
	fclose(stream);
	return resident * sysconf(_SC_PAGESIZE);
}

static void add_totals(struct report *report, json_t *json)
{
	struct stats_totals totals;

	stats_totals(report->fs->stats, &totals);
	json_object_set_new(json, "monotonic_seconds", json_real((double)report->snapshot.now_ns / 1e9));
	json_object_set_new(json, "read_bytes", json_integer((json_int_t)totals.read_bytes));
	json_object_set_new(json, "written_bytes", json_integer((json_int_t)totals.written_bytes));
	json_object_set_new(json, "metadata_operations", json_integer((json_int_t)totals.n_meta));
	json_object_set_new(json, "metadata_hits", json_integer((json_int_t)totals.n_meta_hits));
	json_object_set_new(json, "process", json_pack("{s:f, s:I}", "cpu_seconds", report_cpu_seconds(), "resident_bytes",
						       (json_int_t)report_resident_bytes()));
}

void report_add_counts(struct report *report, json_t *json)
{
	add_totals(report, json);
	json_object_set_new(json, "operations", operations(report, false));
	json_object_set_new(json, "procedures", calls(report, false));
}

static json_t *users(struct report *report)
{
	struct stats_user list[4 * STATS_USERS];
	unsigned int n = stats_users(report->fs->stats, list, ARRAY_SIZE(list));
	json_t *json = json_array();

	for (unsigned int i = 0; i < n; i++)
		json_array_append_new(json, json_pack("{s:i, s:I, s:I, s:I, s:I, s:f}", "pid", (int)list[i].pid, "uid",
						      (json_int_t)list[i].uid, "operations",
						      (json_int_t)list[i].n_ops, "read_bytes",
						      (json_int_t)list[i].read_bytes, "written_bytes",
						      (json_int_t)list[i].written_bytes, "idle_seconds",
						      report_seconds(report->snapshot.now_ns - list[i].last_ns)));
	return json;
}

void report_add_histograms(struct report *report, json_t *json)
{
	json_object_set_new(json, "operations", operations(report, true));
	json_object_set_new(json, "procedures", calls(report, true));
	json_object_set_new(json, "users", users(report));
}
