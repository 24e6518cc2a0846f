"""The content of files: read, write, truncate, append, mmap, O_DIRECT, fsync, running out of space.
What was written is compared with the server's disk, what is read is made there, so that no cache
can hide a mistake."""

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import random
import resource
import shutil
import signal
import sqlite3

import pytest

from lab.procs import as_user, run_bounded, wait_for
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from localdir import LOCAL, remote_only
from support import (FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, GIB, KIB, MIB, create, errno_of, fails,
                     fallocate, in_processes, opened, page_buffer, pattern, read, same, write_all)

RDWR, RDONLY, WRONLY, CREAT = os.O_RDWR, os.O_RDONLY, os.O_WRONLY, os.O_CREAT
SIZES = [0, 1, 7, 511, 4095, 4096, 4097, 65537, MIB - 1, MIB, MIB + 1, 8 * MIB, 8 * MIB + 3]
OFFSETS = [0, 1, 511, 4095, 4096, 4097, 131071, MIB - 1, MIB, MIB + 1]


def on_server(m, name="f"):
    return (m.server_path / name).read_bytes()


@contextlib.contextmanager
def mapped(fd, length, access=mmap.ACCESS_WRITE, offset=0):
    """A mapping for the length of a with block; unmapped without msync."""
    area = mmap.mmap(fd, length, access=access, offset=offset)
    try:
        yield area
    finally:
        area.close()


# --- sizes and offsets


def test_write_sizes(m):
    """One write of any size arrives whole."""
    for size in SIZES:
        data = pattern(size)
        with opened(m.path / "f", WRONLY | CREAT | os.O_TRUNC) as fd:
            assert os.write(fd, data) == size
        same(on_server(m), data, f"{size} bytes")
        assert os.stat(m.path / "f").st_size == size


def test_read_sizes(m):
    """One read of a whole file returns it whole: a short read would mean its end."""
    for size in SIZES:
        data = pattern(size)
        create(m.server_path / f"{size}", data)
        with opened(m.path / f"{size}") as fd:
            same(os.read(fd, size + 1), data, f"{size} bytes")
            assert os.read(fd, 10) == b""


def test_write_offsets(m):
    """Small and large writes at an offset change these bytes only."""
    data = bytearray(pattern(3 * MIB))
    create(m.server_path / "f", data)
    with opened(m.path / "f", RDWR) as fd:
        for offset in OFFSETS:
            for size in (1, 4097, MIB + 1):
                new = pattern(size, offset)
                assert os.pwrite(fd, new, offset) == size
                data[offset:offset + size] = new
                os.fsync(fd)
                same(on_server(m), data, f"{size} bytes at {offset}")


def test_read_offsets(m):
    """Reads at any offset, of any length, in any order."""
    data = pattern(3 * MIB)
    create(m.server_path / "f", data)
    with opened(m.path / "f") as fd:
        for offset in OFFSETS:
            for size in (MIB + 1, 1, 4097):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                got = os.pread(fd, size, offset)
                same(got, data[offset:offset + size], f"{size} bytes at {offset}")


@pytest.mark.parametrize("options", ["rsize=4096,wsize=4096", "rsize=65536,wsize=32768"])
def test_small_transfers(mount, options):
    """rsize and wsize below the size of a request: it takes several calls, and arrives whole."""
    m, data = mount(options=options), pattern(MIB + 4097)
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        assert os.write(fd, data) == len(data)
    same(on_server(m), data)
    create(m.server_path / "g", data)
    with opened(m.path / "g") as fd:
        same(os.read(fd, 2 * MIB), data)


def test_vectors(m):
    """preadv and pwritev with pieces of odd lengths."""
    parts = [pattern(size, size) for size in (1, 4096, 0, 3, 70000, 5)]
    whole = b"".join(parts)
    with opened(m.path / "f", RDWR | CREAT) as fd:
        assert os.pwritev(fd, parts, 3) == len(whole)
        buffers = [bytearray(n) for n in (2, 70000, 4100)]
        assert os.preadv(fd, buffers, 3) == len(whole) - 3
    assert b"".join(buffers)[:len(whole) - 3] == whole[:70000 + 2 + 4100][:len(whole) - 3]
    assert on_server(m) == b"\0\0\0" + whole


def test_many_small_writes(m):
    """write after write at the file's position: the bytes come out in order."""
    pieces = [pattern(1 + i % 17, i) for i in range(1000)]
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        for piece in pieces:
            os.write(fd, piece)
    assert on_server(m) == b"".join(pieces)


def test_overwriting_one_place(m):
    """The last of many writes to the same bytes wins, however many are in flight."""
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        for i in range(300):
            os.pwrite(fd, b"%06d" % i * 700, 0)
    assert on_server(m) == b"000299" * 700


def test_overlapping_writes(m):
    """Writes that overlap take effect in the order of the calls."""
    model, rng = bytearray(400_000), random.Random(1)
    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.ftruncate(fd, len(model))
        for i in range(150):
            offset, size = rng.randrange(250_000), rng.randrange(1, 150_000)
            os.pwrite(fd, bytes([i]) * size, offset)
            model[offset:offset + size] = bytes([i]) * size
        same(os.pread(fd, len(model), 0), model)
    same(on_server(m), model)


