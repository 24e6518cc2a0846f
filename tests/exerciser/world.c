/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "world.h"

struct world *world_new(const struct settings *settings)
{
	struct world *world = mmap(NULL, sizeof(*world), PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (world == MAP_FAILED)
		err(2, "mmap");
	world->settings = *settings;
	world->random = settings->seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
	for (unsigned int i = 0; i < N_PROCESSES; i++)
		world->processes[i].number = i;
	return world;
}

/* splitmix64 */
uint64_t below(struct world *world, uint64_t n)
{
	uint64_t z = world->random += UINT64_C(0x9E3779B97F4A7C15);

	z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
	z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
	return (z ^ z >> 31) % n;
}

void note(struct world *world, const char *format, ...)
{
	char *line = world->history[world->n_lines++ % N_HISTORY];
	int n = snprintf(line, LINE_SIZE, "%7u %c ", world->operation, (int)('a' + world->actor));
	va_list args;

	va_start(args, format);
	vsnprintf(line + n, LINE_SIZE - (size_t)n, format, args);
	va_end(args);
}

static void tell_history(const struct world *world)
{
	uint64_t n = world->settings.n_told < N_HISTORY ? world->settings.n_told : N_HISTORY;
	uint64_t first = world->n_lines > n ? world->n_lines - n : 0;

	fprintf(stderr, "the last of it (number, process, what):\n");
	for (uint64_t i = first; i < world->n_lines; i++)
		fprintf(stderr, "  %s\n", world->history[i % N_HISTORY]);
}

void fail(struct world *world, const char *format, ...)
{
	static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
	const struct settings *settings = &world->settings;
	va_list args;

	pthread_mutex_lock(&once); /* for good: other threads of a burst wait for the end here */
	if (world->failed)
		_exit(1);
	world->failed = true;
	fprintf(stderr, "exerciser: seed %llu, operation %u: ", (unsigned long long)settings->seed,
		world->operation);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	tell_history(world);
	fprintf(stderr, "again: exerciser --seed %llu --ops %u --mix %s%s%s%s%s %s\n",
		(unsigned long long)settings->seed, world->operation, settings->mix,
		settings->disk ? " --server-path " : "", settings->disk ? settings->disk : "",
		settings->peer ? " --peer " : "", settings->peer ? settings->peer : "",
		settings->directory);
	fflush(stderr);
	_exit(1);
}

void fail_errno(struct world *world, const char *call, const struct file *file)
{
	fail(world, "%s of file %d (%s): %s", call, file_number(world, file), file->name,
	     strerror(errno));
}

struct path path_of(const char *directory, const char *name)
{
	struct path path;

	if (snprintf(path.text, sizeof(path.text), "%s/%s", directory, name) >=
	    (int)sizeof(path.text))
		errx(2, "%s: too long", directory);
	return path;
}
