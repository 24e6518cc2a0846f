/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback - see wback.h. What handlers ask, and what has become of the calls: all of it changes the
 * lists, and ends in wback_advance(). What is written comes in through wback_write.c. */
#include "wback.h"

#include <errno.h>

#include "log.h"
#include "wback_inode.h"

/* Between attempts to save what is held: of calls that fail at once for a reason of their own, and
 * while the server is thought to be back. */
static const int64_t PAUSE_NS = 2 * NS_PER_S;
static const int64_t SHORT_PAUSE_NS = 200 * NS_PER_MS;

/* ---- what has become of calls ------------------------------------------------------------ */

/* A writer who has to wait for it shall not come to his deadline by that. */
static int64_t quarantine_ns(const struct fs *fs)
{
	if (fs->options->down == DOWN_HARD)
		return QUARANTINE_NS;
	return min_i64(QUARANTINE_NS, fs->options->soft_deadline_ns / 2);
}

void wback_isolate(struct wback *wback, uint64_t start, uint64_t end)
{
	int64_t until_ns = fs_now_ns() + quarantine_ns(wback->fs);
	bool must_pin;

	if (wback_is_closing(wback->fs))
		return;
	mutex_lock(&wback->lock);
	quarantine_add(&wback->lists.quarantine, start, end, until_ns);
	must_pin = wback_must_pin_locked(wback);
	mutex_unlock(&wback->lock);
	if (must_pin)
		wback_pin(wback);
}

static int64_t retry_at_ns(const struct wback_outcome *outcome)
{
	int64_t soon_ns = fs_now_ns() + SHORT_PAUSE_NS;

	return outcome->down ? soon_ns : max_i64(soon_ns, outcome->start_ns + PAUSE_NS);
}

static void note_trouble(struct wback *wback, const struct wback_outcome *outcome)
	REQUIRES(wback->lock)
{
	wback_lists_trouble(&wback->lists, outcome->start_ns, retry_at_ns(outcome), outcome->error);
}

static void answer(struct request *request, int error)
{
	if (!request)
		return;
	if (error)
		request_reply_err(request, error);
	else
		request_reply_write(request, request->op.write.size);
}

static void refused(struct wback *wback, struct range *range, int error)
{
	bool ours = range_is_ours(range);
	uint64_t bytes = range->len, charge;

	mutex_lock(&wback->lock);
	wback_lists_refused(&wback->lists, range);
	if (ours) {
		wback_lists_answered(&wback->lists);
		wback_error_set(&wback->error, error);
	}
	charge = range_free(range);
	mutex_unlock(&wback->lock);
	wback_pool_discharge(wback->fs->wback, charge);
	if (!ours)
		return;
	attr_lost_data(wback->inode);
	wback_error_log(wback->fs, wback->inode, bytes, error, "the server refused it");
}

static void taken(struct wback *wback, struct range *range)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	uint64_t charge;

	mutex_lock(&wback->lock);
	if (range_is_ours(range))
		wback_lists_answered(&wback->lists);
	else
		wback_lists_alive(&wback->lists, fs_now_ns());
	wback_lists_taken(&wback->lists, range, &freed);
	range->request = NULL;
	charge = wback_free_ranges(&freed);
	mutex_unlock(&wback->lock);
	wback_pool_discharge(wback->fs->wback, charge);
}

static void held(struct wback *wback, struct range *range, const struct wback_outcome *outcome)
{
	mutex_lock(&wback->lock);
	wback_lists_held(&wback->lists, range);
	note_trouble(wback, outcome);
	mutex_unlock(&wback->lock);
}

void wback_written(struct wback *wback, struct range *range, const struct wback_outcome *outcome)
{
	struct inode *inode = inode_ref(wback->inode);
	struct request *request = range->request;
	struct fs *fs = wback->fs;

	if (!outcome->error)
		taken(wback, range);
	else if (outcome->unanswered && !request)
		held(wback, range, outcome);
	else
		refused(wback, range, outcome->error);
	answer(request, outcome->error);
	wback_advance(wback);
	inode_put(fs->inodes, inode);
}

