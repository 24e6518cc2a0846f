/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dircache - listings of directories: the pages that READDIR(PLUS) brought, kept beyond the handle
 * that asked for them.
 *
 * A listing belongs to a directory's inode and to one state of it, told by mtime and ctime. It is
 * the pages from the beginning on, as far as somebody has read, in the order of the server; all
 * handles that read the directory at the same time fill it together. A page of another state ends
 * it, unless that one is older. A page that is there already is replaced: its attributes are newer.
 *
 * It is used for three things: READDIR of a directory that has not changed costs no call, READDIR
 * of a server that does not answer has something to tell (softreval), be it what the directory was
 * like before its last change, and many a LOOKUP need not be sent (nearby.h). Whether a page is good
 * enough is readdir.c's and nearby.c's to say; here are only memory and order.
 *
 * Memory: DIRCACHE_BYTES for the mount, counted as the pages were allocated. The listing that was
 * not begun for the longest time goes first. One that takes more than half of it alone is not kept
 * (about 25000 files with their attributes).
 *
 * No reference is held on the inodes: dircache_forget() is due with an inode's last one. One lock,
 * held for a few steps; any thread. inode->listing is guarded by it. */
#ifndef FUSE_DIRCACHE_H
#define FUSE_DIRCACHE_H

#include "dir.h"

struct dircache;

enum { DIRCACHE_BYTES = 16 << 20 };

struct dircache *dircache_new(size_t max_bytes);
/* dircache_free - every inode has been forgotten. Takes NULL. */
void dircache_free(struct dircache *cache);

/* dircache_add - a page that a handle accepted; keeps a reference if it is of use. */
void dircache_add(struct dircache *cache, struct inode *inode, struct dir_page *page);
/* dircache_find - the page that would answer the call, with a reference, or NULL. */
struct dir_page *dircache_find(struct dircache *cache, struct inode *inode,
			       const struct dir_fetch *fetch);
/* dircache_has - is there a listing, or the beginning of one? */
bool dircache_has(struct dircache *cache, struct inode *inode);
/* dircache_lookup - the page that has this name and what it is, if READDIRPLUS told: *ret_entry.
 * With a reference, or NULL. */
struct dir_page *dircache_lookup(struct dircache *cache, struct inode *inode, const char *name,
				 const struct dir_entry **ret_entry);
/* dircache_missing - the first page of a directory with these attributes that is not kept, or has been
 * for longer than since since_ns. False: there is no such page. *ret_listed: entries before it. */
bool dircache_missing(struct dircache *cache, struct inode *inode, const struct attr *dir,
		      int64_t since_ns, struct dir_fetch *ret_fetch, uint32_t *ret_listed);
/* dircache_forget - the inode is going. */
void dircache_forget(struct dircache *cache, struct inode *inode);

/* dircache_bytes - in use now. */
size_t dircache_bytes(struct dircache *cache);

#endif
