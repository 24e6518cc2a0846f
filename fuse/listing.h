/* SPDX-License-Identifier: GPL-2.0-or-later */
/* listing - a reply to READDIR or READDIRPLUS of the kernel: a page, from the request's position on, as far as it has
 * room for.
 *
 * A page outlives the moment it was true: an old kernel reads it in pieces of 4 KiB, and a program may take its time.
 * Names and types are handed out all the same, but an entry comes with its inode only while the directory still has
 * the times it had then; otherwise the kernel would take a name for there that was removed since. It looks such names
 * up itself.
 *
 * An entry with an inode counts as a lookup (fuse.md section 4): whoever cannot send the reply has to take them back.
 * Of one request, hence one thread. */
#ifndef FUSE_LISTING_H
#define FUSE_LISTING_H

#include "dir.h"
#include "request.h"

/* The reply as it grows, and the lookups counted for it, which must be taken back if it fails. */
struct listing {
	struct request *request;
	const struct dir_page *page; /* NULL: only dots */
	bool prime;                  /* tell of inodes */
	uint64_t dotdot;
	char *buf;
	size_t size, used;
	uint64_t *nodeids;
	uint32_t n_nodeids;
};

/* listing_init - empty; page NULL: only dots are left. dotdot: the fileid of "..", 0 if nobody knows. The page stays
 * referenced until listing_deinit(), which is due in any case. False without memory. */
bool listing_init(struct listing *listing, struct request *request, const struct dir_page *page,
		  uint64_t dotdot);
void listing_deinit(struct listing *listing);
/* listing_fill - what follows request->op.readdir.position; used stays 0 if there is no room for one entry. */
void listing_fill(struct listing *listing);
/* listing_is_current - is the directory as it was when the page was read? Without valid attributes nobody knows. */
bool listing_is_current(const struct request *request, const struct dir_page *page);

#endif
