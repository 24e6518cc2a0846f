# SPDX-License-Identifier: GPL-2.0-or-later
"""NFS over UDP: right data over paths that lose packets, no fragments, N source ports, and the promises of a server
that is down."""

import contextlib
import errno
import json
import os
import re
import subprocess
import time

import pytest

from lab import rpc
from lab.command import program
from lab.far import WAYS, FarServer
from lab.ganesha import EVERYWHERE, Export, Ganesha, run, udp_works
from lab.mount import MountFailed
from lab.net import Net
from lab.procs import run_bounded, wait_for
from lab.trace import Trace
from support import KIB, MIB, errno_of, fails, opened, pattern, same

pytestmark = pytest.mark.skipif(not udp_works(), reason="this Ganesha has no UDP that works")

READ, WRITE, MKDIR, SYMLINK = 6, 7, 9, 10
COMES_S, BACK_S = 15, 4
DOWN = "timeo=20,retrans=1,detect=2"  # a deadline of 4 s
QUIET = "not responding|lost: | OK |up \\(|timed out|outcome-unknown|write-lost"


@pytest.fixture(scope="module")
def directory(workdir):
    path = workdir / "exports/udp"
    path.mkdir(parents=True)
    return path


@pytest.fixture(scope="module")
def net():
    with Net([None]) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def far(net, directory):
    """A server behind a link with an MTU of 1500."""
    with Ganesha([Export(directory)], netns=net.server, host=EVERYWHERE, udp="True") as ganesha:
        yield ganesha


@pytest.fixture
def udp(mount, net, far):
    def make(nconnect=2, options="", **how):
        words = ",".join(filter(None, ["proto=udp", options]))
        m = mount(server=far, netns=net.client, host=net.address(0), nconnect=nconnect, options=words, **how)
        return m
    return make


@contextlib.contextmanager
def filtered(net, *rules):
    """nft rules for what the client's host gets (input) and sends (output)."""
    nft = [*net.enter(net.client), "nft"]
    lines = ["table inet udp_loss {"]
    for hook in ("input", "output"):
        lines += [f"chain {hook} {{ type filter hook {hook} priority 0;",
                  *(rule.partition(" ")[2] for rule in rules if rule.startswith(hook)), "}"]
    subprocess.run([*nft, "-f", "-"], input="\n".join([*lines, "}"]), text=True, check=True)
    try:
        yield
    finally:
        run(*nft, "delete table inet udp_loss")


def lossy(far, percent):
    """So many of a hundred packets are lost, there and back."""
    return [f"{hook} udp {end} {far.nfs_port} numgen random mod 100 < {percent} drop"
            for hook, end in (("input", "sport"), ("output", "dport"))]


def sources(m, net):
    """The source ports of its UDP sockets."""
    lines = run_bounded([*net.enter(net.client), "ss", "-Hunpa"]).stdout.splitlines()
    return {int(line.split()[3].rpartition(":")[2]) for line in lines if f"pid={m.pid}," in line}


@pytest.mark.parametrize("nconnect", [1, 8])
def test_copies(udp, net, nconnect):
    """There and back, from N source ports, each datagram in one packet."""
    with Trace(net.links[0], netns=net.client) as trace:
        m = udp(nconnect=nconnect, options="stripe=rr")
        wait_for(lambda: re.search("NFSv3 over UDP.*rsize 1K, wsize 1K", m.log()), COMES_S, "the line")
        data = pattern(2 * MIB + 77)
        (m.path / "f").write_bytes(data)
        same((m.server_path / "f").read_bytes(), data)
        with opened(m.path / "f") as fd:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        same((m.path / "f").read_bytes(), data)
        wait_for(lambda: len(sources(m, net)) == nconnect, COMES_S, "all sockets")
        for i in range(200):
            (m.path / f"a file with a name that is not short at all, number {i}").touch()
        assert len(list(m.path.glob("a file with*"))) == 200
        assert trace.transports(rpc.NFS) == {"udp"} and not trace.fragments
        if nconnect > 1:
            used = {call.source for call in trace.calls(rpc.NFS, WRITE)}
            assert len(used) > 1
        assert max(call.size for call in trace.calls(rpc.NFS)) <= 1472


@pytest.mark.parametrize("percent, options", [(2, ""), (8, ""), (8, "sync")])
def test_lost_packets(udp, net, far, percent, options):
    """Every byte is right and every call happens once, whatever is lost."""
    m = udp(nconnect=4, options=options, limit=120)
    m.expect_log(QUIET)
    with filtered(net, *lossy(far, percent)):
        data = pattern(128 * KIB, percent)
        (m.path / "g").write_bytes(data)
        same((m.server_path / "g").read_bytes(), data)
        for i in range(4):
            (m.path / "d").mkdir()
            with fails(errno.EEXIST):
                (m.path / "d").mkdir()
            (m.path / "d").rename(m.path / "e")
            (m.path / "e" / "x").write_bytes(bytes([i]))
            os.link(m.path / "e" / "x", m.path / "e" / "y")
            assert os.stat(m.path / "e" / "x").st_nlink == 2
            (m.path / "e" / "x").unlink()
            (m.path / "e" / "y").unlink()
            (m.path / "e").rmdir()
            assert not (m.path / "e").exists()
    same((m.path / "g").read_bytes(), data)


