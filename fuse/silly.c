/* SPDX-License-Identifier: GPL-2.0-or-later */
/* silly - see silly.h. inode->silly is guarded by the inode's lock. */
#include "silly.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../conn/util.h"
#include "file.h"
#include "log.h"
#include "wback.h"

/* Known for sure: attributes that may be old would cost an open file its last name. */
static bool has_other_names(struct inode *inode)
{
	struct attr attr;

	return attr_get(inode, fs_now_ns(), &attr) > 0 && attr.nlink > 1;
}

static bool is_hidden_name(const struct silly *silly, const struct inode *dir, const char *name)
{
	return silly && silly->parent == dir && !strcmp(silly->name, name);
}

static bool is_hidden(const struct silly *silly)
{
	return silly && silly->sure;
}

enum silly_choice silly_begin(struct inode *inode, const struct inode *dir, const char *name)
{
	bool other_names = has_other_names(inode);
	enum silly_choice choice;

	mutex_lock(&inode->lock);
	if (is_hidden_name(inode->silly, dir, name))
		choice = SILLY_BUSY;
	else if (inode->n_open > 0 && !is_hidden(inode->silly) && !other_names &&
		 !S_ISDIR(inode->type))
		choice = SILLY_HIDE;
	else
		choice = SILLY_REMOVE;
	inode->n_removing += choice == SILLY_REMOVE;
	inode->n_open += choice == SILLY_HIDE;
	mutex_unlock(&inode->lock);
	return choice;
}

void silly_let_go(struct inode *inode)
{
	bool last;

	mutex_lock(&inode->lock);
	last = --inode->n_open == 0;
	mutex_unlock(&inode->lock);
	if (last)
		wback_commit(inode);
}

void silly_end(struct inode *inode)
{
	struct request *request;

	mutex_lock(&inode->lock);
	inode->n_removing--;
	mutex_unlock(&inode->lock);
	for (;;) {
		mutex_lock(&inode->lock);
		request = inode->n_removing ? NULL : SLIST_FIRST(&inode->opens_waiting);
		if (request)
			SLIST_REMOVE_HEAD(&inode->opens_waiting, waiting_link);
		mutex_unlock(&inode->lock);
		if (!request)
			return;
		file_send_open(request);
	}
}

bool silly_wait_open(struct inode *inode, struct request *request)
{
	bool waits;

	mutex_lock(&inode->lock);
	waits = inode->n_removing > 0;
	if (waits)
		SLIST_INSERT_HEAD(&inode->opens_waiting, request, waiting_link);
	else
		inode->n_open++;
	mutex_unlock(&inode->lock);
	return waits;
}

unsigned int silly_hides(struct inode *inode)
{
	unsigned int hides;

	mutex_lock(&inode->lock);
	hides = is_hidden(inode->silly) ? 1 : 0;
	mutex_unlock(&inode->lock);
	return hides;
}

void silly_name(const struct inode *inode, char name[40])
{
	uint32_t suffix = 0;

	/* Another client may hide the same file: the name must not be guessable from it alone. */
	if (getrandom(&suffix, sizeof(suffix), 0) != sizeof(suffix))
		suffix = (uint32_t)clock_ns();
	snprintf(name, 40, ".nfs%016" PRIx64 "%08" PRIx32, inode->fileid, suffix);
}

static void count_hidden(struct inode *dir, int change)
{
	mutex_lock(&dir->lock);
	dir->n_hidden += (unsigned int)change;
	mutex_unlock(&dir->lock);
}

bool silly_in_dir(struct inode *dir)
{
	bool any;

	mutex_lock(&dir->lock);
	any = dir->n_hidden > 0;
	mutex_unlock(&dir->lock);
	return any;
}

