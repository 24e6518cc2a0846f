/* SPDX-License-Identifier: GPL-2.0-or-later */
/* readahead - the kernel's read-ahead for the mount. FUSE starts at 128 KiB, too little to keep even
 * one connection busy; the backing device's value in sysfs can be raised where permitted (root). */
#ifndef FUSE_READAHEAD_H
#define FUSE_READAHEAD_H

#include <stdint.h>

#include "options.h"

/* readahead_bytes - what the options ask: automatic is 4 to 16 MiB by the number of connections. */
uint64_t readahead_bytes(const struct options *options);
/* readahead_set - for the mount at this absolute path; only after INIT, which would undo it. 0, or
 * -errno: -EACCES and the like mean that the kernel's default stays. */
int readahead_set(const char *path, uint64_t bytes);

#endif
