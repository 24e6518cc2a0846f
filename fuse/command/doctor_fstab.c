/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor_fstab - does fstab(5) make the mount that is there, and will systemd wait for the network before it? */
#include <mntent.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../runfile.h"
#include "client.h"
#include "doctor.h"

enum { SHOWN_MAX = 3 };

/* ---- the line ---------------------------------------------------------------------------- */

int doctor_fstab(const char *point, struct doctor_fstab *ret_line)
{
	FILE *stream = setmntent("/etc/fstab", "re");
	struct mntent *entry;

	*ret_line = (struct doctor_fstab){ NULL, NULL, NULL };
	while (stream && (entry = getmntent(stream))) {
		if (strcmp(entry->mnt_dir, point) != 0)
			continue;
		doctor_fstab_deinit(ret_line); /* the last one counts */
		ret_line->source = strdup(entry->mnt_fsname);
		ret_line->type = strdup(entry->mnt_type);
		ret_line->options = strdup(entry->mnt_opts);
	}
	if (stream)
		endmntent(stream);
	if (ret_line->source && ret_line->type && ret_line->options)
		return 1;
	doctor_fstab_deinit(ret_line);
	return 0;
}

void doctor_fstab_deinit(struct doctor_fstab *line)
{
	free(line->source);
	free(line->type);
	free(line->options);
	*line = (struct doctor_fstab){ NULL, NULL, NULL };
}

bool doctor_fstab_is_ours(const struct doctor_fstab *line)
{
	return !strcmp(line->type, "fusenfs") || !strcmp(line->type, "fuse.fusenfs");
}

/* ---- lists of words ---------------------------------------------------------------------- */

/* The word of a list that is NAME or NAME=...; its length in *ret_len. NULL: none. */
static const char *find_word(const char *list, const char *name, size_t len, size_t *ret_len)
{
	while (*list) {
		size_t n = strcspn(list, ",");

		if (n >= len && !strncmp(list, name, len) && (n == len || list[len] == '=')) {
			*ret_len = n;
			return list;
		}
		list += n + (list[n] == ',');
	}
	return NULL;
}

static bool has_word(const char *list, const char *name)
{
	size_t len;

	return find_word(list, name, strlen(name), &len) != NULL;
}

/* "64K" */
static unsigned long long size_of(const char *text)
{
	char *unit;
	unsigned long long n = strtoull(text, &unit, 10);

	return *unit == 'K' ? n << 10 : *unit == 'M' ? n << 20 : n;
}

/* What the server has agreed to may be less than what it was asked for. */
static bool is_lowered(const char *wanted, const char *found)
{
	bool size = !strncmp(wanted, "rsize=", 6) || !strncmp(wanted, "wsize=", 6);

	return size && found && size_of(found + 6) < size_of(wanted + 6);
}

/* Words of `wanted` that `present` has not, or with another value: "timeo=50 (mounted: timeo=100), rw (mounted
 * without)". How many. */
static unsigned int differences(const char *wanted, const char *present, char *text, size_t size)
{
	unsigned int n = 0;
	size_t used = 0;

	text[0] = '\0';
	for (size_t len; *wanted; wanted += len + (wanted[len] == ',')) {
		size_t name_len, found_len = 0;
		const char *found;

		len = strcspn(wanted, ",");
		name_len = strcspn(wanted, "=,");
		found = find_word(present, wanted, name_len, &found_len);
		if (is_lowered(wanted, found) || (found && found_len == len && !strncmp(found, wanted, len)))
			continue;
		if (n++ < SHOWN_MAX && used < size)
			used += (size_t)snprintf(text + used, size - used, "%s%.*s (mounted%s%.*s)", n > 1 ? ", " : "",
						 (int)len, wanted, found ? ": " : " without",
						 (int)found_len, found ? found : "");
	}
	return n;
}

/* ---- checks ------------------------------------------------------------------------------ */

static void check_line(struct doctor *doctor, const struct doctor_fstab *line)
{
	if (!doctor_fstab_is_ours(line))
		findings_add(&doctor->findings, FINDING_WARN, "fstab", "try: type fusenfs",
			     "/etc/fstab has type %s for it: at the next boot it is another file system", line->type);
	else if (strcmp(line->source, doctor->target->source) != 0)
		findings_add(&doctor->findings, FINDING_WARN, "fstab", NULL, "/etc/fstab has %s for it, mounted is %s",
			     line->source, doctor->target->source);
	else if (!has_word(line->options, "_netdev"))
		findings_add(&doctor->findings, FINDING_WARN, "fstab", "try: add _netdev to its options",
			     "its line in /etc/fstab lacks _netdev: systemd may mount it before there is a network");
	else
		findings_add(&doctor->findings, FINDING_OK, "fstab", NULL, "/etc/fstab has it, with _netdev");
}

/* Compared as the parser understands them, so that timeo=100 is what it is without a word. */
static void check_options(struct doctor *doctor, const struct doctor_fstab *line)
{
	cleanup(freep) char *wanted = options_words(line->options, true, 0, 0);
	char text[512];

	if (!wanted || !doctor->status)
		return;
	if (differences(wanted, client_text(doctor->status, "options"), text, sizeof(text)))
		findings_add(&doctor->findings, FINDING_WARN, "options",
			     "try: mount -o remount, where they are live; else unmount and mount",
			     "the mount differs from /etc/fstab: %s", text);
	else
		findings_add(&doctor->findings, FINDING_OK, "options", NULL, "those of /etc/fstab");
}

/* The remedy repeats what the mount was made with. */
static void no_line(struct doctor *doctor)
{
	struct mount_entry entry = { .major = doctor->target->major, .minor = doctor->target->minor };
	cleanup(freep) char *words = runfile_options(&entry);
	char source[MESSAGE_TEXT_MAX], point[MESSAGE_TEXT_MAX], list[MESSAGE_TEXT_MAX], remedy[4 * MESSAGE_TEXT_MAX];
	bool any = words && *words;

	snprintf(remedy, sizeof(remedy), "try: fusenfs fstab %s %s%s%s >> /etc/fstab",
		 message_quote(doctor->target->source, source, sizeof(source)),
		 message_quote(doctor->target->mount, point, sizeof(point)), any ? " -o " : "",
		 any ? message_quote(words, list, sizeof(list)) : "");
	findings_add(&doctor->findings, FINDING_WARN, "fstab", remedy,
		     "no line in /etc/fstab: it is not mounted at boot, unless something else does it");
}

void doctor_check_fstab(struct doctor *doctor)
{
	struct doctor_fstab line;

	if (geteuid() != 0 && doctor->target->owner == geteuid())
		return; /* a user's own */
	if (!doctor_fstab(doctor->target->mount, &line)) {
		no_line(doctor);
		return;
	}
	check_line(doctor, &line);
	if (doctor_fstab_is_ours(&line))
		check_options(doctor, &line);
	doctor_fstab_deinit(&line);
}
