/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_change - options of a mount that is there: what a list of words would change, whether that can be, and
 * the lists of words that say what it has now. Every question parses whole lists anew, with the parser of the
 * command line: there is one set of rules. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "../conn/util.h"
#include "option_parser.h"
#include "option_words.h"

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool is_different(const struct option_row *row, const struct option_draft *a, const struct option_draft *b)
{
	const void *of_a = (const char *)a + row->offset, *of_b = (const char *)b + row->offset;

	if (!row->size)
		return false;
	if (row->kind == KIND_STRING)
		return !same_text(*(char *const *)of_a, *(char *const *)of_b);
	return memcmp(of_a, of_b, row->size) != 0;
}

/* Of the words for one field (fg, bg), the one for what it is to be. */
static const struct option_row *asked_for(const struct option_row *row, const struct option_draft *after)
{
	for (unsigned int i = 0; i < option_table_n && row->kind == KIND_FLAG; i++) {
		const struct option_row *other = &option_table[i];

		if (other->kind == KIND_FLAG && other->size && other->offset == row->offset &&
		    option_value(after, other) == other->flag)
			return other;
	}
	return row;
}

static int parse_lists(struct parser *parser, const char *first, const char *second, const struct options_env *env)
{
	char *argv[] = { (char *)"fusenfs", (char *)"-o", (char *)(uintptr_t)(first ? first : ""),
			 (char *)"-o",      (char *)(uintptr_t)(second ? second : ""), (char *)"host:/",
			 (char *)"/",       NULL };

	return option_parse(parser, ARRAY_SIZE(argv) - 1, argv, env);
}

static unsigned long mount_flags(const struct options *options)
{
	return (options->ro ? MS_RDONLY : 0) | (options->nosuid ? MS_NOSUID : 0) |
	       (options->nodev ? MS_NODEV : 0) | (options->noexec ? MS_NOEXEC : 0) |
	       (options->noatime ? MS_NOATIME : 0);
}

static const struct option_row *first_difference(const struct option_draft *a, const struct option_draft *b)
{
	for (unsigned int i = 0; i < option_table_n; i++)
		if (!option_table[i].remounts && is_different(&option_table[i], a, b))
			return asked_for(&option_table[i], b);
	return NULL;
}

/* Two parses side by side. Frees what they hold. */
struct pair {
	struct parser before, after;
	struct message ignored;
};

static struct pair *pair_new(struct message *error)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	if (!pair) {
		message_set(error, MSG_NO_MEMORY, "out of memory");
		return NULL;
	}
	pair->before.error = &pair->ignored;
	pair->after.error = error;
	return pair;
}

static void pair_free(struct pair *pair)
{
	options_deinit(&pair->before.draft.options);
	options_deinit(&pair->after.draft.options);
	free(pair);
}

/* As of any mount: what is computed is the same for both. */
const char *options_fixed_change(const char *running, const char *added, unsigned long *ret_flags)
{
	static const struct options_env env = { .root = true, .n_cpus = 1 };
	struct message ignored;
	struct pair *pair = pair_new(&ignored);
	const struct option_row *row;

	if (!pair)
		return "out of memory";
	parse_lists(&pair->before, running, NULL, &env);
	parse_lists(&pair->after, running, added, &env);
	row = first_difference(&pair->before.draft, &pair->after.draft);
	*ret_flags = mount_flags(&pair->after.draft.options);
	pair_free(pair);
	return row ? row->name : NULL;
}

/* ---- changes ----------------------------------------------------------------------------- */

const char *options_live_names(char *text, size_t size)
{
	FILE *stream;
	const char *between = "";

	text[0] = '\0';
	stream = fmemopen(text, size, "w");
	if (!stream)
		return text;
	for (unsigned int i = 0; i < option_table_n; i++) {
		if (!option_table[i].live || option_table[i].remounts)
			continue;
		fprintf(stream, "%s%s", between, option_table[i].name);
		between = ", ";
	}
	fclose(stream);
	text[size - 1] = '\0';
	return text;
}

static int refuse_fixed(const struct option_row *row, struct message *error)
{
	char names[MESSAGE_TEXT_MAX - 64];

	message_set(error, MSG_REMOUNT_FIXED, "'%s' cannot be changed while it is mounted", row->name);
	message_why(error, "what can: %s", options_live_names(names, sizeof(names)));
	return -EINVAL;
}

