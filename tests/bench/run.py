#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How fast fusenfs is, next to the limits it can be compared with. One command, as root:

    tests/bench/run.py                 about ten minutes; --quick: one, for a first look

It builds what it needs in build/ (--build), starts a private NFS-Ganesha that exports an ext4 in
memory (--dir DIR: a directory on a disk), and measures side by side, on the same files,

    bare         barerpc.c: the same NFS calls on one TCP socket, without FUSE
    empty        emptyfuse.c: the same system calls on a FUSE file system that does nothing
    nconnect=1   fusenfs with one connection
    nconnect=8   and with eight

The system calls are made by load.c. The four take turns, workload by workload, for --rounds rounds
in rotating order, because a machine's mood changes from minute to minute: numbers are medians over
the rounds, ratios are medians of each round's own ratio. Then it says which goals were met.

CPU time is that of all threads of the daemon (for bare: of barerpc) per operation of the program,
or per 10^9 bytes; server CPU likewise. RSS is the daemon's peak during the workload. `sw/op` are
its context switches. With --strace the daemon's system calls are counted as well, in runs of their
own. MB are 10^6 bytes, MiB 2^20. getattr is measured on mounts with actimeo=0, so that each call
reaches the server; sequential reads are of a file that was changed on the server just before and is
in no client's cache, with the mount's read-ahead raised to 16 MiB unless fusenfs did so itself.

Idle CPUs are kept from sleeping meanwhile (they poll, by /dev/cpu_dma_latency). Waking a CPU, above
all a virtual one, takes longer than all that is to be measured, its cost is charged to whoever
wakes it, and whether it is needed is chance: on a virtual machine an empty FUSE operation took 4.7
us of CPU without and 17 to 23 with it. --asleep leaves the machine as it is, as users have it.

--limits leaves fusenfs out. --json FILE keeps everything, round by round. The exit status says
whether it could be measured, not whether the goals were met: this is not a test. Nothing is left
running or mounted.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.dont_write_bytecode = True

import probe  # noqa: E402
import report  # noqa: E402
from lab.ganesha import Export, Ext4Image, Ganesha, ServerFailed  # noqa: E402
from lab.mount import mount_device  # noqa: E402
from lab.procs import CommandFailed, Stuck, run_bounded, wait_for  # noqa: E402

PROGRAMS = ("fusenfs", "barerpc", "emptyfuse", "load")
NCONNECTS = (1, 8)
READ_AHEAD_KIB = 16384
RUN_TIMEOUT, EXIT_TIMEOUT = 300, 15
STRACE_OPS = 3000
RAMDISK = Path("/dev/shm")

# load: arguments of load.c, bare: of barerpc.c. data, out and . are paths within the export.
# fresh_attrs: on a mount with actimeo=0. small: one call or a few, its system calls are counted.
Workload = namedtuple("Workload", "name title load bare fresh_attrs small one_pass")


def timed(name, title, load, bare, fresh_attrs=False):
    return Workload(name, title, load.split(), bare.split(), fresh_attrs, True, False)


def one_pass(name, title, load, bare):
    return Workload(name, title, load.split(), bare.split(), False, False, True)


WORKLOADS = [
    timed("getattr-1", "GETATTR, 1 thread (bare: 1 call in flight)",
          "--op getattr --path data", "--op getattr --path data", fresh_attrs=True),
    timed("getattr-8", "GETATTR, 8 threads (bare: 8 calls in flight)",
          "--op getattr --path data --threads 8", "--op getattr --path data --depth 8",
          fresh_attrs=True),
    timed("randread-1", "4 KiB random read (O_DIRECT), 1 thread (bare: 1 READ in flight)",
          "--op randread --path data", "--op read --path data"),
    timed("randread-8", "4 KiB random read (O_DIRECT), 8 threads (bare: 8 READs in flight)",
          "--op randread --path data --threads 8", "--op read --path data --depth 8"),
    one_pass("seqread", "sequential read of a cold file, 1 thread (bare: 8 READs of 1 MiB)",
             "--op seqread --path data", "--op read --path data --size 1M --depth 8"),
    one_pass("seqwrite", "sequential write and fsync, 1 thread (bare: 8 WRITEs of 1 MiB, COMMIT)",
             "--op seqwrite --path out", "--op write --path out --size 1M --depth 8"),
    timed("create-1", "create, close and unlink an empty file, 1 thread (bare: CREATE, REMOVE)",
          "--op create --path .", "--op create --path ."),
    timed("create-8", "the same, 8 threads",
          "--op create --path . --threads 8", "--op create --path . --depth 8"),
]


