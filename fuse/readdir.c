/* SPDX-License-Identifier: GPL-2.0-or-later */
/* readdir - listing directories: what dir.h keeps, fetched page by page and told to the kernel (listing.h).
 *
 * Pages are kept in the mount's memory (dircache.h). One from there takes the place of a call
 *   - if the directory has not changed since, as far as valid attributes tell: OPENDIR has just
 * fetched them (close-to-open). The Linux client does the same; unlike there, a page counts only if
 * a later change cannot have the same times (attr.h, attr_settled()). Where attributes of its files
 * were asked for one by one, a READDIRPLUS that brings fresh ones is cheaper than an old page;
 *   - if the server does not answer (softreval), whatever may have changed.
 *
 * Calls are made with the opener's cred, as the kernel's NFS client does: a handle may be read by
 * someone it was passed to. */
#include <errno.h>
#include <time.h>

#include "../conn/util.h"
#include "dir.h"
#include "dircache.h"
#include "listing.h"
#include "ops.h"
#include "readdir.h"
#include "request.h"

enum {
	MAX_RESTARTS = 16,  /* refused cookies in one request, before EIO */
	MANY_STATS = 16,    /* of its files: attributes are wanted here with the names */
};

static struct dir *dir_of(const struct fuse_file_info *fi)
{
	return (struct dir *)(uintptr_t)fi->fh;
}

/* ---- fetching ---------------------------------------------------------------------------- */

/* Each way out of a request drops its reference to the handle. */
static void fail(struct request *request, int error)
{
	struct dir *dir = request->op.readdir.dir;

	request_reply_err(request, error);
	dir_put(dir);
}

static void reply(struct request *request, struct listing *listing)
{
	struct inode_table *inodes = request->fs->inodes;
	struct dir *dir = request->op.readdir.dir;

	if (!request_reply_dirents(request, listing->buf, listing->used))
		for (uint32_t i = 0; i < listing->n_nodeids; i++)
			inode_forget(inodes, listing->nodeids[i], 1);
	dir_put(dir);
}

/* Nothing would mean the end: something has to fit. */
static void serve(struct request *request, struct dir_page *page, uint64_t dotdot)
{
	struct listing listing;

	if (!listing_init(&listing, request, page, dotdot)) {
		fail(request, -ENOMEM);
	} else {
		listing_fill(&listing);
		if (listing.used)
			reply(request, &listing);
		else
			fail(request, -EINVAL);
	}
	listing_deinit(&listing);
	dir_page_put(page);
}

static void end(struct request *request)
{
	struct listing empty = { .request = request };

	reply(request, &empty);
}

static void next(struct request *request);
static void fetch(struct request *request);
static void page_done(struct request *request, int error);

static bool want_plus(const struct request *request)
{
	struct fs *fs = request->fs;

	return request->op.readdir.plus && fs->options->rdirplus != RDIRPLUS_NONE &&
	       !atomic_load_explicit(&fs->no_readdirplus, memory_order_relaxed);
}

/* use_page - a page from memory in place of the call. */
static void use_page(struct request *request, struct dir_page *page)
{
	int error = dir_accept_shared(request->op.readdir.dir, &request->op.readdir.fetch, page);

	if (error)
		fail(request, error);
	else
		next(request);
}

/* Are the attributes of a page good enough for the kernel's READDIRPLUS, which it sends at the
 * beginning of every listing, whether somebody wants them or not? */
static bool has_attributes(const struct request *request, const struct dir_page *page)
{
	int64_t age_ns = fs_now_ns() - page->at_ns;
	uint32_t n_stats;

	if (!want_plus(request))
		return true;
	n_stats = atomic_load_explicit(&request->inode->n_child_stats, memory_order_relaxed);
	return page->plus &&
	       (n_stats < MANY_STATS || age_ns < request->fs->attr_policy.regmin_ns);
}

static struct dir_page *kept_page(const struct request *request)
{
	return dircache_find(request->fs->dircache, request->inode, &request->op.readdir.fetch);
}

/* One that is good enough when nobody answers: however old, but not from before a change of our own. */
static struct dir_page *last_page(const struct request *request)
{
	struct dir_page *page = kept_page(request);
	struct attr attr;

	if (page && page->dir.valid && attr_get(request->inode, fs_now_ns(), &attr) >= 0 &&
	    attr_same_times(&attr, &page->dir.attr))
		return page;
	dir_page_put(page);
	return NULL;
}

/* The root may have been opened from memory, without the server's permission. */
static bool may_show(const struct fs *fs)
{
	return fs_vouches(fs) || pool_server_state(fs->pool) == SERVER_UP;
}

/* The server would say the same, as far as is known. */
static bool is_answer(const struct request *request, const struct dir_page *page)
{
	return may_show(request->fs) && page->settled && listing_is_current(request, page) &&
	       has_attributes(request, page);
}

/* get_page - from memory, if that is an answer; else by a call. */
static void get_page(struct request *request)
{
	struct dir_page *page = kept_page(request);

	if (page && is_answer(request, page)) {
		use_page(request, page);
		return;
	}
	request->op.readdir.patient = !page || !fs_vouches(request->fs);
	dir_page_put(page);
	fetch(request);
}

/* no_answer - from memory after all; true if there is something. */
static bool no_answer(struct request *request)
{
	struct dir_page *page;

	if (request->op.readdir.patient || request_answered(request))
		return false;
	page = last_page(request);
	if (page) {
		use_page(request, page);
	} else {
		request->op.readdir.patient = true;
		fetch(request);
	}
	return true;
}

