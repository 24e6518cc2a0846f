/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dir - see dir.h. The seen names are a hash table of positions, made when a listing has to start
 * anew and kept to its end. */
#include "dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/mutex.h"
#include "../conn/util.h"

enum {
	N_PAGES = 2,              /* the kernel may step back a little */
	FIRST_POSITIONS = 64,
	RECEIVED_FACTOR = 4,      /* repeats a server may send: times DIR_MAX_ENTRIES */
	OVERLAP = 32,             /* positions a shortcut goes back, to see names it knows */
	SHORTCUTS = 4,            /* refused one after the other: no more of them */
};

/* The position after an entry. */
struct position {
	uint64_t cookie;
	uint64_t hash;            /* of the entry's name */
};

struct dir {
	struct cred cred;         /* constant */
	_Atomic(unsigned int) refs;
	struct inode *inode;      /* pinned while the kernel has it open */
	LIST_ENTRY(dir) link;     /* in inode->dirs */

	struct mutex lock;        /* guards what follows */
	uint32_t generation;      /* of the listing: replies from before a rewind are dropped */
	bool started;             /* the first page has come */
	uint64_t dotdot;
	uint64_t cookieverf;
	uint32_t bytes;           /* 0: nobody was told TOOSMALL */
	uint64_t n_received;
	struct dir_page *pages[N_PAGES]; /* the latest first */

	struct position *positions; /* [0] to [last] */
	size_t positions_max;
	uint64_t last;            /* the last position known */
	bool eof;                 /* nothing follows it */

	uint32_t *seen;           /* positions by hash, 0 is free; NULL: never restarted */
	uint64_t seen_mask;
	uint64_t seen_last;       /* positions up to here are in it; entries behind are checked */
	bool searching;           /* restarted there, nothing unseen found so far */
	bool shortcut;            /* ... and the cookie of a position before it is being tried */
	uint64_t resume;          /* where the search goes on if that fails */
	unsigned int n_refused;   /* shortcuts */
};

/* ---- the handle -------------------------------------------------------------------------- */

static void drop_pages_locked(struct dir *dir) REQUIRES(dir->lock);
static void drop_pages_locked(struct dir *dir)
{
	for (unsigned int i = 0; i < N_PAGES; i++) {
		dir_page_put(dir->pages[i]);
		dir->pages[i] = NULL;
	}
}

static void reset_locked(struct dir *dir) REQUIRES(dir->lock);
static void reset_locked(struct dir *dir)
{
	drop_pages_locked(dir);
	free(dir->seen);
	dir->seen = NULL;
	dir->generation++;
	dir->started = dir->eof = false;
	dir->searching = dir->shortcut = false;
	dir->n_refused = 0;
	dir->dotdot = 0;
	dir->cookieverf = 0;
	dir->n_received = 0;
	dir->last = DIR_DOTS;
	memset(dir->positions, 0, (DIR_DOTS + 1) * sizeof(*dir->positions));
}

void dir_rewind(struct dir *dir)
{
	mutex_lock(&dir->lock);
	reset_locked(dir);
	mutex_unlock(&dir->lock);
}

struct dir *dir_new(const struct cred *cred)
{
	struct dir *dir = calloc(1, sizeof(*dir));

	if (!dir)
		return NULL;
	dir->positions = calloc(FIRST_POSITIONS, sizeof(*dir->positions));
	if (!dir->positions) {
		free(dir);
		return NULL;
	}
	dir->positions_max = FIRST_POSITIONS;
	dir->last = DIR_DOTS;
	dir->cred = *cred;
	dir->refs = 1;
	mutex_init(&dir->lock);
	return dir;
}

struct dir *dir_ref(struct dir *dir)
{
	atomic_fetch_add(&dir->refs, 1);
	return dir;
}

void dir_put(struct dir *dir)
{
	if (!dir || atomic_fetch_sub(&dir->refs, 1) > 1)
		return;
	for (unsigned int i = 0; i < N_PAGES; i++)
		dir_page_put(dir->pages[i]);
	free(dir->positions);
	free(dir->seen);
	mutex_deinit(&dir->lock);
	free(dir);
}

