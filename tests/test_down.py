"""The worst cases: how long anything takes while the server is out of reach, and after.

One outage of a quarter of a minute, in five ways at once (lab/far.py), each with a server and some
twenty mounts of its own: what is measured there is the table that README shows, and it is printed
at the end of the run. Each cell is a bound, and each thing that counts towards it is a test.

"before" is from the beginning of the outage until the mount declares the server DOWN, "down" is
after. The test itself never touches a mount; whatever does is a process with a time limit."""

import contextlib
import errno
import os
import re
import resource
import select
import signal
import subprocess
import tempfile
import time
from collections import namedtuple
from functools import partial
from pathlib import Path

import pytest

from conftest import MountFactory
from lab import rpc
from lab.child import Child
from lab.far import WAYS, FarServer
from lab.ganesha import Export
from lab.mount import MountFailed
from lab.procs import Stuck, kernel_stack, wait_for
from lab.tasks import Tasks, all_done, pause
from support import MIB, errno_name, errno_of

pytestmark = pytest.mark.timeout(280)

DETECT, DEADLINE, UMOUNTTIMEO, MOUNTTIMEO = 2, 4, 5, 10
SOFT = f"timeo={DEADLINE * 5},retrans=1,detect={DETECT}"
RETURN = 2                # seconds from the server's first answer to everything being as before
SLACK = float(os.environ.get("FUSENFS_TEST_SLACK", "0.5"))  # for a busy machine, on every promise
STAGGER = 1.5             # between the beginnings of the five
LIMIT = 90                # of all of it, if nothing is as it should be
OUTAGE = 3 * DEADLINE + 2  # seconds, at least: hard has to outlast three soft deadlines
DOWN, OK, LOST, CAME = "not responding", r" OK \(outage ([0-9.]+) s\)", " lost: ", r"connection .* up \("
LOUD = f"{DOWN}|given up|gave up|still in use|outcome|could not be saved|timed out|is lost|write-lost|still trying to mount"
WRONLY, CREAT = os.O_WRONLY, os.O_CREAT

# name: (nconnect, options) of the mounts that outlive the outage. actimeo=1: when it begins, what is
# known of a directory is too old to be believed without asking; that is the worst case.
MOUNTS = {
    "softerr": (8, SOFT), "expired": (8, f"{SOFT},actimeo=1"), "soft": (2, f"{SOFT},actimeo=1,soft"),
    "hard": (4, f"{SOFT},hard"), "late": (2, f"{SOFT},actimeo=1,detect=60"),
    "optimeo": (2, f"timeo=600,retrans=5,optimeo=1,actimeo=1,detect={DETECT}"), "default": (None, "")}
# From when the server went; a hundred programs have to start before the last of them asks it.
NOTICED = {"softerr": DETECT + 0.5, "hard": DETECT + 0.5, "soft": DETECT + 0.5, "default": 5.5}


# --- what is done: prepare(i), in a directory like fill() makes it and while the server answers,
# returns what is done when it does not; i = 0 before, 1 when it is down, 2 in a process started then


def fill(directory):
    directory.mkdir(parents=True)
    for i in range(3):
        (directory / f"f{i}").write_bytes(bytes(20_000))
        (directory / f"d{i}/1/2/3/4").mkdir(parents=True)


def reads(i):
    fd = os.open(f"f{i}", os.O_RDONLY)
    return lambda: os.read(fd, 4096)


def written(i):
    fd = os.open(f"w{i}", WRONLY | CREAT)
    os.write(fd, bytes(10_000))
    return fd


def fsyncs(i):
    fd = written(i)
    return lambda: os.fsync(fd)


def closes(i):
    fd = written(i)
    return lambda: os.close(fd)


def truncates(i):
    fd = os.open(f"f{i}", WRONLY)
    return lambda: os.ftruncate(fd, 5)


def known(func, name, *args):
    """func(name, ...), of a name that has been looked up before."""
    os.stat(name)
    return lambda: func(name, *args)


def makes_missing(i):
    """mkdir of a name that is known not to exist: no LOOKUP precedes it."""
    assert errno_of(os.stat, f"new{i}") == errno.ENOENT
    return lambda: os.mkdir(f"new{i}")


