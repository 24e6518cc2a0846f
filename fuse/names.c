/* SPDX-License-Identifier: GPL-2.0-or-later */
/* names - see names.h. An entry belongs to its inode (inode->names, under the inode's lock), and is
 * freed by whoever has taken it off there; a shard only lists it, under its own lock. An entry that
 * was displaced or dropped stays with its owner, unlisted, until the next one is added. The two locks
 * are never held together. */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"

enum { SHARDS = 64, BUCKETS_MIN = 64, NAMES_OF_INODE_MAX = 8 };

struct name {
	LIST_ENTRY(name) link;       /* in its shard's bucket */
	LIST_ENTRY(name) inode_link; /* in inode->names */
	struct inode *parent; /* pinned */
	struct inode *inode;  /* not pinned: taken out before it goes */
	uint64_t hash;
	uint64_t stamp;
	_Atomic(bool) listed; /* written under the shard's lock */
	char text[];
};

LIST_HEAD(name_bucket, name);

struct name_shard {
	struct mutex lock; /* guards what follows */
	struct name_bucket *buckets;
	uint32_t n_buckets, n;
};

struct names {
	struct inode_table *inodes;
	struct name_shard shards[SHARDS];
};

static uint64_t hash_of(const struct inode *parent, const char *name)
{
	return hash_bytes(name, strlen(name), inode_nodeid(parent) * UINT64_C(0x9e3779b97f4a7c15));
}

static struct name_shard *shard_of(struct names *names, uint64_t hash)
{
	return &names->shards[hash % SHARDS];
}

static struct name_bucket *bucket_of(struct name_shard *shard, uint64_t hash)
{
	return &shard->buckets[hash / SHARDS % shard->n_buckets];
}

static struct name *find_locked(struct name_shard *shard, const struct inode *parent,
				const char *text, uint64_t hash) REQUIRES(shard->lock)
{
	struct name *name;

	if (!shard->n_buckets)
		return NULL;
	LIST_FOREACH(name, bucket_of(shard, hash), link)
		if (name->hash == hash && name->parent == parent && !strcmp(name->text, text))
			return name;
	return NULL;
}

static void take_out_locked(struct name_shard *shard, struct name *name) REQUIRES(shard->lock)
{
	LIST_REMOVE(name, link);
	name->listed = false;
	shard->n--;
}

/* Without memory the chains only grow longer. */
static void grow_locked(struct name_shard *shard) REQUIRES(shard->lock)
{
	uint32_t n = shard->n_buckets ? shard->n_buckets * 2 : BUCKETS_MIN;
	struct name_shard larger = { .buckets = calloc(n, sizeof(larger.buckets[0])), .n_buckets = n };

	if (!larger.buckets)
		return;
	for (uint32_t i = 0; i < shard->n_buckets; i++) {
		struct name *name;

		while ((name = LIST_FIRST(&shard->buckets[i]))) {
			LIST_REMOVE(name, link);
			LIST_INSERT_HEAD(bucket_of(&larger, name->hash), name, link);
		}
	}
	free(shard->buckets);
	shard->buckets = larger.buckets;
	shard->n_buckets = n;
}

/* Put it in, in place of what stood under the same name, unless that is newer. */
static void insert(struct names *names, struct name *name)
{
	struct name_shard *shard = shard_of(names, name->hash);
	struct name *old;

	mutex_lock(&shard->lock);
	old = find_locked(shard, name->parent, name->text, name->hash);
	if (old && old->stamp <= name->stamp)
		take_out_locked(shard, old);
	if (shard->n >= shard->n_buckets)
		grow_locked(shard);
	if (shard->n_buckets && (!old || !old->listed)) {
		LIST_INSERT_HEAD(bucket_of(shard, name->hash), name, link);
		name->listed = true;
		shard->n++;
	}
	mutex_unlock(&shard->lock);
}

/* The entry has been taken off its inode. */
static void name_free(struct names *names, struct name *name)
{
	struct name_shard *shard;

	if (!name)
		return;
	shard = shard_of(names, name->hash);
	mutex_lock(&shard->lock);
	if (name->listed)
		take_out_locked(shard, name);
	mutex_unlock(&shard->lock);
	inode_put(names->inodes, name->parent);
	free(name);
}

static struct name *name_new(struct inode *parent, const char *text, struct inode *inode,
			     uint64_t stamp)
{
	size_t size = strlen(text) + 1;
	struct name *name = malloc(sizeof(*name) + size);

	if (!name)
		return NULL;
	*name = (struct name){
		.parent = inode_ref(parent),
		.inode = inode,
		.hash = hash_of(parent, text),
		.stamp = stamp,
	};
	memcpy(name->text, text, size);
	return name;
}

