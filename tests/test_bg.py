"""bg: a mount of a server that is down is live at once, fails fast, and works when the server is there;
and a server whose root has got another handle."""

import errno
import os
import signal
import subprocess
import time

import pytest

from lab.ganesha import EVERYWHERE, Export, Ganesha
from lab.child import Child
from lab.procs import run_bounded, wait_for
from lab.proxy import PacketFilter
from support import create, errno_of, pattern, read
from test_mount_errors import CLOSED_PORT, PROGRAM, attempts  # noqa: F401

RETURNS = 2     # seconds: bg tries for one, and then the command returns
FAST = 0.3      # of a call that needs no server
FOUND = 6       # from the server's start to the mount's: a pause, an attempt
UMOUNTTIMEO = 5
SANITIZED = any(word in PROGRAM for word in ("address", "thread"))
LOUD = "still trying|not responding|is stale|still in use|given up"


@pytest.fixture
def down(site):
    """The session's server, not running; it runs again afterwards."""
    if site.running:
        site.wipe()
        site.stop()
    yield site
    if not site.running:
        site.start()


def seconds(func, *args):
    start = time.monotonic()
    func(*args)
    return time.monotonic() - start


def call_times(path):
    """Every kind of call on an offline mount: {name: (errno, seconds)}. In a process of its own."""
    calls = {
        "stat": lambda: os.stat(path), "statvfs": lambda: os.statvfs(path),
        "access": lambda: os.access(path, os.R_OK | os.X_OK),
        "listdir": lambda: os.listdir(path), "lookup": lambda: os.stat(path / "f"),
        "create": lambda: os.open(path / "f", os.O_CREAT | os.O_WRONLY),
        "mkdir": lambda: os.mkdir(path / "d"), "unlink": lambda: os.unlink(path / "f"),
        "chmod": lambda: os.chmod(path, 0o700), "chdir": lambda: os.chdir(path)}

    def work(child):
        result = {}
        for name, call in calls.items():
            start = time.monotonic()
            number = errno_of(call)
            result[name] = (number, time.monotonic() - start)
        return result
    with Child(work) as child:
        return child.wait(20)


@pytest.mark.parametrize("policy, number", [("softerr", errno.ETIMEDOUT), ("soft", errno.EIO),
                                            ("hard", errno.ETIMEDOUT)])
def test_calls_before_the_server(mount, down, policy, number):
    """stat and statvfs answer, everything else fails, all of it at once. What needs no server is told
    with 0555, so that nobody takes it for the export."""
    m = mount(server=down, options=f"bg,{policy}")
    m.expect_log(LOUD)
    times = call_times(m.path)
    for name in ("stat", "statvfs", "access", "chdir"):
        assert times.pop(name)[0] == 0, name
    assert {name: n for name, (n, _) in times.items()} == dict.fromkeys(times, number)
    assert max(t for _, t in times.values()) < FAST, times
    st = os.stat(m.path)
    assert st.st_mode == 0o40555 and st.st_nlink == 2
    assert os.statvfs(m.path).f_blocks == 0
    assert run_bounded(["df", m.path], 5).stdout
    m.umount()


def test_server_appears(mount, down):
    """Then it all works, without a remount; the root has its own attributes at once."""
    m = mount(server=down, options="bg")
    m.expect_log(LOUD)
    assert os.stat(m.path).st_mode == 0o40555
    os.chmod(down.rw, 0o751)
    down.start()
    start = time.monotonic()
    wait_for(lambda: errno_of(os.listdir, m.path) == 0, FOUND, "the server to be found")
    print(f"found after {time.monotonic() - start:.2f} s")
    st, real = os.stat(m.path), os.stat(down.rw)
    assert (st.st_mode, st.st_ino, st.st_uid) == (0o40751, real.st_ino, real.st_uid)
    data = pattern(3 << 20)
    create(m.path / "f", data)
    assert read(m.path / "f") == data and (down.rw / "f").read_bytes() == data
    os.mkdir(m.path / "d")
    assert sorted(os.listdir(m.path)) == ["d", "f"]
    assert os.statvfs(m.path).f_blocks > 0
    assert len(m.connections()) == 8
    assert "mounted on" in m.log() and "found after" in m.log()
    m.umount()


