# SPDX-License-Identifier: GPL-2.0-or-later
"""The order of written data and everything else. A client may keep what was written for a while and send
it later, joined and in parallel; none of these may show it: reads, sizes and times of this client, another
client after fsync or close, truncation, appending, names, mappings, O_DIRECT, permissions, errors.

What is so without any delay is in test_data.py; of what the server forgets, in test_stable.py; of a server
that is away, in test_hold.py."""

import contextlib
import ctypes
import errno
import mmap
import os
import random
import select
import threading
import time

import pytest

from lab.child import Child
from lab.procs import as_user, wait_for
from lab.proxy import Delay, Hold, Proxy, Status
from support import (KIB, MIB, create, errno_of, libc, names_on_disk, opened, page_buffer, pattern,
                     read, read_all, same, tick, utimensat, UTIME_OMIT, write_all)

RDWR, RDONLY, WRONLY, CREAT = os.O_RDWR, os.O_RDONLY, os.O_WRONLY, os.O_CREAT
TRUNC, APPEND = os.O_TRUNC, os.O_APPEND
SYNC_FILE_RANGE_WRITE = 2
LONG = "acregmin=600,acregmax=600,acdirmin=600,acdirmax=600"  # nothing is right because it was asked anew


@pytest.fixture(params=[(1, 8), (8, 1)], ids=["1 and 8", "8 and 1"])
def two(request, mount):
    """Two mounts of one export, the caches of which last."""
    return [mount(nconnect=n, options=LONG) for n in request.param]


@pytest.fixture
def proxy(server, mount):
    with Proxy(server) as made:
        yield made
        made.clear()
        for m in mount.mounts:
            if m.mounted and m.alive:
                m.umount()


@pytest.fixture(params=[1, 8], ids=["nconnect=1", "nconnect=8"])
def slow(request, mount, proxy):
    """A mount whose WRITEs take their time, so that what comes next meets them on the way."""
    proxy.on("WRITE", Delay(0.02, on="call"))
    return mount(nconnect=request.param, server=proxy, options=LONG)


def forget_pages(fd):
    """The next read asks the daemon."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def on_server(m, name="f"):
    return (m.server_path / name).read_bytes()


# --- reads


@pytest.mark.parametrize("flags", [RDONLY, RDONLY | os.O_DIRECT], ids=["cached", "direct"])
def test_read_what_was_written(slow, flags):
    """By another descriptor, from the daemon: small pieces, some over others, are all there."""
    model, rng = bytearray(300_000), random.Random(2)
    with opened(slow.path / "f", WRONLY | CREAT) as fd, opened(slow.path / "f", flags) as other, \
            page_buffer(400_000) as buffer:
        os.ftruncate(fd, len(model))
        for i in range(60):
            at, data = rng.randrange(290_000), pattern(rng.randrange(1, 10_000), i)
            os.pwrite(fd, data, at)
            model[at:at + len(data)] = data
            if i % 3 == 0:
                forget_pages(other)
                assert os.preadv(other, [buffer], 0) == len(model)
                same(bytes(buffer[:len(model)]), bytes(model), f"after write {i}")


def test_read_on_the_border(slow):
    """A read of which only a part was written just now; the rest is the server's."""
    create(slow.server_path / "f", b"." * 3 * MIB)
    with opened(slow.path / "f", RDWR) as fd:
        os.pwrite(fd, b"new", MIB - 1)
        forget_pages(fd)
        assert os.pread(fd, 10, MIB - 5) == b"....new..."
        os.pwrite(fd, b"end", 3 * MIB + 5)
        forget_pages(fd)
        assert os.pread(fd, 20, 3 * MIB - 2) == b".." + bytes(5) + b"end"


def test_read_overtaken_by_what_is_written(mount, proxy):
    """A READ of a hole was on its way when the server did not have the end of the file yet, and its
    reply comes when it has: that is not the end of the file."""
    m = mount(server=proxy, nconnect=4)
    hold = Hold()
    rule = proxy.on("READ", hold, times=1)
    with opened(m.path / "f", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"end", 500 * KIB)

        def look(child):
            return os.pread(os.open(m.path / "f", os.O_RDONLY), 100 * KIB, 64 * KIB)
        with Child(look) as child:
            wait_for(lambda: hold.waiting, what="the READ")
            os.fsync(fd)
            hold.release()
            assert child.wait(10) == bytes(100 * KIB)
        assert os.fstat(fd).st_size == 500 * KIB + 3 and rule.hits


