/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_due - what is due of a file's ranges: which WRITEs, a COMMIT or not, and who has waited long enough. */
#include "request.h"
#include "wback_lists_parts.h"

void wback_todo_init(struct wback_todo *todo)
{
	*todo = (struct wback_todo){ .commit = false };
	TAILQ_INIT(&todo->lost);
	TAILQ_INIT(&todo->dropped);
	STAILQ_INIT(&todo->send);
	TAILQ_INIT(&todo->failed);
	TAILQ_INIT(&todo->satisfied);
}

/* Something older may still change that piece of the file. */
static bool is_closed(const struct wback_lists *lists, const struct range *range)
{
	uint64_t end = range->offset + range->len;

	return (lists->n_cutting && end > lists->cut_from) ||
	       quarantine_overlaps(&lists->quarantine, range->offset, end);
}

static bool may_retry(const struct wback_lists *lists, const struct wback_view *view)
{
	return !lists->trouble_since_ns ||
	       (view->now_ns >= lists->retry_at_ns && !view->down_error);
}

static void take_dropped(struct wback_lists *lists, struct wback_todo *todo)
{
	struct range *range, *next;

	for (range = TAILQ_FIRST(&lists->waiting); range; range = next) {
		next = TAILQ_NEXT(range, link);
		if (range_is_ours(range) || !request_answered(range->request))
			continue;
		wback_leave_waiting(lists, range);
		TAILQ_INSERT_TAIL(&todo->dropped, range, link);
	}
}

/* One range, and nothing of the file elsewhere. */
static bool is_alone(const struct wback_lists *lists)
{
	return lists->n_waiting == 1 && TAILQ_EMPTY(&lists->writing) &&
	       TAILQ_EMPTY(&lists->unstable) && TAILQ_EMPTY(&lists->committing);
}

/* Whoever waits for his own write(2) is always due. What is full is when more follows: if nothing does,
 * one WRITE will make it stable. */
static bool is_due(const struct wback_lists *lists, const struct range *range,
		   const struct wback_view *view)
{
	if (!range_is_ours(range) || !range->fresh || (range_is_full(range) && !is_alone(lists)))
		return true;
	return range->seq < lists->urgent_seq || view->memory_short ||
	       view->now_ns - range->since_ns >= WBACK_AGE_NS;
}

static bool is_sendable(const struct wback_lists *lists, const struct range *range,
			const struct wback_view *view)
{
	if (range_is_ours(range) && (!may_retry(lists, view) || lists->n_ours >= WBACK_OURS_MAX))
		return false;
	if (!range_is_again(range) && is_closed(lists, range))
		return false;
	return is_due(lists, range, view) && !range_overlaps_any(&lists->writing, range, false) &&
	       !wback_overlaps_older(range);
}

/* Will somebody want it stable, and is nothing else to be made so? Then COMMIT would be a second trip.
 * Who asks only for its attributes closes it next, if that is the whole file. */
static bool is_all_of_it(const struct wback_lists *lists, const struct range *range,
			 const struct wback_view *view)
{
	const struct wback_wait *wait = TAILQ_LAST(&lists->waits, wback_wait_list);
	bool wanted = range->seq < lists->wanted_seq || (wait && range->seq < wait->seq) ||
		      (range->offset == 0 && !TAILQ_EMPTY(&lists->sends));

	return range_is_ours(range) && range->fresh && wanted && range->len <= view->wsize &&
	       is_alone(lists);
}

static void take_sendable(struct wback_lists *lists, const struct wback_view *view,
			  struct wback_todo *todo)
{
	struct range *range, *next;

	for (range = TAILQ_FIRST(&lists->waiting); range; range = next) {
		next = TAILQ_NEXT(range, link);
		if (!is_sendable(lists, range, view))
			continue;
		if (is_all_of_it(lists, range, view))
			range->stable = NFS3_FILE_SYNC;
		wback_leave_waiting(lists, range);
		range->fresh = false;
		TAILQ_INSERT_TAIL(&lists->writing, range, link);
		lists->n_ours += range_is_ours(range);
		STAILQ_INSERT_TAIL(&todo->send, range, send_link);
	}
}

