/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_ranges - see lock_ranges.h. */
#include "lock_ranges.h"

#include <errno.h>
#include <stdlib.h>

void lock_ranges_init(struct lock_ranges *ranges)
{
	TAILQ_INIT(&ranges->list);
	ranges->n = 0;
}

static void drop(struct lock_ranges *ranges, struct lock_range *range)
{
	TAILQ_REMOVE(&ranges->list, range, link);
	ranges->n--;
	free(range);
}

void lock_ranges_clear(struct lock_ranges *ranges)
{
	struct lock_range *range;

	while ((range = TAILQ_FIRST(&ranges->list)))
		drop(ranges, range);
}

static bool overlaps(const struct lock_range *range, uint64_t start, uint64_t end)
{
	return range->start <= end && start <= range->end;
}

/* The last range that begins before start; NULL: none does. */
static struct lock_range *last_before(const struct lock_ranges *ranges, uint64_t start)
{
	struct lock_range *range, *before = NULL;

	TAILQ_FOREACH(range, &ranges->list, link) {
		if (range->start >= start)
			break;
		before = range;
	}
	return before;
}

static void insert(struct lock_ranges *ranges, struct lock_range *range)
{
	struct lock_range *before = last_before(ranges, range->start);

	if (before)
		TAILQ_INSERT_AFTER(&ranges->list, before, range, link);
	else
		TAILQ_INSERT_HEAD(&ranges->list, range, link);
	ranges->n++;
}

/* Take start..end out of all. tail: memory for the second half of one that is cut in the middle; true
 * if it was used. */
static bool cut(struct lock_ranges *ranges, uint64_t start, uint64_t end, struct lock_range *tail)
{
	struct lock_range *range, *next;
	bool used = false;

	for (range = TAILQ_FIRST(&ranges->list); range; range = next) {
		next = TAILQ_NEXT(range, link);
		if (!overlaps(range, start, end))
			continue;
		if (range->start < start && range->end > end) {
			*tail = (struct lock_range){ end + 1, range->end, range->type, { 0 } };
			range->end = start - 1;
			insert(ranges, tail);
			used = true;
		} else if (range->start < start) {
			range->end = start - 1;
		} else if (range->end > end) {
			range->start = end + 1;
		} else {
			drop(ranges, range);
		}
	}
	return used;
}

static bool joins(const struct lock_range *a, const struct lock_range *b)
{
	return a && b && a->type == b->type && a->end != UINT64_MAX && a->end + 1 == b->start;
}

static void join_neighbours(struct lock_ranges *ranges, struct lock_range *range)
{
	struct lock_range *before = TAILQ_PREV(range, lock_range_list, link);
	struct lock_range *after = TAILQ_NEXT(range, link);

	if (joins(range, after)) {
		range->end = after->end;
		drop(ranges, after);
	}
	if (joins(before, range)) {
		before->end = range->end;
		drop(ranges, range);
	}
}

int lock_ranges_set(struct lock_ranges *ranges, uint64_t start, uint64_t end, enum lock_type type)
{
	struct lock_range *fresh = malloc(sizeof(*fresh)), *tail = malloc(sizeof(*tail));

	if (!fresh || !tail) {
		free(fresh);
		free(tail);
		return -ENOMEM;
	}
	if (!cut(ranges, start, end, tail))
		free(tail);
	if (type == LOCK_NONE) {
		free(fresh);
		return 0;
	}
	*fresh = (struct lock_range){ start, end, type, { 0 } };
	insert(ranges, fresh);
	join_neighbours(ranges, fresh);
	return 0;
}

enum lock_type lock_ranges_piece(const struct lock_ranges *ranges, uint64_t start, uint64_t end,
				 uint64_t *ret_end)
{
	const struct lock_range *range;

	*ret_end = end;
	TAILQ_FOREACH(range, &ranges->list, link) {
		if (range->end < start)
			continue;
		if (range->start > start) {
			if (range->start <= end)
				*ret_end = range->start - 1;
			return LOCK_NONE;
		}
		if (range->end < end)
			*ret_end = range->end;
		return range->type;
	}
	return LOCK_NONE;
}

const struct lock_range *lock_ranges_conflict(const struct lock_ranges *ranges, uint64_t start,
					      uint64_t end, enum lock_type type)
{
	const struct lock_range *range;

	TAILQ_FOREACH(range, &ranges->list, link)
		if (overlaps(range, start, end) &&
		    (type == LOCK_EXCLUSIVE || range->type == LOCK_EXCLUSIVE))
			return range;
	return NULL;
}
