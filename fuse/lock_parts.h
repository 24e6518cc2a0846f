/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock (private half) - what the parts share: files, owners, operations. All of it belongs to one
 * thread, the loop of the lock pool: no lock. Handlers leave operations in its inbox (lock_begin()).
 *
 * An operation (one fcntl) is, in turn:
 *   unfound                waits for the lock manager to be found (lock_find.c)
 *   in an owner's queue    the first is in flight (lock_call.c)
 *   waiting, in a file's   in order of asking, for a conflicting lock to go (lock_wait.c)
 *   done                   op->done() is called, once; then it is freed, but for what goes on in the
 *                          background: an UNLOCK that was not answered */
#ifndef FUSE_LOCK_PARTS_H
#define FUSE_LOCK_PARTS_H

#include "lock.h"
#include "lock_ranges.h"
#include "nlm4.h"
#include "nsm.h"
#include "responder.h"

enum lock_kind {
	LOCK_TEST,
	LOCK_SET,
	LOCK_FREE,
	LOCK_RELEASE, /* free what was locked through `opened`; never sent itself */
	LOCK_CANCEL,  /* the server need not keep us in mind for it any more */
	LOCK_ACCEPT,  /* our answer to a GRANTED_MSG */
};

/* Of an operation that makes sure of a lock after a connection was lost; see lock_reclaim.c. */
enum lock_check { LOCK_CHECK_NONE, LOCK_CHECK_LOOK, LOCK_CHECK_RECLAIM, LOCK_CHECK_AGAIN };

struct lock_op {
	/* The handler's. */
	enum lock_kind kind;
	uint64_t start, end;
	enum lock_type type;
	bool wait;                 /* F_SETLKW */
	bool is_flock;             /* nobody looks for deadlocks of these */
	uint64_t key;              /* the kernel's owner */
	pid_t pid;                 /* who asks */
	const struct file *opened; /* through which; to compare, not to follow. NULL: unknown */
	struct cred cred;          /* its opener's */
	struct inode *inode;       /* pinned by the op */
	struct request *request;   /* who waits for it; NULL: nobody */
	int64_t deadline_ns;       /* of what cannot wait for ever */
	/* error: 0 or -errno. On the lock loop, once; NULL: nobody cares. A LOCK_SET that was granted
	 * is his until lock_settle(); any other is freed when done() returns. */
	void (*done)(struct lock_op *op, int error);
	struct nlm4_test found;    /* LOCK_TEST; status GRANTED: nothing is in the way */
	pid_t found_pid;           /* who, on this host; 0: unknown */

	/* The parts'. */
	struct locks *locks;
	struct lock_owner *owner;
	struct lock_ranges before; /* LOCK_SET granted: what the owner had there until then */
	struct loop_task task;
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	bool waiting, in_flight;
	bool blocked;              /* LOCK_SET: the server may have it in its list, until CANCEL */
	bool hinted;               /* it has said GRANTED since we asked at last: ask at once */
	bool by_hint;              /* that is why it was asked now */
	bool waited_long;          /* it trusted in being told, and time was up */
	enum lock_check check;
	struct nlm4_cookie *cookie; /* LOCK_ACCEPT */
	int64_t try_at_ns, pause_ns;
	TAILQ_ENTRY(lock_op) link; /* owner->queue, file->waiting, locks->unfound or ->unrecorded */
};

TAILQ_HEAD(lock_op_list, lock_op);

/* One owner's locks on one file. */
struct lock_owner {
	struct lock_file *file;
	uint64_t key;
	uint32_t svid;
	pid_t pid;
	const struct file *opened; /* through which he last asked */
	struct cred cred;
	struct lock_ranges held;
	bool lost;                 /* some of it, and he has not given the rest back yet */
	struct lock_op_list queue;
	unsigned int n_ops;        /* that refer to him */
	LIST_ENTRY(lock_owner) link;
};

struct lock_file {
	struct locks *locks;
	struct inode *inode; /* pinned */
	LIST_HEAD(, lock_owner) owners;
	struct lock_op_list waiting;
	unsigned int n_pins;
	LIST_ENTRY(lock_file) link;
};

