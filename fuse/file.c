/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file - open, read, write, flush, fsync, release.
 *
 * READ and WRITE are sent with the credential of whoever opened the file, as the local check was made
 * then, and so that dirty pages of a mapping can be written when its process is gone. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "buffer.h"
#include "dev.h"
#include "lock.h"
#include "ops.h"
#include "silly.h"
#include "wback.h"

enum { FMODE_EXEC = 0x20 }; /* the kernel's __FMODE_EXEC, which FUSE_OPEN passes on */

/* ---- struct file ------------------------------------------------------------------------- */

static bool writes(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

struct file *file_new(struct request *request, struct inode *inode, int flags)
{
	struct file *file = malloc(sizeof(*file));

	if (!file)
		return NULL;
	*file = (struct file){
		.refs = 1,
		.inode = inode_ref(inode),
		.cred = request->cred,
		.flags = flags,
		.error_seen = wback_error_seq(inode),
	};
	mutex_lock(&inode->lock);
	inode->n_open_write += writes(flags);
	if (writes(flags))
		atomic_fetch_add(&inode->contents_seq, 1);
	LIST_INSERT_HEAD(&inode->files, file, link);
	mutex_unlock(&inode->lock);
	atomic_fetch_add(&request->fs->n_open_files, 1);
	return file;
}

static void file_put(struct fs *fs, struct file *file)
{
	if (atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	inode_put(fs->inodes, file->inode);
	free(file);
}

bool file_close(struct fs *fs, struct file *file)
{
	struct inode *inode = file->inode;
	bool last;

	prefetch_close(fs->prefetch, file);
	mutex_lock(&inode->lock);
	inode->n_open_write -= writes(file->flags);
	LIST_REMOVE(file, link);
	last = --inode->n_open == 0;
	mutex_unlock(&inode->lock);
	atomic_fetch_sub(&fs->n_open_files, 1);
	if (last)
		wback_commit(inode);
	file_put(fs, file);
	return last;
}

void file_free_all(struct fs *fs, struct inode *inode)
{
	struct file *file;

	while ((file = LIST_FIRST(&inode->files))) {
		LIST_REMOVE(file, link);
		prefetch_close(fs->prefetch, file);
		free(file);
	}
}

/* ---- open -------------------------------------------------------------------------------- */

static uint32_t wanted_access(int flags)
{
	uint32_t wanted = 0;

	if ((flags & O_ACCMODE) != O_WRONLY)
		wanted |= NFS3_ACCESS_READ | NFS3_ACCESS_EXECUTE;
	if (writes(flags))
		wanted |= NFS3_ACCESS_MODIFY | NFS3_ACCESS_EXTEND;
	return wanted;
}

static bool is_granted(int flags, uint32_t granted)
{
	uint32_t write = NFS3_ACCESS_MODIFY | NFS3_ACCESS_EXTEND;
	uint32_t read = flags & FMODE_EXEC ? NFS3_ACCESS_EXECUTE : NFS3_ACCESS_READ;

	if ((flags & O_ACCMODE) != O_WRONLY && !(granted & read))
		return false;
	return !writes(flags) || (granted & write) == write;
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
	fi->noflush = !writes(fi->flags) && !fs->locks;
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

	return fs_vouches(request->fs) && !writes(flags) && !(flags & O_TRUNC) &&
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

/* ---- read -------------------------------------------------------------------------------- */

static void send_read(struct request *request);

static void reply_read(struct request *request, const void *data, size_t size)
{
	uint8_t *buffer = request->op.read.buffer;

	request_reply_buf(request, data, size);
	buffer_put(buffer);
}

static void fail_read(struct request *request, int error)
{
	uint8_t *buffer = request->op.read.buffer;

	if (error == -ESTALE)
		attr_expire(request->inode);
	request_reply_err(request, error);
	buffer_put(buffer);
}

static uint8_t *read_buffer(struct request *request)
{
	if (!request->op.read.buffer)
		request->op.read.buffer = buffer_get(request->op.read.size);
	return request->op.read.buffer;
}

/* Where a large reply's payload goes: made only now, so that memory is held for what is arriving,
 * not for what is asked. */
static int place_read(struct call *call, const uint8_t *results, uint32_t have,
		      struct placement *ret_where)
{
	struct request *request = container_of(call, struct request, call);
	uint32_t head_len, count;
	int placed = nfs3_read_place(results, have, request->op.read.asked, &head_len, &count);

	if (placed <= 0)
		return placed;
	if (!read_buffer(request))
		return -ENOMEM;
	*ret_where = (struct placement){
		.head_len = head_len,
		.payload = request->op.read.buffer + request->op.read.got,
		.payload_len = count,
	};
	return 1;
}

/* Part of what was asked, to be completed by further READs. False without memory. */
static bool keep_part(struct request *request, const struct nfs3_read *result)
{
	if (result->data) {
		if (!read_buffer(request))
			return false;
		memcpy(request->op.read.buffer + request->op.read.got, result->data, result->count);
	}
	request->op.read.got += result->count;
	return true;
}

static void sent_for_read(struct wback_wait *wait, int error)
{
	struct request *request = container_of(wait, struct request, wait);

	if (error)
		fail_read(request, error);
	else
		send_read(request);
}

/* What is pending in [start, end) goes to the server first. */
static bool wait_for_pending(struct request *request, uint64_t start, uint64_t end)
{
	if (!wback_is_pending(request->inode, start, end))
		return false;
	request_track(request);
	request->wait.done = sent_for_read;
	request->wait.until_ns = INT64_MAX;
	return !wback_send(request->inode, &request->wait);
}

/* The server may have been restarted while it was asked, and have read from before what it forgot. */
static bool is_doubtful(struct request *request)
{
	return request->op.read.unstable &&
	       request->op.read.losses != pool_n_losses(request->fs->pool);
}

static bool is_all_to_read(struct request *request, const struct nfs3_read *result)
{
	return result->count == request->op.read.size || (result->eof && !request->op.read.extended);
}

/* Of the file as the server had it. */
static void end_of_file(struct request *request)
{
	uint64_t end = request->op.read.offset + request->op.read.got;

	if (!request->op.read.extended)
		reply_read(request, request->op.read.buffer, request->op.read.got);
	else if (!wait_for_pending(request, end, UINT64_MAX))
		send_read(request);
}

static void read_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_read result;
	uint32_t size = request->op.read.size;

	if (!error)
		error = request_decoded(request, nfs3_read_decode(&request->call,
								  request->op.read.asked, &result));
	if (error) {
		fail_read(request, error);
		return;
	}
	if (result.attr.valid)
		attr_apply(&fs->attr_policy, request->inode, &result.attr.attr, request->stamp,
			   fs_now_ns());
	if (is_doubtful(request) && !request_answered(request)) {
		if (!wait_for_pending(request, request->op.read.offset,
				      request->op.read.offset + size))
			send_read(request);
		return;
	}
	if (result.data && !request->op.read.got && is_all_to_read(request, &result)) {
		reply_read(request, result.data, result.count); /* from where it was received */
		return;
	}
	if (!keep_part(request, &result)) {
		fail_read(request, -ENOMEM);
		return;
	}
	/* Never short but at the end of the file: the kernel would take it for that. */
	if (request->op.read.got == size || request_answered(request))
		reply_read(request, request->op.read.buffer, request->op.read.got);
	else if (!result.eof)
		send_read(request);
	else
		end_of_file(request);
}

static void send_read(struct request *request)
{
	struct call *call = request_call(request);
	uint32_t left = request->op.read.size - request->op.read.got;
	int error;

	request->op.read.asked = (uint32_t)min_size(left, request->fs->rsize);
	request->op.read.extended = wback_is_pending(
		request->inode, request->op.read.offset + request->op.read.got, UINT64_MAX);
	request->op.read.unstable = wback_is_unstable(request->inode);
	request->op.read.losses = pool_n_losses(request->fs->pool);
	call->place = place_read;
	call->key = request->inode->fileid;
	error = nfs3_read_encode(call, &request->cred, inode_fh(request->inode),
				 request->op.read.offset + request->op.read.got,
				 request->op.read.asked);
	request_send(request, error, read_done);
}

void file_read_sent(struct request *request)
{
	send_read(request);
}

/* The kernel will have some of it in its cache. */
static void note_pages(struct request *request)
{
	struct inode *inode = request->inode;

	if (request->fs->locks && !atomic_load_explicit(&inode->was_read, memory_order_relaxed))
		atomic_store_explicit(&inode->was_read, true, memory_order_relaxed);
}

void file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	       struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino);

	if (!request)
		return;
	note_pages(request);
	if (lock_is_lost(request->inode)) {
		request_reply_err(request, -EIO);
		return;
	}
	request->cred = file_of(fi)->cred; /* a copy: the file may be closed before all is read */
	request->op.read.size = (uint32_t)size;
	request->op.read.offset = (uint64_t)offset;
	if (size == 0)
		request_reply_buf(request, NULL, 0);
	else if (!wait_for_pending(request, request->op.read.offset, request->op.read.offset + size) &&
		 !prefetch_read(request, file_of(fi)))
		send_read(request);
}

