/* SPDX-License-Identifier: GPL-2.0-or-later */
/* notify - see notify.h. One connected socket, written by all threads, without a lock: a datagram is whole. */
#include "notify.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../conn/util.h"
#include "message.h"

enum { STATUS_MAX = 512, TEXT_MAX = STATUS_MAX + 32, PATIENCE_MS = 1000 };

static int notify_fd = -1; /* written once, before there are threads */
static int64_t watchdog_ns;

bool notify_is_wanted(void)
{
	const char *name = getenv("NOTIFY_SOCKET");

	return name && (*name == '/' || *name == '@');
}

static int connect_to(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	size_t n = strlen(name);
	cleanup(closep) int fd = -1;

	if (n >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, name, n);
	if (*name == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* The name ends where the address does: an abstract one is not terminated. */
	if (connect(fd, (const struct sockaddr *)&addr,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*name != '@'))))
		return -errno;
	return steal_fd(&fd);
}

/* sd_watchdog_enabled(3): of this process, or of whoever reads it. */
static int64_t watchdog_of_environment(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	unsigned long long value;
	char *end;

	if (!usec || (pid && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	errno = 0;
	value = strtoull(usec, &end, 10);
	return errno || *end || value > INT64_MAX / 1000 ? 0 : (int64_t)value * 1000;
}

void notify_open(void)
{
	if (notify_is_wanted())
		notify_fd = connect_to(getenv("NOTIFY_SOCKET"));
	if (notify_fd >= 0)
		watchdog_ns = watchdog_of_environment();
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

int64_t notify_watchdog_ns(void)
{
	return watchdog_ns;
}

/* A queue that is full empties when the manager reads. */
static void send_text(const char *text, int wait_ms)
{
	int64_t until_ns = clock_ns() + wait_ms * NS_PER_MS;
	const struct timespec pause = { .tv_nsec = 10 * NS_PER_MS };
	int saved_errno = errno;

	if (notify_fd < 0)
		return;
	while (send(notify_fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	       (errno == EAGAIN || errno == ENOBUFS || errno == EINTR) && clock_ns() < until_ns)
		nanosleep(&pause, NULL);
	errno = saved_errno;
}

/* A name of the server's, or a mount point, is no further line of the protocol. */
static void send_status(const char *first, const char *status, int wait_ms)
{
	char text[TEXT_MAX], line[STATUS_MAX];

	snprintf(line, sizeof(line), "%s", status);
	message_clean(line);
	snprintf(text, sizeof(text), "%sSTATUS=%s", first, line);
	send_text(text, wait_ms);
}

void notify_ready(const char *line)
{
	send_status("READY=1\n", line, PATIENCE_MS);
}

void notify_stopping(const char *line)
{
	send_status("STOPPING=1\n", line, PATIENCE_MS);
}

void notify_status(const char *format, ...)
{
	char line[STATUS_MAX];
	va_list args;

	if (notify_fd < 0)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	send_status("", line, 0);
}

void notify_alive(void)
{
	send_text("WATCHDOG=1", 0);
}

void notify_extend(int64_t ns)
{
	char text[64];

	snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%lld", (long long)(ns / 1000));
	send_text(text, 0);
}
