/* SPDX-License-Identifier: GPL-2.0-or-later */
/* udp - NFS over UDP: how large calls and replies may be.
 *
 * A READ or WRITE is one datagram there and one back. One that is larger than the path's MTU is
 * cut into IP fragments, and these can be put together wrongly: their identification has 16
 * bits, which a gigabit link goes through in less than a second, a fragment that was lost is
 * waited for for half a minute, and the UDP checksum misses one mistake in 65536 (nfs(5), "Using
 * NFS over UDP on high-speed links"; RFC 4963). So transfers and listings are cut to what fits,
 * and larger ones (rsize=, wsize=) are refused without the word udpfrag. */
#ifndef FUSE_UDP_H
#define FUSE_UDP_H

#include "fs.h"

/* udp_fits - the largest READ or WRITE for datagrams of max bytes: a power of two from 512, or
 * whole pages, at most UDP_TRANSFER_MAX, which every server takes. 0: not even 512.
 * udp_fits_listing - the same of a READDIR reply. */
enum { UDP_TRANSFER_MAX = 32 * 1024 };
uint32_t udp_fits(uint32_t max);
uint32_t udp_fits_listing(uint32_t max);

/* udp_check - once a connection is up: 0, or -EMSGSIZE with a message if rsize= or wsize= ask
 * for what must not be done. 0 where NFS goes by TCP. */
int udp_check(const struct fs *fs, struct message *error);
/* udp_transfer - of an encoded READ or WRITE of `count` bytes: by UDP it is bulk, to be spread
 * over connections, if it is as large as it may be there. */
void udp_transfer(const struct fs *fs, struct call *call, uint32_t count, uint32_t largest);
/* udp_limit - lower fs's transfer sizes to what fits; also when the path's MTU has fallen. Any
 * thread. */
void udp_limit(struct fs *fs);

#endif
