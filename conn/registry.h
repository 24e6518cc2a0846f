/* SPDX-License-Identifier: GPL-2.0-or-later */
/* registry - which programs of this host its rpcbind knows (RFC 1833, version 4), and what is told
 * to it.
 *
 * PUBLIC. It is asked over /run/rpcbind.sock, where it sees who we are, or else over loopback from
 * a reserved port. Blocking, until until_ns at most; for a thread that may wait. */
#ifndef CONN_REGISTRY_H
#define CONN_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "service.h"

enum { REGISTRY_MAX_ENTRIES = 16 };

struct registry_entry {
	uint32_t vers;
	enum service_transport transport;
	uint16_t port;
};

/* registry_list - the entries of a program, all versions, of the four transports: 0, or -errno,
 * nobody answers. */
int registry_list(uint32_t prog, int64_t until_ns,
		  struct registry_entry entries[REGISTRY_MAX_ENTRIES], unsigned int *ret_n);
/* registry_set - 0; -EEXIST: somebody else has registered it, or we may not; -errno.
 * registry_unset - of this transport alone. */
int registry_set(uint32_t prog, const struct registry_entry *entry, int64_t until_ns);
int registry_unset(uint32_t prog, const struct registry_entry *entry, int64_t until_ns);

/* registry_is_dead - nobody listens on that port of this host. */
bool registry_is_dead(uint32_t prog, const struct registry_entry *entry, int64_t until_ns);
/* registry_is_seen - does the rpcbind that this network sees on port 111 give this port? One in
 * another network namespace may share our /run. */
bool registry_is_seen(uint32_t prog, const struct registry_entry *entry, int64_t until_ns);

/* registry_decode - results of DUMP: the entries of prog; 0 or -EBADMSG. */
int registry_decode(const uint8_t *bytes, uint32_t len, uint32_t prog,
		    struct registry_entry entries[REGISTRY_MAX_ENTRIES], unsigned int *ret_n);

#endif
