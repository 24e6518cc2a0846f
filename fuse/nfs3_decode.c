/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nfs3_decode - replies of NFS version 3, by a bounded cursor (xdr.h) rather than libnfs's codecs:
 * those follow lengths before checking them, recurse over directory entries and want aligned bytes
 * they may write to. No state, any thread, no memory: whatever a server sends, a decoder looks at
 * results[0..results_len) once, front to back.
 *
 * Values that cannot be are -EBADMSG like lengths that cannot be: a type of file, nanoseconds, a
 * count above what was asked. Bytes after the results are ignored. */
#include "nfs3.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include <nfsc/libnfs-zdr.h>

#include <nfsc/libnfs-raw-nfs.h>

#include "../conn/util.h"
#include "xdr.h"

enum { ATTR_SIZE = 84, WCC_ATTR_SIZE = 24 };

/* What FSINFO may say. Zero means that the server has no opinion. */
enum {
	TRANSFER_MIN = 1024,
	TRANSFER_DEFAULT = 65536,
	TRANSFER_MAX = 1048576, /* FUSE's max_write */
	TRANSFER_MULTIPLE = 4096,
	DIRECTORY_MIN = 65536,
};

/* begin - the results from behind the status; *ret_status is its -errno. */
static struct xdr_in begin(const struct call *call, int *ret_status)
{
	struct xdr_in in = { call->results, call->results_len, false };

	*ret_status = nfs3_error(xdr_u32(&in));
	return in;
}

static int end(const struct xdr_in *in, int status)
{
	return in->bad ? -EBADMSG : status;
}

static struct timespec load_time(struct xdr_in *in, const uint8_t *at)
{
	uint32_t ns = xdr_load_u32(at + 4);

	if (ns >= NS_PER_S)
		xdr_fail(in);
	return (struct timespec){ .tv_sec = xdr_load_u32(at), .tv_nsec = ns };
}

static mode_t load_mode(struct xdr_in *in, const uint8_t *at)
{
	static const mode_t types[] = {
		[NF3REG] = S_IFREG, [NF3DIR] = S_IFDIR,   [NF3BLK] = S_IFBLK,  [NF3CHR] = S_IFCHR,
		[NF3LNK] = S_IFLNK, [NF3SOCK] = S_IFSOCK, [NF3FIFO] = S_IFIFO,
	};
	uint32_t type = xdr_load_u32(at);

	if (type < NF3REG || type > NF3FIFO) {
		xdr_fail(in);
		return 0;
	}
	return types[type] | (xdr_load_u32(at + 4) & 07777);
}

/* Linux has 12 and 20 bits for the two; a number that does not fit must not become another
 * device, hence none (the kernel's client does so too). */
static dev_t load_rdev(mode_t mode, const uint8_t *at)
{
	uint32_t first = xdr_load_u32(at), second = xdr_load_u32(at + 4);

	if ((!S_ISBLK(mode) && !S_ISCHR(mode)) || first > 0xfff || second > 0xfffff)
		return 0;
	return makedev(first, second);
}

static void get_attr(struct xdr_in *in, struct attr *ret_attr)
{
	const uint8_t *at = xdr_take(in, ATTR_SIZE);

	if (!at)
		return;
	ret_attr->mode = load_mode(in, at);
	ret_attr->nlink = xdr_load_u32(at + 8);
	ret_attr->uid = xdr_load_u32(at + 12);
	ret_attr->gid = xdr_load_u32(at + 16);
	ret_attr->size = xdr_load_u64(at + 20);
	ret_attr->used = xdr_load_u64(at + 28);
	ret_attr->rdev = load_rdev(ret_attr->mode, at + 36);
	ret_attr->fsid = xdr_load_u64(at + 44);
	ret_attr->fileid = xdr_load_u64(at + 52);
	ret_attr->atime = load_time(in, at + 60);
	ret_attr->mtime = load_time(in, at + 68);
	ret_attr->ctime = load_time(in, at + 76);
}

/* Bad attributes are no attributes: valid is set only by good ones. */
static void get_post_attr(struct xdr_in *in, struct post_attr *ret_attr)
{
	if (!xdr_bool(in))
		return;
	get_attr(in, &ret_attr->attr);
	ret_attr->valid = !in->bad;
}

static void get_wcc(struct xdr_in *in, struct wcc *ret_wcc)
{
	const uint8_t *at;

	if (xdr_bool(in)) {
		at = xdr_take(in, WCC_ATTR_SIZE);
		if (!at)
			return;
		ret_wcc->before_size = xdr_load_u64(at);
		ret_wcc->before_mtime = load_time(in, at + 8);
		ret_wcc->before_ctime = load_time(in, at + 16);
		ret_wcc->before_valid = !in->bad;
	}
	get_post_attr(in, &ret_wcc->after);
}

