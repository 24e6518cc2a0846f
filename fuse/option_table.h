/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_table - one row per option word: all that the parser, the help and the tests know of it.
 * Private to options*.c and their tests. */
#ifndef FUSE_OPTION_TABLE_H
#define FUSE_OPTION_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "options.h"

enum option_state { OPTION_HONOURED, OPTION_GENERIC, OPTION_IGNORED, OPTION_REFUSED };

enum option_kind {
	KIND_FLAG,        /* takes no value; stores row.flag */
	KIND_NUMBER,      /* decimal */
	KIND_BYTES,       /* decimal, K, M or G */
	KIND_IO_SIZE,     /* bytes, rounded as the kernel client does */
	KIND_DECISECONDS, /* nfs(5)'s unit for timeo */
	KIND_SECONDS,     /* whole seconds, as nfs(5)'s ac* */
	KIND_TIME,        /* seconds, 0.5 too, or N ms: the unit of our own options */
	KIND_MINUTES,     /* nfs(5)'s unit for retry */
	KIND_CHOICE,      /* one of row.choices */
	KIND_STRING,
	KIND_ANY,         /* with or without a value, which is not looked at */
};

/* Words of one slot replace each other. SELF: the option alone. */
enum option_slot {
	SLOT_SELF,
	SLOT_PROTO,
	SLOT_DOWN,
	SLOT_REVAL,
	SLOT_FG,
	SLOT_AC,
	SLOT_LOCK,
	SLOT_RESVPORT,
	SLOT_CTO,
	SLOT_SYNC,
	SLOT_RO,
	SLOT_INTR,
	SLOT_VERS,
	SLOT_SUID,
	SLOT_DEV,
	SLOT_EXEC,
	SLOT_ATIME,
	SLOT_RDIRPLUS,
	SLOT_ACL,
};

/* What a word does besides storing its value. */
enum option_effect {
	EFFECT_NONE,
	EFFECT_AC,      /* undoes noac */
	EFFECT_NOAC,    /* ac* = 0, and sync */
	EFFECT_ACTIMEO, /* stores all four ac* */
	EFFECT_SYNC,    /* said explicitly: noac is not the reason any more */
};

enum option_group {
	GROUP_CONNECTION,
	GROUP_TIME,
	GROUP_PROTOCOL,
	GROUP_CACHE,
	GROUP_FUSE,
	N_GROUPS
};

struct option_choice {
	const char *word;
	int value;
	enum message_id refuse; /* known, but this error; MSG_NONE: stored */
	bool hidden;            /* an alias, not shown */
};

/* transport words, proto= and mountproto= */
enum transport { TRANSPORT_UNSET, TRANSPORT_TCP, TRANSPORT_TCP6, TRANSPORT_UDP, TRANSPORT_UDP6 };
enum lock_word { LOCK_REMOTE, LOCK_LOCAL };
enum local_lock { LOCAL_LOCK_NONE, LOCAL_LOCK_FLOCK, LOCAL_LOCK_POSIX, LOCAL_LOCK_ALL };

/* The options while they are parsed, with what only the parser needs. */
struct option_draft {
	struct options options;
	enum transport proto, mountproto;
	enum lock_word lock;
	enum local_lock local_lock;
	bool sync_by_noac;
	bool mdconnect_given, max_threads_given, optimeo_given, log_given, port_given;
	bool family_given, resvport_given, default_permissions_given, retry_given;
	uint32_t port, mountport, max_threads;
	uint32_t vers;
	int64_t optimeo_ns;
};

struct option_row {
	const char *name;         /* "x-*": every word that begins with x- */
	enum option_state state;
	enum option_group group;
	enum option_kind kind;
	enum option_slot slot;
	enum option_effect effect;
	const char *value;        /* how the value is written, for the help: "N" */
	const char *initial;      /* the default, parsed like a value; NULL: none. FLAG: "" is on */
	const char *shown;        /* the default in the help, where it is computed */
	int64_t min, max;         /* in the unit of the kind; of TIME in ms */
	const struct option_choice *choices;
	size_t offset, size;      /* of the field in struct option_draft; size 0: nothing stored */
	size_t given;             /* offset of a bool set when the word was given; 0: none */
	int64_t flag;             /* FLAG: stored. Others: stored without a value, or for "auto" */
	bool value_optional;
	bool takes_auto;
	bool live;                /* may change on a running mount */
	bool remounts;            /* mount -o remount changes it, or it says nothing of a mount */
	bool common;              /* shown by --help */
	enum message_id refuse;   /* REFUSED: with this error */
	const char *help;
	const char *slot_help;    /* in --help, where the words of a slot share one line */
};

extern const struct option_row option_table[];
extern const unsigned int option_table_n;

enum { OPTION_TABLE_MAX = 256 }; /* rows at most; a test compares */

/* option_find - the row of a word of n bytes, or NULL. */
const struct option_row *option_find(const char *name, size_t n);
/* option_nearest - the accepted option most like an unknown word, or NULL. */
const struct option_row *option_nearest(const char *name);
/* option_range - "1 to 64", "0.1 to 3600 s", "all, none or pos": what a value may be. */
const char *option_range(const struct option_row *row, char *text, size_t size);

#endif
