/* SPDX-License-Identifier: GPL-2.0-or-later */
/* test_mountpoint - the mount table as data, then the checks of real directories. The rows with
 * mounts need root and /dev/fuse and run in a mount namespace of their own; FUSE is mounted by
 * hand, without libfuse, so that the "daemon" is nothing but a descriptor: open is a mount that never
 * answers, closed is one whose daemon died. */
#undef NDEBUG
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../conn/util.h"
#include "../../fuse/log.h"
#include "../../fuse/mountinfo.h"
#include "../../fuse/mountpoint.h"
#include "../../fuse/options.h"

/* ---- the table --------------------------------------------------------------------------- */

static const char mountinfo[] =
	"1 1 0:1 / / rw - rootfs rootfs rw\n"
	"21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
	"30 21 0:20 / /mnt rw - tmpfs tmpfs rw\n"
	"31 30 0:21 / /mnt/a\\040b rw shared:7 master:3 - fuse.fusenfs nas1:/a\\054b rw,user_id=0\n"
	"32 21 0:22 / /hidden/x rw - nfs nas:/x rw\n"
	"33 21 0:23 / /hidden rw - tmpfs none rw\n" /* on top: /hidden/x is below it */
	"34 30 0:24 / /mnt/twice rw - ext4 /dev/one rw\n"
	"35 34 0:25 / /mnt/twice rw - xfs /dev/two rw\n"
	"36 99 0:26 / /orphan rw - xfs /dev/three rw\n"
	"rubbish\n"
	"37 21\n"
	"38 21 x:y / /bad rw - a b rw\n"
	"39 21 0:27 / /nodash rw ext4 /dev/x rw\n"
	"40 21 0:29 / /mnt/a\\040bc rw - proc proc rw\n";

static const struct {
	const char *path, *type, *source; /* type NULL: no mount point */
} lookups[] = {
	{ "/", "ext4", "/dev/sda1" },
	{ "/mnt", "tmpfs", "tmpfs" },
	{ "/mnt/a b", "fuse.fusenfs", "nas1:/a,b" },
	{ "/mnt/a", NULL, NULL },
	{ "/mnt/a b/c", NULL, NULL },
	{ "/mn", NULL, NULL },
	{ "/hidden", "tmpfs", "none" },
	{ "/hidden/x", NULL, NULL },
	{ "/mnt/twice", "xfs", "/dev/two" },
	{ "/orphan", NULL, NULL },
	{ "/bad", NULL, NULL },
	{ "/nodash", NULL, NULL },
	{ "/mnt/a bc", NULL, NULL }, /* attached to what /mnt hides */
};

static void test_table(void)
{
	FILE *stream = fmemopen((void *)(uintptr_t)mountinfo, sizeof(mountinfo) - 1, "r");
	struct mount_table table;

	assert(mount_table_read(&table, stream) == 0);
	fclose(stream);
	assert(table.n == 10);
	for (unsigned int i = 0; i < ARRAY_SIZE(lookups); i++) {
		const struct mount_row *row = mount_table_at(&table, lookups[i].path);

		assert(!row == !lookups[i].type);
		if (!row)
			continue;
		assert(strcmp(row->type, lookups[i].type) == 0);
		assert(strcmp(row->source, lookups[i].source) == 0);
	}
	mount_table_deinit(&table);
}

/* A root that is not in the table (chroot), and parents in a circle. */
static void test_odd_tables(void)
{
	static const char odd[] = "5 4 0:1 / /a rw - tmpfs one rw\n"
				  "6 5 0:2 / /a rw - tmpfs two rw\n";
	static const char circle[] = "1 0 0:1 / / rw - tmpfs r rw\n2 1 0:1 / / rw - tmpfs s rw\n"
				     "3 2 0:1 / / rw - tmpfs t rw\n1 3 0:1 / / rw - tmpfs u rw\n";
	FILE *stream = fmemopen((void *)(uintptr_t)odd, sizeof(odd) - 1, "r");
	struct mount_table table;

	assert(mount_table_read(&table, stream) == 0);
	fclose(stream);
	assert(strcmp(mount_table_at(&table, "/a")->source, "two") == 0);
	assert(!mount_table_at(&table, "/b"));
	mount_table_deinit(&table);
	stream = fmemopen((void *)(uintptr_t)circle, sizeof(circle) - 1, "r");
	assert(mount_table_read(&table, stream) == 0);
	fclose(stream);
	assert(mount_table_at(&table, "/"));
	mount_table_deinit(&table);
}

/* ---- directories ------------------------------------------------------------------------- */

