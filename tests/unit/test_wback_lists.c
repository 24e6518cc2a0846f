/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_wback_lists - what is due next for the ranges of a file: order, quarantine, COMMIT, trouble. The
 * clock is a number. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "../../conn/util.h"
#include "../../fuse/fs.h"
#include "../../fuse/request.h"
#include "../../fuse/wback_error.h"
#include "../../fuse/wback_lists.h"

static const struct fs fs = { .max_write = 1 << 20 };
static const struct wback_view calm = { .now_ns = 1000, .hold_ns = 300 };

static struct wback_lists lists;
static bool differs; /* wback_lists_committed() said so */
static struct wback_todo todo;
static struct request writers[8];

static struct range *add(uint64_t offset, uint32_t len, struct request *writer)
{
	char data[256] = { 0 };
	struct range *range = range_new(&fs, data, len, offset);

	assert(range);
	range->request = writer;
	wback_lists_add(&lists, range);
	return range;
}

static void look_at(struct wback_view view)
{
	wback_todo_init(&todo);
	wback_lists_look(&lists, &view, &todo);
}

static void look(void)
{
	look_at(calm);
}

static unsigned int n_sent(void)
{
	const struct range *range;
	unsigned int n = 0;

	STAILQ_FOREACH(range, &todo.send, send_link)
		n++;
	return n;
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

/* The server has taken it, unstable, with this verifier. Returns how many it made needless. */
static unsigned int take(struct range *range, uint64_t verf)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);

	range->unstable = range->has_verf = true;
	range->verf = verf;
	wback_lists_taken(&lists, range, &freed);
	range->request = NULL;
	return release(&freed);
}

static void begin(void)
{
	wback_lists_init(&lists);
	memset(writers, 0, sizeof(writers));
}

static void end(void)
{
	release(&lists.waiting);
	release(&lists.writing);
	release(&lists.unstable);
	release(&lists.committing);
}

/* One range, written and unstable. */
static struct range *held_range(void)
{
	struct range *range = add(0, 10, &writers[0]);

	look();
	assert(n_sent() == 1);
	take(range, 1);
	return range;
}

static void test_order(void)
{
	struct range *first, *second;

	begin();
	first = add(0, 10, &writers[0]);
	second = add(5, 10, &writers[1]);
	add(20, 10, &writers[2]);
	look();
	assert(n_sent() == 2); /* the second overlaps the first */
	look();
	assert(n_sent() == 0);
	take(first, 1);
	look();
	assert(STAILQ_FIRST(&todo.send) == second);
	end();
}

static void test_dropped(void)
{
	struct range *first;

	begin();
	first = add(0, 10, &writers[0]);
	add(0, 10, &writers[1]);
	look();
	atomic_store(&writers[0].answered, true); /* sent: it goes on */
	atomic_store(&writers[1].answered, true); /* not sent: never is */
	look();
	assert(TAILQ_FIRST(&lists.writing) == first && release(&todo.dropped) == 1);
	end();
}

static void test_commit(void)
{
	struct wback_wait wait = { .from = UINT64_MAX };
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);

	begin();
	held_range();
	look();
	assert(!todo.commit); /* nobody wants it */
	look_at((struct wback_view){ .now_ns = 1, .hold_ns = 1, .memory_short = true });
	assert(todo.commit);
	wback_lists_uncommitted(&lists);
	assert(wback_lists_wait(&lists, &wait));
	look();
	assert(todo.commit && TAILQ_EMPTY(&todo.satisfied));
	assert(wback_lists_committed(&lists, 1, &freed, &differs) == 0 && release(&freed) == 1);
	look();
	assert(TAILQ_FIRST(&todo.satisfied) == &wait && todo.empty && !todo.timed);
	end();
}

/* Whoever waits waits for what was written before, and a COMMIT goes when all that is unstable. */
static void test_commit_waits_for_writes(void)
{
	struct wback_wait wait = { .from = UINT64_MAX };
	struct range *range;

	begin();
	held_range();
	range = add(20, 10, &writers[1]);
	look();
	assert(wback_lists_wait(&lists, &wait));
	look();
	assert(!todo.commit);
	take(range, 1);
	look();
	assert(todo.commit);
	end();
}