class BenchFailed(Exception):
    """Nothing can be measured; the message says why."""


# ---- what is measured ---------------------------------------------------------------------------


class FuseMount:
    """A FUSE daemon in the foreground and its mount."""

    def __init__(self, argv, directory):
        self.argv, self.directory = [str(word) for word in argv], Path(directory)
        self.log_path, self.process = Path(f"{directory}.log"), None

    def __enter__(self):
        self.directory.mkdir()
        with open(self.log_path, "wb") as log:  # SIGTERM: both daemons unmount, should we be killed
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *self.argv],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(self._mounted, EXIT_TIMEOUT, f"the mount of {self.argv[0]}")
            if self.process.poll() is not None:
                raise BenchFailed(f"{self.argv[0]} does not run")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exc):
        if mount_device(self.directory):
            subprocess.run(["umount", "-lic", self.directory], check=False)
        try:
            self.process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._complain("did not end when unmounted and was killed")
            self.process.kill()
            self.process.wait(EXIT_TIMEOUT)
        if self.process.returncode > 0 or exc[0]:
            self._complain(f"ended with {self.process.returncode}")

    def _mounted(self):
        return self.process.poll() is not None or mount_device(self.directory)

    def _complain(self, what):
        """The log goes with the scratch directory: its end is shown here or nowhere."""
        lines = self.log_path.read_text(errors="replace").splitlines()[-20:]
        print(f"\n{' '.join(self.argv)} {what}", *lines, sep="\n  ", file=sys.stderr)

    @property
    def pid(self):
        return self.process.pid

    def raise_read_ahead(self):
        """Returns (KiB that the daemon had set, KiB now)."""
        path = Path(f"/sys/class/bdi/0:{mount_device(self.directory)}/read_ahead_kb")
        found = int(path.read_text())
        if found < READ_AHEAD_KIB // 4:
            path.write_text(str(READ_AHEAD_KIB))
        return found, int(path.read_text())


class Bare:
    """Runs barerpc; its own process is the client."""

    pid = None

    def __init__(self, lab):
        self.lab = lab

    def argv(self, workload, amount):
        server = self.lab.server
        return [self.lab.programs["barerpc"], "--host", server.host, "--port", server.nfs_port,
                "--mountport", server.mnt_port, "--export", self.lab.export,
                *workload.bare, *amount]


class Mounted:
    """Runs load on a mount; the client is the mount's daemon. fresh: the mount with actimeo=0."""

    def __init__(self, lab, mount, fresh=None):
        self.lab, self.mount, self.fresh = lab, mount, fresh or mount
        self.current = mount

    @property
    def pid(self):
        return self.current.pid

    def argv(self, workload, amount):
        self.current = self.fresh if workload.fresh_attrs else self.mount
        words = list(workload.load)
        at = words.index("--path") + 1
        words[at] = self.current.directory / words[at]
        return [self.lab.programs["load"], *words, *amount]


class Empty(Mounted):
    """emptyfuse has one file only."""

    def argv(self, workload, amount):
        words = super().argv(workload, amount)
        return [w.with_name("file") if isinstance(w, Path) and w.name in ("data", "out") else w
                for w in words]


