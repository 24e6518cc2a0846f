/* SPDX-License-Identifier: GPL-2.0-or-later */
/* attr - which attributes are newer, how long they hold, whose change they show.
 *
 * Which are newer. One counter orders everything: a call's stamp is its value at sending, and
 * inode->attr_seq a barrier in the same count. Attributes that differ from the known ones raise the
 * barrier to the present moment; so a reply is trusted without more ado only if its call was sent
 * after the known state had been reported, and then it was executed later too. Of calls that were
 * under way at that moment the server's own clock decides: a later ctime. (The Linux client's
 * attr_gencount is the same.)
 *
 * Why size and mtime do not roll back under writes in flight. The reply to a WRITE has its
 * after-attributes applied and raises the barrier, even if it brings none: then they are stale. A
 * GETATTR that was executed before that WRITE was sent before that moment and has no later ctime,
 * hence is refused; one that was executed after it is right. Server clocks tick every few ms, so
 * two of our writes may share a ctime. Those are ordered by what the
 * stamp does not know: a wcc whose before-attributes are the known ones comes next; else the larger
 * file is the later one, for WRITEs only extend and a truncation is never in flight beside them.
 * What cannot be ordered at all makes the cache stale. Stale ends only with a call sent after it
 * began.
 *
 * Whose change it is. inode->data is a version that we can account for. Own changes take it
 * further,
 *   - when it is their before: the after is the next;
 *   - when it is their after: already counted (they overlapped on the server, see below);
 *   - when their before is older: they lie behind it, or around it.
 * Anything else waits in `unmatched` for the reply that was overtaken, joined to what waits
 * already: one WRITE that is stuck costs one entry, whatever passes it. When the last change in
 * flight has ended and some still wait, or the attributes are not those of the version, then
 * somebody else wrote in between: data_changed, never a guess in favour of the cache. While changes
 * are in flight attributes from other calls judge nothing, because they may show our own work
 * before its reply does. A foreign write between two of ours is always seen if the server takes
 * before and after together with the change, as knfsd does. Where two WRITEs may read the same
 * before, or one read its after behind the other's, ordering by ctime accepts that, and a foreign
 * write within the few ms of such a WRITE goes unseen.
 *
 * No before at all (Ganesha's WRITE). Then nothing tells our write from ours on top of somebody
 * else's: sizes and times add up in both cases. It is taken for ours if it leads nowhere new, and
 * within policy->trust_ns of the last confirmation; else the next open drops the cache. That costs
 * a second reading of what we wrote; trust may cost an application the other one's data, so it is a
 * setting (the Linux client trusts without limit).
 *
 * An own SETATTR moves ctime under its wcc and is a change like others. LINK, RENAME and REMOVE
 * move it without one: attr_expect_ctime() forgives one step of ctime with size and mtime
 * unchanged. */
#include <stdatomic.h>
#include <stdlib.h>

#include "../conn/util.h"
#include "attr.h"

/* For attr_settled(). Servers' clocks tick every 1 to 10 ms, those of old file systems every
 * second. A server's clock may differ from ours, but hardly by a minute. */
static const int64_t TICK_NS = 25 * NS_PER_MS;
static const int64_t COARSE_TICK_NS = 1100 * NS_PER_MS;
enum { SKEW_S = 60 };

static _Atomic(uint64_t) last_stamp;

uint64_t attr_stamp(void)
{
	return atomic_fetch_add(&last_stamp, 1) + 1;
}

/* size_of - what loff_t can hold; a server may say anything. */
static uint64_t size_of(uint64_t size)
{
	return size < INT64_MAX ? size : INT64_MAX;
}

static struct inode_version version_of(const struct attr *attr)
{
	return (struct inode_version){ size_of(attr->size), attr->mtime, attr->ctime };
}

static bool version_equal(const struct inode_version *a, const struct inode_version *b)
{
	return a->size == b->size && time_equal(a->mtime, b->mtime) &&
	       time_equal(a->ctime, b->ctime);
}

/* version_later - b came after a, as far as their times and sizes tell. */
static bool version_later(const struct inode_version *a, const struct inode_version *b)
{
	if (!time_equal(a->ctime, b->ctime))
		return time_before(a->ctime, b->ctime);
	if (!time_equal(a->mtime, b->mtime))
		return time_before(a->mtime, b->mtime);
	return a->size < b->size;
}

