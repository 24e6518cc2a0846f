/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_responder - what the server's calls go through: record, RPC header, procedure, arguments;
 * and what our own rpcbind lists. The first byte chooses. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "../../conn/registry.h"
#include "../../conn/service.h"
#include "../../fuse/nlm4.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum service_verdict handle(void *userdata, const struct service_call *call,
				   uint8_t results[SERVICE_RESULTS_MAX], uint32_t *ret_len)
{
	char name[NLM4_NOTIFY_NAME_MAX];
	uint8_t priv[NLM4_PRIV_LEN];
	struct nlm4_granted granted;

	(void)userdata;
	if (call->proc == NLM4_PROC_SM_NOTIFY) {
		if (nlm4_notify_decode(call->args, call->args_len, name, priv))
			return SERVICE_BAD_ARGS;
		assert(strlen(name) > 0 && strlen(name) < sizeof(name));
		*ret_len = 0;
		return SERVICE_DONE;
	}
	if (call->proc != NLM4_PROC_GRANTED)
		return SERVICE_NO_SUCH;
	if (nlm4_granted_decode(call->args, call->args_len, &granted))
		return SERVICE_BAD_ARGS;
	assert(granted.range.start <= granted.range.end &&
	       granted.fh.len <= sizeof(granted.fh.data));
	assert(strlen(granted.oh) < sizeof(granted.oh) && !strchr(granted.oh, '/'));
	*ret_len = nlm4_granted_reply(results, &granted.cookie, true);
	assert(*ret_len <= SERVICE_RESULTS_MAX && *ret_len % 4 == 0);
	return SERVICE_DONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct service_config config = {
		.prog = NLM4_PROGRAM,
		.vers = NLM4_VERSION,
		.handle = handle,
	};
	struct registry_entry entries[REGISTRY_MAX_ENTRIES];
	struct sockaddr_storage from = {.ss_family = AF_INET};
	uint8_t reply[SERVICE_REPLY_MAX];
	unsigned int n = 0;
	int len;

	if (size < 1)
		return 0;
	if (data[0] & 1) {
		if (!registry_decode(data + 1, (uint32_t)size - 1, NLM4_PROGRAM, entries, &n))
			assert(n <= REGISTRY_MAX_ENTRIES);
		return 0;
	}
	len = service_answer(&config, &from, data + 1, (uint32_t)size - 1, reply);
	assert(len == -EBADMSG || (len >= 20 && len <= (int)sizeof(reply)));
	return 0;
}

#include "replay.h"
