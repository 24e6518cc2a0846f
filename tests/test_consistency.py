"""Two clients of one export. The promise is close-to-open: who opens a file after another client
has closed it sees what that client wrote. Attributes and names may lag by the cache times, no
more."""

import errno
import mmap
import os
import time

import pytest

from lab.procs import as_user, wait_for
from lab.proxy import Hold, Proxy
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from localdir import remote_only
from support import (MIB, create, fails, in_processes, names_on_disk, opened, pattern, read, same,
                     tick, write_all)

WRONLY, RDWR = os.O_WRONLY, os.O_RDWR
LONG = "acregmin=600,acregmax=600,acdirmin=600,acdirmax=600"


@pytest.fixture(params=[(1, 8), (8, 1)], ids=["1 and 8", "8 and 1"])
def two(request, mount):
    """Two mounts of one export with default options and different numbers of connections."""
    return [mount(nconnect=n) for n in request.param]


def rewrite(path, data):
    """Opens an existing file, replaces its content in place, closes."""
    with opened(path, WRONLY | os.O_TRUNC) as fd:
        write_all(fd, data)


# --- close-to-open, default options


def test_write_then_read(two):
    """A hundred times one client writes and closes, the other opens and reads, in turn: the content
    is the new one, whatever its length was before."""
    create(two[0].path / "f")
    for i in range(100):
        writer, reader = two[i % 2], two[1 - i % 2]
        data = pattern([100, 5000, 4096, 70_000, 0, 1][i % 6], i)
        rewrite(writer.path / "f", data)
        same(read(reader.path / "f"), data, f"round {i}")


def test_same_size(two):
    """The same when only bytes change: neither size nor inode give it away."""
    a, b = two
    create(a.path / "f", b"." * 9000)
    for i in range(50):
        with opened(a.path / "f", WRONLY) as fd:
            os.pwrite(fd, b"%03d" % i * 3000, 0)
        assert read(b.path / "f") == b"%03d" % i * 3000


def test_one_byte_in_the_middle(two):
    """One byte of a large file that the other client has in its cache."""
    a, b = two
    data = bytearray(pattern(2 * MIB))
    create(a.path / "f", data)
    for i in range(10):
        same(read(b.path / "f"), data)
        with opened(a.path / "f", WRONLY) as fd:
            os.pwrite(fd, bytes([i]), 123_457 * (i + 1))
        data[123_457 * (i + 1)] = i
    same(read(b.path / "f"), data)


def test_append(two):
    """A file that grows: the reader gets the new bytes, not zeros up to the end of a page."""
    a, b = two
    create(a.path / "f")
    wanted = b""
    for i in range(50):
        with opened(a.path / "f", WRONLY | os.O_APPEND) as fd:
            os.write(fd, b"%099d\n" % i)
        wanted += b"%099d\n" % i
        assert read(b.path / "f") == wanted
        with opened(b.path / "f") as fd:
            assert os.fstat(fd).st_size == len(wanted)
            assert os.lseek(fd, 0, os.SEEK_END) == len(wanted)


def test_truncate(two):
    """A file that shrinks, and grows again by truncate: zeros, not what was cached."""
    a, b = two
    create(a.path / "f", b"x" * 20_000)
    for size in (10_000, 4097, 100, 0):
        assert len(read(b.path / "f")) > size
        os.truncate(a.path / "f", size)
        assert read(b.path / "f") == b"x" * size
        os.truncate(a.path / "f", 20_000)
        assert read(b.path / "f") == b"x" * size + bytes(20_000 - size)


def test_replaced(two):
    """A file replaced by rename, as editors save."""
    a, b = two
    create(a.path / "f", b"first")
    for i in range(30):
        assert read(b.path / "f") == (b"%d" % (i - 1) * 500 if i else b"first")
        create(a.path / "tmp", b"%d" % i * 500)
        os.rename(a.path / "tmp", a.path / "f")


def test_removed_and_made_again(two):
    """A file that is removed and created under the same name."""
    a, b = two
    create(a.path / "f", b"0" * 300)
    for i in range(1, 30):
        assert read(b.path / "f") == b"%d" % (i - 1) * 300
        os.unlink(a.path / "f")
        create(a.path / "f", b"%d" % i * 300)


