/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "model.h"

enum { MAX_STRETCHES = 8 };

void model_changed(struct file *file)
{
	file->mtime_is_set = false;
}

void model_write(struct world *world, struct file *file, uint64_t offset, const uint8_t *data,
		 uint64_t length)
{
	memcpy(file->data + offset, data, length);
	if (offset + length > file->size)
		file->size = offset + length;
	world->last_offset = offset;
	model_changed(file);
}

void model_truncate(struct file *file, uint64_t size)
{
	if (size < file->size)
		memset(file->data + size, 0, file->size - size);
	file->size = size;
	model_changed(file);
}

uint64_t model_readable(const struct file *file, uint64_t offset, uint64_t length)
{
	if (offset >= file->size)
		return 0;
	return length < file->size - offset ? length : file->size - offset;
}

/* ---- comparing --------------------------------------------------------------------------- */

static uint64_t first_difference(const uint8_t *a, const uint8_t *b, uint64_t length)
{
	uint64_t i = 0;

	if (memcmp(a, b, length) == 0)
		return length;
	while (i < length && a[i] == b[i])
		i++;
	return i;
}

/* The eight bytes around a place, as far as they are in [offset, offset + length). */
static void describe(const uint8_t *bytes, uint64_t offset, uint64_t length, uint64_t at,
		     char *text, size_t size)
{
	uint64_t start = at / 8 * 8;

	if (start >= offset && start + 8 <= offset + length)
		stamp_describe(bytes + (start - offset), text, size);
	else
		snprintf(text, size, "byte %02x", bytes[at - offset]);
}

/* One byte as the page cache, the daemon (by O_DIRECT) and the disk have it, in the report: who is
 * wrong? */
static void where_else(struct world *world, const struct file *file, uint64_t at, char *text,
		       size_t size)
{
	const char *tops[] = { world->settings.directory, world->settings.directory,
			       world->settings.disk };
	static const char *const names[] = { "mount", "O_DIRECT", "disk" };
	int used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < 3 && file->linked; i++) {
		uint8_t byte;
		int fd = tops[i] ? open(path_of(tops[i], file->name).text,
					O_RDONLY | (i == 1 ? O_DIRECT : 0))
				 : -1;

		if (fd < 0)
			continue;
		if (pread(fd, &byte, 1, (off_t)at) == 1)
			used += snprintf(text + used, size - (size_t)used, " %s now %02x;",
					 names[i], byte);
		else
			used += snprintf(text + used, size - (size_t)used, " %s now: none;",
					 names[i]);
		close(fd);
	}
}

/* The first stretches that differ; what agrees for less than a word between them is not worth two.
 */
static void tell_stretches(const struct file *file, const uint8_t *found, uint64_t offset,
			   uint64_t length)
{
	const uint8_t *wanted = file->data + offset;
	char found_text[64], wanted_text[64];
	uint64_t from = first_difference(found, wanted, length);

	for (int n = 0; from < length && n < MAX_STRETCHES; n++) {
		uint64_t to = from, gap = 0;

		while (to < length && gap < 16) {
			gap = found[to] == wanted[to] ? gap + 1 : 0;
			to++;
		}
		describe(found, offset, length, offset + from, found_text, sizeof(found_text));
		describe(wanted, offset, length, offset + from, wanted_text, sizeof(wanted_text));
		fprintf(stderr, "  wrong [%llu, %llu): found %s, expected %s\n",
			(unsigned long long)(offset + from),
			(unsigned long long)(offset + to - gap), found_text, wanted_text);
		from = to + first_difference(found + to, wanted + to, length - to);
	}
}

void model_check_bytes(struct world *world, struct file *file, const char *what,
		       const uint8_t *found, uint64_t offset, uint64_t length)
{
	uint64_t from = first_difference(found, file->data + offset, length);
	char elsewhere[200];

	if (from == length)
		return;
	tell_stretches(file, found, offset, length);
	where_else(world, file, offset + from, elsewhere, sizeof(elsewhere));
	fail(world,
	     "%s of file %d (%s, %llu bytes), [%llu, +%llu): wrong at %llu: %02x, expected %02x;%s",
	     what, file_number(world, file), file->name, (unsigned long long)file->size,
	     (unsigned long long)offset, (unsigned long long)length,
	     (unsigned long long)(offset + from), found[from], file->data[offset + from],
	     elsewhere);
}

