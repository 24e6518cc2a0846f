/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nfs3 - the calls of NFS version 3: arguments by libnfs's codecs (args.h), and the table of errors.
 * Replies are nfs3_decode.c's. No state, any thread. */
#include "nfs3.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "../conn/util.h"
#include "args.h"

/* Bounds of results, by their parts (RFC 1813 section 2.6): bytes, on success or failure. */
enum {
	MAX_STATUS = 4,
	MAX_FH = 4 + NFS3_FHSIZE,
	MAX_POST_FH = 4 + MAX_FH,
	MAX_ATTR = 84,
	MAX_POST_ATTR = 4 + MAX_ATTR,
	MAX_WCC = 4 + 24 + MAX_POST_ATTR,
	MAX_OBJECT = MAX_STATUS + MAX_POST_FH + MAX_POST_ATTR + MAX_WCC,
	/* What servers may add to a directory page beyond the size asked for. */
	MAX_PAGE_EXCESS = 4096,
	BULK_MIN = 16384 + 1,
};

static void begin(struct call *call, const struct cred *cred, uint32_t proc, enum call_class class,
		  uint32_t reply_max, ZDR *ret_zdr)
{
	args_begin(call, cred, NFS3_PROGRAM, NFS3_VERSION, proc, class, reply_max, ret_zdr);
}

static nfs_fh3 to_fh(const struct fhandle *fh)
{
	return (nfs_fh3){ { fh->len, (char *)fh->data } };
}

static int to_dirop(const struct fhandle *dir, const char *name, diropargs3 *ret_where)
{
	size_t len = strnlen(name, NFS3_NAME_MAX + 1);

	if (len > NFS3_NAME_MAX)
		return -ENAMETOOLONG;
	if (!len)
		return -EINVAL;
	*ret_where = (diropargs3){ to_fh(dir), (char *)name };
	return 0;
}

/* Seconds are unsigned on the wire: 1970 to 2106. What is outside becomes the nearest whole second
 * inside, as the kernel does for a file system with such limits. */
static nfstime3 to_time(struct timespec time)
{
	if (time.tv_sec < 0)
		return (nfstime3){ 0, 0 };
	if (time.tv_sec > UINT32_MAX)
		return (nfstime3){ UINT32_MAX, 0 };
	return (nfstime3){ (uint32_t)time.tv_sec, (uint32_t)time.tv_nsec };
}

static time_how to_time_how(unsigned int set, unsigned int now, unsigned int given)
{
	if (set & now)
		return SET_TO_SERVER_TIME;
	return set & given ? SET_TO_CLIENT_TIME : DONT_CHANGE;
}

/* set may be NULL: change nothing, the server's defaults. */
static sattr3 to_sattr(const struct setattr *set)
{
	sattr3 sattr = { 0 };

	if (!set)
		return sattr;
	sattr.mode.set_it = !!(set->set & SET_MODE);
	sattr.mode.set_mode3_u.mode = set->mode & 07777;
	sattr.uid.set_it = !!(set->set & SET_UID);
	sattr.uid.set_uid3_u.uid = set->uid;
	sattr.gid.set_it = !!(set->set & SET_GID);
	sattr.gid.set_gid3_u.gid = set->gid;
	sattr.size.set_it = !!(set->set & SET_SIZE);
	sattr.size.set_size3_u.size = set->size;
	sattr.atime.set_it = to_time_how(set->set, SET_ATIME_NOW, SET_ATIME);
	sattr.atime.set_atime_u.atime = to_time(set->atime);
	sattr.mtime.set_it = to_time_how(set->set, SET_MTIME_NOW, SET_MTIME);
	sattr.mtime.set_mtime_u.mtime = to_time(set->mtime);
	return sattr;
}

/* Verifiers are 8 opaque bytes; we keep them as a number, most significant byte first. */
static void to_verf(uint64_t verf, char ret_bytes[8])
{
	verf = htobe64(verf);
	memcpy(ret_bytes, &verf, sizeof(verf));
}

