"""Calls whose reply is lost with their connection: whatever it was, the result and the state of the
server are those of one execution. Unit tests of the decisions: unit/test_replay_rule.c."""

import contextlib
import errno
import os
import signal
import stat
import threading
import time

import pytest

from lab import rpc
from lab.child import Child, Killed
from lab.procs import as_user, wait_for
from lab.proxy import STATUS, Cut, Drop, Proxy, Rewrite, Status, patched, results
from support import create, errno_of, fails, opened, read, tick

OUTCOME_UNKNOWN = "outcome-unknown"
SOFT = "timeo=20,retrans=1"  # 4 s
HARD = "hard,timeo=20,retrans=1"
LONG = "x/" * 2000
FAULTS = {
    "executed": lambda: Cut("executed"), "executed twice": lambda: Cut("executed"),
    "not executed": lambda: Cut("call"), "not executed twice": lambda: Cut("call"),
    "in flight": lambda: Cut("sent")}


@contextlib.contextmanager
def served(server, mount, count=1):
    """Proxies behind which a call that comes again, on another connection, is a new one."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(Proxy(server, same_port=False)) for _ in range(count)]
        yield made
        for proxy in made:
            proxy.clear()
            proxy.resume()
            proxy.listen()
        for m in mount.mounts:
            if m.mounted and m.alive:
                m.umount()


@pytest.fixture
def proxy(server, mount):
    with served(server, mount) as (made,):
        yield made


@pytest.fixture
def two(server, mount):
    with served(server, mount, 2) as made:
        yield made


def through(mount, proxy, nconnect=4, options=""):
    m = mount(nconnect=nconnect, options=options, server=proxy)
    wait_for(lambda: len(m.connections()) == nconnect, 10, f"{nconnect} connections")
    return m


def no_cache(proxy, proc):
    """The next two calls get lost, too: replays that hope for the server's reply cache, which is not
    there, and where it makes a difference that they are not executed."""
    proxy.on(proc, Cut("call"), times=2)


def tree(top):
    """Everything below a directory of the server's: name to kind and content."""
    def entry(path):
        st = path.lstat()
        if stat.S_ISLNK(st.st_mode):
            return "link", os.readlink(path)
        if stat.S_ISREG(st.st_mode):
            return "file", st.st_nlink, path.read_bytes()
        return stat.S_IFMT(st.st_mode), st.st_rdev
    return {str(path.relative_to(top)): entry(path) for path in top.rglob("*")}


def prepare(top):
    """What the operations below act on."""
    (top / "f").write_bytes(b"content of f")
    (top / "g").write_bytes(b"of g")
    (top / "d").mkdir()
    (top / "sub").mkdir()
    os.link(top / "g", top / "g2")
    for name in os.listdir(top):
        os.chmod(top / name, 0o755)


def open_create(flags, data=b"new"):
    def work(top):
        with opened(top / "new", os.O_CREAT | os.O_WRONLY | flags, 0o444) as fd:
            os.write(fd, data)
    return work


def truncate(size):
    return lambda top: os.truncate(top / "f", size)


def open_truncate(top):
    with opened(top / "f", os.O_WRONLY | os.O_TRUNC):
        pass


