/* SPDX-License-Identifier: GPL-2.0-or-later */
/* export - see export.h. */
#include "export.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../conn/util.h"
#include "nfs3.h"
#include "statfs.h"

enum { TRANSFER_DEFAULT = 64 * 1024, WRITE_MIN = 128 * 1024, WRITE_MAX = 1 << 20 };

/* ---- a call and its answer --------------------------------------------------------------- */

struct cred export_cred(const struct options *options)
{
	return (struct cred){ .none = options->sec == SEC_NONE,
			      .uid = options->fixed_uid ? options->uid : geteuid(),
			      .gid = options->fixed_gid ? options->gid : getegid() };
}

int export_probe_init(struct export_probe *probe, const struct fs *fs, int cancel_fd)
{
	probe->cred = export_cred(fs->options);
	probe->cancel_fd = cancel_fd;
	probe->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return probe->done_fd < 0 ? -errno : 0;
}

void export_probe_deinit(struct export_probe *probe)
{
	closep(&probe->done_fd);
	probe->done_fd = -1;
}

static struct call *probe_call(struct export_probe *probe)
{
	call_init(&probe->call);
	probe->call.head = (uint8_t *)probe->head;
	probe->call.head_size = sizeof(probe->head);
	return &probe->call;
}

static void probe_done(struct call *call)
{
	struct export_probe *probe = container_of(call, struct export_probe, call);

	if (!call->status && call->results) {
		call->results_len = (uint32_t)min_size(call->results_len, sizeof(probe->copy));
		memcpy(probe->copy, call->results, call->results_len);
		call->results = (const uint8_t *)probe->copy;
	}
	atomic_store(&probe->done, true);
	eventfd_write(probe->done_fd, 1);
}

static int probe_wait(struct export_probe *probe)
{
	struct pollfd fds[] = {
		{ .fd = probe->done_fd, .events = POLLIN },
		{ .fd = probe->cancel_fd > 0 ? probe->cancel_fd : -1, .events = POLLIN },
	};
	eventfd_t value;

	while (!atomic_load(&probe->done)) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents && !atomic_load(&probe->done))
			return -ECANCELED;
	}
	eventfd_read(probe->done_fd, &value);
	return probe->call.status;
}

static int probe_run(struct fs *fs, struct export_probe *probe, int encode_error)
{
	if (encode_error)
		return encode_error;
	atomic_store(&probe->done, false);
	probe->call.done = probe_done;
	probe->call.deadline_ns = probe->deadline_ns;
	pool_submit(fs->pool, &probe->call);
	return probe_wait(probe);
}

/* ---- what is asked ----------------------------------------------------------------------- */

static uint32_t transfer_size(uint32_t asked, uint32_t preferred, uint32_t max)
{
	uint32_t size = asked ? asked : preferred;

	/* "Largest both sides support" unless asked for less (nfs(5)). */
	if (!asked && max > size)
		size = max;
	if (size > max)
		size = max;
	return size ? size : TRANSFER_DEFAULT;
}

static uint32_t max_write(uint32_t wsize)
{
	return (uint32_t)min_size(max_size(wsize, WRITE_MIN), WRITE_MAX);
}

void export_guess(struct fs *fs)
{
	const struct options *options = fs->options;

	fs->rsize = options->rsize ? options->rsize : TRANSFER_DEFAULT;
	fs->wsize = options->wsize ? options->wsize : TRANSFER_DEFAULT;
	fs->max_write = max_write(options->wsize ? options->wsize : WRITE_MAX);
	fs->readdirsize = options->readdirsize;
	fs->maxfilesize = INT64_MAX;
	fs->name_max = options->namlen && options->namlen < NFS3_NAME_MAX ? options->namlen :
									  NFS3_NAME_MAX;
}

static int probe_fsinfo(struct fs *fs, struct export_probe *probe, bool negotiated)
{
	const struct options *options = fs->options;
	struct nfs3_fsinfo info;
	int error = probe_run(fs, probe, nfs3_fsinfo_encode(probe_call(probe), &probe->cred,
							    inode_fh(fs->root)));

	if (!error)
		error = nfs3_fsinfo_decode(&probe->call, &info);
	if (error)
		return error;
	fs->rsize = transfer_size(options->rsize, info.rtpref, info.rtmax);
	fs->wsize = transfer_size(options->wsize, info.wtpref, info.wtmax);
	if (!negotiated)
		fs->max_write = max_write(fs->wsize);
	fs->maxfilesize = info.maxfilesize;
	fs->can_settime = info.can_settime;
	return 0;
}

int export_root_attr(struct fs *fs, struct export_probe *probe, const struct fhandle *fh,
		     int64_t deadline_ns, struct attr *ret_attr)
{
	struct attr attr;
	int error;

	probe->deadline_ns = deadline_ns;
	error = probe_run(fs, probe, nfs3_getattr_encode(probe_call(probe), &probe->cred, fh));
	if (!error)
		error = nfs3_getattr_decode(&probe->call, &attr);
	if (!error && !S_ISDIR(attr.mode))
		error = -ENOTDIR;
	if (!error)
		*ret_attr = attr;
	return error;
}

static int probe_root(struct fs *fs, struct export_probe *probe)
{
	uint64_t stamp = attr_stamp();
	struct attr attr;
	int error = export_root_attr(fs, probe, inode_fh(fs->root), probe->deadline_ns, &attr);

	if (!error)
		attr_apply(&fs->attr_policy, fs->root, &attr, stamp, clock_ns());
	return error;
}

/* Neither is needed to go on: a server without PATHCONF gets the protocol's limits. */
static int probe_pathconf(struct fs *fs, struct export_probe *probe)
{
	uint32_t namlen = fs->options->namlen;
	struct nfs3_pathconf pathconf;
	int error = probe_run(fs, probe, nfs3_pathconf_encode(probe_call(probe), &probe->cred,
							      inode_fh(fs->root)));

	fs->name_max = NFS3_NAME_MAX;
	if (!error && !nfs3_pathconf_decode(&probe->call, &pathconf) && pathconf.name_max)
		fs->name_max = (uint32_t)min_size(fs->name_max, pathconf.name_max);
	if (namlen)
		fs->name_max = (uint32_t)min_size(fs->name_max, namlen);
	return error == -ECANCELED ? error : 0;
}

static int probe_fsstat(struct fs *fs, struct export_probe *probe)
{
	struct nfs3_fsstat fsstat;
	struct statvfs st;
	int error = probe_run(fs, probe, nfs3_fsstat_encode(probe_call(probe), &probe->cred,
							    inode_fh(fs->root)));

	if (!error && !nfs3_fsstat_decode(&probe->call, &fsstat)) {
		statfs_fill(fs, &fsstat, &st);
		fs_cache_statvfs(fs, &st);
	}
	return error == -ECANCELED ? error : 0;
}

int export_learn(struct fs *fs, struct export_probe *probe, int64_t deadline_ns, bool negotiated,
		 const char **ret_procedure)
{
	int error;

	probe->deadline_ns = deadline_ns;
	*ret_procedure = "FSINFO";
	error = probe_fsinfo(fs, probe, negotiated);
	if (error)
		return error;
	*ret_procedure = "GETATTR";
	error = probe_root(fs, probe);
	if (error)
		return error;
	error = probe_pathconf(fs, probe);
	return error ? error : probe_fsstat(fs, probe);
}
