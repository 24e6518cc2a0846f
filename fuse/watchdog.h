/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watchdog - tells the service manager that the loops run, all of them, and nothing else.
 *
 * A token goes from loop to loop as a task and back to the first, which then tells (notify_alive()) and sends
 * it off again after a third of the time that the manager allows ($WATCHDOG_USEC, systemd's WatchdogSec). A loop
 * that is stuck keeps the token, and the manager restarts the service. No call of the token's waits for the
 * server, the kernel or the main thread: a server that is down never costs a restart.
 *
 * The token belongs to the loop that has it: no lock. */
#ifndef FUSE_WATCHDOG_H
#define FUSE_WATCHDOG_H

#include "../conn/conn.h"

struct watchdog;

/* watchdog_start - of a pool's loops, if the manager wants it: 0 with *ret_watchdog NULL if not. 0 or -ENOMEM.
 * watchdog_free - the loops have stopped, or are freed. Takes NULL. */
int watchdog_start(struct pool *pool, struct watchdog **ret_watchdog);
void watchdog_free(struct watchdog *watchdog);

#endif
