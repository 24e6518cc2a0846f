/* SPDX-License-Identifier: GPL-2.0-or-later */
/* absent - see absent.h. Each shard is a hash table and a list in the order of use. */
#include "absent.h"

#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"

enum { SHARDS = 16, SHARD_MAX = ABSENT_MAX / SHARDS, BUCKETS = 1024 };

struct missing {
	LIST_ENTRY(missing) link;
	TAILQ_ENTRY(missing) use_link;
	uint64_t dir; /* nodeid */
	uint64_t hash;
	struct timespec mtime, ctime; /* of dir */
	char text[];
};

LIST_HEAD(missing_bucket, missing);
TAILQ_HEAD(missing_list, missing);

struct absent_shard {
	struct mutex lock; /* guards what follows */
	struct missing_bucket buckets[BUCKETS];
	struct missing_list by_use; /* the latest first */
	unsigned int n;
} __attribute__((aligned(64)));

struct absent {
	struct absent_shard shards[SHARDS];
};

static uint64_t hash_of(uint64_t dir, const char *text)
{
	return hash_bytes(text, strlen(text), dir * UINT64_C(0x9e3779b97f4a7c15));
}

static struct absent_shard *shard_of(struct absent *absent, uint64_t hash)
{
	return &absent->shards[hash % SHARDS];
}

static struct missing_bucket *bucket_of(struct absent_shard *shard, uint64_t hash)
{
	return &shard->buckets[hash / SHARDS % BUCKETS];
}

static struct missing *find_locked(struct absent_shard *shard, uint64_t dir, const char *text,
				   uint64_t hash) REQUIRES(shard->lock)
{
	struct missing *missing;

	LIST_FOREACH(missing, bucket_of(shard, hash), link)
		if (missing->hash == hash && missing->dir == dir && !strcmp(missing->text, text))
			return missing;
	return NULL;
}

static void remove_locked(struct absent_shard *shard, struct missing *missing)
	REQUIRES(shard->lock)
{
	LIST_REMOVE(missing, link);
	TAILQ_REMOVE(&shard->by_use, missing, use_link);
	shard->n--;
	free(missing);
}

static void insert_locked(struct absent_shard *shard, struct missing *missing)
	REQUIRES(shard->lock)
{
	if (shard->n >= SHARD_MAX)
		remove_locked(shard, TAILQ_LAST(&shard->by_use, missing_list));
	LIST_INSERT_HEAD(bucket_of(shard, missing->hash), missing, link);
	TAILQ_INSERT_HEAD(&shard->by_use, missing, use_link);
	shard->n++;
}

static struct missing *missing_new(uint64_t dir, const char *text, uint64_t hash,
				   const struct attr *dir_attr)
{
	size_t size = strlen(text) + 1;
	struct missing *missing = malloc(sizeof(*missing) + size);

	if (!missing)
		return NULL;
	*missing = (struct missing){
		.dir = dir,
		.hash = hash,
		.mtime = dir_attr->mtime,
		.ctime = dir_attr->ctime,
	};
	memcpy(missing->text, text, size);
	return missing;
}

void absent_add(struct absent *absent, const struct inode *dir, const char *name,
		const struct attr *dir_attr)
{
	uint64_t nodeid = inode_nodeid(dir), hash = hash_of(nodeid, name);
	struct absent_shard *shard = shard_of(absent, hash);
	struct missing *missing = missing_new(nodeid, name, hash, dir_attr), *old;

	if (!missing)
		return;
	mutex_lock(&shard->lock);
	old = find_locked(shard, nodeid, name, hash);
	if (old)
		remove_locked(shard, old);
	insert_locked(shard, missing);
	mutex_unlock(&shard->lock);
}

bool absent_find(struct absent *absent, const struct inode *dir, const char *name,
		 const struct attr *dir_attr)
{
	uint64_t nodeid = inode_nodeid(dir), hash = hash_of(nodeid, name);
	struct absent_shard *shard = shard_of(absent, hash);
	struct missing *missing;
	bool found;

	mutex_lock(&shard->lock);
	missing = find_locked(shard, nodeid, name, hash);
	found = missing && time_equal(missing->mtime, dir_attr->mtime) &&
		time_equal(missing->ctime, dir_attr->ctime);
	if (found) {
		TAILQ_REMOVE(&shard->by_use, missing, use_link);
		TAILQ_INSERT_HEAD(&shard->by_use, missing, use_link);
	}
	mutex_unlock(&shard->lock);
	return found;
}

void absent_drop(struct absent *absent, const struct inode *dir, const char *name)
{
	uint64_t nodeid = inode_nodeid(dir), hash = hash_of(nodeid, name);
	struct absent_shard *shard = shard_of(absent, hash);
	struct missing *missing;

	mutex_lock(&shard->lock);
	missing = find_locked(shard, nodeid, name, hash);
	if (missing)
		remove_locked(shard, missing);
	mutex_unlock(&shard->lock);
}

struct absent *absent_new(void)
{
	struct absent *absent = aligned_alloc(_Alignof(struct absent), sizeof(*absent));

	if (!absent)
		return NULL;
	memset(absent, 0, sizeof(*absent));
	for (unsigned int i = 0; i < SHARDS; i++) {
		mutex_init(&absent->shards[i].lock);
		TAILQ_INIT(&absent->shards[i].by_use);
	}
	return absent;
}

static void shard_deinit(struct absent_shard *shard)
{
	struct missing *missing;

	while ((missing = TAILQ_FIRST(&shard->by_use))) {
		TAILQ_REMOVE(&shard->by_use, missing, use_link);
		free(missing);
	}
	mutex_deinit(&shard->lock);
}

void absent_free(struct absent *absent)
{
	if (!absent)
		return;
	for (unsigned int i = 0; i < SHARDS; i++)
		shard_deinit(&absent->shards[i]);
	free(absent);
}
