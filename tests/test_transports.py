# SPDX-License-Identifier: GPL-2.0-or-later
"""Transports and hosts as nfs(5) has them: which address and which transport carries MOUNT, which NFS."""

import collections
import contextlib
import subprocess

import pytest

from lab import rpc
from lab.ganesha import EVERYWHERE, Export, Ganesha
from lab.hosts import Hosts
from lab.mount import MountFailed
from lab.procs import wait_for
from lab.proxy import PacketFilter
from lab.trace import Trace

MNT, UMNT = 1, 3
HERE, THERE, THIRD, ELSEWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.9"
COMES_S = 15


@pytest.fixture
def names(mount):
    with Hosts(mount.directory) as hosts:
        yield hosts


@contextlib.contextmanager
def only_nfs_at(*addresses, server):
    """Neither a portmapper nor a mountd is to be reached there."""
    with PacketFilter() as packets:
        for address in addresses:
            for protocol in ("tcp", "udp"):
                packets.reject(f"ip daddr {address} {protocol} dport {{ 111, {server.mnt_port} }}")
        yield packets


def spread(m):
    return collections.Counter(c.peer for c in m.connections())


# ---- mounthost, mountaddr, addr ----------------------------------------------------------------

@pytest.mark.parametrize("ports", [True, False], ids=["ports", "portmapper"])
@pytest.mark.parametrize("option", [f"mounthost={THERE}", "mounthost=mountd", f"mountaddr={THERE}",
                                    f"mounthost=nobody.invalid,mountaddr={THERE}"])
def test_mount_host(mount, server, names, option, ports):
    """MNT and UMNT go there, NFS does not."""
    names.write(f"{THERE} mountd")
    with only_nfs_at(HERE, server=server), Trace() as trace:
        with pytest.raises(MountFailed, match="conn-refused|rpcbind-refused"):
            mount(ports=ports, through=names.through)
        m = mount(ports=ports, options=option, through=names.through)
        (m.path / "f").write_text("x")
        m.umount()
        wait_for(lambda: trace.calls(rpc.MOUNT, UMNT), COMES_S, "UMNT")
    assert trace.addresses(rpc.MOUNT, MNT) >= {THERE} and trace.addresses(rpc.MOUNT, UMNT) == {THERE}
    assert trace.addresses(rpc.NFS) == {HERE}
    assert (server.rw / "f").read_text() == "x"


def test_mount_host_and_more_addresses(mount, server, workdir):
    """Addresses are proven by the root's attributes there: a server with another root is named, not used."""
    directory = workdir / "exports/mounthost"
    directory.mkdir()
    table = "ip fusenfs_mounthost"
    with Ganesha([Export(directory, fsal="MEM")], host=EVERYWHERE) as other:
        nft = [f"table {table} {{", "chain output { type nat hook output priority -100;",
               f"ip daddr {ELSEWHERE} tcp dport {server.nfs_port} dnat to 127.0.0.1:{other.nfs_port}", "}", "}"]
        subprocess.run(["nft", "-f", "-"], input="\n".join(nft), text=True, check=True)
        try:
            with only_nfs_at(HERE, THIRD, ELSEWHERE, server=server):
                m = mount(nconnect=4, options=f"mounthost={THERE},addrs={THIRD}~{ELSEWHERE}")
                m.expect_log("addr-mismatch")
                wait_for(lambda: spread(m) == {HERE: 2, THIRD: 2}, COMES_S, "both addresses")
                wait_for(lambda: "addr-mismatch" in m.log(), COMES_S, "the warning")
                assert f"{ELSEWHERE} is not the same server (our root is not there), not used" in m.log()
                (m.path / "f").write_text("x")
                m.umount()
        finally:
            subprocess.run(["nft", f"delete table {table}"], check=True)


def test_mount_host_is_unknown(mount):
    with pytest.raises(MountFailed, match="dns-failed") as failed:
        mount(options="mounthost=nobody.invalid")
    assert "cannot resolve 'nobody.invalid'" in failed.value.log
    assert "where the mount service is to be" in failed.value.log


@pytest.mark.parametrize("option", ["mounthost=127.0.0.7", "mountaddr=127.0.0.7"])
def test_mount_host_refuses(mount, server, option):
    """It is named, not the server."""
    with only_nfs_at("127.0.0.7", server=server):
        with pytest.raises(MountFailed, match="127.0.0.7 refused port 20048 .conn-refused.") as failed:
            mount(options=option)
        assert "rpcinfo -p 127.0.0.7" in failed.value.log


def test_address(mount, server):
    """Nobody resolves the name then, and no other address is used."""
    m = mount(nconnect=4, host="nobody.invalid", options=f"addr={THERE}")
    (m.path / "f").write_text("x")
    wait_for(lambda: spread(m) == {THERE: 4}, COMES_S, "4 connections")
    more = mount(nconnect=4, host="nobody.invalid", options=f"addr={THERE},addrs={THIRD}")
    wait_for(lambda: spread(more) == {THERE: 2, THIRD: 2}, COMES_S, "both addresses")


@pytest.mark.parametrize("option, text", [("mountvers=2", "version-unsupported"), ("mountvers=1", "version-unsupported"),
                                          ("mountvers=4", "bad-value"), ("addr=nas", "bad-value"),
                                          ("mountaddr=nas", "bad-value"), ("mounthost=a;b", "bad-value")])
def test_bad_words(mount, option, text):
    with pytest.raises(MountFailed, match=text):
        mount(options=option)
