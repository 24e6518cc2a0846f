/* SPDX-License-Identifier: GPL-2.0-or-later */
/* op_burst - several threads of the process whose turn it is use one file at the same time, in ways
 * whose result does not depend on who is faster.
 *
 * Not with stores through a mapping that are still to be written. Linux 6.18, when it writes such a
 * page back, clears what is behind the end of the file, and for FUSE that end moves only after a
 * write has been answered: it clears what a write under way has put there, and is sending. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "handle.h"
#include "model.h"
#include "op.h"

enum { MAX_THREADS = 4, MAX_PIECE = 70000, MAX_RECORD = 3000 };

struct burst {
	struct world *world;
	struct file *file;
	int fd;
	bool sync_now_and_then;
	uint64_t offset, piece; /* of the region; writer i has the pieces i, i + n_writers ... */
	unsigned int n_writers, n_pieces;
};

struct writer {
	pthread_t thread;
	const struct burst *burst;
	unsigned int index;
	uint8_t data[MAX_PIECE];
};

static void start(struct writer *writer, void *(*body)(void *))
{
	if (pthread_create(&writer->thread, NULL, body, writer) != 0)
		errx(2, "pthread_create");
}

/* ---- pieces of one region ---------------------------------------------------------------- */

static void *write_pieces(void *arg)
{
	struct writer *writer = arg;
	const struct burst *burst = writer->burst;

	for (unsigned int i = writer->index; i < burst->n_pieces; i += burst->n_writers) {
		uint64_t at = burst->offset + i * burst->piece;

		stamp(writer->data, burst->world->operation, at, burst->piece);
		if (pwrite(burst->fd, writer->data, burst->piece, (off_t)at) !=
		    (ssize_t)burst->piece)
			fail_errno(burst->world, "write of a burst", burst->file);
		if (burst->sync_now_and_then && i % 16 == 0 && fsync(burst->fd) != 0)
			fail_errno(burst->world, "fsync in a burst", burst->file);
	}
	return NULL;
}

