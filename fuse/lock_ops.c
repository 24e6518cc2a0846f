/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_ops - see lock.h: the handlers. A request has what was written made stable, gives an operation to
 * the lock loop, looks for what others have changed, and replies. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>

#include "lock_parts.h"
#include "pages.h"
#include "wback.h"

static const int64_t CLOSE_NS = 5 * NS_PER_S; /* that close(2) waits for its UNLOCK, with `hard`, too */

/* ---- what a lock is for: fresh data ------------------------------------------------------ */

/* Nobody has the lock who does not know of it. */
static void reply_granted(struct request *request)
{
	struct lock_op *op = request->op.lock.op;

	lock_settle(op, request_reply_ok(request));
}

static void reply_dropped(struct loop_task *task)
{
	reply_granted(container_of(task, struct lock_op, task)->request);
}

/* That thread has no descriptor to reply on. */
static void dropped(struct pages_drop *drop)
{
	struct lock_op *op = container_of(drop, struct request, op.lock.drop)->op.lock.op;

	op->task.run = reply_dropped;
	loop_post(op->locks->loop, &op->task);
}

static void refuse_granted(struct request *request, int error)
{
	struct lock_op *op = request->op.lock.op;

	request_reply_err(request, error);
	lock_settle(op, false);
}

/* Attributes alone: no page is waited for. */
static void drop_attributes(struct request *request)
{
	fuse_lowlevel_notify_inval_inode(request->fs->session, inode_nodeid(request->inode), -1, 0);
}

static void looked(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct inode *inode = request->inode;
	struct attr attr;

	if (!error)
		error = request_decoded(request, nfs3_getattr_decode(&request->call, &attr));
	if (!error && !attr_apply(&fs->attr_policy, inode, &attr, request->stamp, fs_now_ns()))
		error = -ESTALE;
	if (error) {
		refuse_granted(request, error);
		return;
	}
	drop_attributes(request);
	if (attr_open(inode)) {
		reply_granted(request);
		return;
	}
	atomic_fetch_add(&inode->contents_seq, 1);
	request->op.lock.drop = (struct pages_drop){
		.nodeid = inode_nodeid(inode),
		.done = dropped,
	};
	error = pages_drop(fs->pages, &request->op.lock.drop);
	if (error)
		refuse_granted(request, -ENOLCK);
}

static void granted(struct request *request)
{
	int error;

	request->deadline_ns = fs_deadline_ns(request->fs, fs_now_ns());
	attr_expire(request->inode);
	if (!atomic_load_explicit(&request->inode->was_read, memory_order_relaxed)) {
		drop_attributes(request);
		reply_granted(request);
		return;
	}
	error = nfs3_getattr_encode(request_call(request), &request->cred, inode_fh(request->inode));
	request_send(request, error, looked);
}

/* ---- the operation ----------------------------------------------------------------------- */

static void set_done(struct lock_op *op, int error)
{
	struct request *request = op->request;

	if (error)
		request_reply_err(request, error);
	else if (request_answered(request))
		refuse_granted(request, -EINTR);
	else
		granted(request);
}

static void free_done(struct lock_op *op, int error)
{
	request_reply_err(op->request, error);
}

static void test_done(struct lock_op *op, int error)
{
	const struct nlm4_range *holder = &op->found.holder;
	struct flock lock = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	if (error) {
		request_reply_err(op->request, error);
		return;
	}
	if (op->found.status == NLM4_STATUS_DENIED) {
		lock.l_type = holder->exclusive ? F_WRLCK : F_RDLCK;
		lock.l_start = (off_t)min_size(holder->start, INT64_MAX);
		lock.l_len = holder->end >= INT64_MAX ? 0 : (off_t)(holder->end - holder->start + 1);
		lock.l_pid = op->found_pid;
	} else if (op->found.status != NLM4_STATUS_GRANTED) {
		request_reply_err(op->request, nlm4_errno(op->found.status));
		return;
	}
	request_reply_lock(op->request, &lock);
}

static void start(struct request *request)
{
	struct lock_op *op = request->op.lock.op;

	if (!op->wait)
		op->deadline_ns = request->deadline_ns;
	else
		request->deadline_ns = INT64_MAX; /* it may wait for ever, for whoever has the lock */
	lock_begin(op);
}

static void flushed(struct wback_wait *wait, int error)
{
	struct request *request = container_of(wait, struct request, wait);
	struct lock_op *op = request->op.lock.op;

	if (error) {
		lock_op_free(op); /* it has no owner yet */
		request_reply_err(request, error);
	} else {
		start(request);
	}
}

