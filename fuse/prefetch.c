/* SPDX-License-Identifier: GPL-2.0-or-later */
/* prefetch - see prefetch.h. */
#include "prefetch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "file.h"
#include "readahead.h"
#include "shortread.h"
#include "udp.h"
#include "wback.h"

static const int64_t IDLE_NS = 5 * NS_PER_S;
static const int64_t EVICT_NS = 1 * NS_PER_S; /* not read for so long: others may have its memory */

enum block_state { BLOCK_IN_FLIGHT, BLOCK_READY, BLOCK_FAILED };

struct prefetch_block {
	struct call call;
	uint32_t head[CALL_HEAD_SMALL / 4];
	struct fs *fs;
	struct inode *inode;         /* pinned while in flight */
	uint64_t offset;
	uint32_t asked;
	uint64_t seq, stamp;
	uint8_t *buffer;             /* the call's, and then constant */

	/* Under prefetch->lock. */
	enum block_state state;
	unsigned int refs;           /* its file's, the call's, and of each request that wants it */
	struct prefetch_file *owner; /* NULL: dropped */
	uint32_t len, consumed;
	bool eof;
	uint64_t charge;
	SLIST_HEAD(, request) waiting;
	TAILQ_ENTRY(prefetch_block) link;   /* of the owner */
	STAILQ_ENTRY(prefetch_block) chain; /* to be sent, or to be freed */
};

STAILQ_HEAD(chain, prefetch_block);

struct prefetch {
	struct fs *fs;
	_Atomic(bool) enabled;
	struct mutex lock; /* guards what follows, and blocks and files */
	uint64_t bytes;
	unsigned int n_files;
	TAILQ_HEAD(, prefetch_file) files; /* that have blocks; who read last is the last */
};

/* ---- blocks ------------------------------------------------------------------------------ */

static uint64_t charge_of(uint32_t size)
{
	return size > BUFFER_LARGE_MIN ? BUFFER_LARGE + BUFFER_PAGE : size + 2 * BUFFER_PAGE;
}

static void free_all(struct chain *garbage)
{
	struct prefetch_block *block;

	while ((block = STAILQ_FIRST(garbage))) {
		STAILQ_REMOVE_HEAD(garbage, chain);
		buffer_put(block->buffer);
		free(block);
	}
}

static void unref_locked(struct prefetch *prefetch, struct prefetch_block *block,
			 struct chain *garbage) REQUIRES(prefetch->lock)
{
	if (--block->refs)
		return;
	prefetch->bytes -= block->charge;
	STAILQ_INSERT_TAIL(garbage, block, chain);
}

static void unlist_locked(struct prefetch *prefetch, struct prefetch_file *file)
	REQUIRES(prefetch->lock)
{
	TAILQ_REMOVE(&prefetch->files, file, link);
	file->listed = false;
	prefetch->n_files--;
}

static void drop_locked(struct prefetch *prefetch, struct prefetch_block *block,
			struct chain *garbage) REQUIRES(prefetch->lock)
{
	struct prefetch_file *file = block->owner;

	TAILQ_REMOVE(&file->blocks, block, link);
	block->owner = NULL;
	if (TAILQ_EMPTY(&file->blocks))
		unlist_locked(prefetch, file);
	unref_locked(prefetch, block, garbage);
}

static void drop_all_locked(struct prefetch *prefetch, struct prefetch_file *file,
			    struct chain *garbage) REQUIRES(prefetch->lock)
{
	while (file->listed)
		drop_locked(prefetch, TAILQ_FIRST(&file->blocks), garbage);
	file->ahead = 0;
}

/* Those of another state of the file, and those that the reader is past. */
static void drop_old_locked(struct prefetch *prefetch, struct prefetch_file *file, uint64_t seq,
			    struct chain *garbage) REQUIRES(prefetch->lock)
{
	struct prefetch_block *block, *next;

