/* SPDX-License-Identifier: GPL-2.0-or-later */
/* conn - RPC calls over N connections, TCP or UDP (pool_addr.udp), to one NFS server.
 *
 * PUBLIC. A pool owns L event loops and N connections (connection i lives on loop i mod L). A call
 * is encoded once, submitted, carried by whichever connection can answer it soonest, moved to
 * another one when its connection breaks, and done exactly once. Nothing here blocks except
 * pool_open() and pool_close(), and nothing here knows FUSE or NFS procedures.
 *
 * ONC RPC version 2 is RFC 5531; record marking is its section 11. What may be sent again is
 * decided by call_class; README has the table. */
#ifndef CONN_CONN_H
#define CONN_CONN_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "loop.h"

struct pool;
struct connection;

/* ---- credentials ------------------------------------------------------------------------- */

enum { CRED_MAX_GROUPS = 16 };   /* AUTH_SYS, RFC 5531 appendix A */

/* The identity a call is made with. gids[] holds supplementary groups. */
struct cred {
	bool none;       /* send AUTH_NONE instead (sec=none) */
	uint32_t uid;
	uint32_t gid;
	uint32_t n_gids;
	uint32_t gids[CRED_MAX_GROUPS];
};

/* ---- calls ------------------------------------------------------------------------------- */

/* What a lost connection means for a call that had been sent on it. */
enum call_class {
	CALL_IDEMPOTENT, /* sent again at once, elsewhere */
	CALL_WRITE,      /* sent again once the old socket has been reset, so that no stale copy follows */
	CALL_OTHER,      /* not idempotent, a second execution fails (EEXIST): sent again to the server's
			  * duplicate request cache (the same bytes from the same port); else it may
			  * have been executed: -ETIMEDOUT and `ambiguous` */
	CALL_ONCE,       /* not idempotent, a second execution may do harm (REMOVE of a name that is in
			  * use again): never sent again; when its connection is lost, or no answer
			  * comes for timeo, -ETIMEDOUT and `ambiguous` */
};

/* Which queue a call waits in. */
enum call_size {
	CALL_SMALL, /* metadata: overtakes bulk, goes to the connection that can answer soonest */
	CALL_BULK,  /* READ and WRITE payloads: a connection takes it when its window has room */
};

enum call_state {
	CALL_IDLE,    /* the owner's */
	CALL_QUEUED,  /* in the pool's queue */
	CALL_MOVING,  /* on its way to another loop */
	CALL_BOUND,   /* on a connection, sent or not */
	CALL_DELAYED, /* pool_submit_after() */
};

/* Where the payload of a large reply shall go: see call.place. */
struct placement {
	uint32_t head_len;   /* results bytes before the payload, length word included */
	void *payload;       /* payload_len bytes, the call owner's memory */
	uint32_t payload_len;
};

/* One RPC. The owner embeds it, zeroes it with call_init(), encodes into memory of its own that
 * stays unchanged until done() (a re-sent call is the same bytes), and may not touch it between
 * pool_submit() and done(). */
struct call {
	/* Set by the owner before pool_submit(). */
	void (*done)(struct call *call); /* once, on some loop's thread, no lock held */
	/* Optional, for replies with a payload (READ): called on the loop's thread when a large
	 * reply begins to arrive, with the `have` first bytes of the results. 1: *ret_where says
	 * where the payload goes. 0: more bytes are needed. -errno: no payload, treat as any reply.
	 * Small replies are not placed: done() finds the whole reply in results. */
	int (*place)(struct call *call, const uint8_t *results, uint32_t have,
		     struct placement *ret_where);
	enum call_class class;
	enum call_size size;
	uint32_t reply_max;   /* bound of the expected results in bytes; a longer record is refused */
	int64_t deadline_ns;  /* CLOCK_MONOTONIC; then done() with -ETIMEDOUT. INT64_MAX: none */
	bool impatient;       /* done() with -EHOSTDOWN as soon as the server is not SERVER_UP, sent or
			       * not: for the owner who has an answer of his own. CALL_IDEMPOTENT only */
	uint64_t key;         /* of its file: CALL_BULK with STRIPE_FILE, and `sticky` calls, go by it */
	bool sticky;          /* those of one key to one connection while it is up, after pool_stick() */
	const void *payload;  /* WRITE: sent after head without a copy, zero-padded to 4; may be NULL */
	uint32_t payload_len;

	/* Set by call_begin() and call_end(). */
	uint8_t *head;        /* record mark, RPC header, credential, arguments */
	uint32_t head_size;   /* of the owner's memory */
	uint32_t head_len;
	uint32_t xid;
	uint32_t prog, proc;  /* what times are kept by (snapshot.h, datagram.h) */

