/* SPDX-License-Identifier: GPL-2.0-or-later */
/* find - see find.h. */
#include "find.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "../conn/util.h"
#include "lock.h"
#include "log.h"
#include "notify.h"
#include "offline.h"
#include "udp.h"

static const int64_t QUICK_NS = 1 * NS_PER_S;
static const int64_t SLICE_NS = 100 * NS_PER_MS;
/* Between attempts in the background: short at first, when somebody may be waiting. */
static const int64_t PAUSE_NS = 1 * NS_PER_S;
static const int64_t PAUSE_LONG_NS = 10 * NS_PER_S;
static const int64_t PAUSE_SHORT_UNTIL_NS = 120 * NS_PER_S;

void find_init(struct find *find, const struct options *options, struct fs *fs,
	       struct message *error)
{
	find->options = options;
	find->fs = fs;
	find->error = error;
	find->probe.done_fd = -1;
	options_mount_query(options, &find->query);
}

void find_deinit(struct find *find)
{
	mount_result_deinit(&find->result);
	export_probe_deinit(&find->probe);
}

struct fhandle find_root_fh(const struct find *find)
{
	struct fhandle fh = { .len = find->result.fh_len };

	memcpy(fh.data, find->result.fh, fh.len);
	return fh;
}

/* ---- the server -------------------------------------------------------------------------- */

int find_server(struct find *find)
{
	int error;

	mount_result_deinit(&find->result);
	find->query.deadline_ns = find->deadline_ns;
	find->query.cancel_fd = find->cancel_fd;
	error = mount_query_run(&find->query, &find->result);
	if (error && find->result.failure == MOUNT_CANCELLED)
		error = -ECANCELED;
	if (error)
		message_from_mount_result(find->options, &find->query, &find->result, find->error);
	else
		snprintf(find->service, sizeof(find->service), "%u", find->result.nfs_port);
	return error;
}

/* A server that is away may come back; one that says no will not change its mind for us. */
bool find_is_worth_retrying(const struct find *find)
{
	switch (find->result.failure) {
	case MOUNT_DNS_FAILED:
	case MOUNT_DNS_TIMEOUT:
	case MOUNT_CONN_REFUSED:
	case MOUNT_CONN_TIMEOUT:
	case MOUNT_NET_UNREACHABLE:
	case MOUNT_CONN_ERROR:
	case MOUNT_NFS_TIMEOUT:
	case MOUNT_RPCBIND_REFUSED:
	case MOUNT_MOUNTD_MISSING:
	case MOUNT_MOUNTD_REFUSED:
	case MOUNT_MOUNTD_TIMEOUT:
	case MOUNT_DEADLINE:
		return true;
	case MOUNT_OK:
	case MOUNT_NOT_NFS:
	case MOUNT_VERSION_UNSUPPORTED:
	case MOUNT_MOUNTD_BAD_REPLY:
	case MOUNT_EXPORT_NOT_FOUND:
	case MOUNT_ACCESS_DENIED:
	case MOUNT_NOT_DIRECTORY:
	case MOUNT_MOUNTD_ERROR:
	case MOUNT_AUTH_FLAVOR:
	case MOUNT_OTHER_SERVER:
	case MOUNT_CANCELLED:
	case MOUNT_NO_MEMORY:
		break;
	}
	return false;
}

/* ---- connections ------------------------------------------------------------------------- */

/* Signalled already, or within so long. */
static bool is_cancelled(const struct find *find, int64_t wait_ns)
{
	struct pollfd cancel = { .fd = find->cancel_fd > 0 ? find->cancel_fd : -1,
				 .events = POLLIN };

	return poll(&cancel, 1, (int)(wait_ns / NS_PER_MS)) > 0;
}

static int too_few(struct find *find, int error)
{
	struct message *message = find->error;
	const struct options *options = find->options;
	char text[ADDR_TEXT_MAX];

	message_set(message, MSG_TOO_FEW_CONNS, "fewer than %u connection%s to %s came up",
		    options->minconnect, options->minconnect == 1 ? "" : "s",
		    options->source.host);
	options_action(options, message);
	message_why(message, "the first that failed: %s.", strerrordesc_np(-error));
	message_try(message, "nc -zv %s %s", addr_text(&find->result.addrs[0].sa, text), find->service);
	return error;
}

