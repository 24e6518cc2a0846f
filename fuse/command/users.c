/* SPDX-License-Identifier: GPL-2.0-or-later */
/* users - see users.h. */
#include "users.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "process_name.h"

enum { NAMED_MAX = 6 };

static bool is_below(const char *path, const char *mount)
{
	size_t n = strlen(mount);

	return !strncmp(path, mount, n) && (path[n] == '\0' || path[n] == '/' || !strcmp(mount, "/"));
}

static bool link_is_below(const char *link, const char *mount)
{
	char target[PATH_MAX];
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n <= 0)
		return false;
	target[n] = '\0';
	return is_below(target, mount);
}

static bool has_open(const char *directory, const char *mount)
{
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	char link[PATH_MAX + 256];
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		snprintf(link, sizeof(link), "%s/%s", directory, entry->d_name);
		found = link_is_below(link, mount);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* How it uses the mount, or NULL. Links are of this process's view of the tree. */
static const char *use_of(const char *pid, const char *mount)
{
	static const struct {
		const char *name, *use;
		bool is_directory;
	} links[] = {
		{ "cwd", "cwd", false },          { "root", "root", false },            { "exe", "program", false },
		{ "fd", "open file", true },      { "map_files", "mapped file", true },
	};
	char path[PATH_MAX];

	for (unsigned int i = 0; i < ARRAY_SIZE(links); i++) {
		snprintf(path, sizeof(path), "/proc/%s/%s", pid, links[i].name);
		if (links[i].is_directory ? has_open(path, mount) : link_is_below(path, mount))
			return links[i].use;
	}
	return NULL;
}

unsigned int users_of(const char *mount, char *text, size_t size)
{
	DIR *dir = opendir("/proc");
	const struct dirent *entry;
	char name[PROCESS_NAME_SIZE];
	unsigned int n = 0;

	text[0] = '\0';
	while (dir && (entry = readdir(dir))) {
		size_t len = strlen(text);
		const char *use;

		if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == getpid())
			continue;
		use = use_of(entry->d_name, mount);
		if (!use)
			continue;
		if (n++ < NAMED_MAX)
			snprintf(text + len, size - len, "%s%s (pid %s, %s)", len ? ", " : "",
				 process_name(atoi(entry->d_name), name), entry->d_name, use);
		else if (n == NAMED_MAX + 1)
			snprintf(text + len, size - len, " and others");
	}
	if (dir)
		closedir(dir);
	return n;
}