	/* Valid in done(). */
	int status;             /* 0: results follow. -errno: no usable reply */
	bool ambiguous;         /* with an error: the server may have executed the call */
	const uint8_t *results; /* after accept_stat; readable until done() returns */
	uint32_t results_len;   /* without a placed payload */
	uint32_t placed_len;    /* payload bytes that place() directed elsewhere */
	struct connection *conn; /* that carries it; for call_bad_reply() */
	int64_t sent_ns;        /* when its last byte was sent; 0 if never */

	/* The pool's. */
	struct pool *pool;
	enum call_state state;
	_Atomic(bool) cancelled;
	bool sent;                   /* any byte handed to the kernel on the present connection */
	unsigned int n_sent;         /* times it was wholly sent on the present connection */
	unsigned int n_repeats;      /* times it was sent again because no answer came */
	unsigned int n_moves;        /* times it was asked for elsewhere as well (rescue.h) */
	struct connection *left;     /* by which it was last answered too slowly; NULL */
	unsigned int n_replays;      /* times its connection was made anew for it */
	int64_t submitted_ns;        /* or left behind by its connection */
	int64_t first_sent_ns;       /* 0: not yet */
	bool resent;                 /* an earlier connection was lost when it was wholly sent */
	uint8_t n_broken;            /* connections that sent garbage while it was outstanding */
	uint64_t sent_end;           /* where its last byte is in what the connection sent */
	uint32_t cost;               /* bytes on the wire, both directions: what windows count */
	int64_t bound_ns;            /* when it was given to its connection */
	struct loop *loop;           /* CALL_DELAYED: whose timer */
	struct loop_timer delay;
	struct loop_task hand_over;
	void *waiter;                /* pool_call_wait() */
	TAILQ_ENTRY(call) link;      /* in one queue at a time, by state */
	LIST_ENTRY(call) xid_link;   /* CALL_BOUND */
};

enum {
	CALL_HEADER_MAX = 4 + 24 + 8 + 400 + 8, /* mark, header, credential (RFC 5531 8.2), verifier */
	CALL_HEAD_SMALL = 1024,                 /* enough for every procedure but SYMLINK */
	CALL_HEAD_LARGE = 8192,                 /* SYMLINK with a target of 4096 bytes */
};

/* call_init - zero the call; class idempotent, size small, no deadline. */
void call_init(struct call *call);

/* call_begin - write mark, RPC header and AUTH_SYS credential (AUTH_NONE if cred is NULL) into
 * head[0..size) with a fresh xid. Returns where the arguments go (4-byte aligned when head is);
 * the room left is *ret_room, 16 bytes less than there is: zdr codecs overrun by their padding. */
uint8_t *call_begin(struct call *call, uint8_t *head, uint32_t size, const struct cred *cred,
		    uint32_t prog, uint32_t vers, uint32_t proc, uint32_t *ret_room);
/* call_end - args_len bytes of arguments were written. */
void call_end(struct call *call, uint32_t args_len);
/* call_renew - give it a fresh xid, for a new attempt of a call that the server did not execute
 * (JUKEBOX); never for a re-send. */
void call_renew(struct call *call);

/* call_cancel - the owner has lost interest. A call not sent yet is never sent, and done() follows
 * with -EINTR; one that was sent is done when its answer, its deadline or the end of its connection
 * comes, and is not sent again. Any thread, while the call is submitted. */
void call_cancel(struct call *call);

/* call_bad_reply - in done() only: the results were malformed. Counts it and closes the connection
 * that carried it. */
void call_bad_reply(struct call *call, const char *what);

/* ---- the pool ---------------------------------------------------------------------------- */

enum conn_state { CONN_DOWN, CONN_CONNECTING, CONN_UP, CONN_SUSPECT };
const char *conn_state_name(enum conn_state state);

/* Which connection a bulk call goes to. */
enum stripe {
	STRIPE_ADAPTIVE, /* the one that can finish it soonest, bound as late as possible */
	STRIPE_RR,       /* one after the other, at once, as the Linux client's nconnect */
	STRIPE_FILE,     /* by call.key, at once */
};

/* The server, over all connections; policy_server() decides. Any byte from it makes it SERVER_UP. */
enum server_state {
	SERVER_UP,      /* it answers, or nothing was asked of it */
	SERVER_WAITING, /* it owes answers and has been silent for most of a second, or no connection is
			 * up: calls wait until their deadline, impatient ones are done */
	SERVER_DOWN,    /* so for detect_ns: new calls fail at once with -EHOSTDOWN, unless hard */
};