CALLS = {
    "stat": lambda i: lambda: os.stat(f"f{i}"), "open": lambda i: lambda: os.open(f"f{i}", os.O_RDONLY),
    "read": reads, "create": lambda i: lambda: os.open(f"new{i}", WRONLY | CREAT),
    "mkdir": lambda i: lambda: os.mkdir(f"new{i}"), "unlink": lambda i: known(os.unlink, f"f{i}"),
    "rename": lambda i: known(os.rename, f"f{i}", f"e{i}"), "truncate": truncates, "fsync": fsyncs,
    "close": closes, "stat of a deep path": lambda i: lambda: os.stat(f"d{i}/1/2/3/4")}
NEW = ["stat", "open", "create", "mkdir"]  # that new processes do
FEW = ["stat", "read", "create", "fsync"]  # with other options
KILLED = ["stat", "read", "create", "fsync", "close"]
WAITED = {**{name: CALLS[name] for name in FEW}, "mkdir": makes_missing}  # with hard


def first_error(*steps):
    """All of them, as a program does that takes no notice; raises the first error."""
    numbers = [errno_of(step) for step in steps]
    number = next((number for number in numbers if number), 0)
    if number:
        raise OSError(number, "")


def opens_and_reads(i):
    return lambda: os.read(os.open(f"f{i}", os.O_RDONLY), 4096)


def writes_and_saves(i):
    fd = os.open(f"w{i}", WRONLY | CREAT)
    return lambda: first_error(lambda: os.write(fd, bytes(300_000)), lambda: os.fsync(fd),
                               lambda: os.close(fd))


SEQUENCES = {
    "open, read": opens_and_reads, "write, fsync, close": writes_and_saves,
    "listdir": lambda i: lambda: os.listdir("."),
    "ten stats": lambda i: lambda: first_error(*(partial(os.stat, f"s{i}{k}") for k in range(10)))}
COMMANDS = {
    "cp": lambda d, i: ["cp", d / f"f{i}", d / f"copy{i}"],
    "append": lambda d, i: ["sh", "-c", 'echo x >>"$0"', d / f"f{i}"],
    "touch": lambda d, i: ["touch", d / f"new{i}"],
    "mv": lambda d, i: ["mv", d / f"f{i}", d / f"e{i}"],
    "rm -r": lambda d, i: ["rm", "-r", d / f"d{i}"],
    "du": lambda d, i: ["du", "-s", d]}
MEMORY = {
    "stat": ["stat"], "ls": ["ls"], "ls -l": ["ls", "-l"], "df": ["df"], "mountpoint": ["mountpoint"],
    "completion": ["bash", "-c", 'compgen -f "$0/"']}
UMOUNTS = {
    "umount": ["umount"], "umount -l": ["umount", "-l"], "umount -f": ["umount", "-f"],
    "fusermount3 -u": ["fusermount3", "-u"], "SIGTERM": None,
    "umount, hard": ["umount"], "SIGTERM, hard": None}
HARD_UMOUNTS = ["umount, hard", "SIGTERM, hard"]
SIGNALS = {"kill -9": signal.SIGKILL, "Ctrl-C": signal.SIGINT}


# --- the table: one row for each promise, one check for each thing that it is made to

Check = namedtuple("Check", "row what phase promise")
Seen = namedtuple("Seen", "seconds problem")


def all_checks():
    for phase, from_memory, call, program in (("before", 1, DEADLINE, DEADLINE + 1 + DETECT),
                                              ("down", 0.1, 0.5, 0.5)):
        for what in MEMORY:
            yield Check("from memory", what, phase, from_memory)
        for what in MEMORY:
            yield Check("from memory, cache times over", what, phase, from_memory)
        for what in CALLS:
            yield Check("a call that needs the server", what, phase, call)
        for what in [*SEQUENCES, *COMMANDS]:
            yield Check("a program that needs the server", what, phase, program)
        for what in FEW:
            yield Check("a call, soft", what, phase, call)
        for what in KILLED:
            for name in SIGNALS:
                yield Check("Ctrl-C, kill -9", f"{name}, {what}", phase, 1)
        yield Check("kill -9 with writes pending", "four writers", phase, 1)
        for what in UMOUNTS:
            yield Check("umount, end of the daemon", what, phase, UMOUNTTIMEO + 1)
            yield Check("umount: the loss is named", what, phase, None)
    for what in NEW:
        yield Check("a call of a process started then", what, "down", 0.5)
    for what in FEW:
        yield Check("a call, detect=60", what, "before", DEADLINE)
        yield Check("a call, optimeo=1", what, "before", 1)
    yield Check("a call, no options", "stat", "before", 30)
    for what in WAITED:
        yield Check("hard: still waits after 3 deadlines", what, "down", None)
        yield Check("hard: succeeds when the server is back", what, "back", RETURN)
    for name, seconds in NOTICED.items():
        yield Check(f"DOWN is noticed, {'no options' if name == 'default' else f'detect={DETECT}'}",
                    name, "before", seconds)
    yield Check("mounting it, foreground: 32", "mount", "down", MOUNTTIMEO)
    yield Check("mounting another server meanwhile", "mount", "down", 1)
    yield Check("mounting it with bg", "mount", "down", 0.5)
    for what in BACKGROUND:
        yield Check("bg: a call", what, "down", 0.5)
    yield Check("bg: works when the server appears", "stat", "back", RETURN)
    for name in MOUNTS:
        if name != "late":  # TCP itself may wait longer, on connections that were not given up
            yield Check("works again after the first answer", name, "back", RETURN)
        if name in NOTICED:
            yield Check("log: one line when it goes, one when it returns", name, "back", None)
            yield Check("log: few lines about connections", name, "back", None)
    yield Check("what was written arrives", "writes pending", "back", None)
    yield Check("everything ends, nothing is complained of", "mounts", "back", None)


