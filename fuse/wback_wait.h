/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_wait - someone who needs everything written so far to be stable; see wback.h. */
#ifndef FUSE_WBACK_WAIT_H
#define FUSE_WBACK_WAIT_H

#include <stdint.h>
#include <sys/queue.h>

/* Embed it; set done. */
struct wback_wait {
	void (*done)(struct wback_wait *wait, int error); /* 0 or -errno; once, no lock held */
	uint64_t seq;                                     /* wback.c's, as is link */
	TAILQ_ENTRY(wback_wait) link;
};

#endif
