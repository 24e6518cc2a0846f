# SPDX-License-Identifier: GPL-2.0-or-later
"""What paths.py measures where the links are the limit. A group is a function of a Site and a
program (fusenfs) that returns {metric: number}; what it needs of the network is in GROUPS there."""

import random
import time
from itertools import product

from field import PAYLOAD, default_mib, supports
from lab.procs import wait_for

NCONNECTS = (1, 2, 4, 8, 16)
STRIPES = {"": "adaptive", "stripe=rr": "rr"}
DIRECTIONS = {"read": ("seqread", "data", "to_client"), "write": ("seqwrite", "out", "to_server")}
OVERHEAD_MIB = 32
STEER_S = 10


def curve(site, program, args):
    """One reader, one writer with fsync: MB/s, as multiple of one link, and as share of the links
    that the connections take. All see the same links: a layout for each nconnect and round."""
    found = {}
    n_links = len(site.net.rates)
    for nconnect in NCONNECTS:
        layout = [random.Random(f"{args.round}/{i}").randrange(n_links) for i in range(nconnect)]
        for options, direction in product(STRIPES, DIRECTIONS):
            if options and not supports(program, options):
                continue
            name = f"{direction}.{STRIPES[options]}.{nconnect}"
            found |= {f"{name}.{key}": value for key, value in one_stream(
                site, program, args, direction, nconnect, options, layout).items()}
    return found


def unequal(site, program, args):
    """One connection on each link."""
    found = {}
    layout = list(range(len(site.net.rates)))
    for options, direction in product(STRIPES, DIRECTIONS):
        if options and not supports(program, options):
            continue
        row = one_stream(site, program, args, direction, len(layout), options, layout)
        found |= {f"{direction}.{STRIPES[options]}.{key}": value for key, value in row.items()}
    return found


def one_stream(site, program, args, direction, nconnect, options, layout):
    op, name, way = DIRECTIONS[direction]
    with site.mount(program, nconnect, options, layout) as client:
        reached = client.links(way)
        size = f"{min(site.disk.mib, max(4, int(site.goodput(reached) * args.seconds)))}M"
        before = site.net.counters()
        result, cpu_s, peak_mib = client.measured(lambda: client.load(
            op, name, "--size", "1M", "--bytes", size))
        reached |= client.links(way)
        after = site.net.counters()
    mb_per_s = result["mb_per_s"]
    carried = [(getattr(b, way) - getattr(a, way)) / 1e6 for a, b in zip(before, after)]
    return {"mb_per_s": mb_per_s, "links": len(reached), "share": mb_per_s / site.goodput(reached),
            "speedup": mb_per_s / site.goodput([0]), "s_per_gb": cpu_s / result["all_bytes"] * 1e9,
            "peak_mib": peak_mib, "over_mib": peak_mib - allowed_mib(program),
            **{f"link{i}_mb": mb for i, mb in enumerate(carried)}}


def blackhole(site, program, args):
    """One connection on each link, and one of them becomes a black hole. Once that is detected: what the
    links of the others carry, of what they can."""
    found = {}
    n_links = len(site.net.rates)
    others = range(n_links - 1)
    for direction, (op, name, way) in DIRECTIONS.items():
        with site.mount(program, n_links, "detect=2", list(range(n_links))) as client:
            lost = next(port for port, link in site.net.pins.items() if link == n_links - 1)
            with client.load_meanwhile(op, name, "--size", "1M", "--bytes", f"{site.disk.mib}M"):
                time.sleep(1)
                with site.net.black_hole(lost):
                    dark = time.monotonic()
                    wait_for(lambda: lost not in client.ports(), 10, "the black hole to be detected")
                    found[f"{direction}.detected_s"] = time.monotonic() - dark
                    time.sleep(1)  # what was lost is asked for again, and a reader waits for it
                    began, before = time.monotonic(), site.net.counters()
                    time.sleep(args.seconds)
                    after, seconds = site.net.counters(), time.monotonic() - began
        carried = sum(getattr(after[i], way) - getattr(before[i], way) for i in others) / 1e6
        found[f"{direction}.share"] = carried * PAYLOAD / seconds / site.goodput(others)
    return found


def steer(site, program, args):
    """The hash chooses the links. What one reader gets of all of them, in its first seconds, and when there was
    time to look for others (redial=auto)."""
    found = {}
    everything = range(len(site.net.rates))
    for options in ("redial=off", "redial=auto"):
        if not supports(program, options):
            continue
        with site.mount(program, 2 * len(everything), options) as client:
            name = options.partition("=")[2]
            found[f"{name}.links"] = len(client.links("to_client"))
            with client.load_meanwhile("seqread", "data", "--size", "1M", "--bytes", f"{site.disk.mib}M"):
                began = carried(site)
                wait_for(lambda: carried(site) > began + 20e6, 20, "the stream to flow")
                found[f"{name}.first"] = share_of(site, everything, 2)
                if name == "auto":
                    time.sleep(STEER_S)
                    found["auto.then"] = share_of(site, everything, 3)
    return found


def share_of(site, links, seconds):
    began, before = time.monotonic(), site.net.counters()
    time.sleep(seconds)
    after, took = site.net.counters(), time.monotonic() - began
    return (sum(after[i].to_client - before[i].to_client for i in links) / 1e6
            / took / site.goodput(links))


def allowed_mib(program):
    return sum(default_mib(program, name) for name in ("wbuf", "cachesize")) + OVERHEAD_MIB


def metadata(site, program, args):
    """GETATTR, p99, idle and while one stream fills all links, in either direction. `bare`: the
    same call, alone on a connection that carries nothing else, beside the stream. It cannot be
    faster than the queues on the links."""
    found = {}
    n_links = len(site.net.rates)
    mib = site.disk.mib
    lasts_s = mib * 1.049 / site.goodput(range(n_links))  # the stream, at its fastest
    seconds = min(args.seconds, .45 * lasts_s)
    words = ["--seconds", seconds]
    with site.mount(program, 2 * n_links, "actimeo=0", list(range(n_links)) * 2) as client:
        found["idle.p99_us"] = client.load("getattr", "small", *words)["p99_us"]
        found["idle.bare_p99_us"] = bare_p99(site, seconds / 2)
        for direction, (op, name, _) in DIRECTIONS.items():
            with client.load_meanwhile(op, name, "--size", "1M", "--bytes", f"{mib}M"):
                start, before = time.monotonic(), carried(site)
                result = client.load("getattr", "small", *words)
                found[f"{direction}.share"] = ((carried(site) - before) / (time.monotonic() - start)
                                               / site.goodput(range(n_links)) / 1e6)
                found[f"{direction}.p50_us"] = result["p50_us"]
                found[f"{direction}.p99_us"] = result["p99_us"]
                found[f"{direction}.bare_p99_us"] = bare_p99(site, seconds / 2)
            found[f"{direction}.ratio"] = found[f"{direction}.p99_us"] / found["idle.p99_us"]
            found[f"{direction}.bare_ratio"] = (found[f"{direction}.bare_p99_us"]
                                                / found["idle.bare_p99_us"])
    return found


def carried(site):
    """Bytes over all links, both directions: those of the small calls are few."""
    return sum(sum(traffic) for traffic in site.net.counters())


def bare_p99(site, seconds):
    return site.bare("--op", "getattr", "--path", "small", "--seconds", seconds)["p99_us"]
