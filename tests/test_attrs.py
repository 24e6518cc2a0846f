"""Attributes and permissions: modes, owners, times, who may do what. Permissions are tried as users
that share nothing with the daemon but the mount (allow_other)."""

import errno
import os
import stat
import time
from pathlib import Path

import pytest

from lab.procs import as_user, run_bounded
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from localdir import LOCAL, remote_only
from support import (AT_SYMLINK_NOFOLLOW, MIB, PAST, UTIME_NOW, UTIME_OMIT, create, errno_name,
                     errno_of, fails, opened, read, tick, utimensat)

SECOND = 10**9
OWNER, GROUP, MEMBER, STRANGER = 1000, 2000, 1001, 1002  # MEMBER: GROUP is one of its groups


def both(m, name=""):
    """stat of a name, by the mount and on the server's disk."""
    return os.lstat(m.path / name), os.lstat(m.server_path / name)


def mode_of(m, name):
    """The permission bits, which mount and server must agree about."""
    mine, its = both(m, name)
    assert mine.st_mode == its.st_mode
    return stat.S_IMODE(mine.st_mode)


# --- what stat says


@pytest.mark.parametrize("nconnect", [1, 8])
def test_stat_is_the_servers(mount, server, nconnect):
    """Every attribute of every kind of file, and of the root, is what the server's disk says."""
    os.mkdir(server.rw / "dir", 0o751)
    create(server.rw / "file", b"x" * 12345, 0o604)
    os.chown(server.rw / "file", 1234, 5678)
    os.symlink("dir", server.rw / "link")
    os.mkfifo(server.rw / "fifo", 0o622)
    m = mount(nconnect)
    fields = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks",
              "st_mtime_ns", "st_ctime_ns", "st_rdev")
    for name in ("dir", "file", "link", "fifo", ""):
        mine, its = both(m, name)
        assert [(f, getattr(mine, f)) for f in fields] == [(f, getattr(its, f)) for f in fields]


def test_one_device(m):
    """All of a mount is one device, and another than its parent's: find -xdev, cp -x, df."""
    os.mkdir(m.path / "d")
    create(m.path / "d/f")
    assert len({os.stat(m.path / name).st_dev for name in ("", "d", "d/f")}) == 1
    if not LOCAL:
        assert os.stat(m.path).st_dev != os.stat(m.path.parent).st_dev


def test_blocks(m):
    """st_blocks counts what is stored: about the size, and nothing for a hole."""
    create(m.path / "full", b"x" * MIB)
    create(m.path / "hole")
    os.truncate(m.path / "hole", 100 * MIB)
    assert MIB <= os.stat(m.path / "full").st_blocks * 512 <= 2 * MIB
    assert os.stat(m.path / "hole").st_blocks == 0
    assert os.stat(m.path / "full").st_blksize >= 4096


def test_statvfs(m):
    """df shows the server's disk."""
    mine, its = os.statvfs(m.path), os.statvfs(m.server_path)
    for field in ("f_blocks", "f_bfree", "f_bavail"):
        got, wanted = (getattr(info, field) * info.f_frsize for info in (mine, its))
        assert abs(got - wanted) <= its.f_blocks * its.f_frsize / 20, field
    assert mine.f_bavail <= mine.f_bfree <= mine.f_blocks
    assert abs(mine.f_files - its.f_files) <= its.f_files / 20
    assert mine.f_bsize > 0 and mine.f_namemax >= 255
    run_bounded(["df", m.path])
    run_bounded(["df", "-i", m.path])


@remote_only
def test_no_extended_attributes(m):
    """NFSv3 has none: EOPNOTSUPP, every time; cp -a and ls -l do not mind."""
    create(m.path / "f")
    for _ in range(2):
        for name in ("user.x", "trusted.x"):
            with fails(errno.EOPNOTSUPP):
                os.setxattr(m.path / "f", name, b"x")
        for name in ("user.x", "trusted.x", "security.capability", "system.posix_acl_access"):
            with fails(errno.EOPNOTSUPP, errno.ENODATA):
                os.getxattr(m.path / "f", name)
            with fails(errno.EOPNOTSUPP, errno.ENODATA):
                os.removexattr(m.path / "f", name)
    try:
        assert os.listxattr(m.path / "f") == []
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP
    assert run_bounded(["cp", "-a", m.path / "f", m.path / "g"]).stdout == ""
    assert "?" not in run_bounded(["ls", "-l", m.path]).stdout


# --- chmod and chown