OPERATIONS = {
    "create": ("CREATE", open_create(0)),
    "create, exclusive": ("CREATE", open_create(os.O_EXCL)),
    "mknod": ("CREATE", lambda top: os.mknod(top / "new", 0o600 | stat.S_IFREG)),
    "fifo": ("MKNOD", lambda top: os.mkfifo(top / "new")),
    "device": ("MKNOD", lambda top: os.mknod(top / "new", 0o600 | stat.S_IFCHR, os.makedev(1, 3))),
    "mkdir": ("MKDIR", lambda top: os.mkdir(top / "new")),
    "symlink": ("SYMLINK", lambda top: os.symlink("over/there", top / "new")),
    "long symlink": ("SYMLINK", lambda top: os.symlink(LONG, top / "new")),
    "link": ("LINK", lambda top: os.link(top / "f", top / "new")),
    "unlink": ("REMOVE", lambda top: os.unlink(top / "f")),
    "unlink one of two": ("REMOVE", lambda top: os.unlink(top / "g")),
    "rmdir": ("RMDIR", lambda top: os.rmdir(top / "d")),
    "rename": ("RENAME", lambda top: os.rename(top / "f", top / "new")),
    "rename to another directory": ("RENAME", lambda top: os.rename(top / "f", top / "sub/f")),
    "rename over": ("RENAME", lambda top: os.rename(top / "f", top / "g")),
    "rename a directory": ("RENAME", lambda top: os.rename(top / "d", top / "sub/new")),
    "truncate": ("SETATTR", truncate(3)),
    "truncate to nothing": ("SETATTR", truncate(0)),
    "extend": ("SETATTR", truncate(5000)),
    "truncate to the same": ("SETATTR", truncate(12)),
    "open with O_TRUNC": ("SETATTR", open_truncate),
    "chmod": ("SETATTR", lambda top: os.chmod(top / "f", 0o640)),
}


@pytest.fixture(scope="session")
def wanted(tmp_path_factory):
    """What one execution of each leads to, on a local file system."""
    def run(name):
        top = tmp_path_factory.mktemp("local")
        prepare(top)
        OPERATIONS[name][1](top)
        return tree(top)
    return {name: run(name) for name in OPERATIONS}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_once(mount, proxy, wanted, name, fault):
    """Executed or not when the connection breaks, once or twice: it has happened, once."""
    m = through(mount, proxy)
    prepare(m.server_path)
    proc, work = OPERATIONS[name]
    os.stat(m.path / "f")
    cut = proxy.on(proc, FAULTS[fault](), times=2 if "twice" in fault else 1)
    start = time.monotonic()
    work(m.path)
    assert cut.hits >= 1 and time.monotonic() - start < 10
    assert tree(m.server_path) == wanted[name]
    assert tree(m.path) == wanted[name]
    assert OUTCOME_UNKNOWN not in m.log()


def test_mtime_of_truncate(mount, proxy):
    """Truncated to the size that it has: the time moves, as if nothing had been lost."""
    m = through(mount, proxy)
    prepare(m.server_path)
    os.utime(m.server_path / "f", (1000, 1000))
    for fault in (Cut("call"), Cut("executed")):
        os.stat(m.path / "f")
        cut = proxy.on("SETATTR", fault, times=1)
        with opened(m.path / "f", os.O_RDWR) as fd:
            os.ftruncate(fd, 12)
        assert cut.hits == 1 and os.stat(m.server_path / "f").st_mtime > 1000


# --- the errors are the right ones


ERRORS = {
    "mkdir": ("MKDIR", errno.EEXIST, lambda top: os.mkdir(top / "other")),
    "symlink": ("SYMLINK", errno.EEXIST, lambda top: os.symlink("x", top / "other")),
    "fifo": ("MKNOD", errno.EEXIST, lambda top: os.mkfifo(top / "other")),
    "mknod": ("CREATE", errno.EEXIST, lambda top: os.mknod(top / "other", 0o600)),
    "exclusive": ("CREATE", errno.EEXIST, open_create(os.O_EXCL)),
    "link": ("LINK", errno.EEXIST, lambda top: os.link(top / "f", top / "other"))}


@pytest.mark.parametrize("kind", ["file", "dir", "symlink", "fifo"])
@pytest.mark.parametrize("at", ["call", "executed"])
@pytest.mark.parametrize("name", ERRORS)
def test_somebody_was_faster(mount, proxy, name, at, kind):
    """The name is taken, empty and by the same user, just when our call goes out: EEXIST, not a win."""
    m = through(mount, proxy)
    prepare(m.server_path)
    proc, number, work = ERRORS[name]
    make = {"file": lambda path: path.write_bytes(b""), "dir": os.mkdir, "fifo": os.mkfifo,
            "symlink": lambda path: os.symlink("y", path)}[kind]

    class Faster(Cut):
        def call(self, link, call):
            make(m.server_path / ("new" if name == "exclusive" else "other"))
            super().call(link, call)
    proxy.on(proc, Faster(at), times=1)
    with fails(number):
        work(m.path)
    assert OUTCOME_UNKNOWN not in m.log()


