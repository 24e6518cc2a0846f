/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_nlm4 - the decoders of fuse/nlm4.h against arbitrary results: what follows accept_stat, behind a
 * first byte that chooses. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>

#include "../../fuse/nlm4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum nlm4_status status = NLM4_STATUS_GRANTED;
	struct nlm4_test test = { 0 };
	struct call call;
	int error;

	if (size < 1)
		return 0;
	call_init(&call);
	call.results = data + 1;
	call.results_len = (uint32_t)size - 1;
	error = data[0] & 1 ? nlm4_test_decode(&call, &test) : nlm4_status_decode(&call, &status);
	assert(error == 0 || error == -EBADMSG);
	assert(status <= NLM4_STATUS_FAILED && test.status <= NLM4_STATUS_FAILED);
	assert(test.holder.start <= test.holder.end);
	return 0;
}

#include "replay.h"
