/* SPDX-License-Identifier: GPL-2.0-or-later */
/* source - SERVER[,SERVER...]:/PATH, [V6ADDR]:/PATH and nfs://SERVER[:PORT]/PATH, taken apart.
 *
 * The path is what mountd is asked for, so it is left as it is but for slashes at its end; mountd
 * takes at most 1024 bytes (MNTPATHLEN, RFC 1813 5.1.2). In a URL, and only there, %41 is 'A'. */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "options.h"

enum { HOST_MAX = 255, EXPORT_PATH_MAX = 1024 };

/* A source in pieces of the text, before anything is copied. */
struct pieces {
	const char *host, *path;
	size_t host_len;
	bool bracketed, url, list;
	uint16_t port;
};

void source_deinit(struct source *source)
{
	free(source->text);
	free(source->host);
	free(source->path);
	*source = (struct source){ 0 };
}

static int bad_source(const char *text, struct message *ret_error, const char *why)
{
	message_set(ret_error, MSG_BAD_SOURCE, "'%.200s' is not SERVER:/PATH", text);
	if (why)
		message_why(ret_error, "%s", why);
	return -EINVAL;
}

/* nas1 instead of nas1:/ is the likeliest slip. */
static int not_a_source(const char *text, struct message *ret_error)
{
	bool plain = text[0] && !strpbrk(text, ":/ \t\n'\"\\");
	const char *relative = strchr(text, ':');

	if (relative && relative > text && relative[1] && !strchr(relative, '/') &&
	    strchr(relative + 1, ':') == NULL)
		bad_source(text, ret_error, "the path of an export begins with '/'.");
	else
		bad_source(text, ret_error, NULL);
	if (plain) {
		message_try(ret_error, "fusenfs %.200s:/ /mnt", text);
		message_try(ret_error, "fusenfs exports %.200s", text);
	} else {
		message_try(ret_error, "fusenfs nas1:/data /mnt");
	}
	return -EINVAL;
}

/* [address] at the begin of text; *ret_end is what follows the bracket. */
static int split_brackets(const char *text, const char *at, struct pieces *pieces,
			  const char **ret_end, struct message *ret_error)
{
	const char *close = strchr(at, ']');

	if (!close)
		return bad_source(text, ret_error, "the ']' after the IPv6 address is missing.");
	pieces->bracketed = true;
	pieces->host = at + 1;
	pieces->host_len = (size_t)(close - at - 1);
	*ret_end = close + 1;
	return 0;
}

/* "nas1,nas2:/x", "[fd00::1],[fd00::2]:/x": a comma before the path. */
static bool is_list(const char *text)
{
	const char *end = strstr(text, ":/"), *comma = strchr(text, ',');

	return end && comma && comma < end && !memchr(text, '/', (size_t)(end - text));
}

static int split_plain(const char *text, struct pieces *pieces, struct message *ret_error)
{
	const char *end;

	if (is_list(text)) {
		end = strstr(text, ":/");
		pieces->host = text;
		pieces->host_len = (size_t)(end - text);
		pieces->list = true;
	} else if (text[0] == '[') {
		int error = split_brackets(text, text, pieces, &end, ret_error);

		if (error)
			return error;
		if (end[0] != ':' || end[1] != '/')
			return bad_source(text, ret_error, "after the ']' comes ':' and the path.");
	} else {
		end = strstr(text, ":/");
		if (!end || memchr(text, '/', (size_t)(end - text)))
			return not_a_source(text, ret_error);
		pieces->host = text;
		pieces->host_len = (size_t)(end - text);
	}
	pieces->path = end + 1;
	return 0;
}

static int parse_port(const char *digits, size_t n, uint16_t *ret_port)
{
	unsigned int port = 0;

	if (!n || n > 5)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		if (digits[i] < '0' || digits[i] > '9')
			return -EINVAL;
		port = port * 10 + (unsigned int)(digits[i] - '0');
	}
	if (!port || port > 65535)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

/* authority is "server", "server:port", "[v6]" or "[v6]:port"; a '/' follows it or the end. */
static int split_url(const char *text, const char *authority, struct pieces *pieces,
		     struct message *ret_error)
{
	const char *slash = authority + strcspn(authority, "/");
	const char *end;

	pieces->url = true;
	if (!*slash)
		return bad_source(text, ret_error, "the URL has no path.");
	if (strpbrk(slash, "?#"))
		return bad_source(text, ret_error, "options belong into -o, not into the URL; "
						   "a '?' in a path is %3f, a '#' is %23.");
	if (authority[0] == '[') {
		int error = split_brackets(text, authority, pieces, &end, ret_error);

		if (error)
			return error;
		if (end > slash)
			return bad_source(text, ret_error, NULL);
	} else {
		end = authority + strcspn(authority, ":/");
		pieces->host = authority;
		pieces->host_len = (size_t)(end - authority);
	}
	if (end < slash && *end != ':')
		return bad_source(text, ret_error, "after the ']' comes ':' or the path.");
	if (end < slash && parse_port(end + 1, (size_t)(slash - end - 1), &pieces->port))
		return bad_source(text, ret_error, "the port of the URL is not 1 to 65535.");
	pieces->path = slash;
	return 0;
}

