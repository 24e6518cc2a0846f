#!/usr/bin/python3
"""Start and stop a private NFS-Ganesha (NFSv3) without touching the machine's own services.

As a module (tests):

    with Ganesha([Export("/var/tmp/x"), Export("/var/tmp/y", Access_Type="RO")]) as server:
        server.host, server.nfs_port, server.mnt_port

As a program (packaging/try, experiments):

    ganesha.py --export DIR[,Squash=Root_Squash,...] --run CMD ARG...   NFS_PORT etc. are set for CMD
    ganesha.py start --state DIR --export DIR [--nfs-port N] ...        prints host and ports
    ganesha.py stop  --state DIR

Ganesha 4.3 refuses to start when it cannot register with a portmapper, and always does so through
/run/rpcbind.sock. Each server therefore has an rpcbind of its own, and a mount namespace in which
/run is a private directory. With portmap=False that rpcbind lives in an empty network namespace: it
occupies no port, and any number of servers can run side by side. With portmap=True it answers on
port 111 of the server's network.
"""

import argparse
import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

try:
    from . import rpc
except ImportError:  # run as a program
    import rpc

CLONE_NEWNET = 0x40000000
# Ganesha's default, which must not be spelt out: it looks addresses up with AI_ADDRCONFIG and so
# finds none, not even 127.0.0.1, in a namespace that has only a loopback interface.
EVERYWHERE = "0.0.0.0"
START_TIMEOUT, STOP_TIMEOUT = 20, 10
# Where the VFS FSAL gets stable file handles; an overlay (a container's root) is not among them.
EXPORTABLE = {"ext2/ext3", "xfs", "btrfs", "tmpfs"}

# Runs "$@" where /run is the directory $0. The namespace starts as a copy of all mounts; FUSE ones
# are dropped from it, or a fusenfs mount made earlier would outlive its umount for as long as the
# server runs.
PRIVATE_RUN = r"""
while read -r _ _ _ _ mountpoint rest; do
    case "$rest" in *" - fuse "* | *" - fuse."*) umount -lic "$(printf %b "$mountpoint")" ;; esac
done </proc/self/mountinfo
mount --bind "$0" /run && exec "$@"
"""


class ServerFailed(Exception):
    """The server did not start, or did not stop; the message ends with its log."""


class Export:
    """One EXPORT block. Options are Ganesha's own words, e.g. Squash="Root_Squash".

    Attr_Expiration_Time=0: Ganesha asks the disk every time, so that tests may look at and change
    the exported directory directly; otherwise it believes for a minute what it has cached.
    clients maps addresses or networks to the options that differ for them:
    Export(d, Access_Type="None", clients={"127.0.0.1": {"Access_Type": "RW"}}) lets in one only.
    """

    DEFAULTS = {"Access_Type": "RW", "Squash": "No_Root_Squash", "Protocols": "3",
                "SecType": "sys", "Transports": "TCP,UDP",
                "Anonymous_Uid": 65534, "Anonymous_Gid": 65534, "Attr_Expiration_Time": 0}

    def __init__(self, path, fsal="VFS", clients=None, **options):
        self.path, self.fsal, self.clients = str(path), fsal, clients or {}
        self.options = {**self.DEFAULTS, **options}

    @classmethod
    def parse(cls, text):
        """DIR[,Option=Value...] as on the command line; fsal=MEM selects the FSAL."""
        path, *words = text.split(",")
        return cls(path, **dict(word.split("=", 1) for word in words))

    def config(self, number):
        client_blocks = [block("CLIENT", Clients=who, **options)
                         for who, options in self.clients.items()]
        return block("EXPORT", *client_blocks, block("FSAL", Name=self.fsal), Export_Id=number,
                     Path=quoted(self.path), Pseudo=quoted(f"/export{number}"), **self.options)