def test_fsync_is_enough(two):
    """What one client has fsynced the other sees when it opens, though the writer goes on."""
    a, b = two
    with opened(a.path / "f", WRONLY | os.O_CREAT) as fd:
        for i in range(20):
            os.write(fd, b"%d" % (i % 10) * 5000)
            os.fsync(fd)
            assert len(read(b.path / "f")) == 5000 * (i + 1)


def test_open_refreshes_older_descriptors(two):
    """A new open also shows the new content to those of this client who have the file open."""
    a, b = two
    create(a.path / "f", b"old" * 1000)
    with opened(b.path / "f") as old:
        assert os.pread(old, 6, 0) == b"oldold"
        rewrite(a.path / "f", b"newer" * 1000)
        with opened(b.path / "f") as new:
            assert os.pread(new, 6, 0) == b"newern"
        assert os.pread(old, 6, 0) == b"newern"
        assert os.fstat(old).st_size == 5000


def test_mapping(two):
    """A file that is mapped after the open has the new content as well."""
    a, b = two
    create(a.path / "f", b"." * 8192)
    for i in range(20):
        with opened(a.path / "f", WRONLY) as fd:
            os.pwrite(fd, b"%08d" % i, 4090)
        with opened(b.path / "f") as fd, mmap.mmap(fd, 8192, access=mmap.ACCESS_READ) as area:
            assert area[4090:4098] == b"%08d" % i


def test_written_through_a_mapping(two):
    """Stores in a mapping are seen after msync and close."""
    a, b = two
    create(a.path / "f", b"." * 8192)
    for i in range(20):
        with opened(a.path / "f", RDWR) as fd, mmap.mmap(fd, 8192) as area:
            area[4090:4098] = b"%08d" % i
            area.flush()
        assert read(b.path / "f")[4090:4098] == b"%08d" % i


def test_attributes_at_open(two):
    """fstat after open has size, mtime and mode of now."""
    a, b = two
    create(a.path / "f", b"x")
    for i in range(20):
        with opened(b.path / "f") as fd:
            os.fstat(fd)
        rewrite(a.path / "f", b"y" * i)
        os.chmod(a.path / "f", 0o600 + i % 8)
        with opened(b.path / "f") as fd:
            info, its = os.fstat(fd), os.stat(b.server_path / "f")
            assert (info.st_size, info.st_mtime_ns, info.st_mode) \
                == (its.st_size, its.st_mtime_ns, its.st_mode)


def test_permission_is_taken(two):
    """A user whom the other client has shut out is refused at the next open, cached mode or not."""
    a, b = two
    create(a.path / "f", b"x")
    assert as_user(read, b.path / "f") == b"x"
    os.chmod(a.path / "f", 0o600)
    with fails(errno.EACCES):
        as_user(read, b.path / "f")


def test_permission_is_given(mount):
    """And one who was let in may open it, after the cache time at the latest."""
    a, b = mount(), mount(options="actimeo=1")
    create(a.path / "f", b"x", 0o600)
    with fails(errno.EACCES):
        as_user(read, b.path / "f")
    os.chmod(a.path / "f", 0o644)

    def may_read():
        try:
            return as_user(read, b.path / "f") == b"x"
        except PermissionError:
            return False
    wait_for(may_read, what="the new mode")


def test_appending_in_turn(two):
    """Two clients append to a log in turn, open and close each time: nothing is overwritten."""
    create(two[0].path / "log")
    for i in range(60):
        with opened(two[i % 2].path / "log", WRONLY | os.O_APPEND) as fd:
            os.write(fd, b"%07d\n" % i)
    assert read(two[0].path / "log") == b"".join(b"%07d\n" % i for i in range(60))


def test_writing_different_parts(two):
    """Two clients write different bytes of the same pages at the same time: each write carries its
    own bytes only, so all are there."""
    piece, pieces = 1000, 200
    data = pattern(2 * piece * pieces)
    create(two[0].path / "f", bytes(len(data)))

    def writer(i):
        with opened(two[i].path / "f", WRONLY) as fd:
            for n in range(i, 2 * pieces, 2):
                os.pwrite(fd, data[n * piece:(n + 1) * piece], n * piece)
    in_processes(2, writer)
    same((two[0].server_path / "f").read_bytes(), data)
    same(read(two[0].path / "f"), data)
    same(read(two[1].path / "f"), data)


