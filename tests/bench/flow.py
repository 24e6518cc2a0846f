# SPDX-License-Identifier: GPL-2.0-or-later
"""One stream on a mount, for as long as one likes, and how it flows: bytes over time.

    with Stream("read", client) as stream, Meter(client.ctl) as meter:
        time.sleep(10)
        meter.rate(2, 5)        # MB/s between two moments, in seconds since the Meter began
    stream has not failed, or that has raised

Counted are the bytes of the mount's connections, as the daemon has them (`status`): what TCP sent twice is not in
them, nor what it sent in vain."""

import bisect
import os
import subprocess
import sys
import threading
import time

from lab.command import ask
from run import BenchFailed

SAMPLE_S = .125
BLOCK, AROUND, HUGE = 1 << 20, 256 << 20, 64 << 30
END_S = 60

# Run by the stream's process: argv is the direction and the file. It ends when its standard input does.
BODY = f"""
import os, select, sys
direction, name = sys.argv[1:]
fd, block, at = os.open(name, os.O_RDWR if direction == "write" else os.O_RDONLY), bytearray({BLOCK}), 0
while not select.select([0], [], [], 0)[0]:
    if direction == "write":
        assert os.pwrite(fd, block, at % {AROUND}) == len(block)
    else:
        assert os.preadv(fd, [block], at) == len(block)
        if at % {16 * BLOCK} == 0:
            os.posix_fadvise(fd, 0, at, os.POSIX_FADV_DONTNEED)
    at += len(block)
if direction == "write":
    os.fsync(fd)
os.close(fd)
"""


def make_files(disk):
    """What a Stream reads, as sparse as the export has it; what it writes is there already."""
    with open(disk.path / "zeros", "wb") as file:
        file.truncate(HUGE)


class Stream:
    """A program that reads or writes in sequence until the block ends. An error of its is one of the benchmark."""

    def __init__(self, direction, client):
        name = client.directory / ("zeros" if direction == "read" else "out")
        self.process = subprocess.Popen([sys.executable, "-c", BODY, direction, name], stdin=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        try:
            _, said = self.process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise BenchFailed("the stream did not end") from None
        if self.process.returncode:
            raise BenchFailed(f"the stream failed: {said.splitlines()[-1] if said else self.process.returncode}")


class Meter:
    """Samples, by a thread of its own. times: seconds since the start, totals: bytes until then."""

    def __init__(self, socket):
        self.socket, self.began = socket, time.monotonic()
        self.times, self.totals, self.events = [], [], []
        self.stop, self.failed = threading.Event(), None
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._sample()
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stop.set()
        self.thread.join(END_S)
        if self.failed:
            raise BenchFailed(f"the mount was not to be measured: {self.failed}")

    def now(self):
        return time.monotonic() - self.began

    def mark(self, words):
        """Something happens now. Returns when that is."""
        self.events.append((self.now(), words))
        return self.events[-1][0]

    def rate(self, begin, end):
        """MB/s between two moments that are past."""
        return (self._total(end) - self._total(begin)) / (end - begin) / 1e6

    def curve(self, step=.25):
        """[(time, MB/s)]: each over one step that ends then."""
        last = self.times[-1]
        ends = [step * i for i in range(1, int(last / step) + 1)]
        return [(end, self.rate(end - step, end)) for end in ends]

    def reached(self, since, wanted, during=1):
        """Seconds after `since` from when on the rate was `wanted` or more for so long; None: never."""
        at = since
        while at + during <= self.times[-1]:
            if self.rate(at, at + during) >= wanted:
                return at - since
            at += .125
        return None

    def _total(self, at):
        """By the samples around it."""
        i = min(max(bisect.bisect_left(self.times, at), 1), len(self.times) - 1)
        (before, after), (low, high) = self.times[i - 1:i + 1], self.totals[i - 1:i + 1]
        return low + (high - low) * (at - before) / (after - before)

    def _sample(self):
        found = ask(self.socket, b"status\n")
        self.times.append(self.now())
        self.totals.append(sum(c["received_bytes"] + c["sent_bytes"] for c in found["connections"]))

    def _run(self):
        os.nice(-5)
        try:
            while not self.stop.wait(SAMPLE_S):
                self._sample()
        except (OSError, ValueError) as error:
            self.failed = error
