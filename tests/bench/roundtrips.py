#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How many calls of the server each operation takes, and how many of them one behind the other.

    tests/bench/roundtrips.py [--options O] [OPERATION...]       as root; a minute and a half

Counted where they pass: in a proxy between a fusenfs mount of its own for each operation and a
private NFS-Ganesha. These are facts, not timings: a busy machine does not change them. `kernel` is
what the Linux client (vers=3, nolock) takes, from its behaviour, not measured here; --why says how
it comes to that. `in turn` times the round trip of the path is the least time that it takes."""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.dont_write_bytecode = True

from lab import trips  # noqa: E402
from lab.ganesha import Export, Ext4Image, Ganesha  # noqa: E402
from lab.mount import Mount  # noqa: E402
from lab.proxy import Proxy  # noqa: E402

OLD = 61  # seconds: what was changed within the last minute is not believed as readily


def main():
    args = parse_arguments()
    with contextlib.ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="fusenfs-trips."))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        image = Ext4Image(Path("/dev/shm") / scratch.name, 256)
        stack.callback(image.close)
        server = stack.enter_context(Ganesha([Export(image.path)]))
        disk = Path(server.exports[0].path)
        names = args.operations or list(trips.OPERATIONS)
        for name in names:
            (disk / name).mkdir()
            trips.OPERATIONS[name].prepare(disk / name)
        time.sleep(OLD)
        print("| operation | calls | in turn | kernel | which |\n|---|---|---|---|---|")
        for name in names:
            found = measure(name, server, scratch / name, args)
            print(row(trips.OPERATIONS[name], found, args.why), flush=True)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--options", default="", help="more mount options")
    parser.add_argument("--fusenfs", default=TESTS.parent / "build/fusenfs", type=Path)
    parser.add_argument("--why", action="store_true", help="how the kernel comes to its number")
    parser.add_argument("operations", nargs="*", metavar="OPERATION",
                        help=f"of {' '.join(trips.OPERATIONS)}")
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("roundtrips.py: must run as root: it mounts, and starts an NFS server")
    if "FUSENFS_TRIPS" not in os.environ:  # a mount namespace of its own: no copies in those of others
        os.environ["FUSENFS_TRIPS"] = "1"
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv])
    return args


def measure(name, server, mountpoint, args):
    """On a mount of its own: what others have asked for is not known."""
    export = server.exports[0].path
    mountpoint.mkdir()
    with Proxy(server) as proxy:
        options = ["nconnect=4", f"port={proxy.nfs_port}", f"mountport={proxy.mnt_port}"]
        options += [args.options] * bool(args.options)
        mounted = Mount(["setpriv", "--pdeathsig", "TERM", args.fusenfs, "-f", "-o",
                         ",".join(options), f"{proxy.connect_host}:{export}", str(mountpoint)],
                        mountpoint, f"{mountpoint}.log", proxy, export)
        mounted.start()
        try:
            return trips.measure(name, mountpoint / name, Path(export, name), proxy)
        finally:
            for complaint in mounted.finish():
                print(complaint, file=sys.stderr)


def row(operation, found, why):
    kernel = "?" if operation.kernel is None else operation.kernel
    words = [operation.title, found.calls.total(), found.in_turn, kernel, trips.show(found.calls)]
    return f"| {' | '.join(map(str, words + [operation.why] * why))} |"


if __name__ == "__main__":
    main()
