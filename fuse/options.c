/* SPDX-License-Identifier: GPL-2.0-or-later */
/* options - from argv to struct options, in four steps:
 *
 *   1. defaults: the table's `initial` texts, through the same parser as the user's (option_word.c);
 *   2. words: flags are sorted from SOURCE and MOUNTPOINT (command_line.c), -o lists are split and each
 *      option stored in a draft, from left to right (option_word.c);
 *   3. refusals: unknown words and refused ones that no later word replaced are the error;
 *   4. completion: what depends on several options, conflicts first (option_complete.c, option_network.c).
 *
 * And what the parts of the program are told of the result.
 *
 * One thread, before any other exists (getopt). */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../conn/util.h"
#include "option_parser.h"

int options_parse_env(int argc, char **argv, const struct options_env *env,
		      struct options *ret_options, struct message *ret_error)
{
	cleanup(freep) struct parser *parser = calloc(1, sizeof(*parser));
	int error;

	if (!parser) {
		message_set(ret_error, MSG_NO_MEMORY, "out of memory");
		*ret_options = (struct options){ 0 };
		return -ENOMEM;
	}
	parser->error = ret_error;
	error = option_parse(parser, argc, argv, env);
	if (error) {
		if (parser->n_words >= 2 && !option_is_command(parser->words[0]))
			message_action(ret_error, "mount %s on %s", parser->words[0],
				       parser->words[1]);
		*ret_options = (struct options){ .quiet = parser->draft.options.quiet,
						 .log_format = parser->draft.options.log_format };
		options_deinit(&parser->draft.options);
		return error;
	}
	*ret_options = parser->draft.options;
	return 0;
}

void options_env_of_process(struct options_env *ret_env)
{
	cpu_set_t cpus;

	*ret_env = (struct options_env){ .root = geteuid() == 0, .n_cpus = 1 };
	if (!sched_getaffinity(0, sizeof(cpus), &cpus))
		ret_env->n_cpus = (unsigned int)CPU_COUNT(&cpus);
}

int options_parse(int argc, char **argv, struct options *ret_options, struct message *ret_error)
{
	struct options_env env;

	options_env_of_process(&env);
	return options_parse_env(argc, argv, &env, ret_options, ret_error);
}

int options_parse_mount(const char *source, const char *point, const char *list, struct options *ret_options,
			struct message *ret_error)
{
	char *argv[] = { (char *)"fusenfs", (char *)"-o", (char *)(list && *list ? list : "defaults"), (char *)"--",
			 (char *)source,    (char *)point, NULL };

	return options_parse(ARRAY_SIZE(argv) - 1, argv, ret_options, ret_error);
}

void options_deinit(struct options *options)
{
	source_deinit(&options->source);
	free(options->mountpoint);
	free(options->fsname);
	free(options->subtype);
	free(options->addrs_text);
	free(options->addr_text);
	free(options->mountaddr_text);
	free(options->mounthost);
	free(options->bindif);
	free(options->locals_text);
	free(options->srcports_text);
	free(options->mount_ns);
	free(options->given);
	free(options->ctl);
	free(options->metrics_text);
	options->ctl = options->metrics_text = NULL;
	options->locals_text = options->srcports_text = NULL;
	options->addr_text = options->mountaddr_text = options->mounthost = options->bindif = NULL;
	options->mount_ns = options->given = options->addrs_text = options->mountpoint = options->fsname = options->subtype = NULL;
}

/* ---- what others need of them ------------------------------------------------------------ */

void options_log_notes(const struct options *options)
{
	for (unsigned int i = 0; i < options->n_notes; i++) {
		const struct options_note *note = &options->notes[i];

		if (message_severity(note->id) == SEVERITY_WARNING)
			log_warn(note->id, "%s", note->text);
		else
			log_info(note->id, "%s", note->text);
	}
}

void options_action(const struct options *options, struct message *message)
{
	message_action(message, "mount %s on %s", options->source.text, options->mountpoint);
}

int options_family(const struct options *options)
{
	return options->family != AF_UNSPEC ? options->family : options->local_family;
}

void options_mount_query(const struct options *options, struct mount_query *ret_query)
{
	*ret_query = (struct mount_query){
		.host = options->source.host,
		.address = options->address[0] ? options->address : NULL,
		.mount_host = options->mount_address[0] ? options->mount_address : options->mounthost,
		.mount_family = options->mount_family,
		.path = options->source.path,
		.family = options_family(options),
		.nfs_port = options->port,
		.mount_port = options->mountport,
		.mount_transport = options->mount_transport,
		.nfs_transport = options->nfs_transport,
		.mount_vers = options->mountvers,
		.resvport = options->resvport,
		.locals = options->locals,
		.n_locals = options->n_locals,
		.stage_ns = options->stage_ns,
	};
}

void options_pool_config(const struct options *options, struct pool_config *ret_config)
{
	*ret_config = (struct pool_config){
		.resvport = options->resvport,
		.n_locals = options->n_locals,
		.hard = options->down == DOWN_HARD,
		.connect_ns = options->stage_ns,
		.timeo_ns = options->timeo_ns,
		.retrans = options->retrans,
		/* Whoever has waited for the deadline in vain is not to wait for it again. */
		.detect_ns = min_i64(options->detect_ns, options->soft_deadline_ns / 4 * 3),
	};
	memcpy(ret_config->locals, options->locals, sizeof(ret_config->locals));
}

void options_tune_config(const struct options *options, struct pool_config *config)
{
	config->n_connections = options->nconnect;
	config->md_connections = options->mdconnect;
	config->window = (uint32_t)options->window;
	config->stripe = options->stripe;
	config->redial = options->redial;
	config->spin_ns = options->spin_us * NS_PER_US;
}

/* ",name=value" with ',' and '\' escaped, as fuse_opt_parse(3) takes it apart again. */
static void put_escaped(FILE *stream, const char *name, const char *value)
{
	fprintf(stream, ",%s=", name);
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			fputc('\\', stream);
		fputc(*value, stream);
	}
}

char *options_fuse(const struct options *options)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return NULL;
	fprintf(stream, "%s,%s,%s,%s%s%s%s", options->ro ? "ro" : "rw",
		options->nosuid ? "nosuid" : "suid", options->nodev ? "nodev" : "dev",
		options->noexec ? "noexec" : "exec", options->noatime ? ",noatime" : "",
		options->allow_other ? ",allow_other" : "",
		options->default_permissions ? ",default_permissions" : "");
	if (options->max_read)
		fprintf(stream, ",max_read=%u", options->max_read);
	put_escaped(stream, "fsname", options->fsname);
	put_escaped(stream, "subtype", options->subtype);
	if (fclose(stream)) {
		free(text);
		return NULL;
	}
	return text;
}
