# SPDX-License-Identifier: GPL-2.0-or-later
"""The control socket, status, health and set: they answer whatever the server does, to whom they should, and what is set
holds."""

import contextlib
import errno
import json
import os
import re
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.command import Result, ask, connect, fusenfs, program, read_all, socket_of, status
from lab.mount import mount_device
from lab.procs import as_user, run_bounded, wait_for
from support import MIB, errno_of, once_ready, pattern, same

USER = 1000
LOUD = "not responding|timed out|gave up|given up|lost"
QUICK = 3            # seconds, for a command on a busy machine: none waits for the server
SOFT = "timeo=10,retrans=1,detect=1"


@pytest.fixture
def mount(mount):
    return once_ready(mount)


@pytest.fixture(params=[1, 8], ids=["nconnect=1", "nconnect=8"])
def m(request, mount):
    return mount(nconnect=request.param)


def quick(*words, **kwargs):
    """A command that must not wait for anything."""
    start = time.monotonic()
    result = fusenfs(*words, **kwargs)
    assert time.monotonic() - start < QUICK, f"{words} took {time.monotonic() - start:.1f} s"
    return result


@contextlib.contextmanager
def away(server, how):
    """The server is stopped or killed meanwhile."""
    if how == "stopped":
        server.pause()
    else:
        server.kill()
    try:
        yield
    finally:
        if server.running:
            server.resume()
        else:
            server.start()


@pytest.fixture(params=["stopped", "killed"])
def how(request):
    return request.param


