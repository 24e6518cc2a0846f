/* SPDX-License-Identifier: GPL-2.0-or-later */
/* report_parts - between report.c and report_counts.c. */
#ifndef FUSE_CONTROL_REPORT_PARTS_H
#define FUSE_CONTROL_REPORT_PARTS_H

#include "report.h"

double report_seconds(int64_t ns);
/* report_latency - count, total, largest, quantiles, and with `all` the buckets. */
json_t *report_latency(const struct histogram_sum *sum, bool all);
double report_cpu_seconds(void);
int64_t report_resident_bytes(void);
/* report_procedure_name - of NFSv3, by its number; NULL: there is none. */
const char *report_procedure_name(unsigned int proc);
/* report_add_counts - totals, quantiles of both latencies, the process. report_add_histograms - all buckets, per
 * operation and procedure, and who asked. */
void report_add_counts(struct report *report, json_t *json);
void report_add_histograms(struct report *report, json_t *json);

#endif
