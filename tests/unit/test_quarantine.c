/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_quarantine - pieces are left alone until their time, those that meet are joined, and when there are
 * too many it is more that is left alone, never less. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../fuse/quarantine.h"

enum { SPACE = 200, ROUNDS = 5000 };

static void test_overlaps(void)
{
	static const struct {
		uint64_t start, end;
		bool overlaps; /* [10, 20) */
	} rows[] = {
		{ 0, 10, false },
		{ 0, 11, true },
		{ 12, 14, true },
		{ 19, 30, true },
		{ 20, 30, false },
		{ 0, UINT64_MAX, true },
		{ 15, UINT64_MAX, true },          /* a truncation to 15 */
		{ 20, UINT64_MAX, false },
		{ UINT64_MAX, UINT64_MAX, false }, /* never mind */
	};
	struct quarantine quarantine = { 0 };

	assert(quarantine_is_empty(&quarantine));
	quarantine_add(&quarantine, 10, 20, 5);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++)
		assert(quarantine_overlaps(&quarantine, rows[i].start, rows[i].end) ==
		       rows[i].overlaps);
}

static void test_expiry(void)
{
	struct quarantine quarantine = { 0 };

	quarantine_add(&quarantine, 0, 10, 5);
	quarantine_add(&quarantine, 20, 30, 7);
	quarantine_expire(&quarantine, 4);
	assert(quarantine.n == 2);
	quarantine_expire(&quarantine, 5);
	assert(!quarantine_overlaps(&quarantine, 0, 10) && quarantine_overlaps(&quarantine, 20, 30));
	quarantine_add(&quarantine, 30, 40, 6); /* meets it: both until the later time */
	assert(quarantine.n == 1);
	quarantine_expire(&quarantine, 6);
	assert(quarantine_overlaps(&quarantine, 35, 36));
	quarantine_expire(&quarantine, 7);
	assert(quarantine_is_empty(&quarantine));
}

/* Behind a truncation everything is. */
static void test_to_the_end(void)
{
	struct quarantine quarantine = { 0 };

	quarantine_add(&quarantine, 100, UINT64_MAX, 5);
	assert(quarantine_overlaps(&quarantine, UINT64_MAX - 10, UINT64_MAX - 9));
	assert(!quarantine_overlaps(&quarantine, 0, 100));
}

/* What was added is covered, however many there are. */
static void test_model(void)
{
	struct quarantine quarantine = { 0 };
	bool model[SPACE] = { false };

	srandom(1);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		uint64_t start = (uint64_t)random() % (SPACE - 4), end = start + 1 + (uint64_t)random() % 3;

		if (i % 40 == 0) {
			quarantine_expire(&quarantine, INT64_MAX);
			memset(model, 0, sizeof(model));
		}
		quarantine_add(&quarantine, start, end, 1 + random() % 9);
		assert(quarantine.n <= QUARANTINE_MAX);
		for (uint64_t at = start; at < end; at++)
			model[at] = true;
		for (uint64_t at = 0; at < SPACE; at++)
			assert(!model[at] || quarantine_overlaps(&quarantine, at, at + 1));
	}
}

int main(void)
{
	test_overlaps();
	test_expiry();
	test_to_the_end();
	test_model();
	return 0;
}