	if (!file->listed)
		return;
	for (block = TAILQ_FIRST(&file->blocks); block; block = next) {
		next = TAILQ_NEXT(block, link);
		if (block->seq != seq ||
		    block->offset + block->asked + PREFETCH_BEHIND < file->window.next)
			drop_locked(prefetch, block, garbage);
	}
	if (!file->listed)
		file->ahead = 0;
}

/* ---- fetching ---------------------------------------------------------------------------- */

static void advance(struct request *request);

static int place_block(struct call *call, const uint8_t *results, uint32_t have,
		       struct placement *ret_where)
{
	struct prefetch_block *block = container_of(call, struct prefetch_block, call);
	uint32_t head_len, count;
	int placed = nfs3_read_place(results, have, block->asked, &head_len, &count);

	if (placed <= 0)
		return placed;
	if (!block->buffer)
		block->buffer = buffer_get(block->asked);
	if (!block->buffer)
		return -ENOMEM;
	*ret_where = (struct placement){
		.head_len = head_len, .payload = block->buffer, .payload_len = count,
	};
	return 1;
}

static int take_reply(struct prefetch_block *block, struct nfs3_read *ret_result)
{
	int error = block->call.status;

	if (!error)
		error = nfs3_read_decode(&block->call, block->asked, ret_result);
	if (error == -EBADMSG)
		call_bad_reply(&block->call, "results break the protocol");
	if (error)
		return error;
	if (ret_result->attr.valid && !attr_apply(&block->fs->attr_policy, block->inode,
						  &ret_result->attr.attr, block->stamp, fs_now_ns()))
		return -ESTALE;
	if (!ret_result->data || !ret_result->count)
		return 0;
	if (!block->buffer)
		block->buffer = buffer_get(block->asked);
	if (!block->buffer)
		return -ENOMEM;
	memcpy(block->buffer, ret_result->data, ret_result->count);
	return 0;
}

static void block_done(struct call *call)
{
	struct prefetch_block *block = container_of(call, struct prefetch_block, call);
	struct fs *fs = block->fs;
	struct prefetch *prefetch = fs->prefetch;
	struct inode *inode = block->inode;
	struct chain garbage = STAILQ_HEAD_INITIALIZER(garbage);
	SLIST_HEAD(, request) waiting;
	struct request *request;
	struct nfs3_read result = { 0 };
	int error = take_reply(block, &result);

	mutex_lock(&prefetch->lock);
	block->state = error ? BLOCK_FAILED : BLOCK_READY;
	block->len = result.count;
	block->eof = result.eof;
	SLIST_FIRST(&waiting) = SLIST_FIRST(&block->waiting);
	SLIST_INIT(&block->waiting);
	if (error && block->owner) {
		prefetch_window_stop(&block->owner->window);
		drop_locked(prefetch, block, &garbage);
	}
	unref_locked(prefetch, block, &garbage);
	mutex_unlock(&prefetch->lock);
	free_all(&garbage);
	while ((request = SLIST_FIRST(&waiting))) {
		SLIST_REMOVE_HEAD(&waiting, waiting_link);
		advance(request);
	}
	inode_put(fs->inodes, inode);
}

/* Impatient: who waits for it sends a READ of his own when the server does not answer, and that has
 * the deadline it should have. */
static void send_all(struct prefetch *prefetch, struct request *request, struct chain *fresh)
{
	struct prefetch_block *block;

	while ((block = STAILQ_FIRST(fresh))) {
		struct call *call = &block->call;

		STAILQ_REMOVE_HEAD(fresh, chain);
		call_init(call);
		call->head = (uint8_t *)block->head;
		call->head_size = sizeof(block->head);
		call->done = block_done;
		call->place = place_block;
		call->status = nfs3_read_encode(call, &request->cred, inode_fh(block->inode),
						block->offset, block->asked);
		udp_transfer(prefetch->fs, call, block->asked, prefetch->fs->rsize);
		call->key = block->inode->fileid;
		call->deadline_ns = fs_deadline_ns(prefetch->fs, fs_now_ns());
		call->impatient = true;
		block->stamp = attr_stamp();
		if (call->status)
			block_done(call);
		else
			pool_submit(prefetch->fs->pool, call);
	}
}

