/* SPDX-License-Identifier: GPL-2.0-or-later */
/* readdir - what others need of readdir.c. */
#ifndef FUSE_READDIR_H
#define FUSE_READDIR_H

#include "request.h"

/* readdir_page - the reply to request->call, which was asked by fetch, as a page; the directory's
 * attributes are applied. 0 with a reference in *ret_page; or -errno, also of those that only
 * readdir.c knows what to do about. */
int readdir_page(struct request *request, const struct dir_fetch *fetch, struct dir_page **ret_page);

#endif
