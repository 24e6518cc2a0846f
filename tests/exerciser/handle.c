/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "handle.h"
#include "model.h"

/* ---- files ------------------------------------------------------------------------------- */

void file_new_name(struct world *world, char *name)
{
	snprintf(name, NAME_SIZE, "f%u", world->n_names++);
}

static void file_make(struct world *world, struct process *process, struct file *file)
{
	model_truncate(file, 0);
	file->mtime = (struct timespec){ 0 };
	file->map_dirty = false;
	file_new_name(world, file->name);
	file->linked = true;
	handle_open(world, process, file, O_RDWR | O_CREAT | O_EXCL);
}

struct file *file_pick(struct world *world, struct process *process)
{
	struct file *file = &world->files[below(world, N_FILES)];

	if (!file->linked && !file->n_open)
		file_make(world, process, file);
	return file->linked ? file : NULL;
}

void file_check(struct world *world, struct process *process, struct file *file)
{
	int fd = one_in(world, 2) && file->linked ? -1 : handle_any(process, file);

	if (fd >= 0 || file->linked)
		model_check_stat(world, file, fd, one_in(world, 4));
}

void file_lost_name(struct file *file)
{
	file->linked = false;
	snprintf(file->name + strlen(file->name), NAME_SIZE - strlen(file->name), "-");
}

void file_flush_maps(struct world *world, struct file *file, const struct handle *handle)
{
	if (!file->map_dirty)
		return;
	note(world, "fsync   %s fd %d", file->name, handle->fd);
	if (fsync(handle->fd) != 0)
		fail_errno(world, "fsync", file);
	file->map_dirty = false;
}

/* ---- descriptors ------------------------------------------------------------------------- */

static struct handle *free_handle(struct world *world, struct process *process)
{
	struct handle *handle;

	for (int i = 0; i < N_HANDLES; i++)
		if (!process->handles[i].file)
			return &process->handles[i];
	handle = &process->handles[below(world, N_HANDLES)];
	handle_close(world, handle);
	return handle;
}

static const char *flag_words(int flags)
{
	static char words[80];
	static const char *const modes[] = { "r", "w", "rw" };

	snprintf(words, sizeof(words), "%s%s%s%s%s%s%s", modes[flags & O_ACCMODE],
		 flags & O_APPEND ? " append" : "", flags & O_TRUNC ? " trunc" : "",
		 (flags & O_SYNC) == O_SYNC ? " sync" : "",
		 (flags & O_SYNC) == O_DSYNC ? " dsync" : "", flags & O_DIRECT ? " direct" : "",
		 flags & O_CREAT ? " create" : "");
	return words;
}

struct handle *handle_open(struct world *world, struct process *process, struct file *file,
			   int flags)
{
	struct handle *handle = free_handle(world, process);

	*handle = (struct handle){ .flags = flags };
	note(world, "open    %s: %s", file->name, flag_words(flags));
	handle->fd =
		open(path_of(world->settings.directory, file->name).text, flags | O_CLOEXEC, 0644);
	if (handle->fd < 0)
		fail_errno(world, "open", file);
	handle->file = file;
	file->n_open++;
	if (flags & O_TRUNC)
		model_truncate(file, 0);
	return handle;
}

void handle_close(struct world *world, struct handle *handle)
{
	struct file *file = handle->file;

	note(world, "close   %s fd %d: %s", file->name, handle->fd, flag_words(handle->flags));
	if (close(handle->fd) != 0)
		fail_errno(world, "close", file);
	handle->file = NULL;
	file->n_open--;
	if (handle->wrote && !file->map_dirty)
		model_check_disk(world, file, "after close, the disk");
}

static bool allows(const struct handle *handle, int want)
{
	int mode = handle->flags & O_ACCMODE;

	return !(handle->flags & O_DIRECT) && (mode == O_RDWR || mode == want);
}

static int some_flags(struct world *world, int want)
{
	int flags = one_in(world, 4) ? want : O_RDWR;

	if (want == O_WRONLY && one_in(world, 12))
		flags |= O_SYNC;
	else if (want == O_WRONLY && one_in(world, 12))
		flags |= O_DSYNC;
	if (want == O_WRONLY && one_in(world, 8))
		flags |= O_APPEND;
	return flags;
}

struct handle *handle_of(struct world *world, struct process *process, struct file *file, int want)
{
	unsigned int start = (unsigned int)below(world, N_HANDLES);

	for (unsigned int i = 0; i < N_HANDLES; i++) {
		struct handle *handle = &process->handles[(start + i) % N_HANDLES];

		if (handle->file == file && allows(handle, want))
			return handle;
	}
	return file->linked ? handle_open(world, process, file, some_flags(world, want)) : NULL;
}

struct handle *handle_pick(struct world *world, struct process *process, int want)
{
	struct file *file = &world->files[below(world, N_FILES)];

	if (!file->linked && !file->n_open)
		file_make(world, process, file);
	return handle_of(world, process, file, want);
}

int handle_any(const struct process *process, const struct file *file)
{
	for (int i = 0; i < N_HANDLES; i++)
		if (process->handles[i].file == file)
			return process->handles[i].fd;
	return -1;
}

/* ---- mappings ---------------------------------------------------------------------------- */

struct map *map_open(struct world *world, struct process *process, struct handle *handle)
{
	struct file *file = handle->file;
	struct map *map = &process->maps[file_number(world, file)];

	if (map->address || !file->size)
		return map->address ? map : NULL;
	note(world, "map     %s [0, +%llu)", file->name, (unsigned long long)file->size);
	map->length = file->size;
	map->address = mmap(NULL, map->length, PROT_READ | PROT_WRITE, MAP_SHARED, handle->fd, 0);
	if (map->address == MAP_FAILED)
		fail_errno(world, "mmap", file);
	file->n_open++;
	file->n_maps++;
	return map;
}

void map_close(struct world *world, struct process *process, struct file *file)
{
	struct map *map = &process->maps[file_number(world, file)];

	if (!map->address)
		return;
	note(world, "munmap  %s", file->name);
	if (munmap(map->address, map->length) != 0)
		fail_errno(world, "munmap", file);
	map->address = NULL;
	file->n_open--;
	file->n_maps--;
}

void process_end(struct world *world, struct process *process)
{
	for (int i = 0; i < N_FILES; i++)
		map_close(world, process, &world->files[i]);
	for (int i = 0; i < N_HANDLES; i++)
		if (process->handles[i].file)
			handle_close(world, &process->handles[i]);
}
