/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_attr - which of two attributes is believed, for how long, and whether a change was ours:
 * each rule is a row, a small play of calls sent and answered. */
#undef NDEBUG
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/util.h"
#include "../../fuse/attr.h"

enum { FILEID = 42, N_STEPS = 24, N_SENT = 100 };

static const struct attr_policy policy = {
	.regmin_ns = 3 * NS_PER_S, .regmax_ns = 20 * NS_PER_S,
	.dirmin_ns = 30 * NS_PER_S, .dirmax_ns = 60 * NS_PER_S,
};

/* States of a file: letters, told apart by size, mtime and ctime (whole numbers). In lower case
 * what the server's clock cannot tell from the upper case one: the same times, another size. */
struct state {
	uint64_t size;
	time_t mtime, ctime;
};

static const struct state states[128] = {
	['A'] = { 100, 10, 10 }, ['B'] = { 200, 20, 20 }, ['C'] = { 300, 30, 30 },
	['D'] = { 400, 40, 40 }, ['E'] = { 500, 50, 50 },
	['b'] = { 250, 20, 20 }, ['c'] = { 350, 30, 30 },
	['0'] = { 0, 40, 40 },   /* truncated; or what a foreign truncation leaves */
	['S'] = { 200, 20, 25 }, /* B after a chmod, a rename or a link */
	['T'] = { 200, 20, 27 }, /* S after another */
	['M'] = { 200, 10, 26 }, /* B written to, and mtime set back */
	['X'] = { UINT64_MAX, 60, 60 }, /* an impossible size */
};

enum op {
	END, /* of the play */
	/* calls; .n names one */
	SENT,     /* stamped */
	SHOWS,    /* answered, with attributes .now */
	WROTE,    /* an own change is answered, with wcc_data .was -> .now; 0: left out */
	BEGIN,    /* WRITE or SETATTR begins; SENT too */
	ENDS,     /* WROTE, and it was one that had begun */
	FAILS,    /* an own change ends with nobody knowing */
	/* other events */
	EXPIRE,
	RENAMED,  /* attr_expect_ctime() */
	/* what follows */
	AT,       /* the clock is .now seconds */
	KNOWN,    /* the cached attributes are .now */
	VALID,    /* they are valid for .now seconds more */
	KEEPS,    /* open: the pages may stay */
	DROPS,    /* open: the pages may not */
	TRACKS,   /* with .now changes unmatched */
};

struct step {
	enum op op;
	int n;
	int was, now;
};

struct row {
	const char *what;
	struct step steps[N_STEPS];
};

#define CALL(op_, n_) { .op = (op_), .n = (n_) }
#define SEE(n_, now_) { .op = SHOWS, .n = (n_), .now = (now_) }
#define WCC(op_, n_, was_, now_) { .op = (op_), .n = (n_), .was = (was_), .now = (now_) }
#define IS(op_, now_) { .op = (op_), .now = (now_) }
#define DO(op_) { .op = (op_) }
/* The file was opened while it was in that state. */
#define OPENED(state_) CALL(SENT, 0), SEE(0, state_), DO(DROPS), DO(KEEPS)

/* ---- which attributes are newer ----------------------------------------------------------- */

static const struct row order_rows[] = {
	{ "nothing is known at first", { IS(KNOWN, 0), IS(VALID, -1), DO(DROPS) } },
	{ "the first attributes are believed", { CALL(SENT, 1), SEE(1, 'A'), IS(KNOWN, 'A') } },
	{ "a later call's are believed", {
		CALL(SENT, 1), SEE(1, 'A'), CALL(SENT, 2), SEE(2, 'B'), IS(KNOWN, 'B') } },
	{ "an overtaken reply is not", {
		CALL(SENT, 1), CALL(SENT, 2), SEE(2, 'B'), SEE(1, 'A'), IS(KNOWN, 'B') } },
	{ "nor one of a call sent later, but before the newer state was told", {
		CALL(SENT, 1), CALL(SENT, 2), SEE(1, 'B'), SEE(2, 'A'), IS(KNOWN, 'B') } },
	{ "it is if its ctime is later", {
		CALL(SENT, 1), CALL(SENT, 2), SEE(2, 'A'), SEE(1, 'B'), IS(KNOWN, 'B') } },
	{ "not if its ctime is the same: a clock that ticks slowly", {
		CALL(SENT, 1), CALL(SENT, 2), SEE(2, 'b'), SEE(1, 'B'), IS(KNOWN, 'b') } },
	{ "a server whose clock was set back is believed by a new call", {
		CALL(SENT, 1), SEE(1, 'C'), CALL(SENT, 2), SEE(2, 'A'), IS(KNOWN, 'A') } },
	{ "replies that show nothing new leave the door open for the next call", {
		CALL(SENT, 1), SEE(1, 'C'), CALL(SENT, 2), CALL(SENT, 3), SEE(2, 'C'), SEE(3, 'A'),
		IS(KNOWN, 'A') } },
	{ "but not for one sent before", {
		CALL(SENT, 1), SEE(1, 'C'), CALL(SENT, 2), CALL(SENT, 3), SEE(3, 'C'), SEE(2, 'A'),
		IS(KNOWN, 'C') } },
	{ "a size is clamped to what a file offset can hold", {
		CALL(SENT, 1), SEE(1, 'X'), IS(KNOWN, 'X'), DO(DROPS), CALL(SENT, 2), SEE(2, 'X'),
		DO(KEEPS) } },
};

