/* SPDX-License-Identifier: GPL-2.0-or-later */
/* policy - see policy.h. */
#include "policy.h"

#include "util.h"

/* Assumed of a connection that has not been measured: a gigabit link and a LAN round trip. */
static const uint64_t RATE_UNKNOWN = 100 * 1000 * 1000;
static const int64_t RTT_UNKNOWN_NS = 100 * 1000;
/* Waking another loop costs some 20 us; a connection there must save more than that, and more than
 * what two measured round trips on one path differ by. */
static const int64_t HAND_OVER_NS = 150 * 1000;
static const int64_t FOREVER_NS = INT64_MAX / 4;
static const uint64_t AHEAD_MAX = UINT64_C(1) << 62;
static const int64_t RATE_IDLE_NS = 4 * NS_PER_S;
static const uint64_t WARM_BYTES = 2 << 20;
static const int64_t LONG_RTT_NS = 1 * NS_PER_MS;
static const int64_t COLD_NS = 1 * NS_PER_S;
static const int64_t OVERTAKEN_NS = 1 * NS_PER_S;
/* Two small calls within so long are work on metadata, and so long there may be more of it. */
static const int64_t SMALL_AGAIN_NS = 250 * NS_PER_MS;
static const int64_t SMALL_BUSY_NS = 500 * NS_PER_MS;
static const int64_t SMALL_NOTE_NS = 10 * NS_PER_MS;
static const double LOSS_MIN = .01;
static const uint64_t LOST_MIN = 8, SEGMENTS_MIN = 100;
static const int64_t RESCUE_NS = 200 * NS_PER_MS; /* a round trip, and a busy host, take less */
static const unsigned int RESCUES_MAX = 2;
static const uint64_t WINDOW_MAX = 64 << 20;
static const uint64_t CALL_HEAD_MAX = 4096; /* of a call and its reply, all but the data */
static const uint32_t FLIGHT_MIN = 16 << 10;
static const uint32_t FLIGHT_MAX = 64 << 20;
static const int64_t QUEUE_NS = 1 * NS_PER_MS;
static const int64_t OVERDUE_NS = 200 * NS_PER_MS;
static const int64_t SUSPECT_NS = 500 * NS_PER_MS;
static const int64_t BLACK_HOLE_NS = 1300 * NS_PER_MS;
/* How much of that others must have been answered after the NULL call went out. */
static const int64_t OTHERS_NS = 900 * NS_PER_MS;
static const int64_t REPLAY_AGE_NS = 100 * NS_PER_S; /* caches forget after two minutes */
static const unsigned int REPLAYS_MAX = 2;
static const int64_t REPLAYED_TIMEO_NS = 1 * NS_PER_S;
static const unsigned int REPLAYED_RETRANS = 8;
static const int64_t FIRST_MOVE_NS = 1 * NS_PER_S;
static const unsigned int MOVES_MAX = 3;
static const int64_t RESEND_UNKNOWN_NS = 500 * NS_PER_MS;
static const int64_t RESEND_MIN_NS = 100 * NS_PER_MS; /* a busy server is no lossy path */
static const int64_t RESEND_MAX_NS = 2 * NS_PER_S;    /* its return is to be noticed */
static const unsigned int RESEND_DOUBLINGS = 8;
static const int64_t ONCE_PATIENCE = 8, ONCE_MIN_NS = 1 * NS_PER_S;
static const int64_t IDLE_PROBE_NS = 30 * NS_PER_S;
static const int64_t OTHERS_BUSY_NS = 1 * NS_PER_S;

static uint64_t rate_of(const struct policy_conn *conn)
{
	return conn->rate ? conn->rate : RATE_UNKNOWN;
}

static int64_t expected_finish_ns(const struct policy_conn *conn, uint64_t cost)
{
	int64_t rtt_ns = conn->rtt_ns ? conn->rtt_ns : RTT_UNKNOWN_NS;
	double ns = ((double)conn->bytes_outstanding + (double)cost) * 1e9 / (double)rate_of(conn);

	return min_i64(rtt_ns, FOREVER_NS) + (ns < (double)FOREVER_NS ? (int64_t)ns : FOREVER_NS);
}

