/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_lists - see wback_lists.h. */
#include "wback_lists.h"

#include "../conn/util.h"
#include "request.h"

void wback_lists_init(struct wback_lists *lists)
{
	*lists = (struct wback_lists){ .oldest_losses = UINT64_MAX };
	TAILQ_INIT(&lists->waiting);
	TAILQ_INIT(&lists->writing);
	TAILQ_INIT(&lists->unstable);
	TAILQ_INIT(&lists->committing);
	TAILQ_INIT(&lists->waits);
	TAILQ_INIT(&lists->sends);
	TAILQ_INIT(&lists->fenced);
	TAILQ_INIT(&lists->failed);
}

void wback_todo_init(struct wback_todo *todo)
{
	*todo = (struct wback_todo){ .commit = false };
	TAILQ_INIT(&todo->lost);
	TAILQ_INIT(&todo->dropped);
	STAILQ_INIT(&todo->send);
	TAILQ_INIT(&todo->failed);
	TAILQ_INIT(&todo->satisfied);
}

bool wback_lists_empty(const struct wback_lists *lists)
{
	return TAILQ_EMPTY(&lists->waiting) && TAILQ_EMPTY(&lists->writing) &&
	       TAILQ_EMPTY(&lists->unstable) && TAILQ_EMPTY(&lists->committing) &&
	       TAILQ_EMPTY(&lists->sends) && TAILQ_EMPTY(&lists->fenced) && quarantine_is_empty(&lists->quarantine) &&
	       !lists->commit_in_flight; /* its reply will look for the file */
}

/* What nobody has been told of yet, no fsync(2) needs to wait for. */
static bool is_waiting_before(const struct wback_lists *lists, uint64_t seq)
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

static bool has_doubts(const struct wback_lists *lists)
{
	return lists->oldest_losses < lists->losses;
}

static bool is_doubtful(const struct wback_lists *lists, const struct range *range)
{
	return range->losses < lists->losses;
}

static bool any_doubtful_before(const struct wback_lists *lists, const struct range_list *list,
				uint64_t seq)
{
	const struct range *range;

	TAILQ_FOREACH(range, list, link)
		if (range->seq < seq && is_doubtful(lists, range))
			return true;
	return false;
}

static bool is_in_doubt_before(const struct wback_lists *lists, uint64_t seq)
{
	return has_doubts(lists) && (any_doubtful_before(lists, &lists->unstable, seq) ||
				     any_doubtful_before(lists, &lists->committing, seq));
}

static bool is_given_before(const struct wback_lists *lists, uint64_t seq)
{
	return !is_waiting_before(lists, seq) && !range_any_before(&lists->writing, seq);
}

static bool is_taken_before(const struct wback_lists *lists, uint64_t seq)
{
	return is_given_before(lists, seq) && !is_in_doubt_before(lists, seq);
}

static bool is_stable_before(const struct wback_lists *lists, uint64_t seq)
{
	return is_given_before(lists, seq) && !range_any_before(&lists->unstable, seq) &&
	       !range_any_before(&lists->committing, seq);
}

static bool is_fenced(const struct wback_lists *lists, const struct wback_wait *wait)
{
	if (wait->from == UINT64_MAX)
		return false;
	return lists->n_cutting || quarantine_overlaps(&lists->quarantine, wait->from, UINT64_MAX);
}

/* Something older may still change that piece of the file. */
static bool is_closed(const struct wback_lists *lists, const struct range *range)
{
	uint64_t end = range->offset + range->len;

	return (lists->n_cutting && end > lists->cut_from) ||
	       quarantine_overlaps(&lists->quarantine, range->offset, end);
}

static void note_losses(struct wback_lists *lists, const struct range *range)
{
	if (range->losses < lists->oldest_losses)
		lists->oldest_losses = range->losses;
}

static void recount(struct wback_lists *lists)
{
	const struct range *range;

	lists->n_unstable = 0;
	lists->unstable_bytes = 0;
	lists->oldest_losses = UINT64_MAX;
	TAILQ_FOREACH(range, &lists->unstable, link) {
		lists->n_unstable++;
		lists->unstable_bytes += range->len;
		note_losses(lists, range);
	}
	TAILQ_FOREACH(range, &lists->committing, link)
		note_losses(lists, range);
}

/* ---- the waiting list -------------------------------------------------------------------- */

/* By seq: what has been sent before comes in among the newer ones. */
static void enter_waiting(struct wback_lists *lists, struct range *range)
{
	struct range *before = TAILQ_LAST(&lists->waiting, range_list);

	while (before && before->seq > range->seq)
		before = TAILQ_PREV(before, range_list, link);
	if (before)
		TAILQ_INSERT_AFTER(&lists->waiting, before, range, link);
	else
		TAILQ_INSERT_HEAD(&lists->waiting, range, link);
	lists->n_waiting++;
}

static void leave_waiting(struct wback_lists *lists, struct range *range)
{
	TAILQ_REMOVE(&lists->waiting, range, link);
	lists->n_waiting--;
}

