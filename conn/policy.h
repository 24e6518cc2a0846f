/* SPDX-License-Identifier: GPL-2.0-or-later */
/* policy - what to do: which connection, how healthy, when again, what may be sent twice.
 *
 * Pure functions of their arguments: no lock, clock, socket or random source, so that every rule is
 * a row in a test table. Times are CLOCK_MONOTONIC nanoseconds, given by the caller.
 *
 * Ordering over several connections. The server executes what arrives on one connection in any
 * order it likes, and what arrives on two without any order at all. So nothing here keeps calls in
 * order: whoever needs B after A submits B when A is done. What the transport does promise is that no
 * call that changes anything runs on a new connection while the old socket may still deliver it: a
 * lost connection is reset (RST, send queue discarded) before any of its calls is sent again. */
#ifndef CONN_POLICY_H
#define CONN_POLICY_H

#include "conn.h"

/* A connection as the choice sees it. */
struct policy_conn {
	enum conn_state state;
	unsigned int loop;          /* that owns it */
	bool md;                    /* takes no bulk while another can (mdconnect); now, that is */
	uint64_t bytes_outstanding; /* cost of the calls bound to it and not done */
	uint64_t window;            /* bytes it may have in flight */
	uint64_t rate;              /* bytes per second; 0: unknown */
	int64_t rtt_ns;             /* 0: unknown */
};

enum { POLICY_QUEUE = -1 };

/* A call to find a connection for. */
struct policy_ask {
	enum call_size size;
	uint64_t cost;         /* bytes on the wire */
	uint64_t ahead;        /* of bulk: cost of the queued calls before it */
	unsigned int own_loop; /* whose thread asks */
	unsigned int turn;     /* equal ones are taken in turn, beginning here */
	unsigned int company;  /* of small calls: which took this loop's last one */
};

/* policy_pick - the connection that can finish the call soonest: what it has outstanding plus this
 * call over its rate, plus its round trip, plus the price of waking another loop. Small calls keep
 * company where that delays none by more than this price: those of one turn then leave in one system
 * call, and their replies come in one. Only CONN_UP is eligible; bulk goes only where policy_ahead() allows it, else POLICY_QUEUE: a connection takes it
 * later. */
int policy_pick(const struct policy_conn *conns, unsigned int n, const struct policy_ask *ask);

/* policy_ahead - conns[i] looks at the queue: how many bytes must be queued before a bulk call of cost
 * bytes that it takes? 0: it takes the first. POLICY_NEVER: none, for its window is full, or it is
 * md and others are up. In between: the others, together, would finish the call sooner even after
 * all they have to do, and a slow connection that took it would hold up whoever reads in order. What
 * is further behind it can carry in time. */
#define POLICY_NEVER UINT64_MAX
uint64_t policy_ahead(const struct policy_conn *conns, unsigned int n, unsigned int i, uint64_t cost);

/* policy_rescues - a READ was sent on conns[i] so long ago and its path is slow, nothing is queued: does it go to
 * another connection? If one is idle that takes half the time. n_moves: it has been moved so often, and waits longer each time. */
bool policy_rescues(const struct policy_conn *conns, unsigned int n, unsigned int i, uint64_t cost,
		    int64_t waited_ns, unsigned int n_moves);

/* policy_stripe - stripe=rr and stripe=file: the first one up, from number `first` on. */
int policy_stripe(const struct policy_conn *conns, unsigned int n, uint64_t first);

/* policy_small_counts - whether a small call so long after the last one that counted does, too.
 * policy_small_busy_ns - and how long, then, md connections are kept free; 0: not, for a file that
 * is opened and read is no work on metadata. */
bool policy_small_counts(int64_t since_ns);
int64_t policy_small_busy_ns(int64_t since_ns);

/* policy_rate - the rate of a connection after one more sample, taken while it was busy. While it is
 * warming up a sample is no proof of a slow path: only more than what was believed counts.
 * policy_is_warming_up - over a long path TCP's slow start takes many round trips, at first and after a
 * pause (RFC 5681, 4.1). carried: bytes since the first call, or since policy_is_cold(pause_ns).
 * policy_rate_idle - a tick later, idle_ns after the last sample: what was slow once is believed to be
 * faster and faster until it gets a call to prove it. */
uint64_t policy_rate(uint64_t rate, uint64_t sample, bool warming_up);
bool policy_is_warming_up(uint64_t carried, int64_t rtt_ns);
bool policy_is_cold(int64_t pause_ns);
uint64_t policy_rate_idle(uint64_t rate, int64_t idle_ns);

/* policy_overtakes - may a small call overtake a bulk call that has waited so long to leave? */
bool policy_overtakes(int64_t waited_ns);

/* policy_window - bytes in flight for a connection: two round trips of what it carries, and at least one transfer
 * with its headers; two, if the path would be idle for a sixty-fourth of the time between one and the next.
 * (Who is bound to a slow path early, waits there.) configured: window=, 0: auto. */
uint64_t policy_window(uint64_t rate, int64_t rtt_ns, uint32_t transfer_max, uint32_t configured);

/* policy_flight - bytes that a connection with bulk calls may have on the wire while small calls follow each
 * other: what keeps its path busy (two round trips of an empty path, by its rate), or a millisecond of queue if
 * that is more; never less than a few segments. 0 ns: the round trip is not known. */
uint32_t policy_flight(uint64_t rate, int64_t least_rtt_ns);

/* policy_is_lossy - paths[i] has lost one packet of a hundred or more, and another one less than a quarter of that:
 * its own path does, not all of them.
 * policy_steer - which connection to dial from another port, while all wait for their paths: the slowest of those that
 * are lossy; the slowest, if it stands out (less than three quarters of the fastest); else, if blind, any. -1: none.
 * turn: at random. policy_stands_out - whether there is a reason to choose paths[i].
 * policy_steered - what came of it, by bytes per second of all and of that connection, before and after. */
