/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_slow - which connection is said to be on a slow path, by rates and time alone; and rates as words. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "../../fuse/command/slow.h"
#include "../../fuse/command/text.h"

#define MB 1e6

static const struct {
	const char *what;
	double rates[5];
	unsigned int n;
	int slow; /* -1: none */
} rows[] = {
	{ "less than half of the median", { 100 * MB, 100 * MB, 40 * MB, 90 * MB }, 4, 2 },
	{ "half is enough", { 100 * MB, 100 * MB, 50 * MB, 100 * MB }, 4, -1 },
	{ "nobody does anything", { 0, 0, 0 }, 3, -1 },
	{ "too little to compare", { 0.9 * MB, 0.8 * MB, 0.1 * MB }, 3, -1 },
	{ "alone", { 5 * MB }, 1, -1 },
	{ "one that takes no data is not compared", { 100 * MB, -1, 100 * MB }, 3, -1 },
	{ "nor does it count", { 10 * MB, -1, -1, 10 * MB, 1 * MB }, 5, 4 },
	{ "a fast one makes the others not slow", { 100 * MB, 10 * MB, 10 * MB, 10 * MB }, 4, -1 },
};

static void test_rows(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct slow slow = { { 0 } };

		slow_note(&slow, rows[i].rates, rows[i].n, NS_PER_S);
		for (unsigned int j = 0; j < rows[i].n; j++) {
			bool is_slow = slow_is(&slow, j, 11 * NS_PER_S);

			if (is_slow != ((int)j == rows[i].slow))
				fprintf(stderr, "%s: %u\n", rows[i].what, j);
			assert(is_slow == ((int)j == rows[i].slow));
			assert(!slow_is(&slow, j, 11 * NS_PER_S - 1));
		}
	}
}

/* Ten seconds on end: one good moment, and it begins anew. */
static void test_time(void)
{
	static const double bad[] = { 100 * MB, 100 * MB, 1 * MB }, good[] = { 100 * MB, 100 * MB, 99 * MB };
	struct slow slow = { { 0 } };

	for (int64_t s = 1; s <= 9; s++)
		slow_note(&slow, bad, 3, s * NS_PER_S);
	slow_note(&slow, good, 3, 10 * NS_PER_S);
	slow_note(&slow, bad, 3, 11 * NS_PER_S);
	assert(!slow_is(&slow, 2, 20 * NS_PER_S) && slow_is(&slow, 2, 21 * NS_PER_S));
	assert(!slow_is(&slow, 64, 21 * NS_PER_S));
}

static void test_text(void)
{
	char text[TEXT_SIZE];

	assert(!strcmp(text_rate(0, text), "0") && !strcmp(text_rate(120e6, text), "120 MB/s"));
	assert(!strcmp(text_rate(4.04e6, text), "4.04 MB/s") && !strcmp(text_bytes(999, text), "999 B"));
	assert(!strcmp(text_bytes(31.2e9, text), "31.2 GB") && !strcmp(text_bytes(1000, text), "1.00 kB"));
	assert(!strcmp(text_count(1100, text), "1100") && !strcmp(text_count(11000, text), "11.0k"));
	assert(!strcmp(text_latency(0.00021, text), "0.21 ms") && !strcmp(text_latency(0, text), "-"));
	assert(!strcmp(text_latency(12.04, text), "12.0 s") && !strcmp(text_latency(0.2104, text), "210 ms"));
	assert(!strcmp(text_age(12, text), "12 s") && !strcmp(text_age(2460, text), "00:41"));
	assert(!strcmp(text_age(3 * 86400 + 4 * 3600 + 12 * 60, text), "3d 04:12"));
}

/* What could command a terminal does not reach it. */
static void test_table(void)
{
	char out[256] = "";
	FILE *stream = fmemopen(out, sizeof(out), "w");
	static const char *const heads[] = { "A", "BBB", "C" };
	struct table table;

	table_init(&table, heads, 3, 2);
	table_row(&table);
	table_set(&table, 0, "a\033[2J");
	table_set(&table, 1, "%d", 7);
	table_set(&table, 9, "nowhere");
	table_print(&table, stream);
	fclose(stream);
	table_deinit(&table);
	assert(!strcmp(out, "A      BBB  C\na?[2J    7  \n"));
}

int main(void)
{
	test_rows();
	test_time();
	test_text();
	test_table();
	puts("slow: ok");
	return 0;
}
