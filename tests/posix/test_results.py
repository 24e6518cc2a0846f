"""What the calls of POSIX do when they can: every kind of file with every call, as root and as
nobody. Tables of facts; a row that is wrong is named."""

import errno
import os
import stat

import pytest

from lab.procs import as_user
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from support import PAST, create, errno_name, names_on_disk, tick

NOBODY = 65534
USERS = pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "nobody"])
NOT_EMPTY = errno.ENOTEMPTY, errno.EEXIST


def full(path):
    os.mkdir(path)
    create(path / "x")


# How to make each kind of file.
KINDS = {"file": lambda p: create(p, b"content"), "empty": os.mkdir, "full": full,
         "symlink": lambda p: os.symlink("target", p), "fifo": os.mkfifo,
         "socket": lambda p: os.mknod(p, stat.S_IFSOCK | 0o755),
         "device": lambda p: os.mknod(p, stat.S_IFCHR | 0o644, os.makedev(1, 3))}
DIRECTORIES = {"empty", "full"}


def workplace(m, uid):
    os.mkdir(m.path / "w")
    os.chown(m.path / "w", uid, uid)
    return m.path / "w"


def make(kind, path, uid):
    """A file of this kind that belongs to the user; only root makes devices."""
    KINDS[kind](path)
    os.lchown(path, uid, uid)
    if kind == "full":
        os.chown(path / "x", uid, uid)


def identity(path):
    info = os.lstat(path)
    return info.st_ino, info.st_mode, info.st_uid, info.st_gid, info.st_rdev


def in_table(m, uid, rows, act, check, prepare=lambda here, *row: None):
    """For each row, in a directory of its own: prepare() as root, act() as the user, check() as
    root with what act() returned, or the number of its OSError. Lists what check() says."""
    place = workplace(m, uid)
    directories = [place / f"{number}" for number in range(len(rows))]
    for here, row in zip(directories, rows):
        os.mkdir(here)
        os.chown(here, uid, uid)
        prepare(here, *row)

    def user():
        return [result_of(act, here, *row) for here, row in zip(directories, rows)]
    results = as_user(user, uid=uid, timeout=60)
    complaints = [(row, check(here, result, *row))
                  for here, row, result in zip(directories, rows, results)]
    return [f"{' '.join(row)}: {complaint}" for row, complaint in complaints if complaint]


def result_of(act, *args):
    try:
        return act(*args) or 0
    except OSError as error:
        return error.errno


def expected_rename(old, new):
    """POSIX in a few lines: a directory replaces an empty directory only, another file anything but
    a directory."""
    if new == "missing":
        return [0]
    if old in DIRECTORIES:
        return [0] if new == "empty" else NOT_EMPTY if new == "full" else [errno.ENOTDIR]
    return [0] if new not in DIRECTORIES else \
        [errno.EISDIR] if new == "empty" else [errno.EISDIR, *NOT_EMPTY]


@USERS
@pytest.mark.parametrize("across", ["", "other"], ids=["within", "across"])
def test_rename_matrix(m, uid, across):
    """Every kind of file renamed over every other, within a directory and into another."""
    inodes = {}

    def prepare(here, old, new):
        if across:
            os.mkdir(here / across)
            os.chown(here / across, uid, uid)
        make(old, here / "old", uid)
        if new != "missing":
            make(new, here / across / "new", uid)
        inodes[old, new] = identity(here / "old")

    def check(here, number, old, new):
        if number not in expected_rename(old, new):
            return errno_name(number)
        where = here / "old" if number else here / across / "new"
        if identity(where) != inodes[old, new] or not number and os.path.lexists(here / "old"):
            return "the wrong file is there"
        return None
    rows = [(old, new) for old in KINDS for new in [*KINDS, "missing"]]
    assert in_table(m, uid, rows, prepare=prepare, check=check,
                    act=lambda here, *_: os.rename(here / "old", here / across / "new")) == []


@USERS
def test_remove_matrix(m, uid):
    """unlink removes everything but directories, rmdir empty directories only."""
    def check(here, number, call, kind):
        if call == "unlink":
            wanted = [errno.EISDIR, errno.EPERM] if kind in DIRECTORIES else [0]
        else:
            wanted = {"empty": [0], "full": NOT_EMPTY}.get(kind, [errno.ENOTDIR])
        if number not in wanted:
            return errno_name(number)
        return "still there" if os.path.lexists(here / "f") == (number == 0) else None
    rows = [(call, kind) for call in ("unlink", "rmdir") for kind in KINDS]
    assert in_table(m, uid, rows, check=check,
                    prepare=lambda here, _, kind: make(kind, here / "f", uid),
                    act=lambda here, call, _: getattr(os, call)(here / "f")) == []


@USERS
def test_link_matrix(m, uid):
    """Everything but a directory can have a second name."""
    def check(here, number, kind):
        if kind in DIRECTORIES:
            return None if number == errno.EPERM else errno_name(number)
        if number:
            # Where fs.protected_hardlinks is set, users link regular files only.
            return None if uid and kind != "file" and number == errno.EPERM else errno_name(number)
        same = identity(here / "f") == identity(here / "g") and os.lstat(here / "f").st_nlink == 2
        return None if same else "not the same file"

    def act(here, _):
        os.link(here / "f", here / "g", follow_symlinks=False)
    assert in_table(m, uid, [(kind,) for kind in KINDS], act=act, check=check,
                    prepare=lambda here, kind: make(kind, here / "f", uid)) == []


