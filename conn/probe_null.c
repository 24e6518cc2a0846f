/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe_null - mount_null(): is a program there, at one address? See mount.h. */
#include <errno.h>
#include <string.h>

#include "addr.h"
#include "probe.h"
#include "util.h"

enum { PROC_NULL = 0 };

static void fill(struct mount_null *ret, const struct attempt *attempt, int64_t began_ns)
{
	*ret = (struct mount_null){
		.error = attempt->status,
		.connected = attempt->connected,
		.replied = attempt->replied,
		.vers_low = attempt->reply.vers_low,
		.vers_high = attempt->reply.vers_high,
		.took_ns = clock_ns() - (attempt->connected_ns ? attempt->connected_ns : began_ns),
		.source_port = attempt->source_port,
	};
}

void mount_null(const struct mount_query *query, const struct pool_addr *addr, uint32_t prog, uint32_t vers,
		int64_t deadline_ns, struct mount_null *ret_null)
{
	int64_t began_ns = clock_ns();
	struct rpc_request null;
	struct race race;

	request_begin(&null, NULL, prog, vers, PROC_NULL);
	request_end(&null);
	probe_race_begin(query, &race, deadline_ns);
	race.cancel_fd = query->cancel_fd;
	race_add(&race, addr, addr->udp, &null, began_ns);
	race_run(&race);
	fill(ret_null, &race.attempts[0], began_ns);
	race_deinit(&race);
}
