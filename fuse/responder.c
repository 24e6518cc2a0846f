/* SPDX-License-Identifier: GPL-2.0-or-later */
/* responder - see responder.h. */
#include "responder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../conn/registry.h"
#include "../conn/service.h"
#include "../conn/util.h"
#include "log.h"
#include "relay.h"

static const int64_t RPCBIND_NS = 500 * NS_PER_MS;
static const int64_t AGAIN_NS = 10 * NS_PER_S; /* rpcbind may have been restarted */
static const int64_t STAY_NS = 10 * NS_PER_S;
enum { TICK_MS = 1000 };

struct responder {
	struct responder_config config;
	struct service *service; /* of the owner; the thread's, as what follows */
	char path[64];		 /* of the file that the owner has locked */
	int lock_fd;
	bool registered;
	int64_t checked_ns;
	int32_t owner; /* who is called: his pid; 0 or negative: nobody */
	int relay_fd;
	int wake_fd; /* eventfd */
	_Atomic(bool) wanted, ending;
	_Atomic(bool) was_wanted; /* since the thread looked at last */
	int64_t wanted_ns;	  /* when it was, at last; the thread's */
	_Atomic(bool) asleep;	  /* the thread looks no more until it is woken */
	_Atomic(bool) ready;
	bool started; /* the lock loop's, until it is stopped */
	pthread_t thread;
};

/* ---- calls come in ----------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr) >>
			       24 ==
		       127;
	return sa->ss_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr);
}

static bool is_msg(uint32_t proc)
{
	return proc == NLM4_PROC_GRANTED_MSG;
}

/* By the service's thread, or by ours for the owner. */
static enum relay_answer judge(struct responder *responder, const struct nlm4_granted *granted,
			       const struct relay_message *message)
{
	const struct responder_config *config = &responder->config;

	if (strcmp(granted->oh, config->oh) != 0)
		return RELAY_NOBODY;
	return config->granted(config->userdata, granted, &message->from, is_msg(message->proc))
		       ? RELAY_YES
		       : RELAY_NO;
}

/* Nobody's: DENIED, so that the server does not keep it for nobody. A mount that is there and does
 * not answer in time is asked again when the server asks again. */
static enum service_verdict granted(struct responder *responder,
				    const struct relay_message *message, uint8_t *results,
				    uint32_t *ret_len)
{
	enum relay_answer answer;
	struct nlm4_granted arg;

	if (nlm4_granted_decode(message->args, message->args_len, &arg))
		return SERVICE_BAD_ARGS;
	answer = judge(responder, &arg, message);
	if (answer == RELAY_NOBODY && arg.oh[0])
		answer = relay_ask(arg.oh, message);
	if (answer == RELAY_SILENT)
		return SERVICE_NO_ANSWER;
	*ret_len = is_msg(message->proc)
			   ? 0
			   : nlm4_granted_reply(results, &arg.cookie, answer == RELAY_YES);
	return SERVICE_DONE;
}

static enum service_verdict notified(struct responder *responder,
				     const struct relay_message *message, uint32_t *ret_len)
{
	char name[NLM4_NOTIFY_NAME_MAX];
	uint8_t priv[NLM4_PRIV_LEN];

	if (!is_loopback(&message->from))
		return SERVICE_NO_SUCH;
	if (nlm4_notify_decode(message->args, message->args_len, name, priv))
		return SERVICE_BAD_ARGS;
	responder->config.notified(responder->config.userdata);
	relay_tell_all(responder->config.oh, message);
	*ret_len = 0;
	return SERVICE_DONE;
}

static enum service_verdict handle(void *userdata, const struct service_call *call,
				   uint8_t *results, uint32_t *ret_len)
{
	struct relay_message message = {
		.proc = call->proc, .args_len = call->args_len, .from = *call->from};

	if (call->args_len > sizeof(message.args))
		return SERVICE_BAD_ARGS;
	memcpy(message.args, call->args, call->args_len);
	switch (call->proc) {
	case NLM4_PROC_GRANTED:
	case NLM4_PROC_GRANTED_MSG:
		return granted(userdata, &message, results, ret_len);
	case NLM4_PROC_SM_NOTIFY:
	case NLM4_PROC_SM_NOTIFY_2:
		return notified(userdata, &message, ret_len);
	}
	return SERVICE_NO_SUCH;
}

static void take_relayed(struct responder *responder)
{
	struct relay_message message;
	struct nlm4_granted arg;
	int fd = relay_accept(responder->relay_fd, &message);

	if (fd < 0)
		return;
	if (message.proc == NLM4_PROC_SM_NOTIFY || message.proc == NLM4_PROC_SM_NOTIFY_2) {
		responder->config.notified(responder->config.userdata);
		close(fd);
		return;
	}
	relay_reply(fd, !nlm4_granted_decode(message.args, message.args_len, &arg) &&
				judge(responder, &arg, &message) == RELAY_YES);
}

