/* SPDX-License-Identifier: GPL-2.0-or-later */
/* quarantine - see quarantine.h. */
#include "quarantine.h"

static void drop(struct quarantine *quarantine, unsigned int i)
{
	quarantine->spans[i] = quarantine->spans[--quarantine->n];
}

static struct quarantine_span join(struct quarantine_span a, struct quarantine_span b)
{
	return (struct quarantine_span){
		.start = a.start < b.start ? a.start : b.start,
		.end = a.end > b.end ? a.end : b.end,
		.until_ns = max_i64(a.until_ns, b.until_ns),
	};
}

/* What joining the two would leave alone without need. */
static uint64_t gap(struct quarantine_span a, struct quarantine_span b)
{
	if (a.end < b.start)
		return b.start - a.end;
	return b.end < a.start ? a.start - b.end : 0;
}

/* Takes out what span touches, into it. */
static void take_touching(struct quarantine *quarantine, struct quarantine_span *span)
{
	for (unsigned int i = 0; i < quarantine->n;) {
		if (gap(quarantine->spans[i], *span)) {
			i++;
			continue;
		}
		*span = join(quarantine->spans[i], *span);
		drop(quarantine, i);
		i = 0; /* it is larger now */
	}
}

static unsigned int nearest(const struct quarantine *quarantine, struct quarantine_span span)
{
	unsigned int best = 0;

	for (unsigned int i = 1; i < quarantine->n; i++)
		if (gap(quarantine->spans[i], span) < gap(quarantine->spans[best], span))
			best = i;
	return best;
}

void quarantine_add(struct quarantine *quarantine, uint64_t start, uint64_t end, int64_t until_ns)
{
	struct quarantine_span span = { start, end, until_ns };

	take_touching(quarantine, &span);
	if (quarantine->n == QUARANTINE_MAX) {
		unsigned int i = nearest(quarantine, span);

		span = join(quarantine->spans[i], span);
		drop(quarantine, i);
		take_touching(quarantine, &span);
	}
	quarantine->spans[quarantine->n++] = span;
}

bool quarantine_overlaps(const struct quarantine *quarantine, uint64_t start, uint64_t end)
{
	for (unsigned int i = 0; i < quarantine->n; i++)
		if (quarantine->spans[i].start < end && start < quarantine->spans[i].end)
			return true;
	return false;
}

void quarantine_expire(struct quarantine *quarantine, int64_t now_ns)
{
	for (unsigned int i = 0; i < quarantine->n;) {
		if (quarantine->spans[i].until_ns <= now_ns)
			drop(quarantine, i);
		else
			i++;
	}
}
