/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_inode - inodes are found by handle and by node id, live as long as anything refers to them,
 * and their slots are never mistaken for the next owner; also with many threads at once. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "../../conn/util.h"
#include "../../fuse/inode.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

/* What release saw. arg of inode_set_release(). */
struct releases {
	struct inode_table *table;
	_Atomic(uint64_t) n;
};

static struct fhandle handle(uint64_t number)
{
	struct fhandle fh = { .len = 24 };

	memcpy(fh.data, "fhandle ", 8);
	memcpy(fh.data + 16, &number, sizeof(number));
	return fh;
}

static struct attr file_attr(uint64_t fileid, mode_t type)
{
	return (struct attr){ .mode = type | 0644, .fileid = fileid, .fsid = 7 };
}

static struct inode *find(struct inode_table *table, uint64_t number)
{
	struct fhandle fh = handle(number);
	struct attr attr = file_attr(number, S_IFREG);

	return inode_find(table, &fh, &attr);
}

static struct inode_table *table_new(struct inode **ret_root)
{
	struct fhandle fh = handle(0);
	struct inode_table *table;

	assert(!inode_table_new(&fh, &table, ret_root));
	return table;
}

static void note_release(struct inode *inode, void *arg)
{
	struct releases *releases = (struct releases *)arg;

	assert(!atomic_load(&inode->refs) || inode->index == INODE_ROOT);
	atomic_fetch_add(&releases->n, 1);
}

/* ---- the root ---------------------------------------------------------------------------- */

static void test_root(void)
{
	struct inode *root, *again;
	struct inode_table *table = table_new(&root);
	struct fhandle fh = handle(0);
	struct attr attr = file_attr(128, S_IFDIR);

	assert(root->index == INODE_ROOT && root->generation == 0 && inode_nodeid(root) == 1);
	assert(S_ISDIR(root->type) && inode_table_count(table) == 1);
	assert(inode_get(table, 1) == root);
	/* LOOKUP may come upon it; its fileid was not known before, and that is no other file. */
	again = inode_find(table, &fh, &attr);
	assert(again == root);
	inode_put(table, root);
	inode_put(table, root);
	inode_put(table, root);
	inode_forget(table, 1, UINT64_MAX);
	assert(inode_get(table, 1) == root && inode_table_count(table) == 1);
	inode_table_free(table);
	inode_table_free(NULL);
	inode_put(NULL, NULL);
}

/* The root's handle is known late, and may change: it is found by the present one, and what it was
 * stays readable. */
static void test_set_root(void)
{
	static const struct fhandle none = { .len = 0 };
	struct fhandle first = handle(1), second = handle(2);
	struct attr attr = file_attr(128, S_IFDIR);
	struct inode_table *table;
	const struct fhandle *old;
	struct inode *root, *other;

	assert(!inode_table_new(&none, &table, &root));
	assert(inode_fh(root)->len == 0);
	assert(!inode_table_set_root(table, &first));
	old = inode_fh(root);
	assert(fhandle_equal(old, &first) && inode_table_count(table) == 1);
	assert(inode_find(table, &first, &attr) == root);
	inode_put(table, root);
	assert(!inode_table_set_root(table, &second));
	assert(fhandle_equal(inode_fh(root), &second) && fhandle_equal(old, &first));
	assert(inode_find(table, &second, &attr) == root);
	inode_put(table, root);
	/* Whoever has the first handle now, it is not the root. */
	other = inode_find(table, &first, &attr);
	assert(other && other != root && inode_table_count(table) == 2);
	assert(inode_get(table, INODE_ROOT) == root);
	inode_table_free(table);
}

/* ---- handles ----------------------------------------------------------------------------- */

/* A handle that is known under one fileid and type is found with another. */
struct find_row {
	const char *what;
	uint32_t len;       /* of the second handle; the first is 24 bytes */
	uint64_t fileid;    /* the first one's is 5 */
	uint64_t fsid;      /* and 7 */
	mode_t type;        /* and S_IFREG */
	bool same, replaced;
};