static void test_verifiers(void)
{
	static const struct {
		uint64_t verf, committed;
		bool mixed;
		unsigned int n_again;
	} rows[] = {
		{ 1, 1, false, 0 },
		{ 1, 2, false, 1 },
		{ 2, 2, true, 1 }, /* in part by each of two instances */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
		struct range *range;

		begin();
		range = held_range();
		range->verf = rows[i].verf;
		range->mixed_verf = rows[i].mixed;
		lists.wanted_seq = lists.next_seq;
		look();
		assert(todo.commit);
		assert(wback_lists_committed(&lists, rows[i].committed, &freed, &differs) == rows[i].n_again);
		assert(release(&freed) == 1 - rows[i].n_again);
		look();
		assert(n_sent() == rows[i].n_again);
		end();
	}
}

static void test_rewrites_end_stable(void)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	struct range *range;

	begin();
	range = held_range();
	for (uint64_t i = 0; range->stable != NFS3_FILE_SYNC; i++) {
		assert(i <= WBACK_REWRITES_MAX);
		lists.wanted_seq = lists.next_seq;
		look();
		assert(todo.commit && wback_lists_committed(&lists, 100 + i, &freed, &differs) == 1);
		look();
		assert(n_sent() == 1);
		if (range->stable != NFS3_FILE_SYNC)
			take(range, i);
	}
	wback_lists_taken(&lists, range, &freed);
	assert(release(&freed) == 1 && wback_lists_empty(&lists));
	end();
}

/* A piece in quarantine is not written, nor cut off; the rest is, and fsync does not wait for it. */
static void test_quarantine(void)
{
	struct wback_wait fsync = { .from = UINT64_MAX }, truncate = { .from = 5 };
	struct wback_wait longer = { .from = 10 };
	struct range *range;

	begin();
	quarantine_add(&lists.quarantine, 0, 10, 2000);
	range = add(9, 10, &writers[0]);
	add(20, 10, &writers[1]);
	look();
	assert(n_sent() == 1 && STAILQ_FIRST(&todo.send) != range && todo.timed && !todo.empty);
	take(STAILQ_FIRST(&todo.send), 1);
	look();
	range->request = NULL; /* so that end() need not answer it */
	release(&lists.waiting);
	release(&lists.unstable);
	assert(!wback_lists_wait(&lists, &fsync) && !wback_lists_wait(&lists, &longer));
	assert(wback_lists_wait(&lists, &truncate));
	look();
	assert(TAILQ_EMPTY(&todo.satisfied) && !todo.empty);
	look_at((struct wback_view){ .now_ns = 2000, .hold_ns = 1 });
	assert(TAILQ_FIRST(&todo.satisfied) == &truncate && todo.empty && !todo.timed);
	end();
}

/* While a truncation is under way, what it concerns waits, and the next one. */
static void test_cutting(void)
{
	struct wback_wait truncate = { .from = 1000 }, fsync = { .from = UINT64_MAX };

	begin();
	wback_lists_cut(&lists, 50);
	wback_lists_cut(&lists, 100);
	add(40, 10, &writers[0]);
	add(60, 10, &writers[1]);
	assert(!wback_lists_wait(&lists, &fsync) && wback_lists_wait(&lists, &truncate));
	look();
	assert(n_sent() == 1 && TAILQ_EMPTY(&todo.satisfied));
	wback_lists_cut_done(&lists);
	look();
	assert(n_sent() == 0);
	wback_lists_cut_done(&lists);
	look();
	assert(n_sent() == 1 && TAILQ_EMPTY(&todo.satisfied)); /* it waits for what is sent now */
	take(TAILQ_FIRST(&lists.writing), 1);
	take(TAILQ_FIRST(&lists.writing), 1);
	end();
}

/* A writer that waits for a quarantine keeps no fsync waiting, and data that is written again is not
 * kept from it: a stale copy would be the same bytes. */
static void test_quarantine_of_others(void)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	struct wback_wait fsync = { .from = UINT64_MAX };
	struct range *range;

	begin();
	range = held_range();
	quarantine_add(&lists.quarantine, 0, 10, 2000);
	add(0, 10, &writers[1]);
	assert(wback_lists_wait(&lists, &fsync));
	look();
	assert(todo.commit && n_sent() == 0);
	assert(wback_lists_committed(&lists, 7, &freed, &differs) == 1);
	look();
	assert(n_sent() == 1 && STAILQ_FIRST(&todo.send) == range);
	end();
}

