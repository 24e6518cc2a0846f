"""A server on a link of its own, and the ways in which it can be out of reach.

    with FarServer(exports, WAYS["silent"], 1) as server:
        m = mount(server=server)
        server.vanish()          # now nothing comes through, not even a SYN
        server.come_back()

It lives in a network namespace behind a veth pair: what is dropped there is lost for connections
that exist and for new ones, in the direction that was asked for, as on a real network."""

import os
from collections import namedtuple

from .ganesha import Ganesha, run

Way = namedtuple("Way", "vanish come_back")


class FarServer(Ganesha):
    """A Ganesha at 10.77.NUMBER.2; this side has 10.77.NUMBER.1. NUMBER: 1 to 250, one of a kind.
    Address resolution passes: a neighbour that is known to be gone would be another fault."""

    def __init__(self, exports, way, number, **how):
        self.way, self.number = way, number
        self.link = f"far{number}"
        name = f"fusenfs-{os.urandom(3).hex()}-{number}"  # another run may be under way
        run("ip", "netns", "add", name)
        try:
            self._connect(name)
            super().__init__(exports, netns=name, **{"host": f"10.77.{number}.2", **how})
        except BaseException:
            run("ip", "netns", "delete", name)
            raise

    def vanish(self):
        self.way.vanish(self)

    def come_back(self):
        self.way.come_back(self)

    def drop(self, *hooks):
        """Packets that come in ("input") or go out ("output") of the server's host are lost."""
        for hook in hooks:
            self.nft(f"add chain inet far {hook} {{ type filter hook {hook} priority 0; }}")
            direction = {"input": "iifname", "output": "oifname"}[hook]
            self.nft(f"add rule inet far {hook} {direction} {self.link} drop")

    def let_pass(self):
        self.nft("flush table inet far")

    def nft(self, command):
        run(*self._enter(), "nft", command)

    def close(self):
        self.kill()  # a clean end may take ten seconds, and there is nothing to keep
        super().close()
        if self.netns:
            run("ip", "netns", "delete", self.netns)
            self.netns = None

    def _enter(self):
        return ["nsenter", f"--net=/run/netns/{self.netns}"]

    def _connect(self, name):
        here, there = f"{self.link}-here", self.link
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        run("ip", "address", "add", f"10.77.{self.number}.1/24", "dev", here)
        run("ip", "link", "set", here, "up")
        for words in (["address", "add", f"10.77.{self.number}.2/24", "dev", there],
                      ["link", "set", there, "up"], ["link", "set", "lo", "up"]):
            run("ip", "-n", name, *words)
        run("nsenter", f"--net=/run/netns/{name}", "nft", "add table inet far")


WAYS = {
    "killed": Way(Ganesha.kill, Ganesha.start),  # refused
    "silent": Way(lambda server: server.drop("input", "output"), FarServer.let_pass),
    "stopped": Way(Ganesha.pause, Ganesha.resume),  # its kernel still takes connections and data
    "replies lost": Way(lambda server: server.drop("output"), FarServer.let_pass),
    "calls lost": Way(lambda server: server.drop("input"), FarServer.let_pass)}
