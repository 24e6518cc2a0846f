/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_udp - what fits into a packet of a path, headers and credential counted. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "../../fuse/udp.h"

static void test_fits(void)
{
	static const struct {
		uint32_t mtu, transfer, listing; /* IPv4 */
	} rows[] = {
		{ 65535, UDP_TRANSFER_MAX, 65440 }, /* loopback */
		{ 9000, 8192, 8908 },
		{ 4400, 4096, 4308 },
		{ 4300, 2048, 4208 },
		{ 1500, 1024, 1408 },
		{ 1400, 1024, 1308 },
		{ 1300, 1024, 1208 },
		{ 1280, 512, 1188 },
		{ 788, 512, 696 },
		{ 787, 0, 692 },
		{ 576, 0, 484 },
		{ 28, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint32_t max = rows[i].mtu - 28;

		if (udp_fits(max) != rows[i].transfer || udp_fits_listing(max) != rows[i].listing)
			fprintf(stderr, "MTU %u: %u, %u\n", rows[i].mtu, udp_fits(max), udp_fits_listing(max));
		assert(udp_fits(max) == rows[i].transfer && udp_fits_listing(max) == rows[i].listing);
	}
}

int main(void)
{
	test_fits();
	puts("udp: ok");
	return 0;
}
