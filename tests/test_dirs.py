"""Reading directories: every entry once, large ones, positions, changes while they are read."""

import contextlib
import ctypes
import errno
import os
import random
import shutil
import stat
import struct

import pytest

from lab.procs import as_user, run_bounded, wait_for
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from support import create, errno_of, fails, in_processes, libc, names_on_disk, opened

SYS_getdents64 = 217 if os.uname().machine == "x86_64" else 61
DT = {stat.S_IFIFO: 1, stat.S_IFCHR: 2, stat.S_IFDIR: 4, stat.S_IFBLK: 6, stat.S_IFREG: 8,
      stat.S_IFLNK: 10, stat.S_IFSOCK: 12}


class Dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_uint16),
                ("type", ctypes.c_uint8), ("name", ctypes.c_char * 256)]


libc.opendir.restype = libc.readdir64.restype = libc.fdopendir.restype = ctypes.c_void_p
libc.readdir64.argtypes = libc.closedir.argtypes = libc.rewinddir.argtypes = [ctypes.c_void_p]
libc.telldir.argtypes, libc.telldir.restype = [ctypes.c_void_p], ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


class Stream:
    """opendir(3) and what goes with it."""

    def __init__(self, path):
        self.dir = libc.opendir(os.fsencode(path))
        if not self.dir:
            raise OSError(ctypes.get_errno(), f"opendir {path}")

    def close(self):
        libc.closedir(self.dir)

    def next(self):
        """The next entry, None at the end."""
        ctypes.set_errno(0)
        address = libc.readdir64(self.dir)
        if not address and ctypes.get_errno():
            raise OSError(ctypes.get_errno(), "readdir")
        return Dirent.from_address(address) if address else None

    def name(self):
        entry = self.next()
        return entry.name.decode() if entry else None

    def rest(self):
        """All names that are left, '.' and '..' too."""
        return list(iter(self.name, None))

    def tell(self):
        return libc.telldir(self.dir)

    def seek(self, position):
        libc.seekdir(self.dir, position)

    def rewind(self):
        libc.rewinddir(self.dir)


def stream(path):
    return contextlib.closing(Stream(path))


def getdents(fd, size):
    """One getdents64 with a buffer of this size: [(name, position after it)]."""
    buffer = ctypes.create_string_buffer(size)
    used = libc.syscall(SYS_getdents64, fd, buffer, ctypes.c_size_t(size))
    if used < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    entries, at = [], 0
    while at < used:
        _, position, length, _ = struct.unpack_from("=QqHB", buffer, at)
        name = buffer.raw[at + 19:at + length].split(b"\0")[0]
        entries.append((name.decode(), position))
        at += length
    return entries


def fill(directory, count, prefix="f"):
    """Empty files made on the server's disk; returns their names."""
    names = [f"{prefix}{i}" for i in range(count)]
    with opened(directory) as fd:
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    return names


def made(m, name="d"):
    """A directory on the server's disk: (its path on the mount, on the server)."""
    os.mkdir(m.server_path / name)
    return m.path / name, m.server_path / name


# --- what an entry says


def test_empty_directory(m):
    """An empty directory has '.' and '..'."""
    mine, _ = made(m)
    assert os.listdir(mine) == []
    with stream(mine) as d:
        assert sorted(d.rest()) == [".", ".."]
        assert d.next() is None
    assert os.listdir(m.path) == ["d"]


def test_inode_numbers(m):
    """Every entry's inode number is its st_ino; '.' is the directory's own, '..' its parent's."""
    mine, its = made(m)
    made(m, "d/e")
    create(its / "f")
    os.symlink("f", its / "l")
    with stream(mine) as d:
        numbers = {entry.name.decode(): entry.ino for entry in iter(d.next, None)}
    assert numbers == {name: os.lstat(mine / name).st_ino for name in (".", "..", "e", "f", "l")}
    assert numbers["f"] == os.stat(its / "f").st_ino


