/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount3 - see mount3.h. Pure functions over bytes; no state, any thread. */
#include "mount3.h"

#include <errno.h>
#include <string.h>

#include "util.h"

enum { PROC_MNT = 1, PROC_UMNT = 3, PROC_EXPORT = 5 };

/* ---- calls ------------------------------------------------------------------------------- */

/* The process's own identity: a server may refuse mounts by anyone but root. */
static void request_begin_real(struct rpc_request *request, uint32_t vers, uint32_t proc)
{
	struct cred cred = { .uid = geteuid(), .gid = getegid() };

	request_begin(request, &cred, MOUNT_PROGRAM, vers ? vers : MOUNT_VERSION, proc);
}

static void path_encode(struct rpc_request *request, uint32_t vers, uint32_t proc, const char *path)
{
	request_begin_real(request, vers, proc);
	request_string(request, path);
	request_end(request);
}

void mount3_mnt_encode(struct rpc_request *request, uint32_t vers, const char *path)
{
	path_encode(request, vers, PROC_MNT, path);
}

void mount3_umnt_encode(struct rpc_request *request, uint32_t vers, const char *path)
{
	path_encode(request, vers, PROC_UMNT, path);
}

void mount3_export_encode(struct rpc_request *request, uint32_t vers)
{
	request_begin_real(request, vers, PROC_EXPORT);
	request_end(request);
}

/* ---- MNT --------------------------------------------------------------------------------- */

static void fh_decode(struct results *results, struct mount3_mnt *mnt)
{
	const uint8_t *fh = results_opaque(results, 1, MOUNT_FH_MAX, &mnt->fh_len);

	if (fh)
		memcpy(mnt->fh, fh, mnt->fh_len);
}

static void flavors_decode(struct results *results, struct mount3_mnt *mnt)
{
	mnt->n_flavors = results_word(results);
	if (mnt->n_flavors > MOUNT_MAX_FLAVORS)
		results->bad = true;
	for (uint32_t i = 0; i < mnt->n_flavors && !results->bad; i++)
		mnt->flavors[i] = results_word(results);
}

int mount3_mnt_decode(const uint8_t *bytes, uint32_t len, struct mount3_mnt *ret_mnt)
{
	struct results results = { bytes, bytes + len, false };
	struct mount3_mnt mnt = { .status = results_word(&results) };

	if (!results.bad && mnt.status == MNT3_OK) {
		fh_decode(&results, &mnt);
		flavors_decode(&results, &mnt);
	}
	if (results.bad)
		return -EBADMSG;
	*ret_mnt = mnt;
	return 0;
}

bool mount3_accepts_sys(const uint32_t flavors[], uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (flavors[i] == FLAVOR_SYS || flavors[i] == FLAVOR_NONE)
			return true;
	return n == 0;
}

/* ---- EXPORT ------------------------------------------------------------------------------ */

/* A string without NUL: "a\0b" would be shown, and compared, as "a". */
static const char *text_decode(struct results *results, uint32_t min, uint32_t *ret_len)
{
	const uint8_t *text = results_opaque(results, min, MOUNT3_PATH_MAX, ret_len);

	if (text && memchr(text, '\0', *ret_len))
		results->bad = true;
	return results->bad ? NULL : (const char *)text;
}

/* The groups joined by commas, in memory as large as the reply, in which every group takes at least
 * 8 bytes besides its text. */
static void groups_decode(struct results *results, char *joined)
{
	char *end = joined;

	while (results_word(results) && !results->bad) {
		uint32_t len = 0;
		const char *group = text_decode(results, 0, &len);

		if (!group)
			break;
		if (end != joined)
			*end++ = ',';
		memcpy(end, group, len);
		end += len;
	}
	*end = '\0';
}

static int exports_add(struct mount3_exports *exports, const char *path, uint32_t path_len,
		       const char *groups)
{
	struct mount_export *export = &exports->list[exports->n];

	export->path = strndup(path, path_len);
	export->groups = strdup(groups);
	exports->n++; /* also if one is NULL: it is freed with the list */
	return export->path && export->groups ? 0 : -ENOMEM;
}

/* One element, its groups in `groups`. */
static int export_decode(struct results *results, const char *path, struct mount3_exports *exports,
			 char *groups)
{
	uint32_t export_len = 0;
	const char *export = text_decode(results, 1, &export_len);

	groups_decode(results, groups);
	if (results->bad)
		return -EBADMSG;
	if (path && mount3_path_covers(export, export_len, path))
		exports->covered = true;
	if (exports->n < MOUNT_MAX_EXPORTS)
		return exports_add(exports, export, export_len, groups);
	exports->truncated = true;
	return 0;
}

static int exports_decode(struct results *results, const char *path, struct mount3_exports *exports,
			  char *groups)
{
	int error = 0;

	while (!error && results_word(results) && !results->bad)
		error = export_decode(results, path, exports, groups);
	if (!error && results->bad)
		error = -EBADMSG;
	return error;
}

int mount3_export_decode(const uint8_t *bytes, uint32_t len, const char *path,
			 struct mount3_exports *ret_exports)
{
	struct results results = { bytes, bytes + len, false };
	struct mount3_exports exports = { 0 };
	cleanup(freep) char *groups = malloc((size_t)len + 1);
	int error;

	exports.list = calloc(MOUNT_MAX_EXPORTS, sizeof(*exports.list));
	if (!groups || !exports.list) {
		free(exports.list);
		return -ENOMEM;
	}
	error = exports_decode(&results, path, &exports, groups);
	if (error)
		mount3_exports_free(exports.list, exports.n);
	else
		*ret_exports = exports;
	return error;
}

void mount3_exports_free(struct mount_export *list, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		free(list[i].path);
		free(list[i].groups);
	}
	free(list);
}

static size_t skip_slashes(const char *text, size_t len, size_t at)
{
	while (at < len && text[at] == '/')
		at++;
	return at;
}

static size_t component_end(const char *text, size_t len, size_t at)
{
	while (at < len && text[at] != '/')
		at++;
	return at;
}

bool mount3_path_covers(const char *export, size_t export_len, const char *path)
{
	size_t path_len = strlen(path);
	size_t e = skip_slashes(export, export_len, 0), p = skip_slashes(path, path_len, 0);

	while (e < export_len) {
		size_t e_end = component_end(export, export_len, e);
		size_t p_end = component_end(path, path_len, p);

		if (e_end - e != p_end - p || memcmp(export + e, path + p, e_end - e))
			return false;
		e = skip_slashes(export, export_len, e_end);
		p = skip_slashes(path, path_len, p_end);
	}
	return true;
}
