/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback - see wback.h. Everything that happens to an inode's ranges ends in advance(), which looks
 * under the lock at what may be done now, and does it without. A call that cannot even be submitted
 * comes back through the loop's inbox like any other, so nothing here recurses. */
#include "wback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "log.h"
#include "range.h"

enum {
	REWRITES_MAX = 3,  /* UNSTABLE passes after the first, then FILE_SYNC */
	RANGES_MAX = 1024, /* unstable ones of an inode before they are committed unasked */
};
static const int64_t RETRY_NS = 2 * NS_PER_S;

TAILQ_HEAD(wait_list, wback_wait);
STAILQ_HEAD(send_list, range);

struct wback {
	struct fs *fs;
	struct inode *inode;        /* pinned while holds_inode */
	struct wback_holder holder; /* the pool's */
	struct mutex lock;          /* guards what follows, ranges and their buffers */
	uint64_t next_seq;
	struct range_list waiting, writing, unstable, committing;
	unsigned int n_unstable;
	struct wait_list waits;     /* by seq */
	bool commit_in_flight;
	uint64_t wanted_seq;        /* ranges before it are to be committed unasked; 0: none */
	bool holds_inode;
	struct cred cred;           /* of the last writer: COMMIT is sent as him */
	int error;                  /* errno of the last late failure */
	uint32_t error_seq;
};

/* A WRITE or COMMIT call in flight. */
struct wcall {
	struct call call;
	struct wback *wback;
	struct range *range;        /* WRITE */
	uint32_t asked;
	uint64_t stamp;
	unsigned int n_jukebox;
	uint32_t head[CALL_HEAD_SMALL / 4];
};

static void advance(struct wback *wback);

/* ---- the wback of an inode --------------------------------------------------------------- */

static struct wback *wback_of(struct inode *inode)
{
	struct wback *wback;

	mutex_lock(&inode->lock);
	wback = inode->wback;
	mutex_unlock(&inode->lock);
	return wback;
}

static struct wback *wback_new(struct fs *fs, struct inode *inode)
{
	struct wback *wback = calloc(1, sizeof(*wback));

	if (!wback)
		return NULL;
	wback->fs = fs;
	wback->inode = inode;
	mutex_init(&wback->lock);
	TAILQ_INIT(&wback->waiting);
	TAILQ_INIT(&wback->writing);
	TAILQ_INIT(&wback->unstable);
	TAILQ_INIT(&wback->committing);
	TAILQ_INIT(&wback->waits);
	return wback;
}

/* The inode's wback, made at its first write. */
static struct wback *wback_get(struct fs *fs, struct inode *inode)
{
	struct wback *wback = wback_of(inode), *fresh;

	if (wback)
		return wback;
	fresh = wback_new(fs, inode);
	if (!fresh)
		return NULL;
	mutex_lock(&inode->lock);
	wback = inode->wback;
	if (!wback)
		inode->wback = fresh;
	mutex_unlock(&inode->lock);
	if (!wback)
		return fresh;
	mutex_deinit(&fresh->lock);
	free(fresh);
	return wback;
}

struct inode *wback_holder_inode(struct wback_holder *holder)
{
	return container_of(holder, struct wback, holder)->inode;
}

static uint64_t free_ranges(struct range_list *list)
{
	struct range *range;
	uint64_t charge = 0;

	while ((range = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, range, link);
		charge += range_free(range);
	}
	return charge;
}

void wback_free(struct inode *inode)
{
	struct wback *wback = inode->wback;

	if (!wback)
		return;
	inode->wback = NULL;
	/* Empty but when the whole table is freed. */
	free_ranges(&wback->waiting);
	free_ranges(&wback->writing);
	free_ranges(&wback->unstable);
	free_ranges(&wback->committing);
	mutex_deinit(&wback->lock);
	free(wback);
}

