/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_policy - every rule of policy.h as a row. */
#undef NDEBUG
#include <assert.h>
#include <stdio.h>

#include "../../conn/policy.h"
#include "../../conn/util.h"

enum { K = 1024, M = 1024 * 1024, HEAD = 4096, MB_S = 1000 * 1000, OWN = 0, OTHER_LOOP = 1 };
static const int64_t MS = 1000 * 1000;
static const int64_t S = 1000 * 1000 * 1000;

/* ---- which connection -------------------------------------------------------------------- */

struct pick_row {
	const char *what;
	struct policy_conn conns[4];
	unsigned int n;
	enum call_size size;
	uint64_t cost;
	unsigned int turn;
	int pick;
};

#define UP(loop_, out, ...) \
	{ .state = CONN_UP, .loop = (loop_), .bytes_outstanding = (out), .window = 2 * M, ##__VA_ARGS__ }
#define IDLE(state_) { .state = (state_), .loop = OWN, .window = 2 * M }

static const struct pick_row picks[] = {
	{ "no connection", { { 0 } }, 0, CALL_SMALL, 200, 0, POLICY_QUEUE },
	{ "idle, but down", { UP(OWN, M), IDLE(CONN_DOWN) }, 2, CALL_SMALL, 200, 0, 0 },
	{ "idle, but down, bulk", { UP(OWN, 100), IDLE(CONN_DOWN) }, 2, CALL_BULK, M, 1, 0 },
	{ "idle, but connecting", { IDLE(CONN_CONNECTING), UP(OWN, M) }, 2, CALL_SMALL, 200, 0, 1 },
	{ "idle, but suspect", { IDLE(CONN_SUSPECT), UP(OWN, M) }, 2, CALL_SMALL, 200, 0, 1 },
	{ "all down", { IDLE(CONN_DOWN), IDLE(CONN_DOWN) }, 2, CALL_SMALL, 200, 0, POLICY_QUEUE },
	{ "all suspect", { IDLE(CONN_SUSPECT) }, 1, CALL_SMALL, 200, 0, POLICY_QUEUE },

	{ "the least outstanding", { UP(OWN, 300 * K), UP(OWN, 200 * K), UP(OWN, 400 * K) }, 3,
	  CALL_SMALL, 200, 0, 1 },
	{ "outstanding over rate: the fast one, though it has more",
	  { UP(OWN, 100 * K, .rate = 10 * MB_S), UP(OWN, 500 * K, .rate = 100 * MB_S) }, 2,
	  CALL_SMALL, 200, 0, 1 },
	{ "the call itself counts: bulk goes to the fast one",
	  { UP(OWN, 0, .rate = MB_S), UP(OWN, M, .rate = 100 * MB_S) }, 2, CALL_BULK, M, 0, 1 },
	{ "a short round trip", { UP(OWN, 0, .rtt_ns = 20 * MS), UP(OWN, 0, .rtt_ns = MS) }, 2,
	  CALL_SMALL, 200, 0, 1 },
	{ "not measured is like a gigabit LAN: before a slow one",
	  { UP(OWN, 0, .rate = MB_S, .rtt_ns = 20 * MS), UP(OWN, 0) }, 2, CALL_SMALL, 200, 0, 1 },

	{ "equal ones in turn, 0", { UP(OWN, 0), UP(OWN, 0), UP(OWN, 0) }, 3, CALL_SMALL, 200, 0, 0 },
	{ "equal ones in turn, 1", { UP(OWN, 0), UP(OWN, 0), UP(OWN, 0) }, 3, CALL_SMALL, 200, 1, 1 },
	{ "equal ones in turn, 2", { UP(OWN, 0), UP(OWN, 0), UP(OWN, 0) }, 3, CALL_SMALL, 200, 2, 2 },
	{ "equal ones in turn, 3", { UP(OWN, 0), UP(OWN, 0), UP(OWN, 0) }, 3, CALL_SMALL, 200, 3, 0 },
	{ "the turn wraps", { UP(OWN, 0), UP(OWN, 0) }, 2, CALL_SMALL, 200, UINT32_MAX, 1 },

	{ "one's own loop is cheaper", { UP(OTHER_LOOP, 0), UP(OWN, 1000) }, 2, CALL_SMALL, 200, 0, 1 },
	{ "but not at any price", { UP(OTHER_LOOP, 0), UP(OWN, 100 * K) }, 2, CALL_SMALL, 200, 0, 0 },
	{ "another loop's when one's own is down", { UP(OTHER_LOOP, M), IDLE(CONN_DOWN) }, 2,
	  CALL_SMALL, 200, 0, 0 },

	{ "bulk where the window has room", { UP(OWN, 2 * M), UP(OTHER_LOOP, M) }, 2, CALL_BULK, M,
	  0, 1 },
	{ "two transfers and their headers fit the least window",
	  { { .state = CONN_UP, .loop = OWN, .bytes_outstanding = M + 300, .window = 2 * (M + HEAD) } }, 1, CALL_BULK, M + 300, 0, 0 },
	{ "bulk to the last byte of it", { UP(OWN, M) }, 1, CALL_BULK, M, 0, 0 },
	{ "bulk waits when it has not", { UP(OWN, M + 1), UP(OTHER_LOOP, 2 * M) }, 2, CALL_BULK, M,
	  0, POLICY_QUEUE },
	{ "larger than the window, alone", { UP(OWN, 0) }, 1, CALL_BULK, 4 * M, 0, 0 },
	{ "larger than the window, not alone", { UP(OWN, 1) }, 1, CALL_BULK, 4 * M, 0,
	  POLICY_QUEUE },
	{ "small calls do not ask for room", { UP(OWN, 5 * M) }, 1, CALL_SMALL, 200, 0, 0 },

	{ "md takes no bulk", { UP(OWN, 0, .md = true), UP(OTHER_LOOP, M) }, 2, CALL_BULK, M, 0, 1 },
	{ "not even when the others are full", { UP(OWN, 0, .md = true), UP(OWN, 2 * M) }, 2,
	  CALL_BULK, M, 0, POLICY_QUEUE },
	{ "but when they are down", { UP(OWN, 0, .md = true), IDLE(CONN_DOWN) }, 2, CALL_BULK, M, 0,
	  0 },
	{ "or suspect", { UP(OWN, 0, .md = true), IDLE(CONN_SUSPECT) }, 2, CALL_BULK, M, 0, 0 },
	{ "or md too", { UP(OWN, M, .md = true), UP(OWN, 0, .md = true) }, 2, CALL_BULK, M, 0, 1 },
	{ "md takes small calls", { UP(OWN, 0, .md = true), UP(OWN, M) }, 2, CALL_SMALL, 200, 0, 0 },
	{ "md down is no md", { { .state = CONN_DOWN, .md = true }, UP(OWN, 0) }, 2, CALL_BULK, M, 0,
	  1 },

	{ "numbers out of this world", { UP(OWN, UINT64_MAX, .rate = 1, .rtt_ns = INT64_MAX),
					 UP(OTHER_LOOP, UINT64_MAX, .rate = 1) }, 2, CALL_SMALL,
	  UINT64_MAX, 0, 1 },
};

static const struct {
	uint64_t ahead;
	struct pick_row row;
} queued_picks[] = {
	/* Others finish it in (2 + 1) / 50 s, a slow one in 1 / 2. */
	{ 0, { "a slow one does not take what a busy fast one finishes sooner",
	       { UP(OWN, 2 * M, .rate = 50 * MB_S), UP(OWN, 0, .rate = 2 * MB_S) }, 2, CALL_BULK, M, 0,
	       POLICY_QUEUE } },
	{ 30 * M, { "but what is far behind in the queue",
		    { UP(OWN, 2 * M, .rate = 50 * MB_S), UP(OWN, 0, .rate = 2 * MB_S) }, 2, CALL_BULK,
		    M, 0, 1 } },
	{ M, { "one that is half as fast takes the second",
	       { UP(OWN, 2 * M, .rate = 50 * MB_S), UP(OWN, M, .rate = 25 * MB_S) }, 2, CALL_BULK, M,
	       0, 1 } },
	{ 1000 * M, { "nobody whose window is full, at any distance",
		      { UP(OWN, 2 * M, .rate = 50 * MB_S), UP(OWN, 2 * M, .rate = 50 * MB_S) }, 2,
		      CALL_BULK, M, 0, POLICY_QUEUE } },
};

/* The last small call went to `company`. */
static const struct {
	unsigned int company;
	struct pick_row row;
} company_picks[] = {
	{ 1, { "where the last small call went", { UP(OWN, 0), UP(OWN, 0) }, 2, CALL_SMALL, 200, 0, 1 } },
	{ 1, { "behind some others", { UP(OWN, 0), UP(OWN, 10 * K) }, 2, CALL_SMALL, 200, 0, 1 } },
	{ 1, { "not behind many", { UP(OWN, 0), UP(OWN, 20 * K) }, 2, CALL_SMALL, 200, 0, 0 } },
	{ 1, { "of a slow link not even behind some",
	       { UP(OWN, 0, .rate = 20 * MB_S), UP(OWN, 10 * K, .rate = 20 * MB_S) }, 2, CALL_SMALL, 200, 0, 0 } },
	{ 1, { "not on a longer way", { UP(OWN, 0), UP(OWN, 0, .rtt_ns = MS) }, 2, CALL_SMALL, 200, 0, 0 } },
	{ 1, { "not to the other end of a broken one", { UP(OWN, M), IDLE(CONN_DOWN) }, 2, CALL_SMALL, 200,
	       0, 0 } },
	{ 1, { "another loop's is nobody's company", { UP(OWN, 1000), UP(OTHER_LOOP, 0) }, 2, CALL_SMALL, 200,
	       0, 0 } },
	{ 1, { "bulk spreads", { UP(OWN, 0), UP(OWN, 0) }, 2, CALL_BULK, M, 0, 0 } },
};

static void check_pick(const struct pick_row *row, uint64_t ahead, unsigned int company)
{
	struct policy_ask ask = { .size = row->size,
				  .cost = row->cost,
				  .ahead = ahead,
				  .own_loop = OWN,
				  .turn = row->turn,
				  .company = company };
	int pick = policy_pick(row->conns, row->n, &ask);

	if (pick != row->pick)
		fprintf(stderr, "%s: %d, not %d\n", row->what, pick, row->pick);
	assert(pick == row->pick);
}

static void test_pick(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(picks); i++)
		check_pick(&picks[i], 0, UINT32_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(queued_picks); i++)
		check_pick(&queued_picks[i].row, queued_picks[i].ahead, UINT32_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(company_picks); i++)
		check_pick(&company_picks[i].row, 0, company_picks[i].company);
}