struct locks {
	struct fs *fs;
	struct pool *pool;        /* of the lock manager: one loop */
	struct responder *responder;
	struct nsm *nsm;
	struct lock_op_list unrecorded; /* LOCK_SETs that wait for nsm's record */
	bool grants_come;         /* the server does call us: who waits need not ask so often */
	unsigned int n_denials;   /* answers to GRANTED_MSGs that nobody waits for, on their way */
	struct loop *loop;
	char caller_name[NLM4_NAME_MAX];
	char oh[NLM4_OH_MAX];
	uint32_t next_svid, looker_svid;
	struct lock_op_list unfound;  /* LOCK_SETs and LOCK_TESTs that wait for lock_find.c */
	_Atomic(enum lock_manager) manager;
	_Atomic(int64_t) again_ns;    /* an absent one is not looked for before that */
	int64_t find_at_ns;           /* INT64_MAX: nothing to look for, or it is being done */
	struct loop_task found_task;
	_Atomic(bool) found_posted, is_silent; /* is_silent: not even NFS answered */
	bool was_found;               /* the main thread's */
	int want_fd;                  /* eventfd */
	_Atomic(unsigned int) n_held, n_waiting, n_lost; /* locks_info() */
	_Atomic(bool) closing;
	int idle_fd;              /* eventfd, when closing: nothing is held any more */
	int silent_fd;            /* eventfd, when closing: the loop answers no request any more */
	bool is_emptying;         /* all is to be given back */
	struct loop_timer timer;
	struct loop_task name_task, close_task, silent_task, check_task, ask_task, record_task;
	_Atomic(bool) check_posted, ask_posted;
	LIST_HEAD(, lock_file) files;
};

/* lock_op_new - zeroed but for the inode, which it pins. NULL without memory. */
struct lock_op *lock_op_new(struct fs *fs, struct inode *inode, enum lock_kind kind);
/* lock_op_own - nobody's but the owner's, for the background; NULL without memory, which is logged. */
struct lock_op *lock_op_own(struct lock_owner *owner, enum lock_kind kind, uint64_t start, uint64_t end,
			    enum lock_type type);
/* lock_begin - take it to the lock loop. Any thread.
 * lock_settle - of a granted one: its caller knows (keep), or has gone: then it is undone. Any thread. */
void lock_begin(struct lock_op *op);
/* lock_begin_again - what it waited for (the lock manager, the record) is there. The lock loop. */
void lock_begin_again(struct lock_op *op);
void lock_settle(struct lock_op *op, bool keep);

/* ---- lock_find.c: the server's lock manager ---------------------------------------------- */

/* lock_find - is it found? False: the op waits for that, or has failed: the caller leaves it alone.
 * lock_find_lost - no connection is left. Any thread.
 * lock_find_tick - time passes: *next_ns becomes when it is to be called again, if that is earlier.
 * lock_find_stop - who waits for it has waited in vain. */
bool lock_find(struct lock_op *op);
void lock_find_lost(struct locks *locks);
void lock_find_tick(struct locks *locks, int64_t now_ns, int64_t *next_ns);
void lock_find_stop(struct locks *locks);

/* ---- lock_table.c: who has what ---------------------------------------------------------- */

/* lock_file_of - NULL: nobody has or wants a lock on it. */
struct lock_file *lock_file_of(struct locks *locks, const struct inode *inode);
struct lock_owner *lock_owner_of(struct lock_file *file, uint64_t key);
/* lock_join - make op->owner, and his file, if need be. 0 or -ENOMEM.
 * lock_leave - the op needs him no longer: he, and the file, go if nothing else does. */
int lock_join(struct lock_op *op);
void lock_leave(struct lock_op *op);
void lock_owner_check(struct lock_owner *owner);
/* lock_hold - what the owner has, from now on: as lock_ranges_set(). */
int lock_hold(struct lock_owner *owner, uint64_t start, uint64_t end, enum lock_type type);
/* lock_file_unpin - it stays while n_pins > 0. */
void lock_file_unpin(struct lock_file *file);
/* lock_is_leaving - does an UNLOCK of the owner's wait to be answered for any of start..end? */
bool lock_is_leaving(const struct lock_owner *owner, uint64_t start, uint64_t end);

