/* SPDX-License-Identifier: GPL-2.0-or-later */
/* emptyfuse - a file system whose operations do nothing: what FUSE itself costs.
 *
 *     emptyfuse MOUNTPOINT [SIZE]
 *
 * One directory with one file, "file", of SIZE bytes (default 1 GiB) that reads as the same bytes
 * from memory; writes vanish; any other name can be created and unlinked but is never found.
 * Attributes are not cached by the kernel (timeout 0), so that every call of the load generator is
 * a FUSE request; names of created files are, or their unlink would look them up.
 *
 * One thread, reading requests itself as fusenfs does (read + fuse_session_process_buf) but in a
 * blocking read rather than through epoll: the floor, not a model. Stays in the foreground; ends
 * when unmounted, and unmounts itself at SIGTERM or SIGINT. Needs root, as the benchmark does. */
#include <err.h>
#include <errno.h>
#include <fuse_lowlevel.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

enum { FILE_INO = 2, CREATED_INO = 3, MAX_IO = 1 << 20, REQUEST_MAX = MAX_IO + 4096 };

static const char *mountpoint;
static uint64_t file_size = UINT64_C(1) << 30;
static uint64_t created; /* so far; each one gets an inode number of its own */
static char content[MAX_IO] __attribute__((aligned(4096)));

static void fill_attr(struct stat *attr, fuse_ino_t ino)
{
	*attr = (struct stat){ .st_ino = ino, .st_nlink = 1, .st_mode = S_IFREG | 0644 };
	if (ino == FUSE_ROOT_ID)
		attr->st_mode = S_IFDIR | 0755;
	if (ino == FILE_INO)
		attr->st_size = (off_t)file_size;
}

static void fill_entry(struct fuse_entry_param *entry, fuse_ino_t ino)
{
	*entry = (struct fuse_entry_param){ .ino = ino };
	fill_attr(&entry->attr, ino);
}

static void empty_init(void *userdata, struct fuse_conn_info *kernel)
{
	/* What fusenfs asks for: no splice, no invalidation behind our back, parallel reads. */
	kernel->want &= ~(unsigned int)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
					FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	kernel->want |= kernel->capable & (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO);
#ifdef FUSE_CAP_HANDLE_KILLPRIV_V2
	kernel->want |= kernel->capable & FUSE_CAP_HANDLE_KILLPRIV_V2;
#endif
	kernel->max_write = MAX_IO;
	kernel->max_background = 256;
	kernel->congestion_threshold = 192;
}

static void empty_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry;

	if (parent != FUSE_ROOT_ID || strcmp(name, "file") != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill_entry(&entry, FILE_INO);
	fuse_reply_entry(req, &entry);
}

static void empty_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	struct stat attr;

	fill_attr(&attr, ino);
	fuse_reply_attr(req, &attr, 0);
}

static void empty_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	fuse_reply_open(req, file);
}

static void empty_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		       struct fuse_file_info *file)
{
	uint64_t left = (uint64_t)offset < file_size ? file_size - (uint64_t)offset : 0;

	fuse_reply_buf(req, content, size < left ? size : left);
}

static void empty_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
			struct fuse_file_info *file)
{
	fuse_reply_write(req, size);
}

static void empty_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *file)
{
	fuse_reply_err(req, 0);
}

static void empty_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	fuse_reply_err(req, 0);
}

static void empty_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
			 struct fuse_file_info *file)
{
	struct fuse_entry_param entry;

	fill_entry(&entry, CREATED_INO + created++);
	entry.entry_timeout = 60;
	fuse_reply_create(req, &entry, file);
}

static void empty_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops ops = {
	.init = empty_init,
	.lookup = empty_lookup,
	.getattr = empty_getattr,
	.open = empty_open,
	.read = empty_read,
	.write = empty_write,
	.fsync = empty_fsync,
	.flush = empty_flush,
	.create = empty_create,
	.unlink = empty_unlink,
};

/* Unmounting is what ends serve(): no race between a flag and a blocking read. */
static void on_signal(int number)
{
	int saved = errno;

	umount2(mountpoint, MNT_DETACH);
	errno = saved;
}

/* Reads and answers requests until the file system is unmounted. */
static void serve(struct fuse_session *session)
{
	struct fuse_buf request = { .mem = aligned_alloc(4096, REQUEST_MAX) };
	int fd = fuse_session_fd(session);

	if (!request.mem)
		err(1, "no memory");
	while (!fuse_session_exited(session)) {
		ssize_t n = read(fd, request.mem, REQUEST_MAX);

		if (n < 0 && errno == ENODEV)
			break;
		if (n < 0 && errno != EINTR && errno != ENOENT && errno != EAGAIN)
			err(1, "/dev/fuse");
		if (n <= 0)
			continue;
		request.size = (size_t)n;
		fuse_session_process_buf(session, &request);
	}
	free(request.mem);
}

int main(int argc, char **argv)
{
	char *words[] = { argv[0], (char[]){ "-ofsname=emptyfuse,subtype=emptyfuse" }, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, words);
	struct sigaction action = { .sa_handler = on_signal };
	struct fuse_session *session;

	if (argc < 2 || argc > 3)
		errx(2, "usage: emptyfuse MOUNTPOINT [SIZE]");
	mountpoint = realpath(argv[1], NULL);
	if (!mountpoint)
		err(1, "%s", argv[1]);
	if (argc == 3)
		file_size = parse_size(argv[2]);
	memset(content, 'e', sizeof(content)); /* the kernel's shared zero page is slow to pin */
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_session_mount(session, mountpoint) != 0)
		errx(1, "cannot mount on %s", mountpoint);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	serve(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return 0;
}