static void fetch(struct request *request)
{
	struct fs *fs = request->fs;
	struct dir *dir = request->op.readdir.dir;
	struct dir_fetch *asked = &request->op.readdir.fetch;
	int error;

	asked->plus = want_plus(request);
	asked->bytes = dir_bytes(dir, fs->readdirsize);
	error = nfs3_readdir_encode(request_call(request), dir_cred(dir), inode_fh(request->inode),
				    asked->cookie, asked->cookieverf, asked->bytes, asked->plus);
	if (error) {
		fail(request, error);
		return;
	}
	if (request->op.readdir.patient)
		request_send(request, 0, page_done);
	else
		request_send_soft(request, 0, page_done);
}

/* next - serve what is there, or fetch what is missing. */
static void next(struct request *request)
{
	struct dir *dir = request->op.readdir.dir;
	struct dir_page *page = NULL;
	uint64_t dotdot;

	if (request_answered(request)) {
		fail(request, -EINTR);
		return;
	}
	switch (dir_find(dir, request->op.readdir.position, &page, &dotdot,
			 &request->op.readdir.fetch)) {
	case DIR_PAGE:
		serve(request, page, dotdot);
		break;
	case DIR_FETCH:
		get_page(request);
		break;
	case DIR_END:
		end(request);
		break;
	}
}

/* next_call - the server has answered: the deadline is for silence, and a search takes many. */
static void next_call(struct request *request)
{
	request->deadline_ns = fs_deadline_ns(request->fs, fs_now_ns());
	next(request);
}

static int add_entries(struct dir_page *page, struct nfs3_page *from)
{
	struct nfs3_entry entry;
	int more;

	while ((more = nfs3_readdir_next(from, &entry)) > 0) {
		int error = dir_page_add(page, &entry);

		if (error)
			return error;
	}
	return more;
}

/* new_page - the reply as a page; 0 or -errno. */
static int new_page(struct request *request, const struct dir_fetch *fetch, struct nfs3_page *from,
		    struct dir_page **ret_page)
{
	struct dir_page *page = dir_page_new();
	int error = page ? add_entries(page, from) : -ENOMEM;

	if (error) {
		dir_page_put(page);
		return error;
	}
	dir_page_trim(page);
	page->at = fetch->at;
	page->cookie = fetch->cookie;
	page->plus = fetch->plus;
	page->cookieverf = from->cookieverf;
	page->eof = from->eof;
	page->dir = from->dir;
	page->stamp = request->stamp;
	page->at_ns = fs_now_ns();
	page->settled = from->dir.valid && attr_settled(request->inode, &from->dir.attr,
							request->sent_ns, time(NULL));
	*ret_page = page;
	return 0;
}

static int decode(struct request *request, const struct dir_fetch *fetch, struct dir_page **ret_page)
{
	struct nfs3_page from;
	int error = nfs3_readdir_decode(&request->call, fetch->plus, &from);

	if (from.dir.valid && error != -EBADMSG)
		attr_apply(&request->fs->attr_policy, request->inode, &from.dir.attr,
			   request->stamp, fs_now_ns());
	return error ? error : new_page(request, fetch, &from, ret_page);
}

int readdir_page(struct request *request, const struct dir_fetch *fetch, struct dir_page **ret_page)
{
	return request_decoded(request, decode(request, fetch, ret_page));
}

static int take_page(struct request *request, struct dir_page *page)
{
	int error = dir_accept(request->op.readdir.dir, &request->op.readdir.fetch,
			       dir_page_ref(page));

	if (!error)
		dircache_add(request->fs->dircache, request->inode, page);
	dir_page_put(page);
	return error;
}

static int restart(struct request *request)
{
	if (request->op.readdir.n_restarts++ >= MAX_RESTARTS)
		return -EIO;
	return dir_restart(request->op.readdir.dir, &request->op.readdir.fetch);
}

/* without_plus - READDIRPLUS is of no use with this server. */
static int without_plus(struct request *request, int error)
{
	if (!request->op.readdir.fetch.plus)
		return error;
	atomic_store_explicit(&request->fs->no_readdirplus, true, memory_order_relaxed);
	return 0;
}

static int enlarge(struct request *request)
{
	if (dir_enlarge(request->op.readdir.dir, request->op.readdir.fetch.bytes))
		return 0;
	return without_plus(request, -EIO);
}

/* What to make of a reply. 0: go on. */
static int take_reply(struct request *request)
{
	struct dir_page *page;
	int error = decode(request, &request->op.readdir.fetch, &page);

	switch (-error) {
	case 0:
		return take_page(request, page);
	case ENFS_BADCOOKIE:
		return restart(request);
	case ENFS_TOOSMALL:
		return enlarge(request);
	case EOPNOTSUPP:
		return without_plus(request, error);
	default:
		return error;
	}
}

static void page_done(struct request *request, int error)
{
	if (request_unanswered(request) && no_answer(request))
		return;
	if (error == -EOPNOTSUPP) /* the server lacks the procedure */
		error = without_plus(request, error);
	else if (!error)
		error = request_decoded(request, take_reply(request));
	if (error)
		fail(request, error);
	else
		next_call(request);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		 struct fuse_file_info *fi, bool plus)
{
	struct request *request = request_new(req, ino);

	if (!request)
		return;
	request->op.readdir.dir = dir_ref(dir_of(fi));
	request->op.readdir.position = (uint64_t)offset;
	request->op.readdir.size = (uint32_t)min_size(size, UINT32_MAX);
	request->op.readdir.plus = plus;
	if (!offset)
		dir_rewind(dir_of(fi));
	next(request);
}

void dir_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		 struct fuse_file_info *fi)
{
	list(req, ino, size, offset, fi, false);
}

void dir_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	list(req, ino, size, offset, fi, true);
}
