/* SPDX-License-Identifier: GPL-2.0-or-later */
/* command - what `fusenfs COMMAND` does besides mounting: status, health, stats, top, umount, set, doctor, bench,
 * exports, sm-notify.
 *
 * They find mounts in /proc/self/mountinfo and talk to the daemon through its control socket
 * (../control/control.h). They never touch a mount, so they work while it hangs, and every one of them is bounded.
 * Plain blocking functions of a process with one thread. */
#ifndef FUSE_COMMAND_COMMAND_H
#define FUSE_COMMAND_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

#include "../message.h"

struct target;

/* The words of a command line, sorted. */
struct command_line {
	const char *name;        /* "status" */
	const char *words[8];    /* without flags */
	unsigned int n_words;
	const char *ctl;         /* --ctl=PATH */
	const char *format;      /* --format=NAME */
	const char *options;     /* -o OPTIONS: of a mount; several with commas between */
	const char *seconds;     /* --seconds=N */
	const char *bundle;      /* --bundle=FILE */
	bool json, quiet, lazy, force, live, ready, write;
};

/* command_find - is this word a command of this kind? */
bool command_find(const char *word);
/* command_print_completion - for a shell: "command status", and of its flags "word status --json". */
void command_print_completion(FILE *stream);
/* command_help - how it is used, to stdout; word is one. Returns the exit status. */
int command_help(const char *word);
/* command_run - argv[1] is one. Returns the exit status. */
int command_run(int argc, char **argv);

/* Each returns the exit status (message.h). */
int command_status(const struct command_line *line);
int command_health(const struct command_line *line); /* 0: yes, 1: no, 2: unknown */
int command_stats(const struct command_line *line);
int command_top(const struct command_line *line);
int command_umount(const struct command_line *line);
int command_set(const struct command_line *line);
int command_doctor(const struct command_line *line); /* 0: clean, 1: problems, 2: could not look */
int command_bench(const struct command_line *line);
int command_exports(const struct command_line *line);
int command_sm_notify(const struct command_line *line); /* 0: nothing is left to tell, 1: something is, 2: cannot know */

/* command_fail - print it, and return its exit code. */
int command_fail(const struct command_line *line, const struct message *error);

#endif
