/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_inode - the wback of an inode: its making and end, and advance, which looks under the lock at
 * what may be done now (wback_lists.h) and does it without. A call that cannot even be submitted
 * comes back through the loop's inbox like any other, so nothing here recurses. */
#include "wback_inode.h"

#include <errno.h>
#include <stdlib.h>

/* One file's COMMITs: of a part of wbuf each, so that the others take data meanwhile. */
enum { COMMIT_PARTS = 4 };

/* ---- the wback of an inode --------------------------------------------------------------- */

struct wback *wback_of(struct inode *inode)
{
	struct wback *wback;

	mutex_lock(&inode->lock);
	wback = inode->wback;
	mutex_unlock(&inode->lock);
	return wback;
}

void wback_lock(struct wback *wback)
{
	mutex_lock(&wback->lock);
	wback->lists.losses = pool_n_losses(wback->fs->pool);
}

static struct wback *wback_new(struct fs *fs, struct inode *inode)
{
	struct wback *wback = calloc(1, sizeof(*wback));

	if (!wback)
		return NULL;
	wback->fs = fs;
	wback->inode = inode;
	mutex_init(&wback->lock);
	wback_lists_init(&wback->lists);
	return wback;
}

/* The inode's wback, made at its first write. */
struct wback *wback_get(struct fs *fs, struct inode *inode)
{
	struct wback *wback = wback_of(inode), *fresh;

	if (wback)
		return wback;
	fresh = wback_new(fs, inode);
	if (!fresh)
		return NULL;
	mutex_lock(&inode->lock);
	wback = inode->wback;
	if (!wback)
		inode->wback = fresh;
	mutex_unlock(&inode->lock);
	if (!wback)
		return fresh;
	mutex_deinit(&fresh->lock);
	free(fresh);
	return wback;
}

struct inode *wback_holder_inode(struct wback_holder *holder)
{
	return container_of(holder, struct wback, holder)->inode;
}

struct inode *wback_timed_inode(struct wback_timed *timed)
{
	return container_of(timed, struct wback, timed)->inode;
}

uint64_t wback_free_ranges(struct range_list *list)
{
	struct range *range;
	uint64_t charge = 0;

	while ((range = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, range, link);
		charge += range_free(range);
	}
	return charge;
}

uint64_t wback_bytes_of(const struct range_list *list)
{
	const struct range *range;
	uint64_t bytes = 0;

	TAILQ_FOREACH(range, list, link)
		bytes += range->len;
	return bytes;
}

void wback_free(struct inode *inode)
{
	struct wback *wback = inode->wback;

	if (!wback)
		return;
	inode->wback = NULL;
	wback_clock_unwatch(wback->fs->wback_clock, &wback->timed);
	/* Empty but when the whole table is freed. */
	wback_free_ranges(&wback->lists.waiting);
	wback_free_ranges(&wback->lists.writing);
	wback_free_ranges(&wback->lists.unstable);
	wback_free_ranges(&wback->lists.committing);
	mutex_deinit(&wback->lock);
	free(wback);
}

/* ---- the server and the policy ----------------------------------------------------------- */

bool wback_is_closing(const struct fs *fs)
{
	return atomic_load_explicit(&fs->closing, memory_order_acquire);
}

int wback_refusal(const struct fs *fs)
{
	if (wback_is_closing(fs))
		return request_errno(fs, -ECONNABORTED);
	if (fs->options->down == DOWN_HARD || pool_server_state(fs->pool) != SERVER_DOWN)
		return 0;
	return request_errno(fs, -EHOSTDOWN);
}

int64_t wback_hold_ns(const struct fs *fs)
{
	if (wback_is_closing(fs))
		return 0;
	if (fs->options->down == DOWN_HARD)
		return INT64_MAX;
	return fs->options->softwrite == SOFTWRITE_FAIL ? 0 : fs->options->deadtimeo_ns;
}

/* ---- doing what is due ------------------------------------------------------------------- */

