/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_options - the command line as tables: sources, values and ranges, the rules of
 * ref/options.md section 6, what is refused, and the help against the table. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#include "../../conn/util.h"
#include "../../fuse/option_table.h"
#include "../../fuse/options.h"
#include "../../fuse/words.h"

#define S NS_PER_S
#define MS NS_PER_MS

static const struct options_env root_env = { .root = true, .n_cpus = 4 };
static const struct options_env user_env = { .root = false, .n_cpus = 1 };

/* ---- helpers ----------------------------------------------------------------------------- */

enum { MAX_ARGS = 16 };

/* A command line in one string; words are split at blanks. */
static const char *program = "fusenfs"; /* argv[0] */

static int parse_line(const char *line, const struct options_env *env, struct options *options,
		      struct message *error)
{
	char *copy = strdup(line), *rest = copy, *word;
	char *argv[MAX_ARGS] = { NULL };
	cleanup(freep) char *name = strdup(program);
	int argc = 0, result;

	argv[argc++] = name;
	while ((word = strsep(&rest, " ")))
		if (*word)
			argv[argc++] = word;
	assert(argc < MAX_ARGS);
	result = options_parse_env(argc, argv, env, options, error);
	free(copy);
	return result;
}

/* nas1:/data on /mnt with an option list. */
static int parse_list(const char *list, const struct options_env *env, struct options *options,
		      struct message *error)
{
	char line[512];

	snprintf(line, sizeof(line), "nas1:/data /mnt -o %s", list);
	return parse_line(line, env, options, error);
}

static struct options must_parse(const char *list, const struct options_env *env)
{
	struct options options;
	struct message error;

	if (parse_list(list, env, &options, &error)) {
		message_print(&error, false, stderr);
		abort();
	}
	return options;
}

static void must_fail(const char *list, enum message_id id, const char *reason)
{
	struct options options;
	struct message error;

	assert(parse_list(list, &root_env, &options, &error) == -EINVAL);
	if (error.id != id || strcmp(error.reason, reason) != 0) {
		fprintf(stderr, "%s: expected %s [%s]\n", list, reason, message_id_name(id));
		message_print(&error, false, stderr);
		abort();
	}
	assert(strcmp(error.action, "mount nas1:/data on /mnt") == 0);
	assert(message_exit_code(&error) ==
	       (id == MSG_VERSION_UNSUPPORTED ? EXIT_MOUNT_FAILED : EXIT_USAGE));
}

/* ---- sources ----------------------------------------------------------------------------- */

static const struct {
	const char *text, *host, *path;
	unsigned int port;
} good_sources[] = {
	{ "nas1:/data", "nas1", "/data", 0 },
	{ "nas1:/", "nas1", "/", 0 },
	{ "nas1:/data/", "nas1", "/data", 0 },
	{ "nas1:///", "nas1", "/", 0 },
	{ "nas1:/a:/b", "nas1", "/a:/b", 0 },
	{ "nas1:/with blank,comma%41", "nas1", "/with blank,comma%41", 0 },
	{ "10.0.0.5:/data", "10.0.0.5", "/data", 0 },
	{ "[fe80::1]:/data", "fe80::1", "/data", 0 },
	{ "[fe80::1%eth0]:/data", "fe80::1%eth0", "/data", 0 },
	{ "[::1]:/", "::1", "/", 0 },
	{ "nfs://nas1/data", "nas1", "/data", 0 },
	{ "NFS://nas1/", "nas1", "/", 0 },
	{ "nfs://nas1:2050/data", "nas1", "/data", 2050 },
	{ "nfs://[2001:db8::1]/d", "2001:db8::1", "/d", 0 },
	{ "nfs://[2001:db8::1]:20490/d", "2001:db8::1", "/d", 20490 },
	{ "nfs://nas1/a%20b%2fc", "nas1", "/a b/c", 0 },
	{ "nfs:/data", "nfs", "/data", 0 }, /* a host of that name */
};

static void test_good_sources(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(good_sources); i++) {
		struct source source;
		struct message error;

		assert(source_parse(good_sources[i].text, &source, &error) == 0);
		assert(strcmp(source.text, good_sources[i].text) == 0);
		assert(strcmp(source.host, good_sources[i].host) == 0);
		assert(strcmp(source.path, good_sources[i].path) == 0);
		assert(source.port == good_sources[i].port);
		source_deinit(&source);
	}
}

static const char *const bad_sources[] = {
	"", "nas1", "nas1:", "nas1:data", ":/data", "/data", "nas1/a:/b", "fe80::1:/data",
	"[fe80::1]/data", "[fe80::1]:data", "[fe80::1:/data", "[]:/data", "[nas1]:/data",
	"[10.0.0.5]:/data", "[fe80::1%]:/data", "[fe80::1]x:/data", "na s:/data", "user@nas1:/data",
	"nfs://", "nfs://nas1", "nfs:///data", "nfs://nas1:/data", "nfs://nas1:0/d",
	"nfs://nas1:65536/d", "nfs://nas1:x/d", "nfs://nas1:20 49/d", "nfs://fe80::1/d",
	"nfs://[fe80::1]x/d", "nfs://[fe80::1/d", "nfs://nas1/a%", "nfs://nas1/a%4",
	"nfs://nas1/%00",
	"nas]1:/data", "-nas1:/data", "nas1;x:/data", "$(x):/d",
	"nas%1:/data", "nfs://nas1/%zz", "nfs://nas1/d?version=3", "nfs://nas1/d#x",
	"nfs://u:p@nas1/d",
};

static void test_bad_sources(void)
{
	char text[2048];

	for (unsigned int i = 0; i < ARRAY_SIZE(bad_sources); i++) {
		struct source source = { 0 };
		struct message error;

		assert(source_parse(bad_sources[i], &source, &error) == -EINVAL);
		assert(error.id == MSG_BAD_SOURCE);
		assert(!source.text && !source.host && !source.path);
	}
	for (size_t n = 1023; n <= 1026; n++) { /* MNTPATHLEN counts the slash */
		struct source source;
		struct message error;

		memset(text, 'x', sizeof(text));
		memcpy(text, "n:/", 3);
		text[2 + n] = '\0';
		assert(source_parse(text, &source, &error) == (n <= 1024 ? 0 : -EINVAL));
		if (n <= 1024)
			source_deinit(&source);
	}
}

static void test_several_servers(void)
{
	static const struct {
		const char *text, *host; /* NULL: refused */
	} rows[] = {
		{ "nas1,nas2:/data", "nas1,nas2" },
		{ "10.0.0.1,nas:/data", "10.0.0.1,nas" },
		{ "[fd00::1],[fe80::2%lo],nas:/data", "fd00::1,fe80::2%lo,nas" },
		{ "nas,[fd00::1]:/data,more", "nas,fd00::1" },
		{ "nas1,:/data", NULL },
		{ ",nas1:/data", NULL },
		{ "nas1,,nas2:/data", NULL },
		{ "nas1,fd00::1:/data", NULL },
		{ "nas1,[fd00::g]:/data", NULL },
		{ "nas1,na;s2:/data", NULL },
		{ "nfs://nas1,nas2/data", NULL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct source source;
		struct message error;
		int status = source_parse(rows[i].text, &source, &error);

		assert(!status == !!rows[i].host);
		if (status) {
			assert(error.id == MSG_BAD_SOURCE);
			continue;
		}
		assert(!strcmp(source.host, rows[i].host) && !strcmp(source.text, rows[i].text));
		assert(!strncmp(source.path, "/data", 5));
		source_deinit(&source);
	}
}

/* ---- words around the options ------------------------------------------------------------ */

static const struct {
	const char *line;
	bool foreground, debug, quiet, ro;
	unsigned int nconnect;
} lines[] = {
	{ "nas1:/data /mnt", false, false, false, false, 4 },
	{ "-f nas1:/data /mnt", true, false, false, false, 4 },
	{ "nas1:/data -f /mnt -q", true, false, true, false, 4 },
	{ "nas1:/data /mnt -fq", true, false, true, false, 4 },
	{ "-d nas1:/data /mnt", true, true, false, false, 4 },
	{ "-o debug nas1:/data /mnt", true, true, false, false, 4 },
	{ "-o ro -onconnect=8 nas1:/data /mnt", false, false, false, true, 8 },
	{ "nas1:/data -o ro,nconnect=8 /mnt -o nconnect=2", false, false, false, true, 2 },
	{ "--foreground --options ro -- nas1:/data /mnt", true, false, false, true, 4 },
	{ "nas1:/data /mnt -o ,,ro,", false, false, false, true, 4 },
};

static const struct {
	const char *word;
	int error;
	enum log_format format;
} formats[] = {
	{ "", 0, LOG_FORMAT_AUTO },
	{ "--log-format=auto", 0, LOG_FORMAT_AUTO },
	{ "--log-format=text", 0, LOG_FORMAT_TEXT },
	{ "--log-format=json", 0, LOG_FORMAT_JSON },
	{ "--log-format=journal", 0, LOG_FORMAT_JOURNAL },
	{ "--log-format=xml", -EINVAL, LOG_FORMAT_AUTO },
	{ "--log-format=json -o nconect=2", -EINVAL, LOG_FORMAT_JSON }, /* the error is to be told in it */
};

static void test_formats(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(formats); i++) {
		struct options options;
		struct message error;
		char line[128];

		snprintf(line, sizeof(line), "%s nas1:/data /mnt", formats[i].word);
		assert(parse_line(line, &root_env, &options, &error) == formats[i].error);
		assert(options.log_format == formats[i].format);
		options_deinit(&options);
	}
}