static bool get_fh(struct xdr_in *in, struct fhandle *ret_fh)
{
	uint32_t len;
	const uint8_t *data = xdr_opaque(in, 1, NFS3_FHSIZE, &len);

	if (!data)
		return false;
	ret_fh->len = len;
	memcpy(ret_fh->data, data, len);
	return true;
}

static bool get_post_fh(struct xdr_in *in, struct fhandle *ret_fh)
{
	return xdr_bool(in) && get_fh(in, ret_fh);
}

/* 1..max bytes, none of which is among the n_banned; NULL if bad. */
static const char *get_text(struct xdr_in *in, uint32_t max, const char *banned, size_t n_banned,
			    uint32_t *ret_len)
{
	uint32_t len;
	const uint8_t *text = xdr_opaque(in, 1, max, &len);

	if (!text)
		return NULL;
	for (size_t i = 0; i < n_banned; i++)
		if (memchr(text, banned[i], len)) {
			xdr_fail(in);
			return NULL;
		}
	*ret_len = len;
	return (const char *)text;
}

int nfs3_getattr_decode(const struct call *call, struct attr *ret_attr)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_attr, 0, sizeof(*ret_attr));
	if (!status)
		get_attr(&in, ret_attr);
	return end(&in, status);
}

int nfs3_setattr_decode(const struct call *call, struct wcc *ret_wcc)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_wcc, 0, sizeof(*ret_wcc));
	get_wcc(&in, ret_wcc);
	return end(&in, status);
}

int nfs3_lookup_decode(const struct call *call, struct nfs3_object *ret_object)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_object, 0, sizeof(*ret_object));
	if (!status) {
		ret_object->has_fh = get_fh(&in, &ret_object->fh);
		get_post_attr(&in, &ret_object->attr);
	}
	get_post_attr(&in, &ret_object->dir.after);
	return end(&in, status);
}

int nfs3_access_decode(const struct call *call, struct nfs3_access *ret_access)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_access, 0, sizeof(*ret_access));
	get_post_attr(&in, &ret_access->attr);
	if (!status)
		ret_access->granted = xdr_u32(&in);
	return end(&in, status);
}

int nfs3_readlink_decode(const struct call *call, struct nfs3_readlink *ret_link)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_link, 0, sizeof(*ret_link));
	get_post_attr(&in, &ret_link->attr);
	if (!status)
		ret_link->target = get_text(&in, NFS3_PATH_MAX, "", 1, &ret_link->target_len);
	return end(&in, status);
}

/* READ's results up to and with the length of the data. */
static void get_read(struct xdr_in *in, uint32_t asked, struct nfs3_read *ret_read)
{
	get_post_attr(in, &ret_read->attr);
	ret_read->count = xdr_u32(in);
	ret_read->eof = xdr_bool(in);
	if (xdr_u32(in) != ret_read->count || ret_read->count > asked)
		xdr_fail(in);
	/* Nothing and no end: whoever reads on would do so for ever. */
	if (!ret_read->count && !ret_read->eof && asked)
		xdr_fail(in);
}

int nfs3_read_place(const uint8_t *results, uint32_t have, uint32_t asked, uint32_t *ret_head_len,
		    uint32_t *ret_count)
{
	struct xdr_in in = { results, have, false };
	struct nfs3_read read = { 0 };
	uint32_t head_len;
	int status;

	if (have < 4)
		return 0;
	status = nfs3_error(xdr_u32(&in));
	if (status)
		return status;
	if (have < 8)
		return 0;
	head_len = 8 + (xdr_load_u32(results + 4) ? ATTR_SIZE : 0) + 3 * 4;
	if (have < head_len)
		return 0;
	get_read(&in, asked, &read);
	if (in.bad)
		return -EBADMSG;
	*ret_head_len = head_len;
	*ret_count = read.count;
	return 1;
}

int nfs3_read_decode(const struct call *call, uint32_t asked, struct nfs3_read *ret_read)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_read, 0, sizeof(*ret_read));
	if (status) {
		get_post_attr(&in, &ret_read->attr);
		return end(&in, status);
	}
	get_read(&in, asked, ret_read);
	if (!call->placed_len)
		ret_read->data = xdr_take(&in, ret_read->count);
	else if (call->placed_len != ret_read->count)
		xdr_fail(&in);
	return end(&in, 0);
}

