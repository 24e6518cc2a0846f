/* SPDX-License-Identifier: GPL-2.0-or-later */
/* client - see client.h. */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../control/place.h"

enum { ANSWER_MAX = 1 << 20, ROWS_MAX = 1024 };

/* ---- the socket -------------------------------------------------------------------------- */

static bool wait_for(int fd, short events, int64_t until_ns)
{
	struct pollfd ready = { .fd = fd, .events = events };
	int64_t left_ns;

	while ((left_ns = until_ns - clock_ns()) > 0) {
		int n = poll(&ready, 1, (int)(left_ns / NS_PER_MS) + 1);

		if (n > 0)
			return true;
		if (n < 0 && errno != EINTR)
			return false;
	}
	return false;
}

/* A descriptor or -errno. A backlog that is full is tried again. */
static int connect_to(const char *path, int64_t until_ns)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof(name.sun_path))
		return -ENAMETOOLONG;
	snprintf(name.sun_path, sizeof(name.sun_path), "%s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	while (connect(fd, (struct sockaddr *)&name, sizeof(name))) {
		int error = -errno;

		if (error == -EAGAIN && clock_ns() < until_ns) {
			poll(NULL, 0, 50);
			continue;
		}
		close(fd);
		return error;
	}
	return fd;
}

/* A link in a user's directory may lead to the socket of another mount: whose it is must be right. */
static int check_peer(int fd, uid_t owner, bool or_root, pid_t *ret_pid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	if (peer.uid != owner && !(or_root && peer.uid == 0))
		return -EPERM;
	if (ret_pid)
		*ret_pid = peer.pid;
	return 0;
}

static int open_given(const char *ctl, pid_t *ret_pid, int64_t until_ns)
{
	int fd = connect_to(ctl, until_ns);
	int error = fd < 0 ? fd : check_peer(fd, geteuid(), true, ret_pid);

	if (error < 0 && geteuid() == 0 && error == -EPERM)
		error = 0; /* root may ask anybody whom he names */
	if (error && fd >= 0)
		close(fd);
	return error ? error : fd;
}

static int open_usual(const struct target *target, pid_t *ret_pid, int64_t until_ns)
{
	char directories[PLACE_MAX][PLACE_SIZE], path[PLACE_SIZE];
	unsigned int n = place_directories(target->owner, directories);
	int result = -ENOENT;

	for (unsigned int i = 0; i < n; i++) {
		int fd, error;

		if (!place_is_safe(directories[i], target->owner) ||
		    place_socket(directories[i], target->major, target->minor, path))
			continue;
		fd = connect_to(path, until_ns);
		error = fd < 0 ? fd : check_peer(fd, target->owner, false, ret_pid);
		if (!error)
			return fd;
		if (fd >= 0)
			close(fd);
		if (error != -ENOENT)
			result = error;
	}
	/* Of a directory that may not be entered nobody knows what is in it. */
	if (result == -ENOENT && geteuid() != 0 && geteuid() != target->owner)
		result = -EACCES;
	return result;
}

