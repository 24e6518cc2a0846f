/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <sys/mman.h>

#include "handle.h"
#include "model.h"
#include "op.h"

/* Up to the end of the file and of the mapping; 0 if that is behind both. */
static uint64_t within(const struct map *map, const struct file *file, uint64_t offset,
		       uint64_t length)
{
	uint64_t n = model_readable(file, offset, length);

	if (offset >= map->length)
		return 0;
	return n < map->length - offset ? n : map->length - offset;
}

static void load(struct world *world, struct map *map, struct file *file)
{
	uint64_t offset = below(world, file->size),
		 n = within(map, file, offset, some_length(world));

	if (!n)
		return;
	note(world, "load    %s [%llu, +%llu)", file->name, (unsigned long long)offset,
	     (unsigned long long)n);
	model_check_bytes(world, file, "mapping", map->address + offset, offset, n);
}

static void store(struct world *world, struct map *map, struct file *file)
{
	uint64_t offset = below(world, file->size),
		 n = within(map, file, offset, some_length(world));

	if (!n)
		return;
	note(world, "store   %s [%llu, +%llu)", file->name, (unsigned long long)offset,
	     (unsigned long long)n);
	file->map_dirty = true;
	stamp(map->address + offset, world->operation, offset, n);
	stamp(file->data + offset, world->operation, offset, n);
	world->last_offset = offset;
	model_changed(file);
}

static void sync_map(struct world *world, struct map *map, struct file *file)
{
	note(world, "msync   %s", file->name);
	if (msync(map->address, map->length, MS_SYNC) != 0)
		fail_errno(world, "msync", file);
	if (map->length < file->size) /* others may have stored behind it */
		return;
	file->map_dirty = false;
	model_check_disk(world, file, "after msync, the disk");
}

struct file *op_map(struct world *world, struct process *process)
{
	struct handle *handle = handle_pick(world, process, O_RDWR);
	struct map *map = handle ? map_open(world, process, handle) : NULL;
	struct file *file = handle ? handle->file : NULL;

	if (!map || !file->size)
		return NULL;
	for (uint64_t n = 1 + below(world, 6); n; n--) {
		if (one_in(world, 2))
			load(world, map, file);
		else
			store(world, map, file);
	}
	if (one_in(world, 3))
		sync_map(world, map, file);
	if (one_in(world, 3))
		map_close(world, process, file);
	return file;
}