def block(_name, *inner, **values):
    """A block of Ganesha's configuration language."""
    lines = [f"{key} = {value};" for key, value in values.items()] + list(inner)
    return _name + " {\n" + "\n".join(lines) + "\n}"


def quoted(path):
    return f'"{path}"'


class Ganesha:
    """A server process and its rpcbind. Restarting keeps ports, exports and file handles."""

    def __init__(self, exports, state=None, netns=None, host="127.0.0.1", nfs_port=0, mnt_port=0,
                 udp="False", portmap=False, core=None, detached=False, locks=False, grace=0):
        """netns: name of a network namespace to serve in (default: ours). host: address to listen
        on, EVERYWHERE for all IPv4 and IPv6 ones. Port 0: a free one. udp: False, True or Mount.
        core: more NFS_CORE_PARAM values. detached: survive the process that starts it.
        locks: NLM and a rpc.statd; with portmap, for that is where a client asks for them.
        grace: seconds for which a restarted server lets only those in who had a lock before."""
        self.exports, self.netns, self.host, self.udp = list(exports), netns, host, str(udp)
        self.portmap, self.core, self.detached = portmap, core or {}, detached
        self.locks, self.grace = locks, grace
        self.state, self.owns_state = state and Path(state), state is None
        self.nfs_port = nfs_port or run_in_netns(netns, free_port)
        self.mnt_port = mnt_port or run_in_netns(netns, free_port)
        self.process = self.rpcbind = self.statd = None
        self.epoch = 0

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exc):
        self.close()

    @property
    def connect_host(self):
        """An address that reaches the server from within its network namespace."""
        return "127.0.0.1" if self.host == EVERYWHERE else self.host

    @property
    def pid(self):
        return self.process.pid

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        """Returns when NFS and MOUNT answer, after about 0.05 s."""
        for export in self.exports:
            check_exportable(export)
        self._prepare_state()
        if not self.rpcbind:
            self._start_rpcbind()
        if self.locks and not self.statd:
            self._start_statd()
        self.process = self._spawn(self._in_private_run(self._command()), "ganesha.out")
        self._wait_until(self._answers, START_TIMEOUT, "does not answer")
        if "config_errs_to_log" in self.log():
            raise ServerFailed("NFS-Ganesha: bad configuration\n" + self.log()[-5000:])
        return self

    def stop(self):
        """Clean shutdown; the port mappings are withdrawn."""
        if self.running:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_TIMEOUT)
        self.kill()

    def kill(self):
        """What a crash looks like: connections are reset, the port mappings stay."""
        if self.process:
            self.process.kill()
            self.process.wait(STOP_TIMEOUT)
        self.process = None

    def restart(self):
        """A reboot of the server as clients see it: a new write verifier, the same handles."""
        self.stop()
        self.start()

    def pause(self):
        """A hung server: connections stay, nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def inject(self, *faults):
        """Faults in the server's own system calls, in strace's words: "pwritev:error=EDQUOT",
        "preadv:delay_enter=100000" (microseconds). The server is slow meanwhile."""
        words = [word for fault in faults for word in ("-e", f"inject={fault}")]
        calls = ",".join(fault.split(":")[0] for fault in faults)
        argv = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", *words,
                "-p", str(self.pid)]
        tracer = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            for line in tracer.stderr:
                if b"attached" in line:
                    break
            else:
                raise ServerFailed(f"strace could not attach: {' '.join(argv)}")
            yield
        finally:
            tracer.terminate()
            tracer.communicate(timeout=STOP_TIMEOUT)

    def close(self):
        """Stops everything and forgets the state directory if it was made here."""
        self.stop()
        for helper in filter(None, (self.statd, self.rpcbind)):
            helper.kill()
            helper.wait(STOP_TIMEOUT)
        self.statd = self.rpcbind = None
        if self.owns_state and self.state:
            shutil.rmtree(self.state, ignore_errors=True)
            self.state = None

    def log(self):
        paths = (self.state / name for name in ("rpcbind.out", "statd.out", "ganesha.out", "ganesha.log"))
        return "".join(path.read_text(errors="replace") for path in paths if path.exists())

    def nfs(self, **cred):
        """An RPC client to the NFS service (inside the server's network namespace)."""
        return run_in_netns(self.netns, lambda: rpc.Nfs(self.connect_host, self.nfs_port, **cred))

    def mnt(self, path, **cred):
        """The root file handle of an export."""
        return run_in_netns(self.netns,
                            lambda: rpc.mnt(self.connect_host, self.mnt_port, str(path), **cred))

    def _prepare_state(self):
        if not self.state:
            self.state = Path(tempfile.mkdtemp(prefix="fusenfs-ganesha.", dir="/var/tmp"))
        for name in ("run/rpcbind", "recovery"):
            (self.state / name).mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o755)  # rpcbind drops root and must reach its directory
        (self.state / "ganesha.conf").write_text(self._config())

    def _command(self):
        """The write verifier is the epoch, by default the second of the start: two starts within
        one second would look like none to a client, which would then lose data."""
        self.epoch = max(int(time.time()), self.epoch + 1)
        return ["ganesha.nfsd", "-F", "-E", str(self.epoch),
                "-f", str(self.state / "ganesha.conf"), "-L", str(self.state / "ganesha.log"),
                "-p", str(self.state / "ganesha.pid")]

    def _config(self):
        core = {"NFS_Port": self.nfs_port, "MNT_Port": self.mnt_port, "Protocols": "3",
                "Enable_UDP": self.udp, "Enable_NLM": str(self.locks).lower(), "Enable_RQUOTA": "false",
                **self.core}
        if ganesha_version() >= 6:  # where root lacks CAP_SYS_RESOURCE it would not start
            core["Allow_Set_Io_Flusher_Fail"] = "true"
        if self.host != EVERYWHERE:
            core["Bind_addr"] = self.host
        blocks = [block("NFS_CORE_PARAM", **core),
                  block("NFS_KRB5", Active_krb5="false"),
                  block("NFSv4", **self._grace(), RecoveryRoot=quoted(self.state / "recovery")),
                  block("LOG", Default_Log_Level="EVENT")]
        if ganesha_version() >= 6:  # without attributes it does not notice that names have changed
            blocks.append(block("MDCACHE", Dir_Chunk=0))
        return "\n".join(blocks + [e.config(i) for i, e in enumerate(self.exports, 1)]) + "\n"

    def _grace(self):
        if not self.grace:
            return {"Graceless": "true"}
        return {"Graceless": "false", "Grace_Period": self.grace, "Lease_Lifetime": self.grace}

    def _start_rpcbind(self):
        """rpcbind in a pid namespace: it changes its user, which clears the parent-death signal,
        but dies with the namespace's first process, the shell, which has kept it."""
        sock = self.state / "run/rpcbind.sock"
        sock.unlink(missing_ok=True)
        shell = 'ip link set lo up; "$@" & wait'
        argv = ["sh", "-c", shell, "sh", "rpcbind", "-f"]
        more = ["--pid", "--fork", "--kill-child=KILL"] + ([] if self.portmap else ["--net"])
        self.rpcbind = self._spawn(self._in_private_run(argv, more), "rpcbind.out")
        self._wait_until(lambda: accepts(sock), START_TIMEOUT, "its rpcbind does not answer")

    def _start_statd(self):
        """rpc.statd, without which Ganesha grants no lock: it has its clients watched."""
        state = self.state / "statd"
        for name in ("sm", "sm.bak"):
            (state / name).mkdir(parents=True, exist_ok=True)
        argv = ["rpc.statd", "--foreground", "--no-notify", "--state-directory-path", str(state)]
        more = ["--pid", "--fork", "--kill-child=KILL"]
        self.statd = self._spawn(self._in_private_run(argv, more), "statd.out")
        self._wait_until(lambda: run_in_netns(self.netns, self._has_statd), START_TIMEOUT,
                         "its rpc.statd does not answer")

    def _has_statd(self):
        """rpcbind listens on its UNIX socket first, and refuses TCP for a while."""
        with contextlib.suppress(ConnectionRefusedError):
            return rpc.getport(self.connect_host, rpc.STATUS)
        return 0

    def _in_private_run(self, argv, more=()):
        enter = ["nsenter", f"--net=/run/netns/{self.netns}"] if self.netns else []
        unshare = ["unshare", "--mount", *more]
        return [*enter, *unshare, "sh", "-c", PRIVATE_RUN, str(self.state / "run"), *argv]

    def _spawn(self, argv, output):
        """Every word of argv execs the next: the pid is the server's. A session of its own keeps
        the terminal's ^C away; the parent-death signal still ends it with its starter."""
        death = [] if self.detached else ["setpriv", "--pdeathsig", "KILL"]
        with open(self.state / output, "ab") as out:
            return subprocess.Popen([*death, *argv], stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=out, start_new_session=True, cwd="/")

    def _answers(self):
        def both():
            return (rpc.ping(self.connect_host, self.nfs_port, rpc.NFS)
                    and rpc.ping(self.connect_host, self.mnt_port, rpc.MOUNT))
        return run_in_netns(self.netns, both)

    def _wait_until(self, ready, timeout, complaint):
        deadline = time.monotonic() + timeout
        while not ready():
            dead = [p for p in (self.process, self.rpcbind) if p and p.poll() is not None]
            if dead or time.monotonic() > deadline:
                why = f"a process exited with {dead[0].returncode}" if dead else complaint
                raise ServerFailed(f"NFS-Ganesha: {why}\n" + self.log()[-5000:])
            time.sleep(0.01)


