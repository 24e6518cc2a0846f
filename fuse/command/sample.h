/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sample - what happened between two answers of a daemon: rates and quantiles. Pure functions of the answers. */
#ifndef FUSE_COMMAND_SAMPLE_H
#define FUSE_COMMAND_SAMPLE_H

#include <jansson.h>
#include <stdbool.h>

struct sample {
	double seconds;                        /* between them */
	double read_bytes, written_bytes;      /* per second, as what follows */
	double reads, writes, metadata;        /* operations */
	double metadata_hits;                  /* 0 to 1, of these */
	double app_p50, app_p99;               /* seconds; 0: there were none */
	double server_p50, server_p99;
	double cpu;                            /* 1: one CPU */
};

/* sample_between - earlier may be NULL: since the mount was made. Both are answers to "stats". */
void sample_between(const json_t *earlier, const json_t *later, struct sample *ret_sample);

/* sample_delta - of a number; never negative. */
double sample_delta(const json_t *earlier, const json_t *later, const char *path);
/* sample_quantile - of the buckets of one operation or procedure, or of all under that key ("operations"). name: NULL:
 * all. Seconds; 0: none. */
double sample_quantile(const json_t *earlier, const json_t *later, const char *key, const char *name, double part);
/* sample_latency - of one of these, or of a connection's "latency"; earlier may be NULL. */
double sample_latency(const json_t *earlier, const json_t *later, double part);
/* sample_connection - of that id; NULL: none. */
const json_t *sample_connection(const json_t *answer, int id);

#endif
