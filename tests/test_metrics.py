# SPDX-License-Identifier: GPL-2.0-or-later
"""metrics=: /metrics, /livez and /readyz over HTTP, with the server up and down."""

import contextlib
import errno
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from lab.command import fusenfs, status
from lab.procs import run_bounded, wait_for
from support import MIB, create, errno_of, once_ready, pattern, read
from test_service import PROGRAM, SHORT, process, words

PORT = 9101
LOUD = "not responding|cannot be served"


def get(path, host="127.0.0.1", port=PORT, method="GET"):
    """Status and text."""
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def samples(text):
    """{name and labels: value}; every line has to be one, or a comment."""
    found = {}
    for line in text.splitlines():
        if line[0] != "#":
            match = re.fullmatch(r'([a-z_]+(?:\{(?:\w+="[^"]*",?)+\})?) (\S+)', line)
            assert match and match.group(1) not in found, line
            found[match.group(1)] = float(match.group(2))
    return found


@pytest.fixture
def mount(mount):
    """It serves metrics a moment after the kernel lists it."""
    return once_ready(mount)


def test_metrics(mount):
    """What is counted is there, and right."""
    m = mount(nconnect=2, options=f"metrics={PORT}")
    wait_for(lambda: len(m.connections()) == 2, 10, "both connections")
    assert read(create(m.path / "f", pattern(3 * MIB))) and os.stat(m.path).st_mode
    with pytest.raises(FileNotFoundError):
        os.stat(m.path / "missing")
    status, text = get("/metrics")
    found = samples(text)
    assert status == 200 and found["fusenfs_ready"] == 1
    for conn in (0, 1):
        assert found[f'fusenfs_connection_up{{conn="{conn}"}}'] == 1
    sent = sum(found[f'fusenfs_connection_sent_bytes_total{{conn="{conn}"}}'] for conn in (0, 1))
    assert sent > 3 * MIB and found["fusenfs_written_bytes_total"] == 3 * MIB
    assert found['fusenfs_fuse_errors_total{op="LOOKUP",errno="ENOENT"}'] >= 1
    for name, op in (("fuse", "LOOKUP"), ("rpc", "WRITE")):
        series = [value for key, value in found.items()
                  if key.startswith(f'fusenfs_{name}_request_duration_seconds_bucket{{op="{op}"')]
        count = found[f'fusenfs_{name}_request_duration_seconds_count{{op="{op}"}}']
        assert series == sorted(series) and series[-1] == count > 0
        assert found[f'fusenfs_{name}_request_duration_seconds_sum{{op="{op}"}}'] > 0
    assert f'mount="{m.path}"' in text and found["fusenfs_process_resident_memory_bytes"] > MIB
    assert get("/livez") == (200, "ok\n") and get("/readyz") == (200, "ok\n")


def test_errors(mount, server):
    """By operation and error; what is not one of those that file systems tell is "other"."""
    (server.rw / "d/e").mkdir(parents=True)
    (server.rw / "f").write_bytes(b"")
    m = mount(nconnect=1, options=f"metrics={PORT}")
    for func, words, error in ((os.mkdir, [m.path / "d"], "EEXIST"), (os.rmdir, [m.path / "d"], "ENOTEMPTY"),
                               (os.stat, [m.path / "missing"], "ENOENT"), (os.link, [m.path / "f", m.path / "g"], "EMLINK")):
        with server.inject(f"linkat:error={error}") if error == "EMLINK" else contextlib.nullcontext():
            assert errno.errorcode[errno_of(func, *words)] == error
    errors = {key: value for key, value in samples(get("/metrics")[1]).items() if "fuse_errors_total" in key}
    for op, name in (("RMDIR", "ENOTEMPTY"), ("LOOKUP", "ENOENT"), ("LINK", "other")):
        assert errors[f'fusenfs_fuse_errors_total{{op="{op}",errno="{name}"}}'] >= 1, errors
    rmdir = status(m)["operations"]["RMDIR"]
    assert rmdir["errors"] == 1 and rmdir["errnos"] == {"ENOTEMPTY": 1}


