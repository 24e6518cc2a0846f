/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_grant - see lock_parts.h: the server says that a lock somebody waits for is his.
 *
 * That is a hint, and no more. It may come twice, late (he has given up, the lock has come and gone
 * since), before the BLOCKED that it follows, or never; and from anybody who can reach the port. So
 * it must fit: the file, the owner, the range, an address of the server. Then it is accepted, and
 * the LOCK is asked for again at once: its answer, on our own connection, is what counts, and costs
 * a round trip. What does not fit, as he who waited has gone, is denied; and his CANCEL and UNLOCK
 * are on their way in any case (lock_cancel()).
 *
 * A GRANTED_MSG is answered by a call of ours, GRANTED_RES. It goes in the owner's queue: before
 * that LOCK, and before any UNLOCK. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/mutex.h"
#include "addrlist.h"
#include "lock_parts.h"
#include "log.h"

enum { DENIALS_MAX = 16 };

/* ---- does it fit? ------------------------------------------------------------------------ */

/* Servers have signed offsets: the end of the file is where they end. */
static uint64_t end_of(uint64_t end)
{
	return end >= INT64_MAX ? UINT64_MAX : end;
}

static bool is_for(const struct lock_op *op, const struct nlm4_granted *granted)
{
	return op->kind == LOCK_SET && !op->check && op->wait && op->owner->svid == granted->svid &&
	       op->start == granted->range.start && end_of(op->end) == end_of(granted->range.end);
}

static struct lock_op *find_op(struct lock_file *file, const struct nlm4_granted *granted)
{
	struct lock_owner *owner;
	struct lock_op *op;

	TAILQ_FOREACH(op, &file->waiting, link)
	if (op->blocked && is_for(op, granted))
		return op;
	LIST_FOREACH(owner, &file->owners, link)
	TAILQ_FOREACH(op, &owner->queue, link)
	if (op->blocked && is_for(op, granted))
		return op;
	return NULL;
}

/* Asked for again, and got, before the call came: he has it. */
static struct lock_owner *find_holder(struct lock_file *file, const struct nlm4_granted *granted)
{
	uint64_t start = granted->range.start, end = granted->range.end, piece_end;
	struct lock_owner *owner;

	LIST_FOREACH(owner, &file->owners, link)
	if (owner->svid == granted->svid &&
	    lock_ranges_piece(&owner->held, start, end, &piece_end) != LOCK_NONE &&
	    end_of(piece_end) == end_of(end) && !lock_is_leaving(owner, start, end))
		return owner;
	return NULL;
}

static struct lock_file *find_file(struct locks *locks, const struct fhandle *fh)
{
	struct lock_file *file;

	LIST_FOREACH(file, &locks->files, link)
	if (fhandle_equal(inode_fh(file->inode), fh))
		return file;
	return NULL;
}

/* ---- answering a GRANTED_MSG ------------------------------------------------------------- */

static void accept_msg(struct lock_owner *owner, const struct nlm4_cookie *cookie)
{
	struct lock_op *op = lock_op_own(owner, LOCK_ACCEPT, 0, 0, LOCK_NONE);

	if (!op)
		return;
	op->cookie = malloc(sizeof(*cookie));
	if (!op->cookie) {
		lock_op_free(op);
		return;
	}
	*op->cookie = *cookie;
	lock_push(op);
}

struct denial {
	struct locks *locks;
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
};

static void denial_done(struct call *call)
{
	struct denial *denial = container_of(call, struct denial, call);

	denial->locks->n_denials--;
	free(denial);
}

static void deny_msg(struct locks *locks, const struct nlm4_cookie *cookie)
{
	struct cred root = {0};
	struct denial *denial;

	if (locks->n_denials >= DENIALS_MAX)
		return;
	denial = malloc(sizeof(*denial));
	if (!denial)
		return;
	denial->locks = locks;
	call_init(&denial->call);
	denial->call.head = (uint8_t *)denial->head;
	denial->call.head_size = sizeof(denial->head);
	if (nlm4_granted_res_encode(&denial->call, &root, cookie, false)) {
		free(denial);
		return;
	}
	denial->call.done = denial_done;
	denial->call.deadline_ns = fs_deadline_ns(locks->fs, fs_now_ns());
	locks->n_denials++;
	pool_submit(locks->pool, &denial->call);
}

