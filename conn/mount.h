/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount - from "server:/export" to an address, a port and a root file handle.
 *
 * PUBLIC. The network half of the preflight: resolve the name, find the ports, reach the NFS
 * service, ask mountd (RFC 1813 appendix I), each stage with a limit of its own, each failure told
 * apart. Plain blocking functions for the thread that mounts; no pool and no loop is needed.
 * Text for people is made elsewhere: a failure is a stage and facts. */
#ifndef CONN_MOUNT_H
#define CONN_MOUNT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "conn.h"

enum mount_transport { MOUNT_DISCOVER, MOUNT_TCP, MOUNT_UDP };

struct mount_proof;

struct mount_query {
	const char *host;       /* name, IPv4 or IPv6 literal (no brackets; %scope allowed); or several of one
				 * server, with commas between */
	const char *address;    /* a literal: where host is, which is not resolved then; NULL */
	const char *mount_host; /* where mountd is, a name or literal; NULL: at the NFS address */
	int mount_family;       /* of mountd's address, if host may have another for NFS; AF_UNSPEC */
	const char *path;       /* export path, starts with '/' */
	int family;             /* AF_UNSPEC, AF_INET or AF_INET6 */
	uint16_t nfs_port;      /* 0: ask the portmapper, 2049 if that fails */
	uint16_t mount_port;    /* 0: ask the portmapper */
	uint16_t rpcbind_port;  /* 0: 111 */
	enum mount_transport mount_transport; /* DISCOVER: UDP first (nfs(5)), TCP when that failed
					       * or is silent for half a second */
	enum mount_transport nfs_transport; /* DISCOVER: TCP; what the portmapper has, if it has no TCP, or
					     * if that is refused (nfs(5): the server is asked once) */
	uint32_t mount_vers;    /* 0: 3; no other version gives an NFSv3 handle */
	bool resvport;          /* MNT from a port below 1024 where permitted */
	const struct pool_local *locals; /* everything is asked from the first that can be had; borrowed */
	unsigned int n_locals;  /* 0: the kernel chooses */
	int64_t stage_ns;       /* limit of each network stage; 0: 5 s */
	int64_t deadline_ns;    /* limit of all (CLOCK_MONOTONIC); 0: none */
	int cancel_fd;          /* readable: give up within a tenth of a second; 0: none */
	const struct mount_proof *proof; /* instead of mountd; NULL: mountd is asked */
};

/* Is the NFS service at an address the one that we know? Where mountd is elsewhere, what it answers proves
 * nothing about an NFS address. conn/ knows no NFS procedure, so the owner brings a call, encoded
 * (call_begin(), call_end()), of at most MOUNT_PROOF_MAX bytes, and judges the results. */
enum { MOUNT_PROOF_MAX = 1024 };
enum mount_verdict { MOUNT_IS_IT, MOUNT_IS_ANOTHER, MOUNT_CANNOT_TELL };
struct mount_proof {
	struct call *call;
	enum mount_verdict (*judge)(const struct mount_proof *proof, const uint8_t *results, uint32_t len);
};

/* mount_is_elsewhere - mountd may be at another address than NFS. */
bool mount_is_elsewhere(const struct mount_query *query);

/* In the order in which they run. All addresses are tried at once, each a little after the one
 * before it: one that swallows packets does not delay one that answers. */
enum mount_stage {
	MOUNT_STAGE_RESOLVE,
	MOUNT_STAGE_CONNECT, /* to the NFS port, which the portmapper is asked for if need be */
	MOUNT_STAGE_NULL,    /* NFS version 3 NULL; the first address that answers is the server */
	MOUNT_STAGE_RPCBIND, /* port of mountd; left out with mount_port */
	MOUNT_STAGE_MOUNTD,  /* MNT, or the proof */
	MOUNT_STAGE_DONE,
};

/* Why a stage failed; every value is one message of the catalogue (ref/messages.md). */
enum mount_failure {
	MOUNT_OK,
	MOUNT_DNS_FAILED,          /* gai_error says why */
	MOUNT_DNS_TIMEOUT,
	MOUNT_CONN_REFUSED,
	MOUNT_CONN_TIMEOUT,
	MOUNT_NET_UNREACHABLE,
	MOUNT_CONN_ERROR,          /* any other errno */
	MOUNT_NOT_NFS,             /* the port answers, not with RPC or not as NFS; first bytes in
				    * peer_bytes, none if it only hangs up (a proxy, a tunnel) */
	MOUNT_VERSION_UNSUPPORTED, /* PROG_MISMATCH: low and high in vers_low, vers_high */
	MOUNT_NFS_TIMEOUT,         /* connected, NULL not answered */
	MOUNT_RPCBIND_REFUSED,     /* no mountport= and portmapper not reachable (error says how:
				    * ETIMEDOUT is silence), NFS port open */
	MOUNT_MOUNTD_MISSING,      /* portmapper knows no mountd, or mountd no version 3 */
	MOUNT_MOUNTD_REFUSED,      /* mountd's port refuses, or cannot be reached: error */
	MOUNT_MOUNTD_TIMEOUT,
	MOUNT_MOUNTD_BAD_REPLY,    /* malformed; or it hung up (error ECONNRESET) */
	MOUNT_EXPORT_NOT_FOUND,    /* NOENT, or ACCES and the export list lacks the path */
	MOUNT_ACCESS_DENIED,       /* ACCES or PERM, and the path is (in) an export, or there is no
				    * list; mountstat 0: the credential was refused */
	MOUNT_NOT_DIRECTORY,       /* NOTDIR */
	MOUNT_MOUNTD_ERROR,        /* another mountstat3, in mountstat */
	MOUNT_AUTH_FLAVOR,         /* AUTH_SYS not among flavors[] */
	MOUNT_OTHER_SERVER,        /* MOUNT_IS_ANOTHER */
	MOUNT_DEADLINE,            /* deadline_ns passed */
	MOUNT_CANCELLED,           /* by cancel_fd */
	MOUNT_NO_MEMORY,
};

