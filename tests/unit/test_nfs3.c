/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_nfs3 - fuse/nfs3.h against libnfs's codecs used as the server: what they encode we decode,
 * what we encode they decode. Then every reply cut at every byte, and replies no honest server
 * sends. Replies lie at an odd address in memory of exactly their size: ASan sees overreads. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "../fuzz/nfs3_any.h"

#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "../../conn/call.h"
#include "../../conn/rpc.h"
#include "../../conn/util.h"

/* ---- replies, by libnfs ------------------------------------------------------------------ */

enum { REPLY_MAX = 65536, ASKED = 4096, FH_LEN = 30 };

static uint32_t wire[REPLY_MAX / 4];
static ZDR zdr;

static ZDR *encoder(void)
{
	memset(wire, 0xee, sizeof(wire));
	zdrmem_create(&zdr, (char *)wire, sizeof(wire) - 16, ZDR_ENCODE);
	return &zdr;
}

/* Length of what the codec wrote. */
static uint32_t encoded(uint32_t ok)
{
	uint32_t len = zdr_getpos(&zdr);

	assert(ok);
	zdr_destroy(&zdr);
	return len;
}

static char handle[FH_LEN + 1] = "abcdefghijklmnopqrstuvwxyz0123";

static nfs_fh3 wire_fh(void)
{
	return (nfs_fh3){ { FH_LEN, handle } };
}

static fattr3 wire_attr(void)
{
	return (fattr3){
		.type = NF3CHR, .mode = 0xfffff000 | 04751, .nlink = 3, .uid = 1000,
		.gid = 0xfffffffe,
		.size = UINT64_C(0x123456789abcdef0), .used = UINT64_C(0x1000000000000001),
		.rdev = { 0xabc, 0xfedcb }, .fsid = UINT64_C(0xfeedfacecafebeef),
		.fileid = UINT64_C(0xffffffffffffffff), .atime = { 0, 0 },
		.mtime = { 0x7fffffff, 999999999 }, .ctime = { 0xffffffff, 1 },
	};
}

static post_op_attr wire_post_attr(void)
{
	return (post_op_attr){ 1, { wire_attr() } };
}

static wcc_data wire_wcc(void)
{
	return (wcc_data){ { 1, { { UINT64_C(1) << 40, { 5, 6 }, { 7, 8 } } } }, wire_post_attr() };
}

static post_op_fh3 wire_post_fh(void)
{
	return (post_op_fh3){ 1, { wire_fh() } };
}