static bool is_same_file(const struct inode *inode, const struct attr *attr)
{
	return (attr->mode & S_IFMT) == inode->type &&
	       (inode->index == INODE_ROOT || attr->fileid == inode->fileid);
}

/* ---- the data version -------------------------------------------------------------------- */

static void unmatched_clear_locked(struct inode *inode) REQUIRES(inode->lock)
{
	free(steal(&inode->unmatched));
	inode->n_unmatched = 0;
}

/* What is in flight from here on needs no accounting: attr_open() begins anew. */
static void data_lost_locked(struct inode *inode) REQUIRES(inode->lock)
{
	inode->data_changed = true;
	unmatched_clear_locked(inode);
}

/* data_is_locked - is that the version, or the same with a ctime that we moved? */
static bool data_is_locked(struct inode *inode, const struct inode_version *seen)
	REQUIRES(inode->lock)
{
	struct inode_version *data = &inode->data;

	if (version_equal(data, seen))
		return true;
	if (!inode->ctime_ours || data->size != seen->size ||
	    !time_equal(data->mtime, seen->mtime) || !time_before(data->ctime, seen->ctime))
		return false;
	inode->ctime_ours = false;
	data->ctime = seen->ctime;
	return true;
}

/* data_follow_locked - take the version along an own change; false: that does not begin here. */
static bool data_follow_locked(struct inode *inode, const struct inode_change *change)
	REQUIRES(inode->lock)
{
	const struct inode_version *data = &inode->data;

	if (version_equal(data, &change->after))
		return true;
	if (!change->has_before)
		return time_before(change->after.ctime, data->ctime);
	if (data_is_locked(inode, &change->before)) {
		inode->data = change->after;
		return true;
	}
	if (!time_before(change->before.ctime, data->ctime))
		return false;
	if (version_later(data, &change->after))
		inode->data = change->after;
	return true;
}

/* unmatched_follow_locked - the version has moved: whose turn is it now? */
static void unmatched_follow_locked(struct inode *inode) REQUIRES(inode->lock)
{
	unsigned int i = 0;

	while (i < inode->n_unmatched) {
		if (!data_follow_locked(inode, &inode->unmatched[i])) {
			i++;
			continue;
		}
		inode->unmatched[i] = inode->unmatched[--inode->n_unmatched];
		i = 0;
	}
}

/* change_join - make one of two that follow each other. */
static bool change_join(struct inode_change *change, const struct inode_change *other)
{
	if (!change->has_before || !other->has_before)
		return false;
	if (version_equal(&change->after, &other->before))
		change->after = other->after;
	else if (version_equal(&change->before, &other->after))
		change->before = other->before;
	else
		return false;
	return true;
}

static void unmatched_add_locked(struct inode *inode, struct inode_change change)
	REQUIRES(inode->lock)
{
	unsigned int i = 0;

	if (!inode->unmatched)
		inode->unmatched = (struct inode_change *)calloc(INODE_UNMATCHED_MAX,
								 sizeof(change));
	if (!inode->unmatched) {
		data_lost_locked(inode);
		return;
	}
	while (i < inode->n_unmatched) {
		if (!change_join(&change, &inode->unmatched[i])) {
			i++;
			continue;
		}
		inode->unmatched[i] = inode->unmatched[--inode->n_unmatched];
		i = 0;
	}
	if (inode->n_unmatched < INODE_UNMATCHED_MAX)
		inode->unmatched[inode->n_unmatched++] = change;
	else
		data_lost_locked(inode);
}

static bool is_trusted_locked(const struct attr_policy *policy, struct inode *inode,
			      const struct inode_change *change, int64_t now_ns)
	REQUIRES(inode->lock)
{
	return !change->has_before && policy->trust_ns &&
	       now_ns - inode->data_at_ns <= policy->trust_ns &&
	       version_later(&inode->data, &change->after);
}

static void data_account_locked(const struct attr_policy *policy, struct inode *inode,
				const struct wcc *wcc, int64_t now_ns) REQUIRES(inode->lock)
{
	const struct inode_change change = {
		.has_before = wcc->before_valid,
		.before = { size_of(wcc->before_size), wcc->before_mtime, wcc->before_ctime },
		.after = version_of(&wcc->after.attr),
	};

	if (!inode->has_data_version || inode->data_changed)
		return;
	if (is_trusted_locked(policy, inode, &change, now_ns)) {
		inode->data = change.after;
	} else if (!data_follow_locked(inode, &change)) {
		unmatched_add_locked(inode, change);
		return;
	}
	inode->data_at_ns = now_ns;
	unmatched_follow_locked(inode);
}

