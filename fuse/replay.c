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
#include <string.h>
#include <sys/random.h>

#include "../conn/util.h"
#include "log.h"
#include "names.h"
#include "request.h"

enum { SUSPICIONS_MAX = 4, DOUBTS_MAX = 2 };

/* ---- the operations ---------------------------------------------------------------------- */

static int encode_create(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_create_encode(request_call(request), &request->cred, inode_fh(replay->dir),
				  replay->name, replay->mode, &replay->set, replay->verf);
}

static int encode_mkdir(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_mkdir_encode(request_call(request), &request->cred, inode_fh(replay->dir),
				 replay->name, &replay->set);
}

static int encode_symlink(struct request *request)
{
	const struct replay *replay = &request->replay;
	struct call *call = request_call(request);

	call->head = request->large_head;
	call->head_size = CALL_HEAD_LARGE;
	return nfs3_symlink_encode(call, &request->cred, inode_fh(replay->dir), replay->name,
				   replay->target, &replay->set);
}

static int encode_mknod(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_mknod_encode(request_call(request), &request->cred, inode_fh(replay->dir),
				 replay->name, replay->type, replay->rdev, &replay->set);
}

static int encode_link(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_link_encode(request_call(request), &request->cred, inode_fh(replay->file),
				inode_fh(replay->dir), replay->name);
}

static int encode_remove(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_remove_encode(request_call(request), &request->cred, inode_fh(replay->dir),
				  replay->name);
}

static int encode_rmdir(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_rmdir_encode(request_call(request), &request->cred, inode_fh(replay->dir),
				 replay->name);
}

static int encode_rename(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_rename_encode(request_call(request), &request->cred, inode_fh(replay->dir),
				  replay->name, inode_fh(replay->to_dir), replay->to_name);
}

static int encode_setattr(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_setattr_encode(request_call(request), &request->cred, inode_fh(replay->file),
				   &replay->set, replay->guarded ? &replay->before : NULL);
}

static int decode_object(struct request *request)
{
	return nfs3_create_decode(&request->call, &request->replay.got.object);
}

static int decode_link(struct request *request)
{
	return nfs3_link_decode(&request->call, &request->replay.got.link);
}

static int decode_remove(struct request *request)
{
	return nfs3_remove_decode(&request->call, &request->replay.got.wcc);
}

static int decode_rename(struct request *request)
{
	return nfs3_rename_decode(&request->call, &request->replay.got.rename);
}

static int decode_setattr(struct request *request)
{
	return nfs3_setattr_decode(&request->call, &request->replay.got.wcc);
}

static int ask_name(struct request *request)
{
	const struct replay *replay = &request->replay;

	return nfs3_lookup_encode(request_call(request), &request->cred, inode_fh(replay->dir),
				  replay->name);
}

static int ask_attr(struct request *request)
{
	return nfs3_getattr_encode(request_call(request), &request->cred,
				   inode_fh(request->replay.file));
}

static void make_looked(struct request *request, int error);
static void link_looked(struct request *request, int error);
static void remove_looked(struct request *request, int error);
static void rename_looked(struct request *request, int error);
static void resize_looked(struct request *request, int error);

static const struct operation {
	const char *name;
	int (*encode)(struct request *request);
	int (*decode)(struct request *request);
	int suspicious;           /* the error that a first copy may cause the replay */
	int (*ask)(struct request *request); /* the first question of a look, */
	request_done *looked;                /* and who hears the answer */
} operations[] = {
	[REPLAY_CREATE] = { "CREATE", encode_create, decode_object, -EEXIST, ask_name, make_looked },
	[REPLAY_MKDIR] = { "MKDIR", encode_mkdir, decode_object, -EEXIST, ask_name, make_looked },
	[REPLAY_SYMLINK] = { "SYMLINK", encode_symlink, decode_object, -EEXIST, ask_name,
			     make_looked },
	[REPLAY_MKNOD] = { "MKNOD", encode_mknod, decode_object, -EEXIST, ask_name, make_looked },
	[REPLAY_LINK] = { "LINK", encode_link, decode_link, -EEXIST, ask_name, link_looked },
	[REPLAY_REMOVE] = { "REMOVE", encode_remove, decode_remove, -ENOENT, ask_name,
			    remove_looked },
	[REPLAY_RMDIR] = { "RMDIR", encode_rmdir, decode_remove, -ENOENT, ask_name, remove_looked },
	[REPLAY_RENAME] = { "RENAME", encode_rename, decode_rename, -ENOENT, ask_name,
			    rename_looked },
	[REPLAY_SETATTR] = { "SETATTR", encode_setattr, decode_setattr, -ENFS_NOTSYNC, ask_attr,
			     resize_looked },
};

