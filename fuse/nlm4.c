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
	RESULT_COOKIE_MAX = 1024,
	HOLDER_OH_MAX = 1024,
	MAX_STATUS_REPLY = 4 + RESULT_COOKIE_MAX + 4,
	MAX_TEST_REPLY = MAX_STATUS_REPLY + 4 + 4 + 4 + HOLDER_OH_MAX + 16,
};

static void begin(struct call *call, const struct cred *cred, uint32_t proc, enum call_class class,
		  uint32_t reply_max, ZDR *ret_zdr)
{
	args_begin(call, cred, NLM4_PROGRAM, NLM4_VERSION, proc, class, reply_max, ret_zdr);
}

/* The answer is found by its xid; the cookie is for the _MSG procedures, which we do not call. */
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
		     const struct nlm4_owner *owner, const struct nlm4_range *range,
		     struct nlm4_lock_how how)
{
	char byte[1] = { 0 };
	NLM4_LOCKargs args = {
		.cookie = no_cookie(byte),
		.block = how.block,
		.exclusive = range->exclusive,
		.lock = to_lock(fh, owner, range),
		.reclaim = how.reclaim,
		.state = how.state,
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

int nlm4_cancel_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       const struct nlm4_owner *owner, const struct nlm4_range *range)
{
	char byte[1] = { 0 };
	NLM4_CANCargs args = {
		.cookie = no_cookie(byte),
		.block = 1,
		.exclusive = range->exclusive,
		.lock = to_lock(fh, owner, range),
	};
	ZDR zdr;

	begin(call, cred, NLM4_CANCEL, CALL_WRITE, MAX_STATUS_REPLY, &zdr);
	return args_end(call, &zdr, zdr_NLM4_CANCargs(&zdr, &args));
}

/* libnfs 4 and 5 do not agree on what the procedure is called. */
enum { GRANTED_RES = 15 };

int nlm4_granted_res_encode(struct call *call, const struct cred *cred, const struct nlm4_cookie *cookie,
			    bool granted)
{
	NLM4_GRANTEDres res = {
		.cookie = { { cookie->len, (char *)cookie->data } },
		.status = granted ? NLM4_GRANTED : NLM4_DENIED,
	};
	ZDR zdr;

	begin(call, cred, GRANTED_RES, CALL_IDEMPOTENT, 0, &zdr);
	return args_end(call, &zdr, zdr_NLM4_GRANTEDres(&zdr, &res));
}

/* ---- results ----------------------------------------------------------------------------- */

static enum nlm4_status get_status(struct xdr_in *in)
{
	uint32_t cookie_len, status;

	xdr_opaque(in, 0, RESULT_COOKIE_MAX, &cookie_len);
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

/* What reaches beyond the largest offset reaches to the end. */
static void get_range(struct xdr_in *in, struct nlm4_range *ret_range)
{
	uint64_t len;

	ret_range->start = xdr_u64(in);
	len = xdr_u64(in);
	if (len == 0 || len - 1 > UINT64_MAX - ret_range->start)
		ret_range->end = UINT64_MAX;
	else
		ret_range->end = ret_range->start + len - 1;
}

static void get_holder(struct xdr_in *in, struct nlm4_test *ret_test)
{
	uint32_t oh_len;

	ret_test->holder.exclusive = xdr_bool(in);
	ret_test->svid = xdr_u32(in);
	xdr_opaque(in, 0, HOLDER_OH_MAX, &oh_len);
	get_range(in, &ret_test->holder);
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

/* ---- what the server calls us for -------------------------------------------------------- */

static void get_cookie(struct xdr_in *in, struct nlm4_cookie *ret_cookie)
{
	uint32_t len = 0;
	const uint8_t *data = xdr_opaque(in, 0, NLM4_COOKIE_MAX, &len);

	ret_cookie->len = len;
	if (data)
		memcpy(ret_cookie->data, data, len);
}

static void get_fh(struct xdr_in *in, struct fhandle *ret_fh)
{
	uint32_t len = 0;
	const uint8_t *data = xdr_opaque(in, 0, sizeof(ret_fh->data), &len);

	ret_fh->len = len;
	if (data)
		memcpy(ret_fh->data, data, len);
}

/* Ours are short and of printable characters. */
static void get_oh(struct xdr_in *in, char ret_oh[NLM4_OH_MAX])
{
	uint32_t len = 0;
	const uint8_t *data = xdr_opaque(in, 0, HOLDER_OH_MAX, &len);

	ret_oh[0] = '\0';
	if (!data || len >= NLM4_OH_MAX)
		return;
	for (uint32_t i = 0; i < len; i++)
		if (data[i] <= ' ' || data[i] > '~' || data[i] == '/')
			return;
	memcpy(ret_oh, data, len);
	ret_oh[len] = '\0';
}

int nlm4_granted_decode(const uint8_t *args, uint32_t len, struct nlm4_granted *ret_granted)
{
	struct xdr_in in = { args, len, false };
	uint32_t name_len;

	get_cookie(&in, &ret_granted->cookie);
	ret_granted->range.exclusive = xdr_bool(&in);
	xdr_opaque(&in, 0, NLM4_NOTIFY_NAME_MAX - 1, &name_len);
	get_fh(&in, &ret_granted->fh);
	get_oh(&in, ret_granted->oh);
	ret_granted->svid = xdr_u32(&in);
	get_range(&in, &ret_granted->range);
	return in.bad ? -EBADMSG : 0;
}

uint32_t nlm4_granted_reply(uint8_t *results, const struct nlm4_cookie *cookie, bool granted)
{
	uint32_t words[] = { htobe32(cookie->len),
			     htobe32(granted ? NLM4_STATUS_GRANTED : NLM4_STATUS_DENIED) };
	uint32_t padded = cookie->len + (-cookie->len & 3);

	memcpy(results, &words[0], 4);
	memset(results + 4, 0, padded);
	memcpy(results + 4, cookie->data, cookie->len);
	memcpy(results + 4 + padded, &words[1], 4);
	return 4 + padded + 4;
}

int nlm4_notify_decode(const uint8_t *args, uint32_t len, char ret_name[NLM4_NOTIFY_NAME_MAX],
		       uint8_t ret_priv[NLM4_PRIV_LEN])
{
	struct xdr_in in = { args, len, false };
	uint32_t name_len = 0;
	const uint8_t *name = xdr_opaque(&in, 1, NLM4_NOTIFY_NAME_MAX - 1, &name_len), *priv;

	xdr_u32(&in); /* its new state */
	priv = xdr_take(&in, NLM4_PRIV_LEN);
	if (in.bad || memchr(name, 0, name_len))
		return -EBADMSG;
	memcpy(ret_name, name, name_len);
	ret_name[name_len] = '\0';
	memcpy(ret_priv, priv, NLM4_PRIV_LEN);
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
