/* SPDX-License-Identifier: GPL-2.0-or-later */
/* command - the words of command.h's commands: one table of commands and their flags. */
#include "command.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"

enum flag { JSON = 1, QUIET = 2, LAZY = 4, FORCE = 8, LIVE = 16, READY = 32, FORMAT = 64, OPTIONS = 128,
	    WRITE = 256, SECONDS = 512, BUNDLE = 1024, CANNOT_IS_2 = 2048 /* of wrong words, too; else EXIT_USAGE */ };

static const struct command {
	const char *name;
	int (*run)(const struct command_line *line);
	unsigned int n_min, n_max; /* words */
	unsigned int flags;        /* besides --ctl= */
	const char *usage;
	const char *help;
} commands[] = {
	{ "status", command_status, 0, 1, JSON, "[MOUNT] [--json]",
	  "A line for each mount of this host, and for what is wrong with it; all there is to know of one.\n" },
	{ "health", command_health, 1, 1, QUIET | LIVE | READY | JSON, "[--live | --ready] [--json] MOUNT",
	  "Exit status 0: yes, 1: no, 2: unknown. Ready (the default): the server answers, now.\n"
	  "Live: the daemon does, whatever the server does. -q, --quiet: without words.\n" },
	{ "stats", command_stats, 1, 3, JSON | FORMAT, "[--json | --format=mountstats] MOUNT [INTERVAL [COUNT]]",
	  "A line every INTERVAL seconds, as vmstat(8): the first is of all the time since it was mounted.\n" },
	{ "top", command_top, 0, 2, 0, "[MOUNT [INTERVAL]]",
	  "A live screen of mounts, connections and the processes that load them. h: its keys.\n" },
	{ "umount", command_umount, 1, 1, QUIET | LAZY | FORCE, "[--lazy | --force] MOUNT",
	  "Says who uses it, or saves what is not saved and unmounts. -l, --lazy: at once; who has files\n"
	  "open keeps them. -f, --force: for all, and what cannot be saved within umounttimeo is lost.\n" },
	{ "set", command_set, 2, 2, QUIET, "MOUNT OPTION[=VALUE][,OPTION...]",
	  "Changes options while it is mounted, all of them or none: those that `fusenfs help options` calls live.\n" },
	{ "doctor", command_doctor, 1, 1, JSON | OPTIONS | BUNDLE | CANNOT_IS_2,
	  "[--json] [--bundle=FILE] {SERVER:/PATH [-o OPTION[,OPTION...]] | MOUNT}",
	  "Why does it not mount, or what is wrong with a mount that is there? A line for each thing, with what to do;\n"
	  "mounts and changes nothing. Exit status 0: no problem, 1: problems, 2: it could not look.\n"
	  "--bundle: also writes a tar with what whoever helps will ask for, and lists it.\n" },
	{ "bench", command_bench, 1, 1, JSON | OPTIONS | WRITE | SECONDS,
	  "SERVER:/PATH/FILE [-o OPTION[,OPTION...]] [--seconds=N] [--write] [--json]",
	  "Finds the nconnect that pays, without a mount: reads the file with 1, 2, 4, 8 and 16 connections in turn.\n"
	  "--write: FILE is a directory, in which a file is written, and removed.\n" },
	{ "exports", command_exports, 1, 1, JSON | OPTIONS, "SERVER [-o OPTION[,OPTION...]] [--json]",
	  "What the server exports and to whom, as its mount service says. The options are those of a mount.\n" },
	{ "sm-notify", command_sm_notify, 0, 0, QUIET, "[--quiet]",
	  "Tells servers to free the locks of mounts that were killed. Exit status 0: nothing is left to tell,\n"
	  "1: something is, 2: it cannot be known.\n" },
};

static const struct {
	const char *word;
	enum flag flag;
} flags[] = {
	{ "--json", JSON },   { "-q", QUIET },      { "--quiet", QUIET }, { "--lazy", LAZY },   { "-l", LAZY },
	{ "--write", WRITE }, { "--force", FORCE }, { "-f", FORCE },      { "--live", LIVE },   { "--ready", READY },
};

static const struct command *find(const char *word)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, word))
			return &commands[i];
	return NULL;
}

bool command_find(const char *word)
{
	return find(word) != NULL;
}

