/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_word - one word of an option list: its row in the table, its value, what it does to the
 * draft. The rightmost word of a slot stays because it is stored last; a refused one is only
 * remembered, so that a later word of its slot makes it be forgotten. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "option_parser.h"

void option_add_note(struct options *options, enum message_id id, const char *format, ...)
{
	struct options_note *note = &options->notes[options->n_notes];
	va_list args;

	if (options->n_notes == OPTIONS_MAX_NOTES)
		return;
	options->n_notes++;
	note->id = id;
	va_start(args, format);
	vsnprintf(note->text, sizeof(note->text), format, args);
	va_end(args);
}

/* ---- values ------------------------------------------------------------------------------ */

static void *draft_field(struct option_draft *draft, size_t offset)
{
	return (char *)draft + offset;
}

static void store_integer(struct option_draft *draft, const struct option_row *row, int64_t value)
{
	void *field = draft_field(draft, row->offset);
	uint32_t value32 = (uint32_t)value;
	bool value1 = value != 0;

	switch (row->size) {
	case sizeof(int64_t):
		memcpy(field, &value, sizeof(value));
		break;
	case sizeof(uint32_t):
		memcpy(field, &value32, sizeof(value32));
		break;
	case sizeof(bool):
		memcpy(field, &value1, sizeof(value1));
		break;
	default: /* nothing to store */
		break;
	}
}

static int bad_value(struct parser *parser, const struct option_row *row, const char *value,
		     const char *what)
{
	char range[128];

	option_range(row, range, sizeof(range));
	message_set(parser->error, MSG_BAD_VALUE, "%s=%.*s is %s (%s)", row->name, WORD_SHOWN,
		    value, what, range);
	return -EINVAL;
}

/* Digits alone; what follows them is *ret_rest. */
static int parse_digits(const char *text, int64_t *ret_value, const char **ret_rest)
{
	int64_t value = 0;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, *text - '0', &value))
			value = INT64_MAX; /* keeps overflowing, and is out of every range */
	*ret_value = value;
	*ret_rest = text;
	return 0;
}

/* ".25" behind a number, cut to thousandths; none is 0. -EINVAL: a dot without digits. */
static int parse_fraction(const char **rest, int64_t *ret_thousandths)
{
	int64_t value = 0, weight = 100;
	const char *text = *rest;

	*ret_thousandths = 0;
	if (*text != '.')
		return 0;
	if (*++text < '0' || *text > '9')
		return -EINVAL;
	for (; *text >= '0' && *text <= '9'; text++, weight /= 10)
		value += weight * (*text - '0');
	*ret_thousandths = value;
	*rest = text;
	return 0;
}

/* What a suffix multiplies by: of bytes K, M, G (and KiB ...), of times s and ms. 0: unknown. */
static int64_t suffix_factor(enum option_kind kind, const char *suffix)
{
	static const char units[] = "kmg";
	const char *unit;

	if (kind == KIND_TIME) {
		if (strcmp(suffix, "ms") == 0)
			return 1;
		return !*suffix || strcmp(suffix, "s") == 0 ? 1000 : 0;
	}
	if (!*suffix)
		return 1;
	if (kind != KIND_BYTES && kind != KIND_IO_SIZE)
		return 0;
	unit = strchr(units, *suffix | 0x20);
	if (!unit || (suffix[1] && strcmp(suffix + 1, "iB") != 0))
		return 0;
	return INT64_C(1024) << (10 * (unit - units));
}

/* The kernel client's rule (nfs(5), fs/nfs/internal.h): below 1024 is 4096, above 1 MiB is 1 MiB,
 * below a page a power of two, else whole pages. 0 is left: the server's preference. */
static int64_t round_io_size(int64_t bytes)
{
	if (bytes == 0)
		return 0;
	if (bytes < 1024)
		return 4096;
	if (bytes >= 1 << 20)
		return 1 << 20;
	if (bytes < 4096)
		return bytes < 2048 ? 1024 : 2048;
	return bytes & ~INT64_C(4095);
}