def test_read_while_written(slow):
    """A reader that never waits for the writer sees a file that grows, byte by byte the right one."""
    data = pattern(2 * MIB)
    done = threading.Event()

    def writer():
        with opened(slow.path / "f", WRONLY | CREAT) as fd:
            for at in range(0, len(data), 39_973):
                os.pwrite(fd, data[at:at + 39_973], at)
        done.set()

    create(slow.path / "f")
    thread = threading.Thread(target=writer)
    thread.start()
    with opened(slow.path / "f") as fd:
        last = 0
        while not done.is_set():
            forget_pages(fd)
            got = os.pread(fd, 3 * MIB, 0)
            same(got, data[:len(got)])
            assert len(got) >= last
            last = len(got)
    thread.join()
    same(read(slow.path / "f"), data)


# --- sizes and times


def test_size_while_pending(slow):
    """Each write is seen by fstat, stat, a new descriptor's fstat and SEEK_END at once."""
    size, rng = 0, random.Random(3)
    with opened(slow.path / "f", WRONLY | CREAT) as fd:
        for i in range(40):
            at, length = rng.randrange(size + 5000), rng.randrange(1, 3000)
            os.pwrite(fd, b"x" * length, at)
            size = max(size, at + length)
            with opened(slow.path / "f") as other:
                assert {os.fstat(fd).st_size, os.stat(slow.path / "f").st_size, os.fstat(other).st_size,
                        os.lseek(other, 0, os.SEEK_END)} == {size}


def test_times_while_pending(slow):
    """mtime and ctime move with a write, and never back, whoever's clock they are from."""
    create(slow.path / "f", b"x")
    os.utime(slow.path / "f", (1, 1))
    with opened(slow.path / "f", WRONLY) as fd:
        last = os.fstat(fd)
        for i in range(30):
            tick()
            os.pwrite(fd, b"y" * 1000, i * 500)
            now = os.fstat(fd)
            assert now.st_mtime_ns > last.st_mtime_ns and now.st_ctime_ns > last.st_ctime_ns, f"write {i}"
            last = now
            if i % 5 == 0:
                os.fsync(fd)
                assert os.fstat(fd).st_mtime_ns >= last.st_mtime_ns
    info, its = os.stat(slow.path / "f"), os.stat(slow.server_path / "f")
    assert (info.st_mtime_ns, info.st_size) == (its.st_mtime_ns, its.st_size)


@pytest.mark.parametrize("when", ["before close", "after fsync", "by name"])
def test_set_times_stay(slow, when):
    """utimensat after write: what is sent later does not undo it (cp -p, tar, rsync)."""
    wanted = 1_000_000_000_123_456_789
    with opened(slow.path / "f", WRONLY | CREAT) as fd:
        for i in range(5):
            os.write(fd, pattern(70_001, i))
        if when == "after fsync":
            os.fsync(fd)
        os.utime(slow.path / "f" if when == "by name" else fd, ns=(wanted, wanted))
        assert os.fstat(fd).st_mtime_ns == wanted
    assert os.stat(slow.path / "f").st_mtime_ns == wanted
    assert os.stat(slow.server_path / "f").st_mtime_ns == wanted
    same(on_server(slow), b"".join(pattern(70_001, i) for i in range(5)))


def test_write_after_set_times(slow):
    """And a write after that moves them again, however far ahead they were."""
    create(slow.path / "f", b"x")
    with opened(slow.path / "f", WRONLY) as fd:
        os.write(fd, b"y" * 100)
        os.utime(fd, ns=(10**18, 4 * 10**18))
        os.write(fd, b"z" * 100)
    assert abs(os.stat(slow.server_path / "f").st_mtime - time.time()) < 60
    assert os.stat(slow.path / "f").st_mtime_ns == os.stat(slow.server_path / "f").st_mtime_ns