static void test_lines(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(lines); i++) {
		struct options options;
		struct message error;

		assert(parse_line(lines[i].line, &root_env, &options, &error) == 0);
		assert(options.command == COMMAND_MOUNT);
		assert(options.foreground == lines[i].foreground);
		assert(options.debug == lines[i].debug);
		assert(options.quiet == lines[i].quiet);
		assert(options.ro == lines[i].ro);
		assert(options.nconnect == lines[i].nconnect);
		assert(options.log_level == (lines[i].debug ? LEVEL_DEBUG : LEVEL_INFO));
		assert(strcmp(options.source.host, "nas1") == 0);
		assert(strcmp(options.mountpoint, "/mnt") == 0);
		options_deinit(&options);
	}
}

static const struct {
	const char *line;
	enum message_id id;
	const char *reason;
} bad_lines[] = {
	{ "", MSG_USAGE, "no SERVER:/EXPORT and no mount point given" },
	{ "nas1:/data", MSG_USAGE, "no mount point given" },
	{ "nas1 /mnt", MSG_BAD_SOURCE, "'nas1' is not SERVER:/PATH" },
	{ "nas1:/data /mnt more", MSG_USAGE, "'more' is one word too many" },
	{ "nas1:/data /mnt -x", MSG_USAGE, "unknown flag -x" },
	{ "nas1:/data /mnt --nothing", MSG_USAGE, "unknown flag --nothing" },
	{ "nas1:/data /mnt -o", MSG_USAGE, "-o needs an argument" },
	{ "trace nas1:/data", MSG_OPTION_UNSUPPORTED, "command 'trace' is not supported yet" },
	{ "help nothing", MSG_USAGE, "no help on 'nothing'" },
	{ "--config=/none nas1:/data /mnt", MSG_BAD_VALUE, "--config=/none: No such file or directory" },
	{ "--config=/ nas1:/data /mnt", MSG_BAD_VALUE, "--config=/: Is a directory" },
	{ "--config=/dev/zero nas1:/data /mnt", MSG_BAD_VALUE, "--config=/dev/zero: this is no file of options" },
	{ "--config", MSG_USAGE, "--config needs an argument" },
	{ "--log-level=loud nas1:/data /mnt", MSG_BAD_VALUE,
	  "log=loud is none of: error, warn, info, debug, trace" },
};

static void test_bad_lines(void)
{
	struct options options;
	struct message error;

	for (unsigned int i = 0; i < ARRAY_SIZE(bad_lines); i++) {
		assert(parse_line(bad_lines[i].line, &root_env, &options, &error) == -EINVAL);
		assert(error.id == bad_lines[i].id);
		assert(strcmp(error.reason, bad_lines[i].reason) == 0);
		assert(message_exit_code(&error) == EXIT_USAGE);
	}
	/* quiet is known even then, and the words swapped are noticed */
	assert(parse_line("-q /mnt nas1:/data", &root_env, &options, &error) == -EINVAL);
	assert(options.quiet);
	assert(strcmp(error.try[0], "fusenfs nas1:/data /mnt") == 0);
}

static void test_commands(void)
{
	static const struct {
		const char *line;
		enum command command;
	} rows[] = {
		{ "-h", COMMAND_HELP },
		{ "--help nas1", COMMAND_HELP },
		{ "help", COMMAND_HELP },
		{ "help options", COMMAND_HELP_OPTIONS },
		{ "help errors", COMMAND_HELP_ERRORS },
		{ "help errors conn-refused", COMMAND_HELP_ERRORS },
		{ "help conn-refused", COMMAND_HELP_ERRORS },
		{ "help completion", COMMAND_HELP_COMPLETION },
		{ "unit nas1:/data /mnt", COMMAND_UNIT },
		{ "fstab nas1:/data /mnt", COMMAND_FSTAB },
		{ "-V", COMMAND_VERSION },
		{ "--version", COMMAND_VERSION },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options options;
		struct message error;

		assert(parse_line(rows[i].line, &root_env, &options, &error) == 0);
		assert(options.command == rows[i].command);
		options_deinit(&options);
	}
}

/* ---- defaults ---------------------------------------------------------------------------- */

static void test_defaults(void)
{
	struct options o = must_parse("rw", &root_env);

	assert(!o.foreground && !o.debug && !o.quiet && !o.sloppy && o.log_level == LEVEL_INFO);
	assert(o.nconnect == 4 && o.minconnect == 1 && o.mdconnect == 1 && o.n_loops == 4);
	assert(o.stripe == STRIPE_ADAPTIVE);
	assert(o.spin_us == 0 && o.max_connect == 0);
	assert(o.window == 0 && o.resvport && o.family == AF_UNSPEC);
	assert(o.port == 0 && o.mountport == 0 && o.mountvers == 3);
	assert(o.mount_transport == MOUNT_DISCOVER);
	assert(o.rsize == 0 && o.wsize == 0 && o.readdirsize == 65536 && o.namlen == 0);
	assert(o.rdirplus == RDIRPLUS_AUTO && o.sec == SEC_SYS && o.maxgroups == 16);
	assert(!o.fixed_uid && !o.fixed_gid);
	assert(o.down == DOWN_SOFTERR && o.softreval && o.timeo_ns == 10 * S && o.retrans == 2);
	assert(o.soft_deadline_ns == 30 * S && o.detect_ns == 5 * S && o.mounttimeo_ns == 10 * S);
	assert(o.stage_ns == 5 * S && o.umounttimeo_ns == 5 * S && o.retry_ns == 0 && !o.intr);
	assert(o.softwrite == SOFTWRITE_HOLD && o.deadtimeo_ns == 300 * S);
	assert(!o.noac && !o.sync && o.cto && o.lookupcache == LOOKUPCACHE_ALL);
	assert(o.acregmin_ns == 3 * S && o.acregmax_ns == 60 * S);
	assert(o.acdirmin_ns == 30 * S && o.acdirmax_ns == 60 * S);
	assert(o.readahead == READAHEAD_AUTO && o.wbuf == 64 << 20);
	assert(o.cachesize == 256 << 20);
	assert(!o.ro && o.nosuid && o.nodev && !o.noexec && !o.noatime);
	assert(o.allow_other && !o.allow_other_given && o.default_permissions);
	assert(o.perm == PERM_LOCAL && o.max_background == 0 && o.max_read == 0);
	assert(strcmp(o.fsname, "nas1:/data") == 0 && strcmp(o.subtype, "fusenfs") == 0);
	assert(!o.nonempty && !o.overmount && o.n_notes == 0);
	options_deinit(&o);
	o = must_parse("rw", &user_env);
	assert(!o.allow_other && !o.default_permissions && o.n_loops == 2);
	options_deinit(&o);
}

static void test_computed(void)
{
	static const struct {
		const char *list;
		int64_t soft_deadline_ns;
		unsigned int n_loops, mdconnect;
	} rows[] = {
		{ "timeo=20,retrans=1", 4 * S, 4, 1 },
		{ "timeo=600,retrans=2", 30 * S, 4, 1 }, /* at most 30 s */
		{ "timeo=10,retrans=0", 1 * S, 4, 1 },
		{ "timeo=10,optimeo=45", 45 * S, 4, 1 },
		{ "optimeo=1500ms", 1500 * MS, 4, 1 },
		{ "nconnect=1", 30 * S, 1, 0 },
		{ "nconnect=2", 30 * S, 2, 0 },
		{ "nconnect=16", 30 * S, 4, 1 }, /* 4 CPUs */
		{ "nconnect=16,max_threads=9", 30 * S, 9, 1 },
		{ "nconnect=8,mdconnect=0", 30 * S, 4, 0 },
		{ "nconnect=8,mdconnect=3", 30 * S, 4, 3 },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options o = must_parse(rows[i].list, &root_env);

		assert(o.soft_deadline_ns == rows[i].soft_deadline_ns);
		assert(o.n_loops == rows[i].n_loops);
		assert(o.mdconnect == rows[i].mdconnect);
		options_deinit(&o);
	}
}

static void test_permissions(void)
{
	static const struct {
		const char *list;
		bool root, allow_other, default_permissions;
	} rows[] = {
		{ "rw", true, true, true },
		{ "rw", false, false, false },
		{ "allow_other", false, true, true },
		{ "default_permissions", false, false, true },
		{ "perm=server", true, true, false },
		{ "perm=server,allow_other", false, true, false },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options o = must_parse(rows[i].list, rows[i].root ? &root_env : &user_env);

		assert(o.allow_other == rows[i].allow_other);
		assert(o.default_permissions == rows[i].default_permissions);
		options_deinit(&o);
	}
}

