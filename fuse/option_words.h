/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_words - the parser backwards: values into words. Private to options*.c and their tests. */
#ifndef FUSE_OPTION_WORDS_H
#define FUSE_OPTION_WORDS_H

#include "option_table.h"

/* option_words - in the order of the table, with commas between. all: everything that has a value; else what
 * differs from the defaults, and parsed again gives the same. A string to free, or NULL without memory. */
char *option_words(const struct option_draft *draft, bool all);
/* option_value - of the row's field, which is no string. */
int64_t option_value(const struct option_draft *draft, const struct option_row *row);

#endif