static struct prefetch_block *block_new(struct prefetch *prefetch, struct inode *inode,
					uint64_t seq, uint64_t offset, uint32_t size)
{
	struct prefetch_block *block = malloc(sizeof(*block));

	if (!block)
		return NULL;
	block->fs = prefetch->fs;
	block->inode = inode_ref(inode);
	block->offset = offset;
	block->asked = size;
	block->seq = seq;
	block->buffer = NULL;
	block->state = BLOCK_IN_FLIGHT;
	block->refs = 2;
	block->len = block->consumed = 0;
	block->eof = false;
	block->charge = charge_of(size);
	SLIST_INIT(&block->waiting);
	return block;
}

static void own_locked(struct prefetch *prefetch, struct prefetch_file *file,
		       struct prefetch_block *block) REQUIRES(prefetch->lock)
{
	if (!file->listed) {
		TAILQ_INIT(&file->blocks);
		TAILQ_INSERT_TAIL(&prefetch->files, file, link);
		file->listed = true;
		prefetch->n_files++;
	}
	block->owner = file;
	TAILQ_INSERT_TAIL(&file->blocks, block, link);
	prefetch->bytes += block->charge;
}

static bool make_room_locked(struct prefetch *prefetch, uint64_t bytes, int64_t now_ns,
			     struct chain *garbage) REQUIRES(prefetch->lock)
{
	uint64_t limit = prefetch->fs->options->cachesize;
	struct prefetch_file *oldest;

	while (prefetch->bytes + bytes > limit) {
		oldest = TAILQ_FIRST(&prefetch->files);
		if (!oldest || now_ns - oldest->used_ns < EVICT_NS)
			return false;
		drop_all_locked(prefetch, oldest, garbage);
		prefetch_window_stop(&oldest->window);
	}
	return true;
}

static uint64_t window_max_locked(struct prefetch *prefetch) REQUIRES(prefetch->lock)
{
	const struct options *options = prefetch->fs->options;
	uint64_t share = options->cachesize / (prefetch->n_files ? prefetch->n_files : 1);
	uint64_t most = readahead_bytes(options);

	return share < most ? share : most;
}

static void extend_locked(struct prefetch *prefetch, struct prefetch_file *file,
			  struct inode *inode, uint64_t seq, uint64_t file_size,
			  struct chain *fresh, struct chain *garbage) REQUIRES(prefetch->lock)
{
	uint64_t want = prefetch_window_ahead(&file->window, window_max_locked(prefetch));
	uint64_t target = file->window.next + want, end;
	struct prefetch_block *block;

	if (file->ahead < file->window.next)
		file->ahead = file->window.next;
	for (; file->ahead < target; file->ahead = end) {
		end = prefetch_window_block(file->ahead, prefetch->fs->rsize, file_size);
		if (end <= file->ahead ||
		    !make_room_locked(prefetch, charge_of((uint32_t)(end - file->ahead)),
				      file->used_ns, garbage))
			return;
		block = block_new(prefetch, inode, seq, file->ahead, (uint32_t)(end - file->ahead));
		if (!block)
			return;
		own_locked(prefetch, file, block);
		STAILQ_INSERT_TAIL(fresh, block, chain);
	}
}

/* ---- answering --------------------------------------------------------------------------- */

static struct prefetch_block *find_locked(struct prefetch *prefetch, struct prefetch_file *file,
					  uint64_t offset) REQUIRES(prefetch->lock)
{
	struct prefetch_block *block;

	if (!file->listed)
		return NULL;
	TAILQ_FOREACH(block, &file->blocks, link)
		if (offset >= block->offset && offset - block->offset < block->asked)
			return block;
	return NULL;
}

