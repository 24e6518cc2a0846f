/* SPDX-License-Identifier: GPL-2.0-or-later */
/* request - one FUSE request in flight: whose it is, its call, its one reply.
 *
 * A handler (called by libfuse on the loop that read the request) makes a request, encodes a call
 * into it and sends it; the done half decodes, and either sends the next call or replies. A reply
 * function replies and frees: after it, the request is gone. Several calls are a chain of done
 * halves:
 *
 *	static void stat_done(struct request *request, int error) { ... request_reply_attr(...); }
 *	void stat_op(fuse_req_t req, fuse_ino_t ino, ...)
 *	{
 *		struct request *request = request_new(req, ino);
 *		if (!request)
 *			return;            // already answered: ENOMEM or ESTALE
 *		error = nfs3_getattr_encode(request_call(request), &request->cred,
 *					    inode_fh(request->inode));
 *		request_send(request, error, stat_done);
 *	}
 *
 * Interruption. The kernel sends INTERRUPT at the first signal of whoever waits. If the process is
 * being killed (or with intr) the request is answered with EINTR at once, by the loop that read the
 * INTERRUPT; its call goes on, and the done half runs as ever: replies then do nothing but free.
 * So a done half always does its book-keeping, and asks request_answered() before it begins another
 * change that was not sent yet, or takes an error that is told once.
 *
 * Deadline. A call ends at request->deadline_ns by itself (conn.h). What waits for something else -
 * another writer's data, memory, a name that is just being removed - is answered by the table, in the
 * same way, a second after that. Its call, if there is one, goes on if it was sent.
 *
 * The reply leaves on the descriptor the request came from (fuse.md section 1), whatever thread
 * replies.
 *
 * Threads: a request belongs to one thread at a time, the one that runs its handler or done half.
 * Only `answered` is shared, with the interrupter, and `deadline_ns`, which the table reads. */
#ifndef FUSE_REQUEST_H
#define FUSE_REQUEST_H

#include <fuse_lowlevel.h>
#include <stdatomic.h>

#include "dir.h"
#include "pages.h"
#include "fs.h"
#include "inode.h"
#include "nfs3.h"
#include "replay.h"
#include "wback_wait.h"

struct request;
struct lock_op;
struct request_table;
struct file;
struct prefetch_block;
struct dir;

/* A done half. error: 0 when there are results to decode; else -errno ready for the application
 * (the soft policy's errno when the server did not answer). */
typedef void request_done(struct request *request, int error);

/* A READ in inode->reads (shortread.h). */
struct read_mark {
	uint64_t offset, seq;
	struct request *waiting; /* with a short reply; NULL */
	LIST_ENTRY(read_mark) link;
};

struct request {
	struct fs *fs;
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	void *large_head;          /* for SYMLINK, the target behind it; freed with the request */
	request_done *done;
	unsigned int n_jukebox;    /* tries of the present call */
	struct cred cred;          /* caller's uid and gid; groups by request_groups() */
	uint64_t stamp;            /* attr_stamp() when the present call was sent */
	int64_t sent_ns;           /* the time then */
	int64_t start_ns;
	_Atomic(int64_t) deadline_ns;

	struct inode *inode;       /* the nodeid's, pinned until the request is freed */
	struct inode *other;       /* a second one (new parent, child), pinned; NULL */
	char name[NFS3_NAME_MAX + 1];     /* copies of the request's names, for later steps */
	char new_name[NFS3_NAME_MAX + 1];

	struct replay replay;      /* the present call, if it must not happen twice */

	SLIST_ENTRY(request) waiting_link; /* in inode->opens_waiting, or in a prefetch_block */
	struct wback_wait wait;    /* for written data to become stable */

