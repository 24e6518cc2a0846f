/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_lists - the ranges of a file, who waits for them, and what is due next. Pure: no clock, call or
 * memory but the ranges; the owner's lock guards it, and everything is a row in a test.
 *
 * A range passes from list to list:
 *   waiting (to be full, or due; an older one that overlaps goes first, or a quarantine ends)
 *     -> writing -> unstable -> committing -> gone
 *   other verifier: committing -> waiting
 *   no answer: writing -> waiting, if it is ours (range_is_ours()); committing -> unstable
 *
 * Write-behind. What has been answered already is sent when nothing can be added to it any more and
 * more has come, when somebody waits for it, when it is a second old, or when there is too much of it. Is it all there is
 * of the file, and somebody waits until it is stable, one WRITE makes it so (FILE_SYNC).
 *
 * Doubt. The server took a range, and then a connection was lost: it may have been restarted. Until a
 * COMMIT has shown that it was not, or the range was written again, it counts as not taken.
 *
 * Trouble. When a COMMIT or the WRITE of a range of ours gets no answer, the data is held, and it is
 * tried again: not before retry_at_ns, and not while the server is known to be down. Whoever waits
 * is told at each failure. Without any answer for hold_ns since the first attempt, it is lost.
 * wback_lists_look() finds out what is due; the owner does it. */
#ifndef FUSE_WBACK_LISTS_H
#define FUSE_WBACK_LISTS_H

#include "quarantine.h"
#include "range.h"
#include "wback_wait.h"

enum {
	WBACK_REWRITES_MAX = 3,   /* UNSTABLE passes after the first, then FILE_SYNC */
	WBACK_RANGES_MAX = 1024,  /* unstable ones of a file before they are committed unasked */
	WBACK_OURS_MAX = 64,      /* WRITEs of ours in flight, for each file */
	WBACK_BEHIND_MAX = 256,   /* of ours waiting to be sent; then writers wait for their WRITEs */
};

#define WBACK_AGE_NS (1 * NS_PER_S) /* what was written is sent */

struct wback_lists {
	uint64_t next_seq;
	struct range_list waiting, writing, unstable, committing; /* waiting: by seq */
	unsigned int n_waiting, n_unstable, n_ours;  /* n_ours: in writing */
	uint64_t unstable_bytes;
	uint64_t losses;                  /* pool_n_losses(), as the owner last knew */
	uint64_t oldest_losses;           /* the smallest of unstable and committing ones; UINT64_MAX */
	uint64_t urgent_seq;              /* ranges before it are to be sent; 0: none */
	bool commit_in_flight;
	uint64_t wanted_seq;              /* ranges before it are to be committed unasked; 0: none */
	struct wback_wait_list waits;     /* for data to be stable; by seq */
	struct wback_wait_list sends;     /* for the server to have it; by seq */
	struct wback_wait_list fenced;    /* their data is stable, their quarantine is not over */
	struct wback_wait_list failed;    /* with fail_error */
	int fail_error;
	struct quarantine quarantine;
	unsigned int n_cutting;           /* SETATTRs of size in flight, to */
	uint64_t cut_from;                /* this size or more */
	int64_t trouble_since_ns;         /* no answer since, begun with an attempt's start; 0: none */
	int64_t retry_at_ns;
};

/* What the outside says at the moment of a look. */
struct wback_view {
	int64_t now_ns;
	int64_t hold_ns;    /* lost after so much trouble; INT64_MAX: never */
	int down_error;     /* -errno for who waits; 0: the server is not known to be down */
	bool memory_short;  /* send what there is, and commit it */
	uint64_t commit_bytes; /* so much is committed unasked, to keep memory coming free; 0: none */
	uint32_t wsize;     /* what one WRITE takes */
};

STAILQ_HEAD(wback_send_list, range);

