/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_message - what a person reads, to the letter: the layout, the message of every way in which
 * a mount can fail, and the log lines with their limit. */
#undef NDEBUG
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../conn/mount.h"
#include "../../conn/util.h"
#include "../../fuse/log.h"
#include "../../fuse/logsink.h"
#include "../../fuse/message.h"
#include "../../fuse/options.h"

/* conn/mount3.c has the real one; this test needs no network. */
const char *mount_stage_name(enum mount_stage stage)
{
	static const char *const names[] = { "resolve", "connect", "null", "rpcbind", "mountd",
					     "done" };

	return names[stage];
}

static void expect(const struct message *message, bool quiet, const char *text)
{
	char got[8192];

	assert(message_format(message, quiet, got, sizeof(got)) == strlen(got));
	if (strcmp(got, text) != 0) {
		fprintf(stderr, "expected:\n%sgot:\n%s", text, got);
		abort();
	}
}

/* ---- the layout -------------------------------------------------------------------------- */

static void test_layout(void)
{
	struct message m;

	message_set(&m, MSG_EXPORT_NOT_FOUND, "%s does not export '%s'", "nas1", "/dta");
	message_action(&m, "mount %s on %s", "nas1:/dta", "/mnt");
	message_why(&m, "nas1 (%s) exports: %s.", "10.0.0.5", "/data, /home");
	message_why(&m, " NFS path asked: '%s'.", "/dta");
	message_try(&m, "fusenfs nas1:/data /mnt");
	expect(&m, false,
	       "fusenfs: cannot mount nas1:/dta on /mnt: nas1 does not export '/dta' "
	       "[export-not-found]\n"
	       "  why: nas1 (10.0.0.5) exports: /data, /home. NFS path asked: '/dta'.\n"
	       "  try: fusenfs nas1:/data /mnt\n");
	expect(&m, true,
	       "fusenfs: cannot mount nas1:/dta on /mnt: nas1 does not export '/dta' "
	       "[export-not-found]\n");
	message_try(&m, "second");
	message_try(&m, "third: dropped");
	assert(m.n_tries == 2);
	message_set(&m, MSG_OPTION_IGNORED, "option 'fsc' has no effect in fusenfs");
	expect(&m, false,
	       "fusenfs: warning: option 'fsc' has no effect in fusenfs [option-ignored]\n");
	message_set(&m, MSG_STALE_MOUNT, "found a dead fusenfs mount, unmounted it");
	expect(&m, false, "fusenfs: found a dead fusenfs mount, unmounted it\n");
	message_set(&m, MSG_USAGE, "no mount point given");
	expect(&m, false, "fusenfs: no mount point given [usage]\n");
}

static void test_catalogue(void)
{
	for (unsigned int id = MSG_NONE + 1; id < MSG_COUNT; id++) {
		const char *name = message_id_name((enum message_id)id);
		struct message m;

		assert(*name && message_id_find(name) == id);
		message_set(&m, (enum message_id)id, "x");
		switch (message_exit_code(&m)) {
		case EXIT_OK:
		case EXIT_USAGE:
		case EXIT_SYSTEM:
		case EXIT_BUG:
		case EXIT_INTERRUPTED:
		case EXIT_MOUNT_FAILED:
			break;
		default:
			abort();
		}
	}
	assert(message_id_find("no-such-id") == MSG_NONE);
	assert(strcmp(message_id_name((enum message_id)9999), "") == 0);
}

static void test_hostile_text(void)
{
	char huge[4096], quoted[64];
	struct message m;

	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	message_set(&m, MSG_BAD_SOURCE, "a\033[2Jb\nc\x7f\xc2\x9b" "d \xc3\xa9");
	assert(strcmp(m.reason, "a?[2Jb?c???d \xc3\xa9") == 0);
	message_set(&m, MSG_BAD_SOURCE, "%s", huge);
	assert(strlen(m.reason) == sizeof(m.reason) - 1);
	assert(strcmp(m.reason + sizeof(m.reason) - 4, "...") == 0);
	message_why(&m, "%s", huge);
	message_why(&m, "%s", huge);
	assert(strlen(m.why) == sizeof(m.why) - 1);
	assert(message_format(&m, false, huge, 100) == 99);
	assert(strcmp(message_quote("/a/b-c_d.e:1", quoted, sizeof(quoted)), "/a/b-c_d.e:1") == 0);
	assert(strcmp(message_quote("/a b", quoted, sizeof(quoted)), "'/a b'") == 0);
	assert(strcmp(message_quote("$(x)'y", quoted, sizeof(quoted)), "'$(x)'\\''y'") == 0);
	assert(strcmp(message_quote("", quoted, sizeof(quoted)), "''") == 0);
	message_quote("a b                                                                   ",
		      quoted, sizeof(quoted));
	assert(strlen(quoted) < sizeof(quoted));
}

