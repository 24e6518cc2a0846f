# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks that hold between machines (-o lock: NLM version 4). Two mounts are two machines: they share
nothing but the server. What fcntl(2) and flock(2) say on a local disk is the model."""

import errno
import fcntl
import os
import random
import signal
import sqlite3
import struct
import subprocess
import time

import pytest

from lab.child import Child
from lab.command import fusenfs
from lab.far import WAYS, FarServer
from lab.ganesha import Export
from lab.procs import wait_for
from lab.proxy import Hold, Proxy

FLOCK = "hhqqi4x"
F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW = 36, 37, 38
LOCK = "lock,noresvport"  # a minute after it was closed a reserved port is still in use: there are few
DOWN = "nfs: server .* not responding|nfs: server .* OK|connections? .* (lost|up)|gave up"


def flock_struct(kind, start=0, length=0, pid=0):
    return struct.pack(FLOCK, kind, os.SEEK_SET, start, length, pid)


def setlk(fd, kind, start=0, length=0, command=fcntl.F_SETLK):
    fcntl.fcntl(fd, command, flock_struct(kind, start, length))


def getlk(fd, kind, start=0, length=0):
    """(type, start, length, pid) of what is in the way."""
    answer = fcntl.fcntl(fd, fcntl.F_GETLK, flock_struct(kind, start, length))
    kind, _, start, length, pid = struct.unpack(FLOCK, answer)
    return kind, start, length, pid


def flock(fd, operation):
    try:
        fcntl.flock(fd, operation)
        return None
    except OSError as error:
        return error.errno


CALLS = {"setlk": setlk, "getlk": getlk, "flock": flock, "write": os.pwrite, "read": os.pread,
         "fsync": os.fsync, "fstat": lambda fd: os.fstat(fd).st_size}


class Process(Child):
    """A process with files open, that does as it is told: one call at a time."""

    def __init__(self, *paths, flags=os.O_RDWR):
        super().__init__(self._serve, paths, flags)

    @staticmethod
    def _serve(paths, flags, child):
        fds = [os.open(path, flags) for path in paths]
        signal.signal(signal.SIGUSR1, lambda *_: None)
        while True:
            name, file, args = child.hear(600)
            if name == "close":
                os.close(fds[file])
                child.tell(None)
            else:
                try:
                    child.tell(CALLS[name](fds[file], *args))
                except OSError as error:
                    child.tell(error.errno)

    def start(self, name, *args, file=0):
        self.tell((name, file, args))

    def do(self, name, *args, file=0, timeout=20):
        self.start(name, *args, file=file)
        return self.hear(timeout)

    def lock(self, start=0, length=0, wait=False, kind=fcntl.F_WRLCK, file=0):
        command = fcntl.F_SETLKW if wait else fcntl.F_SETLK
        return self.do("setlk", kind, start, length, command, file=file)

    def unlock(self, start=0, length=0, file=0):
        return self.lock(start, length, kind=fcntl.F_UNLCK, file=file)


@pytest.fixture
def hosts(mount):
    """Two mounts that share locks, and a file on both."""
    pair = [mount(nconnect=n, options=LOCK) for n in (1, 8)]
    (pair[0].path / "f").write_bytes(b"")
    assert (pair[1].path / "f").exists()
    return pair


@pytest.fixture
def files(hosts):
    return [host.path / "f" for host in hosts]


# ---- who may have what ---------------------------------------------------------------------


SPACE = 32  # bytes in play; the last stands for all up to the end of the file


def covered(start, length):
    return range(start, start + length if length else SPACE)


def as_on_a_local_disk(files, local, seed, steps):
    """Random locks, unlocks and tests by four processes on two mounts: each answer is that of the same
    calls on a local file. NFS-Ganesha (4.3) does not notice that a part of a lock has become one of
    another type, though its file system does: such a part is unlocked first."""
    local.write_bytes(b"")
    rng = random.Random(seed)
    kinds = [fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK]
    processes = [Process(files[i % 2], local) for i in range(4)]
    held = {process: [fcntl.F_UNLCK] * SPACE for process in processes}
    denied = 0
    try:
        for step in range(steps):
            process, kind = rng.choice(processes), rng.choice(kinds)
            start, length = rng.randrange(20), rng.choice([0, 1, 2, 5, 10])
            if rng.random() < 0.25 and kind != fcntl.F_UNLCK:
                ours, model = (process.do("getlk", kind, start, length, file=n) for n in (0, 1))
                assert (ours[0] == fcntl.F_UNLCK) == (model[0] == fcntl.F_UNLCK), (step, ours, model)
                continue
            if {held[process][i] for i in covered(start, length)} - {kind, fcntl.F_UNLCK}:
                kind = fcntl.F_UNLCK
            ours, model = (process.lock(start, length, kind=kind, file=n) for n in (0, 1))
            assert ours == model, (step, kind, start, length)
            denied += ours == errno.EAGAIN
            if ours is None:
                for i in covered(start, length):
                    held[process][i] = kind
        assert denied > 20
    finally:
        for process in processes:
            process.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_ranges_are_as_on_a_local_disk(files, workdir, seed):
    as_on_a_local_disk(files, workdir / f"locks-{seed}", seed, 600)


def test_getlk_tells_who(files):
    with Process(files[0]) as holder, Process(files[0]) as near, Process(files[1]) as far:
        assert holder.lock(10, 5) is None
        assert near.do("getlk", fcntl.F_RDLCK) == (fcntl.F_WRLCK, 10, 5, holder.pid)
        kind, start, length, _ = far.do("getlk", fcntl.F_RDLCK)
        assert (kind, start, length) == (fcntl.F_WRLCK, 10, 5)
        assert far.do("getlk", fcntl.F_WRLCK, 0, 10)[0] == fcntl.F_UNLCK


def test_flock_is_for_all_hosts(files):
    with Process(files[0]) as holder, Process(files[0]) as near, Process(files[1]) as far:
        assert holder.do("flock", fcntl.LOCK_SH) is None
        for other in (near, far):
            assert other.do("flock", fcntl.LOCK_SH | fcntl.LOCK_NB) is None
            assert other.do("flock", fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EWOULDBLOCK
            assert other.do("flock", fcntl.LOCK_UN) is None
        assert holder.do("flock", fcntl.LOCK_EX) is None
        for other in (near, far):
            assert other.do("flock", fcntl.LOCK_SH | fcntl.LOCK_NB) == errno.EWOULDBLOCK


def test_open_file_description_locks(files):
    """They belong to the open file: two of one process conflict, and its last close gives them back."""
    with Process(files[0], files[0]) as process, Process(files[1]) as far:
        exclusive = (fcntl.F_WRLCK, 0, 0, F_OFD_SETLK)
        assert process.do("setlk", *exclusive) is None
        assert process.do("setlk", *exclusive, file=1) == errno.EAGAIN
        assert far.lock() == errno.EAGAIN
        process.do("close")
        wait_for(lambda: far.lock() is None, 5)


def test_wait_outlives_hard(mount):
    """A lock is waited for as long as another has it, also when the mount is no longer hard."""
    pair = [mount(nconnect=1, options=f"{LOCK},hard,timeo=10,retrans=0") for _ in range(2)]
    (pair[0].path / "f").write_bytes(b"")
    with Process(pair[0].path / "f") as holder, Process(pair[1].path / "f") as waiter:
        assert holder.lock() is None
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.5)
        assert fusenfs("set", pair[1].path, "softerr").status == 0
        time.sleep(3.5)
        assert holder.unlock() is None
        assert waiter.hear(20) is None
        assert holder.lock() == errno.EAGAIN


@pytest.mark.parametrize("options, posix_is_shared, flock_is_shared", [
    ("nolock", False, False), ("", True, True), ("lock", True, True),
    ("lock,local_lock=flock", True, False), ("lock,local_lock=posix", False, True),
    ("lock,local_lock=all", False, False), ("nolock,local_lock=none", False, False),
    ("local_lock=none", True, True), ("local_lock=flock", True, False),
])
def test_which_locks_are_shared(mount, options, posix_is_shared, flock_is_shared):
    a, b = (mount(options=f"noresvport,{options}".rstrip(",")) for _ in range(2))
    (a.path / "f").write_bytes(b"")
    with Process(a.path / "f") as here, Process(b.path / "f") as there:
        assert here.lock() is None
        assert there.lock() == (errno.EAGAIN if posix_is_shared else None)
        here.unlock()
        there.unlock()
        assert here.do("flock", fcntl.LOCK_EX) is None
        denied = there.do("flock", fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert denied == (errno.EWOULDBLOCK if flock_is_shared else None)


# ---- waiting -------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [0, 1], ids=["same mount", "other mount"])
def test_waiter_gets_it(files, where):
    with Process(files[0]) as holder, Process(files[where]) as waiter:
        assert holder.lock() is None
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.3)
        assert holder.unlock() is None
        assert waiter.hear(5) is None
        assert holder.lock() == errno.EAGAIN


def test_waiters_on_one_mount_go_in_order(files):
    with Process(files[0]) as holder, Process(files[0]) as first, Process(files[0]) as second:
        assert holder.lock() is None
        for waiter in (first, second):
            waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
            time.sleep(0.2)
        holder.unlock()
        assert first.hear(5) is None
        first.unlock()
        assert second.hear(5) is None


@pytest.mark.parametrize("where", [0, 1], ids=["same mount", "other mount"])
def test_a_signal_ends_the_wait(files, where):
    """EINTR for a handler without SA_RESTART; and what was asked for is not taken afterwards."""
    def body(path, child):
        fd = os.open(path, os.O_RDWR)

        def handler(*_):
            raise InterruptedError
        signal.signal(signal.SIGUSR1, handler)
        child.hear()
        try:
            fcntl.fcntl(fd, fcntl.F_SETLKW, flock_struct(fcntl.F_WRLCK))
            child.tell("locked")
        except InterruptedError:
            child.tell("interrupted")
        child.hear(60)

    with Process(files[0]) as holder, Child(body, files[where]) as waiter:
        assert holder.lock() is None
        waiter.tell()
        time.sleep(0.5)
        waiter.kill(signal.SIGUSR1)
        assert waiter.hear(5) == "interrupted"
        holder.unlock()
        time.sleep(1.5)
        assert holder.lock() is None
        waiter.tell()


def test_killed_waiter_takes_nothing(files):
    with Process(files[0]) as holder, Process(files[1]) as waiter, Process(files[1]) as third:
        assert holder.lock() is None
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.5)
        waiter.kill()
        waiter.wait_end(1)
        holder.unlock()
        wait_for(lambda: third.lock() is None, 3)


def test_killed_holder_has_nothing(files):
    with Process(files[0]) as holder, Process(files[1]) as waiter:
        assert holder.lock(0, 10) is None and holder.lock(100, 10) is None
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.3)
        holder.kill()
        assert waiter.hear(5) is None


def test_deadlock_within_a_mount(files):
    with Process(files[0]) as a, Process(files[0]) as b:
        assert a.lock(0, 1) is None and b.lock(1, 1) is None
        a.start("setlk", fcntl.F_WRLCK, 1, 1, fcntl.F_SETLKW)
        time.sleep(0.3)
        assert b.lock(0, 1, wait=True) == errno.EDEADLK
        b.unlock()
        assert a.hear(5) is None


def test_any_close_gives_posix_locks_back(files):
    with Process(files[0], files[0]) as process, Process(files[1]) as far:
        assert process.lock() is None
        process.do("close", file=1)
        assert far.lock() is None


def test_fork_inherits_no_posix_lock_but_flock(files):
    def body(path, child):
        fd = os.open(path, os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fork() == 0:
            child.hear(60)
            os._exit(0)
        os._exit(0)

    with Child(body, files[0]) as parent, Process(files[1]) as far:
        wait_for(lambda: parent.wait_end(5) or True, 6)
        assert far.do("flock", fcntl.LOCK_EX | fcntl.LOCK_NB) == errno.EWOULDBLOCK
        parent.tell()
        wait_for(lambda: far.do("flock", fcntl.LOCK_EX | fcntl.LOCK_NB) is None, 5)


# ---- data ----------------------------------------------------------------------------------


def test_locks_order_data(files):
    """A counter that two hosts increase by turns, each with the file open all the time: none is lost,
    however much the kernels have in their caches."""
    rounds = 60

    def body(path, child):
        fd = os.open(path, os.O_RDWR)
        for _ in range(rounds):
            fcntl.lockf(fd, fcntl.LOCK_EX)
            value = int(os.pread(fd, 8, 0) or b"0")
            os.pwrite(fd, b"%08d" % (value + 1), 0)
            fcntl.lockf(fd, fcntl.LOCK_UN)
        os.close(fd)

    with Child(body, files[0]) as a, Child(body, files[1]) as b, Child(body, files[1]) as c:
        for child in (a, b, c):
            child.wait(60)
    assert files[0].read_bytes() == b"%08d" % (3 * rounds)


def test_lock_shows_what_was_written_elsewhere(files):
    """Also of the same size and in the same tick of the server's clock."""
    with Process(files[0]) as writer, Process(files[1]) as reader:
        for turn in range(20):
            text = b"%d" % turn * 8192
            assert writer.lock() is None
            assert writer.do("write", text[:8192], 0) == 8192
            writer.unlock()
            assert reader.lock(kind=fcntl.F_RDLCK) is None
            assert reader.do("read", 8192, 0) == text[:8192], turn
            reader.unlock()


