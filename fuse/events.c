/* SPDX-License-Identifier: GPL-2.0-or-later */
/* events - see events.h. The kernel client's two sentences are kept: people grep for them. */
#include "events.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "../conn/util.h"
#include "addrlist.h"
#include "log.h"
#include "notify.h"

static const char *address(const struct sockaddr_storage *sa, char *text, size_t size)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (getnameinfo((const struct sockaddr *)sa, sizeof(*sa), host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return "?";
	snprintf(text, size, sa->ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
	return text;
}

static const char *why(const struct pool_event *event, char *text, size_t size)
{
	if (event->reason && event->error && event->error != EBADMSG)
		snprintf(text, size, "%s (%s)", event->reason, strerrorname_np(event->error));
	else if (event->reason)
		snprintf(text, size, "%s", event->reason);
	else
		snprintf(text, size, "%s", event->error ? strerrorname_np(event->error) : "closed");
	return text;
}

/* "connection 3 to 10.0.0.5:2049", "4 connections to 10.0.0.5:2049" */
static const char *which(const struct pool_event *event, char *text, size_t size)
{
	char remote[NI_MAXHOST + NI_MAXSERV + 4];

	address(&event->remote, remote, sizeof(remote));
	if (event->n_conns > 1)
		snprintf(text, size, "%u connections to %s", event->n_conns, remote);
	else
		snprintf(text, size, "connection %u to %s", event->conn, remote);
	return text;
}

/* The service manager's line: what is so now, not what has happened. */
static void tell_manager(const struct options *options, const struct pool_event *event)
{
	const char *host = options->source.host;

	switch (event->type) {
	case POOL_CONN_UP:
	case POOL_CONN_DOWN:
	case POOL_SERVER_UP:
		notify_status("server %s OK, %u of %u connections", host, event->n_up, options->nconnect);
		break;
	case POOL_SERVER_DOWN:
		notify_status("server %s not responding", host);
		break;
	case POOL_PATH_LOST:
	case POOL_SERVER_WAITING:
	case POOL_BAD_REPLY:
	case POOL_DATAGRAM_MAX:
	case POOL_NO_RESVPORT:
	case POOL_NO_LOCAL:
	case POOL_NO_SRCPORT:
		break;
	}
}

static bool is_about_one_connection(const struct pool_event *event)
{
	return event->type == POOL_BAD_REPLY ||
	       ((event->type == POOL_CONN_UP || event->type == POOL_CONN_DOWN) && event->n_conns <= 1);
}

void events_log(const struct options *options, const struct pool_event *event)
{
	const char *host = options->source.host;
	char remote[NI_MAXHOST + NI_MAXSERV + 4], conns[sizeof(remote) + 40], reason[160];

	tell_manager(options, event);
	if (is_about_one_connection(event))
		log_about((int)event->conn, NULL);
	switch (event->type) {
	case POOL_CONN_UP:
		if (!event->reconnected) { /* as was asked for: no news */
			log_debug("connection %u of %u up", event->n_up, options->nconnect);
			break;
		}
		log_info(MSG_CONN_UP, "%s up (%u of %u)", which(event, conns, sizeof(conns)),
			 event->n_up, options->nconnect);
		break;
	case POOL_CONN_DOWN:
		log_info(MSG_CONN_DOWN, "%s lost: %s, %u requests moved",
			 which(event, conns, sizeof(conns)), why(event, reason, sizeof(reason)),
			 event->n_moved);
		break;
	case POOL_PATH_LOST:
		break;
	case POOL_DATAGRAM_MAX:
		log_info(MSG_PATH_MTU, "packets to %s may be smaller now: smaller READs and WRITEs", host);
		break;
	case POOL_SERVER_UP:
		if (!event->was_down) { /* nobody was told that it went */
			log_debug("%s answers after %.1f s", host, (double)event->outage_ns / 1e9);
			break;
		}
		log_info(MSG_SERVER_OK, "nfs: server %s OK (outage %.1f s)", host,
			 (double)event->outage_ns / 1e9);
		break;
	case POOL_SERVER_WAITING:
		log_debug("%s does not answer", host);
		break;
	case POOL_SERVER_DOWN:
		log_warn(MSG_SERVER_DOWN, "nfs: server %s not responding, %s", host,
			 options->down == DOWN_HARD ? "still trying" : "timed out");
		break;
	case POOL_BAD_REPLY:
		log_warn(MSG_BAD_REPLY, "bad reply on connection %u from %s: %s", event->conn,
			 address(&event->remote, remote, sizeof(remote)), event->reason);
		break;
	case POOL_NO_LOCAL:
		log_warn(MSG_NO_LOCAL, "%s: %s cannot be used (%s)%s", options->locals_text ? "localaddrs" : "bindif",
			 local_text(&options->locals[event->local_index], remote),
			 strerrorname_np(event->error), options->n_locals > 1 ? ", another one is tried" : "");
		break;
	case POOL_NO_SRCPORT:
		log_warn(MSG_NO_SRCPORT, "srcports=%u-%u: no port can be had (%s)", options->srcport_low,
			 options->srcport_high, strerrorname_np(event->error));
		break;
	case POOL_NO_RESVPORT:
		/* Without privilege this is the rule, not news. */
		if (event->error == EACCES || event->error == EPERM)
			log_debug("not permitted to bind to a reserved port");
		else
			log_warn(MSG_NO_RESVPORT, "no reserved port is free, using others: %s",
				 strerrorname_np(event->error));
		break;
	}
}
