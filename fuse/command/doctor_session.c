/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor_session - one connection, as the mount would have several: is the root readable, does the server take our
 * source port, how long is the path, and do large segments pass it? */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "doctor.h"
#include "session.h"

enum { N_ROUND_TRIPS = 8, LARGE = 32 * 1024, RESERVED = 1024 };

static void next_stage(struct doctor *doctor, struct session *session)
{
	session->deadline_ns = min_i64(clock_ns() + doctor->options.stage_ns, doctor->deadline_ns);
}

static bool is_silence(int error)
{
	return error == -ETIMEDOUT || error == -EHOSTDOWN;
}

/* ---- the root ---------------------------------------------------------------------------- */

static void root_failed(struct doctor *doctor, struct session *session, const char *procedure, int error)
{
	uint16_t port = session_source_port(session);

	if (error == -EACCES && port >= RESERVED)
		findings_add(&doctor->findings, FINDING_FAIL, "port",
			     geteuid() ? "try: as root, or 'insecure' in the server's export" :
					 "try: -o resvport, or 'insecure' in the server's export",
			     "the server refuses %s, maybe because our source port is %u", procedure, port);
	else if (is_silence(error))
		findings_add(&doctor->findings, FINDING_FAIL, "root", "try: look at the server's log", "%s: no answer",
			     procedure);
	else
		findings_add(&doctor->findings, FINDING_FAIL, "root", NULL, "%s answers: %s", procedure,
			     strerrordesc_np(-error));
}

static void root_granted(struct doctor *doctor, const struct session *session, const struct attr *attr,
			 const struct nfs3_access *access, const struct nfs3_fsinfo *info)
{
	char remedy[128];

	if (access->granted & NFS3_ACCESS_READ && access->granted & NFS3_ACCESS_LOOKUP) {
		findings_add(&doctor->findings, FINDING_OK, "root", NULL,
			     "uid %u may read it; transfers of up to %u KiB (read) and %u KiB (write)",
			     session->cred.uid, info->rtmax / 1024, info->wtmax / 1024);
		return;
	}
	snprintf(remedy, sizeof(remedy), session->cred.uid ? "try: as user %u" :
							     "try: as user %u, or no_root_squash on the server", attr->uid);
	findings_add(&doctor->findings, FINDING_WARN, "root", remedy, "uid %u may not read it: owner %u, mode %04o%s",
		     session->cred.uid, attr->uid, (unsigned int)attr->mode & 07777,
		     session->cred.uid ? "" : "; root may be squashed");
}

/* The server's clock cannot be asked for. What it has stamped is not later than that. */
static void check_clock(struct doctor *doctor, const struct attr *attr)
{
	struct timespec now;
	int64_t ahead_s;

	clock_gettime(CLOCK_REALTIME, &now);
	ahead_s = (int64_t)(attr->ctime.tv_sec - now.tv_sec);
	if (ahead_s > 1)
		findings_add(&doctor->findings, FINDING_WARN, "clock", "try: NTP on both hosts",
			     "the server's is ahead of ours by %lld s or more: its root changed in our future",
			     (long long)ahead_s);
	else
		findings_add(&doctor->findings, FINDING_OK, "clock", NULL,
			     "no time of the root is in our future (more cannot be seen without writing)");
}

static bool check_root(struct doctor *doctor, struct session *session)
{
	const char *procedure = "GETATTR";
	struct nfs3_access access;
	struct nfs3_fsinfo info;
	struct fhandle fh;
	struct attr attr;
	int error = session_lookup(session, "/", &fh, &attr);

	if (!error) {
		procedure = "FSINFO";
		error = session_run(session, nfs3_fsinfo_encode(session_call(session), &session->cred, &fh));
	}
	if (!error)
		error = nfs3_fsinfo_decode(&session->call, &info);
	if (!error) {
		procedure = "ACCESS";
		error = session_run(session, nfs3_access_encode(session_call(session), &session->cred, &fh,
								NFS3_ACCESS_READ | NFS3_ACCESS_LOOKUP));
	}
	if (!error)
		error = nfs3_access_decode(&session->call, &access);
	if (error) {
		root_failed(doctor, session, procedure, error);
		return false;
	}
	root_granted(doctor, session, &attr, &access, &info);
	if (doctor->target)
		check_clock(doctor, &attr);
	return true;
}

