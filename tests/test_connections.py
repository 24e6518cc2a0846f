"""N connections: how many, from which ports, how work is spread, and what happens when they break:
one, all, with the server, or because of what comes out of them. Whatever is done to them, no
application sees an error that is not the server's, and no byte is lost or wrong."""

import contextlib
import errno
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import threading
import time

import pytest

from lab import rpc
from lab.child import Child
from lab.procs import run_bounded, wait_for
from lab.proxy import (Accepted, Cut, Delay, Denied, Drop, Fragments, Hold, LoseWrite, NewVerifier,
                       PacketFilter, Proxy, Raw, Repeat, Rewrite, Segments, ShortRead, ShortWrite,
                       Status, framed)
from support import (KIB, MIB, create, errno_of, fails, in_processes, opened, page_buffer, pattern, read,
                     same, write_all)

RDWR, WRONLY, CREAT, DIRECT = os.O_RDWR, os.O_WRONLY, os.O_CREAT, os.O_DIRECT
RESERVED = range(1, 1024)
SIZE = 48 * MIB
BAD_REPLY = "bad reply"
SERVER_DOWN = "not responding"
LOST = " lost: "            # a connection
RESTARTED = "the server restarted"
RETRY = "timeo=10,retrans=5"  # an answer that does not come is asked for again every second


@pytest.fixture
def proxy(server, mount):
    """A proxy to the server, without a fault. At the end it serves until what goes through it has
    been unmounted."""
    with Proxy(server) as made:
        yield made
        made.clear()
        made.resume()
        made.listen()
        for m in mount.mounts:
            if m.mounted and m.alive:
                m.umount()


@pytest.fixture
def eight(mount):
    """A mount with all its eight connections up."""
    return full(mount(nconnect=8))


def full(m, count=8):
    wait_for(lambda: len(m.connections()) == count, 10, f"{count} connections")
    return m


def through(mount, proxy, nconnect=8, options=""):
    return full(mount(nconnect=nconnect, options=options, server=proxy), nconnect)


def forget_pages(*paths):
    """The kernel's cache of these files; what is read next comes from the server."""
    for path in paths:
        with opened(path) as fd:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read_direct(path, size, offset=0):
    """One read past all caches."""
    with opened(path, os.O_RDONLY | DIRECT) as fd, page_buffer(size) as buffer:
        return bytes(buffer[:os.preadv(fd, [buffer], offset)])


def checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Copies:
    """A file copied into the mount and one out of it, by two processes, for as long as the with
    block lasts, and once more; every copy is compared. An error in between is raised at the end."""

    def __init__(self, m, size=SIZE):
        self.m, self.data, self.rounds = m, pattern(size), []
        self.source, self.stop = m.server_path / "source", m.server_path / "stop"
        self.source.write_bytes(self.data)
        self.children = []

    def _repeat(self, body, child):
        for rounds in itertools.count(1):
            last = self.stop.exists()
            body()
            if last:
                return rounds

    def _copy_in(self):
        with opened(self.m.path / "in", WRONLY | CREAT | os.O_TRUNC) as fd:
            write_all(fd, self.data)
            os.fsync(fd)
        same((self.m.server_path / "in").read_bytes(), self.data, "copied in")

    def _copy_out(self):
        forget_pages(self.m.path / "source")
        same(read(self.m.path / "source"), self.data, "copied out")

    def __enter__(self):
        self.children = [Child(self._repeat, body) for body in (self._copy_in, self._copy_out)]
        time.sleep(0.05)
        return self

    def __exit__(self, kind, *_):
        self.stop.touch()
        try:
            if kind is None:
                self.rounds = [child.wait(40) for child in self.children]
        finally:
            for child in self.children:
                child.close()


# --- how many, and from where


@pytest.mark.parametrize("count", [1, 2, 8, 16])
def test_count(mount, count):
    """nconnect=N is N connections, no more, also after work."""
    m = full(mount(nconnect=count), count)
    create(m.path / "f", pattern(4 * MIB))
    in_processes(4, lambda i: create(m.path / f"g{i}", pattern(MIB)))
    assert len(m.connections(state=None)) == count


def test_default_count(mount):
    full(mount(nconnect=None), 4)


def test_different_ports(eight):
    """Eight source ports, all reserved as the caller is root."""
    ports = {c.local_port for c in eight.connections()}
    assert len(ports) == 8 and all(port in RESERVED for port in ports), ports


def test_noresvport(mount):
    m = full(mount(options="noresvport"))
    assert not any(c.local_port in RESERVED for c in m.connections())