def sqlite_on_two_hosts(path, transactions):
    """Transactions with a rollback journal from both mounts at once."""
    base = sqlite3.connect(path[0])
    base.execute("PRAGMA journal_mode=DELETE")
    base.execute("CREATE TABLE t (host INTEGER, n INTEGER)")
    base.close()

    def body(path, number, child):
        base = sqlite3.connect(path, timeout=60, isolation_level=None)
        for n in range(transactions):
            base.execute("BEGIN IMMEDIATE")
            base.execute("INSERT INTO t VALUES (?, ?)", (number, n))
            base.execute("COMMIT")
        base.close()

    with Child(body, path[0], 0) as a, Child(body, path[1], 1) as b:
        a.wait(120)
        b.wait(120)
    base = sqlite3.connect(path[1])
    assert base.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert base.execute("SELECT host, count(*) FROM t GROUP BY host ORDER BY host").fetchall() == [
        (0, transactions), (1, transactions)]
    base.close()


def test_daemon_is_killed_while_pages_are_dropped(mount, server):
    """A lock shows that the file has changed, and the kernel is to drop its pages, one of which is being read:
    that waits for the READ. kill -9 of the daemon ends both."""
    with Proxy(server) as proxy:
        m = mount(server=proxy, nconnect=1, options=f"{LOCK},readahead=0")
        m.expect_log(DOWN)
        (m.path / "f").write_bytes(bytes(4 << 20))
        with Process(m.path / "f") as reader, Process(m.path / "f") as locker:
            assert len(locker.do("read", 4096, 0)) == 4096
            held = proxy.on("READ", Hold())
            reader.start("read", 4096, 2 << 20)
            held.wait()
            os.utime(m.server_path / "f", (1, 1))
            locker.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLK)
            time.sleep(1)
            began = time.monotonic()
            m.kill()
            for process in (reader, locker):
                assert process.hear(5) not in (None, b"")
            assert time.monotonic() - began < 5


