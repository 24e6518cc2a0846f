"""Small things that the suites about files, names and attributes share."""

import contextlib
import ctypes
import errno
import mmap
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

from lab.procs import as_user, wait_for

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE = 1, 2
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2
AT_FDCWD, AT_SYMLINK_NOFOLLOW = -100, 0x100
CLOCK_REALTIME_COARSE = 5
PAST = 1_000_000_000 * 10**9  # 2001, in nanoseconds: older than anything a test does

libc = ctypes.CDLL(None, use_errno=True)


class Timespec(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_int64), ("nsec", ctypes.c_long)]


def once_ready(mount):
    """The mount fixture, but it returns when the command would: the kernel lists the mount a little earlier."""
    def mounted(*args, **kwargs):
        m = mount(*args, **kwargs)
        wait_for(lambda: "mounted on" in m.log(), 10, "the daemon to be ready")
        return m
    mounted.mounts = mount.mounts
    return mounted


@contextlib.contextmanager
def fails(*errnos):
    """The body must end with an OSError that has one of these numbers."""
    wanted = " or ".join(map(errno_name, errnos))
    try:
        yield
    except OSError as error:
        if error.errno not in errnos:
            raise AssertionError(f"{error!r}, not {wanted}") from None
    else:
        raise AssertionError(f"succeeded, should fail with {wanted}")


def errno_name(number):
    return errno.errorcode.get(number, str(number)) if number else "success"


def errno_of(func, *args):
    """0, or the number of the OSError that func(*args) raises."""
    try:
        func(*args)
    except OSError as error:
        return error.errno
    return 0


@contextlib.contextmanager
def opened(path, flags=os.O_RDONLY, mode=0o644):
    """A file descriptor for the length of a with block."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def create(path, data=b"", mode=0o644):
    """A new file; returns its path."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode) as fd:
        write_all(fd, data)
    return path


def write_all(fd, data):
    """write(2) until all is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def read(path):
    """The content of a file, as open, read to EOF, close."""
    with opened(path) as fd:
        return read_all(fd)


def read_all(fd):
    parts = []
    while parts[-1:] != [b""]:
        parts.append(os.read(fd, MIB))
    return b"".join(parts)


def names_on_disk(directory):
    """What a directory of the server's contains, sorted, when the .nfs files of descriptors that
    were closed just now have gone: close(2) does not wait for the daemon to hear of it."""
    def settled():
        names = sorted(os.listdir(directory))
        return None if any(n[:4] in (".nfs", b".nfs") for n in names) else [names]
    return wait_for(settled, what=f"no .nfs file in {directory}")[0]


def pattern(size, seed=0):
    """Bytes that look random and are always the same."""
    return random.Random(seed).randbytes(size)


def same(got, wanted, what="content"):
    """Asserts that two byte strings are equal, without printing megabytes of them if not."""
    if got != wanted:
        limit = min(len(got), len(wanted))
        place = next((i for i in range(limit) if got[i] != wanted[i]), limit)
        raise AssertionError(f"{what}: {len(got)} bytes, expected {len(wanted)}; "
                             f"at {place} {bytes(got[place:place + 16])!r}, "
                             f"expected {bytes(wanted[place:place + 16])!r}")


@contextlib.contextmanager
def page_buffer(size):
    """Memory as O_DIRECT likes it: page-aligned."""
    buffer = mmap.mmap(-1, max(size, 1))
    try:
        with memoryview(buffer) as view, view[:size] as part:
            yield part
    finally:
        buffer.close()


def in_processes(count, func, uid=0):
    """func(0) ... func(count - 1), each in a process of its own, at the same time: the results."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda i: as_user(func, i, uid=uid), range(count)))


def tick():
    """Returns when the clock that stamps files has moved: what changes next is seen to be later."""
    now = time.time_ns()
    while time.clock_gettime_ns(CLOCK_REALTIME_COARSE) <= now:
        time.sleep(0.001)


def _checked(result):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def renameat2(old, new, flags):
    _checked(libc.renameat2(AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), flags))


def fallocate(fd, mode, offset, length):
    _checked(libc.fallocate(fd, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def utimensat(path, atime, mtime, flags=0):
    """Times as (seconds, nanoseconds), the latter possibly UTIME_NOW or UTIME_OMIT; which os.utime
    cannot say."""
    times = (Timespec * 2)(Timespec(*atime), Timespec(*mtime))
    _checked(libc.utimensat(AT_FDCWD, os.fsencode(path), times, flags))


def is_sanitized():
    """Whether the program under test is built with a sanitizer, which takes memory of its own."""
    return "build-" in os.environ.get("FUSENFS", "")
