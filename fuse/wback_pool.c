/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_pool - see wback_pool.h. */
#include "wback_pool.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "../conn/mutex.h"
#include "fs.h"
#include "wback.h"

TAILQ_HEAD(holder_list, wback_holder);
TAILQ_HEAD(wait_list, wback_wait);

struct wback_pool {
	struct fs *fs;
	_Atomic(int64_t) bytes;
	struct mutex lock;           /* guards what follows */
	struct holder_list holders;  /* those longest left alone first */
	unsigned int n_holders;
	struct wait_list throttled;
};

struct wback_pool *wback_pool_new(struct fs *fs)
{
	struct wback_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->fs = fs;
	mutex_init(&pool->lock);
	TAILQ_INIT(&pool->holders);
	TAILQ_INIT(&pool->throttled);
	return pool;
}

void wback_pool_free(struct wback_pool *pool)
{
	if (!pool)
		return;
	mutex_deinit(&pool->lock);
	free(pool);
}

uint64_t wback_pool_bytes(struct wback_pool *pool)
{
	int64_t bytes = atomic_load(&pool->bytes);

	return bytes > 0 ? (uint64_t)bytes : 0;
}

void wback_pool_charge(struct wback_pool *pool, int64_t bytes)
{
	atomic_fetch_add(&pool->bytes, bytes);
}

bool wback_pool_is_over(struct wback_pool *pool)
{
	return wback_pool_bytes(pool) > pool->fs->options->wbuf;
}

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

	for (unsigned int i = 0; i < n && !committing && wback_pool_is_over(pool); i++) {
		struct inode *inode = next_holder(pool, &n);

		if (!inode)
			continue;
		committing = wback_commit(inode);
		inode_put(pool->fs->inodes, inode);
	}
}

void wback_pool_throttle(struct wback_pool *pool, struct wback_wait *wait)
{
	mutex_lock(&pool->lock);
	TAILQ_INSERT_TAIL(&pool->throttled, wait, link);
	mutex_unlock(&pool->lock);
	wback_pool_relieve(pool);
	wback_pool_release(pool, false);
}

void wback_pool_release(struct wback_pool *pool, bool even_over)
{
	struct wait_list ready = TAILQ_HEAD_INITIALIZER(ready);
	struct wback_wait *wait;

	if (!even_over && wback_pool_is_over(pool))
		return;
	mutex_lock(&pool->lock);
	TAILQ_CONCAT(&ready, &pool->throttled, link);
	mutex_unlock(&pool->lock);
	while ((wait = TAILQ_FIRST(&ready))) {
		TAILQ_REMOVE(&ready, wait, link);
		wait->done(wait, 0);
	}
}
