# SPDX-License-Identifier: GPL-2.0-or-later
"""Random operations on a few files with a model that knows every byte (exerciser/main.c says which),
two of them at a time and a second mount to read with. A minute in all; tests/exerciser/run does more.

In bad weather the server is killed and started again, connections break and answers are late. The mounts
are `hard`: then no system call may fail, and none may do anything twice, or not at all; and `nosoftreval`:
what another client has done is seen, however long the server takes. The second mount asks for every name:
which file has it now is not part of close-to-open."""

import os
import subprocess
from pathlib import Path

import pytest

from lab.child import Child
from lab.proxy import Proxy
from soak.storm import Storm

MIXES = "data truncate map append names".split()
ROUNDS = [  # nconnect, options, the mixes of the two exercisers
    (1, "", "data truncate"), (8, "wbuf=1M", "map append"), (4, "wsize=65536,actimeo=1", "names data"),
    (8, "", "data map"), (1, "wbuf=1M", "truncate append"), (8, "wbuf=4M,noac", "names map")]
CALM = "hard,nosoftreval"
PEER = f"{CALM},lookupcache=none"
STORM = "hard,nosoftreval,timeo=10,retrans=2,detect=2"
EXPECTED = r"not responding|the server restarted"


def environment(name, default):
    return os.environ.get(f"FUSENFS_EXERCISER_{name}") or default


class Weather(Storm):
    """What a call survives with the mount being `hard`, and mostly what does not take long."""

    def __init__(self, *args):
        super().__init__(*args)
        self.choices = {self.cut_one: 10, self.cut_all: 3, self.cut_call: 20, self.delay: 4, self.crash: 6,
                        self.refuse: 1, self.stall_one: 1, self.drop: 1}


def program():
    """Of the same build as the program under test."""
    build = os.environ.get("FUSENFS_BUILD") or Path(__file__).parent.parent / "build"
    return Path(build) / "tests/exerciser"


def exercise(m, peer, name, mix, seed, seconds, child):
    """Runs one until it ends; returns (status, what it printed). A process of its own: see lab.child."""
    (m.path / name).mkdir()
    argv = [program(), "--seed", str(seed), "--seconds", str(seconds), "--mix", mix,
            "--server-path", m.server_path / name, "--peer", peer.path / name, m.path / name]
    result = subprocess.run([str(word) for word in argv], text=True, check=False,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout


def play(m, peer, mixes, seed, seconds, weather):
    """The exercisers of one round; weather: the storm meanwhile, or None."""
    children = [Child(exercise, m, peer, f"{mix}{i}", mix, seed + i, seconds)
                for i, mix in enumerate(mixes)]
    try:
        if weather:
            weather.blow(seconds, lambda: m.alive and all(child.alive for child in children))
        for child in children:
            status, output = child.wait(seconds + 130)
            print(output, end="")
            assert status == 0, f"ended with {status}\n{output}"
    finally:
        for child in children:
            child.close()


def rounds():
    """(number, seconds, the row of ROUNDS): each row for a few seconds, or two rounds a minute."""
    minutes = float(environment("MINUTES", 0))
    n = max(1, round(2 * minutes)) if minutes else len(ROUNDS)
    for i in range(n):
        nconnect, options, mixes = ROUNDS[i % len(ROUNDS)]
        yield i, minutes * 60 / n or 5, (int(environment("NCONNECT", nconnect)), options,
                                         [environment("MIX", mix) for mix in mixes.split()])


@pytest.mark.parametrize("number, seconds, row", rounds())
def test_exerciser(server, mount, number, seconds, row):
    """Every other round in bad weather. FUSENFS_EXERCISER_SEED repeats the operations, though not what
    else happens at the time."""
    nconnect, options, mixes = row
    stormy = number % 2 == 1
    seed = int(environment("SEED", int.from_bytes(os.urandom(3), "big"))) + 10 * number
    options = ",".join(filter(None, [STORM if stormy else CALM, options]))
    print(f"\nexerciser: seed {seed}, nconnect={nconnect},{options}, {' and '.join(mixes)}"
          f"{', in bad weather' if stormy else ''}")
    with Proxy(server) as proxy:
        m = mount(nconnect=nconnect, options=options, server=proxy, limit=seconds + 150)
        peer = mount(nconnect=2, options=PEER, limit=seconds + 150)
        weather = Weather(proxy, server, seed) if stormy else None
        for mounted in (m, peer):
            mounted.expect_log(EXPECTED)
        try:
            play(m, peer, mixes, seed, seconds, weather)
        except BaseException:
            if weather:
                print("\n".join(f"{at:9.3f} {name} {what or ''}" for at, name, what in weather.log[-20:]))
            raise
        finally:
            if weather:
                weather.end()
        for mounted in (peer, m):
            mounted.umount()
    assert not list(server.rw.rglob(".nfs*"))