/* ---- why a mount failed ------------------------------------------------------------------ */

struct scene {
	struct options options;
	struct mount_query query;
	struct mount_result result;
	struct mount_export exports[8];
	struct message message;
};

static void add_addr(struct scene *scene, const char *text)
{
	struct pool_addr *addr = &scene->result.addrs[scene->result.n_addrs++];
	struct sockaddr_in *in = (struct sockaddr_in *)&addr->sa;

	in->sin_family = AF_INET;
	in->sin_port = htons(2049);
	assert(inet_pton(AF_INET, text, &in->sin_addr) == 1);
	addr->len = sizeof(*in);
}

static void add_export(struct scene *scene, const char *path, const char *groups)
{
	struct mount_export *export = &scene->exports[scene->result.n_exports++];

	export->path = strdup(path);
	export->groups = strdup(groups);
	scene->result.exports = scene->exports;
}

/* nas1:/dta on /mnt, resolved to 127.0.0.5, NFS on 2049. */
static void begin(struct scene *scene, const char *source, enum mount_failure failure)
{
	char name[] = "fusenfs", mnt[] = "/mnt", words[256];
	char *argv[] = { name, words, mnt, NULL };

	memset(scene, 0, sizeof(*scene));
	snprintf(words, sizeof(words), "%s", source);
	assert(options_parse(3, argv, &scene->options, &scene->message) == 0);
	options_mount_query(&scene->options, &scene->query);
	scene->result.failure = failure;
	scene->result.nfs_port = 2049;
	add_addr(scene, "127.0.0.5");
	scene->result.mountd = scene->result.addrs[0];
}

static void end(struct scene *scene, const char *text)
{
	message_from_mount_result(&scene->options, &scene->query, &scene->result, &scene->message);
	expect(&scene->message, false, text);
	options_deinit(&scene->options);
	for (unsigned int i = 0; i < scene->result.n_exports; i++) {
		free(scene->exports[i].path);
		free(scene->exports[i].groups);
	}
}

#define CANNOT(source) "fusenfs: cannot mount " source " on /mnt: "

static void test_names(void)
{
	struct scene s;

	begin(&s, "nas1:/dta", MOUNT_DNS_FAILED);
	s.result.n_addrs = 0;
	s.result.gai_error = EAI_NONAME;
	end(&s, CANNOT("nas1:/dta")
	    "cannot resolve 'nas1': Name or service not known [dns-failed]\n"
	    "  try: getent ahosts nas1\n");

	begin(&s, "nas1:/dta", MOUNT_DNS_FAILED);
	s.query.family = AF_INET6;
	s.result.gai_error = EAI_SYSTEM;
	s.result.error = EMFILE;
	end(&s, CANNOT("nas1:/dta")
	    "cannot resolve 'nas1': Too many open files [dns-failed]\n"
	    "  why: only IPv6 addresses were asked for.\n"
	    "  try: getent ahosts nas1\n");

	begin(&s, "nas1:/dta", MOUNT_DNS_TIMEOUT);
	end(&s, CANNOT("nas1:/dta")
	    "cannot resolve 'nas1': took longer than 5 s [dns-timeout]\n"
	    "  why: a name server in /etc/resolv.conf may not answer.\n"
	    "  try: getent ahosts nas1\n");
}

/* mounthost=: who is meant is said. */
static void test_mount_host(void)
{
	struct scene s;

	begin(&s, "nas1:/dta", MOUNT_DNS_FAILED);
	s.query.mount_host = "ctl1";
	s.result.about_mountd = true;
	s.result.gai_error = EAI_NONAME;
	end(&s, CANNOT("nas1:/dta")
	    "cannot resolve 'ctl1': Name or service not known [dns-failed]\n"
	    "  why: that is where the mount service is to be.\n"
	    "  try: getent ahosts ctl1\n");

	begin(&s, "nas1:/dta", MOUNT_RPCBIND_REFUSED);
	s.query.mount_host = "ctl1";
	end(&s, CANNOT("nas1:/dta")
	    "ctl1 refused port 111, but 2049 of nas1 is open [rpcbind-refused]\n"
	    "  why: the portmapper (111) tells the port of the mount service; without it that port must be given.\n"
	    "  try: fusenfs nas1:/dta /mnt -o port=2049,mountport=20048\n");
}