class Lab:
    """The server, its files, the programs and the mounts."""

    def __init__(self, args, stack):
        self.args, self.stack = args, stack
        self.programs = build(args)
        self.scratch = Path(tempfile.mkdtemp(prefix="fusenfs-bench."))
        stack.callback(shutil.rmtree, self.scratch, ignore_errors=True)
        self.export = self._make_export()
        self._make_files()
        self.server = stack.enter_context(Ganesha([Export(self.export)]))
        self.read_ahead = {}

    def _make_export(self):
        """A directory of its own on the disk of --dir, or an ext4 in memory."""
        if self.args.dir:
            directory = Path(tempfile.mkdtemp(prefix="fusenfs-bench.", dir=self.args.dir))
            self.stack.callback(shutil.rmtree, directory, ignore_errors=True)
            return directory
        image = Ext4Image(RAMDISK / self.scratch.name, 3 * self.args.mib + 256)
        self.stack.callback(image.close)
        return image.path

    def _make_files(self):
        """Written in full beforehand: neither holes nor allocation are measured."""
        block = os.urandom(1 << 20)
        for name in ("data", "out"):
            with open(self.export / name, "wb") as file:
                for _ in range(self.args.mib):
                    file.write(block)
                os.fsync(file.fileno())

    def fusenfs(self, nconnect, options=""):
        server = self.server
        words = [f"nconnect={nconnect}", f"port={server.nfs_port}", f"mountport={server.mnt_port}",
                 "mountproto=tcp", options, self.args.options]
        name = f"n{nconnect}" + options.replace("=", "")
        return FuseMount([self.programs["fusenfs"], "-f", "-o", ",".join(filter(None, words)),
                          f"{server.host}:{self.export}", self.scratch / name], self.scratch / name)

    def emptyfuse(self):
        directory = self.scratch / "empty"
        return FuseMount([self.programs["emptyfuse"], directory, f"{self.args.mib}M"], directory)

    def targets(self):
        """name -> target, in the order of the table; everything is mounted for the whole run."""
        enter = self.stack.enter_context
        empty = enter(self.emptyfuse())
        self.read_ahead["empty"] = empty.raise_read_ahead()
        targets = {"bare": Bare(self), "empty": Empty(self, empty)}
        for n in () if self.args.limits else NCONNECTS:
            mount, fresh = enter(self.fusenfs(n)), enter(self.fusenfs(n, "actimeo=0"))
            self.read_ahead[f"nconnect={n}"] = mount.raise_read_ahead()
            targets[f"nconnect={n}"] = Mounted(self, mount, fresh)
        return targets

    def make_cold(self):
        """Another ctime on the server: close-to-open then drops whatever a client still caches."""
        root = self.server.mnt(self.export)
        with self.server.nfs() as nfs:
            nfs.setattr(nfs.lookup(root, "data")[0], mode=0o644)


def build(args):
    """Builds the programs with meson; returns name -> path."""
    wanted = [name for name in PROGRAMS if not (args.limits and name == "fusenfs")]
    if args.binaries:
        return {name: args.binaries.resolve() / name for name in wanted}
    directory = args.build.resolve()
    if not (directory / "build.ninja").exists():
        run_bounded(["meson", "setup", directory, TESTS.parent], RUN_TIMEOUT)
    run_bounded(["meson", "compile", "-C", directory, *wanted], RUN_TIMEOUT)
    refuse_sanitizers(directory)
    targets = introspect(directory, "--targets")
    return {t["name"]: Path(t["filename"][0]) for t in targets if t["name"] in wanted}


def introspect(directory, what):
    return json.loads(run_bounded(["meson", "introspect", what, directory]).stdout)


def refuse_sanitizers(directory):
    options = {o["name"]: o["value"] for o in introspect(directory, "--buildoptions")}
    if options["b_sanitize"] != "none" or options["optimization"] == "0":
        raise BenchFailed(f"{directory} is built with b_sanitize={options['b_sanitize']}, "
                          f"optimization={options['optimization']}: choose another with --build")


# ---- measuring ----------------------------------------------------------------------------------