static bool takes_bulk(const struct policy_conn *conn, bool others_up)
{
	return conn->state == CONN_UP && !(conn->md && others_up);
}

static bool has_room(const struct policy_conn *conn, uint64_t cost)
{
	return conn->bytes_outstanding == 0 || conn->bytes_outstanding + cost <= conn->window;
}

static bool bulk_conn_is_up(const struct policy_conn *conns, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		if (takes_bulk(&conns[i], true))
			return true;
	return false;
}

/* All that take bulk, together. second_ns is for the best one, whose others it is. */
struct crowd {
	bool others_up;
	int best;
	int64_t best_ns, second_ns; /* to finish one more call */
	double outstanding, rate;
};

static struct crowd crowd_of(const struct policy_conn *conns, unsigned int n, uint64_t cost)
{
	struct crowd crowd = { .others_up = bulk_conn_is_up(conns, n),
			       .best = POLICY_QUEUE,
			       .best_ns = INT64_MAX,
			       .second_ns = INT64_MAX };

	for (unsigned int i = 0; i < n; i++) {
		int64_t finish_ns;

		if (!takes_bulk(&conns[i], crowd.others_up))
			continue;
		finish_ns = expected_finish_ns(&conns[i], cost);
		crowd.second_ns = min_i64(crowd.second_ns, max_i64(finish_ns, crowd.best_ns));
		if (finish_ns < crowd.best_ns) {
			crowd.best = (int)i;
			crowd.best_ns = finish_ns;
		}
		crowd.outstanding += (double)conns[i].bytes_outstanding;
		crowd.rate += (double)rate_of(&conns[i]);
	}
	return crowd;
}

/* When the others would have finished the call and all that is ahead of it equals when conns[i] would:
 * how much is that ahead? */
static uint64_t least_ahead(const struct crowd *crowd, const struct policy_conn *conns, int i,
			    uint64_t cost)
{
	const struct policy_conn *conn = &conns[i];
	int64_t others_ns = i == crowd->best ? crowd->second_ns : crowd->best_ns;
	int64_t finish_ns = expected_finish_ns(conn, cost);
	double ahead;

	if (!takes_bulk(conn, crowd->others_up) || !has_room(conn, cost))
		return POLICY_NEVER;
	finish_ns -= finish_ns / 8 + HAND_OVER_NS;
	if (finish_ns <= others_ns)
		return 0;
	ahead = (double)finish_ns / 1e9 * (crowd->rate - (double)rate_of(conn)) - (double)cost -
		(crowd->outstanding - (double)conn->bytes_outstanding);
	if (ahead < 1)
		return 1;
	return ahead < (double)AHEAD_MAX ? (uint64_t)ahead : POLICY_NEVER;
}

uint64_t policy_ahead(const struct policy_conn *conns, unsigned int n, unsigned int i, uint64_t cost)
{
	struct crowd crowd = crowd_of(conns, n, cost);

	return least_ahead(&crowd, conns, (int)i, cost);
}

int policy_pick(const struct policy_conn *conns, unsigned int n, const struct policy_ask *ask)
{
	struct crowd crowd = { 0 };
	int64_t best_ns = INT64_MAX;
	int best = POLICY_QUEUE;

	if (ask->size == CALL_BULK)
		crowd = crowd_of(conns, n, ask->cost);
	for (unsigned int k = 0; k < n; k++) {
		unsigned int i = (k + ask->turn) % n;
		int64_t finish_ns;

		if (conns[i].state != CONN_UP)
			continue;
		if (ask->size == CALL_BULK &&
		    least_ahead(&crowd, conns, (int)i, ask->cost) > ask->ahead)
			continue;
		finish_ns = expected_finish_ns(&conns[i], ask->cost);
		if (conns[i].loop != ask->own_loop)
			finish_ns += HAND_OVER_NS;
		else if (ask->size == CALL_SMALL && i == ask->company)
			finish_ns -= HAND_OVER_NS;
		if (finish_ns < best_ns) {
			best_ns = finish_ns;
			best = (int)i;
		}
	}
	return best;
}

