/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_lock_ranges - what an owner has locked after any series of locks and unlocks: as fcntl(2) has it,
 * checked byte by byte against a plain array, up to the last byte there is. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../fuse/lock_ranges.h"

enum { SPACE = 24, ROUNDS = 40000 };

/* The last byte of the model stands for everything up to the end of the file. */
static uint64_t real_end(unsigned int end)
{
	return end == SPACE - 1 ? UINT64_MAX : end;
}

static void check_order(const struct lock_ranges *ranges)
{
	const struct lock_range *range, *before = NULL;
	unsigned int n = 0;

	TAILQ_FOREACH(range, &ranges->list, link) {
		assert(range->start <= range->end && range->type != LOCK_NONE);
		if (before) {
			assert(before->end < range->start);
			assert(before->end + 1 < range->start || before->type != range->type);
		}
		before = range;
		n++;
	}
	assert(n == ranges->n);
}

/* Piece by piece, as an undo walks. */
static void check_bytes(const struct lock_ranges *ranges, const enum lock_type model[SPACE])
{
	uint64_t at = 0, end;

	for (;; at = end + 1) {
		enum lock_type type = lock_ranges_piece(ranges, at, UINT64_MAX, &end);

		for (uint64_t byte = at; byte < SPACE && byte <= end; byte++)
			assert(model[byte] == type);
		if (end == UINT64_MAX)
			return;
		assert(end + 1 < SPACE);
	}
}

static bool model_conflicts(const enum lock_type model[SPACE], unsigned int start, unsigned int end,
			    enum lock_type type)
{
	for (unsigned int byte = start; byte <= end; byte++)
		if (model[byte] == LOCK_EXCLUSIVE ||
		    (model[byte] == LOCK_SHARED && type == LOCK_EXCLUSIVE))
			return true;
	return false;
}

static void test_random(void)
{
	enum lock_type model[SPACE] = { LOCK_NONE };
	struct lock_ranges ranges;

	lock_ranges_init(&ranges);
	srandom(1);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		unsigned int start = (unsigned int)random() % SPACE;
		unsigned int end = start + (unsigned int)random() % (SPACE - start);
		enum lock_type type = (enum lock_type)(random() % 3);
		enum lock_type asked = random() % 2 ? LOCK_SHARED : LOCK_EXCLUSIVE;

		assert(!lock_ranges_set(&ranges, start, real_end(end), type));
		for (unsigned int byte = start; byte <= end; byte++)
			model[byte] = type;
		check_order(&ranges);
		check_bytes(&ranges, model);
		assert(!!lock_ranges_conflict(&ranges, start / 2, real_end(end), asked) ==
		       model_conflicts(model, start / 2, end, asked));
	}
	lock_ranges_clear(&ranges);
	assert(ranges.n == 0);
}

/* One lock cut in the middle is two; filling the gap makes it one again. */
static void test_split_and_join(void)
{
	struct lock_ranges ranges;
	uint64_t end;

	lock_ranges_init(&ranges);
	assert(!lock_ranges_set(&ranges, 0, UINT64_MAX, LOCK_EXCLUSIVE));
	assert(!lock_ranges_set(&ranges, 10, 19, LOCK_NONE));
	assert(ranges.n == 2);
	assert(lock_ranges_piece(&ranges, 10, UINT64_MAX, &end) == LOCK_NONE && end == 19);
	assert(!lock_ranges_set(&ranges, 10, 19, LOCK_EXCLUSIVE));
	assert(ranges.n == 1 && TAILQ_FIRST(&ranges.list)->end == UINT64_MAX);
	lock_ranges_clear(&ranges);
}

int main(void)
{
	test_random();
	test_split_and_join();
	return 0;
}
