/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_wait - someone who needs everything written so far to be stable, or with the server; see
 * wback.h. */
#ifndef FUSE_WBACK_WAIT_H
#define FUSE_WBACK_WAIT_H

#include <stdint.h>
#include <sys/queue.h>

/* Embed it; set done. */
struct wback_wait {
	void (*done)(struct wback_wait *wait, int error); /* 0 or -errno; once, no lock held */
	uint64_t seq;                                     /* wback's, as is what follows */
	uint64_t from;     /* no quarantine behind this byte, either; UINT64_MAX: never mind */
	int64_t until_ns;  /* of who waits for the server to have it: no longer than this */
	TAILQ_ENTRY(wback_wait) link;
};

TAILQ_HEAD(wback_wait_list, wback_wait);

#endif
