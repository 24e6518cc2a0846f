/* SPDX-License-Identifier: GPL-2.0-or-later */
/* message_mount - what a failed mount_query_run() means to a person: one small function for each
 * kind of failure. Only what was observed goes into the why line; a guess says "may". Export names
 * and client groups are the server's: they are cleaned by the builders and quoted in commands. */
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <unistd.h>

#include "../conn/mount.h"
#include "../conn/util.h"
#include "exports.h"
#include "message.h"
#include "options.h"

enum { WHO_MAX = 400, ADDR_MAX = 64, WORD_MAX = 1100 };

/* Everything the functions below look at. */
struct failure_view {
	const struct options *options;
	const struct mount_query *query;
	const struct mount_result *result;
	const char *host;
	const char *mountd;      /* its host */
	bool elsewhere;          /* which is another one */
	char addr[ADDR_MAX];     /* numeric; "" if the name was not resolved */
	char who[WHO_MAX];       /* "nas1 (10.0.0.5)" */
	char target[WORD_MAX];   /* the mount point, quoted */
	char source[WORD_MAX];   /* the source, quoted */
	struct message *message;
};

static void host_text(const struct pool_addr *addr, char text[ADDR_MAX])
{
	if (getnameinfo((const struct sockaddr *)&addr->sa, addr->len, text, ADDR_MAX, NULL, 0,
			NI_NUMERICHOST))
		text[0] = '\0';
}

