/* SPDX-License-Identifier: GPL-2.0-or-later */
/* logsink - see logsink.h. A record is laid out on the stack of who logs, and handed over in one call.
 *
 * syslog(3) is not used: it waits while the log daemon's queue is full, and the log daemon may be waiting for a
 * file on this very mount. The datagram it would send is sent from here, MSG_DONTWAIT. stderr is asked with
 * poll(2) first, since it may be a pipe that nobody reads.
 *
 * sink_lock, a leaf, guards socket_fd and is held for non-blocking calls only. The sink itself is atomic. */
#include "logsink.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "../conn/mutex.h"
#include "../conn/util.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

/* A string of JSON may take six bytes for each of its own: there are at most six strings. */
enum { STRING_MAX = 1024, LAYOUT_MAX = 6 * 6 * STRING_MAX + 1024 };

static const struct {
	const char *prefix;
	int priority;
} levels[] = {
	[LEVEL_ERROR] = { "error: ", LOG_ERR },     [LEVEL_WARN] = { "warning: ", LOG_WARNING },
	[LEVEL_INFO] = { "", LOG_INFO },            [LEVEL_DEBUG] = { "debug: ", LOG_DEBUG },
	[LEVEL_TRACE] = { "trace: ", LOG_DEBUG },
};

static _Atomic(enum log_sink) current_sink = SINK_TEXT;
static _Atomic(int) text_fd = STDERR_FILENO;
static const char *source_name, *mountpoint_name;

static struct mutex sink_lock = MUTEX_INIT;
static int socket_fd = -1;
static struct sockaddr_un socket_addr = { .sun_family = AF_UNIX };

void logsink_set(enum log_sink sink, int fd, const char *path)
{
	tzset(); /* localtime_r() below shall not read files later */
	mutex_lock(&sink_lock);
	if (!path)
		path = sink == SINK_JOURNAL ? JOURNAL_SOCKET : "/dev/log";
	snprintf(socket_addr.sun_path, sizeof(socket_addr.sun_path), "%s", path);
	if (socket_fd >= 0)
		close(socket_fd);
	socket_fd = -1;
	mutex_unlock(&sink_lock);
	atomic_store(&text_fd, fd);
	atomic_store(&current_sink, sink);
}

enum log_sink logsink_get(void)
{
	return atomic_load(&current_sink);
}

void logsink_set_mount(const char *source, const char *mountpoint)
{
	source_name = source;
	mountpoint_name = mountpoint;
}

/* ---- layouts ----------------------------------------------------------------------------- */

struct layout {
	char *text;
	size_t size, n;
};

/* What does not fit is cut; the layouts are larger than what log.h lets through. */
static void put_bytes(struct layout *layout, const void *bytes, size_t n)
{
	n = min_size(n, layout->size - layout->n);
	memcpy(layout->text + layout->n, bytes, n);
	layout->n += n;
}

static void put(struct layout *layout, const char *text)
{
	put_bytes(layout, text, strlen(text));
}

static void put_text(struct layout *layout, const struct log_record *record)
{
	put(layout, record->text);
	if (record->id != MSG_NONE && record->id != MSG_MOUNTED && record->id != MSG_UNMOUNTED) {
		put(layout, " [");
		put(layout, message_id_name(record->id));
		put(layout, "]");
	}
}

/* Bytes of the UTF-8 character at text, or 0 if it is none (RFC 3629: no surrogates, no overlong forms). */
static size_t utf8_length(const unsigned char *text)
{
	static const struct {
		unsigned char first_low, first_high, second_low, second_high;
		size_t n;
	} forms[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};

	if (*text < 0x80)
		return 1;
	for (unsigned int i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t n = 2;

		if (*text < forms[i].first_low || *text > forms[i].first_high ||
		    text[1] < forms[i].second_low || text[1] > forms[i].second_high)
			continue;
		while (n < forms[i].n && (text[n] & 0xc0) == 0x80)
			n++;
		return n == forms[i].n ? n : 0;
	}
	return 0;
}

