/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log - format on the stack, limit per id, hand over to one sink without waiting for it.
 *
 * syslog(3) is not used: it waits while the log daemon's queue is full, and the log daemon may be
 * waiting for a file on this very mount. The datagram it would send is sent from here,
 * MSG_DONTWAIT. stderr is asked with poll(2) first, since it may be a pipe that nobody reads.
 *
 * Locks, both leaves, held for bookkeeping and non-blocking calls only: limit_lock guards limits[],
 * sink_lock guards syslog_fd. The level and the sink are atomics. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "../conn/mutex.h"
#include "../conn/util.h"
#include "log.h"

static const int64_t limit_window_ns = 60 * NS_PER_S;

struct limit {
	int64_t since_ns;
	unsigned int n_written, n_suppressed;
};

static _Atomic(int) current_level = LEVEL_INFO;
static _Atomic(int) stderr_fd = STDERR_FILENO; /* -1: to syslog */
static _Atomic(unsigned int) n_dropped;        /* lines the sink did not take */

static struct mutex limit_lock = MUTEX_INIT;
static struct limit limits[MSG_COUNT];

static struct mutex sink_lock = MUTEX_INIT;
static int syslog_fd = -1;
static struct sockaddr_un syslog_addr = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };

static const struct {
	const char *name, *prefix;
	int priority;
} levels[] = {
	[LEVEL_ERROR] = { "error", "error: ", LOG_ERR },
	[LEVEL_WARN] = { "warn", "warning: ", LOG_WARNING },
	[LEVEL_INFO] = { "info", "", LOG_INFO },
	[LEVEL_DEBUG] = { "debug", "debug: ", LOG_DEBUG },
	[LEVEL_TRACE] = { "trace", "trace: ", LOG_DEBUG },
};

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&current_level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return level <= log_get_level();
}