@functools.cache
def ganesha_version():
    """Debian 12 has 4, Debian 13 has 6. Ganesha refuses words that it does not know."""
    return int(run("ganesha.nfsd", "-v").partition("= V")[2].partition(".")[0])


def udp_works():
    """Ganesha 6 (libntirpc's svc_destroy_it) shuts its UDP socket down with the first datagram it
    has answered, and from then on uses up a CPU, and the disk by its log."""
    return ganesha_version() < 6


def check_exportable(export):
    """Ganesha's own words for this are obscure."""
    if export.fsal != "VFS":
        return
    kind = run("stat", "-f", "-c", "%T", export.path)
    if kind not in EXPORTABLE:
        raise ServerFailed(f"{export.path} is on {kind}, which NFS-Ganesha cannot export: use a "
                           "directory on ext4, xfs, btrfs or tmpfs, or an Ext4Image")


def accepts(path):
    """Whether a process listens on a UNIX socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def free_port():
    """A free TCP port below the ephemeral range, so that no outgoing connection takes it before
    the server does."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = 10000 + int.from_bytes(os.urandom(4), "big") % (first - 10000)
        with socket.socket(socket.AF_INET6) as sock, contextlib.suppress(OSError):
            sock.bind(("::", port))
            return port
    raise ServerFailed("no free port")


