/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount - staged: mount point, device, network (conn/mount.h), connections, export, FUSE. Whatever
 * has been built when a stage fails is taken down in reverse order.
 *
 * Unmounting. After umount(8) the kernel ends the session, and what is still being committed gets
 * umounttimeo. On a signal the data is committed first, within the same bound, then the mount is
 * detached lazily and served until the last user is gone, again within that bound. */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../conn/util.h"
#include "dev.h"
#include "events.h"
#include "export.h"
#include "fs.h"
#include "log.h"
#include "mountpoint.h"
#include "ops.h"
#include "readahead.h"
#include "request.h"
#include "request_table.h"
#include "silly.h"
#include "wback.h"

static const int64_t LAST_CALLS_NS = 500 * NS_PER_MS;
static const int64_t RETRY_NS = 2 * NS_PER_S;

struct mount {
	const struct options *options;
	struct message *error;
	struct mountpoint point;
	struct mount_query query;
	struct mount_result result;
	bool has_result;
	struct fs fs;
	bool has_fs;
	struct fuse_session *session;
	bool mounted;
	int gone_fd;   /* eventfd: the kernel has ended the session */
	int signal_fd;
	int64_t deadline_ns;
};

/* dev.h's on_gone has only the fs to go by. */
static struct mount *mount_of(struct fs *fs)
{
	return container_of(fs, struct mount, fs);
}

static struct message *fail(struct mount *mount, enum message_id id, const char *text)
{
	message_set(mount->error, id, "%s", text);
	options_action(mount->options, mount->error);
	return mount->error;
}

static int fail_system(struct mount *mount, const char *what, int error)
{
	struct message *message = fail(mount, error == -ENOMEM ? MSG_NO_MEMORY : MSG_SYSTEM, what);

	message_why(message, "%s", strerrordesc_np(-error));
	return error;
}

/* ---- stages ------------------------------------------------------------------------------ */

static int stage_mountpoint(struct mount *mount)
{
	int error = mountpoint_check(mount->options, &mount->point, mount->error);

	if (!error && mount->point.fuse_fd < 0)
		error = mountpoint_check_fuse(mount->options, mount->error);
	return error;
}

/* A server that is away may come back; one that says no will not change its mind for us. */
static bool is_worth_retrying(enum mount_failure failure)
{
	switch (failure) {
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
	case MOUNT_NO_MEMORY:
		break;
	}
	return false;
}

static int stage_network(struct mount *mount)
{
	int64_t give_up_ns = clock_ns() + mount->options->retry_ns;
	struct pollfd signal_fd = { .fd = mount->signal_fd, .events = POLLIN };
	int error;

	options_mount_query(mount->options, &mount->query);
	for (;;) {
		mount->deadline_ns = clock_ns() + mount->options->mounttimeo_ns;
		mount->query.deadline_ns = mount->deadline_ns;
		mount->has_result = true;
		error = mount_query_run(&mount->query, &mount->result);
		if (!error || !is_worth_retrying(mount->result.failure) ||
		    clock_ns() + RETRY_NS > give_up_ns ||
		    poll(&signal_fd, 1, (int)(RETRY_NS / NS_PER_MS)) != 0)
			break;
		mount_result_deinit(&mount->result);
		mount->result = (struct mount_result){ 0 };
	}
	if (error)
		message_from_mount_result(mount->options, &mount->query, &mount->result,
					  mount->error);
	return error;
}

static void pool_config_from(const struct mount *mount, const char *service,
			     struct pool_config *ret_config)
{
	const struct options *options = mount->options;

