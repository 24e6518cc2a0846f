/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addresses - see addresses.h. Only the thread touches candidates; `lost` is what others leave for it. */
#include "addresses.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../conn/util.h"
#include "addrlist.h"
#include "log.h"
#include "rootproof.h"

static const int64_t RESOLVE_EVERY_NS = 5 * NS_PER_S;
static const int64_t ASK_LIMIT_NS = 4 * NS_PER_S;
static const int64_t SILENT_FIRST_NS = 1 * NS_PER_S;
static const int64_t SILENT_LAST_NS = 5 * NS_PER_S;
static const int64_t OTHER_AGAIN_NS = 60 * NS_PER_S;
static const int64_t NEVER_NS = INT64_MAX;

enum { STACK = 512 * 1024, MAX_LOST = 16 };

enum verdict {
	ADDRESS_UNKNOWN, /* it has not answered yet */
	ADDRESS_OURS,    /* it has given our root handle */
	ADDRESS_OTHER,   /* another one, or none */
};

struct candidate {
	struct pool_addr addr;
	bool listed;        /* by addrs=: stays whatever the name resolves to */
	enum verdict verdict;
	bool answers;
	int64_t ask_ns;     /* when to ask it next */
	int64_t pause_ns;   /* after it was silent */
	bool other_root;    /* ADDRESS_OTHER: it has given another root handle */
	bool told;          /* that it is another server */
};

struct addresses {
	struct fs *fs;
	struct mount_query query;  /* but for the host */
	const char *name;          /* to be resolved again; NULL: a literal */
	bool only_first;           /* dns=first */
	bool by_root;              /* mountd is elsewhere: rootproof.h */
	pthread_t thread;
	int stop_fd, lost_fd;      /* eventfds */

	struct candidate candidates[POOL_MAX_ADDRS];
	unsigned int n;
	int64_t resolved_ns;
	bool resolve;              /* an address was lost */
	struct pool_addr used[POOL_MAX_ADDRS]; /* what the pool has */
	unsigned int n_used;

	struct mutex lock;         /* guards what follows */
	struct sockaddr_storage lost[MAX_LOST];
	unsigned int n_lost;
	bool check;                /* all of them */
};

/* ---- candidates -------------------------------------------------------------------------- */

static struct candidate *find_candidate(struct addresses *addresses, const struct sockaddr_storage *sa)
{
	for (unsigned int i = 0; i < addresses->n; i++)
		if (addr_same_host(&addresses->candidates[i].addr.sa, sa))
			return &addresses->candidates[i];
	return NULL;
}

static struct candidate *add_candidate(struct addresses *addresses, const struct pool_addr *addr, bool listed)
{
	struct candidate *candidate = find_candidate(addresses, &addr->sa);

	if (candidate) {
		candidate->listed = candidate->listed || listed;
		return candidate;
	}
	if (addresses->n == POOL_MAX_ADDRS)
		return NULL;
	candidate = &addresses->candidates[addresses->n++];
	*candidate = (struct candidate){ .addr = *addr, .listed = listed, .pause_ns = SILENT_FIRST_NS };
	return candidate;
}

static bool contains(const struct pool_addr *addrs, unsigned int n, const struct pool_addr *addr)
{
	for (unsigned int i = 0; i < n; i++)
		if (addr_same_host(&addrs[i].sa, &addr->sa))
			return true;
	return false;
}

/* ---- what the pool uses ------------------------------------------------------------------ */

static bool is_good(const struct candidate *candidate)
{
	return candidate->verdict == ADDRESS_OURS && candidate->answers;
}

static unsigned int proven(const struct addresses *addresses, bool answering, struct pool_addr *ret_addrs)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < addresses->n; i++) {
		const struct candidate *candidate = &addresses->candidates[i];

		if (!is_good(candidate) && (answering || candidate->verdict != ADDRESS_OURS))
			continue;
		if (ret_addrs)
			ret_addrs[n] = candidate->addr;
		n++;
	}
	return n;
}

static bool is_in_use(const struct addresses *addresses, const struct pool_addr *addrs, unsigned int n)
{
	if (n != addresses->n_used)
		return false;
	for (unsigned int i = 0; i < n; i++)
		if (!addr_same_host(&addrs[i].sa, &addresses->used[i].sa))
			return false;
	return true;
}