static const struct find_row finds[] = {
	{ "the same file", 24, 5, 7, S_IFREG, .same = true },
	{ "a server that renumbers its file systems", 24, 5, 8, S_IFREG, .same = true },
	{ "a recycled handle: other fileid", 24, 6, 7, S_IFREG, .replaced = true },
	{ "a recycled handle: other type", 24, 5, 7, S_IFDIR, .replaced = true },
	{ "a shorter handle that begins alike", 23, 5, 7, S_IFREG, .same = false },
	{ "a longer handle that begins alike", 25, 5, 7, S_IFREG, .same = false },
	{ "one byte", 1, 5, 7, S_IFREG, .same = false },
};

static void test_find(const struct find_row *row)
{
	struct inode *root, *first, *second, *third;
	struct inode_table *table = table_new(&root);
	struct fhandle fh = handle(5);
	struct attr attr = file_attr(5, S_IFREG);
	uint64_t nodeid;

	first = inode_find(table, &fh, &attr);
	assert(first && first->fileid == 5 && first->fsid == 7 && S_ISREG(first->type));
	assert(fhandle_equal(inode_fh(first), &fh) && !first->has_attr);
	nodeid = inode_nodeid(first);
	fh.len = row->len;
	attr = file_attr(row->fileid, row->type);
	attr.fsid = row->fsid;
	second = inode_find(table, &fh, &attr);
	assert((second == first) == row->same);
	assert(second->fileid == row->fileid && second->type == row->type);
	assert(inode_table_count(table) == (row->same ? 2 : 3));
	/* The first one stays reachable by its id for who has it, and the handle leads to one. */
	assert(inode_get(table, nodeid) == first);
	inode_put(table, first);
	fh.len = 24;
	third = inode_find(table, &fh, row->replaced ? &attr : &(struct attr){ .mode = S_IFREG,
									       .fileid = 5 });
	assert(third == (row->replaced ? second : first));
	inode_put(table, third);
	if (row->replaced) { /* the handle does not lead back, even if there is no other one */
		inode_put(table, second);
		attr = file_attr(5, S_IFREG);
		second = inode_find(table, &fh, &attr);
		assert(second != first);
	}
	inode_put(table, first);
	assert(row->same || !inode_get(table, nodeid));
	inode_put(table, second);
	assert(inode_table_count(table) == 1);
	inode_table_free(table);
}

/* ---- references -------------------------------------------------------------------------- */

static void test_reuse(void)
{
	struct inode *root, *inode;
	struct inode_table *table = table_new(&root);
	uint64_t nodeid, before = 0;
	uint32_t index = 0;

	for (uint32_t i = 0; i < 5; i++) {
		inode = find(table, 9);
		nodeid = inode_nodeid(inode);
		assert(!index || inode->index == index); /* the slot is used again, */
		assert(inode->generation == i);          /* not under the same id, */
		assert(nodeid != before);
		assert(!before || !inode_get(table, before));
		assert(!inode->has_attr && !inode->attr_seq && !inode->n_open); /* and clean */
		index = inode->index;
		before = nodeid;
		mutex_lock(&inode->lock);
		inode->has_attr = true;
		inode->attr_seq = inode->n_open = 3;
		inode->unmatched = (struct inode_change *)calloc(1, sizeof(*inode->unmatched));
		mutex_unlock(&inode->lock);
		inode_put(table, inode);
		assert(!inode_get(table, nodeid) && !inode_try_ref(inode));
	}
	inode_table_free(table);
}

static void test_bad_nodeids(void)
{
	static const uint64_t ids[] = {
		0, 2, 3, UINT32_MAX, UINT64_C(1) << 32, UINT64_C(1) << 32 | 1, UINT64_MAX,
		UINT64_C(7) << 32 | UINT32_MAX,
	};
	struct inode *root;
	struct inode_table *table = table_new(&root);

	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++) {
		assert(!inode_get(table, ids[i]));
		inode_forget(table, ids[i], UINT64_MAX);
	}
	assert(inode_table_count(table) == 1);
	inode_table_free(table);
}