void command_print_completion(FILE *stream)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++) {
		fprintf(stream, "command %s\nword %s --ctl=\n", commands[i].name, commands[i].name);
		if (commands[i].flags & FORMAT)
			fprintf(stream, "word %s --format=mountstats\n", commands[i].name);
		if (commands[i].flags & BUNDLE)
			fprintf(stream, "word %s --bundle=\n", commands[i].name);
		if (commands[i].flags & SECONDS)
			fprintf(stream, "word %s --seconds=\n", commands[i].name);
		for (unsigned int j = 0; j < ARRAY_SIZE(flags); j++)
			if (commands[i].flags & flags[j].flag && flags[j].word[1] == '-')
				fprintf(stream, "word %s %s\n", commands[i].name, flags[j].word);
	}
}

int command_fail(const struct command_line *line, const struct message *error)
{
	message_print(error, line->quiet, stderr);
	return (int)message_exit_code(error);
}

static unsigned int flag_of(const char *word)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(flags); i++)
		if (!strcmp(flags[i].word, word))
			return flags[i].flag;
	return 0;
}

static bool take_value(const char *word, const char *prefix, const char **ret_value)
{
	if (strncmp(word, prefix, strlen(prefix)) != 0)
		return false;
	*ret_value = word + strlen(prefix);
	return true;
}

/* False: it is not for this command. */
static bool take_word(const struct command *command, struct command_line *line, const char *word, unsigned int *set)
{
	unsigned int flag;

	if (take_value(word, "--ctl=", &line->ctl))
		return true;
	if (command->flags & FORMAT && take_value(word, "--format=", &line->format))
		return true;
	if (command->flags & SECONDS && take_value(word, "--seconds=", &line->seconds))
		return true;
	if (command->flags & BUNDLE && take_value(word, "--bundle=", &line->bundle))
		return true;
	if (word[0] != '-' || !word[1]) {
		if (line->n_words == command->n_max)
			return false;
		line->words[line->n_words++] = word;
		return true;
	}
	flag = flag_of(word);
	*set |= flag;
	return flag & command->flags;
}

static int usage(const struct command *command, const struct command_line *line, const char *word)
{
	struct message error;
	int status;

	if (word)
		message_set(&error, MSG_USAGE, "'%.100s' is no word for %s here", word, command->name);
	else
		message_set(&error, MSG_USAGE, "words are missing after %s", command->name);
	message_try(&error, "fusenfs %s %s", command->name, command->usage);
	status = command_fail(line, &error);
	return command->flags & CANNOT_IS_2 ? 2 : status;
}

/* -o LIST, once or more. 1: taken; 0: it is none; -1: the list is missing. */
static int take_options(const struct command *command, struct command_line *line, const char *word, const char *next,
			bool *ret_used_next)
{
	const char *list = word[0] == '-' && word[1] == 'o' && word[2] ? word + 2 : next;
	char *all;

	if (!(command->flags & OPTIONS) || strncmp(word, "-o", 2) != 0)
		return 0;
	if (!list)
		return -1;
	if (asprintf(&all, "%s%s%s", line->options ? line->options : "", line->options ? "," : "", list) < 0)
		return -1;
	free((char *)line->options);
	line->options = all;
	*ret_used_next = list == next;
	return 1;
}

static int print_help(const struct command *command)
{
	printf("Usage:  fusenfs %s %s [--ctl=PATH]\n%s", command->name, command->usage, command->help);
	return EXIT_OK;
}

int command_help(const char *word)
{
	return print_help(find(word));
}

static int exclusive(const struct command *command, const struct command_line *line, const char *words)
{
	struct message error;

	message_set(&error, MSG_USAGE, "%s exclude each other", words);
	message_try(&error, "fusenfs %s %s", command->name, command->usage);
	return command_fail(line, &error);
}

int command_run(int argc, char **argv)
{
	const struct command *command = find(argv[1]);
	struct command_line line = { .name = command->name };
	unsigned int set = 0;
	int status;

	for (int i = 2; i < argc; i++) {
		bool used_next = false;
		int taken = take_options(command, &line, argv[i], argv[i + 1], &used_next);

		i += used_next;
		if (taken < 0)
			return usage(command, &line, NULL);
		if (taken)
			continue;
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return print_help(command);
		if (!take_word(command, &line, argv[i], &set))
			return usage(command, &line, argv[i]);
	}
	line.json = set & JSON;
	line.quiet = set & QUIET;
	line.lazy = set & LAZY;
	line.force = set & FORCE;
	line.live = set & LIVE;
	line.ready = set & READY;
	line.write = set & WRITE;
	if (line.n_words < command->n_min)
		return usage(command, &line, NULL);
	if (line.lazy && line.force)
		return exclusive(command, &line, "--lazy and --force");
	if (line.live && line.ready)
		return exclusive(command, &line, "--live and --ready");
	signal(SIGPIPE, SIG_IGN);
	status = command->run(&line);
	free((char *)line.options);
	return status;
}
