# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks are the server's by default, as in nfs(5), and cost who does not lock nothing: the lock manager is looked for
when the first lock is asked for. With one, without, behind firewalls, and with a server that is down."""

import errno
import fcntl
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from lab import rpc
from lab.command import fusenfs, status
from lab.far import WAYS, FarServer
from lab.ganesha import Export, run_in_netns
from lab.procs import CommandFailed, run_bounded, wait_for
from test_locks import DOWN, Process

QUICK = "timeo=20,retrans=1,detect=2"  # a deadline of 4 s
ABSENT = r"\[locks-unavailable\]"


def serve(workdir, number, **how):
    directory = workdir / "exports" / f"lock-default-{number}"
    directory.mkdir(exist_ok=True)
    return FarServer([Export(directory)], WAYS["silent"], number, **how)


@pytest.fixture(scope="module")
def far_with(workdir):
    with serve(workdir, 73, portmap=True, locks=True) as server:
        yield server


@pytest.fixture(scope="module")
def without(workdir):
    """A server that has no lock manager, and a portmapper that says so."""
    with serve(workdir, 72, portmap=True) as server:
        yield server


@pytest.fixture
def far(far_with):
    yield far_with
    far_with.let_pass()
    far_with.nft("delete table inet far; add table inet far")


def start(mount, far, options="noresvport"):
    m = mount(options=options, server=far)
    (m.path / "f").write_bytes(b"x")
    return m


def filtered(far, ports, verdict="drop"):
    """Calls to these ports of the server: drop (silence), reject (refused), or counter (they pass)."""
    far.nft("add chain inet far input { type filter hook input priority 0; }")
    for protocol in ("tcp", "udp"):
        words = verdict.replace("reject", "reject with tcp reset" if protocol == "tcp" else "reject")
        far.nft(f"add rule inet far input iifname != lo {protocol} dport {{ {ports} }} {words}")


def packets(far):
    """How many packets a rule with a counter has seen."""
    listed = json.loads(run_bounded(["nsenter", f"--net=/run/netns/{far.netns}", "nft", "-j", "list", "table", "inet",
                                     "far"]).stdout)
    rules = [entry["rule"]["expr"] for entry in listed["nftables"] if "rule" in entry]
    return sum(part["counter"]["packets"] for rule in rules for part in rule if "counter" in part)


def lock_port(far):
    return run_in_netns(far.netns, lambda: rpc.getport("127.0.0.1", rpc.NLM))


def locks_of(m):
    return status(m)["locks"]


def timed(func):
    began = time.monotonic()
    return func(), time.monotonic() - began


# ---- who does not lock ---------------------------------------------------------------------


def sockets_of(pid):
    """Those that listen, or are datagram sockets."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            inodes |= set(re.findall(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}")))
        except OSError:
            pass
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and (kind.startswith("udp") or fields[3] == "0A"):
                found.append((kind, fields[1]))
    return found


def do_everything_but_lock(m):
    """Open, write, read, close, map; unlock what is not locked; and close it all."""
    with Process(m.path / "f", m.path / "f") as process:
        assert process.do("write", b"text", 0) == 4
        assert process.do("read", 4, 0) == b"text"
        assert process.unlock() is None
        assert process.do("flock", fcntl.LOCK_UN) is None
        process.do("close", file=1)
    with Process(m.path / "f", flags=os.O_RDONLY) as process:
        assert process.do("read", 4, 0) == b"text"
        assert process.unlock() is None


def test_who_does_not_lock_asks_nobody(mount, far):
    """No packet to anything but NFS and mountd, no socket that listens, no thread or process that was not there."""
    filtered(far, f"111, {lock_port(far)}", "counter")
    m = start(mount, far)
    time.sleep(1)  # the last of its threads begins after it is mounted
    threads = os.listdir(f"/proc/{m.pid}/task")
    do_everything_but_lock(m)
    time.sleep(1)
    assert packets(far) == 0
    assert sockets_of(m.pid) == []
    assert len(os.listdir(f"/proc/{m.pid}/task")) <= len(threads)
    assert not Path(f"/proc/{m.pid}/task/{m.pid}/children").read_text()
    assert locks_of(m) == {"manager": "not asked", "posix_shared": True, "flock_shared": True, "held": 0, "waiting": 0,
                           "lost": 0}
    assert not list(Path("/var/lib/fusenfs/nsm").glob("fusenfs-*"))
    m.umount()
    assert packets(far) == 0