/* Whatever the numbers: bulk waits only if somebody who will be done with something takes it next. */
static void test_pick_is_live(void)
{
	static const uint64_t outstanding[] = { 0, 1, M, 2 * M, 2 * M + 1 };
	static const uint64_t rates[] = { 0, MB_S, 100 * MB_S };
	struct policy_conn conns[2];

	for (unsigned int k = 0; k < 120 * 120; k++) {
		struct policy_ask ask = { .size = CALL_BULK, .cost = M, .own_loop = OWN };
		unsigned int left = k;
		bool busy = false, up = false;
		int pick;

		for (int i = 0; i < 2; i++) {
			conns[i] = (struct policy_conn){ .window = 2 * M };
			conns[i].state = (enum conn_state)(left % 4);
			left /= 4;
			conns[i].md = left % 2;
			left /= 2;
			conns[i].bytes_outstanding = outstanding[left % 5];
			left /= 5;
			conns[i].rate = rates[left % 3];
			left /= 3;
		}
		pick = policy_pick(conns, 2, &ask);
		for (int i = 0; i < 2; i++) {
			bool takes = conns[i].state == CONN_UP &&
				     (!conns[i].md || conns[1 - i].state != CONN_UP ||
				      conns[1 - i].md);

			up = up || takes;
			busy = busy || (takes && conns[i].bytes_outstanding > 0);
			assert(pick != i || policy_ahead(conns, 2, (unsigned int)i, M) == 0);
			assert(takes || policy_ahead(conns, 2, (unsigned int)i, M) == POLICY_NEVER);
		}
		assert(pick >= 0 || !up || busy);
	}
}

