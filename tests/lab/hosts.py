# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for one program: an /etc/hosts of its own.

    with Hosts(directory) as hosts:
        hosts.write("10.0.0.1 nas", "10.0.0.2 nas")
        m = mount(host="nas", through=hosts.through)

The program runs in a mount namespace where `directory`/hosts lies over /etc/hosts. What it mounts below
`directory` is seen outside."""

from pathlib import Path

from .ganesha import run

# `directory` stays shared with the namespace outside, the root does not.
ENTER = 'mount --make-private / && mount --bind "$0/hosts" /etc/hosts && exec "$@"'


class Hosts:
    def __init__(self, directory):
        self.directory = Path(directory)
        self.file = self.directory / "hosts"

    def __enter__(self):
        self.directory.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", self.directory, self.directory)
        run("mount", "--make-private", self.directory)
        run("mount", "--make-shared", self.directory)
        self.write()
        return self

    def __exit__(self, *exc):
        run("umount", "-l", self.directory)

    def write(self, *lines):
        """These and nothing else; from now on, also for a program that runs already."""
        with open(self.file, "w", encoding="ascii") as file:
            file.write("".join(f"{line}\n" for line in lines))

    @property
    def through(self):
        """Words before the program's."""
        return ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c",
                ENTER, str(self.directory)]
