"""The daemon as a process: what it holds, what it touches, and what it cannot be made to wait for."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab.procs import as_user, run_bounded, wait_for
from lab.proxy import Drop, Proxy
from support import MIB, create, pattern, read
from test_mount_errors import attempts  # noqa: F401

USER = 1000
CAP_IPC_LOCK, CAP_SYS_RESOURCE = 14, 24
AT_REST = 32 * MIB  # resident, with 16 connections
SANITIZED = any(word in os.environ.get("FUSENFS", "") for word in ("address", "thread"))
LOUD = "not responding|given up|still in use"


def status(pid, field):
    """A line of /proc/PID/status; sizes in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    value = re.search(rf"^{field}:\s*(.*)$", text, re.MULTILINE).group(1)
    return int(value.split()[0]) * 1024 if value.endswith(" kB") else value


def in_use(pid):
    """Resident memory that is the daemon's own; the rest is pages of libraries."""
    return status(pid, "RssAnon")


@pytest.mark.skipif(SANITIZED, reason="sanitizers have memory of their own")
@pytest.mark.parametrize("user", [None, USER], ids=["root", "user"])
def test_memory_at_rest(mount, user):
    """Little, also where it is locked; and what a burst has taken is given back."""
    m = mount(nconnect=16, user=user)
    at_rest = status(m.pid, "VmRSS")
    print(f"at rest {at_rest / MIB:.1f} MiB, anonymous {in_use(m.pid) / MIB:.1f} MiB, "
          f"locked {status(m.pid, 'VmLck') / MIB:.0f} MiB of address space")
    assert at_rest < AT_REST
    for i in range(4 if user is None else 0):
        data = pattern(32 * MIB, i)
        assert read(create(m.path / f"f{i}", data)) == data
    wait_for(lambda: status(m.pid, "VmRSS") < 2 * AT_REST, 20, "memory to be given back")
    print(f"after a burst {status(m.pid, 'VmRSS') / MIB:.1f} MiB")


@pytest.mark.skipif(SANITIZED, reason="sanitizers have memory of their own")
@pytest.mark.slow  # not that it takes long: the other lane's mounts are told to forget their names, too
def test_memory_after_many_names(mount, server):
    """Small pieces of a burst lie in malloc's arenas, between pages that are in use: those are given back, too."""
    m = mount()
    for i in range(40000):
        os.close(os.open(server.rw / f"a name that is not short {i:06}", os.O_CREAT, 0o644))
    run_bounded(["ls", "-l", m.path], 60, stdout=subprocess.DEVNULL)
    burst = in_use(m.pid)
    Path("/proc/sys/vm/drop_caches").write_text("2")  # the kernel forgets the names, and the daemon with it
    wait_for(lambda: in_use(m.pid) < burst - 4 * MIB, 30, "memory to be given back")
    print(f"{burst / MIB:.1f} MiB in use, {in_use(m.pid) / MIB:.1f} afterwards")
    assert (status(m.pid, "VmLck") > 0) == has_capability(CAP_IPC_LOCK)  # again


@pytest.mark.skipif(SANITIZED, reason="madvise(2) of shadow memory")
def test_locked_memory(mount):
    """Root's daemon is locked without a limit that could be reached later; a user's is not."""
    m = mount()
    if not has_capability(CAP_IPC_LOCK):
        pytest.skip("root without CAP_IPC_LOCK")
    assert status(m.pid, "VmLck") > 0
    other = mount(user=USER)
    assert status(other.pid, "VmLck") == 0
    create(other.server_path / "f", b"x")
    assert as_user(read, other.path / "f") == b"x"


def has_capability(number):
    return int(status("self", "CapEff"), 16) >> number & 1