static void test_stripe(void)
{
	struct policy_conn conns[3] = { UP(OWN, 9 * M), UP(OWN, 0), UP(OWN, 0, .md = true) };

	for (unsigned int first = 0; first < 7; first++)
		assert(policy_stripe(conns, 3, first) == (int)(first % 3));
	conns[1].state = CONN_SUSPECT;
	assert(policy_stripe(conns, 3, 1) == 2 && policy_stripe(conns, 3, UINT64_MAX) >= 0);
	conns[0].state = conns[2].state = CONN_DOWN;
	assert(policy_stripe(conns, 3, 0) == POLICY_QUEUE);
}

static void test_small(void)
{
	assert(!policy_small_counts(0) && policy_small_counts(10 * MS));
	assert(policy_small_busy_ns(10 * MS) == 500 * MS); /* one after the other */
	assert(policy_small_busy_ns(250 * MS) == 0);       /* a single one */
	assert(policy_overtakes(999 * MS) && !policy_overtakes(S));
}

static void test_rate(void)
{
	uint64_t rate = policy_rate(0, 2 * MB_S, false);

	assert(rate == 2 * MB_S);
	assert(policy_rate_idle(rate, 3999 * MS) == rate);
	assert(policy_rate_idle(rate, 4 * S) > rate);
	assert(policy_rate_idle(0, 9 * S) == 0);
	for (int i = 0; i < 16; i++) /* both ways within a second of samples */
		rate = policy_rate(rate, 25 * MB_S, false);
	assert(rate > 24 * (uint64_t)MB_S);
	for (int i = 0; i < 16; i++)
		rate = policy_rate(rate, 2 * MB_S, false);
	assert(rate < 3 * (uint64_t)MB_S);
}

/* Slow start is no slow path, and a path that is fast while it lasts is fast. */
static void test_warm_up(void)
{
	assert(policy_is_warming_up(2 * M - 1, 50 * MS) && !policy_is_warming_up(2 * M, 50 * MS));
	assert(policy_is_warming_up(0, MS) && !policy_is_warming_up(0, MS - 1));
	assert(policy_is_cold(S) && !policy_is_cold(S - 1));
	assert(policy_rate(0, 2 * MB_S, true) == 0);
	assert(policy_rate(0, 200 * MB_S, true) == 200 * (uint64_t)MB_S);
	assert(policy_rate(50 * MB_S, 2 * MB_S, true) == 50 * MB_S);
	assert(policy_rate(50 * MB_S, 100 * MB_S, true) > 60 * MB_S);
}

/* ---- one reader over unequal paths ------------------------------------------------------- */

enum { PIECES = 4096, AHEAD_SLOTS = 16 };

struct sim {
	struct policy_conn conns[4];
	unsigned int queued[AHEAD_SLOTS * 2], n_queued; /* pieces, in order */
	unsigned int bound[4][8], n_bound[4];
	double left[4];                                 /* of the first one, in bytes */
	bool done[PIECES];
};

