/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addr - names to addresses, source ports, addresses as text.
 *
 * getaddrinfo(3) may block for half a minute and cannot be interrupted, so it only ever runs in
 * helper threads. A helper owns a reference on what it writes to, and whoever waits for it can
 * leave at any time: mount_resolve() (mount.h) at its deadline, resolve_async() by
 * resolver_cancel(). Literal addresses are converted on the spot, without a thread. */
#ifndef CONN_ADDR_H
#define CONN_ADDR_H

#include "conn.h"

struct resolver;

enum {
	RESOLVE_MAX_THREADS = 32, /* helpers at a time, also those nobody waits for any more */
	SOCKADDR_TEXT_MAX = 80,   /* "[v6%interface]:port" and the NUL */
};

/* resolve_async - resolve host for a loop. done() is called once, on the loop's thread, never from
 * within resolve_async(): error is 0, or an EAI_* value for gai_strerror(3); addrs[0..n) hold the
 * port, have no duplicates, and are valid until done() returns. host is copied.
 *
 * *ret_resolver stays valid until done() is called or resolver_cancel() returns. If the loop stops
 * first, the task is run by loop_join(), and so is done(), on its caller's thread. Whoever frees
 * the loop must therefore cancel (or have seen done()) and then call loop_join(), which may be a
 * second time: it runs what was posted before the cancellation, and nothing is posted after it.
 *
 * 0, -ENOMEM, or -EAGAIN when there are too many helpers or no thread can be made. Any thread. */
int resolve_async(const char *host, int family, uint16_t port, struct loop *loop,
		  void (*done)(void *userdata, int error, const struct pool_addr *addrs,
			       unsigned int n),
		  void *userdata, struct resolver **ret_resolver);
/* resolver_cancel - done() will not be called, and the loop not be touched, after this returns. On
 * the loop's thread or after loop_join(); elsewhere a done() that is running may overlap. Takes
 * NULL. */
void resolver_cancel(struct resolver *resolver);

/* resolve_wait - mount_resolve() that also ends, with -ECANCELED, within a tenth of a second of
 * when cancel_fd becomes readable; 0: none. */
int resolve_wait(const char *host, int family, uint16_t port, int64_t deadline_ns, int cancel_fd,
		 struct pool_addr addrs[], unsigned int *ret_n);

/* sockaddr_port, sockaddr_set_port - of an IPv4 or IPv6 address; 0 and nothing for others. */
uint16_t sockaddr_port(const struct sockaddr_storage *sa);
void sockaddr_set_port(struct sockaddr_storage *sa, uint16_t port);
/* sockaddr_same_host - equal but for the port; the IPv6 scope counts. */
bool sockaddr_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* sockaddr_format - "10.0.0.5:2049", "[fe80::1%eth0]:2049", without ":port" if that is 0; "?" for
 * other families. Writes SOCKADDR_TEXT_MAX bytes at most; returns buf. */
const char *sockaddr_format(const struct sockaddr_storage *sa, char *buf, size_t size);

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
