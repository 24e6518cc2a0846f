/* SPDX-License-Identifier: GPL-2.0-or-later */
/* screen - a terminal as a page that is drawn again and again, with plain ANSI sequences: the other screen, no cursor,
 * keys one by one. It is as it was at every end: a normal one, and the signals INT, TERM, HUP, QUIT and TSTP.
 *
 * One at a time; signal handlers need its state. */
#ifndef FUSE_COMMAND_SCREEN_H
#define FUSE_COMMAND_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

/* screen_open - 0, or -ENOTTY: standard input or output is no terminal. */
int screen_open(void);
void screen_close(void);
/* screen_draw - the page: lines with '\n', cut to the terminal's size. Each may contain screen_bold() text. */
void screen_draw(const char *page);
/* screen_columns - how wide it is now. */
unsigned int screen_columns(void);
/* screen_key - the key that is pressed within so many milliseconds; 0: none; -1: the input has ended. The terminal may
 * have been resized: returns 0 at once then. */
int screen_key(int timeout_ms);

#define SCREEN_BOLD "\033[1m"
#define SCREEN_REVERSE "\033[7m"
#define SCREEN_PLAIN "\033[0m"

#endif
