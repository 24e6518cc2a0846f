/* SPDX-License-Identifier: GPL-2.0-or-later */
/* call - a call from call_init() until the pool has it. No state of its own, any thread; what
 * happens to a submitted call is pool.c's and connection.c's. */
#include "call.h"

#include <assert.h>
#include <string.h>

#include "rpc.h"
#include "util.h"

enum { MARK_SIZE = 4, ZDR_OVERRUN = 16 };

void call_init(struct call *call)
{
	memset(call, 0, sizeof(*call));
	call->class = CALL_IDEMPOTENT;
	call->size = CALL_SMALL;
	call->deadline_ns = INT64_MAX;
}

uint8_t *call_begin(struct call *call, uint8_t *head, uint32_t size, const struct cred *cred,
		    uint32_t prog, uint32_t vers, uint32_t proc, uint32_t *ret_room)
{
	uint32_t header = MARK_SIZE + rpc_call_header_size(cred);

	assert(size >= header + ZDR_OVERRUN);
	call->head = head;
	call->head_size = size;
	call->head_len = header;
	call->xid = rpc_next_xid();
	call->prog = prog;
	call->proc = proc;
	rpc_write(head, 0); /* call_seal() knows the length */
	rpc_call_header(head + MARK_SIZE, call->xid, prog, vers, proc, cred);
	*ret_room = size - header - ZDR_OVERRUN;
	return head + header;
}

void call_end(struct call *call, uint32_t args_len)
{
	assert(args_len <= call->head_size - call->head_len);
	call->head_len += args_len;
}

void call_renew(struct call *call)
{
	call->xid = rpc_next_xid();
}

void call_seal(struct call *call)
{
	uint32_t payload = call->payload_len + (uint32_t)xdr_pad(call->payload_len);

	rpc_write(call->head, RPC_LAST_FRAGMENT | (call->head_len - MARK_SIZE + payload));
	rpc_write(call->head + MARK_SIZE, call->xid);
}

void call_fail(struct call *call, int status)
{
	call->status = status;
	call->ambiguous = call->class != CALL_IDEMPOTENT && (call->n_sent || call->resent);
}
