/* SPDX-License-Identifier: GPL-2.0-or-later */
/* local - see local.h. */
#include "local.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>

#include "addr.h"
#include "util.h"

/* ---- which one --------------------------------------------------------------------------- */

bool local_fits(const struct pool_local *local, int family)
{
	return local->sa.ss_family == AF_UNSPEC || local->sa.ss_family == family;
}

unsigned int local_n_fit(const struct pool_local locals[], unsigned int n, int family)
{
	unsigned int n_fit = 0;

	for (unsigned int i = 0; i < n; i++)
		n_fit += local_fits(&locals[i], family);
	return n_fit;
}

const struct pool_local *local_pick(const struct pool_local locals[], unsigned int n, int family,
				    unsigned int turn)
{
	unsigned int left = turn % local_n_fit(locals, n, family), i = 0;

	while (!local_fits(&locals[i], family) || left--)
		i++;
	return &locals[i];
}

struct sockaddr_storage local_host(const struct pool_local *local, int family)
{
	if (local && local->sa.ss_family == family)
		return local->sa;
	return (struct sockaddr_storage){ .ss_family = (sa_family_t)family };
}

/* ---- binding ----------------------------------------------------------------------------- */

int socket_bind_device(int fd, const struct pool_local *local)
{
	if (!local->device[0])
		return 0;
	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, local->device,
			  (socklen_t)strlen(local->device)) ? -errno : 0;
}

static int bind_to(int fd, const struct sockaddr_storage *host, uint16_t port)
{
	struct sockaddr_storage sa = *host;
	socklen_t len = sa.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
						 : sizeof(struct sockaddr_in);

	sockaddr_set_port(&sa, port);
	return bind(fd, (struct sockaddr *)&sa, len) ? -errno : 0;
}

/* UDP ports do not linger, and two sockets that share one would get each other's answers. */
static int allow_reuse(int fd)
{
	int on = 1, type = SOCK_STREAM;
	socklen_t len = sizeof(type);

	getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	if (type == SOCK_DGRAM)
		return 0;
	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ? -errno : 0;
}

int socket_bind_host(int fd, const struct sockaddr_storage *host)
{
	int on = 1;

	/* Else bind(2) chooses a port that no other connection has, also to other servers. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind_to(fd, host, 0);
}

int socket_bind_port(int fd, const struct sockaddr_storage *host, uint16_t port)
{
	int error = allow_reuse(fd);

	return error ? error : bind_to(fd, host, port);
}

int socket_bind_again(int fd, const struct sockaddr_storage *local)
{
	return socket_bind_port(fd, local, sockaddr_port(local));
}

/* Ports below 1024 that something on this host may want to listen on, or that firewalls and
 * intrusion detection take for a service. getservbyport(3) would ask NSS, which may block. */
static bool port_is_well_known(uint16_t port)
{
	static const uint16_t ports[] = {
		512, 513, 514, 515, 520, 521, 523, 538, 540, 543, 544, 546, 547, 548, 549, 554,
		556, 563, 587, 591, 593, 601, 607, 623, 628, 631, 636, 639, 646, 647, 651, 657,
		664, 666, 674, 688, 690, 694, 700, 701, 702, 706, 711, 712, 749, 750, 751, 752,
		753, 754, 760, 765, 767, 775, 777, 783, 808, 829, 830, 831, 832, 833, 843, 847,
		848, 853, 860, 861, 862, 871, 873, 901, 902, 903, 953, 989, 990, 991, 992, 993,
		994, 995,
	};

	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		if (ports[i] == port)
			return true;
	return false;
}

static uint32_t random_u32(void)
{
	uint32_t value;

	if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != (ssize_t)sizeof(value))
		value = (uint32_t)clock_ns();
	return value;
}

/* One round over [low, high] from a random start. */
static int bind_within(int fd, const struct sockaddr_storage *host, unsigned int low, unsigned int high,
		       bool sparing, uint16_t *ret_port)
{
	unsigned int n = high - low + 1;
	unsigned int start = random_u32() % n;

	for (unsigned int i = 0; i < n; i++) {
		uint16_t port = (uint16_t)(low + (start + i) % n);
		int error;

		if (sparing && port_is_well_known(port))
			continue;
		error = bind_to(fd, host, port);
		if (!error) {
			*ret_port = port;
			allow_reuse(fd); /* for socket_bind_port(); sooner, it would share others' ports */
		}
		if (error != -EADDRINUSE)
			return error;
	}
	return -EADDRINUSE;
}

int socket_bind_range(int fd, const struct sockaddr_storage *host, uint16_t low, uint16_t high,
		      uint16_t *ret_port)
{
	return bind_within(fd, host, low, high, false, ret_port);
}

int socket_bind_resvport(int fd, const struct sockaddr_storage *host, uint16_t *ret_port)
{
	int error = bind_within(fd, host, 665, 1023, true, ret_port);

	if (error == -EADDRINUSE)
		error = bind_within(fd, host, 512, 664, true, ret_port);
	return error;
}
