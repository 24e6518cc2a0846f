# SPDX-License-Identifier: GPL-2.0-or-later
"""A lock manager that does as it is told, call by call: what a real one does now and then, on demand.

    with FarServer(exports, WAYS["silent"], 82, portmap=True) as far, LockServer(far) as nlm:
        nlm.answers[LOCK] = [BLOCKED, GRANTED]      # the last one for all that follow
        lock = nlm.heard(LOCK)                      # waits for one
        nlm.grant(client, lock)                     # calls back: GRANTED or DENIED

It listens in the server's network, over TCP, and is registered with the server's rpcbind. An answer may be a
status, None (the call is not answered), or a function of the call that returns either of them."""

import contextlib
import queue
import socket
import struct
import threading
from collections import defaultdict, namedtuple

from . import rpc
from .ganesha import run_in_netns

TEST, LOCK, CANCEL, UNLOCK, GRANTED_CALL = 1, 2, 3, 4, 5
GRANTED_MSG, GRANTED_RES = 10, 15
GRANTED, DENIED, DENIED_NOLOCKS, BLOCKED, GRACE = range(5)

Lock = namedtuple("Lock", "proc caller fh oh svid start length exclusive block reclaim state")
Answer = namedtuple("Answer", "cookie status")


class LockServer:
    def __init__(self, far):
        self.far = far
        self.answers = defaultdict(lambda: [GRANTED])
        self.calls = {proc: queue.Queue() for proc in range(24)}
        self.sockets, self.closing = set(), False
        self.cookies = 0

    def __enter__(self):
        self.listener = run_in_netns(self.far.netns, lambda: socket.create_server(("", 0)))
        self._register(1)
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()
        return self

    def __exit__(self, *exc):
        self.closing = True
        self._register(2)
        self.listener.shutdown(socket.SHUT_RDWR)  # close alone would not wake who accepts
        self.acceptor.join()
        self.listener.close()
        self.drop_connections()

    def heard(self, proc, timeout=10):
        """The next call of this procedure, as a Lock, or an Answer (GRANTED_RES)."""
        return self.calls[proc].get(timeout=timeout)

    def hears_nothing(self, proc, seconds):
        try:
            return not self.calls[proc].get(timeout=seconds)
        except queue.Empty:
            return True

    def forget(self):
        """What was heard so far."""
        for calls in self.calls.values():
            with contextlib.suppress(queue.Empty):
                while True:
                    calls.get_nowait()

    def drop_connections(self):
        for sock in list(self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes who reads from it, and he closes it

    def grant(self, client, lock, proc=GRANTED_CALL, udp=False, cookie=None, host=None, **other):
        """Calls the client for this lock, with `other` values of it: what it answers. A GRANTED_MSG is answered
        by heard(GRANTED_RES)."""
        self.cookies += 1
        cookie = cookie or struct.pack(">I", self.cookies)
        lock = lock._replace(**other)
        args = (rpc.opaque(cookie) + rpc.u32(lock.exclusive) + rpc.opaque("server") + rpc.opaque(lock.fh)
                + rpc.opaque(lock.oh) + rpc.u32(lock.svid) + rpc.u64(lock.start) + rpc.u64(lock.length))
        port = client.program_port(proto=rpc.UDP if udp else rpc.TCP)

        def call():
            with rpc.Client(host or client.address, port, rpc.NLM, udp=udp, timeout=3) as nlm:
                return nlm.call(proc, args)
        reply = run_in_netns(self.far.netns, call)
        if proc == GRANTED_MSG:
            return cookie
        assert reply.opaque() == cookie
        return reply.u32()

    def _register(self, proc):
        """PMAP SET or UNSET, over the server's loopback."""
        args = struct.pack(">4I", *rpc.NLM, rpc.TCP, self.listener.getsockname()[1])

        def call():
            with rpc.Client("127.0.0.1", 111, rpc.PORTMAP) as portmap:
                assert portmap.call(proc, args).u32() == 1
        run_in_netns(self.far.netns, call)

    def _accept(self):
        while not self.closing:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.sockets.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            while True:
                mark = struct.unpack(">I", self._exactly(sock, 4))[0]
                self._call(sock, self._exactly(sock, mark & 0x7FFFFFFF))
        except OSError:
            pass
        finally:
            self.sockets.discard(sock)
            sock.close()

    @staticmethod
    def _exactly(sock, size):
        data = b""
        while len(data) < size:
            chunk = sock.recv(size - len(data))
            if not chunk:
                raise ConnectionResetError
            data += chunk
        return data

    def _call(self, sock, record):
        reader = rpc.Reader(record)
        xid, _, _, _, _, proc = reader.take("6I")
        for _ in range(2):
            reader.u32()
            reader.opaque()
        if proc == 0:
            return self._reply(sock, xid, b"")
        cookie = reader.opaque()
        if proc == GRANTED_RES:
            self.calls[proc].put(Answer(cookie, reader.u32()))
            return self._reply(sock, xid, b"")
        call = self._lock(proc, reader)
        answers = self.answers[proc]
        status = answers.pop(0) if len(answers) > 1 else answers[0]
        self.calls[proc].put(call)
        if callable(status):
            status = status(call)
        if status is not None:
            self._reply(sock, xid, rpc.opaque(cookie) + rpc.u32(status))

    @staticmethod
    def _lock(proc, reader):
        block = reader.u32() if proc in (LOCK, CANCEL) else 0
        exclusive = reader.u32() if proc != UNLOCK else 0
        caller, fh, oh, svid = reader.string(), reader.opaque(), reader.opaque(), reader.u32()
        start, length = reader.u64(), reader.u64()
        reclaim, state = reader.take("II") if proc == LOCK else (0, 0)
        return Lock(proc, caller, fh, oh, svid, start, length, exclusive, block, reclaim, state)

    @staticmethod
    def _reply(sock, xid, results):
        body = struct.pack(">6I", xid, 1, 0, 0, 0, 0) + results
        sock.sendall(rpc.u32(0x80000000 | len(body)) + body)
