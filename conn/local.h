/* SPDX-License-Identifier: GPL-2.0-or-later */
/* local - the local end of a socket: source ports. */
#ifndef CONN_LOCAL_H
#define CONN_LOCAL_H

#include <stdint.h>
#include <sys/socket.h>

/* socket_bind_port - bind to a local port, also one in TIME_WAIT that an earlier socket of this
 * program was bound to by these functions. 0 or -errno. */
int socket_bind_port(int fd, int family, uint16_t port);
/* socket_bind_again - to the very address and port of such an earlier socket. 0 or -errno. */
int socket_bind_again(int fd, const struct sockaddr_storage *local);
/* socket_bind_resvport - bind to a free port of 512..1023 (those above 664 first, as the kernel's
 * client does), sparing ports that a local service is likely to want. 0, -EACCES or -EPERM where
 * not permitted, -EADDRINUSE when all are taken, or -errno. */
int socket_bind_resvport(int fd, int family, uint16_t *ret_port);

#endif
