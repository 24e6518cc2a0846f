# SPDX-License-Identifier: GPL-2.0-or-later
"""What a server says that it can, and what it cannot, is known before it is asked for."""

import errno
import os

import pytest

from lab.proxy import Proxy, Rewrite
from support import KIB, MIB, create, fails, opened, pattern, read, same

RDWR, CREAT, APPEND = os.O_RDWR, os.O_CREAT, os.O_APPEND
LIMIT = 3 * MIB + 5


@pytest.fixture
def limited(server, mount):
    """A mount of a server whose largest file (FSINFO) has LIMIT bytes."""
    with Proxy(server) as proxy:
        proxy.on("FSINFO", Rewrite(reply=lambda _, record:
                                   record[:-20] + LIMIT.to_bytes(8, "big") + record[-12:]))
        m = mount(server=proxy)
        yield m
        m.umount()


@pytest.mark.parametrize("flags", [0, os.O_SYNC], ids=["behind", "O_SYNC"])
def test_write_behind_the_largest_file(limited, flags):
    """EFBIG from write(2) itself, as on a local disk, and not from close, when it may be too late; what
    fits is written."""
    data = pattern(LIMIT)
    with opened(limited.path / "f", RDWR | CREAT | flags) as fd:
        assert os.pwrite(fd, data, 0) == LIMIT
        for offset in (LIMIT, LIMIT + 1, 1 << 40):
            with fails(errno.EFBIG):
                os.pwrite(fd, b"x", offset)
    with opened(limited.path / "f", RDWR | APPEND) as fd, fails(errno.EFBIG):
        os.write(fd, b"x")
    same(read(limited.server_path / "f"), data)


def test_write_across_the_largest_size(limited):
    data = pattern(2 * MIB)
    with opened(limited.path / "f", RDWR | CREAT) as fd:
        assert os.pwrite(fd, data, LIMIT - MIB - 3) == MIB + 3
        assert os.pwrite(fd, data[:4 * KIB], LIMIT - 1) == 1
        os.fsync(fd)
        assert os.fstat(fd).st_size == LIMIT
        same(os.pread(fd, 4 * MIB, LIMIT - MIB - 3), data[:MIB + 2] + data[:1])


def test_truncate_behind_the_largest_size(limited):
    path = create(limited.path / "f", b"kept")
    for size in (LIMIT + 1, 1 << 50):
        with fails(errno.EFBIG):
            os.truncate(path, size)
    assert (limited.server_path / "f").read_bytes() == b"kept"
    os.truncate(path, LIMIT)
    assert os.stat(limited.server_path / "f").st_size == LIMIT
