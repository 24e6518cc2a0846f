/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nfs3 - NFS version 3 (RFC 1813) as calls: one encode and one decode per procedure.
 *
 * nfs3.c (encode) and nfs3_decode.c are the only files that name an XDR type or include a libnfs
 * header. Handlers see struct fhandle, struct attr and the results below, so that an nfs4.c can
 * stand beside them later.
 *
 * Encode: begins the call (call_begin), writes the arguments and sets class, size, reply_max and
 * payload. The caller sets done, deadline_ns and, for READ, place. Returns 0; -ENAMETOOLONG for a
 * name or target that is too long, or when the head buffer is too small for the arguments; -EINVAL
 * for an empty name. A time the wire cannot hold (before 1970, after 2106) becomes the nearest
 * whole second that it can.
 *
 * Decode: in done() with call->status == 0 only. Returns
 *   0           the procedure succeeded;
 *   -errno      nfsstat3, mapped (below); post-operation attributes are filled in here too;
 *   -EBADMSG    the reply breaks the protocol (a length, a count, a name, an enum out of bounds):
 *               tell the connection by call_bad_reply() and fail the request with EIO.
 * The result is zeroed first; nothing in it points anywhere but into the reply.
 *
 * Four status values are not for applications and have numbers no Linux errno has: see enum. */
#ifndef FUSE_NFS3_H
#define FUSE_NFS3_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "../conn/conn.h"

enum { NFS3_PROGRAM = 100003, NFS3_VERSION = 3, NFS3_FHSIZE = 64, NFS3_NAME_MAX = 255, NFS3_PATH_MAX = 4096 };

/* Statuses a handler deals with itself (the numbers are the Linux kernel's internal ones). */
enum {
	ENFS_NOTSYNC = 522,   /* NFS3ERR_NOT_SYNC: the SETATTR guard did not match */
	ENFS_BADCOOKIE = 523, /* NFS3ERR_BAD_COOKIE: list the directory again */
	ENFS_TOOSMALL = 525,  /* NFS3ERR_TOOSMALL: ask READDIR for more */
	ENFS_JUKEBOX = 528,   /* NFS3ERR_JUKEBOX: not executed; later, with a new xid */
};

/* A file handle: opaque, identifies a file for good, until ESTALE. */
struct fhandle {
	uint32_t len; /* 1..64 */
	uint8_t data[NFS3_FHSIZE];
};

/* fattr3. mode holds the S_IFMT type bits too. rdev is makedev(3)'s. */
struct attr {
	mode_t mode;
	uint32_t nlink, uid, gid;
	uint64_t size, used; /* bytes */
	dev_t rdev;
	uint64_t fsid, fileid;
	struct timespec atime, mtime, ctime;
};

struct post_attr {
	bool valid;
	struct attr attr;
};

/* wcc_data: what the server saw just before and just after a change. */
struct wcc {
	bool before_valid;
	uint64_t before_size;
	struct timespec before_mtime, before_ctime;
	struct post_attr after;
};

/* sattr3: only what has its bit in `set` is changed. */
enum {
	SET_MODE = 1 << 0,
	SET_UID = 1 << 1,
	SET_GID = 1 << 2,
	SET_SIZE = 1 << 3,
	SET_ATIME = 1 << 4,     /* to atime */
	SET_MTIME = 1 << 5,     /* to mtime */
	SET_ATIME_NOW = 1 << 6, /* to the server's time */
	SET_MTIME_NOW = 1 << 7,
};

struct setattr {
	unsigned int set;
	mode_t mode; /* permission bits */
	uint32_t uid, gid;
	uint64_t size;
	struct timespec atime, mtime;
};

/* LOOKUP, CREATE, MKDIR, SYMLINK, MKNOD: the object, and the directory around it. */
struct nfs3_object {
	bool has_fh; /* LOOKUP: always on success; the creating ones may leave it out */
	struct fhandle fh;
	struct post_attr attr;
	struct wcc dir; /* LOOKUP: only dir.after */
};

enum nfs3_access_bit { /* ACCESS3_*, RFC 1813 3.3.4 */
	NFS3_ACCESS_READ = 0x01,
	NFS3_ACCESS_LOOKUP = 0x02,
	NFS3_ACCESS_MODIFY = 0x04,
	NFS3_ACCESS_EXTEND = 0x08,
	NFS3_ACCESS_DELETE = 0x10,
	NFS3_ACCESS_EXECUTE = 0x20,
};