enum { MOUNT_MAX_FLAVORS = 16, MOUNT_MAX_EXPORTS = 256, MOUNT_FH_MAX = 64 };

struct mount_export {
	char *path;
	char *groups; /* comma-separated client groups as the server lists them; "" for everyone */
};

/* The outcome. Zero-initialise; mount_result_deinit() after use. */
struct mount_result {
	enum mount_failure failure;
	enum mount_stage stage;      /* reached: where it failed, or DONE */
	int error;                   /* errno, 0 if none */
	int gai_error;               /* getaddrinfo(3) */
	uint32_t mountstat;
	struct pool_addr addrs[POOL_MAX_ADDRS]; /* resolved, NFS port filled in once known; the one
						 * that answered first, or that the failure is
						 * about, is addrs[0] */
	unsigned int n_addrs;
	struct pool_addr mountd;     /* who was asked for the handle, or would not answer; len 0: nobody */
	bool about_mountd;           /* RESOLVE failed for mount_host */
	uint16_t nfs_port, mount_port, mount_source_port;
	enum mount_transport nfs_transport; /* TCP or UDP; addrs[] say so, too */
	enum mount_transport mount_transport; /* TCP or UDP: how mountd answered, or did not */
	bool rpcbind_answered;
	uint32_t vers_low, vers_high;
	uint8_t peer_bytes[16];      /* NOT_NFS */
	uint32_t n_peer_bytes;
	uint32_t fh_len;             /* the export's root handle */
	uint8_t fh[MOUNT_FH_MAX];
	uint32_t flavors[MOUNT_MAX_FLAVORS];
	uint32_t n_flavors;
	struct mount_export *exports; /* fetched only after a refusal; bytes from the server as they
				       * are, without NUL: escape them before they are shown */
	unsigned int n_exports;
	bool exports_truncated;      /* there are more than MOUNT_MAX_EXPORTS */
	int64_t stage_started_ns[MOUNT_STAGE_DONE + 1]; /* 0: left out or not reached */
};

/* mount_query_run - run all stages. 0 when the root handle is there, else -EIO with failure set.
 * May block until deadline_ns. Not on a loop's thread. */
int mount_query_run(const struct mount_query *query, struct mount_result *ret_result);
void mount_result_deinit(struct mount_result *result);
const char *mount_stage_name(enum mount_stage stage);

/* mount_exports - the EXPORT list alone, for `fusenfs exports` and doctor: stages RESOLVE, RPCBIND,
 * MOUNTD. query->path may be NULL. Otherwise as mount_query_run(). */
int mount_exports(const struct mount_query *query, struct mount_result *ret_result);

/* mount_program_port - on which TCP port of the server does a program listen? Its portmapper is asked. 0
 * with *ret_port, 0 if it is not registered; or -errno: nobody answered. Blocks until deadline_ns. */
int mount_program_port(const struct mount_query *query, const struct pool_addr *server, uint32_t prog,
		       uint32_t vers, int64_t deadline_ns, uint16_t *ret_port);

/* mount_null - one NULL call of a program at one address and port, by TCP or UDP as addr says. Blocks until
 * deadline_ns. A version that no server has makes it tell which ones it has. */
struct mount_null {
	int error;           /* 0, or -errno: -EPROTONOSUPPORT not this version, -EACCES no AUTH_NONE, -EBADMSG
			      * not RPC; those of connecting and of silence */
	bool connected;      /* TCP */
	bool replied;        /* by RPC, whatever it said */
	uint32_t vers_low, vers_high; /* with -EPROTONOSUPPORT; 0: not told */
	int64_t took_ns;     /* call to answer, without connecting */
	uint16_t source_port;
};
void mount_null(const struct mount_query *query, const struct pool_addr *addr, uint32_t prog, uint32_t vers,
		int64_t deadline_ns, struct mount_null *ret_null);

/* mount_umnt - send UMNT the way MNT went, without waiting for an answer: it is advisory (RFC 1813
 * 5.2.3). By TCP the connection is waited for, 1 s at most. */
void mount_umnt(const struct mount_query *query, const struct mount_result *result);

/* mount_resolve - hosts as in struct mount_query, of which one will do. getaddrinfo(3) in a thread of its
 * own, so that a dead name server costs no more than until deadline_ns, and no more than a tenth of a second once cancel_fd is readable (0: none). Fills
 * addrs[0..POOL_MAX_ADDRS) with port, without duplicates. 0, an EAI_* value for gai_strerror(3), or
 * -ETIMEDOUT or -ECANCELED, which are none of them. */
int mount_resolve(const char *hosts, int family, uint16_t port, int64_t deadline_ns, int cancel_fd,
		  struct pool_addr addrs[], unsigned int *ret_n);

#endif