static char dir[] = "/tmp/test_mountpoint.XXXXXX";

static int check(const char *name, const char *list, enum message_id *ret_id, char *ret_path)
{
	char mountpoint_word[512], options_word[128], program[] = "fusenfs", flag[] = "-o",
		source[] = "nas1:/data";
	char *argv[] = { program, source, mountpoint_word, flag, options_word, NULL };
	struct mountpoint mountpoint;
	struct options options;
	struct message message;
	int error;

	snprintf(mountpoint_word, sizeof(mountpoint_word), "%s%s", name[0] == '/' ? "" : dir, name);
	if (name[0] && name[0] != '/')
		snprintf(mountpoint_word, sizeof(mountpoint_word), "%s/%s", dir, name);
	snprintf(options_word, sizeof(options_word), "%s", list);
	assert(options_parse(5, argv, &options, &message) == 0);
	error = mountpoint_check(&options, &mountpoint, &message);
	*ret_id = MSG_NONE;
	if (error) {
		*ret_id = message.id;
		assert(message.action[0] && message.reason[0]);
	} else {
		strcpy(ret_path, mountpoint.path);
		mountpoint_deinit(&mountpoint);
	}
	options_deinit(&options);
	return error;
}

static void expect(const char *name, const char *list, enum message_id id, const char *path)
{
	char got_path[4096] = "", expected[4096];
	enum message_id got;

	check(name, list, &got, got_path);
	if (got != id)
		fprintf(stderr, "%s: [%s] instead of [%s]\n", name, message_id_name(got),
			message_id_name(id));
	assert(got == id);
	if (path) {
		snprintf(expected, sizeof(expected), "%s%s", dir, path);
		assert(strcmp(got_path, expected) == 0);
	}
}

static void make(const char *name, bool directory)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (directory) {
		assert(mkdir(path, 0755) == 0);
		return;
	}
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	assert(fd >= 0);
	close(fd);
}

static void make_link(const char *target, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert(symlink(target, path) == 0);
}

static void test_directories(void)
{
	int fd = open("/dev/null", O_RDWR), fuse = open("/dev/fuse", O_RDWR);
	char name[64];

	expect("empty", "rw", MSG_NONE, "/empty");
	expect("empty///", "rw", MSG_NONE, "/empty");
	expect("full/../empty/.", "rw", MSG_NONE, "/empty");
	expect("link", "rw", MSG_NONE, "/empty");
	expect("full/up", "rw", MSG_NONE, "/empty"); /* a relative link, ../link, to a link */
	expect("none", "rw", MSG_MOUNTPOINT_MISSING, NULL);
	expect("none/none", "rw", MSG_MOUNTPOINT_MISSING, NULL);
	expect("dangling", "rw", MSG_MOUNTPOINT_MISSING, NULL);
	expect("loop", "rw", MSG_MOUNTPOINT_MISSING, NULL);
	expect("file", "rw", MSG_MOUNTPOINT_NOT_DIR, NULL);
	expect("file/x", "rw", MSG_MOUNTPOINT_NOT_DIR, NULL);
	expect("full", "rw", MSG_MOUNTPOINT_NOT_EMPTY, NULL);
	expect("full", "nonempty", MSG_NONE, "/full");
	expect("/", "rw", MSG_MOUNTPOINT_BUSY, NULL);
	expect("/proc", "rw", MSG_MOUNTPOINT_BUSY, NULL);
	expect("/dev/fd/999", "rw", MSG_MOUNTPOINT_MISSING, NULL);
	snprintf(name, sizeof(name), "/dev/fd/%d", fd);
	expect(name, "rw", MSG_MOUNTPOINT_NOT_DIR, NULL);
	if (fuse >= 0) {
		snprintf(name, sizeof(name), "/dev/fd/%d", fuse);
		expect(name, "rw", MSG_NONE, NULL);
		close(fuse);
	}
	close(fd);
}

static void test_relative(void)
{
	char got[4096];
	enum message_id id;
	char old[4096], word[] = "./empty/../empty";
	char program[] = "fusenfs", source[] = "nas1:/data";
	char *argv[] = { program, source, word, NULL };
	struct mountpoint mountpoint;
	struct options options;
	struct message message;

	assert(getcwd(old, sizeof(old)) && chdir(dir) == 0);
	assert(options_parse(3, argv, &options, &message) == 0);
	assert(mountpoint_check(&options, &mountpoint, &message) == 0);
	snprintf(got, sizeof(got), "%s/empty", dir);
	assert(strcmp(mountpoint.path, got) == 0 && mountpoint.fuse_fd == -1);
	mountpoint_deinit(&mountpoint);
	options_deinit(&options);
	assert(chdir(old) == 0);
	check("empty", "rw", &id, got);
}

