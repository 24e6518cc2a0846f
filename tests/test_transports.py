# SPDX-License-Identifier: GPL-2.0-or-later
"""Transports and hosts as nfs(5) has them: which address and which transport carries MOUNT, which NFS."""

import collections
import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from lab import rpc
from lab.ganesha import EVERYWHERE, Export, Ganesha, run, udp_works
from lab.hosts import Hosts
from lab.mount import MountFailed
from lab.net import Net
from lab.procs import Stuck, run_bounded, wait_for
from lab.proxy import PacketFilter
from lab.trace import Trace
from support import MIB

PROGRAM = os.environ.get("FUSENFS", str(Path(__file__).resolve().parent.parent / "build/fusenfs"))
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


def wait_spread(m, wanted):
    try:
        wait_for(lambda: spread(m) == wanted, COMES_S, f"{wanted}")
    except Stuck as stuck:
        raise Stuck(f"{stuck}; it has {dict(spread(m))}\n{m.log()}") from None


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
        trace.settle()
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
                wait_spread(m, {HERE: 2, THIRD: 2})
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
    wait_spread(m, {THERE: 4})
    more = mount(nconnect=4, host="nobody.invalid", options=f"addr={THERE},addrs={THIRD}")
    wait_spread(more, {THERE: 2, THIRD: 2})


@pytest.mark.parametrize("option, text", [("mountvers=2", "version-unsupported"), ("mountvers=1", "version-unsupported"),
                                          ("mountvers=4", "bad-value"), ("addr=nas", "bad-value"),
                                          ("mountaddr=nas", "bad-value"), ("mounthost=a;b", "bad-value")])
def test_bad_words(mount, option, text):
    with pytest.raises(MountFailed, match=text):
        mount(options=option)


# ---- proto, mountproto, port, mountport: the table of nfs(5) -----------------------------------


# How a server has its services, and what a client finds of them: {NFS by}, {MOUNT by}.
Offer = collections.namedtuple("Offer", "udp hidden nfs mnt")
OFFERS = {
    "all": Offer("True", (), {"tcp", "udp"}, {"tcp", "udp"}),
    "no NFS by UDP": Offer("Mount", (), {"tcp"}, {"tcp", "udp"}),
    "no UDP": Offer("False", (), {"tcp"}, {"tcp"}),
    "no NFS by TCP": Offer("True", (rpc.NFS,), {"udp"}, {"tcp", "udp"}),
    "no MOUNT by TCP": Offer("True", (rpc.MOUNT,), {"tcp", "udp"}, {"udp"}),
    "no TCP": Offer("True", (rpc.NFS, rpc.MOUNT), {"udp"}, {"udp"})}
PROTOS = [[], ["proto=tcp"], ["tcp"], ["proto=udp"], ["udp"], ["proto=tcp6"], ["proto=udp6"]]
MOUNTPROTOS = [[], ["mountproto=tcp"], ["mountproto=udp"], ["mountproto=tcp6"], ["mountproto=udp6"]]
PORTS = [[], ["port=2049", "mountport=20048"], ["port=2049"], ["mountport=20048"]]
# The rightmost of each counts, and the one never counts for the other.
REPEATED = ["proto=tcp6,proto=tcp", "udp,tcp", "tcp,udp", "proto=udp,tcp", "tcp,proto=udp6", "mountproto=udp,mountproto=tcp",
            "mountproto=tcp,udp,mountproto=udp6,tcp", "proto=tcp6,mountproto=tcp,mountproto=udp,proto=tcp"]


