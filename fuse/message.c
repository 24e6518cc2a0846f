/* SPDX-License-Identifier: GPL-2.0-or-later */
/* message - the catalogue, the builders and the layout of what a person reads. Plain memory in,
 * plain memory out; what each failure of a mount means is in message_mount.c. */
#include <stdarg.h>
#include <string.h>

#include "message.h"
#include "../conn/util.h"

struct catalogue_row {
	const char *name;
	enum exit_code exit_code;
	enum severity severity;
};

static const struct catalogue_row catalogue[MSG_COUNT] = {
	[MSG_NONE] = { "", EXIT_OK, SEVERITY_NOTICE },
#define MESSAGE_ROW(enumerator, name, exit_code, severity)                                         \
	[enumerator] = { name, exit_code, severity },
	MESSAGES(MESSAGE_ROW)
#undef MESSAGE_ROW
};

const char *message_id_name(enum message_id id)
{
	return (unsigned int)id < MSG_COUNT ? catalogue[id].name : "";
}

enum message_id message_id_find(const char *name)
{
	for (unsigned int id = MSG_NONE + 1; id < MSG_COUNT; id++)
		if (strcmp(catalogue[id].name, name) == 0)
			return (enum message_id)id;
	return MSG_NONE;
}

const char *message_id_128(enum message_id id, char text[33])
{
	static const uint64_t seeds[] = { UINT64_C(0x667573656e667331), UINT64_C(0x667573656e667332) };
	const char *name = message_id_name(id);
	unsigned long long high = hash_bytes(name, strlen(name), seeds[0]);
	unsigned long long low = hash_bytes(name, strlen(name), seeds[1]);

	snprintf(text, 33, "%016llx%016llx", high, low);
	return text;
}

enum severity message_severity(enum message_id id)
{
	return (unsigned int)id < MSG_COUNT ? catalogue[id].severity : SEVERITY_ERROR;
}

enum exit_code message_exit_code(const struct message *message)
{
	return (unsigned int)message->id < MSG_COUNT ? catalogue[message->id].exit_code : EXIT_BUG;
}

void message_clean(char *text)
{
	for (unsigned char *byte = (unsigned char *)text; *byte; byte++) {
		if (*byte < 0x20 || *byte == 0x7f)
			*byte = '?';
		/* C1 controls are U+0080 to U+009F: c2 80 to c2 9f. */
		if (*byte == 0xc2 && byte[1] >= 0x80 && byte[1] <= 0x9f)
			byte[0] = byte[1] = '?';
	}
}

const char *message_quote(const char *text, char *quoted, size_t size)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-+=.,:/@%[]";
	FILE *stream;

	if (*text && text[strspn(text, plain)] == '\0') {
		snprintf(quoted, size, "%s", text);
		return quoted;
	}
	quoted[0] = '\0';
	stream = fmemopen(quoted, size, "w");
	if (!stream)
		return quoted;
	fputc('\'', stream);
	for (; *text; text++)
		fputs(*text == '\'' ? "'\\''" : (char[]){ *text, '\0' }, stream);
	fputc('\'', stream);
	fclose(stream);
	quoted[size - 1] = '\0';
	return quoted;
}

/* Append to text[size], which holds a string; a text that does not fit ends in "...". */
static void append(char *text, size_t size, const char *format, va_list args)
	__attribute__((format(printf, 3, 0)));
static void append(char *text, size_t size, const char *format, va_list args)
{
	size_t used = strlen(text);
	int n = vsnprintf(text + used, size - used, format, args);

	if (n >= 0 && (size_t)n >= size - used)
		memcpy(text + size - sizeof("..."), "...", sizeof("..."));
	message_clean(text);
}

struct message *message_set(struct message *message, enum message_id id, const char *format, ...)
{
	va_list args;

	message->id = id;
	message->action[0] = message->reason[0] = message->why[0] = '\0';
	message->n_tries = 0;
	va_start(args, format);
	append(message->reason, sizeof(message->reason), format, args);
	va_end(args);
	return message;
}

struct message *message_why(struct message *message, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	append(message->why, sizeof(message->why), format, args);
	va_end(args);
	return message;
}

struct message *message_try(struct message *message, const char *format, ...)
{
	va_list args;
	char *line;

	if (message->n_tries == MESSAGE_MAX_TRIES)
		return message;
	line = message->try[message->n_tries++];
	line[0] = '\0';
	va_start(args, format);
	append(line, sizeof(message->try[0]), format, args);
	va_end(args);
	return message;
}

struct message *message_action(struct message *message, const char *format, ...)
{
	va_list args;

	message->action[0] = '\0';
	va_start(args, format);
	append(message->action, sizeof(message->action), format, args);
	va_end(args);
	return message;
}

/* Without a stream, which would need memory: that there is none has to be said, too. */
struct text {
	char *bytes;
	size_t used, size;
};

static void put(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct text *text, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text->bytes + text->used, text->size - text->used, format, args);
	va_end(args);
	text->used = min_size(text->used + (size_t)(n > 0 ? n : 0), text->size - 1);
}

static void put_first_line(const struct message *message, struct text *text)
{
	enum severity severity = message_severity(message->id);

	put(text, "fusenfs: ");
	if (severity == SEVERITY_WARNING)
		put(text, "warning: ");
	else if (severity == SEVERITY_ERROR && message->action[0])
		put(text, "cannot %s: ", message->action);
	put(text, "%s", message->reason);
	if (severity != SEVERITY_NOTICE)
		put(text, " [%s]", message_id_name(message->id));
	put(text, "\n");
}

size_t message_format(const struct message *message, bool quiet, char *bytes, size_t size)
{
	struct text text = { .bytes = bytes, .size = size };

	put_first_line(message, &text);
	if (!quiet) {
		if (message->why[0])
			put(&text, "  why: %s\n", message->why);
		for (unsigned int i = 0; i < message->n_tries; i++)
			put(&text, "  try: %s\n", message->try[i]);
	}
	return text.used;
}

void message_print(const struct message *message, bool quiet, FILE *stream)
{
	char text[sizeof(struct message) + 256];

	message_format(message, quiet, text, sizeof(text));
	fputs(text, stream);
	fflush(stream);
}
