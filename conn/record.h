/* SPDX-License-Identifier: GPL-2.0-or-later */
/* record - RPC record marking on a byte stream (RFC 5531 section 11), receiving side.
 *
 * The reader says where the next bytes of the stream shall be received (record_iov), is told how
 * many came (record_advance), and hands out whole records. It owns no socket and reads no clock.
 * One large receive takes many small records, which are handed out where they lie. A large record
 * is offered to begin() as soon as its first bytes are there, and what begin() places goes straight
 * to its destination. A record that is neither small, nor whole, nor placed, and one of several
 * fragments, is gathered in a buffer of its own, never larger than record_max.
 *
 * Used by one thread at a time. */
#ifndef CONN_RECORD_H
#define CONN_RECORD_H

#include <stdint.h>
#include <sys/uio.h>

#include "conn.h"

struct record_reader;

struct record_ops {
	/* A whole record, bytes[0..len) without the mark and without the placed payload of `placed`
	 * bytes; valid until it returns. Not 0: stop, the stream is done with. */
	int (*message)(struct record_reader *reader, const uint8_t *bytes, uint32_t len,
		       uint32_t placed);
	/* A record of len bytes has begun to arrive, `have` of them are at bytes[]. 1: *ret_where
	 * places its payload (head_len counts from the record's start). 0: more bytes are needed to
	 * tell. -errno: gather it. */
	int (*begin)(struct record_reader *reader, const uint8_t *bytes, uint32_t have,
		     uint32_t len, struct placement *ret_where);
};

enum {
	RECORD_BUFFER = 64 * 1024,      /* the receive buffer */
	RECORD_PLACE_MIN = 16 * 1024,   /* smaller records wait in the buffer until they are whole */
	RECORD_HEAD_MAX = 1024,         /* of a placed record, before its payload */
	RECORD_FRAGMENTS_MAX = 4096,    /* in one record; more is an attack */
	RECORD_LOOKAHEAD = 4096,        /* received behind a payload while more payloads follow */
};

enum record_mode {
	RECORD_BUFFERED, /* the next record is in the buffer or yet to come */
	RECORD_PLACED,   /* head[] is complete; payload, then tail, are arriving */
	RECORD_GATHER,   /* fragments are arriving in gather[] */
};

struct record_reader {
	const struct record_ops *ops;
	uint32_t record_max;      /* bytes in one record; more breaks the stream */

	uint8_t *buffer;          /* RECORD_BUFFER bytes; [start, end) is received and not consumed */
	uint32_t start, end;

	enum record_mode mode;
	uint8_t head[RECORD_HEAD_MAX];
	uint32_t head_len;
	uint8_t *payload;         /* next byte goes here; NULL: the payload is thrown away */
	uint32_t payload_len;     /* in all */
	uint32_t payload_left;
	uint32_t tail_left;       /* padding and whatever follows the payload: skipped */

	uint8_t *gather;
	uint32_t gather_len, gather_size;
	uint32_t fragment_left;
	uint32_t n_fragments;
	bool fragment_is_last;
};

/* record_init - 0 or -ENOMEM. record_deinit - frees buffers. record_reset - for a new stream. */
int record_init(struct record_reader *reader, const struct record_ops *ops, uint32_t record_max);
void record_deinit(struct record_reader *reader);
void record_reset(struct record_reader *reader);

/* record_iov - where to receive; returns the number of iovecs, 1 or 2. lookahead: how many bytes
 * may be taken into the buffer (0: as many as fit). */
int record_iov(struct record_reader *reader, uint32_t lookahead, struct iovec iov[2]);
/* record_advance - n bytes came, n > 0. 0, -EBADMSG when the stream breaks the rules, -ENOMEM, or
 * what message() returned. */
int record_advance(struct record_reader *reader, size_t n);
/* record_forget_payload - the payload that is being placed has lost its destination. */
void record_forget_payload(struct record_reader *reader);

#endif
