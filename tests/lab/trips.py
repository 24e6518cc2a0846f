# SPDX-License-Identifier: GPL-2.0-or-later
"""How many calls an operation makes of the server, from what passes through a proxy: OPERATIONS is
the table, trips() counts. bench/roundtrips.py prints it, test_roundtrips.py asserts it."""

import contextlib
import fcntl
import os
import shutil
import stat
import subprocess
import time
from collections import Counter, namedtuple
from pathlib import Path

from .procs import run_bounded, wait_for

# proc -> number of calls, and how many of them came one behind the other: what a slow path costs.
Trips = namedtuple("Trips", "calls in_turn")
QUIET = 0.1          # seconds without a call: RELEASE comes behind close(2)
SETTLED = 0.1        # after so long a change of a directory has another time
FILES = 1000         # of ls -l
KIB4 = b"x" * 4096


def trips(proxy, func, *args):
    """Runs func(*args) and returns its Trips."""
    quiet(proxy)
    proxy.clear()
    func(*args)
    quiet(proxy)
    calls = proxy.history()
    return Trips(Counter(call.proc for call in calls), in_turn(calls))


def quiet(proxy):
    """Returns when every call was answered and no more come."""
    def settled():
        calls = proxy.history()
        last = max((call.replied or float("inf") for call in calls), default=0)
        return time.monotonic() - last > QUIET
    wait_for(settled, 30, "an end of the calls")


def in_turn(calls):
    """The longest chain of calls of which each was sent when the one before had been answered."""
    chain, free_at = 0, 0.0
    for call in sorted(calls, key=lambda call: call.replied):
        if call.arrived >= free_at:
            chain, free_at = chain + 1, call.replied
    return chain


def show(calls):
    """{"LOOKUP": 1, "READ": 2} as "LOOKUP, 2 READ"."""
    return ", ".join(name if n == 1 else f"{n} {name}"
                     for name, n in sorted(calls.items(), key=lambda item: item[0])) or "-"


# ---- operations ---------------------------------------------------------------------------------


