/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nearby - see nearby.h. */
#include "nearby.h"

#include <string.h>
#include <time.h>

#include "../conn/util.h"
#include "dircache.h"
#include "names.h"
#include "readdir.h"

enum {
	LOOKUPS_MIN = 4,           /* in a row, before a page is asked for */
	LISTED_PER_LOOKUP = 16,    /* entries that were listed so far, for each LOOKUP more */
	FIRST_BYTES = 16 << 10,    /* of a first page: it is a guess */
	REFUSED = -1000,           /* no READDIRPLUS for that many LOOKUPs */
};

/* May names be told from memory, and for how long? */
static int64_t believed_ns(const struct fs *fs)
{
	const struct options *options = fs->options;

	if (options->rdirplus == RDIRPLUS_NONE || options->lookupcache == LOOKUPCACHE_NONE ||
	    options->perm == PERM_SERVER ||
	    atomic_load_explicit(&fs->no_readdirplus, memory_order_relaxed))
		return 0;
	return fs->attr_policy.regmin_ns;
}

struct inode *nearby_find(struct request *request)
{
	struct fs *fs = request->fs;
	const struct dir_entry *entry;
	const struct dir_detail *detail;
	struct inode *child = NULL;
	struct dir_page *page;
	struct attr dir, attr;

	if (!believed_ns(fs) || attr_get(request->inode, fs_now_ns(), &dir) <= 0)
		return NULL;
	page = dircache_lookup(fs->dircache, request->inode, request->name, &entry);
	if (!page)
		return NULL;
	detail = dir_page_detail(page, entry);
	if (page->settled && attr_same_times(&page->dir.attr, &dir) && detail->has_fh &&
	    detail->attr.valid && detail->attr.attr.fsid == dir.fsid)
		child = inode_find(fs->inodes, &detail->fh, &detail->attr.attr);
	if (child) {
		attr_apply(&fs->attr_policy, child, &detail->attr.attr, page->stamp, page->at_ns);
		names_add(fs->names, request->inode, request->name, child, page->stamp);
	}
	dir_page_put(page);
	if (child && attr_get(child, fs_now_ns(), &attr) > 0)
		return child;
	inode_put(fs->inodes, child);
	return NULL;
}

static void page_done(struct request *request, int error)
{
	struct dir_fetch fetch = request->op.nearby.fetch;
	void (*done)(struct request *request) = request->op.nearby.done;
	struct dir_page *page = NULL;

	if (!error)
		error = readdir_page(request, &fetch, &page);
	if (page)
		dircache_add(request->fs->dircache, request->inode, page);
	else if (!request_unanswered(request))
		atomic_store_explicit(&request->inode->n_lookups, REFUSED, memory_order_relaxed);
	dir_page_put(page);
	memset(&request->op, 0, sizeof(request->op));
	done(request);
}

void nearby_found(struct inode *dir)
{
	atomic_fetch_add_explicit(&dir->n_lookups, 1, memory_order_relaxed);
}

/* Is it time? */
static bool is_due(struct request *request, struct dir_fetch *ret_fetch)
{
	struct inode *inode = request->inode;
	int64_t now_ns = fs_now_ns(), max_age_ns = believed_ns(request->fs);
	int n = atomic_load_explicit(&inode->n_lookups, memory_order_relaxed);
	uint32_t n_listed;
	struct attr dir;

	if (!max_age_ns || n < LOOKUPS_MIN || attr_get(inode, now_ns, &dir) <= 0 ||
	    !attr_settled(inode, &dir, now_ns, time(NULL)) ||
	    !dircache_missing(request->fs->dircache, inode, &dir, now_ns - max_age_ns, ret_fetch,
			      &n_listed))
		return false;
	ret_fetch->bytes = request->fs->readdirsize;
	if (!n_listed)
		ret_fetch->bytes = (uint32_t)min_size(ret_fetch->bytes, FIRST_BYTES);
	return n >= (int)(n_listed / LISTED_PER_LOOKUP);
}

bool nearby_ask(struct request *request, void (*done)(struct request *request))
{
	struct dir_fetch fetch;
	int error;

	if (!is_due(request, &fetch))
		return false;
	atomic_store_explicit(&request->inode->n_lookups, 0, memory_order_relaxed);
	request->op.nearby.fetch = fetch;
	request->op.nearby.done = done;
	error = nfs3_readdir_encode(request_call(request), &request->cred, inode_fh(request->inode),
				    fetch.cookie, fetch.cookieverf, fetch.bytes, true);
	request_send_soft(request, error, page_done);
	return true;
}
