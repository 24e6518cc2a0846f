# SPDX-License-Identifier: GPL-2.0-or-later
"""fusenfs doctor: each thing that it looks at, well and ill. It mounts nothing and asks no mount."""

import json
import os
import re
import signal
import socket
import subprocess
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import pytest

from lab import rpc
from lab.command import program, status
from lab.far import WAYS, FarServer
from lab.ganesha import EVERYWHERE, Export, Ganesha, run_in_netns
from lab.hosts import Hosts
from lab.procs import run_bounded, wait_for
from lab.proxy import Accepted, Drop, PacketFilter, Proxy, Rewrite
from support import once_ready
from test_addresses import redirected
from test_mount_errors import CLOSED_PORT, MNT3ERR_ACCES, Mountd, listener

USER = 1000
STAGE = 5  # seconds that a network stage may take
AT_ONCE = 3

Finding = namedtuple("Finding", "result text remedy")


class Report:
    """What one run has found: report["nfs"] is the first finding on that, report.status the exit status."""

    def __init__(self, done, seconds):
        self.status, self.seconds, self.output = done.returncode, seconds, done.stdout
        self.json = json.loads(done.stdout)
        self.all = [(c["check"], Finding(c["result"], c["text"], c["remedy"])) for c in self.json["checks"]]

    def __getitem__(self, check):
        return next(finding for name, finding in self.all if name == check)

    def __contains__(self, check):
        return any(name == check for name, _ in self.all)

    def every(self, check):
        return [finding for name, finding in self.all if name == check]

    @property
    def ill(self):
        """Checks with a problem, in order."""
        return [name for name, finding in self.all if finding.result == "fail"]

    @property
    def warned(self):
        return [name for name, finding in self.all if finding.result == "warn"]


def argv(*words, user=None, through=(), namespace=None):
    """namespace: a shell script that is run as root before, in a mount namespace of its own."""
    words = [program(), "doctor", *words]
    if user is not None:
        words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *words]
    if namespace is not None:
        through = ["unshare", "--mount", "sh", "-c", f'set -e\n{namespace}\nexec "$@"', "sh"]
    return list(map(str, [*through, *words]))


def doctor(subject, options="", limit=45, **how):
    start = time.monotonic()
    words = [subject, "--json"] + (["-o", options] if options else [])
    done = run_bounded(argv(*words, **how), limit, check=False)
    return Report(done, time.monotonic() - start)


@pytest.fixture
def source(server):
    return f"127.0.0.1:{server.rw}"


@pytest.fixture
def ports(server):
    return f"port={server.nfs_port},mountport={server.mnt_port}"


@pytest.fixture
def names(workdir, request):
    """An /etc/hosts of our own."""
    with Hosts(workdir / "names" / re.sub(r"\W", "_", request.node.name)) as hosts:
        yield hosts


# --- all is well

CHECKS = ["name", "rpcbind", "nfs", "mountd", "export", "access", "root", "port", "round-trip", "mtu",
          "locks", "fuse", "privilege", "kernel", "timeouts", "fusectl"]


def test_clean(source, fusectl):
    """Every check is made, in this order, and nothing is mounted."""
    report = doctor(source)
    assert (report.status, report.ill, report.warned) == (0, [], []), report.output
    assert [name for name, _ in report.all] == CHECKS
    assert report.json["schema"] == 1 and report.json["subject"] == source
    assert report["name"].text == "127.0.0.1 is an address"
    assert "NFS 2049" in report["rpcbind"].text and "mount service 20048" in report["rpcbind"].text
    assert report["nfs"].text == "port 2049: NFSv3"
    assert "is exported to *" in report["export"].text and "1024 KiB" in report["root"].text
    assert "is a reserved one" in report["port"].text
    least, most = map(float, re.match(r"([\d.]+) to ([\d.]+) ms", report["round-trip"].text).groups())
    assert 0 < least <= most < 1000
    assert "large packets reach the server" in report["mtu"].text
    assert report.seconds < AT_ONCE and source not in Path("/proc/self/mountinfo").read_text()


def test_lines(source, fusectl):
    """The same for people: a line each, and the sum."""
    done = run_bounded(argv(source), 30)
    *lines, last = done.stdout.splitlines()
    assert last == "0 problems, 0 warnings."
    assert [re.match(r"  ok    (\S+) +\S", line).group(1) for line in lines] == CHECKS


