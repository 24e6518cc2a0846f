/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wire - see wire.h. */
#include "wire.h"

#include <arpa/inet.h>
#include <err.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOUNT_MNT = 1, NFS3ERR_NOENT = 2, FATTR3_SIZE_AT = 20, REPLY_TIMEOUT_S = 30 };

/* ---- XDR --------------------------------------------------------------------------------- */

static void store_u32(uint8_t *at, uint32_t value)
{
	value = htonl(value);
	memcpy(at, &value, 4);
}

void store_u64(uint8_t *at, uint64_t value)
{
	store_u32(at, (uint32_t)(value >> 32));
	store_u32(at + 4, (uint32_t)value);
}

void put_u32(struct message *message, uint32_t value)
{
	if (message->len + 4 > MESSAGE_MAX)
		errx(1, "call too long");
	store_u32(message->bytes + message->len, value);
	message->len += 4;
}

void put_u64(struct message *message, uint64_t value)
{
	put_u32(message, (uint32_t)(value >> 32));
	put_u32(message, (uint32_t)value);
}

void put_opaque(struct message *message, const void *data, size_t len)
{
	put_u32(message, (uint32_t)len);
	if (message->len + len + 4 > MESSAGE_MAX)
		errx(1, "call too long");
	memcpy(message->bytes + message->len, data, len);
	memset(message->bytes + message->len + len, 0, 3);
	message->len += ((uint32_t)len + 3) & ~3u;
}

void put_fh(struct message *message, const struct fh *fh)
{
	put_opaque(message, fh->data, fh->len);
}

uint32_t get_u32(struct reader *reader)
{
	uint32_t value;

	if (reader->end - reader->at < 4)
		errx(1, "reply too short");
	memcpy(&value, reader->at, 4);
	reader->at += 4;
	return ntohl(value);
}

uint64_t get_u64(struct reader *reader)
{
	uint64_t high = get_u32(reader);

	return high << 32 | get_u32(reader);
}

void skip(struct reader *reader, uint32_t len)
{
	if ((size_t)(reader->end - reader->at) < len)
		errx(1, "reply too short");
	reader->at += len;
}

static void get_fh(struct reader *reader, struct fh *ret_fh)
{
	ret_fh->len = get_u32(reader);
	if (!ret_fh->len || ret_fh->len > FH_MAX)
		errx(1, "file handle of %u bytes", ret_fh->len);
	skip(reader, (ret_fh->len + 3) & ~3u);
	memcpy(ret_fh->data, reader->at - ((ret_fh->len + 3) & ~3u), ret_fh->len);
}

/* ---- RPC --------------------------------------------------------------------------------- */

enum { XID_AT = 4 }; /* in a message */

void message_begin(struct message *message, uint32_t program, uint32_t procedure)
{
	static const char machine[] = "barerpc";

	message->len = 0;
	put_u32(message, 0);             /* record mark */
	put_u32(message, 0);             /* xid */
	put_u32(message, 0);             /* CALL */
	put_u32(message, 2);             /* RPC version */
	put_u32(message, program);
	put_u32(message, program == PROGRAM_NLM ? 4 : 3);
	put_u32(message, procedure);
	put_u32(message, 1);             /* AUTH_SYS */
	put_u32(message, 4 + 12 + 12);   /* of so many bytes: stamp, name, uid, gid, no groups */
	put_u32(message, 0);
	put_opaque(message, machine, sizeof(machine) - 1);
	put_u32(message, 0);
	put_u32(message, 0);
	put_u32(message, 0);
	put_u64(message, 0);             /* verifier: AUTH_NONE */
}

void message_end(struct message *message, uint32_t payload_len)
{
	store_u32(message->bytes, LAST_FRAGMENT | (message->len - 4 + payload_len));
}

void message_set_xid(struct message *message, uint32_t xid)
{
	store_u32(message->bytes + XID_AT, xid);
}

uint32_t get_reply_header(struct reader *reader)
{
	uint32_t xid = get_u32(reader);

	if (get_u32(reader) != 1)
		errx(1, "not a reply");
	if (get_u32(reader) != 0)
		errx(1, "call denied");
	get_u32(reader);
	skip(reader, get_u32(reader));
	if (get_u32(reader) != 0)
		errx(1, "call not accepted");
	return xid;
}

int dial(const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *addrs, *addr;
	struct timeval timeout = { .tv_sec = REPLY_TIMEOUT_S };
	int error = getaddrinfo(host, port, &hints, &addrs), fd = -1, on = 1;

	if (error)
		errx(1, "%s: %s", host, gai_strerror(error));
	for (addr = addrs; addr; addr = addr->ai_next) {
		fd = socket(addr->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, addr->ai_addr, addr->ai_addrlen) == 0)
			break;
	}
	if (!addr)
		err(1, "%s port %s", host, port);
	freeaddrinfo(addrs);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	return fd;
}

static void receive(int fd, void *data, size_t len)
{
	if (recv(fd, data, len, MSG_WAITALL) != (ssize_t)len)
		err(1, "no reply");
}

/* One call and its reply, nothing else being in flight. storage (MESSAGE_MAX) holds the reply. */
static struct reader call_wait(int fd, struct message *message, uint8_t *storage)
{
	struct reader reader = { .at = storage };
	uint32_t mark, len = 0;

