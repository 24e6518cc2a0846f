# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians, goals, the table and the plot of paths.py: pure functions over its results."""

from collections import namedtuple
from statistics import median

import plot

# metric: a key of a group's numbers. met: of the number, None where there is no goal. form: the
# number's. against: the goal is about the ratio to the other build.
Row = namedtuple("Row", "metric title form goal met against", defaults=["", None, False])


def at_least(limit):
    return lambda value: value >= limit


def at_most(limit):
    return lambda value: value <= limit


def stream_rows(mode, nconnect):
    rows = []
    for direction in ("read", "write"):
        name = f"{direction}.{mode}.{nconnect}"
        rows += [Row(f"{name}.mb_per_s", f"{direction}, {mode}, nconnect={nconnect}", "{:.1f} MB/s"),
                 Row(f"{name}.speedup", "    of one link", "{:.2f} x"),
                 Row(f"{name}.links", "    links reached", "{:.0f}")]
        goal = {("read", 8): .95, ("write", 8): .90}.get((direction, nconnect))
        goal = goal if mode == "adaptive" else None
        rows.append(Row(f"{name}.share", "    share of these", "{:.2f}",
                        f">= {goal:.2f}" if goal else "", at_least(goal) if goal else None))
        if mode == "adaptive":
            rows.append(Row(f"{name}.vs_rr", "    of rr, same links", "{:.2f} x", ">= 0.98",
                            at_least(.98)))
    return rows


def unequal_rows():
    rows = []
    for direction in ("read", "write"):
        for mode in ("adaptive", "rr"):
            goal = (">= 0.85", at_least(.85)) if mode == "adaptive" else ("", None)
            rows.append(Row(f"{direction}.{mode}.share", f"{direction}, {mode}: share of the sum",
                            "{:.2f}", *goal))
    rows.append(Row("write.adaptive.over_mib", "memory over wbuf + cachesize + 32 MiB",
                    "{:+.0f} MiB", "<= 0", at_most(0)))
    return rows


def blackhole_rows():
    return [row for direction in ("read", "write") for row in (
        Row(f"{direction}.share", f"{direction}: the other seven, of what they can", "{:.2f}", ">= 0.875",
            at_least(.875)),
        Row(f"{direction}.detected_s", "    detected after (detect=2)", "{:.1f} s"))]


def steer_rows():
    return [Row("off.links", "links reached by the hash, redial=off", "{:.1f}"),
            Row("off.first", "    share of all four", "{:.2f} x"),
            Row("auto.links", "the same, redial=auto", "{:.1f}"),
            Row("auto.first", "    share of all four, first seconds", "{:.2f} x"),
            Row("auto.then", "    after ten seconds", "{:.2f} x", ">= 0.95", at_least(.95))]


def metadata_rows():
    rows = [Row("idle.p99_us", "idle: p99", "{:.0f} us"),
            Row("idle.bare_p99_us", "    bare client", "{:.0f} us")]
    for direction in ("read", "write"):
        rows += [Row(f"{direction}.p50_us", f"while one {direction}s: p50", "{:.0f} us"),
                 Row(f"{direction}.p99_us", "    p99", "{:.0f} us"),
                 Row(f"{direction}.ratio", "    p99, of idle", "{:.1f} x", "<= 3", at_most(3)),
                 Row(f"{direction}.share", "    the stream meanwhile, of the links", "{:.2f} x"),
                 Row(f"{direction}.bare_p99_us", "    bare client, beside it: p99", "{:.0f} us"),
                 Row(f"{direction}.bare_ratio", "    of idle", "{:.1f} x")]
    return rows


def data_rows():
    rows = [Row("write_read", "write and fsync, of read", "{:.2f} x", ">= 0.80", at_least(.8)),
            Row("bare.write_read", "    bare client", "{:.2f} x"),
            Row("small_large", "8 KiB writes, of 1 MiB", "{:.2f} x", ">= 0.70", at_least(.7)),
            Row("empty.small_large", "    an empty FUSE file system", "{:.2f} x"),
            Row("empty.write8k", "8 KiB writes, of an empty FUSE file system's", "{:.2f} x")]
    for name in ("read", "write", "write8k"):
        goal = ("<= 0.70", at_most(.7)) if name != "write8k" else ("", None)
        rows += [Row(f"{name}.mb_per_s", name, "{:.0f} MB/s"),
                 Row(f"{name}.s_per_gb", "    CPU of the daemon", "{:.2f} s/GB", *goal),
                 Row(f"{name}.peak_mib", "    peak memory", "{:.0f} MiB"),
                 Row(f"{name}.over_mib", "    over wbuf + cachesize + 32 MiB", "{:+.0f} MiB", "<= 0",
                     at_most(0))]
    return rows