def test_user_has_no_reserved_ports(mount, server):
    """Who may not bind to a reserved port mounts from others, without a word."""
    os.chown(server.rw, 1000, 1000)
    m = full(mount(user=1000))
    assert not any(c.local_port in RESERVED for c in m.connections())
    assert "resvport" not in m.log()


def test_reserved_ports_used_up(mount, server):
    """No reserved port is free: one warning, others are used."""
    script = ("import socket,sys,time\nsocks=[]\n"
              "for p in range(1, 1024):\n"
              "    s = socket.socket()\n"
              "    try: s.bind(('', p)); socks.append(s)\n"
              "    except OSError: pass\n"
              "print('ready', flush=True); time.sleep(60)")
    hog = subprocess.Popen(["/usr/bin/python3", "-c", script], stdout=subprocess.PIPE)
    try:
        assert hog.stdout.readline() == b"ready\n"
        m = mount()
        m.expect_log(r"\[no-resvport\]")
        full(m)
        assert m.log().count("[no-resvport]") == 1
        create(m.path / "f", b"x")
    finally:
        hog.kill()
        hog.communicate()


def test_ipv6(mount, server):
    """[::1] in the source: all connections are IPv6, and a message writes the address so."""
    m = full(mount(host="[::1]"))
    assert {(c.local, c.peer) for c in m.connections()} == {("::1", "::1")}
    create(m.path / "f", b"x" * MIB)
    assert (server.rw / "f").read_bytes() == b"x" * MIB
    assert f"[::1]:{server.rw} {m.path} fuse.fusenfs" in open("/proc/mounts").read()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_portmapper(mount, server, host):
    """Without port= and mountport= the portmapper is asked."""
    m = full(mount(host=host, ports=False))
    create(m.path / "f", b"x")
    assert {c.peer_port for c in m.connections()} == {server.nfs_port}


def test_one_connection_will_do(mount):
    """The mount succeeds when one connection is up; the others follow when they can."""
    with PacketFilter() as packets:
        # The first three SYNs pass: two of the preflight's, and one connection.
        packets.drop("tcp dport 2049 tcp flags & (syn|ack) == syn "
                     "quota over 300 bytes")
        m = mount(options="detect=2,mounttimeo=9")
        create(m.path / "f", b"x")
        assert 0 < len(m.connections()) < 8
        packets.clear()
        full(m)


def test_minconnect(mount):
    """minconnect=N: returns when N are up."""
    m = mount(options="minconnect=8")
    assert len(m.connections()) == 8


# --- spreading


def test_parallel_work_is_spread(mount, proxy):
    """Several processes that read and write use several connections."""
    m = through(mount, proxy)
    (m.server_path / "f").write_bytes(pattern(32 * MIB))
    proxy.on("READ WRITE", Delay(0.02))
    in_processes(4, lambda i: create(m.path / f"g{i}", pattern(4 * MIB)))
    in_processes(4, lambda i: [read_direct(m.path / "f", MIB, (8 * i + k) * MIB) for k in range(8)])
    for procedure in ("READ", "WRITE"):
        assert len({call.link.number for call in proxy.history(procedure)}) >= 3, procedure


def test_one_stream_is_spread(mount, proxy):
    """One process that reads a file, with the kernel's read-ahead, has several connections at work."""
    m, data = through(mount, proxy), pattern(32 * MIB)
    create(m.path / "f", data)
    forget_pages(m.path / "f")
    same(read(m.path / "f"), data)
    assert len({call.link.number for call in proxy.history("READ")}) >= 3


def test_slow_connection_is_avoided(mount, proxy):
    """One connection that answers READ late by 0.2 s does not slow the others down to it."""
    m, data = through(mount, proxy), pattern(32 * MIB)
    (m.server_path / "f").write_bytes(data)
    slow = proxy.links()[3].number
    proxy.on("READ", Delay(0.2), where=lambda call: call.link.number == slow)
    start = time.monotonic()
    same(read(m.path / "f"), data)
    assert time.monotonic() - start < 3
    reads = [call.link.number for call in proxy.history("READ")]
    assert reads.count(slow) < len(reads) / 4


# --- one of eight breaks


def kill_with_ss(m, port):
    """ss -K: the socket ends with ECONNABORTED here, the peer gets a reset."""
    run_bounded(["ss", "-K", "-tn", "sport", "=", f":{port}", "dport", "=", f":{m.server.nfs_port}"])