static void sim_pull(struct sim *sim, unsigned int i)
{
	for (unsigned int k = 0; k < sim->n_queued;) {
		if (policy_ahead(sim->conns, 4, i, M) > (uint64_t)k * M) {
			k++;
			continue;
		}
		if (!sim->n_bound[i])
			sim->left[i] = M;
		sim->bound[i][sim->n_bound[i]++] = sim->queued[k];
		sim->conns[i].bytes_outstanding += M;
		for (unsigned int j = k + 1; j < sim->n_queued; j++)
			sim->queued[j - 1] = sim->queued[j];
		sim->n_queued--;
		k = 0;
	}
}

static void sim_carry(struct sim *sim, unsigned int i, double seconds)
{
	double bytes = (double)sim->conns[i].rate * seconds;

	while (sim->n_bound[i] && bytes >= sim->left[i]) {
		bytes -= sim->left[i];
		sim->done[sim->bound[i][0]] = true;
		sim->n_bound[i]--;
		for (unsigned int j = 0; j < sim->n_bound[i]; j++)
			sim->bound[i][j] = sim->bound[i][j + 1];
		sim->conns[i].bytes_outstanding -= M;
		sim->left[i] = M;
	}
	if (sim->n_bound[i])
		sim->left[i] -= bytes;
}

/* Reads 10 s in order, 16 MiB ahead; returns the share of the sum of the rates. */
static double simulate(const uint64_t rates[4])
{
	struct sim sim = { .n_queued = 0 };
	unsigned int asked = 0, read = 0;
	double sum = 0;

	for (int i = 0; i < 4; i++) {
		sim.conns[i] = (struct policy_conn){ .state = CONN_UP, .window = 2 * M,
						     .rate = rates[i], .rtt_ns = MS / 5 };
		sum += (double)rates[i];
	}
	for (int ms = 0; ms < 10000; ms++) {
		while (read < asked && sim.done[read])
			read++;
		while (asked < read + AHEAD_SLOTS)
			sim.queued[sim.n_queued++] = asked++;
		for (unsigned int i = 0; i < 4; i++) {
			sim_carry(&sim, i, 0.001);
			sim_pull(&sim, i);
		}
	}
	return (double)read * M / 10 / sum;
}

static void test_share(void)
{
	static const struct {
		uint64_t rates[4];
		double share;
	} rows[] = {
		{ { 25 * MB_S, 25 * MB_S, 25 * MB_S, 25 * MB_S }, 0.97 },
		{ { 25 * MB_S, 12500000, 6250000, 2500000 }, 0.90 },
		{ { 2500000, 6250000, 12500000, 25 * MB_S }, 0.90 },
		{ { 25 * MB_S, 8 * MB_S, 8 * MB_S, 8 * MB_S }, 0.95 },
		{ { 100 * MB_S, MB_S, MB_S, MB_S }, 0.95 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		double share = simulate(rows[i].rates);

		if (share < rows[i].share)
			fprintf(stderr, "paths %zu: %.3f of their sum\n", i, share);
		assert(share >= rows[i].share);
	}
}

/* ---- windows ----------------------------------------------------------------------------- */

static const struct {
	uint64_t rate;
	int64_t rtt_ns;
	uint32_t transfer_max, configured;
	uint64_t window;
} windows[] = {
	{ 0, 0, M, 0, M + HEAD },                         /* not measured: one transfer */
	{ 0, 50 * MS, M, 0, M + HEAD },
	{ 20 * MB_S, 200 * 1000, M, 0, M + HEAD },        /* a slow link is never idle with one */
	{ 20 * MB_S, 2 * MS, M, 0, 2 * (M + HEAD) },      /* unless it is long */
	{ 1000 * MB_S, 100 * 1000, M, 0, 2 * (M + HEAD) }, /* a fast one is */
	{ 100 * MB_S, 50 * MS, M, 0, 10 * MB_S },         /* two round trips of what it carries */
	{ 100 * MB_S, 50 * MS, 64 * K, 0, 10 * MB_S },
	{ 100 * MB_S, 50 * MS, M, 4 * M, 4 * M },         /* window= decides */
	{ 100 * MB_S, 50 * MS, M, 1000, 2 * (M + HEAD) }, /* but never less than that */
	{ UINT64_MAX, INT64_MAX, M, 0, 64 * M },          /* nor more than 64 MiB by measure */
	{ 0, 0, UINT32_MAX, 0, (uint64_t)UINT32_MAX + HEAD },
	{ 0, 0, UINT32_MAX, UINT32_MAX, (uint64_t)UINT32_MAX + HEAD },
};

static void test_window(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(windows); i++)
		assert(policy_window(windows[i].rate, windows[i].rtt_ns, windows[i].transfer_max,
				     windows[i].configured) == windows[i].window);
}

static const struct {
	uint64_t rate;
	int64_t rtt_ns;
	uint32_t flight;
} flights[] = {
	{ 12500000, 200000, 16384 },           /* half of a 200 Mbit/s link: a few segments */
	{ 12500000, 50 * MS, 1250000 },        /* two long round trips */
	{ 100000000, 0, 100000 },              /* not known: a millisecond of it */
	{ 0, 0, 100000 },                      /* nor the rate: what is assumed */
	{ 1250000000, 100000, 1250000 },
	{ UINT64_MAX, INT64_MAX, 64 << 20 },
};