int nfs3_write_decode(const struct call *call, uint32_t asked, struct nfs3_write *ret_write)
{
	int status;
	struct xdr_in in = begin(call, &status);
	uint32_t committed;

	memset(ret_write, 0, sizeof(*ret_write));
	get_wcc(&in, &ret_write->wcc);
	if (status)
		return end(&in, status);
	ret_write->count = xdr_u32(&in);
	committed = xdr_u32(&in);
	ret_write->verf = xdr_u64(&in);
	if (ret_write->count > asked || (!ret_write->count && asked) || committed > FILE_SYNC)
		xdr_fail(&in);
	else
		ret_write->committed = (enum nfs3_stable)committed;
	return end(&in, 0);
}

int nfs3_commit_decode(const struct call *call, struct nfs3_commit *ret_commit)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_commit, 0, sizeof(*ret_commit));
	get_wcc(&in, &ret_commit->wcc);
	if (!status)
		ret_commit->verf = xdr_u64(&in);
	return end(&in, status);
}

int nfs3_create_decode(const struct call *call, struct nfs3_object *ret_object)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_object, 0, sizeof(*ret_object));
	if (!status) {
		ret_object->has_fh = get_post_fh(&in, &ret_object->fh);
		get_post_attr(&in, &ret_object->attr);
	}
	get_wcc(&in, &ret_object->dir);
	return end(&in, status);
}

int nfs3_remove_decode(const struct call *call, struct wcc *ret_dir)
{
	return nfs3_setattr_decode(call, ret_dir); /* the same results: a wcc_data */
}

int nfs3_rename_decode(const struct call *call, struct nfs3_rename *ret_rename)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_rename, 0, sizeof(*ret_rename));
	get_wcc(&in, &ret_rename->from);
	get_wcc(&in, &ret_rename->to);
	return end(&in, status);
}

int nfs3_link_decode(const struct call *call, struct nfs3_link *ret_link)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_link, 0, sizeof(*ret_link));
	get_post_attr(&in, &ret_link->attr);
	get_wcc(&in, &ret_link->dir);
	return end(&in, status);
}

/* The cookie the call asked to go on from, out of its own bytes: 8 of cookie, 8 of verifier and one
 * or two counts are its last. */
static uint64_t asked_cookie(const struct call *call, bool plus)
{
	uint32_t tail = plus ? 24 : 20;

	return call->head_len > tail ? xdr_load_u64(call->head + call->head_len - tail) : 0;
}

int nfs3_readdir_decode(const struct call *call, bool plus, struct nfs3_page *ret_page)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_page, 0, sizeof(*ret_page));
	ret_page->plus = plus;
	get_post_attr(&in, &ret_page->dir);
	if (!status)
		ret_page->cookieverf = xdr_u64(&in);
	if (!status && !in.bad) {
		ret_page->next = in.next;
		ret_page->left = in.left;
		ret_page->asked = ret_page->last = asked_cookie(call, plus);
	}
	return end(&in, status);
}

static void get_entry(struct xdr_in *in, bool plus, struct nfs3_entry *ret_entry)
{
	ret_entry->fileid = xdr_u64(in);
	ret_entry->name = get_text(in, NFS3_NAME_MAX, "\0/", 2, &ret_entry->name_len);
	ret_entry->cookie = xdr_u64(in);
	if (!plus)
		return;
	get_post_attr(in, &ret_entry->attr);
	ret_entry->has_fh = get_post_fh(in, &ret_entry->fh);
}

/* Cookies are opaque, in no order; but a listing that comes back to where it was never ends. For
 * the same reason a page that is not the last must hold something. */
int nfs3_readdir_next(struct nfs3_page *page, struct nfs3_entry *ret_entry)
{
	struct xdr_in in = { page->next, page->left, false };
	bool more = xdr_bool(&in);

	memset(ret_entry, 0, sizeof(*ret_entry));
	if (more) {
		get_entry(&in, page->plus, ret_entry);
		if (ret_entry->cookie == page->last || ret_entry->cookie == page->asked)
			xdr_fail(&in);
		page->last = ret_entry->cookie;
		page->next = in.next;
	} else {
		page->eof = xdr_bool(&in);
		if (!page->eof && page->last == page->asked)
			xdr_fail(&in);
		in.left = page->left; /* asked again, the same answer */
	}
	if (in.bad) {
		page->left = 0;
		return -EBADMSG;
	}
	page->left = in.left;
	return more;
}

