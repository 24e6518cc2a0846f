# SPDX-License-Identifier: GPL-2.0-or-later
"""A client host: a network of its own behind a link to a FarServer, its own /run and /var/lib, and, if
wanted, a rpcbind and a rpc.statd, as on a machine that mounts NFS.

    with FarServer(exports, WAYS["silent"], 81, portmap=True, locks=True, host=EVERYWHERE) as far, \\
            ClientHost(far, 1, mount.directory) as client:
        m = client.mount(mount, options="lock")

Any number of them may look at one server. What is mounted below `directory` is seen outside."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import rpc
from .ganesha import PRIVATE_RUN, accepts, run, run_in_netns
from .procs import run_bounded, wait_for

# `directory` stays shared with the namespace outside; what is put over /run and /var/lib must not be.
ENTER = r"""
for mount in / /run /var /var/lib; do mount --make-private $mount 2>/dev/null; done
mount --bind "$0/run" /run && mount --bind "$0/lib" /var/lib && exec "$@"
"""


class ClientHost:
    """server_host: the server's address on its link. address: ours there."""

    def __init__(self, far, number, directory, rpcbind=True, statd=False):
        self.far, self.number, self.directory = far, number, Path(directory)
        self.netns = f"{far.netns}-client{number}"
        net = f"10.78.{far.number}"
        self.address, self.server_host = f"{net}.{4 * number + 1}", f"{net}.{4 * number + 2}"
        self.wants_rpcbind, self.wants_statd = rpcbind, statd
        self.stack = contextlib.ExitStack()
        self.rpcbind = self.statd = None

    def __enter__(self):
        with self.stack:
            self.state = Path(tempfile.mkdtemp(prefix="fusenfs-client.", dir="/var/tmp"))
            self.stack.callback(shutil.rmtree, self.state, ignore_errors=True)
            self.state.chmod(0o755)
            for name in ("run/rpcbind", "lib/nfs/sm", "lib/nfs/sm.bak"):
                (self.state / name).mkdir(parents=True)
            run("ip", "netns", "add", self.netns)
            self.stack.callback(run, "ip", "netns", "delete", self.netns)
            self._connect()
            self._share()
            if self.wants_rpcbind:
                self.start_rpcbind()
            self.stack.callback(self._stop)
            if self.wants_statd:
                self._start_statd()
            self.stack = self.stack.pop_all()
        return self

    def __exit__(self, *exc):
        self.stack.close()

    @property
    def through(self):
        """Words before the program's."""
        return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", ENTER, str(self.state)]

    def mount(self, factory, **how):
        return factory(server=self.far, host=self.server_host, netns=self.netns, through=self.through, **how)

    @property
    def records(self):
        """The texts of its records of locks (fuse/nsm_record.h)."""
        return [path.read_text() for path in (self.state / "lib/fusenfs/nsm").glob("fusenfs-*")]

    def run(self, *argv, check=False):
        """A command there."""
        return run_bounded(["nsenter", f"--net=/run/netns/{self.netns}", *self.through, *argv], check=check)

    def wait_ready(self):
        """Until the host's lock manager program is registered, and its daemons know."""
        def ready():
            pids = [path.read_bytes()[:4] for path in (self.state / "run/fusenfs").glob("nlm-[0-9]*[0-9]")]
            return any(int.from_bytes(pid, "little", signed=True) > 0 for pid in pids)
        wait_for(ready, 10)
        time.sleep(0.05)

    def inside(self, func):
        return run_in_netns(self.netns, func)

    def program_port(self, program=rpc.NLM, proto=rpc.TCP):
        """What its rpcbind says of a program."""
        return self.inside(lambda: rpc.getport("127.0.0.1", program, proto))

    def start_rpcbind(self):
        (self.state / "run/rpcbind.sock").unlink(missing_ok=True)
        self.rpcbind = self._spawn(["rpcbind", "-f"], "rpcbind.out")
        wait_for(lambda: accepts(self.state / "run/rpcbind.sock"), 10)

        def answers():
            with contextlib.suppress(OSError):
                rpc.getport("127.0.0.1", rpc.NLM)
                return True
        wait_for(lambda: self.inside(answers), 10)

    def stop_rpcbind(self):
        self._end(self.rpcbind)
        self.rpcbind = None

    def cut(self):
        """Nothing comes through between this host and the server."""
        run("ip", "-n", self.netns, "link", "set", "up0", "down")

    def mend(self):
        run("ip", "-n", self.netns, "link", "set", "up0", "up")

    def _connect(self):
        there = f"client{self.number}"
        run("ip", "-n", self.netns, "link", "add", "up0", "type", "veth", "peer", "name", there,
            "netns", self.far.netns)
        for netns, link, address in ((self.netns, "up0", self.address),
                                     (self.far.netns, there, self.server_host)):
            run("ip", "-n", netns, "address", "add", f"{address}/30", "dev", link)
            run("ip", "-n", netns, "link", "set", link, "up")
        run("ip", "-n", self.netns, "link", "set", "lo", "up")
        # With the namespace alone it would go some time later.
        self.stack.callback(run, "ip", "-n", self.netns, "link", "delete", "up0")

    def _share(self):
        if os.path.ismount(self.directory):
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", self.directory, self.directory)
        self.stack.callback(run, "umount", "-l", self.directory)
        run("mount", "--make-private", self.directory)
        run("mount", "--make-shared", self.directory)

    def _spawn(self, argv, output):
        """In a pid namespace, whose end is the end of all in it."""
        words = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net=/run/netns/{self.netns}", "unshare",
                 "--mount", "--pid", "--fork", "--kill-child=KILL", "sh", "-c",
                 PRIVATE_RUN.replace('exec "$@"', '"$@" & wait'), str(self.state / "run"), *argv]
        with open(self.state / output, "ab") as out:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                    start_new_session=True, cwd="/")

    def _start_statd(self):
        self.statd = self._spawn(["rpc.statd", "--foreground", "--no-notify", "--state-directory-path",
                                  str(self.state / "lib/nfs")], "statd.out")
        wait_for(lambda: self.program_port(rpc.STATUS, rpc.UDP), 10)

    def _stop(self):
        for process in (self.statd, self.rpcbind):
            self._end(process)

    @staticmethod
    def _end(process):
        if process:
            process.kill()
            process.wait(5)
