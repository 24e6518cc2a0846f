/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_call - WRITE and COMMIT on the wire: encoded, sent, sent again when the server is not ready,
 * decoded; see wback_inode.h. What their outcome means for the data is wback.c's. */
#include <errno.h>
#include <stdlib.h>

#include "udp.h"
#include "wback_inode.h"

/* At least so long for an attempt to save held data whose time is nearly over. */
static const int64_t LAST_ATTEMPT_NS = 1 * NS_PER_S;

/* A call in flight. */
struct wcall {
	struct call call;
	struct wback *wback;
	struct range *range;  /* WRITE */
	uint32_t asked;
	uint64_t stamp;
	int64_t start_ns;     /* of the attempt, or when the server last said "later" */
	unsigned int n_jukebox;
	uint32_t head[CALL_HEAD_SMALL / 4];
};

static struct wcall *wcall_new(struct wback *wback, void (*done)(struct call *call))
{
	struct wcall *wcall = malloc(sizeof(*wcall));

	if (!wcall)
		return NULL;
	call_init(&wcall->call);
	wcall->call.done = done;
	wcall->call.head = (uint8_t *)wcall->head;
	wcall->call.head_size = sizeof(wcall->head);
	wcall->call.key = wback->inode->fileid;
	wcall->call.sticky = true;
	wcall->wback = wback;
	wcall->range = NULL;
	wcall->start_ns = fs_now_ns();
	wcall->n_jukebox = 0;
	return wcall;
}

/* Of a call that no request waits for. */
static int64_t own_deadline_ns(struct wback *wback)
{
	int64_t now_ns = fs_now_ns(), hold_ns = wback_hold_ns(wback->fs);
	int64_t deadline_ns = fs_deadline_ns(wback->fs, now_ns), since_ns;

	mutex_lock(&wback->lock);
	since_ns = wback->lists.trouble_since_ns;
	mutex_unlock(&wback->lock);
	if (since_ns && hold_ns != INT64_MAX)
		deadline_ns = min_i64(deadline_ns, max_i64(since_ns + hold_ns, now_ns + LAST_ATTEMPT_NS));
	return deadline_ns;
}

static void submit(struct wcall *wcall)
{
	wcall->stamp = attr_stamp();
	pool_submit(wcall->wback->fs->pool, &wcall->call);
}

/* "Try later": the same with a new xid. */
static bool again(struct wcall *wcall)
{
	struct call *call = &wcall->call;

	if (!nfs3_is_jukebox(call))
		return false;
	call_renew(call);
	wcall->stamp = attr_stamp();
	wcall->start_ns = fs_now_ns();
	pool_submit_after(wcall->wback->fs->pool, call, request_jukebox_ns(wcall->n_jukebox++));
	return true;
}

static struct wback_outcome outcome_of(struct wcall *wcall, int error)
{
	int status = wcall->call.status;
	struct wback_outcome outcome = {
		.error = status ? request_errno(wcall->wback->fs, status) : error,
		.unanswered = status != 0,
		.down = status == -EHOSTDOWN,
		.start_ns = wcall->start_ns,
	};

	if (!status && error == -EBADMSG) {
		call_bad_reply(&wcall->call, "results break the protocol");
		outcome.error = -EIO;
		outcome.unanswered = true;
	}
	return outcome;
}

/* Without memory for a call, the data waits for another attempt. */
static struct wback_outcome no_memory(void)
{
	return (struct wback_outcome){
		.error = -ENOMEM, .unanswered = true, .start_ns = fs_now_ns()
	};
}

/* ---- WRITE ------------------------------------------------------------------------------- */

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
	int error = wcall->call.status;

	if (!error)
		error = nfs3_write_decode(&wcall->call, wcall->asked, ret_result);
	if (!error && wcall->range->stable == NFS3_FILE_SYNC &&
	    ret_result->committed == NFS3_UNSTABLE)
		error = -EBADMSG; /* never less than asked */
	return error;
}