/* ---- values ------------------------------------------------------------------------------ */

#define FIELD(f) offsetof(struct options, f), sizeof(((struct options *)NULL)->f)

static const struct {
	const char *list;
	size_t offset, size;
	int64_t value;
} values[] = {
	{ "nconnect=1", FIELD(nconnect), 1 },
	{ "nconnect=64", FIELD(nconnect), 64 },
	{ "nconnect=007", FIELD(nconnect), 7 },
	{ "minconnect=2", FIELD(minconnect), 2 },
	{ "mdconnect=2", FIELD(mdconnect), 2 },
	{ "window=auto", FIELD(window), 0 },
	{ "window=64K", FIELD(window), 64 << 10 },
	{ "window=1G", FIELD(window), 1 << 30 },
	{ "window=2MiB", FIELD(window), 2 << 20 },
	{ "noresvport", FIELD(resvport), 0 },
	{ "family=4", FIELD(family), AF_INET },
	{ "family=6", FIELD(family), AF_INET6 },
	{ "port=2050", FIELD(port), 2050 },
	{ "port=0", FIELD(port), 0 },
	{ "mountport=65535", FIELD(mountport), 65535 },
	/* Linux: < 1024 is 4096, > 1 MiB is 1 MiB, below a page a power of two, else pages */
	{ "rsize=1", FIELD(rsize), 4096 },
	{ "rsize=1023", FIELD(rsize), 4096 },
	{ "rsize=1024", FIELD(rsize), 1024 },
	{ "rsize=2047", FIELD(rsize), 1024 },
	{ "rsize=3000", FIELD(rsize), 2048 },
	{ "rsize=4095", FIELD(rsize), 2048 },
	{ "rsize=4097", FIELD(rsize), 4096 },
	{ "rsize=12287", FIELD(rsize), 8192 },
	{ "rsize=12288", FIELD(rsize), 12288 },
	{ "wsize=1048575", FIELD(wsize), (1 << 20) - 4096 },
	{ "wsize=1048577", FIELD(wsize), 1 << 20 },
	{ "wsize=1M", FIELD(wsize), 1 << 20 },
	{ "wsize=64k", FIELD(wsize), 64 << 10 },
	{ "wsize=4G", FIELD(wsize), 1 << 20 },
	{ "wsize=0", FIELD(wsize), 0 },
	{ "readdirsize=4096", FIELD(readdirsize), 4096 },
	{ "rdirplus", FIELD(rdirplus), RDIRPLUS_AUTO },
	{ "rdirplus=none", FIELD(rdirplus), RDIRPLUS_NONE },
	{ "rdirplus=force", FIELD(rdirplus), RDIRPLUS_FORCE },
	{ "nordirplus", FIELD(rdirplus), RDIRPLUS_NONE },
	{ "namlen=255", FIELD(namlen), 255 },
	{ "sec=sys", FIELD(sec), SEC_SYS },
	{ "sec=none", FIELD(sec), SEC_NONE },
	{ "uid=0", FIELD(fixed_uid), 1 },
	{ "uid=1000", FIELD(uid), 1000 },
	{ "gid=4294967294", FIELD(gid), 4294967294 },
	{ "maxgroups=0", FIELD(maxgroups), 0 },
	{ "timeo=1", FIELD(timeo_ns), S / 10 },
	{ "retrans=0", FIELD(retrans), 0 },
	{ "detect=2s", FIELD(detect_ns), 2 * S },
	{ "detect=100ms", FIELD(detect_ns), 100 * MS },
	{ "detect=0.5", FIELD(detect_ns), 500 * MS },
	{ "detect=0.5s", FIELD(detect_ns), 500 * MS },
	{ "detect=1.2345", FIELD(detect_ns), 1234 * MS },
	{ "detect=0.1", FIELD(detect_ns), 100 * MS },
	{ "detect=299.999", FIELD(detect_ns), 299999 * MS },
	{ "detect=100.9ms", FIELD(detect_ns), 100 * MS }, /* cut below a millisecond */
	{ "umounttimeo=0.25", FIELD(umounttimeo_ns), 250 * MS },
	{ "mounttimeo=2", FIELD(mounttimeo_ns), 2 * S },
	{ "mounttimeo=2", FIELD(stage_ns), 2 * S },
	{ "mounttimeo=60", FIELD(stage_ns), 5 * S },
	{ "umounttimeo=0", FIELD(umounttimeo_ns), 0 },
	{ "stripe=rr", FIELD(stripe), STRIPE_RR },
	{ "stripe=file,rw", FIELD(stripe), STRIPE_FILE },
	{ "stripe=rr,stripe=adaptive", FIELD(stripe), STRIPE_ADAPTIVE },
	{ "softwrite=fail", FIELD(softwrite), SOFTWRITE_FAIL },
	{ "softwrite=fail,softwrite=hold", FIELD(softwrite), SOFTWRITE_HOLD },
	{ "deadtimeo=7", FIELD(deadtimeo_ns), 7 * S },
	{ "deadtimeo=0", FIELD(deadtimeo_ns), 0 },
	{ "retry=2", FIELD(retry_ns), 120 * S },
	/* nfs(5): 10000 minutes in the background */
	{ "bg", FIELD(retry_ns), 600000 * S },
	{ "bg,retry=2", FIELD(retry_ns), 120 * S },
	{ "retry=0,bg", FIELD(retry_ns), 0 },
	{ "bg,fg", FIELD(retry_ns), 0 },
	{ "bg", FIELD(bg), 1 },
	{ "fg,bg", FIELD(bg), 1 },
	{ "bg,fg", FIELD(bg), 0 },
	{ "fg", FIELD(bg), 0 },
	{ "intr", FIELD(intr), 1 },
	{ "hard", FIELD(down), DOWN_HARD },
	{ "soft", FIELD(down), DOWN_SOFT },
	{ "nosoftreval", FIELD(softreval), 0 },
	{ "nosoftreval,softreval", FIELD(softreval), 1 },
	{ "softreval,hard,nosoftreval", FIELD(softreval), 0 },
	{ "hard", FIELD(softreval), 1 },
	{ "lookupcache=none", FIELD(lookupcache), LOOKUPCACHE_NONE },
	{ "lookupcache=pos", FIELD(lookupcache), LOOKUPCACHE_POSITIVE },
	{ "lookupcache=positive", FIELD(lookupcache), LOOKUPCACHE_POSITIVE },
	{ "nocto", FIELD(cto), 0 },
	{ "sync", FIELD(sync), 1 },
	{ "readahead=0", FIELD(readahead), 0 },
	{ "readahead=16M", FIELD(readahead), 16 << 20 },
	{ "wbuf=1M", FIELD(wbuf), 1 << 20 },
	{ "cachesize=8M", FIELD(cachesize), 8 << 20 },
	{ "ro", FIELD(ro), 1 },
	{ "suid", FIELD(nosuid), 0 },
	{ "dev", FIELD(nodev), 0 },
	{ "noexec", FIELD(noexec), 1 },
	{ "noatime", FIELD(noatime), 1 },
	{ "max_background=64", FIELD(max_background), 64 },
	{ "max_read=128K", FIELD(max_read), 128 << 10 },
	{ "nonempty", FIELD(nonempty), 1 },
	{ "overmount", FIELD(overmount), 1 },
	{ "log=trace", FIELD(log_level), LEVEL_TRACE },
	{ "log=warning", FIELD(log_level), LEVEL_WARN },
	{ "debug,log=warn", FIELD(log_level), LEVEL_WARN },
	{ "actimeo=7", FIELD(acdirmax_ns), 7 * S },
	{ "acregmax=2147483647", FIELD(acregmax_ns), 2147483647 * S },
};

static int64_t field_of(const struct options *options, size_t offset, size_t size)
{
	const char *field = (const char *)options + offset;
	uint64_t value = 0;

	memcpy(&value, field, size); /* little endian, as all of these hosts are */
	return (int64_t)value;
}

static void test_values(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(values); i++) {
		struct options o = must_parse(values[i].list, &root_env);

		if (field_of(&o, values[i].offset, values[i].size) != values[i].value) {
			fprintf(stderr, "%s\n", values[i].list);
			abort();
		}
		options_deinit(&o);
	}
}

