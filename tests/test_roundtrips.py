"""How many calls operations take: never more than here. bench/roundtrips.py prints the same table, with
what the Linux client takes. And calls of one directory that run at the same time."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import trips
from lab.procs import wait_for
from lab.proxy import Delay, Proxy, Status
from support import create, errno_of, opened, tick

SETTLED = 0.1  # after so long a change has another time

# Calls of the server at most. There is a LOOKUP before a name is made, for the kernel asks, and does
# not say why.
BOUNDS = {
    "stat-cold": {"LOOKUP": 2}, "stat-warm": {},
    "missing": {"LOOKUP": 1}, "missing-again": {},
    "read-cold": {"LOOKUP": 2, "ACCESS": 1, "READ": 1}, "read-warm": {"ACCESS": 1},
    "create-empty": {"LOOKUP": 1, "CREATE": 1}, "create-excl": {"LOOKUP": 1, "CREATE": 1},
    "create-4k": {"LOOKUP": 1, "CREATE": 1, "WRITE": 1},
    "create-1m": {"LOOKUP": 1, "CREATE": 1, "WRITE": 1},
    "overwrite": {"ACCESS": 1, "SETATTR": 1, "WRITE": 1},
    "rewrite": {"ACCESS": 1, "WRITE": 1},
    "append": {"ACCESS": 1, "WRITE": 1},
    "database": {"ACCESS": 1, "WRITE": 1},
    "mkdir": {"LOOKUP": 1, "MKDIR": 1}, "rmdir": {"RMDIR": 1},
    "symlink": {"LOOKUP": 1, "SYMLINK": 1, "READLINK": 1}, "link": {"LOOKUP": 1, "LINK": 1},
    "unlink": {"REMOVE": 1}, "unlink-open": {"ACCESS": 1, "RENAME": 1, "REMOVE": 1},
    "rename": {"LOOKUP": 1, "RENAME": 1}, "rename-over": {"LOOKUP": 1, "RENAME": 1},
    "chmod": {"SETATTR": 1}, "utimes": {"SETATTR": 1},
    "replace": {"LOOKUP": 2, "CREATE": 1, "WRITE": 1, "RENAME": 1},
    # NFS-Ganesha 4 fills a page with more entries than 6 does.
    "ls-cold": {"LOOKUP": 1, "ACCESS": 1, "READDIRPLUS": 5}, "ls-warm": {"ACCESS": 1},
    "find-cold": {"LOOKUP": 1, "ACCESS": 6, "READDIRPLUS": 6, "FSSTAT": 1},
    "find-warm": {"ACCESS": 6, "FSSTAT": 1},
    "du-cold": {"LOOKUP": 1, "ACCESS": 6, "READDIRPLUS": 6, "FSSTAT": 1},
    "du-warm": {"ACCESS": 6, "FSSTAT": 1},
    "ls-lR-cold": {"LOOKUP": 1, "ACCESS": 6, "READDIRPLUS": 6},
    "statfs": {"FSSTAT": 1}}


@pytest.fixture
def proxy(server):
    with Proxy(server) as made:
        yield made


@pytest.mark.parametrize("name", BOUNDS)
def test_calls(mount, server, proxy, name):
    m = mount(server=proxy)
    disk = m.server_path / "work"
    disk.mkdir()
    trips.OPERATIONS[name].prepare(disk)
    found = trips.measure(name, m.path / "work", disk, proxy)
    print(trips.show(found.calls))
    too_many = found.calls - trips.Counter(BOUNDS[name])
    assert not too_many, f"{trips.show(too_many)} more than {trips.show(BOUNDS[name])}"


# --- names that are asked for one after the other


@pytest.fixture
def known(mount, proxy):
    """A mount with a directory of 200 files that has not changed lately."""
    m = mount(server=proxy, options="actimeo=600")
    (m.server_path / "d").mkdir()
    for i in range(200):
        (m.server_path / f"d/f{i}").write_bytes(b"%d" % i)
    os.stat(m.path / "d")
    time.sleep(SETTLED)
    return m


def test_stat_of_every_file(known, proxy):
    """Names that are asked for one after the other: pages of the directory take the place of most
    LOOKUPs."""
    proxy.clear()
    for i in range(200):
        st = os.stat(known.path / f"d/f{i}")
        assert st.st_size == len(str(i)) and st.st_ino == os.stat(known.server_path / f"d/f{i}").st_ino
    print(trips.show(trips.Counter(call.proc for call in proxy.history())))
    assert proxy.count("READDIRPLUS") <= 4 and proxy.count() < 30


def test_few_names_of_a_large_directory(known, proxy):
    """Who asks for a few names does not pay for all of them."""
    for i in range(3000):
        (known.server_path / f"d/more{i}").touch()
    tick()
    with opened(known.path / "d"):  # which tells of the change
        time.sleep(SETTLED)
    proxy.clear()
    for i in range(0, 200, 20):
        os.stat(known.path / f"d/f{i}")
    assert proxy.count("READDIRPLUS") <= 1


@pytest.mark.parametrize("options", ["rdirplus=none", "lookupcache=none", "noac", "perm=server,allow_other"])
def test_stat_of_every_file_asked(mount, proxy, options):
    """Not where listings have no attributes, or names and attributes are not believed."""
    m = mount(server=proxy, options=options)
    trips.a_tree(m.server_path)
    os.stat(m.path / "dir0")
    time.sleep(SETTLED)
    for i in range(20):
        os.stat(m.path / f"dir0/file{i}")
    assert proxy.count("READDIRPLUS") == 0 and proxy.count("LOOKUP") >= 20


def stat_all(m):
    for i in range(200):
        os.stat(m.path / f"d/f{i}")


def test_new_name_beside_those_of_a_page(known, proxy):
    """What another host has just made is there, although every name of the directory is known."""
    stat_all(known)
    for i in range(5):
        (known.server_path / f"d/new{i}").write_bytes(b"x")
        assert os.stat(known.path / f"d/new{i}").st_size == 1


def test_own_changes_beside_a_page(known, proxy):
    """Names and attributes of a page do not outlive what this mount does."""
    stat_all(known)
    for i in range(100, 120):
        os.unlink(known.path / f"d/f{i}")
        assert errno_of(os.stat, known.path / f"d/f{i}")
        os.rename(known.path / f"d/f{i + 20}", known.path / f"d/f{i}")
        assert errno_of(os.stat, known.path / f"d/f{i + 20}")
        wanted = os.stat(known.server_path / f"d/f{i}").st_ino
        assert os.stat(known.path / f"d/f{i}").st_ino == wanted
    create(known.path / "d/f100x", b"123")
    os.truncate(known.path / "d/f1", 50)
    os.chmod(known.path / "d/f2", 0o600)
    drop_dentries()
    assert os.stat(known.path / "d/f1").st_size == 50
    assert os.stat(known.path / "d/f2").st_mode & 0o777 == 0o600
    assert os.stat(known.path / "d/f100x").st_size == 3


def drop_dentries():
    """The kernel asks for every name again."""
    with open("/proc/sys/vm/drop_caches", "w") as file:
        file.write("2")


def test_others_changes_beside_a_page(mount, known, proxy):
    """They are seen when the directory's attributes are told: by a listing, say."""
    stat_all(known)
    os.unlink(known.server_path / "d/f150")
    os.replace(known.server_path / "d/f151", known.server_path / "d/f152")
    os.listdir(known.path / "d")
    drop_dentries()
    assert errno_of(os.stat, known.path / "d/f150") and errno_of(os.stat, known.path / "d/f151")
    assert os.stat(known.path / "d/f152").st_ino == os.stat(known.server_path / "d/f152").st_ino


