"""Faults between fusenfs and its server: a proxy that understands RPC records, and a packet filter.

    with Proxy(server) as proxy:
        m = mount(server=proxy)                              # all its connections go through the proxy
        lost = proxy.on("REMOVE", Cut("executed"), times=1)  # the server has done it, nobody is told
        ...
        assert lost.hits == 1 and proxy.count("REMOVE") == 2

One proxy serves one mount. Every client connection is a Link with a connection of its own to the
server, made from the same source port, so that the server's duplicate request cache recognises a
call that comes again; or, with same_port=False, from another one each time, so that it does not. For
every call the first rule that matches (on(), in the order they were
made) chooses an Action; without one, call and reply pass unchanged. Actions see whole records, and
other calls on the link go on meanwhile, but where the bytes of a reply themselves are slow.

What is not about a certain call is a command: links(), cut(), stall() and resume(), refuse() and
listen(). calls is the history, in the order of arrival.

Threads: two for each link, and the test's. Proxy.lock guards rules, history and the list of links;
Link.lock guards the pending calls; a send lock per direction keeps records whole."""

import collections
import contextlib
import ctypes
import itertools
import os
import select
import socket
import struct
import subprocess
import threading
import time
import zlib

from . import rpc
from .ganesha import free_port
from .procs import wait_for

PROCEDURES = (
    "NULL GETATTR SETATTR LOOKUP ACCESS READLINK READ WRITE CREATE MKDIR SYMLINK MKNOD REMOVE RMDIR "
    "RENAME LINK READDIR READDIRPLUS FSSTAT FSINFO PATHCONF COMMIT").split()
STATUS = {name: number for number, name in rpc.STATUS_NAMES.items()}
# Words of zero that follow a bad status: attributes that are not there (RFC 1813).
FAILURE_WORDS = {"GETATTR": 0, "RENAME": 4, "LINK": 3, **dict.fromkeys(
    "SETATTR WRITE CREATE MKDIR SYMLINK MKNOD REMOVE RMDIR COMMIT".split(), 2)}
LAST_FRAGMENT = 1 << 31
HEADER_KEPT = 4096  # bytes of each call that the history keeps
CONNECT_TIMEOUT, JOIN_TIMEOUT = 5, 5


class Call:
    """One record from the client. Times are time.monotonic(); None if it did not happen."""

    def __init__(self, link, record):
        self.link, self.record, self.size = link, record, len(record)
        self.crc = zlib.crc32(record)  # of the whole record: is a replay identical?
        self.arrived, self.forwarded, self.replied = time.monotonic(), None, None
        reader = rpc.Reader(record)
        self.xid, self.kind, _, self.program, self.version, number = reader.take("6I")
        known = self.program == rpc.NFS[0] and number < len(PROCEDURES)
        self.proc = PROCEDURES[number] if known else f"{self.program}.{number}"
        self.cred = (reader.u32(), reader.opaque())
        self.verf = (reader.u32(), reader.opaque())
        self.args_at = reader.pos
        self.rule = self.action = None

    @property
    def args(self):
        """A Reader at the start of the arguments (cut off after HEADER_KEPT bytes in the history)."""
        reader = rpc.Reader(self.record)
        reader.pos = self.args_at
        return reader

    @property
    def io(self):
        """(file handle, offset, count) of READ and WRITE."""
        args = self.args
        return args.opaque(), args.u64(), args.u32()

    @property
    def stable(self):
        """How a WRITE is to be stored: rpc.UNSTABLE, DATA_SYNC or FILE_SYNC."""
        args = self.args
        args.opaque()
        return args.take("QII")[2]

    def forget_payload(self):
        self.record = bytes(self.record[:HEADER_KEPT])

    def __repr__(self):
        return f"<{self.proc} xid {self.xid:08x} port {self.link.port}>"


# --- actions