/* The kernel was told n_added times and forgets; refs besides its own: n_pins. */
struct forget_row {
	const char *what;
	unsigned int n_added, n_pins;
	uint64_t forgets[3];
	bool alive;
	uint64_t refs, nlookup;
};

static const struct forget_row forgets[] = {
	{ "all, at once", 3, 0, { 3 }, .alive = false },
	{ "all, bit by bit", 3, 0, { 1, 1, 1 }, .alive = false },
	{ "not all", 3, 0, { 1, 1 }, .alive = true, .refs = 1, .nlookup = 1 },
	{ "none", 2, 0, { 0 }, .alive = true, .refs = 2, .nlookup = 2 },
	{ "all, but a request still uses it", 2, 1, { 2 }, .alive = true, .refs = 1 },
	{ "more than it was told", 2, 0, { 3 }, .alive = false },
	{ "far more, and a request still uses it", 2, 1, { UINT64_MAX }, .alive = true, .refs = 1 },
	{ "twice", 2, 1, { 2, 2 }, .alive = true, .refs = 1 },
	{ "what it was never told", 0, 2, { 1, 5 }, .alive = true, .refs = 2 },
};

static void test_forget(const struct forget_row *row)
{
	struct inode *root, *inode;
	struct inode_table *table = table_new(&root);
	uint64_t nodeid;

	inode = find(table, 4);
	nodeid = inode_nodeid(inode);
	for (unsigned int i = 0; i < row->n_added; i++)
		inode_lookup_add(inode);
	for (unsigned int i = 0; i < row->n_pins; i++)
		assert(inode_ref(inode) == inode);
	inode_put(table, inode);
	for (unsigned int i = 0; i < ARRAY_SIZE(row->forgets); i++)
		inode_forget(table, nodeid, row->forgets[i]);
	assert(inode_table_count(table) == (row->alive ? 2 : 1));
	if (row->alive) {
		assert(atomic_load(&inode->refs) == row->refs);
		assert(atomic_load(&inode->nlookup) == row->nlookup);
	}
	assert(!!inode_try_ref(inode) == row->alive);
	inode_table_free(table);
}

/* ---- release ----------------------------------------------------------------------------- */

/* Stands for a name that pins its directory: the inode hung on inode->name is put. */
static void put_name(struct inode *inode, void *arg)
{
	struct releases *releases = (struct releases *)arg;
	struct inode *parent = (struct inode *)(void *)inode->silly;

	inode->silly = NULL;
	releases->n++;
	inode_put(releases->table, parent);
}

/* A chain of directories longer than any stack dies from its end. */
static void test_release_chain(void)
{
	enum { DEPTH = 200000 };
	struct inode *root, *inode;
	struct releases releases = { .table = table_new(&root) };

	inode_set_release(releases.table, put_name, &releases);
	inode = inode_ref(root);
	for (uint64_t i = 1; i <= DEPTH; i++) {
		struct inode *child = find(releases.table, i);

		mutex_lock(&child->lock);
		child->silly = (struct silly *)(void *)inode;
		mutex_unlock(&child->lock);
		inode = child;
	}
	assert(inode_table_count(releases.table) == DEPTH + 1);
	inode_put(releases.table, inode);
	assert(inode_table_count(releases.table) == 1 && releases.n == DEPTH);
	inode_table_free(releases.table);
	assert(releases.n == DEPTH + 1);
}

