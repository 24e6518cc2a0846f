/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_nsm - the text of a record: what is kept of it, and what makes no sense. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "../../conn/util.h"
#include "../../fuse/nsm_record.h"

#define LONG "0123456789012345678901234567890123456789012345678901234567890123456789"

static const struct row {
	const char *text;
	bool good;
	const char *server, *local, *name;
	uint64_t netns;
} rows[] = {
	{ "server=10.0.0.5\nlocal=10.0.0.2\nname=host\nboot=b\nnetns=7\npid=1\n", true, "10.0.0.5", "10.0.0.2", "host", 7 },
	{ "name=host\nserver=fd00::1", true, "fd00::1", "", "host", 0 }, /* no newline at the end, nor the rest */
	{ "server=10.0.0.5\nlater=1\nname=host\n", true, "10.0.0.5", "", "host", 0 },
	{ "server=10.0.0.5\n", false, NULL, NULL, NULL, 0 },
	{ "name=host\n", false, NULL, NULL, NULL, 0 },
	{ "server=\nname=host\n", false, NULL, NULL, NULL, 0 },
	{ "server=" LONG "\nname=host\n", false, NULL, NULL, NULL, 0 },
	{ "", false, NULL, NULL, NULL, 0 },
	{ "\n\n=\n", false, NULL, NULL, NULL, 0 },
};

int main(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct nsm_record record;

		printf("row %u\n", i);
		assert(nsm_record_parse(rows[i].text, &record) == rows[i].good);
		if (!rows[i].good)
			continue;
		assert(!strcmp(record.server, rows[i].server) && !strcmp(record.local, rows[i].local));
		assert(!strcmp(record.name, rows[i].name) && record.netns == rows[i].netns);
	}
	return 0;
}
