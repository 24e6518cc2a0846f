/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sample - see sample.h. */
#include "sample.h"

#include <stdlib.h>
#include <string.h>

#include "../../conn/histogram.h"
#include "../../conn/util.h"
#include "client.h"

double sample_delta(const json_t *earlier, const json_t *later, const char *path)
{
	double delta = client_number(later, path) - client_number(earlier, path);

	return delta > 0 ? delta : 0;
}

static const double US_MAX = 1e12;

/* A bucket that ends at us, in the numbering of histogram.h. */
static unsigned int bucket_of(double us)
{
	return histogram_bucket(us < 1 ? 0 : us < US_MAX ? (int64_t)us * 1000 - 1 : INT64_MAX);
}

static void add(struct histogram_sum *sum, const json_t *one, int sign)
{
	const json_t *buckets = json_object_get(one, "buckets_us");

	for (size_t i = 0; i < json_array_size(buckets); i++) {
		const json_t *bucket = json_array_get(buckets, i);
		uint64_t n = (uint64_t)json_integer_value(json_array_get(bucket, 1));

		sum->n[bucket_of(json_number_value(json_array_get(bucket, 0)))] += (uint64_t)sign * n;
		sum->count += (uint64_t)sign * n;
	}
}

static void add_all(struct histogram_sum *sum, const json_t *answer, const char *key, const char *name, int sign)
{
	json_t *all = json_object_get(answer, key), *one;
	const char *its_name;

	json_object_foreach(all, its_name, one)
		if (!name || !strcmp(name, its_name))
			add(sum, one, sign);
}

static double quantile(const struct histogram_sum *sum, double part)
{
	if (!sum->count || (int64_t)sum->count < 0)
		return 0;
	return (double)histogram_quantile_us(sum, (unsigned int)(part * 1000)) / 1e6;
}

double sample_quantile(const json_t *earlier, const json_t *later, const char *key, const char *name, double part)
{
	struct histogram_sum sum = { 0 };

	add_all(&sum, later, key, name, 1);
	add_all(&sum, earlier, key, name, -1);
	return quantile(&sum, part);
}

double sample_latency(const json_t *earlier, const json_t *later, double part)
{
	struct histogram_sum sum = { 0 };

	add(&sum, later, 1);
	add(&sum, earlier, -1);
	return quantile(&sum, part);
}

static double all_operations(const json_t *earlier, const json_t *later, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "operations.%s.count", name);
	return sample_delta(earlier, later, path);
}

void sample_between(const json_t *earlier, const json_t *later, struct sample *ret_sample)
{
	double seconds = earlier ? sample_delta(earlier, later, "monotonic_seconds") :
				   client_number(later, "uptime_seconds");
	double hits = sample_delta(earlier, later, "metadata_hits");
	double metadata = sample_delta(earlier, later, "metadata_operations");

	if (seconds < 1e-3)
		seconds = 1e-3;
	*ret_sample = (struct sample){
		.seconds = seconds,
		.read_bytes = sample_delta(earlier, later, "read_bytes") / seconds,
		.written_bytes = sample_delta(earlier, later, "written_bytes") / seconds,
		.reads = all_operations(earlier, later, "READ") / seconds,
		.writes = all_operations(earlier, later, "WRITE") / seconds,
		.metadata = metadata / seconds,
		.metadata_hits = metadata > 0 ? hits / metadata : 0,
		.app_p50 = sample_quantile(earlier, later, "operations", NULL, 0.5),
		.app_p99 = sample_quantile(earlier, later, "operations", NULL, 0.99),
		.server_p50 = sample_quantile(earlier, later, "procedures", NULL, 0.5),
		.server_p99 = sample_quantile(earlier, later, "procedures", NULL, 0.99),
		.cpu = sample_delta(earlier, later, "process.cpu_seconds") / seconds,
	};
}

const json_t *sample_connection(const json_t *answer, int id)
{
	const json_t *all = json_object_get(answer, "connections");

	for (size_t i = 0; i < json_array_size(all); i++)
		if ((int)client_whole(json_array_get(all, i), "id") == id)
			return json_array_get(all, i);
	return NULL;
}