enum { POOL_MAX_CONNECTIONS = 64, POOL_MAX_LOOPS = 16, POOL_MAX_ADDRS = 16, POOL_MAX_LOCALS = 16 };

struct pool_addr {
	struct sockaddr_storage sa; /* with the NFS port */
	socklen_t len;
	bool udp;                   /* reached by UDP, else by TCP */
};

/* Where connections may come from: an address of this host, or an interface. */
struct pool_local {
	struct sockaddr_storage sa; /* port 0; AF_UNSPEC: whichever the route has */
	char device[IF_NAMESIZE];   /* the only interface it uses (socket(7), SO_BINDTODEVICE); "": any */
};

/* What the pool tells its owner; see pool_config.event. */
enum pool_event_type {
	POOL_CONN_UP,
	POOL_CONN_DOWN,
	POOL_PATH_LOST, /* a connection to `remote` was lost or could not be made; each time, also when that
			 * is no news */
	POOL_SERVER_UP,
	POOL_SERVER_WAITING,
	POOL_SERVER_DOWN,
	POOL_BAD_REPLY,
	POOL_NO_RESVPORT,
	POOL_NO_LOCAL,  /* locals[local] cannot be used (error), and others are tried; once until it can */
	POOL_DATAGRAM_MAX, /* pool_datagram_max() has fallen */
	POOL_NO_SRCPORT, /* no port of srcport_low..srcport_high can be had (error); once */
};

struct pool_event {
	enum pool_event_type type;
	unsigned int conn;          /* its number, for the CONN and REPLY events */
	unsigned int n_conns;       /* CONN events: so many alike within a second, conn the first */
	int error;                  /* errno that took it down; 0 if none */
	const char *reason;         /* static text, such as "silent for 5 s"; may be NULL */
	unsigned int n_up;          /* connections up now */
	bool reconnected;           /* CONN_UP, SERVER_UP: not for the first time */
	bool was_down;              /* SERVER_UP: POOL_SERVER_DOWN was told */
	unsigned int n_moved;       /* calls moved to other connections */
	int64_t outage_ns;          /* SERVER_UP: how long it was away */
	unsigned int local_index;   /* NO_LOCAL */
	struct sockaddr_storage local, remote;
};

/* What is _Atomic here may be changed while the pool lives, by pool_tune(). */
struct pool_config {
	_Atomic(unsigned int) n_connections; /* nconnect */
	unsigned int n_loops;         /* 0: min(n_connections, max(2, CPUs), 16) */
	struct pool_addr addrs[POOL_MAX_ADDRS];
	unsigned int n_addrs;         /* 0: until pool_set_addresses() */
	struct pool_local locals[POOL_MAX_LOCALS]; /* each connection has one of its server's family, in
				       * turn; one that it cannot be made from is left for the next,
				       * and tried again now and then */
	unsigned int n_locals;        /* 0: the kernel chooses */
	uint16_t srcport_low, srcport_high; /* bind to a free port of these, and no other; 0: any */
	bool resvport;                /* without them: to one below 1024 where permitted, else any */
	_Atomic(bool) hard;           /* calls are parked for ever instead of failing */
	uint32_t prog, vers;          /* probed with procedure 0 (NULL): NFS_PROGRAM, 3 */
	uint32_t transfer_max;        /* rsize or wsize, the larger: windows are at least two of it */
	_Atomic(uint32_t) window;     /* bytes in flight per connection; 0: measured */
	_Atomic(unsigned int) md_connections; /* mdconnect: connections that take no bulk while others can and
				       * small calls follow each other */
	_Atomic(enum stripe) stripe;
	_Atomic(bool) redial;         /* move connections off crowded and bad paths (steer.h) */
	_Atomic(int64_t) spin_ns;     /* loops busy-poll so long before they sleep */
	bool udp_fragments;           /* by UDP: datagrams may be larger than the path's MTU */
	int64_t connect_ns;           /* limit for connect and first NULL; 5 s */
	_Atomic(int64_t) timeo_ns;    /* an unanswered call is sent again, on the same connection with
				       * the same xid; servers drop calls now and then. 0: never */
	_Atomic(unsigned int) retrans; /* so many times, each after one timeo more */
	_Atomic(int64_t) detect_ns;   /* silence with calls outstanding: a connection is dead, and if
				       * all are silent or gone, SERVER_DOWN */
	/* Called on any loop's thread, no lock held; may not block. */
	void (*event)(void *userdata, const struct pool_event *event);
	void *userdata;
};

/* pool_open - create loops and connections, start the loops, dial all connections in parallel.
 * Returns at once; nothing is up yet. 0 or -errno. The caller's thread must not be a loop's. */
