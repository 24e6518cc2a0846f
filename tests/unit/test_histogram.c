/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_histogram - buckets meet without a gap, and quantiles are right within a quarter. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/histogram.h"
#include "../../conn/util.h"

static const struct {
	int64_t ns;
	unsigned int bucket;
	uint64_t end_us;
} places[] = {
	{ -5, 0, 1 },              { 0, 0, 1 },          { 999, 0, 1 },        { 1000, 1, 2 },
	{ 3999, 3, 4 },            { 4000, 4, 5 },       { 7000, 7, 8 },       { 8000, 8, 10 },
	{ 9999, 8, 10 },           { 10000, 9, 12 },     { 16000, 12, 20 },    { 1000000, 35, 1024 },
	{ INT64_C(1024000), 36, 1280 }, { INT64_MAX, 127, UINT64_C(1) << 33 },
};

static void test_places(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(places); i++) {
		assert(histogram_bucket(places[i].ns) == places[i].bucket);
		assert(histogram_end_us(places[i].bucket) == places[i].end_us);
	}
}

/* What ends a bucket is the first of the next. */
static void test_no_gap(void)
{
	for (unsigned int i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
		int64_t end_ns = (int64_t)histogram_end_us(i) * 1000;

		assert(histogram_bucket(end_ns - 1) == i);
		assert(histogram_bucket(end_ns) == i + 1);
	}
}

static void test_quantiles(void)
{
	struct histogram *histogram = calloc(1, sizeof(*histogram));
	struct histogram_sum sum = { 0 };

	assert(histogram_quantile_us(&sum, 500) == 0);
	for (int64_t us = 1; us <= 1000; us++)
		histogram_add(histogram, us * 1000);
	histogram_read(histogram, &sum);
	assert(sum.count == 1000 && sum.max_ns == 1000000 && sum.total_ns == UINT64_C(500500000));
	for (unsigned int thousandths = 1; thousandths <= 1000; thousandths++) {
		uint64_t us = histogram_quantile_us(&sum, thousandths);

		assert(us > thousandths && us <= thousandths + thousandths / 4 + 1);
	}
	histogram_read(histogram, &sum); /* two of them */
	assert(sum.count == 2000 && sum.max_ns == 1000000);
	free(histogram);
}

int main(void)
{
	test_places();
	test_no_gap();
	test_quantiles();
	puts("histogram: ok");
	return 0;
}
