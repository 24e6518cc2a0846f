/* SPDX-License-Identifier: GPL-2.0-or-later */
/* place - see place.h. */
#include "place.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OF_ROOT "/run/fusenfs"

static void add(char directories[PLACE_MAX][PLACE_SIZE], unsigned int *n, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
static void add(char directories[PLACE_MAX][PLACE_SIZE], unsigned int *n, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(directories[*n], PLACE_SIZE, format, args);
	va_end(args);
	*n += len > 0 && len < PLACE_SIZE;
}

unsigned int place_directories(uid_t uid, char directories[PLACE_MAX][PLACE_SIZE])
{
	const char *runtime = uid == geteuid() ? getenv("XDG_RUNTIME_DIR") : NULL;
	unsigned int n = 0;

	if (uid == 0) {
		add(directories, &n, "%s", OF_ROOT);
		return n;
	}
	if (runtime && *runtime == '/')
		add(directories, &n, "%s/fusenfs", runtime);
	add(directories, &n, "/run/user/%u/fusenfs", uid);
	add(directories, &n, "/tmp/fusenfs-%u", uid);
	return n;
}

bool place_is_safe(const char *directory, uid_t uid)
{
	struct stat st;

	return !lstat(directory, &st) && S_ISDIR(st.st_mode) && st.st_uid == uid && !(st.st_mode & 022);
}

int place_make(char directory[PLACE_SIZE])
{
	char directories[PLACE_MAX][PLACE_SIZE];
	uid_t uid = geteuid();
	unsigned int n = place_directories(uid, directories);
	int error = -ENOENT;

	for (unsigned int i = 0; i < n; i++) {
		if (mkdir(directories[i], uid ? 0700 : 0755) && errno != EEXIST) {
			error = -errno;
			continue;
		}
		if (place_is_safe(directories[i], uid)) {
			memcpy(directory, directories[i], PLACE_SIZE);
			return 0;
		}
		error = -EPERM;
	}
	return error;
}

int place_socket(const char *directory, unsigned int major, unsigned int minor, char path[PLACE_SIZE])
{
	int len = snprintf(path, PLACE_SIZE, "%s/%u:%u.sock", directory, major, minor);

	return len > 0 && len < PLACE_SIZE ? 0 : -ENAMETOOLONG;
}
