/* SPDX-License-Identifier: GPL-2.0-or-later */
/* target - see target.h. */
#include "target.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "../mountinfo.h"
#include "../mountprobe.h"

static bool is_ours(const struct mount_row *row)
{
	/* "fuse.fusenfs"; subtype= may have made it another, which then is to be found by its socket alone. */
	return !strcmp(row->type, "fuse.fusenfs") || !strcmp(row->type, "fusenfs");
}

static int fill(const struct mount_row *row, struct target *ret_target)
{
	*ret_target = (struct target){
		.mount = strdup(row->point),
		.source = strdup(row->source),
		.major = row->major,
		.minor = row->minor,
		.owner = row->user > 0 ? (uid_t)row->user : 0,
	};
	if (ret_target->mount && ret_target->source)
		return 0;
	target_deinit(ret_target);
	return -ENOMEM;
}

void target_deinit(struct target *target)
{
	free(target->mount);
	free(target->source);
	target->mount = target->source = NULL;
}

void targets_free(struct target *targets, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		target_deinit(&targets[i]);
	free(targets);
}

/* Without asking any file system: "." and ".." and "//" are resolved as if there were no symbolic links. */
static int make_absolute(const char *path, char absolute[PATH_MAX])
{
	cleanup(freep) char *copy = NULL;
	char *rest, *word;
	size_t len = 0;

	if (*path == '/')
		copy = strdup(path);
	else if (!getcwd(absolute, PATH_MAX) || asprintf(&copy, "%s/%s", absolute, path) < 0)
		return -EINVAL;
	if (!copy || strlen(copy) >= PATH_MAX)
		return -ENAMETOOLONG;
	absolute[0] = '\0';
	for (rest = copy; (word = strsep(&rest, "/"));) {
		if (!*word || !strcmp(word, "."))
			continue;
		if (!strcmp(word, "..")) {
			char *slash = strrchr(absolute, '/');

			len = slash ? (size_t)(slash - absolute) : 0;
			absolute[len] = '\0';
			continue;
		}
		len += (size_t)sprintf(absolute + len, "/%s", word);
	}
	if (!len)
		strcpy(absolute, "/");
	return 0;
}

static int not_ours(const char *path, const struct mount_row *row, struct message *error)
{
	if (row)
		message_set(error, MSG_NO_DAEMON, "%s is not a fusenfs mount, but one of type %s", path, row->type);
	else
		message_set(error, MSG_NO_DAEMON, "%s is no mount point", path);
	return -ENOENT;
}

int target_find(const char *path, struct target *ret_target, struct message *ret_error)
{
	cleanup(probe_freep) struct probe *probe = NULL;
	char absolute[PATH_MAX];
	struct mount_table table;
	const struct mount_row *row = NULL;
	int error = mount_table_load(&table);

	if (!error && !make_absolute(path, absolute))
		row = mount_table_at(&table, absolute);
	if (!error && !row) {
		probe = probe_new();
		if (probe && !probe_fork(probe, path) && probe->path[0])
			row = mount_table_at(&table, probe->path);
	}
	if (error)
		message_set(ret_error, MSG_SYSTEM, "cannot read /proc/self/mountinfo: %s", strerrordesc_np(-error));
	else if (!row || !is_ours(row))
		error = not_ours(path, row, ret_error);
	else if (fill(row, ret_target))
		error = -ENOMEM;
	if (error == -ENOMEM)
		message_set(ret_error, MSG_NO_MEMORY, "out of memory");
	mount_table_deinit(&table);
	return error;
}

int target_for(const char *path, const char *ctl, struct target *ret_target, struct message *ret_error)
{
	int error = target_find(path, ret_target, ret_error);

	if (!error || !ctl)
		return error;
	*ret_target = (struct target){ .mount = strdup(path), .source = strdup(""), .owner = geteuid() };
	return ret_target->mount && ret_target->source ? 0 : -ENOMEM;
}

/* Bind mounts show one of them twice. */
static bool is_new(const struct target *targets, unsigned int n, const struct mount_row *row)
{
	for (unsigned int i = 0; i < n; i++)
		if (targets[i].major == row->major && targets[i].minor == row->minor)
			return false;
	return true;
}

int target_all(struct target **ret_targets, unsigned int *ret_n)
{
	struct mount_table table;
	struct target *targets;
	unsigned int n = 0;
	int error = mount_table_load(&table);

	if (error)
		return error;
	targets = calloc(table.n ? table.n : 1, sizeof(*targets));
	for (size_t i = 0; targets && i < table.n; i++)
		if (is_ours(&table.rows[i]) && is_new(targets, n, &table.rows[i]) && !fill(&table.rows[i], &targets[n]))
			n++;
	mount_table_deinit(&table);
	if (!targets)
		return -ENOMEM;
	*ret_targets = targets;
	*ret_n = n;
	return 0;
}

bool target_is_there(const struct target *target)
{
	struct mount_table table;
	const struct mount_row *row;
	bool found = false;

	if (mount_table_load(&table))
		return true;
	row = mount_table_at(&table, target->mount);
	found = row && row->major == target->major && row->minor == target->minor;
	mount_table_deinit(&table);
	return found;
}