static void test_flight(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(flights); i++)
		assert(policy_flight(flights[i].rate, flights[i].rtt_ns) == flights[i].flight);
}

/* ---- steering ---------------------------------------------------------------------------- */

static void test_steer(void)
{
	static const struct policy_path crowded[] = {
		{ .up = true, .rate = 30 }, { .up = true, .rate = 10 }, { .rate = 1 }, { .up = true, .rate = 11 },
	};
	static const struct policy_path even[] = {
		{ .up = true, .rate = 10 }, { .up = true, .rate = 8 }, { .up = true, .rate = 9 },
	};
	static const struct policy_path alone[] = { { .rate = 10 }, { .up = true, .rate = 1 } };

	for (uint32_t turn = 0; turn < 8; turn++) {
		assert(policy_steer(crowded, 4, false, turn) == 1);
		assert(policy_steer(even, 3, false, turn) == -1); /* within three quarters of the best */
		assert(policy_steer(even, 3, true, turn) == 1);
		assert(policy_steer(alone, 2, true, turn) == -1);
	}
	assert(policy_stands_out(crowded, 4, 1) && policy_stands_out(crowded, 4, 3));
	assert(!policy_stands_out(crowded, 4, 0) && !policy_stands_out(even, 3, 1));
}

/* One that loses packets is left before one that is merely slow. */
static void test_lossy(void)
{
	static const struct policy_path paths[] = {
		{ .up = true, .rate = 10, .segments = 1000 },
		{ .up = true, .rate = 5, .segments = 500 }, /* crowded */
		{ .up = true, .rate = 9, .lost = 50, .segments = 1000 },
		{ .up = true, .rate = 8, .lost = 45, .segments = 900 },
		{ .rate = 1, .lost = 50, .segments = 100 }, /* down */
	};
	static const struct policy_path all[] = { /* the network is like that */
		{ .up = true, .rate = 10, .lost = 20, .segments = 1000 },
		{ .up = true, .rate = 9, .lost = 50, .segments = 1000 },
	};
	static const struct policy_path few[] = { /* they tell nothing */
		{ .up = true, .rate = 10, .lost = 7, .segments = 100 }, { .up = true, .rate = 10, .segments = 1000 },
		{ .up = true, .rate = 10, .lost = 9, .segments = 1000 },
	};

	for (uint32_t turn = 0; turn < 8; turn++)
		assert(policy_steer(paths, 5, false, turn) == 3);
	assert(policy_is_lossy(paths, 5, 2) && policy_is_lossy(paths, 5, 3) && policy_stands_out(paths, 5, 2));
	assert(!policy_is_lossy(paths, 5, 0) && !policy_is_lossy(paths, 5, 1) && !policy_is_lossy(paths, 5, 4));
	assert(!policy_is_lossy(all, 2, 0) && !policy_is_lossy(all, 2, 1));
	for (unsigned int i = 0; i < 3; i++)
		assert(!policy_is_lossy(few, 3, i));
}

/* ---- a READ that a slow path holds up ----------------------------------------------------- */

static void test_rescues(void)
{
	enum { COST = 1000000 };
	const struct policy_conn idle = { .state = CONN_UP, .rate = 10000000, .rtt_ns = 1 }; /* takes 100 ms */
	const struct policy_conn slow = { .state = CONN_UP, .rate = 100000, .bytes_outstanding = COST };
	struct policy_conn conns[] = { slow, idle };

	assert(!policy_rescues(conns, 2, 0, COST, 199 * MS, 0));
	assert(policy_rescues(conns, 2, 0, COST, 201 * MS, 0));
	assert(!policy_rescues(conns, 2, 0, COST, 201 * MS, 1)); /* longer each time, and not for ever */
	assert(policy_rescues(conns, 2, 0, COST, 402 * MS, 1));
	assert(!policy_rescues(conns, 2, 0, COST, 100 * S, 2));
	assert(!policy_rescues(conns, 1, 0, COST, 100 * S, 0)); /* nobody else */
	conns[1].rate = 2000000; /* not in half the time */
	assert(!policy_rescues(conns, 2, 0, COST, 900 * MS, 0));
	conns[1] = idle;
	conns[1].bytes_outstanding = 1; /* busy */
	assert(!policy_rescues(conns, 2, 0, COST, 100 * S, 0));
	conns[1] = idle;
	conns[1].state = CONN_SUSPECT;
	assert(!policy_rescues(conns, 2, 0, COST, 100 * S, 0));
}

static void test_steered(void)
{
	assert(policy_steered(75, 100, 10, 10) == POLICY_BETTER);
	assert(policy_steered(100, 102, 12, 12) == POLICY_SAME);
	assert(policy_steered(100, 98, 12, 12) == POLICY_SAME); /* noise */
	assert(policy_steered(100, 80, 12, 12) == POLICY_WORSE);
	assert(policy_steered(1000, 1000, 10, 100) == POLICY_BETTER); /* off a bad path, though others filled the links */
	assert(policy_steered(1000, 1000, 100, 250) == POLICY_SAME);
}

/* ---- a lost call ------------------------------------------------------------------------- */