def test_chmod(m):
    """All twelve bits, by path, by descriptor, on files and directories."""
    create(m.path / "f")
    os.mkdir(m.path / "d")
    with opened(m.path / "f") as fd:
        for mode in (0, 0o777, 0o644, 0o1777, 0o2755, 0o4711, 0o7777):
            os.chmod(m.path / "f", mode)
            os.chmod(m.path / "d", mode)
            assert (mode_of(m, "f"), mode_of(m, "d")) == (mode, mode)
            os.chmod(m.path / "f", 0o600)
            os.fchmod(fd, mode)
            assert stat.S_IMODE(os.fstat(fd).st_mode) == mode_of(m, "f") == mode


def test_chmod_follows_symlinks(m):
    """chmod of a symbolic link changes its target."""
    create(m.path / "f", mode=0o600)
    os.symlink("f", m.path / "link")
    os.chmod(m.path / "link", 0o640)
    assert mode_of(m, "f") == 0o640


def test_chown(m):
    """root gives files away; -1 leaves an owner alone; lchown is about the link itself."""
    create(m.path / "f")
    os.symlink("f", m.path / "link")
    for uid, gid in ((1, 2), (-1, 3), (4, -1), (-1, -1), (2**31 + 1, 2**32 - 3)):
        before = os.stat(m.path / "f")
        os.chown(m.path / "f", uid, gid)
        wanted = (before.st_uid if uid == -1 else uid, before.st_gid if gid == -1 else gid)
        for info in both(m, "f"):
            assert (info.st_uid, info.st_gid) == wanted
    os.lchown(m.path / "link", 5, 6)
    for info in both(m, "link"):
        assert (info.st_uid, info.st_gid) == (5, 6)
    assert os.stat(m.path / "f").st_gid == 2**32 - 3


def test_new_files_belong_to_the_caller(m):
    """Files of every kind get the caller's uid and gid, through one mount."""
    os.chmod(m.path, 0o777)
    for uid, gid in ((0, 0), (1000, 1000), (65534, 100)):
        def make(uid=uid):
            create(m.path / f"file{uid}")
            os.mkdir(m.path / f"dir{uid}")
            os.symlink("x", m.path / f"link{uid}")
            os.mkfifo(m.path / f"fifo{uid}")
        as_user(make, uid=uid, gid=gid)
        for kind in ("file", "dir", "link", "fifo"):
            for info in both(m, f"{kind}{uid}"):
                assert (info.st_uid, info.st_gid) == (uid, gid)


def test_umask(m):
    """The umask takes bits from new files and directories, once."""
    def make():
        os.umask(0o027)
        os.close(os.open(m.path / "f", os.O_CREAT | os.O_WRONLY, 0o777))
        os.mkdir(m.path / "d", 0o777)
        os.mkfifo(m.path / "p", 0o777)
        os.umask(0)
        os.close(os.open(m.path / "g", os.O_CREAT | os.O_WRONLY, 0o777))
    as_user(make, uid=0)
    assert [mode_of(m, name) for name in "fdpg"] == [0o750, 0o750, 0o750, 0o777]


def test_setgid_directory(m):
    """In a set-group-id directory new files get its group, and new directories the bit as well."""
    os.mkdir(m.path / "d")
    os.chown(m.path / "d", OWNER, GROUP)
    os.chmod(m.path / "d", 0o2775)

    def make():
        create(m.path / "d/f")
        os.mkdir(m.path / "d/e")
    as_user(make, uid=MEMBER, groups=[GROUP])
    assert [info.st_gid for info in both(m, "d/f")] == [GROUP] * 2
    assert [info.st_gid for info in both(m, "d/e")] == [GROUP] * 2
    assert mode_of(m, "d/e") & stat.S_ISGID


def owned(m, mode=0o644, name="f"):
    """A file of OWNER:GROUP; made through the mount by root."""
    create(m.path / name, b"content")
    os.chown(m.path / name, OWNER, GROUP)
    os.chmod(m.path / name, mode)
    return m.path / name


def test_chmod_by_others(m):
    """Only the owner and root change a mode, whatever it permits."""
    path = owned(m, 0o666)
    as_user(os.chmod, path, 0o640, uid=OWNER)
    for uid, groups in ((STRANGER, []), (MEMBER, [GROUP])):
        with fails(errno.EPERM):
            as_user(os.chmod, path, 0o777, uid=uid, groups=groups)
    assert mode_of(m, "f") == 0o640