def test_atime_alone(slow):
    """Setting the access time leaves the mtime of a write that is under way alone."""
    with opened(slow.path / "f", WRONLY | CREAT) as fd:
        os.write(fd, b"x" * 1000)
        utimensat(slow.path / "f", (1000, 0), (0, UTIME_OMIT))
        assert abs(os.fstat(fd).st_mtime - time.time()) < 60
    info = os.stat(slow.server_path / "f")
    assert info.st_atime == 1000 and abs(info.st_mtime - time.time()) < 60


# --- truncation


@pytest.mark.parametrize("how", ["ftruncate", "truncate", "O_TRUNC", "O_CREAT|O_TRUNC"])
def test_truncated_while_pending(slow, how):
    """What was written before it is cut off, for good; what is written after it stays; between is a hole."""
    def cut(fd):
        if how == "ftruncate":
            os.ftruncate(fd, 0)
        elif how == "truncate":
            os.truncate(slow.path / "f", 0)
        else:
            os.close(os.open(slow.path / "f", WRONLY | TRUNC | (CREAT if "CREAT" in how else 0)))

    with opened(slow.path / "f", RDWR | CREAT) as fd:
        for i in range(4):
            for at in range(0, 500_000, 50_000):
                os.pwrite(fd, b"old" * 5000, at)
            cut(fd)
            assert os.fstat(fd).st_size == 0 and os.pread(fd, 10, 0) == b""
            os.pwrite(fd, b"new%d" % i, 100_000)
            forget_pages(fd)
            same(os.pread(fd, MIB, 0), bytes(100_000) + b"new%d" % i)
        os.fsync(fd)
        same(on_server(slow), bytes(100_000) + b"new3")


def test_truncated_in_the_middle(slow):
    """To a size within, and beyond, what is pending, down and up again: zeros where it was cut."""
    with opened(slow.path / "f", RDWR | CREAT) as fd:
        for size in (12_345, 4096, 1, 199_999):
            os.pwrite(fd, b"x" * 200_000, 0)
            os.ftruncate(fd, size)
            os.ftruncate(fd, 300_000)
            forget_pages(fd)
            same(os.pread(fd, MIB, 0), b"x" * size + bytes(300_000 - size))
    same(on_server(slow), b"x" * size + bytes(300_000 - size))


def test_emptied_by_another_opener(two):
    """This client's second opener empties the file while the first has written: the first goes on behind
    a hole; the other client sees that."""
    a, b = two
    with opened(a.path / "f", WRONLY | CREAT) as fd:
        os.write(fd, b"old" * 100_000)
        with opened(a.path / "f", WRONLY | TRUNC) as other:
            os.write(other, b"second")
        os.write(fd, b"first")
        assert os.fstat(fd).st_size == 300_005
    same(read(b.path / "f"), b"second" + bytes(299_994) + b"first")


# --- appending


def test_append_by_two_descriptors(slow):
    """Each record of either goes behind the last one of both, whatever was sent of them."""
    wanted = b""
    with opened(slow.path / "f", WRONLY | CREAT | APPEND) as a, opened(slow.path / "f", WRONLY | APPEND) as b:
        for i in range(100):
            record = b"%d" % (i % 10) * (1 + i * 37 % 5000)
            os.write((a, b)[i % 2], record)
            wanted += record
    same(on_server(slow), wanted)


def test_append_behind_plain_writes(slow):
    """An append goes behind what another descriptor has just written, or cut off."""
    with opened(slow.path / "f", WRONLY | CREAT) as fd, opened(slow.path / "f", WRONLY | APPEND) as log:
        os.pwrite(fd, b"x" * 10, 50_000)
        os.write(log, b"first")
        os.ftruncate(fd, 7)
        os.write(log, b"second")
        assert os.fstat(log).st_size == 13
    assert on_server(slow) == bytes(7) + b"second"


# --- names


def test_renamed_while_pending(slow):
    """Write, rename into place (as editors do), read by the new name; the data follows the file."""
    create(slow.path / "f", b"old")
    for i in range(5):
        data = pattern(100_000, i)
        with opened(slow.path / "new", WRONLY | CREAT) as fd:
            write_all(fd, data)
            os.rename(slow.path / "new", slow.path / "f")
            with opened(slow.path / "f") as other:
                assert os.fstat(other).st_size == len(data)
                same(read_all(other), data)
        same(on_server(slow), data)
    assert names_on_disk(slow.server_path) == ["f"]


