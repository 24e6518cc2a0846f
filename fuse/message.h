/* SPDX-License-Identifier: GPL-2.0-or-later */
/* message - what fusenfs tells a person: one record per error, warning or notice.
 *
 * A message has an id that never changes its meaning, a first line that is enough by itself, what
 * was observed (why), and at most two things to do (try):
 *
 *	fusenfs: cannot mount nas1:/dta on /mnt: nas1 does not export '/dta' [export-not-found]
 *	  why: nas1 (10.0.0.5) exports: /data, /home. NFS path asked: '/dta'.
 *	  try: fusenfs nas1:/data /mnt
 *
 * The catalogue is one table (MESSAGES below): id, exit code, severity. Log lines use the same ids.
 * A struct message is plain memory of fixed size: built on the stack, copied, never freed. Text
 * that does not fit is cut with "..."; bytes that could command a terminal become '?', because
 * export names come from the server.
 *
 * No thread of its own; a message belongs to whoever built it. */
#ifndef FUSE_MESSAGE_H
#define FUSE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct mount_query;
struct mount_result;
struct options;

enum exit_code {
	EXIT_OK = 0,
	EXIT_USAGE = 1,        /* usage or permission */
	EXIT_SYSTEM = 2,       /* no /dev/fuse, no memory */
	EXIT_BUG = 4,
	EXIT_INTERRUPTED = 8,
	EXIT_MOUNT_FAILED = 32,
};

enum severity { SEVERITY_ERROR, SEVERITY_WARNING, SEVERITY_NOTICE };

