/* SPDX-License-Identifier: GPL-2.0-or-later */
/* range - see range.h. Held ranges of a file never overlap each other: each one that is taken by the
 * server cuts its bytes out of the older ones. So it can lie strictly inside only one of them, and
 * one spare struct, allocated while failing was still possible, is enough to split that. */
#include "range.h"

#include <stdlib.h>
#include <string.h>

#include "dev.h"
#include "fs.h"

enum { STEAL_MIN = 64 * 1024 };

static struct range_buffer *buffer_new(const struct fs *fs, const char *data, size_t size)
{
	void *token = size >= STEAL_MIN ? dev_steal_buffer(data) : NULL;
	struct range_buffer *buffer = malloc(sizeof(*buffer) + (token ? 0 : size));

	if (!buffer) {
		dev_free_buffer(token);
		return NULL;
	}
	*buffer = (struct range_buffer){
		.refs = 1,
		.token = token,
		.charge = 2 * sizeof(struct range) + sizeof(*buffer) + (token ? fs->max_write : size),
	};
	if (!token)
		memcpy(buffer->copy, data, size);
	return buffer;
}

struct range *range_new(const struct fs *fs, const char *data, size_t size, uint64_t offset)
{
	struct range_buffer *buffer = buffer_new(fs, data, size);
	struct range *range = buffer ? calloc(1, sizeof(*range)) : NULL;
	struct range *spare = range ? calloc(1, sizeof(*spare)) : NULL;

	if (!spare) {
		if (buffer)
			dev_free_buffer(buffer->token);
		free(buffer);
		free(range);
		return NULL;
	}
	range->offset = offset;
	range->len = (uint32_t)size;
	range->buffer = buffer;
	range->data = buffer->token ? (const uint8_t *)data : buffer->copy;
	range->spare = spare;
	return range;
}

uint64_t range_free(struct range *range)
{
	struct range_buffer *buffer = range->buffer;
	uint64_t charge = 0;

	if (--buffer->refs == 0) {
		charge = buffer->charge;
		dev_free_buffer(buffer->token);
		free(buffer);
	}
	free(range->spare);
	free(range);
	return charge;
}

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

static uint64_t end_of(const struct range *range)
{
	return range->offset + range->len;
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
	drop_front(rest, end_of(newer));
	old->len = (uint32_t)(newer->offset - old->offset);
	TAILQ_INSERT_AFTER(list, old, rest, link);
}

static void cut(struct range_list *list, struct range *old, struct range *newer,
		struct range_list *freed)
{
	bool keeps_front = old->offset < newer->offset;
	bool keeps_back = end_of(old) > end_of(newer);

	if (keeps_front && keeps_back) {
		split(list, old, newer);
	} else if (keeps_front) {
		old->len = (uint32_t)(newer->offset - old->offset);
	} else if (keeps_back) {
		drop_front(old, end_of(newer));
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
		/* One that still has a writer to answer is new itself, and waits its turn. */
		if (old != newer && !old->request && old->seq < newer->seq &&
		    range_overlaps(old, newer))
			cut(list, old, newer, freed);
	}
}
