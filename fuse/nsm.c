/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nsm - see nsm.h. */
#include "nsm.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../conn/mutex.h"
#include "../conn/util.h"
#include "log.h"
#include "nsm_notify.h"
#include "nsm_record.h"

static const int64_t STAY_NS = 10 * NS_PER_S;
static const int64_t MONITOR_AGAIN_NS = 60 * NS_PER_S;
static const int64_t TELL_AGAIN_NS = 5 * NS_PER_S; /* then three times that, each time */
static const int64_t TELL_AGAIN_MAX_NS = 300 * NS_PER_S;
enum { TICK_MS = 1000 };

enum record_state {
	RECORD_NONE,
	RECORD_WRITTEN,
	RECORD_IMPOSSIBLE,
};

struct nsm {
	struct nsm_config config;
	struct mutex lock;        /* guards what follows */
	enum record_state state;
	bool wanted;
	int64_t unwanted_ns;      /* since when not */
	bool started, ending, clean;
	struct nsm_record record; /* its addresses: the main thread sets them before `found` */
	bool found;

	_Atomic(uint32_t) number; /* our state of NSM */
	_Atomic(bool) tell_asked;
	int wake_fd, stop_fd;     /* eventfds */
	pthread_t thread;

	/* The thread's. */
	int record_fd;
	bool monitored, told_why;
	int64_t monitor_at_ns;
	int64_t tell_at_ns, tell_pause_ns; /* tell_at_ns 0: nothing to tell */
};

/* ---- the record -------------------------------------------------------------------------- */

static void set_state(struct nsm *nsm, enum record_state state)
{
	mutex_lock(&nsm->lock);
	nsm->state = state;
	mutex_unlock(&nsm->lock);
}

static void write_record(struct nsm *nsm)
{
	cleanup(closep) int lock_fd = nsm_record_lock();
	int error = lock_fd < 0 ? lock_fd : 0;

	if (!error) {
		atomic_store(&nsm->number, nsm_record_state(false));
		nsm->record_fd = nsm_record_write(&nsm->record);
		error = nsm->record_fd < 0 ? nsm->record_fd : 0;
	}
	if (error)
		log_info(MSG_NSM_NO_RECORD, "locks are not recorded in /var/lib/fusenfs (%s): should this host or fusenfs "
			 "be killed, they stay with the server", strerrordesc_np(-error));
	set_state(nsm, error ? RECORD_IMPOSSIBLE : RECORD_WRITTEN);
	nsm->config.recorded(nsm->config.userdata);
}

static bool others_watch(const struct nsm *nsm)
{
	cleanup(freep) struct nsm_record *records = calloc(NSM_MAX_RECORDS, sizeof(*records));
	unsigned int n = 0;
	bool found = false;

	if (!records || nsm_record_read(records, &n))
		return true;
	for (unsigned int i = 0; i < n; i++)
		found |= records[i].alive && !strcmp(records[i].server, nsm->record.server);
	nsm_record_close(records, n);
	return found;
}

static void remove_record(struct nsm *nsm)
{
	cleanup(closep) int lock_fd UNUSED = nsm_record_lock();
	bool unmonitor;

	nsm_record_remove(&nsm->record);
	closep(&nsm->record_fd);
	nsm->record_fd = -1;
	unmonitor = nsm->monitored && !others_watch(nsm);
	nsm->monitored = false;
	if (unmonitor)
		nsm_monitor(&nsm->record, false, 0);
}

static void monitor(struct nsm *nsm, int64_t now_ns)
{
	int error;

	if (nsm->monitored || now_ns < nsm->monitor_at_ns || !nsm->config.can_be_called(nsm->config.userdata))
		return;
	error = nsm_monitor(&nsm->record, true, nsm->stop_fd);
	log_debug("statd of this host watches %s: %s", nsm->record.server, error ? strerrordesc_np(-error) : "yes");
	nsm->monitored = !error;
	nsm->monitor_at_ns = now_ns + MONITOR_AGAIN_NS;
}

