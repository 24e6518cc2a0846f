/* SPDX-License-Identifier: GPL-2.0-or-later */
/* load - the load generator for mounts: T threads of one kind of system call, as JSON.
 *
 *     load --op OP --path PATH [--size N] [--threads T] [--seconds S | --ops N]
 *          [--bytes N] [--cache direct|drop]
 *
 *     getattr    statx(AT_STATX_FORCE_SYNC) on an open file: one FUSE GETATTR each. The mount
 *                should have actimeo=0, or the daemon may answer from its own cache.
 *     randread   pread of --size bytes at random offsets. The page cache is avoided by O_DIRECT
 *                (--cache direct, the default) or by dropping each page after use (--cache drop).
 *     seqread    one pass over a file that is not in the page cache, thread t reads the t-th part
 *     seqwrite   one pass of pwrite over --bytes, thread t writes the t-th part; fsync and close
 *                are part of the time
 *     create     create (O_EXCL), write --size bytes if any, close and unlink in directory PATH;
 *                the three together are one operation
 *     lock       a byte of its own is locked and unlocked again, by an open file of each thread's (F_OFD_SETLKW): the
 *                pair is one operation
 *
 * Threads share nothing but the window; latencies are of the system call(s) alone. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

struct worker;

/* One kind of load. step() does one operation and says how many bytes it moved; false: there is
 * nothing left to do. after() is not timed, finish() is. */
struct op {
	const char *name;
	uint64_t default_size;
	bool one_pass;
	void (*prepare)(struct worker *worker);
	bool (*step)(struct worker *worker, uint64_t *ret_bytes);
	void (*after)(struct worker *worker);
	void (*finish)(struct worker *worker);
};

struct settings {
	const struct op *op;
	const char *path;
	uint64_t size;    /* of one operation */
	uint64_t bytes;   /* of the file; 0: as long as it is */
	uint64_t n_ops;   /* in all; 0: for `seconds` */
	double seconds, warmup;
	unsigned int n_threads;
	bool direct;
};

struct worker {
	const struct settings *settings;
	const struct window *window;
	pthread_barrier_t *ready;   /* everyone is prepared, the window is open */
	pthread_t thread;
	unsigned int index;
	int fd;
	uint64_t offset, end;       /* of the sequential part, or of the last random read */
	uint64_t n_blocks;
	uint64_t random, n_created;
	uint8_t *buffer;
	struct tally tally;
};

