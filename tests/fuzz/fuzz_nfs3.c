/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_nfs3 - every decoder of fuse/nfs3.h against arbitrary results. The first byte is the
 * procedure, the second the log2 of the count that READ or WRITE asked for and, for READDIR, the
 * cookie; the rest is what follows accept_stat, at whatever alignment the allocator and an odd
 * offset give. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>

#include "nfs3_any.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t args[25] = { 0 };
	struct call call;

	if (size < 2)
		return 0;
	call_init(&call);
	args[8] = args[12] = data[1]; /* low byte of the cookie, READDIRPLUS's and READDIR's */
	call.head = args;
	call.head_len = sizeof(args);
	call.results = data + 2;
	call.results_len = (uint32_t)size - 2;
	nfs3_any_decode(data[0] % 22, &call, UINT32_C(1) << data[1] % 24);
	return 0;
}

#include "replay.h"
