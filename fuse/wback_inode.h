/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback (private half) - what the parts of wback share: the state of one file, and its calls on the
 * wire. Handlers include wback.h. */
#ifndef FUSE_WBACK_INODE_H
#define FUSE_WBACK_INODE_H

#include "wback.h"
#include "wback_clock.h"
#include "wback_error.h"
#include "wback_lists.h"

struct wback {
	struct fs *fs;
	struct inode *inode;        /* pinned while holds_inode */
	struct wback_holder holder; /* the pool's */
	struct wback_timed timed;   /* the clock's */
	struct mutex lock;          /* guards what follows, ranges and their buffers */
	struct wback_lists lists;
	bool holds_inode;
	struct timespec written_at; /* the last write(2), on this host's clock */
	struct cred cred;           /* of the last writer: COMMIT is sent as him */
	struct wback_error error;
};

/* How a call has ended. */
struct wback_outcome {
	int error;        /* 0 or -errno for the application */
	bool unanswered;  /* nobody said no: the data may still be saved */
	bool down;        /* nobody was asked: the server is known to be down */
	int64_t start_ns; /* when this attempt began */
};

/* wback_of - of an inode; NULL if it was never written to. wback_get - made if need be; NULL without
 * memory. */
struct wback *wback_of(struct inode *inode);
struct wback *wback_get(struct fs *fs, struct inode *inode);

/* wback_lock - to ask the lists: with what is known of lost connections, for what the server took before
 * is in doubt (wback_lists.h). Unlock with mutex_unlock(&wback->lock). */
void wback_lock(struct wback *wback) ACQUIRE(wback->lock);

/* wback_advance - do what is due now. The caller keeps the inode; no lock held. */
void wback_advance(struct wback *wback);

/* wback_must_pin_locked - the lists are no longer empty, and keep the inode. True: wback_pin() once
 * the lock is dropped, while the caller keeps the inode himself. */
bool wback_must_pin_locked(struct wback *wback) REQUIRES(wback->lock);
void wback_pin(struct wback *wback);

/* wback_free_ranges - under the lock; returns what to discharge. wback_bytes_of - of file data. */
uint64_t wback_free_ranges(struct range_list *list);
uint64_t wback_bytes_of(const struct range_list *list);

/* wback_is_closing - the mount ends: nothing is tried again. */
bool wback_is_closing(const struct fs *fs);
/* wback_hold_ns - how long data is held while the server does not answer; INT64_MAX: for ever. */
int64_t wback_hold_ns(const struct fs *fs);

/* wback_send_write - the range is in `writing`: send what is left of it, in pieces of wsize, then
 * wback_written(). wback_send_commit - then wback_committed(). Both come later, never from within,
 * but when there is no memory or the loops have stopped. */
void wback_send_write(struct wback *wback, struct range *range);
void wback_send_commit(struct wback *wback);

/* Of a call that has ended: may the server still execute a copy of it? */
static inline bool wback_is_stale_possible(const struct call *call)
{
	return call->resent || call->n_repeats || (call->status && call->ambiguous);
}

/* wback.c's: what becomes of it. */
void wback_written(struct wback *wback, struct range *range, const struct wback_outcome *outcome);
void wback_committed(struct wback *wback, const struct wback_outcome *outcome, uint64_t verf);
/* wback_isolate - a stale copy of a call that changes [start, end) may be on its way. */
void wback_isolate(struct wback *wback, uint64_t start, uint64_t end);

#endif
