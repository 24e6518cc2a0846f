/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev - see dev.h. The buffer a request is read into is laid out so that the payload of a WRITE
 * begins on a page: [pad][fuse_in_header][fuse_write_in][payload...].
 *
 * Readers. A loop that has answered a request is often still on its way to sleep when the next one
 * comes, so the kernel wakes another loop, in vain: the first one sees the request, too. With one
 * program at work that is every second time, and waking costs more than the request. So a loop that
 * keeps finding nothing stops watching, as long as another one watches, and watches again when the
 * others have several requests at once. */
#include "dev.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../conn/conn.h"
#include "../conn/util.h"
#include "buffer.h"
#include "fs.h"
#include "log.h"
#include "request.h"

enum {
	PAGE = 4096,
	HEADERS = sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in),
	PAD = PAGE - HEADERS,
	/* The kernel refuses to be read with less than this, whatever the request (dev.c). */
	READ_MIN_EXTRA = PAGE,
	EMPTY_MAX = 4,   /* reads in vain, before a reader pauses */
	CROWD = 3,       /* requests at a time, for which all shall read */
};

static const int64_t WATCH_MIN_NS = 100 * NS_PER_MS;

struct dev {
	struct fs *fs;
	struct devs *devs;
	struct loop *loop;
	struct loop_watch watch;
	bool owned;           /* a clone, closed here */
	struct loop_task start;
	unsigned int n_empty;  /* reads that found nothing, in a row */
	int64_t watching_ns;   /* since when it watches */
	_Atomic(bool) paused;  /* it does not; whoever clears this posts start */
	uint8_t *memory;      /* PAD + HEADERS + max_write + slack; NULL after a steal without memory */
};

struct devs {
	struct fs *fs;
	void (*on_gone)(struct fs *fs);
	_Atomic(bool) gone;
	_Atomic(unsigned int) n_watching;
	unsigned int n;
	struct dev dev[POOL_MAX_LOOPS];
};

/* What this thread is delivering, and where its replies go. */
static _Thread_local struct {
	struct fs *fs;
	struct dev *dev;
	uint64_t unique;
	uint32_t opcode;
	int reply_fd;
	bool is_silent;
} current = { .reply_fd = -1 };

/* INIT flags the kernel offered; written once before there are threads. */
static uint32_t init_offered;
static bool init_answered;

/* From 3.18.3 on libfuse is built without custom_io, unless asked to. All loops then read the session's
 * own descriptor, where its replies leave: right, only slower. It sends the INIT flags it wants. */
static bool has_hook;

int dev_current_fd(void)
{
	return current.dev ? current.dev->watch.fd : current.reply_fd;
}

uint64_t dev_current_unique(void)
{
	return current.unique;
}

uint32_t dev_current_opcode(void)
{
	return current.opcode;
}

struct fs *dev_current_fs(void)
{
	return current.fs;
}

void dev_reply_to(int fd)
{
	current.reply_fd = fd;
}

void dev_fall_silent(void)
{
	current.is_silent = true;
}

bool dev_is_silent(void)
{
	return current.is_silent;
}

/* ---- replies ----------------------------------------------------------------------------- */

/* libfuse 3.14 wants these but never sends them. Without the first, lookups in one directory are made
 * one by one; without the second the kernel sends SETATTR(mode) for a stranger's write(2) to a setuid
 * file, which the server must refuse him. */
static void amend_init_reply(struct iovec *iov, int count)
{
	struct fuse_init_out *out;

	if (count < 2 || iov[1].iov_len < offsetof(struct fuse_init_out, flags) + sizeof(out->flags))
		return;
	out = iov[1].iov_base;
	out->flags |= init_offered & (FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV);
	init_answered = true;
}

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata UNUSED)
{
	if (current.is_silent) {
		errno = ENOENT; /* as if it had been interrupted: libfuse says nothing about that */
		return -1;
	}
	if (!init_answered)
		amend_init_reply(iov, count);
	return writev(current.reply_fd >= 0 ? current.reply_fd : fd, iov, count);
}

static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata UNUSED)
{
	return read(fd, buffer, size);
}

/* For what libfuse says when it has no custom_io: that is not for users. */
static void no_log(enum fuse_log_level level UNUSED, const char *format UNUSED, va_list args UNUSED)
{
}

