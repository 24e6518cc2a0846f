/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bench_file - from "nas:/data/dir/file" to a file handle: which part of it is the export, MNT, LOOKUP of the rest; for
 * writing, a file of our own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "../exports.h"
#include "../udp.h"
#include "bench.h"

#define QUERY_NS (10 * NS_PER_S)
#define OTHER_NS (2 * NS_PER_S)  /* for another address to prove that it is the server */
#define CALLS_NS (10 * NS_PER_S)
enum { TRANSFER_MAX = 1 << 20, TRANSFER_DEFAULT = 64 * 1024 };

static int no_memory(struct message *error)
{
	message_set(error, MSG_NO_MEMORY, "out of memory");
	return -ENOMEM;
}

/* ---- the export -------------------------------------------------------------------------- */

/* The innermost of the list that has the path; without one, the directory. */
static int choose_export(struct bench_file *file)
{
	const char *path = file->options->source.path;
	struct mount_query query = file->query;
	struct mount_result list = { 0 };
	const struct mount_export *found;

	query.deadline_ns = clock_ns() + QUERY_NS;
	mount_exports(&query, &list);
	found = exports_find(&list, path);
	if (found)
		file->export_path = strdup(found->path);
	else if (file->write || !strrchr(path, '/') || strrchr(path, '/') == path)
		file->export_path = strdup(file->write ? path : "/");
	else
		file->export_path = strndup(path, (size_t)(strrchr(path, '/') - path));
	mount_result_deinit(&list);
	if (!file->export_path)
		return -ENOMEM;
	file->rest = path + min_size(strlen(file->export_path), strlen(path));
	file->query.path = file->export_path;
	return 0;
}

static int mount_export(struct bench_file *file, struct message *error)
{
	file->query.deadline_ns = clock_ns() + QUERY_NS;
	if (!mount_query_run(&file->query, &file->result))
		return 0;
	message_from_mount_result(file->options, &file->query, &file->result, error);
	return -EIO;
}

/* The addresses that a mount would use: those with the same root. */
static void add_address(struct bench_file *file, const struct pool_addr *addr)
{
	struct mount_query query = file->query;
	struct mount_result result = { 0 };
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < file->n_addrs; i++)
		if (addr_same_host(&file->addrs[i].sa, &addr->sa))
			return;
	query.address = addr_text(&addr->sa, text);
	query.family = addr->sa.ss_family;
	query.deadline_ns = clock_ns() + OTHER_NS;
	if (file->n_addrs < POOL_MAX_ADDRS && !mount_is_elsewhere(&query) && !mount_query_run(&query, &result) &&
	    result.fh_len == file->result.fh_len && !memcmp(result.fh, file->result.fh, result.fh_len))
		file->addrs[file->n_addrs++] = result.addrs[0];
	mount_result_deinit(&result);
}

static void add_addresses(struct bench_file *file)
{
	const struct options *options = file->options;

	file->addrs[0] = file->result.addrs[0];
	file->n_addrs = 1;
	for (unsigned int i = 0; i < options->n_addrs; i++)
		add_address(file, &options->addrs[i]);
	for (unsigned int i = 1; i < file->result.n_addrs && options->dns == DNS_ALL; i++)
		add_address(file, &file->result.addrs[i]);
}

/* ---- the file ---------------------------------------------------------------------------- */

static int failed(struct message *error, int number, const char *what)
{
	message_set(error, MSG_BENCH_FAILED, "%s: %s", what, strerrordesc_np(-number));
	return number;
}

static int learn_transfer(struct bench_file *file, struct session *session)
{
	uint32_t asked = file->write ? file->options->wsize : file->options->rsize, most, datagram;
	struct nfs3_fsinfo info;
	int error = session_run(session, nfs3_fsinfo_encode(session_call(session), &session->cred, &session->root));

	if (!error)
		error = nfs3_fsinfo_decode(&session->call, &info);
	if (error)
		return error;
	most = file->write ? info.wtmax : info.rtmax;
	file->transfer = (uint32_t)min_size(min_size(most ? most : TRANSFER_DEFAULT, TRANSFER_MAX), asked ? asked : TRANSFER_MAX);
	datagram = pool_datagram_max(session->pool);
	if (datagram)
		file->transfer = (uint32_t)min_size(file->transfer, udp_fits(datagram));
	return file->transfer ? 0 : -EMSGSIZE;
}