def test_user(source, fusectl):
    """Who is not root has no reserved port, and fusermount3 mounts for him."""
    report = doctor(source, user=USER, namespace="chmod 666 /dev/fuse")
    assert (report.status, report.ill) == (0, []), report.output
    assert "no reserved one; this server takes it" in report["port"].text
    assert "fusermount3" in report["privilege"].text and "allow-other" in report
    assert f"uid {USER} may read it" in report["root"].text


# --- the words


@pytest.mark.parametrize("words", [[], ["nas1"], ["nas1:/x", "more"], ["nas1:/x", "-o"], ["nas1:/x", "-o", "nconect=4"],
                                   ["nas1:/x", "-o", "sec=krb5"], ["nas1:/x", "--lazy"], ["nas1:/x", "-x"]])
def test_cannot_run(words):
    """Status 2: it has not looked."""
    done = run_bounded(argv(*words), 10, check=False)
    assert done.returncode == 2 and done.stdout.startswith("fusenfs: "), done.stdout


def test_help():
    done = run_bounded(argv("--help"), 10)
    assert done.stdout.startswith("Usage:  fusenfs doctor ") and "-o" in done.stdout


def test_ignored_option(source, fusectl):
    """Several lists of options are one; a warning of the parser is one of doctor's."""
    done = run_bounded(argv(source, "-o", "fsc", "-onconnect=2", "--json"), 20)
    report = Report(done, 0)
    assert report.warned == ["options"] and "fsc" in report["options"].text


# --- name and ports


def test_name(source, names, server):
    names.write("127.0.0.1 nas1")
    report = doctor(f"nas1:{server.rw}", through=names.through)
    assert re.match(r"nas1 is 127.0.0.1 \([\d.]+ ms\)", report["name"].text) and not report.ill


def test_no_name(tmp_path):
    script = f"echo 'hosts: files' >{tmp_path}/nss; mount --bind {tmp_path}/nss /etc/nsswitch.conf"
    report = doctor("no-such-host:/x", namespace=script)
    assert (report.status, report.ill) == (1, ["name"]), report.output
    assert "cannot resolve 'no-such-host'" in report["name"].text
    assert report["name"].remedy == "try: getent ahosts no-such-host"
    assert "kernel" in report, "what needs no server is looked at all the same"


def test_silent_name_server(tmp_path):
    script = f"""echo 'hosts: dns' >{tmp_path}/nss; mount --bind {tmp_path}/nss /etc/nsswitch.conf
                printf 'nameserver 127.0.0.3\noptions timeout:30\n' >{tmp_path}/resolv
                mount --bind {tmp_path}/resolv /etc/resolv.conf"""
    with socket.socket(type=socket.SOCK_DGRAM) as name_server:
        name_server.bind(("127.0.0.3", 53))
        report = doctor("nas1:/x", namespace=script)
    assert report.ill == ["name"] and "took longer than 5 s" in report["name"].text
    assert report.seconds < STAGE + 2


def test_refused(source):
    report = doctor(source, f"port={CLOSED_PORT},mountport=2")
    assert (report.status, report.ill) == (1, ["nfs"]) and report.seconds < AT_ONCE
    assert f"127.0.0.1 refused port {CLOSED_PORT}" in report["nfs"].text and report["nfs"].remedy
    assert "not needed" in report["rpcbind"].text


def test_silent_host(source):
    """Every stage is bounded, and what would only be silent again is not asked."""
    with PacketFilter() as packets:
        packets.drop("ip daddr 127.0.0.1")
        report = doctor(source)
    assert report.ill == ["rpcbind", "nfs"], report.output
    assert "did not answer within 5 s" in report["nfs"].text
    assert report.seconds < 2 * STAGE + 2


def test_no_portmapper(source, ports):
    """A firewall that lets only NFS through; with the ports given nobody misses it."""
    with PacketFilter() as packets:
        packets.reset("tcp dport 111")
        packets.reject("udp dport 111")
        report = doctor(source)
        assert report.ill == ["rpcbind"] and report["rpcbind"].remedy == "try: -o port=2049,mountport=20048"
        assert "nfs" in report and "mountd" not in report
        assert doctor(source, ports).ill == []