static const struct {
	const char *list, *reason;
} bad_values[] = {
	{ "nconnect=0", "nconnect=0 is out of range (1 to 64)" },
	{ "nconnect=65", "nconnect=65 is out of range (1 to 64)" },
	{ "nconnect=99999999999999999999",
	  "nconnect=99999999999999999999 is out of range (1 to 64)" },
	{ "nconnect=-1", "nconnect=-1 is not a number (1 to 64)" },
	{ "nconnect=4x", "nconnect=4x is not a number (1 to 64)" },
	{ "nconnect=4k", "nconnect=4k is not a number (1 to 64)" },
	{ "nconnect=", "nconnect= is not a number (1 to 64)" },
	{ "nconnect", "option 'nconnect' needs a value (1 to 64)" },
	{ "nconnect=x,nconnect=4", "nconnect=x is not a number (1 to 64)" }, /* checked even so */
	{ "ro=1", "option 'ro' takes no value" },
	{ "timeo=0", "timeo=0 is out of range (1 to 36000)" },
	{ "timeo=10ms", "timeo=10ms is not a number (1 to 36000)" },
	{ "retrans=101", "retrans=101 is out of range (0 to 100)" },
	{ "detect=99ms", "detect=99ms is out of range (0.1 to 300 s)" },
	{ "detect=0.05", "detect=0.05 is out of range (0.1 to 300 s)" },
	{ "detect=300.001", "detect=300.001 is out of range (0.1 to 300 s)" },
	{ "detect=0.", "detect=0. is not a number (0.1 to 300 s)" },
	{ "detect=.5", "detect=.5 is not a number (0.1 to 300 s)" },
	{ "detect=1.5.5", "detect=1.5.5 is not a number (0.1 to 300 s)" },
	{ "nconnect=1.5", "nconnect=1.5 is not a number (1 to 64)" },
	{ "acregmin=0.5", "acregmin=0.5 is not a number (0 to 2147483647 s)" },
	{ "detect=5m", "detect=5m is not a number (0.1 to 300 s)" },
	{ "acregmin=5s", "acregmin=5s is not a number (0 to 2147483647 s)" },
	{ "retry=x", "retry=x is not a number (0 to 100000 minutes)" },
	{ "port=65536", "port=65536 is out of range (0 to 65535)" },
	{ "rsize=x", "rsize=x is not a number (1K to 1M)" },
	{ "rsize=9999999999999G", "rsize=9999999999999G is out of range (1K to 1M)" },
	{ "window=1K", "window=1K is out of range (auto, or 64K to 1G)" },
	{ "window=1KB", "window=1KB is not a number (auto, or 64K to 1G)" },
	{ "wbuf=auto", "wbuf=auto is not a number (1M to 1024G)" },
	{ "cachesize=1M", "cachesize=1M is out of range (8M to 1024G)" },
	{ "uid=4294967295", "uid=4294967295 is out of range (0 to 4294967294)" },
	{ "uid=root", "uid=root is not a number (0 to 4294967294)" },
	{ "lookupcache=some",
	  "lookupcache=some is none of: all, none, pos, positive" },
	{ "sec=magic", "sec=magic is none of: sys, none" },
	{ "proto=sctp", "proto=sctp is none of: tcp, tcp6, udp, udp6" },
	{ "vers=5", "vers=5 is none of: 3" },
	{ "perm=client", "perm=client is none of: server" },
	{ "fsname=", "fsname= is too long or empty (1 to 4096 characters)" },
	{ "v3=3", "option 'v3' takes no value" },
};

static void test_bad_values(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(bad_values); i++)
		must_fail(bad_values[i].list, MSG_BAD_VALUE, bad_values[i].reason);
}

/* Both ends of every range are accepted, one beyond is not. */
static void test_all_ranges(void)
{
	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];
		const char *unit = row->kind == KIND_TIME ? "ms" : "";
		struct options options;
		struct message error;
		char list[128];

		if (row->state != OPTION_HONOURED || row->kind == KIND_FLAG ||
		    row->kind == KIND_CHOICE || row->kind == KIND_STRING)
			continue;
		for (int end = 0; end < 2; end++) {
			int64_t at = end ? row->max : row->min;

			/* the others out of the way of conflicts */
			snprintf(list, sizeof(list), "nconnect=64,%s=%lld%s", row->name,
				 (long long)at, unit);
			assert(parse_list(list, &root_env, &options, &error) == 0);
			options_deinit(&options);
			snprintf(list, sizeof(list), "%s=%lld%s", row->name,
				 (long long)(end ? at + 1 : at - 1), unit);
			assert(parse_list(list, &root_env, &options, &error) == -EINVAL);
			assert(error.id == MSG_BAD_VALUE);
		}
	}
}

/* ---- section 6, rules 1, 2 and 5 --------------------------------------------------------- */

static const struct {
	const char *list;
	size_t offset, size;
	int64_t value;
} slots[] = {
	{ "hard,soft", FIELD(down), DOWN_SOFT },
	{ "soft,hard", FIELD(down), DOWN_HARD },
	{ "hard,soft,softerr", FIELD(down), DOWN_SOFTERR },
	{ "resvport,noresvport", FIELD(resvport), 0 },
	{ "noresvport,resvport", FIELD(resvport), 1 },
	{ "cto,nocto", FIELD(cto), 0 },
	{ "nocto,cto", FIELD(cto), 1 },
	{ "sync,async", FIELD(sync), 0 },
	{ "async,sync", FIELD(sync), 1 },
	{ "ro,rw", FIELD(ro), 0 },
	{ "rw,ro", FIELD(ro), 1 },
	{ "intr,nointr", FIELD(intr), 0 },
	{ "nointr,intr", FIELD(intr), 1 },
	{ "nconnect=2,nconnect=9", FIELD(nconnect), 9 },
	{ "rdirplus=force,nordirplus", FIELD(rdirplus), RDIRPLUS_NONE },
	{ "nordirplus,rdirplus", FIELD(rdirplus), RDIRPLUS_AUTO },
	{ "suid,nosuid", FIELD(nosuid), 1 },
	{ "nosuid,suid", FIELD(nosuid), 0 },
	{ "exec,noexec", FIELD(noexec), 1 },
	/* a refused word that was overridden does no harm */
	{ "bg,fg", FIELD(nconnect), 4 },
	{ "udp,tcp", FIELD(mount_transport), MOUNT_TCP },
	{ "proto=rdma,proto=tcp", FIELD(mount_transport), MOUNT_TCP },
	{ "rdma,proto=tcp6", FIELD(family), AF_INET6 },
	{ "vers=4.2,v3", FIELD(nconnect), 4 },
	{ "v4,nfsvers=3", FIELD(nconnect), 4 },
	{ "nfsvers=4,vers=3", FIELD(nconnect), 4 },
	{ "sec=krb5,sec=sys", FIELD(sec), SEC_SYS },
	{ "acl,noacl", FIELD(nconnect), 4 },
	/* rule 2: noac sets the ac* to 0 and sync; a later one sets only itself */
	{ "noac", FIELD(noac), 1 },
	{ "noac", FIELD(sync), 1 },
	{ "noac", FIELD(acregmin_ns), 0 },
	{ "noac", FIELD(acdirmax_ns), 0 },
	{ "acregmin=9,noac", FIELD(acregmin_ns), 0 },
	{ "noac,acregmin=9", FIELD(acregmin_ns), 9 * S },
	{ "noac,acregmin=9", FIELD(acregmax_ns), 0 },
	{ "noac,acregmin=9", FIELD(sync), 1 },
	{ "noac,ac", FIELD(noac), 0 },
	{ "noac,ac", FIELD(sync), 0 },
	{ "noac,ac", FIELD(acregmin_ns), 3 * S },
	{ "sync,noac,ac", FIELD(sync), 1 },
	{ "noac,sync,ac", FIELD(sync), 1 },
	{ "noac,async", FIELD(sync), 0 },
	{ "async,noac", FIELD(sync), 1 },
	{ "acregmin=9,ac", FIELD(acregmin_ns), 9 * S },
	{ "noac,actimeo=5", FIELD(acregmin_ns), 5 * S },
	{ "noac,actimeo=5", FIELD(noac), 0 },
	{ "actimeo=5,acdirmin=8", FIELD(acdirmin_ns), 8 * S },
	{ "actimeo=5,acdirmin=8", FIELD(acdirmax_ns), 5 * S },
	{ "acdirmin=8,actimeo=5", FIELD(acdirmin_ns), 5 * S },
	{ "actimeo=0", FIELD(noac), 0 },
	/* rule 5 */
	{ "rw", FIELD(mount_transport), MOUNT_DISCOVER },
	{ "proto=tcp", FIELD(mount_transport), MOUNT_TCP },
	{ "tcp", FIELD(mount_transport), MOUNT_TCP },
	{ "mountproto=udp", FIELD(mount_transport), MOUNT_UDP },
	{ "mountproto=tcp", FIELD(mount_transport), MOUNT_TCP },
	{ "proto=tcp,mountproto=udp", FIELD(mount_transport), MOUNT_UDP },
	{ "mountproto=udp,proto=tcp", FIELD(mount_transport), MOUNT_UDP },
	{ "mountproto=tcp,mountproto=udp,tcp", FIELD(mount_transport), MOUNT_UDP },
	{ "proto=tcp", FIELD(family), AF_UNSPEC },
	{ "proto=tcp6", FIELD(family), AF_INET6 },
	{ "mountproto=udp6", FIELD(family), AF_UNSPEC }, /* NFS may have another one */
	{ "mountproto=udp6", FIELD(mount_family), AF_INET6 },
	{ "mountproto=udp6,mountproto=tcp", FIELD(mount_family), AF_UNSPEC },
	{ "proto=tcp6,family=any", FIELD(family), AF_INET6 },
	{ "proto=tcp6,tcp", FIELD(family), AF_UNSPEC },
};