def replace_on_server(path):
    """By another file or directory of the same name. The old one's handle is stale."""
    if path.is_dir():
        path.rmdir()
        path.mkdir()
    else:
        path.unlink()
        path.write_bytes(b"other")


@pytest.mark.parametrize("use", [
    lambda p: os.listdir(p / "sub1"), lambda p: os.readlink(p / "link"),
    lambda p: open(p / "f1", "rb").close(),
    lambda p: os.chmod(p / "f1", 0o644), lambda p: os.truncate(p / "f1", 1),
    lambda p: create(p / "sub1/new")],
    ids=["listdir", "readlink", "open", "chmod", "truncate", "create"])
def test_stale_handle_from_a_page(known, use):
    """The kernel looks a name up again when its handle is stale: that must be asked, not told."""
    for name in ("sub1", "sub2"):
        (known.server_path / "d" / name).mkdir()
    (known.server_path / "d/link").symlink_to("f1")
    with opened(known.path / "d"):
        time.sleep(SETTLED)
    stat_all(known)
    for name in ("sub1", "link", "f1"):
        os.lstat(known.path / "d" / name)
    for name in ("sub1", "f1"):
        replace_on_server(known.server_path / "d" / name)
    (known.server_path / "d/link").unlink()
    (known.server_path / "d/link").symlink_to("f2")
    use(known.path / "d")