static const struct operation *operation_of(const struct request *request)
{
	return &operations[request->replay.op];
}

/* CREATE, MKDIR, SYMLINK, MKNOD. */
static bool makes(const struct replay *replay)
{
	return replay->op <= REPLAY_MKNOD;
}

/* The type of what is made. */
static mode_t type_made(const struct replay *replay)
{
	switch (replay->op) {
	case REPLAY_MKDIR:
		return S_IFDIR;
	case REPLAY_SYMLINK:
		return S_IFLNK;
	case REPLAY_MKNOD:
		return replay->type & S_IFMT;
	case REPLAY_CREATE:
	case REPLAY_LINK:
	case REPLAY_REMOVE:
	case REPLAY_RMDIR:
	case REPLAY_RENAME:
	case REPLAY_SETATTR:
		break;
	}
	return S_IFREG;
}

/* Is there something to find out, and something to find it by? What may be repeated as it is ends
 * ambiguous only when there is no time left. */
static bool can_look(const struct replay *replay)
{
	if (makes(replay))
		return replay->op != REPLAY_CREATE || replay->mode == NFS3_GUARDED;
	if (replay->op == REPLAY_SETATTR)
		return replay->set.set & SET_SIZE;
	return replay->file != NULL;
}

static _Atomic(bool) *nonce_ignored(const struct request *request)
{
	return &request->fs->replay.nonce_ignored[type_made(&request->replay) >> 12];
}

/* ---- the end ----------------------------------------------------------------------------- */

static void finish(struct request *request, int error)
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
	log_about(-1, operation_of(request)->name);
	log_warn(MSG_OUTCOME_UNKNOWN, "%s of '%s' may or may not have happened (ambiguous_ops %llu)",
		 operation_of(request)->name, replay->name ? replay->name : "a file",
		 (unsigned long long)atomic_load(&memory->n_ambiguous));
	finish(request, error);
}

static void give_up(struct request *request)
{
	end_unknown(request, request_errno(request->fs, -ETIMEDOUT));
}

/* ---- looking ----------------------------------------------------------------------------- */

static bool has_time(const struct request *request)
{
	return !request_answered(request) && request->call.status != -ECONNABORTED &&
	       fs_now_ns() < request->deadline_ns;
}

static void look(struct request *request, int64_t delay_ns)
{
	const struct operation *operation = operation_of(request);

	memset(&request->replay.got, 0, sizeof(request->replay.got));
	if (has_time(request))
		request_send_after(request, operation->ask(request), operation->looked, delay_ns);
	else
		give_up(request);
}

static int64_t next_pause_ns(struct replay *replay)
{
	return replay_pause_ns(replay->n_pauses++);
}

/* After each question: was it answered, and does anybody still want to know? False: the ladder has
 * gone on or has ended. */
static bool is_answer(struct request *request)
{
	if (!request->call.status && !request_answered(request))
		return true;
	look(request, next_pause_ns(&request->replay));
	return false;
}

static void attempt(struct request *request, int64_t delay_ns);

static void judged(struct request *request, enum replay_verdict verdict)
{
	struct replay *replay = &request->replay;

	switch (verdict) {
	case REPLAY_EXECUTED:
		finish(request, 0);
		break;
	case REPLAY_SEND:
		/* Lost again and again: not at once for ever. */
		if (has_time(request))
			attempt(request, replay->n_sent > 1 ? next_pause_ns(replay) : 0);
		else
			give_up(request);
		break;
	case REPLAY_EXISTS:
		finish(request, -EEXIST);
		break;
	case REPLAY_GONE:
		finish(request, -ENOENT);
		break;
	case REPLAY_UNKNOWN:
		give_up(request);
		break;
	}
}