int nfs3_fsstat_decode(const struct call *call, struct nfs3_fsstat *ret_fsstat)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_fsstat, 0, sizeof(*ret_fsstat));
	get_post_attr(&in, &ret_fsstat->attr);
	if (status)
		return end(&in, status);
	ret_fsstat->tbytes = xdr_u64(&in);
	ret_fsstat->fbytes = xdr_u64(&in);
	ret_fsstat->abytes = xdr_u64(&in);
	ret_fsstat->tfiles = xdr_u64(&in);
	ret_fsstat->ffiles = xdr_u64(&in);
	ret_fsstat->afiles = xdr_u64(&in);
	xdr_u32(&in); /* invarsec */
	return end(&in, 0);
}

static uint32_t clamp(uint32_t value, uint32_t min, uint32_t max)
{
	return value < min ? min : value > max ? max : value;
}

/* Largest transfer: whole pages, where there is one. */
static uint32_t sane_max(uint32_t max)
{
	max = clamp(max ? max : TRANSFER_DEFAULT, TRANSFER_MIN, TRANSFER_MAX);
	return max < TRANSFER_MULTIPLE ? max : max - max % TRANSFER_MULTIPLE;
}

static void sane_transfer(uint32_t *max, uint32_t *pref, uint32_t *mult)
{
	*max = sane_max(*max);
	*pref = clamp(*pref ? *pref : *max, TRANSFER_MIN, *max);
	*mult = clamp(*mult ? *mult : TRANSFER_MULTIPLE, 1, *max);
}

static void fsinfo_defaults(struct nfs3_fsinfo *fsinfo)
{
	sane_transfer(&fsinfo->rtmax, &fsinfo->rtpref, &fsinfo->rtmult);
	sane_transfer(&fsinfo->wtmax, &fsinfo->wtpref, &fsinfo->wtmult);
	fsinfo->dtpref = clamp(fsinfo->dtpref, DIRECTORY_MIN, TRANSFER_MAX);
	if (!fsinfo->maxfilesize || fsinfo->maxfilesize > INT64_MAX)
		fsinfo->maxfilesize = INT64_MAX;
}

int nfs3_fsinfo_decode(const struct call *call, struct nfs3_fsinfo *ret_fsinfo)
{
	int status;
	struct xdr_in in = begin(call, &status);
	const uint8_t *at;
	uint32_t properties;

	memset(ret_fsinfo, 0, sizeof(*ret_fsinfo));
	get_post_attr(&in, &ret_fsinfo->attr);
	if (status)
		return end(&in, status);
	ret_fsinfo->rtmax = xdr_u32(&in);
	ret_fsinfo->rtpref = xdr_u32(&in);
	ret_fsinfo->rtmult = xdr_u32(&in);
	ret_fsinfo->wtmax = xdr_u32(&in);
	ret_fsinfo->wtpref = xdr_u32(&in);
	ret_fsinfo->wtmult = xdr_u32(&in);
	ret_fsinfo->dtpref = xdr_u32(&in);
	ret_fsinfo->maxfilesize = xdr_u64(&in);
	at = xdr_take(&in, 8);
	if (at)
		ret_fsinfo->time_delta = load_time(&in, at);
	properties = xdr_u32(&in);
	ret_fsinfo->has_link = properties & FSF3_LINK;
	ret_fsinfo->has_symlink = properties & FSF3_SYMLINK;
	ret_fsinfo->homogeneous = properties & FSF3_HOMOGENEOUS;
	ret_fsinfo->can_settime = properties & FSF3_CANSETTIME;
	fsinfo_defaults(ret_fsinfo);
	return end(&in, 0);
}

int nfs3_pathconf_decode(const struct call *call, struct nfs3_pathconf *ret_pathconf)
{
	int status;
	struct xdr_in in = begin(call, &status);

	memset(ret_pathconf, 0, sizeof(*ret_pathconf));
	get_post_attr(&in, &ret_pathconf->attr);
	if (status)
		return end(&in, status);
	ret_pathconf->linkmax = xdr_u32(&in);
	ret_pathconf->name_max = xdr_u32(&in);
	ret_pathconf->no_trunc = xdr_bool(&in);
	ret_pathconf->chown_restricted = xdr_bool(&in);
	ret_pathconf->case_insensitive = xdr_bool(&in);
	ret_pathconf->case_preserving = xdr_bool(&in);
	return end(&in, 0);
}

int nfs3_error_of(const struct call *call)
{
	uint32_t status;

	if (call->results_len < sizeof(status))
		return -EBADMSG;
	memcpy(&status, call->results, sizeof(status));
	return nfs3_error(ntohl(status));
}
