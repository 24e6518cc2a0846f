"""What the calls of POSIX say when they cannot: a table, tried as root and as nobody.

Every row works on the same tree, which must be the same afterwards: a call that fails changes
nothing, on the mount or on the server."""

import errno
import hashlib
import os
import signal
import socket
import stat
import subprocess

import pytest

from lab.procs import as_user, run_bounded, wait_for
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from localdir import remote_only
from support import create, errno_name, errno_of, fails, opened

NOBODY = 65534
USERS = pytest.mark.parametrize("uid", [0, NOBODY], ids=["root", "nobody"])


def open_close(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))


# Calls, and for those that take more than a path what the table may say after it.
CALLS = {
    "open": lambda p, flags="O_RDONLY": open_close(p, numbers(flags)),
    "creat": lambda p: open_close(p, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    "mkdir": os.mkdir, "rmdir": os.rmdir, "unlink": os.unlink, "mkfifo": os.mkfifo,
    "mknod": lambda p: os.mknod(p, stat.S_IFREG | 0o644),
    "mkchr": lambda p: os.mknod(p, stat.S_IFCHR | 0o644, os.makedev(1, 3)),
    "symlink": lambda p, target="x": os.symlink(target, p),
    "rename": lambda p, to="new": os.rename(p, to),
    "rename_to": lambda p: os.rename("file2", p),
    "link": lambda p, to="new": os.link(p, to, follow_symlinks=False),
    "link_to": lambda p: os.link("file2", p),
    "chmod": lambda p, mode="0755": os.chmod(p, int(mode, 8)),
    "chown": lambda p, uid="-1", gid="-1": os.chown(p, int(uid), int(gid)),
    "lchown": lambda p, uid="-1", gid="-1": os.lchown(p, int(uid), int(gid)),
    "truncate": lambda p, size="0": os.truncate(p, int(size)),
    "utimens": lambda p, ns="1": os.utime(p, ns=(int(ns), int(ns))),
    "utimens_now": os.utime,
    "stat": os.stat, "lstat": os.lstat, "readlink": os.readlink, "chdir": os.chdir,
    "opendir": os.listdir, "statvfs": os.statvfs}


def numbers(flags):
    """O_A|O_B as a number."""
    value = 0
    for word in flags.split("|"):
        value |= getattr(os, word)
    return value


# Errors of looking up a path are the same for every call.
EVERY_CALL = """
ENOENT        missing/x
ENOENT        dangling/x
ENOENT        ""
ENOTDIR       file/x
ENOTDIR       link/x
ENOTDIR       fifo/x
ENOTDIR       file/.
ENOTDIR       file/..
ELOOP         loop/x
ELOOP         loop_a/x
ENAMETOOLONG  {256}
ENAMETOOLONG  {256}/x
ENAMETOOLONG  full/{256}
ENAMETOOLONG  {4096}
EACCES        locked/x                  nobody
EACCES        locked/d/x                nobody
"""

# ERRNO[,ERRNO] CALL ARGUMENT... [| root or nobody]
ROWS = """
ENOENT        open missing
ENOENT        open dangling
EEXIST        open file O_CREAT|O_EXCL|O_WRONLY
EEXIST        open full O_CREAT|O_EXCL|O_RDONLY
EEXIST        open link O_CREAT|O_EXCL|O_WRONLY
EEXIST        open dangling O_CREAT|O_EXCL|O_WRONLY
EEXIST        open loop O_CREAT|O_EXCL|O_WRONLY
EEXIST        open fifo O_CREAT|O_EXCL|O_WRONLY
EISDIR        open full O_WRONLY
EISDIR        open full O_RDWR
EISDIR        open full O_CREAT|O_RDONLY
EISDIR        open full O_TRUNC|O_WRONLY
EISDIR        open missing/ O_CREAT|O_WRONLY
ENOTDIR       open file O_DIRECTORY
ENOTDIR       open fifo O_DIRECTORY
ENOTDIR       open link O_DIRECTORY
ENOTDIR       open file/
ENOTDIR       open dirlink O_DIRECTORY|O_NOFOLLOW
ELOOP         open link O_NOFOLLOW
ELOOP         open dangling O_NOFOLLOW|O_WRONLY
ELOOP         open loop
ELOOP         open loop O_CREAT|O_WRONLY
ENXIO         open fifo O_WRONLY|O_NONBLOCK
ENXIO         open socket
EACCES        open theirs                             | nobody
EACCES        open theirs O_WRONLY                    | nobody
EACCES        open readable O_WRONLY                  | nobody
EACCES        open readable O_RDWR                    | nobody
EACCES        open readable O_WRONLY|O_TRUNC          | nobody
EACCES        open readable O_RDONLY|O_TRUNC          | nobody
EACCES        open foreign/new O_CREAT|O_WRONLY       | nobody
EACCES        open locked O_DIRECTORY                 | nobody
EPERM         open readable O_RDONLY|O_NOATIME        | nobody

EISDIR        creat missing/
EISDIR        creat full
EACCES        creat foreign/new                       | nobody

EEXIST        mkdir file
EEXIST        mkdir full
EEXIST        mkdir empty/
EEXIST        mkdir link
EEXIST        mkdir dangling
EEXIST        mkdir loop
EEXIST        mkdir fifo
EEXIST        mkdir .
EEXIST        mkdir ..
EEXIST        mkdir full/..
EEXIST        mkdir file/
EACCES        mkdir foreign/new                       | nobody

ENOENT        rmdir missing
ENOTDIR       rmdir dangling/
ENOTDIR       rmdir file
ENOTDIR       rmdir file/
ENOTDIR       rmdir link
ENOTDIR       rmdir dirlink
ENOTDIR       rmdir dirlink/
ENOTDIR       rmdir dangling
ENOTDIR       rmdir fifo
ENOTEMPTY,EEXIST rmdir full
ENOTEMPTY,EEXIST rmdir full/
ENOTEMPTY,EEXIST rmdir full/sub/..
EINVAL        rmdir empty/.
EINVAL        rmdir .
EACCES        rmdir foreign/d                         | nobody
EPERM,EACCES  rmdir sticky/d                          | nobody

ENOENT        unlink missing
ENOTDIR       unlink file/
ENOTDIR       unlink link/
EISDIR,EPERM  unlink full
EISDIR,EPERM  unlink empty
EISDIR,EPERM  unlink empty/
EISDIR,EPERM  unlink .
EISDIR,EPERM  unlink full/..
ENOTDIR,EISDIR unlink dirlink/
EACCES        unlink foreign/f                        | nobody
EPERM,EACCES  unlink sticky/f                         | nobody

EEXIST        mknod file
EEXIST        mknod full
EEXIST        mknod dangling
EEXIST        mkfifo link
EEXIST        mkfifo loop
EEXIST        mkfifo .
ENOENT        mkfifo missing/
ENOENT        mknod missing/
EACCES        mkfifo foreign/new                      | nobody
EPERM         mkchr new                               | nobody
EEXIST        mkchr file                              | root

EEXIST        symlink file
EEXIST        symlink full
EEXIST        symlink dangling
EEXIST        symlink link
EEXIST        symlink loop
EEXIST        symlink fifo
EEXIST        symlink .
ENOENT        symlink missing/
ENOENT        symlink new ""
ENAMETOOLONG  symlink new {4096}
EACCES        symlink foreign/new                     | nobody

ENOENT        rename missing new
ENOENT        rename missing file
ENOENT        rename file missing/new
ENOENT        rename file ""
ENOTDIR       rename file file2/new
ENOTDIR       rename file new/
ENOTDIR       rename file/ new
ENOTDIR       rename full file
ENOTDIR       rename empty link
ENOTDIR       rename empty dangling
ENOTDIR       rename empty fifo
ENOTDIR       rename dirlink/ new
EISDIR        rename file empty
EISDIR        rename link empty
EISDIR        rename fifo empty
EISDIR,ENOTEMPTY,EEXIST rename file full
ENOTEMPTY,EEXIST rename empty full
ENOTEMPTY,EEXIST rename full full2
ENOTEMPTY,EEXIST rename full/sub full
EINVAL        rename full full/new
EINVAL        rename full full/sub
EINVAL        rename full full/sub/new
EBUSY,EINVAL  rename . new
EBUSY,EINVAL  rename full/. new
EBUSY,EINVAL  rename full/.. new
EBUSY,EINVAL,ENOTEMPTY,EEXIST rename empty .
EBUSY,EINVAL,ENOTEMPTY,EEXIST rename empty full/..
ENAMETOOLONG  rename file {256}
ENAMETOOLONG  rename full {256}
ELOOP         rename file loop/new
EACCES        rename foreign/f new                    | nobody
EACCES        rename file foreign/new                 | nobody
EACCES        rename file foreign/f                   | nobody
EACCES        rename foreign/f foreign/g              | nobody
EACCES        rename their_dir full/new               | nobody
EPERM,EACCES  rename sticky/f new                     | nobody
EPERM,EACCES  rename file sticky/f                    | nobody
EPERM,EACCES  rename sticky/f sticky/g                | nobody
EPERM,EACCES  rename empty sticky/d                   | nobody

ENOENT        link missing new
ENOENT        link file missing/new
ENOENT        link file ""
EEXIST        link file file2
EEXIST        link file full
EEXIST        link file dangling
EEXIST        link file loop
EEXIST        link file file
ENOTDIR       link file/ new
ENOENT        link file new/
EPERM         link full new
EPERM         link . new
ENAMETOOLONG  link file {256}
EACCES        link file foreign/new                   | nobody
EACCES        link locked/x new                       | nobody

ENOENT        chmod missing
ENOENT        chmod dangling
ELOOP         chmod loop
ENOTDIR       chmod file/
EPERM         chmod theirs                            | nobody
EPERM         chmod readable                          | nobody
EPERM         chmod foreign 0777                      | nobody
EPERM         chmod writable 0600                     | nobody

ENOENT        chown missing
ENOENT        chown dangling
ELOOP         chown loop
EPERM         chown file 0 -1                         | nobody
EPERM         chown file 1000 -1                      | nobody
EPERM         chown file -1 0                         | nobody
EPERM         chown file -1 1000                      | nobody
EPERM         chown theirs 65534 65534                | nobody
EPERM         chown writable 65534 -1                 | nobody
EPERM         lchown link 0 -1                        | nobody

ENOENT        truncate missing
ENOENT        truncate dangling
EISDIR        truncate full
EINVAL        truncate fifo
EINVAL        truncate file -1
EFBIG,EINVAL  truncate file 9223372036854775807
ELOOP         truncate loop
ENOTDIR       truncate file/
EACCES        truncate theirs                         | nobody
EACCES        truncate readable                       | nobody

ENOENT        utimens missing
ENOENT        utimens dangling
ELOOP         utimens loop
EPERM         utimens readable                        | nobody
EPERM         utimens writable                        | nobody
EPERM,EACCES  utimens theirs                          | nobody
EACCES        utimens_now readable                    | nobody
EACCES        utimens_now theirs                      | nobody
EACCES        utimens_now foreign                     | nobody

ENOENT        stat missing
ENOENT        stat dangling
ELOOP         stat loop
ENOTDIR       stat file/
ENOTDIR       lstat file/
ENOENT        lstat missing
ENOENT        lstat dangling/
EINVAL        readlink file
EINVAL        readlink full
EINVAL        readlink fifo
ENOENT        readlink missing
EINVAL        readlink dirlink/
ENOTDIR       chdir file
ENOENT        chdir dangling
ELOOP         chdir loop
EACCES        chdir locked                            | nobody
ENOTDIR       opendir file
ENOTDIR       opendir link
ENOENT        opendir missing
EACCES        opendir locked                          | nobody
EACCES        opendir searchable                      | nobody
"""

PLACEHOLDERS = {"{256}": "n" * 256, "{4096}": "./" * 2045 + "full/x", '""': ""}


def rows(table):
    """(errnos, call, arguments, who) of every line."""
    for line in filter(None, table.splitlines()):
        line, _, who = line.partition("|")
        numbers_, call, *arguments = line.split()
        yield [getattr(errno, n) for n in numbers_.split(",")], call, arguments, who.strip()


def all_rows():
    """By call: its own rows, and those that every call has."""
    table = {call: [] for call in CALLS}
    for numbers_, call, arguments, who in rows(ROWS):
        table[call].append((numbers_, arguments, who))
    for line in filter(None, EVERY_CALL.splitlines()):
        number, path, *who = line.split()
        for call in CALLS:
            table[call].append(([getattr(errno, number)], [path], "".join(who)))
    return table


TABLE = all_rows()


def expand(word):
    for placeholder, value in PLACEHOLDERS.items():
        word = value if word == placeholder else word.replace(placeholder, value)
    return word


def tree(directory, uid):
    """The tree of the tests; made by root through the mount, for the user to work in."""
    os.mkdir(directory)
    as_user(own_part, directory, uid=0)
    for base, directories, files in os.walk(directory):
        for name in directories + files + [base]:
            os.lchown(os.path.join(base, name), uid, uid)
    as_user(foreign_part, directory, uid=0)
    os.chown(directory / "sticky/mine", uid, uid)


def own_part(directory):
    os.chdir(directory)
    for name in ("empty", "full", "full/sub", "full2", "full2/sub"):
        os.mkdir(name)
    for name in ("file", "file2", "full/x", "full2/x"):
        create(name, b"content")
    for name, target in (("link", "file"), ("dirlink", "full"), ("dangling", "nowhere"),
                         ("loop", "loop"), ("loop_a", "loop_b"), ("loop_b", "loop_a")):
        os.symlink(target, name)
    os.mkfifo("fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("socket")


def foreign_part(directory):
    """What belongs to root, in the user's directory."""
    os.chdir(directory)
    for name, mode in (("foreign", 0o755), ("locked", 0o700), ("sticky", 0o1777),
                       ("searchable", 0o711), ("their_dir", 0o755)):
        os.mkdir(name)
        os.chmod(name, mode)
    for name in ("foreign/d", "sticky/d", "locked/d"):
        os.mkdir(name)
    for name, mode in (("theirs", 0o600), ("readable", 0o644), ("writable", 0o666),
                       ("foreign/f", 0o644), ("sticky/f", 0o666), ("sticky/mine", 0o644),
                       ("locked/x", 0o666)):
        create(name, b"content")
        os.chmod(name, mode)


def snapshot(directory):
    """All that a failed call might have changed below a directory, but for times of access."""
    def describe(path):
        info = os.lstat(path)
        content = b""
        if stat.S_ISREG(info.st_mode):
            with open(path, "rb") as file:
                content = file.read()
        return (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_nlink,
                info.st_mtime_ns, info.st_ctime_ns, hashlib.sha1(content).hexdigest())
    return {os.path.join(base, name): describe(os.path.join(base, name))
            for base, directories, files in os.walk(directory) for name in directories + files}


@USERS
@pytest.mark.parametrize("call", CALLS)
def test_errors(m, call, uid):
    """Every row of one call; all that are wrong are named."""
    tree(m.path / "t", uid)
    before = snapshot(m.server_path / "t")

    def trial():
        wrong = []
        for errnos, arguments, who in TABLE[call]:
            if who and who != ("nobody" if uid else "root"):
                continue
            os.chdir(m.path / "t")
            got = errno_of(CALLS[call], *map(expand, arguments))
            if got not in errnos:
                wanted = " or ".join(map(errno_name, errnos))
                wrong.append(f"{call} {' '.join(arguments)}: {errno_name(got)}, not {wanted}")
        return wrong
    assert as_user(trial, uid=uid) == []
    assert snapshot(m.server_path / "t") == before


# --- errors that need more than a tree


@USERS
def test_other_file_systems(m, uid):
    """rename and link do not leave the mount (EXDEV), in either direction."""
    outside = m.path.parent / "outside"
    outside.mkdir()
    for directory in (outside, m.path):
        os.chmod(directory, 0o777)

    def trial():
        create(outside / "a")
        create(m.path / "b")
        return [errno_name(errno_of(call, *paths)) for call in (os.rename, os.link)
                for paths in ((outside / "a", m.path / "new"), (m.path / "b", outside / "new"))]
    if os.stat(outside).st_dev == os.stat(m.path).st_dev:
        pytest.skip("not another file system")
    assert as_user(trial, uid=uid) == ["EXDEV"] * 4


@USERS
def test_running_program(m, uid):
    """A running program cannot be written (ETXTBSY), but replaced and removed; nor can a file that
    somebody writes be run."""
    os.mkdir(m.path / "d")
    os.chown(m.path / "d", uid, uid)
    path = m.path / "d/sleep"
    with open("/bin/sleep", "rb") as file:
        as_user(create, path, file.read(), 0o755, uid=uid)
    process = subprocess.Popen([path, "30"], cwd="/")
    try:
        wait_for(lambda: os.readlink(f"/proc/{process.pid}/exe") == str(path), what="exec")
        for call in (lambda: open_close(path, os.O_WRONLY), lambda: open_close(path, os.O_RDWR),
                     lambda: open_close(path, os.O_WRONLY | os.O_TRUNC),
                     lambda: os.truncate(path, 0)):
            with fails(errno.ETXTBSY):
                as_user(call, uid=uid)
        as_user(os.rename, path, m.path / "d/moved", uid=uid)
        as_user(os.unlink, m.path / "d/moved", uid=uid)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with open("/bin/true", "rb") as file:
        as_user(create, m.path / "d/true", file.read(), 0o755, uid=uid)
    with opened(m.path / "d/true", os.O_WRONLY), fails(errno.ETXTBSY):
        run_bounded([m.path / "d/true"])
    run_bounded([m.path / "d/true"])


def test_not_executable(m):
    """Files without execute permission, without a format, or of a missing interpreter."""
    for name, content, mode, number in (
            ("plain", b"#!/bin/sh\n", 0o644, errno.EACCES),
            ("odd", b"\0\1\2\3", 0o755, errno.ENOEXEC),
            ("orphan", b"#!/missing\n", 0o755, errno.ENOENT)):
        create(m.path / name, content, mode)
        with fails(number):
            subprocess.run([m.path / name], check=False)
    os.mkdir(m.path / "d")
    with fails(errno.EACCES):
        subprocess.run([m.path / "d"], check=False)
    create(m.path / "script", b"#!/bin/sh\nexit 7\n", 0o755)
    assert subprocess.run([m.path / "script"], check=False).returncode == 7


@remote_only
def test_busy_mount_point(m):
    """The root of the mount is neither removed nor renamed."""
    for call in (os.rmdir, lambda path: os.rename(path, f"{path}.new")):
        with fails(errno.EBUSY):
            call(m.path)
    with fails(errno.EBUSY, errno.EISDIR):
        os.unlink(m.path)


@remote_only
def test_unnamed_temporary_file(m):
    """O_TMPFILE, which NFSv3 cannot do, is EOPNOTSUPP, so that tempfile does it the old way."""
    for _ in range(2):
        with fails(errno.EOPNOTSUPP):
            os.open(m.path, os.O_TMPFILE | os.O_RDWR)
    assert os.listdir(m.server_path) == []


def test_bad_descriptor_of_a_directory(m):
    """The ...at calls want a directory for their descriptor."""
    create(m.path / "f")
    os.mkdir(m.path / "d")
    with opened(m.path / "f") as fd:
        for call in (lambda: os.stat("x", dir_fd=fd), lambda: os.mkdir("x", dir_fd=fd),
                     lambda: os.unlink("x", dir_fd=fd), lambda: os.open("x", 0, dir_fd=fd)):
            with fails(errno.ENOTDIR):
                call()
    with opened(m.path / "d") as fd:
        os.mkdir("x", dir_fd=fd)
        os.rename("x", "y", src_dir_fd=fd, dst_dir_fd=fd)
        assert os.listdir(fd) == ["y"]


def test_many_symlinks(m):
    """A path of more than forty symbolic links is ELOOP; one of fewer is followed."""
    os.mkdir(m.path / "d")
    for i in range(45):
        os.symlink(f"l{i + 1}" if i < 44 else "d", m.path / f"l{i}")
    with fails(errno.ELOOP):
        os.stat(m.path / "l0")
    assert os.path.samefile(m.path / "l6", m.path / "d")