/* The address we would send from: connect(2) on UDP sends nothing. */
static void local_host_text(const struct pool_addr *peer, char text[ADDR_MAX])
{
	cleanup(closep) int fd = socket(peer->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct pool_addr local = { .len = sizeof(local.sa) };

	text[0] = '\0';
	if (fd < 0 || connect(fd, (const struct sockaddr *)&peer->sa, peer->len) ||
	    getsockname(fd, (struct sockaddr *)&local.sa, &local.len))
		return;
	host_text(&local, text);
}

static double seconds(int64_t ns)
{
	return (double)ns / (double)NS_PER_S;
}

static void failure_view_init(struct failure_view *view)
{
	const struct mount_result *result = view->result;

	view->host = view->query->host;
	if (result->n_addrs)
		host_text(&result->addrs[0], view->addr);
	if (view->addr[0] && strchr(view->host, ','))
		view->host = view->addr; /* of several, the one that is meant */
	view->elsewhere = view->query->mount_host != NULL;
	view->mountd = view->elsewhere ? view->query->mount_host : view->host;
	if (view->addr[0] && strcmp(view->addr, view->host) != 0)
		snprintf(view->who, sizeof(view->who), "%.250s (%s)", view->host, view->addr);
	else
		snprintf(view->who, sizeof(view->who), "%.250s", view->host);
	message_quote(view->options->mountpoint, view->target, sizeof(view->target));
	message_quote(view->options->source.text, view->source, sizeof(view->source));
}

static unsigned int nfs_port(const struct failure_view *view)
{
	if (view->result->nfs_port)
		return view->result->nfs_port;
	return view->query->nfs_port ? view->query->nfs_port : 2049;
}

/* Said where somebody might take it for the other one. */
static const char *nfs_transport(const struct failure_view *view)
{
	if (view->result->nfs_transport == MOUNT_UDP)
		return " of UDP";
	return view->query->nfs_transport == MOUNT_TCP ? " of TCP" : "";
}

static void other_addrs(const struct failure_view *view)
{
	if (view->result->n_addrs > 1)
		message_why(view->message, " All %u addresses of %s were tried.",
			    view->result->n_addrs, view->host);
}

/* ---- names and connections --------------------------------------------------------------- */

static const char *resolved_host(const struct failure_view *view)
{
	return view->result->about_mountd ? view->mountd : view->host;
}

static void dns_failed(const struct failure_view *view)
{
	int family = view->result->about_mountd ? view->query->mount_family : view->query->family;
	int gai = view->result->gai_error;
	const char *host = resolved_host(view);

	errno = view->result->error;
	if (gai == EAI_SYSTEM)
		message_set(view->message, MSG_DNS_FAILED, "cannot resolve '%s': %m", host);
	else
		message_set(view->message, MSG_DNS_FAILED, "cannot resolve '%s': %s", host, gai_strerror(gai));
	if (view->result->about_mountd)
		message_why(view->message, "that is where the mount service is to be.");
	if (family != AF_UNSPEC)
		message_why(view->message, "%sonly IPv%d addresses were asked for.",
			    view->result->about_mountd ? " " : "", family == AF_INET ? 4 : 6);
	message_try(view->message, "getent ahosts %s", host);
}

static void dns_timeout(const struct failure_view *view)
{
	message_set(view->message, MSG_DNS_TIMEOUT, "cannot resolve '%s': took longer than %g s",
		    resolved_host(view), seconds(view->query->stage_ns));
	message_why(view->message, "a name server in /etc/resolv.conf may not answer.");
	message_try(view->message, "getent ahosts %s", resolved_host(view));
}

static void conn_refused(const struct failure_view *view)
{
	message_set(view->message, MSG_CONN_REFUSED, "%s refused port %u", view->who,
		    nfs_port(view));
	message_why(view->message, "the host answers, but no NFS server listens on that port%s.",
		    nfs_transport(view));
	other_addrs(view);
	message_try(view->message, "rpcinfo -p %s", view->host);
}

static void conn_timeout(const struct failure_view *view)
{
	message_set(view->message, MSG_CONN_TIMEOUT, "%s port %u did not answer within %g s",
		    view->who, nfs_port(view), seconds(view->query->stage_ns));
	message_why(view->message,
		    "packets may be dropped by a firewall, the address may be wrong, "
		    "or the host may be down.");
	other_addrs(view);
	message_try(view->message, "ping -c 3 %s", view->addr[0] ? view->addr : view->host);
}

static void nfs_timeout(const struct failure_view *view)
{
	message_set(view->message, MSG_CONN_TIMEOUT,
		    "%s port %u connected, but did not answer within %g s", view->who,
		    nfs_port(view), seconds(view->query->stage_ns));
	message_why(view->message,
		    "NFSv3 NULL was sent; the server may be starting or overloaded.");
	message_try(view->message, "fusenfs %s %s -o retry=5", view->source, view->target);
}

static void net_unreachable(const struct failure_view *view)
{
	const char *to = view->addr[0] ? view->addr : view->host;

	message_set(view->message, MSG_NET_UNREACHABLE, "no route to %s", to);
	errno = view->result->error;
	if (view->result->error)
		message_why(view->message, "connect(2): %m.");
	other_addrs(view);
	message_try(view->message, "ip route get %s", to);
}

/* Errors of binding a socket, not of connecting it. */
static bool is_about_us(int error)
{
	return error == EADDRNOTAVAIL || error == ENODEV || error == EPERM;
}

static void conn_error(const struct failure_view *view)
{
	errno = view->result->error;
	message_set(view->message, MSG_CONN_FAILED, "cannot connect to %s port %u: %m", view->who,
		    nfs_port(view));
	if (view->query->n_locals && is_about_us(view->result->error))
		message_why(view->message, "no local address or interface of localaddrs or bindif can be used for that.");
	other_addrs(view);
}

/* ---- what the ports answered ------------------------------------------------------------- */

static void not_nfs(const struct failure_view *view)
{
	const struct mount_result *result = view->result;
	char text[sizeof(result->peer_bytes) + 1] = "";
	uint32_t n = result->n_peer_bytes;

	n = n < sizeof(result->peer_bytes) ? n : sizeof(result->peer_bytes);
	memcpy(text, result->peer_bytes, n);
	for (uint32_t i = 0; i < n; i++)
		if (text[i] < 0x20 || text[i] > 0x7e)
			text[i] = '.';
	message_set(view->message, MSG_NOT_NFS, "port %u of %s answers, but not as NFS",
		    nfs_port(view), view->host);
	if (n)
		message_why(view->message, "its first bytes were '%s'.", text);
	else
		message_why(view->message, "it closed the connection on an NFS call.");
	message_try(view->message, "rpcinfo -p %s", view->host);
}

static void version_unsupported(const struct failure_view *view)
{
	const struct mount_result *result = view->result;

	message_set(view->message, MSG_VERSION_UNSUPPORTED, "%s does not offer NFSv3", view->host);
	if (result->vers_low && result->vers_low == result->vers_high)
		message_why(view->message, "port %u offers NFS version %u only.", nfs_port(view),
			    result->vers_low);
	else if (result->vers_low)
		message_why(view->message, "port %u offers NFS versions %u to %u.", nfs_port(view),
			    result->vers_low, result->vers_high);
	if (result->vers_high == 4)
		message_try(view->message, "mount -t nfs4 %s %s", view->source, view->target);
	else
		message_try(view->message, "rpcinfo -p %s", view->host);
}

static void rpcbind_refused(const struct failure_view *view)
{
	bool silent = view->result->error == ETIMEDOUT;

	message_set(view->message, MSG_RPCBIND_REFUSED, "%s %s port 111, but %u%s%.200s is open", view->mountd,
		    silent ? "does not answer on" : "refused", nfs_port(view),
		    view->elsewhere ? " of " : "", view->elsewhere ? view->host : "");
	message_why(view->message, "the portmapper (111) tells the port of the mount service; "
				   "without it that port must be given.");
	message_try(view->message, "fusenfs %s %s -o port=%u,mountport=20048", view->source,
		    view->target, nfs_port(view));
}

static const char *mountd_only(const struct failure_view *view)
{
	switch (view->query->mount_transport) {
	case MOUNT_TCP:
		return " over TCP";
	case MOUNT_UDP:
		return " over UDP";
	case MOUNT_DISCOVER:
		break;
	}
	return "";
}

static void mountd_missing(const struct failure_view *view)
{
	message_set(view->message, MSG_MOUNTD_MISSING, "%s has no NFSv3 mount service", view->mountd);
	message_why(view->message, "its portmapper lists no program 100005 (mountd) version 3%s; "
				   "fusenfs needs NFSv3.", mountd_only(view));
	message_try(view->message, "rpcinfo -p %s", view->mountd);
}

static const char *mountd_transport(const struct failure_view *view)
{
	return view->result->mount_transport == MOUNT_UDP ? "UDP" : "TCP";
}

static const char *mountd_who(const struct failure_view *view)
{
	return view->elsewhere ? view->mountd : view->who;
}

/* The portmapper named a port that cannot be reached. */
static void mountd_refused(const struct failure_view *view)
{
	const struct mount_result *result = view->result;

	if (!result->error || result->error == ECONNREFUSED) {
		message_set(view->message, MSG_CONN_REFUSED, "%s refused port %u", mountd_who(view),
			    result->mount_port);
		message_why(view->message, "the mount service should listen there (%s).",
			    mountd_transport(view));
	} else {
		errno = result->error;
		message_set(view->message, MSG_CONN_FAILED, "cannot connect to %s port %u: %m",
			    mountd_who(view), result->mount_port);
		message_why(view->message, "that is the port of the mount service (%s).",
			    mountd_transport(view));
	}
	message_try(view->message, "rpcinfo -p %s", view->mountd);
}

static void mountd_timeout(const struct failure_view *view)
{
	message_set(view->message, MSG_CONN_TIMEOUT, "%s port %u did not answer within %g s",
		    mountd_who(view), view->result->mount_port, seconds(view->query->stage_ns));
	message_why(view->message,
		    "that is the port of the mount service (%s); NFS answers on port %u. "
		    "A firewall may drop the packets.", mountd_transport(view), nfs_port(view));
	message_try(view->message, "rpcinfo -p %s", view->mountd);
}

static void try_exports(const struct failure_view *view)
{
	if (view->query->mount_port)
		message_try(view->message, "fusenfs exports %s -o mountport=%u", view->mountd, view->query->mount_port);
	else
		message_try(view->message, "fusenfs exports %s", view->mountd);
}

static void mountd_bad_reply(const struct failure_view *view)
{
	message_set(view->message, MSG_MOUNTD_ERROR, "the mount service of %s %s", view->mountd,
		    view->result->error == EBADMSG ? "sent a malformed reply" : "closed the connection");
	message_why(view->message, "MNT, version 3, was sent to port %u (%s).",
		    view->result->mount_port, mountd_transport(view));
	try_exports(view);
}

/* ---- what mountd said -------------------------------------------------------------------- */

static const char *mountstat_name(uint32_t status)
{
	switch (status) { /* mountstat3, RFC 1813 appendix I */
	case 1: return "MNT3ERR_PERM";
	case 2: return "MNT3ERR_NOENT";
	case 5: return "MNT3ERR_IO";
	case 13: return "MNT3ERR_ACCES";
	case 20: return "MNT3ERR_NOTDIR";
	case 22: return "MNT3ERR_INVAL";
	case 63: return "MNT3ERR_NAMETOOLONG";
	case 10004: return "MNT3ERR_NOTSUPP";
	case 10006: return "MNT3ERR_SERVERFAULT";
	default: return "an unknown error";
	}
}

static void list_exports(const struct failure_view *view)
{
	const struct mount_result *result = view->result;
	struct message *message = view->message;
	unsigned int n = 0;

	if (!result->n_exports) {
		message_why(message, "%s gave no list of exports.", mountd_who(view));
		return;
	}
	message_why(message, "%s exports: ", mountd_who(view));
	for (; n < result->n_exports; n++) {
		if (strlen(message->why) + strlen(result->exports[n].path) > 700)
			break;
		message_why(message, "%s%s", n ? ", " : "", result->exports[n].path);
	}
	if (n < result->n_exports)
		message_why(message, "%s%s%u more", n ? " and " : "",
			    result->exports_truncated ? "over " : "", result->n_exports - n);
	message_why(message, ".");
}

/* "nas1" of "nas1:/dta", or "[fe80::1]": the source as typed, up to its path. */
static void try_other_path(const struct failure_view *view, const char *path)
{
	bool literal = strchr(view->host, ':') != NULL;
	char word[MESSAGE_TEXT_MAX], quoted[MESSAGE_TEXT_MAX];
	char port[24] = "";

	if (view->options->source.port)
		snprintf(port, sizeof(port), " -o port=%u", view->options->source.port);
	snprintf(word, sizeof(word), "%s%.255s%s:%.600s", literal ? "[" : "", view->host,
		 literal ? "]" : "", path);
	message_try(view->message, "fusenfs %s %s%s", message_quote(word, quoted, sizeof(quoted)),
		    view->target, port);
}

static void export_not_found(const struct failure_view *view)
{
	const struct mount_export *nearest = exports_nearest(view->result, view->query->path);

	message_set(view->message, MSG_EXPORT_NOT_FOUND, "%s does not export '%.200s'", view->mountd,
		    view->query->path);
	list_exports(view);
	message_why(view->message, " NFS path asked: '%.200s'.", view->query->path);
	if (nearest)
		try_other_path(view, nearest->path);
	else if (view->result->n_exports == 1)
		try_other_path(view, view->result->exports[0].path);
	else
		try_exports(view);
}

static void explain_refusal(const struct failure_view *view)
{
	const struct mount_export *export = exports_find(view->result, view->query->path);

	if (view->result->mountstat)
		message_why(view->message, "mountd answered %s.",
			    mountstat_name(view->result->mountstat));
	else
		message_why(view->message, "mountd refused our AUTH_SYS credential.");
	if (export)
		message_why(view->message, " '%.200s' is exported to: %.400s.", export->path,
			    export->groups[0] ? export->groups : "everyone");
}

static void access_denied_port(const struct failure_view *view)
{
	message_set(view->message, MSG_ACCESS_DENIED_PORT,
		    "%s refused '%.200s', maybe for our source port %u", view->mountd,
		    view->query->path, view->result->mount_source_port);
	explain_refusal(view);
	message_why(view->message, " Servers refuse ports above 1023 unless the export has "
				   "'insecure'.");
	if (geteuid() == 0) {
		message_try(view->message, "fusenfs %s %s -o resvport", view->source, view->target);
	} else {
		message_try(view->message, "sudo fusenfs %s %s", view->source, view->target);
		message_try(view->message,
			    "sudo setcap cap_net_bind_service+ep \"$(command -v fusenfs)\"");
	}
}

static void access_denied(const struct failure_view *view)
{
	char local[ADDR_MAX] = "";

	if (view->result->mount_source_port > 1023) {
		access_denied_port(view);
		return;
	}
	if (view->result->mountd.len)
		local_host_text(&view->result->mountd, local);
	message_set(view->message, MSG_ACCESS_DENIED_CLIENT,
		    "%s does not allow this host%s%s%s for '%.200s'", view->mountd,
		    local[0] ? " (" : "", local, local[0] ? ")" : "", view->query->path);
	explain_refusal(view);
	message_try(view->message, "on %s, after adding this host to /etc/exports: exportfs -ra",
		    view->host);
}

static void mountd_error(const struct failure_view *view)
{
	message_set(view->message, MSG_MOUNTD_ERROR,
		    "%s answered MNT of '%.200s' with %s", view->mountd, view->query->path,
		    mountstat_name(view->result->mountstat));
	message_why(view->message, "mountstat3 is %u: no fault of the path or of this host's permission.",
		    view->result->mountstat);
	message_try(view->message, "on %s: look into the log of its mount service", view->mountd);
	try_exports(view);
}

static void export_not_dir(const struct failure_view *view)
{
	const char *path = view->query->path, *slash = strrchr(path, '/');
	char parent[MESSAGE_TEXT_MAX];

	message_set(view->message, MSG_EXPORT_NOT_DIR, "'%.200s' on %s is not a directory", path, view->host);
	message_why(view->message, "mountd answered MNT3ERR_NOTDIR.");
	if (slash && slash != path) {
		snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
		try_other_path(view, parent);
	}
	try_exports(view);
}

static void auth_flavor(const struct failure_view *view)
{
	const struct mount_result *result = view->result;
	bool kerberos = false;
	char list[MOUNT_MAX_FLAVORS * 12] = "none";
	size_t used = 0;

	for (unsigned int i = 0; i < result->n_flavors && i < MOUNT_MAX_FLAVORS; i++) {
		kerberos |= result->flavors[i] >= 390003 && result->flavors[i] <= 390005;
		used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%u", i ? "," : "",
					 result->flavors[i]);
	}
	if (kerberos)
		message_set(view->message, MSG_AUTH_FLAVOR,
			    "%s wants Kerberos for '%.200s' (flavors %s)", view->host,
			    view->query->path, list);
	else
		message_set(view->message, MSG_AUTH_FLAVOR,
			    "%s does not accept AUTH_SYS for '%.200s' (flavors %s)", view->host,
			    view->query->path, list);
	message_why(view->message,
		    "fusenfs identifies users by AUTH_SYS (sec=sys) only; to mount without "
		    "what the server wants would fail later.");
	if (kerberos)
		message_try(view->message, "mount -t nfs -o vers=3,sec=krb5 %s %s", view->source,
			    view->target);
	message_try(view->message, "on %s: allow sec=sys for the export", view->host);
}

