/* SPDX-License-Identifier: GPL-2.0-or-later */
/* histogram - how long things took: counts of durations in buckets that grow with them, four for every doubling
 * from a microsecond to two hours, so that a quantile is right within a quarter.
 *
 * PUBLIC. A histogram has one writer, the thread that owns it, which counts without a locked instruction; anybody
 * may add it to a sum meanwhile. Header only, no state. */
#ifndef CONN_HISTOGRAM_H
#define CONN_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 128, HISTOGRAM_PARTS = 4 };

struct histogram {
	_Atomic(uint64_t) n[HISTOGRAM_BUCKETS];
	_Atomic(uint64_t) total_ns, max_ns;
};

/* Plain numbers: of one histogram, or of several together. */
struct histogram_sum {
	uint64_t n[HISTOGRAM_BUCKETS];
	uint64_t count, total_ns, max_ns;
};

/* histogram_bucket - where a duration counts. histogram_end_us - where its bucket ends, exclusive. */
static inline unsigned int histogram_bucket(int64_t ns)
{
	uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
	unsigned int octave, bucket;

	if (us < HISTOGRAM_PARTS)
		return (unsigned int)us;
	octave = 63 - (unsigned int)__builtin_clzll(us);
	bucket = (octave - 1) * HISTOGRAM_PARTS + ((us >> (octave - 2)) & (HISTOGRAM_PARTS - 1));
	return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline uint64_t histogram_end_us(unsigned int bucket)
{
	unsigned int octave = bucket / HISTOGRAM_PARTS + 1;

	if (bucket < HISTOGRAM_PARTS)
		return bucket + 1;
	return ((uint64_t)HISTOGRAM_PARTS + bucket % HISTOGRAM_PARTS + 1) << (octave - 2);
}

static inline void histogram_count(_Atomic(uint64_t) *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

/* histogram_add - one more; the owner's thread. */
static inline void histogram_add(struct histogram *histogram, int64_t ns)
{
	uint64_t took_ns = ns > 0 ? (uint64_t)ns : 0;

	histogram_count(&histogram->n[histogram_bucket(ns)], 1);
	histogram_count(&histogram->total_ns, took_ns);
	if (took_ns > atomic_load_explicit(&histogram->max_ns, memory_order_relaxed))
		atomic_store_explicit(&histogram->max_ns, took_ns, memory_order_relaxed);
}

/* histogram_read - add it to *sum. Any thread. */
static inline void histogram_read(const struct histogram *histogram, struct histogram_sum *sum)
{
	uint64_t max_ns = atomic_load_explicit(&histogram->max_ns, memory_order_relaxed);

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = atomic_load_explicit(&histogram->n[i], memory_order_relaxed);

		sum->n[i] += n;
		sum->count += n;
	}
	sum->total_ns += atomic_load_explicit(&histogram->total_ns, memory_order_relaxed);
	if (max_ns > sum->max_ns)
		sum->max_ns = max_ns;
}

/* histogram_quantile_us - so many thousandths took less than this: the end of a bucket; 0: there were none. */
static inline uint64_t histogram_quantile_us(const struct histogram_sum *sum, unsigned int thousandths)
{
	uint64_t wanted = (sum->count * thousandths + 999) / 1000, seen = 0;

	for (unsigned int i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += sum->n[i];
		if (seen && seen >= wanted)
			return histogram_end_us(i);
	}
	return 0;
}

#endif
