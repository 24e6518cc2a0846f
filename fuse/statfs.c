/* SPDX-License-Identifier: GPL-2.0-or-later */
/* statfs - FSSTAT, and its last answer for when the server is down. */
#include "statfs.h"

#include "offline.h"
#include "ops.h"
#include "request.h"

enum { BLOCK = 4096 }; /* the unit df(1) counts in; NFS counts bytes */

void statfs_fill(const struct fs *fs, const struct nfs3_fsstat *fsstat, struct statvfs *ret_st)
{
	*ret_st = (struct statvfs){
		.f_bsize = fs->wsize,
		.f_frsize = BLOCK,
		.f_blocks = fsstat->tbytes / BLOCK,
		.f_bfree = fsstat->fbytes / BLOCK,
		.f_bavail = fsstat->abytes / BLOCK,
		.f_files = fsstat->tfiles,
		.f_ffree = fsstat->ffiles,
		.f_favail = fsstat->afiles,
		.f_namemax = fs->name_max,
	};
}

/* Whatever softreval says: nobody waits for df(1), if there is something to tell. */
static bool reply_known(struct request *request)
{
	struct statvfs st;

	if (!fs_cached_statvfs(request->fs, &st))
		return false;
	request_reply_statfs(request, &st);
	return true;
}

static void statfs_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_fsstat fsstat;
	struct statvfs st;

	if (request_unanswered(request) && reply_known(request))
		return;
	if (!error)
		error = request_decoded(request, nfs3_fsstat_decode(&request->call, &fsstat));
	if (error) {
		request_reply_err(request, error);
		return;
	}
	statfs_fill(fs, &fsstat, &st);
	fs_cache_statvfs(fs, &st);
	request_reply_statfs(request, &st);
}

void statfs_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct request *request;
	struct statvfs known;
	int error;

	if (offline_statfs(req))
		return;
	request = request_new(req, ino ? ino : INODE_ROOT);
	if (!request)
		return;
	error = nfs3_fsstat_encode(request_call(request), &request->cred, inode_fh(request->inode));
	if (fs_cached_statvfs(request->fs, &known))
		request_send_soft(request, error, statfs_done);
	else
		request_send(request, error, statfs_done);
}
