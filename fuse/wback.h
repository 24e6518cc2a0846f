/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback - data on its way to the server's stable storage, for each inode.
 *
 * A WRITE of the application becomes a range. Write-behind: it is answered at once, sent UNSTABLE when
 * it is due (wback_lists.h), small ones together, and kept until a COMMIT returns the write verifier
 * its WRITE returned (RFC 1813 3.3.7, 3.3.21): a server that restarted in between says so by another
 * verifier, and the range is sent again. With sync, O_SYNC, O_DSYNC (FILE_SYNC) and O_DIRECT, and when
 * there is too much of a file already, it is sent at once and answered when the server has taken it.
 * Ranges that overlap are never in flight together, and go in the order of their write(2). Memory is
 * bounded by wbuf= for the mount.
 *
 * Pending is what was answered and the server has not taken, or may have forgotten, as a connection was lost
 * since (wback_lists.h, doubt). What the kernel is told of a file
 * includes it: who tells attributes looks for it first, and at the attributes then (request.c). What
 * needs the server's own view (GETATTR, READ of such a piece) has it sent and waits until it is taken;
 * what changes the file otherwise (SETATTR) waits until it is stable.
 *
 * A server that does not answer. A WRITE that its write(2) still waits for is the error of that, and its
 * data is not kept. What was answered is: when a COMMIT or such a WRITE ends without an answer,
 *   softwrite=hold  it is held and tried again, at most half a second after the server is back,
 *                   until it is saved or there was no answer for deadtimeo (counted from the start of
 *                   the first attempt; an attempt under way may end first). Then it is lost;
 *   softwrite=fail  it is lost;
 *   hard            there is no such end of a call.
 * What a server refuses (EIO, ENOSPC, EDQUOT ...) is lost at once.
 *
 * Errors. While data is held, fsync and close end with the soft policy's errno at their deadline, or
 * at once if the server is known to be down: each of them, for it is true each time, and 0 from a
 * later one means that all of it has been saved. What is lost is logged, and told once to each file
 * that was open then, at its next write, fsync or close; if none was, to the next one to open it
 * (wback_error.h). fsync and close that were waiting at the time are that once.
 *
 * Stale copies. A WRITE that was sent again when its connection was lost, or ended without an answer,
 * may still be in the server's receive queue: its piece of the file is in quarantine for two seconds
 * (half the soft deadline if that is less), and WRITEs and truncations that touch it wait that long
 * (quarantine.h). The same for what is behind the end of a truncation. fsync and close do not wait.
 *
 * The parts: wback (this: what handlers ask, and what has become of calls), wback_write (how a write(2)
 * comes in), wback_lists (ranges,
 * waiters, what is due: pure), wback_inode (doing it), wback_call (WRITE and COMMIT on the wire),
 * wback_error (who was told), wback_clock (timer), wback_pool (memory), quarantine, range.
 *
 * Threads: any loop. A wback's lock guards its lists and is not held across anything else. */
#ifndef FUSE_WBACK_H
#define FUSE_WBACK_H

#include "file.h"
#include "request.h"
#include "wback_pool.h"
#include "wback_wait.h"

struct wback_timed;

enum wback_how {
	WBACK_BEHIND,  /* answer at once */
	WBACK_THROUGH, /* when the server has taken it */
	WBACK_STABLE,  /* when it is on stable storage */
};

/* wback_write - take a WRITE request over: hold, answer, send, as `how` says. data lies in the FUSE
 * buffer; cred is copied. */
void wback_write(struct request *request, const struct cred *cred, const char *data, size_t size,
		 uint64_t offset, enum wback_how how);

/* What a file's attributes do not show yet. */
struct wback_pending {
	uint64_t end;          /* of the last byte; 0: there is none */
	struct timespec mtime; /* of the last write(2), on this host's clock */
};
/* wback_pending - true if anything is pending. wback_is_pending - in [start, end)? */
bool wback_pending(struct inode *inode, struct wback_pending *ret_pending);
bool wback_is_pending(struct inode *inode, uint64_t start, uint64_t end);
/* wback_is_unstable - has the server anything of it that it might forget? */
bool wback_is_unstable(struct inode *inode);
/* wback_send - wait->done() when what is pending now has been taken, or at wait->until_ns, or it cannot
 * be. Otherwise as wback_flush(). */
bool wback_send(struct inode *inode, struct wback_wait *wait);

/* wback_flush - wait->done() when all that was written before is on stable storage, or cannot be.
 * True: it is already, and done() will not be called. The caller keeps the inode until then; done()
 * may come from within.
 * wback_flush_from - for a truncation to `size`: nor may a stale copy reach behind that. */
bool wback_flush(struct inode *inode, struct wback_wait *wait);
bool wback_flush_from(struct inode *inode, struct wback_wait *wait, uint64_t size);

/* wback_truncating - a SETATTR of size is sent: WRITEs behind it and other truncations wait. Usually
 * the kernel sees to that, but not when its process was killed.
 * wback_truncated - it has ended; before it is answered. may_follow: the server may still execute a
 * copy of it. */
void wback_truncating(struct fs *fs, struct inode *inode, uint64_t size);
void wback_truncated(struct fs *fs, struct inode *inode, bool may_follow, uint64_t size);

/* wback_bytes - held of the inode now: written, and not known to be stable. */
uint64_t wback_bytes(struct inode *inode);
/* wback_commit - have what is unstable committed in the background: at the last close, or to free
 * memory. False: there is nothing, it is on its way, or the server does not answer. */
bool wback_commit(struct inode *inode);

/* wback_close - the mount ends, and the loops are about to stop: what the server does not answer for
 * is lost from now on, and nobody waits any longer. */
void wback_close(struct fs *fs);

/* wback_error_seq, wback_take_error - errors of the inode: the mark for a new file, and the error
 * (-errno) that a file has not been told yet, once; 0. */
uint32_t wback_error_seq(struct inode *inode);
int wback_take_error(struct inode *inode, struct file *file);

/* wback_free - with the inode's last reference. */
void wback_free(struct inode *inode);

/* wback_refusal - -errno for a write that the server cannot be asked for; 0. */
int wback_refusal(const struct fs *fs);

/* wback_admitted, wback_dropped - for wback_pool.c: a range that waited for memory is charged; its writer
 * has gone, or is to be told an error. wback_tick - for wback_clock.c: time has passed. */
void wback_admitted(struct range *range);
void wback_dropped(struct range *range, int error);
void wback_tick(struct inode *inode);

/* wback_holder_inode, wback_timed_inode - whose it is. */
struct inode *wback_holder_inode(struct wback_holder *holder);
struct inode *wback_timed_inode(struct wback_timed *timed);

#endif
