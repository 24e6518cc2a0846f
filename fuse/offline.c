/* SPDX-License-Identifier: GPL-2.0-or-later */
/* offline - see offline.h. */
#include "offline.h"

#include <errno.h>
#include <unistd.h>

#include "../conn/util.h"
#include "dev.h"
#include "fs.h"

enum { BLOCK = 4096 };

bool offline_getattr(fuse_req_t req)
{
	const struct fs *fs = dev_current_fs();
	struct timespec mounted = { fs->mounted_ns / NS_PER_S, fs->mounted_ns % NS_PER_S };
	struct stat st = {
		.st_ino = INODE_ROOT,
		.st_mode = S_IFDIR | 0555,
		.st_nlink = 2,
		.st_blksize = BLOCK,
		.st_atim = mounted,
		.st_mtim = mounted,
		.st_ctim = mounted,
	};

	if (fs_is_found(fs))
		return false;
	st.st_uid = geteuid();
	st.st_gid = getegid();
	fuse_reply_attr(req, &st, 0.0);
	return true;
}

bool offline_access(fuse_req_t req, int mask)
{
	if (fs_is_found(dev_current_fs()))
		return false;
	fuse_reply_err(req, mask & W_OK ? EACCES : 0);
	return true;
}

bool offline_statfs(fuse_req_t req)
{
	const struct fs *fs = dev_current_fs();
	struct statvfs st = { .f_bsize = BLOCK, .f_frsize = BLOCK, .f_namemax = NFS3_NAME_MAX };

	if (fs_is_found(fs))
		return false;
	fuse_reply_statfs(req, &st);
	return true;
}

void offline_end(struct fs *fs)
{
	dev_reply_to(-1);
	fuse_lowlevel_notify_inval_inode(fs->session, INODE_ROOT, -1, 0);
}
