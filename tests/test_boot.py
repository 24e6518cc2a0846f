# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine with a mount boots and shuts down in bounded time, whatever its server does: as a service, from fstab
and as units of one's own. Slow, and with an image that tests/lab/boot.sh makes."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from lab.machine import Machine, image
from lab.procs import run_bounded, wait_for
from lab.proxy import PacketFilter
from test_process import CAP_SYS_RESOURCE, has_capability, oom_score_adj
from test_service import loops_of, stopped_thread

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300),
              pytest.mark.skipif(image() is None, reason="no image: tests/lab/boot.sh makes it")]

TOP = Path(__file__).resolve().parents[1]
TARGET = "/mnt/nas"
BOOT, SHUTDOWN = 10, 10  # seconds; without a server it takes no longer than mounttimeo more
WAIT = 12                # mounttimeo (10 s), and a little
KINDS = ["service", "fstab", "unit",
         pytest.param("automount", marks=pytest.mark.skipif("autofs" not in Path("/proc/filesystems").read_text(),
                                                            reason="this kernel has no autofs"))]
HIDES = ["ProtectSystem=yes", "ProtectHome=yes", "PrivateTmp=yes", "PrivateDevices=yes", "ProtectKernelTunables=yes",
         "ProtectKernelModules=yes", "ProtectKernelLogs=yes", "ProtectControlGroups=yes", "ProtectProc=invisible",
         "ReadOnlyPaths=/etc", "InaccessiblePaths=/etc/hostname", "TemporaryFileSystem=/opt", "BindPaths=/etc:/opt",
         "PrivateMounts=yes"]


@pytest.fixture(scope="session")
def installed(workdir):
    """What meson install puts in its place, for a system whose /sbin is a link."""
    build = os.environ.get("FUSENFS_BUILD", str(TOP / "build"))
    place = workdir / "installed"
    run_bounded(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", place])
    (place / "sbin").rename(place / "usr/sbin")
    return place


@pytest.fixture
def machine_without(workdir, request):
    """One that has never heard of fusenfs."""
    made = Machine(workdir / re.sub(r"\W", "_", request.node.name))
    yield made
    made.close()


@pytest.fixture
def machine(machine_without, installed):
    shutil.copytree(installed, machine_without.layer, symlinks=True, dirs_exist_ok=True)
    return machine_without


def options_of(server, more=""):
    return f"nconnect=2,port={server.nfs_port},mountport={server.mnt_port},timeo=10,retrans=1,detect=1{more}"


def configure(machine, server, kind, options=""):
    """One mount of the server, at boot."""
    source, words = f"127.0.0.1:{server.rw}", options_of(server, options)
    program = next(machine.layer.rglob("bin/fusenfs"))
    (machine.layer / "mnt/nas").mkdir(parents=True, exist_ok=True)
    if kind == "service":
        machine.install("/etc/fusenfs/nas.conf", f"SOURCE={source}\nTARGET={TARGET}\nOPTIONS={words}\n")
        unit = next(machine.layer.rglob("fusenfs@.service"))
        link = machine.layer / "etc/systemd/system/remote-fs.target.wants/fusenfs@nas.service"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("/" + str(unit.relative_to(machine.layer)))
    elif kind == "fstab":
        line = run_bounded([program, "fstab", source, TARGET, "-o", words]).stdout
        machine.install("/etc/fstab", line)
    else:
        text = run_bounded([program, "unit", source, TARGET, "-o", words]).stdout
        machine.install("/etc/systemd/system/mnt-nas.mount", text)
        if kind == "automount":
            example = next(machine.layer.rglob("mnt-nas.automount")).read_text()
            machine.install("/etc/systemd/system/mnt-nas.automount", example)
        wanted = f"mnt-nas.{'automount' if kind == 'automount' else 'mount'}"
        link = machine.layer / f"etc/systemd/system/remote-fs.target.wants/{wanted}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/etc/systemd/system/{wanted}")


def unit_of(kind):
    return "fusenfs@nas.service" if kind == "service" else "mnt-nas.mount"


def is_mounted(machine):
    """As process 1, and so everybody, sees it."""
    text = Path(f"/proc/{machine.leader}/mountinfo").read_text()
    return f" {TARGET} " in text and " fuse.fusenfs " in text


