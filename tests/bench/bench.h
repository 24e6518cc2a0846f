/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench - what barerpc and load share: the measured window, latency histograms, sizes on the
 * command line and the one line of JSON that run.py reads.
 *
 * Deliberately uses nothing of conn/ or fuse/: what measures must not share code with what is
 * measured. Errors end the program (err(3)): a benchmark has nothing to recover. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>

#define NS_PER_S INT64_C(1000000000)

/* Log-linear: 64 steps per power of two, so that a percentile is within 0.8 % of the truth. One
 * per thread, merged at the end: no lock while measuring. */
enum { HISTOGRAM_STEP_BITS = 6, HISTOGRAM_BUCKETS = (64 - HISTOGRAM_STEP_BITS + 1) << 6 };

struct histogram {
	uint64_t n;
	int64_t max_ns;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, int64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
int64_t histogram_percentile(const struct histogram *histogram, double percent);

/* The time that counts. A timed window is closed by the clock, an open-ended one (end_ns is
 * INT64_MAX meanwhile) by window_close(), when a fixed amount of work is done. Workers read it. */
struct window {
	int64_t begin_ns, end_ns;
	int64_t cpu_ns; /* CPU time of this process within it */
	bool timed;
};

/* window_open - from warmup_s from now, for `seconds`; 0: at once and until window_close(). */
void window_open(struct window *window, double warmup_s, double seconds);
/* window_sleep - in the main thread, while workers work: returns at the end of a timed window. */
void window_sleep(struct window *window);
void window_close(struct window *window);

static inline bool window_has(const struct window *window, int64_t from_ns, int64_t to_ns)
{
	return from_ns >= window->begin_ns && to_ns <= window->end_ns;
}

/* What one worker did. ops and bytes are those within the window; all_ops include the warm-up. */
struct tally {
	uint64_t ops, bytes, all_ops, all_bytes;
	struct histogram latency;
};

void tally_add(struct tally *tally, const struct window *window, int64_t from_ns, int64_t to_ns,
	       uint64_t bytes);
void tally_merge(struct tally *into, const struct tally *from);

/* tally_print - the JSON line; `extra` is inserted as it is, such as "\"depth\":8,". */
void tally_print(const struct tally *tally, const struct window *window, const char *op,
		 const char *extra);

int64_t clock_ns(void);
/* random_next - xorshift64*; *state must not be 0. */
uint64_t random_next(uint64_t *state);
/* parse_size - "4096", "4k", "1M", "2G" (powers of 1024); ends the program on nonsense. */
uint64_t parse_size(const char *text);

#endif
