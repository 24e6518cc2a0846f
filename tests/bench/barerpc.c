/* SPDX-License-Identifier: GPL-2.0-or-later */
/* barerpc - NFSv3 calls on plain TCP sockets, without FUSE and without anything of fusenfs: what
 * the server and the loopback (or network) allow. Prints one line of JSON.
 *
 *     barerpc --host H --port P --mountport M --export /DIR --path FILE --op OP
 *             [--lockport P] [--size N] [--depth D] [--connections C] [--sequential]
 *             [--seconds S | --bytes N] [--file-size N]
 *
 *     getattr   GETATTR of the file
 *     read      READ of --size bytes at random (or sequential) offsets
 *     write     WRITE, UNSTABLE; one COMMIT at the end, which is part of the time with --bytes
 *     create    CREATE (GUARDED) and REMOVE of one name in directory FILE ("" is the export);
 *               the pair is one operation
 *     lock      LOCK and UNLOCK (NLM version 4, at --lockport) of a byte of the file, for each call in flight another
 *               one and an owner of its own; the pair is one operation
 *
 * D calls are kept in flight on each of C connections; each connection is a thread that sends,
 * blocks in one recv() and consumes whatever came. --bytes N: one pass of N bytes instead of S
 * seconds (implies --sequential).
 *
 * The encoding is wire.c's. Replies are checked (xid, status, length), payloads not looked at. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "bench.h"
#include "wire.h"

enum {
	HEAD_MAX = 512, /* of a reply: all of it but the payload */
	IN_SIZE = (1 << 20) + 4096,
	DEPTH_MAX = 256, /* 2 iovecs each, within IOV_MAX */
};

struct settings {
	const char *host, *port, *mountport, *lockport, *export, *path;
	const struct op *op;
	uint64_t size, bytes, file_size;
	unsigned int depth, n_connections;
	double seconds, warmup;
	bool sequential;
};

/* ---- calls in flight --------------------------------------------------------------------- */

/* What all connections work on. */
struct job {
	const struct settings *settings;
	struct fh fh;
	uint32_t offset_at;       /* in a message: behind the file handle */
	_Atomic(uint64_t) cursor; /* sequential: bytes given out */
	const uint8_t *payload;
	struct window window;
};

/* One call in flight, again and again. Everything but xid, offset or name stays as it was written
 * at the start. */
struct slot {
	struct message message, second; /* second: REMOVE, after CREATE */
	bool in_second;
	bool busy;
	uint32_t xid;
	int64_t sent_ns; /* of the operation's first call */
};

/* One socket and its thread, which alone touches it. */
struct connection {
	struct job *job;
	pthread_t thread;
	unsigned int index;
	int fd;
	struct slot *slots;
	unsigned int n_busy;
	uint32_t generation;          /* the part of an xid that is not the slot */
	uint64_t random;
	struct iovec out[2 * DEPTH_MAX];
	unsigned int n_out;
	uint8_t *in;
	/* The record being received. */
	uint8_t mark[4];
	unsigned int n_mark;
	uint32_t fragment_left;
	uint8_t head[HEAD_MAX];
	uint32_t n_head;
	uint64_t record_len;
	int64_t now_ns;               /* of the last recv() */
	struct tally tally;
};

/* One kind of load. prepare() writes a slot's message; check() looks at the results after nfsstat3
 * and returns the bytes moved. at_offset: the file handle is followed by an offset, which changes
 * from call to call. of_nlm: calls of the lock manager. */
struct op {
	const char *name;
	uint64_t default_size;
	bool at_offset, of_nlm;
	void (*prepare)(struct connection *connection, struct slot *slot);
	uint64_t (*check)(const struct job *job, struct reader *results, uint64_t record_len);
};

static void getattr_prepare(struct connection *connection, struct slot *slot)
{
	message_begin(&slot->message, PROGRAM_NFS, NFS_GETATTR);
	put_fh(&slot->message, &connection->job->fh);
}

static uint64_t getattr_check(const struct job *job, struct reader *results, uint64_t record_len)
{
	skip(results, FATTR3_LEN);
	return 0;
}