static void keep_record(struct nsm *nsm, int64_t now_ns)
{
	enum record_state state;
	bool wanted, stale;

	mutex_lock(&nsm->lock);
	state = nsm->state;
	wanted = nsm->wanted;
	stale = state == RECORD_WRITTEN && !wanted && now_ns - nsm->unwanted_ns >= STAY_NS;
	if (stale)
		nsm->state = RECORD_NONE; /* who comes now waits for a new one */
	mutex_unlock(&nsm->lock);
	if (stale)
		remove_record(nsm);
	else if (state == RECORD_NONE && wanted)
		write_record(nsm);
	else if (state == RECORD_WRITTEN)
		monitor(nsm, now_ns);
}

/* ---- what the dead left ------------------------------------------------------------------ */

static const char *why_not(const struct nsm_report *report)
{
	switch (report->outcome) {
	case NSM_HELD:
		return "other mounts of this host have locks there, which would go, too: unmount them, and see fusenfs "
		       "sm-notify";
	case NSM_KERNEL:
		return "the kernel has mounted it, too, and its locks would go: unmount it, and see fusenfs sm-notify";
	case NSM_TOLD:
	case NSM_SILENT:
		break;
	}
	return report->error == -ENOENT ? "it has no NSM (program 100024)" : strerrordesc_np(-report->error);
}

static void tell(void *userdata, const struct nsm_report *report)
{
	struct nsm *nsm = userdata;

	if (report->outcome == NSM_TOLD)
		log_info(MSG_NSM_TOLD, "%s was told to free the locks that ended mounts of this host left there",
			 report->server);
	else if (!nsm->told_why)
		log_warn(MSG_NSM_KEPT, "locks that ended mounts of this host left on %s stay there: %s", report->server,
			 why_not(report));
	nsm->told_why |= report->outcome != NSM_TOLD;
}

static void tell_servers(struct nsm *nsm, int64_t now_ns)
{
	int left;

	if (atomic_exchange(&nsm->tell_asked, false)) {
		nsm->tell_pause_ns = TELL_AGAIN_NS;
		nsm->tell_at_ns = now_ns;
	}
	if (!nsm->tell_at_ns || now_ns < nsm->tell_at_ns)
		return;
	left = nsm_notify_all(nsm->stop_fd, tell, nsm);
	nsm->tell_at_ns = left ? now_ns + nsm->tell_pause_ns : 0;
	nsm->tell_pause_ns = min_i64(3 * nsm->tell_pause_ns, TELL_AGAIN_MAX_NS);
}

/* ---- the thread -------------------------------------------------------------------------- */

static int pause_ms(struct nsm *nsm)
{
	int ms = -1;

	if (nsm->tell_at_ns)
		ms = TICK_MS;
	mutex_lock(&nsm->lock);
	if (nsm->state == RECORD_WRITTEN || nsm->wanted)
		ms = nsm->state == RECORD_NONE ? 0 : TICK_MS;
	if (nsm->state == RECORD_IMPOSSIBLE && !nsm->tell_at_ns)
		ms = -1;
	mutex_unlock(&nsm->lock);
	return ms;
}

static bool is_ending(struct nsm *nsm)
{
	bool ending;

	mutex_lock(&nsm->lock);
	ending = nsm->ending;
	mutex_unlock(&nsm->lock);
	return ending;
}

static void *run(void *arg)
{
	struct nsm *nsm = arg;
	struct pollfd wake = { .fd = nsm->wake_fd, .events = POLLIN };
	eventfd_t count;

	while (!is_ending(nsm)) {
		tell_servers(nsm, clock_ns());
		keep_record(nsm, clock_ns());
		poll(&wake, 1, pause_ms(nsm));
		eventfd_read(nsm->wake_fd, &count);
	}
	if (nsm->record_fd >= 0 && nsm->clean)
		remove_record(nsm);
	return NULL;
}

/* With the lock held by nobody: once, by whoever comes first. */
static void start(struct nsm *nsm)
{
	bool first;

	mutex_lock(&nsm->lock);
	first = !nsm->started && !nsm->ending;
	nsm->started |= first;
	mutex_unlock(&nsm->lock);
	if (first && pthread_create(&nsm->thread, NULL, run, nsm)) {
		mutex_lock(&nsm->lock);
		nsm->started = false;
		nsm->state = RECORD_IMPOSSIBLE;
		mutex_unlock(&nsm->lock);
	}
}