/* The one or two blocks that the request lies in; false: they are not there. */
static bool pin_locked(struct prefetch *prefetch, struct prefetch_file *file,
		       struct request *request) REQUIRES(prefetch->lock)
{
	uint64_t offset = request->op.read.offset, end;
	struct prefetch_block *first = find_locked(prefetch, file, offset), *second = NULL;

	if (!first)
		return false;
	end = first->offset + first->asked;
	if (offset + request->op.read.size > end) {
		second = find_locked(prefetch, file, end);
		/* Behind the last block there may be nothing but the end of the file. */
		if (second && offset + request->op.read.size > second->offset + second->asked)
			return false;
	}
	first->refs++;
	if (second)
		second->refs++;
	request->op.read.from[0] = first;
	request->op.read.from[1] = second;
	return true;
}

static void unpin(struct prefetch *prefetch, struct prefetch_block *const from[2],
		  const uint32_t used[2])
{
	struct chain garbage = STAILQ_HEAD_INITIALIZER(garbage);

	mutex_lock(&prefetch->lock);
	for (unsigned int i = 0; i < 2 && from[i]; i++) {
		from[i]->consumed += used[i];
		if (from[i]->owner && from[i]->state == BLOCK_READY &&
		    from[i]->consumed >= from[i]->len)
			drop_locked(prefetch, from[i], &garbage);
		unref_locked(prefetch, from[i], &garbage);
	}
	mutex_unlock(&prefetch->lock);
	free_all(&garbage);
}

/* How much of the request each block has. False: not all that there is. */
static bool divide(struct request *request, uint32_t used[2])
{
	uint64_t at = request->op.read.offset;
	uint32_t left = request->op.read.size;

	for (unsigned int i = 0; i < 2 && left; i++) {
		const struct prefetch_block *block = request->op.read.from[i];
		uint64_t end;

		if (!block || block->state != BLOCK_READY ||
		    block->seq != atomic_load(&request->inode->contents_seq))
			return false;
		end = block->offset + block->len;
		used[i] = at < end ? (uint32_t)min_size(left, end - at) : 0;
		at += used[i];
		left -= used[i];
		if (block->eof)
			return true;
		if (left && block->len < block->asked)
			return false;
	}
	return !left;
}

static void reply(struct request *request, struct prefetch_block *const from[2],
		  const uint32_t used[2])
{
	uint32_t skip = (uint32_t)(request->op.read.offset - from[0]->offset);
	uint8_t *joined;

	if (!used[0] && !used[1]) {
		shortread_reply(request, NULL, 0);
		return;
	}
	if (!used[1]) {
		shortread_reply(request, from[0]->buffer + skip, used[0]);
		return;
	}
	joined = buffer_get(used[0] + used[1]);
	if (!joined) {
		file_read_sent(request);
		return;
	}
	memcpy(joined, from[0]->buffer + skip, used[0]);
	memcpy(joined + used[0], from[1]->buffer, used[1]);
	shortread_reply(request, joined, used[0] + used[1]);
	buffer_put(joined);
}

/* Both blocks have been answered, one way or the other. */
static void finish(struct request *request)
{
	struct prefetch *prefetch = request->fs->prefetch;
	struct prefetch_block *from[2] = { request->op.read.from[0], request->op.read.from[1] };
	uint32_t used[2] = { 0, 0 };

	if (request_answered(request))
		shortread_reply_err(request, -EINTR);
	else if (divide(request, used))
		reply(request, from, used);
	else
		file_read_sent(request);
	unpin(prefetch, from, used);
}

static bool waits(struct prefetch *prefetch, struct request *request)
{
	struct prefetch_block *block;
	bool found = false;

	mutex_lock(&prefetch->lock);
	for (unsigned int i = 0; i < 2 && !found; i++) {
		block = request->op.read.from[i];
		found = block && block->state == BLOCK_IN_FLIGHT;
		if (found)
			SLIST_INSERT_HEAD(&block->waiting, request, waiting_link);
	}
	mutex_unlock(&prefetch->lock);
	return found;
}

