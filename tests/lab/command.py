# SPDX-License-Identifier: GPL-2.0-or-later
"""fusenfs's commands, and the control socket behind them."""

import json
import os
import socket
from collections import namedtuple
from pathlib import Path

from .mount import mount_device
from .procs import run_bounded

Result = namedtuple("Result", "status output")


def program():
    return os.environ.get("FUSENFS", str(Path(__file__).resolve().parents[2] / "build/fusenfs"))


def fusenfs(*words, uid=None, timeout=20):
    """Its exit status and all it says; no command takes long, whatever the server does."""
    prefix = [] if uid is None else ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    done = run_bounded([*prefix, program(), *words], timeout, check=False)
    return Result(done.returncode, done.stdout)


def status(m, *words, **kwargs):
    """What `status --json` says of a mount."""
    result = fusenfs("status", "--json", m.path, *words, **kwargs)
    assert result.status == 0, result
    return json.loads(result.output)


def socket_of(m, directory="/run/fusenfs"):
    return Path(directory) / f"0:{mount_device(m.path)}.sock"


def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(str(path))
    return client


def read_all(client):
    parts = []
    while parts[-1:] != [b""]:
        parts.append(client.recv(65536))
    return b"".join(parts)


def ask(path, line):
    """The answer to one line of bytes."""
    with connect(path) as client:
        client.sendall(line)
        return json.loads(read_all(client))
