/* SPDX-License-Identifier: GPL-2.0-or-later */
/* make - what adds names: create, mkdir, symlink, mknod, link. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#include "../conn/util.h"
#include "absent.h"
#include "file.h"
#include "name.h"
#include "names.h"
#include "ops.h"

static void apply_dir(struct request *request, struct inode *dir, const struct wcc *wcc)
{
	attr_apply_own(&request->fs->attr_policy, dir, wcc, request->stamp, fs_now_ns());
}

/* ---- CREATE, MKDIR, SYMLINK, MKNOD ------------------------------------------------------- */

static void created(struct request *request);

static void made_looked_up(struct request *request, int error)
{
	if (!error)
		error = request_decoded(request, nfs3_lookup_decode(&request->call,
								    &request->op.create.object));
	if (error)
		request_reply_err(request, error);
	else
		created(request);
}

/* EXCLUSIVE create cannot carry attributes, and keeps its verifier in the times. */
static void exclusive_set(struct request *request, int error)
{
	struct wcc wcc = { 0 };

	if (!error)
		error = request_decoded(request, nfs3_setattr_decode(&request->call, &wcc));
	if (error) {
		request_reply_err(request, error);
		return;
	}
	request->op.create.object.attr = wcc.after;
	name_finish(request);
}

static void created(struct request *request)
{
	struct nfs3_object *object = &request->op.create.object;
	struct setattr set = request->op.create.set;

	if (request->op.create.mode != NFS3_EXCLUSIVE) {
		name_finish(request);
		return;
	}
	request->op.create.mode = NFS3_GUARDED;
	set.set |= SET_ATIME_NOW | SET_MTIME_NOW;
	request_send(request,
		     nfs3_setattr_encode(request_call(request), &request->cred, &object->fh, &set,
					 NULL),
		     exclusive_set);
}

static void existing_looked_up(struct request *request, int error)
{
	struct nfs3_object *object = &request->op.create.object;
	struct fuse_file_info fi = request->op.create.fi;

	if (!error)
		error = request_decoded(request, nfs3_lookup_decode(&request->call, object));
	if (!error && (!object->attr.valid || !S_ISREG(object->attr.attr.mode)))
		error = -ESTALE; /* the kernel looks again, and then knows what it is */
	if (error) {
		request_reply_err(request, error);
		return;
	}
	if (!name_adopt(request, &object->fh, &object->attr.attr))
		return;
	memset(&request->op, 0, sizeof(request->op));
	request->op.open.fi = fi;
	request->op.open.inode = request->other;
	request->op.open.as_create = true;
	file_send_open(request);
}

static void send_create(struct request *request);

static void create_done(struct request *request, int error)
{
	struct nfs3_object *object = &request->op.create.object;
	bool exclusive = request->op.create.mode == NFS3_EXCLUSIVE;

	*object = request->replay.got.object;
	apply_dir(request, request->inode, &object->dir);
	if (error == -EOPNOTSUPP && exclusive && !request_answered(request)) {
		request->op.create.mode = NFS3_GUARDED;
		send_create(request);
	} else if (error == -EEXIST && request->op.create.open &&
		   !(request->op.create.fi.flags & O_EXCL)) {
		name_send_lookup(request, existing_looked_up); /* someone was faster: open his */
	} else if (error) {
		request_reply_err(request, error);
	} else if (!object->has_fh) {
		name_send_lookup(request, made_looked_up);
	} else {
		created(request);
	}
}

static void send_create(struct request *request)
{
	replay_send(request, &(struct replay){
		.op = REPLAY_CREATE,
		.dir = request->inode,
		.name = request->name,
		.mode = request->op.create.mode,
		.verf = request->op.create.verf,
		.exclusive = request->op.create.open && request->op.create.fi.flags & O_EXCL,
		.set = request->op.create.set,
		.done = create_done,
	});
}

