# SPDX-License-Identifier: GPL-2.0-or-later
"""Medians, goals and the table of run.py: pure functions over its results."""

from statistics import median

# Heading, key in the medians, format. None: an empty cell, for what does not apply.
COLUMNS = [
    ("ops/s", "ops_per_s", "{:.0f}"), ("MB/s", "mb_per_s", "{:.1f}"),
    ("p50 us", "p50_us", "{:.1f}"), ("p99 us", "p99_us", "{:.1f}"),
    ("CPU us/op", "cpu_us_per_op", "{:.2f}"), ("s/GB", "cpu_s_per_gb", "{:.2f}"),
    ("sw/op", "switches_per_op", "{:.2f}"), ("peak MiB", "peak_mib", "{:.1f}"),
    ("srv us/op", "server_us_per_op", "{:.2f}"), ("srv cores", "server_cores", "{:.2f}"),
    ("idle %", "idle_percent", "{:.0f}"),
    ("rate/bare", "rate_bare", "{:.2f}"), ("p50/bare", "p50_bare", "{:.2f}"),
    ("rate/empty", "rate_empty", "{:.2f}"), ("p50/empty", "p50_empty", "{:.2f}"),
]
GOAL_P50, GOAL_CPU_US, GOAL_RATE, GOAL_SYSCALLS, GOAL_HANDOVERS, GOAL_MIB = 2.0, 13, 0.80, 5, 1, 32
# The server counts as saturated when it is at least so nearly as busy as under the bare client.
SATURATED = 0.95
# Calls by which one thread wakes another. A daemon's other output leaves by writev and sendmsg.
HANDOVER_CALLS = ("write", "futex")


def medians(rounds):
    """{workload: {target: {metric: median over the rounds}}}, ratios included."""
    found = {}
    for workload in rounds[0]:
        found[workload] = {}
        for target in rounds[0][workload]:
            rows = [with_ratios(r[workload], target) for r in rounds]
            keys = set.intersection(*(set(row) for row in rows))
            found[workload][target] = {key: median(row[key] for row in rows) for key in keys}
    return found


def with_ratios(rows, target):
    """A row of one round, compared with its neighbours of the same round."""
    row = dict(rows[target])
    for limit in ("bare", "empty"):
        if target not in ("bare", limit):
            row[f"rate_{limit}"] = row["ops_per_s"] / rows[limit]["ops_per_s"]
            row[f"p50_{limit}"] = row["p50_us"] / rows[limit]["p50_us"]
            if row["mb_per_s"]:  # sizes of single operations may differ
                row[f"rate_{limit}"] = row["mb_per_s"] / rows[limit]["mb_per_s"]
    return row


# ---- goals --------------------------------------------------------------------------------------


def goals(results):
    """[{goal, target, value, met}] for issue 2; met is None where nothing was measured."""
    found = []
    for target in fusenfs_targets(results):
        found += [p50_goal(results, target), cpu_goal(results, target),
                  rate_goal(results, target, "randread-8", "4 KiB random read, 8 threads: rate"),
                  rate_goal(results, target, "seqread", "sequential read, cold: rate"),
                  *syscall_goals(results, target)]
    return sorted(found + memory_goals(results), key=lambda goal: goal["number"])


def fusenfs_targets(results):
    targets = next(iter(results["medians"].values()))
    return [target for target in targets if target.startswith("nconnect=")]


def goal(number, text, target, value, met):
    return {"number": number, "goal": text, "target": target, "value": value, "met": met}


def metric(results, workload, target, key):
    """A median, or None if that workload did not run."""
    return results["medians"].get(workload, {}).get(target, {}).get(key)


def p50_goal(results, target):
    text = f"4 KiB random read, 1 thread: p50 at most {GOAL_P50:g} x bare"
    ratio = metric(results, "randread-1", target, "p50_bare")
    if ratio is None:
        return goal(1, text, target, "", None)
    empty = metric(results, "randread-1", target, "p50_empty")
    return goal(1, text, target, f"{ratio:.2f} x ({empty:.2f} x empty)", ratio <= GOAL_P50)


def cpu_goal(results, target):
    text = f"4 KiB random read, 1 thread: daemon CPU at most {GOAL_CPU_US} us/op"
    value = metric(results, "randread-1", target, "cpu_us_per_op")
    if value is None:
        return goal(2, text, target, "", None)
    empty = metric(results, "randread-1", "empty", "cpu_us_per_op")
    return goal(2, text, target, f"{value:.1f} us (empty {empty:.1f})", value <= GOAL_CPU_US)


def rate_goal(results, target, workload, text):
    """At least 80 % of the bare client, or (8 threads) the server is the limit."""
    number = 3 if workload == "randread-8" else 4
    text += f" at least {GOAL_RATE:.0%} of bare" + (", or server saturated" if number == 3 else "")
    rate = metric(results, workload, target, "rate_bare")
    if rate is None:
        return goal(number, text, target, "", None)
    busy = (metric(results, workload, target, "server_cores")
            / metric(results, workload, "bare", "server_cores"))
    idle = metric(results, workload, target, "idle_percent")
    value = f"{rate:.0%} (server {busy:.0%} as busy as under bare, machine {idle:.0f} % idle)"
    saturated = number == 3 and busy >= SATURATED
    return goal(number, text, target, value, rate >= GOAL_RATE or saturated)