static bool is_empty(const struct wback *wback) REQUIRES(wback->lock)
{
	return TAILQ_EMPTY(&wback->waiting) && TAILQ_EMPTY(&wback->writing) &&
	       TAILQ_EMPTY(&wback->unstable) && TAILQ_EMPTY(&wback->committing);
}

static bool is_stable_before(const struct wback *wback, uint64_t seq) REQUIRES(wback->lock)
{
	return !range_any_before(&wback->waiting, seq) &&
	       !range_any_before(&wback->writing, seq) &&
	       !range_any_before(&wback->unstable, seq) &&
	       !range_any_before(&wback->committing, seq);
}

/* ---- late errors ------------------------------------------------------------------------- */

static void lose(struct wback *wback, int error, const char *what)
{
	mutex_lock(&wback->lock);
	wback->error = -error;
	wback->error_seq++;
	mutex_unlock(&wback->lock);
	log_error(MSG_WRITE_LOST, "data of file %llu is lost: %s: %s",
		  (unsigned long long)wback->inode->fileid, what, strerrordesc_np(-error));
}

uint32_t wback_error_seq(struct inode *inode)
{
	struct wback *wback = wback_of(inode);
	uint32_t seq;

	if (!wback)
		return 0;
	mutex_lock(&wback->lock);
	seq = wback->error_seq;
	mutex_unlock(&wback->lock);
	return seq;
}

int wback_take_error(struct inode *inode, struct file *file)
{
	struct wback *wback = wback_of(inode);
	int error = 0;

	if (!wback)
		return 0;
	mutex_lock(&wback->lock);
	if (file->error_seen != wback->error_seq)
		error = -wback->error;
	file->error_seen = wback->error_seq;
	mutex_unlock(&wback->lock);
	return error;
}

/* ---- calls ------------------------------------------------------------------------------- */

static struct wcall *wcall_new(struct wback *wback, void (*done)(struct call *call))
{
	struct wcall *wcall = malloc(sizeof(*wcall));

	if (!wcall)
		return NULL;
	call_init(&wcall->call);
	wcall->call.done = done;
	wcall->call.head = (uint8_t *)wcall->head;
	wcall->call.head_size = sizeof(wcall->head);
	wcall->wback = wback;
	wcall->range = NULL;
	wcall->n_jukebox = 0;
	return wcall;
}

static void submit(struct wcall *wcall)
{
	wcall->stamp = attr_stamp();
	pool_submit(wcall->wback->fs->pool, &wcall->call);
}

/* The same again with a new xid, later. False when the pool is closing. */
static bool submit_after(struct wcall *wcall, int64_t delay_ns)
{
	struct fs *fs = wcall->wback->fs;

	if (wcall->call.status == -ECONNABORTED)
		return false;
	call_renew(&wcall->call);
	wcall->stamp = attr_stamp();
	if (wcall->call.deadline_ns != INT64_MAX && delay_ns >= RETRY_NS)
		wcall->call.deadline_ns = fs_deadline_ns(fs, fs_now_ns()) + delay_ns;
	pool_submit_after(fs->pool, &wcall->call, delay_ns);
	return true;
}

static bool again(struct wcall *wcall)
{
	return nfs3_is_jukebox(&wcall->call) &&
	       submit_after(wcall, request_jukebox_ns(wcall->n_jukebox++));
}

/* Nobody said no: the data may still be saved. */
static bool is_unanswered(const struct call *call)
{
	return call->status || nfs3_is_jukebox(call);
}

static int take_result(struct wcall *wcall, int error)
{
	if (error == -EBADMSG) {
		call_bad_reply(&wcall->call, "results break the protocol");
		return -EIO;
	}
	return error == -ENFS_JUKEBOX ? request_errno(wcall->wback->fs, -ETIMEDOUT) : error;
}

/* ---- WRITE ------------------------------------------------------------------------------- */

static void throttle_done(struct wback_wait *wait, int error UNUSED)
{
	struct request *request = container_of(wait, struct request, wait);

	request_reply_write(request, request->op.write.size);
}

