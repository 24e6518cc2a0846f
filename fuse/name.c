/* SPDX-License-Identifier: GPL-2.0-or-later */
/* name - what finds and adds names: lookup, forget, readlink, create and its kin, link. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../conn/util.h"
#include "absent.h"
#include "dev.h"
#include "dircache.h"
#include "file.h"
#include "names.h"
#include "nearby.h"
#include "ops.h"

enum { TARGET_MAX = 1023 }; /* bytes of a link's text that are kept */

/* ---- what all of them do with a found or made object -------------------------------------- */

static void apply_dir(struct request *request, struct inode *dir, const struct wcc *wcc)
{
	attr_apply_own(&request->fs->attr_policy, dir, wcc, request->stamp, fs_now_ns());
}

static void learn_name(struct request *request, struct inode *child)
{
	struct fs *fs = request->fs;

	names_add(fs->names, request->inode, request->name, child, request->stamp);
	absent_drop(fs->absent, request->inode, request->name);
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
	learn_name(request, request->other);
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

/* Are failed lookups remembered? The server alone may know who can look up anything at all. */
static bool remembers_absent(const struct fs *fs)
{
	return fs->options->lookupcache == LOOKUPCACHE_ALL && fs->options->perm != PERM_SERVER;
}

/* is_absent - is the name known not to be there in the state of the directory that is known, and is
 * that the present one? */
static bool is_absent(struct request *request, bool *ret_valid)
{
	struct fs *fs = request->fs;
	struct attr dir;
	int64_t valid_ns = attr_get(request->inode, fs_now_ns(), &dir);

	*ret_valid = valid_ns > 0;
	return valid_ns >= 0 && remembers_absent(fs) &&
	       absent_find(fs->absent, request->inode, request->name, &dir);
}

static void learn_absent(struct request *request, const struct post_attr *dir)
{
	struct fs *fs = request->fs;

	names_drop(fs->names, request->inode, request->name);
	if (remembers_absent(fs) && dir->valid &&
	    attr_settled(request->inode, &dir->attr, request->sent_ns, time(NULL)))
		absent_add(fs->absent, request->inode, request->name, &dir->attr);
}

/* known_child - what the name was when it was last seen, by itself or in a listing that nothing of what
 * we know has outdated (a REMOVE of ours, say); a new reference or NULL. */
static struct inode *known_child(struct request *request)
{
	struct fs *fs = request->fs;
	struct inode *child = names_find(fs->names, request->inode, request->name);
	const struct dir_entry *entry;
	const struct dir_detail *detail;
	struct dir_page *page;
	struct attr dir;

	if (child)
		return child;
	page = dircache_lookup(fs->dircache, request->inode, request->name, &entry);
	if (page && (attr_get(request->inode, fs_now_ns(), &dir) < 0 ||
		     !attr_same_times(&page->dir.attr, &dir))) {
		dir_page_put(page);
		page = NULL;
	}
	detail = page ? dir_page_detail(page, entry) : NULL;
	if (detail && detail->has_fh && detail->attr.valid)
		child = inode_find(fs->inodes, &detail->fh, &detail->attr.attr);
	if (child)
		attr_apply(&fs->attr_policy, child, &detail->attr.attr, page->stamp, page->at_ns);
	dir_page_put(page);
	return child;
}

/* The server does not answer. False: nothing is known of the name. */
static bool reply_known(struct request *request)
{
	struct inode *child = known_child(request);
	struct attr attr;
	bool valid;

	if (child && attr_get(child, fs_now_ns(), &attr) >= 0) {
		request_reply_entry(request, child);
		return true;
	}
	inode_put(request->fs->inodes, child);
	if (!is_absent(request, &valid))
		return false;
	request_reply_err(request, -ENOENT);
	return true;
}

static void send_lookup(struct request *request, request_done *done);

static void lookup_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_object *object = &request->op.create.object;

	if (request_unanswered(request) && request->call.impatient && !request_answered(request)) {
		if (!reply_known(request))
			send_lookup(request, lookup_done);
		return;
	}
	if (!error)
		error = request_decoded(request, nfs3_lookup_decode(&request->call, object));
	if (object->dir.after.valid)
		attr_apply(&fs->attr_policy, request->inode, &object->dir.after.attr,
			   request->stamp, fs_now_ns());
	if (error == -ENOENT)
		learn_absent(request, &object->dir.after);
	if (error == -ESTALE)
		attr_expire(request->inode);
	if (error) {
		request_reply_err(request, error);
		return;
	}
	nearby_found(request->inode);
	finish_object(request);
}

