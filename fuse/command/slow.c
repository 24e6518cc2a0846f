/* SPDX-License-Identifier: GPL-2.0-or-later */
/* slow - see slow.h. */
#include "slow.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

static double median(const double rates[], unsigned int n)
{
	double sorted[SLOW_MAX];
	unsigned int n_sorted = 0;

	for (unsigned int i = 0; i < n && i < SLOW_MAX; i++)
		if (rates[i] >= 0)
			sorted[n_sorted++] = rates[i];
	if (n_sorted < 2)
		return 0;
	qsort(sorted, n_sorted, sizeof(sorted[0]), compare);
	return sorted[n_sorted / 2];
}

void slow_note(struct slow *slow, const double rates[], unsigned int n, int64_t now_ns)
{
	double usual = median(rates, n);

	for (unsigned int i = 0; i < n && i < SLOW_MAX; i++) {
		if (usual < SLOW_LEAST || rates[i] < 0 || rates[i] >= usual / 2)
			slow->since_ns[i] = 0;
		else if (!slow->since_ns[i])
			slow->since_ns[i] = now_ns;
	}
}

bool slow_is(const struct slow *slow, unsigned int i, int64_t now_ns)
{
	return i < SLOW_MAX && slow->since_ns[i] && now_ns - slow->since_ns[i] >= SLOW_NS;
}
