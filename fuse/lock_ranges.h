/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_ranges - the byte ranges of a file that one owner has locked, as fcntl(2) has them: setting a
 * type over a range splits what it cuts and joins what touches and is alike. In order of offset, not
 * overlapping, no two neighbours alike. Pure; one thread at a time. */
#ifndef FUSE_LOCK_RANGES_H
#define FUSE_LOCK_RANGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum lock_type { LOCK_NONE, LOCK_SHARED, LOCK_EXCLUSIVE };

/* Bytes start..end, end included; end UINT64_MAX: to the end of the file. */
struct lock_range {
	uint64_t start, end;
	enum lock_type type;
	TAILQ_ENTRY(lock_range) link;
};

struct lock_ranges {
	TAILQ_HEAD(lock_range_list, lock_range) list;
	unsigned int n;
};

void lock_ranges_init(struct lock_ranges *ranges);
void lock_ranges_clear(struct lock_ranges *ranges);

/* lock_ranges_set - start..end is of this type from now on (LOCK_NONE: free). 0, or -ENOMEM with nothing
 * changed. */
int lock_ranges_set(struct lock_ranges *ranges, uint64_t start, uint64_t end, enum lock_type type);

/* lock_ranges_piece - the piece of start..end that begins at start: how far it is of one type
 * (*ret_end, at most end), and of which. Walk on from *ret_end + 1. */
enum lock_type lock_ranges_piece(const struct lock_ranges *ranges, uint64_t start, uint64_t end,
				 uint64_t *ret_end);

/* lock_ranges_conflict - the first range that another owner's lock of this type could not be granted
 * beside; NULL. */
const struct lock_range *lock_ranges_conflict(const struct lock_ranges *ranges, uint64_t start,
					      uint64_t end, enum lock_type type);

#endif
