"""Read-ahead by the daemon: mounts of a user, who may not raise the kernel's."""

import multiprocessing
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.procs import as_user
from lab.proxy import Proxy, Status
from support import KIB, MIB, is_sanitized, opened, page_buffer, pattern, read, same

USER = 1000
RSIZE = MIB


@pytest.fixture
def proxy(server):
    with Proxy(server) as made:
        yield made


def by_user(func, *args):
    return as_user(func, *args, uid=USER, timeout=50)


def on_disk(m, name, size, seed=1):
    data = pattern(size, seed)
    (m.server_path / name).write_bytes(data)
    os.chmod(m.server_path / name, 0o666)
    return data


def asked(proxy):
    """Of all READs: how many, and how many bytes."""
    sizes = [call.io[2] for call in proxy.history("READ")]
    return len(sizes), sum(sizes)


def check(m, name, data, places, size):
    """A user's reads at these places, through one descriptor, bring what is there."""
    def look():
        with opened(m.path / name) as fd:
            return [at for at in places if os.pread(fd, size, at) != data[at:at + size]]
    assert not by_user(look)


def test_sequential(mount, proxy):
    """64 MiB are about 64 READs; the kernel alone would send 512."""
    m = mount(server=proxy, user=USER)
    data = on_disk(m, "f", 64 * MIB)
    same(by_user(read, m.path / "f"), data)
    count, total = asked(proxy)
    assert count <= 64 + 16 and total <= 64 * MIB + 2 * RSIZE, (count, total)


def test_off(mount, proxy):
    """readahead=0: every READ is the kernel's."""
    m = mount(server=proxy, user=USER, options="readahead=0")
    data = on_disk(m, "f", 8 * MIB)
    same(by_user(read, m.path / "f"), data)
    assert max(call.io[2] for call in proxy.history("READ")) <= 128 * KIB


@pytest.mark.parametrize("direct", [False, True], ids=["buffered", "direct"])
def test_random(mount, proxy, direct):
    """Random access: no byte is read that was not asked for by the kernel."""
    m = mount(server=proxy, user=USER)
    data = on_disk(m, "f", 64 * MIB)
    places = random.Random(3).sample(range(0, 64 * MIB, 4 * KIB), 500)

    def look():
        flags = os.O_DIRECT if direct else 0
        with opened(m.path / "f", os.O_RDONLY | flags) as fd, page_buffer(4 * KIB) as page:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
            for at in places:
                os.preadv(fd, [page], at)
                if bytes(page) != data[at:at + 4 * KIB]:
                    return at
        return None
    assert by_user(look) is None
    assert asked(proxy) == (500, 500 * 4 * KIB)


@pytest.mark.parametrize("size", [4 * KIB, 100 * KIB, MIB + 7])
def test_patterns(mount, size):
    """Backward, strided, random, and sequential with jumps: the content is right."""
    m = mount(user=USER, options="rsize=256k,cachesize=8M")
    data = on_disk(m, "f", 16 * MIB + 5)
    every = range(0, len(data), size)
    if size == 4 * KIB:
        every = every[:1500]
    shuffled = random.Random(4).sample(every, len(every) // 3 + 1)
    jumps = [at for start in (5, 1, 9, 0) for at in every[start * len(every) // 10:][:20]]
    for places in (every[::-1], every[::3], shuffled, jumps, every):
        m.server_path.joinpath("f").touch()  # another state: the kernel drops its pages
        check(m, "f", data, places, size)


def test_concurrent(mount):
    """Readers of one file and of many, each at a place of its own."""
    m = mount(user=USER, options="cachesize=8M")
    data = on_disk(m, "f", 32 * MIB)

    def look():
        def reader(i):
            with opened(m.path / "f") as fd:
                start = i * 3 * MIB
                return os.pread(fd, 8 * MIB, start) == data[start:start + 8 * MIB]
        with ThreadPoolExecutor(8) as pool:
            return all(pool.map(reader, range(8)))
    assert by_user(look)


def test_close_to_open(mount):
    """What another mount wrote is seen by who opens then, although an older descriptor has fetched
    the old content ahead."""
    m, other = mount(user=USER), mount()
    old, new = on_disk(m, "f", 16 * MIB, 5), pattern(16 * MIB, 6)

    def look(wrote, go):
        with opened(m.path / "f") as fd:
            first = os.read(fd, 2 * MIB)
            go.set()
            wrote.wait(30)
            with opened(m.path / "f") as again:
                rest = os.pread(again, 14 * MIB, 2 * MIB)
            mine = os.read(fd, 14 * MIB)
        return first == old[:2 * MIB], rest == new[2 * MIB:], mine == new[2 * MIB:]

    wrote, go = multiprocessing.Event(), multiprocessing.Event()

    def write():
        go.wait(30)
        with opened(other.path / "f", os.O_WRONLY) as fd:
            os.pwrite(fd, new, 0)
        wrote.set()
    writer = threading.Thread(target=write)
    writer.start()
    found = by_user(look, wrote, go)
    writer.join()
    assert found == (True, True, True)


def test_truncated_underneath(mount):
    """Cut short at the server when blocks have been fetched: what is read is old content, or the end;
    and who opens then sees the new end."""
    m = mount(user=USER)
    data = on_disk(m, "f", 16 * MIB)
    cut, go = multiprocessing.Event(), multiprocessing.Event()

    def look(cut, go):
        with opened(m.path / "f") as fd:
            first = os.read(fd, 2 * MIB)
            go.set()
            cut.wait(30)
            rest = b""
            while part := os.read(fd, MIB):
                rest += part
        return first, rest, read(m.path / "f")

    def truncate():
        go.wait(30)
        os.truncate(m.server_path / "f", 3 * MIB)
        cut.set()
    truncater = threading.Thread(target=truncate)
    truncater.start()
    first, rest, again = by_user(look, cut, go)
    truncater.join()
    same(first, data[:2 * MIB])
    assert len(rest) >= MIB and data[2 * MIB:].startswith(rest)
    same(again, data[:3 * MIB])


def test_server_restarts(mount, server):
    """Killed and started again under a reader: he gets every byte."""
    m = mount(user=USER)
    data = on_disk(m, "f", 64 * MIB)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(by_user, read, m.path / "f")
        server.kill()
        server.restart()
        same(reader.result(50), data)


def test_refused(mount, proxy):
    """An error of a READ that was sent ahead is told to nobody: the program's own READ decides."""
    m = mount(server=proxy, user=USER)
    data = on_disk(m, "f", 16 * MIB)
    proxy.on("READ", Status("IO"), where=lambda call: call.io[2] > 128 * KIB)
    same(by_user(read, m.path / "f"), data)


def test_memory(mount, proxy):
    """cachesize= bounds what is held for many files whose readers have stopped in the middle."""
    m = mount(server=proxy, user=USER, options="cachesize=8M")
    for i in range(30):
        on_disk(m, f"f{i}", 4 * MIB, i)

    def resident():
        status = open(f"/proc/{m.pid}/status").read()
        return int(status.split("VmRSS:")[1].split()[0]) * KIB

    def look():
        fds = [os.open(m.path / f"f{i}", os.O_RDONLY) for i in range(30)]
        for fd in fds:
            os.read(fd, MIB)
        held = resident()
        return held, all(os.pread(fd, 4 * MIB, 0) == pattern(4 * MIB, i)
                         for i, fd in enumerate(fds))
    before = resident()
    held, right = by_user(look)
    assert right and (is_sanitized() or held - before < 8 * MIB + 24 * MIB), (before, held)
