/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_pending - how far the ranges of a file have come: sent, taken by the server, stable, in doubt. */
#include "../conn/util.h"
#include "wback_lists_parts.h"

static bool has_doubts(const struct wback_lists *lists)
{
	return lists->oldest_losses < lists->losses;
}

bool wback_is_doubtful(const struct wback_lists *lists, const struct range *range)
{
	return range->losses < lists->losses;
}

static bool any_doubtful_before(const struct wback_lists *lists, const struct range_list *list,
				uint64_t seq)
{
	const struct range *range;

	TAILQ_FOREACH(range, list, link)
		if (range->seq < seq && wback_is_doubtful(lists, range))
			return true;
	return false;
}

bool wback_in_doubt_before(const struct wback_lists *lists, uint64_t seq)
{
	return has_doubts(lists) && (any_doubtful_before(lists, &lists->unstable, seq) ||
				     any_doubtful_before(lists, &lists->committing, seq));
}

/* What nobody has been told of yet, no fsync(2) needs to wait for. */
bool wback_waiting_before(const struct wback_lists *lists, uint64_t seq)
{
	const struct range *range;

	TAILQ_FOREACH(range, &lists->waiting, link) {
		if (range->seq >= seq)
			return false;
		if (range_is_ours(range))
			return true;
	}
	return false;
}

bool wback_given_before(const struct wback_lists *lists, uint64_t seq)
{
	return !wback_waiting_before(lists, seq) && !range_any_before(&lists->writing, seq);
}

bool wback_taken_before(const struct wback_lists *lists, uint64_t seq)
{
	return wback_given_before(lists, seq) && !wback_in_doubt_before(lists, seq);
}

bool wback_stable_before(const struct wback_lists *lists, uint64_t seq)
{
	return wback_given_before(lists, seq) && !range_any_before(&lists->unstable, seq) &&
	       !range_any_before(&lists->committing, seq);
}

bool wback_is_fenced(const struct wback_lists *lists, const struct wback_wait *wait)
{
	if (wait->from == UINT64_MAX)
		return false;
	return lists->n_cutting || quarantine_overlaps(&lists->quarantine, wait->from, UINT64_MAX);
}

/* Of what the server has taken, what it may not have any more; the last byte's end of it. */
static uint64_t doubtful_end(const struct wback_lists *lists, const struct range_list *list,
			     uint64_t start, uint64_t end)
{
	const struct range *range;
	uint64_t last = 0;

	TAILQ_FOREACH(range, list, link)
		if (wback_is_doubtful(lists, range) && range->offset < end && start < range_end(range) &&
		    range_end(range) > last)
			last = range_end(range);
	return last;
}

static uint64_t doubt_end(const struct wback_lists *lists, uint64_t start, uint64_t end)
{
	uint64_t unstable, committing;

	if (!has_doubts(lists))
		return 0;
	unstable = doubtful_end(lists, &lists->unstable, start, end);
	committing = doubtful_end(lists, &lists->committing, start, end);
	return unstable > committing ? unstable : committing;
}

static bool is_pending(const struct range_list *list, uint64_t start, uint64_t end)
{
	const struct range *range;

	TAILQ_FOREACH(range, list, link)
		if (range_is_ours(range) && range->offset < end && start < range_end(range))
			return true;
	return false;
}

bool wback_lists_is_pending(const struct wback_lists *lists, uint64_t start, uint64_t end)
{
	return is_pending(&lists->waiting, start, end) || is_pending(&lists->writing, start, end) ||
	       doubt_end(lists, start, end) > 0;
}

static uint64_t end_of(const struct range_list *list)
{
	const struct range *range;
	uint64_t end = 0;

	TAILQ_FOREACH(range, list, link)
		if (range_is_ours(range) && range_end(range) > end)
			end = range_end(range);
	return end;
}

uint64_t wback_lists_pending_end(const struct wback_lists *lists)
{
	uint64_t ends[] = {
		end_of(&lists->waiting), end_of(&lists->writing), doubt_end(lists, 0, UINT64_MAX)
	};
	uint64_t last = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(ends); i++)
		if (ends[i] > last)
			last = ends[i];
	return last;
}
