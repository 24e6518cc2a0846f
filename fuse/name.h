/* SPDX-License-Identifier: GPL-2.0-or-later */
/* name - a name in a directory, found or made: what both do with the object behind it.
 *
 * Private to name.c and make.c. The directory is request->inode, the name request->name, the object goes to
 * request->other; what a reply said of it is in request->op.create.object. The loop's thread. */
#ifndef FUSE_NAME_H
#define FUSE_NAME_H

#include "request.h"

/* name_learn - the name is child's now. */
void name_learn(struct request *request, struct inode *child);
/* name_adopt - the inode of an object, in request->other, with its attributes applied and its name known.
 * False: answered without memory. */
bool name_adopt(struct request *request, const struct fhandle *fh, const struct attr *attr);
/* name_finish - adopt op.create.object, having asked for attributes that the server left out, and answer:
 * with an entry, or as opened (op.create.open). */
void name_finish(struct request *request);
/* name_send_lookup - LOOKUP of the name, then done. */
void name_send_lookup(struct request *request, request_done *done);

#endif
