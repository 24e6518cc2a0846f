/* SPDX-License-Identifier: GPL-2.0-or-later */
/* record - see record.h. Bytes are consumed in one place, process(), which runs until what is left
 * in the buffer is less than it needs; every length is checked against record_max before use. */
#include "record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util.h"

enum { MARK_LEN = 4 };
#define MARK_LAST UINT32_C(0x80000000)

int record_init(struct record_reader *reader, const struct record_ops *ops, uint32_t record_max)
{
	*reader = (struct record_reader){ .ops = ops, .record_max = record_max };
	reader->buffer = malloc(RECORD_BUFFER);
	return reader->buffer ? 0 : -ENOMEM;
}

void record_deinit(struct record_reader *reader)
{
	free(reader->buffer);
	free(reader->gather);
	reader->buffer = reader->gather = NULL;
}

static void gather_reset(struct record_reader *reader)
{
	free(reader->gather);
	reader->gather = NULL;
	reader->gather_len = reader->gather_size = 0;
	reader->fragment_left = reader->n_fragments = 0;
	reader->fragment_is_last = false;
}

void record_reset(struct record_reader *reader)
{
	reader->start = reader->end = 0;
	reader->mode = RECORD_BUFFERED;
	reader->payload_left = reader->tail_left = 0;
	reader->payload = NULL;
	gather_reset(reader);
}

static uint32_t buffered(const struct record_reader *reader)
{
	return reader->end - reader->start;
}

