/* SPDX-License-Identifier: GPL-2.0-or-later */
/* inode - the table: one array of slots, and 64 shards that find them by handle.
 *
 * The slots lie in one mapping, reserved once, far larger than needed and backed by memory only
 * where it is written. So a slot never moves, its index is its name, and looking an id up is an
 * addition. A slot that dies goes to the free list of the shard it died in, and its generation
 * changes when it is used again.
 *
 * Who may raise refs. From n > 0 to n + 1: anybody, without a lock. From 0: only who took the slot
 * from a free list. Down to 0: only under the lock of its shard, and in the same critical section
 * the inode leaves the hash. Hence
 *   - whoever finds an inode in the hash, under that lock, finds it alive;
 *   - inode_get() need not lock: it adds one unless there are none, and only then, when the slot
 *     can no longer change its owner, looks whether the generation is the right one.
 *     inode_try_ref() takes no lock either, so that it may be called under somebody else's;
 *   - the one whose put was the last has the slot for himself until he puts it on the free list. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../conn/util.h"
#include "inode.h"

enum { N_SHARDS = 64, SHARD_BITS = 6, BUCKETS_MIN = 16 };

#define RESERVE_MAX ((size_t)1 << (sizeof(size_t) > 4 ? 36 : 28))
#define RESERVE_MIN ((size_t)1 << 22)

struct shard {
	struct mutex lock;   /* guards the rest, and hash_next of the slots chained here */
	uint32_t *buckets;   /* n_buckets, a power of two: where each chain begins; 0: empty */
	uint32_t n_buckets;
	uint32_t n_hashed;
	uint32_t n_alive;    /* hashed, or replaced by another inode of the same handle */
	uint32_t free;       /* first slot of the free list, chained by hash_next */
} __attribute__((aligned(64)));

struct inode_table {
	struct shard shards[N_SHARDS];
	struct inode *slots;        /* the mapping; slot 0 is not used */
	uint32_t n_slots;           /* how many fit in */
	_Atomic(uint32_t) n_used;   /* slots 1..n_used-1 have been used, and have a mutex */
	struct root_handle *root_handles; /* the root's, latest first; inode_table_set_root()'s */
	void (*release)(struct inode *inode, void *arg);
	void *release_arg;
};

/* Others may be encoding from it: kept as long as the table. */
struct root_handle {
	struct fhandle fh;
	struct root_handle *older;
};

static struct shard *shard_of(struct inode_table *table, uint64_t hash)
{
	return &table->shards[hash % N_SHARDS];
}

/* ---- slots ------------------------------------------------------------------------------- */

/* slots_reserve - as many as the system lets us. Only limits (ulimit -v, vm.overcommit_memory=2)
 * refuse; then it is a fraction, so that others find room too. */
static int slots_reserve(struct inode_table *table)
{
	for (size_t bytes = RESERVE_MAX; bytes >= RESERVE_MIN; bytes /= 4) {
		void *slots = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (slots == MAP_FAILED)
			continue;
		table->slots = (struct inode *)slots;
		table->n_slots = (uint32_t)(bytes / sizeof(struct inode));
		return 0;
	}
	return -ENOMEM;
}

/* slot_new - one never used before; 0: none left. */
static uint32_t slot_new(struct inode_table *table)
{
	uint32_t index = atomic_load_explicit(&table->n_used, memory_order_relaxed);

	do {
		if (index == table->n_slots)
			return 0;
	} while (!atomic_compare_exchange_weak(&table->n_used, &index, index + 1));
	table->slots[index].index = index;
	mutex_init(&table->slots[index].lock);
	return index;
}

static void free_push_locked(struct shard *shard, struct inode *inode) REQUIRES(shard->lock)
{
	inode->hash_next = shard->free;
	shard->free = inode->index;
}

static struct inode *free_pop_locked(struct inode_table *table, struct shard *shard)
	REQUIRES(shard->lock)
{
	struct inode *inode = &table->slots[shard->free];

	if (!shard->free)
		return NULL;
	shard->free = inode->hash_next;
	return inode;
}

/* slot_take_locked - a slot of which only index, generation and lock mean anything yet. */
static struct inode *slot_take_locked(struct inode_table *table, struct shard *shard)
	REQUIRES(shard->lock)
{
	struct inode *inode = free_pop_locked(table, shard);
	uint32_t index;

	if (inode) {
		inode->generation++;
		memset(&inode->attr, 0, sizeof(*inode) - offsetof(struct inode, attr));
		return inode;
	}
	index = slot_new(table);
	return index ? &table->slots[index] : NULL;
}