	message_end(message, 0);
	if (send(fd, message->bytes, message->len, MSG_NOSIGNAL) != (ssize_t)message->len)
		err(1, "send");
	do {
		receive(fd, &mark, 4);
		mark = ntohl(mark);
		if ((mark & ~LAST_FRAGMENT) > MESSAGE_MAX - len)
			errx(1, "reply too long");
		receive(fd, storage + len, mark & ~LAST_FRAGMENT);
		len += mark & ~LAST_FRAGMENT;
	} while (!(mark & LAST_FRAGMENT));
	reader.end = storage + len;
	get_reply_header(&reader);
	return reader;
}

/* ---- calls made once --------------------------------------------------------------------- */

void mnt(const char *host, const char *mountport, const char *path, struct fh *ret_root)
{
	int fd = dial(host, mountport);
	uint8_t storage[MESSAGE_MAX];
	struct message message;
	struct reader reader;
	uint32_t status;

	message_begin(&message, PROGRAM_MOUNT, MOUNT_MNT);
	put_opaque(&message, path, strlen(path));
	reader = call_wait(fd, &message, storage);
	status = get_u32(&reader);
	if (status)
		errx(1, "MNT %s: mountstat3 %u", path, status);
	get_fh(&reader, ret_root);
	close(fd);
}

static uint32_t lookup(int fd, const struct fh *dir, const char *name, size_t len,
		       struct fh *ret_fh)
{
	uint8_t storage[MESSAGE_MAX];
	struct message message;
	struct reader reader;
	uint32_t status;

	message_begin(&message, PROGRAM_NFS, NFS_LOOKUP);
	put_fh(&message, dir);
	put_opaque(&message, name, len);
	reader = call_wait(fd, &message, storage);
	status = get_u32(&reader);
	if (!status)
		get_fh(&reader, ret_fh);
	return status;
}

void put_lock(struct message *message, const struct fh *fh, uint32_t procedure, uint32_t owner, uint64_t offset)
{
	static const char machine[] = "barerpc";

	message_begin(message, PROGRAM_NLM, procedure);
	put_opaque(message, "cook", 4);
	if (procedure == NLM4_LOCK) {
		put_u32(message, 0); /* block */
		put_u32(message, 1); /* exclusive */
	}
	put_opaque(message, machine, sizeof(machine) - 1);
	put_fh(message, fh);
	put_opaque(message, machine, sizeof(machine) - 1);
	put_u32(message, owner);
	put_u64(message, offset);
	put_u64(message, 1);
	if (procedure == NLM4_LOCK)
		put_u64(message, 0); /* reclaim, state */
	message_end(message, 0);
}

void put_create(struct message *message, const struct fh *dir, const char *name, uint32_t how)
{
	message_begin(message, PROGRAM_NFS, NFS_CREATE);
	put_fh(message, dir);
	put_opaque(message, name, strlen(name));
	put_u32(message, how);
	put_u32(message, 1); /* mode */
	put_u32(message, 0644);
	put_u64(message, 0); /* neither uid nor gid */
	put_u32(message, 0); /* nor size */
	put_u64(message, 0); /* nor atime and mtime */
}

static void create(int fd, const struct fh *dir, const char *name)
{
	uint8_t storage[MESSAGE_MAX];
	struct message message;
	struct reader reader;
	uint32_t status;

	put_create(&message, dir, name, CREATE_UNCHECKED);
	reader = call_wait(fd, &message, storage);
	status = get_u32(&reader);
	if (status)
		errx(1, "CREATE %s: nfsstat3 %u", name, status);
}

void walk(int fd, const struct fh *root, const char *path, bool may_create, struct fh *ret_fh)
{
	const char *at = path;
	struct fh dir;
	uint32_t status;

	*ret_fh = *root;
	while (*(at += strspn(at, "/"))) {
		size_t len = strcspn(at, "/");

		dir = *ret_fh;
		status = lookup(fd, &dir, at, len, ret_fh);
		if (status == NFS3ERR_NOENT && may_create && !at[len]) {
			create(fd, &dir, at);
			status = lookup(fd, &dir, at, len, ret_fh);
		}
		if (status)
			errx(1, "LOOKUP %s: nfsstat3 %u", at, status);
		at += len;
	}
}

uint64_t getattr_size(int fd, const struct fh *fh)
{
	uint8_t storage[MESSAGE_MAX];
	struct message message;
	struct reader reader;
	uint32_t status;

	message_begin(&message, PROGRAM_NFS, NFS_GETATTR);
	put_fh(&message, fh);
	reader = call_wait(fd, &message, storage);
	status = get_u32(&reader);
	if (status)
		errx(1, "GETATTR: nfsstat3 %u", status);
	skip(&reader, FATTR3_SIZE_AT);
	return get_u64(&reader);
}

void commit(int fd, const struct fh *fh)
{
	uint8_t storage[MESSAGE_MAX];
	struct message message;
	struct reader reader;
	uint32_t status;

	message_begin(&message, PROGRAM_NFS, NFS_COMMIT);
	put_fh(&message, fh);
	put_u64(&message, 0);
	put_u32(&message, 0);
	reader = call_wait(fd, &message, storage);
	status = get_u32(&reader);
	if (status)
		errx(1, "COMMIT: nfsstat3 %u", status);
}