#define ENCODE(proc, ...)                                                        \
	static uint32_t proc##_ok(void)                                          \
	{                                                                        \
		proc##3res res = { .proc##3res_u .resok = __VA_ARGS__ };          \
		return encoded(zdr_##proc##3res(encoder(), &res));               \
	}
#define ENCODE_FAIL(proc, ...)                                                   \
	static uint32_t proc##_fail(void)                                        \
	{                                                                        \
		proc##3res res = { .status = NFS3ERR_ACCES,                      \
				   .proc##3res_u .resfail = __VA_ARGS__ };        \
		return encoded(zdr_##proc##3res(encoder(), &res));               \
	}

ENCODE(GETATTR, { wire_attr() })
ENCODE(SETATTR, { wire_wcc() })
ENCODE_FAIL(SETATTR, { wire_wcc() })
ENCODE(LOOKUP, { wire_fh(), wire_post_attr(), wire_post_attr() })
ENCODE_FAIL(LOOKUP, { wire_post_attr() })
ENCODE(ACCESS, { wire_post_attr(), 0x3f })
ENCODE_FAIL(ACCESS, { wire_post_attr() })
ENCODE(READLINK, { wire_post_attr(), (char *)"../where/ever" })
ENCODE_FAIL(READLINK, { wire_post_attr() })
ENCODE(READ, { wire_post_attr(), 5, 1, { 5, (char *)"12345" } })
ENCODE_FAIL(READ, { wire_post_attr() })
ENCODE(WRITE, { wire_wcc(), ASKED, DATA_SYNC, { 1, 2, 3, 4, 5, 6, 7, 8 } })
ENCODE_FAIL(WRITE, { wire_wcc() })
ENCODE(COMMIT, { wire_wcc(), { 1, 2, 3, 4, 5, 6, 7, 8 } })
ENCODE_FAIL(COMMIT, { wire_wcc() })
ENCODE(CREATE, { wire_post_fh(), wire_post_attr(), wire_wcc() })
ENCODE_FAIL(CREATE, { wire_wcc() })
ENCODE(MKDIR, { wire_post_fh(), wire_post_attr(), wire_wcc() })
ENCODE_FAIL(MKDIR, { wire_wcc() })
ENCODE(SYMLINK, { wire_post_fh(), wire_post_attr(), wire_wcc() })
ENCODE_FAIL(SYMLINK, { wire_wcc() })
ENCODE(MKNOD, { wire_post_fh(), wire_post_attr(), wire_wcc() })
ENCODE_FAIL(MKNOD, { wire_wcc() })
ENCODE(REMOVE, { wire_wcc() })
ENCODE_FAIL(REMOVE, { wire_wcc() })
ENCODE(RMDIR, { wire_wcc() })
ENCODE_FAIL(RMDIR, { wire_wcc() })
ENCODE(RENAME, { wire_wcc(), wire_wcc() })
ENCODE_FAIL(RENAME, { wire_wcc(), wire_wcc() })
ENCODE(LINK, { wire_post_attr(), wire_wcc() })
ENCODE_FAIL(LINK, { wire_post_attr(), wire_wcc() })
ENCODE(FSSTAT, { wire_post_attr(), 1, 2, 3, 4, 5, 6, 7 })
ENCODE_FAIL(FSSTAT, { wire_post_attr() })
ENCODE(FSINFO, { wire_post_attr(), 262144, 131072, 512, 65536, 32768, 1024, 131072,
		 UINT64_C(1) << 43, { 0, 1000 }, FSF3_LINK | FSF3_HOMOGENEOUS })
ENCODE_FAIL(FSINFO, { wire_post_attr() })
ENCODE(PATHCONF, { wire_post_attr(), 32000, 255, 1, 0, 0, 1 })
ENCODE_FAIL(PATHCONF, { wire_post_attr() })
ENCODE_FAIL(READDIR, { wire_post_attr() })
ENCODE_FAIL(READDIRPLUS, { wire_post_attr() })

static uint32_t GETATTR_fail(void)
{
	GETATTR3res res = { .status = NFS3ERR_ACCES };

	return encoded(zdr_GETATTR3res(encoder(), &res));
}

/* Cookies in no numeric order: a hash. */
static const struct { const char *name; uint64_t cookie; } listing[] = {
	{ ".", 900 }, { "..", UINT64_MAX }, { "a", 1 }, { "README.md", UINT64_C(1) << 63 },
};

#define VERIFIED { 'V', 'E', 'R', 'I', 'F', 'I', 'E', 'D' }

static uint32_t READDIR_ok(void)
{
	entry3 entries[ARRAY_SIZE(listing)];
	READDIR3res res = {
		.READDIR3res_u.resok = { wire_post_attr(), VERIFIED, { entries, 1 } }
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(listing); i++)
		entries[i] = (entry3){ 100 + i, (char *)listing[i].name, listing[i].cookie,
				       i + 1 < ARRAY_SIZE(listing) ? &entries[i + 1] : NULL };
	return encoded(zdr_READDIR3res(encoder(), &res));
}

/* The first entry lacks both handle and attributes. */
static uint32_t READDIRPLUS_ok(void)
{
	entryplus3 entries[ARRAY_SIZE(listing)];
	READDIRPLUS3res res = {
		.READDIRPLUS3res_u.resok = { wire_post_attr(), VERIFIED, { entries, 1 } }
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(listing); i++)
		entries[i] = (entryplus3){
			100 + i, (char *)listing[i].name, listing[i].cookie,
			i ? wire_post_attr() : (post_op_attr){ 0 },
			i ? wire_post_fh() : (post_op_fh3){ 0 },
			i + 1 < ARRAY_SIZE(listing) ? &entries[i + 1] : NULL
		};
	return encoded(zdr_READDIRPLUS3res(encoder(), &res));
}

/* ---- results given to decoders ----------------------------------------------------------- */

static uint8_t *memory;

/* The call that asked, with a cookie of 0, and the first len bytes of wire[] as its results. */
static struct call reply_of(uint32_t len)
{
	static const uint8_t args[25];
	struct call call;

	free(memory);
	memory = malloc(len + 1);
	assert(memory);
	memcpy(memory + 1, wire, len);
	call_init(&call);
	call.head = (uint8_t *)args;
	call.head_len = sizeof(args);
	call.results = memory + 1;
	call.results_len = len;
	return call;
}

static int decode(unsigned int proc, uint32_t len)
{
	struct call call = reply_of(len);

	return nfs3_any_decode(proc, &call, ASKED);
}

static void same_attr(const struct attr *attr)
{
	assert(attr->mode == (S_IFCHR | 04751) && attr->nlink == 3);
	assert(attr->uid == 1000 && attr->gid == 0xfffffffe);
	assert(attr->size == UINT64_C(0x123456789abcdef0));
	assert(attr->used == UINT64_C(0x1000000000000001));
	assert(attr->rdev == makedev(0xabc, 0xfedcb));
	assert(attr->fsid == UINT64_C(0xfeedfacecafebeef) && attr->fileid == UINT64_MAX);
	assert(attr->atime.tv_sec == 0 && attr->atime.tv_nsec == 0);
	assert(attr->mtime.tv_sec == 0x7fffffff && attr->mtime.tv_nsec == 999999999);
	assert(attr->ctime.tv_sec == 0xffffffffLL && attr->ctime.tv_nsec == 1); /* 2106, not 1969 */
}

static void same_post_attr(const struct post_attr *attr)
{
	assert(attr->valid);
	same_attr(&attr->attr);
}

static void same_wcc(const struct wcc *wcc)
{
	assert(wcc->before_valid && wcc->before_size == UINT64_C(1) << 40);
	assert(wcc->before_mtime.tv_sec == 5 && wcc->before_mtime.tv_nsec == 6);
	assert(wcc->before_ctime.tv_sec == 7 && wcc->before_ctime.tv_nsec == 8);
	same_post_attr(&wcc->after);
}

static void same_fh(bool has_fh, const struct fhandle *fh)
{
	assert(has_fh && fh->len == FH_LEN && !memcmp(fh->data, handle, FH_LEN));
}

/* Each check decodes both results: want is 0 or -EACCES. */
static void check_getattr(const struct call *call, int want)
{
	struct attr attr;

	assert(nfs3_getattr_decode(call, &attr) == want);
	if (!want)
		same_attr(&attr);
}

static void check_one_wcc(const struct call *call, int want)
{
	struct wcc wcc;

	assert(nfs3_setattr_decode(call, &wcc) == want);
	same_wcc(&wcc);
	assert(nfs3_remove_decode(call, &wcc) == want);
	same_wcc(&wcc);
}

static void check_lookup(const struct call *call, int want)
{
	struct nfs3_object object;

	assert(nfs3_lookup_decode(call, &object) == want);
	same_post_attr(&object.dir.after);
	assert(!object.dir.before_valid && object.has_fh == !want && object.attr.valid == !want);
	if (want)
		return;
	same_fh(object.has_fh, &object.fh);
	same_post_attr(&object.attr);
}

static void check_access(const struct call *call, int want)
{
	struct nfs3_access access;

	assert(nfs3_access_decode(call, &access) == want);
	same_post_attr(&access.attr);
	assert(access.granted == (want ? 0 : 0x3f));
}

static void check_readlink(const struct call *call, int want)
{
	struct nfs3_readlink link;

	assert(nfs3_readlink_decode(call, &link) == want);
	same_post_attr(&link.attr);
	if (want)
		assert(!link.target && !link.target_len);
	else
		assert(link.target_len == 13 && !memcmp(link.target, "../where/ever", 13));
}

static void check_read(const struct call *call, int want)
{
	struct nfs3_read read;

	assert(nfs3_read_decode(call, ASKED, &read) == want);
	same_post_attr(&read.attr);
	if (want)
		assert(!read.data && !read.count);
	else
		assert(read.count == 5 && read.eof && !memcmp(read.data, "12345", 5));
}

static void check_write(const struct call *call, int want)
{
	struct nfs3_write write;

	assert(nfs3_write_decode(call, ASKED, &write) == want);
	same_wcc(&write.wcc);
	if (!want)
		assert(write.count == ASKED && write.committed == NFS3_DATA_SYNC &&
		       write.verf == UINT64_C(0x0102030405060708));
}

static void check_commit(const struct call *call, int want)
{
	struct nfs3_commit commit;

	assert(nfs3_commit_decode(call, &commit) == want);
	same_wcc(&commit.wcc);
	assert(commit.verf == (want ? 0 : UINT64_C(0x0102030405060708)));
}

static void check_create(const struct call *call, int want)
{
	struct nfs3_object object;

	assert(nfs3_create_decode(call, &object) == want);
	same_wcc(&object.dir);
	assert(object.has_fh == !want && object.attr.valid == !want);
	if (want)
		return;
	same_fh(object.has_fh, &object.fh);
	same_post_attr(&object.attr);
}

static void check_rename(const struct call *call, int want)
{
	struct nfs3_rename rename;

	assert(nfs3_rename_decode(call, &rename) == want);
	same_wcc(&rename.from);
	same_wcc(&rename.to);
}

static void check_link(const struct call *call, int want)
{
	struct nfs3_link link;

	assert(nfs3_link_decode(call, &link) == want);
	same_post_attr(&link.attr);
	same_wcc(&link.dir);
}

static void check_page(const struct call *call, int want, bool plus)
{
	struct nfs3_page page;
	struct nfs3_entry entry;

	assert(nfs3_readdir_decode(call, plus, &page) == want);
	same_post_attr(&page.dir);
	if (want)
		return;
	assert(page.cookieverf == UINT64_C(0x5645524946494544)); /* "VERIFIED" */
	for (unsigned int i = 0; i < ARRAY_SIZE(listing); i++) {
		assert(nfs3_readdir_next(&page, &entry) == 1);
		assert(entry.fileid == 100 + i && entry.cookie == listing[i].cookie);
		assert(entry.name_len == strlen(listing[i].name));
		assert(!memcmp(entry.name, listing[i].name, entry.name_len));
		assert(entry.has_fh == (plus && i) && entry.attr.valid == (plus && i));
		if (!entry.has_fh)
			continue;
		same_fh(entry.has_fh, &entry.fh);
		same_post_attr(&entry.attr);
	}
	assert(nfs3_readdir_next(&page, &entry) == 0 && page.eof);
}

static void check_readdir(const struct call *call, int want)
{
	check_page(call, want, false);
}

static void check_readdirplus(const struct call *call, int want)
{
	check_page(call, want, true);
}

static void check_fsstat(const struct call *call, int want)
{
	struct nfs3_fsstat fsstat;

	assert(nfs3_fsstat_decode(call, &fsstat) == want);
	same_post_attr(&fsstat.attr);
	if (!want)
		assert(fsstat.tbytes == 1 && fsstat.fbytes == 2 && fsstat.abytes == 3 &&
		       fsstat.tfiles == 4 && fsstat.ffiles == 5 && fsstat.afiles == 6);
}

static void check_fsinfo(const struct call *call, int want)
{
	struct nfs3_fsinfo fsinfo;

	assert(nfs3_fsinfo_decode(call, &fsinfo) == want);
	same_post_attr(&fsinfo.attr);
	if (want)
		return;
	assert(fsinfo.rtmax == 262144 && fsinfo.rtpref == 131072 && fsinfo.rtmult == 512);
	assert(fsinfo.wtmax == 65536 && fsinfo.wtpref == 32768 && fsinfo.wtmult == 1024);
	assert(fsinfo.dtpref == 131072 && fsinfo.maxfilesize == UINT64_C(1) << 43);
	assert(fsinfo.time_delta.tv_sec == 0 && fsinfo.time_delta.tv_nsec == 1000);
	assert(fsinfo.has_link && !fsinfo.has_symlink && fsinfo.homogeneous && !fsinfo.can_settime);
}

static void check_pathconf(const struct call *call, int want)
{
	struct nfs3_pathconf pathconf;

	assert(nfs3_pathconf_decode(call, &pathconf) == want);
	same_post_attr(&pathconf.attr);
	if (!want)
		assert(pathconf.linkmax == 32000 && pathconf.name_max == 255 && pathconf.no_trunc &&
		       !pathconf.chown_restricted && !pathconf.case_insensitive &&
		       pathconf.case_preserving);
}

static const struct reply_row {
	const char *name;
	unsigned int proc;
	uint32_t (*ok)(void), (*fail)(void);
	void (*check)(const struct call *call, int want);
	uint32_t spare; /* last bytes of success that may be missing */
} replies[] = {
	{ "GETATTR", NFS3_GETATTR, GETATTR_ok, GETATTR_fail, check_getattr, 0 },
	{ "SETATTR", NFS3_SETATTR, SETATTR_ok, SETATTR_fail, check_one_wcc, 0 },
	{ "LOOKUP", NFS3_LOOKUP, LOOKUP_ok, LOOKUP_fail, check_lookup, 0 },
	{ "ACCESS", NFS3_ACCESS, ACCESS_ok, ACCESS_fail, check_access, 0 },
	{ "READLINK", NFS3_READLINK, READLINK_ok, READLINK_fail, check_readlink, 0 },
	{ "READ", NFS3_READ, READ_ok, READ_fail, check_read, 3 }, /* padding */
	{ "WRITE", NFS3_WRITE, WRITE_ok, WRITE_fail, check_write, 0 },
	{ "COMMIT", NFS3_COMMIT, COMMIT_ok, COMMIT_fail, check_commit, 0 },
	{ "CREATE", NFS3_CREATE, CREATE_ok, CREATE_fail, check_create, 0 },
	{ "MKDIR", NFS3_MKDIR, MKDIR_ok, MKDIR_fail, check_create, 0 },
	{ "SYMLINK", NFS3_SYMLINK, SYMLINK_ok, SYMLINK_fail, check_create, 0 },
	{ "MKNOD", NFS3_MKNOD, MKNOD_ok, MKNOD_fail, check_create, 0 },
	{ "REMOVE", NFS3_REMOVE, REMOVE_ok, REMOVE_fail, check_one_wcc, 0 },
	{ "RMDIR", NFS3_RMDIR, RMDIR_ok, RMDIR_fail, check_one_wcc, 0 },
	{ "RENAME", NFS3_RENAME, RENAME_ok, RENAME_fail, check_rename, 0 },
	{ "LINK", NFS3_LINK, LINK_ok, LINK_fail, check_link, 0 },
	{ "READDIR", NFS3_READDIR, READDIR_ok, READDIR_fail, check_readdir, 0 },
	{ "READDIRPLUS", NFS3_READDIRPLUS, READDIRPLUS_ok, READDIRPLUS_fail, check_readdirplus, 0 },
	{ "FSSTAT", NFS3_FSSTAT, FSSTAT_ok, FSSTAT_fail, check_fsstat, 0 },
	{ "FSINFO", NFS3_FSINFO, FSINFO_ok, FSINFO_fail, check_fsinfo, 0 },
	{ "PATHCONF", NFS3_PATHCONF, PATHCONF_ok, PATHCONF_fail, check_pathconf, 0 },
};

/* Whole, with garbage behind it, and cut at every byte. */
static void test_reply(const struct reply_row *row, uint32_t (*build)(void), int want,
		       uint32_t spare)
{
	uint32_t len = build();
	struct call call = reply_of(len);

	row->check(&call, want);
	assert(decode(row->proc, len) == want);
	assert(decode(row->proc, len + 3) == want);
	for (uint32_t have = 0; have < len - spare; have++)
		assert(decode(row->proc, have) == -EBADMSG);
}

/* ---- hostile replies --------------------------------------------------------------------- */

/* One word of a good reply is replaced. Offsets: GETATTR has the status at 0 and fattr3 at 4; most
 * others post_op_attr's flag at 4, fattr3 at 8..92. */
static const struct hostile_row {
	const char *what;
	uint32_t (*build)(void);
	unsigned int proc;
	uint32_t offset, word;
	int want;
} hostile[] = {
	{ "type 0", GETATTR_ok, NFS3_GETATTR, 4, 0, -EBADMSG },
	{ "type 8", GETATTR_ok, NFS3_GETATTR, 4, 8, -EBADMSG },
	{ "type 7", GETATTR_ok, NFS3_GETATTR, 4, 7, 0 },
	{ "type negative", GETATTR_ok, NFS3_GETATTR, 4, 0xffffffff, -EBADMSG },
	{ "mode bits beyond 07777", GETATTR_ok, NFS3_GETATTR, 8, 0xffffffff, 0 },
	{ "atime's nanoseconds", GETATTR_ok, NFS3_GETATTR, 68, 1000000000, -EBADMSG },
	{ "mtime's nanoseconds", GETATTR_ok, NFS3_GETATTR, 76, 0xffffffff, -EBADMSG },
	{ "ctime's nanoseconds", GETATTR_ok, NFS3_GETATTR, 84, 1000000000, -EBADMSG },
	{ "wcc's nanoseconds", SETATTR_ok, NFS3_SETATTR, 20, 1000000000, -EBADMSG },
	{ "unknown status", SETATTR_ok, NFS3_SETATTR, 0, 4711, -EIO },
	{ "attributes_follow is 2", ACCESS_ok, NFS3_ACCESS, 4, 2, 0 },

	{ "handle of 0 bytes", LOOKUP_ok, NFS3_LOOKUP, 4, 0, -EBADMSG },
	{ "handle of 65 bytes", LOOKUP_ok, NFS3_LOOKUP, 4, 65, -EBADMSG },
	{ "handle of 2 GiB", LOOKUP_ok, NFS3_LOOKUP, 4, 0x80000000, -EBADMSG },
	{ "handle of 4 GiB - 16", LOOKUP_ok, NFS3_LOOKUP, 4, 0xfffffff0, -EBADMSG },
	{ "handle of 4 GiB - 1", LOOKUP_ok, NFS3_LOOKUP, 4, 0xffffffff, -EBADMSG },
	{ "handle of 0 bytes", CREATE_ok, NFS3_CREATE, 8, 0, -EBADMSG },
	{ "handle of 65 bytes", CREATE_ok, NFS3_MKDIR, 8, 65, -EBADMSG },
	{ "handle of 2 GiB", CREATE_ok, NFS3_SYMLINK, 8, 0x80000000, -EBADMSG },
	{ "handle of 4 GiB - 1", CREATE_ok, NFS3_MKNOD, 8, 0xffffffff, -EBADMSG },

	{ "target of 0 bytes", READLINK_ok, NFS3_READLINK, 92, 0, -EBADMSG },
	{ "target of 2 GiB", READLINK_ok, NFS3_READLINK, 92, 0x80000000, -EBADMSG },
	{ "target of 4 GiB - 1", READLINK_ok, NFS3_READLINK, 92, 0xffffffff, -EBADMSG },
	{ "target with a NUL", READLINK_ok, NFS3_READLINK, 96, 0x2e2e002f, -EBADMSG },

	{ "data of 4 GiB - 16", READ_ok, NFS3_READ, 100, 0xfffffff0, -EBADMSG },
	{ "data of 4 GiB - 1", READ_ok, NFS3_READ, 100, 0xffffffff, -EBADMSG },
	{ "data of 2 GiB", READ_ok, NFS3_READ, 100, 0x80000000, -EBADMSG },
	{ "more data than count", READ_ok, NFS3_READ, 92, 4, -EBADMSG },
	{ "less data than count", READ_ok, NFS3_READ, 92, 6, -EBADMSG },
	{ "count of 4 GiB - 1", READ_ok, NFS3_READ, 92, 0xffffffff, -EBADMSG },

	{ "count above what was sent", WRITE_ok, NFS3_WRITE, 120, ASKED + 1, -EBADMSG },
	{ "count 0 with success", WRITE_ok, NFS3_WRITE, 120, 0, -EBADMSG },
	{ "short count", WRITE_ok, NFS3_WRITE, 120, 1, 0 },
	{ "committed 2", WRITE_ok, NFS3_WRITE, 124, 2, 0 },
	{ "committed 3", WRITE_ok, NFS3_WRITE, 124, 3, -EBADMSG },
	{ "committed negative", WRITE_ok, NFS3_WRITE, 124, 0xffffffff, -EBADMSG },

	{ "time_delta's nanoseconds", FSINFO_ok, NFS3_FSINFO, 132, 1000000000, -EBADMSG },

	/* first entry: follows 100, fileid 104, name 112, "." 116, cookie 120 */
	{ "name of 0 bytes", READDIR_ok, NFS3_READDIR, 112, 0, -EBADMSG },
	{ "name of 256 bytes", READDIR_ok, NFS3_READDIR, 112, 256, -EBADMSG },
	{ "name of 2 GiB", READDIR_ok, NFS3_READDIR, 112, 0x80000000, -EBADMSG },
	{ "name of 4 GiB - 1", READDIR_ok, NFS3_READDIR, 112, 0xffffffff, -EBADMSG },
	{ "name is a slash", READDIR_ok, NFS3_READDIR, 116, 0x2f000000, -EBADMSG },
	{ "name is a NUL", READDIR_ok, NFS3_READDIR, 116, 0, -EBADMSG },
	{ "name of 256 bytes", READDIRPLUS_ok, NFS3_READDIRPLUS, 112, 256, -EBADMSG },
	{ "name is a slash", READDIRPLUS_ok, NFS3_READDIRPLUS, 116, 0x2f000000, -EBADMSG },
	/* its attributes 128, its handle 132; the second: 136, 140, "..": 148, cookie 156,
	 * attributes 164, 168, handle 252, 256 */
	{ "entry's type", READDIRPLUS_ok, NFS3_READDIRPLUS, 168, 0, -EBADMSG },
	{ "entry's handle of 0 bytes", READDIRPLUS_ok, NFS3_READDIRPLUS, 256, 0, -EBADMSG },
	{ "entry's handle of 65 bytes", READDIRPLUS_ok, NFS3_READDIRPLUS, 256, 65, -EBADMSG },
	{ "entry's handle of 4 GiB - 1", READDIRPLUS_ok, NFS3_READDIRPLUS, 256, 0xffffffff,
	  -EBADMSG },
};

static void test_hostile(const struct hostile_row *row)
{
	uint32_t len = row->build();

	assert(row->offset + 4 <= len);
	wire[row->offset / 4] = htobe32(row->word);
	assert(decode(row->proc, len) == row->want);
}

/* FIFOs, and devices whose numbers Linux cannot hold, have no device number. */
static void test_rdev(void)
{
	const struct { uint32_t type, first, second; dev_t want; } rows[] = {
		{ NF3CHR, 0, 0, 0 }, { NF3BLK, 8, 1, makedev(8, 1) }, { NF3REG, 8, 1, 0 },
		{ NF3BLK, 0xfff, 0xfffff, makedev(0xfff, 0xfffff) }, { NF3FIFO, 1, 1, 0 },
		{ NF3BLK, 0x1008, 1, 0 }, { NF3CHR, 8, 0x100000, 0 },
	};
	struct attr attr;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t len = GETATTR_ok();
		struct call call;

		wire[1] = htobe32(rows[i].type);
		wire[10] = htobe32(rows[i].first);
		wire[11] = htobe32(rows[i].second);
		call = reply_of(len);
		assert(!nfs3_getattr_decode(&call, &attr) && attr.rdev == rows[i].want);
	}
}

static void test_read_bounds(void)
{
	static const struct { uint32_t count, eof, asked; int want; } rows[] = {
		{ 5, 1, 5, 0 }, { 5, 0, 5, 0 }, { 5, 1, 4, -EBADMSG }, { 0, 1, 5, 0 },
		{ 0, 0, 5, -EBADMSG }, /* no progress, for ever */
		{ 0, 0, 0, 0 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct call call;
		uint32_t len = READ_ok();

		wire[92 / 4] = wire[100 / 4] = htobe32(rows[i].count);
		wire[96 / 4] = htobe32(rows[i].eof);
		call = reply_of(len);
		assert(nfs3_any_decode(NFS3_READ, &call, rows[i].asked) == rows[i].want);
	}
}

/* place() sees the reply arrive byte by byte: not yet, not yet, ..., here. */
static void test_read_place(void)
{
	uint32_t head_len, count;
	struct nfs3_read read;
	struct call call;

	for (int follows = 0; follows <= 1; follows++) {
		READ3res res = { .READ3res_u.resok = { wire_post_attr(), 3, 1, { 3, handle } } };
		uint32_t want = follows ? 104 : 20, len;

		res.READ3res_u.resok.file_attributes.attributes_follow = follows;
		len = encoded(zdr_READ3res(encoder(), &res));
		assert(len == want + 4);
		for (uint32_t have = 0; have <= len; have++) {
			call = reply_of(have);
			assert(nfs3_read_place(call.results, have, ASKED, &head_len, &count) ==
			       (have >= want));
		}
		assert(head_len == want && count == 3);
		call = reply_of(want); /* the payload went elsewhere */
		call.placed_len = 3;
		assert(!nfs3_read_decode(&call, ASKED, &read));
		assert(!read.data && read.count == 3 && read.eof && read.attr.valid == !!follows);
		call.placed_len = 4;
		assert(nfs3_read_decode(&call, ASKED, &read) == -EBADMSG);
		call.placed_len = 0;
		assert(nfs3_read_decode(&call, ASKED, &read) == -EBADMSG);
	}
	READ_ok();
	assert(nfs3_read_place((uint8_t *)wire, 104, 4, &head_len, &count) == -EBADMSG);
	READ_fail();
	assert(nfs3_read_place((uint8_t *)wire, 104, 4, &head_len, &count) == -EACCES);
}

/* ---- directory pages, by hand ------------------------------------------------------------ */

/* A listing whose cookies a broken or hostile server made up. */
static const struct cookie_row {
	const char *what;
	uint64_t asked, cookies[4];
	unsigned int n;
	bool eof;
	int want; /* of the last nfs3_readdir_next() */
} cookie_rows[] = {
	{ "rising", 5, { 6, 7, 8 }, 3, false, 0 },
	{ "falling", 5, { 4, 3, 2 }, 3, false, 0 },
	{ "in no order", 5, { UINT64_MAX, 1, 99, 2 }, 4, true, 0 },
	{ "the previous entry's", 5, { 6, 6 }, 2, true, -EBADMSG },
	{ "the one asked for", 5, { 5 }, 1, true, -EBADMSG },
	{ "back to the one asked for", 5, { 6, 5 }, 2, true, -EBADMSG },
	{ "0 is where a listing starts", 0, { 0 }, 1, true, -EBADMSG },
	{ "empty, the end", 5, { 0 }, 0, true, 0 },
	{ "empty, not the end", 5, { 0 }, 0, false, -EBADMSG },
};

static uint8_t *put(uint8_t *at, uint32_t word)
{
	rpc_write(at, word);
	return at + 4;
}

static uint8_t *put_u64(uint8_t *at, uint64_t word)
{
	return put(put(at, (uint32_t)(word >> 32)), (uint32_t)word);
}

static uint8_t *put_entry(uint8_t *at, const char *name, uint32_t name_len, uint64_t cookie)
{
	at = put_u64(put(at, 1), 42);
	at = put(at, name_len);
	memset(at, 0, name_len + 3);
	memcpy(at, name, name_len);
	return put_u64(at + name_len + xdr_pad(name_len), cookie);
}

/* status, no attributes, verifier */
static uint8_t *put_page(uint8_t *at)
{
	return put_u64(put(put(at, 0), 0), 1);
}

static void test_cookies(const struct cookie_row *row)
{
	uint8_t head[CALL_HEAD_SMALL] __attribute__((aligned(4)));
	uint8_t *at = put_page((uint8_t *)wire);
	struct fhandle dir = { .len = 1 };
	struct call call, asking = { 0 };

	for (unsigned int i = 0; i < row->n; i++)
		at = put_entry(at, "name", 4, row->cookies[i]);
	at = put(put(at, 0), row->eof);
	call = reply_of((uint32_t)(at - (uint8_t *)wire));
	call_init(&asking);
	asking.head = head;
	asking.head_size = sizeof(head);
	assert(!nfs3_readdir_encode(&asking, NULL, &dir, row->asked, 0, 4096, false));
	call.head = head;
	call.head_len = asking.head_len;
	assert(nfs3_any_decode(NFS3_READDIR, &call, 0) == row->want);
}

static void test_names(void)
{
	static const struct { const char *name; uint32_t len; int want; } rows[] = {
		{ ".", 1, 0 }, { "..", 2, 0 }, { "...", 3, 0 }, { "", 0, -EBADMSG },
		{ "/", 1, -EBADMSG }, { "a/b", 3, -EBADMSG }, { "../../etc", 9, -EBADMSG },
		{ "a\0b", 3, -EBADMSG }, { "a\0", 2, -EBADMSG }, { "\n\xff", 2, 0 },
	};
	char longest[256];
	uint8_t *at;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		at = put_entry(put_page((uint8_t *)wire), rows[i].name, rows[i].len, 1);
		at = put(put(at, 0), 1);
		assert(decode(NFS3_READDIR, (uint32_t)(at - (uint8_t *)wire)) == rows[i].want);
	}
	memset(longest, 'x', sizeof(longest));
	for (uint32_t len = 254; len <= 256; len++) {
		at = put_entry(put_page((uint8_t *)wire), longest, len, 1);
		at = put(put(at, 0), 1);
		assert(decode(NFS3_READDIR, (uint32_t)(at - (uint8_t *)wire)) ==
		       (len > 255 ? -EBADMSG : 0));
	}
}

/* As many of the smallest entries as fit 1 MiB, with and without an end: no stack, no memory. */
static void test_huge_page(void)
{
	enum { SIZE = 1 << 20 };
	uint8_t *page = malloc(SIZE), *at = put_page(page);
	uint64_t n = 0;
	struct call call;

	assert(page);
	while (at + 32 + 8 <= page + SIZE)
		at = put_entry(at, "x", 1, ++n);
	at = put(put(at, 0), 1);
	call_init(&call);
	call.results = page;
	call.results_len = (uint32_t)(at - page);
	assert(n > 32000 && nfs3_any_decode(NFS3_READDIR, &call, 0) == 0);
	call.results_len -= 8;
	assert(nfs3_any_decode(NFS3_READDIR, &call, 0) == -EBADMSG);
	free(page);
}

/* ---- FSINFO, errors, stat ---------------------------------------------------------------- */

static void test_fsinfo_defaults(void)
{
	static const struct {
		uint32_t max, pref, mult, dtpref;
		uint64_t maxfilesize;
		uint32_t want_max, want_pref, want_mult, want_dtpref;
		uint64_t want_maxfilesize;
	} rows[] = {
		{ 0, 0, 0, 0, 0, 65536, 65536, 4096, 65536, INT64_MAX },
		{ UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX, 1048576, 1048576,
		  1048576, 1048576, INT64_MAX },
		{ 1, 1, 1, 1, 1, 1024, 1024, 1, 65536, 1 },
		{ 8192, 65536, 1, 4096, 1 << 30, 8192, 8192, 1, 65536, 1 << 30 },
		{ 1000000, 8192, 512, 131072, 1, 999424, 8192, 512, 131072, 1 },
	};
	struct nfs3_fsinfo info;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		FSINFO3res res = { .FSINFO3res_u.resok = {
			.rtmax = rows[i].max, .rtpref = rows[i].pref, .rtmult = rows[i].mult,
			.wtmax = rows[i].max, .wtpref = rows[i].pref, .wtmult = rows[i].mult,
			.dtpref = rows[i].dtpref, .maxfilesize = rows[i].maxfilesize } };
		struct call call = reply_of(encoded(zdr_FSINFO3res(encoder(), &res)));

		assert(!nfs3_fsinfo_decode(&call, &info) && !info.attr.valid);
		assert(info.rtmax == rows[i].want_max && info.wtmax == rows[i].want_max);
		assert(info.rtpref == rows[i].want_pref && info.wtpref == rows[i].want_pref);
		assert(info.rtmult == rows[i].want_mult && info.wtmult == rows[i].want_mult);
		assert(info.dtpref == rows[i].want_dtpref);
		assert(info.maxfilesize == rows[i].want_maxfilesize);
	}
}

