/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_mount3 - decoders of MNT, EXPORT and portmap replies, name resolution, and the stages of
 * mount_query_run() against a scripted server on 127.0.0.1. getaddrinfo(3) is replaced by a script,
 * too, so that names may have several addresses or never be answered. */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/time.h>

#include "../../conn/addr.h"
#include "../../conn/local.h"
#include "../../conn/mount.h"
#include "../../conn/mount3.h"
#include "../../conn/rpcbind.h"
#include "../../conn/rpcwait.h"
#include "../../conn/util.h"

#define MS NS_PER_MS
#define SHORT_NS (300 * MS)  /* a limit that is meant to pass */
#define LONG_NS (5000 * MS)  /* one that is not: a busy machine with sanitizers may be slow */
#define SLACK_NS (3000 * MS)

/* ---- bytes ------------------------------------------------------------------------------- */

/* A reply under construction; also the table format of the decoder tests. */
struct bytes {
	uint32_t len;
	uint8_t at[8192];
};

static void put(struct bytes *bytes, uint32_t word)
{
	assert(bytes->len + 4 <= sizeof(bytes->at));
	rpc_write(bytes->at + bytes->len, word);
	bytes->len += 4;
}

static void put_opaque(struct bytes *bytes, const void *data, uint32_t len)
{
	put(bytes, len);
	assert(bytes->len + len + 4 <= sizeof(bytes->at));
	memcpy(bytes->at + bytes->len, data, len);
	memset(bytes->at + bytes->len + len, 0, xdr_pad(len));
	bytes->len += len + (uint32_t)xdr_pad(len);
}

static void put_string(struct bytes *bytes, const char *string)
{
	put_opaque(bytes, string, (uint32_t)strlen(string));
}

/* Memory of exactly the size, so that a sanitizer sees the first byte beyond it. */
static uint8_t *exact(const struct bytes *bytes, uint32_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert(copy);
	memcpy(copy, bytes->at, len);
	return copy;
}

/* ---- decoders ---------------------------------------------------------------------------- */

static int mnt_decode(const struct bytes *bytes, uint32_t len, struct mount3_mnt *mnt)
{
	uint8_t *copy = exact(bytes, len);
	int error = mount3_mnt_decode(copy, len, mnt);

	free(copy);
	return error;
}

static void put_mnt(struct bytes *bytes, uint32_t fh_len, uint32_t n_flavors)
{
	uint8_t fh[128];

	memset(fh, 0xfe, sizeof(fh));
	put(bytes, MNT3_OK);
	put_opaque(bytes, fh, fh_len);
	put(bytes, n_flavors);
	for (uint32_t i = 0; i < n_flavors; i++)
		put(bytes, i);
}

static void test_mnt_sizes(void)
{
	static const struct {
		uint32_t fh_len, n_flavors;
		bool ok;
	} rows[] = {
		{ 28, 1, true },  { 1, 0, true },   { 64, 16, true },  { 33, 2, true },
		{ 0, 1, false },  /* a handle has at least one byte */
		{ 65, 1, false }, /* and 64 at most: RFC 1813 section 2.4 */
		{ 28, 17, false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes bytes = { 0 };
		struct mount3_mnt mnt;

		put_mnt(&bytes, rows[i].fh_len, rows[i].n_flavors);
		assert(mnt_decode(&bytes, bytes.len, &mnt) == (rows[i].ok ? 0 : -EBADMSG));
		if (!rows[i].ok)
			continue;
		assert(mnt.fh_len == rows[i].fh_len && mnt.n_flavors == rows[i].n_flavors);
		assert(mnt.fh[mnt.fh_len - 1] == 0xfe);
		/* Every shorter reply is malformed. */
		for (uint32_t len = 0; len < bytes.len; len++)
			assert(mnt_decode(&bytes, len, &mnt) == -EBADMSG);
	}
}

/* Counts that libnfs 4.0 multiplies in 32 bits, and lengths it takes for negative. */
static void test_mnt_hostile(void)
{
	static const uint32_t lengths[] = { 0x40000001, 0x7fffffff, 0x80000000, 0xfffffffd,
					    0xffffffff };
	struct mount3_mnt mnt;

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		struct bytes handle = { 0 }, flavors = { 0 };

		put_mnt(&handle, 28, 1);
		rpc_write(handle.at + 4, lengths[i]);
		assert(mnt_decode(&handle, handle.len, &mnt) == -EBADMSG);
		put_mnt(&flavors, 28, 1);
		rpc_write(flavors.at + 36, lengths[i]);
		assert(mnt_decode(&flavors, flavors.len, &mnt) == -EBADMSG);
	}
}

static void test_mnt_status(void)
{
	struct bytes bytes = { 0 };
	struct mount3_mnt mnt;

	put(&bytes, MNT3ERR_ACCES);
	assert(!mnt_decode(&bytes, bytes.len, &mnt));
	assert(mnt.status == MNT3ERR_ACCES && !mnt.fh_len && !mnt.n_flavors);
}

static void test_flavors(void)
{
	static const uint32_t krb5[] = { 390003, 390004 }, both[] = { 390003, 1 }, none[] = { 0 };

	assert(!mount3_accepts_sys(krb5, 2));
	assert(mount3_accepts_sys(both, 2));
	assert(mount3_accepts_sys(none, 1));
	assert(mount3_accepts_sys(NULL, 0));
}

static int export_decode(const struct bytes *bytes, uint32_t len, const char *path,
			 struct mount3_exports *exports)
{
	uint8_t *copy = exact(bytes, len);
	int error = mount3_export_decode(copy, len, path, exports);

	free(copy);
	return error;
}

static void put_export(struct bytes *bytes, const char *path, const char *first,
		       const char *second)
{
	put(bytes, 1);
	put_string(bytes, path);
	for (int i = 0; i < 2; i++)
		if (i ? second : first) {
			put(bytes, 1);
			put_string(bytes, i ? second : first);
		}
	put(bytes, 0);
}

static void test_export_list(void)
{
	struct mount3_exports exports;
	struct bytes bytes = { 0 };

	put_export(&bytes, "/data", "10.0.0.0/24", "nas");
	put_export(&bytes, "/home/", NULL, NULL);
	put(&bytes, 0);
	assert(!export_decode(&bytes, bytes.len, "/home/user", &exports));
	assert(exports.n == 2 && exports.covered && !exports.truncated);
	assert(!strcmp(exports.list[0].path, "/data"));
	assert(!strcmp(exports.list[0].groups, "10.0.0.0/24,nas"));
	assert(!strcmp(exports.list[1].groups, ""));
	mount3_exports_free(exports.list, exports.n);
	for (uint32_t len = 0; len < bytes.len; len++)
		assert(export_decode(&bytes, len, NULL, &exports) == -EBADMSG);
}