def syscall_goals(results, target):
    """Of the smallest operation there is, a 4 KiB read by one thread."""
    calls = results.get("syscalls", {}).get("randread-1", {}).get(target)
    texts = (f"4 KiB random read: at most {GOAL_SYSCALLS} system calls of the daemon",
             f"4 KiB random read: at most {GOAL_HANDOVERS} wake-up hand-over (write + futex)")
    if calls is None:
        return [goal(5, texts[0], target, "", None), goal(6, texts[1], target, "", None)]
    total, handovers = sum(calls.values()), sum(calls.get(name, 0) for name in HANDOVER_CALLS)
    # A little of the mount's own doings is in the count: open, keep-alive.
    return [goal(5, texts[0], target, f"{total:.2f}", total <= GOAL_SYSCALLS + 0.05),
            goal(6, texts[1], target, f"{handovers:.2f}", handovers <= GOAL_HANDOVERS + 0.05)]


def memory_goals(results):
    if "memory" not in results:
        return []
    memory = results["memory"]
    text = f"memory at rest below {GOAL_MIB} MiB"
    return [goal(7, text, "nconnect=16", f"{memory['fresh_mib']:.1f} MiB after the mount",
                 memory["fresh_mib"] < GOAL_MIB),
            goal(7, text, "nconnect=16", f"{memory['after_mib']:.1f} MiB 5 s after load "
                 f"(peak {memory['peak_mib']:.1f})", memory["after_mib"] < GOAL_MIB)]


# ---- text ---------------------------------------------------------------------------------------


def text(results, titles):
    """The whole report."""
    parts = [head(results["environment"], results["read_ahead_kib"])]
    for workload, rows in results["medians"].items():
        parts.append(titles[workload] + "\n" + table(rows))
    if "syscalls" in results:
        parts.append(syscall_text(results["syscalls"]))
    parts += [goal_text(results["goals"], "syscalls" in results), "\n".join(doubts(results))]
    return "\n\n".join(filter(None, parts)) + "\n"


def head(env, read_ahead):
    ahead = ", ".join(f"{name} {now} KiB" + (f" (was {found})" if found != now else "")
                      for name, (found, now) in read_ahead.items())
    how = f"CPUs {'kept awake' if env['awake'] else 'asleep when idle'}"
    how += f". Options: {env['options']}" if env["options"] else ""
    return (f"{env['date']}  {env['cpu']} x {env['n_cpus']}, Linux {env['kernel']}, "
            f"{env['server']}, {env['export']}\n"
            f"{env['rounds']} rounds, {env['seconds']:g} s each, file of {env['file_mib']} MiB; "
            f"medians. {how}\n"
            f"read-ahead: {ahead}")


def table(rows):
    """One workload: a line for each target."""
    columns = [c for c in COLUMNS if any(c[1] in row for row in rows.values())]
    columns = [c for c in columns if any(row.get(c[1]) for row in rows.values())]
    lines = [["", *(heading for heading, _, _ in columns)]]
    lines += [[target, *(form.format(row[key]) if key in row else "" for _, key, form in columns)]
              for target, row in rows.items()]
    widths = [max(map(len, cells)) for cells in zip(*lines)]
    return "\n".join(line(cells, widths) for cells in lines)


def line(cells, widths):
    numbers = (f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:]))
    return "  ".join(["", f"{cells[0]:{widths[0]}}", *numbers]).rstrip()


def syscall_text(syscalls):
    lines = ["System calls of the daemon per operation (strace)"]
    for workload, targets in syscalls.items():
        for target, calls in targets.items():
            named = ", ".join(f"{name} {n:.2f}" for name, n in calls.items() if n >= 0.005)
            lines.append(f"  {workload:12}{target:12}{sum(calls.values()):6.2f}   {named}")
    return "\n".join(lines)


def goal_text(found, counted):
    words = {True: "met", False: "NOT MET", None: "not measured"}
    lines = ["Goals (issue 2)"]
    for item in found:
        lines.append(f"  {words[item['met']]:13}{item['target']:12}{item['goal']}"
                     + (f": {item['value']}" if item["value"] else ""))
    if not found:
        lines.append("  fusenfs was not measured")
    elif not counted:
        lines.append("  (system calls are counted with --strace)")
    return "\n".join(lines)


def doubts(results):
    """Reasons not to believe the numbers."""
    found = []
    busy = results["environment"]["busy_percent_before"]
    if busy > 10:
        found.append(f"Doubtful: the machine was {busy:.0f} % busy before the first run.")
    if not results["environment"]["awake"]:
        found.append("Doubtful: idle CPUs may sleep; CPU time and latency include waking them up.")
    for workload in ("getattr-1", "randread-1"):
        for target in fusenfs_targets(results):
            if (metric(results, workload, target, "p50_bare") or 1) < 0.9:
                found.append(f"Doubtful: {workload} with {target} is faster than the bare client: "
                             "was it answered from memory?")
    return found
