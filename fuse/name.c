/* SPDX-License-Identifier: GPL-2.0-or-later */
/* name - what finds and adds names: lookup, forget, readlink, create and its kin, link. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../conn/util.h"
#include "dev.h"
#include "file.h"
#include "names.h"
#include "ops.h"

/* ---- what all of them do with a found or made object -------------------------------------- */

static void apply_dir(struct request *request, struct inode *dir, const struct wcc *wcc)
{
	attr_apply_own(&request->fs->attr_policy, dir, wcc, request->stamp, fs_now_ns());
}

/* The inode of an object, in request->other, with its attributes applied and its name known. False:
 * answered without memory. */
static bool adopt(struct request *request, const struct fhandle *fh, const struct attr *attr)
{
	struct fs *fs = request->fs;

	request->other = inode_find(fs->inodes, fh, attr);
	if (!request->other) {
		request_reply_err(request, -ENOMEM);
		return false;
	}
	attr_apply(&fs->attr_policy, request->other, attr, request->stamp, fs_now_ns());
	names_add(fs->names, request->inode, request->name, request->other, request->stamp);
	return true;
}

/* Reply with request->other, as an entry or as an opened file. */
static void reply_adopted(struct request *request)
{
	if (request->op.create.open) {
		struct fuse_file_info fi = request->op.create.fi;

		memset(&request->op, 0, sizeof(request->op));
		request->op.open.fi = fi;
		request->op.open.inode = request->other;
		request->op.open.as_create = true;
		file_reply_open(request);
	} else {
		request_reply_entry(request, inode_ref(request->other));
	}
}

/* ---- LOOKUP ------------------------------------------------------------------------------ */

/* The handle is known, its attributes were not told: the server may leave them out. */
static void lookup_attr_done(struct request *request, int error)
{
	struct attr attr;

	if (!error)
		error = request_decoded(request, nfs3_getattr_decode(&request->call, &attr));
	if (error)
		request_reply_err(request, error);
	else if (adopt(request, &request->op.create.object.fh, &attr))
		reply_adopted(request);
}

static void finish_object(struct request *request)
{
	struct nfs3_object *object = &request->op.create.object;

	if (object->attr.valid) {
		if (adopt(request, &object->fh, &object->attr.attr))
			reply_adopted(request);
		return;
	}
	request_send(request,
		     nfs3_getattr_encode(request_call(request), &request->cred, &object->fh),
		     lookup_attr_done);
}

static void lookup_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_object *object = &request->op.create.object;

	if (!error)
		error = request_decoded(request, nfs3_lookup_decode(&request->call, object));
	if (object->dir.after.valid)
		attr_apply(&fs->attr_policy, request->inode, &object->dir.after.attr,
			   request->stamp, fs_now_ns());
	if (error == -ENOENT)
		names_drop(fs->names, request->inode, request->name);
	if (error == -ESTALE)
		attr_expire(request->inode);
	if (error)
		request_reply_err(request, error);
	else
		finish_object(request);
}

static void send_lookup(struct request *request, request_done *done)
{
	memset(&request->op.create.object, 0, sizeof(request->op.create.object));
	request_send(request,
		     nfs3_lookup_encode(request_call(request), &request->cred, &request->inode->fh,
					request->name),
		     done);
}

void name_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request *request = request_new(req, parent);

	if (!request || !request_set_name(request, name))
		return;
	request_groups(request);
	send_lookup(request, lookup_done);
}

void name_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	inode_forget(dev_current_fs()->inodes, ino, nlookup);
	fuse_reply_none(req);
}

void name_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		inode_forget(dev_current_fs()->inodes, forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

/* ---- READLINK ---------------------------------------------------------------------------- */

static void readlink_done(struct request *request, int error)
{
	struct nfs3_readlink link = { 0 };

	if (!error)
		error = request_decoded(request, nfs3_readlink_decode(&request->call, &link));
	if (link.attr.valid)
		attr_apply(&request->fs->attr_policy, request->inode, &link.attr.attr,
			   request->stamp, fs_now_ns());
	if (error)
		request_reply_err(request, error);
	else
		request_reply_readlink(request, link.target, link.target_len);
}

void name_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct request *request = request_new(req, ino);

	if (!request)
		return;
	request_send(request,
		     nfs3_readlink_encode(request_call(request), &request->cred,
					  &request->inode->fh),
		     readlink_done);
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
	finish_object(request);
}