/* A LOOKUP's answer. False: it tells nothing, and the ladder has ended. */
static bool decode_sight(struct request *request, struct nfs3_object *ret_object,
			 enum replay_sight *ret_sight)
{
	const struct inode *file = request->replay.file;
	int error = request_decoded(request, nfs3_lookup_decode(&request->call, ret_object));

	if (error == -ENOENT) {
		*ret_sight = SIGHT_NOTHING;
	} else if (error) {
		give_up(request);
		return false;
	} else {
		*ret_sight = file && fhandle_equal(inode_fh(file), &ret_object->fh) &&
					     (!ret_object->attr.valid ||
					      ret_object->attr.attr.fileid == file->fileid) ?
				     SIGHT_SAME :
				     SIGHT_OTHER;
	}
	return true;
}

static void target_looked(struct request *request, int error UNUSED)
{
	const char *target = request->replay.target;
	struct nfs3_readlink link = { 0 };

	if (!is_answer(request))
		return;
	if (request_decoded(request, nfs3_readlink_decode(&request->call, &link)))
		give_up(request);
	else if (link.target_len == strlen(target) && !memcmp(link.target, target, link.target_len))
		judged(request, REPLAY_EXECUTED);
	else
		judged(request, REPLAY_EXISTS);
}

static void judge_made(struct request *request)
{
	const struct replay *replay = &request->replay;
	const struct replay_made made = {
		.type = type_made(replay),
		.uid = replay->without_nonce ? 0 : request->cred.uid,
		.rdev = replay->rdev,
		.nonce = replay->set.atime,
		.nonce_ignored = !(replay->set.set & SET_ATIME) ||
				 atomic_load(nonce_ignored(request)),
		.strict = replay->exclusive && !replay->without_nonce,
		.since = replay->before,
	};

	switch (replay_owner(&made, &replay->got.object.attr.attr)) {
	case REPLAY_OURS:
		judged(request, REPLAY_EXECUTED);
		break;
	case REPLAY_NOT_OURS:
		judged(request, REPLAY_EXISTS);
		break;
	case REPLAY_OURS_PERHAPS:
		if (request->replay.n_doubts++ < DOUBTS_MAX)
			look(request, next_pause_ns(&request->replay));
		else
			judged(request, REPLAY_EXISTS);
		break;
	case REPLAY_OURS_BY_TARGET:
		request_send(request,
			     nfs3_readlink_encode(request_call(request), &request->cred,
						  &replay->got.object.fh),
			     target_looked);
		break;
	}
}

static void made_attr_looked(struct request *request, int error UNUSED)
{
	struct post_attr *found = &request->replay.got.object.attr;

	if (!is_answer(request))
		return;
	if (request_decoded(request, nfs3_getattr_decode(&request->call, &found->attr))) {
		give_up(request);
		return;
	}
	found->valid = true;
	judge_made(request);
}

static void make_looked(struct request *request, int error UNUSED)
{
	struct nfs3_object *object = &request->replay.got.object;
	enum replay_sight sight;

	if (!is_answer(request) || !decode_sight(request, object, &sight))
		return;
	memset(&object->dir, 0, sizeof(object->dir)); /* more calls may follow: it would be too old */
	if (sight == SIGHT_NOTHING)
		judged(request, REPLAY_SEND);
	else if (object->attr.valid)
		judge_made(request);
	else
		request_send(request,
			     nfs3_getattr_encode(request_call(request), &request->cred, &object->fh),
			     made_attr_looked);
}

static void link_looked(struct request *request, int error UNUSED)
{
	struct nfs3_object object;
	enum replay_sight sight;

	if (!is_answer(request) || !decode_sight(request, &object, &sight))
		return;
	request->replay.got.link = (struct nfs3_link){ .attr = object.attr };
	judged(request, replay_judge_link(sight));
}

static void remove_looked(struct request *request, int error UNUSED)
{
	struct nfs3_object object;
	enum replay_sight sight;

	if (is_answer(request) && decode_sight(request, &object, &sight))
		judged(request, replay_judge_remove(sight));
}

