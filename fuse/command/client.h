/* SPDX-License-Identifier: GPL-2.0-or-later */
/* client - one request to the daemon of a mount, through its control socket. Bounded by ANSWER_NS. The socket must be
 * in a place that only the mount's owner can write to, and the process behind it must be his, not even root's (of a
 * socket that was named, ctl: ours or root's): who else could listen there is not asked. What is answered is checked as
 * any stranger's word: a user may have written his own daemon, and root asks it. */
#ifndef FUSE_COMMAND_CLIENT_H
#define FUSE_COMMAND_CLIENT_H

#include <jansson.h>

#include "../../conn/util.h"
#include "target.h"

#define ANSWER_NS (5 * NS_PER_S)

/* client_ask - the daemon's answer to a line; json_decref() later. ctl: its socket; NULL: in the usual place. *ret_pid,
 * if not NULL: the daemon, as this process sees it; 0: not. NULL: *ret_error says why: no-answer, ctl-denied, or what
 * the daemon says is wrong. */
json_t *client_ask(const struct target *target, const char *ctl, const char *request, pid_t *ret_pid,
		   struct message *ret_error);

/* Values of an answer; 0, "" or NULL if there is none. path: "server.state". */
double client_number(const json_t *json, const char *path);
uint32_t client_whole(const json_t *json, const char *path); /* what is not a number of 32 bits: 0 */
const char *client_text(const json_t *json, const char *path);
const json_t *client_value(const json_t *json, const char *path);
bool client_is(const json_t *json, const char *path);

#endif
