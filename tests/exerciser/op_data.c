/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "handle.h"
#include "model.h"
#include "op.h"

static uint8_t buffer[MAX_SIZE] __attribute__((aligned(PAGE)));

uint64_t some_length(struct world *world)
{
	switch (below(world, 16)) {
	case 0 ... 3:
		return 1 + below(world, 100);
	case 4 ... 7:
		return 1 + below(world, 2 * PAGE);
	case 8:
		return PAGE * (1 + below(world, 16));
	case 9:
		return UINT64_C(1) << below(world, 21);
	case 10 ... 12:
		return 1 + below(world, 128 << 10);
	case 13 ... 14:
		return 1 + below(world, 1200 << 10);
	default:
		return 1 + below(world, 3 << 20);
	}
}

static uint64_t near(struct world *world, uint64_t place, uint64_t distance)
{
	uint64_t to = place + below(world, 2 * distance + 1);

	return to < distance ? 0 : to - distance;
}

uint64_t some_place(struct world *world, const struct file *file, uint64_t length)
{
	uint64_t most = MAX_SIZE - length, place;

	switch (below(world, 10)) {
	case 0 ... 1:
		place = below(world, file->size + 1);
		break;
	case 2:
		place = file->size;
		break;
	case 3:
		place = near(world, file->size, length);
		break;
	case 4:
		place = below(world, file->size + 1) / PAGE * PAGE;
		break;
	case 5:
		place = near(world, below(world, MAX_SIZE >> 20) << 20, 10);
		break;
	case 6:
		place = near(world, below(world, file->size + 1) / PAGE * PAGE, 3);
		break;
	case 7 ... 8:
		place = near(world, world->last_offset, one_in(world, 2) ? length : 100);
		break;
	default:
		place = file->size + below(world, one_in(world, 5) ? 1 << 20 : 3 * PAGE);
		break;
	}
	return place < most ? place : most;
}

/* The kernel's pages go, so that the daemon is asked. */
static void maybe_forget_pages(struct world *world, int fd)
{
	if (one_in(world, 2))
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

struct file *op_read(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_RDONLY);
	uint64_t length = some_length(world), offset;

	if (!handle)
		return NULL;
	offset = some_place(world, handle->file, length);
	note(world, "read    %s fd %d [%llu, +%llu)", handle->file->name, handle->fd,
	     (unsigned long long)offset, (unsigned long long)length);
	maybe_forget_pages(world, handle->fd);
	model_check(world, handle->file, "read", buffer,
		    pread(handle->fd, buffer, length, (off_t)offset), offset, length);
	return handle->file;
}

struct file *op_read_all(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_RDONLY);
	uint64_t step = some_length(world), offset = 0;
	ssize_t n;

	if (!handle)
		return NULL;
	if (step < PAGE)
		step = PAGE;
	note(world, "readall %s fd %d by %llu", handle->file->name, handle->fd,
	     (unsigned long long)step);
	maybe_forget_pages(world, handle->fd);
	do {
		n = pread(handle->fd, buffer, step, (off_t)offset);
		model_check(world, handle->file, "read of all", buffer, n, offset, step);
		offset += (uint64_t)n;
	} while (n);
	return handle->file;
}

/* ---- writing ----------------------------------------------------------------------------- */

/* What a write has done, having returned n. */
static void written(struct world *world, struct handle *handle, const char *what, ssize_t n,
		    uint64_t offset, uint64_t length)
{
	struct file *file = handle->file;

	if (n < 0)
		fail_errno(world, what, file);
	if ((uint64_t)n != length)
		fail(world, "%s of %llu bytes returned %zd", what, (unsigned long long)length, n);
	model_write(world, file, offset, buffer, length);
	handle->wrote = true;
	if (handle->flags & (O_DSYNC | O_DIRECT) && !file->map_dirty)
		model_check_disk_range(world, file, "after a synchronous write, the disk", offset,
				       length);
}

static void write_at(struct world *world, struct handle *handle, const char *what, uint64_t offset,
		     uint64_t length)
{
	struct file *file = handle->file;

	if (handle->flags & O_APPEND)
		offset = file->size;
	if (offset + length > MAX_SIZE)
		return;
	note(world, "%s %s fd %d [%llu, +%llu)%s", what, file->name, handle->fd,
	     (unsigned long long)offset, (unsigned long long)length,
	     handle->flags & O_APPEND ? " append" : "");
	stamp(buffer, world->operation, offset, length);
	written(world, handle, what, pwrite(handle->fd, buffer, length, (off_t)offset), offset,
		length);
}

struct file *op_write(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_WRONLY);
	uint64_t length = some_length(world);

	if (!handle)
		return NULL;
	write_at(world, handle, "write  ", some_place(world, handle->file, length), length);
	return handle->file;
}

