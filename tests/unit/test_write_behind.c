/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_write_behind - data that was answered before it is sent: when it is due, what joins what, and
 * who waits for it. The clock is a number. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "../../conn/util.h"
#include "../../fuse/fs.h"
#include "../../fuse/request.h"
#include "../../fuse/wback_lists.h"

enum { WSIZE = 1000, NOW = 1000 };

static const struct fs fs = { .max_write = 1 << 20, .wsize = WSIZE };
static const struct cred user = { .uid = 1 }, other_user = { .uid = 2 };
static const struct wback_view calm = { .now_ns = NOW, .hold_ns = 300, .wsize = WSIZE };
static const char bytes[4 * WSIZE];

static struct wback_lists lists;
static bool differs; /* wback_lists_committed() said so */
static struct wback_todo todo;

static struct range *add(uint64_t offset, uint32_t len)
{
	struct range *range = range_new(&fs, bytes, len, offset);

	assert(range);
	range->cred = user;
	range->behind = true;
	range->since_ns = NOW;
	wback_lists_add(&lists, range);
	return range;
}

static unsigned int look_at(struct wback_view view)
{
	const struct range *range;
	unsigned int n = 0;

	wback_todo_init(&todo);
	wback_lists_look(&lists, &view, &todo);
	STAILQ_FOREACH(range, &todo.send, send_link)
		n++;
	return n;
}

static unsigned int look(void)
{
	return look_at(calm);
}

static unsigned int release(struct range_list *list)
{
	struct range *range;
	unsigned int n = 0;

	while ((range = TAILQ_FIRST(list))) {
		TAILQ_REMOVE(list, range, link);
		range_free(range);
		n++;
	}
	return n;
}

static void take(struct range *range)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);

	range->unstable = range->stable == NFS3_UNSTABLE;
	wback_lists_taken(&lists, range, &freed);
	release(&freed);
}

static void begin(void)
{
	wback_lists_init(&lists);
}

static void end(void)
{
	release(&lists.waiting);
	release(&lists.writing);
	release(&lists.unstable);
	release(&lists.committing);
}

/* One range of 10 bytes, of 1000 that it may become. Is it sent? */
static void test_due(void)
{
	static const struct {
		const char *when;
		struct wback_view view;
		bool sent;
	} rows[] = {
		{ "it may grow", { .now_ns = NOW }, false },
		{ "still", { .now_ns = NOW + WBACK_AGE_NS - 1 }, false },
		{ "old", { .now_ns = NOW + WBACK_AGE_NS }, true },
		{ "memory is short", { .now_ns = NOW, .memory_short = true }, true },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct wback_view view = rows[i].view;

		begin();
		add(0, 10);
		view.hold_ns = 300;
		view.wsize = WSIZE;
		assert(look_at(view) == rows[i].sent);
		assert(todo.timed == !rows[i].sent && !todo.empty);
		end();
	}
}

static void test_full_is_due(void)
{
	begin();
	add(990, 10);   /* up to a multiple of wsize */
	assert(look() == 0); /* it may be all there is */
	add(1500, 10);
	add(2000, 1000);
	assert(look() == 2);
	end();
}

/* Many small pieces do not pile up. */
static void test_many_are_due(void)
{
	begin();
	for (unsigned int i = 0; i < WBACK_BEHIND_MAX - 1; i++)
		add(i * 20, 10);
	assert(look() == 0);
	add(WBACK_BEHIND_MAX * 20, 10);
	assert(look() == WBACK_OURS_MAX);
	end();
}

/* What must be sent first is sent now. */
static void test_overlapped_is_due(void)
{
	struct range *older, *newer;

	begin();
	older = add(0, 10);
	newer = add(5, 10);
	assert(look() == 1 && STAILQ_FIRST(&todo.send) == older);
	assert(look() == 0);
	take(older);
	newer->since_ns -= WBACK_AGE_NS;
	assert(look() == 1 && STAILQ_FIRST(&todo.send) == newer);
	end();
}

static void test_host(void)
{
	static const struct {
		const char *what;
		uint64_t offset;
		size_t size;
		const struct cred *cred;
		bool joins; /* a range at 100..199 */
	} rows[] = {
		{ "behind it", 200, 50, &user, true },
		{ "up to the limit", 200, 800, &user, true },
		{ "beyond it", 200, 801, &user, false },
		{ "inside", 120, 10, &user, true },
		{ "all of it", 100, 100, &user, true },
		{ "its end and more", 150, 100, &user, true },
		{ "before it", 50, 50, &user, false },
		{ "its front", 50, 100, &user, false },
		{ "with a gap", 201, 10, &user, false },
		{ "somebody else's", 200, 50, &other_user, false },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct range *range;

		begin();
		range = add(100, 100);
		assert(wback_lists_host(&lists, rows[i].offset, rows[i].size, rows[i].cred) ==
		       (rows[i].joins ? range : NULL));
		end();
	}
}