def test_chown_by_users(m):
    """A user cannot give a file away, but may give it to another of its own groups."""
    path = owned(m)
    for uid, gid in ((STRANGER, -1), (0, -1), (-1, 3000), (-1, 0)):
        with fails(errno.EPERM):
            as_user(os.chown, path, uid, gid, uid=OWNER, groups=[2500])
    with fails(errno.EPERM):
        as_user(os.chown, path, -1, 2500, uid=STRANGER, groups=[2500])
    as_user(os.chown, path, -1, 2500, uid=OWNER, groups=[2500])
    as_user(os.chown, path, OWNER, 2500, uid=OWNER, groups=[2500])
    assert [(info.st_uid, info.st_gid) for info in both(m, "f")] == [(OWNER, 2500)] * 2


def test_setgid_needs_membership(m):
    """chmod g+s on a file of a group one is not in drops the bit silently."""
    path = owned(m)
    as_user(os.chmod, path, 0o2755, uid=OWNER)
    assert mode_of(m, "f") == 0o755
    as_user(os.chmod, path, 0o2755, uid=OWNER, groups=[GROUP])
    assert mode_of(m, "f") == 0o2755


# --- set-user-id and set-group-id bits


def overwrite(path):
    with opened(path, os.O_WRONLY) as fd:
        os.write(fd, b"!")
        os.fsync(fd)


def append(path):
    with opened(path, os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"!" * 10000)


@pytest.mark.parametrize("change", [
    overwrite, append, lambda path: os.truncate(path, 1), lambda path: os.truncate(path, 99),
    lambda path: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))],
    ids=["write", "append", "truncate down", "truncate up", "O_TRUNC"])
def test_owner_changes_a_setuid_file(m, change):
    """Even its owner takes the bits from a set-user-id program by changing its content; the rest of
    the mode stays. (For truncation NFS-Ganesha leaves that to the client.)"""
    path = owned(m, 0o6777)
    as_user(change, path, uid=OWNER)
    assert mode_of(m, "f") == 0o777


@pytest.mark.parametrize("change", [overwrite, append], ids=["write", "append"])
def test_stranger_changes_a_setuid_file(m, change):
    """So does anybody who may write it. That this user may not chmod it is no reason to fail."""
    path = owned(m, 0o6777)
    as_user(change, path, uid=STRANGER)
    assert mode_of(m, "f") == 0o777


@pytest.mark.parametrize("size", [1, 99])
def test_stranger_truncates_a_setuid_file(m, size):
    """Truncating another's set-user-id file works; the bits are the server's business, since the
    user's credentials do not suffice."""
    path = owned(m, 0o6777)
    as_user(os.truncate, path, size, uid=STRANGER)
    assert mode_of(m, "f") in (0o777, 0o6777)
    assert os.stat(m.server_path / "f").st_size == size


def test_root_keeps_setuid(m):
    """root's writes keep the bits: package managers depend on it."""
    path = owned(m, 0o6755)
    overwrite(path)
    assert mode_of(m, "f") == 0o6755


@pytest.mark.parametrize("uid, gid, by, groups", [
    (1, 1, 0, []), (-1, 1, 0, []), (-1, 2500, OWNER, [2500])])
def test_chown_of_a_setuid_file(m, uid, gid, by, groups):
    """A new owner or group takes the bits away, root's doing or not; not from a directory."""
    path = owned(m, 0o6755)
    as_user(os.chown, path, uid, gid, uid=by, groups=groups)
    assert mode_of(m, "f") == 0o755
    os.mkdir(m.path / "d")
    os.chmod(m.path / "d", 0o2755)
    os.chown(m.path / "d", 1, 1)
    assert mode_of(m, "d") == 0o2755


def test_setgid_without_group_execute(m):
    """Set-group-id without group-execute is no privilege; root's chown leaves the rest alone."""
    path = owned(m, 0o2644)
    assert mode_of(m, "f") == 0o2644
    os.chown(path, 1, -1)
    assert mode_of(m, "f") & 0o777 == 0o644


@remote_only
def test_setuid_programs_do_not_elevate(m):
    """The default is nosuid: the server's set-user-id programs run as the caller."""
    for line in open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape"):
        if line.split()[4] == str(m.path):
            assert {"nosuid", "nodev"} <= set(line.split()[5].split(","))
            break
    else:
        pytest.fail("not in mountinfo")


# --- the sticky bit


@pytest.mark.parametrize("remove", [
    os.unlink, lambda path: os.rename(path, f"{path}.new"),
    lambda path: (Path(f"{path}.mine").touch(), os.rename(f"{path}.mine", path))],
    ids=["unlink", "rename", "replace"])
