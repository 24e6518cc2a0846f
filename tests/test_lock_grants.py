# SPDX-License-Identifier: GPL-2.0-or-later
"""Who waits for a lock is called by the server (GRANTED), with a lock manager that does as it is told. What the
call says is a hint: the answer to the LOCK that follows it counts."""

import errno
import fcntl
import re
import signal
import socket
import struct
import time

import pytest

from lab import rpc
from lab.client import ClientHost
from lab.far import WAYS, FarServer
from lab.ganesha import EVERYWHERE, Export
from lab.lockserver import (BLOCKED, CANCEL, DENIED, GRANTED, GRANTED_MSG, GRANTED_RES, LOCK, UNLOCK,
                            LockServer)
from lab.procs import wait_for
from test_locks import Process

DOWN = "nfs: server .* not responding|nfs: server .* OK|connections? .* (lost|up)|gave up|bad-reply"


@pytest.fixture(scope="module")
def far(workdir):
    directory = workdir / "exports" / "lock-grants"
    directory.mkdir()
    with FarServer([Export(directory)], WAYS["silent"], 81, portmap=True,
                   host=EVERYWHERE) as server:
        yield server


@pytest.fixture
def nlm(far):
    with LockServer(far) as lock_server:
        yield lock_server


@pytest.fixture
def client(far, mount):
    with ClientHost(far, 1, mount.directory) as host:
        yield host
        mount.close()


@pytest.fixture
def m(client, mount, nlm):
    mounted = client.mount(mount, options="lock,timeo=20,retrans=1,detect=2")
    (mounted.path / "f").write_bytes(b"")
    return mounted


@pytest.fixture
def waiter(m, nlm, client):
    """A process that waits for bytes 10 to 14, and the LOCK with `block` that says so."""
    nlm.answers[LOCK] = [BLOCKED]
    with Process(m.path / "f") as process:
        process.start("setlk", fcntl.F_WRLCK, 10, 5, fcntl.F_SETLKW)
        process.call = blocking_lock(nlm)
        wait_for(client.program_port, 5)
        yield process


def blocking_lock(nlm):
    return wait_for(lambda: next((c for c in [nlm.heard(LOCK)] if c.block), None), 10)


def got_it(process):
    return process.hear(20) is None


@pytest.mark.parametrize("udp", [False, True], ids=["TCP", "UDP"])
def test_granted(nlm, client, waiter, udp):
    nlm.answers[LOCK] = [GRANTED]
    assert nlm.grant(client, waiter.call, udp=udp) == GRANTED
    assert got_it(waiter)
    assert waiter.do("setlk", fcntl.F_UNLCK, 10, 5) is None
    unlock = nlm.heard(UNLOCK)
    assert (unlock.start, unlock.length, unlock.svid) == (10, 5, waiter.call.svid)


def test_granted_msg_is_answered_by_a_call(nlm, client, waiter):
    nlm.answers[LOCK] = [GRANTED]
    cookie = nlm.grant(client, waiter.call, proc=GRANTED_MSG)
    assert nlm.heard(GRANTED_RES) == (cookie, GRANTED)
    assert got_it(waiter)


def test_who_was_called_in_time_trusts_in_it(nlm, client, m, waiter):
    """After a first call that came, who waits asks no more by himself (for 30 s)."""
    nlm.answers[LOCK] = [GRANTED]
    nlm.grant(client, waiter.call)
    assert got_it(waiter)
    nlm.answers[LOCK] = [BLOCKED]
    with Process(m.path / "f") as second:
        second.start("setlk", fcntl.F_WRLCK, 100, 1, fcntl.F_SETLKW)
        nlm.forget()
        time.sleep(0.2)
        nlm.forget()
        assert nlm.hears_nothing(LOCK, 3)


@pytest.mark.parametrize("other", [
    {"start": 11}, {"length": 6}, {"length": 0}, {"svid": 1}, {"fh": b"another file"}, {"oh": b"fusenfs-0"},
    {"oh": b""}], ids=lambda other: "-".join(other))
