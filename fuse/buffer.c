/* SPDX-License-Identifier: GPL-2.0-or-later */
/* buffer - see buffer.h. A page in front of the data says where a buffer came from, and links it while
 * it is unused. */
#include "buffer.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "../conn/mutex.h"
#include "../conn/util.h"

enum { MAPPED = BUFFER_PAGE + BUFFER_LARGE };

struct header {
	bool large;
	struct header *next; /* unused, in the store */
};

/* Last in, first out: the top ones are warm. */
static struct {
	struct mutex lock; /* guards what follows */
	struct header *top;
	unsigned int n;
	unsigned int n_least; /* of n since the last trim: so many were never needed */
} store = { .lock = MUTEX_INIT };

static struct header *header_of(void *buffer)
{
	return (struct header *)(void *)((uint8_t *)buffer - BUFFER_PAGE);
}

static void *data_of(struct header *header)
{
	return (uint8_t *)header + BUFFER_PAGE;
}

static struct header *pop(void)
{
	struct header *header;

	mutex_lock(&store.lock);
	header = store.top;
	if (header) {
		store.top = header->next;
		if (--store.n < store.n_least)
			store.n_least = store.n;
	}
	mutex_unlock(&store.lock);
	return header;
}

static void push(struct header *header)
{
	mutex_lock(&store.lock);
	header->next = store.top;
	store.top = header;
	store.n++;
	mutex_unlock(&store.lock);
}

static struct header *map_large(void)
{
	struct header *header = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (header == MAP_FAILED)
		return NULL;
	/* Nobody wants file contents in a core dump, and a dump keeps the mount hanging. */
	madvise(header, MAPPED, MADV_DONTDUMP);
	header->large = true;
	return header;
}

static struct header *allocate_small(size_t size)
{
	size_t rounded = (size + BUFFER_PAGE - 1) & ~(size_t)(BUFFER_PAGE - 1);
	struct header *header = aligned_alloc(BUFFER_PAGE, BUFFER_PAGE + rounded);

	if (header)
		header->large = false;
	return header;
}

void *buffer_get(size_t size)
{
	struct header *header;

	if (size <= BUFFER_LARGE_MIN) {
		header = allocate_small(size);
	} else {
		header = pop();
		if (!header)
			header = map_large();
	}
	return header ? data_of(header) : NULL;
}

void buffer_put(void *buffer)
{
	struct header *header;

	if (!buffer)
		return;
	header = header_of(buffer);
	if (header->large)
		push(header);
	else
		free(header);
}

static void unmap(unsigned int n)
{
	struct header *header;

	while (n-- && (header = pop()))
		munmap(header, MAPPED);
}

void buffer_trim(void)
{
	unsigned int n;

	mutex_lock(&store.lock);
	n = (store.n_least + 1) / 2;
	mutex_unlock(&store.lock);
	unmap(n);
	mutex_lock(&store.lock);
	store.n_least = store.n;
	mutex_unlock(&store.lock);
}

void buffer_trim_all(void)
{
	unmap(UINT32_MAX);
}
