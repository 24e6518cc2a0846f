"""What fusenfs does before and after there is a mount: every way in which mounting fails, told by
exit status, message and time; becoming a daemon; unmounting.

A failed mount leaves nothing mounted and no process. The promise on time: 10 s for one attempt in
all, at once where an answer was had."""

import contextlib
import errno
import os
import re
import shlex
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections import namedtuple
from pathlib import Path

import pytest

from lab import rpc
from lab.ganesha import EVERYWHERE, Export, Ganesha
from lab.mount import SANITIZER, mount_device
from lab.procs import CommandFailed, as_user, kernel_stack, run_bounded, wait_for
from lab.proxy import Accepted, Drop, PacketFilter, Proxy, accepted, close, framed
from support import create, errno_of, fails, opened, pattern, read

TOP = Path(__file__).resolve().parent.parent
PROGRAM = os.environ.get("FUSENFS", str(TOP / "build/fusenfs"))
USER = 1000
AT_ONCE, ATTEMPT = 2, 12  # seconds: no waiting involved; mounttimeo and a slow machine's margin
UMOUNTTIMEO = 5
CLOSED_PORT = 1
USER_DEVICE = "mknod -m 666 {0}/fuse c 10 229; mount --bind {0}/fuse /dev/fuse"
MARK = "FUSENFS_TEST_MARK"

Result = namedtuple("Result", "status output seconds")


class Attempts:
    """fusenfs as a user calls it, from a short directory of its own: argv of the program, its
    output, and what is left of it, which is found by a mark in the environment."""

    def __init__(self, server, directory):
        self.server, self.directory = server, directory
        self.mnt = directory / "m"
        self.mnt.mkdir()
        self.source = f"127.0.0.1:{server.rw}"
        self.ports = f"port={server.nfs_port},mountport={server.mnt_port}"
        self.mark = uuid.uuid4().hex
        self.env = {**os.environ, MARK: self.mark}

    def argv(self, *words, user=None, namespace=None):
        """namespace: a shell script to run as root before, in a mount namespace of its own."""
        words = [PROGRAM, *words]
        if user is not None:
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *words]
        if namespace is None:
            return ["setpriv", "--pdeathsig", "KILL", *map(str, words)]
        script = f'set -e\n{namespace}\nset +e; "$@"; status=$?\n' \
                 f'sed -n "s|.* {self.mnt} .*|LEFT: &|p" /proc/self/mountinfo; exit $status'
        return ["unshare", "--mount", "sh", "-c", script, "sh", *map(str, words)]

    def run(self, *words, timeout=30, **how):
        """One run of the program, until it and everybody it gave its output to have ended."""
        start = time.monotonic()
        result = run_bounded(self.argv(*words, **how), timeout, check=False, env=self.env)
        return Result(result.returncode, result.stdout, time.monotonic() - start)

    def mount(self, options="", source=None, mnt=None, ports=True, words=(), **how):
        """fusenfs SOURCE MNT -o ports,options"""
        options = ",".join([self.ports] * ports + [options] * bool(options))
        return self.run(source or self.source, mnt or self.mnt, *words,
                        *(["-o", options] if options else []), **how)

    def fails(self, status, name, *args, within=AT_ONCE, mounted=False, **how):
        """A mount that must fail, with this status and message, within seconds; returns its text."""
        return self.judge(self.mount(*args, **how), status, name, within, mounted)

    def judge(self, result, status, name, within=AT_ONCE, mounted=False):
        first, *others = result.output.splitlines() or [""]
        assert re.search(rf"\[{name}\]$", first), result.output
        assert result.status == status, result
        assert first.startswith("fusenfs: "), first
        assert len(self.usual(first)) < 120, f"{len(self.usual(first))} columns: {first}"
        assert all(re.match(r"  (why|try): \S", line) for line in others), result.output
        assert sum(line.startswith("  try:") for line in others) <= 2, result.output
        assert not SANITIZER.search(result.output), result.output
        assert result.seconds < within, f"{result.seconds:.1f} s\n{result.output}"
        assert self.mounted == mounted
        if not mounted:
            wait_for(lambda: not self.processes(), 1, f"the end of processes: {self.processes()}")
        return result.output

    def usual(self, line):
        """A line with paths and names as long as they usually are."""
        for path in (self.mnt, self.directory):
            line = line.replace(str(path), "/mnt")
        return line.replace(str(self.server.rw), "/data").replace("127.0.0.1", "nas1")

    @property
    def mounted(self):
        return mount_device(self.mnt) is not None

    def processes(self):
        """Pids of all that this object has started and that still run."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def daemon(self):
        pids = self.processes()
        assert len(pids) == 1, [kernel_stack(pid) for pid in pids]
        return pids[0]

    def umount(self):
        run_bounded(["umount", self.mnt], 15)
        self.wait_gone()

    def wait_gone(self, timeout=10):
        wait_for(lambda: not self.processes(), timeout, "the end of the daemon")

    def close(self):
        """Whatever a failed test has left."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if line.split()[4].startswith(f"{self.directory}/"):
                subprocess.run(["umount", "-l", line.split()[4]], check=False)
        subprocess.run(["rm", "-rf", "--one-file-system", self.directory], check=False)


@pytest.fixture
def attempts(server):
    directory = Path(tempfile.mkdtemp(prefix="e.", dir="/var/tmp"))
    directory.chmod(0o755)
    made = Attempts(server, directory)
    yield made
    made.close()