def make(path, data=b"", flags=os.O_WRONLY | os.O_CREAT, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        if data:
            os.write(fd, data)
    finally:
        os.close(fd)


def slurp(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        while os.read(fd, 1 << 17):
            pass
    finally:
        os.close(fd)


def database(path):
    """What SQLite does for a transaction without a journal: open, lock, write, fsync, unlock."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        for kind in (fcntl.F_RDLCK, fcntl.F_WRLCK):
            fcntl.lockf(fd, fcntl.LOCK_SH if kind == fcntl.F_RDLCK else fcntl.LOCK_EX)
        os.pwrite(fd, KIB4, 0)
        os.fsync(fd)
        fcntl.lockf(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def command(*words):
    """An operation that runs a program; "{}" is the directory."""
    return lambda d: run_bounded([str(word).replace("{}", str(d)) for word in words], 60,
                                 env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})


def nothing(d):
    pass


def some_files(d):
    """What most operations work on."""
    for name in ("f", "g"):
        make(d / name, KIB4)
    make(d / "empty")
    (d / "sub").mkdir()
    (d / "link").symlink_to("f")


def many_files(d):
    for i in range(FILES):
        make(d / f"file{i:04}", b"1")


TREE_DIRS, TREE_FILES = 5, 20  # a directory of 5, with 20 files each


def a_tree(d):
    for i in range(TREE_DIRS):
        (d / f"dir{i}").mkdir()
        for j in range(TREE_FILES):
            make(d / f"dir{i}/file{j}", b"%d" % j)


def a_repository(d):
    """The tree again, in git; as old as its index, which git would look at again otherwise."""
    a_tree(d)
    old = time.time() - 1000
    for path in d.rglob("file*"):
        os.utime(path, (old, old))
    for words in ("init -q", "add .", "-c user.name=x -c user.email=x@y commit -qm x",
                  "status --short"):
        subprocess.run(["git", "-C", str(d), *words.split()], check=True)


def a_copy(d):
    """Of a tree, next to it on the server's disk."""
    a_tree(d)
    copy = Path(f"{d}.copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(d, copy)


def an_archive(d):
    """Of a tree, next to it on the server's disk."""
    a_tree(d)
    subprocess.run(["tar", "cf", f"{d}.tar", "-C", str(d), "."], check=True)
    shutil.rmtree(d)
    d.mkdir()


def look(d):
    """The directory itself is known, and what it lacks is asked for."""
    os.stat(d)


def list_it(d):
    """Twice: a listing of a directory that has changed just now is not believed."""
    for _ in range(2):
        time.sleep(SETTLED)
        os.stat(d)
        list(os.scandir(d))


def twice(func):
    """Run before, with pauses after which what is learned is believed."""
    def run(d):
        for _ in range(3):
            func(d)
            time.sleep(SETTLED)
    return run


# title: as in the README. kernel: calls of the Linux client (6.12, vers=3) as far as we know it, not
# measured, and why; up to 6.9 it sends a LOOKUP before each CREATE. prepare: on the server's disk.
# before: on the mount, not counted. run: counted. Both get the directory; disk is that of the server,
# for commands that read from there.
Operation = namedtuple("Operation", "title kernel why prepare before run")

LS_L = command("ls", "-l", "{}")
FIND, DU = command("find", "{}"), command("du", "-s", "{}")
STATUS = command("git", "-C", "{}", "status", "--short")

OPERATIONS = {
    "stat-cold": Operation("stat, cold", 4, "LOOKUP of directory and file, ACCESS of both directories passed",
                           some_files, nothing, lambda d: os.stat(d / "f")),
    "stat-warm": Operation("stat, warm", 0, "attributes are believed",
                           some_files, lambda d: os.stat(d / "f"), lambda d: os.stat(d / "f")),
    "missing": Operation("stat of a missing name, first", 1, "LOOKUP",
                         some_files, look, lambda d: os.path.exists(d / "none")),
    "missing-again": Operation("stat of a missing name, again", 0, "negative entry",
                               some_files, twice(lambda d: os.path.exists(d / "none")),
                               lambda d: os.path.exists(d / "none")),
    "read-cold": Operation("open, read, close of 4 KiB, cold", 6,
                           "2 LOOKUP, 3 ACCESS, READ",
                           some_files, nothing, lambda d: slurp(d / "f")),
    "read-warm": Operation("open, read, close of 4 KiB, warm", 1, "GETATTR: close-to-open",
                           some_files, twice(lambda d: slurp(d / "f")), lambda d: slurp(d / "f")),
    "create-empty": Operation("create an empty file, close", 1, "CREATE (up to 6.9: LOOKUP)",
                              some_files, look, lambda d: make(d / "new")),
    "create-excl": Operation("the same with O_EXCL", 2,
                             "CREATE exclusive, SETATTR",
                             some_files, look,
                             lambda d: make(d / "new", flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL)),
    "create-4k": Operation("create, write 4 KiB, close", 2, "CREATE, WRITE (FILE_SYNC)",
                           some_files, look, lambda d: make(d / "new", KIB4)),
    "create-1m": Operation("create, write 1 MiB, close", 2, "CREATE, WRITE (FILE_SYNC)",
                           some_files, look, lambda d: make(d / "new", b"x" * (1 << 20))),
    "overwrite": Operation("open O_TRUNC, write 4 KiB, close", 3,
                           "ACCESS at open, SETATTR(size), WRITE (FILE_SYNC)",
                           some_files, lambda d: os.stat(d / "f"),
                           lambda d: make(d / "f", KIB4, os.O_WRONLY | os.O_TRUNC)),
    "rewrite": Operation("open, write 4 KiB at 0, close", 2,
                         "ACCESS at open, WRITE (FILE_SYNC)",
                         some_files, lambda d: os.stat(d / "f"),
                         lambda d: make(d / "f", KIB4, os.O_WRONLY)),
    "append": Operation("open O_APPEND, write 4 KiB, close", 2,
                        "ACCESS at open, WRITE (FILE_SYNC)",
                        some_files, lambda d: os.stat(d / "f"),
                        lambda d: make(d / "f", KIB4, os.O_WRONLY | os.O_APPEND)),
    "database": Operation("open, lock, write, fsync, close (SQLite)", 2,
                          "ACCESS at open, WRITE (FILE_SYNC); nolock",
                          some_files, lambda d: os.stat(d / "f"), lambda d: database(d / "f")),
    "mkdir": Operation("mkdir", 1, "MKDIR", some_files, look,
                       lambda d: os.mkdir(d / "new")),
    "rmdir": Operation("rmdir", 1, "RMDIR", some_files, lambda d: os.stat(d / "sub"),
                       lambda d: os.rmdir(d / "sub")),
    "symlink": Operation("symlink, readlink", 2, "SYMLINK, READLINK", some_files, look,
                         lambda d: (os.symlink("f", d / "new"), os.readlink(d / "new"))),
    "link": Operation("link", 1, "LINK", some_files, lambda d: os.stat(d / "f"),
                      lambda d: os.link(d / "f", d / "new")),
    "unlink": Operation("unlink", 1, "REMOVE", some_files, lambda d: os.stat(d / "f"),
                        lambda d: os.unlink(d / "f")),
    "unlink-open": Operation("unlink of an open file, close", 4,
                             "GETATTR or ACCESS at open, LOOKUP of the hidden name, RENAME, REMOVE",
                             some_files, lambda d: os.stat(d / "f"), lambda d: unlink_open(d / "f")),
    "rename": Operation("rename to a new name", 1, "RENAME", some_files,
                        lambda d: os.stat(d / "f"), lambda d: os.rename(d / "f", d / "new")),
    "rename-over": Operation("rename over another file", 1, "RENAME", some_files,
                             lambda d: [os.stat(d / n) for n in "fg"],
                             lambda d: os.rename(d / "f", d / "g")),
    "chmod": Operation("chmod, stat", 1, "SETATTR", some_files, lambda d: os.stat(d / "f"),
                       lambda d: (os.chmod(d / "f", 0o600), os.stat(d / "f"))),
    "utimes": Operation("utimensat, stat", 1, "SETATTR", some_files, lambda d: os.stat(d / "f"),
                        lambda d: (os.utime(d / "f", (1, 1)), os.stat(d / "f"))),
    "replace": Operation("write beside, fsync, rename over (an editor)", 4,
                         "CREATE exclusive, SETATTR, WRITE (FILE_SYNC), RENAME",
                         some_files, lambda d: os.stat(d / "f"), lambda d: replace(d)),
    "cp": Operation("cp -a of a 4 KiB file", 7,
                    "ACCESS, READ; CREATE exclusive, SETATTR, WRITE; SETATTR of times and of mode",
                    some_files, lambda d: os.stat(d / "f"), command("cp", "-a", "{}/f", "{}/new")),
    "ls-cold": Operation(f"ls -l of {FILES} files, cold", 6,
                         "LOOKUP, 2 ACCESS, READDIRPLUS for each page", many_files, nothing, LS_L),
    "ls-warm": Operation(f"ls -l of {FILES} files, warm", 1, "ACCESS or GETATTR at open",
                         many_files, twice(LS_L), LS_L),
    "find-cold": Operation("find in 6 directories, cold", 20,
                           "LOOKUP, FSSTAT, 7 ACCESS; READDIRPLUS of each, GETATTR at 5 opens",
                           a_tree, nothing, FIND),
    "find-warm": Operation("find in 6 directories, warm", 7, "GETATTR at each open, FSSTAT",
                           a_tree, twice(FIND), FIND),
    "du-cold": Operation("du of 106 names, cold", 20, "as find", a_tree, nothing, DU),
    "du-warm": Operation("du of 106 names, warm", 7, "as find", a_tree, twice(DU), DU),
    "ls-lR-cold": Operation("ls -lR of 106 names, cold", 19, "as find", a_tree, nothing,
                            command("ls", "-lR", "{}")),
    "status-cold": Operation("git status, 100 files, cold", None, "", a_repository, nothing, STATUS),
    "status-warm": Operation("git status, 100 files, warm", None, "", a_repository, twice(STATUS),
                             STATUS),
    "rsync-cold": Operation("rsync of an unchanged tree to it, cold", 113,
                            "LOOKUP of each name, ACCESS of each directory", a_copy, nothing,
                            lambda d: rsync(d)),
    "rsync-warm": Operation("rsync of an unchanged tree to it, warm", 0, "attributes are believed",
                            a_copy, twice(lambda d: rsync(d)), lambda d: rsync(d)),
    "tar": Operation("tar x of 5 directories, 100 files", None,
                     "a file: LOOKUP or exclusive CREATE and SETATTR, WRITE, SETATTR of times",
                     an_archive, look, lambda d: run_bounded(["tar", "xf", f"{ON_DISK(d)}.tar",
                                                              "-C", d])),
    "rm": Operation("rm -rf of 106 names", None, "as ls -lR, and REMOVE or RMDIR of each name",
                    a_tree, nothing, lambda d: run_bounded(["rm", "-rf", *sorted(d.iterdir())])),
    "statfs": Operation("df", 1, "FSSTAT", some_files, look, os.statvfs),
}

# Where the server has the directory: commands that read there cost no calls.
disks = {}


def ON_DISK(d):
    return disks[d]


def rsync(d):
    run_bounded(["rsync", "-a", f"{ON_DISK(d)}.copy/", f"{d}/"])


def unlink_open(path):
    fd = os.open(path, os.O_RDONLY)
    os.unlink(path)
    os.close(fd)


def replace(d):
    fd = os.open(d / "tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(fd, KIB4)
    os.fsync(fd)
    os.close(fd)
    os.rename(d / "tmp", d / "f")


def measure(name, mounted_at, disk, proxy):
    """Runs an operation of the table on a mount that has never seen the directory mounted_at: that is
    disk, which the operation's prepare() has filled."""
    operation = OPERATIONS[name]
    disks[mounted_at] = disk
    operation.before(mounted_at)
    return trips(proxy, operation.run, mounted_at)