static void answer(struct wback *wback, struct request *request, int error)
{
	struct wback_pool *pool = wback->fs->wback;

	if (!request)
		return;
	if (error) {
		request_reply_err(request, error);
	} else if (wback_pool_is_over(pool) && !request_answered(request)) {
		request->wait.done = throttle_done;
		wback_pool_throttle(pool, &request->wait);
	} else {
		request_reply_write(request, request->op.write.size);
	}
}

/* The server has taken all of it: what it replaces is forgotten. */
static uint64_t settle(struct wback *wback, struct range *range) REQUIRES(wback->lock)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	unsigned int n = 0;
	const struct range *left;

	range_replace(&wback->waiting, range, &freed);
	range_replace(&wback->unstable, range, &freed);
	range_replace(&wback->committing, range, &freed);
	if (range->unstable)
		TAILQ_INSERT_TAIL(&wback->unstable, range, link);
	else
		TAILQ_INSERT_TAIL(&freed, range, link);
	TAILQ_FOREACH(left, &wback->unstable, link)
		if (++n > RANGES_MAX)
			break;
	wback->n_unstable = n;
	return free_ranges(&freed);
}

static void write_finished(struct wback *wback, struct range *range, int error)
{
	struct inode *inode = inode_ref(wback->inode);
	struct request *request = range->request;
	struct fs *fs = wback->fs;
	uint64_t charge;

	range->request = NULL;
	mutex_lock(&wback->lock);
	TAILQ_REMOVE(&wback->writing, range, link);
	charge = error ? range_free(range) : settle(wback, range);
	mutex_unlock(&wback->lock);
	wback_pool_charge(fs->wback, -(int64_t)charge);
	if (error && !request)
		lose(wback, error, "the server refused it when it was sent again");
	answer(wback, request, error);
	advance(wback);
	inode_put(fs->inodes, inode);
}

/* DATA_SYNC is as good as FILE_SYNC here: the data can be read back (RFC 1813 3.3.7). */
static void note_verf(struct range *range, const struct nfs3_write *result)
{
	if (result->committed != NFS3_UNSTABLE)
		return;
	if (range->has_verf && range->verf != result->verf)
		range->mixed_verf = true;
	range->unstable = true;
	range->has_verf = true;
	range->verf = result->verf;
}

static int decode_write(struct wcall *wcall, struct nfs3_write *ret_result)
{
	struct range *range = wcall->range;
	int error = request_errno(wcall->wback->fs, wcall->call.status);

	if (!error)
		error = nfs3_write_decode(&wcall->call, wcall->asked, ret_result);
	if (!error && range->stable == NFS3_FILE_SYNC && ret_result->committed == NFS3_UNSTABLE)
		error = -EBADMSG; /* never less than asked */
	return wcall->call.status ? error : take_result(wcall, error);
}

static void send_range(struct wback *wback, struct range *range);

static void write_done(struct call *call)
{
	struct wcall *wcall = container_of(call, struct wcall, call);
	struct wback *wback = wcall->wback;
	struct range *range = wcall->range;
	struct nfs3_write result;
	int error;

	if (again(wcall))
		return;
	error = decode_write(wcall, &result);
	if (error && is_unanswered(call) && !range->request && submit_after(wcall, RETRY_NS))
		return;
	if (error)
		attr_expire(wback->inode);
	else
		attr_apply_own(&wback->fs->attr_policy, wback->inode, &result.wcc, wcall->stamp,
			       fs_now_ns());
	attr_change_end(wback->inode);
	free(wcall);
	if (!error) {
		note_verf(range, &result);
		range->done += result.count;
	}
	if (!error && range->done < range->len)
		send_range(wback, range);
	else
		write_finished(wback, range, error);
}

