/* SPDX-License-Identifier: GPL-2.0-or-later */
/* responder - the lock manager's program of this host (100021, version 4), as far as a client has
 * one: the server calls it to say that a lock somebody waits for is his (GRANTED), our own statd to
 * say that the server was restarted (SM_NOTIFY).
 *
 * A host has one such program, and its rpcbind says where. One fusenfs daemon of the host (root's,
 * of those in a network namespace) is its owner: it holds /run/fusenfs/nlm-NETNS locked for as long
 * as it lives, serves (conn/service.h), and has registered it, if nobody else had: lockd of a
 * kernel that mounts or exports NFS has it for itself, and keeps it. What a dead owner left behind
 * is replaced: the file is not locked any more, and nobody listens on the port. What is for another
 * mount of the host (by `oh`) is passed on to its /run/fusenfs/nlm-OH.sock. When the owner goes,
 * the next that has need takes over, within some seconds.
 *
 * Nothing runs before responder_want(). Threads: one of its own, for what may wait (rpcbind, other
 * daemons); the service's, of the owner. */
#ifndef FUSE_RESPONDER_H
#define FUSE_RESPONDER_H

#include <stdbool.h>

#include "nlm4.h"

struct responder;

/* On one of the threads above; they may wait for the lock loop. */
struct responder_config {
	const char *oh; /* of this mount */
	/* Is it for somebody here? answer: by a call of ours (GRANTED_RES), besides. */
	bool (*granted)(void *userdata, const struct nlm4_granted *granted,
			const struct sockaddr_storage *from, bool answer);
	/* Some server was restarted. */
	void (*notified)(void *userdata);
	/* Who is called is another daemon than before, or nobody: what the server said meanwhile is
	 * lost. */
	void (*changed)(void *userdata);
	void *userdata;
};

/* responder_new - NULL without memory. responder_stop - withdraws what was registered, in half a
 * second; nothing is called any more. Not on the lock loop's thread, which still runs.
 * responder_free - takes NULL. */
struct responder *responder_new(const struct responder_config *config);
void responder_stop(struct responder *responder);
void responder_free(struct responder *responder);

/* responder_want - from now on somebody holds or waits for a lock, or nobody does. Never blocks.
 * responder_is_ready - the server can call us. Any thread. */
void responder_want(struct responder *responder, bool wanted);
bool responder_is_ready(const struct responder *responder);

#endif
