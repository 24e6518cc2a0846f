/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pool_wait - a call that its maker waits for, with what it needs of the reply copied out. For threads
 * that are not loops. */
#include <pthread.h>
#include <string.h>

#include "conn.h"
#include "mutex.h"
#include "util.h"

struct waiter {
	struct mutex lock;
	pthread_cond_t cond;
	bool done;
	uint8_t *copy;
	uint32_t size;
};

static void waiter_done(struct call *call)
{
	struct waiter *waiter = call->waiter;

	mutex_lock(&waiter->lock);
	if (!call->status && call->results) {
		call->results_len = (uint32_t)min_size(call->results_len, waiter->size);
		if (call->results_len)
			memcpy(waiter->copy, call->results, call->results_len);
		call->results = waiter->copy;
	}
	waiter->done = true;
	pthread_cond_signal(&waiter->cond);
	mutex_unlock(&waiter->lock);
}

int pool_call_wait(struct pool *pool, struct call *call, uint8_t *copy, uint32_t size)
{
	struct waiter waiter = { MUTEX_INIT, PTHREAD_COND_INITIALIZER, false, copy, size };

	call->done = waiter_done;
	call->waiter = &waiter;
	pool_submit(pool, call);
	mutex_lock(&waiter.lock);
	while (!waiter.done)
		pthread_cond_wait(&waiter.cond, &waiter.lock.os);
	mutex_unlock(&waiter.lock);
	return call->status;
}
