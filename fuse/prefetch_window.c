/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prefetch_window - see prefetch_window.h. */
#include "prefetch_window.h"

#include "../conn/util.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t run_min(const struct prefetch_window *window)
{
	return window->run_min ? window->run_min : PREFETCH_RUN_MIN;
}

static bool is_behind(const struct prefetch_window *window, uint64_t offset, uint32_t size)
{
	return offset + size <= window->next && window->next - offset <= PREFETCH_BEHIND;
}

static bool overtakes(const struct prefetch_window *window, uint64_t offset, uint32_t size)
{
	return window->run && !window->gap_end && size >= PREFETCH_OVERTAKES &&
	       offset > window->next && offset - window->next <= size;
}

static void begin(struct prefetch_window *window, uint64_t offset, uint32_t size)
{
	window->run = size;
	window->next = offset + size;
	window->gap_end = 0;
}

bool prefetch_window_note(struct prefetch_window *window, uint64_t offset, uint32_t size)
{
	if (is_behind(window, offset, size)) {
		if (window->gap_end && offset <= window->gap && offset + size >= window->gap_end)
			window->gap_end = 0;
		return true;
	}
	if (overtakes(window, offset, size)) {
		window->gap = window->next;
		window->gap_end = offset;
	} else if (offset != window->next) {
		begin(window, offset, size);
		return false;
	}
	window->run += size;
	window->next = offset + size;
	return true;
}

uint64_t prefetch_window_ahead(const struct prefetch_window *window, uint64_t max)
{
	if (window->gap_end || window->run < run_min(window))
		return 0;
	return min_u64(window->run, max);
}

void prefetch_window_wasted(struct prefetch_window *window)
{
	window->run_min = min_u64(run_min(window) * 2, PREFETCH_RUN_MAX);
}

void prefetch_window_stop(struct prefetch_window *window)
{
	window->run = 0;
}

uint64_t prefetch_window_block(uint64_t start, uint32_t rsize, uint64_t file_size)
{
	return min_u64(start - start % rsize + rsize, file_size);
}
