/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lock_find - see lock_parts.h: the server's lock manager, when it is needed.
 *
 * Who wants a lock first has the main thread look for it, and waits here, and so does who comes
 * meanwhile: one search for all. Its end is
 *   found    there is a connection: they go on. From then on it is only the port that is asked for again, when all
 *            connections were lost
 *   absent   it is not registered, or the portmapper, or the port that it told, cannot be reached, while NFS answers:
 *            ENOLCK for them, and at once for who asks in the next seconds
 *   silent   NFS does not answer either: the server is down. They wait, to their deadline, and the search is repeated
 *
 * A search lasts SEARCH_NS to the portmapper, and again to the port; it has the mount's own address
 * of the server, or, if there is no connection to that one, one that NFS has a connection to: with several addresses the
 * first may be the one that is down. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#include "../conn/mount.h"
#include "addrlist.h"
#include "lock_parts.h"
#include "log.h"

static const int64_t SEARCH_NS = 2 * NS_PER_S;
static const int64_t NFS_NS = 1 * NS_PER_S;
static const int64_t SLICE_NS = 100 * NS_PER_MS;
static const int64_t PAUSE_NS = 3 * NS_PER_S; /* after a search in vain, or five times what it took */
enum { PAUSE_FACTOR = 5 };
static const int64_t SILENT_PAUSE_NS = 1 * NS_PER_S;
static const int64_t TICK_NS = 100 * NS_PER_MS; /* to see who has gone */

static bool is_found(const struct locks *locks)
{
	return atomic_load_explicit(&locks->manager, memory_order_acquire) == LOCK_MANAGER_FOUND;
}

int locks_want_fd(const struct locks *locks)
{
	return locks ? locks->want_fd : -1;
}

bool locks_are_absent(const struct locks *locks)
{
	return atomic_load_explicit(&locks->manager, memory_order_relaxed) == LOCK_MANAGER_ABSENT &&
	       fs_now_ns() < atomic_load_explicit(&locks->again_ns, memory_order_relaxed);
}

bool locks_server_answers(const struct locks *locks)
{
	return pool_server_state(locks->pool) == SERVER_UP;
}

void lock_find_lost(struct locks *locks)
{
	if (is_found(locks))
		eventfd_write(locks->want_fd, 1);
}

/* ---- who waits for it: the lock loop ----------------------------------------------------- */

bool lock_find(struct lock_op *op)
{
	struct locks *locks = op->locks;
	int64_t now_ns = fs_now_ns();

	if (is_found(locks))
		return true;
	if (locks->is_emptying || locks_are_absent(locks)) {
		lock_finish(op, -ENOLCK);
		return false;
	}
	if (TAILQ_EMPTY(&locks->unfound))
		eventfd_write(locks->want_fd, 1);
	op->try_at_ns = min_i64(op->deadline_ns, fs_deadline_ns(locks->fs, now_ns));
	TAILQ_INSERT_TAIL(&locks->unfound, op, link);
	lock_set_timer(locks, now_ns + TICK_NS);
	return false;
}

static void fail_all(struct locks *locks, int error)
{
	struct lock_op *op;

	while ((op = TAILQ_FIRST(&locks->unfound))) {
		TAILQ_REMOVE(&locks->unfound, op, link);
		lock_finish(op, error);
	}
}

void lock_find_stop(struct locks *locks)
{
	fail_all(locks, -EINTR);
}

/* It may be gone again before all have begun. */
static void begin_all(struct locks *locks)
{
	struct lock_op_list ops = TAILQ_HEAD_INITIALIZER(ops);
	struct lock_op *op;

	TAILQ_CONCAT(&ops, &locks->unfound, link);
	while ((op = TAILQ_FIRST(&ops))) {
		TAILQ_REMOVE(&ops, op, link);
		lock_begin_again(op);
	}
}

static void search_ended(struct loop_task *task)
{
	struct locks *locks = container_of(task, struct locks, found_task);

	atomic_store(&locks->found_posted, false);
	if (atomic_load(&locks->is_silent)) {
		locks->find_at_ns = fs_now_ns() + SILENT_PAUSE_NS;
		lock_set_timer(locks, locks->find_at_ns);
	} else if (is_found(locks)) {
		begin_all(locks);
	} else {
		fail_all(locks, -ENOLCK);
	}
}

static void look_at_unfound(struct locks *locks, int64_t now_ns)
{
	struct lock_op *op, *next;

	for (op = TAILQ_FIRST(&locks->unfound); op; op = next) {
		next = TAILQ_NEXT(op, link);
		if (!lock_is_gone(op) && now_ns < op->try_at_ns)
			continue;
		TAILQ_REMOVE(&locks->unfound, op, link);
		lock_finish(op, lock_is_gone(op) ? -EINTR : request_errno(locks->fs, -ETIMEDOUT));
	}
}

void lock_find_tick(struct locks *locks, int64_t now_ns, int64_t *next_ns)
{
	look_at_unfound(locks, now_ns);
	if (!TAILQ_EMPTY(&locks->unfound))
		*next_ns = min_i64(*next_ns, now_ns + TICK_NS);
	if (now_ns < locks->find_at_ns) {
		*next_ns = min_i64(*next_ns, locks->find_at_ns);
		return;
	}
	locks->find_at_ns = INT64_MAX;
	if (is_found(locks) || !TAILQ_EMPTY(&locks->unfound))
		eventfd_write(locks->want_fd, 1);
}

/* ---- the search: the main thread --------------------------------------------------------- */

struct search {
	struct locks *locks;
	const struct mount_query *query;
	struct pool_addr server; /* NFS there */
	uint16_t port;           /* 0: not registered */
	int error;               /* why there is no connection */
};

