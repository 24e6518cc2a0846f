/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountpoint - from the facts that mountprobe.c gathered to a verdict, in the order in which a
 * person would want to hear of them; and what to do about a dead mount of ours. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../conn/util.h"
#include "log.h"
#include "mountpoint.h"
#include "mountprobe.h"
#include "options.h"
#include "privilege.h"

enum { MAX_STALE = 16 };

/* ---- unmounting -------------------------------------------------------------------------- */

static void exec_fusermount(const char *path)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
	}
	execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", path, (char *)NULL);
	_exit(127);
}

static int unmount_by_fusermount(const char *path)
{
	const struct timespec pause = { .tv_nsec = 10 * NS_PER_MS };
	int64_t until_ns = clock_ns() + PROBE_LIMIT_MS * NS_PER_MS;
	pid_t child = fork();
	int status;

	if (child < 0)
		return -errno;
	if (child == 0)
		exec_fusermount(path);
	while (waitpid(child, &status, WNOHANG) == 0) {
		if (clock_ns() >= until_ns)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

int mountpoint_unmount(const char *path)
{
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return unmount_by_fusermount(path);
}

/* ---- verdicts ---------------------------------------------------------------------------- */

static const char *type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "a regular file";
	case S_IFCHR: return "a character device";
	case S_IFBLK: return "a block device";
	case S_IFIFO: return "a named pipe";
	case S_IFSOCK: return "a socket";
	default: return "not a directory";
	}
}

static int verdict_timeout(const struct probe *probe, const char *typed, struct message *ret_error)
{
	message_set(ret_error, MSG_MOUNTPOINT_TIMEOUT, "looking at %s took longer than %d s", typed,
		    PROBE_LIMIT_MS / 1000);
	message_why(ret_error, "a file system on the way may not answer; resolved so far: %s.",
		    probe->path);
	message_try(ret_error, "findmnt -T %s", probe->path);
	return -ETIMEDOUT;
}

static int verdict_unreachable(const struct probe *probe, const char *typed,
			       struct message *ret_error)
{
	char quoted[MESSAGE_TEXT_MAX];

	message_quote(typed, quoted, sizeof(quoted));
	switch (probe->error) {
	case ENOENT:
		message_set(ret_error, MSG_MOUNTPOINT_MISSING, "%s does not exist", typed);
		message_try(ret_error, "mkdir -p %s", quoted);
		break;
	case ENOTDIR:
		message_set(ret_error, MSG_MOUNTPOINT_NOT_DIR,
			    "a component of %s is not a directory", typed);
		break;
	case EACCES:
		message_set(ret_error, MSG_MOUNTPOINT_DENIED, "user %u may not enter %s",
			    (unsigned int)geteuid(), typed);
		break;
	case ENOTCONN:
		message_set(ret_error, MSG_MOUNTPOINT_MISSING,
			    "%s is below a FUSE mount whose daemon is gone", typed);
		message_try(ret_error, "findmnt -T %s", quoted);
		break;
	default:
		errno = probe->error;
		message_set(ret_error, MSG_MOUNTPOINT_MISSING, "%s cannot be reached: %m", typed);
		break;
	}
	return -probe->error;
}

static int verdict_mounted(const struct options *options, const struct probe *probe,
			   struct message *ret_error)
{
	char target[MESSAGE_TEXT_MAX], source[MESSAGE_TEXT_MAX];

	if (options->overmount || strcmp(probe->mount.type, "autofs") == 0)
		return 0;
	message_quote(options->mountpoint, target, sizeof(target));
	message_quote(options->source.text, source, sizeof(source));
	if (probe_is_fusenfs(probe) && strcmp(probe->mount.source, options->fsname) == 0) {
		message_set(ret_error, MSG_ALREADY_MOUNTED, "%s is already mounted here",
			    probe->mount.source);
		if (probe->stage != PROBE_DONE)
			message_why(ret_error, "that mount did not answer within %d s.",
				    PROBE_ALIVE_MS / 1000);
		message_try(ret_error, "fusermount3 -u %s", target);
		return -EBUSY;
	}
	message_set(ret_error, MSG_MOUNTPOINT_BUSY, "%s is the mount point of %s %s", probe->path,
		    probe->mount.type, probe->mount.source);
	message_try(ret_error, "fusenfs %s %s -o overmount", source, target);
	return -EBUSY;
}

/* The rules of fusermount3 (check_perm() in its source), checked early to be explained. */
static int verdict_permission(const struct probe *probe, struct message *ret_error)
{
	unsigned int uid = geteuid();
	bool sticky = (probe->mode & S_ISVTX) && probe->owner != uid;
	char quoted[MESSAGE_TEXT_MAX];

	if (can_mount() || (probe->writable && !sticky))
		return 0;
	message_set(ret_error, MSG_MOUNTPOINT_DENIED, "user %u may not mount on %s", uid,
		    probe->path);
	message_why(ret_error, "its owner is user %u and its mode %04o; fusermount3 wants a %s.",
		    (unsigned int)probe->owner, probe->mode & 07777,
		    sticky ? "sticky directory to be one's own" : "writable directory");
	message_try(ret_error, "sudo chown %u %s", uid,
		    message_quote(probe->path, quoted, sizeof(quoted)));
	return -EACCES;
}

static int verdict_empty(const struct options *options, const struct probe *probe,
			 struct message *ret_error)
{
	bool more = probe->n_entries > PROBE_MAX_ENTRIES;
	char target[MESSAGE_TEXT_MAX], source[MESSAGE_TEXT_MAX];