static int open_path(const struct worker *worker, int flags)
{
	int fd = open(worker->settings->path, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		err(1, "%s", worker->settings->path);
	return fd;
}

static uint64_t file_bytes(const struct worker *worker)
{
	struct stat attr;

	if (worker->settings->bytes)
		return worker->settings->bytes;
	if (fstat(worker->fd, &attr) != 0)
		err(1, "%s", worker->settings->path);
	return (uint64_t)attr.st_size;
}

/* ---- getattr ----------------------------------------------------------------------------- */

static void getattr_prepare(struct worker *worker)
{
	worker->fd = open_path(worker, O_RDONLY);
}

static bool getattr_step(struct worker *worker, uint64_t *ret_bytes)
{
	const int flags = AT_EMPTY_PATH | AT_STATX_FORCE_SYNC;
	struct statx attr;

	if (statx(worker->fd, "", flags, STATX_BASIC_STATS, &attr) != 0)
		err(1, "statx %s", worker->settings->path);
	*ret_bytes = 0;
	return true;
}

/* ---- randread ---------------------------------------------------------------------------- */

static void randread_prepare(struct worker *worker)
{
	const struct settings *settings = worker->settings;

	worker->fd = open_path(worker, settings->direct ? O_RDONLY | O_DIRECT : O_RDONLY);
	worker->n_blocks = file_bytes(worker) / settings->size;
	if (!worker->n_blocks)
		errx(1, "%s is smaller than one read", settings->path);
	if (settings->direct)
		return;
	posix_fadvise(worker->fd, 0, 0, POSIX_FADV_RANDOM);
	posix_fadvise(worker->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static bool randread_step(struct worker *worker, uint64_t *ret_bytes)
{
	uint64_t size = worker->settings->size;
	ssize_t n;

	worker->offset = random_next(&worker->random) % worker->n_blocks * size;
	n = pread(worker->fd, worker->buffer, size, (off_t)worker->offset);
	if (n < 0)
		err(1, "read %s", worker->settings->path);
	if ((uint64_t)n != size)
		errx(1, "%s: short read", worker->settings->path);
	*ret_bytes = size;
	return true;
}

static void randread_after(struct worker *worker)
{
	if (!worker->settings->direct)
		posix_fadvise(worker->fd, (off_t)worker->offset, (off_t)worker->settings->size,
			      POSIX_FADV_DONTNEED);
}

/* ---- seqread, seqwrite ------------------------------------------------------------------- */

/* The t-th part of the file, in whole operations. */
static void take_part(struct worker *worker)
{
	const struct settings *settings = worker->settings;
	uint64_t bytes = file_bytes(worker), n = bytes / settings->size;

	worker->offset = n * worker->index / settings->n_threads * settings->size;
	worker->end = n * (worker->index + 1) / settings->n_threads * settings->size;
}

static void seqread_prepare(struct worker *worker)
{
	worker->fd = open_path(worker, O_RDONLY);
	posix_fadvise(worker->fd, 0, 0, POSIX_FADV_DONTNEED);
	take_part(worker);
}

static bool seqread_step(struct worker *worker, uint64_t *ret_bytes)
{
	ssize_t n;

	if (worker->offset >= worker->end)
		return false;
	n = pread(worker->fd, worker->buffer, worker->settings->size, (off_t)worker->offset);
	if (n < 0)
		err(1, "read %s", worker->settings->path);
	if (n == 0)
		errx(1, "%s: unexpected end of file", worker->settings->path);
	worker->offset += (uint64_t)n;
	*ret_bytes = (uint64_t)n;
	return true;
}

static void seqwrite_prepare(struct worker *worker)
{
	worker->fd = open_path(worker, O_WRONLY | O_CREAT);
	take_part(worker);
}

static bool seqwrite_step(struct worker *worker, uint64_t *ret_bytes)
{
	ssize_t n;

	if (worker->offset >= worker->end)
		return false;
	n = pwrite(worker->fd, worker->buffer, worker->settings->size, (off_t)worker->offset);
	if (n < 0)
		err(1, "write %s", worker->settings->path);
	worker->offset += (uint64_t)n;
	*ret_bytes = (uint64_t)n;
	return true;
}

static void seqwrite_finish(struct worker *worker)
{
	if (fsync(worker->fd) != 0 || close(worker->fd) != 0)
		err(1, "fsync %s", worker->settings->path);
	worker->fd = -1;
}

/* ---- create ------------------------------------------------------------------------------ */

static void create_prepare(struct worker *worker)
{
	worker->fd = open_path(worker, O_RDONLY | O_DIRECTORY);
}

static bool create_step(struct worker *worker, uint64_t *ret_bytes)
{
	uint64_t size = worker->settings->size;
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "load.%d.%u.%llu", getpid(), worker->index,
		 (unsigned long long)worker->n_created++);
	fd = openat(worker->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		err(1, "create %s", name);
	if (size && write(fd, worker->buffer, size) != (ssize_t)size)
		err(1, "write %s", name);
	if (close(fd) != 0 || unlinkat(worker->fd, name, 0) != 0)
		err(1, "unlink %s", name);
	*ret_bytes = size;
	return true;
}

/* ---- locks ------------------------------------------------------------------------------- */

static void lock_prepare(struct worker *worker)
{
	worker->fd = open_path(worker, O_RDWR | O_CREAT);
}

static void set_lock(const struct worker *worker, short type)
{
	struct flock lock = { .l_type = type, .l_whence = SEEK_SET, .l_start = worker->index, .l_len = 1 };

	if (fcntl(worker->fd, F_OFD_SETLKW, &lock))
		err(1, "lock %s", worker->settings->path);
}

static bool lock_step(struct worker *worker, uint64_t *ret_bytes)
{
	set_lock(worker, F_WRLCK);
	set_lock(worker, F_UNLCK);
	*ret_bytes = 0;
	return true;
}

static const struct op ops[] = {
	{ .name = "getattr", .prepare = getattr_prepare, .step = getattr_step },
	{ .name = "randread", .default_size = 4096,
	  .prepare = randread_prepare, .step = randread_step, .after = randread_after },
	{ .name = "seqread", .default_size = 1 << 20, .one_pass = true,
	  .prepare = seqread_prepare, .step = seqread_step },
	{ .name = "seqwrite", .default_size = 1 << 20, .one_pass = true,
	  .prepare = seqwrite_prepare, .step = seqwrite_step, .finish = seqwrite_finish },
	{ .name = "create", .prepare = create_prepare, .step = create_step },
	{ .name = "lock", .prepare = lock_prepare, .step = lock_step },
};

/* ---- threads ----------------------------------------------------------------------------- */

static void worker_loop(struct worker *worker)
{
	const struct settings *settings = worker->settings;
	uint64_t left = settings->n_ops ? settings->n_ops / settings->n_threads : UINT64_MAX;
	int64_t from_ns = clock_ns();
	uint64_t bytes;

	for (; left && from_ns < worker->window->end_ns; left--) {
		if (!settings->op->step(worker, &bytes))
			break;
		tally_add(&worker->tally, worker->window, from_ns, clock_ns(), bytes);
		if (settings->op->after)
			settings->op->after(worker);
		from_ns = clock_ns();
	}
	if (settings->op->finish)
		settings->op->finish(worker);
}

static void *worker_run(void *userdata)
{
	struct worker *worker = userdata;

	worker->settings->op->prepare(worker);
	pthread_barrier_wait(worker->ready);
	pthread_barrier_wait(worker->ready);
	worker_loop(worker);
	return NULL;
}

static void worker_init(struct worker *worker, const struct settings *settings, unsigned int index,
			const struct window *window, pthread_barrier_t *ready)
{
	size_t size = (settings->size + 4095) / 4096 * 4096 + 4096;

	*worker = (struct worker){ .settings = settings, .index = index, .window = window,
				   .ready = ready, .fd = -1,
				   .random = (uint64_t)clock_ns() * (2 * index + 1) | 1 };
	worker->buffer = aligned_alloc(4096, size);
	if (!worker->buffer)
		err(1, "no memory");
	memset(worker->buffer, 'x', size);
	errno = pthread_create(&worker->thread, NULL, worker_run, worker);
	if (errno)
		err(1, "thread");
}

/* Page cache is about to be filled. In a virtual machine that returns free memory to its host (free
 * page reporting), the first touch of a page costs more than all the rest of reading it; the bare
 * client, which reuses one buffer, would not pay that. So touch as much memory beforehand, and free
 * it: the kernel hands out first what was freed last. */
static void touch_memory(const struct worker *workers, unsigned int n_workers)
{
	size_t bytes = 1;
	void *memory;

	for (unsigned int i = 0; i < n_workers; i++)
		bytes += workers[i].end - workers[i].offset;
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (memory != MAP_FAILED)
		munmap(memory, bytes);
}

static void print(const struct settings *settings, const struct window *window,
		  const struct tally *tally)
{
	char extra[128];

	snprintf(extra, sizeof(extra), "\"size\":%llu,\"threads\":%u,",
		 (unsigned long long)settings->size, settings->n_threads);
	tally_print(tally, window, settings->op->name, extra);
}

static void run(const struct settings *settings)
{
	struct worker *workers = calloc(settings->n_threads, sizeof(*workers));
	bool timed = !settings->op->one_pass && !settings->n_ops;
	static struct tally tally;
	pthread_barrier_t ready;
	struct window window;

	if (!workers)
		err(1, "no memory");
	pthread_barrier_init(&ready, NULL, settings->n_threads + 1);
	for (unsigned int i = 0; i < settings->n_threads; i++)
		worker_init(&workers[i], settings, i, &window, &ready);
	pthread_barrier_wait(&ready);
	if (settings->op->one_pass)
		touch_memory(workers, settings->n_threads);
	window_open(&window, settings->warmup, timed ? settings->seconds : 0);
	pthread_barrier_wait(&ready);
	window_sleep(&window);
	for (unsigned int i = 0; i < settings->n_threads; i++)
		pthread_join(workers[i].thread, NULL);
	window_close(&window);
	for (unsigned int i = 0; i < settings->n_threads; i++) {
		tally_merge(&tally, &workers[i].tally);
		free(workers[i].buffer);
	}
	print(settings, &window, &tally);
	free(workers);
}

/* ---- command line ------------------------------------------------------------------------ */

static const struct op *find_op(const char *name)
{
	for (unsigned int i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(ops[i].name, name) == 0)
			return &ops[i];
	errx(2, "unknown operation '%s'", name);
}

static const struct option options[] = {
	{ "op", required_argument, NULL, 'o' },
	{ "path", required_argument, NULL, 'p' },
	{ "size", required_argument, NULL, 's' },
	{ "bytes", required_argument, NULL, 'b' },
	{ "ops", required_argument, NULL, 'n' },
	{ "threads", required_argument, NULL, 't' },
	{ "seconds", required_argument, NULL, 'S' },
	{ "warmup", required_argument, NULL, 'w' },
	{ "cache", required_argument, NULL, 'c' },
	{ NULL, 0, NULL, 0 },
};

static void set(struct settings *settings, int option, const char *value)
{
	switch (option) {
	case 'o':
		settings->op = find_op(value);
		break;
	case 'p':
		settings->path = value;
		break;
	case 's':
		settings->size = parse_size(value);
		break;
	case 'b':
		settings->bytes = parse_size(value);
		break;
	case 'n':
		settings->n_ops = parse_size(value);
		break;
	case 't':
		settings->n_threads = (unsigned int)parse_size(value);
		break;
	case 'S':
		settings->seconds = atof(value);
		break;
	case 'w':
		settings->warmup = atof(value);
		break;
	case 'c':
		settings->direct = strcmp(value, "direct") == 0;
		break;
	default:
		errx(2, "usage: see the top of tests/bench/load.c");
	}
}

int main(int argc, char **argv)
{
	struct settings settings = { .seconds = 2, .warmup = 0.2, .n_threads = 1, .direct = true };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		set(&settings, option, optarg);
	if (!settings.op || !settings.path || !settings.n_threads || settings.seconds <= 0)
		errx(2, "usage: load --op OP --path PATH ...");
	if (!settings.size)
		settings.size = settings.op->default_size;
	run(&settings);
	return 0;
}