def test_remove_spares_the_new_file(mount, proxy):
    """The server has removed it, somebody else makes a file of that name: it is not removed."""
    m = through(mount, proxy)
    prepare(m.server_path)

    class Recreate(Cut):
        def reply(self, link, call, record):
            (m.server_path / "f").write_bytes(b"not yours")
            super().reply(link, call, record)
    lost = proxy.on("REMOVE", Recreate("executed"), times=1)
    no_cache(proxy, "REMOVE")
    os.unlink(m.path / "f")
    assert lost.hits == 1
    assert (m.server_path / "f").read_bytes() == b"not yours" == read(m.path / "f")


def test_rmdir_spares_the_new_directory(mount, proxy):
    m = through(mount, proxy)
    prepare(m.server_path)

    class Recreate(Cut):
        def reply(self, link, call, record):
            (m.server_path / "d").mkdir()
            super().reply(link, call, record)
    proxy.on("RMDIR", Recreate("executed"), times=1)
    no_cache(proxy, "RMDIR")
    os.rmdir(m.path / "d")
    assert (m.server_path / "d").is_dir()


def test_remove_by_two(mount, proxy):
    """Somebody else removes it while our call is lost: gone is gone."""
    m = through(mount, proxy)
    prepare(m.server_path)

    class Remove(Cut):
        def call(self, link, call):
            os.unlink(m.server_path / "f")
            super().call(link, call)
    proxy.on("REMOVE", Remove("call"), times=1)
    os.unlink(m.path / "f")
    assert not os.path.exists(m.path / "f")


def test_late_first_copy(mount, proxy):
    """The first copy is executed while we look: the replay's ENOENT and EEXIST are not told."""
    m = through(mount, proxy)
    prepare(m.server_path)
    for proc, work in (("REMOVE", lambda: os.unlink(m.path / "f")),
                       ("RMDIR", lambda: os.rmdir(m.path / "d")),
                       ("MKDIR", lambda: os.mkdir(m.path / "new")),
                       ("SYMLINK", lambda: os.symlink("x", m.path / "sym")),
                       ("LINK", lambda: os.link(m.path / "g", m.path / "g3")),
                       ("RENAME", lambda: os.rename(m.path / "g", m.path / "g4"))):
        proxy.on(proc, Cut("call"), times=1)
        again = proxy.on(proc, Cut("executed"), times=1)
        work()
        assert again.hits == 1, proc
    assert sorted(os.listdir(m.server_path)) == ["g2", "g3", "g4", "new", "sub", "sym"]


@pytest.mark.parametrize("at", ["call", "executed"])
def test_rename_of_two_names_of_one_file(mount, proxy, at):
    """rename(2) of a name over another of the same file does nothing; nor does its replay."""
    m = through(mount, proxy)
    prepare(m.server_path)
    # The kernel knows that they are one and asks nobody; so the second name appears behind its back.
    os.stat(m.path / "g")

    class Link(Cut):
        def call(self, link, call):
            os.link(m.server_path / "g", m.server_path / "late")
            super().call(link, call)
    cut = proxy.on("RENAME", Link(at), times=1)
    os.rename(m.path / "g", m.path / "late")
    assert cut.hits == 1
    assert (m.server_path / "late").samefile(m.server_path / "g2")


def test_foreign_truncate_between(mount, proxy):
    """NOT_SYNC: it has changed since we looked; it is looked at again."""
    m = through(mount, proxy)
    prepare(m.server_path)
    os.stat(m.path / "f")

    class Change(Rewrite):
        def call(self, link, call):
            tick()
            (m.server_path / "f").write_bytes(b"somebody else's")
            super().call(link, call)
    proxy.on("SETATTR", Cut("call"), times=1)
    no_cache(proxy, "SETATTR")
    change = proxy.on("SETATTR", Change(), times=2)
    os.truncate(m.path / "f", 4)
    assert change.hits == 2 and (m.server_path / "f").read_bytes() == b"some"


