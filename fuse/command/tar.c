/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tar - see tar.h. Numbers are octal text, and the checksum is that of a header whose checksum is blank. */
#include "tar.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512 };

struct header { /* pax(1), "ustar Interchange Format" */
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, linkname[100];
	char magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8], prefix[155], unused[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is a block");

/* Room for n more bytes, zeroed. */
static uint8_t *grow(struct tar *tar, size_t n)
{
	uint8_t *bytes = tar->failed ? NULL : realloc(tar->bytes, tar->len + n);

	if (!bytes) {
		tar->failed = true;
		return NULL;
	}
	tar->bytes = bytes;
	memset(bytes + tar->len, 0, n);
	tar->len += n;
	return bytes + tar->len - n;
}

static void fill(struct header *header, const char *name, size_t len, int64_t mtime)
{
	const unsigned char *bytes = (const unsigned char *)header;
	unsigned int sum = 0;

	snprintf(header->name, sizeof(header->name), "%s", name);
	snprintf(header->mode, sizeof(header->mode), "%07o", 0644u);
	snprintf(header->uid, sizeof(header->uid), "%07o", 0u);
	snprintf(header->gid, sizeof(header->gid), "%07o", 0u);
	snprintf(header->size, sizeof(header->size), "%011llo", (unsigned long long)len & 077777777777);
	snprintf(header->mtime, sizeof(header->mtime), "%011llo", (unsigned long long)mtime & 077777777777);
	header->type = '0';
	memcpy(header->magic, "ustar", 6);
	memcpy(header->version, "00", 2);
	memset(header->checksum, ' ', sizeof(header->checksum));
	for (size_t i = 0; i < sizeof(*header); i++)
		sum += bytes[i];
	snprintf(header->checksum, sizeof(header->checksum), "%06o", sum & 0777777); /* then NUL and the blank */
}

void tar_add(struct tar *tar, const char *name, const void *data, size_t len, int64_t mtime)
{
	size_t padded = (len + BLOCK - 1) / BLOCK * BLOCK;
	struct header header = { 0 };
	uint8_t *at = grow(tar, sizeof(header) + padded);

	if (!at)
		return;
	fill(&header, name, len, mtime);
	memcpy(at, &header, sizeof(header));
	if (len)
		memcpy(at + sizeof(header), data, len);
}

void tar_end(struct tar *tar)
{
	grow(tar, (size_t)2 * BLOCK);
}

void tar_deinit(struct tar *tar)
{
	free(tar->bytes);
	*tar = (struct tar){ 0 };
}
