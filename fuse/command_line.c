/* SPDX-License-Identifier: GPL-2.0-or-later */
/* command_line - argv: getopt_long(3) sorts flags from words, -o lists go to option_word.c, the words are a command,
 * or SOURCE and MOUNTPOINT. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "option_parser.h"

/* ---- the command line -------------------------------------------------------------------- */

static int usage_error(struct parser *parser, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static int usage_error(struct parser *parser, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	message_set(parser->error, MSG_USAGE, "%s", text);
	message_try(parser->error, "fusenfs --help");
	return -EINVAL;
}

enum { LONG_LOG_LEVEL = 256, LONG_LOG_FORMAT, LONG_CONFIG };

static const struct option long_options[] = {
	{ "foreground", no_argument, NULL, 'f' },
	{ "debug", no_argument, NULL, 'd' },
	{ "quiet", no_argument, NULL, 'q' },
	{ "sloppy", no_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ "options", required_argument, NULL, 'o' },
	{ "log-level", required_argument, NULL, LONG_LOG_LEVEL },
	{ "log-format", required_argument, NULL, LONG_LOG_FORMAT },
	{ "config", required_argument, NULL, LONG_CONFIG },
	{ NULL, 0, NULL, 0 },
};

static void add_argument(struct parser *parser, const char *word)
{
	if (parser->n_words < MAX_WORDS)
		parser->words[parser->n_words++] = word;
}

int option_add_list(struct parser *parser, const char *list)
{
	struct options *options = &parser->draft.options;
	char *given;

	if (asprintf(&given, "%s%s%s", options->given ? options->given : "", options->given ? "," : "",
		     list) < 0) {
		message_set(parser->error, MSG_NO_MEMORY, "out of memory");
		return -ENOMEM;
	}
	free(options->given);
	options->given = given;
	return option_parse_list(parser, list);
}

static int set_namespace(struct parser *parser, const char *text)
{
	free(parser->draft.options.mount_ns);
	parser->draft.options.mount_ns = strdup(text);
	if (parser->draft.options.mount_ns)
		return 0;
	message_set(parser->error, MSG_NO_MEMORY, "out of memory");
	return -ENOMEM;
}

static int check_type(struct parser *parser, const char *type)
{
	if (!strcmp(type, "fusenfs") || !strcmp(type, "fuse.fusenfs"))
		return 0;
	return usage_error(parser, "-t %.*s: fusenfs mounts no such type", WORD_SHOWN, type);
}

static int set_log_format(struct parser *parser, const char *word)
{
	static const char *const words[] = {
		[LOG_FORMAT_AUTO] = "auto", [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json",
		[LOG_FORMAT_JOURNAL] = "journal",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcmp(words[i], word) == 0) {
			parser->draft.options.log_format = (enum log_format)i;
			return 0;
		}
	}
	message_set(parser->error, MSG_BAD_VALUE, "--log-format=%.*s is not auto, text, json or journal",
		    WORD_SHOWN, word);
	return -EINVAL;
}

/* mount(8)'s words, where they differ from ours. True if it was one of them. */
static bool parse_helper_flag(struct parser *parser, int flag, int *ret_error)
{
	struct options *options = &parser->draft.options;

	*ret_error = 0;
	switch (flag) {
	case 'f': options->fake = true; return true;
	case 'n': return true; /* no entry in mtab: there is none */
	case 'v': options->verbose = true; return true;
	case 'N': *ret_error = set_namespace(parser, optarg); return true;
	case 't': *ret_error = check_type(parser, optarg); return true;
	default: return false;
	}
}

static int parse_flag(struct parser *parser, int flag, int argc, char **argv)
{
	struct options *options = &parser->draft.options;
	static const char log_name[] = "log";
	int error;

	if (options->helper && parse_helper_flag(parser, flag, &error))
		return error;
	switch (flag) {
	case 1: /* not a flag: '-' in the flags string, whatever POSIXLY_CORRECT says */
		add_argument(parser, optarg);
		return 0;
	case 'f': options->foreground = true; return 0;
	case 'd': options->debug = true; return 0;
	case 'q': options->quiet = true; return 0;
	case 's': options->sloppy = true; return 0;
	case 'h': parser->help = true; return 0;
	case 'V': parser->version = true; return 0;
	case 'o':
		return option_add_list(parser, optarg);
	case LONG_LOG_LEVEL:
		return option_apply(parser, option_find(log_name, strlen(log_name)), optarg);
	case LONG_LOG_FORMAT:
		return set_log_format(parser, optarg);
	case LONG_CONFIG:
		return 0; /* parse_config() has */
	case ':':
		return usage_error(parser, "%.*s needs an argument", WORD_SHOWN, argv[optind - 1]);
	default:
		if (optopt > 0 && optopt < 256)
			return usage_error(parser, "unknown flag -%c", optopt);
		return usage_error(parser, "unknown flag %.*s", WORD_SHOWN,
				   optind > 0 && optind <= argc ? argv[optind - 1] : "");
	}
}

bool options_is_helper(const char *program)
{
	const char *name = strrchr(program, '/');

	name = name ? name + 1 : program;
	return !strcmp(name, "mount.fusenfs") || !strcmp(name, "mount.fuse.fusenfs");
}

/* Before all others, which overrule it. */
static int parse_config(struct parser *parser, int argc, char **argv, const char *flags)
{
	int flag, error = 0;

	optind = 0; /* start again, GNU's way */
	opterr = 0;
	while (!error && (flag = getopt_long(argc, argv, flags, long_options, NULL)) != -1)
		if (flag == LONG_CONFIG)
			error = option_parse_file(parser, optarg);
	return error;
}

static int parse_arguments(struct parser *parser, int argc, char **argv)
{
	const char *flags = "-:fdqshVo:";
	int flag, error;

	parser->draft.options.helper = argc > 0 && options_is_helper(argv[0]);
	if (parser->draft.options.helper)
		flags = "-:fsnvhVN:o:t:";
	error = parse_config(parser, argc, argv, flags);
	if (error)
		return error;
	optind = 0;
	while ((flag = getopt_long(argc, argv, flags, long_options, NULL)) != -1) {
		error = parse_flag(parser, flag, argc, argv);
		if (error)
			return error;
	}
	for (int i = optind; i < argc; i++)
		add_argument(parser, argv[i]);
	return 0;
}

/* ---- the words --------------------------------------------------------------------------- */

static bool is_later_command(const char *word)
{
	static const char *const names[] = {
		"trace",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(names[i], word) == 0)
			return true;
	return false;
}

bool option_is_command(const char *word)
{
	return strcmp(word, "help") == 0 || strcmp(word, "fstab") == 0 || strcmp(word, "unit") == 0 ||
	       is_later_command(word);
}

/* "help ID", "help errors", "help errors ID". */
static int help_on_message(struct parser *parser)
{
	struct options *options = &parser->draft.options;
	bool errors = !strcmp(parser->words[1], "errors");
	const char *id = errors && parser->n_words == 3 ? parser->words[2] : parser->words[1];

	options->command = COMMAND_HELP_ERRORS;
	if (parser->n_words == 2 && errors)
		return 0;
	options->help_id = message_id_find(id);
	if (options->help_id != MSG_NONE && parser->n_words == (errors ? 3 : 2))
		return 0;
	usage_error(parser, "no help on '%.*s'", WORD_SHOWN, parser->words[parser->n_words - 1]);
	message_try(parser->error, "fusenfs help errors");
	return -EINVAL;
}

static const struct {
	const char *word;
	enum command command;
} help_topics[] = {
	{ "options", COMMAND_HELP_OPTIONS },
	{ "completion", COMMAND_HELP_COMPLETION }, /* for programs, as are the next three */
	{ "manual-options", COMMAND_MANUAL_OPTIONS },
	{ "manual-errors", COMMAND_MANUAL_ERRORS },
	{ "journal-catalog", COMMAND_CATALOG },
};

static int help_topic(struct parser *parser)
{
	for (unsigned int i = 0; parser->n_words == 2 && i < ARRAY_SIZE(help_topics); i++) {
		if (strcmp(parser->words[1], help_topics[i].word) == 0) {
			parser->draft.options.command = help_topics[i].command;
			return 0;
		}
	}
	return help_on_message(parser);
}

/* "help", "help options": true, with *ret_error 0 or what is wrong with it. */
static bool help_command(struct parser *parser, int *ret_error)
{
	struct options *options = &parser->draft.options;

	if (!parser->n_words || strcmp(parser->words[0], "help") != 0 || options->helper)
		return false;
	*ret_error = 0;
	if (parser->n_words == 1)
		options->command = COMMAND_HELP;
	else
		*ret_error = help_topic(parser);
	return true;
}

/* "fstab", "unit": the words that follow are those of a mount. */
static void fstab_command(struct parser *parser)
{
	if (!parser->n_words || parser->draft.options.helper)
		return;
	if (strcmp(parser->words[0], "fstab") == 0)
		parser->draft.options.command = COMMAND_FSTAB;
	else if (strcmp(parser->words[0], "unit") == 0)
		parser->draft.options.command = COMMAND_UNIT;
	else
		return;
	parser->n_words--;
	memmove(&parser->words[0], &parser->words[1], parser->n_words * sizeof(parser->words[0]));
}

/* systemd.mount(5): Where= is absolute, and knows no ".."; a value is one line, and '\\' at its end goes on in the
 * next one. */
static int check_unit_words(struct parser *parser)
{
	const char *path = parser->words[1], *given = parser->draft.options.given;
	const char *const values[] = { parser->words[0], path, given ? given : "" };

	if (*path != '/')
		return usage_error(parser, "a unit needs an absolute mount point");
	for (const char *at = path; (at = strstr(at, "/..")); at += 3)
		if (at[3] == '/' || !at[3])
			return usage_error(parser, "a unit's mount point has no '..' in it");
	for (unsigned int i = 0; i < ARRAY_SIZE(values); i++)
		if (strchr(values[i], '\n') || (*values[i] && values[i][strlen(values[i]) - 1] == '\\'))
			return usage_error(parser, "a unit cannot hold '%.*s'", WORD_SHOWN, values[i]);
	return 0;
}

static int parse_words(struct parser *parser)
{
	struct source swapped;
	struct message ignored;
	int error;

	if (!parser->n_words)
		return usage_error(parser, "no SERVER:/EXPORT and no mount point given");
	if (is_later_command(parser->words[0])) {
		message_set(parser->error, MSG_OPTION_UNSUPPORTED,
			    "command '%s' is not supported yet", parser->words[0]);
		return -EINVAL;
	}
	if (parser->n_words > 2)
		return usage_error(parser, "'%.*s' is one word too many", WORD_SHOWN,
				   parser->words[2]);
	error = source_parse(parser->words[0], &parser->draft.options.source, parser->error);
	if (error && parser->n_words == 2 &&
	    !source_parse(parser->words[1], &swapped, &ignored)) {
		source_deinit(&swapped);
		parser->error->n_tries = 0;
		message_try(parser->error, "fusenfs %s %s", parser->words[1], parser->words[0]);
	}
	if (error)
		return error;
	if (parser->n_words < 2 || !*parser->words[1])
		return usage_error(parser, "no mount point given");
	return parser->draft.options.command == COMMAND_UNIT ? check_unit_words(parser) : 0;
}

int option_parse(struct parser *parser, int argc, char **argv, const struct options_env *env)
{
	int error = option_apply_defaults(parser);

	if (error)
		return error;
	error = parse_arguments(parser, argc, argv);
	if (parser->help || parser->version) {
		parser->draft.options.command = parser->help ? COMMAND_HELP : COMMAND_VERSION;
		return 0;
	}
	if (error || help_command(parser, &error))
		return error;
	fstab_command(parser);
	error = option_check_unknown(parser);
	if (!error)
		error = option_check_refusals(parser);
	if (!error)
		error = parse_words(parser);
	if (!error)
		error = option_complete(parser, env);
	return error;
}