def measure(lab, target, workload):
    """One run: what the generator printed, with what daemon, server and machine used meanwhile."""
    amount = ["--seconds", lab.args.seconds]
    if workload.one_pass:
        amount = ["--bytes", f"{lab.args.mib}M"]
    if workload.name == "seqread":
        lab.make_cold()
    argv = target.argv(workload, amount)
    if target.pid:
        probe.reset_peak(target.pid)
    before = snapshot(lab, target)
    result = run_json(argv)
    return metrics(result, before, snapshot(lab, target), target)


def snapshot(lab, target):
    return {"time": time.monotonic(), "machine": probe.machine(),
            "server": probe.used(lab.server.pid),
            "client": probe.used(target.pid) if target.pid else None}


def run_json(argv):
    """Runs a generator, bounded, and reads its line."""
    output = run_bounded(argv, RUN_TIMEOUT, stderr=None).stdout
    return json.loads(output.splitlines()[-1])


def metrics(result, before, after, target):
    """CPU and switches are divided by all operations, warm-up included, as they were counted."""
    ops, gigabytes = result["all_ops"], result["all_bytes"] / 1e9
    server_ns, _ = probe.difference(before["server"], after["server"])
    busy, idle = (b - a for a, b in zip(before["machine"], after["machine"]))
    row = {key: result[key] for key in ("ops_per_s", "mb_per_s", "p50_us", "p90_us", "p99_us")}
    row["server_us_per_op"] = server_ns / 1e3 / ops
    row["server_cores"] = server_ns / 1e9 / (after["time"] - before["time"])
    row["idle_percent"] = 100 * idle / max(1, busy + idle)
    if target.pid:
        cpu_ns, switches = probe.difference(before["client"], after["client"])
        row["cpu_us_per_op"], row["switches_per_op"] = cpu_ns / 1e3 / ops, switches / ops
        row["load_us_per_op"] = result["cpu_us_per_op"]
        row["peak_mib"] = probe.memory_mib(target.pid, "VmHWM")
    else:
        row["cpu_us_per_op"] = result["cpu_us_per_op"]
    if gigabytes:
        row["cpu_s_per_gb"] = row["cpu_us_per_op"] * ops / 1e6 / gigabytes
    return row


def measure_all(lab, targets, workloads):
    """rounds[i][workload][target] = metrics. The order rotates: nobody always comes first."""
    rounds, names = [], list(targets)
    for number in range(lab.args.rounds):
        results = {}
        for workload in workloads:
            progress(f"round {number + 1} of {lab.args.rounds}: {workload.name}")
            first = number % len(names)
            results[workload.name] = {name: measure(lab, targets[name], workload)
                                      for name in names[first:] + names[:first]}
        rounds.append(results)
    progress("")
    return rounds


def count_syscalls(lab, targets, workloads):
    """{workload: {target: {system call: per operation}}} of daemons, for small operations."""
    counts = {}
    for workload in (w for w in workloads if w.small):
        progress(f"strace: {workload.name}")
        for name, target in targets.items():
            argv = target.argv(workload, ["--ops", STRACE_OPS])
            if target.pid:
                calls, result = probe.count_syscalls(target.pid, lambda argv=argv: run_json(argv))
                per_op = {call: n / result["all_ops"] for call, n in calls.most_common()}
                counts.setdefault(workload.name, {})[name] = per_op
    progress("")
    return counts


def measure_memory(lab):
    """MiB of a mount with 16 connections: fresh, at its peak under load, and at rest thereafter."""
    progress("memory with nconnect=16")
    with lab.fusenfs(16) as mount:
        time.sleep(2)
        fresh = probe.memory_mib(mount.pid)
        target = Mounted(lab, mount)
        for workload in (w for w in WORKLOADS if w.name in ("randread-8", "seqread", "seqwrite")):
            measure(lab, target, workload)
        peak = probe.memory_mib(mount.pid, "VmHWM")
        time.sleep(5)
        after = probe.memory_mib(mount.pid)
    progress("")
    return {"fresh_mib": fresh, "peak_mib": peak, "after_mib": after}