def oom_score_adj(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


def test_oom_score(mount):
    """Lowered for root, never raised, as it was for a user."""
    before = oom_score_adj(os.getpid())
    lowered = min(before, -500) if has_capability(CAP_SYS_RESOURCE) else before
    assert oom_score_adj(mount().pid) == lowered
    assert oom_score_adj(mount(user=USER).pid) == before


def test_oom_score_is_not_raised(mount):
    """A unit that asks for more protection has it."""
    if not has_capability(CAP_SYS_RESOURCE):
        pytest.skip("may not lower its own score here")
    path = Path("/proc/self/oom_score_adj")
    before = path.read_text()
    path.write_text("-900")
    try:
        assert oom_score_adj(mount().pid) == -900
    finally:
        path.write_text(before)


def ready(m):
    """The mount appears a moment before the daemon has done with opening things."""
    wait_for(lambda: "mounted on" in m.log(), 10, "the daemon")
    return m


def test_directory_and_descriptors(mount):
    """Nothing of the mount, nothing below the caller's directory; sockets, /dev/fuse, its own
    events, and the way to abort."""
    m = ready(mount(nconnect=4))
    assert os.readlink(f"/proc/{m.pid}/cwd") == "/"
    names = [os.readlink(f"/proc/{m.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{m.pid}/fd")]
    others = {n for n in names if not re.match(r"socket:|anon_inode:|/dev/(fuse|null)$", n)}
    assert others == {f"/sys/fs/fuse/connections/{m.device}/abort", str(m.log_path)}, names


@pytest.mark.skipif(SANITIZED, reason="LeakSanitizer does not work under strace")
@pytest.mark.parametrize("options", ["", "bg"])
def test_what_it_opens(mount, server, workdir, options):
    """While it serves, loses its server, finds it again and is unmounted, it opens files of /proc, and
    what the resolver reads, and removes its own file of /run/fusenfs; it never looks at its own mount."""
    m = ready(mount(nconnect=2, options=options, host="localhost"))
    m.expect_log(LOUD)
    trace = workdir / "opened"
    with open(trace, "wb"):
        pass
    tracer = subprocess.Popen(["strace", "-f", "-e", "trace=%file", "-o", str(trace), "-p",
                               str(m.pid)], stderr=subprocess.PIPE)
    try:
        assert b"attached" in tracer.stderr.readline()
        create(m.path / "f", pattern(MIB))
        assert len(read(m.path / "f")) == MIB
        os.mkdir(m.path / "d")
        os.listdir(m.path)
        server.restart()
        wait_for(lambda: len(m.connections()) == 2, 15, "both connections")
        os.listdir(m.path)
        m.umount()
    finally:
        tracer.terminate()
        tracer.communicate(timeout=10)
    paths = set(re.findall(r'"([^"]*)"', trace.read_text()))
    print(sorted(paths))
    assert all(re.match(r"/proc/|/etc/|/run/fusenfs/", path) for path in paths), paths


def test_abort_is_the_last_resort(mount, server):
    """SIGTERM while a process holds a file open and the server is silent: in umounttimeo the kernel
    is made to let go, and whoever waits is freed."""
    m = mount(options="umounttimeo=1")
    m.expect_log(LOUD)
    create(m.path / "f", b"x")
    holder = subprocess.Popen(["sh", "-c", "exec sleep 60 <f"], cwd=m.path)
    try:
        wait_for(lambda: os.readlink(f"/proc/{holder.pid}/fd/0").endswith("/f"), 5, "the open file")
        server.pause()
        start = time.monotonic()
        m.process.send_signal(signal.SIGTERM)
        m.process.wait(5)
        took = time.monotonic() - start
        assert took < 2, f"{took:.1f} s"
        assert not m.mounted
    finally:
        server.resume()
        holder.kill()
        holder.wait(5)


TIMEOUT_SESSION = r"""
"$@" || exit
start=$(date +%s.%N)
timeout 30 ls "$MNT"
echo "ls $? $(date +%s.%N) $start"
umount "$MNT"
"""


@pytest.mark.parametrize("options", ["softerr", "hard"])
def test_kernel_request_timeout(attempts, options):
    """A kernel that aborts mounts for slow requests (its limit is simulated: 15 s, the least there is):
    calls end before that, also with hard, and it is said."""
    limit = attempts.directory / "limit"
    limit.write_text("1")
    script = f"mount --bind {limit} /proc/sys/fs/fuse/max_request_timeout"
    with Proxy(attempts.server) as proxy:
        ports = f"port={proxy.nfs_port},mountport={proxy.mnt_port}"
        proxy.on("READDIR READDIRPLUS ACCESS", Drop())
        words = attempts.argv(attempts.source, attempts.mnt, "-o", f"{ports},{options},optimeo=60",
                              namespace=script)
        at = words.index("sh", 4)  # behind the namespace's script: the session, then the program
        words[at + 1:at + 1] = ["sh", "-c", TIMEOUT_SESSION, "sh"]
        said = run_bounded(words, 50, check=False, env={**attempts.env, "MNT": attempts.mnt}).stdout
        print(said)
    assert "[kernel-timeout]" in said and "calls end after 12 s" in said
    assert "Connection timed out" in said
    end, start = re.search(r"ls \d+ ([\d.]+) ([\d.]+)", said).groups()
    assert 11 < float(end) - float(start) < 27  # opening, perhaps, and reading: 12 s each


PR_SET_IO_FLUSHER = 57


@pytest.mark.skipif("thread" in os.environ.get("FUSENFS", ""), reason="ThreadSanitizer has a thread of its own")
@pytest.mark.parametrize("permitted", [True, False])
def test_io_flusher(mount, workdir, permitted):
    """Who writes back pages may not wait for the write-back of others (prctl(2), PR_SET_IO_FLUSHER): it is
    asked for before there are threads, which inherit it; where it is refused the mount works as well."""
    trace = workdir / f"prctl-{permitted}"
    answer = "retval=0" if permitted else "error=EPERM"
    m = mount(through=["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=prctl,clone,clone3",
                       "-e", f"inject=prctl:{answer}"])
    create(m.path / "f", b"x")
    assert read(m.path / "f") == b"x"
    lines = trace.read_text().splitlines()
    asked = [n for n, line in enumerate(lines)
             if re.search(rf"prctl\((PR_SET_IO_FLUSHER|0x{PR_SET_IO_FLUSHER:x}\b.*), (1|0x1),", line)]
    threads = [n for n, line in enumerate(lines) if "CLONE_THREAD" in line]
    assert len(asked) == 1 and threads
    assert not [n for n in threads if n < asked[0]]
