/* SPDX-License-Identifier: GPL-2.0-or-later */
/* inode - every file the kernel or a request knows, found by node id or by file handle.
 *
 * Four names for a file, and who gives them:
 *   file handle  the server's; identifies a file for good, until ESTALE. Found through the table.
 *                The root alone may get another one: when the export was found at last (bg), and
 *                when a server that was installed anew has given it a new one.
 *   nodeid       ours to the kernel: index into the table and a generation, so that an id the
 *                kernel has forgotten is not mistaken for the slot's next owner. Never a pointer.
 *   fileid       the server's; st_ino and nothing else. Two fsids below one export may repeat it.
 *   fsid         the server's; a change of it below a directory means another file system there.
 * Names are not kept here: names.h, absent.h and dircache.h have those that are worth remembering.
 *
 * An inode lives while something refers to it: the kernel's lookup count, an open file, a request in
 * flight. refs counts all of them. Slots are never returned to the system, so a stale pointer reads
 * a recycled inode, not freed memory; index and chains are offsets, so that the table could lie in
 * memory that outlasts the process.
 *
 * Threads: the table is sharded by handle hash, each shard with a lock of its own, held only inside
 * inode.c. The fields of an inode below `lock` are guarded by it; it is never held together with
 * another lock nor across a call, a reply or a callback. */
#ifndef FUSE_INODE_H
#define FUSE_INODE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "../conn/mutex.h"
#include "nfs3.h"

struct dir;
struct dircache_dir;
struct file;
struct inode_table;
struct name;
struct request;
struct wback;
struct silly;

enum { INODE_ROOT = 1, INODE_UNMATCHED_MAX = 32 };

/* What tells one state of a file's contents from another. */
struct inode_version {
	uint64_t size;
	struct timespec mtime, ctime;
};

/* A change of ours as WRITE replies report it: what was there before, what is there now. */
struct inode_change {
	bool has_before; /* servers may leave it out */
	struct inode_version before, after;
};

struct inode {
	/* Constant while refs > 0; of the root, handle and hash are inode_table_set_root()'s. */
	uint32_t index, generation;
	struct fhandle own_handle;
	_Atomic(const struct fhandle *) handle; /* by inode_fh(); mostly &own_handle */
	uint64_t hash;                 /* read under the shard's lock only */
	uint64_t fileid, fsid;
	mode_t type;                   /* S_IFMT bits */

	_Atomic(uint64_t) refs;        /* the kernel's lookups, opens, requests */
	_Atomic(uint64_t) nlookup;     /* the kernel's part of it */
	uint32_t hash_next;            /* index; 0 ends. The shard's */

	_Atomic(unsigned int) n_lock_owners; /* who have or want NLM locks on it; lock_table.c's */
	_Atomic(uint64_t) contents_seq; /* moves when what READ brings may be something else than before */

	struct mutex lock;             /* guards what follows */
	struct attr attr;              /* as the server last told */
	bool has_attr;
	uint64_t attr_seq;             /* see attr.h */
	int64_t attr_at_ns;            /* when; age 0 */
	int64_t attr_new_ns;           /* when this state of the file was first told of */
	int64_t attr_timeo_ns;         /* valid for so long, acregmin..acregmax */
	bool attr_stale;               /* must be fetched before the next use */

	/* The contents the kernel's page cache was filled from (close-to-open). attr.c's. */
	bool has_data_version;
	bool data_changed;             /* by someone else since */
	bool ctime_ours;               /* see attr_expect_ctime() */
	struct inode_version data;
	int64_t data_at_ns;            /* when it was last seen or accounted for */
	struct inode_change *unmatched; /* own changes out of order; NULL: none. inode.c frees it */
	unsigned int n_unmatched;       /* <= INODE_UNMATCHED_MAX */

	uint64_t told_size;            /* what the kernel believes st_size is; request.c's */
	bool told_again;               /* file_open.c: an O_APPEND open was sent back to learn the size */

	unsigned int n_open, n_open_write;
	uint32_t n_writing;            /* WRITE and SETATTR calls in flight */
	struct wback *wback;           /* unstable data; NULL until first written */
	struct silly *silly;           /* unlinked while open; see silly.h */
	unsigned int n_hidden;         /* a directory: hidden names in it that are ours; silly.c's */
	unsigned int n_removing;       /* calls in flight that may take its last name; silly.c's */
	SLIST_HEAD(, request) opens_waiting; /* for n_removing to become 0; silly.c's */
	LIST_HEAD(, name) names;       /* it was seen under, latest first; names.c's */
	LIST_HEAD(, read_mark) reads;  /* READs in flight; shortread.c's */
	uint64_t read_seq;             /* counts them */
	LIST_HEAD(, file) files;       /* the kernel has open, for file_free_all(); file.c's */
	LIST_HEAD(, dir) dirs;         /* the same of a directory, for dir_free_all(); dir.c's */

