/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_error - see wback_error.h. */
#include "wback_error.h"

#include <stdio.h>
#include <string.h>

#include "fs.h"
#include "inode.h"
#include "log.h"
#include "names.h"

void wback_error_set(struct wback_error *state, int error)
{
	state->error = -error;
	state->seq++;
	state->untold = true;
}

uint32_t wback_error_mark(const struct wback_error *state)
{
	return state->seq - state->untold;
}

int wback_error_take(struct wback_error *state, uint32_t *seen)
{
	int error = *seen != state->seq ? -state->error : 0;

	*seen = state->seq;
	if (error)
		state->untold = false;
	return error;
}

void wback_error_log(struct fs *fs, struct inode *inode, uint64_t bytes, int error, const char *why)
{
	char path[512];

	if (atomic_load(&fs->losses_told))
		return;
	if (names_path(fs->names, inode, path, sizeof(path)))
		snprintf(path, sizeof(path), "name unknown");
	message_clean(path);
	log_error(MSG_WRITE_LOST, "%llu bytes of file %llu (%s) are lost: %s: %s",
		  (unsigned long long)bytes, (unsigned long long)inode->fileid, path, why,
		  strerrordesc_np(-error));
}