static void read_prepare(struct connection *connection, struct slot *slot)
{
	message_begin(&slot->message, PROGRAM_NFS, NFS_READ);
	put_fh(&slot->message, &connection->job->fh);
	put_u64(&slot->message, 0);
	put_u32(&slot->message, (uint32_t)connection->job->settings->size);
}

static uint64_t read_check(const struct job *job, struct reader *results, uint64_t record_len)
{
	uint32_t size = (uint32_t)job->settings->size, count;

	if (get_u32(results))
		skip(results, FATTR3_LEN);
	count = get_u32(results);
	get_u32(results); /* eof */
	if (count != size || get_u32(results) != count || record_len < count)
		errx(1, "READ of %u bytes returned %u: try a smaller --size", size, count);
	return count;
}

static void write_prepare(struct connection *connection, struct slot *slot)
{
	uint32_t size = (uint32_t)connection->job->settings->size;

	message_begin(&slot->message, PROGRAM_NFS, NFS_WRITE);
	put_fh(&slot->message, &connection->job->fh);
	put_u64(&slot->message, 0);
	put_u32(&slot->message, size);
	put_u32(&slot->message, 0); /* UNSTABLE */
	put_u32(&slot->message, size);
}

static void skip_wcc_data(struct reader *results)
{
	if (get_u32(results))
		skip(results, 24);
	if (get_u32(results))
		skip(results, FATTR3_LEN);
}

static uint64_t write_check(const struct job *job, struct reader *results, uint64_t record_len)
{
	uint32_t size = (uint32_t)job->settings->size, count;

	skip_wcc_data(results);
	count = get_u32(results);
	if (count != size)
		errx(1, "WRITE of %u bytes wrote %u: try a smaller --size", size, count);
	return count;
}

static void create_prepare(struct connection *connection, struct slot *slot)
{
	unsigned int n = (unsigned int)(slot - connection->slots);
	char name[64];

	snprintf(name, sizeof(name), "barerpc.%d.%u.%u", getpid(), connection->index, n);
	put_create(&slot->message, &connection->job->fh, name, CREATE_GUARDED);
	message_begin(&slot->second, PROGRAM_NFS, NFS_REMOVE);
	put_fh(&slot->second, &connection->job->fh);
	put_opaque(&slot->second, name, strlen(name));
	message_end(&slot->second, 0);
}

static void lock_prepare(struct connection *connection, struct slot *slot)
{
	uint32_t n = connection->index * DEPTH_MAX + (uint32_t)(slot - connection->slots);

	put_lock(&slot->message, &connection->job->fh, NLM4_LOCK, n + 1, n);
	put_lock(&slot->second, &connection->job->fh, NLM4_UNLOCK, n + 1, n);
}

static const struct op ops[] = {
	{ .name = "getattr", .prepare = getattr_prepare, .check = getattr_check },
	{ .name = "read", .default_size = 4096, .at_offset = true, .prepare = read_prepare,
	  .check = read_check },
	{ .name = "write", .default_size = 4096, .at_offset = true, .prepare = write_prepare,
	  .check = write_check },
	{ .name = "create", .prepare = create_prepare },
	{ .name = "lock", .of_nlm = true, .prepare = lock_prepare },
};

static uint32_t payload_len(const struct settings *settings)
{
	return settings->op->prepare == write_prepare ? (uint32_t)settings->size : 0;
}

static void connection_queue(struct connection *connection, struct slot *slot,
			     struct message *message)
{
	const struct settings *settings = connection->job->settings;

	slot->xid = connection->generation++ * DEPTH_MAX + (uint32_t)(slot - connection->slots);
	message_set_xid(message, slot->xid);
	connection->out[connection->n_out++] =
		(struct iovec){ .iov_base = message->bytes, .iov_len = message->len };
	if (payload_len(settings))
		connection->out[connection->n_out++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)connection->job->payload,
			.iov_len = payload_len(settings) };
}

/* Where the next READ or WRITE goes. False: the pass is complete. */
static bool next_offset(struct connection *connection, uint64_t *ret_offset)
{
	struct job *job = connection->job;
	const struct settings *settings = job->settings;
	uint64_t n_blocks = settings->file_size / settings->size, position;

	if (!settings->sequential) {
		*ret_offset = random_next(&connection->random) % n_blocks * settings->size;
		return true;
	}
	position = atomic_fetch_add_explicit(&job->cursor, settings->size, memory_order_relaxed);
	*ret_offset = position % (n_blocks * settings->size);
	return !settings->bytes || position + settings->size <= settings->bytes;
}