static void test_connecting(void)
{
	struct scene s;

	begin(&s, "nas1:/dta", MOUNT_CONN_REFUSED);
	end(&s, CANNOT("nas1:/dta") "nas1 (127.0.0.5) refused port 2049 [conn-refused]\n"
	    "  why: the host answers, but no NFS server listens on that port.\n"
	    "  try: rpcinfo -p nas1\n");

	begin(&s, "127.0.0.5:/dta", MOUNT_CONN_TIMEOUT); /* no name, so the address once */
	end(&s, CANNOT("127.0.0.5:/dta")
	    "127.0.0.5 port 2049 did not answer within 5 s [conn-timeout]\n"
	    "  why: packets may be dropped by a firewall, the address may be wrong, or the host may "
	    "be down.\n"
	    "  try: ping -c 3 127.0.0.5\n");

	begin(&s, "nas1:/dta", MOUNT_NET_UNREACHABLE);
	s.result.error = EHOSTUNREACH;
	add_addr(&s, "127.0.0.6");
	end(&s, CANNOT("nas1:/dta") "no route to 127.0.0.5 [net-unreachable]\n"
	    "  why: connect(2): No route to host. All 2 addresses of nas1 were tried.\n"
	    "  try: ip route get 127.0.0.5\n");

	begin(&s, "nas1:/dta", MOUNT_CONN_ERROR);
	s.result.error = EACCES;
	end(&s, CANNOT("nas1:/dta")
	    "cannot connect to nas1 (127.0.0.5) port 2049: Permission denied [conn-failed]\n");

	begin(&s, "nas1:/dta", MOUNT_NFS_TIMEOUT);
	end(&s, CANNOT("nas1:/dta")
	    "nas1 (127.0.0.5) port 2049 connected, but did not answer within 5 s "
	    "[conn-timeout]\n"
	    "  why: NFSv3 NULL was sent; the server may be starting or overloaded.\n"
	    "  try: fusenfs nas1:/dta /mnt -o retry=5\n");
}

static void test_services(void)
{
	struct scene s;

	begin(&s, "nas1:/dta", MOUNT_NOT_NFS);
	s.result.nfs_port = 22;
	memcpy(s.result.peer_bytes, "SSH-2.0\r\n\x80", 10);
	s.result.n_peer_bytes = 10;
	end(&s, CANNOT("nas1:/dta") "port 22 of nas1 answers, but not as NFS [not-nfs]\n"
	    "  why: its first bytes were 'SSH-2.0...'.\n"
	    "  try: rpcinfo -p nas1\n");

	begin(&s, "nas1:/dta", MOUNT_NOT_NFS);
	end(&s, CANNOT("nas1:/dta") "port 2049 of nas1 answers, but not as NFS [not-nfs]\n"
	    "  why: it closed the connection on an NFS call.\n"
	    "  try: rpcinfo -p nas1\n");

	begin(&s, "nas1:/dta", MOUNT_VERSION_UNSUPPORTED);
	s.result.vers_low = s.result.vers_high = 4;
	end(&s, CANNOT("nas1:/dta") "nas1 does not offer NFSv3 [version-unsupported]\n"
	    "  why: port 2049 offers NFS version 4 only.\n"
	    "  try: mount -t nfs4 nas1:/dta /mnt\n");

	begin(&s, "nas1:/dta", MOUNT_RPCBIND_REFUSED);
	s.result.error = ECONNREFUSED;
	end(&s, CANNOT("nas1:/dta") "nas1 refused port 111, but 2049 is open [rpcbind-refused]\n"
	    "  why: the portmapper (111) tells the port of the mount service; without it that port "
	    "must be given.\n"
	    "  try: fusenfs nas1:/dta /mnt -o port=2049,mountport=20048\n");

	begin(&s, "nas1:/dta", MOUNT_MOUNTD_MISSING);
	end(&s, CANNOT("nas1:/dta") "nas1 has no NFSv3 mount service [mountd-missing]\n"
	    "  why: its portmapper lists no program 100005 (mountd) version 3; fusenfs needs NFSv3.\n"
	    "  try: rpcinfo -p nas1\n");

	begin(&s, "nas1:/dta", MOUNT_MOUNTD_REFUSED);
	s.result.error = ECONNREFUSED;
	s.result.mount_port = 20048;
	s.result.mount_transport = MOUNT_TCP;
	end(&s, CANNOT("nas1:/dta") "nas1 (127.0.0.5) refused port 20048 [conn-refused]\n"
	    "  why: the mount service should listen there (TCP).\n"
	    "  try: rpcinfo -p nas1\n");

	begin(&s, "nas1:/dta", MOUNT_MOUNTD_TIMEOUT);
	s.result.mount_port = 20048;
	s.result.mount_transport = MOUNT_UDP;
	end(&s, CANNOT("nas1:/dta")
	    "nas1 (127.0.0.5) port 20048 did not answer within 5 s [conn-timeout]\n"
	    "  why: that is the port of the mount service (UDP); NFS answers on port 2049. A "
	    "firewall may drop the packets.\n"
	    "  try: rpcinfo -p nas1\n");
}

