/* SPDX-License-Identifier: GPL-2.0-or-later */
/* doctor_host - may this process mount, and what has the kernel to say about it? */
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "../mountpoint.h"
#include "../privilege.h"
#include "../process.h"
#include "doctor.h"

#ifndef FUSE_CTL_SUPER_MAGIC
#define FUSE_CTL_SUPER_MAGIC 0x65735543
#endif

/* ---- FUSE -------------------------------------------------------------------------------- */

static void check_device(struct doctor *doctor)
{
	struct message message;

	if (mountpoint_check_device(&message))
		findings_message(&doctor->findings, FINDING_FAIL, "fuse", &message);
	else
		findings_add(&doctor->findings, FINDING_OK, "fuse", NULL, "/dev/fuse can be opened");
}

/* Root in a container may have a user id of 0 and no more. */
static void check_mount_right(struct doctor *doctor)
{
	struct message message;

	if (has_sys_admin())
		findings_add(&doctor->findings, FINDING_OK, "privilege", NULL,
			     "CAP_SYS_ADMIN: mount(2) is permitted, fusermount3 is not needed");
	else if (!geteuid())
		findings_add(&doctor->findings, FINDING_FAIL, "privilege",
			     "try: --cap-add SYS_ADMIN, or pass a descriptor of /dev/fuse as mount point /dev/fd/N",
			     "uid 0 without CAP_SYS_ADMIN: mount(2) will be refused");
	else if (mountpoint_check_helper(&message))
		findings_message(&doctor->findings, FINDING_FAIL, "privilege", &message);
	else
		findings_add(&doctor->findings, FINDING_OK, "privilege", NULL, "user %u: fusermount3 mounts",
			     (unsigned int)geteuid());
}

static void check_allow_other(struct doctor *doctor)
{
	if (can_mount())
		return;
	if (mountpoint_user_allow_other())
		findings_add(&doctor->findings, FINDING_OK, "allow-other", NULL,
			     "user_allow_other is in /etc/fuse.conf: allow_other is permitted");
	else if (doctor->options.allow_other)
		findings_add(&doctor->findings, FINDING_FAIL, "allow-other",
			     "try: echo user_allow_other | sudo tee -a /etc/fuse.conf",
			     "allow_other is not permitted for user %u", (unsigned int)geteuid());
	else
		findings_add(&doctor->findings, FINDING_OK, "allow-other", NULL,
			     "no user_allow_other in /etc/fuse.conf: a mount is for user %u alone",
			     (unsigned int)geteuid());
}

/* ---- the kernel -------------------------------------------------------------------------- */

static uint64_t read_number(const char *path)
{
	FILE *stream = fopen(path, "re");
	uint64_t value = 0;

	if (!stream)
		return 0;
	if (fscanf(stream, "%" SCNu64, &value) != 1)
		value = 0;
	fclose(stream);
	return value;
}

/* FUSE requests of more than 128 KiB came with FUSE_MAX_PAGES, in Linux 4.20. */
static void check_kernel(struct doctor *doctor)
{
	struct utsname system = { 0 };
	unsigned int major = 0, minor = 0;
	bool old;

	uname(&system);
	old = sscanf(system.release, "%u.%u", &major, &minor) == 2 && (major < 4 || (major == 4 && minor < 20));
	findings_add(&doctor->findings, old ? FINDING_WARN : FINDING_OK, "kernel", old ? "try: Linux 4.20 or later" : NULL,
		     "Linux %s%s", system.release, old ? ": no FUSE request is larger than 128 KiB" : "");
}

static void check_timeouts(struct doctor *doctor)
{
	uint64_t default_s = read_number("/proc/sys/fs/fuse/default_request_timeout");
	uint64_t max_s = read_number("/proc/sys/fs/fuse/max_request_timeout");
	int64_t limit_ns = process_limit_of(default_s, max_s);
	bool hard = doctor->options.down == DOWN_HARD;
	bool short_ = limit_ns != INT64_MAX && (hard || limit_ns < doctor->options.soft_deadline_ns);

	if (limit_ns == INT64_MAX)
		findings_add(&doctor->findings, FINDING_OK, "timeouts", NULL, "the kernel sets FUSE requests no limit");
	else
		findings_add(&doctor->findings, short_ ? FINDING_WARN : FINDING_OK, "timeouts",
			     short_ ? "try: sysctl -w fs.fuse.max_request_timeout=0 fs.fuse.default_request_timeout=0" :
				      NULL,
			     "fs.fuse.%s=%" PRIu64 ": calls end after %g s%s",
			     default_s ? "default_request_timeout" : "max_request_timeout",
			     default_s ? default_s : max_s, (double)limit_ns / 1e9,
			     hard ? ", also with hard" : "");
}

static void check_fusectl(struct doctor *doctor)
{
	static const char path[] = "/sys/fs/fuse/connections";
	struct statfs fs;

	if (!statfs(path, &fs) && fs.f_type == FUSE_CTL_SUPER_MAGIC)
		findings_add(&doctor->findings, FINDING_OK, "fusectl", NULL, "%s is there", path);
	else
		findings_add(&doctor->findings, FINDING_WARN, "fusectl",
			     "try: mount -t fusectl fusectl /sys/fs/fuse/connections",
			     "%s is not mounted: a mount that hangs in the kernel cannot be aborted", path);
}

void doctor_host(struct doctor *doctor)
{
	check_device(doctor);
	check_mount_right(doctor);
	check_allow_other(doctor);
	check_kernel(doctor);
	check_timeouts(doctor);
	check_fusectl(doctor);
}