def test_what_does_not_fit_is_denied(nlm, client, waiter, other):
    nlm.forget()
    assert nlm.grant(client, waiter.call, **other) == DENIED
    if b"fusenfs-0" not in other.values() and b"" not in other.values():
        cookie = nlm.grant(client, waiter.call, proc=GRANTED_MSG, **other)
        assert nlm.heard(GRANTED_RES) == (cookie, DENIED)
    nlm.answers[LOCK] = [GRANTED]  # it still waits
    nlm.grant(client, waiter.call)
    assert got_it(waiter)


def test_only_the_server_is_believed(nlm, client, waiter):
    """The same words from this host itself, or from another address."""
    def call():
        args = (rpc.opaque(b"x") + rpc.u32(1) + rpc.opaque("server") + rpc.opaque(waiter.call.fh)
                + rpc.opaque(waiter.call.oh) + rpc.u32(waiter.call.svid) + rpc.u64(10) + rpc.u64(5))
        with rpc.Client("127.0.0.1", rpc.getport("127.0.0.1", rpc.NLM), rpc.NLM) as here:
            reply = here.call(5, args)
            reply.opaque()
            return reply.u32()
    assert client.inside(call) == DENIED


def test_a_lie_grants_nothing(nlm, client, waiter):
    """GRANTED, but the LOCK that follows says BLOCKED: nobody has it."""
    nlm.forget()
    assert nlm.grant(client, waiter.call) == GRANTED
    assert nlm.heard(LOCK).block
    with pytest.raises(Exception, match="silent"):
        waiter.hear(0.5)
    nlm.answers[LOCK] = [GRANTED]
    assert nlm.grant(client, waiter.call) == GRANTED
    assert got_it(waiter)


def test_granted_twice(nlm, client, waiter):
    """It is his: the second says so again, until he has given it back."""
    nlm.answers[LOCK] = [GRANTED]
    for _ in range(2):
        assert nlm.grant(client, waiter.call, cookie=b"same") == GRANTED
    assert got_it(waiter)
    assert nlm.grant(client, waiter.call, cookie=b"same") == GRANTED
    assert waiter.unlock(10, 5) is None
    assert nlm.grant(client, waiter.call, cookie=b"same") == DENIED


def test_granted_too_late(nlm, client, waiter):
    """He has gone: CANCEL, UNLOCK for the case that it was granted meanwhile, and the call is denied."""
    waiter.kill()
    cancel, unlock = nlm.heard(CANCEL), nlm.heard(UNLOCK)
    assert cancel[2:7] == waiter.call[2:7] and cancel.block and cancel.exclusive
    assert unlock[2:7] == waiter.call[2:7]
    assert nlm.grant(client, waiter.call) == DENIED


def test_cancel_keeps_what_was_there(nlm, client, m):
    """Who has a shared lock, waits for an exclusive one and gives up, has the shared one."""
    with Process(m.path / "f") as process:
        nlm.answers[LOCK] = [GRANTED]
        assert process.lock(10, 2, kind=fcntl.F_RDLCK) is None
        client.wait_ready()
        nlm.forget()
        nlm.answers[LOCK] = [lambda call: BLOCKED if call.exclusive else GRANTED]
        process.start("setlk", fcntl.F_WRLCK, 10, 5, fcntl.F_SETLKW)
        blocking_lock(nlm)
        nlm.forget()
        process.kill(signal.SIGUSR1)
        nlm.heard(CANCEL)
        again = wait_for(lambda: next((c for c in [nlm.heard(LOCK)] if not c.exclusive), None))
        rest = nlm.heard(UNLOCK)
        assert (again.start, again.length) == (10, 2) and (rest.start, rest.length) == (12, 3)


def test_granted_before_the_answer(nlm, client, m):
    """GRANTED overtakes the BLOCKED that it follows."""
    def grant_first(call):
        if not call.block or nlm.granted_early:
            return GRANTED if nlm.granted_early else BLOCKED
        nlm.granted_early = nlm.grant(client, call) == GRANTED
        return BLOCKED
    nlm.granted_early = False
    nlm.answers[LOCK] = [grant_first]
    with Process(m.path / "f") as process:
        process.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        assert got_it(process)
    assert nlm.granted_early


def test_grant_is_lost(nlm, waiter):
    """Asked for again, it is there."""
    nlm.answers[LOCK] = [GRANTED]
    began = time.monotonic()
    assert got_it(waiter)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("trusted", [False, True])