def waits(m, name="nothing"):
    """A process that asks the server for a name, and when it is done."""
    process = subprocess.Popen(["stat", m.path / name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)
    return process


# --- status


def test_status(m):
    """What is counted is what was done."""
    data = pattern(3 * MIB)
    (m.path / "file").write_bytes(data)
    same((m.path / "file").read_bytes(), data)
    assert not (m.path / "none").exists()
    got = status(m)
    n = len(m.connections())
    assert (got["schema"], got["mount"], got["source"]) == (1, str(m.path), m.argv[-2])
    assert (got["state"], got["live"], got["ready"], got["unmounting"]) == ("ok", True, True, False)
    assert got["connections_up"] == got["connections_wanted"] == len(got["connections"]) == n
    assert got["written_bytes"] == got["read_bytes"] == len(data)
    assert got["requests"]["waiting"] == 0 and got["unsaved_bytes"] == 0
    assert got["operations"]["WRITE"]["count"] >= 3 and got["operations"]["LOOKUP"]["errors"] >= 1
    assert got["procedures"]["WRITE"]["count"] >= 3
    latencies = [c["latency"] for c in got["connections"]]
    assert sum(one["count"] for one in latencies) == sum(one["count"] for one in got["procedures"].values())
    for one in [*got["operations"].values(), *got["procedures"].values(), *[one for one in latencies if one["count"]]]:
        assert 0 <= one["p50_seconds"] <= one["p99_seconds"] <= one["max_seconds"] < 60
    assert f"nconnect={n}," in got["options"] and "softerr" in got["options"].split(",")
    kernel = {(c.local_port, c.peer_port) for c in m.connections()}
    assert kernel == {(int(c["local"].rpartition(":")[2]), int(c["remote"].rpartition(":")[2]))
                      for c in got["connections"]}
    assert sum(c["sent_bytes"] for c in got["connections"]) > len(data)
    assert all(c["tcp_rtt_seconds"] > 0 and not c["stale"] for c in got["connections"])


def test_status_of_all(mount):
    """Every mount of this host has a line, also one whose daemon is dead, or stopped."""
    good, dead, stuck = mount(nconnect=2), mount(nconnect=1), mount(nconnect=1)
    dead.kill()
    stuck.process.send_signal(19)
    result = fusenfs("status")
    stuck.process.send_signal(18)
    assert result.status == 0
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert re.search(r" ok +2/2 ", lines[str(good.path)])
    assert "no answer" in lines[str(dead.path)] and "no answer" in lines[str(stuck.path)]
    assert f"{dead.path}: the daemon of {dead.path} does not answer: it is gone" in result.output
    got = {one["mount"]: one for one in json.loads(fusenfs("status", "--json").output)}
    assert got[str(good.path)]["live"] and not got[str(dead.path)]["live"]
    result = fusenfs("status", dead.path)
    assert result.status == 32 and "[no-answer]" in result.output


def test_status_of_nothing(tmp_path):
    result = fusenfs("status", tmp_path)
    assert result.status == 32 and f"{tmp_path} is no mount point [no-daemon]" in result.output
    result = fusenfs("status", "/proc")
    assert result.status == 32 and "/proc is not a fusenfs mount, but one of type proc [no-daemon]" in result.output


def test_status_of_strange_name(mount):
    """Bytes of a name are no reason to say nothing: JSON has them as it can, a terminal is not commanded."""
    m = mount(nconnect=1)
    m.kill()
    name = f"{m.path}\udcff\033[31m\n"
    os.mkdir(name)
    run_bounded(["mount", "--move", m.path, name])
    try:
        answer, = json.loads(fusenfs("status", "--json").output)
        assert answer["state"] == "unknown" and answer["mount"].startswith(f"{m.path}?\033")
        plain = subprocess.run([program(), "status"], stdout=subprocess.PIPE, timeout=20, check=True).stdout
        assert plain.count(os.fsencode(f"{m.path}\udcff?[31m?")) == 3 and b"\033" not in plain
    finally:
        run_bounded(["umount", name])
        os.rmdir(name)


def test_names_of_a_mount(mount, tmp_path):
    """As typed: relative, with dots and slashes, by a link."""
    m = mount(nconnect=1)
    (tmp_path / "link").symlink_to(m.path)
    for name in (f"{m.path}/", f"{m.path.parent}/./x/../{m.path.name}", tmp_path / "link"):
        assert fusenfs("health", name) == Result(0, "ready: yes\n"), name


def test_lost_connection(mount):
    """One that was reset is seen: since when, why, how often."""
    m = mount(nconnect=3)
    port = m.connections()[0].local_port
    run_bounded(["ss", "-K", "-tn", "sport", "=", f":{port}", "dport", "=", f":{m.server.nfs_port}"])
    wait_for(lambda: sum(c["reconnects"] for c in status(m)["connections"]) == 1, 10, "the loss to be counted")
    wait_for(lambda: status(m)["state"] == "ok", 10, "it to be back")
    lost, = (c for c in status(m)["connections"] if c["reconnects"])
    assert lost["reason"] and lost["since_seconds"] < 10


def test_refused_connections(mount, server):
    """The reason, in words of errno(3)."""
    m = mount(nconnect=2, options=SOFT)
    m.expect_log(LOUD)
    with away(server, "killed"):
        wait_for(lambda: [c["reason"] for c in status(m)["connections"]] == ["ECONNREFUSED"] * 2, 10, "refusals")
        got = status(m)
        assert got["state"] == "down" and not got["ready"] and got["connections_up"] == 0
        assert "(ECONNREFUSED)" in fusenfs("status", m.path).output
    wait_for(lambda: status(m)["state"] == "ok", 20, "it to be back")


# --- while the server is away


def test_away(mount, server, how):
    """Commands are quick, and say who waits."""
    m = mount(nconnect=4, options=SOFT)
    m.expect_log(LOUD)
    assert quick("health", "--live", m.path).status == quick("health", m.path).status == 0
    with away(server, how):
        waiting = waits(m)
        wait_for(lambda: status(m)["requests"]["waiting"], 5, "a request to wait")
        assert quick("health", "--live", m.path) == Result(0, "live: yes\n")
        assert quick("health", "--ready", m.path).status == 1
        oldest = status(m)["requests"]["oldest"]
        assert oldest["operation"] == "LOOKUP" and oldest["pid"] == waiting.pid
        assert f"LOOKUP of stat (pid {waiting.pid})" in fusenfs("status", m.path).output
        wait_for(lambda: status(m)["state"] == "down", 10, "the server to count as down")
        assert status(m)["server"]["silent_seconds"] > 0
        waiting.wait(20)
    wait_for(lambda: fusenfs("health", m.path).status == 0, 20, "it to be ready")


def test_away_idle(mount, server):
    """An idle mount has not noticed anything; who asks whether it is ready has it look."""
    m = mount(nconnect=2)
    m.expect_log(LOUD)
    with away(server, "stopped"):
        assert status(m)["ready"]
        assert quick("health", m.path).status == 1
        assert quick("health", "--live", m.path).status == 0
    wait_for(lambda: fusenfs("health", m.path).status == 0, 20, "it to be ready")


def test_away_hard(mount, server):
    """hard, dead server: live, and not ready. When hard is switched off, who waits is released."""
    m = mount(nconnect=2, options="hard,timeo=10,retrans=1,detect=1")
    m.expect_log(LOUD)
    with away(server, "stopped"):
        waiting = waits(m)
        wait_for(lambda: status(m)["state"] == "down", 10, "the server to count as down")
        assert fusenfs("health", "--live", m.path).status == 0 and fusenfs("health", m.path).status == 1
        time.sleep(2.5)  # a soft mount would have given up
        assert waiting.poll() is None
        assert quick("set", m.path, "softerr").status == 0
        assert waiting.wait(10)
        start = time.monotonic()
        assert errno_of(os.stat, m.path / "other") == errno.ETIMEDOUT and time.monotonic() - start < 1
    wait_for(lambda: not errno_of(os.listdir, m.path), 10, "it to work again")


def test_set_soft_and_what_was_asked(mount, server):
    """Who is released is told that it has failed: what was not sent yet is not done when the server is back."""
    m = mount(nconnect=2, options="hard,timeo=10,retrans=1,detect=1,actimeo=600")
    m.expect_log(LOUD)
    (m.path / "f").touch()
    with away(server, "killed"):
        wait_for(lambda: status(m)["state"] == "down", 10, "the server to count as down")
        waiting = subprocess.Popen(["unlink", m.path / "f"], stderr=subprocess.DEVNULL, start_new_session=True)
        asked = wait_for(lambda: (lambda r: r if r["queued_calls"] else None)(status(m)["requests"]), 10, "the call")
        assert asked["oldest"]["operation"] == "UNLINK"
        assert fusenfs("set", m.path, "softerr").status == 0
        assert waiting.wait(10)
    wait_for(lambda: fusenfs("health", m.path).status == 0, 20, "the server")
    time.sleep(0.5)
    assert (server.rw / "f").exists() and not status(m)["requests"]["queued_calls"]


def test_health_words(mount, tmp_path):
    m = mount(nconnect=1)
    got = json.loads(fusenfs("health", "--live", "--json", m.path).output)
    assert got == {"schema": 1, "live": True, "state": "ok", "server": "up"}
    assert fusenfs("health", "-q", m.path) == Result(0, "")
    assert fusenfs("health", tmp_path).status == 2
    assert fusenfs("health").status == 1 and fusenfs("health", "--live", "--ready", m.path).status == 1
    m.kill()
    assert fusenfs("health", "--live", m.path).status == 1 and fusenfs("health", m.path).status == 1


def test_before_the_server_is_found(mount, server):
    """bg: mounted, alive, not ready."""
    server.kill()
    m = mount(nconnect=2, options="bg")
    m.expect_log("refused|trying")
    assert quick("health", "--live", m.path).status == 0 and quick("health", m.path).status == 1
    assert status(m)["state"] == "down" and status(m)["server"]["state"] == "not found"
    assert quick("set", m.path, "timeo=50").status == 0
    server.start()
    wait_for(lambda: fusenfs("health", m.path).status == 0, 20, "the server to be found")
    assert ",timeo=50," in status(m)["options"]


def test_while_unmounting(mount, server):
    """Data cannot be saved, the daemon waits for the server: it answers, and says so."""
    m = mount(nconnect=2, options="umounttimeo=4,timeo=10,retrans=1,detect=1")
    m.expect_log(LOUD)
    holder = os.open(m.path / "f", os.O_WRONLY | os.O_CREAT)
    with away(server, "stopped"):
        os.write(holder, b"x" * 100000)
        path = socket_of(m)
        m.process.terminate()
        got = wait_for(lambda: (lambda a: a if a["unmounting"] else None)(ask(path, b"status\n")), 3, "it to end")
        assert got["unsaved_bytes"] >= 100000 and not got["ready"] and got["live"]
        assert "error" not in ask(path, b"set timeo=20\n")
        m.process.wait(15)
    errno_of(os.close, holder)
    assert not path.exists() and not path.with_suffix("").exists()


# --- who may ask


def test_other_user(mount):
    """The socket of root's mount is root's, also if its mode is changed by mistake."""
    m = mount(nconnect=1)
    result = fusenfs("status", m.path, uid=USER)
    assert result.status == 1 and f"only root may control {m.path} [ctl-denied]" in result.output
    assert fusenfs("health", m.path, uid=USER).status == 2
    assert socket_of(m).stat().st_mode & 0o777 == 0o600
    socket_of(m).chmod(0o666)
    answer = as_user(ask, socket_of(m), b"status\n", uid=USER)
    assert list(answer) == ["schema", "error"] and answer["error"]["id"] == "ctl-denied"
    answer = as_user(ask, socket_of(m), b"set timeo=7\n", uid=USER)
    assert answer["error"]["id"] == "ctl-denied" and ",timeo=100," in status(m)["options"]


@pytest.fixture
def no_user_directory():
    """/tmp/fusenfs-UID as a login would leave it: not there."""
    path = Path(f"/tmp/fusenfs-{USER}")
    run_bounded(["rm", "-rf", path])
    yield path
    run_bounded(["rm", "-rf", path])


def test_users_mount(mount, no_user_directory):
    """The user and root; nobody else."""
    m = mount(nconnect=2, user=USER)
    assert no_user_directory.stat().st_mode & 0o777 == 0o700
    assert socket_of(m, no_user_directory).stat().st_uid == USER
    assert fusenfs("set", m.path, "timeo=33", uid=USER).status == 0
    for uid in (USER, None):
        assert fusenfs("health", m.path, uid=uid).status == 0
        assert ",timeo=33," in status(m, uid=uid)["options"]
    result = fusenfs("status", m.path, uid=USER + 1)
    assert result.status == 1 and f"only root or user {USER} may control" in result.output
    assert fusenfs("umount", m.path, uid=USER) == Result(0, "")
    assert not m.mounted and m.process.wait(10) == 0
    assert list(no_user_directory.iterdir()) == []


def test_link_to_another_mount(mount, no_user_directory, tmp_path):
    """What a user puts in the place of his daemon's socket does not make root change another mount, nor end it."""
    roots, users = mount(nconnect=2), mount(nconnect=2, user=USER)
    place = socket_of(users, no_user_directory)
    place.unlink()
    place.symlink_to(socket_of(roots))
    for words in (["status", users.path], ["set", users.path, "timeo=7"], ["health", users.path]):
        result = fusenfs(*words)
        assert result.status in (1, 2) and "[ctl-denied]" in result.output, result
    assert ",timeo=100," in status(roots)["options"]
    assert fusenfs("umount", "--force", users.path) == Result(0, "")
    assert not users.mounted and roots.alive and roots.mounted


@pytest.mark.parametrize("trap", ["another's directory", "a link", "others may write"])
def test_unsafe_directory(mount, no_user_directory, tmp_path, trap):
    """A place that somebody else controls is not used; the mount works all the same."""
    if trap == "a link":
        tmp_path.chmod(0o777)
        no_user_directory.symlink_to(tmp_path)
    else:
        no_user_directory.mkdir()
        no_user_directory.chmod(0o777 if trap == "others may write" else 0o755)
        os.chown(no_user_directory, *((USER, USER) if trap == "others may write" else (USER + 1, USER + 1)))
    m = mount(nconnect=1, user=USER)
    assert "no control socket: Operation not permitted" in m.log()
    assert list(no_user_directory.iterdir()) == []
    result = fusenfs("status", m.path)
    assert result.status == 32 and "it has no control socket [no-answer]" in result.output


def test_false_daemon(mount, no_user_directory, tmp_path):
    """Who listens in the place of a mount's daemon is asked nothing, if he is another user."""
    m = mount(nconnect=1, options=f"ctl={tmp_path}/elsewhere")
    place = socket_of(m)
    place.unlink()
    code = ("import socket,sys,os\n"
            "s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); os.chmod(sys.argv[1],0o666)\n"
            f"os.setresgid({USER},{USER},{USER}); os.setresuid({USER},{USER},{USER}); s.listen()\n"
            "print('listens',flush=True)\n"
            "c,_=s.accept(); c.settimeout(5); print(repr(c.recv(100)),flush=True)\n")
    impostor = subprocess.Popen(["/usr/bin/python3", "-c", code, place], stdout=subprocess.PIPE, text=True)
    try:
        assert impostor.stdout.readline() == "listens\n"
        result = fusenfs("status", m.path)
        assert result.status == 1 and "[ctl-denied]" in result.output
        assert impostor.stdout.readline() == "b''\n"
    finally:
        impostor.kill()
        impostor.wait()
        impostor.stdout.close()
        place.unlink()
    assert fusenfs("health", f"--ctl={tmp_path}/elsewhere", m.path).status == 0


def test_ctl(mount, tmp_path):
    """ctl=PATH: there, and found from the usual place; nothing but a socket is replaced by it."""
    path = tmp_path / "a socket"
    m = mount(nconnect=1, options=f"ctl={path}")
    assert path.is_socket() and os.readlink(socket_of(m)) == str(path)
    assert fusenfs("health", m.path).status == 0
    assert fusenfs("health", f"--ctl={path}", "/not/mounted/here").status == 0
    m.kill()
    run_bounded(["umount", "-l", m.path])
    again = mount(nconnect=1, options=f"ctl={path}")  # what a killed daemon left
    assert fusenfs("health", again.path).status == 0
    again.umount()
    assert not path.exists()
    path.write_text("mine")
    spoilt = mount(nconnect=1, options=f"ctl={path}")
    spoilt.expect_log("no-control")
    assert "File exists [no-control]" in spoilt.log() and path.read_text() == "mine"


def test_ctl_changes_no_mode(mount, tmp_path):
    """The directory may be another user's, who puts a link there meanwhile: no name is followed to a mode."""
    log = tmp_path / "calls"
    m = mount(nconnect=1, options=f"ctl={tmp_path}/sock", through=("strace", "-f", "-qq", "-e", "trace=chmod,fchmodat,fchmod",
                                                                 "-o", str(log)))
    assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o600
    assert "0600" in log.read_text() and not re.search("chmod(at)?\\(.*/", log.read_text())
    m.umount()


def test_next_mount_of_the_same_number(mount):
    """A daemon that ends late takes no other's socket away."""
    m = mount(nconnect=1)
    place = socket_of(m)
    place.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place))
        m.umount()
        assert place.exists()
    place.unlink()


