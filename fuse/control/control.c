/* SPDX-License-Identifier: GPL-2.0-or-later */
/* control - see control.h: the thread and its clients. What it says is in report.c. */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../conn/snapshot.h"
#include "../../conn/util.h"
#include "../live.h"
#include "../log.h"
#include "../wback.h"
#include "listener.h"
#include "metrics.h"
#include "report.h"

static const int64_t ACCEPT_PAUSE_NS = 200 * NS_PER_MS; /* there are no descriptors */

struct client {
	int fd;                      /* -1: free */
	int64_t until_ns;
	char line[CONTROL_LINE_MAX];
	size_t len;
	bool denied;
	char *answer;                /* NULL: still reading */
	size_t answer_len, sent;
};

struct control {
	struct live *live;
	struct report report;
	struct listener listener;
	struct metrics *metrics;     /* NULL: none */
	int stop_fd;                 /* eventfd */
	pthread_t thread;
	_Atomic(bool) ending;
	int64_t accept_after_ns;
	struct client clients[CONTROL_CLIENTS];
};

/* ---- requests ---------------------------------------------------------------------------- */

static void save_inode(struct inode *inode, void *arg UNUSED)
{
	wback_commit(inode);
}

static json_t *set(struct control *control, const char *list, enum live_how how)
{
	struct message error;

	if (live_set(control->live, list, how, &error)) {
		message_action(&error, "%s %s", how == LIVE_SET ? "set options of" : "remount",
			       live_point(control->live));
		return report_error(&error);
	}
	return report_options(&control->report);
}

static json_t *save(struct control *control)
{
	inode_table_each(control->report.fs->inodes, save_inode, NULL);
	return report_status(&control->report, false);
}

static json_t *probe(struct control *control)
{
	pool_probe(control->report.fs->pool);
	return report_health(&control->report);
}

static json_t *unknown(const char *verb)
{
	struct message error;

	message_set(&error, MSG_USAGE, "the control socket knows no '%.40s'", verb);
	return report_error(&error);
}

static json_t *answer_to(struct control *control, char *line)
{
	char *words = strchr(line, ' ');

	if (words)
		*words++ = '\0';
	control->report.ending = atomic_load(&control->ending);
	if (!strcmp(line, "status"))
		return report_status(&control->report, false);
	if (!strcmp(line, "stats"))
		return report_status(&control->report, true);
	if (!strcmp(line, "health"))
		return report_health(&control->report);
	if (!strcmp(line, "probe"))
		return probe(control);
	if (!strcmp(line, "save"))
		return save(control);
	if (!strcmp(line, "set"))
		return set(control, words ? words : "", LIVE_SET);
	if (!strcmp(line, "remount"))
		return set(control, words ? words : "", LIVE_REMOUNT);
	if (!strcmp(line, "check"))
		return set(control, words ? words : "", LIVE_REMOUNT_CHECK);
	return unknown(line);
}

static json_t *denied(struct control *control)
{
	struct message error;

	message_set(&error, MSG_CTL_DENIED, "only root or user %u may control %s", (unsigned int)geteuid(),
		    live_point(control->live));
	return report_error(&error);
}

static bool may_ask(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return !getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) && (peer.uid == 0 || peer.uid == geteuid());
}

/* ---- clients ----------------------------------------------------------------------------- */

static void drop(struct client *client)
{
	closep(&client->fd);
	client->fd = -1;
	free(client->answer);
	client->answer = NULL;
}

static void begin_answer(struct client *client, json_t *json)
{
	client->answer = report_text(json);
	if (!client->answer) {
		drop(client);
		return;
	}
	client->answer_len = strlen(client->answer);
	client->sent = 0;
	client->until_ns = clock_ns() + CONTROL_PATIENCE_NS;
}

static void read_from(struct control *control, struct client *client)
{
	ssize_t n = recv(client->fd, client->line + client->len, sizeof(client->line) - client->len, 0);
	char *end;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			drop(client);
		return;
	}
	client->len += (size_t)n;
	end = memchr(client->line, '\n', client->len);
	if (!end && client->len == sizeof(client->line)) {
		client->line[40] = '\0';
		begin_answer(client, unknown(client->line));
	}
	if (!end)
		return;
	*end = '\0';
	begin_answer(client, client->denied ? denied(control) : answer_to(control, client->line));
}

static void write_to(struct client *client)
{
	ssize_t n = send(client->fd, client->answer + client->sent, client->answer_len - client->sent, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		client->sent += (size_t)n;
	if (n <= 0 || client->sent == client->answer_len)
		drop(client);
}

static struct client *free_client(struct control *control)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		if (control->clients[i].fd < 0)
			return &control->clients[i];
	return NULL;
}

static void accept_one(struct control *control)
{
	struct client *client = free_client(control);

	if (!client)
		return;
	client->fd = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (client->fd < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			control->accept_after_ns = clock_ns() + ACCEPT_PAUSE_NS;
		return;
	}
	client->len = 0;
	client->until_ns = clock_ns() + CONTROL_PATIENCE_NS;
	client->denied = !may_ask(client->fd);
}

/* ---- the thread -------------------------------------------------------------------------- */

enum { FD_STOP, FD_LISTEN, FD_METRICS, FD_CLIENTS };

