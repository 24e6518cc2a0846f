/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dircache - what is kept of listings: pages that belong together, of one state of the
 * directory, within the bound. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "../../fuse/dircache.h"

enum { PER_PAGE = 10, MAX = 1 << 20 };

static struct inode dirs[64];

static struct inode *a_dir(unsigned int i)
{
	dirs[i] = (struct inode){ .index = i + 2, .type = S_IFDIR };
	return &dirs[i];
}

static void add_entry(struct dir_page *page, unsigned int id, bool detail)
{
	char name[16];
	struct nfs3_entry entry = { .fileid = id, .cookie = id + 1, .name = name,
				    .name_len = (uint32_t)snprintf(name, sizeof(name), "n%u", id),
				    .has_fh = detail, .attr.valid = detail };

	assert(!dir_page_add(page, &entry));
}

/* Page number i of a directory that last changed at ctime. Entry n has cookie n + 1. */
static struct dir_page *a_page(unsigned int i, time_t ctime, uint64_t stamp, bool eof)
{
	struct dir_page *page = dir_page_new();

	for (unsigned int n = 0; n < PER_PAGE; n++)
		add_entry(page, i * PER_PAGE + n, true);
	dir_page_trim(page);
	page->at = DIR_DOTS + i * PER_PAGE;
	page->cookie = i * PER_PAGE;
	page->dir = (struct post_attr){ true, { .ctime = { ctime, 0 } } };
	page->stamp = stamp;
	page->eof = eof;
	return page;
}

static void add(struct dircache *cache, struct inode *dir, struct dir_page *page)
{
	dircache_add(cache, dir, page);
	dir_page_put(page);
}

static struct dir_fetch fetch_of(unsigned int i)
{
	return (struct dir_fetch){ .at = DIR_DOTS + i * PER_PAGE, .cookie = i * PER_PAGE };
}

/* The stamp of page i, 0 if it is not there. */
static uint64_t stamp_of(struct dircache *cache, struct inode *dir, unsigned int i)
{
	struct dir_fetch fetch = fetch_of(i);
	struct dir_page *page = dircache_find(cache, dir, &fetch);
	uint64_t stamp = page ? page->stamp : 0;

	dir_page_put(page);
	return stamp;
}

static void test_order(void)
{
	struct dircache *cache = dircache_new(MAX);
	struct inode *dir = a_dir(0);
	struct dir_fetch fetch = fetch_of(1);

	add(cache, dir, a_page(1, 5, 1, false)); /* not the beginning */
	assert(!dircache_has(cache, dir) && !dircache_bytes(cache));
	add(cache, dir, a_page(0, 5, 2, false));
	add(cache, dir, a_page(2, 5, 3, true)); /* there is a gap */
	assert(stamp_of(cache, dir, 0) == 2 && !stamp_of(cache, dir, 2));
	add(cache, dir, a_page(1, 5, 4, false));
	add(cache, dir, a_page(2, 5, 5, true));
	add(cache, dir, a_page(3, 5, 6, true)); /* behind the end */
	assert(stamp_of(cache, dir, 1) == 4 && stamp_of(cache, dir, 2) == 5);
	assert(!stamp_of(cache, dir, 3));

	/* By another cookie, or after a refused one: not the same call. */
	fetch.cookie++;
	assert(!dircache_find(cache, dir, &fetch));
	fetch.cookie--;
	fetch.restarted = true;
	assert(!dircache_find(cache, dir, &fetch));

	dircache_forget(cache, dir);
	assert(!dircache_has(cache, dir) && !dircache_bytes(cache));
	dircache_free(cache);
}

/* A page that is read again takes the place of the old one; what follows stays if it does follow.
 */
static void test_replaced(void)
{
	struct dircache *cache = dircache_new(MAX);
	struct inode *dir = a_dir(0);
	struct dir_page *longer = a_page(0, 5, 9, false);
	size_t bytes;

	for (unsigned int i = 0; i < 3; i++)
		add(cache, dir, a_page(i, 5, i + 1, i == 2));
	bytes = dircache_bytes(cache);
	add(cache, dir, a_page(0, 5, 7, false));
	assert(stamp_of(cache, dir, 0) == 7 && stamp_of(cache, dir, 1) == 2);
	assert(dircache_bytes(cache) == bytes);
	add_entry(longer, 99, false);
	add(cache, dir, longer);
	assert(stamp_of(cache, dir, 0) == 9 && !stamp_of(cache, dir, 1));
	dircache_forget(cache, dir);
	assert(!dircache_bytes(cache));
	dircache_free(cache);
}

/* Another state of the directory ends the listing, if it is a later one. */
static void test_changed(void)
{
	struct dircache *cache = dircache_new(MAX);
	struct inode *dir = a_dir(0);
	struct dir_page *unknown = a_page(0, 5, 9, true), *filtered = a_page(0, 5, 9, true);

	add(cache, dir, a_page(0, 5, 10, false));
	add(cache, dir, a_page(1, 5, 11, false));
	add(cache, dir, a_page(2, 4, 6, false));
	assert(stamp_of(cache, dir, 1) == 11 && !stamp_of(cache, dir, 2));
	add(cache, dir, a_page(0, 6, 12, false));
	assert(stamp_of(cache, dir, 0) == 12 && !stamp_of(cache, dir, 1));
	add(cache, dir, a_page(1, 7, 13, false));
	assert(!dircache_has(cache, dir));

	unknown->dir.valid = false;
	filtered->filtered = true;
	add(cache, dir, unknown);
	add(cache, dir, filtered);
	assert(!dircache_has(cache, dir));
	dircache_free(cache);
}