	/* What the operation keeps from step to step; zeroed. */
	union {
		struct {
			struct file *file; /* a reference */
			bool is_close;
			uint64_t lock_owner;
			int error;
			void (*unlocked)(struct request *request);
		} flush;                   /* and FSYNC */
		struct {
			struct lock_op *op;
			struct pages_drop drop;
		} lock;                    /* GETLK, SETLK(W) */
		struct {
			uint32_t size;     /* asked by the kernel */
			uint64_t offset;
			uint32_t got;      /* so far, in buffer */
			uint32_t asked;    /* by the present call */
			uint8_t *buffer;   /* page-aligned; buffer_put() */
			struct read_mark mark; /* shortread.c's, as the next three */
			uint64_t short_seq;
			uint8_t *held;
			size_t held_len;
			struct prefetch_block *from[2]; /* prefetch.c's; the second may be NULL */
			bool extended; /* the file may be longer than the call sees: it was pending */
			bool unstable; /* the server had data that it could forget when it was sent, */
			uint64_t losses; /* and so many connections were lost by then */
		} read;
		struct {
			size_t size;
		} write;
		struct {
			struct setattr set;
			struct file *file;
		} setattr;
		struct {
			struct setattr set;
			struct fuse_file_info fi;
			enum nfs3_create_mode mode;
			uint64_t verf;
			struct nfs3_object object;
			bool open;         /* CREATE rather than MKNOD */
		} create;
		struct {
			struct fuse_file_info fi;
			struct inode *inode; /* to open: request->inode or ->other */
			struct file *file;   /* counted as open from the start; NULL: not yet */
			bool as_create;      /* answer as CREATE: the entry, too */
		} open;
		struct {
			struct dir *dir;
			uint64_t position; /* dir.h */
			uint32_t size;     /* asked by the kernel */
			bool plus;         /* in its words, READDIRPLUS */
			bool patient;      /* nothing in memory: wait for the server */
			unsigned int n_restarts;
			struct dir_fetch fetch;
		} readdir;
		struct {
			struct inode *victim; /* what the name led to, pinned; NULL: unknown */
			void (*next)(struct request *request);
			bool ending;          /* silly_end() is due */
			unsigned int n_tries; /* RMDIR */
			struct inode *held;   /* the victim, pinned and counted as open; NULL */
			struct inode *source; /* RENAME: what moves, pinned; NULL: unknown */
			char hidden[40];      /* the victim's name from now on, if it is open */
		} remove;                  /* UNLINK, RMDIR, RENAME */
		struct {
			struct dir_fetch fetch;
			void (*done)(struct request *request);
		} nearby;                  /* LOOKUP, while a page is asked for */
		int mask;                  /* ACCESS */
		struct {
			struct inode *inode; /* pinned */
			int error;           /* to reply with */
		} release;                 /* silly_release() */
	} op;

	/* request.c's. */
	fuse_req_t req;
	uint64_t unique;
	pid_t tid;
	uint32_t uid;              /* the caller's, whatever the credential is */
	uint32_t opcode;           /* FUSE's */
	int dev_fd;
	_Atomic(bool) answered;
	bool registered;
	bool any_signal;           /* whoever waits is to hear of any signal, not only of his death */
	LIST_ENTRY(request) hash_link;
};

/* ---- making ------------------------------------------------------------------------------ */

/* request_new - for the request libfuse is just delivering (dev.h knows which). Pins the inode of
 * nodeid. NULL: there was no memory or no such inode, or with bg the server has not been found yet;
 * and it has been answered. */
struct request *request_new(fuse_req_t req, fuse_ino_t nodeid);
/* request_pin_other - pin a second inode; false: answered with ESTALE and freed. */
bool request_pin_other(struct request *request, fuse_ino_t nodeid);
/* request_groups - add the caller's supplementary groups to cred. For every procedure that checks
 * permission; GETATTR, FSSTAT and what is done with an opener's cred need none. */
void request_groups(struct request *request);
/* request_set_name - copy; false: longer than 255 bytes, answered with ENAMETOOLONG and freed. */
bool request_set_name(struct request *request, const char *name);
bool request_set_new_name(struct request *request, const char *name);

/* ---- sending ----------------------------------------------------------------------------- */

