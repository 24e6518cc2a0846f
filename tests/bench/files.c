/* SPDX-License-Identifier: GPL-2.0-or-later */
/* files - small files in one directory, by T threads; prints how many a second.
 *
 *     files create|stat|read|unlink DIRECTORY THREADS FILES
 *
 * create writes 4 KiB and closes; read opens, reads and closes. Thread t has every T-th file. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

enum { FILE_SIZE = 4096, THREADS_MAX = 64 };

static const char *directory;
static unsigned int n_threads, n_files;
static void (*act)(const char *path);

static void create(const char *path)
{
	static const char data[FILE_SIZE] = "x";
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);

	if (fd < 0 || write(fd, data, FILE_SIZE) != FILE_SIZE || close(fd) != 0)
		err(1, "create %s", path);
}

static void look(const char *path)
{
	struct stat attr;

	if (stat(path, &attr) != 0 || attr.st_size != FILE_SIZE)
		err(1, "stat %s", path);
}

static void read_all(const char *path)
{
	char data[FILE_SIZE];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, data, FILE_SIZE) != FILE_SIZE || close(fd) != 0)
		err(1, "read %s", path);
}

static void remove_it(const char *path)
{
	if (unlink(path) != 0)
		err(1, "unlink %s", path);
}

static const struct {
	const char *name;
	void (*act)(const char *path);
} phases[] = { { "create", create }, { "stat", look }, { "read", read_all }, { "unlink", remove_it } };

static void *work(void *first)
{
	char path[4096];

	for (unsigned int i = *(unsigned int *)first; i < n_files; i += n_threads) {
		snprintf(path, sizeof(path), "%s/f%06u", directory, i);
		act(path);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	unsigned int firsts[THREADS_MAX];
	pthread_t threads[THREADS_MAX];
	int64_t begin_ns;

	if (argc != 5)
		errx(2, "usage: files create|stat|read|unlink DIRECTORY THREADS FILES");
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		if (strcmp(argv[1], phases[i].name) == 0)
			act = phases[i].act;
	directory = argv[2];
	n_threads = (unsigned int)atoi(argv[3]);
	n_files = (unsigned int)atoi(argv[4]);
	if (!act || n_threads < 1 || n_threads > THREADS_MAX)
		errx(2, "a phase, and 1 to %d threads", THREADS_MAX);
	begin_ns = clock_ns();
	for (unsigned int i = 0; i < n_threads; i++) {
		firsts[i] = i;
		if (pthread_create(&threads[i], NULL, work, &firsts[i]) != 0)
			errx(1, "no thread");
	}
	for (unsigned int i = 0; i < n_threads; i++)
		pthread_join(threads[i], NULL);
	printf("%.1f\n", n_files * (double)NS_PER_S / (double)(clock_ns() - begin_ns));
	return 0;
}