struct nfs3_access {
	struct post_attr attr;
	uint32_t granted;
};

struct nfs3_readlink {
	struct post_attr attr;
	const char *target; /* target_len bytes in the reply, not terminated, no NUL inside */
	uint32_t target_len;
};

struct nfs3_read {
	struct post_attr attr;
	uint32_t count;
	bool eof;
	const void *data; /* in the reply; NULL if place() put it elsewhere (call->placed_len) */
};

enum nfs3_stable { NFS3_UNSTABLE, NFS3_DATA_SYNC, NFS3_FILE_SYNC };

struct nfs3_write {
	struct wcc wcc;
	uint32_t count;
	enum nfs3_stable committed;
	uint64_t verf;
};

struct nfs3_commit {
	struct wcc wcc;
	uint64_t verf;
};

enum nfs3_create_mode { NFS3_UNCHECKED, NFS3_GUARDED, NFS3_EXCLUSIVE };

struct nfs3_rename {
	struct wcc from, to;
};

struct nfs3_link {
	struct post_attr attr;
	struct wcc dir;
};

struct nfs3_fsstat {
	struct post_attr attr;
	uint64_t tbytes, fbytes, abytes, tfiles, ffiles, afiles;
};

struct nfs3_fsinfo {
	struct post_attr attr;
	uint32_t rtmax, rtpref, rtmult, wtmax, wtpref, wtmult, dtpref; /* zeros replaced by defaults */
	uint64_t maxfilesize;
	struct timespec time_delta;
	bool has_link, has_symlink, homogeneous, can_settime;
};

struct nfs3_pathconf {
	struct post_attr attr;
	uint32_t linkmax, name_max;
	bool no_trunc, chown_restricted, case_insensitive, case_preserving;
};

/* One entry of a directory page; name points into the reply and is not terminated. */
struct nfs3_entry {
	uint64_t fileid;
	const char *name;
	uint32_t name_len; /* 1..255, no '/' and no NUL; "." and ".." are entries too */
	uint64_t cookie;   /* of the position after this entry */
	bool has_fh;       /* READDIRPLUS only */
	struct post_attr attr;
	struct fhandle fh;
};

/* A directory page, decoded entry by entry so that a hostile reply costs no memory and no stack:
 *   nfs3_readdir_decode(call, plus, &page); while ((r = nfs3_readdir_next(&page, &entry)) > 0) ... */
struct nfs3_page {
	struct post_attr dir;
	uint64_t cookieverf;
	bool plus;
	bool eof;            /* valid once nfs3_readdir_next() returned 0 */
	const uint8_t *next; /* the decoder's, like the rest */
	uint32_t left;
	uint64_t asked, last; /* cookies: the call's, and the previous entry's */
};

/* Procedures. dir, fh: the handle acted on. name: NUL-terminated, 1..255 bytes. The head buffer is
 * call->head[0..head_size), set by the caller, CALL_HEAD_SMALL (symlink: CALL_HEAD_LARGE). */
int nfs3_getattr_encode(struct call *call, const struct cred *cred, const struct fhandle *fh);
int nfs3_getattr_decode(const struct call *call, struct attr *ret_attr);

/* guard: NULL, or the ctime the file must still have (ENFS_NOTSYNC otherwise). */
int nfs3_setattr_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
			const struct setattr *set, const struct timespec *guard);
int nfs3_setattr_decode(const struct call *call, struct wcc *ret_wcc);

int nfs3_lookup_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		       const char *name);
int nfs3_lookup_decode(const struct call *call, struct nfs3_object *ret_object);

int nfs3_access_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       uint32_t wanted);
int nfs3_access_decode(const struct call *call, struct nfs3_access *ret_access);

int nfs3_readlink_encode(struct call *call, const struct cred *cred, const struct fhandle *fh);
int nfs3_readlink_decode(const struct call *call, struct nfs3_readlink *ret_link);

/* READ. call->size is CALL_BULK for count > 16 KiB. nfs3_read_place is what a place() callback
 * uses: given the first `have` bytes of results, 1 with *ret_head_len and *ret_count of the
 * payload (<= asked), 0 for more bytes, -errno for no payload. */
int nfs3_read_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     uint64_t offset, uint32_t count);
int nfs3_read_place(const uint8_t *results, uint32_t have, uint32_t asked, uint32_t *ret_head_len,
		    uint32_t *ret_count);
