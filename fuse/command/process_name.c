/* SPDX-License-Identifier: GPL-2.0-or-later */
/* process_name - see process_name.h. */
#include "process_name.h"

#include <stdio.h>
#include <string.h>

#include "../message.h"

/* The value of a line such as "Tgid:\t12" of /proc/TID/status. 0 if it was found. */
static int status_line(int tid, const char *key, char *value, size_t size)
{
	char path[64], line[256];
	FILE *stream;
	int found = -1;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	stream = tid > 0 ? fopen(path, "re") : NULL;
	while (stream && found && fgets(line, sizeof(line), stream)) {
		if (strncmp(line, key, strlen(key)) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		snprintf(value, size, "%s", line + strlen(key) + strspn(line + strlen(key), "\t "));
		found = 0;
	}
	if (stream)
		fclose(stream);
	return found;
}

int process_tgid(int tid)
{
	char value[32];
	int tgid;

	return !status_line(tid, "Tgid:", value, sizeof(value)) && sscanf(value, "%d", &tgid) == 1 ? tgid : tid;
}

bool process_is_of(int pid, uid_t uid)
{
	char value[64];
	unsigned int real;

	return !status_line(pid, "Uid:", value, sizeof(value)) && sscanf(value, "%u", &real) == 1 && real == uid;
}

const char *process_name(int tid, char name[PROCESS_NAME_SIZE])
{
	if (status_line(process_tgid(tid), "Name:", name, PROCESS_NAME_SIZE))
		snprintf(name, PROCESS_NAME_SIZE, "%s", tid ? "?" : "kernel");
	message_clean(name);
	return name;
}
