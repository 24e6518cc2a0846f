/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountinfo - /proc/self/mountinfo as a table: what is mounted where, without asking any file
 * system but proc. Private to mountpoint*.c, command/ and their tests. */
#ifndef FUSE_MOUNTINFO_H
#define FUSE_MOUNTINFO_H

#include <stddef.h>
#include <stdio.h>

struct mount_row {
	int id, parent;
	unsigned int major, minor;
	char *point, *type, *source;
	long user; /* FUSE's user_id=, who mounted; -1: not said */
};

/* Zero-initialise; mount_table_deinit() after use. */
struct mount_table {
	struct mount_row *rows; /* in the kernel's order */
	size_t n;
};

/* mount_table_read - from a stream in the form of proc_pid_mountinfo(5). mount_table_load - from
 * this process's. 0 or -errno; lines that make no sense are skipped. */
int mount_table_read(struct mount_table *table, FILE *stream);
int mount_table_load(struct mount_table *table);
void mount_table_deinit(struct mount_table *table);

/* mount_table_at - the mount that is visible at path (absolute, without links, "." and "//"), if
 * path is its mount point; else NULL. Mounts hidden below others are not found. */
const struct mount_row *mount_table_at(const struct mount_table *table, const char *path);

#endif