def test_sent_again_as_it_was(udp, net, far):
    """The same xid from the same port until there is an answer: the server's reply cache knows it, and a call whose
    answers were lost has happened once."""
    m = udp(nconnect=2)
    m.expect_log(QUIET)
    m.path.stat()
    with Trace(net.links[0], netns=net.client) as trace:
        with filtered(net, f"input udp sport {far.nfs_port} udp length > 200 drop"):  # of NULL and LOOKUP pass
            worker = subprocess.Popen(["mkdir", m.path / "once"], stderr=subprocess.PIPE)
            wait_for(lambda: len(trace.calls(rpc.NFS, MKDIR)) >= 3, COMES_S, "MKDIR to be repeated")
            assert (m.server_path / "once").is_dir()
        assert worker.wait(COMES_S) == 0, worker.stderr.read()
        first, *others = trace.calls(rpc.NFS, MKDIR)
        assert all((call.xid, call.source) == (first.xid, first.source) for call in others[:2])


def test_a_round_trip_is_soon_learned(udp, net, far):
    """A lost packet costs a fraction of a second, not timeo."""
    m = udp(nconnect=1, options="actimeo=0")
    for _ in range(20):
        m.path.stat()
    started = time.monotonic()
    with filtered(net, f"output udp dport {far.nfs_port} numgen inc mod 4 == 0 drop"):
        for _ in range(40):
            m.path.stat()
    assert time.monotonic() - started < 10 * 0.2 + 5


def test_a_path_that_swallows_all(udp, net):
    """One source port gets no answers, the others do: it is left for another, and nothing fails."""
    m = udp(nconnect=3, options="stripe=rr,actimeo=0")
    m.expect_log(QUIET)
    wait_for(lambda: len(sources(m, net)) == 3, COMES_S, "all sockets")
    victim = min(sources(m, net))

    def left():
        (m.path / "busy").write_bytes(pattern(8 * KIB))
        return victim not in sources(m, net)
    with filtered(net, f"output udp sport {victim} drop"):
        wait_for(left, COMES_S, "another port")
    same((m.server_path / "busy").read_bytes(), pattern(8 * KIB))


@pytest.mark.parametrize("option", ["rsize=32768", "wsize=8192", "rsize=4096,wsize=4096"])
def test_fragments_are_refused(udp, option):
    with pytest.raises(MountFailed, match="udp-fragments") as failed:
        udp(options=option)
    assert "put together wrongly" in failed.value.log and "udpfrag" in failed.value.log
    assert failed.value.status == 32


