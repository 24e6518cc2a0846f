/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench - how fast is the path, with so many connections? READs of one file, or WRITEs to one, over the pool of conn/,
 * without a mount.
 *
 * A slice opens a pool of its own, keeps BENCH_IN_FLIGHT bytes under way, which is about what a mount reads ahead, lets
 * it find its pace, and counts. The file is read again and again, so the server has it in memory: it is the path that
 * is measured, not the disk. Ports are new in each slice, and so are the links that a hash of them chooses.
 *
 * Private to cmd_bench.c and bench_*.c. The thread that waits, and the loops of the pool. */
#ifndef FUSE_COMMAND_BENCH_H
#define FUSE_COMMAND_BENCH_H

#include "../../conn/histogram.h"
#include "session.h"

enum { BENCH_MAX_STEPS = 8, BENCH_IN_FLIGHT = 32 << 20, BENCH_WRITE_SIZE = 64 << 20 };

/* The server and the file. */
struct bench_file {
	const struct options *options;
	struct mount_query query;      /* of the export; export_path is its path */
	char *export_path;
	const char *rest;              /* of the source's path, in the export */
	struct mount_result result;
	struct pool_addr addrs[POOL_MAX_ADDRS]; /* that have the same root */
	unsigned int n_addrs;
	struct fhandle dir, fh;        /* dir: where a file to write was made */
	uint64_t size;
	uint32_t transfer;             /* bytes of a READ or WRITE, as agreed with the server */
	bool write;
	char name[64];                 /* of the file that was made; "": none */
};

/* bench_file_find - 0; or -errno with the reason. write: the path is a directory, and a file is made there.
 * bench_file_close - removes that; in both cases. False: it is left, and the server does not answer. */
int bench_file_find(struct bench_file *file, const struct options *options, bool write, struct message *ret_error);
bool bench_file_close(struct bench_file *file);

/* What was measured with so many connections, over all slices. */
struct bench_step {
	unsigned int nconnect;
	uint64_t bytes;
	int64_t wall_ns;               /* in which these were transferred */
	int64_t used_ns, cpu_ns;       /* while it counted: time, and CPU time of this process */
	double nic_share;              /* of the network card's rate, 0..1; 0: not known */
	char nic[IF_NAMESIZE];
	unsigned int nic_mbit;
	struct histogram_sum latency;  /* of a READ or WRITE, from sent to answered */
};

/* bench_slice - one more of ns nanoseconds. 0, -EINTR: *stop was set; or -errno. */
int bench_slice(const struct bench_file *file, struct bench_step *step, int64_t ns, _Atomic(bool) *stop);

#endif