static void test_slots(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(slots); i++) {
		struct options o = must_parse(slots[i].list, &root_env);

		if (field_of(&o, slots[i].offset, slots[i].size) != slots[i].value) {
			fprintf(stderr, "%s\n", slots[i].list);
			abort();
		}
		assert(o.n_notes == 0); /* no message for it */
		options_deinit(&o);
	}
}

/* ---- rule 4 ------------------------------------------------------------------------------ */

static void test_conflicts(void)
{
	struct options options;
	struct message error;

	must_fail("minconnect=8", MSG_OPTION_CONFLICT, "minconnect=8 exceeds nconnect=4");
	must_fail("nconnect=2,mdconnect=2", MSG_OPTION_CONFLICT,
		  "mdconnect=2 leaves no connection of nconnect=2 for data");
	must_fail("family=4,proto=tcp6", MSG_OPTION_CONFLICT,
		  "family=4 and proto=tcp6 contradict each other");
	must_fail("mountproto=udp6,family=4", MSG_OPTION_CONFLICT,
		  "family=4 and mountproto=udp6 contradict each other");
	must_fail("perm=server,default_permissions", MSG_OPTION_CONFLICT,
		  "perm=server and default_permissions contradict each other");
	assert(parse_line("nfs://nas1:2050/d /mnt -o port=2049", &root_env, &options, &error) ==
	       -EINVAL);
	assert(error.id == MSG_OPTION_CONFLICT);
	assert(parse_line("nfs://nas1:2050/d /mnt -o port=2050", &root_env, &options, &error) == 0);
	assert(options.port == 2050);
	options_deinit(&options);
	assert(parse_line("nfs://nas1/d /mnt -o port=2051", &root_env, &options, &error) == 0);
	assert(options.port == 2051);
	options_deinit(&options);
}

/* ---- refused and unknown ----------------------------------------------------------------- */

static const struct {
	const char *list;
	enum message_id id;
	const char *reason;
} refused[] = {
	{ "sec=krb5p", MSG_UNSUPPORTED_SECURITY, "sec=krb5p is not supported" },
	{ "sec=sys,sec=krb5", MSG_UNSUPPORTED_SECURITY, "sec=krb5 is not supported" },
	{ "xprtsec=tls", MSG_UNSUPPORTED_SECURITY, "xprtsec=tls is not supported" },
	{ "xprtsec=mtls", MSG_UNSUPPORTED_SECURITY, "xprtsec=mtls is not supported" },
	{ "vers=4", MSG_VERSION_UNSUPPORTED, "vers=4 is not supported" },
	{ "nfsvers=4.2", MSG_VERSION_UNSUPPORTED, "nfsvers=4.2 is not supported" },
	{ "v4.1", MSG_VERSION_UNSUPPORTED, "v4.1 is not supported" },
	{ "vers=3,vers=2", MSG_VERSION_UNSUPPORTED, "vers=2 is not supported" },
	{ "udpfrag,tcp", MSG_OPTION_CONFLICT, "udpfrag is for NFS over UDP" },
	{ "family=4,proto=udp6", MSG_OPTION_CONFLICT, "family=4 and proto=udp6 contradict each other" },
	{ "proto=rdma", MSG_UNSUPPORTED_TRANSPORT, "NFS over RDMA is not supported (proto=rdma)" },
	{ "acl", MSG_OPTION_UNSUPPORTED, "option 'acl' is not supported yet" },
	{ "addrs=10.0.0.5~nas", MSG_BAD_VALUE, "addrs=10.0.0.5~nas: 'nas' is no address" },
	{ "addrs=10.0.0.5~", MSG_BAD_VALUE, "addrs=10.0.0.5~: '' is no address" },
	{ "addrs=10.1", MSG_BAD_VALUE, "addrs=10.1: '10.1' is no address" },
	{ "addrs=10.0.0.5-10.0.0.4", MSG_BAD_VALUE,
	  "addrs=10.0.0.5-10.0.0.4: its end is not behind its beginning" },
	{ "addrs=10.0.0.1-10.0.1.1", MSG_BAD_VALUE, "addrs=10.0.0.1-10.0.1.1: more than 16 addresses" },
	{ "remoteports=fd00::1-fe00::2", MSG_BAD_VALUE,
	  "addrs=fd00::1-fe00::2: its end is not behind its beginning" },
	{ "addr=nas", MSG_BAD_VALUE, "addr=nas: 'nas' is no address" },
	{ "addr=10.0.0.1-10.0.0.2", MSG_BAD_VALUE, "addr=10.0.0.1-10.0.0.2: not one address" },
	{ "mountaddr=10.1", MSG_BAD_VALUE, "mountaddr=10.1: '10.1' is no address" },
	{ "mountaddr=10.0.0.1,mountproto=udp6", MSG_OPTION_CONFLICT,
	  "mountaddr is an IPv4 address, and the transport, family or localaddrs exclude it" },
	{ "addr=fd00::1,family=4", MSG_OPTION_CONFLICT,
	  "addr is an IPv6 address, and the transport, family or localaddrs exclude it" },
	{ "mounthost=-x", MSG_BAD_VALUE, "mounthost=-x: neither a name nor an address" },
	{ "mounthost=a;b", MSG_BAD_VALUE, "mounthost=a;b: neither a name nor an address" },
	{ "mountvers=2", MSG_VERSION_UNSUPPORTED, "mountvers=2 is not supported" },
	{ "mountvers=4", MSG_BAD_VALUE, "mountvers=4 is none of: 3" },
	{ "addrs=[fd00::1],family=4", MSG_OPTION_CONFLICT,
	  "addrs has IPv6 addresses, and family=4 (or proto=tcp6, or localaddrs) excludes them" },
	{ "addrs=10.0.0.1,proto=tcp6", MSG_OPTION_CONFLICT,
	  "addrs has IPv4 addresses, and family=6 (or proto=tcp6, or localaddrs) excludes them" },
	{ "localaddrs=10.0.0.300", MSG_BAD_VALUE, "localaddrs=10.0.0.300: '10.0.0.300' is no address" },
	{ "localaddrs=eth0~", MSG_BAD_VALUE, "localaddrs=eth0~: '' is no address" },
	{ "localports=much_too_long_for_one", MSG_BAD_VALUE,
	  "localaddrs=much_too_long_for_one: 'much_too_long_for_one' is no address" },
	{ "localaddrs=10.0.0.1-10.0.0.17", MSG_BAD_VALUE,
	  "localaddrs=10.0.0.1-10.0.0.17: more than 16 addresses" },
	{ "localaddrs=10.0.0.1-10.0.0.16~eth0", MSG_BAD_VALUE,
	  "localaddrs=10.0.0.1-10.0.0.16~eth0: more than 16 of them" },
	{ "localaddrs=eth0~10.0.0.1,family=6", MSG_OPTION_CONFLICT,
	  "localaddrs has IPv4 addresses, and family=6 (or proto=tcp6) excludes them" },
	{ "localaddrs=10.0.0.1,addrs=fd00::1", MSG_OPTION_CONFLICT,
	  "addrs has IPv6 addresses, and family=4 (or proto=tcp6, or localaddrs) excludes them" },
	{ "bindif=10.0.0.1", MSG_BAD_VALUE, "bindif=10.0.0.1: no name of an interface" },
	{ "bindif=eth0~eth1", MSG_BAD_VALUE, "bindif=eth0~eth1: no name of an interface" },
	{ "bindif=eth0,localaddrs=eth1", MSG_OPTION_CONFLICT,
	  "bindif=eth0 and interface eth1 of localaddrs contradict each other" },
	{ "srcports=0-9", MSG_BAD_VALUE, "srcports=0-9: not LOW-HIGH, of 1 to 65535" },
	{ "srcports=9-8", MSG_BAD_VALUE, "srcports=9-8: not LOW-HIGH, of 1 to 65535" },
	{ "srcports=1-65536", MSG_BAD_VALUE, "srcports=1-65536: not LOW-HIGH, of 1 to 65535" },
	{ "srcports=5-", MSG_BAD_VALUE, "srcports=5-: not LOW-HIGH, of 1 to 65535" },
	{ "srcports=5-6-7", MSG_BAD_VALUE, "srcports=5-6-7: not LOW-HIGH, of 1 to 65535" },
	{ "srcports=-5", MSG_BAD_VALUE, "srcports=-5: not LOW-HIGH, of 1 to 65535" },
	{ "srcports=100000", MSG_BAD_VALUE, "srcports=100000: not LOW-HIGH, of 1 to 65535" },
	{ "nconnect=8,srcports=2000-2006", MSG_OPTION_CONFLICT,
	  "srcports=2000-2006: 7 ports are too few for nconnect=8" },
	{ "nconnect=8,localaddrs=eth0~eth1~eth0,srcports=2000-2002", MSG_OPTION_CONFLICT,
	  "srcports=2000-2002: 3 ports are too few for nconnect=8" },
	{ "srcports=1000-1024,resvport", MSG_OPTION_CONFLICT,
	  "resvport and srcports=1000-1024 contradict each other" },
	{ "hedge=5,squash=0", MSG_OPTION_UNSUPPORTED, "option 'hedge' is not supported yet" },
	{ "spin=10001", MSG_BAD_VALUE, "spin=10001 is out of range (0 to 10000)" },
	{ "max_connect=0", MSG_BAD_VALUE, "max_connect=0 is out of range (1 to 64)" },
	{ "nconnect=8,max_connect=2,minconnect=3", MSG_OPTION_CONFLICT, "minconnect=3 exceeds nconnect=2" },
#ifdef HAVE_MICROHTTPD
	{ "metrics=0", MSG_BAD_VALUE, "metrics=0: no port" },
	{ "metrics=65536", MSG_BAD_VALUE, "metrics=65536: no port" },
	{ "metrics=127.0.0.1:", MSG_BAD_VALUE, "metrics=127.0.0.1:: no port" },
	{ "metrics=host:9101", MSG_BAD_VALUE, "metrics=host:9101: no address" },
	{ "metrics=::1:9101", MSG_BAD_VALUE, "metrics=::1:9101: no address" },
#else
	{ "metrics=9101", MSG_OPTION_UNSUPPORTED, "metrics=: this fusenfs was built without libmicrohttpd" },
#endif
	{ "squash=0,hedge=5", MSG_OPTION_UNSUPPORTED, "option 'squash' is not supported yet" },
	{ "nconect=8", MSG_UNKNOWN_OPTION, "unknown option 'nconect', did you mean 'nconnect='?" },
	{ "nconnetc=8", MSG_UNKNOWN_OPTION,
	  "unknown option 'nconnetc', did you mean 'nconnect='?" },
	{ "sofft", MSG_UNKNOWN_OPTION, "unknown option 'sofft', did you mean 'soft'?" },
	{ "NCONNECT=8", MSG_UNKNOWN_OPTION, "unknown option 'NCONNECT'" },
	{ "something_else", MSG_UNKNOWN_OPTION, "unknown option 'something_else'" },
	{ "context=system_u", MSG_UNKNOWN_OPTION, "unknown option 'context'" },
	{ "x=", MSG_UNKNOWN_OPTION, "unknown option 'x'" },
};