def test_mountd_refused(source, server):
    report = doctor(source, f"port={server.nfs_port},mountport={CLOSED_PORT}")
    assert report.ill == ["mountd"] and f"refused port {CLOSED_PORT}" in report["mountd"].text
    assert report["nfs"].result == "ok"


def test_mountd_silent(source, server):
    with PacketFilter() as packets:
        packets.drop(f"meta l4proto {{ tcp, udp }} th dport {server.mnt_port}")
        report = doctor(source)
    assert report.ill == ["mountd"] and "20048 did not answer" in report["mountd"].text
    assert report.seconds < 3 * STAGE


def test_not_nfs(source):
    with listener(b"SSH-2.0-OpenSSH_9.2p1\r\n") as port:
        report = doctor(source, f"port={port},mountport=1")
    assert report.ill == ["nfs"] and "SSH-2.0" in report["nfs"].text


def test_other_versions_only(source, server):
    with Proxy(server) as proxy:
        proxy.on(None, Accepted("PROG_MISMATCH", 4, 4))
        report = doctor(source, f"port={proxy.nfs_port},mountport={proxy.mnt_port}")
    assert report.ill == ["nfs"] and "NFS version 4 only" in report["nfs"].text
    assert report["nfs"].remedy.startswith("try: mount -t nfs4 ")


# --- export and permission


def test_misspelt(source, server):
    report = doctor(f"{source}x")
    assert report.ill == ["export"] and report["export"].remedy == f"did you mean: fusenfs doctor {source}"
    assert f"'{server.rw}x' is not exported. Exports: " in report["export"].text
    assert f"{server.squash} (*)" in report["export"].text and "access" not in report


def test_nothing_like_it():
    report = doctor("127.0.0.1:/zzzzzzzzzzzzzzzz")
    assert report.ill == ["export"] and report["export"].remedy == "try: fusenfs exports 127.0.0.1"


def test_subdirectory(source, server):
    (server.rw / "d").mkdir()
    report = doctor(f"{source}/d")
    assert report.status == 0 and f"is inside export '{server.rw}'" in report["export"].text


def test_not_allowed(source, server):
    """An export that is there, but not for us: to whom is said."""
    with Mountd(MNT3ERR_ACCES, {"/data": ["10.0.0.0/24", "nas2"], "/home": []}) as mountd:
        options = f"port={server.nfs_port},mountport={mountd.port},mountproto=tcp"
        report = doctor("127.0.0.1:/data", options)
        assert report.ill == ["access"] and "does not allow this host (127.0.0.1)" in report["access"].text
        assert report["export"].text == "'/data' is exported to 10.0.0.0/24,nas2"
        assert "exportfs -ra" in report["access"].remedy
        report = doctor("127.0.0.1:/data", options, user=USER)
        assert report.ill[0] == "access" and "maybe for our source port" in report["access"].text


def test_secure_export(server):
    """MNT is allowed, calls from such a port are not."""
    with Ganesha([Export(server.rw, PrivilegedPort="true")], host=EVERYWHERE) as other:
        options = f"port={other.nfs_port},mountport={other.mnt_port}"
        report = doctor(f"127.0.0.1:{server.rw}", f"{options},noresvport")
        assert report.ill == ["port"] and "source port is" in report["port"].text
        assert "'insecure'" in report["port"].remedy
        assert doctor(f"127.0.0.1:{server.rw}", options).ill == []


def test_squashed_root(server):
    server.squash.chmod(0o700)
    os.chown(server.squash, USER, USER)
    report = doctor(f"127.0.0.1:{server.squash}")
    if report["root"].result == "fail":  # GETATTR is refused, too
        assert report.ill == ["root"]
    else:
        assert "root" in report.warned and f"owner {USER}, mode 0700" in report["root"].text
        assert f"as user {USER}" in report["root"].remedy


def test_silent_root(source, server):
    with Proxy(server) as proxy:
        proxy.on("GETATTR", Drop())
        report = doctor(source, f"port={proxy.nfs_port},mountport={proxy.mnt_port}")
    assert report.ill == ["root"] and report["root"].text == "GETATTR: no answer"
    assert report.seconds < 2 * STAGE


# --- the path


