/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mountinfo - parse the lines, then walk from the root mount down the path, as the kernel does:
 * at each prefix, cross into the mount that is attached there to the mount we are in. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../conn/util.h"
#include "mountinfo.h"
#include "mountpoint.h"

/* \040 and the like, in place (show_mountinfo() escapes blanks, newlines and backslashes). */
static void unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' &&
		    from[2] <= '7' && from[3] >= '0' && from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 | (from[2] - '0') << 3 |
				       (from[3] - '0'));
			from += 3;
		} else {
			*to++ = *from;
		}
	}
	*to = '\0';
}

/* Of "rw,user_id=1000,group_id=1000,allow_other". */
static long user_of(const char *super_options)
{
	const char *found = super_options ? strstr(super_options, "user_id=") : NULL;

	return found ? atol(found + strlen("user_id=")) : -1;
}

/* "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue" */
static int parse_line(char *line, struct mount_row *row)
{
	enum { ID, PARENT, DEVICE, ROOT, POINT, FLAGS, N_FIELDS };
	char *fields[N_FIELDS], *rest = line, *field;

	for (unsigned int i = 0; i < N_FIELDS; i++) {
		fields[i] = strsep(&rest, " ");
		if (!rest)
			return -EINVAL;
	}
	do { /* optional fields, up to a lone '-' */
		field = strsep(&rest, " ");
		if (!field || !rest)
			return -EINVAL;
	} while (strcmp(field, "-") != 0);
	row->type = strsep(&rest, " ");
	row->source = rest ? strsep(&rest, " \n") : NULL;
	row->user = user_of(rest);
	if (!row->source || sscanf(fields[DEVICE], "%u:%u", &row->major, &row->minor) != 2)
		return -EINVAL;
	row->id = atoi(fields[ID]);
	row->parent = atoi(fields[PARENT]);
	row->point = fields[POINT];
	unescape(row->point);
	unescape(row->type);
	unescape(row->source);
	return 0;
}

static void row_deinit(struct mount_row *row)
{
	free(row->point);
	free(row->type);
	free(row->source);
}

static int add_row(struct mount_table *table, const struct mount_row *parsed)
{
	struct mount_row row = *parsed, *rows;

	row.point = strdup(parsed->point);
	row.type = strdup(parsed->type);
	row.source = strdup(parsed->source);
	rows = reallocarray(table->rows, table->n + 1, sizeof(*rows));
	if (rows)
		table->rows = rows;
	if (!rows || !row.point || !row.type || !row.source) {
		row_deinit(&row);
		return -ENOMEM;
	}
	rows[table->n++] = row;
	return 0;
}

int mount_table_read(struct mount_table *table, FILE *stream)
{
	cleanup(freep) char *line = NULL;
	size_t size = 0;

	*table = (struct mount_table){ 0 };
	while (getline(&line, &size, stream) > 0) {
		struct mount_row row = { 0 };

		if (parse_line(line, &row) == 0 && add_row(table, &row)) {
			mount_table_deinit(table);
			return -ENOMEM;
		}
	}
	return 0;
}

int mount_table_load(struct mount_table *table)
{
	FILE *stream = fopen("/proc/self/mountinfo", "re");
	int error;

	*table = (struct mount_table){ 0 };
	if (!stream)
		return -errno;
	error = mount_table_read(table, stream);
	fclose(stream);
	return error;
}

void mount_table_deinit(struct mount_table *table)
{
	for (size_t i = 0; i < table->n; i++)
		row_deinit(&table->rows[i]);
	free(table->rows);
	*table = (struct mount_table){ 0 };
}

static const struct mount_row *row_by_id(const struct mount_table *table, int id)
{
	for (size_t i = 0; i < table->n; i++)
		if (table->rows[i].id == id)
			return &table->rows[i];
	return NULL;
}

static const struct mount_row *root_row(const struct mount_table *table)
{
	for (size_t i = 0; i < table->n; i++) {
		const struct mount_row *row = &table->rows[i];

		if (strcmp(row->point, "/") == 0 &&
		    (row->parent == row->id || !row_by_id(table, row->parent)))
			return row;
	}
	return NULL;
}

/* The mount attached to parent at the first n bytes of path. */
static const struct mount_row *attached_at(const struct mount_table *table,
					   const struct mount_row *parent, const char *path,
					   size_t n)
{
	for (size_t i = 0; i < table->n; i++) {
		const struct mount_row *row = &table->rows[i];

		if (row->parent == parent->id && row != parent && strlen(row->point) == n &&
		    memcmp(row->point, path, n) == 0)
			return row;
	}
	return NULL;
}

/* In a chroot that is no mount point itself the root is not in the table. */
static const struct mount_row *last_at(const struct mount_table *table, const char *path)
{
	for (size_t i = table->n; i > 0; i--)
		if (strcmp(table->rows[i - 1].point, path) == 0)
			return &table->rows[i - 1];
	return NULL;
}

const struct mount_row *mount_table_at(const struct mount_table *table, const char *path)
{
	const struct mount_row *current = root_row(table), *next;
	size_t length = strlen(path), crossed = 1; /* length of the mount point we are in */

	if (!current)
		return last_at(table, path);
	for (size_t n = 1; n <= length; n++) {
		size_t crossings = 0; /* a damaged table could have a cycle */

		if (n > 1 && n < length && path[n] != '/')
			continue;
		while (crossings++ < table->n && (next = attached_at(table, current, path, n))) {
			current = next;
			crossed = n;
		}
	}
	return crossed == length ? current : NULL;
}

int mountpoint_lookup(const char *path, struct mount_entry *ret_entry)
{
	const struct mount_row *row;
	struct mount_table table;
	int error = mount_table_load(&table);

	if (error)
		return error;
	*ret_entry = (struct mount_entry){ 0 };
	row = mount_table_at(&table, path);
	if (row) {
		ret_entry->major = row->major;
		ret_entry->minor = row->minor;
		snprintf(ret_entry->type, sizeof(ret_entry->type), "%s", row->type);
		snprintf(ret_entry->source, sizeof(ret_entry->source), "%s", row->source);
	}
	mount_table_deinit(&table);
	return 0;
}