/* request_call - ready the call for the next encode: initialised, its head buffer set. */
struct call *request_call(struct request *request);
/* What must not happen twice is sent by replay_send() (replay.h) instead.
 * request_send - submit what was encoded; done follows, once, on some loop, also when the server is
 * down (but never from within). Retries JUKEBOX by itself inside the deadline. encode_error: what
 * the encoder returned; if not 0, done gets it. */
void request_send(struct request *request, int encode_error, request_done *done);
/* request_send_soft - the same by somebody who has an answer of his own (softreval): done follows
 * as soon as the server is known not to answer, and then request_unanswered() says so. Who finds
 * his answer gone by then sends again, by request_send(). */
void request_send_soft(struct request *request, int encode_error, request_done *done);
/* request_unanswered - in a done half: the server did not answer the call; its error is no more
 * than that. */
bool request_unanswered(const struct request *request);
/* request_send_after - the same delay_ns from now. */
void request_send_after(struct request *request, int encode_error, request_done *done,
			int64_t delay_ns);
/* request_track - make it known to interrupts; request_send() does. For requests that others carry. */
void request_track(struct request *request);
/* request_decoded - pass a decoder's result through: -EBADMSG is told to the connection and becomes
 * -EIO, statuses without an errno become -EIO; else unchanged. */
int request_decoded(struct request *request, int result);
/* request_errno - what an application sees for a pool error: the soft policy's errno when the server
 * did not answer in time. Negative, as its argument. */
int request_errno(const struct fs *fs, int error);
/* request_jukebox_ns - pause before try number n + 1 of a call the server was not ready for: R3. */
int64_t request_jukebox_ns(unsigned int n);
/* request_answered - was it interrupted? Then nobody waits for the reply. */
bool request_answered(const struct request *request);

/* ---- replying: each frees the request ---------------------------------------------------- */

void request_reply_err(struct request *request, int error); /* 0 or -errno */
/* request_reply_ok - success, of what is to be undone if nobody takes it: false. */
bool request_reply_ok(struct request *request);
void request_reply_lock(struct request *request, const struct flock *lock);
void request_reply_attr(struct request *request);           /* request->inode's cached ones */
/* Inode (reference taken over) found under request->name in request->inode; counts the lookup. */
void request_reply_entry(struct request *request, struct inode *child);
/* As request_reply_entry, for CREATE. False: nobody took it, fi->fh must be released. */
bool request_reply_create(struct request *request, struct inode *child,
			  const struct fuse_file_info *fi);
/* False: nobody took it. */
bool request_reply_open(struct request *request, const struct fuse_file_info *fi);
void request_reply_buf(struct request *request, const void *data, size_t size);
/* False: the kernel did not take it: undo its lookups. */
bool request_reply_dirents(struct request *request, const void *data, size_t size);
void request_reply_write(struct request *request, size_t count);
void request_reply_statfs(struct request *request, const struct statvfs *st);
void request_reply_readlink(struct request *request, const char *target, uint32_t len);

/* request_fill_entry - what an entry reply says of child: attributes and validity. For readdirplus,
 * too. parent: the directory it was found in. */
void request_fill_entry(struct fs *fs, struct inode *parent, struct inode *child,
			struct fuse_entry_param *ret_entry);

/* ---- the table of requests in flight ----------------------------------------------------- */

struct request_table *request_table_new(struct fs *fs);
void request_table_free(struct request_table *table);
/* request_interrupt - a FUSE_INTERRUPT for unique was read. On a loop's thread. */
void request_interrupt(struct request_table *table, uint64_t unique);
/* request_table_oldest - of those that nobody has answered: when it began, its FUSE opcode and thread. False: there is
 * none. request_table_limit - those that have no deadline get this one: `hard` was switched off. Not who waits for a
 * lock, which may take for ever with a server that answers. Any thread. */
struct request_oldest {
	int64_t start_ns;
	uint32_t opcode, uid;
	pid_t tid;
};
bool request_table_oldest(struct request_table *table, struct request_oldest *ret_oldest);
void request_table_limit(struct request_table *table, int64_t deadline_ns);
/* request_table_count - in flight now. */
unsigned int request_table_count(struct request_table *table);

#endif
