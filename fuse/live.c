/* SPDX-License-Identifier: GPL-2.0-or-later */
/* live - see live.h. */
#include "live.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "lock.h"
#include "log.h"
#include "prefetch.h"
#include "readahead.h"
#include "request.h"
#include "runfile.h"

struct live {
	struct fs *fs;
	struct options *options;
	char *point;
	char *given; /* the lists that give what is in force now */
	char mounted[64]; /* the words of the last remount: ro and the like */
	int (*serve)(void *userdata, const struct sockaddr_storage *sa);
	void *userdata;
};

struct live *live_new(struct fs *fs, struct options *options, const char *point)
{
	struct live *live = calloc(1, sizeof(*live));

	if (!live)
		return NULL;
	live->fs = fs;
	live->options = options;
	live->point = strdup(point);
	live->given = strdup(options->given ? options->given : "");
	if (live->point && live->given)
		return live;
	live_free(live);
	return NULL;
}

void live_free(struct live *live)
{
	if (!live)
		return;
	free(live->point);
	free(live->given);
	free(live);
}

const char *live_point(const struct live *live)
{
	return live->point;
}

char *live_words(const struct live *live)
{
	bool found = fs_is_found(live->fs);
	cleanup(freep) char *list = NULL;

	if (asprintf(&list, "%s,%s", live->given, live->mounted) < 0) {
		list = NULL;
		return NULL;
	}
	return options_words(list, true, found ? live->fs->rsize : 0, found ? live->fs->wsize : 0);
}

void live_on_metrics(struct live *live, int (*serve)(void *userdata, const struct sockaddr_storage *sa), void *userdata)
{
	live->serve = serve;
	live->userdata = userdata;
}

static int move_metrics(struct live *live, const struct options *future, struct message *ret_error)
{
	int error = 0;

	if (live->serve && memcmp(&future->metrics, &live->options->metrics, sizeof(future->metrics)))
		error = live->serve(live->userdata, &future->metrics);
	if (error)
		message_set(ret_error, MSG_BAD_VALUE, "metrics= cannot be served there: %s", strerrordesc_np(-error));
	return error;
}

static int tune_pools(struct live *live, const struct options *options)
{
	struct pool_config config;

	options_pool_config(options, &config);
	options_tune_config(options, &config);
	if (pool_tune(live->fs->pool, &config))
		return -ENOMEM;
	locks_tune(live->fs->locks, options);
	return 0;
}

/* What can fail, so the first. */
static int make_possible(struct live *live, const struct options *future, struct message *ret_error)
{
	int error = move_metrics(live, future, ret_error);

	if (error)
		return error;
	error = tune_pools(live, future);
	if (error) {
		move_metrics(live, live->options, ret_error);
		message_set(ret_error, MSG_NO_MEMORY, "out of memory for connections");
	}
	return error;
}

/* Of root the kernel's is set; where that may not be, our own. */
static void tune_readahead(struct live *live)
{
	int error = readahead_set(live->point, readahead_bytes(live->options));

	prefetch_enable(live->fs->prefetch, error && live->options->readahead != 0);
}

static void tell_others(struct live *live, enum down_policy before)
{
	const struct options *options = live->options;

	fs_set_attr_policy(live->fs);
	log_set_level(options->log_level);
	tune_readahead(live);
	if (before == DOWN_HARD && options->down != DOWN_HARD)
		request_table_limit(live->fs->requests, clock_ns() + options->soft_deadline_ns);
}

static void note_mount_words(struct live *live, const struct options *options)
{
	snprintf(live->mounted, sizeof(live->mounted), "%s,%s,%s,%s,%s", options->ro ? "ro" : "rw",
		 options->nosuid ? "nosuid" : "suid", options->nodev ? "nodev" : "dev",
		 options->noexec ? "noexec" : "exec", options->noatime ? "noatime" : "atime");
}

int live_set(struct live *live, const char *list, enum live_how how, struct message *ret_error)
{
	cleanup(freep) struct options_changes *changes = calloc(1, sizeof(*changes));
	cleanup(freep) struct options *future = calloc(1, sizeof(*future));
	cleanup(freep) char *given = NULL;
	enum down_policy before = live->options->down;
	int error = changes && future ? 0 : -ENOMEM;

	if (!error)
		error = options_change(live->given, list, how != LIVE_SET, changes, &given, ret_error);
	else
		message_set(ret_error, MSG_NO_MEMORY, "out of memory");
	if (error || how == LIVE_REMOUNT_CHECK)
		return error;
	if (how == LIVE_REMOUNT)
		note_mount_words(live, &changes->options);
	if (changes->any) {
		*future = *live->options;
		options_apply_changes(changes, future);
		error = make_possible(live, future, ret_error);
		if (error)
			return error;
		options_apply_changes(changes, live->options);
		tell_others(live, before);
		log_info(MSG_OPTIONS_SET, "options of %s: %s", live->point, list);
	}
	free(live->given);
	live->given = steal(&given);
	runfile_rewrite(live->options, live->point, live->given);
	return 0;
}
