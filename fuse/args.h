/* SPDX-License-Identifier: GPL-2.0-or-later */
/* args - a call's arguments by libnfs's codecs, straight into its head: args_begin(), codecs, args_end().
 * For nfs3.c and nlm4.c, which include libnfs's headers before this.
 *
 * A codec that fails has run out of room, which is a name or a target that is too long. libnfs checks
 * lengths but not the padding after them, hence the 16 bytes that call_begin() keeps back. Codecs take
 * pointers to plain char and do not write through them while encoding. */
#ifndef FUSE_ARGS_H
#define FUSE_ARGS_H

#include <errno.h>

#include "../conn/conn.h"

/* args_begin - of a small call without payload; *ret_zdr is where its arguments go. */
static inline void args_begin(struct call *call, const struct cred *cred, uint32_t prog, uint32_t vers,
			      uint32_t proc, enum call_class class, uint32_t reply_max, ZDR *ret_zdr)
{
	uint32_t room;
	uint8_t *args = call_begin(call, call->head, call->head_size, cred, prog, vers, proc, &room);

	zdrmem_create(ret_zdr, (char *)args, room, ZDR_ENCODE);
	call->class = class;
	call->size = CALL_SMALL;
	call->reply_max = reply_max;
	call->payload = NULL;
	call->payload_len = 0;
}

/* args_end - encoded: what the last codec said. 0 or -ENAMETOOLONG. */
static inline int args_end(struct call *call, ZDR *zdr, bool encoded)
{
	uint32_t room = (uint32_t)zdr->size;
	uint32_t len = zdr_getpos(zdr);

	zdr_destroy(zdr);
	if (!encoded || len > room)
		return -ENAMETOOLONG;
	call_end(call, len);
	return 0;
}

#endif
