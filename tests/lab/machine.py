# SPDX-License-Identifier: GPL-2.0-or-later
"""A Debian that boots: systemd as process 1 in a container of systemd-nspawn, in this process's network.

The image is made once, by tests/lab/boot.sh; each machine has its own layer above it, which goes with it. No systemd is needed outside: a cgroup namespace with a version 2 hierarchy of its own, whose root is
also the root for process 1 of a pid namespace of its own, is all that nspawn asks for. Everything ends with nspawn."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path

from .procs import run_bounded, wait_for

MOUNT_LAYER = """
set -e
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mkdir -p /run/systemd/nspawn
mount -t tmpfs tmpfs /run/systemd/nspawn
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/$3
mkdir "$group"
echo $$ >"$group/cgroup.procs"
leave()
{
	echo $$ >/sys/fs/cgroup/cgroup.procs
	for _ in 1 2 3 4 5 6 7 8 9; do
		! find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || return 0
		sleep 0.1
	done
}
trap leave EXIT
shift 3
unshare --cgroup --pid --fork --kill-child=KILL --mount-proc sh -ec '
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
"$@"' sh "$@"
"""


def image():
    """The image that all layers share, or None: tests/lab/boot.sh makes it."""
    root = Path("/var/tmp/fusenfs-boot/root")
    return root if root.is_dir() and root.parent.stat().st_uid == 0 else None


class Machine:
    """One boot. `install` puts files into its layer before; run() runs commands inside, as root."""

    def __init__(self, directory):
        self.directory, self.process, self.leader = Path(directory), None, None
        for name in ("upper", "work", "root"):
            (self.directory / name).mkdir(parents=True)
        self.layer = self.directory / "upper"
        self.booted_in = self.ended_in = None

    def install(self, path, text, mode=0o644):
        target = self.layer / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def enable(self, unit, target="multi-user.target"):
        """As systemctl enable; the unit's file may come later."""
        link = self.layer / f"etc/systemd/system/{target}.wants/{unit}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/etc/systemd/system/{unit}" if "@" not in unit else
                        f"/lib/systemd/system/{unit.partition('@')[0]}@.service")

    def start(self, limit=60):
        """Returns when all that is to start has started, or failed."""
        begun = time.monotonic()
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNT_LAYER, "sh", image(),
                self.directory, f"fusenfs-{secrets.token_hex(4)}", "systemd-nspawn", "--quiet",
                "--register=no", "--keep-unit", "--boot", f"--directory={self.directory}/root",
                "--bind=/dev/fuse", "--bind=/dev/autofs", "--console=pipe", "--link-journal=no", "--resolv-conf=off", "--timezone=off"]
        with open(self.directory / "console", "wb") as console:
            self.process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=console,
                                            stderr=console)
        self.leader = wait_for(self._find_leader, 20, "process 1 of the machine")
        wait_for(lambda: self.state() in ("running", "degraded", "maintenance"), limit, "the boot")
        self.booted_in = time.monotonic() - begun
        return self

    def _find_leader(self):
        """nspawn's grandchild, whose pid is 1 in the innermost namespace."""
        assert self.process.poll() is None, (self.directory / "console").read_text()
        for pid in _descendants(self.process.pid):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                nspid = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
                if "Name:\tsystemd\n" in status and nspid[-1] == "1":
                    return pid
            except (OSError, StopIteration):
                pass
        return None

    def run(self, *argv, timeout=30, check=True):
        """A command inside: its output."""
        enter = ["nsenter", f"--target={self.leader}", "--mount", "--pid", "--uts", "--ipc", "--root", "--wd=/"]
        return run_bounded([*enter, *argv], timeout, check=check).stdout

    def state(self):
        """running, degraded ...; anything else while it cannot be asked yet."""
        return self.run("systemctl", "is-system-running", check=False).strip()

    def show(self, unit, name):
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def log(self, *words):
        return self.run("journalctl", "--no-pager", "--output=cat", *words)

    def power_off(self, limit=60):
        """As from within: seconds until nothing is left."""
        begun = time.monotonic()
        self.run("systemctl", "--no-block", "poweroff")
        self.process.wait(limit)
        self.ended_in = time.monotonic() - begun
        return self.ended_in

    def close(self):
        if self.process and self.process.poll() is None:
            for pid in _descendants(self.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.wait(10)
        shutil.rmtree(self.directory, ignore_errors=True)


def _descendants(pid):
    """Children and theirs, the youngest generation last."""
    try:
        children = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return
    yield from children
    for child in children:
        yield from _descendants(child)
