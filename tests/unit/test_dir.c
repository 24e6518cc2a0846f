/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_dir - positions and cookies of an open directory, against a made-up server: every entry
 * once, also when cookies are refused in the middle, and no more calls than that takes. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../../fuse/dir.h"

enum { MAX_NAMES = 512 };

enum cookies {
	BY_NAME,  /* of the entry: the same after a change. Above 2^63, where offsets end */
	BY_INDEX, /* of the place in the list: another's after a change */
};

struct server {
	enum cookies cookies;
	bool verifies;               /* BAD_COOKIE after any change */
	bool forgets;                /* refuses the cookies of names that are gone */
	bool no_dots, late_dots;     /* sends none; sends them last */
	unsigned int page;           /* entries */
	unsigned int ids[MAX_NAMES]; /* the names, in order; 0 and 1 are the dots */
	unsigned int n;
	uint64_t verf;
	unsigned int n_calls;
};

static void server_fill(struct server *server, unsigned int n)
{
	unsigned int dots = server->no_dots ? 0 : 2;

	server->verf = 100;
	server->n = 0;
	for (unsigned int i = 0; i < dots && !server->late_dots; i++)
		server->ids[server->n++] = i;
	for (unsigned int i = 0; i < n; i++)
		server->ids[server->n++] = 10 * (i + 1);
	for (unsigned int i = 0; i < dots && server->late_dots; i++)
		server->ids[server->n++] = i;
}

static void server_remove(struct server *server, unsigned int id)
{
	for (unsigned int i = 0; i < server->n; i++) {
		if (server->ids[i] != id)
			continue;
		memmove(&server->ids[i], &server->ids[i + 1],
			(--server->n - i) * sizeof(server->ids[0]));
		server->verf++;
		return;
	}
	assert(!"removed twice");
}

/* Behind all smaller ones. */
static void server_create(struct server *server, unsigned int id)
{
	unsigned int i = 0;

	while (i < server->n && server->ids[i] < id)
		i++;
	memmove(&server->ids[i + 1], &server->ids[i], (server->n++ - i) * sizeof(server->ids[0]));
	server->ids[i] = id;
	server->verf++;
}

static uint64_t cookie_of(const struct server *server, unsigned int i)
{
	if (server->cookies == BY_INDEX)
		return i + 1;
	return UINT64_C(1) << 63 | (server->ids[i] + 1);
}

/* Where the listing goes on, or -1. */
static int server_seek(const struct server *server, uint64_t cookie)
{
	unsigned int i = 0;

	if (!cookie)
		return 0;
	if (server->cookies == BY_NAME && server->late_dots)
		while (i < server->n && cookie_of(server, i) != cookie)
			i++;
	else
		while (i < server->n && cookie_of(server, i) < cookie)
			i++;
	if (i < server->n && cookie_of(server, i) == cookie)
		return (int)i + 1;
	return server->forgets ? -1 : (int)i;
}

static const char *name_of(unsigned int id, char name[16])
{
	if (id < 2)
		return id ? ".." : ".";
	snprintf(name, 16, "n%u", id);
	return name;
}

static struct dir_page *server_read(struct server *server, uint64_t cookie, uint64_t verf)
{
	int from = server_seek(server, cookie);
	struct dir_page *page;
	char name[16];

	server->n_calls++;
	if (from < 0 || (cookie && server->verifies && verf != server->verf))
		return NULL;
	page = dir_page_new();
	page->cookieverf = server->verf;
	for (unsigned int i = (unsigned int)from; i < server->n && i < from + server->page; i++) {
		struct nfs3_entry entry = { .fileid = server->ids[i] + 1000,
					    .cookie = cookie_of(server, i) };

		entry.name = name_of(server->ids[i], name);
		entry.name_len = (uint32_t)strlen(entry.name);
		assert(!dir_page_add(page, &entry));
	}
	page->eof = from + server->page >= server->n;
	return page;
}

/* dir_find(), with calls as needed. */
static enum dir_next look(struct dir *dir, struct server *server, uint64_t position,
			  struct dir_page **ret_page)
{
	struct dir_fetch fetch;
	struct dir_page *page;
	uint64_t dotdot;
	enum dir_next next;

	for (int i = 0; i < 1000; i++) {
		next = dir_find(dir, position, ret_page, &dotdot, &fetch);
		if (next != DIR_FETCH)
			return next;
		page = server_read(server, fetch.cookie, fetch.cookieverf);
		if (page)
			assert(!dir_accept(dir, &fetch, page));
		else
			assert(!dir_restart(dir, &fetch));
	}
	assert(!"no end");
	return DIR_END;
}

/* The id after *position, which moves on; -1 at the end. */
static int next_id(struct dir *dir, struct server *server, uint64_t *position)
{
	struct dir_page *page;
	enum dir_next next = look(dir, server, *position, &page);
	const char *name;
	int id;

	if (next == DIR_END)
		return -1;
	if (*position < DIR_DOTS) {
		dir_page_put(page);
		return (int)(*position)++;
	}
	assert(page);
	name = dir_page_name(page, &page->entries[*position - page->at]);
	assert(sscanf(name, "n%d", &id) == 1);
	assert(page->entries[*position - page->at].fileid == (uint64_t)id + 1000);
	dir_page_put(page);
	(*position)++;
	return id;
}

