"""What is known is told without the server: listings of directories that have not changed, names that
are not there, and everything while it does not answer (softreval).

The test itself never touches a mount whose server is away: commands do, each with its own bound."""

import contextlib
import ctypes
import errno
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.child import Child
from lab.procs import CommandFailed, run_bounded, wait_for
from lab.proxy import PacketFilter, Proxy
from support import create, errno_name, errno_of, libc, opened, tick

SOON, AT_ONCE = 1.0, 0.3    # seconds: before the outage is known, and when it is
BACK = 6                    # to be connected again; then truth is at most SOON away
DETECT = 2
LOUD = "not responding|timed out"
FILES = 40
LISTING, SETTLED = "READDIR READDIRPLUS", 0.1  # after so long a change has another time
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mlock.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


# --- what can be asked: commands, and where


LOOKS = {
    "stat of the mount point": lambda p: ["stat", "-c", "%i %s %Y %f", p],
    "mountpoint": lambda p: ["mountpoint", p],
    "df": lambda p: ["df", "--output=source,size,target", p],
    "ls of the mount point": lambda p: ["ls", p],
    "ls": lambda p: ["ls", p / "d"],
    "ls -l": lambda p: ["ls", "-la", "--time-style=full-iso", p / "d"],
    "cd": lambda p: ["sh", "-c", f"cd {p}/d/e && pwd -P"],
    "stat": lambda p: ["stat", "-c", "%i %s %Y %Z %f %u %g", p / "d/f7"],
    "through a link": lambda p: ["stat", "-L", "-c", "%i %s", p / "to_d/f3"],
    "readlink": lambda p: ["readlink", p / "to_d"],
    "missing name": lambda p: ["sh", "-c", f"! test -e {p}/d/missing"],
    "completion": lambda p: ["bash", "-c", f"compgen -f {p}/d/f1"],
    "find": lambda p: ["find", p / "d", "-type", "f"],
    "test -r": lambda p: ["test", "-r", p / "d/f5"]}


def populate(directory):
    (directory / "d/e").mkdir(parents=True)
    for i in range(FILES):
        (directory / f"d/f{i}").write_bytes(b"%d" % i * (i + 1))
    (directory / "to_d").symlink_to("d")


def look(m, name):
    """(What the command said, its seconds)."""
    start = time.monotonic()
    try:
        said = run_bounded(LOOKS[name](m.path), 20).stdout
    except CommandFailed as failed:
        said = f"failed: {failed}"
    return said, time.monotonic() - start


def look_at_all(m):
    """All at the same time."""
    with ThreadPoolExecutor(len(LOOKS)) as pool:
        return dict(zip(LOOKS, pool.map(lambda name: look(m, name), LOOKS)))


def quick_look(m, name):
    """The fastest of three: other work on the machine is not to be measured."""
    looks = [look(m, name) for _ in range(3)]
    assert len({said for said, _ in looks}) == 1
    return min(looks, key=lambda result: result[1])


def said(looks):
    return {name: what for name, (what, _) in looks.items()}


def slower_than(limit, looks):
    return {name: seconds for name, (_, seconds) in looks.items() if seconds > limit}


# --- how a server is away


@contextlib.contextmanager
def killed(server):
    server.kill()
    yield
    server.start()


@contextlib.contextmanager
def stopped(server):
    server.pause()
    yield
    server.resume()


def dropped(match):
    @contextlib.contextmanager
    def outage(_):
        with PacketFilter() as packets:
            packets.drop(match)
            yield
    return outage


OUTAGES = {"killed": killed, "stopped": stopped, "silent": dropped("tcp dport 2049"),
           "no replies": dropped("tcp sport 2049")}


def known(mount, options=""):
    """A mount of which all has been looked at."""
    m = mount(options=",".join(filter(None, [f"detect={DETECT}", options])))
    m.expect_log(LOUD)
    populate(m.server_path)
    for _ in range(2):
        time.sleep(SETTLED)
        before = said(look_at_all(m))
    assert not [what for what in before.values() if what.startswith("failed")], before
    return m, before


def is_down(m):
    return "not responding" in m.log()


def wait_until_down(m):
    """Something has to be asked of it."""
    wait_for(lambda: look(m, "stat") and is_down(m), 15, "the server to be known as down")


def change(directory):
    """What somebody else does meanwhile."""
    (directory / "d/new").write_bytes(b"new")
    (directory / "d/f7").write_bytes(b"changed")
    (directory / "d/missing").write_bytes(b"there")


