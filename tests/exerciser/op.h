/* SPDX-License-Identifier: GPL-2.0-or-later */
/* op - the operations. Each chooses a file and the rest at random, does it, changes the model, and
 * compares what it is told; if it cannot be done just now, it does nothing. It returns the file
 * that it was about, or NULL. */
#ifndef EXERCISER_OP_H
#define EXERCISER_OP_H

#include "world.h"

/* Data through descriptors: op_data.c. */
struct file *op_read(struct world *world, struct process *process);
struct file *op_read_all(struct world *world, struct process *process);
struct file *op_write(struct world *world, struct process *process);
struct file *op_stream(struct world *world, struct process *process);
struct file *op_append(struct world *world, struct process *process);
struct file *op_copy(struct world *world, struct process *process);
struct file *op_direct(struct world *world, struct process *process);
struct file *op_seek_end(struct world *world, struct process *process);
/* Mappings: op_map.c. */
struct file *op_map(struct world *world, struct process *process);
/* Sizes, times, descriptors: op_file.c. */
struct file *op_truncate(struct world *world, struct process *process);
struct file *op_empty(struct world *world, struct process *process);
struct file *op_sync(struct world *world, struct process *process);
struct file *op_open(struct world *world, struct process *process);
struct file *op_close(struct world *world, struct process *process);
struct file *op_times(struct world *world, struct process *process);
/* Names, another mount: op_name.c. */
struct file *op_rename(struct world *world, struct process *process);
struct file *op_unlink(struct world *world, struct process *process);
struct file *op_peer(struct world *world, struct process *process);
/* Several threads at a time: op_burst.c. */
struct file *op_burst(struct world *world, struct process *process);
struct file *op_append_burst(struct world *world, struct process *process);

/* some_length, some_place - with a preference for the edges of pages, of transfers and of the file,
 * and for where something was written just now. place + length <= MAX_SIZE. */
uint64_t some_length(struct world *world);
uint64_t some_place(struct world *world, const struct file *file, uint64_t length);

#endif
