# SPDX-License-Identifier: GPL-2.0-or-later
"""Written data and a server that does not answer: it is held and saved, or lost loudly; its memory is
bounded; and no copy of a WRITE that comes late undoes what was written since."""

import contextlib
import ctypes
import errno
import os
import re
import signal
import socket
import struct
import threading
import time

import pytest

from lab.child import Child
from lab.procs import wait_for
from lab.proxy import Action, Drop, Hold, LoseWrite, Proxy, Status, framed
from support import KIB, MIB, errno_of, is_sanitized, libc, opened, pattern, same, write_all

DEADLINE = 2  # seconds, of SHORT
SHORT = f"timeo={DEADLINE * 5},retrans=1,detect=1"
LOUD = r"not responding|timed out|given up|gave up"
LOST = re.compile(r"(\d+) bytes of file (\d+) \((.*)\) are lost: .*")
RDWR, WRONLY, CREAT = os.O_RDWR, os.O_WRONLY, os.O_CREAT
BLOCK = 4096


@pytest.fixture
def proxy(server, mount):
    with Proxy(server) as made:
        yield made
        made.clear()
        made.resume()
        made.listen()
        for m in mount.mounts:
            m.expect_log(LOUD)
            if m.mounted and m.alive:
                m.umount()


def seconds(func, *args):
    """(errno or 0, how long it took)"""
    start = time.monotonic()
    return errno_of(func, *args), time.monotonic() - start


# --- held


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("nconnect", [1, 8])
def test_held_over_an_outage(mount, server, nconnect, closed):
    """The server crashes and loses all it had not committed. fsync and close say so at their
    deadline, and when the server is back the data is written again by itself."""
    m = mount(nconnect=nconnect, options=SHORT)
    m.expect_log(LOUD)
    big, small = pattern(3 * MIB), pattern(BLOCK, 1)

    def work(child):
        a, b = (os.open(m.path / name, WRONLY | CREAT) for name in "ab")
        write_all(a, big)
        for i in range(300):
            os.pwrite(b, small, i * 2 * BLOCK)
        child.tell()
        child.hear()
        results = [seconds(os.fsync, fd) for fd in (a, b)]
        if closed:
            results += [seconds(os.close, fd) for fd in (a, b)]
        child.tell(results)
        child.hear()
        return [errno_of(os.fsync, fd) for fd in (a, b)] if not closed else []

    with Child(work) as child:
        child.hear(20)
        server.kill()
        for name in "ab":  # what had come to the disk, too
            path = m.server_path / name
            path.write_bytes(bytes(path.stat().st_size))
        child.tell()
        for error, took in child.hear(5 * DEADLINE):
            assert error == errno.ETIMEDOUT and took < DEADLINE + 1.5
        server.start()
        wait_for(lambda: "OK (outage" in m.log(), 10, "the server to be back")
        blocks = lambda: (m.server_path / "b").read_bytes()
        wait_for(lambda: (m.server_path / "a").read_bytes() == big, 3, "the data")
        wait_for(lambda: all(blocks()[i * 2 * BLOCK:][:BLOCK] == small for i in range(300)), 3,
                 "the blocks")
        child.tell()
        assert child.wait(10) in ([], [0, 0])
    assert "are lost" not in m.log()
    m.umount()


def test_retried_promptly(mount, proxy):
    """Half a second after the server is back the COMMIT is there."""
    m = mount(server=proxy, options=SHORT, nconnect=4)

    def work(child):
        fd = os.open(m.path / "f", WRONLY | CREAT)
        for i in range(2):
            os.pwrite(fd, b"x" * 10_000, 50_000 * i)
        os.fstat(fd)  # the server has it, unstable
        child.tell()
        child.hear()
        child.tell(seconds(os.fsync, fd))
        child.hear()

    with Child(work) as child:
        child.hear()
        proxy.refuse()
        proxy.cut()
        child.tell()
        assert child.hear(10)[0] == errno.ETIMEDOUT
        wait_for(lambda: "not responding" in m.log(), 20, "the server to count as down")
        before = proxy.count("COMMIT")
        proxy.listen()
        wait_for(lambda: "OK (outage" in m.log(), 10)
        start = time.monotonic()
        wait_for(lambda: proxy.count("COMMIT") > before, 5, "another COMMIT")
        assert time.monotonic() - start < 0.7
        child.tell()
        child.wait()