static bool is_named(struct inode *inode, const struct inode *parent, const char *text)
	REQUIRES(inode->lock)
{
	struct name *name;

	LIST_FOREACH(name, &inode->names, inode_link)
		if (name->listed && name->parent == parent && !strcmp(name->text, text))
			return true;
	return false;
}

/* One that is of no use any more, or the oldest of too many; NULL. */
static struct name *take_useless(struct inode *inode) REQUIRES(inode->lock)
{
	struct name *name, *useless = NULL;
	unsigned int n = 0;

	LIST_FOREACH(name, &inode->names, inode_link)
		if (!name->listed || ++n > NAMES_OF_INODE_MAX)
			useless = name;
	if (useless)
		LIST_REMOVE(useless, inode_link);
	return useless;
}

void names_add(struct names *names, struct inode *parent, const char *text, struct inode *inode,
	       uint64_t stamp)
{
	struct name *name, *useless;
	bool known;

	mutex_lock(&inode->lock);
	known = is_named(inode, parent, text);
	mutex_unlock(&inode->lock);
	name = known ? NULL : name_new(parent, text, inode, stamp);
	if (!name)
		return;
	insert(names, name);
	mutex_lock(&inode->lock);
	LIST_INSERT_HEAD(&inode->names, name, inode_link);
	useless = take_useless(inode);
	mutex_unlock(&inode->lock);
	name_free(names, useless);
}

struct inode *names_find(struct names *names, struct inode *parent, const char *text)
{
	uint64_t hash = hash_of(parent, text);
	struct name_shard *shard = shard_of(names, hash);
	struct inode *inode = NULL;
	struct name *name;

	mutex_lock(&shard->lock);
	name = find_locked(shard, parent, text, hash);
	if (name)
		inode = inode_try_ref(name->inode);
	mutex_unlock(&shard->lock);
	return inode;
}

void names_drop(struct names *names, struct inode *parent, const char *text)
{
	uint64_t hash = hash_of(parent, text);
	struct name_shard *shard = shard_of(names, hash);
	struct name *name;

	mutex_lock(&shard->lock);
	name = find_locked(shard, parent, text, hash);
	if (name)
		take_out_locked(shard, name);
	mutex_unlock(&shard->lock);
}

void names_count_stat(struct inode *inode)
{
	struct name *name;

	mutex_lock(&inode->lock);
	name = LIST_FIRST(&inode->names);
	if (name)
		atomic_fetch_add_explicit(&name->parent->n_child_stats, 1, memory_order_relaxed);
	mutex_unlock(&inode->lock);
}

void names_forget(struct names *names, struct inode *inode)
{
	struct name *name;

	while ((name = LIST_FIRST(&inode->names))) {
		LIST_REMOVE(name, inode_link);
		name_free(names, name);
	}
}

struct names *names_new(struct inode_table *inodes)
{
	struct names *names = calloc(1, sizeof(*names));

	if (!names)
		return NULL;
	names->inodes = inodes;
	for (unsigned int i = 0; i < SHARDS; i++)
		mutex_init(&names->shards[i].lock);
	return names;
}

void names_free(struct names *names)
{
	if (!names)
		return;
	for (unsigned int i = 0; i < SHARDS; i++) {
		mutex_deinit(&names->shards[i].lock);
		free(names->shards[i].buckets);
	}
	free(names);
}

/* ---- paths ------------------------------------------------------------------------------- */

/* Its latest name and a '/', in front of what is in path from *at on. Returns the directory, pinned;
 * NULL: no name, or no room. */
static struct inode *prepend(struct inode *inode, char *path, size_t *at)
{
	struct inode *parent = NULL;
	struct name *name;
	size_t len;

	mutex_lock(&inode->lock);
	LIST_FOREACH(name, &inode->names, inode_link)
		if (name->listed)
			break;
	len = name ? strlen(name->text) : 0;
	if (name && *at > len) {
		*at -= len + 1;
		memcpy(path + *at, name->text, len);
		path[*at + len] = '/';
		parent = inode_try_ref(name->parent);
	}
	mutex_unlock(&inode->lock);
	return parent;
}

int names_path(struct names *names, struct inode *inode, char *path, size_t size)
{
	enum { DEPTH_MAX = 256 }; /* names that are out of date may lead in a circle */
	struct inode *parent;
	size_t at = size - 1;

	path[at] = '\0';
	inode_ref(inode);
	for (unsigned int depth = 0; inode->index != INODE_ROOT && depth < DEPTH_MAX; depth++) {
		parent = prepend(inode, path, &at);
		inode_put(names->inodes, inode);
		if (!parent)
			return -ENOENT;
		inode = parent;
	}
	inode_put(names->inodes, inode);
	memmove(path, path + at, size - at);
	if (size - at >= 2)
		path[size - at - 2] = '\0'; /* the last '/' */
	return 0;
}
