/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addresses - which addresses of the server the pool may use.
 *
 * Candidates are what its name resolves to (dns=all: every A and AAAA record, dns=first: one) and addrs=. The
 * one that the mount was made by is proven. Every other one is asked by MNT (RFC 1813 5.2.1) for the same path,
 * and used once it has given the same root handle: only then is it the same server. Where mountd is elsewhere
 * (mounthost=) MNT would say nothing, and it is asked for the root's attributes (rootproof.h). One that gives another is
 * logged (addr-mismatch) and left out, until it is asked again a minute later. One that does not answer is left
 * out and asked again every few seconds; while none answers, all that were proven stay.
 *
 * When a connection is lost or cannot be made, its address is asked again, and the name resolved, at most every
 * five seconds. If the name has moved, so that none of the proven addresses is left in it or answers, one that
 * gives another root is taken nevertheless, as a server that was set up anew elsewhere, and the root asked for
 * again (fs_root_is_stale()).
 *
 * A thread of its own does that, for all of it blocks. */
#ifndef FUSE_ADDRESSES_H
#define FUSE_ADDRESSES_H

#include "find.h"

struct addresses;

/* addresses_start - after the mount was made by find->result. *ret_addresses is NULL if there never can be
 * another address: SOURCE or addr= has a literal one, and there is no addrs=. 0 or -errno. */
int addresses_start(struct fs *fs, const struct find *find, struct addresses **ret_addresses);
/* addresses_lost - a connection to it was lost or could not be made. Any thread; does not wait. Takes NULL. */
void addresses_lost(struct addresses *addresses, const struct sockaddr_storage *remote);
/* addresses_check - the root has another handle: do all of them give it? Takes NULL. */
void addresses_check(struct addresses *addresses);
/* addresses_stop - end the thread, within some tenths of a second. addresses_free - once nobody can call
 * addresses_lost() any more. Both take NULL. */
void addresses_stop(struct addresses *addresses);
void addresses_free(struct addresses *addresses);

#endif
