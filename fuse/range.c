/* SPDX-License-Identifier: GPL-2.0-or-later */
/* range - see range.h. Held ranges of a file never overlap each other: each one that is taken by the
 * server cuts its bytes out of the older ones. So it can lie strictly inside only one of them, and
 * one spare struct, allocated while failing was still possible, is enough to split that. */
#include "range.h"

#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "buffer.h"
#include "dev.h"
#include "fs.h"

/* Gathering: the second buffer of a range, before it gets one for all it may become. */
enum { GATHER_SMALL = 16 * 1024 };

/* ---- buffers ----------------------------------------------------------------------------- */

/* room: of copy[], or of memory. */
static struct range_buffer *buffer_new(void *memory, size_t room)
{
	struct range_buffer *buffer = malloc(sizeof(*buffer) + (memory ? 0 : room));

	if (!buffer)
		return NULL;
	*buffer = (struct range_buffer){
		.refs = 1,
		.charge = 2 * sizeof(struct range) + sizeof(*buffer) + room,
		.memory = memory,
	};
	return buffer;
}

void range_buffer_free(struct range_buffer *buffer)
{
	if (!buffer)
		return;
	buffer_put(buffer->memory);
	free(buffer);
}

static uint8_t *bytes_of(struct range_buffer *buffer)
{
	return buffer->memory ? buffer->memory : buffer->copy;
}

/* Half of what it is to be, at least, or copying costs less than the memory. */
static void *steal_memory(const struct fs *fs, const char *data, size_t size)
{
	return size >= fs->max_write / 2 ? dev_steal_buffer(data) : NULL;
}

static struct range_buffer *buffer_of(const struct fs *fs, const char *data, size_t size)
{
	void *memory = steal_memory(fs, data, size);
	struct range_buffer *buffer = buffer_new(memory, memory ? fs->max_write : size);

	if (!buffer)
		buffer_put(memory);
	else if (!memory)
		memcpy(buffer->copy, data, size);
	return buffer;
}

/* ---- ranges ------------------------------------------------------------------------------ */

/* The next multiple of wsize, so that WRITEs are aligned to it. */
static uint64_t limit_of(const struct fs *fs, uint64_t offset, size_t size)
{
	uint64_t end = offset + size, limit = end;

	if (fs->wsize)
		limit = (offset / fs->wsize + 1) * fs->wsize;
	return limit > end ? limit : end;
}

struct range *range_new(const struct fs *fs, const char *data, size_t size, uint64_t offset)
{
	struct range_buffer *buffer = buffer_of(fs, data, size);
	struct range *range = buffer ? calloc(1, sizeof(*range)) : NULL;
	struct range *spare = range ? calloc(1, sizeof(*spare)) : NULL;

	if (!spare) {
		range_buffer_free(buffer);
		free(range);
		return NULL;
	}
	range->offset = offset;
	range->len = (uint32_t)size;
	range->fresh = true;
	range->limit = buffer->memory ? offset + size : limit_of(fs, offset, size);
	range->since_ns = fs_now_ns();
	range->buffer = buffer;
	range->data = buffer->memory ? (uint8_t *)(uintptr_t)data : buffer->copy;
	range->spare = spare;
	return range;
}

uint64_t range_free(struct range *range)
{
	struct range_buffer *buffer = range->buffer;
	uint64_t charge = 0;

	if (--buffer->refs == 0) {
		charge = buffer->charge;
		range_buffer_free(buffer);
	}
	free(range->spare);
	free(range);
	return charge;
}

/* ---- gathering --------------------------------------------------------------------------- */

static bool same_cred(const struct cred *a, const struct cred *b)
{
	return a->none == b->none && a->uid == b->uid && a->gid == b->gid && a->n_gids == b->n_gids &&
	       !memcmp(a->gids, b->gids, a->n_gids * sizeof(a->gids[0]));
}

