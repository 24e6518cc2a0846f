"""Processes that cannot hang or outlive a test: bounded commands, other users, private networks."""

import ctypes
import os
import pickle
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

CLONE_NEWNET = 0x40000000
REAP_TIMEOUT = 5


class Stuck(Exception):
    """A process did not end in time; the message says where in the kernel it waits."""


def run_bounded(argv, timeout=30, check=True, **kwargs):
    """subprocess.run() with output as text, for commands that may block on a mount.

    On timeout the whole process group is killed and Stuck raised, even if the process survives the
    SIGKILL. A failing command raises CalledProcessError with its output in the message."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen([str(a) for a in argv], text=True, start_new_session=True,
                               **{**pipes, **kwargs})
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Stuck(f"{argv} runs for more than {timeout} s\n{_end_stuck(process)}") from None
    except BaseException:
        _end_stuck(process)
        raise
    if check and process.returncode:
        raise CommandFailed(argv, process.returncode, output)
    return subprocess.CompletedProcess(argv, process.returncode, output)


class CommandFailed(subprocess.CalledProcessError):
    """CalledProcessError that shows the output."""

    def __init__(self, argv, returncode, output):
        super().__init__(returncode, [str(a) for a in argv], output)

    def __str__(self):
        return f"{super().__str__()}\n{self.output}"


def _end_stuck(process):
    """Kills the group of a process; returns what its members were doing."""
    stacks = "\n".join(kernel_stack(pid) for pid in group_members(process.pid))
    try:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(REAP_TIMEOUT)
    except ProcessLookupError:
        pass
    except subprocess.TimeoutExpired:
        stacks += f"\n{process.pid} survived SIGKILL"
    return stacks


def group_members(pgid):
    """Pids of a process group."""
    def pgrp(stat):
        return int(stat.rpartition(")")[2].split()[2])
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if pgrp(entry.read_text()) == pgid:
                yield int(entry.parent.name)
        except OSError:
            pass


def kernel_stack(pid):
    """Command, state and kernel stack of every thread of a process, as text."""
    lines = []
    for task in sorted(Path(f"/proc/{pid}/task").glob("*")):
        try:
            name, state = (task / "comm").read_text().strip(), (task / "stat").read_text()
            lines.append(f"{task.name} ({name}) state {state.rpartition(')')[2].split()[0]}")
            lines += ["    " + line for line in (task / "stack").read_text().splitlines()]
        except OSError as error:
            lines.append(f"{task.name}: {error.strerror}")
    return "\n".join(lines)


def as_user(func, *args, uid=1000, gid=None, groups=(), timeout=30):
    """func(*args) in a child with another identity: its result, or its exception raised here.

    Result and exception must be picklable; func itself and its arguments need not be."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        _child(writable, func, args, uid, uid if gid is None else gid, groups)
    os.close(writable)
    try:
        kind, value = pickle.loads(_read_until(readable, pid, time.monotonic() + timeout))
    finally:
        os.close(readable)
        _reap(pid)
    if kind == "raised":
        raise value
    return value


def _child(writable, func, args, uid, gid, groups):
    """Never returns: the child must not run the parent's clean-up."""
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        outcome = ("returned", func(*args))
    except BaseException as error:  # all of it belongs to the parent
        outcome = ("raised", error)
    try:
        data = pickle.dumps(outcome)
    except Exception:
        data = pickle.dumps(("raised", RuntimeError(f"cannot be pickled: {outcome!r}")))
    with open(writable, "wb") as pipe:
        pipe.write(data)
    os._exit(0)


def _read_until(fd, pid, deadline):
    data = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([fd], [], [], left)[0]:
            raise Stuck(f"a child runs for too long\n{kernel_stack(pid)}")
        chunk = os.read(fd, 65536)
        data += chunk
        if not chunk:
            return data or pickle.dumps(("raised", RuntimeError("the child died")))


def _reap(pid):
    """Kills a child that has handed over its result, or never will; bounded."""
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + REAP_TIMEOUT
    while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.001)


def wait_for(condition, timeout=10, what="a condition"):
    """The first true value of condition(); polls every 10 ms."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Stuck(f"waited {timeout} s for {what}")
        time.sleep(0.01)


def private_network():
    """Moves this process and its future children to a network namespace with only a loopback:
    ports are free, packet filters harm nobody, and no packet can leave."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Servers bind a reserved port for each call to rpcbind and statd; what lingers in TIME-WAIT would use up all of them.
    Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").write_text("0")


def isolated_program():
    """Runs this program again in namespaces of its own for mounts and processes, unless it does so
    already: however it ends, the kernel takes away what it has left mounted, running or named by
    `ip netns`."""
    if os.environ.pop("FUSENFS_ISOLATED", None) is None:
        os.environ["FUSENFS_ISOLATED"] = "yes"
        words = ["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        os.execvp("unshare", ["unshare", *words, sys.executable, *sys.argv])
    os.makedirs("/run/netns", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
