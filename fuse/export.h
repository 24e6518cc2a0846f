/* SPDX-License-Identifier: GPL-2.0-or-later */
/* export - what the server says of the export: FSINFO, root attributes, PATHCONF, FSSTAT. Blocking,
 * but for cancel_fd; for the main thread. */
#ifndef FUSE_EXPORT_H
#define FUSE_EXPORT_H

#include "fs.h"

enum { EXPORT_REPLY_MAX = 512 };

/* A call that the main thread waits for. A cancelled one may still be in flight: the struct has to
 * stay until the pool is closed, and is of no more use. */
struct export_probe {
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	uint32_t copy[EXPORT_REPLY_MAX / 4];
	struct cred cred;      /* of the mounting process */
	int64_t deadline_ns;   /* of each call */
	int cancel_fd;         /* readable: give up with -ECANCELED; 0: none */
	int done_fd;           /* eventfd */
	_Atomic(bool) done;
};

/* export_cred - of the mounting process, as the options want it. */
struct cred export_cred(const struct options *options);
/* export_probe_init - 0 or -errno; export_probe_deinit() in both cases, when the pool is closed. */
int export_probe_init(struct export_probe *probe, const struct fs *fs, int cancel_fd);
void export_probe_deinit(struct export_probe *probe);

/* export_guess - limits to begin with, before the server was asked: for INIT, and statfs. */
void export_guess(struct fs *fs);
/* export_learn - fill in fs's limits and the root's attributes, as rsize=, wsize= and the like ask.
 * max_write is left alone once it has been negotiated. 0, or -errno with *ret_procedure (static text)
 * naming the call that failed. */
int export_learn(struct fs *fs, struct export_probe *probe, int64_t deadline_ns, bool negotiated,
		 const char **ret_procedure);
/* export_root_attr - the attributes of a handle that is said to be the root's. 0 or -errno. */
int export_root_attr(struct fs *fs, struct export_probe *probe, const struct fhandle *fh,
		     int64_t deadline_ns, struct attr *ret_attr);

#endif
