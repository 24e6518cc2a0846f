/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench - see bench.h. */
#include "bench.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

uint64_t parse_size(const char *text)
{
	static const char units[] = "kmgt";
	char *end;
	uint64_t value;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (errno || end == text)
		errx(2, "'%s' is not a size", text);
	for (unsigned int i = 0; *end && units[i]; i++) {
		if ((*end | 0x20) == units[i]) {
			value <<= 10 * (i + 1);
			end++;
			break;
		}
	}
	if (*end)
		errx(2, "'%s' is not a size", text);
	return value;
}

/* ---- histogram --------------------------------------------------------------------------- */

enum { STEPS = 1 << HISTOGRAM_STEP_BITS };

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int shift;

	if (ns < STEPS)
		return (unsigned int)ns;
	shift = 63 - (unsigned int)__builtin_clzll(ns) - HISTOGRAM_STEP_BITS;
	return ((shift + 1) << HISTOGRAM_STEP_BITS) + ((ns >> shift) & (STEPS - 1));
}

/* The middle of a bucket. */
static int64_t bucket_value(unsigned int bucket)
{
	unsigned int shift = bucket >> HISTOGRAM_STEP_BITS;
	uint64_t step = bucket & (STEPS - 1);

	if (!shift)
		return (int64_t)step;
	shift--;
	return (int64_t)(((STEPS + step) << shift) + ((UINT64_C(1) << shift) >> 1));
}

void histogram_add(struct histogram *histogram, int64_t ns)
{
	histogram->n++;
	histogram->buckets[bucket_of((uint64_t)ns)]++;
	if (ns > histogram->max_ns)
		histogram->max_ns = ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->n += from->n;
	if (from->max_ns > into->max_ns)
		into->max_ns = from->max_ns;
	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++)
		into->buckets[i] += from->buckets[i];
}

int64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	uint64_t rank = (uint64_t)((double)histogram->n * percent / 100), seen = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen > rank)
			return bucket_value(i);
	}
	return histogram->max_ns;
}

/* ---- window ------------------------------------------------------------------------------ */

static int64_t timeval_ns(struct timeval time)
{
	return (int64_t)time.tv_sec * NS_PER_S + (int64_t)time.tv_usec * 1000;
}

static int64_t cpu_ns(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return timeval_ns(usage.ru_utime) + timeval_ns(usage.ru_stime);
}

static void sleep_until(int64_t ns)
{
	struct timespec until = { .tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

void window_open(struct window *window, double warmup_s, double seconds)
{
	window->timed = seconds > 0;
	window->begin_ns = clock_ns();
	window->end_ns = INT64_MAX;
	if (!window->timed)
		return;
	window->begin_ns += (int64_t)(warmup_s * (double)NS_PER_S);
	window->end_ns = window->begin_ns + (int64_t)(seconds * (double)NS_PER_S);
}

void window_sleep(struct window *window)
{
	if (window->timed)
		sleep_until(window->begin_ns);
	window->cpu_ns = -cpu_ns();
	if (!window->timed)
		return;
	sleep_until(window->end_ns);
	window->cpu_ns += cpu_ns();
}

void window_close(struct window *window)
{
	if (window->timed)
		return;
	window->end_ns = clock_ns();
	window->cpu_ns += cpu_ns();
}

/* ---- tally ------------------------------------------------------------------------------- */

void tally_add(struct tally *tally, const struct window *window, int64_t from_ns, int64_t to_ns,
	       uint64_t bytes)
{
	tally->all_ops++;
	tally->all_bytes += bytes;
	if (!window_has(window, from_ns, to_ns))
		return;
	tally->ops++;
	tally->bytes += bytes;
	histogram_add(&tally->latency, to_ns - from_ns);
}

void tally_merge(struct tally *into, const struct tally *from)
{
	into->ops += from->ops;
	into->bytes += from->bytes;
	into->all_ops += from->all_ops;
	into->all_bytes += from->all_bytes;
	histogram_merge(&into->latency, &from->latency);
}

static double percentile_us(const struct tally *tally, double percent)
{
	return (double)histogram_percentile(&tally->latency, percent) / 1e3;
}

void tally_print(const struct tally *tally, const struct window *window, const char *op,
		 const char *extra)
{
	double seconds = (double)(window->end_ns - window->begin_ns) / (double)NS_PER_S;
	double cpu_us = (double)window->cpu_ns / 1e3;

	if (!tally->ops)
		errx(1, "%s: nothing completed within %.1f s", op, seconds);
	printf("{\"op\":\"%s\",%s\"seconds\":%.4f", op, extra, seconds);
	printf(",\"ops\":%" PRIu64 ",\"bytes\":%" PRIu64, tally->ops, tally->bytes);
	printf(",\"all_ops\":%" PRIu64 ",\"all_bytes\":%" PRIu64, tally->all_ops, tally->all_bytes);
	printf(",\"ops_per_s\":%.1f,\"mb_per_s\":%.2f", (double)tally->ops / seconds,
	       (double)tally->bytes / seconds / 1e6);
	printf(",\"p50_us\":%.2f,\"p90_us\":%.2f,\"p99_us\":%.2f,\"max_us\":%.2f",
	       percentile_us(tally, 50), percentile_us(tally, 90), percentile_us(tally, 99),
	       (double)tally->latency.max_ns / 1e3);
	printf(",\"cpu_us_per_op\":%.3f}\n", cpu_us / (double)tally->ops);
}