int find_connections(struct find *find)
{
	int64_t now_ns;
	int error;

	do {
		now_ns = clock_ns();
		error = pool_wait_up(find->fs->pool, find->options->minconnect,
				     min_i64(find->deadline_ns, now_ns + SLICE_NS));
		if (error && is_cancelled(find, 0))
			return -ECANCELED;
		/* A dial that timed out is not the end of the slice. */
		if (error == -ETIMEDOUT && clock_ns() < now_ns + SLICE_NS &&
		    is_cancelled(find, now_ns + SLICE_NS - clock_ns()))
			return -ECANCELED;
	} while (error == -ETIMEDOUT && clock_ns() < find->deadline_ns);
	return error ? too_few(find, error) : 0;
}

/* ---- the export -------------------------------------------------------------------------- */

/* Of any connection that there is: all are bound in the same way. */
static uint16_t local_port(const struct find *find)
{
	const struct sockaddr_in *sa;
	struct conn_info info;
	uint16_t port = 0;

	for (unsigned int i = 0; i < find->options->nconnect && !port; i++) {
		pool_conn_info(find->fs->pool, i, &info);
		sa = (const struct sockaddr_in *)(const void *)&info.local; /* in both families */
		port = ntohs(sa->sin_port);
	}
	return port;
}

static int root_failed(struct find *find, const char *procedure, int error)
{
	const struct source *source = &find->options->source;
	struct message *message = find->error;

	if (error == -EACCES && local_port(find) > 1023) {
		message_set(message, MSG_ACCESS_DENIED_PORT,
			    "%s refused '%s', maybe for our source port %u", source->host,
			    source->path, local_port(find));
		message_try(message, "run as root, or 'insecure' in the server's export");
	} else if (error == -EACCES || error == -EPERM) {
		message_set(message, MSG_ACCESS_DENIED_ROOT,
			    "the root of '%s' may not be used by uid %u", source->path, geteuid());
	} else {
		message_set(message, MSG_ROOT_FAILED, "the export's root cannot be read");
	}
	options_action(find->options, message);
	if (error == -ETIMEDOUT || error == -EHOSTDOWN) {
		message_why(message, "%s was sent to %s, which did not answer in time.", procedure,
			    source->host);
		message_try(message, "rpcinfo -n %s -t %s nfs 3", find->service, source->host);
	} else {
		message_why(message, "%s answered: %s", procedure, strerrordesc_np(-error));
	}
	return error;
}

int find_export(struct find *find, bool negotiated)
{
	struct fs *fs = find->fs;
	const char *procedure = "";
	int error = 0;

	error = udp_check(fs, find->error);
	if (error)
		return error;
	if (find->probe.done_fd < 0)
		error = export_probe_init(&find->probe, fs, find->cancel_fd);
	if (!error)
		error = export_learn(fs, &find->probe, find->deadline_ns, negotiated, &procedure);
	if (error == -ECANCELED)
		return error;
	if (error)
		return root_failed(find, procedure, error);
	find->query.nfs_transport = find->result.nfs_transport; /* from now on */
	pool_set_transfer_max(fs->pool, (uint32_t)max_size(fs->rsize, fs->wsize));
	udp_limit(fs);
	return 0;
}

void find_locks(struct find *find)
{
	find->query.cancel_fd = find->cancel_fd;
	locks_find(find->fs->locks, &find->query, &find->result.addrs[0]);
}

/* ---- in the background ------------------------------------------------------------------- */

static int set_root(struct find *find)
{
	struct fhandle fh = find_root_fh(find);
	int error = 0;

	if (!fhandle_equal(inode_fh(find->fs->root), &fh))
		error = inode_table_set_root(find->fs->inodes, &fh);
	if (error)
		message_set(find->error, MSG_NO_MEMORY, "out of memory");
	return error;
}

static int attempt(struct find *find)
{
	int error = find_server(find);

	if (error)
		return error;
	pool_set_addresses(find->fs->pool, find->result.addrs, 1);
	error = find_connections(find);
	if (!error)
		error = set_root(find);
	if (!error)
		error = find_export(find, true);
	if (error)
		return error;
	fs_set_found(find->fs);
	offline_end(find->fs);
	return 0;
}

