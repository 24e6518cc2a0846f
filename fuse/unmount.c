/* SPDX-License-Identifier: GPL-2.0-or-later */
/* unmount - see unmount.h. */
#include "unmount.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../conn/util.h"
#include "fusectl.h"
#include "log.h"
#include "mountpoint.h"
#include "names.h"
#include "notify.h"
#include "request.h"
#include "silly.h"
#include "wback.h"

enum { LOSSES_NAMED_MAX = 8 }; /* log.h limits lines of one kind to ten */

static const int64_t LAST_CALLS_NS = 500 * NS_PER_MS; /* with a server that answers */
static const int64_t TELL_NS = 500 * NS_PER_MS;
static const int64_t MANAGER_SLACK_NS = 10 * NS_PER_S; /* for what follows */
static const int64_t GOODBYE_NS = 1 * NS_PER_S;       /* for users, when data took all the time */

static bool wait_gone(const struct unmount *unmount, int64_t deadline_ns)
{
	struct pollfd gone = { .fd = unmount->gone_fd, .events = POLLIN };
	int64_t left_ns;

	do {
		left_ns = max_i64(deadline_ns - clock_ns(), 0);
		if (poll(&gone, 1, (int)(left_ns / NS_PER_MS)) > 0)
			return true;
	} while (clock_ns() < deadline_ns);
	return false;
}

/* ---- data -------------------------------------------------------------------------------- */

static void commit_inode(struct inode *inode, void *arg UNUSED)
{
	wback_commit(inode);
}

/* The service manager sees that it goes on, and has the patience that umounttimeo asks for. */
static void tell_manager(struct fs *fs, int64_t left_ns)
{
	notify_status("unmounting: %llu KiB not yet on stable storage of %s",
		      (unsigned long long)(wback_pool_bytes(fs->wback) + 1023) / 1024, fs->options->source.host);
	notify_extend(left_ns + MANAGER_SLACK_NS);
}

/* Until nothing is held that the server may still lose. */
static void drain(struct fs *fs, int64_t deadline_ns)
{
	struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };
	int64_t told_ns = 0, now_ns;

	inode_table_each(fs->inodes, commit_inode, NULL);
	while (wback_pool_bytes(fs->wback) && (now_ns = clock_ns()) < deadline_ns) {
		if (now_ns - told_ns >= TELL_NS) {
			tell_manager(fs, deadline_ns - now_ns);
			told_ns = now_ns;
		}
		nanosleep(&pause, NULL);
	}
}

/* RELEASE and what it starts (the last REMOVE of a hidden file) come after umount(8) has returned. */
static void settle(struct fs *fs, int64_t deadline_ns)
{
	struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };

	while (request_table_count(fs->requests) && clock_ns() < deadline_ns)
		nanosleep(&pause, NULL);
}

struct loss {
	struct fs *fs;
	uint64_t bytes;
	unsigned int n_files;
	bool tell;
};

static void count_loss(struct inode *inode, void *arg)
{
	struct loss *loss = arg;
	uint64_t bytes = wback_bytes(inode);
	char path[512];

	if (!bytes)
		return;
	loss->bytes += bytes;
	if (!loss->tell || loss->n_files++ >= LOSSES_NAMED_MAX)
		return;
	if (names_path(loss->fs->names, inode, path, sizeof(path)))
		snprintf(path, sizeof(path), "name unknown");
	log_error(MSG_WRITE_LOST, "file %llu (%s): %llu bytes given up",
		  (unsigned long long)inode->fileid, path, (unsigned long long)bytes);
}

static void report_loss(struct fs *fs)
{
	struct loss loss = { .fs = fs };

	if (!wback_pool_bytes(fs->wback))
		return;
	inode_table_each(fs->inodes, count_loss, &loss);
	log_error(MSG_WRITE_LOST,
		  "data in %llu KiB of buffers, not yet on stable storage of %s, is given up",
		  (unsigned long long)((loss.bytes + 1023) / 1024), fs->options->source.host);
	loss.tell = true;
	inode_table_each(fs->inodes, count_loss, &loss);
	if (loss.n_files > LOSSES_NAMED_MAX)
		log_error(MSG_WRITE_LOST, "and data of %u more files",
			  loss.n_files - LOSSES_NAMED_MAX);
}

/* ---- in order ---------------------------------------------------------------------------- */

static bool by_signal(const struct unmount *unmount, int64_t deadline_ns)
{
	int64_t timeo_ns = unmount->fs->options->umounttimeo_ns;
	bool detached;
	int error;

	drain(unmount->fs, deadline_ns - min_i64(GOODBYE_NS, timeo_ns / 5));
	if (!unmount->path)
		return true;
	detached = !mountpoint_unmount(unmount->path);
	if (wait_gone(unmount, deadline_ns))
		return true;
	log_info(MSG_NONE, "still in use %g s after it was to end: ending it",
		 (double)timeo_ns / 1e9);
	error = fusectl_abort(unmount->fusectl);
	if (error && error != -EBADF)
		log_debug("abort: error %d", -error);
	return detached;
}

bool unmount_run(const struct unmount *unmount, bool gone)
{
	struct fs *fs = unmount->fs;
	int64_t deadline_ns = clock_ns() + fs->options->umounttimeo_ns;
	bool unmounted = true;

	if (!gone)
		unmounted = by_signal(unmount, deadline_ns);
	else if (unmount->path && fusectl_is_mounted(unmount->fusectl, fs->session, unmount->path))
		unmounted = !mountpoint_unmount(unmount->path);
	settle(fs, deadline_ns);
	drain(fs, deadline_ns);
	report_loss(fs);
	atomic_store(&fs->losses_told, true);
	if (pool_server_state(fs->pool) == SERVER_UP)
		silly_remove_all(fs, max_i64(deadline_ns, clock_ns() + LAST_CALLS_NS));
	return unmounted;
}
