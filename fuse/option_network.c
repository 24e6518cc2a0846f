/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_network - what the options of transports, addresses and ports are together: rules 4 and 5 of
 * ref/options.md. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "addrlist.h"
#include "option_parser.h"

static bool is_v6(enum transport transport)
{
	return transport == TRANSPORT_TCP6 || transport == TRANSPORT_UDP6;
}

static enum mount_transport transport_of(enum transport word)
{
	if (word == TRANSPORT_UNSET)
		return MOUNT_DISCOVER;
	return word == TRANSPORT_UDP || word == TRANSPORT_UDP6 ? MOUNT_UDP : MOUNT_TCP;
}

/* Rule 5 of options.md: proto alone is for mountd, too. */
static enum mount_transport pick_mount_transport(const struct option_draft *draft)
{
	return transport_of(draft->mountproto != TRANSPORT_UNSET ? draft->mountproto : draft->proto);
}

static bool may_use(const struct options *options, const struct pool_addr *addr)
{
	int family = options_family(options);

	return family == AF_UNSPEC || addr->sa.ss_family == family;
}

static int bad_list(struct parser *parser, const char *name, const char *text, const char *why)
{
	message_set(parser->error, MSG_BAD_VALUE, "%s=%.*s: %s", name, WORD_SHOWN, text, why);
	return -EINVAL;
}

static int bad_metrics(struct parser *parser, const char *why)
{
	bad_list(parser, "metrics", parser->draft.options.metrics_text, why);
	message_why(parser->error, "ADDR:PORT, [ADDR]:PORT for IPv6, PORT for 127.0.0.1, or off.");
	return -EINVAL;
}

/* Addresses and no names: to look one up may take long. */
static int complete_metrics(struct parser *parser)
{
	struct options *options = &parser->draft.options;
	char host[64] = "127.0.0.1", *end;
	const char *text = options->metrics_text, *port = text ? strrchr(text, ':') : NULL;
	struct sockaddr_in *in = (struct sockaddr_in *)&options->metrics;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&options->metrics;
	bool v6 = port && text[0] == '[' && port[-1] == ']';
	unsigned long number;

	if (text && !strcmp(text, "off")) {
		free(options->metrics_text);
		options->metrics_text = NULL;
		return 0;
	}
	if (!text)
		return 0;
#ifndef HAVE_MICROHTTPD
	message_set(parser->error, MSG_OPTION_UNSUPPORTED, "metrics=: this fusenfs was built without libmicrohttpd");
	return -EINVAL;
#endif
	if (port)
		snprintf(host, sizeof(host), "%.*s", (int)(port - text - 2 * v6), text + v6);
	port = port ? port + 1 : text;
	number = strtoul(port, &end, 10);
	if (*port < '0' || *port > '9' || *end || number < 1 || number > 65535)
		return bad_metrics(parser, "no port");
	if (inet_pton(v6 ? AF_INET6 : AF_INET, host, v6 ? (void *)&in6->sin6_addr : (void *)&in->sin_addr) != 1)
		return bad_metrics(parser, "no address");
	options->metrics.ss_family = v6 ? AF_INET6 : AF_INET;
	if (v6)
		in6->sin6_port = htons((uint16_t)number);
	else
		in->sin_port = htons((uint16_t)number);
	return 0;
}

/* Local addresses of one family leave no choice of the server's. */
static int complete_locals(struct parser *parser)
{
	struct options *options = &parser->draft.options;
	char why[OPTIONS_NOTE_MAX];
	int family, error;

	if (!options->locals_text)
		return 0;
	error = locallist_parse(options->locals_text, options->locals, &options->n_locals, why, sizeof(why));
	if (error) {
		bad_list(parser, "localaddrs", options->locals_text, why);
		message_why(parser->error, "A~B-C~IF: addresses of this host, or names of interfaces, at most %d.",
			    POOL_MAX_LOCALS);
		return error;
	}
	family = options->locals[0].sa.ss_family;
	for (unsigned int i = 0; i < options->n_locals; i++) {
		int other = options->locals[i].sa.ss_family;

		if (other != family)
			family = AF_UNSPEC;
		if (other != AF_UNSPEC && options->family != AF_UNSPEC && other != options->family)
			return option_conflict(parser, "localaddrs has IPv%d addresses, and family=%d (or proto=tcp6) excludes them",
					other == AF_INET ? 4 : 6, other == AF_INET ? 6 : 4);
	}
	options->local_family = family;
	return 0;
}

/* Every local end is of that interface; one at least there is. */
static int complete_bindif(struct parser *parser)
{
	struct options *options = &parser->draft.options;
	struct pool_local list[POOL_MAX_LOCALS];
	char why[OPTIONS_NOTE_MAX];
	unsigned int n;

	if (!options->bindif)
		return 0;
	if (locallist_parse(options->bindif, list, &n, why, sizeof(why)) || n != 1 || !list[0].device[0])
		return bad_list(parser, "bindif", options->bindif, "no name of an interface");
	if (!options->n_locals)
		options->locals[options->n_locals++] = list[0];
	for (unsigned int i = 0; i < options->n_locals; i++) {
		struct pool_local *local = &options->locals[i];

		if (local->device[0] && strcmp(local->device, list[0].device) != 0)
			return option_conflict(parser, "bindif=%s and interface %s of localaddrs contradict each other",
					       list[0].device, local->device);
		memcpy(local->device, list[0].device, sizeof(local->device));
	}
	return 0;
}

