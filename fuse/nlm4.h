/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nlm4 - the Network Lock Manager, version 4, as calls (Open Group XNFS C702, chapter 14): one encode
 * for each procedure we send, one decode for each kind of result; and the other way round for what the
 * server calls us for.
 *
 * As nfs3.h: encode begins the call and sets class and reply_max, decode is for done() with
 * call->status == 0, and returns 0 or -EBADMSG. What the server has decided is the nlm4_status.
 *
 * What may be sent again. LOCK, UNLOCK and CANCEL say what is to be, not what is to be done: the same
 * owner asking twice for the same range has it once, and gives it back once. So a call whose answer
 * was lost is sent again - but a copy that arrives late would undo a newer LOCK or UNLOCK, so only
 * when the old socket has been reset: CALL_WRITE. (The owner's next call for that file is not sent before
 * the answer: lock_call.c.) TEST changes nothing: CALL_IDEMPOTENT. */
#ifndef FUSE_NLM4_H
#define FUSE_NLM4_H

#include "nfs3.h"

enum { NLM4_PROGRAM = 100021, NLM4_VERSION = 4 };

enum nlm4_status {
	NLM4_STATUS_GRANTED,
	NLM4_STATUS_DENIED,
	NLM4_STATUS_DENIED_NOLOCKS,
	NLM4_STATUS_BLOCKED,
	NLM4_STATUS_DENIED_GRACE_PERIOD,
	NLM4_STATUS_DEADLCK,
	NLM4_STATUS_ROFS,
	NLM4_STATUS_STALE_FH,
	NLM4_STATUS_FBIG,
	NLM4_STATUS_FAILED,
};

enum {
	NLM4_NAME_MAX = 64 + 1,
	NLM4_OH_MAX = 32,
	NLM4_COOKIE_MAX = 256, /* of a GRANTED; those of Linux have 4 bytes, of Ganesha 12 */
	NLM4_PRIV_LEN = 16,
	NLM4_NOTIFY_NAME_MAX = 1024 + 1,
};

/* Of those that this host serves (responder.h). */
enum nlm4_procedure {
	NLM4_PROC_GRANTED = 5,      /* answered by its reply */
	NLM4_PROC_GRANTED_MSG = 10, /* answered by a call of ours, GRANTED_RES */
	NLM4_PROC_SM_NOTIFY = 16,   /* from our own statd, as Linux has it */
	NLM4_PROC_SM_NOTIFY_2 = 24, /* the same, for servers that number it so */
};

/* Whose lock it is. The server tells owners apart by all three; svid alone must do for some. */
struct nlm4_owner {
	const char *caller_name; /* this host: uname(2)'s nodename; also what it calls us to NSM */
	const char *oh;          /* text, unique to the mount */
	uint32_t svid;           /* unique to the owner within the host */
};

/* Bytes start..end, end included; end UINT64_MAX: to the end of the file, however it grows. */
struct nlm4_range {
	uint64_t start, end;
	bool exclusive;
};

struct nlm4_test {
	enum nlm4_status status;
	struct nlm4_range holder; /* DENIED: a lock that is in the way, and */
	uint32_t svid;            /* what its holder goes by on its host */
};

/* Each 0, or -ENAMETOOLONG when the head buffer is too small. */
int nlm4_test_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     const struct nlm4_owner *owner, const struct nlm4_range *range);
struct nlm4_lock_how {
	bool block;   /* if somebody else has it, keep us in mind, and say GRANTED when it is ours */
	bool reclaim; /* it was ours before the server restarted */
	int state;    /* ours, of NSM */
};
int nlm4_lock_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     const struct nlm4_owner *owner, const struct nlm4_range *range,
		     struct nlm4_lock_how how);
int nlm4_unlock_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       const struct nlm4_owner *owner, const struct nlm4_range *range);
/* nlm4_cancel_encode - of a LOCK with block: the server finds it by the same arguments. */
int nlm4_cancel_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       const struct nlm4_owner *owner, const struct nlm4_range *range);

struct nlm4_cookie {
	uint32_t len;
	uint8_t data[NLM4_COOKIE_MAX];
};

/* nlm4_granted_res_encode - our answer to a GRANTED_MSG with that cookie. It has no results. */
int nlm4_granted_res_encode(struct call *call, const struct cred *cred, const struct nlm4_cookie *cookie,
			    bool granted);

int nlm4_test_decode(const struct call *call, struct nlm4_test *ret_test);
/* nlm4_status_decode - of LOCK, UNLOCK and CANCEL. */
int nlm4_status_decode(const struct call *call, enum nlm4_status *ret_status);

/* ---- what the server calls us for -------------------------------------------------------- */

struct nlm4_granted {
	struct nlm4_cookie cookie;
	struct fhandle fh;
	char oh[NLM4_OH_MAX];    /* one of ours; of any other form: "" */
	uint32_t svid;
	struct nlm4_range range;
};

/* nlm4_granted_decode - arguments of GRANTED and GRANTED_MSG. 0 or -EBADMSG.
 * nlm4_granted_reply - results of GRANTED, at most 4 + NLM4_COOKIE_MAX + 4 bytes; returns how many. */
int nlm4_granted_decode(const uint8_t *args, uint32_t len, struct nlm4_granted *ret_granted);
uint32_t nlm4_granted_reply(uint8_t *results, const struct nlm4_cookie *cookie, bool granted);

/* nlm4_notify_decode - arguments of SM_NOTIFY by a statd of this host: whose restart it is about, and what it was
 * given to know us by. 0 or -EBADMSG. */
int nlm4_notify_decode(const uint8_t *args, uint32_t len, char ret_name[NLM4_NOTIFY_NAME_MAX],
		       uint8_t ret_priv[NLM4_PRIV_LEN]);

/* nlm4_errno - what fcntl(2) says to it: 0 or -errno; -EAGAIN for DENIED. GRACE_PERIOD and BLOCKED are
 * for the caller to deal with, -EAGAIN if he does not. */
int nlm4_errno(enum nlm4_status status);

#endif