void dir_opened(struct dir *dir, struct inode *inode)
{
	dir->inode = inode_ref(inode);
	mutex_lock(&inode->lock);
	LIST_INSERT_HEAD(&inode->dirs, dir, link);
	mutex_unlock(&inode->lock);
}

void dir_closed(struct dir *dir, struct inode_table *inodes)
{
	struct inode *inode = dir->inode;

	mutex_lock(&inode->lock);
	LIST_REMOVE(dir, link);
	mutex_unlock(&inode->lock);
	dir_put(dir);
	inode_put(inodes, inode);
}

void dir_free_all(struct inode *inode)
{
	struct dir *dir;

	while ((dir = LIST_FIRST(&inode->dirs))) {
		LIST_REMOVE(dir, link);
		dir_put(dir);
	}
}

const struct cred *dir_cred(const struct dir *dir)
{
	return &dir->cred;
}

uint32_t dir_bytes(struct dir *dir, uint32_t min)
{
	uint32_t bytes;

	mutex_lock(&dir->lock);
	bytes = dir->bytes > min ? dir->bytes : min;
	mutex_unlock(&dir->lock);
	return bytes;
}

bool dir_enlarge(struct dir *dir, uint32_t asked)
{
	bool larger = asked < DIR_MAX_BYTES;

	mutex_lock(&dir->lock);
	if (larger)
		dir->bytes = asked < DIR_MAX_BYTES / 2 ? 2 * asked : DIR_MAX_BYTES;
	mutex_unlock(&dir->lock);
	return larger;
}

/* ---- finding ----------------------------------------------------------------------------- */

/* Entries of the page that follow the position; an empty page is never kept. */
static struct dir_page *page_locked(struct dir *dir, uint64_t position) REQUIRES(dir->lock);
static struct dir_page *page_locked(struct dir *dir, uint64_t position)
{
	for (unsigned int i = 0; i < N_PAGES; i++) {
		struct dir_page *page = dir->pages[i];

		if (!page || position < page->at || position - page->at >= page->n_entries)
			continue;
		return dir_page_ref(page);
	}
	return NULL;
}

static enum dir_next find_locked(struct dir *dir, uint64_t position, struct dir_page **ret_page,
				 struct dir_fetch *ret_fetch) REQUIRES(dir->lock);
static enum dir_next find_locked(struct dir *dir, uint64_t position, struct dir_page **ret_page,
				 struct dir_fetch *ret_fetch)
{
	uint64_t at = position < DIR_DOTS ? DIR_DOTS : position;
	bool dots = position < DIR_DOTS && dir->started;
	uint64_t cookie;

	*ret_page = page_locked(dir, at);
	if (*ret_page || dots)
		return DIR_PAGE;
	if (at > dir->last || (at == dir->last && dir->eof))
		return DIR_END;
	cookie = dir->positions[at].cookie;
	*ret_fetch = (struct dir_fetch){
		.at = at,
		.cookie = cookie,
		.cookieverf = cookie ? dir->cookieverf : 0,
		.generation = dir->generation,
		.restarted = dir->seen != NULL,
	};
	return DIR_FETCH;
}

enum dir_next dir_find(struct dir *dir, uint64_t position, struct dir_page **ret_page,
		       uint64_t *ret_dotdot, struct dir_fetch *ret_fetch)
{
	enum dir_next next;

	mutex_lock(&dir->lock);
	next = find_locked(dir, position, ret_page, ret_fetch);
	*ret_dotdot = dir->dotdot;
	mutex_unlock(&dir->lock);
	return next;
}

/* ---- names seen before ------------------------------------------------------------------- */

/* The slot of a name, or the free one where it would be. */
static uint32_t *seen_slot_locked(struct dir *dir, uint64_t hash) REQUIRES(dir->lock);
static uint32_t *seen_slot_locked(struct dir *dir, uint64_t hash)
{
	uint64_t i = hash & dir->seen_mask;

	while (dir->seen[i] && dir->positions[dir->seen[i]].hash != hash)
		i = (i + 1) & dir->seen_mask;
	return &dir->seen[i];
}

