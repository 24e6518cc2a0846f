/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loss - how many packets a connection's path has lost, as TCP sees it: segments that we sent again, and segments
 * that came before one that was missing (Linux 5.4). Not by UDP. PRIVATE to conn/; the loop's thread. */
#ifndef CONN_LOSS_H
#define CONN_LOSS_H

struct connection;

/* loss_look - into load.lost and load.segments, of the present socket. */
void loss_look(struct connection *conn);

#endif