def test_truncate_is_not_repeated_over_newer_data(mount, proxy):
    """Executed, then somebody appends: a blind replay would take his data away."""
    m = through(mount, proxy)
    prepare(m.server_path)
    os.stat(m.path / "f")
    lost = proxy.on("SETATTR", Cut("executed"), times=1)
    no_cache(proxy, "SETATTR")
    os.truncate(m.path / "f", 4)
    assert lost.hits == 1
    with opened(m.path / "f", os.O_WRONLY | os.O_APPEND) as fd:
        os.write(fd, b" and more")
    assert (m.server_path / "f").read_bytes() == b"cont and more"


# --- hidden names


def hidden(m):
    return [name for name in os.listdir(m.server_path) if name.startswith(".nfs")]


@pytest.mark.parametrize("fault", FAULTS)
def test_unlink_of_an_open_file(mount, proxy, fault):
    m = through(mount, proxy)
    prepare(m.server_path)
    times = 2 if "twice" in fault else 1
    with opened(m.path / "f", os.O_RDWR) as fd:
        cut = proxy.on("RENAME", FAULTS[fault](), times=times)
        os.unlink(m.path / "f")
        assert cut.hits >= 1 and len(hidden(m)) == 1
        assert os.pread(fd, 100, 0) == b"content of f" and os.fstat(fd).st_nlink == 0
        proxy.on("REMOVE", FAULTS[fault](), times=times)
    wait_for(lambda: not hidden(m), 10, "no hidden name")
    assert not os.path.exists(m.server_path / "f")


@pytest.mark.parametrize("proc", ["LINK", "RENAME"])
@pytest.mark.parametrize("fault", FAULTS)
def test_rename_over_an_open_file(mount, proxy, proc, fault):
    m = through(mount, proxy)
    prepare(m.server_path)
    os.unlink(m.server_path / "g2")
    with opened(m.path / "g", os.O_RDWR) as fd:
        cut = proxy.on(proc, FAULTS[fault](), times=2 if "twice" in fault else 1)
        os.rename(m.path / "f", m.path / "g")
        assert cut.hits >= 1 and len(hidden(m)) == 1
        assert os.pread(fd, 100, 0) == b"of g" and read(m.path / "g") == b"content of f"
    wait_for(lambda: not hidden(m), 10, "no hidden name")


# --- locks


ROUNDS = 12


def by_mkdir(top, i, who):
    return errno_of(os.mkdir, top / f"lock{i}")


def by_symlink(top, i, who):
    """With one's name in it, as programs do: Ganesha ignores the times of a symbolic link, so that only
    its target tells whose it is."""
    return errno_of(os.symlink, f"locked by {who}", top / f"lock{i}")


def by_mknod(top, i, who):
    return errno_of(os.mknod, top / f"lock{i}", 0o600 | stat.S_IFREG)


def by_link(top, i, who):
    mine = top / f"mine-{who}-{i}"
    create(mine)
    return errno_of(os.link, mine, top / f"lock{i}")


