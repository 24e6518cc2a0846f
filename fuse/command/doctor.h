/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor - why does it not work? Checks that change nothing, each a line of findings.h.
 *
 *	doctor_server   name, ports, exports, permission, path: what a mount would meet, without one
 *	doctor_host     FUSE and the kernel of this host
 *
 * Private to cmd_doctor.c and doctor_*.c. Plain blocking functions of one thread, which starts one for each address of
 * the server; every network stage is bounded by options.stage_ns (5 s), all of them by DOCTOR_LIMIT_NS. */
#ifndef FUSE_COMMAND_DOCTOR_H
#define FUSE_COMMAND_DOCTOR_H

#include "../options.h"
#include "findings.h"

#define DOCTOR_LIMIT_NS (40 * NS_PER_S)
#define DOCTOR_QUERY_NS (10 * NS_PER_S) /* all stages of one address */

/* One address of the server. Its thread's until that is joined. */
struct doctor_address {
	struct pool_addr addr;
	char text[ADDR_TEXT_MAX];
	struct mount_query query;
	struct mount_result result;   /* of MNT, at this address alone */
	struct mount_null versions;   /* of NFS, where that answers: a version that nobody has */
};

struct doctor {
	struct findings findings;
	struct options options;       /* of the mount that is or would be made */
	struct mount_query query;
	int64_t deadline_ns;
	struct doctor_address addresses[POOL_MAX_ADDRS];
	unsigned int n_addresses;
	struct doctor_address *best;  /* that got furthest; NULL: there is none */
};

void doctor_server(struct doctor *doctor);
void doctor_host(struct doctor *doctor);
/* In doctor_server.c's parts. doctor_exports - the list, and what it says of our path: true if it explains why MNT was
 * refused. doctor_session - all that takes a connection: the root, source port, round trip, MTU. */
bool doctor_exports(struct doctor *doctor);
void doctor_session(struct doctor *doctor);

#endif