/* No answer to a COMMIT: told, held, tried again, in time lost. */
static void test_trouble(void)
{
	struct wback_wait wait = { .from = UINT64_MAX }, later = { .from = UINT64_MAX };

	begin();
	held_range();
	assert(wback_lists_wait(&lists, &wait));
	look();
	assert(todo.commit);
	wback_lists_uncommitted(&lists);
	wback_lists_trouble(&lists, 1000, 1050, -ETIMEDOUT);
	look_at((struct wback_view){ .now_ns = 1040, .hold_ns = 300 });
	assert(TAILQ_FIRST(&todo.failed) == &wait && todo.fail_error == -ETIMEDOUT);
	assert(!todo.commit && todo.timed && TAILQ_EMPTY(&todo.lost));

	assert(wback_lists_wait(&lists, &later)); /* an attempt is due soon: it waits for that */
	look_at((struct wback_view){ .now_ns = 1040, .hold_ns = 300 });
	assert(TAILQ_EMPTY(&todo.failed));
	look_at((struct wback_view){ .now_ns = 1060, .hold_ns = 300, .down_error = -EIO });
	assert(TAILQ_FIRST(&todo.failed) == &later && todo.fail_error == -EIO && !todo.commit);

	look_at((struct wback_view){ .now_ns = 1060, .hold_ns = 300 });
	assert(todo.commit); /* though nobody waits any more */
	wback_lists_uncommitted(&lists);
	wback_lists_trouble(&lists, 1060, 1100, -ETIMEDOUT);
	look_at((struct wback_view){ .now_ns = 1299, .hold_ns = 300, .down_error = -EIO });
	assert(TAILQ_EMPTY(&todo.lost));
	look_at((struct wback_view){ .now_ns = 1300, .hold_ns = INT64_MAX, .down_error = -EIO });
	assert(TAILQ_EMPTY(&todo.lost)); /* for ever */
	look_at((struct wback_view){ .now_ns = 1300, .hold_ns = 300, .down_error = -EIO });
	assert(release(&todo.lost) == 1 && todo.empty && !todo.timed && !lists.trouble_since_ns);
	end();
}

static void test_trouble_is_over(void)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);

	begin();
	held_range();
	lists.wanted_seq = lists.next_seq;
	look();
	wback_lists_uncommitted(&lists);
	wback_lists_trouble(&lists, 1000, 1050, -ETIMEDOUT);
	look_at((struct wback_view){ .now_ns = 1060, .hold_ns = 300 });
	assert(todo.commit);
	wback_lists_answered(&lists);
	assert(wback_lists_committed(&lists, 2, &freed, &differs) == 1); /* another server: written again */
	assert(differs); /* no connection was lost: no restart */
	look_at((struct wback_view){ .now_ns = 5000, .hold_ns = 300 });
	assert(TAILQ_EMPTY(&todo.lost) && n_sent() == 1 && !todo.timed);
	end();
}

/* A rewrite without an answer begins anew, and what is newer may cut it meanwhile. */
static void test_held_rewrite(void)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	struct range *range, *newer;

	begin();
	range = held_range();
	lists.wanted_seq = lists.next_seq;
	look();
	assert(wback_lists_committed(&lists, 2, &freed, &differs) == 1);
	look();
	assert(n_sent() == 1 && lists.n_ours == 1);
	range->done = 6;
	wback_lists_held(&lists, range);
	wback_lists_trouble(&lists, 1000, 1050, -ETIMEDOUT);
	assert(range->done == 0 && lists.n_ours == 0);
	newer = add(0, 5, &writers[1]);
	look_at((struct wback_view){ .now_ns = 1040, .hold_ns = 300 });
	assert(n_sent() == 0); /* the newer one waits for the older */
	look_at((struct wback_view){ .now_ns = 1060, .hold_ns = 300 });
	assert(n_sent() == 1 && STAILQ_FIRST(&todo.send) == range);
	take(range, 3);
	look();
	assert(STAILQ_FIRST(&todo.send) == newer);
	take(newer, 3);
	assert(range->offset == 5 && range->len == 5);
	end();
}

/* Newer data takes the place of what was held: no trouble is left. A writer who is answered meanwhile
 * shows that the server lives. */
