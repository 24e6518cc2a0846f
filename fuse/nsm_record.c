/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nsm_record - see nsm_record.h. */
#include "nsm_record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../conn/util.h"
#include "log.h"

#define DIRECTORY "/var/lib/fusenfs/nsm"

enum { PATH_SIZE = sizeof(DIRECTORY) + NLM4_OH_MAX + 8, TEXT_MAX = 512, LOCK_TRIES = 100, LOCK_PAUSE_MS = 50 };

static const char PREFIX[] = "fusenfs-";

static void path_of(const char *name, const char *suffix, char path[PATH_SIZE])
{
	snprintf(path, PATH_SIZE, DIRECTORY "/%s%s", name, suffix);
}

/* ---- the directory ----------------------------------------------------------------------- */

static int make_directory(void)
{
	if (mkdir("/var/lib/fusenfs", 0755) && errno != EEXIST)
		return -errno;
	return mkdir(DIRECTORY, 0700) && errno != EEXIST ? -errno : 0;
}

int nsm_record_lock(void)
{
	int error = make_directory();
	cleanup(closep) int fd = error ? -1 : open(DIRECTORY "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (error || fd < 0)
		return error ? error : -errno;
	for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) {
		if (errno != EWOULDBLOCK)
			return -errno;
		if (i == LOCK_TRIES)
			return -ETIMEDOUT;
		poll(NULL, 0, LOCK_PAUSE_MS);
	}
	return steal_fd(&fd);
}

static bool is_record(const char *name)
{
	return !strncmp(name, PREFIX, strlen(PREFIX)) && strlen(name) < NLM4_OH_MAX && !strchr(name, '.');
}

bool nsm_record_exists(void)
{
	DIR *directory = opendir(DIRECTORY);
	struct dirent *entry;
	bool found = false;

	if (!directory)
		return false;
	while (!found && (entry = readdir(directory)))
		found = is_record(entry->d_name);
	closedir(directory);
	return found;
}

static int sync_directory(void)
{
	cleanup(closep) int fd = open(DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) ? -errno : 0;
}

/* Under another name first: nobody reads half of it. The descriptor is of the file that is there in the end. */
static int replace_file(const char *name, const char *text)
{
	char path[PATH_SIZE], fresh[PATH_SIZE];
	cleanup(closep) int fd = -1;
	ssize_t len = (ssize_t)strlen(text);

	path_of(name, "", path);
	path_of(name, ".new", fresh);
	fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) || write(fd, text, (size_t)len) != len || fsync(fd) ||
	    rename(fresh, path) || sync_directory()) {
		int error = errno ? -errno : -EIO;

		unlink(fresh);
		return error;
	}
	return steal_fd(&fd);
}

static bool read_text(int fd, char text[TEXT_MAX])
{
	ssize_t n = pread(fd, text, TEXT_MAX - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* ---- state ------------------------------------------------------------------------------- */

uint32_t nsm_record_state(bool grow)
{
	cleanup(closep) int fd = open(DIRECTORY "/state", O_RDONLY | O_CLOEXEC), written = -1;
	char text[TEXT_MAX];
	uint32_t state = 0;

	if (fd >= 0 && read_text(fd, text))
		state = (uint32_t)strtoul(text, NULL, 10);
	if (state % 2 == 1 && !grow)
		return state;
	state = state % 2 ? state + 2 : state + 1;
	snprintf(text, sizeof(text), "%u\n", state);
	written = replace_file("state", text);
	if (written < 0)
		log_debug("%s: error %d", DIRECTORY "/state", -written);
	return state;
}

/* ---- records ----------------------------------------------------------------------------- */

void nsm_record_fill(struct nsm_record *record)
{
	cleanup(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	struct stat ns;
	char text[TEXT_MAX] = "";

	if (fd >= 0)
		read_text(fd, text);
	snprintf(record->boot, sizeof(record->boot), "%.*s", (int)strcspn(text, "\n"), text);
	record->netns = stat("/proc/self/ns/net", &ns) ? 0 : ns.st_ino;
}

int nsm_record_write(const struct nsm_record *record)
{
	char text[TEXT_MAX];

	snprintf(text, sizeof(text), "server=%s\nlocal=%s\nname=%s\nboot=%s\nnetns=%llu\npid=%d\n", record->server,
		 record->local, record->name, record->boot, (unsigned long long)record->netns, getpid());
	return replace_file(record->oh, text);
}

void nsm_record_remove(const struct nsm_record *record)
{
	char path[PATH_SIZE];

	path_of(record->oh, "", path);
	unlink(path);
}

static bool take(const char *line, size_t len, const char *key, char *value, size_t size)
{
	size_t key_len = strlen(key);

	if (len <= key_len || strncmp(line, key, key_len) != 0 || len - key_len >= size)
		return false;
	memcpy(value, line + key_len, len - key_len);
	value[len - key_len] = '\0';
	return true;
}

bool nsm_record_parse(const char *text, struct nsm_record *ret_record)
{
	struct nsm_record record = { .fd = -1 };
	char number[24] = "";

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strcspn(line, "\n");

		take(line, len, "server=", record.server, sizeof(record.server));
		take(line, len, "local=", record.local, sizeof(record.local));
		take(line, len, "name=", record.name, sizeof(record.name));
		take(line, len, "boot=", record.boot, sizeof(record.boot));
		take(line, len, "netns=", number, sizeof(number));
	}
	if (!record.server[0] || !record.name[0])
		return false;
	record.netns = strtoull(number, NULL, 10);
	*ret_record = record;
	return true;
}

static bool read_one(const char *name, struct nsm_record *record)
{
	cleanup(closep) int fd = -1;
	char path[PATH_SIZE], text[TEXT_MAX];

	path_of(name, "", path);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || !read_text(fd, text) || !nsm_record_parse(text, record))
		return false;
	snprintf(record->oh, sizeof(record->oh), "%s", name);
	record->alive = flock(fd, LOCK_EX | LOCK_NB) != 0;
	if (!record->alive)
		record->fd = steal_fd(&fd);
	return true;
}

int nsm_record_read(struct nsm_record records[NSM_MAX_RECORDS], unsigned int *ret_n)
{
	DIR *directory = opendir(DIRECTORY);
	struct dirent *entry;
	unsigned int n = 0;

	if (!directory)
		return -errno;
	while (n < NSM_MAX_RECORDS && (entry = readdir(directory)))
		if (is_record(entry->d_name) && read_one(entry->d_name, &records[n]))
			n++;
	closedir(directory);
	*ret_n = n;
	return 0;
}

void nsm_record_close(struct nsm_record records[], unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		closep(&records[i].fd);
}