# stat of a name that nobody can know; and what asks for the root, of which nothing is known yet
BACKGROUND = {"stat": lambda path: ["stat", path / "bg/f0"], "ls": lambda path: ["ls", path],
              "df": lambda path: ["df", path], "mkdir": lambda path: ["mkdir", path / "bg/new"]}
CHECKS = list(all_checks())
BY_NAME = {check[:3]: check for check in CHECKS}


class Table:
    """What was seen. At the end of the run pytest prints it (pytest_terminal_summary)."""

    def __init__(self):
        self.seen, self.errors = {}, {}

    def saw(self, way, row, what, phase, seconds, problem=""):
        self.seen[way, BY_NAME[row, what, phase]] = Seen(seconds, problem)

    def judge(self, way, check):
        """Asserts one check."""
        if (way, check) not in self.seen:
            raise AssertionError(f"not measured: {self.errors.get(way, 'what it needs has failed')}")
        seconds, problem = self.seen[way, check]
        if problem:
            raise AssertionError(f"{problem}\nafter {seconds} s")
        if check.promise is not None and seconds > check.promise + SLACK:
            raise AssertionError(f"{seconds:.2f} s, promised {check.promise} s")

    def markdown(self):
        """Rows are promises, columns ways; a cell is the worst second seen, before / when down. `!`:
        some did not do what they should, or took longer."""
        lines = ["| what | promise (s) | " + " | ".join(WAYS) + " |", "|---|---|" + "---|" * len(WAYS)]
        for row in dict.fromkeys(check.row for check in CHECKS):
            phases = dict.fromkeys(check.phase for check in CHECKS if check.row == row)
            promises = [self._promise(row, phase) for phase in phases]
            cells = [" / ".join(self._cell(way, row, phase) for phase in phases) for way in WAYS]
            where = "" if len(phases) > 1 else f" ({'once ' if 'down' in phases else ''}{[*phases][0]})"
            lines.append(f"| {row}{where} | {' / '.join(promises)} | {' | '.join(cells)} |")
        return "\n".join(lines)

    @staticmethod
    def _promise(row, phase):
        promise = max(check.promise or 0 for check in CHECKS if (check.row, check.phase) == (row, phase))
        return f"{promise:g}" if promise else "yes"

    def _cell(self, way, row, phase):
        checks = [check for check in CHECKS if (check.row, check.phase) == (row, phase)]
        found = [self.seen.get((way, check)) for check in checks]
        bad = any(seen is None or seen.problem or check.promise is not None
                  and seen.seconds > check.promise + SLACK for seen, check in zip(found, checks))
        times = [seen.seconds for seen in found if seen and seen.seconds is not None]
        return (f"{max(times):.2f}" if times else "no" if bad else "yes") + " !" * bad

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("worst seconds while the server is out of reach")
        terminalreporter.write_line(self.markdown())


# --- processes that use the mount; see Child


def timed(operation, child):
    start = time.monotonic()
    number = errno_of(operation)
    child.tell((errno_name(number), time.monotonic() - start))


def operates(directory, prepare, child):
    """Does it each time it is told to, i = 0, 1."""
    os.chdir(directory)
    operations = [prepare(i) for i in range(2)]
    child.tell("ready")
    for operation in operations:
        child.hear(600)
        timed(operation, child)
    child.hear(600)