/* Starts the next operation of an idle slot, unless the end has come. */
static void slot_start(struct connection *connection, struct slot *slot)
{
	const struct op *op = connection->job->settings->op;
	uint64_t offset;

	slot->busy = false;
	if (connection->now_ns >= connection->job->window.end_ns)
		return;
	if (op->at_offset) {
		if (!next_offset(connection, &offset))
			return;
		store_u64(slot->message.bytes + connection->job->offset_at, offset);
	}
	slot->busy = true;
	slot->in_second = false;
	slot->sent_ns = 0;
	connection->n_busy++;
	connection_queue(connection, slot, &slot->message);
}

/* A call of the slot was answered: the operation's other call, or the next operation. */
static void slot_continue(struct connection *connection, struct slot *slot, uint64_t bytes)
{
	if (slot->second.len && !slot->in_second) {
		slot->in_second = true;
		connection_queue(connection, slot, &slot->second);
		return;
	}
	tally_add(&connection->tally, &connection->job->window, slot->sent_ns, connection->now_ns,
		  bytes);
	connection->n_busy--;
	slot_start(connection, slot);
}

static void record_done(struct connection *connection)
{
	const struct settings *settings = connection->job->settings;
	struct reader reader = { connection->head, connection->head + connection->n_head };
	uint32_t xid = get_reply_header(&reader), status;
	struct slot *slot = &connection->slots[xid % DEPTH_MAX];
	uint64_t bytes = 0;

	if (xid % DEPTH_MAX >= settings->depth || !slot->busy || slot->xid != xid)
		errx(1, "reply to a call that was not made");
	if (settings->op->of_nlm)
		skip(&reader, (get_u32(&reader) + 3) & ~3u); /* the cookie */
	status = get_u32(&reader);
	if (status)
		errx(1, "%s: status %u", settings->op->name, status);
	if (settings->op->check)
		bytes = settings->op->check(connection->job, &reader, connection->record_len);
	connection->n_head = 0;
	connection->record_len = 0;
	slot_continue(connection, slot, bytes);
}

/* Takes bytes of a fragment; only the head of a record is kept. */
static void consume_body(struct connection *connection, const uint8_t *data, uint32_t len)
{
	uint32_t room = HEAD_MAX - connection->n_head, keep = len < room ? len : room;

	memcpy(connection->head + connection->n_head, data, keep);
	connection->n_head += keep;
	connection->record_len += len;
	connection->fragment_left -= len;
}

static void consume(struct connection *connection, const uint8_t *data, size_t len)
{
	while (len) {
		uint32_t n;

		if (connection->n_mark < 4) {
			connection->mark[connection->n_mark++] = *data++;
			len--;
			if (connection->n_mark < 4)
				continue;
			memcpy(&n, connection->mark, 4);
			connection->fragment_left = ntohl(n) & ~LAST_FRAGMENT;
		}
		n = connection->fragment_left < len ? connection->fragment_left : (uint32_t)len;
		consume_body(connection, data, n);
		data += n;
		len -= n;
		if (connection->fragment_left)
			return;
		connection->n_mark = 0;
		if (connection->mark[0] & 0x80)
			record_done(connection);
	}
}

static void flush_out(struct connection *connection)
{
	struct iovec *out = connection->out;
	unsigned int n_left = connection->n_out;

	while (n_left) {
		struct msghdr header = { .msg_iov = out, .msg_iovlen = n_left };
		ssize_t n = sendmsg(connection->fd, &header, MSG_NOSIGNAL);

		if (n < 0)
			err(1, "send");
		while (n_left && (size_t)n >= out->iov_len) {
			n -= (ssize_t)out++->iov_len;
			n_left--;
		}
		if (n_left) {
			out->iov_base = (uint8_t *)out->iov_base + n;
			out->iov_len -= (size_t)n;
		}
	}
	connection->n_out = 0;
}