class Host:
    """A host of its own with both families, a server on it, and a client that mounts there."""

    def __init__(self, offer, directory, names):
        self.offer, self.names, self.mnt = offer, names, names.directory / "m"
        self.mnt.mkdir()
        self.name = f"fusenfs-{os.getpid()}-{os.urandom(3).hex()}-transports"
        self.stack = contextlib.ExitStack()
        self.export = directory

    def __enter__(self):
        with self.stack:
            run("ip", "netns", "add", self.name)
            self.stack.callback(run, "ip", "netns", "delete", self.name)
            run("ip", "-n", self.name, "link", "set", "lo", "up")
            self.server = self.stack.enter_context(
                Ganesha([Export(self.export)], netns=self.name, host=EVERYWHERE, nfs_port=2049, mnt_port=20048,
                        udp=self.offer.udp, portmap=True))
            for program in self.offer.hidden:
                self._hide(program)
            self.trace = self.stack.enter_context(Trace(netns=self.name))
            self.stack.callback(subprocess.run, ["umount", "-lic", self.mnt], stderr=subprocess.DEVNULL)
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def _hide(self, program):
        """Its TCP service is refused, and not registered any more."""
        port = {rpc.NFS: 2049, rpc.MOUNT: 20048}[program]
        for netid in ("tcp", "tcp6"):
            for version in (1, 3):  # rpcbind tells any version's address, if there is no better one
                subprocess.run(["nsenter", "-t", str(self.server.pid), "-m", "-n", "rpcinfo", "-T", netid, "-d",
                                str(program[0]), str(version)], stderr=subprocess.DEVNULL)
        run("nsenter", f"--net=/run/netns/{self.name}", "nft", f"table inet hide{port} {{ chain input {{ "
            f"type filter hook input priority 0; tcp dport {port} reject with tcp reset; }}; }}")

    def attempt(self, words):
        """(id of the message or "", transports of MNT, transports of NFS)"""
        self.trace.clear()
        argv = ["nsenter", f"--net=/run/netns/{self.name}", "env",
                f"ASAN_OPTIONS={os.environ['ASAN_OPTIONS']}:detect_leaks=0", *self.names.through, PROGRAM,
                "-o", ",".join(["nconnect=1,dns=first", *words]), f"nas:{self.export}", self.mnt]
        done = run_bounded(argv, 30, check=False)
        if done.returncode == 0:
            self.mnt.stat()
            run_bounded(["umount", self.mnt], 15)
        found = re.search(r"\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
        assert (done.returncode == 0) == (not found), done.stdout
        self.trace.settle()
        return found[1] if found else "", self.trace.transports(rpc.MOUNT, MNT), self.trace.transports(rpc.NFS)


def rightmost(words):
    proto = mountproto = None
    for word in words:
        name, _, value = word.partition("=")
        if name == "mountproto":
            mountproto = value
        elif name in ("proto", "tcp", "udp"):
            proto = value or name
    return proto, mountproto


def plain(transports):
    return {transport.removesuffix("6") for transport in transports}


def expected(words, offer):
    """(id of the message or "", transports of MNT, transport of NFS), as nfs(5) has it. "tcp" may be "tcp6"."""
    proto, mountproto = rightmost(words)
    nfs = proto or ("tcp" if "tcp" in offer.nfs else "udp")
    mnt = mountproto or proto or ("udp" if "udp" in offer.mnt else "tcp")
    if not plain({nfs}) <= offer.nfs:
        return "conn-refused", set(), set()
    if not plain({mnt}) <= offer.mnt:
        return "conn-refused" if "mountport=20048" in words else "mountd-missing", set(), set()
    in_vain = not mountproto and not proto and "mountport=20048" in words and mnt == "tcp"
    return "", {"udp", mnt} if in_vain else {mnt}, {nfs}  # with a port, UDP is tried first


def agrees(wanted, transports):
    """It was carried by that and nothing else. Words without 6 leave the family open."""
    if any(transport.endswith("6") for transport in wanted):
        return transports == wanted
    return plain(transports) == wanted


def all_words(every_port):
    """Every combination, in both orders."""
    for proto in PROTOS:
        for mountproto in MOUNTPROTOS:
            for words in {tuple(proto + mountproto), tuple(mountproto + proto)}:
                for ports in PORTS if every_port else PORTS[:2]:
                    yield [*words, *ports]
    for text in REPEATED:
        yield text.split(",")


@pytest.mark.skipif(not udp_works(), reason="this Ganesha has no UDP that works")
@pytest.mark.parametrize("offered", OFFERS)
def test_table(names, workdir, offered, fusectl):
    directory, offer = workdir / "exports/transports", OFFERS[offered]
    directory.mkdir(exist_ok=True)
    names.write("127.0.0.1 nas", "::1 nas")
    wrong = []
    with Host(offer, directory, names) as host:
        for words in all_words(every_port=offered == "all"):
            wanted, (told, mnt, nfs) = expected(words, offer), host.attempt(words)
            if told != wanted[0] or (not told and not (agrees(wanted[1], mnt) and agrees(wanted[2], nfs))):
                wrong.append(f"{','.join(words)}: {told or 'mounted'}, MNT {mnt}, NFS {nfs}; not {wanted}")
    assert not wrong, "\n".join(wrong)


# ---- without a portmapper; IPv6 ----------------------------------------------------------------

@pytest.mark.parametrize("way", [PacketFilter.reject, PacketFilter.drop], ids=["absent", "blocked"])
def test_no_portmapper(mount, server, way):
    """2049 is tried, and it is said that mountd's port is missing."""
    with PacketFilter() as packets:
        for protocol in ("tcp", "udp"):
            way(packets, f"{protocol} dport 111")
        m = mount(ports=False, options=f"mountport={server.mnt_port}")
        (m.path / "f").write_text("x")
        with pytest.raises(MountFailed, match="rpcbind-refused") as failed:
            mount(ports=False)
        assert "mountport=20048" in failed.value.log


def link_local(host, link):
    """The host's address of that kind, as the other writes it."""
    for info in json.loads(run("ip", "-n", host, "-j", "-6", "address", "show", "dev", link)):
        for address in info["addr_info"]:
            if address["scope"] == "link" and not address.get("tentative"):
                return f"{address['local']}%{link}"
    return None


@pytest.mark.parametrize("option", ["", "addrs={}", "addr={}", "mounthost={}", "mounthost=[{}]", "mountaddr={}"])
def test_scoped_address(mount, workdir, option):
    """fe80::1%eth0 is one wherever an address is taken."""
    directory = workdir / f"exports/scoped{option.strip('={}[]')}"
    directory.mkdir(exist_ok=True)
    with Net([None]) as net, Ganesha([Export(directory)], netns=net.server, host=EVERYWHERE) as ganesha:
        address, _ = (wait_for(lambda: link_local(end, net.links[0]), COMES_S, "a link-local address")
                      for end in (net.server, net.client))
        host = net.address(0) if option else f"[{address}]"
        m = mount(server=ganesha, netns=net.client, host=host, nconnect=2, options=option.format(address))
        (m.path / "f").write_text("x")
        plain_address = address.partition("%")[0]  # as ss shows it
        if "addrs" in option:
            wanted = {net.address(0): 1, plain_address: 1}
        else:
            wanted = {net.address(0) if option.startswith("mount") else plain_address: 2}
        wait_spread(m, wanted)
        m.umount()


# ---- several servers, an interface -------------------------------------------------------------

def test_several_hosts(mount, server, names):
    """Addresses of one server, by name or not: it is enough that one answers, and all that do are used."""
    names.write(f"{THERE} nas2", f"{THIRD} nas3")
    with PacketFilter() as packets:
        packets.reject("ip daddr 127.0.0.7 tcp dport 2049")
        m = mount(nconnect=4, host="127.0.0.7,nas2,[::1],nobody.invalid,nas3,nas2", through=names.through)
        (m.path / "f").write_text("x")
        even = {THERE, "::1", THIRD}
        wait_for(lambda: set(spread(m)) == even and max(spread(m).values()) == 2, COMES_S, f"{even}, evenly")
        assert "127.0.0.7,nas2,[::1]" in run_bounded(["findmnt", "-no", "SOURCE", m.path]).stdout


def test_several_hosts_and_nobody(mount):
    with pytest.raises(MountFailed, match="conn-refused") as failed:
        mount(host="127.0.0.7,127.0.0.8", options="port=1")
    assert "All 2 addresses" in failed.value.log and re.search("rpcinfo -p 127.0.0.[78]\n", failed.value.log)
    with pytest.raises(MountFailed, match="dns-failed"):
        mount(host="nobody.invalid,nobody2.invalid")


@pytest.mark.parametrize("options", ["bindif=link1", "bindif=link1,proto=udp", "bindif=link1,localaddrs=10.98.1.1"])
def test_bindif(mount, workdir, options):
    """All goes by that interface, to an address that the other one leads to."""
    directory = workdir / "exports/bindif"
    directory.mkdir(exist_ok=True)
    with Net([None, None]) as net, Ganesha([Export(directory)], netns=net.server, host=EVERYWHERE,
                                           udp=str(udp_works())) as ganesha:
        before = net.counters()
        m = mount(server=ganesha, netns=net.client, host=net.address(0), nconnect=2, options=options)
        (m.path / "f").write_bytes(bytes(MIB))
        m.umount()
        sent = [new.to_server - old.to_server for old, new in zip(before, net.counters())]
        assert sent[0] < 10000 and sent[1] > MIB, sent


def test_no_such_interface(mount):
    with pytest.raises(MountFailed, match="conn-failed") as failed:
        mount(options="bindif=nothere0")
    assert "No such device" in failed.value.log and "bindif" in failed.value.log