@pytest.mark.parametrize("verdict", ["drop", "reject"])
def test_mounting_does_not_look_for_it(mount, far, verdict):
    """Nothing is said and nobody waits where port 111 is closed."""
    filtered(far, "111", verdict)
    m, seconds = timed(lambda: start(mount, far))
    assert seconds < 1.5
    do_everything_but_lock(m)
    m.umount()
    assert "lock" not in m.log().replace(str(m.path), "").replace(str(m.server_path), "")


def test_reading_waits_for_no_writer_at_close(mount, far):
    """close(2) of a file that was open for reading does not wait for what others have written to it."""
    m = start(mount, far, "noresvport,hard")
    with Process(m.path / "f") as writer, Process(m.path / "f", flags=os.O_RDONLY) as reader:
        m.expect_log(DOWN)
        far.vanish()
        assert writer.do("write", b"pending", 0) == 7
        assert timed(lambda: reader.do("close", timeout=5))[1] < 1
        far.come_back()


# ---- the first lock ------------------------------------------------------------------------


def test_first_lock_finds_it(mount, far):
    m = start(mount, far)
    with Process(m.path / "f") as holder, Process(m.path / "f") as waiter:
        error, seconds = timed(holder.lock)
        assert error is None and seconds < 2
        assert locks_of(m)["manager"] == "found" and locks_of(m)["held"] == 1
        waiter.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        wait_for(lambda: locks_of(m)["waiting"] == 1, 5)
        text = fusenfs("status", m.path).output
        assert "1 held, 1 waiting; lock manager found" in text
        assert holder.unlock() is None
        assert waiter.hear(10) is None
        wait_for(lambda: locks_of(m)["waiting"] == 0, 5)
        assert waiter.unlock() is None
        assert locks_of(m)["held"] == 0


def test_getlk_finds_it(mount, far):
    """Who has it on another host only the server knows."""
    a, b = start(mount, far), mount(options="noresvport", server=far)
    with Process(a.path / "f") as holder, Process(b.path / "f") as other:
        assert holder.lock(5, 5) is None
        assert other.do("getlk", fcntl.F_WRLCK)[:3] == (fcntl.F_WRLCK, 5, 5)


def test_first_locks_share_the_search(mount, far):
    """Eight at once: all have it, and the portmapper was asked as often as for one."""
    asked = []
    filtered(far, "111", "counter")
    for n in (1, 8):
        m, before = start(mount, far), packets(far)
        processes = [Process(m.path / "f") for _ in range(n)]
        for i, process in enumerate(processes):
            process.start("setlk", fcntl.F_WRLCK, i, 1, fcntl.F_SETLK)
        assert [process.hear(10) for process in processes] == [None] * n
        asked.append(packets(far) - before)
        for process in processes:
            process.close()
    assert asked[0] == asked[1] > 0


# ---- no lock manager -----------------------------------------------------------------------


def warnings(m):
    return m.log().count("locks fail with ENOLCK")


CLOSED = {"silent portmapper": ("111", "drop", 7), "refused portmapper": ("111", "reject", 1.5),
          "silent lock manager": (None, "drop", 7), "refused lock manager": (None, "reject", 1.5)}