def by_exclusive(top, i, who):
    return errno_of(lambda: os.close(os.open(top / f"lock{i}", os.O_CREAT | os.O_EXCL | os.O_WRONLY)))


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "cut to seconds"])
def test_exclusive_by_the_nonce(mount, proxy, kept):
    """O_EXCL takes one call, GUARDED, from a server that keeps the time by which a file of ours is
    known. From one that does not, EXCLUSIVE, from the second file on: nothing else is a proof there."""
    def cut(call, record):
        made = results(record)
        if made.u32() or not made.u32():
            return record
        made.opaque()
        made.u32()
        at = made.pos + 5 * 4 + 5 * 8 + 4  # the nanoseconds of atime in fattr3
        return patched(record, at, bytes(4))
    if not kept:
        proxy.on("CREATE", Rewrite(reply=cut))
    m = through(mount, proxy)
    for i in range(3):
        create(m.path / f"f{i}", b"x", 0o640)
        assert (m.server_path / f"f{i}").stat().st_mode & 0o777 == 0o640
    modes = []
    for call in proxy.history("CREATE"):
        args = call.args
        args.opaque()
        args.opaque()
        modes.append(args.u32())
    guarded, exclusive = 1, 2
    assert modes == ([guarded] * 3 if kept else [guarded, exclusive, exclusive])
    assert proxy.count("SETATTR") == (0 if kept else 2)


class NowAndThen(Cut):
    """Executed and lost, or lost before, or left alone: in turn, differently for each mount."""

    def __init__(self, turn):
        super().__init__("executed")
        self.turn, self.lock = turn, threading.Lock()

    def call(self, link, call):
        with self.lock:
            self.turn += 1
            call.fate = self.turn % 3
        if call.fate == 0:
            link.cut("rst")
        else:
            link.forward(call)

    def reply(self, link, call, record):
        if call.fate == 1:
            link.cut("rst")
        else:
            link.answer(call, record)


@pytest.mark.parametrize("proc, take", [
    ("MKDIR", by_mkdir), ("SYMLINK", by_symlink), ("CREATE", by_mknod), ("LINK", by_link),
    ("CREATE", by_exclusive)], ids=["mkdir", "symlink", "mknod", "link", "O_EXCL"])
