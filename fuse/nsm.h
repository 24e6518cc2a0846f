/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nsm - Network Status Monitor, for the locks of a mount: the server is told should we end without having given them
 * back, and we are told when it was restarted.
 *
 * A record (nsm_record.h) is on the disk before the first lock is asked for, and as long as there is one; a while
 * longer, for locks come and go. At a clean end it is removed. What others left behind when they died is told to
 * their servers (nsm_notify.h) in the background, tried again until it was answered, when a mount with locks begins.
 * While there is a record, our own statd, if this host has one, says when the server is restarted.
 *
 * Where there can be no record (not root, /var cannot be written) locks work, and stay with the server
 * if we are killed.
 *
 * Thread: one of its own, from the first need on; for disk and network. */
#ifndef FUSE_NSM_H
#define FUSE_NSM_H

#include <stdbool.h>
#include <stdint.h>

#include "../conn/conn.h"

struct nsm;

struct nsm_config {
	const char *oh, *name; /* of the mount, of this host: as the server gets them */
	/* Both on the thread. recorded: nsm_hold() is true from now on. */
	void (*recorded)(void *userdata);
	bool (*can_be_called)(void *userdata); /* by statd: the host's program is registered */
	void *userdata;
};

/* nsm_new - NULL without memory. nsm_stop - ends the thread, and with it what it is at, in half a second; clean: nothing
 * is held, the record goes. nsm_free - takes NULL. */
struct nsm *nsm_new(const struct nsm_config *config);
void nsm_stop(struct nsm *nsm, bool clean);
void nsm_free(struct nsm *nsm);

/* nsm_begin - tells servers what the dead left behind, if they did. nsm_found - the lock manager, and where we come from
 * if that was asked for (else NULL). Both may come again; the main thread. */
void nsm_begin(struct nsm *nsm);
void nsm_found(struct nsm *nsm, const struct pool_addr *server, const struct pool_local *local);

/* nsm_hold - a lock is about to be asked for: may it? False: recorded() follows. nsm_unhold - there is none any more.
 * Never block; the lock loop. nsm_state - ours, for LOCK. Any thread. */
bool nsm_hold(struct nsm *nsm);
void nsm_unhold(struct nsm *nsm);
uint32_t nsm_state(const struct nsm *nsm);

#endif