def is_fresh(m):
    names = run_bounded(["ls", m.path / "d"], 20).stdout.split()
    size = run_bounded(["stat", "-c", "%s", m.path / "d/f7"], 20).stdout.strip()
    found = run_bounded(["test", "-e", m.path / "d/missing"], 20, check=False).returncode == 0
    return "new" in names and size == "7" and found


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("options", ["actimeo=0", "actimeo=0,hard", "soft"])
def test_outage(mount, server, outage, options):
    """All that is known is told within a second while the server begins to be away, at once when that
    is known, and is the same as before. When the server is back, what has changed is seen."""
    m, before = known(mount, options)
    if "actimeo" not in options:
        time.sleep(3.5)  # acregmin
    with OUTAGES[outage](server):
        first = look_at_all(m)
        assert said(first) == before
        assert slower_than(SOON, first) == {}
        wait_until_down(m)
        later = {name: quick_look(m, name) for name in LOOKS}
        assert said(later) == before
        assert slower_than(AT_ONCE, later) == {}
        change(m.server_path)
    if "actimeo" in options:
        wait_for(lambda: is_fresh(m), BACK + SOON, "the truth")
    else:
        wait_for(lambda: "new" in look(m, "ls")[0], BACK + SOON, "the new name")


@pytest.mark.parametrize("outage", OUTAGES)
def test_unknown_things(mount, server, outage):
    """What is not known waits for its deadline, and fails at once when the server is down."""
    m, _ = known(mount, "optimeo=1500ms")
    (m.server_path / "d/unseen").mkdir()

    def seconds_of(child):
        results = []
        for func, name in ((os.stat, "d/never"), (os.listdir, "d/unseen"), (os.mkdir, "d/mine")):
            start = time.monotonic()
            results.append((errno_name(errno_of(func, m.path / name)), time.monotonic() - start))
        return results
    with OUTAGES[outage](server):
        with Child(seconds_of) as child:
            first = child.wait(20)
        wait_until_down(m)
        with Child(seconds_of) as child:
            later = child.wait(20)
    assert {error for error, _ in first + later} <= {"ETIMEDOUT", "EHOSTDOWN"}
    assert all(1 < seconds < 3.5 for _, seconds in first[:1])
    assert all(seconds < AT_ONCE for _, seconds in later)


def test_nosoftreval(mount, server):
    """Then only the mount point itself and df(1) do without a server."""
    m, before = known(mount, "actimeo=0,nosoftreval,optimeo=1")
    with killed(server):
        for name in ("stat of the mount point", "df", "mountpoint"):
            what, seconds = look(m, name)
            assert what == before[name] and seconds < SOON
        for name in ("ls", "stat", "ls of the mount point"):
            assert look(m, name)[0].startswith("failed")


def lock_pages(path):
    """As long as this process lives the kernel does not need the memory for something else."""
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    assert libc.mlock(address, size) == 0


def test_pages_in_memory(mount, server):
    """A file in the page cache is read as it is; what is not there fails, and is not zeros."""
    m, _ = known(mount, "actimeo=0,optimeo=1")
    data = os.urandom(100_000)
    (m.server_path / "d/f0").write_bytes(data)
    (m.server_path / "d/f1").write_bytes(data)

    def work(child):
        def contents(name):
            with opened(m.path / name) as fd:
                return os.read(fd, len(data))
        first = contents("d/f0")
        lock_pages(m.path / "d/f0")
        os.stat(m.path / "d/f1")
        child.tell("ready")
        child.hear()
        errors = [errno_of(contents, "d/f1"), errno_of(os.open, m.path / "d/f0", os.O_WRONLY)]
        return first == contents("d/f0") == data, errors
    with Child(work) as child:
        child.hear()
        with killed(server):
            child.tell()
            same, errors = child.wait(20)
    assert same
    assert set(errors) <= {errno.ETIMEDOUT, errno.EHOSTDOWN}


def test_permissions_count(mount, server):
    """What a user may not see with the server he may not see without it."""
    m, _ = known(mount, "actimeo=0")

    def work(child):
        return [errno_of(func, m.path / name)
                for func, name in ((os.listdir, "secret"), (os.stat, "secret/f"), (open, "mine"))]
    os.mkdir(m.path / "secret", 0o700)
    create(m.path / "secret/f")
    create(m.path / "mine", b"x", 0o600)
    for path in ("secret", "secret/f", "mine"):
        run_bounded(["ls", "-la", m.path / path])
    run_bounded(["cat", m.path / "mine"])
    with killed(server):
        with Child(work, uid=1000) as child:
            assert child.wait(20) == [errno.EACCES] * 3