def test_read_past_the_end(m):
    """At and after the end of a file a read returns nothing."""
    create(m.server_path / "f", b"x" * 5000)
    with opened(m.path / "f") as fd:
        assert os.pread(fd, 100, 4990) == b"x" * 10
        for offset in (5000, 5001, 8192, 10**6, 2**40):
            assert os.pread(fd, 100, offset) == b""


def test_empty_writes(m):
    """A write of nothing does nothing, even far away."""
    with opened(m.path / "f", RDWR | CREAT) as fd:
        assert os.write(fd, b"") == 0
        assert os.pwrite(fd, b"", 10**6) == 0
        assert os.fstat(fd).st_size == 0


def test_open_modes(m):
    """A descriptor allows what it was opened for."""
    create(m.path / "f", b"x")
    with opened(m.path / "f", RDONLY) as fd, fails(errno.EBADF):
        os.write(fd, b"y")
    with opened(m.path / "f", WRONLY) as fd, fails(errno.EBADF):
        os.read(fd, 1)
    with opened(m.path / "f", RDONLY) as fd, fails(errno.EINVAL):
        os.ftruncate(fd, 0)
    with opened(m.path / "f", os.O_PATH) as fd:
        assert os.fstat(fd).st_size == 1


def test_write_only_keeps_the_neighbours(m):
    """A byte written into the middle of a page by a user who may not read the file."""
    data = pattern(10000)
    create(m.server_path / "f", data, 0o222)
    (m.server_path / "f").chmod(0o222)

    def poke():
        with opened(m.path / "f", WRONLY) as fd:
            os.pwrite(fd, b"!", 5000)
    as_user(poke)
    assert on_server(m) == data[:5000] + b"!" + data[5001:]


def test_two_descriptors(m):
    """What one descriptor writes another reads at once."""
    with opened(m.path / "f", WRONLY | CREAT) as w, opened(m.path / "f") as r:
        for i in range(200):
            os.write(w, b"%05d" % i)
            assert os.read(r, 100) == b"%05d" % i


def test_executable(m):
    """A program on the mount runs."""
    shutil.copy("/bin/echo", m.path / "echo")
    assert run_bounded([m.path / "echo", "hello"]).stdout == "hello\n"


# --- large and sparse files


@pytest.mark.parametrize("offset", [2**31 - 3, 2**32 - 3, 2**32, 5 * GIB + 1, 2**40 + 7])
def test_beyond_32_bits(m, offset):
    """Offsets above 2 and 4 GiB are what they are; nothing appears elsewhere."""
    data = pattern(8192, offset)
    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.pwrite(fd, data, offset)
        assert os.fstat(fd).st_size == offset + 8192
        assert os.pread(fd, 9000, offset) == data
        assert os.pread(fd, 8192, 0) == bytes(8192)
    with open(m.server_path / "f", "rb") as file:
        assert os.pread(file.fileno(), 9000, offset) == data
        assert os.fstat(file.fileno()).st_size == offset + 8192
        assert os.fstat(file.fileno()).st_blocks <= 64


def test_large_sparse_file_of_the_server(m):
    """Data at both sides of 4 GiB is read from where it is."""
    with open(m.server_path / "f", "wb") as file:
        os.pwrite(file.fileno(), b"before", 2**32 - 6)
        os.pwrite(file.fileno(), b"after", 2**32)
        os.truncate(file.fileno(), 6 * GIB)
    with opened(m.path / "f") as fd:
        assert os.lseek(fd, 0, os.SEEK_END) == 6 * GIB
        assert os.pread(fd, 13, 2**32 - 7) == b"\0beforeafter\0"
        assert os.pread(fd, 10, 6 * GIB - 5) == bytes(5)


def test_holes(m):
    """Bytes never written are zeros, before and after a reopen."""
    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.pwrite(fd, b"a", 0)
        os.pwrite(fd, b"b", 300_000)
        expected = b"a" + bytes(299_999) + b"b"
        assert os.pread(fd, 400_000, 0) == expected
    assert read(m.path / "f") == expected
    assert on_server(m) == expected


def test_too_large(m):
    """A size no file can have is an error, not a different size."""
    create(m.path / "f", b"x")
    with fails(errno.EFBIG, errno.EINVAL):
        os.truncate(m.path / "f", 2**63 - 1)
    assert os.stat(m.path / "f").st_size == 1


def test_seek(m):
    """SEEK_SET, SEEK_CUR and SEEK_END, beyond the end too; not before the start."""
    create(m.path / "f", b"x" * 100)
    with opened(m.path / "f") as fd:
        assert os.lseek(fd, 10, os.SEEK_SET) == 10
        assert os.lseek(fd, 5, os.SEEK_CUR) == 15
        assert os.lseek(fd, -1, os.SEEK_END) == 99
        assert os.lseek(fd, 10**10, os.SEEK_END) == 10**10 + 100
        with fails(errno.EINVAL):
            os.lseek(fd, -1, os.SEEK_SET)


def test_seek_data_and_hole(m):
    """NFSv3 knows no holes: all of a file is data, its end the only hole. What cp --sparse and tar
    --sparse ask is answered so that they lose nothing."""
    create(m.path / "f", b"x" * 10000)
    with opened(m.path / "f") as fd:
        assert os.lseek(fd, 0, os.SEEK_DATA) == 0
        assert os.lseek(fd, 5000, os.SEEK_DATA) == 5000
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 10000
        for whence in (os.SEEK_DATA, os.SEEK_HOLE):
            for offset in (10000, 20000):
                with fails(errno.ENXIO):
                    os.lseek(fd, offset, whence)


