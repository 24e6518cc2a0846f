"""What every test gets: a server, mounts of it, and the promise that nothing is left behind.

The whole run lives in a network namespace of its own (FUSENFS_TEST_NETWORK=host: in the caller's),
below one directory in /var/tmp. The program under test is $FUSENFS, or build/fusenfs. Tests see it
only through the kernel, the network and its log. $FUSENFS_TEST_OPTIONS goes before the options of every
mount: tests/posix and test_attrs.py say the same with noac, lookupcache=none, perm=server, sync, lock,
rsize=4096, max_threads=1 and others."""

import itertools
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from lab.ganesha import EVERYWHERE, EXPORTABLE, Export, Ext4Image, Ganesha, run, udp_works
from lab.mount import Mount
from lab.procs import private_network

TOP = Path(__file__).resolve().parent.parent
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=0",
    "TSAN_OPTIONS": "second_deadlock_stack=1:halt_on_error=0"}


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; only with --slow")
    if os.geteuid() == 0 and os.environ.get("FUSENFS_TEST_NETWORK") != "host":
        private_network()


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption("--keep", action="store_true", help="keep logs and the server's directory")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="needs --slow"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows the logs of its mounts."""
    outcome = yield
    report = outcome.get_result()
    factory = getattr(item, "funcargs", {}).get("mount")
    if report.failed and factory:
        for mounted in factory.mounts:
            report.sections.append((f"fusenfs log ({' '.join(mounted.argv)})", mounted.log()))


@pytest.fixture(scope="session")
def workdir(request):
    """The run's directory: exports, mount points, logs. Other users may pass through it."""
    given = os.environ.get("FUSENFS_TEST_DIR")
    path = Path(given or tempfile.mkdtemp(prefix="fusenfs-test.", dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    if request.config.getoption("--keep"):
        print(f"\nkept: {path}")
    elif not given:
        shutil.rmtree(path, ignore_errors=True)


class Site(Ganesha):
    """The session's server. rw, squash, ro and small are its exported directories: as root,
    with root squashed to 65534, read-only, and on a disk of 16 MiB."""

    def __init__(self, directory):
        self.rw, self.squash, self.ro, self.small = (
            directory / name for name in ("rw", "squash", "ro", "small"))
        exports = [Export(self.rw), Export(self.squash, Squash="Root_Squash"),
                   Export(self.ro, Access_Type="RO"), Export(self.small)]
        super().__init__(exports, state=directory / "ganesha", host=EVERYWHERE, nfs_port=2049,
                         mnt_port=20048, udp=udp_works(), portmap=True, locks=True)

    def wipe(self):
        """Empties the exports, behind the server's back (see Export.DEFAULTS)."""
        for directory in (self.rw, self.squash, self.ro, self.small):
            for entry in os.scandir(directory):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    os.unlink(entry.path)
            directory.chmod(0o755)
            os.chown(directory, 0, 0)


@pytest.fixture(scope="session")
def site(workdir):
    """The server's process and disks, for the whole session."""
    disks = []
    try:
        exports = workdir / "exports"
        if run("stat", "-f", "-c", "%T", workdir) in EXPORTABLE:
            exports.mkdir()
        else:
            disks.append(Ext4Image(exports, 8192))
        for name in ("rw", "squash", "ro"):
            (exports / name).mkdir()
        disks.append(Ext4Image(exports / "small", 16))
        with Site(exports) as ganesha:
            yield ganesha
    finally:
        for disk in reversed(disks):
            disk.close()


@pytest.fixture
def server(site):
    """The session's server with empty exports, running again if a test has stopped it."""
    if not site.running:
        site.start()
    site.wipe()
    return site


@pytest.fixture(scope="session")
def fusectl():
    """/sys/fs/fuse/connections, which systemd mounts, but not every test machine has it."""
    path = "/sys/fs/fuse/connections"
    mine = not os.path.ismount(path)
    if mine:
        run("mount", "-t", "fusectl", "fusectl", path)
    yield path
    if mine:
        run("umount", path)


class MountFactory:
    """mount(): see the fixture of that name."""

    def __init__(self, server, directory):
        self.server, self.directory, self.mounts = server, directory, []
        self.program = os.environ.get("FUSENFS", str(TOP / "build/fusenfs"))
        self.device_mode = None
        self.numbers = itertools.count(1)

    def __call__(self, nconnect=8, options="", export=None, user=None, server=None, host=None,
                 ports=True, netns=None, limit=60, wait=True, through=()):
        server, path = server or self.server, self._mountpoint(user)
        words = [f"nconnect={nconnect}"] if nconnect else []
        words += [f"port={server.nfs_port}", f"mountport={server.mnt_port}"] if ports else []
        words += [word for word in [os.environ.get("FUSENFS_TEST_OPTIONS")] if word]
        source = f"{host or server.connect_host}:{export or server.exports[0].path}"
        argv = [*self._prefix(user, netns), *self._through(through), self.program, "-f",
                "-o", ",".join(words + [options] * bool(options)), source, str(path)]
        mounted = Mount(argv, path, f"{path}.log", server, export or server.exports[0].path,
                        limit=limit, netns=netns)
        self.mounts.append(mounted)
        return mounted.start() if wait else mounted.spawn()

    def close(self):
        """Ends all mounts, the last first; returns the reasons to fail. What a test wants to know
        about unmounting without a server it has asked before."""
        if self.server.running:
            self.server.resume()
        complaints = [f"{m.path}: {line}" for m in reversed(self.mounts) if m.process
                      for line in m.finish()]
        if self.device_mode is not None:
            os.chmod("/dev/fuse", self.device_mode)
        return complaints

    def _mountpoint(self, user):
        path = self.directory / str(next(self.numbers))
        path.mkdir(parents=True)
        if user is not None:
            os.chown(path, user, user)
        return path

    def _prefix(self, user, netns):
        """Words before the program's: the daemon dies with pytest, whatever happens to it."""
        words = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
        words += ["setpriv", "--pdeathsig", "KILL"]
        if user is not None:
            self._open_device()
            words += [f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        return words

    def _through(self, through):
        """LeakSanitizer is a tracer itself, and fails in a program that is traced."""
        leaks = f"ASAN_OPTIONS={os.environ['ASAN_OPTIONS']}:detect_leaks=0"
        return ["env", leaks, *through] if through else []

    def _open_device(self):
        """udev gives /dev/fuse to everybody; a machine without udev has to be told."""
        if self.device_mode is None:
            self.device_mode = stat.S_IMODE(os.stat("/dev/fuse").st_mode)
            os.chmod("/dev/fuse", 0o666)


@pytest.fixture
def mount(server, workdir, fusectl, request):
    """mount(nconnect=8, options="", export=None, user=None, server=None, host=None, ports=True,
    netns=None, limit=60, wait=True, through=()): a running lab.mount.Mount.

    export: a directory of the server (default: its first). user: uid to run fusenfs as.
    host: another name or address of the server. ports=False: ask the portmapper.
    limit: seconds after which a stuck test is freed and failed. wait=False: returns before there is
    a mount; see Mount.appeared(). through: a command that runs it, strace for example."""
    name = f"{request.node.module.__name__}-{request.node.name}"
    name = "".join(c if c.isalnum() or c in "-_=" else "_" for c in name)
    factory = MountFactory(server, workdir / "mnt" / name)
    if not os.access(factory.program, os.X_OK):
        pytest.fail(f"{factory.program} does not exist: build it, or set FUSENFS", pytrace=False)
    yield factory
    complaints = factory.close()
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


@pytest.fixture(params=[1, 8], ids=["nconnect=1", "nconnect=8"])
def m(request, mount):
    """A mount of the read-write export, once with one connection and once with eight."""
    return mount(nconnect=request.param)


@pytest.fixture(scope="session", autouse=True)
def sanitizer_environment():
    """A report must name its place, and a leak be one."""
    for name, value in SANITIZER_OPTIONS.items():
        os.environ.setdefault(name, value)