# --- while the server answers: calls that are not made


@pytest.fixture
def proxy(server):
    with Proxy(server) as made:
        yield made


def watched(mount, proxy, options=""):
    """A mount through the proxy, with a directory that was listed when its last change was over."""
    m = mount(options=options, server=proxy)
    populate(m.server_path)
    for _ in range(2):
        time.sleep(SETTLED)
        os.listdir(m.path / "d")
    proxy.clear()
    return m


def names(m):
    return sorted(os.listdir(m.path / "d"))


def test_listing_of_an_unchanged_directory(mount, proxy):
    """It is read once: then each listing asks for its attributes, as an open does, and no more. With
    many files, too."""
    m = mount(server=proxy)
    populate(m.server_path)
    for i in range(3000):
        (m.server_path / f"d/many{i}").touch()
    for _ in range(3):  # the kernel asks for attributes of the first entries only, or for all
        time.sleep(SETTLED)
        wanted = names(m)
    proxy.clear()
    for _ in range(5):
        assert names(m) == wanted == sorted(os.listdir(m.server_path / "d"))
    assert proxy.count(LISTING) == 0
    assert proxy.count("ACCESS") == 5


def test_rewinddir_of_an_unchanged_directory(mount, proxy):
    m = watched(mount, proxy)
    with opened(m.path / "d") as fd:
        wanted = sorted(os.listdir(fd))
        proxy.clear()
        for _ in range(3):
            assert sorted(os.listdir(fd)) == wanted
    assert proxy.count() == 0


def test_nocto_listing(mount, proxy):
    """nocto: without any call, while attributes are believed."""
    m = watched(mount, proxy, "nocto,actimeo=60")
    for _ in range(5):
        names(m)
    assert proxy.count() == 0


@pytest.mark.parametrize("options", ["noac", "actimeo=0"])
def test_listing_without_attribute_cache(mount, proxy, options):
    """Then every listing is the server's."""
    m = watched(mount, proxy, options)
    for _ in range(3):
        names(m)
    assert proxy.count(LISTING) >= 3


def test_changes_of_a_listed_directory(mount, proxy):
    """Own changes and those of others are in the next listing, of whatever kind they are."""
    m = watched(mount, proxy, "actimeo=600")
    other = mount(options="actimeo=600")
    changes = [lambda p: create(p / "d/new"), lambda p: os.unlink(p / "d/f1"),
               lambda p: os.rename(p / "d/f2", p / "d/g2"), lambda p: os.mkdir(p / "d/sub"),
               lambda p: os.rename(p / "d/f3", p / "f3"), lambda p: os.rmdir(p / "d/sub"),
               lambda p: os.symlink("x", p / "d/link"), lambda p: os.link(p / "d/f4", p / "d/h4"),
               lambda p: os.rename(p / "d/f5", p / "d/f6")]
    for i, change_it in enumerate(changes):
        change_it([m, other][i % 2].path)
        wanted = sorted(os.listdir(m.server_path / "d"))
        assert names(m) == wanted and names(other) == wanted, i
        time.sleep(SETTLED * (i % 3))
        assert names(m) == wanted and names(other) == wanted, i


def test_changes_within_a_tick(mount, proxy):
    """Two changes may have the same time, on a server whose clock ticks. A listing between them is not
    taken for one after them."""
    m = watched(mount, proxy, "actimeo=600")
    same = 0
    for i in range(300):
        (m.server_path / f"d/a{i}").touch()
        first = os.stat(m.server_path / "d").st_mtime_ns
        names(m)
        (m.server_path / f"d/b{i}").touch()
        same += os.stat(m.server_path / "d").st_mtime_ns == first
        assert f"b{i}" in names(m)
    print(f"the same time: {same} of 300")


def test_many_stats_of_a_listed_directory(mount, proxy):
    """ls -l of an unchanged directory again and again: with attributes that have run out it is
    READDIRPLUS that brings new ones, not a GETATTR for each file."""
    m = watched(mount, proxy, "acregmin=1,acregmax=1")
    for _ in range(4):
        time.sleep(1.1)
        run_bounded(["ls", "-l", m.path / "d"])
    proxy.clear()
    time.sleep(1.1)
    run_bounded(["ls", "-l", m.path / "d"])
    assert proxy.count("GETATTR LOOKUP") < FILES / 4
    assert proxy.count(LISTING) >= 1


