/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_range - what is left of older ranges when a newer one has been taken by the server: exactly the
 * bytes it does not cover, with the data that was written there. Checked against a plain array. */
#undef NDEBUG
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../../fuse/fs.h"
#include "../../fuse/range.h"

enum { SPACE = 64, ROUNDS = 20000 };

static const struct fs fs = { .max_write = 1 << 20 };

static struct range *make(uint64_t seq, uint64_t offset, uint32_t len, char fill)
{
	char data[SPACE];
	struct range *range;

	memset(data, fill, sizeof(data));
	range = range_new(&fs, data, len, offset);
	assert(range);
	range->seq = seq;
	range->fresh = false; /* it was sent */
	return range;
}

static void release(struct range_list *list)
{
	struct range *range;

	while ((range = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, range, link);
		range_free(range);
	}
}

/* The list as text: '.' where nothing is held. Overlaps are an error. */
static void draw(const struct range_list *list, char text[SPACE + 1])
{
	const struct range *range;

	memset(text, '.', SPACE);
	text[SPACE] = '\0';
	TAILQ_FOREACH(range, list, link) {
		assert(range->len > 0);
		for (uint32_t i = 0; i < range->len; i++) {
			assert(text[range->offset + i] == '.');
			text[range->offset + i] = (char)range->data[i];
		}
	}
}

static void test_cuts(void)
{
	static const struct {
		uint64_t offset;
		uint32_t len;
		const char *left; /* of an 'a' range at 4..11 */
		unsigned int n_freed;
	} rows[] = {
		{ 0, 4, "....aaaaaaaa", 0 },  /* before it */
		{ 12, 4, "....aaaaaaaa", 0 }, /* behind it */
		{ 0, 6, "......aaaaaa", 0 },  /* its front */
		{ 4, 2, "......aaaaaa", 0 },
		{ 10, 6, "....aaaaaa..", 0 }, /* its end */
		{ 10, 2, "....aaaaaa..", 0 },
		{ 6, 2, "....aa..aaaa", 0 },  /* its middle */
		{ 4, 8, "............", 1 },  /* all of it */
		{ 2, 20, "............", 1 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct range_list list = TAILQ_HEAD_INITIALIZER(list);
		struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
		struct range *newer = make(2, rows[i].offset, rows[i].len, 'b');
		unsigned int n = 0;
		struct range *range;
		char text[SPACE + 1];

		range = make(1, 4, 8, 'a');
		TAILQ_INSERT_TAIL(&list, range, link);
		range_replace(&list, newer, &freed);
		draw(&list, text);
		assert(!strncmp(text, rows[i].left, 12));
		TAILQ_FOREACH(range, &freed, link)
			n++;
		assert(n == rows[i].n_freed);
		release(&list);
		release(&freed);
		range_free(newer);
	}
}

/* An older range is not cut by one that came before it, nor one whose writer is not answered yet. */
static void test_not_cut(void)
{
	struct range_list list = TAILQ_HEAD_INITIALIZER(list);
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	struct range *newer = make(5, 0, 20, 'n');
	struct range *younger = make(6, 0, 4, 'y'), *unanswered = make(4, 8, 4, 'u');
	char text[SPACE + 1];

	unanswered->request = (struct request *)(void *)&freed;
	TAILQ_INSERT_TAIL(&list, younger, link);
	TAILQ_INSERT_TAIL(&list, unanswered, link);
	range_replace(&list, newer, &freed);
	draw(&list, text);
	assert(!strncmp(text, "yyyy....uuuu....", 16) && TAILQ_EMPTY(&freed));
	release(&list);
	range_free(newer);
}

static void test_charge(void)
{
	struct range *range = make(1, 0, 8, 'a');
	uint64_t charge = range->buffer->charge;
	struct range_list list = TAILQ_HEAD_INITIALIZER(list);
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	struct range *newer = make(2, 2, 2, 'b');
	struct range *rest;

	assert(charge > 8);
	TAILQ_INSERT_TAIL(&list, range, link);
	range_replace(&list, newer, &freed); /* two ends share one buffer */
	rest = TAILQ_NEXT(range, link);
	assert(rest && rest->buffer == range->buffer);
	assert(range_free(range) == 0);
	assert(range_free(rest) == charge); /* memory is free when both have gone */
	range_free(newer);
}

/* Random writes, each taken at once: the list always is the picture of an array. */
static void test_model(void)
{
	struct range_list list = TAILQ_HEAD_INITIALIZER(list);
	char model[SPACE + 1], text[SPACE + 1];

	memset(model, '.', SPACE);
	model[SPACE] = '\0';
	srandom(1);
	for (unsigned int i = 0; i < ROUNDS; i++) {
		struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
		uint64_t offset = (uint64_t)random() % SPACE;
		uint32_t len = 1 + (uint32_t)random() % 12;
		char fill = (char)('a' + i % 26);
		struct range *newer;

		len = (uint32_t)min_size(len, SPACE - offset);
		newer = make(i, offset, len, fill);
		range_replace(&list, newer, &freed);
		TAILQ_INSERT_TAIL(&list, newer, link);
		memset(model + offset, fill, len);
		release(&freed);
		draw(&list, text);
		assert(!strcmp(text, model));
	}
	release(&list);
}

int main(void)
{
	test_cuts();
	test_not_cut();
	test_charge();
	test_model();
	return 0;
}