def test_types(m):
    """d_type is right for every kind of file, so that find and os.walk need no stat."""
    mine, its = made(m)
    for kind in DT:
        if kind == stat.S_IFDIR:
            os.mkdir(its / f"{kind}")
        elif kind == stat.S_IFLNK:
            os.symlink("x", its / f"{kind}")
        else:
            os.mknod(its / f"{kind}", kind | 0o600, os.makedev(1, 3))
    with stream(mine) as d:
        found = {entry.name.decode(): entry.type for entry in iter(d.next, None)}
    assert found == {**{f"{kind}": number for kind, number in DT.items()}, ".": 4, "..": 4}


def test_listed_attributes_are_fresh(m):
    """Attributes that came with a listing are those that stat gives later."""
    mine, its = made(m)
    for i in range(50):
        create(its / f"{i}", b"x" * i, 0o600 + i % 8)
    listed = {entry.name: entry.stat() for entry in os.scandir(mine)}
    for name, info in listed.items():
        real = os.stat(its / name)
        assert (info.st_size, info.st_mode, info.st_ino) \
            == (real.st_size, real.st_mode, real.st_ino)


def test_long_names(m):
    """Names of 255 bytes fill every page to the brim."""
    mine, its = made(m)
    names = sorted(f"{i:04}".ljust(255, "n") for i in range(700))
    for name in names:
        create(its / name)
    assert sorted(os.listdir(mine)) == names


