/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_sm_notify - `fusenfs sm-notify`: tells servers, at boot or by hand, to free the locks that ended mounts of this
 * host have left there (nsm_notify.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../nsm_notify.h"
#include "command.h"

static const char *outcome(const struct nsm_report *report)
{
	switch (report->outcome) {
	case NSM_TOLD:
		return "told to free the locks of this host";
	case NSM_HELD:
		return "not told: mounts of this host that live have locks there, which would go, too";
	case NSM_KERNEL:
		return "not told: the kernel has mounted it, too, and its locks would go";
	case NSM_SILENT:
		break;
	}
	return report->error == -ENOENT ? "not told: it has no NSM (program 100024)" : strerrordesc_np(-report->error);
}

static void tell(void *userdata, const struct nsm_report *report)
{
	const struct command_line *line = userdata;

	if (!line->quiet)
		printf("%s: %s\n", report->server, outcome(report));
}

int command_sm_notify(const struct command_line *line)
{
	struct message error;
	int left;

	if (geteuid() != 0) {
		message_set(&error, MSG_USAGE, "sm-notify is for root");
		return command_fail(line, &error);
	}
	if (!nsm_record_exists())
		return EXIT_OK;
	left = nsm_notify_all(0, tell, (void *)line);
	if (left < 0) {
		message_set(&error, MSG_SYSTEM, "/var/lib/fusenfs/nsm cannot be read: %s", strerrordesc_np(-left));
		return command_fail(line, &error);
	}
	return left ? 1 : EXIT_OK;
}
