/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addr - getaddrinfo(3) in helper threads; addresses as text.
 *
 * A struct lookup is shared by the thread that wants the answer and the helper that finds it. Each
 * holds a reference; whoever drops the last one frees it. Nothing else is shared with a helper, so
 * one that hangs in a dead name server costs a thread and a few kilobytes until it comes back. */
#include "addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "mount.h"
#include "mutex.h"
#include "util.h"

enum { HELPER_STACK = 512 * 1024 }; /* NSS modules are hungry */
#define CANCEL_NS (100 * NS_PER_MS)

struct answer {
	int error; /* 0 or EAI_* */
	unsigned int n;
	struct pool_addr addrs[POOL_MAX_ADDRS];
};

struct lookup {
	_Atomic(unsigned int) refs;
	char *host;
	int family;
	uint16_t port;
	/* On the helper's thread, once, with the answer. */
	void (*deliver)(struct lookup *lookup, const struct answer *answer);
	void (*release)(struct lookup *lookup); /* frees what embeds it */
};

static _Atomic(unsigned int) n_helpers;

/* ---- getaddrinfo ------------------------------------------------------------------------- */

static bool answer_has(const struct answer *answer, const struct sockaddr_storage *sa)
{
	for (unsigned int i = 0; i < answer->n; i++)
		if (sockaddr_same_host(&answer->addrs[i].sa, sa))
			return true;
	return false;
}

static void answer_add(struct answer *answer, const struct addrinfo *info, uint16_t port)
{
	struct pool_addr addr = { .len = info->ai_addrlen };

	if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
		return;
	memcpy(&addr.sa, info->ai_addr, min_size(info->ai_addrlen, sizeof(addr.sa)));
	sockaddr_set_port(&addr.sa, port);
	if (answer->n < POOL_MAX_ADDRS && !answer_has(answer, &addr.sa))
		answer->addrs[answer->n++] = addr;
}

static void resolve(const char *host, int family, uint16_t port, int flags,
		    struct answer *ret_answer)
{
	/* No AI_ADDRCONFIG: it hides 127.0.0.1 in a namespace that has only a loopback. */
	struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags,
	};
	struct addrinfo *list = NULL;

	ret_answer->n = 0;
	ret_answer->error = getaddrinfo(host, NULL, &hints, &list);
	if (ret_answer->error)
		return;
	for (const struct addrinfo *info = list; info; info = info->ai_next)
		answer_add(ret_answer, info, port);
	freeaddrinfo(list);
	if (!ret_answer->n)
		ret_answer->error = EAI_FAMILY;
}

/* A literal needs no name service and cannot block. True if host is one. */
static bool resolve_literal(const char *host, int family, uint16_t port, struct answer *ret_answer)
{
	resolve(host, family, port, AI_NUMERICHOST, ret_answer);
	return ret_answer->error != EAI_NONAME;
}

/* ---- the helper thread ------------------------------------------------------------------- */