/* ---- the owner --------------------------------------------------------------------------- */

/* Locked by us, and still the file of that name: the owner removes it at its end. */
static int lock_file(const char *path)
{
	cleanup(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat ours, there;

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB))
		return -errno;
	if (fstat(fd, &ours) || stat(path, &there) || ours.st_ino != there.st_ino)
		return -EAGAIN;
	return steal_fd(&fd);
}

/* For the other daemons, in the file: who it is, negative: who would be, if it could be registered.
 */
static void tell_others(struct responder *responder, bool registered)
{
	int32_t pid = registered ? getpid() : -getpid();

	if (pwrite(responder->lock_fd, &pid, sizeof(pid), 0) != sizeof(pid))
		log_debug("%s: error %d", responder->path, errno);
	responder->owner = pid;
}

static int32_t read_owner(const struct responder *responder)
{
	cleanup(closep) int fd = open(responder->path, O_RDONLY | O_CLOEXEC);
	int32_t pid = 0;

	return fd >= 0 && pread(fd, &pid, sizeof(pid), 0) == sizeof(pid) ? pid : 0;
}

static struct registry_entry own_entry(const struct responder *responder,
				       enum service_transport transport)
{
	return (struct registry_entry){
		.vers = NLM4_VERSION,
		.transport = transport,
		.port = service_port(responder->service, transport),
	};
}

static void withdraw(struct responder *responder, int64_t until_ns)
{
	for (int i = 0; i < SERVICE_N_TRANSPORTS; i++) {
		struct registry_entry entry = own_entry(responder, (enum service_transport)i);

		if (entry.port)
			registry_unset(NLM4_PROGRAM, &entry, until_ns);
	}
}

static bool is_own(const struct responder *responder, const struct registry_entry *entry)
{
	return entry->vers == NLM4_VERSION &&
	       entry->port == service_port(responder->service, entry->transport);
}

/* What is not ours, and whose port nobody listens on, goes. False: somebody else has the program.
 */
static bool clear_stale(struct responder *responder, const struct registry_entry entries[],
			unsigned int n, int64_t until_ns)
{
	for (unsigned int i = 0; i < n; i++)
		if (!is_own(responder, &entries[i]) &&
		    !registry_is_dead(NLM4_PROGRAM, &entries[i], until_ns))
			return false;
	for (unsigned int i = 0; i < n; i++)
		if (!is_own(responder, &entries[i]))
			registry_unset(NLM4_PROGRAM, &entries[i], until_ns);
	return true;
}

static bool has_entry(const struct registry_entry entries[], unsigned int n,
		      const struct registry_entry *wanted)
{
	for (unsigned int i = 0; i < n; i++)
		if (entries[i].vers == wanted->vers && entries[i].transport == wanted->transport &&
		    entries[i].port == wanted->port)
			return true;
	return false;
}

static int set_missing(struct responder *responder, const struct registry_entry entries[],
		       unsigned int n, int64_t until_ns)
{
	int error = 0;

	for (int i = 0; i < SERVICE_N_TRANSPORTS && !error; i++) {
		struct registry_entry entry = own_entry(responder, (enum service_transport)i);

		if (entry.port && !has_entry(entries, n, &entry))
			error = registry_set(NLM4_PROGRAM, &entry, until_ns);
	}
	return error;
}

static bool enter_program(struct responder *responder)
{
	int64_t until_ns = clock_ns() + RPCBIND_NS;
	struct registry_entry entries[REGISTRY_MAX_ENTRIES], one;
	unsigned int n = 0;
	int error = registry_list(NLM4_PROGRAM, until_ns, entries, &n);

	if (error || !clear_stale(responder, entries, n, until_ns)) {
		log_debug("the lock manager's program is not registered: %s",
			  error ? strerrordesc_np(-error) : "somebody else has it");
		return false;
	}
	error = set_missing(responder, entries, n, until_ns);
	one = own_entry(responder,
			service_port(responder->service, SERVICE_UDP) ? SERVICE_UDP : SERVICE_UDP6);
	if (!error && !registry_is_seen(NLM4_PROGRAM, &one, clock_ns() + RPCBIND_NS))
		error = -EADDRNOTAVAIL;
	if (!error)
		return true;
	log_debug("the lock manager's program is not registered: %s", strerrordesc_np(-error));
	withdraw(responder, clock_ns() + RPCBIND_NS);
	return false;
}

static void serve(struct responder *responder)
{
	struct service_config config = {
		.prog = NLM4_PROGRAM,
		.vers = NLM4_VERSION,
		.handle = handle,
		.userdata = responder,
	};
	int error = 0;

	if (!responder->service)
		error = service_open(&config, &responder->service);
	if (error)
		log_debug("no service for the server's calls: error %d", -error);
}

