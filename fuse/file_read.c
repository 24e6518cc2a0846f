/* SPDX-License-Identifier: GPL-2.0-or-later */
/* file_read - read(2): what is pending goes to the server first, and a READ that it answers in part is
 * completed by others. */
#include <errno.h>
#include <string.h>

#include "../conn/util.h"
#include "buffer.h"
#include "file.h"
#include "lock.h"
#include "ops.h"
#include "shortread.h"
#include "udp.h"
#include "wback.h"

static void send_read(struct request *request);

static void reply_read(struct request *request, const void *data, size_t size)
{
	uint8_t *buffer = request->op.read.buffer;

	shortread_reply(request, data, size);
	buffer_put(buffer);
}

static void fail_read(struct request *request, int error)
{
	uint8_t *buffer = request->op.read.buffer;

	if (error == -ESTALE)
		attr_expire(request->inode);
	shortread_reply_err(request, error);
	buffer_put(buffer);
}

static uint8_t *read_buffer(struct request *request)
{
	if (!request->op.read.buffer)
		request->op.read.buffer = buffer_get(request->op.read.size);
	return request->op.read.buffer;
}

/* Where a large reply's payload goes: made only now, so that memory is held for what is arriving,
 * not for what is asked. */
static int place_read(struct call *call, const uint8_t *results, uint32_t have,
		      struct placement *ret_where)
{
	struct request *request = container_of(call, struct request, call);
	uint32_t head_len, count;
	int placed = nfs3_read_place(results, have, request->op.read.asked, &head_len, &count);

	if (placed <= 0)
		return placed;
	if (!read_buffer(request))
		return -ENOMEM;
	*ret_where = (struct placement){
		.head_len = head_len,
		.payload = request->op.read.buffer + request->op.read.got,
		.payload_len = count,
	};
	return 1;
}

/* Part of what was asked, to be completed by further READs. False without memory. */
static bool keep_part(struct request *request, const struct nfs3_read *result)
{
	if (result->data) {
		if (!read_buffer(request))
			return false;
		memcpy(request->op.read.buffer + request->op.read.got, result->data, result->count);
	}
	request->op.read.got += result->count;
	return true;
}

static void sent_for_read(struct wback_wait *wait, int error)
{
	struct request *request = container_of(wait, struct request, wait);

	if (error)
		fail_read(request, error);
	else
		send_read(request);
}

/* What is pending in [start, end) goes to the server first. */
static bool wait_for_pending(struct request *request, uint64_t start, uint64_t end)
{
	if (!wback_is_pending(request->inode, start, end))
		return false;
	request_track(request);
	request->wait.done = sent_for_read;
	request->wait.until_ns = INT64_MAX;
	return !wback_send(request->inode, &request->wait);
}

/* The server may have been restarted while it was asked, and have read from before what it forgot. */
static bool is_doubtful(struct request *request)
{
	return request->op.read.unstable &&
	       request->op.read.losses != pool_n_losses(request->fs->pool);
}

static bool is_all_to_read(struct request *request, const struct nfs3_read *result)
{
	return result->count == request->op.read.size || (result->eof && !request->op.read.extended);
}

/* Of the file as the server had it. */
static void end_of_file(struct request *request)
{
	uint64_t end = request->op.read.offset + request->op.read.got;

	if (!request->op.read.extended)
		reply_read(request, request->op.read.buffer, request->op.read.got);
	else if (!wait_for_pending(request, end, UINT64_MAX))
		send_read(request);
}

static void read_done(struct request *request, int error)
{
	struct fs *fs = request->fs;
	struct nfs3_read result;
	uint32_t size = request->op.read.size;

	if (!error)
		error = request_decoded(request, nfs3_read_decode(&request->call,
								  request->op.read.asked, &result));
	if (error) {
		fail_read(request, error);
		return;
	}
	if (result.attr.valid)
		attr_apply(&fs->attr_policy, request->inode, &result.attr.attr, request->stamp,
			   fs_now_ns());
	if (is_doubtful(request) && !request_answered(request)) {
		if (!wait_for_pending(request, request->op.read.offset,
				      request->op.read.offset + size))
			send_read(request);
		return;
	}
	if (result.data && !request->op.read.got && is_all_to_read(request, &result)) {
		reply_read(request, result.data, result.count); /* from where it was received */
		return;
	}
	if (!keep_part(request, &result)) {
		fail_read(request, -ENOMEM);
		return;
	}
	/* Never short but at the end of the file: the kernel would take it for that. */
	if (request->op.read.got == size || request_answered(request))
		reply_read(request, request->op.read.buffer, request->op.read.got);
	else if (!result.eof)
		send_read(request);
	else
		end_of_file(request);
}

static void send_read(struct request *request)
{
	struct call *call = request_call(request);
	uint32_t left = request->op.read.size - request->op.read.got;
	int error;

	request->op.read.asked = (uint32_t)min_size(left, request->fs->rsize);
	request->op.read.extended = wback_is_pending(
		request->inode, request->op.read.offset + request->op.read.got, UINT64_MAX);
	request->op.read.unstable = wback_is_unstable(request->inode);
	request->op.read.losses = pool_n_losses(request->fs->pool);
	call->place = place_read;
	call->key = request->inode->fileid;
	error = nfs3_read_encode(call, &request->cred, inode_fh(request->inode),
				 request->op.read.offset + request->op.read.got,
				 request->op.read.asked);
	udp_transfer(request->fs, call, request->op.read.asked, request->fs->rsize);
	request_send(request, error, read_done);
}

void file_read_sent(struct request *request)
{
	send_read(request);
}

void file_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
	       struct fuse_file_info *fi)
{
	struct request *request = request_new(req, ino);

	if (!request)
		return;
	file_note_pages(request);
	if (lock_is_lost(request->inode)) {
		request_reply_err(request, -EIO);
		return;
	}
	request->cred = file_of(fi)->cred; /* a copy: the file may be closed before all is read */
	request->op.read.size = (uint32_t)size;
	request->op.read.offset = (uint64_t)offset;
	if (size == 0) {
		request_reply_buf(request, NULL, 0);
		return;
	}
	shortread_begin(request);
	if (!wait_for_pending(request, request->op.read.offset, request->op.read.offset + size) &&
		 !prefetch_read(request, file_of(fi)))
		send_read(request);
}