static struct request *make_request(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct request *request = request_new(req, parent);

	if (!request || !request_set_name(request, name))
		return NULL;
	request_groups(request);
	request->op.create.set = (struct setattr){ .set = SET_MODE, .mode = mode & 07777 };
	request->op.create.mode = NFS3_GUARDED;
	return request;
}

static uint64_t create_verifier(void)
{
	uint64_t verf = 0;

	if (getrandom(&verf, sizeof(verf), 0) != sizeof(verf))
		verf = (uint64_t)clock_ns() << 16 ^ (uint64_t)getpid();
	return verf;
}

void name_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		 struct fuse_file_info *fi)
{
	struct request *request = make_request(req, parent, name, mode);

	if (!request)
		return;
	request->op.create.open = true;
	request->op.create.fi = *fi;
	if (fi->flags & O_EXCL) {
		request->op.create.mode = replay_exclusive_mode(request->fs);
		if (request->op.create.mode == NFS3_EXCLUSIVE)
			request->op.create.verf = create_verifier();
	}
	send_create(request);
}

void name_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct request *request = make_request(req, parent, name, mode);

	if (!request)
		return;
	if (S_ISREG(mode)) {
		send_create(request);
		return;
	}
	replay_send(request, &(struct replay){
		.op = REPLAY_MKNOD,
		.dir = request->inode,
		.name = request->name,
		.type = mode & S_IFMT,
		.rdev = rdev,
		.set = request->op.create.set,
		.done = create_done,
	});
}

void name_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct request *request = make_request(req, parent, name, mode);

	if (!request)
		return;
	replay_send(request, &(struct replay){
		.op = REPLAY_MKDIR,
		.dir = request->inode,
		.name = request->name,
		.set = request->op.create.set,
		.done = create_done,
	});
}

void name_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct request *request = make_request(req, parent, name, 0777);
	size_t size = strlen(target) + 1;

	if (!request)
		return;
	request->large_head = malloc(CALL_HEAD_LARGE + size);
	if (!request->large_head) {
		request_reply_err(request, -ENOMEM);
		return;
	}
	replay_send(request, &(struct replay){
		.op = REPLAY_SYMLINK,
		.dir = request->inode,
		.name = request->name,
		.target = memcpy((char *)request->large_head + CALL_HEAD_LARGE, target, size),
		.set = request->op.create.set,
		.done = create_done,
	});
}

/* ---- LINK -------------------------------------------------------------------------------- */

/* request->inode is the new parent, request->other the file. */
static void link_attr_done(struct request *request, int error)
{
	struct attr attr;

	if (!error)
		error = request_decoded(request, nfs3_getattr_decode(&request->call, &attr));
	if (error) {
		request_reply_err(request, error);
		return;
	}
	attr_apply(&request->fs->attr_policy, request->other, &attr, request->stamp, fs_now_ns());
	request_reply_entry(request, inode_ref(request->other));
}

static void link_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	const struct nfs3_link *link = &request->replay.got.link;

	apply_dir(request, request->inode, &link->dir);
	attr_expire(request->other);
	if (error) {
		request_reply_err(request, error);
		return;
	}
	name_learn(request, request->other);
	if (!link->attr.valid) {
		request_send(request,
			     nfs3_getattr_encode(request_call(request), &request->cred,
						 inode_fh(request->other)),
			     link_attr_done);
		return;
	}
	attr_apply(&fs->attr_policy, request->other, &link->attr.attr, request->stamp, fs_now_ns());
	request_reply_entry(request, inode_ref(request->other));
}

void name_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct request *request = request_new(req, new_parent);

	if (!request || !request_pin_other(request, ino) || !request_set_name(request, new_name))
		return;
	request_groups(request);
	attr_expect_ctime(request->other);
	replay_send(request, &(struct replay){
		.op = REPLAY_LINK,
		.dir = request->inode,
		.name = request->name,
		.file = request->other,
		.done = link_done,
	});
}