# --- the command line: exit 1, before anything is sent


@pytest.mark.parametrize("source, text", [
    ("nas1", "'nas1' is not SERVER:/PATH"), ("nas1/data", "'nas1/data'"), (":/data", "':/data'"),
    ("nas1:data", "'nas1:data'"), ("[::1]", "'[::1]'"), ("nfs://", "'nfs://'")])
def test_bad_source(attempts, source, text):
    assert text in attempts.fails(1, "bad-source", source=source)


def test_swapped_words(attempts):
    """Source and mount point exchanged: the message shows the right order."""
    said = attempts.judge(attempts.run(attempts.mnt, "nas1:/data"), 1, "bad-source")
    assert f"try: fusenfs nas1:/data {attempts.mnt}" in said


@pytest.mark.parametrize("word, meant", [
    ("nconect=4", "nconnect"), ("retans=2", "retrans"), ("softer", "softer"), ("acregmn=1", "acregmin")])
def test_unknown_option(attempts, word, meant):
    said = attempts.fails(1, "unknown-option", word, source="192.0.2.1:/x")
    assert f"unknown option '{word.partition('=')[0]}'" in said
    assert re.search(f"did you mean.*{meant}", said)


def test_nothing_like_that_option(attempts):
    assert "did you mean" not in attempts.fails(1, "unknown-option", "zzzzzzzzzzzz")


def test_sloppy(attempts):
    """-o sloppy: an unknown option is a warning, and the mount is made."""
    result = attempts.mount("sloppy,nconect=4")
    assert result.status == 0 and "nconect" in result.output and attempts.mounted
    attempts.umount()


@pytest.mark.parametrize("word, text", [
    ("nconnect=0", "nconnect=0 is out of range (1 to 64)"), ("nconnect=65", "1 to 64"),
    ("nconnect=four", "nconnect=four"), ("nconnect", "nconnect"), ("nconnect=", "nconnect"),
    ("timeo=0", "timeo=0"), ("timeo=-1", "timeo=-1"), ("port=65536", "0 to 65535"),
    ("retrans=99999999999999999999", "retrans"), ("rsize=1X", "rsize=1X"),
    ("lookupcache=some", "all"), ("family=5", "family=5"), ("ro=1", "ro")])
def test_bad_value(attempts, word, text):
    assert text in attempts.fails(1, "bad-value", word)


@pytest.mark.parametrize("options, texts", [
    ("minconnect=8,nconnect=4", ["minconnect=8", "nconnect=4"]),
    ("mdconnect=2,nconnect=2", ["mdconnect=2", "nconnect=2"]),
    ("family=4,proto=tcp6", ["family=4", "proto=tcp6"]),
    ("perm=server,default_permissions", ["perm=server", "default_permissions"])])
def test_conflict(attempts, options, texts):
    said = attempts.fails(1, "option-conflict", options)
    assert all(text in said.splitlines()[0] for text in texts)


def test_port_conflict(attempts):
    said = attempts.fails(1, "option-conflict", "port=2050", source="nfs://nas1:2049/data",
                          ports=False)
    assert "2049" in said and "2050" in said


@pytest.mark.parametrize("word", ["sec=krb5", "sec=krb5i", "sec=krb5p", "xprtsec=tls", "xprtsec=mtls"])
def test_security_is_never_ignored(attempts, word):
    assert f"{word} is not supported" in attempts.fails(1, "unsupported-security", word)


@pytest.mark.parametrize("word", ["proto=rdma", "rdma", "udp,rdma"])
def test_transport(attempts, word):
    attempts.fails(1, "unsupported-transport", word)


@pytest.mark.parametrize("word", ["vers=4", "nfsvers=4.2", "v4.1", "vers=2"])
def test_version(attempts, word):
    assert attempts.fails(32, "version-unsupported", word)


@pytest.mark.parametrize("words", [[], ["nas1:/data"], ["nas1:/data", "/mnt", "more"], ["-x"],
                                   ["nas1:/data", "/mnt", "-o"], ["--nothing"]])
def test_usage(attempts, words):
    result = attempts.run(*words)
    assert result.status == 1 and result.output.startswith("fusenfs: ")
    assert result.seconds < AT_ONCE


def test_ignored_option(attempts):
    """An option of the kernel client that means nothing here: one warning, and the mount is made."""
    result = attempts.mount("fsc")
    assert result.status == 0 and attempts.mounted
    assert result.output.count("[option-ignored]") == 1
    attempts.umount()


@pytest.mark.parametrize("words, text", [
    (["-h"], "Usage:"), (["--help"], "Usage:"), (["help"], "Usage:"), (["-V"], "fusenfs 0."),
    (["--version"], "fusenfs 0."), (["help", "options"], "nconnect=N")])
def test_help(attempts, words, text):
    """Help is asked for: stdout, status 0."""
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")
    assert text in done.stdout


def test_quiet(attempts):
    """-q: an error is one line, success none."""
    assert attempts.mount(words=["-q"], mnt="/nowhere/at/all").output.count("\n") == 1
    assert attempts.mount(words=["-q"]).output == ""
    attempts.umount()


# --- names and networks


def test_unresolvable(attempts):
    script = "echo 'hosts: files' >{0}/nss; mount --bind {0}/nss /etc/nsswitch.conf"
    said = attempts.fails(32, "dns-failed", source="no-such-host:/x",
                          namespace=script.format(attempts.directory))
    assert "cannot resolve 'no-such-host'" in said and "LEFT" not in said


