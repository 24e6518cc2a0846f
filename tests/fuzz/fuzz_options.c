/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_options - the command line: the first line of the input is the source, the second a -o list,
 * the rest one more word. What is accepted must keep its promises (ranges, conflicts, a FUSE
 * string); what is not must say why. */
#undef NDEBUG
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../fuse/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_source(const struct source *source)
{
	size_t n = strlen(source->path);

	assert(source->host[0] && source->path[0] == '/' && n <= 1024);
	assert(n == 1 || source->path[n - 1] != '/');
	assert(!strpbrk(source->host, "/ []\n"));
}

static void check_options(const struct options *options)
{
	char *fuse = options_fuse(options);

	assert(fuse && strstr(fuse, "subtype="));
	free(fuse);
	check_source(&options->source);
	assert(options->nconnect >= 1 && options->nconnect <= 64);
	assert(options->minconnect >= 1 && options->minconnect <= options->nconnect);
	assert(options->mdconnect < options->nconnect);
	assert(options->n_loops >= 1 && options->n_loops <= 16);
	assert(options->rsize <= 1 << 20 && options->wsize <= 1 << 20);
	assert(options->rsize == 0 || options->rsize >= 1024);
	assert(options->soft_deadline_ns > 0 && options->stage_ns > 0 && options->detect_ns > 0);
	assert(options->acregmin_ns >= 0 && options->acdirmax_ns >= 0 && options->retry_ns >= 0);
	assert(options->maxgroups <= 16 && options->n_notes <= OPTIONS_MAX_NOTES);
}

static void check_message(const struct message *message)
{
	char text[16384];

	assert(message->id != MSG_NONE && message->id != MSG_BUG && message->reason[0]);
	assert(message_format(message, false, text, sizeof(text)) > 0);
	for (const char *c = text; *c; c++)
		assert((unsigned char)*c >= ' ' || *c == '\n');
}

static void parse_line(int argc, char **argv)
{
	const struct options_env env = { .root = true, .n_cpus = 2 };
	struct options options;
	struct message error;

	if (options_parse_env(argc, argv, &env, &options, &error))
		check_message(&error);
	else if (options.command == COMMAND_MOUNT)
		check_options(&options);
	options_deinit(&options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1), *rest = text, *source, *list;
	char name[] = "fusenfs", flag[] = "-o", mnt[] = "/mnt", empty[] = "";
	struct source parsed;
	struct message error;

	assert(text);
	memcpy(text, data, size);
	text[size] = '\0';
	source = strsep(&rest, "\n");
	list = rest ? strsep(&rest, "\n") : empty;
	if (source_parse(source, &parsed, &error)) {
		check_message(&error);
	} else {
		check_source(&parsed);
		source_deinit(&parsed);
	}
	parse_line(5, (char *[]){ name, source, mnt, flag, list, NULL });
	if (rest)
		parse_line(3, (char *[]){ name, source, rest, NULL });
	free(text);
	return 0;
}

#include "replay.h"
