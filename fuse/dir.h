/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dir - an open directory: positions for the kernel, cookies for the server, the last pages.
 *
 * The kernel's offsets are positions of our own, counted in the order entries were handed out:
 * server cookies may use all 64 bits and seekdir(3) has 63. Position 0 is the beginning, 1 is after
 * ".", 2 after ".."; both are made here, whatever the server sends, so that each appears once. The
 * handle remembers the cookie of every position, hence seeking back asks the server for exactly
 * what follows, and entries deleted before it do no harm.
 *
 * A server may refuse a cookie (BAD_COOKIE): some do as soon as the directory changes, because
 * their cookieverf is its time. Counting entries from the start again would then skip as many
 * unseen ones as were deleted, which is what rm -r does between two readings. So the names handed
 * out before the position are remembered too (as hashes), the listing starts anew, and what was
 * seen is left out. That takes long where little was deleted, and for ever where somebody keeps
 * creating files. Therefore, if the first new page has only old names, the next one is asked for
 * by the cookie of a slightly earlier position and the new verifier. Names seen before on that page
 * prove that no unseen one lies in front of it, whatever cookies mean to the server, as long as it
 * keeps its order; without any, the search goes on from the start.
 *
 * A changed cookieverf in a good reply is just used from then on: the server has accepted the
 * cookie, and will refuse older ones if it minds them.
 *
 * Threads: the kernel reads a handle from one thread at a time, but a call goes on after its
 * request was interrupted, also past RELEASEDIR: requests hold references, each fetches for itself,
 * and `lock` guards everything but the constant cred. Pages (dir_page.h) do not change once accepted. */
#ifndef FUSE_DIR_H
#define FUSE_DIR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dir_page.h"
#include "inode.h"

struct dir;

enum {
	DIR_DOTS = 2,                /* positions of "." and ".."; the server's entries follow */
	DIR_MAX_ENTRIES = 16 << 20,  /* 16 bytes each; a listing that is longer ends in EIO */
	DIR_MAX_BYTES = 1 << 20,     /* of a READDIR reply */
};

/* A call for the page behind a position. */
struct dir_fetch {
	uint64_t at;
	uint64_t cookie, cookieverf;
	uint32_t generation;
	bool restarted;          /* a cookie was refused: only a page of the server's own will do */
	uint32_t bytes;          /* the caller's notes: of which size, */
	bool plus;               /* by READDIRPLUS */
};

enum dir_next { DIR_PAGE, DIR_FETCH, DIR_END };

/* dir_new - one reference; cred is the opener's, whose calls they are. NULL without memory. */
struct dir *dir_new(const struct cred *cred);
struct dir *dir_ref(struct dir *dir);
/* dir_put - drop a reference. Takes NULL. */
void dir_put(struct dir *dir);

/* dir_opened - the kernel is about to get it, with the reference: found through the inode until
 * dir_closed(), which drops it.
 * dir_free_all - when the table is freed: a kernel that ended the session sends no RELEASEDIR. */
void dir_opened(struct dir *dir, struct inode *inode);
void dir_closed(struct dir *dir, struct inode_table *inodes);
void dir_free_all(struct inode *inode);

const struct cred *dir_cred(const struct dir *dir);

/* dir_rewind - as just opened: the next dir_find() sees the directory as it is then. */
void dir_rewind(struct dir *dir);

/* dir_find - what follows a position.
 * DIR_PAGE: *ret_page holds it, with a reference; NULL if only dots are left here. *ret_dotdot is
 *           the fileid of "..", 0 if the server did not tell.
 * DIR_FETCH: *ret_fetch must be asked first, then dir_accept() or dir_restart(), then once more.
 * DIR_END: nothing. Also for a position that was never given out. */
enum dir_next dir_find(struct dir *dir, uint64_t position, struct dir_page **ret_page,
		       uint64_t *ret_dotdot, struct dir_fetch *ret_fetch);
/* dir_accept - the reply to fetch; takes the page over in any case. 0, -ENOMEM, or -EIO for a
 * listing beyond DIR_MAX_ENTRIES. */
int dir_accept(struct dir *dir, const struct dir_fetch *fetch, struct dir_page *page);
/* dir_accept_shared - a page that another handle got by the same position and cookie, in place of a
 * call; not if fetch->restarted. Takes over a reference. */
int dir_accept_shared(struct dir *dir, const struct dir_fetch *fetch, struct dir_page *page);
/* dir_restart - fetch's cookie was refused. 0, -ENOMEM, or -EIO if it was the beginning. */
int dir_restart(struct dir *dir, const struct dir_fetch *fetch);

/* dir_bytes - the reply size to ask for, at least min. dir_enlarge - that was too small: twice it.
 * False: it cannot be larger; then dir_bytes() stays. */
uint32_t dir_bytes(struct dir *dir, uint32_t min);
bool dir_enlarge(struct dir *dir, uint32_t asked);

#endif