/* Not into what was sent, and not past what is newer. */
static void test_no_host(void)
{
	struct range *range;

	begin();
	range = add(0, 100);
	add(50, 10);
	assert(!wback_lists_host(&lists, 40, 15, &user));
	assert(wback_lists_host(&lists, 40, 10, &user) == range);
	wback_lists_hurry(&lists);
	assert(look() == 1);
	assert(!wback_lists_host(&lists, 40, 5, &user));
	end();
}

/* Small writes become one range: in copy[], in a small buffer, in one for all of it. */
static void test_gathering(void)
{
	const struct fs large = { .max_write = 1 << 20, .wsize = 1 << 20 };
	char piece[5000];
	struct range *range = range_new(&large, bytes, 0, 0);
	uint64_t end = 0;

	assert(range);
	range->cred = user;
	range->behind = true;
	for (unsigned int i = 0; end < large.wsize; i++) {
		size_t n = min_size(sizeof(piece), large.wsize - end);

		memset(piece, (int)i, sizeof(piece));
		assert(range_may_absorb(range, end, n, &user));
		if (!range_has_room(range, end, n)) {
			struct range_buffer *room = range_buffer_for(range, end + n);

			assert(room);
			range_buffer_free(range_move(range, room));
		}
		assert(range_has_room(range, end, n));
		range_absorb(range, piece, n, end);
		end += n;
		assert(range_is_full(range) == (end == large.wsize));
	}
	for (uint64_t at = 0; at < end; at++)
		assert(range->data[at] == (uint8_t)(at / sizeof(piece)));
	memset(piece, 0xff, sizeof(piece));
	range_absorb(range, piece, 10, 3); /* inside */
	assert(range->len == large.wsize && range->data[2] == 0 && range->data[3] == 0xff &&
	       range->data[12] == 0xff && range->data[13] == 0);
	range_free(range);
}

/* fsync of a file that is all in one WRITE: no COMMIT. */
static void test_one_trip(void)
{
	static const struct {
		uint64_t offset;
		unsigned int n;
		bool fsync; /* or GETATTR */
		enum nfs3_stable stable;
	} rows[] = {
		{ 0, 1, true, NFS3_FILE_SYNC },
		{ 500, 1, true, NFS3_FILE_SYNC },
		{ 0, 2, true, NFS3_UNSTABLE },
		{ 0, 1, false, NFS3_FILE_SYNC },  /* the whole file, as far as we know */
		{ 500, 1, false, NFS3_UNSTABLE }, /* more may come */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct wback_wait wait = { .from = UINT64_MAX, .until_ns = INT64_MAX };

		begin();
		for (unsigned int k = 0; k < rows[i].n; k++)
			add(rows[i].offset + 100 * k, 10);
		assert(rows[i].fsync ? wback_lists_wait(&lists, &wait) :
				       wback_lists_wait_sent(&lists, &wait));
		assert(look() == rows[i].n);
		assert(STAILQ_FIRST(&todo.send)->stable == rows[i].stable);
		end();
	}
}

/* Something is unstable already: the COMMIT is due in any case. */
static void test_not_in_one_trip(void)
{
	struct wback_wait wait = { .from = UINT64_MAX };

	begin();
	add(0, 1000);
	wback_lists_hurry(&lists);
	assert(look() == 1);
	take(STAILQ_FIRST(&todo.send));
	add(1000, 10);
	assert(wback_lists_wait(&lists, &wait) && look() == 1);
	assert(STAILQ_FIRST(&todo.send)->stable == NFS3_UNSTABLE && !todo.commit);
	take(STAILQ_FIRST(&todo.send));
	look();
	assert(todo.commit);
	end();
}

/* Who wants the server to have it waits for the WRITE, not for the COMMIT, nor longer than he said. */
static void test_sends(void)
{
	struct wback_wait first = { .until_ns = INT64_MAX }, second = { .until_ns = NOW + 5 };
	struct range *range;

	begin();
	add(0, 1000);
	add(1000, 10);
	assert(wback_lists_wait_sent(&lists, &first) && look() == 2);
	range = STAILQ_FIRST(&todo.send);
	take(STAILQ_NEXT(range, send_link));
	look();
	assert(TAILQ_EMPTY(&todo.satisfied));
	take(range);
	look();
	assert(TAILQ_FIRST(&todo.satisfied) == &first && !wback_lists_wait_sent(&lists, &first));
	add(0, 1000);
	assert(wback_lists_wait_sent(&lists, &second) && look() == 1 && TAILQ_EMPTY(&todo.satisfied));
	assert(todo.timed);
	look_at((struct wback_view){ .now_ns = NOW + 5, .hold_ns = 300 });
	assert(TAILQ_FIRST(&todo.satisfied) == &second);
	end();
}

static void test_sends_fail(void)
{
	struct wback_wait wait = { .until_ns = INT64_MAX };

	begin();
	add(0, 1000);
	assert(wback_lists_wait_sent(&lists, &wait) && look() == 1);
	wback_lists_held(&lists, TAILQ_FIRST(&lists.writing));
	wback_lists_trouble(&lists, NOW, NOW + 50, -ETIMEDOUT);
	assert(look() == 0 && TAILQ_FIRST(&todo.failed) == &wait && todo.fail_error == -ETIMEDOUT);
	assert(look_at((struct wback_view){ .now_ns = NOW + 50, .hold_ns = 300 }) == 1);
	end();
}