def test_sparse_copy(m):
    """cp keeps the content of a file with holes."""
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        os.pwrite(fd, b"middle", 100_000)
        os.ftruncate(fd, 300_000)
    run_bounded(["cp", "--sparse=always", m.path / "f", m.path / "g"])
    assert on_server(m, "g") == on_server(m) == bytes(100_000) + b"middle" + bytes(199_994)


# --- truncation


def test_truncate_down_and_up(m):
    """What truncate cuts off comes back as zeros, also within a page that is cached."""
    for through_descriptor in (False, True):
        with opened(m.path / "f", RDWR | CREAT | os.O_TRUNC) as fd:
            what = fd if through_descriptor else m.path / "f"
            os.write(fd, b"\xff" * 10000)
            for size in (9000, 4097, 4096, 4095, 100):
                os.truncate(what, size)
                os.truncate(what, 10000)
                expected = b"\xff" * size + bytes(10000 - size)
                assert os.pread(fd, 20000, 0) == expected
                assert on_server(m) == expected


def test_truncate_sizes(m):
    """The size is seen at once by fstat, stat, seek and the server."""
    with opened(m.path / "f", RDWR | CREAT) as fd:
        for size in (1, 4096, 5 * GIB, 4097, 0, 123):
            os.ftruncate(fd, size)
            assert os.fstat(fd).st_size == os.stat(m.path / "f").st_size == size
            assert os.lseek(fd, 0, os.SEEK_END) == size
            assert os.stat(m.server_path / "f").st_size == size


def test_truncate_after_writes(m):
    """Writes before a truncate are cut off, writes after it stay: it keeps its place among them."""
    with opened(m.path / "f", RDWR | CREAT) as fd:
        for i in range(20):
            os.pwrite(fd, b"a" * 3 * MIB, 0)
            os.ftruncate(fd, 1000 + i)
            os.pwrite(fd, b"b" * 10, 2000)
            assert os.fstat(fd).st_size == 2010
    assert on_server(m) == b"a" * 1019 + bytes(981) + b"b" * 10


def test_open_trunc(m):
    """O_TRUNC empties the file, at once and for those who have it open."""
    create(m.path / "f", b"x" * 10000)
    with opened(m.path / "f", RDWR) as other:
        assert os.pread(other, 10, 9995) == b"x" * 5
        with opened(m.path / "f", WRONLY | os.O_TRUNC) as fd:
            assert os.fstat(fd).st_size == os.fstat(other).st_size == 0
            assert os.pread(other, 10, 0) == b""
            assert os.stat(m.server_path / "f").st_size == 0
            os.write(fd, b"new")
        assert os.pread(other, 10, 0) == b"new"


def test_creat_trunc_keeps_the_inode(m):
    """O_CREAT | O_TRUNC of an existing file, as editors and shells do: same inode and mode."""
    create(m.server_path / "f", b"old content", 0o640)
    with opened(m.path / "f", WRONLY | CREAT | os.O_TRUNC, 0o777) as fd:
        os.write(fd, b"new")
    info = os.stat(m.server_path / "f")
    assert (on_server(m), info.st_mode & 0o777) == (b"new", 0o640)
    assert info.st_ino == os.stat(m.path / "f").st_ino


def test_truncate_needs_write_permission(m):
    """ftruncate on a descriptor works though the mode has changed; truncate(path) does not."""
    os.chmod(m.path, 0o777)

    def user():
        with opened(m.path / "f", RDWR | CREAT) as fd:
            os.write(fd, b"x" * 100)
            os.chmod(m.path / "f", 0o444)
            os.ftruncate(fd, 50)
            with fails(errno.EACCES):
                os.truncate(m.path / "f", 10)
    as_user(user)
    assert os.stat(m.server_path / "f").st_size == 50


# --- append


def test_append(m):
    """O_APPEND ignores the position and writes at the end, wherever that is now."""
    create(m.path / "f", b"123")
    with opened(m.path / "f", RDWR | os.O_APPEND) as fd, opened(m.path / "f", WRONLY) as other:
        os.lseek(fd, 0, os.SEEK_SET)
        os.write(fd, b"45")
        os.pwrite(other, b"6", 5)
        os.write(fd, b"7")
        os.ftruncate(other, 2)
        os.write(fd, b"89")
        assert os.pread(fd, 100, 0) == b"1289"
    assert on_server(m) == b"1289"


def test_append_from_several_processes(m):
    """Several processes of one machine append to one log: every record is there, whole, and those
    of one process are in order."""
    count, records, size = 4, 200, 61
    create(m.path / "log")

    def writer(i):
        with opened(m.path / "log", WRONLY | os.O_APPEND) as fd:
            for n in range(records):
                os.write(fd, (b"%d:%d " % (i, n)).ljust(size - 1, b".") + b"\n")
    in_processes(count, writer)
    lines = on_server(m, "log").decode().split("\n")
    assert lines.pop() == ""
    assert {len(line) for line in lines} == {size - 1}
    for i in range(count):
        mine = [line.split()[0] for line in lines if line.startswith(f"{i}:")]
        assert mine == [f"{i}:{n}" for n in range(records)]
    assert len(lines) == count * records


