# SPDX-License-Identifier: GPL-2.0-or-later
"""The container image: small, without tools to build with, and run by podman and by crun as a sidecar would be. Slow, and with the
image that tests/lab/image.sh builds."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from lab.mount import mount_device
from lab.procs import run_bounded, wait_for
from support import MIB, create, pattern, read
from test_container import LAUNCH, volume  # noqa: F401
from test_service import words

KEPT = Path("/var/tmp/fusenfs-image")
ROOT = KEPT / "rootfs"
pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not ROOT.is_dir() or ROOT.parent.stat().st_uid != 0,
                                 reason="no image: tests/lab/image.sh makes it")]
SIZE = 200 * MIB  # Debian itself, by debootstrap, is two thirds of that


def image():
    return json.loads((KEPT / "image.json").read_text())[0]["Config"]


def bundle(directory, args, mounts=(), capabilities=(), devices=False, uid=0):
    """An OCI bundle: the image's files, its entrypoint with these arguments, in the test's network."""
    config = json.loads(run_bounded(["sh", "-c", "crun spec && cat config.json && rm config.json"], cwd=directory).stdout)
    process = config["process"]
    process.update(terminal=False, args=image()["Entrypoint"] + args, user={"uid": uid, "gid": uid})
    process["capabilities"] = {kind: list(capabilities) for kind in ("bounding", "effective", "permitted")}
    config["root"] = {"path": str(ROOT), "readonly": True}
    config["mounts"] += [{"destination": str(path), "source": str(path), "type": "bind", "options": ["rbind", "rshared"]}
                         for path in mounts]
    config["mounts"] += [{"destination": "/run", "source": "tmpfs", "type": "tmpfs", "options": ["mode=755"]}]
    config["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    config["linux"]["rootfsPropagation"] = "rshared"
    config["linux"].pop("resources", None)
    if devices:
        config["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o666}]
    (directory / "config.json").write_text(json.dumps(config))


def crun(directory, *words_):
    return ["crun", "--cgroup-manager=disabled", f"--root={directory}/state", *words_]


# crun wants one kind of cgroups, not both as some machines have them.
ONE_HIERARCHY = ["unshare", "--mount", "--propagation", "unchanged", "sh", "-ec",
                 'umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"', "sh"]


def start(directory, *prefix, fds=0):
    log = open(directory / "log", "wb")
    extra = [f"--preserve-fds={fds}"] if fds else []
    return subprocess.Popen([*ONE_HIERARCHY, *prefix, *crun(directory, "run", "--bundle", str(directory), *extra, directory.name)],
                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@pytest.fixture
def directory(workdir, request):
    path = workdir / re.sub(r"\W", "_", request.node.name)
    path.mkdir()
    yield path
    subprocess.run([*ONE_HIERARCHY, *crun(path, "delete", "--force", path.name)], check=False, capture_output=True)


def test_contents():
    """What it needs, and nothing to build with."""
    names = {path.name for place in ("usr/bin", "usr/sbin") for path in (ROOT / place).iterdir()}
    assert {"fusenfs", "mount.fusenfs", "fusermount3", "umount"} <= names
    assert not {"gcc", "cc", "ld", "make", "ninja", "meson", "python3"} & names
    assert not (ROOT / "var/lib/apt/lists").exists() or not list((ROOT / "var/lib/apt/lists").iterdir())
    assert not (ROOT / "src").exists() and not (ROOT / "tmp/packages").exists()
    size = sum(path.lstat().st_size for path in ROOT.rglob("*") if path.is_file() and not path.is_symlink())
    print(f"{size / MIB:.0f} MiB")
    assert size < SIZE
    assert image()["StopSignal"] == "SIGTERM" and image()["Entrypoint"][0] == "/usr/bin/fusenfs"


def test_sidecar(server, volume, directory):  # noqa: F811
    """With CAP_SYS_ADMIN and /dev/fuse; the mount reaches the node; SIGTERM is its end."""
    bundle(directory, words(server, volume / "nas"), [volume], ["CAP_SYS_ADMIN", "CAP_NET_BIND_SERVICE"], devices=True)
    running = start(directory)
    wait_for(lambda: mount_device(volume / "nas"), 20, (directory / "log").read_text)
    data = pattern(3 * MIB)
    assert read(create(volume / "nas/f", data)) == data and (server.rw / "f").read_bytes() == data
    for kind in ("--live", "--ready"):
        run_bounded([*ONE_HIERARCHY, *crun(directory, "exec", directory.name, "fusenfs", "health", kind, str(volume / "nas"))])
    run_bounded([*ONE_HIERARCHY, *crun(directory, "kill", directory.name, image()["StopSignal"])])
    assert running.wait(20) == 0
    assert not mount_device(volume / "nas")
    assert [json.loads(line)["error"] for line in (directory / "log").read_text().splitlines()] == ["mounted", "unmounted"]


def test_unprivileged(server, volume, directory):  # noqa: F811
    """Without a capability, as nobody: the descriptor comes from the launcher."""
    bundle(directory, words(server, "/dev/fd/3"), uid=65534)
    running = start(directory, LAUNCH, f"127.0.0.1:{server.rw}", volume / "nas", fds=1)
    try:
        wait_for(lambda: "mounted" in (directory / "log").read_text(), 20, "the mount")
        assert read(create(volume / "nas/f", b"hello")) == b"hello" and (server.rw / "f").read_bytes() == b"hello"
    finally:
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0, (directory / "log").read_text()
    assert not mount_device(volume / "nas")
    assert os.path.isdir(volume / "nas")


# --- by podman, as the recipe says


def podman(*words_):
    """Of the storage in which tests/lab/image.sh has built it."""
    return [*ONE_HIERARCHY, "podman", f"--root={KEPT}/storage", f"--runroot={KEPT}/run", "--storage-driver=vfs", *words_]


def podman_run(name, *words_):
    """The limits are given, for podman's own are more than a machine without CAP_SYS_RESOURCE can set. The network is this
    test's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return podman("run", "--rm", f"--name={name}", "--network=host", "--cgroups=disabled", f"--ulimit=nofile={soft}:{hard}",
                  "--ulimit=nproc=1000:1000", *words_)


