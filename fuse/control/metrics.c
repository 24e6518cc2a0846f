/* SPDX-License-Identifier: GPL-2.0-or-later */
/* metrics - see metrics.h. */
#include "metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../../conn/util.h"

#ifdef HAVE_MICROHTTPD
#include <microhttpd.h>

struct metrics {
	struct MHD_Daemon *daemon;
	struct report *report;
	int fd; /* the daemon's epoll(7) */
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned int status, char *text, size_t size,
			     enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(size, text, mode);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
				mode == MHD_RESPMEM_MUST_FREE ? "text/plain; version=0.0.4; charset=utf-8" :
								"text/plain; charset=utf-8");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result reply_words(struct MHD_Connection *connection, unsigned int status, const char *words)
{
	return reply(connection, status, (char *)(uintptr_t)words, strlen(words), MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result reply_yes_no(struct MHD_Connection *connection, bool yes)
{
	return reply_words(connection, yes ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, yes ? "ok\n" : "no\n");
}

static enum MHD_Result reply_metrics(struct metrics *metrics, struct MHD_Connection *connection)
{
	size_t size = 0;
	char *text = metrics_text(metrics->report, &size);

	if (!text)
		return reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "no memory\n");
	return reply(connection, MHD_HTTP_OK, text, size, MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result answer(void *userdata, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version UNUSED, const char *upload UNUSED, size_t *upload_size UNUSED,
			      void **state UNUSED)
{
	struct metrics *metrics = userdata;

	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return reply_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
	if (!strcmp(url, "/metrics"))
		return reply_metrics(metrics, connection);
	if (!strcmp(url, "/livez"))
		return reply_yes_no(connection, report_is_live(metrics->report));
	if (!strcmp(url, "/readyz"))
		return reply_yes_no(connection, report_is_ready(metrics->report));
	return reply_words(connection, MHD_HTTP_NOT_FOUND, "/metrics, /livez and /readyz\n");
}

/* Its words are for nobody. */
static void discard(void *userdata UNUSED, const char *format UNUSED, va_list args UNUSED)
{
}

/* Ours, not the library's, which does not always say what was wrong. A descriptor or -errno. */
static int listen_at(const struct sockaddr_storage *sa)
{
	cleanup(closep) int fd = socket(sa->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int yes = 1;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (sa->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof(yes));
	if (bind(fd, (const struct sockaddr *)sa, len) || listen(fd, METRICS_CLIENTS))
		return -errno;
	return steal_fd(&fd);
}

/* The daemon closes listen_fd. */
static struct MHD_Daemon *start(struct metrics *metrics, int listen_fd, bool ipv6)
{
	unsigned int flags = MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (ipv6 ? MHD_USE_IPv6 : 0);

	return MHD_start_daemon(flags, 0, NULL, NULL, answer, metrics, MHD_OPTION_EXTERNAL_LOGGER, discard, NULL,
				MHD_OPTION_LISTEN_SOCKET, listen_fd,
				MHD_OPTION_CONNECTION_LIMIT, (unsigned int)METRICS_CLIENTS,
				MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)METRICS_PATIENCE_S, MHD_OPTION_END);
}

int metrics_open(struct report *report, const struct sockaddr_storage *sa, struct metrics **ret_metrics)
{
	cleanup(freep) struct metrics *metrics = calloc(1, sizeof(*metrics));
	const union MHD_DaemonInfo *info;
	int fd;

	if (!metrics)
		return -ENOMEM;
	metrics->report = report;
	fd = listen_at(sa);
	if (fd < 0)
		return fd;
	metrics->daemon = start(metrics, fd, sa->ss_family == AF_INET6);
	if (!metrics->daemon)
		return -EIO;
	info = MHD_get_daemon_info(metrics->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	if (!info) {
		MHD_stop_daemon(metrics->daemon);
		return -EIO;
	}
	metrics->fd = info->epoll_fd;
	*ret_metrics = steal(&metrics);
	return 0;
}

void metrics_close(struct metrics *metrics)
{
	if (metrics)
		MHD_stop_daemon(metrics->daemon);
	free(metrics);
}

int metrics_fd(const struct metrics *metrics)
{
	return metrics ? metrics->fd : -1;
}

int64_t metrics_timeout_ns(const struct metrics *metrics)
{
	MHD_UNSIGNED_LONG_LONG ms = 0;

	if (!metrics || MHD_get_timeout(metrics->daemon, &ms) != MHD_YES)
		return INT64_MAX;
	return (int64_t)ms * NS_PER_MS;
}

void metrics_run(struct metrics *metrics)
{
	if (metrics)
		MHD_run(metrics->daemon);
}

#else /* options_parse() has refused metrics= */

int metrics_open(struct report *report UNUSED, const struct sockaddr_storage *sa UNUSED,
		 struct metrics **ret_metrics UNUSED)
{
	return -EOPNOTSUPP;
}

void metrics_close(struct metrics *metrics UNUSED)
{
}

int metrics_fd(const struct metrics *metrics UNUSED)
{
	return -1;
}

int64_t metrics_timeout_ns(const struct metrics *metrics UNUSED)
{
	return INT64_MAX;
}

void metrics_run(struct metrics *metrics UNUSED)
{
}
#endif