/* slots_refill - the array is full: give the shard a free slot of another one. */
static bool slots_refill(struct inode_table *table, struct shard *shard)
{
	struct inode *inode = NULL;

	for (unsigned int i = 0; i < N_SHARDS && !inode; i++) {
		struct shard *other = &table->shards[i];

		mutex_lock(&other->lock);
		inode = free_pop_locked(table, other);
		mutex_unlock(&other->lock);
	}
	if (!inode)
		return false;
	mutex_lock(&shard->lock);
	free_push_locked(shard, inode);
	mutex_unlock(&shard->lock);
	return true;
}

/* ---- the hash ---------------------------------------------------------------------------- */

static uint32_t *bucket_locked(struct shard *shard, uint64_t hash) REQUIRES(shard->lock)
{
	return &shard->buckets[(hash >> SHARD_BITS) & (shard->n_buckets - 1)];
}

/* shard_grow_locked - twice the buckets; without memory the chains get longer. */
static void shard_grow_locked(struct inode_table *table, struct shard *shard)
	REQUIRES(shard->lock)
{
	uint32_t *old = shard->buckets, n_old = shard->n_buckets;
	uint32_t *buckets = n_old < UINT32_C(1) << 31
				    ? (uint32_t *)calloc((size_t)n_old * 2, sizeof(*old))
				    : NULL;

	if (!buckets)
		return;
	shard->buckets = buckets;
	shard->n_buckets = n_old * 2;
	for (uint32_t i = 0; i < n_old; i++) {
		for (uint32_t index = old[i]; index;) {
			struct inode *inode = &table->slots[index];
			uint32_t *bucket = bucket_locked(shard, inode->hash);

			index = inode->hash_next;
			inode->hash_next = *bucket;
			*bucket = inode->index;
		}
	}
	free(old);
}

static void hash_add_locked(struct inode_table *table, struct shard *shard, struct inode *inode)
	REQUIRES(shard->lock)
{
	uint32_t *bucket;

	if (shard->n_hashed >= shard->n_buckets)
		shard_grow_locked(table, shard);
	bucket = bucket_locked(shard, inode->hash);
	inode->hash_next = *bucket;
	*bucket = inode->index;
	shard->n_hashed++;
}

/* hash_remove_locked - if it is there: a replaced inode is not. */
static void hash_remove_locked(struct inode_table *table, struct shard *shard,
			       struct inode *inode) REQUIRES(shard->lock)
{
	uint32_t *link = bucket_locked(shard, inode->hash);

	while (*link && *link != inode->index)
		link = &table->slots[*link].hash_next;
	if (!*link)
		return;
	*link = inode->hash_next;
	inode->hash_next = 0;
	shard->n_hashed--;
}

static struct inode *hash_find_locked(struct inode_table *table, struct shard *shard, uint64_t hash,
				      const struct fhandle *fh) REQUIRES(shard->lock)
{
	for (uint32_t index = *bucket_locked(shard, hash); index;) {
		struct inode *inode = &table->slots[index];

		if (inode->hash == hash && fhandle_equal(inode_fh(inode), fh))
			return inode;
		index = inode->hash_next;
	}
	return NULL;
}

/* ---- inodes ------------------------------------------------------------------------------ */

static uint64_t fhandle_hash(const struct fhandle *fh)
{
	return hash_bytes(fh->data, fh->len, 0);
}

/* inode_new_locked - with n_refs references. What it is must be written before refs is: from then
 * on inode_get() sees it. */
static struct inode *inode_new_locked(struct inode_table *table, struct shard *shard, uint64_t hash,
				      const struct fhandle *fh, const struct attr *attr,
				      uint64_t n_refs) REQUIRES(shard->lock)
{
	struct inode *inode = slot_take_locked(table, shard);

	if (!inode)
		return NULL;
	inode->own_handle = *fh;
	atomic_store_explicit(&inode->handle, &inode->own_handle, memory_order_relaxed);
	inode->hash = hash;
	inode->fileid = attr->fileid;
	inode->fsid = attr->fsid;
	inode->type = attr->mode & S_IFMT;
	atomic_store_explicit(&inode->nlookup, 0, memory_order_relaxed);
	atomic_store_explicit(&inode->refs, n_refs, memory_order_release);
	hash_add_locked(table, shard, inode);
	shard->n_alive++;
	return inode;
}

static bool is_same_file(const struct inode *inode, const struct attr *attr)
{
	return inode->index == INODE_ROOT ||
	       (inode->fileid == attr->fileid && inode->type == (attr->mode & S_IFMT));
}

struct inode *inode_find(struct inode_table *table, const struct fhandle *fh,
			 const struct attr *attr)
{
	uint64_t hash = fhandle_hash(fh);
	struct shard *shard = shard_of(table, hash);
	struct inode *inode;

	do {
		mutex_lock(&shard->lock);
		inode = hash_find_locked(table, shard, hash, fh);
		if (inode && !is_same_file(inode, attr)) {
			hash_remove_locked(table, shard, inode);
			inode = NULL;
		}
		if (inode)
			inode_ref(inode);
		else
			inode = inode_new_locked(table, shard, hash, fh, attr, 1);
		mutex_unlock(&shard->lock);
	} while (!inode && slots_refill(table, shard));
	return inode;
}

