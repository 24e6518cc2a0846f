/* SPDX-License-Identifier: GPL-2.0-or-later */
/* users - processes that use a mount, by their links in /proc: working directory, root, program, open files, mapped
 * files. readlink(2) there asks no file system. Those of other users are seen by root alone. */
#ifndef FUSE_COMMAND_USERS_H
#define FUSE_COMMAND_USERS_H

#include <stddef.h>

/* users_of - "bash (pid 99, cwd), python3 (pid 4711, open file)"; "": none was found. Returns how many. */
unsigned int users_of(const char *mount, char *text, size_t size);

#endif
