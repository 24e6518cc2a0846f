/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor_bundle - what whoever helps will ask for, in one file: what doctor found, the daemon's status, versions, mounts,
 * fstab's lines, the log. Not in it: names of files of the export (the log's are taken out), data, secrets (fusenfs has
 * none). Names of hosts, the export and the mount point are. */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "doctor.h"
#include "tar.h"

enum { LOG_LINES = 1000 };

/* A file of the archive while it is written. */
struct member {
	char *text;
	size_t len;
	FILE *stream;
};

static FILE *begin(struct member *member)
{
	*member = (struct member){ NULL, 0, NULL };
	member->stream = open_memstream(&member->text, &member->len);
	return member->stream;
}

static void end(struct doctor_bundle *bundle, struct member *member, const char *name)
{
	char path[100];

	if (fclose(member->stream) == 0 && member->len) {
		snprintf(path, sizeof(path), "fusenfs-doctor/%s", name);
		tar_add(&bundle->tar, path, member->text, member->len, time(NULL));
		if (bundle->n_names < DOCTOR_BUNDLE_MAX) {
			bundle->names[bundle->n_names] = name;
			bundle->sizes[bundle->n_names++] = member->len;
		}
	}
	free(member->text);
}

/* ---- what is known ----------------------------------------------------------------------- */

