/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stats - see stats.h. */
#include "stats.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "../conn/conn.h"
#include "../conn/mutex.h"
#include "../conn/util.h"

enum { LINE = 64, USER_WAYS = 4 };

struct user {
	_Atomic(uint64_t) who; /* uid and pid; 0: none */
	_Atomic(uint64_t) n_ops, read_bytes, written_bytes;
	_Atomic(int64_t) last_ns;
};

/* One writer at a time. */
struct part {
	struct histogram op[STATS_OPS];
	_Atomic(uint64_t) errors[STATS_OPS][STATS_ERRNOS];
	_Atomic(uint64_t) read_bytes, written_bytes, n_meta, n_meta_hits;
	struct user users[STATS_USERS];
} __attribute__((aligned(LINE)));

struct stats {
	struct pool *pool;
	unsigned int n_parts;
	struct part *parts[POOL_MAX_LOOPS + 1]; /* the last: of threads that are no loops */
	struct mutex lock;                      /* who writes to that */
};

static const char *const names[STATS_OPS] = {
	[FUSE_LOOKUP] = "LOOKUP",           [FUSE_GETATTR] = "GETATTR",       [FUSE_SETATTR] = "SETATTR",
	[FUSE_READLINK] = "READLINK",       [FUSE_SYMLINK] = "SYMLINK",       [FUSE_MKNOD] = "MKNOD",
	[FUSE_MKDIR] = "MKDIR",             [FUSE_UNLINK] = "UNLINK",         [FUSE_RMDIR] = "RMDIR",
	[FUSE_RENAME] = "RENAME",           [FUSE_LINK] = "LINK",             [FUSE_OPEN] = "OPEN",
	[FUSE_READ] = "READ",               [FUSE_WRITE] = "WRITE",           [FUSE_STATFS] = "STATFS",
	[FUSE_RELEASE] = "RELEASE",         [FUSE_FSYNC] = "FSYNC",           [FUSE_FLUSH] = "FLUSH",
	[FUSE_OPENDIR] = "OPENDIR",         [FUSE_READDIR] = "READDIR",       [FUSE_FSYNCDIR] = "FSYNCDIR",
	[FUSE_GETLK] = "GETLK",             [FUSE_SETLK] = "SETLK",           [FUSE_SETLKW] = "SETLKW",
	[FUSE_ACCESS] = "ACCESS",           [FUSE_CREATE] = "CREATE",         [FUSE_READDIRPLUS] = "READDIRPLUS",
	[FUSE_RENAME2] = "RENAME2",
};

const char *stats_op_name(unsigned int opcode)
{
	return opcode < STATS_OPS ? names[opcode] : NULL;
}

/* What a file system tells programs; the first is everything else. */
static const struct {
	int number;
	const char *name;
} errnos[STATS_ERRNOS] = {
	{ 0, "other" },
#define E(name) { name, #name }
	E(ENOENT), E(EACCES), E(EPERM),  E(EEXIST),  E(ENOTDIR),      E(EISDIR),     E(ENOTEMPTY), E(EXDEV),
	E(EROFS),  E(ENOSPC), E(EDQUOT), E(EFBIG),   E(ENAMETOOLONG), E(EINVAL),     E(ESTALE),    E(EIO),
	E(EINTR),  E(EAGAIN), E(ENOLCK), E(ENODATA), E(EOPNOTSUPP),   E(ETIMEDOUT),  E(EHOSTDOWN),
#undef E
};

const char *stats_errno_name(unsigned int kind)
{
	return kind < STATS_ERRNOS ? errnos[kind].name : NULL;
}

static unsigned int errno_kind(int error)
{
	for (unsigned int kind = 1; kind < STATS_ERRNOS; kind++)
		if (errnos[kind].number == -error)
			return kind;
	return 0;
}

