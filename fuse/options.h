/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options - the command line, into one struct.
 *
 *	fusenfs [-f] [-d] [-q] [-s] [--log-format=FORMAT] [-o OPTION[,OPTION...]]... SOURCE MOUNTPOINT
 *	fusenfs -h | -V | help [options | [errors] ID | errors]
 *	fusenfs fstab|unit [-o OPTION[,OPTION...]]... SOURCE MOUNTPOINT
 *	mount.fusenfs SOURCE MOUNTPOINT [-fnsv] [-N NAMESPACE] [-o OPTION[,OPTION...]] [-t TYPE]
 *
 * One table (option_table.c) holds every option of ref/options.md: how its value is written, its
 * default and range, whether it can change on a running mount, and what becomes of it. The parser,
 * `fusenfs help options` and --help are read from it. An option is one of
 *   honoured   parsed into a field below; the program does what it says;
 *   generic    of mount(8), accepted silently: it has no effect inside a daemon;
 *   ignored    accepted with one warning, option-ignored;
 *   refused    known, not built: an error. Nothing is parsed and then silently dropped.
 *
 * Words of one slot ({soft, softerr, hard}, {proto, tcp, udp, rdma}, any option with itself): the
 * rightmost wins without a message, so a refused word that was overridden does no harm. Syntax and
 * range of every word are checked all the same.
 *
 * What is _Atomic in struct options is live: `fusenfs set` changes it while it is mounted (live.h), every thread may
 * read it at any time. The rest is constant once the mount is made.
 *
 * In -o, "\," is a comma inside a value and "\\" a backslash. */
#ifndef FUSE_OPTIONS_H
#define FUSE_OPTIONS_H

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "../conn/conn.h"
#include "../conn/mount.h"
#include "addrlist.h"
#include "log.h"
#include "message.h"

/* What the words ask for. */
enum command {
	COMMAND_MOUNT,
	COMMAND_HELP,         /* options_print_help() */
	COMMAND_HELP_OPTIONS, /* options_print_table() */
	COMMAND_HELP_ERRORS,  /* message_print_catalogue(), or of options.help_id message_print_help() */
	COMMAND_HELP_COMPLETION, /* options_print_completion() */
	COMMAND_MANUAL_OPTIONS, /* options_print_manual() */
	COMMAND_MANUAL_ERRORS,  /* message_print_manual() */
	COMMAND_CATALOG,        /* message_print_catalog() */
	COMMAND_VERSION,
	COMMAND_FSTAB,        /* options_print_fstab() */
	COMMAND_UNIT,         /* options_print_unit() */
};

/* The server does not answer: what a call gets once the soft deadline has passed. */
enum down_policy {
	DOWN_SOFTERR, /* ETIMEDOUT */
	DOWN_SOFT,    /* EIO */
	DOWN_HARD,    /* it waits, interruptible */
};

/* And the data it had taken, but not committed. */
enum softwrite {
	SOFTWRITE_HOLD, /* is kept until deadtimeo */
	SOFTWRITE_FAIL, /* is lost with the error */
};

enum dns_use { DNS_ALL, DNS_FIRST }; /* of the addresses of a name */
enum lookupcache { LOOKUPCACHE_ALL, LOOKUPCACHE_POSITIVE, LOOKUPCACHE_NONE };
enum rdirplus { RDIRPLUS_AUTO, RDIRPLUS_NONE, RDIRPLUS_FORCE };
enum sec_flavor { SEC_SYS, SEC_NONE };
enum perm_mode { PERM_LOCAL, PERM_SERVER };

enum { OPTIONS_MAX_NOTES = 16, OPTIONS_NOTE_MAX = 160 };
#define READAHEAD_AUTO INT64_C(-1)

/* Something to say once logging works: a warning or a notice, by its id's severity. */
struct options_note {
	enum message_id id;
	char text[OPTIONS_NOTE_MAX];
};

