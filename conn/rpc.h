/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rpc - ONC RPC version 2 headers (RFC 5531) without record marks: the call header with its
 * AUTH_SYS credential, and the reply header, as a client writes and reads them, and as a server reads
 * and writes them. Ten words; the codecs of libnfs for them differ from version to version. Any
 * thread. */
#ifndef CONN_RPC_H
#define CONN_RPC_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "conn.h"

#define RPC_LAST_FRAGMENT UINT32_C(0x80000000) /* in a record mark; RFC 5531 section 11 */

enum { RPC_AUTH_MAX = 400 }; /* bytes of a credential or verifier body; section 8.2 */

/* rpc_write, rpc_read - one big-endian word, at any alignment. */
static inline void rpc_write(uint8_t *at, uint32_t word)
{
	word = htobe32(word);
	memcpy(at, &word, sizeof(word));
}

static inline uint32_t rpc_read(const uint8_t *at)
{
	uint32_t word;

	memcpy(&word, at, sizeof(word));
	return be32toh(word);
}

/* rpc_next_xid - from one counter for the whole process, so that no two connections share one. It
 * starts at random: a restarted process on the same port must not hit the server's reply cache. */
uint32_t rpc_next_xid(void);

/* rpc_call_header - write xid, CALL, version, procedure, credential (AUTH_NONE if cred is NULL) and
 * the empty verifier: rpc_call_header_size(cred) bytes, a multiple of 4, at most
 * CALL_HEADER_MAX - 4. The same arguments give the same bytes for the life of the process. */
uint32_t rpc_call_header_size(const struct cred *cred);
void rpc_call_header(uint8_t *at, uint32_t xid, uint32_t prog, uint32_t vers, uint32_t proc,
		     const struct cred *cred);

struct rpc_reply {
	uint32_t xid;
	/* 0: the procedure was called, its results follow. -EPROTONOSUPPORT: no such program or
	 * version (vers_low..vers_high are served, 0..0 if not told). -EOPNOTSUPP: no such
	 * procedure. -EACCES: credential refused. -EIO: arguments refused, or no memory there. */
	int status;
	uint32_t results_off; /* in the record; of results if status is 0 */
	uint32_t vers_low, vers_high;
};

/* rpc_reply_parse - the header of a reply of which len bytes are there. 0; -EBADMSG if this is no
 * reply; -EAGAIN if more bytes are needed and nothing is wrong so far: on a complete record that
 * is as bad as -EBADMSG. */
int rpc_reply_parse(const uint8_t *record, uint32_t len, struct rpc_reply *ret);

/* ---- the server's side ------------------------------------------------------------------- */

/* How a call ends: accept_stat (section 9), and what is denied. */
enum rpc_verdict {
	RPC_SUCCESS,
	RPC_PROG_UNAVAIL,
	RPC_PROG_MISMATCH,
	RPC_PROC_UNAVAIL,
	RPC_GARBAGE_ARGS,
	RPC_SYSTEM_ERR,
	RPC_VERSION_MISMATCH, /* denied: not RPC version 2 */
	RPC_BAD_CRED,         /* denied: neither AUTH_NONE nor AUTH_SYS */
};

struct rpc_call {
	uint32_t xid, prog, vers, proc;
	uint32_t args_off;        /* in the record */
	enum rpc_verdict verdict; /* not SUCCESS: only xid is set */
};

/* rpc_call_parse - the header of a whole record. 0, or -EBADMSG: not a call, and nothing to answer. Who calls
 * is not looked at: a credential is what anybody says of himself. */
int rpc_call_parse(const uint8_t *record, uint32_t len, struct rpc_call *ret_call);

/* rpc_reply_header - write the header of a reply with this verdict; results follow SUCCESS. vers: the only one
 * that is served. Returns its length, at most RPC_REPLY_HEADER_MAX. */
enum { RPC_REPLY_HEADER_MAX = 8 * 4 };
uint32_t rpc_reply_header(uint8_t *at, uint32_t xid, enum rpc_verdict verdict, uint32_t vers);

#endif