def test_fragments_that_are_asked_for(udp, net):
    with Trace(net.links[0], netns=net.client) as trace:
        m = udp(options="rsize=32768,wsize=16384,udpfrag")
        wait_for(lambda: "rsize 32K, wsize 16K" in m.log(), COMES_S, "the line")
        data = pattern(MIB, 3)
        (m.path / "h").write_bytes(data)
        same((m.server_path / "h").read_bytes(), data)
        wait_for(lambda: trace.fragments > MIB // 4096, COMES_S, "fragments")


def test_the_mtu_falls(udp, net):
    """While it works: smaller transfers from then on, and nothing is lost. What cannot be made smaller goes in
    fragments."""
    m = udp(nconnect=2)
    m.expect_log("path-mtu")
    (m.path / "k").write_bytes(pattern(64 * KIB))
    run("ip", "-n", net.client, "link", "set", net.links[0], "mtu", "1000")
    try:
        (m.path / "k").write_bytes(pattern(64 * KIB, 1))
        wait_for(lambda: "smaller READs and WRITEs" in m.log(), COMES_S, "it to be noticed")
        with Trace(net.links[0], netns=net.client) as trace:
            (m.path / "k").write_bytes(pattern(64 * KIB, 2))
            same((m.server_path / "k").read_bytes(), pattern(64 * KIB, 2))
            wait_for(lambda: trace.calls(rpc.NFS, WRITE), COMES_S, "WRITEs")
            assert not trace.fragments
            assert max(call.size for call in trace.calls(rpc.NFS, WRITE)) <= 1000 - 28
            os.symlink("x" * 1500, m.path / "long")
            assert os.readlink(m.server_path / "long") == "x" * 1500
            wait_for(lambda: trace.fragments, COMES_S, "fragments")
    finally:
        run("ip", "-n", net.client, "link", "set", net.links[0], "mtu", "1500")


def test_ipv6(mount, server):
    m = mount(host="[::1]", nconnect=2, options="proto=udp6")
    (m.path / "f").write_bytes(pattern(MIB))
    same((server.rw / "f").read_bytes(), pattern(MIB))
    assert "NFS version 3 over UDP" in run_bounded([m.argv[m.argv.index("-f") - 1], "status", m.path]).stdout
    wait_for(lambda: "rsize 32K, wsize 32K" in m.log(), COMES_S, "the line")  # the loopback's MTU is 64 KiB


@pytest.mark.parametrize("ports", [True, False])
def test_reserved_and_other_ports(udp, net, ports):
    m = udp(nconnect=4, options="noresvport" if ports else "srcports=2000-2003")
    (m.path / "f").touch()
    wait_for(lambda: len(sources(m, net)) == 4, COMES_S, "all sockets")
    wanted = sources(m, net)
    assert min(wanted) > 1023 if ports else wanted == {2000, 2001, 2002, 2003}


# ---- the server is down ------------------------------------------------------------------------

@pytest.fixture(params=WAYS)
def vanishing(request, directory, mount):
    number = 180 + list(WAYS).index(request.param)
    with FarServer([Export(directory)], WAYS[request.param], number, udp="True") as server:
        m = mount(server=server, nconnect=2, options=f"proto=udp,{DOWN}")
        m.expect_log(QUIET)
        yield m, server


def test_down(vanishing):
    """A call ends at the deadline, then at once; what is known is told; when the server is back all goes on."""
    m, server = vanishing
    (m.path / "known").write_text("x")
    (m.path / "known").stat()
    server.vanish()
    time.sleep(0.2)  # a process takes a moment to stop
    started = time.monotonic()
    assert errno_of(os.stat, m.path / "unknown") == errno.ETIMEDOUT
    assert time.monotonic() - started < 4 + 1
    wait_for(lambda: "not responding" in m.log(), COMES_S, "it to count as down")
    started = time.monotonic()
    assert errno_of(os.stat, m.path / "unknown too") == errno.ETIMEDOUT
    assert (m.path / "known").stat().st_size == 1
    assert time.monotonic() - started < 1
    server.come_back()
    started = time.monotonic()
    wait_for(lambda: errno_of(os.stat, m.path / "nobody") == errno.ENOENT, COMES_S, "it to be back")
    assert time.monotonic() - started < BACK_S
    (m.path / "after").write_text("y")
    assert (m.server_path / "after").read_text() == "y"


def test_data_is_held(vanishing):
    """What was written while the server was away is there when it is back."""
    m, server = vanishing
    data = pattern(200 * KIB, 5)
    with open(m.path / "held", "wb") as file:
        server.vanish()
        file.write(data)
        file.flush()
        time.sleep(3)
        server.come_back()
        wait_for(lambda: not errno_of(os.fsync, file.fileno()), COMES_S, "fsync")
    same((m.server_path / "held").read_bytes(), data)


def test_mounting_a_silent_server(mount, directory):
    with FarServer([Export(directory)], WAYS["silent"], 190, udp="True") as server:
        server.vanish()
        started = time.monotonic()
        with pytest.raises(MountFailed, match="conn-timeout"):
            mount(server=server, options="proto=udp")
        assert time.monotonic() - started < 10


def test_mounting_where_nobody_is(mount, server):
    with pytest.raises(MountFailed, match="conn-refused") as failed:
        mount(options="proto=udp,port=1")
    assert re.search("no NFS server listens on that port of UDP", failed.value.log)


def command(net, far, directory, *words):
    """`fusenfs COMMAND` on the client's host, for this server."""
    name, what, *rest = words
    ports = f"proto=udp,port={far.nfs_port},mountport={far.mnt_port},nconnect=2"
    return run_bounded([*net.enter(net.client), program(), name, f"{net.address(0)}:{directory}{what}", "-o", ports,
                        "--json", *rest], 60, check=False)


def test_bench(net, far, directory):
    """`fusenfs bench` by UDP: READs that fit a packet."""
    (directory / "big").write_bytes(pattern(MIB))
    with Trace(net.links[0], netns=net.client) as trace:
        done = command(net, far, directory, "bench", "/big", "--seconds=1")
    report = json.loads(done.stdout)
    assert done.returncode == 0 and all(step["bytes_per_second"] > 0 for step in report["steps"])
    assert not trace.fragments


def test_doctor(net, far, directory):
    """`fusenfs doctor` by UDP finds nothing wrong."""
    done = command(net, far, directory, "doctor", "")
    checks = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["export"]["result"] == "ok", checks["export"]
