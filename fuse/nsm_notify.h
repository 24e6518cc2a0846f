/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nsm_notify - tells servers that mounts of this host have ended without giving their locks back.
 *
 * A server knows its clients by address: SM_NOTIFY (program 100024) frees the locks of all of this host. So it is sent
 * only when no daemon with locks on that server lives (nsm_record.h), and no kernel NFSv3 mount of it is there. It
 * is sent from the address that the dead had, and its record stays until it was answered. Everybody who wants to have
 * locks waits meanwhile, and for a second after, for what the server makes of it is not in order with LOCKs. */
#ifndef FUSE_NSM_NOTIFY_H
#define FUSE_NSM_NOTIFY_H

#include <stdbool.h>

#include "nsm_record.h"

enum nsm_outcome {
	NSM_TOLD,
	NSM_HELD,   /* others have locks there: not sent */
	NSM_KERNEL, /* the kernel may: not sent */
	NSM_SILENT, /* not answered; or the server has no NSM */
};

struct nsm_report {
	enum nsm_outcome outcome;
	int error;                    /* SILENT: -errno; -ENOENT: no NSM there */
	char server[NSM_ADDRESS_MAX];
	char name[NLM4_NAME_MAX];
};

/* nsm_notify_all - of all dead. tell() is called once for each server. Returns how many servers have yet to be told;
 * or -errno. cancel_fd: readable, give up; 0: none. Blocks, a few seconds for each silent server. */
int nsm_notify_all(int cancel_fd, void (*tell)(void *userdata, const struct nsm_report *report), void *userdata);

/* nsm_monitor - have our own statd say when the server is restarted (SM_MON, by a call of nlm4.h), or no more. 0 or
 * -errno. */
int nsm_monitor(const struct nsm_record *record, bool monitor, int cancel_fd);

#endif