def test_large_packets_lost(source):
    """A hole in path MTU discovery: small calls are answered, a WRITE would never be."""
    with PacketFilter() as packets:
        packets.drop("tcp dport 2049 ip length > 2000")
        report = doctor(source)
    assert report.ill == ["mtu"] and "large packets get lost" in report["mtu"].text
    assert report["round-trip"].result == "ok" and report.seconds < 2 * STAGE + 2


@pytest.fixture
def other():
    """Another server at 127.0.0.9, on the same ports, with an export of the same path."""
    servers = []

    def start(site):
        servers.append(Ganesha([Export(site.rw, fsal="MEM")], host=EVERYWHERE))
        return redirected("127.0.0.9", site, servers[-1].start())
    yield start
    for ganesha in servers:
        ganesha.close()


def test_addresses(server, names, other, ports):
    """One name, three hosts: which of them are the server."""
    names.write("127.0.0.1 nas", "127.0.0.2 nas", "127.0.0.9 nas")
    with other(server):
        report = doctor(f"nas:{server.rw}", f"{ports},mountproto=tcp", through=names.through)
    found = {f.text.split()[0].rstrip(":"): f for f in report.every("address")}
    assert set(found) == {"127.0.0.1", "127.0.0.2", "127.0.0.9"} and report.status == 0, report.output
    assert found["127.0.0.1"].result == found["127.0.0.2"].result
    assert "warn" in (found["127.0.0.1"].result, found["127.0.0.9"].result), report.output
    different = next(f for f in found.values() if f.result == "warn")
    assert "is not the same server" in different.text and "dns=first" in different.remedy


def test_addresses_down(server, names, ports):
    """Those that are down cost the time of one."""
    names.write("127.0.0.5 nas", "127.0.0.6 nas", "127.0.0.7 nas", "127.0.0.1 nas")
    with PacketFilter() as packets:
        packets.drop("ip daddr 127.0.0.5-127.0.0.7")
        report = doctor(f"nas:{server.rw}", ports, through=names.through)
    assert report.status == 0 and report.warned == ["address"] * 3, report.output
    assert [f.text for f in report.every("address") if "is not used: " in f.text][2:]
    assert report.seconds < STAGE + 3


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
def test_locks(server, locks):
    """Without a lock manager all else works: a warning."""
    with FarServer([Export(server.rw)], WAYS["killed"], 177 + locks, portmap=True, locks=locks) as far:
        report = doctor(f"{far.host}:{server.rw}")
        assert report.status == 0 and report.warned == ([] if locks else ["locks"])
        assert report["locks"].result == ("ok" if locks else "warn")
        if locks:
            port = run_in_netns(far.netns, lambda: rpc.getport("127.0.0.1", rpc.NLM))
            far.nft("add chain inet far input { type filter hook input priority 0; }")
            far.nft(f"add rule inet far input tcp dport {port} drop")
            report = doctor(f"{far.host}:{server.rw}")
            assert report.warned == ["locks"] and "no answer" in report["locks"].text
        else:
            assert "ENOLCK" in report["locks"].text and "-o nolock" in report["locks"].remedy
        assert "locks" not in doctor(f"{far.host}:{server.rw}", "nolock")


# --- this host


FUSE = "mknod -m 666 {0}/fuse c 10 229; mount --bind {0}/fuse /dev/fuse; "
HOST = [
    ("fuse", None, "mount --bind /etc/hosts /dev/fuse", "", "is not a device"),
    ("fuse", USER, "mknod -m 600 {0}/fuse c 10 229; mount --bind {0}/fuse /dev/fuse", "", "no permission"),
    ("privilege", USER, FUSE + "mount --bind /dev/null /usr/bin/fusermount3", "", "fusermount3 is not installed"),
    ("allow-other", USER, FUSE + "echo >{0}/conf; mount --bind {0}/conf /etc/fuse.conf", "allow_other", "not permitted"),
    ("timeouts", None, "echo 15 >{0}/limit; mount --bind {0}/limit /proc/sys/fs/fuse/max_request_timeout", "",
     "calls end after 12 s"),
    ("fusectl", None, "umount /sys/fs/fuse/connections", "", "is not mounted"),
]