def test_lock_contention(mount, two, proc, take):
    """Two hosts want one lock while replies are lost: one gets it, each time."""
    mounts = [through(mount, proxy) for proxy in two]
    faults = [proxy.on(proc, NowAndThen(turn), where=lambda call: b"lock" in call.record)
              for turn, proxy in enumerate(two)]
    for i in range(ROUNDS):
        ready, got = threading.Barrier(2), {}

        def contend(who, m, i=i, ready=ready, got=got):
            os.listdir(m.path)
            ready.wait(10)
            got[who] = take(m.path, i, who)
        threads = [threading.Thread(target=contend, args=args, daemon=True)
                   for args in enumerate(mounts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(got.values()) == [0, errno.EEXIST], (i, got)
    assert all(fault.hits for fault in faults)


# --- no answer at all


class Last(Cut):
    """Executed, and with the answer the server goes away, until back()."""

    def __init__(self, proxy):
        super().__init__("executed")
        self.proxy = proxy

    def reply(self, link, call, record):
        self.proxy.stall()
        self.proxy.refuse()
        self.proxy.cut()


def back(proxy):
    proxy.resume()
    proxy.listen()


@pytest.mark.parametrize("name", ["mkdir", "unlink", "rename", "truncate", "link", "create"])
def test_outcome_unknown(mount, proxy, name):
    """Nobody answers until the deadline: ETIMEDOUT then, logged, and later the truth is seen."""
    m = through(mount, proxy, options=SOFT)
    m.expect_log(OUTCOME_UNKNOWN)
    m.expect_log("not responding")
    prepare(m.server_path)
    proc, work = OPERATIONS[name]
    os.stat(m.path / "f")
    proxy.on(proc, Last(proxy), times=1)
    start = time.monotonic()
    assert as_user(errno_of, work, m.path, uid=0) == errno.ETIMEDOUT
    assert 3 < time.monotonic() - start < 7
    assert m.log().count(OUTCOME_UNKNOWN) == 1
    back(proxy)
    wait_for(lambda: errno_of(os.listdir, m.path) == 0, 5, "the server")
    wait_for(lambda: tree(m.path) == tree(m.server_path), 10, "the truth")


def test_server_comes_back(mount, proxy):
    """Away for two seconds, and down in between: no error."""
    m = through(mount, proxy, options="timeo=50,retrans=1")
    m.expect_log("not responding")
    prepare(m.server_path)
    for proc, work in (("MKDIR", lambda: os.mkdir(m.path / "new")),
                       ("REMOVE", lambda: os.unlink(m.path / "f"))):
        lost = proxy.on(proc, Last(proxy), times=1)
        with Child(lambda child: work()) as child:
            lost.wait(1)
            time.sleep(2)
            back(proxy)
            child.wait(10)
    assert os.path.isdir(m.server_path / "new") and not os.path.exists(m.server_path / "f")


def test_hard_waits(mount, proxy):
    """hard: however long it takes."""
    m = through(mount, proxy, options=HARD)
    m.expect_log("not responding")
    prepare(m.server_path)
    lost = proxy.on("RENAME", Last(proxy), times=1)
    with Child(lambda child: os.rename(m.path / "f", m.path / "new")) as child:
        lost.wait(1)
        time.sleep(7)
        assert child.alive
        back(proxy)
        child.wait(15)
    assert os.path.exists(m.server_path / "new")


@pytest.mark.parametrize("name", ["mkdir", "unlink", "rename", "truncate"])
def test_killed_on_the_ladder(mount, proxy, name):
    """Whoever is killed while it is looked into is gone at once; nothing is left behind, and the mount
    sees what has happened."""
    m = through(mount, proxy, options=HARD)
    m.expect_log(OUTCOME_UNKNOWN)
    prepare(m.server_path)
    proc, work = OPERATIONS[name]
    os.stat(m.path / "f")

    class ThenQuiet(Cut):
        def reply(self, link, call, record):
            proxy.on("LOOKUP GETATTR", Drop("call"))
            super().reply(link, call, record)
    lost = proxy.on(proc, ThenQuiet("executed"), times=1)
    no_cache(proxy, proc)
    with Child(lambda child: work(m.path)) as child:
        lost.wait(1)
        time.sleep(0.5)
        start = time.monotonic()
        child.kill(signal.SIGKILL)
        with pytest.raises(Killed):
            child.wait(5)
        assert time.monotonic() - start < 3
    proxy.clear()
    proxy.cut()
    wait_for(lambda: tree(m.path) == tree(m.server_path), 10, "the truth")
    wait_for(lambda: OUTCOME_UNKNOWN in m.log(), 10, "a line in the log")


def test_times_of_what_is_made(m):
    """The access time that tells our objects from others' is the present, or a moment later."""
    for name, make in (("d", os.mkdir), ("f", lambda p: os.mknod(p, 0o600)), ("p", os.mkfifo)):
        before = time.time_ns()
        make(m.path / name)
        st = os.lstat(m.server_path / name)
        assert before <= st.st_atime_ns < time.time_ns() + 50_000_000, name
        assert st.st_mtime_ns <= time.time_ns() and st.st_atime_ns % 100, name


class Ownerless(Rewrite):
    """A file system whose files have no owners of their own: it makes the object, cannot set its times,
    and says so."""

    def reply(self, link, call, record):
        if call.record[-16:-12] == rpc.u32(2):  # SET_TO_CLIENT_TIME
            record = record[:24] + rpc.u32(STATUS["PERM"]) + bytes(8)
        link.answer(call, record)


def test_server_that_sets_no_times(mount, proxy):
    """The time that we would like is not worth an error."""
    m = through(mount, proxy)
    proxy.on("MKDIR", Ownerless())
    for i in range(3):
        os.mkdir(m.path / f"d{i}")
    assert len(os.listdir(m.server_path)) == 3 and proxy.count("MKDIR") == 4


def test_directory_that_refuses(mount, proxy):
    """EPERM for another reason stays EPERM."""
    m = through(mount, proxy)
    refused = proxy.on("MKDIR", Status("PERM"), times=2)
    with fails(errno.EPERM):
        os.mkdir(m.path / "d")
    assert refused.hits == 2
    os.mkdir(m.path / "d")
    proxy.on("MKDIR", Cut("executed"), times=1)
    os.mkdir(m.path / "e")
