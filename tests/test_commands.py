# SPDX-License-Identifier: GPL-2.0-or-later
"""fusenfs stats, umount, top and help: what they print, and what they do to the mount."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lab.child import Child
from lab.command import Result, fusenfs, program, socket_of, status
from lab.procs import run_bounded, wait_for
from support import MIB, errno_of, once_ready, pattern

USER = 1000
LOUD = "not responding|timed out|gave up|given up|lost|still in use"
TOP = Path(__file__).resolve().parent.parent


@pytest.fixture
def mount(mount):
    return once_ready(mount)


@contextlib.contextmanager
def paused(server):
    server.pause()
    try:
        yield
    finally:
        server.resume()


def reading(m, child):
    """Reads a file again and again, not from the page cache."""
    child.tell()
    with open(m.path / "f", "rb", buffering=0) as file:
        while True:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            file.read(4 * MIB)
            time.sleep(0.005)  # below 1 GB/s, which has another unit, on any machine


@pytest.fixture
def load():
    """load(m): a process that reads; its pid. It ends with the test."""
    children = []

    def start(m):
        (m.path / "f").write_bytes(pattern(4 * MIB))
        child = Child(reading, m)
        children.append(child)
        child.hear()
        return child.pid
    yield start
    for child in children:
        child.close()


# --- stats


def test_stats(mount, load):
    """A head, a line since the mount was made, then one per interval."""
    m = mount(nconnect=2)
    load(m)
    start = time.monotonic()
    result = fusenfs("stats", m.path, "0.5", "3")
    assert result.status == 0 and 0.9 < time.monotonic() - start < 5
    head, names, *lines = result.output.splitlines()
    assert "read" in head and names.split() == ["MB/s", "ops/s", "MB/s", "ops/s", "ops/s", "hit%", "wait", "conns", "p50",
                                                "p99", "p50", "p99", "cpu%", "MB"]
    assert len(lines) == 3
    for line in lines[1:]:
        assert len(line) == len(names)
        read, reads, written, writes, _, _, _, conns, *latencies, cpu, memory = line.split()
        assert float(read) > 1 and float(reads) > 1 and float(written) == float(writes) == 0
        assert conns == "2" and 1 <= float(cpu) < 1000 and 1 < float(memory) < 1000
        assert all(0 <= float(latency) < 1000 for latency in latencies)


def test_stats_json(mount, load):
    m = mount(nconnect=2)
    load(m)
    lines = [json.loads(line) for line in fusenfs("stats", "--json", m.path, "0.3", "2").output.splitlines()]
    assert [line["schema"] for line in lines] == [1, 1]
    assert 0.25 < lines[1]["interval_seconds"] < 2 and lines[1]["read_bytes_per_second"] > MIB
    assert 0 < lines[1]["server_p50_seconds"] <= lines[1]["server_p99_seconds"] < 10


def test_mountstats(mount, tmp_path):
    """nfs-utils reads it."""
    m = mount(nconnect=2)
    (m.path / "f").write_bytes(b"x" * 100000)
    text = fusenfs("stats", "--format=mountstats", m.path).output
    (tmp_path / "mountstats").write_text(text)
    done = run_bounded(["mountstats", "mountstats", "-f", tmp_path / "mountstats", m.path], 20)
    assert f"Stats for {m.argv[-2]} mounted on {m.path}" in done.stdout and "WRITE:" in done.stdout
    assert re.search(r"applications wrote 100000 bytes", done.stdout)


@pytest.mark.parametrize("words", [["0"], ["x"], ["1", "0"], ["1", "2", "3"], ["--format=xml"]])
def test_stats_usage(mount, words):
    m = mount(nconnect=1)
    result = fusenfs("stats", m.path, *words)
    assert result.status == 1 and "[usage]" in result.output


def test_stats_outlived(mount):
    """The mount goes away meanwhile: it ends, and says so."""
    m = mount(nconnect=1)
    process = subprocess.Popen([program(), "stats", m.path, "0.2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True)
    assert process.stdout.readline().startswith("---")
    m.umount()
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 32 and "[no-answer]" in output


# --- umount


def test_umount(mount):
    """It returns when the daemon has ended and all is on the server's disk."""
    m = mount(nconnect=2)
    (m.path / "f").write_bytes(b"x" * 100000)
    assert fusenfs("umount", m.path) == Result(0, "")
    assert not m.mounted and m.process.poll() == 0
    assert (m.server_path / "f").stat().st_size == 100000


