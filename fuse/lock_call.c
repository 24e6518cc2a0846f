/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_call - see lock_parts.h: the calls of an owner, one after the other, and what their answers
 * mean. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lock_parts.h"
#include "log.h"

static const int64_t ACCEPT_NS = 500 * NS_PER_MS;

struct lock_op *lock_op_new(struct fs *fs, struct inode *inode, enum lock_kind kind)
{
	struct lock_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->kind = kind;
	op->locks = fs->locks;
	op->inode = inode_ref(inode);
	op->end = UINT64_MAX;
	op->deadline_ns = INT64_MAX;
	lock_ranges_init(&op->before);
	return op;
}

struct lock_op *lock_op_own(struct lock_owner *owner, enum lock_kind kind, uint64_t start, uint64_t end,
			    enum lock_type type)
{
	struct lock_op *op = lock_op_new(owner->file->locks->fs, owner->file->inode, kind);

	if (!op) {
		log_warn(MSG_NO_MEMORY, "out of memory: a lock may stay on the server, or be gone from it");
		return NULL;
	}
	op->start = start;
	op->end = end;
	op->type = type;
	op->key = owner->key;
	op->cred = owner->cred;
	op->owner = owner;
	owner->n_ops++;
	return op;
}

void lock_op_free(struct lock_op *op)
{
	struct locks *locks = op->locks;
	struct inode *inode = op->inode;

	lock_leave(op);
	lock_ranges_clear(&op->before);
	free(op->cookie);
	free(op);
	inode_put(locks->fs->inodes, inode);
}

static bool tell(struct lock_op *op, int error)
{
	void (*done)(struct lock_op *op, int error) = op->done;

	op->done = NULL;
	if (done)
		done(op, error);
	return done != NULL;
}

void lock_finish(struct lock_op *op, int error)
{
	bool is_his = op->kind == LOCK_SET && !op->check && !error;

	if (!tell(op, error) || !is_his)
		lock_op_free(op);
}

void lock_tell_early(struct lock_op *op, int error)
{
	(void)tell(op, error);
	op->request = NULL;
	op->deadline_ns = INT64_MAX;
}

/* ---- sending ----------------------------------------------------------------------------- */

static void answered(struct call *call);

/* To wait in the server's list makes sense where it can tell us. Who is there already is found again by the same
 * arguments. */
static struct nlm4_lock_how how(struct lock_op *op)
{
	if (op->wait && !op->check && responder_is_ready(op->locks->responder))
		op->blocked = true;
	op->by_hint = op->hinted;
	op->hinted = false;
	return (struct nlm4_lock_how){
		.block = op->blocked,
		.reclaim = op->check == LOCK_CHECK_RECLAIM,
		.state = (int)nsm_state(op->locks->nsm),
	};
}

static int encode(struct lock_op *op)
{
	const struct locks *locks = op->locks;
	struct nlm4_owner owner = {
		.caller_name = locks->caller_name,
		.oh = locks->oh,
		.svid = op->owner->svid,
	};
	struct nlm4_range range = { op->start, op->end, op->type == LOCK_EXCLUSIVE };
	const struct fhandle *fh = inode_fh(op->inode);

	if (op->check == LOCK_CHECK_LOOK) {
		owner.svid = locks->looker_svid;
		range.exclusive = true;
		return nlm4_test_encode(&op->call, &op->cred, fh, &owner, &range);
	}
	switch (op->kind) {
	case LOCK_TEST:
		return nlm4_test_encode(&op->call, &op->cred, fh, &owner, &range);
	case LOCK_SET:
		return nlm4_lock_encode(&op->call, &op->cred, fh, &owner, &range, how(op));
	case LOCK_CANCEL:
		return nlm4_cancel_encode(&op->call, &op->cred, fh, &owner, &range);
	case LOCK_ACCEPT:
		return nlm4_granted_res_encode(&op->call, &op->cred, op->cookie, true);
	case LOCK_FREE:
	case LOCK_RELEASE:
		break;
	}
	return nlm4_unlock_encode(&op->call, &op->cred, fh, &owner, &range);
}