/* slot_ref - a reference to whoever lives there; false: nobody. */
static bool slot_ref(struct inode *inode)
{
	uint64_t refs = atomic_load_explicit(&inode->refs, memory_order_relaxed);

	while (refs) {
		if (atomic_compare_exchange_weak_explicit(&inode->refs, &refs, refs + 1,
							  memory_order_acquire,
							  memory_order_relaxed))
			return true;
	}
	return false;
}

struct inode *inode_try_ref(struct inode *inode)
{
	return slot_ref(inode) ? inode : NULL;
}

struct inode *inode_get(struct inode_table *table, uint64_t nodeid)
{
	uint32_t index = (uint32_t)nodeid;
	struct inode *inode;

	if (!index || index >= atomic_load_explicit(&table->n_used, memory_order_acquire))
		return NULL;
	inode = &table->slots[index];
	if (!slot_ref(inode))
		return NULL;
	if (inode_nodeid(inode) == nodeid)
		return inode;
	inode_put(table, inode);
	return NULL;
}

struct inode *inode_ref(struct inode *inode)
{
	atomic_fetch_add_explicit(&inode->refs, 1, memory_order_relaxed);
	return inode;
}

/* refs_drop - true: that was the last one, and the inode cannot be found any more. The lock is
 * taken for the last one only, and then others may have found the inode in the meantime. */
static bool refs_drop(struct inode_table *table, struct inode *inode)
{
	uint64_t refs = atomic_load_explicit(&inode->refs, memory_order_relaxed);
	struct shard *shard;
	bool last;

	while (refs > 1) {
		if (atomic_compare_exchange_weak_explicit(&inode->refs, &refs, refs - 1,
							  memory_order_release,
							  memory_order_relaxed))
			return false;
	}
	/* Not the root, whose hash may change: the table keeps a reference to it. */
	shard = shard_of(table, inode->hash);
	mutex_lock(&shard->lock);
	last = atomic_fetch_sub_explicit(&inode->refs, 1, memory_order_acq_rel) == 1;
	if (last) {
		hash_remove_locked(table, shard, inode);
		shard->n_alive--;
	}
	mutex_unlock(&shard->lock);
	return last;
}

/* inode_strip - free what hangs on a dead inode, which is ours alone: no lock. */
static void inode_strip(struct inode_table *table, struct inode *inode)
{
	if (table->release)
		table->release(inode, table->release_arg);
	free(steal(&inode->unmatched));
}

static void inode_bury(struct inode_table *table, struct inode *inode)
{
	struct shard *shard = shard_of(table, inode->hash);

	inode_strip(table, inode);
	mutex_lock(&shard->lock);
	free_push_locked(shard, inode);
	mutex_unlock(&shard->lock);
}

/* A release may put the last reference to another inode, a name its directory for example, and so
 * on up a tree that is as deep as the server likes. So it is not done by recursion: what dies
 * within a release waits in a list, by hash_next, until that one has returned. */
void inode_put(struct inode_table *table, struct inode *inode)
{
	static _Thread_local bool burying;
	static _Thread_local uint32_t dead;

	if (!inode || !refs_drop(table, inode))
		return;
	inode->hash_next = dead;
	dead = inode->index;
	if (burying)
		return;
	burying = true;
	while (dead) {
		inode = &table->slots[dead];
		dead = inode->hash_next;
		inode_bury(table, inode);
	}
	burying = false;
}

/* ---- the kernel's lookups ---------------------------------------------------------------- */

/* refs is raised first and dropped last: it is never less than nlookup. */
void inode_lookup_add(struct inode *inode)
{
	inode_ref(inode);
	atomic_fetch_add_explicit(&inode->nlookup, 1, memory_order_relaxed);
}

void inode_forget(struct inode_table *table, uint64_t nodeid, uint64_t nlookup)
{
	struct inode *inode = inode_get(table, nodeid);
	uint64_t known, n;

	if (!inode)
		return;
	known = atomic_load_explicit(&inode->nlookup, memory_order_relaxed);
	do {
		n = nlookup < known ? nlookup : known;
	} while (!atomic_compare_exchange_weak_explicit(&inode->nlookup, &known, known - n,
							memory_order_relaxed,
							memory_order_relaxed));
	/* Not the last ones: inode_get() gave us one more. */
	atomic_fetch_sub_explicit(&inode->refs, n, memory_order_release);
	inode_put(table, inode);
}

/* ---- the table --------------------------------------------------------------------------- */