static void copy_json(FILE *stream, const json_t *json)
{
	json_dumpf(json, stream, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	fputc('\n', stream);
}

static void add_findings(struct doctor *doctor, struct doctor_bundle *bundle, const char *subject)
{
	json_t *json = findings_json(&doctor->findings, subject);
	struct member member;

	if (begin(&member)) {
		findings_print_lines(&doctor->findings, member.stream);
		end(bundle, &member, "doctor.txt");
	}
	if (begin(&member)) {
		copy_json(member.stream, json);
		end(bundle, &member, "doctor.json");
	}
	json_decref(json);
	if (doctor->status && begin(&member)) {
		copy_json(member.stream, doctor->status);
		end(bundle, &member, "status.json");
	}
}

static void add_options(struct doctor *doctor, struct doctor_bundle *bundle)
{
	cleanup(freep) char *words = options_words(doctor->options.given ? doctor->options.given : "", true, 0, 0);
	struct member member;

	if (!begin(&member))
		return;
	fprintf(member.stream, "source %s\ngiven %s\nall %s\n", doctor->options.source.text,
		doctor->options.given ? doctor->options.given : "", words ? words : "");
	end(bundle, &member, "options.txt");
}

/* ---- files of this host ------------------------------------------------------------------ */

static bool any_line(const char *line UNUSED)
{
	return true;
}

static bool is_network_mount(const char *line)
{
	const char *type = strstr(line, " - ");

	return type && (!strncmp(type, " - fuse.fusenfs ", 16) || !strncmp(type, " - fusenfs ", 11) ||
			!strncmp(type, " - nfs ", 7) || !strncmp(type, " - nfs4 ", 8));
}

static bool is_fusenfs_line(const char *line)
{
	return line[0] != '#' && strstr(line, "fusenfs");
}

static void copy_lines(FILE *out, const char *path, bool (*wanted)(const char *line))
{
	FILE *in = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;

	while (in && getline(&line, &size, in) > 0)
		if (wanted(line))
			fputs(line, out);
	free(line);
	if (in)
		fclose(in);
}

static void add_host(struct doctor *doctor, struct doctor_bundle *bundle)
{
	struct utsname system = { 0 };
	struct member member;
	char path[64];

	uname(&system);
	if (begin(&member)) {
		fprintf(member.stream, "fusenfs %s\nlibfuse %s\n%s %s %s\n", FUSENFS_VERSION, fuse_pkgversion(),
			system.sysname, system.release, system.machine);
		copy_lines(member.stream, "/etc/os-release", any_line);
		end(bundle, &member, "versions.txt");
	}
	if (begin(&member)) {
		copy_lines(member.stream, "/proc/self/mountinfo", is_network_mount);
		end(bundle, &member, "mounts.txt");
	}
	if (begin(&member)) {
		copy_lines(member.stream, "/etc/fstab", is_fusenfs_line);
		end(bundle, &member, "fstab.txt");
	}
	snprintf(path, sizeof(path), "/proc/%d/limits", (int)doctor->pid);
	if (doctor->pid && begin(&member)) {
		copy_lines(member.stream, path, any_line);
		end(bundle, &member, "limits.txt");
	}
}

/* ---- the log ----------------------------------------------------------------------------- */

/* What stands between the first and the last of these, which a name may contain, too. The line has room for three more. */
static void blank(char *line, char first, char last)
{
	char *from = strchr(line, first), *to = strrchr(line, last);

	if (!from || !to || to <= from + 1)
		return;
	memmove(from + 4, to, strlen(to) + 1);
	memcpy(from + 1, "...", 3);
}

/* Names are in quotation marks; write-lost has them in parentheses. */
static void scrub(char *line)
{
	if (strchr(line, '\'') != strrchr(line, '\''))
		blank(line, '\'', '\'');
	if (strstr(line, "write-lost") || strstr(line, "given up") || strstr(line, "are lost"))
		blank(line, '(', ')');
}

/* True: there was something. */
static bool copy_log(FILE *out, FILE *in)
{
	char *line = NULL, *ring[LOG_LINES] = { NULL };
	unsigned int n = 0;
	size_t size = 0;

	while (in && getline(&line, &size, in) > 0) {
		if (!strstr(line, "fusenfs"))
			continue;
		free(ring[n % LOG_LINES]);
		ring[n % LOG_LINES] = malloc(strlen(line) + 1 + 2 * 3);
		if (ring[n % LOG_LINES]) {
			strcpy(ring[n % LOG_LINES], line);
			scrub(ring[n % LOG_LINES]);
		}
		n++;
	}
	for (unsigned int i = n > LOG_LINES ? n - LOG_LINES : 0; i < n; i++) {
		fputs(ring[i % LOG_LINES] ? ring[i % LOG_LINES] : "", out);
		free(ring[i % LOG_LINES]);
	}
	free(line);
	return n > 0;
}

static void add_log(struct doctor_bundle *bundle)
{
	static const char *const files[] = { "/var/log/syslog", "/var/log/daemon.log", "/var/log/messages" };
	FILE *journal = popen("timeout 5 journalctl -q -t fusenfs -n 1000 -o short-iso --no-pager 2>/dev/null", "re");
	struct member member;
	bool found;

	if (begin(&member)) {
		found = copy_log(member.stream, journal);
		for (unsigned int i = 0; i < ARRAY_SIZE(files) && !found; i++) {
			FILE *file = fopen(files[i], "re");

			found = copy_log(member.stream, file);
			if (file)
				fclose(file);
		}
		end(bundle, &member, "log.txt");
	}
	if (journal)
		pclose(journal);
}

/* ---- all of it --------------------------------------------------------------------------- */

static int write_file(const char *path, const struct tar *tar)
{
	cleanup(closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t done = 0;

	if (fd < 0)
		return -errno;
	while (done < tar->len) {
		ssize_t n = write(fd, tar->bytes + done, tar->len - done);

		if (n < 0) {
			int error = -errno;

			unlink(path);
			return error;
		}
		done += (size_t)n;
	}
	return 0;
}

int doctor_bundle(struct doctor *doctor, const char *subject, const char *path, struct doctor_bundle *ret_bundle)
{
	int error;

	*ret_bundle = (struct doctor_bundle){ 0 };
	add_findings(doctor, ret_bundle, subject);
	add_options(doctor, ret_bundle);
	add_host(doctor, ret_bundle);
	add_log(ret_bundle);
	tar_end(&ret_bundle->tar);
	error = ret_bundle->tar.failed ? -ENOMEM : write_file(path, &ret_bundle->tar);
	tar_deinit(&ret_bundle->tar);
	return error;
}
