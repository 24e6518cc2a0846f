/* SPDX-License-Identifier: GPL-2.0-or-later */
/* name - see name.h; lookup, forget. */
#include <errno.h>
#include <string.h>

#include "../conn/util.h"
#include "absent.h"
#include "dev.h"
#include "dircache.h"
#include "file.h"
#include "name.h"
#include "names.h"
#include "nearby.h"
#include "ops.h"

/* ---- what all of them do with a found or made object -------------------------------------- */

void name_learn(struct request *request, struct inode *child)
{
	struct fs *fs = request->fs;

	names_add(fs->names, request->inode, request->name, child, request->stamp);
	absent_drop(fs->absent, request->inode, request->name);
}

bool name_adopt(struct request *request, const struct fhandle *fh, const struct attr *attr)
{
	struct fs *fs = request->fs;

	request->other = inode_find(fs->inodes, fh, attr);
	if (!request->other) {
		request_reply_err(request, -ENOMEM);
		return false;
	}
	attr_apply(&fs->attr_policy, request->other, attr, request->stamp, fs_now_ns());
	name_learn(request, request->other);
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
	else if (name_adopt(request, &request->op.create.object.fh, &attr))
		reply_adopted(request);
}

void name_finish(struct request *request)
{
	struct nfs3_object *object = &request->op.create.object;

	if (object->attr.valid) {
		if (name_adopt(request, &object->fh, &object->attr.attr))
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

static void lookup_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_object *object = &request->op.create.object;

	if (request_unanswered(request) && request->call.impatient && !request_answered(request)) {
		if (!reply_known(request))
			name_send_lookup(request, lookup_done);
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
	name_finish(request);
}

static int encode_lookup(struct request *request)
{
	memset(&request->op.create.object, 0, sizeof(request->op.create.object));
	return nfs3_lookup_encode(request_call(request), &request->cred, inode_fh(request->inode),
				  request->name);
}

void name_send_lookup(struct request *request, request_done *done)
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
		name_send_lookup(request, lookup_done);
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
