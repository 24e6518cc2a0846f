# SPDX-License-Identifier: GPL-2.0-or-later
"""One of eight connections becomes a black hole: its packets vanish, in both directions or in one, and
no RST tells anybody. Work goes on over the others: nobody waits for long, nothing fails, every byte is
right, and the connection comes back from another port, as this one's path may be gone for good.

One run for each direction, under a mixed load of several processes; each test looks at one thing."""

import collections
import concurrent.futures
import errno
import os
import re
import select
import time

import pytest

from conftest import MountFactory
from lab.child import Child
from lab.procs import run_bounded, wait_for
from lab.proxy import PacketFilter
from support import MIB, opened, page_buffer, pattern, same

NCONNECT, READ_SIZE, WRITE_SIZE = 8, 32 * MIB, 8 * MIB
WARM_UP, AFTER, DETECT = 1.5, 3, 5
PATIENCE = 2  # seconds that an operation may take, whatever happens to one connection
SLOW_DETECTION = "conn/ takes 5 s of silence (detect=) to give a connection up; calls of its own wait so long"
NOT_DETECTED = ("calls that are repeated elsewhere after 1 s, and answered there, are no longer owed: a connection "
                "with no others is not given up, and goes on being used")
AMBIGUOUS = "an ambiguous call of the lost connection ends with ETIMEDOUT"

# packets: nft's words for what is dropped; the port is the client's.
DIRECTIONS = {"both": ("tcp sport {port}", "tcp dport {port}"),
              "to-server": ("tcp sport {port}",), "to-client": ("tcp dport {port}",),
              # It connects and answers NULL and GETATTR, but carries no READ and no WRITE.
              "large": ("meta length > 1000 tcp sport {port}", "meta length > 1000 tcp dport {port}")}

# What one process did: when it began (monotonic), seconds, bytes, errno.
Op = collections.namedtuple("Op", "kind start seconds size number")


class Recorder:
    """Operations of one process, until it is told to stop."""

    def __init__(self, child):
        self.child, self.ops = child, []

    def __call__(self, kind, size, func, *args):
        start, number, result = time.monotonic(), 0, None
        try:
            result = func(*args)
        except OSError as error:
            number = error.errno
        self.ops.append(Op(kind, start, time.monotonic() - start, size, number))
        return result

    def until_stopped(self, body):
        while not select.select([self.child.readable], [], [], 0)[0]:
            body()
        return self.ops


def look(directory, who, child):
    """Attributes and listings; nothing that changes anything."""
    do = Recorder(child)

    def body():
        for i in range(20):
            st = do("stat", 0, os.stat, directory / f"f{i}")
            assert st is None or st.st_size == i
        names = do("list", 0, os.listdir, directory)
        assert names is None or {f"f{i}" for i in range(20)} <= set(names)
    return do.until_stopped(body)


def change(directory, who, child):
    """Names made, moved and removed."""
    do, mine = Recorder(child), directory / f"w{who}"

    def body():
        for what, func, *args in (("mkdir", os.mkdir, mine), ("rename", os.rename, mine, f"{mine}-2"),
                                  ("rmdir", os.rmdir, f"{mine}-2")):
            do(what, 0, func, *args)
            if do.ops[-1].number:  # begin again, whatever has become of it
                for path in (mine, f"{mine}-2"):
                    try:
                        os.rmdir(path)
                    except FileNotFoundError:
                        pass
                    except OSError as error:
                        do.ops.append(Op("rmdir", time.monotonic(), 0, 0, error.errno))
                return
    return do.until_stopped(body)


def read_on(directory, who, child):
    """A file from the beginning to the end, again and again, past the kernel's cache."""
    do, data = Recorder(child), pattern(READ_SIZE)

    def body():
        with opened(directory / "big", os.O_RDONLY | os.O_DIRECT) as fd, page_buffer(MIB) as buffer:
            for at in range(0, READ_SIZE, MIB):
                got = do("read", MIB, os.preadv, fd, [buffer], at)
                if got is not None:
                    same(bytes(buffer[:got]), data[at:at + MIB], f"read at {at}")
    return do.until_stopped(body)