class Action:
    """What happens to a call and to its reply. Both run on the link's threads and may be called
    for several calls at a time; link.forward() and link.answer() are theirs to use, or not."""

    def call(self, link, call):
        link.forward(call)

    def reply(self, link, call, record):
        link.answer(call, record)

    def release(self):
        """The rule ends: let go what is held."""


class Delay(Action):
    """Seconds later; on="call": before the server sees it, on="reply": after it has executed it.
    Others overtake it."""

    def __init__(self, seconds, on="reply"):
        self.seconds, self.on = seconds, on

    def call(self, link, call):
        link.later(self.seconds if self.on == "call" else 0, link.forward, call, call.record)

    def reply(self, link, call, record):
        link.later(self.seconds if self.on == "reply" else 0, link.answer, call, record)


class Hold(Action):
    """Like Delay, but until release(): for orders that must not depend on the clock. `held` are the
    calls that wait."""

    def __init__(self, on="reply"):
        self.on, self.held, self.waiting, self.open = on, [], [], False
        self.lock = threading.Lock()

    def call(self, link, call):
        record = call.record  # the history keeps its beginning only
        self._do(self.on == "call", call, lambda: link.forward(call, record))

    def reply(self, link, call, record):
        self._do(self.on == "reply", call, lambda: link.answer(call, record))

    def _do(self, hold, call, action):
        with self.lock:
            hold = hold and not self.open
            if hold:
                self.held.append(call)
                self.waiting.append(action)
        if not hold:
            action()

    def release(self):
        with self.lock:
            self.open, waiting, self.waiting = True, self.waiting, []
        for action in waiting:
            with contextlib.suppress(OSError):
                action()


class Drop(Action):
    """Silence; the connection lives on. on="reply": executed, on="call": not even that."""

    def __init__(self, on="reply"):
        self.on = on

    def call(self, link, call):
        if self.on == "reply":
            link.forward(call)

    def reply(self, link, call, record):
        pass


