/* SPDX-License-Identifier: GPL-2.0-or-later */
/* runfile - what a mount was made with, for a later command (remount): /run/fusenfs/MAJOR:MINOR, lines of
 * NAME=VALUE. Root's mounts only: of others nobody but their owner could change anything, and he mounts anew. One
 * that a killed daemon leaves behind is overwritten by the next mount that gets its number. */
#ifndef FUSE_RUNFILE_H
#define FUSE_RUNFILE_H

#include "mountpoint.h"
#include "options.h"

/* runfile_write - of a mount that is up: the file's path, for runfile_remove(); NULL if there is none, which is
 * no reason to end. runfile_remove - it ends; frees path, which may be NULL. */
char *runfile_write(const struct options *options, const char *point);
/* runfile_rewrite - the lists are others now. Nothing, when the file was removed. */
void runfile_rewrite(const struct options *options, const char *point, const char *given);
void runfile_remove(char *path);
/* runfile_options - the option lists that it was given, to free; NULL: there is no such file, or no memory. */
char *runfile_options(const struct mount_entry *entry);

#endif
