/* SPDX-License-Identifier: GPL-2.0-or-later */
/* listing - see listing.h. */
#include "listing.h"

#include <stdlib.h>

#include "../conn/util.h"
#include "absent.h"
#include "names.h"

enum { ENTRY_SIZE = 160 }; /* an entry as the kernel gets it, at most, without its name */

bool listing_is_current(const struct request *request, const struct dir_page *page)
{
	struct attr attr;

	return page->dir.valid && attr_get(request->inode, fs_now_ns(), &attr) > 0 &&
	       attr_same_times(&attr, &page->dir.attr);
}

bool listing_init(struct listing *listing, struct request *request,
		  const struct dir_page *page, uint64_t dotdot)
{
	uint32_t n_entries = page ? page->n_entries : 0;
	size_t most = ((size_t)n_entries + DIR_DOTS) * ENTRY_SIZE + (page ? page->names_len : 0);
	bool prime = page && request->op.readdir.plus && listing_is_current(request, page);

	*listing = (struct listing){
		.request = request,
		.page = page,
		.prime = prime,
		.dotdot = dotdot,
		.size = min_size(request->op.readdir.size, most),
	};
	listing->buf = malloc(listing->size);
	if (prime)
		listing->nodeids = calloc(n_entries, sizeof(*listing->nodeids));
	return listing->buf && (!prime || listing->nodeids);
}

void listing_deinit(struct listing *listing)
{
	free(listing->buf);
	free(listing->nodeids);
}

static bool has_room(const struct listing *listing, const char *name)
{
	fuse_req_t req = listing->request->req;
	size_t need = listing->request->op.readdir.plus ?
			      fuse_add_direntry_plus(req, NULL, 0, name, NULL, 0) :
			      fuse_add_direntry(req, NULL, 0, name, NULL, 0);

	return need <= listing->size - listing->used;
}

static void add(struct listing *listing, const char *name, const struct fuse_entry_param *entry,
		uint64_t position)
{
	fuse_req_t req = listing->request->req;
	char *to = listing->buf + listing->used;
	size_t left = listing->size - listing->used;

	listing->used += listing->request->op.readdir.plus ?
		fuse_add_direntry_plus(req, to, left, name, entry, (off_t)position) :
		fuse_add_direntry(req, to, left, name, &entry->attr, (off_t)position);
}

static bool add_dot(struct listing *listing, const char *name, uint64_t fileid, uint64_t position)
{
	struct fuse_entry_param entry = { .attr = { .st_ino = fileid, .st_mode = S_IFDIR } };

	if (!has_room(listing, name))
		return false;
	add(listing, name, &entry, position);
	return true;
}

/* prime - find the entry's inode and count the lookup; as if the kernel had asked for the name. */
static void prime(struct listing *listing, const char *name, const struct dir_detail *detail,
		  struct fuse_entry_param *entry)
{
	struct request *request = listing->request;
	struct fs *fs = request->fs;
	struct inode *child = inode_find(fs->inodes, &detail->fh, &detail->attr.attr);
	struct fuse_entry_param full = { 0 };

	if (child && child != fs->root) {
		attr_apply(&fs->attr_policy, child, &detail->attr.attr, listing->page->stamp,
			   listing->page->at_ns);
		request_fill_entry(fs, request->inode, child, &full);
	}
	if (full.ino) {
		names_add(fs->names, request->inode, name, child, listing->page->stamp);
		absent_drop(fs->absent, request->inode, name);
		inode_lookup_add(child);
		listing->nodeids[listing->n_nodeids++] = full.ino;
		*entry = full;
	}
	inode_put(fs->inodes, child);
}

/* Another fsid: an export mounted below this one. Like Linux, leave that to a lookup. */
static bool may_prime(const struct listing *listing, const struct dir_detail *detail)
{
	return listing->prime && detail && detail->has_fh && detail->attr.valid &&
	       detail->attr.attr.fsid == listing->page->dir.attr.fsid;
}

static bool add_entry(struct listing *listing, const struct dir_entry *from, uint64_t position)
{
	const char *name = dir_page_name(listing->page, from);
	const struct dir_detail *detail = dir_page_detail(listing->page, from);
	struct fuse_entry_param entry = { .attr = { .st_ino = from->fileid } };

	if (!has_room(listing, name))
		return false;
	if (detail && detail->attr.valid)
		entry.attr.st_mode = detail->attr.attr.mode;
	if (may_prime(listing, detail))
		prime(listing, name, detail, &entry);
	add(listing, name, &entry, position);
	return true;
}

static uint64_t own_fileid(const struct request *request)
{
	struct attr attr;

	if (attr_get(request->inode, fs_now_ns(), &attr) < 0)
		return request->inode->fileid;
	return attr.fileid;
}

static void fill_dots(struct listing *listing, uint64_t *position)
{
	uint64_t fileid = own_fileid(listing->request);
	/* A server that sends no "..": the best there is, and right for a root. */
	uint64_t dotdot = listing->dotdot ? listing->dotdot : fileid;

	if (*position == 0 && add_dot(listing, ".", fileid, 1))
		++*position;
	if (*position == 1 && add_dot(listing, "..", dotdot, 2))
		++*position;
}

void listing_fill(struct listing *listing)
{
	const struct request *request = listing->request;
	const struct dir_page *page = listing->page;
	uint64_t position = request->op.readdir.position;

	if (position < DIR_DOTS)
		fill_dots(listing, &position);
	if (!page || position < page->at)
		return;
	for (uint64_t i = position - page->at; i < page->n_entries; i++)
		if (!add_entry(listing, &page->entries[i], page->at + i + 1))
			break;
}