static void test_exports(void)
{
	struct scene s;

	begin(&s, "nas1:/dta", MOUNT_EXPORT_NOT_FOUND);
	add_export(&s, "/data", "");
	add_export(&s, "/home", "");
	end(&s, CANNOT("nas1:/dta") "nas1 does not export '/dta' [export-not-found]\n"
	    "  why: nas1 (127.0.0.5) exports: /data, /home. NFS path asked: '/dta'.\n"
	    "  try: fusenfs nas1:/data /mnt\n");

	begin(&s, "nas1:/other", MOUNT_EXPORT_NOT_FOUND);
	add_export(&s, "/$(reboot)", "");
	end(&s, CANNOT("nas1:/other") "nas1 does not export '/other' [export-not-found]\n"
	    "  why: nas1 (127.0.0.5) exports: /$(reboot). NFS path asked: '/other'.\n"
	    "  try: fusenfs 'nas1:/$(reboot)' /mnt\n");

	begin(&s, "nas1:/other", MOUNT_EXPORT_NOT_FOUND);
	end(&s, CANNOT("nas1:/other") "nas1 does not export '/other' [export-not-found]\n"
	    "  why: nas1 (127.0.0.5) gave no list of exports. NFS path asked: '/other'.\n"
	    "  try: fusenfs exports nas1\n");

	begin(&s, "nfs://[2001:db8::1]:2050/dta", MOUNT_EXPORT_NOT_FOUND);
	s.result.n_addrs = 0;
	add_export(&s, "/data", "");
	end(&s, CANNOT("nfs://[2001:db8::1]:2050/dta")
	    "2001:db8::1 does not export '/dta' [export-not-found]\n"
	    "  why: 2001:db8::1 exports: /data. NFS path asked: '/dta'.\n"
	    "  try: fusenfs [2001:db8::1]:/data /mnt -o port=2050\n");
}

