/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_prefetch - every rule of prefetch_window.h as a row. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "../../fuse/prefetch_window.h"

enum { K = 1024, M = 1024 * 1024, MOST = 4 * M };

struct step {
	uint64_t offset;
	uint32_t size;
	bool in_run;
	uint64_t ahead; /* after it */
};

struct row {
	const char *what;
	uint64_t run_min;
	struct step steps[8];
};

static const struct row rows[] = {
	{ "from the start", 0, {
		{ 0, 128 * K, true, 0 },
		{ 128 * K, 128 * K, true, 256 * K },
		{ 256 * K, 128 * K, true, 384 * K } } },
	{ "never more than is allowed", 0, {
		{ 0, 4 * M, true, 4 * M },
		{ 4 * M, 128 * K, true, 4 * M } } },
	{ "a seek", 0, {
		{ 0, 512 * K, true, 512 * K },
		{ 9 * M, 128 * K, false, 0 },
		{ 9 * M + 128 * K, 128 * K, true, 256 * K } } },
	{ "overtaken: one gap, until it is filled", 0, {
		{ 0, 256 * K, true, 256 * K },
		{ 384 * K, 128 * K, true, 0 },
		{ 256 * K, 128 * K, true, 384 * K } } },
	{ "strided", 0, {
		{ 0, 256 * K, true, 256 * K },
		{ 384 * K, 128 * K, true, 0 },
		{ 640 * K, 128 * K, false, 0 } } },
	{ "small ones do not overtake", 0, {
		{ 0, 256 * K, true, 256 * K },
		{ 260 * K, 4 * K, false, 0 } } },
	{ "backward", 0, {
		{ 9 * M, 128 * K, false, 0 },
		{ 9 * M - 128 * K, 128 * K, true, 0 },
		{ 5 * M, 128 * K, false, 0 } } },
	{ "again and again within a little piece", 0, {
		{ 0, 128 * K, true, 0 },
		{ 64 * K, 4 * K, true, 0 },
		{ 4 * K, 4 * K, true, 0 } } },
	{ "after a mistake", 512 * K, {
		{ 0, 256 * K, true, 0 },
		{ 256 * K, 256 * K, true, 512 * K } } },
};

static void test_rows(void)
{
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct prefetch_window window = { .run_min = rows[i].run_min };

		printf("%s\n", rows[i].what);
		for (const struct step *step = rows[i].steps; step->size; step++) {
			assert(prefetch_window_note(&window, step->offset, step->size) == step->in_run);
			assert(prefetch_window_ahead(&window, MOST) == step->ahead);
		}
	}
}

static void test_wasted(void)
{
	struct prefetch_window window = { 0 };

	prefetch_window_wasted(&window);
	assert(window.run_min == 2 * PREFETCH_RUN_MIN);
	for (unsigned int i = 0; i < 64; i++)
		prefetch_window_wasted(&window);
	assert(window.run_min == PREFETCH_RUN_MAX);
}

static void test_block(void)
{
	assert(prefetch_window_block(0, M, 9 * M) == M);
	assert(prefetch_window_block(240 * K, M, 9 * M) == M);
	assert(prefetch_window_block(M, M, M + 5) == M + 5);
	assert(prefetch_window_block(M, M, M) <= M);
}

int main(void)
{
	test_rows();
	test_wasted();
	test_block();
	return 0;
}
