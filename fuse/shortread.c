/* SPDX-License-Identifier: GPL-2.0-or-later */
/* shortread - see shortread.h. */
#include "shortread.h"

#include <errno.h>
#include <string.h>

#include "../conn/util.h"
#include "buffer.h"

void shortread_begin(struct request *request)
{
	struct inode *inode = request->inode;
	struct read_mark *mark = &request->op.read.mark;

	mark->offset = request->op.read.offset;
	mutex_lock(&inode->lock);
	mark->seq = inode->read_seq++;
	LIST_INSERT_HEAD(&inode->reads, mark, link);
	mutex_unlock(&inode->lock);
}

/* Whoever came after it was short is not waited for: somebody may come all the time. */
static bool has_predecessor(const struct inode *inode, const struct request *request)
{
	const struct read_mark *mark;

	LIST_FOREACH(mark, &inode->reads, link)
		if (mark->offset < request->op.read.offset && mark->seq < request->op.read.short_seq)
			return true;
	return false;
}

/* One that has waited long enough, that with the smallest offset; NULL. */
static struct request *take_ready(struct inode *inode) REQUIRES(inode->lock)
{
	struct request *ready = NULL;
	struct read_mark *mark;

	LIST_FOREACH(mark, &inode->reads, link)
		if (mark->waiting && !has_predecessor(inode, mark->waiting) &&
		    (!ready || mark->offset < ready->op.read.offset))
			ready = mark->waiting;
	if (ready)
		ready->op.read.mark.waiting = NULL;
	return ready;
}

/* The mark stays until the kernel has the reply. Returns the next one that may go. */
static struct request *reply_short(struct request *request, const void *data, size_t size)
{
	struct inode *inode = inode_ref(request->inode);
	struct inode_table *table = request->fs->inodes;
	struct read_mark mark = { .offset = request->op.read.offset, .seq = request->op.read.mark.seq };
	uint8_t *held = request->op.read.held;
	struct request *next;

	mutex_lock(&inode->lock);
	LIST_REMOVE(&request->op.read.mark, link);
	LIST_INSERT_HEAD(&inode->reads, &mark, link);
	mutex_unlock(&inode->lock);
	request_reply_buf(request, data, size);
	buffer_put(held);
	mutex_lock(&inode->lock);
	LIST_REMOVE(&mark, link);
	next = take_ready(inode);
	mutex_unlock(&inode->lock);
	inode_put(table, inode);
	return next;
}

static void go_on(struct request *request)
{
	while (request)
		request = reply_short(request, request->op.read.held, request->op.read.held_len);
}

/* What follows does not depend on this one's reply. */
static struct request *take_out(struct request *request)
{
	struct inode *inode = request->inode;
	struct request *next;

	mutex_lock(&inode->lock);
	LIST_REMOVE(&request->op.read.mark, link);
	next = take_ready(inode);
	mutex_unlock(&inode->lock);
	return next;
}

/* Without memory for its data the order does not matter. */
static bool hold_back(struct request *request, const void *data, size_t size)
{
	struct inode *inode = request->inode;
	bool waits;

	mutex_lock(&inode->lock);
	request->op.read.short_seq = inode->read_seq;
	waits = has_predecessor(inode, request);
	mutex_unlock(&inode->lock);
	if (!waits || (size && !(request->op.read.held = buffer_get(size))))
		return false;
	if (size)
		memcpy(request->op.read.held, data, size);
	request->op.read.held_len = size;
	mutex_lock(&inode->lock);
	waits = has_predecessor(inode, request);
	if (waits)
		request->op.read.mark.waiting = request;
	mutex_unlock(&inode->lock);
	return waits;
}

void shortread_reply(struct request *request, const void *data, size_t size)
{
	struct request *next;

	if (size < request->op.read.size) {
		if (!hold_back(request, data, size))
			go_on(reply_short(request, data, size));
		return;
	}
	next = take_out(request);
	request_reply_buf(request, data, size);
	go_on(next);
}

void shortread_reply_err(struct request *request, int error)
{
	struct request *next = take_out(request);

	request_reply_err(request, error);
	go_on(next);
}