def test_counter_under_a_lock_file(two):
    """The classic: a counter in a file, guarded by a lock file made with O_EXCL, incremented by
    processes on both clients. None is lost."""
    create(two[0].path / "counter", b"0")

    def increment(directory):
        lock, deadline = directory / "lock", time.monotonic() + 30
        while True:
            try:
                create(lock)
                break
            except FileExistsError:
                assert time.monotonic() < deadline
                time.sleep(0.001)
        value = int(read(directory / "counter")) + 1
        rewrite(directory / "counter", b"%d" % value)
        os.unlink(lock)

    in_processes(4, lambda i: [increment(two[i % 2].path) for _ in range(25)])
    assert read(two[1].path / "counter") == b"100"


def test_messages_in_files(two):
    """Two processes play ping-pong by files that they create and rename into place: each finds the
    other's complete."""
    def player(i):
        for n in range(20):
            if n % 2 == i:
                create(two[i].path / f"tmp{i}", b"%d" % n * 2000)
                os.rename(two[i].path / f"tmp{i}", two[i].path / f"message{n}")
            else:
                wait_for(lambda: f"message{n}" in os.listdir(two[i].server_path), 20, "a message")
                assert read_when_there(two[i].path / f"message{n}") == b"%d" % n * 2000
    in_processes(2, player)


def read_when_there(path):
    """The name may have been looked up in vain before: that is believed for a while."""
    wait_for(lambda: os.path.exists(path), 40, "the name")
    return read(path)


# --- what this client does itself it knows at once, however long the caches last


def test_own_changes(mount):
    """With caches that last ten minutes: every change by this client is seen by its next call."""
    m = mount(options=LONG)
    for i in range(5):
        create(m.path / "f", b"x" * 100)
        assert os.stat(m.path / "f").st_size == 100
        os.chmod(m.path / "f", 0o601)
        assert os.stat(m.path / "f").st_mode & 0o777 == 0o601
        with opened(m.path / "f", RDWR) as fd:
            os.pwrite(fd, b"y" * 10, 1000)
            assert os.stat(m.path / "f").st_size == 1010
            os.ftruncate(fd, 5)
            assert os.stat(m.path / "f").st_size == 5
        os.link(m.path / "f", m.path / "g")
        assert os.stat(m.path / "f").st_nlink == 2
        os.rename(m.path / "f", m.path / "h")
        assert (os.path.exists(m.path / "f"), os.stat(m.path / "h").st_nlink) == (False, 2)
        os.unlink(m.path / "g")
        assert os.stat(m.path / "h").st_nlink == 1
        os.mkdir(m.path / f"d{i}")
        assert sorted(os.listdir(m.path)) == [*(f"d{n}" for n in range(i + 1)), "h"]
        os.unlink(m.path / "h")
        assert not os.path.exists(m.path / "h")


def test_own_times(mount):
    """The times this client sees after its own writes are the server's, not its own clock's."""
    m = mount(options=LONG)
    create(m.path / "f", b"x")
    for _ in range(5):
        tick()
        with opened(m.path / "f", WRONLY) as fd:
            os.write(fd, b"y" * 10_000)
        mine, its = os.stat(m.path / "f"), os.stat(m.server_path / "f")
        assert (mine.st_mtime_ns, mine.st_ctime_ns, mine.st_size) \
            == (its.st_mtime_ns, its.st_ctime_ns, its.st_size)


# --- cache options


@pytest.mark.parametrize("options", ["noac", "actimeo=0"])
def test_no_attribute_cache(mount, options):
    """Without an attribute cache stat says at once what the other client has done."""
    a, b = mount(), mount(options=options)
    create(a.path / "f")
    os.mkdir(a.path / "d")
    for i in range(30):
        with opened(a.path / "f", WRONLY | os.O_APPEND) as fd:
            os.write(fd, b"x")
        os.chmod(a.path / "f", 0o600 + i % 8)
        create(a.path / f"d/{i}")
        info = os.stat(b.path / "f")
        assert (info.st_size, info.st_mode & 0o777) == (i + 1, 0o600 + i % 8)
        assert os.path.exists(b.path / f"d/{i}")
        assert len(os.listdir(b.path / "d")) == i + 1


