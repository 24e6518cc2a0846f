/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fakeserver - see fakeserver.h. One thread, poll(2), and a lock around each turn: whoever asks or
 * orders something takes it between two turns. */
#undef NDEBUG
#include "fakeserver.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../conn/rpc.h"
#include "../../conn/util.h"

enum { PEERS_MAX = 256, CALL_MAX = 4 << 20, KEPT_MAX = 64, ACCEPTED_MAX = 4096 };

struct bytes {
	uint8_t *at;
	size_t len, size;
};

struct peer {
	int fd; /* -1: free */
	struct bytes in, out;
	uint32_t piece;     /* FAKE_TRICKLE; 0: as the socket takes it */
	size_t piece_after; /* bytes of output that leave before, at once */
	size_t piece_left;  /* and that leave in pieces */
	bool end;           /* close when everything is sent */
	bool deaf, mute;
	unsigned int n_kept;
	struct fake_args kept[KEPT_MAX];
	uint32_t kept_xid[KEPT_MAX];
};

struct fake_server {
	pthread_t thread;
	int wake_fd;
	pthread_mutex_t lock; /* guards the rest */
	bool stopping, frozen, refuse_null;
	uint32_t pace;
	int listen_fd;      /* bound for good, so that nobody else gets the port */
	bool listening;
	uint16_t port;
	struct peer peers[PEERS_MAX];
	unsigned int n_accepted;
	uint16_t peer_ports[ACCEPTED_MAX];
	uint32_t seen[FAKE_IDS];
	bool payload_bad[FAKE_IDS];
	uint8_t buffer[256 * 1024];
};

/* ---- bytes ------------------------------------------------------------------------------- */

static void append(struct bytes *bytes, const void *from, size_t n)
{
	if (bytes->len + n > bytes->size) {
		bytes->size = max_size(bytes->size * 2, bytes->len + n);
		bytes->at = realloc(bytes->at, bytes->size);
		assert(bytes->at);
	}
	if (n)
		memcpy(bytes->at + bytes->len, from, n);
	bytes->len += n;
}

static void append_word(struct bytes *bytes, uint32_t word)
{
	uint8_t be[4];

	rpc_write(be, word);
	append(bytes, be, sizeof(be));
}

static void consume(struct bytes *bytes, size_t n)
{
	if (!n)
		return;
	memmove(bytes->at, bytes->at + n, bytes->len - n);
	bytes->len -= n;
}

/* ---- replies ----------------------------------------------------------------------------- */

static void put_reply_header(struct bytes *reply, uint32_t xid, uint32_t accept_stat)
{
	append_word(reply, xid);
	append_word(reply, 1); /* REPLY */
	append_word(reply, 0); /* MSG_ACCEPTED */
	append_word(reply, 0); /* AUTH_NONE */
	append_word(reply, 0);
	append_word(reply, accept_stat);
}

static void put_results(struct bytes *reply, uint32_t id, uint32_t length)
{
	size_t at = reply->len + 8;
	static const uint8_t zeros[4];

	append_word(reply, id);
	append_word(reply, length);
	for (uint32_t left = length; left > 0;) {
		uint32_t n = (uint32_t)min_size(left, 4096);
		uint8_t block[4096] = { 0 };

		append(reply, block, n);
		left -= n;
	}
	for (uint32_t i = 0; i < length; i++)
		reply->at[at + i] = fake_pattern(id, i);
	append(reply, zeros, xdr_pad(length));
}

static void send_record(struct peer *peer, const struct bytes *record, uint32_t fragment)
{
	size_t from = 0, n;

	do {
		n = min_size(fragment, record->len - from);
		append_word(&peer->out,
			    (uint32_t)n | (from + n == record->len ? RPC_LAST_FRAGMENT : 0));
		append(&peer->out, record->at + from, n);
		from += n;
	} while (from < record->len);
}

static void answer(struct peer *peer, uint32_t xid, const struct fake_args *args, uint32_t length,
		   uint32_t fragment)
{
	struct bytes reply = { 0 };

	put_reply_header(&reply, xid, 0);
	put_results(&reply, args->id, length);
	send_record(peer, &reply, fragment);
	free(reply.at);
}

static void answer_plainly(struct peer *peer, uint32_t xid, const struct fake_args *args)
{
	answer(peer, xid, args, args->length, UINT32_MAX >> 1);
}

static void answer_error(struct peer *peer, uint32_t xid, uint32_t accept_stat)
{
	struct bytes reply = { 0 };

	put_reply_header(&reply, xid, accept_stat);
	send_record(peer, &reply, UINT32_MAX >> 1);
	free(reply.at);
}

