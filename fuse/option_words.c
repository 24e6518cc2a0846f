/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_words - see option_words.h. Several rows may be about one field (soft, softerr, hard; addrs, remoteports):
 * the first that can say its value says it. */
#include "option_words.h"

#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "option_parser.h"

struct writer {
	const struct option_draft *draft;
	struct parser *defaults;
	bool all;
	FILE *stream;
	bool any;                     /* something was written */
	size_t said[OPTION_TABLE_MAX]; /* offsets of fields */
	unsigned int n_said;
};

int64_t option_value(const struct option_draft *draft, const struct option_row *row)
{
	const char *field = (const char *)draft + row->offset;

	switch (row->size) {
	case sizeof(int64_t): return *(const int64_t *)(const void *)field;
	case sizeof(uint32_t): return *(const uint32_t *)(const void *)field;
	case sizeof(bool): return *(const bool *)(const void *)field;
	default: return 0;
	}
}

static const char *text_of(const struct option_draft *draft, const struct option_row *row)
{
	return *(char *const *)(const void *)((const char *)draft + row->offset);
}

static bool is_said(const struct writer *writer, const struct option_row *row)
{
	for (unsigned int i = 0; i < writer->n_said; i++)
		if (writer->said[i] == row->offset)
			return true;
	return false;
}

static void begin_word(struct writer *writer, const struct option_row *row)
{
	fprintf(writer->stream, "%s%s", writer->any ? "," : "", row->name);
	writer->any = true;
}

static void put_bytes(int64_t bytes, FILE *stream)
{
	static const char units[] = "GMK";

	for (unsigned int i = 0; units[i] && bytes; i++) {
		int64_t unit = INT64_C(1) << (30 - 10 * i);

		if (bytes % unit == 0) {
			fprintf(stream, "=%lld%c", (long long)(bytes / unit), units[i]);
			return;
		}
	}
	fprintf(stream, "=%lld", (long long)bytes);
}

static void put_time(int64_t ns, FILE *stream)
{
	if (ns % NS_PER_S)
		fprintf(stream, "=%lldms", (long long)(ns / NS_PER_MS));
	else
		fprintf(stream, "=%lld", (long long)(ns / NS_PER_S));
}

static void put_text(const char *text, FILE *stream)
{
	fputc('=', stream);
	for (; *text; text++) {
		if (*text == ',' || *text == '\\')
			fputc('\\', stream);
		fputc(*text, stream);
	}
}

static const char *choice_of(const struct option_row *row, int64_t value)
{
	for (const struct option_choice *choice = row->choices; choice->word; choice++)
		if (choice->value == value && choice->refuse == MSG_NONE)
			return choice->word;
	return NULL;
}

/* What it counts in, as the user wrote it. */
static int64_t to_user_unit(const struct option_row *row, int64_t value)
{
	switch (row->kind) {
	case KIND_DECISECONDS: return value / (NS_PER_S / 10);
	case KIND_SECONDS: return value / NS_PER_S;
	case KIND_TIME: return value / NS_PER_MS;
	case KIND_MINUTES: return value / (60 * NS_PER_S);
	case KIND_NUMBER:
	case KIND_BYTES:
	case KIND_IO_SIZE:
	case KIND_FLAG:
	case KIND_CHOICE:
	case KIND_STRING:
	case KIND_ANY:
		break;
	}
	return value;
}

/* A value that no word stands for: computed, unset. */
static bool has_words(const struct option_row *row, int64_t value)
{
	if (row->kind == KIND_FLAG)
		return value == row->flag;
	if (row->kind == KIND_CHOICE)
		return choice_of(row, value) || (row->value_optional && value == row->flag);
	if (row->takes_auto && value == row->flag)
		return true;
	if (row->kind == KIND_IO_SIZE && !value)
		return false; /* the server's */
	value = to_user_unit(row, value);
	return value >= row->min && value <= row->max;
}

