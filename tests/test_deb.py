# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package, installed in a Debian that has nothing else. Slow, and with what tests/lab/deb.sh prepares: it
builds the package on each release, and looks at it with lintian."""

import os
import re
from pathlib import Path

import pytest

from lab.procs import CommandFailed, run_bounded
from support import MIB, create, pattern

ROOT = Path(os.environ.get("FUSENFS_TEST_DEB", "/nonexistent"))
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not ROOT.is_dir(), reason="tests/lab/deb.sh prepares it")]
# Runs "$@" in a copy of the directory $0, which is gone with the namespace; with this test's network.
IN_COPY = """
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o "lowerdir=$0,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/root
cd /mnt/root
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
exec chroot . "$@"
"""


def there(script, *words):
    """What a shell script says in there."""
    return run_bounded(["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-ec", IN_COPY, ROOT,
                        "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "sh", "-ec", script, "sh", *words], 60).stdout


def test_installed():
    """All that it needs came with it, and nothing to build with."""
    said = there("dpkg-query -W -f '${db:Status-Abbrev} ${Version}\n' fusenfs; fusenfs --version; mount.fusenfs --version; "
                 "dpkg --verify fusenfs; ldd /usr/bin/fusenfs; command -v fusermount3; ! command -v gcc meson")
    version = re.match(r"ii  (\S+)\n", said).group(1)
    assert said.count(f"fusenfs {version}") == 2 and "not found" not in said and "/fusermount3" in said, said


def test_files():
    """Where Debian has them; manuals and all that is documented as an example are in the package's list."""
    files = set(there("dpkg -L fusenfs").splitlines())
    for name in ("bin/fusenfs", "sbin/mount.fusenfs", "sbin/mount.fuse.fusenfs", "share/man/man8/mount.fusenfs.8.gz",
                 "share/man/man1/fusenfs.1.gz", "share/man/man7/fusenfs-errors.7.gz", "lib/systemd/system/fusenfs@.service",
                 "share/bash-completion/completions/fusenfs"):
        assert {f"/usr/{name}", f"/{name}"} & files, name


def test_mount(server):
    """By mount(8), as the installed program; data goes to the server and comes from there."""
    data = pattern(3 * MIB)
    create(server.rw / "from-server", data)
    said = there("""
        mkdir /nas
        mount -t fusenfs "$1" /nas -o "nconnect=4,$2"
        grep ' /nas ' /proc/mounts
        fusenfs status /nas
        cp /nas/from-server /nas/to-server
        cmp /nas/from-server /nas/to-server
        fusenfs health --ready /nas
        umount /nas
        ! grep ' /nas ' /proc/mounts
        i=0
        while grep -qs fusenfs /proc/[0-9]*/comm; do i=$((i + 1)); [ $i -lt 50 ] || exit 1; sleep 0.1; done
        """, f"127.0.0.1:{server.rw}", f"port={server.nfs_port},mountport={server.mnt_port}")
    assert " fuse.fusenfs " in said and "4/4" in said, said
    assert (server.rw / "to-server").read_bytes() == data


def test_purge():
    """It goes as it came."""
    said = there("dpkg --purge fusenfs; find / -xdev -path /proc -prune -o -path /var/lib/dpkg -prune -o -name '*fusenfs*' -print")
    left = [line for line in said.splitlines() if line.startswith("/") and not line.startswith("/usr/src/")]
    assert not left, left


def test_fails_when_it_should():
    """What is above would notice."""
    with pytest.raises(CommandFailed, match="no-such-command"):
        there("no-such-command")