static void test_errors(void)
{
	static const struct { uint32_t status; int error; } rows[] = {
		{ 0, 0 }, { 1, -EPERM }, { 2, -ENOENT }, { 5, -EIO }, { 6, -ENXIO },
		{ 13, -EACCES }, { 17, -EEXIST }, { 18, -EXDEV }, { 19, -ENODEV },
		{ 20, -ENOTDIR }, { 21, -EISDIR }, { 22, -EINVAL }, { 27, -EFBIG },
		{ 28, -ENOSPC }, { 30, -EROFS }, { 31, -EMLINK }, { 63, -ENAMETOOLONG },
		{ 66, -ENOTEMPTY }, { 69, -EDQUOT }, { 70, -ESTALE }, { 71, -EREMOTE },
		{ 10001, -ESTALE }, { 10002, -ENFS_NOTSYNC }, { 10003, -ENFS_BADCOOKIE },
		{ 10004, -EOPNOTSUPP }, { 10005, -ENFS_TOOSMALL }, { 10006, -EIO },
		{ 10007, -EINVAL }, { 10008, -ENFS_JUKEBOX },
		/* No such status: */
		{ 3, -EIO }, { 4, -EIO }, { 11, -EIO }, { 38, -EIO }, { 74, -EIO }, { 10000, -EIO },
		{ 10009, -EIO }, { 0x80000000, -EIO }, { 0xffffffff, -EIO },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++)
		assert(nfs3_error(rows[i].status) == rows[i].error);
}

