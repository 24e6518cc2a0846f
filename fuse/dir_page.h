/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dir_page - one reply of READDIR or READDIRPLUS (RFC 1813, 3.3.16 and 3.3.17), decoded: names, fileids, cookies, and
 * what READDIRPLUS adds. The dots are left out (dir.h); of ".." the fileid is kept.
 *
 * Entries, details and names are one array each, as a page has hundreds of them; an index by the names' hash is made
 * when all have been added. Referenced, and constant once handed over: any thread may read it. */
#ifndef FUSE_DIR_PAGE_H
#define FUSE_DIR_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nfs3.h"

/* An entry and where in its page the rest of it is. */
struct dir_entry {
	uint64_t fileid, cookie;
	uint64_t hash;           /* of the name */
	uint32_t name;           /* in names[], NUL-terminated */
	uint32_t detail;         /* in details[], if has_detail */
	bool has_detail;
};

/* What READDIRPLUS adds. */
struct dir_detail {
	struct post_attr attr;
	bool has_fh;
	struct fhandle fh;
};

/* One reply, decoded. Filled by its maker, handed over to dir_accept(), then constant: it may be
 * kept (dircache.h), and given to other handles by dir_accept_shared(). */
struct dir_page {
	/* Set by the maker besides dir_page_add(). */
	uint64_t cookie;         /* what it was asked by */
	bool plus;               /* by READDIRPLUS */
	bool settled;            /* attr_settled(): what it lacks came at another time */
	uint64_t cookieverf;
	bool eof;
	struct post_attr dir;    /* the directory when it was read */
	uint64_t stamp;          /* attr.h; of the call */
	int64_t at_ns;           /* when the reply came */

	uint64_t at;             /* the position before entries[0] */
	bool filtered;           /* what the handle had seen was left out, if there was any */
	uint32_t n_entries;      /* without dots and what was seen */
	struct dir_entry *entries;

	/* dir_page.c's. */
	uint32_t *slots;         /* entries by hash, each + 1; 0 is free. NULL: none */
	uint32_t n_slots;        /* a power of two */
	uint32_t n_details;
	size_t names_len;
	struct dir_detail *details;
	char *names;
	size_t entries_max, details_max, names_max; /* allocated */
	uint32_t n_received;     /* dots and all */
	uint64_t last_cookie;
	uint64_t dotdot;         /* fileid; 0: not in this page */
	_Atomic(unsigned int) refs;
};

struct dir_page *dir_page_new(void);
struct dir_page *dir_page_ref(struct dir_page *page);
/* dir_page_put - drop a reference. Takes NULL. */
void dir_page_put(struct dir_page *page);
/* dir_page_add - copy the reply's next entry. 0 or -ENOMEM. */
int dir_page_add(struct dir_page *page, const struct nfs3_entry *entry);
/* dir_page_find - the entry of this name, or NULL. */
const struct dir_entry *dir_page_find(const struct dir_page *page, const char *name);
/* dir_page_trim - all have been added: give back the memory that was got for more, and index them. */
void dir_page_trim(struct dir_page *page);
/* dir_page_unindex - its entries are about to move: dir_page_find() finds none any more. */
void dir_page_unindex(struct dir_page *page);
/* dir_page_bytes - that it takes. */
size_t dir_page_bytes(const struct dir_page *page);
/* dir_name_hash - dir_entry.hash. */
uint64_t dir_name_hash(const char *name, size_t len);

static inline const char *dir_page_name(const struct dir_page *page, const struct dir_entry *entry)
{
	return page->names + entry->name;
}

/* NULL: READDIR, or the server had nothing to say of it. */
static inline const struct dir_detail *dir_page_detail(const struct dir_page *page,
						       const struct dir_entry *entry)
{
	return entry->has_detail ? &page->details[entry->detail] : NULL;
}

#endif