def operates_once(directory, prepare, child):
    """All of it when the server has gone: also entering the directory."""
    timed(lambda: (os.chdir(directory), prepare(2)()), child)
    child.hear(600)


def asks_once(directory, child):
    """For a name that nobody knows, when it is told to."""
    child.hear(600)
    errno_of(os.stat, directory / "unknown")
    child.hear(600)


def has_written(path, size, child):
    fd = os.open(path, WRONLY | CREAT)
    os.write(fd, bytes(size))
    child.tell("ready")
    child.hear(600)
    errno_of(os.stat, path.parent / "nowhere")
    child.hear(600)


def stats_until_it_works(path, child):
    while errno_of(os.stat, path):
        time.sleep(0.02)
    child.tell(time.monotonic())


def asks_until_answered(host, port, child):
    while not rpc.ping(host, port, rpc.NFS, timeout=0.2):
        time.sleep(0.02)
    child.tell(time.monotonic())


def said(child):
    """A condition: the child has told something, or ended."""
    return lambda: bool(select.select([child.readable], [], [], 0)[0])


def is_waiting(pid):
    stacks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stack")]
    return any(word in stack for stack in stacks for word in
               ("request_wait_answer", "folio_wait", "fuse_", "filemap_fault"))


class Log:
    """A mount's log, read again only when it has grown."""

    def __init__(self, m):
        self.m, self.size, self.text = m, -1, ""

    def has(self, text):
        with contextlib.suppress(FileNotFoundError):
            size = os.stat(self.m.log_path).st_size
            if size != self.size:
                self.size, self.text = size, self.m.log()
        return text in self.text


# --- the outage


