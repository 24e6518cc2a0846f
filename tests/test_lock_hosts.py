# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks between hosts: a server, and clients with networks, rpcbinds and state of their own."""

import errno
import fcntl
import statistics
import subprocess
import time

import pytest

from lab.client import ClientHost
from lab.far import WAYS, FarServer
from lab.ganesha import EVERYWHERE, Export
from lab.procs import run_bounded, wait_for
from test_locks import Process, as_on_a_local_disk, sqlite_on_two_hosts

LOCK = "lock,timeo=20,retrans=1,detect=2"
DOWN = "nfs: server .* not responding|nfs: server .* OK|connections? .* (lost|up)|gave up"


@pytest.fixture(scope="module")
def far(workdir):
    directory = workdir / "exports" / "lock-hosts"
    directory.mkdir()
    with FarServer([Export(directory)], WAYS["silent"], 91, portmap=True, locks=True,
                   host=EVERYWHERE) as server:
        yield server


@pytest.fixture
def clients(far, mount):
    """Two hosts; the mounts on them end before they do."""
    if not far.running:
        far.start()
    with ClientHost(far, 1, mount.directory) as a, ClientHost(far, 2, mount.directory) as b:
        yield a, b
        mount.close()


@pytest.fixture
def mounts(clients, mount):
    pair = [client.mount(mount, options=LOCK, nconnect=n) for client, n in zip(clients, (1, 8))]
    (pair[0].path / "f").write_bytes(b"")
    return pair


def hand_over(holder, waiter):
    """Seconds from the unlock of one to the lock of the other."""
    waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
    time.sleep(0.2)
    began = time.monotonic()
    assert holder.unlock() is None
    assert waiter.hear(5) is None
    return time.monotonic() - began


@pytest.mark.parametrize("called, limit_ms", [(True, 50), (False, 1000)], ids=["called", "asking"])
def test_hand_over(far, mount, called, limit_ms):
    """From host to host: called by the server, and without."""
    with ClientHost(far, 1, mount.directory, rpcbind=called) as a, \
            ClientHost(far, 2, mount.directory, rpcbind=called) as b:
        pair = [client.mount(mount, options=LOCK) for client in (a, b)]
        (pair[0].path / "f").write_bytes(b"")
        with Process(pair[0].path / "f") as one, Process(pair[1].path / "f") as two:
            assert one.lock() is None
            times = [hand_over(*(one, two) if i % 2 == 0 else (two, one)) for i in range(12)]
        median = statistics.median(times) * 1000
        print(f"hand-over, {'called' if called else 'asking'}: p50 {median:.1f} ms, "
              f"worst {max(times) * 1000:.1f} ms")
        assert median <= limit_ms
        mount.close()


@pytest.mark.parametrize("seed, steps", [(3, 300), pytest.param(4, 6000, marks=pytest.mark.slow)])
def test_ranges(mounts, workdir, seed, steps):
    as_on_a_local_disk([m.path / "f" for m in mounts], workdir / f"hosts-{seed}", seed, steps)


