/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_pool - the memory that written data may take in the whole mount (wbuf=).
 *
 * A write is admitted when what is held already is within the bound; else it waits in line, not yet
 * taken, until a COMMIT has freed some: back-pressure, not a blocked thread. So what is held is
 * never more than wbuf and one write, whatever signals do: a writer that was interrupted leaves the
 * line, and his data goes.
 *
 * When nothing has been freed for STUCK_NS - the server does not commit, perhaps for one file only -
 * the line goes on with FILE_SYNC: such a write leaves nothing behind when it is answered. Those
 * take at most a quarter of wbuf and another write. */
#ifndef FUSE_WBACK_POOL_H
#define FUSE_WBACK_POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct fs;
struct range;
struct wback;
struct wback_pool;

/* A wback's place among the holders; the pool's. */
struct wback_holder {
	unsigned int n;
	TAILQ_ENTRY(wback_holder) link;
};

struct wback_pool *wback_pool_new(struct fs *fs);
void wback_pool_free(struct wback_pool *pool);

/* wback_pool_admit - true: the range may be taken, and has been charged. False: it waits, and
 * wback_admitted() or wback_dropped() follows. */
bool wback_pool_admit(struct wback_pool *pool, struct range *range);
/* wback_pool_charge - for a range to grow by so much. False: there is no memory for that now. */
bool wback_pool_charge(struct wback_pool *pool, uint64_t bytes);
/* wback_pool_n_queued - how many wait. */
unsigned int wback_pool_n_queued(struct wback_pool *pool);

/* wback_pool_bytes - held now. wback_pool_discharge - bytes came free. */
uint64_t wback_pool_bytes(struct wback_pool *pool);
void wback_pool_discharge(struct wback_pool *pool, uint64_t bytes);
bool wback_pool_is_short(struct wback_pool *pool);

/* wback_pool_join, wback_pool_leave - the holder has, or no longer has, data of one more kind; they
 * nest, so that the order in which two threads come does not matter. */
void wback_pool_join(struct wback_pool *pool, struct wback_holder *holder);
void wback_pool_leave(struct wback_pool *pool, struct wback_holder *holder);

/* wback_pool_release - admit who can be. No lock held. */
void wback_pool_release(struct wback_pool *pool);
/* wback_pool_relieve - if short, have the holder that was longest left alone commit. */
void wback_pool_relieve(struct wback_pool *pool);
/* wback_pool_tick - the same as time goes by: whose writer has gone leaves the line, too. */
void wback_pool_tick(struct wback_pool *pool);

#endif
