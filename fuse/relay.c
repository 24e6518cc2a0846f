/* SPDX-License-Identifier: GPL-2.0-or-later */
/* relay - see relay.h. */
#include "relay.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../conn/util.h"

enum { ANSWER_MS = 250, BACKLOG = 8 };

static const char PREFIX[] = "nlm-", SUFFIX[] = ".sock";

static int address_of(const char *oh, struct sockaddr_un *ret_sa)
{
	*ret_sa = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (snprintf(ret_sa->sun_path, sizeof(ret_sa->sun_path), RUN_DIRECTORY "/%s%s%s", PREFIX,
		     oh, SUFFIX) >= (int)sizeof(ret_sa->sun_path))
		return -ENAMETOOLONG;
	return 0;
}

int relay_listen(const char *oh)
{
	cleanup(closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;
	int error = fd < 0 ? -errno : address_of(oh, &sa);

	if (error)
		return error;
	if (mkdir(RUN_DIRECTORY, 0755) && errno != EEXIST)
		return -errno;
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || chmod(sa.sun_path, 0600) ||
	    listen(fd, BACKLOG))
		return -errno;
	return steal_fd(&fd);
}

void relay_unlink(const char *oh)
{
	struct sockaddr_un sa;

	if (!address_of(oh, &sa))
		unlink(sa.sun_path);
}

static bool is_readable(int fd, int ms)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	return poll(&ready, 1, ms) > 0;
}

/* Who connects has something to say: he has sent it, or it follows. */
int relay_accept(int fd, struct relay_message *ret_message)
{
	cleanup(closep) int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ssize_t n;

	if (peer < 0)
		return -errno;
	if (!is_readable(peer, ANSWER_MS))
		return -ETIMEDOUT;
	n = recv(peer, ret_message, sizeof(*ret_message), 0);
	if (n != sizeof(*ret_message) || ret_message->args_len > RELAY_ARGS_MAX)
		return -EBADMSG;
	return steal_fd(&peer);
}

void relay_reply(int fd, bool yes)
{
	char answer = yes ? 'y' : 'n';

	(void)send(fd, &answer, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static int connect_to(const char *oh, const struct relay_message *message)
{
	cleanup(closep) int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;

	if (fd < 0 || address_of(oh, &sa) || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    send(fd, message, sizeof(*message), MSG_NOSIGNAL) != sizeof(*message))
		return -1;
	return steal_fd(&fd);
}

enum relay_answer relay_ask(const char *oh, const struct relay_message *message)
{
	cleanup(closep) int fd = connect_to(oh, message);
	char answer;

	if (fd < 0)
		return RELAY_NOBODY;
	if (!is_readable(fd, ANSWER_MS) || recv(fd, &answer, 1, 0) != 1)
		return RELAY_SILENT;
	return answer == 'y' ? RELAY_YES : RELAY_NO;
}

static void tell_one(const char *name, const char *not_oh, const struct relay_message *message)
{
	size_t len = strlen(name), around = strlen(PREFIX) + strlen(SUFFIX);
	char oh[64];
	int fd;

	if (len <= around || len - around >= sizeof(oh) ||
	    strncmp(name, PREFIX, strlen(PREFIX)) != 0 ||
	    strcmp(name + len - strlen(SUFFIX), SUFFIX) != 0)
		return;
	memcpy(oh, name + strlen(PREFIX), len - around);
	oh[len - around] = '\0';
	if (!strcmp(oh, not_oh))
		return;
	fd = connect_to(oh, message);
	closep(&fd);
}

void relay_tell_all(const char *oh, const struct relay_message *message)
{
	DIR *directory = opendir(RUN_DIRECTORY);
	struct dirent *entry;

	if (!directory)
		return;
	while ((entry = readdir(directory)))
		tell_one(entry->d_name, oh, message);
	closedir(directory);
}