def test_changed_file_beside_a_page(known, proxy):
    """Close-to-open: what open finds is the server's present, whatever a page says."""
    stat_all(known)
    drop_dentries()
    for i in range(150, 160):
        (known.server_path / f"d/f{i}").write_bytes(b"changed %d" % i)
        with open(known.path / f"d/f{i}", "rb") as file:
            assert file.read() == b"changed %d" % i
            assert os.fstat(file.fileno()).st_size == len(b"changed %d" % i)


def test_page_refused(mount, proxy):
    """Of a directory that may be searched but not read, one LOOKUP each."""
    refused = proxy.on("READDIRPLUS", Status("ACCES"))
    m = mount(server=proxy)
    trips.a_tree(m.server_path)
    os.stat(m.path / "dir0")
    time.sleep(SETTLED)
    for i in range(20):
        assert os.stat(m.path / f"dir0/file{i}").st_size
    assert refused.hits == 1 and proxy.count("LOOKUP") == 21


# --- at the same time


N_THREADS, SLOW = 8, 0.3


@pytest.mark.parametrize("nconnect", [1, 8])
@pytest.mark.parametrize("proc, work", [
    ("LOOKUP", lambda p, i: os.stat(p / f"f{i}")), ("CREATE", lambda p, i: create(p / f"new{i}")),
    ("MKDIR", lambda p, i: os.mkdir(p / f"new{i}")), ("REMOVE", lambda p, i: os.unlink(p / f"f{i}"))],
    ids=["lookup", "create", "mkdir", "unlink"])
def test_calls_of_one_directory_overlap(mount, proxy, nconnect, proc, work):
    """Eight threads look up names in one directory behind a slow path: the calls are under way together
    (FUSE_PARALLEL_DIROPS). Not so what changes the directory: the kernel holds its lock meanwhile,
    whatever the file system; so no more than eight turns."""
    m = mount(nconnect=nconnect, server=proxy)
    (m.server_path / "d").mkdir()
    for i in range(N_THREADS):
        (m.server_path / f"d/f{i}").touch()
    os.stat(m.path / "d")
    proxy.clear()
    proxy.on(proc, Delay(SLOW, on="call"))
    with ThreadPoolExecutor(N_THREADS) as pool:
        list(pool.map(lambda i: work(m.path / "d", i), range(N_THREADS)))
    wait_for(lambda: all(call.replied for call in proxy.history(proc)), what="replies")
    turns = trips.in_turn(proxy.history(proc))
    assert turns == 1 if proc == "LOOKUP" else turns <= N_THREADS
