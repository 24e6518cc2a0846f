/* SPDX-License-Identifier: GPL-2.0-or-later */
/* statfs - FSSTAT (RFC 1813 3.3.18) as statvfs(3). */
#ifndef FUSE_STATFS_H
#define FUSE_STATFS_H

#include <sys/statvfs.h>

#include "fs.h"

/* statfs_fill - in blocks of 4096 bytes; f_bsize is the best transfer size. */
void statfs_fill(const struct fs *fs, const struct nfs3_fsstat *fsstat, struct statvfs *ret_st);

#endif
