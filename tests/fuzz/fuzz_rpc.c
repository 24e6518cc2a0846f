/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_rpc - the reply header parser against arbitrary records, which may still be arriving: for
 * every prefix the answer is -EAGAIN until it is known, and then stays the same. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "../../conn/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rpc_reply whole = { 0 }, part = { 0 };
	uint32_t len = (uint32_t)(size < 512 ? size : 512);
	int final = rpc_reply_parse(data, len, &whole);

	for (uint32_t have = 0; have <= len; have++) {
		int result = rpc_reply_parse(data, have, &part);

		assert(result == -EAGAIN || result == final);
		if (result != 0)
			continue;
		assert(part.results_off <= have);
		assert(!memcmp(&part, &whole, sizeof(part)));
	}
	return 0;
}

#include "replay.h"