/* What is due. Lists are in the order in which to treat them. */
struct wback_todo {
	struct range_list lost;           /* given up: tell, free */
	struct range_list dropped;        /* their writers have gone before they were sent: reply, free */
	struct wback_send_list send;      /* they are in `writing` */
	bool commit;                      /* send a COMMIT; commit_in_flight is set */
	struct wback_wait_list failed;    /* done() with fail_error */
	int fail_error;
	struct wback_wait_list satisfied; /* done() with 0 */
	bool empty;                       /* nothing is left that needs the file */
	bool timed;                       /* look again soon, though nothing happens */
};

void wback_lists_init(struct wback_lists *lists);
void wback_todo_init(struct wback_todo *todo);
void wback_lists_look(struct wback_lists *lists, const struct wback_view *view,
		      struct wback_todo *todo);

bool wback_lists_empty(const struct wback_lists *lists);

/* wback_lists_add - a new range. */
void wback_lists_add(struct wback_lists *lists, struct range *range);
/* wback_lists_host - the fresh range that such a write may be taken into; NULL: it is to be a range of
 * its own, as it touches none, or a newer one that it must not go before. */
struct range *wback_lists_host(struct wback_lists *lists, uint64_t offset, size_t size,
			       const struct cred *cred);
/* wback_lists_wait - false: all is stable (and no quarantine behind wait->from) already.
 * wback_lists_wait_sent - false: the server has taken all. */
bool wback_lists_wait(struct wback_lists *lists, struct wback_wait *wait);
bool wback_lists_wait_sent(struct wback_lists *lists, struct wback_wait *wait);
/* wback_lists_hurry - all that there is now is to be sent. wback_lists_want - and committed. */
void wback_lists_hurry(struct wback_lists *lists);
void wback_lists_want(struct wback_lists *lists);

/* wback_lists_pending_end - where the last byte of ours is that the server has not taken; 0: it has all.
 * wback_lists_is_pending - any in [start, end)? In doubt it has not: what it took before a connection was
 * lost, and has not committed, it may have forgotten. */
uint64_t wback_lists_pending_end(const struct wback_lists *lists);
bool wback_lists_is_pending(const struct wback_lists *lists, uint64_t start, uint64_t end);

/* A range in `writing` is done: taken by the server - what it replaces goes to *freed, and itself if it
 * is stable; refused, or its writer is told - the caller's; unanswered and ours - held. */
void wback_lists_taken(struct wback_lists *lists, struct range *range, struct range_list *freed);
void wback_lists_refused(struct wback_lists *lists, struct range *range);
void wback_lists_held(struct wback_lists *lists, struct range *range);

/* The COMMIT is done. committed: stable ranges go to *freed, returns how many are to be written again.
 * *ret_differs: of one of them no connection was lost since, so that another verifier is no restart.
 * uncommitted: no answer. lost: refused; they go to *freed, and whoever waits gets error. */
unsigned int wback_lists_committed(struct wback_lists *lists, uint64_t verf,
				   struct range_list *freed, bool *ret_differs);
void wback_lists_uncommitted(struct wback_lists *lists);
void wback_lists_commit_refused(struct wback_lists *lists, int error, struct range_list *freed);

/* wback_lists_trouble - an attempt begun at start_ns got no answer: whoever waits gets error.
 * wback_lists_answered - one did. wback_lists_alive - another call to the file did: patience begins
 * anew. */
void wback_lists_trouble(struct wback_lists *lists, int64_t start_ns, int64_t retry_at_ns, int error);
void wback_lists_answered(struct wback_lists *lists);
void wback_lists_alive(struct wback_lists *lists, int64_t now_ns);

/* wback_lists_cut - a truncation is sent; what it concerns waits. wback_lists_cut_done - it has ended. */
void wback_lists_cut(struct wback_lists *lists, uint64_t size);
void wback_lists_cut_done(struct wback_lists *lists);

/* wback_lists_give_up - everything of ours that is not in flight goes to *lost. */
void wback_lists_give_up(struct wback_lists *lists, struct range_list *lost);

#endif
