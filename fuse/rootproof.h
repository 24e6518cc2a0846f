/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rootproof - does an NFS address serve our root? GETATTR of its handle there tells the same
 * fsid and fileid.
 *
 * For where mountd is elsewhere (mounthost=), and what it answers says nothing about an NFS
 * address. One thread. */
#ifndef FUSE_ROOTPROOF_H
#define FUSE_ROOTPROOF_H

#include "../conn/mount.h"
#include "fs.h"

struct rootproof {
	struct mount_proof proof; /* for mount_query.proof */
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	uint64_t fsid, fileid;    /* as the mount knows them */
};

/* rootproof_init - for one query; the struct stays in place until that has run. 0 or -errno. */
int rootproof_init(struct rootproof *proof, const struct fs *fs);

#endif