def daemon_of(machine):
    """Its pid out here."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == "fusenfs\n" and TARGET in (path.parent / "cmdline").read_text() and \
                    os.readlink(path.parent / "ns/mnt") == os.readlink(f"/proc/{machine.leader}/ns/mnt"):
                return int(path.parent.name)
        except OSError:
            pass
    return None


def hold_a_file_open(machine, name="held"):
    """Somebody who writes, and does not go before he is made to."""
    machine.run("systemd-run", "--unit=writer", "sh", "-c",
                f"exec 3>{TARGET}/{name}; head -c 3000000 /dev/zero >&3; exec sleep infinity")
    machine.run("timeout", "20", "sh", "-c", f"until [ -s {TARGET}/{name} ]; do sleep 0.1; done", check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_server_up(machine, server, kind):
    """It is there when the boot is over, after the network and before remote-fs.target; what was written is on the
    server when the machine is off."""
    configure(machine, server, kind)
    machine.start()
    assert machine.state() == "running", machine.run("systemctl", "--failed") + machine.log()
    assert machine.booted_in < BOOT
    machine.run("sh", "-c", f"echo hello >{TARGET}/f")
    assert (server.rw / "f").read_text() == "hello\n"
    assert is_mounted(machine)
    unit = unit_of(kind)
    assert {"network-online.target"} <= set(machine.show(unit, "After").split())
    if kind in ("service", "unit"):  # nofail, in fstab: nothing waits for it
        assert "remote-fs.target" in machine.show(unit, "Before").split()
    hold_a_file_open(machine)
    assert machine.power_off() < SHUTDOWN
    assert (server.rw / "held").stat().st_size == 3000000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["refused", "silent"])
def test_server_down(machine, server, kind, how):
    """The machine boots all the same, and goes down all the same; with the server back, the service and the automount
    get their mount."""
    configure(machine, server, kind)
    with PacketFilter() as packets:
        if how == "refused":
            server.stop()
        else:
            packets.drop(f"tcp dport {{ {server.nfs_port}, {server.mnt_port} }}")
        machine.start()
        assert machine.booted_in < BOOT + WAIT
        assert not is_mounted(machine)
        if kind == "automount":
            begun = time.monotonic()
            machine.run("ls", TARGET, check=False)
            assert time.monotonic() - begun < WAIT
    if how == "refused":
        server.start()
    if kind == "service":
        wait_for(lambda: is_mounted(machine), 5 + WAIT, "a new attempt")
        assert machine.run("ls", TARGET) == ""
    if kind == "automount":
        machine.run("systemctl", "reset-failed", "mnt-nas.mount", check=False)
        machine.run("ls", TARGET)
        assert is_mounted(machine)
    server.pause()
    try:
        assert machine.power_off() < SHUTDOWN
    finally:
        server.resume()


@pytest.mark.parametrize("kind", ["service", "fstab", "unit"])
def test_bg(machine, server, kind):
    """With bg nothing waits: the mount is there, and works when the server does."""
    server.stop()
    configure(machine, server, kind, ",bg")
    machine.start()
    assert machine.booted_in < BOOT and machine.state() == "running"
    assert is_mounted(machine)
    if kind == "service":
        assert "refused" in machine.show(unit_of(kind), "StatusText")
    server.start()
    wait_for(lambda: "hello" in machine.run("sh", "-c", f"echo hello >{TARGET}/f && cat {TARGET}/f", check=False), 20,
             "the server to be found")
    assert machine.power_off() < SHUTDOWN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["killed", "silent"])
def test_server_dies(machine, server, kind, how):
    """With data that cannot be saved any more, and somebody who waits for it: off within seconds."""
    configure(machine, server, kind)
    machine.start()
    machine.run("ls", TARGET)
    hold_a_file_open(machine)
    with PacketFilter() as packets:
        if how == "killed":
            server.stop()
        else:
            packets.drop(f"tcp dport {{ {server.nfs_port}, {server.mnt_port} }}")
        machine.run("systemd-run", "sh", "-c", f"echo more >>{TARGET}/held; sync {TARGET}/held; sleep infinity")
        assert machine.power_off() < SHUTDOWN + 10


def test_service_is_started_again(machine, server):
    """After kill -9, and nothing is left of the dead mount; a word that is wrong is not tried again."""
    configure(machine, server, "service")
    machine.start()
    first = daemon_of(machine)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: daemon_of(machine) not in (None, first) and is_mounted(machine), 15, "another one")
    wait_for(lambda: machine.show("fusenfs@nas", "ActiveState") == "active", 10, "readiness")
    machine.run("ls", TARGET)
    assert Path(f"/proc/{machine.leader}/mountinfo").read_text().count(f" {TARGET} ") == 1
    if has_capability(CAP_SYS_RESOURCE):
        assert oom_score_adj(daemon_of(machine)) == -900
    machine.run("systemctl", "stop", "fusenfs@nas")
    assert not is_mounted(machine) and daemon_of(machine) is None
    machine.run("sh", "-c", "echo OPTIONS=nconect=2 >>/etc/fusenfs/nas.conf")
    machine.run("systemctl", "start", "fusenfs@nas", check=False)
    assert machine.show("fusenfs@nas", "ActiveState") == "failed"
    entries = machine.log("FUSENFS_ERROR=unknown-option")
    machine.run("journalctl", "--update-catalog")
    assert "No option of that name is known" in machine.log("-x", "FUSENFS_ERROR=unknown-option", "--output=short")
    assert entries.count("did you mean nconnect") + entries.count("nconect") >= 1 and "try:" in entries


def test_service_with_a_watchdog(machine, server):
    """A loop that stands still costs a restart; a server that is away costs none."""
    configure(machine, server, "service")
    machine.install("/etc/systemd/system/fusenfs@.service.d/fast.conf", "[Service]\nWatchdogSec=2\nRestartSec=0\n")
    machine.start()
    first = daemon_of(machine)
    server.pause()
    machine.run("ls", f"{TARGET}/x", check=False)
    time.sleep(5)
    assert machine.show("fusenfs@nas", "StatusText") == "server 127.0.0.1 not responding"
    server.resume()
    assert daemon_of(machine) == first
    with stopped_thread(loops_of(first)[0]):
        wait_for(lambda: machine.show("fusenfs@nas", "Result") == "watchdog" or daemon_of(machine) != first, 10,
                 "the watchdog")
    wait_for(lambda: daemon_of(machine) not in (None, first) and is_mounted(machine), 15, "another one")


def test_hardening_that_hides(machine, server):
    """The settings that the unit's comment warns of do hide the mount; without them it is seen (test_server_up)."""
    configure(machine, server, "service")
    machine.start()
    seen = []
    for setting in HIDES:
        machine.run("mkdir", "-p", "/run/systemd/system/fusenfs@.service.d")
        machine.run("sh", "-c", 'printf "[Service]\\n$0\\n" >/run/systemd/system/fusenfs@.service.d/try.conf', setting)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", "fusenfs@nas", check=False)
        if is_mounted(machine):
            seen.append(setting)
    assert not seen