static void test_refused(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(refused); i++)
		must_fail(refused[i].list, refused[i].id, refused[i].reason);
}

/* Every word of the table that is refused is an error by itself, and named in it. */
static void test_all_refused(void)
{
	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];
		struct options options;
		struct message error;

		if (row->state != OPTION_REFUSED)
			continue;
		assert(parse_list(row->name, &root_env, &options, &error) == -EINVAL);
		assert(error.id == row->refuse && strstr(error.reason, row->name));
	}
}

static void test_accepted(void)
{
	static const char fstab[] = "defaults,rw,nofail,_netdev,auto,noauto,user=joe,nouser,users,"
				    "owner,group,relatime,dirsync,comment=abc,x-systemd.automount,"
				    "x-systemd.mount-timeout=60,X-mount.mkdir=0755";
	struct options o = must_parse(fstab, &root_env);

	assert(o.n_notes == 0);
	options_deinit(&o);
	o = must_parse("fsc,clientaddr=10.0.0.1,fsc,fsc=x,posix", &root_env);
	assert(o.n_notes == 3); /* one each */
	assert(o.notes[0].id == MSG_OPTION_IGNORED);
	assert(strcmp(o.notes[0].text, "option 'fsc' has no effect in fusenfs") == 0);
	assert(strstr(o.notes[1].text, "'clientaddr'") && strstr(o.notes[2].text, "'posix'"));
	options_deinit(&o);
	o = must_parse("nconnect=17", &root_env);
	assert(o.n_notes == 1 && o.notes[0].id == MSG_MANY_CONNECTIONS);
	options_deinit(&o);
}

static void test_locks(void)
{
	static const struct {
		const char *list;
		bool posix, flock; /* are the server's */
	} rows[] = {
		{ "rw", true, true }, /* as nfs(5) has it */
		{ "nolock", false, false },
		{ "lock", true, true },
		{ "lock,nolock", false, false },
		{ "nolock,lock", true, true },
		{ "local_lock=all", false, false },
		{ "local_lock=none", true, true },
		{ "local_lock=none,local_lock=flock", true, false },
		{ "local_lock=none,nolock", false, false }, /* nolock overrides */
		{ "local_lock=flock", true, false },
		{ "local_lock=posix", false, true },
		{ "lock,local_lock=none", true, true },
		{ "lock,local_lock=flock", true, false },
		{ "lock,local_lock=posix", false, true },
		{ "lock,local_lock=all", false, false },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options o = must_parse(rows[i].list, &root_env);

		assert(o.n_notes == 0);
		assert(o.nlm_posix == rows[i].posix && o.nlm_flock == rows[i].flock);
		options_deinit(&o);
	}
}

/* What the file says holds unless the command line says otherwise, wherever that has the file's name. */
static void test_config(void)
{
	char path[] = "/tmp/fusenfs-test-XXXXXX", line[128];
	struct options options;
	struct message error;
	FILE *file = fdopen(mkstemp(path), "w");

	assert(file);
	fputs("# a comment\n\n  nconnect=7,timeo=50\r\n\tretrans=5\nro", file);
	fflush(file);
	snprintf(line, sizeof(line), "nas1:/data /mnt -o timeo=70 --config=%s", path);
	assert(parse_line(line, &root_env, &options, &error) == 0);
	assert(options.nconnect == 7 && options.retrans == 5 && options.ro);
	assert(options.timeo_ns == 7 * NS_PER_S);
	assert(strcmp(options.given, "nconnect=7,timeo=50,retrans=5,ro,timeo=70") == 0);
	options_deinit(&options);
	fputs("\nnconnect=x\n", file);
	fclose(file);
	assert(parse_line(line, &root_env, &options, &error) == -EINVAL);
	assert(error.id == MSG_BAD_VALUE && strstr(error.why, "line 6 of /tmp/fusenfs-test-"));
	unlink(path);
}

static void test_max_connect(void)
{
	struct options o = must_parse("nconnect=16,max_connect=6", &root_env);

	assert(o.nconnect == 6 && o.mdconnect == 1 && o.n_loops <= 6);
	options_deinit(&o);
	o = must_parse("max_connect=16", &root_env);
	assert(o.nconnect == 4);
	options_deinit(&o);
}

static void test_sloppy(void)
{
	struct options options;
	struct message error;
	struct options o = must_parse("nconect=8,sloppy,foo", &root_env);

	assert(o.n_notes == 2 && o.notes[0].id == MSG_OPTION_IGNORED && o.nconnect == 4);
	options_deinit(&o);
	assert(parse_line("-s nas1:/data /mnt -o foo", &root_env, &options, &error) == 0);
	options_deinit(&options);
	/* what is known and refused stays an error, a bad value too */
	must_fail("sloppy,sec=krb5", MSG_UNSUPPORTED_SECURITY, "sec=krb5 is not supported");
	must_fail("sloppy,nconnect=0", MSG_BAD_VALUE, "nconnect=0 is out of range (1 to 64)");
}

static void test_escapes(void)
{
	struct options o = must_parse("fsname=a\\,b\\\\c\\d,ro", &root_env);
	char *fuse = options_fuse(&o);

	assert(strcmp(o.fsname, "a,b\\c\\d") == 0 && o.ro);
	assert(strstr(fuse, ",fsname=a\\,b\\\\c\\\\d,subtype=fusenfs"));
	free(fuse);
	options_deinit(&o);
}

static void test_fuse_string(void)
{
	struct options o = must_parse("ro,noexec,noatime,max_read=8K,subtype=x", &root_env);
	char *fuse = options_fuse(&o);

	assert(strcmp(fuse, "ro,nosuid,nodev,noexec,noatime,allow_other,default_permissions,"
			    "max_read=8192,fsname=nas1:/data,subtype=x") == 0);
	free(fuse);
	options_deinit(&o);
}

static void test_mount_query(void)
{
	struct mount_query query;
	struct options options;
	struct message error;

	assert(parse_line("[fe80::1%lo]:/d/e/ /mnt -o port=1,mountport=2,mountproto=udp,noresvport",
			  &root_env, &options, &error) == 0);
	options_mount_query(&options, &query);
	assert(strcmp(query.host, "fe80::1%lo") == 0 && strcmp(query.path, "/d/e") == 0);
	assert(query.nfs_port == 1 && query.mount_port == 2 && query.mount_vers == 3);
	assert(query.mount_transport == MOUNT_UDP && !query.resvport && query.stage_ns == 5 * S);
	options_deinit(&options);
}

/* ---- the table --------------------------------------------------------------------------- */