/* Until when to wait. A descriptor of -1 is passed over. */
static int64_t prepare(struct control *control, struct pollfd fds[])
{
	int64_t now_ns = clock_ns(), until_ns = INT64_MAX;
	bool room = free_client(control) && now_ns >= control->accept_after_ns;

	fds[FD_STOP] = (struct pollfd){ .fd = control->stop_fd, .events = POLLIN };
	fds[FD_LISTEN] = (struct pollfd){ .fd = room ? control->listener.fd : -1, .events = POLLIN };
	fds[FD_METRICS] = (struct pollfd){ .fd = metrics_fd(control->metrics), .events = POLLIN };
	if (metrics_timeout_ns(control->metrics) != INT64_MAX)
		until_ns = now_ns + metrics_timeout_ns(control->metrics);
	if (now_ns < control->accept_after_ns)
		until_ns = min_i64(until_ns, control->accept_after_ns);
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++) {
		const struct client *client = &control->clients[i];

		fds[FD_CLIENTS + i] = (struct pollfd){ .fd = client->fd,
						       .events = client->answer ? POLLOUT : POLLIN };
		if (client->fd >= 0)
			until_ns = min_i64(until_ns, client->until_ns);
	}
	return until_ns;
}

static int timeout_ms(int64_t until_ns)
{
	int64_t left_ns = until_ns - clock_ns();

	if (until_ns == INT64_MAX)
		return -1;
	return left_ns > 0 ? (int)(left_ns / NS_PER_MS) + 1 : 0;
}

static void serve_clients(struct control *control, const struct pollfd fds[])
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *client = &control->clients[i];

		if (client->fd < 0)
			continue;
		if (fds[FD_CLIENTS + i].revents && client->answer)
			write_to(client);
		else if (fds[FD_CLIENTS + i].revents)
			read_from(control, client);
		if (client->fd >= 0 && clock_ns() >= client->until_ns)
			drop(client);
	}
}

static void *run(void *arg)
{
	struct control *control = arg;
	struct pollfd fds[FD_CLIENTS + CONTROL_CLIENTS];

	prctl(PR_SET_NAME, "fusenfs-ctl");
	for (;;) {
		if (poll(fds, ARRAY_SIZE(fds), timeout_ms(prepare(control, fds))) < 0)
			continue;
		if (fds[FD_STOP].revents)
			return NULL;
		serve_clients(control, fds);
		if (fds[FD_LISTEN].revents)
			accept_one(control);
		control->report.ending = atomic_load(&control->ending);
		metrics_run(control->metrics);
	}
}

/* ---- life -------------------------------------------------------------------------------- */

static void control_free(struct control *control)
{
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		drop(&control->clients[i]);
	metrics_close(control->metrics);
	listener_close(&control->listener);
	live_free(control->live);
	closep(&control->stop_fd);
	free(control);
}

static int start_thread(struct control *control)
{
	pthread_attr_t attr;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, KIB(512));
	error = pthread_create(&control->thread, &attr, run, control);
	pthread_attr_destroy(&attr);
	return -error;
}

static void open_metrics(struct control *control, const struct options *options)
{
	int error;

	if (!options->metrics_text)
		return;
	error = metrics_open(&control->report, &options->metrics, &control->metrics);
	if (error)
		log_warn(MSG_NO_METRICS, "metrics=%s cannot be served: %s", options->metrics_text,
			 strerrordesc_np(-error));
}

/* Where there was another address of the same port, it has to go first. */
static int serve_metrics(void *userdata, const struct sockaddr_storage *sa)
{
	struct control *control = userdata;
	struct metrics *before = control->metrics;
	int error = 0;

	control->metrics = NULL;
	if (sa->ss_family != AF_UNSPEC)
		error = metrics_open(&control->report, sa, &control->metrics);
	if (!error || !before) {
		metrics_close(before);
		return error;
	}
	metrics_close(before);
	error = metrics_open(&control->report, sa, &control->metrics);
	if (error && metrics_open(&control->report, &control->report.fs->options->metrics, &control->metrics))
		log_warn(MSG_NO_METRICS, "metrics= is not served any more: its port was taken");
	return error;
}

static void tell_no_socket(const struct options *options, int error)
{
	if (options->ctl)
		log_warn(MSG_NO_CONTROL, "no control socket %s: %s", options->ctl, strerrordesc_np(-error));
	else
		log_info(MSG_NO_CONTROL, "no control socket: %s", strerrordesc_np(-error));
}

struct control *control_start(struct fs *fs, struct options *options, const char *point)
{
	struct control *control = calloc(1, sizeof(*control));
	int error;

	if (!control)
		return NULL;
	for (unsigned int i = 0; i < CONTROL_CLIENTS; i++)
		control->clients[i].fd = -1;
	control->listener.fd = -1;
	control->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	control->live = live_new(fs, options, point);
	report_init(&control->report, fs, control->live);
	if (control->live)
		live_on_metrics(control->live, serve_metrics, control);
	error = control->stop_fd < 0 ? -errno : control->live ? 0 : -ENOMEM;
	if (!error)
		open_metrics(control, options);
	if (!error)
		error = listener_open(&control->listener, point, options->ctl);
	if (error)
		tell_no_socket(options, error);
	if ((!error || control->metrics) && !start_thread(control))
		return control;
	control_free(control);
	return NULL;
}

void control_ending(struct control *control)
{
	if (control)
		atomic_store(&control->ending, true);
}

void control_stop(struct control *control)
{
	if (!control)
		return;
	eventfd_write(control->stop_fd, 1);
	pthread_join(control->thread, NULL);
	control_free(control);
}
