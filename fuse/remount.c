/* SPDX-License-Identifier: GPL-2.0-or-later */
/* remount - see remount.h. */
#include "remount.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "../conn/util.h"
#include "command/client.h"
#include "mountpoint.h"
#include "runfile.h"

static int refuse(const struct options *options, struct message *error, int number, enum message_id id,
		  const char *text)
{
	message_set(error, id, "%s", text);
	message_action(error, "remount %s", options->mountpoint);
	return number;
}

static int not_mounted(const struct options *options, struct message *error)
{
	char text[MESSAGE_TEXT_MAX];

	snprintf(text, sizeof(text), "%s is no mount point of fusenfs", options->mountpoint);
	return refuse(options, error, -EINVAL, MSG_NO_DAEMON, text);
}

static int is_fixed(const struct options *options, const char *name, struct message *error)
{
	char text[MESSAGE_TEXT_MAX];

	snprintf(text, sizeof(text), "'%s' cannot be changed while it is mounted", name);
	refuse(options, error, -EINVAL, MSG_REMOUNT_FIXED, text);
	message_try(error, "umount %s && mount %s", options->mountpoint, options->mountpoint);
	return -EINVAL;
}

static bool is_one_line(const char *list)
{
	return !strpbrk(list, "\n\r");
}

/* What the daemon says to it. False: it does not answer. */
static bool ask_daemon(const struct options *options, const struct target *target, const char *verb, int *ret_error,
		       struct message *error)
{
	cleanup(freep) char *request = NULL;
	const char *given = options->given ? options->given : "";
	json_t *answer;

	*ret_error = 0;
	if (!is_one_line(given) || asprintf(&request, "%s %s", verb, given) < 0) {
		request = NULL;
		return false;
	}
	answer = client_ask(target, NULL, request, NULL, error);
	json_decref(answer);
	if (answer)
		return true;
	if (error->id == MSG_NO_ANSWER)
		return false;
	*ret_error = -EINVAL;
	message_action(error, "remount %s", options->mountpoint);
	return true;
}

/* Of a daemon that does not answer only mount(2)'s options can change. */
static int check(const struct options *options, const struct target *target, unsigned long *ret_flags, bool *ret_answers,
		 struct message *error)
{
	cleanup(freep) char *running = NULL;
	struct mount_entry entry;
	const char *fixed;
	int result = 0;

	if (!mountpoint_lookup(target->mount, &entry))
		running = runfile_options(&entry);
	fixed = options_fixed_change(running, options->given, ret_flags);
	*ret_answers = ask_daemon(options, target, "check", &result, error);
	if (!*ret_answers && fixed)
		return is_fixed(options, fixed, error);
	return result;
}

int remount_main(const struct options *options, struct message *ret_error)
{
	struct target target = { 0 };
	unsigned long flags;
	bool answers;
	int error = 0;

	if (target_find(options->mountpoint, &target, ret_error))
		return not_mounted(options, ret_error);
	error = check(options, &target, &flags, &answers, ret_error);
	if (!error && mount(NULL, target.mount, NULL, MS_REMOUNT | flags, NULL))
		error = refuse(options, ret_error, -errno, MSG_SYSTEM, strerrordesc_np(errno));
	if (!error && answers && !ask_daemon(options, &target, "remount", &error, ret_error))
		error = -ETIMEDOUT;
	target_deinit(&target);
	return error;
}
