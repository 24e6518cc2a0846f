/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cmd_exports - fusenfs exports SERVER: what it exports and to whom, as mountd's EXPORT says (RFC 1813, 5.2.5); nothing is
 * mounted. It is what showmount(8) -e does, by the options of a mount: family, ports, source addresses. */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../../conn/mount.h"
#include "../../conn/util.h"
#include "../control/report.h"
#include "../options.h"
#include "command.h"
#include "text.h"

static const int64_t LIMIT_NS = 10 * NS_PER_S;

enum { WIDTH_MAX = 48 };

/* As SERVER:/ of a mount; "fd00::1" gets its brackets. An nfs:// URL stays as it is. NULL: no memory. */
static char *source_of(const char *word)
{
	bool address = strchr(word, ':') != strrchr(word, ':') && !strchr(word, '/') && word[0] != '[';
	char *source;

	if (strstr(word, "://") || strstr(word, ":/"))
		return strdup(word);
	if (asprintf(&source, "%s%s%s:/", address ? "[" : "", word, address ? "]" : "") < 0)
		return NULL;
	return source;
}

/* Paths below this width line up; longer ones are shown in full. */
static int width_of(const struct mount_result *list)
{
	size_t width = sizeof("EXPORT") - 1;

	for (unsigned int i = 0; i < list->n_exports; i++)
		width = max_size(width, min_size(strlen(list->exports[i].path), WIDTH_MAX));
	return (int)width;
}

static void print_lines(const struct mount_result *list)
{
	int width = width_of(list);

	printf("%-*s  CLIENTS\n", width, "EXPORT");
	for (unsigned int i = 0; i < list->n_exports; i++) {
		const struct mount_export *export = &list->exports[i];

		text_print(stdout, "%-*s  %s", width, export->path, export->groups[0] ? export->groups : "*");
	}
	if (list->exports_truncated)
		printf("and more than these %u\n", list->n_exports);
}

static json_t *clients_json(char *groups)
{
	json_t *clients = json_array();
	char *rest = groups, *client;

	while ((client = strsep(&rest, ",")))
		if (*client)
			json_array_append_new(clients, report_string(client));
	return clients;
}

static void print_json(const struct mount_result *list, const char *host)
{
	json_t *exports = json_array(), *json;

	for (unsigned int i = 0; i < list->n_exports; i++)
		json_array_append_new(exports, json_pack("{s:o, s:o}", "path", report_string(list->exports[i].path), "clients",
							 clients_json(list->exports[i].groups)));
	json = json_pack("{s:i, s:o, s:o, s:b}", "schema", 1, "server", report_string(host), "exports", exports, "truncated",
			 list->exports_truncated);
	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(json);
}

static void explain(const struct options *options, const struct mount_query *query, const struct mount_result *list,
		    struct message *error)
{
	message_from_mount_result(options, query, list, error);
	if (list->failure == MOUNT_RPCBIND_REFUSED) { /* what would help to mount is not what was asked */
		message_set(error, MSG_RPCBIND_REFUSED, "the portmapper of %s (port 111): %s", options->source.host,
			    strerrordesc_np(list->error));
		message_why(error, "it tells the port of the mount service; without it that port must be given.");
		message_try(error, "fusenfs exports %s -o mountport=20048", options->source.host);
	}
	message_action(error, "list the exports of %s", options->source.host);
}

static int ask(const struct command_line *line, const struct options *options, struct message *error)
{
	struct mount_result list = { 0 };
	struct mount_query query;

	options_mount_query(options, &query);
	query.deadline_ns = clock_ns() + LIMIT_NS;
	if (mount_exports(&query, &list)) {
		explain(options, &query, &list, error);
		mount_result_deinit(&list);
		return -EIO;
	}
	if (line->json)
		print_json(&list, options->source.host);
	else if (list.n_exports)
		print_lines(&list);
	else
		printf("%s exports nothing, or nothing that this host may see.\n", options->source.host);
	mount_result_deinit(&list);
	return 0;
}

int command_exports(const struct command_line *line)
{
	cleanup(freep) char *source = source_of(line->words[0]);
	struct options options;
	struct message error;
	int result;

	if (!source) {
		message_set(&error, MSG_NO_MEMORY, "out of memory");
		return command_fail(line, &error);
	}
	if (options_parse_mount(source, "/mnt", line->options, &options, &error))
		return command_fail(line, &error);
	result = ask(line, &options, &error);
	options_deinit(&options);
	return result ? command_fail(line, &error) : EXIT_OK;
}