static void test_stat(void)
{
	struct attr attr = { .mode = S_IFREG | 0640, .nlink = 2, .uid = 3, .gid = 4, .size = 5,
			     .used = 513, .fsid = 6, .fileid = UINT64_MAX, .mtime = { 7, 8 } };
	struct stat st;

	attr_to_stat(&attr, 1048576, &st);
	assert(st.st_ino == UINT64_MAX && st.st_mode == (S_IFREG | 0640) && st.st_nlink == 2);
	assert(st.st_uid == 3 && st.st_gid == 4 && st.st_size == 5 && st.st_dev == 0);
	assert(st.st_blocks == 2 && st.st_blksize == 1048576);
	assert(st.st_mtim.tv_sec == 7 && st.st_mtim.tv_nsec == 8);
	attr.size = attr.used = UINT64_MAX;
	attr_to_stat(&attr, 4096, &st);
	assert(st.st_size == INT64_MAX && st.st_blocks == (blkcnt_t)1 << 55);
}

/* ---- arguments --------------------------------------------------------------------------- */

static const struct setattr set_all = {
	.set = SET_MODE | SET_UID | SET_GID | SET_SIZE | SET_ATIME | SET_MTIME,
	.mode = S_IFREG | 06755, .uid = 1, .gid = 2, .size = UINT64_C(3) << 32,
	.atime = { 4, 5 }, .mtime = { 6, 7 },
};