int nfs3_getattr_encode(struct call *call, const struct cred *cred, const struct fhandle *fh)
{
	GETATTR3args args = { to_fh(fh) };
	ZDR zdr;

	begin(call, cred, NFS3_GETATTR, CALL_IDEMPOTENT, MAX_STATUS + MAX_ATTR, &zdr);
	return args_end(call, &zdr, zdr_GETATTR3args(&zdr, &args));
}

/* Twice gives what once gives, but a copy that arrives late would undo a newer SETATTR or WRITE: the
 * class of WRITE. A size takes data away and puts zeros there: whether that has been done is looked
 * into first (replay.h), and a guarded one that was executed unseen ends with NOT_SYNC. */
int nfs3_setattr_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
			const struct setattr *set, const struct timespec *guard)
{
	SETATTR3args args = { .object = to_fh(fh), .new_attributes = to_sattr(set) };
	ZDR zdr;

	if (guard) {
		args.guard.check = 1;
		args.guard.sattrguard3_u.obj_ctime = to_time(*guard);
	}
	begin(call, cred, NFS3_SETATTR, set->set & SET_SIZE ? CALL_ONCE : CALL_WRITE,
	      MAX_STATUS + MAX_WCC, &zdr);
	return args_end(call, &zdr, zdr_SETATTR3args(&zdr, &args));
}

int nfs3_lookup_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		       const char *name)
{
	LOOKUP3args args;
	ZDR zdr;
	int error = to_dirop(dir, name, &args.what);

	if (error)
		return error;
	begin(call, cred, NFS3_LOOKUP, CALL_IDEMPOTENT, MAX_STATUS + MAX_FH + 2 * MAX_POST_ATTR,
	      &zdr);
	return args_end(call, &zdr, zdr_LOOKUP3args(&zdr, &args));
}

int nfs3_access_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       uint32_t wanted)
{
	ACCESS3args args = { to_fh(fh), wanted };
	ZDR zdr;

	begin(call, cred, NFS3_ACCESS, CALL_IDEMPOTENT, MAX_STATUS + MAX_POST_ATTR + 4, &zdr);
	return args_end(call, &zdr, zdr_ACCESS3args(&zdr, &args));
}

int nfs3_readlink_encode(struct call *call, const struct cred *cred, const struct fhandle *fh)
{
	READLINK3args args = { to_fh(fh) };
	ZDR zdr;

	begin(call, cred, NFS3_READLINK, CALL_IDEMPOTENT,
	      MAX_STATUS + MAX_POST_ATTR + 4 + NFS3_PATH_MAX, &zdr);
	return args_end(call, &zdr, zdr_READLINK3args(&zdr, &args));
}

int nfs3_read_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     uint64_t offset, uint32_t count)
{
	READ3args args = { to_fh(fh), offset, count };
	ZDR zdr;

	begin(call, cred, NFS3_READ, CALL_IDEMPOTENT,
	      MAX_STATUS + MAX_POST_ATTR + 3 * 4 + count + (uint32_t)xdr_pad(count), &zdr);
	if (count >= BULK_MIN)
		call->size = CALL_BULK;
	return args_end(call, &zdr, zdr_READ3args(&zdr, &args));
}

/* By its pieces: the codec of the whole would copy the data. */
int nfs3_write_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		      uint64_t offset, const void *data, uint32_t count, enum nfs3_stable stable)
{
	nfs_fh3 file = to_fh(fh);
	stable_how how = (stable_how)stable;
	ZDR zdr;
	int error;

	begin(call, cred, NFS3_WRITE, CALL_WRITE, MAX_STATUS + MAX_WCC + 2 * 4 + 8, &zdr);
	error = args_end(call, &zdr,
		    zdr_nfs_fh3(&zdr, &file) && zdr_offset3(&zdr, &offset) &&
			    zdr_count3(&zdr, &count) && zdr_stable_how(&zdr, &how) &&
			    zdr_u_int(&zdr, &count));
	if (error)
		return error;
	call->payload = data;
	call->payload_len = count;
	if (count >= BULK_MIN)
		call->size = CALL_BULK;
	return 0;
}

