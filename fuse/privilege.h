/* SPDX-License-Identifier: GPL-2.0-or-later */
/* privilege - whether mount(2) is ours to call, or fusermount3 must. */
#ifndef FUSE_PRIVILEGE_H
#define FUSE_PRIVILEGE_H

#include <stdbool.h>

/* has_sys_admin - CAP_SYS_ADMIN is effective (in whatever user namespace). */
bool has_sys_admin(void);
/* can_mount - that, or uid 0: libfuse then mounts by itself, and the rules that fusermount3 has for
 * users do not apply. */
bool can_mount(void);

#endif
