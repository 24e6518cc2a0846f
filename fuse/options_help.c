/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options_help - --help and `fusenfs help options`, read from the table. */
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "option_table.h"
#include "options.h"
#include "roff.h"

static const char *const group_titles[N_GROUPS] = {
	[GROUP_CONNECTION] = "Connections and addresses",
	[GROUP_TIME] = "Time and failure policy",
	[GROUP_PROTOCOL] = "Protocol",
	[GROUP_CACHE] = "Caching and data",
	[GROUP_FUSE] = "FUSE, generic and operational",
};

static void put_choices(const struct option_row *row, FILE *stream)
{
	const char *between = "=";

	for (const struct option_choice *choice = row->choices; choice->word; choice++) {
		if (choice->hidden)
			continue;
		fprintf(stream, "%s%s", between, choice->word);
		between = "|";
	}
}

/* "nconnect=N", "lookupcache=all|none|pos", "rdirplus[=none|force]", "ro" */
static void put_syntax(const struct option_row *row, FILE *stream)
{
	fputs(row->name, stream);
	if (row->value_optional)
		fputc('[', stream);
	if (row->kind == KIND_CHOICE)
		put_choices(row, stream);
	else if (row->value)
		fprintf(stream, "=%s", row->value);
	if (row->value_optional)
		fputc(']', stream);
}

static const char *default_text(const struct option_row *row)
{
	if (row->shown)
		return row->shown;
	if (row->kind == KIND_FLAG)
		return row->initial ? "on" : NULL;
	return row->initial;
}

static void put_row(const char *head, const char *help, const char *initial, bool live,
		    FILE *stream)
{
	fprintf(stream, "  %-32s  %s", head, help);
	if (initial)
		fprintf(stream, " [%s]", initial);
	fputs(live ? " live\n" : "\n", stream);
}

static const char *syntax_text(const struct option_row *row, char *text, size_t size)
{
	FILE *stream;

	text[0] = '\0';
	stream = fmemopen(text, size, "w");
	if (!stream)
		return text;
	put_syntax(row, stream);
	fclose(stream);
	text[size - 1] = '\0';
	return text;
}

static void put_table_row(const struct option_row *row, FILE *stream)
{
	bool ranged =
		row->kind != KIND_FLAG && row->kind != KIND_CHOICE && row->kind != KIND_STRING;
	char head[128], range[128], help[256];

	if (ranged)
		snprintf(help, sizeof(help), "%s; %s", row->help,
			 option_range(row, range, sizeof(range)));
	else
		snprintf(help, sizeof(help), "%s", row->help);
	put_row(syntax_text(row, head, sizeof(head)), help, default_text(row), row->live, stream);
}

static void put_names(enum option_state state, FILE *stream)
{
	unsigned int column = 0;

	for (unsigned int i = 0; i < option_table_n; i++) {
		const char *name = option_table[i].name;

		if (option_table[i].state != state)
			continue;
		if (column + strlen(name) > 90)
			column = 0;
		column += (unsigned int)fprintf(stream, "%s%s", column ? " " : "\n  ", name);
	}
	fputc('\n', stream);
}

void options_print_table(FILE *stream)
{
	fputs("Options of fusenfs: -o OPTION[,OPTION...]. Names as in nfs(5); [default]; live: may "
	      "change on a\nrunning mount. The rightmost of contradicting words wins. "
	      "BYTES take K, M or G; our own SEC take ms.\n",
	      stream);
	for (unsigned int group = 0; group < N_GROUPS; group++) {
		fprintf(stream, "\n%s:\n", group_titles[group]);
		for (unsigned int i = 0; i < option_table_n; i++)
			if (option_table[i].group == group &&
			    option_table[i].state == OPTION_HONOURED)
				put_table_row(&option_table[i], stream);
	}
	fputs("\nAccepted, no effect inside the daemon:", stream);
	put_names(OPTION_GENERIC, stream);
	fputs("\nAccepted with one warning, no effect:", stream);
	put_names(OPTION_IGNORED, stream);
	fputs("\nKnown, not supported (yet): an error:", stream);
	put_names(OPTION_REFUSED, stream);
}

/* The words of one slot on one line, described by the default among them. */
static void put_common_slot(const struct option_row *first, FILE *stream)
{
	const struct option_row *described = first;
	char head[128] = "";
	size_t used = 0;

	for (unsigned int i = 0; i < option_table_n && used < sizeof(head); i++) {
		const struct option_row *row = &option_table[i];

		if (!row->common || row->slot != first->slot)
			continue;
		used += (size_t)snprintf(head + used, sizeof(head) - used, "%s%s",
					 used ? " | " : "", row->name);
		if (row->initial)
			described = row;
	}
	put_row(head, described->slot_help ? described->slot_help : described->help,
		described->name, described->live, stream);
}

static bool first_of_slot(const struct option_row *row)
{
	for (const struct option_row *other = option_table; other < row; other++)
		if (other->common && other->slot == row->slot)
			return false;
	return true;
}