@pytest.mark.parametrize("options", ["actimeo=1", "acregmin=1,acregmax=1,acdirmin=1,acdirmax=1"])
def test_attribute_cache_expires(mount, options):
    """After the cache time stat sees the other client's change, without any open."""
    a, b = mount(), mount(options=options)
    create(a.path / "f", b"x")
    assert os.stat(b.path / "f").st_size == 1
    with opened(a.path / "f", WRONLY | os.O_APPEND) as fd:
        os.write(fd, b"yz")
    os.chmod(a.path / "f", 0o751)
    wait_for(lambda: os.stat(b.path / "f").st_size == 3, what="the new size")
    wait_for(lambda: os.stat(b.path / "f").st_mode & 0o777 == 0o751, what="the new mode")


@remote_only
def test_attribute_cache_lasts(mount):
    """Within the cache time stat need not ask; open must. (What acregmin is for.)"""
    a, b = mount(), mount(options=LONG)
    create(a.path / "f", b"x")
    assert os.stat(b.path / "f").st_size == 1
    os.truncate(a.path / "f", 1000)
    assert os.stat(b.path / "f").st_size == 1
    with opened(b.path / "f") as fd:
        assert os.fstat(fd).st_size == 1000
    assert os.stat(b.path / "f").st_size == 1000


def test_long_caches_and_open(mount):
    """However long attributes are cached, open-close-open sees everything."""
    a, b = mount(options=LONG), mount(options=LONG)
    create(a.path / "f")
    for i in range(40):
        writer, reader = (a, b) if i % 2 else (b, a)
        rewrite(writer.path / "f", b"%d" % i * (1 + i * 37 % 50) * 100)
        assert read(reader.path / "f") == b"%d" % i * (1 + i * 37 % 50) * 100


def test_lookupcache_none(mount):
    """With lookupcache=none every name is asked for: new, removed and replaced ones are right at
    once."""
    a, b = mount(), mount(options="lookupcache=none")
    for i in range(10):
        assert not os.path.exists(b.path / "f")
        create(a.path / "f", b"%d" % i)
        assert os.path.exists(b.path / "f")
        create(a.path / "g", b"new")
        os.rename(a.path / "g", a.path / "f")
        assert os.stat(b.path / "f").st_ino == os.stat(a.server_path / "f").st_ino
        os.unlink(a.path / "f")


@pytest.mark.parametrize("word", ["pos", "positive"])
def test_lookupcache_positive(mount, word):
    """With lookupcache=pos a failed lookup is not remembered, even if caches last long."""
    a, b = mount(), mount(options=f"lookupcache={word},{LONG}")
    for i in range(10):
        assert not os.path.exists(b.path / f"{i}")
        create(a.path / f"{i}")
        assert os.path.exists(b.path / f"{i}")


def test_lookupcache_all(mount):
    """The default remembers failed lookups too, but no longer than attributes of directories."""
    a, b = mount(), mount(options="lookupcache=all,actimeo=1")
    assert not os.path.exists(b.path / "f")
    create(a.path / "f")
    wait_for(lambda: os.path.exists(b.path / "f"), what="the new name")
    os.unlink(a.path / "f")
    wait_for(lambda: not os.path.exists(b.path / "f"), what="the name to go")


def test_directory_tree_changes(mount):
    """Directories made, moved and removed by one client, used by the other."""
    a, b = mount(), mount(options="actimeo=0")
    for i in range(10):
        os.makedirs(a.path / "x/y/z")
        create(b.path / "x/y/z/f", b"b")
        assert read(a.path / "x/y/z/f") == b"b"
        os.rename(a.path / "x/y", a.path / "moved")
        assert read(b.path / "moved/z/f") == b"b"
        with fails(errno.ENOENT, errno.ESTALE):
            os.stat(b.path / "x/y/z/f")
        os.unlink(b.path / "moved/z/f")
        os.rmdir(b.path / "moved/z")
        os.rmdir(a.path / "moved")
        os.rmdir(b.path / "x")
        assert names_on_disk(a.server_path) == [], f"round {i}"


# --- the data cache is kept while nothing changes