def kill_with_nft(m, port):
    """A packet filter in between: the next packet of the daemon's is answered with RST."""
    with PacketFilter() as packets:
        packets.reset(f"tcp sport {port} tcp dport {m.server.nfs_port}")
        wait_for(lambda: port not in [c.local_port for c in m.connections()], 5, "the reset")


def n_lost(m):
    """Connections that the log calls lost, one by one or together."""
    return sum(int(n or 1) for n in re.findall(rf"(?:(\d+) connections|connection \d+) to \S+{LOST}", m.log()))


@pytest.mark.parametrize("kill", [kill_with_ss, kill_with_nft], ids=["ss", "nft"])
def test_kill_one_of_eight(eight, kill):
    """One connection after the other is killed while files are copied in and out: no error, right
    data, and the connection comes back."""
    with Copies(eight) as copies:
        for i in range(4):
            kill(eight, eight.connections()[i].local_port)
            assert len(eight.connections(state=None)) >= 6
            time.sleep(0.2)
    assert all(copies.rounds)
    full(eight)
    wait_for(lambda: n_lost(eight) == 4, 5, "the news")
    assert SERVER_DOWN not in eight.log()


def test_kill_idle_connection(eight):
    """A connection lost while nothing is going on comes back too, without being needed."""
    before = {c.local_port for c in eight.connections()}
    kill_with_ss(eight, sorted(before)[0])
    wait_for(lambda: len(eight.connections()) < 8 or
             {c.local_port for c in eight.connections()} != before or
             LOST in eight.log(), 5, "the loss")
    full(eight)


@pytest.mark.parametrize("nconnect", [1, 8])
def test_kill_all(mount, nconnect):
    """All connections at once, again and again."""
    m = full(mount(nconnect=nconnect), nconnect)
    with Copies(m, 16 * MIB):
        for _ in range(5):
            run_bounded(["ss", "-K", "-tn", "dport", "=", f":{m.server.nfs_port}"])
            time.sleep(0.3)
    full(m, nconnect)
    assert SERVER_DOWN not in m.log()


def test_kill_during_metadata(mount, proxy):
    """Names looked up and attributes asked while connections break: every answer is right."""
    m = through(mount, proxy, options="actimeo=0,lookupcache=none")
    for i in range(20):
        (m.server_path / f"f{i}").write_bytes(bytes(i))
    stop = threading.Event()

    def cutter():
        while not stop.wait(0.05):
            for link in proxy.links()[:1]:
                link.cut()
    thread = threading.Thread(target=cutter, daemon=True)
    thread.start()
    try:
        for _ in range(30):
            assert [os.stat(m.path / f"f{i}").st_size for i in range(20)] == list(range(20))
            assert len(os.listdir(m.path)) == 20
            assert errno_of(os.stat, m.path / "missing") == errno.ENOENT
    finally:
        stop.set()
        thread.join()
    full(m)


def test_refused_for_a_while(mount, proxy):
    """Nobody listens for two seconds: what is asked meanwhile waits, and is answered."""
    m = through(mount, proxy, options="actimeo=0")
    (m.server_path / "f").write_bytes(b"x")
    proxy.refuse()
    proxy.cut()
    timer = threading.Timer(2, proxy.listen)
    timer.start()
    try:
        start = time.monotonic()
        assert read(m.path / "f") == b"x"
        assert 1.5 < time.monotonic() - start < 6
    finally:
        timer.join()
    full(m)


# --- the server restarts


@pytest.mark.parametrize("stop", ["kill", "stop"])
@pytest.mark.parametrize("nconnect", [1, 8])
def test_server_restart(mount, server, stop, nconnect):
    """The server dies and comes back after a second, twice, during copies in and out: they take
    longer, and are right."""
    m = full(mount(nconnect=nconnect), nconnect)
    m.expect_log(SERVER_DOWN)
    with Copies(m, 24 * MIB):
        for _ in range(2):
            getattr(server, stop)()
            time.sleep(1)
            server.start()
            time.sleep(0.5)
    assert checksum(server.rw / "in") == checksum(server.rw / "source")
    full(m, nconnect)


def test_server_restart_is_logged(mount, server):
    """One line when a server that was away is back, and for how long it was."""
    m = full(mount(options="detect=1"))
    m.expect_log(SERVER_DOWN)
    assert "OK (outage" not in m.log(), "the first connection is not the end of an outage"
    server.kill()
    wait_for(lambda: SERVER_DOWN in m.log(), 10, "the message")
    server.start()
    wait_for(lambda: "OK (outage" in m.log(), 10, "the message")
    full(m)
    create(m.path / "f", b"x")
    assert m.log().count(SERVER_DOWN) == 1 and m.log().count("OK (outage") == 1
    assert re.search(r"OK \(outage \d+\.\d s\) \[server-ok\]$", m.log(), re.MULTILINE)
    wait_for(lambda: re.search(r"up \(\d+ of \d+\) \[conn-up\]$", m.log(), re.MULTILINE), 10, "the connections' line")