int nfs3_commit_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		       uint64_t offset, uint32_t count)
{
	COMMIT3args args = { to_fh(fh), offset, count };
	ZDR zdr;

	begin(call, cred, NFS3_COMMIT, CALL_IDEMPOTENT, MAX_STATUS + MAX_WCC + 8, &zdr);
	return args_end(call, &zdr, zdr_COMMIT3args(&zdr, &args));
}

/* EXCLUSIVE is safe to repeat, the server knows its own verifier; so is UNCHECKED while it does not
 * truncate. Neither may arrive late, after a REMOVE: the class of WRITE. */
static enum call_class create_class(enum nfs3_create_mode mode, const struct setattr *set)
{
	if (mode == NFS3_EXCLUSIVE)
		return CALL_WRITE;
	if (mode == NFS3_UNCHECKED && !(set && set->set & SET_SIZE))
		return CALL_WRITE;
	return CALL_OTHER;
}

int nfs3_create_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		       const char *name, enum nfs3_create_mode mode, const struct setattr *set,
		       uint64_t verf)
{
	CREATE3args args = { .how.mode = (createmode3)mode };
	ZDR zdr;
	int error = to_dirop(dir, name, &args.where);

	if (error)
		return error;
	if (mode == NFS3_EXCLUSIVE)
		to_verf(verf, args.how.createhow3_u.verf);
	else /* of GUARDED too: it is the same place in the union */
		args.how.createhow3_u.obj_attributes = to_sattr(set);
	begin(call, cred, NFS3_CREATE, create_class(mode, set), MAX_OBJECT, &zdr);
	return args_end(call, &zdr, zdr_CREATE3args(&zdr, &args));
}

int nfs3_mkdir_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		      const char *name, const struct setattr *set)
{
	MKDIR3args args = { .attributes = to_sattr(set) };
	ZDR zdr;
	int error = to_dirop(dir, name, &args.where);

	if (error)
		return error;
	begin(call, cred, NFS3_MKDIR, CALL_OTHER, MAX_OBJECT, &zdr);
	return args_end(call, &zdr, zdr_MKDIR3args(&zdr, &args));
}

int nfs3_symlink_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
			const char *name, const char *target, const struct setattr *set)
{
	SYMLINK3args args = { .symlink = { to_sattr(set), (char *)target } };
	ZDR zdr;
	int error = to_dirop(dir, name, &args.where);

	if (error)
		return error;
	if (strnlen(target, NFS3_PATH_MAX + 1) > NFS3_PATH_MAX)
		return -ENAMETOOLONG;
	begin(call, cred, NFS3_SYMLINK, CALL_OTHER, MAX_OBJECT, &zdr);
	return args_end(call, &zdr, zdr_SYMLINK3args(&zdr, &args));
}

static int to_mknoddata(mode_t type, dev_t rdev, const struct setattr *set, mknoddata3 *ret_what)
{
	sattr3 sattr = to_sattr(set);
	devicedata3 device = { sattr, { major(rdev), minor(rdev) } };

	switch (type & S_IFMT) {
	case S_IFCHR:
		ret_what->type = NF3CHR;
		ret_what->mknoddata3_u.chr_device = device;
		return 0;
	case S_IFBLK:
		ret_what->type = NF3BLK;
		ret_what->mknoddata3_u.blk_device = device;
		return 0;
	case S_IFSOCK:
		ret_what->type = NF3SOCK;
		ret_what->mknoddata3_u.sock_attributes = sattr;
		return 0;
	case S_IFIFO:
		ret_what->type = NF3FIFO;
		ret_what->mknoddata3_u.pipe_attributes = sattr;
		return 0;
	default:
		return -EINVAL;
	}
}

