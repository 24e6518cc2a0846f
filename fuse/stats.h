/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats - what is counted of FUSE requests: how long each operation took from its arrival to its reply, errors,
 * bytes, how many of the operations on names and attributes were answered without asking the server, and who asked.
 *
 * Each loop counts in memory of its own, without a locked instruction and without another clock: times are those
 * of the loop's turns. Other threads share one more part, under a lock; they reply seldom. Who reads adds up all
 * parts, at any time, from any thread; numbers of one moment may be apart by what happened meanwhile. */
#ifndef FUSE_STATS_H
#define FUSE_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "../conn/histogram.h"

struct pool;
struct stats;

enum { STATS_OPS = 48, STATS_USERS = 64, STATS_ERRNOS = 24 };

/* stats_op_name - of a FUSE opcode below STATS_OPS: "READ"; NULL: not counted. */
const char *stats_op_name(unsigned int opcode);
/* stats_errno_name - of a kind of error below STATS_ERRNOS: "ENOENT"; "other": none of those; NULL: there is no such kind. */
const char *stats_errno_name(unsigned int kind);

struct stats *stats_new(struct pool *pool);
void stats_free(struct stats *stats); /* takes NULL */

/* One request that was answered. */
struct stats_sample {
	unsigned int opcode;
	uint32_t uid;
	int32_t pid;         /* thread id, as the kernel gives it; 0: the kernel itself, or of another namespace */
	int64_t took_ns, now_ns;
	int error;           /* 0 or -errno */
	uint64_t bytes;      /* read or written */
	bool asked;          /* the server, for this */
};
/* stats_count - any thread; fastest on a loop of the pool. stats may be NULL. */
void stats_count(struct stats *stats, const struct stats_sample *sample);

struct stats_totals {
	uint64_t read_bytes, written_bytes;
	uint64_t n_meta, n_meta_hits; /* operations but READ and WRITE; answered from memory */
};
void stats_totals(struct stats *stats, struct stats_totals *ret_totals);
/* stats_op - add how long it took to *sum. Returns how many of them failed. stats_errors - with what: of each kind. */
uint64_t stats_op(struct stats *stats, unsigned int opcode, struct histogram_sum *sum);
void stats_errors(struct stats *stats, unsigned int opcode, uint64_t ret_errors[STATS_ERRNOS]);

/* Who made requests lately: a few per loop, the least recent make room. Counted since it was first seen. */
struct stats_user {
	uint32_t uid;
	int32_t pid;
	uint64_t n_ops, read_bytes, written_bytes;
	int64_t last_ns;
};
/* stats_users - at most n of them, one per process. Returns how many. */
unsigned int stats_users(struct stats *stats, struct stats_user users[], unsigned int n);

#endif
