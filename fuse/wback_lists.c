/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_lists - see wback_lists.h. */
#include "wback_lists.h"

#include "wback_lists_parts.h"

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

bool wback_lists_empty(const struct wback_lists *lists)
{
	return TAILQ_EMPTY(&lists->waiting) && TAILQ_EMPTY(&lists->writing) &&
	       TAILQ_EMPTY(&lists->unstable) && TAILQ_EMPTY(&lists->committing) &&
	       TAILQ_EMPTY(&lists->sends) && TAILQ_EMPTY(&lists->fenced) && quarantine_is_empty(&lists->quarantine) &&
	       !lists->commit_in_flight; /* its reply will look for the file */
}

static void note_losses(struct wback_lists *lists, const struct range *range)
{
	if (range->losses < lists->oldest_losses)
		lists->oldest_losses = range->losses;
}

void wback_recount(struct wback_lists *lists)
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

void wback_leave_waiting(struct wback_lists *lists, struct range *range)
{
	TAILQ_REMOVE(&lists->waiting, range, link);
	lists->n_waiting--;
}

bool wback_overlaps_older(const struct range *range)
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
	if (wback_overlaps_older(range))
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
	if (wback_stable_before(lists, wait->seq) && !wback_is_fenced(lists, wait))
		return false;
	TAILQ_INSERT_TAIL(&lists->waits, wait, link);
	wback_lists_hurry(lists);
	return true;
}

bool wback_lists_wait_sent(struct wback_lists *lists, struct wback_wait *wait)
{
	wait->seq = lists->next_seq;
	if (wback_taken_before(lists, wait->seq))
		return false;
	TAILQ_INSERT_TAIL(&lists->sends, wait, link);
	wback_lists_hurry(lists);
	return true;
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
	wback_recount(lists); /* that may have cut some, too */
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
			*ret_differs = *ret_differs || !wback_is_doubtful(lists, range);
			write_again(lists, range);
			n_again++;
		}
	}
	wback_recount(lists);
	if (n_again)
		wback_lists_want(lists);
	return n_again;
}

void wback_lists_uncommitted(struct wback_lists *lists)
{
	lists->commit_in_flight = false;
	TAILQ_CONCAT(&lists->unstable, &lists->committing, link);
	wback_recount(lists);
}

void wback_fail_waits(struct wback_lists *lists, int error)
{
	TAILQ_CONCAT(&lists->failed, &lists->waits, link);
	TAILQ_CONCAT(&lists->failed, &lists->sends, link);
	lists->fail_error = error;
}

void wback_lists_commit_refused(struct wback_lists *lists, int error, struct range_list *freed)
{
	lists->commit_in_flight = false;
	TAILQ_CONCAT(freed, &lists->committing, link);
	wback_recount(lists);
	wback_fail_waits(lists, error);
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
	wback_fail_waits(lists, error);
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
bool wback_holds_data(const struct wback_lists *lists)
{
	return lists->n_ours || lists->commit_in_flight || !TAILQ_EMPTY(&lists->unstable) ||
	       wback_waiting_before(lists, UINT64_MAX);
}

void wback_lists_give_up(struct wback_lists *lists, struct range_list *lost)
{
	struct range *range, *next;

	TAILQ_CONCAT(lost, &lists->unstable, link);
	wback_recount(lists);
	for (range = TAILQ_FIRST(&lists->waiting); range; range = next) {
		next = TAILQ_NEXT(range, link);
		if (!range_is_ours(range))
			continue;
		wback_leave_waiting(lists, range);
		TAILQ_INSERT_TAIL(lost, range, link);
	}
	/* What is in flight will be lost, too, if it is not answered. */
	if (!wback_holds_data(lists))
		lists->trouble_since_ns = 0;
}
