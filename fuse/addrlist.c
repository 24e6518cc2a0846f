/* SPDX-License-Identifier: GPL-2.0-or-later */
/* addrlist - see addrlist.h. */
#include "addrlist.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "../conn/util.h"

struct list {
	struct pool_addr *addrs;
	unsigned int n;
	char *why;
	size_t size;
};

const char *addr_text(const struct sockaddr_storage *sa, char text[ADDR_TEXT_MAX])
{
	socklen_t len = sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
						    sizeof(struct sockaddr_in);

	if (getnameinfo((const struct sockaddr *)sa, len, text, ADDR_TEXT_MAX, NULL, 0, NI_NUMERICHOST))
		snprintf(text, ADDR_TEXT_MAX, "?");
	return text;
}

const char *local_text(const struct pool_local *local, char text[ADDR_TEXT_MAX])
{
	if (local->sa.ss_family != AF_UNSPEC)
		return addr_text(&local->sa, text);
	snprintf(text, ADDR_TEXT_MAX, "%s", local->device);
	return text;
}

static const struct sockaddr_in6 *v6_of(const struct sockaddr_storage *sa)
{
	return (const struct sockaddr_in6 *)(const void *)sa;
}

static const struct sockaddr_in *v4_of(const struct sockaddr_storage *sa)
{
	return (const struct sockaddr_in *)(const void *)sa;
}

bool addr_same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return v4_of(a)->sin_addr.s_addr == v4_of(b)->sin_addr.s_addr;
	return !memcmp(&v6_of(a)->sin6_addr, &v6_of(b)->sin6_addr, sizeof(struct in6_addr)) &&
	       v6_of(a)->sin6_scope_id == v6_of(b)->sin6_scope_id;
}

static int add(struct list *list, const struct pool_addr *addr)
{
	for (unsigned int i = 0; i < list->n; i++)
		if (addr_same_host(&list->addrs[i].sa, &addr->sa))
			return 0;
	if (list->n == POOL_MAX_ADDRS) {
		snprintf(list->why, list->size, "more than %d addresses", POOL_MAX_ADDRS);
		return -EINVAL;
	}
	list->addrs[list->n++] = *addr;
	return 0;
}

static bool parse_one(const char *text, size_t len, struct pool_addr *ret_addr)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *info;
	char host[ADDR_TEXT_MAX];

	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (!len || len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	/* getaddrinfo(3) also takes "10.1", which few mean. */
	if (!strchr(host, ':') && inet_pton(AF_INET, host, &(struct in_addr){ 0 }) != 1)
		return false;
	if (getaddrinfo(host, NULL, &hints, &info))
		return false;
	*ret_addr = (struct pool_addr){ .len = info->ai_addrlen };
	memcpy(&ret_addr->sa, info->ai_addr, info->ai_addrlen);
	freeaddrinfo(info);
	return true;
}

/* The last 32 bits, which a range may run through. */
static uint32_t tail_of(const struct pool_addr *addr)
{
	uint32_t tail;

	if (addr->sa.ss_family == AF_INET)
		return ntohl(v4_of(&addr->sa)->sin_addr.s_addr);
	memcpy(&tail, &v6_of(&addr->sa)->sin6_addr.s6_addr[12], sizeof(tail));
	return ntohl(tail);
}

static void set_tail(struct pool_addr *addr, uint32_t tail)
{
	tail = htonl(tail);
	if (addr->sa.ss_family == AF_INET)
		((struct sockaddr_in *)(void *)&addr->sa)->sin_addr.s_addr = tail;
	else
		memcpy(&((struct sockaddr_in6 *)(void *)&addr->sa)->sin6_addr.s6_addr[12], &tail,
		       sizeof(tail));
}

static int add_range(struct list *list, const struct pool_addr *first, const struct pool_addr *last)
{
	struct pool_addr addr = *first;
	uint32_t from = tail_of(first), to = tail_of(last);

	set_tail(&addr, to);
	if (from > to || !addr_same_host(&addr.sa, &last->sa)) {
		snprintf(list->why, list->size, "its end is not behind its beginning");
		return -EINVAL;
	}
	for (uint32_t i = 0; i <= to - from; i++) {
		int error;

		set_tail(&addr, from + i);
		error = add(list, &addr);
		if (error)
			return error;
	}
	return 0;
}

static int add_item(struct list *list, const char *item, size_t len)
{
	struct pool_addr first, last;

	if (parse_one(item, len, &first))
		return add(list, &first);
	for (size_t i = 1; i + 1 < len; i++)
		if (item[i] == '-' && parse_one(item, i, &first) &&
		    parse_one(item + i + 1, len - i - 1, &last))
			return add_range(list, &first, &last);
	snprintf(list->why, list->size, "'%.*s' is no address", (int)min_size(len, ADDR_TEXT_MAX), item);
	return -EINVAL;
}

int addrlist_parse(const char *text, struct pool_addr addrs[POOL_MAX_ADDRS], unsigned int *ret_n, char *why,
		   size_t size)
{
	struct list list = { .addrs = addrs, .why = why, .size = size };

	for (;;) {
		size_t len = strcspn(text, "~");
		int error = add_item(&list, text, len);

		if (error)
			return error;
		if (!text[len])
			break;
		text += len + 1;
	}
	*ret_n = list.n;
	return 0;
}

/* ---- localaddrs -------------------------------------------------------------------------- */

/* As the kernel takes it, and with a letter: 10.0.0.300 is a mistake. */
static bool is_interface(const char *item, size_t len)
{
	bool letter = false;

	if (!len || len >= IF_NAMESIZE)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (strchr("/:[] ", item[i]))
			return false;
		letter = letter || isalpha((unsigned char)item[i]);
	}
	return letter;
}

static int local_add(struct pool_local locals[], unsigned int *n, const struct pool_local *local, char *why,
		     size_t size)
{
	for (unsigned int i = 0; i < *n; i++)
		if (!strcmp(locals[i].device, local->device) &&
		    (local->device[0] || addr_same_host(&locals[i].sa, &local->sa)))
			return 0;
	if (*n == POOL_MAX_LOCALS) {
		snprintf(why, size, "more than %d of them", POOL_MAX_LOCALS);
		return -EINVAL;
	}
	locals[(*n)++] = *local;
	return 0;
}

static int local_add_item(struct pool_local locals[], unsigned int *n, const char *item, size_t len, char *why,
			  size_t size)
{
	struct pool_addr addrs[POOL_MAX_ADDRS];
	struct list list = { .addrs = addrs, .why = why, .size = size };
	struct pool_local local = { .device = "" };
	int error;

	if (is_interface(item, len) && !parse_one(item, len, &addrs[0])) {
		memcpy(local.device, item, len);
		return local_add(locals, n, &local, why, size);
	}
	error = add_item(&list, item, len);
	for (unsigned int i = 0; i < list.n && !error; i++) {
		local.sa = addrs[i].sa;
		error = local_add(locals, n, &local, why, size);
	}
	return error;
}

int locallist_parse(const char *text, struct pool_local locals[POOL_MAX_LOCALS], unsigned int *ret_n, char *why,
		    size_t size)
{
	unsigned int n = 0;

	for (;;) {
		size_t len = strcspn(text, "~");
		int error = local_add_item(locals, &n, text, len, why, size);

		if (error)
			return error;
		if (!text[len])
			break;
		text += len + 1;
	}
	*ret_n = n;
	return 0;
}
