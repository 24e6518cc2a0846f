/* SPDX-License-Identifier: GPL-2.0-or-later */
/* remove - what takes names away: unlink, rmdir, rename. A file that is open here keeps a hidden
 * name (silly.h): for unlink by a RENAME to it; for rename over it by a LINK first, so that there is
 * no moment without the name, or by a RENAME where the server has no links. */
#include <errno.h>
#include <string.h>

#include "../conn/util.h"
#include "absent.h"
#include "names.h"
#include "ops.h"
#include "request.h"
#include "silly.h"
#include "wback.h"

enum { RMDIR_TRIES = 8 };
static const int64_t RMDIR_PAUSE_NS = 15 * NS_PER_MS;

static void apply_dir(struct request *request, struct inode *dir, const struct wcc *wcc)
{
	attr_apply_own(&request->fs->attr_policy, dir, wcc, request->stamp, fs_now_ns());
}

/* The victim's link count and ctime have changed, if it is known at all. */
static void put_victim(struct request *request)
{
	struct inode *victim = request->op.remove.victim;

	if (!victim)
		return;
	request->op.remove.victim = NULL;
	attr_expire(victim);
	if (request->op.remove.ending)
		silly_end(victim);
	inode_put(request->fs->inodes, victim);
}

static void finish(struct request *request, int error)
{
	struct inode_table *inodes = request->fs->inodes;
	struct inode *source = request->op.remove.source;
	struct inode *held = request->op.remove.held;

	put_victim(request);
	if (source)
		attr_expire(source);
	inode_put(inodes, source);
	request->op.remove.source = NULL;
	if (error == -ESTALE)
		attr_expire(request->inode);
	if (held) { /* it may have been closed meanwhile */
		silly_let_go(held);
		silly_release(request, held, error);
		inode_put(inodes, held);
	} else {
		request_reply_err(request, error);
	}
}

static void victim_looked_up(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_object object = { 0 };

	if (request_answered(request) || request->call.status) { /* or nobody was asked in time */
		finish(request, error ? error : -EINTR);
		return;
	}
	error = request_decoded(request, nfs3_lookup_decode(&request->call, &object));
	/* Whatever is wrong, the operation itself will be told. */
	if (!error && object.attr.valid)
		request->op.remove.victim = inode_find(fs->inodes, &object.fh, &object.attr.attr);
	request->op.remove.next(request);
}

/* The file that is about to lose this name. Not known by name: it may still be open, so the server is
 * asked for its handle, if anything is open at all. next() goes on. */
static void find_victim(struct request *request, struct inode *dir, const char *name,
			void (*next)(struct request *request))
{
	request->op.remove.victim = names_find(request->fs->names, dir, name);
	request->op.remove.next = next;
	if (request->op.remove.victim || !atomic_load(&request->fs->n_open_files))
		next(request);
	else
		request_send(request,
			     nfs3_lookup_encode(request_call(request), &request->cred, inode_fh(dir),
						name),
			     victim_looked_up);
}

/* What is to be done about it. */
static enum silly_choice begin_victim(struct request *request, struct inode *dir, const char *name)
{
	struct inode *victim = request->op.remove.victim;
	enum silly_choice choice;

	if (!victim)
		return SILLY_REMOVE;
	choice = silly_begin(victim, dir, name);
	request->op.remove.ending = choice == SILLY_REMOVE;
	request->op.remove.held = choice == SILLY_HIDE ? inode_ref(victim) : NULL;
	attr_expect_ctime(victim);
	return choice;
}

/* ---- UNLINK and RMDIR -------------------------------------------------------------------- */

/* Not of one that is kept under a hidden name. */
static void note_lost_name(struct request *request)
{
	struct inode *victim = request->op.remove.victim;

	if (victim && request->op.remove.ending && !S_ISDIR(victim->type))
		attr_lost_name(victim);
}