def progress(text):
    """One line that overwrites itself, for people only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


# ---- the program --------------------------------------------------------------------------------


def environment(args):
    """What one must know to compare two runs."""
    cpus = Path("/proc/cpuinfo").read_text()
    model = next((line.partition(": ")[2] for line in cpus.splitlines()
                  if line.startswith("model name")), "unknown CPU")
    before = probe.machine()
    time.sleep(0.5)
    busy, idle = (b - a for a, b in zip(before, probe.machine()))
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "cpu": model, "n_cpus": os.cpu_count(),
            "kernel": platform.release(), "server": server_version(),
            "export": f"ext4 on {args.dir}" if args.dir else "ext4 in memory",
            "file_mib": args.mib, "rounds": args.rounds, "seconds": args.seconds,
            "options": args.options, "awake": False,
            "busy_percent_before": 100 * busy / max(1, busy + idle)}


def keep_awake(stack):
    """Whether idle CPUs poll from now on: the kernel is asked for a wake-up latency of 0 us."""
    try:
        request = stack.enter_context(open("/dev/cpu_dma_latency", "wb", buffering=0))
        request.write(bytes(4))
    except OSError:
        return False
    return True


def server_version():
    words = run_bounded(["ganesha.nfsd", "-v"], check=False).stdout.split()
    return "NFS-Ganesha " + next((w.lstrip("V") for w in words if w[-1].isdigit()), "?")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog="See the top of run.py.")
    parser.add_argument("--quick", action="store_true", help="2 short rounds with a small file")
    parser.add_argument("--rounds", type=int, help="[5]")
    parser.add_argument("--seconds", type=float, help="of each timed run [2]")
    parser.add_argument("--mib", type=int, help="size of the file [1024]")
    parser.add_argument("--only", metavar="NAME,...", help="workloads, or how their names begin")
    parser.add_argument("--limits", action="store_true", help="without fusenfs")
    parser.add_argument("--strace", action="store_true", help="count system calls, too")
    parser.add_argument("--options", default="", metavar="OPTS", help="more mount options")
    parser.add_argument("--asleep", action="store_true", help="do not keep idle CPUs awake")
    parser.add_argument("--dir", type=Path, help="export from this ext4, xfs or btrfs, not memory")
    parser.add_argument("--build", type=Path, default=TESTS.parent / "build", help="[%(default)s]")
    parser.add_argument("--binaries", type=Path, metavar="DIR", help="use these, build nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    args = parser.parse_args()
    for name, usual, quick in (("rounds", 5, 2), ("seconds", 2, 0.5), ("mib", 1024, 256)):
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else usual)
    return args


def chosen(only):
    """The workloads whose names begin with one of the words."""
    words = tuple((only or "").split(","))
    workloads = [w for w in WORKLOADS if w.name.startswith(words)]
    if not workloads:
        raise BenchFailed("--only knows " + ", ".join(w.name for w in WORKLOADS))
    return workloads


def run(args, stack):
    """Everything; returns what --json writes."""
    workloads = chosen(args.only)
    results = {"environment": environment(args)}
    lab = Lab(args, stack)
    if not args.asleep:
        results["environment"]["awake"] = keep_awake(stack)
    if not args.limits and not args.only:
        results["memory"] = measure_memory(lab)
    targets = lab.targets()
    results["read_ahead_kib"] = lab.read_ahead
    results["rounds"] = measure_all(lab, targets, workloads)
    if args.strace:
        results["syscalls"] = count_syscalls(lab, targets, workloads)
    return results


def as_program(main):
    """Runs main(): what could not be measured is said in a line, and ^C is no traceback."""
    try:
        main()
    except (BenchFailed, ServerFailed, CommandFailed, Stuck) as failure:
        sys.exit(f"{Path(sys.argv[0]).name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def main():
    args = parse_arguments()
    if os.geteuid() != 0:
        raise BenchFailed("run.py must be root, to mount and to start a server")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        results = run(args, stack)
    titles = {w.name: w.title for w in WORKLOADS}
    results["medians"] = report.medians(results["rounds"])
    results["goals"] = report.goals(results)
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    print(report.text(results, titles), end="")


if __name__ == "__main__":
    as_program(main)
