/* SPDX-License-Identifier: GPL-2.0-or-later */
/* export - see export.h. */
#include "export.h"

#include <errno.h>
#include <unistd.h>

#include "../conn/util.h"
#include "nfs3.h"
#include "statfs.h"

enum { REPLY_MAX = 512, TRANSFER_DEFAULT = 64 * 1024, WRITE_MIN = 128 * 1024, WRITE_MAX = 1 << 20 };

/* A call of the mounting process itself: as the user who mounts. */
struct probe {
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	uint32_t copy[REPLY_MAX / 4];
	struct cred cred;
	int64_t deadline_ns;
};

static struct call *probe_call(struct probe *probe)
{
	call_init(&probe->call);
	probe->call.head = (uint8_t *)probe->head;
	probe->call.head_size = sizeof(probe->head);
	return &probe->call;
}

static int probe_run(struct fs *fs, struct probe *probe, int encode_error)
{
	if (encode_error)
		return encode_error;
	probe->call.deadline_ns = probe->deadline_ns;
	return pool_call_wait(fs->pool, &probe->call, (uint8_t *)probe->copy, sizeof(probe->copy));
}

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

static int probe_fsinfo(struct fs *fs, struct probe *probe)
{
	const struct options *options = fs->options;
	struct nfs3_fsinfo info;
	int error = probe_run(fs, probe, nfs3_fsinfo_encode(probe_call(probe), &probe->cred,
							    &fs->root->fh));

	if (!error)
		error = nfs3_fsinfo_decode(&probe->call, &info);
	if (error)
		return error;
	fs->rsize = transfer_size(options->rsize, info.rtpref, info.rtmax);
	fs->wsize = transfer_size(options->wsize, info.wtpref, info.wtmax);
	fs->max_write = (uint32_t)min_size(max_size(fs->wsize, WRITE_MIN), WRITE_MAX);
	fs->readdirsize = options->readdirsize;
	return 0;
}

static int probe_root(struct fs *fs, struct probe *probe)
{
	struct attr attr;
	uint64_t stamp = attr_stamp();
	int error = probe_run(fs, probe, nfs3_getattr_encode(probe_call(probe), &probe->cred,
							     &fs->root->fh));

	if (!error)
		error = nfs3_getattr_decode(&probe->call, &attr);
	if (error)
		return error;
	if (!S_ISDIR(attr.mode))
		return -ENOTDIR;
	attr_apply(&fs->attr_policy, fs->root, &attr, stamp, clock_ns());
	return 0;
}

/* Neither is needed to go on: a server without PATHCONF gets the protocol's limits. */
static void probe_pathconf(struct fs *fs, struct probe *probe)
{
	struct nfs3_pathconf pathconf;

	fs->name_max = NFS3_NAME_MAX;
	if (!probe_run(fs, probe, nfs3_pathconf_encode(probe_call(probe), &probe->cred,
						       &fs->root->fh)) &&
	    !nfs3_pathconf_decode(&probe->call, &pathconf) && pathconf.name_max &&
	    pathconf.name_max < NFS3_NAME_MAX)
		fs->name_max = pathconf.name_max;
	if (fs->options->namlen && fs->options->namlen < fs->name_max)
		fs->name_max = fs->options->namlen;
}

static void probe_fsstat(struct fs *fs, struct probe *probe)
{
	struct nfs3_fsstat fsstat;
	struct statvfs st;

	if (probe_run(fs, probe, nfs3_fsstat_encode(probe_call(probe), &probe->cred,
						    &fs->root->fh)) ||
	    nfs3_fsstat_decode(&probe->call, &fsstat))
		return;
	statfs_fill(fs, &fsstat, &st);
	fs_cache_statvfs(fs, &st);
}

int export_probe(struct fs *fs, int64_t deadline_ns, const char **ret_procedure)
{
	struct probe probe = { .deadline_ns = deadline_ns };
	int error;

	probe.cred = (struct cred){ .none = fs->options->sec == SEC_NONE,
				    .uid = fs->options->fixed_uid ? fs->options->uid : geteuid(),
				    .gid = fs->options->fixed_gid ? fs->options->gid : getegid() };
	*ret_procedure = "FSINFO";
	error = probe_fsinfo(fs, &probe);
	if (error)
		return error;
	*ret_procedure = "GETATTR";
	error = probe_root(fs, &probe);
	if (error)
		return error;
	probe_pathconf(fs, &probe);
	probe_fsstat(fs, &probe);
	return 0;
}
