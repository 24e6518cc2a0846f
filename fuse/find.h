/* SPDX-License-Identifier: GPL-2.0-or-later */
/* find - from SERVER:/PATH to a root that answers: name, ports and root handle (conn/mount.h), then
 * connections, then what the server says of the export.
 *
 * Three callers: mounting in the foreground, in the background (find_in_background(), bg), and the
 * server whose root handle is suddenly stale (find_root_again()). All of it blocks and belongs to the
 * main thread, which has nothing better to do; cancel_fd ends every wait within a tenth of a second. */
#ifndef FUSE_FIND_H
#define FUSE_FIND_H

#include "export.h"
#include "message.h"

struct find {
	const struct options *options;
	struct fs *fs;
	int cancel_fd;               /* 0: none */
	struct message *error;       /* why it failed last */
	int64_t deadline_ns;         /* of the present attempt */
	struct mount_query query;
	struct mount_result result;  /* of the last find_server() */
	char service[8];             /* the NFS port, for messages */
	struct export_probe probe;
};

/* find_init - fs need not be there yet. find_deinit - when its pool is closed. */
void find_init(struct find *find, const struct options *options, struct fs *fs,
	      struct message *error);
void find_deinit(struct find *find);

/* The steps. 0, -ECANCELED, or -errno with a message. find_server() makes one attempt, until
 * find->deadline_ns; find_connections() waits until minconnect are up. */
int find_server(struct find *find);
bool find_is_worth_retrying(const struct find *find);
int find_connections(struct find *find);
int find_export(struct find *find, bool negotiated);
/* find_locks - with lock, when locks_want_fd() is readable: where the server's lock manager is. */
void find_locks(struct find *find);

/* find_root_fh - the handle in the result. */
struct fhandle find_root_fh(const struct find *find);

/* find_quickly - with bg, once mounted: one attempt of a second, so that with a server that is up
 * nobody sees that the mount was made before it was found. *ret_problem: what is known of why not. */
int find_quickly(struct find *find, char *ret_problem, size_t size);
/* find_in_background - try until retry= has run out: 0, -ECANCELED, or -errno with the message of the
 * last attempt. A refusal is not final: a server that boots may not export anything yet. Logs each
 * cause once. */
int find_in_background(struct find *find);

/* find_root_again - the root's handle is stale. MNT says whether there is another one, and then the
 * root has it: a server was installed anew, or the export made again. Other files keep their handles,
 * and are stale if they are. Logs what came of it. */
void find_root_again(struct find *find);

#endif