def test_sqlite_on_two_hosts(hosts):
    sqlite_on_two_hosts([host.path / "base.sqlite" for host in hosts], 25)


def test_flock_command(files):
    """flock(1) from both hosts: one at a time."""
    script = 'for i in $(seq 15); do flock "$0" sh -c \'n=$(cat "$0.n"); echo $((n+1)) >"$0.n"\' "$0"; done'
    (files[0].parent / "f.n").write_text("0\n")
    shells = [subprocess.Popen(["sh", "-c", script, str(path)]) for path in files]
    assert [shell.wait(60) for shell in shells] == [0, 0]
    assert (files[1].parent / "f.n").read_text() == "30\n"


# ---- the server goes away ------------------------------------------------------------------

QUICK = f"{LOCK},timeo=20,retrans=1,detect=2"


@pytest.fixture
def quick(mount):
    host = mount(options=QUICK)
    (host.path / "f").write_bytes(b"")
    host.expect_log(DOWN)
    return host


def test_lock_call_obeys_the_deadline(quick, server):
    with Process(quick.path / "f") as process:
        assert process.unlock() is None
        server.pause()
        began = time.monotonic()
        assert process.lock() == errno.ETIMEDOUT
        assert time.monotonic() - began < 6
        server.resume()
        wait_for(lambda: process.lock() is None, 5)