/* RFC 8259: a file name need not be UTF-8, but JSON has to. */
static void put_json_string(struct layout *layout, const char *text)
{
	const char *end = text + strnlen(text, STRING_MAX);
	char escaped[8];

	put(layout, "\"");
	while (text < end) {
		unsigned char byte = (unsigned char)*text;
		size_t n = utf8_length((const unsigned char *)text);

		if (!n) {
			put(layout, "\\ufffd");
		} else if (byte == '"' || byte == '\\' || byte < 0x20) {
			snprintf(escaped, sizeof(escaped), byte < 0x20 ? "\\u%04x" : "\\%c", byte);
			put(layout, escaped);
		} else {
			put_bytes(layout, text, n);
		}
		text += n ? n : 1;
	}
	put(layout, "\"");
}

static void put_json_key(struct layout *layout, const char *key, const char *text)
{
	if (!text || !*text)
		return;
	put(layout, ",\"");
	put(layout, key);
	put(layout, "\":");
	put_json_string(layout, text);
}

static void put_json_advice(struct layout *layout, const struct message *message)
{
	put_json_key(layout, "why", message->why);
	for (unsigned int i = 0; i < message->n_tries; i++) {
		put(layout, i ? "," : ",\"try\":[");
		put_json_string(layout, message->try[i]);
	}
	if (message->n_tries)
		put(layout, "]");
}

