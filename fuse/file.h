/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file - an open file: who opened it, and what went wrong since. fi->fh points to one.
 *
 * READ and WRITE are sent with the credential of whoever opened it, as the local check was made then,
 * and so that dirty pages of a mapping can be written when its process is gone. */
#ifndef FUSE_FILE_H
#define FUSE_FILE_H

#include <fcntl.h>

#include "prefetch.h"
#include "request.h"

struct file {
	_Atomic(unsigned int) refs; /* the kernel's, and one for each FLUSH or FSYNC under way */
	struct inode *inode;  /* pinned */
	struct cred cred;     /* the opener's: READ, WRITE and COMMIT are sent as him */
	int flags;            /* open(2) */
	uint32_t error_seen;  /* see wback.h: which of the inode's write errors he was told */
	LIST_ENTRY(file) link; /* in inode->files, until it is closed */
	struct prefetch_file prefetch; /* prefetch.c's */
};

/* May it be written, as open(2) said? */
static inline bool file_writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

static inline struct file *file_of(const struct fuse_file_info *fi)
{
	return fi ? (struct file *)(uintptr_t)fi->fh : NULL;
}

/* file_new - of an inode that has been counted as open, with the request's cred. NULL without memory.
 * file_close - give the reference back and count it no longer. True if it was the inode's last one: then silly_release() is due. */
struct file *file_new(struct request *request, struct inode *inode, int flags);
bool file_close(struct fs *fs, struct file *file);
/* file_free_all - when the table is freed: a kernel that ended the session sends no RELEASE. */
void file_free_all(struct fs *fs, struct inode *inode);

/* file_note_pages - for a READ or WRITE: the kernel will have some of it in its cache (pages.h). */
void file_note_pages(struct request *request);

/* file_send_open - check and open request->op.open.inode as op.open says, then reply.
 * file_reply_open - the same without a check, of a file that was made just now. */
void file_send_open(struct request *request);
void file_reply_open(struct request *request);

/* file_read_sent - ask the server for what a READ request wants. */
void file_read_sent(struct request *request);

/* attr_drop_privs - for a change of size: also clear setuid and setgid where that is due. */
void attr_drop_privs(struct inode *inode, const struct cred *cred, struct setattr *set);

#endif
