/* SPDX-License-Identifier: GPL-2.0-or-later */
/* export - what the server says of the export at mount: FSINFO, root attributes, PATHCONF, FSSTAT.
 * Blocking; for the thread that mounts. */
#ifndef FUSE_EXPORT_H
#define FUSE_EXPORT_H

#include "fs.h"

/* export_probe - fill in fs's limits and the root's attributes, as rsize=, wsize= and the like ask.
 * 0, or -errno with *ret_procedure (static text) naming the call that failed. */
int export_probe(struct fs *fs, int64_t deadline_ns, const char **ret_procedure);

#endif