/* For who waits until the server has it, only a COMMIT ends a doubt, also one that came while he waited. */
static void want_certainty(struct wback_lists *lists)
{
	const struct wback_wait *last = TAILQ_LAST(&lists->sends, wback_wait_list);

	if (last && wback_in_doubt_before(lists, last->seq))
		wback_lists_want(lists);
}

static void take_sends(struct wback_lists *lists, const struct wback_view *view,
		       struct wback_todo *todo)
{
	struct wback_wait *wait, *next;

	for (wait = TAILQ_FIRST(&lists->sends); wait; wait = next) {
		next = TAILQ_NEXT(wait, link);
		if (!wback_taken_before(lists, wait->seq) && view->now_ns < wait->until_ns)
			continue;
		TAILQ_REMOVE(&lists->sends, wait, link);
		TAILQ_INSERT_TAIL(&todo->satisfied, wait, link);
	}
}

static void take_waits(struct wback_lists *lists, struct wback_todo *todo)
{
	struct wback_wait *wait, *next;

	while ((wait = TAILQ_FIRST(&lists->waits)) && wback_stable_before(lists, wait->seq)) {
		TAILQ_REMOVE(&lists->waits, wait, link);
		TAILQ_INSERT_TAIL(&lists->fenced, wait, link);
	}
	for (wait = TAILQ_FIRST(&lists->fenced); wait; wait = next) {
		next = TAILQ_NEXT(wait, link);
		if (wback_is_fenced(lists, wait))
			continue;
		TAILQ_REMOVE(&lists->fenced, wait, link);
		TAILQ_INSERT_TAIL(&todo->satisfied, wait, link);
	}
}

/* So much that it must not wait for a WRITE that takes its time. */
static bool is_much(const struct wback_lists *lists, const struct wback_view *view)
{
	return lists->n_unstable > WBACK_RANGES_MAX ||
	       (view->commit_bytes && lists->unstable_bytes >= view->commit_bytes);
}

/* Now? For whom it is done, only once all he wrote has been taken by the server. */
static bool should_commit(const struct wback_lists *lists, const struct wback_view *view)
{
	const struct wback_wait *wait = TAILQ_FIRST(&lists->waits);
	uint64_t seq = wait ? wait->seq : lists->wanted_seq;

	if (lists->commit_in_flight || TAILQ_EMPTY(&lists->unstable) || !may_retry(lists, view))
		return false;
	if (is_much(lists, view))
		return true;
	if (range_any_before(&lists->unstable, seq))
		return wback_given_before(lists, seq);
	return view->memory_short && TAILQ_EMPTY(&lists->writing);
}

static void take_commit(struct wback_lists *lists, const struct wback_view *view,
			struct wback_todo *todo)
{
	todo->commit = should_commit(lists, view);
	if (!todo->commit)
		return;
	lists->commit_in_flight = true;
	TAILQ_CONCAT(&lists->committing, &lists->unstable, link);
	wback_recount(lists);
}

void wback_lists_look(struct wback_lists *lists, const struct wback_view *view,
		      struct wback_todo *todo)
{
	quarantine_expire(&lists->quarantine, view->now_ns);
	take_dropped(lists, todo);
	if (!wback_holds_data(lists)) /* newer data has taken its place */
		lists->trouble_since_ns = 0;
	if (lists->trouble_since_ns && view->now_ns - lists->trouble_since_ns >= view->hold_ns)
		wback_lists_give_up(lists, &todo->lost);
	want_certainty(lists);
	take_sendable(lists, view, todo);
	take_waits(lists, todo);
	take_sends(lists, view, todo);
	if (lists->trouble_since_ns && view->down_error)
		wback_fail_waits(lists, view->down_error);
	take_commit(lists, view, todo);
	TAILQ_CONCAT(&todo->failed, &lists->failed, link);
	todo->fail_error = lists->fail_error;
	todo->empty = wback_lists_empty(lists);
	todo->timed = lists->trouble_since_ns || !quarantine_is_empty(&lists->quarantine) ||
		      !TAILQ_EMPTY(&lists->waiting) || !TAILQ_EMPTY(&lists->sends);
}