static void test_lost(void)
{
	assert(policy_lost(CALL_IDEMPOTENT, false) == POLICY_RESEND);
	assert(policy_lost(CALL_IDEMPOTENT, true) == POLICY_RESEND);
	assert(policy_lost(CALL_WRITE, false) == POLICY_RESEND);
	assert(policy_lost(CALL_WRITE, true) == POLICY_RESEND); /* its socket has been reset */
	assert(policy_lost(CALL_OTHER, false) == POLICY_RESEND);
	assert(policy_lost(CALL_OTHER, true) == POLICY_AMBIGUOUS);
	assert(policy_lost(CALL_ONCE, false) == POLICY_RESEND);
	assert(policy_lost(CALL_ONCE, true) == POLICY_AMBIGUOUS);
}

static void test_may_replay(void)
{
	assert(policy_may_replay(CALL_OTHER, 0, false, 0));
	assert(policy_may_replay(CALL_OTHER, 99 * S, false, 1));
	assert(!policy_may_replay(CALL_OTHER, 100 * S, false, 0)); /* the cache may have forgotten it */
	assert(!policy_may_replay(CALL_OTHER, 0, true, 0));
	assert(!policy_may_replay(CALL_OTHER, 0, false, 2));
	assert(!policy_may_replay(CALL_ONCE, 0, false, 0));
}

static const struct {
	enum call_class class;
	enum call_size size;
	bool replayed;
	unsigned int n_repeats;
	int64_t waited_ms;
	enum policy_repeat repeat;
} repeats[] = { /* timeo 10 s, retrans 2 */
	{ CALL_IDEMPOTENT, CALL_SMALL, false, 0, 999, POLICY_WAIT },
	{ CALL_IDEMPOTENT, CALL_SMALL, false, 0, 1000, POLICY_REPEAT_ELSEWHERE },
	{ CALL_IDEMPOTENT, CALL_SMALL, false, 1, 3999, POLICY_WAIT },
	{ CALL_IDEMPOTENT, CALL_SMALL, false, 1, 4000, POLICY_REPEAT_ELSEWHERE },
	{ CALL_IDEMPOTENT, CALL_SMALL, false, 2, 16000, POLICY_REPEAT_ELSEWHERE },
	{ CALL_IDEMPOTENT, CALL_SMALL, false, 3, 99999, POLICY_WAIT },
	{ CALL_IDEMPOTENT, CALL_BULK, false, 0, 9999, POLICY_WAIT },
	{ CALL_IDEMPOTENT, CALL_BULK, false, 0, 10000, POLICY_REPEAT_HERE },
	{ CALL_WRITE, CALL_BULK, false, 1, 19999, POLICY_WAIT },
	{ CALL_WRITE, CALL_BULK, false, 1, 20000, POLICY_REPEAT_HERE },
	{ CALL_WRITE, CALL_BULK, false, 2, 99999, POLICY_WAIT },
	{ CALL_OTHER, CALL_SMALL, false, 0, 9999, POLICY_WAIT },
	{ CALL_OTHER, CALL_SMALL, false, 0, 10000, POLICY_REPEAT_HERE },
	{ CALL_OTHER, CALL_SMALL, true, 0, 999, POLICY_WAIT },
	{ CALL_OTHER, CALL_SMALL, true, 0, 1000, POLICY_REPEAT_HERE },
	{ CALL_OTHER, CALL_SMALL, true, 7, 8000, POLICY_REPEAT_HERE },
	{ CALL_OTHER, CALL_SMALL, true, 8, 99999, POLICY_WAIT },
	{ CALL_ONCE, CALL_SMALL, false, 0, 9999, POLICY_WAIT },
	{ CALL_ONCE, CALL_SMALL, false, 0, 10000, POLICY_GIVE_BACK },
};

static void test_repeat(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(repeats); i++) {
		struct policy_unanswered call = {
			.class = repeats[i].class,
			.size = repeats[i].size,
			.replayed = repeats[i].replayed,
			.n_repeats = repeats[i].n_repeats,
			.waited_ns = repeats[i].waited_ms * MS,
			.timeo_ns = 10 * S,
			.retrans = 2,
		};

		assert(policy_repeat(&call) == repeats[i].repeat);
	}
}

/* ---- health ------------------------------------------------------------------------------ */

