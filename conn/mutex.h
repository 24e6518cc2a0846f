/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mutex - a pthread mutex that clang's -Wthread-safety can follow. gcc sees plain functions.
 *
 * Locks in this program are leaves: no thread holds two, and none is held across a callback, an
 * encode, a FUSE reply or a system call that may block. Write lock and unlock in plain sight. */
#ifndef CONN_MUTEX_H
#define CONN_MUTEX_H

#include <pthread.h>

#if defined(__clang__)
#define THREAD_ANNOTATION(x) __attribute__((x))
#else
#define THREAD_ANNOTATION(x)
#endif

#define REQUIRES(...) THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define RELEASE(...) THREAD_ANNOTATION(release_capability(__VA_ARGS__))

struct THREAD_ANNOTATION(capability("mutex")) mutex {
	pthread_mutex_t os;
};

#define MUTEX_INIT { PTHREAD_MUTEX_INITIALIZER }

static inline void mutex_init(struct mutex *mutex)
{
	pthread_mutex_init(&mutex->os, NULL);
}

static inline void mutex_deinit(struct mutex *mutex)
{
	pthread_mutex_destroy(&mutex->os);
}

static inline void mutex_lock(struct mutex *mutex) ACQUIRE(*mutex)
	THREAD_ANNOTATION(no_thread_safety_analysis);
static inline void mutex_lock(struct mutex *mutex)
{
	pthread_mutex_lock(&mutex->os);
}

static inline void mutex_unlock(struct mutex *mutex) RELEASE(*mutex)
	THREAD_ANNOTATION(no_thread_safety_analysis);
static inline void mutex_unlock(struct mutex *mutex)
{
	pthread_mutex_unlock(&mutex->os);
}

#endif
