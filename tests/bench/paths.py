#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How well fusenfs uses its paths: several links, long ones, and one without a limit.

    tests/bench/paths.py               about half an hour; --quick: some minutes, for a first look

Two hosts of our own (lab/net.py) are joined by links; NFS-Ganesha is on one, everything else on the
other. --only names groups:

    curve      one reader; one writer with fsync; four links of 200 Mbit/s, chosen by an L4 hash of
               one address pair; nconnect 1 to 16, next to `stripe=rr` over the same links
    unequal    the same with links of 200, 100, 50 and 20 Mbit/s, one connection on each
    blackhole  one of eight connections, each on a link of 20 Mbit/s, becomes a black hole
    steer      one stream over links that the hash chooses: are the others found?
    metadata   GETATTR while a stream fills four links
    delay      a cold file read over a link with 1, 10, 50 ms of round trip
    data       read, write, small writes: rates, CPU time, memory; one link without a limit
    files      eight threads and small files
    tree       tar, rsync, find, du, git on a source tree

Rounds are interleaved, with --against DIR (or program) both builds within each; numbers are medians,
ratios medians of each round's own ratio. A link carries 94.1 % of its rate as payload; shares are of
that, on the links that the connections take. --json FILE keeps every round; the plot of the curve is
written next to it, or to paths.svg. The exit status says whether it could be measured, not whether
the goals were met. Read ratios: client, server and links share one machine.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.dont_write_bytecode = True

import groups_host  # noqa: E402
import groups_links  # noqa: E402
import paths_table as table  # noqa: E402
import run  # noqa: E402
from field import Disk, Site, supports  # noqa: E402
from lab.procs import isolated_program, run_bounded  # noqa: E402

# links: rates in Mbit/s, None without a limit.
Group = namedtuple("Group", "title measure rows links rtt_ms", defaults=[0])

FOUR = (200,) * 4
GROUPS = {
    "curve": Group("One stream over four links of 200 Mbit/s, chosen by a hash", groups_links.curve,
                   table.curve_rows(groups_links.NCONNECTS), FOUR),
    "unequal": Group("One stream over links of 200, 100, 50, 20 Mbit/s, one connection each",
                     groups_links.unequal, table.unequal_rows(), (200, 100, 50, 20)),
    "blackhole": Group("One stream over eight links of 20 Mbit/s, after one has become a black hole",
                       groups_links.blackhole, table.blackhole_rows(), (20,) * 8),
    "steer": Group("One reader over four links of 200 Mbit/s, chosen by the hash, nconnect=8",
                   groups_links.steer, table.steer_rows(), FOUR),
    "metadata": Group("GETATTR while a stream fills four links of 200 Mbit/s, nconnect=8",
                      groups_links.metadata, table.metadata_rows(), FOUR),
    **{f"delay{ms}": Group(f"Round trip of {ms} ms, no limit, nconnect=8", groups_host.delay,
                           table.delay_rows(), (None,), ms) for ms in (1, 10, 50)},
    "data": Group("One stream, no limit, nconnect=8", groups_host.data, table.data_rows(), (None,)),
    "files": Group("Files of 4 KiB in one directory, 8 threads, no limit, nconnect=8",
                   groups_host.files, table.file_rows(), (None,)),
    "tree": Group("A source tree, no limit, nconnect=8", groups_host.tree, table.tree_rows(),
                  (None,))}
