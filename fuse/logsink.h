/* SPDX-License-Identifier: GPL-2.0-or-later */
/* logsink - where lines of the log go, and what they look like there. Private to log.c.
 *
 *	text	   fusenfs: warning: nfs: server nas1 not responding, timed out [server-down]; the id, by which
 *		   `fusenfs help` finds more, is on every line but those of the beginning and the end
 *	json	   {"time":"2026-11-27T23:48:12.345Z","level":"warn","error":"server-down","message":"nfs: ...",
 *		   "mount":"/mnt","source":"nas1:/data","pid":812}; one line each. More keys where they are known:
 *		   "conn" (number of the connection), "op" (operation), "why", "try" (an array)
 *	syslog	   RFC 3164 as every local log daemon reads it, facility daemon, no stamp of the kernel's
 *	journal	   a datagram of systemd's native protocol with the same as fields: FUSENFS_MOUNT FUSENFS_SOURCE
 *		   FUSENFS_ERROR FUSENFS_CONN FUSENFS_OP, and PRIORITY SYSLOG_IDENTIFIER MESSAGE MESSAGE_ID
 *
 * Nothing waits: a line that is not taken at once is not taken. Any thread. */
#ifndef FUSE_LOGSINK_H
#define FUSE_LOGSINK_H

#include "log.h"

struct log_record {
	enum log_level level;
	enum message_id id;            /* MSG_NONE: none */
	const char *text;              /* one line; without prefix and id */
	const struct message *message; /* with why and try; NULL */
	int conn;                      /* -1: none */
	const char *op;                /* NULL: none */
};

enum log_sink { SINK_TEXT, SINK_JSON, SINK_SYSLOG, SINK_JOURNAL };

/* logsink_set - from now on. fd: of text and json; path: of the socket, NULL: the usual one. A socket that
 * cannot be reached (yet) is tried again with each line. */
void logsink_set(enum log_sink sink, int fd, const char *path);
enum log_sink logsink_get(void);
/* logsink_set_mount - for the keys mount and source; borrowed. Before there are threads. */
void logsink_set_mount(const char *source, const char *mountpoint);

/* logsink_write - false: it was not taken. */
bool logsink_write(const struct log_record *record);

/* logsink_is_journal - is this descriptor the journal's stream ($JOURNAL_STREAM), and its socket there? */
bool logsink_is_journal(int fd);

#endif
