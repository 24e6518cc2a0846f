/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_pool - the memory that unstable data may take in the whole mount (wbuf=). Above it writers
 * are answered only when a COMMIT has freed some: back-pressure, not a blocked thread. */
#ifndef FUSE_WBACK_POOL_H
#define FUSE_WBACK_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "wback_wait.h"

struct fs;
struct wback;
struct wback_pool;

/* A wback's place among the holders; the pool's. */
struct wback_holder {
	unsigned int n;
	TAILQ_ENTRY(wback_holder) link;
};

struct wback_pool *wback_pool_new(struct fs *fs);
void wback_pool_free(struct wback_pool *pool);

/* wback_pool_bytes - held now. wback_pool_charge - and change that. */
uint64_t wback_pool_bytes(struct wback_pool *pool);
void wback_pool_charge(struct wback_pool *pool, int64_t bytes);
bool wback_pool_is_over(struct wback_pool *pool);

/* wback_pool_join, wback_pool_leave - the holder has, or no longer has, data of one more kind; they
 * nest, so that the order in which two threads come does not matter. */
void wback_pool_join(struct wback_pool *pool, struct wback_holder *holder);
void wback_pool_leave(struct wback_pool *pool, struct wback_holder *holder);

/* wback_pool_throttle - wait->done() when there is memory again, and have someone make it. */
void wback_pool_throttle(struct wback_pool *pool, struct wback_wait *wait);
/* wback_pool_release - let go of who was throttled, if there is memory now or even_over. */
void wback_pool_release(struct wback_pool *pool, bool even_over);
/* wback_pool_relieve - if over, have the holder that was longest left alone commit. */
void wback_pool_relieve(struct wback_pool *pool);

#endif
