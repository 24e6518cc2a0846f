/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fusedev - is there FUSE on this host, and may we use it? The device, the helper that mounts for
 * users, and its configuration; what libfuse would only say in words of its own. */
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../conn/util.h"
#include "mountpoint.h"
#include "options.h"
#include "privilege.h"

static const char device[] = "/dev/fuse";
static const char config[] = "/etc/fuse.conf";

static void try_container(struct message *message)
{
	message_try(message, "in a container: --device /dev/fuse --cap-add SYS_ADMIN");
}

static int device_missing(struct message *ret_error)
{
	message_set(ret_error, MSG_FUSE_MISSING, "%s does not exist", device);
	message_try(ret_error, "sudo modprobe fuse");
	try_container(ret_error);
	return -ENOENT;
}

static int device_denied(const struct stat *st, struct message *ret_error)
{
	message_set(ret_error, MSG_FUSE_DENIED, "no permission to open %s", device);
	message_why(ret_error, "its mode is %04o, its owner %u:%u; we are user %u.",
		    st->st_mode & 07777, (unsigned int)st->st_uid, (unsigned int)st->st_gid,
		    (unsigned int)geteuid());
	if ((st->st_mode & 0666) != 0666)
		message_try(ret_error, "sudo chmod 666 %s", device);
	else
		try_container(ret_error); /* a device cgroup or a security module */
	return -EACCES;
}

int mountpoint_check_device(struct message *ret_error)
{
	cleanup(closep) int fd = -1;
	struct stat st;

	if (stat(device, &st))
		return device_missing(ret_error);
	if (!S_ISCHR(st.st_mode)) {
		message_set(ret_error, MSG_FUSE_MISSING, "%s is not a device", device);
		message_try(ret_error, "sudo rm -r %s; sudo mknod -m 666 %s c 10 229", device,
			    device);
		return -ENODEV;
	}
	fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return device_denied(&st, ret_error);
	message_set(ret_error, MSG_FUSE_MISSING, "opening %s failed: %m", device);
	if (errno == ENODEV || errno == ENXIO)
		message_why(ret_error, "the kernel has no FUSE, or its module is not loaded.");
	message_try(ret_error, "sudo modprobe fuse");
	return -ENODEV;
}

/* Where libfuse looks: its own directory, then PATH. */
static bool find_fusermount(void)
{
	static const char name[] = "fusermount3";
	const char *env = getenv("PATH");
	cleanup(freep) char *dirs = NULL;
	char *rest, *dir;

	if (asprintf(&dirs, "/usr/bin:/bin:/usr/local/bin:%s", env ? env : "") < 0)
		return true;
	rest = dirs;
	while ((dir = strsep(&rest, ":"))) {
		char path[1024];

		snprintf(path, sizeof(path), "%s/%s", dir, name);
		if (*dir && access(path, X_OK) == 0)
			return true;
	}
	return false;
}

int mountpoint_check_helper(struct message *ret_error)
{
	if (find_fusermount())
		return 0;
	message_set(ret_error, MSG_FUSERMOUNT_MISSING, "fusermount3 is not installed");
	message_why(ret_error, "user %u needs it to mount.", (unsigned int)geteuid());
	message_try(ret_error, "sudo apt install fuse3");
	return -ENOENT;
}

/* Whether /etc/fuse.conf has the word. One that we cannot read decides later. */
bool mountpoint_user_allow_other(void)
{
	FILE *stream = fopen(config, "re");
	bool found = false;
	char line[256];

	if (!stream)
		return errno != ENOENT;
	while (!found && fgets(line, sizeof(line), stream)) {
		char word[64] = "", extra[2];

		found = sscanf(line, " %63s %1s", word, extra) == 1 &&
			strcmp(word, "user_allow_other") == 0;
	}
	fclose(stream);
	return found;
}

static int check_allow_other(const struct options *options, struct message *ret_error)
{
	if (!options->allow_other || mountpoint_user_allow_other())
		return 0;
	message_set(ret_error, MSG_ALLOW_OTHER_DENIED, "allow_other is not permitted for user %u",
		    (unsigned int)geteuid());
	message_why(ret_error, "%s has no line user_allow_other.", config);
	message_try(ret_error, "echo user_allow_other | sudo tee -a %s", config);
	return -EPERM;
}

int mountpoint_check_fuse(const struct options *options, struct message *ret_error)
{
	int error = mountpoint_check_device(ret_error);

	if (!error && !can_mount()) {
		error = mountpoint_check_helper(ret_error);
		if (!error)
			error = check_allow_other(options, ret_error);
	}
	if (error)
		options_action(options, ret_error);
	return error;
}

/* What is said on stderr meanwhile, up to its first line's end; and all of it there, where it was asked for. */
static int mount_and_listen(struct fuse_session *session, const char *path, bool debug, char *said, size_t size)
{
	cleanup(closep) int memory_fd = memfd_create("fusenfs-stderr", MFD_CLOEXEC);
	cleanup(closep) int stderr_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	bool listen = memory_fd >= 0 && stderr_fd >= 0 && !debug;
	int error = 0;
	ssize_t n;

	said[0] = '\0';
	if (listen)
		dup2(memory_fd, STDERR_FILENO);
	errno = 0;
	if (fuse_session_mount(session, path))
		error = errno ? -errno : -EIO;
	if (!listen)
		return error;
	dup2(stderr_fd, STDERR_FILENO);
	n = pread(memory_fd, said, size - 1, 0);
	said[n > 0 ? n : 0] = '\0';
	said[strcspn(said, "\n")] = '\0';
	return error;
}

static void refused_by_kernel(struct message *ret_error)
{
	message_set(ret_error, MSG_NO_SYS_ADMIN,
		    "the kernel refused mount(2): Operation not permitted");
	message_why(ret_error, "CAP_SYS_ADMIN is %s; /proc/self/status tells it.",
		    has_sys_admin() ? "there, a security module may forbid it" : "missing");
	try_container(ret_error);
	message_try(ret_error, "or have a privileged process mount and pass /dev/fd/N");
}

int mountpoint_mount(struct fuse_session *session, const struct options *options, const struct mountpoint *mountpoint,
		     struct message *ret_error)
{
	char said[256];
	int error = mount_and_listen(session, mountpoint->path, options->debug, said, sizeof(said));

	if (!error)
		return 0;
	errno = -error;
	if (!can_mount()) { /* errno is about what libfuse tried before */
		message_set(ret_error, MSG_FUSE_FAILED, "fusermount3 did not mount on %s", mountpoint->path);
	} else if (error == -EPERM || !has_sys_admin()) {
		refused_by_kernel(ret_error);
		said[0] = '\0';
	} else {
		message_set(ret_error, MSG_FUSE_FAILED, "mounting FUSE on %s failed: %m", mountpoint->path);
	}
	if (said[0])
		message_why(ret_error, "it says: %s", said);
	options_action(options, ret_error);
	return -EIO;
}