GENERATORS = ("barerpc", "emptyfuse", "files", "load")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     epilog="See the top of paths.py.")
    parser.add_argument("--quick", action="store_true", help="one short round, small files")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--rounds", type=int, help="[5]")
    parser.add_argument("--seconds", type=float, help="of each stream over limited links [3]")
    parser.add_argument("--mib", type=int, help="size of the large file [768]")
    parser.add_argument("--files", type=int, help="small files [2000]")
    parser.add_argument("--tree-files", type=int, help="files of the source tree [2000]")
    parser.add_argument("--fusenfs", type=Path, metavar="PATH", help="[the one in --build]")
    parser.add_argument("--against", type=Path, metavar="PATH", help="another fusenfs, in turns")
    parser.add_argument("--options", default="", metavar="OPTS", help="more mount options")
    parser.add_argument("--build", type=Path, default=TESTS.parent / "build", help="[%(default)s]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    args = parser.parse_args()
    for name, usual, quick in (("rounds", 5, 1), ("seconds", 3, 1), ("mib", 768, 256),
                               ("files", 2000, 400), ("tree_files", 2000, 400)):
        if getattr(args, name) is None:
            setattr(args, name, quick if args.quick else usual)
    return args


def chosen(only):
    words = tuple((only or "").split(","))
    groups = {name: group for name, group in GROUPS.items() if name.startswith(words)}
    if not groups:
        raise run.BenchFailed(f"--only knows {', '.join(GROUPS)}")
    return groups


def programs(args):
    """({build: fusenfs}, {generator: path}), built where need be."""
    directory = args.build.resolve()
    if not (directory / "build.ninja").exists():
        run_bounded(["meson", "setup", directory, TESTS.parent], run.RUN_TIMEOUT)
    targets = [f"tests/{name}" for name in GENERATORS] + ["fusenfs"] * (not args.fusenfs)
    run_bounded(["ninja", "-C", directory, *targets], run.RUN_TIMEOUT)
    run.refuse_sanitizers(directory)
    builds = {"fusenfs": (args.fusenfs or directory / "fusenfs").resolve()}
    if args.against:
        builds["against"] = args.against.resolve()
    return builds, {name: directory / "tests" / name for name in GENERATORS}


def install_tools(groups):
    """What the tree is looked at with; without, these rows are left out."""
    if "tree" in groups and not (shutil.which("git") and shutil.which("rsync")):
        script = f". {TESTS}/lab/packages.sh; install_packages \"${{BENCH_PACKAGES[@]}}\""
        subprocess.run(["bash", "-c", script], check=False)


def measure_round(number, args, groups, builds, generators, disk):
    """{group: {build: {metric: value}}}. The order of builds turns."""
    args.round, found = number, {}
    names = list(builds)
    turned = names[number % len(names):] + names[:number % len(names)]
    for name, group in groups.items():
        with Site(disk, generators, args.options, group.links, group.rtt_ms) as site:
            rows = {}
            for build in turned:
                run.progress(f"round {number + 1} of {args.rounds}: {name}, {build}")
                rows[build] = group.measure(site, builds[build], args)
        found[name] = {build: rows[build] for build in names}
    return found


def report(results, groups, builds):
    env = results["environment"]
    yield (f"{env['date']}  {env['cpu']} x {env['n_cpus']}, Linux {env['kernel']}, {env['server']}, "
           f"{env['export']}\n{env['rounds']} rounds; medians. Files of {env['file_mib']} MiB. "
           f"Options: {env['options'] or 'none'}. {env['busy_percent_before']:.0f} % busy before.")
    for build, program in builds.items():
        lacks = "" if supports(program, "stripe=rr") else "; no stripe=rr: those rows are left out"
        yield f"{build}: {program}{lacks}"
    for name, group in groups.items():
        yield f"\n{name}: {group.title}\n" + table.table(group.rows, results["medians"][name])


def measure(args, stack):
    groups = chosen(args.only)
    builds, generators = programs(args)
    environment = run.environment(argparse.Namespace(**vars(args), dir=None))
    disk = Disk(args.mib, stack)
    results = {"environment": environment, "rounds": []}
    for number in range(args.rounds):
        results["rounds"].append(measure_round(number, args, groups, builds, generators, disk))
    run.progress("")
    results["medians"] = table.medians(results["rounds"])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    print(*report(results, groups, builds), sep="\n")
    if "curve" in groups:
        picture = (args.json or Path("paths.json")).with_suffix(".svg")
        picture.write_text(table.svg(results["medians"]["curve"], groups_links.NCONNECTS))
        print(f"\nThe curve: {picture}")


def main():
    args = parse_arguments()
    if os.geteuid() != 0:
        raise run.BenchFailed("must be root, to mount and to start a server")
    install_tools(chosen(args.only))
    isolated_program()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        measure(args, stack)


if __name__ == "__main__":
    run.as_program(main)
