# SPDX-License-Identifier: GPL-2.0-or-later
"""The operations of the soak: one process, which compares everything that it is told with its model."""

import collections
import contextlib
import errno
import os
import random
import select
import stat

from .model import Mismatch, Model, Node, difference

UNCLEAR = errno.ETIMEDOUT,  # softerr has no other
KIB = 1024
BIGGEST = 300 * KIB
MANY = 40  # names of a process; then it removes rather than creates


class Worker:
    """Does random operations below its own directory (w0) and, with names of its own, in a directory
    that all share."""

    def __init__(self, who, mounted, disk, seed):
        self.who, self.top, self.random = f"w{who}", mounted, random.Random(f"{seed} {who}")
        home = Node("dir", 0o755)
        home.ino = os.lstat(disk / self.who).st_ino
        self.model = Model(disk, {self.who: home})
        self.counts, self.errors = collections.Counter(), collections.Counter()
        self.number, self.doing = 0, None
        self.operations = [(getattr(self, f"do_{name}"), weight) for name, weight in {
            "create": 10, "write": 25, "append": 8, "truncate": 6, "rename": 8, "link": 4, "unlink": 6,
            "mkdir": 4, "rmdir": 3, "symlink": 3, "chmod": 4, "utimens": 3, "read": 15, "list": 8,
            "stat": 8, "unlinked": 3}.items()]

    def run(self, stopped):
        """Until stopped() says so; then all is compared. Returns (operations, errors, torn files)."""
        os.umask(0)
        actions, weights = zip(*self.operations)
        while not stopped():
            action = self.random.choices(actions, weights)[0]
            self.doing = action.__name__[3:]
            self.counts[self.doing] += 1
            action()
        return self.counts, self.errors, sum(n.torn for n in self.model.names.values()), self.model.unclear

    def compare(self):
        """When nothing breaks any more: the model with the disk, and the mount with both."""
        for path in self.model.of_kind("file"):  # what the client still holds
            with opened(self.top / path, os.O_WRONLY) as fd:
                os.fsync(fd)
        for path in sorted(self.model.names):
            self.model.check(path, self.model.disk, "on the disk")
            self.model.check(path, self.top, "through the mount")
            if self.model.names[path].torn:
                mounted, disk = (self.top / path).read_bytes(), self.model.content_on_disk(path)
                if mounted != disk:
                    self.model.fail(f"mount and disk: {difference(mounted, disk)}", path)
        for directory in [self.who + "/..", *self.model.of_kind("dir")]:
            self._compare_list(directory, self.model.disk)
            self._compare_list(directory, self.top)
        return len(self.model.names)

    # Names.

    def _new_name(self, directory=None):
        self.number += 1
        if directory is None:
            directory = self.random.choice(["shared", *self.model.of_kind("dir")])
        return f"{directory}/{self.who}-{self.number}"

    def _names(self, what, operate, after, paths):
        """An operation on names. after: the names when it is done."""
        self.model.note(what, *paths)
        try:
            operate()
        except OSError as error:
            self._judge(error, *paths)
            self.model.decide(after, paths)
            return False
        self.model.done(after, paths)
        return True

    def _judge(self, error, *paths):
        """Whether an operation may fail so."""
        self.errors[f"{self.doing} {errno.errorcode[error.errno]}"] += 1
        self.model.note("  ... failed:", errno.errorcode[error.errno], *paths)
        if error.errno not in UNCLEAR:
            self.model.fail(f"an error that cannot be: {error!r}", *paths)

    def _add(self, what, path, node, operate):
        return self._names(what, operate, {**self.model.names, path: node}, [path])

    def _remove(self, what, path, operate):
        after = dict(self.model.names)
        del after[path]
        return self._names(what, operate, after, [path])

    def _pick(self, kind, torn=True):
        paths = self.model.of_kind(kind, torn)
        return self.random.choice(paths) if paths else None

    def do_create(self):
        if len(self.model.names) >= MANY:
            return self.do_unlink()
        path, mode = self._new_name(), self.random.choice([0o600, 0o644, 0o755])
        flags = os.O_WRONLY | os.O_CREAT | self.random.choice([0, os.O_EXCL])
        self._add("create", path, Node("file", mode),
                  lambda: os.close(os.open(self.top / path, flags, mode)))

    def do_mkdir(self):
        if len(self.model.of_kind("dir")) > 6:
            return self.do_rmdir()
        path = self._new_name()
        self._add("mkdir", path, Node("dir", 0o750), lambda: os.mkdir(self.top / path, 0o750))

    def do_symlink(self):
        path = self._new_name()
        target = f"to-{self.number}"
        self._add("symlink", path, Node("symlink", target=target),
                  lambda: os.symlink(target, self.top / path))

    def do_unlink(self):
        path = self._pick(self.random.choice(["file", "file", "symlink"]))
        if path:
            self._remove("unlink", path, lambda: os.unlink(self.top / path))

    def do_rmdir(self):
        empty = [p for p in self.model.of_kind("dir") if p != self.who and not self.model.children(p)]
        if empty:
            path = self.random.choice(empty)
            self._remove("rmdir", path, lambda: os.rmdir(self.top / path))

    def do_link(self):
        old = self._pick("file")
        if old and len(self.model.names) < MANY:
            new = self._new_name()
            self._names("link", lambda: os.link(self.top / old, self.top / new),
                        {**self.model.names, new: self.model.names[old]}, [old, new])

    def do_rename(self):
        old = self._pick(self.random.choice(["file", "file", "dir", "symlink"]))
        if not old or old == self.who:
            return
        node, names = self.model.names[old], self.model.names
        new = self._new_name()
        if node.kind == "file" and self.random.random() < .4:  # over another
            new = self._pick("file")
            if names[new] is node:  # one file: nothing is to happen, and is not
                return
        if new.startswith(old + "/"):
            return
        after = {new + p[len(old):] if p == old or p.startswith(old + "/") else p: n
                 for p, n in names.items() if p != new}
        self._names("rename", lambda: os.rename(self.top / old, self.top / new), after, [old, new])

    # Attributes.

    def do_chmod(self):
        path = self._pick("file")
        if path:
            node, mode = self.model.names[path], self.random.choice([0o600, 0o640, 0o644, 0o755])
            self._attribute("chmod", path, "mode", mode, lambda: os.chmod(self.top / path, mode),
                            lambda st: stat.S_IMODE(st.st_mode), node)

    def do_utimens(self):
        path = self._pick("file")
        if path:
            node, when = self.model.names[path], self.random.randrange(10**18, 15 * 10**17)
            if not node.torn:  # what is written later sets it again
                self._attribute("utimens", path, "mtime", when,
                                lambda: os.utime(self.top / path, ns=(when, when)),
                                lambda st: st.st_mtime_ns, node)

    def _attribute(self, what, path, name, value, operate, get, node):
        self.model.note(what, path, value)
        old = getattr(node, name)
        try:
            operate()
            allowed = [value]
        except OSError as error:
            self._judge(error, path)
            self.model.decide(self.model.names, [path])
            allowed = [old, value]
        found = get(self.model.look(path))
        if found not in allowed and None not in allowed:
            self.model.fail(f"{name} {found}, expected {allowed}", path)
        setattr(node, name, found)

    def do_stat(self):
        path = self.random.choice(sorted(self.model.names))
        node = self.model.names[path]
        try:
            st = os.lstat(self.top / path)
        except OSError as error:
            return self._judge(error, path)
        if node.kind == "file" and not node.torn:
            seen = st.st_ino, stat.S_IMODE(st.st_mode), st.st_size, st.st_nlink
            wanted = node.ino, node.mode, len(node.content), self.model.links_of(node)
            if seen != wanted:
                self.model.fail(f"stat shows inode, mode, size, links {seen}, expected {wanted}", path)

    def do_list(self):
        directory = self.random.choice([self.who + "/..", "shared", *self.model.of_kind("dir")])
        with contextlib.suppress(TimeoutError):
            try:
                self._compare_list(directory, self.top)
            except OSError as error:
                self._judge(error, directory)

    def _compare_list(self, directory, top):
        """Of names in a shared directory only the own ones; there others' .nfs files may be, too."""
        path = os.path.normpath(directory)
        found = [name for name in os.listdir(top / path)
                 if path.startswith(self.who) or name.split("-")[0] == self.who]
        found = sorted(os.path.normpath(os.path.join(path, name)) for name in found
                       if not name.startswith(".nfs"))
        wanted = [self.who] if path == "." else self.model.children(path)
        if found != wanted:
            self.model.fail(f"listing of {path} in {top}", *sorted(set(found) ^ set(wanted)))

    # Data.

    def do_write(self):
        """Some writes at any offset, some with fsync, then close."""
        def body(fd, node, path):
            for _ in range(self.random.randrange(1, 6)):
                data = self._data()
                self._pwrite(fd, node, path, self.random.randrange(BIGGEST), data)
                if self.random.random() < .3:
                    self.model.note("fsync", path)
                    os.fsync(fd)
                    self._must_be_stable(node, path)
                if self.random.random() < .3:
                    self._read_some(fd, node, path)
        self._with_file(os.O_RDWR, body)

    def do_append(self):
        def body(fd, node, path):
            for _ in range(self.random.randrange(1, 4)):
                if len(node.content) < 2 * BIGGEST:
                    self._pwrite(fd, node, path, len(node.content), self._data(), append=True)
        self._with_file(os.O_WRONLY | os.O_APPEND, body)

    def do_truncate(self):
        def body(fd, node, path):
            size = self.random.choice([0, self.random.randrange(BIGGEST)])
            self.model.note("truncate", path, size)
            before = len(node.since)
            try:
                os.ftruncate(fd, size)
            except OSError:
                node.truncate(size)
                node.since[before:] = [(size, None)]
                raise
            node.truncate(size)
        self._with_file(os.O_WRONLY, body)

    def do_read(self):
        def body(fd, node, path):
            if self.random.random() < .5:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            self._read_some(fd, node, path, everything=True)
        self._with_file(os.O_RDONLY, body)

    def do_unlinked(self):
        """A file that is removed while it is open, and still there for who has it open."""
        path, node = self._new_name(self.who), Node("file", 0o600)
        if not self._add("create", path, node, lambda: os.close(os.open(
                self.top / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))):
            return

        def body(fd, node, path):
            self._pwrite(fd, node, path, 0, self._data())
            if self._remove("unlink", path, lambda: os.unlink(self.top / path)):
                self._read_some(fd, node, path, everything=True)
        self._with_file(os.O_RDWR, body, path)

    def _with_file(self, flags, body, path=None):
        """open, body, close: if all that succeeds, what was written is on the disk; else it is open
        what became of it."""
        path = path or self._pick("file", torn=False)
        if not path:
            return
        node = self.model.names[path]
        self.model.note("open", path, hex(flags))
        try:
            fd = os.open(self.top / path, flags)
            try:
                body(fd, node, path)
            finally:
                self.model.note("close", path)
                os.close(fd)
        except OSError as error:
            self._judge(error, path)
            node.torn = bool(node.since)
            return
        self._must_be_stable(node, path)

    def _must_be_stable(self, node, path):
        node.settle()
        if path in self.model.names:
            why = node.possible(self.model.content_on_disk(path))
            if why:
                self.model.fail(f"fsync or close has succeeded, and on the disk there are {why}", path)

    def _data(self):
        """Sizes of all kinds; bytes that say where they come from."""
        size = self.random.choice([1, 100, 4096, 5000, 65536, 200_000])
        self.number += 1
        return (f"{self.who}:{self.number};".encode() * (size // 4 + 1))[:size]

    def _pwrite(self, fd, node, path, offset, data, append=False):
        self.model.note("append" if append else "pwrite", path, offset, len(data), data[:12])
        try:
            written = os.write(fd, data) if append else os.pwrite(fd, data, offset)
        except OSError:
            node.write(offset, data)
            raise
        node.write(offset, data[:written])

    def _read_some(self, fd, node, path, everything=False):
        offset = 0 if everything else self.random.randrange(BIGGEST)
        size = len(node.content) + 4096 if everything else self.random.choice([10, 4096, 100_000])
        self.model.note("pread", path, offset, size)
        found = b""
        while size and (part := os.pread(fd, size, offset + len(found))):
            found, size = found + part, size - len(part)
        wanted = node.content[offset:offset + len(found) + size]
        if found != wanted:
            self.model.fail(f"read at {offset}: {difference(found, wanted)}", path)


@contextlib.contextmanager
def opened(path, flags):
    fd = os.open(path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def work(who, mounted, disk, seed, child):
    """The body of a process: works until told to stop, tells what it has done, and compares when told."""
    worker = Worker(who, mounted, disk, seed)
    try:
        child.tell(worker.run(lambda: select.select([child.readable], [], [], 0)[0]))
        child.hear()
        child.hear(120)
        return worker.compare()
    except Mismatch:
        raise
    except BaseException as error:
        raise Mismatch(f"{error!r}\n" + "\n".join(line for _, line in worker.model.log[-30:])) from error
