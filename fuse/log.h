/* SPDX-License-Identifier: GPL-2.0-or-later */
/* log - lines for the administrator: about five in the life of a mount.
 *
 *	fusenfs: error: 12 MB for 'x' discarded after 300 s without server [write-lost]
 *	fusenfs: warning: nfs: server nas1 not responding, timed out [server-down]
 *	fusenfs: nas1:/data mounted on /mnt (NFSv3, 4 connections, rsize 1M)
 *
 * To stderr as text, unless log_start() finds or is told something better: JSON lines, the journal; to syslog
 * once there is no terminal any more. Loops log, so nothing here waits: a line that the pipe or the log daemon does
 * not take at once is dropped and counted, and the count is told with the next line. That matters most when the
 * log lives on our own mount.
 * Lines with an id are limited to LOG_BURST per id and minute; what was suppressed is told later.
 *
 * Any thread, no lock held while writing. %m works. errno is preserved. */
#ifndef FUSE_LOG_H
#define FUSE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "message.h"

/* Named so that they clash neither with syslog(3)'s LOG_* nor with libfuse's FUSE_LOG_*. */
enum log_level { LEVEL_ERROR, LEVEL_WARN, LEVEL_INFO, LEVEL_DEBUG, LEVEL_TRACE };

enum { LOG_BURST = 10, LOG_LINE_MAX = 1024 };

/* log_set_level - any thread, at any time. The level is LEVEL_INFO before. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* log_enabled - whether such a line would be written; for work done only to log. */
bool log_enabled(enum log_level level);
const char *log_level_name(enum log_level level);
/* log_level_find - "info" -> LEVEL_INFO. 0 or -EINVAL. */
int log_level_find(const char *name, enum log_level *ret_level);

/* --log-format. AUTO: the journal if stderr is it; else text on stderr, and syslog in the background. */
enum log_format { LOG_FORMAT_AUTO, LOG_FORMAT_TEXT, LOG_FORMAT_JSON, LOG_FORMAT_JOURNAL };

/* log_start - where lines go from now on, stderr being somebody's. log_detach - nobody reads stderr any more: true
 * if lines still go there, as was asked for. log_set_mount - what the lines are about; borrowed. All before threads
 * are started. */
void log_start(enum log_format format);
bool log_detach(enum log_format format);
void log_set_mount(const char *source, const char *mountpoint);

/* log_to_syslog - to the datagram socket at path (NULL: /dev/log). A log daemon that is not there (yet) is
 * tried again with later lines. log_to_fd - to a descriptor such as 2, as text. Before threads are started. */
void log_to_syslog(const char *path);
void log_to_fd(int fd);

/* log_about - the next line of this thread is about a connection (-1: none) and an operation such as "RENAME"
 * (NULL: none), for the keys conn and op. */
void log_about(int conn, const char *op);

/* The id may be MSG_NONE. */
void log_error(enum message_id id, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_warn(enum message_id id, const char *format, ...) __attribute__((format(printf, 2, 3)));
void log_info(enum message_id id, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* No id, no limit; off by default. */
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* log_message - the same record as a line: level by its severity, first line only. */
void log_message(const struct message *message);
/* log_advice - its other lines: why, and what to try. */
void log_advice(const struct message *message);

/* log_report - for whoever has started us, when it is not to be: as text on stderr, only its first line if quiet,
 * and as a record where records go. */
void log_report(const struct message *message, bool quiet);

/* log_allow - the limiter by itself: may a line with this id be written at now_ns? If so,
 * *ret_suppressed is how many were not since the last one that was. For tests. */
bool log_allow(enum message_id id, int64_t now_ns, unsigned int *ret_suppressed);

#endif