static int shards_init(struct inode_table *table)
{
	for (unsigned int i = 0; i < N_SHARDS; i++)
		mutex_init(&table->shards[i].lock);
	for (unsigned int i = 0; i < N_SHARDS; i++) {
		struct shard *shard = &table->shards[i];

		shard->buckets = (uint32_t *)calloc(BUCKETS_MIN, sizeof(*shard->buckets));
		if (!shard->buckets)
			return -ENOMEM;
		shard->n_buckets = BUCKETS_MIN;
	}
	return 0;
}

static void inode_table_freep(struct inode_table **table)
{
	inode_table_free(*table);
}

int inode_table_new(const struct fhandle *root_fh, struct inode_table **ret_table,
		    struct inode **ret_root)
{
	static const struct attr root_attr = { .mode = S_IFDIR };
	cleanup(inode_table_freep) struct inode_table *table =
		(struct inode_table *)aligned_alloc(_Alignof(struct inode_table), sizeof(*table));
	uint64_t hash = fhandle_hash(root_fh);
	struct shard *shard;
	struct inode *root;

	if (!table)
		return -ENOMEM;
	memset(table, 0, sizeof(*table));
	atomic_init(&table->n_used, INODE_ROOT);
	if (shards_init(table) || slots_reserve(table))
		return -ENOMEM;
	shard = shard_of(table, hash);
	mutex_lock(&shard->lock);
	root = inode_new_locked(table, shard, hash, root_fh, &root_attr, 2);
	mutex_unlock(&shard->lock);
	*ret_root = root; /* the first slot of many: there was one */
	*ret_table = steal(&table);
	return 0;
}

/* Between the two shards nobody finds it by its handle, which costs whoever looks another inode. */
static void root_rehash(struct inode_table *table, struct inode *root, const struct fhandle *fh)
{
	struct shard *shard = shard_of(table, root->hash);

	mutex_lock(&shard->lock);
	hash_remove_locked(table, shard, root);
	shard->n_alive--;
	mutex_unlock(&shard->lock);
	root->hash = fhandle_hash(fh);
	shard = shard_of(table, root->hash);
	mutex_lock(&shard->lock);
	atomic_store_explicit(&root->handle, fh, memory_order_release);
	hash_add_locked(table, shard, root);
	shard->n_alive++;
	mutex_unlock(&shard->lock);
}

int inode_table_set_root(struct inode_table *table, const struct fhandle *fh)
{
	struct root_handle *kept = (struct root_handle *)malloc(sizeof(*kept));

	if (!kept)
		return -ENOMEM;
	*kept = (struct root_handle){ .fh = *fh, .older = table->root_handles };
	table->root_handles = kept;
	root_rehash(table, &table->slots[INODE_ROOT], &kept->fh);
	return 0;
}

static void root_handles_free(struct inode_table *table)
{
	struct root_handle *handle;

	while ((handle = table->root_handles)) {
		table->root_handles = handle->older;
		free(handle);
	}
}

/* slots_strip - release what lives. Everything gets a reference first, so that what a release puts
 * does not die in the midst of it. */
static void slots_strip(struct inode_table *table)
{
	uint32_t n_used = atomic_load(&table->n_used);

	for (uint32_t i = INODE_ROOT; i < n_used; i++)
		slot_ref(&table->slots[i]);
	for (uint32_t i = INODE_ROOT; i < n_used; i++) {
		if (atomic_load(&table->slots[i].refs))
			inode_strip(table, &table->slots[i]);
		mutex_deinit(&table->slots[i].lock);
	}
}

void inode_table_free(struct inode_table *table)
{
	if (!table)
		return;
	if (table->slots) {
		slots_strip(table);
		munmap(table->slots, (size_t)table->n_slots * sizeof(struct inode));
	}
	root_handles_free(table);
	for (unsigned int i = 0; i < N_SHARDS; i++) {
		free(table->shards[i].buckets);
		mutex_deinit(&table->shards[i].lock);
	}
	free(table);
}

uint64_t inode_table_count(struct inode_table *table)
{
	uint64_t count = 0;

	for (unsigned int i = 0; i < N_SHARDS; i++) {
		struct shard *shard = &table->shards[i];

		mutex_lock(&shard->lock);
		count += shard->n_alive;
		mutex_unlock(&shard->lock);
	}
	return count;
}

void inode_table_each(struct inode_table *table, void (*visit)(struct inode *inode, void *arg),
		      void *arg)
{
	uint32_t n_used = atomic_load_explicit(&table->n_used, memory_order_acquire);

	for (uint32_t i = INODE_ROOT; i < n_used; i++) {
		struct inode *inode = &table->slots[i];

		if (!slot_ref(inode))
			continue;
		visit(inode, arg);
		inode_put(table, inode);
	}
}

void inode_set_release(struct inode_table *table, void (*release)(struct inode *inode, void *arg),
		       void *arg)
{
	table->release = release;
	table->release_arg = arg;
}