static void send_call(struct lock_op *op)
{
	struct fs *fs = op->locks->fs;
	struct call *call = &op->call;
	int64_t deadline_ns = fs_deadline_ns(fs, fs_now_ns());

	call_init(call);
	call->head = (uint8_t *)op->head;
	call->head_size = sizeof(op->head);
	op->in_flight = true;
	if (encode(op)) { /* a handle and two short names always fit */
		call->status = -ENOMEM;
		answered(call);
		return;
	}
	call->done = answered;
	call->deadline_ns = min_i64(deadline_ns, op->deadline_ns);
	if (op->kind == LOCK_ACCEPT) /* some never reply to it */
		call->deadline_ns = min_i64(deadline_ns, fs_now_ns() + ACCEPT_NS);
	pool_submit(op->locks->pool, call);
}

void lock_enqueue(struct lock_op *op)
{
	struct lock_owner *owner = op->owner;
	bool first = TAILQ_EMPTY(&owner->queue);

	op->try_at_ns = 0;
	TAILQ_INSERT_TAIL(&owner->queue, op, link);
	owner->pid = op->pid ? op->pid : owner->pid;
	owner->opened = op->opened ? op->opened : owner->opened;
	if (op->kind == LOCK_SET)
		owner->cred = op->cred;
	if (first)
		send_call(op);
}

void lock_push(struct lock_op *op)
{
	struct lock_owner *owner = op->owner;
	struct lock_op *first = TAILQ_FIRST(&owner->queue);

	if (first && first->in_flight)
		TAILQ_INSERT_AFTER(&owner->queue, first, op, link);
	else
		TAILQ_INSERT_HEAD(&owner->queue, op, link);
	lock_resume(owner);
}

void lock_resume(struct lock_owner *owner)
{
	struct lock_op *first = TAILQ_FIRST(&owner->queue);

	if (first && !first->in_flight && fs_now_ns() >= first->try_at_ns)
		send_call(first);
}

/* ---- putting things back ----------------------------------------------------------------- */

static void background(struct lock_owner *owner, uint64_t start, uint64_t end, enum lock_type type)
{
	enum lock_kind kind = type == LOCK_NONE ? LOCK_FREE : LOCK_SET;
	struct lock_op *op = lock_op_own(owner, kind, start, end, type);

	if (op)
		lock_enqueue(op);
}

void lock_give_back(struct lock_owner *owner, uint64_t start, uint64_t end)
{
	background(owner, start, end, LOCK_NONE);
}

/* A second thread of his may have given it back, or be about to: then it is not to be taken again. */
static bool is_given_back(const struct lock_owner *owner, uint64_t start, uint64_t end)
{
	uint64_t held_end;

	return lock_ranges_piece(&owner->held, start, end, &held_end) == LOCK_NONE ||
	       lock_is_leaving(owner, start, end);
}

void lock_undo(struct lock_op *op)
{
	uint64_t at = op->start, end;

	for (;; at = end + 1) {
		enum lock_type type = lock_ranges_piece(&op->before, at, op->end, &end);

		if (type == LOCK_NONE || !is_given_back(op->owner, at, end))
			background(op->owner, at, end, type);
		if (end == op->end)
			return;
	}
}

/* ---- giving up --------------------------------------------------------------------------- */

static int keep_before(struct lock_op *op);

void lock_cancel(struct lock_op *op)
{
	struct lock_op *cancel;

	if (!op->blocked || atomic_load(&op->locks->closing))
		return;
	op->blocked = false;
	cancel = lock_op_own(op->owner, LOCK_CANCEL, op->start, op->end, op->type);
	if (cancel)
		lock_enqueue(cancel);
	if (!keep_before(op))
		lock_undo(op);
}

void lock_give_up(struct lock_op *op, int error)
{
	lock_cancel(op);
	lock_finish(op, error);
}

/* ---- what the answers mean --------------------------------------------------------------- */

/* What the owner has there now, in case it has to be so again. */
static int keep_before(struct lock_op *op)
{
	const struct lock_range *range;
	int error = 0;

	lock_ranges_clear(&op->before);
	TAILQ_FOREACH(range, &op->owner->held.list, link)
		if (!error && range->start <= op->end && op->start <= range->end)
			error = lock_ranges_set(&op->before, range->start, range->end, range->type);
	return error;
}

static void set_granted(struct lock_op *op)
{
	struct lock_owner *owner = op->owner;
	int error = keep_before(op);

	if (op->blocked && (op->by_hint || op->hinted || op->waited_long))
		op->locks->grants_come = op->by_hint || op->hinted;
	op->blocked = false;
	if (!error)
		error = lock_hold(owner, op->start, op->end, op->type);
	if (error) {
		lock_give_back(owner, op->start, op->end);
		lock_finish(op, -ENOLCK);
		return;
	}
	lock_finish(op, 0);
}

