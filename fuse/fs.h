/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fs - one mounted file system: what every handler needs to reach. Built by mount.c before the
 * first request and constant from then on, but for what the structs behind the pointers guard.
 *
 * With bg there are requests before the server was found. Until fs_set_found() the root has an empty
 * handle, the limits are guesses, and no handler runs: request_new() and offline.h answer. What is
 * written before that, by the main thread, can be read by every handler as if it were constant. */
#ifndef FUSE_FS_H
#define FUSE_FS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/statvfs.h>

#include "../conn/loop.h"
#include "../conn/util.h"
#include "attr.h"
#include "inode.h"
#include "options.h"
#include "replay.h"

struct absent;
struct devs;
struct locks;
struct pages;
struct dircache;
struct fuse_session;
struct names;
struct prefetch;
struct request_table;
struct stats;
struct wback_clock;
struct wback_pool;

struct fs {
	const struct options *options;
	struct pool *pool;
	struct fuse_session *session;
	struct devs *devs;              /* dev.h */
	struct request_table *requests; /* request.h */
	struct stats *stats;            /* stats.h */
	struct wback_pool *wback;       /* wback.h */
	struct wback_clock *wback_clock;
	struct prefetch *prefetch;      /* prefetch.h */
	struct locks *locks;            /* lock.h; NULL: locks are local */
	struct pages *pages;            /* pages.h */
	_Atomic(bool) closing;          /* wback_close() */
	struct inode_table *inodes;
	struct names *names;
	struct absent *absent;          /* names that are not there */
	struct dircache *dircache;      /* listings */
	struct inode *root;
	struct attr_policy attr_policy;
	int64_t mounted_ns;             /* CLOCK_REALTIME: the times of the root while it is offline */
	int64_t call_limit_ns;          /* process.h: no call may last longer; INT64_MAX */
	_Atomic(bool) found;
	_Atomic(bool) losses_told;      /* unmount.h: what is lost from now on was said already */
	_Atomic(uint32_t) rsize, wsize, readdirsize; /* bytes per READ, WRITE, READDIR(PLUS) reply; udp.h */
	uint32_t max_write;             /* the largest FUSE WRITE, as negotiated */
	uint32_t name_max;
	uint64_t maxfilesize;           /* FSINFO: no byte at or behind this offset */
	bool can_settime;               /* FSINFO: files take the times given */
	struct replay_memory replay;

	int root_stale_fd;              /* eventfd, the main thread's: look for the root again */
	_Atomic(int64_t) root_asked_ns; /* when that was last asked for; 0: never */

	_Atomic(unsigned int) n_requests; /* not yet freed; dev.c looks at it, about */
	_Atomic(unsigned int) n_open_files;
	_Atomic(bool) no_readdirplus;   /* the server said NOTSUPP: use READDIR; readdir.c */
	struct mutex statvfs_lock;      /* guards what follows: the last FSSTAT */
	bool has_statvfs;
	struct statvfs statvfs;
};

/* fs_init - the parts that need no kernel and no server; limits and session are set afterwards. 0 or
 * -errno; fs_deinit() in both cases. */
int fs_init(struct fs *fs, const struct options *options, struct pool *pool,
	    const struct fhandle *root_fh);
/* fs_deinit - the loops have stopped. The pool and the session are not its. */
void fs_deinit(struct fs *fs);

/* fs_set_attr_policy - from the options, which may have changed. */
void fs_set_attr_policy(struct fs *fs);

/* fs_cache_statvfs, fs_cached_statvfs - for df(1) while the server is down. False: none yet. */
void fs_cache_statvfs(struct fs *fs, const struct statvfs *st);
bool fs_cached_statvfs(struct fs *fs, struct statvfs *ret_st);

/* fs_vouches - may names, listings and read-only opens be answered from memory if the server does
 * not answer (softreval)? Not if the server alone knows who may see them. */
static inline bool fs_vouches(const struct fs *fs)
{
	const struct options *options = fs->options;

	return options->softreval && (options->default_permissions || !options->allow_other);
}

/* fs_is_found, fs_set_found - the server was: handle, limits and attributes of the root are there. */
static inline bool fs_is_found(const struct fs *fs)
{
	return atomic_load_explicit(&fs->found, memory_order_acquire);
}

static inline void fs_set_found(struct fs *fs)
{
	atomic_store_explicit(&fs->found, true, memory_order_release);
}

/* fs_root_is_stale - the server does not know the root's handle: MNT is asked for it again (find.h),
 * at most every half minute. Any thread; never blocks. */
void fs_root_is_stale(struct fs *fs);

/* fs_now_ns - the time, on a loop that of its turn. */
static inline int64_t fs_now_ns(void)
{
	return loop_current() ? loop_now_ns(loop_current()) : clock_ns();
}

/* fs_deadline_ns - for the calls of a request that began at start_ns: INT64_MAX when hard, unless the
 * kernel has a limit of its own. While the server is silent all share the deadline of who asked
 * first: a program that needs several calls does not wait for it again and again. */
int64_t fs_deadline_ns(const struct fs *fs, int64_t start_ns);

#endif