class Lane:
    """One way of being out of reach: its server, its mounts, and what is measured on them."""

    def __init__(self, name, server, live, factory, tasks, table):
        self.name, self.server, self.live, self.factory = name, server, live, factory
        self.tasks, self.saw = tasks, partial(table.saw, name)
        self.children, self.processes, self.saved = [], [], []
        self.mounts, self.mounts_to_end = {}, {}
        self.root = Path(server.exports[0].path)
        self.began = self.answered = None

    # Before the outage.

    def mount_all(self):
        """Starts them; prepare() finds them mounted."""
        for name, (nconnect, options) in MOUNTS.items():
            self.mounts[name] = self.mount(nconnect, options)
        for phase in ("before", "down"):
            for what in UMOUNTS:
                # umount(8) asks for the root's attributes, and here they are too old to be believed
                m = self.mount(2, f"{SOFT},actimeo=1" + ",hard" * (what in HARD_UMOUNTS))
                self.mounts_to_end[what, phase] = m

    def prepare(self):
        for m in [*self.mounts.values(), *self.mounts_to_end.values()]:
            wait_for(m.appeared, 20, "the mount")
        for name in self.mounts:
            fill(self.root / name / "back")
        fill(self.root / "bg")
        softerr = self.mounts["softerr"]
        self.calls = self.each("expired", {**CALLS, **SEQUENCES})
        self.others = {name: self.each(name, {what: CALLS[what] for what in FEW})
                       for name in ("soft", "late", "optimeo")}
        self.others["default"] = self.each("default", {"stat": CALLS["stat"]})
        for what in COMMANDS:
            fill(self.root / "expired" / what)
        for what in NEW:
            fill(self.root / "expired" / f"new process, {what}")
        self.waited = self.each("hard", WAITED)
        self.victims = {phase: [(f"{signame}, {what}", number, self.operator(
            name, f"{signame} {what} {phase}", CALLS[what]))
            for what in KILLED for signame, number in SIGNALS.items()]
            for phase, name in (("before", "softerr"), ("down", "hard"))}
        self.writers = {phase: [self.writer(softerr, f"softerr/{phase}{i}", size)
                                for i, size in enumerate((10_000, 10_000, 10_000, 8 * MIB))]
                        for phase in ("before", "down")}
        self.unmounted = [(what, phase, m, self.writer(m, f"{what} {phase}", 10_000, False))
                          for (what, phase), m in self.mounts_to_end.items()]
        for child in self.children:
            assert child.hear(30) == "ready"

    def mount(self, nconnect, options, server=None):
        m = self.factory(nconnect, options, server=server or self.server, limit=270, wait=False)
        m.expect_log(LOUD)
        return m

    def child(self, func, *args):
        child = Child(func, *args)
        self.children.append(child)
        return child

    def operator(self, mount, place, prepare):
        fill(self.root / mount / place)
        return self.child(operates, self.mounts[mount].path / mount / place, prepare)

    def each(self, mount, operations):
        return {what: self.operator(mount, what, prepare) for what, prepare in operations.items()}

    def writer(self, m, name, size, saved=True):
        child = self.child(has_written, m.path / name, size)
        if saved:
            self.saved.append((self.root / name, size))
        return child

    # The outage. Each script measures one thing.

    def script(self):
        yield from pause(self.server.number * STAGGER)
        yield from self.warm_up()
        askers = [self.child(asks_once, self.mounts[name].path) for name in NOTICED]
        self.server.vanish()
        self.began = time.monotonic()
        for asker in askers:  # silence is what follows when an answer is owed
            asker.tell()
        late = [self.tasks.start(self.notice(name)) for name in NOTICED]
        before = yield from self.start(self.phase_scripts("before", 0))
        late += yield from self.start(self.slow_scripts())
        for name in ("softerr", "expired", "soft"):
            yield from self.declared(name)
        yield (all_done(before), 60)
        for script in self.memory_scripts("down"):  # not at once: a tenth of a second is little
            yield from script
        late += yield from self.start(self.phase_scripts("down", 1))
        late += yield from self.start(self.new_processes())
        yield (lambda: time.monotonic() - self.began > OUTAGE, OUTAGE)
        yield (all_done(late), 60)
        yield from self.comes_back()

    def start(self, scripts):
        """One after the other, as starting a process takes a moment, too."""
        tasks = []
        for script in scripts:
            tasks.append(self.tasks.start(script))
            yield from pause(0)
        return tasks

    def warm_up(self):
        """The root is looked at by both mounts; one of them believes for a second only."""
        for name in ("softerr", "expired"):
            for argv in MEMORY.values():
                yield from self.run([*argv, self.mounts[name].path], 10)
        yield from pause(1.2)

    def phase_scripts(self, phase, i):
        directory = self.mounts["expired"].path / "expired"
        if phase == "before":
            yield from self.memory_scripts(phase)
        for what, child in self.calls.items():
            row = "a call" if what in CALLS else "a program"
            yield self.operation(f"{row} that needs the server", what, phase, child)
        for what, argv in COMMANDS.items():
            yield self.program(what, phase, argv(directory / what, i))
        for what, child in self.others["soft"].items():
            yield self.operation("a call, soft", what, phase, child, "EIO")
        for what, number, child in self.victims[phase]:
            yield self.kill("Ctrl-C, kill -9", what, phase, child, number)
        yield self.kill_writers(phase)

    def memory_scripts(self, phase):
        for row, name in (("from memory", "softerr"), ("from memory, cache times over", "expired")):
            for what, argv in MEMORY.items():
                yield self.remembers(row, what, phase, [*argv, self.mounts[name].path])

    def slow_scripts(self):
        for what, child in self.others["late"].items():
            yield self.operation("a call, detect=60", what, "before", child)
        for what, child in self.others["optimeo"].items():
            yield self.operation("a call, optimeo=1", what, "before", child)
        yield self.operation("a call, no options", "stat", "before",
                             self.others["default"]["stat"], limit=35)
        for what, child in self.waited.items():
            yield self.wait_hard(what, child)
        for what, phase, m, child in self.unmounted:
            yield self.unmount(what, phase, m, child)
        yield self.mount_in_vain()
        yield self.mount_another()
        self.tasks.start(self.mount_in_background())

    def declared(self, name, limit=20):
        log = Log(self.mounts[name])
        return (yield (lambda: log.has(DOWN), limit))

    def notice(self, name):
        row = f"DOWN is noticed, {'no options' if name == 'default' else f'detect={DETECT}'}"
        ok = yield from self.declared(name)
        self.saw(row, name, "before", time.monotonic() - self.began, "" if ok else "never")

    def run(self, argv, limit):
        """A program: its seconds, exit status (None: it had to be killed) and output."""
        with tempfile.TemporaryFile("w+") as output:
            start = time.monotonic()
            process = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, start_new_session=True, cwd="/",
                                       env={**os.environ, "LC_ALL": "C"})
            self.processes.append(process)
            ended = yield (lambda: process.poll() is not None, limit)
            seconds = time.monotonic() - start
            if not ended:
                stack = kernel_stack(process.pid)
                process.kill()
                return seconds, None, stack
            output.seek(0)
            return seconds, process.returncode, output.read()

    def remembers(self, row, what, phase, argv):
        seconds, status, output = yield from self.run(argv, 12 if phase == "before" else 3)
        wanted = "softerr" if what in ("ls", "ls -l", "completion") else str(argv[-1])
        good = status == 0 and wanted in output
        self.saw(row, what, phase, seconds, "" if good else f"exit status {status}\n{output}")

    def operation(self, row, what, phase, child, wanted="ETIMEDOUT", limit=15):
        if not child.alive:
            self.saw(row, what, phase, None, "the process has died")
            return
        child.tell()
        yield from self.outcome(row, what, phase, child, wanted, limit)

    def outcome(self, row, what, phase, child, wanted, limit):
        if not (yield (said(child), limit)):
            self.saw(row, what, phase, limit, f"still waits\n{kernel_stack(child.pid)}")
            return
        result, seconds = child.hear(1)
        self.saw(row, what, phase, seconds, "" if result == wanted else result)

    def program(self, what, phase, argv):
        seconds, status, output = yield from self.run(argv, 20)
        good = status and "Connection timed out" in output
        self.saw("a program that needs the server", what, phase, seconds,
                 "" if good else f"exit status {status}\n{output}")

    def new_processes(self):
        for what in NEW:
            place = self.mounts["expired"].path / "expired" / f"new process, {what}"
            child = self.child(operates_once, place, CALLS[what])
            yield self.outcome("a call of a process started then", what, "down", child, "ETIMEDOUT", 12)

    def kill(self, row, what, phase, child, number):
        if phase == "down":
            yield from self.declared("hard")
        child.tell()
        waits = yield (lambda: is_waiting(child.pid), 3)
        yield from pause(0.3)
        start = time.monotonic()
        child.kill(number)
        ended = yield (lambda: not child.alive, 10)
        seconds = time.monotonic() - start
        problem = "" if waits else "it did not wait before"
        if not ended:
            problem = kernel_stack(child.pid)
        elif waits and os.WTERMSIG(child.status) != number:
            problem = f"ended with {child.status}"
        self.saw(row, what, phase, seconds, problem)

    def kill_writers(self, phase):
        children = self.writers[phase]
        yield from pause(0.3)
        start = time.monotonic()
        for child in children:
            child.kill()
        ended = yield (lambda: not any(child.alive for child in children), 10)
        stacks = [] if ended else [kernel_stack(child.pid) for child in children if child.alive]
        self.saw("kill -9 with writes pending", "four writers", phase, time.monotonic() - start,
                 "\n".join(stacks))

    def wait_hard(self, what, child):
        child.tell()
        failed = yield (said(child), 3 * DEADLINE)
        problem = f"after {child.hear(1)}" if failed else ""
        self.saw("hard: still waits after 3 deadlines", what, "down", None, problem)
        if not failed:
            self.tasks.start(self.wait_hard_end(what, child))

    def wait_hard_end(self, what, child):
        yield (lambda: self.answered, 120)
        ended = yield (said(child), 20)
        seconds = time.monotonic() - (self.answered or self.began)
        result, _ = child.hear(1) if ended else ("still waits", 0)
        self.saw("hard: succeeds when the server is back", what, "back", seconds,
                 "" if result == "success" else result)

    def unmount(self, what, phase, m, child):
        """Somebody has written and been killed, and nobody else uses the mount."""
        child.tell()  # asks for something: silence is noticed when answers are owed
        log = Log(m)
        if phase == "down":
            yield (lambda: log.has(DOWN), 20)
        child.kill()
        yield (lambda: not child.alive, 10)
        start, output, status = time.monotonic(), "", 0
        if UMOUNTS[what]:
            _, status, output = yield from self.run([*UMOUNTS[what], m.path], 12)
        else:
            m.process.send_signal(signal.SIGTERM)
        ended = yield (lambda: not m.alive, 12)
        seconds = time.monotonic() - start
        problem = "" if status == 0 else f"exit status {status}\n{output}"
        if not ended:
            problem += f"the daemon still runs\n{kernel_stack(m.pid)}"
        elif m.mounted:
            problem += "the mount is still there"
        self.saw("umount, end of the daemon", what, phase, seconds, problem)
        self.saw("umount: the loss is named", what, phase, None,
                 "" if re.search("write-lost", m.log()) else f"in the log:\n{m.log()}")

    def mount_in_vain(self):
        yield from pause(0.5)
        m, start = self.mount(2, ""), time.monotonic()
        yield (lambda: not m.alive, 20)
        seconds, said_what = time.monotonic() - start, m.log()
        told = (m.process.poll() == 32 and re.search(r"\[[a-z-]+\]$", said_what, re.M)
                and " try: " in said_what)
        self.saw("mounting it, foreground: 32", "mount", "down", seconds,
                 "" if told else f"{m.process.poll()}\n{said_what}")

    def mount_another(self):
        yield from pause(1)
        m, start = self.mount(4, "", server=self.live), time.monotonic()
        yield (m.appeared, 20)
        self.saw("mounting another server meanwhile", "mount", "down", time.monotonic() - start,
                 "" if m.mounted else m.log())

    def mount_in_background(self):
        """The attempt's part before the server is back; the rest is comes_back()'s."""
        yield from pause(1)
        m, start, problem = self.mount(2, f"{SOFT},bg"), time.monotonic(), ""
        try:
            yield (m.appeared, 10)
        except MountFailed as failed:
            problem = str(failed)
        if not problem and not m.device:
            problem = "no mount point"
        self.saw("mounting it with bg", "mount", "down", time.monotonic() - start, problem)
        if problem:
            return
        for what, argv in BACKGROUND.items():
            seconds, status, output = yield from self.run(argv(m.path), 12)
            fine = status == 0 and what == "df" or status and "Connection timed out" in output
            self.saw("bg: a call", what, "down", seconds, "" if fine else f"{status} {output}")
        yield (lambda: self.returning, 120)
        yield from self.works_again("bg: works when the server appears", "stat", m.path / "bg/f1")

    # The return.

    returning = False

    def comes_back(self):
        self.returning = True
        asker = self.child(asks_until_answered, self.server.host, self.server.nfs_port)
        pollers = [self.tasks.start(self.works_again("works again after the first answer", name,
                                                     m.path / name / "back/f0"))
                   for name, m in self.mounts.items() if name != "late"]
        yield from pause(0.1)
        self.server.come_back()
        yield (said(asker), 20)
        if not said(asker)():
            raise AssertionError(f"{self.name}: the server itself does not come back")
        self.answered = asker.hear(1)
        yield (all_done(pollers), 30)
        yield from self.check_logs()
        yield from self.check_saved()

    def works_again(self, row, what, path):
        poller = self.child(stats_until_it_works, path)
        ok = yield (said(poller), 25)
        when = poller.hear(1) if ok else time.monotonic()
        yield (lambda: self.answered, 25)
        self.saw(row, what, "back", max(0, when - (self.answered or self.began)),
                 "" if ok else kernel_stack(poller.pid))

    def check_logs(self):
        outage = self.answered - self.began
        for name in NOTICED:
            m = self.mounts[name]
            yield (lambda: DOWN not in m.log() or re.search(OK, m.log()), 5)
            log = m.log()
            gone, came = log.count(DOWN), [float(s) for s in re.findall(OK, log)]
            good = gone == 1 and len(came) == 1 and outage - 6 <= came[0] <= outage + RETURN + 1
            self.saw("log: one line when it goes, one when it returns", name, "back", None,
                     "" if good else f"outage of {outage:.1f} s:\n{log}")
            few = log.count(LOST) <= 3 and len(re.findall(CAME, log)) <= 3
            self.saw("log: few lines about connections", name, "back", None, "" if few else log)

    def check_saved(self):
        """Who wrote was killed; what he wrote was taken."""
        def missing():
            return [path.name for path, size in self.saved if not path.exists()
                    or path.stat().st_size != size or path.stat().st_blocks < size // 512]
        yield (lambda: not missing(), 10)
        self.saw("what was written arrives", "writes pending", "back", None, " ".join(missing()))

    # The end.

    def end(self):
        """Nothing here waits for a mount: who does not end is freed by the kernel's emergency exit."""
        for child in self.children:
            if child.alive:
                child.kill()
        for process in self.processes:
            if process.poll() is None:
                process.kill()

    def bury(self):
        for child in self.children:
            child.close()
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1)