def test_sticky_directory(m, remove):
    """In a sticky directory a file's name belongs to the owners of file and directory, and root."""
    os.mkdir(m.path / "d")
    os.chmod(m.path / "d", 0o1777)
    for name in ("theirs", "own", "roots"):
        create(m.path / "d" / name)
    os.chown(m.path / "d/own", OWNER, OWNER)
    os.chown(m.path / "d/theirs", STRANGER, STRANGER)
    with fails(errno.EPERM, errno.EACCES):
        as_user(remove, m.path / "d/theirs", uid=OWNER)
    with fails(errno.EPERM, errno.EACCES):
        as_user(remove, m.path / "d/roots", uid=OWNER)
    as_user(remove, m.path / "d/own", uid=OWNER)
    remove(m.path / "d/theirs")
    os.chown(m.path / "d", OWNER, OWNER)
    as_user(remove, m.path / "d/roots", uid=OWNER)


def test_sticky_subdirectory(m):
    """The same for directories in it: rmdir and rename."""
    os.mkdir(m.path / "d")
    os.chmod(m.path / "d", 0o1777)
    os.mkdir(m.path / "d/theirs", 0o777)
    for call in (os.rmdir, lambda path: os.rename(path, f"{path}.new")):
        with fails(errno.EPERM, errno.EACCES):
            as_user(call, m.path / "d/theirs")
    assert os.listdir(m.server_path / "d") == ["theirs"]


# --- times


def test_times(m):
    """Times of NFSv3 are unsigned 32-bit seconds and nanoseconds; all come back exactly. (That
    NFS-Ganesha's FSINFO speaks of a time_delta of 100 ns means nothing.)"""
    create(m.path / "f")
    for ns in (0, 1, 999_999_999, SECOND, PAST + 123_456_789, (2**31 - 1) * SECOND,
               2**31 * SECOND + 5, (2**32 - 1) * SECOND):
        os.utime(m.path / "f", ns=(ns, ns))
        for info in both(m, "f"):
            assert (info.st_atime_ns, info.st_mtime_ns) == (ns, ns)


def test_times_differ(m):
    """atime and mtime are not mixed up; by descriptor too."""
    create(m.path / "f")
    with opened(m.path / "f") as fd:
        os.utime(fd, ns=(PAST + 1, PAST + 2))
    for info in both(m, "f"):
        assert (info.st_atime_ns, info.st_mtime_ns) == (PAST + 1, PAST + 2)


