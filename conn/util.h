/* SPDX-License-Identifier: GPL-2.0-or-later */
/* util - the few helpers both halves of the program use. Header only, no state. */
#ifndef CONN_UTIL_H
#define CONN_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define container_of(pointer, type, member) \
	((type *)(void *)((char *)(pointer) - offsetof(type, member)))

/* cleanup(f) - run f on the variable's address at the end of its scope (memory and fds only). */
#define cleanup(function) __attribute__((cleanup(function)))

/* steal - hand a pointer to someone else: its value, leaving NULL behind for cleanup(). */
#define steal(pointer)                               \
	(__extension__({                             \
		__typeof__(pointer) steal_from = (pointer);    \
		__typeof__(*(pointer)) stolen = *steal_from;   \
		*steal_from = NULL;                  \
		stolen;                              \
	}))

#define UNUSED __attribute__((unused))

static inline void freep(void *pointer)
{
	free(*(void **)pointer);
}

static inline void closep(const int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

/* steal_fd - as steal(), for a descriptor; leaves -1 behind. */
static inline int steal_fd(int *fd)
{
	int stolen = *fd;

	*fd = -1;
	return stolen;
}

/* clock_ns - CLOCK_MONOTONIC in nanoseconds: every time and deadline in the program. */
static inline int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

static inline int64_t min_i64(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static inline size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* array_grown - room for need items of size item in an array of *max: itself, or moved to where there is room for at
 * least twice as many as before. NULL without memory; the array stays. */
static inline void *array_grown(void *array, size_t need, size_t *max, size_t item)
{
	size_t more = max_size(max_size(need, 2 * *max), 16);

	if (need <= *max)
		return array;
	array = realloc(array, more * item);
	if (array)
		*max = more;
	return array;
}

/* xdr_pad - zero bytes that follow n bytes of opaque data (RFC 4506 section 4.9). */
static inline size_t xdr_pad(size_t n)
{
	return -n & 3;
}

/* hash_bytes - 64-bit FNV-1a; for hash tables, not against an adversary. */
static inline uint64_t hash_bytes(const void *bytes, size_t n, uint64_t seed)
{
	const uint8_t *byte = (const uint8_t *)bytes;
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ seed;

	for (size_t i = 0; i < n; i++)
		hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
	return hash ^ (hash >> 32);
}

#endif