def test_written_and_removed(slow):
    """A file that is removed with data pending is gone, and so is the data; a new one of its name has
    nothing of it; one that is still open can be read, and written, on."""
    for i in range(3):
        with opened(slow.path / "f", RDWR | CREAT) as fd:
            os.write(fd, b"old" * 50_000)
            os.unlink(slow.path / "f")
            create(slow.path / "f", b"new")
            os.pwrite(fd, b"more", 150_000)
            forget_pages(fd)
            same(os.pread(fd, MIB, 0), b"old" * 50_000 + b"more")
        assert on_server(slow) == b"new" and read(slow.path / "f") == b"new"
        os.unlink(slow.path / "f")
        assert names_on_disk(slow.server_path) == []


def test_replaced_while_pending(slow):
    """rename over a file that has pending data: those who have it open keep it."""
    with opened(slow.path / "f", RDWR | CREAT) as fd:
        os.write(fd, b"old" * 30_000)
        create(slow.path / "g", b"new")
        os.rename(slow.path / "g", slow.path / "f")
        assert read(slow.path / "f") == b"new"
        same(os.pread(fd, MIB, 0), b"old" * 30_000)
    assert on_server(slow) == b"new"
    assert names_on_disk(slow.server_path) == ["f"]


def test_linked_while_pending(slow):
    """A second name is the same file."""
    with opened(slow.path / "f", WRONLY | CREAT) as fd:
        os.write(fd, b"x" * 12_345)
        os.link(slow.path / "f", slow.path / "g")
        assert os.stat(slow.path / "g").st_size == 12_345
        assert read(slow.path / "g") == b"x" * 12_345
    assert on_server(slow, "g") == b"x" * 12_345


# --- other openers, other clients


def test_opener_of_the_same_client(slow):
    """Who opens a file for reading that somebody else has just written sees size and data; the open
    itself must not lose any of it."""
    with opened(slow.path / "f", WRONLY | CREAT) as fd:
        for i in range(10):
            os.write(fd, pattern(33_333, i))

            def look():
                with opened(slow.path / "f") as other:
                    return os.fstat(other).st_size, read_all(other)
            size, data = as_user(look, uid=0)
            assert size == 33_333 * (i + 1)
            same(data, b"".join(pattern(33_333, k) for k in range(i + 1)))


def test_other_client_after_fsync(two):
    """fsync is enough for another client that opens then, though more is written meanwhile."""
    a, b = two
    with opened(a.path / "f", RDWR | CREAT) as fd:
        for i in range(10):
            data = pattern(10_000 * (i + 1), i)
            os.pwrite(fd, data, 0)
            os.fsync(fd)
            os.pwrite(fd, b"", 0)
            same(read(b.path / "f"), data, f"round {i}")


def test_other_clients_change_after_our_close(two):
    """Written and closed here, then changed there: whoever opens here sees the change, and nothing that
    was kept of ours is written over it."""
    a, b = two
    create(a.path / "f", bytes(200_000))
    for i in range(10):
        with opened(a.path / "f", WRONLY) as fd:
            os.pwrite(fd, b"ours%d" % i * 1000, 10_000)
        tick()
        with opened(b.path / "f", WRONLY) as fd:
            os.pwrite(fd, b"their%d" % i * 10, 12_000)
        wanted = bytearray(read(b.path / "f"))
        assert wanted[12_000:12_006] == b"their%d" % i
        same(read(a.path / "f"), bytes(wanted), f"round {i}")
        with opened(a.path / "f", WRONLY) as fd:
            os.pwrite(fd, b"x", 199_999)
        wanted[199_999:] = b"x"
        same(read(b.path / "f"), bytes(wanted), f"round {i}")


def test_two_clients_write_in_turn(two):
    """Open, write, close in turn, odd ranges: each adds to what the other has closed."""
    model, rng = bytearray(), random.Random(4)
    create(two[0].path / "f")
    for i in range(60):
        at, data = rng.randrange(len(model) + 1), pattern(rng.randrange(1, 30_000), i)
        with opened(two[i % 2].path / "f", RDWR) as fd:
            same(os.pread(fd, MIB * 4, 0), bytes(model), f"turn {i}")
            os.pwrite(fd, data, at)
        model[at:at + len(data)] = data
    same(read(two[0].path / "f"), bytes(model))