def test_down_fails_at_once(mount, proxy):
    """While the server is known to be down: fsync, close and write do not wait."""
    m = mount(server=proxy, options=SHORT, nconnect=2)

    def work(child):
        fd = os.open(m.path / "f", WRONLY | CREAT)
        os.write(fd, b"x" * 10_000)
        child.tell()
        child.hear()
        errno_of(os.fsync, fd)
        child.tell()
        child.hear()
        child.tell([seconds(os.fsync, fd), seconds(os.write, fd, b"y"), seconds(os.close, fd)])

    with Child(work) as child:
        child.hear()
        proxy.refuse()
        proxy.cut()
        child.tell()
        child.hear(10)
        wait_for(lambda: "not responding" in m.log(), 20)
        child.tell()
        for error, took in child.hear(10):
            assert error == errno.ETIMEDOUT and took < 0.5
        child.wait()
    proxy.listen()
    wait_for(lambda: (m.server_path / "f").read_bytes() == b"x" * 10_000, 10)
    m.umount()


def test_hard_holds(mount, proxy):
    """hard: neither deadtimeo nor softwrite=fail end it."""
    m, data = mount(server=proxy, options="hard,deadtimeo=1,softwrite=fail,detect=1"), pattern(MIB)

    def work(child):
        with opened(m.path / "f", WRONLY | CREAT) as fd:
            os.write(fd, data)
            child.tell()
            child.hear()
            os.fsync(fd)

    with Child(work) as child:
        child.hear()
        proxy.stall()
        child.tell()
        time.sleep(5)
        assert child.alive
        proxy.resume()
        child.wait(10)
    same((m.server_path / "f").read_bytes(), data)


# --- lost


def two_files(m, child):
    """Written through one of two descriptors; told ["fsync"]..., does it to both and answers."""
    a, b = os.open(m.path / "f", RDWR | CREAT), os.open(m.path / "f", RDWR)
    os.write(a, b"x" * 10_000)
    fds = {"a": a, "b": b}
    child.tell()
    while (order := child.hear(60)) is not None:
        what, which = order
        if what == "write":
            child.tell(seconds(os.pwrite, fds[which], b"new", 0))
        elif what == "open":
            fds[which] = os.open(m.path / "f", RDWR)
            child.tell()
        else:
            child.tell(seconds({"fsync": os.fsync, "close": os.close}[what], fds[which]))


def ask(child, *order):
    child.tell(order)
    return child.hear(20)


def end(child):
    child.tell(None)
    child.wait()


@pytest.mark.parametrize("soft, number", [("softerr", errno.ETIMEDOUT), ("soft", errno.EIO)])
def test_deadtimeo(mount, proxy, soft, number):
    """After deadtimeo the data is lost: one line in the log, and once an error for each open file,
    at whatever it does next."""
    m = mount(server=proxy, options=f"{SHORT},deadtimeo=4,{soft}")
    m.expect_log("are lost")
    with Child(lambda child: two_files(m, child)) as child:
        child.hear()
        fileid = (m.server_path / "f").stat().st_ino
        proxy.stall()
        error, took = ask(child, "fsync", "a")
        assert error == number and took < DEADLINE + 1.5
        assert "are lost" not in m.log()
        wait_for(lambda: "are lost" in m.log(), 10, "the loss")
        proxy.resume()
        wait_for(lambda: "OK (outage" in m.log() or "not responding" not in m.log(), 10)
        assert ask(child, "fsync", "a")[0] == number
        assert ask(child, "fsync", "a")[0] == 0
        ask(child, "open", "c")
        assert ask(child, "write", "b")[0] == number
        assert ask(child, "write", "b")[0] == 0
        assert ask(child, "fsync", "c")[0] == 0
        assert [ask(child, "close", fd)[0] for fd in "abc"] == [0, 0, 0]
        end(child)
    bytes_lost, file, name = LOST.search(m.log()).groups()
    assert (int(bytes_lost), int(file), name) == (10_000, fileid, "f")
    assert m.log().count("are lost") == 1
    assert (m.server_path / "f").read_bytes()[:3] == b"new"


def test_softwrite_fail(mount, proxy):
    """softwrite=fail: lost at the deadline of the fsync, which is who is told."""
    m = mount(server=proxy, options=f"{SHORT},softwrite=fail")
    m.expect_log("are lost")
    with Child(lambda child: two_files(m, child)) as child:
        child.hear()
        proxy.stall()
        error, took = ask(child, "fsync", "a")
        assert error == errno.ETIMEDOUT and DEADLINE - 0.5 < took < DEADLINE + 1.5
        assert m.log().count("are lost") == 1
        error, took = ask(child, "fsync", "a")  # nothing is left to be saved
        assert error == 0 and took < 0.5
        assert ask(child, "close", "b")[0] == errno.ETIMEDOUT
        assert ask(child, "close", "a")[0] == 0
        end(child)
        proxy.resume()