void silly_set(struct fs *fs, struct inode *inode, struct inode *parent, const char *name,
	       const struct cred *cred, bool sure)
{
	struct silly *silly = malloc(sizeof(*silly));
	struct silly *old;

	if (!silly) {
		log_warn(MSG_NONE, "no memory: '%s' will not be removed", name);
		return;
	}
	*silly = (struct silly){ .parent = inode_ref(parent), .cred = *cred, .sure = sure };
	snprintf(silly->name, sizeof(silly->name), "%s", name);
	count_hidden(parent, 1);
	mutex_lock(&inode->lock);
	old = inode->silly;
	inode->silly = silly;
	mutex_unlock(&inode->lock);
	if (old) {
		count_hidden(old->parent, -1);
		inode_put(fs->inodes, old->parent);
	}
	free(old);
}

/* Taken off the inode if it is not open (again); opens wait from here for silly_end(). */
static struct silly *take(struct inode *inode)
{
	struct silly *silly = NULL;

	mutex_lock(&inode->lock);
	if (inode->n_open == 0) {
		silly = inode->silly;
		inode->silly = NULL;
		inode->n_removing += silly != NULL;
	}
	mutex_unlock(&inode->lock);
	return silly;
}

static void removed(struct request *request, int error)
{
	struct fs *fs = request->fs;

	attr_apply_own(&fs->attr_policy, request->other, &request->replay.got.wcc, request->stamp,
		       fs_now_ns());
	count_hidden(request->other, -1);
	if (error && error != -ENOENT)
		log_info(MSG_NONE, "the hidden name '%s' of a removed file stays behind: error %d",
			 request->name, -error);
	silly_end(request->op.release.inode);
	inode_put(fs->inodes, request->op.release.inode);
	request_reply_err(request, request->op.release.error);
}

void silly_release(struct request *request, struct inode *inode, int release_error)
{
	struct silly *silly = take(inode);

	if (!silly) {
		request_reply_err(request, release_error);
		return;
	}
	attr_expire(inode);
	request->op.release.inode = inode_ref(inode);
	request->op.release.error = release_error;
	inode_put(request->fs->inodes, request->other);
	request->other = silly->parent; /* its pin is now the request's */
	snprintf(request->name, sizeof(request->name), "%s", silly->name);
	request->cred = silly->cred;
	free(silly);
	replay_send(request, &(struct replay){
		.op = REPLAY_REMOVE,
		.dir = request->other,
		.name = request->name,
		.file = inode,
		.done = removed,
	});
}

struct removal {
	struct fs *fs;
	int64_t deadline_ns;
};

/* A copy of what the last call needs: its file may be closed at any moment. The parent's reference is
 * the caller's. False: nothing is hidden. */
static bool copy_hidden(struct inode *inode, struct silly *ret_silly)
{
	bool hidden;

	mutex_lock(&inode->lock);
	hidden = inode->silly != NULL;
	if (hidden) {
		*ret_silly = *inode->silly;
		inode_ref(ret_silly->parent);
	}
	mutex_unlock(&inode->lock);
	return hidden;
}

static void remove_now(struct inode *inode, void *arg)
{
	const struct removal *removal = arg;
	uint32_t head[CALL_HEAD_SMALL / 4], copy[128];
	struct silly silly;
	struct call call;

	if (clock_ns() >= removal->deadline_ns || !copy_hidden(inode, &silly))
		return;
	call_init(&call);
	call.head = (uint8_t *)head;
	call.head_size = sizeof(head);
	call.deadline_ns = removal->deadline_ns;
	if (nfs3_remove_encode(&call, &silly.cred, inode_fh(silly.parent), silly.name) ||
	    pool_call_wait(removal->fs->pool, &call, (uint8_t *)copy, sizeof(copy)))
		log_info(MSG_NONE, "the hidden name '%s' of a removed file stays behind",
			 silly.name);
	inode_put(removal->fs->inodes, silly.parent);
}

void silly_remove_all(struct fs *fs, int64_t deadline_ns)
{
	struct removal removal = { .fs = fs, .deadline_ns = deadline_ns };

	inode_table_each(fs->inodes, remove_now, &removal);
}

void silly_free(struct inode_table *inodes, struct inode *inode)
{
	struct silly *silly = inode->silly;

	if (!silly)
		return;
	inode->silly = NULL;
	count_hidden(silly->parent, -1);
	inode_put(inodes, silly->parent);
	free(silly);
}