def write_on(directory, who, child):
    """A file written and made stable, again and again, each time with other bytes."""
    do, path, rounds = Recorder(child), directory / f"written{who}", iter(range(1, 1 << 30))

    def body():
        data = pattern(WRITE_SIZE, next(rounds) % 4)
        with opened(path, os.O_WRONLY | os.O_CREAT) as fd:
            for at in range(0, WRITE_SIZE, MIB):
                do("write", MIB, os.pwrite, fd, data[at:at + MIB], at)
            do("fsync", 0, os.fsync, fd)
            if not any(op.number for op in do.ops[-WRITE_SIZE // MIB - 1:]):
                same((child.disk / path.name).read_bytes(), data, "after fsync, on the disk")
    return do.until_stopped(body)


def run(site, directory, direction, pick):
    """The whole story: an object with what the tests ask for."""
    story = Story()
    site.wipe()
    for i in range(20):
        (site.rw / f"f{i}").write_bytes(bytes(i))
    (site.rw / "big").write_bytes(pattern(READ_SIZE))
    factory, children = MountFactory(site, directory), []
    try:
        m = factory(nconnect=NCONNECT, options="actimeo=0")
        m.expect_log("not responding")
        wait_for(lambda: len(m.connections()) == NCONNECT)
        try:
            for who, body in enumerate([look, look, change, read_on, write_on]):
                children.append(Child(lambda *args, child, body=body: with_disk(body, site.rw, *args, child=child),
                                      m.path, who))
            time.sleep(WARM_UP)
            story.watch(m, direction, pick)
            for child in children:
                child.tell("stop")
            story.ops = [op for child in children for op in child.wait(40)]
        finally:
            for child in children:
                child.close()
    finally:
        story.complaints = factory.close()
    story.log = m.log()
    return story


def with_disk(body, disk, *args, child):
    child.disk = disk
    return body(*args, child=child)


class Story:
    """One run. dark: when the packets began to vanish. detected: when the daemon had closed that
    connection; back: when there were eight again. All monotonic; None: not in time."""

    def watch(self, m, direction, pick):
        def ports(state="ESTAB"):
            return {c.local_port for c in m.connections(state)}
        self.before = ports()
        traffic = {port: traffic_of(m, port) for port in self.before}
        if pick == "busiest":
            self.port = max(traffic, key=lambda port: sum(traffic[port][:2]))
        else:  # many packets, few bytes
            self.port = max(traffic, key=lambda port: traffic[port][2] ** 2 / (1 + sum(traffic[port][:2])))
        self.detected = self.back = None
        with PacketFilter() as packets:
            self.dark = time.monotonic()
            for match in DIRECTIONS[direction]:
                packets.drop(match.format(port=self.port))
            while time.monotonic() < self.dark + 15 and not self.back:
                time.sleep(.05)
                now = ports()
                if self.port not in now and not self.detected:
                    self.detected = time.monotonic()
                if self.detected and len(now - {self.port}) == NCONNECT:
                    self.back = time.monotonic()
            self.after = ports()
            rest = self.settled + AFTER - time.monotonic()
            time.sleep(max(rest, 1))

    @property
    def settled(self):
        """When the black hole should be history."""
        return self.detected or self.dark + DETECT

    def slowest(self, since):
        return max((op for op in self.ops if op.start >= since), key=lambda op: op.seconds)

    def rate(self, kinds, begin, seconds):
        """MB/s of what was finished in this time."""
        return sum(op.size for op in self.ops if op.kind in kinds
                   and begin <= op.start + op.seconds < begin + seconds) / seconds / 1e6

    def report(self, direction, pick):
        after = self.settled
        errors = collections.Counter(errno.errorcode[op.number] + " " + op.kind
                                     for op in self.ops if op.number)
        words = [f"black hole {direction} ({pick}):", f"{len(self.ops)} operations,",
                 f"detected after {after - self.dark:.1f} s," if self.detected else "not detected,",
                 f"replaced after {self.back - self.dark:.1f} s," if self.back else "not replaced,",
                 f"slowest {self.slowest(0).kind} {self.slowest(0).seconds:.2f} s,",
                 f"{sum(op.seconds > .5 for op in self.ops)} of more than 0.5 s,",
                 f"after detection {self.slowest(after).kind} {self.slowest(after).seconds:.2f} s,"]
        for kinds in (("read",), ("write",)):
            words.append(f"{kinds[0]} {self.rate(kinds, self.dark - WARM_UP, WARM_UP):.0f} MB/s before, "
                         f"{self.rate(kinds, after, AFTER):.0f} after,")
        return " ".join(words + [f"errors {dict(errors)}"])


def traffic_of(m, port):
    """Bytes sent, bytes received, packets with data of a connection."""
    text = run_bounded(["ss", "-Htin", "sport", "=", f":{port}", "dport", "=", f":{m.server.nfs_port}"]).stdout
    return [int((re.search(rf"{word}:(\d+)", text) or [0, 0])[1])
            for word in ("bytes_sent", "bytes_received", "data_segs_out")]


# Which connection: the one with most bytes, or the one that carries the small calls.
@pytest.fixture(scope="module", params=[*((d, "busiest") for d in DIRECTIONS), ("both", "small calls")],
                ids="-".join)
def story(request, site, workdir, fusectl):
    if not site.running:
        site.start()
    name = "-".join(request.param).replace(" ", "-")
    told = run(site, workdir / "mnt" / f"blackhole-{name}", *request.param)
    print("\n" + told.report(*request.param))
    return told


def test_load_was_real(story):
    """The run shows something: all kinds of work were done before, and after the detection."""
    for kind in ("stat", "list", "mkdir", "rename", "rmdir", "read", "write", "fsync"):
        ops = [op for op in story.ops if op.kind == kind]
        assert [op for op in ops if op.start < story.dark], kind
        assert [op for op in ops if op.start > story.settled], kind


def test_detected(story):
    assert story.detected and story.log.count(" lost: ") >= 1, "the black hole was never noticed"
    assert story.detected - story.dark < DETECT + 2


def test_no_error(story):
    """Of what can be sent again. Wrong bytes would have ended the run."""
    assert not [op for op in story.ops if op.number and op.kind not in ("mkdir", "rename", "rmdir")]


def test_no_error_at_all(story):
    assert not [op for op in story.ops if op.number]


def test_nobody_waits_long(story):
    """From beginning to end, also who had a call on that connection."""
    slowest = story.slowest(0)
    assert slowest.seconds < PATIENCE, slowest


def test_nobody_waits_after_detection(story):
    slowest = story.slowest(story.settled)
    assert slowest.seconds < PATIENCE, slowest


def test_comes_back_from_another_port(story):
    assert story.back, f"connections from {sorted(story.after)}; {story.port} was cut off"
    assert story.port not in story.after and len(story.after) == NCONNECT
    assert len(story.after - story.before) == 1, "the others have stayed"


def test_nothing_unexpected_is_said(story):
    assert not story.complaints, story.complaints


def copy_in_and_out(directory, i):
    """A whole file written, and read past the kernel's cache; seconds."""
    data, path, start = pattern(WRITE_SIZE, i), directory / f"copy{i}", time.monotonic()
    with opened(path, os.O_RDWR | os.O_CREAT) as fd:
        assert os.pwrite(fd, data, 0) == len(data)
        os.fsync(fd)
    with opened(path, os.O_RDONLY | os.O_DIRECT) as fd, page_buffer(WRITE_SIZE) as buffer:
        same(bytes(buffer[:os.preadv(fd, [buffer], 0)]), data, path.name)
    return time.monotonic() - start


def test_small_packets_only_from_the_beginning(mount):
    """The path has never carried a READ or a WRITE, only what tells that it is there. It is left, be it
    as one that is lost or, if its calls were done elsewhere before, as one that is slow. A READ that has
    arrived, and whose answer has not, may be a slow disk: nothing but detect= tells the two apart."""
    m, times = mount(nconnect=NCONNECT, options="actimeo=0"), []
    m.expect_log("not responding| lost: |up \\(")

    def ports():
        return {c.local_port for c in m.connections()}
    wait_for(lambda: len(ports()) == NCONNECT)
    before = ports()
    bad = max(before)

    def work():  # by so many at once that every connection is asked for some
        times.extend(pool.map(lambda i: copy_in_and_out(m.path, i), range(NCONNECT)))
        return bad not in ports()
    with PacketFilter() as packets, concurrent.futures.ThreadPoolExecutor(NCONNECT) as pool:
        for match in DIRECTIONS["large"]:
            packets.drop(match.format(port=bad))
        for _ in range(200):
            m.path.stat()
        assert bad in ports(), "small calls are answered there"
        wait_for(work, 2 * DETECT, f"{bad} to be left")
        wait_for(lambda: len(ports()) == NCONNECT)
        assert len(ports() - before) == 1 and bad not in ports(), "the others have stayed"
        work()
        for i in range(NCONNECT):
            same((m.server_path / f"copy{i}").read_bytes(), pattern(WRITE_SIZE, i), "on the disk")
    assert max(times) < DETECT + 1, f"{WRITE_SIZE // MIB} MiB out and in"
    assert m.log().count(" lost: ") <= 1 and m.log().count("not responding") <= 1