static int check_address(const char *text, const char *host, struct message *ret_error)
{
	size_t n = strcspn(host, "%");
	char literal[INET6_ADDRSTRLEN];
	struct in6_addr addr;

	if (n >= sizeof(literal))
		return bad_source(text, ret_error, "this is no IPv6 address.");
	memcpy(literal, host, n);
	literal[n] = '\0';
	if (inet_pton(AF_INET6, literal, &addr) != 1)
		return bad_source(text, ret_error, "what is in brackets is no IPv6 address.");
	if (host[n] && !host[n + 1])
		return bad_source(text, ret_error,
				  "after '%' comes an interface, as in fe80::1%eth0.");
	return 0;
}

/* What names and literals consist of; bytes above ASCII for names not yet in punycode. The host is
 * shown in commands to paste, so nothing here may mean something to a shell. */
static bool host_char(char c)
{
	return isalnum((unsigned char)c) || (unsigned char)c >= 0x80 || strchr("._-:%", c);
}

static int check_host(const char *text, const struct pieces *pieces, const char *host,
		      struct message *ret_error)
{
	if (!*host)
		return bad_source(text, ret_error, "the server is missing.");
	if (pieces->host_len > HOST_MAX)
		return bad_source(text, ret_error, "the server's name is longer than 255 bytes.");
	for (const char *byte = host; *byte; byte++)
		if (!host_char(*byte) || host[0] == '-')
			return bad_source(text, ret_error, "the server's name has a character that "
							   "no host name has.");
	if (pieces->bracketed)
		return check_address(text, host, ret_error);
	if (strchr(host, ':')) {
		bad_source(text, ret_error, "an IPv6 address needs brackets.");
		message_try(ret_error, "[%.100s]:%.400s", host, pieces->path);
		return -EINVAL;
	}
	if (strchr(host, '%'))
		return bad_source(text, ret_error, "the server's name has a '%'.");
	return 0;
}

bool source_is_host(const char *text)
{
	size_t n = strlen(text);

	for (const char *byte = text; *byte; byte++)
		if (!host_char(*byte))
			return false;
	return n && n <= HOST_MAX && text[0] != '-';
}

/* Each item by itself, and brackets off. In place. */
static int check_list(const char *text, const struct pieces *pieces, char *hosts, struct message *ret_error)
{
	char *to = hosts, *item = hosts;
	int error = 0;

	for (char *next; item && !error; item = next) {
		struct pieces one = *pieces;

		next = strchr(item, ',');
		if (next)
			*next++ = '\0';
		one.host_len = strlen(item);
		one.bracketed = one.host_len > 1 && item[0] == '[' && item[one.host_len - 1] == ']';
		if (one.bracketed) {
			item[one.host_len - 1] = '\0';
			item++;
		}
		error = check_host(text, &one, item, ret_error);
		if (to != hosts)
			*to++ = ',';
		memmove(to, item, strlen(item) + 1);
		to += strlen(to);
	}
	return error;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. -EINVAL for % without two digits, and for %00. */
static int percent_decode(char *path)
{
	char *to = path;

	for (const char *from = path; *from; from++) {
		int high, low;

		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		high = hex_digit(from[1]);
		low = high < 0 ? -1 : hex_digit(from[2]);
		if (low < 0 || (high == 0 && low == 0))
			return -EINVAL;
		*to++ = (char)(high << 4 | low);
		from += 2;
	}
	*to = '\0';
	return 0;
}

static int finish_path(const char *text, const struct pieces *pieces, char *path,
		       struct message *ret_error)
{
	size_t n;

	if (pieces->url && percent_decode(path))
		return bad_source(text, ret_error, "a '%' in a URL is followed by two hexadecimal "
						   "digits, not 00.");
	n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		path[--n] = '\0';
	if (n > EXPORT_PATH_MAX)
		return bad_source(text, ret_error, "the path is longer than 1024 bytes.");
	return 0;
}

static int build_source(const char *text, const struct pieces *pieces, struct source *source,
			struct message *ret_error)
{
	int error;

	source->port = pieces->port;
	source->text = strdup(text);
	source->host = strndup(pieces->host, pieces->host_len);
	source->path = strdup(pieces->path);
	if (!source->text || !source->host || !source->path) {
		message_set(ret_error, MSG_NO_MEMORY, "out of memory");
		return -ENOMEM;
	}
	error = pieces->list ? check_list(text, pieces, source->host, ret_error) :
			       check_host(text, pieces, source->host, ret_error);
	if (!error)
		error = finish_path(text, pieces, source->path, ret_error);
	return error;
}

int source_parse(const char *text, struct source *ret_source, struct message *ret_error)
{
	static const char scheme[] = "nfs://";
	struct source source = { 0 };
	struct pieces pieces = { 0 };
	int error;

	if (strncasecmp(text, scheme, sizeof(scheme) - 1) == 0)
		error = split_url(text, text + sizeof(scheme) - 1, &pieces, ret_error);
	else
		error = split_plain(text, &pieces, ret_error);
	if (!error)
		error = build_source(text, &pieces, &source, ret_error);
	if (error) {
		source_deinit(&source);
		return error;
	}
	*ret_source = source;
	return 0;
}