def test_append_grown_on_the_server(m):
    """The end of the file at open is the server's, not a remembered one."""
    create(m.path / "f", b"mine")
    with open(m.server_path / "f", "ab") as file:
        file.write(b" theirs")
    with opened(m.path / "f", WRONLY | os.O_APPEND) as fd:
        os.write(fd, b" mine")
    assert on_server(m) == b"mine theirs mine"


# --- durability


@pytest.mark.parametrize("sync", [os.fsync, os.fdatasync])
def test_sync(m, sync):
    """After fsync and fdatasync the server has everything, while the file is open."""
    data = pattern(3 * MIB + 5)
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        write_all(fd, data)
        sync(fd)
        same(on_server(m), data)
        os.pwrite(fd, b"!", 100)
        sync(fd)
        assert on_server(m)[100:101] == b"!"


def test_sync_on_another_descriptor(m):
    """fsync concerns the file: writes made through other descriptors are included."""
    with opened(m.path / "f", WRONLY | CREAT) as fd, opened(m.path / "f") as other:
        os.write(fd, b"x" * 100_000)
        os.fsync(other)
        assert on_server(m) == b"x" * 100_000


@pytest.mark.parametrize("flag", [os.O_SYNC, os.O_DSYNC])
def test_synchronous_writes(m, flag):
    """With O_SYNC the server has the data when write returns."""
    with opened(m.path / "f", WRONLY | CREAT | flag) as fd:
        for i in range(5):
            os.write(fd, b"%d" % i * 5000)
            assert os.stat(m.server_path / "f").st_size == 5000 * (i + 1)


def test_fsync_of_a_directory(m):
    """Programs that care fsync the directory too."""
    create(m.path / "f")
    with opened(m.path, RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)
        os.fdatasync(fd)


def test_close_is_enough(m):
    """After close the server has everything; of a dup, the last close is not waited for."""
    data = pattern(2 * MIB)
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        write_all(fd, data)
        os.close(os.dup(fd))
        same(on_server(m), data)


def test_unmount_flushes(m, server):
    """What was written and closed just before umount is there."""
    data = pattern(5 * MIB)
    create(m.path / "f", data)
    m.umount()
    same((server.rw / "f").read_bytes(), data)


# --- mmap


def test_shared_mapping_is_written(m):
    """What a process stores in a shared mapping is on the server after msync."""
    create(m.path / "f", bytes(100_000))
    with opened(m.path / "f", RDWR) as fd, mapped(fd, 100_000) as area:
        area[50_000:50_005] = b"hello"
        area[0], area[99_999] = 1, 2
        area.flush()
        assert on_server(m) == (b"\1" + bytes(49_999) + b"hello" + bytes(49_994) + b"\2")


def test_shared_mapping_and_descriptor(m):
    """A shared mapping, read and write show the same bytes at all times, without msync."""
    create(m.path / "f", b"." * 20_000)
    with opened(m.path / "f", RDWR) as fd, mapped(fd, 20_000) as area:
        for i in range(0, 20_000, 997):
            area[i:i + 3] = b"map"
            assert os.pread(fd, 3, i) == b"map"
            os.pwrite(fd, b"fd", i + 1)
            assert area[i:i + 3] == b"mfd"


def test_mapping_outlives_the_descriptor(m):
    """The descriptor is closed, the mapping still written: the data arrives when it is unmapped."""
    create(m.path / "f", bytes(10_000))
    with opened(m.path / "f", RDWR) as fd:
        area = mmap.mmap(fd, 10_000)
    area[5000:5004] = b"late"
    area.close()
    wait_for(lambda: on_server(m)[5000:5004] == b"late", what="the write-back")


def test_mapping_by_a_user(m):
    """Pages of a mapping are written back as the user who opened the file, whoever causes it."""
    os.chmod(m.path, 0o777)

    def user():
        with opened(m.path / "f", RDWR | CREAT, 0o600) as fd:
            os.ftruncate(fd, 10_000)
            with mapped(fd, 10_000) as area:
                area[9000:9004] = b"mine"
                area.flush()
    as_user(user)
    assert on_server(m)[9000:9004] == b"mine"


def test_private_mapping(m):
    """A private mapping keeps its stores to itself."""
    create(m.path / "f", b"." * 10_000)
    with opened(m.path / "f") as fd, mapped(fd, 10_000, mmap.ACCESS_COPY) as area:
        area[5:10] = b"local"
        assert os.pread(fd, 10, 0) == b"." * 10
    assert on_server(m) == b"." * 10_000


def test_mapping_reads_the_server(m):
    """A mapping of a file of the server's, page by page in a random order."""
    data = pattern(2 * MIB + 100)
    create(m.server_path / "f", data)
    offsets = list(range(0, len(data), 4096))
    random.Random(1).shuffle(offsets)
    with opened(m.path / "f") as fd, mapped(fd, len(data), mmap.ACCESS_READ) as area:
        assert all(area[i:i + 100] == data[i:i + 100] for i in offsets)


