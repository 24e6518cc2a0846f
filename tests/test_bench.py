# SPDX-License-Identifier: GPL-2.0-or-later
"""fusenfs bench: what it measures, over links whose rates are known, and what it leaves behind."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from lab.command import program
from lab.ganesha import EVERYWHERE, Export, Ganesha
from lab.net import NETNS, Net
from lab.procs import run_bounded, wait_for
from lab.proxy import Drop, PacketFilter, Proxy
from support import MIB

USER = 1000
LINK_MBIT, LINKS = 100, 4
PAYLOAD = 0.941 * LINK_MBIT / 8 * 1e6  # bytes per second of a link


def argv(*words, user=None, netns=None):
    words = [program(), "bench", *words]
    if user is not None:
        words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *words]
    if netns is not None:
        words = ["nsenter", f"--net={NETNS / netns}", *words]
    return list(map(str, words))


def bench(*words, limit=60, **how):
    """The JSON of a run that must succeed."""
    done = run_bounded(argv(*words, "--json", **how), limit, check=False)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


@pytest.fixture
def big(server):
    """A file of 16 MiB and a bit, and its source."""
    (server.rw / "d").mkdir()
    (server.rw / "d/big").write_bytes(os.urandom(16 * MIB + 12345))
    return f"127.0.0.1:{server.rw}/d/big"


@pytest.fixture(scope="module")
def lab(site, workdir):
    """(net, server); the export has one file of zeros, which no disk is asked for."""
    directory = workdir / "exports/bench"
    directory.mkdir()
    with open(directory / "zeros", "wb") as file:
        file.truncate(64 * MIB)
    with Net([LINK_MBIT] * LINKS) as net, Ganesha([Export(directory)], netns=net.server, host=EVERYWHERE) as server:
        yield net, server, directory


def left_in(directory):
    return [name for name in os.listdir(directory) if name.startswith(".fusenfs-bench")]


# --- what it measures


@pytest.mark.parametrize("write", [False, True], ids=["read", "write"])
def test_links(lab, write):
    """One connection fills one link; more of them find the others, until all are full."""
    net, server, directory = lab
    options = f"port={server.nfs_port},mountport={server.mnt_port},ro,softerr"
    words = [f"{net.shared}:{directory}", "--write"] if write else [f"{net.shared}:{directory}/zeros"]
    report = bench(*words, "-o", options, "--seconds=16", netns=net.client)
    print(json.dumps(report, indent=1))
    rates = {step["nconnect"]: step["bytes_per_second"] / PAYLOAD for step in report["steps"]}
    assert list(rates) == [1, 2, 4, 8, 16]
    more = 1.25 if write else 1.08  # WRITEs are counted when they are answered, some at once
    assert 0.75 < rates[1] < more and max(rates.values()) < LINKS * more, rates
    assert max(rates[8], rates[16]) > 2.5 and min(rates[8], rates[16]) > 1.5, rates
    assert report["best_nconnect"] >= 4
    assert report["command"] == f"fusenfs {net.shared}:{directory} /mnt -o {options},nconnect={report['best_nconnect']}"
    for step, before in zip(report["steps"][1:], report["steps"]):
        assert step["gain"] == pytest.approx(step["bytes_per_second"] / before["bytes_per_second"] - 1, abs=1e-6)
        assert 0 < step["p50_seconds"] <= step["p99_seconds"] < 20 and 0 < step["client_cpus"] < 8
    assert left_in(directory) == []


def test_addresses(lab):
    """addrs=: one address per link, which connections are spread over; only those of this server."""
    net, server, directory = lab
    addresses = "~".join(net.address(link) for link in range(LINKS))
    report = bench(f"{net.address(0)}:{directory}/zeros", "-o", "addrs=" + addresses + f",port={server.nfs_port},"
                   f"mountport={server.mnt_port},nconnect=4", "--seconds=4", netns=net.client)
    rates = [step["bytes_per_second"] / PAYLOAD for step in report["steps"]]
    assert report["addresses"] == LINKS and [step["nconnect"] for step in report["steps"]] == [1, 2, 4]
    assert rates[2] > 3 * rates[0] and report["best_nconnect"] == 4, rates


def test_table(big, server):
    """For people: what is done, a table, and a command to paste. The export is found by its list."""
    start = time.monotonic()
    done = run_bounded(argv(big, "-o", "nconnect=3,timeo=50", "--seconds=1"), 30)
    assert time.monotonic() - start < 6
    first, head, *rows, last = done.stdout.splitlines()
    assert first.startswith(f"Reading 16.8 MB of {big}, again and again, by READs of 1024 KiB")
    assert head.split() == ["nconnect", "MB/s", "gain", "p99", "ms", "client", "CPU"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"] and rows[0].split()[2] == "-"
    for row in rows[1:]:
        assert re.match(r" +\d+ +[\d.]+ +[+-]\d+ % +[\d.]+ +\d+ %$", row), row
    best = re.match(r"best: nconnect=(\d) \(.*\)     use: (.*)$", last)
    assert best.group(2) == f"fusenfs 127.0.0.1:{server.rw} /mnt -o timeo=50,nconnect={best.group(1)}"


def test_user(big):
    """No privilege, no mount."""
    assert bench(big, "--seconds=1", user=USER)["best_nconnect"] in (1, 2, 4, 8, 16)


def test_transfer(big):
    report = bench(big, "--seconds=1", "-o", "rsize=65536,nconnect=2")
    assert report["transfer_bytes"] == 65536 and report["file_bytes"] == 16 * MIB + 12345


# --- what it cannot


@pytest.mark.parametrize("path, text", [
    ("d/none", "there is no such file"), ("d", "it is a directory"), ("d/empty", "it is empty"),
    ("d/link", "it is a symbolic link"), ("d/fifo", "it is no regular file"), ("d/big/x", "LOOKUP")])
def test_no_file(big, server, path, text):
    (server.rw / "d/empty").touch()
    (server.rw / "d/link").symlink_to("big")
    os.mkfifo(server.rw / "d/fifo")
    done = run_bounded(argv(f"127.0.0.1:{server.rw}/{path}"), 10, check=False)
    assert done.returncode == 32 and text in done.stdout, done.stdout
    first = done.stdout.splitlines()[0]
    assert first.startswith("fusenfs: cannot measure ") and first.endswith("[bench-failed]")


def test_no_server(big):
    with PacketFilter() as packets:
        packets.reset("tcp dport 2049")
        done = run_bounded(argv(big, "-o", "port=2049,mountport=20048,proto=tcp"), 20, check=False)
    assert done.returncode == 32 and "[conn-refused]" in done.stdout and "cannot measure" in done.stdout


@pytest.mark.parametrize("words", [["--seconds=0"], ["--seconds=x"], ["--seconds="], ["-o", "nconect=2"], ["more"],
                                   ["--lazy"]])
def test_usage(words):
    done = run_bounded(argv("nas:/x/y", *words), 10, check=False)
    assert done.returncode == 1 and done.stdout.startswith("fusenfs: ")


def test_server_hangs(big, server):
    """It ends, and says why."""
    with Proxy(server) as proxy:
        proxy.on("READ", Drop())
        options = f"port={proxy.nfs_port},mountport={proxy.mnt_port},timeo=10,retrans=0"
        done = run_bounded(argv(big, "--seconds=60", "-o", options), 30, check=False)
    assert done.returncode == 32 and "[bench-failed]" in done.stdout and "timed out" in done.stdout.lower()


# --- writing


def test_write(server):
    """A file of its own, removed in the end."""
    report = bench(f"127.0.0.1:{server.rw}", "--write", "--seconds=1", "-o", "nconnect=2")
    assert report["write"] and report["file_bytes"] == 64 * MIB and os.listdir(server.rw) == []
    assert report["command"].startswith(f"fusenfs 127.0.0.1:{server.rw} /mnt -o nconnect=")


def test_write_refused(server, big):
    for path, text in ((server.ro, "no file can be made there: Read-only file system"), (f"{server.rw}/d/big", "wants a directory")):
        done = run_bounded(argv(f"127.0.0.1:{path}", "--write", "--seconds=1"), 20, check=False)
        assert done.returncode == 32 and text in done.stdout, done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(server, number):
    """What it was writing goes with it."""
    with subprocess.Popen(argv(f"127.0.0.1:{server.rw}", "--write", "--seconds=60"), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        wait_for(lambda: left_in(server.rw) and os.stat(server.rw / left_in(server.rw)[0]).st_size, 10, "its file")
        start = time.monotonic()
        process.send_signal(number)
        output = process.communicate(timeout=10)[0]
    assert process.returncode == 8 and "[interrupted]" in output and time.monotonic() - start < 5
    assert os.listdir(server.rw) == []


def test_reader_interrupted(big):
    with subprocess.Popen(argv(big, "--seconds=60"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("Reading")
        process.send_signal(signal.SIGINT)
        assert process.wait(2) == -signal.SIGINT


def test_cannot_remove(server):
    """The server goes away meanwhile: the file that is left has a name."""
    with Proxy(server) as proxy:
        options = f"port={proxy.nfs_port},mountport={proxy.mnt_port},timeo=10,retrans=0"
        proxy.on("REMOVE", Drop(on="call"))
        done = run_bounded(argv(f"127.0.0.1:{server.rw}", "--write", "--seconds=1", "-o", options), 40, check=False)
    name, = left_in(server.rw)
    assert done.returncode == 32 and f"{name} could not be removed [bench-failed]" in done.stdout
