/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handle.h"
#include "model.h"
#include "op.h"

/* Mostly down, and never far up: holes are cheap, comparing them is not. */
static uint64_t some_size(struct world *world, const struct file *file)
{
	uint64_t size = file->size;

	switch (below(world, 8)) {
	case 0 ... 2:
		return below(world, size + 1);
	case 3:
		return below(world, size + 1) / PAGE * PAGE;
	case 4:
		return below(world, 2 * PAGE);
	case 5:
		return size > 10 ? size - below(world, 10) : 0;
	case 6:
		return size + below(world, 2 * PAGE) < MAX_SIZE ? size + below(world, 2 * PAGE)
								: size;
	default:
		size += below(world, 1 << 20);
		return size < MAX_SIZE ? size : MAX_SIZE;
	}
}

struct file *op_truncate(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_WRONLY);
	struct file *file = handle ? handle->file : NULL;
	bool by_name = file && file->linked && one_in(world, 3);
	uint64_t size;
	int error;

	if (!handle)
		return NULL;
	size = some_size(world, file);
	if (size > MAX_SIZE)
		size = MAX_SIZE;
	note(world, "%s %s fd %d from %llu to %llu", by_name ? "trunc  " : "ftrunc ", file->name,
	     handle->fd, (unsigned long long)file->size, (unsigned long long)size);
	error = by_name ? truncate(path_of(world->settings.directory, file->name).text, (off_t)size)
			: ftruncate(handle->fd, (off_t)size);
	if (error != 0)
		fail_errno(world, "truncate", file);
	model_truncate(file, size);
	return file;
}

struct file *op_empty(struct world *world, struct process *process)
{
	struct file *file = file_pick(world, process);

	if (file)
		handle_open(world, process, file,
			    O_RDWR | O_TRUNC | (one_in(world, 2) ? O_CREAT : 0));
	return file;
}

struct file *op_sync(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, one_in(world, 3) ? O_RDONLY : O_WRONLY);
	bool data_only = one_in(world, 3);

	if (!handle)
		return NULL;
	note(world, "%s %s fd %d", data_only ? "fdatasy" : "fsync  ", handle->file->name,
	     handle->fd);
	if ((data_only ? fdatasync(handle->fd) : fsync(handle->fd)) != 0)
		fail_errno(world, "fsync", handle->file);
	handle->file->map_dirty = false;
	model_check_disk(world, handle->file, "after fsync, the disk");
	return handle->file;
}

struct file *op_open(struct world *world, struct process *process)
{
	static const int modes[] = { O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_SYNC,
				     O_RDWR | O_APPEND };
	struct file *file = file_pick(world, process);

	if (file)
		handle_open(world, process, file, modes[below(world, 5)]);
	return file;
}

struct file *op_close(struct world *world, struct process *process)
{
	struct handle *handle = &process->handles[below(world, N_HANDLES)];
	struct file *file = handle->file;

	if (file) {
		handle_close(world, handle);
		return file;
	}
	file = &world->files[below(world, N_FILES)];
	map_close(world, process, file);
	return file;
}

/* Whatever is still to be written: the time that is set stays. It is of the past: so what a later
 * store through a mapping makes of it, some time, is not before it. */
struct file *op_times(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_WRONLY);
	struct file *file = handle ? handle->file : NULL;
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { 0 } };

	if (!handle)
		return NULL;
	file_flush_maps(world, file, handle); /* or it would be written later, with a new time */
	times[1].tv_sec = 1000000000 + (time_t)below(world, 700000000);
	times[1].tv_nsec = (long)below(world, 1000000000);
	note(world, "utimens %s fd %d %lld.%09ld", file->name, handle->fd,
	     (long long)times[1].tv_sec, times[1].tv_nsec);
	if (futimens(handle->fd, times) != 0)
		fail_errno(world, "futimens", file);
	file->mtime = times[1];
	file->mtime_is_set = true;
	return file;
}