/* ---- own changes do not roll back --------------------------------------------------------- */

static const struct row rollback_rows[] = {
	{ "GETATTR executed before a WRITE, answered after it", {
		OPENED('A'), CALL(SENT, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 'A', 'B'), SEE(1, 'A'),
		IS(KNOWN, 'B'), DO(KEEPS) } },
	{ "the same, the WRITE within one tick of the clock", {
		OPENED('B'), CALL(SENT, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 'B', 'b'), SEE(1, 'B'),
		IS(KNOWN, 'b'), DO(KEEPS) } },
	{ "the same, sent while the WRITE was in flight", {
		OPENED('A'), CALL(BEGIN, 2), CALL(SENT, 1), WCC(ENDS, 2, 'A', 'B'), SEE(1, 'A'),
		IS(KNOWN, 'B'), DO(KEEPS) } },
	{ "GETATTR executed after a WRITE, answered before it", {
		OPENED('A'), CALL(BEGIN, 1), CALL(SENT, 2), SEE(2, 'B'), IS(KNOWN, 'B'),
		WCC(ENDS, 1, 'A', 'B'), IS(KNOWN, 'B'), DO(KEEPS) } },
	{ "two WRITEs, answered in order", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'B'),
		WCC(ENDS, 2, 'B', 'C'), IS(KNOWN, 'C'), DO(KEEPS) } },
	{ "two WRITEs, answered in reverse", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 'B', 'C'), IS(KNOWN, 'C'),
		IS(TRACKS, 1), WCC(ENDS, 1, 'A', 'B'), IS(KNOWN, 'C'), IS(TRACKS, 0), DO(KEEPS) } },
	{ "two WRITEs in one tick, in order", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'B'),
		WCC(ENDS, 2, 'B', 'b'), IS(KNOWN, 'b'), DO(KEEPS) } },
	{ "two WRITEs in one tick, in reverse", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 'B', 'b'),
		WCC(ENDS, 1, 'A', 'B'), IS(KNOWN, 'b'), DO(KEEPS) } },
	{ "two WRITEs in one tick, without before, in order", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 0, 'B'),
		WCC(ENDS, 2, 0, 'b'), IS(KNOWN, 'b'), IS(VALID, 3) } },
	{ "the same in reverse: the larger size stays, but is looked up", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 0, 'b'),
		WCC(ENDS, 1, 0, 'B'), IS(KNOWN, 'b'), IS(VALID, 0) } },
	{ "a truncation shrinks, in the same tick too", {
		OPENED('C'), CALL(BEGIN, 1), WCC(ENDS, 1, 'C', 'c'), IS(KNOWN, 'c'), CALL(BEGIN, 2),
		WCC(ENDS, 2, 'c', 'C'), IS(KNOWN, 'C'), DO(KEEPS) } },
	{ "and after a GETATTR that was sent later and executed before it", {
		OPENED('C'), CALL(BEGIN, 1), CALL(SENT, 2), SEE(2, 'c'), WCC(ENDS, 1, 'c', 'C'),
		IS(KNOWN, 'C'), IS(VALID, 3) } },
	{ "the same, without before: it was sent after the other had ended", {
		OPENED('C'), CALL(BEGIN, 1), WCC(ENDS, 1, 0, 'c'), CALL(BEGIN, 2),
		WCC(ENDS, 2, 0, 'C'), IS(KNOWN, 'C'), IS(VALID, 3) } },
	{ "a change answered without attributes makes the cache stale", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 'A', 0), IS(KNOWN, 'A'), IS(VALID, 0) } },
	{ "and a GETATTR from before its end does not mend that", {
		OPENED('A'), CALL(SENT, 2), CALL(BEGIN, 1), CALL(SENT, 3), WCC(ENDS, 1, 'A', 0),
		SEE(2, 'A'), SEE(3, 'A'), IS(VALID, 0), CALL(SENT, 4), SEE(4, 'B'), IS(KNOWN, 'B'),
		IS(VALID, 3) } },
	{ "nor does one that shows something newer", {
		OPENED('A'), CALL(BEGIN, 1), CALL(SENT, 3), WCC(ENDS, 1, 'A', 0), SEE(3, 'B'),
		IS(KNOWN, 'B'), IS(VALID, 0) } },
	{ "a foreign truncation is seen while WRITEs are in flight", {
		OPENED('C'), CALL(BEGIN, 1), CALL(SENT, 2), SEE(2, '0'), IS(KNOWN, '0') } },
};

/* ---- how long -------------------------------------------------------------------------------- */