static uint32_t mark_at(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Bytes that will certainly go through the buffer: the rest of a small record, or of one that is
 * thrown away. */
static uint32_t buffer_wants(const struct record_reader *reader)
{
	uint32_t len;

	if (reader->mode == RECORD_PLACED)
		return (reader->payload ? 0 : reader->payload_left) + reader->tail_left;
	if (reader->mode == RECORD_GATHER || buffered(reader) < MARK_LEN)
		return 0;
	len = mark_at(reader->buffer + reader->start) & ~MARK_LAST;
	return len < RECORD_PLACE_MIN ? MARK_LEN + len - buffered(reader) : 0;
}

int record_iov(struct record_reader *reader, uint32_t lookahead, struct iovec iov[2])
{
	uint32_t room, wants = buffer_wants(reader);
	int n = 0;

	if (reader->mode == RECORD_PLACED && reader->payload && reader->payload_left)
		iov[n++] = (struct iovec){ reader->payload, reader->payload_left };
	else if (reader->mode == RECORD_GATHER && reader->fragment_left)
		iov[n++] = (struct iovec){ reader->gather + reader->gather_len,
					   reader->fragment_left };
	room = RECORD_BUFFER - reader->end;
	if (lookahead)
		room = (uint32_t)min_size(room, max_size(lookahead, wants));
	iov[n++] = (struct iovec){ reader->buffer + reader->end, room };
	return n;
}

/* Make room behind what is buffered; called when it is not enough to go on with. */
static void compact(struct record_reader *reader)
{
	memmove(reader->buffer, reader->buffer + reader->start, buffered(reader));
	reader->end = buffered(reader);
	reader->start = 0;
}

static uint32_t skip(struct record_reader *reader, uint32_t n)
{
	n = (uint32_t)min_size(n, buffered(reader));
	reader->start += n;
	return n;
}

static uint32_t copy_out(struct record_reader *reader, uint8_t *to, uint32_t n)
{
	n = (uint32_t)min_size(n, buffered(reader));
	memcpy(to, reader->buffer + reader->start, n);
	reader->start += n;
	return n;
}

/* ---- a placed record --------------------------------------------------------------------- */

static void placed_take(struct record_reader *reader, uint32_t n)
{
	reader->payload_left -= n;
	if (reader->payload)
		reader->payload += n;
}

/* 1 when the record is complete and was handed out, 0 if bytes are missing, else -errno. */
static int placed_process(struct record_reader *reader)
{
	int stop;

	if (reader->payload)
		placed_take(reader, copy_out(reader, reader->payload, reader->payload_left));
	else
		placed_take(reader, skip(reader, reader->payload_left));
	if (reader->payload_left)
		return 0;
	reader->tail_left -= skip(reader, reader->tail_left);
	if (reader->tail_left)
		return 0;
	reader->mode = RECORD_BUFFERED;
	stop = reader->ops->message(reader, reader->head, reader->head_len, reader->payload_len);
	return stop ? stop : 1;
}

/* Bytes [start + MARK_LEN, end) are the first of a record of len bytes. */
static int placed_begin(struct record_reader *reader, uint32_t len, const struct placement *where)
{
	if (where->head_len > RECORD_HEAD_MAX || where->head_len > len ||
	    where->payload_len > len - where->head_len ||
	    buffered(reader) - MARK_LEN < where->head_len)
		return -EBADMSG;
	reader->start += MARK_LEN;
	reader->head_len = copy_out(reader, reader->head, where->head_len);
	reader->payload = where->payload;
	reader->payload_len = reader->payload_left = where->payload_len;
	reader->tail_left = len - where->head_len - where->payload_len;
	reader->mode = RECORD_PLACED;
	return 0;
}

void record_forget_payload(struct record_reader *reader)
{
	reader->payload = NULL;
}

/* ---- a gathered record ------------------------------------------------------------------- */

/* The next fragment, its mark at start, has len bytes. */
static int gather_begin(struct record_reader *reader, uint32_t len, bool last)
{
	uint32_t needed = reader->gather_len + len;
	uint8_t *larger;

	if (++reader->n_fragments > RECORD_FRAGMENTS_MAX)
		return -EBADMSG;
	if (needed > reader->gather_size) {
		/* One fragment is the usual case: allocate what it needs, then double. */
		uint32_t size = (uint32_t)max_size(
			needed, min_size((size_t)reader->gather_size * 2, reader->record_max));

		larger = realloc(reader->gather, size);
		if (!larger)
			return -ENOMEM;
		reader->gather = larger;
		reader->gather_size = size;
	}
	reader->start += MARK_LEN;
	reader->fragment_left = len;
	reader->fragment_is_last = last;
	reader->mode = RECORD_GATHER;
	return 0;
}

static void gather_take(struct record_reader *reader, uint32_t n)
{
	reader->gather_len += n;
	reader->fragment_left -= n;
}

/* 1 when a fragment is complete (and handed out, if it was the last), else as placed_process. */
static int gather_process(struct record_reader *reader)
{
	int stop;

	if (reader->fragment_left)
		gather_take(reader, copy_out(reader, reader->gather + reader->gather_len,
					     reader->fragment_left));
	if (reader->fragment_left)
		return 0;
	if (!reader->fragment_is_last)
		return 1;
	reader->mode = RECORD_BUFFERED;
	stop = reader->ops->message(reader, reader->gather, reader->gather_len, 0);
	gather_reset(reader);
	return stop ? stop : 1;
}

/* ---- the stream -------------------------------------------------------------------------- */

/* A single-fragment record of len bytes is not whole yet. */
static int begin_record(struct record_reader *reader, uint32_t len)
{
	const uint8_t *bytes = reader->buffer + reader->start + MARK_LEN;
	struct placement where = { 0 };
	int placed;

	if (len < RECORD_PLACE_MIN)
		return 0;
	placed = reader->ops->begin(reader, bytes, buffered(reader) - MARK_LEN, len, &where);
	if (placed == 0 && buffered(reader) < RECORD_HEAD_MAX)
		return 0;
	if (placed > 0)
		return placed_begin(reader, len, &where) ? -EBADMSG : 1;
	return gather_begin(reader, len, true) ? -ENOMEM : 1;
}

/* Look at the mark in front. 1: go on. 0: more bytes are needed. */
static int next_record(struct record_reader *reader)
{
	const uint8_t *at = reader->buffer + reader->start;
	bool gathering = reader->n_fragments > 0;
	uint32_t mark, len;
	int stop;

	if (buffered(reader) < MARK_LEN)
		return 0;
	mark = mark_at(at);
	len = mark & ~MARK_LAST;
	if (len > reader->record_max - reader->gather_len)
		return -EBADMSG;
	if (gathering || !(mark & MARK_LAST))
		return gather_begin(reader, len, mark & MARK_LAST) ?: 1;
	if (buffered(reader) - MARK_LEN < len)
		return begin_record(reader, len);
	reader->start += MARK_LEN + len;
	stop = reader->ops->message(reader, at + MARK_LEN, len, 0);
	return stop ? stop : 1;
}

static int process_one(struct record_reader *reader)
{
	if (reader->mode == RECORD_PLACED)
		return placed_process(reader);
	if (reader->mode == RECORD_GATHER && (reader->fragment_left || reader->fragment_is_last))
		return gather_process(reader);
	return next_record(reader);
}

static int process(struct record_reader *reader)
{
	int more;

	do
		more = process_one(reader);
	while (more > 0);
	if (more == 0)
		compact(reader);
	return more;
}

int record_advance(struct record_reader *reader, size_t n)
{
	size_t direct = 0;

	if (reader->mode == RECORD_PLACED && reader->payload) {
		direct = min_size(n, reader->payload_left);
		placed_take(reader, (uint32_t)direct);
	} else if (reader->mode == RECORD_GATHER) {
		direct = min_size(n, reader->fragment_left);
		gather_take(reader, (uint32_t)direct);
	}
	reader->end += (uint32_t)(n - direct);
	return process(reader);
}