static void created(struct request *request)
{
	struct nfs3_object *object = &request->op.create.object;
	struct setattr set = request->op.create.set;

	if (request->op.create.mode != NFS3_EXCLUSIVE) {
		finish_object(request);
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
	if (!adopt(request, &object->fh, &object->attr.attr))
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

	if (!error)
		error = request_decoded(request, nfs3_create_decode(&request->call, object));
	apply_dir(request, request->inode, &object->dir);
	if (error == -EOPNOTSUPP && exclusive) {
		request->op.create.mode = NFS3_GUARDED;
		send_create(request);
	} else if (error == -EEXIST && request->op.create.open &&
		   !(request->op.create.fi.flags & O_EXCL)) {
		send_lookup(request, existing_looked_up); /* someone was faster: open his */
	} else if (error) {
		request_reply_err(request, error);
	} else if (!object->has_fh) {
		send_lookup(request, made_looked_up);
	} else {
		created(request);
	}
}

static void send_create(struct request *request)
{
	request_send(request,
		     nfs3_create_encode(request_call(request), &request->cred, &request->inode->fh,
					request->name, request->op.create.mode,
					&request->op.create.set, request->op.create.verf),
		     create_done);
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
		request->op.create.mode = NFS3_EXCLUSIVE;
		request->op.create.verf = create_verifier();
	}
	send_create(request);
}

void name_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct request *request = make_request(req, parent, name, mode);

	if (!request)
		return;
	if (S_ISREG(mode))
		send_create(request);
	else
		request_send(request,
			     nfs3_mknod_encode(request_call(request), &request->cred,
					       &request->inode->fh, name, mode & S_IFMT, rdev,
					       &request->op.create.set),
			     create_done);
}

void name_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct request *request = make_request(req, parent, name, mode);

	if (!request)
		return;
	request_send(request,
		     nfs3_mkdir_encode(request_call(request), &request->cred, &request->inode->fh,
				       name, &request->op.create.set),
		     create_done);
}

void name_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct request *request = make_request(req, parent, name, 0777);
	struct call *call;

	if (!request)
		return;
	request->large_head = malloc(CALL_HEAD_LARGE);
	if (!request->large_head) {
		request_reply_err(request, -ENOMEM);
		return;
	}
	call = request_call(request);
	call->head = request->large_head;
	call->head_size = CALL_HEAD_LARGE;
	request_send(request,
		     nfs3_symlink_encode(call, &request->cred, &request->inode->fh, name, target,
					 &request->op.create.set),
		     create_done);
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
	struct nfs3_link link = { 0 };

	if (!error)
		error = request_decoded(request, nfs3_link_decode(&request->call, &link));
	apply_dir(request, request->inode, &link.dir);
	attr_expire(request->other);
	if (error) {
		request_reply_err(request, error);
		return;
	}
	names_add(fs->names, request->inode, request->name, request->other, request->stamp);
	if (!link.attr.valid) {
		request_send(request,
			     nfs3_getattr_encode(request_call(request), &request->cred,
						 &request->other->fh),
			     link_attr_done);
		return;
	}
	attr_apply(&fs->attr_policy, request->other, &link.attr.attr, request->stamp, fs_now_ns());
	request_reply_entry(request, inode_ref(request->other));
}

void name_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name)
{
	struct request *request = request_new(req, new_parent);

	if (!request || !request_pin_other(request, ino) || !request_set_name(request, new_name))
		return;
	request_groups(request);
	attr_expect_ctime(request->other);
	request_send(request,
		     nfs3_link_encode(request_call(request), &request->cred, &request->other->fh,
				      &request->inode->fh, new_name),
		     link_done);
}