static void flush_and_start(struct request *request)
{
	request->wait.done = flushed;
	if (wback_flush(request->inode, &request->wait))
		start(request);
}

/* ---- handlers ---------------------------------------------------------------------------- */

static enum lock_type type_of(short type)
{
	if (type == F_WRLCK)
		return LOCK_EXCLUSIVE;
	return type == F_RDLCK ? LOCK_SHARED : LOCK_NONE;
}

/* The kernel gives offsets from the beginning, and a length of 0 for "to the end". */
static uint64_t end_of(const struct flock *lock)
{
	return lock->l_len ? (uint64_t)lock->l_start + (uint64_t)lock->l_len - 1 : UINT64_MAX;
}

/* NULL: answered. */
static struct request *begin(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
			     enum lock_kind kind)
{
	struct request *request = request_new(req, ino);
	struct file *file = file_of(fi);
	struct lock_op *op;

	if (!request)
		return NULL;
	if (kind == LOCK_FREE && !inode_has_locks(request->inode)) { /* not even what was written is waited for */
		request_reply_err(request, 0);
		return NULL;
	}
	if (!request->fs->locks || (kind != LOCK_FREE && locks_are_absent(request->fs->locks))) {
		request_reply_err(request, -ENOLCK);
		return NULL;
	}
	op = lock_op_new(request->fs, request->inode, kind);
	if (!op) {
		request_reply_err(request, -ENOMEM);
		return NULL;
	}
	request->cred = file->cred;
	request->op.lock.op = op;
	op->request = request;
	op->key = fi->lock_owner;
	op->pid = request->tid;
	op->opened = file;
	op->cred = file->cred;
	return request;
}

void lock_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock)
{
	struct request *request = begin(req, ino, fi, LOCK_TEST);
	struct lock_op *op;

	if (!request)
		return;
	op = request->op.lock.op;
	op->start = (uint64_t)lock->l_start;
	op->end = end_of(lock);
	op->type = type_of(lock->l_type);
	op->done = test_done;
	request_track(request);
	start(request);
}

static void set(struct request *request, enum lock_type type, bool wait)
{
	struct lock_op *op = request->op.lock.op;

	op->type = type;
	op->done = type == LOCK_NONE ? free_done : set_done;
	op->wait = wait && type != LOCK_NONE;
	request->any_signal = op->wait; /* fcntl(2): a wait is ended by a signal that is caught */
	request_track(request);
	flush_and_start(request);
}

void lock_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		int sleep)
{
	enum lock_type type = type_of(lock->l_type);
	struct request *request = begin(req, ino, fi, type == LOCK_NONE ? LOCK_FREE : LOCK_SET);

	if (!request)
		return;
	request->op.lock.op->start = (uint64_t)lock->l_start;
	request->op.lock.op->end = end_of(lock);
	set(request, type, sleep);
}

void lock_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int operation)
{
	enum lock_type type = LOCK_NONE;
	struct request *request;

	if (operation & LOCK_EX)
		type = LOCK_EXCLUSIVE;
	else if (operation & LOCK_SH)
		type = LOCK_SHARED;
	request = begin(req, ino, fi, type == LOCK_NONE ? LOCK_FREE : LOCK_SET);
	if (!request)
		return;
	request->op.lock.op->is_flock = true;
	set(request, type, !(operation & LOCK_NB));
}

/* ---- close(2) ---------------------------------------------------------------------------- */

static void close_done(struct lock_op *op, int error UNUSED)
{
	op->request->op.flush.unlocked(op->request);
}

bool lock_flushed(struct request *request, uint64_t owner_key, void (*done)(struct request *request))
{
	struct fs *fs = request->fs;
	struct lock_op *op;
	bool waits;

	if (!fs->locks || !inode_has_locks(request->inode))
		return false;
	op = lock_op_new(fs, request->inode, LOCK_FREE);
	if (!op)
		return false;
	op->key = owner_key;
	/* A process that ends does not wait for a server that does not answer. */
	waits = locks_server_answers(fs->locks);
	if (waits) {
		request->op.flush.unlocked = done;
		op->request = request;
		op->done = close_done;
		op->deadline_ns = min_i64(request->deadline_ns, fs_now_ns() + CLOSE_NS);
	}
	lock_begin(op);
	return waits;
}

void lock_released(struct fs *fs, struct inode *inode, const struct file *file)
{
	struct lock_op *op;

	if (!fs->locks || !inode_has_locks(inode))
		return;
	op = lock_op_new(fs, inode, LOCK_RELEASE);
	if (!op)
		return;
	op->opened = file;
	lock_begin(op);
}
