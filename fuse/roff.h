/* SPDX-License-Identifier: GPL-2.0-or-later */
/* roff - text as man(7) wants it: for the pages that the program writes about itself. */
#ifndef FUSE_ROFF_H
#define FUSE_ROFF_H

#include <stdio.h>

/* roff_word - escaped, within a line. roff_text - lines of its own, filled anew, not longer than 72 bytes where there are blanks. */
void roff_word(FILE *stream, const char *text);
void roff_text(FILE *stream, const char *text);

#endif
