/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay_look - the server is asked what has become of a call whose reply was lost; replay_rule.h judges the answer. */
#include <errno.h>
#include <string.h>

#include "../conn/util.h"
#include "replay_parts.h"
#include "request.h"

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

/* After each question: was it answered, and does anybody still want to know? False: the ladder has
 * gone on or has ended. */
static bool is_answer(struct request *request)
{
	if (!request->call.status && !request_answered(request))
		return true;
	replay_look(request, replay_next_pause_ns(&request->replay));
	return false;
}

static void judged(struct request *request, enum replay_verdict verdict)
{
	struct replay *replay = &request->replay;

	switch (verdict) {
	case REPLAY_EXECUTED:
		replay_finish(request, 0);
		break;
	case REPLAY_SEND:
		/* Lost again and again: not at once for ever. */
		if (replay_has_time(request))
			replay_attempt(request, replay->n_sent > 1 ? replay_next_pause_ns(replay) : 0);
		else
			replay_give_up(request);
		break;
	case REPLAY_EXISTS:
		replay_finish(request, -EEXIST);
		break;
	case REPLAY_GONE:
		replay_finish(request, -ENOENT);
		break;
	case REPLAY_UNKNOWN:
		replay_give_up(request);
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
		replay_give_up(request);
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
		replay_give_up(request);
	else if (link.target_len == strlen(target) && !memcmp(link.target, target, link.target_len))
		judged(request, REPLAY_EXECUTED);
	else
		judged(request, REPLAY_EXISTS);
}

static void judge_made(struct request *request)
{
	const struct replay *replay = &request->replay;
	const struct replay_made made = {
		.type = replay_type_made(replay),
		.uid = replay->without_nonce ? 0 : request->cred.uid,
		.rdev = replay->rdev,
		.nonce = replay->set.atime,
		.nonce_ignored = !(replay->set.set & SET_ATIME) ||
				 atomic_load(replay_nonce_memory(request)),
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
		if (request->replay.n_doubts++ < REPLAY_DOUBTS_MAX)
			replay_look(request, replay_next_pause_ns(&request->replay));
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
		replay_give_up(request);
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
		replay_give_up(request);
		return;
	}
	verdict = replay_judge_resize(&replay->set, replay->has_before ? &replay->before : NULL,
				      &found);
	replay->got.wcc = (struct wcc){ .after = { .valid = true, .attr = found } };
	replay->before = found.ctime;
	replay->has_before = replay->guarded = true;
	judged(request, verdict);
}

static const struct question {
	int (*ask)(struct request *request);
	request_done *looked;
} questions[] = {
	[REPLAY_CREATE] = { ask_name, make_looked },
	[REPLAY_MKDIR] = { ask_name, make_looked },
	[REPLAY_SYMLINK] = { ask_name, make_looked },
	[REPLAY_MKNOD] = { ask_name, make_looked },
	[REPLAY_LINK] = { ask_name, link_looked },
	[REPLAY_REMOVE] = { ask_name, remove_looked },
	[REPLAY_RMDIR] = { ask_name, remove_looked },
	[REPLAY_RENAME] = { ask_name, rename_looked },
	[REPLAY_SETATTR] = { ask_attr, resize_looked },
};

void replay_look(struct request *request, int64_t delay_ns)
{
	const struct question *question = &questions[request->replay.op];

	memset(&request->replay.got, 0, sizeof(request->replay.got));
	if (replay_has_time(request))
		request_send_after(request, question->ask(request), question->looked, delay_ns);
	else
		replay_give_up(request);
}
