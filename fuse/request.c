/* SPDX-License-Identifier: GPL-2.0-or-later */
/* request - see request.h. Whoever sets `answered` first replies, and has copied what that takes
 * while the request could not go away: its own thread needs no lock, the interrupter holds the
 * table's shard, which request_free() needs to take the request out. */
#include "request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "../conn/mutex.h"
#include "../conn/util.h"
#include "caller.h"
#include "dev.h"
#include "log.h"
#include "request_table.h"
#include "silly.h"
#include "stats.h"
#include "wback.h"

/* ---- making and freeing ------------------------------------------------------------------ */

static bool take_answer(struct request *request)
{
	return !atomic_exchange_explicit(&request->answered, true, memory_order_acq_rel);
}

bool request_answered(const struct request *request)
{
	return atomic_load_explicit(&request->answered, memory_order_acquire);
}

static void request_free(struct request *request)
{
	struct inode_table *inodes = request->fs->inodes;

	if (request->registered)
		request_table_remove(request->fs->requests, request);
	inode_put(inodes, request->inode);
	inode_put(inodes, request->other);
	atomic_fetch_sub_explicit(&request->fs->n_requests, 1, memory_order_relaxed);
	free(request->large_head);
	free(request);
}

static void fill_cred(const struct options *options, const struct fuse_ctx *ctx, struct cred *ret_cred)
{
	*ret_cred = (struct cred){
		.none = options->sec == SEC_NONE,
		.uid = options->fixed_uid ? options->uid : ctx->uid,
		.gid = options->fixed_gid ? options->gid : ctx->gid,
	};
}

struct request *request_new(fuse_req_t req, fuse_ino_t nodeid)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct fs *fs = dev_current_fs();
	struct request *request;

	if (!fs_is_found(fs)) {
		fuse_reply_err(req, -request_errno(fs, -EHOSTDOWN));
		return NULL;
	}
	request = malloc(sizeof(*request));
	if (!request) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	memset(request, 0, offsetof(struct request, name));
	memset(&request->op, 0, sizeof(*request) - offsetof(struct request, op));
	request->fs = fs;
	atomic_fetch_add_explicit(&fs->n_requests, 1, memory_order_relaxed);
	request->req = req;
	request->unique = dev_current_unique();
	request->tid = ctx->pid;
	request->uid = ctx->uid;
	request->opcode = dev_current_opcode();
	request->dev_fd = dev_current_fd();
	fill_cred(fs->options, ctx, &request->cred);
	request->start_ns = fs_now_ns();
	request->deadline_ns = fs_deadline_ns(fs, request->start_ns);
	request->inode = inode_get(fs->inodes, nodeid);
	if (!request->inode) {
		request_reply_err(request, -ESTALE);
		return NULL;
	}
	return request;
}

bool request_pin_other(struct request *request, fuse_ino_t nodeid)
{
	request->other = inode_get(request->fs->inodes, nodeid);
	if (!request->other)
		request_reply_err(request, -ESTALE);
	return request->other != NULL;
}

void request_groups(struct request *request)
{
	const struct options *options = request->fs->options;

	/* A fixed identity has no groups of its own; root needs none and squashing drops them. */
	if (options->fixed_uid || options->fixed_gid || request->cred.uid == 0)
		return;
	caller_groups(request->tid, &request->cred, options->maxgroups);
}

static bool set_name(struct request *request, char *to, const char *name)
{
	size_t len = strlen(name);

	if (len > NFS3_NAME_MAX || len > request->fs->name_max) {
		request_reply_err(request, -ENAMETOOLONG);
		return false;
	}
	memcpy(to, name, len + 1);
	return true;
}

bool request_set_name(struct request *request, const char *name)
{
	return set_name(request, request->name, name);
}

bool request_set_new_name(struct request *request, const char *name)
{
	return set_name(request, request->new_name, name);
}

/* ---- sending ----------------------------------------------------------------------------- */

static bool is_silence(int error)
{
	return error == -EHOSTDOWN || error == -ETIMEDOUT || error == -ECONNABORTED;
}

int request_errno(const struct fs *fs, int error)
{
	if (!is_silence(error))
		return error;
	return fs->options->down == DOWN_SOFT ? -EIO : -ETIMEDOUT;
}

bool request_unanswered(const struct request *request)
{
	return is_silence(request->call.status);
}

struct call *request_call(struct request *request)
{
	call_init(&request->call);
	request->call.head = (uint8_t *)request->head;
	request->call.head_size = sizeof(request->head);
	return &request->call;
}

/* 0.1 s, doubling to 5 s. */
int64_t request_jukebox_ns(unsigned int n)
{
	return n >= 6 ? 5 * NS_PER_S : min_i64((100 * NS_PER_MS) << n, 5 * NS_PER_S);
}

static void call_done(struct call *call)
{
	struct request *request = container_of(call, struct request, call);

	if (nfs3_is_jukebox(call) && !request_answered(request)) {
		call_renew(call);
		pool_submit_after(request->fs->pool, call, request_jukebox_ns(request->n_jukebox++));
		return;
	}
	request->done(request, request_errno(request->fs, call->status));
}