/* Freeing releases once what is alive, also what another release puts, and nothing else. */
static void test_table_free(void)
{
	struct inode *root, *parent, *child;
	struct releases releases = { .table = table_new(&root) };

	inode_set_release(releases.table, put_name, &releases);
	inode_put(releases.table, find(releases.table, 3));
	assert(releases.n == 1);
	parent = find(releases.table, 1);
	child = find(releases.table, 2);
	mutex_lock(&child->lock);
	child->silly = (struct silly *)(void *)parent;
	mutex_unlock(&child->lock);
	inode_table_free(releases.table);
	assert(releases.n == 4);
}

static void note_visit(struct inode *inode, void *arg)
{
	uint64_t *fileids = (uint64_t *)arg;

	assert(atomic_load(&inode->refs) > 1);
	*fileids += inode->fileid;
}

static void test_each(void)
{
	struct inode *root, *old, *new;
	struct inode_table *table = table_new(&root);
	struct fhandle fh = handle(10);
	struct attr attr = file_attr(1000, S_IFREG);
	uint64_t sum = 0;

	inode_put(table, find(table, 1));
	assert(find(table, 100));
	old = find(table, 10);
	new = inode_find(table, &fh, &attr);
	assert(old != new);
	inode_table_each(table, note_visit, &sum);
	assert(sum == 0 + 100 + 10 + 1000); /* the replaced one, too */
	inode_table_free(table);
}

/* ---- many -------------------------------------------------------------------------------- */

static void test_many(void)
{
	enum { N = 100000 };
	struct inode *root, **inodes = calloc(N, sizeof(*inodes));
	struct inode_table *table = table_new(&root);

	assert(inodes);
	for (uint32_t i = 0; i < N; i++)
		inodes[i] = find(table, i + 1);
	assert(inode_table_count(table) == N + 1);
	for (uint32_t i = 0; i < N; i++) {
		struct inode *inode = find(table, i + 1);

		assert(inode == inodes[i] && inode->fileid == i + 1);
		assert(inode_get(table, inode_nodeid(inode)) == inode);
		inode_put(table, inode);
		inode_put(table, inode);
		if (i % 3)
			inode_put(table, inode);
	}
	assert(inode_table_count(table) == N / 3 + 2);
	for (uint32_t i = 0; i < N; i += 3)
		inode_put(table, inodes[i]);
	assert(inode_table_count(table) == 1);
	inode_table_free(table);
	free(inodes);
}

/* Where the address space is limited the table is smaller. When it is full, what dies in one shard
 * is of use to any other. */
static void test_full(void)
{
#ifndef SANITIZED
	struct rlimit old, tight = { MIB(128), MIB(128) };
	struct inode *root, *inode, *first;
	struct inode_table *table;
	uint64_t n = 0;

	assert(!getrlimit(RLIMIT_AS, &old));
	tight.rlim_max = old.rlim_max;
	assert(!setrlimit(RLIMIT_AS, &tight));
	table = table_new(&root);
	first = find(table, ++n);
	while ((inode = find(table, n + 1)))
		n++;
	assert(n > 1000 && inode_table_count(table) == n + 1);
	/* What is known is found all the same. */
	assert(find(table, n) && inode_get(table, 1) == root);
	inode_put(table, first);
	for (uint64_t i = 0; i < 1000; i++) {
		inode = find(table, n + 1 + i);
		assert(inode && !find(table, n + 5000));
		inode_put(table, inode);
	}
	inode_table_free(table);
	assert(!setrlimit(RLIMIT_AS, &old));
#endif
}

/* ---- threads ----------------------------------------------------------------------------- */

enum { N_THREADS = 8, N_FILES = 6, N_ROUNDS = 20000 };

struct stress {
	struct inode_table *table;
	struct releases releases;
	_Atomic(uint64_t) ids[N_FILES]; /* lately seen; may be gone */
	_Atomic(uint64_t) seed;
	pthread_barrier_t start;
};

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* Fileids of handle k are k and, seldom, k + 1000: then the inode is replaced. */
static struct inode *stress_find(struct stress *stress, uint64_t k, uint64_t random)
{
	struct fhandle fh = handle(k);
	struct attr attr = file_attr(random % 64 ? k : k + 1000, S_IFREG);
	struct inode *inode = inode_find(stress->table, &fh, &attr);