@pytest.mark.parametrize("check, user, script, options, text", HOST, ids=[f"{c}-{u}" for c, u, *_ in HOST])
def test_host(source, tmp_path, fusectl, check, user, script, options, text):
    if "request_timeout" in script and not Path("/proc/sys/fs/fuse/max_request_timeout").exists():
        pytest.skip("before Linux 6.14")
    report = doctor(source, options, user=user, namespace=script.format(tmp_path))
    level = "warn" if check in ("timeouts", "fusectl") else "fail"
    assert report[check].result == level and text in report[check].text, report.output
    assert report[check].remedy.startswith("try: ")
    assert report.status == (1 if level == "fail" else 0)


def test_no_capability(source):
    """Root of a container."""
    report = doctor(source, through=["setpriv", "--bounding-set", "-sys_admin"])
    assert report.ill == ["privilege"] and "CAP_SYS_ADMIN" in report["privilege"].text


def test_interrupted(source):
    """^C ends it, whatever it waits for."""
    with PacketFilter() as packets:
        packets.drop("ip daddr 127.0.0.1")
        with subprocess.Popen(argv(source), stdout=subprocess.PIPE, text=True) as process:
            assert "name" in process.stdout.readline()
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == -signal.SIGINT and time.monotonic() - start < 1


# --- a mount that is there

MOUNT_CHECKS = ["daemon", "state", "balance", "kernel-nfs", "memory", "files", "fstab"]


@pytest.fixture
def mount(mount):
    return once_ready(mount)


def fstab(tmp_path, *lines):
    """A script for a namespace with these lines in fstab."""
    (tmp_path / "fstab").write_text("".join(f"{line}\n" for line in lines))
    return f"mount --bind {tmp_path}/fstab /etc/fstab"


def source_of(m):
    return m.argv[-2]


@pytest.mark.parametrize("line, result, text", [
    ("{source} {mnt} fusenfs {options},_netdev,nofail 0 0", "ok", "with _netdev"),
    ("{source} {mnt} fuse.fusenfs {options},_netdev 0 0", "ok", "with _netdev"),
    ("{source} {mnt} fusenfs {options} 0 0", "warn", "lacks _netdev"),
    ("{source} {mnt} nfs vers=3,_netdev 0 0", "warn", "type nfs"),
    ("nas:/other {mnt} fusenfs {options},_netdev 0 0", "warn", "has nas:/other"),
    ("{source} {mnt}x fusenfs {options},_netdev 0 0", "warn", "no line in /etc/fstab")])
def test_fstab(mount, server, ports, tmp_path, line, result, text):
    m = mount(nconnect=2)
    line = line.format(source=source_of(m), mnt=m.path, options=f"nconnect=2,{ports}")
    report = doctor(m.path, namespace=fstab(tmp_path, line))
    assert report.status == 0 and report["fstab"].result == result and text in report["fstab"].text, report.output
    checks = [name for name, _ in report.all]
    assert checks[:7] == MOUNT_CHECKS and all(check in checks for check in [*CHECKS, "clock"])
    if "no line" in text:
        words = f"nconnect=2,port={server.nfs_port},mountport={server.mnt_port}"
        assert f"fusenfs fstab {source_of(m)} {m.path} -o {words} >> /etc/fstab" in report["fstab"].remedy


@pytest.mark.parametrize("made, listed, text", [
    ("timeo=50", "timeo=50", None), ("timeo=50,softerr,rw", "timeo=50", None), ("", "timeo=100", None),
    ("", "timeo=50", "timeo=50 (mounted: timeo=100)"), ("ro", "", "rw (mounted without)"), ("", "hard", "hard (mounted without)"),
    ("", "nconnect=3", "nconnect=3 (mounted: nconnect=2)"), ("rsize=65536", "", None),
    ("rsize=65536", "rsize=1M", None), ("", "rsize=65536", "rsize=64K (mounted: rsize=1M)")])
def test_options_differ(mount, ports, tmp_path, made, listed, text):
    """Compared with what is in force, not with words."""
    m = mount(nconnect=2, options=made)
    words = ",".join(word for word in ("nconnect=2", ports, "_netdev", listed) if word)
    report = doctor(m.path, namespace=fstab(tmp_path, f"{source_of(m)} {m.path} fusenfs {words} 0 0"))
    assert report["options"].result == ("warn" if text else "ok"), report.output
    assert text is None or text in report["options"].text