/* The range is in `writing`. Sends its rest, at most wsize bytes. */
static void send_range(struct wback *wback, struct range *range)
{
	struct fs *fs = wback->fs;
	struct wcall *wcall = wcall_new(wback, write_done);
	int error = wcall ? 0 : -ENOMEM;

	if (!error) {
		wcall->range = range;
		wcall->asked = (uint32_t)min_size(range->len - range->done, fs->wsize);
		error = nfs3_write_encode(&wcall->call, &range->cred, &wback->inode->fh,
					  range->offset + range->done, range->data + range->done,
					  wcall->asked, range->stable);
	}
	if (error) {
		free(wcall);
		write_finished(wback, range, error);
		return;
	}
	wcall->call.deadline_ns = range->request ? range->request->deadline_ns :
						   fs_deadline_ns(fs, fs_now_ns());
	attr_change_begin(wback->inode);
	submit(wcall);
}

/* ---- COMMIT ------------------------------------------------------------------------------ */

static void rewrite(struct wback *wback, struct range *range) REQUIRES(wback->lock)
{
	if (++range->n_rewrites > REWRITES_MAX)
		range->stable = NFS3_FILE_SYNC;
	range->done = 0;
	range->unstable = range->has_verf = range->mixed_verf = false;
	TAILQ_INSERT_TAIL(&wback->waiting, range, link);
}

/* What the COMMIT covered is stable now, or has to be written again. Returns how many of the latter. */
static unsigned int sort_committed(struct wback *wback, uint64_t verf, struct range_list *stable)
	REQUIRES(wback->lock)
{
	unsigned int n_rewritten = 0;
	struct range *range;

	while ((range = TAILQ_FIRST(&wback->committing))) {
		TAILQ_REMOVE(&wback->committing, range, link);
		if (range->verf == verf && !range->mixed_verf) {
			TAILQ_INSERT_TAIL(stable, range, link);
		} else {
			rewrite(wback, range);
			n_rewritten++;
		}
	}
	return n_rewritten;
}

static void wake(struct wait_list *waits, int error)
{
	struct wback_wait *wait;

	while ((wait = TAILQ_FIRST(waits))) {
		TAILQ_REMOVE(waits, wait, link);
		wait->done(wait, error);
	}
}

/* The server has answered: error is his. */
static void commit_finished(struct wback *wback, int error, uint64_t verf)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	struct wait_list failed = TAILQ_HEAD_INITIALIZER(failed);
	struct inode *inode = inode_ref(wback->inode);
	struct fs *fs = wback->fs;
	unsigned int n_rewritten = 0;
	uint64_t charge;

	if (error)
		lose(wback, error, "COMMIT failed");
	mutex_lock(&wback->lock);
	wback->commit_in_flight = false;
	if (error) {
		TAILQ_CONCAT(&freed, &wback->committing, link);
		TAILQ_CONCAT(&failed, &wback->waits, link);
	} else {
		n_rewritten = sort_committed(wback, verf, &freed);
	}
	if (n_rewritten)
		wback->wanted_seq = wback->next_seq;
	charge = free_ranges(&freed);
	mutex_unlock(&wback->lock);
	wback_pool_charge(fs->wback, -(int64_t)charge);
	if (n_rewritten)
		log_info(MSG_VERF_CHANGED, "the server restarted: writing %u ranges of file %llu again",
			 n_rewritten, (unsigned long long)inode->fileid);
	wake(&failed, error);
	advance(wback);
	wback_pool_relieve(fs->wback);
	inode_put(fs->inodes, inode);
}

/* No answer. The data stays, and the COMMIT is tried again later; nobody has to wait for that. */
static void commit_unanswered(struct wcall *wcall, int error)
{
	struct wait_list failed = TAILQ_HEAD_INITIALIZER(failed);
	struct wback *wback = wcall->wback;
	struct wback_pool *pool = wback->fs->wback;

	mutex_lock(&wback->lock);
	TAILQ_CONCAT(&failed, &wback->waits, link);
	mutex_unlock(&wback->lock);
	wake(&failed, error);
	wback_pool_release(pool, true);
	if (submit_after(wcall, RETRY_NS))
		return;
	free(wcall);
	commit_finished(wback, error, 0);
}