/* No connection was lost, so the server cannot have restarted: its addresses have verifiers of their own. True
 * if that is news. */
static bool verifiers_differ(struct fs *fs)
{
	if (pool_n_addresses(fs->pool) < 2 || pool_stick(fs->pool))
		return false;
	log_warn(MSG_VERF_DIFFERS, "addresses of %s give different write verifiers: what is written "
		 "to a file stays on one connection from now on", fs->options->source.host);
	return true;
}

static void committed(struct wback *wback, uint64_t verf)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	unsigned int n_again;
	uint64_t charge;
	bool differs;

	wback_lock(wback);
	wback_lists_answered(&wback->lists);
	n_again = wback_lists_committed(&wback->lists, verf, &freed, &differs);
	charge = wback_free_ranges(&freed);
	mutex_unlock(&wback->lock);
	wback_pool_discharge(wback->fs->wback, charge);
	if (n_again && !(differs && verifiers_differ(wback->fs)))
		log_info(MSG_VERF_CHANGED, "the server restarted: writing %u ranges of file %llu again",
			 n_again, (unsigned long long)wback->inode->fileid);
}

static void commit_refused(struct wback *wback, int error)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	uint64_t bytes, charge;

	mutex_lock(&wback->lock);
	wback_lists_answered(&wback->lists);
	wback_lists_commit_refused(&wback->lists, error, &freed);
	bytes = wback_bytes_of(&freed);
	charge = wback_free_ranges(&freed);
	wback_error_set(&wback->error, error);
	mutex_unlock(&wback->lock);
	wback_pool_discharge(wback->fs->wback, charge);
	wback_error_log(wback->fs, wback->inode, bytes, error, "COMMIT failed");
}

static void commit_unanswered(struct wback *wback, const struct wback_outcome *outcome)
{
	mutex_lock(&wback->lock);
	wback_lists_uncommitted(&wback->lists);
	note_trouble(wback, outcome);
	mutex_unlock(&wback->lock);
}

void wback_committed(struct wback *wback, const struct wback_outcome *outcome, uint64_t verf)
{
	struct inode *inode = inode_ref(wback->inode);
	struct fs *fs = wback->fs;

	if (outcome->unanswered)
		commit_unanswered(wback, outcome);
	else if (outcome->error)
		commit_refused(wback, outcome->error);
	else
		committed(wback, verf);
	wback_advance(wback);
	wback_pool_relieve(fs->wback);
	inode_put(fs->inodes, inode);
}

/* ---- what handlers call ------------------------------------------------------------------ */

bool wback_is_pending(struct inode *inode, uint64_t start, uint64_t end)
{
	struct wback *wback = wback_of(inode);
	bool pending;

	if (!wback)
		return false;
	wback_lock(wback);
	pending = wback_lists_is_pending(&wback->lists, start, end);
	mutex_unlock(&wback->lock);
	return pending;
}

bool wback_pending(struct inode *inode, struct wback_pending *ret_pending)
{
	struct wback *wback = wback_of(inode);

	*ret_pending = (struct wback_pending){ .end = 0 };
	if (!wback)
		return false;
	wback_lock(wback);
	ret_pending->end = wback_lists_pending_end(&wback->lists);
	ret_pending->mtime = wback->written_at;
	mutex_unlock(&wback->lock);
	return ret_pending->end > 0;
}

bool wback_is_unstable(struct inode *inode)
{
	struct wback *wback = wback_of(inode);
	bool unstable;

	if (!wback)
		return false;
	mutex_lock(&wback->lock);
	unstable = !TAILQ_EMPTY(&wback->lists.writing) || !TAILQ_EMPTY(&wback->lists.unstable) ||
		   !TAILQ_EMPTY(&wback->lists.committing);
	mutex_unlock(&wback->lock);
	return unstable;
}

