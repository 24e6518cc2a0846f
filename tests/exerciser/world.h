/* SPDX-License-Identifier: GPL-2.0-or-later */
/* world - all that the exerciser knows: what is in its files, who has them open, what was done.
 *
 * It lies in memory that the processes share. One of them acts at a time, the one whose turn it is
 * (main.c); so there are no locks, and a seed repeats everything. File descriptors and addresses of
 * mappings are those of the process that they are listed with. Threads are started and joined
 * within one operation (op_burst.c).
 *
 * What a byte should be is kept byte by byte. Each write has bytes of its own, which name the
 * operation and the place (stamp.c), so that what is found instead tells where it comes from. */
#ifndef EXERCISER_WORLD_H
#define EXERCISER_WORLD_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum {
	N_FILES = 3,
	N_PROCESSES = 2,
	N_HANDLES = 6, /* of a process */
	N_HISTORY = 256,
	LINE_SIZE = 160,
	NAME_SIZE = 32,
	PAGE = 4096,
	MAX_SIZE = 8 << 20, /* of a file */
};

struct file {
	char name[NAME_SIZE]; /* below the directory; for good what it was called last */
	bool linked;
	unsigned int n_open; /* handles and mappings of all processes */
	unsigned int n_maps;
	bool map_dirty;	       /* stores through a mapping which nothing has flushed since */
	struct timespec mtime; /* seen last; the next one is not before it */
	bool mtime_is_set;     /* by utimensat, and nothing was changed since: it is exactly that */
	uint64_t size;
	uint8_t data[MAX_SIZE]; /* zeros behind the size */
};

struct handle {
	struct file *file; /* NULL: not in use */
	int fd, flags;
	uint64_t position;
	bool wrote;
};

struct map {
	uint8_t *address; /* NULL: none */
	uint64_t length;
};

struct process {
	unsigned int number;
	struct handle handles[N_HANDLES];
	struct map maps[N_FILES];
};

struct settings {
	const char *directory; /* on the mount */
	const char *disk;      /* the same on the server's disk; NULL: not to be seen */
	const char *peer;      /* the same by another mount; NULL: there is none */
	const char *mix;
	uint64_t seed, n_operations, n_told;
	double seconds;
};

struct world {
	struct settings settings;
	uint64_t random;
	uint32_t operation; /* the number of the present one, from 1 */
	unsigned int actor; /* the process that does it */
	uint32_t n_names;
	uint64_t last_offset; /* where something was written last */
	uint32_t n_checks;    /* of a file on the server's disk */
	bool failed;
	_Atomic(uint64_t) n_lines;
	char history[N_HISTORY][LINE_SIZE];
	struct file files[N_FILES];
	struct process processes[N_PROCESSES];
};

struct world *world_new(const struct settings *settings);

/* below - a random number from 0 to n - 1; n > 0. */
uint64_t below(struct world *world, uint64_t n);
static inline bool one_in(struct world *world, unsigned int n)
{
	return below(world, n) == 0;
}

/* note - a line of the history, made before what it says is done. */
void note(struct world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* fail - what was expected, the history, and how to repeat it; ends the process, with status 1. The
 * first one is told. fail_errno - a system call has failed, which none should. */
_Noreturn void fail(struct world *world, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
_Noreturn void fail_errno(struct world *world, const char *call, const struct file *file);

static inline int file_number(const struct world *world, const struct file *file)
{
	return (int)(file - world->files);
}

/* path_of - a file's name below a directory: the mount's, the disk's or the peer's. */
struct path {
	char text[PATH_MAX];
};
struct path path_of(const char *directory, const char *name);

#endif
