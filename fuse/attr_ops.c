/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attr_ops - getattr, setattr, access. */
#include <errno.h>
#include <string.h>

#include "../conn/util.h"
#include "file.h"
#include "names.h"
#include "offline.h"
#include "ops.h"
#include "wback.h"

static const int64_t PENDING_NS = 500 * NS_PER_MS; /* for data to arrive, before its file is told of */

/* ---- GETATTR ----------------------------------------------------------------------------- */

/* If the server does not answer (softreval). For the root always: df(1) and umount(8) ask for it. */
static bool known_will_do(struct request *request)
{
	struct attr attr;

	return (request->fs->options->softreval || request->inode == request->fs->root) &&
	       attr_get(request->inode, fs_now_ns(), &attr) >= 0;
}

/* Without falling back on what is known: it may be from before our own change. */
static void changed_attr_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct attr attr;

	if (!error)
		error = request_decoded(request, nfs3_getattr_decode(&request->call, &attr));
	if (!error &&
	    !attr_apply(&fs->attr_policy, request->inode, &attr, request->stamp, fs_now_ns()))
		error = -ESTALE;
	if (error) {
		attr_expire(request->inode);
		request_reply_err(request, error);
		return;
	}
	request_reply_attr(request);
}

static void getattr_done(struct request *request, int error)
{
	if (request_unanswered(request) && known_will_do(request))
		request_reply_attr(request);
	else
		changed_attr_done(request, error);
}

static void send_getattr(struct request *request)
{
	int error = nfs3_getattr_encode(request_call(request), &request->cred, inode_fh(request->inode));

	if (known_will_do(request))
		request_send_soft(request, error, getattr_done);
	else
		request_send(request, error, getattr_done);
}

static void getattr(struct request *request)
{
	struct attr attr;

	if (attr_get(request->inode, fs_now_ns(), &attr) > 0) {
		request_reply_attr(request);
		return;
	}
	names_count_stat(request->inode);
	send_getattr(request);
}

/* The server has it now, and its times; or is too slow for that, and what is known will do. */
static void sent_for_getattr(struct wback_wait *wait, int error)
{
	struct request *request = container_of(wait, struct request, wait);
	struct wback_pending pending;

	if ((error || wback_pending(request->inode, &pending)) && known_will_do(request))
		request_reply_attr(request);
	else if (error)
		request_reply_err(request, error);
	else
		getattr(request);
}

/* Only the server can say when a file was changed, so what was written goes there first, as the Linux
 * client has it. */
static bool wait_for_pending(struct request *request)
{
	struct wback_pending pending;

	if (!wback_pending(request->inode, &pending))
		return false;
	request_track(request);
	request->wait.done = sent_for_getattr;
	request->wait.until_ns = known_will_do(request) ? fs_now_ns() + PENDING_NS : INT64_MAX;
	return !wback_send(request->inode, &request->wait);
}

void attr_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi UNUSED)
{
	struct request *request;

	if (offline_getattr(req))
		return;
	request = request_new(req, ino);
	if (request && !wait_for_pending(request))
		getattr(request);
}

/* ---- SETATTR ----------------------------------------------------------------------------- */

static void setattr_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	const struct wcc *wcc = &request->replay.got.wcc;

	if (request->op.setattr.set.set & SET_SIZE)
		wback_truncated(fs, request->inode, replay_may_follow(request),
				request->op.setattr.set.size);
	attr_apply_own(&fs->attr_policy, request->inode, wcc, request->stamp, fs_now_ns());
	attr_change_end(request->inode);
	if (error)
		request_reply_err(request, error);
	else if (wcc->after.valid)
		request_reply_attr(request);
	else
		request_send(request,
			     nfs3_getattr_encode(request_call(request), &request->cred,
						 inode_fh(request->inode)),
			     changed_attr_done);
}