static void test_access(void)
{
	struct scene s;

	begin(&s, "nas1:/data/sub", MOUNT_ACCESS_DENIED);
	s.result.mountstat = 13;
	s.result.mount_source_port = 900;
	add_export(&s, "/", "nobody");
	add_export(&s, "/data", "10.0.0.0/24,trusted");
	add_export(&s, "/dat", "other");
	end(&s, CANNOT("nas1:/data/sub")
	    "nas1 does not allow this host (127.0.0.1) for '/data/sub' [access-denied-client]\n"
	    "  why: mountd answered MNT3ERR_ACCES. '/data' is exported to: 10.0.0.0/24,trusted.\n"
	    "  try: on nas1, after adding this host to /etc/exports: exportfs -ra\n");

	begin(&s, "nas1:/data", MOUNT_ACCESS_DENIED);
	s.result.mountstat = 1;
	s.result.mount_source_port = 44280;
	message_from_mount_result(&s.options, &s.query, &s.result, &s.message);
	assert(s.message.id == MSG_ACCESS_DENIED_PORT);
	end(&s, geteuid() == 0 ?
	    CANNOT("nas1:/data") "nas1 refused '/data', maybe for our source port 44280 "
	    "[access-denied-port]\n"
	    "  why: mountd answered MNT3ERR_PERM. Servers refuse ports above 1023 unless the "
	    "export has 'insecure'.\n"
	    "  try: fusenfs nas1:/data /mnt -o resvport\n" :
	    CANNOT("nas1:/data") "nas1 refused '/data', maybe for our source port 44280 "
	    "[access-denied-port]\n"
	    "  why: mountd answered MNT3ERR_PERM. Servers refuse ports above 1023 unless the "
	    "export has 'insecure'.\n"
	    "  try: sudo fusenfs nas1:/data /mnt\n"
	    "  try: sudo setcap cap_net_bind_service+ep \"$(command -v fusenfs)\"\n");

	begin(&s, "nas1:/data", MOUNT_AUTH_FLAVOR);
	s.result.flavors[0] = 390003;
	s.result.flavors[1] = 390005;
	s.result.n_flavors = 2;
	end(&s, CANNOT("nas1:/data")
	    "nas1 wants Kerberos for '/data' (flavors 390003,390005) [auth-flavor]\n"
	    "  why: fusenfs identifies users by AUTH_SYS (sec=sys) only; to mount without what the "
	    "server wants would fail later.\n"
	    "  try: mount -t nfs -o vers=3,sec=krb5 nas1:/data /mnt\n"
	    "  try: on nas1: allow sec=sys for the export\n");

	begin(&s, "nas1:/file", MOUNT_NOT_DIRECTORY);
	end(&s, CANNOT("nas1:/file") "'/file' on nas1 is not a directory [export-not-dir]\n"
	    "  why: mountd answered MNT3ERR_NOTDIR.\n"
	    "  try: fusenfs exports nas1\n");
	begin(&s, "nas1:/data/file", MOUNT_NOT_DIRECTORY);
	end(&s, CANNOT("nas1:/data/file") "'/data/file' on nas1 is not a directory [export-not-dir]\n"
	    "  why: mountd answered MNT3ERR_NOTDIR.\n"
	    "  try: fusenfs nas1:/data /mnt\n"
	    "  try: fusenfs exports nas1\n");
}

static void test_deadline(void)
{
	struct scene s;

	begin(&s, "nas1:/data", MOUNT_DEADLINE);
	s.result.stage = MOUNT_STAGE_MOUNTD;
	s.result.stage_started_ns[MOUNT_STAGE_RESOLVE] = 100 * NS_PER_S;
	s.result.stage_started_ns[MOUNT_STAGE_CONNECT] = 100 * NS_PER_S + 20 * NS_PER_MS;
	s.result.stage_started_ns[MOUNT_STAGE_NULL] = 102 * NS_PER_S;
	s.result.stage_started_ns[MOUNT_STAGE_MOUNTD] = 106 * NS_PER_S; /* rpcbind left out */
	s.query.deadline_ns = 110 * NS_PER_S;
	end(&s, CANNOT("nas1:/data") "gave up after 10 s in stage 'mountd' [mount-timeout]\n"
	    "  why: resolve 0.0 s, connect 2.0 s, null 4.0 s, mountd 4.0 s\n"
	    "  try: fusenfs nas1:/data /mnt -o mounttimeo=30\n"
	    "  try: fusenfs nas1:/data /mnt -o retry=5\n");
}

/* Every value has a message of its own that is no bug, whatever else is in the result. */
static void test_every_failure(void)
{
	for (int failure = MOUNT_OK + 1; failure <= MOUNT_NO_MEMORY; failure++) {
		struct scene s;

		begin(&s, "nas1:/data", (enum mount_failure)failure);
		s.result.n_addrs = 0;
		message_from_mount_result(&s.options, &s.query, &s.result, &s.message);
		assert(s.message.id != MSG_BUG && s.message.reason[0]);
		assert(message_severity(s.message.id) == SEVERITY_ERROR);
		assert(strlen(s.message.reason) < 110);
		options_deinit(&s.options);
	}
}

/* ---- the log ----------------------------------------------------------------------------- */

static void expect_line(int fd, const char *text)
{
	char got[2 * LOG_LINE_MAX];
	ssize_t n = read(fd, got, sizeof(got) - 1);

	assert(n >= 0);
	got[n] = '\0';
	if (strcmp(got, text) != 0) {
		fprintf(stderr, "expected %sgot %s", text, got);
		abort();
	}
}

