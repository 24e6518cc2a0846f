/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log - format on the stack, limit per id, hand over to the sink (logsink.h).
 *
 * limit_lock, a leaf, guards limits[] and is held for bookkeeping only. The level is atomic, log_about()'s words are
 * the thread's. */
#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../conn/mutex.h"
#include "../conn/util.h"
#include "log.h"
#include "logsink.h"

static const int64_t limit_window_ns = 60 * NS_PER_S;

struct limit {
	int64_t since_ns;
	unsigned int n_written, n_suppressed;
};

static _Atomic(int) current_level = LEVEL_INFO;
static _Atomic(unsigned int) n_dropped; /* lines the sink did not take */
static _Thread_local int about_conn = -1;
static _Thread_local const char *about_op;

static struct mutex limit_lock = MUTEX_INIT;
static struct limit limits[MSG_COUNT];

static const char *const level_names[] = {
	[LEVEL_ERROR] = "error", [LEVEL_WARN] = "warn",   [LEVEL_INFO] = "info",
	[LEVEL_DEBUG] = "debug", [LEVEL_TRACE] = "trace",
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

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

int log_level_find(const char *name, enum log_level *ret_level)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (strcmp(level_names[i], name) == 0) {
			*ret_level = (enum log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- where to ---------------------------------------------------------------------------- */

void log_start(enum log_format format)
{
	bool journal = format == LOG_FORMAT_JOURNAL ||
		       (format == LOG_FORMAT_AUTO && logsink_is_journal(STDERR_FILENO));

	logsink_set(journal ? SINK_JOURNAL : format == LOG_FORMAT_JSON ? SINK_JSON : SINK_TEXT,
		    STDERR_FILENO, NULL);
}

bool log_detach(enum log_format format)
{
	if (format == LOG_FORMAT_AUTO && logsink_get() == SINK_TEXT)
		logsink_set(SINK_SYSLOG, -1, NULL);
	return logsink_get() == SINK_TEXT || logsink_get() == SINK_JSON;
}

void log_set_mount(const char *source, const char *mountpoint)
{
	logsink_set_mount(source, mountpoint);
}

void log_to_syslog(const char *path)
{
	logsink_set(SINK_SYSLOG, -1, path);
}

void log_to_fd(int fd)
{
	logsink_set(SINK_TEXT, fd, NULL);
}

void log_about(int conn, const char *op)
{
	about_conn = conn;
	about_op = op;
}

static void emit(const struct log_record *record)
{
	unsigned int dropped = atomic_exchange(&n_dropped, 0);

	if (dropped) {
		char text[64];
		struct log_record lost = { .level = LEVEL_WARN, .text = text, .conn = -1 };

		snprintf(text, sizeof(text), "%u log lines were lost", dropped);
		if (!logsink_write(&lost)) {
			atomic_fetch_add(&n_dropped, dropped + 1);
			return;
		}
	}
	if (!logsink_write(record))
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

static void emit_suppressed(enum log_level level, enum message_id id, unsigned int n)
{
	char text[80];
	struct log_record record = { .level = level, .id = id, .text = text, .conn = -1 };

	snprintf(text, sizeof(text), "%u more like the next were suppressed", n);
	emit(&record);
}

static void log_line(enum log_level level, enum message_id id, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static void log_line(enum log_level level, enum message_id id, const char *format, va_list args)
{
	enum { ID_ROOM = 64 };
	struct log_record record = { .level = level, .id = id, .conn = about_conn, .op = about_op };
	char text[LOG_LINE_MAX - ID_ROOM];
	int saved_errno = errno;
	unsigned int suppressed;

	log_about(-1, NULL);
	if (!log_enabled(level) || !log_allow(id, clock_ns(), &suppressed))
		goto out;
	if (suppressed)
		emit_suppressed(level, id, suppressed);
	errno = saved_errno;
	if (vsnprintf(text, sizeof(text), format, args) >= (int)sizeof(text))
		memcpy(text + sizeof(text) - sizeof("..."), "...", sizeof("..."));
	message_clean(text);
	record.text = text;
	emit(&record);
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

void log_report(const struct message *message, bool quiet)
{
	char text[LOG_LINE_MAX];
	struct log_record record = { .level = LEVEL_ERROR, .id = message->id, .text = text, .conn = -1 };

	if (message_severity(message->id) != SEVERITY_ERROR)
		record.level = message_severity(message->id) == SEVERITY_WARNING ? LEVEL_WARN : LEVEL_INFO;
	if (!quiet)
		record.message = message;
	snprintf(text, sizeof(text), "%s%.400s%s%.600s", message->action[0] ? "cannot " : "", message->action,
		 message->action[0] ? ": " : "", message->reason);
	if (logsink_get() == SINK_JSON || (logsink_get() == SINK_JOURNAL && logsink_is_journal(STDERR_FILENO))) {
		if (logsink_write(&record))
			return;
	} else if (logsink_get() == SINK_JOURNAL) {
		logsink_write(&record);
	}
	message_print(message, quiet, stderr);
}
