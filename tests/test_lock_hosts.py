# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks between hosts: a server, and clients with networks, rpcbinds and state of their own."""

import fcntl
import statistics
import time

import pytest

from lab.client import ClientHost
from lab.far import WAYS, FarServer
from lab.ganesha import EVERYWHERE, Export
from test_locks import Process

LOCK = "lock,timeo=20,retrans=1,detect=2"
DOWN = "nfs: server .* not responding|nfs: server .* OK|connections? .* (lost|up)|gave up"


@pytest.fixture(scope="module")
def far(workdir):
    directory = workdir / "exports" / "lock-hosts"
    directory.mkdir()
    with FarServer([Export(directory)], WAYS["silent"], 91, portmap=True, locks=True,
                   host=EVERYWHERE) as server:
        yield server


@pytest.fixture
def clients(far, mount):
    """Two hosts; the mounts on them end before they do."""
    if not far.running:
        far.start()
    with ClientHost(far, 1, mount.directory) as a, ClientHost(far, 2, mount.directory) as b:
        yield a, b
        mount.close()


@pytest.fixture
def mounts(clients, mount):
    pair = [client.mount(mount, options=LOCK, nconnect=n) for client, n in zip(clients, (1, 8))]
    (pair[0].path / "f").write_bytes(b"")
    return pair


def hand_over(holder, waiter):
    """Seconds from the unlock of one to the lock of the other."""
    waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
    time.sleep(0.2)
    began = time.monotonic()
    assert holder.unlock() is None
    assert waiter.hear(5) is None
    return time.monotonic() - began


@pytest.mark.parametrize("called, limit_ms", [(True, 50), (False, 1000)], ids=["called", "asking"])
def test_hand_over(far, mount, called, limit_ms):
    """From host to host: called by the server, and without."""
    with ClientHost(far, 1, mount.directory, rpcbind=called) as a, \
            ClientHost(far, 2, mount.directory, rpcbind=called) as b:
        pair = [client.mount(mount, options=LOCK) for client in (a, b)]
        (pair[0].path / "f").write_bytes(b"")
        with Process(pair[0].path / "f") as one, Process(pair[1].path / "f") as two:
            assert one.lock() is None
            times = [hand_over(*(one, two) if i % 2 == 0 else (two, one)) for i in range(12)]
        median = statistics.median(times) * 1000
        print(f"hand-over, {'called' if called else 'asking'}: p50 {median:.1f} ms, "
              f"worst {max(times) * 1000:.1f} ms")
        assert median <= limit_ms
        mount.close()
