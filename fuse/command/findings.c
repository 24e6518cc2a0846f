/* SPDX-License-Identifier: GPL-2.0-or-later */
/* findings - see findings.h. */
#include "findings.h"

#include <stdarg.h>

#include "../control/report_parts.h"

enum { TEXT_MAX = 2048 };

static const char *const names[] = { "ok", "warn", "fail" };

static void print_line(const json_t *finding, FILE *stream)
{
	static const char *const shown[] = { "ok", "warn", "FAIL" };
	const char *remedy = json_string_value(json_object_get(finding, "remedy"));
	const char *result = json_string_value(json_object_get(finding, "result"));
	const char *word = result[0] == 'o' ? shown[FINDING_OK] : result[0] == 'w' ? shown[FINDING_WARN] :
										      shown[FINDING_FAIL];

	fprintf(stream, "  %-4s  %-10s  %s", word, json_string_value(json_object_get(finding, "check")),
		json_string_value(json_object_get(finding, "text")));
	if (remedy)
		fprintf(stream, "     %s", remedy);
	fputc('\n', stream);
	fflush(stream);
}

void findings_add(struct findings *findings, enum finding result, const char *check, const char *remedy,
		  const char *format, ...)
{
	char text[TEXT_MAX], cleaned[TEXT_MAX];
	json_t *finding;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	message_clean(text);
	snprintf(cleaned, sizeof(cleaned), "%s", remedy ? remedy : "");
	message_clean(cleaned);
	if (!findings->list)
		findings->list = json_array();
	finding = json_pack("{s:s, s:s, s:o, s:o}", "check", check, "result", names[result], "text",
			    report_string(text), "remedy", remedy ? report_string(cleaned) : json_null());
	findings->n_problems += result == FINDING_FAIL;
	findings->n_warnings += result == FINDING_WARN;
	if (finding && !findings->json)
		print_line(finding, stdout);
	json_array_append_new(findings->list, finding);
}

void findings_message(struct findings *findings, enum finding result, const char *check, const struct message *message)
{
	char remedy[MESSAGE_TEXT_MAX + 8];

	if (message->n_tries)
		snprintf(remedy, sizeof(remedy), "try: %s", message->try[0]);
	findings_add(findings, result, check, message->n_tries ? remedy : NULL, "%s%s%s", message->reason,
		     message->why[0] ? ": " : "", message->why);
}

void findings_print_lines(const struct findings *findings, FILE *stream)
{
	for (size_t i = 0; i < json_array_size(findings->list); i++)
		print_line(json_array_get(findings->list, i), stream);
}

json_t *findings_json(const struct findings *findings, const char *subject)
{
	return json_pack("{s:i, s:o, s:i, s:i, s:O}", "schema", 1, "subject", report_string(subject), "problems",
			 (int)findings->n_problems, "warnings", (int)findings->n_warnings, "checks",
			 findings->list);
}

void findings_print_end(const struct findings *findings, const char *subject, FILE *stream)
{
	if (findings->json) {
		json_t *json = findings_json(findings, subject);

		json_dumpf(json, stream, JSON_COMPACT | JSON_REAL_PRECISION(9));
		fputc('\n', stream);
		json_decref(json);
		return;
	}
	fprintf(stream, "%u problem%s, %u warning%s.\n", findings->n_problems,
		findings->n_problems == 1 ? "" : "s", findings->n_warnings, findings->n_warnings == 1 ? "" : "s");
}

void findings_deinit(struct findings *findings)
{
	json_decref(findings->list);
	findings->list = NULL;
}