def test_silent_name_server(attempts):
    """A name server that does not answer: the limit is ours, not the resolver's 30 s."""
    script = """echo 'hosts: dns' >{0}/nss; mount --bind {0}/nss /etc/nsswitch.conf
                echo 'nameserver 127.0.0.3\noptions timeout:30' >{0}/resolv
                mount --bind {0}/resolv /etc/resolv.conf"""
    with socket.socket(type=socket.SOCK_DGRAM) as name_server:
        name_server.bind(("127.0.0.3", 53))
        attempts.fails(32, "dns-timeout", source="nas1:/x", within=ATTEMPT,
                       namespace=script.format(attempts.directory))


def test_names_from_hosts(attempts):
    """A name of /etc/hosts works; mount shows it as typed."""
    script = "echo '127.0.0.1 nas1' >{0}/hosts; mount --bind {0}/hosts /etc/hosts"
    source = f"nas1:{attempts.server.rw}"
    result = attempts.mount(source=source, namespace=script.format(attempts.directory) +
                            "; trap 'umount {}' EXIT".format(attempts.mnt))
    assert result.status == 0 and f"- fuse.fusenfs {source} " in result.output, result.output
    attempts.wait_gone()


@pytest.mark.parametrize("words", [[], ["-f"]], ids=["daemon", "foreground"])
def test_refused(attempts, words):
    said = attempts.fails(32, "conn-refused", f"port={CLOSED_PORT},mountport=2", ports=False,
                          source="127.0.0.2:/x", words=words)
    assert f"127.0.0.2 refused port {CLOSED_PORT}" in said


def test_no_route(attempts):
    """The test's network has a loopback interface only."""
    said = attempts.fails(32, "net-unreachable", source="192.0.2.1:/x")
    assert "no route to 192.0.2.1" in said


@pytest.mark.parametrize("words", [[], ["-f"]], ids=["daemon", "foreground"])
def test_dropped_packets(attempts, words):
    with PacketFilter() as packets:
        packets.drop(f"tcp dport {attempts.server.nfs_port}")
        said = attempts.fails(32, "conn-timeout", words=words, within=ATTEMPT)
    assert f"port {attempts.server.nfs_port} did not answer within" in said


def test_dropped_packets_everywhere(attempts):
    """No port given, portmapper and NFS silent: still one attempt's time."""
    with PacketFilter() as packets:
        packets.drop("ip daddr 127.0.0.1")
        result = attempts.mount(ports=False)
    attempts.judge(result, 32, "(conn|mount)-timeout", ATTEMPT)


def test_mounttimeo(attempts):
    """mounttimeo= bounds the attempt as a whole."""
    with PacketFilter() as packets:
        packets.drop(f"tcp dport {attempts.server.nfs_port}")
        attempts.fails(32, "(conn|mount)-timeout", "mounttimeo=2", within=4)


def test_mountd_silent(attempts):
    with PacketFilter() as packets:
        packets.drop(f"meta l4proto {{ tcp, udp }} th dport {attempts.server.mnt_port}")
        said = attempts.fails(32, "conn-timeout", within=ATTEMPT)
    assert str(attempts.server.mnt_port) in said.splitlines()[0]


def test_mountd_refused(attempts):
    port = attempts.server.nfs_port
    said = attempts.fails(32, "conn-refused", f"port={port},mountport={CLOSED_PORT}", ports=False)
    assert f"refused port {CLOSED_PORT}" in said


def test_portmapper_refused(attempts):
    """A firewall that lets only 2049 through: what to give instead is said."""
    with PacketFilter() as packets:
        packets.reset("tcp dport 111")
        packets.reject("udp dport 111")
        said = attempts.fails(32, "rpcbind-refused", ports=False, within=ATTEMPT)
    assert "mountport=" in said


def test_paused_server(attempts):
    """A server that hangs accepts connections, and says nothing."""
    attempts.server.pause()
    try:
        attempts.fails(32, "conn-timeout|mount-timeout", within=ATTEMPT)
    finally:
        attempts.server.resume()


# A server that is down, in each way in which one can be, at each stage.

STAGES = {"nfs": 2049, "mountd": 20048, "rpcbind": 111}
DOWN_WAYS = {
    "refused": lambda packets, port: (packets.reset(f"tcp dport {port}"),
                                      packets.reject(f"udp dport {port}")),
    "dropped": lambda packets, port: packets.drop(f"meta l4proto {{ tcp, udp }} th dport {port}"),
    # answers are lost, that nobody listens among them: connections are never made
    "deaf": lambda packets, port: (
        packets.drop(f"meta l4proto {{ tcp, udp }} th sport {port}"),
        packets.drop("icmp type destination-unreachable")),
    # connections are made and data is lost, as with a path that loses large packets
    "mute": lambda packets, port: (
        packets.drop(f"udp sport {port}"),
        packets.drop(f"tcp sport {port} tcp flags & (syn | psh) == psh"))}