int nfs3_read_decode(const struct call *call, uint32_t asked, struct nfs3_read *ret_read);

/* WRITE. data[0..count) becomes call->payload and must stay until done(). */
int nfs3_write_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		      uint64_t offset, const void *data, uint32_t count, enum nfs3_stable stable);
/* asked: count of the call; a reply of more, or of 0 with success, is -EBADMSG. */
int nfs3_write_decode(const struct call *call, uint32_t asked, struct nfs3_write *ret_write);

/* count 0: to the end of the file. */
int nfs3_commit_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       uint64_t offset, uint32_t count);
int nfs3_commit_decode(const struct call *call, struct nfs3_commit *ret_commit);

/* CREATE. EXCLUSIVE: verf is stored by the server until SETATTR and set is not sent. */
int nfs3_create_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		       const char *name, enum nfs3_create_mode mode, const struct setattr *set,
		       uint64_t verf);
int nfs3_mkdir_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		      const char *name, const struct setattr *set);
/* target: NUL-terminated, at most 4096 bytes. */
int nfs3_symlink_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
			const char *name, const char *target, const struct setattr *set);
/* type: S_IFIFO, S_IFSOCK, S_IFCHR or S_IFBLK. */
int nfs3_mknod_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		      const char *name, mode_t type, dev_t rdev, const struct setattr *set);
/* for CREATE, MKDIR, SYMLINK and MKNOD */
int nfs3_create_decode(const struct call *call, struct nfs3_object *ret_object);

int nfs3_remove_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		       const char *name);
int nfs3_rmdir_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		      const char *name);
/* for REMOVE and RMDIR */
int nfs3_remove_decode(const struct call *call, struct wcc *ret_dir);

int nfs3_rename_encode(struct call *call, const struct cred *cred, const struct fhandle *from_dir,
		       const char *from, const struct fhandle *to_dir, const char *to);
int nfs3_rename_decode(const struct call *call, struct nfs3_rename *ret_rename);

int nfs3_link_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     const struct fhandle *dir, const char *name);
int nfs3_link_decode(const struct call *call, struct nfs3_link *ret_link);

/* READDIR (plus == false) and READDIRPLUS. bytes: size of the reply asked for (dircount is set to
 * a matching share). */
int nfs3_readdir_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
			uint64_t cookie, uint64_t cookieverf, uint32_t bytes, bool plus);
int nfs3_readdir_decode(const struct call *call, bool plus, struct nfs3_page *ret_page);
/* 1: *ret_entry is the next one. 0: end of page, page->eof is set. -EBADMSG. */
int nfs3_readdir_next(struct nfs3_page *page, struct nfs3_entry *ret_entry);

int nfs3_fsstat_encode(struct call *call, const struct cred *cred, const struct fhandle *fh);
int nfs3_fsstat_decode(const struct call *call, struct nfs3_fsstat *ret_fsstat);
int nfs3_fsinfo_encode(struct call *call, const struct cred *cred, const struct fhandle *fh);
int nfs3_fsinfo_decode(const struct call *call, struct nfs3_fsinfo *ret_fsinfo);
int nfs3_pathconf_encode(struct call *call, const struct cred *cred, const struct fhandle *fh);
int nfs3_pathconf_decode(const struct call *call, struct nfs3_pathconf *ret_pathconf);

/* nfs3_error_of - nfs3_error() of a call's results, without decoding more than their status; -EBADMSG
 * if there is none. call->status must be 0. */
int nfs3_error_of(const struct call *call);
/* nfs3_is_jukebox - the server has answered "try later". In done(). */
static inline bool nfs3_is_jukebox(const struct call *call)
{
	return !call->status && nfs3_error_of(call) == -ENFS_JUKEBOX;
}
/* nfs3_error - nfsstat3 to -errno; 0 for NFS3_OK. Unknown values are -EIO. */
int nfs3_error(uint32_t status);

/* attr_to_stat - st_ino is fileid; st_blksize is blksize; st_dev is left 0. */
void attr_to_stat(const struct attr *attr, uint32_t blksize, struct stat *ret_st);

static inline bool fhandle_equal(const struct fhandle *a, const struct fhandle *b)
{
	return a->len == b->len && !__builtin_memcmp(a->data, b->data, a->len);
}

static inline bool time_equal(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static inline bool time_before(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

#endif