static int create(struct bench_file *file, struct session *session)
{
	struct setattr set = { .set = SET_MODE, .mode = 0600 };
	struct nfs3_object object;
	int error;

	snprintf(file->name, sizeof(file->name), ".fusenfs-bench-%d-%llx", (int)getpid(),
		 (unsigned long long)clock_ns());
	error = session_run(session, nfs3_create_encode(session_call(session), &session->cred, &file->dir, file->name,
							NFS3_GUARDED, &set, 0));
	if (!error)
		error = nfs3_create_decode(&session->call, &object);
	if (!error && !object.has_fh)
		error = -ENOENT;
	if (error) {
		if (!session->call.ambiguous)
			file->name[0] = '\0';
		return error;
	}
	file->fh = object.fh;
	file->size = BENCH_WRITE_SIZE;
	return 0;
}

static int check_file(struct bench_file *file, const struct attr *attr, struct message *error)
{
	const char *what = S_ISLNK(attr->mode) ? "it is a symbolic link" : S_ISDIR(attr->mode) ? "it is a directory" :
									   "it is no regular file";

	if (!S_ISREG(attr->mode)) {
		message_set(error, MSG_BENCH_FAILED, "%s", what);
		message_try(error, S_ISDIR(attr->mode) ? "a large file in it, or --write" : "the path of a regular file");
		return -EISDIR;
	}
	if (!attr->size) {
		message_set(error, MSG_BENCH_FAILED, "it is empty");
		message_try(error, "a larger file: 64 MiB are enough, for it is read again and again");
		return -ENODATA;
	}
	file->size = attr->size;
	return 0;
}

static int check_directory(const struct attr *attr, struct message *error)
{
	if (S_ISDIR(attr->mode))
		return 0;
	message_set(error, MSG_BENCH_FAILED, "--write wants a directory");
	return -ENOTDIR;
}

static int find_file(struct bench_file *file, struct session *session, struct message *error)
{
	struct attr attr;
	int result = learn_transfer(file, session);

	if (result)
		return failed(error, result, "FSINFO");
	result = session_lookup(session, file->rest, file->write ? &file->dir : &file->fh, &attr);
	if (result == -ENOENT) {
		message_set(error, MSG_BENCH_FAILED, "there is no such file in the export '%s'", file->export_path);
		return result;
	}
	if (result)
		return failed(error, result, "LOOKUP");
	if (!file->write)
		return check_file(file, &attr, error);
	result = check_directory(&attr, error);
	if (!result && (result = create(file, session)))
		failed(error, result, "no file can be made there");
	return result;
}

static int open_session(struct bench_file *file, struct session *session)
{
	return session_open(session, file->options, &file->result, file->addrs, file->n_addrs, 1, clock_ns() + CALLS_NS);
}

int bench_file_find(struct bench_file *file, const struct options *options, bool write, struct message *ret_error)
{
	struct session session;
	int error;

	*file = (struct bench_file){ .options = options, .write = write };
	options_mount_query(options, &file->query);
	if (choose_export(file))
		return no_memory(ret_error);
	error = mount_export(file, ret_error);
	if (error)
		return error;
	add_addresses(file);
	error = open_session(file, &session);
	error = error ? failed(ret_error, error, "no connection") : find_file(file, &session, ret_error);
	session_close(&session);
	return error;
}

static bool remove_file(struct bench_file *file)
{
	struct session session;
	struct wcc wcc;
	int error = open_session(file, &session);

	if (!error)
		error = session_run(&session, nfs3_remove_encode(session_call(&session), &session.cred, &file->dir, file->name));
	if (!error)
		error = nfs3_remove_decode(&session.call, &wcc);
	session_close(&session);
	return !error || error == -ENOENT;
}

bool bench_file_close(struct bench_file *file)
{
	bool removed = !file->name[0] || remove_file(file);

	mount_result_deinit(&file->result);
	free(file->export_path);
	file->export_path = NULL;
	return removed;
}