void model_check(struct world *world, struct file *file, const char *what, const uint8_t *found,
		 ssize_t n, uint64_t offset, uint64_t length)
{
	if (n < 0)
		fail_errno(world, what, file);
	if ((uint64_t)n != model_readable(file, offset, length))
		fail(world, "%s of file %d (%s, %llu bytes), [%llu, +%llu): returned %zd", what,
		     file_number(world, file), file->name, (unsigned long long)file->size,
		     (unsigned long long)offset, (unsigned long long)length, n);
	if (n)
		model_check_bytes(world, file, what, found, offset, (uint64_t)n);
}

/* ---- attributes -------------------------------------------------------------------------- */

static bool earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

static void check_times(struct world *world, struct file *file, const struct timespec *mtime)
{
	const struct timespec *last = &file->mtime;

	if (earlier(mtime, last) || (file->mtime_is_set && earlier(last, mtime)))
		fail(world, "mtime of file %d (%s) is %lld.%09ld, was %s %lld.%09ld",
		     file_number(world, file), file->name, (long long)mtime->tv_sec, mtime->tv_nsec,
		     file->mtime_is_set ? "set to" : "already", (long long)last->tv_sec,
		     last->tv_nsec);
	file->mtime = *mtime;
}

void model_check_stat(struct world *world, struct file *file, int fd, bool force)
{
	int flags = (fd >= 0 ? AT_EMPTY_PATH : 0) | (force ? AT_STATX_FORCE_SYNC : 0);
	struct path path = path_of(world->settings.directory, file->name);
	struct statx attr;

	if (statx(fd >= 0 ? fd : AT_FDCWD, fd >= 0 ? "" : path.text, flags, STATX_BASIC_STATS,
		  &attr) != 0)
		fail_errno(world, "statx", file);
	if (attr.stx_size != file->size)
		fail(world, "size of file %d (%s) by %s is %llu, expected %llu",
		     file_number(world, file), file->name, fd >= 0 ? "fstat" : "stat",
		     (unsigned long long)attr.stx_size, (unsigned long long)file->size);
	check_times(world, file,
		    &(struct timespec){ attr.stx_mtime.tv_sec, attr.stx_mtime.tv_nsec });
}

/* ---- the disk ---------------------------------------------------------------------------- */

static int open_on_disk(struct world *world, struct file *file)
{
	int fd;

	if (!world->settings.disk || !file->linked)
		return -1;
	fd = open(path_of(world->settings.disk, file->name).text, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_errno(world, "open on the disk", file);
	world->n_checks++;
	return fd;
}

static void check_range(struct world *world, struct file *file, const char *what, int fd,
			uint64_t offset, uint64_t length)
{
	static uint8_t found[MAX_SIZE];
	ssize_t n = pread(fd, found, length, (off_t)offset);

	model_check(world, file, what, found, n, offset, length);
}

void model_check_disk_range(struct world *world, struct file *file, const char *what,
			    uint64_t offset, uint64_t length)
{
	int fd = open_on_disk(world, file);

	if (fd < 0)
		return;
	check_range(world, file, what, fd, offset, length);
	close(fd);
}

void model_check_disk(struct world *world, struct file *file, const char *what)
{
	int fd = open_on_disk(world, file);
	struct stat attr;

	if (fd < 0)
		return;
	if (fstat(fd, &attr) != 0)
		fail_errno(world, "fstat on the disk", file);
	if ((uint64_t)attr.st_size != file->size)
		fail(world, "%s of file %d (%s): %lld bytes, expected %llu", what,
		     file_number(world, file), file->name, (long long)attr.st_size,
		     (unsigned long long)file->size);
	check_range(world, file, what, fd, 0, file->size);
	close(fd);
}
