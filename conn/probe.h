/* SPDX-License-Identifier: GPL-2.0-or-later */
/* probe - what the stages of mount.h share: probe.c (resolving, the NFS port), probe_mountd.c
 * (ports and answers of mountd). A stage returns MOUNT_OK or says why not; what it found is in
 * the result.
 *
 * PRIVATE to conn/. One thread. */
#ifndef CONN_PROBE_H
#define CONN_PROBE_H

#include "mount.h"
#include "rpcwait.h"

struct probe {
	const struct mount_query *query;
	struct mount_result *result;
	int64_t stage_ns, deadline_ns;
	int64_t until_ns;          /* limit of the present stage */
	unsigned int n_candidates; /* addrs[0..n) may be the server; 1 once one has answered */
	struct pool_addr mountds[POOL_MAX_ADDRS]; /* where mountd may be */
	unsigned int n_mountds;    /* 1 once one has answered */
	uint16_t udp_port, tcp_port; /* mountd's; 0: not by this transport */
};

void probe_init(struct probe *probe, const struct mount_query *query, struct mount_result *result);
/* probe_enter, probe_enter_at - a stage begins. */
void probe_enter(struct probe *probe, enum mount_stage stage);
void probe_enter_at(struct probe *probe, enum mount_stage stage, int64_t now);
/* probe_timed_out - silence is the stage's failure, unless it was the limit of all stages that ended it. */
enum mount_failure probe_timed_out(const struct probe *probe, enum mount_failure failure);
/* probe_addr_to_front_by_host - this one, if it is among them, becomes addrs[0]; the others keep their order. */
void probe_addr_to_front_by_host(struct mount_result *result, const struct pool_addr *addr);
/* probe_note_attempt - the facts of an attempt, failed or not, that a message may want. */
void probe_note_attempt(struct mount_result *result, const struct attempt *attempt);
/* probe_race_begin - a race that obeys the query. */
void probe_race_begin(const struct mount_query *query, struct race *race, int64_t until_ns);
/* probe_most_telling - of the failed attempts, the one to report: of the smallest rank. */
const struct attempt *probe_most_telling(const struct race *race,
					 unsigned int (*rank)(const struct attempt *attempt));
/* probe_ask_port - of these portmappers; 0 with *ret_port, 0 if prog is not registered, and who
 * answered, or -errno. */
int probe_ask_port(struct probe *probe, const struct pool_addr *addrs, unsigned int n_addrs, uint32_t prog,
		   int protocol, int64_t until_ns, uint16_t *ret_port, unsigned int *ret_index);
/* probe_resolve_host - addresses of a name, with a port; until the stage's end. */
enum mount_failure probe_resolve_host(struct probe *probe, const char *host, int family, uint16_t port,
				      struct pool_addr addrs[], unsigned int *ret_n);

/* The stages of mountd, in probe_mountd.c. probe_mountd_find - where it is: first of all of
 * them. probe_exports: the EXPORT list; *ret_covered, if it has the path. probe_explain_refusal
 * - why MNT was refused, by the list. */
enum mount_failure probe_mountd_find(struct probe *probe);
enum mount_failure probe_rpcbind(struct probe *probe);
enum mount_failure probe_mnt(struct probe *probe);
enum mount_failure probe_exports(struct probe *probe, bool *ret_covered);
enum mount_failure probe_explain_refusal(struct probe *probe, enum mount_failure refusal);

#endif
