"""A server that does not answer hangs nobody: whoever waits can be killed, nothing else interrupts
him, the deadline ends every call, and what needs no server does not wait for it.

A proxy stalls all connections: TCP is alive and nothing comes back, as from a server that is
stopped. The processes that wait are children of the test, which itself never touches the mount
then."""

import ctypes
import errno
import mmap
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from lab.child import Child
from lab.procs import kernel_stack, run_bounded, wait_for
from lab.proxy import Proxy
from support import MIB, create, errno_name, errno_of, opened, page_buffer, pattern, read, same

FREED = 3              # seconds after a signal; the promise is 1
DEADLINE = 2           # seconds, of SHORT
SHORT = f"timeo={DEADLINE * 5},retrans=1"
ASKING = "lookupcache=none,nosoftreval"  # whoever wants something waits for the server
UNCACHED = f"actimeo=0,{ASKING}"
LATE = DEADLINE + 2
UMOUNTTIMEO = 5
LOUD = "not responding|given up|gave up|still in use|outcome|could not be saved|timed out"
RDWR, WRONLY, CREAT, DIRECT = os.O_RDWR, os.O_WRONLY, os.O_CREAT, os.O_DIRECT
libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def proxy(server, mount):
    """A proxy to the server; see test_connections.py."""
    with Proxy(server) as made:
        yield made
        made.clear()
        made.resume()
        made.listen()
        for m in mount.mounts:
            m.expect_log(LOUD)
            if m.mounted and m.alive:
                m.umount()


def through(mount, server, options=UNCACHED, **how):
    """A mount with something in it."""
    m = mount(options=options, server=server, **how)
    fill(m.server_path)
    return m


def fill(directory):
    """A file f, a directory d and a file in it."""
    (directory / "f").write_bytes(pattern(MIB))
    (directory / "d").mkdir()
    (directory / "d/g").write_bytes(b"g")


# --- operations: prepare(), in the directory and while the server answers, returns what is done when
# it does not