/* Those that answer; if none does, it is the server that is away, not an address. */
static void tell_pool(struct addresses *addresses)
{
	struct pool_addr addrs[POOL_MAX_ADDRS];
	unsigned int n = proven(addresses, true, addrs);

	if (!n)
		n = proven(addresses, false, addrs);
	if (!n || is_in_use(addresses, addrs, n))
		return;
	memcpy(addresses->used, addrs, n * sizeof(addrs[0]));
	addresses->n_used = n;
	log_debug("%u address%s of the server in use", n, n == 1 ? "" : "es");
	pool_set_addresses(addresses->fs->pool, addrs, n);
}

/* ---- the name ---------------------------------------------------------------------------- */

static void forget_absent(struct addresses *addresses, const struct pool_addr *found, unsigned int n_found)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < addresses->n; i++) {
		struct candidate *candidate = &addresses->candidates[i];

		if (candidate->listed || is_good(candidate) ||
		    contains(found, n_found, &candidate->addr))
			addresses->candidates[n++] = *candidate;
	}
	addresses->n = n;
}

/* One that answers stays, also when the name does not show it for a while: names go round. */
static void resolve(struct addresses *addresses)
{
	int64_t now_ns = clock_ns();
	struct pool_addr found[POOL_MAX_ADDRS];
	unsigned int n_found;

	if (!addresses->name || now_ns - addresses->resolved_ns < RESOLVE_EVERY_NS)
		return;
	addresses->resolved_ns = now_ns;
	if (mount_resolve(addresses->name, addresses->query.family, addresses->query.nfs_port,
			  now_ns + ASK_LIMIT_NS, addresses->stop_fd, found, &n_found))
		return;
	if (addresses->only_first && proven(addresses, true, NULL))
		return;
	if (addresses->only_first)
		n_found = 1;
	forget_absent(addresses, found, n_found);
	for (unsigned int i = 0; i < n_found; i++)
		add_candidate(addresses, &found[i], false);
}

/* Nothing is left of what we knew, and what the name says now gives another root. */
static void follow(struct addresses *addresses)
{
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < addresses->n && !proven(addresses, false, NULL); i++) {
		struct candidate *candidate = &addresses->candidates[i];

		if (!candidate->other_root)
			continue;
		candidate->verdict = ADDRESS_OURS;
		candidate->other_root = false;
		candidate->ask_ns = NEVER_NS;
		log_warn(MSG_ADDR_MISMATCH, "%s is another server now, at %s, with another root handle: it is used",
			 addresses->fs->options->source.host, addr_text(&candidate->addr.sa, text));
		tell_pool(addresses);
		fs_root_is_stale(addresses->fs);
	}
}

/* ---- asking one -------------------------------------------------------------------------- */

static bool has_our_root(const struct addresses *addresses, const struct mount_result *result)
{
	const struct fhandle *root = inode_fh(addresses->fs->root);

	return result->fh_len == root->len && !memcmp(result->fh, root->data, root->len);
}

static bool has_refused(const struct mount_result *result)
{
	return result->failure == MOUNT_EXPORT_NOT_FOUND || result->failure == MOUNT_ACCESS_DENIED ||
	       result->failure == MOUNT_NOT_DIRECTORY || result->failure == MOUNT_NOT_NFS ||
	       result->failure == MOUNT_VERSION_UNSUPPORTED || result->failure == MOUNT_MOUNTD_ERROR;
}

/* Told where there is one to compare it with. */
static void is_another(struct addresses *addresses, struct candidate *candidate, const char *text,
		       const char *why)
{
	candidate->verdict = ADDRESS_OTHER;
	candidate->answers = true;
	candidate->ask_ns = clock_ns() + OTHER_AGAIN_NS;
	if (!candidate->told && proven(addresses, false, NULL)) {
		log_warn(MSG_ADDR_MISMATCH, "%s is not the same server (%s), not used", text, why);
		candidate->told = true;
	}
}

static void is_silent(struct candidate *candidate, const char *text)
{
	log_debug("%s does not answer", text);
	candidate->answers = false;
	candidate->ask_ns = clock_ns() + candidate->pause_ns;
	candidate->pause_ns = min_i64(2 * candidate->pause_ns, SILENT_LAST_NS);
}

