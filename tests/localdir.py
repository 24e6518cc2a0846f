"""FUSENFS_TEST_LOCAL=DIR: try the suites on a plain local directory, which shows that they ask for
what a file system does.

A test module says `from localdir import *`. With the variable set it gets the fixtures server,
mount and m from here, and every "mount" of an export is the same directory below DIR (ext4 or xfs);
otherwise it gets nothing, and conftest.py's are used. What only NFS does is marked remote_only."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

LOCAL = os.environ.get("FUSENFS_TEST_LOCAL")
__all__ = []
remote_only = pytest.mark.skipif(bool(LOCAL), reason="not so on a local disk")


class LocalServer:
    """Stands in for conftest.Site: its exports, no processes."""

    def __init__(self, directory):
        self.rw = directory / "rw"
        self.rw.mkdir(mode=0o755)
        self.pid = None


class LocalMount:
    """Stands in for lab.mount.Mount; its files are the server's."""

    def __init__(self, directory):
        self.path = self.server_path = directory
        self.pid = os.getpid()

    def expect_log(self, regex):
        pass

    def umount(self):
        pass

    def log(self):
        return ""


if LOCAL:
    __all__ += ["server", "mount", "m"]

    @pytest.fixture
    def server():
        directory = Path(tempfile.mkdtemp(dir=LOCAL))
        directory.chmod(0o755)
        yield LocalServer(directory)
        shutil.rmtree(directory)

    @pytest.fixture
    def mount(server):
        def factory(nconnect=8, options="", export=None, **_):
            return LocalMount(export or server.rw)
        factory.mounts = []  # whose logs conftest.py shows
        return factory

    @pytest.fixture
    def m(mount):
        return mount()
