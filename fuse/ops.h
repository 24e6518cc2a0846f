/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ops - the table that libfuse calls, and the handlers in it, by file. Each runs on the loop that
 * read the request and never waits; req is answered exactly once, now or by a done half. */
#ifndef FUSE_OPS_H
#define FUSE_OPS_H

#include <fuse_lowlevel.h>

extern const struct fuse_lowlevel_ops fs_ops;

/* attr_ops.c */
void attr_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void attr_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int valid,
		  struct fuse_file_info *fi);
void attr_access(fuse_req_t req, fuse_ino_t ino, int mask);

/* statfs.c */
void statfs_statfs(fuse_req_t req, fuse_ino_t ino);

/* name.c, readlink.c, make.c: what only looks at or adds names */
void name_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void name_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup);
void name_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void name_readlink(fuse_req_t req, fuse_ino_t ino);
void name_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void name_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void name_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void name_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void name_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		 struct fuse_file_info *fi);

/* remove.c: what takes names away */
void remove_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void remove_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void remove_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
		   const char *new_name, unsigned int flags);

/* file_open.c, file_read.c, file.c */
void file_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	       struct fuse_file_info *fi);
void file_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		struct fuse_file_info *fi);
void file_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void file_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void file_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* opendir.c */
void dir_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void dir_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void dir_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* readdir.c */
void dir_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		 struct fuse_file_info *fi);
void dir_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
		     struct fuse_file_info *fi);

#endif
