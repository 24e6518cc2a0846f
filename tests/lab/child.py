"""A process of the test's own that uses the mount, so that the test itself never waits for it, and
holds none of its files open: whoever starts a program closes a copy of every descriptor in it, and
close(2) may wait for the server."""

import ctypes
import faulthandler
import os
import pickle
import select
import signal
import time

from .procs import Stuck, kernel_stack, wait_for

PR_SET_PDEATHSIG = 1


class Killed(Exception):
    """The child was ended by a signal; .signal says which."""

    def __init__(self, number):
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Child:
    """func(*args, child=this) in a process of its own, with default signal handling.

    Both sides may tell() the other something and hear() it. The test wait()s for the result, which
    is what func returns, or raises what func raises, or Killed."""

    def __init__(self, func, *args, uid=0):
        ours, theirs = os.pipe(), os.pipe()
        self.pid, self.status = os.fork(), None
        if self.pid == 0:
            self.readable, self.writable = theirs[0], ours[1]
            self._run(func, args, uid)
        self.readable, self.writable = ours[0], theirs[1]
        os.close(ours[1])
        os.close(theirs[0])

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def tell(self, value=None):
        data = pickle.dumps(value)
        os.write(self.writable, len(data).to_bytes(4, "big") + data)

    def hear(self, timeout=10):
        """The next thing the other side tells; EOFError when it is gone."""
        if not select.select([self.readable], [], [], timeout)[0]:
            raise Stuck(f"child {self.pid} is silent\n{kernel_stack(self.pid)}")
        return pickle.loads(self._exactly(int.from_bytes(self._exactly(4), "big")))

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    @property
    def alive(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is None

    def wait(self, timeout=10):
        """The result; Stuck, with the kernel's stack, if there is none in time."""
        kind, value = None, None
        deadline = time.monotonic() + timeout
        while kind not in ("returned", "raised"):
            try:
                heard = self.hear(max(0, deadline - time.monotonic()))
            except EOFError:
                break
            kind, value = heard if isinstance(heard, tuple) and len(heard) == 2 else (None, None)
        self.wait_end(max(1, deadline - time.monotonic()))
        if kind == "raised":
            raise value
        if kind is None:
            raise Killed(os.WTERMSIG(self.status))
        return value

    def wait_end(self, timeout):
        """The seconds until the process was gone."""
        start = time.monotonic()
        try:
            wait_for(lambda: not self.alive, timeout)
        except Stuck:
            raise Stuck(f"child {self.pid} does not end in {timeout} s\n"
                        f"{kernel_stack(self.pid)}") from None
        return time.monotonic() - start

    def close(self):
        """Kills it, and does not wait long: it may be stuck on the mount."""
        if self.alive:
            self.kill()
            try:
                self.wait_end(5)
            except Stuck:
                pass
        for fd in (self.readable, self.writable):
            os.close(fd)

    def _exactly(self, size):
        data = b""
        while len(data) < size:
            chunk = os.read(self.readable, size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return data

    def _run(self, func, args, uid):
        """In the child; never returns."""
        try:
            for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            faulthandler.disable()  # pytest's; what ends a child is for the test to judge
            die_with_parent()
            if uid:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            outcome = ("returned", func(*args, child=self))
        except BaseException as error:  # all of it belongs to the parent
            outcome = ("raised", error)
        try:
            self.tell(outcome)
        except Exception:
            self.tell(("raised", RuntimeError(repr(outcome))))
        os._exit(0)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
