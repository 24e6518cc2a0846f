/* SPDX-License-Identifier: GPL-2.0-or-later */
/* main - words to options, then a mount in the foreground or in a child of its own.
 *
 * It stays in the foreground with -f, as process 1 (a container), and for a service manager that wants to be told
 * ($NOTIFY_SOCKET); mount(8)'s helper only as process 1, for what has mount(8) run it waits for its end.
 *
 * As a daemon the child does everything, and the parent waits for one line through a pipe: the child
 * tells when it is mounted, or its exit status why not. Errors go to the terminal's stderr until
 * then, to syslog afterwards, unless --log-format says otherwise. */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <limits.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../conn/util.h"
#include "command/command.h"
#include "log.h"
#include "message.h"
#include "message_manual.h"
#include "mount.h"
#include "notify.h"
#include "options.h"
#include "remount.h"

static int print_version(void)
{
	struct utsname system = { 0 };

	uname(&system);
	printf("fusenfs %s\nlibfuse %s, Linux %s\n", FUSENFS_VERSION, fuse_pkgversion(),
	       system.release);
	return EXIT_OK;
}

/* Large buffers are buffer.c's. What is left is small, and shall not stay behind after a burst. */
static void tune_allocator(void)
{
	mallopt(M_MMAP_THRESHOLD, (int)KIB(256));
	mallopt(M_TRIM_THRESHOLD, (int)MIB(2));
	mallopt(M_TOP_PAD, (int)KIB(256));
}

static int report_failure(const struct options *options, const struct message *error, int status)
{
	log_report(error, options->quiet);
	return status;
}

/* ---- in the foreground ------------------------------------------------------------------- */

static void ready_foreground(void *userdata UNUSED, const char *line)
{
	log_info(MSG_MOUNTED, "%s", line);
	notify_ready(line);
}

static void end_of_process_1(int number UNUSED)
{
	_exit(EXIT_INTERRUPTED);
}

/* The kernel keeps signals without a handler from process 1, but they are to end what is not mounted yet; later
 * they are blocked, and read (mount.c). */
static void be_process_1(void)
{
	const struct sigaction action = { .sa_handler = end_of_process_1 };

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

static int run_foreground(const struct options *options)
{
	struct message error;
	int status;

	if (getpid() == 1)
		be_process_1();
	notify_open();
	options_log_notes(options);
	status = mount_main(options, ready_foreground, NULL, &error);
	return status ? report_failure(options, &error, status) : EXIT_OK;
}

/* ---- as a daemon ------------------------------------------------------------------------- */

static void redirect_to_null(bool also_stderr)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	if (also_stderr)
		dup2(fd, STDERR_FILENO);
	close(fd);
}

struct daemon {
	const struct options *options;
	int pipe_fd; /* -1: the command was told, there is no terminal any more */
};

/* A session of its own only now: by its process group autofs knows who mounts for systemd, and does not make it wait
 * for the mount like everybody else who looks at the directory. */
static void ready_daemon(void *userdata, const char *line)
{
	struct daemon *daemon = userdata;
	bool keep_stderr;

	prctl(PR_SET_PDEATHSIG, 0);
	setsid();
	keep_stderr = log_detach(daemon->options->log_format);
	log_info(MSG_MOUNTED, "%s", line);
	if (write(daemon->pipe_fd, line, strlen(line)) < 0)
		kill(getpid(), SIGTERM); /* the command was interrupted: unmount again */
	redirect_to_null(!keep_stderr);
	close(daemon->pipe_fd);
	daemon->pipe_fd = -1;
}

static int run_child(const struct options *options, int pipe_fd)
{
	struct daemon daemon = { options, pipe_fd };
	struct message error;
	int status;

	prctl(PR_SET_PDEATHSIG, SIGTERM); /* until mounted: an interrupted command mounts nothing */
	options_log_notes(options);
	status = mount_main(options, ready_daemon, &daemon, &error);
	if (!status)
		return EXIT_OK;
	if (daemon.pipe_fd >= 0)
		return report_failure(options, &error, status);
	log_message(&error); /* there is no terminal any more */
	log_advice(&error);
	return status;
}

