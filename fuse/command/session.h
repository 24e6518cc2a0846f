/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session - NFS calls without a mount: a pool of connections to a server whose root handle is known. For doctor and
 * bench. Blocking functions of one thread; every call has a deadline, and none is made hard. */
#ifndef FUSE_COMMAND_SESSION_H
#define FUSE_COMMAND_SESSION_H

#include "../nfs3.h"
#include "../options.h"

enum { SESSION_REPLY_MAX = 1024 };

struct session {
	const struct options *options;
	struct pool *pool;
	struct cred cred;          /* of this process, as the options want it */
	struct fhandle root;
	int64_t deadline_ns;       /* of the next calls */
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	uint32_t copy[SESSION_REPLY_MAX / 4];
};

/* session_open - n connections to a server, by these addresses, with the root handle that mount_query_run() has found
 * (root->failure is MOUNT_OK); wait until they are up. 0 or -errno; session_close() in both cases. */
int session_open(struct session *session, const struct options *options, const struct mount_result *root,
		 const struct pool_addr addrs[], unsigned int n_addrs, unsigned int n_connections, int64_t deadline_ns);
void session_close(struct session *session);

/* session_call - a call to encode, by nfs3.h. session_run - send it and wait for the answer, which the decoder then
 * finds in session->call. encode_error: what the encoder has returned. 0 or -errno. */
struct call *session_call(struct session *session);
int session_run(struct session *session, int encode_error);
/* session_null - NULL with n bytes of arguments that nobody reads: a segment of any size on the way to the server.
 * Results as session_run(). */
int session_null(struct session *session, uint32_t n);

/* session_lookup - from the root along a path such as "/a/b"; symbolic links are not followed. 0 or -errno. */
int session_lookup(struct session *session, const char *path, struct fhandle *ret_fh, struct attr *ret_attr);
/* session_source_port - of its first connection. */
uint16_t session_source_port(const struct session *session);

#endif
