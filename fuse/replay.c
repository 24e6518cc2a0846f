/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay - see replay.h. A request goes to and fro between attempts and looks:
 *
 *	attempt -> attempted(): answered -> finish()
 *	                        ambiguous, or a suspicious error -> look()
 *	look    -> *_looked():  no answer -> look() again, later; or give_up()
 *	                        judged() -> attempt() | finish() | give_up()
 *
 * Each step is a done half of the request's present call. */
#include "replay.h"

#include <errno.h>
#include <sys/random.h>

#include "../conn/util.h"
#include "log.h"
#include "names.h"
#include "replay_parts.h"
#include "request.h"

enum { SUSPICIONS_MAX = 4 };

/* ---- the end ----------------------------------------------------------------------------- */

_Atomic(bool) *replay_nonce_memory(const struct request *request)
{
	return &request->fs->replay.nonce_ignored[replay_type_made(&request->replay) >> 12];
}

void replay_finish(struct request *request, int error)
{
	if (!error && request->replay.without_nonce)
		atomic_store(&request->fs->replay.nonce_refused, true);
	request->replay.done(request, error);
}

bool replay_is_unknown(const struct request *request)
{
	return request->replay.unknown;
}

bool replay_may_follow(const struct request *request)
{
	return request->replay.ambiguous || request->replay.n_sent > 1 || request->call.resent;
}

/* The kernel's attributes go, too; its entries it asks for again when the inode of one is stale. A
 * notification of an entry would wait for the directory's lock, which our own caller holds. */
static void expire(struct request *request, struct inode *inode)
{
	if (!inode)
		return;
	attr_expire(inode);
	if (request->call.status != -ECONNABORTED) /* the session may be going */
		fuse_lowlevel_notify_inval_inode(request->fs->session, inode_nodeid(inode), -1, 0);
}

static void forget_name(struct request *request, struct inode *dir, const char *name)
{
	if (dir)
		names_drop(request->fs->names, dir, name);
}

/* The outcome stays unknown. */
static void end_unknown(struct request *request, int error)
{
	struct replay *replay = &request->replay;
	struct replay_memory *memory = &request->fs->replay;

	expire(request, replay->dir);
	expire(request, replay->to_dir);
	expire(request, replay->file);
	forget_name(request, replay->dir, replay->name);
	forget_name(request, replay->to_dir, replay->to_name);
	replay->unknown = true;
	atomic_fetch_add(&memory->n_unknown, 1);
	log_about(-1, replay_call_of(request)->name);
	log_warn(MSG_OUTCOME_UNKNOWN, "%s of '%s' may or may not have happened (ambiguous_ops %llu)",
		 replay_call_of(request)->name, replay->name ? replay->name : "a file",
		 (unsigned long long)atomic_load(&memory->n_ambiguous));
	replay_finish(request, error);
}

void replay_give_up(struct request *request)
{
	end_unknown(request, request_errno(request->fs, -ETIMEDOUT));
}

bool replay_has_time(const struct request *request)
{
	return !request_answered(request) && request->call.status != -ECONNABORTED &&
	       fs_now_ns() < request->deadline_ns;
}

int64_t replay_next_pause_ns(struct replay *replay)
{
	return replay_pause_ns(replay->n_pauses++);
}

/* ---- attempts ---------------------------------------------------------------------------- */

static void attempted(struct request *request, int error);

void replay_attempt(struct request *request, int64_t delay_ns)
{
	request->replay.n_sent++;
	request_send_after(request, replay_call_of(request)->encode(request), attempted, delay_ns);
}

/* What the server did with the nonce, while nobody else can have touched it. */
static void learn(struct request *request)
{
	const struct replay *replay = &request->replay;
	const struct post_attr *made = &replay->got.object.attr;
	struct replay_memory *memory = &request->fs->replay;

	if (!replay_makes(replay) || !(replay->set.set & SET_ATIME))
		return;
	atomic_store_explicit(&memory->nonce_taken, true, memory_order_relaxed);
	if (!made->valid)
		return;
	atomic_store(replay_nonce_memory(request), replay_nonce_ignored(replay->set.atime, &made->attr));
	if (replay_type_made(replay) == S_IFREG)
		atomic_store(&memory->nonce_weak, !replay_nonce_kept(replay->set.atime, &made->attr));
}

