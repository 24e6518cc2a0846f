/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_parser - one parse of one command line, shared by command_line.c (the words around the options),
 * option_word.c (the options), option_complete.c and option_network.c (what they are together). Private to them. */
#ifndef FUSE_OPTION_PARSER_H
#define FUSE_OPTION_PARSER_H

#include "option_table.h"

enum { MAX_UNKNOWN = 16, MAX_WORDS = 4, WORD_SHOWN = 100 };

/* A word that will be an error unless a later one replaces it. */
struct refusal {
	enum message_id id; /* MSG_NONE: nothing to refuse */
	unsigned int order;
	char word[WORD_SHOWN + 1];
};

struct parser {
	struct option_draft draft;
	struct message *error;
	struct refusal refusals[OPTION_TABLE_MAX]; /* by row */
	bool seen[OPTION_TABLE_MAX];               /* ignored ones are told of once */
	char unknown[MAX_UNKNOWN][WORD_SHOWN + 1];
	unsigned int n_unknown, order;
	const char *words[MAX_WORDS]; /* "fstab" or not, SOURCE, MOUNTPOINT, one too many */
	unsigned int n_words;
	bool help, version;
};

/* All return 0, or -EINVAL or -ENOMEM with *parser->error set. */

/* option_apply_defaults - the table's initial values. */
int option_apply_defaults(struct parser *parser);
/* option_parse_list - "nconnect=8,ro": every word, from left to right. */
int option_parse_list(struct parser *parser, const char *list);
/* option_add_list - the same, of a list that the user gave: it is part of options.given. */
int option_add_list(struct parser *parser, const char *list);
/* option_parse_file - --config=FILE: a list in each line. */
int option_parse_file(struct parser *parser, const char *path);
/* option_apply - one option; value is NULL for a word without one. */
int option_apply(struct parser *parser, const struct option_row *row, const char *value);
/* option_check_unknown, option_check_refusals - once all words were parsed: is one of those that
 * were only remembered an error? */
int option_check_unknown(struct parser *parser);
int option_check_refusals(struct parser *parser);

/* option_parse - a whole command line: words, refusals, completion. */
int option_parse(struct parser *parser, int argc, char **argv, const struct options_env *env);
/* option_is_command - "help", "fstab"...: this word is no SOURCE. */
bool option_is_command(const char *word);
/* option_complete - once all words were parsed: what depends on several of them.
 * option_complete_network - the part of it with families, transports, addresses and ports. */
int option_complete(struct parser *parser, const struct options_env *env);
int option_complete_network(struct parser *parser);
/* option_conflict - words that contradict each other: sets *parser->error, returns -EINVAL. */
int option_conflict(struct parser *parser, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* option_add_note - for options_log_notes(). */
void option_add_note(struct options *options, enum message_id id, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