/* The catalogue: X(enumerator, id, exit code, severity). Ids are stable; append, never rename. */
#define MESSAGES(X)                                                                     \
	/* The command line. */                                                         \
	X(MSG_USAGE, "usage", EXIT_USAGE, SEVERITY_ERROR)                               \
	X(MSG_BAD_SOURCE, "bad-source", EXIT_USAGE, SEVERITY_ERROR)                     \
	X(MSG_UNKNOWN_OPTION, "unknown-option", EXIT_USAGE, SEVERITY_ERROR)             \
	X(MSG_BAD_VALUE, "bad-value", EXIT_USAGE, SEVERITY_ERROR)                       \
	X(MSG_OPTION_CONFLICT, "option-conflict", EXIT_USAGE, SEVERITY_ERROR)           \
	X(MSG_OPTION_UNSUPPORTED, "option-unsupported", EXIT_USAGE, SEVERITY_ERROR)     \
	X(MSG_OPTION_IGNORED, "option-ignored", EXIT_OK, SEVERITY_WARNING)              \
	X(MSG_MANY_CONNECTIONS, "many-connections", EXIT_OK, SEVERITY_NOTICE)           \
	X(MSG_UNSUPPORTED_SECURITY, "unsupported-security", EXIT_USAGE, SEVERITY_ERROR) \
	X(MSG_UNSUPPORTED_TRANSPORT, "unsupported-transport", EXIT_USAGE, SEVERITY_ERROR) \
	/* The mount point and the FUSE device. */                                      \
	X(MSG_MOUNTPOINT_MISSING, "mountpoint-missing", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_MOUNTPOINT_NOT_DIR, "mountpoint-not-dir", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_MOUNTPOINT_NOT_EMPTY, "mountpoint-not-empty", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_MOUNTPOINT_TIMEOUT, "mountpoint-timeout", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_ALREADY_MOUNTED, "already-mounted", EXIT_MOUNT_FAILED, SEVERITY_ERROR)    \
	X(MSG_MOUNTPOINT_BUSY, "mountpoint-busy", EXIT_MOUNT_FAILED, SEVERITY_ERROR)    \
	X(MSG_STALE_MOUNT, "stale-mount", EXIT_OK, SEVERITY_NOTICE)                     \
	X(MSG_MOUNTPOINT_DENIED, "mountpoint-denied", EXIT_USAGE, SEVERITY_ERROR)       \
	X(MSG_FUSE_MISSING, "fuse-missing", EXIT_SYSTEM, SEVERITY_ERROR)                \
	X(MSG_FUSE_DENIED, "fuse-denied", EXIT_USAGE, SEVERITY_ERROR)                   \
	X(MSG_FUSE_FAILED, "fuse-failed", EXIT_MOUNT_FAILED, SEVERITY_ERROR)            \
	X(MSG_FUSERMOUNT_MISSING, "fusermount-missing", EXIT_SYSTEM, SEVERITY_ERROR)    \
	X(MSG_NO_SYS_ADMIN, "no-sys-admin", EXIT_USAGE, SEVERITY_ERROR)                 \
	X(MSG_ALLOW_OTHER_DENIED, "allow-other-denied", EXIT_USAGE, SEVERITY_ERROR)     \
	/* The network and the server. */                                               \
	X(MSG_DNS_FAILED, "dns-failed", EXIT_MOUNT_FAILED, SEVERITY_ERROR)              \
	X(MSG_DNS_TIMEOUT, "dns-timeout", EXIT_MOUNT_FAILED, SEVERITY_ERROR)            \
	X(MSG_CONN_REFUSED, "conn-refused", EXIT_MOUNT_FAILED, SEVERITY_ERROR)          \
	X(MSG_CONN_TIMEOUT, "conn-timeout", EXIT_MOUNT_FAILED, SEVERITY_ERROR)          \
	X(MSG_CONN_FAILED, "conn-failed", EXIT_MOUNT_FAILED, SEVERITY_ERROR)            \
	X(MSG_NET_UNREACHABLE, "net-unreachable", EXIT_MOUNT_FAILED, SEVERITY_ERROR)    \
	X(MSG_RPCBIND_REFUSED, "rpcbind-refused", EXIT_MOUNT_FAILED, SEVERITY_ERROR)    \
	X(MSG_MOUNTD_MISSING, "mountd-missing", EXIT_MOUNT_FAILED, SEVERITY_ERROR)      \
	X(MSG_MOUNTD_ERROR, "mountd-error", EXIT_MOUNT_FAILED, SEVERITY_ERROR)          \
	X(MSG_VERSION_UNSUPPORTED, "version-unsupported", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_NOT_NFS, "not-nfs", EXIT_MOUNT_FAILED, SEVERITY_ERROR)                    \
	X(MSG_EXPORT_NOT_FOUND, "export-not-found", EXIT_MOUNT_FAILED, SEVERITY_ERROR)  \
	X(MSG_EXPORT_NOT_DIR, "export-not-dir", EXIT_MOUNT_FAILED, SEVERITY_ERROR)      \
	X(MSG_ACCESS_DENIED_CLIENT, "access-denied-client", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_ACCESS_DENIED_PORT, "access-denied-port", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_ACCESS_DENIED_ROOT, "access-denied-root", EXIT_MOUNT_FAILED, SEVERITY_ERROR) \
	X(MSG_AUTH_FLAVOR, "auth-flavor", EXIT_MOUNT_FAILED, SEVERITY_ERROR)            \
	X(MSG_MOUNT_TIMEOUT, "mount-timeout", EXIT_MOUNT_FAILED, SEVERITY_ERROR)        \
	X(MSG_ROOT_FAILED, "root-failed", EXIT_MOUNT_FAILED, SEVERITY_ERROR)            \
	X(MSG_TOO_FEW_CONNS, "too-few-conns", EXIT_MOUNT_FAILED, SEVERITY_ERROR)        \
	X(MSG_UDP_FRAGMENTS, "udp-fragments", EXIT_MOUNT_FAILED, SEVERITY_ERROR)        \
	X(MSG_ADDR_MISMATCH, "addr-mismatch", EXIT_OK, SEVERITY_WARNING)                \
	X(MSG_NO_RESVPORT, "no-resvport", EXIT_OK, SEVERITY_WARNING)                    \
	X(MSG_NO_LOCAL, "no-local", EXIT_OK, SEVERITY_WARNING)                          \
	X(MSG_NO_SRCPORT, "no-srcport", EXIT_OK, SEVERITY_WARNING)                      \
	X(MSG_KERNEL_TIMEOUT, "kernel-timeout", EXIT_OK, SEVERITY_WARNING)              \
	/* Other commands, the process. */                                              \
	X(MSG_UMOUNT_BUSY, "umount-busy", EXIT_MOUNT_FAILED, SEVERITY_ERROR)            \
	X(MSG_UMOUNT_DIRTY, "umount-dirty", EXIT_OK, SEVERITY_NOTICE)                   \
	X(MSG_REMOUNT_FIXED, "remount-fixed", EXIT_MOUNT_FAILED, SEVERITY_ERROR)        \
	X(MSG_NO_DAEMON, "no-daemon", EXIT_MOUNT_FAILED, SEVERITY_ERROR)                \
	X(MSG_CTL_DENIED, "ctl-denied", EXIT_USAGE, SEVERITY_ERROR)                     \
	X(MSG_NO_MEMORY, "no-memory", EXIT_SYSTEM, SEVERITY_ERROR)                      \
	X(MSG_SYSTEM, "system", EXIT_SYSTEM, SEVERITY_ERROR)                            \
	X(MSG_BUG, "bug", EXIT_BUG, SEVERITY_ERROR)                                     \
	X(MSG_INTERRUPTED, "interrupted", EXIT_INTERRUPTED, SEVERITY_ERROR)             \
	/* The log of a running mount. */                                               \
	X(MSG_MOUNTED, "mounted", EXIT_OK, SEVERITY_NOTICE)                             \
	X(MSG_UNMOUNTED, "unmounted", EXIT_OK, SEVERITY_NOTICE)                         \
	X(MSG_SERVER_DOWN, "server-down", EXIT_OK, SEVERITY_WARNING)                    \
	X(MSG_SERVER_OK, "server-ok", EXIT_OK, SEVERITY_NOTICE)                         \
	X(MSG_CONN_DOWN, "conn-down", EXIT_OK, SEVERITY_NOTICE)                         \
	X(MSG_CONN_UP, "conn-up", EXIT_OK, SEVERITY_NOTICE)                             \
	X(MSG_PATH_MTU, "path-mtu", EXIT_OK, SEVERITY_NOTICE)                           \
	X(MSG_SOFT_TIMEOUT, "soft-timeout", EXIT_OK, SEVERITY_NOTICE)                   \
	X(MSG_OUTCOME_UNKNOWN, "outcome-unknown", EXIT_OK, SEVERITY_WARNING)            \
	X(MSG_WRITE_LOST, "write-lost", EXIT_OK, SEVERITY_ERROR)                        \
	X(MSG_NO_LOCKS, "locks-unavailable", EXIT_OK, SEVERITY_WARNING)                 \
	X(MSG_LOCKS_LEFT, "locks-left", EXIT_OK, SEVERITY_WARNING)                      \
	X(MSG_NSM_TOLD, "locks-freed", EXIT_OK, SEVERITY_NOTICE)                        \
	X(MSG_NSM_KEPT, "locks-kept", EXIT_OK, SEVERITY_WARNING)                        \
	X(MSG_NSM_NO_RECORD, "locks-unrecorded", EXIT_OK, SEVERITY_NOTICE)              \
	X(MSG_LOCK_LOST, "lock-lost", EXIT_OK, SEVERITY_ERROR)                          \
	X(MSG_VERF_CHANGED, "verf-changed", EXIT_OK, SEVERITY_NOTICE)                   \
	X(MSG_VERF_DIFFERS, "verf-differs", EXIT_OK, SEVERITY_WARNING)                  \
	X(MSG_STALE_HANDLE, "stale-handle", EXIT_OK, SEVERITY_NOTICE)                   \
	X(MSG_BAD_REPLY, "bad-reply", EXIT_OK, SEVERITY_WARNING)                       \
	X(MSG_OPTIONS_SET, "options-set", EXIT_OK, SEVERITY_NOTICE)                     \
	X(MSG_NO_CONTROL, "no-control", EXIT_OK, SEVERITY_WARNING)                      \
	X(MSG_NO_METRICS, "no-metrics", EXIT_OK, SEVERITY_WARNING)                      \
	X(MSG_NO_ANSWER, "no-answer", EXIT_MOUNT_FAILED, SEVERITY_ERROR)                \
	X(MSG_UNSAVED, "unsaved", EXIT_MOUNT_FAILED, SEVERITY_ERROR)                    \
	X(MSG_BENCH_FAILED, "bench-failed", EXIT_MOUNT_FAILED, SEVERITY_ERROR)

