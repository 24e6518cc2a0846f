/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prefetch - the daemon's own read-ahead, for a mount whose kernel read-ahead could not be raised.
 *
 * The kernel then asks for 128 KiB at a time. Who reads a file sequentially (prefetch_window.h) has the
 * next blocks, of rsize each, fetched over all connections, and his READs are answered from them, or wait for
 * them. The kernel keeps what it was told, so a block that was read once is freed.
 *
 * Nothing here is ever an error: whatever cannot be answered from a block - it failed, the server does not
 * answer, the file has changed since - is an ordinary READ. A block is good for as long as
 * inode->contents_seq is what it was before the block was asked for; attr.c moves that. A file that
 * is open for writing, or O_DIRECT, is not prefetched.
 *
 * Memory is bounded by cachesize= for the mount. Each file has a share of it, the blocks of who has
 * not read for a while go first, and what is not read for some seconds goes anyway.
 *
 * Threads: any loop. One lock for the mount guards all of it; nothing is copied, sent or freed
 * under it. */
#ifndef FUSE_PREFETCH_H
#define FUSE_PREFETCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "prefetch_window.h"

struct file;
struct fs;
struct prefetch;
struct prefetch_block;
struct request;

/* Of an open file; zeroed, then under the lock. */
struct prefetch_file {
	struct prefetch_window window;
	uint64_t ahead;   /* so far blocks were made */
	int64_t used_ns;
	TAILQ_HEAD(, prefetch_block) blocks; /* valid if listed */
	bool listed;      /* has blocks, and is among the pool's files */
	TAILQ_ENTRY(prefetch_file) link;
};

struct prefetch *prefetch_new(struct fs *fs);
void prefetch_free(struct prefetch *prefetch); /* takes NULL */
/* prefetch_enable - if the kernel's read-ahead stays small. Any thread. */
void prefetch_enable(struct prefetch *prefetch, bool enabled);

/* prefetch_read - a READ of this open file. True: it is taken over, and will be answered, perhaps by
 * file_read_sent(). */
bool prefetch_read(struct request *request, struct file *file);
/* prefetch_close - the file is closed: its blocks go. */
void prefetch_close(struct prefetch *prefetch, struct file *file);
/* prefetch_tick - give back what nobody reads; from a timer. */
void prefetch_tick(struct prefetch *prefetch, int64_t now_ns);

#endif
