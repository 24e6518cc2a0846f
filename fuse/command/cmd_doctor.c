/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_doctor - fusenfs doctor SOURCE [-o OPTIONS]: what a mount would meet. 0: no problem, 1: problems, 2: it could
 * not look. Nothing is mounted or written; ^C ends it. */
#include <string.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "command.h"
#include "doctor.h"

enum { CLEAN = 0, PROBLEMS = 1, CANNOT = 2 };

static int cannot(const struct command_line *line, const struct message *error)
{
	command_fail(line, error);
	return CANNOT;
}

/* The words of the mount that it is about. */
static int parse(const char *source, const char *point, const char *list, struct options *ret_options,
		 struct message *ret_error)
{
	char *argv[] = { (char *)"fusenfs", (char *)"-o", (char *)(list && *list ? list : "defaults"), (char *)"--",
			 (char *)source,    (char *)point, NULL };

	return options_parse(ARRAY_SIZE(argv) - 1, argv, ret_options, ret_error);
}

static void tell_notes(struct doctor *doctor)
{
	for (unsigned int i = 0; i < doctor->options.n_notes; i++)
		findings_add(&doctor->findings, FINDING_WARN, "options", NULL, "%s", doctor->options.notes[i].text);
}

static int finish(struct doctor *doctor, const char *subject)
{
	int status = doctor->findings.n_problems ? PROBLEMS : CLEAN;

	findings_print_end(&doctor->findings, subject, stdout);
	return status;
}

static int examine_source(struct doctor *doctor)
{
	options_mount_query(&doctor->options, &doctor->query);
	doctor->deadline_ns = clock_ns() + DOCTOR_LIMIT_NS;
	tell_notes(doctor);
	doctor_server(doctor);
	doctor_host(doctor);
	return finish(doctor, doctor->options.source.text);
}

int command_doctor(const struct command_line *line)
{
	struct doctor doctor = { .findings.json = line->json };
	struct message error;
	int status;

	if (parse(line->words[0], "/mnt", line->options, &doctor.options, &error))
		return cannot(line, &error);
	status = examine_source(&doctor);
	findings_deinit(&doctor.findings);
	options_deinit(&doctor.options);
	return status;
}
