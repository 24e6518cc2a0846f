/* SPDX-License-Identifier: GPL-2.0-or-later */
/* message_manual - see message_manual.h. */
#include "message_manual.h"

#include "../conn/util.h"
#include "message.h"
#include "message_lines.h"
#include "roff.h"

static const struct {
	enum message_id id;
	const char *text;
} lines[] = {
#define LINE_ROW(id, text) { id, text },
	MESSAGE_LINES(LINE_ROW)
#undef LINE_ROW
};

static const bool uses[MSG_COUNT] = {
#define USE_ROW(id) [id] = true,
	MESSAGE_USES(USE_ROW)
#undef USE_ROW
};

static const char *severity_name(enum message_id id)
{
	switch (message_severity(id)) {
	case SEVERITY_ERROR: return "error";
	case SEVERITY_WARNING: return "warning";
	case SEVERITY_NOTICE: return "notice";
	}
	return "";
}

/* "error, exit status 32", "warning" */
static void put_kind(enum message_id id, FILE *stream)
{
	const struct message message = { .id = id };

	fputs(severity_name(id), stream);
	if (message_exit_code(&message))
		fprintf(stream, ", exit status %d", (int)message_exit_code(&message));
}

static void put_entry(enum message_id id, FILE *stream)
{
	fputs(".TP\n.B ", stream);
	roff_word(stream, message_id_name(id));
	fputs("\n(", stream);
	put_kind(id, stream);
	fputs(")\n", stream);
	for (unsigned int i = 0; i < ARRAY_SIZE(lines); i++) {
		if (lines[i].id != id)
			continue;
		fputs(".br\n", stream);
		roff_text(stream, lines[i].text);
	}
	fputs(".IP\n", stream);
	roff_text(stream, message_help(id));
}

void message_print_manual(FILE *stream)
{
	static const char head[] =
		".\\\" SPDX-License-Identifier: GPL-2.0-or-later\n"
		".\\\" Written by fusenfs itself, from its source.\n"
		".TH FUSENFS\\-ERRORS 7 2026-11-27 \"fusenfs\" \"Miscellaneous\"\n.SH NAME\n"
		"fusenfs\\-errors \\- messages and log lines of fusenfs\n.SH DESCRIPTION\n"
		"A message of\n.BR fusenfs (1)\nends with its id in brackets.\n"
		"The line\n.B why:\nsays what was observed,\n.B try:\nwhat can be done.\n"
		"Ids never change their meaning.\nIn the journal the id is the field\n.BR FUSENFS_ERROR ,\n"
		"in JSON the key\n.BR error .\n"
		"Of one kind of line the log has at most ten a minute, and the number of the\nothers.\n.PP\n"
		"Below, \"...\" stands for a name or a number.\n.SH MESSAGES\n";

	fputs(head, stream);
	for (unsigned int id = MSG_NONE + 1; id < MSG_COUNT; id++)
		if (uses[id])
			put_entry((enum message_id)id, stream);
	fputs(".SH SEE ALSO\n.BR fusenfs (1),\n.BR mount.fusenfs (8)\n", stream);
}

/* https://systemd.io/CATALOG: the text ends before the next "--". */
void message_print_catalog(FILE *stream)
{
	char number[33];

	for (unsigned int id = MSG_NONE + 1; id < MSG_COUNT; id++)
		if (uses[id])
			fprintf(stream, "-- %s\nSubject: fusenfs: %s\nDefined-By: fusenfs\nSupport: man:fusenfs-errors(7)\n\n%s\n\n",
				message_id_128((enum message_id)id, number), message_id_name((enum message_id)id),
				message_help((enum message_id)id));
}
