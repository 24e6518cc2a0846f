"""The end of a mount whose server does not answer: every way to unmount is bounded by umounttimeo,
also with data that cannot be saved, which is named, and with files in use."""

import os
import signal
import time
from pathlib import Path

import pytest

from lab.child import Child
from lab.command import program
from lab.procs import run_bounded, wait_for

UMOUNTTIMEO = 2         # seconds: as given to the mount, and a slow machine's margin
MARGIN = 1.5
QUICK = 1.5             # a command that waits for nothing
LOUD = "not responding|given up|gave up|still in use|lost|timed out"
WAYS = ["SIGTERM", "SIGINT", "umount", "umount -l", "umount -f", "fusermount3 -u", "fusermount3 -uz"]
SIZES = {"one": 300_000, "two": 70_000}


def stop(server):
    """Returns when it has stopped: on a busy machine its other threads go on for a moment."""
    server.pause()
    tasks = Path(f"/proc/{server.pid}/task")
    wait_for(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T"
                         for task in tasks.iterdir()), 5, "the server to stop")


@pytest.fixture(params=["stopped", "killed"])
def silence(request, server):
    """How the server stops to answer: a function. It answers again afterwards."""
    yield (lambda: stop(server)) if request.param == "stopped" else server.kill
    if server.running:
        server.resume()


def user(m, dirty, child):
    """Has a file open, and perhaps written to two, until it is killed."""
    fds = [os.open(m.path / "read", os.O_RDONLY)]
    os.read(fds[0], 1)
    if dirty:
        os.mkdir(m.path / "d")
    for name, size in SIZES.items() if dirty else ():
        fds.append(os.open(m.path / "d" / name, os.O_WRONLY | os.O_CREAT))
        os.write(fds[-1], bytes(size))
    child.tell()
    time.sleep(60)


def end(m, way):
    """Does it; the seconds it took, and whether it said yes."""
    start = time.monotonic()
    if way.startswith("SIG"):
        m.process.send_signal(getattr(signal, way))
        done = True
    else:
        done = run_bounded([*way.split(), m.path], 20, check=False).returncode == 0
    return time.monotonic() - start, done


def ends_in_time(m, start, what):
    m.process.wait(20)
    took = time.monotonic() - start
    print(f"{what}: daemon ended after {took:.2f} s")
    assert took < UMOUNTTIMEO + MARGIN, what
    assert not m.mounted


@pytest.mark.parametrize("load", ["idle", "dirty", "busy", "busy and dirty"])
@pytest.mark.parametrize("way", WAYS)
def test_end(mount, server, silence, way, load):
    """Busy: somebody still has files open. Then only the lazy ways and signals succeed; umount -f and
    the plain ones may say EBUSY, at once, and a signal still ends it all."""
    m = mount(options=f"umounttimeo={UMOUNTTIMEO},nconnect=4")
    m.expect_log(LOUD)
    (m.server_path / "read").write_text("x" * 4096)
    child = None
    try:
        if load != "idle":
            child = Child(user, m, "dirty" in load)
            child.hear()
        silence()
        if load == "dirty":
            child.kill()
            child.wait_end(5)
        start = time.monotonic()
        took, done = end(m, way)
        print(f"{way}, {load}: {took:.2f} s, {'done' if done else 'refused'}")
        assert took < QUICK
        if way in ("umount -l", "fusermount3 -uz") and child and child.alive:
            assert done and not m.mounted and m.alive, "lazy: those who use it go on"
            child.kill()
            child.wait_end(5)
            start = time.monotonic()
        if not done and m.mounted:
            assert "busy" in load or way == "umount -f"
            start = time.monotonic()
            m.process.send_signal(signal.SIGTERM)
        ends_in_time(m, start, f"{way}, {load}")
        if child and child.alive:
            child.kill()
            child.wait_end(5)
    finally:
        if child:
            child.close()
    if "dirty" in load:
        named(m)


def named(m):
    """Each file with its path and its bytes."""
    for name, size in SIZES.items():
        assert f"(d/{name}): {size} bytes given up" in m.log(), m.log()
    assert f"data in {(sum(SIZES.values()) + 1023) // 1024} KiB" in m.log()


def test_many_losses(mount, server):
    """Of many files the first are named, the others counted."""
    m = mount(options="umounttimeo=0.5")
    m.expect_log(LOUD)

    def work(child):
        for i in range(20):
            os.write(os.open(m.path / f"f{i}", os.O_WRONLY | os.O_CREAT), b"x")
        child.tell()
        time.sleep(60)
    with Child(work) as child:
        child.hear()
        stop(server)
        m.process.send_signal(signal.SIGTERM)
        try:
            m.process.wait(5)
        finally:
            server.resume()
    assert m.log().count("given up") == 9 and "12 more files" in m.log(), m.log()


def test_saved_in_time(mount, server):
    """The server answers again within umounttimeo: nothing is lost, and nothing said to be."""
    m = mount(options="umounttimeo=10")
    m.expect_log("not responding")

    def work(child):
        os.write(os.open(m.path / "f", os.O_WRONLY | os.O_CREAT), bytes(100_000))
        child.tell()
        time.sleep(60)
    with Child(work) as child:
        child.hear()
        stop(server)
        m.process.send_signal(signal.SIGTERM)
        time.sleep(2)
        server.resume()
        wait_for(lambda: not m.mounted, 8, "the unmount")
        child.kill()
        child.wait_end(5)
        m.process.wait(10)
    assert "given up" not in m.log()
    assert (m.server_path / "f").stat().st_size == 100_000


def test_unmounted_before_it_serves(mount):
    """Between mount(2) and the first answer to the kernel: a short life, not a failure. strace holds
    the daemon just there, and fusermount3 asks nothing of it."""
    m = mount(through=["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=mount",
                       "-e", "inject=mount:delay_exit=1000000"])
    run_bounded(["fusermount3", "-u", m.path])
    assert m.process.wait(10) == 0
    assert "did not accept" not in m.log()


# $0 program, $1 source, $2 mount point, $3 options. In a mount namespace of its own.
FORCED = """
umount /sys/fs/fuse/connections
"$0" -f -o "$3" "$1" "$2" &
until grep -qF " $2 fuse" /proc/self/mounts; do kill -0 $!; sleep 0.05; done
exec 3<"$2"
! umount -f "$2" || exit 3
wait $!
! grep -F " $2 fuse" /proc/self/mounts
"""


def test_forced_without_fusectl(server, fusectl, tmp_path):
    """umount -f of a mount that is in use ends the session and says EBUSY. What it leaves is detached also
    where there is no fusectl, as in most containers: nobody is left with ENOTCONN at that place."""
    options = f"port={server.nfs_port},mountport={server.mnt_port}"
    done = run_bounded(["unshare", "--mount", "--propagation", "private", "sh", "-ec", FORCED, program(),
                        f"127.0.0.1:{server.exports[0].path}", tmp_path, options], check=False)
    assert done.returncode == 0, done.stdout
    assert "unmounted from" in done.stdout