def test_cached_handles_survive_a_restart(mount, server):
    """Open files, known names and the working directory go on after a restart."""
    m = mount()
    m.expect_log(SERVER_DOWN)
    os.makedirs(m.path / "a/b")

    def work(child):
        os.chdir(m.path / "a/b")
        with opened("f", RDWR | CREAT) as fd:
            os.write(fd, b"before")
            child.tell()
            child.hear()
            os.write(fd, b" after")
            assert os.pread(fd, 100, 0) == b"before after"
            assert os.listdir(".") == ["f"]
    with Child(work) as child:
        child.hear()
        server.kill()
        server.start()
        child.tell()
        child.wait(15)
    assert (server.rw / "a/b/f").read_bytes() == b"before after"


# --- data the server has not promised to keep


def test_writes_lost_before_commit(mount, proxy):
    """The server crashes between WRITE and COMMIT, and has lost what it had not written: COMMIT has
    another verifier, and fsync returns only when the data has been sent again and is there."""
    m, data = through(mount, proxy), pattern(5 * MIB)
    lost = proxy.on("WRITE", LoseWrite())
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        write_all(fd, data)
        lost.wait()
        lost.end()
        os.fsync(fd)
        same((m.server_path / "f").read_bytes(), data)
    assert lost.hits >= 1 and m.log().count(RESTARTED) == 1
    assert proxy.count("WRITE") <= 5 + lost.hits, "once more is enough"


def test_some_writes_lost(mount, proxy):
    """Of many writes some were taken before the crash and some after it."""
    m, data = through(mount, proxy), pattern(5 * MIB)
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        for i in range(0, 5 * MIB, 256 * KIB):
            lost = proxy.on("WRITE", LoseWrite(), times=1) if i % MIB == 0 else None
            os.pwrite(fd, data[i:i + 256 * KIB], i)
            if lost:
                lost.end()
        os.fsync(fd)
        same((m.server_path / "f").read_bytes(), data)


def test_verifier_changes_for_ever(mount, proxy):
    """A server whose verifier changes with every COMMIT (a cluster, a bug): the data ends up being
    written with FILE_SYNC, and fsync returns."""
    m, data = through(mount, proxy), pattern(2 * MIB)
    masks = iter(range(1, 1 << 30))
    proxy.on("COMMIT", Rewrite(reply=lambda call, record:
                               record[:-8] + next(masks).to_bytes(8, "big")))
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        write_all(fd, data)
        start = time.monotonic()
        os.fsync(fd)
        assert time.monotonic() - start < 10
    same((m.server_path / "f").read_bytes(), data)
    stable = [call.stable for call in proxy.history("WRITE")]
    assert rpc.FILE_SYNC in stable and len(stable) <= 5 * stable.count(rpc.FILE_SYNC) + 5


def test_verifier_of_a_new_server(mount, proxy):
    """The new instance's verifier on everything: what the old one had taken is sent once more."""
    m, data = through(mount, proxy), pattern(4 * MIB)
    with opened(m.path / "f", WRONLY | CREAT) as fd:
        write_all(fd, data)
        first = proxy.count("WRITE")
        new = proxy.on("WRITE COMMIT", NewVerifier())
        os.fsync(fd)
        assert new.hits and proxy.count("WRITE") >= 2 * first
    same((m.server_path / "f").read_bytes(), data)


def test_commit_is_cut(mount, proxy):
    """The connection breaks while fsync waits for COMMIT; with the reply lost, and before."""
    m, data = through(mount, proxy), pattern(2 * MIB)
    for at in ("call", "executed", "mid-reply"):
        cut = proxy.on("COMMIT", Cut(at), times=1)
        with opened(m.path / at, WRONLY | CREAT) as fd:
            write_all(fd, data)
            os.fsync(fd)
        assert cut.hits == 1
        same((m.server_path / at).read_bytes(), data)


