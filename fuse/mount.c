/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount - staged: mount point, device, network (find.h), connections, export, FUSE. Whatever has been
 * built when a stage fails is taken down in reverse order.
 *
 * With bg FUSE comes before the network: the mount point is live at once, nobody writes into the
 * directory below it, and offline.h answers until the main thread has found the server. There is no
 * second process.
 *
 * The main thread serves nothing. It waits for the end, or looks for the server, or for its root when
 * that has become stale; stop_fd, which is readable when a signal has come or the kernel has ended the
 * session, ends all of that. Then unmount.h. */
#include "mount.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "../conn/util.h"
#include "addresses.h"
#include "control/control.h"
#include "dev.h"
#include "events.h"
#include "find.h"
#include "fs.h"
#include "fusectl.h"
#include "lock.h"
#include "log.h"
#include "mountpoint.h"
#include "notify.h"
#include "ops.h"
#include "pages.h"
#include "process.h"
#include "prefetch.h"
#include "readahead.h"
#include "request_table.h"
#include "runfile.h"
#include "udp.h"
#include "unmount.h"
#include "watchdog.h"
#include "wback.h"

static const int TRIM_MS = 10000; /* of quiet */
static const int64_t LOCKS_BACK_NS = 1 * NS_PER_S;
static const int64_t RETRY_NS = 2 * NS_PER_S;
static const int64_t MANAGER_SLACK_NS = 10 * NS_PER_S; /* beyond the bounds that we know */