def test_mapping_beyond_the_end(m):
    """Within the last page bytes after the end are zeros; a page further on is SIGBUS, also when
    the end has moved after the mapping was made."""
    create(m.path / "f", b"x" * 20_000)

    def touch(index):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGBUS, signal.SIG_DFL)  # pytest has a handler that prints
        os.truncate(m.path / "f", 20_000)
        with opened(m.path / "f", RDWR) as fd:
            area = mmap.mmap(fd, 20_000)
            os.truncate(m.path / "f", 5000)
            os._exit(area[index])
    assert exit_status(touch, 4999) == ord("x")
    assert exit_status(touch, 6000) == 0
    assert exit_status(touch, 8192) == -signal.SIGBUS


def exit_status(func, *args):
    """How a child that calls func(*args) ends; func must not return."""
    pid = os.fork()
    if pid == 0:
        try:
            func(*args)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_mapping_shared_by_processes(m):
    """Two processes that map one file share its pages."""
    create(m.path / "f", bytes(8192))

    def child():
        with opened(m.path / "f", RDWR) as fd, mapped(fd, 8192) as area:
            wait_for(lambda: area[0] == 1, what="the parent's store")
            area[4096] = 2
    with opened(m.path / "f", RDWR) as fd, mapped(fd, 8192) as area:
        area[0] = 1
        as_user(child, uid=0)
        assert area[4096] == 2


# --- O_DIRECT


@pytest.mark.parametrize("offset, size", [
    (0, 4096), (4096, 65536), (0, MIB), (MIB, 4 * MIB),
    *(pytest.param(*row, marks=remote_only) for row in (
        (0, 1), (1, 4096), (4095, 2), (100, 70_001), (MIB - 1, MIB + 2)))])
def test_direct(m, offset, size):
    """O_DIRECT reads and writes of any size and place (NFS asks for no alignment) bypass the cache:
    the server has the data when write returns."""
    data = bytearray(pattern(6 * MIB))
    create(m.server_path / "f", data)
    with opened(m.path / "f", RDWR | os.O_DIRECT) as fd, page_buffer(size) as buffer:
        assert os.preadv(fd, [buffer], offset) == size
        same(bytes(buffer), data[offset:offset + size])
        buffer[:] = data[offset:offset + size] = pattern(size, 2)
        assert os.pwrite(fd, buffer, offset) == size
        same(on_server(m), data)


def test_direct_past_the_end(m):
    """A direct read across the end is short, one beyond it is empty."""
    create(m.path / "f", b"x" * 5000)
    with opened(m.path / "f", RDONLY | os.O_DIRECT) as fd, page_buffer(8192) as buffer:
        assert os.preadv(fd, [buffer], 0) == 5000
        assert os.preadv(fd, [buffer], 8192) == 0


def test_direct_and_cached(m):
    """Direct and cached I/O on one file see each other's data."""
    create(m.path / "f", b"." * 65536)
    with opened(m.path / "f", RDWR) as cached, page_buffer(4096) as buffer, \
            opened(m.path / "f", RDWR | os.O_DIRECT) as direct:
        assert os.pread(cached, 4, 4096) == b"...."
        os.pwrite(cached, b"warm", 4096)
        os.preadv(direct, [buffer], 4096)
        assert bytes(buffer[:4]) == b"warm"
        buffer[:4] = b"cold"
        os.pwrite(direct, buffer, 4096)
        assert os.pread(cached, 4, 4096) == b"cold"


def test_direct_append(m):
    """O_DIRECT with O_APPEND grows the file."""
    with opened(m.path / "f", WRONLY | CREAT | os.O_APPEND | os.O_DIRECT) as fd, \
            page_buffer(4096) as buffer:
        for i in range(5):
            buffer[:] = b"%d" % i * 4096
            os.write(fd, buffer)
    assert on_server(m) == b"".join(b"%d" % i * 4096 for i in range(5))


# --- calls that NFSv3 does not have


@remote_only
def test_fallocate_unsupported(m):
    """fallocate is EOPNOTSUPP in every mode, and changes nothing."""
    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.write(fd, b"x" * 100)
        for mode in (0, FALLOC_KEEP_SIZE, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE):
            for _ in range(2):
                with fails(errno.EOPNOTSUPP):
                    fallocate(fd, mode, 0, 50)
    assert on_server(m) == b"x" * 100


def test_posix_fallocate(m):
    """posix_fallocate works (libc writes the blocks then): content stays, size grows."""
    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.write(fd, b"x" * 100)
        os.posix_fallocate(fd, 0, 20_000)
    assert on_server(m) == b"x" * 100 + bytes(19_900)


def test_copy_file_range(m):
    """The kernel copies where the server cannot; odd offsets, and within one file."""
    data = pattern(300_000)
    create(m.server_path / "f", data)
    with opened(m.path / "f", RDWR) as src, opened(m.path / "g", RDWR | CREAT) as dst:
        done = 0
        while done < 250_001:
            done += os.copy_file_range(src, dst, 250_001 - done, 11 + done, 5 + done)
        assert os.copy_file_range(src, src, 1000, 0, 400_000) == 1000
        assert os.copy_file_range(src, dst, 100, 10**6, 0) == 0
    same(on_server(m, "g"), bytes(5) + data[11:250_012])
    assert on_server(m) == data + bytes(100_000) + data[:1000]