def test_real_restart_before_fsync(mount, server):
    """The same with a real server: written, server killed and started, fsync. The daemon must have
    noticed the new verifier."""
    m, data = mount(), pattern(3 * MIB)
    m.expect_log(SERVER_DOWN)

    def work(child):
        with opened(m.path / "f", WRONLY | CREAT) as fd:
            write_all(fd, data)
            os.fstat(fd)  # the server has it
            child.tell()
            child.hear()
            os.fsync(fd)
    with Child(work) as child:
        child.hear()
        server.kill()
        server.start()
        child.tell()
        child.wait(15)
    same((server.rw / "f").read_bytes(), data)
    assert RESTARTED in m.log()


# --- one call is cut


@pytest.mark.parametrize("at", Cut.POINTS)
@pytest.mark.parametrize("how", ["rst", "fin"])
def test_read_is_cut(mount, proxy, at, how):
    """Wherever its connection breaks, a READ is answered, by another connection."""
    m, data = through(mount, proxy), pattern(MIB)
    (m.server_path / "f").write_bytes(data)
    cut = proxy.on("READ", Cut(at, how), times=1)
    same(read_direct(m.path / "f", MIB), data)
    assert cut.hits == 1
    full(m)


@pytest.mark.parametrize("at", Cut.POINTS)
def test_write_is_cut(mount, proxy, at):
    """The same for WRITE: the data is there, once and whole."""
    m, data = through(mount, proxy), pattern(MIB)
    cut = proxy.on("WRITE", Cut(at), times=1)
    create(m.path / "f", data)
    assert cut.hits == 1
    same((m.server_path / "f").read_bytes(), data)
    full(m)


def test_read_placed_in_part(mount, proxy):
    """The payload of a large READ goes straight to its buffer: it breaks off in the middle of that,
    at odd places, and the bytes are right."""
    m, data = through(mount, proxy), pattern(MIB)
    (m.server_path / "f").write_bytes(data)
    for part in (1, 3, 4, 5, 27, 28, 120, 130, 140, 65536, MIB - 1, MIB + 100):
        cut = proxy.on("READ", Cut("mid-reply", part=part), times=1)
        same(read_direct(m.path / "f", MIB), data, f"cut after {part}")
        assert cut.hits == 1


def test_create_is_cut_before_it_is_sent(mount, proxy):
    """A call that the server cannot have seen is sent again, whatever it is."""
    m = through(mount, proxy, nconnect=1)
    proxy.stall("up")
    proxy.resume()
    for i in range(5):
        os.mkdir(m.path / f"d{i}")
    assert proxy.count("MKDIR") == 5


@pytest.mark.parametrize("proc, work", [
    ("MKDIR", lambda p: os.mkdir(p / "new")), ("RMDIR", lambda p: os.rmdir(p / "d")),
    ("REMOVE", lambda p: os.unlink(p / "f")), ("RENAME", lambda p: os.rename(p / "f", p / "g")),
    ("LINK", lambda p: os.link(p / "f", p / "g")), ("SYMLINK", lambda p: os.symlink("x", p / "g"))])
@pytest.mark.parametrize("at", ["call", "executed"])
def test_ambiguous_call(mount, proxy, proc, work, at):
    """A non-idempotent call whose connection breaks is never blindly repeated: it has worked, or the
    error says that nobody knows; not EEXIST or ENOENT from its own first copy."""
    m = through(mount, proxy)
    (m.server_path / "f").write_bytes(b"x")
    (m.server_path / "d").mkdir()
    cut = proxy.on(proc, Cut(at), times=1)
    before = sorted(os.listdir(m.server_path))
    number = errno_of(work, m.path)
    assert cut.hits == 1 and number in (0, errno.ETIMEDOUT)
    if number == 0 or at == "executed":
        assert sorted(os.listdir(m.server_path)) != before
    wait_for(lambda: sorted(os.listdir(m.path)) == sorted(os.listdir(m.server_path)), 5, "the truth")


# --- what servers answer


def test_jukebox(mount, proxy):
    """NFS3ERR_JUKEBOX: the call is made again later, with a new xid, for every kind of call."""
    m = through(mount, proxy, options="actimeo=0")
    (m.server_path / "f").write_bytes(b"content")
    rules = [proxy.on(proc, Status("JUKEBOX"), times=2) for proc in
             "GETATTR LOOKUP ACCESS READ WRITE CREATE MKDIR REMOVE RMDIR RENAME SETATTR".split()]
    assert read(m.path / "f") == b"content"
    create(m.path / "new", b"new")
    os.mkdir(m.path / "d")
    os.rename(m.path / "d", m.path / "e")
    os.rmdir(m.path / "e")
    os.truncate(m.path / "new", 2)
    os.unlink(m.path / "f")
    assert {rule.procs[0]: rule.hits for rule in rules if rule.hits != 2} == {}
    assert (m.server_path / "new").read_bytes() == b"ne" and os.listdir(m.server_path) == ["new"]
    xids = [call.xid for call in proxy.history("LOOKUP CREATE READ WRITE")]
    assert len(xids) == len(set(xids))