static void test_trouble_is_replaced(void)
{
	struct range *newer;

	begin();
	held_range();
	lists.wanted_seq = lists.next_seq;
	look();
	wback_lists_uncommitted(&lists);
	wback_lists_trouble(&lists, 1000, 1050, -ETIMEDOUT);
	wback_lists_alive(&lists, 1100);
	look_at((struct wback_view){ .now_ns = 1399, .hold_ns = 300, .down_error = -EIO });
	assert(TAILQ_EMPTY(&todo.lost) && todo.timed);
	newer = add(0, 10, &writers[1]);
	look_at((struct wback_view){ .now_ns = 1399, .hold_ns = 300, .down_error = -EIO });
	newer->stable = NFS3_FILE_SYNC;
	{
		struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);

		wback_lists_taken(&lists, newer, &freed);
		assert(release(&freed) == 2);
	}
	look_at((struct wback_view){ .now_ns = 9000, .hold_ns = 300 });
	assert(!lists.trouble_since_ns && !todo.timed && todo.empty && TAILQ_EMPTY(&todo.lost));
	end();
}

/* What is in flight when patience ends is lost when it is not answered either. */
static void test_lost_in_flight(void)
{
	begin();
	held_range();
	lists.wanted_seq = lists.next_seq;
	look();
	wback_lists_uncommitted(&lists);
	wback_lists_trouble(&lists, 1000, 1050, -ETIMEDOUT);
	look_at((struct wback_view){ .now_ns = 1100, .hold_ns = 300 });
	assert(todo.commit);
	look_at((struct wback_view){ .now_ns = 1400, .hold_ns = 300 });
	assert(TAILQ_EMPTY(&todo.lost) && lists.trouble_since_ns == 1000);
	wback_lists_uncommitted(&lists);
	wback_lists_trouble(&lists, 1100, 1450, -ETIMEDOUT);
	look_at((struct wback_view){ .now_ns = 1400, .hold_ns = 300 });
	assert(release(&todo.lost) == 1 && todo.empty);
	end();
}

/* A writer is not the one to lose: his WRITE has an error of its own. */
static void test_not_lost(void)
{
	begin();
	held_range();
	add(100, 10, &writers[1]);
	quarantine_add(&lists.quarantine, 100, 110, 2000);
	wback_lists_trouble(&lists, 100, 1050, -ETIMEDOUT);
	look();
	assert(release(&todo.lost) == 1 && !TAILQ_EMPTY(&lists.waiting));
	end();
}

static void test_few_at_a_time(void)
{
	struct range_list freed = TAILQ_HEAD_INITIALIZER(freed);
	unsigned int n = WBACK_OURS_MAX + 10;

	begin();
	for (unsigned int i = 0; i < n; i++) {
		struct range *range = add(i * 20, 10, &writers[0]);

		look();
		assert(n_sent() == 1);
		take(range, 1);
	}
	lists.wanted_seq = lists.next_seq;
	look();
	assert(wback_lists_committed(&lists, 2, &freed, &differs) == n);
	look();
	assert(n_sent() == WBACK_OURS_MAX);
	take(STAILQ_FIRST(&todo.send), 2);
	look();
	assert(n_sent() == 1);
	end();
}

/* As errseq_t: each file once; if none was open, the next one. */
static void test_errors(void)
{
	struct wback_error error = { 0 };
	uint32_t a = wback_error_mark(&error), b = a, c;

	assert(wback_error_take(&error, &a) == 0);
	wback_error_set(&error, -EIO);
	c = wback_error_mark(&error); /* opened after it, before anybody was told */
	assert(wback_error_take(&error, &a) == -EIO && wback_error_take(&error, &a) == 0);
	assert(wback_error_take(&error, &b) == -EIO && wback_error_take(&error, &b) == 0);
	assert(wback_error_take(&error, &c) == -EIO);
	c = wback_error_mark(&error);
	assert(wback_error_take(&error, &c) == 0);
	wback_error_set(&error, -ENOSPC);
	wback_error_set(&error, -EIO);
	assert(wback_error_take(&error, &a) == -EIO && wback_error_take(&error, &a) == 0);
}

int main(void)
{
	test_order();
	test_dropped();
	test_commit();
	test_commit_waits_for_writes();
	test_verifiers();
	test_rewrites_end_stable();
	test_quarantine();
	test_cutting();
	test_quarantine_of_others();
	test_trouble();
	test_trouble_is_over();
	test_held_rewrite();
	test_trouble_is_replaced();
	test_lost_in_flight();
	test_not_lost();
	test_few_at_a_time();
	test_errors();
	return 0;
}