int find_quickly(struct find *find, char *ret_problem, size_t size)
{
	int error;

	find->deadline_ns = clock_ns() + min_i64(QUICK_NS, find->options->mounttimeo_ns);
	error = attempt(find);
	if (error && clock_ns() >= find->deadline_ns)
		snprintf(ret_problem, size, "%s does not answer yet", find->options->source.host);
	else if (error)
		snprintf(ret_problem, size, "%s [%s]", find->error->reason,
			 message_id_name(find->error->id));
	return error;
}

static void tell_cause(const struct find *find)
{
	log_warn(find->error->id, "still trying to %s: %s", find->error->action,
		 find->error->reason);
	log_advice(find->error);
	notify_status("still trying to %s: %s", find->error->action, find->error->reason);
}

static int64_t pause_ns(int64_t since_ns, int64_t now_ns)
{
	return now_ns - since_ns < PAUSE_SHORT_UNTIL_NS ? PAUSE_NS : PAUSE_LONG_NS;
}

int find_in_background(struct find *find)
{
	int64_t since_ns = clock_ns(), until_ns = since_ns + find->options->retry_ns;
	bool told[MSG_COUNT] = { false };

	for (;;) {
		int64_t now_ns = clock_ns();
		int error;

		find->deadline_ns = min_i64(now_ns + find->options->mounttimeo_ns,
					    max_i64(until_ns, now_ns + QUICK_NS));
		error = attempt(find);
		if (!error)
			log_info(MSG_SERVER_OK, "nfs: server %s OK (found after %.1f s)",
				 find->options->source.host,
				 (double)(clock_ns() - since_ns) / 1e9);
		if (!error || error == -ECANCELED)
			return error;
		if (!told[find->error->id])
			tell_cause(find);
		told[find->error->id] = true;
		now_ns = clock_ns();
		if (now_ns + PAUSE_NS > until_ns)
			return error;
		if (is_cancelled(find, min_i64(pause_ns(since_ns, now_ns), until_ns - now_ns)))
			return -ECANCELED;
	}
}

/* ---- another root handle ----------------------------------------------------------------- */

static int check_root(struct find *find, const struct fhandle *fh, struct attr *ret_attr)
{
	int error = 0;

	if (find->probe.done_fd < 0)
		error = export_probe_init(&find->probe, find->fs, find->cancel_fd);
	if (!error)
		error = export_root_attr(find->fs, &find->probe, fh, find->deadline_ns, ret_attr);
	return error;
}

void find_root_again(struct find *find)
{
	const struct source *source = &find->options->source;
	struct fs *fs = find->fs;
	struct fhandle fh;
	struct attr attr;
	int error;

	find->deadline_ns = clock_ns() + find->options->mounttimeo_ns;
	/* ESTALE may have been about a name that was just going, or about the caller's directory. */
	fh = *inode_fh(fs->root);
	if (!check_root(find, &fh, &attr))
		return;
	find->deadline_ns = clock_ns() + find->options->mounttimeo_ns;
	error = find_server(find);
	fh = find_root_fh(find);
	if (error) {
		if (error != -ECANCELED)
			log_warn(MSG_STALE_HANDLE,
				 "the root of %s is stale, and asking for it again failed: %s",
				 source->text, find->error->reason);
		return;
	}
	if (fhandle_equal(inode_fh(fs->root), &fh)) {
		log_warn(MSG_STALE_HANDLE, "the root of %s is stale, and the server gives no other",
			 source->text);
		return;
	}
	error = check_root(find, &fh, &attr);
	if (!error)
		error = inode_table_set_root(fs->inodes, &fh);
	if (error) {
		log_warn(MSG_STALE_HANDLE, "the root of %s is stale, and so is another: %s",
			 source->text, strerrordesc_np(-error));
		return;
	}
	attr_expire(fs->root);
	offline_end(fs);
	log_info(MSG_STALE_HANDLE,
		 "%s has given the root of %s a new handle: it is used from now on",
		 source->host, source->text);
}