static void check_port(struct doctor *doctor, const struct session *session)
{
	uint16_t port = session_source_port(session);

	if (port < RESERVED)
		findings_add(&doctor->findings, FINDING_OK, "port", NULL, "source port %u is a reserved one", port);
	else if (doctor->options.resvport && !geteuid() && !doctor->options.srcport_low)
		findings_add(&doctor->findings, FINDING_WARN, "port", "try: ss -tan 'sport < 1024'",
			     "no reserved port is to be had: source port %u, which this server takes", port);
	else
		findings_add(&doctor->findings, FINDING_OK, "port", NULL,
			     "source port %u is no reserved one; this server takes it", port);
}

/* ---- the path ---------------------------------------------------------------------------- */

static void check_round_trip(struct doctor *doctor, struct session *session)
{
	int64_t least_ns = INT64_MAX, most_ns = 0;
	int error = 0;

	for (unsigned int i = 0; !error && i <= N_ROUND_TRIPS; i++) {
		int64_t began_ns = clock_ns(), took_ns;

		error = session_null(session, 0);
		took_ns = clock_ns() - began_ns;
		if (!i) /* threads are waking up */
			continue;
		least_ns = min_i64(least_ns, took_ns);
		most_ns = max_i64(most_ns, took_ns);
	}
	if (!error)
		findings_add(&doctor->findings, FINDING_OK, "round-trip", NULL, "%.2f to %.2f ms (%d calls)",
			     (double)least_ns / 1e6, (double)most_ns / 1e6, N_ROUND_TRIPS);
}

/* What the kernel knows of the path, which is more once something large was sent. 0: nothing. */
static int path_mtu(const struct pool_addr *addr)
{
	bool v6 = addr->sa.ss_family == AF_INET6;
	cleanup(closep) int fd = socket(addr->sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(int);
	int mtu = 0;

	if (fd < 0 || connect(fd, (const struct sockaddr *)&addr->sa, addr->len) ||
	    getsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU : IP_MTU, &mtu, &len))
		return 0;
	return mtu;
}

/* Segments of full size that get lost while small ones pass look like a server that hangs at the first WRITE. */
static void check_mtu(struct doctor *doctor, struct session *session)
{
	const struct pool_addr *addr = &doctor->best->result.addrs[0];
	int error = addr->udp ? 0 : session_null(session, LARGE);
	int mtu = path_mtu(addr);

	if (is_silence(error))
		findings_add(&doctor->findings, FINDING_FAIL, "mtu",
			     "try: sysctl -w net.ipv4.tcp_mtu_probing=1, or a smaller MTU of the interface",
			     "large packets get lost on the way, small ones do not (path MTU %d here)", mtu);
	else if (mtu)
		findings_add(&doctor->findings, FINDING_OK, "mtu", NULL, "path MTU %d%s", mtu,
			     error || addr->udp ? "" : "; large packets reach the server");
}

void doctor_session(struct doctor *doctor)
{
	struct session session;
	const struct mount_result *found = &doctor->best->result;
	int error = session_open(&session, &doctor->options, found, found->addrs, 1, 1,
				 min_i64(clock_ns() + doctor->options.stage_ns, doctor->deadline_ns));

	if (error) {
		findings_add(&doctor->findings, FINDING_FAIL, "root", NULL, "no connection: %s", strerrordesc_np(-error));
		session_close(&session);
		return;
	}
	next_stage(doctor, &session);
	if (check_root(doctor, &session)) {
		check_port(doctor, &session);
		next_stage(doctor, &session);
		check_round_trip(doctor, &session);
		next_stage(doctor, &session);
		check_mtu(doctor, &session);
	}
	session_close(&session);
}
