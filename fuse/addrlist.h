/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addrlist - the value of addrs=: literal addresses of one server.
 *
 *	10.0.0.1-10.0.0.4~[fd00::1]~fe80::2%eth0
 *
 * Items are separated by '~' (a comma separates options); an item is an IPv4 or IPv6 address, which may be in
 * brackets and have a scope, or FIRST-LAST, both included, of one family. An item of localaddrs= may also be the
 * name of an interface. */
#ifndef FUSE_ADDRLIST_H
#define FUSE_ADDRLIST_H

#include <stddef.h>

#include "../conn/conn.h"

/* addrlist_parse - 0; or -EINVAL with what is wrong in why. Ports are 0, doubles are left out. */
int addrlist_parse(const char *text, struct pool_addr addrs[POOL_MAX_ADDRS], unsigned int *ret_n, char *why,
		   size_t size);

/* locallist_parse - the same for localaddrs=. Whether there is such an interface is not asked. */
int locallist_parse(const char *text, struct pool_local locals[POOL_MAX_LOCALS], unsigned int *ret_n, char *why,
		    size_t size);
/* addr_text - a host without its port, "10.0.0.5" or "fe80::1%eth0": as in the list, and as getaddrinfo(3) takes
 * it. Returns text. */
enum { ADDR_TEXT_MAX = 80 };
const char *addr_text(const struct sockaddr_storage *sa, char text[ADDR_TEXT_MAX]);
/* local_text - an item of localaddrs=. Returns text. */
const char *local_text(const struct pool_local *local, char text[ADDR_TEXT_MAX]);
/* addr_same_host - equal but for the port. */
bool addr_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

#endif