static void stamp_new(struct connection *connection)
{
	int64_t now_ns = clock_ns();

	for (unsigned int i = 0; i < connection->job->settings->depth; i++)
		if (!connection->slots[i].sent_ns)
			connection->slots[i].sent_ns = now_ns;
}

static void *connection_run(void *userdata)
{
	struct connection *connection = userdata;
	ssize_t n;

	connection->now_ns = clock_ns();
	for (unsigned int i = 0; i < connection->job->settings->depth; i++)
		slot_start(connection, &connection->slots[i]);
	while (connection->n_busy) {
		stamp_new(connection);
		flush_out(connection);
		n = recv(connection->fd, connection->in, IN_SIZE, 0);
		if (n <= 0)
			errx(1, "connection lost: %s", n ? strerror(errno) : "closed by server");
		connection->now_ns = clock_ns();
		consume(connection, connection->in, (size_t)n);
	}
	return NULL;
}

/* ---- the run ----------------------------------------------------------------------------- */

static void connection_init(struct connection *connection, struct job *job, unsigned int index)
{
	const struct settings *settings = job->settings;

	connection->job = job;
	connection->index = index;
	connection->fd = dial(settings->host, settings->op->of_nlm ? settings->lockport : settings->port);
	connection->random = (uint64_t)clock_ns() * (2 * index + 1) | 1;
	connection->slots = calloc(DEPTH_MAX, sizeof(*connection->slots));
	connection->in = aligned_alloc(4096, IN_SIZE);
	if (!connection->slots || !connection->in)
		err(1, "no memory");
	for (unsigned int i = 0; i < settings->depth; i++) {
		settings->op->prepare(connection, &connection->slots[i]);
		message_end(&connection->slots[i].message, payload_len(settings));
	}
}

static void print(const struct job *job, const struct tally *tally, int64_t commit_ns)
{
	const struct settings *settings = job->settings;
	char extra[256];
	int n;

	n = snprintf(extra, sizeof(extra), "\"size\":%llu,\"depth\":%u,\"connections\":%u,",
		     (unsigned long long)settings->size, settings->depth, settings->n_connections);
	if (payload_len(settings))
		snprintf(extra + n, sizeof(extra) - (size_t)n, "\"commit_ms\":%.3f,",
			 (double)commit_ns / 1e6);
	tally_print(tally, &job->window, settings->op->name, extra);
}

static void connection_start(struct connection *connection)
{
	errno = pthread_create(&connection->thread, NULL, connection_run, connection);
	if (errno)
		err(1, "thread");
}

static void run(struct job *job, struct connection *connections)
{
	const struct settings *settings = job->settings;
	static struct tally tally;
	int64_t commit_ns = 0;

	window_open(&job->window, settings->warmup, settings->bytes ? 0 : settings->seconds);
	for (unsigned int i = 0; i < settings->n_connections; i++)
		connection_start(&connections[i]);
	window_sleep(&job->window);
	for (unsigned int i = 0; i < settings->n_connections; i++)
		pthread_join(connections[i].thread, NULL);
	if (payload_len(settings)) {
		commit_ns = clock_ns();
		commit(connections[0].fd, &job->fh);
		commit_ns = clock_ns() - commit_ns;
	}
	window_close(&job->window);
	for (unsigned int i = 0; i < settings->n_connections; i++)
		tally_merge(&tally, &connections[i].tally);
	print(job, &tally, commit_ns);
}

/* Where the arguments behind the file handle begin, in any message of NFS. */
static uint32_t behind_fh(const struct fh *fh)
{
	struct message message;

	message_begin(&message, PROGRAM_NFS, NFS_READ);
	put_fh(&message, fh);
	return message.len;
}

static void prepare_job(struct job *job, struct settings *settings)
{
	bool writes = payload_len(settings);
	uint8_t *payload = calloc(1, settings->size + 1);
	int fd = dial(settings->host, settings->port);
	struct fh root;

	if (!payload)
		err(1, "no memory");
	memset(payload, 'x', settings->size);
	job->settings = settings;
	job->payload = payload;
	mnt(settings->host, settings->mountport, settings->export, &root);
	walk(fd, &root, settings->path, writes, &job->fh);
	job->offset_at = behind_fh(&job->fh);
	if (!settings->file_size)
		settings->file_size = writes ? settings->bytes : getattr_size(fd, &job->fh);
	if (!settings->file_size && writes)
		settings->file_size = UINT64_C(256) << 20;
	if (settings->op->at_offset && settings->file_size < settings->size)
		errx(1, "%s is smaller than --size", settings->path);
	close(fd);
}

