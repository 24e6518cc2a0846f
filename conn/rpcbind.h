/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpcbind - which port does a program listen on: portmap version 2 GETPORT (RFC 1833 section 3) for
 * IPv4, rpcbind version 3 GETADDR (section 2) for IPv6. */
#ifndef CONN_RPCBIND_H
#define CONN_RPCBIND_H

#include <stdint.h>

#include "conn.h"

enum { RPCBIND_PORT = 111 };

struct rpcbind_query {
	const struct pool_addr *addrs; /* all asked at once; their ports do not matter */
	unsigned int n_addrs;
	uint16_t rpcbind_port;
	uint32_t prog, vers;
	int protocol;                  /* IPPROTO_TCP or IPPROTO_UDP: how prog is to be reached */
	int64_t until_ns;
	int cancel_fd;                 /* as struct race's */
	const struct pool_local *locals; /* the same */
	unsigned int n_locals;
};

/* rpcbind_query_run - the first answer. 0: *ret_port, 0 if prog is not registered for that
 * protocol, was answered by addrs[*ret_index]. -errno: nobody answered; why the first address did
 * not. Blocks until until_ns. */
int rpcbind_query_run(const struct rpcbind_query *query, uint16_t *ret_port,
		      unsigned int *ret_index);

/* The decoders: 0 or -EBADMSG. */
int rpcbind_getport_decode(const uint8_t *bytes, uint32_t len, uint16_t *ret_port);
int rpcbind_getaddr_decode(const uint8_t *bytes, uint32_t len, uint16_t *ret_port);

#endif