@pytest.mark.parametrize("case", CLOSED)
def test_firewalls(mount, far, case):
    """ENOLCK, soon, and at once for who asks next; one warning; closing and unlocking succeed. Once it can be had,
    locks are, without anybody's doing."""
    ports, verdict, limit = CLOSED[case]
    filtered(far, ports or lock_port(far), verdict)
    m = start(mount, far)
    m.expect_log(ABSENT)
    with Process(m.path / "f", m.path / "f") as process:
        error, seconds = timed(process.lock)
        assert error == errno.ENOLCK and seconds < limit
        assert warnings(m) == 1 and "-o nolock" in m.log()
        assert process.lock(wait=True) == errno.ENOLCK
        assert process.do("flock", fcntl.LOCK_EX) == errno.ENOLCK
        assert process.do("getlk", fcntl.F_WRLCK) == errno.ENOLCK
        assert process.unlock() is None and process.do("flock", fcntl.LOCK_UN) is None
        process.do("close", file=1)
        assert locks_of(m)["manager"] == "absent"
        assert "locks fail" in fusenfs("status", m.path).output
        far.let_pass()
        wait_for(lambda: process.lock() is None, 25)
        assert locks_of(m)["manager"] == "found"
        assert process.unlock() is None
        assert warnings(m) == 1


def test_search_in_vain_is_not_repeated_for_each_call(mount, far):
    filtered(far, "111", "counter reject")
    m = start(mount, far)
    m.expect_log(ABSENT)
    with Process(m.path / "f") as process:
        assert process.lock() == errno.ENOLCK
        asked, began = packets(far), time.monotonic()
        for _ in range(50):
            assert process.lock() == errno.ENOLCK
        if time.monotonic() - began < 2.5:
            assert packets(far) == asked > 0
        time.sleep(3)
        assert process.lock() == errno.ENOLCK
        assert packets(far) > asked
    assert warnings(m) == 1


def test_programs_without_a_lock_manager(mount, without, tmp_path):
    """They see what they see on an NFS mount of Linux: ENOLCK. Who goes on without goes on (git, ssh), who does not
    says so (SQLite, flock(1)), and nolock is the remedy."""
    m = start(mount, without)
    m.expect_log(ABSENT)
    env = {**os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    git = ["git", "-C", m.path / "repo", "-c", "user.name=t", "-c", "user.email=t@t"]
    run_bounded(["git", "init", "-q", m.path / "repo"], env=env)
    (m.path / "repo" / "f").write_text("text")
    for words in (["add", "."], ["commit", "-qm", "one"], ["gc", "-q"], ["fsck"]):
        run_bounded([*git, *words], env=env)
    with pytest.raises(CommandFailed, match="No locks available"):
        run_bounded(["flock", "-n", m.path / "f", "true"])
    base = sqlite3.connect(m.path / "base")
    with pytest.raises(sqlite3.OperationalError):
        base.execute("CREATE TABLE t (n)")
    base.close()
    assert warnings(m) == 1
    local = start(mount, without, "nolock")
    run_bounded(["flock", "-n", local.path / "f", "true"])
    base = sqlite3.connect(local.path / "base2")
    base.execute("CREATE TABLE t (n)")
    base.close()
    assert locks_of(local)["manager"] == "local"
    assert "on this host only" in fusenfs("status", local.path).output


def test_known_hosts(mount, without):
    """ssh-keygen replaces it by link and rename."""
    m = start(mount, without)
    key = run_bounded(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", m.path / "key"])
    assert key.returncode == 0
    (m.path / "known_hosts").write_text("host " + (m.path / "key.pub").read_text())
    run_bounded(["ssh-keygen", "-q", "-R", "host", "-f", m.path / "known_hosts"])
    assert (m.path / "known_hosts").read_text() == ""


# ---- a server that is down -----------------------------------------------------------------


def test_first_lock_while_it_is_down(mount, far):
    """That is not the want of a lock manager: ETIMEDOUT at the deadline, and nothing is said of locks."""
    m = start(mount, far, f"noresvport,{QUICK}")
    m.expect_log(DOWN)
    with Process(m.path / "f") as process, Process(m.path / "f") as waiter:
        far.vanish()
        waiter.start("setlk", fcntl.F_WRLCK, 5, 1, fcntl.F_SETLKW)
        error, seconds = timed(process.lock)
        assert error == errno.ETIMEDOUT and seconds < 7
        assert waiter.hear(7) == errno.ETIMEDOUT
        assert process.unlock() is None
        far.come_back()
        wait_for(lambda: process.lock() is None, 10)
        assert warnings(m) == 0


def test_first_lock_while_it_is_down_hard(mount, far):
    """It is waited for, and whoever does can be killed; then it is granted."""
    m = start(mount, far, f"noresvport,hard,{QUICK}")
    m.expect_log(DOWN)
    with Process(m.path / "f") as killed, Process(m.path / "f") as process:
        far.vanish()
        for i, each in enumerate((killed, process)):
            each.start("setlk", fcntl.F_WRLCK, i, 1, fcntl.F_SETLK)
        time.sleep(6)
        killed.kill()
        killed.wait_end(2)
        far.come_back()
        assert process.hear(15) is None
        assert locks_of(m)["held"] == 1
        assert warnings(m) == 0


def test_signal_ends_the_search(mount, far):
    """EINTR for who waits for a lock and has a handler, EINTR for who is killed; unmounting does not wait either."""
    filtered(far, "111")
    m = start(mount, far, "noresvport,hard")
    m.expect_log(ABSENT)
    with Process(m.path / "f") as process:
        process.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.5)
        process.kill()
        assert timed(lambda: process.wait_end(1))[1] < 1
    with Process(m.path / "f") as process:
        process.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.2)
        m.process.send_signal(signal.SIGTERM)
        assert timed(lambda: m.process.wait(8))[1] < 7
        process.kill()