/* NFS server and path, taken from SOURCE. */
struct source {
	char *text;    /* as typed; what /proc/mounts shows */
	char *host;    /* name or literal, without brackets; an IPv6 literal may have a %scope. Or several of
			* one server, with commas between */
	char *path;    /* begins with '/', no '/' at its end but in "/" */
	uint16_t port; /* of an nfs:// source; 0: none given */
};

struct options {
	enum command command;
	enum message_id help_id; /* MSG_NONE: all */
	struct source source;
	char *mountpoint;        /* as typed */
	bool foreground;         /* -f or debug */
	bool debug;              /* -d, -o debug: level debug, foreground */
	bool quiet;              /* -q */
	enum log_format log_format; /* --log-format */
	/* Called as mount.fusenfs or mount.fuse.fusenfs, by mount(8). */
	bool helper;
	bool fake;               /* its -f: check the words, mount nothing */
	bool verbose;            /* its -v: say so when mounted */
	char *mount_ns;          /* its -N: mount namespace, a pid or a path; NULL: ours */
	bool remount;            /* -o remount: change what is mounted there (remount.h) */
	char *given;             /* all -o lists, as typed, with commas between; NULL: none */
	bool sloppy;
	_Atomic(enum log_level) log_level;

	/* Connections. */
	_Atomic(uint32_t) nconnect;       /* 1..64 */
	uint32_t minconnect;     /* 1..nconnect */
	_Atomic(uint32_t) mdconnect;      /* 0..nconnect - 1 */
	uint32_t n_loops;        /* max_threads, or min(nconnect, max(2, CPUs), 16) */
	_Atomic(enum stripe) stripe;
	_Atomic(uint32_t) spin_us;        /* busy-polled before a loop sleeps; 0: none */
	uint32_t max_connect;             /* nconnect is not above it; 0: no limit */
	_Atomic(uint64_t) window;         /* bytes in flight per connection; 0: measured */
	_Atomic(bool) redial;             /* move connections off crowded and bad paths */
	bool resvport;           /* wanted; falls back without a word */

	/* Ports and transports. */
	char *addrs_text;        /* addrs= as typed; NULL */
	struct pool_addr addrs[POOL_MAX_ADDRS]; /* of it, without ports */
	unsigned int n_addrs;
	char *addr_text, *mountaddr_text; /* addr=, mountaddr= as typed; NULL */
	char address[ADDR_TEXT_MAX], mount_address[ADDR_TEXT_MAX]; /* of them; "" */
	char *mounthost;         /* name or address of mountd's host; NULL: the server's */
	char *bindif;            /* the only interface to be used; in locals, too. NULL: any */
	char *locals_text;       /* localaddrs= as typed; NULL */
	struct pool_local locals[POOL_MAX_LOCALS];
	unsigned int n_locals;   /* 0: the kernel chooses */
	int local_family;        /* of all of them; AF_UNSPEC: of both, or there is an interface */
	char *srcports_text;     /* srcports= as typed; NULL */
	uint16_t srcport_low, srcport_high; /* 0: any */
	enum dns_use dns;
	int family;              /* AF_UNSPEC, AF_INET or AF_INET6 */
	uint16_t port;           /* NFS; 0: portmapper, else 2049. From port= or nfs:// */
	uint16_t mountport;      /* 0: portmapper */
	uint32_t mountvers;      /* 3 */
	enum mount_transport mount_transport, nfs_transport; /* rule 5 of options.md applied */
	int mount_family;        /* of mountd's address, where that is not to be NFS's; AF_UNSPEC */

	bool udpfrag;            /* rsize= and wsize= may need IP fragments (udp.h) */

	/* Protocol. */
	uint32_t rsize, wsize;   /* Linux rounding applied; 0: as FSINFO prefers, at most 1 MiB */
	uint32_t readdirsize;
	enum rdirplus rdirplus;
	uint32_t namlen;         /* 0: PATHCONF */
	enum sec_flavor sec;
	bool fixed_uid, fixed_gid; /* uid=, gid=: this one instead of the caller's */
	uint32_t uid, gid;
	uint32_t maxgroups;      /* supplementary groups sent, 0..16 */