static void commit_done(struct call *call)
{
	struct wcall *wcall = container_of(call, struct wcall, call);
	struct wback *wback = wcall->wback;
	struct nfs3_commit result = { 0 };
	int error;

	if (again(wcall))
		return;
	if (is_unanswered(call)) {
		commit_unanswered(wcall, request_errno(wback->fs, call->status ? call->status :
										 -ETIMEDOUT));
		return;
	}
	error = take_result(wcall, nfs3_commit_decode(call, &result));
	if (!error)
		attr_apply_own(&wback->fs->attr_policy, wback->inode, &result.wcc, wcall->stamp,
			       fs_now_ns());
	free(wcall);
	commit_finished(wback, error, result.verf);
}

static void send_commit(struct wback *wback)
{
	struct fs *fs = wback->fs;
	struct wcall *wcall = wcall_new(wback, commit_done);
	struct cred cred;
	int error = wcall ? 0 : -ENOMEM;

	mutex_lock(&wback->lock);
	cred = wback->cred;
	mutex_unlock(&wback->lock);
	if (!error)
		error = nfs3_commit_encode(&wcall->call, &cred, &wback->inode->fh, 0, 0);
	if (error) {
		free(wcall);
		commit_finished(wback, error, 0);
		return;
	}
	wcall->call.deadline_ns = fs_deadline_ns(fs, fs_now_ns());
	submit(wcall);
}

/* ---- deciding ---------------------------------------------------------------------------- */

/* What advance() found to do. */
struct todo {
	struct send_list send;
	struct wait_list wake;
	bool commit;
	bool release; /* the inode need not be pinned any longer */
};

static void take_sendable(struct wback *wback, struct todo *todo) REQUIRES(wback->lock)
{
	struct range *range, *next;

	for (range = TAILQ_FIRST(&wback->waiting); range; range = next) {
		next = TAILQ_NEXT(range, link);
		if (range_overlaps_any(&wback->writing, range, false) ||
		    range_overlaps_any(&wback->waiting, range, true))
			continue;
		TAILQ_REMOVE(&wback->waiting, range, link);
		TAILQ_INSERT_TAIL(&wback->writing, range, link);
		STAILQ_INSERT_TAIL(&todo->send, range, send_link);
	}
}

static void take_waits(struct wback *wback, struct todo *todo) REQUIRES(wback->lock)
{
	struct wback_wait *wait;

	while ((wait = TAILQ_FIRST(&wback->waits)) && is_stable_before(wback, wait->seq)) {
		TAILQ_REMOVE(&wback->waits, wait, link);
		TAILQ_INSERT_TAIL(&todo->wake, wait, link);
	}
}

/* Now? For whom it is done, only once all he wrote has been taken by the server. */
static bool should_commit(const struct wback *wback) REQUIRES(wback->lock)
{
	const struct wback_wait *wait = TAILQ_FIRST(&wback->waits);
	uint64_t seq = wait ? wait->seq : wback->wanted_seq;

	if (wback->commit_in_flight || TAILQ_EMPTY(&wback->unstable))
		return false;
	if (range_any_before(&wback->unstable, seq))
		return !range_any_before(&wback->waiting, seq) &&
		       !range_any_before(&wback->writing, seq);
	return wback->n_unstable > RANGES_MAX || wback_pool_is_over(wback->fs->wback);
}

static void look(struct wback *wback, struct todo *todo) REQUIRES(wback->lock)
{
	take_sendable(wback, todo);
	take_waits(wback, todo);
	todo->commit = should_commit(wback);
	if (todo->commit) {
		wback->commit_in_flight = true;
		wback->n_unstable = 0;
		TAILQ_CONCAT(&wback->committing, &wback->unstable, link);
	}
	todo->release = wback->holds_inode && is_empty(wback);
	if (todo->release)
		wback->holds_inode = false;
}