def test_lost_while_closed(mount, proxy):
    """Nobody has it open when the data is lost: the next one to open it is told, once."""
    m = mount(server=proxy, options=f"{SHORT},deadtimeo=4")
    m.expect_log("are lost")

    def work(child):
        keeps = os.open(m.path / "f", WRONLY | CREAT)
        os.set_inheritable(keeps, False)
        os.write(keeps, b"x" * 1000)
        child.tell()
        child.hear()
        child.tell(errno_of(os.close, keeps))
        child.hear()
        with opened(m.path / "f", WRONLY) as first:
            with opened(m.path / "f", WRONLY) as second:
                child.tell([errno_of(os.fsync, fd) for fd in (first, second, first, second)])
        with opened(m.path / "f", WRONLY) as third:
            child.tell(errno_of(os.fsync, third))

    with Child(work) as child:
        child.hear()
        proxy.stall()
        child.tell()
        assert child.hear(10) == errno.ETIMEDOUT
        wait_for(lambda: "are lost" in m.log(), 10)
        proxy.resume()
        wait_for(lambda: "OK (outage" in m.log(), 10, "the server")
        child.tell()
        assert child.hear() == [errno.ETIMEDOUT, errno.ETIMEDOUT, 0, 0]
        assert child.hear() == 0
        child.wait()


@pytest.mark.parametrize("status, number", [("NOSPC", errno.ENOSPC), ("DQUOT", errno.EDQUOT),
                                            ("IO", errno.EIO)])
def test_rewrite_is_refused(mount, proxy, status, number):
    """The server forgets what it had, and has no room when it is sent again: fsync says so, once to
    each open file."""
    m = mount(server=proxy)
    m.expect_log("are lost")
    lost = proxy.on("WRITE", LoseWrite(), times=1)
    with opened(m.path / "f", WRONLY | CREAT) as a, opened(m.path / "f", WRONLY) as b:
        os.pwrite(a, b"x" * 1000, 1000)
        os.fstat(a)  # the server has it
        assert lost.hits == 1
        refused = proxy.on("WRITE", Status(status))
        assert [errno_of(os.fsync, fd) for fd in (a, a, b, b)] == [number, 0, number, 0]
        assert refused.hits == 1
        refused.end()
        os.pwrite(a, b"y" * 1000, 0)
        os.fsync(a)
    assert (m.server_path / "f").read_bytes() == b"y" * 1000


# --- stale copies


class Stale(Action):
    """The call is kept and its connection cut. deliver(): the server gets it, late."""

    def __init__(self, server, cut=True):
        self.server, self.cut, self.records = server, cut, []

    def call(self, link, call):
        self.records.append(bytes(call.record))
        if self.cut:
            link.cut()

    def deliver(self):
        with socket.create_connection((self.server.connect_host, self.server.nfs_port), 5) as sock:
            for record in self.records:
                sock.sendall(framed(record))
                mark, = struct.unpack(">I", sock.recv(4, socket.MSG_WAITALL))
                sock.recv(mark & 0x7fffffff, socket.MSG_WAITALL)


@contextlib.contextmanager
def delivered_after(pause, stale):
    timer = threading.Timer(pause, stale.deliver)
    timer.start()
    yield
    timer.join()


@pytest.mark.parametrize("nconnect", [1, 8])
@pytest.mark.parametrize("second", ["write", "truncate", "open"])
def test_stale_write(mount, proxy, nconnect, second):
    """W1 is sent again when its connection breaks, and the server gets the first copy a second after
    the answer to the second one: what was written or cut off since stays as it is."""
    m = mount(server=proxy, nconnect=nconnect)
    stale = Stale(proxy.server)
    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.pwrite(fd, b"0" * 20_000, 0)
        os.fstat(fd)  # the server has it
        rule = proxy.on("WRITE", stale, times=1)
        os.pwrite(fd, b"A" * 10_000, 5000)
        os.fstat(fd)
        assert rule.hits == 1
        with delivered_after(1.0, stale):
            start = time.monotonic()
            os.fsync(fd)                       # these do not wait for the quarantine
            os.pwrite(fd, b"C" * 5000, 0)
            assert time.monotonic() - start < 0.9
            if second == "write":
                os.pwrite(fd, b"B" * 100, 7000)
                os.fsync(fd)
            elif second == "truncate":
                os.ftruncate(fd, 6000)
            else:
                os.close(os.open(m.path / "f", WRONLY | os.O_TRUNC))
            assert 1.5 < time.monotonic() - start < 3.5
    expected = {"write": b"C" * 5000 + b"A" * 2000 + b"B" * 100 + b"A" * 7900 + b"0" * 5000,
                "truncate": b"C" * 5000 + b"A" * 1000, "open": b""}[second]
    same((m.server_path / "f").read_bytes(), expected)