/* The child's line, or its exit status. */
static int wait_for_child(const struct options *options, pid_t child, int pipe_fd)
{
	char line[1024];
	ssize_t n;
	int status;

	do
		n = read(pipe_fd, line, sizeof(line) - 1);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		line[n] = '\0';
		if (options->helper ? options->verbose : !options->quiet)
			printf("%s\n", line);
		return EXIT_OK;
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return EXIT_SYSTEM;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_BUG;
}

static int run_daemon(const struct options *options)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC)) {
		fprintf(stderr, "fusenfs: cannot make a pipe: %m\n");
		return EXIT_SYSTEM;
	}
	fflush(NULL);
	child = fork();
	if (child < 0) {
		fprintf(stderr, "fusenfs: cannot fork: %m\n");
		return EXIT_SYSTEM;
	}
	if (child == 0) {
		close(fds[0]);
		exit(run_child(options, fds[1]));
	}
	close(fds[1]);
	return wait_for_child(options, child, fds[0]);
}

static int run_remount(const struct options *options)
{
	struct message error;

	if (remount_main(options, &error))
		return report_failure(options, &error, (int)message_exit_code(&error));
	return EXIT_OK;
}

/* mount -N: a process that has them, or a file such as /proc/1/ns/mnt. */
static int enter_namespace(const struct options *options)
{
	char path[PATH_MAX];
	int fd, result;

	if (!options->mount_ns)
		return EXIT_OK;
	snprintf(path, sizeof(path), strchr(options->mount_ns, '/') ? "%s" : "/proc/%s/ns/mnt",
		 options->mount_ns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	result = fd < 0 ? -1 : setns(fd, CLONE_NEWNS);
	if (result)
		fprintf(stderr, "mount.fusenfs: cannot enter the mount namespace %s: %m\n", path);
	if (fd >= 0)
		close(fd);
	return result ? EXIT_SYSTEM : EXIT_OK;
}

static bool stays_in_foreground(const struct options *options)
{
	return options->foreground || getpid() == 1 || (!options->helper && notify_is_wanted());
}

static int run_mount(const struct options *options)
{
	int status = enter_namespace(options);

	if (status)
		return status;
	if (options->remount)
		return options->fake ? EXIT_OK : run_remount(options);
	if (options->fake)
		return EXIT_OK;
	log_set_mount(options->source.text, options->mountpoint);
	return stays_in_foreground(options) ? run_foreground(options) : run_daemon(options);
}

static int run(const struct options *options)
{
	switch (options->command) {
	case COMMAND_MANUAL_OPTIONS:
		options_print_manual(stdout);
		return EXIT_OK;
	case COMMAND_CATALOG:
		message_print_catalog(stdout);
		return EXIT_OK;
	case COMMAND_MANUAL_ERRORS:
		message_print_manual(stdout);
		return EXIT_OK;
	case COMMAND_HELP:
		options_print_help(stdout);
		return EXIT_OK;
	case COMMAND_HELP_OPTIONS:
		options_print_table(stdout);
		return EXIT_OK;
	case COMMAND_HELP_ERRORS:
		if (options->help_id == MSG_NONE)
			message_print_catalogue(stdout);
		else
			message_print_help(options->help_id, stdout);
		return EXIT_OK;
	case COMMAND_HELP_COMPLETION:
		options_print_completion(stdout);
		command_print_completion(stdout);
		return EXIT_OK;
	case COMMAND_VERSION:
		return print_version();
	case COMMAND_FSTAB:
		options_print_fstab(options, stdout);
		return EXIT_OK;
	case COMMAND_UNIT:
		return options_print_unit(options, stdout) ? EXIT_SYSTEM : EXIT_OK;
	case COMMAND_MOUNT:
		break;
	}
	log_set_level(options->log_level);
	return run_mount(options);
}

int main(int argc, char **argv)
{
	struct options options = { 0 };
	struct message error;
	int status;

	tune_allocator();
	if (argc > 1 && !options_is_helper(argv[0]) && command_find(argv[1]))
		return command_run(argc, argv);
	if (argc == 3 && !options_is_helper(argv[0]) && !strcmp(argv[1], "help") && command_find(argv[2]))
		return command_help(argv[2]);
	status = options_parse(argc, argv, &options, &error);
	log_start(options.log_format);
	if (status)
		return report_failure(&options, &error, (int)message_exit_code(&error));
	status = run(&options);
	options_deinit(&options);
	return status;
}
