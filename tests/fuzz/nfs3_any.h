/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nfs3_any - every decoder of nfs3.h behind one function, for the fuzzer and for the truncation
 * test: decodes, then reads all that the result points to and checks what nfs3.h promises of it. */
#ifndef FUZZ_NFS3_ANY_H
#define FUZZ_NFS3_ANY_H

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "../../fuse/nfs3.h"

/* Procedure numbers of RFC 1813, without libnfs's header. */
enum nfs3_proc {
	ANY_GETATTR = 1,
	ANY_SETATTR,
	ANY_LOOKUP,
	ANY_ACCESS,
	ANY_READLINK,
	ANY_READ,
	ANY_WRITE,
	ANY_CREATE,
	ANY_MKDIR,
	ANY_SYMLINK,
	ANY_MKNOD,
	ANY_REMOVE,
	ANY_RMDIR,
	ANY_RENAME,
	ANY_LINK,
	ANY_READDIR,
	ANY_READDIRPLUS,
	ANY_FSSTAT,
	ANY_FSINFO,
	ANY_PATHCONF,
	ANY_COMMIT,
};

static void check_bytes(const struct call *call, const void *at, uint32_t len)
{
	volatile uint8_t sum = 0;
	const uint8_t *bytes = at;

	assert(bytes >= call->results && bytes + len <= call->results + call->results_len);
	for (uint32_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + bytes[i]);
}

static void check_time(struct timespec time)
{
	assert(time.tv_sec >= 0 && time.tv_sec <= UINT32_MAX);
	assert(time.tv_nsec >= 0 && time.tv_nsec < 1000000000);
}

static void check_attr(const struct post_attr *attr)
{
	struct stat st;

	if (!attr->valid)
		return;
	assert(attr->attr.mode & S_IFMT);
	check_time(attr->attr.atime);
	check_time(attr->attr.mtime);
	check_time(attr->attr.ctime);
	attr_to_stat(&attr->attr, 65536, &st);
	assert(st.st_size >= 0 && st.st_blocks >= 0);
}

static void check_wcc(const struct wcc *wcc)
{
	if (wcc->before_valid) {
		check_time(wcc->before_mtime);
		check_time(wcc->before_ctime);
	}
	check_attr(&wcc->after);
}

static void check_object(const struct nfs3_object *object)
{
	if (object->has_fh)
		assert(object->fh.len >= 1 && object->fh.len <= NFS3_FHSIZE);
	check_attr(&object->attr);
	check_wcc(&object->dir);
}

static int any_read(const struct call *call, uint32_t asked)
{
	struct nfs3_read read;
	uint32_t head_len, count;
	int error = nfs3_read_decode(call, asked, &read);
	int placed = nfs3_read_place(call->results, call->results_len, asked, &head_len, &count);

	if (placed > 0)
		assert(head_len <= call->results_len && count <= asked);
	if (error)
		return error;
	check_attr(&read.attr);
	assert(placed == 1 && count == read.count && read.count <= asked);
	assert((const uint8_t *)read.data == call->results + head_len);
	check_bytes(call, read.data, read.count);
	return 0;
}

static int any_readdir(const struct call *call, bool plus)
{
	struct nfs3_page page;
	struct nfs3_entry entry;
	uint32_t bytes = 0;
	int more, error = nfs3_readdir_decode(call, plus, &page);

	if (error)
		return error;
	check_attr(&page.dir);
	while ((more = nfs3_readdir_next(&page, &entry)) > 0) {
		assert(entry.name_len >= 1 && entry.name_len <= NFS3_NAME_MAX);
		assert(!memchr(entry.name, '/', entry.name_len));
		assert(!memchr(entry.name, 0, entry.name_len));
		check_bytes(call, entry.name, entry.name_len);
		check_attr(&entry.attr);
		assert(!entry.has_fh || (entry.fh.len >= 1 && entry.fh.len <= NFS3_FHSIZE));
		bytes += 24 + entry.name_len;
		assert(bytes <= call->results_len);
	}
	assert(nfs3_readdir_next(&page, &entry) == more);
	return more;
}

