# SPDX-License-Identifier: GPL-2.0-or-later
"""What paths.py measures where one link has no limit, or only a delay: see groups_links.py."""

import shutil
import subprocess
import time

from field import RUN_TIMEOUT, parse
from groups_links import allowed_mib
from lab.procs import run_bounded
from run import FuseMount

NCONNECT = 8
RSIZE_MIB = 1
TREE_TIMEOUT = 600


def delay(site, program, args):
    """A cold file, read from begin to end; and the bare client, which keeps as many bytes in flight
    as the mount's read-ahead has, over as many connections."""
    with site.mount(program, NCONNECT) as client:
        ahead_mib = client.read_ahead_mib()
        rate = client.load("seqread", "data", "--size", "1M")["mb_per_s"]
    bare = site.bare("--op", "read", "--path", "data", "--size", f"{RSIZE_MIB}M",
                     "--bytes", f"{site.disk.mib}M", "--connections", NCONNECT,
                     "--depth", max(1, int(ahead_mib / RSIZE_MIB / NCONNECT)))["mb_per_s"]
    return {"mb_per_s": rate, "bare_mb_per_s": bare, "ratio": rate / bare, "ahead_mib": ahead_mib}


def data(site, program, args):
    """One stream at a time: rates, CPU time of the daemon, its peak memory."""
    found = {}
    for name, op, path, size in (("read", "seqread", "data", "1M"),
                                 ("write", "seqwrite", "out", "1M"),
                                 ("write8k", "seqwrite", "out", "8k")):
        with site.mount(program, NCONNECT) as client:
            result, cpu_s, peak_mib = client.measured(lambda: client.load(
                op, path, "--size", size, "--bytes", f"{site.disk.mib}M"))
        found[f"{name}.mb_per_s"] = result["mb_per_s"]
        found[f"{name}.s_per_gb"] = cpu_s / result["all_bytes"] * 1e9
        found[f"{name}.peak_mib"] = peak_mib
        found[f"{name}.over_mib"] = peak_mib - allowed_mib(program)
    found["write_read"] = found["write.mb_per_s"] / found["read.mb_per_s"]
    found["small_large"] = found["write8k.mb_per_s"] / found["write.mb_per_s"]
    return found | bare_limits(site, found) | empty_limits(site, found)


def bare_limits(site, found):
    """What the server lets a client have that is none of FUSE's."""
    rates = {op: site.bare("--op", op, "--path", path, "--size", "1M", "--bytes", f"{site.disk.mib}M",
                           "--connections", NCONNECT, "--depth", 2)["mb_per_s"]
             for op, path in (("read", "data"), ("write", "out"))}
    return {"bare.write_read": rates["write"] / rates["read"]}


def empty_limits(site, found):
    """What a file system that does nothing reaches: one request for each write(2)."""
    directory = site.disk.mountpoint()
    with FuseMount([site.programs["emptyfuse"], directory, f"{site.disk.mib}M"], directory):
        rates = {size: parse(run_bounded([site.programs["load"], "--op", "seqwrite", "--path", directory / "file",
                                          "--size", size, "--bytes", f"{site.disk.mib}M"],
                                         RUN_TIMEOUT, stderr=None).stdout)["mb_per_s"] for size in ("8k", "1M")}
    return {"empty.small_large": rates["8k"] / rates["1M"], "empty.write8k": found["write8k.mb_per_s"] / rates["8k"]}


def files(site, program, args):
    """Files of 4 KiB in one directory, by 8 threads; each phase on a mount of its own."""
    found = {}
    name = site.disk.fresh_name("files")
    for phase in ("create", "stat", "read", "unlink"):
        with site.mount(program, NCONNECT) as client:
            (client.directory / name).mkdir(exist_ok=True)
            words = [site.programs["files"], phase, client.directory / name, 8, args.files]
            found[phase] = float(run_bounded(words, TREE_TIMEOUT, stderr=None).stdout)
    return found


def tree(site, program, args):
    """Seconds of everyday commands on a source tree: to make it, and to look at it, cold and warm."""
    found = {}
    source = site.disk.scratch / "tree"
    if not source.exists():
        make_tree(source, args.tree_files)
    untarred, synced = (site.disk.fresh_name(kind) for kind in ("untarred", "synced"))
    with site.mount(program, NCONNECT) as client:
        top = client.directory
        (top / untarred).mkdir()
        found["tar x"] = seconds(["tar", "xf", f"{source}.tar", "-C", top / untarred])
        if shutil.which("rsync"):
            found["rsync"] = seconds(["rsync", "-a", f"{source}/", top / synced])
    with site.mount(program, NCONNECT) as client:
        for when in ("cold", "warm"):
            found |= {f"{name}, {when}": value for name, value in look_at(client.directory / untarred).items()}
    return found


def look_at(top):
    commands = {"find": ["find", top, "-type", "f", "-newermt", "1990-01-01"],
                "du": ["du", "-s", top]}
    if shutil.which("git"):
        commands["git status"] = ["git", "-c", "safe.directory=*", "--no-optional-locks",
                                  "-C", top / "tree", "status", "--short"]
    return {name: seconds(argv) for name, argv in commands.items()}


def seconds(argv):
    begin = time.monotonic()
    run_bounded(argv, TREE_TIMEOUT, stdout=subprocess.DEVNULL)
    return time.monotonic() - begin


def make_tree(top, n_files):
    """Directories of 20 files of 0.2 to 30 KB, four levels deep, committed if git is there; and a
    tar of it. The times are long past, or git would doubt its index."""
    block = "".join(f"static int line_{i};\n" for i in range(2000)).encode()
    for i in range(n_files):
        directory = top / f"part{i // 400}" / f"module{i // 100 % 4}" / f"unit{i // 20 % 5}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file{i:05}.c").write_bytes(block[:200 + i * 7919 % 30000])
    run_bounded(["find", top, "-type", "f", "-exec", "touch", "-d", "2001-01-01", "{}", "+"])
    if shutil.which("git"):
        git = ["git", "-C", top, "-c", "user.name=x", "-c", "user.email=x@localhost"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"], ["repack", "-qad"]):
            run_bounded([*git, *words], 120)
    run_bounded(["tar", "cf", f"{top}.tar", "-C", top.parent, top.name])