def test_waiter_can_be_killed_while_it_is_down(quick, server):
    with Process(quick.path / "f") as holder, Process(quick.path / "f") as waiter:
        assert holder.lock() is None
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        server.pause()
        waiter.kill()
        waiter.wait_end(1)
        server.resume()


def test_exit_while_it_is_down_gives_back_later(quick, mount, server):
    other = mount(options=LOCK)
    other.expect_log(DOWN)
    with Process(quick.path / "f") as holder, Process(other.path / "f") as far:
        assert holder.lock() is None
        server.pause()
        time.sleep(3)  # it counts as down by then
        began = time.monotonic()
        holder.kill()
        holder.wait_end(2)
        assert time.monotonic() - began < 1.5
        server.resume()
        wait_for(lambda: far.lock() is None, 8)


def test_nothing_is_left_after_unmount(hosts):
    with Process(hosts[0].path / "f") as holder, Process(hosts[1].path / "f") as far:
        assert holder.lock() is None
        assert far.lock() == errno.EAGAIN
        hosts[0].process.send_signal(signal.SIGTERM)
        wait_for(lambda: far.lock() is None, 8)


def write_to(process, data):
    return process.do("write", data, 0)


def test_what_a_restarted_server_has_forgotten_is_lost_loudly(quick, server):
    """It has no grace period: anybody could have had the lock."""
    quick.expect_log("lock-lost|has forgotten a lock")
    with Process(quick.path / "f") as holder, Process(quick.path / "f") as other:
        assert holder.lock(5, 5) is None
        assert write_to(holder, b"x") == 1
        server.kill()
        server.start()
        wait_for(lambda: "lock-lost" in quick.log(), 15)
        assert write_to(holder, b"y") == errno.EIO
        assert holder.do("read", 1, 0) == errno.EIO
        assert other.lock() is None  # it is free
        assert holder.unlock() is None
        assert write_to(holder, b"z") == 1