	*ret_config = (struct pool_config){
		.n_connections = options->nconnect,
		.n_loops = options->n_loops,
		.n_addrs = mount->result.n_addrs,
		.host = options->source.host,
		.service = service,
		.family = options->family,
		.resvport = options->resvport,
		.hard = options->down == DOWN_HARD,
		.prog = NFS3_PROGRAM,
		.vers = NFS3_VERSION,
		.transfer_max = MIB(1),
		.window = (uint32_t)options->window,
		.md_connections = options->mdconnect,
		.connect_ns = options->stage_ns,
		.timeo_ns = options->timeo_ns,
		.retrans = options->retrans,
		/* Whoever has waited for the deadline in vain is not to wait for it again. */
		.detect_ns = min_i64(options->detect_ns, options->soft_deadline_ns),
		.event = events_log,
		.userdata = (void *)(uintptr_t)options,
	};
	memcpy(ret_config->addrs, mount->result.addrs, sizeof(ret_config->addrs));
}

static int too_few(struct mount *mount, int error)
{
	struct message *message = mount->error;

	message_set(message, MSG_TOO_FEW_CONNS, "fewer than %u connections to %s came up",
		    mount->options->minconnect, mount->options->source.host);
	options_action(mount->options, message);
	message_why(message, "the first that failed: %s", strerrordesc_np(-error));
	return error;
}

static int stage_connections(struct mount *mount)
{
	static char service[8];
	struct pool_config config;
	struct fhandle root = { .len = mount->result.fh_len };
	struct pool *pool;
	int error;

	snprintf(service, sizeof(service), "%u", mount->result.nfs_port);
	pool_config_from(mount, service, &config);
	error = pool_open(&config, &pool);
	if (error)
		return fail_system(mount, "cannot start", error);
	memcpy(root.data, mount->result.fh, root.len);
	mount->has_fs = true;
	error = fs_init(&mount->fs, mount->options, pool, &root);
	if (error)
		return fail_system(mount, "cannot start", error);
	error = pool_wait_up(pool, mount->options->minconnect, mount->deadline_ns);
	return error ? too_few(mount, error) : 0;
}

static uint16_t local_port(struct mount *mount)
{
	const struct sockaddr_in *sa;
	struct conn_info info;

	pool_conn_info(mount->fs.pool, 0, &info);
	sa = (const struct sockaddr_in *)(const void *)&info.local; /* same place in both families */
	return ntohs(sa->sin_port);
}

static int stage_export(struct mount *mount)
{
	const char *procedure = "";
	struct message *message = mount->error;
	int error = export_probe(&mount->fs, mount->deadline_ns, &procedure);

	if (!error) {
		pool_set_transfer_max(mount->fs.pool, (uint32_t)max_size(mount->fs.rsize,
									 mount->fs.wsize));
		return 0;
	}
	if (error == -EACCES && local_port(mount) > 1023) {
		message_set(message, MSG_ACCESS_DENIED_PORT,
			    "%s refused '%s', maybe for our source port %u",
			    mount->options->source.host, mount->options->source.path,
			    local_port(mount));
		message_try(message, "run as root, or 'insecure' in the server's export");
	} else if (error == -EACCES || error == -EPERM) {
		message_set(message, MSG_ACCESS_DENIED_ROOT,
			    "the root of '%s' may not be used by uid %u",
			    mount->options->source.path, geteuid());
	} else {
		message_set(message, MSG_ROOT_FAILED, "the export's root cannot be read");
	}
	options_action(mount->options, message);
	message_why(message, "%s answered: %s", procedure, strerrordesc_np(-error));
	return error;
}

