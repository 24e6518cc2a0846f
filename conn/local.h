/* SPDX-License-Identifier: GPL-2.0-or-later */
/* local - the local end of a socket: interface, address, port. */
#ifndef CONN_LOCAL_H
#define CONN_LOCAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "conn.h"

/* local_fits - can it be the local end towards an address of this family? */
bool local_fits(const struct pool_local *local, int family);
/* local_n_fit - how many of them. */
unsigned int local_n_fit(const struct pool_local locals[], unsigned int n, int family);
/* local_pick - of those the turn-th, round and round; there must be one. */
const struct pool_local *local_pick(const struct pool_local locals[], unsigned int n, int family,
				    unsigned int turn);
/* local_host - what to bind to, without a port: its address; any, for an interface or NULL. */
struct sockaddr_storage local_host(const struct pool_local *local, int family);

/* All return 0 or -errno. `host` is an address of this host, or any, whose port does not matter. */

/* socket_bind_device - to the interface, if local has one: -ENODEV, it does not exist now. */
int socket_bind_device(int fd, const struct pool_local *local);
/* socket_bind_host - the port is chosen when it is connected. -EADDRNOTAVAIL: not of this host now. */
int socket_bind_host(int fd, const struct sockaddr_storage *host);
/* socket_bind_port - bind to a local port, also one in TIME_WAIT that an earlier socket of this
 * program was bound to by these functions. */
int socket_bind_port(int fd, const struct sockaddr_storage *host, uint16_t port);
/* socket_bind_again - to the very address and port of such an earlier socket. */
int socket_bind_again(int fd, const struct sockaddr_storage *local);
/* socket_bind_range - to a free port of low..high. -EADDRINUSE when all are taken. */
int socket_bind_range(int fd, const struct sockaddr_storage *host, uint16_t low, uint16_t high,
		      uint16_t *ret_port);
/* socket_bind_resvport - to a free port of 512..1023 (those above 664 first, as the kernel's
 * client does), sparing ports that a local service is likely to want. -EACCES or -EPERM where
 * not permitted, -EADDRINUSE when all are taken. */
int socket_bind_resvport(int fd, const struct sockaddr_storage *host, uint16_t *ret_port);

#endif
