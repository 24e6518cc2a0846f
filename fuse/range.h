/* SPDX-License-Identifier: GPL-2.0-or-later */
/* range - a piece of a file that was written and is not known to be on stable storage yet, and the
 * buffer its bytes are in. Owned by a wback, guarded by its lock; buffers are shared between the two
 * ends of a range that a newer one has cut in the middle.
 *
 * A range is fresh until its first WRITE is sent. So long it takes in what is written inside it or to
 * its end, up to the next multiple of wsize: small writes become large WRITEs. */
#ifndef FUSE_RANGE_H
#define FUSE_RANGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "nfs3.h"

struct fs;
struct request;

/* Where bytes of write(2) are. */
struct range_buffer {
	unsigned int refs; /* under the wback's lock */
	uint64_t charge;   /* memory it costs, against wbuf= */
	void *memory;      /* buffer_put(): the FUSE buffer they were received in, or one to gather small
			    * writes in; NULL: copy[] */
	uint8_t copy[];
};

struct range {
	TAILQ_ENTRY(range) link;       /* in one of the wback's lists */
	STAILQ_ENTRY(range) send_link; /* to be sent, while already in `writing` */
	uint64_t seq;                  /* order of write(2) */
	uint64_t offset;
	uint32_t len;
	uint32_t done;                 /* bytes the server has taken in this pass */
	bool fresh;                    /* no WRITE of it was sent yet */
	uint32_t room;                 /* fresh: bytes behind len that the buffer has */
	uint64_t limit;                /* fresh: it grows no further than this offset */
	int64_t since_ns;              /* its oldest byte was written */
	uint8_t *data;
	struct range_buffer *buffer;
	struct cred cred;
	enum nfs3_stable stable;       /* asked for */
	bool unstable;                 /* some of it needs a COMMIT */
	bool has_verf, mixed_verf;     /* mixed: taken in part by each of two server instances */
	uint64_t verf;
	uint64_t losses;               /* pool_n_losses() when its present pass began */
	unsigned int n_rewrites;
	struct request *request;       /* to answer when the server has taken it; NULL: was answered */
	bool behind;                   /* write-behind: answer at once */
	struct range *spare;           /* for the one range this one may have to cut in two */
};

TAILQ_HEAD(range_list, range);

/* range_new - data is kept in its FUSE buffer if that is large enough to be worth it, else copied.
 * NULL without memory. range->buffer->charge is what to count against wbuf=. */
struct range *range_new(const struct fs *fs, const char *data, size_t size, uint64_t offset);

/* range_may_absorb - could it take in a write of that, by such a caller? range_has_room - without
 * another buffer. range_absorb - do so. */
bool range_may_absorb(const struct range *range, uint64_t offset, size_t size,
		      const struct cred *cred);
bool range_has_room(const struct range *range, uint64_t offset, size_t size);
void range_absorb(struct range *range, const char *data, size_t size, uint64_t offset);
/* range_buffer_for - a larger buffer, for the range to take in bytes up to the offset end; NULL without
 * memory. range_move - to that one; returns the old one. range_buffer_free - nobody's any more. */
struct range_buffer *range_buffer_for(const struct range *range, uint64_t end);
struct range_buffer *range_move(struct range *range, struct range_buffer *to);
void range_buffer_free(struct range_buffer *buffer);
/* range_free - with its hold on the buffer; returns the memory that came free. Not on a list. */
uint64_t range_free(struct range *range);

static inline uint64_t range_end(const struct range *range)
{
	return range->offset + range->len;
}

/* range_is_full - it takes in nothing more but what lies inside it. */
static inline bool range_is_full(const struct range *range)
{
	return range_end(range) >= range->limit;
}

/* range_is_ours - its write(2) has been answered: nobody else keeps the data. */
static inline bool range_is_ours(const struct range *range)
{
	return !range->request;
}

/* range_is_again - the server had taken it before: a stale copy of it is the same bytes. */
static inline bool range_is_again(const struct range *range)
{
	return range->n_rewrites > 0;
}

static inline bool range_overlaps(const struct range *a, const struct range *b)
{
	return a->offset < b->offset + b->len && b->offset < a->offset + a->len;
}

/* range_overlaps_any - a range of the list other than this one. older: only those with a smaller
 * seq count. */
bool range_overlaps_any(const struct range_list *list, const struct range *range, bool older);

/* range_replace - newer has been taken by the server: what it covers of the older ranges in list is
 * forgotten. Those of which nothing is left go to *freed. */
void range_replace(struct range_list *list, struct range *newer, struct range_list *freed);

/* range_any_before - is one in the list older than seq? */
bool range_any_before(const struct range_list *list, uint64_t seq);

#endif