static void answer_kept(struct peer *peer, uint32_t xid, const struct fake_args *args)
{
	assert(peer->n_kept < KEPT_MAX);
	peer->kept[peer->n_kept] = *args;
	peer->kept_xid[peer->n_kept++] = xid;
	if (peer->n_kept < args->extra)
		return;
	while (peer->n_kept > 0) {
		peer->n_kept--;
		answer_plainly(peer, peer->kept_xid[peer->n_kept], &peer->kept[peer->n_kept]);
	}
}

static void peer_close(struct peer *peer, bool reset)
{
	struct linger discard = { .l_onoff = 1, .l_linger = 0 };

	if (peer->fd < 0)
		return;
	if (reset)
		setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &discard, sizeof(discard));
	close(peer->fd);
	free(peer->in.at);
	free(peer->out.at);
	*peer = (struct peer){ .fd = -1 };
}

static void misbehave(struct peer *peer, uint32_t xid, const struct fake_args *args)
{
	struct fake_args other = { .id = 1, .length = 40000 };
	size_t before = peer->out.len;

	switch ((enum fake_action)args->action) {
	case FAKE_ANSWER:
		answer_plainly(peer, xid, args);
		break;
	case FAKE_CLOSE:
		peer->end = true;
		break;
	case FAKE_RESET:
		peer_close(peer, true);
		break;
	case FAKE_CUT:
		answer_plainly(peer, xid, args);
		peer->out.len = before + (peer->out.len - before) / 2;
		peer->end = true;
		break;
	case FAKE_GARBAGE:
		append_word(&peer->out, RPC_LAST_FRAGMENT | 32);
		for (int i = 0; i < 8; i++)
			append_word(&peer->out, 0x68656c6f);
		break;
	case FAKE_BAD_MARK:
		append_word(&peer->out, 0x7fffffff);
		break;
	case FAKE_CALL:
		append_word(&peer->out, RPC_LAST_FRAGMENT | 40);
		append_word(&peer->out, xid);
		for (int i = 0; i < 9; i++)
			append_word(&peer->out, 0);
		break;
	case FAKE_SILENT:
		break;
	case FAKE_TWICE:
		answer_plainly(peer, xid, args);
		answer_plainly(peer, xid, args);
		break;
	case FAKE_UNKNOWN:
		answer_plainly(peer, xid ^ 0x80000000, &other);
		other.length = 10;
		answer_plainly(peer, xid ^ 0x80000000, &other);
		answer_plainly(peer, xid, args);
		break;
	case FAKE_REVERSE:
		answer_kept(peer, xid, args);
		break;
	case FAKE_LONGER:
		answer(peer, xid, args, args->length + args->extra, UINT32_MAX >> 1);
		break;
	case FAKE_FRAGMENTS:
		answer(peer, xid, args, args->length, args->extra);
		break;
	case FAKE_TRICKLE:
		answer_plainly(peer, xid, args);
		peer->piece = args->extra;
		peer->piece_after = before;
		peer->piece_left = peer->out.len - before;
		break;
	case FAKE_REFUSE:
		answer_error(peer, xid, 5);
		break;
	case FAKE_DEAF:
		peer->deaf = true;
		break;
	case FAKE_MUTE:
		peer->mute = true;
		break;
	}
}

/* ---- calls ------------------------------------------------------------------------------- */

static bool is_payload(const struct fake_args *args, const uint8_t *payload, uint32_t len)
{
	if (len != args->payload + xdr_pad(args->payload))
		return false;
	for (uint32_t i = 0; i < len; i++)
		if (payload[i] != (i < args->payload ? fake_pattern(args->id, i) : 0))
			return false;
	return true;
}

static void serve_call(struct fake_server *server, struct peer *peer, const uint8_t *call,
		       uint32_t len)
{
	uint32_t xid = rpc_read(call), proc, off;
	struct fake_args args;

	assert(len >= 40 && rpc_read(call + 4) == 0 && rpc_read(call + 8) == 2);
	assert(rpc_read(call + 12) == FAKE_PROG && rpc_read(call + 16) == FAKE_VERS);
	proc = rpc_read(call + 20);
	off = 40 + rpc_read(call + 28);
	if (proc == 0) {
		answer_error(peer, xid, server->refuse_null ? 1 : 0);
		return;
	}
	assert(proc == FAKE_PROC && len >= off + sizeof(args));
	args = (struct fake_args){ rpc_read(call + off), rpc_read(call + off + 4),
				   rpc_read(call + off + 8), rpc_read(call + off + 12),
				   rpc_read(call + off + 16), rpc_read(call + off + 20) };
	assert(args.id < FAKE_IDS);
	off += sizeof(args);
	if (!is_payload(&args, call + off, len - off))
		server->payload_bad[args.id] = true;
	if (server->seen[args.id]++ >= args.times)
		args.action = FAKE_ANSWER;
	if (!peer->mute)
		misbehave(peer, xid, &args);
}

