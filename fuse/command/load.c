/* SPDX-License-Identifier: GPL-2.0-or-later */
/* load - see load.h. The daemon counts by thread; a thread that was not there before begins at nothing. */
#include "load.h"

#include <stdlib.h>

#include "client.h"
#include "process_name.h"
#include "sample.h"

enum { LOADS_MAX = 512 };

static const json_t *find(const json_t *answer, double pid, double uid)
{
	const json_t *users = json_object_get(answer, "users");

	for (size_t i = 0; i < json_array_size(users); i++) {
		const json_t *user = json_array_get(users, i);

		if (client_number(user, "pid") == pid && client_number(user, "uid") == uid)
			return user;
	}
	return NULL;
}

static void add(struct load loads[], unsigned int *n, unsigned int max, const struct load *one)
{
	unsigned int i;

	for (i = 0; i < *n; i++)
		if (loads[i].pid == one->pid && loads[i].uid == one->uid)
			break;
	if (i == max)
		return;
	if (i == *n)
		loads[(*n)++] = (struct load){ .pid = one->pid, .uid = one->uid };
	loads[i].operations += one->operations;
	loads[i].read_bytes += one->read_bytes;
	loads[i].written_bytes += one->written_bytes;
}

static double weight(const struct load *load)
{
	return load->read_bytes + load->written_bytes + load->operations * 4096;
}

static int compare(const void *a, const void *b)
{
	double left = weight(a), right = weight(b);

	return (left < right) - (left > right);
}

unsigned int load_between(const json_t *earlier, const json_t *later, struct load loads[], unsigned int n)
{
	double seconds = sample_delta(earlier, later, "monotonic_seconds");
	const json_t *users = json_object_get(later, "users");
	struct load all[LOADS_MAX];
	unsigned int n_all = 0;

	for (size_t i = 0; i < json_array_size(users) && seconds > 0; i++) {
		const json_t *user = json_array_get(users, i);
		const json_t *before = find(earlier, client_number(user, "pid"), client_number(user, "uid"));
		struct load one = {
			.uid = (unsigned int)client_whole(user, "uid"),
			.operations = sample_delta(before, user, "operations") / seconds,
			.read_bytes = sample_delta(before, user, "read_bytes") / seconds,
			.written_bytes = sample_delta(before, user, "written_bytes") / seconds,
		};

		if (one.operations <= 0)
			continue;
		one.pid = process_tgid((int)client_whole(user, "pid"));
		add(all, &n_all, LOADS_MAX, &one);
	}
	qsort(all, n_all, sizeof(all[0]), compare);
	for (unsigned int i = 0; i < n_all && i < n; i++)
		loads[i] = all[i];
	return n_all < n ? n_all : n;
}