static void log_lost(struct wback *wback, uint64_t bytes)
{
	const struct options *options = wback->fs->options;
	char why[80];

	if (wback_is_closing(wback->fs))
		snprintf(why, sizeof(why), "unmounted before the server had answered");
	else if (options->softwrite == SOFTWRITE_FAIL)
		snprintf(why, sizeof(why), "the server did not answer (softwrite=fail)");
	else
		snprintf(why, sizeof(why), "the server has not answered for %g s (deadtimeo)",
			 (double)options->deadtimeo_ns / 1e9);
	wback_error_log(wback->fs, wback->inode, bytes, request_errno(wback->fs, -ETIMEDOUT), why);
}

/* Looks, under the lock; lost ranges are freed already. Returns how many bytes they had. */
static uint64_t look(struct wback *wback, struct wback_todo *todo)
{
	struct fs *fs = wback->fs;
	struct wback_view view = {
		.now_ns = fs_now_ns(),
		.hold_ns = wback_hold_ns(fs),
		.down_error = wback_refusal(fs),
		.memory_short = wback_pool_is_short(fs->wback),
		.commit_bytes = fs->options->wbuf / COMMIT_PARTS,
		.wsize = fs->wsize,
	};
	uint64_t lost, charge;

	wback_todo_init(todo);
	wback_lock(wback);
	if (wback_is_closing(fs))
		wback->lists.quarantine.n = 0;
	wback_lists_look(&wback->lists, &view, todo);
	lost = wback_bytes_of(&todo->lost);
	charge = wback_free_ranges(&todo->lost);
	if (lost)
		wback_error_set(&wback->error, request_errno(fs, -ETIMEDOUT));
	todo->empty = todo->empty && wback->holds_inode;
	if (todo->empty)
		wback->holds_inode = false;
	mutex_unlock(&wback->lock);
	wback_pool_discharge(fs->wback, charge);
	return lost;
}

static void wake(struct wback_wait_list *waits, int error)
{
	struct wback_wait *wait;

	while ((wait = TAILQ_FIRST(waits))) {
		TAILQ_REMOVE(waits, wait, link);
		wait->done(wait, error);
	}
}

static void drop_all(struct wback *wback, struct range_list *dropped)
{
	struct range *range;

	while ((range = TAILQ_FIRST(dropped))) {
		TAILQ_REMOVE(dropped, range, link);
		wback_pool_discharge(wback->fs->wback, range->buffer->charge);
		wback_dropped(range, -EINTR);
	}
}

static void send_all(struct wback *wback, struct wback_send_list *send)
{
	struct range *range;

	while ((range = STAILQ_FIRST(send))) {
		STAILQ_REMOVE_HEAD(send, send_link);
		wback_send_write(wback, range);
	}
}

/* The caller keeps the inode. */
void wback_advance(struct wback *wback)
{
	struct inode *inode = wback->inode;
	struct fs *fs = wback->fs;
	struct wback_todo todo;
	uint64_t lost = look(wback, &todo);

	if (lost)
		log_lost(wback, lost);
	drop_all(wback, &todo.dropped);
	send_all(wback, &todo.send);
	if (todo.commit)
		wback_send_commit(wback);
	if (todo.timed && !wback_is_closing(fs))
		wback_clock_watch(fs->wback_clock, &wback->timed);
	if (todo.empty)
		wback_pool_leave(fs->wback, &wback->holder);
	wake(&todo.failed, todo.fail_error);
	wake(&todo.satisfied, 0);
	wback_pool_release(fs->wback);
	if (todo.empty)
		inode_put(fs->inodes, inode);
}

bool wback_must_pin_locked(struct wback *wback)
{
	bool pin = !wback->holds_inode;

	wback->holds_inode = true;
	return pin;
}

void wback_pin(struct wback *wback)
{
	inode_ref(wback->inode);
	wback_pool_join(wback->fs->wback, &wback->holder);
}

void wback_tick(struct inode *inode)
{
	wback_advance(wback_of(inode));
}