def test_stale_write_that_timed_out(mount, proxy):
    """The same for a WRITE that nobody has answered: fsync has failed, and what is written there then
    stays."""
    m = mount(server=proxy, options=f"timeo=20,retrans=1,detect=20", nconnect=4)
    stale = Stale(proxy.server, cut=False)
    with opened(m.path / "f", RDWR | CREAT) as fd:
        rule = proxy.on("WRITE", stale)
        os.pwrite(fd, b"A" * 10_000, 0)
        assert errno_of(os.fsync, fd) == errno.ETIMEDOUT
        rule.end()
        with delivered_after(1.0, stale):
            os.pwrite(fd, b"B" * 10_000, 0)
        os.fsync(fd)
    assert (m.server_path / "f").read_bytes() == b"B" * 10_000


def test_stale_truncate(mount, proxy):
    """A truncation that was sent again does not cut off what was written since."""
    m = mount(server=proxy)
    stale = Stale(proxy.server)
    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.pwrite(fd, b"0" * 20_000, 0)
        os.fsync(fd)
        rule = proxy.on("SETATTR", stale, times=1)
        os.ftruncate(fd, 5000)
        assert rule.hits == 1
        with delivered_after(1.0, stale):
            start = time.monotonic()
            os.pwrite(fd, b"C" * 5000, 0)
            assert time.monotonic() - start < 0.9
            os.pwrite(fd, b"B" * 5000, 5000)
    same((m.server_path / "f").read_bytes(), b"C" * 5000 + b"B" * 5000)


def test_killed_in_quarantine(mount, proxy):
    """Who waits for a quarantine can be killed at once, and his write or truncation is not done."""
    m = mount(server=proxy)
    stale = Stale(proxy.server)

    def work(child):
        fd = os.open(m.path / "f", RDWR | os.O_DSYNC)
        child.tell()
        os.pwrite(fd, b"B" * 10_000, 0)

    def cut(child):
        child.tell()
        os.truncate(m.path / "f", 5)

    for body in (work, cut):
        with opened(m.path / "f", RDWR | CREAT) as fd:
            proxy.on("WRITE", stale, times=1)
            os.pwrite(fd, b"A" * 10_000, 0)
            os.fstat(fd)
            with Child(body) as child:
                child.hear()
                time.sleep(0.3)
                child.kill()
                assert child.wait_end(2) < 1
        time.sleep(2.5)
        assert (m.server_path / "f").read_bytes() == b"A" * 10_000


def test_truncation_of_a_killed_process(mount, proxy):
    """Its SETATTR is still under way when the next process writes: that waits, and stays."""
    m = mount(server=proxy, nconnect=4)

    def cut(child):
        child.tell()
        os.truncate(m.path / "f", 0)

    with opened(m.path / "f", RDWR | CREAT) as fd:
        os.pwrite(fd, b"A" * 10_000, 0)
        os.fsync(fd)
        hold = proxy.on("SETATTR", Hold(on="call"), times=1)
        with Child(cut) as child:
            child.hear()
            hold.wait()
            child.kill()
            child.wait_end(3)
        threading.Timer(0.7, hold.end).start()
        start = time.monotonic()
        os.pwrite(fd, b"B" * 5000, 0)
        os.fsync(fd)
        assert 0.5 < time.monotonic() - start < 3
    assert (m.server_path / "f").read_bytes() == b"B" * 5000


# --- memory


def rss(m):
    with open(f"/proc/{m.pid}/status") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * KIB