static void advance(struct request *request)
{
	if (!waits(request->fs->prefetch, request))
		finish(request);
}

/* ---- what others call -------------------------------------------------------------------- */

static bool may_prefetch(struct inode *inode, uint64_t *ret_size)
{
	bool may;

	mutex_lock(&inode->lock);
	may = inode->has_attr && !inode->n_open_write && !inode->n_writing;
	*ret_size = inode->attr.size;
	mutex_unlock(&inode->lock);
	/* A writer that was killed may have left data behind, where the server's file has ended. */
	return may && !wback_is_pending(inode, 0, UINT64_MAX);
}

bool prefetch_read(struct request *request, struct file *file)
{
	struct prefetch *prefetch = request->fs->prefetch;
	struct prefetch_file *mine = &file->prefetch;
	struct chain fresh = STAILQ_HEAD_INITIALIZER(fresh);
	struct chain garbage = STAILQ_HEAD_INITIALIZER(garbage);
	uint64_t seq = atomic_load(&request->inode->contents_seq), file_size;
	bool up = pool_server_state(request->fs->pool) == SERVER_UP, pinned;

	if (!prefetch->enabled || (file->flags & O_DIRECT) || !may_prefetch(request->inode, &file_size))
		return false;
	mutex_lock(&prefetch->lock);
	mine->used_ns = fs_now_ns();
	if (!prefetch_window_note(&mine->window, request->op.read.offset, request->op.read.size) &&
	    mine->listed) {
		prefetch_window_wasted(&mine->window);
		drop_all_locked(prefetch, mine, &garbage);
	}
	drop_old_locked(prefetch, mine, seq, &garbage);
	pinned = pin_locked(prefetch, mine, request);
	if (up)
		extend_locked(prefetch, mine, request->inode, seq, file_size, &fresh, &garbage);
	if (mine->listed) {
		TAILQ_REMOVE(&prefetch->files, mine, link);
		TAILQ_INSERT_TAIL(&prefetch->files, mine, link);
	}
	mutex_unlock(&prefetch->lock);
	send_all(prefetch, request, &fresh);
	free_all(&garbage);
	if (!pinned)
		return false;
	request_track(request);
	advance(request);
	return true;
}

void prefetch_close(struct prefetch *prefetch, struct file *file)
{
	struct chain garbage = STAILQ_HEAD_INITIALIZER(garbage);

	mutex_lock(&prefetch->lock);
	drop_all_locked(prefetch, &file->prefetch, &garbage);
	mutex_unlock(&prefetch->lock);
	free_all(&garbage);
}

void prefetch_tick(struct prefetch *prefetch, int64_t now_ns)
{
	struct chain garbage = STAILQ_HEAD_INITIALIZER(garbage);
	struct prefetch_file *oldest;

	mutex_lock(&prefetch->lock);
	while ((oldest = TAILQ_FIRST(&prefetch->files)) && now_ns - oldest->used_ns >= IDLE_NS) {
		drop_all_locked(prefetch, oldest, &garbage);
		prefetch_window_stop(&oldest->window);
	}
	mutex_unlock(&prefetch->lock);
	free_all(&garbage);
}

void prefetch_enable(struct prefetch *prefetch, bool enabled)
{
	prefetch->enabled = enabled;
}

struct prefetch *prefetch_new(struct fs *fs)
{
	struct prefetch *prefetch = calloc(1, sizeof(*prefetch));

	if (!prefetch)
		return NULL;
	prefetch->fs = fs;
	mutex_init(&prefetch->lock);
	TAILQ_INIT(&prefetch->files);
	return prefetch;
}

void prefetch_free(struct prefetch *prefetch)
{
	if (!prefetch)
		return;
	mutex_deinit(&prefetch->lock);
	free(prefetch);
}