def test_jukebox_of_commit(mount, proxy):
    m, data = through(mount, proxy), pattern(2 * MIB)
    busy = proxy.on("COMMIT", Status("JUKEBOX"), times=3)
    create(m.path / "f", data)
    assert busy.hits == 3 and (m.server_path / "f").read_bytes() == data


def test_jukebox_holds_nobody_up(mount, proxy):
    """Twenty calls wait for their next try; others are answered at once."""
    m = through(mount, proxy, options="actimeo=0")
    for i in range(20):
        (m.server_path / f"f{i}").write_bytes(b"x")
    busy = proxy.on("READ", Status("JUKEBOX"))
    readers = [threading.Thread(target=read_direct, args=[m.path / f"f{i}", 4096], daemon=True)
               for i in range(20)]
    for reader in readers:
        reader.start()
    busy.wait(40)
    start = time.monotonic()
    for i in range(20):
        os.stat(m.path / f"f{i}")
    assert time.monotonic() - start < 1
    busy.end()
    for reader in readers:
        reader.join(15)
        assert not reader.is_alive()


def test_jukebox_until_the_deadline(mount, proxy):
    """For ever: the deadline ends it, ETIMEDOUT."""
    m = through(mount, proxy, options="timeo=10,retrans=1,actimeo=0")
    (m.server_path / "f").write_bytes(b"x")
    proxy.on("READ", Status("JUKEBOX"))
    start = time.monotonic()
    with fails(errno.ETIMEDOUT):
        read_direct(m.path / "f", 4096)
    assert 1 < time.monotonic() - start < 5


@pytest.mark.parametrize("count", [1, 1000, 4096, 65536, 100_001])
def test_short_reads(mount, proxy, count):
    """A server that returns less than was asked: the kernel gets all of it, nothing twice."""
    m, data = through(mount, proxy), pattern(300_000 if count > 1 else 3000)
    (m.server_path / "f").write_bytes(data)
    short = proxy.on("READ", ShortRead(count))
    same(read(m.path / "f"), data)
    same(read_direct(m.path / "f", MIB), data)
    assert short.hits >= len(data) // count


def test_read_of_nothing(mount, proxy):
    """Zero bytes and no end of file, against RFC 1813: an error in the end, not a loop for ever, not
    an end of file."""
    m = through(mount, proxy, options="timeo=10,retrans=1")
    m.expect_log(BAD_REPLY)
    (m.server_path / "f").write_bytes(pattern(MIB))
    proxy.on("READ", Rewrite(reply=lambda call, record: record[:24] + rpc.u32(0) * 5))
    with fails(errno.EIO, errno.ETIMEDOUT):
        read_direct(m.path / "f", MIB)
    assert re.search(r"bad reply on connection \d from \S+: .* \[bad-reply\]$", m.log(), re.MULTILINE)


@pytest.mark.parametrize("count", [1, 1000, 4096, 100_001])
def test_short_writes(mount, proxy, count):
    """A server that takes less than it was sent: the rest follows."""
    m, data = through(mount, proxy), pattern(300_000 if count > 1 else 3000)
    short = proxy.on("WRITE", ShortWrite(count))
    create(m.path / "f", data)
    same((m.server_path / "f").read_bytes(), data)
    assert short.hits >= len(data) // count


@pytest.mark.parametrize("answer", [
    Accepted("PROG_MISMATCH", 4, 4), Accepted("PROG_UNAVAIL"), Accepted("PROC_UNAVAIL"),
    Accepted("GARBAGE_ARGS"), Accepted("SYSTEM_ERR"), Denied(), Denied(1), Denied(5)],
    ids="PROG_MISMATCH PROG_UNAVAIL PROC_UNAVAIL GARBAGE_ARGS SYSTEM_ERR RPC_MISMATCH BADCRED TOOWEAK"
    .split())
def test_rpc_errors(mount, proxy, answer):
    """A refusal below NFS is an error of that call, at once; the mount goes on."""
    m = through(mount, proxy, options="actimeo=0")
    m.expect_log(BAD_REPLY)
    (m.server_path / "f").write_bytes(b"x")
    refused = proxy.on("LOOKUP READ", answer)
    start = time.monotonic()
    number = errno_of(os.stat, m.path / "f")
    assert number not in (0, errno.ENOENT, errno.ETIMEDOUT, errno.ESTALE), errno.errorcode.get(number)
    assert time.monotonic() - start < 2 and refused.hits < 10
    refused.end()
    assert read(m.path / "f") == b"x"
    full(m)