static const struct {
	int64_t waiting_ms; /* how long, or 0 */
	int64_t idle_ms;
	int64_t others_ms;  /* ago, or -1: never */
	bool suspicious;
	int64_t detect_ms;
	enum policy_health health;
} healths[] = {
	{ 0, 0, -1, false, 5000, POLICY_HEALTHY },
	{ 0, 29999, -1, false, 5000, POLICY_HEALTHY },
	{ 0, 30000, -1, false, 5000, POLICY_PROBE },   /* idle for long: is it still there? */
	{ 0, 2499, 999, false, 5000, POLICY_HEALTHY },
	{ 0, 2500, 999, false, 5000, POLICY_PROBE },   /* it may get work next */
	{ 0, 2500, 1000, false, 5000, POLICY_HEALTHY },
	{ 0, 199, -1, true, 5000, POLICY_HEALTHY },
	{ 0, 200, -1, true, 5000, POLICY_PROBE },      /* does the server answer at all? */
	{ 1, 60000, -1, false, 5000, POLICY_HEALTHY }, /* idle until just now */
	{ 199, 199, -1, false, 5000, POLICY_HEALTHY },
	{ 200, 200, -1, false, 5000, POLICY_PROBE },
	{ 499, 499, -1, false, 5000, POLICY_PROBE },
	{ 500, 500, -1, false, 5000, POLICY_SUSPECT },
	{ 4999, 4999, -1, true, 5000, POLICY_SUSPECT },
	{ 5000, 5000, -1, true, 5000, POLICY_DEAD },
	{ 99999, 99999, -1, true, 5000, POLICY_DEAD },
	/* Others are answered, and were after this one's NULL call. */
	{ 1299, 1299, 0, true, 5000, POLICY_SUSPECT },
	{ 1300, 1300, 0, true, 5000, POLICY_BLACK_HOLE },
	{ 1300, 1300, 400, true, 5000, POLICY_BLACK_HOLE },
	{ 1300, 1300, 401, true, 5000, POLICY_SUSPECT }, /* maybe all have stopped since */
	{ 4000, 4000, 3500, true, 5000, POLICY_SUSPECT },
	{ 5000, 5000, 0, true, 5000, POLICY_BLACK_HOLE },
	/* A short detect time leaves time for the NULL call all the same. */
	{ 99, 99, -1, false, 400, POLICY_HEALTHY },
	{ 100, 100, -1, false, 400, POLICY_PROBE },
	{ 200, 200, -1, false, 400, POLICY_SUSPECT },
	{ 400, 400, -1, false, 400, POLICY_DEAD },
};

static void test_health(void)
{
	int64_t now_ns = 1000 * S;

	for (size_t i = 0; i < ARRAY_SIZE(healths); i++) {
		struct policy_signs signs = {
			.now_ns = now_ns,
			.waiting_since_ns = healths[i].waiting_ms ? now_ns - healths[i].waiting_ms * MS : 0,
			.last_rx_ns = now_ns - healths[i].idle_ms * MS,
			.others_rx_ns = healths[i].others_ms < 0 ? 0 : now_ns - healths[i].others_ms * MS,
			.suspicious = healths[i].suspicious,
			.unacked = true,
			.detect_ns = healths[i].detect_ms * MS,
		};

		assert(policy_health(&signs) == healths[i].health);
		signs.unacked = false; /* a slow server, then, up to a point */
		assert(policy_health(&signs) ==
		       (healths[i].health != POLICY_BLACK_HOLE ? healths[i].health :
			healths[i].waiting_ms >= healths[i].detect_ms ? POLICY_DEAD : POLICY_SUSPECT));
	}
}

/* Times in ms before now; 0: not. */
static const struct {
	bool connected;
	int64_t owed, rx, silent;
	enum server_state state;
	int64_t silent_after;
} servers[] = {
	{ true, 0, 60000, 0, SERVER_UP, 0 },            /* idle */
	{ true, 0, 60000, 9000, SERVER_UP, 0 },         /* nothing is owed any more */
	{ true, 1, 60000, 0, SERVER_UP, 1 },            /* asked just now, after a long pause */
	{ true, 499, 600, 0, SERVER_UP, 499 },
	{ true, 500, 600, 0, SERVER_WAITING, 500 },
	{ true, 4999, 5500, 4999, SERVER_WAITING, 4999 },
	{ true, 5000, 5500, 5000, SERVER_DOWN, 5000 },
	{ true, 9000, 100, 0, SERVER_UP, 100 },         /* one connection waits, another was answered */
	{ true, 9000, 100, 8000, SERVER_UP, 100 },      /* a byte ends the silence */
	{ true, 1000, 8500, 8000, SERVER_DOWN, 8000 },  /* a lost connection's silence counts on */
	{ false, 0, 60000, 0, SERVER_WAITING, -1 },     /* all gone, now */
	{ false, 0, 5000, 4999, SERVER_WAITING, 4999 },
	{ false, 0, 6000, 5000, SERVER_DOWN, 5000 },
	{ false, 0, 3000, 4000, SERVER_WAITING, 3000 }, /* a byte, then the end */
	{ true, 0, 1, 99999, SERVER_UP, 0 },
};

static void test_server(void)
{
	int64_t now_ns = 5000 * S;

	for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
		struct policy_server signs = {
			.now_ns = now_ns,
			.connected = servers[i].connected,
			.owed_since_ns = servers[i].owed ? now_ns - servers[i].owed * MS : 0,
			.last_rx_ns = now_ns - servers[i].rx * MS,
			.silent_since_ns = servers[i].silent ? now_ns - servers[i].silent * MS : 0,
			.detect_ns = 5 * S,
		};
		int64_t after_ns = servers[i].silent_after < 0 ? now_ns :
				   servers[i].silent_after ? now_ns - servers[i].silent_after * MS :
							     0;

		assert(policy_server(&signs) == servers[i].state);
		assert(signs.silent_since_ns == after_ns);
	}
}

/* ---- when again -------------------------------------------------------------------------- */