/* ---- the mount's ------------------------------------------------------------------------- */

struct nsm *nsm_new(const struct nsm_config *config)
{
	struct nsm *nsm = calloc(1, sizeof(*nsm));

	if (!nsm)
		return NULL;
	nsm->config = *config;
	mutex_init(&nsm->lock);
	nsm->record_fd = -1;
	nsm->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	nsm->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (geteuid() != 0 || nsm->wake_fd < 0 || nsm->stop_fd < 0)
		nsm->state = RECORD_IMPOSSIBLE;
	return nsm;
}

static void to_text(const struct sockaddr_storage *sa, char text[NSM_ADDRESS_MAX])
{
	if (getnameinfo((const struct sockaddr *)sa, sizeof(*sa), text, NSM_ADDRESS_MAX, NULL, 0, NI_NUMERICHOST))
		text[0] = '\0';
}

/* Where the route leads from: nothing is sent. */
static void find_local(const struct pool_addr *server, const struct pool_local *local, char text[NSM_ADDRESS_MAX])
{
	cleanup(closep) int fd = socket(server->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);

	if (local && local->sa.ss_family == server->sa.ss_family)
		to_text(&local->sa, text);
	else if (fd >= 0 && !connect(fd, (const struct sockaddr *)&server->sa, server->len) &&
		 !getsockname(fd, (struct sockaddr *)&sa, &len))
		to_text(&sa, text);
}

/* Somebody may have locked already, and the thread run. */
void nsm_begin(struct nsm *nsm)
{
	bool possible;

	mutex_lock(&nsm->lock);
	possible = nsm->state != RECORD_IMPOSSIBLE;
	mutex_unlock(&nsm->lock);
	if (!possible || !nsm_record_exists())
		return;
	atomic_store(&nsm->tell_asked, true);
	start(nsm);
	eventfd_write(nsm->wake_fd, 1);
}

void nsm_found(struct nsm *nsm, const struct pool_addr *server, const struct pool_local *local)
{
	struct nsm_record record = { .fd = -1 };

	nsm_record_fill(&record);
	snprintf(record.oh, sizeof(record.oh), "%s", nsm->config.oh);
	snprintf(record.name, sizeof(record.name), "%s", nsm->config.name);
	to_text(&server->sa, record.server);
	find_local(server, local, record.local);
	mutex_lock(&nsm->lock);
	if (!nsm->found)
		nsm->record = record;
	nsm->found = true;
	mutex_unlock(&nsm->lock);
}

bool nsm_hold(struct nsm *nsm)
{
	enum record_state state;
	bool was_wanted;

	mutex_lock(&nsm->lock);
	was_wanted = nsm->wanted;
	nsm->wanted = true;
	state = nsm->found ? nsm->state : RECORD_IMPOSSIBLE;
	mutex_unlock(&nsm->lock);
	if (state != RECORD_NONE)
		return true;
	start(nsm);
	if (!was_wanted)
		eventfd_write(nsm->wake_fd, 1);
	return false;
}

void nsm_unhold(struct nsm *nsm)
{
	mutex_lock(&nsm->lock);
	nsm->wanted = false;
	nsm->unwanted_ns = clock_ns();
	mutex_unlock(&nsm->lock);
}

uint32_t nsm_state(const struct nsm *nsm)
{
	return atomic_load_explicit(&nsm->number, memory_order_relaxed);
}

void nsm_stop(struct nsm *nsm, bool clean)
{
	bool started;

	mutex_lock(&nsm->lock);
	started = nsm->started && !nsm->ending;
	nsm->ending = true;
	nsm->clean = clean;
	mutex_unlock(&nsm->lock);
	eventfd_write(nsm->stop_fd, 1);
	eventfd_write(nsm->wake_fd, 1);
	if (started)
		pthread_join(nsm->thread, NULL);
}

void nsm_free(struct nsm *nsm)
{
	if (!nsm)
		return;
	nsm_stop(nsm, false);
	closep(&nsm->record_fd);
	closep(&nsm->wake_fd);
	closep(&nsm->stop_fd);
	mutex_deinit(&nsm->lock);
	free(nsm);
}
