/* SPDX-License-Identifier: GPL-2.0-or-later */
/* load - which processes load a mount: what each has done between two answers of the daemon, the busiest first. */
#ifndef FUSE_COMMAND_LOAD_H
#define FUSE_COMMAND_LOAD_H

#include <jansson.h>

struct load {
	int pid;            /* the process, not the thread */
	unsigned int uid;
	double operations, read_bytes, written_bytes; /* per second */
};

/* load_between - at most n of them, one per process. Returns how many. */
unsigned int load_between(const json_t *earlier, const json_t *later, struct load loads[], unsigned int n);

#endif
