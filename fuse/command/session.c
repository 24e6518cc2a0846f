/* SPDX-License-Identifier: GPL-2.0-or-later */
/* session - see session.h. */
#include "session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../export.h"

/* ---- beginning and end ------------------------------------------------------------------- */

int session_open(struct session *session, const struct options *options, const struct mount_result *root,
		 const struct pool_addr addrs[], unsigned int n_addrs, unsigned int n_connections, int64_t deadline_ns)
{
	struct pool_config config;
	int error;

	*session = (struct session){ .options = options, .cred = export_cred(options), .deadline_ns = deadline_ns };
	session->root.len = root->fh_len;
	memcpy(session->root.data, root->fh, root->fh_len);
	options_pool_config(options, &config);
	options_tune_config(options, &config);
	config.hard = false;
	config.n_connections = n_connections;
	config.md_connections = 0;
	config.n_addrs = n_addrs;
	memcpy(config.addrs, addrs, n_addrs * sizeof(addrs[0]));
	config.prog = NFS3_PROGRAM;
	config.vers = NFS3_VERSION;
	config.transfer_max = MIB(1);
	config.srcport_low = options->srcport_low;
	config.srcport_high = options->srcport_high;
	error = pool_open(&config, &session->pool);
	return error ? error : pool_wait_up(session->pool, n_connections, deadline_ns);
}

void session_close(struct session *session)
{
	pool_close(session->pool);
	session->pool = NULL;
}

uint16_t session_source_port(const struct session *session)
{
	const struct sockaddr_in *sa;
	struct conn_info info;

	pool_conn_info(session->pool, 0, &info);
	sa = (const struct sockaddr_in *)(const void *)&info.local; /* in both families */
	return ntohs(sa->sin_port);
}

/* ---- calls ------------------------------------------------------------------------------- */

struct call *session_call(struct session *session)
{
	call_init(&session->call);
	session->call.head = (uint8_t *)session->head;
	session->call.head_size = sizeof(session->head);
	return &session->call;
}

int session_run(struct session *session, int encode_error)
{
	if (encode_error)
		return encode_error;
	session->call.deadline_ns = session->deadline_ns;
	return pool_call_wait(session->pool, &session->call, (uint8_t *)session->copy, sizeof(session->copy));
}

int session_null(struct session *session, uint32_t n)
{
	struct call *call = session_call(session);
	cleanup(freep) void *payload = n ? calloc(1, n) : NULL;
	uint32_t room;

	if (n && !payload)
		return -ENOMEM;
	call_begin(call, call->head, call->head_size, &session->cred, NFS3_PROGRAM, NFS3_VERSION, 0, &room);
	call_end(call, 0);
	call->reply_max = 64;
	call->payload = payload;
	call->payload_len = n;
	return session_run(session, 0);
}

/* ---- paths ------------------------------------------------------------------------------- */

static int get_attr(struct session *session, const struct fhandle *fh, struct attr *ret_attr)
{
	int error = session_run(session, nfs3_getattr_encode(session_call(session), &session->cred, fh));

	return error ? error : nfs3_getattr_decode(&session->call, ret_attr);
}

static int look_up(struct session *session, struct fhandle *fh, const char *name)
{
	struct nfs3_object object;
	int error = session_run(session, nfs3_lookup_encode(session_call(session), &session->cred, fh, name));

	if (!error)
		error = nfs3_lookup_decode(&session->call, &object);
	if (!error)
		*fh = object.fh;
	return error;
}

int session_lookup(struct session *session, const char *path, struct fhandle *ret_fh, struct attr *ret_attr)
{
	cleanup(freep) char *copy = strdup(path);
	struct fhandle fh = session->root;
	char *rest = copy, *name;
	int error = copy ? 0 : -ENOMEM;

	while (!error && (name = strsep(&rest, "/")))
		if (*name && strcmp(name, ".") != 0)
			error = look_up(session, &fh, name);
	if (!error)
		error = get_attr(session, &fh, ret_attr);
	if (!error)
		*ret_fh = fh;
	return error;
}