/* Names are unique, honoured ones are described, and every row of ref/options.md is there. */
static void test_table(void)
{
	assert(option_table_n <= OPTION_TABLE_MAX);
	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];

		assert(option_find(row->name, strlen(row->name)) == row);
		assert((row->state == OPTION_REFUSED) == (row->refuse != MSG_NONE));
		assert((row->kind == KIND_CHOICE) == (row->choices != NULL));
		if (row->state != OPTION_HONOURED)
			continue;
		assert(row->help && *row->help);
		assert(row->kind == KIND_FLAG || row->kind == KIND_CHOICE || row->value);
		assert(row->initial || row->shown || row->kind == KIND_FLAG ||
		       row->slot != SLOT_SELF);
	}
}

static char *printed(void (*print)(FILE *))
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	print(stream);
	fclose(stream);
	return text;
}

/* Every option is in `help options` once, at the head of a line or in one of the lists. */
static void test_help(void)
{
	char *table = printed(options_print_table), *help = printed(options_print_help);

	for (unsigned int i = 0; i < option_table_n; i++) {
		const struct option_row *row = &option_table[i];
		char head[64];
		const char *found;

		snprintf(head, sizeof(head), row->state == OPTION_HONOURED ? "\n  %s" : "%s",
			 row->name);
		found = strstr(table, head);
		assert(found);
		if (row->common)
			assert(strstr(help, row->name));
	}
	assert(strstr(table, "\n  nconnect=N  ") && strstr(table, "1 to 64 [4] live\n"));
	assert(strstr(table, "\n  rdirplus[=none|force] "));
	assert(strstr(help, "\n  softerr | soft | hard  "));
	free(table);
	free(help);
}

static void test_words(void)
{
	static const struct {
		const char *a, *b;
		unsigned int distance;
	} rows[] = {
		{ "", "", 0 },
		{ "a", "", 1 },
		{ "", "abc", 3 },
		{ "soft", "soft", 0 },
		{ "soft", "sofr", 1 },
		{ "nconect", "nconnect", 1 },
		{ "itmeo", "timeo", 1 }, /* neighbours swapped */
		{ "abcd", "badc", 2 },
		{ "kitten", "sitting", 3 },
	};
	char longest[66];

	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		assert(words_distance(rows[i].a, rows[i].b) == rows[i].distance);
		assert(words_distance(rows[i].b, rows[i].a) == rows[i].distance);
	}
	memset(longest, 'a', sizeof(longest));
	longest[65] = '\0';
	assert(words_distance(longest, "a") == WORDS_FAR);
	assert(words_distance(longest + 1, "a") == 63);
	assert(!words_near("a", WORDS_FAR) && words_near("a", 1) && !words_near("abcde", 2));
}

/* ---- mount(8)'s helper ------------------------------------------------------------------- */

static void test_helper(void)
{
	struct options options;
	struct message error;

	program = "/sbin/mount.fusenfs";
	assert(!parse_line("nas:/x /mnt -o rw,nconnect=2,_netdev,nofail -v", &root_env, &options, &error));
	assert(options.helper && options.verbose && !options.fake && options.nconnect == 2);
	assert(!strcmp(options.given, "rw,nconnect=2,_netdev,nofail"));
	options_deinit(&options);
	program = "mount.fuse.fusenfs";
	assert(!parse_line("-n -s -f -t fuse.fusenfs -N /proc/1/ns/mnt -o nconect=2 -o user=joe nas:/x /mnt",
			   &root_env, &options, &error));
	assert(options.fake && options.sloppy && !strcmp(options.mount_ns, "/proc/1/ns/mnt"));
	assert(!strcmp(options.given, "nconect=2,user=joe"));
	options_deinit(&options);
	assert(parse_line("nas:/x /mnt -t ext4", &root_env, &options, &error) && error.id == MSG_USAGE);
	assert(parse_line("nas:/x /mnt -o nconect=2", &root_env, &options, &error) &&
	       error.id == MSG_UNKNOWN_OPTION);
	assert(parse_line("help options", &root_env, &options, &error) && error.id == MSG_BAD_SOURCE);
	assert(parse_line("nas:/x /mnt -d", &root_env, &options, &error) && error.id == MSG_USAGE);
	program = "fusenfs";
	assert(parse_line("nas:/x /mnt -v", &root_env, &options, &error) && error.id == MSG_USAGE);
}

static bool same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* What mount.nfs adds to a mount's words: the preflight has it as it is. */
static void test_hosts(void)
{
	static const struct {
		const char *list, *address, *mount_host;
		int mount_family;
	} rows[] = {
		{ "ro", NULL, NULL, AF_UNSPEC },
		{ "addr=10.0.0.5", "10.0.0.5", NULL, AF_UNSPEC },
		{ "addr=[fd00::5],proto=tcp6", "fd00::5", NULL, AF_UNSPEC },
		{ "addr=fe80::1%lo", "fe80::1%lo", NULL, AF_UNSPEC },
		{ "mounthost=other", NULL, "other", AF_UNSPEC },
		{ "mounthost=[fd00::6]", NULL, "fd00::6", AF_UNSPEC },
		{ "mounthost=a,mounthost=b,mountproto=tcp6", NULL, "b", AF_INET6 },
		{ "mounthost=other,mountaddr=10.0.0.6", NULL, "10.0.0.6", AF_UNSPEC },
		{ "mountaddr=fd00::0:6,addr=10.0.0.5", "10.0.0.5", "fd00::6", AF_UNSPEC },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options o = must_parse(rows[i].list, &root_env);
		struct mount_query query;

		options_mount_query(&o, &query);
		assert(same(query.address, rows[i].address) && same(query.mount_host, rows[i].mount_host));
		assert(query.mount_family == rows[i].mount_family && same(query.host, o.source.host));
		options_deinit(&o);
	}
}