@contextlib.contextmanager
def far_servers(site, names=tuple(WAYS)):
    """One server for each way."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for number, name in enumerate(names, 1):
            directory = site.rw.parent / f"far{number}"
            directory.mkdir(exist_ok=True)
            servers[name] = stack.enter_context(FarServer([Export(directory)], WAYS[name], number))
        yield servers


@pytest.fixture(scope="module")
def outage(site, workdir, fusectl, request):
    """The outage, and the table of what was seen in it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    table, tasks, factory = Table(), Tasks(), MountFactory(site, workdir / "mnt/outage")
    request.config.pluginmanager.register(table, "fusenfs-outage")
    with far_servers(site) as servers:
        lanes = [Lane(name, server, site, factory, tasks, table) for name, server in servers.items()]
        try:
            for lane in lanes:
                lane.mount_all()
            for lane in lanes:
                lane.prepare()
            scripts = {lane.name: tasks.start(lane.script()) for lane in lanes}
            tasks.run(LIMIT)
            table.errors = {name: task.error for name, task in scripts.items() if task.error}
            errors = tasks.errors()
        finally:
            complaints = end_of(lanes, factory)
    for name in WAYS:
        table.saw(name, "everything ends, nothing is complained of", "mounts", "back", None,
                  "\n".join([*map(repr, errors), *complaints]))
    return table