@pytest.fixture(scope="session")
def package(workdir):
    """The Debian package, without a complaint of lintian's."""
    directory = workdir / "deb"
    run_bounded([TOP / "packaging/deb", directory], 300)
    return next(path for path in directory.glob("fusenfs_*.deb"))


def test_package(machine_without, server, package):
    """Installed, used by fstab and as a service, and taken away again, on a machine that had nothing of it."""
    machine = machine_without
    shutil.copy(package, machine.layer / "fusenfs.deb")
    machine.start()
    source, words = f"127.0.0.1:{server.rw}", options_of(server)
    machine.run("dpkg", "--install", "/fusenfs.deb")
    machine.run("sh", "-c", f"mkdir -p {TARGET}; fusenfs fstab {source} {TARGET} -o {words} >>/etc/fstab; mount {TARGET}")
    machine.run("sh", "-c", f"echo hello >{TARGET}/f; umount {TARGET}")
    assert (server.rw / "f").read_text() == "hello\n"
    machine.run("sh", "-c", f"printf 'SOURCE={source}\nTARGET={TARGET}\nOPTIONS={words}\n' >/etc/fusenfs/nas.conf")
    machine.run("systemctl", "enable", "--now", "fusenfs@nas.service")
    assert is_mounted(machine) and machine.run("cat", f"{TARGET}/f") == "hello\n"
    first = daemon_of(machine)
    machine.run("dpkg", "--install", "/fusenfs.deb")  # again: nobody's mount ends for it
    assert daemon_of(machine) == first and machine.run("cat", f"{TARGET}/f") == "hello\n"
    machine.run("systemctl", "disable", "--now", "fusenfs@nas.service")
    machine.run("dpkg", "--purge", "fusenfs")
    left = machine.run("sh", "-c", "find / -xdev -name '*fusenfs*' -not -path '/proc/*' -not -path '/fusenfs.deb'"
                       " -not -path '/var/log/*' -not -path '/sys/*' -not -path '/run/*' 2>/dev/null").splitlines()
    assert {name for name in left if name[0] == "/"} <= {"/etc/fusenfs"} and machine.power_off() < SHUTDOWN