def reads():
    fd = os.open("f", os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return lambda: os.read(fd, 4096)


def reads_direct():
    fd = os.open("f", os.O_RDONLY | DIRECT)

    def read_page():
        with page_buffer(4096) as buffer:
            os.preadv(fd, [buffer], 0)
    return read_page


def writes(name="w"):
    """One that waits for the server."""
    fd = os.open(name, WRONLY | CREAT | os.O_DSYNC)
    return lambda: os.write(fd, b"x" * 10_000)


def writes_much():
    """More than the daemon may hold back: it has to wait somewhere."""
    fd = os.open("w", WRONLY | CREAT)

    def write():
        for _ in range(256):
            os.write(fd, bytes(MIB))
        os.fsync(fd)
    return write


def written(name="w"):
    fd = os.open(name, WRONLY | CREAT)
    os.write(fd, b"x" * 10_000)
    return fd


def fsyncs():
    fd = written()
    return lambda: os.fsync(fd)


def closes():
    fd = written()
    return lambda: os.close(fd)


def truncates():
    fd = os.open("w", WRONLY | CREAT)
    return lambda: os.ftruncate(fd, 5)


def faults():
    """A page fault of a mapping: the reader waits for a page, not in a system call."""
    fd = os.open("f", os.O_RDONLY)
    area = mmap.mmap(fd, MIB, access=mmap.ACCESS_READ)
    return lambda: area[600_000]


OPERATIONS = {
    "stat": lambda: lambda: os.stat("f"),
    "open": lambda: lambda: os.open("f", os.O_RDONLY),
    "create": lambda: lambda: os.open("new", WRONLY | CREAT),
    "read": reads, "direct": reads_direct, "write": writes, "much": writes_much, "fsync": fsyncs,
    "close": closes, "truncate": truncates, "fault": faults,
    "mkdir": lambda: lambda: os.mkdir("new"),
    "unlink": lambda: lambda: os.unlink("f"),
    "rename": lambda: lambda: os.rename("f", "e"),
    "chmod": lambda: lambda: os.chmod("f", 0o600),
    "readdir": lambda: lambda: os.listdir("d"),
    "lstat": lambda: lambda: os.lstat("d/g")}


def worker(directory, prepare, child):
    os.chdir(directory)
    operation = prepare()
    child.tell("ready")
    child.hear()
    return operation()


def start_stuck(m, stall, *prepares):
    """Children that wait for a server that has been stalled, one for each operation."""
    children = [Child(worker, m.path, prepare) for prepare in prepares]
    for child in children:
        assert child.hear() == "ready"
    stall()
    for child in children:
        child.tell()
    for child in children:
        wait_for(lambda: is_waiting(child.pid), 5, f"a process to wait\n{kernel_stack(child.pid)}")
    return children


def everywhere(m, task, names, *args):
    """Children that run task(directory, name, *args), each in a directory of its own so that none
    waits for a lock that another one holds."""
    children = {}
    for name in names:
        (m.server_path / name).mkdir()
        fill(m.server_path / name)
    for name in names:
        children[name] = Child(task, m.path / name, name, *args)
        children[name].hear()
    return children


def is_waiting(pid):
    """Whether a process waits for FUSE."""
    stacks = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stack")]
    return any(word in stack for stack in stacks for word in
               ("request_wait_answer", "folio_wait", "fuse_", "filemap_fault"))


def answers(m):
    """Returns when the mount answers again."""
    wait_for(lambda: errno_of(os.stat, m.path / "d") == 0, 10, "the mount to answer")


def is_well(m):
    """The mount answers again, and knows what is on the server."""
    answers(m)
    create(m.path / "well", b"well")
    assert (m.server_path / "well").read_bytes() == b"well"
    os.unlink(m.path / "well")
    assert set(os.listdir(m.path)) == set(os.listdir(m.server_path))


# --- being killed


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_killed(mount, proxy, name, number):
    """kill -9, and Ctrl-C where nobody handles it, end a process that waits, whatever for."""
    m = through(mount, proxy)
    child, = start_stuck(m, proxy.stall, OPERATIONS[name])
    child.kill(number)
    assert child.wait_end(FREED) < FREED
    assert os.WTERMSIG(child.status) == number
    child.close()
    proxy.resume()
    is_well(m)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_deadly_signals(mount, proxy, number):
    m = through(mount, proxy)
    child, = start_stuck(m, proxy.stall, OPERATIONS["read"])
    child.kill(number)
    child.wait_end(FREED)
    assert os.WTERMSIG(child.status) == number
    child.close()


def test_killed_at_a_stopped_server(mount, server):
    """The same with a real server that is stopped."""
    m = through(mount, server)
    m.expect_log(LOUD)
    children = start_stuck(m, server.pause, *(OPERATIONS[name] for name in
                                              ("stat", "read", "fsync", "mkdir", "readdir")))
    start = time.monotonic()
    for child in children:
        child.kill()
    for child in children:
        child.wait_end(FREED)
        child.close()
    assert time.monotonic() - start < FREED
    server.resume()
    is_well(m)


def test_killed_when_all_connections_are_gone(mount, proxy):
    """Calls that are parked, as no connection is up, can be left just as well."""
    m = through(mount, proxy)

    def vanish():
        proxy.refuse()
        proxy.cut()
    children = start_stuck(m, vanish, *(OPERATIONS[name] for name in ("stat", "read", "readdir")))
    for child in children:
        child.kill()
        child.wait_end(FREED)
        child.close()
    proxy.listen()
    is_well(m)


@pytest.mark.parametrize("written", [10_000, 8 * MIB])
def test_killed_with_written_data(mount, proxy, written):
    """A process that has written and not closed is killed: its exit closes the files, which nobody
    can interrupt, and must not wait for the server either. Four of them at once."""
    m = through(mount, proxy)

    def work(i, child):
        fd = os.open(m.path / f"w{i}", WRONLY | CREAT)
        os.write(fd, bytes(written))
        child.tell("ready")
        time.sleep(60)
    children = [Child(work, i) for i in range(4)]
    for child in children:
        child.hear()
    proxy.stall()
    for child in children:
        child.kill()
    start = time.monotonic()
    for child in children:
        child.wait_end(FREED)
        child.close()
    assert time.monotonic() - start < FREED
    proxy.resume()
    for i in range(4):
        wait_for(lambda: (m.server_path / f"w{i}").stat().st_size == written, 10,
                 "what was written before the end to be there")


def test_threads_are_killed(mount, proxy):
    """A process with eight threads that all wait is gone as a whole."""
    m = through(mount, proxy)

    def prepare():
        fd = os.open("f", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)

        def work():
            threads = [threading.Thread(target=os.pread, args=[fd, 1, i * 100_000])
                       for i in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        return work
    for number in (signal.SIGKILL, signal.SIGINT):
        child, = start_stuck(m, proxy.stall, prepare)
        child.kill(number)
        child.wait_end(FREED)
        child.close()
        proxy.resume()
        is_well(m)


def test_who_waits_behind(mount, proxy):
    """Writers of one file wait for each other inside the kernel: killing the first lets the next
    one in, who can be killed as well."""
    m = through(mount, proxy)
    create(m.path / "w")

    def prepare():
        fd = os.open("w", WRONLY)
        return lambda: os.write(fd, bytes(10 * MIB))
    children = start_stuck(m, proxy.stall, prepare, prepare, prepare)
    for child in children:
        child.kill()
    start = time.monotonic()
    for child in children:
        child.wait_end(FREED)
        child.close()
    assert time.monotonic() - start < FREED


def test_killed_after_a_handled_signal(mount, proxy):
    """The kernel tells of the first signal only: a later kill -9 has to be noticed all the same."""
    m = through(mount, proxy)

    def prepare():
        handles(signal.SIGUSR1, True)
        return OPERATIONS["stat"]()
    child, = start_stuck(m, proxy.stall, prepare)
    child.kill(signal.SIGUSR1)
    time.sleep(0.5)
    assert child.alive
    child.kill()
    child.wait_end(FREED)
    child.close()


def test_user_is_killed(mount, proxy):
    """The same for another user's process (allow_other)."""
    m = through(mount, proxy)
    child = Child(worker, m.path, OPERATIONS["stat"], uid=1000)
    child.hear()
    proxy.stall()
    child.tell()
    wait_for(lambda: is_waiting(child.pid), 5)
    child.kill(signal.SIGINT)
    child.wait_end(FREED)
    child.close()


def test_many_killed(mount, proxy):
    """A hundred waiting processes, killed at once; the next one is served when the server is back."""
    m = through(mount, proxy)
    children = start_stuck(m, proxy.stall, *[OPERATIONS["stat"], OPERATIONS["readdir"]] * 50)
    for child in children:
        child.kill()
    start = time.monotonic()
    for child in children:
        child.wait_end(FREED)
        child.close()
    assert time.monotonic() - start < FREED
    proxy.resume()
    is_well(m)


# --- not being interrupted


def raw(function, *args):
    """A call of the C library's, as a C program makes it: 0 or an error number. Python's own calls
    repeat themselves after EINTR."""
    ctypes.set_errno(0)
    return ctypes.get_errno() if getattr(libc, function)(*args) < 0 else 0


def raw_operation(name):
    """As prepare() above, but the operation returns its error number."""
    buffer = ctypes.create_string_buffer(4096)
    if name in ("fsync", "close"):
        fd = written()
        return lambda: raw(name, fd)
    if name == "write":
        fd = os.open("w", WRONLY | CREAT | os.O_DSYNC)
        return lambda: raw("write", fd, buffer, 4096)
    if name == "read":
        fd = os.open("f", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return lambda: raw("read", fd, buffer, 4096)
    return {"access": lambda: raw("access", b"f", 4),
            "open": lambda: raw("open", b"f", os.O_RDONLY),
            "mkdir": lambda: raw("mkdir", b"new", 0o755)}[name]


RAW = ["access", "open", "mkdir", "read", "write", "fsync", "close"]


def handles(number, restart):
    signal.signal(number, lambda *_: None)
    signal.siginterrupt(number, not restart)


def interrupted(directory, name, number, restart, child):
    """A child that handles a signal, does one thing, and tells its error number."""
    handles(number, restart)
    os.chdir(directory)
    operation = raw_operation(name)
    child.tell("ready")
    child.hear()
    child.tell(errno_name(operation()))
    child.hear()


@pytest.mark.parametrize("number, restart", [(signal.SIGALRM, True), (signal.SIGUSR1, False),
                                             (signal.SIGURG, True), (signal.SIGINT, False)],
                         ids=["SA_RESTART", "without", "Go", "Ctrl-C handled"])
def test_handled_signals(mount, proxy, number, restart):
    """Signals that a process handles, ten of them, while it waits: no EINTR, and its call succeeds
    when the server answers. (No Unix program expects EINTR from a file; Go's scheduler sends SIGURG
    all the time.)"""
    m = through(mount, proxy)
    children = everywhere(m, interrupted, RAW, number, restart)
    proxy.stall()
    for child in children.values():
        child.tell()
    for child in children.values():
        wait_for(lambda: is_waiting(child.pid), 5, "it to wait")
    for _ in range(10):
        for child in children.values():
            child.kill(number)
        time.sleep(0.05)
    proxy.resume()
    assert {name: child.hear() for name, child in children.items()} == dict.fromkeys(RAW, "success")
    for child in children.values():
        child.close()
    is_well(m)


def test_intr(mount, proxy):
    """With -o intr a handled signal ends the call with EINTR. (Not of a read through the page cache:
    there the kernel waits for the page, and for deadly signals only.)"""
    m = through(mount, proxy, f"{UNCACHED},intr")
    names = [name for name in RAW if name != "read"]
    children = everywhere(m, interrupted, names, signal.SIGUSR1, False)
    proxy.stall()
    for child in children.values():
        child.tell()
    for child in children.values():
        wait_for(lambda: is_waiting(child.pid), 5, "it to wait")
        child.kill(signal.SIGUSR1)
    assert {name: child.hear(FREED) for name, child in children.items()} == \
        dict.fromkeys(names, "EINTR")
    proxy.resume()
    for child in children.values():
        child.close()
    is_well(m)


def test_signal_storm(mount):
    """A timer signal every millisecond while a healthy server is used: everything works."""
    m, data = mount(options=UNCACHED), pattern(4 * MIB)

    def work(child):
        handles(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        for i in range(20):
            create(m.path / f"n{i}", data[:i * 50_000])
            same(read(m.path / f"n{i}"), data[:i * 50_000])
            os.rename(m.path / f"n{i}", m.path / f"r{i}")
        signal.setitimer(signal.ITIMER_REAL, 0)
        return len(os.listdir(m.path))
    with Child(work) as child:
        assert child.wait(20) == 20


def test_stopped_and_continued(mount, proxy):
    """Ctrl-Z, and fg: the process waits on."""
    m = through(mount, proxy)
    child, = start_stuck(m, proxy.stall, OPERATIONS["stat"])
    child.kill(signal.SIGSTOP)
    time.sleep(0.2)
    child.kill(signal.SIGCONT)
    time.sleep(0.2)
    assert child.alive
    proxy.resume()
    assert child.wait(5).st_size == MIB
    child.close()


# --- the deadline


def timed(directory, name, child):
    """The name of the error of an operation, and its seconds."""
    os.chdir(directory)
    operation = OPERATIONS[name]()
    child.tell("ready")
    child.hear()
    start = time.monotonic()
    child.tell((errno_name(errno_of(operation)), time.monotonic() - start))


@pytest.mark.parametrize("down", ["stalled", "refused"])
def test_deadline(mount, proxy, down):
    """timeo=10,retrans=1: two seconds, then ETIMEDOUT, for everything. A write may be taken, and fail
    at fsync or close. (The kernel asks twice for a page: as read-ahead, and because it is missed.)"""
    m = through(mount, proxy, f"{ASKING},{SHORT}")
    m.expect_log(LOUD)
    names = [name for name in OPERATIONS if name != "fault"]
    children = everywhere(m, timed, names)
    if down == "refused":
        proxy.refuse()
        proxy.cut()
    else:
        proxy.stall()
    for child in children.values():
        child.tell()
    results = {name: child.hear(LATE + 5) for name, child in children.items()}
    assert {name: seconds for name, (_, seconds) in results.items()
            if seconds > (2 * LATE if name == "read" else LATE)} == {}
    assert {name: error for name, (error, _) in results.items()
            if error not in ("ETIMEDOUT", "EHOSTDOWN") and name != "write"} == {}
    proxy.listen()
    proxy.resume()
    for child in children.values():
        child.close()
    is_well(m)


def test_deadline_of_the_whole_call(mount, proxy):
    """A system call that takes several requests, one for each directory on its way, has one
    deadline, not one for each."""
    m = through(mount, proxy, f"{UNCACHED},{SHORT}")
    m.expect_log(LOUD)
    os.makedirs(m.server_path / "1/2/3/4")

    def work(child):
        child.tell("ready")
        child.hear()
        start = time.monotonic()
        child.tell((errno_name(errno_of(os.stat, m.path / "1/2/3/4")), time.monotonic() - start))
    with Child(work) as child:
        child.hear()
        proxy.stall()
        child.tell()
        error, seconds = child.hear(30)
    assert error in ("ETIMEDOUT", "EHOSTDOWN") and seconds < LATE


def test_deadline_of_a_page_fault(mount, proxy):
    """A page that cannot be had is SIGBUS. (The kernel asks twice.)"""
    m = through(mount, proxy, f"{ASKING},{SHORT}")
    m.expect_log(LOUD)
    with Child(worker, m.path, faults) as child:
        child.hear()
        proxy.stall()
        child.tell()
        child.wait_end(2 * LATE)
        assert os.WTERMSIG(child.status) == signal.SIGBUS


def deadline_of_stat(m, proxy, limit):
    """What a stat of a stalled server ends with, and when."""
    m.expect_log(LOUD)
    with Child(timed, m.path, "stat") as child:
        child.hear()
        proxy.stall()
        child.tell()
        return child.hear(limit)


def test_soft_is_eio(mount, proxy):
    """soft: EIO instead."""
    m = through(mount, proxy, f"{ASKING},{SHORT},soft")
    error, seconds = deadline_of_stat(m, proxy, LATE + 5)
    assert error == "EIO" and seconds < LATE


def test_hard_waits(mount, proxy):
    """hard: no error after the deadline; the call is answered when the server is back; and who does
    not want to wait can be killed."""
    m = through(mount, proxy, f"{UNCACHED},{SHORT},hard,detect=1")
    m.expect_log(LOUD)
    patient, killed = start_stuck(m, proxy.stall, OPERATIONS["stat"], OPERATIONS["read"])
    time.sleep(LATE)
    assert patient.alive and killed.alive
    killed.kill()
    killed.wait_end(FREED)
    killed.close()
    proxy.resume()
    assert patient.wait(10).st_size == MIB
    patient.close()
    is_well(m)


def test_optimeo(mount, proxy):
    """optimeo= is the bound, whatever timeo and retrans say."""
    m = through(mount, proxy, f"{ASKING},timeo=600,retrans=5,optimeo=1")
    error, seconds = deadline_of_stat(m, proxy, 10)
    assert error in ("ETIMEDOUT", "EHOSTDOWN") and 0.5 < seconds < 3
    assert re.search(rf"\w+ of process \d+ \(user {os.getuid()}\) gave up after 1\.\d s: "
                     r"Connection timed out \[soft-timeout\]", m.log())


@pytest.mark.slow
def test_default_deadline(mount, proxy):
    """Without options: 30 s at most."""
    m = through(mount, proxy, ASKING)
    error, seconds = deadline_of_stat(m, proxy, 40)
    assert error in ("ETIMEDOUT", "EHOSTDOWN") and seconds < 33


def test_data_is_kept(mount, proxy):
    """fsync ends with ETIMEDOUT, and the data is not lost: when the server is back, the next fsync
    says so truthfully."""
    m, data = through(mount, proxy, f"{UNCACHED},{SHORT}"), pattern(300_000)
    m.expect_log(LOUD)

    def work(child):
        with opened(m.path / "w", WRONLY | CREAT) as fd:
            os.write(fd, data)
            child.tell("ready")
            child.hear()
            first = errno_of(os.fsync, fd)
            child.tell("timed out")
            child.hear()
            return first, errno_of(os.fsync, fd)
    with Child(work) as child:
        child.hear()
        proxy.stall()
        child.tell()
        child.hear(LATE)
        proxy.resume()
        answers(m)
        child.tell()
        first, second = child.wait(10)
    assert first == errno.ETIMEDOUT and second == 0
    same((m.server_path / "w").read_bytes(), data)


def test_late_replies(mount, proxy):
    """Replies that come after their deadline harm nobody: a hundred calls time out, then all answers
    arrive, and every later one is right."""
    m = through(mount, proxy, f"{UNCACHED},{SHORT},detect=30")
    m.expect_log(LOUD)
    for i in range(50):
        (m.server_path / f"n{i}").write_bytes(bytes(i))

    def work(i, child):
        child.tell("ready")
        child.hear()
        return errno_of(os.stat, m.path / f"n{i}")
    children = [Child(work, i) for i in range(50)]
    for child in children:
        child.hear()
    proxy.stall("down")
    for child in children:
        child.tell()
    assert {child.wait(LATE + 3) for child in children} <= {errno.ETIMEDOUT, errno.EHOSTDOWN}
    for child in children:
        child.close()
    proxy.resume()
    answers(m)
    for _ in range(3):
        assert [os.stat(m.path / f"n{i}").st_size for i in range(50)] == list(range(50))


# --- what needs no server


def stopped(mount, server, options=""):
    """A mount whose server has stopped a moment ago; its root has been looked at before."""
    m = mount(options=options)
    m.expect_log(LOUD)
    (m.server_path / "f").write_bytes(b"x")
    run_bounded(["ls", "-la", m.path])
    run_bounded(["df", m.path])
    server.pause()
    return m


def seconds_of(argv, limit, check=True):
    start = time.monotonic()
    run_bounded(argv, limit, check=check)
    return time.monotonic() - start


def test_stat_of_the_root(mount, server):
    m = stopped(mount, server)
    assert seconds_of(["stat", m.path], 5) < 1
    assert seconds_of(["stat", m.path / "f"], 5) < 1
    assert seconds_of(["mountpoint", m.path], 5) < 1


@pytest.mark.parametrize("argv", [["ls"], ["ls", "-la"], ["df"]], ids=" ".join)
def test_bounded(mount, server, argv):
    """Whatever asks the server ends at the deadline."""
    m = stopped(mount, server, SHORT)
    assert seconds_of([*argv, m.path], 20, check=False) < 2 * LATE


@pytest.mark.parametrize("argv", [["ls"], ["df"]], ids=" ".join)
def test_from_memory(mount, server, argv):
    """What has just been listed is listed again without the server."""
    m = stopped(mount, server, SHORT)
    assert seconds_of([*argv, m.path], 20) < 1


def test_df_when_down(mount, server):
    """Once the server is known to be down."""
    m = stopped(mount, server, "detect=500ms,nconnect=2")
    with Child(lambda child: errno_of(os.stat, m.path / "nowhere")):
        wait_for(lambda: "not responding" in m.log(), 15, "the message")
    assert seconds_of(["df", m.path], 5) < 1
    assert seconds_of(["ls", "-d", m.path], 5) < 1


@pytest.mark.parametrize("argv", [["umount", "-l"], ["umount"], ["fusermount3", "-u"],
                                  ["fusermount3", "-uz"], ["umount", "-f"]], ids=" ".join)
def test_umount_of_a_stopped_server(mount, server, argv):
    """Unmounting is bounded, and the daemon ends within umounttimeo."""
    m = stopped(mount, server)
    assert seconds_of([*argv, m.path], 2 * UMOUNTTIMEO, check=argv != ["umount", "-f"]) < UMOUNTTIMEO
    if not m.mounted:
        m.process.wait(2 * UMOUNTTIMEO + 2)


@pytest.mark.parametrize("argv", [["umount", "-l"], ["umount"]], ids=" ".join)
def test_umount_with_written_data(mount, server, argv):
    """Data that the server has not promised to keep: umount is bounded all the same, and the log
    says what was given up."""
    m = mount()
    m.expect_log(LOUD)

    def work(child):
        fd = os.open(m.path / "w", WRONLY | CREAT)
        os.write(fd, bytes(100_000))
        child.tell()
        child.hear()
        os._exit(0)
    with Child(work) as child:
        child.hear()
        server.pause()
        if argv == ["umount"]:
            child.kill()
            child.wait_end(FREED)
        seconds_of([*argv, m.path], 3 * UMOUNTTIMEO)
    assert not m.mounted
    m.process.wait(3 * UMOUNTTIMEO + 2)
    assert "given up" in m.log()


@pytest.mark.parametrize("data", [False, True], ids=["idle", "data"])
def test_sigterm_of_a_stopped_server(mount, server, data):
    """SIGTERM to the daemon: unmounted and ended within two times umounttimeo."""
    m = mount()
    m.expect_log(LOUD)

    def work(child):
        fd = os.open(m.path / "w", WRONLY | CREAT)
        os.write(fd, bytes(100_000))
        child.tell()
        time.sleep(60)
        os.close(fd)
    child = Child(work) if data else None
    if child:
        child.hear()
    server.pause()
    m.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not m.mounted, UMOUNTTIMEO + 2, "the mount to go")
    m.process.wait(2 * UMOUNTTIMEO + 2)
    if child:
        child.close()


def test_daemon_is_killed(mount, proxy):
    """kill -9 of the daemon frees everybody at once."""
    m = through(mount, proxy)
    names = ["stat", "read", "mkdir", "readdir", "fsync"]
    children = start_stuck(m, proxy.stall, *(OPERATIONS[name] for name in names))
    m.kill()
    for child in children:
        with pytest.raises(OSError) as caught:
            child.wait(FREED)
        assert caught.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
        child.close()


def test_abort(mount, proxy, fusectl):
    """The kernel's own emergency exit works, and the daemon ends by itself."""
    m = through(mount, proxy)
    child, = start_stuck(m, proxy.stall, OPERATIONS["read"])
    m.abort()
    with pytest.raises(OSError):
        child.wait(FREED)
    child.close()
    m.process.wait(2 * UMOUNTTIMEO)


def test_another_mount_is_not_held_up(mount, proxy, server):
    """One server hangs; a mount of another one, made before or now, does not notice."""
    before = mount()
    m = through(mount, proxy)
    children = start_stuck(m, proxy.stall, OPERATIONS["stat"], OPERATIONS["write"])
    start = time.monotonic()
    create(before.path / "x", b"x")
    after = mount()
    assert read(after.path / "x") == b"x"
    assert time.monotonic() - start < 2
    for child in children:
        child.close()
