#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""What is promised of many paths, measured: links that are cut, links that a hash chooses, ports that lose packets.

    tests/bench/manypaths.py           about twenty minutes; --quick: four, for a first look

Two hosts of our own (lab/net.py), joined by four links of --rate Mbit/s; NFS-Ganesha on one; nconnect=8 and one
stream on the other. --only names groups:

    pairs    four addresses, one on each link; one link is cut while a program reads or writes: `down`, where its
             carrier is gone, and `silent`, where packets vanish and nobody is told. Then it is back.
    hash     one address; an L4 hash chooses the link of each connection. --sets different ranges of ports: what one
             reader gets with redial=off, and then, 15 s after redial=auto. --labs of them side by side.
    lossy    the same with one set; from a moment on packets of odd ports are lost, 5 of a hundred.

Shares are of what TCP can carry over the links (95.6 % of their rate: a packet of 1514 bytes has 1448 of payload).
Each group writes its plot, NAME-GROUP.svg (--plots NAME [manypaths]); --json FILE keeps all samples. The exit
status says whether it could be measured, not whether the goals were met. Client, server and links share one
machine: on a busy one read it again with a lower --rate.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.dont_write_bytecode = True

import paths_table as table  # noqa: E402
import plot  # noqa: E402
import run  # noqa: E402
from field import Disk, Site  # noqa: E402
from flow import Meter, Stream, make_files  # noqa: E402
from lab.procs import isolated_program, run_bounded, wait_for  # noqa: E402

