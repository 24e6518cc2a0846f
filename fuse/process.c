/* SPDX-License-Identifier: GPL-2.0-or-later */
/* process - see process.h. */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../conn/util.h"
#include "log.h"

enum {
	OOM_SCORE_ADJ = -500,
	KERNEL_TIMEOUT_MIN_S = 15, /* FUSE_TIMEOUT_TIMER_FREQ: the kernel looks that often */
};

static const size_t TRIM_BYTES = MIB(4);

/* The sanitizers' shadow memory is let go of by madvise(2), which locked memory refuses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static bool is_locked; /* the main thread's */

/* A number in a file of /proc; 0 or -errno. */
static int read_number(const char *path, long long *ret_value)
{
	cleanup(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[32];
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	*ret_value = strtoll(text, NULL, 10);
	return 0;
}

static void lower_oom_score(void)
{
	static const char path[] = "/proc/self/oom_score_adj";
	cleanup(closep) int fd = -1;
	long long present = 0;
	char text[16];
	int n;

	if (read_number(path, &present) || present <= OOM_SCORE_ADJ)
		return;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	n = snprintf(text, sizeof(text), "%d", OOM_SCORE_ADJ);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		log_debug("oom_score_adj stays %lld: error %d", present, errno);
}

/* Whether more can be mapped than RLIMIT_MEMLOCK allows, now that all of it is locked: with
 * CAP_IPC_LOCK it can, though not in a user namespace, whatever the capabilities say there. */
static bool may_exceed(rlim_t limit)
{
	size_t size = (size_t)limit + MIB(1);
	void *memory;

	if (limit == RLIM_INFINITY)
		return true;
	if (limit > SIZE_MAX / 2)
		return false;
	memory = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED)
		return false;
	munmap(memory, size);
	return true;
}

static bool lock_pages(void)
{
	return !mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

static void lock_memory(void)
{
	struct rlimit none = { RLIM_INFINITY, RLIM_INFINITY }, limit;

	setrlimit(RLIMIT_MEMLOCK, &none); /* if that is permitted */
	if (SANITIZED || getrlimit(RLIMIT_MEMLOCK, &limit))
		return;
	is_locked = lock_pages();
	if (!is_locked) {
		log_debug("memory is not locked: error %d", errno);
	} else if (!may_exceed(limit.rlim_cur)) {
		munlockall();
		is_locked = false;
	}
}

/* What is free inside of an arena can be given back by madvise(2) alone, which refuses locked pages. It counts as
 * free afterwards, too: only what has been added since is worth another attempt. */
void process_trim(void)
{
	static size_t trimmed;
	size_t free_bytes = SANITIZED ? 0 : mallinfo2().fordblks;

	trimmed = min_size(trimmed, free_bytes);
	if (free_bytes - trimmed < TRIM_BYTES)
		return;
	if (is_locked)
		munlockall();
	malloc_trim(KIB(256));
	if (is_locked)
		is_locked = lock_pages();
	trimmed = mallinfo2().fordblks;
}

static void raise_n_files(void)
{
	struct rlimit files;

	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

void process_protect(void)
{
#ifdef PR_SET_IO_FLUSHER
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
#endif
	lower_oom_score();
	lock_memory();
	raise_n_files();
	if (chdir("/"))
		log_debug("chdir(\"/\"): error %d", errno);
}

/* As the kernel's init_server_timeout(); and a fifth less than that. */
int64_t process_limit_of(uint64_t default_s, uint64_t max_s)
{
	uint64_t limit_s = default_s ? default_s : max_s;

	if (!limit_s)
		return INT64_MAX;
	if (max_s && limit_s > max_s)
		limit_s = max_s;
	if (limit_s < KERNEL_TIMEOUT_MIN_S)
		limit_s = KERNEL_TIMEOUT_MIN_S;
	return (int64_t)limit_s * NS_PER_S / 10 * 8;
}

int64_t process_call_limit_ns(void)
{
	long long default_s = 0, max_s = 0;
	int64_t limit_ns;

	if (read_number("/proc/sys/fs/fuse/default_request_timeout", &default_s))
		default_s = 0;
	if (read_number("/proc/sys/fs/fuse/max_request_timeout", &max_s))
		max_s = 0;
	limit_ns = process_limit_of((uint64_t)max_i64(default_s, 0), (uint64_t)max_i64(max_s, 0));
	if (limit_ns != INT64_MAX)
		log_warn(MSG_KERNEL_TIMEOUT,
			 "fs.fuse.%s=%lld would abort this mount: calls end after %g s instead",
			 default_s ? "default_request_timeout" : "max_request_timeout",
			 default_s ? default_s : max_s, (double)limit_ns / 1e9);
	return limit_ns;
}

int process_children_fd(void)
{
	sigset_t set;

	if (getpid() != 1)
		return -1;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void process_reap(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) > 0)
		; /* one for many */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}