@pytest.mark.parametrize("ports", [True, False], ids=["ports", "portmapper"])
@pytest.mark.parametrize("way", DOWN_WAYS)
@pytest.mark.parametrize("stage", STAGES)
def test_down(attempts, stage, way, ports):
    """Status 32 within mounttimeo (at once where it is refused), cause and remedy. A port that was given
    needs no portmapper, and without one the NFS port is guessed."""
    if stage == "rpcbind" and ports:
        pytest.skip("the portmapper is not asked")
    port = STAGES[stage]
    with PacketFilter() as packets:
        DOWN_WAYS[way](packets, port)
        result = attempts.mount(ports=ports)
    print(f"{stage} {way} {'ports given' if ports else 'no ports'}: {result.seconds:.1f} s\n"
          f"{result.output}")
    name = {"refused": "conn-refused", "rpcbind": "rpcbind-refused"}.get(
        stage if stage == "rpcbind" else way, "(conn|mount)-timeout")
    said = attempts.judge(result, 32, name, AT_ONCE if way == "refused" else ATTEMPT)
    assert "why:" in said and "try:" in said
    assert str(port) in said or "mount-timeout" in said


def is_stopped(pid):
    """Every thread: SIGSTOP takes a moment, in which a server may still answer."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


@pytest.mark.parametrize("ports", [True, False], ids=["ports", "portmapper"])
@pytest.mark.parametrize("who", ["server", "rpcbind"])
def test_stopped(attempts, who, ports):
    """SIGSTOP: the kernel takes connections, nobody reads them."""
    if who == "rpcbind" and ports:
        pytest.skip("the portmapper is not asked")
    server = attempts.server
    pids = [server.pid] if who == "server" else descendants(server.rpcbind.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: all(is_stopped(pid) for pid in pids), 5, "the last of its threads")
    try:
        result = attempts.mount(ports=ports)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    print(f"{who} stopped {'ports given' if ports else 'no ports'}: {result.seconds:.1f} s\n"
          f"{result.output}")
    name = "(conn|mount)-timeout" if who == "server" else "rpcbind-refused"
    said = attempts.judge(result, 32, name, ATTEMPT)
    assert "why:" in said and "try:" in said


def descendants(pid):
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid] + [p for child in children for p in descendants(int(child))]


@pytest.mark.parametrize("procedure", ["FSINFO", "GETATTR"])
def test_silent_after_mountd(attempts, procedure):
    """mountd has answered, NFS does, and then it does not."""
    with Proxy(attempts.server) as proxy:
        proxy.on(procedure, Drop())
        result = attempts.mount(ports=False,
                                options=f"port={proxy.nfs_port},mountport={proxy.mnt_port}")
    said = attempts.judge(result, 32, "root-failed", ATTEMPT)
    assert procedure in said and "did not answer" in said and "try:" in said


@pytest.mark.parametrize("way", DOWN_WAYS)
def test_name_server_down(attempts, way):
    """A name that has to be looked up, and the name server is down."""
    script = """echo 'hosts: dns' >{0}/nss; mount --bind {0}/nss /etc/nsswitch.conf
                echo 'nameserver 127.0.0.3' >{0}/resolv; mount --bind {0}/resolv /etc/resolv.conf"""
    with PacketFilter() as packets:
        DOWN_WAYS[way](packets, 53)
        result = attempts.mount(source="nas1:/x", namespace=script.format(attempts.directory))
    print(f"dns {way}: {result.seconds:.1f} s\n{result.output}")
    said = attempts.judge(result, 32, "dns-(failed|timeout)", ATTEMPT)
    assert "nas1" in said and "try:" in said


@contextlib.contextmanager
def listener(greeting):
    """A TCP port that says these bytes to everybody; None: accepts and is silent; b"": closes."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        def serve():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = sock.accept()
                    with client:
                        client.sendall(greeting)
                        client.recv(4096)
        if greeting is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield sock.getsockname()[1]
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("greeting", [
    b"SSH-2.0-OpenSSH_9.2p1\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", b"\x00" * 64,
    b"\x80\x00\x00\x08garbage!"], ids=["SSH", "HTTP", "closes", "zeros", "record"])
def test_not_nfs(attempts, greeting):
    with listener(greeting) as port:
        said = attempts.fails(32, "not-nfs", f"port={port},mountport=1", ports=False, within=ATTEMPT)
    assert f"port {port}" in said
    if greeting[:3] == b"SSH":
        assert "SSH-2.0" in said


def test_silent_port(attempts):
    with listener(None) as port:
        said = attempts.fails(32, "conn-timeout", f"port={port},mountport=1", ports=False,
                              within=ATTEMPT)
    assert "NULL" in said and f"port {port}" in said, "the connection was made, no answer came"


def test_server_without_nfs3(attempts):
    """The server's NFS has other versions only: they are told."""
    with Proxy(attempts.server) as proxy:
        proxy.on(None, Accepted("PROG_MISMATCH", 4, 4))
        said = attempts.fails(32, "version-unsupported", ports=False,
                              options=f"port={proxy.nfs_port},mountport={proxy.mnt_port}")
    assert "does not offer NFSv3" in said and "4" in said


# --- exports


def test_export_not_found(attempts):
    said = attempts.fails(32, "export-not-found", source="127.0.0.1:/dta")
    assert "127.0.0.1 does not export '/dta'" in said
    assert str(attempts.server.rw) in said and str(attempts.server.ro) in said


def test_export_misspelt(attempts):
    """The nearest export is offered as a command to paste."""
    said = attempts.fails(32, "export-not-found", source=f"{attempts.source}x")
    assert f"try: fusenfs {attempts.source} {attempts.mnt}" in said


