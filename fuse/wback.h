/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback - data on its way to the server's stable storage, for each inode.
 *
 * A WRITE of the application becomes a range. It is sent UNSTABLE at once (FILE_SYNC with sync,
 * O_SYNC or O_DSYNC), answered when the server has taken it, and kept until a COMMIT returns the
 * write verifier its WRITE returned (RFC 1813 3.3.7, 3.3.21): a server that restarted in between
 * says so by another verifier, and the range is sent again. Ranges that overlap are never in flight
 * together, and go in the order of their write(2). Memory is bounded by wbuf= for the mount
 * (wback_pool.h).
 *
 * A range belongs to the inode's wback and passes from list to list:
 *   waiting (an overlapping one goes first) -> writing -> unstable -> committing -> gone
 *                                                ^_______ other verifier ______|
 *
 * Errors. A WRITE that fails is the answer to its own write(2). When the server does not answer a
 * COMMIT or a rewrite, whoever waits is told, and the data stays and is tried again every
 * RETRY_NS. When it refuses one, the data is lost: that is logged, kept on the inode, and told once
 * to every file that was open then, at its next write, fsync or close.
 *
 * Threads: any loop. A wback's lock guards its lists and is not held across anything else. */
#ifndef FUSE_WBACK_H
#define FUSE_WBACK_H

#include "file.h"
#include "request.h"
#include "wback_pool.h"
#include "wback_wait.h"

/* wback_write - take a WRITE request over: send, hold, answer. data lies in the FUSE buffer; cred is
 * copied. */
void wback_write(struct request *request, const struct cred *cred, const char *data, size_t size,
		 uint64_t offset, bool stable);

/* wback_flush - wait->done() when all that was written before is on stable storage, or cannot be.
 * True: it is already, and done() will not be called. The caller keeps the inode until then. */
bool wback_flush(struct inode *inode, struct wback_wait *wait);

/* wback_commit - have what is unstable committed in the background: at the last close, or to free
 * memory. False: there is nothing, or it is on its way. */
bool wback_commit(struct inode *inode);

/* wback_error_seq, wback_take_error - errors of the inode: the mark for a new file, and the error
 * (-errno) that a file has not been told yet, once; 0. */
uint32_t wback_error_seq(struct inode *inode);
int wback_take_error(struct inode *inode, struct file *file);

/* wback_free - with the inode's last reference. */
void wback_free(struct inode *inode);

/* wback_holder_inode - whose holder it is; wback_pool.c's. */
struct inode *wback_holder_inode(struct wback_holder *holder);

#endif
