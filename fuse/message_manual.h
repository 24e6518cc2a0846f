/* SPDX-License-Identifier: GPL-2.0-or-later */
/* message_manual - the manual page fusenfs-errors(7), written by the program itself when it is built: the catalogue
 * with its long texts (message_help()), and what is really said under each id, taken from the source by
 * message_lines.py. So it cannot differ from the program. An id that nothing uses is not in it. */
#ifndef FUSE_MESSAGE_MANUAL_H
#define FUSE_MESSAGE_MANUAL_H

#include <stdio.h>

/* message_print_manual - all of it, in man(7)'s language. */
void message_print_manual(FILE *stream);
/* message_print_catalog - the same for journalctl -x: a catalog of the journal's, by MESSAGE_ID. */
void message_print_catalog(FILE *stream);

#endif