def test_names_of_all_lengths(m):
    """Lengths from 1 to 255, so that entries end anywhere in a buffer."""
    mine, its = made(m)
    names = sorted([chr(97 + i % 26) * (1 + i // 3) + f"{i}" * (i < 600) for i in range(3 * 200)])
    for name in names:
        create(its / name)
    assert sorted(os.listdir(mine)) == sorted(set(names))


# --- large directories


def test_ten_thousand(m):
    """10,000 entries, each exactly once, also when attributes are asked for."""
    mine, its = made(m)
    names = sorted(fill(its, 10_000))
    assert sorted(os.listdir(mine)) == names
    with os.scandir(mine) as entries:
        infos = [entry.stat(follow_symlinks=False) for entry in entries]
    assert len({info.st_ino for info in infos}) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("nconnect", [1, 8])
def test_hundred_thousand(mount, nconnect):
    """100,000 entries: listed, and removed by rm -rf."""
    m = mount(nconnect, limit=600)
    mine, its = made(m)
    names = sorted(fill(its, 100_000))
    assert sorted(os.listdir(mine)) == names
    with os.scandir(mine) as entries:
        assert sum(entry.is_file(follow_symlinks=False) for entry in entries) == len(names)
    run_bounded(["rm", "-rf", mine], timeout=300)
    assert os.listdir(m.server_path) == []


def test_two_streams(m):
    """Two streams of one directory do not disturb each other; nor do processes that list it at the
    same time."""
    mine, its = made(m)
    names = sorted([*fill(its, 1000), ".", ".."])
    with stream(mine) as a, stream(mine) as b:
        for_a, for_b = [], []
        while len(for_a) < len(names):
            for_a += [a.name()]
            for_b += [b.name(), b.name()] if len(for_b) < len(names) - 1 else []
        for_b += b.rest()
        assert a.next() is None
    assert sorted(for_a) == sorted(for_b) == names
    assert in_processes(4, lambda _: sorted(os.listdir(mine)) == names[2:]) == [True] * 4


@pytest.mark.parametrize("size", [280, 300, 512, 1000, 4096, 32768, 1 << 20])
def test_buffer_sizes(m, size):
    """getdents with a buffer of any size gives every entry once; the position after an entry is
    where to go on."""
    mine, its = made(m)
    names = sorted([*fill(its, 500), *fill(its, 50, "n" * 240), ".", ".."])
    with opened(mine) as fd:
        found = []
        while part := getdents(fd, size):
            found += part
        assert sorted(name for name, _ in found) == names
        assert len({position for _, position in found}) == len(names)
        for index in random.Random(1).sample(range(len(found) - 1), 20):
            os.lseek(fd, found[index][1], os.SEEK_SET)
            assert getdents(fd, size)[0][0] == found[index + 1][0]


def test_buffer_too_small(m):
    """A buffer that holds no entry at all is EINVAL, not the end."""
    mine, its = made(m)
    create(its / ("n" * 255))
    with opened(mine) as fd:
        found = []
        with fails(errno.EINVAL):
            for _ in range(3):
                found += getdents(fd, 64)
        assert len(found) <= 2
        assert "n" * 255 in [name for name, _ in getdents(fd, 4096)]


# --- positions


def test_seekdir(m):
    """A position from telldir leads back to the same place, in any order, many times."""
    mine, its = made(m)
    fill(its, 1500)
    with stream(mine) as d:
        places = [(d.tell(), d.name())]
        while places[-1][1] is not None:
            places.append((d.tell(), d.name()))
        assert len(places) == 1503
        for position, name in random.Random(1).sample(places, 100):
            d.seek(position)
            assert d.name() == name
        position, name = places[1000]
        d.seek(position)
        assert [name for _, name in places[1000:-1]] == d.rest()


def test_seekdir_before_reading(m):
    """The position of the start, taken before the first entry."""
    mine, its = made(m)
    names = sorted([*fill(its, 20), ".", ".."])
    with stream(mine) as d:
        start = d.tell()
        assert sorted(d.rest()) == names
        d.seek(start)
        assert sorted(d.rest()) == names


def test_positions_survive_removal(m):
    """Positions stay good when entries before and after them are removed: what is still there comes
    exactly once."""
    mine, its = made(m)
    fill(its, 1200)
    with stream(mine) as d:
        before = [d.name() for _ in range(600)]
        position = d.tell()
        after = d.rest()
        for name in before[2:300] + after[::2]:
            if name not in (".", ".."):
                os.unlink(mine / name)
        d.seek(position)
        left = [name for name in d.rest() if os.path.exists(its / name)]
    assert sorted(left) == sorted(name for name in after if os.path.exists(its / name))


def test_rewinddir(m):
    """After rewinddir the directory is read anew: new names are there, removed ones are not."""
    mine, its = made(m)
    fill(its, 100)
    with stream(mine) as d:
        assert len(d.rest()) == 102
        os.unlink(mine / "f50")
        create(mine / "new")
        d.rewind()
        names = d.rest()
        assert len(names) == 102 and "new" in names and "f50" not in names


def test_rewinddir_in_the_middle(m):
    """The same before the end was reached."""
    mine, its = made(m)
    fill(its, 1200)
    with stream(mine) as d:
        for _ in range(100):
            d.name()
        for i in range(100):
            create(mine / f"new{i}")
        d.rewind()
        assert len(d.rest()) == 1302


# --- changes while reading


def test_delete_while_iterating(m):
    """A program that removes each entry it is given empties the directory in one pass."""
    mine, its = made(m)
    fill(its, 1500)
    with os.scandir(mine) as entries:
        for entry in entries:
            os.unlink(entry.path)
    assert os.listdir(its) == []
    os.rmdir(mine)


def test_delete_others_while_iterating(m):
    """Entries that stay are given exactly once, whatever else is removed meanwhile."""
    mine, its = made(m)
    fill(its, 1500)
    keep, rng = {f"f{i}" for i in range(0, 1500, 3)}, random.Random(1)
    doomed = [f"f{i}" for i in range(1500) if i % 3]
    rng.shuffle(doomed)
    seen = []
    with stream(mine) as d:
        for name in iter(d.name, None):
            seen.append(name)
            if doomed:
                os.unlink(mine / doomed.pop())
    assert len(seen) == len(set(seen))
    assert keep <= set(seen)


def test_create_while_iterating(m):
    """Entries that are there all the time are given exactly once while new ones appear, and the
    listing comes to an end."""
    mine, its = made(m)
    old = set(fill(its, 1200))
    seen = []
    with stream(mine) as d:
        for i, name in enumerate(iter(d.name, None)):
            seen.append(name)
            if i % 5 == 0 and i < 3000:
                create(mine / f"new{i}")
    assert len(seen) == len(set(seen))
    assert old <= set(seen)


def test_rename_while_iterating(m):
    """A program that renames every file it is given (to a name it would not touch again) renames
    them all."""
    mine, its = made(m)
    fill(its, 800)
    with os.scandir(mine) as entries:
        for entry in entries:
            if entry.name.startswith("f"):
                os.rename(entry.path, mine / f"done-{entry.name}")
    assert sorted(os.listdir(its)) == sorted(f"done-f{i}" for i in range(800))


def test_rm_rf(m):
    """rm -rf of a tree of several levels leaves nothing."""
    mine, its = made(m)
    for i in range(8):
        made(m, f"d/{i}")
        fill(its / f"{i}", 150)
        made(m, f"d/{i}/deep")
        os.symlink("..", its / f"{i}/deep/up")
    run_bounded(["rm", "-rf", mine])
    assert os.listdir(m.server_path) == []


@pytest.mark.slow  # now and then ESTALE for a directory the other has just removed, as NFS is
def test_rm_rf_twice_at_once(m):
    """Two rm -rf of one tree, and a process that lists it: all end, and the tree is gone."""
    mine, its = made(m)
    for i in range(5):
        made(m, f"d/{i}")
        fill(its / f"{i}", 200)

    def body(i):
        if i < 2:
            run_bounded(["rm", "-rf", mine])
        else:
            list(os.walk(mine, onerror=lambda error: None))
    in_processes(3, body)
    assert not os.path.exists(its)


def test_storm(m):
    """Processes create, list and remove names in one directory: own names are always listed."""
    mine, its = made(m)

    def worker(i):
        names, missing = set(), 0
        for n in range(60):
            os.mknod(mine / f"{i}-{n}")
            names.add(f"{i}-{n}")
            if n % 3 == 2:
                os.unlink(mine / f"{i}-{n - 1}")
                names.remove(f"{i}-{n - 1}")
            listed = os.listdir(mine)
            missing += len(listed) != len(set(listed)) or not names <= set(listed)
        return missing
    assert in_processes(4, worker) == [0] * 4
    assert sorted(os.listdir(mine)) == sorted(os.listdir(its))


def test_own_changes_are_listed(m):
    """A listing shows what this mount has done just before, every time."""
    mine, its = made(m)
    names = set()
    for i in range(60):
        if i % 4 == 3:
            os.rename(mine / f"{i - 1}", mine / f"r{i}")
            names = names - {f"{i - 1}"} | {f"r{i}"}
        elif i % 4 == 1:
            os.unlink(mine / f"{i - 1}")
            names.remove(f"{i - 1}")
        else:
            os.mknod(mine / f"{i}")
            names.add(f"{i}")
        assert set(os.listdir(mine)) == names == set(os.listdir(its))


def test_changed_by_another_client(mount):
    """What another client adds and removes is listed after the cache time, whether or not the
    directory was listed before."""
    mine, other = mount(options="actimeo=1"), mount(options="actimeo=0")
    os.mkdir(mine.path / "d")
    create(mine.path / "d/old")
    assert os.listdir(mine.path / "d") == ["old"]
    create(other.path / "d/new")
    os.unlink(other.path / "d/old")
    wait_for(lambda: os.listdir(mine.path / "d") == ["new"], what="the other client's changes")


def test_changed_while_open_by_another_client(mount):
    """A stream that was opened before another client changed the directory still ends, without
    duplicates, and without losing what was there all the time."""
    mine, other = mount(), mount(options="actimeo=0")
    os.mkdir(mine.server_path / "d")
    names = fill(mine.server_path / "d", 1200)
    with stream(mine.path / "d") as d:
        seen = [d.name() for _ in range(10)]
        for name in names[::2]:
            os.unlink(other.path / "d" / name)
        for i in range(300):
            create(other.path / f"d/new{i}")
        seen += d.rest()
    assert len(seen) == len(set(seen))
    assert set(names[1::2]) <= set(seen)


# --- removed, forbidden, misused


def test_removed_while_open(m):
    """Reading a directory that was removed meanwhile ends; it gives no names."""
    mine, its = made(m)
    with opened(mine) as fd:
        os.rmdir(mine)
        try:
            assert [name for name, _ in getdents(fd, 4096) if name not in (".", "..")] == []
        except OSError as error:
            assert error.errno in (errno.ENOENT, errno.ESTALE)
        assert errno_of(os.fstat, fd) in (0, errno.ESTALE)
    assert not its.exists()


def test_not_a_directory(m):
    """opendir of anything else."""
    create(m.path / "f")
    os.symlink("nowhere", m.path / "l")
    for name, number in (("f", errno.ENOTDIR), ("l", errno.ENOENT), ("x", errno.ENOENT)):
        with fails(number):
            os.listdir(m.path / name)
    with fails(errno.ENOTDIR):
        os.open(m.path / "f", os.O_RDONLY | os.O_DIRECTORY)


def test_directories_are_not_files(m):
    """read, write and O_WRONLY of a directory are EISDIR or EBADF."""
    mine, _ = made(m)
    with opened(mine) as fd:
        with fails(errno.EISDIR):
            os.read(fd, 10)
        with fails(errno.EBADF):
            os.write(fd, b"x")
    with fails(errno.EISDIR):
        os.open(mine, os.O_WRONLY)


def test_listing_without_search_permission(m):
    """A directory one may read but not search gives names, and nothing more."""
    mine, its = made(m)
    fill(its, 20)
    its.chmod(0o744)
    assert len(as_user(os.listdir, mine)) == 20
    with fails(errno.EACCES):
        as_user(os.stat, mine / "f1")


def test_listing_without_read_permission(m):
    """One may search but not read: names one knows work, a listing does not, also if root has just
    listed it."""
    mine, its = made(m)
    fill(its, 20)
    its.chmod(0o711)
    assert len(os.listdir(mine)) == 20
    assert as_user(os.stat, mine / "f1").st_size == 0
    with fails(errno.EACCES):
        as_user(os.listdir, mine)


# --- tools


def test_tools_agree(m):
    """ls -lR, find and du say the same of the mount and of the server's disk."""
    rng = random.Random(1)
    for i in range(5):
        made(m, f"{i}")
        for j in range(4):
            made(m, f"{i}/{j}")
            for n in fill(m.server_path / f"{i}/{j}", 30):
                os.truncate(m.server_path / f"{i}/{j}/{n}", rng.randrange(10_000))
    os.symlink("0/1", m.server_path / "link")
    commands = [["ls", "-lR", "--time-style=full-iso"], ["ls", "-ailU"],
                ["find", ".", "-type", "f", "-printf", "%p %i %s %m %n %y\n"],
                ["find", ".", "-name", "f1*", "-size", "+2k"], ["du", "-a"],
                ["du", "--apparent-size", "-sb"]]
    for command in commands:
        if command[1] == "-ailU":
            command = ["sh", "-c", "ls -il | grep -v '^total'"]
        mine, its = (run_bounded(command, cwd=path).stdout for path in (m.path, m.server_path))
        assert sorted(mine.splitlines()) == sorted(its.splitlines()), command


def test_walk_and_remove(m):
    """shutil.copytree and rmtree, which work relative to descriptors."""
    for i in range(4):
        made(m, f"{i}")
        fill(m.server_path / f"{i}", 100)
    shutil.copytree(m.path / "0", m.path / "copy/of/0")
    assert sorted(os.listdir(m.server_path / "copy/of/0")) == sorted(os.listdir(m.path / "0"))
    for name in os.listdir(m.path):
        shutil.rmtree(m.path / name)
    assert names_on_disk(m.server_path) == []