bool policy_rescues(const struct policy_conn *conns, unsigned int n, unsigned int i, uint64_t cost,
		    int64_t waited_ns, unsigned int n_moves)
{
	bool others_up = bulk_conn_is_up(conns, n);
	int64_t best_ns = FOREVER_NS;

	for (unsigned int k = 0; k < n; k++)
		if (k != i && takes_bulk(&conns[k], others_up) && !conns[k].bytes_outstanding)
			best_ns = min_i64(best_ns, expected_finish_ns(&conns[k], cost));
	return n_moves < RESCUES_MAX && best_ns < FOREVER_NS &&
	       waited_ns >= max_i64(RESCUE_NS, 2 * best_ns) << n_moves;
}

int policy_stripe(const struct policy_conn *conns, unsigned int n, uint64_t first)
{
	for (unsigned int k = 0; k < n; k++) {
		unsigned int i = (unsigned int)((first + k) % n);

		if (conns[i].state == CONN_UP)
			return (int)i;
	}
	return POLICY_QUEUE;
}

bool policy_small_counts(int64_t since_ns)
{
	return since_ns >= SMALL_NOTE_NS;
}

int64_t policy_small_busy_ns(int64_t since_ns)
{
	return since_ns < SMALL_AGAIN_NS ? SMALL_BUSY_NS : 0;
}

uint64_t policy_rate(uint64_t rate, uint64_t sample, bool warming_up)
{
	struct policy_conn conn = { .rate = rate };

	if (warming_up && sample < rate_of(&conn))
		return rate;
	return rate ? rate - rate / 4 + sample / 4 : sample;
}

bool policy_is_warming_up(uint64_t carried, int64_t rtt_ns)
{
	return carried < WARM_BYTES && rtt_ns >= LONG_RTT_NS;
}

bool policy_is_cold(int64_t pause_ns)
{
	return pause_ns >= COLD_NS;
}

uint64_t policy_rate_idle(uint64_t rate, int64_t idle_ns)
{
	if (!rate || rate >= RATE_UNKNOWN || idle_ns < RATE_IDLE_NS)
		return rate;
	return rate + rate / 16 + 1;
}

bool policy_overtakes(int64_t waited_ns)
{
	return waited_ns < OVERTAKEN_NS;
}

uint64_t policy_window(uint64_t rate, int64_t rtt_ns, uint32_t transfer_max, uint32_t configured)
{
	double carried = (double)rate * (double)rtt_ns / 1e9; /* while one waits for the next */
	uint64_t least = (transfer_max + CALL_HEAD_MAX) * (carried > transfer_max / 64.0 ? 2 : 1);
	uint64_t window;

	if (configured)
		return configured > least ? configured : least;
	window = 2 * carried < (double)WINDOW_MAX ? (uint64_t)(2 * carried) : WINDOW_MAX;
	return window > least ? window : least;
}

uint32_t policy_flight(uint64_t rate, int64_t least_rtt_ns)
{
	struct policy_conn conn = { .rate = rate };
	double ns = (double)max_i64(2 * min_i64(least_rtt_ns, FOREVER_NS), QUEUE_NS);
	double bytes = (double)rate_of(&conn) * ns / 1e9;

	if (bytes < (double)FLIGHT_MIN)
		return FLIGHT_MIN;
	return bytes < (double)FLIGHT_MAX ? (uint32_t)bytes : FLIGHT_MAX;
}

static double loss_of(const struct policy_path *path)
{
	return (double)path->lost / (double)(path->segments ? path->segments : 1);
}

bool policy_is_lossy(const struct policy_path *paths, unsigned int n, unsigned int i)
{
	if (!paths[i].up || paths[i].lost < LOST_MIN || loss_of(&paths[i]) < LOSS_MIN)
		return false;
	for (unsigned int k = 0; k < n; k++)
		if (paths[k].up && paths[k].segments >= SEGMENTS_MIN && loss_of(&paths[k]) < loss_of(&paths[i]) / 4)
			return true;
	return false;
}

bool policy_stands_out(const struct policy_path *paths, unsigned int n, unsigned int i)
{
	uint64_t most = 0;

	for (unsigned int k = 0; k < n; k++)
		if (paths[k].up && paths[k].rate > most)
			most = paths[k].rate;
	return paths[i].rate < most / 4 * 3 || policy_is_lossy(paths, n, i);
}