# --- clients that mean no good


def n_fds(m):
    return len(os.listdir(f"/proc/{m.pid}/fd"))


HALF = [b"", b"stat", b"status", b"\0" * 5000]
WHOLE = [b"\n", b"x" * 100000, b"nonsense\n", b"set\n", b"set " + b"timeo=5," * 1000 + b"\n", b"status \xff\xfe\n",
         b"{\"command\":\"status\"}\n", b"set timeo=%n%s\n", b"set \xff=1\n"]


def talk(path, line):
    """What it answers to such bytes, if anything."""
    with connect(path) as client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.sendall(line)
            return read_all(client)
    return b""


def test_strange_lines(mount):
    """An error, or the end, and never anything else; others are served meanwhile."""
    m = mount(nconnect=1)
    with ThreadPoolExecutor(len(HALF)) as pool:
        answers = pool.map(lambda line: talk(socket_of(m), line), HALF)
        assert quick("health", m.path).status == 0
        assert list(answers) == [b""] * len(HALF)  # dropped
    for line in WHOLE:
        answer = talk(socket_of(m), line)
        assert not answer or json.loads(answer)["schema"] == 1, line
    assert fusenfs("health", m.path).status == 0


def test_crowd(mount):
    """Clients that say nothing, or do not read, cost a few descriptors and a few seconds."""
    m = mount(nconnect=1)
    before = n_fds(m)
    crowd = []
    for i in range(9):  # more than it has room for
        client = connect(socket_of(m))
        if i % 2:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.sendall(b"stats\n")
        crowd.append(client)
    assert n_fds(m) <= before + 8
    start = time.monotonic()
    assert fusenfs("health", m.path).status == 0
    assert time.monotonic() - start < 5
    wait_for(lambda: n_fds(m) <= before, 10, "them to be dropped")
    for client in crowd:
        client.close()
    assert fusenfs("health", m.path).status == 0