bool lock_is_gone(const struct lock_op *op)
{
	return op->request && request_answered(op->request);
}

static void set_answered(struct lock_op *op, enum nlm4_status status)
{
	switch (status) {
	case NLM4_STATUS_GRANTED:
		set_granted(op);
		break;
	case NLM4_STATUS_DENIED_GRACE_PERIOD:
		lock_wait_grace(op);
		break;
	case NLM4_STATUS_DENIED:
	case NLM4_STATUS_BLOCKED:
		if (op->wait && !lock_is_gone(op) && !op->locks->is_emptying) {
			lock_wait(op);
			break;
		}
		lock_give_up(op, -EAGAIN);
		break;
	case NLM4_STATUS_DENIED_NOLOCKS:
	case NLM4_STATUS_DEADLCK:
	case NLM4_STATUS_ROFS:
	case NLM4_STATUS_STALE_FH:
	case NLM4_STATUS_FBIG:
	case NLM4_STATUS_FAILED:
		lock_give_up(op, nlm4_errno(status));
		break;
	}
}

/* The server may have granted it, or may yet. */
static void set_unanswered(struct lock_op *op, int error)
{
	if (op->blocked)
		lock_cancel(op);
	else if (!keep_before(op))
		lock_undo(op);
	lock_finish(op, request_errno(op->locks->fs, error));
}

static void free_answered(struct lock_op *op, enum nlm4_status status)
{
	struct lock_owner *owner = op->owner;

	if (status != NLM4_STATUS_GRANTED)
		log_debug("UNLOCK of file %llu: NLM status %d",
			  (unsigned long long)op->inode->fileid, status);
	if (lock_hold(owner, op->start, op->end, LOCK_NONE))
		log_warn(MSG_NO_MEMORY, "out of memory: a lock is believed to be held");
	if (!owner->held.n)
		lock_forgive(owner);
	lock_finish(op, 0);
}

/* Who asked for it need not wait; it stays the first of its queue. */
static void free_unanswered(struct lock_op *op, int error)
{
	lock_tell_early(op, request_errno(op->locks->fs, error));
	TAILQ_INSERT_HEAD(&op->owner->queue, op, link);
	lock_retry_later(op);
}

static void judge(struct lock_op *op)
{
	struct call *call = &op->call;
	enum nlm4_status status = NLM4_STATUS_FAILED;
	int error = call->status;

	if (!error && (op->kind == LOCK_TEST || op->check == LOCK_CHECK_LOOK))
		error = nlm4_test_decode(call, &op->found);
	else if (!error && op->kind != LOCK_ACCEPT)
		error = nlm4_status_decode(call, &status);
	if (error == -EBADMSG) {
		call_bad_reply(call, "results break the protocol");
		error = -EIO;
	}
	if (atomic_load(&op->locks->closing) && error)
		lock_finish(op, request_errno(op->locks->fs, error));
	else if (op->check)
		lock_checked(op, error, status);
	else if (op->kind == LOCK_TEST)
		lock_finish(op, error ? request_errno(op->locks->fs, error) : 0);
	else if (op->kind == LOCK_ACCEPT)
		lock_finish(op, 0);
	else if (op->kind != LOCK_SET && (error || status == NLM4_STATUS_DENIED_GRACE_PERIOD))
		free_unanswered(op, error ? error : -ETIMEDOUT);
	else if (op->kind == LOCK_CANCEL) /* DENIED: it was not there, or has been granted; UNLOCK follows */
		lock_finish(op, 0);
	else if (op->kind == LOCK_FREE)
		free_answered(op, status);
	else if (error)
		set_unanswered(op, error);
	else
		set_answered(op, status);
}

static void answered(struct call *call)
{
	struct lock_op *op = container_of(call, struct lock_op, call);
	struct lock_owner *owner = op->owner;
	struct locks *locks = op->locks;

	op->in_flight = false;
	TAILQ_REMOVE(&owner->queue, op, link);
	owner->n_ops++; /* he stays until the next is sent */
	judge(op);
	if (!atomic_load(&locks->closing))
		lock_resume(owner);
	lock_kick(owner->file); /* who waits for it, or for this answer */
	owner->n_ops--;
	lock_owner_check(owner);
}