int pool_open(const struct pool_config *config, struct pool **ret_pool);
/* pool_wait_up - until n connections are up. 0, -ETIMEDOUT at deadline_ns, or, when every
 * connection has failed at least once, the first one's error. Not on a loop's thread. */
int pool_wait_up(struct pool *pool, unsigned int n, int64_t deadline_ns);
/* pool_set_addresses - replace the addresses; a pool without any, which is SERVER_DOWN if it was opened so, dials. n 0:
 * nothing is dialled any more, until there are some; what is connected stays. All must lead to the same server. Each connection belongs to one, evenly: one by one
 * they go there, each when its calls are answered, as long as another one is up. One whose address cannot be
 * reached takes the next. Not on a loop's thread. */
void pool_set_addresses(struct pool *pool, const struct pool_addr addrs[], unsigned int n);
unsigned int pool_n_addresses(struct pool *pool);
/* pool_set_transfer_max - once FSINFO is known. Any thread. */
void pool_set_transfer_max(struct pool *pool, uint32_t bytes);
/* pool_tune - what is _Atomic in the configuration is to be as in config from now on; the rest of it is not
 * looked at. More connections are dialled at once, by the loops that there are; those that are too many take no
 * more calls and are closed when they have answered theirs. 0, or -errno and nothing has changed. One thread at a
 * time, not a loop's. */
int pool_tune(struct pool *pool, const struct pool_config *config);
/* pool_datagram_max - bytes of an RPC message that goes by UDP without being cut into fragments, by any of the
 * connections; 0: none of them is UDP's, or was up yet. It may fall (POOL_DATAGRAM_MAX). Any thread. */
uint32_t pool_datagram_max(const struct pool *pool);
/* pool_stick - from now on calls that are `sticky` stay on one connection, by key. Was it so before? Any thread. */
bool pool_stick(struct pool *pool);
/* pool_close - stop the loops; every call still outstanding is done with -ECONNABORTED on the
 * caller's thread; sockets are closed. Takes NULL. Not on a loop's thread. */
void pool_close(struct pool *pool);

unsigned int pool_n_loops(const struct pool *pool);
struct loop *pool_loop(struct pool *pool, unsigned int index);

/* pool_submit - send the call; done() follows exactly once, also when it cannot be sent: -EHOSTDOWN,
 * the server is known to be down (soft); -ECONNABORTED, the pool is closing. Never blocks, and
 * done() is never called from within, but for a pool whose loops have stopped. Any thread; fastest
 * on a loop's. */
void pool_submit(struct pool *pool, struct call *call);
/* pool_submit_after - the same, delay_ns from now. On a loop's thread; else -ECONNABORTED. */
void pool_submit_after(struct pool *pool, struct call *call, int64_t delay_ns);
/* pool_call_wait - submit and wait for done(); the call's done is overwritten. Returns
 * call->status. results stay readable in copy[0..size). Not on a loop's thread. */
int pool_call_wait(struct pool *pool, struct call *call, uint8_t *copy, uint32_t size);

enum server_state pool_server_state(const struct pool *pool);
/* pool_silent_since_ns - since when the server, not SERVER_UP, has been silent; 0 if it is up. */
int64_t pool_silent_since_ns(const struct pool *pool);

/* pool_n_losses - connections lost so far. A server cannot restart without our losing one first: what it
 * said before may not hold after the number has moved. It moves before a lost connection's calls are
 * sent again. Any thread. */
uint64_t pool_n_losses(const struct pool *pool);

/* One connection as status shows it. A snapshot; fields may be a few microseconds apart. */
struct conn_info {
	unsigned int id;
	enum conn_state state;
	struct sockaddr_storage local, remote;
	bool udp;
	uint32_t n_outstanding;
	uint64_t bytes_outstanding;
	uint64_t bytes_sent, bytes_received;
	uint64_t calls_done;
	uint64_t reconnects;
	uint64_t rate;       /* bytes per second while busy; 0: not measured yet */
	int64_t rtt_ns;      /* smallest lately, of a small call */
	int error;           /* errno of the last loss */
};

struct pool_info {
	enum server_state server;
	unsigned int n_connections, n_up;
	unsigned int n_queued;      /* calls waiting for a connection */
	uint64_t n_ambiguous;       /* calls that ended with outcome unknown */
	uint64_t n_bad_replies;
	uint64_t n_resent;          /* after the loss of a connection */
	uint64_t n_repeated;        /* because no answer came */
	uint64_t n_handed_over;     /* calls that went to another loop's connection */
};

/* pool_info, pool_conn_info - any thread. */
void pool_info(struct pool *pool, struct pool_info *ret_info);
void pool_conn_info(struct pool *pool, unsigned int id, struct conn_info *ret_info);

#endif
