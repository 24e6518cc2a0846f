/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay - calls that must not happen twice: what makes, names, moves, removes and resizes.
 *
 * A handler says what it wants done; done() follows once, as from request_send(), with the results
 * decoded:
 *
 *	replay_send(request, &(struct replay){
 *		.op = REPLAY_RENAME, .dir = request->inode, .name = request->name,
 *		.to_dir = request->other, .to_name = request->new_name, .file = source,
 *		.done = rename_done });
 *	static void rename_done(struct request *request, int error)
 *	{ apply_dir(request, request->inode, &request->replay.got.rename.from); ... }
 *
 * The ladder. When the reply of such a call is lost, conn/ first offers the same bytes to the
 * server's reply cache. If that cannot be, the call ends `ambiguous`, and the server is asked what
 * has become of it, over any connection:
 *
 *	made, linked    LOOKUP: absent, send again; ours, success; else EEXIST
 *	removed         LOOKUP: still the victim, send again; gone or another file, success
 *	renamed         LOOKUP of both names
 *	resized         GETATTR: done, or send again, guarded by the ctime just read
 *
 * replay_rule.h decides. An error that a first, unseen copy may have caused (EEXIST, ENOENT,
 * NOT_SYNC after a replay) is looked into in the same way. So is a call whose replay is lost
 * again, until the request's deadline or the end of its process (hard: only that). What is then
 * still open ends with the soft policy's errno: caches of all that is concerned are dropped, it is
 * counted, and logged as outcome-unknown. A victim or source whose identity was not known cannot
 * be looked for, and ends so at once; so does a request whose caller was killed.
 *
 * EXCLUSIVE create and SETATTR without a size may be repeated as they are, and conn/ does. A copy
 * of the former that comes after the SETATTR that overwrites its verifier can only be a late one
 * of a call that was answered: it fails with EEXIST, unseen.
 *
 * What remains: the first copy may have been received and wait for its execution while we look; it
 * then follows the replay. Only sessions (NFSv4.1) close that. */
#ifndef FUSE_REPLAY_H
#define FUSE_REPLAY_H

#include <stdatomic.h>

#include "inode.h"
#include "replay_rule.h"

struct fs;
struct request;

enum replay_op {
	REPLAY_CREATE,
	REPLAY_MKDIR,
	REPLAY_SYMLINK,
	REPLAY_MKNOD,
	REPLAY_LINK,
	REPLAY_REMOVE,
	REPLAY_RMDIR,
	REPLAY_RENAME,
	REPLAY_SETATTR,
};

/* Zero where the server told nothing. */
union replay_results {
	struct nfs3_object object; /* CREATE, MKDIR, SYMLINK, MKNOD */
	struct nfs3_link link;
	struct nfs3_rename rename;
	struct wcc wcc;            /* REMOVE and RMDIR: the directory's; SETATTR: the file's */
};

struct replay {
	/* The handler's. Nothing is copied but the struct: it stays as it is until done(). */
	enum replay_op op;
	void (*done)(struct request *request, int error);
	struct inode *dir;              /* all but SETATTR: the name concerned */
	const char *name;
	struct inode *to_dir;           /* RENAME */
	const char *to_name;
	struct inode *file;             /* what is linked, renamed, removed or set; NULL: unknown */
	struct setattr set;             /* SETATTR, and what makes objects */
	enum nfs3_create_mode mode;     /* CREATE */
	uint64_t verf;
	bool exclusive;                 /* O_EXCL, GUARDED: see replay_exclusive_mode() */
	mode_t type;                    /* MKNOD: S_IFMT bits */
	dev_t rdev;
	const char *target;             /* SYMLINK; request->large_head is set, too */
	int64_t delay_ns;

	union replay_results got;

	/* replay.c's and replay_look.c's. */
	bool ambiguous;                 /* a copy was sent whose fate is unknown */
	bool noent;                     /* a replay found nothing */
	bool unknown;                   /* and will stay so */
	unsigned int n_sent, n_pauses, n_suspicions, n_doubts;
	bool has_before;
	struct timespec before;         /* ctime: of the file when set, of the directory when made in */
	bool guarded;                   /* by `before` */
	bool without_nonce;             /* with it, it was refused */
	enum replay_sight from;
};

/* What is known of a server and counted for a mount; in struct fs. */
enum { REPLAY_N_TYPES = 16 };
struct replay_memory {
	_Atomic(bool) nonce_ignored[REPLAY_N_TYPES]; /* by S_IFMT bits >> 12 */
	_Atomic(bool) nonce_taken;     /* at least once, without an error */
	_Atomic(bool) nonce_refused;   /* send none */
	_Atomic(bool) nonce_weak;      /* that of a regular file was not kept exactly */
	_Atomic(uint64_t) n_ambiguous; /* calls that were looked into */
	_Atomic(uint64_t) n_unknown;   /* of which nothing could be proved */
};

/* replay_memory_init - for a new mount; zeroed memory. */
void replay_memory_init(struct replay_memory *memory);
/* replay_send - begin. done(): 0, results in request->replay.got; or -errno, with the directory's
 * part of them. Ambiguity is over then, or the caches have been dropped. */
void replay_send(struct request *request, const struct replay *what);

/* replay_exclusive_mode - how to CREATE with O_EXCL. EXCLUSIVE is proof against everything, but takes a
 * SETATTR behind it: it has no room for attributes, and puts its verifier where the times are.
 * GUARDED does it in one call, and the nonce is as good a proof as the verifier (there is no other
 * for an O_EXCL) on a server that keeps it. Of one that is not known yet, a lost reply to the very
 * first call may end in an EEXIST by our own file, but never in two winners. */
enum nfs3_create_mode replay_exclusive_mode(const struct fs *fs);

/* replay_is_unknown - in done(), with an error: nobody knows what has happened. */
bool replay_is_unknown(const struct request *request);
/* replay_may_follow - in done(): the server may still execute a copy of the call. */
bool replay_may_follow(const struct request *request);

#endif
