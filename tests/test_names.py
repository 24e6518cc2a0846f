"""Names: lookup, create, remove, rename, link, symlink, mknod. Every test has a fresh export, and
looks at the server's disk to see what really happened."""

import errno
import os
import shutil
import socket
import stat

import pytest

from lab.procs import as_user, run_bounded, wait_for
from localdir import *  # noqa: F403 - fixtures, if FUSENFS_TEST_LOCAL is set
from localdir import remote_only
from support import (PAST, RENAME_EXCHANGE, RENAME_NOREPLACE, create, errno_name, errno_of, fails,
                     in_processes, names_on_disk, opened, pattern, read, renameat2)

NOT_EMPTY = errno.ENOTEMPTY, errno.EEXIST  # POSIX allows both

ODD_NAMES = {
    "latin-1": b"caf\xe9", "invalid UTF-8": b"\xff\xfe\x80", "newline": b"a\nb", "space": b" ",
    "tab and CR": b"\t\r", "control": b"\x01\x7f", "backslash": b"a\\b", "dash": b"-rf",
    "three dots": b"...", "hidden": b".x", "percent": b"%s%n", "comma": b"a,b=c", "colon": b"a:b",
    "wildcards": b"*?[", "quotes": b"'\"`", "UTF-8": "naïve 名前 🗀".encode(),
    "decomposed": b"nai\xcc\x88ve", "255 bytes": b"n" * 255, "255 bytes above 127": b"\xe9" * 255}


def at(m, name):
    """A path with a name of arbitrary bytes."""
    return os.path.join(os.fsencode(m.path), name)


def server_names(m, directory=""):
    return names_on_disk(os.path.join(os.fsencode(m.server_path), os.fsencode(directory)))


# --- lookup and create


def test_missing_name(m):
    """A name that does not exist is ENOENT, however often it is asked for."""
    for _ in range(3):
        with fails(errno.ENOENT):
            os.stat(m.path / "missing")


def test_create_is_on_the_server(m):
    """After open(O_CREAT) and close the server has the file, with the mode asked for."""
    create(m.path / "f", b"hello", 0o640)
    assert (m.server_path / "f").read_bytes() == b"hello"
    assert stat.S_IMODE((m.server_path / "f").stat().st_mode) == 0o640


def test_server_file_is_seen(m):
    """A file that the server already has is found, with its attributes."""
    create(m.server_path / "f", b"hello", 0o604)
    mine, its = os.stat(m.path / "f"), os.stat(m.server_path / "f")
    fields = "st_mode st_ino st_nlink st_uid st_gid st_size st_mtime_ns st_ctime_ns".split()
    assert [getattr(mine, f) for f in fields] == [getattr(its, f) for f in fields]


def test_created_after_a_failed_lookup(m):
    """A name looked up in vain exists as soon as the same mount has created it."""
    for name, make in (("file", create), ("dir", os.mkdir), ("fifo", os.mkfifo),
                       ("link", lambda path: os.symlink("x", path))):
        assert not os.path.lexists(m.path / name)
        make(m.path / name)
        assert os.path.lexists(m.path / name)


def test_gone_after_remove(m):
    """A name that this mount has removed does not exist any more."""
    create(m.path / "f")
    os.mkdir(m.path / "d")
    os.unlink(m.path / "f")
    os.rmdir(m.path / "d")
    for name in "fd":
        with fails(errno.ENOENT):
            os.lstat(m.path / name)
    assert server_names(m) == []


def test_open_existing_with_creat(m):
    """O_CREAT without O_EXCL opens an existing file: content, mode and inode stay."""
    create(m.path / "f", b"old", 0o604)
    before = os.stat(m.path / "f").st_ino
    with opened(m.path / "f", os.O_RDWR | os.O_CREAT, 0o777) as fd:
        assert os.read(fd, 10) == b"old"
        assert (os.fstat(fd).st_ino, os.fstat(fd).st_mode & 0o777) == (before, 0o604)


def test_creat_of_a_file_the_server_has(m):
    """The same when the client has never heard of the file: CREATE must not empty it."""
    create(m.server_path / "f", b"old", 0o604)
    with opened(m.path / "f", os.O_RDWR | os.O_CREAT, 0o777) as fd:
        assert os.read(fd, 10) == b"old"
    assert (m.server_path / "f").stat().st_mode & 0o777 == 0o604