def test_fstab_only(server, ports, tmp_path, fusectl):
    """Not mounted, but it is to be: what fstab has is looked at."""
    point = tmp_path / "point"
    point.mkdir()
    line = f"127.0.0.1:{server.rw}x {point} fusenfs {ports},_netdev 0 0"
    report = doctor(point, namespace=fstab(tmp_path, line))
    assert report["mount"].result == "warn" and "is not mounted" in report["mount"].text
    assert report.ill == ["export"]


def test_no_mount(tmp_path):
    done = run_bounded(argv(tmp_path), 20, check=False)
    assert done.returncode == 2 and "[no-daemon]" in done.stdout


def test_options_of_a_mount(mount):
    done = run_bounded(argv(mount(nconnect=1).path, "-o", "ro"), 20, check=False)
    assert done.returncode == 2 and "[usage]" in done.stdout


def test_server_away(mount, server):
    """The mount hangs; doctor does not."""
    m = mount(nconnect=2, options="detect=1,timeo=20,retrans=0")
    m.expect_log("not responding|timed out|lost")
    server.kill()
    wait_for(lambda: doctor(m.path)["state"].result == "fail", 20, "it to be seen as down")
    report = doctor(m.path)
    assert report.status == 1 and "down: the server is " in report["state"].text
    assert len(report.every("connection")) == 2 and "nfs" in report.ill
    server.start()


def test_server_hangs(mount, server):
    m = mount(nconnect=2)
    m.expect_log("not responding")
    server.pause()
    try:
        report = doctor(m.path)
    finally:
        server.resume()
    assert "nfs" in report.ill and report["daemon"].result == "ok" and report.seconds < 3 * STAGE


def test_daemon_stopped(mount):
    m = mount(nconnect=2)
    os.kill(m.pid, signal.SIGSTOP)
    try:
        report = doctor(m.path)
    finally:
        os.kill(m.pid, signal.SIGCONT)
    assert report.ill == ["daemon"] and report["nfs"].result == "ok" and report.seconds < 2 * STAGE


def test_daemon_killed(mount):
    m = mount(nconnect=2)
    m.kill()
    report = doctor(m.path)
    assert report.ill == ["daemon"] and report["export"].result == "ok"


def test_too_few_connections(mount):
    """Two addresses, one connection."""
    m = mount(nconnect=1, options="addrs=127.0.0.2")
    wait_for(lambda: status(m)["server"]["addresses"] == 2, 15, "the second address")
    assert "1 connections cannot use 2 addresses" in doctor(m.path)["balance"].text


def test_kernels_mount(mount, tmp_path):
    """The kernel's client beside us; it is in the list of mounts only, for here there is none."""
    m = mount(nconnect=1)
    row = f"999 1 0:99 / /elsewhere rw - nfs {source_of(m)} rw,vers=3"
    script = f'cat /proc/self/mountinfo >{tmp_path}/m; echo "{row}" >>{tmp_path}/m; mount --bind {tmp_path}/m /proc/$$/mountinfo'
    report = doctor(m.path, namespace=script)
    assert report["kernel-nfs"].result == "warn" and "at /elsewhere" in report["kernel-nfs"].text


@pytest.mark.parametrize("limit, result", [("67108864", "warn"), ("4294967296", "ok"), ("max", "ok")])
def test_memory_limit(mount, tmp_path, limit, result):
    """The least of the daemon's cgroup and of those above it."""
    m = mount(nconnect=1)
    group = tmp_path / "cg/outer/inner"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "of").write_text("0::/outer/inner\n")
    report = doctor(m.path, namespace=f"mount --bind {tmp_path}/of /proc/{m.pid}/cgroup\n"
                                      f"mount --bind {tmp_path}/cg /sys/fs/cgroup")
    assert report["memory"].result == result, report.output
    assert limit == "max" or {"67108864": "67.1 MB", "4294967296": "4.29 GB"}[limit] in report["memory"].text


def test_file_limit(mount):
    m = mount(nconnect=8)
    run_bounded(["prlimit", f"--pid={m.pid}", "--nofile=40:4096"], 10)
    report = doctor(m.path)
    assert report["files"].result == "warn" and "may open 40 files" in report["files"].text
    assert "LimitNOFILE" in report["files"].remedy