/* Pages of zeros: most operations never happen, and what was never written to takes no memory. */
static struct part *part_new(void)
{
	void *memory = mmap(NULL, sizeof(struct part), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

struct stats *stats_new(struct pool *pool)
{
	struct stats *stats = calloc(1, sizeof(*stats));

	if (!stats)
		return NULL;
	stats->pool = pool;
	mutex_init(&stats->lock);
	for (unsigned int i = 0; i < pool_n_loops(pool) + 1; i++) {
		stats->parts[i] = part_new();
		if (!stats->parts[i]) {
			stats_free(stats);
			return NULL;
		}
		stats->n_parts++;
	}
	return stats;
}

void stats_free(struct stats *stats)
{
	if (!stats)
		return;
	for (unsigned int i = 0; i < stats->n_parts; i++)
		munmap(stats->parts[i], sizeof(*stats->parts[i]));
	mutex_deinit(&stats->lock);
	free(stats);
}

/* ---- counting ---------------------------------------------------------------------------- */

static uint64_t relaxed(const _Atomic(uint64_t) *value)
{
	return atomic_load_explicit(value, memory_order_relaxed);
}

static void set(_Atomic(uint64_t) *to, uint64_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

static int64_t last_use(const struct user *user)
{
	return atomic_load_explicit(&user->last_ns, memory_order_relaxed);
}

/* Its own, or that of whoever asked longest ago. */
static struct user *user_of(struct part *part, uint64_t who)
{
	unsigned int first = (unsigned int)(hash_bytes(&who, sizeof(who), 0) % STATS_USERS) & ~(USER_WAYS - 1u);
	struct user *oldest = &part->users[first];

	for (unsigned int i = first; i < first + USER_WAYS; i++) {
		if (relaxed(&part->users[i].who) == who)
			return &part->users[i];
		if (last_use(&part->users[i]) < last_use(oldest))
			oldest = &part->users[i];
	}
	set(&oldest->who, 0);
	set(&oldest->n_ops, 0);
	set(&oldest->read_bytes, 0);
	set(&oldest->written_bytes, 0);
	set(&oldest->who, who);
	return oldest;
}

static void count_user(struct part *part, const struct stats_sample *sample)
{
	uint64_t who = (uint64_t)sample->uid << 32 | (uint32_t)sample->pid;
	struct user *user;

	if (!sample->pid)
		return;
	user = user_of(part, who);
	histogram_count(&user->n_ops, 1);
	if (sample->opcode == FUSE_WRITE)
		histogram_count(&user->written_bytes, sample->bytes);
	else if (sample->bytes)
		histogram_count(&user->read_bytes, sample->bytes);
	atomic_store_explicit(&user->last_ns, sample->now_ns, memory_order_relaxed);
}

static void count_in(struct part *part, const struct stats_sample *sample)
{
	histogram_add(&part->op[sample->opcode], sample->took_ns);
	if (sample->error)
		histogram_count(&part->errors[sample->opcode][errno_kind(sample->error)], 1);
	if (sample->opcode == FUSE_READ) {
		histogram_count(&part->read_bytes, sample->bytes);
	} else if (sample->opcode == FUSE_WRITE) {
		histogram_count(&part->written_bytes, sample->bytes);
	} else {
		histogram_count(&part->n_meta, 1);
		if (!sample->asked)
			histogram_count(&part->n_meta_hits, 1);
	}
	count_user(part, sample);
}

void stats_count(struct stats *stats, const struct stats_sample *sample)
{
	struct loop *loop = loop_current();

	if (!stats || !stats_op_name(sample->opcode))
		return;
	/* Other pools have loops, too. */
	if (loop && loop_index(loop) < stats->n_parts - 1 && pool_loop(stats->pool, loop_index(loop)) == loop) {
		count_in(stats->parts[loop_index(loop)], sample);
		return;
	}
	mutex_lock(&stats->lock);
	count_in(stats->parts[stats->n_parts - 1], sample);
	mutex_unlock(&stats->lock);
}

/* ---- reading ----------------------------------------------------------------------------- */

void stats_totals(struct stats *stats, struct stats_totals *ret_totals)
{
	*ret_totals = (struct stats_totals){ 0 };
	for (unsigned int i = 0; i < stats->n_parts; i++) {
		const struct part *part = stats->parts[i];

		ret_totals->read_bytes += relaxed(&part->read_bytes);
		ret_totals->written_bytes += relaxed(&part->written_bytes);
		ret_totals->n_meta += relaxed(&part->n_meta);
		ret_totals->n_meta_hits += relaxed(&part->n_meta_hits);
	}
}

void stats_errors(struct stats *stats, unsigned int opcode, uint64_t ret_errors[STATS_ERRNOS])
{
	for (unsigned int kind = 0; kind < STATS_ERRNOS; kind++) {
		ret_errors[kind] = 0;
		for (unsigned int i = 0; i < stats->n_parts; i++)
			ret_errors[kind] += relaxed(&stats->parts[i]->errors[opcode][kind]);
	}
}

uint64_t stats_op(struct stats *stats, unsigned int opcode, struct histogram_sum *sum)
{
	uint64_t errors[STATS_ERRNOS], n = 0;

	for (unsigned int i = 0; i < stats->n_parts; i++)
		histogram_read(&stats->parts[i]->op[opcode], sum);
	stats_errors(stats, opcode, errors);
	for (unsigned int kind = 0; kind < STATS_ERRNOS; kind++)
		n += errors[kind];
	return n;
}

static void add_user(const struct user *user, struct stats_user users[], unsigned int *n, unsigned int max)
{
	uint64_t who = relaxed(&user->who);
	unsigned int i;

	if (!who)
		return;
	for (i = 0; i < *n; i++)
		if (users[i].pid == (int32_t)who && users[i].uid == who >> 32)
			break;
	if (i == max)
		return;
	if (i == *n)
		users[(*n)++] = (struct stats_user){ .uid = (uint32_t)(who >> 32), .pid = (int32_t)who };
	users[i].n_ops += relaxed(&user->n_ops);
	users[i].read_bytes += relaxed(&user->read_bytes);
	users[i].written_bytes += relaxed(&user->written_bytes);
	users[i].last_ns = max_i64(users[i].last_ns, last_use(user));
}

unsigned int stats_users(struct stats *stats, struct stats_user users[], unsigned int n)
{
	unsigned int n_users = 0;

	for (unsigned int i = 0; i < stats->n_parts; i++)
		for (unsigned int j = 0; j < STATS_USERS; j++)
			add_user(&stats->parts[i]->users[j], users, &n_users, n);
	return n_users;
}
