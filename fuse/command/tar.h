/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tar - a small archive in memory: POSIX.1-1988 ustar, plain files, mode 0644. One thread. */
#ifndef FUSE_COMMAND_TAR_H
#define FUSE_COMMAND_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zero-initialise; tar_deinit() after use. */
struct tar {
	uint8_t *bytes;
	size_t len;
	bool failed;     /* no memory: it is not complete */
};

/* tar_add - one more file; a name of at most 99 bytes. tar_end - two empty blocks, the last of it. */
void tar_add(struct tar *tar, const char *name, const void *data, size_t len, int64_t mtime);
void tar_end(struct tar *tar);
void tar_deinit(struct tar *tar);

#endif