class Mountd:
    """A mount service that answers MNT with one status (None: not a whole one) and what follows it, and EXPORT with a
    list as rpc.exports() returns it. (Ganesha lists only what the asking host may mount.)"""

    def __init__(self, status, exports, more=b""):
        self.answer, self.exports = b"" if status is None else rpc.u32(status) + more, exports
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        close(self.sock, "fin")

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.sock.accept()
                threading.Thread(target=self._answer, args=[client], daemon=True).start()

    def _answer(self, client):
        with client, contextlib.suppress(OSError):
            while mark := client.recv(4, socket.MSG_WAITALL):
                call = client.recv(rpc.Reader(mark).u32() & 0x7FFFFFFF, socket.MSG_WAITALL)
                xid, *_, procedure = rpc.Reader(call).take("6I")
                results = {1: self.answer, 5: self._list()}.get(procedure, b"")
                client.sendall(framed(rpc.u32(xid) + rpc.u32(1) + accepted(0, results)))

    def _list(self):
        def linked(items):
            return b"".join(rpc.u32(1) + item for item in items) + rpc.u32(0)
        return linked(rpc.opaque(path) + linked(map(rpc.opaque, groups))
                      for path, groups in self.exports.items())


MNT3ERR_NOENT, MNT3ERR_ACCES = 2, 13


@pytest.mark.parametrize("status, name, text", [
    (MNT3ERR_ACCES, "access-denied-client", "does not allow this host (127.0.0.1) for '/data'"),
    (MNT3ERR_NOENT, "export-not-found", "does not export '/data'")])
def test_access_denied(attempts, status, name, text):
    """An export that is there, but not for this host, is told from one that is not; its clients are
    named."""
    listed = {"/data": ["10.0.0.0/24", "nas2"], "/home": []}
    if name == "export-not-found":
        listed.pop("/data")
    with Mountd(status, listed) as mountd:
        options = f"port={attempts.server.nfs_port},mountport={mountd.port},mountproto=tcp"
        said = attempts.fails(32, name, options, ports=False, source="127.0.0.1:/data")
        if name == "access-denied-client":
            assert "10.0.0.0/24" in said
            said = attempts.fails(32, "access-denied-port", f"{options},noresvport", ports=False,
                                  source="127.0.0.1:/data")
            assert "source port" in said
        else:
            assert text in said and "/home" in said


def test_not_even_listed(attempts, server):
    """Ganesha lists only what this host may mount: what it refuses does not exist for us."""
    options = {"clients": {"127.0.0.9": {"Access_Type": "RW"}}, "Access_Type": "None"}
    with Ganesha([Export(server.rw, **options)], host=EVERYWHERE) as other:
        ports = f"port={other.nfs_port},mountport={other.mnt_port}"
        attempts.fails(32, "export-not-found", ports, ports=False)


def test_calls_denied(attempts, server):
    """MNT is allowed, the calls from this port are not (PrivilegedPort, the server's 'secure')."""
    with Ganesha([Export(server.rw, PrivilegedPort="true")], host=EVERYWHERE) as other:
        ports = f"port={other.nfs_port},mountport={other.mnt_port}"
        said = attempts.fails(32, "access-denied-port", f"{ports},noresvport", ports=False,
                              within=ATTEMPT)
        assert "source port" in said
        assert attempts.mount(f"{ports}", ports=False).status == 0
        attempts.umount()


def test_squashed_root(attempts, server):
    """A root directory that the squashed root may not use."""
    server.squash.chmod(0o700)
    os.chown(server.squash, USER, USER)
    result = attempts.mount(source=f"127.0.0.1:{server.squash}")
    if result.status == 0:  # the kernel client mounts it, and lets its owner in
        attempts.umount()
    else:
        attempts.judge(result, 32, "access-denied-root")


def test_export_of_a_file(attempts, server):
    (server.rw / "f").write_text("x")
    attempts.fails(32, "export-not-dir|access-denied-client", source=f"{attempts.source}/f")


def test_directory_in_an_export(attempts, server):
    """A directory below an export can be mounted."""
    (server.rw / "d").mkdir()
    (server.rw / "d/f").write_text("x")
    result = attempts.mount(source=f"{attempts.source}/d")
    assert result.status == 0, result.output
    assert os.listdir(attempts.mnt) == ["f"]
    attempts.umount()


# --- the mount point


def test_missing_mountpoint(attempts):
    missing = attempts.directory / "no/such"
    said = attempts.fails(32, "mountpoint-missing", mnt=missing)
    assert f"{missing} does not exist" in said and f"try: mkdir -p {missing}" in said


@pytest.mark.parametrize("make, text", [
    (Path.touch, "is a regular file"), (os.mkfifo, "is a named pipe"),
    (lambda path: path.symlink_to("/etc/passwd"), "is a regular file")], ids=["file", "fifo", "link"])
def test_not_a_directory(attempts, make, text):
    path = attempts.directory / "x"
    make(path)
    assert text in attempts.fails(32, "mountpoint-not-dir", mnt=path)
    assert "x" in attempts.fails(32, "mountpoint-not-dir", mnt=path / "y")


def test_symlink_to_a_directory(attempts):
    """The mount is where the link leads."""
    (attempts.directory / "link").symlink_to("m")
    result = attempts.mount(mnt=attempts.directory / "link")
    assert result.status == 0 and attempts.mounted
    attempts.umount()


def test_relative_mountpoint(attempts):
    """The daemon changes its directory; the path means what it meant where it was typed."""
    argv = attempts.argv(attempts.source, "m", "-o", attempts.ports)
    done = run_bounded(argv, env=attempts.env, cwd=attempts.directory)
    assert done.returncode == 0 and attempts.mounted
    attempts.umount()