def test_connection_lost_but_lock_kept(hosts, server):
    """The server was not restarted: it still has the lock, and nobody is told anything."""
    for host in hosts:
        host.expect_log(DOWN)
    with Process(hosts[0].path / "f") as holder, Process(hosts[1].path / "f") as far:
        assert holder.lock() is None and holder.lock(100, 1) is None
        subprocess.run(["ss", "-K", "dport", "=", str(lock_port(server))], check=True,
                       stdout=subprocess.DEVNULL)
        time.sleep(2)
        assert far.lock() == errno.EAGAIN
        assert write_to(holder, b"x") == 1
        assert "lock-lost" not in hosts[0].log()


def lock_port(server):
    from lab import rpc
    return rpc.getport(server.connect_host, rpc.NLM)


@pytest.fixture
def graceful(workdir):
    """A server of its own with a grace period."""
    directory = workdir / "exports" / "locks-grace"
    directory.mkdir(exist_ok=True)
    with FarServer([Export(directory)], WAYS["silent"], 71, portmap=True, locks=True, grace=5) as far:
        yield far


def test_reclaimed_in_the_grace_period(mount, graceful):
    time.sleep(6)  # its first one
    a, b = (mount(options=QUICK, server=graceful) for _ in range(2))
    (a.path / "f").write_bytes(b"")
    for host in (a, b):
        host.expect_log(DOWN)
    with Process(a.path / "f") as holder, Process(b.path / "f") as far:
        assert holder.lock(0, 10) is None and holder.lock(20, 10, kind=fcntl.F_RDLCK) is None
        graceful.kill()
        graceful.start()
        far.start("setlk", fcntl.F_WRLCK, 5, 1, fcntl.F_SETLKW)
        time.sleep(8)
        assert write_to(holder, b"x") == 1
        assert "lock-lost" not in a.log()
        assert holder.lock(20, 10, kind=fcntl.F_RDLCK) is None
        holder.unlock(0, 10)
        assert far.hear(10) is None
        assert far.lock(25, 1) == errno.EAGAIN