int dev_init_session(struct fuse_session *session)
{
	static const struct fuse_custom_io io = { .writev = write_reply, .read = read_request };
	int error;

	fuse_set_log_func(no_log);
	error = fuse_session_custom_io(session, &io, fuse_session_fd(session));
	fuse_set_log_func(NULL);
	has_hook = !error;
	return error && error != -ENOTSUP ? -EINVAL : 0;
}

/* ---- buffers ----------------------------------------------------------------------------- */

static uint8_t *new_memory(const struct fs *fs)
{
	return buffer_get(PAGE + fs->max_write + READ_MIN_EXTRA);
}

void *dev_steal_buffer(const void *data)
{
	struct dev *dev = current.dev;
	uint8_t *memory, *fresh;

	if (!dev || (const uint8_t *)data < dev->memory ||
	    (const uint8_t *)data >= dev->memory + PAGE + dev->fs->max_write)
		return NULL;
	fresh = new_memory(dev->fs);
	if (!fresh)
		return NULL;
	memory = dev->memory;
	dev->memory = fresh;
	return memory;
}

/* ---- requests ---------------------------------------------------------------------------- */

static void deliver(struct fs *fs, uint8_t *request, size_t size)
{
	const struct fuse_in_header *header = (const void *)request;

	if (size >= sizeof(*header) + sizeof(struct fuse_interrupt_in) &&
	    header->opcode == FUSE_INTERRUPT && fs->requests) {
		const struct fuse_interrupt_in *in = (const void *)(header + 1);

		request_interrupt(fs->requests, in->unique);
		return;
	}
	current.fs = fs;
	current.unique = header->unique;
	current.opcode = header->opcode;
	fuse_session_process_buf(fs->session,
				 &(struct fuse_buf){ .mem = request, .size = size, .fd = -1 });
}

static void session_gone(struct devs *devs)
{
	for (unsigned int i = 0; i < devs->n; i++)
		if (devs->dev[i].loop == loop_current())
			loop_watch_del(devs->dev[i].loop, &devs->dev[i].watch);
	if (!atomic_exchange(&devs->gone, true))
		devs->on_gone(devs->fs);
}

/* True if another one is left. */
static bool leave_watchers(struct devs *devs)
{
	unsigned int n = atomic_load(&devs->n_watching);

	while (n > 1)
		if (atomic_compare_exchange_weak(&devs->n_watching, &n, n - 1))
			return true;
	return false;
}

static void found_nothing(struct dev *dev)
{
	if (++dev->n_empty < EMPTY_MAX || loop_now_ns(dev->loop) - dev->watching_ns < WATCH_MIN_NS ||
	    !leave_watchers(dev->devs))
		return;
	loop_watch_del(dev->loop, &dev->watch);
	atomic_store(&dev->paused, true);
}

static void found_one(struct dev *dev)
{
	struct devs *devs = dev->devs;

	dev->n_empty = 0;
	if (atomic_load_explicit(&devs->n_watching, memory_order_relaxed) == devs->n ||
	    atomic_load_explicit(&devs->fs->n_requests, memory_order_relaxed) < CROWD - 1)
		return;
	for (unsigned int i = 0; i < devs->n; i++)
		if (atomic_exchange(&devs->dev[i].paused, false))
			loop_post(devs->dev[i].loop, &devs->dev[i].start);
}

/* One request a turn: a second read(2) mostly finds nothing, and what it would find another idle
 * loop can take. An EPOLLIN must be answered by a read all the same (fuse.md section 1). */
static void dev_ready(struct loop_watch *watch, uint32_t events UNUSED)
{
	struct dev *dev = container_of(watch, struct dev, watch);
	ssize_t n = read(dev->watch.fd, dev->memory + PAD, dev->fs->max_write + READ_MIN_EXTRA);

	if (n < 0 && errno == ENODEV)
		session_gone(dev->devs);
	if (n < 0 && errno == EAGAIN)
		found_nothing(dev);
	if (n < (ssize_t)sizeof(struct fuse_in_header))
		return;
	found_one(dev);
	current.dev = dev;
	current.reply_fd = dev->watch.fd;
	deliver(dev->fs, dev->memory + PAD, (size_t)n);
	current.dev = NULL;
}

/* ---- opening ----------------------------------------------------------------------------- */

