/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_process - how long a call may last where the kernel limits requests. */
#undef NDEBUG
#include <assert.h>
#include <stddef.h>

#include "../../fuse/process.h"
#include "../../conn/util.h"

static const struct {
	uint64_t default_s, max_s;
	int64_t limit_ns;
} limits[] = {
	{0, 0, INT64_MAX},	 {30, 0, 24 * NS_PER_S},
	{0, 30, 24 * NS_PER_S}, /* the maximum applies to who asked for none */
	{60, 30, 24 * NS_PER_S}, {30, 60, 24 * NS_PER_S},
	{1, 0, 12 * NS_PER_S}, /* the kernel looks every 15 s: no limit is shorter */
	{20, 5, 12 * NS_PER_S},	 {65535, 65535, INT64_C(52428) * NS_PER_S},
};

int main(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		assert(process_limit_of(limits[i].default_s, limits[i].max_s) ==
		       limits[i].limit_ns);
	return 0;
}
