"""Files that are removed or replaced while they are open. NFSv3 has no such thing: the client
renames the file to .nfsXXXX and removes it at the last close."""

import errno
import mmap
import os
import signal

import pytest

from lab.procs import as_user, wait_for
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from localdir import LOCAL, remote_only
from support import create, errno_of, fails, in_processes, names_on_disk, opened, pattern, read

RDWR = os.O_RDWR
NOT_EMPTY = errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY


def hidden(m, directory=""):
    """The .nfs files on the server's disk."""
    return [n for n in os.listdir(m.server_path / directory) if n.startswith(".nfs")]


def left(m, directory=""):
    return names_on_disk(m.server_path / directory)


def unlink(m):
    os.unlink(m.path / "f")


def rename_over(m):
    create(m.path / "new", b"the new file")
    os.rename(m.path / "new", m.path / "f")


# Two ways to lose a name; afterwards the server has these names.
WAYS = pytest.mark.parametrize("lose, names", [(unlink, []), (rename_over, ["f"])],
                               ids=["unlink", "rename over"])


@WAYS
def test_read_and_write(m, lose, names):
    """The descriptor goes on working: old data, new data, size, attributes."""
    data = pattern(300_000)
    create(m.path / "f", data)
    with opened(m.path / "f", RDWR) as fd:
        inode = os.fstat(fd).st_ino
        lose(m)
        assert os.pread(fd, 400_000, 0) == data
        os.pwrite(fd, b"more", 500_000)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(fd, 400_000, 200_000) == data[200_000:] + bytes(200_000) + b"more"
        assert (os.fstat(fd).st_size, os.fstat(fd).st_ino) == (500_004, inode)
    assert left(m) == names
    if names:
        assert read(m.path / "f") == b"the new file"


@WAYS
def test_no_links(m, lose, names):
    """fstat says that there is no name any more, before and after other calls."""
    create(m.path / "f", b"data")
    with opened(m.path / "f", RDWR) as fd:
        assert os.fstat(fd).st_nlink == 1
        lose(m)
        assert os.fstat(fd).st_nlink == 0
        os.write(fd, b"x")
        os.fsync(fd)
        assert os.fstat(fd).st_nlink == 0
    assert left(m) == names


@remote_only
@WAYS
def test_hidden_file_while_open(m, lose, names):
    """The server has one .nfs file while the file is open, which is the old file, and none before
    and afterwards."""
    create(m.path / "f", b"data")
    with opened(m.path / "f") as fd:
        assert hidden(m) == []
        lose(m)
        (name,) = hidden(m)
        assert (m.server_path / name).stat().st_ino == os.fstat(fd).st_ino
        assert (m.server_path / name).read_bytes() == b"data"
    assert left(m) == names


@remote_only
def test_no_hidden_file_when_closed(m):
    """A file that is not open is simply removed: .nfs files appear for nothing else."""
    create(m.path / "f", b"data")
    read(m.path / "f")
    wait_for(lambda: removed_plainly(m), what="a removal without a .nfs file")


def removed_plainly(m):
    """Closing is not waited for, so that the daemon may still see the file as open."""
    create(m.path / "g", b"data")
    os.unlink(m.path / "g")
    return not hidden(m)


@WAYS
def test_truncate(m, lose, names):
    """ftruncate down and up."""
    create(m.path / "f", b"x" * 10_000)
    with opened(m.path / "f", RDWR) as fd:
        lose(m)
        for size in (5000, 20_000, 0, 7):
            os.ftruncate(fd, size)
            assert os.fstat(fd).st_size == size
        assert os.pread(fd, 100, 0) == bytes(7)
    assert left(m) == names


@WAYS
def test_attributes(m, lose, names):
    """fchmod, fchown and futimens."""
    create(m.path / "f")
    with opened(m.path / "f", RDWR) as fd:
        lose(m)
        os.fchmod(fd, 0o601)
        os.fchown(fd, 12, 34)
        os.utime(fd, ns=(5, 6))
        info = os.fstat(fd)
        assert (info.st_mode & 0o777, info.st_uid, info.st_gid, info.st_mtime_ns) \
            == (0o601, 12, 34, 6)
    assert left(m) == names