def test_clock_ahead(source, mount, server):
    """The root has changed in our future: its ctime is the end of what GETATTR returns."""
    with Proxy(server) as proxy:
        m = mount(nconnect=1, options=f"port={proxy.nfs_port},mountport={proxy.mnt_port}", ports=False)
        assert doctor(m.path)["clock"].result == "ok"
        later = rpc.u32(int(time.time()) + 1000) + rpc.u32(0)
        proxy.on("GETATTR", Rewrite(reply=lambda call, record: record[:-8] + later))
        report = doctor(m.path)
        m.umount()
    assert report["clock"].result == "warn" and re.search(r"by (99\d|1000) s or more", report["clock"].text)


# --- the bundle

LOG = """Nov 28 01:00:00 h fusenfs[77]: 127.0.0.1:/x mounted on /mnt (NFSv3, 4 connections, rsize 1M)
Nov 28 01:00:01 h fusenfs[77]: warning: REMOVE of 'it's secret' may or may not have happened (ambiguous_ops 3) [outcome-unknown]
Nov 28 01:00:02 h fusenfs[77]: error: 12 bytes of file 99 (secret (2).txt) are lost: No space left on device: x [write-lost]
Nov 28 01:00:03 h fusenfs[77]: warning: the name 's' is bad
Nov 28 01:00:04 h other[78]: nothing to do with it
"""


def bundle(path, *words, namespace="true"):
    """The status, and what is in the archive: {name: bytes}."""
    done = subprocess.run(argv(*words, f"--bundle={path}", namespace=namespace), capture_output=True, text=True,
                          timeout=60, check=False)
    with tarfile.open(path) as tar:
        assert all(member.isreg() and member.mode == 0o644 for member in tar)
        return done, {member.name: tar.extractfile(member).read().decode() for member in tar}


def test_bundle(mount, server, tmp_path):
    m = mount(nconnect=2)
    (m.path / "secret.txt").write_text("secret")
    script = fstab(tmp_path, f"{source_of(m)} {m.path} fusenfs _netdev 0 0", "UUID=secret / ext4 defaults 0 1")
    (tmp_path / "log").mkdir()
    (tmp_path / "log/syslog").write_text(LOG)
    script += f"; mount --bind {tmp_path}/log /var/log; mount --bind /bin/true /usr/bin/journalctl 2>/dev/null || true"
    path = tmp_path / "b.tar"
    done, files = bundle(path, m.path, namespace=script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    names = ["doctor.txt", "doctor.json", "status.json", "options.txt", "versions.txt", "mounts.txt", "fstab.txt",
             "limits.txt", "log.txt"]
    assert list(files) == [f"fusenfs-doctor/{name}" for name in names]
    for name, text in files.items():
        assert f"{len(text.encode()):7}  {name}\n" in done.stdout
        assert "secret" not in text, f"{name}: {text}"
    texts = {name.partition("/")[2]: text for name, text in files.items()}
    assert json.loads(texts["status.json"])["pid"] == m.pid and "nconnect=2" in texts["options.txt"]
    assert json.loads(texts["doctor.json"])["subject"] == str(m.path)
    assert texts["doctor.txt"].splitlines() == [line for line in done.stdout.splitlines() if line[:6] in
                                                ("  ok  ", "  warn", "  FAIL")]
    assert str(m.path) in texts["mounts.txt"] and texts["fstab.txt"].count("\n") == 1
    assert "libfuse" in texts["versions.txt"] and "Max open files" in texts["limits.txt"]
    log = texts["log.txt"].splitlines()
    assert len(log) == 4 and "REMOVE of '...' may or may not have happened" in log[1]
    assert "of file 99 (...) are lost" in log[2] and log[3].endswith("the name '...' is bad")


def test_bundle_without_a_mount(source, tmp_path):
    """The object of --json stays one; the list is on stderr."""
    done, files = bundle(tmp_path / "b.tar", f"{source}x", "--json")
    assert done.returncode == 1 and json.loads(done.stdout)["problems"] == 1
    assert "fusenfs-doctor/doctor.txt" in done.stderr and "fusenfs-doctor/status.json" not in files
    assert "FAIL  export" in files["fusenfs-doctor/doctor.txt"]


def test_bundle_overwrites_nothing(source, tmp_path):
    (tmp_path / "b.tar").write_text("mine")
    done = run_bounded(argv(source, f"--bundle={tmp_path}/b.tar"), 30, check=False)
    assert done.returncode == 2 and "b.tar: File exists [system]" in done.stdout and (tmp_path / "b.tar").read_text() == "mine"
