/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nlm4 - see nlm4.h. Arguments by libnfs's codecs (args.h), results by a bounded cursor, as nfs3*.c. No state,
 * any thread. */
#include "nlm4.h"

#include <errno.h>
#include <string.h>

#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs-raw-nlm.h>

#include "args.h"
#include "xdr.h"

enum {
	COOKIE_MAX = 1024,
	HOLDER_OH_MAX = 1024,
	MAX_STATUS_REPLY = 4 + COOKIE_MAX + 4,
	MAX_TEST_REPLY = MAX_STATUS_REPLY + 4 + 4 + 4 + HOLDER_OH_MAX + 16,
};

static void begin(struct call *call, const struct cred *cred, uint32_t proc, enum call_class class,
		  uint32_t reply_max, ZDR *ret_zdr)
{
	args_begin(call, cred, NLM4_PROGRAM, NLM4_VERSION, proc, class, reply_max, ret_zdr);
}

/* The answer is found by its xid; the cookie is for the _MSG procedures, which we do not use. */
static nlm_cookie no_cookie(char byte[1])
{
	return (nlm_cookie){ { 1, byte } };
}

/* On the wire a length of 0 is "to the end". */
static nlm4_lock to_lock(const struct fhandle *fh, const struct nlm4_owner *owner,
			 const struct nlm4_range *range)
{
	return (nlm4_lock){
		.caller_name = (char *)owner->caller_name,
		.fh = { { fh->len, (char *)fh->data } },
		.oh = (char *)owner->oh,
		.svid = owner->svid,
		.l_offset = range->start,
		.l_len = range->end == UINT64_MAX ? 0 : range->end - range->start + 1,
	};
}

int nlm4_test_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     const struct nlm4_owner *owner, const struct nlm4_range *range)
{
	char byte[1] = { 0 };
	NLM4_TESTargs args = {
		.cookie = no_cookie(byte),
		.exclusive = range->exclusive,
		.lock = to_lock(fh, owner, range),
	};
	ZDR zdr;

	begin(call, cred, NLM4_TEST, CALL_IDEMPOTENT, MAX_TEST_REPLY, &zdr);
	return args_end(call, &zdr, zdr_NLM4_TESTargs(&zdr, &args));
}

int nlm4_lock_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     const struct nlm4_owner *owner, const struct nlm4_range *range, bool reclaim,
		     int state)
{
	char byte[1] = { 0 };
	NLM4_LOCKargs args = {
		.cookie = no_cookie(byte),
		.block = 0,
		.exclusive = range->exclusive,
		.lock = to_lock(fh, owner, range),
		.reclaim = reclaim,
		.state = state,
	};
	ZDR zdr;

	begin(call, cred, NLM4_LOCK, CALL_WRITE, MAX_STATUS_REPLY, &zdr);
	return args_end(call, &zdr, zdr_NLM4_LOCKargs(&zdr, &args));
}

int nlm4_unlock_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       const struct nlm4_owner *owner, const struct nlm4_range *range)
{
	char byte[1] = { 0 };
	NLM4_UNLOCKargs args = {
		.cookie = no_cookie(byte),
		.lock = to_lock(fh, owner, range),
	};
	ZDR zdr;

	begin(call, cred, NLM4_UNLOCK, CALL_WRITE, MAX_STATUS_REPLY, &zdr);
	return args_end(call, &zdr, zdr_NLM4_UNLOCKargs(&zdr, &args));
}

/* ---- results ----------------------------------------------------------------------------- */

static enum nlm4_status get_status(struct xdr_in *in)
{
	uint32_t cookie_len, status;

	xdr_opaque(in, 0, COOKIE_MAX, &cookie_len);
	status = xdr_u32(in);
	if (status > NLM4_STATUS_FAILED)
		xdr_fail(in);
	return in->bad ? NLM4_STATUS_FAILED : (enum nlm4_status)status;
}

int nlm4_status_decode(const struct call *call, enum nlm4_status *ret_status)
{
	struct xdr_in in = { call->results, call->results_len, false };
	enum nlm4_status status = get_status(&in);

	if (in.bad)
		return -EBADMSG;
	*ret_status = status;
	return 0;
}

/* A holder that reaches beyond the largest offset reaches to the end. */
static void get_holder(struct xdr_in *in, struct nlm4_test *ret_test)
{
	uint32_t oh_len;
	uint64_t len;

	ret_test->holder.exclusive = xdr_bool(in);
	ret_test->svid = xdr_u32(in);
	xdr_opaque(in, 0, HOLDER_OH_MAX, &oh_len);
	ret_test->holder.start = xdr_u64(in);
	len = xdr_u64(in);
	if (len == 0 || len - 1 > UINT64_MAX - ret_test->holder.start)
		ret_test->holder.end = UINT64_MAX;
	else
		ret_test->holder.end = ret_test->holder.start + len - 1;
}

int nlm4_test_decode(const struct call *call, struct nlm4_test *ret_test)
{
	struct xdr_in in = { call->results, call->results_len, false };
	struct nlm4_test test = { .status = get_status(&in) };

	if (test.status == NLM4_STATUS_DENIED)
		get_holder(&in, &test);
	if (in.bad)
		return -EBADMSG;
	*ret_test = test;
	return 0;
}

int nlm4_errno(enum nlm4_status status)
{
	switch (status) {
	case NLM4_STATUS_GRANTED:
		return 0;
	case NLM4_STATUS_DENIED:
	case NLM4_STATUS_BLOCKED:
	case NLM4_STATUS_DENIED_GRACE_PERIOD:
		return -EAGAIN;
	case NLM4_STATUS_DEADLCK:
		return -EDEADLK;
	case NLM4_STATUS_ROFS:
		return -EROFS;
	case NLM4_STATUS_STALE_FH:
		return -ESTALE;
	case NLM4_STATUS_FBIG:
		return -EOVERFLOW;
	case NLM4_STATUS_DENIED_NOLOCKS:
	case NLM4_STATUS_FAILED:
		break;
	}
	return -ENOLCK;
}