static bool overlaps_older(const struct range *range)
{
	const struct range *older = range;

	while ((older = TAILQ_PREV(older, range_list, link)))
		if (range_overlaps(older, range))
			return true;
	return false;
}

/* ---- what comes in ----------------------------------------------------------------------- */

void wback_lists_add(struct wback_lists *lists, struct range *range)
{
	range->seq = lists->next_seq++;
	enter_waiting(lists, range);
	if (overlaps_older(range))
		lists->urgent_seq = range->seq; /* it cannot be sent before them */
	if (lists->n_waiting >= WBACK_BEHIND_MAX)
		wback_lists_hurry(lists);
}

struct range *wback_lists_host(struct wback_lists *lists, uint64_t offset, size_t size,
			       const struct cred *cred)
{
	struct range *range;

	TAILQ_FOREACH_REVERSE(range, &lists->waiting, range_list, link) {
		if (range_may_absorb(range, offset, size, cred))
			return range;
		if (range->offset < offset + size && offset < range_end(range))
			return NULL;
	}
	return NULL;
}

void wback_lists_hurry(struct wback_lists *lists)
{
	lists->urgent_seq = lists->next_seq;
}

void wback_lists_want(struct wback_lists *lists)
{
	lists->wanted_seq = lists->next_seq;
	wback_lists_hurry(lists);
}

bool wback_lists_wait(struct wback_lists *lists, struct wback_wait *wait)
{
	wait->seq = lists->next_seq;
	if (is_stable_before(lists, wait->seq) && !is_fenced(lists, wait))
		return false;
	TAILQ_INSERT_TAIL(&lists->waits, wait, link);
	wback_lists_hurry(lists);
	return true;
}

bool wback_lists_wait_sent(struct wback_lists *lists, struct wback_wait *wait)
{
	wait->seq = lists->next_seq;
	if (is_taken_before(lists, wait->seq))
		return false;
	TAILQ_INSERT_TAIL(&lists->sends, wait, link);
	wback_lists_hurry(lists);
	return true;
}