	/* Time. All _ns. */
	_Atomic(enum down_policy) down;
	_Atomic(bool) softreval;          /* what is known answers for a server that does not */
	_Atomic(int64_t) timeo_ns;
	_Atomic(uint32_t) retrans;
	_Atomic(int64_t) soft_deadline_ns; /* optimeo, or min(timeo * (retrans + 1), 30 s) */
	_Atomic(int64_t) detect_ns;
	bool nlm_posix, nlm_flock;   /* fcntl(2), flock(2) locks are the server's (lock, local_lock) */
	_Atomic(enum softwrite) softwrite;
	_Atomic(int64_t) deadtimeo_ns;
	int64_t mounttimeo_ns;
	int64_t stage_ns;        /* of each network stage: min(5 s, mounttimeo) */
	_Atomic(int64_t) umounttimeo_ns;
	bool bg;                 /* mounted at once; the server is looked for meanwhile */
	int64_t retry_ns;        /* keep trying to mount for so long; 0: one attempt, or with bg none
				  * after that */
	_Atomic(bool) intr;

	/* Caches and data. */
	_Atomic(bool) noac;
	_Atomic(int64_t) acregmin_ns, acregmax_ns, acdirmin_ns, acdirmax_ns;
	_Atomic(enum lookupcache) lookupcache;
	_Atomic(bool) cto;
	_Atomic(bool) sync;               /* sync, or implied by noac */
	_Atomic(int64_t) readahead;       /* bytes; 0: off; READAHEAD_AUTO */
	_Atomic(uint64_t) wbuf;           /* bytes of write data held */
	_Atomic(uint64_t) cachesize;      /* bytes fetched ahead by the daemon (prefetch.h) */

	/* FUSE and mount(2). */
	bool ro, nosuid, nodev, noexec, noatime;
	bool allow_other;        /* computed: on for root */
	bool allow_other_given;
	bool default_permissions; /* computed: on with allow_other, off with perm=server */
	enum perm_mode perm;
	uint32_t max_background; /* 0: computed by whoever knows better */
	uint32_t max_read;       /* 0: computed */
	char *fsname;            /* source.text unless given */
	char *subtype;           /* "fusenfs" unless given */
	bool nonempty, overmount;
	char *metrics_text;      /* metrics= as typed, at the start; NULL: off */
	struct sockaddr_storage metrics; /* of it, now: the control thread's; AF_UNSPEC: off */
	char *ctl;               /* where the control socket is to be; NULL: the usual place */

	struct options_note notes[OPTIONS_MAX_NOTES];
	unsigned int n_notes;
};

/* What defaults depend on. */
struct options_env {
	bool root;           /* effective uid 0 */
	unsigned int n_cpus; /* that this process may run on */
};

/* options_parse - 0: *ret_options is filled in, options_deinit() later. -EINVAL or -ENOMEM: it is
 * not, and *ret_error says why (exit code by message_exit_code()). Reads no file but that of --config, touches no
 * network and no mount point. quiet and log_format are set in *ret_options even on failure. */
int options_parse(int argc, char **argv, struct options *ret_options, struct message *ret_error);
/* options_parse_mount - as "fusenfs -o LIST SOURCE POINT" is; list may be NULL or empty. Otherwise as options_parse(). */
int options_parse_mount(const char *source, const char *point, const char *list, struct options *ret_options,
			struct message *ret_error);
/* options_parse_env - the same, for a given environment. */
int options_parse_env(int argc, char **argv, const struct options_env *env,
		      struct options *ret_options, struct message *ret_error);
void options_deinit(struct options *options);
/* options_is_helper - is the program called by mount(8)'s name for it? */
bool options_is_helper(const char *program);

/* options_fixed_change - what a remount asks for and cannot be had: the name of the first option in the list
 * `added` that has another value than on the mount that was made with the list `running`, and is none of
 * mount(2)'s (ro, rw, nosuid, nodev, noexec, noatime and their opposites). NULL if there is none; then *ret_flags
 * has mount(2)'s flags as both lists together want them. Both lists have been parsed before; NULL: empty. */
