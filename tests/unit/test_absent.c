/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_absent - names that are not there: of one state of one directory, and a bounded number. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "../../fuse/absent.h"

static const struct attr old = { .mtime = { 100, 5 }, .ctime = { 100, 6 } };
static const struct attr new_mtime = { .mtime = { 100, 7 }, .ctime = { 100, 6 } };
static const struct attr new_ctime = { .mtime = { 100, 5 }, .ctime = { 101, 6 } };
static const struct inode dir = { .index = 3, .generation = 1 };
static const struct inode sibling = { .index = 4, .generation = 1 };
static const struct inode next_life = { .index = 3, .generation = 2 };

static void test_state(void)
{
	struct absent *absent = absent_new();

	assert(!absent_find(absent, &dir, "a", &old));
	absent_add(absent, &dir, "a", &old);
	assert(absent_find(absent, &dir, "a", &old));
	assert(!absent_find(absent, &dir, "b", &old));
	assert(!absent_find(absent, &dir, "a", &new_mtime));
	assert(!absent_find(absent, &dir, "a", &new_ctime));
	assert(!absent_find(absent, &sibling, "a", &old));
	assert(!absent_find(absent, &next_life, "a", &old));

	/* Looked up in vain again, in a later state: that one counts. */
	absent_add(absent, &dir, "a", &new_mtime);
	assert(absent_find(absent, &dir, "a", &new_mtime));
	assert(!absent_find(absent, &dir, "a", &old));
	absent_free(absent);
}

static void test_drop(void)
{
	struct absent *absent = absent_new();

	absent_add(absent, &dir, "a", &old);
	absent_add(absent, &dir, "b", &old);
	absent_drop(absent, &dir, "a");
	absent_drop(absent, &dir, "a");
	absent_drop(absent, &sibling, "b");
	assert(!absent_find(absent, &dir, "a", &old));
	assert(absent_find(absent, &dir, "b", &old));
	absent_free(absent);
}

/* However many there are, no more than ABSENT_MAX stay: those that were asked for last. */
static void test_bound(void)
{
	struct absent *absent = absent_new();
	unsigned int n_known = 0;
	char name[16];

	absent_add(absent, &dir, "used", &old);
	for (unsigned int i = 0; i < 3 * ABSENT_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		absent_add(absent, &dir, name, &old);
		if (i % 64 == 0)
			assert(absent_find(absent, &dir, "used", &old));
	}
	for (unsigned int i = 0; i < 3 * ABSENT_MAX; i++) {
		snprintf(name, sizeof(name), "n%u", i);
		n_known += absent_find(absent, &dir, name, &old);
		assert(i >= ABSENT_MAX || !absent_find(absent, &dir, name, &old));
	}
	assert(n_known > ABSENT_MAX * 9 / 10 && n_known < ABSENT_MAX);
	absent_free(absent);
}

int main(void)
{
	test_state();
	test_drop();
	test_bound();
	absent_free(NULL);
	return 0;
}