# --- synchronous writes, O_DIRECT, mappings


@pytest.mark.parametrize("flags, options", [(os.O_SYNC, LONG), (os.O_DSYNC, LONG), (0, f"sync,{LONG}")],
                         ids=["O_SYNC", "O_DSYNC", "sync"])
def test_synchronous_over_pending(mount, flags, options):
    """A synchronous write that touches what another descriptor has pending comes after it, and is on the
    server's disk when it returns."""
    m, model = mount(options=options), bytearray(20_000)

    def put(fd, data, at):
        os.pwrite(fd, data, at)
        model[at:at + len(data)] = data

    with opened(m.path / "f", WRONLY | CREAT) as plain, opened(m.path / "f", WRONLY | flags) as fd:
        for i in range(10):
            put(plain, b"p" * 9000, i * 1000)
            put(fd, b"%d" % i * 700, i * 1000 + 500)
            assert on_server(m)[i * 1000 + 500:i * 1000 + 1200] == b"%d" % i * 700
        put(plain, b"q" * 100, 550)
        put(fd, b"end", 19_997)
    same(on_server(m), bytes(model))


def test_direct_over_pending(slow):
    """O_DIRECT writes over what is pending, and O_DIRECT reads of it: in the order of the calls."""
    model = bytearray(b"p" * 400_000)
    with opened(slow.path / "f", RDWR | CREAT) as fd, page_buffer(4096) as page, \
            opened(slow.path / "f", RDWR | os.O_DIRECT) as direct, page_buffer(400_000) as all_of_it:
        for i in range(6):
            os.pwrite(fd, b"%d" % i * 10_000, i * 9000)
            model[i * 9000:i * 9000 + 10_000] = b"%d" % i * 10_000
            if i == 0:
                os.pwrite(fd, model[10_000:], 10_000)
            page[:] = b"D" * 4096
            assert os.pwritev(direct, [page], i * 8192) == 4096
            model[i * 8192:i * 8192 + 4096] = b"D" * 4096
            assert on_server(slow)[i * 8192:i * 8192 + 4096] == b"D" * 4096
            os.pwrite(fd, b"after", i * 8192 + 100)
            model[i * 8192 + 100:i * 8192 + 105] = b"after"
            assert os.preadv(direct, [all_of_it], 0) == len(model)
            same(bytes(all_of_it), bytes(model), f"round {i}")


def test_mapping_and_writes(slow):
    """Stores in a mapping and writes to the same pages, in turn: the last one stays, in memory at once,
    on the server after msync and fsync."""
    def work(child):  # a page fault stops all threads of its process, the proxy's too
        model = bytearray(pattern(50_000))
        create(slow.path / "f", model)
        with opened(slow.path / "f", RDWR) as fd, mmap.mmap(fd, len(model)) as area:
            for i in range(40):
                at = i * 1201 % 49_000
                if i % 2:
                    area[at:at + 900] = bytes([i]) * 900
                else:
                    os.pwrite(fd, bytes([i]) * 900, at)
                model[at:at + 900] = bytes([i]) * 900
                same(bytes(area), bytes(model), f"mapping, step {i}")
                same(os.pread(fd, MIB, 0), bytes(model), f"read, step {i}")
                if i % 10 == 9:
                    area.flush()
                    os.fsync(fd)
                    same(on_server(slow), bytes(model), f"disk, step {i}")

    with Child(work) as child:
        child.wait(40)


@pytest.mark.parametrize("how", ["O_TRUNC", "truncate"])
@pytest.mark.parametrize("nconnect", [1, 8])
def test_mapping_written_back_while_truncated(mount, proxy, nconnect, how):
    """Pages with stores from before a truncation that the kernel writes back while it is under way do not
    bring the file's old size back."""
    m = mount(nconnect=nconnect, server=proxy, options=LONG)
    held = proxy.on("SETATTR", Hold(on="call"))

    def work(child):
        path = m.path / "f"
        create(path, bytes(20_000))
        with opened(path, RDWR) as fd, mmap.mmap(fd, 20_000) as area:
            area[5000:9000] = b"m" * 4000
            cut = threading.Thread(target=lambda: os.truncate(path, 0) if how == "truncate"
                                   else os.close(os.open(path, WRONLY | TRUNC)))
            cut.start()
            child.tell()
            child.hear()
            back = threading.Thread(target=libc.sync_file_range,
                                    args=(fd, ctypes.c_int64(0), ctypes.c_int64(0), SYNC_FILE_RANGE_WRITE))
            back.start()
            child.tell()
            cut.join()
            back.join()
            size = os.fstat(fd).st_size
            os.fsync(fd)
            return size, os.fstat(fd).st_size

    with Child(work) as child:
        child.hear()
        held.wait()
        child.tell()
        child.hear()
        time.sleep(0.2)  # for the kernel to write back, if it does
        held.end()
        assert child.wait(20) == (0, 0)
    assert on_server(m) == b""


