# SPDX-License-Identifier: GPL-2.0-or-later
"""In containers, of which here are the parts that matter: a sidecar and an application are two mount namespaces with
shared propagation between them; a container without privilege has no CAP_SYS_ADMIN, no /dev/fuse, and a descriptor."""

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

from lab.mount import mount_device
from lab.procs import run_bounded, wait_for
from support import MIB, create, pattern, read
from test_service import PROGRAM, child_of, process, stderr_until, words

TOP = Path(__file__).resolve().parents[1]
LAUNCH = TOP / "packaging/container/launch"


@pytest.fixture
def volume(workdir, request, fusectl):
    """What the kubelet makes of an emptyDir: a directory of the node's, its mount shared."""
    path = workdir / "volumes" / re.sub(r"\W", "_", request.node.name)
    path.mkdir(parents=True)
    run_bounded(["mount", "-t", "tmpfs", "tmpfs", path])
    run_bounded(["mount", "--make-shared", path])
    (path / "nas").mkdir()
    yield path
    while mount_device(path / "nas"):
        run_bounded(["umount", "-l", path / "nas"])
    run_bounded(["umount", "-l", path])


def container(propagation, *argv):
    """A mount namespace and a pid namespace of its own; shared is Bidirectional, slave is HostToContainer."""
    return ["unshare", "--mount", "--propagation", propagation, "--pid", "--fork", "--kill-child=KILL", *argv]


