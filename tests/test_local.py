# SPDX-License-Identifier: GPL-2.0-or-later
"""Where connections come from: localaddrs= (addresses and interfaces of this host), srcports=."""

import collections
import contextlib
import re
import socket
import subprocess

import pytest

from lab.ganesha import EVERYWHERE, Export, Ganesha, run, run_in_netns
from lab.mount import MountFailed
from lab.net import Net
from lab.procs import Stuck, wait_for
from support import MIB, pattern

NCONNECT = 8
MINE = [f"127.0.0.{i}" for i in (21, 22, 23, 24)]
ABSENT = "10.99.21.1"
COMES_S, BACK_S = 15, 60
RETURN_LIMIT = 150


@pytest.fixture(scope="module")
def picky(workdir):
    """A server that gives its export to one address only; everybody else it refuses."""
    directory = workdir / "exports/picky"
    directory.mkdir()
    rule = {MINE[1]: {"Access_Type": "RW"}}
    with Ganesha([Export(directory, Access_Type="None", clients=rule)], host=EVERYWHERE) as ganesha:
        yield ganesha


@contextlib.contextmanager
def two_links(workdir, name):
    directory = workdir / f"exports/{name}"
    directory.mkdir()
    with Net([None, None]) as net, Ganesha([Export(directory)], netns=net.server, host=EVERYWHERE) as ganesha:
        yield net, ganesha


def spread(m):
    return collections.Counter(c.local for c in m.connections())


def wait_spread(m, wanted, timeout=COMES_S):
    try:
        wait_for(lambda: spread(m) == wanted, timeout, f"{wanted}")
    except Stuck as stuck:
        raise Stuck(f"{stuck}; it has {dict(spread(m))}\n{m.log()}") from None


def ports(m):
    return sorted(c.local_port for c in m.connections())


@pytest.mark.parametrize("option", ["localaddrs=127.0.0.21-127.0.0.24", "localports=127.0.0.24~127.0.0.22~127.0.0.21~"
                                    "127.0.0.23", "localaddrs=127.0.0.21-127.0.0.24,noresvport"])
def test_in_turn(mount, option):
    m = mount(nconnect=NCONNECT, options=option)
    wait_spread(m, {address: 2 for address in MINE})
    (m.path / "f").write_bytes(pattern(8 * MIB))
    assert (m.server_path / "f").read_bytes() == pattern(8 * MIB)


def test_both_families(mount, server):
    """To an IPv4 address from IPv4 ones only, to an IPv6 one from IPv6 ones."""
    m = mount(nconnect=4, options="localaddrs=::1~127.0.0.21~127.0.0.22,addrs=[::1]")
    wait_spread(m, {"::1": 2, "127.0.0.21": 1, "127.0.0.22": 1})


def test_mount_itself(mount, picky):
    """MNT comes from there, too: nobody else gets a handle."""
    with pytest.raises(MountFailed, match="access-denied|export-not-found"):
        mount(server=picky)
    m = mount(server=picky, options=f"localaddrs={MINE[1]}")
    wait_spread(m, {MINE[1]: NCONNECT})
    (m.path / "f").write_text("x")


def test_one_is_absent(mount):
    """Said once, the others are used; once it is there it gets its share."""
    m = mount(nconnect=4, options=f"localaddrs={MINE[0]}~{ABSENT}", limit=RETURN_LIMIT)
    m.expect_log("no-local|up \\(|lost: ")
    wait_spread(m, {MINE[0]: 4})
    assert m.log().count("no-local") == 1
    assert re.search(rf"localaddrs: {ABSENT} cannot be used \(EADDRNOTAVAIL\)", m.log())
    run("ip", "address", "add", f"{ABSENT}/32", "dev", "lo")
    try:
        wait_for(lambda: m.path.stat() and spread(m) == {MINE[0]: 2, ABSENT: 2}, 2 * BACK_S, "its return")
    finally:
        m.umount()
        run("ip", "address", "delete", f"{ABSENT}/32", "dev", "lo")


@pytest.mark.parametrize("item, error", [(ABSENT, "Cannot assign requested address"), ("nothere0", "No such device")])
def test_none_is_there(mount, item, error):
    with pytest.raises(MountFailed, match="conn-failed") as failed:
        mount(options=f"localaddrs={item}")
    assert error in failed.value.log and "no local address or interface of localaddrs" in failed.value.log


def test_interfaces(mount, workdir):
    """To one address of the server, which the kernel would take the first link for."""
    with two_links(workdir, "interfaces") as (net, ganesha):
        m = mount(server=ganesha, netns=net.client, host=net.address(0), nconnect=4, options="localaddrs=link1,nordirplus")
        before = net.counters()
        (m.path / "f").write_bytes(pattern(8 * MIB))
        sent = [new.to_server - old.to_server for old, new in zip(before, net.counters())]
        assert sent[0] < MIB and sent[1] > 8 * MIB, sent
        both = mount(server=ganesha, netns=net.client, host=net.address(0), nconnect=4,
                     options="localaddrs=link0~link1,stripe=rr")
        before = net.counters()
        (both.path / "g").write_bytes(pattern(32 * MIB))
        sent = [new.to_server - old.to_server for old, new in zip(before, net.counters())]
        assert min(sent) > 8 * MIB, sent
        m.umount()
        both.umount()


def test_interface_dies(mount, workdir):
    """Its connections go to the other one; no call fails."""
    with two_links(workdir, "dies") as (net, ganesha):
        m = mount(server=ganesha, netns=net.client, host=net.address(0), nconnect=4,
                  options="localaddrs=link0~link1,detect=2")
        m.expect_log("no-local|up \\(|lost: |not responding| OK ")
        wait_for(lambda: len(m.connections()) == 4, COMES_S, "4 connections")
        run("ip", "-n", net.client, "link", "set", "link1", "down")
        (m.path / "f").write_bytes(pattern(16 * MIB))
        wait_for(lambda: len(m.connections()) == 4, COMES_S, "all on the other link")
        assert (m.server_path / "f").read_bytes() == pattern(16 * MIB)
        m.umount()


def test_source_ports(mount):
    """These and no others, from a user's mount and from root's, which has no reserved ones then."""
    m = mount(nconnect=NCONNECT, options="srcports=2000-2007")
    wait_for(lambda: ports(m) == list(range(2000, 2008)), COMES_S, "the ports")
    few = mount(nconnect=4, options="srcports=2010-2011,localaddrs=127.0.0.21~127.0.0.22")
    wait_for(lambda: ports(few) == [2010, 2010, 2011, 2011], COMES_S, "the same ports of two addresses")


def test_source_port_is_taken(mount):
    """By somebody else: said, and no port outside is used."""
    with contextlib.closing(socket.create_server(("", 2021))):
        m = mount(nconnect=3, options="srcports=2020-2022")
        m.expect_log("no-srcport")
        wait_for(lambda: ports(m) == [2020, 2022], COMES_S, "the ports")
        wait_for(lambda: "no-srcport" in m.log(), COMES_S, "the warning")
        assert "srcports=2020-2022: no port can be had (EADDRINUSE)" in m.log()


def test_reserved_source_ports_of_a_user(mount, server):
    with pytest.raises(MountFailed, match="too-few-conns") as failed:
        mount(nconnect=2, user=1000, options="srcports=700-709")
    assert "Permission denied" in failed.value.log