static int64_t to_stored_unit(enum option_kind kind, int64_t value)
{
	switch (kind) {
	case KIND_DECISECONDS: return value * (NS_PER_S / 10);
	case KIND_SECONDS: return value * NS_PER_S;
	case KIND_TIME: return value * NS_PER_MS;
	case KIND_MINUTES: return value * 60 * NS_PER_S;
	case KIND_IO_SIZE: return round_io_size(value);
	case KIND_FLAG:
	case KIND_NUMBER:
	case KIND_BYTES:
	case KIND_CHOICE:
	case KIND_STRING:
	case KIND_ANY:
		break;
	}
	return value;
}

static int parse_quantity(struct parser *parser, const struct option_row *row, const char *value,
			  int64_t *ret_stored)
{
	const char *suffix;
	int64_t number, factor, thousandths = 0;

	if (row->takes_auto && strcmp(value, "auto") == 0) {
		*ret_stored = row->flag;
		return 0;
	}
	if (parse_digits(value, &number, &suffix) ||
	    (row->kind == KIND_TIME && parse_fraction(&suffix, &thousandths)))
		return bad_value(parser, row, value, "not a number");
	factor = suffix_factor(row->kind, suffix);
	if (!factor)
		return bad_value(parser, row, value, "not a number");
	if (__builtin_mul_overflow(number, factor, &number) ||
	    __builtin_add_overflow(number, thousandths * factor / 1000, &number) ||
	    number < row->min || number > row->max)
		return bad_value(parser, row, value, "out of range");
	*ret_stored = to_stored_unit(row->kind, number);
	return 0;
}

/* *ret_refuse: the word is known, but this error. */
static int parse_choice(struct parser *parser, const struct option_row *row, const char *value,
			int64_t *ret_stored, enum message_id *ret_refuse)
{
	char range[128];

	for (const struct option_choice *choice = row->choices; choice->word; choice++) {
		if (strcmp(choice->word, value) == 0) {
			*ret_stored = choice->value;
			*ret_refuse = choice->refuse;
			return 0;
		}
	}
	option_range(row, range, sizeof(range));
	message_set(parser->error, MSG_BAD_VALUE, "%s=%.*s is none of: %s", row->name, WORD_SHOWN,
		    value, range);
	return -EINVAL;
}

static int store_string(struct parser *parser, const struct option_row *row, const char *value)
{
	char **field = draft_field(&parser->draft, row->offset);
	char *copy;

	if (strlen(value) > (size_t)row->max || !*value)
		return bad_value(parser, row, value, "too long or empty");
	for (const char *byte = value; *byte; byte++)
		if ((unsigned char)*byte < ' ' || *byte == 0x7f)
			return bad_value(parser, row, "?", "not printable");
	copy = strdup(value);
	if (!copy) {
		message_set(parser->error, MSG_NO_MEMORY, "out of memory");
		return -ENOMEM;
	}
	free(*field);
	*field = copy;
	return 0;
}

/* ---- effects ----------------------------------------------------------------------------- */

static void set_ac_times(struct options *options, int64_t ns)
{
	options->acregmin_ns = options->acregmax_ns = ns;
	options->acdirmin_ns = options->acdirmax_ns = ns;
}

static void restore_ac_times(struct parser *parser)
{
	static const char *const names[] = { "acregmin", "acregmax", "acdirmin", "acdirmax" };

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++) {
		const struct option_row *row = option_find(names[i], strlen(names[i]));
		int64_t stored;

		if (!parse_quantity(parser, row, row->initial, &stored))
			store_integer(&parser->draft, row, stored);
	}
}

static void apply_effect(struct parser *parser, enum option_effect effect, int64_t stored)
{
	struct option_draft *draft = &parser->draft;
	struct options *options = &draft->options;

	switch (effect) {
	case EFFECT_NONE:
		break;
	case EFFECT_AC:
		if (options->noac)
			restore_ac_times(parser);
		if (draft->sync_by_noac)
			options->sync = draft->sync_by_noac = false;
		options->noac = false;
		break;
	case EFFECT_NOAC:
		set_ac_times(options, 0);
		draft->sync_by_noac |= !options->sync;
		options->noac = options->sync = true;
		break;
	case EFFECT_ACTIMEO:
		set_ac_times(options, stored);
		options->noac = false; /* but still sync, as in the kernel client */
		break;
	case EFFECT_SYNC:
		draft->sync_by_noac = false;
		break;
	}
}