def end_of(lanes, factory):
    """Ends all processes and mounts; what there was to complain of."""
    for lane in lanes:
        lane.end()
    alive = [child for lane in lanes for child in lane.children]
    try:
        wait_for(lambda: not any(child.alive for child in alive), 5)
    except Stuck:
        for m in factory.mounts:
            m.abort()
    for lane in lanes:
        lane.bury()
    umounts = [subprocess.Popen(["umount", m.path]) for m in factory.mounts if m.mounted and m.alive]
    with contextlib.suppress(Stuck):
        wait_for(lambda: all(process.poll() is not None for process in umounts), 15)
    for process in umounts:
        process.kill()
    return factory.close()


# --- the tests

def cases():
    for check in CHECKS:
        for way in WAYS:
            name = f"{check.row}: {check.what} [{check.phase}] {way}".replace("::", ":")
            yield pytest.param(check, way, id=name)


@pytest.mark.parametrize("check, way", cases())
def test_worst_case(outage, check, way):
    outage.judge(way, check)


def test_the_table_can_fail():
    """A bound that is missed, an error instead of another and what was not measured all fail."""
    check = next(check for check in CHECKS if check.promise)
    table = Table()
    for seconds, problem in ((check.promise + 2 * SLACK, ""), (0.1, "EIO")):
        table.saw("killed", *check[:3], seconds, problem)
        with pytest.raises(AssertionError):
            table.judge("killed", check)
    with pytest.raises(AssertionError):
        table.judge("silent", check)
    table.saw("killed", *check[:3], check.promise)
    table.judge("killed", check)