static void is_ours(struct candidate *candidate, const struct mount_result *result)
{
	candidate->verdict = ADDRESS_OURS;
	candidate->answers = true;
	candidate->told = candidate->other_root = false;
	candidate->addr = result->addrs[0]; /* with the port */
	candidate->ask_ns = NEVER_NS;
	candidate->pause_ns = SILENT_FIRST_NS;
}

/* By MNT, or where that would say nothing about this address, by its root. */
static void run_query(struct addresses *addresses, const struct candidate *candidate, const char *text,
		      struct mount_result *ret_result)
{
	struct mount_query query = addresses->query;
	struct rootproof proof;

	query.host = text;
	query.address = NULL;
	query.family = candidate->addr.sa.ss_family;
	query.deadline_ns = clock_ns() + ASK_LIMIT_NS;
	query.stage_ns = min_i64(query.stage_ns, ASK_LIMIT_NS / 2);
	if (addresses->by_root && !rootproof_init(&proof, addresses->fs))
		query.proof = &proof.proof;
	if (addresses->by_root && !query.proof)
		*ret_result = (struct mount_result){ .failure = MOUNT_DEADLINE };
	else
		mount_query_run(&query, ret_result);
}

static void ask(struct addresses *addresses, struct candidate *candidate)
{
	struct mount_result result;
	char text[ADDR_TEXT_MAX];

	run_query(addresses, candidate, addr_text(&candidate->addr.sa, text), &result);
	candidate->other_root = result.failure == MOUNT_OTHER_SERVER ||
				(result.failure == MOUNT_OK && !addresses->by_root &&
				 !has_our_root(addresses, &result));
	if (candidate->other_root)
		is_another(addresses, candidate, text,
			   addresses->by_root ? "our root is not there" : "root handle differs");
	else if (result.failure == MOUNT_OK)
		is_ours(candidate, &result);
	else if (candidate->verdict != ADDRESS_OURS && has_refused(&result))
		is_another(addresses, candidate, text, "it does not give us the export");
	else if (result.failure != MOUNT_CANCELLED) /* it may be booting, if it was ours */
		is_silent(candidate, text);
	mount_result_deinit(&result);
}

static bool is_stopped(const struct addresses *addresses)
{
	struct pollfd stop = { .fd = addresses->stop_fd, .events = POLLIN };

	return poll(&stop, 1, 0) > 0;
}

static void ask_due(struct addresses *addresses)
{
	for (unsigned int i = 0; i < addresses->n && !is_stopped(addresses); i++) {
		if (addresses->candidates[i].ask_ns > clock_ns())
			continue;
		ask(addresses, &addresses->candidates[i]);
		tell_pool(addresses);
	}
}

/* ---- the thread -------------------------------------------------------------------------- */

static void take_lost(struct addresses *addresses)
{
	struct sockaddr_storage lost[MAX_LOST];
	eventfd_t count;
	unsigned int n;

	eventfd_read(addresses->lost_fd, &count);
	mutex_lock(&addresses->lock);
	if (addresses->check)
		for (unsigned int i = 0; i < addresses->n; i++)
			addresses->candidates[i].ask_ns = clock_ns();
	addresses->check = false;
	n = addresses->n_lost;
	memcpy(lost, addresses->lost, n * sizeof(lost[0]));
	addresses->n_lost = 0;
	mutex_unlock(&addresses->lock);
	for (unsigned int i = 0; i < n; i++) {
		struct candidate *candidate = find_candidate(addresses, &lost[i]);

		if (candidate && candidate->ask_ns == NEVER_NS)
			candidate->ask_ns = clock_ns();
	}
	addresses->resolve = addresses->resolve || n;
}

static int timeout_ms(const struct addresses *addresses)
{
	int64_t next_ns = NEVER_NS, wait_ns;

	for (unsigned int i = 0; i < addresses->n; i++)
		next_ns = min_i64(next_ns, addresses->candidates[i].ask_ns);
	if (next_ns == NEVER_NS)
		return -1;
	wait_ns = max_i64(next_ns - clock_ns(), 0);
	return (int)(wait_ns / NS_PER_MS) + 1;
}