/* data_judge_locked - compare with attributes that are known to be the present ones. */
static void data_judge_locked(struct inode *inode) REQUIRES(inode->lock)
{
	struct inode_version now = version_of(&inode->attr);

	if (!inode->has_data_version || inode->data_changed)
		return;
	if (data_is_locked(inode, &now))
		inode->data_at_ns = inode->attr_at_ns;
	else if (!inode->n_writing)
		data_lost_locked(inode);
}

/* data_settle_locked - nothing of ours is in flight any more: what has not been explained is not
 * ours. Stale attributes say nothing; those that replace them will be judged. */
static void data_settle_locked(struct inode *inode) REQUIRES(inode->lock)
{
	if (inode->n_unmatched)
		data_lost_locked(inode);
	unmatched_clear_locked(inode);
	if (inode->has_attr && !inode->attr_stale)
		data_judge_locked(inode);
}

/* ---- the attributes ---------------------------------------------------------------------- */

static void stale_locked(struct inode *inode) REQUIRES(inode->lock)
{
	inode->attr_stale = true;
	inode->attr_seq = attr_stamp();
	atomic_fetch_add(&inode->contents_seq, 1);
}

static void renew_locked(const struct attr_policy *policy, struct inode *inode, bool changed,
			 int64_t now_ns) REQUIRES(inode->lock)
{
	bool is_dir = S_ISDIR(inode->type);
	int64_t min_ns = is_dir ? policy->dirmin_ns : policy->regmin_ns;
	int64_t max_ns = is_dir ? policy->dirmax_ns : policy->regmax_ns;

	if (changed)
		inode->attr_timeo_ns = min_ns;
	else if (now_ns - inode->attr_at_ns >= inode->attr_timeo_ns)
		inode->attr_timeo_ns = min_i64(max_i64(inode->attr_timeo_ns * 2, min_ns), max_ns); /* live */
	inode->attr_at_ns = now_ns;
}

/* store_locked - attributes that are the newest. sent_later: than the last ones were known. */
static void store_locked(const struct attr_policy *policy, struct inode *inode,
			 const struct attr *attr, uint64_t stamp, int64_t now_ns)
	REQUIRES(inode->lock)
{
	struct inode_version old = version_of(&inode->attr), new = version_of(attr);
	bool changed = !inode->has_attr || !version_equal(&old, &new);
	bool sent_later = stamp > inode->attr_seq;

	inode->attr = *attr;
	inode->attr.size = new.size;
	inode->has_attr = true;
	if (sent_later)
		inode->attr_stale = false;
	renew_locked(policy, inode, changed, now_ns);
	if (changed) {
		atomic_fetch_add(&inode->contents_seq, 1);
		inode->attr_seq = attr_stamp();
		inode->attr_new_ns = now_ns;
	} else if (sent_later) {
		inode->attr_seq = stamp;
	}
}

static bool is_newer_locked(struct inode *inode, const struct attr *attr, uint64_t stamp)
	REQUIRES(inode->lock)
{
	return !inode->has_attr || stamp > inode->attr_seq ||
	       time_before(inode->attr.ctime, attr->ctime);
}

bool attr_apply(const struct attr_policy *policy, struct inode *inode, const struct attr *attr,
		uint64_t stamp, int64_t now_ns)
{
	bool same = is_same_file(inode, attr);

	mutex_lock(&inode->lock);
	if (!same) {
		stale_locked(inode);
	} else if (is_newer_locked(inode, attr, stamp)) {
		store_locked(policy, inode, attr, stamp, now_ns);
		data_judge_locked(inode);
	}
	mutex_unlock(&inode->lock);
	return same;
}

/* own_store_locked - the after-attributes of a change of ours; see above for equal ctimes. */
static void own_store_locked(const struct attr_policy *policy, struct inode *inode,
			     const struct wcc *wcc, uint64_t stamp, int64_t now_ns)
	REQUIRES(inode->lock)
{
	const struct attr *attr = &wcc->after.attr;
	struct inode_version known = version_of(&inode->attr), after = version_of(attr);
	const struct inode_version before = { size_of(wcc->before_size), wcc->before_mtime,
					      wcc->before_ctime };

	if (is_newer_locked(inode, attr, stamp) || version_later(&known, &after) ||
	    (wcc->before_valid && version_equal(&known, &before)))
		store_locked(policy, inode, attr, stamp, now_ns);
	else if (!wcc->before_valid && time_equal(known.ctime, after.ctime) &&
		 !version_equal(&known, &after))
		stale_locked(inode);
}