static int send_line(int fd, const char *request, int64_t until_ns)
{
	cleanup(freep) char *line = NULL;
	size_t len, sent = 0;

	if (asprintf(&line, "%s\n", request) < 0) {
		line = NULL;
		return -ENOMEM;
	}
	for (len = strlen(line); sent < len;) {
		ssize_t n = send(fd, line + sent, len - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
		else if (!wait_for(fd, POLLOUT, until_ns))
			return -ETIMEDOUT;
	}
	return 0;
}

/* All until the end, a string. */
static int receive_all(int fd, char **ret_text, int64_t until_ns)
{
	size_t size = 0, len = 0;
	char *text = NULL;
	int error = 0;

	for (;;) {
		ssize_t n;

		if (len + 1 >= size) {
			char *more = size < ANSWER_MAX ? realloc(text, size ? size * 2 : 65536) : NULL;

			if (!more) {
				error = -ENOMEM;
				break;
			}
			text = more;
			size = size ? size * 2 : 65536;
		}
		n = recv(fd, text + len, size - len - 1, 0);
		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			error = -errno;
		else if (!wait_for(fd, POLLIN, until_ns))
			error = -ETIMEDOUT;
		if (error)
			break;
	}
	if (error) {
		free(text);
		return error;
	}
	text[len] = '\0';
	*ret_text = text;
	return 0;
}

/* ---- answers ----------------------------------------------------------------------------- */

static void explain(const struct target *target, const char *ctl, int error, struct message *message)
{
	const char *what = target->mount;

	if (error == -EACCES || error == -EPERM) {
		if (target->owner)
			message_set(message, MSG_CTL_DENIED, "only root or user %u may control %s",
				    (unsigned int)target->owner, what);
		else
			message_set(message, MSG_CTL_DENIED, "only root may control %s", what);
		return;
	}
	message_set(message, MSG_NO_ANSWER, "the daemon of %s does not answer: %s", what,
		    error == -ENOENT       ? "it has no control socket" :
		    error == -ECONNREFUSED ? "it is gone" :
					     strerrordesc_np(-error));
	if (!ctl && (error == -ECONNREFUSED || error == -ENOENT))
		message_try(message, "umount -l %s", target->mount);
}

/* What the daemon says is wrong. */
static void take_error(const json_t *error, struct message *message)
{
	const json_t *tries = json_object_get(error, "try");
	enum message_id id = message_id_find(client_text(error, "id"));

	/* One that is newer than this program may have others. */
	message_set(message, id == MSG_NONE ? MSG_NO_ANSWER : id, "%s", client_text(error, "reason"));
	message_action(message, "%s", client_text(error, "action"));
	message_why(message, "%s", client_text(error, "why"));
	for (size_t i = 0; i < json_array_size(tries); i++)
		message_try(message, "%s", json_string_value(json_array_get(tries, i)));
}

/* Loops over these may be nested, and each may be a row of a table. */
static bool is_bounded(const json_t *answer)
{
	return json_array_size(json_object_get(answer, "connections")) <= ROWS_MAX &&
	       json_array_size(json_object_get(answer, "users")) <= ROWS_MAX &&
	       json_object_size(json_object_get(answer, "operations")) <= ROWS_MAX &&
	       json_object_size(json_object_get(answer, "procedures")) <= ROWS_MAX;
}

static json_t *parse(const char *text, const struct target *target, struct message *error)
{
	json_t *json = json_loads(text, 0, NULL);

	if (json_is_object(json) && !json_object_get(json, "error") && is_bounded(json))
		return json;
	if (client_text(json, "error.reason")[0])
		take_error(json_object_get(json, "error"), error);
	else
		message_set(error, MSG_NO_ANSWER, "the daemon of %s gave no answer that makes sense",
			    target->mount);
	json_decref(json);
	return NULL;
}

json_t *client_ask(const struct target *target, const char *ctl, const char *request, pid_t *ret_pid,
		   struct message *ret_error)
{
	cleanup(freep) char *text = NULL;
	int64_t until_ns = clock_ns() + ANSWER_NS;
	int error, fd;

	if (ret_pid)
		*ret_pid = 0;
	fd = ctl ? open_given(ctl, ret_pid, until_ns) : open_usual(target, ret_pid, until_ns);
	error = fd < 0 ? fd : send_line(fd, request, until_ns);
	if (!error)
		error = receive_all(fd, &text, until_ns);
	if (fd >= 0)
		close(fd);
	if (!error)
		return parse(text, target, ret_error);
	explain(target, ctl, error, ret_error);
	return NULL;
}

const json_t *client_value(const json_t *json, const char *path)
{
	char key[64];

	while (json && *path) {
		size_t n = strcspn(path, ".");

		snprintf(key, sizeof(key), "%.*s", (int)min_size(n, sizeof(key) - 1), path);
		json = json_object_get(json, key);
		path += n + (path[n] == '.');
	}
	return json;
}

double client_number(const json_t *json, const char *path)
{
	return json_number_value(client_value(json, path));
}

uint32_t client_whole(const json_t *json, const char *path)
{
	double number = client_number(json, path);

	return number >= 0 && number <= UINT32_MAX ? (uint32_t)number : 0;
}

const char *client_text(const json_t *json, const char *path)
{
	const char *text = json_string_value(client_value(json, path));

	return text ? text : "";
}

bool client_is(const json_t *json, const char *path)
{
	return json_is_true(client_value(json, path));
}
