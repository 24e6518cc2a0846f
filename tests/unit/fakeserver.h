/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fakeserver - an RPC server on 127.0.0.1 in a thread of the test, that misbehaves as it is told.
 *
 * Procedure 0 is NULL. Procedure 1 is ours; its arguments are the words of struct fake_args and any
 * payload. What happens is told by the call itself and happens once for an id, or as often as
 * `times` says; after that the call is answered: id, length, `length` bytes of pattern, zero-padded.
 * Any thread may call these functions. */
#ifndef TESTS_FAKESERVER_H
#define TESTS_FAKESERVER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { FAKE_PROG = 0x20000123, FAKE_VERS = 3, FAKE_PROC = 1, FAKE_IDS = 65536 };

enum fake_action {
	FAKE_ANSWER,
	FAKE_CLOSE,      /* end the connection instead */
	FAKE_RESET,      /* with RST */
	FAKE_CUT,        /* send half of the reply, then end it */
	FAKE_GARBAGE,    /* send a record that is no RPC reply */
	FAKE_BAD_MARK,   /* send a record mark that is far too large */
	FAKE_CALL,       /* send a call instead of a reply */
	FAKE_SILENT,     /* never answer this call */
	FAKE_TWICE,      /* answer it twice */
	FAKE_UNKNOWN,    /* first send small and large replies nobody has asked for */
	FAKE_REVERSE,    /* keep it until `extra` are kept, then answer them, the last one first */
	FAKE_LONGER,     /* answer with `extra` more bytes than asked for */
	FAKE_FRAGMENTS,  /* answer in fragments of `extra` bytes */
	FAKE_TRICKLE,    /* answer in pieces of `extra` bytes, a pause after each */
	FAKE_REFUSE,     /* answer with SYSTEM_ERR */
	FAKE_DEAF,       /* answer nothing on this connection from now on, and read nothing */
	FAKE_MUTE,       /* answer nothing but NULL on this connection from now on */
};

struct fake_args {
	uint32_t id, action, times, extra, length, payload; /* the last: its bytes */
};

struct fake_server;

struct fake_server *fake_server_new(void);
void fake_server_free(struct fake_server *server);
uint16_t fake_server_port(const struct fake_server *server);

/* fake_server_stop - reset every connection and refuse new ones. fake_server_start - the same port
 * again. Both when it has happened. */
void fake_server_stop(struct fake_server *server);
void fake_server_start(struct fake_server *server);
/* fake_server_freeze - keep connections, read and answer nothing, until told otherwise. */
void fake_server_freeze(struct fake_server *server, bool frozen);
/* fake_server_pace - read at most so many bytes per millisecond from a connection; 0: all. */
void fake_server_pace(struct fake_server *server, uint32_t bytes_per_ms);
/* fake_server_refuse_null - answer NULL with PROG_UNAVAIL. */
void fake_server_refuse_null(struct fake_server *server, bool refuse);

/* How often a whole call with this id came; whether each had the payload that it said it has: the
 * pattern, padded with zeros. */
unsigned int fake_server_seen(struct fake_server *server, uint32_t id);
bool fake_server_payload_ok(struct fake_server *server, uint32_t id);
unsigned int fake_server_n_accepted(struct fake_server *server);
/* Source port of the n-th connection that was accepted. */
uint16_t fake_server_peer_port(struct fake_server *server, unsigned int n);

/* fake_pattern - what byte number i of the payload of call id is. */
static inline uint8_t fake_pattern(uint32_t id, uint32_t i)
{
	return (uint8_t)(id * 31 + i * 7 + (i >> 8));
}

#endif
