/* SPDX-License-Identifier: GPL-2.0-or-later */
/* listener - see listener.h. */
#include "listener.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "../mountpoint.h"

enum { BACKLOG = 8 };

/* Nothing but a socket is taken away: ctl= may be a mistake. */
static int remove_old(const char *path)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode) && !S_ISLNK(st.st_mode))
		return -EEXIST;
	return unlink(path) ? -errno : 0;
}

static int bind_to(struct listener *listener, const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct stat st;
	int error;

	if (strlen(path) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0)
		return -errno;
	error = remove_old(path);
	/* The mode of the socket becomes that of its name: nobody can be faster than a chmod(2), nor put a link there
	 * for it to follow. */
	if (!error && (fchmod(listener->fd, 0600) || bind(listener->fd, (struct sockaddr *)&name, sizeof(name))))
		error = -errno;
	if (error)
		return error;
	snprintf(listener->path, sizeof(listener->path), "%s", path);
	if (lstat(path, &st) || listen(listener->fd, BACKLOG))
		return -errno;
	listener->inode = st.st_ino;
	return 0;
}

/* The mount is not walked to; of a descriptor that was inherited nobody knows where it is mounted. */
static int usual_place(const char *point, char path[PLACE_SIZE])
{
	char directory[PLACE_SIZE];
	struct mount_entry entry;
	int error = mountpoint_lookup(point, &entry);

	if (!error && !entry.type[0])
		error = -ENOENT;
	if (!error)
		error = place_make(directory);
	return error ? error : place_socket(directory, entry.major, entry.minor, path);
}

int listener_open(struct listener *listener, const char *point, const char *ctl)
{
	char usual[PLACE_SIZE];
	int error = usual_place(point, usual);

	*listener = (struct listener){ .fd = -1 };
	if (!ctl)
		return error ? error : bind_to(listener, usual);
	if (!error && !remove_old(usual) && !symlink(ctl, usual))
		snprintf(listener->link, sizeof(listener->link), "%s", usual);
	return bind_to(listener, ctl);
}

void listener_close(struct listener *listener)
{
	struct stat st;
	char target[PLACE_SIZE] = "";

	if (listener->path[0] && !lstat(listener->path, &st) && st.st_ino == listener->inode)
		unlink(listener->path);
	if (listener->link[0] && readlink(listener->link, target, sizeof(target) - 1) > 0 &&
	    !strcmp(target, listener->path))
		unlink(listener->link);
	listener->path[0] = listener->link[0] = '\0';
	closep(&listener->fd);
	listener->fd = -1;
}
