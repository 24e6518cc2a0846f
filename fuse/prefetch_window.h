/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prefetch_window - is a file being read sequentially, and how far ahead is worth it?
 *
 * Pure: no lock, clock or I/O. The kernel sends a sequential reader's READs one after the other, but two
 * loops may take them in the other order; so one gap is allowed, until it is filled.
 *
 * The window is as long as the run: what is fetched in vain is at most about what was read, and a
 * steady reader has the whole of it after a few doublings. A run that ends with data unread makes the next one
 * prove itself for twice as long. So random access pays for nothing but its first few mistakes. */
#ifndef FUSE_PREFETCH_WINDOW_H
#define FUSE_PREFETCH_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
	PREFETCH_RUN_MIN = 256 * 1024,        /* read in sequence before anything is fetched ahead */
	PREFETCH_RUN_MAX = 256 * 1024 * 1024, /* the same after many mistakes */
	PREFETCH_BEHIND = 512 * 1024,         /* so far back, a READ was overtaken by others */
	PREFETCH_OVERTAKES = 64 * 1024,       /* only so large a READ is the kernel's read-ahead */
};

struct prefetch_window {
	uint64_t run;    /* bytes read in sequence */
	uint64_t next;   /* where the following READ is expected */
	uint64_t gap, gap_end; /* overtaken, still to come; gap_end 0: none */
	uint64_t run_min; /* 0: PREFETCH_RUN_MIN */
};

/* prefetch_window_note - a READ of [offset, offset + size). False: a seek; the run begins anew with
 * it. */
bool prefetch_window_note(struct prefetch_window *window, uint64_t offset, uint32_t size);
/* prefetch_window_ahead - fetch up to so many bytes behind `next`; 0: nothing. max: what is allowed. */
uint64_t prefetch_window_ahead(const struct prefetch_window *window, uint64_t max);
/* prefetch_window_wasted - what was fetched was dropped unread: the end of a run. */
void prefetch_window_wasted(struct prefetch_window *window);
/* prefetch_window_stop - what was to be fetched could not be: the run begins anew. */
void prefetch_window_stop(struct prefetch_window *window);
/* prefetch_window_block - the end of the block that begins at start: on a multiple of rsize, and not
 * behind the end of the file. <= start: there is none. */
uint64_t prefetch_window_block(uint64_t start, uint32_t rsize, uint64_t file_size);

#endif