@pytest.fixture
def container():
    """Its name; what a failed test has left is removed."""
    yield "fusenfs-test"
    subprocess.run(podman("rm", "--force", "--time=0", "fusenfs-test"), check=False, capture_output=True)


needs_podman = pytest.mark.skipif(shutil.which("podman") is None, reason="no podman: tests/lab/image.sh installs it")


@needs_podman
def test_podman_version(container):
    assert "fusenfs 0." in run_bounded(podman_run(container, "localhost/fusenfs", "--version")).stdout


@needs_podman
def test_podman(server, volume, directory, container):  # noqa: F811
    """The command of the recipe; `podman stop` is the end, and data is on the server then."""
    with open(directory / "log", "wb") as log:
        running = subprocess.Popen(podman_run(container, "--device=/dev/fuse", "--cap-add=SYS_ADMIN",
                                              f"--volume={volume}:{volume}:rshared", "localhost/fusenfs",
                                              *words(server, volume / "nas")), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_for(lambda: mount_device(volume / "nas") or running.poll() is not None, 30, "the mount")
    assert running.poll() is None, (directory / "log").read_text()
    data = pattern(3 * MIB)
    assert read(create(volume / "nas/f", data)) == data and (server.rw / "f").read_bytes() == data
    for kind in ("--live", "--ready"):
        run_bounded(podman("exec", container, "fusenfs", "health", kind, volume / "nas"))
    run_bounded(podman("stop", "--time=10", container))
    assert running.wait(20) == 0
    assert not mount_device(volume / "nas")
    assert [json.loads(line)["error"] for line in (directory / "log").read_text().splitlines()] == ["mounted", "unmounted"]


@needs_podman
def test_podman_unprivileged(server, volume, directory, container):  # noqa: F811
    """As packaging/container/launch says: no capability, no device, a user of its own."""
    argv = podman_run(container, "--preserve-fds=1", "--user=65534", "--cap-drop=all", "--security-opt=no-new-privileges",
                      "localhost/fusenfs", *words(server, "/dev/fd/3", "allow_other,default_permissions"))
    with open(directory / "log", "wb") as log:
        running = subprocess.Popen([LAUNCH, f"127.0.0.1:{server.rw}", volume / "nas", *argv], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log)
    try:
        wait_for(lambda: "mounted" in (directory / "log").read_text() or running.poll() is not None, 30, "the mount")
        assert read(create(volume / "nas/f", b"hello")) == b"hello" and (server.rw / "f").read_bytes() == b"hello"
    finally:
        run_bounded(podman("stop", "--time=10", container), check=False)
        assert running.wait(20) == 0, (directory / "log").read_text()
    assert not mount_device(volume / "nas")