static void note_ambiguous(struct request *request)
{
	if (!request->replay.ambiguous)
		atomic_fetch_add(&request->fs->replay.n_ambiguous, 1);
	request->replay.ambiguous = true;
}

/* Has another copy than the one that was answered been sent? conn/ has repeated it, and the server
 * need not have recognised it. */
static bool has_copies(const struct request *request)
{
	return request->replay.ambiguous || request->call.resent || request->call.n_repeats;
}

/* Where files have no owners of their own (an exported vfat), nobody but root may set their times:
 * the object is made, and EPERM is told. */
static bool may_dislike_nonce(const struct request *request)
{
	return replay_makes(&request->replay) && request->replay.set.set & SET_ATIME &&
	       !atomic_load(&request->fs->replay.nonce_taken);
}

static void try_without_nonce(struct request *request)
{
	struct replay *replay = &request->replay;

	replay->set.set &= ~(unsigned int)SET_ATIME;
	replay->without_nonce = replay->ambiguous = true;
	replay_attempt(request, 0);
}

/* A server that makes a file first and stores its verifier afterwards refuses a copy in between. */
static bool is_half_made(struct request *request)
{
	struct replay *replay = &request->replay;

	return replay->op == REPLAY_CREATE && replay->mode == NFS3_EXCLUSIVE &&
	       has_copies(request) && replay_has_time(request) &&
	       replay->n_doubts++ < REPLAY_DOUBTS_MAX;
}

static void answered(struct request *request)
{
	struct replay *replay = &request->replay;
	int error = replay_call_of(request)->decode(request);

	if (error == -EEXIST && is_half_made(request)) {
		replay->ambiguous = true;
		replay_attempt(request, replay_next_pause_ns(replay));
		return;
	}
	if (error && error == replay_call_of(request)->suspicious && has_copies(request) &&
	    replay_can_look(replay)) {
		note_ambiguous(request);
		replay->noent = error == -ENOENT;
		if (replay->n_suspicions++ < SUSPICIONS_MAX)
			replay_look(request, 0);
		else
			replay_give_up(request);
		return;
	}
	if (error == -EPERM && may_dislike_nonce(request)) {
		try_without_nonce(request);
		return;
	}
	if (!error)
		learn(request);
	replay_finish(request, request_decoded(request, error));
}

static void attempted(struct request *request, int error)
{
	struct replay *replay = &request->replay;

	if (!request->call.status) {
		answered(request);
		return;
	}
	if (request->call.ambiguous)
		note_ambiguous(request);
	if (!replay->ambiguous)
		replay_finish(request, error);
	else if (replay_can_look(replay))
		replay_look(request, 0);
	else
		end_unknown(request, error);
}

/* Until it is known better: of symbolic links Ganesha and older knfsd ignore them. */
void replay_memory_init(struct replay_memory *memory)
{
	atomic_store(&memory->nonce_ignored[S_IFLNK >> 12], true);
}

enum nfs3_create_mode replay_exclusive_mode(const struct fs *fs)
{
	const struct replay_memory *memory = &fs->replay;

	if (fs->can_settime && !atomic_load(&memory->nonce_weak) &&
	    !atomic_load(&memory->nonce_refused))
		return NFS3_GUARDED;
	return NFS3_EXCLUSIVE;
}

/* ---- the beginning ----------------------------------------------------------------------- */

static void set_nonce(struct request *request)
{
	struct replay *replay = &request->replay;
	struct timespec now;
	uint64_t random = 0;

	if (!request->fs->can_settime || !replay_can_look(replay) ||
	    atomic_load(&request->fs->replay.nonce_refused))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint64_t)clock_ns() * UINT64_C(0x9e3779b97f4a7c15);
	replay->set.set |= SET_ATIME;
	replay->set.atime = replay_nonce(now, random);
}

/* The ctime by which a change will be seen. */
static void note_before(struct replay *replay)
{
	struct inode *inode = replay->op == REPLAY_SETATTR ? replay->file : replay->dir;
	struct attr attr;

	if (!replay_makes(replay) && replay->op != REPLAY_SETATTR)
		return;
	if (attr_get(inode, fs_now_ns(), &attr) < 0)
		return;
	replay->has_before = true;
	replay->before = attr.ctime;
}

void replay_send(struct request *request, const struct replay *what)
{
	struct replay *replay = &request->replay;

	*replay = *what;
	if (replay_makes(replay))
		set_nonce(request);
	note_before(replay);
	replay_attempt(request, replay->delay_ns);
}
