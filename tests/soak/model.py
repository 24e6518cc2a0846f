# SPDX-License-Identifier: GPL-2.0-or-later
"""What one process of the soak knows about its files: what must be there, and what may be.

The server's disk is there to look at. So an operation on names that ended with an error is decided a
moment later: the disk shows either the state before or the one after it, whatever else is wrong.
Data is different: what a failed write, fsync or close leaves behind the client may still hold, and
write later. Such a file is `torn`: until it is gone each of its bytes may be the old one or any that
was written since. What fsync or close reported as done is there, byte by byte, for good."""

import os
import stat
import time

SETTLE = 1.0  # seconds; a call that the server still had when its connection broke is done by then
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "dir", stat.S_IFLNK: "symlink"}


class Mismatch(AssertionError):
    """What is there must not be. The message ends with the history of the names concerned."""


class Node:
    """A file, directory or symbolic link; hard links share one."""

    def __init__(self, kind, mode=None, target=None):
        self.kind, self.mode, self.target = kind, mode, target
        self.ino, self.mtime = None, None        # None: not known
        self.content = self.stable = b""         # as read; as of the last successful fsync or close
        self.since, self.torn = [], False        # since then: (offset, data), or (size, None): truncated

    def write(self, offset, data):
        self.since.append((offset, data))
        self.mtime = None
        size = max(len(self.content), offset + len(data)) if data else len(self.content)
        content = bytearray(self.content.ljust(size, b"\0"))
        content[offset:offset + len(data)] = data
        self.content = bytes(content)

    def truncate(self, size):
        self.since.append((size, None))
        self.mtime = None
        self.content = self.content[:size].ljust(size, b"\0")

    def settle(self):
        """What was written is stable."""
        self.stable, self.since = self.content, []

    def possible(self, found):
        """Why this content cannot be, or None."""
        if not self.torn:
            return None if found == self.content else difference(found, self.content)
        sizes = {len(self.stable), len(self.content)} | {
            at if data is None else at + len(data) for at, data in self.since}
        if len(found) not in sizes:
            return f"{len(found)} bytes, possible are {sorted(sizes)}"
        # Bytes that no layer explains; a hole is zeros.
        layers = [(0, self.stable), (len(self.stable), bytes(max(sizes)))]
        layers += [(at, data) if data is not None else (at, bytes(max(sizes))) for at, data in self.since]
        unexplained = bytearray(b"\1" * len(found))
        for at, data in layers:
            for i in range(at, min(at + len(data), len(found))):
                if data[i - at] == found[i]:
                    unexplained[i] = 0
        at = unexplained.find(1)
        return None if at < 0 else f"byte {at} is {found[at]:#x}, which was never written there"


def difference(found, wanted):
    limit = min(len(found), len(wanted))
    at = next((i for i in range(limit) if found[i] != wanted[i]), limit)
    return (f"{len(found)} bytes, expected {len(wanted)}; at {at} {found[at:at + 16]!r}, "
            f"expected {wanted[at:at + 16]!r}")


class Model:
    """names: {path below the mount: Node}, of one process. disk: the exported directory."""

    def __init__(self, disk, names):
        self.disk, self.names, self.log, self.start = disk, names, [], time.monotonic()
        self.unclear = 0

    # History.

    def note(self, *words):
        self.log.append((time.monotonic() - self.start, " ".join(map(str, words))))

    def fail(self, why, *paths):
        """Raises Mismatch with what was done to these names, or to other names of theirs."""
        words = set(paths)
        for _, line in reversed(self.log):  # follow renames and links backwards
            if words & set(line.split()) and line.split()[0] in ("rename", "link"):
                words |= {w for w in line.split()[1:3]}
        lines = [f"{at:9.3f} {line}" for at, line in self.log
                 if words & set(line.split()) or any(p.startswith(tuple(w.split()[1:2])) for p in paths
                                                     for w in [line] if w.startswith("rename "))]
        raise Mismatch("\n".join([f"{' '.join(paths)}: {why}"] + lines[-60:]))

    # Names.

    def children(self, directory):
        return sorted(p for p in self.names if os.path.dirname(p) == directory)

    def of_kind(self, kind, torn=True):
        return sorted(p for p, n in self.names.items() if n.kind == kind and (torn or not n.torn))

    def links_of(self, node):
        return sum(1 for n in self.names.values() if n is node)

    def agrees(self, names, paths):
        """Whether the disk shows these paths as `names` has them."""
        return all(self._agrees(names.get(p), self.look(p)) for p in paths)

    @staticmethod
    def _agrees(node, st):
        if node is None or st is None:
            return node is None and st is None
        return KINDS.get(stat.S_IFMT(st.st_mode)) == node.kind and node.ino in (None, st.st_ino)

    def look(self, path):
        try:
            return os.lstat(self.disk / path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def content_on_disk(self, path):
        return (self.disk / path).read_bytes()

    def done(self, after, paths):
        """An operation on names has succeeded: it must be seen on the disk at once."""
        if not self.agrees(after, paths):
            self.fail("reported as done, but the disk does not show it", *paths)
        self._adopt(after, paths)

    def decide(self, after, paths):
        """An operation on names has failed in a way that leaves its result open."""
        self.unclear += 1
        time.sleep(SETTLE)
        for names in (self.names, after):
            if self.agrees(names, paths):
                self.note("  ... it was", "not done" if names is self.names else "done", *paths)
                for path in paths:  # what a second call would have set is open too
                    node = names.get(path)
                    if node and names is after and node.ino is None and node.kind != "symlink":
                        node.mode = stat.S_IMODE(self.look(path).st_mode)
                return self._adopt(names, paths)
        self.fail("neither the state before nor the one after: "
                  f"{[self.look(p) for p in paths]}", *paths)

    def _adopt(self, names, paths):
        self.names = names
        for path in paths:
            node = names.get(path)
            if node:
                node.ino = self.look(path).st_ino

    # The comparison at the end, or of what is on the way.

    def check(self, path, top, what):
        """One name, below `top`: the disk or the mount."""
        node = self.names[path]
        try:
            st = os.lstat(top / path)
        except OSError as error:
            self.fail(f"{what}: {error.strerror}", path)
        if not self._agrees(node, st):
            self.fail(f"{what}: {stat.filemode(st.st_mode)} inode {st.st_ino}, expected a {node.kind} "
                      f"with inode {node.ino}", path)
        if node.kind == "symlink":
            if os.readlink(top / path) != node.target:
                self.fail(f"{what}: points to {os.readlink(top / path)!r}", path)
            return
        if stat.S_IMODE(st.st_mode) != node.mode:
            self.fail(f"{what}: mode {st.st_mode:o}, expected {node.mode:o}", path)
        if node.kind == "file":
            if st.st_nlink != self.links_of(node):
                self.fail(f"{what}: {st.st_nlink} links, expected {self.links_of(node)}", path)
            if node.mtime is not None and st.st_mtime_ns != node.mtime:
                self.fail(f"{what}: mtime {st.st_mtime_ns}, expected {node.mtime}", path)
            why = node.possible((top / path).read_bytes())
            if why:
                self.fail(f"{what}: {why}", path)