@USERS
def test_create_results(m, uid):
    """Whatever is made has the mode asked for less the umask, the caller's uid and gid, size 0, one
    link (two for a directory) and times of now; its directory is newer than before."""
    makers = {"file": lambda p, mode: os.close(os.open(p, os.O_CREAT | os.O_WRONLY, mode)),
              "excl": lambda p, mode: os.close(os.open(p, os.O_CREAT | os.O_EXCL, mode)),
              "dir": os.mkdir, "fifo": os.mkfifo,
              "node": lambda p, mode: os.mknod(p, mode | stat.S_IFREG)}

    def act(here, kind, mode, mask):
        os.utime(here, ns=(PAST, PAST))
        before = os.stat(here).st_ctime_ns
        tick()
        os.umask(int(mask, 8))
        makers[kind](here / "f", int(mode, 8))
        return before

    def check(here, before, kind, mode, mask):
        info, parent, wrong = os.stat(here / "f"), os.stat(here), []
        if stat.S_IMODE(info.st_mode) != int(mode, 8) & ~int(mask, 8):
            wrong.append(oct(info.st_mode))
        if (info.st_uid, info.st_gid) != (uid, uid):
            wrong.append("owner")
        if info.st_nlink != (2 if kind == "dir" else 1) or kind != "dir" and info.st_size:
            wrong.append("links or size")
        if min(info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns) <= before:
            wrong.append("times")
        if parent.st_mtime_ns == PAST or parent.st_ctime_ns <= before:
            wrong.append("times of the directory")
        return ", ".join(wrong)
    rows = [(kind, mode, mask) for kind in makers
            for mode, mask in (("0755", "000"), ("0151", "077"), ("0345", "070"), ("0644", "022"),
                               ("0501", "345"), ("0777", "777"), ("0", "022"))]
    assert in_table(m, uid, rows, act=act, check=check) == []


@USERS
def test_chmod_matrix(m, uid):
    """An owner sets any permission bits on any kind of file but a symbolic link; ctime moves, mtime
    does not."""
    before = {}

    def prepare(here, kind, mode):
        make(kind, here / "f", uid)
        before[kind, mode] = os.lstat(here / "f")

    def check(here, number, kind, mode):
        old, new = before[kind, mode], os.lstat(here / "f")
        if number or stat.S_IMODE(new.st_mode) != int(mode, 8):
            return errno_name(number) if number else oct(new.st_mode)
        if new.st_ctime_ns <= old.st_ctime_ns or new.st_mtime_ns != old.st_mtime_ns:
            return "times"
        return None
    rows = [(kind, mode) for kind in KINDS if kind != "symlink"
            for mode in ("0000", "0111", "0777", "0640")]
    rows += [(kind, mode) for kind in ("file", "empty")
             for mode in ("4711", "2750", "1777", "7777")]
    assert in_table(m, uid, rows, prepare=prepare, check=check,
                    act=lambda here, _, mode: (tick(), os.chmod(here / "f", int(mode, 8)))[1]) == []


def test_chown_matrix(m):
    """root gives any kind of file, links themselves too, to anybody."""
    def check(here, number, _, uid, gid):
        info = os.lstat(here / "f")
        return None if (number, info.st_uid, info.st_gid) == (0, int(uid), int(gid)) else str(info)
    rows = [(kind, uid, gid) for kind in KINDS for uid, gid in (("1", "2"), ("65534", "65534"))]
    assert in_table(m, 0, rows, check=check,
                    prepare=lambda here, kind, *_: make(kind, here / "f", 0),
                    act=lambda here, _, uid, gid: os.lchown(here / "f", int(uid), int(gid))) == []


@USERS
def test_utimens_matrix(m, uid):
    """An owner sets times of any kind of file, to the nanosecond."""
    def check(here, number, _):
        info = os.stat(here / "f")
        got = number, info.st_atime_ns, info.st_mtime_ns
        return None if got == (0, PAST + 1, PAST + 2) else str(got)
    rows = [(kind,) for kind in KINDS if kind != "symlink"]
    assert in_table(m, uid, rows, check=check,
                    prepare=lambda here, kind: make(kind, here / "f", uid),
                    act=lambda here, _: os.utime(here / "f", ns=(PAST + 1, PAST + 2))) == []


@USERS
def test_trailing_slashes(m, uid):
    """A name with a slash at its end is a directory."""
    place = workplace(m, uid)

    def trial():
        os.chdir(place)
        os.mkdir("a/")
        os.rename("a/", "b/")
        os.rename("b", "c/")
        os.symlink("c", "link")
        os.mkdir("link/d/")
        os.rmdir("link/d/")
        same = os.path.samestat(os.lstat("link/"), os.lstat("c"))
        os.rmdir("c/")
        return same
    assert as_user(trial, uid=uid)
    assert names_on_disk(m.server_path / "w") == ["link"]


@USERS
def test_truncate_matrix(m, uid):
    """truncate and ftruncate to every length around pages and powers of two."""
    place = workplace(m, uid)
    sizes = [0, 1, 511, 512, 4095, 4096, 4097, 65535, 65537, 2**31 - 1, 2**31, 2**32, 2**32 + 1,
             2**40]

    def trial():
        wrong = []
        create(place / "f", b"x")
        for size in [*sizes, *reversed(sizes)]:
            os.truncate(place / "f", size)
            if os.stat(place / "f").st_size != size:
                wrong.append(size)
        return wrong
    assert as_user(trial, uid=uid) == []