static int encode_lookup(struct request *request)
{
	memset(&request->op.create.object, 0, sizeof(request->op.create.object));
	return nfs3_lookup_encode(request_call(request), &request->cred, inode_fh(request->inode),
				  request->name);
}

static void send_lookup(struct request *request, request_done *done)
{
	request_send(request, encode_lookup(request), done);
}

/* may_know - is it worth looking, should the server not answer? Names in a listing are not searched
 * for before. */
static bool may_know(struct request *request, bool absent)
{
	struct fs *fs = request->fs;
	struct inode *child;

	if (!fs_vouches(fs))
		return false;
	if (absent || dircache_has(fs->dircache, request->inode))
		return true;
	child = names_find(fs->names, request->inode, request->name);
	inode_put(fs->inodes, child);
	return child != NULL;
}

static void ask(struct request *request, bool absent)
{
	if (may_know(request, absent))
		request_send_soft(request, encode_lookup(request), lookup_done);
	else
		send_lookup(request, lookup_done);
}

/* A page of the directory that is not too old has it. */
static bool reply_nearby(struct request *request)
{
	struct inode *child = nearby_find(request);

	if (!child)
		return false;
	request_reply_entry(request, child);
	return true;
}

static void page_asked(struct request *request)
{
	bool valid;

	if (!reply_nearby(request))
		ask(request, is_absent(request, &valid));
}

void name_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct request *request = request_new(req, parent);
	bool absent, valid;

	if (!request || !request_set_name(request, name))
		return;
	absent = is_absent(request, &valid);
	if (absent && valid) {
		request_reply_err(request, -ENOENT);
		return;
	}
	request_groups(request);
	if (!reply_nearby(request) && !nearby_ask(request, page_asked))
		ask(request, absent);
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

/* The text of a link never changes, and the kernel keeps it, too (CACHE_SYMLINKS), but in its page
 * cache, from where it may go at any time. */
static void keep_target(struct inode *inode, const struct nfs3_readlink *link)
{
	char *target, *old;

	if (link->target_len > TARGET_MAX)
		return;
	target = strndup(link->target, link->target_len);
	mutex_lock(&inode->lock);
	old = inode->target;
	inode->target = target;
	mutex_unlock(&inode->lock);
	free(old);
}

static bool reply_kept_target(struct request *request)
{
	struct inode *inode = request->inode;
	char target[TARGET_MAX + 1] = "";

	if (!fs_vouches(request->fs))
		return false;
	mutex_lock(&inode->lock);
	if (inode->target)
		strcpy(target, inode->target);
	mutex_unlock(&inode->lock);
	if (!*target)
		return false;
	request_reply_readlink(request, target, (uint32_t)strlen(target));
	return true;
}

static bool has_target(struct inode *inode)
{
	bool has;

	mutex_lock(&inode->lock);
	has = inode->target != NULL;
	mutex_unlock(&inode->lock);
	return has;
}

static void readlink_done(struct request *request, int error)
{
	struct nfs3_readlink link = { 0 };

	if (request_unanswered(request) && reply_kept_target(request))
		return;
	if (!error)
		error = request_decoded(request, nfs3_readlink_decode(&request->call, &link));
	if (link.attr.valid)
		attr_apply(&request->fs->attr_policy, request->inode, &link.attr.attr,
			   request->stamp, fs_now_ns());
	if (error == -ESTALE)
		attr_expire(request->inode);
	if (error) {
		request_reply_err(request, error);
		return;
	}
	if (request->fs->options->softreval)
		keep_target(request->inode, &link);
	request_reply_readlink(request, link.target, link.target_len);
}

void name_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct request *request = request_new(req, ino);
	int error;

	if (!request)
		return;
	error = nfs3_readlink_encode(request_call(request), &request->cred, inode_fh(request->inode));
	if (has_target(request->inode) && fs_vouches(request->fs))
		request_send_soft(request, error, readlink_done);
	else
		request_send(request, error, readlink_done);
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

	*object = request->replay.got.object;
	apply_dir(request, request->inode, &object->dir);
	if (error == -EOPNOTSUPP && exclusive && !request_answered(request)) {
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
	learn_name(request, request->other);
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
