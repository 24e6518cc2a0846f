/* SPDX-License-Identifier: GPL-2.0-or-later */
/* watchdog - see watchdog.h. */
#include "watchdog.h"

#include <errno.h>
#include <stdlib.h>

#include "../conn/util.h"
#include "notify.h"

struct watchdog {
	struct pool *pool;
	int64_t interval_ns;
	struct loop_task token;
	unsigned int next;       /* the loop that the token is on its way to */
	struct loop_timer timer; /* loop 0's */
};

static void pass(struct watchdog *watchdog, unsigned int index)
{
	watchdog->next = index;
	loop_post(pool_loop(watchdog->pool, index), &watchdog->token);
}

static void timer_expired(struct loop_timer *timer, int64_t now_ns UNUSED)
{
	struct watchdog *watchdog = container_of(timer, struct watchdog, timer);

	pass(watchdog, pool_n_loops(watchdog->pool) > 1 ? 1 : 0);
}

/* Once the loops have stopped, whoever joins them runs what is left: then the token is dropped. */
static void token_arrived(struct loop_task *task)
{
	struct watchdog *watchdog = container_of(task, struct watchdog, token);
	struct loop *loop = loop_current();

	if (!loop)
		return;
	if (watchdog->next) {
		pass(watchdog, (watchdog->next + 1) % pool_n_loops(watchdog->pool));
		return;
	}
	notify_alive();
	loop_timer_set(loop, &watchdog->timer, loop_now_ns(loop) + watchdog->interval_ns);
}

int watchdog_start(struct pool *pool, struct watchdog **ret_watchdog)
{
	struct watchdog *watchdog;

	*ret_watchdog = NULL;
	if (!notify_watchdog_ns())
		return 0;
	watchdog = calloc(1, sizeof(*watchdog));
	if (!watchdog)
		return -ENOMEM;
	watchdog->pool = pool;
	watchdog->interval_ns = notify_watchdog_ns() / 3;
	watchdog->token.run = token_arrived;
	watchdog->timer.expired = timer_expired;
	*ret_watchdog = watchdog;
	pass(watchdog, 0);
	return 0;
}

void watchdog_free(struct watchdog *watchdog)
{
	free(watchdog);
}