/* nfs3_any_decode - the decoder of proc on call->results; 0, -errno or -EBADMSG. */
static int nfs3_any_decode(unsigned int proc, const struct call *call, uint32_t asked)
{
	union {
		struct attr attr;
		struct wcc wcc;
		struct nfs3_object object;
		struct nfs3_access access;
		struct nfs3_readlink link;
		struct nfs3_write write;
		struct nfs3_commit commit;
		struct nfs3_rename rename;
		struct nfs3_link hard;
		struct nfs3_fsstat fsstat;
		struct nfs3_fsinfo fsinfo;
		struct nfs3_pathconf pathconf;
	} as;
	int error;

	memset(&as, 0xa5, sizeof(as));
	switch (proc) {
	case ANY_GETATTR:
		error = nfs3_getattr_decode(call, &as.attr);
		if (!error)
			check_attr(&(struct post_attr){ true, as.attr });
		return error;
	case ANY_SETATTR:
		error = nfs3_setattr_decode(call, &as.wcc);
		check_wcc(&as.wcc);
		return error;
	case ANY_LOOKUP:
		error = nfs3_lookup_decode(call, &as.object);
		check_object(&as.object);
		assert(error || as.object.has_fh);
		return error;
	case ANY_ACCESS:
		error = nfs3_access_decode(call, &as.access);
		check_attr(&as.access.attr);
		return error;
	case ANY_READLINK:
		error = nfs3_readlink_decode(call, &as.link);
		check_attr(&as.link.attr);
		if (!error) {
			assert(as.link.target_len >= 1 && as.link.target_len <= NFS3_PATH_MAX);
			assert(!memchr(as.link.target, 0, as.link.target_len));
			check_bytes(call, as.link.target, as.link.target_len);
		}
		return error;
	case ANY_READ:
		return any_read(call, asked);
	case ANY_WRITE:
		error = nfs3_write_decode(call, asked, &as.write);
		check_wcc(&as.write.wcc);
		assert(error || (as.write.count <= asked && as.write.committed <= NFS3_FILE_SYNC));
		return error;
	case ANY_CREATE:
	case ANY_MKDIR:
	case ANY_SYMLINK:
	case ANY_MKNOD:
		error = nfs3_create_decode(call, &as.object);
		check_object(&as.object);
		return error;
	case ANY_REMOVE:
	case ANY_RMDIR:
		error = nfs3_remove_decode(call, &as.wcc);
		check_wcc(&as.wcc);
		return error;
	case ANY_RENAME:
		error = nfs3_rename_decode(call, &as.rename);
		check_wcc(&as.rename.from);
		check_wcc(&as.rename.to);
		return error;
	case ANY_LINK:
		error = nfs3_link_decode(call, &as.hard);
		check_attr(&as.hard.attr);
		check_wcc(&as.hard.dir);
		return error;
	case ANY_READDIR:
	case ANY_READDIRPLUS:
		return any_readdir(call, proc == ANY_READDIRPLUS);
	case ANY_FSSTAT:
		error = nfs3_fsstat_decode(call, &as.fsstat);
		check_attr(&as.fsstat.attr);
		return error;
	case ANY_FSINFO:
		error = nfs3_fsinfo_decode(call, &as.fsinfo);
		check_attr(&as.fsinfo.attr);
		if (!error) {
			assert(as.fsinfo.rtmax >= 1024 && as.fsinfo.rtmax <= 1048576);
			assert(as.fsinfo.wtmax >= 1024 && as.fsinfo.wtmax <= 1048576);
			assert(as.fsinfo.rtpref && as.fsinfo.rtpref <= as.fsinfo.rtmax);
			assert(as.fsinfo.wtpref && as.fsinfo.wtpref <= as.fsinfo.wtmax);
			assert(as.fsinfo.dtpref >= 65536 && as.fsinfo.dtpref <= 1048576);
			assert(as.fsinfo.rtmult && as.fsinfo.wtmult && as.fsinfo.maxfilesize);
		}
		return error;
	case ANY_PATHCONF:
		error = nfs3_pathconf_decode(call, &as.pathconf);
		check_attr(&as.pathconf.attr);
		return error;
	case ANY_COMMIT:
		error = nfs3_commit_decode(call, &as.commit);
		check_wcc(&as.commit.wcc);
		return error;
	default:
		return -EINVAL;
	}
}

#endif