static void rename_to_looked(struct request *request, int error UNUSED)
{
	const struct replay *replay = &request->replay;
	struct nfs3_object object;
	enum replay_sight to;

	if (is_answer(request) && decode_sight(request, &object, &to))
		judged(request, replay_judge_rename(replay->from, to, replay->noent));
}

static void rename_looked(struct request *request, int error UNUSED)
{
	struct replay *replay = &request->replay;
	struct nfs3_object object;

	if (!is_answer(request) || !decode_sight(request, &object, &replay->from))
		return;
	request_send(request,
		     nfs3_lookup_encode(request_call(request), &request->cred, inode_fh(replay->to_dir),
					replay->to_name),
		     rename_to_looked);
}

static void resize_looked(struct request *request, int error UNUSED)
{
	struct replay *replay = &request->replay;
	enum replay_verdict verdict;
	struct attr found;

	if (!is_answer(request))
		return;
	if (request_decoded(request, nfs3_getattr_decode(&request->call, &found))) {
		give_up(request);
		return;
	}
	verdict = replay_judge_resize(&replay->set, replay->has_before ? &replay->before : NULL,
				      &found);
	replay->got.wcc = (struct wcc){ .after = { .valid = true, .attr = found } };
	replay->before = found.ctime;
	replay->has_before = replay->guarded = true;
	judged(request, verdict);
}

/* ---- attempts ---------------------------------------------------------------------------- */

static void attempted(struct request *request, int error);

static void attempt(struct request *request, int64_t delay_ns)
{
	request->replay.n_sent++;
	request_send_after(request, operation_of(request)->encode(request), attempted, delay_ns);
}

/* What the server did with the nonce, while nobody else can have touched it. */
static void learn(struct request *request)
{
	const struct replay *replay = &request->replay;
	const struct post_attr *made = &replay->got.object.attr;
	struct replay_memory *memory = &request->fs->replay;

	if (!makes(replay) || !(replay->set.set & SET_ATIME))
		return;
	atomic_store_explicit(&memory->nonce_taken, true, memory_order_relaxed);
	if (!made->valid)
		return;
	atomic_store(nonce_ignored(request), replay_nonce_ignored(replay->set.atime, &made->attr));
	if (type_made(replay) == S_IFREG)
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
	return makes(&request->replay) && request->replay.set.set & SET_ATIME &&
	       !atomic_load(&request->fs->replay.nonce_taken);
}

static void try_without_nonce(struct request *request)
{
	struct replay *replay = &request->replay;

	replay->set.set &= ~(unsigned int)SET_ATIME;
	replay->without_nonce = replay->ambiguous = true;
	attempt(request, 0);
}

/* A server that makes a file first and stores its verifier afterwards refuses a copy in between. */
static bool is_half_made(struct request *request)
{
	struct replay *replay = &request->replay;

	return replay->op == REPLAY_CREATE && replay->mode == NFS3_EXCLUSIVE &&
	       has_copies(request) && has_time(request) && replay->n_doubts++ < DOUBTS_MAX;
}

static void answered(struct request *request)
{
	struct replay *replay = &request->replay;
	int error = operation_of(request)->decode(request);

	if (error == -EEXIST && is_half_made(request)) {
		replay->ambiguous = true;
		attempt(request, next_pause_ns(replay));
		return;
	}
	if (error && error == operation_of(request)->suspicious && has_copies(request) &&
	    can_look(replay)) {
		note_ambiguous(request);
		replay->noent = error == -ENOENT;
		if (replay->n_suspicions++ < SUSPICIONS_MAX)
			look(request, 0);
		else
			give_up(request);
		return;
	}
	if (error == -EPERM && may_dislike_nonce(request)) {
		try_without_nonce(request);
		return;
	}
	if (!error)
		learn(request);
	finish(request, request_decoded(request, error));
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
		finish(request, error);
	else if (can_look(replay))
		look(request, 0);
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

	if (!request->fs->can_settime || !can_look(replay) ||
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

	if (!makes(replay) && replay->op != REPLAY_SETATTR)
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
	if (makes(replay))
		set_nonce(request);
	note_before(replay);
	attempt(request, replay->delay_ns);
}
