/* SPDX-License-Identifier: GPL-2.0-or-later */
/* replay_parts - what replay.c (attempts and ends), replay_look.c (questions) and replay_call.c (the calls) have in
 * common; for them alone. Everything is of request->replay and runs on the request's loop. */
#ifndef FUSE_REPLAY_PARTS_H
#define FUSE_REPLAY_PARTS_H

#include "replay.h"

enum { REPLAY_DOUBTS_MAX = 2 }; /* looks at what is perhaps ours, or repeats of a half made file */

struct replay_call {
	const char *name;
	int (*encode)(struct request *request); /* to request->call; 0 or -errno */
	int (*decode)(struct request *request); /* to request->replay.got; 0, -errno, or an NFS3ERR_* as -ENFS_* */
	int suspicious; /* the error that a first, unseen copy may cause the one that is answered */
};

const struct replay_call *replay_call_of(const struct request *request);

/* replay_makes - CREATE, MKDIR, SYMLINK, MKNOD. replay_type_made - the S_IFMT bits of what is made. */
bool replay_makes(const struct replay *replay);
mode_t replay_type_made(const struct replay *replay);
/* replay_can_look - is there something to find out, and something to find it by? What may be repeated as it is ends
 * ambiguous only when there is no time left. */
bool replay_can_look(const struct replay *replay);
/* replay_nonce_memory - does the server ignore it for what is made? */
_Atomic(bool) *replay_nonce_memory(const struct request *request);

/* Each is the last thing a step does: one of them goes on with the request.
 * replay_attempt - send the call. replay_look - ask for it.
 * replay_finish - done(error). replay_give_up - done(): the outcome stays unknown. */
void replay_attempt(struct request *request, int64_t delay_ns);
void replay_look(struct request *request, int64_t delay_ns);
void replay_finish(struct request *request, int error);
void replay_give_up(struct request *request);

/* replay_has_time - does anybody wait for it still? replay_next_pause_ns - longer each time. */
bool replay_has_time(const struct request *request);
int64_t replay_next_pause_ns(struct replay *replay);

#endif