static void put_value(const struct option_row *row, int64_t value, FILE *stream)
{
	if (row->kind == KIND_FLAG || (row->value_optional && value == row->flag))
		return;
	if (row->takes_auto && value == row->flag)
		fputs("=auto", stream);
	else if (row->kind == KIND_CHOICE)
		fprintf(stream, "=%s", choice_of(row, value));
	else if (row->kind == KIND_BYTES || row->kind == KIND_IO_SIZE)
		put_bytes(value, stream);
	else if (row->kind == KIND_TIME)
		put_time(value, stream);
	else
		fprintf(stream, "=%lld", (long long)to_user_unit(row, value));
}

/* noac has no field but those that it sets. */
static bool is_implied(const struct writer *writer, const struct option_row *row)
{
	const struct option_draft *draft = writer->draft;

	if (writer->all || !draft->options.noac)
		return false;
	if (row->slot == SLOT_AC)
		return option_value(draft, row) == 0;
	return row->slot == SLOT_SYNC && draft->sync_by_noac;
}

/* What was not given is computed from the rest again. */
static bool is_wanted(const struct writer *writer, const struct option_row *row, int64_t value)
{
	bool given = row->given && *(const bool *)(const void *)((const char *)writer->draft + row->given);

	if (row->given && !given)
		return writer->all && (row->initial || row->kind == KIND_FLAG);
	if (writer->all || given)
		return true;
	if ((row->slot == SLOT_AC || row->slot == SLOT_SYNC) && writer->draft->options.noac)
		return true; /* not as noac has it */
	return value != option_value(&writer->defaults->draft, row);
}

/* What completion fills in is no word of the user's. */
static bool is_computed_string(const struct option_draft *draft, const struct option_row *row)
{
	if (row->offset == offsetof(struct option_draft, options.fsname))
		return draft->options.source.text && !strcmp(draft->options.fsname, draft->options.source.text);
	return row->offset == offsetof(struct option_draft, options.subtype) &&
	       !strcmp(draft->options.subtype, "fusenfs");
}

/* About the command that mounts, not about the mount. */
static bool is_of_command(const struct option_row *row)
{
	return row->remounts && row->slot == SLOT_SELF;
}

static void put_string(struct writer *writer, const struct option_row *row)
{
	const char *text = text_of(writer->draft, row);

	if (!text || is_computed_string(writer->draft, row))
		return;
	begin_word(writer, row);
	put_text(text, writer->stream);
	writer->said[writer->n_said++] = row->offset;
}

static void put_number(struct writer *writer, const struct option_row *row)
{
	int64_t value = option_value(writer->draft, row);

	if (!has_words(row, value) || is_implied(writer, row))
		return;
	writer->said[writer->n_said++] = row->offset;
	if (!is_wanted(writer, row, value))
		return;
	begin_word(writer, row);
	put_value(row, value, writer->stream);
}

static void put_row(struct writer *writer, const struct option_row *row)
{
	if (row->state != OPTION_HONOURED || !row->size || is_of_command(row) || is_said(writer, row))
		return;
	if (row->kind == KIND_STRING)
		put_string(writer, row);
	else
		put_number(writer, row);
}

static void put_all(struct writer *writer)
{
	for (unsigned int i = 0; i < option_table_n; i++) {
		if (option_table[i].effect == EFFECT_NOAC && writer->draft->options.noac)
			begin_word(writer, &option_table[i]);
		put_row(writer, &option_table[i]);
	}
}

char *option_words(const struct option_draft *draft, bool all)
{
	cleanup(freep) struct parser *defaults = calloc(1, sizeof(*defaults));
	cleanup(freep) struct writer *writer = calloc(1, sizeof(*writer));
	struct message ignored;
	char *words = NULL;
	size_t size;

	if (!defaults || !writer)
		return NULL;
	defaults->error = &ignored;
	if (option_apply_defaults(defaults))
		return NULL;
	*writer = (struct writer){ .draft = draft, .defaults = defaults, .all = all };
	writer->stream = open_memstream(&words, &size);
	if (!writer->stream)
		return NULL;
	put_all(writer);
	fclose(writer->stream);
	options_deinit(&defaults->draft.options);
	return words;
}
