/* SPDX-License-Identifier: GPL-2.0-or-later */
/* words - restricted Damerau-Levenshtein distance, three rows of the matrix at a time. */
#include <string.h>

#include "words.h"

enum { LONGEST = 64 };

static unsigned int least(unsigned int a, unsigned int b)
{
	return a < b ? a : b;
}

unsigned int words_distance(const char *a, const char *b)
{
	unsigned int rows[3][LONGEST + 1];
	unsigned int *before = rows[0], *last = rows[1], *row = rows[2];
	size_t n_a = strlen(a), n_b = strlen(b);

	if (n_a > LONGEST || n_b > LONGEST)
		return WORDS_FAR;
	for (unsigned int j = 0; j <= n_b; j++)
		last[j] = j;
	for (unsigned int i = 1; i <= n_a; i++) {
		unsigned int *oldest = before;

		row[0] = i;
		for (unsigned int j = 1; j <= n_b; j++) {
			unsigned int replaced = last[j - 1] + (a[i - 1] != b[j - 1]);

			row[j] = least(replaced, least(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		before = last;
		last = row;
		row = oldest;
	}
	return last[n_b];
}

bool words_near(const char *word, unsigned int distance)
{
	size_t third = strlen(word) / 3;

	return distance <= (third < 1 ? 1 : third > 3 ? 3 : third);
}