static void test_lookup(void)
{
	struct dircache *cache = dircache_new(MAX);
	struct inode *dir = a_dir(0);
	const struct dir_entry *entry;
	struct dir_page *page = a_page(1, 5, 2, false);

	add_entry(page, 77, false); /* READDIRPLUS told nothing of it */
	dir_page_trim(page);
	add(cache, dir, a_page(0, 5, 1, false));
	add(cache, dir, page);
	page = dircache_lookup(cache, dir, "n13", &entry);
	assert(page && entry->fileid == 13 && dir_page_detail(page, entry));
	dir_page_put(page);
	assert(!dircache_lookup(cache, dir, "n77", &entry));
	page = dircache_lookup(cache, dir, "n1", &entry);
	assert(page && entry->fileid == 1);
	dir_page_put(page);
	assert(!dircache_lookup(cache, dir, "n20", &entry));
	assert(!dircache_lookup(cache, a_dir(1), "n1", &entry));
	dircache_forget(cache, dir);
	dircache_free(cache);
}

/* What a directory lacks, page by page: nothing is kept, the next one, an old one, one without
 * attributes, or all is there. */
static void test_missing(void)
{
	const struct attr now = { .ctime = { 5, 0 } }, changed = { .ctime = { 6, 0 } };
	struct dircache *cache = dircache_new(MAX);
	struct inode *dir = a_dir(0);
	struct dir_page *pages[3];
	struct dir_fetch fetch;
	uint32_t n_listed;

	assert(dircache_missing(cache, dir, &now, 0, &fetch, &n_listed));
	assert(fetch.at == DIR_DOTS && !fetch.cookie && fetch.plus && !n_listed);
	for (unsigned int i = 0; i < 3; i++) {
		pages[i] = a_page(i, 5, i + 1, i == 2);
		pages[i]->plus = true;
		pages[i]->at_ns = 100;
		pages[i]->cookieverf = 7;
		add(cache, dir, pages[i]);
		if (i == 2)
			break;
		assert(dircache_missing(cache, dir, &now, 100, &fetch, &n_listed));
		assert(fetch.at == DIR_DOTS + (i + 1) * PER_PAGE && n_listed == (i + 1) * PER_PAGE);
		assert(fetch.cookie == (i + 1) * PER_PAGE && fetch.cookieverf == 7);
	}
	assert(!dircache_missing(cache, dir, &now, 100, &fetch, &n_listed));
	assert(dircache_missing(cache, dir, &changed, 100, &fetch, &n_listed) && !n_listed);
	pages[1]->at_ns = 99;
	assert(dircache_missing(cache, dir, &now, 100, &fetch, &n_listed));
	assert(n_listed == PER_PAGE);
	pages[0]->plus = false;
	assert(dircache_missing(cache, dir, &now, 0, &fetch, &n_listed) && !n_listed);
	dircache_forget(cache, dir);
	dircache_free(cache);
}

/* An index finds every name of a page, and no other. */
static void test_index(void)
{
	struct dir_page *page = dir_page_new();

	dir_page_trim(page);
	assert(!dir_page_find(page, "n0"));
	for (unsigned int n = 0; n < 1000; n++)
		add_entry(page, n, true);
	dir_page_trim(page);
	for (unsigned int n = 0; n < 2000; n++) {
		char name[16];
		const struct dir_entry *entry;

		snprintf(name, sizeof(name), "n%u", n);
		entry = dir_page_find(page, name);
		assert(n < 1000 ? entry && entry->fileid == n : !entry);
	}
	dir_page_put(page);
}

/* Over all directories: those that were not listed for longest go. One that is too large alone is
 * not kept, and costs the others nothing. */
static void test_bound(void)
{
	struct dir_page *page = a_page(0, 5, 1, true);
	size_t one = dir_page_bytes(page);
	struct dircache *cache = dircache_new(8 * one);

	dir_page_put(page);
	for (unsigned int i = 0; i < 64; i++) {
		add(cache, a_dir(i), a_page(0, 5, i + 1, true));
		assert(stamp_of(cache, &dirs[0], 0) == 1);
		assert(dircache_bytes(cache) <= 8 * one);
	}
	for (unsigned int i = 1; i < 64; i++)
		assert(dircache_has(cache, &dirs[i]) == (i >= 57));
	for (unsigned int i = 0; i < 5; i++)
		add(cache, &dirs[63], a_page(i, 6, 100 + i, false));
	assert(!dircache_has(cache, &dirs[63]));
	assert(dircache_has(cache, &dirs[0]) && dircache_has(cache, &dirs[62]));
	for (unsigned int i = 0; i < 64; i++)
		dircache_forget(cache, &dirs[i]);
	assert(!dircache_bytes(cache));
	dircache_free(cache);
}

int main(void)
{
	test_order();
	test_replaced();
	test_changed();
	test_lookup();
	test_missing();
	test_index();
	test_bound();
	dircache_free(NULL);
	return 0;
}