def test_not_empty(attempts):
    for name in "abc":
        (attempts.mnt / name).touch()
    said = attempts.fails(32, "mountpoint-not-empty")
    assert "3 entries" in said and "-o nonempty" in said
    assert attempts.mount("nonempty").status == 0
    assert os.listdir(attempts.mnt) == []
    attempts.umount()
    assert sorted(os.listdir(attempts.mnt)) == list("abc")


def test_another_mount(attempts):
    run_bounded(["mount", "-t", "tmpfs", "tmpfs", attempts.mnt])
    said = attempts.fails(32, "mountpoint-busy")
    assert "is the mount point of tmpfs" in said and "-o overmount" in said
    assert attempts.mount("overmount").status == 0 and attempts.mounted
    attempts.umount()


def test_already_mounted(attempts):
    assert attempts.mount().status == 0
    attempts.fails(32, "already-mounted", mounted=True)
    attempts.daemon()
    attempts.umount()


def test_already_mounted_and_hung(attempts):
    """The daemon there is stopped: whoever looks at it would hang."""
    assert attempts.mount().status == 0
    daemon = attempts.daemon()
    os.kill(daemon, signal.SIGSTOP)
    try:
        attempts.fails(32, "already-mounted", mounted=True, within=5)
    finally:
        os.kill(daemon, signal.SIGCONT)
    attempts.umount()


@pytest.mark.parametrize("layers", [1, 3])
def test_dead_mount(attempts, layers):
    """What a killed daemon has left is taken away, and the mount is made."""
    for i in range(layers):
        assert attempts.mount("overmount" if i else "").status == 0
    for pid in attempts.processes():
        os.kill(pid, signal.SIGKILL)
    attempts.wait_gone()
    wait_for(lambda: errno_of(os.stat, attempts.mnt / "x") == errno.ENOTCONN, 5, "its death")
    result = attempts.mount()
    assert result.status == 0
    assert re.search(r"found a dead fusenfs mount .* \[stale-mount\]$", result.output, re.MULTILINE)
    create(attempts.mnt / "f", b"x")
    attempts.umount()
    assert mount_device(attempts.mnt) is None


def test_long_and_odd_mountpoint(attempts):
    """Blanks, quotes, newlines and 200 bytes: what /proc/mounts and shells spell otherwise."""
    for name in ("with blank", "quo'te\"s", "new\nline", "back\\slash", "comma,equals=", "x" * 200):
        path = attempts.directory / name
        path.mkdir()
        assert attempts.mount(mnt=path).status == 0
        assert os.statvfs(path).f_fsid != os.statvfs(attempts.directory).f_fsid
        assert os.path.ismount(path)
        run_bounded(["umount", path])
        attempts.wait_gone()


# --- FUSE and privilege


def test_no_device(attempts):
    said = attempts.fails(2, "fuse-missing", namespace="mount -t tmpfs tmpfs /dev")
    assert "/dev/fuse does not exist" in said and "LEFT" not in said


def test_device_denied(attempts):
    """The machine's /dev/fuse is root's, or is made so."""
    script = "mknod -m 600 {0}/fuse c 10 229; mount --bind {0}/fuse /dev/fuse"
    os.chown(attempts.mnt, USER, USER)
    said = attempts.fails(1, "fuse-denied", user=USER, namespace=script.format(attempts.directory))
    assert "no permission to open /dev/fuse" in said and "0600" in said


def test_not_a_device(attempts):
    script = "touch {0}/fuse; mount --bind {0}/fuse /dev/fuse"
    attempts.fails(2, "fuse-missing", namespace=script.format(attempts.directory))


def user_namespace(attempts, more=""):
    """A script for a mount namespace in which every user may open /dev/fuse."""
    os.chown(attempts.mnt, USER, USER)
    return USER_DEVICE.format(attempts.directory) + "\n" + more.format(attempts.directory)


def test_allow_other_denied(attempts):
    script = user_namespace(attempts, "echo >{0}/conf; mount --bind {0}/conf /etc/fuse.conf")
    said = attempts.fails(1, "allow-other-denied", "allow_other", user=USER, namespace=script)
    assert f"allow_other is not permitted for user {USER}" in said and "user_allow_other" in said


def test_no_fusermount(attempts):
    script = user_namespace(attempts, "mount --bind /dev/null /usr/bin/fusermount3")
    attempts.fails(2, "fusermount-missing", user=USER, namespace=script)


def test_mountpoint_of_another_user(attempts):
    script = user_namespace(attempts)
    os.chown(attempts.mnt, 0, 0)
    said = attempts.fails(1, "mountpoint-denied", user=USER, namespace=script)
    assert f"user {USER} may not mount on" in said


def test_root_without_privilege(attempts):
    """Root in a container: uid 0 without CAP_SYS_ADMIN."""
    words = attempts.argv(attempts.source, attempts.mnt, "-o", attempts.ports)
    start = time.monotonic()
    done = run_bounded(["setpriv", "--bounding-set=-sys_admin", *words], check=False,
                       env=attempts.env)
    attempts.judge(Result(done.returncode, done.stdout, time.monotonic() - start), 1, "no-sys-admin")


USER_SESSION = r"""
"$@" || exit
ls "$MNT" && echo hello >"$MNT/f" && stat -c 'owner %u' "$MNT/f" && cat "$MNT/f"
grep "$MNT" /proc/mounts
fusermount3 -u "$MNT"; echo "unmount $?"
"""


