/* SPDX-License-Identifier: GPL-2.0-or-later */
/* offline - the mount point while the server was not found yet (bg).
 *
 * There is one directory, and it answers from here at once: stat(2) finds mode 0555, a size of 0 and
 * the time of the mount; statvfs(2) finds nothing free of nothing; access(2) may read and enter it.
 * Whatever else is asked, request_new() answers with the soft policy's errno. That is so of listing it,
 * too: whoever copies, compares or deletes must not take an empty directory for the export's contents.
 *
 * Nothing of it may be believed: no validity is told, and when the server was found the kernel is told
 * to forget it (offline_end()). */
#ifndef FUSE_OFFLINE_H
#define FUSE_OFFLINE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

struct fs;

/* True: it has been answered, the server was not found yet. On a loop's thread. */
bool offline_getattr(fuse_req_t req);
bool offline_access(fuse_req_t req, int mask);
bool offline_statfs(fuse_req_t req);

/* offline_end - have the kernel ask for the root's attributes again. On the main thread. */
void offline_end(struct fs *fs);

#endif
