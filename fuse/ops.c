/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ops - the table, and what is agreed with the kernel at INIT.
 *
 * Left out on purpose, so that libfuse answers ENOSYS and the kernel never asks again: lseek (the
 * kernel's own treats a file as all data, as NFS version 3 must), fallocate, copy_file_range, ioctl,
 * poll and bmap (not in NFS version 3), xattr (without acl there are none), write_buf (it would bring
 * splice back). Locks that are local to this host are the kernel's: their capabilities are not asked for. */
#include "ops.h"

#include <string.h>

#include "dev.h"
#include "fs.h"
#include "lock.h"

static void want(struct fuse_conn_info *kernel, unsigned int cap)
{
	if (kernel->capable & cap)
		kernel->want |= cap;
}

/* fuse.md section 2 has the reason for each. */
static void init(void *userdata, struct fuse_conn_info *kernel)
{
	struct fs *fs = userdata;

	kernel->want &= ~(unsigned int)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
					FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
					FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_POSIX_LOCKS |
					FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_EXPORT_SUPPORT |
					FUSE_CAP_EXPLICIT_INVAL_DATA);
	/* The kernel holds pages of mappings back while it truncates, but not in OPEN: what it writes
	 * meanwhile would bring the old size back. */
	kernel->want &= ~(unsigned int)FUSE_CAP_ATOMIC_O_TRUNC;
	want(kernel, FUSE_CAP_ASYNC_READ);
	want(kernel, FUSE_CAP_ASYNC_DIO);
	want(kernel, FUSE_CAP_PARALLEL_DIROPS);
	if (fs->options->nlm_posix)
		want(kernel, FUSE_CAP_POSIX_LOCKS);
	if (fs->options->nlm_flock)
		want(kernel, FUSE_CAP_FLOCK_LOCKS);
	want(kernel, FUSE_CAP_CACHE_SYMLINKS);
	want(kernel, FUSE_CAP_HANDLE_KILLPRIV); /* the server does, on WRITE and SETATTR */
	kernel->want &= ~(unsigned int)(FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
	if (fs->options->rdirplus != RDIRPLUS_NONE)
		want(kernel, FUSE_CAP_READDIRPLUS);
	if (fs->options->rdirplus == RDIRPLUS_AUTO)
		want(kernel, FUSE_CAP_READDIRPLUS_AUTO);
	kernel->max_write = fs->max_write;
	if (fs->options->max_read)
		kernel->max_read = fs->options->max_read; /* must equal the mount option */
	kernel->max_background = fs->options->max_background ? fs->options->max_background : 256;
	kernel->congestion_threshold = kernel->max_background * 3 / 4;
	/* Not FSINFO's time_delta, which may be coarser than what the server stores. */
	kernel->time_gran = 1;
}

const struct fuse_lowlevel_ops fs_ops = {
	.init = init,
	.lookup = name_lookup,
	.forget = name_forget,
	.forget_multi = name_forget_multi,
	.getattr = attr_getattr,
	.setattr = attr_setattr,
	.access = attr_access,
	.statfs = statfs_statfs,
	.readlink = name_readlink,
	.mknod = name_mknod,
	.mkdir = name_mkdir,
	.symlink = name_symlink,
	.link = name_link,
	.create = name_create,
	.unlink = remove_unlink,
	.rmdir = remove_rmdir,
	.rename = remove_rename,
	.open = file_open,
	.read = file_read,
	.write = file_write,
	.flush = file_flush,
	.release = file_release,
	.fsync = file_fsync,
	.opendir = dir_opendir,
	.readdir = dir_readdir,
	.readdirplus = dir_readdirplus,
	.releasedir = dir_releasedir,
	.fsyncdir = dir_fsyncdir,
	.getlk = lock_getlk,
	.setlk = lock_setlk,
	.flock = lock_flock,
};
