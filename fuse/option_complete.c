/* SPDX-License-Identifier: GPL-2.0-or-later */
/* option_complete - what depends on several options, once all words were parsed; conflicts first. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "option_parser.h"

static const int64_t RETRY_BG_MINUTES = 10000; /* nfs(5) */

int option_conflict(struct parser *parser, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	message_set(parser->error, MSG_OPTION_CONFLICT, "%s", text);
	return -EINVAL;
}

static int complete_connections(struct parser *parser, const struct options_env *env)
{
	struct option_draft *draft = &parser->draft;
	struct options *options = &draft->options;
	unsigned int cpus = env->n_cpus > 2 ? env->n_cpus : 2;

	if (options->max_connect && options->nconnect > options->max_connect)
		options->nconnect = options->max_connect;
	if (options->minconnect > options->nconnect)
		return option_conflict(parser, "minconnect=%u exceeds nconnect=%u", options->minconnect,
				options->nconnect);
	if (draft->mdconnect_given && options->mdconnect && options->mdconnect >= options->nconnect)
		return option_conflict(parser, "mdconnect=%u leaves no connection of nconnect=%u for data",
				options->mdconnect, options->nconnect);
	if (!draft->mdconnect_given)
		options->mdconnect = options->nconnect >= 3 ? 1 : 0;
	if (draft->max_threads_given)
		options->n_loops = draft->max_threads;
	else
		options->n_loops = (uint32_t)min_size(POOL_MAX_LOOPS,
						      min_size(options->nconnect, cpus));
	if (options->nconnect > 16)
		option_add_note(options, MSG_MANY_CONNECTIONS,
			 "nconnect=%u: more than the 16 of the kernel client; servers limit "
			 "connections per client", options->nconnect);
	return 0;
}

static void complete_times(struct option_draft *draft)
{
	struct options *options = &draft->options;
	int64_t all_tries = options->timeo_ns * (options->retrans + 1);

	options->soft_deadline_ns = draft->optimeo_given ? draft->optimeo_ns :
							   min_i64(all_tries, 30 * NS_PER_S);
	options->stage_ns = min_i64(5 * NS_PER_S, options->mounttimeo_ns);
	if (options->bg && !draft->retry_given)
		options->retry_ns = RETRY_BG_MINUTES * 60 * NS_PER_S;
}

static int complete_permissions(struct parser *parser, const struct options_env *env)
{
	struct option_draft *draft = &parser->draft;
	struct options *options = &draft->options;

	if (options->perm == PERM_SERVER && draft->default_permissions_given)
		return option_conflict(parser,
				"perm=server and default_permissions contradict each other");
	if (!options->allow_other_given)
		options->allow_other = env->root;
	if (!draft->default_permissions_given)
		options->default_permissions = options->allow_other && options->perm != PERM_SERVER;
	return 0;
}

static int complete_names(struct parser *parser)
{
	struct options *options = &parser->draft.options;

	options->mountpoint = strdup(parser->words[1]);
	if (!options->fsname)
		options->fsname = strdup(options->source.text);
	if (!options->subtype)
		options->subtype = strdup("fusenfs");
	if (options->mountpoint && options->fsname && options->subtype)
		return 0;
	message_set(parser->error, MSG_NO_MEMORY, "out of memory");
	return -ENOMEM;
}

/* nolock overrides local_lock. */
static void complete_locks(struct option_draft *draft)
{
	enum local_lock local = draft->local_lock;
	bool remote = draft->lock == LOCK_REMOTE;

	draft->options.nlm_posix = remote && local != LOCAL_LOCK_POSIX && local != LOCAL_LOCK_ALL;
	draft->options.nlm_flock = remote && local != LOCAL_LOCK_FLOCK && local != LOCAL_LOCK_ALL;
}

int option_complete(struct parser *parser, const struct options_env *env)
{
	struct option_draft *draft = &parser->draft;
	struct options *options = &draft->options;
	int error;

	complete_times(draft);
	if (options->debug) {
		options->foreground = true;
		if (!draft->log_given)
			options->log_level = LEVEL_DEBUG;
	}
	complete_locks(draft);
	error = complete_connections(parser, env);
	if (!error)
		error = option_complete_network(parser);
	if (!error)
		error = complete_permissions(parser, env);
	if (!error)
		error = complete_names(parser);
	return error;
}
