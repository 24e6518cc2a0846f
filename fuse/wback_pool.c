/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_pool - see wback_pool.h. */
#include "wback_pool.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "../conn/mutex.h"
#include "fs.h"
#include "range.h"
#include "wback.h"
#include "wback_clock.h"

enum { SLACK = 8192 }; /* what a write costs besides its data; the one that went over the bound */
static const int64_t STUCK_NS = 3 * NS_PER_S;

TAILQ_HEAD(holder_list, wback_holder);

struct wback_pool {
	struct fs *fs;
	_Atomic(uint64_t) bytes;
	_Atomic(int64_t) admitted_ns; /* when a write last was within the bound */
	_Atomic(unsigned int) n_queued; /* written under lock */
	struct mutex lock;           /* guards what follows */
	struct holder_list holders;  /* those longest left alone first */
	unsigned int n_holders;
	struct range_list queue;     /* not taken yet; each with its request */
};

struct wback_pool *wback_pool_new(struct fs *fs)
{
	struct wback_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->fs = fs;
	mutex_init(&pool->lock);
	TAILQ_INIT(&pool->holders);
	TAILQ_INIT(&pool->queue);
	return pool;
}

void wback_pool_free(struct wback_pool *pool)
{
	if (!pool)
		return;
	mutex_deinit(&pool->lock);
	free(pool);
}

/* ---- memory ------------------------------------------------------------------------------ */

uint64_t wback_pool_bytes(struct wback_pool *pool)
{
	return atomic_load(&pool->bytes);
}

unsigned int wback_pool_n_queued(struct wback_pool *pool)
{
	return atomic_load(&pool->n_queued);
}

bool wback_pool_is_short(struct wback_pool *pool)
{
	return wback_pool_n_queued(pool) || wback_pool_bytes(pool) > pool->fs->options->wbuf;
}

void wback_pool_discharge(struct wback_pool *pool, uint64_t bytes)
{
	atomic_fetch_sub(&pool->bytes, bytes);
}

static bool charge(struct wback_pool *pool, uint64_t bytes, uint64_t limit)
{
	uint64_t held = atomic_load(&pool->bytes);

	do {
		if (held > limit)
			return false;
	} while (!atomic_compare_exchange_weak(&pool->bytes, &held, held + bytes));
	return true;
}

bool wback_pool_charge(struct wback_pool *pool, uint64_t bytes)
{
	return !atomic_load(&pool->n_queued) && charge(pool, bytes, pool->fs->options->wbuf);
}

/* May it be taken now? If so, it is charged. */
static bool try_admit(struct wback_pool *pool, struct range *range, int64_t now_ns)
{
	uint64_t bytes = range->buffer->charge, wbuf = pool->fs->options->wbuf;

	if (charge(pool, bytes, wbuf)) {
		atomic_store_explicit(&pool->admitted_ns, now_ns, memory_order_relaxed);
		return true;
	}
	if (now_ns - atomic_load_explicit(&pool->admitted_ns, memory_order_relaxed) < STUCK_NS ||
	    !charge(pool, bytes, wbuf + wbuf / 4 + pool->fs->max_write + SLACK))
		return false;
	range->stable = NFS3_FILE_SYNC;
	return true;
}

/* ---- the line ---------------------------------------------------------------------------- */

static void take_out_locked(struct wback_pool *pool, struct range *range) REQUIRES(pool->lock)
{
	TAILQ_REMOVE(&pool->queue, range, link);
	atomic_fetch_sub(&pool->n_queued, 1);
}

/* The first in line, if he may go on, or has gone: *ret_gone; then he is not charged. */
static struct range *take_first(struct wback_pool *pool, bool *ret_gone)
{
	int64_t now_ns = fs_now_ns();
	struct range *range;

	mutex_lock(&pool->lock);
	range = TAILQ_FIRST(&pool->queue);
	*ret_gone = range && request_answered(range->request);
	if (range && !*ret_gone && !try_admit(pool, range, now_ns))
		range = NULL;
	if (range)
		take_out_locked(pool, range);
	mutex_unlock(&pool->lock);
	return range;
}

