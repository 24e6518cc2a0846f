/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attr - the attribute cache of an inode: what is believed, for how long, and whose change it was.
 *
 * Attributes come with almost every reply, over several connections, so they may overtake each
 * other. A call takes a stamp when it is sent (attr_stamp()); its attributes are applied only if
 * nothing newer was applied since, or if their ctime is later than the one known. So what one of
 * our own changes did is not taken back by the reply to a call that was sent before its end.
 *
 * Validity is the Linux client's: acregmin at first, doubled up to acregmax each time they had run
 * out and the server confirms that nothing changed, back to acregmin when something did (nfs(5)).
 *
 * The data version is the {size, mtime, ctime} that the kernel's page cache agrees with. Own WRITEs
 * move it along by their wcc_data (before equals what is believed: after becomes it; replies in any
 * order); a change that is nobody's of ours sets data_changed, and the next open drops the cache.
 *
 * The order around a WRITE or SETATTR:
 *	attr_change_begin(); stamp = attr_stamp(); send ...
 *	done: attr_apply_own(), or attr_expire() if the outcome is unknown; then attr_change_end(),
 *	and only then the answer to the application.
 * Other calls with wcc_data (COMMIT, or CREATE for its directory) need no begin and end.
 *
 * Any thread; these functions take inode->lock themselves, one at a time. */
#ifndef FUSE_ATTR_H
#define FUSE_ATTR_H

#include "inode.h"

struct attr_policy {
	_Atomic(int64_t) regmin_ns, regmax_ns, dirmin_ns, dirmax_ns; /* all 0 with noac; live */
	/* A server may leave out of its wcc_data what was there before (Ganesha does, of WRITE and
	 * COMMIT). Such a change is taken to follow the data version if that was confirmed at most
	 * so long ago. 0: never; the next open after a WRITE to such a server drops the cache. */
	int64_t trust_ns;
};

/* attr_stamp - the present moment in the order of attribute changes. */
uint64_t attr_stamp(void);

/* attr_apply - attributes from the reply of a call that was stamped before it was sent. False: they
 * are of another type or fileid, so the server gave the handle to another file; nothing was
 * applied, the cache is stale, and what the caller has is ESTALE. */
bool attr_apply(const struct attr_policy *policy, struct inode *inode, const struct attr *attr,
		uint64_t stamp, int64_t now_ns);
/* attr_apply_own - the same from a call of ours that changed the file (wcc_data). Without valid
 * after-attributes the cache becomes stale. */
void attr_apply_own(const struct attr_policy *policy, struct inode *inode, const struct wcc *wcc,
		    uint64_t stamp, int64_t now_ns);
/* attr_change_begin, attr_change_end - around a call of ours that changes data, size or times. */
void attr_change_begin(struct inode *inode);
void attr_change_end(struct inode *inode);
/* attr_expect_ctime - a LINK, RENAME or REMOVE of ours is about to change the file's ctime, and
 * nothing else of the data version; it comes without wcc_data. Before the call is sent. */
void attr_expect_ctime(struct inode *inode);
/* attr_lost_name - a REMOVE or RENAME of ours took one of the file's names: what is told of it from
 * memory, should the server not answer now, has one link less. */
void attr_lost_name(struct inode *inode);
/* attr_expire - fetch before the next use, by a call that is sent from now on. */
void attr_expire(struct inode *inode);

/* attr_lost_data - what was written could not be saved: the kernel's pages show what is not there. */
void attr_lost_data(struct inode *inode);

/* attr_same_times - mtime and ctime: what tells two states of a directory apart. */
bool attr_same_times(const struct attr *a, const struct attr *b);

/* attr_get - the cached attributes. Returns for how many more ns they are valid: > 0, or 0 if they
 * are not (with *ret_attr still set if there are any), or -1 if there are none. */
int64_t attr_get(struct inode *inode, int64_t now_ns, struct attr *ret_attr);

/* attr_settled - a call sent at sent_ns looked into the directory and told `seen` of it. Will any
 * later change of the directory show in its times? They move in ticks, so not if its last change
 * may be of the tick the call was in: then what the call saw must not be believed for as long as
 * the times stay. wall_s: time(2). */
bool attr_settled(struct inode *dir, const struct attr *seen, int64_t sent_ns, int64_t wall_s);

/* attr_open - at OPEN, after fresh attributes were applied: may the kernel keep its pages? If not,
 * the present attributes become the data version. While own changes are in flight nobody knows
 * whose work the attributes show, and the answer is usually no: who cares waits for them first. */
bool attr_open(struct inode *inode);

#endif
