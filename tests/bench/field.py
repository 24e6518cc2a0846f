# SPDX-License-Identifier: GPL-2.0-or-later
"""A client and a server of paths.py, joined by links; mounts and generators on the client.

A Site has its own network and server, and shares the exported disk with all others. Every
measurement has a mount of its own, fresh: nothing is cached, nothing learned."""

import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import probe
from lab.ganesha import EVERYWHERE, Export, Ext4Image, Ganesha
from lab.mount import mount_device, tcp_connections
from lab.net import Net
from lab.procs import run_bounded, wait_for
from run import RAMDISK, BenchFailed, FuseMount

RUN_TIMEOUT = 300
PAYLOAD = 1448 / 1538  # of the line rate, MTU 1500: what IP, TCP with timestamps and Ethernet leave


class Disk:
    """The export, an ext4 in memory, and a directory for mount points."""

    def __init__(self, mib, stack):
        self.scratch = Path(tempfile.mkdtemp(prefix="fusenfs-paths."))
        stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        image = Ext4Image(RAMDISK / self.scratch.name, 2 * mib + 512)
        stack.callback(image.close)
        self.path, self.mib, self.n_mounts = image.path, mib, 0
        self.numbers = itertools.count(1)
        self._fill()

    def mountpoint(self):
        number = self.n_mounts = next(self.numbers)
        return self.scratch / f"m{number}"

    def fresh_name(self, kind):
        """For a directory that a client is to make. What was there goes behind the server's back,
        which may believe in it for a while: no name is used twice."""
        for old in self.path.glob(f"{kind}-*"):
            shutil.rmtree(old)
        return f"{kind}-{self.n_mounts}"

    def _fill(self):
        """Written in full beforehand: neither holes nor allocation are measured."""
        block = os.urandom(1 << 20)
        for name in ("data", "out"):
            with open(self.path / name, "wb") as file:
                for _ in range(self.mib):
                    file.write(block)
        (self.path / "small").write_bytes(bytes(4096))


class Site:
    """with Site(disk, programs, options, rates, rtt_ms): see Net."""

    def __init__(self, disk, programs, options, rates, rtt_ms=0):
        self.disk, self.programs, self.options = disk, programs, options
        self.net = Net(rates, rtt_ms)
        self.server = None
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        with self.stack:
            self.stack.enter_context(self.net)
            self.server = self.stack.enter_context(Ganesha(
                [Export(self.disk.path, Attr_Expiration_Time=60)], netns=self.net.server,
                host=EVERYWHERE))
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    @contextlib.contextmanager
    def mount(self, program, nconnect, options="", layout=None, host=None):
        """A fresh mount over the shared address, or over `host`. layout: the links of its connections,
        which the hash would choose otherwise."""
        server, directory = self.server, self.disk.mountpoint()
        words = [f"nconnect={nconnect}", f"port={server.nfs_port}", f"mountport={server.mnt_port}",
                 "mountproto=tcp", options, self.options]
        argv = [*self.net.enter(self.net.client), program, "-f", "-o", ",".join(filter(None, words)),
                f"{host or self.net.shared}:{self.disk.path}", directory]
        with Client(self, argv, directory) as client:
            client.wait_connected(nconnect)
            for port, link in zip(client.ports(), layout or []):
                self.net.pin(port, link)
            try:
                yield client
            finally:
                self.net.unpin()

    def bare(self, *words):
        """One run of barerpc on the client, against the shared address."""
        server = self.server
        argv = [*self.net.enter(self.net.client), self.programs["barerpc"], "--host", self.net.shared,
                "--port", server.nfs_port, "--mountport", server.mnt_port,
                "--export", self.disk.path, *words]
        return parse(run_bounded(argv, RUN_TIMEOUT, stderr=None).stdout)

    def goodput(self, links):
        """MB/s of payload that these links can carry."""
        return sum(self.net.rates[link] for link in links) / 8 * PAYLOAD


class Client(FuseMount):
    """A mount of a Site, while it lasts, and what runs on it."""

    def __init__(self, site, argv, directory):
        super().__init__(argv, directory)
        self.site = site

    def ports(self):
        """Local ports of the connections that are established."""
        found = tcp_connections(self.pid, self.site.net.client)
        return sorted(c.local_port for c in found
                      if c.state == "ESTAB" and c.peer_port == self.site.server.nfs_port)

    def peers(self):
        """Addresses of the server that they go to."""
        found = tcp_connections(self.pid, self.site.net.client)
        return {c.peer for c in found if c.state == "ESTAB" and c.peer_port == self.site.server.nfs_port}

    @property
    def ctl(self):
        """The daemon's control socket."""
        return f"/run/fusenfs/0:{mount_device(self.directory)}.sock"

    def wait_connected(self, nconnect):
        wait_for(lambda: len(self.ports()) >= nconnect, 20, f"{nconnect} connections")

    def links(self, direction):
        """The links that its connections take: direction is "to_server" or "to_client"."""
        chosen = (self.site.net.link_of(port, self.site.server.nfs_port) for port in self.ports())
        return {getattr(link, direction) for link in chosen}

    def load(self, op, name, *words):
        """One run of load.c on a file of the mount."""
        return parse(run_bounded(self._load(op, name, words), RUN_TIMEOUT, stderr=None).stdout)

    @contextlib.contextmanager
    def load_meanwhile(self, op, name, *words):
        """The same in the background, until the end of the block."""
        process = subprocess.Popen(self._load(op, name, words), stdout=subprocess.DEVNULL)
        try:
            yield
            if process.poll() is not None:
                raise BenchFailed(f"{op} ended before what it was to disturb")
        finally:
            process.kill()
            process.wait(RUN_TIMEOUT)

    def measured(self, func):
        """(func(), CPU seconds of the daemon meanwhile, its peak memory in MiB)."""
        probe.reset_peak(self.pid)
        before = probe.used(self.pid)
        result = func()
        cpu_ns, _ = probe.difference(before, probe.used(self.pid))
        return result, cpu_ns / 1e9, probe.memory_mib(self.pid, "VmHWM")

    def read_ahead_mib(self):
        device = mount_device(self.directory)
        return int(Path(f"/sys/class/bdi/0:{device}/read_ahead_kb").read_text()) / 1024

    def _load(self, op, name, words):
        return [str(word) for word in (self.site.programs["load"], "--op", op, "--path",
                                       self.directory / name, *words)]


def parse(output):
    """The line that a generator prints."""
    return json.loads(output.splitlines()[-1])


def default_mib(program, option):
    """An option's default, from the program's own help; 0 where it is not built."""
    text = run_bounded([program, "help", "options"]).stdout
    found = re.search(rf"^\s*{option}=.*\[(\d+)([KMG])\]", text, re.M)
    return int(found[1]) * {"K": 1 / 1024, "M": 1, "G": 1024}[found[2]] if found else 0


def supports(program, option):
    """Whether this build takes an option; nothing is mounted, for nobody listens on port 1."""
    words = ["-f", "-o", f"{option},port=1,mountport=1", "127.0.0.1:/", "/mnt"]
    output = run_bounded([program, *words], check=False).stdout
    return not re.search(r"\[(option-unsupported|unknown-option|bad-value)\]", output)