int nfs3_mknod_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		      const char *name, mode_t type, dev_t rdev, const struct setattr *set)
{
	MKNOD3args args;
	ZDR zdr;
	int error = to_dirop(dir, name, &args.where);

	if (!error)
		error = to_mknoddata(type, rdev, set, &args.what);
	if (error)
		return error;
	begin(call, cred, NFS3_MKNOD, CALL_OTHER, MAX_OBJECT, &zdr);
	return args_end(call, &zdr, zdr_MKNOD3args(&zdr, &args));
}

int nfs3_remove_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		       const char *name)
{
	REMOVE3args args;
	ZDR zdr;
	int error = to_dirop(dir, name, &args.object);

	if (error)
		return error;
	begin(call, cred, NFS3_REMOVE, CALL_ONCE, MAX_STATUS + MAX_WCC, &zdr);
	return args_end(call, &zdr, zdr_REMOVE3args(&zdr, &args));
}

int nfs3_rmdir_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
		      const char *name)
{
	RMDIR3args args;
	ZDR zdr;
	int error = to_dirop(dir, name, &args.object);

	if (error)
		return error;
	begin(call, cred, NFS3_RMDIR, CALL_ONCE, MAX_STATUS + MAX_WCC, &zdr);
	return args_end(call, &zdr, zdr_RMDIR3args(&zdr, &args));
}

int nfs3_rename_encode(struct call *call, const struct cred *cred, const struct fhandle *from_dir,
		       const char *from, const struct fhandle *to_dir, const char *to)
{
	RENAME3args args;
	ZDR zdr;
	int error = to_dirop(from_dir, from, &args.from);

	if (!error)
		error = to_dirop(to_dir, to, &args.to);
	if (error)
		return error;
	begin(call, cred, NFS3_RENAME, CALL_ONCE, MAX_STATUS + 2 * MAX_WCC, &zdr);
	return args_end(call, &zdr, zdr_RENAME3args(&zdr, &args));
}

int nfs3_link_encode(struct call *call, const struct cred *cred, const struct fhandle *fh,
		     const struct fhandle *dir, const char *name)
{
	LINK3args args = { .file = to_fh(fh) };
	ZDR zdr;
	int error = to_dirop(dir, name, &args.link);

	if (error)
		return error;
	begin(call, cred, NFS3_LINK, CALL_OTHER, MAX_STATUS + MAX_POST_ATTR + MAX_WCC, &zdr);
	return args_end(call, &zdr, zdr_LINK3args(&zdr, &args));
}

/* Both end with cookie and verifier, then one count or two: nfs3_readdir_decode() counts on it. */
int nfs3_readdir_encode(struct call *call, const struct cred *cred, const struct fhandle *dir,
			uint64_t cookie, uint64_t cookieverf, uint32_t bytes, bool plus)
{
	READDIR3args args = { .dir = to_fh(dir), .cookie = cookie, .count = bytes };
	/* maxcount is the limit that matters; a dircount below it would end pages of long names
	 * early, and servers count differently. */
	READDIRPLUS3args plus_args = {
		.dir = to_fh(dir), .cookie = cookie, .dircount = bytes, .maxcount = bytes
	};
	ZDR zdr;

	begin(call, cred, plus ? NFS3_READDIRPLUS : NFS3_READDIR, CALL_IDEMPOTENT,
	      MAX_STATUS + bytes + MAX_PAGE_EXCESS, &zdr);
	to_verf(cookieverf, args.cookieverf);
	to_verf(cookieverf, plus_args.cookieverf);
	return args_end(call, &zdr,
		   plus ? zdr_READDIRPLUS3args(&zdr, &plus_args) : zdr_READDIR3args(&zdr, &args));
}