static void test_log_lines(void)
{
	struct message m;
	int ends[2];

	assert(pipe2(ends, O_NONBLOCK) == 0);
	log_to_fd(ends[1]);
	log_error(MSG_WRITE_LOST, "12 MB for '%s' discarded", "x\ny");
	expect_line(ends[0], "fusenfs: error: 12 MB for 'x?y' discarded [write-lost]\n");
	log_warn(MSG_SERVER_DOWN, "nfs: server nas1 not responding, timed out");
	expect_line(ends[0], "fusenfs: warning: nfs: server nas1 not responding, timed out "
			     "[server-down]\n");
	errno = ENOENT;
	log_info(MSG_MOUNTED, "%s: %m", "nas1:/data");
	assert(errno == ENOENT);
	expect_line(ends[0], "fusenfs: nas1:/data: No such file or directory\n");
	message_set(&m, MSG_DNS_FAILED, "cannot resolve 'nas1'");
	message_action(&m, "mount nas1:/d on /mnt");
	log_message(&m);
	expect_line(ends[0], "fusenfs: error: cannot mount nas1:/d on /mnt: cannot resolve 'nas1' "
			     "[dns-failed]\n");
	log_debug("not shown");
	assert(read(ends[0], &m, 1) == -1 && errno == EAGAIN);
	log_set_level(LEVEL_TRACE);
	assert(log_enabled(LEVEL_TRACE));
	log_debug("shown");
	log_trace("too");
	expect_line(ends[0], "fusenfs: debug: shown\nfusenfs: trace: too\n");
	log_set_level(LEVEL_ERROR);
	log_warn(MSG_NONE, "not shown");
	log_set_level(LEVEL_INFO);
	log_to_fd(STDERR_FILENO);
	close(ends[0]);
	close(ends[1]);
}

/* A sink that takes nothing costs lines, never time; the number is told later. */
/* Names of files are bytes; JSON is UTF-8, and one line. */
static void test_log_json(void)
{
	static const struct {
		const char *text, *json;
	} rows[] = {
		{ "a 'b' \"c\" \\d", "a 'b' \\\"c\\\" \\\\d" },
		{ "t\tn\nx", "t?n?x" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\xff|\xc3|\xe2\x82|\xed\xa0\x80|\xc0\xaf", /* alone, cut, a surrogate, overlong */
		  "\\ufffd|\\ufffd|\\ufffd\\ufffd|\\ufffd\\ufffd\\ufffd|\\ufffd\\ufffd" },
	};
	char got[8192], wanted[256];
	int ends[2];

	assert(pipe2(ends, O_CLOEXEC) == 0);
	logsink_set(SINK_JSON, ends[1], NULL);
	log_set_mount("nas:/\xe4", "/m\"t");
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		ssize_t n;

		log_about(3, "REMOVE");
		log_warn(MSG_OUTCOME_UNKNOWN, "%s", rows[i].text);
		n = read(ends[0], got, sizeof(got) - 1);
		assert(n > 0 && got[n - 1] == '\n');
		got[n] = '\0';
		snprintf(wanted, sizeof(wanted), "\"error\":\"outcome-unknown\",\"message\":\"%s\",\"mount\":\"/m\\\"t\","
			 "\"source\":\"nas:/\\ufffd\",\"conn\":3,\"op\":\"REMOVE\"}\n", rows[i].json);
		assert(strstr(got, wanted));
	}
	log_info(MSG_NONE, "next"); /* about nothing */
	got[read(ends[0], got, sizeof(got) - 1)] = '\0';
	assert(!strstr(got, "conn") && !strstr(got, "error") && strstr(got, "\"message\":\"next\""));
	log_set_mount(NULL, NULL);
	log_to_fd(STDERR_FILENO);
	close(ends[0]);
	close(ends[1]);
}

static void test_log_full(void)
{
	char filler[4096] = "";
	int ends[2];

	assert(pipe2(ends, O_NONBLOCK) == 0);
	log_to_fd(ends[1]);
	while (write(ends[1], filler, sizeof(filler)) > 0)
		;
	log_warn(MSG_NONE, "lost");
	log_warn(MSG_NONE, "lost");
	while (read(ends[0], filler, sizeof(filler)) > 0)
		;
	log_warn(MSG_NONE, "written");
	expect_line(ends[0], "fusenfs: warning: 2 log lines were lost\n"
			     "fusenfs: warning: written\n");
	log_to_fd(STDERR_FILENO);
	close(ends[0]);
	close(ends[1]);
}