def run_in_netns(netns, func):
    """func() in another network namespace, in a thread that ends there: sockets made by func keep
    that namespace for good."""
    if not netns:
        return func()
    outcome = {}

    def body():
        try:
            enter_netns(netns)
            outcome["result"] = func()
        except BaseException as error:  # handed to the caller's thread
            outcome["error"] = error
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["result"]


def enter_netns(netns):
    """setns() for the calling thread (os.setns needs Python 3.12)."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {netns}")
    finally:
        os.close(fd)


class Ext4Image:
    """An ext4 of a few MiB in a file, mounted: to run out of space, or to export from a machine
    whose own disk is an overlay. Mount it before the server starts (see PRIVATE_RUN)."""

    def __init__(self, directory, mib):
        self.path, self.image = Path(directory), Path(f"{directory}.img")
        self.path.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(mib << 20)
        run("mkfs.ext4", "-q", "-m", "0", self.image)
        run("mount", "-o", "loop", self.image, self.path)

    def close(self):
        run("umount", "--lazy", self.path)
        self.image.unlink()
        self.path.rmdir()


def run(*argv):
    """The output of a short command that must succeed."""
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60)
    if result.returncode:
        raise ServerFailed(f"{' '.join(map(str, argv))}: {result.stderr.strip()}")
    return result.stdout.strip()


def main():
    """Command line: see the top of this file."""
    args = parse_arguments()
    if args.command == "stop":
        return stop_detached(Path(args.state))
    server = Ganesha([Export.parse(text) for text in args.export], state=args.state,
                     netns=args.netns, host=args.host, nfs_port=args.nfs_port,
                     mnt_port=args.mnt_port, udp=args.udp, portmap=args.portmap,
                     detached=args.command == "start")
    return start_detached(server) if args.command == "start" else run_with(server, args.run)


def parse_arguments():
    parser = argparse.ArgumentParser(description="a private NFS-Ganesha (NFSv3)")
    parser.add_argument("command", nargs="?", choices=["start", "stop"])
    parser.add_argument("--export", action="append", metavar="DIR[,OPTION=VALUE...]", default=[])
    parser.add_argument("--state", metavar="DIR", help="configuration, logs and pids")
    parser.add_argument("--netns", help="serve in this network namespace")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on [%(default)s]")
    parser.add_argument("--nfs-port", type=int, default=0, metavar="N", help="[a free one]")
    parser.add_argument("--mnt-port", type=int, default=0, metavar="N", help="[a free one]")
    parser.add_argument("--udp", choices=["False", "True", "Mount"], default="False")
    parser.add_argument("--portmap", action="store_true", help="answer on port 111 as well")
    parser.add_argument("--run", nargs=argparse.REMAINDER, metavar="CMD",
                        help="serve while it runs")
    args = parser.parse_args()
    if args.command and not args.state:
        parser.error("start and stop need --state")
    if args.command != "stop" and not args.export:
        parser.error("--export is missing")
    if not args.command and not args.run:
        parser.error("nothing to do: start, stop or --run")
    return args


def run_with(server, argv):
    """Serves while a command runs; returns the command's exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with server:
        return subprocess.run(argv, env={**os.environ, **describe(server)}).returncode


