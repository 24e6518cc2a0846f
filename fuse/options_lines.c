/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options_lines - a mount's words as other programs want them: a line of fstab(5), a unit of systemd.mount(5). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "options.h"

/* fstab(5): blanks and backslashes of a field in octal. */
static void put_field(FILE *stream, const char *text)
{
	for (; *text; text++)
		if (strchr(" \t\n\\", *text))
			fprintf(stream, "\\%03o", *text);
		else
			fputc(*text, stream);
}

/* Whole words only; "\\," is no end of one. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ',') && (!at[len] || at[len] == ','))
			return true;
	return false;
}

static void put_options(FILE *stream, const char *given, const char *const needed[], unsigned int n_needed,
			void (*put)(FILE *stream, const char *text))
{
	put(stream, given);
	for (unsigned int i = 0, n = *given != '\0'; i < n_needed; i++)
		if (!has_word(given, needed[i]))
			fprintf(stream, "%s%s", n++ ? "," : "", needed[i]);
}

void options_print_fstab(const struct options *options, FILE *stream)
{
	static const char *const needed[] = { "_netdev", "nofail" };
	const char *given = options->given ? options->given : "";

	put_field(stream, options->source.text);
	fputc(' ', stream);
	put_field(stream, options->mountpoint);
	fputs(" fusenfs ", stream);
	put_options(stream, given, needed, ARRAY_SIZE(needed), put_field);
	fputs(" 0 0\n", stream);
}

/* ---- systemd ----------------------------------------------------------------------------- */

/* systemd.unit(5): % begins a specifier. */
static void put_value(FILE *stream, const char *text)
{
	for (; *text; text++)
		fprintf(stream, *text == '%' ? "%%%%" : "%c", *text);
}

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == ':' || c == '_' ||
	       c == '.';
}

/* systemd-escape --path, of a path that begins with '/' and is simple otherwise. */
static void put_unit_name(FILE *stream, const char *path)
{
	if (!path[1])
		fputc('-', stream);
	for (const char *c = path + 1; *c; c++) {
		if (*c == '/')
			fputc('-', stream);
		else if (is_plain(*c) && !(*c == '.' && c == path + 1))
			fputc(*c, stream);
		else
			fprintf(stream, "\\x%02x", (unsigned char)*c);
	}
}

/* Without what systemd would take out of it: "//", "/./" and '/' at the end. */
static void simplify(const char *path, char *simple)
{
	char *end = simple;

	while (*path) {
		size_t n = strcspn(path, "/");

		if (n && !(n == 1 && *path == '.')) {
			*end++ = '/';
			memcpy(end, path, n);
			end += n;
		}
		path += n + (path[n] == '/');
	}
	if (end == simple)
		*end++ = '/';
	*end = '\0';
}

int options_print_unit(const struct options *options, FILE *stream)
{
	static const char *const needed[] = { "_netdev" };
	cleanup(freep) char *where = malloc(strlen(options->mountpoint) + 2);

	if (!where)
		return -ENOMEM;
	simplify(options->mountpoint, where);
	fputs("# /etc/systemd/system/", stream);
	put_unit_name(stream, where);
	fputs(".mount\n[Unit]\nDescription=", stream);
	put_value(stream, options->source.text);
	fputs(" (fusenfs)\nDocumentation=man:mount.fusenfs(8)\nWants=network-online.target\n"
	      "After=network-online.target\n\n[Mount]\nWhat=", stream);
	put_value(stream, options->source.text);
	fputs("\nWhere=", stream);
	put_value(stream, where);
	fputs("\nType=fusenfs\nOptions=", stream);
	put_options(stream, options->given ? options->given : "", needed, ARRAY_SIZE(needed), put_value);
	fputs("\nTimeoutSec=60\n\n[Install]\nWantedBy=remote-fs.target\n", stream);
	return 0;
}