static void note_attr(struct wcall *wcall, int error, const struct nfs3_write *result)
{
	struct wback *wback = wcall->wback;

	if (error)
		attr_expire(wback->inode);
	else
		attr_apply_own(&wback->fs->attr_policy, wback->inode, &result->wcc, wcall->stamp,
			       fs_now_ns());
	attr_change_end(wback->inode);
}

/* Before the range can be written by anybody else. */
static void note_stale_copy(struct wcall *wcall)
{
	uint64_t start = wcall->range->offset + wcall->range->done;

	if (wback_is_stale_possible(&wcall->call))
		wback_isolate(wcall->wback, start, start + wcall->asked);
}

static void write_done(struct call *call)
{
	struct wcall *wcall = container_of(call, struct wcall, call);
	struct wback *wback = wcall->wback;
	struct range *range = wcall->range;
	struct wback_outcome outcome;
	struct nfs3_write result;
	int error;

	note_stale_copy(wcall);
	if (again(wcall))
		return;
	error = decode_write(wcall, &result);
	note_attr(wcall, error, &result);
	outcome = outcome_of(wcall, error);
	free(wcall);
	if (!error) {
		note_verf(range, &result);
		range->done += result.count;
	}
	if (!error && range->done < range->len)
		wback_send_write(wback, range);
	else
		wback_written(wback, range, &outcome);
}

static int encode_write(struct wcall *wcall, struct range *range)
{
	struct wback *wback = wcall->wback;
	uint32_t wsize = wback->fs->wsize;
	int error;

	wcall->range = range;
	wcall->asked = (uint32_t)min_size(range->len - range->done, wsize);
	error = nfs3_write_encode(&wcall->call, &range->cred, inode_fh(wback->inode),
				  range->offset + range->done, range->data + range->done,
				  wcall->asked, range->stable);
	udp_transfer(wback->fs, &wcall->call, wcall->asked, wsize);
	return error;
}

void wback_send_write(struct wback *wback, struct range *range)
{
	struct wcall *wcall = wcall_new(wback, write_done);
	struct wback_outcome failed = no_memory();

	if (!wcall || encode_write(wcall, range)) {
		free(wcall);
		wback_written(wback, range, &failed);
		return;
	}
	wcall->call.deadline_ns = range_is_ours(range) ? own_deadline_ns(wback) :
							 range->request->deadline_ns;
	if (!range->done)
		range->losses = pool_n_losses(wback->fs->pool);
	attr_change_begin(wback->inode);
	submit(wcall);
}

/* ---- COMMIT ------------------------------------------------------------------------------ */

static void commit_done(struct call *call)
{
	struct wcall *wcall = container_of(call, struct wcall, call);
	struct wback *wback = wcall->wback;
	struct nfs3_commit result = { 0 };
	struct wback_outcome outcome;
	int error;

	if (again(wcall))
		return;
	error = call->status ? call->status : nfs3_commit_decode(call, &result);
	if (!error)
		attr_apply_own(&wback->fs->attr_policy, wback->inode, &result.wcc, wcall->stamp,
			       fs_now_ns());
	outcome = outcome_of(wcall, error);
	free(wcall);
	wback_committed(wback, &outcome, result.verf);
}

void wback_send_commit(struct wback *wback)
{
	struct wcall *wcall = wcall_new(wback, commit_done);
	struct wback_outcome failed = no_memory();
	struct cred cred;

	mutex_lock(&wback->lock);
	cred = wback->cred;
	mutex_unlock(&wback->lock);
	if (!wcall || nfs3_commit_encode(&wcall->call, &cred, inode_fh(wback->inode), 0, 0)) {
		free(wcall);
		wback_committed(wback, &failed, 0);
		return;
	}
	wcall->call.deadline_ns = own_deadline_ns(wback);
	submit(wcall);
}