/* "665-1023", "2000". False if it is not that. */
static bool parse_ports(const char *text, uint16_t *ret_low, uint16_t *ret_high)
{
	unsigned int low, high;
	int n_low = 0, n_all = 0;

	if (strspn(text, "0123456789-") != strlen(text) || text[0] == '-' || strstr(text, "--"))
		return false;
	if (sscanf(text, "%5u%n-%5u%n", &low, &n_low, &high, &n_all) < 2) {
		high = low;
		n_all = n_low;
	}
	if (text[n_all] || !low || low > high || high > UINT16_MAX)
		return false;
	*ret_low = (uint16_t)low;
	*ret_high = (uint16_t)high;
	return true;
}

static int complete_srcports(struct parser *parser)
{
	struct options *options = &parser->draft.options;
	const char *text = options->srcports_text;
	unsigned int n;

	if (!text)
		return 0;
	if (!parse_ports(text, &options->srcport_low, &options->srcport_high))
		return bad_list(parser, "srcports", text, "not LOW-HIGH, of 1 to 65535");
	n = (unsigned int)(options->srcport_high - options->srcport_low + 1);
	if (n * (options->n_locals ? options->n_locals : 1) < options->nconnect)
		return option_conflict(parser, "srcports=%s: %u ports are too few for nconnect=%u", text, n,
				options->nconnect);
	if (parser->draft.resvport_given && options->resvport && options->srcport_high > 1023)
		return option_conflict(parser, "resvport and srcports=%s contradict each other", text);
	return 0;
}

static int complete_addresses(struct parser *parser)
{
	struct options *options = &parser->draft.options;
	char why[OPTIONS_NOTE_MAX];

	if (!options->addrs_text)
		return 0;
	if (addrlist_parse(options->addrs_text, options->addrs, &options->n_addrs, why, sizeof(why))) {
		bad_list(parser, "addrs", options->addrs_text, why);
		message_why(parser->error, "A~B~C-D: IPv4 or IPv6 addresses of the same server, at most %d.",
			    POOL_MAX_ADDRS);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < options->n_addrs; i++)
		if (!may_use(options, &options->addrs[i]))
			return option_conflict(parser, "addrs has IPv%d addresses, and family=%d (or proto=tcp6, or localaddrs) excludes them",
					options_family(options) == AF_INET ? 6 : 4,
					options_family(options) == AF_INET ? 4 : 6);
	return 0;
}

/* The value of addr= or mountaddr=, one literal address. */
static int complete_literal(struct parser *parser, const char *name, const char *text, int family,
			    char ret_text[ADDR_TEXT_MAX])
{
	struct pool_addr addrs[POOL_MAX_ADDRS];
	char why[OPTIONS_NOTE_MAX];
	unsigned int n;

	if (!text)
		return 0;
	if (addrlist_parse(text, addrs, &n, why, sizeof(why)))
		return bad_list(parser, name, text, why);
	if (n != 1)
		return bad_list(parser, name, text, "not one address");
	if (family != AF_UNSPEC && family != addrs[0].sa.ss_family)
		return option_conflict(parser, "%s is an IPv%d address, and the transport, family or localaddrs exclude it",
				       name, addrs[0].sa.ss_family == AF_INET ? 4 : 6);
	addr_text(&addrs[0].sa, ret_text);
	return 0;
}

/* A literal may be in brackets, as in SOURCE. */
static int complete_mounthost(struct parser *parser)
{
	char *host = parser->draft.options.mounthost;
	size_t n = host ? strlen(host) : 0;

	if (!host)
		return 0;
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		memmove(host, host + 1, n - 1);
	}
	if (source_is_host(host))
		return 0;
	return bad_list(parser, "mounthost", host, "neither a name nor an address");
}

static int complete_hosts(struct parser *parser)
{
	struct options *options = &parser->draft.options;
	int error = complete_mounthost(parser);

	if (!error)
		error = complete_literal(parser, "addr", options->addr_text, options_family(options),
					 options->address);
	return error ? error : complete_literal(parser, "mountaddr", options->mountaddr_text,
						options->mount_family, options->mount_address);
}

/* What ends in 6 is IPv6; the other words leave it open. */
static int complete_families(struct parser *parser)
{
	struct option_draft *draft = &parser->draft;
	struct options *options = &draft->options;

	if (options->family == AF_INET && (is_v6(draft->proto) || is_v6(draft->mountproto)))
		return option_conflict(parser, "family=4 and %s contradict each other",
				       draft->proto == TRANSPORT_TCP6 ? "proto=tcp6" :
				       draft->proto == TRANSPORT_UDP6 ? "proto=udp6" :
				       draft->mountproto == TRANSPORT_UDP6 ? "mountproto=udp6" :
				       "mountproto=tcp6");
	if (options->udpfrag && transport_of(draft->proto) == MOUNT_TCP)
		return option_conflict(parser, "udpfrag is for NFS over UDP");
	if (is_v6(draft->proto))
		options->family = AF_INET6;
	options->mount_family = is_v6(draft->mountproto) ? AF_INET6 : AF_UNSPEC;
	return 0;
}

int option_complete_network(struct parser *parser)
{
	struct option_draft *draft = &parser->draft;
	struct options *options = &draft->options;
	int error = complete_families(parser);

	if (error)
		return error;
	options->mount_transport = pick_mount_transport(draft);
	options->nfs_transport = transport_of(draft->proto);
	if (draft->port_given && options->source.port && draft->port != options->source.port)
		return option_conflict(parser,
				"port=%u contradicts port %u in the source",
				draft->port, options->source.port);
	options->port = options->source.port ? options->source.port : (uint16_t)draft->port;
	options->mountport = (uint16_t)draft->mountport;
	error = complete_locals(parser);
	if (!error)
		error = complete_bindif(parser);
	if (!error)
		error = complete_hosts(parser);
	if (!error)
		error = complete_srcports(parser);
	if (!error)
		error = complete_addresses(parser);
	return error ? error : complete_metrics(parser);
}