typedef bool add_wait(struct wback_lists *lists, struct wback_wait *wait);

static bool wait_for(struct inode *inode, struct wback_wait *wait, add_wait *add)
{
	struct wback *wback = wback_of(inode);
	struct fs *fs;
	bool waits;

	if (!wback)
		return true;
	fs = wback->fs;
	inode_ref(inode); /* the waiter, and his hold on it, may be gone before wback_advance() returns */
	wback_lock(wback);
	waits = add(&wback->lists, wait);
	mutex_unlock(&wback->lock);
	if (waits)
		wback_advance(wback);
	inode_put(fs->inodes, inode);
	return !waits;
}

bool wback_send(struct inode *inode, struct wback_wait *wait)
{
	return wait_for(inode, wait, wback_lists_wait_sent);
}

bool wback_flush_from(struct inode *inode, struct wback_wait *wait, uint64_t size)
{
	wait->from = size;
	return wait_for(inode, wait, wback_lists_wait);
}

bool wback_flush(struct inode *inode, struct wback_wait *wait)
{
	return wback_flush_from(inode, wait, UINT64_MAX);
}

void wback_truncating(struct fs *fs, struct inode *inode, uint64_t size)
{
	struct wback *wback = wback_get(fs, inode);

	if (!wback)
		return;
	mutex_lock(&wback->lock);
	wback_lists_cut(&wback->lists, size);
	mutex_unlock(&wback->lock);
}

void wback_truncated(struct fs *fs, struct inode *inode, bool may_follow, uint64_t size)
{
	struct wback *wback = wback_get(fs, inode);

	if (!wback)
		return;
	if (may_follow)
		wback_isolate(wback, size, UINT64_MAX);
	mutex_lock(&wback->lock);
	wback_lists_cut_done(&wback->lists);
	mutex_unlock(&wback->lock);
	wback_advance(wback);
}

uint64_t wback_bytes(struct inode *inode)
{
	struct wback *wback = wback_of(inode);
	uint64_t bytes;

	if (!wback)
		return 0;
	mutex_lock(&wback->lock);
	bytes = wback_bytes_of(&wback->lists.waiting) + wback_bytes_of(&wback->lists.writing) +
		wback_bytes_of(&wback->lists.unstable) + wback_bytes_of(&wback->lists.committing);
	mutex_unlock(&wback->lock);
	return bytes;
}

bool wback_commit(struct inode *inode)
{
	struct wback *wback = wback_of(inode);
	struct fs *fs;
	bool wanted, idle;

	if (!wback)
		return false;
	fs = wback->fs;
	inode_ref(inode);
	mutex_lock(&wback->lock);
	wanted = !wback_lists_empty(&wback->lists);
	idle = !wback->lists.commit_in_flight && !TAILQ_EMPTY(&wback->lists.unstable) &&
	       !wback->lists.trouble_since_ns;
	if (wanted)
		wback_lists_want(&wback->lists);
	mutex_unlock(&wback->lock);
	if (wanted)
		wback_advance(wback);
	inode_put(fs->inodes, inode);
	return idle;
}

uint32_t wback_error_seq(struct inode *inode)
{
	struct wback *wback = wback_of(inode);
	uint32_t mark;

	if (!wback)
		return 0;
	mutex_lock(&wback->lock);
	mark = wback_error_mark(&wback->error);
	mutex_unlock(&wback->lock);
	return mark;
}

int wback_take_error(struct inode *inode, struct file *file)
{
	struct wback *wback = wback_of(inode);
	int error;

	if (!wback)
		return 0;
	mutex_lock(&wback->lock);
	error = wback_error_take(&wback->error, &file->error_seen);
	mutex_unlock(&wback->lock);
	return error;
}

void wback_close(struct fs *fs)
{
	atomic_store_explicit(&fs->closing, true, memory_order_release);
	if (!fs->wback || !fs->wback_clock)
		return; /* there was no memory to begin */
	wback_clock_run(fs->wback_clock);
}
