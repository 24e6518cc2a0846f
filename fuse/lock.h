/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock - fcntl(2) and flock(2) locks that hold between machines: NLM version 4, as the Linux client has
 * it for NFS version 3 (nfs(5): lock, nolock, local_lock).
 *
 * The kernel's lock owner (of a process, or of an open file for flock and OFD locks) is an owner here, and
 * has a number of its own on the wire (svid). flock is a lock of the whole file. What an owner has is
 * kept in ranges; what conflicts within the mount is known without the server, and waits in line.
 *
 * A lock call of an owner on a file is not sent before his last one there is answered: over however many
 * connections they go, none overtakes another. Who waits (F_SETLKW) holds no thread: he asks again, soon
 * at first, then each second, and at once when a lock of this mount is given back.
 *
 * Data. Before a lock is asked for or given back, what was written to the file is made stable; after it
 * was granted, attributes are asked for, and pages in the kernel's cache that somebody else has changed
 * go. (Dirty pages of a mapping are the program's to msync(2) before it unlocks.)
 *
 * Ends. close(2) gives back what its process has of the file, the last close of an open file what was
 * locked through it. If the server does not answer, that is waited for some seconds, or not at all if it is
 * known to be silent; it is done later, in order, until it is done. A lock call that needs the server obeys the soft deadline. What became of a LOCK
 * whose answer was lost is not left open: the owner's state before it is asserted again.
 *
 * The server's lock manager is looked for when the first lock is asked for: a mount that locks nothing sends nothing,
 * listens nowhere, and is as fast with a server that has none.
 *
 * A restart of the server is noticed as the loss of a connection. Then each lock is looked for; if it is
 * not there, or the server is in its grace period, it is reclaimed. What somebody else has got, or could
 * have had in between, is lost: it is logged (lock-lost), and reads and writes of the file fail with EIO
 * until its owner has given back what he had, or closes the file.
 *
 * Threads: handlers run on any loop; everything else on the loop of the lock calls' own pool
 * (lock_parts.h). */
#ifndef FUSE_LOCK_H
#define FUSE_LOCK_H

#include "file.h"
#include "request.h"

struct locks;
struct mount_query;

/* locks_open - of a mount whose locks are the server's; nothing is sent yet. 0 or -errno.
 * locks_begin - it is mounted, and the server was found: servers are told what dead mounts of this host left (nsm.h).
 * Takes NULL. */
int locks_open(struct fs *fs, struct locks **ret_locks);
void locks_begin(struct locks *locks);

/* locks_want_fd - readable: somebody wants a lock, or has some and lost the connections, so the main thread is to
 * call locks_find(). locks_find - where the server's lock manager is: its portmapper is asked, and a connection is
 * waited for; some seconds at most, no longer than query->cancel_fd lets it (lock_find.c). */
int locks_want_fd(const struct locks *locks);
void locks_find(struct locks *locks, const struct mount_query *query, const struct pool_addr *server);

/* locks_are_absent - the server has no lock manager, as far as we know, and is not asked again yet.
 * locks_server_answers - it has, and it does. */
bool locks_are_absent(const struct locks *locks);
bool locks_server_answers(const struct locks *locks);

/* locks_info - for people. Any thread. */
enum lock_manager { LOCK_MANAGER_UNASKED, LOCK_MANAGER_FOUND, LOCK_MANAGER_ABSENT };
struct locks_info {
	enum lock_manager manager;
	unsigned int held;    /* ranges of bytes */
	unsigned int waiting; /* calls that wait for somebody's lock to go */
	unsigned int lost;    /* owners who had one that the server has forgotten */
};
void locks_info(const struct locks *locks, struct locks_info *ret_info);

/* locks_tune - times have changed, or what happens when the server is down. Takes NULL. */
struct options;
void locks_tune(struct locks *locks, const struct options *options);

/* locks_stop_looking - the mount ends, and nobody calls locks_find() any more: who waits for the lock manager to be found
 * gets ENOLCK, and so does who comes. The main thread; takes NULL. */
void locks_stop_looking(struct locks *locks);

/* locks_close - give back what is still held, for at most wait_ns; then nothing more is sent, and no request is answered
 * any more: FUSE descriptors may be closed. The loops of the mount run on. locks_free - they have stopped. Both take NULL. */
void locks_close(struct locks *locks, int64_t wait_ns);
void locks_free(struct locks *locks);

/* Handlers. */
void lock_getlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock);
void lock_setlk(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, struct flock *lock,
		int sleep);
void lock_flock(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi, int op);

/* lock_flushed - close(2): what the owner has of the file is given back, then done(request). False: he
 * has nothing. lock_released - the last close of an open file: what was locked through it. */
bool lock_flushed(struct request *request, uint64_t owner_key, void (*done)(struct request *request));
void lock_released(struct fs *fs, struct inode *inode, const struct file *file);

/* lock_is_lost - somebody had a lock on it that the server has forgotten, and has not given it back yet:
 * reads and writes of the file fail with EIO. */
static inline bool lock_is_lost(const struct inode *inode)
{
	return atomic_load_explicit(&inode->n_locks_lost, memory_order_relaxed) > 0;
}

#endif
