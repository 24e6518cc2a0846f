# SPDX-License-Identifier: GPL-2.0-or-later
"""The lab's network: is each link, route, rate and delay what lab/net.py says?

Runs without fusenfs. Times are only bounded from below: a busy machine proves nothing."""

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from lab import rpc
from lab.ganesha import EVERYWHERE, Export, Ganesha, run, run_in_netns
from lab.net import SHARED_CLIENT, Net
from lab.procs import wait_for

PORT = 2049
KB = 1000


@contextlib.contextmanager
def sink(net):
    """Takes connections on the server; yields what each sent, as a list that grows."""
    heard = []
    listener = run_in_netns(net.server, lambda: socket.create_server(("0.0.0.0", PORT)))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock, sock.makefile("rb") as file:
                    heard.append(file.read())
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield heard
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def send(net, address, data, source=("", 0)):
    """One connection that says data and is closed."""
    sock = run_in_netns(net.client, socket.socket)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(source)
        sock.connect((address, PORT))
        sock.sendall(data)


def carried(net, before):
    """Whole 100 kB that went to the server by each link since; a handshake is nothing."""
    return [(new.to_server - old.to_server) // (100 * KB)
            for old, new in zip(before, net.counters())]


def test_each_address_has_its_own_link():
    with Net([None] * 3) as net, sink(net) as heard:
        for link in range(3):
            before = net.counters()
            send(net, net.address(link), bytes(100 * KB))
            wait_for(lambda: len(heard) == link + 1)
            assert carried(net, before) == [int(link == i) for i in range(3)]


def test_shared_address_is_hashed_by_port():
    with Net([None] * 4) as net, sink(net) as heard:
        before, expected = net.counters(), [0] * 4
        for port in range(50000, 50016):
            send(net, net.shared, bytes(100 * KB), source=(SHARED_CLIENT, port))
            expected[net.link_of(port, PORT).to_server] += 1
        wait_for(lambda: len(heard) == 16)
        assert carried(net, before) == expected
        assert sum(n > 0 for n in expected) > 1


def test_a_pinned_connection_leaves_the_hash():
    with Net([None] * 4) as net, sink(net) as heard:
        chosen = [net.link_of(50000 + i, PORT) for i in range(4)]
        for link in range(4):
            net.pin(50000 + link, link)
            before = net.counters()
            send(net, net.shared, bytes(100 * KB), source=(SHARED_CLIENT, 50000 + link))
            wait_for(lambda: len(heard) == link + 1)
            assert carried(net, before) == [int(link == i) for i in range(4)]
            assert net.link_of(50000 + link, PORT) == (link, link)
        net.unpin()
        assert [net.link_of(50000 + i, PORT) for i in range(4)] == chosen


@pytest.mark.parametrize("rtt_ms", [0, 2])
def test_a_link_is_no_faster_than_its_rate(rtt_ms):
    """1 MB at 20 Mbit/s takes 0.4 s; at 200 it is not that what limits it."""
    with Net([20, 200], rtt_ms) as net, sink(net) as heard:
        for link, rate in enumerate(net.rates):
            begin = time.monotonic()
            send(net, net.address(link), bytes(1000 * KB))
            wait_for(lambda: len(heard) == link + 1)
            assert time.monotonic() - begin > .9 * 8 / rate
        for host in (net.client, net.server):
            limits = run("tc", "-n", host, "qdisc", "show")
            assert "rate 20Mbit" in limits and "rate 200Mbit" in limits


def test_a_delayed_link_takes_its_time_and_loses_nothing():
    data = os.urandom(8 << 20)
    with Net([None], rtt_ms=30) as net, sink(net) as heard:
        begin = time.monotonic()
        send(net, net.shared, data)
        assert time.monotonic() - begin >= .03  # the handshake alone
        assert wait_for(lambda: heard) == [data]


def test_nothing_is_left():
    def namespaces():
        return {path.name for path in Path("/run/netns").glob(f"fusenfs-{os.getpid()}-*")}
    before = namespaces()
    with pytest.raises(ZeroDivisionError), Net([None] * 2, rtt_ms=1) as net:
        assert {net.client, net.server} <= namespaces()
        _ = 1 / 0
    assert namespaces() == before


def test_a_server_at_the_other_end(site):
    """On all addresses, and without a portmapper."""
    with Net([200] * 2) as net, \
            Ganesha([Export(site.rw)], netns=net.server, host=EVERYWHERE) as server:
        for address in (net.shared, net.address(0), net.address(1)):
            root = run_in_netns(net.client, lambda address=address: rpc.mnt(
                address, server.mnt_port, str(site.rw)))
            with run_in_netns(net.client, lambda address=address: rpc.Nfs(
                    address, server.nfs_port)) as nfs:
                nfs.getattr(root)
