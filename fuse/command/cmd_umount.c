/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_umount - fusenfs umount MOUNT [--lazy | --force]: as umount(8), and says what is in the way.
 *
 * In use: by whom, and nothing is done. Data that is not on stable storage: it is saved first, with a line of progress a
 * second; if that gets no further for umounttimeo it stays mounted, and so it does after ^C. --lazy and --force do not
 * wait for either: lazy, users keep what they have open until they are done; forced, the daemon ends in umounttimeo, and
 * what it could not save is named in its log. Then the daemon's end is waited for, which is bounded by umounttimeo. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "client.h"
#include "command.h"
#include "process_name.h"
#include "text.h"
#include "users.h"

enum { LOOK_MS = 100, TIMEO_MAX_S = 3600 };
static const int64_t SAY_NS = 1 * NS_PER_S;
static const int64_t END_NS = 2 * NS_PER_S; /* for the daemon, besides umounttimeo */

struct job {
	const struct command_line *line;
	struct target target;
	pid_t daemon;             /* 0: does not answer */
	int daemon_fd;            /* pidfd; -1: the same, or not the owner's process */
	int64_t timeo_ns;         /* umounttimeo */
	struct message error;
};

/* ---- unsaved data ------------------------------------------------------------------------ */

static void say_unsaved(const struct job *job, const json_t *answer, double bytes)
{
	char text[TEXT_SIZE];

	if (job->line->quiet)
		return;
	text_print(stderr, "fusenfs: %s not yet written to %s, waiting ... [%s]", text_bytes(bytes, text),
		   client_text(answer, "server.host"), message_id_name(MSG_UMOUNT_DIRTY));
}

static int give_up(struct job *job, const json_t *answer, double bytes)
{
	char text[TEXT_SIZE];

	message_set(&job->error, MSG_UNSAVED, "%s not yet written, and server %s is %s", text_bytes(bytes, text),
		    client_text(answer, "server.host"), client_text(answer, "server.state"));
	message_try(&job->error, "fusenfs umount --lazy %s", job->target.mount);
	message_try(&job->error, "fusenfs umount --force %s   # what cannot be saved in %g s is lost", job->target.mount,
		    (double)job->timeo_ns / 1e9);
	return -EBUSY;
}

static int64_t umounttimeo_ns(const json_t *answer)
{
	double seconds = client_number(answer, "umounttimeo_seconds");

	return seconds > 0 ? (int64_t)((seconds < TIMEO_MAX_S ? seconds : TIMEO_MAX_S) * 1e9) : 0;
}

/* 0: all is saved, or nobody can be asked. */
static int save(struct job *job)
{
	double least = -1, bytes;
	int64_t progress_ns = clock_ns(), said_ns = clock_ns();
	json_t *answer;
	int error = 0;

	for (;;) {
		answer = client_ask(&job->target, job->line->ctl, "save", &job->daemon, &job->error);
		if (!answer)
			return job->error.id == MSG_CTL_DENIED && geteuid() != 0 ? -EPERM : 0;
		bytes = client_number(answer, "unsaved_bytes");
		job->timeo_ns = umounttimeo_ns(answer);
		if (least < 0 || bytes < least) {
			least = bytes;
			progress_ns = clock_ns();
		}
		if (bytes <= 0 || job->line->lazy || job->line->force)
			break;
		if (clock_ns() - progress_ns > job->timeo_ns) {
			error = give_up(job, answer, bytes);
			break;
		}
		if (clock_ns() - said_ns >= SAY_NS) {
			say_unsaved(job, answer, bytes);
			said_ns = clock_ns();
		}
		json_decref(answer);
		poll(NULL, 0, LOOK_MS);
	}
	json_decref(answer);
	return error;
}

/* ---- unmounting -------------------------------------------------------------------------- */

static int busy(struct job *job, const char *users)
{
	message_set(&job->error, MSG_UMOUNT_BUSY, "in use%s%.900s", *users ? " by " : "", users);
	message_try(&job->error, "fusenfs umount --lazy %s", job->target.mount);
	return -EBUSY;
}

/* fusermount3 prints what is wrong in its own words. */
static int run_fusermount(const struct job *job)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (!child) {
		int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

		if (null_fd >= 0)
			dup2(null_fd, STDERR_FILENO);
		execlp("fusermount3", "fusermount3", job->line->lazy || job->line->force ? "-uz" : "-u", "--",
		       job->target.mount, (char *)NULL);
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return -ENOENT;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EBUSY;
}

static int detach(const struct job *job)
{
	int flags = UMOUNT_NOFOLLOW | (job->line->lazy || job->line->force ? MNT_DETACH : 0);

	if (geteuid() != 0)
		return run_fusermount(job);
	return umount2(job->target.mount, flags) ? -errno : 0;
}

/* The socket's peer is who began to listen: if that has ended, and another has the socket, the number may be anybody's. */
static void hold_daemon(struct job *job)
{
	if (job->daemon <= 0)
		return;
	job->daemon_fd = (int)syscall(SYS_pidfd_open, job->daemon, 0);
	if (job->daemon_fd < 0 || process_is_of(job->daemon, job->target.owner))
		return;
	close(job->daemon_fd);
	job->daemon_fd = -1;
}

/* Forced: it saves what it can in umounttimeo, then the kernel answers whoever still waits. */
static int end_daemon(const struct job *job)
{
	if (!job->line->force || job->daemon_fd < 0)
		return 0;
	return syscall(SYS_pidfd_send_signal, job->daemon_fd, SIGTERM, NULL, 0) && errno != ESRCH ? -errno : 0;
}

static int unmount(struct job *job)
{
	char users[1024];
	int error;

	if (!job->line->lazy && !job->line->force && users_of(job->target.mount, users, sizeof(users)))
		return busy(job, users);
	error = save(job);
	if (error == -EPERM)
		message_action(&job->error, "unmount %s", job->target.mount);
	if (error)
		return error;
	hold_daemon(job);
	error = end_daemon(job);
	if (!error)
		error = detach(job);
	if (error && job->line->force && !target_is_there(&job->target))
		return 0; /* the daemon was faster */
	if (error == -EBUSY) {
		users_of(job->target.mount, users, sizeof(users));
		return busy(job, users);
	}
	if (error == -ENOENT && geteuid() != 0)
		message_set(&job->error, MSG_FUSERMOUNT_MISSING, "fusermount3 is not installed");
	else if (error)
		message_set(&job->error, MSG_SYSTEM, "%s", strerrordesc_np(-error));
	return error;
}

/* Until then data may be on its way. A lazy one lives as long as it has users. */
static void wait_for_end(const struct job *job)
{
	struct pollfd ended = { .fd = job->daemon_fd, .events = POLLIN };
	int64_t until_ns = clock_ns() + job->timeo_ns + END_NS;

	if (job->line->lazy || job->daemon_fd < 0)
		return;
	while (clock_ns() < until_ns && poll(&ended, 1, LOOK_MS) <= 0)
		continue;
}

int command_umount(const struct command_line *line)
{
	struct job job = { .line = line, .daemon_fd = -1 };
	int status = EXIT_OK;

	if (target_find(line->words[0], &job.target, &job.error)) {
		message_action(&job.error, "unmount %s", line->words[0]);
		return command_fail(line, &job.error);
	}
	if (unmount(&job)) {
		message_action(&job.error, "unmount %s", job.target.mount);
		status = command_fail(line, &job.error);
	} else {
		wait_for_end(&job);
	}
	closep(&job.daemon_fd);
	target_deinit(&job.target);
	return status;
}