def user_session(attempts, options="", more="", then=""):
    """Mounts as an unprivileged user, works there, unmounts: the output."""
    os.chown(attempts.server.rw, USER, USER)
    (attempts.server.rw / "listed").touch()
    options = ",".join([attempts.ports] + [options] * bool(options))
    words = [PROGRAM, attempts.source, str(attempts.mnt), "-o", options]
    session = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
               "sh", "-c", USER_SESSION.replace("grep", f"{then}\ngrep", 1), "sh", *words]
    script = user_namespace(attempts, more)
    done = run_bounded(["unshare", "--mount", "sh", "-ec", f'{script}\nexec "$@"', "sh", *session],
                       30, check=False, env={**attempts.env, "MNT": str(attempts.mnt)})
    attempts.wait_gone()
    return done.stdout


def test_unprivileged_mount(attempts):
    """A user mounts with fusermount3, works as himself, and unmounts: no root anywhere."""
    said = user_session(attempts)
    for line in ("listed", f"owner {USER}", "hello", "unmount 0"):
        assert line in said.splitlines(), said
    assert " fuse.fusenfs " in said and f"user_id={USER}" in said and "allow_other" not in said
    assert (attempts.server.rw / "f").read_text() == "hello\n"
    assert (attempts.server.rw / "f").stat().st_uid == USER


def test_user_allow_other(attempts):
    """With user_allow_other in /etc/fuse.conf a user may let others in."""
    said = user_session(attempts, "allow_other", "echo user_allow_other >{0}/conf\n"
                                                 "mount --bind {0}/conf /etc/fuse.conf")
    assert "allow_other" in said and "unmount 0" in said, said


def test_read_only(mount):
    """-o ro: the kernel refuses every change, of data and of names."""
    m = mount(options="ro")
    create(m.server_path / "f", b"content")
    assert read(m.path / "f") == b"content"
    for func, *args in ((os.open, m.path / "f", os.O_WRONLY), (os.mkdir, m.path / "d"),
                        (os.unlink, m.path / "f"), (os.chmod, m.path / "f", 0o600),
                        (os.truncate, m.path / "f", 0), (os.rename, m.path / "f", m.path / "g")):
        with fails(errno.EROFS):
            func(*args)
    assert os.listdir(m.server_path) == ["f"]


# --- as a daemon


def test_daemon(attempts):
    """Without -f: status 0 when the mount is usable, one line, and the daemon holds nothing of the
    caller's: neither terminal, nor directory, nor process group."""
    (attempts.server.rw / "f").write_text("x")
    result = attempts.mount("nconnect=4")
    assert os.listdir(attempts.mnt) == ["f"]
    assert result.status == 0
    assert re.fullmatch(rf"{re.escape(attempts.source)} mounted on {attempts.mnt} "
                        rf"\(NFSv3, 4 connections.*\)\n", result.output)
    assert result.seconds < AT_ONCE
    pid = attempts.daemon()
    assert os.getsid(pid) == pid != os.getsid(0) and os.getpgid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {"/dev/null"}
    attempts.umount()
    assert not attempts.mounted


def test_daemon_mounts_often(attempts):
    """Thirty times, ls at once: status 0 is never early, and umount ends the daemon."""
    (attempts.server.rw / "f").write_text("x")
    for _ in range(30):
        assert attempts.mount("nconnect=2").status == 0
        assert os.listdir(attempts.mnt) == ["f"]
        attempts.umount()
        assert os.listdir(attempts.mnt) == []


def test_descriptors_are_not_inherited(attempts):
    """fusermount3 and other children get no descriptor of the daemon's; it gets no more of ours than
    it was given."""
    assert attempts.mount().status == 0
    pid = attempts.daemon()

    def pipes():
        names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        return [name for name in names if name.startswith("pipe:")]
    wait_for(lambda: not pipes(), 5, "the pipe to the command to be closed, once it has its line")
    attempts.umount()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("words", [[], ["-f"]], ids=["daemon", "foreground"])
def test_interrupted_while_mounting(attempts, sig, words):
    """Ctrl-C (to the whole process group) while the server is awaited ends it all, soon."""
    with PacketFilter() as packets:
        packets.drop(f"tcp dport {attempts.server.nfs_port}")
        argv = attempts.argv(attempts.source, attempts.mnt, "-o", attempts.ports, *words)
        process = subprocess.Popen(argv, env=attempts.env, start_new_session=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        time.sleep(1)
        start = time.monotonic()
        os.killpg(process.pid, sig)
        process.communicate(timeout=15)
        assert process.returncode in (8, -sig, 128 + sig)
        wait_for(lambda: not attempts.processes(), 2, "the end of the daemon")
        assert time.monotonic() - start < 2
    assert not attempts.mounted


def test_sigkill_while_mounting(attempts):
    """Who kills the waiting command gets no mount later."""
    with PacketFilter() as packets:
        packets.drop(f"tcp dport {attempts.server.nfs_port}")
        process = subprocess.Popen(attempts.argv(attempts.source, attempts.mnt, "-o", attempts.ports),
                                   env=attempts.env, stdout=subprocess.DEVNULL)
        time.sleep(1)
        process.kill()
        process.wait(5)
        packets.clear()
        wait_for(lambda: attempts.mounted or not attempts.processes(), ATTEMPT, "an end")
    if attempts.mounted:
        attempts.umount()
        pytest.fail("a mount appeared after its command was killed")


# --- unmounting


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal(mount, sig):
    """A signal to the daemon unmounts, status 0."""
    m = mount()
    create(m.path / "f", b"x")
    m.process.send_signal(sig)
    m.process.wait(AT_ONCE)
    assert not m.mounted


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_signal_with_open_files(mount, sig):
    """Files are open, one with data not on stable storage: the data is saved, the mount goes, and
    the daemon ends, in umounttimeo."""
    m, data = mount(), pattern(300_000)
    m.expect_log("still in use")
    create(m.path / "g", b"g")
    fds = os.open(m.path / "f", os.O_WRONLY | os.O_CREAT), os.open(m.path / "g", os.O_RDONLY)
    os.write(fds[0], data)
    start = time.monotonic()
    m.process.send_signal(sig)
    wait_for(lambda: not m.mounted, UMOUNTTIMEO + 1, "the mount to go")
    m.process.wait(2 * UMOUNTTIMEO + 2 - (time.monotonic() - start))
    assert errno_of(os.fstat, fds[1]) in (0, errno.ENOTCONN, errno.ECONNABORTED)
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)
    assert (m.server_path / "f").read_bytes() == data
    assert "\nfuse: " not in m.log(), "libfuse's own words"