def uses(m, how, child):
    """Uses the mount in one way."""
    (m.path / "d").mkdir(exist_ok=True)
    if how == "cwd":
        os.chdir(m.path / "d")
    elif how == "open file":
        os.open(m.path / "d", os.O_RDONLY)
    else:
        import mmap
        fd = os.open(m.path / "f", os.O_RDWR | os.O_CREAT)
        os.ftruncate(fd, 4096)
        mapping = mmap.mmap(fd, 4096)
        os.close(fd)
        assert mapping
    child.tell()
    time.sleep(60)


@pytest.mark.parametrize("how", ["cwd", "open file", "mapped file"])
def test_umount_busy(mount, how):
    """Who is in the way, and with what; --lazy does it all the same."""
    m = mount(nconnect=1)
    child = Child(uses, m, how)
    try:
        child.hear()
        start = time.monotonic()
        result = fusenfs("umount", m.path)
        assert time.monotonic() - start < 2
        # The mapping keeps a descriptor of Python's own.
        assert result.status == 32 and re.search(rf"cannot unmount {m.path}: in use by \S+ \(pid {child.pid}, "
                                                 rf"({how}|open file)\) \[umount-busy\]", result.output), result
        assert f"try: fusenfs umount --lazy {m.path}" in result.output
        assert m.mounted
        assert fusenfs("umount", "--lazy", m.path) == Result(0, "") and not m.mounted
    finally:
        child.close()
    assert m.process.wait(10) == 0


DIRTY = "umounttimeo=2,timeo=10,retrans=1,detect=1"


@contextlib.contextmanager
def dirty(m, server):
    """Data that cannot be saved, as the server is silent."""
    m.expect_log(LOUD)
    fd = os.open(m.path / "f", os.O_WRONLY | os.O_CREAT)
    with paused(server):
        os.write(fd, b"x" * 300000)
        process = subprocess.Popen(["sleep", "0.1"])
        process.wait()
        errno_of(os.close, fd)
        yield


def test_umount_dirty(mount, server):
    """Progress, then it gives up, and nothing is lost; when the server is back it is saved."""
    m = mount(nconnect=2, options=DIRTY)
    with dirty(m, server):
        start = time.monotonic()
        result = fusenfs("umount", m.path)
        assert 2 <= time.monotonic() - start < 6
        assert result.status == 32 and "300 kB not yet written to 127.0.0.1, waiting ... [umount-dirty]" in result.output
        assert re.search(r"cannot unmount .*: 300 kB not yet written, and server 127.0.0.1 is (down|silent) \[unsaved\]",
                         result.output)
        assert m.mounted
    assert fusenfs("umount", m.path).status == 0 and not m.mounted
    assert (m.server_path / "f").read_bytes() == b"x" * 300000


def test_umount_interrupted(mount, server):
    """^C leaves it mounted."""
    m = mount(nconnect=2, options=DIRTY.replace("umounttimeo=2", "umounttimeo=20"))
    with dirty(m, server):
        process = subprocess.Popen([program(), "umount", m.path], stderr=subprocess.PIPE, text=True)
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == -signal.SIGINT
        process.stderr.close()
        assert m.mounted
    wait_for(lambda: not status(m)["unsaved_bytes"], 20, "it to be saved")
    assert (m.server_path / "f").read_bytes() == b"x" * 300000


@pytest.mark.parametrize("user", [None, USER], ids=["root", "user"])
def test_umount_force(mount, server, user):
    """In umounttimeo, whatever is open and unsaved; what is lost is in the log."""
    if user:
        server.rw.chmod(0o777)
    m = mount(nconnect=2, options=DIRTY, user=user)
    if user:
        m.expect_log(LOUD)
        with paused(server):
            start = time.monotonic()
            assert fusenfs("umount", "--force", m.path, uid=user) == Result(0, "")
            assert time.monotonic() - start < 6 and not m.mounted
            assert m.process.wait(5) == 0
        return
    with dirty(m, server):
        start = time.monotonic()
        assert fusenfs("umount", "--force", m.path) == Result(0, "")
        assert time.monotonic() - start < 6 and not m.mounted
        assert m.process.wait(5) == 0
        assert "given up [write-lost]" in m.log()


def test_umount_without_answer(mount):
    """The daemon is stopped: root's umount works."""
    m = mount(nconnect=1)
    m.process.send_signal(signal.SIGSTOP)
    try:
        start = time.monotonic()
        assert fusenfs("umount", "--lazy", m.path).status == 0 and not m.mounted
        assert time.monotonic() - start < 10
    finally:
        m.process.send_signal(signal.SIGCONT)


def test_umount_dead(mount):
    m = mount(nconnect=1)
    m.kill()
    assert fusenfs("umount", m.path) == Result(0, "") and not m.mounted