/* ---- the rest ---------------------------------------------------------------------------- */

/* When the next stage that ran began, or the attempt was given up. */
static int64_t stage_end_ns(const struct failure_view *view, unsigned int stage)
{
	const int64_t *started_ns = view->result->stage_started_ns;

	for (unsigned int i = stage + 1; i <= MOUNT_STAGE_DONE; i++)
		if (started_ns[i])
			return started_ns[i];
	return max_i64(view->query->deadline_ns, started_ns[stage]);
}

static void mount_timeout(const struct failure_view *view)
{
	const struct mount_result *result = view->result;
	int64_t limit = view->options->mounttimeo_ns;
	const char *between = "";

	message_set(view->message, MSG_MOUNT_TIMEOUT, "gave up after %g s in stage '%s'",
		    seconds(limit), mount_stage_name(result->stage));
	for (unsigned int i = 0; i < MOUNT_STAGE_DONE; i++) {
		int64_t start = result->stage_started_ns[i];

		if (!start)
			continue;
		message_why(view->message, "%s%s %.1f s", between,
			    mount_stage_name((enum mount_stage)i),
			    seconds(stage_end_ns(view, i) - start));
		between = ", ";
	}
	message_try(view->message, "fusenfs %s %s -o mounttimeo=%g", view->source, view->target,
		    seconds(limit) * 3);
	message_try(view->message, "fusenfs %s %s -o retry=5", view->source, view->target);
}

