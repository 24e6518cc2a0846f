/* SPDX-License-Identifier: GPL-2.0-or-later */
/* buffer - page-aligned memory for payloads: what FUSE requests are read into, what READ replies are
 * received into, and what written data is held in until it is stable.
 *
 * Large ones are all of one size and are used again: mapping and faulting in a mebibyte costs as much
 * as copying it. What has not been needed for a while is given back to the system, so that a mount
 * is as small at rest as it was before. Small ones are the allocator's.
 *
 * Any thread. */
#ifndef FUSE_BUFFER_H
#define FUSE_BUFFER_H

#include <stddef.h>

enum {
	BUFFER_PAGE = 4096,
	BUFFER_LARGE_MIN = 128 * 1024,                 /* more than this comes from the store */
	BUFFER_LARGE = 1024 * 1024 + 2 * BUFFER_PAGE, /* and has room for so much */
};

/* buffer_get - at least size bytes, at most BUFFER_LARGE, on a page boundary. NULL without memory.
 * buffer_put - takes NULL. */
void *buffer_get(size_t size);
void buffer_put(void *buffer);

/* buffer_trim - give back half of what has lain unused since the last call; from a timer. */
void buffer_trim(void);
/* buffer_trim_all - everything that is unused. */
void buffer_trim_all(void);

#endif
