/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay_call - the calls of replay.h: how each is encoded and decoded, and what can be found out about it. */
#include <errno.h>

#include "replay_parts.h"
#include "request.h"

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

static const struct replay_call calls[] = {
	[REPLAY_CREATE] = { "CREATE", encode_create, decode_object, -EEXIST },
	[REPLAY_MKDIR] = { "MKDIR", encode_mkdir, decode_object, -EEXIST },
	[REPLAY_SYMLINK] = { "SYMLINK", encode_symlink, decode_object, -EEXIST },
	[REPLAY_MKNOD] = { "MKNOD", encode_mknod, decode_object, -EEXIST },
	[REPLAY_LINK] = { "LINK", encode_link, decode_link, -EEXIST },
	[REPLAY_REMOVE] = { "REMOVE", encode_remove, decode_remove, -ENOENT },
	[REPLAY_RMDIR] = { "RMDIR", encode_rmdir, decode_remove, -ENOENT },
	[REPLAY_RENAME] = { "RENAME", encode_rename, decode_rename, -ENOENT },
	[REPLAY_SETATTR] = { "SETATTR", encode_setattr, decode_setattr, -ENFS_NOTSYNC },
};

const struct replay_call *replay_call_of(const struct request *request)
{
	return &calls[request->replay.op];
}

bool replay_makes(const struct replay *replay)
{
	return replay->op <= REPLAY_MKNOD;
}

mode_t replay_type_made(const struct replay *replay)
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

bool replay_can_look(const struct replay *replay)
{
	if (replay_makes(replay))
		return replay->op != REPLAY_CREATE || replay->mode == NFS3_GUARDED;
	if (replay->op == REPLAY_SETATTR)
		return replay->set.set & SET_SIZE;
	return replay->file != NULL;
}
