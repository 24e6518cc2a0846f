/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nsm_record - who of this host has locks on which server, in files that survive it: what must be told to the
 * server should he end without giving them back (nsm.h).
 *
 *	/var/lib/fusenfs/nsm/lock         held while records are looked at or written
 *	/var/lib/fusenfs/nsm/state        our state of NSM: odd, grows by 2 with each notification
 *	/var/lib/fusenfs/nsm/OH           a record, for each mount with locks; its daemon has it locked (flock(2)) while
 *	                                  it lives, whatever its pid is called in which namespace
 *
 * Everything may block for the disk, and waits for `lock`, a few seconds at most: not for a loop. Root's. */
#ifndef FUSE_NSM_RECORD_H
#define FUSE_NSM_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "nlm4.h"

enum { NSM_ADDRESS_MAX = 64, NSM_MAX_RECORDS = 128 };

struct nsm_record {
	char oh[NLM4_OH_MAX];         /* its file's name */
	char server[NSM_ADDRESS_MAX]; /* numeric: of its lock manager */
	char local[NSM_ADDRESS_MAX];  /* ours towards it: by which the server knows us */
	char name[NLM4_NAME_MAX];     /* caller_name */
	char boot[40];                /* of the kernel: it was another one if that differs */
	uint64_t netns;
	bool alive;                   /* read: its daemon lives */
	int fd;                       /* read: of a dead one, locked by us; else -1 */
};

/* nsm_record_lock - the directory, which is made if need be: a descriptor, to be closed; -errno, also -ETIMEDOUT. */
int nsm_record_lock(void);
/* nsm_record_exists - is there any? Cheap. */
bool nsm_record_exists(void);

/* nsm_record_fill - boot and netns of this process. */
void nsm_record_fill(struct nsm_record *record);
/* With the directory locked:
 * nsm_record_write - on the disk when it returns: a descriptor, to be kept open while we live; or -errno.
 * nsm_record_remove - the file.
 * nsm_record_read - all, alive or dead; 0 or -errno. Their fds are to be closed: nsm_record_close(). */
int nsm_record_write(const struct nsm_record *record);
void nsm_record_remove(const struct nsm_record *record);
int nsm_record_read(struct nsm_record records[NSM_MAX_RECORDS], unsigned int *ret_n);
void nsm_record_close(struct nsm_record records[], unsigned int n);

/* nsm_record_state - our state; grow: the next one. 1 if there was none. Locked. */
uint32_t nsm_record_state(bool grow);

/* nsm_record_parse - the text of one; false: it makes no sense. */
bool nsm_record_parse(const char *text, struct nsm_record *ret_record);

#endif
