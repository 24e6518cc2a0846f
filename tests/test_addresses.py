# SPDX-License-Identifier: GPL-2.0-or-later
"""Several addresses of one server: connections are spread over those that prove to serve the same export, leave
one that dies, and return; one of another server is named and left out."""

import collections
import contextlib
import re
import subprocess
import threading

import pytest

from lab.ganesha import EVERYWHERE, Export, Ganesha
from lab.hosts import Hosts
from lab.procs import Stuck, wait_for
from lab.proxy import PacketFilter
from support import MIB, pattern

NCONNECT = 8
FOUR = [f"127.0.0.{i}" for i in (1, 2, 3, 4)]
ELSEWHERE = "127.0.0.9"
SIX = ["fd00:5::1", "fd00:5::2"]
SPREAD_S, MOVED_S, BACK_S = 15, 15, 15
QUIET = "not responding|lost: |up \\("


@pytest.fixture(scope="module")
def exports(site, workdir):
    directory = workdir / "exports/addresses"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def wide(exports):
    """A server on every address of this host."""
    with Ganesha([Export(exports)], host=EVERYWHERE) as ganesha:
        yield ganesha


@contextlib.contextmanager
def redirected(address, server, target):
    """Who asks `address` on the ports of `server` gets `target`."""
    ip, here = ("ip6", "[::1]") if ":" in address else ("ip", "127.0.0.1")
    table = f"{ip} fusenfs_{re.sub('[.:]', '_', address)}"
    nft = [f"table {table} {{", "chain output { type nat hook output priority -100;"]
    nft += [f"{ip} daddr {address} tcp dport {mine} dnat to {here}:{its}" for mine, its in
            ((server.nfs_port, target.nfs_port), (server.mnt_port, target.mnt_port))]
    subprocess.run(["nft", "-f", "-"], input="\n".join([*nft, "}", "}"]), text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", f"delete table {table}"], check=True)


@pytest.fixture(scope="module")
def other(exports, wide):
    """Another one, for whoever asks 127.0.0.9 on the ports of the first. Its export has the same path."""
    with Ganesha([Export(exports, fsal="MEM")], host=EVERYWHERE) as ganesha:
        with redirected(ELSEWHERE, wide, ganesha):
            yield ganesha


@pytest.fixture
def six():
    """More addresses of this host, of the other family."""
    for action in ("add", "del"):
        for address in SIX:
            subprocess.run(["ip", "address", action, f"{address}/128", "dev", "lo", *["nodad"] * (action == "add")],
                           check=True)
        if action == "add":
            yield


@pytest.fixture
def cluster(exports, wide):
    """Another head of the same cluster, at 127.0.0.8: same disk, same handles, other write verifiers."""
    with Ganesha([Export(exports)], host=EVERYWHERE) as ganesha:
        ganesha.restart()  # its epoch is a second, which may be the first one's
        with redirected("127.0.0.8", wide, ganesha):
            yield ganesha


@pytest.fixture
def names(mount):
    """/etc/hosts of the program that mount() starts."""
    with Hosts(mount.directory) as hosts:
        yield hosts


def spread(m):
    """How many connections each address has."""
    return collections.Counter(c.peer for c in m.connections())


def wait_spread(m, addresses, timeout=SPREAD_S, n=NCONNECT):
    wanted = {address: n // len(addresses) for address in addresses}
    try:
        wait_for(lambda: spread(m) == wanted, timeout, f"{wanted}")
    except Stuck as stuck:
        raise Stuck(f"{stuck}; it has {dict(spread(m))}\n{m.log()}") from None


@contextlib.contextmanager
def copying(m):
    """A program that writes and reads all the time; every byte must be right, nothing may fail."""
    stop, wrong = threading.Event(), []

    def work():
        for i in range(10 ** 6):
            if stop.is_set():
                return
            data = pattern(4 * MIB, i % 7)
            try:
                (m.path / "busy").write_bytes(data)
                if (m.path / "busy").read_bytes() != data:
                    wrong.append("other bytes")
            except OSError as error:
                wrong.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive() and not wrong, wrong


@pytest.mark.parametrize("options", ["addrs=127.0.0.2-127.0.0.4", "remoteports=127.0.0.4~127.0.0.2~127.0.0.3"])
def test_listed(mount, wide, options):
    """Evenly over all of them, under load, without an error."""
    m = mount(server=wide, nconnect=NCONNECT, options=options)
    with copying(m):
        wait_spread(m, FOUR)


def test_both_families(mount, wide):
    m = mount(server=wide, nconnect=4, options="addrs=[::1]")
    wait_spread(m, ["127.0.0.1", "::1"], n=4)


def test_another_server(mount, wide, other, exports):
    """It has an export of that name, but another root: named once, and never used."""
    m = mount(server=wide, nconnect=NCONNECT, options=f"addrs={ELSEWHERE}~127.0.0.2")
    m.expect_log("addr-mismatch")
    wait_spread(m, FOUR[:2])
    wait_for(lambda: "addr-mismatch" in m.log(), 10, "the warning")
    assert re.search(rf"{ELSEWHERE} is not the same server \(.*\), not used", m.log())
    (m.path / "f").write_text("x")
    assert (exports / "f").read_text() == "x"


def test_one_dies(mount, wide):
    """Its connections go elsewhere, those of the others stay, and they return to it."""
    m = mount(server=wide, nconnect=NCONNECT, options="addrs=127.0.0.2-127.0.0.4,detect=2")
    m.expect_log(QUIET)
    wait_spread(m, FOUR)
    with copying(m):
        with PacketFilter() as packets:
            for end in ("daddr", "saddr"):
                packets.drop(f"ip {end} 127.0.0.3")
            wait_for(lambda: spread(m)["127.0.0.3"] == 0 and sum(spread(m).values()) == NCONNECT,
                     MOVED_S, "connections to leave")
        wait_spread(m, FOUR, BACK_S)


@pytest.mark.parametrize("options", ["", "stripe=rr"])
def test_other_verifiers(mount, wide, cluster, options):
    """Said once; every byte arrives, and later files are not written again and again."""
    m = mount(server=wide, nconnect=NCONNECT, options=",".join(filter(None, ["addrs=127.0.0.8", options])))
    m.expect_log("verf-|ranges of file")
    wait_spread(m, ["127.0.0.1", "127.0.0.8"])
    for _ in range(20):  # until one has gone to both
        (m.path / "f").write_bytes(pattern(8 * MIB, 99))
        if "verf-differs" in m.log():
            break
    assert m.log().count("verf-differs") == 1
    before = m.log().count("ranges of file")
    for i in range(8):
        (m.path / f"g{i}").write_bytes(pattern(8 * MIB, i))
    again = m.log().count("ranges of file") - before  # the log has ten such lines at most
    assert m.log().count("verf-differs") == 1 and before < 5 and not again
    assert (m.server_path / "f").read_bytes() == pattern(8 * MIB, 99)
    for i in range(8):
        assert (m.server_path / f"g{i}").read_bytes() == pattern(8 * MIB, i)


def test_server_away(mount, wide):
    """All addresses are silent: that is the server, and none is given up."""
    m = mount(server=wide, nconnect=NCONNECT, options="addrs=127.0.0.2-127.0.0.4,detect=1,timeo=20,retrans=0")
    m.expect_log(QUIET + "|timed out|OK")
    wait_spread(m, FOUR)
    wide.pause()
    with contextlib.suppress(OSError):
        (m.path / "nobody").stat()
    wait_for(lambda: "not responding" in m.log(), 15, "the server to be down")
    wide.resume()
    wait_spread(m, FOUR)
    assert m.log().count("addr-mismatch") == 0


def test_names(mount, wide, other, names):
    """Every record of the name: one is dead, one is another server, the others are used."""
    names.write(*(f"{address} nas" for address in [*FOUR, "127.0.0.7", ELSEWHERE, "::1"]))
    with PacketFilter() as packets:
        packets.drop("ip daddr 127.0.0.7")
        m = mount(server=wide, host="nas", nconnect=10, through=names.through)
        m.expect_log("addr-mismatch")
        wait_spread(m, [*FOUR, "::1"], n=10)
        wait_for(lambda: "addr-mismatch" in m.log(), 15, "the warning")
        assert ELSEWHERE in m.log() and "127.0.0.7" not in m.log()


@pytest.mark.parametrize("dead,alien", [(FOUR[3], SIX[1]), (SIX[1], FOUR[3])], ids=["dead-A", "dead-AAAA"])
def test_names_of_both_families(mount, wide, other, six, names, dead, alien):
    """Four A and two AAAA records, one of each kind no good: the other four share the connections."""
    names.write(*(f"{address} nas" for address in [*FOUR, *SIX]))
    good = [address for address in [*FOUR, *SIX] if address not in (dead, alien)]
    with PacketFilter() as packets, redirected(alien, wide, other):
        packets.drop(f"{'ip6' if ':' in dead else 'ip'} daddr {dead}")
        m = mount(server=wide, host="nas", nconnect=NCONNECT, through=names.through)
        m.expect_log("addr-mismatch")
        with copying(m):
            wait_spread(m, good)
            wait_for(lambda: "addr-mismatch" in m.log(), 15, "the warning")
        assert spread(m).keys() == set(good)
        warnings = [line for line in m.log().splitlines() if "addr-mismatch" in line]
        assert len(warnings) == 1 and f"{alien} is not the same server" in warnings[0]
        assert dead not in m.log()


def test_first_of_a_name(mount, wide, names):
    names.write(*(f"{address} nas" for address in FOUR))
    m = mount(server=wide, host="nas", nconnect=4, options="dns=first", through=names.through)
    (m.path / "f").write_text("x")
    assert len(spread(m)) == 1


def test_name_moves(mount, wide, names):
    """The address of a name is a dead one now: the new one is found."""
    names.write("127.0.0.2 nas")
    m = mount(server=wide, host="nas", nconnect=4, options="detect=1", through=names.through)
    m.expect_log(QUIET + "|OK")
    (m.path / "f").write_text("x")
    assert set(spread(m)) == {"127.0.0.2"}
    names.write("127.0.0.4 nas")
    with PacketFilter() as packets:
        for end in ("daddr", "saddr"):
            packets.drop(f"ip {end} 127.0.0.2")
        with contextlib.suppress(OSError):
            list(m.path.iterdir())
        wait_spread(m, ["127.0.0.4"], 30, n=4)
        assert (m.path / "f").read_text() == "x"


def test_name_is_another_server(mount, wide, other, names):
    """All that the name says now is another server, with another root: as one that was set up anew."""
    names.write("127.0.0.2 nas")
    m = mount(server=wide, host="nas", nconnect=2, options="detect=1,actimeo=0", through=names.through)
    m.expect_log(QUIET + "|OK|addr-mismatch|stale")
    (m.path / "here").write_text("x")
    names.write(f"{ELSEWHERE} nas")
    with PacketFilter() as packets:
        for end in ("daddr", "saddr"):
            packets.drop(f"ip {end} 127.0.0.2")
        with contextlib.suppress(OSError):
            list(m.path.iterdir())
        wait_for(lambda: "is another server now" in m.log(), 30, "the new server to be taken")
