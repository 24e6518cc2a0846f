/* SPDX-License-Identifier: GPL-2.0-or-later */
/* notify - what the service manager is told, by sd_notify(3)'s protocol: datagrams of NAME=VALUE lines to the
 * socket that $NOTIFY_SOCKET names ("/path", or "@name" in the abstract name space; a vsock is left alone).
 *
 *	READY=1                 the mount point is live (with bg: whether or not there is a server)
 *	STATUS=...              the state of the server and the connections, for `systemctl status`
 *	WATCHDOG=1              the loops are alive (watchdog.h)
 *	EXTEND_TIMEOUT_USEC=... starting or ending takes longer: the server is looked for, data is saved
 *	STOPPING=1              the mount ends, whoever wanted that
 *
 * Written here because it is thirty lines, and libsystemd a dependency of every container. Nothing waits: a
 * manager that does not read loses a line of status; but READY=1 and STOPPING=1 get a second. Any thread once
 * notify_open() was called; without it, or without a manager, everything does nothing. */
#ifndef FUSE_NOTIFY_H
#define FUSE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* notify_is_wanted - $NOTIFY_SOCKET is set: then fusenfs stays in the foreground by itself. */
bool notify_is_wanted(void);
/* notify_open - take the variables of the protocol out of the environment, so that no child uses them. In the
 * process that serves, before it has threads. */
void notify_open(void);
/* notify_watchdog_ns - a sign of life is expected this often ($WATCHDOG_USEC); 0: none is. */
int64_t notify_watchdog_ns(void);

/* notify_ready - once. line is the first STATUS. notify_stopping - likewise, at the end. */
void notify_ready(const char *line);
void notify_stopping(const char *line);
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));
void notify_alive(void);
/* notify_extend - starting or ending may take so long from now. */
void notify_extend(int64_t ns);

#endif
