/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nsm_notify - see nsm_notify.h. The protocol is Open Group XNFS C702, chapter 11: two calls of strings and numbers. */
#include "nsm_notify.h"

#include <endian.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/ask.h"
#include "../conn/util.h"
#include "log.h"

enum { NSM_PROGRAM = 100024, NSM_VERSION = 1 };
enum { NSM_MON = 2, NSM_UNMON = 3, NSM_NOTIFY = 6 };
enum { SETTLE_MS = 1000 };

static const int64_t ASK_NS = 2 * NS_PER_S;

/* ---- arguments --------------------------------------------------------------------------- */

struct arguments {
	uint32_t len;
	uint8_t bytes[ASK_ARGS_MAX];
};

static void put_word(struct arguments *args, uint32_t word)
{
	word = htobe32(word);
	memcpy(args->bytes + args->len, &word, sizeof(word));
	args->len += sizeof(word);
}

/* Names and addresses: a few dozen bytes. */
static void put_string(struct arguments *args, const char *string)
{
	uint32_t len = (uint32_t)strlen(string);

	put_word(args, len);
	memset(args->bytes + args->len, 0, len + xdr_pad(len));
	memcpy(args->bytes + args->len, string, len);
	args->len += len + (uint32_t)xdr_pad(len);
}

static void put_my_id(struct arguments *args, const char *name)
{
	put_string(args, name);
	put_word(args, NLM4_PROGRAM);
	put_word(args, NLM4_VERSION);
	put_word(args, NLM4_PROC_SM_NOTIFY);
}

/* ---- addresses --------------------------------------------------------------------------- */

static bool to_addr(const char *text, struct pool_addr *ret_addr)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM }, *info;

	if (getaddrinfo(text, NULL, &hints, &info))
		return false;
	*ret_addr = (struct pool_addr){ .len = info->ai_addrlen };
	memcpy(&ret_addr->sa, info->ai_addr, min_size(info->ai_addrlen, sizeof(ret_addr->sa)));
	freeaddrinfo(info);
	return true;
}

static int ask(const struct pool_addr *host, const char *local, uint32_t proc, const struct arguments *args,
	       int cancel_fd, uint8_t results[ASK_RESULTS_MAX], uint32_t *ret_len)
{
	struct cred root = { 0 };
	struct pool_local from = { 0 };
	struct pool_addr addr;
	struct ask question = {
		.host = host,
		.resvport = true,
		.cred = &root,
		.prog = NSM_PROGRAM,
		.vers = NSM_VERSION,
		.proc = proc,
		.args = args->bytes,
		.args_len = args->len,
		.until_ns = clock_ns() + ASK_NS,
		.cancel_fd = cancel_fd,
	};
	int error;

	if (local && to_addr(local, &addr)) {
		from.sa = addr.sa;
		question.locals = &from;
		question.n_locals = 1;
	}
	error = ask_run(&question, results, ret_len);
	if (error == -EADDRNOTAVAIL && question.n_locals) { /* it has another address now: the name may do */
		question.n_locals = 0;
		error = ask_run(&question, results, ret_len);
	}
	return error;
}

/* ---- SM_NOTIFY --------------------------------------------------------------------------- */

static int notify(const struct nsm_record *dead, uint32_t state, int cancel_fd)
{
	uint8_t results[ASK_RESULTS_MAX];
	struct arguments args = { 0 };
	struct pool_addr server;
	uint32_t len;

	if (!to_addr(dead->server, &server))
		return -EINVAL;
	put_string(&args, dead->name);
	put_word(&args, state);
	return ask(&server, dead->local[0] ? dead->local : NULL, NSM_NOTIFY, &args, cancel_fd, results, &len);
}

/* A line of /proc/self/mounts: "SOURCE POINT nfs ...,vers=3,...,addr=10.0.0.5,... 0 0". */
static bool is_kernel_mount(const char *line, const char *server)
{
	char addr[NSM_ADDRESS_MAX + 16];
	const char *found;

	if (!strstr(line, " nfs "))
		return false;
	snprintf(addr, sizeof(addr), ",addr=%s", server);
	found = strstr(line, addr);
	return found && strchr(", ", found[strlen(addr)]);
}

static bool kernel_may_hold(const char *server)
{
	FILE *stream = fopen("/proc/self/mounts", "re");
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	if (!stream)
		return false;
	while (!found && getline(&line, &size, stream) > 0)
		found = is_kernel_mount(line, server);
	free(line);
	fclose(stream);
	return found;
}