enum message_id {
	MSG_NONE, /* a line without an id */
#define MESSAGE_ENUMERATOR(enumerator, name, exit_code, severity) enumerator,
	MESSAGES(MESSAGE_ENUMERATOR)
#undef MESSAGE_ENUMERATOR
	MSG_COUNT,
};

enum { MESSAGE_MAX_TRIES = 2, MESSAGE_ACTION_MAX = 1024, MESSAGE_TEXT_MAX = 1024 };

struct message {
	enum message_id id;
	char action[MESSAGE_ACTION_MAX]; /* "mount nas1:/dta on /mnt"; "": none */
	char reason[MESSAGE_TEXT_MAX];   /* "nas1 does not export '/dta'" */
	char why[MESSAGE_TEXT_MAX];      /* "": no such line */
	char try[MESSAGE_MAX_TRIES][MESSAGE_TEXT_MAX];
	unsigned int n_tries;
};

/* The catalogue. message_id_find returns MSG_NONE for a name it lacks. */
const char *message_id_name(enum message_id id);
enum message_id message_id_find(const char *name);
/* message_id_128 - 32 hexadecimal digits for the journal's MESSAGE_ID, made from the name. Returns text. */
const char *message_id_128(enum message_id id, char text[33]);
enum severity message_severity(enum message_id id);
enum exit_code message_exit_code(const struct message *message);