struct policy_path {
	bool up;       /* and takes bulk */
	uint64_t rate;
	uint64_t lost, segments; /* packets */
};
enum policy_steered { POLICY_BETTER, POLICY_SAME, POLICY_WORSE };
bool policy_is_lossy(const struct policy_path *paths, unsigned int n, unsigned int i);
int policy_steer(const struct policy_path *paths, unsigned int n, bool blind, uint32_t turn);
bool policy_stands_out(const struct policy_path *paths, unsigned int n, unsigned int i);
enum policy_steered policy_steered(uint64_t before, uint64_t after, uint64_t its_before, uint64_t its_after);

/* policy_lost - a call's connection is gone; retransmission.md R1. sent: its last byte was handed to
 * the kernel; a record that was cut is never executed. */
enum policy_fate { POLICY_RESEND, POLICY_AMBIGUOUS };
enum policy_fate policy_lost(enum call_class class, bool sent);

/* policy_may_replay - whether an ambiguous call is worth the same connection made anew (same ports, same
 * bytes; R2 a), for the server's duplicate request cache. age_ns: since it was first sent.
 * path_suspect: others answered while this path was silent. n_replays: done so before. */
bool policy_may_replay(enum call_class class, int64_t age_ns, bool path_suspect,
		       unsigned int n_replays);

/* policy_repeat - a call was sent for the n_repeats + 1st time at sent_ns and has no answer, though its
 * connection lives: what now? Metadata that may be executed twice goes to another connection after a
 * second, then four, then sixteen; everything else again on the same one after timeo, then two of
 * them ..., retrans times, where the server's duplicate request cache knows it. replayed: it has been
 * there before, and a server drops what it is still working on: after a second, then two ...
 * CALL_ONCE is given back after timeo. */
enum policy_repeat { POLICY_WAIT, POLICY_REPEAT_HERE, POLICY_REPEAT_ELSEWHERE, POLICY_GIVE_BACK };
struct policy_unanswered {
	enum call_class class;
	enum call_size size;
	bool replayed;
	unsigned int n_repeats;
	int64_t waited_ns;           /* since it was last sent */
	int64_t timeo_ns;
	unsigned int retrans;
	bool hard;                   /* never the last time: at the longest interval for ever */
};
enum policy_repeat policy_repeat(const struct policy_unanswered *call);

/* By UDP: the round trip of a kind of calls, as RFC 6298 estimates it. Zero-initialise: unknown.
 * policy_rtt_missed - a call was sent again for the n_repeats-th time: those after it wait as long from the
 * beginning (Karn). policy_rtt_answered - a call was, so long after it was last sent: a sample, if it was sent once.
 * Else it tells nothing; but if it came when the answer to the last copy was due, the path has lost something and is no
 * slower than before, and later calls need not wait.
 * policy_resend_ns - how long after it was last sent is a call sent again, or, CALL_ONCE, given back? timeo_ns: the
 * latter no later than that; 0: no limit. */
struct policy_rtt {
	int64_t smoothed_ns, deviation_ns;
	unsigned int n_missed;
};
void policy_rtt_answered(struct policy_rtt *rtt, int64_t since_ns, unsigned int n_repeats);
void policy_rtt_missed(struct policy_rtt *rtt, unsigned int n_repeats);
int64_t policy_resend_ns(const struct policy_rtt *rtt, enum call_class class, unsigned int n_repeats,
			 int64_t timeo_ns);

/* policy_health - of a connection that is up or suspect. */
struct policy_signs {
	int64_t now_ns;
	int64_t waiting_since_ns; /* an answer is owed and no byte has come since; 0: nothing is owed */
	int64_t last_rx_ns;       /* a byte came here; on another connection; 0: never */
	int64_t others_rx_ns;
	bool suspicious;          /* an answer is overdue on some connection */
	bool unacked;             /* segments are in flight and not confirmed: a slow server's kernel
				   * confirms them, also if it handles a connection's calls one by
				   * one; a path that loses packets of either direction does not */
	int64_t rtt_ns;           /* of small calls lately; 0: unknown */
	int64_t detect_ns;
};
enum policy_health {
	POLICY_HEALTHY,
	POLICY_PROBE,      /* idle for long, also while others work, or an answer is overdue here or elsewhere:
			    * send a NULL call */
	POLICY_SUSPECT,    /* no new work, either */
	POLICY_BLACK_HOLE, /* reset it, and never again on these ports: others are answered meanwhile */
	POLICY_DEAD,       /* reset it */
};
enum policy_health policy_health(const struct policy_signs *signs);

/* policy_server - the server's state from the signs of all connections. Once silent, only a byte ends
 * the silence, or that nothing is owed. silent_since_ns: in, as returned before; out; 0: not silent. */
struct policy_server {
	int64_t now_ns;
	bool connected;           /* a connection is up or suspect */
	int64_t owed_since_ns;    /* the earliest of their waiting_since_ns; 0: nothing is owed */
	int64_t last_rx_ns;
	int64_t rtt_ns;           /* the smallest of those that are known; 0: none */
	int64_t detect_ns;
	int64_t silent_since_ns;
};
enum server_state policy_server(struct policy_server *signs);

/* policy_backoff_ns - pause before dial number n_failures + 1: 0.1 s doubling to 30 s, or to 2 s while
 * no connection is up (a server that returns is noticed within that); between half and all of it.
 * random: 32 uniform bits. */
int64_t policy_backoff_ns(unsigned int n_failures, bool server_up, uint32_t random);

#endif