/* Each byte of the region is the old or the new one, and the size only grows. */
static void *read_region(void *arg)
{
	struct writer *writer = arg;
	const struct burst *burst = writer->burst;
	const uint8_t *old = burst->file->data + burst->offset;
	uint64_t region = burst->piece * burst->n_pieces, last = burst->file->size;
	static uint8_t found[MAX_SIZE], new[MAX_SIZE];
	struct stat attr;

	stamp(new, burst->world->operation, burst->offset, region);
	for (int turn = 0; turn < 4; turn++) {
		ssize_t n = pread(burst->fd, found, region, (off_t)burst->offset);

		if (n < 0 || fstat(burst->fd, &attr) != 0)
			fail_errno(burst->world, "read in a burst", burst->file);
		if ((uint64_t)n < model_readable(burst->file, burst->offset, region))
			fail(burst->world, "read in a burst: %zd bytes", n);
		for (ssize_t i = 0; i < n; i++)
			if (found[i] != old[i] && found[i] != new[i])
				fail(burst->world,
				     "read in a burst: byte %llu is %02x, was %02x, becomes %02x",
				     (unsigned long long)burst->offset + (uint64_t)i, found[i],
				     old[i], new[i]);
		if ((uint64_t)attr.st_size < last)
			fail(burst->world, "size in a burst: %lld, was %llu",
			     (long long)attr.st_size, (unsigned long long)last);
		last = (uint64_t)attr.st_size;
		posix_fadvise(burst->fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	return NULL;
}

struct file *op_burst(struct world *world, struct process *process)
{
	static struct writer writers[MAX_THREADS + 1];
	struct handle *handle = handle_pick(world, process, O_RDWR);
	struct burst burst = { .world = world,
			       .n_writers = 2 + (unsigned int)below(world, 3),
			       .n_pieces = 4 + (unsigned int)below(world, 60),
			       .piece = 1 + below(world, one_in(world, 3) ? MAX_PIECE : PAGE),
			       .sync_now_and_then = one_in(world, 3) };
	uint64_t region = burst.piece * burst.n_pieces;

	if (!handle || handle->flags & O_APPEND)
		return NULL;
	burst.file = handle->file;
	burst.fd = handle->fd;
	burst.offset = some_place(world, burst.file, region);
	file_flush_maps(world, burst.file, handle); /* see the top of this file */
	note(world, "burst   %s fd %d [%llu, +%llu) by %u, pieces of %llu%s", burst.file->name,
	     burst.fd, (unsigned long long)burst.offset, (unsigned long long)region,
	     burst.n_writers, (unsigned long long)burst.piece,
	     burst.sync_now_and_then ? ", fsync" : "");
	for (unsigned int i = 0; i <= burst.n_writers; i++) {
		writers[i].burst = &burst;
		writers[i].index = i;
		start(&writers[i], i < burst.n_writers ? write_pieces : read_region);
	}
	for (unsigned int i = 0; i <= burst.n_writers; i++)
		pthread_join(writers[i].thread, NULL);
	for (unsigned int i = 0; i < burst.n_pieces; i++) {
		uint64_t at = burst.offset + i * burst.piece;

		stamp(writers[0].data, world->operation, at, burst.piece);
		model_write(world, burst.file, at, writers[0].data, burst.piece);
	}
	handle->wrote = true;
	return burst.file;
}

/* ---- appending --------------------------------------------------------------------------- */

/* Writer i's k-th record, whatever place it gets. */
static void make_record(const struct burst *burst, uint8_t *data, unsigned int i, unsigned int k)
{
	stamp(data, burst->world->operation, (uint64_t)(i * burst->n_pieces + k + 1) * 8,
	      burst->piece);
}

static void *append_records(void *arg)
{
	struct writer *writer = arg;
	const struct burst *burst = writer->burst;
	int fd = open(path_of(burst->world->settings.directory, burst->file->name).text,
		      O_WRONLY | O_APPEND | O_CLOEXEC);

	if (fd < 0)
		fail_errno(burst->world, "open to append", burst->file);
	for (unsigned int k = 0; k < burst->n_pieces; k++) {
		make_record(burst, writer->data, writer->index, k);
		if (write(fd, writer->data, burst->piece) != (ssize_t)burst->piece)
			fail_errno(burst->world, "append in a burst", burst->file);
	}
	if (close(fd) != 0)
		fail_errno(burst->world, "close in a burst", burst->file);
	return NULL;
}

/* All records are there, whole, those of one writer in their order. */
static void adopt_records(struct burst *burst, uint8_t *found, uint64_t from)
{
	unsigned int next[MAX_THREADS] = { 0 }, n = burst->n_writers * burst->n_pieces;
	uint8_t record[MAX_RECORD];
	char text[64];

	for (unsigned int at = 0; at < n; at++) {
		unsigned int i = 0;

		for (; i < burst->n_writers; i++) {
			make_record(burst, record, i, next[i]);
			if (next[i] < burst->n_pieces &&
			    memcmp(record, found + at * burst->piece, burst->piece) == 0)
				break;
		}
		if (i == burst->n_writers) {
			stamp_describe(found + at * burst->piece, text, sizeof(text));
			fail(burst->world,
			     "appended by %u to %s at %llu: no writer's next record, but %s",
			     burst->n_writers, burst->file->name,
			     (unsigned long long)(from + at * burst->piece), text);
		}
		next[i]++;
	}
	model_write(burst->world, burst->file, from, found, n * burst->piece);
}

struct file *op_append_burst(struct world *world, struct process *process)
{
	static struct writer writers[MAX_THREADS];
	static uint8_t found[MAX_SIZE];
	struct file *file = file_pick(world, process);
	struct burst burst = { .world = world,
			       .file = file,
			       .n_writers = 2 + (unsigned int)below(world, 3),
			       .n_pieces = 1 + (unsigned int)below(world, 60),
			       .piece = 16 + below(world, MAX_RECORD - 16) };
	uint64_t all = burst.piece * burst.n_pieces * burst.n_writers;
	struct handle *handle;

	if (!file || file->size + all > MAX_SIZE)
		return NULL;
	handle = handle_of(world, process, file, O_RDWR);
	file_flush_maps(world, file, handle);
	note(world, "appends %s by %u, %u records of %llu at %llu", file->name, burst.n_writers,
	     burst.n_pieces, (unsigned long long)burst.piece, (unsigned long long)file->size);
	for (unsigned int i = 0; i < burst.n_writers; i++) {
		writers[i].burst = &burst;
		writers[i].index = i;
		start(&writers[i], append_records);
	}
	for (unsigned int i = 0; i < burst.n_writers; i++)
		pthread_join(writers[i].thread, NULL);
	if (pread(handle->fd, found, all, (off_t)file->size) != (ssize_t)all)
		fail(world, "read of what was appended to %s is short", file->name);
	adopt_records(&burst, found, file->size);
	return file;
}
