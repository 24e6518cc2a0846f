/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dircache - see dircache.h. */
#include "dircache.h"

#include <stdlib.h>
#include <string.h>

#include "../conn/mutex.h"
#include "../conn/util.h"
#include "attr.h"

struct dircache_dir {
	TAILQ_ENTRY(dircache_dir) link;
	struct inode *inode; /* not pinned */
	struct dir_page **pages; /* each begins where the one before ends; at least one */
	size_t n_pages, pages_max;
	size_t bytes;
};

TAILQ_HEAD(dircache_list, dircache_dir);

struct dircache {
	size_t max_bytes;
	struct mutex lock;           /* guards what follows, and inode->listing */
	struct dircache_list by_use; /* the latest first */
	size_t bytes;
};

static struct dir_page *last_page(const struct dircache_dir *listing)
{
	return listing->pages[listing->n_pages - 1];
}

/* cut_locked - only the first n pages stay. */
static void cut_locked(struct dircache *cache, struct dircache_dir *listing, size_t n)
	REQUIRES(cache->lock);
static void cut_locked(struct dircache *cache, struct dircache_dir *listing, size_t n)
{
	while (listing->n_pages > n) {
		struct dir_page *page = last_page(listing);
		size_t bytes = dir_page_bytes(page);

		listing->bytes -= bytes;
		cache->bytes -= bytes;
		listing->n_pages--;
		dir_page_put(page);
	}
}

static void drop_locked(struct dircache *cache, struct dircache_dir *listing)
	REQUIRES(cache->lock);
static void drop_locked(struct dircache *cache, struct dircache_dir *listing)
{
	cut_locked(cache, listing, 0);
	TAILQ_REMOVE(&cache->by_use, listing, link);
	listing->inode->listing = NULL;
	free(listing->pages);
	free(listing);
}

static void used_locked(struct dircache *cache, struct dircache_dir *listing)
	REQUIRES(cache->lock);
static void used_locked(struct dircache *cache, struct dircache_dir *listing)
{
	TAILQ_REMOVE(&cache->by_use, listing, link);
	TAILQ_INSERT_HEAD(&cache->by_use, listing, link);
}

static struct dircache_dir *listing_new_locked(struct dircache *cache, struct inode *inode)
	REQUIRES(cache->lock);
static struct dircache_dir *listing_new_locked(struct dircache *cache, struct inode *inode)
{
	struct dircache_dir *listing = calloc(1, sizeof(*listing));

	if (!listing)
		return NULL;
	listing->inode = inode;
	inode->listing = listing;
	TAILQ_INSERT_HEAD(&cache->by_use, listing, link);
	return listing;
}

/* find_page - the index of the page that the position and cookie lead to, or n_pages. */
static size_t find_page(const struct dircache_dir *listing, uint64_t at, uint64_t cookie)
{
	size_t low = 0, high = listing->n_pages;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (listing->pages[middle]->at < at)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < listing->n_pages &&
	    (listing->pages[low]->at != at || listing->pages[low]->cookie != cookie))
		return listing->n_pages;
	return low;
}

static bool ends_alike(const struct dir_page *a, const struct dir_page *b)
{
	return a->n_entries == b->n_entries && a->last_cookie == b->last_cookie &&
	       a->eof == b->eof;
}

/* follows - does the page begin where the listing ends? */
static bool follows(const struct dircache_dir *listing, const struct dir_page *page)
{
	const struct dir_page *last;

	if (!listing->n_pages)
		return page->at == DIR_DOTS && !page->cookie;
	last = last_page(listing);
	return !last->eof && page->at == last->at + last->n_entries &&
	       page->cookie == last->last_cookie;
}

static bool append_locked(struct dircache *cache, struct dircache_dir *listing,
			  struct dir_page *page) REQUIRES(cache->lock);
static bool append_locked(struct dircache *cache, struct dircache_dir *listing,
			  struct dir_page *page)
{
	size_t max = listing->pages_max ? 2 * listing->pages_max : 4;
	size_t bytes = dir_page_bytes(page);
	struct dir_page **pages = listing->pages;

	if (listing->bytes + bytes > cache->max_bytes / 2)
		return false;
	if (listing->n_pages == listing->pages_max) {
		pages = realloc(pages, max * sizeof(*pages));
		if (!pages)
			return false;
		listing->pages = pages;
		listing->pages_max = max;
	}
	pages[listing->n_pages++] = dir_page_ref(page);
	listing->bytes += bytes;
	cache->bytes += bytes;
	return true;
}

/* replace_locked - page number i is read again: what follows stays if it still follows. */
static void replace_locked(struct dircache *cache, struct dircache_dir *listing, size_t i,
			   struct dir_page *page) REQUIRES(cache->lock);
static void replace_locked(struct dircache *cache, struct dircache_dir *listing, size_t i,
			   struct dir_page *page)
{
	struct dir_page *old = listing->pages[i];
	size_t more = dir_page_bytes(page) - dir_page_bytes(old); /* modulo 2^64 */

	listing->pages[i] = dir_page_ref(page);
	listing->bytes += more;
	cache->bytes += more;
	if (!ends_alike(old, page))
		cut_locked(cache, listing, i + 1);
	dir_page_put(old);
}

/* of_state_locked - the inode's listing, if it is of the page's state, which ends an older one. */
static struct dircache_dir *of_state_locked(struct dircache *cache, struct inode *inode,
					    const struct dir_page *page, bool *ret_outdated)
	REQUIRES(cache->lock);
