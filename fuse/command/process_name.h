/* SPDX-License-Identifier: GPL-2.0-or-later */
/* process_name - who a thread id belongs to, by /proc. */
#ifndef FUSE_COMMAND_PROCESS_NAME_H
#define FUSE_COMMAND_PROCESS_NAME_H

#include <stdbool.h>
#include <sys/types.h>

enum { PROCESS_NAME_SIZE = 32 };

/* process_name - the command of a process or thread; "?": it is gone. Returns name. */
const char *process_name(int tid, char name[PROCESS_NAME_SIZE]);
/* process_tgid - its process; itself if it is gone. */
int process_tgid(int tid);
/* process_is_of - is its real user this one? False: it is gone. */
bool process_is_of(int pid, uid_t uid);

#endif
