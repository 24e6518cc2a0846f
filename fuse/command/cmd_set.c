/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_set - fusenfs set MOUNT OPTION[=VALUE][,OPTION...]: all of them or none, checked by the daemon. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../control/control.h"
#include "client.h"
#include "command.h"
#include "text.h"

/* A line is a request. */
static bool is_one_line(const char *list)
{
	return !strpbrk(list, "\n\r") && strlen(list) < CONTROL_LINE_MAX - 16;
}

int command_set(const struct command_line *line)
{
	cleanup(freep) char *request = NULL;
	struct target target = { 0 };
	struct message error;
	json_t *answer = NULL;
	int status = EXIT_OK;

	if (!is_one_line(line->words[1])) {
		message_set(&error, MSG_USAGE, "the list of options is too long, or not one line");
		return command_fail(line, &error);
	}
	if (target_for(line->words[0], line->ctl, &target, &error))
		return command_fail(line, &error);
	if (asprintf(&request, "set %s", line->words[1]) < 0) {
		request = NULL;
		message_set(&error, MSG_NO_MEMORY, "out of memory");
	} else {
		answer = client_ask(&target, line->ctl, request, NULL, &error);
	}
	if (!answer)
		status = command_fail(line, &error);
	else if (!line->quiet)
		text_print(stdout, "%s: %s", target.mount, client_text(answer, "options"));
	json_decref(answer);
	target_deinit(&target);
	return status;
}
