# SPDX-License-Identifier: GPL-2.0-or-later
"""Two hosts, client and server, joined by k links whose rates and delay are ours to choose.

    with Net([200, 200, 200, 200]) as net, Ganesha(exports, netns=net.server, host=EVERYWHERE) as s:
        mount(server=s, netns=net.client, host=net.shared)

The hosts are network namespaces. A link is a veth pair, limited at both ends (tbf) to a rate in
Mbit/s (None: unlimited); MTU 1500, so that at most 94.1 % of it is payload. Each link has addresses
of its own: what goes to net.address(i) takes link i. And the hosts share one pair of addresses whose
routes lead over all links, chosen by a hash of addresses and ports: `net.shared`. That is what LACP
and ECMP do: a connection has one link for life, and several may have the same one.

With rtt_ms, half of it is spent in each direction, by delay.c, whose links are TUN devices. On two
CPUs eight plain TCP streams got 1.5 GB/s over one such link with 10 ms (a veth pair: 4.9); with 50 ms
0.45 GB/s, because that is what the kernel's usual buffers hold. All routes say cubic, Linux's default,
whatever this machine does: a namespace may not make it its own default where the machine has another.

Nothing outlives the Net but, after a SIGKILL, two namespaces: see procs.isolated_program().
"""

import contextlib
import json
import os
import subprocess
import tempfile
from collections import namedtuple
from pathlib import Path

from .ganesha import run

NETNS = Path("/run/netns")
DELAY_SOURCE = Path(__file__).with_name("delay.c")
# A segment of the largest size must not empty a slow link's bucket for long.
SEGMENT = 16 << 10
QUEUE_MS, QUEUE_MIN = 20, 128 << 10
SHARED_CLIENT, SHARED_SERVER = "10.98.255.1", "10.98.255.2"
FIRST_TABLE = 100
CUBIC = ["congctl", "cubic"]

Traffic = namedtuple("Traffic", "to_server to_client")