# --- permission and identity


@pytest.mark.parametrize("mode", [0o400, 0o000])
def test_mode_taken_while_pending(slow, mode):
    """Written, then made unwritable: the data was accepted under the old mode, and is saved by close."""
    os.chmod(slow.path, 0o777)

    def user():
        fd = os.open(slow.path / "f", WRONLY | CREAT)
        write_all(fd, b"x" * 300_000)
        os.fchmod(fd, mode)
        os.write(fd, b"more")
        os.close(fd)

    as_user(user)
    same(on_server(slow), b"x" * 300_000 + b"more")


def test_written_by_another_than_who_closes(slow):
    """A descriptor of root's, in the hands of a user who may not write the file, and the other way round:
    what each has written is saved when the other closes."""
    with opened(slow.path / "f", WRONLY | CREAT, 0o600) as fd:
        os.write(fd, b"root" * 1000)
        as_user(lambda: os.write(fd, b"user" * 1000))
        as_user(lambda: os.fsync(fd))
        assert on_server(slow) == b"root" * 1000 + b"user" * 1000


# --- errors


def numbers(*calls):
    """The error of each (function, argument ...), in turn."""
    return [errno_of(*call) for call in calls]


def told(results):
    return [number for number in results if number]


@pytest.mark.parametrize("status, number", [("NOSPC", errno.ENOSPC), ("DQUOT", errno.EDQUOT),
                                            ("IO", errno.EIO)])
@pytest.mark.parametrize("last", ["fsync", "close"])
def test_error_is_told_once(mount, proxy, status, number, last):
    """WRITEs are refused: one of write, fsync and close says so, once; who opens the file later is not
    told, and can write."""
    m = mount(server=proxy)
    m.expect_log("are lost")
    refused = proxy.on("WRITE", Status(status))
    fd = os.open(m.path / "f", WRONLY | CREAT)
    calls = [(os.pwrite, fd, b"x" * 5000, 0)] + [(os.fsync, fd)] * (3 if last == "fsync" else 0)
    assert told(numbers(*calls, (os.close, fd))) == [number]
    refused.end()
    with opened(m.path / "f", WRONLY) as later:
        os.pwrite(later, b"y" * 100, 0)
        os.fsync(later)
    assert on_server(m) == b"y" * 100


def test_error_is_told_to_each_writer(mount, proxy):
    """Two descriptors have written: each is told once, at its own next call; a third, opened after the
    loss, is not; nor is what is written later in danger."""
    m = mount(server=proxy)
    m.expect_log("are lost")
    a, b = (os.open(m.path / "f", WRONLY | CREAT) for _ in range(2))
    with proxy_refuses(proxy):
        results = {fd: numbers((os.pwrite, fd, b"x" * 5000, at)) for fd, at in ((a, 0), (b, 50_000))}
        results[a] += numbers((os.fsync, a))
        results[b] += numbers((os.fsync, b))
    with opened(m.path / "f", WRONLY) as later:
        assert numbers((os.pwrite, later, b"z", 100_000), (os.fsync, later)) == [0, 0]
    for fd in (a, b):
        results[fd] += numbers((os.fsync, fd), (os.fsync, fd), (os.close, fd))
    for fd in (a, b):
        assert told(results[fd])[:1] == [errno.EIO] and results[fd][-2:] == [0, 0], results


@contextlib.contextmanager
def proxy_refuses(proxy, status="IO"):
    rule = proxy.on("WRITE", Status(status))
    yield rule
    rule.end()


