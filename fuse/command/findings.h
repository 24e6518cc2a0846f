/* SPDX-License-Identifier: GPL-2.0-or-later */
/* findings - what doctor has found out: a line for each, as it comes, or JSON at the end.
 *
 *	ok    nfs      port 2049: NFSv3, NFSv4
 *	FAIL  export   '/dta' is not exported. Exports: /data (*)     did you mean: fusenfs doctor nas1:/data
 *
 * Text may hold names from the server: what could command a terminal becomes '?'. One thread. */
#ifndef FUSE_COMMAND_FINDINGS_H
#define FUSE_COMMAND_FINDINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "../message.h"

enum finding { FINDING_OK, FINDING_WARN, FINDING_FAIL };

/* Zero-initialise; findings_deinit() after use. */
struct findings {
	bool json;               /* no lines while it goes on */
	json_t *list;            /* [{"check":..., "result":"ok"|"warn"|"fail", "text":..., "remedy":...|null}] */
	unsigned int n_problems, n_warnings;
};

/* findings_add - remedy: what to do, "try ..."; NULL: none. check: a word of the manual, which stays what it is. */
void findings_add(struct findings *findings, enum finding result, const char *check, const char *remedy,
		  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* findings_message - a message as a finding: its reason and why; its first try is the remedy. */
void findings_message(struct findings *findings, enum finding result, const char *check, const struct message *message);
/* findings_print_lines - all of them again, to a file. findings_print_end - "N problems, M warnings." or the JSON. */
void findings_print_lines(const struct findings *findings, FILE *stream);
void findings_print_end(const struct findings *findings, const char *subject, FILE *stream);
/* findings_json - the same as JSON; json_decref() later. subject: what was looked at. */
json_t *findings_json(const struct findings *findings, const char *subject);
void findings_deinit(struct findings *findings);

#endif