static int refuse_mount_word(const struct option_row *row, struct message *error)
{
	message_set(error, MSG_REMOUNT_FIXED, "'%s' is changed by mount(8)", row->name);
	message_try(error, "mount -o remount,%s ...", row->name);
	return -EINVAL;
}

static int check_rows(const struct pair *pair, bool remount, struct options_changes *changes,
		      struct message *error)
{
	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];

		if (!is_different(row, &pair->before.draft, &pair->after.draft))
			continue;
		if (row->remounts && !remount)
			return refuse_mount_word(asked_for(row, &pair->after.draft), error);
		if (row->remounts)
			continue;
		if (!row->live)
			return refuse_fixed(asked_for(row, &pair->after.draft), error);
		changes->rows[i] = changes->any = true;
	}
	return 0;
}

/* How it is mounted is not for the next remount to know: mount(8) says it anew. */
static void keep_mount_words(struct pair *pair)
{
	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];

		if (row->remounts && row->slot != SLOT_SELF)
			memcpy((char *)&pair->after.draft + row->offset,
			       (const char *)&pair->before.draft + row->offset, row->size);
	}
}

int options_change(const char *given, const char *list, bool remount, struct options_changes *ret_changes,
		   char **ret_given, struct message *ret_error)
{
	struct pair *pair = pair_new(ret_error);
	struct options_env env;
	int error;

	if (!pair)
		return -ENOMEM;
	options_env_of_process(&env);
	*ret_changes = (struct options_changes){ .any = false };
	parse_lists(&pair->before, given, NULL, &env);
	error = parse_lists(&pair->after, given, list, &env);
	if (!error)
		error = check_rows(pair, remount, ret_changes, ret_error);
	if (!error) {
		ret_changes->any |= pair->before.draft.options.soft_deadline_ns !=
				    pair->after.draft.options.soft_deadline_ns;
		ret_changes->options = pair->after.draft.options;
		keep_mount_words(pair);
		*ret_given = option_words(&pair->after.draft, false);
		error = *ret_given ? 0 : -ENOMEM;
	}
	if (error == -ENOMEM)
		message_set(ret_error, MSG_NO_MEMORY, "out of memory");
	pair_free(pair); /* ret_changes has pointers into it, which nobody follows: of live strings the meaning counts */
	return error;
}

/* Fields that are _Atomic in struct options have the size of their plain type. */
static void store(void *to, const void *from, size_t size)
{
	switch (size) {
	case sizeof(uint64_t):
		__atomic_store_n((uint64_t *)to, *(const uint64_t *)from, __ATOMIC_RELAXED);
		break;
	case sizeof(uint32_t):
		__atomic_store_n((uint32_t *)to, *(const uint32_t *)from, __ATOMIC_RELAXED);
		break;
	case sizeof(uint8_t):
		__atomic_store_n((uint8_t *)to, *(const uint8_t *)from, __ATOMIC_RELAXED);
		break;
	default: /* none is */
		break;
	}
}

void options_apply_changes(const struct options_changes *changes, struct options *options)
{
	const size_t begin = offsetof(struct option_draft, options), end = begin + sizeof(*options);

	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];
		size_t at = row->offset - begin;

		if (changes->rows[i] && row->kind != KIND_STRING && row->offset >= begin && row->offset < end)
			store((char *)options + at, (const char *)&changes->options + at, row->size);
	}
	options->soft_deadline_ns = changes->options.soft_deadline_ns;
	options->noac = changes->options.noac;
	options->metrics = changes->options.metrics; /* one thread's */
}

/* ---- words ------------------------------------------------------------------------------- */

char *options_words(const char *given, bool all, uint32_t rsize, uint32_t wsize)
{
	cleanup(freep) struct parser *parser = calloc(1, sizeof(*parser));
	struct option_draft *draft;
	struct options_env env;
	struct message ignored;
	char *words;

	if (!parser)
		return NULL;
	parser->error = &ignored;
	draft = &parser->draft;
	options_env_of_process(&env);
	parse_lists(parser, given, NULL, &env);
	if (all) {
		draft->mdconnect_given = draft->optimeo_given = true;
		draft->optimeo_ns = draft->options.soft_deadline_ns;
		draft->options.rsize = rsize ? rsize : draft->options.rsize;
		draft->options.wsize = wsize ? wsize : draft->options.wsize;
	}
	words = option_words(draft, all);
	options_deinit(&draft->options);
	return words;
}
