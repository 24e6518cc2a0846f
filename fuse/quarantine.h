/* SPDX-License-Identifier: GPL-2.0-or-later */
/* quarantine - pieces of a file that a call of ours may still change behind our back.
 *
 * A WRITE whose connection was lost is sent again on another one, after a reset; but the server may
 * have the first copy in its receive queue, and execute it after what was written there since
 * (retransmission.md section 3, hazard 1). So the piece is left alone for QUARANTINE_NS after the
 * answer to the second copy, or after the WRITE has ended without an answer.
 *
 * A few spans, joined where they meet; when there are too many, also where they do not: too much is
 * left alone then, never too little. Pure: the clock is an argument, the owner's lock guards it. */
#ifndef FUSE_QUARANTINE_H
#define FUSE_QUARANTINE_H

#include <stdbool.h>
#include <stdint.h>

#include "../conn/util.h"

enum { QUARANTINE_MAX = 8 };
#define QUARANTINE_NS (2 * NS_PER_S)

/* Zero-initialised: empty. */
struct quarantine {
	unsigned int n;
	struct quarantine_span {
		uint64_t start, end; /* end: first byte behind it; UINT64_MAX: all there is */
		int64_t until_ns;
	} spans[QUARANTINE_MAX];
};

void quarantine_add(struct quarantine *quarantine, uint64_t start, uint64_t end, int64_t until_ns);
bool quarantine_overlaps(const struct quarantine *quarantine, uint64_t start, uint64_t end);
/* quarantine_expire - let go what is over. */
void quarantine_expire(struct quarantine *quarantine, int64_t now_ns);

static inline bool quarantine_is_empty(const struct quarantine *quarantine)
{
	return quarantine->n == 0;
}

#endif
