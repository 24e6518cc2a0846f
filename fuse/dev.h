/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dev - the FUSE descriptors: one clone for each loop, own reading, replies on the right one.
 *
 * The kernel looks for the request a reply belongs to only among those read from the same
 * descriptor, and prefers the same idle loop for the next request (fuse.md section 1). So each loop
 * reads its own clone, edge to the loop's other work, and every reply is routed by libfuse's
 * custom_io hook to the descriptor named with dev_reply_to(). Where there are no clones, or no hook,
 * all loops read one and the same.
 *
 * WRITE payloads lie in the buffer that was read into; a handler may keep that buffer
 * (dev_steal_buffer()) instead of copying.
 *
 * Threads: a dev belongs to its loop. dev_reply_to() is per thread. */
#ifndef FUSE_DEV_H
#define FUSE_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct devs;
struct fs;
struct fuse_session;
struct loop;

/* dev_init_session - install the reply hook on a mounted session. 0 or -errno. */
int dev_init_session(struct fuse_session *session);
/* dev_handshake - read requests until INIT has been answered; the caller's thread, before any loop
 * has a descriptor. 0 or -errno. */
int dev_handshake(struct fs *fs);

/* devs_open - clone the descriptor for each loop of fs->pool and watch it. 0 or -errno. on_gone is
 * called once, on some loop's thread, when the kernel has ended the session (unmount, abort). */
int devs_open(struct fs *fs, void (*on_gone)(struct fs *fs), struct devs **ret_devs);
/* devs_close - the loops have stopped. Takes NULL. */
void devs_close(struct devs *devs);

/* The request that is being delivered on this thread: its descriptor and its id. */
int dev_current_fd(void);
uint64_t dev_current_unique(void);
/* dev_current_opcode - FUSE's number of the operation. */
uint32_t dev_current_opcode(void);
struct fs *dev_current_fs(void);
/* dev_clone - a descriptor of its own for a thread that only notifies; negative where that is not possible. What other
 * descriptors have read ends when these are closed, whatever becomes of this one. */
int dev_clone(struct fuse_session *session);
/* dev_reply_to - until the next call, replies of this thread leave on fd. */
void dev_reply_to(int fd);
/* dev_fall_silent - from now on this thread writes to no FUSE descriptor: they are about to be closed, and their numbers
 * may be somebody else's soon. Its replies are dropped; the kernel ends the requests. dev_is_silent - it has. */
void dev_fall_silent(void);
bool dev_is_silent(void);

/* dev_steal_buffer - in a WRITE handler: keep the buffer data lies in. Returns what to buffer_put(), or
 * NULL when there is no memory for a new one (then copy). */
void *dev_steal_buffer(const void *data);

#endif