static void put_json(struct layout *layout, const struct log_record *record)
{
	char number[64] = "";
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	put(layout, "{\"time\":\"");
	layout->n += strftime(layout->text + layout->n, layout->size - layout->n, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(number, sizeof(number), ".%03ldZ\",\"pid\":%d", now.tv_nsec / 1000000, (int)getpid());
	put(layout, number);
	put_json_key(layout, "level", log_level_name(record->level));
	put_json_key(layout, "error", message_id_name(record->id));
	put_json_key(layout, "message", record->text);
	if (record->message)
		put_json_advice(layout, record->message);
	put_json_key(layout, "mount", mountpoint_name);
	put_json_key(layout, "source", source_name);
	if (record->conn >= 0) {
		snprintf(number, sizeof(number), ",\"conn\":%d", record->conn);
		put(layout, number);
	}
	put_json_key(layout, "op", record->op);
	put(layout, "}");
}

/* systemd.journal-fields(7); the form of a value with line feeds in it is that of JOURNAL_NATIVE_PROTOCOL. */
static void put_field(struct layout *layout, const char *name, const char *text)
{
	uint64_t n = text ? strlen(text) : 0;
	unsigned char little_endian[8];

	if (!n)
		return;
	put(layout, name);
	if (!strchr(text, '\n')) {
		put(layout, "=");
	} else {
		for (unsigned int i = 0; i < sizeof(little_endian); i++)
			little_endian[i] = (unsigned char)(n >> (8 * i));
		put(layout, "\n");
		put_bytes(layout, little_endian, sizeof(little_endian));
	}
	put(layout, text);
	put(layout, "\n");
}

static void put_advice(struct layout *layout, const struct message *message)
{
	if (message->why[0]) {
		put(layout, "\n  why: ");
		put(layout, message->why);
	}
	for (unsigned int i = 0; i < message->n_tries; i++) {
		put(layout, "\n  try: ");
		put(layout, message->try[i]);
	}
}

/* MESSAGE_ID is made from the id, which never changes: journalctl -x finds the explanation by it. */
static void put_journal(struct layout *layout, const struct log_record *record)
{
	char number[64], text[6 * MESSAGE_TEXT_MAX];
	struct layout line = { text, sizeof(text) - 1, 0 };

	snprintf(number, sizeof(number), "PRIORITY=%d\nSYSLOG_FACILITY=%d\n", levels[record->level].priority,
		 LOG_DAEMON >> 3);
	put(layout, number);
	put_field(layout, "SYSLOG_IDENTIFIER", "fusenfs");
	put_text(&line, record);
	if (record->message)
		put_advice(&line, record->message);
	text[line.n] = '\0';
	put_field(layout, "MESSAGE", text);
	put_field(layout, "FUSENFS_MOUNT", mountpoint_name);
	put_field(layout, "FUSENFS_SOURCE", source_name);
	put_field(layout, "FUSENFS_OP", record->op);
	if (record->conn >= 0) {
		snprintf(number, sizeof(number), "%d", record->conn);
		put_field(layout, "FUSENFS_CONN", number);
	}
	if (record->id != MSG_NONE) {
		put_field(layout, "FUSENFS_ERROR", message_id_name(record->id));
		put_field(layout, "MESSAGE_ID", message_id_128(record->id, number));
	}
}

/* Month names in English, whatever the locale. */
static void put_syslog(struct layout *layout, const struct log_record *record)
{
	static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					  "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t now = time(NULL);
	char head[64];
	struct tm tm;

	localtime_r(&now, &tm);
	snprintf(head, sizeof(head), "<%d>%s %2d %02d:%02d:%02d fusenfs[%d]: ",
		 LOG_DAEMON | levels[record->level].priority, months[tm.tm_mon % 12], tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec, (int)getpid());
	put(layout, head);
	put(layout, levels[record->level].prefix);
	put_text(layout, record);
}

/* ---- handing over ------------------------------------------------------------------------ */

static int socket_connect(const struct sockaddr_un *addr)
{
	cleanup(closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		return -errno;
	return steal_fd(&fd);
}

/* A restarted log daemon has a new socket behind the same name: connect again, once. */
static bool send_locked(const struct layout *layout) REQUIRES(sink_lock);
static bool send_locked(const struct layout *layout)
{
	for (int attempt = 0; attempt < 2; attempt++) {
		if (socket_fd < 0)
			socket_fd = socket_connect(&socket_addr);
		if (socket_fd < 0)
			return false;
		if (send(socket_fd, layout->text, layout->n, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
			return true;
		if (errno == EAGAIN || errno == ENOBUFS || errno == EMSGSIZE)
			return false;
		close(socket_fd);
		socket_fd = -1;
	}
	return false;
}

static bool send_datagram(const struct layout *layout)
{
	bool taken;

	mutex_lock(&sink_lock);
	taken = send_locked(layout);
	mutex_unlock(&sink_lock);
	return taken;
}

static bool write_line(struct layout *layout)
{
	struct pollfd ready = { .fd = atomic_load(&text_fd), .events = POLLOUT };

	layout->n = min_size(layout->n, layout->size - 1);
	put(layout, "\n");
	if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT))
		return false;
	return write(ready.fd, layout->text, layout->n) >= 0;
}

bool logsink_write(const struct log_record *record)
{
	char text[LAYOUT_MAX];
	struct layout layout = { text, sizeof(text), 0 };

	switch (logsink_get()) {
	case SINK_TEXT:
		put(&layout, "fusenfs: ");
		put(&layout, levels[record->level].prefix);
		put_text(&layout, record);
		return write_line(&layout);
	case SINK_JSON:
		put_json(&layout, record);
		return write_line(&layout);
	case SINK_SYSLOG:
		put_syslog(&layout, record);
		return send_datagram(&layout);
	case SINK_JOURNAL:
		put_journal(&layout, record);
		return send_datagram(&layout);
	}
	return false;
}

bool logsink_is_journal(int fd)
{
	static const struct sockaddr_un journal = { .sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET };
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;
	int probe_fd;

	if (!stream || sscanf(stream, "%ju:%ju", &device, &inode) != 2 || fstat(fd, &st) ||
	    device != st.st_dev || inode != st.st_ino)
		return false;
	probe_fd = socket_connect(&journal);
	closep(&probe_fd);
	return probe_fd >= 0;
}