@pytest.mark.slow
def test_idle_mount_notices(site, mount):
    """Nobody uses the mount, and it is known within a minute all the same that the server is gone."""
    with far_servers(site, [way for way in WAYS if way != "killed"]) as servers:
        mounts = {way: mount(options=SOFT, server=server, limit=200) for way, server in servers.items()}
        for way, m in mounts.items():
            m.expect_log(LOUD)
            servers[way].vanish()
        began, seconds = time.monotonic(), {}
        while len(seconds) < len(mounts) and time.monotonic() - began < 70:
            for way, m in mounts.items():
                if way not in seconds and DOWN in m.log():
                    seconds[way] = time.monotonic() - began
            time.sleep(0.1)
        for server in servers.values():
            server.come_back()
        late = {way: seconds.get(way) for way in mounts if seconds.get(way, 99) > 60 + SLACK}
        for m in mounts.values():
            m.umount()
    assert not late, f"after seconds: {late}"


@pytest.mark.slow
def test_bg_gives_up(site, mount):
    """bg,retry=1: a minute, then the mount goes and the daemon ends."""
    with far_servers(site, ["silent"]) as servers:
        servers["silent"].vanish()
        m = mount(options=f"{SOFT},bg,retry=1", server=servers["silent"], limit=200)
        m.expect_log(".")
        start = time.monotonic()
        with contextlib.suppress(subprocess.TimeoutExpired):
            m.process.wait(100)
        seconds = time.monotonic() - start
        m.expect_exit(32)
        servers["silent"].come_back()
        assert not m.alive and not m.mounted, f"still there after {seconds:.0f} s"
        assert 45 < seconds < 60 + MOUNTTIMEO + 5 and m.process.returncode == 32
