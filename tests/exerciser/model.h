/* SPDX-License-Identifier: GPL-2.0-or-later */
/* model - what is in a file: changed as the file is, and compared with what is read of it, through
 * the mount or from the server's disk. A difference ends the program. */
#ifndef EXERCISER_MODEL_H
#define EXERCISER_MODEL_H

#include <sys/types.h>

#include "world.h"

/* model_write - these bytes are there now. */
void model_write(struct world *world, struct file *file, uint64_t offset, const uint8_t *data,
		 uint64_t length);
void model_truncate(struct file *file, uint64_t size);
/* model_changed - the time of the last change is another, unknown one. */
void model_changed(struct file *file);

/* model_readable - so many bytes a read of length at offset returns. */
uint64_t model_readable(const struct file *file, uint64_t offset, uint64_t length);
/* model_check - what read(2) returned (n), and the bytes. */
void model_check(struct world *world, struct file *file, const char *what, const uint8_t *found,
		 ssize_t n, uint64_t offset, uint64_t length);
/* model_check_bytes - length bytes found at offset, which is within the file. */
void model_check_bytes(struct world *world, struct file *file, const char *what,
		       const uint8_t *found, uint64_t offset, uint64_t length);

/* model_check_stat - size and times by fstat(fd), or by name if fd < 0. force: the server is asked.
 */
void model_check_stat(struct world *world, struct file *file, int fd, bool force);

/* model_check_disk - the whole file is on the server's disk, as fsync and close promise.
 * model_check_disk_range - these bytes are. */
void model_check_disk(struct world *world, struct file *file, const char *what);
void model_check_disk_range(struct world *world, struct file *file, const char *what,
			    uint64_t offset, uint64_t length);

/* stamp - bytes for a file's [offset, offset + length): each eight of them name the operation and
 * the place; none is 0. stamp_describe - what eight bytes say. */
void stamp(uint8_t *data, uint32_t operation, uint64_t offset, uint64_t length);
void stamp_describe(const uint8_t *word, char *text, size_t size);

#endif
