/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_doctor - fusenfs doctor SOURCE [-o OPTIONS]: what a mount would meet. fusenfs doctor MOUNT: and what is wrong with
 * one that is there, or that fstab has for that place. 0: no problem, 1: problems, 2: it could not look. Nothing is
 * mounted or written; ^C ends it. */
#include <string.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "client.h"
#include "command.h"
#include "doctor.h"

enum { CLEAN = 0, PROBLEMS = 1, CANNOT = 2 };

static int cannot(const struct command_line *line, const struct message *error)
{
	command_fail(line, error);
	return CANNOT;
}

static void tell_notes(struct doctor *doctor)
{
	for (unsigned int i = 0; i < doctor->options.n_notes; i++)
		findings_add(&doctor->findings, FINDING_WARN, "options", NULL, "%s", doctor->options.notes[i].text);
}

/* Its contents are listed on stderr, where the object of --json is not. */
static int write_bundle(const struct command_line *line, struct doctor *doctor, const char *subject)
{
	FILE *stream = line->json ? stderr : stdout;
	struct doctor_bundle bundle;
	struct message error;
	int result = doctor_bundle(doctor, subject, line->bundle, &bundle);

	if (result) {
		message_set(&error, MSG_SYSTEM, "cannot write %s: %s", line->bundle, strerrordesc_np(-result));
		return cannot(line, &error);
	}
	fprintf(stream, "%s has:\n", line->bundle);
	for (unsigned int i = 0; i < bundle.n_names; i++)
		fprintf(stream, "  %7zu  fusenfs-doctor/%s\n", bundle.sizes[i], bundle.names[i]);
	fputs("Names of hosts, exports and mount points are in it; names of files and their data are not.\n", stream);
	return CLEAN;
}

static int finish(const struct command_line *line, struct doctor *doctor, const char *subject)
{
	int status = doctor->findings.n_problems ? PROBLEMS : CLEAN;

	findings_print_end(&doctor->findings, subject, stdout);
	if (line->bundle && write_bundle(line, doctor, subject))
		return CANNOT;
	return status;
}

static int examine_server(const struct command_line *line, struct doctor *doctor, const char *subject)
{
	options_mount_query(&doctor->options, &doctor->query);
	doctor->deadline_ns = clock_ns() + DOCTOR_LIMIT_NS;
	tell_notes(doctor);
	doctor_server(doctor);
	doctor_host(doctor);
	return finish(line, doctor, subject);
}

/* ---- a mount ----------------------------------------------------------------------------- */

/* The options in force, or, of a daemon that does not answer, those of fstab. */
static int parse_target(struct doctor *doctor, struct message *error)
{
	const struct target *target = doctor->target;
	struct doctor_fstab line = { NULL, NULL, NULL };
	int result;

	if (doctor->status)
		return options_parse_mount(target->source[0] ? target->source : client_text(doctor->status, "source"),
					   target->mount, client_text(doctor->status, "options"), &doctor->options,
					   error);
	doctor_fstab(target->mount, &line);
	result = options_parse_mount(target->source, target->mount, line.options, &doctor->options, error);
	doctor_fstab_deinit(&line);
	return result;
}

static int examine_mount(const struct command_line *line, struct doctor *doctor, struct message *error)
{
	bool answers = !doctor_mount_status(doctor);
	int status;

	if (parse_target(doctor, error))
		return cannot(line, error);
	if (answers)
		doctor_mount(doctor);
	doctor_check_fstab(doctor);
	status = examine_server(line, doctor, doctor->target->mount);
	options_deinit(&doctor->options);
	return status;
}

/* ---- what is it? ------------------------------------------------------------------------- */

static int examine_source(const struct command_line *line, struct doctor *doctor, const char *source, const char *point,
			  const char *options, struct message *error)
{
	int status;

	if (options_parse_mount(source, point, options, &doctor->options, error))
		return cannot(line, error);
	status = examine_server(line, doctor, source);
	options_deinit(&doctor->options);
	return status;
}

/* Not mounted: fstab may say what is to be there. */
static int examine_unmounted(const struct command_line *line, struct doctor *doctor, const struct message *reason)
{
	struct doctor_fstab fstab;
	struct message error;
	int status;

	if (!doctor_fstab(line->words[0], &fstab))
		return cannot(line, reason);
	if (!doctor_fstab_is_ours(&fstab)) {
		doctor_fstab_deinit(&fstab);
		return cannot(line, reason);
	}
	findings_add(&doctor->findings, FINDING_WARN, "mount", NULL, "%s is not mounted; /etc/fstab has %s for it",
		     line->words[0], fstab.source);
	status = examine_source(line, doctor, fstab.source, line->words[0], fstab.options, &error);
	doctor_fstab_deinit(&fstab);
	return status;
}

static bool is_source(const char *word)
{
	struct source source;
	struct message ignored;

	if (word[0] == '/' || word[0] == '.' || source_parse(word, &source, &ignored))
		return false;
	source_deinit(&source);
	return true;
}

int command_doctor(const struct command_line *line)
{
	struct doctor doctor = { .findings.json = line->json, .ctl = line->ctl };
	const char *word = line->words[0];
	struct target target = { 0 };
	struct message error;
	int status;

	if (is_source(word) || (word[0] != '/' && strchr(word, ':'))) {
		status = examine_source(line, &doctor, word, "/mnt", line->options, &error);
	} else if (target_for(word, line->ctl, &target, &error)) {
		status = examine_unmounted(line, &doctor, &error);
	} else if (line->options) {
		message_set(&error, MSG_USAGE, "the options of a mount are those in force: no -o with %s", word);
		status = cannot(line, &error);
	} else {
		doctor.target = &target;
		status = examine_mount(line, &doctor, &error);
	}
	json_decref(doctor.status);
	target_deinit(&target);
	findings_deinit(&doctor.findings);
	return status;
}
