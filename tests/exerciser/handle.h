/* SPDX-License-Identifier: GPL-2.0-or-later */
/* handle - the descriptors and mappings that a process has, and which of them it uses next. */
#ifndef EXERCISER_HANDLE_H
#define EXERCISER_HANDLE_H

#include "world.h"

/* handle_open - a file that is linked; flags as of open(2). If the process has too many, it closes
 * one. */
struct handle *handle_open(struct world *world, struct process *process, struct file *file,
			   int flags);
void handle_close(struct world *world, struct handle *handle);

/* handle_pick - one by which a file may be read (want = O_RDONLY) or written (O_WRONLY), without
 * O_DIRECT, opened if need be; NULL: there is none just now.
 * handle_of - the same for this file. */
struct handle *handle_pick(struct world *world, struct process *process, int want);
struct handle *handle_of(struct world *world, struct process *process, struct file *file, int want);
/* handle_any - any descriptor of the file that this process has, -1 if none. */
int handle_any(const struct process *process, const struct file *file);

/* file_pick - one that is linked, made anew if all of it is gone; NULL: it is not linked, but open.
 */
struct file *file_pick(struct world *world, struct process *process);
/* file_new_name - one that was never used. */
void file_new_name(struct world *world, char *name);
/* file_lost_name - and may still be open. */
void file_lost_name(struct file *file);
/* file_flush_maps - what stores through mappings have left in memory is written. */
void file_flush_maps(struct world *world, struct file *file, const struct handle *handle);
/* file_check - what fstat or stat says of it. */
void file_check(struct world *world, struct process *process, struct file *file);

/* map_open - the mapping of a file that this process has, made if need be; NULL: the file is empty.
 * map_close - munmap, without msync. */
struct map *map_open(struct world *world, struct process *process, struct handle *handle);
void map_close(struct world *world, struct process *process, struct file *file);

/* process_end - closes all. */
void process_end(struct world *world, struct process *process);

#endif