/* ---- one option -------------------------------------------------------------------------- */

static unsigned int row_index(const struct option_row *row)
{
	return (unsigned int)(row - option_table);
}

static void forget_refusals(struct parser *parser, const struct option_row *row)
{
	parser->refusals[row_index(row)].id = MSG_NONE;
	if (row->slot == SLOT_SELF)
		return;
	for (unsigned int i = 0; i < option_table_n; i++)
		if (option_table[i].slot == row->slot)
			parser->refusals[i].id = MSG_NONE;
}

static void remember_refusal(struct parser *parser, const struct option_row *row,
			     const char *value, enum message_id id)
{
	struct refusal *refusal = &parser->refusals[row_index(row)];

	refusal->id = id;
	refusal->order = parser->order++;
	if (value && row->kind == KIND_CHOICE)
		snprintf(refusal->word, sizeof(refusal->word), "%s=%s", row->name, value);
	else
		snprintf(refusal->word, sizeof(refusal->word), "%s", row->name);
}

static void ignore_option(struct parser *parser, const struct option_row *row)
{
	bool *seen = &parser->seen[row_index(row)];

	if (!*seen)
		option_add_note(&parser->draft.options, MSG_OPTION_IGNORED,
			 "option '%s' has no effect in fusenfs", row->name);
	*seen = true;
}

static int check_value_present(struct parser *parser, const struct option_row *row,
			       const char *value)
{
	char range[128];

	if (row->kind == KIND_ANY)
		return 0;
	if (row->kind == KIND_FLAG && value) {
		message_set(parser->error, MSG_BAD_VALUE, "option '%s' takes no value", row->name);
		return -EINVAL;
	}
	if (row->kind != KIND_FLAG && !value && !row->value_optional) {
		option_range(row, range, sizeof(range));
		message_set(parser->error, MSG_BAD_VALUE, "option '%s' needs a value (%s)",
			    row->name, range);
		return -EINVAL;
	}
	return 0;
}

/* Parse the value and store it. value is NULL for a word without one. */
static int honour_option(struct parser *parser, const struct option_row *row, const char *value)
{
	enum message_id refuse = MSG_NONE;
	int64_t stored = row->flag;
	int error = 0;

	if (row->kind == KIND_STRING)
		error = store_string(parser, row, value);
	else if (row->kind == KIND_CHOICE && value)
		error = parse_choice(parser, row, value, &stored, &refuse);
	else if (row->kind != KIND_FLAG && value)
		error = parse_quantity(parser, row, value, &stored);
	if (error)
		return error;
	if (refuse != MSG_NONE) {
		remember_refusal(parser, row, value, refuse);
		return 0;
	}
	if (row->kind != KIND_STRING)
		store_integer(&parser->draft, row, stored);
	apply_effect(parser, row->effect, stored);
	return 0;
}

int option_apply(struct parser *parser, const struct option_row *row, const char *value)
{
	int error = check_value_present(parser, row, value);

	if (error)
		return error;
	forget_refusals(parser, row);
	switch (row->state) {
	case OPTION_GENERIC:
		return 0;
	case OPTION_IGNORED:
		ignore_option(parser, row);
		return 0;
	case OPTION_REFUSED:
		remember_refusal(parser, row, value, row->refuse);
		return 0;
	case OPTION_HONOURED:
		break;
	}
	error = honour_option(parser, row, value);
	if (!error && row->given)
		*(bool *)draft_field(&parser->draft, row->given) = true;
	return error;
}

/* word is "name" or "name=value"; it is cut at the '='. */
static int parse_word(struct parser *parser, char *word)
{
	char *value = strchr(word, '=');
	const struct option_row *row;

	if (value)
		*value++ = '\0';
	row = option_find(word, strlen(word));
	if (row)
		return option_apply(parser, row, value);
	if (parser->n_unknown < MAX_UNKNOWN)
		snprintf(parser->unknown[parser->n_unknown], sizeof(parser->unknown[0]), "%s",
			 word);
	parser->n_unknown += parser->n_unknown < MAX_UNKNOWN;
	return 0;
}