/* More exports than are kept: still looked at, the last one covers the path. */
static void test_export_truncated(void)
{
	struct mount3_exports exports;
	struct bytes bytes = { 0 };

	for (int i = 0; i < MOUNT_MAX_EXPORTS; i++)
		put_export(&bytes, "/x", NULL, NULL);
	put_export(&bytes, "/last", NULL, NULL);
	put(&bytes, 0);
	assert(!export_decode(&bytes, bytes.len, "/last", &exports));
	assert(exports.n == MOUNT_MAX_EXPORTS && exports.truncated && exports.covered);
	mount3_exports_free(exports.list, exports.n);
}

static void test_export_hostile(void)
{
	struct bytes nul = { 0 }, empty = { 0 }, endless = { 0 }, groups = { 0 }, length = { 0 };
	struct mount3_exports exports;

	put(&nul, 1);
	put_opaque(&nul, "/a\0b", 4);
	put(&nul, 0);
	put(&nul, 0);
	assert(export_decode(&nul, nul.len, NULL, &exports) == -EBADMSG);
	put_export(&empty, "", NULL, NULL);
	put(&empty, 0);
	assert(export_decode(&empty, empty.len, NULL, &exports) == -EBADMSG);
	while (endless.len < sizeof(endless.at) - 64)
		put_export(&endless, "/y", NULL, NULL);
	assert(export_decode(&endless, endless.len, NULL, &exports) == -EBADMSG);
	put(&groups, 1);
	put_string(&groups, "/z");
	while (groups.len < sizeof(groups.at) - 64) {
		put(&groups, 1);
		put_string(&groups, "");
	}
	assert(export_decode(&groups, groups.len, NULL, &exports) == -EBADMSG);
	put(&length, 1);
	put(&length, 0xffffffff);
	put(&length, 0);
	assert(export_decode(&length, length.len, NULL, &exports) == -EBADMSG);
}

