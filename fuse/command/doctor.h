/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor - why does it not work? Checks that change nothing, each a line of findings.h.
 *
 *	doctor_server   name, ports, exports, permission, path: what a mount would meet, without one
 *	doctor_host     FUSE and the kernel of this host
 *	doctor_mount    a mount that is there: by its control socket, /proc and fstab, never by itself
 *
 * Private to cmd_doctor.c and doctor_*.c. Plain blocking functions of one thread, which starts one for each address of
 * the server; every network stage is bounded by options.stage_ns (5 s), all of them by DOCTOR_LIMIT_NS. */
#ifndef FUSE_COMMAND_DOCTOR_H
#define FUSE_COMMAND_DOCTOR_H

#include "../options.h"
#include "findings.h"
#include "tar.h"
#include "target.h"

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
	const struct target *target;  /* NULL: no mount */
	const char *ctl;              /* --ctl=PATH; NULL */
	json_t *status;               /* of the mount; NULL: not to be had */
	pid_t pid;                    /* of its daemon, 0: not seen from here */
};

void doctor_server(struct doctor *doctor);
void doctor_host(struct doctor *doctor);
/* doctor_mount - of doctor->target. doctor_mount_status - ask its daemon first: 0, or -EIO when it does not answer,
 * which is a finding then; doctor->status is set. */
int doctor_mount_status(struct doctor *doctor);
void doctor_mount(struct doctor *doctor);

/* doctor_fstab - fstab(5)'s line for a mount point: 1 with its fields, to free; 0: none, or no such file. */
struct doctor_fstab {
	char *source, *type, *options;
};
int doctor_fstab(const char *point, struct doctor_fstab *ret_line);
void doctor_fstab_deinit(struct doctor_fstab *line);
bool doctor_fstab_is_ours(const struct doctor_fstab *line);
/* doctor_check_fstab - against the mount that is there. */
void doctor_check_fstab(struct doctor *doctor);

/* doctor_bundle - a new file with all that was found, the daemon's status, versions, fstab's lines and the log. 0 or
 * -errno; -EEXIST: it is there. */
enum { DOCTOR_BUNDLE_MAX = 16 };
struct doctor_bundle {
	struct tar tar;
	const char *names[DOCTOR_BUNDLE_MAX]; /* static text */
	size_t sizes[DOCTOR_BUNDLE_MAX];
	unsigned int n_names;
};
int doctor_bundle(struct doctor *doctor, const char *subject, const char *path, struct doctor_bundle *ret_bundle);

/* In doctor_server.c's parts. doctor_exports - the list, and what it says of our path: true if it explains why MNT was
 * refused. doctor_session - all that takes a connection: the root, source port, round trip, MTU. */
bool doctor_exports(struct doctor *doctor);
void doctor_session(struct doctor *doctor);

#endif