/* ---- mounts ------------------------------------------------------------------------------ */

static int mount_fuse(const char *name, const char *source, const char *type)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char path[512], data[128];

	if (fd < 0)
		return -1;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=0,group_id=0", fd);
	if (mount(source, path, type, MS_NOSUID | MS_NODEV, data) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool is_mounted(const char *name, struct mount_entry *ret_entry)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert(mountpoint_lookup(path, ret_entry) == 0);
	return ret_entry->type[0];
}

static void unmount(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert(mountpoint_unmount(path) == 0);
}

/* A mount that hangs whoever looks at it is not looked at, and so costs no time. */
static void test_foreign_mount(void)
{
	int fd = mount_fuse("empty", "host:/x", "fuse.sshfs");
	int64_t start_ns = clock_ns();
	struct mount_entry entry;

	assert(fd >= 0 && is_mounted("empty", &entry));
	assert(strcmp(entry.type, "fuse.sshfs") == 0 && strcmp(entry.source, "host:/x") == 0);
	expect("empty", "rw", MSG_MOUNTPOINT_BUSY, NULL);
	expect("link", "overmount", MSG_NONE, "/empty");
	assert(clock_ns() - start_ns < 3 * NS_PER_S);
	unmount("empty");
	close(fd);
}

/* Below a hung one there is no way around it, but for a bounded time. */
static void test_below_hung(void)
{
	int fd = mount_fuse("empty", "host:/x", "fuse.sshfs");
	int64_t start_ns = clock_ns();

	expect("empty/below", "rw", MSG_MOUNTPOINT_TIMEOUT, NULL);
	assert(clock_ns() - start_ns < 20 * NS_PER_S);
	unmount("empty");
	close(fd);
}

static void test_own_mounts(void)
{
	struct mount_entry entry;
	int fd = mount_fuse("empty", "nas1:/data", "fuse.fusenfs");

	expect("empty", "rw", MSG_ALREADY_MOUNTED, NULL); /* hung, but there */
	expect("empty", "overmount", MSG_NONE, "/empty");
	close(fd); /* now its daemon is dead */
	fd = mount_fuse("empty", "nas1:/data", "fuse.fusenfs"); /* a second dead one above */
	close(fd);
	assert(is_mounted("empty", &entry));
	expect("empty", "rw", MSG_NONE, "/empty");
	assert(!is_mounted("empty", &entry));
	fd = mount_fuse("empty", "nas2:/other", "fuse.fusenfs");
	expect("empty", "rw", MSG_MOUNTPOINT_BUSY, NULL);
	unmount("empty");
	close(fd);
	fd = mount_fuse("empty", "host:/x", "fuse.sshfs"); /* dead, but not ours to remove */
	close(fd);
	expect("empty", "rw", MSG_MOUNTPOINT_BUSY, NULL);
	expect("empty/below", "rw", MSG_MOUNTPOINT_MISSING, NULL);
	unmount("empty");
}

/* With a private mount namespace and FUSE in it. */
static bool private_mounts(void)
{
	int fd;

	if (geteuid() != 0 || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		puts("not privileged: mounts not tested");
		return false;
	}
	fd = mount_fuse("empty", "probe", "fuse.fusenfs");
	if (fd < 0) {
		puts("no FUSE: mounts not tested");
		return false;
	}
	unmount("empty");
	close(fd);
	return true;
}

static void test_mounts(void)
{
	test_foreign_mount();
	test_own_mounts();
	test_below_hung();
}

/* ---- as a user --------------------------------------------------------------------------- */

static void become_user(void)
{
	assert(setresgid(4711, 4711, 4711) == 0 && setresuid(4711, 4711, 4711) == 0);
}

static void test_as_user(void)
{
	become_user();
	expect("own", "rw", MSG_NONE, "/own");
	expect("empty", "rw", MSG_MOUNTPOINT_DENIED, NULL);
	expect("sticky", "rw", MSG_MOUNTPOINT_DENIED, NULL);
	expect("secret/x", "rw", MSG_MOUNTPOINT_DENIED, NULL);
}

static void prepare_for_user(void)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/sticky", dir);
	assert(chmod(path, 01777) == 0 && chmod(dir, 0755) == 0);
	snprintf(path, sizeof(path), "%s/own", dir);
	assert(chown(path, 4711, 4711) == 0);
	snprintf(path, sizeof(path), "%s/secret", dir);
	assert(chmod(path, 0700) == 0);
}

