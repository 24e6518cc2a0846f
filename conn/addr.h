/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addr - names to addresses, addresses as text.
 *
 * getaddrinfo(3) may block for half a minute and cannot be interrupted, so it only ever runs in
 * helper threads. A helper owns a reference on what it writes to, and whoever waits for it in
 * mount_resolve() (mount.h) can leave at any time. Literal addresses are converted on the spot, without a
 * thread. */
#ifndef CONN_ADDR_H
#define CONN_ADDR_H

#include "conn.h"

enum {
	RESOLVE_MAX_THREADS = 32, /* helpers at a time, also those nobody waits for any more */
	SOCKADDR_TEXT_MAX = 80,   /* "[v6%interface]:port" and the NUL */
};

/* sockaddr_port, sockaddr_set_port - of an IPv4 or IPv6 address; 0 and nothing for others. */
uint16_t sockaddr_port(const struct sockaddr_storage *sa);
void sockaddr_set_port(struct sockaddr_storage *sa, uint16_t port);
/* sockaddr_same_host - equal but for the port; the IPv6 scope counts. */
bool sockaddr_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b);
/* sockaddr_format - "10.0.0.5:2049", "[fe80::1%eth0]:2049", without ":port" if that is 0; "?" for
 * other families. Writes SOCKADDR_TEXT_MAX bytes at most; returns buf. */
const char *sockaddr_format(const struct sockaddr_storage *sa, char *buf, size_t size);

#endif
