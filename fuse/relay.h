/* SPDX-License-Identifier: GPL-2.0-or-later */
/* relay - from the daemon that is called by the server (responder.h) to the one that is meant: a
 * socket for each mount with locks, /run/fusenfs/nlm-OH.sock, that only root can connect to. One
 * message, one answer. */
#ifndef FUSE_RELAY_H
#define FUSE_RELAY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#define RUN_DIRECTORY "/run/fusenfs"

enum { RELAY_ARGS_MAX = 2048 };

struct relay_message {
	uint32_t proc;
	uint32_t args_len;
	struct sockaddr_storage from;
	uint8_t args[RELAY_ARGS_MAX];
};

enum relay_answer {
	RELAY_NO,
	RELAY_YES,
	RELAY_NOBODY, /* listens */
	RELAY_SILENT,
};

/* relay_listen - the socket, non-blocking, or -errno. relay_unlink - its name goes. */
int relay_listen(const char *oh);
void relay_unlink(const char *oh);
/* relay_accept - one message: its descriptor, to be answered by relay_reply(), which closes it; or
 * -errno. */
int relay_accept(int fd, struct relay_message *ret_message);
void relay_reply(int fd, bool yes);

/* relay_ask - a quarter of a second at most. relay_tell_all - every mount but `oh`'s; no answer is
 * waited for. */
enum relay_answer relay_ask(const char *oh, const struct relay_message *message);
void relay_tell_all(const char *oh, const struct relay_message *message);

#endif