static void test_pending(void)
{
	begin();
	assert(wback_lists_pending_end(&lists) == 0);
	add(2000, 10);
	add(0, 1000);
	assert(look() == 1);
	assert(wback_lists_pending_end(&lists) == 2010);
	assert(wback_lists_is_pending(&lists, 999, 1001) && wback_lists_is_pending(&lists, 2009, 2020));
	assert(!wback_lists_is_pending(&lists, 1000, 2000) &&
	       !wback_lists_is_pending(&lists, 2010, UINT64_MAX));
	take(TAILQ_FIRST(&lists.writing));
	assert(!wback_lists_is_pending(&lists, 0, 2000));
	end();
}

/* A connection is lost: what the server has taken counts as pending until a COMMIT has been answered; what
 * it takes from then on does not. */
static void test_doubt(void)
{
	struct wback_wait wait = { .until_ns = INT64_MAX };
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	struct range *first, *second;

	begin();
	add(0, 1000);
	wback_lists_hurry(&lists);
	assert(look() == 1);
	first = STAILQ_FIRST(&todo.send);
	take(first);
	lists.losses = 1;
	add(5000, 1000);
	wback_lists_hurry(&lists);
	assert(look() == 1);
	second = STAILQ_FIRST(&todo.send);
	second->losses = 1;
	take(second);
	assert(wback_lists_is_pending(&lists, 0, 10) && !wback_lists_is_pending(&lists, 5000, 6000));
	assert(wback_lists_pending_end(&lists) == 1000);
	assert(wback_lists_wait_sent(&lists, &wait));
	look();
	assert(todo.commit && TAILQ_EMPTY(&todo.satisfied));
	assert(wback_lists_is_pending(&lists, 999, 1001)); /* committing */
	first->verf = second->verf = 7;
	assert(wback_lists_committed(&lists, 7, &freed, &differs) == 0);
	assert(!wback_lists_is_pending(&lists, 0, UINT64_MAX) && wback_lists_pending_end(&lists) == 0);
	look();
	assert(TAILQ_FIRST(&todo.satisfied) == &wait);
	range_free(first);
	range_free(second);
	end();
}

/* The same when the connection is lost while somebody waits for the server to have it. */
static void test_doubt_while_waiting(void)
{
	struct wback_wait wait = { .until_ns = INT64_MAX };

	begin();
	add(0, 1000);
	wback_lists_hurry(&lists);
	assert(look() == 1);
	take(STAILQ_FIRST(&todo.send));
	add(5000, 1000);
	assert(wback_lists_wait_sent(&lists, &wait) && look() == 1);
	lists.losses = 1;
	STAILQ_FIRST(&todo.send)->losses = 1;
	take(STAILQ_FIRST(&todo.send));
	look();
	assert(todo.commit && TAILQ_EMPTY(&todo.satisfied));
	end();
}

/* A WRITE that takes its time, and all of it is wanted: what the others have brought is committed all the
 * same when it is much, or memory would not come free. */
static void test_much_is_committed(void)
{
	struct wback_view view = { .now_ns = NOW, .hold_ns = 300, .commit_bytes = 1000 };
	struct range *slow;

	begin();
	add(0, 1000);
	add(1000, 500);
	add(2000, 500);
	wback_lists_want(&lists);
	assert(look_at(view) == 3);
	slow = STAILQ_FIRST(&todo.send);
	take(STAILQ_NEXT(slow, send_link));
	look_at(view);
	assert(!todo.commit);
	take(TAILQ_LAST(&lists.writing, range_list));
	look_at(view);
	assert(todo.commit && TAILQ_FIRST(&lists.writing) == slow);
	end();
}

/* Held data goes in among the newer, in the order of write(2). */
static void test_held_is_older(void)
{
	struct range *range;

	begin();
	range = add(0, 1000);
	wback_lists_hurry(&lists);
	assert(look() == 1);
	add(500, 10);
	wback_lists_held(&lists, range);
	assert(TAILQ_FIRST(&lists.waiting) == range);
	assert(look() == 1 && STAILQ_FIRST(&todo.send) == range);
	end();
}

/* A stream is committed in parts, so that memory comes free meanwhile. */
static void test_commit_bytes(void)
{
	struct wback_view view = calm;

	begin();
	view.commit_bytes = 2000;
	add(0, 1000);
	add(1000, 1000);
	assert(look_at(view) == 2);
	take(TAILQ_FIRST(&lists.writing));
	look_at(view);
	assert(!todo.commit);
	take(TAILQ_FIRST(&lists.writing));
	look_at(view);
	assert(todo.commit && lists.unstable_bytes == 0);
	end();
}

int main(void)
{
	test_due();
	test_full_is_due();
	test_many_are_due();
	test_overlapped_is_due();
	test_host();
	test_no_host();
	test_gathering();
	test_one_trip();
	test_not_in_one_trip();
	test_sends();
	test_sends_fail();
	test_pending();
	test_doubt();
	test_doubt_while_waiting();
	test_much_is_committed();
	test_held_is_older();
	test_commit_bytes();
	return 0;
}
