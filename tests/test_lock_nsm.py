# SPDX-License-Identifier: GPL-2.0-or-later
"""NSM: a server is told when mounts of a host have ended without giving their locks back, and only when nobody else
of that host has locks there; and a client when its server was restarted. NFS-Ganesha with rpc.statd, two hosts."""

import errno
import os
import re
import struct
import time

import pytest

from lab import rpc
from lab.client import ClientHost
from lab.far import WAYS, FarServer
from lab.ganesha import EVERYWHERE, Export, run_in_netns, udp_works
from lab.lockserver import TEST, LockServer
from lab.procs import wait_for
from test_locks import Process

LOCK = "lock,timeo=20,retrans=1,detect=2"
PROGRAM = os.environ.get("FUSENFS", "build/fusenfs")


@pytest.fixture(scope="module")
def far(workdir):
    directory = workdir / "exports" / "lock-nsm"
    directory.mkdir()
    with FarServer([Export(directory)], WAYS["silent"], 92, portmap=True, locks=True, host=EVERYWHERE,
                   udp=udp_works()) as server:
        yield server


# It is by UDP that rpc.statd tells NFS-Ganesha.
needs_udp = pytest.mark.skipif(not udp_works(), reason="this NFS-Ganesha has no UDP")


@pytest.fixture
def clients(far, mount):
    with ClientHost(far, 1, mount.directory) as a, ClientHost(far, 2, mount.directory) as b:
        yield a, b
        far.let_pass()
        mount.close()


@pytest.fixture
def holder(clients, mount):
    """A mount of the first host, killed with a lock; a process of the second that would like to have it."""
    a, b = clients
    victim, other = a.mount(mount, options=LOCK), b.mount(mount, options=LOCK)
    (victim.path / "f").write_bytes(b"")
    (victim.path / "g").write_bytes(b"")
    with Process(victim.path / "f") as process, Process(other.path / "f", other.path / "g") as far_process:
        assert process.lock() is None
        assert far_process.lock() == errno.EAGAIN
        victim.far_process = far_process
        yield victim


def state_of(client):
    return int((client.state / "lib/fusenfs/nsm/state").read_text())


def sm_notify(client):
    return client.run(PROGRAM, "sm-notify")


def test_record_is_there_while_there_are_locks(clients, mount):
    a, _ = clients
    mounted = a.mount(mount, options=LOCK)
    (mounted.path / "f").write_bytes(b"")
    assert not a.records
    with Process(mounted.path / "f") as process:
        assert process.lock() is None
        record, = a.records
        assert f"server={a.server_host}\n" in record and f"local={a.address}\n" in record
        assert f"name={os.uname().nodename}\n" in record and f"pid={mounted.pid}\n" in record
        assert state_of(a) % 2 == 1
        process.unlock()
    mounted.umount()
    assert not a.records
    assert sm_notify(a).returncode == 0


@needs_udp
def test_the_next_mount_tells_the_server(clients, mount, holder):
    a, _ = clients
    before = state_of(a)
    holder.kill()
    assert holder.far_process.lock() == errno.EAGAIN
    began = time.monotonic()
    fresh = a.mount(mount, options=LOCK)
    assert time.monotonic() - began < 2
    wait_for(lambda: holder.far_process.lock() is None, 10)
    wait_for(lambda: not a.records, 5)
    assert "locks-freed" in fresh.log() or "was told to free" in fresh.log()
    assert state_of(a) == before + 2


@needs_udp
def test_what_is_locked_right_after_is_kept(clients, mount, holder):
    a, _ = clients
    holder.kill()
    fresh = a.mount(mount, options=LOCK)
    with Process(fresh.path / "g") as process:
        assert process.lock() is None
        wait_for(lambda: holder.far_process.lock() is None, 10)
        time.sleep(1)
        assert holder.far_process.lock(file=1) == errno.EAGAIN