def test_server_is_up(attempts):
    """With a server that is there bg is as good as fg: when the command returns it all works."""
    (attempts.server.rw / "f").write_text("x")
    result = attempts.mount("bg")
    assert result.status == 0 and result.seconds < 1, result
    assert os.listdir(attempts.mnt) == ["f"]
    assert "NFSv3" in result.output and "but" not in result.output
    attempts.umount()


def test_command_returns(attempts):
    """Status 0 at once, and what is wrong is said; nobody can write into the directory below."""
    result = attempts.mount(f"bg,port={CLOSED_PORT}")
    assert result.status == 0 and result.seconds < RETURNS, result
    assert "conn-refused" in result.output and "10000 minutes" in result.output
    assert attempts.mounted
    assert errno_of(create, attempts.mnt / "f") == errno.ETIMEDOUT
    assert len(attempts.processes()) == 1
    assert seconds(attempts.umount) < 2
    assert os.listdir(attempts.mnt) == []


def test_command_returns_without_answer(attempts):
    with PacketFilter() as packets:
        packets.drop(f"tcp dport {attempts.server.nfs_port}")
        result = attempts.mount("bg")
        assert result.status == 0 and result.seconds < RETURNS, result
        assert "does not answer yet" in result.output
        assert seconds(attempts.umount) < 2


def test_wrong_export(mount, server):
    """A booting server may not export it yet: tried again, said once, found when it is there."""
    path = server.rw.parent / "later"
    with Ganesha([Export(server.rw)], host=EVERYWHERE) as early:
        m = mount(server=early, options="bg", export=str(path))
        m.expect_log(LOUD)
        wait_for(lambda: "export-not-found" in m.log(), 5, "the cause")
        time.sleep(3)
        assert m.log().count("still trying") == 1, m.log()
        assert m.alive and m.mounted
        path.mkdir()
        early.stop()
        early.exports = [Export(path)]
        early.start()
        (path / "f").touch()
        wait_for(lambda: errno_of(os.listdir, m.path) == 0, 2 * FOUND, "the export")
        assert os.listdir(m.path) == ["f"]
        m.umount()
    os.unlink(path / "f")
    path.rmdir()


@pytest.mark.parametrize("how", ["SIGTERM", "umount", "umount -l", "fusermount3 -u"])
@pytest.mark.parametrize("silent", ["refused", "dropped", "dns"])
def test_end_while_looking(mount, server, workdir, how, silent):
    """Whatever the search for the server waits for, it delays no end of the mount."""
    with PacketFilter() as packets:
        options = {"refused": f"bg,port={CLOSED_PORT}", "dns": "bg", "dropped": "bg"}[silent]
        host = "no-such-host.invalid" if silent == "dns" else None
        packets.drop("udp dport 53")
        if silent == "dropped":
            packets.drop(f"tcp dport {server.nfs_port}")
        m = mount(options=options, host=host)
        m.expect_log(LOUD)
        time.sleep(1.5)  # into an attempt of the background
        start = time.monotonic()
        if how == "SIGTERM":
            m.process.send_signal(signal.SIGTERM)
        else:
            run_bounded([*how.split(), m.path], 5)
        wait_for(lambda: not m.mounted, UMOUNTTIMEO if SANITIZED else 1, "the mount to go")
        # A mount namespace that somebody else makes just now may keep it in use for a while.
        assert m.process.wait(UMOUNTTIMEO + 2) == 0
        print(f"ended after {time.monotonic() - start:.2f} s")


