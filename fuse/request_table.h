/* SPDX-License-Identifier: GPL-2.0-or-later */
/* request_table - the requests in flight by the kernel's id, for FUSE_INTERRUPT alone.
 *
 * An INTERRUPT may be read by one loop before another has registered its request: ids that match
 * nothing are remembered for a moment. Sharded; a shard's lock is held for a few instructions and
 * never across a reply. */
#ifndef FUSE_REQUEST_TABLE_H
#define FUSE_REQUEST_TABLE_H

#include "request.h"

/* request_table_add - the handler's thread, before the first send. */
void request_table_add(struct request_table *table, struct request *request);
/* request_table_remove - before the request is freed. */
void request_table_remove(struct request_table *table, struct request *request);

/* request_table_start - begin to answer requests that are past their deadline, whatever they wait for;
 * see request.h. The loops are running. */
void request_table_start(struct request_table *table);

#endif
