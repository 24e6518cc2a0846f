/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pages - see pages.h. */
#include "pages.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../conn/mutex.h"
#include "dev.h"
#include "guard.h"

enum { END_S = 1 };

struct pages {
	struct fuse_session **session; /* made later than this */
	struct mutex lock;             /* guards what follows */
	pthread_cond_t changed;
	STAILQ_HEAD(, pages_drop) queue;
	bool running, ending;
	pthread_t thread;
	int abort_fd;
	struct guard guard;            /* the thread's, then pages_free()'s */
};

static void keep_only(int fd)
{
	if (unshare(CLONE_FILES)) /* a seccomp filter, maybe: then all end together */
		return;
	if (fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned int)fd - 1, 0);
	close_range((unsigned int)fd + 1, ~0U, 0);
}

static struct pages_drop *take(struct pages *pages)
{
	struct pages_drop *drop;

	mutex_lock(&pages->lock);
	while (!(drop = STAILQ_FIRST(&pages->queue)) && !pages->ending)
		pthread_cond_wait(&pages->changed, &pages->lock.os);
	if (drop)
		STAILQ_REMOVE_HEAD(&pages->queue, link);
	mutex_unlock(&pages->lock);
	return drop;
}

static void *run(void *arg)
{
	struct pages *pages = arg;
	int clone = dev_clone(*pages->session), fd = clone >= 0 ? clone : fuse_session_fd(*pages->session);
	struct pages_drop *drop;

	guard_start(&pages->guard, pages->abort_fd);
	keep_only(fd);
	while ((drop = take(pages))) {
		dev_reply_to(fd);
		fuse_lowlevel_notify_inval_inode(*pages->session, drop->nodeid, 0, 0);
		drop->done(drop);
	}
	if (clone >= 0)
		close(clone);
	return NULL;
}

struct pages *pages_new(struct fuse_session **session)
{
	struct pages *pages = calloc(1, sizeof(*pages));

	if (!pages)
		return NULL;
	pages->session = session;
	pages->abort_fd = -1;
	mutex_init(&pages->lock);
	pthread_cond_init(&pages->changed, NULL);
	STAILQ_INIT(&pages->queue);
	return pages;
}

bool pages_free(struct pages *pages)
{
	struct timespec until;
	bool running;

	if (!pages)
		return true;
	mutex_lock(&pages->lock);
	pages->ending = true;
	running = pages->running;
	pthread_cond_signal(&pages->changed);
	mutex_unlock(&pages->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_S;
	if (running && pthread_timedjoin_np(pages->thread, NULL, &until))
		return false;
	guard_end(&pages->guard);
	pthread_cond_destroy(&pages->changed);
	mutex_deinit(&pages->lock);
	free(pages);
	return true;
}

void pages_guard(struct pages *pages, int abort_fd)
{
	pages->abort_fd = abort_fd;
}

int pages_drop(struct pages *pages, struct pages_drop *drop)
{
	int error = 0;

	mutex_lock(&pages->lock);
	if (!pages->running)
		error = -pthread_create(&pages->thread, NULL, run, pages);
	if (!error) {
		pages->running = true;
		STAILQ_INSERT_TAIL(&pages->queue, drop, link);
		pthread_cond_signal(&pages->changed);
	}
	mutex_unlock(&pages->lock);
	return error;
}