/* On entry the caller keeps the inode; from the unlock on, what is on the lists does. */
static void advance(struct wback *wback)
{
	struct todo todo = {
		.send = STAILQ_HEAD_INITIALIZER(todo.send),
		.wake = TAILQ_HEAD_INITIALIZER(todo.wake),
	};
	struct fs *fs = wback->fs;
	struct inode *inode = wback->inode;
	struct range *range;

	mutex_lock(&wback->lock);
	look(wback, &todo);
	mutex_unlock(&wback->lock);
	while ((range = STAILQ_FIRST(&todo.send))) {
		STAILQ_REMOVE_HEAD(&todo.send, send_link);
		send_range(wback, range);
	}
	if (todo.commit)
		send_commit(wback);
	if (todo.release)
		wback_pool_leave(fs->wback, &wback->holder);
	wake(&todo.wake, 0);
	wback_pool_release(fs->wback, false);
	if (todo.release)
		inode_put(fs->inodes, inode); /* and with it perhaps the wback */
}

/* ---- what handlers call ------------------------------------------------------------------ */

static void add_range(struct wback *wback, struct range *range)
{
	struct fs *fs = wback->fs;
	struct inode *inode = inode_ref(wback->inode);
	bool pin;

	mutex_lock(&wback->lock);
	range->seq = wback->next_seq++;
	wback->cred = range->cred;
	TAILQ_INSERT_TAIL(&wback->waiting, range, link);
	pin = !wback->holds_inode;
	wback->holds_inode = true;
	mutex_unlock(&wback->lock);
	if (pin) {
		inode_ref(inode);
		wback_pool_join(fs->wback, &wback->holder);
	}
	advance(wback);
	inode_put(fs->inodes, inode);
}

void wback_write(struct request *request, const struct cred *cred, const char *data, size_t size,
		 uint64_t offset, bool stable)
{
	struct fs *fs = request->fs;
	struct wback *wback = wback_get(fs, request->inode);
	struct range *range = wback ? range_new(fs, data, size, offset) : NULL;

	if (!range) {
		request_reply_err(request, -ENOMEM);
		return;
	}
	range->cred = *cred;
	range->stable = stable ? NFS3_FILE_SYNC : NFS3_UNSTABLE;
	range->request = request;
	wback_pool_charge(fs->wback, (int64_t)range->buffer->charge);
	request->op.write.size = size;
	request_track(request);
	add_range(wback, range);
}

bool wback_flush(struct inode *inode, struct wback_wait *wait)
{
	struct wback *wback = wback_of(inode);
	struct fs *fs;
	bool stable;

	if (!wback)
		return true;
	fs = wback->fs;
	inode_ref(inode); /* the waiter, and his hold on it, may be gone before advance() returns */
	mutex_lock(&wback->lock);
	wait->seq = wback->next_seq;
	stable = is_stable_before(wback, wait->seq);
	if (!stable)
		TAILQ_INSERT_TAIL(&wback->waits, wait, link);
	mutex_unlock(&wback->lock);
	if (!stable)
		advance(wback);
	inode_put(fs->inodes, inode);
	return stable;
}

bool wback_commit(struct inode *inode)
{
	struct wback *wback = wback_of(inode);
	struct fs *fs;
	bool held, idle;

	if (!wback)
		return false;
	fs = wback->fs;
	inode_ref(inode);
	mutex_lock(&wback->lock);
	held = !is_empty(wback);
	idle = !wback->commit_in_flight && !TAILQ_EMPTY(&wback->unstable);
	if (held)
		wback->wanted_seq = wback->next_seq;
	mutex_unlock(&wback->lock);
	if (held)
		advance(wback);
	inode_put(fs->inodes, inode);
	return idle;
}