def file_rows():
    goals = {"create": 1.5}
    return [Row(name, name, "{:.0f} /s", f">= {goals.get(name, 1):.1f} x", at_least(
        goals.get(name, .95)), True) for name in ("create", "stat", "read", "unlink")]


def tree_rows():
    names = ["tar x", "rsync"] + [f"{name}, {when}" for name in ("find", "du", "git status")
                                  for when in ("cold", "warm")]
    return [Row(name, name, "{:.2f} s", "<= 1.0 x", at_most(1.05), True) for name in names]


def delay_rows():
    return [Row("mb_per_s", "cold sequential read", "{:.0f} MB/s"),
            Row("bare_mb_per_s", "    bare client, as many bytes in flight", "{:.0f} MB/s"),
            Row("ratio", "    ratio", "{:.2f} x", ">= 0.80", at_least(.8)),
            Row("ahead_mib", "    in flight", "{:.0f} MiB")]


def curve_rows(nconnects):
    return [row for n in nconnects for mode in ("adaptive", "rr") for row in stream_rows(mode, n)]


def medians(rounds):
    """{group: {build: {metric: median}}}; also, where two builds were measured, {"ratio": ...}."""
    found = {}
    for group in rounds[0]:
        rows = [with_ratios(r[group]) for r in rounds]
        found[group] = {build: {key: median(row[build][key] for row in rows if key in row[build])
                                for key in rows[0][build]} for build in rows[0]}
    return found


def with_ratios(builds):
    """Of one round: what compares numbers of that round."""
    found = {}
    for build, numbers in builds.items():
        ratios = {key.replace(".rr.", ".adaptive.").replace(".mb_per_s", ".vs_rr"):
                  numbers[key.replace(".rr.", ".adaptive.")] / value
                  for key, value in numbers.items() if ".rr." in key and key.endswith(".mb_per_s")}
        found[build] = {**numbers, **ratios}
    if len(builds) == 2:
        this, other = builds.values()
        found["ratio"] = {key: value / other[key] for key, value in this.items() if other.get(key)}
    return found


def goals(rows, builds):
    """[(row, met)] of the first build; None: no goal, or not measured."""
    first = next(iter(builds.values()))
    found = []
    for row in rows:
        source = builds.get("ratio", {}) if row.against else first
        known = row.metric in first and row.met and row.metric in source
        found.append((row, row.met(source[row.metric]) if known else None))
    return found


def table(rows, builds):
    """One group: a line for each row, a column for each build."""
    words = {True: "met", False: "NOT MET", None: ""}
    names = list(builds)
    lines = [["", *names, "goal", ""]]
    for row, met in goals(rows, builds):
        if row.metric not in builds[names[0]]:
            continue
        cells = [("{:.2f} x" if name == "ratio" else row.form).format(builds[name][row.metric])
                 if row.metric in builds[name] else "" for name in names]
        lines.append([row.title, *cells, row.goal, words[met]])
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    return "\n".join("  " + "  ".join([f"{line[0]:{widths[0]}}"] + [
        f"{cell:>{width}}" for cell, width in zip(line[1:-1], widths[1:])] + [line[-1]]).rstrip()
        for line in lines)


def svg(builds, nconnects):
    """The speed-up curve: each build, rr, and what the links reached would allow."""
    lines = {}
    first = next(iter(builds))
    for build, numbers in builds.items():
        for direction in ("read", "write") if build != "ratio" else ():
            for mode in ("adaptive", "rr"):
                keys = [f"{direction}.{mode}.{n}.speedup" for n in nconnects]
                if all(key in numbers for key in keys):
                    prefix = f"{build}: " if build != first else ""
                    lines[f"{prefix}{direction}, {mode}"] = ([numbers[k] for k in keys], mode == "rr")
    lines["links reached"] = ([builds[first][f"read.adaptive.{n}.links"] for n in nconnects], True)
    return plot.chart("One stream over four links, chosen by a hash", "nconnect",
                      "MB/s, as multiple of one link", nconnects, lines)
