/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_table - every option of ref/options.md, in its order. A new option is a row here and a
 * field in options.h; parser, help and default follow. Defaults that depend on other options are
 * computed in options.c, options_complete(). */
#include <string.h>

#include "../conn/util.h"
#include "option_table.h"
#include "words.h"

#define STORE(field)                                      \
	.offset = offsetof(struct option_draft, field),   \
	.size = sizeof(((struct option_draft *)NULL)->field)
#define OPTION_FIELD(field) STORE(options.field)
#define GIVEN(field) .given = offsetof(struct option_draft, field)

static const struct option_choice transport_choices[] = {
	{ "tcp", TRANSPORT_TCP, MSG_NONE, false },
	{ "tcp6", TRANSPORT_TCP6, MSG_NONE, false },
	{ "udp", TRANSPORT_UDP, MSG_NONE, false },
	{ "udp6", TRANSPORT_UDP6, MSG_NONE, false },
	{ "rdma", 0, MSG_UNSUPPORTED_TRANSPORT, true },
	{ "rdma6", 0, MSG_UNSUPPORTED_TRANSPORT, true },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice mount_transport_choices[] = {
	{ "udp", TRANSPORT_UDP, MSG_NONE, false },
	{ "tcp", TRANSPORT_TCP, MSG_NONE, false },
	{ "udp6", TRANSPORT_UDP6, MSG_NONE, false },
	{ "tcp6", TRANSPORT_TCP6, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice family_choices[] = {
	{ "any", AF_UNSPEC, MSG_NONE, false },
	{ "4", AF_INET, MSG_NONE, false },
	{ "6", AF_INET6, MSG_NONE, false },
	{ "both", AF_UNSPEC, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice dns_choices[] = {
	{ "all", DNS_ALL, MSG_NONE, false },
	{ "first", DNS_FIRST, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice redial_choices[] = {
	{ "auto", true, MSG_NONE, false },
	{ "off", false, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice vers_choices[] = {
	{ "3", 3, MSG_NONE, false },
	{ "2", 0, MSG_VERSION_UNSUPPORTED, true },
	{ "4", 0, MSG_VERSION_UNSUPPORTED, true },
	{ "4.0", 0, MSG_VERSION_UNSUPPORTED, true },
	{ "4.1", 0, MSG_VERSION_UNSUPPORTED, true },
	{ "4.2", 0, MSG_VERSION_UNSUPPORTED, true },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice mountvers_choices[] = {
	{ "3", 3, MSG_NONE, false },
	{ "1", 0, MSG_VERSION_UNSUPPORTED, true },
	{ "2", 0, MSG_VERSION_UNSUPPORTED, true },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice sec_choices[] = {
	{ "sys", SEC_SYS, MSG_NONE, false },
	{ "none", SEC_NONE, MSG_NONE, false },
	{ "unix", SEC_SYS, MSG_NONE, true },
	{ "null", SEC_NONE, MSG_NONE, true },
	{ "krb5", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "krb5i", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "krb5p", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "lkey", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "lkeyi", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "lkeyp", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "spkm", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "spkmi", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "spkmp", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice xprtsec_choices[] = {
	{ "none", 0, MSG_NONE, false },
	{ "tls", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ "mtls", 0, MSG_UNSUPPORTED_SECURITY, true },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice rdirplus_choices[] = {
	{ "none", RDIRPLUS_NONE, MSG_NONE, false },
	{ "force", RDIRPLUS_FORCE, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice local_lock_choices[] = {
	{ "none", LOCAL_LOCK_NONE, MSG_NONE, false },
	{ "flock", LOCAL_LOCK_FLOCK, MSG_NONE, false },
	{ "posix", LOCAL_LOCK_POSIX, MSG_NONE, false },
	{ "all", LOCAL_LOCK_ALL, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice lookupcache_choices[] = {
	{ "all", LOOKUPCACHE_ALL, MSG_NONE, false },
	{ "none", LOOKUPCACHE_NONE, MSG_NONE, false },
	{ "pos", LOOKUPCACHE_POSITIVE, MSG_NONE, false },
	{ "positive", LOOKUPCACHE_POSITIVE, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice softwrite_choices[] = {
	{ "hold", SOFTWRITE_HOLD, MSG_NONE, false },
	{ "fail", SOFTWRITE_FAIL, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice stripe_choices[] = {
	{ "adaptive", STRIPE_ADAPTIVE, MSG_NONE, false },
	{ "rr", STRIPE_RR, MSG_NONE, false },
	{ "file", STRIPE_FILE, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice perm_choices[] = {
	{ "server", PERM_SERVER, MSG_NONE, false },
	{ NULL, 0, MSG_NONE, false },
};

static const struct option_choice log_choices[] = {
	{ "error", LEVEL_ERROR, MSG_NONE, false },
	{ "warn", LEVEL_WARN, MSG_NONE, false },
	{ "info", LEVEL_INFO, MSG_NONE, false },
	{ "debug", LEVEL_DEBUG, MSG_NONE, false },
	{ "trace", LEVEL_TRACE, MSG_NONE, false },
	{ "warning", LEVEL_WARN, MSG_NONE, true },
	{ NULL, 0, MSG_NONE, false },
};

#define FLAG(word, group_, ...) { .name = word, .group = group_, .kind = KIND_FLAG, __VA_ARGS__ }
#define ANY(word, group_, state_, ...)                                                          \
	{ .name = word, .group = group_, .kind = KIND_ANY, .state = state_, ##__VA_ARGS__ }
#define LATER(word, group_) ANY(word, group_, OPTION_REFUSED, .refuse = MSG_OPTION_UNSUPPORTED)
#define GENERIC(word) ANY(word, GROUP_FUSE, OPTION_GENERIC)
#define IGNORED(word) ANY(word, GROUP_FUSE, OPTION_IGNORED)

const struct option_row option_table[] = {
	/* 1. Connections and addresses */
	{ "nconnect", .group = GROUP_CONNECTION, .kind = KIND_NUMBER, .value = "N", .initial = "4",
	  .min = 1, .max = 64, OPTION_FIELD(nconnect), .live = true, .common = true,
	  .help = "connections to the server; by UDP: source ports" },
	{ "minconnect", .group = GROUP_CONNECTION, .kind = KIND_NUMBER, .value = "N",
	  .initial = "1",
	  .min = 1, .max = 64, OPTION_FIELD(minconnect),
	  .help = "connections that must be up before the mount succeeds" },
	{ "mdconnect", .group = GROUP_CONNECTION, .kind = KIND_NUMBER, .value = "N",
	  .shown = "1 if nconnect >= 3", .min = 0, .max = 63, OPTION_FIELD(mdconnect),
	  GIVEN(mdconnect_given), .live = true, .help = "connections kept for small calls while there are any" },
	{ "max_connect", .group = GROUP_CONNECTION, .kind = KIND_NUMBER, .value = "N", .shown = "nconnect",
	  .min = 1, .max = 64, OPTION_FIELD(max_connect),
	  .help = "connections to all addresses of the server together; a larger nconnect is lowered" },
	{ "addrs", .group = GROUP_CONNECTION, .kind = KIND_STRING, .value = "A~B~C-D",
	  .min = 1, .max = 1024, .shown = "none", OPTION_FIELD(addrs_text),
	  .help = "further addresses of the same server" },
	{ "remoteports", .group = GROUP_CONNECTION, .kind = KIND_STRING, .value = "A~B~C-D",
	  .min = 1, .max = 1024, .shown = "none", OPTION_FIELD(addrs_text), .help = "the same as addrs" },
	{ "dns", .group = GROUP_CONNECTION, .kind = KIND_CHOICE, .initial = "all",
	  .choices = dns_choices, OPTION_FIELD(dns),
	  .help = "of the addresses of the server's name: all that serve the export, or one" },
	{ "family", .group = GROUP_CONNECTION, .kind = KIND_CHOICE, .initial = "any",
	  .choices = family_choices, OPTION_FIELD(family), GIVEN(family_given),
	  .help = "addresses to use: IPv4, IPv6 or any of both" },
	{ "localaddrs", .group = GROUP_CONNECTION, .kind = KIND_STRING, .value = "A~IF",
	  .min = 1, .max = 1024, .shown = "the kernel chooses", OPTION_FIELD(locals_text),
	  .help = "addresses or interfaces of this host, one per connection in turn" },
	{ "localports", .group = GROUP_CONNECTION, .kind = KIND_STRING, .value = "A~IF",
	  .min = 1, .max = 1024, .shown = "the kernel chooses", OPTION_FIELD(locals_text),
	  .help = "the same as localaddrs" },
	{ "bindif", .group = GROUP_CONNECTION, .kind = KIND_STRING, .value = "IF",
	  .min = 1, .max = IF_NAMESIZE - 1, .shown = "any", OPTION_FIELD(bindif),
	  .help = "the only interface to be used (SO_BINDTODEVICE)" },
	{ "srcports", .group = GROUP_CONNECTION, .kind = KIND_STRING, .value = "LOW-HIGH",
	  .min = 1, .max = 11, .shown = "any", OPTION_FIELD(srcports_text),
	  .help = "source ports of the connections, no others" },
	FLAG("resvport", GROUP_CONNECTION, .slot = SLOT_RESVPORT, OPTION_FIELD(resvport), .flag = 1,
	     GIVEN(resvport_given),
	     .initial = "", .help = "source ports below 1024 where permitted"),
	FLAG("noresvport", GROUP_CONNECTION, .slot = SLOT_RESVPORT, OPTION_FIELD(resvport),
	     .help = "any source port"),
	{ "redial", .group = GROUP_CONNECTION, .kind = KIND_CHOICE, .initial = "auto",
	  .choices = redial_choices, OPTION_FIELD(redial), .live = true,
	  .help = "dial from other ports where paths are crowded or bad, or not" },
	{ "stripe", .group = GROUP_CONNECTION, .kind = KIND_CHOICE, .initial = "adaptive",
	  .choices = stripe_choices, OPTION_FIELD(stripe), .live = true,
	  .help = "bulk calls: where they are finished soonest, in turn, or by file" },
	LATER("spread_reads", GROUP_CONNECTION),
	LATER("nospread_reads", GROUP_CONNECTION),
	LATER("spread_writes", GROUP_CONNECTION),
	LATER("nospread_writes", GROUP_CONNECTION),
	LATER("hedge", GROUP_CONNECTION),
	{ "window", .group = GROUP_CONNECTION, .kind = KIND_BYTES, .value = "BYTES",
	  .initial = "auto",
	  .min = 64 << 10, .max = 1 << 30, OPTION_FIELD(window), .takes_auto = true, .flag = 0,
	  .live = true, .help = "bytes in flight per connection" },

	/* 2. Time and failure policy */
	FLAG("softerr", GROUP_TIME, .slot = SLOT_DOWN, OPTION_FIELD(down), .flag = DOWN_SOFTERR,
	     .initial = "", .live = true, .common = true,
	     .help = "server down: ETIMEDOUT after the deadline",
	     .slot_help = "server down: ETIMEDOUT, EIO, or wait"),
	FLAG("soft", GROUP_TIME, .slot = SLOT_DOWN, OPTION_FIELD(down), .flag = DOWN_SOFT,
	     .live = true, .common = true, .help = "server down: EIO after the deadline"),
	FLAG("hard", GROUP_TIME, .slot = SLOT_DOWN, OPTION_FIELD(down), .flag = DOWN_HARD,
	     .live = true, .common = true, .help = "server down: wait, interruptible"),
	FLAG("softreval", GROUP_TIME, .slot = SLOT_REVAL, OPTION_FIELD(softreval), .flag = 1,
	     .initial = "", .live = true,
	     .help = "server silent: names, attributes and listings from memory"),
	FLAG("nosoftreval", GROUP_TIME, .slot = SLOT_REVAL, OPTION_FIELD(softreval), .live = true,
	     .help = "wait for the server, but for df and stat of the mount point"),
	{ "softwrite", .group = GROUP_TIME, .kind = KIND_CHOICE, .initial = "hold",
	  .choices = softwrite_choices, OPTION_FIELD(softwrite), .live = true,
	  .help = "server down: data it had taken is held, or lost" },
	{ "timeo", .group = GROUP_TIME, .kind = KIND_DECISECONDS, .value = "N", .initial = "100",
	  .min = 1, .max = 36000, OPTION_FIELD(timeo_ns), .live = true, .common = true,
	  .help = "wait for a reply, tenths of a second" },
	{ "retrans", .group = GROUP_TIME, .kind = KIND_NUMBER, .value = "N", .initial = "2",
	  .min = 0,
	  .max = 100, OPTION_FIELD(retrans), .live = true, .common = true,
	  .help = "retries before giving up" },
	{ "optimeo", .group = GROUP_TIME, .kind = KIND_TIME, .value = "SEC",
	  .shown = "timeo x (retrans + 1), at most 30", .min = 100, .max = 3600000,
	  STORE(optimeo_ns),
	  GIVEN(optimeo_given), .live = true, .help = "upper bound of any call in soft modes" },
	{ "detect", .group = GROUP_TIME, .kind = KIND_TIME, .value = "SEC", .initial = "5",
	  .min = 100,
	  .max = 300000, OPTION_FIELD(detect_ns), .live = true,
	  .help = "silence after which a connection is dead" },
	{ "deadtimeo", .group = GROUP_TIME, .kind = KIND_TIME, .value = "SEC", .initial = "300",
	  .min = 0, .max = 86400000, OPTION_FIELD(deadtimeo_ns), .live = true,
	  .help = "no answer for so long: data that is held is lost" },
	{ "mounttimeo", .group = GROUP_TIME, .kind = KIND_TIME, .value = "SEC", .initial = "10",
	  .min = 1000, .max = 3600000, OPTION_FIELD(mounttimeo_ns),
	  .help = "limit of one attempt to mount" },
	FLAG("fg", GROUP_TIME, .slot = SLOT_FG, OPTION_FIELD(bg), .initial = "",
	     .help = "find the server before returning"),
	FLAG("bg", GROUP_TIME, .slot = SLOT_FG, OPTION_FIELD(bg), .flag = 1,
	     .help = "mount at once; until the server is found, calls fail"),
	{ "retry", .group = GROUP_TIME, .kind = KIND_MINUTES, .value = "MIN",
	  .shown = "0, with bg 10000",
	  .min = 0,
	  .max = 100000, OPTION_FIELD(retry_ns), GIVEN(retry_given),
	  .help = "keep trying to mount so long; 0: one attempt" },
	{ "umounttimeo", .group = GROUP_TIME, .kind = KIND_TIME, .value = "SEC", .initial = "5",
	  .min = 0, .max = 3600000, OPTION_FIELD(umounttimeo_ns), .live = true,
	  .help = "limit for writing back at unmount" },
	FLAG("intr", GROUP_TIME, .slot = SLOT_INTR, OPTION_FIELD(intr), .flag = 1, .live = true,
	     .help = "handled signals interrupt calls too (EINTR)"),
	FLAG("nointr", GROUP_TIME, .slot = SLOT_INTR, OPTION_FIELD(intr), .initial = "",
	     .live = true,
	     .help = "only fatal signals interrupt calls"),

	/* 3. Protocol */
	{ "vers", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .slot = SLOT_VERS, .initial = "3",
	  .choices = vers_choices, STORE(vers), .help = "version of NFS" },
	{ "nfsvers", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .slot = SLOT_VERS,
	  .choices = vers_choices, STORE(vers), .help = "the same as vers" },
	FLAG("v3", GROUP_PROTOCOL, .slot = SLOT_VERS, STORE(vers), .flag = 3,
	     .help = "the same as vers=3"),
#define OTHER_VERSION(word)                                                                     \
	{ .name = word, .group = GROUP_PROTOCOL, .kind = KIND_FLAG, .state = OPTION_REFUSED,    \
	  .slot = SLOT_VERS, .refuse = MSG_VERSION_UNSUPPORTED }
	OTHER_VERSION("v2"),
	OTHER_VERSION("v4"),
	OTHER_VERSION("v4.0"),
	OTHER_VERSION("v4.1"),
	OTHER_VERSION("v4.2"),
	{ "proto", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .slot = SLOT_PROTO, .shown = "tcp",
	  .choices = transport_choices, STORE(proto), .help = "transport; tcp6 and udp6 imply family=6" },
	FLAG("tcp", GROUP_PROTOCOL, .slot = SLOT_PROTO, STORE(proto), .flag = TRANSPORT_TCP,
	     .help = "the same as proto=tcp"),
#define OTHER_TRANSPORT(word)                                                                   \
	{ .name = word, .group = GROUP_PROTOCOL, .kind = KIND_FLAG, .state = OPTION_REFUSED,    \
	  .slot = SLOT_PROTO, .refuse = MSG_UNSUPPORTED_TRANSPORT }
	FLAG("udp", GROUP_PROTOCOL, .slot = SLOT_PROTO, STORE(proto), .flag = TRANSPORT_UDP,
	     .help = "the same as proto=udp"),
	FLAG("udpfrag", GROUP_PROTOCOL, OPTION_FIELD(udpfrag), .flag = 1,
	     .help = "by UDP, rsize= and wsize= may exceed a packet: data can be corrupted, see fusenfs(8)"),
	OTHER_TRANSPORT("rdma"),
	{ "mountproto", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .shown = "discovered",
	  .choices = mount_transport_choices, STORE(mountproto), .help = "transport to mountd" },
	{ "port", .group = GROUP_PROTOCOL, .kind = KIND_NUMBER, .value = "N",
	  .shown = "portmapper, else 2049", .min = 0, .max = 65535, STORE(port), GIVEN(port_given),
	  .common = true, .help = "NFS port; skips the portmapper" },
	{ "mountport", .group = GROUP_PROTOCOL, .kind = KIND_NUMBER, .value = "N",
	  .shown = "portmapper", .min = 0, .max = 65535, STORE(mountport), .common = true,
	  .help = "mountd's port; skips the portmapper" },
	{ "mountvers", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .initial = "3",
	  .choices = mountvers_choices, OPTION_FIELD(mountvers), .help = "version of MOUNT" },
	{ "mounthost", .group = GROUP_PROTOCOL, .kind = KIND_STRING, .value = "HOST",
	  .min = 1, .max = 255, .shown = "the server", OPTION_FIELD(mounthost), .help = "host of mountd" },
	{ "mountaddr", .group = GROUP_PROTOCOL, .kind = KIND_STRING, .value = "ADDRESS",
	  .min = 1, .max = 64, .shown = "resolved", OPTION_FIELD(mountaddr_text),
	  .help = "its address, as mount.nfs tells it" },
	{ "addr", .group = GROUP_PROTOCOL, .kind = KIND_STRING, .value = "ADDRESS",
	  .min = 1, .max = 64, .shown = "resolved", OPTION_FIELD(addr_text),
	  .help = "the server's address, as mount.nfs tells it" },
	{ "rsize", .group = GROUP_PROTOCOL, .kind = KIND_IO_SIZE, .value = "BYTES", .initial = "0",
	  .shown = "the server's, at most 1M", .min = 0, .max = INT64_C(1) << 40,
	  OPTION_FIELD(rsize),
	  .common = true, .help = "largest READ, lowered to the server's limit" },
	{ "wsize", .group = GROUP_PROTOCOL, .kind = KIND_IO_SIZE, .value = "BYTES", .initial = "0",
	  .shown = "the server's, at most 1M", .min = 0, .max = INT64_C(1) << 40,
	  OPTION_FIELD(wsize),
	  .common = true, .help = "largest WRITE, lowered to the server's limit" },
	{ "readdirsize", .group = GROUP_PROTOCOL, .kind = KIND_BYTES, .value = "BYTES",
	  .initial = "64K", .min = 4096, .max = 1 << 20, OPTION_FIELD(readdirsize),
	  .help = "size of READDIR replies asked for" },
	{ "rdirplus", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .slot = SLOT_RDIRPLUS,
	  .shown = "heuristic", .choices = rdirplus_choices, OPTION_FIELD(rdirplus),
	  .value_optional = true, .flag = RDIRPLUS_AUTO, .help = "use of READDIRPLUS" },
	FLAG("nordirplus", GROUP_PROTOCOL, .slot = SLOT_RDIRPLUS, OPTION_FIELD(rdirplus),
	     .flag = RDIRPLUS_NONE, .help = "the same as rdirplus=none"),
	{ "namlen", .group = GROUP_PROTOCOL, .kind = KIND_NUMBER, .value = "N", .shown = "PATHCONF",
	  .min = 1, .max = 255, OPTION_FIELD(namlen), .help = "longest file name" },
	{ "sec", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .initial = "sys",
	  .choices = sec_choices, OPTION_FIELD(sec), .help = "AUTH_SYS or AUTH_NONE" },
	{ "xprtsec", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .initial = "none",
	  .choices = xprtsec_choices, .help = "transport security" },
	{ "acl", .group = GROUP_PROTOCOL, .kind = KIND_FLAG, .state = OPTION_REFUSED,
	  .slot = SLOT_ACL, .refuse = MSG_OPTION_UNSUPPORTED },
	FLAG("noacl", GROUP_PROTOCOL, .slot = SLOT_ACL, .initial = "",
	     .help = "no NFSACL protocol"),
	FLAG("lock", GROUP_PROTOCOL, .slot = SLOT_LOCK, STORE(lock), .flag = LOCK_REMOTE,
	     .initial = "", .help = "locks hold between hosts: NLM"),
	FLAG("nolock", GROUP_PROTOCOL, .slot = SLOT_LOCK, STORE(lock), .flag = LOCK_LOCAL,
	     .help = "locks are kept on this host"),
	{ "local_lock", .group = GROUP_PROTOCOL, .kind = KIND_CHOICE, .initial = "none",
	  .choices = local_lock_choices, STORE(local_lock),
	  .help = "with lock: these are local all the same" },

	/* 4. Caching and data */
	FLAG("ac", GROUP_CACHE, .slot = SLOT_AC, .effect = EFFECT_AC, .initial = "", .live = true,
	     .help = "cache attributes"),
	FLAG("noac", GROUP_CACHE, .slot = SLOT_AC, .effect = EFFECT_NOAC, .live = true,
	     .help = "do not cache attributes: all ac* are 0; implies sync"),
#define AC_TIME(word, field, seconds, text)                                                     \
	{ word, .group = GROUP_CACHE, .kind = KIND_SECONDS, .slot = SLOT_AC, .value = "SEC",    \
	  .initial = seconds, .min = 0, .max = INT32_MAX, OPTION_FIELD(field), .live = true,    \
	  .help = text }
	AC_TIME("acregmin", acregmin_ns, "3", "shortest time attributes of a file are believed"),
	AC_TIME("acregmax", acregmax_ns, "60", "longest time, reached as the file stays unchanged"),
	AC_TIME("acdirmin", acdirmin_ns, "30", "the same for directories"),
	AC_TIME("acdirmax", acdirmax_ns, "60", "the same for directories"),
	{ "actimeo", .group = GROUP_CACHE, .kind = KIND_SECONDS, .slot = SLOT_AC, .value = "SEC",
	  .shown = "3 to 60", .effect = EFFECT_ACTIMEO, .min = 0, .max = INT32_MAX, .live = true,
	  .common = true, .help = "all four attribute cache times" },
	{ "lookupcache", .group = GROUP_CACHE, .kind = KIND_CHOICE, .initial = "all",
	  .choices = lookupcache_choices, OPTION_FIELD(lookupcache), .live = true,
	  .help = "names to cache: existing and missing ones" },
	FLAG("cto", GROUP_CACHE, .slot = SLOT_CTO, OPTION_FIELD(cto), .flag = 1, .initial = "",
	     .live = true, .help = "close-to-open consistency"),
	FLAG("nocto", GROUP_CACHE, .slot = SLOT_CTO, OPTION_FIELD(cto), .live = true,
	     .help = "trust cached attributes at open"),
	{ "readahead", .group = GROUP_CACHE, .kind = KIND_BYTES, .value = "BYTES",
	  .initial = "auto",
	  .min = 0, .max = 1 << 30, OPTION_FIELD(readahead), .takes_auto = true,
	  .flag = READAHEAD_AUTO, .live = true, .help = "read-ahead per stream; 0: off" },
	{ "wbuf", .group = GROUP_CACHE, .kind = KIND_BYTES, .value = "BYTES", .initial = "64M",
	  .min = 1 << 20, .max = INT64_C(1) << 40, OPTION_FIELD(wbuf), .live = true,
	  .help = "memory for data the server has not stored yet" },
	{ "cachesize", .group = GROUP_CACHE, .kind = KIND_BYTES, .value = "BYTES", .initial = "256M",
	  .min = 8 << 20, .max = INT64_C(1) << 40, OPTION_FIELD(cachesize), .live = true,
	  .help = "memory for read-ahead by fusenfs, where the kernel's cannot be raised" },
	FLAG("sync", GROUP_CACHE, .slot = SLOT_SYNC, .effect = EFFECT_SYNC, OPTION_FIELD(sync),
	     .flag = 1, .live = true, .help = "every write is stable before it returns"),
	FLAG("async", GROUP_CACHE, .slot = SLOT_SYNC, .effect = EFFECT_SYNC, OPTION_FIELD(sync),
	     .initial = "", .live = true, .help = "stable at fsync and close"),
	LATER("writeback", GROUP_CACHE),
	{ "uid", .group = GROUP_CACHE, .kind = KIND_NUMBER, .value = "N", .shown = "the caller's",
	  .min = 0, .max = UINT32_MAX - 1, OPTION_FIELD(uid), GIVEN(options.fixed_uid),
	  .help = "user of every call" },
	{ "gid", .group = GROUP_CACHE, .kind = KIND_NUMBER, .value = "N", .shown = "the caller's",
	  .min = 0, .max = UINT32_MAX - 1, OPTION_FIELD(gid), GIVEN(options.fixed_gid),
	  .help = "group of every call" },
	LATER("squash", GROUP_CACHE),
	{ "maxgroups", .group = GROUP_CACHE, .kind = KIND_NUMBER, .value = "N", .initial = "16",
	  .min = 0, .max = 16, OPTION_FIELD(maxgroups), .help = "supplementary groups sent" },
	{ "perm", .group = GROUP_CACHE, .kind = KIND_CHOICE, .shown = "off",
	  .choices = perm_choices, OPTION_FIELD(perm),
	  .help = "only the server checks permissions" },

	/* 5. FUSE, generic and operational */
	FLAG("allow_other", GROUP_FUSE, OPTION_FIELD(allow_other), .flag = 1,
	     GIVEN(options.allow_other_given), .shown = "on for root", .common = true,
	     .help = "let other users in"),
	FLAG("default_permissions", GROUP_FUSE, OPTION_FIELD(default_permissions), .flag = 1,
	     GIVEN(default_permissions_given), .shown = "on with allow_other",
	     .help = "the kernel checks modes"),
	{ "max_read", .group = GROUP_FUSE, .kind = KIND_BYTES, .value = "BYTES",
	  .shown = "computed",
	  .min = 4096, .max = 1 << 20, OPTION_FIELD(max_read), .help = "largest FUSE read" },
	{ "max_background", .group = GROUP_FUSE, .kind = KIND_NUMBER, .value = "N",
	  .shown = "computed", .min = 1, .max = 65535, OPTION_FIELD(max_background),
	  .help = "FUSE requests in the background" },
	{ "fsname", .group = GROUP_FUSE, .kind = KIND_STRING, .value = "NAME",
	  .shown = "the source", .max = 4096, OPTION_FIELD(fsname),
	  .help = "name in /proc/mounts; \\, is a comma" },
	{ "subtype", .group = GROUP_FUSE, .kind = KIND_STRING, .value = "NAME", .shown = "fusenfs",
	  .max = 63, OPTION_FIELD(subtype), .help = "type in /proc/mounts, after 'fuse.'" },
	{ "max_threads", .group = GROUP_FUSE, .kind = KIND_NUMBER, .value = "N",
	  .shown = "min(nconnect, max(2, CPUs))", .min = 1, .max = 16, STORE(max_threads),
	  GIVEN(max_threads_given), .help = "event loops" },
	{ "spin", .group = GROUP_FUSE, .kind = KIND_NUMBER, .value = "US", .initial = "0", .min = 0, .max = 10000,
	  OPTION_FIELD(spin_us), .live = true, .help = "microseconds to busy-poll before a loop sleeps; costs CPU time" },
	FLAG("nonempty", GROUP_FUSE, OPTION_FIELD(nonempty), .flag = 1, .remounts = true,
	     .help = "mount over a directory that is not empty"),
	FLAG("overmount", GROUP_FUSE, OPTION_FIELD(overmount), .flag = 1, .remounts = true,
	     .help = "mount over another mount point"),
	{ "metrics", .group = GROUP_FUSE, .kind = KIND_STRING, .value = "ADDR:PORT", .min = 1, .max = 64, .shown = "off",
	  .live = true, OPTION_FIELD(metrics_text),
	  .help = "serve /metrics, /livez, /readyz; PORT alone: on the loopback; off: do not" },
	{ "ctl", .group = GROUP_FUSE, .kind = KIND_STRING, .value = "PATH", .shown = "below /run/fusenfs",
	  .min = 1, .max = 107, OPTION_FIELD(ctl), .help = "the control socket" },
	LATER("stats", GROUP_FUSE),
	{ "log", .group = GROUP_FUSE, .kind = KIND_CHOICE, .initial = "info",
	  .choices = log_choices,
	  OPTION_FIELD(log_level), GIVEN(log_given), .live = true, .help = "what is logged" },
	FLAG("debug", GROUP_FUSE, OPTION_FIELD(debug), .flag = 1, .remounts = true,
	     .help = "stay in the foreground, log=debug"),
	LATER("fault", GROUP_FUSE),
	FLAG("remount", GROUP_FUSE, OPTION_FIELD(remount), .flag = 1, .remounts = true,
	     .help = "change ro, rw and the like of what is mounted there"),
	FLAG("ro", GROUP_FUSE, .slot = SLOT_RO, .remounts = true, OPTION_FIELD(ro), .flag = 1, .live = true,
	     .common = true, .help = "read-only"),
	FLAG("rw", GROUP_FUSE, .slot = SLOT_RO, .remounts = true, OPTION_FIELD(ro), .initial = "", .live = true,
	     .common = true, .help = "read-write", .slot_help = "read-only or read-write"),
	FLAG("suid", GROUP_FUSE, .slot = SLOT_SUID, .remounts = true, OPTION_FIELD(nosuid),
	     .help = "honour set-user-id bits"),
	FLAG("nosuid", GROUP_FUSE, .slot = SLOT_SUID, .remounts = true, OPTION_FIELD(nosuid), .flag = 1,
	     .initial = "",
	     .help = "ignore set-user-id bits"),
	FLAG("dev", GROUP_FUSE, .slot = SLOT_DEV, .remounts = true, OPTION_FIELD(nodev),
	     .help = "honour device nodes"),
	FLAG("nodev", GROUP_FUSE, .slot = SLOT_DEV, .remounts = true, OPTION_FIELD(nodev), .flag = 1, .initial = "",
	     .help = "ignore device nodes"),
	FLAG("exec", GROUP_FUSE, .slot = SLOT_EXEC, .remounts = true, OPTION_FIELD(noexec), .initial = "",
	     .help = "let programs be run"),
	FLAG("noexec", GROUP_FUSE, .slot = SLOT_EXEC, .remounts = true, OPTION_FIELD(noexec), .flag = 1,
	     .help = "do not let programs be run"),
	FLAG("atime", GROUP_FUSE, .slot = SLOT_ATIME, .remounts = true, OPTION_FIELD(noatime), .initial = "",
	     .help = "access times as the server keeps them"),
	FLAG("noatime", GROUP_FUSE, .slot = SLOT_ATIME, .remounts = true, OPTION_FIELD(noatime), .flag = 1,
	     .help = "mount(2)'s noatime"),
	FLAG("sloppy", GROUP_FUSE, OPTION_FIELD(sloppy), .flag = 1, .remounts = true,
	     .help = "unknown options are warnings"),
	GENERIC("defaults"), GENERIC("auto"), GENERIC("noauto"), GENERIC("user"), GENERIC("nouser"),
	GENERIC("users"), GENERIC("owner"), GENERIC("group"), GENERIC("nofail"), GENERIC("_netdev"),
	GENERIC("relatime"), GENERIC("norelatime"), GENERIC("strictatime"),
	GENERIC("nostrictatime"),
	GENERIC("diratime"), GENERIC("nodiratime"), GENERIC("lazytime"), GENERIC("nolazytime"),
	GENERIC("user_id"), GENERIC("group_id"), /* FUSE's, which mount(8) reads in /proc and hands back */
	GENERIC("dirsync"), GENERIC("comment"), GENERIC("x-*"), GENERIC("X-*"),
	IGNORED("fsc"), IGNORED("nofsc"), IGNORED("sharecache"), IGNORED("nosharecache"),
	IGNORED("noalignwrite"), IGNORED("clientaddr"), IGNORED("minorversion"),
	IGNORED("migration"), IGNORED("nomigration"), IGNORED("trunkdiscovery"),
	IGNORED("notrunkdiscovery"), IGNORED("posix"), IGNORED("noposix"),
};

const unsigned int option_table_n = ARRAY_SIZE(option_table);

static bool row_matches(const struct option_row *row, const char *name, size_t n)
{
	size_t length = strlen(row->name);

	if (row->name[length - 1] == '*')
		return n >= length && memcmp(row->name, name, length - 1) == 0;
	return n == length && memcmp(row->name, name, n) == 0;
}

const struct option_row *option_find(const char *name, size_t n)
{
	for (unsigned int i = 0; i < option_table_n; i++)
		if (row_matches(&option_table[i], name, n))
			return &option_table[i];
	return NULL;
}

const struct option_row *option_nearest(const char *name)
{
	const struct option_row *nearest = NULL;
	unsigned int best = WORDS_FAR;

	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];
		unsigned int distance = words_distance(name, row->name);

		if (row->state != OPTION_REFUSED && distance < best && words_near(name, distance)) {
			best = distance;
			nearest = row;
		}
	}
	return nearest;
}

static const char *bytes_text(int64_t bytes, char text[24])
{
	static const char units[] = "GMK";

	for (unsigned int i = 0; units[i]; i++) {
		int64_t unit = INT64_C(1) << (30 - 10 * i);

		if (bytes >= unit && bytes % unit == 0) {
			snprintf(text, 24, "%lld%c", (long long)(bytes / unit), units[i]);
			return text;
		}
	}
	snprintf(text, 24, "%lld", (long long)bytes);
	return text;
}

static void list_choices(const struct option_row *row, FILE *stream)
{
	const char *between = "";

	for (const struct option_choice *choice = row->choices; choice->word; choice++) {
		if (choice->hidden)
			continue;
		fprintf(stream, "%s%s", between, choice->word);
		between = ", ";
	}
}

static void range_to(const struct option_row *row, FILE *stream)
{
	long long min = row->min, max = row->max;
	char low[24], high[24];

	switch (row->kind) {
	case KIND_NUMBER:
	case KIND_DECISECONDS:
		fprintf(stream, "%lld to %lld", min, max);
		break;
	case KIND_SECONDS:
		fprintf(stream, "%lld to %lld s", min, max);
		break;
	case KIND_MINUTES:
		fprintf(stream, "%lld to %lld minutes", min, max);
		break;
	case KIND_TIME:
		fprintf(stream, "%g to %g s", (double)min / 1000, (double)max / 1000);
		break;
	case KIND_BYTES:
		fprintf(stream, "%s%s to %s", row->takes_auto ? "auto, or " : "",
			bytes_text(min, low), bytes_text(max, high));
		break;
	case KIND_IO_SIZE:
		fputs("1K to 1M", stream);
		break;
	case KIND_CHOICE:
		list_choices(row, stream);
		break;
	case KIND_STRING:
		fprintf(stream, "1 to %lld characters", max);
		break;
	case KIND_FLAG:
	case KIND_ANY:
		break;
	}
}

const char *option_range(const struct option_row *row, char *text, size_t size)
{
	FILE *stream;

	text[0] = '\0';
	stream = fmemopen(text, size, "w");
	if (!stream)
		return text;
	range_to(row, stream);
	fclose(stream);
	text[size - 1] = '\0';
	return text;
}
