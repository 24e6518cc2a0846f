/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_mount3 - the decoders of MNT, EXPORT, GETPORT and GETADDR results against arbitrary bytes.
 * All four see every input; it is copied to memory of its exact size, so that a sanitizer sees the
 * first byte beyond it. What is accepted must keep the promises of mount3.h. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/mount3.h"
#include "../../conn/rpcbind.h"

enum { RPC_REPLY_MAX = RPCWAIT_RECORD_MAX };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_mnt(const uint8_t *data, uint32_t len)
{
	struct mount3_mnt mnt;

	if (mount3_mnt_decode(data, len, &mnt)) {
		assert(mount3_mnt_decode(data, len, &mnt) == -EBADMSG);
		return;
	}
	assert(mnt.fh_len <= MOUNT_FH_MAX && mnt.n_flavors <= MOUNT_MAX_FLAVORS);
	assert(mnt.status != MNT3_OK ? !mnt.fh_len && !mnt.n_flavors : mnt.fh_len > 0);
	mount3_accepts_sys(mnt.flavors, mnt.n_flavors);
}

static void fuzz_export(const uint8_t *data, uint32_t len)
{
	struct mount3_exports exports;
	size_t total = 0;

	if (mount3_export_decode(data, len, "/data/sub", &exports))
		return;
	assert(exports.n <= MOUNT_MAX_EXPORTS);
	assert(!exports.truncated || exports.n == MOUNT_MAX_EXPORTS);
	for (unsigned int i = 0; i < exports.n; i++) {
		assert(exports.list[i].path[0]);
		total += strlen(exports.list[i].path) + strlen(exports.list[i].groups);
	}
	assert(total <= len);
	mount3_exports_free(exports.list, exports.n);
}

static void fuzz_portmap(const uint8_t *data, uint32_t len)
{
	uint16_t port;
	int error = rpcbind_getport_decode(data, len, &port);

	assert(!error || error == -EBADMSG);
	error = rpcbind_getaddr_decode(data, len, &port);
	assert(!error || error == -EBADMSG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t len = (uint32_t)(size < RPC_REPLY_MAX ? size : RPC_REPLY_MAX);
	uint8_t *copy = malloc(len ? len : 1);

	assert(copy);
	memcpy(copy, data, len);
	fuzz_mnt(copy, len);
	fuzz_export(copy, len);
	fuzz_portmap(copy, len);
	free(copy);
	return 0;
}

#include "replay.h"