def test_umount_of_others(mount, tmp_path):
    """Another user's, and what is no mount of fusenfs."""
    m = mount(nconnect=1)
    result = fusenfs("umount", m.path, uid=USER)
    assert result.status == 1 and f"cannot unmount {m.path}: only root may control {m.path} [ctl-denied]" in result.output
    assert m.mounted
    result = fusenfs("umount", tmp_path)
    assert result.status == 32 and f"cannot unmount {tmp_path}: {tmp_path} is no mount point [no-daemon]" in result.output


LISTENER = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
child = os.fork()
if child:
    print(child, flush=True)
    os._exit(0)
while True:
    c, _ = s.accept()
    c.recv(1000)
    c.sendall(b'{"schema":1,"unsaved_bytes":0,"umounttimeo_seconds":1e300}')
    c.close()
"""


def with_number(number):
    """A process of root's that has it; None: somebody else was faster."""
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
    process = subprocess.Popen(["sleep", "60"])
    if process.pid == number:
        return process
    process.kill()
    process.wait()
    return None


def test_umount_force_kills_no_other(mount):
    """Who listens in the daemon's place began to, and has ended; another process has its number now."""
    m = mount(nconnect=1, user=USER)
    place = Path(f"/tmp/fusenfs-{USER}") / socket_of(m).name
    place.unlink()
    prefix = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig", "KILL"]
    listener = subprocess.Popen([*prefix, "/usr/bin/python3", "-c", LISTENER, place], stdout=subprocess.PIPE, text=True)
    heir = int(listener.stdout.readline())
    listener.wait(10)
    listener.stdout.close()
    other = wait_for(lambda: with_number(listener.pid), 10, "the number")
    try:
        start = time.monotonic()
        assert fusenfs("umount", "--force", m.path) == Result(0, "") and not m.mounted
        assert time.monotonic() - start < 6
        assert other.poll() is None
    finally:
        os.kill(heir, signal.SIGKILL)
        other.kill()
        other.wait()
        place.unlink(missing_ok=True)


# --- help


def ids():
    """Of the catalogue in the source."""
    return re.findall(r'X\(MSG_\w+, "([\w-]+)"', (TOP / "fuse/message.h").read_text())


def test_help_on_messages():
    """Every id of the catalogue, in all three ways."""
    listed = fusenfs("help", "errors")
    assert listed.status == 0 and len(ids()) > 80
    for name in ids():
        assert f"\n  {name} " in listed.output
    for words in (["help", "conn-refused"], ["help", "errors", "conn-refused"]):
        result = fusenfs(*words)
        assert result.status == 0 and result.output.startswith("conn-refused (error, exit status 32)\n\n"), result
    for words in (["help", "no-such-id"], ["help", "errors", "no-such-id"], ["help", "errors", "usage", "x"],
                  ["help", "usage", "x"]):
        assert fusenfs(*words).status == 1


# --- top


def shown(m):
    """The end of its path, which is what a narrow screen has room for."""
    return re.escape(str(m.path)[-8:])


class Terminal:
    """A terminal of tmux, in which a shell runs the program and then says how it ended."""

    def __init__(self, directory, *words, size=(150, 40)):
        self.socket = directory / "tmux"
        command = " ".join([program(), *map(str, words)])
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", str(size[0]), "-y", str(size[1]),
                  f"sh -c 'trap \"\" INT TERM; (trap - INT TERM; exec {command}); echo ended $?; stty -a; sleep 60'")

    def tmux(self, *words):
        return run_bounded(["tmux", "-S", self.socket, *words], 20, env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
                           ).stdout

    def text(self):
        return self.tmux("capture-pane", "-p")

    def pid(self):
        """The program's: the shell's only child."""
        shell = self.tmux("display-message", "-p", "#{pane_pid}").strip()
        return int(Path(f"/proc/{shell}/task/{shell}/children").read_text())

    def type(self, keys):
        self.tmux("send-keys", keys)

    def shows(self, regex, timeout=15):
        """The screen, once it matches."""
        try:
            return wait_for(lambda: (lambda t: t if re.search(regex, t, re.MULTILINE) else None)(self.text()), timeout,
                            regex)
        except Exception:
            print(self.text())
            raise

    def is_restored(self):
        """The first screen, a cursor, echo, whole lines."""
        text = self.shows(r"ended \d+(.|\n)*icanon(.|\n)* -?echo ")  # stty has said all that is looked at
        flags = self.tmux("display-message", "-p", "#{alternate_on} #{cursor_flag}")
        return flags == "0 1\n" and " icanon" in text and " echo " in text

    def close(self):
        with contextlib.suppress(subprocess.CalledProcessError):
            self.tmux("kill-server")


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def make(*words, **kwargs):
        opened.append(Terminal(tmp_path, *words, **kwargs))
        return opened[-1]
    yield make
    for one in opened:
        one.close()