static void test_path_covers(void)
{
	static const struct {
		const char *export, *path;
		bool covers;
	} rows[] = {
		{ "/data", "/data", true },      { "/data/", "/data", true },
		{ "/data", "//data//x/", true }, { "/", "/any", true },
		{ "/data", "/dat", false },      { "/data", "/data2", false },
		{ "/data/x", "/data", false },   { "/a/b", "/a/bc", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert(mount3_path_covers(rows[i].export, strlen(rows[i].export), rows[i].path) ==
		       rows[i].covers);
}

static void test_getport(void)
{
	static const struct {
		uint32_t len, port;
		int error;
	} rows[] = {
		{ 4, 20048, 0 },       { 4, 0, 0 },        { 4, 65535, 0 },   { 8, 2049, 0 },
		{ 4, 65536, -EBADMSG }, { 3, 0, -EBADMSG }, { 0, 0, -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes bytes = { 0 };
		uint16_t port = 1;
		uint8_t *copy;

		put(&bytes, rows[i].port);
		copy = exact(&bytes, rows[i].len);
		assert(rpcbind_getport_decode(copy, rows[i].len, &port) == rows[i].error);
		assert(port == (rows[i].error ? 1 : rows[i].port));
		free(copy);
	}
}

/* Universal addresses, RFC 5665. */
static void test_getaddr(void)
{
	static const struct {
		const char *uaddr;
		int port; /* -1: malformed */
	} rows[] = {
		{ "::.8.1", 2049 },
		{ "fe80::1%eth0.78.80", 20048 },
		{ "10.0.0.5.0.111", 111 },
		{ "::.255.255", 65535 },
		{ ".8.1", 2049 },
		{ "::.0.0", 0 },
		{ "", 0 },
		{ "::", -1 },
		{ "::.8", -1 },
		{ "8.1", -1 },
		{ "::..1", -1 },
		{ ".8.1x", -1 },
		{ "::.8.-1", -1 },
		{ "::.256.1", -1 },
		{ "::.8.256", -1 },
		{ "::.0008.1", -1 },
		{ "::.8.1111111111111111", -1 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes bytes = { 0 };
		uint16_t port = 1;
		uint8_t *copy;
		int error;

		put_string(&bytes, rows[i].uaddr);
		copy = exact(&bytes, bytes.len);
		error = rpcbind_getaddr_decode(copy, bytes.len, &port);
		assert(error == (rows[i].port < 0 ? -EBADMSG : 0));
		assert(error || port == rows[i].port);
		for (uint32_t len = 0; len < bytes.len; len++)
			assert(rpcbind_getaddr_decode(copy, len, &port) == -EBADMSG);
		free(copy);
	}
}

/* ---- names: the scripted getaddrinfo ----------------------------------------------------- */

static sem_t slow_may_return;
static _Atomic(unsigned int) n_slow_returned;

/* Let n look-ups of "slow" return, and wait until they have. */
static void release_slow(unsigned int n)
{
	unsigned int expected = n_slow_returned + n;

	for (unsigned int i = 0; i < n; i++)
		sem_post(&slow_may_return);
	while (n_slow_returned != expected)
		usleep(1000);
}

static void push(struct addrinfo **list, int family, const char *text)
{
	struct {
		struct addrinfo info;
		struct sockaddr_storage sa;
	} *node = calloc(1, sizeof(*node));
	void *at;

	assert(node);
	at = family == AF_INET ? (void *)&((struct sockaddr_in *)&node->sa)->sin_addr
			       : (void *)&((struct sockaddr_in6 *)&node->sa)->sin6_addr;
	assert(inet_pton(family, text, at) == 1);
	node->sa.ss_family = (sa_family_t)family;
	node->info.ai_family = family;
	node->info.ai_addr = (struct sockaddr *)&node->sa;
	node->info.ai_addrlen = family == AF_INET ? sizeof(struct sockaddr_in)
						  : sizeof(struct sockaddr_in6);
	node->info.ai_next = *list;
	*list = &node->info;
}

static int scripted_literal(const char *name, int family, struct addrinfo **list)
{
	uint8_t bytes[16];
	int of = inet_pton(AF_INET, name, bytes) == 1    ? AF_INET
		 : inet_pton(AF_INET6, name, bytes) == 1 ? AF_INET6
							 : AF_UNSPEC;

	if (of == AF_UNSPEC)
		return EAI_NONAME;
	if (family != AF_UNSPEC && family != of)
		return EAI_ADDRFAMILY;
	push(list, of, name);
	return 0;
}

/* Replaces the C library's: called by conn/addr.c. */
int getaddrinfo(const char *name, const char *service UNUSED, const struct addrinfo *hints,
		struct addrinfo **list)
{
	int error = scripted_literal(name, hints->ai_family, list);

	*list = error ? NULL : *list;
	if (!error || (hints->ai_flags & AI_NUMERICHOST) || error == EAI_ADDRFAMILY)
		return error;
	if (!strcmp(name, "slow")) {
		sem_wait(&slow_may_return);
		n_slow_returned++;
	} else if (!strcmp(name, "two")) { /* 127.0.0.2 first */
		push(list, AF_INET, "127.0.0.1");
	} else if (!strcmp(name, "many")) {
		for (int i = 0; i < 100; i++) {
			char text[24];

			snprintf(text, sizeof(text), "127.0.0.%d", 100 - i / 2);
			push(list, AF_INET, text);
		}
	} else {
		return EAI_NONAME;
	}
	push(list, AF_INET, "127.0.0.2");
	push(list, AF_INET, "127.0.0.2");
	return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
	while (list) {
		struct addrinfo *next = list->ai_next;

		free(list);
		list = next;
	}
}

static void test_resolve(void)
{
	struct pool_addr addrs[POOL_MAX_ADDRS];
	int64_t soon = clock_ns() + 30 * MS, later = clock_ns() + 5 * NS_PER_S;
	char text[SOCKADDR_TEXT_MAX];
	unsigned int n = 99;

	assert(!mount_resolve("two", AF_UNSPEC, 2049, later, 0, addrs, &n) && n == 2);
	assert(!strcmp(sockaddr_format(&addrs[0].sa, text, sizeof(text)), "127.0.0.2:2049"));
	assert(!strcmp(sockaddr_format(&addrs[1].sa, text, sizeof(text)), "127.0.0.1:2049"));
	assert(!mount_resolve("many", AF_UNSPEC, 2049, later, 0, addrs, &n) && n == POOL_MAX_ADDRS);
	assert(!mount_resolve("::1", AF_UNSPEC, 2049, 0, 0, addrs, &n) && n == 1);
	assert(mount_resolve("::1", AF_INET, 2049, 0, 0, addrs, &n) == EAI_ADDRFAMILY);
	assert(mount_resolve("nobody", AF_UNSPEC, 2049, later, 0, addrs, &n) == EAI_NONAME);
	assert(mount_resolve("slow", AF_UNSPEC, 2049, soon, 0, addrs, &n) == -ETIMEDOUT && n == 1);
	assert(clock_ns() < soon + SLACK_NS);
	release_slow(1);
}

static void test_sockaddr(void)
{
	struct sockaddr_storage lo = { .ss_family = AF_INET6 }, other, unknown = { 0 };
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&lo;
	char text[SOCKADDR_TEXT_MAX];

	assert(inet_pton(AF_INET6, "fe80::1", &v6->sin6_addr) == 1);
	assert(!strcmp(sockaddr_format(&lo, text, sizeof(text)), "fe80::1"));
	sockaddr_set_port(&lo, 2049);
	assert(sockaddr_port(&lo) == 2049 && sockaddr_port(&unknown) == 0);
	other = lo;
	v6->sin6_scope_id = 1; /* the loopback interface is always the first */
	assert(!strcmp(sockaddr_format(&lo, text, sizeof(text)), "[fe80::1%lo]:2049"));
	assert(!sockaddr_same_host(&lo, &other));
	v6->sin6_scope_id = 4000000000;
	assert(!strcmp(sockaddr_format(&lo, text, sizeof(text)), "[fe80::1%4000000000]:2049"));
	assert(!strcmp(sockaddr_format(&unknown, text, sizeof(text)), "?"));
}

/* Nobody waits for it any longer, as soon as cancel_fd is readable. */
static void test_resolve_cancelled(void)
{
	struct pool_addr addrs[POOL_MAX_ADDRS];
	int64_t later = clock_ns() + 60 * NS_PER_S, start = clock_ns();
	int fd = eventfd(1, EFD_CLOEXEC);
	unsigned int n;

	assert(mount_resolve("slow", AF_UNSPEC, 2049, later, fd, addrs, &n) == -ECANCELED);
	assert(clock_ns() < start + SLACK_NS);
	close(fd);
	release_slow(1);
}

/* Helpers nobody waits for any more are counted: a dead name server does not fill the process. */
static void test_resolve_limit(void)
{
	struct pool_addr addrs[POOL_MAX_ADDRS];
	unsigned int n, n_slow = 0;
	int error;

	while ((error = mount_resolve("slow", AF_UNSPEC, 2049, clock_ns() + MS, 0, addrs, &n)) ==
	       -ETIMEDOUT)
		n_slow++;
	/* One of an earlier test may be ending still. */
	assert(error == EAI_MEMORY && n_slow > 0 && n_slow <= RESOLVE_MAX_THREADS);
	release_slow(n_slow);
}

/* ---- source ports ------------------------------------------------------------------------ */

static void test_resvport(void)
{
	struct sockaddr_storage any = { .ss_family = AF_INET };
	uint16_t port = 0;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	int error = socket_bind_resvport(fd, &any, &port);

	assert(fd >= 0 && (!error || error == -EACCES || error == -EPERM));
	if (!error)
		assert(port >= 512 && port < 1024 && port != 631 && port != 873);
	close(fd);
}

/* A port comes back after a connection that we closed first and that sits in TIME_WAIT. */
static void test_bind_same_port(void)
{
	struct sockaddr_storage sa = { .ss_family = AF_INET }, any = sa;
	socklen_t len = sizeof(sa);
	int listener = socket(AF_INET, SOCK_STREAM, 0), fd, peer, i;
	uint16_t port = 0;

	assert(!bind(listener, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)));
	assert(!listen(listener, 4) && !getsockname(listener, (struct sockaddr *)&sa, &len));
	for (i = 0; i < 2; i++) {
		struct sockaddr_storage local;

		fd = socket(AF_INET, SOCK_STREAM, 0);
		assert(!socket_bind_port(fd, &any, port));
		assert(!connect(fd, (struct sockaddr *)&sa, sizeof(struct sockaddr_in)));
		len = sizeof(local);
		assert(!getsockname(fd, (struct sockaddr *)&local, &len));
		assert(!i || sockaddr_port(&local) == port);
		port = sockaddr_port(&local);
		peer = accept(listener, NULL, NULL);
		shutdown(fd, SHUT_RDWR);
		close(peer);
		close(fd);
	}
	close(listener);
}

/* ---- the scripted server ----------------------------------------------------------------- */

enum behaviour {
	ABSENT,      /* not registered with rpcbind; refuses */
	REFUSES,     /* registered */
	ANSWERS,
	SILENT,      /* takes the call */
	BLACK_HOLE,  /* TCP only: packets are swallowed */
	BANNER,      /* "SSH-2.0-x" */
	HANGS_UP,
	GARBAGE,     /* a record that is no RPC */
	SHORT,       /* a reply header cut off */
	CALL_RECORD, /* a call that carries our xid */
	LARGE_MARK,  /* a record of 2 GiB */
	ENDLESS,     /* fragments without end */
	DRIBBLE,     /* the right answer in fragments of 5 bytes, after one for somebody else */
	MISMATCH,    /* PROG_MISMATCH 4..4 */
	UNAVAILABLE, /* PROG_UNAVAIL */
	AUTH_ERROR,
	EMPTY,       /* success without results */
};

struct service {
	enum behaviour tcp, udp;
};

struct row {
	const char *name;
	struct service nfs, rpcbind, mountd;
	enum behaviour export; /* how EXPORT is answered; ABSENT: as MNT */
	uint32_t mountstat;
	uint32_t flavor;       /* 0: AUTH_SYS */
	const char *host;      /* NULL: 127.0.0.1 */
	enum mount_transport transport;
	bool mount_port, no_nfs_port, short_deadline;
	const char *path;      /* NULL: /data */

	enum mount_failure failure;
	enum mount_stage stage;
	int error;
	const char *addr0;     /* NULL: not looked at */
};

enum { NFS, RPCBIND, MOUNTD, N_SERVICES, MAX_PEERS = 32 };

struct peer {
	int fd;
	int service;
	struct bytes in;
};

struct server {
	const struct row *row;
	pthread_t thread;
	int stop_fd;
	int tcp_fd[N_SERVICES], udp_fd[N_SERVICES];
	uint16_t port[N_SERVICES];
	int hole_fds[4]; /* connections that fill the backlog of a black hole */
	struct peer peers[MAX_PEERS];
	unsigned int n_peers;
	unsigned int n_mnt, n_umnt; /* calls seen */
};

static const struct service *service_of(const struct server *server, int service)
{
	const struct row *row = server->row;

	return service == NFS ? &row->nfs : service == RPCBIND ? &row->rpcbind : &row->mountd;
}

/* True if this host has IPv6. */
static bool has_ipv6(void)
{
	struct sockaddr_storage any = { .ss_family = AF_INET6 };
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	bool has = fd >= 0 && !socket_bind_port(fd, &any, 0);

	closep(&fd);
	return has;
}

static bool is_ipv6(const struct row *row)
{
	return row->host && !strcmp(row->host, "::1");
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static struct sockaddr_storage loopback_of(const struct row *row, socklen_t *ret_len)
{
	struct sockaddr_storage sa = { 0 };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in v4 = loopback(0);

	*ret_len = is_ipv6(row) ? sizeof(v6) : sizeof(v4);
	memcpy(&sa, is_ipv6(row) ? (void *)&v6 : (void *)&v4, *ret_len);
	return sa;
}

/* Bound, and for UDP as well as TCP or not at all. */
static bool service_bind(struct server *server, int service)
{
	socklen_t len;
	struct sockaddr_storage sa = loopback_of(server->row, &len);
	int tcp = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int udp = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert(tcp >= 0 && udp >= 0);
	assert(!bind(tcp, (struct sockaddr *)&sa, len));
	assert(!getsockname(tcp, (struct sockaddr *)&sa, &len));
	if (bind(udp, (struct sockaddr *)&sa, len)) {
		close(tcp);
		close(udp);
		return false;
	}
	server->tcp_fd[service] = tcp;
	server->udp_fd[service] = udp;
	server->port[service] = sockaddr_port(&sa);
	return true;
}

/* A backlog of one, filled: further SYNs are dropped. */
static void make_black_hole(struct server *server, int service)
{
	struct sockaddr_in sa = loopback(server->port[service]);

	assert(!listen(server->tcp_fd[service], 0));
	for (size_t i = 0; i < ARRAY_SIZE(server->hole_fds); i++) {
		server->hole_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(server->hole_fds[i], (struct sockaddr *)&sa, sizeof(sa));
	}
	usleep(20000);
}

static void service_open(struct server *server, int service)
{
	const struct service *how = service_of(server, service);

	while (!service_bind(server, service))
		;
	if (how->udp == ABSENT || how->udp == REFUSES) {
		close(server->udp_fd[service]);
		server->udp_fd[service] = -1;
	}
	if (how->tcp == BLACK_HOLE)
		make_black_hole(server, service);
	else if (how->tcp != ABSENT && how->tcp != REFUSES)
		assert(!listen(server->tcp_fd[service], 8));
}

/* ---- its replies ------------------------------------------------------------------------- */

static void put_accepted(struct bytes *reply, uint32_t xid, uint32_t accept_stat)
{
	put(reply, xid);
	put(reply, 1);
	put(reply, 0);
	put(reply, 0);
	put(reply, 0);
	put(reply, accept_stat);
}

/* GETADDR, unlike GETPORT, is about the transport that it came by. */
static void answer_getport(const struct server *server, bool by_udp, const uint8_t *args,
			   struct bytes *reply)
{
	int service = rpc_read(args) == 100003 ? NFS : MOUNTD;
	const struct service *how = service_of(server, service);
	bool udp = is_ipv6(server->row) ? by_udp : rpc_read(args + 8) == IPPROTO_UDP;
	uint16_t port = (udp ? how->udp : how->tcp) == ABSENT ? 0 : server->port[service];
	char uaddr[32];

	if (!is_ipv6(server->row)) {
		put(reply, port);
		return;
	}
	snprintf(uaddr, sizeof(uaddr), "::1.%d.%d", port >> 8, port & 0xff);
	put_string(reply, port ? uaddr : "");
}

static void answer_mnt(const struct row *row, struct bytes *reply)
{
	put(reply, row->mountstat);
	if (row->mountstat)
		return;
	put_opaque(reply, "the root file handle", 20);
	put(reply, 2);
	put(reply, 390003);
	put(reply, row->flavor ? row->flavor : FLAVOR_SYS);
}

static void answer(struct server *server, int service, bool udp, uint32_t proc,
		   const uint8_t *args, struct bytes *reply)
{
	if (service == RPCBIND)
		answer_getport(server, udp, args, reply);
	if (service == MOUNTD && proc == 1)
		answer_mnt(server->row, reply);
	if (service == MOUNTD && proc == 5) {
		put_export(reply, "/data", "10.0.0.0/8", "nas");
		put_export(reply, "/home", NULL, NULL);
		put(reply, 0);
	}
}

/* A call, without record mark, to its reply; len 0: none. */
static void respond(struct server *server, int service, bool udp, enum behaviour how,
		    const uint8_t *call, uint32_t len, struct bytes *reply)
{
	uint32_t xid = rpc_read(call), proc = rpc_read(call + 20);
	uint32_t args = 40 + rpc_read(call + 28); /* credentials are padded */

	assert(len >= args);
	if (service == MOUNTD && proc == 1)
		server->n_mnt++;
	if (service == MOUNTD && proc == 3)
		server->n_umnt++;
	put_accepted(reply, how == DRIBBLE ? xid ^ 1 : xid,
		     how == MISMATCH ? 2 : how == UNAVAILABLE ? 1 : 0);
	if (how == MISMATCH) {
		put(reply, 4);
		put(reply, 4);
	} else if (how == AUTH_ERROR) {
		reply->len = 8;
		put(reply, 1);
		put(reply, 1);
		put(reply, 5);
	} else if (how == CALL_RECORD) {
		rpc_write(reply->at + 4, 0);
	} else if (how == GARBAGE) {
		memset(reply->at, 0xa5, reply->len);
	} else if (how == SHORT) {
		reply->len = 17;
	} else if (how == ANSWERS) {
		answer(server, service, udp, proc, call + args, reply);
	}
}

static void send_all(int fd, const void *bytes, size_t len)
{
	send(fd, bytes, len, MSG_NOSIGNAL); /* the client may be gone: its right */
}

static void send_record(int fd, const struct bytes *reply)
{
	uint8_t mark[4];

	rpc_write(mark, RPC_LAST_FRAGMENT | reply->len);
	send_all(fd, mark, 4);
	send_all(fd, reply->at, reply->len);
}

static void send_dribble(int fd, const struct bytes *reply)
{
	for (uint32_t at = 0; at < reply->len; at += 5) {
		uint32_t n = (uint32_t)min_size(5, reply->len - at);
		uint8_t mark[4];

		rpc_write(mark, 0); /* an empty fragment is legal */
		send_all(fd, mark, 4);
		rpc_write(mark, n | (at + n == reply->len ? RPC_LAST_FRAGMENT : 0));
		send_all(fd, mark, 4);
		send_all(fd, reply->at + at, n);
	}
}

static void send_endless(int fd)
{
	static const uint8_t fragment[4 + 4096] = { 0, 0, 0x10, 0 };

	for (int i = 0; i < 64; i++)
		send_all(fd, fragment, sizeof(fragment));
}

static enum behaviour behaviour_for(const struct server *server, int service, bool udp,
				    const uint8_t *call)
{
	const struct service *how = service_of(server, service);

	if (service == MOUNTD && rpc_read(call + 20) == 5 && server->row->export != ABSENT)
		return server->row->export;
	return udp ? how->udp : how->tcp;
}

/* False: hang up. */
static bool serve_call(struct server *server, struct peer *peer, const uint8_t *call, uint32_t len)
{
	enum behaviour how = behaviour_for(server, peer->service, false, call);
	struct bytes reply = { 0 };

	if (how == SILENT || how == BANNER)
		return true;
	if (how == HANGS_UP)
		return false;
	respond(server, peer->service, false, how, call, len, &reply);
	if (how == ENDLESS) {
		send_endless(peer->fd);
	} else if (how == LARGE_MARK) {
		send_all(peer->fd, "\xff\xff\xff\xff", 4);
	} else if (how == DRIBBLE) {
		send_record(peer->fd, &reply);
		reply.len = 0;
		respond(server, peer->service, false, ANSWERS, call, len, &reply);
		send_dribble(peer->fd, &reply);
	} else {
		send_record(peer->fd, &reply);
	}
	return true;
}

static bool serve_peer(struct server *server, struct peer *peer)
{
	struct bytes *in = &peer->in;
	ssize_t n = recv(peer->fd, in->at + in->len, sizeof(in->at) - in->len, 0);
	uint32_t len;

	if (n <= 0)
		return false;
	in->len += (uint32_t)n;
	if (in->len < 4 || in->len < 4 + (len = rpc_read(in->at) & ~RPC_LAST_FRAGMENT))
		return true;
	in->len = 0; /* one call at a time is all that the client sends */
	return serve_call(server, peer, in->at + 4, len);
}

static void serve_udp(struct server *server, int service)
{
	struct sockaddr_storage from;
	socklen_t from_len = sizeof(from);
	struct bytes reply = { 0 };
	enum behaviour how;
	uint8_t call[4096];
	ssize_t n = recvfrom(server->udp_fd[service], call, sizeof(call), 0,
			     (struct sockaddr *)&from, &from_len);

	if (n < 40)
		return;
	how = behaviour_for(server, service, true, call);
	if (how == SILENT)
		return;
	respond(server, service, true, how, call, (uint32_t)n, &reply);
	sendto(server->udp_fd[service], reply.at, reply.len, MSG_NOSIGNAL,
	       (struct sockaddr *)&from, from_len);
}

static void serve_accept(struct server *server, int service)
{
	int fd = accept4(server->tcp_fd[service], NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0 || server->n_peers == MAX_PEERS) {
		closep(&fd);
		return;
	}
	if (service_of(server, service)->tcp == BANNER)
		send_all(fd, "SSH-2.0-x\r\n", 11);
	server->peers[server->n_peers++] = (struct peer){ .fd = fd, .service = service };
}

static short accepts(const struct server *server, int service)
{
	enum behaviour how = service_of(server, service)->tcp;

	return how == ABSENT || how == REFUSES || how == BLACK_HOLE ? 0 : POLLIN;
}

static void *server_main(void *arg)
{
	struct server *server = arg;
	struct pollfd fds[1 + 2 * N_SERVICES + MAX_PEERS];

	for (;;) {
		unsigned int n_peers = server->n_peers, n = 0;

		fds[n++] = (struct pollfd){ server->stop_fd, POLLIN, 0 };
		for (int i = 0; i < N_SERVICES; i++) {
			int fd = accepts(server, i) ? server->tcp_fd[i] : -1;

			fds[n++] = (struct pollfd){ fd, POLLIN, 0 };
			fds[n++] = (struct pollfd){ server->udp_fd[i], POLLIN, 0 };
		}
		for (unsigned int i = 0; i < n_peers; i++)
			fds[n++] = (struct pollfd){ server->peers[i].fd, POLLIN, 0 };
		poll(fds, n, -1);
		if (fds[0].revents)
			return NULL;
		for (int i = 0; i < N_SERVICES; i++) {
			if (fds[1 + 2 * i].revents)
				serve_accept(server, i);
			if (fds[2 + 2 * i].revents)
				serve_udp(server, i);
		}
		for (unsigned int i = 0; i < n_peers; i++)
			if (fds[1 + 2 * N_SERVICES + i].revents &&
			    !serve_peer(server, &server->peers[i])) {
				close(server->peers[i].fd);
				server->peers[i].fd = -1;
			}
	}
}

static void server_start(struct server *server, const struct row *row)
{
	sigset_t all, old;

	memset(server, 0, sizeof(*server));
	server->row = row;
	for (size_t i = 0; i < ARRAY_SIZE(server->hole_fds); i++)
		server->hole_fds[i] = -1;
	for (int i = 0; i < N_SERVICES; i++)
		service_open(server, i);
	server->stop_fd = eventfd(0, EFD_CLOEXEC);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	assert(!pthread_create(&server->thread, NULL, server_main, server));
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void server_end(struct server *server)
{
	eventfd_write(server->stop_fd, 1);
	pthread_join(server->thread, NULL);
	closep(&server->stop_fd);
	for (int i = 0; i < N_SERVICES; i++) {
		closep(&server->tcp_fd[i]);
		closep(&server->udp_fd[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(server->hole_fds); i++)
		closep(&server->hole_fds[i]);
	for (unsigned int i = 0; i < server->n_peers; i++)
		closep(&server->peers[i].fd);
}

/* ---- the stages -------------------------------------------------------------------------- */

/* Services by TCP and UDP. */
#define PAIR(by_tcp, by_udp) { .tcp = by_tcp, .udp = by_udp }
#define BOTH(how) PAIR(how, how)
#define TCP(how) PAIR(how, ABSENT)
#define UP BOTH(ANSWERS)
#define FAILS(why, where, errnum) \
	.failure = MOUNT_##why, .stage = MOUNT_STAGE_##where, .error = errnum
#define ROW(what, nfs_is, rpcbind_is, mountd_is) \
	.name = what, .nfs = nfs_is, .rpcbind = rpcbind_is, .mountd = mountd_is

static const struct row rows[] = {
	{ ROW("mounts", UP, UP, UP) },
	{ ROW("ports given, portmapper refuses", UP, BOTH(REFUSES), UP), .mount_port = true },
	{ ROW("nfs port from the portmapper", UP, UP, UP), .no_nfs_port = true },
	{ ROW("fragments, and a stray record", TCP(DRIBBLE), TCP(DRIBBLE), TCP(DRIBBLE)),
	  .mount_port = true },
	{ ROW("AUTH_NONE refused for NULL: mountd decides", TCP(AUTH_ERROR), UP, UP) },
	{ ROW("second address answers", UP, UP, UP), .host = "two", .addr0 = "127.0.0.1" },
	{ ROW("IPv6", UP, UP, UP), .host = "::1", .no_nfs_port = true, .addr0 = "[::1]" },
	{ ROW("IPv6, mountd by TCP only", TCP(ANSWERS), UP, TCP(ANSWERS)), .host = "::1",
	  .no_nfs_port = true },
	{ ROW("IPv6, rpcbind: UDP swallowed", UP, PAIR(ANSWERS, SILENT), UP), .host = "::1" },

	/* resolve */
	{ ROW("no such name", UP, UP, UP), .host = "nobody", FAILS(DNS_FAILED, RESOLVE, 0) },
	{ ROW("name server silent", UP, UP, UP), .host = "slow",
	  FAILS(DNS_TIMEOUT, RESOLVE, 0) },
	{ ROW("name server silent, at the deadline", UP, UP, UP), .host = "slow",
	  .short_deadline = true, FAILS(DEADLINE, RESOLVE, 0) },

	/* connect */
	{ ROW("refused", BOTH(REFUSES), UP, UP), FAILS(CONN_REFUSED, CONNECT, ECONNREFUSED) },
	{ ROW("packets swallowed", TCP(BLACK_HOLE), UP, UP),
	  FAILS(CONN_TIMEOUT, CONNECT, ETIMEDOUT) },
	{ ROW("packets swallowed, at the deadline", TCP(BLACK_HOLE), UP, UP),
	  .short_deadline = true, FAILS(DEADLINE, CONNECT, ETIMEDOUT) },
	/* 127.0.0.2 refuses, 127.0.0.1 swallows: the one that says something is reported. */
	{ ROW("two addresses, two failures", TCP(BLACK_HOLE), UP, UP), .host = "two",
	  .addr0 = "127.0.0.2", FAILS(CONN_REFUSED, CONNECT, ECONNREFUSED) },

	/* NULL */
	{ ROW("connects but is silent", TCP(SILENT), UP, UP),
	  FAILS(NFS_TIMEOUT, NULL, ETIMEDOUT) },
	{ ROW("SSH", TCP(BANNER), UP, UP), FAILS(NOT_NFS, NULL, EBADMSG) },
	{ ROW("hangs up", TCP(HANGS_UP), UP, UP), FAILS(NOT_NFS, NULL, ECONNRESET) },
	{ ROW("garbage record", TCP(GARBAGE), UP, UP), FAILS(NOT_NFS, NULL, EBADMSG) },
	{ ROW("cut header", TCP(SHORT), UP, UP), FAILS(NOT_NFS, NULL, EBADMSG) },
	{ ROW("a call with our xid", TCP(CALL_RECORD), UP, UP), FAILS(NOT_NFS, NULL, EBADMSG) },
	{ ROW("record of 2 GiB", TCP(LARGE_MARK), UP, UP), FAILS(NOT_NFS, NULL, EBADMSG) },
	{ ROW("fragments without end", TCP(ENDLESS), UP, UP), FAILS(NOT_NFS, NULL, EBADMSG) },
	{ ROW("NFSv4 only", TCP(MISMATCH), UP, UP),
	  FAILS(VERSION_UNSUPPORTED, NULL, EPROTONOSUPPORT) },
	{ ROW("RPC, but not NFS", TCP(UNAVAILABLE), UP, UP),
	  FAILS(NOT_NFS, NULL, EPROTONOSUPPORT) },

	/* rpcbind */
	{ ROW("rpcbind refused", UP, BOTH(REFUSES), UP),
	  FAILS(RPCBIND_REFUSED, RPCBIND, ECONNREFUSED) },
	{ ROW("rpcbind silent", UP, BOTH(SILENT), UP),
	  FAILS(RPCBIND_REFUSED, RPCBIND, ETIMEDOUT) },
	{ ROW("rpcbind silent, at the deadline", UP, BOTH(SILENT), UP),
	  .short_deadline = true, FAILS(DEADLINE, RPCBIND, ETIMEDOUT) },
	{ ROW("rpcbind by TCP only", UP, PAIR(ANSWERS, REFUSES), UP) },
	{ ROW("rpcbind: UDP swallowed", UP, PAIR(ANSWERS, SILENT), UP),
	  .transport = MOUNT_TCP },
	{ ROW("rpcbind without results", UP, BOTH(EMPTY), UP),
	  FAILS(RPCBIND_REFUSED, RPCBIND, EBADMSG) },
	{ ROW("no mountd", UP, UP, BOTH(ABSENT)), FAILS(MOUNTD_MISSING, RPCBIND, 0) },
	{ ROW("no mountd by UDP", UP, UP, TCP(ANSWERS)), .transport = MOUNT_UDP,
	  FAILS(MOUNTD_MISSING, RPCBIND, 0) },

	/* mountd */
	{ ROW("mountd by TCP only", UP, UP, TCP(ANSWERS)) },
	{ ROW("mountd by UDP only", UP, UP, PAIR(ABSENT, ANSWERS)) },
	{ ROW("mountd, UDP port refuses", UP, UP, PAIR(ANSWERS, REFUSES)) },
	{ ROW("mountd, UDP swallowed", UP, UP, PAIR(ANSWERS, SILENT)) },
	{ ROW("mountd refused", UP, UP, BOTH(REFUSES)),
	  FAILS(MOUNTD_REFUSED, MOUNTD, ECONNREFUSED) },
	{ ROW("mountd refused, port given", UP, UP, BOTH(REFUSES)), .mount_port = true,
	  FAILS(MOUNTD_REFUSED, MOUNTD, ECONNREFUSED) },
	{ ROW("mountd silent by UDP", UP, UP, BOTH(SILENT)), .transport = MOUNT_UDP,
	  FAILS(MOUNTD_TIMEOUT, MOUNTD, ETIMEDOUT) },
	{ ROW("mountd silent by TCP", UP, UP, BOTH(SILENT)), .transport = MOUNT_TCP,
	  FAILS(MOUNTD_TIMEOUT, MOUNTD, ETIMEDOUT) },
	{ ROW("mountd silent, at the deadline", UP, UP, BOTH(SILENT)), .short_deadline = true,
	  FAILS(DEADLINE, MOUNTD, ETIMEDOUT) },
	{ ROW("mountd garbage by UDP", UP, UP, PAIR(ABSENT, GARBAGE)),
	  FAILS(MOUNTD_BAD_REPLY, MOUNTD, EBADMSG) },
	{ ROW("mountd garbage by TCP", UP, UP, TCP(GARBAGE)),
	  FAILS(MOUNTD_BAD_REPLY, MOUNTD, EBADMSG) },
	{ ROW("mountd hangs up", UP, UP, TCP(HANGS_UP)),
	  FAILS(MOUNTD_BAD_REPLY, MOUNTD, ECONNRESET) },
	{ ROW("mountd without results", UP, UP, BOTH(EMPTY)),
	  FAILS(MOUNTD_BAD_REPLY, MOUNTD, EBADMSG) },
	{ ROW("mountd without version 3", UP, UP, BOTH(MISMATCH)),
	  FAILS(MOUNTD_MISSING, MOUNTD, EPROTONOSUPPORT) },
	{ ROW("mountd refuses the credential", UP, UP, BOTH(AUTH_ERROR)),
	  FAILS(ACCESS_DENIED, MOUNTD, EACCES) },

	/* MNT */
	{ ROW("ACCES, exported", UP, UP, UP), .mountstat = MNT3ERR_ACCES,
	  FAILS(ACCESS_DENIED, MOUNTD, 0) },
	{ ROW("ACCES, below an export", UP, UP, UP), .mountstat = MNT3ERR_ACCES,
	  .path = "/data/sub", FAILS(ACCESS_DENIED, MOUNTD, 0) },
	{ ROW("ACCES, not exported", UP, UP, UP), .mountstat = MNT3ERR_ACCES, .path = "/dta",
	  FAILS(EXPORT_NOT_FOUND, MOUNTD, 0) },
	{ ROW("ACCES, no list", UP, UP, UP), .export = HANGS_UP, .mountstat = MNT3ERR_ACCES,
	  .path = "/dta", FAILS(ACCESS_DENIED, MOUNTD, 0) },
	{ ROW("ACCES, endless list", UP, UP, TCP(ANSWERS)), .export = ENDLESS,
	  .mountstat = MNT3ERR_ACCES, .path = "/dta", FAILS(ACCESS_DENIED, MOUNTD, 0) },
	{ ROW("ACCES, list never comes", UP, UP, UP), .export = SILENT,
	  .mountstat = MNT3ERR_ACCES, .path = "/dta", FAILS(ACCESS_DENIED, MOUNTD, 0) },
	{ ROW("PERM", UP, UP, UP), .mountstat = MNT3ERR_PERM, FAILS(ACCESS_DENIED, MOUNTD, 0) },
	{ ROW("NOENT", UP, UP, UP), .mountstat = MNT3ERR_NOENT,
	  FAILS(EXPORT_NOT_FOUND, MOUNTD, 0) },
	{ ROW("NOTDIR", UP, UP, UP), .mountstat = MNT3ERR_NOTDIR,
	  FAILS(NOT_DIRECTORY, MOUNTD, 0) },
	{ ROW("SERVERFAULT", UP, UP, UP), .mountstat = 10006, FAILS(MOUNTD_ERROR, MOUNTD, 0) },
	{ ROW("Kerberos only", UP, UP, UP), .flavor = 390004, FAILS(AUTH_FLAVOR, MOUNTD, 0) },
};

/* A limit ends it, rather than an answer. */
static bool waits(const struct row *row)
{
	return row->error == ETIMEDOUT || row->export == SILENT || row->mountd.udp == GARBAGE ||
	       row->nfs.tcp == BLACK_HOLE || row->failure == MOUNT_DNS_TIMEOUT;
}

static struct mount_query query_for(const struct server *server)
{
	const struct row *row = server->row;
	int64_t limit = row->short_deadline ? SHORT_NS : 10 * LONG_NS;

	return (struct mount_query){
		.host = row->host ? row->host : "127.0.0.1",
		.path = row->path ? row->path : "/data",
		.nfs_port = row->no_nfs_port ? 0 : server->port[NFS],
		.rpcbind_port = server->port[RPCBIND],
		.mount_port = row->mount_port ? server->port[MOUNTD] : 0,
		.mount_transport = row->transport,
		.stage_ns = waits(row) && !row->short_deadline ? SHORT_NS : LONG_NS,
		.deadline_ns = clock_ns() + limit,
	};
}

static void check_mounted(const struct server *server, const struct mount_query *query,
			  const struct mount_result *result)
{
	assert(result->fh_len == 20 && !memcmp(result->fh, "the root file handle", 20));
	assert(result->n_flavors == 2 && result->flavors[1] == FLAVOR_SYS);
	assert(result->nfs_port == server->port[NFS] && result->mount_port == server->port[MOUNTD]);
	assert(sockaddr_port(&result->addrs[0].sa) == server->port[NFS]);
	assert(result->mount_source_port && !result->exports);
	assert(result->rpcbind_answered == !query->mount_port);
	assert(!result->stage_started_ns[MOUNT_STAGE_RPCBIND] == !!query->mount_port);
}

static void check_details(const struct row *row, const struct mount_result *result)
{
	char text[SOCKADDR_TEXT_MAX];

	if (result->failure == MOUNT_VERSION_UNSUPPORTED)
		assert(result->vers_low == 4 && result->vers_high == 4);
	if (row->nfs.tcp == BANNER)
		assert(result->n_peer_bytes == 11 && !memcmp(result->peer_bytes, "SSH-", 4));
	if (row->nfs.tcp == HANGS_UP)
		assert(!result->n_peer_bytes);
	if (result->failure == MOUNT_DNS_FAILED)
		assert(result->gai_error == EAI_NONAME);
	if (result->failure == MOUNT_EXPORT_NOT_FOUND)
		assert(result->n_exports == 2 && result->mountstat == row->mountstat);
	if (row->addr0) {
		sockaddr_format(&result->addrs[0].sa, text, sizeof(text));
		assert(!strncmp(text, row->addr0, strlen(row->addr0)));
	}
}

static void run_row(const struct row *row)
{
	struct mount_result result = { 0 };
	struct mount_query query;
	struct server server;
	int64_t start, took;
	int error;

	server_start(&server, row);
	query = query_for(&server);
	start = clock_ns();
	error = mount_query_run(&query, &result);
	took = clock_ns() - start;
	fprintf(stderr, "%-45s failure %2d stage %-7s error %3d %5d ms\n", row->name,
		result.failure, mount_stage_name(result.stage), result.error, (int)(took / MS));
	assert(error == (row->failure ? -EIO : 0) && result.failure == row->failure);
	assert(result.stage == (row->failure ? row->stage : MOUNT_STAGE_DONE));
	assert(!row->failure || result.error == row->error);
	assert(took < (waits(row) ? 3 * SHORT_NS : 0) + SLACK_NS);
	if (!error)
		check_mounted(&server, &query, &result);
	check_details(row, &result);
	if (row->host && !strcmp(row->host, "slow"))
		release_slow(1);
	mount_result_deinit(&result);
	server_end(&server);
}

static void test_stages(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (has_ipv6() || !is_ipv6(&rows[i]))
			run_row(&rows[i]);
}

static void interrupted(int signal UNUSED)
{
}

/* A signal every 5 ms neither ends a wait nor makes it longer. */
static void test_signals(void)
{
	static const struct row silent[] = {
		{ ROW("signals, TCP", TCP(SILENT), UP, UP), FAILS(NFS_TIMEOUT, NULL, ETIMEDOUT) },
		{ ROW("signals, UDP", UP, UP, PAIR(ABSENT, SILENT)),
		  FAILS(MOUNTD_TIMEOUT, MOUNTD, ETIMEDOUT) },
		{ ROW("signals, no name", UP, UP, UP), .host = "slow",
		  FAILS(DNS_TIMEOUT, RESOLVE, 0) },
	};
	struct sigaction action = { .sa_handler = interrupted };
	struct itimerval every = { .it_interval.tv_usec = 5000, .it_value.tv_usec = 5000 };
	struct itimerval never = { 0 };

	assert(!sigaction(SIGALRM, &action, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(silent); i++) {
		setitimer(ITIMER_REAL, &every, NULL);
		run_row(&silent[i]);
		setitimer(ITIMER_REAL, &never, NULL);
	}
}

/* The same answer by name, without NFS. */
static void test_exports(void)
{
	static const struct row row = { ROW("exports", BOTH(REFUSES), UP, UP), .host = "two" };
	struct mount_result result = { 0 };
	struct mount_query query;
	struct server server;

	server_start(&server, &row);
	query = query_for(&server);
	query.path = NULL;
	assert(!mount_exports(&query, &result));
	assert(result.failure == MOUNT_OK && result.stage == MOUNT_STAGE_DONE);
	assert(result.n_exports == 2 && !result.exports_truncated);
	assert(!strcmp(result.exports[0].groups, "10.0.0.0/8,nas"));
	assert(result.mount_transport == MOUNT_TCP);
	mount_result_deinit(&result);
	server_end(&server);
}

static void test_umnt(void)
{
	static const struct row umnt_rows[] = {
		{ ROW("umnt by UDP", UP, UP, PAIR(ABSENT, ANSWERS)) },
		{ ROW("umnt by TCP", UP, UP, TCP(ANSWERS)) },
		{ ROW("umnt, nobody listens", UP, UP, UP) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(umnt_rows); i++) {
		struct mount_result result = { 0 };
		struct mount_query query;
		struct server server;

		server_start(&server, &umnt_rows[i]);
		query = query_for(&server);
		assert(!mount_query_run(&query, &result));
		if (i == 2)
			result.mount_port = 1;
		mount_umnt(&query, &result);
		usleep(20000);
		mount_result_deinit(&result);
		server_end(&server);
		assert(server.n_mnt == 1 && server.n_umnt == (i < 2));
	}
}

/* UDP: the call is sent again until it is answered, and by the same bytes. */
static void test_udp_resend(void)
{
	struct sockaddr_in sa = loopback(0), from;
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct pool_addr addr = { .len = sizeof(sa) };
	uint8_t first[512], second[512];
	struct rpc_request request;
	struct race race;

	assert(!bind(fd, (struct sockaddr *)&sa, len));
	assert(!getsockname(fd, (struct sockaddr *)&sa, &len));
	memcpy(&addr.sa, &sa, sizeof(sa));
	mount3_mnt_encode(&request, 0, "/data");
	race_init(&race, clock_ns() + 400 * MS);
	race_add(&race, &addr, true, &request, 0);
	assert(!race_run(&race) && race.attempts[0].status == -ETIMEDOUT);
	race_deinit(&race);
	len = sizeof(from);
	assert(recv(fd, first, sizeof(first), MSG_DONTWAIT) == recv(fd, second, sizeof(second),
								     MSG_DONTWAIT));
	assert(!memcmp(first, second, 60) && rpc_read(first) == request.call.xid);
	assert(recv(fd, first, sizeof(first), MSG_DONTWAIT) < 0);
	close(fd);
}

/* The first address swallows packets: the second one answers long before the limit. */
static void test_race_black_hole(void)
{
	static const struct row hole = { ROW("hole", TCP(BLACK_HOLE), UP, UP) };
	static const struct row good = { ROW("good", UP, UP, UP) };
	struct pool_addr addrs[2] = { { .len = sizeof(struct sockaddr_in) },
				      { .len = sizeof(struct sockaddr_in) } };
	int64_t start = clock_ns();
	struct server servers[2];
	struct rpc_request request;
	struct race race;

	request_begin(&request, NULL, 100003, 3, 0);
	request_end(&request);
	race_init(&race, start + 10 * NS_PER_S);
	for (int i = 0; i < 2; i++) {
		struct sockaddr_in sa;

		server_start(&servers[i], i ? &good : &hole);
		sa = loopback(servers[i].port[NFS]);
		memcpy(&addrs[i].sa, &sa, sizeof(sa));
		race_add(&race, &addrs[i], false, &request, clock_ns() + i * 50 * MS);
	}
	assert(race_run(&race) == &race.attempts[1]);
	assert(race.attempts[0].status == -ECANCELED);
	assert(clock_ns() < start + SLACK_NS);
	race_deinit(&race);
	server_end(&servers[0]);
	server_end(&servers[1]);
}

/* When every attempt so far has failed, the next is started before its time. */
static void test_race_all_fail(void)
{
	struct pool_addr addr = { .sa.ss_family = AF_INET, .len = 1 /* EINVAL */ };
	int64_t start = clock_ns();
	struct rpc_request request;
	struct race race;

	request_begin(&request, NULL, 100003, 3, 0);
	request_end(&request);
	race_init(&race, start + 60 * NS_PER_S);
	for (int i = 0; i < RACE_MAX_ATTEMPTS + 1; i++)
		race_add(&race, &addr, i & 1, &request, start + (i & 2 ? 0 : 30 * NS_PER_S));
	assert(race.n == RACE_MAX_ATTEMPTS && !race_run(&race));
	for (unsigned int i = 0; i < race.n; i++)
		assert(race.attempts[i].status == -EINVAL);
	assert(clock_ns() < start + SLACK_NS);
	race_deinit(&race);
}

static int n_open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

int main(void)
{
	int n_fds = n_open_fds();

	sem_init(&slow_may_return, 0, 0);
	test_mnt_sizes();
	test_mnt_hostile();
	test_mnt_status();
	test_flavors();
	test_export_list();
	test_export_truncated();
	test_export_hostile();
	test_path_covers();
	test_getport();
	test_getaddr();
	test_resolve();
	test_sockaddr();
	test_resolve_cancelled();
	test_resolve_limit();
	test_resvport();
	test_bind_same_port();
	test_stages();
	test_signals();
	test_exports();
	test_umnt();
	test_udp_resend();
	test_race_black_hole();
	test_race_all_fail();
	assert(n_open_fds() == n_fds);
	return 0;
}
