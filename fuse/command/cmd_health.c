/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_health - fusenfs health [--live | --ready] MOUNT: 0 yes, 1 no, 2 unknown.
 *
 * Live: the daemon answers, and so do its event loops; the server has no part in that. Ready: the server answers,
 * too, now: an idle mount is told to ask it for a sign of life first. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "../../conn/util.h"
#include "client.h"
#include "command.h"
#include "text.h"

enum { YES = 0, NO = 1, UNKNOWN = 2, LOOK_MS = 50 };
static const int64_t SIGN_NS = 2 * NS_PER_S; /* for the server */

static void print_json(int status, const char *what, const json_t *answer)
{
	json_t *json = json_pack("{s:i, s:o, s:s, s:s}", "schema", 1, what,
				 status == UNKNOWN ? json_null() : json_boolean(status == YES), "state",
				 client_text(answer, "state"), "server", client_text(answer, "server.state"));

	json_dumpf(json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(json);
}

static int print(const struct command_line *line, int status, const char *what, const json_t *answer)
{
	static const char *const words[] = { "yes", "no", "unknown" };

	if (line->json)
		print_json(status, what, answer);
	else if (!line->quiet)
		text_print(stdout, "%s: %s%s%s", what, words[status], status == NO && answer ? ", server " : "",
			   status == NO && answer ? client_text(answer, "server.state") : "");
	return status;
}

/* Its state may be old news: nothing was asked of it for long. */
static bool has_answered_since(const json_t *answer, int64_t asked_ns)
{
	double ago_ns = (double)(clock_ns() - asked_ns);

	return client_value(answer, "server.heard_seconds") &&
	       client_number(answer, "server.heard_seconds") * 1e9 < ago_ns;
}

static json_t *ask_server(const struct target *target, const char *ctl, struct message *error, bool *ret_ready)
{
	int64_t asked_ns = clock_ns();
	json_t *answer = client_ask(target, ctl, "probe", NULL, error);

	*ret_ready = false;
	while (answer && client_is(answer, "ready")) {
		*ret_ready = has_answered_since(answer, asked_ns);
		if (*ret_ready || clock_ns() - asked_ns >= SIGN_NS)
			break;
		poll(NULL, 0, LOOK_MS);
		json_decref(answer);
		answer = client_ask(target, ctl, "health", NULL, error);
	}
	return answer;
}

int command_health(const struct command_line *line)
{
	struct target target = { 0 };
	struct message error;
	json_t *answer;
	bool yes;
	int status;

	if (target_for(line->words[0], line->ctl, &target, &error)) {
		command_fail(line, &error);
		return UNKNOWN;
	}
	if (line->live) {
		answer = client_ask(&target, line->ctl, "health", NULL, &error);
		yes = client_is(answer, "live");
	} else {
		answer = ask_server(&target, line->ctl, &error, &yes);
	}
	if (!answer)
		command_fail(line, &error);
	/* Whom we may not ask may be well; who does not answer is not. */
	status = yes ? YES : answer || error.id == MSG_NO_ANSWER ? NO : UNKNOWN;
	status = print(line, status, line->live ? "live" : "ready", answer);
	json_decref(answer);
	target_deinit(&target);
	return status;
}