static void serve_input(struct fake_server *server, struct peer *peer)
{
	size_t at = 0;

	while (peer->fd >= 0 && peer->in.len - at >= 4 && !peer->end && !peer->deaf) {
		uint32_t len = rpc_read(peer->in.at + at) & ~RPC_LAST_FRAGMENT;

		assert(rpc_read(peer->in.at + at) & RPC_LAST_FRAGMENT && len <= CALL_MAX);
		if (peer->in.len - at - 4 < len)
			break;
		serve_call(server, peer, peer->in.at + at + 4, len);
		at += 4 + len;
	}
	if (peer->fd >= 0)
		consume(&peer->in, at);
}

/* ---- sockets ----------------------------------------------------------------------------- */

static void read_input(struct fake_server *server, struct peer *peer)
{
	size_t size = sizeof(server->buffer);
	size_t max = server->pace ? min_size(server->pace, size) : size;
	ssize_t n = recv(peer->fd, server->buffer, max, MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		peer_close(peer, false);
		return;
	}
	append(&peer->in, server->buffer, (size_t)n);
	serve_input(server, peer);
}

static void write_output(struct peer *peer)
{
	size_t max = peer->out.len;
	ssize_t n;

	if (peer->piece)
		max = peer->piece_after ? peer->piece_after : min_size(peer->piece, max);
	n = max ? send(peer->fd, peer->out.at, max, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;

	if (n < 0 && errno != EAGAIN) {
		peer_close(peer, false);
		return;
	}
	if (n > 0) {
		consume(&peer->out, (size_t)n);
		if (peer->piece_after)
			peer->piece_after -= (size_t)n;
		else
			peer->piece_left -= min_size(peer->piece_left, (size_t)n);
	}
	if (!peer->piece_left)
		peer->piece = 0;
	if (peer->end && !peer->out.len)
		peer_close(peer, false);
}

static void accept_peer(struct fake_server *server)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	int fd = accept4(server->listen_fd, (struct sockaddr *)&sin, &len,
			 SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	assert(server->n_accepted < ACCEPTED_MAX);
	server->peer_ports[server->n_accepted++] = ntohs(sin.sin_port);
	for (int i = 0; i < PEERS_MAX; i++)
		if (server->peers[i].fd < 0) {
			server->peers[i].fd = fd;
			return;
		}
	assert(!"too many connections");
}

/* A socket bound to server->port, or if that is 0 to any, which becomes it. False if it is taken. */
static bool bind_port(struct fake_server *server)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(server->port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sin);
	int on = 1, small = 64 * 1024;

	server->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert(server->listen_fd >= 0);
	setsockopt(server->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Small, so that a peer that does not read is felt soon. */
	setsockopt(server->listen_fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (bind(server->listen_fd, (struct sockaddr *)&sin, sizeof(sin)))
		return false;
	assert(!getsockname(server->listen_fd, (struct sockaddr *)&sin, &len));
	server->port = ntohs(sin.sin_port);
	return true;
}

/* Only a port that was asked for by number outlasts shutdown(2). */
static void reserve_port(struct fake_server *server)
{
	do {
		server->port = 0;
		assert(bind_port(server));
		close(server->listen_fd);
	} while (!bind_port(server));
}

static void start_listening(struct fake_server *server)
{
	assert(!listen(server->listen_fd, 256));
	server->listening = true;
}

static int add_polled(struct fake_server *server, struct pollfd *fds, struct peer **peers)
{
	int n = 0;

	fds[n++] = (struct pollfd){ .fd = server->wake_fd, .events = POLLIN };
	if (server->frozen)
		return n;
	if (server->listening)
		fds[n++] = (struct pollfd){ .fd = server->listen_fd, .events = POLLIN };
	for (int i = 0; i < PEERS_MAX; i++) {
		struct peer *peer = &server->peers[i];
		bool writes = peer->out.len && !peer->deaf;

		if (peer->fd < 0 || (peer->deaf && !writes))
			continue;
		peers[n] = peer;
		fds[n++] = (struct pollfd){ .fd = peer->fd,
					    .events = (short)((peer->deaf ? 0 : POLLIN) |
							      (writes ? POLLOUT : 0)) };
	}
	return n;
}

static void turn(struct fake_server *server, struct pollfd *fds, struct peer **peers, int n)
{
	uint64_t woken;

	for (int i = 0; i < n; i++) {
		struct peer *peer = peers[i];

		if (!fds[i].revents)
			continue;
		if (fds[i].fd == server->wake_fd)
			assert(read(server->wake_fd, &woken, sizeof(woken)) == sizeof(woken));
		else if (server->frozen)
			continue; /* since poll(2) */
		else if (fds[i].fd == server->listen_fd && server->listening)
			accept_peer(server);
		/* It may have been reset since poll(2), but not its place taken. */
		else if (peer && peer->fd == fds[i].fd) {
			if (fds[i].revents & (POLLIN | POLLERR | POLLHUP))
				read_input(server, peer);
			if (peer->fd >= 0 && (peer->out.len || peer->end))
				write_output(peer);
		}
	}
}

static void *server_main(void *arg)
{
	struct fake_server *server = arg;
	struct pollfd fds[PEERS_MAX + 2];
	bool slow, stopping = false;

	while (!stopping) {
		struct peer *peers[PEERS_MAX + 2] = { 0 };
		int n;

		pthread_mutex_lock(&server->lock);
		n = add_polled(server, fds, peers);
		slow = server->pace > 0;
		for (int i = 0; i < PEERS_MAX; i++)
			slow = slow || (server->peers[i].fd >= 0 && server->peers[i].piece);
		pthread_mutex_unlock(&server->lock);
		if (slow)
			usleep(1000);
		poll(fds, (nfds_t)n, -1);
		pthread_mutex_lock(&server->lock);
		turn(server, fds, peers, n);
		stopping = server->stopping;
		pthread_mutex_unlock(&server->lock);
	}
	return NULL;
}

/* ---- orders ------------------------------------------------------------------------------ */

struct fake_server *fake_server_new(void)
{
	struct fake_server *server = calloc(1, sizeof(*server));

	assert(server);
	pthread_mutex_init(&server->lock, NULL);
	server->wake_fd = eventfd(0, EFD_CLOEXEC);
	for (int i = 0; i < PEERS_MAX; i++)
		server->peers[i].fd = -1;
	reserve_port(server);
	start_listening(server);
	assert(!pthread_create(&server->thread, NULL, server_main, server));
	return server;
}

static void close_all(struct fake_server *server)
{
	for (int i = 0; i < PEERS_MAX; i++)
		peer_close(&server->peers[i], true);
	if (server->listening)
		shutdown(server->listen_fd, SHUT_RD);
	server->listening = false;
}

void fake_server_free(struct fake_server *server)
{
	pthread_mutex_lock(&server->lock);
	server->stopping = true;
	pthread_mutex_unlock(&server->lock);
	eventfd_write(server->wake_fd, 1);
	pthread_join(server->thread, NULL);
	close_all(server);
	close(server->listen_fd);
	close(server->wake_fd);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

uint16_t fake_server_port(const struct fake_server *server)
{
	return server->port;
}

void fake_server_stop(struct fake_server *server)
{
	pthread_mutex_lock(&server->lock);
	close_all(server);
	pthread_mutex_unlock(&server->lock);
	eventfd_write(server->wake_fd, 1);
}

void fake_server_start(struct fake_server *server)
{
	pthread_mutex_lock(&server->lock);
	start_listening(server);
	pthread_mutex_unlock(&server->lock);
	eventfd_write(server->wake_fd, 1);
}

void fake_server_freeze(struct fake_server *server, bool frozen)
{
	pthread_mutex_lock(&server->lock);
	server->frozen = frozen;
	pthread_mutex_unlock(&server->lock);
	eventfd_write(server->wake_fd, 1);
}

void fake_server_pace(struct fake_server *server, uint32_t bytes_per_ms)
{
	pthread_mutex_lock(&server->lock);
	server->pace = bytes_per_ms;
	pthread_mutex_unlock(&server->lock);
	eventfd_write(server->wake_fd, 1);
}

void fake_server_refuse_null(struct fake_server *server, bool refuse)
{
	pthread_mutex_lock(&server->lock);
	server->refuse_null = refuse;
	pthread_mutex_unlock(&server->lock);
}

unsigned int fake_server_seen(struct fake_server *server, uint32_t id)
{
	unsigned int n;

	pthread_mutex_lock(&server->lock);
	n = server->seen[id];
	pthread_mutex_unlock(&server->lock);
	return n;
}

bool fake_server_payload_ok(struct fake_server *server, uint32_t id)
{
	bool ok;

	pthread_mutex_lock(&server->lock);
	ok = server->seen[id] && !server->payload_bad[id];
	pthread_mutex_unlock(&server->lock);
	return ok;
}

unsigned int fake_server_n_accepted(struct fake_server *server)
{
	unsigned int n;

	pthread_mutex_lock(&server->lock);
	n = server->n_accepted;
	pthread_mutex_unlock(&server->lock);
	return n;
}

uint16_t fake_server_peer_port(struct fake_server *server, unsigned int n)
{
	uint16_t port;

	pthread_mutex_lock(&server->lock);
	assert(n < server->n_accepted);
	port = server->peer_ports[n];
	pthread_mutex_unlock(&server->lock);
	return port;
}