class Cut(Action):
    """The connection breaks, with RST or how="fin".

    at="call": before the server sees it. "mid-call": it gets the first half. "sent": the server
    has it whole, and is left no time to answer. "executed": the answer is here, and is lost.
    "mid-reply": the client gets `part` bytes of it (half). "replied": the client has got it all."""

    POINTS = "call", "mid-call", "sent", "executed", "mid-reply", "replied"

    def __init__(self, at, how="rst", part=None):
        assert at in self.POINTS, at
        self.at, self.how, self.part = at, how, part

    def call(self, link, call):
        if self.at == "mid-call":
            data = framed(call.record)
            link.send_server(data[:len(data) // 2])
        elif self.at != "call":
            link.forward(call)
        if self.at in ("call", "mid-call", "sent"):
            link.cut(self.how)

    def reply(self, link, call, record):
        if self.at == "mid-reply":
            data = framed(record)
            link.send_client(data[:len(data) // 2 if self.part is None else self.part])
        elif self.at == "replied":
            link.answer(call, record)
        link.cut(self.how)


class Stall(Action):
    """The whole connection falls silent for good, both ways, but TCP lives on. at="call": before the
    server sees this call, "executed": the answer is here, and stays here."""

    def __init__(self, at="executed"):
        assert at in ("call", "executed"), at
        self.at = at

    def call(self, link, call):
        if self.at == "call":
            link.stall()
        link.forward(call)

    def reply(self, link, call, record):
        link.stall()
        link.answer(call, record)


class HalfClose(Action):
    """The client sees the end of the stream instead of the reply; what it sends is still executed.
    at="call": as soon as the call is here, "executed": when the answer is."""

    def __init__(self, at="executed"):
        assert at in ("call", "executed"), at
        self.at = at

    def call(self, link, call):
        if self.at == "call":
            link.half_close()
        link.forward(call)

    def reply(self, link, call, record):
        if not link.half_closed:
            link.half_close()


class Reorder(Action):
    """Replies wait until `count` of them are here, or for `patience` seconds after the first, and
    leave in the reverse order. Also those of other links with the same action."""

    def __init__(self, count, patience=0.5):
        self.count, self.patience = count, patience
        self.waiting, self.timer, self.lock = [], None, threading.Lock()

    def reply(self, link, call, record):
        with self.lock:
            self.waiting.append((link, call, record))
            full = len(self.waiting) >= self.count
            if not self.timer and not full:
                self.timer = threading.Timer(self.patience, self.release)
                self.timer.daemon = True
                self.timer.start()
        if full:
            self.release()

    def release(self):
        with self.lock:
            waiting, self.waiting = self.waiting, []
            timer, self.timer = self.timer, None
        if timer:
            timer.cancel()
        for link, call, record in reversed(waiting):
            with contextlib.suppress(OSError):
                link.answer(call, record)


class Chance(Action):
    """For each call one of several actions, by chance: choices are (weight, action or None: passes
    unchanged), chosen by random, a random.Random. `hits` counts what was not None."""

    def __init__(self, random, *choices):
        self.random, self.weights, self.actions = random, *zip(*choices)
        self.hits, self.lock = 0, threading.Lock()

    def call(self, link, call):
        with self.lock:
            call.action = self.random.choices(self.actions, self.weights)[0] or Action()
            self.hits += type(call.action) is not Action
        call.action.call(link, call)

    def reply(self, link, call, record):
        call.action.reply(link, call, record)

    def release(self):
        for action in filter(None, self.actions):
            action.release()


class Raw(Action):
    """Instead of the reply: these bytes, without a record mark. Garbage, or what a test has made."""

    def __init__(self, data):
        self.data = data

    def reply(self, link, call, record):
        link.send_client(self.data)


class Segments(Action):
    """The reply in pieces of `size` bytes, the first `most` bytes of it, then the rest at once."""

    def __init__(self, size=1, most=2000, pause=0.0):
        self.size, self.most, self.pause = size, most, pause

    def reply(self, link, call, record):
        data = framed(record)
        most = min(self.most, len(data))
        pieces = [data[i:min(i + self.size, most)] for i in range(0, most, self.size)]
        link.send_client(*pieces, data[most:], pause=self.pause)


class Fragments(Action):
    """The reply as a record of several fragments (RFC 5531, section 11) of `size` bytes each."""

    def __init__(self, size):
        self.size = size

    def reply(self, link, call, record):
        link.send_client(framed(record, self.size))


class Repeat(Action):
    """Twice: on="call": the server gets the same record again, on="reply": the client does."""

    def __init__(self, on="reply"):
        self.on = on

    def call(self, link, call):
        link.forward(call)
        if self.on == "call":
            link.forward(call)

    def reply(self, link, call, record):
        link.answer(call, record)
        if self.on == "reply":
            link.send_client(framed(record))


class Answer(Action):
    """Not executed: the proxy answers. make(call): the reply from the reply state on, i.e. all that
    follows xid and message type."""

    def __init__(self, make):
        self.make = make

    def call(self, link, call):
        link.answer(call, struct.pack(">II", call.xid, 1) + self.make(call))


def accepted(state, body=b""):
    """MSG_ACCEPTED with a verifier of AUTH_NONE; state 0 is SUCCESS."""
    return struct.pack(">4I", 0, 0, 0, state) + body


def Status(name):
    """The procedure fails with this status, without having been executed. JUKEBOX: try later."""
    return Answer(lambda call: accepted(
        0, rpc.u32(STATUS[name]) + bytes(4 * FAILURE_WORDS.get(call.proc, 1))))


def Accepted(name, low=0, high=0):
    """PROG_UNAVAIL, PROG_MISMATCH (supported: low to high), PROC_UNAVAIL, GARBAGE_ARGS, SYSTEM_ERR."""
    state = "SUCCESS PROG_UNAVAIL PROG_MISMATCH PROC_UNAVAIL GARBAGE_ARGS SYSTEM_ERR".split().index(name)
    return Answer(lambda call: accepted(state, struct.pack(">II", low, high) if state == 2 else b""))


def Denied(auth_stat=None):
    """MSG_DENIED: AUTH_ERROR with this auth_stat (1 badcred, 5 tooweak), else RPC_MISMATCH."""
    body = (0, 2, 2) if auth_stat is None else (1, auth_stat)
    return Answer(lambda call: struct.pack(f">I{len(body)}I", 1, *body))


class ShortRead(Action):
    """The server is asked for, and returns, at most `count` bytes."""

    def __init__(self, count):
        self.count = count

    def call(self, link, call):
        handle, _, count = call.io
        at = call.args_at + 4 + len(handle) + -len(handle) % 4 + 8
        link.forward(call, patched(call.record, at, rpc.u32(min(count, self.count))))


class ShortWrite(Action):
    """The server gets, and takes, at most `count` bytes of a WRITE."""

    def __init__(self, count):
        self.count = count

    def call(self, link, call):
        args = call.args
        handle, offset, count, stable = args.opaque(), args.u64(), args.u32(), args.u32()
        data = args.opaque()[:self.count]
        link.forward(call, call.record[:call.args_at] + rpc.opaque(handle) + rpc.u64(offset)
                     + rpc.u32(min(count, self.count)) + rpc.u32(stable) + rpc.opaque(data))


class LoseWrite(Action):
    """A WRITE that does not ask for stable storage is answered, with this verifier, and the data is
    lost: as by a server that crashes before COMMIT, whose verifier then is another one."""

    def __init__(self, verifier=b"crashed!"):
        self.verifier = verifier

    def call(self, link, call):
        args = call.args
        _, _, count, stable = args.opaque(), args.u64(), args.u32(), args.u32()
        if stable != rpc.UNSTABLE:
            link.forward(call)
            return
        results = struct.pack(">5I", 0, 0, 0, count, rpc.UNSTABLE) + self.verifier
        link.answer(call, struct.pack(">II", call.xid, 1) + accepted(0, results))


class Rewrite(Action):
    """reply(call, record) or call(call, record) returns the record to pass instead."""

    def __init__(self, reply=None, call=None):
        self.rewrite_reply, self.rewrite_call = reply, call

    def call(self, link, call):
        link.forward(call, self.rewrite_call and self.rewrite_call(call, call.record))

    def reply(self, link, call, record):
        link.answer(call, self.rewrite_reply(call, record) if self.rewrite_reply else record)


def NewVerifier(mask=b"\xff" * 8):
    """Successful WRITE and COMMIT replies with another write verifier: their last 8 bytes, changed
    by exclusive or."""
    def change(_, record):
        if results(record).u32():
            return record
        return record[:-8] + bytes(a ^ b for a, b in zip(record[-8:], mask))
    return Rewrite(reply=change)


def results(record):
    """A Reader at the start of the procedure's results, in a reply that was accepted."""
    reader = rpc.Reader(record)
    reader.take("4I")
    reader.opaque()
    reader.u32()
    return reader


def patched(record, at, data):
    """A copy of the record with these bytes changed."""
    return record[:at] + data + record[at + len(data):]


def framed(record, fragment=None):
    """The record with its mark, or with one for each fragment of so many bytes."""
    if not fragment:
        return struct.pack(">I", LAST_FRAGMENT | len(record)) + record
    parts = [record[i:i + fragment] for i in range(0, len(record), fragment)]
    marks = [len(part) for part in parts[:-1]] + [LAST_FRAGMENT | len(parts[-1])]
    return b"".join(struct.pack(">I", mark) + part for mark, part in zip(marks, parts))


# --- rules


class Rule:
    """An action and when it applies. hits: calls it was applied to."""

    def __init__(self, proxy, procs, action, times, skip, where):
        self.proxy, self.procs, self.action = proxy, procs, action
        self.times, self.skip, self.where = times, skip, where
        self.calls = []

    @property
    def hits(self):
        return len(self.calls)

    def wait(self, hits=1, timeout=10):
        """Returns when the rule has been applied so often."""
        wait_for(lambda: self.hits >= hits, timeout, f"{hits} calls of {self.procs or 'any kind'}")

    def end(self):
        """No further call is affected; what is held goes on."""
        self.times = 0
        self.action.release()

    def takes(self, call):
        """Called under Proxy.lock, once for each call."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.procs and call.proc not in self.procs or self.where and not self.where(call):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.calls.append(call)
        return True


# --- connections


class Link:
    """One client connection and the one to the server that belongs to it."""

    def __init__(self, proxy, number, client, server, port):
        self.proxy, self.number, self.client, self.server = proxy, number, client, server
        self.port = port                            # the client's
        self.server_port = server.getsockname()[1]  # what the server sees
        self.pending, self.lock = {}, threading.Lock()
        self.client_lock, self.server_lock = threading.Lock(), threading.Lock()
        self.open = True
        self.gates = {"up": threading.Event(), "down": threading.Event()}
        for gate in self.gates.values():
            gate.set()
        self.half_closed = False
        self.threads = [threading.Thread(target=self._run, args=[body], daemon=True)
                        for body in (self._up, self._down)]

    # What actions use.

    def forward(self, call, record=None):
        """The call, or another record instead of it, to the server."""
        with self.lock:
            self.pending[call.xid] = call
        call.forwarded = time.monotonic()
        self.send_server(framed(record or call.record))

    def answer(self, call, record):
        """A reply to the client."""
        call.replied = time.monotonic()
        self.send_client(framed(record))

    def send_client(self, *pieces, pause=0.0):
        if not self.half_closed:
            self._send(self.client, self.client_lock, "down", pieces, pause)

    def send_server(self, *pieces):
        self._send(self.server, self.server_lock, "up", pieces, 0)

    def later(self, seconds, action, *args):
        """action(*args) on another thread, unless the link breaks before."""
        if not seconds:
            action(*args)
            return

        def run():
            with contextlib.suppress(OSError):
                if self.open:
                    action(*args)
        timer = threading.Timer(seconds, run)
        timer.daemon = True
        timer.start()

    # Commands.

    def stall(self, direction="both"):
        """Nothing moves any more "up" (to the server), "down", or both ways; TCP stays alive."""
        for name, gate in self.gates.items():
            if direction in (name, "both"):
                gate.clear()

    def resume(self):
        for gate in self.gates.values():
            gate.set()

    def cut(self, how="rst"):
        """Both connections end. how="fin": the client's with FIN, and what was sent before still
        arrives; the server's always with RST, so that its port is free at once."""
        with self.lock:
            was_open, self.open = self.open, False
        if was_open:
            close(self.client, how)
            close(self.server, "rst")
            self.resume()
            self.proxy.link_gone(self)

    def half_close(self):
        """The client sees the end of the stream; what it sends is still forwarded."""
        self.half_closed = True
        self.client.shutdown(socket.SHUT_WR)

    # The threads.

    def start(self):
        for thread in self.threads:
            thread.start()

    def _run(self, body):
        how = "rst"
        try:
            body()
            how = "fin"
        except OSError:
            pass  # the connection broke, or was cut here
        finally:
            self.cut(how)

    def _up(self):
        while (record := self._record(self.client)) is not None:
            call = Call(self, record)
            action = self.proxy.arrived(call)
            try:
                if action:
                    action.call(self, call)
                else:
                    self.forward(call)
            finally:
                call.forget_payload()

    def _down(self):
        while (record := self._record(self.server)) is not None:
            with self.lock:
                call = self.pending.pop(rpc.Reader(record).u32(), None)
            if call is None:
                self.send_client(framed(record))
            elif call.rule:
                call.rule.action.reply(self, call, record)
            else:
                self.answer(call, record)

    def _record(self, sock):
        """The next record without its marks; None at the end of the stream."""
        record, last = b"", 0
        while not last:
            mark = self._exactly(sock, 4)
            if mark is None:
                return None
            size, = struct.unpack(">I", mark)
            last = size & LAST_FRAGMENT
            part = self._exactly(sock, size & ~LAST_FRAGMENT)
            if part is None:
                return None
            record = record + part if record else part
        return record

    @staticmethod
    def _exactly(sock, size):
        data = bytearray(size)
        with memoryview(data) as view:
            got = 0
            while got < size:
                n = sock.recv_into(view[got:])
                if not n:
                    return None
                got += n
        return bytes(data)

    def _pass(self, direction):
        """Waits while this direction is stalled, but not for a client that has gone."""
        while not self.gates[direction].wait(0.02):
            if not self.open or has_ended(self.client):
                raise ConnectionResetError

    def _send(self, sock, lock, direction, pieces, pause):
        self._pass(direction)
        with lock:
            for piece in pieces:
                sock.sendall(piece)
                if pause:
                    time.sleep(pause)


def has_ended(sock):
    """Whether the other side has reset or closed the connection, or it was closed here."""
    poll = select.poll()
    try:
        poll.register(sock, select.POLLRDHUP)
    except ValueError:
        return True
    return bool(poll.poll(0))


def close(sock, how):
    """Ends a connection with FIN or RST, and with it the system calls of other threads on it."""
    if how == "rst":  # at once, whoever else has the socket in use: connect(2), AF_UNSPEC
        ctypes.CDLL(None).connect(sock.fileno(), struct.pack("H14x", socket.AF_UNSPEC), 16)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


class Proxy:
    """Stands in for a Ganesha wherever nfs_port, mnt_port, connect_host and exports are asked for.
    Only NFS goes through it; MOUNT and portmap do not."""

    _sources = itertools.count(2)

    def __init__(self, server, host="127.0.0.1", same_port=True):
        """same_port: see above. It calls a server on this host from an address of its own: the client's
        port is in use on the client's, and may be on that of another proxy."""
        self.server, self.host, self.same_port = server, host, same_port
        number = next(self._sources)
        local = server.connect_host == "127.0.0.1"
        self.source = f"127.1.{number >> 8 & 255}.{number & 255}" if local else ""
        self.nfs_port, self.mnt_port, self.exports = free_port(), server.mnt_port, server.exports
        self.lock = threading.Lock()
        self.rules, self.calls, self._links = [], collections.deque(maxlen=200_000), []
        self.numbers, self.listener, self.acceptor = itertools.count(), None, None
        self.stalled = None

    def __enter__(self):
        for _ in range(5):
            with contextlib.suppress(OSError):  # another test has just taken the port
                self.listen()
                return self
            self.nfs_port = free_port()
        self.listen()
        return self

    def __exit__(self, *exc):
        self.close()

    connect_host = property(lambda self: self.host)
    running = property(lambda self: self.listener is not None)

    # Rules and history.

    def on(self, procs, action, times=None, skip=0, where=None):
        """From now on, calls of these procedures ("READ", "READ WRITE", None: all) meet the action:
        `times` of them (None: all), after the first `skip`, where(call) being true."""
        rule = Rule(self, procs.split() if procs else (), action, times, skip, where)
        with self.lock:
            self.rules.append(rule)
        return rule

    def clear(self):
        """Ends all rules and forgets the history."""
        with self.lock:
            rules, self.rules = self.rules, []
            self.calls.clear()
        for rule in rules:
            rule.end()

    def history(self, procs=None):
        """The calls of these procedures, as they came."""
        wanted = procs.split() if procs else PROCEDURES
        with self.lock:
            return [call for call in self.calls if call.proc in wanted]

    def count(self, procs=None):
        return len(self.history(procs))

    # Commands.

    def links(self):
        """The connections that are open, the oldest first."""
        with self.lock:
            return list(self._links)

    def cut(self, how="rst"):
        """Breaks all connections; new ones are accepted."""
        for link in self.links():
            link.cut(how)

    def stall(self, direction="both"):
        """All connections, also new ones, accept and stay silent."""
        self.stalled = direction
        for link in self.links():
            link.stall(direction)

    def resume(self):
        self.stalled = None
        for link in self.links():
            link.resume()

    def refuse(self):
        """New connections are refused, as if no server were there; listen() ends that."""
        listener, self.listener = self.listener, None
        if listener:
            close(listener, "fin")
            self.acceptor.join(JOIN_TIMEOUT)

    def listen(self):
        if self.listener:
            return
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self.listener = socket.create_server((self.host, self.nfs_port), family=family, backlog=64)
        self.acceptor = threading.Thread(target=self._accept, args=[self.listener], daemon=True)
        self.acceptor.start()

    def close(self):
        self.refuse()
        self.clear()
        links = self.links()
        self.cut()
        for link in links:
            for thread in link.threads:
                thread.join(JOIN_TIMEOUT)

    # The links' side.

    def arrived(self, call):
        """Notes a call and finds its action."""
        with self.lock:
            self.calls.append(call)
            call.rule = next((rule for rule in self.rules if rule.takes(call)), None)
        return call.rule and call.rule.action

    def link_gone(self, link):
        with self.lock:
            if link in self._links:
                self._links.remove(link)

    def _accept(self, listener):
        while True:
            try:
                client, peer = listener.accept()
            except OSError:
                return
            try:
                link = self._link(client, peer[1])
            except OSError:  # no server, or the client has gone meanwhile
                close(client, "rst")
                continue
            with self.lock:
                self._links.append(link)
            link.start()

    def _link(self, client, port):
        server = self._dial(port)
        for sock in (client, server):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(self, next(self.numbers), client, server, port)
        if self.stalled:
            link.stall(self.stalled)
        return link

    def _dial(self, port):
        """To the server, from the client's own source port if that is wanted and can be had."""
        for source in (port, 0) if self.same_port else (0,):
            sock = socket.socket(socket.AF_INET6 if ":" in self.server.connect_host
                                 else socket.AF_INET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(CONNECT_TIMEOUT)
            try:
                sock.bind((self.source, source))
                sock.connect((self.server.connect_host, self.server.nfs_port))
            except OSError:
                sock.close()
                if source:
                    continue
                raise
            sock.settimeout(None)
            return sock
        raise AssertionError("unreachable")


# --- packets


class PacketFilter:
    """nftables rules of the test's own network namespace, until the with block ends. Words are
    nft's: drop("tcp dport 2049"), reset("tcp sport 700")."""

    TABLE = "inet fusenfs_test"

    def __enter__(self):
        if os.environ.get("FUSENFS_TEST_NETWORK") == "host":
            raise RuntimeError("no packet filters on the machine's own network")
        self._nft(f"add table {self.TABLE}")
        for hook in ("input", "output"):
            self._nft(f"add chain {self.TABLE} {hook} {{ type filter hook {hook} priority 0; }}")
        return self

    def __exit__(self, *exc):
        self._nft(f"delete table {self.TABLE}")

    def drop(self, match):
        self._nft(f"add rule {self.TABLE} input {match} drop")

    def reset(self, match):
        """TCP only: answers with RST."""
        self._nft(f"add rule {self.TABLE} input {match} reject with tcp reset")

    def reject(self, match):
        """Answers that the port is unreachable."""
        self._nft(f"add rule {self.TABLE} input {match} reject")

    def clear(self):
        self._nft(f"flush table {self.TABLE}")

    @staticmethod
    def _nft(command):
        subprocess.run(["nft", command], check=True, capture_output=True, text=True)
