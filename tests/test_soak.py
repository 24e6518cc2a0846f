# SPDX-License-Identifier: GPL-2.0-or-later
"""Random work by several processes while everything breaks; nothing may be lost, doubled or mixed up.
A minute of it; tests/soak/run does more. What is expected is in soak/model.py, what breaks in
soak/storm.py."""

import contextlib
import os
import time

from lab.child import Child
from lab.proxy import Proxy
from soak.storm import Storm
from soak.work import work

PROCESSES = 4
# Attributes are believed for 2 s, so that what is compared in the end is the server's. A silent
# connection is given up before anything is repeated on it.
OPTIONS = "timeo=30,retrans=2,detect=2,actimeo=2"
EXPECTED = r"not responding|the server restarted"


def test_soak(server, mount, request):
    """See above. It prints its seed; FUSENFS_SOAK_SEED repeats the operations and the faults, though
    not which of them meet."""
    seed = os.environ.get("FUSENFS_SOAK_SEED") or str(int.from_bytes(os.urandom(3), "big"))
    seconds = float(os.environ.get("FUSENFS_SOAK_MINUTES") or .9) * 60
    print(f"\nsoak: seed {seed}, {seconds:.0f} s")
    (server.rw / "shared").mkdir()
    for who in range(PROCESSES):
        (server.rw / f"w{who}").mkdir()
    with Proxy(server) as proxy:
        m = mount(nconnect=4, options=OPTIONS, server=proxy, limit=seconds + 200)
        m.expect_log(EXPECTED)
        storm, children = Storm(proxy, server, seed), []
        try:
            children += [Child(work, who, m.path, server.rw, seed) for who in range(PROCESSES)]
            storm.blow(seconds, lambda: m.alive and all(child.alive for child in children))
            report(storm, *finish(children))
        except BaseException:
            print(f"soak: FUSENFS_SOAK_SEED={seed}; the last faults:")
            print("\n".join(f"{at:9.3f} {name} {what or ''}" for at, name, what in storm.log[-20:]))
            raise
        finally:
            for child in children:
                child.close()
            storm.end()
            m.umount()
    assert not [name for name in os.listdir(server.rw / "shared") if name.startswith(".nfs")]


def finish(children):
    """Stops them, and has them compare when nothing goes on any more."""
    for child in children:
        with contextlib.suppress(BrokenPipeError):  # it has ended, and told why
            child.tell("stop")
    told = [hear_or_fail(child) for child in children]
    time.sleep(3)
    for child in children:
        child.tell("compare")
    return told, sum(child.wait(90) for child in children)


def hear_or_fail(child):
    """What a process has counted; if it has failed, its exception."""
    told = child.hear(60)
    if isinstance(told, tuple) and told[0] == "raised":
        raise told[1]
    return told


def report(storm, told, names):
    counts, errors = sum((t[0] for t in told), told[0][0].__class__()), sum(
        (t[1] for t in told), told[0][1].__class__())
    print(f"soak: {sum(counts.values())} operations {dict(counts)}\n"
          f"soak: faults {dict(storm.counts)}\n"
          f"soak: errors {dict(errors)}, {sum(t[3] for t in told)} of them to be decided; "
          f"{sum(t[2] for t in told)} torn files; {names} names compared")
    assert sum(counts.values()) > 100 and sum(storm.counts.values()) > 5 and names >= PROCESSES