@needs_udp
def test_others_of_the_host_keep_their_locks(clients, mount, holder):
    """Nothing is sent while another mount of the host has a lock; the log says so, and so does the command."""
    a, _ = clients
    second = a.mount(mount, options=LOCK)
    with Process(second.path / "g") as process:
        assert process.lock() is None
        holder.kill()
        third = a.mount(mount, options=LOCK)
        third.expect_log("locks-kept|stay there")
        wait_for(lambda: "stay there" in third.log(), 20)
        assert third.log().count("stay there") == third.log().count("[locks-kept]") == 1
        told = sm_notify(a)
        assert told.returncode == 1 and "mounts of this host that live" in told.stdout
        assert holder.far_process.lock() == errno.EAGAIN
        assert holder.far_process.lock(file=1) == errno.EAGAIN
        process.unlock()
    for mounted in (second, third):
        mounted.umount()
    told = sm_notify(a)
    assert told.returncode == 0 and f"{a.server_host}: told" in told.stdout
    wait_for(lambda: holder.far_process.lock() is None, 5)


@needs_udp
def test_kernel_mounts_keep_their_locks(clients, mount, holder):
    """As far as /proc/self/mounts says that there are any."""
    a, _ = clients
    holder.kill()
    fake = a.state / "mounts"
    fake.write_text(f"nas:/x /x nfs rw,vers=3,addr={a.server_host} 0 0\n")
    told = a.run("unshare", "--mount", "sh", "-c", f'mount --bind {fake} /proc/$$/mounts && exec "$@"', "sh",
                 PROGRAM, "sm-notify")
    if "mount:" in told.stdout:
        pytest.skip("nothing can be put over /proc/self/mounts here")
    assert told.returncode == 1 and "the kernel has mounted it" in told.stdout
    assert holder.far_process.lock() == errno.EAGAIN
    assert sm_notify(a).returncode == 0
    wait_for(lambda: holder.far_process.lock() is None, 5)


@needs_udp
def test_told_when_it_answers(far, clients, mount, holder):
    """The server's statd is silent when the mount begins: nobody waits for it, and it is told later."""
    a, _ = clients
    holder.kill()
    far.nft("add chain inet far input { type filter hook input priority 0; }")
    for name, protocol in (("tcp", rpc.TCP), ("udp", rpc.UDP)):
        port = run_in_netns(far.netns, lambda: rpc.getport("127.0.0.1", rpc.STATUS, protocol))
        far.nft(f"add rule inet far input iifname != lo {name} dport {port} drop")
    began = time.monotonic()
    fresh = a.mount(mount, options=LOCK)
    assert time.monotonic() - began < 2
    fresh.expect_log("locks-kept|stay there")
    wait_for(lambda: "stay there" in fresh.log(), 5)
    assert a.records and holder.far_process.lock() == errno.EAGAIN
    assert sm_notify(a).returncode == 1
    far.let_pass()
    wait_for(lambda: holder.far_process.lock() is None, 25)
    wait_for(lambda: not a.records, 5)


def test_without_var(clients, mount):
    """Locks work where nothing can be recorded."""
    a, _ = clients
    (a.state / "lib/fusenfs").write_text("a file is in the way")
    mounted = a.mount(mount, options=LOCK)
    (mounted.path / "f").write_bytes(b"")
    with Process(mounted.path / "f") as process:
        assert process.lock() is None
    assert re.search(r"locks are not recorded in .* \[locks-unrecorded\]$", mounted.log(), re.MULTILINE)


def test_told_by_our_statd(workdir, mount):
    """The server's statd tells ours, ours tells the daemon, and it looks for its locks."""
    directory = workdir / "exports" / "lock-statd"
    directory.mkdir(exist_ok=True)
    with FarServer([Export(directory)], WAYS["silent"], 93, portmap=True, host=EVERYWHERE) as server, \
            LockServer(server) as nlm, ClientHost(server, 1, mount.directory, statd=True) as a:
        mounted = a.mount(mount, options=LOCK)
        (mounted.path / "f").write_bytes(b"")
        with Process(mounted.path / "f") as process:
            assert process.lock() is None
            wait_for(lambda: list((a.state / "lib/nfs/sm").iterdir()), 10, "the server in statd's list")
            assert nlm.hears_nothing(TEST, 0.3)
            args = rpc.opaque(a.server_host) + struct.pack(">I", 5)

            def restarted():
                with rpc.Client(a.address, a.program_port(rpc.STATUS), rpc.STATUS) as statd:
                    statd.call(6, args)
            run_in_netns(server.netns, restarted)
            assert nlm.heard(TEST, 10).exclusive
            process.unlock()
        mounted.umount()
        assert not list((a.state / "lib/nfs/sm").iterdir())
        mount.close()