def describe(server):
    """What a shell script needs to know about a server."""
    return {"NFS_HOST": server.connect_host, "NFS_PORT": str(server.nfs_port),
            "MOUNT_PORT": str(server.mnt_port)}


def start_detached(server):
    try:
        server.start()
    except BaseException:
        server.close()
        raise
    pids = {"ganesha": server.process.pid, "rpcbind": server.rpcbind.pid}
    (server.state / "pids.json").write_text(json.dumps(pids))
    print("".join(f"{key}={value}\n" for key, value in describe(server).items()), end="")
    return 0


def stop_detached(state):
    """Ends what start_detached() left running. No pid is trusted unless its command line names
    this state directory: pids are reused."""
    pids = json.loads((state / "pids.json").read_text())
    for name, first in (("ganesha", signal.SIGTERM), ("rpcbind", signal.SIGKILL)):
        end_process(pids[name], str(state), first)
    (state / "pids.json").unlink()
    return 0


def end_process(pid, mark, first):
    for sig in (first, signal.SIGKILL):
        deadline = time.monotonic() + STOP_TIMEOUT
        while names(pid, mark) and time.monotonic() < deadline:
            os.kill(pid, sig)
            time.sleep(0.02)


def names(pid, mark):
    """Whether process pid lives and has `mark` in its command line."""
    try:
        return mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ServerFailed as failure:
        sys.exit(f"ganesha.py: {failure}")
