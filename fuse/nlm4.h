/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nlm4 - the Network Lock Manager, version 4, as calls (Open Group XNFS C702, chapter 14): one encode
 * for each procedure we send, one decode for each kind of result.
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

enum { NLM4_NAME_MAX = 64 + 1, NLM4_OH_MAX = 32 };

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
/* reclaim: it was ours before the server restarted. state: ours, of NSM. */
int nlm4_lock_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     const struct nlm4_owner *owner, const struct nlm4_range *range, bool reclaim,
		     int state);
int nlm4_unlock_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       const struct nlm4_owner *owner, const struct nlm4_range *range);

int nlm4_test_decode(const struct call *call, struct nlm4_test *ret_test);
/* nlm4_status_decode - of LOCK and UNLOCK. */
int nlm4_status_decode(const struct call *call, enum nlm4_status *ret_status);

/* nlm4_errno - what fcntl(2) says to it: 0 or -errno; -EAGAIN for DENIED. GRACE_PERIOD and BLOCKED are
 * for the caller to deal with, -EAGAIN if he does not. */
int nlm4_errno(enum nlm4_status status);

#endif
