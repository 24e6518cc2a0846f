/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ask - one call to some program of a host, whose port its portmapper knows.
 *
 * PUBLIC. Blocking, for a thread that may wait; by UDP, and soon after by TCP. For rare calls that
 * no pool is kept for. */
#ifndef CONN_ASK_H
#define CONN_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "conn.h"

enum { ASK_ARGS_MAX = 1280, ASK_RESULTS_MAX = 1024 };

struct ask {
	const struct pool_addr *host;	 /* its port does not matter */
	const struct pool_local *locals; /* where from; borrowed. n_locals 0: as the route has it */
	unsigned int n_locals;
	bool resvport;		 /* from a port below 1024, where permitted */
	const struct cred *cred; /* NULL: AUTH_NONE */
	uint32_t prog, vers, proc;
	const uint8_t *args; /* args_len bytes, a multiple of 4, at most ASK_ARGS_MAX */
	uint32_t args_len;
	int64_t until_ns;
	int cancel_fd; /* readable: give up; 0: none */
};

/* ask_run - 0 with at most ASK_RESULTS_MAX bytes of results; -ENOENT: the program is not registered
 * there; -errno: nobody answers, or not as it should. */
int ask_run(const struct ask *ask, uint8_t results[ASK_RESULTS_MAX], uint32_t *ret_len);

#endif