def test_sendfile(m):
    """sendfile from a file of the mount and into one."""
    data = pattern(200_000)
    create(m.server_path / "f", data)
    with opened(m.path / "f") as src, opened(m.path / "g", WRONLY | CREAT) as dst:
        offset = 3
        while sent := os.sendfile(dst, src, offset, MIB):
            offset += sent
    same(on_server(m, "g"), data[3:])


def test_splice(m):
    """splice through a pipe in both directions."""
    create(m.server_path / "f", b"spliced" * 1000)
    readable, writable = os.pipe()
    with opened(m.path / "f") as src, opened(m.path / "g", WRONLY | CREAT) as dst, \
            open(readable, "rb"), open(writable, "wb"):
        left = 7000
        while left:
            n = os.splice(src, writable, left)
            left -= n
            while n:
                n -= os.splice(readable, dst, n)
    assert on_server(m, "g") == b"spliced" * 1000


def test_advice(m):
    """posix_fadvise is accepted; after DONTNEED the data comes again."""
    data = pattern(500_000)
    create(m.path / "f", data)
    with opened(m.path / "f") as fd:
        for advice in (os.POSIX_FADV_SEQUENTIAL, os.POSIX_FADV_RANDOM, os.POSIX_FADV_WILLNEED,
                       os.POSIX_FADV_DONTNEED, os.POSIX_FADV_NORMAL):
            os.posix_fadvise(fd, 0, 0, advice)
            same(os.pread(fd, MIB, 0), data)


# --- permissions of open files


def test_chmod_0_while_open(m):
    """The owner goes on reading and writing through a descriptor after chmod 0: permission was
    checked at open, and the server lets owners do that."""
    os.chmod(m.path, 0o777)

    def user():
        with opened(m.path / "f", RDWR | CREAT, 0o600) as fd:
            os.write(fd, b"before ")
            os.chmod(m.path / "f", 0)
            os.write(fd, b"after")
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            assert os.pread(fd, 100, 0) == b"before after"
            with fails(errno.EACCES):
                os.open(m.path / "f", RDONLY)
    as_user(user)
    assert on_server(m) == b"before after"


@pytest.mark.parametrize("mode", [0o000, 0o444, 0o200])
def test_create_without_permission(m, mode):
    """The creator's descriptor may read and write, whatever mode the new file has (tar and git
    make read-only files this way)."""
    os.chmod(m.path, 0o777)

    def user():
        with opened(m.path / "f", RDWR | CREAT | os.O_EXCL, mode) as fd:
            os.write(fd, b"x" * 100_000)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return os.pread(fd, 10, 0)
    assert as_user(user) == b"x" * 10
    assert os.stat(m.server_path / "f").st_mode & 0o777 == mode


# --- several at once


def test_regions_written_at_once(m):
    """Processes that write interleaved regions of one file, not aligned to pages, do not disturb
    each other."""
    count, piece, pieces = 4, 10_007, 40
    data = pattern(count * piece * pieces)

    def writer(i):
        with opened(m.path / "f", WRONLY | CREAT) as fd:
            for n in range(i, count * pieces, count):
                os.pwrite(fd, data[n * piece:(n + 1) * piece], n * piece)
    in_processes(count, writer)
    same(on_server(m), data)
    same(read(m.path / "f"), data)


def test_readers_and_a_writer(m):
    """Readers see a block as it was before or after a write of 4 KiB to it; or, as the kernel's cache has
    it on a local disk too, in the middle of it: old bytes and new ones, no others. In the end all is new."""
    blocks = 64
    create(m.path / "f", b"0" * 4096 * blocks)

    def body(i):
        with opened(m.path / "f", RDWR) as fd:
            if i == 0:
                for n in range(5 * blocks):
                    value = b"%d" % (1 + n // blocks)
                    os.pwrite(fd, value * 4096, n % blocks * 4096)
                return set()
            seen = (os.pread(fd, 4096, n % blocks * 4096) for n in range(10 * blocks))
            return {(len(data), max(data) - min(data)) for data in seen}
    written, *read = in_processes(3, body)
    assert all(found <= {(4096, 0), (4096, 1)} for found in read)
    assert on_server(m) == b"5" * 4096 * blocks


def test_many_files_at_once(m):
    """Processes that write, rename, read and remove files of their own."""
    def worker(i):
        rng, sums = random.Random(i), {}
        for n in range(60):
            data = rng.randbytes(rng.choice([0, 100, 5000, 200_000]))
            create(m.path / f"tmp{i}", data)
            os.rename(m.path / f"tmp{i}", m.path / f"{i}.{n % 20}")
            sums[n % 20] = hashlib.sha1(data).digest()
        return all(hashlib.sha1(read(m.path / f"{i}.{n}")).digest() == digest
                   for n, digest in sums.items())
    assert in_processes(4, worker) == [True] * 4
    assert len(os.listdir(m.server_path)) == 80


def test_copy_of_a_tree(m):
    """cp -a in, cp -a within, cp -a out, diff: the everyday use."""
    for i in range(30):
        os.makedirs(m.server_path / f"a/{i % 5}", exist_ok=True)
        create(m.server_path / f"a/{i % 5}/{i}", pattern(i * 9973, i))
    run_bounded(["cp", "-a", m.path / "a", m.path / "b"])
    run_bounded(["diff", "-r", m.server_path / "a", m.server_path / "b"])


# --- locks that are kept on this host; test_locks.py has those of the server


@pytest.fixture(params=[1, 8], ids=["nconnect=1", "nconnect=8"])
def local(request, mount):
    return mount(nconnect=request.param, options="nolock")


def test_flock(local):
    """flock excludes other descriptors until it is released by close."""
    create(local.path / "f")
    with opened(local.path / "f") as other:
        with opened(local.path / "f") as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            with fails(errno.EWOULDBLOCK):
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_posix_locks(local):
    """fcntl locks exclude other processes in the locked range only."""
    create(local.path / "f", bytes(100))

    def other():
        with opened(local.path / "f", RDWR) as fd:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 50, 50)
            return errno_of(fcntl.lockf, fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 0)
    with opened(local.path / "f", RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 50, 0)
        assert as_user(other, uid=0) in (errno.EAGAIN, errno.EACCES)


