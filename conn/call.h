/* SPDX-License-Identifier: GPL-2.0-or-later */
/* call - the part of a call's life that only conn/ sees; the rest is in conn.h. */
#ifndef CONN_CALL_H
#define CONN_CALL_H

#include <stdatomic.h>

#include "conn.h"

/* call_seal - write the record mark and the xid into the head: the last change to its bytes before
 * they are sent, and sent again. The record is head, payload, and the payload's padding. */
void call_seal(struct call *call);
/* call_fail - set status and `ambiguous` of a call that ends without a reply. */
void call_fail(struct call *call, int status);

/* call_is_cancelled - the owner has lost interest (call_cancel()). */
static inline bool call_is_cancelled(const struct call *call)
{
	return atomic_load_explicit(&call->cancelled, memory_order_relaxed);
}

#endif
