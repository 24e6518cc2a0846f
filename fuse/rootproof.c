/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rootproof - see rootproof.h. */
#include "rootproof.h"

#include <errno.h>

#include "../conn/util.h"
#include "attr.h"
#include "export.h"
#include "nfs3.h"

/* Another server does not know the handle, or takes it for a file of its own. One that is not
 * ready, or does not let us in now, says nothing about what it is. */
static enum mount_verdict judge(const struct mount_proof *of, const uint8_t *results, uint32_t len)
{
	const struct rootproof *proof = container_of(of, const struct rootproof, proof);
	struct call answer = { .results = results, .results_len = len };
	struct attr attr;

	switch (-nfs3_getattr_decode(&answer, &attr)) {
	case 0:
		return attr.fsid == proof->fsid && attr.fileid == proof->fileid ? MOUNT_IS_IT :
										  MOUNT_IS_ANOTHER;
	case ENFS_JUKEBOX:
	case EACCES:
	case EPERM:
	case EIO:
		return MOUNT_CANNOT_TELL;
	default:
		return MOUNT_IS_ANOTHER;
	}
}

int rootproof_init(struct rootproof *proof, const struct fs *fs)
{
	struct cred cred = export_cred(fs->options);
	struct attr attr;

	if (attr_get(fs->root, clock_ns(), &attr) < 0)
		return -EAGAIN;
	proof->fsid = attr.fsid;
	proof->fileid = attr.fileid;
	proof->proof.call = &proof->call;
	proof->proof.judge = judge;
	call_init(&proof->call);
	proof->call.head = (uint8_t *)proof->head;
	proof->call.head_size = sizeof(proof->head);
	return nfs3_getattr_encode(&proof->call, &cred, inode_fh(fs->root));
}