/* Many small writes one after the other, by the descriptor's own position. */
struct file *op_stream(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_WRONLY);
	uint64_t length = 1 + below(world, one_in(world, 2) ? 100 : 9000),
		 n = 1 + below(world, 200);
	uint64_t offset;

	if (!handle)
		return NULL;
	offset = some_place(world, handle->file, n * length);
	if (handle->flags & O_APPEND)
		offset = handle->file->size;
	if (offset + n * length > MAX_SIZE)
		return NULL;
	note(world, "stream  %s fd %d [%llu, +%llu) in %llu writes", handle->file->name, handle->fd,
	     (unsigned long long)offset, (unsigned long long)(n * length), (unsigned long long)n);
	if (lseek(handle->fd, (off_t)offset, SEEK_SET) < 0)
		fail_errno(world, "lseek", handle->file);
	for (uint64_t i = 0; i < n; i++) {
		stamp(buffer, world->operation, offset, length);
		written(world, handle, "stream", write(handle->fd, buffer, length), offset, length);
		offset += length;
	}
	return handle->file;
}

struct file *op_append(struct world *world, struct process *process)
{
	struct file *file = file_pick(world, process);
	struct handle *handle = NULL;
	uint64_t length = some_length(world);

	if (!file)
		return NULL;
	for (int i = 0; i < N_HANDLES; i++)
		if (process->handles[i].file == file && process->handles[i].flags & O_APPEND)
			handle = &process->handles[i];
	if (!handle || one_in(world, 4))
		handle = handle_open(world, process, file, O_RDWR | O_APPEND);
	write_at(world, handle, "append ", 0, length);
	return file;
}

/* ---- other ways -------------------------------------------------------------------------- */

/* copy_file_range, from another file or another place of the same. */
struct file *op_copy(struct world *world, struct process *process)
{
	struct handle *from = handle_pick(world, process, O_RDONLY), *to;
	struct file *file = from ? from->file : NULL;
	uint64_t length = some_length(world), from_at, to_at;
	off64_t from_offset, to_offset;

	to = handle_pick(world, process, O_RDWR);
	if (!to || !from || from->file != file || to->flags & O_APPEND || !from->file->size)
		return NULL;
	from_at = below(world, from->file->size);
	length = model_readable(from->file, from_at, length);
	to_at = some_place(world, to->file, length);
	if (from->file == to->file && from_at < to_at + length && to_at < from_at + length)
		return NULL;
	note(world, "copy    %s fd %d [%llu, +%llu) to %s fd %d at %llu", from->file->name,
	     from->fd, (unsigned long long)from_at, (unsigned long long)length, to->file->name,
	     to->fd, (unsigned long long)to_at);
	for (uint64_t done = 0; done < length;) {
		ssize_t n;

		from_offset = (off64_t)(from_at + done);
		to_offset = (off64_t)(to_at + done);
		n = copy_file_range(from->fd, &from_offset, to->fd, &to_offset, length - done, 0);
		if (n <= 0)
			fail_errno(world, "copy_file_range", to->file);
		model_write(world, to->file, to_at + done, from->file->data + from_at + done,
			    (uint64_t)n);
		done += (uint64_t)n;
	}
	to->wrote = true;
	return to->file;
}

/* O_DIRECT, by a descriptor of its own; not with pages that are mapped, which nobody promises. */
struct file *op_direct(struct world *world, struct process *process)
{
	struct file *file = file_pick(world, process);
	struct handle *handle;
	uint64_t length = some_length(world), offset;

	if (!file || file->n_maps || file->map_dirty)
		return NULL;
	handle = handle_open(world, process, file, O_RDWR | O_DIRECT);
	for (unsigned int i = 0; i < 3; i++) {
		offset = some_place(world, file, length);
		if (one_in(world, 2)) {
			write_at(world, handle, "dwrite ", offset, length);
			continue;
		}
		note(world, "dread   %s fd %d [%llu, +%llu)", file->name, handle->fd,
		     (unsigned long long)offset, (unsigned long long)length);
		model_check(world, file, "direct read", buffer,
			    pread(handle->fd, buffer, length, (off_t)offset), offset, length);
	}
	handle_close(world, handle);
	return file;
}

struct file *op_seek_end(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_RDONLY);
	off_t end;

	if (!handle)
		return NULL;
	note(world, "seekend %s fd %d", handle->file->name, handle->fd);
	end = lseek(handle->fd, 0, SEEK_END);
	if (end < 0 || (uint64_t)end != handle->file->size)
		fail(world, "SEEK_END of %s: %lld, expected %llu", handle->file->name,
		     (long long)end, (unsigned long long)handle->file->size);
	return handle->file;
}