@WAYS
def test_append_afterwards(m, lose, names):
    """O_APPEND goes on appending."""
    create(m.path / "f", b"a")
    with opened(m.path / "f", RDWR | os.O_APPEND) as fd:
        lose(m)
        os.write(fd, b"b")
        os.write(fd, b"c")
        assert os.pread(fd, 10, 0) == b"abc"
    assert left(m) == names


@WAYS
def test_two_descriptors(m, lose, names):
    """The file lives until the last of several opens is closed."""
    create(m.path / "f", b"data")
    with opened(m.path / "f") as last:
        with opened(m.path / "f", RDWR) as fd:
            lose(m)
            os.pwrite(fd, b"DA", 0)
        os.posix_fadvise(last, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.pread(last, 10, 0) == b"DAta"
        assert os.fstat(last).st_nlink == 0
        assert LOCAL or len(hidden(m)) == 1
    assert left(m) == names


@WAYS
def test_inherited_descriptor(m, lose, names):
    """A child's descriptor counts as well."""
    create(m.path / "f", b"data")
    with opened(m.path / "f") as fd:
        def child():
            lose(m)
            os.close(os.dup(fd))
            return os.pread(fd, 10, 0)
        assert as_user(child, uid=0) == b"data"
        assert os.pread(fd, 10, 0) == b"data"
    assert left(m) == names


@WAYS
def test_mapping(m, lose, names):
    """A mapping keeps the file though no descriptor is left; it is read and written."""
    create(m.path / "f", pattern(50_000))
    with opened(m.path / "f", RDWR) as fd:
        area = mmap.mmap(fd, 50_000)
    lose(m)
    area[40_000:40_005] = b"hello"
    area.flush()
    assert area[40_000:40_005] == b"hello"
    assert area[:40_000] == pattern(50_000)[:40_000]
    assert LOCAL or len(hidden(m)) == 1
    area.close()
    assert left(m) == names


def test_created_and_removed(m):
    """The oldest trick of temporary files: create, remove, use; by a user in a sticky place."""
    os.mkdir(m.path / "tmp")
    os.chmod(m.path / "tmp", 0o1777)

    def user():
        with opened(m.path / "tmp/f", RDWR | os.O_CREAT | os.O_EXCL, 0o600) as fd:
            os.unlink(m.path / "tmp/f")
            os.write(fd, b"x" * 100_000)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return os.pread(fd, 10, 99_995), os.fstat(fd).st_nlink
    assert as_user(user) == (b"x" * 5, 0)
    assert left(m, "tmp") == []


def test_name_is_free_again(m):
    """The name can be used for another file at once; both live, and each has its own data."""
    create(m.path / "f", b"first")
    with opened(m.path / "f", RDWR) as first:
        os.unlink(m.path / "f")
        with fails(errno.ENOENT):
            os.stat(m.path / "f")
        create(m.path / "f", b"second")
        with opened(m.path / "f", RDWR) as second:
            os.unlink(m.path / "f")
            os.mkdir(m.path / "f")
            assert (os.read(first, 10), os.read(second, 10)) == (b"first", b"second")
            assert os.fstat(first).st_ino != os.fstat(second).st_ino
            assert LOCAL or len(hidden(m)) == 2
    assert left(m) == ["f"]


def test_sticky_directory(m):
    """Another user's open file in a sticky directory cannot be removed this way either."""
    os.mkdir(m.path / "d")
    os.chmod(m.path / "d", 0o1777)
    create(m.path / "d/f", b"data", 0o644)
    with opened(m.path / "d/f") as fd:
        with fails(errno.EPERM, errno.EACCES):
            as_user(os.unlink, m.path / "d/f")
        assert os.listdir(m.server_path / "d") == ["f"]
        assert os.fstat(fd).st_nlink == 1


def test_opened_by_another_user(m):
    """A user removes an own file that root has open: it is the remover's right that counts, and at
    the end nothing is left."""
    os.mkdir(m.path / "d")
    os.chown(m.path / "d", 1000, 1000)
    as_user(lambda: create(m.path / "d/f", b"data", 0o600))
    with opened(m.path / "d/f") as fd:
        as_user(os.unlink, m.path / "d/f")
        assert os.read(fd, 10) == b"data"
    assert left(m, "d") == []


def test_opened_by_a_stranger(m):
    """The last close may come from a user who could not remove the name: it goes all the same."""
    os.mkdir(m.path / "d")
    os.chmod(m.path / "d", 0o755)
    create(m.path / "d/f", b"data", 0o644)

    def stranger(ask, answer):
        with opened(m.path / "d/f") as fd:
            os.write(answer, b"1")
            os.read(ask, 1)
            return os.pread(fd, 10, 0)

    ask, go = os.pipe()
    ready, answer = os.pipe()
    try:
        def both(i):
            if i == 0:
                return as_user(stranger, ask, answer)
            os.read(ready, 1)
            os.unlink(m.path / "d/f")
            os.write(go, b"1")
            return None
        assert in_processes(2, both)[0] == b"data"
    finally:
        for fd in (ask, go, ready, answer):
            os.close(fd)
    assert left(m, "d") == []


def test_rmdir_of_the_parent(m):
    """A directory with such a file is not empty for the server: rmdir fails as long as the file is
    open, and works afterwards."""
    os.mkdir(m.path / "d")
    create(m.path / "d/f", b"data")
    with opened(m.path / "d/f") as fd:
        os.unlink(m.path / "d/f")
        if not LOCAL:
            with fails(*NOT_EMPTY):
                os.rmdir(m.path / "d")
        assert os.read(fd, 10) == b"data"
    wait_for(lambda: errno_of(os.rmdir, m.path / "d") == 0, what="rmdir")
    assert left(m) == []


def test_parent_is_renamed(m):
    """The directory moves while the file is open: it is still removed at the end."""
    os.mkdir(m.path / "d")
    create(m.path / "d/f", b"data")
    with opened(m.path / "d/f", RDWR) as fd:
        os.unlink(m.path / "d/f")
        os.rename(m.path / "d", m.path / "e")
        os.write(fd, b"DA")
        assert os.pread(fd, 10, 0) == b"DAta"
    assert left(m, "e") == []
    os.rmdir(m.path / "e")


@remote_only
def test_hidden_file_is_removed_by_hand(m):
    """Whoever removes the .nfs file does not harm the open file: it is refused (EBUSY), or the
    data stays."""
    create(m.path / "f", b"data")
    with opened(m.path / "f") as fd:
        os.unlink(m.path / "f")
        (name,) = hidden(m)
        assert errno_of(os.unlink, m.path / name) in (0, errno.EBUSY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        assert os.read(fd, 10) == b"data"
    assert left(m) == []


def test_hard_link_remains(m):
    """A file with another name needs no .nfs file; it keeps the other name, and one link."""
    create(m.path / "f", b"data")
    os.link(m.path / "f", m.path / "g")
    with opened(m.path / "f", RDWR) as fd:
        os.unlink(m.path / "f")
        assert (hidden(m), os.fstat(fd).st_nlink) == ([], 1)
        os.write(fd, b"DA")
    assert left(m) == ["g"]
    assert read(m.path / "g") == b"DAta"


def test_both_hard_links_go(m):
    """Both names are removed while the file is open."""
    create(m.path / "f", b"data")
    os.link(m.path / "f", m.path / "g")
    with opened(m.path / "f", RDWR) as fd:
        os.unlink(m.path / "f")
        os.unlink(m.path / "g")
        assert os.fstat(fd).st_nlink == 0
        assert os.read(fd, 10) == b"data"
    assert left(m) == []


def test_renamed_then_removed(m):
    """The name that counts is the one at the time of removal."""
    os.mkdir(m.path / "d")
    create(m.path / "f", b"data")
    with opened(m.path / "f") as fd:
        os.rename(m.path / "f", m.path / "d/g")
        os.unlink(m.path / "d/g")
        assert os.read(fd, 10) == b"data"
        assert (hidden(m), LOCAL or len(hidden(m, "d"))) == ([], LOCAL or 1)
    assert left(m, "d") == []


def test_rename_over_in_another_directory(m):
    """A file replaced from elsewhere is kept in its own directory."""
    os.mkdir(m.path / "d")
    create(m.path / "d/f", b"old")
    create(m.path / "new", b"new")
    with opened(m.path / "d/f") as fd:
        os.rename(m.path / "new", m.path / "d/f")
        assert os.read(fd, 10) == b"old"
        assert read(m.path / "d/f") == b"new"
    assert left(m, "d") == ["f"]
    assert left(m) == ["d"]


def test_failed_rename_over(m):
    """A rename that is refused leaves the open target under its name."""
    os.mkdir(m.path / "d")
    os.chmod(m.path / "d", 0o755)
    os.chmod(m.path, 0o777)
    create(m.path / "d/f", b"old")
    as_user(create, m.path / "mine", b"mine")
    with opened(m.path / "d/f") as fd:
        with fails(errno.EACCES):
            as_user(os.rename, m.path / "mine", m.path / "d/f")
        with fails(errno.ENOENT):
            os.rename(m.path / "missing", m.path / "d/f")
        with fails(errno.ENOTDIR):
            os.rename(m.path / "d", m.path / "d/f/x")
        assert os.listdir(m.server_path / "d") == ["f"]
        assert (os.fstat(fd).st_nlink, os.read(fd, 10)) == (1, b"old")


def test_other_open_files_are_removed_too(m):
    """A fifo, a symbolic link or an empty directory needs no .nfs file."""
    os.mkfifo(m.path / "p")
    os.symlink("x", m.path / "l")
    os.mkdir(m.path / "d")
    with opened(m.path / "p", RDWR), opened(m.path / "l", os.O_PATH | os.O_NOFOLLOW), \
            opened(m.path / "d"):
        os.unlink(m.path / "l")
        os.rmdir(m.path / "d")
        os.unlink(m.path / "p")
        assert not {"p", "l", "d"} & set(os.listdir(m.server_path))
    assert left(m) == []


def test_many_at_once(m):
    """Fifty open files without names, all different, by several processes; nothing is left."""
    def worker(i):
        fds = []
        for n in range(50):
            path = create(m.path / f"{i}-{n}", b"%d-%d" % (i, n))
            fds.append(os.open(path, RDWR))
            os.unlink(path)
        same = [os.pread(fd, 20, 0) == b"%d-%d" % (i, n) for n, fd in enumerate(fds)]
        for fd in fds:
            os.close(fd)
        return all(same)
    assert in_processes(3, worker) == [True] * 3
    assert left(m) == []


def test_killed_process(m):
    """A process that dies with such a file open leaves nothing behind."""
    readable, writable = os.pipe()
    with open(readable, "rb", 0) as ready:
        pid = os.fork()
        if pid == 0:
            os.open(create(m.path / "f", b"data"), RDWR)
            os.unlink(m.path / "f")
            os.write(writable, b"1")
            while True:
                signal.pause()
        os.close(writable)
        try:
            assert ready.read(1) == b"1"
            assert LOCAL or len(hidden(m)) == 1
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert left(m) == []


@remote_only
def test_unmount_leaves_nothing(m, server):
    """The .nfs file of a file closed just before umount is gone when umount and daemon have
    ended."""
    create(m.path / "f", b"data")
    with opened(m.path / "f"):
        os.unlink(m.path / "f")
    m.umount()
    assert os.listdir(server.rw) == []  # at once


@remote_only
def test_another_client_reads_on(m, mount):
    """Another client of the directory sees the .nfs file like any other; removing the name on this
    client does not take the data from this client's own readers."""
    other = mount(options="actimeo=0")
    create(m.path / "f", b"data")
    with opened(m.path / "f") as fd:
        os.unlink(m.path / "f")
        assert [n for n in os.listdir(other.path) if n.startswith(".nfs")] == hidden(m)
        assert not os.path.exists(other.path / "f")
        assert os.read(fd, 10) == b"data"
    assert left(m) == []


def test_closed_just_before(m):
    """A file that is closed and removed in the same breath: though the daemon may hear of the close
    late, the directory can be removed at once, and nothing is left."""
    def worker(i):
        failed = 0
        for n in range(100):
            directory = m.path / f"{i}-{n}"
            os.mkdir(directory)
            create(directory / "f", b"x")
            read(directory / "f")
            os.unlink(directory / "f")
            failed += errno_of(os.rmdir, directory) != 0
        return failed
    assert in_processes(4, worker) == [0] * 4
    assert left(m) == []