static const struct row age_rows[] = {
	{ "acregmin at first", { CALL(SENT, 1), SEE(1, 'A'), IS(VALID, 3) } },
	{ "they run out", {
		CALL(SENT, 1), SEE(1, 'A'), IS(AT, 2), IS(VALID, 1), IS(AT, 3), IS(VALID, 0),
		IS(AT, 1000), IS(VALID, 0), IS(KNOWN, 'A') } },
	{ "twice as long when confirmed after that, up to acregmax", {
		CALL(SENT, 1), SEE(1, 'A'),
		IS(AT, 3), CALL(SENT, 1), SEE(1, 'A'), IS(VALID, 6),
		IS(AT, 9), CALL(SENT, 1), SEE(1, 'A'), IS(VALID, 12),
		IS(AT, 30), CALL(SENT, 1), SEE(1, 'A'), IS(VALID, 20),
		IS(AT, 90), CALL(SENT, 1), SEE(1, 'A'), IS(VALID, 20) } },
	{ "confirmed earlier: just as long, from then", {
		CALL(SENT, 1), SEE(1, 'A'), IS(AT, 2), CALL(SENT, 1), SEE(1, 'A'), IS(VALID, 3),
		IS(AT, 4), IS(VALID, 1) } },
	{ "acregmin again when something changed", {
		CALL(SENT, 1), SEE(1, 'A'), IS(AT, 3), CALL(SENT, 1), SEE(1, 'A'), IS(VALID, 6),
		CALL(SENT, 1), SEE(1, 'B'), IS(VALID, 3) } },
	{ "a chmod is a change", {
		CALL(SENT, 1), SEE(1, 'B'), IS(AT, 3), CALL(SENT, 1), SEE(1, 'B'), IS(VALID, 6),
		CALL(SENT, 1), SEE(1, 'S'), IS(VALID, 3) } },
	{ "an own change is one, too", {
		CALL(SENT, 1), SEE(1, 'B'), IS(AT, 3), CALL(SENT, 1), SEE(1, 'B'), IS(VALID, 6),
		CALL(BEGIN, 1), WCC(ENDS, 1, 'B', 'C'), IS(VALID, 3) } },
	{ "an overtaken reply confirms nothing", {
		CALL(SENT, 1), CALL(SENT, 2), SEE(2, 'A'), IS(AT, 3), SEE(1, 'A'), IS(VALID, 0) } },
	{ "expired: fetched before the next use", {
		CALL(SENT, 1), SEE(1, 'A'), DO(EXPIRE), IS(KNOWN, 'A'), IS(VALID, 0), CALL(SENT, 2),
		SEE(2, 'A'), IS(VALID, 3) } },
	{ "by a call that was sent afterwards", {
		CALL(SENT, 1), SEE(1, 'A'), CALL(SENT, 2), DO(EXPIRE), SEE(2, 'A'),
		IS(VALID, 0) } },
	{ "a loop whose clock is behind does not make it longer", {
		IS(AT, 9), CALL(SENT, 1), SEE(1, 'A'), IS(AT, 8), IS(VALID, 3) } },
};

/* ---- whose change ------------------------------------------------------------------------- */

