/* SPDX-License-Identifier: GPL-2.0-or-later */
/* wback_write - see wback.h. How a write(2) comes in: it joins what was written before and was not sent
 * yet, or becomes a range, once there is memory for it. */
#include <errno.h>
#include <time.h>

#include "wback_inode.h"

void wback_dropped(struct range *range, int error)
{
	struct request *request = range->request;

	range_free(range);
	request_reply_err(request, error);
}

static void note_writer_locked(struct wback *wback, const struct cred *cred) REQUIRES(wback->lock)
{
	wback->cred = *cred;
	clock_gettime(CLOCK_REALTIME_COARSE, &wback->written_at);
}

/* Takes the range in; true: its request, which is no longer its own, may be answered. */
static bool take_in(struct wback *wback, struct range *range)
{
	bool behind, must_pin;

	mutex_lock(&wback->lock);
	behind = range->behind && range->stable == NFS3_UNSTABLE &&
		 wback->lists.n_waiting < WBACK_BEHIND_MAX;
	if (behind)
		range->request = NULL;
	wback_lists_add(&wback->lists, range);
	note_writer_locked(wback, &range->cred);
	must_pin = wback_must_pin_locked(wback);
	mutex_unlock(&wback->lock);
	if (must_pin)
		wback_pin(wback);
	return behind;
}

/* It may be done, and its request with it, before this returns. */
void wback_admitted(struct range *range)
{
	struct request *request = range->request;
	struct inode *inode = inode_ref(request->inode);
	struct wback *wback = wback_of(inode);
	struct fs *fs = wback->fs;

	if (take_in(wback, range))
		request_reply_write(request, request->op.write.size);
	wback_advance(wback);
	inode_put(fs->inodes, inode);
}

/* A larger buffer for what gathers small writes, charged. */
static struct range_buffer *new_room(struct fs *fs, const struct range *host, uint64_t end)
{
	struct range_buffer *room = range_buffer_for(host, end);

	if (room && !wback_pool_charge(fs->wback, room->charge)) {
		range_buffer_free(room);
		room = NULL;
	}
	return room;
}

/* Added to what was written just before? FULL: nothing more can be. */
enum absorbed { NOT_ABSORBED, NO_ROOM, ABSORBED, ABSORBED_FULL };

/* *room: a buffer to move to, if need be; the one that is free afterwards. host_copy: if there is no
 * room, the host as it was. */
static enum absorbed absorb_once(struct wback *wback, const struct cred *cred, const char *data,
				 size_t size, uint64_t offset, struct range_buffer **room,
				 struct range *host_copy)
{
	enum absorbed absorbed = NOT_ABSORBED;
	struct range *host;

	mutex_lock(&wback->lock);
	host = wback_lists_host(&wback->lists, offset, size, cred);
	if (host && !range_has_room(host, offset, size) && *room)
		*room = range_move(host, *room);
	if (host && !range_has_room(host, offset, size)) {
		*host_copy = *host;
		absorbed = NO_ROOM;
	} else if (host) {
		range_absorb(host, data, size, offset);
		note_writer_locked(wback, cred);
		absorbed = range_is_full(host) ? ABSORBED_FULL : ABSORBED;
	}
	mutex_unlock(&wback->lock);
	return absorbed;
}

/* Add it to what was written just before and has not been sent. */
static enum absorbed absorb(struct wback *wback, const struct cred *cred, const char *data, size_t size,
			    uint64_t offset)
{
	struct range_buffer *room = NULL;
	struct range host;
	enum absorbed absorbed = absorb_once(wback, cred, data, size, offset, &room, &host);

	if (absorbed != NO_ROOM)
		return absorbed;
	room = new_room(wback->fs, &host, offset + size);
	if (room)
		absorbed = absorb_once(wback, cred, data, size, offset, &room, &host);
	if (room)
		wback_pool_discharge(wback->fs->wback, room->charge);
	range_buffer_free(room);
	return absorbed;
}

static void write_range(struct request *request, const struct cred *cred, const char *data,
			size_t size, uint64_t offset, enum wback_how how)
{
	struct range *range = range_new(request->fs, data, size, offset);

	if (!range) {
		request_reply_err(request, -ENOMEM);
		return;
	}
	range->cred = *cred;
	range->stable = how == WBACK_STABLE ? NFS3_FILE_SYNC : NFS3_UNSTABLE;
	range->behind = how == WBACK_BEHIND;
	range->request = request;
	request_track(request);
	if (wback_pool_admit(request->fs->wback, range))
		wback_admitted(range);
}

void wback_write(struct request *request, const struct cred *cred, const char *data, size_t size,
		 uint64_t offset, enum wback_how how)
{
	struct fs *fs = request->fs;
	int error = wback_refusal(fs);
	struct wback *wback = error ? NULL : wback_get(fs, request->inode);
	enum absorbed absorbed = NOT_ABSORBED;

	if (!wback) {
		request_reply_err(request, error ? error : -ENOMEM);
		return;
	}
	request->op.write.size = size;
	if (how == WBACK_BEHIND)
		absorbed = absorb(wback, cred, data, size, offset);
	if (absorbed < ABSORBED) {
		write_range(request, cred, data, size, offset, how);
		return;
	}
	if (absorbed == ABSORBED_FULL)
		wback_advance(wback); /* the request keeps the inode */
	request_reply_write(request, size);
}
