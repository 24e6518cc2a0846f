/* SPDX-License-Identifier: GPL-2.0-or-later */
/* shortread - READs that end before what was asked for, because the file does, are answered in the order of
 * their offsets.
 *
 * The kernel takes a short reply for the end of the file and cuts the size it knows (fuse_short_read()), but only
 * if that size has not changed since the READ was made. Two short replies for a file that somebody else has cut,
 * the later piece first: the first sets a size that is too large, the second none, and its pages, which are
 * zeros, are within that size: a program reads zeros that nobody wrote. So a short reply waits for the READs of
 * the same file with smaller offsets that are in flight when it comes.
 *
 * Every READ is begun here, and replied to here. Threads: any; the inode's lock guards its list. */
#ifndef FUSE_SHORTREAD_H
#define FUSE_SHORTREAD_H

#include "request.h"

/* shortread_begin - op.read.offset and size are set. */
void shortread_begin(struct request *request);
/* shortread_reply, shortread_reply_err - as request_reply_buf() and request_reply_err(). data is copied if the
 * reply has to wait. */
void shortread_reply(struct request *request, const void *data, size_t size);
void shortread_reply_err(struct request *request, int error);

#endif