int nfs3_fsstat_encode(struct call *call, const struct cred *cred, const struct fhandle *fh)
{
	FSSTAT3args args = { to_fh(fh) };
	ZDR zdr;

	begin(call, cred, NFS3_FSSTAT, CALL_IDEMPOTENT, MAX_STATUS + MAX_POST_ATTR + 6 * 8 + 4,
	      &zdr);
	return args_end(call, &zdr, zdr_FSSTAT3args(&zdr, &args));
}

int nfs3_fsinfo_encode(struct call *call, const struct cred *cred, const struct fhandle *fh)
{
	FSINFO3args args = { to_fh(fh) };
	ZDR zdr;

	begin(call, cred, NFS3_FSINFO, CALL_IDEMPOTENT,
	      MAX_STATUS + MAX_POST_ATTR + 7 * 4 + 8 + 8 + 4, &zdr);
	return args_end(call, &zdr, zdr_FSINFO3args(&zdr, &args));
}

int nfs3_pathconf_encode(struct call *call, const struct cred *cred, const struct fhandle *fh)
{
	PATHCONF3args args = { to_fh(fh) };
	ZDR zdr;

	begin(call, cred, NFS3_PATHCONF, CALL_IDEMPOTENT, MAX_STATUS + MAX_POST_ATTR + 6 * 4, &zdr);
	return args_end(call, &zdr, zdr_PATHCONF3args(&zdr, &args));
}

/* Up to MLINK the numbers are Unix's and Linux's; from NAMETOOLONG on they only look like it. */
int nfs3_error(uint32_t status)
{
	switch ((nfsstat3)status) {
	case NFS3_OK:
	case NFS3ERR_PERM:
	case NFS3ERR_NOENT:
	case NFS3ERR_IO:
	case NFS3ERR_NXIO:
	case NFS3ERR_ACCES:
	case NFS3ERR_EXIST:
	case NFS3ERR_XDEV:
	case NFS3ERR_NODEV:
	case NFS3ERR_NOTDIR:
	case NFS3ERR_ISDIR:
	case NFS3ERR_INVAL:
	case NFS3ERR_FBIG:
	case NFS3ERR_NOSPC:
	case NFS3ERR_ROFS:
	case NFS3ERR_MLINK:
		return -(int)status;
	case NFS3ERR_NAMETOOLONG:
		return -ENAMETOOLONG;
	case NFS3ERR_NOTEMPTY:
		return -ENOTEMPTY;
	case NFS3ERR_DQUOT:
		return -EDQUOT;
	case NFS3ERR_STALE:
	case NFS3ERR_BADHANDLE:
		return -ESTALE;
	case NFS3ERR_REMOTE:
		return -EREMOTE;
	case NFS3ERR_NOT_SYNC:
		return -ENFS_NOTSYNC;
	case NFS3ERR_BAD_COOKIE:
		return -ENFS_BADCOOKIE;
	case NFS3ERR_NOTSUPP: /* never ENOSYS: FUSE would not ask again */
		return -EOPNOTSUPP;
	case NFS3ERR_TOOSMALL:
		return -ENFS_TOOSMALL;
	case NFS3ERR_BADTYPE:
		return -EINVAL;
	case NFS3ERR_JUKEBOX:
		return -ENFS_JUKEBOX;
	case NFS3ERR_SERVERFAULT:
	default:
		return -EIO;
	}
}

void attr_to_stat(const struct attr *attr, uint32_t blksize, struct stat *ret_st)
{
	*ret_st = (struct stat){
		.st_ino = attr->fileid,
		.st_mode = attr->mode,
		.st_nlink = attr->nlink,
		.st_uid = attr->uid,
		.st_gid = attr->gid,
		.st_rdev = attr->rdev,
		.st_size = (off_t)(attr->size < INT64_MAX ? attr->size : INT64_MAX),
		.st_blksize = blksize,
		.st_blocks = (blkcnt_t)(attr->used / 512 + (attr->used % 512 != 0)),
		.st_atim = attr->atime,
		.st_mtim = attr->mtime,
		.st_ctim = attr->ctime,
	};
}