static void test_locals(void)
{
	static const struct {
		const char *list;
		unsigned int n;
		int family; /* of the server's addresses */
		uint16_t low, high;
	} rows[] = {
		{ "ro", 0, AF_UNSPEC, 0, 0 },
		{ "localaddrs=10.0.0.1-10.0.0.3~10.0.0.2", 3, AF_INET, 0, 0 },
		{ "localports=[fd00::1]~fe80::1%lo,nconnect=2,srcports=2000", 2, AF_INET6, 2000, 2000 },
		{ "localaddrs=10.0.0.1~fd00::1", 2, AF_UNSPEC, 0, 0 },
		{ "localaddrs=eth0.100~10.0.0.1~eth0.100,srcports=665-1023", 2, AF_UNSPEC, 665, 1023 },
		{ "localaddrs=eth0,family=6", 1, AF_INET6, 0, 0 },
		{ "bindif=eth0", 1, AF_UNSPEC, 0, 0 },
		{ "bindif=eth0,localaddrs=10.0.0.1-10.0.0.3", 3, AF_INET, 0, 0 },
		{ "bindif=eth0,localaddrs=eth0~10.0.0.1", 2, AF_UNSPEC, 0, 0 },
		{ "localaddrs=bond-1,srcports=1-65535,noresvport,resvport,noresvport", 1, AF_UNSPEC, 1, 65535 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct options o = must_parse(rows[i].list, &root_env);

		assert(o.n_locals == rows[i].n && options_family(&o) == rows[i].family);
		assert(o.srcport_low == rows[i].low && o.srcport_high == rows[i].high);
		for (unsigned int k = 0; k < o.n_locals && o.bindif; k++)
			assert(!strcmp(o.locals[k].device, o.bindif));
		options_deinit(&o);
	}
}

static void test_fixed_change(void)
{
	static const struct {
		const char *running, *added, *fixed;
		unsigned long flags;
	} rows[] = {
		{ NULL, "remount,ro", NULL, MS_RDONLY | MS_NOSUID | MS_NODEV },
		{ "ro", "remount,rw", NULL, MS_NOSUID | MS_NODEV },
		{ "ro,suid", "remount,noexec", NULL, MS_RDONLY | MS_NODEV | MS_NOEXEC },
		{ "nconnect=8", "nconnect=8,remount,_netdev,x-systemd.automount", NULL, MS_NOSUID | MS_NODEV },
		{ "nconnect=8", "remount,ro", NULL, MS_RDONLY | MS_NOSUID | MS_NODEV },
		{ "wbuf=64M,soft", "remount,wbuf=65536K,soft", NULL, MS_NOSUID | MS_NODEV },
		{ "nconnect=8", "remount,nconnect=4", "nconnect", 0 },
		{ NULL, "remount,nconnect=4", NULL, MS_NOSUID | MS_NODEV }, /* the default */
		{ NULL, "remount,nconnect=5", "nconnect", 0 },
		{ "softerr", "hard,remount", "hard", 0 },
		{ NULL, "remount,addrs=10.0.0.1", "addrs", 0 },
		{ "addrs=10.0.0.1", "remount,addrs=10.0.0.1", NULL, MS_NOSUID | MS_NODEV },
		{ NULL, "remount,localaddrs=10.0.0.1", "localaddrs", 0 },
		{ "srcports=2000-2009", "remount,srcports=2000-2008", "srcports", 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned long flags = 0;
		const char *fixed = options_fixed_change(rows[i].running, rows[i].added, &flags);

		if (!fixed != !rows[i].fixed)
			fprintf(stderr, "%s + %s: %s\n", rows[i].running, rows[i].added, fixed);
		assert(!fixed == !rows[i].fixed && (fixed || flags == rows[i].flags));
		if (fixed && strcmp(fixed, rows[i].fixed))
			fprintf(stderr, "%s, not %s\n", fixed, rows[i].fixed);
		assert(!fixed || !strcmp(fixed, rows[i].fixed));
	}
}

/* Words of the values are the words that gave them, in the table's order, without what is the default. */
static const struct {
	const char *given, *words;
} round_trips[] = {
	{ "", "" },
	{ "timeo=100,retrans=2,softerr,rw,nosuid", "" },
	{ "ro,timeo=50,nconnect=8", "nconnect=8,timeo=50,ro" },
	{ "hard,soft", "soft" },
	{ "mdconnect=1", "mdconnect=1" },
	{ "optimeo=2.5,detect=1,deadtimeo=0", "optimeo=2500ms,detect=1,deadtimeo=0" },
	{ "wbuf=32M,cachesize=1048577K,window=auto,readahead=0", "readahead=0,wbuf=32M,cachesize=1048577K" },
	{ "window=1G", "window=1G" },
	{ "noac", "noac" },
	{ "noac,acregmin=3", "noac,acregmin=3" },
	{ "noac,async", "noac,async" },
	{ "actimeo=7", "acregmin=7,acregmax=7,acdirmin=7,acdirmax=7" },
	{ "noac,ac", "" },
	{ "sync,nocto,nosoftreval,softwrite=fail", "nosoftreval,softwrite=fail,nocto,sync" },
	{ "fsname=a\\,b\\\\c,addrs=10.0.0.2~10.0.0.3", "addrs=10.0.0.2~10.0.0.3,fsname=a\\,b\\\\c" },
	{ "remoteports=10.0.0.2", "addrs=10.0.0.2" },
	{ "nfsvers=3,v3,port=2049,mountport=20048,proto=tcp", "proto=tcp,port=2049,mountport=20048" },
	{ "nordirplus", "rdirplus=none" },
	{ "rdirplus", "" },
	{ "lock", "" },
	{ "lock,local_lock=flock", "local_lock=flock" },
	{ "nolock,local_lock=none", "nolock" },
	{ "nolock", "nolock" },
	{ "uid=0,gid=7,perm=server,noresvport,log=debug,ctl=/x", "noresvport,uid=0,gid=7,perm=server,ctl=/x,log=debug" },
	{ "rsize=4096,stripe=rr,redial=off", "redial=off,stripe=rr,rsize=4K" },
	{ "x-systemd.automount,_netdev,nonempty,remount,fsc", "" },
	{ "bg,retry=5,intr,allow_other", "bg,retry=5,intr,allow_other" },
};

static void test_round_trips(void)
{
	unsigned long flags;

	for (unsigned int i = 0; i < ARRAY_SIZE(round_trips); i++) {
		char *words = options_words(round_trips[i].given, false, 0, 0), *again;
		const char *fixed;

		if (strcmp(words, round_trips[i].words) != 0)
			fprintf(stderr, "'%s' gives '%s'\n", round_trips[i].given, words);
		assert(!strcmp(words, round_trips[i].words));
		again = options_words(words, false, 0, 0);
		assert(!strcmp(words, again));
		fixed = options_fixed_change(words, round_trips[i].given, &flags);
		assert(!fixed);
		free(words);
		free(again);
	}
}

/* Everything in force, and it is what a mount with these words has. */
static void test_all_words(void)
{
	char *words = options_words("nconnect=2,timeo=10,noac", true, 65536, 131072);
	static const char *const expected[] = {
		"nconnect=2,", "softerr,", "timeo=10,", "retrans=2,", "optimeo=3,", "detect=5,", "rsize=64K,",
		"wsize=128K,", "mdconnect=0,", "noac,", "acregmin=0,", ",sync,", "lookupcache=all,", "cto,",
		"wbuf=64M,", "log=info,", "rw,", "nosuid,", "readahead=auto,", "window=auto,", "vers=3,",
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++) {
		if (!strstr(words, expected[i]))
			fprintf(stderr, "no '%s' in '%s'\n", expected[i], words);
		assert(strstr(words, expected[i]));
	}
	assert(!strstr(words, "fsname") && !strstr(words, "nonempty") && !strstr(words, "remount"));
	free(words);
}

static const struct {
	const char *given, *list;
	bool remount;
	enum message_id refused; /* MSG_NONE: it is not */
	const char *text;        /* then the new list, else what the reason has */
} changes[] = {
	{ "", "timeo=50", false, MSG_NONE, "timeo=50" },
	{ "timeo=50,nconnect=8", "timeo=100", false, MSG_NONE, "nconnect=8" },
	{ "hard", "softerr,optimeo=3", false, MSG_NONE, "optimeo=3" },
	{ "", "nconnect=2,stripe=rr,log=debug", false, MSG_NONE, "nconnect=2,stripe=rr,log=debug" },
	{ "", "noac", false, MSG_NONE, "noac" },
	{ "noac", "ac", false, MSG_NONE, "" },
	{ "rsize=4096", "rsize=4096,timeo=9", false, MSG_NONE, "timeo=9,rsize=4K" },
	{ "", "rsize=4096", false, MSG_REMOUNT_FIXED, "'rsize'" },
	{ "", "timeo=50,rsize=4096", false, MSG_REMOUNT_FIXED, "'rsize'" },
	{ "", "bg", true, MSG_REMOUNT_FIXED, "'bg'" },
	{ "", "ro", false, MSG_REMOUNT_FIXED, "'ro' is changed by mount(8)" },
	{ "", "ro,remount,timeo=50,_netdev", true, MSG_NONE, "timeo=50" },
	{ "noexec", "ro,remount,exec", true, MSG_NONE, "noexec" },
	{ "", "timeo=0", false, MSG_BAD_VALUE, "out of range" },
	{ "", "tmeo=50", false, MSG_UNKNOWN_OPTION, "timeo" },
	{ "mdconnect=3", "nconnect=3", false, MSG_OPTION_CONFLICT, "mdconnect=3" },
	{ "minconnect=3", "nconnect=2", false, MSG_OPTION_CONFLICT, "minconnect=3" },
	{ "", "rdma", false, MSG_UNSUPPORTED_TRANSPORT, "RDMA" },
	{ "", "udp", false, MSG_REMOUNT_FIXED, "'proto'" },
};

static void test_changes(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(changes); i++) {
		struct options_changes *result = calloc(1, sizeof(*result));
		struct message error;
		char *given = NULL;
		int status = options_change(changes[i].given, changes[i].list, changes[i].remount, result, &given,
					    &error);

		if (status && (error.id != changes[i].refused || !strstr(error.reason, changes[i].text)))
			fprintf(stderr, "%s: %s\n", changes[i].list, error.reason);
		assert(!status == (changes[i].refused == MSG_NONE));
		if (status)
			assert(error.id == changes[i].refused && strstr(error.reason, changes[i].text));
		else
			assert(!strcmp(given, changes[i].text));
		free(given);
		free(result);
	}
}

/* Only what was asked for is stored; what depends on it follows. */
static void test_apply(void)
{
	struct options_changes *result = calloc(1, sizeof(*result));
	struct options *running = calloc(1, sizeof(*running));
	struct message error;
	char *given;

	running->log_level = LEVEL_DEBUG; /* by -d */
	running->timeo_ns = 10 * NS_PER_S;
	running->retrans = 1;
	assert(!options_change("retrans=1", "timeo=20,nocto,wbuf=1M,actimeo=4", false, result, &given, &error));
	assert(result->any);
	options_apply_changes(result, running);
	assert(running->timeo_ns == 2 * NS_PER_S && running->soft_deadline_ns == 4 * NS_PER_S);
	assert(running->retrans == 1 && !running->cto && running->wbuf == MIB(1));
	assert(running->acregmin_ns == 4 * NS_PER_S && running->acdirmax_ns == 4 * NS_PER_S);
	assert(running->log_level == LEVEL_DEBUG && !running->nconnect);
	free(given);
	assert(!options_change("timeo=20", "timeo=20", false, result, &given, &error) && !result->any);
	free(given);
	free(running);
	free(result);
}

int main(void)
{
	test_helper();
	test_fixed_change();
	test_round_trips();
	test_all_words();
	test_changes();
	test_apply();
	test_hosts();
	test_locals();
	test_good_sources();
	test_bad_sources();
	test_several_servers();
	test_lines();
	test_formats();
	test_bad_lines();
	test_commands();
	test_defaults();
	test_computed();
	test_permissions();
	test_values();
	test_bad_values();
	test_all_ranges();
	test_slots();
	test_conflicts();
	test_refused();
	test_all_refused();
	test_accepted();
	test_locks();
	test_config();
	test_max_connect();
	test_sloppy();
	test_escapes();
	test_fuse_string();
	test_mount_query();
	test_table();
	test_help();
	test_words();
	return 0;
}