def test_umount(mount):
    """umount(8) ends the daemon with status 0; nothing is left."""
    m = mount()
    create(m.path / "f", b"x")
    m.umount()
    assert not m.mounted and m.process.returncode == 0


def test_umount_busy(mount):
    """EBUSY while a file is open or somebody is there; the mount goes on, then goes."""
    m = mount()
    create(m.path / "f", b"x")
    os.mkdir(m.path / "d")
    with opened(m.path / "f"):
        with pytest.raises(CommandFailed, match="busy"):
            run_bounded(["umount", m.path])
        assert read(m.path / "f") == b"x"
    visitor = subprocess.Popen(["sleep", "60"], cwd=m.path / "d")
    try:
        with pytest.raises(CommandFailed, match="busy"):
            run_bounded(["umount", m.path])
    finally:
        visitor.kill()
        visitor.wait(5)
    m.umount()


def test_lazy_umount(mount):
    """umount -l takes the name away at once; open files work on; the daemon ends with the last."""
    m, data = mount(), pattern(100_000)
    with opened(m.path / "f", os.O_RDWR | os.O_CREAT) as fd:
        run_bounded(["umount", "-l", m.path], 5)
        assert not m.mounted
        os.write(fd, data)
        os.fsync(fd)
        assert os.pread(fd, len(data), 0) == data
        assert m.alive
    m.process.wait(5)
    assert (m.server_path / "f").read_bytes() == data


def test_forced_umount(mount):
    """umount -f of a busy mount: whatever the kernel does with it, it is bounded and the daemon goes
    in the end."""
    m = mount()
    create(m.path / "f", b"x")
    fd = os.open(m.path / "f", os.O_RDONLY)
    run_bounded(["umount", "-f", m.path], 10, check=False)
    with contextlib.suppress(OSError):  # ENOTCONN, if the kernel has ended it
        os.close(fd)
    if m.mounted:
        m.expect_exit(m.process.returncode or 0)
        run_bounded(["umount", "-l", m.path], 10, check=False)  # the daemon may be faster
    m.process.wait(5)
    assert not m.mounted


def test_fusermount(mount):
    """fusermount3 -u, as root and as the user whose mount it is."""
    for user in (None, USER):
        m = mount(user=user)
        argv = ["fusermount3", "-u", str(m.path)]
        if user is None:
            run_bounded(argv)
        else:
            assert as_user(lambda: subprocess.run(argv).returncode, uid=user) == 0
        m.process.wait(5)
        assert not m.mounted


def test_two_mounts(mount):
    """Two mounts of one export are two daemons: one is killed, the other does not notice."""
    a, b = mount(), mount()
    create(a.path / "f", b"from a")
    assert read(b.path / "f") == b"from a"
    a.kill()
    with fails(errno.ENOTCONN):
        os.stat(a.path / "f")
    create(b.path / "g", b"from b")
    assert read(b.path / "g") == b"from b"
    assert len(b.connections()) == 8
    b.umount()


def test_same_mountpoint_again(mount, attempts):
    """Mounted, unmounted, mounted: the names are new each time, and another export shows."""
    for name in ("rw", "squash", "rw"):
        directory = getattr(attempts.server, name)
        (directory / name).touch()
        assert attempts.mount(source=f"127.0.0.1:{directory}").status == 0
        assert os.listdir(attempts.mnt) == [name]
        attempts.umount()


def test_written_before_umount(mount):
    """What was written and closed is on the server when umount returns; nothing waits for UMNT."""
    m, data = mount(), pattern(20 << 20)
    create(m.path / "f", data)
    start = time.monotonic()
    m.umount()
    assert time.monotonic() - start < 5
    assert (m.server_path / "f").read_bytes() == data


def test_umount_with_mountd_gone(mount):
    """mountd does not answer any more: unmounting does not wait for it."""
    m = mount()
    with PacketFilter() as packets:
        packets.drop(f"meta l4proto {{ tcp, udp }} th dport {m.server.mnt_port}")
        start = time.monotonic()
        m.umount()
        assert time.monotonic() - start < 3


def test_shell_quoting_of_try(attempts):
    """A try line can be pasted although the path has blanks."""
    path = attempts.directory / "with blank"
    said = attempts.fails(32, "mountpoint-missing", mnt=path)
    command = re.search("try: (mkdir .*)", said).group(1)
    assert shlex.split(command) == ["mkdir", "-p", str(path)]
