/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fs - making and unmaking the parts of a mounted file system; see fs.h. */
#include "fs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "absent.h"
#include "dir.h"
#include "dircache.h"
#include "file.h"
#include "names.h"
#include "pages.h"
#include "request.h"
#include "silly.h"
#include "stats.h"
#include "wback.h"
#include "wback_clock.h"

static const int64_t ROOT_AGAIN_NS = 30 * NS_PER_S;

int64_t fs_deadline_ns(const struct fs *fs, int64_t start_ns)
{
	int64_t silent_ns = pool_silent_since_ns(fs->pool);
	int64_t first_ns = silent_ns ? min_i64(silent_ns, start_ns) : start_ns;
	int64_t deadline_ns = INT64_MAX;

	if (fs->call_limit_ns != INT64_MAX)
		deadline_ns = start_ns + fs->call_limit_ns;
	if (fs->options->down != DOWN_HARD)
		deadline_ns = min_i64(deadline_ns, first_ns + fs->options->soft_deadline_ns);
	return deadline_ns;
}

void fs_cache_statvfs(struct fs *fs, const struct statvfs *st)
{
	mutex_lock(&fs->statvfs_lock);
	fs->statvfs = *st;
	fs->has_statvfs = true;
	mutex_unlock(&fs->statvfs_lock);
}

bool fs_cached_statvfs(struct fs *fs, struct statvfs *ret_st)
{
	bool has;

	mutex_lock(&fs->statvfs_lock);
	has = fs->has_statvfs;
	*ret_st = fs->statvfs;
	mutex_unlock(&fs->statvfs_lock);
	return has;
}

void fs_root_is_stale(struct fs *fs)
{
	int64_t now_ns = fs_now_ns(), asked_ns = atomic_load(&fs->root_asked_ns);

	if (fs->root_stale_fd < 0 || (asked_ns && now_ns - asked_ns < ROOT_AGAIN_NS))
		return;
	if (atomic_compare_exchange_strong(&fs->root_asked_ns, &asked_ns, now_ns))
		eventfd_write(fs->root_stale_fd, 1);
}

/* What other modules hang on an inode. */
static void release_inode(struct inode *inode, void *arg)
{
	struct fs *fs = arg;

	names_forget(fs->names, inode);
	dircache_forget(fs->dircache, inode);
	free(inode->target);
	silly_free(fs->inodes, inode);
	wback_free(inode);
	file_free_all(fs, inode);
	dir_free_all(inode);
}

void fs_set_attr_policy(struct fs *fs)
{
	const struct options *options = fs->options;

	/* trust_ns stays 0: the Linux client always trusts, and misses what others write between two of its
	 * own WRITEs. Close-to-open is worth a cache dropped too often. */
	fs->attr_policy.regmin_ns = options->acregmin_ns;
	fs->attr_policy.regmax_ns = options->acregmax_ns;
	fs->attr_policy.dirmin_ns = options->acdirmin_ns;
	fs->attr_policy.dirmax_ns = options->acdirmax_ns;
}

int fs_init(struct fs *fs, const struct options *options, struct pool *pool,
	    const struct fhandle *root_fh)
{
	struct timespec now;
	int error;

	memset(fs, 0, sizeof(*fs));
	fs->options = options;
	fs->pool = pool;
	fs->root_stale_fd = -1;
	fs->call_limit_ns = INT64_MAX;
	clock_gettime(CLOCK_REALTIME, &now);
	fs->mounted_ns = now.tv_sec * NS_PER_S + now.tv_nsec;
	mutex_init(&fs->statvfs_lock);
	fs_set_attr_policy(fs);
	replay_memory_init(&fs->replay);
	error = inode_table_new(root_fh, &fs->inodes, &fs->root);
	if (error)
		return error;
	fs->names = names_new(fs->inodes);
	fs->absent = absent_new();
	fs->dircache = dircache_new(DIRCACHE_BYTES);
	fs->wback = wback_pool_new(fs);
	fs->wback_clock = wback_clock_new(fs);
	fs->prefetch = prefetch_new(fs);
	fs->requests = request_table_new(fs);
	fs->stats = stats_new(pool);
	fs->pages = pages_new(&fs->session);
	if (!fs->names || !fs->absent || !fs->dircache || !fs->wback || !fs->wback_clock ||
	    !fs->prefetch || !fs->requests || !fs->stats || !fs->pages)
		return -ENOMEM;
	inode_set_release(fs->inodes, release_inode, fs);
	return 0;
}

void fs_deinit(struct fs *fs)
{
	inode_table_free(fs->inodes); /* releases inodes: needs names */
	names_free(fs->names);
	wback_clock_free(fs->wback_clock);
	prefetch_free(fs->prefetch);
	dircache_free(fs->dircache);
	absent_free(fs->absent);
	wback_pool_free(fs->wback);
	request_table_free(fs->requests);
	stats_free(fs->stats);
	mutex_deinit(&fs->statvfs_lock);
}