def test_error_then_right(mount, proxy):
    """A refusal in the middle of a file: after it was told, the same data can be written again, and
    then all of it is there."""
    m, data = mount(server=proxy), pattern(3 * MIB)
    m.expect_log("are lost")
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        refused = proxy.on("WRITE", Status("NOSPC"), times=1, skip=1)
        first = [errno_of(os.pwrite, fd, data[at:at + MIB], at) for at in range(0, len(data), MIB)]
        first.append(errno_of(os.fsync, fd))
        assert refused.hits == 1 and told(first) == [errno.ENOSPC]
        for at in range(0, len(data), MIB):
            os.pwrite(fd, data[at:at + MIB], at)
        os.fsync(fd)
    same(on_server(m), data)


def test_full_disk(mount, server):
    """A real one: the writer is told at write, fsync or close, and the file has no bytes but those that
    were written; when there is room again, all goes well."""
    m = mount(nconnect=4, export=server.small)
    m.expect_log("are lost")
    piece, results, n = pattern(64 * KIB), [], 0
    fd = os.open(m.path / "f", WRONLY | CREAT)
    while not told(results) and n < 64 * MIB:
        results.append(errno_of(os.pwrite, fd, piece, n))
        n += len(piece)
    results += numbers((os.fsync, fd), (os.fsync, fd), (os.close, fd))
    assert told(results)[:1] == [errno.ENOSPC] and results[-1] == 0
    content = on_server(m)
    for at in range(0, len(content), len(piece)):
        part = content[at:at + len(piece)]
        assert part in (piece[:len(part)], bytes(len(part))), f"at {at}"
    os.truncate(m.path / "f", 0)
    create(m.path / "g", piece)
    assert on_server(m, "g") == piece


# --- memory, fairness


def rss(m):
    with open(f"/proc/{m.pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * KIB for line in file if line.startswith("VmRSS"))


@pytest.mark.parametrize("wbuf", [1, 16])
def test_memory_bound(mount, proxy, wbuf):
    """Writers faster than the server: the daemon's memory stays within wbuf and 32 MiB, and all of it
    arrives."""
    m = mount(nconnect=4, server=proxy, options=f"wbuf={wbuf}M")
    proxy.on("WRITE", Delay(0.05, on="call"))
    data = pattern((wbuf + 32) * MIB)  # four times what may be held

    def writer(i, child):
        with opened(m.path / f"f{i}", WRONLY | CREAT) as fd:
            for at in range(0, len(data), 256 * KIB):
                os.pwrite(fd, data[at:at + 256 * KIB], at)

    children, peak = [Child(writer, i) for i in range(4)], 0
    while any(child.alive for child in children):
        peak = max(peak, rss(m))
        time.sleep(0.02)
    for i, child in enumerate(children):
        child.wait()
        child.close()
        same(on_server(m, f"f{i}"), data)
    assert "build-" in os.environ.get("FUSENFS", "") or peak < (wbuf + 32) * MIB, f"{peak} bytes"


def test_small_writer_next_to_a_big_one(mount, proxy):
    """A writer that fills the buffer does not keep a small one of another file waiting for long."""
    m = mount(nconnect=4, server=proxy, options="wbuf=4M")
    proxy.on("WRITE", Delay(0.05, on="call"))

    def big(child):
        with opened(m.path / "big", WRONLY | CREAT) as fd:
            data = bytes(MIB)
            while not child_told(child):
                os.pwrite(fd, data, 0)
                os.pwrite(fd, data, 8 * MIB)
                os.pwrite(fd, data, 16 * MIB)

    with Child(big) as child:
        wait_for(lambda: proxy.count("WRITE") > 10, 20, "the big one's WRITEs")
        worst = 0
        with opened(m.path / "small", WRONLY | CREAT) as fd:
            for i in range(4):
                start = time.monotonic()
                os.pwrite(fd, b"%d" % i * 1000, i * 1000)
                os.fsync(fd)
                worst = max(worst, time.monotonic() - start)
        assert child.alive
        child.tell()
        child.wait(30)
    assert on_server(m, "small") == b"".join(b"%d" % i * 1000 for i in range(4))
    assert worst < 5, f"{worst:.1f} s for one small write and fsync"


def child_told(child):
    return bool(select.select([child.readable], [], [], 0)[0])
