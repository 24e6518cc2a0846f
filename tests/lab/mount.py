"""One fusenfs mount under test: starts the daemon, watches it, ends it, judges its log."""

import os
import re
import signal
import subprocess
import threading
from collections import namedtuple
from pathlib import Path

from .procs import CommandFailed, Stuck, kernel_stack, run_bounded, wait_for

MOUNT_TIMEOUT, UMOUNT_TIMEOUT, EXIT_TIMEOUT = 20, 15, 10
BAD_LINE = re.compile(r"(warning|error):", re.IGNORECASE)
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer"
                       r"|runtime error:")

Connection = namedtuple("Connection", "state local local_port peer peer_port")


class MountFailed(Exception):
    """fusenfs ended (status: its exit status), or its mount did not appear in time (None).

    A test of an error message needs no more than pytest.raises(MountFailed, match=...)."""

    def __init__(self, why, mounted):
        super().__init__(f"{' '.join(mounted.argv)}\n{why}\n{mounted.log()}")
        self.status, self.log = mounted.process.poll(), mounted.log()


class Mount:
    """A mounted export.

    path: the mount point. server_path: the exported directory on the server's disk.
    A watchdog aborts the FUSE connection after `limit` seconds: every system call stuck on the
    mount then returns, and the test fails instead of hanging, which no signal could achieve."""

    def __init__(self, argv, path, log_path, server, server_path, limit=60, netns=None):
        self.argv, self.path, self.log_path = argv, Path(path), Path(log_path)
        self.server, self.server_path, self.netns = server, Path(server_path), netns
        self.process = self.device = self.exit_expected = None
        self.allowed, self.complaints, self.last_log = [], [], ""
        self.watchdog = threading.Timer(limit, self._overdue, [limit])
        self.watchdog.daemon = True

    def start(self):
        """Returns when the kernel lists the mount."""
        self.spawn()
        try:
            self.device = wait_for(self.appeared, MOUNT_TIMEOUT, "the mount")
        except Stuck as stuck:
            raise MountFailed(f"{stuck}\n{kernel_stack(self.pid)}", self) from None
        return self

    def spawn(self):
        """Starts fusenfs and waits for nothing: see appeared()."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, start_new_session=True, cwd="/")
        self.watchdog.start()
        return self

    def appeared(self):
        """Whether the kernel lists the mount by now; raises MountFailed if it never will."""
        if not self.alive:
            raise MountFailed(f"ended with {self.process.returncode}", self)
        self.device = mount_device(self.path)
        return self.device

    @property
    def pid(self):
        return self.process.pid

    @property
    def alive(self):
        return self.process.poll() is None

    @property
    def mounted(self):
        return mount_device(self.path) is not None

    def log(self):
        """All that the daemon has said; still known after the file is gone."""
        if self.log_path.exists():
            self.last_log = self.log_path.read_text(errors="replace")
        return self.last_log

    def expect_log(self, regex):
        """Lines that match are no reason to fail; sanitizer reports always are."""
        self.allowed.append(re.compile(regex))

    def expect_exit(self, status):
        """The daemon is to end with this status (negative: a signal), not with 0."""
        self.exit_expected = status

    def connections(self, state="ESTAB"):
        """The daemon's connections to the NFS port; state=None: in any TCP state."""
        found = (c for c in tcp_connections(self.pid, self.netns)
                 if c.peer_port == self.server.nfs_port)
        return [c for c in found if state in (None, c.state)]

    def kill(self):
        """kill -9 of the daemon, on purpose."""
        self.expect_exit(-signal.SIGKILL)
        self.process.kill()
        self.process.wait(EXIT_TIMEOUT)

    def umount(self, timeout=UMOUNT_TIMEOUT):
        """umount(8) must succeed, and the daemon end, in time."""
        run_bounded(["umount", self.path], timeout)
        try:
            self.process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Stuck(f"unmounted, but fusenfs still runs\n{kernel_stack(self.pid)}") from None

    def abort(self):
        """The kernel's own way out: all requests fail, the daemon loses its device."""
        path = Path(f"/sys/fs/fuse/connections/{self.device or 0}/abort")
        if path.exists():
            path.write_text("1")

    def finish(self):
        """Unmounts if need be and returns all reasons to fail the test, as lines of text."""
        self.process.send_signal(signal.SIGCONT)
        if self.mounted and self.alive:
            try:
                self.umount()
            except (Stuck, CommandFailed) as error:
                self.complaints.append(f"umount: {error}")
        self._force()
        self.watchdog.cancel()
        if self.device:  # else start() has raised, and whoever caught it has judged
            self._judge_exit()
        self._judge_log()
        return self.complaints

    def _overdue(self, limit):
        """Runs in the watchdog's thread, while the test is stuck or merely slow."""
        self.complaints.append(f"the test took more than {limit} s; aborted the mount\n"
                               f"test process:\n{kernel_stack(os.getpid())}\n"
                               f"daemon:\n{kernel_stack(self.pid)}")
        self.abort()

    def _force(self):
        """Whatever state the mount is in, end it: nothing here can block."""
        if self.mounted:
            self.abort()
            subprocess.run(["umount", "-lic", self.path], check=False)
        if self.alive:
            try:
                self.process.wait(EXIT_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.complaints.append(f"had to kill fusenfs\n{kernel_stack(self.pid)}")
                self.process.kill()
                self.process.wait(EXIT_TIMEOUT)

    def _judge_exit(self):
        status, expected = self.process.returncode, self.exit_expected or 0
        if status != expected:
            self.complaints.append(f"fusenfs ended with {status}, not {expected}")

    def _judge_log(self):
        for line in self.log().splitlines():
            excused = not self.device or any(regex.search(line) for regex in self.allowed)
            if SANITIZER.search(line) or (BAD_LINE.search(line) and not excused):
                self.complaints.append(f"unexpected in the log: {line}")


def mount_device(path):
    """The device number of the FUSE mount at path, which names its fusectl directory; None if
    there is none. Reads the kernel's list: a stat() could hang."""
    wanted = str(path).replace(" ", r"\040")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, filesystem = line.partition(" - ")
        _, _, device, _, mountpoint, *_ = fields.split()
        if mountpoint == wanted and filesystem.split()[0].startswith("fuse"):
            return device.partition(":")[2]
    return None


def tcp_connections(pid, netns=None):
    """Every TCP connection of a process, as `ss` sees it."""
    enter = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
    for line in run_bounded([*enter, "ss", "-Htnpa"]).stdout.splitlines():
        if f"pid={pid}," in line:
            state, _, _, local, peer, *_ = line.split()
            yield Connection(state, *_address(local), *_address(peer))


def _address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port) if port != "*" else 0
