/* SPDX-License-Identifier: GPL-2.0-or-later */
/* exports - see exports.h. */
#include "exports.h"

#include <string.h>

#include "words.h"

/* path is root, or below it. */
static bool path_within(const char *path, const char *root)
{
	size_t n = strlen(root);

	if (n && root[n - 1] == '/')
		n--;
	return strncmp(path, root, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

const struct mount_export *exports_find(const struct mount_result *list, const char *path)
{
	const struct mount_export *found = NULL;

	for (unsigned int i = 0; i < list->n_exports; i++) {
		const struct mount_export *export = &list->exports[i];

		if (path_within(path, export->path) && (!found || strlen(export->path) > strlen(found->path)))
			found = export;
	}
	return found;
}

const struct mount_export *exports_nearest(const struct mount_result *list, const char *path)
{
	const struct mount_export *nearest = NULL;
	unsigned int best = WORDS_FAR;

	for (unsigned int i = 0; i < list->n_exports; i++) {
		const struct mount_export *export = &list->exports[i];
		unsigned int distance = words_distance(path, export->path);

		if (distance < best && words_near(path, distance)) {
			best = distance;
			nearest = export;
		}
	}
	return nearest;
}
