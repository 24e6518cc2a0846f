/* SPDX-License-Identifier: GPL-2.0-or-later */
/* words - how alike two words are, for "did you mean". */
#ifndef FUSE_WORDS_H
#define FUSE_WORDS_H

#include <limits.h>
#include <stdbool.h>

#define WORDS_FAR UINT_MAX

/* words_distance - insertions, deletions, replacements and swaps of neighbours that turn one into
 * the other; WORDS_FAR if either is longer than 64 bytes. */
unsigned int words_distance(const char *a, const char *b);
/* words_near - whether a word that far away may have been meant: a third of it, at most 3. */
bool words_near(const char *word, unsigned int distance);

#endif
