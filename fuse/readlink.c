/* SPDX-License-Identifier: GPL-2.0-or-later */
/* readlink - the text of a symbolic link. It never changes, and the kernel keeps it, too (CACHE_SYMLINKS),
 * but in its page cache, from where it may go at any time. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "ops.h"
#include "request.h"

enum { TARGET_MAX = 1023 }; /* bytes of a link's text that are kept */

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
