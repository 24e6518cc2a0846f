/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pages - has the kernel drop the pages of a file from its cache while it is open.
 *
 * The notification waits for pages that are being read or written, which takes our own replies: so it
 * is never sent by a loop, but by a thread of its own, started at the first need. Should the process be
 * killed while that thread waits, the kernel must still see the descriptors of the others closed, as
 * that is what ends the requests it waits for: the thread has its own table of descriptors, with a clone of
 * the FUSE device and nothing else (no sockets: a connection ends when the loops close it; and not the session's own
 * descriptor, which the first loop reads from). What nobody has read yet is ended by guard.h. */
#ifndef FUSE_PAGES_H
#define FUSE_PAGES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct fuse_session;
struct pages;

struct pages_drop {
	uint64_t nodeid;                       /* the caller's; the kernel may have forgotten it */
	void (*done)(struct pages_drop *drop); /* once, on the thread */
	STAILQ_ENTRY(pages_drop) link;
};

/* pages_new - NULL without memory.
 * pages_free - nothing is asked for any more and the session has ended, so that it should wait for nothing;
 * what is queued is done. False: the thread is stuck in the kernel, and stays, and what it uses. */
struct pages *pages_new(struct fuse_session **session);
bool pages_free(struct pages *pages);

/* pages_guard - to be aborted through this descriptor (fusectl.h; negative: none) if we are killed; borrowed until
 * pages_free(). Before the first drop. */
void pages_guard(struct pages *pages, int abort_fd);

/* pages_drop - 0, done() follows; or -errno. Any thread. */
int pages_drop(struct pages *pages, struct pages_drop *drop);

#endif