int policy_steer(const struct policy_path *paths, unsigned int n, bool blind, uint32_t turn)
{
	unsigned int n_up = 0, n_lossy = 0;
	int slowest = -1;

	for (unsigned int i = 0; i < n; i++)
		n_lossy += policy_is_lossy(paths, n, i);

	for (unsigned int k = 0; k < n; k++) {
		unsigned int i = (k + turn % n) % n;

		n_up += paths[i].up;
		if (n_lossy && !policy_is_lossy(paths, n, i))
			continue;
		if (paths[i].up && (slowest < 0 || paths[i].rate < paths[slowest].rate))
			slowest = (int)i;
	}
	if (n_up < 2 || !(blind || policy_stands_out(paths, n, (unsigned int)slowest)))
		return -1;
	return slowest;
}

enum policy_steered policy_steered(uint64_t before, uint64_t after, uint64_t its_before, uint64_t its_after)
{
	if (after >= before + before / 12)
		return POLICY_BETTER;
	if (after < before - before / 16)
		return POLICY_WORSE;
	return its_after >= 2 * its_before && its_before < before / 16 ? POLICY_BETTER : POLICY_SAME;
}

enum policy_fate policy_lost(enum call_class class, bool sent)
{
	return sent && (class == CALL_OTHER || class == CALL_ONCE) ? POLICY_AMBIGUOUS : POLICY_RESEND;
}

bool policy_may_replay(enum call_class class, int64_t age_ns, bool path_suspect,
		       unsigned int n_replays)
{
	return class == CALL_OTHER && age_ns < REPLAY_AGE_NS && !path_suspect && n_replays < REPLAYS_MAX;
}

enum policy_repeat policy_repeat(const struct policy_unanswered *call)
{
	int64_t timeo_ns = call->replayed ? REPLAYED_TIMEO_NS : call->timeo_ns;
	unsigned int retrans = call->replayed ? REPLAYED_RETRANS : call->retrans;

	unsigned int n = call->n_repeats;

	if (call->class == CALL_IDEMPOTENT && call->size == CALL_SMALL) {
		if (call->hard && n >= MOVES_MAX)
			n = MOVES_MAX - 1;
		if (n < MOVES_MAX && call->waited_ns >= FIRST_MOVE_NS << (2 * n))
			return POLICY_REPEAT_ELSEWHERE;
		return POLICY_WAIT;
	}
	if (call->class == CALL_ONCE)
		return timeo_ns && call->waited_ns >= timeo_ns ? POLICY_GIVE_BACK : POLICY_WAIT;
	if (call->hard && n >= retrans && retrans)
		n = retrans - 1;
	if (timeo_ns && n < retrans && call->waited_ns >= timeo_ns * (1 + (int64_t)n))
		return POLICY_REPEAT_HERE;
	return POLICY_WAIT;
}

static void rtt_sample(struct policy_rtt *rtt, int64_t sample_ns)
{
	int64_t error_ns = sample_ns - rtt->smoothed_ns;

	if (!rtt->smoothed_ns) {
		rtt->smoothed_ns = max_i64(sample_ns, 1);
		rtt->deviation_ns = sample_ns / 2;
	} else {
		rtt->deviation_ns += ((error_ns < 0 ? -error_ns : error_ns) - rtt->deviation_ns) / 4;
		rtt->smoothed_ns = max_i64(rtt->smoothed_ns + error_ns / 8, 1);
	}
	rtt->n_missed = 0;
}

void policy_rtt_answered(struct policy_rtt *rtt, int64_t since_ns, unsigned int n_repeats)
{
	if (!n_repeats)
		rtt_sample(rtt, since_ns);
	else if (since_ns <= rtt->smoothed_ns + 4 * rtt->deviation_ns)
		rtt->n_missed = 0;
}

void policy_rtt_missed(struct policy_rtt *rtt, unsigned int n_repeats)
{
	if (n_repeats > rtt->n_missed)
		rtt->n_missed = n_repeats < RESEND_DOUBLINGS ? n_repeats : RESEND_DOUBLINGS;
}