@pytest.mark.parametrize("transactions", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_sqlite(mounts, transactions):
    path = [m.path / f"base-{transactions}.sqlite" for m in mounts]
    sqlite_on_two_hosts(path, transactions)


def test_flock_command(mounts):
    """flock(1) on both hosts: one at a time, and nobody starves."""
    script = 'for i in $(seq 20); do flock "$0" sh -c \'n=$(cat "$0.n"); echo $((n+1)) >"$0.n"\' "$0"; done'
    (mounts[0].path / "f.n").write_text("0\n")
    shells = [subprocess.Popen(["sh", "-c", script, str(m.path / "f")]) for m in mounts]
    assert [shell.wait(60) for shell in shells] == [0, 0]
    assert (mounts[1].path / "f.n").read_text() == "40\n"


def git(where, *words, check=True):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0", "-c", "safe.directory=*"]
    return run_bounded(["git", "-C", where, *identity, *words], 60, check=check)


def test_git(mounts):
    """One repository, commits by both hosts at once to branches of their own, and to one that they share: git's own
    locks are files (O_EXCL), and who comes second tries again."""
    bare = mounts[0].path / "repo.git"
    run_bounded(["git", "init", "-q", "--bare", bare])
    rounds = 5

    def commit(m, name):
        work = m.path / f"work-{name}"
        git(m.path, "clone", "-q", m.path / "repo.git", work)
        for i in range(rounds):
            (work / f"{name}-{i}").write_text(f"{i}\n")
            git(work, "add", ".")
            git(work, "commit", "-q", "-m", f"{name} {i}")

            def pushed():
                git(work, "pull", "-q", "--rebase", "origin", "main", check=False)
                return git(work, "push", "-q", "origin", "HEAD:main", check=False).returncode == 0
            wait_for(pushed, 60)
    from lab.child import Child
    with Child(lambda child: commit(mounts[0], "a")) as a, Child(lambda child: commit(mounts[1], "b")) as b:
        a.wait(90)
        b.wait(90)
    assert git(bare, "fsck", "--full", "--strict").returncode == 0
    assert int(git(bare, "rev-list", "--count", "main").stdout) == 2 * rounds


def test_waiters_and_holders_are_killed(mounts):
    """Processes, on both hosts, at random places: in the end nothing is locked."""
    for turn in range(6):
        holder, waiter = (Process(m.path / "f") for m in (mounts if turn % 2 else mounts[::-1]))
        try:
            assert holder.lock() is None
            waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
            time.sleep(0.02 * turn)
            first, second = (holder, waiter) if turn < 3 else (waiter, holder)
            first.kill()
            time.sleep(0.01 * (turn % 3))
            second.kill()
        finally:
            holder.close()
            waiter.close()
        with Process(mounts[0].path / "f") as one, Process(mounts[1].path / "f") as two:
            wait_for(lambda: one.lock() is None, 5)
            assert one.unlock() is None
            assert two.lock() is None


def test_one_client_is_cut_off(clients, mounts):
    """It keeps its lock, for the server does not know; its process may end, and that is told later."""
    a, _ = clients
    for mounted in mounts:
        mounted.expect_log(DOWN)
    with Process(mounts[0].path / "f") as holder, Process(mounts[1].path / "f") as far_process:
        assert holder.lock() is None
        far_process.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        a.cut()
        time.sleep(3)
        with pytest.raises(Exception, match="silent"):
            far_process.hear(0.1)
        holder.kill()
        assert holder.wait_end(3) < 2
        a.mend()
        assert far_process.hear(20) is None


def test_a_waiter_is_cut_off(clients, mounts):
    """The server cannot call him: somebody else gets the lock; he, when he is back and it is free."""
    a, _ = clients
    mounts[0].expect_log(DOWN)
    with Process(mounts[1].path / "f") as holder, Process(mounts[0].path / "f") as waiter:
        assert holder.lock() is None
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(1)
        a.cut()
        assert holder.unlock() is None
        wait_for(lambda: holder.lock() in (None, errno.EAGAIN), 5)
        time.sleep(1)
        a.mend()
        holder.unlock()
        assert waiter.hear(40) in (None, errno.ETIMEDOUT)


def test_server_restarts_under_a_waiter(clients, mounts, far):
    """Killed, with a lock held and another host waiting: without a grace period the holder's lock is gone, loudly, and the
    waiter gets it."""
    for mounted in mounts:
        mounted.expect_log(DOWN + "|lock-lost|has forgotten a lock")
    with Process(mounts[0].path / "f") as holder, Process(mounts[1].path / "f") as waiter:
        assert holder.lock() is None
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.5)
        far.kill()
        far.start()
        outcome = waiter.hear(40)
        if outcome is None:
            wait_for(lambda: "has forgotten a lock" in mounts[0].log(), 15)
        else:
            assert outcome == errno.ETIMEDOUT