def bytes_read_by(server):
    """What the server has read from its disk's files so far; it receives requests by recv, which
    does not count."""
    with open(f"/proc/{server.pid}/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


SIZE = 8 * MIB


@remote_only
def test_reread_asks_nothing(m, server):
    """A file that nobody changed is read again, after close and open, from the client's memory."""
    create(m.server_path / "f", pattern(SIZE))
    start = bytes_read_by(server)
    first = read(m.path / "f")
    cold = bytes_read_by(server) - start
    assert cold >= SIZE  # this measures what it should
    for _ in range(3):
        same(read(m.path / "f"), first)
    assert bytes_read_by(server) - start - cold < SIZE // 8


@remote_only
def test_change_is_noticed_once(m, server):
    """After a change on the server the file is read anew, and then kept again."""
    create(m.server_path / "f", bytes(SIZE))
    read(m.path / "f")
    with open(m.server_path / "f", "r+b") as file:
        file.write(b"new")
    assert read(m.path / "f")[:3] == b"new"
    start = bytes_read_by(server)
    assert read(m.path / "f")[:3] == b"new"
    assert bytes_read_by(server) - start < SIZE // 8


@remote_only
@pytest.mark.xfail(reason="NFS-Ganesha 4.3 leaves the attributes before a WRITE out of its reply, so "
                          "that own writes cannot be told from those of others in between")
def test_own_writes_keep_the_cache(m, server):
    """A client's own writes are no reason to read its file again, if the server tells them apart."""
    data = bytearray(pattern(SIZE))
    create(m.path / "f", data)
    read(m.path / "f")
    start = bytes_read_by(server)
    for i in range(5):
        with opened(m.path / "f", RDWR) as fd:
            os.pwrite(fd, b"%05d" % i, i * 4096)
            data[i * 4096:i * 4096 + 5] = b"%05d" % i
        same(read(m.path / "f"), data)
    assert bytes_read_by(server) - start < SIZE // 8


@remote_only
def test_looking_keeps_the_cache(mount, server):
    """Neither chmod nor another client's reading makes a client read its data again more than
    once."""
    a, b = mount(), mount()
    create(a.server_path / "f", pattern(SIZE))
    read(a.path / "f")
    read(b.path / "f")
    start = bytes_read_by(server)
    for _ in range(3):
        os.stat(b.path / "f")
        read(b.path / "f")
        read(a.path / "f")
    assert bytes_read_by(server) - start < SIZE // 8


def test_nothing_is_kept_of_an_old_file(m):
    """An inode number that the server uses again is another file: none of the old data shows."""
    for i in range(20):
        create(m.path / "f", b"%d" % (i % 10) * 10_000)
        assert read(m.path / "f") == b"%d" % (i % 10) * 10_000
        os.unlink(m.path / "f")
        create(m.server_path / "g", b"%d" % (9 - i % 10) * 10_000)
        assert read(m.path / "g") == b"%d" % (9 - i % 10) * 10_000
        os.unlink(m.path / "g")
        assert names_on_disk(m.server_path) == []


@remote_only
def test_cut_while_read_ahead(mount, server):
    """Cut by somebody else, and two pieces behind its new end are on their way, of which the later one is
    answered first: there is nothing to read, and above all no zeros."""
    with Proxy(server) as proxy:
        m = mount(server=proxy)
        data = pattern(16 * MIB)
        (m.server_path / "f").write_bytes(data)
        with opened(m.path / "f") as fd:
            os.truncate(m.server_path / "f", 7 * MIB // 2)
            first = proxy.on("READ", Hold(), where=lambda call: call.io[1] == 4 * MIB)
            os.posix_fadvise(fd, 4 * MIB, 2 * MIB, os.POSIX_FADV_WILLNEED)
            wait_for(lambda: [call for call in proxy.history("READ") if call.io[1] > 4 * MIB and call.replied], 10,
                     "the answer to a later READ")
            time.sleep(.3)  # for the daemon to pass it on, if it does
            proxy.clear()
            assert first.hits == 1
            # Below the size that the later one would have left; for what is behind it the kernel asks again.
            assert os.pread(fd, MIB // 2, 4 * MIB) == b""
            same(os.pread(fd, 2 * MIB, 3 * MIB), data[3 * MIB:7 * MIB // 2])
        m.umount()
