#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Locks: pairs of lock and unlock per second on one mount, and how long a lock takes from host to host.

    tests/bench/locks.py [--seconds N] [--rounds N]             as root; a minute

A private NFS-Ganesha with rpc.statd, and two clients with networks of their own (lab/client.py). The rows are
1, 8 and 32 threads, each with a byte of its own, and beside them what the server allows: bare, barerpc.c, the same calls
by as many owners on one socket, without FUSE. They take turns. NFS-Ganesha asks statd to watch a client when it takes its first lock,
and no more when it gives back the last, each written to the disk: so another lock is held meanwhile (`held`), or
not. cpu: of the daemon and of the server (share: of bare, round by round), in microseconds a pair."""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.dont_write_bytecode = True

from lab import rpc  # noqa: E402
from lab.child import Child  # noqa: E402
from lab.client import ClientHost  # noqa: E402
from lab.far import WAYS, FarServer  # noqa: E402
from lab.ganesha import EVERYWHERE, Export, Ext4Image, run_in_netns  # noqa: E402
from lab.mount import Mount  # noqa: E402
from lab.procs import isolated_program, private_network  # noqa: E402

TOP = TESTS.parent
HAND_OVERS = 40


def main():
    args = parse_arguments()
    subprocess.run(["ninja", "-C", TOP / "build", "fusenfs", "tests/load", "tests/barerpc"], check=True, stdout=subprocess.DEVNULL)
    with contextlib.ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="fusenfs-locks.", dir="/var/tmp"))
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        image = Ext4Image(Path("/dev/shm") / scratch.name, 64)
        stack.callback(image.close)
        far = stack.enter_context(FarServer([Export(image.path)], WAYS["silent"], 95, portmap=True, locks=True,
                                            host=EVERYWHERE))
        clients = [stack.enter_context(ClientHost(far, n, scratch / "mnt")) for n in (1, 2)]
        mounts = [start(client, scratch / "mnt" / str(i)) for i, client in enumerate(clients)]
        stack.callback(lambda: [print(line, file=sys.stderr) for m in mounts for line in m.finish()])
        print("| threads | held | bare | pairs/s | share | p50, p99 of a pair | cpu: daemon, server |\n"
              "|---|---|---|---|---|---|---|")
        for threads in (1, 8, 32):
            for held in (True, False):
                print(storms(mounts[0], far, threads, held, args), flush=True)
        times = hand_over(mounts)
        print(f"\nhand-over from host to host, {len(times)} times: p50 {statistics.median(times):.1f} ms, "
              f"worst {max(times):.1f} ms")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("locks.py: must run as root: it mounts, and starts an NFS server")
    isolated_program()
    private_network()
    return args


def start(client, path):
    path.mkdir(parents=True)
    far = client.far
    words = f"nconnect=4,port={far.nfs_port},mountport={far.mnt_port}"
    argv = ["nsenter", f"--net=/run/netns/{client.netns}", "setpriv", "--pdeathsig", "TERM", *client.through,
            str(TOP / "build/fusenfs"), "-f", "-o", words, f"{client.server_host}:{far.exports[0].path}", str(path)]
    mounted = Mount(argv, path, f"{path}.log", far, far.exports[0].path, limit=600, netns=client.netns).start()
    mounted.server_host = client.server_host
    (path / "bare").write_bytes(b"")
    return mounted


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def median(numbers):
    return statistics.median(list(numbers))


def storms(mounted, far, threads, held, args):
    """A row: medians of the rounds."""
    with open(mounted.path / "held", "wb") as file:
        if held:
            fcntl.lockf(file, fcntl.LOCK_EX)
        rounds = [(bare_storm(mounted, far, threads, args.seconds), storm(mounted, far, threads, args.seconds))
                  for _ in range(args.rounds)]
    bare, ours = ([each[i]["ops_per_s"] for each in rounds] for i in (0, 1))
    p50, p99 = (median(each[1][key] for each in rounds) for key in ("p50_us", "p99_us"))
    cpu_daemon, cpu_server = (median(each[1]["cpu_us"][i] for each in rounds) for i in (0, 1))
    return (f"| {threads} | {'yes' if held else 'no'} | {median(bare):.0f} | {median(ours):.0f} "
            f"| {median(a / b for a, b in zip(ours, bare)):.2f} | {p50:.0f}, {p99:.0f} us "
            f"| {cpu_daemon:.0f}, {cpu_server:.0f} us |")


def measure(argv):
    return json.loads(subprocess.run(list(map(str, argv)), check=True, stdout=subprocess.PIPE).stdout)


def storm(mounted, far, threads, seconds):
    before = cpu(mounted.pid), cpu(far.pid)
    found = measure([TOP / "build/tests/load", "--op", "lock", "--path", mounted.path / "f", "--threads", threads,
                     "--seconds", seconds])
    after = cpu(mounted.pid), cpu(far.pid)
    found["cpu_us"] = [(b - a) / found["all_ops"] * 1e6 for a, b in zip(before, after)]
    return found


def bare_storm(mounted, far, threads, seconds):
    """From the same host, over the same link."""
    lock_port = run_in_netns(far.netns, lambda: rpc.getport("127.0.0.1", rpc.NLM))
    return measure(["nsenter", f"--net=/run/netns/{mounted.netns}", TOP / "build/tests/barerpc", "--op", "lock",
                    "--host", mounted.server_host, "--port", far.nfs_port, "--mountport", far.mnt_port, "--lockport",
                    lock_port, "--export", far.exports[0].path, "--path", "bare", "--depth", threads,
                    "--seconds", seconds])


def waiter(path, child):
    with open(path, "r+b") as file:
        while child.hear(60):
            fcntl.lockf(file, fcntl.LOCK_EX)
            child.tell(time.monotonic())
            child.hear(60)
            began = time.monotonic()
            fcntl.lockf(file, fcntl.LOCK_UN)
            child.tell(began)


def hand_over(mounts):
    """Milliseconds from when one begins to unlock to when the other has it."""
    times = []
    (mounts[0].path / "hand").write_bytes(b"")
    with Child(waiter, mounts[0].path / "hand") as a, Child(waiter, mounts[1].path / "hand") as b:
        holder, other = a, b
        holder.tell(True)
        holder.hear()
        for _ in range(HAND_OVERS):
            other.tell(True)
            time.sleep(0.1)
            holder.tell()
            began = holder.hear()
            times.append((other.hear(40) - began) * 1000)
            holder, other = other, holder
        holder.tell()
        holder.hear()
        for child in (a, b):
            child.tell(False)
            child.wait()
    return times


if __name__ == "__main__":
    main()