static void be_owner(struct responder *responder, int64_t now_ns)
{
	bool registered;

	if (responder->checked_ns && now_ns - responder->checked_ns < AGAIN_NS)
		return;
	serve(responder);
	registered = responder->service && enter_program(responder);
	if (registered != responder->registered || !responder->checked_ns)
		tell_others(responder, registered);
	if (registered && !responder->registered)
		log_debug("the lock manager's program is registered (TCP port %u, UDP port %u)",
			  service_port(responder->service, SERVICE_TCP),
			  service_port(responder->service, SERVICE_UDP));
	responder->registered = registered;
	responder->checked_ns = now_ns;
}

static void step(struct responder *responder)
{
	int32_t owner = responder->owner;

	if (responder->relay_fd < 0)
		responder->relay_fd = relay_listen(responder->config.oh);
	if (responder->lock_fd < 0)
		responder->lock_fd = lock_file(responder->path);
	if (responder->lock_fd >= 0)
		be_owner(responder, clock_ns());
	else
		responder->owner = read_owner(responder);
	atomic_store(&responder->ready, responder->relay_fd >= 0 && responder->owner > 0);
	if (responder->owner != owner)
		responder->config.changed(responder->config.userdata);
}

/* Its name goes before its lock: who opened it meanwhile sees that it is another file. */
static void end_owner(struct responder *responder)
{
	if (responder->service && responder->registered)
		withdraw(responder, clock_ns() + RPCBIND_NS);
	service_close(responder->service);
	if (responder->lock_fd >= 0) {
		unlink(responder->path);
		close(responder->lock_fd);
	}
}

/* ---- the thread -------------------------------------------------------------------------- */

/* Also for a while after: locks come and go. */
static bool has_work(struct responder *responder)
{
	int64_t now_ns = clock_ns();

	if (atomic_exchange(&responder->was_wanted, false) || atomic_load(&responder->wanted))
		responder->wanted_ns = now_ns;
	return now_ns - responder->wanted_ns < STAY_NS;
}

static void sleep_a_while(struct responder *responder)
{
	struct pollfd fds[] = {
		{.fd = responder->wake_fd, .events = POLLIN},
		{.fd = responder->relay_fd, .events = POLLIN},
	};
	bool work = has_work(responder);
	eventfd_t count;

	if (!work) {
		atomic_store(&responder->asleep, true);
		work = has_work(responder);
	}
	poll(fds, ARRAY_SIZE(fds), work ? TICK_MS : -1);
	atomic_store(&responder->asleep, false);
	eventfd_read(responder->wake_fd, &count);
	if (fds[1].revents)
		take_relayed(responder);
}

static void *run(void *arg)
{
	struct responder *responder = arg;

	while (!atomic_load(&responder->ending)) {
		if (has_work(responder))
			step(responder);
		sleep_a_while(responder);
	}
	end_owner(responder);
	if (responder->relay_fd >= 0) {
		relay_unlink(responder->config.oh);
		close(responder->relay_fd);
	}
	return NULL;
}

struct responder *responder_new(const struct responder_config *config)
{
	struct responder *responder = calloc(1, sizeof(*responder));
	struct stat ns;

	if (!responder)
		return NULL;
	responder->config = *config;
	responder->lock_fd = responder->relay_fd = -1;
	responder->wanted_ns = -STAY_NS;
	responder->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (responder->wake_fd < 0) {
		free(responder);
		return NULL;
	}
	snprintf(responder->path, sizeof(responder->path), RUN_DIRECTORY "/nlm-%llu",
		 stat("/proc/self/ns/net", &ns) ? 0ULL : (unsigned long long)ns.st_ino);
	return responder;
}

static void start(struct responder *responder)
{
	if (geteuid() != 0 || responder->started || atomic_load(&responder->ending))
		return;
	responder->started = !pthread_create(&responder->thread, NULL, run, responder);
}

void responder_want(struct responder *responder, bool wanted)
{
	atomic_store_explicit(&responder->wanted, wanted, memory_order_relaxed);
	if (!wanted)
		return;
	atomic_store(&responder->was_wanted, true);
	start(responder);
	if (atomic_load(&responder->asleep))
		eventfd_write(responder->wake_fd, 1);
}

bool responder_is_ready(const struct responder *responder)
{
	return atomic_load_explicit(&responder->ready, memory_order_relaxed);
}

void responder_stop(struct responder *responder)
{
	atomic_store(&responder->ending, true);
	eventfd_write(responder->wake_fd, 1);
	if (responder->started)
		pthread_join(responder->thread, NULL);
	responder->started = false;
}

void responder_free(struct responder *responder)
{
	if (!responder)
		return;
	responder_stop(responder);
	close(responder->wake_fd);
	free(responder);
}