static const struct row version_rows[] = {
	{ "an unchanged file keeps its pages", {
		OPENED('A'), CALL(SENT, 1), SEE(1, 'A'), DO(KEEPS) } },
	{ "a file changed by somebody else drops them, once", {
		OPENED('A'), CALL(SENT, 1), SEE(1, 'B'), DO(DROPS), DO(KEEPS) } },
	{ "also if it was noticed earlier, by a READ", {
		OPENED('A'), CALL(SENT, 1), SEE(1, 'B'), CALL(SENT, 2), SEE(2, 'B'), DO(DROPS),
		DO(KEEPS) } },
	{ "also if size and mtime are what they were: ctime tells", {
		OPENED('B'), CALL(SENT, 1), SEE(1, 'T'), DO(DROPS) } },
	{ "a change in the same tick shows by its size only", {
		OPENED('B'), CALL(SENT, 1), SEE(1, 'b'), DO(DROPS) } },
	{ "own WRITEs keep the pages", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 'A', 'B'), CALL(BEGIN, 2),
		WCC(ENDS, 2, 'B', 'C'), CALL(SENT, 3), SEE(3, 'C'), DO(KEEPS) } },
	{ "four in flight, answered in any order", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), CALL(BEGIN, 3), CALL(BEGIN, 4),
		WCC(ENDS, 4, 'D', 'E'), WCC(ENDS, 2, 'B', 'C'), IS(TRACKS, 2),
		WCC(ENDS, 3, 'C', 'D'),
		IS(TRACKS, 1),
		WCC(ENDS, 1, 'A', 'B'), IS(TRACKS, 0), IS(KNOWN, 'E'), DO(KEEPS) } },
	{ "a foreign WRITE between two of ours", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 'A', 'B'), CALL(BEGIN, 2),
		WCC(ENDS, 2, 'C', 'D'), DO(DROPS), DO(KEEPS) } },
	{ "the same, both in flight", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'B'),
		WCC(ENDS, 2, 'C', 'D'), DO(DROPS), DO(KEEPS) } },
	{ "the same, answered in reverse", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 'C', 'D'),
		WCC(ENDS, 1, 'A', 'B'), DO(DROPS), DO(KEEPS) } },
	{ "the same, in one tick of the clock", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'B'),
		WCC(ENDS, 2, 'b', 'C'), DO(DROPS), DO(KEEPS) } },
	{ "a foreign WRITE before ours", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 'B', 'C'), DO(DROPS), DO(KEEPS) } },
	{ "a foreign WRITE after ours", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 'A', 'B'), CALL(SENT, 2), SEE(2, 'C'),
		DO(DROPS), DO(KEEPS) } },
	{ "a foreign WRITE after ours, shown while another of ours is in flight", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'B'), CALL(SENT, 3),
		SEE(3, 'C'), WCC(ENDS, 2, 'A', 'B'), DO(DROPS), DO(KEEPS) } },
	{ "GETATTR showing our WRITE before its reply does is no foreign change", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), CALL(SENT, 3), SEE(3, 'C'),
		WCC(ENDS, 2, 'B', 'C'), WCC(ENDS, 1, 'A', 'B'), DO(KEEPS) } },
	{ "an open in the midst of that cannot know, and the next one can", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), CALL(SENT, 3), SEE(3, 'B'), DO(DROPS),
		WCC(ENDS, 2, 'B', 'C'), WCC(ENDS, 1, 'A', 'B'), CALL(SENT, 4), SEE(4, 'C'),
		DO(KEEPS) } },
	{ "a change that waits for another one's reply is history, too, if the open shows it", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), CALL(BEGIN, 3), WCC(ENDS, 2, 'B', 'C'),
		IS(TRACKS, 1), DO(DROPS), IS(TRACKS, 0), WCC(ENDS, 1, 'A', 'B'),
		WCC(ENDS, 3, 'C', 'D'), DO(KEEPS) } },
	{ "what happened before that open is history, what happens after it is not", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), CALL(SENT, 3), SEE(3, 'B'), DO(DROPS),
		WCC(ENDS, 1, 'A', 'B'), WCC(ENDS, 2, 'C', 'D'), DO(DROPS), DO(KEEPS) } },
	{ "an open while our WRITEs are in flight but none has been executed", {
		OPENED('A'), CALL(BEGIN, 1), CALL(SENT, 2), SEE(2, 'A'), DO(KEEPS),
		WCC(ENDS, 1, 'A', 'B'), DO(KEEPS) } },
	{ "our chmod is not foreign", {
		OPENED('B'), CALL(BEGIN, 1), WCC(ENDS, 1, 'B', 'S'), CALL(SENT, 2), SEE(2, 'S'),
		DO(KEEPS) } },
	{ "nor without begin and end", {
		OPENED('B'), CALL(SENT, 1), WCC(WROTE, 1, 'B', 'S'), CALL(SENT, 2), SEE(2, 'S'),
		DO(KEEPS) } },
	{ "but what was before it may be", {
		OPENED('A'), CALL(SENT, 1), WCC(WROTE, 1, 'B', 'S'), IS(TRACKS, 0), DO(DROPS) } },
	{ "our truncation is not foreign", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 'A', '0'), IS(KNOWN, '0'), DO(KEEPS) } },
	{ "our rename moves ctime without wcc_data", {
		OPENED('B'), DO(RENAMED), CALL(SENT, 1), SEE(1, 'S'), DO(KEEPS) } },
	{ "once", {
		OPENED('B'), DO(RENAMED), CALL(SENT, 1), SEE(1, 'S'), CALL(SENT, 2), SEE(2, 'T'),
		DO(DROPS) } },
	{ "not mtime", {
		OPENED('B'), DO(RENAMED), CALL(SENT, 1), SEE(1, 'M'), DO(DROPS) } },
	{ "not size", {
		OPENED('B'), DO(RENAMED), CALL(SENT, 1), SEE(1, 'b'), DO(DROPS) } },
	{ "and a WRITE may be the first to show it", {
		OPENED('B'), DO(RENAMED), CALL(BEGIN, 1), WCC(ENDS, 1, 'S', 'C'), DO(KEEPS) } },
	{ "a failed WRITE may have been executed: dropped if it was", {
		OPENED('A'), CALL(BEGIN, 1), CALL(FAILS, 1), IS(VALID, 0), CALL(SENT, 2),
		SEE(2, 'B'),
		DO(DROPS) } },
	{ "kept if it was not", {
		OPENED('A'), CALL(BEGIN, 1), CALL(FAILS, 1), CALL(SENT, 2), SEE(2, 'A'),
		DO(KEEPS) } },
	{ "a COMMIT changes nothing", {
		OPENED('A'), CALL(SENT, 1), WCC(WROTE, 1, 0, 'A'), DO(KEEPS) } },
	{ "a COMMIT that shows a WRITE in flight", {
		OPENED('A'), CALL(BEGIN, 1), CALL(SENT, 2), WCC(WROTE, 2, 'B', 'B'),
		WCC(ENDS, 1, 'A', 'B'), DO(KEEPS) } },
};

/* ---- servers with weaker wcc_data ---------------------------------------------------------- */

