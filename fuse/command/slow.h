/* SPDX-License-Identifier: GPL-2.0-or-later */
/* slow - which connections carry less than they should: less than half of the median of those that carry data, for
 * SLOW_NS on end while the mount moves data. */
#ifndef FUSE_COMMAND_SLOW_H
#define FUSE_COMMAND_SLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "../../conn/util.h"

enum { SLOW_MAX = 64 };
#define SLOW_NS (10 * NS_PER_S)
#define SLOW_LEAST 1e6 /* bytes per second of the median: below that there is nothing to compare */

struct slow {
	int64_t since_ns[SLOW_MAX]; /* by connection; 0: it is not */
};

/* slow_note - rates[i] in bytes per second of connection i, of n; negative: it takes no data. */
void slow_note(struct slow *slow, const double rates[], unsigned int n, int64_t now_ns);
bool slow_is(const struct slow *slow, unsigned int i, int64_t now_ns);

#endif