void attr_apply_own(const struct attr_policy *policy, struct inode *inode, const struct wcc *wcc,
		    uint64_t stamp, int64_t now_ns)
{
	bool known = wcc->after.valid && is_same_file(inode, &wcc->after.attr);

	mutex_lock(&inode->lock);
	if (known) {
		data_account_locked(policy, inode, wcc, now_ns);
		own_store_locked(policy, inode, wcc, stamp, now_ns);
	} else {
		stale_locked(inode);
	}
	if (!inode->n_writing)
		data_settle_locked(inode);
	mutex_unlock(&inode->lock);
}

void attr_change_begin(struct inode *inode)
{
	mutex_lock(&inode->lock);
	inode->n_writing++;
	atomic_fetch_add(&inode->contents_seq, 1);
	mutex_unlock(&inode->lock);
}

void attr_change_end(struct inode *inode)
{
	mutex_lock(&inode->lock);
	if (!--inode->n_writing)
		data_settle_locked(inode);
	mutex_unlock(&inode->lock);
}

void attr_expect_ctime(struct inode *inode)
{
	mutex_lock(&inode->lock);
	inode->ctime_ours = true;
	mutex_unlock(&inode->lock);
}

void attr_lost_name(struct inode *inode)
{
	mutex_lock(&inode->lock);
	if (inode->has_attr && inode->attr.nlink > 0)
		inode->attr.nlink--;
	stale_locked(inode);
	mutex_unlock(&inode->lock);
}

void attr_expire(struct inode *inode)
{
	mutex_lock(&inode->lock);
	stale_locked(inode);
	mutex_unlock(&inode->lock);
}

void attr_lost_data(struct inode *inode)
{
	mutex_lock(&inode->lock);
	data_lost_locked(inode);
	stale_locked(inode);
	mutex_unlock(&inode->lock);
}

int64_t attr_get(struct inode *inode, int64_t now_ns, struct attr *ret_attr)
{
	int64_t left_ns = -1;

	mutex_lock(&inode->lock);
	if (inode->has_attr) {
		*ret_attr = inode->attr;
		left_ns = inode->attr_at_ns + inode->attr_timeo_ns - now_ns;
		left_ns = inode->attr_stale ? 0 : max_i64(left_ns, 0);
		left_ns = min_i64(left_ns, inode->attr_timeo_ns); /* clocks of other loops */
	}
	mutex_unlock(&inode->lock);
	return left_ns;
}

bool attr_same_times(const struct attr *a, const struct attr *b)
{
	return time_equal(a->mtime, b->mtime) && time_equal(a->ctime, b->ctime);
}

bool attr_settled(struct inode *dir, const struct attr *seen, int64_t sent_ns, int64_t wall_s)
{
	bool coarse = !seen->ctime.tv_nsec && !seen->mtime.tv_nsec;
	int64_t tick_ns = coarse ? COARSE_TICK_NS : TICK_NS;
	bool settled;

	mutex_lock(&dir->lock);
	settled = dir->has_attr && !dir->attr_stale && attr_same_times(&dir->attr, seen) &&
		  (sent_ns - dir->attr_new_ns >= tick_ns || wall_s - seen->ctime.tv_sec > SKEW_S);
	mutex_unlock(&dir->lock);
	return settled;
}

bool attr_open(struct inode *inode)
{
	struct inode_version now;
	bool keep;

	mutex_lock(&inode->lock);
	now = version_of(&inode->attr);
	keep = inode->has_attr && inode->has_data_version && !inode->data_changed &&
	       !inode->n_unmatched && data_is_locked(inode, &now);
	if (!keep) {
		inode->has_data_version = inode->has_attr;
		inode->data_changed = false;
		inode->ctime_ours = false;
		inode->data = now;
		inode->data_at_ns = inode->attr_at_ns;
		unmatched_follow_locked(inode);
	}
	mutex_unlock(&inode->lock);
	return keep;
}