static const struct row weak_rows[] = {
	{ "two WRITEs that read the same before", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'B'),
		WCC(ENDS, 2, 'A', 'C'), DO(KEEPS) } },
	{ "in reverse", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 'A', 'C'),
		WCC(ENDS, 1, 'A', 'B'), DO(KEEPS) } },
	{ "the same before and after", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'C'),
		WCC(ENDS, 2, 'A', 'C'), DO(KEEPS) } },
	{ "an after read late, behind the other's before", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 'A', 'C'),
		WCC(ENDS, 2, 'B', 'D'), DO(KEEPS) } },
	{ "in reverse", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 'B', 'C'),
		WCC(ENDS, 1, 'A', 'C'), DO(KEEPS) } },
	{ "one that explains another that came first", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), CALL(BEGIN, 3), WCC(ENDS, 1, 'c', 'E'),
		WCC(ENDS, 2, 'B', 'D'), IS(TRACKS, 2), WCC(ENDS, 3, 'A', 'B'), DO(KEEPS) } },
	{ "a gap is a gap", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), CALL(BEGIN, 3), WCC(ENDS, 1, 'A', 'C'),
		WCC(ENDS, 2, 'B', 'C'), WCC(ENDS, 3, 'D', 'E'), DO(DROPS), DO(KEEPS) } },
	{ "without before, nobody knows: dropped once", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 0, 'B'), IS(KNOWN, 'B'), IS(VALID, 3),
		DO(DROPS), DO(KEEPS) } },
	{ "but for a change that changed nothing", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 0, 'A'), DO(KEEPS) } },
	{ "or that another one, with before, has overtaken and explains", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 1, 0, 'B'),
		WCC(ENDS, 2, 'A', 'C'), DO(KEEPS) } },
	{ "an own WRITE without before on top of a foreign one", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 0, 'C'), DO(DROPS) } },
};

/* The same with trust_ns = 3 s. */
static const struct row trust_rows[] = {
	{ "without before, soon after the open: ours", {
		IS(AT, 100), OPENED('A'), IS(AT, 103), CALL(BEGIN, 1), WCC(ENDS, 1, 0, 'B'),
		DO(KEEPS) } },
	{ "later: nobody knows", {
		OPENED('A'), IS(AT, 4), CALL(BEGIN, 1), WCC(ENDS, 1, 0, 'B'), DO(DROPS),
		DO(KEEPS) } },
	{ "each one of ours confirms what it leaves", {
		OPENED('A'), IS(AT, 3), CALL(BEGIN, 1), WCC(ENDS, 1, 0, 'B'), IS(AT, 6),
		CALL(BEGIN, 2),
		WCC(ENDS, 2, 0, 'C'), DO(KEEPS) } },
	{ "so do attributes that show it", {
		OPENED('A'), IS(AT, 3), CALL(SENT, 1), SEE(1, 'A'), IS(AT, 6), CALL(BEGIN, 2),
		WCC(ENDS, 2, 0, 'B'), DO(KEEPS) } },
	{ "also while others are in flight", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), IS(AT, 3), WCC(ENDS, 1, 0, 'B'),
		IS(AT, 6), WCC(ENDS, 2, 0, 'C'), DO(KEEPS) } },
	{ "two in flight, in reverse", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 0, 'C'),
		WCC(ENDS, 1, 0, 'B'),
		IS(KNOWN, 'C'), DO(KEEPS) } },
	{ "two in one tick, in reverse: looked up before anything is said", {
		OPENED('A'), CALL(BEGIN, 1), CALL(BEGIN, 2), WCC(ENDS, 2, 0, 'b'),
		WCC(ENDS, 1, 0, 'B'),
		IS(KNOWN, 'b'), IS(VALID, 0) } },
	{ "what has a before is not trusted but compared", {
		OPENED('A'), CALL(BEGIN, 1), WCC(ENDS, 1, 'B', 'C'), DO(DROPS) } },
	{ "what was seen to be foreign once nothing was in flight stays so", {
		OPENED('A'), CALL(BEGIN, 1), CALL(SENT, 2), SEE(2, 'C'), WCC(ENDS, 1, 'A', 'B'),
		CALL(BEGIN, 3), WCC(ENDS, 3, 0, 'D'), DO(DROPS) } },
	{ "what was seen to be foreign stays so", {
		OPENED('A'), CALL(SENT, 1), SEE(1, 'B'), CALL(BEGIN, 2), WCC(ENDS, 2, 0, 'C'),
		DO(DROPS) } },
};

/* ---- the stage ----------------------------------------------------------------------------- */

struct play {
	const struct attr_policy *policy;
	struct inode *inode;
	int64_t now_ns;
	uint64_t sent[N_SENT];
};

static struct timespec seconds(time_t s)
{
	return (struct timespec){ .tv_sec = s };
}

static struct attr attr_of(const struct state *state)
{
	return (struct attr){ .mode = S_IFREG | 0644, .nlink = 1, .fileid = FILEID,
			      .size = state->size, .mtime = seconds(state->mtime),
			      .ctime = seconds(state->ctime) };
}

static struct wcc wcc_of(int was, int now)
{
	const struct state *before = &states[was];

