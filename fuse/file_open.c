/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file_open - open(2): the server is asked for permission, which brings attributes, too (close-to-open);
 * then what O_TRUNC asks for. */
#include <errno.h>
#include <fcntl.h>

#include "../conn/util.h"
#include "file.h"
#include "ops.h"
#include "silly.h"
#include "wback.h"

enum { FMODE_EXEC = 0x20 }; /* the kernel's __FMODE_EXEC, which FUSE_OPEN passes on */

static uint32_t wanted_access(int flags)
{
	uint32_t wanted = 0;

	if ((flags & O_ACCMODE) != O_WRONLY)
		wanted |= NFS3_ACCESS_READ | NFS3_ACCESS_EXECUTE;
	if (file_writes(flags))
		wanted |= NFS3_ACCESS_MODIFY | NFS3_ACCESS_EXTEND;
	return wanted;
}

static bool is_granted(int flags, uint32_t granted)
{
	uint32_t write = NFS3_ACCESS_MODIFY | NFS3_ACCESS_EXTEND;
	uint32_t read = flags & FMODE_EXEC ? NFS3_ACCESS_EXECUTE : NFS3_ACCESS_READ;

	if ((flags & O_ACCMODE) != O_WRONLY && !(granted & read))
		return false;
	return !file_writes(flags) || (granted & write) == write;
}

/* Close-to-open: pages from before a change of someone else's must go. Only the attributes are
 * invalidated from here; the kernel drops the pages itself when keep_cache is not set (fuse.md
 * section 4: a page-level notification could deadlock). The reply to CREATE brings new ones itself. */
static void set_cache_flags(struct fs *fs, struct inode *inode, bool as_create,
			    struct fuse_file_info *fi)
{
	fi->keep_cache = attr_open(inode);
	if (!fi->keep_cache && !as_create)
		fuse_lowlevel_notify_inval_inode(fs->session, inode_nodeid(inode), -1, 0);
	/* close(2) of a file that could not be written need not ask us, unless it gives back locks. */
	fi->noflush = !file_writes(fi->flags) && !fs->locks;
}

/* The file was counted as open; it is not to be. */
static void open_failed(struct request *request, int error)
{
	struct inode *inode = request->op.open.inode;
	struct file *file = request->op.open.file;

	if (!file)
		request_reply_err(request, error);
	else if (file_close(request->fs, file))
		silly_release(request, inode, error);
	else
		request_reply_err(request, error);
}

static void reply_open(struct request *request)
{
	struct fuse_file_info fi = request->op.open.fi;
	struct inode *inode = request->op.open.inode;
	struct file *file = request->op.open.file;
	struct fs *fs = request->fs;
	bool taken;

	if (request_answered(request)) { /* nobody will release it */
		open_failed(request, -EINTR);
		return;
	}
	fi.fh = (uintptr_t)file;
	set_cache_flags(fs, inode, request->op.open.as_create, &fi);
	if (request->op.open.as_create)
		taken = request_reply_create(request, inode_ref(inode), &fi);
	else
		taken = request_reply_open(request, &fi);
	if (!taken)
		file_close(fs, file); /* interrupted just now: its hidden name, if any, stays */
}

/* Count it as open before the server is asked: from here on its name is not taken away. False: it
 * waits, or was answered. */
static bool begin_open(struct request *request)
{
	struct inode *inode = request->op.open.inode;

	if (silly_wait_open(inode, request))
		return false;
	request->op.open.file = file_new(request, inode, request->op.open.fi.flags);
	if (request->op.open.file)
		return true;
	mutex_lock(&inode->lock);
	inode->n_open--;
	mutex_unlock(&inode->lock);
	request_reply_err(request, -ENOMEM);
	return false;
}

void file_reply_open(struct request *request)
{
	if (request->op.open.file || begin_open(request))
		reply_open(request);
}