def test_busy_while_looking(mount, down):
    """Somebody has made the offline root his working directory; a signal still ends it in time."""
    m = mount(server=down, options="bg")
    m.expect_log(LOUD)
    visitor = subprocess.Popen(["sleep", "60"], cwd=m.path)
    try:
        time.sleep(1.2)
        start = time.monotonic()
        m.process.send_signal(signal.SIGTERM)
        m.process.wait(UMOUNTTIMEO + 2)
        assert time.monotonic() - start < UMOUNTTIMEO + 1
        assert not m.mounted
    finally:
        visitor.kill()
        visitor.wait(5)


@pytest.mark.parametrize("minutes, limit", [
    (0, 6), pytest.param(1, 75, marks=[pytest.mark.slow, pytest.mark.timeout(120)])])
def test_retry_runs_out(mount, server, minutes, limit):
    """retry= bounds the search: an error with cause and remedy, unmounted, status 32. (0 minutes: the
    first second, and one attempt after that.)"""
    with PacketFilter() as packets:
        packets.drop(f"tcp dport {server.nfs_port}")
        m = mount(options=f"bg,retry={minutes}", limit=limit + 20)
        m.expect_log("")
        m.expect_exit(32)
        start = time.monotonic()
        m.process.wait(limit + 10)
        took = time.monotonic() - start
    assert not m.mounted
    assert 60 * minutes - 2 <= took < limit, f"{took:.1f} s"
    assert "cannot mount" in m.log() and "try:" in m.log(), m.log()


def test_one_direction(mount, server):
    """Nothing comes back from the server: not found, no hang; found when answers come through."""
    with PacketFilter() as packets:
        packets.drop(f"tcp sport {server.nfs_port}")
        m = mount(options="bg")
        m.expect_log(LOUD)
        time.sleep(2)
        assert errno_of(os.stat, m.path / "f") == errno.ETIMEDOUT
    wait_for(lambda: errno_of(os.listdir, m.path) == 0, 2 * FOUND, "the server")
    m.umount()


# --- R8: another root handle


def remade(directory):
    """The directory anew, with another inode number and so another file handle."""
    old = directory.with_name(directory.name + ".old")
    directory.rename(old)
    directory.mkdir()
    return old


@pytest.fixture
def own(server, workdir):
    """A server with an export that may be made again."""
    top = server.rw.parent / "own"
    top.mkdir()
    with Ganesha([Export(top)], host=EVERYWHERE) as made:
        made.top = top
        yield made
    run_bounded(["rm", "-rf", top, f"{top}.old"])


def test_new_root_handle(mount, own):
    """The server is installed anew: MNT is asked once, and the mount goes on with the new root."""
    m = mount(server=own, options="acdirmin=0,acdirmax=0,lookupcache=none")
    m.expect_log(LOUD)
    create(m.path / "before", b"old")
    own.stop()
    old = remade(own.top)
    run_bounded(["rm", "-rf", old])
    (own.top / "after").write_text("new")
    own.start()
    start = time.monotonic()
    wait_for(lambda: errno_of(os.listdir, m.path) == 0 and os.listdir(m.path) == ["after"],
             15, "the new root")
    print(f"found again after {time.monotonic() - start:.2f} s")
    assert read(m.path / "after") == b"new"
    assert errno_of(os.stat, m.path / "before") == errno.ENOENT
    assert os.stat(m.path).st_ino == os.stat(own.top).st_ino
    create(m.path / "more", b"more")
    assert "a new handle: it is used from now on [stale-handle]" in m.log()
    m.umount()


def test_really_stale(mount, own):
    """The handle is gone and the server gives no other: ESTALE, one question in half a minute."""
    m = mount(server=own, options="acdirmin=0,acdirmax=0")
    m.expect_log(LOUD)
    run_bounded(["rm", "-rf", own.top])
    numbers = {errno_of(os.listdir, m.path) for _ in range(20)}
    assert numbers <= {errno.ESTALE, errno.ENOENT, errno.EIO}, numbers
    time.sleep(1)
    assert m.log().count("is stale") <= 1, m.log()
    own.top.mkdir()
    m.umount()