static void send_setattr(struct request *request)
{
	const struct setattr *set = &request->op.setattr.set;

	if (set->set & SET_SIZE)
		wback_truncating(request->fs, request->inode, set->size);
	attr_change_begin(request->inode);
	replay_send(request, &(struct replay){
		.op = REPLAY_SETATTR,
		.file = request->inode,
		.set = request->op.setattr.set,
		.done = setattr_done,
	});
}

static void flushed_for_setattr(struct wback_wait *wait, int error)
{
	struct request *request = container_of(wait, struct request, wait);

	if (!error && request_answered(request)) /* others may have written since */
		error = -EINTR;
	if (error)
		request_reply_err(request, error);
	else
		send_setattr(request);
}

/* Servers clear setuid and setgid on a WRITE, but not all on a change of size; local file systems do
 * unless root does it. The owner can ask for both in one call, a stranger may not. */
void attr_drop_privs(struct inode *inode, const struct cred *cred, struct setattr *set)
{
	struct attr attr;
	mode_t drop = S_ISUID;

	if (set->set & SET_MODE || attr_get(inode, fs_now_ns(), &attr) < 0)
		return;
	if (attr.mode & S_IXGRP)
		drop |= S_ISGID;
	if (!S_ISREG(attr.mode) || !(attr.mode & drop) || cred->uid == 0 || cred->uid != attr.uid)
		return;
	set->set |= SET_MODE;
	set->mode = attr.mode & 07777 & ~drop;
}

static void set_from_fuse(const struct stat *st, int valid, struct setattr *ret_set)
{
	static const struct {
		int fuse;
		unsigned int set;
	} bits[] = {
		{ FUSE_SET_ATTR_MODE, SET_MODE },
		{ FUSE_SET_ATTR_UID, SET_UID },
		{ FUSE_SET_ATTR_GID, SET_GID },
		{ FUSE_SET_ATTR_SIZE, SET_SIZE },
		{ FUSE_SET_ATTR_ATIME_NOW, SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW, SET_MTIME_NOW },
		{ FUSE_SET_ATTR_ATIME, SET_ATIME },
		{ FUSE_SET_ATTR_MTIME, SET_MTIME },
	};

	*ret_set = (struct setattr){
		.mode = st->st_mode & 07777,
		.uid = st->st_uid,
		.gid = st->st_gid,
		.size = (uint64_t)st->st_size,
		.atime = st->st_atim,
		.mtime = st->st_mtim,
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(bits); i++)
		if (valid & bits[i].fuse)
			ret_set->set |= bits[i].set;
	if (ret_set->set & SET_ATIME_NOW)
		ret_set->set &= ~(unsigned int)SET_ATIME;
	if (ret_set->set & SET_MTIME_NOW)
		ret_set->set &= ~(unsigned int)SET_MTIME;
}

/* Data that might have to be sent again must not come back behind a truncate, nor what is sent late
 * change the times that are set now, or be refused for the mode. False: it waits. */
static bool is_settled(struct request *request)
{
	const struct setattr *set = &request->op.setattr.set;

	request->wait.done = flushed_for_setattr;
	if (set->set & SET_SIZE)
		return wback_flush_from(request->inode, &request->wait, set->size);
	return wback_flush(request->inode, &request->wait);
}

/* By the mode bits, which is what most servers go by. The kernel asks only where it does not check
 * them itself. 0 or -EACCES. */
static int known_access(const struct cred *cred, const struct attr *attr, int mask)
{
	mode_t granted = attr->mode;
	bool in_group = cred->gid == attr->gid;

	if (cred->uid == 0)
		return mask & X_OK && !S_ISDIR(granted) && !(granted & 0111) ? -EACCES : 0;
	for (uint32_t i = 0; i < cred->n_gids; i++)
		in_group |= cred->gids[i] == attr->gid;
	if (cred->uid == attr->uid)
		granted >>= 6;
	else if (in_group)
		granted >>= 3;
	return (mode_t)mask & ~granted & 7 ? -EACCES : 0;
}