static struct cred full_cred = { .uid = 1000, .gid = 100, .n_gids = CRED_MAX_GROUPS };
static struct fhandle big_fh = { .len = 64 };
static char name255[256], name256[257], target4096[4097], target4097[4098];

static int encode_getattr(struct call *call)
{
	return nfs3_getattr_encode(call, &full_cred, &big_fh);
}

static int encode_setattr(struct call *call)
{
	return nfs3_setattr_encode(call, &full_cred, &big_fh, &set_all, &set_all.mtime);
}

static int encode_setattr_mode(struct call *call)
{
	static const struct setattr set = { .set = SET_MODE, .mode = 0640 };

	return nfs3_setattr_encode(call, &full_cred, &big_fh, &set, NULL);
}

static int encode_lookup(struct call *call)
{
	return nfs3_lookup_encode(call, &full_cred, &big_fh, name255);
}

static int encode_access(struct call *call)
{
	return nfs3_access_encode(call, &full_cred, &big_fh, 0x1f);
}

static int encode_readlink(struct call *call)
{
	return nfs3_readlink_encode(call, &full_cred, &big_fh);
}

static int encode_read(struct call *call)
{
	return nfs3_read_encode(call, &full_cred, &big_fh, UINT64_C(1) << 63, 16385);
}

static int encode_write(struct call *call)
{
	return nfs3_write_encode(call, &full_cred, &big_fh, 42, name255, 255, NFS3_FILE_SYNC);
}