bool range_may_absorb(const struct range *range, uint64_t offset, size_t size,
		      const struct cred *cred)
{
	return range->fresh && range->behind && range_is_ours(range) && range->buffer->refs == 1 &&
	       offset >= range->offset && offset <= range_end(range) &&
	       offset + size <= range->limit && same_cred(&range->cred, cred);
}

bool range_has_room(const struct range *range, uint64_t offset, size_t size)
{
	return offset + size <= range_end(range) + range->room;
}

void range_absorb(struct range *range, const char *data, size_t size, uint64_t offset)
{
	uint64_t end = offset + size;

	memcpy(range->data + (offset - range->offset), data, size);
	if (end <= range_end(range))
		return;
	range->room -= (uint32_t)(end - range_end(range));
	range->len = (uint32_t)(end - range->offset);
}

struct range_buffer *range_buffer_for(const struct range *range, uint64_t end)
{
	size_t all = (size_t)(range->limit - range->offset);
	bool small = end - range->offset <= GATHER_SMALL;
	void *memory = small ? NULL : buffer_get(all);
	struct range_buffer *buffer = NULL;

	if (small || memory)
		buffer = buffer_new(memory, small ? min_size(GATHER_SMALL, all) : all);
	if (!buffer)
		buffer_put(memory);
	return buffer;
}

struct range_buffer *range_move(struct range *range, struct range_buffer *to)
{
	struct range_buffer *from = range->buffer;
	size_t all = (size_t)(range->limit - range->offset);

	memcpy(bytes_of(to), range->data, range->len);
	range->buffer = to;
	range->data = bytes_of(to);
	range->room = (uint32_t)(to->memory ? all : min_size(GATHER_SMALL, all)) - range->len;
	return from;
}

/* ---- one range and others ---------------------------------------------------------------- */

bool range_overlaps_any(const struct range_list *list, const struct range *range, bool older)
{
	const struct range *other;

	TAILQ_FOREACH(other, list, link)
		if (other != range && (!older || other->seq < range->seq) &&
		    range_overlaps(other, range))
			return true;
	return false;
}

bool range_any_before(const struct range_list *list, uint64_t seq)
{
	const struct range *range;

	TAILQ_FOREACH(range, list, link)
		if (range->seq < seq)
			return true;
	return false;
}

static void drop_front(struct range *range, uint64_t end)
{
	uint32_t n = (uint32_t)(end - range->offset);

	range->data += n;
	range->offset += n;
	range->len -= n;
}

/* newer lies inside old: old keeps the front, a new range behind it gets the rest. */
static void split(struct range_list *list, struct range *old, struct range *newer)
{
	struct range *rest = newer->spare;

	newer->spare = NULL;
	*rest = *old;
	rest->spare = NULL;
	rest->buffer->refs++;
	drop_front(rest, range_end(newer));
	old->len = (uint32_t)(newer->offset - old->offset);
	TAILQ_INSERT_AFTER(list, old, rest, link);
}

static void cut(struct range_list *list, struct range *old, struct range *newer,
		struct range_list *freed)
{
	bool keeps_front = old->offset < newer->offset;
	bool keeps_back = range_end(old) > range_end(newer);

	if (keeps_front && keeps_back) {
		split(list, old, newer);
	} else if (keeps_front) {
		old->len = (uint32_t)(newer->offset - old->offset);
	} else if (keeps_back) {
		drop_front(old, range_end(newer));
	} else {
		TAILQ_REMOVE(list, old, link);
		TAILQ_INSERT_TAIL(freed, old, link);
	}
}

void range_replace(struct range_list *list, struct range *newer, struct range_list *freed)
{
	struct range *old, *next;

	for (old = TAILQ_FIRST(list); old; old = next) {
		next = TAILQ_NEXT(old, link);
		/* One that was never sent is new itself, and waits its turn. */
		if (old != newer && !old->fresh && !old->request && old->seq < newer->seq &&
		    range_overlaps(old, newer))
			cut(list, old, newer, freed);
	}
}
