/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dir_page - see dir_page.h. */
#include "dir_page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"

struct dir_page *dir_page_new(void)
{
	struct dir_page *page = calloc(1, sizeof(*page));

	if (page)
		page->refs = 1;
	return page;
}

struct dir_page *dir_page_ref(struct dir_page *page)
{
	atomic_fetch_add(&page->refs, 1);
	return page;
}

void dir_page_put(struct dir_page *page)
{
	if (!page || atomic_fetch_sub(&page->refs, 1) > 1)
		return;
	free(page->slots);
	free(page->entries);
	free(page->details);
	free(page->names);
	free(page);
}

static bool is_dot(const struct nfs3_entry *entry)
{
	return entry->name_len == 1 && entry->name[0] == '.';
}

static bool is_dotdot(const struct nfs3_entry *entry)
{
	return entry->name_len == 2 && !memcmp(entry->name, "..", 2);
}

static bool add_name(struct dir_page *page, const struct nfs3_entry *entry, uint32_t *ret_name)
{
	size_t need = page->names_len + entry->name_len + 1;
	char *names = array_grown(page->names, need, &page->names_max, 1);

	if (!names)
		return false;
	page->names = names;
	memcpy(names + page->names_len, entry->name, entry->name_len);
	names[need - 1] = '\0';
	*ret_name = (uint32_t)page->names_len;
	page->names_len = need;
	return true;
}

static bool add_detail(struct dir_page *page, const struct nfs3_entry *entry, uint32_t *ret_detail)
{
	struct dir_detail *details = array_grown(page->details, page->n_details + 1, &page->details_max,
					   sizeof(*details));

	if (!details)
		return false;
	page->details = details;
	details[page->n_details] = (struct dir_detail){
		.attr = entry->attr, .has_fh = entry->has_fh, .fh = entry->fh,
	};
	*ret_detail = page->n_details++;
	return true;
}

uint64_t dir_name_hash(const char *name, size_t len)
{
	return hash_bytes(name, len, 0);
}

static int add_entry(struct dir_page *page, const struct nfs3_entry *from)
{
	struct dir_entry entry = {
		.fileid = from->fileid,
		.cookie = from->cookie,
		.hash = dir_name_hash(from->name, from->name_len),
		.has_detail = from->attr.valid || from->has_fh,
	};
	struct dir_entry *entries = array_grown(page->entries, page->n_entries + 1, &page->entries_max,
					  sizeof(*entries));

	if (!entries)
		return -ENOMEM;
	page->entries = entries;
	if (!add_name(page, from, &entry.name))
		return -ENOMEM;
	if (entry.has_detail && !add_detail(page, from, &entry.detail))
		return -ENOMEM;
	entries[page->n_entries++] = entry;
	return 0;
}

int dir_page_add(struct dir_page *page, const struct nfs3_entry *entry)
{
	int error = 0;

	if (is_dotdot(entry))
		page->dotdot = entry->fileid;
	else if (!is_dot(entry))
		error = add_entry(page, entry);
	if (error)
		return error;
	page->last_cookie = entry->cookie;
	page->n_received++;
	return 0;
}

/* trimmed - the array with room for need items; as it is if that fails. */
static void *trimmed(void *array, size_t need, size_t *max, size_t item)
{
	void *smaller = need && need < *max ? realloc(array, need * item) : NULL;

	if (!smaller)
		return array;
	*max = need;
	return smaller;
}

void dir_page_unindex(struct dir_page *page)
{
	free(page->slots);
	page->slots = NULL;
	page->n_slots = 0;
}

/* At most half full. Without memory there is none. */
static void index_entries(struct dir_page *page)
{
	uint32_t n_slots = 4;

	while (n_slots < 2 * page->n_entries)
		n_slots *= 2;
	dir_page_unindex(page);
	page->slots = calloc(n_slots, sizeof(*page->slots));
	if (!page->slots)
		return;
	page->n_slots = n_slots;
	for (uint32_t i = 0; i < page->n_entries; i++) {
		uint32_t at = (uint32_t)page->entries[i].hash;

		while (page->slots[at & (n_slots - 1)])
			at++;
		page->slots[at & (n_slots - 1)] = i + 1;
	}
}

void dir_page_trim(struct dir_page *page)
{
	page->entries = trimmed(page->entries, page->n_entries, &page->entries_max,
				sizeof(*page->entries));
	page->details = trimmed(page->details, page->n_details, &page->details_max,
				sizeof(*page->details));
	page->names = trimmed(page->names, page->names_len, &page->names_max, 1);
	index_entries(page);
}

const struct dir_entry *dir_page_find(const struct dir_page *page, const char *name)
{
	uint64_t hash = dir_name_hash(name, strlen(name));

	if (!page->slots)
		return NULL;
	for (uint32_t i = (uint32_t)hash; page->slots[i & (page->n_slots - 1)]; i++) {
		const struct dir_entry *entry =
			&page->entries[page->slots[i & (page->n_slots - 1)] - 1];

		if (entry->hash == hash && !strcmp(dir_page_name(page, entry), name))
			return entry;
	}
	return NULL;
}

size_t dir_page_bytes(const struct dir_page *page)
{
	return sizeof(*page) + page->entries_max * sizeof(*page->entries) +
	       page->details_max * sizeof(*page->details) + page->names_max +
	       page->n_slots * sizeof(*page->slots);
}