/* ---- the device, in a /dev and /etc of our own ------------------------------------------- */

static void expect_fuse(const char *list, enum message_id id)
{
	char options_word[128], program[] = "fusenfs", flag[] = "-o", source[] = "nas1:/data",
		mnt[] = "/mnt";
	char *argv[] = { program, source, mnt, flag, options_word, NULL };
	struct message message = { .id = MSG_NONE };
	struct options options;

	snprintf(options_word, sizeof(options_word), "%s", list);
	assert(options_parse(5, argv, &options, &message) == 0);
	message.id = MSG_NONE;
	mountpoint_check_fuse(&options, &message);
	if (message.id != id)
		message_print(&message, false, stderr);
	assert(message.id == id);
	options_deinit(&options);
}

static void write_file(const char *path, const char *text)
{
	FILE *stream = fopen(path, "w");

	assert(stream && fputs(text, stream) >= 0);
	assert(fclose(stream) == 0);
}

static void test_device(void)
{
	assert(mount("tmpfs", "/dev", "tmpfs", 0, NULL) == 0);
	assert(mount("tmpfs", "/etc", "tmpfs", 0, NULL) == 0);
	expect_fuse("rw", MSG_FUSE_MISSING);
	write_file("/dev/fuse", "");
	expect_fuse("rw", MSG_FUSE_MISSING);
	assert(unlink("/dev/fuse") == 0);
	assert(mknod("/dev/fuse", S_IFCHR | 0666, makedev(10, 229)) == 0);
	assert(chmod("/dev/fuse", 0666) == 0);
	expect_fuse("allow_other", MSG_NONE); /* root needs no fuse.conf */
	become_user();
	expect_fuse("rw", MSG_NONE);
	expect_fuse("allow_other", MSG_ALLOW_OTHER_DENIED); /* no file */
}

/* This host's own may have any mode. */
static void make_device(mode_t mode)
{
	assert(mount("tmpfs", "/dev", "tmpfs", 0, NULL) == 0);
	assert(mknod("/dev/fuse", S_IFCHR, makedev(10, 229)) == 0);
	assert(chmod("/dev/fuse", mode) == 0);
}

static void test_device_as_user(const char *conf, mode_t mode, const char *list, enum message_id id)
{
	make_device(mode);
	assert(mount("tmpfs", "/etc", "tmpfs", 0, NULL) == 0);
	write_file("/etc/fuse.conf", conf);
	become_user();
	expect_fuse(list, id);
}

static void test_no_helper(void)
{
	make_device(0666);
	assert(mount("tmpfs", "/usr/bin", "tmpfs", 0, NULL) == 0);
	assert(setenv("PATH", "/nowhere", 1) == 0);
	become_user();
	expect_fuse("rw", MSG_FUSERMOUNT_MISSING);
}

/* Run it in a child, which may give up its uid and change what it likes of its mounts. */
#define IN_CHILD(statement)                                                        \
	do {                                                                       \
		pid_t child = fork();                                              \
		int status;                                                        \
										   \
		if (child == 0) {                                                  \
			assert(unshare(CLONE_NEWNS) == 0);                         \
			statement;                                                 \
			_exit(0);                                                  \
		}                                                                  \
		assert(waitpid(child, &status, 0) == child && status == 0);        \
	} while (0)

int main(void)
{
	char command[64];

	log_set_level(LEVEL_WARN);
	test_table();
	test_odd_tables();
	assert(mkdtemp(dir));
	make("empty", true);
	make("full", true);
	make("full/x", false);
	make("file", false);
	make("own", true);
	make("sticky", true);
	make("secret", true);
	make_link("empty", "link");
	make_link("../link", "full/up");
	make_link("nowhere", "dangling");
	make_link("loop", "loop");
	test_directories();
	test_relative();
	if (private_mounts()) {
		test_mounts();
		prepare_for_user();
		IN_CHILD(test_as_user());
		IN_CHILD(test_device());
		IN_CHILD(test_device_as_user("user_allow_other\n", 0600, "rw", MSG_FUSE_DENIED));
		IN_CHILD(test_device_as_user("# x\n  user_allow_other \n", 0666, "allow_other",
					     MSG_NONE));
		IN_CHILD(test_device_as_user("# user_allow_other\nmount_max = 9\n", 0666,
					     "allow_other", MSG_ALLOW_OTHER_DENIED));
		IN_CHILD(test_no_helper());
	}
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}