/* A call that could not be encoded is done from the loop's inbox: never from within a send. */
static void fail_later(struct loop_task *task)
{
	call_done(container_of(task, struct call, hand_over));
}

void request_track(struct request *request)
{
	if (!request->registered)
		request_table_add(request->fs->requests, request);
}

void request_send_after(struct request *request, int encode_error, request_done *done,
			int64_t delay_ns)
{
	struct call *call = &request->call;

	request_track(request);
	request->done = done;
	request->n_jukebox = 0;
	request->stamp = attr_stamp();
	request->sent_ns = fs_now_ns();
	call->done = call_done;
	call->deadline_ns = request->deadline_ns;
	if (!encode_error && delay_ns) {
		pool_submit_after(request->fs->pool, call, delay_ns);
	} else if (!encode_error) {
		pool_submit(request->fs->pool, call);
	} else {
		call->status = encode_error;
		call->hand_over.run = fail_later;
		if (loop_current())
			loop_post(loop_current(), &call->hand_over);
		else
			call_done(call); /* the loops have stopped */
	}
}

void request_send(struct request *request, int encode_error, request_done *done)
{
	request_send_after(request, encode_error, done, 0);
}

void request_send_soft(struct request *request, int encode_error, request_done *done)
{
	request->call.impatient = true;
	request_send(request, encode_error, done);
}

int request_decoded(struct request *request, int result)
{
	const struct inode *root = request->fs->root;

	switch (-result) {
	case ESTALE:
		if (request->inode == root || request->other == root)
			fs_root_is_stale(request->fs);
		return result;
	case EBADMSG:
		call_bad_reply(&request->call, "results break the protocol");
		return -EIO;
	case ENFS_NOTSYNC:
	case ENFS_BADCOOKIE:
	case ENFS_TOOSMALL:
		return -EIO;
	case ENFS_JUKEBOX:
		return request_errno(request->fs, -ETIMEDOUT);
	default:
		return result;
	}
}

/* ---- replying ---------------------------------------------------------------------------- */

/* Before each fuse_reply_*(): true if this thread is to reply. With what: error is 0 or -errno, bytes are read or
 * written. One that was interrupted is counted when it ends. */
static bool begin_reply(struct request *request, int error, size_t bytes)
{
	int64_t now_ns = fs_now_ns();
	bool mine = take_answer(request);

	stats_count(request->fs->stats, &(struct stats_sample){
		.opcode = request->opcode,
		.uid = request->uid,
		.pid = request->tid,
		.took_ns = now_ns - request->start_ns,
		.now_ns = now_ns,
		.error = mine ? error : -EINTR,
		.bytes = mine ? bytes : 0,
		.asked = request->registered,
	});
	if (mine && dev_is_silent()) {
		fuse_reply_none(request->req);
		return false;
	}
	if (mine)
		dev_reply_to(request->dev_fd);
	return mine;
}

/* What a program was told because there was no answer in time; the log names who. */
static void note_deadline(const struct request *request, int error)
{
	const struct options *options = request->fs->options;
	int64_t took_ns = fs_now_ns() - request->start_ns;
	const char *name = stats_op_name(request->opcode);

	if ((error != -ETIMEDOUT && error != -EIO) || !request->registered || options->down == DOWN_HARD ||
	    took_ns < options->soft_deadline_ns)
		return;
	log_info(MSG_SOFT_TIMEOUT, "%s of process %d (user %u) gave up after %.1f s: %s", name ? name : "a call",
		 (int)request->tid, (unsigned int)request->uid, (double)took_ns / 1e9, strerrordesc_np(-error));
}

void request_reply_err(struct request *request, int error)
{
	note_deadline(request, error);
	if (begin_reply(request, error, 0))
		fuse_reply_err(request->req, -error);
	request_free(request);
}

bool request_reply_ok(struct request *request)
{
	bool taken = begin_reply(request, 0, 0) && !fuse_reply_err(request->req, 0);

	request_free(request);
	return taken;
}

void request_reply_lock(struct request *request, const struct flock *lock)
{
	if (begin_reply(request, 0, 0))
		fuse_reply_lock(request->req, lock);
	request_free(request);
}

static double seconds(int64_t ns)
{
	return ns > 0 ? (double)ns / 1e9 : 0.0;
}

/* As attr_get(), with what the server has not been told yet. In this order: what it takes in between
 * is in the attributes by then. */
static int64_t attr_with_pending(struct inode *inode, int64_t now_ns, struct attr *ret_attr)
{
	struct wback_pending pending;
	bool is_pending = wback_pending(inode, &pending);
	int64_t valid_ns = attr_get(inode, now_ns, ret_attr);

	if (valid_ns < 0 || !is_pending)
		return valid_ns;
	if (ret_attr->size < pending.end)
		ret_attr->size = pending.end;
	if (time_before(ret_attr->mtime, pending.mtime))
		ret_attr->mtime = ret_attr->ctime = pending.mtime;
	return 0;
}