const char *options_fixed_change(const char *running, const char *added, unsigned long *ret_flags);

/* options_env_of_process - what they depend on here. */
void options_env_of_process(struct options_env *ret_env);

/* options_change - what the words of `list` make of a running mount, whose lists are `given`: all of it or
 * nothing. Every option with another value than before must be live (option_table.h); those of mount(2) are passed
 * over if `remount`, for mount(8) sends all that fstab has, else they are an error, too. 0: the live fields of
 * *ret_changes that have a bit in ret_changes->rows are to be applied by options_apply_changes(), and ret_given is
 * the new list, to free. Else -errno with the reason. One thread at a time (getopt(3)). */
struct options_changes {
	struct options options;
	bool rows[256];     /* by row of the table */
	bool any;
};
int options_change(const char *given, const char *list, bool remount, struct options_changes *ret_changes,
		   char **ret_given, struct message *ret_error);
/* options_apply_changes - to the options that every thread reads. */
void options_apply_changes(const struct options_changes *changes, struct options *options);
/* options_words - the options of a mount in force, as words: "nconnect=4,softerr,timeo=100". all: defaults, too;
 * else what makes the same mount again. rsize and wsize as agreed with the server; 0: as given. A string to free, or
 * NULL: no memory. One thread at a time. */
char *options_words(const char *given, bool all, uint32_t rsize, uint32_t wsize);
/* options_live_names - "nconnect, mdconnect, ...": what can be changed. Returns text. */
const char *options_live_names(char *text, size_t size);

/* options_log_notes - what the parser wanted said, through log.h. */
void options_log_notes(const struct options *options);

/* options_action - fill in the message's action: "mount SOURCE on MOUNTPOINT". */
void options_action(const struct options *options, struct message *message);

/* options_family - of the server's addresses that can be used: AF_UNSPEC, AF_INET or AF_INET6. */
int options_family(const struct options *options);
/* options_mount_query - the network half of the preflight as these options want it;
 * strings are borrowed from options. deadline_ns is left 0. */
void options_mount_query(const struct options *options, struct mount_query *ret_query);
/* options_pool_config - of any pool to the server: network, times and what happens when it is down; the
 * rest is zero. */
void options_pool_config(const struct options *options, struct pool_config *ret_config);

/* options_tune_config - what else of the file system's pool is live. */
void options_tune_config(const struct options *options, struct pool_config *config);

/* options_fuse - the -o value for fuse_session_new(): ro, nosuid, fsname and the like, escaped as
 * libfuse wants it. A string to free, or NULL without memory. */
char *options_fuse(const struct options *options);

/* The two help texts, both read from the table. */
void options_print_help(FILE *stream);
void options_print_table(FILE *stream);
/* options_print_completion - for a shell's completion, one word a line after its kind: "option nconnect=", "option
 * lookupcache=all", "option ro", "flag --help", "command fstab", "topic options". Commands of command/command.h not among them. */
void options_print_completion(FILE *stream);
/* options_print_manual - the section OPTIONS of fusenfs(1), in man(7)'s language. */
void options_print_manual(FILE *stream);

/* options_print_fstab - the line of fstab(5) that makes this mount: fields escaped, _netdev and nofail added. */
void options_print_fstab(const struct options *options, FILE *stream);
/* options_print_unit - the unit of systemd.mount(5) that makes it, its name in a comment. 0 or -ENOMEM. */
int options_print_unit(const struct options *options, FILE *stream);

/* source_parse - SERVER[,SERVER...]:/PATH, [V6ADDR]:/PATH or nfs://SERVER[:PORT]/PATH. 0 or -EINVAL with the
 * reason. *ret_source is written on success only. */
int source_parse(const char *text, struct source *ret_source, struct message *ret_error);
/* source_is_host - may it be the name or the literal address of a host? */
bool source_is_host(const char *text);
void source_deinit(struct source *source);

#endif