/* ---- command line ------------------------------------------------------------------------ */

static const struct option options[] = {
	{ "host", required_argument, NULL, 'h' },
	{ "port", required_argument, NULL, 'p' },
	{ "mountport", required_argument, NULL, 'm' },
	{ "lockport", required_argument, NULL, 'l' },
	{ "export", required_argument, NULL, 'e' },
	{ "path", required_argument, NULL, 'f' },
	{ "op", required_argument, NULL, 'o' },
	{ "size", required_argument, NULL, 's' },
	{ "depth", required_argument, NULL, 'd' },
	{ "connections", required_argument, NULL, 'c' },
	{ "seconds", required_argument, NULL, 'S' },
	{ "warmup", required_argument, NULL, 'w' },
	{ "bytes", required_argument, NULL, 'b' },
	{ "file-size", required_argument, NULL, 'F' },
	{ "sequential", no_argument, NULL, 'q' },
	{ NULL, 0, NULL, 0 },
};

static const struct op *find_op(const char *name)
{
	for (unsigned int i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(ops[i].name, name) == 0)
			return &ops[i];
	errx(2, "unknown operation '%s'", name);
}

static const char **text_setting(struct settings *settings, int option)
{
	switch (option) {
	case 'h':
		return &settings->host;
	case 'p':
		return &settings->port;
	case 'm':
		return &settings->mountport;
	case 'l':
		return &settings->lockport;
	case 'e':
		return &settings->export;
	case 'f':
		return &settings->path;
	default:
		return NULL;
	}
}

static void set(struct settings *settings, int option, const char *value)
{
	switch (option) {
	case 'o':
		settings->op = find_op(value);
		break;
	case 's':
		settings->size = parse_size(value);
		break;
	case 'd':
		settings->depth = (unsigned int)parse_size(value);
		break;
	case 'c':
		settings->n_connections = (unsigned int)parse_size(value);
		break;
	case 'S':
		settings->seconds = atof(value);
		break;
	case 'w':
		settings->warmup = atof(value);
		break;
	case 'b':
		settings->bytes = parse_size(value);
		settings->sequential = true;
		break;
	case 'F':
		settings->file_size = parse_size(value);
		break;
	case 'q':
		settings->sequential = true;
		break;
	default:
		errx(2, "usage: see the top of tests/bench/barerpc.c");
	}
}

static void check_settings(struct settings *settings)
{
	if (!settings->op || !settings->export || !settings->path)
		errx(2, "usage: barerpc --export /DIR --path FILE --op OP ...");
	if (settings->op->of_nlm && !settings->lockport)
		errx(2, "--op lock wants --lockport");
	if (!settings->depth || settings->depth > DEPTH_MAX || !settings->n_connections)
		errx(2, "--depth is 1 to %d, --connections at least 1", DEPTH_MAX);
	if (settings->seconds <= 0)
		errx(2, "--seconds must be positive");
	if (!settings->size)
		settings->size = settings->op->default_size;
	if (settings->size % 4)
		errx(2, "--size must be a multiple of 4");
}

int main(int argc, char **argv)
{
	struct settings settings = { .host = "127.0.0.1", .port = "2049", .mountport = "20048",
				     .depth = 1, .n_connections = 1, .seconds = 2, .warmup = 0.2 };
	struct connection *connections;
	static struct job job;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		const char **text = text_setting(&settings, option);

		if (text)
			*text = optarg;
		else
			set(&settings, option, optarg);
	}
	check_settings(&settings);
	prepare_job(&job, &settings);
	connections = calloc(settings.n_connections, sizeof(*connections));
	if (!connections)
		err(1, "no memory");
	for (unsigned int i = 0; i < settings.n_connections; i++)
		connection_init(&connections[i], &job, i);
	run(&job, connections);
	return 0;
}
