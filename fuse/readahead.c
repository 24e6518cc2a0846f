/* SPDX-License-Identifier: GPL-2.0-or-later */
/* readahead - see readahead.h. The device number comes from mountinfo: the daemon must not touch its
 * own mount. */
#include "readahead.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "../conn/util.h"
#include "mountpoint.h"

uint64_t readahead_bytes(const struct options *options)
{
	if (options->readahead != READAHEAD_AUTO)
		return (uint64_t)options->readahead;
	return options->nconnect <= 2 ? MIB(4) : options->nconnect <= 4 ? MIB(8) : MIB(16);
}

int readahead_set(const char *path, uint64_t bytes)
{
	struct mount_entry entry;
	char file[64], text[32];
	int error = mountpoint_lookup(path, &entry);
	int fd, len;

	if (error)
		return error;
	snprintf(file, sizeof(file), "/sys/class/bdi/%u:%u/read_ahead_kb", entry.major, entry.minor);
	len = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)(bytes / 1024));
	fd = open(file, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	error = write(fd, text, (size_t)len) == len ? 0 : -errno;
	close(fd);
	return error;
}