def test_top(mount, load, terminal):
    """Mounts, connections, who loads them; keys hide parts; q ends it and the terminal is as before."""
    m = mount(nconnect=3)
    pid = load(m)
    screen = terminal("top", m.path, "0.3")
    text = screen.shows(rf"^ *{pid} +root .*MB/s .* python3")
    assert re.search(rf"^> +\S*{shown(m)} .* ok +3/3 +[\d.]+ MB/s ", text, re.MULTILINE)
    assert re.search(r"^ ?0 +127\.0\.0\.1:\d+ +127\.0\.0\.1:2049 +up +[\d.]+ +[\d.]+ ", text, re.MULTILINE)
    assert len(re.findall(r"127\.0\.0\.1:2049 +up ", text)) == 3 and "small calls" in text
    screen.shows(r"INFLIGHT +RTT +p50 +p99 +RETRANS/s(.|\n)* +([\d.]+ [mu]?s +){3}[\d.]+ +\d+\n")
    screen.type("c")
    assert "RETRANS/s" not in screen.shows(r"\A(?!(.|\n)*RETRANS/s)")
    screen.type("p")
    screen.shows(r"\A(?!(.|\n)*COMMAND)")
    screen.type("c")
    screen.shows("RETRANS/s")
    screen.type("h")
    screen.shows("the next mount")
    screen.type("q")
    screen.shows("ended 0")
    assert screen.is_restored()


@pytest.mark.parametrize("name, code", [("INT", 130), ("TERM", 143), ("HUP", 129)])
def test_top_signals(mount, terminal, name, code):
    m = mount(nconnect=1)
    screen = terminal("top", m.path, "0.5")
    screen.shows("fusenfs top")
    if name == "INT":
        screen.type("C-c")
    else:
        os.kill(screen.pid(), getattr(signal, f"SIG{name}"))
    screen.shows(f"ended {code}")
    assert screen.is_restored()


def test_top_of_all(mount, terminal):
    """o goes to the next; a dead one is a line; a mount that comes or goes is seen; small terminals cut it."""
    first, dead = mount(nconnect=1), mount(nconnect=2)
    dead.kill()
    screen = terminal("top", size=(120, 30))
    screen.shows(rf"{shown(dead)} .* no answer")
    third = mount(nconnect=1)
    text = screen.shows(rf"{shown(third)} .* ok ")
    selected = re.search(r"^> +(\S+)", text, re.MULTILINE)[1]
    screen.type("o")
    other = re.search(r"^> +(\S+)", screen.shows(rf"^> +(?!{re.escape(selected)} )"), re.MULTILINE)[1]
    assert other != selected
    third.umount()
    screen.shows(rf"\A(?!(.|\n)*{shown(third)} )")
    assert max(map(len, screen.text().splitlines())) <= 120
    screen.type("q")
    screen.shows("ended 0")
    assert first.mounted


def test_top_needs_a_terminal(mount):
    m = mount(nconnect=1)
    result = fusenfs("top", m.path)
    assert result.status == 1 and "top needs a terminal [usage]" in result.output
    assert fusenfs("top", m.path, "0").status == 1 and fusenfs("top", "/nowhere").status == 32


def test_commands_are_documented():
    """Every command is in --help, in README and in the manual."""
    table = (TOP / "fuse/command/command.c").read_text()
    names = re.findall(r'^\t\{ "(\w+)", command_', table, re.MULTILINE)
    assert len(names) >= 6
    text = fusenfs("--help").output
    readme, manual = ((TOP / name).read_text() for name in ("README.md", "packaging/man/fusenfs.1.in"))
    for name in names:
        assert re.search(rf"\b{name}\b", text) and f"| `{name} " in readme and f".B {name}\n" in manual, name
        result = fusenfs(name, "--help")
        assert result.status == 0 and result.output.startswith(f"Usage:  fusenfs {name} "), result
        assert len(result.output.splitlines()) > 1 and fusenfs("help", name) == result, result
        assert max(map(len, result.output.splitlines())) <= 110, result


@pytest.mark.parametrize("words, text", [
    (["umount", "--lazy", "--force", "/mnt"], "--lazy and --force exclude each other"),
    (["health", "--live", "--ready", "/mnt"], "--live and --ready exclude each other"),
    (["top", "--json"], "'--json' is no word for top here"), (["set", "/mnt"], "words are missing after set")])
def test_wrong_words(words, text):
    result = fusenfs(*words)
    assert result.status == 1 and text in result.output and f"try: fusenfs {words[0]} " in result.output, result