static bool is_cancelled(const struct search *search)
{
	struct pollfd cancel = { .fd = search->query->cancel_fd, .events = POLLIN };

	return search->query->cancel_fd && poll(&cancel, 1, 0) > 0;
}

static bool is_connected(const struct locks *locks)
{
	struct pool_info info;

	pool_info(locks->pool, &info);
	return info.n_up > 0;
}

/* An address that NFS has a connection to: this one, if it is among them. */
static void choose_address(struct pool *pool, struct pool_addr *server)
{
	struct sockaddr_storage other = { 0 };
	struct conn_info conn;
	struct pool_info info;

	pool_info(pool, &info);
	for (unsigned int i = 0; i < info.n_connections; i++) {
		pool_conn_info(pool, i, &conn);
		if (conn.state != CONN_UP)
			continue;
		if (addr_same_host(&conn.remote, &server->sa))
			return;
		other = conn.remote;
	}
	if (other.ss_family == AF_UNSPEC)
		return;
	server->sa = other;
	server->len = other.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* Its port, and addresses for the pool. 0, with port 0: it is not registered; or -errno. */
static int ask_port(struct search *search)
{
	struct locks *locks = search->locks;
	struct pool_addr addr = search->server;
	struct sockaddr_in *sa = (struct sockaddr_in *)(void *)&addr.sa; /* same place in both families */
	int error = mount_program_port(search->query, &search->server, NLM4_PROGRAM, NLM4_VERSION,
				       clock_ns() + SEARCH_NS, &search->port);

	if (error || !search->port)
		return error;
	addr.udp = false; /* an UNLOCK that was sent twice could take away the lock that came after it */
	sa->sin_port = htons(search->port);
	pool_set_addresses(locks->pool, &addr, 1);
	return 0;
}

static int connect_to_it(const struct search *search)
{
	int64_t until_ns = clock_ns() + SEARCH_NS, now_ns;
	int error;

	do {
		now_ns = clock_ns();
		error = pool_wait_up(search->locks->pool, 1, min_i64(until_ns, now_ns + SLICE_NS));
	} while (error == -ETIMEDOUT && now_ns < until_ns && !is_cancelled(search));
	return error;
}

static bool nfs_answers(const struct search *search)
{
	struct mount_null null;

	mount_null(search->query, &search->server, NFS3_PROGRAM, 3, clock_ns() + NFS_NS, &null);
	return null.replied;
}

static void tell_absent(const struct search *search)
{
	const char *host = search->locks->fs->options->source.host;
	const char *then = "locks fail with ENOLCK; -o nolock keeps them on this host";

	if (search->port)
		log_warn(MSG_NO_LOCKS, "the lock manager of %s cannot be reached at port %u (%s): %s", host, search->port,
			 strerrordesc_np(-search->error), then);
	else if (search->error)
		log_warn(MSG_NO_LOCKS, "the portmapper of %s cannot be asked for its lock manager (%s): %s", host,
			 strerrordesc_np(-search->error), then);
	else
		log_warn(MSG_NO_LOCKS, "%s has no lock manager (NLM version 4 over TCP): %s", host, then);
}

static void end(struct locks *locks, bool silent)
{
	atomic_store(&locks->is_silent, silent);
	if (atomic_exchange(&locks->found_posted, true))
		return;
	locks->found_task.run = search_ended;
	loop_post(locks->loop, &locks->found_task);
}

static void found(const struct search *search)
{
	struct locks *locks = search->locks;
	const struct options *options = locks->fs->options;

	locks->was_found = true;
	nsm_found(locks->nsm, &search->server, options->n_locals ? &options->locals[0] : NULL);
	atomic_store_explicit(&locks->manager, LOCK_MANAGER_FOUND, memory_order_release);
	end(locks, false);
}

static void absent(const struct search *search, int64_t began_ns)
{
	struct locks *locks = search->locks;
	int64_t now_ns = clock_ns();
	int64_t pause_ns = PAUSE_FACTOR * (now_ns - began_ns);

	pool_set_addresses(locks->pool, &search->server, 0);
	if (atomic_load(&locks->manager) != LOCK_MANAGER_ABSENT)
		tell_absent(search);
	atomic_store(&locks->again_ns, now_ns + (pause_ns > PAUSE_NS ? pause_ns : PAUSE_NS));
	atomic_store(&locks->manager, LOCK_MANAGER_ABSENT);
	end(locks, false);
}

static void find_first(struct search *search)
{
	int64_t began_ns = clock_ns();

	choose_address(search->locks->fs->pool, &search->server);
	search->error = ask_port(search);
	if (!search->error && search->port)
		search->error = connect_to_it(search);
	if (is_cancelled(search))
		return;
	if (!search->error && search->port)
		found(search);
	else if (!search->error || nfs_answers(search))
		absent(search, began_ns);
	else
		end(search->locks, true);
}

/* It has been there, and will be again: where? */
static void find_again(struct search *search)
{
	if (is_connected(search->locks))
		return;
	search->error = ask_port(search);
	if (search->error || !search->port)
		end(search->locks, true);
}

void locks_find(struct locks *locks, const struct mount_query *query, const struct pool_addr *server)
{
	struct search search = { .locks = locks, .query = query, .server = *server };
	eventfd_t count;

	eventfd_read(locks->want_fd, &count);
	if (locks->was_found)
		find_again(&search);
	else if (locks_are_absent(locks)) /* found out while he came who asks */
		end(locks, false);
	else
		find_first(&search);
}

void locks_stop_looking(struct locks *locks)
{
	if (!locks || locks->was_found)
		return;
	atomic_store(&locks->again_ns, INT64_MAX);
	atomic_store(&locks->manager, LOCK_MANAGER_ABSENT);
	end(locks, false);
}

void locks_begin(struct locks *locks)
{
	if (locks)
		nsm_begin(locks->nsm);
}
