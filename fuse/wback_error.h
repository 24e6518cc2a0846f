/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_error - data of a file that is lost: who has been told, and the line in the log.
 *
 * As the kernel's errseq_t: each open file is told once of what was lost since it was opened or last
 * told; and what nobody has been told of, because all had closed the file, the next to open it. */
#ifndef FUSE_WBACK_ERROR_H
#define FUSE_WBACK_ERROR_H

#include <stdbool.h>
#include <stdint.h>

struct fs;
struct inode;

/* Zero-initialised: none. The wback's lock guards it. */
struct wback_error {
	int error;     /* errno of the last loss */
	uint32_t seq;  /* counts losses */
	bool untold;   /* nobody has been told of the last one */
};

/* wback_error_set - error: -errno. */
void wback_error_set(struct wback_error *state, int error);
/* wback_error_mark - what a file that is opened now has seen. */
uint32_t wback_error_mark(const struct wback_error *state);
/* wback_error_take - the -errno that a file has not been told, 0; it has been now. */
int wback_error_take(struct wback_error *state, uint32_t *seen);

/* wback_error_log - write-lost. No lock held. */
void wback_error_log(struct fs *fs, struct inode *inode, uint64_t bytes, int error, const char *why);

#endif