static struct dir *open_dir(void)
{
	struct cred cred = { .uid = 7 };
	struct dir *dir = dir_new(&cred);

	assert(dir && dir_cred(dir)->uid == 7);
	return dir;
}

/* Each name once, dots first, in as many calls. */
struct list_row {
	const char *what;
	struct server server;
	unsigned int n, n_calls;
};

static const struct list_row lists[] = {
	{ "one page", { .page = 100 }, 50, 1 },
	{ "several", { .page = 10 }, 50, 6 },
	{ "a page of nothing but dots", { .page = 2 }, 4, 3 },
	{ "half of that", { .page = 1 }, 2, 4 },
	{ "no dots from the server", { .page = 10, .no_dots = true }, 50, 5 },
	{ "no dots, no entries", { .page = 10, .no_dots = true }, 0, 1 },
	{ "empty", { .page = 10 }, 0, 1 },
	{ "dots at the end", { .page = 10, .late_dots = true }, 10, 2 },
	{ "small cookies", { .cookies = BY_INDEX, .page = 10, .verifies = true }, 50, 6 },
};

static void test_list(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		struct server server = lists[i].server;
		struct dir *dir = open_dir();
		uint64_t position = 0;

		server_fill(&server, lists[i].n);
		assert(next_id(dir, &server, &position) == 0);
		assert(next_id(dir, &server, &position) == 1);
		for (unsigned int n = 1; n <= lists[i].n; n++)
			assert(next_id(dir, &server, &position) == (int)(10 * n));
		assert(next_id(dir, &server, &position) == -1);
		assert(next_id(dir, &server, &position) == -1);
		assert(position == lists[i].n + 2);
		if (server.n_calls != lists[i].n_calls)
			fprintf(stderr, "%s: %u calls\n", lists[i].what, server.n_calls);
		assert(server.n_calls == lists[i].n_calls);
		dir_put(dir);
	}
}

/* Back to any position: the same entry follows, though an earlier one is gone. Two pages are kept;
 * further back takes a call. */
static void test_seek(void)
{
	struct server server = { .page = 10 };
	struct dir *dir = open_dir();
	struct dir_page *page;
	uint64_t position = 0;
	unsigned int n_calls;

	server_fill(&server, 60);
	while (next_id(dir, &server, &position) >= 0)
		;
	n_calls = server.n_calls;
	for (position = 50; position < 61;)
		next_id(dir, &server, &position);
	assert(server.n_calls == n_calls);
	server_remove(&server, 10);
	for (int i = 40; i >= 3; i -= 7) {
		position = (uint64_t)i + 1;
		assert(next_id(dir, &server, &position) == (int)(10 * i));
	}
	assert(server.n_calls > n_calls);
	assert(look(dir, &server, 63, &page) == DIR_END);
	assert(look(dir, &server, UINT64_MAX, &page) == DIR_END);
	dir_put(dir);
}

/* rewinddir(3) shows the present state; replies asked for before it are not part of that. */
static void test_rewind(void)
{
	struct server server = { .page = 10 };
	struct dir *dir = open_dir();
	struct dir_page *page;
	struct dir_fetch fetch;
	uint64_t position = 0, dotdot;

	server_fill(&server, 15);
	for (int i = 0; i < 5; i++)
		next_id(dir, &server, &position);
	assert(dir_find(dir, 10, &page, &dotdot, &fetch) == DIR_FETCH);
	assert(dotdot == 1001);
	server_remove(&server, 10);
	dir_rewind(dir);
	assert(!dir_accept(dir, &fetch, server_read(&server, fetch.cookie, fetch.cookieverf)));
	assert(!dir_restart(dir, &fetch));
	position = 2;
	assert(next_id(dir, &server, &position) == 20);
	assert(look(dir, &server, 16, &page) == DIR_END);
	dir_put(dir);
}

/* A server that refuses its own beginning. */
static void test_refused_start(void)
{
	struct dir *dir = open_dir();
	struct dir_page *page;
	struct dir_fetch fetch;
	uint64_t dotdot;

	assert(dir_find(dir, 0, &page, &dotdot, &fetch) == DIR_FETCH);
	assert(!fetch.cookie && !fetch.cookieverf);
	assert(dir_restart(dir, &fetch) == -EIO);
	dir_put(dir);
}

/* Cookies refused in the middle: what was there all the time appears once, nothing twice. */
enum change { REMOVE_READ, REMOVE_LAST, CREATE_BEFORE, CREATE_BEHIND, REMOVE_BEHIND };

struct change_row {
	const char *what;
	struct server server;
	enum change change;
	unsigned int max_calls; /* 200 names */
};