static void show_attr(const struct fs *fs, struct inode *inode, const struct attr *attr,
		      struct stat *ret_st)
{
	unsigned int hidden = silly_hides(inode);

	attr_to_stat(attr, fs->wsize, ret_st);
	if (ret_st->st_nlink >= hidden)
		ret_st->st_nlink -= hidden;
	mutex_lock(&inode->lock);
	inode->told_size = attr->size;
	mutex_unlock(&inode->lock);
}

void request_reply_attr(struct request *request)
{
	struct fs *fs = request->fs;
	struct attr attr;
	struct stat st;
	int64_t valid_ns = attr_with_pending(request->inode, fs_now_ns(), &attr);

	if (valid_ns < 0) {
		request_reply_err(request, -EIO);
		return;
	}
	show_attr(fs, request->inode, &attr, &st);
	if (begin_reply(request, 0, 0))
		fuse_reply_attr(request->req, &st, seconds(valid_ns));
	request_free(request);
}

/* A name is believed as long as its directory's attributes are (nfs(5), lookupcache). */
static int64_t entry_valid_ns(const struct fs *fs, struct inode *parent, int64_t now_ns)
{
	struct attr attr;
	int64_t valid_ns;

	if (fs->options->lookupcache == LOOKUPCACHE_NONE || fs->options->perm == PERM_SERVER)
		return 0;
	valid_ns = attr_get(parent, now_ns, &attr);
	return max_i64(valid_ns, 0);
}

void request_fill_entry(struct fs *fs, struct inode *parent, struct inode *child,
			struct fuse_entry_param *ret_entry)
{
	int64_t now_ns = fs_now_ns();
	struct attr attr;
	int64_t valid_ns = attr_with_pending(child, now_ns, &attr);

	memset(ret_entry, 0, sizeof(*ret_entry));
	if (valid_ns < 0)
		return;
	ret_entry->ino = inode_nodeid(child);
	ret_entry->generation = child->generation;
	show_attr(fs, child, &attr, &ret_entry->attr);
	ret_entry->attr_timeout = seconds(valid_ns);
	ret_entry->entry_timeout = seconds(entry_valid_ns(fs, parent, now_ns));
}

/* The lookup is counted before the kernel can know of it, and undone if it never learns. */
static bool offer_entry(struct request *request, struct inode *child,
			struct fuse_entry_param *ret_entry)
{
	request_fill_entry(request->fs, request->inode, child, ret_entry);
	if (!ret_entry->ino) {
		if (begin_reply(request, -EIO, 0))
			fuse_reply_err(request->req, EIO);
		return false;
	}
	inode_lookup_add(child);
	if (begin_reply(request, 0, 0))
		return true;
	inode_forget(request->fs->inodes, inode_nodeid(child), 1);
	return false;
}

void request_reply_entry(struct request *request, struct inode *child)
{
	struct fuse_entry_param entry;

	if (offer_entry(request, child, &entry) && fuse_reply_entry(request->req, &entry))
		inode_forget(request->fs->inodes, inode_nodeid(child), 1);
	inode_put(request->fs->inodes, child);
	request_free(request);
}

bool request_reply_create(struct request *request, struct inode *child,
			  const struct fuse_file_info *fi)
{
	struct fuse_entry_param entry;
	bool taken = false;

	if (offer_entry(request, child, &entry)) {
		taken = !fuse_reply_create(request->req, &entry, fi);
		if (!taken)
			inode_forget(request->fs->inodes, inode_nodeid(child), 1);
	}
	inode_put(request->fs->inodes, child);
	request_free(request);
	return taken;
}

bool request_reply_open(struct request *request, const struct fuse_file_info *fi)
{
	bool taken = begin_reply(request, 0, 0) && !fuse_reply_open(request->req, fi);

	request_free(request);
	return taken;
}

void request_reply_buf(struct request *request, const void *data, size_t size)
{
	if (begin_reply(request, 0, size))
		fuse_reply_buf(request->req, data, size);
	request_free(request);
}

bool request_reply_dirents(struct request *request, const void *data, size_t size)
{
	bool taken = begin_reply(request, 0, 0) && !fuse_reply_buf(request->req, data, size);

	request_free(request);
	return taken;
}

void request_reply_write(struct request *request, size_t count)
{
	if (begin_reply(request, 0, count))
		fuse_reply_write(request->req, count);
	request_free(request);
}

void request_reply_statfs(struct request *request, const struct statvfs *st)
{
	if (begin_reply(request, 0, 0))
		fuse_reply_statfs(request->req, st);
	request_free(request);
}

void request_reply_readlink(struct request *request, const char *target, uint32_t len)
{
	char text[NFS3_PATH_MAX + 1];

	memcpy(text, target, len);
	text[len] = '\0';
	if (begin_reply(request, 0, 0))
		fuse_reply_readlink(request->req, text);
	request_free(request);
}