/* see_locked - remember every name before the position. */
static int see_locked(struct dir *dir, uint64_t position) REQUIRES(dir->lock);
static int see_locked(struct dir *dir, uint64_t position)
{
	uint64_t n_slots = 64;
	uint32_t *slots;

	while (n_slots < 2 * position)
		n_slots *= 2;
	slots = calloc(n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(dir->seen);
	dir->seen = slots;
	dir->seen_mask = n_slots - 1;
	dir->seen_last = position;
	for (uint64_t i = DIR_DOTS + 1; i <= position; i++)
		*seen_slot_locked(dir, dir->positions[i].hash) = (uint32_t)i;
	return 0;
}

/* drop_seen_locked - leave out entries handed out before; how many were there? */
static uint32_t drop_seen_locked(struct dir *dir, uint64_t at, struct dir_page *page)
	REQUIRES(dir->lock);
static uint32_t drop_seen_locked(struct dir *dir, uint64_t at, struct dir_page *page)
{
	uint32_t n = page->n_entries, n_kept = 0;

	if (!dir->seen || at < dir->seen_last)
		return 0;
	page->filtered = true;
	dir_page_unindex(page); /* entries move */
	for (uint32_t i = 0; i < n; i++)
		if (!*seen_slot_locked(dir, page->entries[i].hash))
			page->entries[n_kept++] = page->entries[i];
	page->n_entries = n_kept;
	return n - n_kept;
}

/* ---- replies ----------------------------------------------------------------------------- */

/* A page read again may differ from what was remembered: then the end is not where it was. */
static int remember_locked(struct dir *dir, const struct dir_page *page) REQUIRES(dir->lock);
static int remember_locked(struct dir *dir, const struct dir_page *page)
{
	uint64_t last = page->at + page->n_entries;
	struct position *positions;

	if (last > DIR_MAX_ENTRIES)
		return -EIO;
	positions = array_grown(dir->positions, last + 1, &dir->positions_max, sizeof(*positions));
	if (!positions)
		return -ENOMEM;
	dir->positions = positions;
	for (uint32_t i = 0; i < page->n_entries; i++) {
		struct position *position = &positions[page->at + 1 + i];
		const struct dir_entry *entry = &page->entries[i];

		if (page->at + i >= dir->last || position->cookie != entry->cookie)
			dir->eof = false;
		*position = (struct position){ .cookie = entry->cookie, .hash = entry->hash };
	}
	dir->last = last > dir->last ? last : dir->last;
	return 0;
}

static void keep_locked(struct dir *dir, struct dir_page *page) REQUIRES(dir->lock);
static void keep_locked(struct dir *dir, struct dir_page *page)
{
	dir_page_put(dir->pages[N_PAGES - 1]);
	memmove(&dir->pages[1], &dir->pages[0], (N_PAGES - 1) * sizeof(dir->pages[0]));
	dir->pages[0] = dir_page_ref(page);
}

/* try_shortcut_locked - all names on the first page of a search are known ones, as they will be on
 * many more: rather ask for what follows a position a little before. */
static bool try_shortcut_locked(struct dir *dir, uint64_t at, const struct dir_page *page)
	REQUIRES(dir->lock);
static bool try_shortcut_locked(struct dir *dir, uint64_t at, const struct dir_page *page)
{
	if (at <= DIR_DOTS + OVERLAP || dir->n_refused >= SHORTCUTS)
		return false;
	dir->shortcut = true;
	dir->resume = page->last_cookie;
	dir->positions[at].cookie = dir->positions[at - OVERLAP].cookie;
	return true;
}

/* The page holds nothing new: the position stays, the listing goes on behind the page. */
static void skip_locked(struct dir *dir, const struct dir_fetch *fetch, const struct dir_page *page)
	REQUIRES(dir->lock);
static void skip_locked(struct dir *dir, const struct dir_fetch *fetch, const struct dir_page *page)
{
	bool first = dir->searching && dir->seen_last == fetch->at && !fetch->cookie;

	dir->shortcut = false;
	if (!first || !try_shortcut_locked(dir, fetch->at, page))
		dir->positions[fetch->at].cookie = page->last_cookie;
}

/* give_up_shortcut_locked - it shows no known name, so there may be unseen ones before it. */
static void give_up_shortcut_locked(struct dir *dir) REQUIRES(dir->lock);
static void give_up_shortcut_locked(struct dir *dir)
{
	dir->shortcut = false;
	dir->positions[dir->seen_last].cookie = dir->resume;
}

static void start_locked(struct dir *dir, const struct dir_page *page) REQUIRES(dir->lock);
static void start_locked(struct dir *dir, const struct dir_page *page)
{
	dir->started = true;
	if (page->dotdot)
		dir->dotdot = page->dotdot;
}

static int accept_locked(struct dir *dir, const struct dir_fetch *fetch, struct dir_page *page)
	REQUIRES(dir->lock);
static int accept_locked(struct dir *dir, const struct dir_fetch *fetch, struct dir_page *page)
{
	uint32_t n_seen;
	int error;

	if (fetch->generation != dir->generation)
		return 0;
	dir->n_received += page->n_received;
	if (dir->n_received > (uint64_t)RECEIVED_FACTOR * DIR_MAX_ENTRIES)
		return -EIO;
	dir->cookieverf = page->cookieverf;
	if (fetch->at == DIR_DOTS)
		start_locked(dir, page);
	n_seen = drop_seen_locked(dir, fetch->at, page);
	if (page->at != fetch->at) /* else it is shared */
		page->at = fetch->at;
	if (dir->shortcut && dir->seen_last == fetch->at && !n_seen) {
		give_up_shortcut_locked(dir);
		return 0;
	}
	if (!page->n_entries && !page->eof) {
		skip_locked(dir, fetch, page);
		return 0;
	}
	error = remember_locked(dir, page);
	if (error)
		return error;
	if (page->n_entries)
		keep_locked(dir, page);
	if (page->eof) {
		dir->last = page->at + page->n_entries;
		dir->eof = true;
	}
	if (dir->shortcut)
		dir->n_refused = 0;
	dir->searching = dir->shortcut = false;
	return 0;
}

int dir_accept(struct dir *dir, const struct dir_fetch *fetch, struct dir_page *page)
{
	int error;

	mutex_lock(&dir->lock);
	error = accept_locked(dir, fetch, page);
	mutex_unlock(&dir->lock);
	dir_page_put(page);
	return error;
}

int dir_accept_shared(struct dir *dir, const struct dir_fetch *fetch, struct dir_page *page)
{
	int error = 0;

	mutex_lock(&dir->lock);
	if (!dir->seen) /* it has been restarted since: the next dir_find() will tell */
		error = accept_locked(dir, fetch, page);
	mutex_unlock(&dir->lock);
	dir_page_put(page);
	return error;
}

static int restart_locked(struct dir *dir, const struct dir_fetch *fetch) REQUIRES(dir->lock);
static int restart_locked(struct dir *dir, const struct dir_fetch *fetch)
{
	struct position *position = &dir->positions[fetch->at];

	if (fetch->generation != dir->generation || fetch->at > dir->last)
		return 0;
	if (!fetch->cookie)
		return -EIO;
	if (position->cookie != fetch->cookie)
		return 0; /* somebody else has */
	if (!dir->searching || dir->seen_last != fetch->at) {
		if (see_locked(dir, fetch->at))
			return -ENOMEM;
		dir->searching = true;
	} else if (dir->shortcut) {
		dir->n_refused++;
	}
	dir->shortcut = false;
	drop_pages_locked(dir);
	dir->eof = false;
	position->cookie = 0;
	return 0;
}

int dir_restart(struct dir *dir, const struct dir_fetch *fetch)
{
	int error;

	mutex_lock(&dir->lock);
	error = restart_locked(dir, fetch);
	mutex_unlock(&dir->lock);
	return error;
}