class Net:
    """client and server: names of the namespaces. shared: the server's address on all links."""

    shared = SHARED_SERVER

    def __init__(self, rates, rtt_ms=0):
        self.rates, self.rtt_ms = list(rates), rtt_ms
        name = f"fusenfs-{os.getpid()}-{id(self) & 0xffff:x}"
        self.client, self.server = f"{name}-client", f"{name}-server"
        self.links = [f"link{i}" for i in range(len(self.rates))]
        self.stack, self.pins = contextlib.ExitStack(), {}

    def __enter__(self):
        with self.stack:
            for host in (self.client, self.server):
                run("ip", "netns", "add", host)
                self.stack.callback(run, "ip", "netns", "delete", host)
            self._make_links()
            for host, own, other in ((self.client, 1, 2), (self.server, 2, 1)):
                self._configure(host, own, other)
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    def address(self, link):
        """The server's address on one link."""
        return f"10.98.{link}.2"

    def enter(self, host):
        """Words before a command that is to run on a host; the mounts stay the caller's."""
        return ["nsenter", f"--net={NETNS / host}"]

    def counters(self):
        """Bytes that each link has carried, headers included (once for each 16 KiB)."""
        sent = {host: self._sent(host) for host in (self.client, self.server)}
        return [Traffic(sent[self.client][link], sent[self.server][link]) for link in self.links]

    def link_of(self, port, server_port):
        """The links that the hash chooses for a connection from `port` of the client's shared
        address: there and back."""
        words = "ipproto", "tcp", "sport"
        return Traffic(
            self._chosen(self.client, SHARED_CLIENT, SHARED_SERVER, *words, port, "dport", server_port),
            self._chosen(self.server, SHARED_SERVER, SHARED_CLIENT, *words, server_port, "dport", port))

    def pin(self, port, link):
        """A connection from this port of the client takes this link from now on."""
        self._pin("add", port, link)
        self.pins[port] = link

    def unpin(self):
        """The hash chooses again, for all."""
        for port, link in self.pins.items():
            self._pin("delete", port, link)
        self.pins.clear()

    @contextlib.contextmanager
    def black_hole(self, port):
        """What a connection from this port of the client sends, or is sent, vanishes, until the block ends."""
        nft = [*self.enter(self.client), "nft"]
        run(*nft, "add table inet hole")
        try:
            for hook, end in (("output", "sport"), ("input", "dport")):
                run(*nft, f"add chain inet hole {hook} {{ type filter hook {hook} priority 0; }}")
                run(*nft, f"add rule inet hole {hook} tcp {end} {port} drop")
            yield
        finally:
            run(*nft, "delete table inet hole")

    @contextlib.contextmanager
    def link_down(self, link):
        """A cable is pulled out: neither end has a carrier, until the block ends."""
        name = self.links[link]
        self._ip(self.server, "link", "set", name, "down")
        try:
            yield
        finally:
            self._ip(self.server, "link", "set", name, "up")
            self._route_link(self.server, link, 2)

    @contextlib.contextmanager
    def link_silent(self, link):
        """What a link carries vanishes behind it, and no end is told, until the block ends."""
        name = self.links[link]
        with self._filtered("silent", [f"iifname {name} drop"], [f"iifname {name} drop"]):
            yield

    @contextlib.contextmanager
    def lossy(self, percent, remainder):
        """TCP from ports of the client whose number is odd (remainder 1) or even (0) loses so many of a hundred
        packets, there and back, until the block ends."""
        loss = f"{{end}} & 1 == {remainder} numgen random mod 100 < {percent} drop"
        with self._filtered("lossy", [f"tcp {loss.format(end='dport')}"], [f"tcp {loss.format(end='sport')}"]):
            yield

    @contextlib.contextmanager
    def _filtered(self, table, client, server):
        """Rules of nft for what each host gets."""
        hosts = {self.client: client, self.server: server}
        with contextlib.ExitStack() as stack:
            for host, rules in hosts.items():
                nft = [*self.enter(host), "nft"]
                run(*nft, f"add table inet {table}")
                stack.callback(run, *nft, f"delete table inet {table}")
                run(*nft, f"add chain inet {table} input {{ type filter hook input priority 0; }}")
                for rule in rules:
                    run(*nft, f"add rule inet {table} input {rule}")
            yield

    def _pin(self, verb, port, link):
        for host, end in ((self.client, "sport"), (self.server, "dport")):
            self._ip(host, "rule", verb, "ipproto", "tcp", end, port, "table", FIRST_TABLE + link)

    def _make_links(self):
        if self.rtt_ms:
            return self._start_delay()
        for link in self.links:
            run("ip", "-n", self.client, "link", "add", link, "type", "veth",
                "peer", "name", link, "netns", self.server)

    def _start_delay(self):
        directory = self.stack.enter_context(tempfile.TemporaryDirectory(prefix="fusenfs-lab."))
        program = f"{directory}/delay"
        run("cc", "-D_GNU_SOURCE", "-O2", "-Wall", "-Werror", "-pthread", "-o", program, DELAY_SOURCE)
        argv = [program, str(round(self.rtt_ms * 500)), NETNS / self.client, NETNS / self.server]
        process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv, *self.links],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.stack.callback(process.communicate, timeout=10)  # its input ends, and so does it
        if process.stdout.readline() != b"ready\n":
            raise OSError("delay.c does not run; its words are on stderr")

    def _configure(self, host, own, other):
        for name in ("conf.all.rp_filter=0", "conf.default.rp_filter=0", "fib_multipath_hash_policy=1"):
            key, _, value = name.partition("=")
            self._sysctl(host, f"net/ipv4/{key.replace('.', '/')}", value)
        self._ip(host, "link", "set", "lo", "up")
        self._ip(host, "address", "add", f"10.98.255.{own}/32", "dev", "lo")
        hops = []
        for i, (link, rate) in enumerate(zip(self.links, self.rates)):
            self._configure_link(host, i, own, rate)
            hop = ["via", f"10.98.{i}.{other}", "dev", link]
            hops += ["nexthop", *hop]
            self._ip(host, "route", "add", f"10.98.255.{other}", *hop, "src", f"10.98.255.{own}",
                     "table", FIRST_TABLE + i, *CUBIC)
        self._ip(host, "route", "add", f"10.98.255.{other}", "src", f"10.98.255.{own}", *CUBIC, *hops)

    def _configure_link(self, host, number, own, rate):
        link = self.links[number]
        self._ip(host, "address", "add", f"10.98.{number}.{own}/24", "dev", link)
        self._ip(host, "link", "set", link, "mtu", "1500", "txqueuelen", "10000", "up")
        self._route_link(host, number, own)
        if rate is None:
            return
        self._ip(host, "link", "set", link, "gso_max_size", SEGMENT)
        queue = max(QUEUE_MIN, rate * 125 * QUEUE_MS)
        run("tc", "-n", host, "qdisc", "add", "dev", link, "root", "tbf", "rate", f"{rate}mbit",
            "burst", SEGMENT + 2048, "limit", round(queue))

    def _route_link(self, host, number, own):
        """In place of the route that the kernel has made when it went up."""
        self._ip(host, "route", "replace", f"10.98.{number}.0/24", "dev", self.links[number], "proto", "kernel",
                 "scope", "link", "src", f"10.98.{number}.{own}", *CUBIC)

    def _sysctl(self, host, name, value):
        run(*self.enter(host), "sh", "-c", f"echo {value} >/proc/sys/{name}")

    def _chosen(self, host, source, target, *words):
        route, = json.loads(self._ip(host, "-j", "route", "get", target, "from", source, *words))
        return self.links.index(route["dev"])

    def _sent(self, host):
        return {link["ifname"]: link["stats64"]["tx"]["bytes"]
                for link in json.loads(self._ip(host, "-s", "-j", "link"))}

    def _ip(self, host, *words):
        return run("ip", "-n", host, *words)