static void truncated(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct inode *inode = request->op.open.inode;

	wback_truncated(fs, inode, replay_may_follow(request), 0);
	attr_apply_own(&fs->attr_policy, inode, &request->replay.got.wcc, request->stamp,
		       fs_now_ns());
	attr_change_end(inode);
	if (error)
		open_failed(request, error);
	else
		file_reply_open(request);
}

static void send_truncate(struct request *request)
{
	struct setattr empty = { .set = SET_SIZE };
	struct inode *inode = request->op.open.inode;

	attr_drop_privs(inode, &request->cred, &empty);
	wback_truncating(request->fs, inode, 0);
	attr_change_begin(inode);
	replay_send(request, &(struct replay){
		.op = REPLAY_SETATTR,
		.file = inode,
		.set = empty,
		.done = truncated,
	});
}

static void flushed_for_truncate(struct wback_wait *wait, int error)
{
	struct request *request = container_of(wait, struct request, wait);

	if (!error && request_answered(request)) /* others may have written since */
		error = -EINTR;
	if (error)
		open_failed(request, error);
	else
		send_truncate(request);
}

/* The kernel appends at the size it believes, and OPEN cannot tell it another. But ESTALE makes it
 * look the name up again, once, and that does. */
static bool must_look_again(struct request *request)
{
	struct inode *inode = request->op.open.inode;
	bool must;

	if (!(request->op.open.fi.flags & O_APPEND) || request->op.open.as_create)
		return false;
	mutex_lock(&inode->lock);
	/* With another local writer the kernel knows the size by his writes. */
	must = inode->attr.size != inode->told_size && inode->n_open_write == 1 &&
	       !inode->n_writing && !inode->told_again;
	inode->told_again = must;
	mutex_unlock(&inode->lock);
	return must;
}

static void open_granted(struct request *request)
{
	if (must_look_again(request)) {
		open_failed(request, -ESTALE);
		return;
	}
	if (!(request->op.open.fi.flags & O_TRUNC)) {
		file_reply_open(request);
		return;
	}
	request->wait.done = flushed_for_truncate;
	if (wback_flush_from(request->op.open.inode, &request->wait, 0))
		send_truncate(request);
}

/* To read what the kernel has in its cache while the server does not answer (softreval). */
static bool may_open_from_memory(struct request *request)
{
	int flags = request->op.open.fi.flags;
	struct attr attr;

	return fs_vouches(request->fs) && !file_writes(flags) && !(flags & O_TRUNC) &&
	       attr_get(request->op.open.inode, fs_now_ns(), &attr) >= 0;
}

static void open_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct inode *inode = request->op.open.inode;
	struct nfs3_access access = { 0 };

	if (request_unanswered(request) && may_open_from_memory(request)) {
		file_reply_open(request);
		return;
	}
	if (!error)
		error = request_decoded(request, nfs3_access_decode(&request->call, &access));
	if (access.attr.valid)
		attr_apply(&fs->attr_policy, inode, &access.attr.attr, request->stamp, fs_now_ns());
	else
		attr_expire(inode);
	if (!error && !is_granted(request->op.open.fi.flags, access.granted))
		error = -EACCES;
	if (error)
		open_failed(request, error);
	else
		open_granted(request);
}

void file_send_open(struct request *request)
{
	int error;

	if (!begin_open(request))
		return;
	error = nfs3_access_encode(request_call(request), &request->cred,
				       inode_fh(request->op.open.inode),
				       wanted_access(request->op.open.fi.flags));

	if (may_open_from_memory(request))
		request_send_soft(request, error, open_done);
	else
		request_send(request, error, open_done);
}

void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino);
	struct attr attr;

	if (!request)
		return;
	request_groups(request);
	request_track(request);
	request->op.open.fi = *fi;
	request->op.open.inode = request->inode;
	/* nocto: believed attributes will do, and the kernel has checked permission by them. */
	if (!request->fs->options->cto && request->fs->options->default_permissions &&
	    attr_get(request->inode, fs_now_ns(), &attr) > 0)
		file_reply_open(request);
	else
		file_send_open(request);
}