static int new_session(struct mount *mount)
{
	cleanup(freep) char *fuse_options = options_fuse(mount->options);
	char *argv[] = { (char *)"fusenfs", (char *)"-o", fuse_options, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	if (!fuse_options)
		return -ENOMEM;
	mount->session = fuse_session_new(&args, &fs_ops, sizeof(fs_ops), &mount->fs);
	fuse_opt_free_args(&args);
	mount->fs.session = mount->session;
	return mount->session ? 0 : -EINVAL;
}

/* libfuse and fusermount3 say on stderr what went wrong, in their words; ours follow. */
static int session_mount(struct mount *mount)
{
	cleanup(closep) int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	cleanup(closep) int stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	bool hide = null_fd >= 0 && stderr_fd >= 0 && !mount->options->debug;
	int error = 0;

	if (hide)
		dup2(null_fd, STDERR_FILENO);
	errno = 0;
	if (fuse_session_mount(mount->session, mount->point.path))
		error = errno ? -errno : -EIO;
	if (hide)
		dup2(stderr_fd, STDERR_FILENO);
	return error;
}

static int stage_fuse(struct mount *mount)
{
	int error = new_session(mount);

	if (error)
		return fail_system(mount, "cannot make a FUSE session", error);
	error = session_mount(mount);
	if (error) {
		mountpoint_mount_failed(mount->options, &mount->point, -error, mount->error);
		return -EIO;
	}
	mount->mounted = true;
	error = dev_init_session(mount->session);
	if (!error)
		error = dev_handshake(&mount->fs);
	if (error)
		return fail_system(mount, "the kernel did not accept the FUSE session", error);
	error = readahead_set(mount->point.path, readahead_bytes(mount->options));
	if (error)
		log_debug("kernel read-ahead left as it is: error %d", -error);
	return 0;
}

static void session_gone(struct fs *fs)
{
	eventfd_write(mount_of(fs)->gone_fd, 1);
}

static int stage_serve(struct mount *mount)
{
	int error;

	request_table_start(mount->fs.requests);
	error = devs_open(&mount->fs, session_gone, &mount->fs.devs);

	return error ? fail_system(mount, "cannot serve", error) : 0;
}

/* Signals are read from a descriptor; blocked before there are threads. */
static int open_fds(struct mount *mount)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	mount->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	mount->gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return mount->signal_fd < 0 || mount->gone_fd < 0 ? -errno : 0;
}

/* Memory the kernel needs to write pages back must not wait for pages to be written back. */
static void set_process(void)
{
	struct rlimit files;

#ifdef PR_SET_IO_FLUSHER
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
#endif
	if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur < files.rlim_max) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (chdir("/"))
		log_debug("chdir(\"/\"): error %d", errno);
}

/* Until here a signal just ends the process: there is nothing to undo, and no thread yet. */
static int stage_process(struct mount *mount)
{
	int error = open_fds(mount);

	set_process();
	return error ? fail_system(mount, "cannot start", error) : 0;
}

static int (*const stages[])(struct mount *mount) = {
	stage_mountpoint, stage_network, stage_process, stage_connections,
	stage_export,	  stage_fuse,	 stage_serve,
};

/* ---- serving ----------------------------------------------------------------------------- */

/* True when the kernel has ended the session, false at the deadline or, if signals count, at one. */
static bool wait_gone(struct mount *mount, int64_t deadline_ns, bool signals)
{
	struct pollfd fds[] = {
		{ .fd = mount->gone_fd, .events = POLLIN },
		{ .fd = signals ? mount->signal_fd : -1, .events = POLLIN },
	};
	int timeout = -1;

	for (;;) {
		if (deadline_ns != INT64_MAX)
			timeout = (int)(max_i64(deadline_ns - clock_ns(), 0) / NS_PER_MS);
		if (poll(fds, ARRAY_SIZE(fds), timeout) < 0 && errno != EINTR)
			return false;
		if (fds[0].revents)
			return true;
		if (fds[1].revents || clock_ns() >= deadline_ns)
			return false;
	}
}

static void commit_inode(struct inode *inode, void *arg UNUSED)
{
	wback_commit(inode);
}

/* Until nothing is held that the server may still lose. */
static void drain(struct mount *mount, int64_t deadline_ns)
{
	struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };
	struct fs *fs = &mount->fs;

	inode_table_each(fs->inodes, commit_inode, NULL);
	while (wback_pool_bytes(fs->wback) && clock_ns() < deadline_ns)
		nanosleep(&pause, NULL);
}