static void build(const struct failure_view *view)
{
	const struct mount_result *result = view->result;

	switch (result->failure) {
	case MOUNT_OK:
		message_set(view->message, MSG_BUG,
			    "a mount that succeeded was reported as failed");
		return;
	case MOUNT_DNS_FAILED: dns_failed(view); return;
	case MOUNT_DNS_TIMEOUT: dns_timeout(view); return;
	case MOUNT_CONN_REFUSED: conn_refused(view); return;
	case MOUNT_CONN_TIMEOUT: conn_timeout(view); return;
	case MOUNT_NET_UNREACHABLE: net_unreachable(view); return;
	case MOUNT_CONN_ERROR: conn_error(view); return;
	case MOUNT_NOT_NFS: not_nfs(view); return;
	case MOUNT_VERSION_UNSUPPORTED: version_unsupported(view); return;
	case MOUNT_NFS_TIMEOUT: nfs_timeout(view); return;
	case MOUNT_RPCBIND_REFUSED: rpcbind_refused(view); return;
	case MOUNT_MOUNTD_MISSING: mountd_missing(view); return;
	case MOUNT_MOUNTD_REFUSED: mountd_refused(view); return;
	case MOUNT_MOUNTD_TIMEOUT: mountd_timeout(view); return;
	case MOUNT_MOUNTD_BAD_REPLY: mountd_bad_reply(view); return;
	case MOUNT_EXPORT_NOT_FOUND: export_not_found(view); return;
	case MOUNT_ACCESS_DENIED: access_denied(view); return;
	case MOUNT_NOT_DIRECTORY: export_not_dir(view); return;
	case MOUNT_MOUNTD_ERROR: mountd_error(view); return;
	case MOUNT_AUTH_FLAVOR: auth_flavor(view); return;
	case MOUNT_OTHER_SERVER:
		message_set(view->message, MSG_ROOT_FAILED, "%s is another server: our root is not there",
			    view->who);
		return;
	case MOUNT_DEADLINE: mount_timeout(view); return;
	case MOUNT_CANCELLED:
		message_set(view->message, MSG_INTERRUPTED, "interrupted");
		return;
	case MOUNT_NO_MEMORY:
		message_set(view->message, MSG_NO_MEMORY, "out of memory");
		return;
	}
	message_set(view->message, MSG_BUG, "mount failure %d is unknown", (int)result->failure);
}

void message_from_mount_result(const struct options *options, const struct mount_query *query,
			       const struct mount_result *result, struct message *ret_message)
{
	struct failure_view view = {
		.options = options,
		.query = query,
		.result = result,
		.message = ret_message,
	};

	failure_view_init(&view);
	build(&view);
	options_action(options, ret_message);
}