	return (struct wcc){ .before_valid = was, .before_size = before->size,
			     .before_mtime = seconds(before->mtime),
			     .before_ctime = seconds(before->ctime),
			     .after = { .valid = now, .attr = attr_of(&states[now]) } };
}

static void answer(struct play *play, const struct step *step)
{
	struct attr attr = attr_of(&states[step->now]);
	struct wcc wcc = wcc_of(step->was, step->now);

	if (step->op == SHOWS)
		assert(attr_apply(play->policy, play->inode, &attr, play->sent[step->n],
				  play->now_ns));
	else if (step->op == FAILS)
		attr_expire(play->inode);
	else
		attr_apply_own(play->policy, play->inode, &wcc, play->sent[step->n],
			       play->now_ns);
	if (step->op == ENDS || step->op == FAILS)
		attr_change_end(play->inode);
}

static bool check(struct play *play, const struct step *step)
{
	struct attr attr = { 0 };
	int64_t left_ns = attr_get(play->inode, play->now_ns, &attr);
	const struct state *state = &states[step->now > 0 ? step->now : 0];

	if (step->op == VALID)
		return left_ns == (step->now < 0 ? -1 : step->now * NS_PER_S);
	if (step->op == TRACKS)
		return play->inode->n_unmatched == (unsigned int)step->now;
	if (!step->now)
		return left_ns == -1;
	return attr.size == (state->size < INT64_MAX ? state->size : INT64_MAX) &&
	       attr.mtime.tv_sec == state->mtime && attr.ctime.tv_sec == state->ctime;
}

static bool perform(struct play *play, const struct step *step)
{
	switch (step->op) {
	case BEGIN:
		attr_change_begin(play->inode);
		play->sent[step->n] = attr_stamp();
		break;
	case SENT:
		play->sent[step->n] = attr_stamp();
		break;
	case SHOWS:
	case WROTE:
	case ENDS:
	case FAILS:
		answer(play, step);
		break;
	case EXPIRE:
		attr_expire(play->inode);
		break;
	case RENAMED:
		attr_expect_ctime(play->inode);
		break;
	case AT:
		play->now_ns = step->now * NS_PER_S;
		break;
	case KNOWN:
	case VALID:
	case TRACKS:
		return check(play, step);
	case KEEPS:
		return attr_open(play->inode);
	case DROPS:
		return !attr_open(play->inode);
	case END:
		break;
	}
	return true;
}

static struct inode *stage_new(mode_t type)
{
	struct inode *inode = calloc(1, sizeof(*inode));

	assert(inode);
	mutex_init(&inode->lock);
	inode->index = 7;
	inode->fileid = FILEID;
	inode->type = type;
	return inode;
}

static void stage_free(struct inode *inode)
{
	mutex_deinit(&inode->lock);
	free(inode->unmatched);
	free(inode);
}

static void test_row(const struct row *row, const struct attr_policy *with)
{
	struct play play = { .policy = with, .inode = stage_new(S_IFREG) };

	printf("%s\n", row->what);
	for (unsigned int i = 0; i < N_STEPS && row->steps[i].op != END; i++) {
		if (perform(&play, &row->steps[i]))
			continue;
		printf("  not so at step %u\n", i);
		fflush(stdout);
		abort();
	}
	assert(!play.inode->unmatched || play.inode->n_writing); /* nothing is left over */
	stage_free(play.inode);
}

static void test_rows(const struct row *rows, size_t n, const struct attr_policy *with)
{
	for (size_t i = 0; i < n; i++)
		test_row(&rows[i], with);
}

/* ---- what needs no play ---------------------------------------------------------------------- */

/* In seconds. */
struct policy_row {
	const char *what;
	mode_t type;
	int64_t regmin, regmax, dirmin, dirmax;
	int64_t valid[3]; /* as it is confirmed again and again */
};

static const struct policy_row policies[] = {
	{ "file", S_IFREG, 3, 10, 30, 60, { 3, 6, 10 } },
	{ "symlink", S_IFLNK, 3, 9, 30, 60, { 3, 6, 9 } },
	{ "directory", S_IFDIR, 3, 9, 30, 90, { 30, 60, 90 } },
	{ "noac", S_IFREG, 0, 0, 0, 0, { 0, 0, 0 } },
	{ "noac, directory", S_IFDIR, 0, 0, 0, 0, { 0, 0, 0 } },
	{ "actimeo=5", S_IFREG, 5, 5, 5, 5, { 5, 5, 5 } },
};

static void test_policy(const struct policy_row *row)
{
	const struct attr_policy tried = {
		.regmin_ns = row->regmin * NS_PER_S, .regmax_ns = row->regmax * NS_PER_S,
		.dirmin_ns = row->dirmin * NS_PER_S, .dirmax_ns = row->dirmax * NS_PER_S,
	};
	struct inode *inode = stage_new(row->type);
	int64_t now_ns = 1000 * NS_PER_S;
	struct attr attr = attr_of(&states['A']), got;

	attr.mode = row->type | 0755;
	for (unsigned int i = 0; i < ARRAY_SIZE(row->valid); i++) {
		assert(attr_apply(&tried, inode, &attr, attr_stamp(), now_ns));
		assert(attr_get(inode, now_ns, &got) == row->valid[i] * NS_PER_S);
		assert(got.mode == attr.mode);
		now_ns += 100 * NS_PER_S;
	}
	stage_free(inode);
}

