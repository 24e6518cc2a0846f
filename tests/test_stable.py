# SPDX-License-Identifier: GPL-2.0-or-later
"""What fsync and close promise: data is on the server's disk, the newest of it, also when the server
was restarted between WRITE and COMMIT and has forgotten what it only had in memory."""

import errno
import os
import re
import select
import signal

import pytest

from lab.child import Child
from lab.procs import wait_for
from lab.proxy import Hold, Proxy
from support import MIB

BLOCK = 4096
AGAIN = r"the server restarted: writing \d+ ranges"


def across_restart(m, server, before, after):
    """before(fd) on a new file, a restart of the server, after(fd), fsync: the file on its disk."""
    def body(child):
        fd = os.open(m.path / "f", os.O_RDWR | os.O_CREAT)
        before(fd)
        os.fstat(fd)  # the server has it now
        child.tell()
        child.hear(30)
        after(fd)
        os.fsync(fd)
        os.close(fd)

    m.expect_log(AGAIN)
    with Child(body) as child:
        child.hear()
        server.restart()
        child.tell()
        child.wait(40)
    return (m.server_path / "f").read_bytes()


def blocks(count):
    """Writes every other block, so that none can be joined with its neighbour."""
    def body(fd):
        for i in range(count):
            os.pwrite(fd, b"A" * BLOCK, i * 2 * BLOCK)
    return body


@pytest.mark.parametrize("at", [0, 30, 59])
def test_newer_data_wins(m, server, at):
    """Ranges that are sent again after a restart never overwrite what was written since."""
    data = across_restart(m, server, blocks(60),
                          lambda fd: os.pwrite(fd, b"B" * BLOCK, at * 2 * BLOCK))
    for i in range(60):
        expected = b"B" if i == at else b"A"
        assert data[i * 2 * BLOCK:(i * 2 + 1) * BLOCK] == expected * BLOCK


def test_newer_piece_wins(m, server):
    """The same where the newer data covers the front, the middle and the end of older ranges."""
    def after(fd):
        for i, (start, length) in enumerate([(0, 100), (1000, 100), (BLOCK - 100, 200)]):
            os.pwrite(fd, b"B" * length, i * 2 * BLOCK + start)

    data = across_restart(m, server, blocks(3), after)
    assert data[0:200] == b"B" * 100 + b"A" * 100
    assert data[2 * BLOCK + 900:2 * BLOCK + 1200] == b"A" * 100 + b"B" * 100 + b"A" * 100
    assert data[5 * BLOCK - 200:5 * BLOCK + 100] == b"A" * 100 + b"B" * 200
    assert len(data) == 5 * BLOCK + 100


def test_failed_overwrite_keeps_the_older(m, server):
    """A WRITE that fails does not cost the data it was to replace."""
    def before(fd):
        blocks(2)(fd)
        os.fstat(fd)
        with server.inject("pwritev:error=EDQUOT"):
            os.pwrite(fd, b"B" * BLOCK, 0)
            os.fstat(fd)
        with pytest.raises(OSError) as caught:
            os.pwrite(fd, b"C", 0)
        assert caught.value.errno == errno.EDQUOT

    m.expect_log("write-lost|are lost")
    data = across_restart(m, server, before, lambda fd: None)
    assert data[:BLOCK] == b"A" * BLOCK


def test_written_again_when_told_to_end(mount, server):
    """SIGTERM after a restart of the server: what was not committed is written again first."""
    m = mount(nconnect=4)

    def body(child):
        fd = os.open(m.path / "f", os.O_RDWR | os.O_CREAT)
        blocks(3)(fd)
        os.fstat(fd)
        child.tell()
        child.hear(60)

    with Child(body) as child:
        child.hear()
        m.expect_log(AGAIN)
        server.restart()
        m.expect_exit(0)
        os.kill(m.pid, signal.SIGTERM)
        wait_for(lambda: not m.mounted, 15)
        assert (m.server_path / "f").read_bytes()[:BLOCK] == b"A" * BLOCK
        assert re.search(AGAIN + r" of file \d+ again \[verf-changed\]", m.log())
        child.kill()


@pytest.mark.parametrize("last", ["fsync", "close", "exit"])
@pytest.mark.parametrize("proc, size", [("WRITE", BLOCK), ("WRITE", 3 * MIB), ("COMMIT", 3 * MIB)])
def test_nothing_is_reported_before_its_answer(mount, server, proc, size, last):
    """fsync, close, and the end of a process that did neither, wait for the very last answer."""
    def body(child):
        fd = os.open(m.path / "f", os.O_WRONLY | os.O_CREAT)
        os.pwrite(fd, bytes(size), 0)
        child.tell()
        child.hear()
        if last == "exit":
            os._exit(0)
        os.fsync(fd) if last == "fsync" else os.close(fd)
        child.tell("done")

    with Proxy(server) as proxy:
        m = mount(nconnect=4, server=proxy)
        held = proxy.on(proc, Hold())
        with Child(body) as child:
            child.hear()
            child.tell()
            held.wait()
            assert not select.select([child.readable], [], [], 0.7)[0] and child.alive
            held.end()
            if last == "exit":
                child.wait_end(10)
            else:
                assert child.hear() == "done"
        m.umount()
    assert (m.server_path / "f").stat().st_size == size


def test_more_than_the_buffer(mount):
    """Writers get past wbuf=, also when another file that is open holds nothing any more."""
    m = mount(nconnect=4, options="wbuf=1M")
    first = os.open(m.path / "a", os.O_RDWR | os.O_CREAT)
    second = os.open(m.path / "a", os.O_RDWR | os.O_SYNC)
    os.pwrite(first, b"x" * BLOCK, 0)
    os.pwrite(second, b"y" * BLOCK, 0)
    with open(m.path / "b", "wb", buffering=0) as file:
        for _ in range(8):
            assert file.write(b"z" * (1 << 20)) == 1 << 20
    os.close(second)
    os.close(first)
    assert (m.server_path / "a").read_bytes() == b"y" * BLOCK
    assert (m.server_path / "b").stat().st_size == 8 << 20