def test_connection_lost(nlm, client, m, waiter, trusted):
    """Who waits asks again when there is a connection, for the server may have been restarted."""
    m.expect_log(DOWN)
    if trusted:
        nlm.answers[LOCK] = [GRANTED]
        nlm.grant(client, waiter.call)
        assert got_it(waiter)
        nlm.answers[LOCK] = [BLOCKED]
        waiter.start("setlk", fcntl.F_WRLCK, 100, 1, fcntl.F_SETLKW)
        blocking_lock(nlm)
        time.sleep(0.2)  # it is answered, too
    nlm.forget()
    nlm.answers[LOCK] = [GRANTED]
    nlm.drop_connections()
    assert got_it(waiter)


def test_unanswered_lock_is_cancelled(nlm, client, m):
    m.expect_log(DOWN)
    with Process(m.path / "f") as process:
        assert process.lock(50, 1) is None
        client.wait_ready()
        nlm.answers[LOCK] = [None]
        nlm.forget()
        process.start("setlk", fcntl.F_WRLCK, 0, 1, fcntl.F_SETLKW)
        assert nlm.heard(LOCK).block
        process.kill()
        nlm.heard(CANCEL, 15)
        nlm.heard(UNLOCK, 15)


# ---- the program of the host ---------------------------------------------------------------


def test_service_answers_as_it_should(nlm, client, waiter):
    """NULL; other procedures, versions and programs; from anybody."""
    port = client.program_port()

    def calls():
        rpc.ping("127.0.0.1", port, rpc.NLM)
        outcome = []
        for program, proc in ((rpc.NLM, 2), (rpc.NLM, 16 + 100), ((100021, 3), 0), ((100003, 3), 0), (rpc.NLM, 5)):
            with rpc.Client("127.0.0.1", port, program) as caller:
                try:
                    caller.call(proc, b"\xff" * 8)
                except rpc.RpcError as error:
                    outcome.append(str(error))
        return outcome
    assert client.inside(calls) == ["PROC_UNAVAIL", "PROC_UNAVAIL", "PROG_MISMATCH", "PROG_UNAVAIL", "GARBAGE_ARGS"]


def test_withdrawn_at_the_end(client, m, waiter):
    assert client.program_port() and client.program_port(proto=rpc.UDP)
    waiter.kill()
    waiter.wait_end(5)
    m.umount()
    assert not client.program_port() and not client.program_port(proto=rpc.UDP)
    assert not list((client.state / "run/fusenfs").glob("nlm-*"))


def test_the_owner_passes_on(nlm, client, m, mount, waiter):
    """One program for two mounts of the host."""
    other = client.mount(mount, options="lock")
    port = client.program_port()
    with Process(other.path / "f") as second:
        second.start("setlk", fcntl.F_WRLCK, 20, 5, fcntl.F_SETLKW)
        call = wait_for(lambda: next((c for c in [nlm.heard(LOCK)] if c.block and c.start == 20), None))
        assert call.oh != waiter.call.oh
        nlm.answers[LOCK] = [lambda lock: GRANTED if lock.start == 20 else BLOCKED]
        assert nlm.grant(client, call) == GRANTED
        assert got_it(second)
        cookie = nlm.grant(client, call, proc=GRANTED_MSG)
        assert nlm.heard(GRANTED_RES) == (cookie, GRANTED)
    assert client.program_port() == port


def test_another_takes_over(nlm, client, m, mount, waiter):
    """The owner is killed, and has told nobody."""
    other = client.mount(mount, options="lock")
    port = client.program_port()
    with Process(other.path / "f") as second:
        second.start("setlk", fcntl.F_WRLCK, 20, 5, fcntl.F_SETLKW)
        wait_for(lambda: next((c for c in [nlm.heard(LOCK)] if c.block and c.start == 20), None))
        m.kill()
        fresh = wait_for(lambda: next((p for p in [client.program_port()] if p not in (0, port)), None), 10)
        call = wait_for(lambda: next((c for c in [nlm.heard(LOCK)] if c.block and c.start == 20), None))
        nlm.answers[LOCK] = [GRANTED]
        assert nlm.grant(client, call) == GRANTED
        assert got_it(second)
        assert fresh == client.program_port()