def test_attributes_of_an_old_listing(mount, proxy):
    """What a kept page says of a file is not told when something newer is known."""
    m = watched(mount, proxy, "actimeo=600")
    run_bounded(["ls", "-l", m.path / "d"])
    with opened(m.path / "d/f1", os.O_WRONLY) as fd:
        os.write(fd, b"x" * 5000)
    os.chmod(m.path / "d/f2", 0o640)
    for _ in range(2):
        listed = {entry.name: entry.stat() for entry in os.scandir(m.path / "d")}
        assert listed["f1"].st_size == 5000
        assert listed["f2"].st_mode & 0o777 == 0o640


def exists(m, name):
    return os.path.exists(m.path / "d" / name)


def test_missing_names(mount, proxy):
    """A name that is not there is asked for once."""
    m = watched(mount, proxy)
    assert not any(exists(m, f"none{i}") for i in range(20))
    assert proxy.count("LOOKUP") == 20
    for _ in range(5):
        assert not any(exists(m, f"none{i}") for i in range(20))
    assert proxy.count("LOOKUP") == 20


@pytest.mark.parametrize("options", ["lookupcache=pos", "lookupcache=none", "noac", "actimeo=0"])
def test_missing_names_are_asked_for(mount, proxy, options):
    m = watched(mount, proxy, options)
    for i in range(5):
        assert not exists(m, "none")
        assert proxy.count("LOOKUP") >= i + 1


MAKERS = {
    "create": lambda p: create(p), "mkdir": os.mkdir, "symlink": lambda p: os.symlink("f1", p),
    "link": lambda p: os.link(p.parent / "f1", p), "mknod": lambda p: os.mknod(p, 0o600 | 0o010000),
    "rename": lambda p: os.rename(p.parent / "f2", p),
    "moved in": lambda p: os.rename(p.parent.parent / "top", p)}


@pytest.mark.parametrize("maker", MAKERS)
def test_missing_name_that_is_made(mount, proxy, maker):
    """By this mount: it is there at once. And gone when it is removed."""
    m = watched(mount, proxy, "actimeo=600")
    create(m.path / "top")
    for pause in (0, SETTLED):
        time.sleep(pause)
        assert not os.path.lexists(m.path / "d/none") and not os.path.lexists(m.path / "d/none")
        MAKERS[maker](m.path / "d/none")
        assert os.path.lexists(m.path / "d/none")
        os.rename(m.path / "d/none", m.path / "top" if maker == "moved in" else m.path / "d/f2") \
            if maker in ("rename", "moved in") else \
            (os.rmdir if maker == "mkdir" else os.unlink)(m.path / "d/none")
        assert not os.path.lexists(m.path / "d/none")


def test_missing_name_that_another_makes(mount, proxy):
    """It is found when the directory's attributes have run out, or were told by anything else."""
    m = watched(mount, proxy, "actimeo=1")
    for i in range(5):
        assert not exists(m, f"none{i}")
        (m.server_path / f"d/none{i}").touch()
        wait_for(lambda: exists(m, f"none{i}"), 3, "the new name")
    long = mount(options="actimeo=600")
    time.sleep(SETTLED)
    assert not exists(long, "later") and not exists(long, "later")
    tick()
    (m.server_path / "d/later").touch()
    names(long)  # its opendir asks
    assert exists(long, "later")


def test_missing_names_within_a_tick(mount):
    """A name that was looked up in the very tick in which the directory changed is not remembered as
    missing for as long as its time stays the same."""
    m = mount(options="actimeo=1")
    (m.server_path / "d").mkdir()
    for i in range(300):
        (m.server_path / f"d/a{i}").touch()
        exists(m, f"b{i}")
        (m.server_path / f"d/b{i}").touch()
    wait_for(lambda: all(exists(m, f"b{i}") for i in range(300)), 5, "all names")


def test_links_are_read_once(mount, proxy):
    """A symbolic link's text never changes: the kernel keeps it, while it has memory."""
    m = watched(mount, proxy)
    for _ in range(5):
        assert os.readlink(m.path / "to_d") == "d"
        os.stat(m.path / "to_d/f1")
    assert proxy.count("READLINK") <= 3
    os.unlink(m.path / "to_d")
    os.symlink("d/e", m.path / "to_d")
    assert os.readlink(m.path / "to_d") == "d/e"