static void test_log_limit(void)
{
	unsigned int suppressed = 99;
	int64_t now = 1000 * NS_PER_S;

	for (int i = 0; i < LOG_BURST; i++)
		assert(log_allow(MSG_BAD_REPLY, now, &suppressed) && suppressed == 0);
	for (int i = 0; i < 7; i++)
		assert(!log_allow(MSG_BAD_REPLY, now + i * NS_PER_S, &suppressed));
	assert(log_allow(MSG_CONN_DOWN, now, &suppressed)); /* each id by itself */
	assert(!log_allow(MSG_BAD_REPLY, now + 60 * NS_PER_S - 1, &suppressed));
	assert(log_allow(MSG_BAD_REPLY, now + 60 * NS_PER_S, &suppressed) && suppressed == 8);
	assert(log_allow(MSG_BAD_REPLY, now + 60 * NS_PER_S, &suppressed) && suppressed == 0);
	for (int i = 0; i < 100; i++)
		assert(log_allow(MSG_NONE, now, &suppressed));
}

static void test_log_levels(void)
{
	enum log_level level = LEVEL_INFO;

	assert(log_level_find("trace", &level) == 0 && level == LEVEL_TRACE);
	assert(log_level_find("error", &level) == 0 && level == LEVEL_ERROR);
	assert(log_level_find("loud", &level) == -EINVAL && level == LEVEL_ERROR);
}

/* The datagram of syslog(3): <30>Nov 22 02:15:00 fusenfs[1]: text */
static void test_syslog(void)
{
	char dir[] = "/tmp/test_message.XXXXXX", got[512] = "", expected[128];
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	int day, pri;
	char month[4];

	assert(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/log", dir);
	log_to_syslog(addr.sun_path);
	log_info(MSG_NONE, "nobody listens yet");
	assert(fd >= 0 && bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	log_warn(MSG_SERVER_DOWN, "x");
	assert(recv(fd, got, sizeof(got) - 1, 0) > 0); /* of what was lost */
	assert(strstr(got, "]: warning: 1 log lines were lost"));
	memset(got, 0, sizeof(got));
	assert(recv(fd, got, sizeof(got) - 1, 0) > 0);
	assert(sscanf(got, "<%d>%3s %d", &pri, month, &day) == 3 && pri == (3 << 3 | 4));
	snprintf(expected, sizeof(expected), " fusenfs[%d]: warning: x [server-down]",
		 (int)getpid());
	assert(strcmp(got + strlen("<28>Nov 22 02:15:00"), expected) == 0);
	close(fd);
	unlink(addr.sun_path);
	fd = socket(AF_UNIX, SOCK_DGRAM, 0); /* the log daemon restarts */
	assert(bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	log_info(MSG_NONE, "again");
	memset(got, 0, sizeof(got));
	assert(recv(fd, got, sizeof(got) - 1, 0) > 0 && strstr(got, "]: again"));
	log_to_fd(STDERR_FILENO);
	close(fd);
	unlink(addr.sun_path);
	rmdir(dir);
}

/* Every id has a text, with lines that fit a terminal, and a first one that is enough in a list. */
static void test_help(void)
{
	for (unsigned int id = MSG_NONE + 1; id < MSG_COUNT; id++) {
		const char *text = message_help((enum message_id)id);

		if (!text || text[strlen(text) - 1] != '.')
			fprintf(stderr, "no help on %s\n", message_id_name((enum message_id)id));
		assert(text && *text && text[strlen(text) - 1] == '.');
		for (; *text; text += strcspn(text, "\n") + (strchr(text, '\n') != NULL))
			assert(strcspn(text, "\n") > 10 && strcspn(text, "\n") <= 105);
	}
	assert(!message_help(MSG_NONE));
}

int main(void)
{
	test_help();
	test_layout();
	test_catalogue();
	test_hostile_text();
	test_names();
	test_mount_host();
	test_connecting();
	test_services();
	test_exports();
	test_access();
	test_deadline();
	test_every_failure();
	test_log_lines();
	test_log_full();
	test_log_json();
	test_log_limit();
	test_log_levels();
	test_syslog();
	return 0;
}
