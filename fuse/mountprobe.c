/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountprobe - the child, and waiting for it a bounded time.
 *
 * It resolves the path itself, component by component, and asks mountinfo before it looks at one. A
 * mount point is never a symbolic link, so it is stepped over without a system call; the last
 * component, if it is a mount point, is not looked at at all - but for a fusenfs one, where only an
 * answer tells whether its daemon lives: statfs(2) is never cached, ENOTCONN means dead. An autofs
 * trigger stays untouched too: to open it would make systemd wait for us, who wait for it. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../conn/util.h"
#include "mountinfo.h"
#include "mountprobe.h"

enum { MAX_LINKS = 40, REAP_LIMIT_MS = 200 };

/* ---- in the child ------------------------------------------------------------------------ */

/* Put what remains of a path in front of the rest: a link's target before what follows the link. */
static int prepend(char todo[PATH_MAX], const char *target, const char *rest)
{
	char joined[2 * PATH_MAX];

	snprintf(joined, sizeof(joined), "%s/%s", target, rest);
	if (strlen(joined) >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(todo, joined, strlen(joined) + 1);
	return 0;
}

static int push_component(char path[PATH_MAX], const char *name)
{
	size_t n = strlen(path);

	if (n + 1 + strlen(name) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (n > 1)
		path[n++] = '/';
	strcpy(path + n, name);
	return 0;
}

static void pop_component(char path[PATH_MAX])
{
	char *slash = strrchr(path, '/');

	slash[slash == path] = '\0';
}

/* One component is at the end of path: follow it if it is a link. */
static int follow(const struct mount_table *table, char path[PATH_MAX], char todo[PATH_MAX],
		  const char *rest, unsigned int *n_links)
{
	char target[PATH_MAX];
	ssize_t n;

	if (mount_table_at(table, path))
		return prepend(todo, "", rest);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return errno == EINVAL ? prepend(todo, "", rest) : -errno;
	if (++*n_links > MAX_LINKS)
		return -ELOOP;
	target[n] = '\0';
	pop_component(path);
	if (target[0] == '/')
		strcpy(path, "/");
	return prepend(todo, target, rest);
}

/* realpath(3) that does not touch mount points. path gets the result, or how far it came. */
static int resolve(const struct mount_table *table, const char *typed, char path[PATH_MAX])
{
	char todo[PATH_MAX];
	unsigned int n_links = 0;

	strcpy(path, "/");
	if (strlen(typed) >= PATH_MAX)
		return -ENAMETOOLONG;
	if (typed[0] != '/' && !getcwd(path, PATH_MAX))
		return -errno;
	strcpy(todo, typed);
	for (;;) {
		char *name = todo + strspn(todo, "/");
		size_t n = strcspn(name, "/");
		char rest[PATH_MAX], component[NAME_MAX + 1];
		int error = 0;

		if (!n)
			return 0;
		if (n > NAME_MAX)
			return -ENAMETOOLONG;
		memcpy(component, name, n);
		component[n] = '\0';
		strcpy(rest, name + n);
		if (strcmp(component, "..") == 0)
			pop_component(path);
		if (strcmp(component, "..") == 0 || strcmp(component, ".") == 0) {
			strcpy(todo, rest);
			continue;
		}
		error = push_component(path, component);
		if (!error)
			error = follow(table, path, todo, rest, &n_links);
		if (error)
			return error;
	}
}

static unsigned int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned int n = 0;

	if (!dir)
		return 0; /* not for us to read: nothing to be said about it */
	while (n <= PROBE_MAX_ENTRIES && (entry = readdir(dir)))
		n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return n;
}

static int examine(struct probe *probe)
{
	struct stat st;

	if (stat(probe->path, &st))
		return -errno;
	probe->mode = st.st_mode;
	probe->owner = st.st_uid;
	probe->writable = faccessat(AT_FDCWD, probe->path, W_OK, AT_EACCESS) == 0;
	if (S_ISDIR(st.st_mode))
		probe->n_entries = count_entries(probe->path);
	return 0;
}

bool probe_is_fusenfs(const struct probe *probe)
{
	return strcmp(probe->mount.type, "fuse.fusenfs") == 0;
}

static void probe_run(struct probe *probe, const char *typed)
{
	const struct mount_row *row;
	struct mount_table table;
	struct statfs fs;

	mount_table_load(&table); /* without proc: empty, and everything is looked at */
	probe->error = -resolve(&table, typed, probe->path);
	if (probe->error)
		return;
	row = mount_table_at(&table, probe->path);
	if (row) {
		snprintf(probe->mount.type, sizeof(probe->mount.type), "%s", row->type);
		snprintf(probe->mount.source, sizeof(probe->mount.source), "%s", row->source);
	}
	probe->stage = PROBE_FOUND;
	if (!row)
		probe->error = -examine(probe);
	else if (probe_is_fusenfs(probe) && statfs(probe->path, &fs))
		probe->error = errno;
}

/* ---- the child, from outside ------------------------------------------------------------- */

struct probe *probe_new(void)
{
	struct probe *probe = mmap(NULL, sizeof(*probe), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return probe == MAP_FAILED ? NULL : probe;
}

void probe_freep(struct probe **probe)
{
	if (*probe)
		munmap(*probe, sizeof(**probe));
}

/* Until the pipe's other end closes, which is the child's end, or the limit. */
static bool wait_hangup(int fd, int limit_ms)
{
	int64_t until_ns = clock_ns() + limit_ms * NS_PER_MS;
	struct pollfd end = { .fd = fd, .events = POLLIN };

	for (;;) {
		int64_t left_ms = (until_ns - clock_ns()) / NS_PER_MS;

		if (left_ms < 0)
			return false;
		if (poll(&end, 1, (int)left_ms) > 0)
			return true;
	}
}

/* A dead mount of ours says so at once: one that does not within a second is alive, or hung. */
static bool wait_child(const struct probe *probe, int fd)
{
	if (wait_hangup(fd, PROBE_ALIVE_MS))
		return true;
	if (probe->stage == PROBE_FOUND && probe->mount.type[0])
		return false;
	return wait_hangup(fd, PROBE_LIMIT_MS - PROBE_ALIVE_MS);
}

/* A child that hangs in the kernel is killed and left behind: waiting for it would be waiting for
 * the file system. */
int probe_fork(struct probe *probe, const char *typed)
{
	cleanup(closep) int read_end = -1;
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	read_end = ends[0];
	child = fork();
	if (child < 0) {
		int error = -errno;

		close(ends[1]);
		return error;
	}
	if (child == 0) {
		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		probe_run(probe, typed);
		probe->stage = PROBE_DONE;
		_exit(0);
	}
	close(ends[1]);
	if (!wait_child(probe, read_end))
		kill(child, SIGKILL);
	if (wait_hangup(read_end, REAP_LIMIT_MS))
		while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
			;
	return 0;
}