int log_level_find(const char *name, enum log_level *ret_level)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(levels); i++) {
		if (strcmp(levels[i].name, name) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- sinks ------------------------------------------------------------------------------- */

void log_to_syslog(const char *path)
{
	tzset(); /* localtime_r() below shall not read files later */
	mutex_lock(&sink_lock);
	snprintf(syslog_addr.sun_path, sizeof(syslog_addr.sun_path), "%s",
		 path ? path : "/dev/log");
	if (syslog_fd >= 0)
		close(syslog_fd);
	syslog_fd = -1;
	mutex_unlock(&sink_lock);
	atomic_store(&stderr_fd, -1);
}

void log_to_fd(int fd)
{
	atomic_store(&stderr_fd, fd);
}

static int syslog_connect(void)
{
	cleanup(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&syslog_addr, sizeof(syslog_addr)))
		return -errno;
	return steal_fd(&fd);
}

/* A restarted log daemon has a new socket behind the same name: connect again, once. */
static bool syslog_send_locked(const char *line, size_t n) REQUIRES(sink_lock);
static bool syslog_send_locked(const char *line, size_t n)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		if (syslog_fd < 0)
			syslog_fd = syslog_connect();
		if (syslog_fd < 0)
			return false;
		if (send(syslog_fd, line, n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return true;
		if (errno == EAGAIN || errno == ENOBUFS || errno == EMSGSIZE)
			return false;
		close(syslog_fd);
		syslog_fd = -1;
	}
	return false;
}

/* The form of RFC 3164, as every local log daemon reads it; month names in English. */
static bool write_syslog(enum log_level level, const char *text)
{
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	char line[LOG_LINE_MAX + 128];
	time_t now = time(NULL);
	struct tm tm;
	bool taken;
	int n;

	localtime_r(&now, &tm);
	n = snprintf(line, sizeof(line), "<%d>%s %2d %02d:%02d:%02d fusenfs[%d]: %s%s",
		     LOG_DAEMON | levels[level].priority, months[tm.tm_mon % 12], tm.tm_mday,
		     tm.tm_hour, tm.tm_min, tm.tm_sec, (int)getpid(), levels[level].prefix, text);
	mutex_lock(&sink_lock);
	taken = syslog_send_locked(line, min_size((size_t)n, sizeof(line) - 1));
	mutex_unlock(&sink_lock);
	return taken;
}

static bool write_fd(int fd, enum log_level level, const char *text)
{
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	char line[LOG_LINE_MAX + 64];
	int n = snprintf(line, sizeof(line), "fusenfs: %s%s\n", levels[level].prefix, text);

	if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
		return false;
	return write(fd, line, min_size((size_t)n, sizeof(line) - 1)) >= 0;
}

static bool write_line(enum log_level level, const char *text)
{
	int fd = atomic_load(&stderr_fd);

	return fd >= 0 ? write_fd(fd, level, text) : write_syslog(level, text);
}

static void emit(enum log_level level, const char *text)
{
	unsigned int dropped = atomic_exchange(&n_dropped, 0);

	if (dropped) {
		char lost[64];

		snprintf(lost, sizeof(lost), "%u log lines were lost", dropped);
		if (!write_line(LEVEL_WARN, lost)) {
			atomic_fetch_add(&n_dropped, dropped + 1);
			return;
		}
	}
	if (!write_line(level, text))
		atomic_fetch_add(&n_dropped, 1);
}

/* ---- lines ------------------------------------------------------------------------------- */

bool log_allow(enum message_id id, int64_t now_ns, unsigned int *ret_suppressed)
{
	struct limit *limit = &limits[id];
	bool allowed = true;

	*ret_suppressed = 0;
	if (id == MSG_NONE)
		return true;
	mutex_lock(&limit_lock);
	if (!limit->n_written || now_ns - limit->since_ns >= limit_window_ns) {
		*ret_suppressed = limit->n_suppressed;
		*limit = (struct limit){ .since_ns = now_ns, .n_written = 1 };
	} else if (limit->n_written < LOG_BURST) {
		limit->n_written++;
	} else {
		limit->n_suppressed++;
		allowed = false;
	}
	mutex_unlock(&limit_lock);
	return allowed;
}

static void add_id(char text[LOG_LINE_MAX], enum message_id id)
{
	size_t used = strlen(text);

	if (id != MSG_NONE)
		snprintf(text + used, LOG_LINE_MAX - used, " [%s]", message_id_name(id));
}

static void log_line(enum log_level level, enum message_id id, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static void log_line(enum log_level level, enum message_id id, const char *format, va_list args)
{
	enum { ID_ROOM = 64 };
	int saved_errno = errno;
	unsigned int suppressed;
	char text[LOG_LINE_MAX];
	int n;

	if (!log_enabled(level) || !log_allow(id, clock_ns(), &suppressed))
		goto out;
	if (suppressed) {
		snprintf(text, sizeof(text), "%u more like the next were suppressed", suppressed);
		add_id(text, id);
		emit(level, text);
	}
	errno = saved_errno;
	n = vsnprintf(text, sizeof(text) - ID_ROOM, format, args);
	if (n >= (int)sizeof(text) - ID_ROOM)
		memcpy(text + sizeof(text) - ID_ROOM - sizeof("..."), "...", sizeof("..."));
	message_clean(text);
	if (level <= LEVEL_WARN)
		add_id(text, id);
	emit(level, text);
out:
	errno = saved_errno;
}

void log_error(enum message_id id, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LEVEL_ERROR, id, format, args);
	va_end(args);
}

void log_warn(enum message_id id, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LEVEL_WARN, id, format, args);
	va_end(args);
}

void log_info(enum message_id id, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LEVEL_INFO, id, format, args);
	va_end(args);
}

void log_debug(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LEVEL_DEBUG, MSG_NONE, format, args);
	va_end(args);
}

void log_trace(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_line(LEVEL_TRACE, MSG_NONE, format, args);
	va_end(args);
}

void log_message(const struct message *message)
{
	const char *colon = message->action[0] ? ": " : "";
	const char *cannot = message->action[0] ? "cannot " : "";

	switch (message_severity(message->id)) {
	case SEVERITY_ERROR:
		log_error(message->id, "%s%s%s%s", cannot, message->action, colon, message->reason);
		break;
	case SEVERITY_WARNING:
		log_warn(message->id, "%s", message->reason);
		break;
	case SEVERITY_NOTICE:
		log_info(message->id, "%s", message->reason);
		break;
	}
}

void log_advice(const struct message *message)
{
	if (message->why[0])
		log_info(MSG_NONE, "why: %s", message->why);
	for (unsigned int i = 0; i < message->n_tries; i++)
		log_info(MSG_NONE, "try: %s", message->try[i]);
}