@pytest.mark.parametrize("name, number", [
    ("ACCES", errno.EACCES), ("PERM", errno.EPERM), ("NOSPC", errno.ENOSPC), ("DQUOT", errno.EDQUOT),
    ("ROFS", errno.EROFS), ("IO", errno.EIO), ("SERVERFAULT", errno.EIO), ("STALE", errno.ESTALE),
    ("FBIG", errno.EFBIG)])
def test_write_errors(mount, proxy, name, number):
    """What a WRITE fails with reaches write, fsync or close, once, and is not forgotten before."""
    m = through(mount, proxy)
    with opened(m.path / "other", WRONLY | CREAT):
        pass
    rule = proxy.on("WRITE", Status(name))
    m.expect_log("are lost")

    def attempt():
        with opened(m.path / "f", WRONLY | CREAT) as fd:
            write_all(fd, pattern(100_000))
            os.fsync(fd)
    with fails(*((number, errno.EIO) if name == "SERVERFAULT" else (number,))):
        attempt()
    rule.end()
    create(m.path / "g", b"fine")


# --- bytes


@pytest.mark.parametrize("size", [1, 7])
def test_small_segments(mount, proxy, size):
    """Replies that arrive byte by byte: marks, headers and payloads in pieces."""
    m, data = through(mount, proxy, 2, "actimeo=0"), pattern(200_000)
    (m.server_path / "f").write_bytes(data)
    slow = proxy.on(None, Segments(size))
    assert os.stat(m.path / "f").st_size == len(data)
    same(read_direct(m.path / "f", MIB), data)
    assert os.listdir(m.path) == ["f"]
    create(m.path / "g", data)
    assert slow.hits > 5
    same((m.server_path / "g").read_bytes(), data)


@pytest.mark.parametrize("size", [100, 4096, 65536])
def test_fragments(mount, proxy, size):
    """Records of many fragments (RFC 5531, section 11)."""
    m, data = through(mount, proxy, 2, "actimeo=0"), pattern(100_000)
    (m.server_path / "f").write_bytes(data)
    split = proxy.on(None, Fragments(size))
    assert os.stat(m.path / "f").st_size == len(data)
    same(read_direct(m.path / "f", 128 * KIB), data)
    assert os.listdir(m.path) == ["f"]
    create(m.path / "g", data)
    assert split.hits > 5
    same((m.server_path / "g").read_bytes(), data)


GARBAGE = {
    "random": pattern(500, 1), "zeros": bytes(4000), "ones": b"\xff" * 100,
    "empty record": framed(b""), "short record": framed(b"abc"), "HTTP": b"HTTP/1.1 200 OK\r\n\r\n",
    "too long": b"\xff\xff\xff\xff" + bytes(1000), "empty fragments": bytes(4) * 1000,
    "unknown xid": framed(rpc.u32(12345) + bytes(20)), "a call": framed(rpc.u32(1) + bytes(36))}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_garbage(mount, proxy, data):
    """A connection that sends rubbish is closed, at most; the call is answered by another one, and
    nothing but that connection suffers."""
    m = through(mount, proxy, options=f"detect=1,{RETRY}")
    m.expect_log(BAD_REPLY)
    content = pattern(MIB)
    (m.server_path / "f").write_bytes(content)
    bad = proxy.on("READ", Raw(data), times=1)
    start = time.monotonic()
    same(read_direct(m.path / "f", MIB), content)
    assert bad.hits == 1 and time.monotonic() - start < 6
    full(m)