/* lock_check_empty - locks.c's: a file has gone. */
void lock_check_empty(struct locks *locks);

/* lock_clashes - could the two locks that they ask for not be had beside each other? */
bool lock_clashes(const struct lock_op *a, const struct lock_op *b);

/* What stands in the way of a lock within the mount. */
enum lock_obstacle {
	LOCK_OBSTACLE_NONE,
	LOCK_OBSTACLE_ASKED,   /* somebody came before, and the server has not answered him yet */
	LOCK_OBSTACLE_LEAVING, /* it is being given back */
	LOCK_OBSTACLE_HELD,
};
enum lock_obstacle lock_obstacle(const struct lock_op *op, const struct lock_owner **ret_owner,
				 const struct lock_range **ret_range);
/* lock_would_deadlock - whom he would have to wait for waits, through others maybe, for him. */
bool lock_would_deadlock(const struct lock_op *op);

/* ---- lock_call.c: calls in order --------------------------------------------------------- */

/* lock_enqueue - as the last of its owner's. lock_push - as the next. lock_resume - a held back first one is
 * sent again. */
void lock_enqueue(struct lock_op *op);
void lock_push(struct lock_op *op);
void lock_resume(struct lock_owner *owner);
/* lock_finish - it is done: tell, free. lock_op_free - without telling. lock_tell_early - who asked is told,
 * and it goes on without him. */
void lock_finish(struct lock_op *op, int error);
void lock_op_free(struct lock_op *op);
void lock_tell_early(struct lock_op *op, int error);
/* lock_is_gone - nobody waits for the answer any more. */
bool lock_is_gone(const struct lock_op *op);
/* lock_undo - the owner's state in the range of a granted or doubtful LOCK_SET is to be as before,
 * where it was not given back since. */
void lock_undo(struct lock_op *op);
/* lock_give_back - in the background: start..end of an owner. */
void lock_give_back(struct lock_owner *owner, uint64_t start, uint64_t end);

/* lock_cancel - of a LOCK_SET that the server may have in its list: it is taken out, and what the owner had before
 * is asserted, in case it was granted meanwhile. */
void lock_cancel(struct lock_op *op);
/* lock_give_up - it ends without the lock. */
void lock_give_up(struct lock_op *op, int error);

/* ---- lock_grant.c: the server calls ------------------------------------------------------ */

/* lock_grant_open - make the responder. 0 or -ENOMEM. */
int lock_grant_open(struct locks *locks);

/* ---- lock_reclaim.c: after a restart of the server --------------------------------------- */

/* lock_check_all - a connection was lost: is what we hold still held? Any thread. */
void lock_check_all(struct locks *locks);
/* lock_checked - what the server says to such an operation, taken out of the queue; error: it did not. */
void lock_checked(struct lock_op *op, int error, enum nlm4_status status);
/* lock_forgive - the owner has given everything back. */
void lock_forgive(struct lock_owner *owner);

/* ---- lock_wait.c: waiting ---------------------------------------------------------------- */

/* lock_try - ask for it now, or wait, or give up. */
void lock_try(struct lock_op *op);
/* lock_wait - the server says that somebody else has it: ask again later. lock_wait_grace - that it is
 * too early to ask. */
void lock_wait(struct lock_op *op);
void lock_wait_grace(struct lock_op *op);
/* lock_ask_now - of one that waits. lock_ask_all - of all whom the server may have in its list. */
void lock_ask_now(struct lock_op *op);
void lock_ask_all(struct locks *locks);
/* lock_stop_waiting - all of them, at the end. */
void lock_stop_waiting(struct locks *locks);
/* lock_kick - a lock of the file has gone. */
void lock_kick(struct lock_file *file);
/* lock_retry_later - the first of the owner's queue is sent again after a pause. */
void lock_retry_later(struct lock_op *op);
/* lock_set_timer - lock_timer_expired() runs then, or earlier. */
void lock_set_timer(struct locks *locks, int64_t at_ns);
void lock_timer_expired(struct loop_timer *timer, int64_t now_ns);

#endif