def set_port(client, port, proc=1):
    """PMAP SET (or UNSET, 2) of the program, as by somebody else of that host."""
    def call():
        with rpc.Client("127.0.0.1", 111, rpc.PORTMAP) as portmap:
            return portmap.call(proc, struct.pack(">4I", *rpc.NLM, rpc.TCP, port)).u32()
    assert client.inside(call) == 1


def test_program_of_somebody_else(nlm, client, mount, far):
    """It stays as it is; who waits asks, without `block`."""
    sock = client.inside(lambda: socket.create_server(("127.0.0.1", 0)))
    port = sock.getsockname()[1]
    set_port(client, port)
    mounted = client.mount(mount, options="lock")
    (mounted.path / "f").write_bytes(b"")
    nlm.answers[LOCK] = [DENIED]
    with Process(mounted.path / "f") as process:
        process.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
        time.sleep(3)
        assert not any(nlm.heard(LOCK).block for _ in range(5))
        nlm.answers[LOCK] = [GRANTED]
        assert got_it(process)
        assert client.program_port() == port
    mounted.umount()
    assert client.program_port() == port
    sock.close()


def test_unlock_without_answer(m, nlm):
    """The server answers everything but UNLOCK: the mount goes all the same, and the log says what is left."""
    nlm.answers[UNLOCK] = [None]
    with Process(m.path / "f") as process:
        assert process.lock() is None
    nlm.heard(UNLOCK)
    m.expect_log(r"\[locks-left\]")
    began = time.monotonic()
    m.umount()
    assert time.monotonic() - began < 8
    assert re.search(r"locks could not be given back: .* \(fusenfs sm-notify\) \[locks-left\]$", m.log(), re.MULTILINE)


def test_close_waits_for_an_unlock_that_is_not_answered_but_not_for_ever(client, nlm, mount):
    """With `hard`, too: after 5 s it goes on without who closes. Who is killed does not wait at all."""
    m = client.mount(mount, options="lock,hard")
    (m.path / "f").write_bytes(b"")
    m.expect_log(r"\[locks-left\]")
    nlm.answers[UNLOCK] = [None]
    with Process(m.path / "f") as process:
        assert process.lock() is None
        began = time.monotonic()
        assert process.do("close", timeout=15) is None
        assert 4 < time.monotonic() - began < 9


@pytest.mark.parametrize("name", ["LOCK", "UNLOCK"])
def test_no_answer_leaves_after_the_end(client, nlm, mount, name):
    """A call that is on its way when the mount is ended: the program is told by the kernel, and nothing is written to a
    descriptor that was closed, whose number may be somebody else's."""
    m = client.mount(mount, options="lock,hard,umounttimeo=1")
    (m.path / "f").write_bytes(b"")
    m.expect_log(r"\[locks-left\]|still in use")
    with Process(m.path / "f") as process:
        if name == "UNLOCK":
            assert process.lock() is None
        nlm.answers[{"LOCK": LOCK, "UNLOCK": UNLOCK}[name]] = [None]
        process.start("setlk", {"LOCK": fcntl.F_WRLCK, "UNLOCK": fcntl.F_UNLCK}[name], 0, 0, fcntl.F_SETLK)
        nlm.heard({"LOCK": LOCK, "UNLOCK": UNLOCK}[name])
        m.process.send_signal(signal.SIGTERM)
        m.process.wait(15)
        assert process.hear(5) in (errno.ECONNABORTED, errno.ENOTCONN)
    assert "writing device" not in m.log()


def test_what_the_dead_left_is_replaced(nlm, client, mount):
    set_port(client, 1)
    mounted = client.mount(mount, options="lock")
    (mounted.path / "f").write_bytes(b"")
    with Process(mounted.path / "f") as process:
        assert process.lock() is None
        wait_for(lambda: client.program_port() not in (0, 1), 5)


def test_no_rpcbind(nlm, far, mount):
    with ClientHost(far, 2, mount.directory, rpcbind=False) as client:
        mounted = client.mount(mount, options="lock")
        (mounted.path / "f").write_bytes(b"")
        nlm.answers[LOCK] = [DENIED] * 5 + [GRANTED]
        with Process(mounted.path / "f") as process:
            process.start("setlk", fcntl.F_WRLCK, 0, 0, fcntl.F_SETLKW)
            assert got_it(process)
            assert not any(nlm.heard(LOCK).block for _ in range(6))
        mount.close()
