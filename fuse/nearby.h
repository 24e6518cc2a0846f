/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nearby - names that are asked for one after the other in a directory: a page of it instead.
 *
 * git status, rsync and make stat every file of a directory without listing it: one LOOKUP each. So
 * after a few LOOKUPs in a directory, the next one is sent as a READDIRPLUS; its page is kept
 * (dircache.h), and names that it has are answered from there for as long as its attributes are
 * believed. Names that it does not have are still asked for: another host may just have made them.
 *
 * A page counts only if the directory has not changed since and no change can have gone unseen, be it
 * one of our own (attr.h, attr_settled()). How many LOOKUPs it takes grows with what has been listed
 * in vain: who asks for few names in a large directory reads little of it. */
#ifndef FUSE_NEARBY_H
#define FUSE_NEARBY_H

#include "request.h"

/* nearby_find - the inode of request->name in request->inode, from a page, its attributes applied and
 * valid; a new reference or NULL. */
struct inode *nearby_find(struct request *request);
/* nearby_found - a LOOKUP in the directory has found something. */
void nearby_found(struct inode *dir);
/* nearby_ask - in place of the LOOKUP that is due: true if a page is asked for; then done() follows,
 * with nothing to decode, and nearby_find() may know. */
bool nearby_ask(struct request *request, void (*done)(struct request *request));

#endif
