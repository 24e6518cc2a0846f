/* SPDX-License-Identifier: GPL-2.0-or-later */
/* opendir - handles of directories: OPENDIR, RELEASEDIR, FSYNCDIR.
 *
 * Opening asks ACCESS (RFC 1813, 3.3.4), as the Linux client does: it is the permission, and brings the directory's
 * attributes for close-to-open. Whoever got the handle then reads by the opener's cred. */
#include <errno.h>

#include "dev.h"
#include "dir.h"
#include "ops.h"
#include "request.h"

static void opened(struct request *request)
{
	struct fuse_file_info fi = request->op.open.fi;
	struct inode_table *inodes = request->fs->inodes;
	struct dir *dir = dir_new(&request->cred);

	if (!dir) {
		request_reply_err(request, -ENOMEM);
		return;
	}
	fi.fh = (uintptr_t)dir;
	fi.keep_cache = 0;
	fi.cache_readdir = 0;
	dir_opened(dir, request->inode);
	if (!request_reply_open(request, &fi))
		dir_closed(dir, inodes);
}

/* An fstat() right after a close-to-open open must not see older attributes. Only attributes are
 * dropped: that waits for nothing (fuse.md section 4). */
static void apply_fresh(struct request *request, const struct attr *fresh)
{
	struct fs *fs = request->fs;
	struct attr known;
	int64_t now_ns = fs_now_ns();
	bool changed = attr_get(request->inode, now_ns, &known) >= 0 &&
		       !attr_same_times(&known, fresh);

	attr_apply(&fs->attr_policy, request->inode, fresh, request->stamp, now_ns);
	if (!changed)
		return;
	dev_reply_to(request->dev_fd);
	fuse_lowlevel_notify_inval_inode(fs->session, inode_nodeid(request->inode), -1, 0);
}

/* If the server does not answer. What can be read then is another question. The root always: df(1)
 * opens the mount point. */
static bool may_open_from_memory(struct request *request)
{
	struct attr attr;

	return (fs_vouches(request->fs) || request->inode == request->fs->root) &&
	       attr_get(request->inode, fs_now_ns(), &attr) >= 0;
}

static void access_done(struct request *request, int error)
{
	struct nfs3_access access = { 0 };

	if (request_unanswered(request) && may_open_from_memory(request)) {
		opened(request);
		return;
	}
	if (!error) {
		error = nfs3_access_decode(&request->call, &access);
		if (access.attr.valid && error != -EBADMSG)
			apply_fresh(request, &access.attr.attr);
		error = request_decoded(request, error);
	}
	if (error == -ESTALE)
		attr_expire(request->inode);
	if (!error && !(access.granted & NFS3_ACCESS_READ))
		error = -EACCES;
	if (error)
		request_reply_err(request, error);
	else
		opened(request);
}

/* Linux asks at each open of a directory, unless told nocto; then when its attributes have run
 * out. Without default_permissions nobody else has checked. */
static bool must_ask(struct request *request)
{
	const struct options *options = request->fs->options;
	struct attr attr;

	return options->cto || !options->default_permissions ||
	       attr_get(request->inode, fs_now_ns(), &attr) <= 0;
}

void dir_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino);
	int error;

	if (!request)
		return;
	request->op.open.fi = *fi;
	request_groups(request);
	if (!must_ask(request)) {
		opened(request);
		return;
	}
	error = nfs3_access_encode(request_call(request), &request->cred, inode_fh(request->inode),
				   NFS3_ACCESS_READ | NFS3_ACCESS_LOOKUP);
	if (may_open_from_memory(request))
		request_send_soft(request, error, access_done);
	else
		request_send(request, error, access_done);
}

/* Both are answered on the spot, hence need no struct request, which there may be no memory for. */
void dir_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	dir_closed((struct dir *)(uintptr_t)fi->fh, dev_current_fs()->inodes);
	fuse_reply_err(req, 0);
}

/* Whatever changes a directory is on stable storage when the server says so (RFC 1813, 4.8). */
void dir_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	fuse_reply_err(req, 0);
}