struct file_row {
	const char *what;
	uint32_t index;
	mode_t mode;
	uint64_t fileid;
	bool same;
};

static const struct file_row files[] = {
	{ "the file itself", 7, S_IFREG | 0600, FILEID, true },
	{ "another type under the same handle", 7, S_IFDIR | 0600, FILEID, false },
	{ "another fileid under the same handle", 7, S_IFREG | 0600, FILEID + 1, false },
	{ "the root, whose fileid nobody knew", INODE_ROOT, S_IFREG | 0600, FILEID + 1, true },
	{ "the root is no directory any more", INODE_ROOT, S_IFLNK | 0600, FILEID, false },
};

/* Attributes of another file are not believed, whoever brings them. */
static void test_file(const struct file_row *row)
{
	struct inode *inode = stage_new(S_IFREG);
	struct attr first = attr_of(&states['A']), got;
	struct wcc wcc = wcc_of('B', 'C');

	inode->index = row->index;
	assert(attr_apply(&policy, inode, &first, attr_stamp(), 0));
	first = attr_of(&states['B']);
	first.mode = row->mode;
	first.fileid = row->fileid;
	assert(attr_apply(&policy, inode, &first, attr_stamp(), 0) == row->same);
	assert((attr_get(inode, 0, &got) > 0) == row->same);
	assert(got.size == (row->same ? 200 : 100));
	wcc.after.attr.mode = row->mode;
	wcc.after.attr.fileid = row->fileid;
	attr_apply_own(&policy, inode, &wcc, attr_stamp(), 0);
	assert((attr_get(inode, 0, &got) > 0) == row->same);
	assert(got.size == (row->same ? 300 : 100));
	stage_free(inode);
}

static void deep_write(struct inode *inode, unsigned int i, uint64_t stamp)
{
	struct wcc wcc = { .before_valid = true, .before_size = 100 + i,
			   .before_mtime = seconds(10 + i), .before_ctime = seconds(10 + i),
			   .after.valid = true };

	wcc.after.attr = attr_of(&(struct state){ 100 + i + 1, 10 + i + 1, 10 + i + 1 });
	attr_apply_own(&policy, inode, &wcc, stamp, 0);
	attr_change_end(inode);
}

/* n WRITEs in flight, an even number, each one's after the next one's before. First every second
 * one is answered, from the last to the first, so that none follows another; then the others. What
 * does not fit is not guessed. */
static void test_deep(unsigned int n)
{
	struct inode *inode = stage_new(S_IFREG);
	struct attr attr = attr_of(&states['A']);
	uint64_t stamp;

	assert(attr_apply(&policy, inode, &attr, attr_stamp(), 0));
	assert(!attr_open(inode));
	for (unsigned int i = 0; i < n; i++)
		attr_change_begin(inode);
	stamp = attr_stamp();
	for (unsigned int i = n; i > 0; i -= 2)
		deep_write(inode, i - 1, stamp);
	assert(inode->n_unmatched == (n / 2 <= INODE_UNMATCHED_MAX ? n / 2 : 0));
	for (unsigned int i = n; i > 0; i -= 2)
		deep_write(inode, i - 2, stamp);
	assert(attr_open(inode) == (n / 2 <= INODE_UNMATCHED_MAX));
	assert(!inode->unmatched && attr_open(inode));
	stage_free(inode);
}