/* message_help - the long text: what it means and what to do; lines without the last '\n'. message_print_help - of one id,
 * with its severity and exit status. message_print_catalogue - all, a line each. */
const char *message_help(enum message_id id);
void message_print_help(enum message_id id, FILE *stream);
void message_print_catalogue(FILE *stream);

/* message_set - begin a message: its id and reason; everything else is emptied. Returns it. */
struct message *message_set(struct message *message, enum message_id id, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* message_why - append to the why line. message_try - add a try line, the third is dropped. */
struct message *message_why(struct message *message, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
struct message *message_try(struct message *message, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* message_action - what could not be done: "mount %s on %s". */
struct message *message_action(struct message *message, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* message_format - the whole text, every line ending in '\n'; only the first if quiet. Returns its
 * length; it is cut to size - 1 bytes. */
size_t message_format(const struct message *message, bool quiet, char *text, size_t size);
/* message_print - write that to a stream, in one piece. */
void message_print(const struct message *message, bool quiet, FILE *stream);

/* message_from_mount_result - why mount_query_run() failed. The action is set from options
 * ("mount SOURCE on MOUNTPOINT"). result->failure must not be MOUNT_OK. */
void message_from_mount_result(const struct options *options, const struct mount_query *query,
			       const struct mount_result *result, struct message *ret_message);

/* message_clean - replace what could command a terminal, C0 and C1 control characters, by '?'.
 * The builders above do it to their whole text. */
void message_clean(char *text);
/* message_quote - text as one word for a shell, for commands to paste: 'a b'. Returns quoted. */
const char *message_quote(const char *text, char *quoted, size_t size);

#endif