static int encode_commit(struct call *call)
{
	return nfs3_commit_encode(call, &full_cred, &big_fh, 42, 0);
}

static int encode_create(struct call *call)
{
	return nfs3_create_encode(call, &full_cred, &big_fh, name255, NFS3_GUARDED, &set_all, 0);
}

static int encode_create_unchecked(struct call *call)
{
	return nfs3_create_encode(call, &full_cred, &big_fh, name255, NFS3_UNCHECKED, NULL, 0);
}

static int encode_create_truncating(struct call *call)
{
	return nfs3_create_encode(call, &full_cred, &big_fh, name255, NFS3_UNCHECKED, &set_all, 0);
}

static int encode_create_exclusive(struct call *call)
{
	return nfs3_create_encode(call, &full_cred, &big_fh, name255, NFS3_EXCLUSIVE, NULL, 99);
}

static int encode_mkdir(struct call *call)
{
	return nfs3_mkdir_encode(call, &full_cred, &big_fh, name255, &set_all);
}

static int encode_symlink(struct call *call)
{
	return nfs3_symlink_encode(call, &full_cred, &big_fh, name255, target4096, &set_all);
}

static int encode_mknod(struct call *call)
{
	return nfs3_mknod_encode(call, &full_cred, &big_fh, name255, S_IFBLK,
				 makedev(0xfff, 0xfffff), &set_all);
}

static int encode_remove(struct call *call)
{
	return nfs3_remove_encode(call, &full_cred, &big_fh, name255);
}

static int encode_rmdir(struct call *call)
{
	return nfs3_rmdir_encode(call, &full_cred, &big_fh, name255);
}

static int encode_rename(struct call *call)
{
	return nfs3_rename_encode(call, &full_cred, &big_fh, name255, &big_fh, name255);
}

static int encode_link(struct call *call)
{
	return nfs3_link_encode(call, &full_cred, &big_fh, &big_fh, name255);
}

static int encode_readdir(struct call *call)
{
	return nfs3_readdir_encode(call, &full_cred, &big_fh, 1, 2, 65536, false);
}

static int encode_readdirplus(struct call *call)
{
	return nfs3_readdir_encode(call, &full_cred, &big_fh, 1, 2, 65536, true);
}

static int encode_fsstat(struct call *call)
{
	return nfs3_fsstat_encode(call, &full_cred, &big_fh);
}

static int encode_fsinfo(struct call *call)
{
	return nfs3_fsinfo_encode(call, &full_cred, &big_fh);
}

static int encode_pathconf(struct call *call)
{
	return nfs3_pathconf_encode(call, &full_cred, &big_fh);
}