static bool is_held(const struct nsm_record records[], unsigned int n, const char *server)
{
	for (unsigned int i = 0; i < n; i++)
		if (records[i].alive && !strcmp(records[i].server, server))
			return true;
	return false;
}

/* Of this network, as far as one can know: after a reboot, anybody's. */
static bool is_ours(const struct nsm_record *record, const struct nsm_record *us)
{
	return strcmp(record->boot, us->boot) != 0 || record->netns == us->netns;
}

static struct nsm_report tell_server(const struct nsm_record records[], unsigned int n, const struct nsm_record *dead,
				     int cancel_fd)
{
	struct nsm_report report = { .outcome = NSM_TOLD };

	snprintf(report.server, sizeof(report.server), "%s", dead->server);
	snprintf(report.name, sizeof(report.name), "%s", dead->name);
	if (is_held(records, n, dead->server))
		report.outcome = NSM_HELD;
	else if (kernel_may_hold(dead->server))
		report.outcome = NSM_KERNEL;
	else
		report.error = notify(dead, nsm_record_state(true), cancel_fd);
	if (report.error)
		report.outcome = NSM_SILENT;
	return report;
}

/* Those of the same address of ours: for them it was sent, too. */
static bool same_peers(const struct nsm_record *a, const struct nsm_record *b)
{
	return !strcmp(a->server, b->server) && !strcmp(a->local, b->local) && !strcmp(a->name, b->name);
}

static bool is_first(const struct nsm_record records[], unsigned int index, const struct nsm_record *us)
{
	for (unsigned int i = 0; i < index; i++)
		if (!records[i].alive && is_ours(&records[i], us) && same_peers(&records[i], &records[index]))
			return false;
	return true;
}

static void remove_told(const struct nsm_record records[], unsigned int n, const struct nsm_record *dead)
{
	for (unsigned int i = 0; i < n; i++)
		if (!records[i].alive && same_peers(&records[i], dead))
			nsm_record_remove(&records[i]);
}

static int notify_each(const struct nsm_record records[], unsigned int n, int cancel_fd,
		       void (*tell)(void *userdata, const struct nsm_report *report), void *userdata)
{
	struct nsm_record us = { 0 };
	bool told = false;
	int left = 0;

	nsm_record_fill(&us);
	for (unsigned int i = 0; i < n; i++) {
		struct nsm_report report;

		if (records[i].alive || !is_ours(&records[i], &us) || !is_first(records, i, &us))
			continue;
		report = tell_server(records, n, &records[i], cancel_fd);
		tell(userdata, &report);
		if (report.outcome == NSM_TOLD)
			remove_told(records, n, &records[i]);
		told |= report.outcome == NSM_TOLD;
		left += report.outcome != NSM_TOLD;
	}
	if (told)
		poll(NULL, 0, SETTLE_MS);
	return left;
}

int nsm_notify_all(int cancel_fd, void (*tell)(void *userdata, const struct nsm_report *report), void *userdata)
{
	cleanup(freep) struct nsm_record *records = calloc(NSM_MAX_RECORDS, sizeof(*records));
	cleanup(closep) int lock_fd = -1;
	unsigned int n = 0;
	int result;

	if (!records)
		return -ENOMEM;
	lock_fd = nsm_record_lock();
	if (lock_fd < 0)
		return lock_fd;
	result = nsm_record_read(records, &n);
	if (!result)
		result = notify_each(records, n, cancel_fd, tell, userdata);
	nsm_record_close(records, n);
	return result;
}

/* ---- SM_MON ------------------------------------------------------------------------------ */

int nsm_monitor(const struct nsm_record *record, bool monitor, int cancel_fd)
{
	uint8_t results[ASK_RESULTS_MAX], priv[NLM4_PRIV_LEN] = "fusenfs";
	struct arguments args = { 0 };
	struct pool_addr host;
	uint32_t len, status = 0;
	int error;

	if (!to_addr("127.0.0.1", &host))
		return -EINVAL;
	put_string(&args, record->server);
	put_my_id(&args, record->name);
	if (monitor) {
		memcpy(args.bytes + args.len, priv, sizeof(priv));
		args.len += sizeof(priv);
	}
	error = ask(&host, NULL, monitor ? NSM_MON : NSM_UNMON, &args, cancel_fd, results, &len);
	if (error || !monitor)
		return error;
	if (len >= 4)
		memcpy(&status, results, sizeof(status));
	return len < 4 ? -EBADMSG : status ? -EPERM : 0;
}
