# SPDX-License-Identifier: GPL-2.0-or-later
"""Under a service manager or as process 1 of a container: the notify protocol, the watchdog, log formats, and
mounts that somebody else has made. The manager is this test, with a socket of its own."""

import contextlib
import ctypes
import errno
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from lab.mount import mount_device
from lab.procs import run_bounded, wait_for
from lab.proxy import Proxy
from support import MIB, create, errno_of, is_sanitized, libc, pattern, read

PROGRAM = os.environ.get("FUSENFS", str(Path(__file__).resolve().parents[1] / "build/fusenfs"))
LOUD = "not responding|given up|still trying|still in use"
SHORT = "detect=1,timeo=10,retrans=0"  # a call that needs a server that is down ends soon
JOURNAL = "/run/systemd/journal"
SLACK = float(os.environ.get("FUSENFS_TEST_SLACK", 1))
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self, name):
        self.name, self.lines = str(name), []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.name.replace("@", "\0", 1) if self.name[0] == "@" else self.name)

    def environment(self, watchdog=None):
        """Words for env(1)."""
        words = ["env", f"NOTIFY_SOCKET={self.name}"]
        return words + ([f"WATCHDOG_USEC={int(watchdog * 1e6)}"] if watchdog else [])

    def receive(self, seconds):
        """All lines of one datagram, or none in this time."""
        if not select.select([self.socket], [], [], seconds)[0]:
            return []
        lines = self.socket.recv(65536).decode().split("\n")
        self.lines += lines
        return lines

    def wait(self, regex, seconds=20):
        """The first line that matches, of those still to come."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for line in self.receive(end - time.monotonic()):
                if re.search(regex, line):
                    return line
        raise AssertionError(f"no {regex} in {seconds} s: {self.lines}")

    def count(self, line, seconds):
        """How often it comes in this time."""
        end, n = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            n += self.receive(max(end - time.monotonic(), 0)).count(line)
        return n


@pytest.fixture
def manager(workdir, request):
    made = Manager(workdir / f"notify-{abs(hash(request.node.name)) % 10**6}")
    yield made
    made.socket.close()
    os.unlink(made.name)


def words(server, path, options="nconnect=2", port=None):
    return ["-o", f"{options},port={port or server.nfs_port},mountport={server.mnt_port}", f"127.0.0.1:{server.rw}",
            str(path)]


@pytest.fixture
def point(workdir, request, fusectl):
    path = workdir / "mnt" / re.sub(r"\W", "_", request.node.name)
    path.mkdir(parents=True)
    yield path
    while mount_device(path):
        run_bounded(["umount", "-l", path])


@contextlib.contextmanager
def process(argv, **kwargs):
    """A program that is not to outlive the test, nor are its children; its stderr is a pipe."""
    started = subprocess.Popen([str(word) for word in argv], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stdin=subprocess.DEVNULL, start_new_session=True, **kwargs)
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait(10)
        started.stderr.close()


# --- the notify protocol


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_foreground_by_itself(server, point, manager, abstract):
    """With NOTIFY_SOCKET it stays; READY=1 when it is mounted and not before; STOPPING=1 when it ends, whoever
    ended it."""
    if abstract:
        manager = Manager(f"@fusenfs-test-{os.getpid()}")
    with process([*manager.environment(), PROGRAM, *words(server, point)]) as daemon:
        assert manager.wait("^READY=1$") and mount_device(point)
        assert any(re.match(r"STATUS=looking for server 127\.0\.0\.1$", line) for line in manager.lines)
        assert any(line.startswith("EXTEND_TIMEOUT_USEC=") for line in manager.lines)
        assert f"mounted on {point}" in manager.lines[-1] and manager.lines[-1].startswith("STATUS=")
        assert daemon.poll() is None
        run_bounded(["umount", point])
        assert manager.wait("^STOPPING=1$")
        assert daemon.wait(10) == 0


def test_status(mount, server, manager):
    """What systemctl status shows follows the server."""
    m = mount(nconnect=2, options=SHORT, through=manager.environment())
    m.expect_log(LOUD)
    manager.wait("^READY=1$")
    server.stop()
    run_bounded(["ls", m.path], check=False)
    manager.wait("^STATUS=server 127.0.0.1 not responding$")
    server.start()
    manager.wait("^STATUS=server 127.0.0.1 OK, [12] of 2 connections$")


def test_background(mount, server, manager):
    """bg: ready at once; the status says what is missing, and what is not any more."""
    server.stop()
    m = mount(nconnect=2, options="bg", through=manager.environment())
    m.expect_log(LOUD)
    start = time.monotonic()
    manager.wait("^READY=1$")
    assert time.monotonic() - start < 3 * SLACK
    manager.wait("^STATUS=still trying to mount .*refused")
    server.start()
    manager.wait("^STATUS=server 127.0.0.1 OK")


def test_failure_is_no_readiness(server, point, manager):
    """A mount that fails is never ready; the status is the exit status."""
    with process([*manager.environment(), PROGRAM, "127.0.0.1:/nowhere", str(point),
                  *words(server, point)[:2]]) as daemon:
        assert daemon.wait(20) == 32
        while manager.receive(0.2):
            pass
    assert "READY=1" not in manager.lines


def test_retry_extends_the_start(server, point, manager):
    """retry=: systemd would give up after TimeoutStartSec; each attempt asks for more."""
    server.stop()
    with process([*manager.environment(), PROGRAM, *words(server, point, "retry=5,mounttimeo=3")]):
        manager.wait("^STATUS=trying again: .*refused")
        assert manager.wait("^EXTEND_TIMEOUT_USEC=13000000$")


def test_end_with_unsaved_data(mount, server, manager):
    """As long as data is being saved the manager is told, and asked for patience."""
    m = mount(nconnect=2, options=f"umounttimeo=3,{SHORT}", through=manager.environment())
    m.expect_log(LOUD)
    manager.wait("^READY=1$")
    fd = os.open(m.path / "f", os.O_WRONLY | os.O_CREAT)
    try:
        server.pause()
        try:
            os.write(fd, b"x" * MIB)
            m.process.send_signal(signal.SIGTERM)
            manager.wait("^STOPPING=1$")
            manager.wait(r"^STATUS=unmounting: \d+ KiB not yet on stable storage of 127\.0\.0\.1")
            usec = int(manager.wait("^EXTEND_TIMEOUT_USEC=").partition("=")[2])
            assert 10e6 < usec <= 13e6
            m.process.wait(15)
        finally:
            server.resume()
    finally:
        assert errno_of(os.close, fd) == errno.ENOTCONN


# --- the watchdog


def test_watchdog(mount, server, manager):
    """Three times in the time allowed, whatever the server does."""
    m = mount(nconnect=4, options=f"{SHORT},max_threads=4", through=manager.environment(watchdog=0.9))
    m.expect_log(LOUD)
    manager.wait("^READY=1$")
    assert manager.count("WATCHDOG=1", 3) >= 8 / SLACK
    server.pause()
    try:
        run_bounded(["sh", "-c", "ls $0/x; true", m.path], check=False)
        manager.wait("not responding")
        assert manager.count("WATCHDOG=1", 3) >= 8 / SLACK
    finally:
        server.resume()


def loops_of(pid):
    """The event loops among the threads of the daemon."""
    return [int(path.parent.name) for path in Path(f"/proc/{pid}/task").glob("*/comm")
            if path.read_text().startswith("loop")]


@contextlib.contextmanager
def stopped_thread(tid):
    """One thread stands still, the others go on: ptrace(2)."""
    libc.ptrace.restype = ctypes.c_long
    assert libc.ptrace(PTRACE_SEIZE, ctypes.c_int(tid), None, None) == 0
    assert libc.ptrace(PTRACE_INTERRUPT, ctypes.c_int(tid), None, None) == 0
    os.waitpid(tid, 0x40000000)  # __WALL
    try:
        yield
    finally:
        if libc.ptrace(PTRACE_DETACH, ctypes.c_int(tid), None, None) != 0:
            os.waitpid(tid, 0x40000000)  # it was killed, and its process ends when we have taken note


@pytest.mark.skipif(is_sanitized(), reason="sanitizers have threads of their own")
def test_watchdog_misses_a_stuck_loop(mount, manager):
    """Any loop that stands still is noticed."""
    m = mount(nconnect=2, options="max_threads=2", through=manager.environment(watchdog=0.3))
    manager.wait("^READY=1$")
    manager.wait("^WATCHDOG=1$")
    loops = wait_for(lambda: loops_of(m.pid) if len(loops_of(m.pid)) == 2 else None, 20, "two loops")
    for tid in loops:
        with stopped_thread(tid):
            manager.count("WATCHDOG=1", 0.3)
            assert manager.count("WATCHDOG=1", 1) == 0
        manager.wait("^WATCHDOG=1$")


def test_watchdog_of_another_process(mount, manager):
    """WATCHDOG_PID says whose it is."""
    mount(nconnect=1, through=[*manager.environment(watchdog=0.3), "WATCHDOG_PID=1"])
    manager.wait("^READY=1$")
    assert manager.count("WATCHDOG=1", 1) == 0


def test_helper_does_not_stay(server, point, manager, workdir):
    """A service that runs mount(8) waits for its end, and its readiness is its own."""
    helper = workdir / "mount.fusenfs"
    helper.unlink(missing_ok=True)
    helper.symlink_to(PROGRAM)
    run_bounded([*manager.environment(), helper, f"127.0.0.1:{server.rw}", point, *words(server, point)[:2]], 20)
    assert mount_device(point)
    assert manager.receive(0.3) == []
    run_bounded(["umount", point])


# --- process 1


def child_of(pid):
    return wait_for(lambda: [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()], 10,
                    "the child")[0]


def test_process_1(server, point):
    """It stays in the foreground, takes leave of orphans, and ends with SIGTERM."""
    argv = ["unshare", "--pid", "--fork", "--kill-child=KILL", PROGRAM, *words(server, point)]
    with process(argv) as unshare:
        wait_for(lambda: mount_device(point), 20, "the mount")
        daemon = child_of(unshare.pid)
        assert "NSpid:" in Path(f"/proc/{daemon}/status").read_text()
        run_bounded(["nsenter", f"--pid=/proc/{daemon}/ns/pid", "sh", "-c", "(sleep 0.3 &) ; exit 0"])
        time.sleep(0.6)
        states = [Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()[0]
                  for p in Path(f"/proc/{daemon}/task/{daemon}/children").read_text().split()]
        assert "Z" not in states
        os.kill(daemon, signal.SIGTERM)
        assert unshare.wait(15) == 0
    assert not mount_device(point)


def test_process_1_before_it_is_mounted(server, point):
    """A container that looks for its server can be stopped."""
    server.stop()
    argv = ["unshare", "--pid", "--fork", "--kill-child=KILL", PROGRAM, *words(server, point, "retry=5")]
    with process(argv) as unshare:
        daemon = child_of(unshare.pid)
        wait_for(lambda: b"fusenfs" in Path(f"/proc/{daemon}/cmdline").read_bytes().split(b"\0")[0], 10, "exec")
        time.sleep(0.5)
        os.kill(daemon, signal.SIGTERM)
        assert unshare.wait(5) == 8
    server.start()


# --- log formats


def stderr_until(started, regex, seconds=20):
    """What it has said, up to and with a line that matches."""
    text, end = b"", time.monotonic() + seconds
    while not re.search(regex, text.decode(errors="replace")):
        left = end - time.monotonic()
        assert left > 0 and select.select([started.stderr], [], [], left)[0], (regex, text)
        chunk = os.read(started.stderr.fileno(), 65536)
        assert chunk, (regex, text)
        text += chunk
    return text.decode()


def test_json(server, point):
    """Each line is an object with stable keys; a connection is named by its number."""
    with Proxy(server) as proxy, process([PROGRAM, "-f", "--log-format=json", *words(server, point, f"nconnect=2,{SHORT}",
                                                                               proxy.nfs_port)]) as daemon:
        text = stderr_until(daemon, "mounted on.*\n")
        wait_for(lambda: len(proxy.links()) == 2, 10, "two connections")
        proxy.links()[0].cut()
        text += stderr_until(daemon, "conn-up.*\n")
        server.stop()
        run_bounded(["ls", point], check=False)
        text += stderr_until(daemon, "server-down.*\n")
        server.start()
        run_bounded(["umount", point])
        text += daemon.stderr.read().decode()
    records = [json.loads(line) for line in text.splitlines()]
    for record in records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])
        assert record["level"] in ("error", "warn", "info")
        assert (record["mount"], record["source"]) == (str(point), f"127.0.0.1:{server.rw}")
        assert record["pid"] == daemon.pid and record["message"]
    by_id = {record.get("error"): record for record in records}
    assert by_id["server-down"]["level"] == "warn" and "not responding" in by_id["server-down"]["message"]
    assert by_id["mounted"]["level"] == "info"
    assert {"unmounted", "conn-down"} <= set(by_id)
    assert by_id["conn-down"]["conn"] in (0, 1)


def test_json_error(server, point):
    """A mount that fails says so in one line, with advice; so does a wrong word."""
    argv = [PROGRAM, "-f", "--log-format=json", "127.0.0.1:/nowhere", str(point), *words(server, point)[:2]]
    with process(argv) as daemon:
        record = json.loads(daemon.stderr.read())
        assert daemon.wait(10) == 32
    assert (record["error"], record["level"]) == ("export-not-found", "error")
    assert "exports:" in record["why"] and record["try"][0].startswith("fusenfs exports")
    with process([PROGRAM, "--log-format=json", "x:/y", "/mnt", "-o", "nconect=2"]) as daemon:
        assert json.loads(daemon.stderr.read())["error"] == "unknown-option"
        assert daemon.wait(10) == 1


def test_format_is_checked():
    done = run_bounded([PROGRAM, "--log-format=xml", "x:/y", "/mnt"], check=False)
    assert done.returncode == 1 and "[bad-value]" in done.stdout


def test_json_in_the_background(server, point, workdir):
    """Who asks for a format on stderr gets it there, also when nobody waits any more."""
    log = workdir / "json.log"
    with open(log, "wb") as stderr:
        subprocess.run([PROGRAM, "--log-format=json", *words(server, point)], stdout=subprocess.DEVNULL,
                       stderr=stderr, timeout=20, check=True)
    run_bounded(["umount", point])
    wait_for(lambda: "unmounted" in log.read_text(), 10, "the line")
    assert [json.loads(line)["error"] for line in log.read_text().splitlines()] == ["mounted", "unmounted"]


@pytest.fixture
def journal():
    """A socket where the journal's would be."""
    if os.path.exists(f"{JOURNAL}/socket"):
        pytest.skip("there is a journal")
    os.makedirs(JOURNAL, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(f"{JOURNAL}/socket")
    listener.settimeout(20)
    yield listener
    listener.close()
    os.unlink(f"{JOURNAL}/socket")


def fields(datagram):
    """An entry of the native protocol."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            n = int.from_bytes(rest[:8], "little")
            value, rest = rest[8:8 + n], rest[8 + n + 1:]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


@pytest.mark.parametrize("how", ["journal", "auto"])
def test_journal(server, point, journal, how):
    """Entries with fields to search for. auto: if JOURNAL_STREAM says that stderr is the journal."""
    readable, writable = os.pipe()
    st = os.fstat(writable)
    environment = os.environ | ({"JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"} if how == "auto" else {})
    argv = [PROGRAM, "-f", *(["--log-format=journal"] if how == "journal" else [])]
    with Proxy(server) as proxy:
        daemon = subprocess.Popen([*argv, *words(server, point, "nconnect=1", proxy.nfs_port)], stderr=writable,
                                  env=environment)
        os.close(writable)
        entry = fields(journal.recv(65536))
        wait_for(lambda: len(proxy.links()) == 1, 10, "the connection")
        proxy.links()[0].cut()
        lost = fields(journal.recv(65536))
        run_bounded(["umount", point])
    try:
        assert daemon.wait(15) == 0
        assert os.read(readable, 65536) == b""
    finally:
        daemon.kill()
        daemon.wait()
        os.close(readable)
    assert entry["FUSENFS_MOUNT"] == str(point) and entry["FUSENFS_SOURCE"] == f"127.0.0.1:{server.rw}"
    assert entry["FUSENFS_ERROR"] == "mounted" and re.fullmatch("[0-9a-f]{32}", entry["MESSAGE_ID"])
    assert (entry["PRIORITY"], entry["SYSLOG_IDENTIFIER"], entry["SYSLOG_FACILITY"]) == ("6", "fusenfs", "3")
    assert "mounted on" in entry["MESSAGE"]
    assert (lost["FUSENFS_CONN"], lost["FUSENFS_ERROR"]) == ("0", "conn-down")
    assert lost["MESSAGE_ID"] != entry["MESSAGE_ID"]


def test_journal_gets_errors(server, point, journal):
    """A failure is one entry with why and what to try; on a terminal it is seen as well."""
    argv = [PROGRAM, "-f", "--log-format=journal", "127.0.0.1:/nowhere", str(point), *words(server, point)[:2]]
    done = run_bounded(argv, check=False)
    entry = fields(journal.recv(65536))
    assert done.returncode == 32 and "[export-not-found]" in done.stdout
    assert (entry["FUSENFS_ERROR"], entry["PRIORITY"]) == ("export-not-found", "3")
    assert re.search(r"\[export-not-found\]\n  why: .*\n  try: fusenfs exports", entry["MESSAGE"])


# --- /dev/fd/N: somebody else has mounted


def mount_descriptor(path, source, options="allow_other,default_permissions"):
    """open(2) of /dev/fuse and mount(2), as a privileged launcher does it: the descriptor."""
    fd = os.open("/dev/fuse", os.O_RDWR)
    data = f"fd={fd},rootmode=40000,user_id=0,group_id=0,{options}"
    if libc.mount(source.encode(), str(path).encode(), b"fuse.fusenfs", 6, data.encode()) != 0:  # nosuid, nodev
        raise OSError(ctypes.get_errno(), "mount(2)")
    return fd


@contextlib.contextmanager
def inherited(server, point, *prefix):
    """A daemon that serves a mount of ours."""
    source = f"127.0.0.1:{server.rw}"
    fd = mount_descriptor(point, source)
    argv = [*prefix, PROGRAM, "-f", *words(server, f"/dev/fd/{fd}")]
    with process(argv, pass_fds=[fd]) as daemon:
        os.close(fd)
        stderr_until(daemon, "mounted on.*\n")
        yield daemon


def test_inherited_descriptor(server, point):
    """It works as any other, and ends when it is unmounted."""
    with inherited(server, point) as daemon:
        data = pattern(3 * MIB)
        assert read(create(point / "f", data)) == data and (server.rw / "f").read_bytes() == data
        assert sorted(os.listdir(point)) == ["f"]
        run_bounded(["umount", point])
        assert daemon.wait(10) == 0
        log = daemon.stderr.read().decode()
    assert "warning" not in log and "error" not in log


def test_inherited_descriptor_and_sigterm(server, point):
    """Data is saved; the mount is its maker's to take away, and whoever uses it learns that it is dead."""
    with inherited(server, point) as daemon:
        fd = os.open(point / "f", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x" * MIB)
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(10) == 0
        assert errno_of(os.close, fd) == errno.ENOTCONN
        assert mount_device(point)
        assert errno_of(os.stat, point / "f") == errno.ENOTCONN
    assert (server.rw / "f").stat().st_size == MIB
    run_bounded(["umount", point])


def test_no_descriptor(server, point):
    """What is no FUSE descriptor is refused with a reason."""
    with open("/dev/null", "rb") as null:
        for name, message in (("/dev/fd/987", "mountpoint-missing"), (f"/dev/fd/{null.fileno()}", "mountpoint-not-dir")):
            with process([PROGRAM, "-f", *words(server, name)], pass_fds=[null.fileno()]) as daemon:
                assert f"[{message}]" in daemon.stderr.read().decode()
                assert daemon.wait(10) == 32