static void begin_setattr(struct request *request)
{
	const struct setattr *set = &request->op.setattr.set;

	if (set->set & SET_SIZE && set->size > request->fs->maxfilesize)
		request_reply_err(request, -EFBIG);
	else if (is_settled(request))
		send_setattr(request);
}

/* A server lets an owner truncate a file that he may not write, as he may have it open; truncate(2) does
 * not. Where the kernel does not check, we do; any other reason is the server's to tell. */
static void truncate_checked(struct request *request, int error)
{
	struct nfs3_access access = { 0 };
	struct attr attr;

	if (!error)
		error = request_decoded(request, nfs3_access_decode(&request->call, &access));
	if (!error && !(access.granted & NFS3_ACCESS_MODIFY) &&
	    attr_get(request->inode, fs_now_ns(), &attr) >= 0)
		error = known_access(&request->cred, &attr, W_OK);
	if (error)
		request_reply_err(request, error);
	else
		begin_setattr(request);
}

void attr_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int valid,
		  struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino);
	struct setattr *set;

	if (!request)
		return;
	set = &request->op.setattr.set;
	set_from_fuse(st, valid, set);
	/* ftruncate(2) on a file its caller may no longer open: as the one who could. */
	if (fi && set->set & SET_SIZE)
		request->cred = file_of(fi)->cred;
	else
		request_groups(request);
	if (set->set & SET_SIZE)
		attr_drop_privs(request->inode, &request->cred, set);
	request_track(request);
	if (set->set & SET_SIZE && !fi && !request->fs->options->default_permissions)
		request_send(request,
			     nfs3_access_encode(request_call(request), &request->cred,
						inode_fh(request->inode), NFS3_ACCESS_MODIFY),
			     truncate_checked);
	else
		begin_setattr(request);
}

/* ---- ACCESS ------------------------------------------------------------------------------ */

static uint32_t wanted_access(const struct inode *inode, int mask)
{
	bool is_dir = S_ISDIR(inode->type);
	uint32_t wanted = 0;

	if (mask & R_OK)
		wanted |= NFS3_ACCESS_READ;
	if (mask & W_OK)
		wanted |= NFS3_ACCESS_MODIFY | NFS3_ACCESS_EXTEND |
			  (is_dir ? (uint32_t)NFS3_ACCESS_DELETE : 0);
	if (mask & X_OK)
		wanted |= is_dir ? NFS3_ACCESS_LOOKUP : NFS3_ACCESS_EXECUTE;
	return wanted;
}

static void access_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_access access = { 0 };
	uint32_t wanted = wanted_access(request->inode, request->op.mask);
	struct attr attr;

	if (request_unanswered(request) && fs_vouches(fs) &&
	    attr_get(request->inode, fs_now_ns(), &attr) >= 0) {
		request_reply_err(request, known_access(&request->cred, &attr, request->op.mask));
		return;
	}
	if (!error)
		error = request_decoded(request, nfs3_access_decode(&request->call, &access));
	if (access.attr.valid)
		attr_apply(&fs->attr_policy, request->inode, &access.attr.attr, request->stamp,
			   fs_now_ns());
	if (error == -ESTALE)
		attr_expire(request->inode);
	/* DELETE on a directory is not told by every server. */
	wanted &= ~(uint32_t)NFS3_ACCESS_DELETE;
	if (!error && (access.granted & wanted) != wanted)
		error = -EACCES;
	request_reply_err(request, error);
}

void attr_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct request *request;
	struct attr attr;
	int error;

	if (offline_access(req, mask))
		return;
	request = request_new(req, ino);
	if (!request)
		return;
	request->op.mask = mask;
	request_groups(request);
	error = nfs3_access_encode(request_call(request), &request->cred, inode_fh(request->inode),
				   wanted_access(request->inode, mask));
	if (fs_vouches(request->fs) && attr_get(request->inode, fs_now_ns(), &attr) >= 0)
		request_send_soft(request, error, access_done);
	else
		request_send(request, error, access_done);
}