/* args: bytes of arguments by RFC 1813, with a handle of 64 bytes (68) and names of 255 (260). */
static const struct encode_row {
	const char *name;
	int (*encode)(struct call *call);
	uint32_t proc, args;
	enum call_class class;
	enum call_size size;
	uint32_t head; /* size of the buffer that must do */
} encodes[] = {
	{ "GETATTR", encode_getattr, 1, 68, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "SETATTR of a size", encode_setattr, 2, 68 + 60 + 12, CALL_ONCE, CALL_SMALL,
	  CALL_HEAD_SMALL },
	{ "SETATTR", encode_setattr_mode, 2, 68 + 28 + 4, CALL_WRITE, CALL_SMALL, CALL_HEAD_SMALL },
	{ "LOOKUP", encode_lookup, 3, 328, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "ACCESS", encode_access, 4, 72, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "READLINK", encode_readlink, 5, 68, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "READ", encode_read, 6, 80, CALL_IDEMPOTENT, CALL_BULK, CALL_HEAD_SMALL },
	{ "WRITE", encode_write, 7, 88, CALL_WRITE, CALL_SMALL, CALL_HEAD_SMALL },
	{ "CREATE", encode_create, 8, 328 + 4 + 60, CALL_OTHER, CALL_SMALL, CALL_HEAD_SMALL },
	{ "CREATE unchecked", encode_create_unchecked, 8, 328 + 4 + 24, CALL_WRITE, CALL_SMALL,
	  CALL_HEAD_SMALL },
	{ "CREATE truncating", encode_create_truncating, 8, 328 + 4 + 60, CALL_OTHER, CALL_SMALL,
	  CALL_HEAD_SMALL },
	{ "CREATE exclusive", encode_create_exclusive, 8, 328 + 4 + 8, CALL_WRITE, CALL_SMALL,
	  CALL_HEAD_SMALL },
	{ "MKDIR", encode_mkdir, 9, 328 + 60, CALL_OTHER, CALL_SMALL, CALL_HEAD_SMALL },
	{ "SYMLINK", encode_symlink, 10, 328 + 60 + 4100, CALL_OTHER, CALL_SMALL, CALL_HEAD_LARGE },
	{ "MKNOD", encode_mknod, 11, 328 + 4 + 60 + 8, CALL_OTHER, CALL_SMALL, CALL_HEAD_SMALL },
	{ "REMOVE", encode_remove, 12, 328, CALL_ONCE, CALL_SMALL, CALL_HEAD_SMALL },
	{ "RMDIR", encode_rmdir, 13, 328, CALL_ONCE, CALL_SMALL, CALL_HEAD_SMALL },
	{ "RENAME", encode_rename, 14, 656, CALL_ONCE, CALL_SMALL, CALL_HEAD_SMALL },
	{ "LINK", encode_link, 15, 396, CALL_OTHER, CALL_SMALL, CALL_HEAD_SMALL },
	{ "READDIR", encode_readdir, 16, 88, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "READDIRPLUS", encode_readdirplus, 17, 92, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "FSSTAT", encode_fsstat, 18, 68, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "FSINFO", encode_fsinfo, 19, 68, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "PATHCONF", encode_pathconf, 20, 68, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
	{ "COMMIT", encode_commit, 21, 80, CALL_IDEMPOTENT, CALL_SMALL, CALL_HEAD_SMALL },
};

/* In a buffer of exactly size bytes: 0, or ENAMETOOLONG and nothing written outside (ASan). */
static int encode_into(const struct encode_row *row, uint32_t size, struct call *ret_call)
{
	free(memory);
	memory = malloc(size);
	assert(memory);
	memset(memory, 0xee, size);
	call_init(ret_call);
	ret_call->head = memory;
	ret_call->head_size = size;
	return row->encode(ret_call);
}

static uint32_t encode(const struct encode_row *row, struct call *ret_call)
{
	assert(!encode_into(row, row->head, ret_call));
	assert(ret_call->head_len > row->args);
	return ret_call->head_len - row->args;
}

static void test_encode(const struct encode_row *row)
{
	uint32_t args_at, size;
	struct call call;

	args_at = encode(row, &call);
	assert(args_at == 4 + rpc_call_header_size(&full_cred));
	assert(call.class == row->class && call.size == row->size && call.reply_max >= 88);
	assert(rpc_read(call.head + 16) == 100003 && rpc_read(call.head + 20) == 3);
	assert(rpc_read(call.head + 24) == row->proc);
	assert(rpc_read(call.head + args_at) == 64); /* every procedure starts with a handle */
	for (size = args_at + 16; size < args_at + row->args + 16; size++)
		assert(encode_into(row, size, &call) == -ENAMETOOLONG);
	assert(!encode_into(row, size, &call));
}

/* The server's view: libnfs's codec decodes the arguments just encoded. */
#define DECODE_ARGS(proc, row_encode, ret_args)                                                \
	do {                                                                                   \
		struct encode_row row_ = { .encode = (row_encode), .head = CALL_HEAD_LARGE };  \
		uint32_t at_ = 4 + rpc_call_header_size(&full_cred);                           \
		assert(!encode_into(&row_, row_.head, &sent));                                 \
		memset((ret_args), 0, sizeof(*(ret_args)));                                    \
		zdrmem_create(&zdr, (char *)sent.head + at_, sent.head_len - at_, ZDR_DECODE); \
		assert(zdr_##proc##3args(&zdr, (ret_args)));                                   \
		assert(zdr_getpos(&zdr) == sent.head_len - at_);                               \
	} while (0)

static void same_sattr(const sattr3 *sattr)
{
	assert(sattr->mode.set_it == 1 && sattr->mode.set_mode3_u.mode == 06755);
	assert(sattr->uid.set_it == 1 && sattr->uid.set_uid3_u.uid == 1);
	assert(sattr->gid.set_it == 1 && sattr->gid.set_gid3_u.gid == 2);
	assert(sattr->size.set_it == 1 && sattr->size.set_size3_u.size == UINT64_C(3) << 32);
	assert(sattr->atime.set_it == SET_TO_CLIENT_TIME);
	assert(sattr->atime.set_atime_u.atime.seconds == 4);
	assert(sattr->atime.set_atime_u.atime.nseconds == 5);
	assert(sattr->mtime.set_it == SET_TO_CLIENT_TIME);
	assert(sattr->mtime.set_mtime_u.mtime.seconds == 6);
	assert(sattr->mtime.set_mtime_u.mtime.nseconds == 7);
}

static void test_server_sees_names(void)
{
	struct call sent;
	RENAME3args rename;
	SYMLINK3args symlink;
	LINK3args link;

	DECODE_ARGS(RENAME, encode_rename, &rename);
	assert(rename.from.dir.data.data_len == 64 && !strcmp(rename.from.name, name255));
	assert(!memcmp(rename.from.dir.data.data_val, big_fh.data, 64));
	assert(!strcmp(rename.to.name, name255));
	zdr_destroy(&zdr);
	DECODE_ARGS(SYMLINK, encode_symlink, &symlink);
	assert(!strcmp(symlink.symlink.symlink_data, target4096));
	assert(!strcmp(symlink.where.name, name255));
	same_sattr(&symlink.symlink.symlink_attributes);
	zdr_destroy(&zdr);
	DECODE_ARGS(LINK, encode_link, &link);
	assert(link.file.data.data_len == 64 && !strcmp(link.link.name, name255));
	zdr_destroy(&zdr);
}

static void test_server_sees_creates(void)
{
	struct call sent;
	CREATE3args create;
	MKNOD3args mknod;
	MKDIR3args mkdir;

	DECODE_ARGS(CREATE, encode_create, &create);
	assert(create.how.mode == GUARDED && !strcmp(create.where.name, name255));
	same_sattr(&create.how.createhow3_u.g_obj_attributes);
	zdr_destroy(&zdr);
	DECODE_ARGS(CREATE, encode_create_exclusive, &create);
	assert(create.how.mode == EXCLUSIVE);
	assert(!memcmp(create.how.createhow3_u.verf, "\0\0\0\0\0\0\0\143", 8));
	zdr_destroy(&zdr);
	DECODE_ARGS(MKNOD, encode_mknod, &mknod);
	assert(mknod.what.type == NF3BLK);
	assert(mknod.what.mknoddata3_u.blk_device.spec.specdata1 == 0xfff);
	assert(mknod.what.mknoddata3_u.blk_device.spec.specdata2 == 0xfffff);
	same_sattr(&mknod.what.mknoddata3_u.blk_device.dev_attributes);
	zdr_destroy(&zdr);
	DECODE_ARGS(MKDIR, encode_mkdir, &mkdir);
	same_sattr(&mkdir.attributes);
	zdr_destroy(&zdr);
}

static void test_server_sees_data(void)
{
	struct call sent;
	uint8_t joined[512] __attribute__((aligned(4))) = { 0 };
	uint32_t args_at = 4 + rpc_call_header_size(&full_cred), len;
	struct encode_row row = { .encode = encode_write, .head = CALL_HEAD_SMALL };
	WRITE3args write = { 0 };
	READDIRPLUS3args readdir;
	SETATTR3args setattr;
	READ3args read;

	assert(!encode_into(&row, row.head, &sent));
	assert(sent.payload == name255 && sent.payload_len == 255);
	len = sent.head_len - args_at;
	memcpy(joined, sent.head + args_at, len);
	memcpy(joined + len, sent.payload, sent.payload_len);
	zdrmem_create(&zdr, (char *)joined, len + 256, ZDR_DECODE);
	assert(zdr_WRITE3args(&zdr, &write) && zdr_getpos(&zdr) == len + 256);
	assert(write.offset == 42 && write.count == 255 && write.stable == FILE_SYNC);
	assert(write.data.data_len == 255 && !memcmp(write.data.data_val, name255, 255));
	zdr_destroy(&zdr);
	call_seal(&sent);
	assert(rpc_read(sent.head) == (0x80000000 | (sent.head_len - 4 + 256)));

	DECODE_ARGS(READ, encode_read, &read);
	assert(read.offset == UINT64_C(1) << 63 && read.count == 16385 && !sent.payload);
	assert(sent.reply_max == 4 + 88 + 12 + 16388);
	zdr_destroy(&zdr);
	DECODE_ARGS(READDIRPLUS, encode_readdirplus, &readdir);
	assert(readdir.cookie == 1 && readdir.maxcount == 65536 && readdir.dircount == 65536);
	assert(!memcmp(readdir.cookieverf, "\0\0\0\0\0\0\0\2", 8));
	zdr_destroy(&zdr);
	DECODE_ARGS(SETATTR, encode_setattr, &setattr);
	same_sattr(&setattr.new_attributes);
	assert(setattr.guard.check == 1 && setattr.guard.sattrguard3_u.obj_ctime.seconds == 6);
	zdr_destroy(&zdr);
}

/* Nothing, one bit, and times: set to the server's clock, or out of what 32 bits hold. */
static void test_setattr(void)
{
	static const struct {
		unsigned int set;
		struct timespec time;
		uint32_t how, seconds, nseconds;
	} rows[] = {
		{ 0, { 1, 2 }, DONT_CHANGE, 0, 0 },
		{ SET_MTIME, { 1, 2 }, SET_TO_CLIENT_TIME, 1, 2 },
		{ SET_MTIME_NOW, { 1, 2 }, SET_TO_SERVER_TIME, 0, 0 },
		{ SET_MTIME | SET_MTIME_NOW, { 1, 2 }, SET_TO_SERVER_TIME, 0, 0 },
		{ SET_MTIME, { 0, 0 }, SET_TO_CLIENT_TIME, 0, 0 },
		{ SET_MTIME, { -1, 999 }, SET_TO_CLIENT_TIME, 0, 0 },
		{ SET_MTIME, { INT64_MIN, 0 }, SET_TO_CLIENT_TIME, 0, 0 },
		{ SET_MTIME, { 0x80000000LL, 5 }, SET_TO_CLIENT_TIME, 0x80000000, 5 },
		{ SET_MTIME, { 0xffffffffLL, 5 }, SET_TO_CLIENT_TIME, 0xffffffff, 5 },
		{ SET_MTIME, { 0x100000000LL, 5 }, SET_TO_CLIENT_TIME, 0xffffffff, 0 },
	};
	uint8_t head[CALL_HEAD_SMALL] __attribute__((aligned(4)));
	struct call call;

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct setattr set = { .set = rows[i].set, .mtime = rows[i].time };
		SETATTR3args args = { 0 };
		uint32_t at;

		call_init(&call);
		call.head = head;
		call.head_size = sizeof(head);
		assert(!nfs3_setattr_encode(&call, NULL, &big_fh, &set, NULL));
		at = 4 + rpc_call_header_size(NULL);
		zdrmem_create(&zdr, (char *)head + at, call.head_len - at, ZDR_DECODE);
		assert(zdr_SETATTR3args(&zdr, &args) && !args.guard.check);
		assert(!args.new_attributes.mode.set_it && !args.new_attributes.size.set_it);
		assert(!args.new_attributes.uid.set_it && !args.new_attributes.gid.set_it);
		assert(args.new_attributes.atime.set_it == DONT_CHANGE);
		assert(args.new_attributes.mtime.set_it == (time_how)rows[i].how);
		assert(args.new_attributes.mtime.set_mtime_u.mtime.seconds == rows[i].seconds);
		assert(args.new_attributes.mtime.set_mtime_u.mtime.nseconds == rows[i].nseconds);
		zdr_destroy(&zdr);
	}
}

static void test_refused_arguments(void)
{
	uint8_t head[CALL_HEAD_LARGE] __attribute__((aligned(4)));
	const struct fhandle *fh = &big_fh;
	struct call call;

	call_init(&call);
	call.head = head;
	call.head_size = sizeof(head);
	assert(nfs3_lookup_encode(&call, NULL, fh, name256) == -ENAMETOOLONG);
	assert(nfs3_lookup_encode(&call, NULL, fh, "") == -EINVAL);
	assert(nfs3_rename_encode(&call, NULL, fh, "a", fh, name256) == -ENAMETOOLONG);
	assert(nfs3_rename_encode(&call, NULL, fh, name256, fh, "a") == -ENAMETOOLONG);
	assert(nfs3_symlink_encode(&call, NULL, fh, "a", target4097, NULL) == -ENAMETOOLONG);
	assert(nfs3_mknod_encode(&call, NULL, fh, "a", S_IFREG, 0, NULL) == -EINVAL);
	assert(nfs3_mknod_encode(&call, NULL, fh, "a", S_IFIFO, 0, NULL) == 0);
	assert(nfs3_mknod_encode(&call, NULL, fh, "a", S_IFSOCK, 0, NULL) == 0);
	assert(nfs3_mknod_encode(&call, NULL, fh, "a", S_IFCHR, makedev(1, 3), NULL) == 0);
}

/* GETATTR on a handle of 5 bytes, byte for byte. Padding is zero whatever the buffer held. */
static void test_golden_getattr(void)
{
	static const uint8_t want[] = {
		0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0x86, 0xa3, 0, 0, 0, 3, 0, 0, 0, 1, /* call */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                   /* AUTH_NONE */
		0, 0, 0, 5, 'a', 'b', 'c', 'd', 'e', 0, 0, 0,
	};
	uint8_t head[CALL_HEAD_SMALL] __attribute__((aligned(4)));
	struct fhandle fh = { 5, "abcdefg" };
	struct call call;

	memset(head, 0xee, sizeof(head));
	call_init(&call);
	call.head = head;
	call.head_size = sizeof(head);
	assert(!nfs3_getattr_encode(&call, NULL, &fh));
	assert(call.head_len == 8 + sizeof(want) && !memcmp(head + 8, want, sizeof(want)));
}

static void fill(void)
{
	memset(name255, 'n', 255);
	memset(name256, 'n', 256);
	memset(target4096, 't', 4096);
	memset(target4097, 't', 4097);
	for (unsigned int i = 0; i < 64; i++)
		big_fh.data[i] = (uint8_t)i;
	for (uint32_t i = 0; i < CRED_MAX_GROUPS; i++)
		full_cred.gids[i] = i;
}

int main(void)
{
	fill();
	for (unsigned int i = 0; i < ARRAY_SIZE(replies); i++) {
		printf("reply %s\n", replies[i].name);
		test_reply(&replies[i], replies[i].ok, 0, replies[i].spare);
		test_reply(&replies[i], replies[i].fail, -EACCES, 0);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(hostile); i++) {
		printf("hostile: procedure %u, %s\n", hostile[i].proc, hostile[i].what);
		test_hostile(&hostile[i]);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(cookie_rows); i++) {
		printf("cookies: %s\n", cookie_rows[i].what);
		test_cookies(&cookie_rows[i]);
	}
	test_rdev();
	test_read_bounds();
	test_read_place();
	test_names();
	test_huge_page();
	test_fsinfo_defaults();
	test_errors();
	test_stat();
	for (unsigned int i = 0; i < ARRAY_SIZE(encodes); i++) {
		printf("call %s\n", encodes[i].name);
		test_encode(&encodes[i]);
	}
	test_server_sees_names();
	test_server_sees_creates();
	test_server_sees_data();
	test_setattr();
	test_refused_arguments();
	test_golden_getattr();
	free(memory);
	return 0;
}