def test_unmounting_ends_the_search(mount, far):
    """Nobody goes on looking: who waits fails at once, and does not keep the mount until umounttimeo is over."""
    filtered(far, "111")
    m = start(mount, far, "noresvport,hard,umounttimeo=20")
    with Process(m.path / "f") as process:
        process.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(0.3)
        m.process.send_signal(signal.SIGTERM)
        assert timed(lambda: process.hear(15)) == (errno.ENOLCK, pytest.approx(2, abs=2))
        process.kill()
        assert timed(lambda: m.process.wait(15))[1] < 4


# ---- other kinds of mounts -----------------------------------------------------------------


def test_mount_of_a_user(mount, far):
    """Not called, no record, ports above 1023: it locks all the same."""
    other = start(mount, far)
    os.chmod(other.path, 0o777)
    os.chmod(other.path / "f", 0o666)
    m = mount(user=1000, options="noresvport", server=far)

    as_user = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups"]
    with Process(other.path / "f") as process:
        words = [*as_user, "flock", "-nF", m.path / "f", "sh", "-c", "echo locked; exec sleep 60"]
        holder = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            assert holder.stdout.readline() == "locked\n"
            assert process.do("flock", fcntl.LOCK_SH | fcntl.LOCK_NB) == errno.EWOULDBLOCK
        finally:
            holder.kill()
            holder.wait(5)
            holder.stdout.close()
        wait_for(lambda: process.do("flock", fcntl.LOCK_SH | fcntl.LOCK_NB) is None, 5)


def test_first_address_is_down(mount, far):
    """host1,host2: one of them answers, and its lock manager is the one that is asked."""
    m = mount(options="noresvport,timeo=20", server=far, host=f"10.77.{far.number}.3,{far.connect_host}")
    m.expect_log(DOWN)
    (m.path / "f").write_bytes(b"")
    with Process(m.path / "f") as process:
        assert process.lock() is None


def test_by_udp(mount, workdir):
    """NFS over UDP, locks over TCP."""
    from lab.ganesha import udp_works
    if not udp_works():
        pytest.skip("this NFS-Ganesha has no UDP")
    with serve(workdir, 74, portmap=True, locks=True, udp=True) as far:
        m = mount(nconnect=1, options="noresvport,proto=udp", server=far)
        (m.path / "f").write_bytes(b"")
        with Process(m.path / "f") as process:
            assert process.lock() is None and process.unlock() is None
