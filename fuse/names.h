/* SPDX-License-Identifier: GPL-2.0-or-later */
/* names - under which names files were seen: (directory, name) -> inode.
 *
 * UNLINK and RENAME name a file; whether it is open here, and must be kept under a silly name, is
 * known of the inode. And LOOKUP tells what a name was when the server does not answer (softreval).
 * The kernel keeps the real cache of names; this one keeps the last few of each inode, and no
 * negative ones (absent.h). A miss costs the silly rename and a link count told too large.
 *
 * The table holds no reference on the inodes it leads to, but one on each directory it names.
 * Sharded; any thread. inode->names belongs to this file. */
#ifndef FUSE_NAMES_H
#define FUSE_NAMES_H

#include "inode.h"

struct names;

struct names *names_new(struct inode_table *inodes);
void names_free(struct names *names);

/* names_add - the inode was parent/name at `stamp` (attr_stamp(): when a LOOKUP was sent, when a change
 * of ours was done); what is known from later stays. Without memory it is not remembered. */
void names_add(struct names *names, struct inode *parent, const char *name, struct inode *inode,
	       uint64_t stamp);
/* names_find - with a new reference, or NULL. */
struct inode *names_find(struct names *names, struct inode *parent, const char *name);
/* names_drop - parent/name is gone. */
void names_drop(struct names *names, struct inode *parent, const char *name);
/* names_count_stat - the server is about to be asked for the attributes of this inode alone:
 * counted in the directory it was seen in last. */
void names_count_stat(struct inode *inode);
/* names_path - where it was seen last, below the root: "a/b". 0, or -ENOENT if a name on the way is not
 * known (any more), or the path is too long. For people. */
int names_path(struct names *names, struct inode *inode, char *path, size_t size);
/* names_forget - the inode is: on its last reference. */
void names_forget(struct names *names, struct inode *inode);

#endif
