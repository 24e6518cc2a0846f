/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wire - what barerpc needs of XDR, ONC RPC and NFSv3, by hand (RFC 4506, 5531, 1813): calls are
 * written into a fixed buffer from their record mark on, replies are read in place, and a few
 * calls are made one at a time to find the file.
 *
 * An independent peer of conn/ and of libnfs. Every surprise ends the program. */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PROGRAM_NFS = 100003, PROGRAM_MOUNT = 100005, PROGRAM_NLM = 100021 };
enum {
	NFS_GETATTR = 1,
	NFS_LOOKUP = 3,
	NFS_READ = 6,
	NFS_WRITE = 7,
	NFS_CREATE = 8,
	NFS_REMOVE = 12,
	NFS_COMMIT = 21,
};
enum { NLM4_LOCK = 2, NLM4_UNLOCK = 4 };
enum { CREATE_UNCHECKED = 0, CREATE_GUARDED = 1 };
enum { FH_MAX = 64, FATTR3_LEN = 84, MESSAGE_MAX = 2048 };

#define LAST_FRAGMENT UINT32_C(0x80000000) /* in a record mark */

struct fh {
	uint32_t len;
	uint8_t data[FH_MAX];
};

/* A call without its payload, complete but for the record mark until message_end(). */
struct message {
	uint32_t len;
	uint8_t bytes[MESSAGE_MAX];
};

/* The mark is written by message_end(), which must know how long the payload is that will follow;
 * the xid by message_set_xid(), before each use. NLM is version 4, all others 3. */
void message_begin(struct message *message, uint32_t program, uint32_t procedure);
void message_end(struct message *message, uint32_t payload_len);
void message_set_xid(struct message *message, uint32_t xid);
void put_u32(struct message *message, uint32_t value);
void put_u64(struct message *message, uint64_t value);
void put_opaque(struct message *message, const void *data, size_t len);
void put_fh(struct message *message, const struct fh *fh);
/* put_lock - a whole LOCK (exclusive, not to be waited for) or UNLOCK of one byte, by an owner of that number. */
void put_lock(struct message *message, const struct fh *fh, uint32_t procedure, uint32_t owner, uint64_t offset);
/* put_create - a whole CREATE of an empty file of mode 0644. */
void put_create(struct message *message, const struct fh *dir, const char *name, uint32_t how);
void store_u64(uint8_t *at, uint64_t value);

/* A reply being read. */
struct reader {
	const uint8_t *at, *end;
};

/* get_reply_header - check it and leave the reader at the results. Returns the xid. */
uint32_t get_reply_header(struct reader *reader);
uint32_t get_u32(struct reader *reader);
uint64_t get_u64(struct reader *reader);
void skip(struct reader *reader, uint32_t len);

int dial(const char *host, const char *port);

/* Calls made one at a time, nothing else being in flight on fd. */
void mnt(const char *host, const char *mountport, const char *path, struct fh *ret_root);
/* walk - LOOKUP of every component of a path; the last one is created if it does not exist. */
void walk(int fd, const struct fh *root, const char *path, bool may_create, struct fh *ret_fh);
uint64_t getattr_size(int fd, const struct fh *fh);
void commit(int fd, const struct fh *fh);

#endif