int dev_handshake(struct fs *fs)
{
	cleanup(freep) uint8_t *memory = aligned_alloc(PAGE, PAGE + MIB(1) + PAGE);
	int fd = fuse_session_fd(fs->session);

	if (!memory)
		return -ENOMEM;
	while (!init_answered) {
		const struct fuse_init_in *in;
		ssize_t n = read(fd, memory + PAD, MIB(1) + READ_MIN_EXTRA);

		if (n < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			return n < 0 ? -errno : -EIO;
		in = (const void *)(memory + PAD + sizeof(struct fuse_in_header));
		if (n >= (ssize_t)(sizeof(struct fuse_in_header) + 16))
			init_offered = in->flags;
		current.reply_fd = fd;
		deliver(fs, memory + PAD, (size_t)n);
		if (fuse_session_exited(fs->session))
			return -EPROTO;
		if (!has_hook)
			init_answered = true; /* INIT is the first request */
	}
	return 0;
}

static int clone_fd(int session_fd)
{
	uint32_t source = (uint32_t)session_fd;
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, FUSE_DEV_IOC_CLONE, &source)) {
		close(fd);
		return -EOPNOTSUPP;
	}
	return fd;
}

int dev_clone(struct fuse_session *session)
{
	return has_hook ? clone_fd(fuse_session_fd(session)) : -ENOTSUP;
}

static int set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? -errno : 0;
}

/* The first loop has the session's own descriptor; the others clones of it, or share it where a
 * container forbids cloning. */
static int open_dev(struct devs *devs, struct dev *dev, unsigned int index)
{
	int session_fd = fuse_session_fd(devs->fs->session);

	dev->watch.fd = session_fd;
	if (index > 0) {
		int fd = has_hook ? clone_fd(session_fd) : -ENOTSUP;

		if (fd >= 0) {
			dev->watch.fd = fd;
			dev->owned = true;
		} else {
			log_debug("no FUSE_DEV_IOC_CLONE: error %d; loops share one descriptor", -fd);
			dev->watch.fd = fcntl(session_fd, F_DUPFD_CLOEXEC, 3);
			dev->owned = dev->watch.fd >= 0;
		}
	}
	dev->memory = new_memory(devs->fs);
	if (!dev->memory)
		return -ENOMEM;
	return dev->watch.fd < 0 ? -errno : set_nonblocking(dev->watch.fd);
}

/* Watches are added from the loops' own threads: they are running. */
static void start_run(struct loop_task *task)
{
	struct dev *dev = container_of(task, struct dev, start);
	int error = loop_watch_add(dev->loop, &dev->watch, EPOLLIN | EPOLLEXCLUSIVE);

	dev->n_empty = 0;
	dev->watching_ns = loop_now_ns(dev->loop);
	atomic_fetch_add(&dev->devs->n_watching, 1);
	if (error)
		log_error(MSG_SYSTEM, "epoll_ctl(2) on a FUSE descriptor: error %d", -error);
}

int devs_open(struct fs *fs, void (*on_gone)(struct fs *fs), struct devs **ret_devs)
{
	struct devs *devs = calloc(1, sizeof(*devs));
	int error = devs ? 0 : -ENOMEM;

	if (error)
		return error;
	*devs = (struct devs){ .fs = fs, .on_gone = on_gone };
	devs->n = pool_n_loops(fs->pool);
	for (unsigned int i = 0; i < devs->n; i++)
		devs->dev[i] = (struct dev){
			.fs = fs,
			.devs = devs,
			.loop = pool_loop(fs->pool, i),
			.watch = { .fd = -1, .priority = LOOP_LAST, .ready = dev_ready },
			.start = { .run = start_run },
		};
	for (unsigned int i = 0; i < devs->n && !error; i++)
		error = open_dev(devs, &devs->dev[i], i);
	if (error) {
		devs_close(devs);
		return error;
	}
	for (unsigned int i = 0; i < devs->n; i++)
		loop_post(devs->dev[i].loop, &devs->dev[i].start);
	*ret_devs = devs;
	return 0;
}

void devs_close(struct devs *devs)
{
	if (!devs)
		return;
	for (unsigned int i = 0; i < devs->n; i++) {
		if (devs->dev[i].owned)
			close(devs->dev[i].watch.fd);
		buffer_put(devs->dev[i].memory);
	}
	buffer_trim_all();
	free(devs);
}