	assert(inode && inode->fileid == attr.fileid && fhandle_equal(inode_fh(inode), &fh));
	mutex_lock(&inode->lock);
	assert(!inode->attr.fileid || inode->attr.fileid == attr.fileid);
	inode->attr.fileid = attr.fileid;
	mutex_unlock(&inode->lock);
	return inode;
}

static void stress_get(struct stress *stress, uint64_t k)
{
	uint64_t nodeid = atomic_load(&stress->ids[k]);
	struct inode *inode = inode_get(stress->table, nodeid);

	if (!inode)
		return;
	assert(inode_nodeid(inode) == nodeid && inode->fileid % 1000 == k);
	inode_ref(inode);
	inode_put(stress->table, inode);
	inode_put(stress->table, inode);
}

static void stress_visit(struct inode *inode, void *arg)
{
	assert(inode->fileid % 1000 < N_FILES);
}

static void *stress_thread(void *arg)
{
	struct stress *stress = (struct stress *)arg;
	uint64_t state = atomic_fetch_add(&stress->seed, 1) * UINT64_C(0x9e3779b97f4a7c15);

	pthread_barrier_wait(&stress->start);
	for (unsigned int i = 0; i < N_ROUNDS; i++) {
		uint64_t random = next_random(&state), k = random % (N_FILES - 1) + 1;
		struct inode *inode = stress_find(stress, k, random >> 16);
		uint64_t nodeid = inode_nodeid(inode);

		atomic_store(&stress->ids[k], nodeid);
		inode_lookup_add(inode);
		if (random & 1 << 10)
			inode_lookup_add(inode);
		inode_put(stress->table, inode);
		stress_get(stress, next_random(&state) % (N_FILES - 1) + 1);
		/* As many as were added; one time in 32 by a kernel that cannot count. */
		inode_forget(stress->table, nodeid,
			     random >> 40 & 31 ? (random & 1 << 10 ? 2 : 1) : UINT64_MAX);
		if (!(random >> 50 & 255))
			inode_table_each(stress->table, stress_visit, NULL);
		if (!(random >> 50 & 63))
			assert(inode_table_count(stress->table) >= 1);
	}
	return NULL;
}

static void test_threads(void)
{
	struct stress stress = { .seed = 1 };
	pthread_t threads[N_THREADS];
	struct inode *root;

	stress.table = table_new(&root);
	inode_set_release(stress.table, note_release, &stress.releases);
	pthread_barrier_init(&stress.start, NULL, N_THREADS);
	for (unsigned int i = 0; i < N_THREADS; i++)
		assert(!pthread_create(&threads[i], NULL, stress_thread, &stress));
	for (unsigned int i = 0; i < N_THREADS; i++)
		assert(!pthread_join(threads[i], NULL));
	/* Everybody's forgets were as many as the lookups: only the root is left. */
	assert(inode_table_count(stress.table) == 1);
	assert(atomic_load(&stress.releases.n) > N_THREADS);
	printf("threads: %lu inodes came and went\n",
	       (unsigned long)atomic_load(&stress.releases.n));
	inode_table_free(stress.table);
	pthread_barrier_destroy(&stress.start);
}

int main(void)
{
	test_root();
	test_set_root();
	for (unsigned int i = 0; i < ARRAY_SIZE(finds); i++) {
		printf("%s\n", finds[i].what);
		test_find(&finds[i]);
	}
	test_reuse();
	test_bad_nodeids();
	for (unsigned int i = 0; i < ARRAY_SIZE(forgets); i++) {
		printf("forget: %s\n", forgets[i].what);
		test_forget(&forgets[i]);
	}
	test_release_chain();
	test_table_free();
	test_each();
	test_many();
	test_full();
	test_threads();
	return 0;
}