static void remove_done(struct request *request, int error)
{
	apply_dir(request, request->inode, &request->replay.got.wcc);
	if (!error)
		note_lost_name(request);
	if (!error || error == -ENOENT)
		names_drop(request->fs->names, request->inode, request->name);
	finish(request, error);
}

/* The victim is now dir/name, or may be. */
static void hidden(struct request *request, struct inode *dir, const char *name, int error)
{
	if (!error || replay_is_unknown(request))
		silly_set(request->fs, request->op.remove.victim, dir, name, &request->cred,
			  !error);
}

static void hidden_by_rename(struct request *request, int error)
{
	apply_dir(request, request->inode, &request->replay.got.rename.to);
	if (!error)
		names_drop(request->fs->names, request->inode, request->name);
	hidden(request, request->inode, request->new_name, error);
	finish(request, error);
}

static void hide_by_rename(struct request *request)
{
	silly_name(request->op.remove.victim, request->new_name);
	replay_send(request, &(struct replay){
		.op = REPLAY_RENAME,
		.dir = request->inode,
		.name = request->name,
		.to_dir = request->inode,
		.to_name = request->new_name,
		.file = request->op.remove.victim,
		.done = hidden_by_rename,
	});
}

static void unlink_victim(struct request *request)
{
	switch (begin_victim(request, request->inode, request->name)) {
	case SILLY_BUSY:
		finish(request, -EBUSY);
		break;
	case SILLY_HIDE:
		hide_by_rename(request);
		break;
	case SILLY_REMOVE:
		replay_send(request, &(struct replay){
			.op = REPLAY_REMOVE,
			.dir = request->inode,
			.name = request->name,
			.file = request->op.remove.victim,
			.done = remove_done,
		});
		break;
	}
}

void remove_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request *request = request_new(req, parent);

	if (!request || !request_set_name(request, name))
		return;
	request_groups(request);
	find_victim(request, request->inode, name, unlink_victim);
}

static void rmdir_done(struct request *request, int error);

static void send_rmdir(struct request *request, int64_t delay_ns)
{
	replay_send(request, &(struct replay){
		.op = REPLAY_RMDIR,
		.dir = request->inode,
		.name = request->name,
		.file = request->op.remove.victim,
		.delay_ns = delay_ns,
		.done = rmdir_done,
	});
}

/* RELEASE comes some time after close(2) has returned, and with it the end of a hidden name. */
static void rmdir_done(struct request *request, int error)
{
	struct inode *victim = request->op.remove.victim;

	if (error == -ENOTEMPTY && victim && silly_in_dir(victim) &&
	    request->op.remove.n_tries++ < RMDIR_TRIES && !request_answered(request))
		send_rmdir(request, RMDIR_PAUSE_NS);
	else
		remove_done(request, error);
}

void remove_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request *request = request_new(req, parent);

	if (!request || !request_set_name(request, name))
		return;
	request_groups(request);
	request->op.remove.victim = names_find(request->fs->names, request->inode, name);
	send_rmdir(request, 0);
}

/* ---- RENAME ------------------------------------------------------------------------------ */

/* The file that is renamed, if it is known: only its ctime changes. */
static void find_source(struct request *request)
{
	struct inode *source = names_find(request->fs->names, request->inode, request->name);

	request->op.remove.source = source;
	if (source)
		attr_expect_ctime(source);
}

/* Renaming one of a file's names over another of them does nothing (rename(2)). */
static bool is_same_file(struct request *request)
{
	struct inode *target = names_find(request->fs->names, request->other, request->new_name);
	bool same = target && target == request->op.remove.source;

	inode_put(request->fs->inodes, target);
	return same;
}

/* request->inode/name is now request->other/new_name, but for two names of one file. */
static void move_name(struct request *request)
{
	struct names *names = request->fs->names;
	struct inode *source = request->op.remove.source;

	if (is_same_file(request))
		return;
	names_drop(names, request->inode, request->name);
	names_drop(names, request->other, request->new_name);
	absent_drop(request->fs->absent, request->other, request->new_name);
	if (source)
		names_add(names, request->other, request->new_name, source, attr_stamp());
}