/* The next word of a list, "\," and "\\" resolved in place. NULL at its end. */
static char *next_word(char **list)
{
	char *word = *list, *to = word, *from = word;

	if (!word)
		return NULL;
	for (; *from && *from != ','; from++) {
		if (*from == '\\' && (from[1] == ',' || from[1] == '\\'))
			from++;
		*to++ = *from;
	}
	*list = *from ? from + 1 : NULL;
	*to = '\0';
	return word;
}

int option_parse_list(struct parser *parser, const char *list)
{
	cleanup(freep) char *copy = strdup(list);
	char *rest = copy, *word;

	if (!copy) {
		message_set(parser->error, MSG_NO_MEMORY, "out of memory");
		return -ENOMEM;
	}
	while ((word = next_word(&rest))) {
		int error = *word ? parse_word(parser, word) : 0;

		if (error)
			return error;
	}
	return 0;
}

int option_apply_defaults(struct parser *parser)
{
	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];
		const char *value = row->kind == KIND_FLAG ? NULL : row->initial;
		int error = row->initial ? honour_option(parser, row, value) : 0;

		if (error)
			return error;
	}
	return 0;
}

/* ---- refusals ---------------------------------------------------------------------------- */

static int unknown_option(struct parser *parser, const char *word)
{
	const struct option_row *nearest = option_nearest(word);

	if (nearest)
		message_set(parser->error, MSG_UNKNOWN_OPTION,
			    "unknown option '%s', did you mean '%s%s'?", word, nearest->name,
			    nearest->kind == KIND_FLAG || nearest->kind == KIND_ANY ? "" : "=");
	else
		message_set(parser->error, MSG_UNKNOWN_OPTION, "unknown option '%s'", word);
	message_try(parser->error, "fusenfs help options");
	return -EINVAL;
}

static void explain_refusal(struct parser *parser, const struct refusal *refusal)
{
	const char *word = refusal->word;
	struct message *error = parser->error;

	switch ((int)refusal->id) {
	case MSG_UNSUPPORTED_SECURITY:
		message_set(error, refusal->id, "%s is not supported", word);
		message_why(error, "refusing rather than mounting without it.");
		if (strncmp(word, "xprtsec", 7) == 0)
			message_try(error, "a tunnel, such as WireGuard, between the hosts");
		else
			message_try(error, "mount -t nfs -o vers=3,%s ...", word);
		break;
	case MSG_UNSUPPORTED_TRANSPORT:
		message_set(error, refusal->id, "NFS over RDMA is not supported (%s)", word);
		message_try(error, "-o proto=tcp");
		break;
	case MSG_VERSION_UNSUPPORTED:
		message_set(error, refusal->id, "%s is not supported", word);
		message_why(error, "fusenfs speaks NFS version 3.");
		message_try(error, strchr(word, '4') ? "mount -t nfs4 ..." : "-o vers=3");
		break;
	default:
		if (strchr(word, '='))
			message_set(error, refusal->id, "%s is not supported yet", word);
		else
			message_set(error, refusal->id, "option '%s' is not supported yet", word);
		message_try(error, "leave it out; fusenfs help options");
		break;
	}
}

int option_check_refusals(struct parser *parser)
{
	const struct refusal *first = NULL;

	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct refusal *refusal = &parser->refusals[i];

		if (refusal->id != MSG_NONE && (!first || refusal->order < first->order))
			first = refusal;
	}
	if (!first)
		return 0;
	explain_refusal(parser, first);
	return -EINVAL;
}

int option_check_unknown(struct parser *parser)
{
	if (parser->n_unknown && !parser->draft.options.sloppy)
		return unknown_option(parser, parser->unknown[0]);
	for (unsigned int i = 0; i < parser->n_unknown; i++)
		option_add_note(&parser->draft.options, MSG_OPTION_IGNORED,
			 "unknown option '%s' has no effect in fusenfs (sloppy)",
			 parser->unknown[i]);
	return 0;
}