/* One WRITE is stuck and a thousand others pass it. */
static void test_stuck(void)
{
	struct inode *inode = stage_new(S_IFREG);
	struct attr attr = attr_of(&states['A']);
	uint64_t stamp;

	assert(attr_apply(&policy, inode, &attr, attr_stamp(), 0));
	assert(!attr_open(inode));
	attr_change_begin(inode);
	stamp = attr_stamp();
	for (unsigned int i = 1; i <= 1000; i++) {
		attr_change_begin(inode);
		deep_write(inode, i, attr_stamp());
		assert(inode->n_unmatched == 1);
	}
	deep_write(inode, 0, stamp);
	assert(attr_open(inode));
	stage_free(inode);
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { N_THREADS = 4, N_ROUNDS = 5000 };

/* A server with one file: every WRITE makes it one byte longer and moves its clock. */
struct server {
	struct inode *inode;
	struct mutex lock; /* guards size */
	uint64_t size;
};

static struct wcc server_write(struct server *server, bool change)
{
	struct wcc wcc = { .before_valid = true, .after = { .valid = true } };
	uint64_t size;

	mutex_lock(&server->lock);
	size = server->size;
	server->size += change;
	mutex_unlock(&server->lock);
	wcc.before_size = size;
	wcc.before_mtime = wcc.before_ctime = seconds((time_t)size);
	size += change;
	wcc.after.attr = attr_of(&(struct state){ size, (time_t)size, (time_t)size });
	return wcc;
}

static void *write_and_look(void *arg)
{
	struct server *server = (struct server *)arg;
	struct attr got;
	uint64_t size = 0;

	for (int i = 0; i < N_ROUNDS; i++) {
		uint64_t stamp;
		struct wcc wcc;

		attr_change_begin(server->inode);
		stamp = attr_stamp();
		wcc = server_write(server, true);
		attr_apply_own(&policy, server->inode, &wcc, stamp, i);
		attr_change_end(server->inode);
		/* What was once told is never taken back. */
		assert(attr_get(server->inode, i, &got) >= 0);
		assert(got.size >= wcc.after.attr.size && got.size >= size);
		size = got.size;
		stamp = attr_stamp();
		wcc = server_write(server, false);
		assert(attr_apply(&policy, server->inode, &wcc.after.attr, stamp, i));
	}
	return NULL;
}

static void test_threads(void)
{
	struct server server = { .inode = stage_new(S_IFREG), .lock = MUTEX_INIT };
	struct wcc wcc = server_write(&server, false);
	pthread_t threads[N_THREADS];
	struct attr got;

	assert(attr_apply(&policy, server.inode, &wcc.after.attr, attr_stamp(), 0));
	assert(!attr_open(server.inode));
	for (int i = 0; i < N_THREADS; i++)
		assert(!pthread_create(&threads[i], NULL, write_and_look, &server));
	for (int i = 0; i < N_THREADS; i++)
		assert(!pthread_join(threads[i], NULL));
	assert(attr_get(server.inode, 0, &got) >= 0 && got.size == N_THREADS * N_ROUNDS);
	assert(attr_open(server.inode)); /* all of it was ours */
	stage_free(server.inode);
}

/* ---- attr_settled ------------------------------------------------------------------------ */

/* What was seen in a directory is believed for as long as its times stay, but only if a later change
 * cannot have the same ones. */
static void test_settled(void)
{
	enum { WALL = 5000, NEW_MS = 10000 };
	static const struct {
		const char *what;
		time_t ctime_s;      /* of the directory */
		long ctime_ns;
		int64_t sent_ms;     /* after the present state was first told of */
		bool stale, settled;
	} rows[] = {
		{ "the call brought the state itself", WALL - 1, 500, -1, false, false },
		{ "maybe still in the same tick", WALL - 1, 500, 10, false, false },
		{ "a tick later", WALL - 1, 500, 30, false, true },
		{ "the server's clock is ahead of ours", WALL + 100, 500, 10, false, false },
		{ "whole seconds: ticks may be as long", WALL - 1, 0, 30, false, false },
		{ "a long tick later", WALL - 1, 0, 1200, false, true },
		{ "long ago by any clock", WALL - 61, 500, -1, false, true },
		{ "not the present attributes any more", WALL - 61, 500, 5000, true, false },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct inode dir = { .index = 2, .type = S_IFDIR };
		struct attr seen = { .mode = S_IFDIR };
		struct attr other;

		seen.ctime = (struct timespec){ rows[i].ctime_s, rows[i].ctime_ns };
		seen.mtime = (struct timespec){ 1000, 0 };
		other = seen;
		other.mtime.tv_sec++;
		mutex_init(&dir.lock);
		assert(!attr_settled(&dir, &seen, NEW_MS * NS_PER_MS, WALL));
		dir.attr = seen;
		dir.has_attr = true;
		dir.attr_new_ns = NEW_MS * NS_PER_MS;
		dir.attr_stale = rows[i].stale;
		if (attr_settled(&dir, &seen, (NEW_MS + rows[i].sent_ms) * NS_PER_MS, WALL) !=
		    rows[i].settled) {
			fprintf(stderr, "settled: %s\n", rows[i].what);
			abort();
		}
		assert(!attr_settled(&dir, &other, (NEW_MS + 5000) * NS_PER_MS, WALL));
		mutex_deinit(&dir.lock);
	}
}

int main(void)
{
	struct attr_policy trusting = policy;

	trusting.trust_ns = 3 * NS_PER_S;
	test_settled();
	test_rows(order_rows, ARRAY_SIZE(order_rows), &policy);
	test_rows(rollback_rows, ARRAY_SIZE(rollback_rows), &policy);
	test_rows(age_rows, ARRAY_SIZE(age_rows), &policy);
	test_rows(version_rows, ARRAY_SIZE(version_rows), &policy);
	test_rows(version_rows, ARRAY_SIZE(version_rows), &trusting);
	test_rows(weak_rows, ARRAY_SIZE(weak_rows), &policy);
	test_rows(trust_rows, ARRAY_SIZE(trust_rows), &trusting);
	for (unsigned int i = 0; i < ARRAY_SIZE(policies); i++) {
		printf("policy: %s\n", policies[i].what);
		test_policy(&policies[i]);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		printf("attributes of %s\n", files[i].what);
		test_file(&files[i]);
	}
	test_deep(2);
	test_deep(2 * INODE_UNMATCHED_MAX);
	test_deep(2 * INODE_UNMATCHED_MAX + 2);
	test_deep(500);
	test_stuck();
	test_threads();
	return 0;
}