static void *run(void *arg)
{
	struct addresses *addresses = arg;
	struct pollfd fds[] = {
		{ .fd = addresses->stop_fd, .events = POLLIN },
		{ .fd = addresses->lost_fd, .events = POLLIN },
	};

	pthread_setname_np(pthread_self(), "addresses");
	while (!is_stopped(addresses)) {
		ask_due(addresses);
		if (addresses->resolve) {
			addresses->resolve = false;
			resolve(addresses);
			ask_due(addresses);
		}
		if (!proven(addresses, false, NULL))
			follow(addresses);
		if (poll(fds, ARRAY_SIZE(fds), timeout_ms(addresses)) > 0 && fds[1].revents)
			take_lost(addresses);
	}
	return NULL;
}

void addresses_lost(struct addresses *addresses, const struct sockaddr_storage *remote)
{
	bool known = false;

	if (!addresses)
		return;
	mutex_lock(&addresses->lock);
	for (unsigned int i = 0; i < addresses->n_lost; i++)
		known = known || addr_same_host(&addresses->lost[i], remote);
	if (!known && addresses->n_lost < MAX_LOST)
		addresses->lost[addresses->n_lost++] = *remote;
	mutex_unlock(&addresses->lock);
	eventfd_write(addresses->lost_fd, 1);
}

void addresses_check(struct addresses *addresses)
{
	if (!addresses)
		return;
	mutex_lock(&addresses->lock);
	addresses->check = true;
	mutex_unlock(&addresses->lock);
	eventfd_write(addresses->lost_fd, 1);
}

/* ---- beginning and end ------------------------------------------------------------------- */

static bool is_literal(const char *host)
{
	struct pool_addr addrs[POOL_MAX_ADDRS];
	char why[ADDR_TEXT_MAX * 2];
	unsigned int n;

	return !strchr(host, '~') && !addrlist_parse(host, addrs, &n, why, sizeof(why)) && n == 1;
}

static void add_all(struct addresses *addresses, const struct find *find)
{
	const struct mount_result *result = &find->result;
	struct candidate *first = add_candidate(addresses, &result->addrs[0], !addresses->name);

	first->verdict = ADDRESS_OURS;
	first->answers = true;
	first->ask_ns = NEVER_NS;
	addresses->used[0] = first->addr;
	addresses->n_used = 1;
	for (unsigned int i = 0; i < find->options->n_addrs; i++)
		add_candidate(addresses, &find->options->addrs[i], true);
	for (unsigned int i = 1; i < result->n_addrs && !addresses->only_first; i++)
		add_candidate(addresses, &result->addrs[i], false);
}

static int start_thread(struct addresses *addresses)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int error;

	if (pthread_attr_init(&attr))
		return -ENOMEM;
	pthread_attr_setstacksize(&attr, STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&addresses->thread, &attr, run, addresses);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -error;
}

void addresses_free(struct addresses *addresses)
{
	if (!addresses)
		return;
	closep(&addresses->stop_fd);
	closep(&addresses->lost_fd);
	mutex_deinit(&addresses->lock);
	free(addresses);
}

int addresses_start(struct fs *fs, const struct find *find, struct addresses **ret_addresses)
{
	const struct options *options = find->options;
	bool literal = options->address[0] || is_literal(options->source.host);
	struct addresses *addresses;
	int error;

	*ret_addresses = NULL;
	if (literal && !options->n_addrs)
		return 0;
	addresses = calloc(1, sizeof(*addresses));
	if (!addresses)
		return -ENOMEM;
	addresses->fs = fs;
	addresses->name = literal ? NULL : options->source.host;
	addresses->only_first = options->dns == DNS_FIRST;
	addresses->resolved_ns = clock_ns();
	mutex_init(&addresses->lock);
	addresses->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	addresses->lost_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	options_mount_query(options, &addresses->query);
	addresses->query.nfs_transport = find->result.nfs_transport;
	addresses->by_root = mount_is_elsewhere(&addresses->query);
	addresses->query.cancel_fd = addresses->stop_fd;
	add_all(addresses, find);
	error = addresses->stop_fd < 0 || addresses->lost_fd < 0 ? -errno : start_thread(addresses);
	if (error)
		addresses_free(addresses);
	else
		*ret_addresses = addresses;
	return error;
}

void addresses_stop(struct addresses *addresses)
{
	if (!addresses)
		return;
	eventfd_write(addresses->stop_fd, 1);
	pthread_join(addresses->thread, NULL);
}