static struct dircache_dir *of_state_locked(struct dircache *cache, struct inode *inode,
					    const struct dir_page *page, bool *ret_outdated)
{
	struct dircache_dir *listing = inode->listing;

	*ret_outdated = false;
	if (!listing || attr_same_times(&listing->pages[0]->dir.attr, &page->dir.attr))
		return listing;
	*ret_outdated = page->stamp < last_page(listing)->stamp;
	if (*ret_outdated)
		return NULL;
	drop_locked(cache, listing);
	return NULL;
}

static void add_locked(struct dircache *cache, struct inode *inode, struct dir_page *page)
	REQUIRES(cache->lock);
static void add_locked(struct dircache *cache, struct inode *inode, struct dir_page *page)
{
	bool outdated, first = page->at == DIR_DOTS && !page->cookie;
	struct dircache_dir *listing = of_state_locked(cache, inode, page, &outdated);
	size_t i;

	if (outdated)
		return;
	if (!listing && first)
		listing = listing_new_locked(cache, inode);
	if (!listing)
		return;
	i = find_page(listing, page->at, page->cookie);
	if (i < listing->n_pages)
		replace_locked(cache, listing, i, page);
	else if (follows(listing, page) && !append_locked(cache, listing, page))
		cut_locked(cache, listing, 0);
	if (!listing->n_pages || listing->bytes > cache->max_bytes / 2)
		drop_locked(cache, listing);
	else if (first)
		used_locked(cache, listing);
	while (cache->bytes > cache->max_bytes)
		drop_locked(cache, TAILQ_LAST(&cache->by_use, dircache_list));
}

void dircache_add(struct dircache *cache, struct inode *inode, struct dir_page *page)
{
	if (!page->dir.valid || page->filtered || (!page->n_entries && !page->eof))
		return;
	mutex_lock(&cache->lock);
	add_locked(cache, inode, page);
	mutex_unlock(&cache->lock);
}

struct dir_page *dircache_find(struct dircache *cache, struct inode *inode,
			       const struct dir_fetch *fetch)
{
	struct dircache_dir *listing;
	struct dir_page *page = NULL;
	size_t i;

	if (fetch->restarted)
		return NULL;
	mutex_lock(&cache->lock);
	listing = inode->listing;
	i = listing ? find_page(listing, fetch->at, fetch->cookie) : 0;
	if (listing && i < listing->n_pages) {
		page = dir_page_ref(listing->pages[i]);
		if (!i)
			used_locked(cache, listing);
	}
	mutex_unlock(&cache->lock);
	return page;
}

bool dircache_has(struct dircache *cache, struct inode *inode)
{
	bool has;

	mutex_lock(&cache->lock);
	has = inode->listing != NULL;
	mutex_unlock(&cache->lock);
	return has;
}

static bool missing_locked(const struct dircache_dir *listing, const struct attr *dir,
			   int64_t since_ns, struct dir_fetch *ret_fetch)
{
	size_t i = 0;

	*ret_fetch = (struct dir_fetch){ .at = DIR_DOTS, .plus = true };
	if (!listing || !attr_same_times(&listing->pages[0]->dir.attr, dir))
		return true;
	while (i < listing->n_pages && listing->pages[i]->plus &&
	       listing->pages[i]->at_ns >= since_ns) {
		const struct dir_page *page = listing->pages[i++];

		ret_fetch->at = page->at + page->n_entries;
		ret_fetch->cookie = page->last_cookie;
		ret_fetch->cookieverf = page->cookieverf;
	}
	return i < listing->n_pages || !last_page(listing)->eof;
}

bool dircache_missing(struct dircache *cache, struct inode *inode, const struct attr *dir,
		      int64_t since_ns, struct dir_fetch *ret_fetch, uint32_t *ret_listed)
{
	bool missing;

	mutex_lock(&cache->lock);
	missing = missing_locked(inode->listing, dir, since_ns, ret_fetch);
	mutex_unlock(&cache->lock);
	*ret_listed = (uint32_t)(ret_fetch->at - DIR_DOTS);
	return missing;
}

struct dir_page *dircache_lookup(struct dircache *cache, struct inode *inode, const char *name,
				 const struct dir_entry **ret_entry)
{
	const struct dir_entry *entry = NULL;
	struct dircache_dir *listing;
	struct dir_page *page = NULL;

	mutex_lock(&cache->lock);
	listing = inode->listing;
	for (size_t i = 0; listing && i < listing->n_pages && !entry; i++) {
		page = listing->pages[i];
		entry = dir_page_find(page, name);
	}
	if (entry && dir_page_detail(page, entry)) {
		*ret_entry = entry;
		dir_page_ref(page);
	} else {
		page = NULL;
	}
	mutex_unlock(&cache->lock);
	return page;
}

void dircache_forget(struct dircache *cache, struct inode *inode)
{
	if (!S_ISDIR(inode->type))
		return;
	mutex_lock(&cache->lock);
	if (inode->listing)
		drop_locked(cache, inode->listing);
	mutex_unlock(&cache->lock);
}

size_t dircache_bytes(struct dircache *cache)
{
	size_t bytes;

	mutex_lock(&cache->lock);
	bytes = cache->bytes;
	mutex_unlock(&cache->lock);
	return bytes;
}

struct dircache *dircache_new(size_t max_bytes)
{
	struct dircache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->max_bytes = max_bytes;
	mutex_init(&cache->lock);
	TAILQ_INIT(&cache->by_use);
	return cache;
}

void dircache_free(struct dircache *cache)
{
	if (!cache)
		return;
	mutex_deinit(&cache->lock);
	free(cache);
}
