/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exports - looking a path up in the list of exports that mountd gave (struct mount_result). Pure functions; what
 * they return lives as long as the list. */
#ifndef FUSE_EXPORTS_H
#define FUSE_EXPORTS_H

#include "../conn/mount.h"

/* exports_find - the export that holds the path, the innermost one; NULL: none does. */
const struct mount_export *exports_find(const struct mount_result *list, const char *path);
/* exports_nearest - the one that may have been meant (words.h); NULL: none is like it. */
const struct mount_export *exports_nearest(const struct mount_result *list, const char *path);

#endif