	if (options->nonempty || !probe->n_entries)
		return 0;
	if (options->helper) { /* as mount(8) does, but not without a word */
		log_warn(MSG_MOUNTPOINT_NOT_EMPTY, "%s is not empty: what it contains is hidden", probe->path);
		return 0;
	}
	message_set(ret_error, MSG_MOUNTPOINT_NOT_EMPTY, "%s contains %s%u %s that would be hidden",
		    probe->path, more ? "more than " : "",
		    more ? PROBE_MAX_ENTRIES : probe->n_entries,
		    probe->n_entries == 1 ? "entry" : "entries");
	message_try(ret_error, "fusenfs %s %s -o nonempty",
		    message_quote(options->source.text, source, sizeof(source)),
		    message_quote(options->mountpoint, target, sizeof(target)));
	return -ENOTEMPTY;
}

static int verdict(const struct options *options, const struct probe *probe,
		   struct message *ret_error)
{
	int error;

	if (probe->mount.type[0])
		return verdict_mounted(options, probe, ret_error);
	if (probe->stage != PROBE_DONE)
		return verdict_timeout(probe, options->mountpoint, ret_error);
	if (probe->error)
		return verdict_unreachable(probe, options->mountpoint, ret_error);
	if (!S_ISDIR(probe->mode)) {
		message_set(ret_error, MSG_MOUNTPOINT_NOT_DIR, "%s is %s", probe->path,
			    type_name(probe->mode));
		return -ENOTDIR;
	}
	error = verdict_permission(probe, ret_error);
	if (!error)
		error = verdict_empty(options, probe, ret_error);
	return error;
}

/* ---- the check --------------------------------------------------------------------------- */

static bool is_stale(const struct probe *probe)
{
	return probe->stage == PROBE_DONE && probe_is_fusenfs(probe) && probe->error == ENOTCONN;
}

static int remove_stale(const struct probe *probe, struct message *ret_error)
{
	int error = mountpoint_unmount(probe->path);
	char quoted[MESSAGE_TEXT_MAX];
	struct message notice;

	if (!error) {
		message_set(&notice, MSG_STALE_MOUNT,
			    "found a dead fusenfs mount on %s, unmounted it", probe->path);
		log_message(&notice);
		return 0;
	}
	message_set(ret_error, MSG_MOUNTPOINT_BUSY, "%s is a dead mount of %s", probe->path,
		    probe->mount.source);
	errno = -error;
	message_why(ret_error, "unmounting it failed: %m.");
	message_try(ret_error, "sudo umount -l %s",
		    message_quote(probe->path, quoted, sizeof(quoted)));
	return error;
}

/* "/dev/fd/N": 1 and N, or 0. */
static int fuse_fd_number(const char *path, int *ret_fd)
{
	static const char prefix[] = "/dev/fd/";
	const char *digits = path + sizeof(prefix) - 1;
	unsigned long fd;
	char *end;

	if (strncmp(path, prefix, sizeof(prefix) - 1) != 0 || *digits < '0' || *digits > '9')
		return 0;
	errno = 0;
	fd = strtoul(digits, &end, 10);
	if (*end || errno || fd > INT_MAX)
		return 0;
	*ret_fd = (int)fd;
	return 1;
}

static int check_fuse_fd(const char *typed, int fd, struct message *ret_error)
{
	struct stat st;

	if (fstat(fd, &st)) {
		message_set(ret_error, MSG_MOUNTPOINT_MISSING, "%s is not an open descriptor",
			    typed);
		return -EBADF;
	}
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(10, 229)) {
		message_set(ret_error, MSG_MOUNTPOINT_NOT_DIR,
			    "%s is not a descriptor of /dev/fuse", typed);
		return -EINVAL;
	}
	fcntl(fd, F_SETFD, FD_CLOEXEC); /* a child that had it would keep the mount alive */
	return 0;
}

static int check_directory(const struct options *options, char *path, struct message *ret_error)
{
	for (int i = 0; i < MAX_STALE; i++) {
		cleanup(probe_freep) struct probe *probe = probe_new();
		int error = probe ? probe_fork(probe, options->mountpoint) : -ENOMEM;

		if (error) {
			errno = -error;
			message_set(ret_error, MSG_SYSTEM, "cannot look at %s: %m",
				    options->mountpoint);
			return error;
		}
		if (!is_stale(probe)) {
			strcpy(path, probe->path);
			return verdict(options, probe, ret_error);
		}
		error = remove_stale(probe, ret_error);
		if (error)
			return error;
	}
	message_set(ret_error, MSG_MOUNTPOINT_BUSY, "%s has more than %d dead mounts on it",
		    options->mountpoint, MAX_STALE);
	return -EBUSY;
}

int mountpoint_check(const struct options *options, struct mountpoint *ret_mountpoint,
		     struct message *ret_error)
{
	struct mountpoint mountpoint = { .fuse_fd = -1 };
	char path[PATH_MAX] = "";
	int error;

	if (fuse_fd_number(options->mountpoint, &mountpoint.fuse_fd)) {
		snprintf(path, sizeof(path), "%s", options->mountpoint);
		error = check_fuse_fd(path, mountpoint.fuse_fd, ret_error);
	} else {
		error = check_directory(options, path, ret_error);
	}
	if (!error) {
		mountpoint.path = strdup(path);
		if (!mountpoint.path) {
			message_set(ret_error, MSG_NO_MEMORY, "out of memory");
			error = -ENOMEM;
		}
	}
	if (error) {
		options_action(options, ret_error);
		return error;
	}
	*ret_mountpoint = mountpoint;
	return 0;
}

void mountpoint_deinit(struct mountpoint *mountpoint)
{
	free(mountpoint->path);
	mountpoint->path = NULL;
}