def test_busy_loops(mount):
    """While all loops work as fast as they can."""
    m = mount(nconnect=8)
    stop = threading.Event()
    (m.path / "f").write_bytes(pattern(4 * MIB))

    def work():
        while not stop.is_set():
            with open(m.path / "f", "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                file.read(4 * MIB)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            assert quick("health", "--live", m.path).status == 0
            assert status(m)["read_bytes"] >= 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# --- set


def seconds(func, *args):
    start = time.monotonic()
    return errno_of(func, *args), time.monotonic() - start


def test_set_timeo(mount, server):
    """How long a system call takes when the server is away."""
    m = mount(nconnect=2, options="timeo=100,retrans=0,detect=60")
    m.expect_log(LOUD)
    assert fusenfs("set", m.path, "timeo=15").status == 0
    assert ",optimeo=1500ms," in status(m)["options"]
    with away(server, "stopped"):
        error, took = seconds(os.stat, m.path / "a")
        assert error == errno.ETIMEDOUT and 1 < took < 4


def test_set_soft(mount, server):
    """The error that it ends with."""
    m = mount(nconnect=1, options=SOFT)
    m.expect_log(LOUD)
    assert fusenfs("set", m.path, "soft").status == 0
    with away(server, "killed"):
        assert errno_of(os.stat, m.path / "a") == errno.EIO
        assert fusenfs("set", m.path, "softerr").status == 0
        assert errno_of(os.stat, m.path / "b") == errno.ETIMEDOUT


def test_set_softreval(mount, server):
    """What is known is told from memory, or not."""
    m = mount(nconnect=1, options=f"{SOFT},actimeo=0")
    m.expect_log(LOUD)
    (m.path / "d").mkdir()
    os.stat(m.path / "d")
    with away(server, "stopped"):
        assert not errno_of(os.stat, m.path / "d")
        assert fusenfs("set", m.path, "nosoftreval").status == 0
        assert errno_of(os.stat, m.path / "d") == errno.ETIMEDOUT


def test_set_actimeo(mount, server):
    """Attributes are asked for again, or not."""
    m = mount(nconnect=1, options="actimeo=0")
    (server.rw / "f").write_text("1")
    assert os.stat(m.path / "f").st_size == 1
    (server.rw / "f").write_text("22")
    assert os.stat(m.path / "f").st_size == 2
    assert fusenfs("set", m.path, "actimeo=600").status == 0
    for _ in range(2):  # the directory, too, was believed for no time
        os.stat(m.path)
        os.stat(m.path / "f")
    (server.rw / "f").write_text("333")
    assert os.stat(m.path / "f").st_size == 2
    assert "acregmin=600,acregmax=600,acdirmin=600,acdirmax=600" in status(m)["options"]


def test_set_readahead(mount):
    """The kernel's, for root."""
    m = mount(nconnect=1, options="readahead=1M")
    file = Path(f"/sys/class/bdi/0:{mount_device(m.path)}/read_ahead_kb")
    assert file.read_text() == "1024\n"
    assert fusenfs("set", m.path, "readahead=2M").status == 0
    assert file.read_text() == "2048\n"


def test_set_log(mount):
    m = mount(nconnect=1)
    assert fusenfs("set", m.path, "log=error,timeo=20").status == 0
    assert "timeo=20" not in m.log() and status(m)["log"] == "error"


@pytest.mark.parametrize("first, counts", [(1, [4, 1]), (8, [2, 12, 8]), (3, [64, 1])])
def test_set_nconnect(mount, first, counts):
    """More and fewer connections, while a file is copied: no byte is wrong, no call is lost."""
    m = mount(nconnect=first)
    data = pattern(24 * MIB)
    stop, errors = threading.Event(), []

    def work():
        while not stop.is_set():
            try:
                (m.path / "f").write_bytes(data)
                with open(m.path / "f", "rb", buffering=0) as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    same(file.read(len(data)), data)
            except (OSError, AssertionError) as error:
                errors.append(error)
                return
    thread = threading.Thread(target=work)
    thread.start()
    try:
        for n in counts:
            assert fusenfs("set", m.path, f"nconnect={n}").status == 0
            wait_for(lambda: len(m.connections()) == n, 20, f"{n} connections")
            got = wait_for(lambda: (lambda a: a if a["connections_up"] == n else None)(status(m)), 10, f"{n} to be up")
            assert len(got["connections"]) == n and got["requests"]["ambiguous_total"] == 0
            assert sum(c["reconnects"] for c in got["connections"]) == 0
    finally:
        stop.set()
        thread.join()
    assert not errors, errors
    assert got["requests"]["resent_total"] == 0


def test_set_refused(mount):
    """All or nothing, and why."""
    m = mount(nconnect=4)
    before = status(m)["options"]
    for words, code, text in (("timeo=50,rsize=4096", 32, "'rsize' cannot be changed while it is mounted [remount-fixed]"),
                              ("timeo=50,nconnect=65", 1, "nconnect=65 is out of range (1 to 64) [bad-value]"),
                              ("timeo=50,tmeo=3", 1, "did you mean 'timeo='? [unknown-option]"),
                              ("timeo=50,minconnect=9", 1, "minconnect=9 exceeds nconnect=4 [option-conflict]"),
                              ("timeo=50,ro", 32, "'ro' is changed by mount(8) [remount-fixed]"),
                              ("timeo=50,sec=krb5", 1, "sec=krb5 is not supported [unsupported-security]"),
                              ("timeo=50,hedge=3", 1, "option 'hedge' is not supported yet [option-unsupported]")):
        result = fusenfs("set", m.path, words)
        assert result.status == code and text in result.output, result
        assert result.output.startswith(f"fusenfs: cannot set options of {m.path}: ")
    assert status(m)["options"] == before
    assert fusenfs("set", m.path, "timeo=5\nsave").status == 1
    assert fusenfs("set", m.path).status == 1


def test_every_live_option(mount):
    """What the table calls live can be set; what it does not, cannot be."""
    m = mount(nconnect=4)
    m.expect_log("options of")
    values = {"nconnect": 5, "mdconnect": 2, "redial": "off", "stripe": "rr", "window": "1M", "softwrite": "fail", "timeo": 7,
              "retrans": 3, "optimeo": 9, "detect": 3, "deadtimeo": 7, "umounttimeo": 2, "acregmin": 1, "acregmax": 2,
              "acdirmin": 3, "acdirmax": 4, "actimeo": 5, "lookupcache": "none", "readahead": "1M", "wbuf": "2M",
              "cachesize": "9M", "metrics": "127.0.0.1:9102", "log": "warn", "spin": 20}
    text = fusenfs("help", "options").output
    live = re.findall(r"^  ([\w.]+)[^\n]* live$", text, re.MULTILINE)
    fixed = re.findall(r"^  (rsize|port|bg|sec|namlen|fsname|ctl|dns|addrs)\b(?![^\n]* live)", text, re.MULTILINE)
    assert len(live) >= 34 and len(fixed) == 9
    for name in live:
        word = f"{name}={values[name]}" if name in values else name
        result = fusenfs("set", m.path, word)
        if name in ("ro", "rw"):
            assert result.status == 32 or "rw" == name, result
            continue
        assert result.status == 0, result
        if name not in ("ac", "noac", "actimeo"):
            assert word in status(m)["options"].split(","), word
    assert re.search(rf"options of {m.path}: \S+ \[options-set\]$", m.log(), re.MULTILINE)
    (m.path / "f").write_bytes(b"x" * 100000)
    assert (m.path / "f").read_bytes() == b"x" * 100000


# --- remount


def remount(m, tmp_path, words):
    helper = tmp_path / "mount.fusenfs"
    if not helper.exists():
        helper.symlink_to(os.environ.get("FUSENFS", "build/fusenfs"))
    done = run_bounded([helper, m.argv[-2], m.path, "-o", f"remount,{m.argv[-3]},{words}"], 20, check=False)
    return Result(done.returncode, done.stdout)


def test_remount(mount, tmp_path, server):
    """Live options and mount(2)'s together, with all of fstab's words; the run file knows them afterwards."""
    m = mount(nconnect=4)
    assert remount(m, tmp_path, "timeo=50,ro,_netdev") == Result(0, "")
    assert ",timeo=50," in status(m)["options"] and errno_of(os.mkdir, m.path / "d") == errno.EROFS
    assert ",ro," in status(m)["options"]
    runfile = socket_of(m).with_suffix("")
    assert "timeo=50" in runfile.read_text()
    assert remount(m, tmp_path, "timeo=50,rw") == Result(0, "") and not errno_of(os.mkdir, m.path / "d")
    result = remount(m, tmp_path, "timeo=60,ro,rsize=8192")
    assert result.status == 32 and "cannot remount" in result.output and "'rsize'" in result.output
    assert ",timeo=50," in status(m)["options"] and not errno_of(os.mkdir, m.path / "e")
    m.expect_log(LOUD)
    server.pause()
    assert remount(m, tmp_path, "timeo=70,ro") == Result(0, "") and ",timeo=70," in status(m)["options"]
    server.resume()