/* What is admitted comes back here when it has been sent; that must not become a recursion. */
void wback_pool_release(struct wback_pool *pool)
{
	static _Thread_local bool releasing;
	struct range *range;
	bool gone;

	if (releasing || !atomic_load(&pool->n_queued))
		return;
	releasing = true;
	while ((range = take_first(pool, &gone))) {
		if (gone)
			wback_dropped(range, -EINTR);
		else
			wback_admitted(range);
	}
	releasing = false;
}

/* Those whose writers have gone, or all. */
static void drop_queued(struct wback_pool *pool, int error)
{
	struct range_list dropped = TAILQ_HEAD_INITIALIZER(dropped);
	struct range *range, *next;

	mutex_lock(&pool->lock);
	for (range = TAILQ_FIRST(&pool->queue); range; range = next) {
		next = TAILQ_NEXT(range, link);
		if (!error && !request_answered(range->request))
			continue;
		take_out_locked(pool, range);
		TAILQ_INSERT_TAIL(&dropped, range, link);
	}
	mutex_unlock(&pool->lock);
	while ((range = TAILQ_FIRST(&dropped))) {
		TAILQ_REMOVE(&dropped, range, link);
		wback_dropped(range, error ? error : -EINTR);
	}
}

static void enqueue(struct wback_pool *pool, struct range *range)
{
	mutex_lock(&pool->lock);
	TAILQ_INSERT_TAIL(&pool->queue, range, link);
	atomic_fetch_add(&pool->n_queued, 1);
	mutex_unlock(&pool->lock);
}

bool wback_pool_admit(struct wback_pool *pool, struct range *range)
{
	if (!atomic_load(&pool->n_queued) && try_admit(pool, range, fs_now_ns()))
		return true;
	drop_queued(pool, 0); /* or a storm of signals would make it long */
	enqueue(pool, range);
	wback_clock_start(pool->fs->wback_clock);
	wback_pool_relieve(pool);
	wback_pool_release(pool);
	return false;
}

void wback_pool_tick(struct wback_pool *pool)
{
	if (!atomic_load(&pool->n_queued))
		return;
	drop_queued(pool, wback_refusal(pool->fs));
	wback_pool_relieve(pool);
	wback_pool_release(pool);
}

/* ---- the holders ------------------------------------------------------------------------- */

void wback_pool_join(struct wback_pool *pool, struct wback_holder *holder)
{
	mutex_lock(&pool->lock);
	if (holder->n++ == 0) {
		TAILQ_INSERT_TAIL(&pool->holders, holder, link);
		pool->n_holders++;
	}
	mutex_unlock(&pool->lock);
}

void wback_pool_leave(struct wback_pool *pool, struct wback_holder *holder)
{
	mutex_lock(&pool->lock);
	if (--holder->n == 0) {
		TAILQ_REMOVE(&pool->holders, holder, link);
		pool->n_holders--;
	}
	mutex_unlock(&pool->lock);
}

/* The first holder goes to the end of the line; its inode is pinned. NULL: it is just going. */
static struct inode *next_holder(struct wback_pool *pool, unsigned int *ret_n)
{
	struct wback_holder *holder;
	struct inode *inode = NULL;

	mutex_lock(&pool->lock);
	*ret_n = pool->n_holders;
	holder = TAILQ_FIRST(&pool->holders);
	if (holder) {
		TAILQ_REMOVE(&pool->holders, holder, link);
		TAILQ_INSERT_TAIL(&pool->holders, holder, link);
		inode = inode_try_ref(wback_holder_inode(holder));
	}
	mutex_unlock(&pool->lock);
	return inode;
}

void wback_pool_relieve(struct wback_pool *pool)
{
	unsigned int n = 1;
	bool committing = false;

	for (unsigned int i = 0; i < n && !committing && wback_pool_is_short(pool); i++) {
		struct inode *inode = next_holder(pool, &n);

		if (!inode)
			continue;
		committing = wback_commit(inode);
		inode_put(pool->fs->inodes, inode);
	}
}