/* ---- write ------------------------------------------------------------------------------- */

static enum wback_how how_to_write(const struct fs *fs, const struct fuse_file_info *fi)
{
	if (fs->options->sync || (fi->flags & (O_SYNC | O_DSYNC)))
		return WBACK_STABLE;
	return fi->flags & O_DIRECT ? WBACK_THROUGH : WBACK_BEHIND;
}

void file_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino);
	struct file *file = file_of(fi);
	int error;

	if (!request)
		return;
	note_pages(request);
	error = lock_is_lost(request->inode) ? -EIO : wback_take_error(request->inode, file);
	if (error || size == 0) {
		request_reply_err(request, error);
		return;
	}
	wback_write(request, &file->cred, data, size, (uint64_t)offset, how_to_write(request->fs, fi));
}

/* ---- flush, fsync, release --------------------------------------------------------------- */

/* A loss is told once: it goes before "not yet", which will be told again. To somebody: whoever has
 * gone has not heard it. */
static void reply_flushed(struct request *request)
{
	struct file *file = request->op.flush.file;
	int late = request_answered(request) ? 0 : wback_take_error(request->inode, file);

	file_put(request->fs, file);
	request_reply_err(request, late ? late : request->op.flush.error);
}

/* Locks are given back when what was written under them can be seen, or cannot be saved now. */
static void unlock(struct request *request, int error)
{
	request->op.flush.error = error;
	if (!request->op.flush.is_close ||
	    !lock_flushed(request, request->op.flush.lock_owner, reply_flushed))
		reply_flushed(request);
}

static void flushed(struct wback_wait *wait, int error)
{
	unlock(container_of(wait, struct request, wait), error);
}

/* close(2) and fsync(2) alike: everything written is on stable storage, or the error is told. */
static void flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, bool is_close)
{
	struct request *request = request_new(req, ino);

	if (!request)
		return;
	request->op.flush.file = file_of(fi);
	request->op.flush.is_close = is_close;
	request->op.flush.lock_owner = fi->lock_owner;
	atomic_fetch_add(&request->op.flush.file->refs, 1);
	request->wait.done = flushed;
	request_track(request);
	if (wback_flush(request->inode, &request->wait))
		unlock(request, 0);
}

void file_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	flush(req, ino, fi, true);
}

void file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync UNUSED, struct fuse_file_info *fi)
{
	flush(req, ino, fi, false);
}

void file_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = dev_current_fs();
	struct request *request = request_new(req, ino);

	if (!request) {
		file_close(fs, file_of(fi)); /* a hidden name stays behind */
		return;
	}
	lock_released(fs, request->inode, file_of(fi));
	if (file_close(fs, file_of(fi)))
		silly_release(request, request->inode, 0);
	else
		request_reply_err(request, 0);
}