def test_creat_through_a_dangling_symlink(m):
    """open(O_CREAT) through a dangling symbolic link creates its target; with O_EXCL it fails."""
    os.symlink("target", m.path / "link")
    with fails(errno.EEXIST):
        os.open(m.path / "link", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    with opened(m.path / "link", os.O_CREAT | os.O_WRONLY) as fd:
        os.write(fd, b"x")
    assert read(m.path / "target") == b"x"


def test_exclusive_create(m):
    """O_EXCL creates with mode and sane times (the verifier of EXCLUSIVE lies in them meanwhile),
    and refuses a second time."""
    with opened(m.path / "f", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o641) as fd:
        info = os.fstat(fd)
        os.write(fd, b"x")
    assert stat.S_IMODE(info.st_mode) == 0o641
    with fails(errno.EEXIST):
        os.open(m.path / "f", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    its = os.stat(m.server_path / "f")
    for when in (info.st_atime_ns, info.st_mtime_ns, its.st_atime_ns, its.st_mtime_ns):
        assert abs(when - its.st_ctime_ns) < 60 * 10**9


def race(paths, call):
    """In four processes: call(path) for each path. The number of winners per path; the others must
    see EEXIST."""
    def racer(i):
        return [errno_of(call, path(i) if callable(path) else path) for path in paths]
    results = list(zip(*in_processes(4, racer)))
    assert {number for row in results for number in row} <= {0, errno.EEXIST}
    return [row.count(0) for row in results]


def test_exclusive_create_race(m):
    """Of several processes that create one name with O_EXCL exactly one succeeds."""
    assert race([m.path / f"f{i}" for i in range(50)], create) == [1] * 50


def test_mkdir_race(m):
    """Of several processes that make one directory exactly one succeeds: it is a lock to many."""
    assert race([m.path / f"d{i}" for i in range(50)], os.mkdir) == [1] * 50


def test_link_race(m):
    """link(2) to one name as a lock: exactly one wins."""
    create(m.path / "f")
    paths = [m.path / f"l{i}" for i in range(50)]
    assert race(paths, lambda path: os.link(m.path / "f", path)) == [1] * 50
    assert os.stat(m.path / "f").st_nlink == 51


def test_creat_race_without_excl(m):
    """O_CREAT without O_EXCL never fails, whoever creates the file first: all get one inode."""
    def racer(_):
        inodes = []
        for i in range(50):
            with opened(m.path / f"f{i}", os.O_CREAT | os.O_RDWR) as fd:
                inodes.append(os.fstat(fd).st_ino)
        return inodes
    first, *others = in_processes(4, racer)
    assert all(other == first for other in others)


# --- bytes and lengths


@pytest.mark.parametrize("name", ODD_NAMES.values(), ids=ODD_NAMES.keys())
def test_any_bytes(m, name):
    """A name is any bytes but NUL and '/': created, listed, found, renamed and removed as it is."""
    create(at(m, name), b"content")
    assert server_names(m) == [name]
    assert os.listdir(os.fsencode(m.path)) == [name]
    assert read(at(m, name)) == b"content"
    os.rename(at(m, name), at(m, b"other"))
    os.rename(at(m, b"other"), at(m, name))
    os.unlink(at(m, name))
    os.mkdir(at(m, name))
    os.symlink(name, at(m, b"link"))
    assert os.readlink(at(m, b"link")) == name
    assert os.stat(at(m, b"link")).st_mode == os.stat(at(m, name)).st_mode
    os.rmdir(at(m, name))


def test_case_matters(m):
    """Names that differ in case, or only in Unicode normalisation, are different files."""
    names = [b"a", b"A", "é".encode(), b"e\xcc\x81"]
    for name in names:
        create(at(m, name), name)
    assert sorted(os.listdir(os.fsencode(m.path))) == sorted(names)
    assert [read(at(m, name)) for name in names] == names


@pytest.mark.parametrize("call", [
    os.stat, os.mkdir, os.unlink, os.rmdir, os.mkfifo, create, lambda p: os.symlink("x", p),
    lambda p: os.link(os.path.dirname(p) + b"/f", p),
    lambda p: os.rename(os.path.dirname(p) + b"/f", p)],
    ids="stat mkdir unlink rmdir mknod create symlink link rename".split())
def test_256_bytes(m, call):
    """A name of 256 bytes is ENAMETOOLONG to every call, and nothing happens."""
    create(m.path / "f")
    with fails(errno.ENAMETOOLONG):
        call(at(m, b"n" * 256))
    assert server_names(m) == [b"f"]


def test_dots(m):
    """'.' and '..' are the directory itself and its parent."""
    os.makedirs(m.path / "a/b")
    create(m.path / "a/f", b"x")
    assert os.path.samefile(f"{m.path}/a/.", m.path / "a")
    assert os.path.samefile(f"{m.path}/a/b/..", m.path / "a")
    assert read(f"{m.path}/a/b/../../a/./f") == b"x"
    assert os.stat(f"{m.path}/a/b/../..").st_ino == os.stat(m.path).st_ino


def test_deeper_than_path_max(m):
    """A tree deeper than PATH_MAX works relative to open directories: nothing needs a full path."""
    here = os.open(m.path, os.O_RDONLY)
    name, depth = "d" * 200, 30
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    with open(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here), "wb") as file:
        file.write(b"deep")
    assert os.stat("f", dir_fd=here).st_size == 4
    os.close(here)
    shutil.rmtree(m.path / name)
    assert server_names(m) == []


# --- directories


def test_mkdir_and_rmdir(m):
    """A directory has two links and its mode; a subdirectory adds a link to its parent."""
    os.mkdir(m.path / "d", 0o750)
    assert stat.S_IMODE(os.stat(m.server_path / "d").st_mode) == 0o750
    assert os.stat(m.path / "d").st_nlink == 2
    os.mkdir(m.path / "d/e")
    assert os.stat(m.path / "d").st_nlink == 3
    os.rmdir(m.path / "d/e")
    assert os.stat(m.path / "d").st_nlink == 2


def test_rmdir_of_a_full_directory(m):
    """rmdir removes empty directories only."""
    os.mkdir(m.path / "d")
    create(m.path / "d/f")
    with fails(*NOT_EMPTY):
        os.rmdir(m.path / "d")
    os.unlink(m.path / "d/f")
    os.rmdir(m.path / "d")
    assert server_names(m) == []


def test_removed_working_directory(m):
    """In a directory that was removed '.' still answers, but nothing can be made."""
    os.mkdir(m.path / "d")

    def in_it():
        os.chdir(m.path / "d")
        os.rmdir(m.path / "d")
        with fails(errno.ENOENT, errno.ESTALE):
            create("f")
        with fails(errno.ENOENT, errno.ESTALE):
            os.mkdir("e")
        return os.path.lexists(m.path / "d")
    assert as_user(in_it, uid=0) is False


# --- rename


def tree(m):
    """What the rename tests work on; all made through the mount."""
    create(m.path / "file", b"file")
    create(m.path / "file2", b"file2")
    for name in ("dir", "dir2", "full", "full2", "full/sub", "full2/sub"):
        os.mkdir(m.path / name)
    create(m.path / "full/x", b"x")
    create(m.path / "full2/y", b"y")
    os.symlink("file", m.path / "link")
    os.symlink("nowhere", m.path / "dangling")
    os.link(m.path / "file", m.path / "hard")
    os.mkfifo(m.path / "fifo")


@pytest.mark.parametrize("old, new", [
    ("file", "new"), ("file", "file2"), ("file", "dangling"), ("file", "fifo"),
    ("file", "full/new"), ("file", "full/x"), ("file2", "link"), ("full/x", "file2"),
    ("full/x", "full2/y"),
    ("link", "new"), ("link", "file2"), ("fifo", "new"), ("fifo", "file2"), ("dir", "new"),
    ("dir", "dir2"), ("full", "new"), ("full", "dir"), ("full", "full2/new"), ("full", "full2/sub"),
    ("full/sub", "dir"), ("full/sub", "new")])
def test_rename(m, old, new):
    """rename moves an inode to a name, which it takes from whoever had it; links are not
    followed."""
    tree(m)
    before = os.lstat(m.path / old)
    os.rename(m.path / old, m.path / new)
    assert not os.path.lexists(m.path / old)
    assert not os.path.lexists(m.server_path / old)
    for after in (os.lstat(m.path / new), os.lstat(m.server_path / new)):
        assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


REFUSED = [
    ("file", "dir", [errno.EISDIR]), ("file", "full", [errno.EISDIR, *NOT_EMPTY]),
    ("dir", "file", [errno.ENOTDIR]), ("dir", "link", [errno.ENOTDIR]),
    ("dir", "full", NOT_EMPTY), ("full", "full2", NOT_EMPTY), ("full/sub", "full", NOT_EMPTY),
    ("full", "full/new", [errno.EINVAL]), ("full", "full/sub", [errno.EINVAL]),
    ("full", "full/sub/new", [errno.EINVAL]), ("missing", "new", [errno.ENOENT]),
    ("missing", "file", [errno.ENOENT]), ("file", "missing/new", [errno.ENOENT]),
    ("file", "file2/new", [errno.ENOTDIR]), ("file", "link/new", [errno.ENOTDIR]),
    ("file/x", "new", [errno.ENOTDIR]),
    ("full/.", "new", [errno.EBUSY, errno.EINVAL]), ("full/..", "new", [errno.EBUSY, errno.EINVAL])]


def test_rename_refused(m):
    """A rename that makes no sense says why, and changes nothing."""
    tree(m)
    names = [server_names(m, directory) for directory in ("", "full", "full2")]
    for old, new, errnos in REFUSED:
        number = errno_of(os.rename, f"{m.path}/{old}", f"{m.path}/{new}")
        assert number in errnos, f"{old} to {new}: {errno_name(number)}"
    assert [server_names(m, directory) for directory in ("", "full", "full2")] == names


@pytest.mark.parametrize("old, new", [("file", "file"), ("file", "hard"), ("dir", "dir")])
def test_rename_to_itself(m, old, new):
    """Renaming a name to another name of the same inode does nothing: both stay."""
    tree(m)
    names = server_names(m)
    os.rename(m.path / old, m.path / new)
    assert server_names(m) == names


@remote_only
@pytest.mark.parametrize("flags", [RENAME_NOREPLACE, RENAME_EXCHANGE])
def test_rename_flags(m, flags):
    """NFSv3 has no RENAME_NOREPLACE and no RENAME_EXCHANGE; like the kernel's client it says
    EINVAL, again and again, and does nothing."""
    create(m.path / "a", b"a")
    new = "new" if flags == RENAME_NOREPLACE else "b"
    create(m.path / "b", b"b")
    for _ in range(2):
        with fails(errno.EINVAL):
            renameat2(m.path / "a", m.path / new, flags)
    assert server_names(m) == [b"a", b"b"]
    assert (read(m.path / "a"), read(m.path / "b")) == (b"a", b"b")
    os.rename(m.path / "a", m.path / "b")


def test_noreplace_onto_an_existing_name(m):
    """RENAME_NOREPLACE onto an existing name is EEXIST (or EINVAL): never a replacement."""
    create(m.path / "a", b"a")
    create(m.path / "b", b"b")
    with fails(errno.EEXIST, errno.EINVAL):
        renameat2(m.path / "a", m.path / "b", RENAME_NOREPLACE)
    assert read(m.path / "b") == b"b"


def test_rename_keeps_descriptors(m):
    """An open file does not mind being renamed, nor its directory."""
    os.mkdir(m.path / "d")
    create(m.path / "d/f", b"old")
    with opened(m.path / "d/f", os.O_RDWR) as fd:
        os.rename(m.path / "d/f", m.path / "d/g")
        os.rename(m.path / "d", m.path / "e")
        os.pwrite(fd, b"new", 0)
        assert os.pread(fd, 10, 0) == b"new"
    assert (m.server_path / "e/g").read_bytes() == b"new"
    assert os.listdir(m.path / "e") == ["g"]


def test_rename_of_the_working_directory(m):
    """A process in a directory stays in it when it is moved; '..' is then the new parent."""
    os.makedirs(m.path / "a/work")
    os.mkdir(m.path / "b")

    def in_it():
        os.chdir(m.path / "a/work")
        os.rename(m.path / "a/work", m.path / "b/moved")
        create("f")
        return os.getcwd(), os.path.samefile("..", m.path / "b")
    assert as_user(in_it, uid=0) == (str(m.path / "b/moved"), True)
    assert server_names(m, "b/moved") == [b"f"]


def test_rename_over_replaces_atomically(m):
    """While one process renames files over a name, another never sees it missing or torn, and what it
    has open stays readable. The name may be replaced twice between lookup and open, without the
    server knowing of either: open() then fails with ESTALE, as with the kernel's client."""
    size, rounds = 5000, 200

    def read_replaced():
        for _ in range(5):
            try:
                fd = os.open(m.path / "f", os.O_RDONLY)
            except OSError as error:
                assert error.errno == errno.ESTALE
                continue
            with os.fdopen(fd, "rb") as file:
                return file.read()
        raise AssertionError("ESTALE five times in a row")
    create(m.path / "f", b"0" * size)

    def body(i):
        if i == 0:
            for n in range(rounds):
                create(m.path / "new", bytes([65 + n % 26]) * size)
                os.rename(m.path / "new", m.path / "f")
            return 0
        bad = 0
        for _ in range(rounds):
            data = read_replaced()
            bad += len(data) != size or len(set(data)) != 1
        return bad
    assert in_processes(2, body) == [0, 0]


def test_rename_storm(m):
    """Processes that move one file around between directories and names: it is never lost, and
    nobody sees any error but ENOENT."""
    names = [f"d{d}/f{f}" for d in range(3) for f in range(3)]
    for d in range(3):
        os.mkdir(m.path / f"d{d}")
    create(m.path / names[0], b"the only one")

    def mover(i):
        moved = 0
        for n in range(150):
            old, new = names[(n * 7 + i) % 9], names[(n * 5 + i * 3) % 9]
            try:
                os.rename(m.path / old, m.path / new)
                moved += 1
            except FileNotFoundError:
                pass
        return moved
    in_processes(3, mover)
    left = [name for name in names if os.path.exists(m.path / name)]
    assert len(left) == 1
    assert left == [name for name in names if os.path.exists(m.server_path / name)]
    assert read(m.path / left[0]) == b"the only one"


# --- hard links


def test_hard_links_are_one_inode(m):
    """All names of a file have one inode number, one link count, one size, one mode."""
    create(m.path / "a", b"123")
    os.mkdir(m.path / "d")
    os.link(m.path / "a", m.path / "b")
    os.link(m.path / "b", m.path / "d/c")
    os.chmod(m.path / "b", 0o611)
    infos = [os.stat(m.path / name) for name in ("a", "b", "d/c")]
    assert {(i.st_ino, i.st_nlink, i.st_size, i.st_mode & 0o777) for i in infos} \
        == {(infos[0].st_ino, 3, 3, 0o611)}
    os.unlink(m.path / "a")
    assert os.stat(m.path / "b").st_nlink == 2


def test_hard_links_share_the_page_cache(m):
    """What is written through one name is read through another, also when both are open."""
    create(m.path / "a", b"." * 10000)
    os.link(m.path / "a", m.path / "b")
    with opened(m.path / "a", os.O_RDWR) as a, opened(m.path / "b", os.O_RDWR) as b:
        assert os.pread(b, 5, 4094) == b"....."
        os.pwrite(a, b"hello", 4094)
        assert os.pread(b, 5, 4094) == b"hello"
        os.ftruncate(b, 4096)
        assert os.fstat(a).st_size == 4096
        assert os.pread(a, 100, 4094) == b"he"


def test_hard_links_found_on_the_server(m):
    """Names of one file that the client finds one by one are one inode as well."""
    os.mkdir(m.server_path / "d")
    create(m.server_path / "a", b"old")
    os.link(m.server_path / "a", m.server_path / "d/b")
    with opened(m.path / "a", os.O_WRONLY) as fd:
        os.write(fd, b"new")
        assert read(m.path / "d/b") == b"new"
    assert os.path.samefile(m.path / "a", m.path / "d/b")


def test_link_over_an_existing_name(m):
    """link never replaces."""
    create(m.path / "a", b"a")
    create(m.path / "b", b"b")
    with fails(errno.EEXIST):
        os.link(m.path / "a", m.path / "b")
    assert read(m.path / "b") == b"b"


def test_link_of_a_symlink(m):
    """link(2) does not follow: the symbolic link itself gets a second name."""
    os.symlink("nowhere", m.path / "a")
    os.link(m.path / "a", m.path / "b", follow_symlinks=False)
    assert os.readlink(m.path / "b") == "nowhere"
    assert os.lstat(m.path / "a").st_ino == os.lstat(m.path / "b").st_ino
    assert os.lstat(m.path / "b").st_nlink == 2


def test_link_of_a_directory(m):
    """Directories have one name."""
    os.mkdir(m.path / "d")
    with fails(errno.EPERM):
        os.link(m.path / "d", m.path / "e")


def test_unlink_one_of_two(m):
    """Removing one name of an open file leaves the other, the data and no .nfs file."""
    create(m.path / "a", b"data")
    os.link(m.path / "a", m.path / "b")
    with opened(m.path / "a") as fd:
        os.unlink(m.path / "a")
        assert server_names(m) == [b"b"]
        assert os.fstat(fd).st_nlink == 1
        assert os.read(fd, 10) == b"data"


# --- symbolic links


@pytest.mark.parametrize("length", [1, 255, 1023, 1024, 4094, 4095])
def test_symlink_length(m, length):
    """A target of up to 4095 bytes is kept as it is; st_size is its length."""
    target = (b"0123456789abcde/" * 256)[:length]
    os.symlink(target, at(m, b"link"))
    assert os.readlink(at(m, b"link")) == target
    assert os.lstat(m.path / "link").st_size == length
    assert os.readlink(os.fsencode(m.server_path) + b"/link") == target


def test_symlink_made_by_the_server(m):
    """A link the client did not make, with bytes that are not UTF-8."""
    target = b"\xe9\xff\n/../." + b"x" * 4000
    os.symlink(target, os.fsencode(m.server_path) + b"/link")
    assert os.readlink(at(m, b"link")) == target


def test_symlinks_are_followed(m):
    """Links to files, directories, links, and up."""
    os.makedirs(m.path / "d/e")
    create(m.path / "d/f", b"content")
    os.symlink("d/f", m.path / "file")
    os.symlink("d", m.path / "dir")
    os.symlink("../../dir/e/../f", m.path / "d/e/chain")
    os.symlink(m.path / "d/f", m.path / "absolute")
    for name in ("file", "dir/f", "d/e/chain", "absolute"):
        assert read(m.path / name) == b"content"
    os.unlink(m.path / "dir")
    assert os.path.isdir(m.path / "d")


def test_dangling_symlink(m):
    """A link to nothing: lstat sees it, stat does not."""
    os.symlink("nowhere", m.path / "link")
    assert stat.S_ISLNK(os.lstat(m.path / "link").st_mode)
    with fails(errno.ENOENT):
        os.stat(m.path / "link")


def test_symlink_replaced(m):
    """A new link under an old name is read anew, though symlinks may be cached."""
    for target in ("one", "two", "three"):
        os.symlink(target, m.path / "new")
        os.rename(m.path / "new", m.path / "link")
        assert os.readlink(m.path / "link") == target
    os.unlink(m.path / "link")
    os.symlink("four", m.path / "link")
    assert os.readlink(m.path / "link") == "four"


def test_symlink_loop(m):
    """Links that point at each other are ELOOP."""
    os.symlink("b", m.path / "a")
    os.symlink("a", m.path / "b")
    with fails(errno.ELOOP):
        os.stat(m.path / "a")


# --- mknod


@pytest.mark.parametrize("mode, device", [
    (stat.S_IFREG, 0), (stat.S_IFIFO, 0), (stat.S_IFSOCK, 0), (stat.S_IFCHR, os.makedev(1, 3)),
    (stat.S_IFCHR, os.makedev(0, 0)), (stat.S_IFBLK, os.makedev(7, 255)),
    (stat.S_IFBLK, os.makedev(259, 70000)), (stat.S_IFCHR, os.makedev(4095, 1048575))],
    ids=["file", "fifo", "socket", "null", "0:0", "block", "large minor", "largest"])
def test_mknod(m, mode, device):
    """root makes every kind of file; type, mode and device numbers arrive and come back."""
    os.mknod(m.path / "node", mode | 0o640, device)
    for info in (os.stat(m.path / "node"), os.stat(m.server_path / "node")):
        assert (info.st_mode, info.st_rdev) == (mode | 0o640, device)


def test_mknod_found_on_the_server(m):
    """The same for nodes that the client did not make."""
    os.mknod(m.server_path / "node", stat.S_IFBLK | 0o600, os.makedev(300, 70001))
    info = os.stat(m.path / "node")
    assert (info.st_mode, info.st_rdev) == (stat.S_IFBLK | 0o600, os.makedev(300, 70001))


def test_mknod_unprivileged(m):
    """Users make fifos, sockets and files, but no devices."""
    os.chmod(m.path, 0o777)

    def make():
        for kind in (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFREG):
            os.mknod(m.path / f"ok{kind}", kind | 0o600)
        for kind in (stat.S_IFCHR, stat.S_IFBLK):
            with fails(errno.EPERM):
                os.mknod(m.path / "device", kind | 0o600, os.makedev(1, 3))
    as_user(make)
    assert [os.stat(m.server_path / os.fsdecode(n)).st_uid for n in server_names(m)] == [1000] * 3


@remote_only
def test_devices_are_not_opened(m):
    """The default is nodev: a device file of the server's is no way to this machine's devices."""
    os.mknod(m.path / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    with fails(errno.EACCES):
        os.open(m.path / "zero", os.O_RDONLY)


def test_fifo_works(m):
    """A fifo is a meeting place of processes on this machine; no data goes to the server."""
    os.mkfifo(m.path / "fifo")

    def side(i):
        with opened(m.path / "fifo", os.O_WRONLY if i else os.O_RDONLY) as fd:
            return os.write(fd, b"through") if i else os.read(fd, 100)
    assert in_processes(2, side) == [b"through", 7]
    assert os.stat(m.server_path / "fifo").st_size == 0


def test_unix_socket_works(m):
    """bind() makes a socket file; connect() finds it."""
    os.symlink(m.path, f"{m.path}.short")  # sun_path holds 107 bytes
    path = f"{m.path}.short/sock"
    try:
        if len(path) > 100:
            os.chdir(m.path)
            path = "sock"
        with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
            listener.bind(path)
            listener.listen()
            client.connect(path)
        assert stat.S_ISSOCK(os.stat(m.server_path / "sock").st_mode)
    finally:
        os.chdir("/")
        os.unlink(f"{m.path}.short")


# --- names that change behind the client's back


def test_replaced_by_another_client(m, mount):
    """Another client replaces a file: ESTALE of the old one is not shown on a path, the new file
    is."""
    other = mount(options="actimeo=0")
    create(m.path / "f", b"old content")
    assert read(m.path / "f") == b"old content"
    create(other.path / "f.new", b"new")
    os.rename(other.path / "f.new", other.path / "f")
    with opened(m.path / "f") as fd:
        assert os.read(fd, 100) == b"new"
    assert os.stat(m.path / "f").st_ino == os.stat(m.server_path / "f").st_ino


def test_removed_by_another_client(m, mount):
    """Another client removes a file: opening it says ENOENT (or ESTALE while its name is still
    believed), and it can be created again."""
    other = mount(options="actimeo=0")
    create(m.path / "f", b"old content")
    os.unlink(other.path / "f")
    with fails(errno.ENOENT, errno.ESTALE):
        os.open(m.path / "f", os.O_RDONLY)
    with opened(m.path / "f", os.O_RDWR | os.O_CREAT) as fd:
        assert os.read(fd, 100) == b""
    assert server_names(m) == [b"f"]


@remote_only
def test_stale_descriptor(m, mount):
    """A file that another client has removed for good is ESTALE to those who hold it open, for
    data they do not have; closing it is no error of its own."""
    other = mount(options="actimeo=0")
    create(m.server_path / "f", b"x" * 100000)
    with opened(m.path / "f") as fd:
        os.unlink(other.path / "f")
        with fails(errno.ESTALE):
            os.pread(fd, 10, 50000)


@pytest.mark.parametrize("nconnect", [1, 8])
def test_directory_replaced_by_another_client(mount, nconnect):
    """A directory becomes another one of that name: paths through it lead to the new one."""
    mine, other = mount(nconnect, options="actimeo=1"), mount(options="actimeo=0")
    os.mkdir(mine.path / "d")
    create(mine.path / "d/old")
    shutil.rmtree(other.path / "d")
    os.mkdir(other.path / "d")
    create(other.path / "d/new", b"new")
    wait_for(lambda: os.path.exists(mine.path / "d/new"), what="the new directory")
    assert read(mine.path / "d/new") == b"new"
    assert os.listdir(mine.path / "d") == ["new"]


def test_directory_replaced_by_a_file(mount):
    """A name changes its type: seen after the cache time, without an I/O error."""
    mine, other = mount(options="actimeo=1"), mount(options="actimeo=0")
    os.mkdir(mine.path / "x")
    os.rmdir(other.path / "x")
    create(other.path / "x", b"file")
    wait_for(lambda: os.path.isfile(mine.path / "x"), what="the file")
    assert read(mine.path / "x") == b"file"


@pytest.mark.parametrize("nconnect", [1, 8])
def test_created_by_another_client(mount, nconnect):
    """A failed lookup is not believed for ever: what another client creates appears after the
    cache time."""
    mine, other = mount(nconnect, options="actimeo=1"), mount(options="actimeo=0")
    assert not os.path.exists(mine.path / "late")
    create(other.path / "late", b"x")
    wait_for(lambda: os.path.exists(mine.path / "late"), what="the new name")


def test_created_by_another_client_then_opened(m, mount):
    """open(O_CREAT) of a name believed missing opens what another client has made meanwhile,
    and O_EXCL refuses."""
    other = mount(options="actimeo=0")
    for name in "ab":
        assert not os.path.exists(m.path / name)
        create(other.path / name, b"theirs")
    with opened(m.path / "a", os.O_RDWR | os.O_CREAT) as fd:
        assert os.read(fd, 100) == b"theirs"
    with fails(errno.EEXIST):
        os.open(m.path / "b", os.O_RDWR | os.O_CREAT | os.O_EXCL)


def test_two_clients_race_for_a_name(mount):
    """O_EXCL through two mounts: the server decides, one wins."""
    mounts = [mount(), mount(nconnect=1)]
    paths = [lambda i, n=n: mounts[i % 2].path / f"f{n}" for n in range(50)]
    assert race(paths, create) == [1] * 50


# --- everyday tools


def test_tar_round_trip(m):
    """A tree of all kinds of files survives tar in, tar out and diff."""
    source = m.path / "source"
    os.mkdir(source)
    for i in range(20):
        create(source / f"file{i}", pattern(i * 997, i), 0o600 + i % 8)
        os.utime(source / f"file{i}", ns=(PAST + i, PAST + i * 1001))
    os.link(source / "file1", source / "hard")
    os.symlink("file1", source / "soft")
    os.mkfifo(source / "fifo")
    run_bounded(["tar", "-C", m.path, "-cf", m.path / "t.tar", "source"])
    os.mkdir(m.path / "copy")
    run_bounded(["tar", "-C", m.path / "copy", "-xf", m.path / "t.tar"])
    run_bounded(["diff", "-r", "--no-dereference", "--exclude=fifo", source,
                 m.path / "copy/source"])
    copy = m.path / "copy/source"
    for i in range(20):
        old, new = os.stat(source / f"file{i}"), os.stat(copy / f"file{i}")
        assert (old.st_mode, old.st_mtime // 1) == (new.st_mode, new.st_mtime // 1)
    assert os.path.samefile(copy / "file1", copy / "hard")


def test_git(m):
    """git, with its lock files, renames, links and mmap, is content."""
    if not shutil.which("git"):
        pytest.skip("needs git")
    env = {**os.environ, "HOME": str(m.path), "GIT_CONFIG_NOSYSTEM": "1"}
    git = ["git", "-C", m.path, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "gc.auto=0"]
    run_bounded(["git", "init", "-q", m.path], env=env)
    for i in range(30):
        create(m.path / f"f{i}", pattern(3000, i))
    run_bounded([*git, "add", "."], env=env)
    run_bounded([*git, "commit", "-qm", "all"], env=env)
    run_bounded([*git, "fsck", "--strict"], env=env)
    assert run_bounded([*git, "status", "--porcelain"], env=env).stdout == ""