static void report_loss(struct mount *mount)
{
	uint64_t bytes = wback_pool_bytes(mount->fs.wback);

	if (bytes)
		log_error(MSG_WRITE_LOST,
			  "data in %llu KiB of buffers, not yet on stable storage of %s, is given up",
			  (unsigned long long)((bytes + 1023) / 1024), mount->options->source.host);
}

/* RELEASE and what it starts (the last REMOVE of a hidden file) come after umount(8) has returned. */
static void settle(struct mount *mount, int64_t deadline_ns)
{
	struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };

	while (request_table_count(mount->fs.requests) && clock_ns() < deadline_ns)
		nanosleep(&pause, NULL);
}

static void unmount_by_signal(struct mount *mount, int64_t deadline_ns)
{
	drain(mount, deadline_ns);
	if (!mountpoint_unmount(mount->point.path))
		mount->mounted = false;
	if (!wait_gone(mount, deadline_ns, false))
		log_info(MSG_NONE, "still in use %.0f s after being unmounted: ending it",
			 (double)mount->options->umounttimeo_ns / 1e9);
}

static void serve(struct mount *mount)
{
	bool gone = wait_gone(mount, INT64_MAX, true);
	int64_t deadline_ns = clock_ns() + mount->options->umounttimeo_ns;

	if (!gone)
		unmount_by_signal(mount, deadline_ns);
	settle(mount, deadline_ns);
	drain(mount, deadline_ns);
	report_loss(mount);
	silly_remove_all(&mount->fs, max_i64(deadline_ns, clock_ns() + LAST_CALLS_NS));
}

/* ---- taking down ------------------------------------------------------------------------- */

static void take_down(struct mount *mount)
{
	if (mount->mounted && !mount->fs.devs && !mountpoint_unmount(mount->point.path))
		mount->mounted = false;
	if (mount->has_fs) {
		wback_close(&mount->fs);
		pool_close(mount->fs.pool);
	}
	devs_close(mount->fs.devs);
	if (mount->mounted)
		fuse_session_unmount(mount->session);
	if (mount->session)
		fuse_session_destroy(mount->session);
	if (mount->has_fs)
		fs_deinit(&mount->fs);
	if (mount->has_result) {
		if (mount->result.fh_len)
			mount_umnt(&mount->query, &mount->result);
		mount_result_deinit(&mount->result);
	}
	mountpoint_deinit(&mount->point);
	closep(&mount->gone_fd);
	closep(&mount->signal_fd);
}

static void format_line(const struct mount *mount, char *line, size_t size)
{
	const struct options *options = mount->options;

	snprintf(line, size, "%s mounted on %s (NFSv3, %u connection%s, rsize %uK, wsize %uK)",
		 options->source.text, mount->point.path, options->nconnect,
		 options->nconnect == 1 ? "" : "s", mount->fs.rsize / 1024,
		 mount->fs.wsize / 1024);
}

int mount_main(const struct options *options, void (*ready)(void *userdata, const char *line),
	       void *userdata, struct message *ret_error)
{
	struct mount *mount = calloc(1, sizeof(*mount));
	char line[1024];
	int error = 0;

	if (!mount) {
		message_set(ret_error, MSG_NO_MEMORY, "not enough memory");
		return EXIT_SYSTEM;
	}
	*mount = (struct mount){ .options = options, .error = ret_error, .gone_fd = -1, .signal_fd = -1 };
	mount->point.fuse_fd = -1;
	mount->deadline_ns = clock_ns() + options->mounttimeo_ns;
	for (unsigned int i = 0; i < ARRAY_SIZE(stages) && !error; i++)
		error = stages[i](mount);
	if (!error) {
		format_line(mount, line, sizeof(line));
		ready(userdata, line);
		serve(mount);
		log_info(MSG_UNMOUNTED, "%s unmounted from %s", options->source.text,
			 mount->point.path);
	}
	take_down(mount);
	free(mount);
	return error ? (int)message_exit_code(ret_error) : EXIT_OK;
}