N_LINKS, NCONNECT = 4, 8
PAYLOAD = 1448 / 1514  # of what a link's queue lets pass; headers of RPC are in the samples
FIND_S = 15            # that connections are given to find the links
BACK_S = 12
GROUPS = ("pairs", "hash", "lossy")
Row = table.Row


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="See the top of manypaths.py.")
    parser.add_argument("--quick", action="store_true", help="four sets, one direction")
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--rate", type=int, default=100, help="of each link, Mbit/s [%(default)s]")
    parser.add_argument("--sets", type=int, help="of source ports [50]")
    parser.add_argument("--labs", type=int, default=2, help="sets at the same time [%(default)s]")
    parser.add_argument("--options", default="", metavar="OPTS", help="more mount options")
    parser.add_argument("--fusenfs", type=Path, metavar="PATH", help="[the one in --build]")
    parser.add_argument("--build", type=Path, default=TESTS.parent / "build", help="[%(default)s]")
    parser.add_argument("--plots", default="manypaths", metavar="NAME", help="[%(default)s]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    args = parser.parse_args()
    args.sets = args.sets or (4 if args.quick else 50)
    args.groups = [name for name in GROUPS if name in (args.only or ",".join(GROUPS)).split(",")]
    if not args.groups:
        parser.error(f"--only knows {', '.join(GROUPS)}")
    return args


def program(args):
    directory = args.build.resolve()
    if not (directory / "build.ninja").exists():
        run_bounded(["meson", "setup", directory, TESTS.parent], run.RUN_TIMEOUT)
    run_bounded(["ninja", "-C", directory, "fusenfs"], run.RUN_TIMEOUT)
    run.refuse_sanitizers(directory)
    return (args.fusenfs or directory / "fusenfs").resolve()


def capacity(site, n_links=N_LINKS):
    """MB/s of payload."""
    return n_links * site.net.rates[0] / 8 * PAYLOAD


def until(meter, moment):
    time.sleep(max(moment - meter.now(), 0) + .3)  # and a sample after it


def share(meter, begin, end, whole):
    until(meter, end)
    return meter.rate(begin, end) / whole


# ---- pairs -------------------------------------------------------------------------------------

def pairs(disk, args):
    """{metric: number}, {title: Meter}"""
    found, meters = {}, {}
    directions = ("read",) if args.quick else ("read", "write")
    for direction in directions:
        for how in ("down", "silent"):
            run.progress(f"pairs: {direction}, one link {how}")
            with Site(disk, {}, args.options, [args.rate] * N_LINKS) as site:
                numbers, meter = one_cut(site, args, direction, how)
            found |= {f"{direction}.{how}.{key}": value for key, value in numbers.items()}
            meters[f"{direction}, {how}"] = meter
    return found, meters


def one_cut(site, args, direction, how):
    net, whole, rest = site.net, capacity(site), capacity(site, N_LINKS - 1)
    cut = {"down": net.link_down, "silent": net.link_silent}[how]
    others = "~".join(net.address(i) for i in range(1, N_LINKS))
    with site.mount(args.program, NCONNECT, f"addrs={others}", host=net.address(0)) as client:
        wait_for(lambda: len(client.peers()) == N_LINKS, 20, "connections to all addresses")
        with Meter(client.ctl) as meter, Stream(direction, client):
            began = wait_for(lambda: meter.totals[-1] > 2e6 * whole and meter.now(), 30, "the stream to flow")
            found = {"all": share(meter, began, began + 4, whole)}
            with cut(N_LINKS - 1):
                lost = meter.mark("cut")
                found["rest"] = share(meter, lost + 2, lost + 6, rest)
            back = meter.mark("back")
            found["again"] = share(meter, back + 10, back + 10 + BACK_S / 4, whole)
        for key, since, wanted in (("rest_s", lost, .9 * rest), ("again_s", back, .95 * whole)):
            reached = meter.reached(since, wanted)
            found[key] = 99 if reached is None else reached
    return found, meter


def pairs_rows(args):
    rows = []
    for direction in ("read",) if args.quick else ("read", "write"):
        for how in ("down", "silent"):
            name = f"{direction}.{how}"
            rows += [Row(f"{name}.all", f"{direction}, all four links", "{:.3f}", ">= 0.95", table.at_least(.95)),
                     Row(f"{name}.rest", f"    one {how}, 2 to 6 s later: of three", "{:.3f}", ">= 0.90", table.at_least(.9)),
                     Row(f"{name}.rest_s", "    0.90 of them for a second, from", "{:.1f} s", "<= 2", table.at_most(2)),
                     Row(f"{name}.again", "    back, 10 to 13 s later: of four", "{:.3f}", ">= 0.95", table.at_least(.95)),
                     Row(f"{name}.again_s", "    0.95 of them for a second, from", "{:.1f} s", "<= 10", table.at_most(10))]
    return rows


# ---- hash --------------------------------------------------------------------------------------

def by_hash(disk, args):
    """Sets one after the other in each lab, labs side by side."""
    numbers = iter(range(args.sets))
    with ThreadPoolExecutor(args.labs) as labs:
        jobs = [labs.submit(lab_of_sets, disk, args, numbers) for _ in range(min(args.labs, args.sets))]
        sets = [one for job in jobs for one in job.result()]
    sets.sort(key=lambda one: one["set"])
    found = {}
    for when in ("off", "auto"):
        shares = [one[when] for one in sets]
        found |= {f"{when}.mean": mean(shares), f"{when}.min": min(shares),
                  f"{when}.whole": sum(s >= .95 for s in shares)}
    return found, sets


def lab_of_sets(disk, args, numbers):
    with Site(disk, {}, args.options, [args.rate] * N_LINKS) as site:
        found = []
        for number in numbers:
            run.progress(f"hash: set {number + 1} of {args.sets}")
            found.append(one_set(site, args, number))
    return found


def one_set(site, args, number):
    low, whole = 20000 + 500 * number, capacity(site)
    options = f"redial=off,srcports={low}-{low + 499}"
    with site.mount(args.program, NCONNECT, options) as client:
        found = {"set": number, "ports": client.ports(), "links": len(client.links("to_client"))}
        with Meter(client.ctl) as meter, Stream("read", client):
            began = wait_for(lambda: meter.totals[-1] > 1e6 * whole and meter.now(), 60, "the stream to flow")
            found["off"] = share(meter, began, began + 2, whole)
            run_bounded([args.program, "set", client.directory, "redial=auto"])
            auto = meter.mark("redial=auto")
            found["auto"] = share(meter, auto + FIND_S, auto + FIND_S + 2, whole)
        found |= {"ports_then": client.ports(), "links_then": len(client.links("to_client")),
                  "curve": [(t - auto, v / whole) for t, v in meter.curve(.5)]}
    return found


def hash_rows():
    return [Row("off.mean", "redial=off: mean share of four links", "{:.3f}"),
            Row("off.min", "    the worst set", "{:.3f}"),
            Row("off.whole", "    sets with 0.95 or more", "{:.0f}"),
            Row("auto.mean", "redial=auto, 15 s later: mean share", "{:.3f}", ">= 0.95", table.at_least(.95)),
            Row("auto.min", "    the worst set", "{:.3f}", ">= 0.85", table.at_least(.85)),
            Row("auto.whole", "    sets with 0.95 or more", "{:.0f}")]


# ---- lossy -------------------------------------------------------------------------------------

def lossy(disk, args):
    found, meters = {}, {}
    for direction in ("read",) if args.quick else ("read", "write"):
        run.progress(f"lossy: {direction}")
        with Site(disk, {}, args.options, [args.rate] * N_LINKS) as site:
            whole = capacity(site)
            with site.mount(args.program, NCONNECT, "srcports=20000-20999") as client, Meter(client.ctl) as meter, \
                    Stream(direction, client):
                wait_for(lambda: meter.totals[-1] > 2e6 * whole, 30, "the stream to flow")
                until(meter, meter.now() + FIND_S)
                before = meter.now() - .3
                found[f"{direction}.before"] = share(meter, before - 3, before, whole)
                with site.net.lossy(5, 1):
                    since = meter.mark("odd ports lose 5 %")
                    odd = sum(port % 2 for port in client.ports())
                    found[f"{direction}.at_once"] = share(meter, since, since + 2, whole)
                    found[f"{direction}.then"] = share(meter, since + 10, since + 16, whole)
                    reached = meter.reached(since, .9 * whole)
                    found[f"{direction}.after_s"] = 99 if reached is None else reached
                    found[f"{direction}.odd"] = odd
                    found[f"{direction}.odd_then"] = sum(port % 2 for port in client.ports())
        meters[direction] = meter
    return found, meters


def lossy_rows(args):
    rows = []
    for name in ("read",) if args.quick else ("read", "write"):
        rows += [Row(f"{name}.before", f"{name}, before", "{:.3f}"),
                 Row(f"{name}.odd", "    connections from odd ports, then", "{:.0f}"),
                 Row(f"{name}.at_once", "    in the first 2 s of loss", "{:.3f}"),
                 Row(f"{name}.after_s", "    0.90 of the links for a second, from", "{:.1f} s", "<= 10",
                     table.at_most(10)),
                 Row(f"{name}.then", "    10 to 16 s later", "{:.3f}", ">= 0.90", table.at_least(.9)),
                 Row(f"{name}.odd_then", "    connections from odd ports, then", "{:.0f}")]
    return rows


# ---- all of it ---------------------------------------------------------------------------------

def picture(name, results, args):
    path = Path(f"{args.plots}-{name}.svg")
    if name == "hash":
        sets = results
        lines = {f"redial={when}{words}": sorted(one[when] for one in sets)
                 for when, words in (("off", ""), ("auto", ", 15 s later"))}
        path.write_text(plot.distribution(f"One reader, four links chosen by a hash, {len(sets)} sets of ports",
                                          "sets, in order of their share", "share of the four links", lines))
    else:
        title = {"pairs": "Four addresses on four links; one is cut, and is back",
                 "lossy": "Four links chosen by a hash; odd ports begin to lose packets"}[name]
        whole = N_LINKS * args.rate / 8 * PAYLOAD
        path.write_text(plot.timeline(title, "seconds", "MB/s", {
            words: (shifted(meter), meter_events(meter)) for words, meter in results.items()}, whole))
    return path


def first_event(meter):
    return meter.events[0][0] if meter.events else 0


def shifted(meter, before=4):
    """From a few seconds before the first event, which is at 0."""
    zero = first_event(meter)
    return [(t - zero, v) for t, v in meter.curve() if t >= zero - before]


def meter_events(meter):
    return [(t - first_event(meter), words) for t, words in meter.events]


def raw(results):
    if isinstance(results, list):
        return results
    return {words: {"curve": meter.curve(), "events": meter.events} for words, meter in results.items()}


def measure(args, stack):
    args.program = program(args)
    os.environ["FUSENFS"] = str(args.program)
    environment = run.environment(argparse.Namespace(**vars(args), mib=256, rounds=1, seconds=0, dir=None))
    disk = Disk(256, stack)
    make_files(disk)
    kinds = {"pairs": (pairs, pairs_rows(args), f"Four addresses, four links of {args.rate} Mbit/s, nconnect=8"),
             "hash": (by_hash, hash_rows(), f"One address, four links of {args.rate} Mbit/s chosen by a hash, "
                                            f"nconnect=8, {args.sets} sets of ports"),
             "lossy": (lossy, lossy_rows(args), f"One address, four links of {args.rate} Mbit/s chosen by a hash, "
                                                "nconnect=8, 5 % loss on odd ports")}
    kept, pictures = {"environment": environment}, []
    print(f"{environment['date']}  {environment['cpu']} x {environment['n_cpus']}, Linux {environment['kernel']}, "
          f"{environment['server']}. {environment['busy_percent_before']:.0f} % busy before. "
          f"Options: {args.options or 'none'}.")
    for name in args.groups:
        func, rows, title = kinds[name]
        numbers, results = func(disk, args)
        run.progress("")
        print(f"\n{name}: {title}\n" + table.table(rows, {"fusenfs": numbers}), flush=True)
        pictures.append(picture(name, results, args))
        kept[name] = {"numbers": numbers, "samples": raw(results)}
    print("\nPlots:", *pictures)
    if args.json:
        args.json.write_text(json.dumps(kept, indent=1) + "\n")


def main():
    args = parse_arguments()
    if os.geteuid() != 0:
        raise run.BenchFailed("must be root, to mount and to start a server")
    isolated_program()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        measure(args, stack)


if __name__ == "__main__":
    run.as_program(main)
