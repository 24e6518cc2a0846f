/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor_exports - what the server exports, to whom, and which of it may have been meant. */
#include <string.h>

#include "../../conn/util.h"
#include "../exports.h"
#include "doctor.h"

enum { LIST_MAX = 900, GROUPS_SHOWN = 120 };

/* If there is one only, it is that. */
static const struct mount_export *near_of(const struct mount_result *list, const char *path)
{
	return exports_nearest(list, path) ?: (list->n_exports == 1 ? &list->exports[0] : NULL);
}

static const char *groups_of(const struct mount_export *export)
{
	return export->groups[0] ? export->groups : "*";
}

static const char *list_text(const struct mount_result *list, char text[LIST_MAX])
{
	size_t used = 0;
	unsigned int n = 0;

	text[0] = '\0';
	for (; n < list->n_exports && used + strlen(list->exports[n].path) + GROUPS_SHOWN + 40 < LIST_MAX; n++)
		used += (size_t)snprintf(text + used, LIST_MAX - used, "%s%s (%.*s)", n ? ", " : "",
					 list->exports[n].path, GROUPS_SHOWN, groups_of(&list->exports[n]));
	if (n < list->n_exports)
		snprintf(text + used, LIST_MAX - used, " and %s%u more", list->exports_truncated ? "over " : "",
			 list->n_exports - n);
	return text;
}

static void not_exported(struct doctor *doctor, const struct mount_result *list)
{
	const struct mount_export *near = near_of(list, doctor->query.path);
	char text[LIST_MAX], word[MESSAGE_TEXT_MAX], quoted[MESSAGE_TEXT_MAX], remedy[MESSAGE_TEXT_MAX + 64];
	bool literal = strchr(doctor->query.host, ':') != NULL;

	snprintf(remedy, sizeof(remedy), "try: fusenfs exports %s", doctor->query.host);
	if (near) {
		snprintf(word, sizeof(word), "%s%.255s%s:%.600s", literal ? "[" : "", doctor->query.host,
			 literal ? "]" : "", near->path);
		snprintf(remedy, sizeof(remedy), "did you mean: fusenfs doctor %s",
			 message_quote(word, quoted, sizeof(quoted)));
	}
	findings_add(&doctor->findings, FINDING_FAIL, "export", remedy, "'%s' is not exported. Exports: %s",
		     doctor->query.path, list->n_exports ? list_text(list, text) : "none that this host is shown");
}

static void exported(struct doctor *doctor, const struct mount_export *export)
{
	if (strcmp(export->path, doctor->query.path) != 0)
		findings_add(&doctor->findings, FINDING_OK, "export", NULL, "'%s' is inside export '%s', to %.400s",
			     doctor->query.path, export->path, groups_of(export));
	else
		findings_add(&doctor->findings, FINDING_OK, "export", NULL, "'%s' is exported to %.400s", export->path,
			     groups_of(export));
}

bool doctor_exports(struct doctor *doctor)
{
	enum mount_failure refusal = doctor->best->result.failure;
	bool refused = refusal == MOUNT_EXPORT_NOT_FOUND || refusal == MOUNT_ACCESS_DENIED;
	struct mount_query query = doctor->best->query;
	const struct mount_export *export;
	struct mount_result list = { 0 };
	bool explains = false;
	int error;

	query.deadline_ns = min_i64(clock_ns() + DOCTOR_QUERY_NS, doctor->deadline_ns);
	error = mount_exports(&query, &list);
	export = error ? NULL : exports_find(&list, query.path);
	if (export) {
		exported(doctor, export);
	} else if (!error && refused) {
		not_exported(doctor, &list);
		explains = true;
	} else if (!error) {
		findings_add(&doctor->findings, FINDING_OK, "export", NULL, "'%s' is not in the list of exports, and yet given",
			     query.path);
	} else {
		findings_add(&doctor->findings, FINDING_WARN, "export", NULL, "the mount service gives no list of exports");
	}
	mount_result_deinit(&list);
	return explains;
}