static const struct {
	unsigned int n_failures;
	bool server_up;
	int64_t most_ms; /* half of it at least */
} backoffs[] = {
	{ 0, true, 100 },	{ 1, true, 200 },      { 2, true, 400 },
	{ 8, true, 25600 },	{ 9, true, 30000 },    { 15, true, 30000 },
	{ 16, true, 30000 },	{ 64, true, 30000 },   { UINT32_MAX, true, 30000 },
	{ 0, false, 100 },	{ 4, false, 1600 },    { 5, false, 2000 },
	{ 63, false, 2000 },	{ UINT32_MAX, false, 2000 },
};

static void test_backoff(void)
{
	static const uint32_t randoms[] = { 0, 1, 0x7fffffff, 0x80000000, 0xffffffff };

	for (size_t i = 0; i < ARRAY_SIZE(backoffs); i++) {
		int64_t most_ns = backoffs[i].most_ms * MS, before = 0;

		for (size_t k = 0; k < ARRAY_SIZE(randoms); k++) {
			int64_t pause_ns = policy_backoff_ns(backoffs[i].n_failures,
							     backoffs[i].server_up, randoms[k]);

			assert(pause_ns >= most_ns / 2 && pause_ns <= most_ns);
			assert(pause_ns >= before);
			before = pause_ns;
		}
		assert(before > most_ns * 9 / 10); /* the jitter uses all of the other half */
	}
}

/* By UDP: when is a call sent again, or given back? */
static void test_resend(void)
{
	static const struct {
		const char *what;
		struct policy_rtt rtt;
		enum call_class class;
		unsigned int n_repeats;
		int64_t timeo_ms, ms;
	} rows[] = {
		{ "nothing is known", { 0, 0, 0 }, CALL_IDEMPOTENT, 0, 10000, 500 },
		{ "nothing is known, again", { 0, 0, 0 }, CALL_IDEMPOTENT, 1, 10000, 1000 },
		{ "a short path", { 1 * MS, MS / 10, 0 }, CALL_IDEMPOTENT, 0, 10000, 100 },
		{ "a long path", { 200 * MS, 50 * MS, 0 }, CALL_IDEMPOTENT, 0, 10000, 400 },
		{ "twice as long each time", { 200 * MS, 50 * MS, 0 }, CALL_WRITE, 2, 10000, 1600 },
		{ "two seconds at most", { 200 * MS, 50 * MS, 0 }, CALL_OTHER, 5, 10000, 2000 },
		{ "for ever", { 1 * MS, 0, 0 }, CALL_OTHER, 100, 10000, 2000 },
		{ "a slow server", { 3000 * MS, 500 * MS, 0 }, CALL_IDEMPOTENT, 0, 10000, 5000 },
		{ "a slow server, again", { 3000 * MS, 500 * MS, 0 }, CALL_IDEMPOTENT, 3, 10000, 5000 },
		{ "others were overdue", { 1 * MS, 0, 2 }, CALL_IDEMPOTENT, 0, 10000, 400 },
		{ "looked at, not sent again", { 1 * MS, 0, 0 }, CALL_ONCE, 0, 10000, 1000 },
		{ "looked at, long path", { 200 * MS, 50 * MS, 0 }, CALL_ONCE, 0, 10000, 3200 },
		{ "looked at after timeo", { 200 * MS, 50 * MS, 0 }, CALL_ONCE, 0, 2000, 2000 },
		{ "no timeo", { 1 * MS, 0, 0 }, CALL_ONCE, 0, 0, 1000 },
	};
	struct policy_rtt rtt = { 0, 0, 0 };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int64_t ns = policy_resend_ns(&rows[i].rtt, rows[i].class, rows[i].n_repeats,
					      rows[i].timeo_ms * MS);

		if (ns != rows[i].ms * MS)
			fprintf(stderr, "%s: %lld ms\n", rows[i].what, (long long)(ns / MS));
		assert(ns == rows[i].ms * MS);
	}
	for (int i = 0; i < 200; i++)
		policy_rtt_answered(&rtt, 20 * MS, 0);
	assert(rtt.smoothed_ns > 19 * MS && rtt.smoothed_ns < 21 * MS && rtt.deviation_ns < 2 * MS);
	policy_rtt_missed(&rtt, 1);
	policy_rtt_missed(&rtt, 3);
	policy_rtt_missed(&rtt, 2);
	assert(rtt.n_missed == 3);
	policy_rtt_answered(&rtt, 900 * MS, 3); /* to which copy? */
	assert(rtt.n_missed == 3 && rtt.smoothed_ns < 21 * MS);
	policy_rtt_answered(&rtt, 20 * MS, 3); /* to the last one: something was lost, that is all */
	assert(rtt.n_missed == 0 && rtt.smoothed_ns < 21 * MS);
	policy_rtt_missed(&rtt, 1000);
	policy_rtt_answered(&rtt, 500 * MS, 0); /* a path that has become longer */
	assert(rtt.n_missed == 0 && policy_resend_ns(&rtt, CALL_IDEMPOTENT, 0, 0) > 500 * MS);
}

int main(void)
{
	test_pick();
	test_pick_is_live();
	test_stripe();
	test_small();
	test_rate();
	test_warm_up();
	test_share();
	test_window();
	test_flight();
	test_steer();
	test_steered();
	test_lossy();
	test_rescues();
	test_lost();
	test_may_replay();
	test_repeat();
	test_health();
	test_server();
	test_resend();
	test_backoff();
	puts("policy: ok");
	return 0;
}
