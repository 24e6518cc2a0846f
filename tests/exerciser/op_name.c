/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "handle.h"
#include "model.h"
#include "op.h"

static uint8_t buffer[MAX_SIZE];

/* To a new name, or over another file, which may be open. */
struct file *op_rename(struct world *world, struct process *process)
{
	struct file *file = file_pick(world, process), *over = &world->files[below(world, N_FILES)];
	char name[NAME_SIZE];

	if (!file)
		return NULL;
	if (over == file || !over->linked || !one_in(world, 3))
		over = NULL;
	if (over)
		memcpy(name, over->name, NAME_SIZE);
	else
		file_new_name(world, name);
	note(world, "rename  %s to %s", file->name, name);
	if (rename(path_of(world->settings.directory, file->name).text,
		   path_of(world->settings.directory, name).text) != 0)
		fail_errno(world, "rename", file);
	if (over)
		file_lost_name(over);
	memcpy(file->name, name, NAME_SIZE);
	return file;
}

struct file *op_unlink(struct world *world, struct process *process)
{
	struct file *file = file_pick(world, process);

	if (!file)
		return NULL;
	note(world, "unlink  %s", file->name);
	if (unlink(path_of(world->settings.directory, file->name).text) != 0)
		fail_errno(world, "unlink", file);
	file_lost_name(file);
	return file;
}

/* ---- another client: close-to-open ------------------------------------------------------- */

static int peer_open(struct world *world, struct file *file, int flags)
{
	int fd = open(path_of(world->settings.peer, file->name).text, flags | O_CLOEXEC);

	if (fd < 0)
		fail_errno(world, "open by the other mount", file);
	return fd;
}

static void peer_write(struct world *world, struct file *file)
{
	uint64_t length = some_length(world), offset = some_place(world, file, length);
	int fd = peer_open(world, file, O_WRONLY);

	note(world, "pwrite  %s [%llu, +%llu) by the other mount", file->name,
	     (unsigned long long)offset, (unsigned long long)length);
	stamp(buffer, world->operation, offset, length);
	if (pwrite(fd, buffer, length, (off_t)offset) != (ssize_t)length || close(fd) != 0)
		fail_errno(world, "write by the other mount", file);
	model_write(world, file, offset, buffer, length);
}

static void read_whole(struct world *world, struct file *file, const char *what, int fd)
{
	note(world, "readall %s fd %d: %s", file->name, fd, what);
	model_check(world, file, what, buffer, pread(fd, buffer, MAX_SIZE, 0), 0, MAX_SIZE);
}

/* What fsync has saved the other one sees when it opens; what it closes, we see when we open. */
struct file *op_peer(struct world *world, struct process *process)
{
	struct handle *handle = world->settings.peer ? handle_pick(world, process, O_RDWR) : NULL;
	struct file *file = handle ? handle->file : NULL;
	int fd;

	if (!handle || !file->linked)
		return NULL;
	note(world, "fsync   %s fd %d", file->name, handle->fd);
	if (fsync(handle->fd) != 0)
		fail_errno(world, "fsync", file);
	file->map_dirty = false;
	if (one_in(world, 2)) {
		fd = peer_open(world, file, O_RDONLY);
		read_whole(world, file, "read by the other mount", fd);
		close(fd);
		return file;
	}
	peer_write(world, file);
	handle = handle_open(world, process, file, O_RDONLY);
	read_whole(world, file, "read after the other mount's write", handle->fd);
	return file;
}