/* Of what the server has taken, what it may not have any more; the last byte's end of it. */
static uint64_t doubtful_end(const struct wback_lists *lists, const struct range_list *list,
			     uint64_t start, uint64_t end)
{
	const struct range *range;
	uint64_t last = 0;

	TAILQ_FOREACH(range, list, link)
		if (is_doubtful(lists, range) && range->offset < end && start < range_end(range) &&
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

/* ---- what calls have brought ------------------------------------------------------------- */

static void leave_writing(struct wback_lists *lists, struct range *range)
{
	TAILQ_REMOVE(&lists->writing, range, link);
	lists->n_ours -= range_is_ours(range);
}

void wback_lists_taken(struct wback_lists *lists, struct range *range, struct range_list *freed)
{
	leave_writing(lists, range);
	range_replace(&lists->waiting, range, freed);
	range_replace(&lists->unstable, range, freed);
	range_replace(&lists->committing, range, freed);
	TAILQ_INSERT_TAIL(range->unstable ? &lists->unstable : freed, range, link);
	recount(lists); /* that may have cut some, too */
}

void wback_lists_refused(struct wback_lists *lists, struct range *range)
{
	leave_writing(lists, range);
}

/* All of it is to be written; it may be cut before it is. */
static void begin_pass(struct wback_lists *lists, struct range *range)
{
	range->done = 0;
	range->unstable = range->has_verf = range->mixed_verf = false;
	enter_waiting(lists, range);
}

void wback_lists_held(struct wback_lists *lists, struct range *range)
{
	leave_writing(lists, range);
	begin_pass(lists, range);
}

static void write_again(struct wback_lists *lists, struct range *range)
{
	if (++range->n_rewrites > WBACK_REWRITES_MAX)
		range->stable = NFS3_FILE_SYNC;
	begin_pass(lists, range);
}

unsigned int wback_lists_committed(struct wback_lists *lists, uint64_t verf,
				   struct range_list *freed, bool *ret_differs)
{
	unsigned int n_again = 0;
	struct range *range;

	*ret_differs = false;
	lists->commit_in_flight = false;
	while ((range = TAILQ_FIRST(&lists->committing))) {
		TAILQ_REMOVE(&lists->committing, range, link);
		if (range->verf == verf && !range->mixed_verf) {
			TAILQ_INSERT_TAIL(freed, range, link);
		} else {
			*ret_differs = *ret_differs || !is_doubtful(lists, range);
			write_again(lists, range);
			n_again++;
		}
	}
	recount(lists);
	if (n_again)
		wback_lists_want(lists);
	return n_again;
}

void wback_lists_uncommitted(struct wback_lists *lists)
{
	lists->commit_in_flight = false;
	TAILQ_CONCAT(&lists->unstable, &lists->committing, link);
	recount(lists);
}

static void fail_waits(struct wback_lists *lists, int error)
{
	TAILQ_CONCAT(&lists->failed, &lists->waits, link);
	TAILQ_CONCAT(&lists->failed, &lists->sends, link);
	lists->fail_error = error;
}

void wback_lists_commit_refused(struct wback_lists *lists, int error, struct range_list *freed)
{
	lists->commit_in_flight = false;
	TAILQ_CONCAT(freed, &lists->committing, link);
	recount(lists);
	fail_waits(lists, error);
}

void wback_lists_cut(struct wback_lists *lists, uint64_t size)
{
	if (!lists->n_cutting++ || size < lists->cut_from)
		lists->cut_from = size;
}

void wback_lists_cut_done(struct wback_lists *lists)
{
	lists->n_cutting -= lists->n_cutting > 0;
}

/* ---- trouble ----------------------------------------------------------------------------- */

void wback_lists_trouble(struct wback_lists *lists, int64_t start_ns, int64_t retry_at_ns, int error)
{
	if (!lists->trouble_since_ns)
		lists->trouble_since_ns = start_ns;
	lists->retry_at_ns = retry_at_ns;
	wback_lists_want(lists);
	fail_waits(lists, error);
}

void wback_lists_answered(struct wback_lists *lists)
{
	lists->trouble_since_ns = 0;
}

void wback_lists_alive(struct wback_lists *lists, int64_t now_ns)
{
	if (lists->trouble_since_ns)
		lists->trouble_since_ns = now_ns;
}

/* Data that the server has not promised to keep, and nobody else has. */
static bool holds_data(const struct wback_lists *lists)
{
	return lists->n_ours || lists->commit_in_flight || !TAILQ_EMPTY(&lists->unstable) ||
	       is_waiting_before(lists, UINT64_MAX);
}

void wback_lists_give_up(struct wback_lists *lists, struct range_list *lost)
{
	struct range *range, *next;

	TAILQ_CONCAT(lost, &lists->unstable, link);
	recount(lists);
	for (range = TAILQ_FIRST(&lists->waiting); range; range = next) {
		next = TAILQ_NEXT(range, link);
		if (!range_is_ours(range))
			continue;
		leave_waiting(lists, range);
		TAILQ_INSERT_TAIL(lost, range, link);
	}
	/* What is in flight will be lost, too, if it is not answered. */
	if (!holds_data(lists))
		lists->trouble_since_ns = 0;
}

/* ---- what is due ------------------------------------------------------------------------- */

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
		leave_waiting(lists, range);
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
	       !overlaps_older(range);
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
		leave_waiting(lists, range);
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

	if (last && is_in_doubt_before(lists, last->seq))
		wback_lists_want(lists);
}

static void take_sends(struct wback_lists *lists, const struct wback_view *view,
		       struct wback_todo *todo)
{
	struct wback_wait *wait, *next;

	for (wait = TAILQ_FIRST(&lists->sends); wait; wait = next) {
		next = TAILQ_NEXT(wait, link);
		if (!is_taken_before(lists, wait->seq) && view->now_ns < wait->until_ns)
			continue;
		TAILQ_REMOVE(&lists->sends, wait, link);
		TAILQ_INSERT_TAIL(&todo->satisfied, wait, link);
	}
}

static void take_waits(struct wback_lists *lists, struct wback_todo *todo)
{
	struct wback_wait *wait, *next;

	while ((wait = TAILQ_FIRST(&lists->waits)) && is_stable_before(lists, wait->seq)) {
		TAILQ_REMOVE(&lists->waits, wait, link);
		TAILQ_INSERT_TAIL(&lists->fenced, wait, link);
	}
	for (wait = TAILQ_FIRST(&lists->fenced); wait; wait = next) {
		next = TAILQ_NEXT(wait, link);
		if (is_fenced(lists, wait))
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
		return is_given_before(lists, seq);
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
	recount(lists);
}

void wback_lists_look(struct wback_lists *lists, const struct wback_view *view,
		      struct wback_todo *todo)
{
	quarantine_expire(&lists->quarantine, view->now_ns);
	take_dropped(lists, todo);
	if (!holds_data(lists)) /* newer data has taken its place */
		lists->trouble_since_ns = 0;
	if (lists->trouble_since_ns && view->now_ns - lists->trouble_since_ns >= view->hold_ns)
		wback_lists_give_up(lists, &todo->lost);
	want_certainty(lists);
	take_sendable(lists, view, todo);
	take_waits(lists, todo);
	take_sends(lists, view, todo);
	if (lists->trouble_since_ns && view->down_error)
		fail_waits(lists, view->down_error);
	take_commit(lists, view, todo);
	TAILQ_CONCAT(&todo->failed, &lists->failed, link);
	todo->fail_error = lists->fail_error;
	todo->empty = wback_lists_empty(lists);
	todo->timed = lists->trouble_since_ns || !quarantine_is_empty(&lists->quarantine) ||
		      !TAILQ_EMPTY(&lists->waiting) || !TAILQ_EMPTY(&lists->sends);
}
