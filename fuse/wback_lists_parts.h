/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_lists_parts - what wback_lists.c (how ranges pass), wback_pending.c (how far they are) and wback_due.c (what
 * comes next) have in common; for them alone. As there: pure, the owner's lock guards the lists. */
#ifndef FUSE_WBACK_LISTS_PARTS_H
#define FUSE_WBACK_LISTS_PARTS_H

#include "wback_lists.h"

/* Of the ranges before seq. waiting: one of ours is still to be sent. given: all have been sent and answered. taken: and
 * no doubt is left. stable: and committed. in_doubt: some may have been forgotten. */
bool wback_waiting_before(const struct wback_lists *lists, uint64_t seq);
bool wback_given_before(const struct wback_lists *lists, uint64_t seq);
bool wback_taken_before(const struct wback_lists *lists, uint64_t seq);
bool wback_stable_before(const struct wback_lists *lists, uint64_t seq);
bool wback_in_doubt_before(const struct wback_lists *lists, uint64_t seq);

/* wback_is_doubtful - a connection was lost since the server took it. wback_is_fenced - what he waits for is under a
 * quarantine, or being cut. wback_holds_data - some that the server has not promised to keep, and nobody else has. */
bool wback_is_doubtful(const struct wback_lists *lists, const struct range *range);
bool wback_is_fenced(const struct wback_lists *lists, const struct wback_wait *wait);
bool wback_holds_data(const struct wback_lists *lists);

/* wback_leave_waiting - out of that list. wback_overlaps_older - of a range in it.
 * wback_recount - what is counted of unstable and committing ranges, after one came, went or was cut.
 * wback_fail_waits - everybody who waits, but at the next look. */
void wback_leave_waiting(struct wback_lists *lists, struct range *range);
bool wback_overlaps_older(const struct range *range);
void wback_recount(struct wback_lists *lists);
void wback_fail_waits(struct wback_lists *lists, int error);

#endif
