# SPDX-License-Identifier: GPL-2.0-or-later
"""The weather of the soak: random faults between client and server, and of the server itself."""

import collections
import random
import time

from lab.proxy import Cut, Delay, Drop, LoseWrite

# False: what a crashed server has lost is missing from reads and sizes until COMMIT brings it to light
# (see test_lost_data_is_still_read); so here a crash loses nothing.
LOST_DATA_IS_STILL_READ = False

ONCE_ONLY = "CREATE MKDIR SYMLINK REMOVE RMDIR RENAME LINK SETATTR".split()
DATA = ["READ", "WRITE", "COMMIT"]
NAMES = ["LOOKUP", "GETATTR", "ACCESS", "READDIRPLUS", "READDIR"]


class Storm:
    """One fault after the other, for so many seconds. counts: how often which."""

    def __init__(self, proxy, server, seed):
        self.proxy, self.server, self.random = proxy, server, random.Random(f"{seed} storm")
        self.counts, self.log = collections.Counter(), []
        self.choices = {
            self.cut_one: 10, self.cut_all: 2, self.cut_call: 25, self.stall_one: 5, self.stall_all: 1,
            self.drop: 10, self.delay: 6, self.refuse: 1, self.crash: 2,
            self.crash_and_forget: 2 if LOST_DATA_IS_STILL_READ else 0}

    def blow(self, seconds, alive):
        """alive(): whether there is a reason to go on."""
        start = time.monotonic()
        while time.monotonic() < start + seconds and alive():
            fault = self.random.choices(*zip(*self.choices.items()))[0]
            self.counts[fault.__name__] += 1
            self.log.append((time.monotonic() - start, fault.__name__, fault()))
            time.sleep(self.random.uniform(0, .5))
        self.end()

    def end(self):
        self.proxy.clear()
        self.proxy.resume()
        self.proxy.listen()
        if not self.server.running:
            self.server.start()

    # Each returns what it has done, for the log.

    def cut_one(self):
        links = self.proxy.links()
        if links:
            self.random.choice(links).cut(self.random.choice(["rst", "fin"]))

    def cut_all(self):
        self.proxy.cut()

    def cut_call(self):
        proc, at = self.random.choice(ONCE_ONLY + DATA), self.random.choice(Cut.POINTS)
        self.proxy.on(proc, Cut(at, self.random.choice(["rst", "fin"])), times=1)
        return proc, at

    def stall_one(self):
        links = self.proxy.links()
        if links:
            link, direction = self.random.choice(links), self.random.choice(["both", "up", "down"])
            link.stall(direction)
            time.sleep(self.random.uniform(.5, 4))
            link.resume()
            return direction

    def stall_all(self):
        self.proxy.stall(self.random.choice(["both", "up", "down"]))
        time.sleep(self.random.uniform(.2, 2.5))
        self.proxy.resume()

    def drop(self):
        proc = self.random.choice(ONCE_ONLY + DATA + NAMES)
        on = self.random.choice(["call", "reply"])
        self.proxy.on(proc, Drop(on), times=self.random.choice([1, 1, 1, 2]))
        return proc, on

    def delay(self):
        seconds = self.random.uniform(.01, .8)
        rule = self.proxy.on(None, Delay(seconds, self.random.choice(["call", "reply"])))
        time.sleep(self.random.uniform(.2, 1.5))
        rule.end()
        return seconds

    def refuse(self):
        self.proxy.refuse()
        self.proxy.cut()
        time.sleep(self.random.uniform(.1, 2))
        self.proxy.listen()

    def crash(self):
        """Short, or longer than it takes to count as down."""
        seconds = self.random.choice([0, .5, 1, 1, 2, 5])
        self.server.kill()
        time.sleep(seconds)
        self.server.start()
        return seconds

    def crash_and_forget(self):
        """As the machine would: what it had taken but not promised to keep is lost. For a moment WRITEs
        are answered and not carried out, and nothing is answered that could tell of it."""
        lost = set()
        rules = [self.proxy.on("WRITE", LoseWrite(), where=lambda call: lost.add(call.io[0]) or True),
                 self.proxy.on("READDIR READDIRPLUS", Drop("call")),
                 self.proxy.on(None, Drop("call"), where=lambda call: any(h in call.record for h in lost))]
        time.sleep(self.random.uniform(.1, 1))
        self.server.kill()
        self.proxy.cut()
        for rule in rules:
            rule.end()
        time.sleep(self.random.choice([0, .5, 1, 2]))
        self.server.start()
        return f"{rules[0].hits} writes of {len(lost)} files"