# tests/run fetches it; where the tests are to be complete its lack is a failure.
@pytest.mark.skipif(shutil.which("promtool") is None and os.environ.get("CI") != "true", reason="no promtool")
def test_promtool(mount):
    m = mount(nconnect=2, options=f"metrics={PORT}")
    read(create(m.path / "f", b"x"))
    done = subprocess.run(["promtool", "check", "metrics"], input=get("/metrics")[1], capture_output=True, text=True,
                          check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_dashboard(mount):
    """It shows what there is, and all of it."""
    m = mount(nconnect=1, options=f"metrics={PORT}")
    read(create(m.path / "f", b"x"))
    os.stat(m.path)
    there = set(re.findall(r"^# TYPE (\w+)", get("/metrics")[1], re.MULTILINE))
    board = json.loads((Path(__file__).resolve().parents[1] / "packaging/grafana/fusenfs.json").read_text())
    shown = {re.sub("_(bucket|count)$", "", name) for panel in board["panels"] for target in panel["targets"]
             for name in re.findall(r"fusenfs_\w+", target["expr"])}
    assert shown <= there and there - shown == {"fusenfs_build_info"}


def test_server_down(mount, server):
    """Alive, but not ready; and the answers come at once."""
    m = mount(nconnect=2, options=f"metrics={PORT},{SHORT}")
    m.expect_log(LOUD)
    server.pause()
    try:
        run_bounded(["ls", m.path / "x"], check=False)
        begun = time.monotonic()
        assert get("/livez")[0] == 200 and get("/readyz")[0] == 503
        assert samples(get("/metrics")[1])["fusenfs_ready"] == 0
        assert time.monotonic() - begun < 2
    finally:
        server.resume()
    wait_for(lambda: get("/readyz")[0] == 200, 10, "the server")


@pytest.mark.parametrize("value, host", [(f"{PORT}", "127.0.0.1"), (f"127.0.0.2:{PORT}", "127.0.0.2"),
                                         (f"[::1]:{PORT}", "::1")])
def test_address(mount, value, host):
    """A port alone is on the loopback, and on no other address."""
    mount(nconnect=1, options=f"metrics={value}")
    assert get("/livez", host)[0] == 200
    for other in {"127.0.0.1", "127.0.0.2", "::1"} - {host}:
        with pytest.raises(ConnectionRefusedError):
            get("/livez", other)


def test_off(mount):
    m = mount(nconnect=1)
    listening = run_bounded(["ss", "-Htlnp"]).stdout
    assert f"pid={m.pid}," not in listening


def refused(host="127.0.0.1", port=PORT):
    with pytest.raises(ConnectionRefusedError):
        get("/livez", host, port)
    return True


def test_live(mount):
    """It can be begun, moved and ended while it is mounted; what cannot be had changes nothing."""
    m = mount(nconnect=1)
    assert refused()
    for value, host, port, gone in ((f"{PORT}", "127.0.0.1", PORT, None), (f"127.0.0.2:{PORT}", "127.0.0.2", PORT, "127.0.0.1"),
                                    (f"0.0.0.0:{PORT}", "127.0.0.3", PORT, None), (f"[::1]:{PORT + 1}", "::1", PORT + 1, "127.0.0.2")):
        assert fusenfs("set", m.path, f"metrics={value}").status == 0
        assert get("/livez", host, port)[0] == 200 and f"metrics={value}" in status(m)["options"].split(",")
        assert gone is None or refused(gone)
    with socket.create_server(("127.0.0.1", PORT)):
        for words in (f"timeo=77,metrics={PORT}", f"timeo=77,metrics=192.0.2.1:{PORT}", "metrics=nowhere"):
            result = fusenfs("set", m.path, words)
            assert result.status == 1 and "[bad-value]" in result.output, result
            assert get("/readyz", "::1", PORT + 1)[0] == 200
            assert f"metrics=[::1]:{PORT + 1}" in status(m)["options"] and "timeo=77" not in status(m)["options"]
    assert fusenfs("set", m.path, "metrics=off,timeo=77").status == 0 and refused("::1", PORT + 1)
    assert "metrics=" not in status(m)["options"] and "timeo=77" in status(m)["options"]
    assert fusenfs("set", m.path, "metrics=off").status == 0
    assert fusenfs("set", m.path, f"metrics={PORT}").status == 0 and samples(get("/metrics")[1])["fusenfs_ready"] == 1


def test_strange_requests(mount):
    """Nothing else is there, and who does not speak HTTP, or nothing, harms nobody."""
    m = mount(nconnect=1, options=f"metrics={PORT}")
    assert get("/")[0] == 404 and get("/metrics/../etc/passwd")[0] == 404
    assert get("/metrics", method="POST")[0] == 405
    idle = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(4)]
    with socket.create_connection(("127.0.0.1", PORT)) as garbage:
        garbage.sendall(b"\x80\x00" * 40000 + b"\r\n\r\n")
    assert get("/livez")[0] == 200 and m.alive
    for connection in idle:
        connection.close()


def test_port_in_use(mount):
    """A warning; the mount goes on without."""
    mount(nconnect=1, options=f"metrics={PORT}")
    other = mount(nconnect=1, options=f"metrics={PORT}")
    other.expect_log(LOUD)
    wait_for(lambda: "[no-metrics]" in other.log(), 10, "the warning")
    assert "Address already in use" in other.log() and os.listdir(other.path) is not None


def test_stays_to_the_end(server, workdir, fusectl):
    """While data is being saved at the end it still answers, and is not ready."""
    point = workdir / "mnt" / "metrics_to_the_end"
    point.mkdir(parents=True)
    with process([PROGRAM, "-f", *words(server, point, f"nconnect=1,umounttimeo=3,metrics={PORT},{SHORT}")]) as daemon:
        wait_for(lambda: os.path.ismount(point), 20, "the mount")
        fd = os.open(point / "f", os.O_WRONLY | os.O_CREAT)
        server.pause()
        try:
            os.write(fd, b"x" * MIB)
            daemon.terminate()
            wait_for(lambda: samples(get("/metrics")[1])["fusenfs_ready"] == 0, 3, "the end to begin")
            assert samples(get("/metrics")[1])["fusenfs_unsaved_bytes"] >= MIB and get("/livez")[0] == 200
            daemon.wait(15)
        finally:
            server.resume()
            try:
                os.close(fd)
            except OSError:
                pass