static const struct change_row changes[] = {
	{ "rm -r", { .page = 10, .verifies = true }, REMOVE_READ, 80 },
	{ "rm -r, cookies of places", { BY_INDEX, .page = 10, .verifies = true }, REMOVE_READ, 80 },
	{ "rm -r, cookies go with names", { .page = 10, .forgets = true }, REMOVE_READ, 30 },
	{ "rm -r, both", { .page = 10, .verifies = true, .forgets = true }, REMOVE_READ, 80 },
	{ "rm -r, no verifier", { .page = 10 }, REMOVE_READ, 25 },
	{ "the one before goes with its cookie", { .page = 10, .forgets = true }, REMOVE_LAST, 30 },
	{ "that and more", { .page = 4, .verifies = true, .forgets = true }, REMOVE_LAST, 520 },
	{ "a spool fills", { .page = 10, .verifies = true }, CREATE_BEHIND, 130 },
	{ "a spool fills, large pages", { .page = 40, .verifies = true }, CREATE_BEHIND, 45 },
	{ "a spool fills, places", { BY_INDEX, .page = 10, .verifies = true }, CREATE_BEHIND, 130 },
	{ "a spool empties", { .page = 10, .verifies = true }, REMOVE_BEHIND, 120 },
	{ "inserted before", { .page = 10, .verifies = true }, CREATE_BEFORE, 140 },
	{ "inserted before, places", { BY_INDEX, .page = 10, .verifies = true }, CREATE_BEFORE, 140 },
};

/* Once a page, at its end. */
static void apply_change(struct server *server, enum change change, const int *got, unsigned int n)
{
	switch (change) {
	case REMOVE_READ:
		for (unsigned int i = n - 9; i <= n; i++)
			server_remove(server, (unsigned int)got[i]);
		break;
	case REMOVE_LAST:
		server_remove(server, (unsigned int)got[n]);
		break;
	case CREATE_BEFORE:
		server_create(server, 15 + n / 10);
		break;
	case CREATE_BEHIND:
		server_create(server, 5000 + n);
		break;
	case REMOVE_BEHIND:
		if (server->ids[server->n - 1] > (unsigned int)got[n])
			server_remove(server, server->ids[server->n - 1]);
		break;
	}
}

static void check_change(const struct change_row *row, const int *got, unsigned int n)
{
	static unsigned int times[8192];
	unsigned int always = row->change == REMOVE_BEHIND ? 150 : 200;

	memset(times, 0, sizeof(times));
	for (unsigned int i = 0; i < n; i++)
		assert(++times[got[i]] == 1);
	for (unsigned int i = 1; i <= always; i++)
		assert(times[10 * i]);
}

static void test_change(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		struct server server = changes[i].server;
		struct dir *dir = open_dir();
		uint64_t position = 2;
		int got[MAX_NAMES];
		unsigned int n = 0;
		int id;

		server_fill(&server, 200);
		while ((id = next_id(dir, &server, &position)) >= 0) {
			got[n++] = id;
			if (n % 10 == 8 && n > 10)
				apply_change(&server, changes[i].change, got, n - 1);
		}
		check_change(&changes[i], got, n);
		if (server.n_calls > changes[i].max_calls)
			fprintf(stderr, "%s: %u calls\n", changes[i].what, server.n_calls);
		assert(server.n_calls <= changes[i].max_calls);
		dir_put(dir);
	}
}

/* After a restart, what was seen is seen again where it was: that is left out only behind. */
static void test_seek_back_after_restart(void)
{
	struct server server = { .page = 10, .verifies = true };
	struct dir *dir = open_dir();
	uint64_t position = 2;

	server_fill(&server, 50);
	for (int i = 1; i <= 18; i++)
		assert(next_id(dir, &server, &position) == 10 * i);
	server_create(&server, 5000);
	assert(next_id(dir, &server, &position) == 190);
	position = 6;
	for (int i = 5; i <= 50; i++)
		assert(next_id(dir, &server, &position) == 10 * i);
	assert(next_id(dir, &server, &position) == 5000);
	assert(next_id(dir, &server, &position) == -1);
	dir_put(dir);
}

static void test_bytes(void)
{
	struct dir *dir = open_dir();
	unsigned int n = 0;

	assert(dir_bytes(dir, 65536) == 65536);
	while (dir_enlarge(dir, dir_bytes(dir, 65536)))
		n++;
	assert(n == 4 && dir_bytes(dir, 65536) == DIR_MAX_BYTES);
	dir_put(dir);
}

/* RELEASEDIR while a call is out. */
static void test_outlived(void)
{
	struct server server = { .page = 10 };
	struct dir *dir = open_dir();
	struct dir *request = dir_ref(dir);
	struct dir_page *page;

	server_fill(&server, 5);
	dir_put(dir);
	assert(look(request, &server, 2, &page) == DIR_PAGE);
	dir_put(request);
	assert(!strcmp(dir_page_name(page, &page->entries[4]), "n50"));
	assert(!dir_page_detail(page, &page->entries[4]));
	dir_page_put(page);
}

int main(void)
{
	test_list();
	test_seek();
	test_rewind();
	test_refused_start();
	test_change();
	test_seek_back_after_restart();
	test_bytes();
	test_outlived();
	return 0;
}
