# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections leave crowded and bad paths (redial=auto), over four links of 40 Mbit/s between two hosts."""

import subprocess
import time

import pytest

from lab.ganesha import EVERYWHERE, Export, Ganesha
from lab.net import Net
from lab.procs import wait_for
from support import MIB, pattern

SIZE_MIB = 512
LINKS = 4
FOUND_S, OFF_S = 40, 5
QUIET = "lost: |up \\("


@pytest.fixture(scope="module")
def lab(site, workdir):
    """(net, server); the export has one file of zeros, sparse, that takes half a minute over all links."""
    directory = workdir / "exports/steering"
    directory.mkdir()
    with open(directory / "zeros", "wb") as file:
        file.truncate(SIZE_MIB * MIB)
    with Net([40] * LINKS) as net, Ganesha([Export(directory)], netns=net.server, host=EVERYWHERE) as server:
        yield net, server


@pytest.fixture
def reading(lab):
    """reading(m): a program that reads the file as fast as it comes, until the test ends."""
    programs = []

    def start(m):
        programs.append(subprocess.Popen(["dd", f"if={m.path}/zeros", "of=/dev/null", "bs=1M"],
                                         stderr=subprocess.DEVNULL))
    yield start
    for program in programs:
        program.kill()
        program.wait()


def mounted(mount, lab, options="", nconnect=4, links=(0, 0, 0, 0)):
    """A mount whose first connections take these links; later ones take what the hash chooses."""
    net, server = lab
    m = mount(server=server, netns=net.client, host=net.shared, nconnect=nconnect, options=options)
    m.expect_log(QUIET)
    wait_for(lambda: len(m.connections()) == nconnect, 10, "all connections")
    for port, link in zip(ports(m), links):
        net.pin(port, link)
    return m


def ports(m):
    return sorted(c.local_port for c in m.connections())


def used(net, before):
    """Links that have carried more than 3 MB to the client since."""
    return {i for i, (old, new) in enumerate(zip(before, net.counters())) if new.to_client - old.to_client > 3e6}


@pytest.fixture(autouse=True)
def unpinned(lab):
    yield
    lab[0].unpin()


def test_all_on_one_link(mount, lab, reading):
    """Nothing tells that they share it; other links are found nevertheless."""
    net, _ = lab
    m = mounted(mount, lab)
    before = net.counters()
    reading(m)
    wait_for(lambda: len(used(net, before)) >= 3, FOUND_S, "three links")


def test_crowded(mount, lab, reading):
    """Three on one link, one on another: one of the three leaves."""
    net, _ = lab
    m = mounted(mount, lab, nconnect=5, links=(0, 0, 0, 1, 1))
    before = net.counters()
    reading(m)
    wait_for(lambda: len(used(net, before)) >= 3, FOUND_S, "another link")


def test_off(mount, lab, reading):
    net, _ = lab
    m = mounted(mount, lab, "redial=off")
    first, before = ports(m), net.counters()
    reading(m)
    time.sleep(OFF_S)
    assert ports(m) == first and used(net, before) == {0}


def test_idle(mount, lab):
    """Who asks for nothing, or for little, keeps the connections that he has."""
    m = mounted(mount, lab)
    first = ports(m)
    until = time.monotonic() + OFF_S
    while time.monotonic() < until:
        m.path.stat()
        with open(m.path / "zeros", "rb") as file:
            assert file.read(4096) == bytes(4096)
        time.sleep(.05)
    assert ports(m) == first


def test_lossy(mount, lab, reading):
    """Paths from odd ports lose packets: they are left."""
    net, _ = lab
    m = mounted(mount, lab, nconnect=8, links=(), options="srcports=20000-20999")  # half of them are odd
    nft = [*net.enter(net.client), "nft"]
    subprocess.run([*nft, "add table inet lossy; add chain inet lossy input { type filter hook input priority 0; }; "
                          "add rule inet lossy input tcp dport & 1 == 1 numgen random mod 20 == 0 drop"], check=True)
    try:
        first = {port for port in ports(m) if port % 2}
        assert first  # all of eight are even once in 256 runs
        reading(m)
        wait_for(lambda: len(ports(m)) == 8 and len(first & set(ports(m))) <= len(first) // 2, FOUND_S,
                 f"half of the connections from odd ports, {first}, to leave")
    finally:
        subprocess.run([*nft, "delete table inet lossy"], check=True)


def test_bytes_are_right(mount, lab):
    """A file that takes seconds to write, while connections may change, is what was written."""
    m = mounted(mount, lab)
    data = pattern(24 * MIB)
    (m.path / "f").write_bytes(data)
    assert (m.server_path / "f").read_bytes() == data
    (m.path / "f").unlink()