def test_one_file_does_not_stop_the_others(mount, proxy):
    """COMMITs of one file have no answer, and what is held for it fills the buffer: others go on."""
    m = mount(server=proxy, options="wbuf=1M", nconnect=4)

    def work(child):
        with contextlib.suppress(OSError):
            with opened(m.path / "bad", WRONLY | CREAT) as fd:
                write_all(fd, bytes(2 * MIB))
                child.tell()
                while True:
                    os.write(fd, bytes(64 * KIB))

    (m.server_path / "bad").touch()
    handle = {}

    def is_bad(call):
        args = call.args
        return args.opaque() == handle.get("bad")

    first = proxy.on("WRITE", Action(), times=1)
    with opened(m.path / "bad", WRONLY) as fd:
        os.write(fd, b"x")
    handle["bad"] = first.calls[0].io[0]
    hold = Hold(on="call")
    rule = proxy.on("COMMIT", hold, where=is_bad)
    with Child(work) as child:
        rule.wait(timeout=20)
        start = time.monotonic()
        with opened(m.path / "good", WRONLY | CREAT) as fd:
            for _ in range(64):
                os.write(fd, bytes(128 * KIB))
            os.fsync(fd)
        assert time.monotonic() - start < 12
        assert (m.server_path / "good").stat().st_size == 8 * MIB
        child.kill()
        rule.end()


def test_memory_of_interrupted_writers(mount, proxy):
    """With intr, a storm of signals and a server that commits nothing: memory is bounded all the
    same."""
    m = mount(server=proxy, options="wbuf=1M,intr", nconnect=2)
    hold = proxy.on("COMMIT", Hold(on="call"))
    before = rss(m)

    def storm(i, child):
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.siginterrupt(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        fd = os.open(m.path / f"w{i}", WRONLY | CREAT)
        until, data, n, tries = time.monotonic() + 4, bytes(256 * KIB), 0, 0
        while time.monotonic() < until:
            # os.pwrite() would try again after a signal
            n += max(0, libc.pwrite(fd, data, ctypes.c_size_t(len(data)), ctypes.c_int64(n)))
            tries += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        child.tell(tries)
        child.hear(30)

    children = [Child(storm, i) for i in range(4)]
    assert sum(child.hear(15) for child in children) > 500, "many were interrupted"
    grown = rss(m) - before
    hold.end()
    for child in children:
        child.tell()
        child.wait(15)
        child.close()
    assert is_sanitized() or grown < 24 * MIB, f"{grown} bytes more"
    m.umount()
    assert "given up" not in m.log()


def test_many_small_writes_are_held(mount, server):
    """Thousands of small ranges in many files, a server that dies: all are there afterwards."""
    m = mount(nconnect=4, options=f"{SHORT},wbuf=4M")
    m.expect_log(LOUD)
    n_files, n_blocks = 60, 40

    def work(child):
        fds = [os.open(m.path / f"f{i}", WRONLY | CREAT) for i in range(n_files)]
        for block in range(n_blocks):
            for i, fd in enumerate(fds):
                os.pwrite(fd, b"%04d" % i, block * 10)
        child.tell()
        child.hear(30)
        for fd in fds:
            errno_of(os.close, fd)
        child.tell()

    with Child(work) as child:
        child.hear(30)
        server.kill()
        for i in range(n_files):
            path = m.server_path / f"f{i}"
            path.write_bytes(bytes(path.stat().st_size))
        child.tell()
        child.hear(40)
        child.wait()
    server.start()

    def is_there(i):
        data = (m.server_path / f"f{i}").read_bytes()
        return all(data[b * 10:b * 10 + 4] == b"%04d" % i for b in range(n_blocks))
    wait_for(lambda: all(map(is_there, range(n_files))), 20, "all of it")
    assert "are lost" not in m.log()
    m.umount()


@pytest.mark.parametrize("hold", ["hold", "fail"])
def test_end_with_held_data(mount, proxy, hold):
    """The mount ends while data is held and writers wait for memory: nothing leaks (ASan), and the log
    says what was given up."""
    m = mount(server=proxy, options=f"wbuf=1M,softwrite={hold}", nconnect=2)
    m.expect_log("are lost|given up|still in use")

    def work(i, child):
        fd = os.open(m.path / f"w{i}", WRONLY | CREAT)
        child.tell()
        with contextlib.suppress(OSError):
            while True:
                os.write(fd, bytes(128 * KIB))

    children = [Child(work, i) for i in range(3)]
    for child in children:
        child.hear()
    proxy.on("COMMIT", Drop(on="call"))
    time.sleep(1)
    proxy.stall()
    time.sleep(1)
    m.abort()
    m.process.wait(20)
    for child in children:
        child.kill()
        child.close()
    assert "given up" in m.log()
