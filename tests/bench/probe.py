# SPDX-License-Identifier: GPL-2.0-or-later
"""What a process and the machine have used so far, from /proc; and system calls, by strace."""

import contextlib
import os
import re
import signal
import subprocess
from collections import Counter, namedtuple
from pathlib import Path

from lab.procs import wait_for

Machine = namedtuple("Machine", "busy idle")
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
STRACE_TIMEOUT = 20
SWITCHES = re.compile(r"^(?:non)?voluntary_ctxt_switches:\s+(\d+)", re.M)


def used(pid):
    """{thread: (CPU time in ns, context switches)} of a process so far; for difference()."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            found[task.name] = _task_cpu_ns(task), _task_switches(task)
    return found


def difference(before, after):
    """(CPU time, context switches) of all threads between two used()."""
    pairs = [(values, before.get(tid, (0, 0))) for tid, values in after.items()]
    return tuple(sum(new[i] - old[i] for new, old in pairs) for i in (0, 1))


def _task_cpu_ns(task):
    """schedstat counts nanoseconds; a kernel without CONFIG_SCHED_INFO has only ticks."""
    if (task / "schedstat").exists():
        return int((task / "schedstat").read_text().split()[0])
    fields = (task / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_NS


def _task_switches(task):
    return sum(map(int, SWITCHES.findall((task / "status").read_text())))


def machine():
    """Busy and idle time of all CPUs so far, in ticks. Time stolen by the hypervisor is busy."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    return Machine(sum(ticks) - idle, idle)


def memory_mib(pid, field="VmRSS"):
    """VmRSS, VmHWM (the peak since reset_peak()) or RssAnon in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{field}:\s+(\d+) kB", status, re.M)[1]) / 1024


def reset_peak(pid):
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def count_syscalls(pid, func):
    """(Counter of the system calls that all threads of pid made while func() ran, its result)."""
    argv = ["setpriv", "--pdeathsig", "INT", "strace", "-c", "-f", "-p", str(pid)]
    strace = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: _all_traced(pid) or strace.poll() is not None, STRACE_TIMEOUT, "strace")
        result = func()
    finally:
        if strace.poll() is None:
            strace.send_signal(signal.SIGINT)
        _, text = strace.communicate(timeout=STRACE_TIMEOUT)
    return _parse_strace(text), result


def _all_traced(pid):
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            if "TracerPid:\t0\n" in (task / "status").read_text():
                return False
    return True


def _parse_strace(text):
    """Rows are '% time, seconds, usecs/call, calls, [errors,] syscall'."""
    row = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.M)
    return Counter({name: int(calls) for calls, name in row.findall(text) if name != "total"})