static void rename_done(struct request *request, int error)
{
	const struct nfs3_rename *rename = &request->replay.got.rename;

	apply_dir(request, request->inode, &rename->from);
	if (request->other != request->inode)
		apply_dir(request, request->other, &rename->to);
	if (!error) {
		note_lost_name(request);
		move_name(request);
	}
	finish(request, error);
}

static void rename_now(struct request *request)
{
	replay_send(request, &(struct replay){
		.op = REPLAY_RENAME,
		.dir = request->inode,
		.name = request->name,
		.to_dir = request->other,
		.to_name = request->new_name,
		.file = request->op.remove.source,
		.done = rename_done,
	});
}

static void source_sent(struct wback_wait *wait, int error UNUSED)
{
	struct request *request = container_of(wait, struct request, wait);

	if (request_answered(request))
		finish(request, -EINTR);
	else
		rename_now(request);
}

/* A file is often written and then renamed over another one: whoever finds it there shall find what
 * was written, as far as the server takes it. */
static void send_rename(struct request *request)
{
	struct inode *source = request->op.remove.source;

	request_track(request);
	request->wait.done = source_sent;
	request->wait.until_ns = INT64_MAX;
	if (!source || wback_send(source, &request->wait))
		rename_now(request);
}

static void target_hidden(struct request *request, int error)
{
	hidden(request, request->other, request->op.remove.hidden, error);
	if (error || request_answered(request))
		finish(request, error ? error : -EINTR);
	else
		send_rename(request);
}

static void target_renamed(struct request *request, int error)
{
	apply_dir(request, request->other, &request->replay.got.rename.to);
	target_hidden(request, error);
}

static void hide_target_by_rename(struct request *request)
{
	replay_send(request, &(struct replay){
		.op = REPLAY_RENAME,
		.dir = request->other,
		.name = request->new_name,
		.to_dir = request->other,
		.to_name = request->op.remove.hidden,
		.file = request->op.remove.victim,
		.done = target_renamed,
	});
}

static void target_linked(struct request *request, int error)
{
	apply_dir(request, request->other, &request->replay.got.link.dir);
	if (error == -EOPNOTSUPP || error == -EPERM || error == -EMLINK)
		hide_target_by_rename(request);
	else
		target_hidden(request, error);
}

static void hide_target(struct request *request)
{
	struct inode *victim = request->op.remove.victim;

	silly_name(victim, request->op.remove.hidden);
	replay_send(request, &(struct replay){
		.op = REPLAY_LINK,
		.dir = request->other,
		.name = request->op.remove.hidden,
		.file = victim,
		.done = target_linked,
	});
}

static void rename_over(struct request *request)
{
	if (request->op.remove.victim && request->op.remove.victim == request->op.remove.source) {
		inode_put(request->fs->inodes, request->op.remove.victim);
		request->op.remove.victim = NULL;
		send_rename(request); /* two names of one file: nothing is taken away */
		return;
	}
	switch (begin_victim(request, request->other, request->new_name)) {
	case SILLY_BUSY:
		finish(request, -EBUSY);
		break;
	case SILLY_HIDE:
		hide_target(request);
		break;
	case SILLY_REMOVE:
		send_rename(request);
		break;
	}
}

void remove_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		   const char *new_name, unsigned int flags)
{
	struct request *request = request_new(req, parent);

	if (!request || !request_pin_other(request, new_parent) ||
	    !request_set_name(request, name) || !request_set_new_name(request, new_name))
		return;
	if (flags) { /* RENAME_NOREPLACE, RENAME_EXCHANGE: not in NFS version 3 */
		request_reply_err(request, -EINVAL);
		return;
	}
	request_groups(request);
	find_source(request);
	find_victim(request, request->other, new_name, rename_over);
}