def test_lock_storm(local):
    """A counter in a file, incremented under a lock by several processes, loses nothing."""
    create(local.path / "f", b"0")

    def worker(_):
        for _ in range(50):
            with opened(local.path / "f", RDWR) as fd:
                fcntl.flock(fd, fcntl.LOCK_EX)
                value = int(os.pread(fd, 20, 0)) + 1
                os.pwrite(fd, b"%d" % value, 0)
    in_processes(4, worker)
    assert on_server(local) == b"200"


def test_sqlite(local):
    """A database with a rollback journal: locks, fsync, truncation, and it is sound afterwards."""
    def worker(i):
        base = sqlite3.connect(local.path / "base", timeout=20, isolation_level=None)
        for n in range(10):
            base.execute("BEGIN IMMEDIATE")
            base.execute("INSERT INTO t VALUES (?, ?)", (i, n))
            base.execute("COMMIT" if n % 2 else "ROLLBACK")
        base.close()
    base = sqlite3.connect(local.path / "base")
    base.execute("CREATE TABLE t (i, n)")
    base.commit()
    base.close()
    in_processes(3, worker)
    base = sqlite3.connect(local.path / "base")
    assert base.execute("SELECT count(*) FROM t").fetchone() == (15,)
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    base.close()


# --- no space


@pytest.fixture(params=[1, 8], ids=["nconnect=1", "nconnect=8"])
def small(request, mount, server):
    """A mount of the export that lies on a disk of 16 MiB."""
    if LOCAL:
        pytest.skip("needs the server's small disk")
    mounted = mount(nconnect=request.param, export=server.small)
    mounted.expect_log("(?i)no space|ENOSPC")
    yield mounted
    # Files that are removed behind the server's back keep their space while it has them open.
    for name in ("f", "g", "kept"):
        with contextlib.suppress(OSError):
            os.unlink(mounted.path / name)


def fill(path, chunk=MIB, limit=64):
    with opened(path, WRONLY | CREAT) as fd:
        for _ in range(limit):
            write_all(fd, b"x" * chunk)
        os.fsync(fd)


def test_enospc(small):
    """A full disk is reported by write, fsync or close; never a success. What was synced before is
    safe, and once there is room again all is well."""
    data = pattern(2 * MIB)
    create(small.path / "kept", data)
    with fails(errno.ENOSPC):
        fill(small.path / "f")
    same(on_server(small, "kept"), data)
    os.unlink(small.path / "f")
    create(small.path / "g", data)
    same(on_server(small, "g"), data)


def test_enospc_without_fsync(small):
    """A program that only writes and closes is told too."""
    def write_and_close():
        with opened(small.path / "f", WRONLY | CREAT) as fd:
            for _ in range(64):
                write_all(fd, b"x" * MIB)
    with fails(errno.ENOSPC):
        write_and_close()


def test_enospc_of_small_writes(small):
    """The same in small pieces, not aligned to pages."""
    with fails(errno.ENOSPC):
        fill(small.path / "f", 4000, 16 * KIB)


def test_enospc_in_a_mapping(small):
    """msync reports what did not fit."""
    with opened(small.path / "f", RDWR | CREAT) as fd:
        os.ftruncate(fd, 64 * MIB)
        with mapped(fd, 64 * MIB) as area, fails(errno.ENOSPC, errno.EIO):
            for offset in range(0, 64 * MIB, 4096):
                area[offset] = 1
            area.flush()


def test_enospc_of_names(small):
    """A disk without free inodes or blocks refuses names: each of the calls says ENOSPC."""
    with fails(errno.ENOSPC):
        fill(small.path / "f")
    with fails(errno.ENOSPC):
        for i in range(100_000):
            os.mkdir(small.path / f"d{i}")
    os.truncate(small.path / "f", 0)
    create(small.path / "after", b"x")


# --- a random exerciser with a model, byte by byte


