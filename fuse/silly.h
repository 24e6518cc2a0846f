/* SPDX-License-Identifier: GPL-2.0-or-later */
/* silly - files that are removed while they are open here.
 *
 * NFS version 3 has no open files: REMOVE ends them for everybody. So, as every NFS client does, a
 * file that is open on this mount is renamed to .nfsXXXX... in its directory instead, and removed at
 * its last close. Programs see it gone: its link count is told without the hidden name. */
#ifndef FUSE_SILLY_H
#define FUSE_SILLY_H

#include "request.h"

struct silly {
	struct inode *parent; /* pinned */
	struct cred cred;     /* of whoever removed it */
	bool sure;            /* see silly_set() */
	char name[40];
};

/* silly_begin - a name of the inode is about to be taken away: how? After SILLY_REMOVE, silly_end()
 * is due when the call is done: until then opens of the inode wait, because whether there will still
 * be a file to open is not known. After SILLY_HIDE, silly_let_go() and silly_release() are due: until
 * then it counts as open, so that its hidden name does not go before the other one has. */
enum silly_choice {
	SILLY_REMOVE, /* not open, or known to have another name */
	SILLY_HIDE,   /* open: keep it under a hidden name */
	SILLY_BUSY,   /* this is its hidden name: EBUSY, as the kernel client */
};
enum silly_choice silly_begin(struct inode *inode, const struct inode *dir, const char *name);
void silly_end(struct inode *inode);
void silly_let_go(struct inode *inode);
/* silly_wait_open - true: the request waits, and file_send_open() is called again when no such call is
 * in flight any more. False: the inode was counted as open. */
bool silly_wait_open(struct inode *inode, struct request *request);
/* silly_name - a new hidden name for it. */
void silly_name(const struct inode *inode, char name[40]);
/* silly_set - it is now parent/name only. Without memory it will stay behind, which is logged. Not
 * sure: the call that was to hide it has an unknown outcome; then the hidden name is removed at the
 * last close, should it exist, and in all else the file counts as not hidden. */
void silly_set(struct fs *fs, struct inode *inode, struct inode *parent, const char *name,
	       const struct cred *cred, bool sure);
/* silly_hides - by how much the link count of the inode is to be told smaller: 1 or 0. */
unsigned int silly_hides(struct inode *inode);
/* silly_release - the inode's last open file has been let go of: remove the hidden name if there is
 * one, then reply with error. */
void silly_release(struct request *request, struct inode *inode, int error);
/* silly_in_dir - may the directory hold hidden names of ours that are about to go? */
bool silly_in_dir(struct inode *dir);
/* silly_remove_all - at unmount, by the thread that mounted: hidden names whose RELEASE never came. */
void silly_remove_all(struct fs *fs, int64_t deadline_ns);
/* silly_free - with the inode's last reference. */
void silly_free(struct inode_table *inodes, struct inode *inode);

#endif