struct mount {
	struct options own_options; /* live ones change */
	const struct options *options; /* these */
	struct message *error;
	struct mountpoint point;
	struct find find;
	struct fs fs;
	bool has_fs;
	int64_t call_limit_ns;
	struct fuse_session *session;
	bool mounted;
	int gone_fd;       /* eventfd: the kernel has ended the session */
	int signal_fd;
	int children_fd;   /* process_children_fd() */
	int stop_fd;       /* epoll: one of these two */
	int root_stale_fd; /* eventfd: fs_root_is_stale() */
	struct fusectl fusectl;
	_Atomic(struct addresses *) addresses; /* once found */
	char *runfile;
	struct control *control;
	struct watchdog *watchdog;
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

/* Nothing is mounted yet and no thread was started: a signal just ends the process. */
static int stage_network(struct mount *mount)
{
	int64_t give_up_ns = clock_ns() + mount->options->retry_ns;
	struct find *find = &mount->find;
	int error;

	notify_status("looking for server %s", mount->options->source.host);
	for (;;) {
		notify_extend(mount->options->mounttimeo_ns + MANAGER_SLACK_NS);
		find->deadline_ns = clock_ns() + mount->options->mounttimeo_ns;
		error = find_server(find);
		if (!error || !find_is_worth_retrying(find) || clock_ns() + RETRY_NS > give_up_ns)
			return error;
		notify_status("trying again: %s", mount->error->reason);
		poll(NULL, 0, (int)(RETRY_NS / NS_PER_MS));
	}
}

static void pool_event(void *userdata, const struct pool_event *event)
{
	struct mount *mount = userdata;

	events_log(mount->options, event);
	if (event->type == POOL_DATAGRAM_MAX && fs_is_found(&mount->fs))
		udp_limit(&mount->fs);
	if (event->type == POOL_PATH_LOST)
		addresses_lost(atomic_load(&mount->addresses), &event->remote);
}

/* The address that answered, to begin with; the others have to prove themselves (addresses.h). With bg there
 * is none yet. */
static void pool_config_from(struct mount *mount, struct pool_config *ret_config)
{
	const struct options *options = mount->options;
	const struct mount_result *result = &mount->find.result;

	options_pool_config(options, ret_config);
	options_tune_config(options, ret_config);
	ret_config->n_loops = options->n_loops;
	ret_config->n_addrs = result->n_addrs ? 1 : 0;
	ret_config->prog = NFS3_PROGRAM;
	ret_config->vers = NFS3_VERSION;
	ret_config->transfer_max = MIB(1);
	ret_config->udp_fragments = options->udpfrag;
	ret_config->srcport_low = options->srcport_low;
	ret_config->srcport_high = options->srcport_high;
	ret_config->event = pool_event;
	ret_config->userdata = mount;
	memcpy(ret_config->addrs, result->addrs, sizeof(ret_config->addrs));
}

static int stage_pool(struct mount *mount)
{
	struct fhandle root = find_root_fh(&mount->find);
	struct pool_config config;
	struct pool *pool;
	int error;

	pool_config_from(mount, &config);
	error = pool_open(&config, &pool);
	if (error)
		return fail_system(mount, "cannot start", error);
	error = watchdog_start(pool, &mount->watchdog);
	if (error) {
		pool_close(pool);
		return fail_system(mount, "cannot start", error);
	}
	mount->has_fs = true;
	error = fs_init(&mount->fs, mount->options, pool, &root);
	mount->fs.call_limit_ns = mount->call_limit_ns;
	mount->fs.root_stale_fd = mount->root_stale_fd;
	export_guess(&mount->fs);
	if (!error && (mount->options->nlm_posix || mount->options->nlm_flock))
		error = locks_open(&mount->fs, &mount->fs.locks);
	return error ? fail_system(mount, "cannot start", error) : 0;
}

static int stage_export(struct mount *mount)
{
	int error;

	mount->find.cancel_fd = mount->stop_fd;
	error = find_connections(&mount->find);
	if (!error)
		error = find_export(&mount->find, false);
	if (!error)
		fs_set_found(&mount->fs);
	if (error == -ECANCELED)
		fail(mount, MSG_INTERRUPTED, "interrupted");
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

static void session_gone(struct fs *fs)
{
	eventfd_write(mount_of(fs)->gone_fd, 1);
}

/* Where an inherited descriptor is mounted is not known, perhaps nowhere that could be seen from here. */
static void set_readahead(struct mount *mount)
{
	int error = -ENOENT;

	if (mount->point.fuse_fd < 0)
		error = readahead_set(mount->point.path, readahead_bytes(mount->options));
	if (error)
		log_debug("kernel read-ahead left as it is: error %d", -error);
	prefetch_enable(mount->fs.prefetch, error && mount->options->readahead != 0);
}

static int stage_fuse(struct mount *mount)
{
	int error = new_session(mount);

	if (error)
		return fail_system(mount, "cannot make a FUSE session", error);
	error = mountpoint_mount(mount->session, mount->options, &mount->point, mount->error);
	if (error)
		return error;
	mount->mounted = mount->point.fuse_fd < 0;
	error = dev_init_session(mount->session);
	if (!error)
		error = dev_handshake(&mount->fs);
	if (error == -ENODEV) { /* somebody was quick to unmount it: no failure, and the end */
		session_gone(&mount->fs);
		error = 0;
	}
	if (error)
		return fail_system(mount, "the kernel did not accept the FUSE session", error);
	if (mount->point.fuse_fd < 0)
		fusectl_open(&mount->fusectl, mount->point.path);
	pages_guard(mount->fs.pages, mount->fusectl.abort_fd);
	set_readahead(mount);
	return 0;
}

static int stage_serve(struct mount *mount)
{
	int error;

	request_table_start(mount->fs.requests);
	error = devs_open(&mount->fs, session_gone, &mount->fs.devs);

	return error ? fail_system(mount, "cannot serve", error) : 0;
}

static int watch_for_stop(const struct mount *mount, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return fd < 0 || epoll_ctl(mount->stop_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

/* Signals are read from a descriptor; blocked before there are threads. */
static int open_fds(struct mount *mount)
{
	sigset_t set;
	int error;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	mount->children_fd = process_children_fd();
	mount->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	mount->gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mount->root_stale_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mount->stop_fd = epoll_create1(EPOLL_CLOEXEC);
	if (mount->root_stale_fd < 0 || mount->stop_fd < 0)
		return -errno;
	error = watch_for_stop(mount, mount->signal_fd);
	return error ? error : watch_for_stop(mount, mount->gone_fd);
}

/* Until here a signal just ends the process: there is nothing to undo, and no thread yet. */
static int stage_process(struct mount *mount)
{
	int error = open_fds(mount);

	process_protect();
	mount->call_limit_ns = process_call_limit_ns();
	return error ? fail_system(mount, "cannot start", error) : 0;
}

typedef int stage_function(struct mount *mount);

static stage_function *const fg_stages[] = {
	stage_mountpoint, stage_network, stage_process, stage_pool,
	stage_export,	  stage_fuse,	 stage_serve,   NULL,
};

static stage_function *const bg_stages[] = {
	stage_mountpoint, stage_process, stage_pool, stage_fuse, stage_serve, NULL,
};

static int run_stages(struct mount *mount)
{
	stage_function *const *stage = mount->options->bg ? bg_stages : fg_stages;
	int error = 0;

	while (!error && *stage)
		error = (*stage++)(mount);
	return error;
}

/* ---- serving ----------------------------------------------------------------------------- */

static void format_line(const struct mount *mount, const char *problem, char *line, size_t size)
{
	const struct options *options = mount->options;
	const char *source = options->source.text, *path = mount->point.path;

	if (*problem)
		snprintf(line, size, "%s mounted on %s, but %s; trying for %g minutes more", source,
			 path, problem, (double)options->retry_ns / 60e9);
	else
		snprintf(line, size, "%s mounted on %s (NFSv3%s, %u connection%s, rsize %gK, wsize %gK)",
			 source, path, mount->find.result.nfs_transport == MOUNT_UDP ? " over UDP" : "",
			 options->nconnect, options->nconnect == 1 ? "" : "s", mount->fs.rsize / 1024.0,
			 mount->fs.wsize / 1024.0);
}

static bool is_readable(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };

	return poll(&ready, 1, 0) > 0;
}

/* Until there is a signal, or the kernel has ended the session. */
static void wait_for_stop(struct mount *mount)
{
	struct pollfd fds[] = {
		{ .fd = mount->stop_fd, .events = POLLIN },
		{ .fd = mount->root_stale_fd, .events = POLLIN },
		{ .fd = locks_want_fd(mount->fs.locks), .events = POLLIN },
		{ .fd = mount->children_fd, .events = POLLIN },
	};
	eventfd_t count;

	for (;;) {
		int n = poll(fds, ARRAY_SIZE(fds), TRIM_MS);

		if (n < 0) {
			if (errno != EINTR)
				return;
			continue;
		}
		if (!n)
			process_trim();
		if (fds[0].revents)
			return;
		if (fds[1].revents) {
			eventfd_read(mount->root_stale_fd, &count);
			find_root_again(&mount->find);
			addresses_check(atomic_load(&mount->addresses));
		}
		if (fds[3].revents)
			process_reap(mount->children_fd);
		if (fds[2].revents)
			find_locks(&mount->find);
	}
}

static void start_addresses(struct mount *mount)
{
	struct addresses *addresses;
	int error = addresses_start(&mount->fs, &mount->find, &addresses);

	if (error)
		log_warn(MSG_SYSTEM, "other addresses of the server are not used: %s",
			 strerrordesc_np(-error));
	atomic_store(&mount->addresses, addresses);
}

/* 0, or -errno with a message when bg has given up. */
static int serve(struct mount *mount)
{
	struct unmount unmount = {
		.fs = &mount->fs,
		.path = mount->point.fuse_fd < 0 ? mount->point.path : NULL,
		.gone_fd = mount->gone_fd,
		.fusectl = &mount->fusectl,
	};
	char line[1024];
	int error = 0;

	if (!fs_is_found(&mount->fs)) {
		error = find_in_background(&mount->find);
		format_line(mount, "", line, sizeof(line));
		if (!error)
			log_info(MSG_MOUNTED, "%s", line);
	}
	if (!error) {
		start_addresses(mount);
		locks_begin(mount->fs.locks);
		wait_for_stop(mount);
		addresses_stop(atomic_load(&mount->addresses));
	}
	locks_stop_looking(mount->fs.locks);
	control_ending(mount->control);
	runfile_remove(steal(&mount->runfile));
	notify_stopping("unmounting");
	notify_extend(mount->options->umounttimeo_ns + MANAGER_SLACK_NS);
	if (unmount_run(&unmount, is_readable(mount->gone_fd)))
		mount->mounted = false;
	return error == -ECANCELED ? 0 : error;
}

/* bg: an interrupted command mounts nothing. */
static int get_ready(struct mount *mount, char *line, size_t size)
{
	char problem[MESSAGE_TEXT_MAX + 64] = "";
	int error = 0;

	if (mount->options->bg) {
		mount->find.cancel_fd = mount->stop_fd;
		error = find_quickly(&mount->find, problem, sizeof(problem));
	}
	if (error == -ECANCELED) {
		fail(mount, MSG_INTERRUPTED, "interrupted");
		return error;
	}
	format_line(mount, problem, line, size);
	return 0;
}

/* ---- taking down ------------------------------------------------------------------------- */

static bool is_over(struct fuse_session *session)
{
	struct pollfd fd = { .fd = fuse_session_fd(session) };

	return fd.fd >= 0 && poll(&fd, 1, 0) > 0 && fd.revents & POLLERR;
}

/* False: a thread is left that the kernel does not let go of. What it uses stays, until the process ends. */
static bool take_down(struct mount *mount)
{
	bool is_quiet, answers = !mount->has_fs || pool_server_state(mount->fs.pool) == SERVER_UP;

	runfile_remove(steal(&mount->runfile));
	control_stop(steal(&mount->control));
	if (mount->mounted && !mountpoint_unmount(mount->point.path))
		mount->mounted = false;
	if (mount->has_fs) {
		wback_close(&mount->fs);
		locks_close(mount->fs.locks, min_i64(LOCKS_BACK_NS, mount->options->umounttimeo_ns));
		pool_close(mount->fs.pool);
		watchdog_free(mount->watchdog);
		addresses_free(atomic_load(&mount->addresses));
	}
	dev_fall_silent(); /* what is left of lock calls ends in locks_free() */
	/* It also frees what fuse_session_mount() made; but once the mount is detached, it must see that
	 * the kernel has ended the session, or it would unmount whatever is there now. */
	if (mount->session && (mount->mounted || is_over(mount->session)))
		fuse_session_unmount(mount->session);
	is_quiet = !mount->has_fs || pages_free(mount->fs.pages);
	if (mount->has_fs && is_quiet)
		locks_free(mount->fs.locks);
	devs_close(mount->fs.devs);
	if (mount->session && is_quiet)
		fuse_session_destroy(mount->session);
	if (mount->has_fs && is_quiet)
		fs_deinit(&mount->fs);
	if (mount->find.result.fh_len && answers)
		mount_umnt(&mount->find.query, &mount->find.result);
	find_deinit(&mount->find);
	mountpoint_deinit(&mount->point);
	fusectl_close(&mount->fusectl);
	closep(&mount->root_stale_fd);
	closep(&mount->stop_fd);
	closep(&mount->gone_fd);
	closep(&mount->signal_fd);
	closep(&mount->children_fd);
	return is_quiet;
}

/* Before anybody is told that it is mounted. */
static void open_to_commands(struct mount *mount)
{
	if (mount->point.fuse_fd < 0)
		mount->runfile = runfile_write(mount->options, mount->point.path);
	mount->control = control_start(&mount->fs, &mount->own_options, mount->point.path);
}

static struct mount *mount_new(const struct options *options, struct message *error)
{
	struct mount *mount = calloc(1, sizeof(*mount));

	if (!mount)
		return NULL;
	mount->own_options = *options;
	mount->options = options = &mount->own_options;
	mount->error = error;
	mount->point.fuse_fd = mount->gone_fd = mount->signal_fd = mount->stop_fd = mount->children_fd = -1;
	mount->root_stale_fd = mount->fusectl.abort_fd = -1;
	mount->call_limit_ns = INT64_MAX;
	find_init(&mount->find, options, &mount->fs, error);
	return mount;
}

int mount_main(const struct options *options, void (*ready)(void *userdata, const char *line),
	       void *userdata, struct message *ret_error)
{
	struct mount *mount = mount_new(options, ret_error);
	char line[MESSAGE_TEXT_MAX * 2];
	int error;

	if (!mount) {
		message_set(ret_error, MSG_NO_MEMORY, "out of memory");
		options_action(options, ret_error);
		return EXIT_SYSTEM;
	}
	error = run_stages(mount);
	if (!error)
		open_to_commands(mount);
	if (!error)
		error = get_ready(mount, line, sizeof(line));
	if (!error) {
		ready(userdata, line);
		error = serve(mount);
		log_info(MSG_UNMOUNTED, "%s unmounted from %s", options->source.text,
			 mount->point.path);
	}
	if (take_down(mount))
		free(mount);
	return error ? (int)message_exit_code(ret_error) : EXIT_OK;
}