/* ---- on the lock loop -------------------------------------------------------------------- */

static bool take(struct locks *locks, const struct nlm4_granted *granted, bool answer)
{
	struct lock_file *file = find_file(locks, &granted->fh);
	struct lock_op *op = file ? find_op(file, granted) : NULL;
	struct lock_owner *owner = op ? op->owner : NULL;

	if (file && !op) {
		owner = find_holder(file, granted);
		locks->grants_come |= owner != NULL;
	}
	if (answer && owner)
		accept_msg(owner, &granted->cookie);
	else if (answer)
		deny_msg(locks, &granted->cookie);
	if (!op)
		return owner != NULL;
	op->hinted = true;
	if (op->waiting)
		lock_ask_now(op);
	return true;
}

struct visit {
	struct loop_task task;
	struct locks *locks;
	const struct nlm4_granted *granted;
	bool answer, fits;
	bool done; /* under lock */
	struct mutex lock;
	pthread_cond_t changed;
};

static void visit(struct loop_task *task)
{
	struct visit *v = container_of(task, struct visit, task);
	bool fits = !atomic_load(&v->locks->closing) && take(v->locks, v->granted, v->answer);

	mutex_lock(&v->lock);
	v->fits = fits;
	v->done = true;
	pthread_cond_signal(&v->changed);
	mutex_unlock(&v->lock);
}

/* ---- on the responder's threads ---------------------------------------------------------- */

static bool pool_leads_to(struct pool *pool, const struct sockaddr_storage *from)
{
	struct conn_info conn;
	struct pool_info info;

	pool_info(pool, &info);
	for (unsigned int i = 0; i < info.n_connections; i++) {
		pool_conn_info(pool, i, &conn);
		if (addr_same_host(&conn.remote, from))
			return true;
	}
	return false;
}

static bool granted(void *userdata, const struct nlm4_granted *granted,
		    const struct sockaddr_storage *from, bool answer)
{
	struct locks *locks = userdata;
	struct visit v = {.locks = locks, .granted = granted, .answer = answer, .task.run = visit};

	if (!pool_leads_to(locks->pool, from) && !pool_leads_to(locks->fs->pool, from))
		return false;
	mutex_init(&v.lock);
	pthread_cond_init(&v.changed, NULL);
	loop_post(locks->loop, &v.task);
	mutex_lock(&v.lock);
	while (!v.done)
		pthread_cond_wait(&v.changed, &v.lock.os);
	mutex_unlock(&v.lock);
	pthread_cond_destroy(&v.changed);
	mutex_deinit(&v.lock);
	log_debug("GRANTED for svid %u: %s", granted->svid, v.fits ? "accepted" : "denied");
	return v.fits;
}

static void notified(void *userdata)
{
	log_debug("a server was restarted, says statd");
	lock_check_all(userdata);
}

static void ask_all(struct loop_task *task)
{
	struct locks *locks = container_of(task, struct locks, ask_task);

	atomic_store(&locks->ask_posted, false);
	lock_ask_all(locks);
}

static void changed(void *userdata)
{
	struct locks *locks = userdata;

	if (atomic_exchange(&locks->ask_posted, true))
		return;
	locks->ask_task.run = ask_all;
	loop_post(locks->loop, &locks->ask_task);
}

int lock_grant_open(struct locks *locks)
{
	struct responder_config config = {
		.oh = locks->oh,
		.granted = granted,
		.notified = notified,
		.changed = changed,
		.userdata = locks,
	};

	locks->responder = responder_new(&config);
	return locks->responder ? 0 : -ENOMEM;
}
