/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount3 - the MOUNT version 3 protocol (RFC 1813 appendix I): calls to encode, replies to decode.
 *
 * The decoders are our own: libnfs's can be made to overflow the heap (MNT) and the stack (EXPORT)
 * by a server. They allocate no more than the reply is long, times a small constant. */
#ifndef CONN_MOUNT3_H
#define CONN_MOUNT3_H

#include <stdbool.h>
#include <stdint.h>

#include "mount.h"
#include "rpcwait.h"

enum { MOUNT_PROGRAM = 100005, MOUNT_VERSION = 3 };

enum { MOUNT3_PATH_MAX = 1024 }; /* MNTPATHLEN */

/* mountstat3 */
enum {
	MNT3_OK = 0,
	MNT3ERR_PERM = 1,
	MNT3ERR_NOENT = 2,
	MNT3ERR_ACCES = 13,
	MNT3ERR_NOTDIR = 20,
	MNT3ERR_NAMETOOLONG = 63,
};

enum { FLAVOR_NONE = 0, FLAVOR_SYS = 1 }; /* RPC authentication flavors */

/* The calls. The path is at most MOUNT3_PATH_MAX bytes; vers 0 is 3. */
void mount3_mnt_encode(struct rpc_request *request, uint32_t vers, const char *path);
void mount3_umnt_encode(struct rpc_request *request, uint32_t vers, const char *path);
void mount3_export_encode(struct rpc_request *request, uint32_t vers);

struct mount3_mnt {
	uint32_t status; /* not MNT3_OK: nothing else is set */
	uint32_t fh_len;
	uint8_t fh[MOUNT_FH_MAX];
	uint32_t n_flavors;
	uint32_t flavors[MOUNT_MAX_FLAVORS];
};

/* mount3_mnt_decode - 0 or -EBADMSG. */
int mount3_mnt_decode(const uint8_t *bytes, uint32_t len, struct mount3_mnt *ret_mnt);

struct mount3_exports {
	struct mount_export *list;
	unsigned int n;
	bool truncated; /* there are more than MOUNT_MAX_EXPORTS */
	bool covered;   /* path was given, and is in or below one of all exports */
};

/* mount3_export_decode - 0, -EBADMSG or -ENOMEM. path may be NULL. */
int mount3_export_decode(const uint8_t *bytes, uint32_t len, const char *path,
			 struct mount3_exports *ret_exports);
void mount3_exports_free(struct mount_export *list, unsigned int n);

/* mount3_path_covers - path is the export or below it; repeated and trailing slashes are ignored.
 * export has export_len bytes. */
bool mount3_path_covers(const char *export, size_t export_len, const char *path);

/* mount3_accepts_sys - AUTH_SYS may be used. An empty list says nothing, AUTH_NONE that the server
 * does not look at credentials (the kernel's client concludes the same). */
bool mount3_accepts_sys(const uint32_t flavors[], uint32_t n);

#endif
