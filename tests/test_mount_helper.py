# SPDX-License-Identifier: GPL-2.0-or-later
"""mount(8), fstab and remount, by way of /sbin/mount.fusenfs, a link to the program."""

import contextlib
import errno
import os
import re
import stat
import struct
import subprocess
from collections import namedtuple
from pathlib import Path

import pytest

from lab.procs import run_bounded, wait_for
from support import libc

HELPERS = [Path("/sbin/mount.fusenfs"), Path("/sbin/mount.fuse.fusenfs")]
GENERIC = ("rw,defaults,_netdev,nofail,noauto,user,relatime,dirsync,comment=none,x-systemd.automount,"
           "x-systemd.mount-timeout=60,X-mount.mkdir")
USER = 1000
Result = namedtuple("Result", "status output")
Row = namedtuple("Row", "point options type source super_options")


def run(*argv):
    done = subprocess.run([str(word) for word in argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60, check=False)
    return Result(done.returncode, done.stdout)


def mounts(point, pid="self"):
    """What is mounted exactly there, by mountinfo."""
    found = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        words = line.split()
        dash = words.index("-")
        if words[4] == str(point):
            found.append(Row(words[4], words[5].split(","), *words[dash + 1:dash + 4]))
    return found


def daemons(point):
    """Processes of the program that serve this mount point."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if os.fsencode(point) in words and b"fusenfs" in words[0]:
                found.append(int(path.parent.name))
    return found


@pytest.fixture(scope="module")
def helpers():
    program = os.environ.get("FUSENFS", str(Path(__file__).resolve().parents[1] / "build/fusenfs"))
    if any(os.path.lexists(helper) for helper in HELPERS):
        pytest.skip("fusenfs is installed here")
    try:
        for helper in HELPERS:
            helper.symlink_to(program)
        yield HELPERS[0]
    finally:
        for helper in HELPERS:
            helper.unlink(missing_ok=True)


@pytest.fixture
def point(workdir, helpers, request, fusectl):
    """A directory to mount on; at the end nothing is mounted there and no daemon is left."""
    path = workdir / "mnt" / re.sub(r"\W", "_", request.node.name)
    path.mkdir(parents=True)
    yield path
    while mounts(path):
        run_bounded(["umount", path], 20)
    wait_for(lambda: not daemons(path), 20, "daemons to end")


@pytest.fixture
def open_device():
    """udev gives /dev/fuse to everybody; a machine without udev has to be told."""
    mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
    os.chmod("/dev/fuse", 0o666)
    yield
    os.chmod("/dev/fuse", mode)


@pytest.fixture
def source(server):
    return f"127.0.0.1:{server.rw}"


def ports(server, more="nconnect=2"):
    return f"port={server.nfs_port},mountport={server.mnt_port},{more}"


@pytest.mark.parametrize("kind", ["fusenfs", "fuse.fusenfs"])
def test_mount(server, point, source, kind):
    result = run("mount", "-t", kind, source, point, "-o", ports(server))
    assert result == Result(0, ""), result
    row, = mounts(point)
    assert (row.type, row.source) == ("fuse.fusenfs", source)
    (point / "f").write_text("x")
    assert (server.rw / "f").read_text() == "x"
    assert run("umount", point) == Result(0, "")


def test_generic_words(server, point, source, helpers):
    """Every word that mount(8), systemd and autofs may hand over."""
    result = run(helpers, source, point, "-n", "-v", "-o", f"{GENERIC},{ports(server)}", "-t", "fusenfs")
    assert result.status == 0 and "mounted on" in result.output, result
    assert len(mounts(point)) == 1


def test_words_in_any_order(server, point, source, helpers):
    assert run(helpers, "-o", ports(server), source, "-s", "-o", "nosuchoption", point).status == 0
    assert len(mounts(point)) == 1


def test_fake(server, point, source, helpers):
    """-f: only the words are checked."""
    assert run(helpers, source, point, "-f", "-o", ports(server)) == Result(0, "")
    result = run(helpers, source, point, "-f", "-o", "nconnect=99")
    assert result.status == 1 and "bad-value" in result.output
    assert not mounts(point)


def test_errors(server, point, source, helpers):
    """Exit codes that mount(8) passes on: 1 for words, 32 for a mount that failed."""
    for status, message, words in ((1, "unknown-option", [source, point, "-o", "nconect=2"]),
                                   (1, "usage", [source, point, "-t", "nfs"]),
                                   (1, "usage", [source]),
                                   (32, "export-not-found", ["127.0.0.1:/nowhere", point, "-o", ports(server)]),
                                   (32, "mountpoint-missing", [source, point / "missing", "-o", ports(server)])):
        result = run(helpers, *words)
        assert (result.status, f"[{message}]" in result.output) == (status, True), (words, result)
    result = run("mount", "-t", "fusenfs", "127.0.0.1:/nowhere", point, "-o", ports(server))
    assert result.status == 32 and "[export-not-found]" in result.output


def test_fstab(server, point, source, workdir):
    """mount -a mounts once, however often it is called."""
    fstab = workdir / f"fstab-{point.name}"
    fstab.write_text(f"{source} {point} fusenfs _netdev,nofail,{ports(server)} 0 0\n")
    for _ in range(2):
        result = run("mount", "-a", "-T", fstab)
        assert result.status == 0, result
        assert len(mounts(point)) == 1
    assert len(daemons(point)) == 1
    assert run("umount", point).status == 0


def test_fstab_line(server, workdir, point, source, helpers):
    """What `fusenfs fstab` prints mounts, also where names have blanks; and is refused as a mount would be."""
    strange = point / "a b\\c"
    strange.mkdir()
    program = os.readlink(helpers)
    line = run(program, "fstab", source, strange, "-o", ports(server), "-o", "nofail").output
    escaped = str(strange).replace("\\", "\\134").replace(" ", "\\040")
    assert line == f"{source} {escaped} fusenfs {ports(server)},nofail,_netdev 0 0\n"
    fstab = workdir / f"fstab-{point.name}"
    fstab.write_text(line)
    assert run("mount", "-a", "-T", fstab) == Result(0, "")
    assert os.path.ismount(strange)
    assert run("umount", strange).status == 0
    assert run(program, "fstab", source, strange).output == f"{source} {escaped} fusenfs _netdev,nofail 0 0\n"
    for words, message in (([source, "/x", "-o", "nconnect=0"], "bad-value"), ([source], "usage"),
                           (["fstab", source, "/x"], "bad-source|usage")):
        result = run(program, "fstab", *words)
        assert result.status == 1 and re.search(rf"\[({message})\]", result.output), result


def test_user(server, point, source, workdir, open_device):
    """`user` in fstab: who is not root mounts and unmounts."""
    fstab = workdir / f"fstab-{point.name}"
    fstab.write_text(f"{source} {point} fusenfs noauto,user,{ports(server)} 0 0\n")
    os.chown(point, USER, USER)
    script = ('mount --make-private / && mount --bind "$1" /etc/fstab && exec setpriv --reuid=$3 --regid=$3 '
              '--clear-groups sh -ec \'mount "$0"; grep " $0 " /proc/self/mountinfo; stat -c %U "$0"; umount "$0"\' "$2"')
    result = run("unshare", "--mount", "--propagation", "unchanged", "sh", "-c", script, "sh", fstab, point, USER)
    assert result.status == 0 and f"user_id={USER}" in result.output, result


def test_not_empty(server, point, source):
    """As mount(8): it is done, but not without a word."""
    (point / "hidden").write_text("x")
    result = run("mount", "-t", "fusenfs", source, point, "-o", ports(server))
    assert result.status == 0 and "not empty" in result.output, result
    assert not (point / "hidden").exists()


def test_remount(server, point, source, workdir):
    """ro, rw and mount(2)'s other flags change; nothing is mounted twice, and the daemon stays."""
    fstab = workdir / f"fstab-{point.name}"
    fstab.write_text(f"{source} {point} fusenfs _netdev,nofail,{ports(server)} 0 0\n")
    assert run("mount", "-T", fstab, point).status == 0
    daemon = daemons(point)
    for words, flags, absent in (("remount,ro", {"ro"}, {"rw"}), ("remount,rw,noexec", {"rw", "noexec"}, {"ro"}),
                                 ("remount,exec", {"rw"}, {"noexec"})):
        result = run("mount", "-T", fstab, "-o", words, point)
        assert result == Result(0, ""), result
        row, = mounts(point)
        assert flags <= set(row.options) and not absent & set(row.options), row
    assert daemons(point) == daemon
    assert run("mount", "-o", "remount,ro", point).status == 0
    with pytest.raises(OSError) as raised:
        (point / "f").write_text("x")
    assert raised.value.errno == errno.EROFS


def test_remount_fixed(server, point, source, helpers):
    """What cannot change is named, and nothing has changed."""
    assert run("mount", "-t", "fusenfs", source, point, "-o", ports(server)).status == 0
    for words, name in (("rsize=8192", "rsize"), ("bg", "bg"), ("addrs=127.0.0.2", "addrs")):
        result = run(helpers, source, point, "-o", f"ro,remount,{ports(server)},{words}")
        assert result.status == 32 and f"'{name}' cannot be changed" in result.output, result
    row, = mounts(point)
    assert "rw" in row.options
    assert run(helpers, source, point, "-o", f"ro,remount,{ports(server)},_netdev").status == 0
    row, = mounts(point)
    assert "ro" in row.options


def test_remount_of_nothing(point, source, helpers):
    result = run(helpers, source, point, "-o", "remount,ro")
    assert result.status == 32 and "no mount point of fusenfs" in result.output


def test_remount_of_a_dead_server(server, point, source):
    """The mount is changed without a look at it."""
    assert run("mount", "-t", "fusenfs", source, point, "-o", ports(server, "nconnect=2,detect=1")).status == 0
    server.pause()
    try:
        assert run_bounded(["mount", "-o", "remount,ro", point], 10)
    finally:
        server.resume()
    row, = mounts(point)
    assert "ro" in row.options


def test_namespace(server, point, source, helpers):
    """-N: mounted there, not here."""
    other = subprocess.Popen(["unshare", "--mount", "--propagation", "private", "sleep", "60"])
    try:
        wait_for(lambda: os.readlink(f"/proc/{other.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"), 5,
                 "another namespace")
        result = run(helpers, source, point, "-N", f"/proc/{other.pid}/ns/mnt", "-o", ports(server))
        assert result == Result(0, ""), result
        assert len(mounts(point, other.pid)) == 1 and not mounts(point)
        assert run("nsenter", f"--mount=/proc/{other.pid}/ns/mnt", "umount", point).status == 0
    finally:
        other.kill()
        other.wait()
    result = run(helpers, source, point, "-N", "/proc/0/ns/mnt", "-o", ports(server))
    assert result.status == 2 and "namespace" in result.output


def test_runfile(server, point, source):
    """/run/fusenfs keeps what a mount was made with, as long as it is there."""
    assert run("mount", "-t", "fusenfs", source, point, "-o", ports(server)).status == 0
    made = Path(f"/run/fusenfs/{os.major(os.stat(point).st_dev)}:{os.minor(os.stat(point).st_dev)}")
    lines = made.read_text().splitlines()
    assert f"source={source}" in lines and f"mountpoint={point}" in lines
    assert any(line.startswith("options=") and "nconnect=2" in line for line in lines)
    assert run("umount", point).status == 0
    wait_for(lambda: not made.exists(), 10, "the file to go")


# An automounter's half: the descriptor to answer by, opened from within its process group before anybody waits.
AUTOMOUNTER = """
import fcntl, os, sys
input()
trigger = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECTORY)
print("open", flush=True)
fcntl.ioctl(trigger, 0x9360, int(input()))  # AUTOFS_IOC_READY
"""


@pytest.mark.skipif("\tautofs\n" not in Path("/proc/filesystems").read_text(), reason="this kernel has no autofs")
def test_automount(server, point, source, helpers):
    """Mounted for an automounter, which the kernel knows by its process group: the helper is of that, and does not wait
    with everybody else for what it is to mount."""
    readable, writable = os.pipe()
    leader = subprocess.Popen(["/usr/bin/python3", "-c", AUTOMOUNTER, point], process_group=0, text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    options = f"fd={writable},pgrp={leader.pid},minproto=5,maxproto=5,direct"
    assert libc.mount(b"test", os.fsencode(point), b"autofs", 0, options.encode()) == 0
    os.close(writable)
    visitor = None
    try:
        print("go", file=leader.stdin, flush=True)
        assert leader.stdout.readline() == "open\n"
        visitor = subprocess.Popen(["ls", "-d", f"{point}/."], start_new_session=True, stdout=subprocess.DEVNULL)
        _, _, token = struct.unpack_from("iiI", os.read(readable, 304))
        result = subprocess.run([helpers, source, point, "-o", ports(server)], timeout=20, check=False,
                                capture_output=True, process_group=leader.pid)
        assert result.returncode == 0, result
        print(token, file=leader.stdin, flush=True)
        assert visitor.wait(10) == 0
        assert [row.type for row in mounts(point)] == ["autofs", "fuse.fusenfs"]
    finally:
        os.close(readable)  # whoever waits is told ENOENT
        leader.kill()
        leader.wait()
        if visitor:
            visitor.wait(10)