static void lookup_unref(struct lookup *lookup)
{
	if (atomic_fetch_sub_explicit(&lookup->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(lookup->host);
	lookup->release(lookup);
}

static void *helper_main(void *arg)
{
	struct lookup *lookup = arg;
	struct answer answer;

	resolve(lookup->host, lookup->family, lookup->port, 0, &answer);
	atomic_fetch_sub_explicit(&n_helpers, 1, memory_order_relaxed);
	lookup->deliver(lookup, &answer);
	lookup_unref(lookup);
	return NULL;
}

static int thread_start_detached(void *(*run)(void *arg), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;
	pthread_t thread;
	int error;

	if (pthread_attr_init(&attr))
		return -ENOMEM;
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, HELPER_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(&thread, &attr, run, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -error;
}

/* The caller holds one reference; the helper takes another. 0 or -errno. */
static int helper_start(struct lookup *lookup)
{
	int error = -EAGAIN;

	atomic_fetch_add_explicit(&lookup->refs, 1, memory_order_relaxed);
	if (atomic_fetch_add_explicit(&n_helpers, 1, memory_order_relaxed) < RESOLVE_MAX_THREADS)
		error = thread_start_detached(helper_main, lookup);
	if (error) {
		atomic_fetch_sub_explicit(&n_helpers, 1, memory_order_relaxed);
		atomic_fetch_sub_explicit(&lookup->refs, 1, memory_order_relaxed);
	}
	return error;
}

static int lookup_init(struct lookup *lookup, const char *host, int family, uint16_t port)
{
	lookup->refs = 1;
	lookup->family = family;
	lookup->port = port;
	lookup->host = strdup(host);
	return lookup->host ? 0 : -ENOMEM;
}

/* ---- waiting for an answer --------------------------------------------------------------- */

struct waiter {
	struct lookup lookup;
	pthread_mutex_t lock; /* guards the rest; a condition variable needs the bare mutex */
	pthread_cond_t arrived;
	bool done;
	struct answer answer;
};

static void waiter_deliver(struct lookup *lookup, const struct answer *answer)
{
	struct waiter *waiter = container_of(lookup, struct waiter, lookup);

	pthread_mutex_lock(&waiter->lock);
	waiter->answer = *answer;
	waiter->done = true;
	pthread_cond_signal(&waiter->arrived);
	pthread_mutex_unlock(&waiter->lock);
}

static void waiter_release(struct lookup *lookup)
{
	struct waiter *waiter = container_of(lookup, struct waiter, lookup);

	pthread_cond_destroy(&waiter->arrived);
	pthread_mutex_destroy(&waiter->lock);
	free(waiter);
}

static struct waiter *waiter_new(const char *host, int family, uint16_t port)
{
	struct waiter *waiter = calloc(1, sizeof(*waiter));
	pthread_condattr_t attr;

	if (!waiter)
		return NULL;
	pthread_mutex_init(&waiter->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&waiter->arrived, &attr);
	pthread_condattr_destroy(&attr);
	waiter->lookup.deliver = waiter_deliver;
	waiter->lookup.release = waiter_release;
	if (!lookup_init(&waiter->lookup, host, family, port))
		return waiter;
	lookup_unref(&waiter->lookup);
	return NULL;
}

/* False at until_ns. */
static bool waiter_wait(struct waiter *waiter, int64_t until_ns, struct answer *ret_answer)
{
	struct timespec until = {
		.tv_sec = (time_t)(until_ns / NS_PER_S),
		.tv_nsec = (long)(until_ns % NS_PER_S),
	};
	int error = 0;
	bool done;

	pthread_mutex_lock(&waiter->lock);
	while (!waiter->done && !error)
		error = pthread_cond_timedwait(&waiter->arrived, &waiter->lock, &until);
	done = waiter->done;
	if (done)
		*ret_answer = waiter->answer;
	pthread_mutex_unlock(&waiter->lock);
	return done;
}

static int waiter_wait_or_cancel(struct waiter *waiter, int64_t deadline_ns, int cancel_fd,
				 struct answer *ret_answer)
{
	struct pollfd cancel = { .fd = cancel_fd, .events = POLLIN };

	for (;;) {
		int64_t now_ns = clock_ns();
		int64_t until_ns = cancel_fd > 0 ? min_i64(deadline_ns, now_ns + CANCEL_NS) :
						   deadline_ns;

		if (waiter_wait(waiter, max_i64(until_ns, 0), ret_answer))
			return 0;
		if (cancel_fd > 0 && poll(&cancel, 1, 0) > 0)
			return -ECANCELED;
		if (clock_ns() >= deadline_ns)
			return -ETIMEDOUT;
	}
}

/* 0 when *ret_answer is set, -ETIMEDOUT, -ECANCELED, or -errno when there is no helper. */
static int resolve_until(const char *host, int family, uint16_t port, int64_t deadline_ns,
			 int cancel_fd, struct answer *ret_answer)
{
	struct waiter *waiter = waiter_new(host, family, port);
	int error;

	if (!waiter)
		return -ENOMEM;
	error = helper_start(&waiter->lookup);
	if (!error)
		error = waiter_wait_or_cancel(waiter, deadline_ns, cancel_fd, ret_answer);
	lookup_unref(&waiter->lookup);
	return error;
}

static int resolve_one(const char *host, int family, uint16_t port, int64_t deadline_ns, int cancel_fd,
		       struct answer *ret_answer)
{
	int error;

	if (!resolve_literal(host, family, port, ret_answer)) {
		error = resolve_until(host, family, port, deadline_ns, cancel_fd, ret_answer);
		if (error)
			return error == -ETIMEDOUT || error == -ECANCELED ? error : EAI_MEMORY;
	}
	return ret_answer->error;
}

static void add_answer(const struct answer *answer, struct pool_addr addrs[], unsigned int *n)
{
	for (unsigned int i = 0; i < answer->n && *n < POOL_MAX_ADDRS; i++) {
		unsigned int k = 0;

		while (k < *n && !sockaddr_same_host(&addrs[k].sa, &answer->addrs[i].sa))
			k++;
		if (k == *n)
			addrs[(*n)++] = answer->addrs[i];
	}
}

static unsigned int count_items(const char *list)
{
	unsigned int n = 1;

	while ((list = strchr(list, ','))) {
		list++;
		n++;
	}
	return n;
}

/* One after the other; a name that nobody answers for takes no more than its share of the time. */
int mount_resolve(const char *hosts, int family, uint16_t port, int64_t deadline_ns, int cancel_fd,
		  struct pool_addr addrs[], unsigned int *ret_n)
{
	unsigned int n = 0, left = count_items(hosts);
	int first_error = 0;

	for (; left; left--) {
		size_t len = strcspn(hosts, ",");
		cleanup(freep) char *host = strndup(hosts, len);
		int64_t now_ns = clock_ns();
		int64_t until_ns = left == 1 ? deadline_ns : now_ns + (deadline_ns - now_ns) / left;
		struct answer answer;
		int error = EAI_MEMORY;

		if (host)
			error = resolve_one(host, family, port, until_ns, cancel_fd, &answer);
		if (error == -ECANCELED)
			return error;
		if (!error)
			add_answer(&answer, addrs, &n);
		else if (!first_error)
			first_error = error;
		hosts += len + 1;
	}
	if (!n)
		return first_error;
	*ret_n = n;
	return 0;
}

/* ---- addresses --------------------------------------------------------------------------- */

static const struct sockaddr_in *sockaddr_v4(const struct sockaddr_storage *sa)
{
	return (const struct sockaddr_in *)sa;
}

static const struct sockaddr_in6 *sockaddr_v6(const struct sockaddr_storage *sa)
{
	return (const struct sockaddr_in6 *)sa;
}

uint16_t sockaddr_port(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET)
		return ntohs(sockaddr_v4(sa)->sin_port);
	return sa->ss_family == AF_INET6 ? ntohs(sockaddr_v6(sa)->sin6_port) : 0;
}

void sockaddr_set_port(struct sockaddr_storage *sa, uint16_t port)
{
	if (sa->ss_family == AF_INET)
		((struct sockaddr_in *)sa)->sin_port = htons(port);
	else if (sa->ss_family == AF_INET6)
		((struct sockaddr_in6 *)sa)->sin6_port = htons(port);
}

bool sockaddr_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return sockaddr_v4(a)->sin_addr.s_addr == sockaddr_v4(b)->sin_addr.s_addr;
	return a->ss_family == AF_INET6 &&
	       sockaddr_v6(a)->sin6_scope_id == sockaddr_v6(b)->sin6_scope_id &&
	       !memcmp(&sockaddr_v6(a)->sin6_addr, &sockaddr_v6(b)->sin6_addr,
		       sizeof(struct in6_addr));
}

/* "%eth0", "%3" when the interface is gone, "" without a scope. */
static void format_scope(uint32_t scope_id, char buf[IF_NAMESIZE + 1])
{
	buf[0] = '\0';
	if (!scope_id)
		return;
	buf[0] = '%';
	if (!if_indextoname(scope_id, buf + 1))
		snprintf(buf, IF_NAMESIZE + 1, "%%%u", scope_id);
}

const char *sockaddr_format(const struct sockaddr_storage *sa, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN], scope[IF_NAMESIZE + 1] = "", port[8] = "";
	bool v6 = sa->ss_family == AF_INET6, brackets;
	const void *bytes = v6 ? (const void *)&sockaddr_v6(sa)->sin6_addr
			       : (const void *)&sockaddr_v4(sa)->sin_addr;

	if (!inet_ntop(sa->ss_family, bytes, host, sizeof(host))) {
		snprintf(buf, size, "?");
		return buf;
	}
	if (v6)
		format_scope(sockaddr_v6(sa)->sin6_scope_id, scope);
	if (sockaddr_port(sa))
		snprintf(port, sizeof(port), ":%u", sockaddr_port(sa));
	brackets = v6 && port[0];
	snprintf(buf, size, "%s%s%s%s%s", brackets ? "[" : "", host, scope, brackets ? "]" : "",
		 port);
	return buf;
}