void options_print_help(FILE *stream)
{
	fputs("Usage:  fusenfs SERVER:/EXPORT MOUNTPOINT [-o OPTION[,OPTION...]]\n"
	      "        SERVER: name or address, [ADDRESS] for IPv6; or nfs://SERVER[:PORT]/EXPORT\n"
	      "        fusenfs fstab|unit SERVER:/EXPORT MOUNTPOINT [-o ...]      a line for fstab, a unit for systemd\n"
	      "  fusenfs nas:/export /mnt -o nconnect=16,ro      16 connections, read-only\n"
	      "  fusermount3 -u /mnt                             unmount; root: umount /mnt\n"
	      "Most used options (names of nfs(5); all: fusenfs help options), with [default]:\n",
	      stream);
	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];
		char head[128];

		if (!row->common)
			continue;
		if (row->slot == SLOT_SELF || row->kind != KIND_FLAG)
			put_row(syntax_text(row, head, sizeof(head)), row->help, default_text(row),
				row->live, stream);
		else if (first_of_slot(row))
			put_common_slot(row, stream);
	}
	fputs("Commands: status [MOUNT]  top  stats MOUNT [SEC]  health [--live] MOUNT  set MOUNT OPTION=VALUE\n"
	      "          umount MOUNT [--lazy | --force]  doctor SERVER:/EXPORT | MOUNT  bench SERVER:/FILE\n"
	      "          exports SERVER  sm-notify  fstab ...  help options|errors|ID|COMMAND\n",
	      stream);
	fputs("General: -f --foreground  -d --debug  -q --quiet  -s --sloppy  -h --help  -V --version\n"
	      "         --log-level=LEVEL  --log-format=auto|text|json|journal  --config=FILE\n"
	      "Exit status: 0 ok, 1 usage or permission, 2 system, 8 interrupted, 32 not mounted\n",
	      stream);
}

/* ---- for a shell ------------------------------------------------------------------------- */

static void put_completion(const struct option_row *row, FILE *stream)
{
	size_t last = strlen(row->name) - 1;

	if (row->state != OPTION_HONOURED && row->state != OPTION_GENERIC)
		return;
	if (row->name[last] == '*') {
		fprintf(stream, "option %.*s\n", (int)last, row->name);
		return;
	}
	if (row->kind != KIND_CHOICE || row->value_optional)
		fprintf(stream, "option %s%s\n", row->name, row->value && !row->value_optional ? "=" : "");
	for (const struct option_choice *choice = row->choices; choice && choice->word; choice++)
		if (!choice->hidden)
			fprintf(stream, "option %s=%s\n", row->name, choice->word);
}

void options_print_completion(FILE *stream)
{
	static const char *const words[] = {
		"flag --foreground",         "flag --debug",           "flag --quiet",
		"flag --sloppy",             "flag --help",            "flag --version",
		"flag --options",            "flag --log-level=error", "flag --log-level=warn",
		"flag --log-level=info",     "flag --log-level=debug", "flag --log-level=trace",
		"flag --log-format=auto",    "flag --log-format=text", "flag --log-format=json",
		"flag --log-format=journal", "flag --config=", "command help",           "command fstab",
		"command unit",              "topic options",        "topic errors",
	};

	for (unsigned int i = 0; i < option_table_n; i++)
		put_completion(&option_table[i], stream);
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		fprintf(stream, "%s\n", words[i]);
	for (unsigned int id = MSG_NONE + 1; id < MSG_COUNT; id++)
		fprintf(stream, "topic %s\n", message_id_name((enum message_id)id));
}

/* ---- the manual -------------------------------------------------------------------------- */

static void put_manual_names(const char *title, enum option_state state, FILE *stream)
{
	const char *between = "";
	char *text = NULL;
	size_t size;
	FILE *names = open_memstream(&text, &size);

	if (!names)
		return;
	for (unsigned int i = 0; i < option_table_n; i++) {
		if (option_table[i].state != state)
			continue;
		fprintf(names, "%s%s", between, option_table[i].name);
		between = ", ";
	}
	fclose(names);
	fprintf(stream, "%s\n", title);
	roff_text(stream, text);
	free(text);
}

static void put_manual_row(const struct option_row *row, FILE *stream)
{
	char syntax[128], range[128];
	bool ranged = row->kind != KIND_FLAG && row->kind != KIND_CHOICE && row->kind != KIND_STRING;

	fputs(".TP\n.B ", stream);
	roff_word(stream, syntax_text(row, syntax, sizeof(syntax)));
	fputc('\n', stream);
	roff_text(stream, row->help);
	if (ranged) {
		fputs(".br\n", stream);
		roff_text(stream, option_range(row, range, sizeof(range)));
	}
	if (default_text(row)) {
		fputs(".br\nDefault:\n", stream);
		roff_text(stream, default_text(row));
	}
}

void options_print_manual(FILE *stream)
{
	fputs(".SH OPTIONS\nThey are given with\n.BR \\-o ,\nand have the names of\n.BR nfs (5).\n"
	      "Of words that exclude each other the rightmost wins.\n"
	      "BYTES take K, M or G; SEC, where it is not an option of\n.BR nfs (5),\ntakes ms.\n", stream);
	for (unsigned int group = 0; group < N_GROUPS; group++) {
		fputs(".SS ", stream);
		roff_word(stream, group_titles[group]);
		fputc('\n', stream);
		for (unsigned int i = 0; i < option_table_n; i++)
			if (option_table[i].group == group && option_table[i].state == OPTION_HONOURED)
				put_manual_row(&option_table[i], stream);
	}
	fputs(".SS Other words\n", stream);
	put_manual_names("Accepted, without an effect inside the daemon:", OPTION_GENERIC, stream);
	fputs(".PP\n", stream);
	put_manual_names("Accepted with one warning, without an effect:", OPTION_IGNORED, stream);
	fputs(".PP\n", stream);
	put_manual_names("Known, and an error:", OPTION_REFUSED, stream);
}