class Application:
    """Runs for as long as the test, and is asked for things over a pipe: its namespace is never entered anew."""

    SCRIPT = """
import errno, os, sys
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(repr(sorted(os.listdir(line.rstrip()))), flush=True)
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
"""

    def __init__(self):
        self.process = subprocess.Popen(container("slave", "/usr/bin/python3", "-c", self.SCRIPT), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == "ready\n"

    def list(self, path):
        print(path, file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def close(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def application(volume):
    made = Application()
    yield made
    made.close()


@contextlib.contextmanager
def sidecar(server, volume, options="nconnect=2"):
    """The daemon as process 1 of the sidecar. Yields the two processes: unshare(1), and the daemon."""
    argv = container("shared", PROGRAM, "--log-format=json", *words(server, volume / "nas", options))
    with process(argv) as outer:
        stderr_until(outer, '"mounted".*\n')
        yield outer, child_of(outer.pid)


def test_sidecar(server, volume, application):
    """The application, which was there first, sees the mount; a killed daemon's as dead; that of its successor; and
    after the end none. SIGTERM ends the sidecar in time."""
    create(server.rw / "f", b"x")
    assert application.list(volume / "nas") == "[]"
    with sidecar(server, volume) as (outer, daemon):
        assert application.list(volume / "nas") == "['f']"
        os.kill(daemon, signal.SIGKILL)
        outer.wait(10)
        assert application.list(volume / "nas") == "ENOTCONN"
    with sidecar(server, volume) as (outer, daemon):
        assert application.list(volume / "nas") == "['f']"
        os.kill(daemon, signal.SIGTERM)
        assert outer.wait(15) == 0
    wait_for(lambda: application.list(volume / "nas") == "[]", 5, "the end of the mount")


def test_sidecar_stopped_as_in_kubernetes(server, volume, application):
    """preStop unmounts lazily; what was written is saved, and the daemon ends by itself."""
    with sidecar(server, volume) as (outer, daemon):
        fd = os.open(volume / "nas/f", os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"x" * MIB)
        run_bounded(["nsenter", f"--mount=/proc/{daemon}/ns/mnt", "umount", "--lazy", volume / "nas"])
        assert application.list(volume / "nas") == "[]"
        os.close(fd)
        assert outer.wait(15) == 0
    assert (server.rw / "f").stat().st_size == MIB


def test_probes(server, volume):
    """As the sidecar's pod asks: alive whatever the server does, ready when it answers; inside the container."""
    with sidecar(server, volume, "nconnect=1,detect=1") as (_, daemon):
        def probe(kind):
            enter = ["nsenter", f"--target={daemon}", "--mount"]
            return run_bounded([*enter, PROGRAM, "health", kind, volume / "nas"], check=False).returncode
        assert (probe("--live"), probe("--ready")) == (0, 0)
        server.pause()
        try:
            assert (probe("--live"), probe("--ready")) == (0, 1)
        finally:
            server.resume()
        assert probe("--ready") == 0
        os.kill(daemon, signal.SIGSTOP)
        assert probe("--live") != 0
        os.kill(daemon, signal.SIGCONT)


def test_sidecar_without_a_server(server, volume, application):
    """bg: the mount is there at once, and the application with it; then the server comes."""
    server.stop()
    with sidecar(server, volume, "bg") as (_, daemon):
        assert application.list(volume / "nas") == "ETIMEDOUT"
        server.start()
        create(server.rw / "f", b"x")
        wait_for(lambda: application.list(volume / "nas") == "['f']", 10, "the server")


# What a container without privilege has: no user of importance, no capability, nothing in /dev.
BARE = """
mount -t tmpfs tmpfs /dev
test ! -e /dev/fuse
exec setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs "$@"
"""


def test_unprivileged(server, volume):
    """The descriptor was opened and mounted outside: the daemon has no capability, no /dev/fuse, and works."""
    argv = [LAUNCH, f"127.0.0.1:{server.rw}", volume / "nas", "unshare", "--mount", "--pid", "--fork",
            "--kill-child=TERM", "sh", "-ec", BARE, "sh", PROGRAM, "--log-format=json",
            *words(server, "/dev/fd/3", "nconnect=2,allow_other,default_permissions")]
    with process(argv) as launcher:
        stderr_until(launcher, '"mounted".*\n')
        daemon = child_of(child_of(launcher.pid))
        status = Path(f"/proc/{daemon}/status").read_text()
        assert re.search(r"^CapEff:\s0+$", status, re.M) and re.search(r"^Uid:\s65534\s", status, re.M)
        data = pattern(3 * MIB)
        assert read(create(volume / "nas/f", data)) == data and (server.rw / "f").read_bytes() == data
        os.kill(daemon, signal.SIGTERM)
        assert launcher.wait(15) == 0
        rest = launcher.stderr.read().decode()
    assert not mount_device(volume / "nas")
    assert '"warn"' not in rest and '"error"' not in [json.loads(line)["level"] for line in rest.splitlines()]


def test_unprivileged_in_a_user_namespace(server, volume):
    """The same as root of a user namespace, which is nobody outside: it cannot mount, and need not."""
    argv = [LAUNCH, f"127.0.0.1:{server.rw}", volume / "nas", "unshare", "--user", "--map-root-user",
            "setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin",
            PROGRAM, "-f", *words(server, "/dev/fd/3", "nconnect=2")]
    with process(argv) as launcher:
        stderr_until(launcher, "mounted on.*\n")
        assert read(create(volume / "nas/f", b"hello")) == b"hello"
        launcher.terminate()
        assert launcher.wait(15) == 0
    assert not mount_device(volume / "nas")
    assert (server.rw / "f").read_bytes() == b"hello"


def test_launcher_without_a_command():
    done = run_bounded([LAUNCH, "nas:/x", "/mnt"], check=False)
    assert done.returncode == 1 and "Usage" in done.stdout


def test_examples_are_yaml():
    """The sidecar's words are fusenfs's, and its probes ask for what they are to ask for."""
    yaml = pytest.importorskip("yaml")
    pod = yaml.safe_load((TOP / "packaging/container/sidecar.yaml").read_text())["spec"]
    side, = pod["initContainers"]
    assert side["restartPolicy"] == "Always"
    command = side["command"][2].rpartition("exec ")[2].split()
    assert command[0] == "fusenfs"
    assert run_bounded([PROGRAM, "fstab", *command[2:]]).stdout.startswith("nas:/export /volume/nas fusenfs")
    assert "--live" in side["livenessProbe"]["exec"]["command"] and "--ready" in side["readinessProbe"]["exec"]["command"]
    mounts = {m["name"]: m.get("mountPropagation") for c in pod["initContainers"] + pod["containers"]
              for m in c["volumeMounts"]}
    assert mounts["nas"] == "HostToContainer" and side["volumeMounts"][0]["mountPropagation"] == "Bidirectional"
