/* SPDX-License-Identifier: GPL-2.0-or-later */
/* runfile - see runfile.h. Written under another name first: nobody reads half of it. */
#include "runfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../conn/util.h"
#include "log.h"

#define DIRECTORY "/run/fusenfs"

enum { PATH_SIZE = 64 };
static const char OPTIONS[] = "options=";

static void path_of(const struct mount_entry *entry, const char *suffix, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, DIRECTORY "/%u:%u%s", entry->major, entry->minor, suffix);
}

static int write_file(const char *path, const struct options *options, const char *point, const char *given)
{
	FILE *stream = fopen(path, "we");
	int error;

	if (!stream)
		return -errno;
	fprintf(stream, "pid=%d\nsource=%s\nmountpoint=%s\n%s%s\n", getpid(), options->source.text, point,
		OPTIONS, given ? given : "");
	error = ferror(stream) ? -EIO : 0;
	if (fclose(stream) && !error)
		error = -errno;
	return error;
}

static char *write_all(const struct options *options, const char *point, const char *given, bool again)
{
	char path[PATH_SIZE], fresh[PATH_SIZE];
	struct mount_entry entry;
	int error = 0;

	if (geteuid() != 0 || mountpoint_lookup(point, &entry) || !entry.type[0])
		return NULL;
	path_of(&entry, "", path);
	path_of(&entry, ".new", fresh);
	if (again && access(path, F_OK))
		return NULL; /* it was removed: the mount is about to end */
	if (mkdir(DIRECTORY, 0755) && errno != EEXIST)
		error = -errno;
	if (!error)
		error = write_file(fresh, options, point, given);
	if (!error && rename(fresh, path))
		error = -errno;
	if (!error)
		return strdup(path);
	log_debug("%s: error %d", path, -error);
	return NULL;
}

char *runfile_write(const struct options *options, const char *point)
{
	return write_all(options, point, options->given, false);
}

void runfile_rewrite(const struct options *options, const char *point, const char *given)
{
	free(write_all(options, point, given, true));
}

void runfile_remove(char *path)
{
	if (path)
		unlink(path);
	free(path);
}

char *runfile_options(const struct mount_entry *entry)
{
	char path[PATH_SIZE], *line = NULL, *found = NULL;
	size_t size = 0;
	FILE *stream;
	ssize_t n;

	path_of(entry, "", path);
	stream = fopen(path, "re");
	if (!stream)
		return NULL;
	while (!found && (n = getline(&line, &size, stream)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (!strncmp(line, OPTIONS, strlen(OPTIONS)))
			found = strdup(line + strlen(OPTIONS));
	}
	free(line);
	fclose(stream);
	return found;
}