@remote_only
def test_times_outside_the_protocol(m):
    """What the protocol cannot say becomes the nearest it can, as with the kernel's client: before
    1970 is 1970, not 2106."""
    create(m.path / "f")
    for seconds, kept in ((-1, 0), (-(2**31), 0), (2**32, 2**32 - 1), (2**33 + 7, 2**32 - 1)):
        utimensat(m.path / "f", (seconds, 5), (seconds, 5))
        for info in both(m, "f"):
            assert (info.st_atime_ns // SECOND, info.st_mtime_ns // SECOND) == (kept, kept)


def test_utime_omit(m):
    """UTIME_OMIT leaves a time alone; twice, it is no change at all."""
    create(m.path / "f")
    os.utime(m.path / "f", ns=(PAST, PAST))
    utimensat(m.path / "f", (0, UTIME_OMIT), (5, 6))
    assert [(i.st_atime_ns, i.st_mtime_ns) for i in both(m, "f")] == [(PAST, 5 * SECOND + 6)] * 2
    utimensat(m.path / "f", (7, 8), (0, UTIME_OMIT))
    before = os.stat(m.path / "f")
    tick()
    utimensat(m.path / "f", (0, UTIME_OMIT), (0, UTIME_OMIT))
    for info in both(m, "f"):
        assert (info.st_atime_ns, info.st_mtime_ns) == (7 * SECOND + 8, 5 * SECOND + 6)
        assert info.st_ctime_ns == before.st_ctime_ns


def test_utime_now(m):
    """UTIME_NOW is the server's clock, separately for each time."""
    create(m.path / "f")
    for which in (0, 1):
        os.utime(m.path / "f", ns=(PAST, PAST))
        times = [(0, UTIME_OMIT), (0, UTIME_OMIT)]
        times[which] = (0, UTIME_NOW)
        start = time.time_ns()
        utimensat(m.path / "f", *times)
        end = time.time_ns()
        for info in both(m, "f"):
            now = [info.st_atime_ns, info.st_mtime_ns]
            assert now[1 - which] == PAST
            assert start - SECOND <= now[which] <= end + SECOND


def test_utime_by_users(m):
    """Explicit times are for the owner; 'now' also for those who may write."""
    path = owned(m, 0o664)
    now = ((0, UTIME_NOW),) * 2
    as_user(utimensat, path, (1, 1), (1, 1), uid=OWNER)
    as_user(utimensat, path, *now, uid=MEMBER, groups=[GROUP])
    with fails(errno.EPERM):
        as_user(utimensat, path, (1, 1), (1, 1), uid=MEMBER, groups=[GROUP])
    with fails(errno.EPERM):
        as_user(utimensat, path, (1, 1), (0, UTIME_NOW), uid=MEMBER, groups=[GROUP])
    with fails(errno.EACCES):
        as_user(utimensat, path, *now, uid=STRANGER)


def test_times_of_a_symlink(m):
    """utimensat without following says what the server says, and leaves the target alone."""
    create(m.path / "f")
    os.utime(m.path / "f", ns=(PAST, PAST))
    os.symlink("f", m.path / "link")
    with_luck = errno_of(utimensat, m.path / "link", (5, 0), (6, 0), AT_SYMLINK_NOFOLLOW)
    assert with_luck in (0, errno.EOPNOTSUPP, errno.ENOSYS)
    mine, its = both(m, "link")
    assert mine.st_mtime_ns == its.st_mtime_ns
    assert os.stat(m.path / "f").st_mtime_ns == PAST


def changes(m, name, call, *args):
    """Calls, and says which of mtime and ctime of a name have moved; for the mount and the server
    the same."""
    os.utime(m.path / name, ns=(PAST, PAST))
    before = os.lstat(m.path / name)
    tick()
    call(*args)
    mine, its = both(m, name)
    assert (mine.st_mtime_ns, mine.st_ctime_ns) == (its.st_mtime_ns, its.st_ctime_ns)
    moved = {"m"} if mine.st_mtime_ns > before.st_mtime_ns else set()
    return moved | ({"c"} if mine.st_ctime_ns > before.st_ctime_ns else set())


@pytest.mark.parametrize("call, moved", [
    (lambda d: os.chmod(d / "f", 0o600), "c"),
    (lambda d: os.chown(d / "f", 1, 1), "c"),
    (lambda d: os.link(d / "f", d / "new"), "c"),
    (lambda d: os.unlink(d / "hard"), "c"),
    (lambda d: os.utime(d / "f", ns=(PAST, PAST)), "c"),
    (lambda d: os.truncate(d / "f", 0), "mc"),
    (lambda d: os.truncate(d / "f", 100), "mc"),
    (lambda d: overwrite(d / "f"), "mc"),
    (lambda d: append(d / "f"), "mc"),
    (lambda d: os.close(os.open(d / "f", os.O_WRONLY | os.O_TRUNC)), "mc"),
    (lambda d: read(d / "f"), ""),
    (lambda d: os.close(os.open(d / "f", os.O_RDWR)), ""),
    (lambda d: os.stat(d / "f"), "")],
    ids="chmod chown link unlink utime truncate extend write append O_TRUNC read open stat".split())
def test_times_move(m, call, moved):
    """Data moves mtime and ctime, attributes and links ctime, looking nothing."""
    create(m.path / "f", b"some content")
    os.link(m.path / "f", m.path / "hard")
    assert changes(m, "f", call, m.path) == set(moved)


@pytest.mark.parametrize("call", [
    lambda d: create(d / "new"), lambda d: os.mkdir(d / "new"), lambda d: os.mkfifo(d / "new"),
    lambda d: os.symlink("x", d / "new"), lambda d: os.link(d / "f", d / "new"),
    lambda d: os.unlink(d / "f"), lambda d: os.rmdir(d / "e"),
    lambda d: os.rename(d / "f", d / "new"), lambda d: os.rename(d / "f", d.parent / "new"),
    lambda d: os.rename(d.parent / "outside", d / "new")],
    ids="create mkdir mknod symlink link unlink rmdir rename away into".split())
def test_times_of_a_directory_move(m, call):
    """A new, removed or renamed name moves the directory's times, and the mount knows at once."""
    os.mkdir(m.path / "d")
    os.mkdir(m.path / "d/e")
    create(m.path / "d/f")
    create(m.path / "outside")
    assert changes(m, "d", call, m.path / "d") == set("mc")


def test_times_of_a_directory_stay(m):
    """Looking into a directory, or changing a file in it, is no change of the directory."""
    os.mkdir(m.path / "d")
    create(m.path / "d/f")
    for call in (lambda: os.listdir(m.path / "d"), lambda: os.stat(m.path / "d/f"),
                 lambda: overwrite(m.path / "d/f"), lambda: os.chmod(m.path / "d/f", 0o600)):
        assert changes(m, "d", call) == set()


def test_mtime_survives_close(m):
    """cp -p: times set after the last write are not overwritten by data that is flushed later."""
    with opened(m.path / "f", os.O_WRONLY | os.O_CREAT) as fd:
        os.write(fd, b"x" * 3 * MIB)
        os.utime(fd, ns=(PAST, PAST))
    assert [info.st_mtime_ns for info in both(m, "f")] == [PAST] * 2


# --- the permission matrix


WHO = {"owner": (OWNER, [], 6), "group": (MEMBER, [GROUP], 3), "primary group": (GROUP, [], 3),
       "other": (STRANGER, [3000], 0)}
NEEDS = {  # permission bits that an operation needs on the file or the directory
    "file": {"read": 4, "write": 2, "read and write": 6, "truncate": 2, "O_TRUNC": 2, "execute": 1,
             "access r": 4, "access w": 2, "access x": 1, "access rwx": 7, "stat": 0},
    "dir": {"list": 4, "look up": 1, "create": 3, "mkdir": 3, "unlink": 3, "rename": 3, "link": 3,
            "symlink": 3, "chdir": 1, "list and look up": 5, "access r": 4, "access w": 2,
            "access x": 1, "access wx": 3}}


def do(operation, path):
    """One operation of the matrix; undone if it succeeds."""
    word, _, letters = operation.partition(" ")
    if word == "access":
        bits = sum({"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}[letter] for letter in letters)
        if not os.access(path, bits):
            raise PermissionError(errno.EACCES, operation)
    elif operation == "execute":
        os.close(os.open(path, os.O_PATH))
        if os.spawnv(os.P_WAIT, path, ["true"]):
            raise PermissionError(errno.EACCES, operation)
    else:
        {"read": lambda: os.close(os.open(path, os.O_RDONLY)),
         "write": lambda: os.close(os.open(path, os.O_WRONLY)),
         "read and write": lambda: os.close(os.open(path, os.O_RDWR)),
         "truncate": lambda: os.truncate(path, os.stat(path).st_size),
         "O_TRUNC": lambda: os.close(os.open(path, os.O_WRONLY | os.O_TRUNC)),
         "stat": lambda: os.stat(path),
         "list": lambda: os.listdir(path),
         "look up": lambda: os.stat(path / "f"),
         "create": lambda: os.unlink(create(path / "new")),
         "mkdir": lambda: (os.mkdir(path / "new"), os.rmdir(path / "new")),
         "unlink": lambda: (os.unlink(path / "f"), create(path / "f")),
         "rename": lambda: (os.rename(path / "f", path / "g"), os.rename(path / "g", path / "f")),
         "link": lambda: (os.link(path / "mine", path / "new"), os.unlink(path / "new")),
         "symlink": lambda: (os.symlink("x", path / "new"), os.unlink(path / "new")),
         "chdir": lambda: (os.chdir(path), os.chdir("/")),
         "list and look up": lambda: [e.stat() for e in os.scandir(path)]}[operation]()


@pytest.mark.parametrize("kind", NEEDS)
@pytest.mark.parametrize("who", WHO)
def test_permission_matrix(m, who, kind):
    """One class of users has the bits under test, the other two classes the opposite ones: every
    operation is permitted exactly when the bits of the caller's own class say so."""
    uid, groups, shift = WHO[who]
    with open("/bin/true", "rb") as file:
        program = file.read()
    for bits in range(8):
        path = m.path / f"{bits}"
        if kind == "file":
            create(path, program)
        else:
            os.mkdir(path)
            for name in ("f", "mine"):
                create(path / name)
                os.chown(path / name, uid, GROUP)
        others = 0o777 & ~(7 << shift)
        os.chown(path, OWNER, GROUP)
        os.chmod(path, (bits << shift) | (0 if bits == 7 else others))

    def trial():
        wrong = []
        for bits in range(8):
            for operation, needed in NEEDS[kind].items():
                if operation == "O_TRUNC" and bits & 1:
                    continue  # would take away what "execute" tries
                got = errno_of(do, operation, m.path / f"{bits}")
                wanted = 0 if bits & needed == needed else errno.EACCES
                if got != wanted:
                    wrong.append(f"{bits:03b} {operation}: {errno_name(got)}")
        return wrong
    assert as_user(trial, uid=uid, groups=groups) == []


def test_search_permission_of_a_parent(m):
    """Files below a directory one may not search are out of reach, also when someone else has just
    used them and the kernel knows their names."""
    os.makedirs(m.path / "d/e")
    create(m.path / "d/e/f", b"x", 0o666)
    os.chown(m.path / "d", OWNER, OWNER)
    os.chmod(m.path / "d", 0o700)
    for _ in range(2):
        assert as_user(read, m.path / "d/e/f", uid=OWNER) == b"x"
        for call in (read, os.stat, os.unlink, lambda path: os.truncate(path, 0)):
            with fails(errno.EACCES):
                as_user(call, m.path / "d/e/f", uid=STRANGER)


def test_supplementary_groups(m):
    """Any of a user's groups counts; they may be different in the next process of that user."""
    create(m.path / "f", b"x")
    os.chown(m.path / "f", 0, GROUP)
    os.chmod(m.path / "f", 0o640)
    for groups, number in (([GROUP], 0), ([], errno.EACCES), ([1, 2, 3, GROUP, 4], 0),
                           ([2001, 1999], errno.EACCES), ([GROUP], 0)):
        assert as_user(errno_of, read, m.path / "f", uid=STRANGER, groups=groups) == number


def test_sixteen_groups(m):
    """AUTH_SYS carries sixteen groups, and all of them count."""
    groups = list(range(3000, 3016))
    for gid in groups:
        create(m.path / f"{gid}", b"x")
        os.chown(m.path / f"{gid}", 0, gid)
        os.chmod(m.path / f"{gid}", 0o040)
    read_all = as_user(lambda: [read(m.path / f"{gid}") for gid in groups], groups=groups)
    assert read_all == [b"x"] * 16


def test_more_than_sixteen_groups(m):
    """Users with more groups than fit work with what their uid, gid and first groups permit."""
    os.mkdir(m.path / "home")
    os.chown(m.path / "home", OWNER, OWNER)
    groups = list(range(3000, 3100))
    as_user(lambda: create(m.path / "home/f", b"x"), uid=OWNER, groups=groups)
    assert as_user(lambda: read(m.path / "home/f"), uid=OWNER, groups=groups) == b"x"


def test_permission_is_of_the_caller(m):
    """Root having read a file, or having it open, opens it to nobody."""
    create(m.path / "f", b"secret", 0o600)
    with opened(m.path / "f") as fd:
        assert os.read(fd, 100) == b"secret"
        with fails(errno.EACCES):
            as_user(read, m.path / "f")


def test_chmod_takes_effect_at_once(m):
    """A permission that this mount gives or takes is seen by the next call of any user."""
    create(m.path / "f", b"x", 0o600)
    for _ in range(5):
        with fails(errno.EACCES):
            as_user(read, m.path / "f")
        os.chmod(m.path / "f", 0o604)
        assert as_user(read, m.path / "f") == b"x"
        os.chmod(m.path / "f", 0o600)


def test_access_of_root(m):
    """access(2): root may read and write all, but execute only what somebody may; a missing name is
    ENOENT."""
    create(m.path / "f", mode=0)
    assert os.access(m.path / "f", os.R_OK | os.W_OK)
    assert not os.access(m.path / "f", os.X_OK)
    os.chmod(m.path / "f", 0o010)
    assert os.access(m.path / "f", os.X_OK)
    assert not os.access(m.path / "missing", os.F_OK)


def test_access_uses_the_real_uid(m):
    """access(2) asks for the real user, as set-user-id programs rely on."""
    create(m.path / "f", b"x", 0o600)

    def ask():
        os.setresuid(1000, 0, 0)
        return os.access(m.path / "f", os.R_OK), errno_of(read, m.path / "f")
    assert as_user(ask, uid=0) == (False, 0)


def test_effective_ids_count(m):
    """A process that changes its effective user is that user from the next call on."""
    create(m.path / "f", b"x", 0o600)

    def switch():
        numbers = []
        for uid in (1000, 0, 1000, 0):
            os.seteuid(uid)
            numbers.append(errno_of(read, m.path / "f"))
        return numbers
    assert as_user(switch, uid=0) == [errno.EACCES, 0, errno.EACCES, 0]


def test_home_directory(m):
    """A user works in a private directory: nobody else looks in, root does."""
    os.mkdir(m.path / "home", 0o700)
    os.chown(m.path / "home", OWNER, OWNER)

    def work():
        os.makedirs(m.path / "home/a/b", 0o700)
        create(m.path / "home/a/b/f", b"mine", 0o600)
        os.rename(m.path / "home/a/b", m.path / "home/b")
        os.rmdir(m.path / "home/a")
    as_user(work, uid=OWNER)
    with fails(errno.EACCES):
        as_user(os.listdir, m.path / "home", uid=STRANGER)
    assert read(m.path / "home/b/f") == b"mine"


# --- root squash and read-only


@pytest.fixture(params=[1, 8], ids=["nconnect=1", "nconnect=8"])
def squashed(request, mount, server):
    """A mount of the export where root is nobody (65534)."""
    if LOCAL:
        pytest.skip("needs an export with root squashed")
    server.squash.chmod(0o777)
    return mount(nconnect=request.param, export=server.squash)


def test_squashed_root_owns_nothing(squashed):
    """What root makes belongs to nobody; it cannot give it away."""
    create(squashed.path / "f")
    os.mkdir(squashed.path / "d")
    for name in "fd":
        for info in both(squashed, name):
            assert (info.st_uid, info.st_gid) == (65534, 65534)
    with fails(errno.EPERM):
        os.chown(squashed.path / "f", 1000, -1)


def test_squashed_root_reads_nothing_private(squashed):
    """root cannot read others' 0600 files, nor write, remove or change them."""
    create(squashed.server_path / "f", b"secret", 0o600)
    os.mkdir(squashed.server_path / "d", 0o755)
    create(squashed.server_path / "d/f")
    for call in (read, lambda path: os.close(os.open(path, os.O_WRONLY)),
                 lambda path: os.truncate(path, 0)):
        with fails(errno.EACCES):
            call(squashed.path / "f")
    for call in (lambda: os.chmod(squashed.path / "f", 0o777),
                 lambda: os.unlink(squashed.path / "d/f"), lambda: create(squashed.path / "d/g")):
        with fails(errno.EACCES, errno.EPERM):
            call()
    assert (squashed.server_path / "f").read_bytes() == b"secret"


def test_squashed_root_enters_no_private_directory(squashed):
    """Nor does it see what is in another's 0700 directory."""
    os.mkdir(squashed.server_path / "d", 0o700)
    create(squashed.server_path / "d/f", b"secret", 0o644)
    with fails(errno.EACCES):
        os.listdir(squashed.path / "d")
    with fails(errno.EACCES):
        os.stat(squashed.path / "d/f")
    with fails(errno.EACCES):
        read(squashed.path / "d/f")


def test_users_of_a_squashed_export(squashed):
    """Other users are who they are."""
    as_user(lambda: create(squashed.path / "f", b"mine", 0o600), uid=OWNER)
    assert as_user(read, squashed.path / "f", uid=OWNER) == b"mine"
    assert os.stat(squashed.server_path / "f").st_uid == OWNER
    with fails(errno.EACCES):
        as_user(read, squashed.path / "f", uid=STRANGER)


CHANGES = {
    "create": lambda d: create(d / "new"), "mkdir": lambda d: os.mkdir(d / "new"),
    "mknod": lambda d: os.mkfifo(d / "new"), "symlink": lambda d: os.symlink("x", d / "new"),
    "link": lambda d: os.link(d / "f", d / "new"), "unlink": lambda d: os.unlink(d / "f"),
    "rmdir": lambda d: os.rmdir(d / "e"), "rename": lambda d: os.rename(d / "f", d / "new"),
    "chmod": lambda d: os.chmod(d / "f", 0o600), "chown": lambda d: os.chown(d / "f", 1, 1),
    "truncate": lambda d: os.truncate(d / "f", 1), "utime": lambda d: os.utime(d / "f"),
    "open for writing": lambda d: os.close(os.open(d / "f", os.O_WRONLY)),
    "O_TRUNC": lambda d: os.close(os.open(d / "f", os.O_WRONLY | os.O_TRUNC))}


@remote_only
@pytest.mark.parametrize("nconnect", [1, 8])
@pytest.mark.parametrize("which", ["export", "option"])
def test_read_only(mount, server, which, nconnect):
    """On a read-only export, and with -o ro, nothing can be changed; reading works."""
    root = server.ro if which == "export" else server.rw
    os.mkdir(root / "d")
    os.mkdir(root / "d/e")
    create(root / "d/f", b"content")
    root.joinpath("d").chmod(0o777)
    m = mount(nconnect, export=root, options="" if which == "export" else "ro")
    assert read(m.path / "d/f") == b"content"
    got = {name: errno_of(call, m.path / "d") for name, call in CHANGES.items()}
    for name in ("open for writing", "O_TRUNC"):
        if which == "export" and got[name] == errno.EACCES:
            got[name] = errno.EROFS  # what ACCESS says, and the kernel's client with it
    assert {name: errno_name(number) for name, number in got.items()} == dict.fromkeys(got, "EROFS")
    assert (sorted(os.listdir(root / "d")), (root / "d/f").read_bytes()) == (["e", "f"], b"content")
    assert os.stat(m.path / "d/f").st_size == 7


@remote_only
def test_read_only_flag(mount):
    """With -o ro the mount says so itself."""
    assert os.statvfs(mount(options="ro").path).f_flag & os.ST_RDONLY