	char *target;                  /* of a symbolic link, once read; NULL. name.c's */
	struct dircache_dir *listing;  /* dircache.c's, under its lock */
	_Atomic(unsigned int) n_locks_lost; /* owners who had one that is gone: I/O fails; lock_reclaim.c's */
	_Atomic(bool) was_read;        /* the kernel may have pages of it; known with NLM locks only */
	_Atomic(int) n_lookups;        /* that found one of its names since a page was asked for; nearby.c's */
	_Atomic(uint32_t) n_child_stats; /* attributes of its files that were asked for one by one;
					  * names.c counts, readdir.c reads */
};

/* inode_fh - its file handle, to encode. What it points to is never changed nor freed before the table
 * is. Any thread. */
static inline const struct fhandle *inode_fh(const struct inode *inode)
{
	return atomic_load_explicit(&inode->handle, memory_order_acquire);
}

/* inode_table_new - for the mount of an export with this root handle, which may be empty for now;
 * *ret_root holds a reference. The table holds another one: the root is node id 1 for good, whatever
 * type or fileid it is said to have. Its fileid stays 0. 0 or -ENOMEM. */
int inode_table_new(const struct fhandle *root_fh, struct inode_table **ret_table,
		    struct inode **ret_root);
/* inode_table_set_root - the root's handle from now on; calls that were encoded keep the old one. Any
 * thread, one at a time. 0 or -ENOMEM. */
int inode_table_set_root(struct inode_table *table, const struct fhandle *fh);
/* inode_table_free - everything, whatever refers to it; what is still alive is released (see
 * inode_set_release). No other thread may use the table any more. Takes NULL. */
void inode_table_free(struct inode_table *table);

static inline uint64_t inode_nodeid(const struct inode *inode)
{
	return (uint64_t)inode->generation << 32 | inode->index;
}

/* inode_get - by node id, with a new reference; NULL if there is no such inode (any more). */
struct inode *inode_get(struct inode_table *table, uint64_t nodeid);
/* inode_find - by handle, made if new, with a new reference; NULL without memory. attr gives type,
 * fileid and fsid of a new one; a known handle that has become another type or fileid (a server
 * that recycles handles) gets a new inode. */
struct inode *inode_find(struct inode_table *table, const struct fhandle *fh,
			 const struct attr *attr);
struct inode *inode_ref(struct inode *inode);
/* inode_try_ref - for who knows of it without a reference, while its memory cannot be reused: NULL if
 * the last reference has gone. */
struct inode *inode_try_ref(struct inode *inode);
/* inode_put - drop a reference. Takes NULL. */
void inode_put(struct inode_table *table, struct inode *inode);

/* inode_lookup_add - the kernel is about to be told of it (LOOKUP reply and the like): before the
 * reply. inode_forget - by the kernel, or because that reply failed. */
void inode_lookup_add(struct inode *inode);
/* More than was counted, or a node id nobody has: as much as there is. */
void inode_forget(struct inode_table *table, uint64_t nodeid, uint64_t nlookup);

/* inode_table_count - inodes alive now. */
uint64_t inode_table_count(struct inode_table *table);

/* inode_table_each - visit every live inode with a reference held; for unmount. */
void inode_table_each(struct inode_table *table, void (*visit)(struct inode *inode, void *arg),
		      void *arg);

/* inode_set_release - called when the last reference has gone and nobody can find the inode any
 * more, before the slot is reused: frees what other modules hang on it (wback, silly, name). It may
 * put other inodes: should one die of it, its release follows after this one, on the same thread.
 * No lock held. To be set before the table is shared. */
void inode_set_release(struct inode_table *table, void (*release)(struct inode *inode, void *arg),
		       void *arg);

/* inode_has_locks - an owner of this mount has NLM locks on it, or asks for some. */
static inline bool inode_has_locks(const struct inode *inode)
{
	return atomic_load_explicit(&inode->n_lock_owners, memory_order_acquire) > 0;
}

#endif