class Exerciser:
    """Does random things to one file through several descriptors, and to a bytearray; they must
    never differ. The seed and the last operations name a failure."""

    LIMIT = 300_000

    def __init__(self, path, seed):
        self.path, self.rng, self.model, self.done = path, random.Random(seed), bytearray(), []
        self.flags = [RDWR, RDWR, RDWR | os.O_APPEND] + ([] if LOCAL else [RDWR | os.O_DIRECT])
        create(path)
        self.fds = [os.open(path, flags) for flags in self.flags]
        weights = {self.read: 30, self.write: 25, self.append: 8, self.truncate: 10,
                   self.map_read: 6, self.map_write: 10, self.sync: 4, self.reopen: 5, self.copy: 4,
                   self.forget: 5, self.attributes: 8}
        self.operations, self.weights = list(weights), list(weights.values())

    def run(self, count):
        try:
            for _ in range(count):
                operation = self.rng.choices(self.operations, self.weights)[0]
                self.done.append(operation.__name__)
                operation()
        except BaseException as error:
            raise AssertionError(f"{error!r} after {len(self.done)}: {self.done[-15:]}") from error
        finally:
            for fd in self.fds:
                os.close(fd)
        return bytes(self.model)

    def note(self, *values):
        self.done[-1] += repr(values)

    def any_fd(self, appending=False):
        """One that honours offsets, or one that appends."""
        number = self.rng.choice([i for i, flags in enumerate(self.flags)
                                  if bool(flags & os.O_APPEND) == appending])
        self.note("fd", number)
        return self.fds[number]

    def span(self, end):
        """An offset below `end`, and a length: often small, often ending on or near a page."""
        offset = self.rng.randrange(end + 1)
        if self.rng.random() < 0.3:
            offset &= ~4095
        size = self.rng.choice([1, 10, 4096, 5000, 70_000, 140_000])
        size = self.rng.randrange(size) + 1
        if self.rng.random() < 0.3:
            size = max(1, ((offset + size) & ~4095) - offset)
        self.note(offset, size)
        return offset, min(size, self.LIMIT - offset)

    def put(self, offset, data):
        if data:
            self.model.extend(bytes(max(0, offset - len(self.model))))
            self.model[offset:offset + len(data)] = data

    def read(self):
        offset, size = self.span(len(self.model) + 5000)
        size = max(size, 0)
        same(os.pread(self.any_fd(), size, offset), self.model[offset:offset + size])

    def write(self):
        offset, size = self.span(self.LIMIT - 1)
        data = self.rng.randbytes(size)
        assert os.pwrite(self.any_fd(), data, offset) == size
        self.put(offset, data)

    def append(self):
        data = self.rng.randbytes(self.rng.randrange(3000))
        if len(self.model) + len(data) <= self.LIMIT:
            os.write(self.any_fd(appending=True), data)
            self.put(len(self.model), data)

    def truncate(self):
        size = self.rng.choice([0, self.rng.randrange(self.LIMIT), self.rng.randrange(self.LIMIT)])
        if self.rng.random() < 0.3:
            size &= ~4095
        self.note(size)
        os.truncate(self.rng.choice([self.path, *self.fds]), size)
        self.put(size, b"")
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def map_read(self):
        if self.model:
            offset, size = self.span(len(self.model) - 1)
            with mapped(self.fds[0], len(self.model), mmap.ACCESS_READ) as area:
                same(area[offset:offset + size], self.model[offset:offset + size])

    def map_write(self):
        if self.model:
            offset, size = self.span(len(self.model) - 1)
            size = min(size, len(self.model) - offset)
            data = self.rng.randbytes(size)
            with mapped(self.fds[1], len(self.model)) as area:
                area[offset:offset + size] = data
                if self.rng.random() < 0.3:
                    area.flush()
            self.model[offset:offset + size] = data

    def sync(self):
        self.rng.choice([os.fsync, os.fdatasync])(self.any_fd())
        same(os.pread(self.fds[0], self.LIMIT, 0), self.model)

    def reopen(self):
        number = self.rng.randrange(len(self.fds))
        os.close(self.fds[number])
        self.fds[number] = os.open(self.path, self.flags[number])

    def copy(self):
        offset, size = self.span(len(self.model))
        target = self.rng.randrange(self.LIMIT - size + 1)
        chunk = bytes(self.model[offset:offset + size])
        if offset + size <= target or target + size <= offset:
            done = 0
            while done < len(chunk):
                done += os.copy_file_range(self.fds[0], self.fds[1], len(chunk) - done,
                                           offset + done, target + done)
            self.put(target, chunk)

    def forget(self):
        """Clean pages go: the next read asks the server."""
        os.fsync(self.fds[0])
        os.posix_fadvise(self.fds[0], 0, 0, os.POSIX_FADV_DONTNEED)

    def attributes(self):
        sizes = {os.fstat(self.any_fd()).st_size, os.stat(self.path).st_size}
        assert sizes == {len(self.model)}, f"{sizes}, expected {len(self.model)}"


def exercise(m, name, seed, count):
    """Runs the exerciser; then the server must have what the model has."""
    wanted = Exerciser(m.path / name, seed).run(count)
    same(on_server(m, name), wanted, f"the server's file, seed {seed}")


@pytest.mark.parametrize("seed", range(4))
def test_random_operations(m, seed):
    """Random reads, writes, truncations, mappings: the file is what the model says."""
    exercise(m, "f", seed, 500)


@pytest.mark.parametrize("options", ["rsize=4096,wsize=4096", "noac", "sync", "actimeo=1"])
def test_random_operations_with(mount, options):
    """The same with options that change how data travels."""
    exercise(mount(options=options), "f", 100, 300)


def test_random_operations_at_once(m):
    """The same on several files at once."""
    in_processes(3, lambda i: exercise(m, f"f{i}", 200 + i, 250))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1020))
def test_random_operations_for_long(m, seed):
    """More of the same."""
    exercise(m, "f", seed, 3000)
