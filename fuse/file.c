/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file - struct file, and write, flush, fsync, release. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "../conn/util.h"
#include "dev.h"
#include "lock.h"
#include "ops.h"
#include "silly.h"
#include "wback.h"

/* ---- struct file ------------------------------------------------------------------------- */

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
	inode->n_open_write += file_writes(flags);
	if (file_writes(flags))
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
	inode->n_open_write -= file_writes(file->flags);
	LIST_REMOVE(file, link);
	last = --inode->n_open == 0;
	mutex_unlock(&inode->lock);
	atomic_fetch_sub(&fs->n_open_files, 1);
	if (last)
		wback_commit(inode);
	file_put(fs, file);
	return last;
}

void file_note_pages(struct request *request)
{
	struct inode *inode = request->inode;

	if (request->fs->locks && !atomic_load_explicit(&inode->was_read, memory_order_relaxed))
		atomic_store_explicit(&inode->was_read, true, memory_order_relaxed);
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

/* ---- write ------------------------------------------------------------------------------- */

static enum wback_how how_to_write(const struct fs *fs, const struct fuse_file_info *fi)
{
	if (fs->options->sync || (fi->flags & (O_SYNC | O_DSYNC)))
		return WBACK_STABLE;
	return fi->flags & O_DIRECT ? WBACK_THROUGH : WBACK_BEHIND;
}

/* As the kernel does with the limit of a local file system: what is behind it is refused, not found to
 * be lost later. */
static int fit_into_file(const struct fs *fs, uint64_t offset, size_t *size)
{
	if (*size > 0 && offset >= fs->maxfilesize)
		return -EFBIG;
	if (*size > 0 && *size > fs->maxfilesize - offset)
		*size = (size_t)(fs->maxfilesize - offset);
	return 0;
}

void file_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino);
	struct file *file = file_of(fi);
	int error;

	if (!request)
		return;
	file_note_pages(request);
	error = lock_is_lost(request->inode) ? -EIO : wback_take_error(request->inode, file);
	if (!error)
		error = fit_into_file(request->fs, (uint64_t)offset, &size);
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

/* close(2) of a file that could not be written is only asked about for the locks it gives back (file_open.c): what others
 * write is nothing to wait for. */
static bool has_nothing_to_flush(const struct inode *inode, const struct file *file)
{
	return !file_writes(file->flags) && !inode_has_locks(inode);
}

/* close(2) and fsync(2) alike: everything written is on stable storage, or the error is told. */
static void flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, bool is_close)
{
	struct request *request = request_new(req, ino);

	if (!request)
		return;
	if (is_close && has_nothing_to_flush(request->inode, file_of(fi))) {
		request_reply_err(request, 0);
		return;
	}
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