@pytest.mark.parametrize("change", [
    lambda r: r[:-4], lambda r: r[:len(r) // 2], lambda r: r[:28], lambda r: r[:24],
    lambda r: r + bytes(8), lambda r: r[:24] + rpc.u32(99999) + r[28:],
    lambda r: r[:28] + b"\xff" * (len(r) - 28)],
    ids=["4 bytes less", "half", "status only", "nothing", "8 bytes more", "unknown status", "all ones"])
def test_malformed_results(mount, proxy, change):
    """Results that break the protocol, from every connection: an error, and in time. A reply that is
    merely longer than it should be may pass."""
    m = through(mount, proxy, options="actimeo=0,detect=1,timeo=20,retrans=1")
    m.expect_log(BAD_REPLY)
    m.expect_log(SERVER_DOWN)
    (m.server_path / "f").write_bytes(pattern(10_000))
    bad = proxy.on("LOOKUP READ GETATTR ACCESS", Rewrite(reply=lambda call, record: change(record)))
    start = time.monotonic()
    with contextlib.suppress(OSError):
        assert read_direct(m.path / "f", 65536) == pattern(10_000)
    assert bad.hits and time.monotonic() - start < 10
    bad.end()
    wait_for(lambda: errno_of(os.stat, m.path / "f") == 0, 5, "the mount to recover")
    assert read_direct(m.path / "f", 65536) == pattern(10_000)


def test_reply_twice(mount, proxy):
    """A duplicate of a reply is ignored."""
    m = through(mount, proxy, 2, "actimeo=0")
    data = pattern(MIB)
    (m.server_path / "f").write_bytes(data)
    twice = proxy.on(None, Repeat())
    for _ in range(20):
        assert os.stat(m.path / "f").st_size == MIB
        same(read_direct(m.path / "f", MIB), data)
    create(m.path / "g", data)
    assert twice.hits > 40
    same((m.server_path / "g").read_bytes(), data)


def test_replies_out_of_order(mount, proxy):
    """Replies overtake each other on one connection: each reaches the call it answers."""
    m = through(mount, proxy, 1, "actimeo=0")
    for i in range(8):
        (m.server_path / f"f{i}").write_bytes(pattern(4096, i))
    hold = Hold()
    proxy.on("READ", hold, times=4)
    found = {}

    def reader(i):
        found[i] = read_direct(m.path / f"f{i}", 4096)
    threads = [threading.Thread(target=reader, args=[i], daemon=True) for i in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(hold.waiting) == 4, 5, "four calls held")
    for i in range(4, 8):
        reader(i)
    hold.waiting.reverse()
    hold.release()
    for thread in threads:
        thread.join(5)
    assert found == {i: pattern(4096, i) for i in range(8)}


def test_lost_reply(mount, proxy):
    """A reply that never comes, on a connection that lives: after timeo the call is made again."""
    m = through(mount, proxy, options=f"detect=1,actimeo=0,{RETRY}")
    (m.server_path / "f").write_bytes(b"x")
    for proc in ("READ", "LOOKUP", "GETATTR"):
        proxy.on(proc, Drop(), times=1)
    start = time.monotonic()
    assert read_direct(m.path / "f", 4096) == b"x"
    assert time.monotonic() - start < 8


def test_one_silent_connection(mount, proxy):
    """One of eight stalls, in the middle of copies: no operation fails, the data is right, and the
    connection is replaced."""
    m = through(mount, proxy, options="detect=1")
    with Copies(m, 16 * MIB):
        silent = proxy.links()[0]
        silent.stall()
        wait_for(lambda: not silent.open, 10, "the silent connection to be given up")
    full(m)


def test_slow_server(mount, proxy):
    """Every answer takes half a second: slow, and nothing is given up or sent twice."""
    m = through(mount, proxy, options="actimeo=0")
    (m.server_path / "f").write_bytes(b"x")
    proxy.on(None, Delay(0.5))
    proxy.on(None, Delay(0.5, on="call"))
    assert read(m.path / "f") == b"x"
    assert LOST not in m.log()
    xids = [call.xid for call in proxy.history()]
    assert len(xids) == len(set(xids))


def test_nothing_is_sent_twice(mount, proxy):
    """On a healthy server no call goes out twice."""
    m = through(mount, proxy)
    shutil.copytree("/usr/share/doc/libc6", m.path / "doc")
    create(m.path / "f", pattern(8 * MIB))
    xids = [call.xid for call in proxy.history()]
    assert len(xids) == len(set(xids)) > 10


def test_given_up_connection_is_reset(mount, server):
    """A server that only sleeps must not find, when it wakes, calls that went elsewhere meanwhile: a
    socket that is left ends with RST, and nothing of it lingers in FIN-WAIT."""
    m = mount(nconnect=1, options="timeo=20,retrans=1,detect=1")
    m.expect_log("not responding|lost|timed out")
    (old,) = m.connections()
    server.pause()
    try:
        asked = subprocess.Popen(["stat", m.path / "never-seen"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        wait_for(lambda: old not in m.connections(None), 10, "the connection to be given up")
        left = run_bounded(["ss", "-Htan", f"sport = :{old.local_port}"]).stdout
        assert asked.wait(15) != 0
    finally:
        server.resume()
    assert "FIN" not in left and "CLOS" not in left, left