int64_t policy_resend_ns(const struct policy_rtt *rtt, enum call_class class, unsigned int n_repeats,
			 int64_t timeo_ns)
{
	unsigned int doublings = n_repeats > rtt->n_missed ? n_repeats : rtt->n_missed;
	int64_t ns = RESEND_UNKNOWN_NS;

	if (rtt->smoothed_ns)
		ns = max_i64(rtt->smoothed_ns + 4 * rtt->deviation_ns, RESEND_MIN_NS);
	if (class == CALL_ONCE) {
		ns = max_i64(ONCE_PATIENCE * ns, ONCE_MIN_NS);
		return timeo_ns ? min_i64(ns, timeo_ns) : ns;
	}
	if (doublings > RESEND_DOUBLINGS)
		doublings = RESEND_DOUBLINGS;
	return min_i64(ns << doublings, max_i64(ns, RESEND_MAX_NS));
}

/* Four round trips where they are long, but never half of detect. */
static int64_t patience_ns(int64_t ns, int64_t rtt_ns, int64_t detect_ns)
{
	return min_i64(max_i64(ns, 4 * min_i64(rtt_ns, NS_PER_S)), detect_ns / 2);
}

/* How long a connection that owes nothing is believed to be alive: shorter while the others carry work that it
 * may be given next. */
static int64_t believed_ns(const struct policy_signs *signs)
{
	if (signs->suspicious)
		return OVERDUE_NS;
	if (signs->others_rx_ns && signs->now_ns - signs->others_rx_ns < OTHERS_BUSY_NS)
		return min_i64(signs->detect_ns / 2, IDLE_PROBE_NS);
	return IDLE_PROBE_NS;
}

static bool is_black_hole(const struct policy_signs *signs, int64_t waited_ns)
{
	return waited_ns >= BLACK_HOLE_NS && signs->unacked &&
	       signs->others_rx_ns >= signs->waiting_since_ns + OTHERS_NS;
}

enum policy_health policy_health(const struct policy_signs *signs)
{
	int64_t idle_ns = signs->now_ns - signs->last_rx_ns;
	int64_t waited_ns = signs->now_ns - signs->waiting_since_ns;

	if (!signs->waiting_since_ns)
		return idle_ns >= believed_ns(signs) ? POLICY_PROBE : POLICY_HEALTHY;
	if (is_black_hole(signs, waited_ns))
		return POLICY_BLACK_HOLE;
	if (waited_ns >= signs->detect_ns)
		return POLICY_DEAD;
	if (waited_ns >= patience_ns(SUSPECT_NS, signs->rtt_ns, signs->detect_ns))
		return POLICY_SUSPECT;
	return waited_ns >= min_i64(OVERDUE_NS, signs->detect_ns / 4) ? POLICY_PROBE : POLICY_HEALTHY;
}

static int64_t silent_since_ns(const struct policy_server *signs)
{
	if (signs->connected && !signs->owed_since_ns)
		return 0;
	if (signs->silent_since_ns && signs->last_rx_ns <= signs->silent_since_ns)
		return signs->silent_since_ns;
	if (!signs->connected)
		return signs->silent_since_ns ? signs->last_rx_ns : signs->now_ns;
	return max_i64(signs->last_rx_ns, signs->owed_since_ns);
}

enum server_state policy_server(struct policy_server *signs)
{
	int64_t silent_ns;

	signs->silent_since_ns = silent_since_ns(signs);
	if (!signs->silent_since_ns)
		return SERVER_UP;
	silent_ns = signs->now_ns - signs->silent_since_ns;
	if (silent_ns >= signs->detect_ns)
		return SERVER_DOWN;
	if (!signs->connected ||
	    silent_ns >= patience_ns(SUSPECT_NS, signs->rtt_ns, signs->detect_ns))
		return SERVER_WAITING;
	return SERVER_UP;
}

static int64_t doubling_ns(int64_t first_ns, int64_t last_ns, unsigned int n)
{
	return n >= 16 ? last_ns : min_i64(first_ns << n, last_ns);
}

int64_t policy_backoff_ns(unsigned int n_failures, bool server_up, uint32_t random)
{
	int64_t last_ns = (server_up ? 30 : 2) * NS_PER_S;
	int64_t pause_ns = doubling_ns(100 * NS_PER_MS, last_ns, n_failures);

	return pause_ns / 2 + (int64_t)((double)(pause_ns / 2) * ((double)random / 4294967296.0));
}
