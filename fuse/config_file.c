/* SPDX-License-Identifier: GPL-2.0-or-later */
/* config_file - --config=FILE: options that the command line may overrule. A line has one or several, as -o has them;
 * empty lines and those that begin with '#' are left out. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../conn/util.h"
#include "option_parser.h"

enum { LINE_LONGEST = 4096 };

static int bad_file(struct parser *parser, const char *path, const char *why)
{
	message_set(parser->error, MSG_BAD_VALUE, "--config=%.*s: %s", WORD_SHOWN, path, why);
	return -EINVAL;
}

static char *trimmed(char *line)
{
	size_t len = strlen(line);

	while (len && strchr(" \t\r\n", line[len - 1]))
		line[--len] = '\0';
	return line + strspn(line, " \t");
}

static int take_line(struct parser *parser, const char *path, unsigned int number, char *line)
{
	const char *list;
	int error;

	if (!*line || strlen(line) > LINE_LONGEST) /* a NUL, or no end */
		return bad_file(parser, path, "this is no file of options");
	list = trimmed(line);
	if (!*list || *list == '#')
		return 0;
	error = option_add_list(parser, list);
	if (error)
		message_why(parser->error, "it is in line %u of %.*s.", number, WORD_SHOWN, path);
	return error;
}

int option_parse_file(struct parser *parser, const char *path)
{
	FILE *stream = fopen(path, "re");
	char line[LINE_LONGEST + 2];
	unsigned int number = 0;
	int error = 0;

	if (!stream)
		return bad_file(parser, path, strerrordesc_np(errno));
	while (!error && fgets(line, sizeof(line), stream))
		error = take_line(parser, path, ++number, line);
	if (!error && ferror(stream))
		error = bad_file(parser, path, strerrordesc_np(errno));
	fclose(stream);
	return error;
}
