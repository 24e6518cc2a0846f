# SPDX-License-Identifier: GPL-2.0-or-later
"""fusenfs exports: the list of a server's exports, without a mount."""

import json
import subprocess

import pytest

from lab.command import program
from lab.proxy import PacketFilter
from test_mount_errors import CLOSED_PORT, MNT3ERR_ACCES, Mountd


def exports(*words):
    return subprocess.run([program(), "exports", *words], timeout=15, capture_output=True, text=True,
                          errors="replace")


def test_table(server):
    """What a real server tells: all of it, in columns."""
    done = exports(server.connect_host, "-o", f"mountport={server.mnt_port}")
    assert done.returncode == 0 and not done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["EXPORT", "CLIENTS"]
    assert {line.split()[0] for line in lines} == {str(export.path) for export in server.exports}


@pytest.mark.parametrize("word", ["127.0.0.1", "127.0.0.1:/", "127.0.0.1:/data/x", "nfs://127.0.0.1/data", "localhost"])
def test_words(word):
    """A server's name, or what one would mount."""
    with Mountd(MNT3ERR_ACCES, {b"/data": [], b"/home": [b"10.0.0.0/8", b"*.example.org"]}) as mountd:
        done = exports(word, "-o", f"mountport={mountd.port},family=4", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("}\n")
    assert json.loads(done.stdout)["exports"] == [
        {"path": "/data", "clients": []}, {"path": "/home", "clients": ["10.0.0.0/8", "*.example.org"]}]


def test_strange_names():
    """A server may call its exports what it likes: no terminal is commanded, and JSON stays JSON."""
    with Mountd(MNT3ERR_ACCES, {b"/a\x1b[2Jb": [b"h\xff"], b"/" + b"x" * 1000: []}) as mountd:
        words = ["127.0.0.1", "-o", f"mountport={mountd.port}"]
        table, listed = exports(*words), exports(*words, "--json")
    assert table.returncode == 0 and "\x1b" not in table.stdout and "/a?[2Jb" in table.stdout and "x" * 1000 in table.stdout
    assert [export["path"] for export in json.loads(listed.stdout)["exports"]] == ["/a\x1b[2Jb", "/" + "x" * 1000]
    assert json.loads(listed.stdout)["exports"][0]["clients"] == ["h?"]


def test_nothing():
    with Mountd(MNT3ERR_ACCES, {}) as mountd:
        done = exports("127.0.0.1", "-o", f"mountport={mountd.port}")
    assert (done.returncode, done.stdout) == (0, "127.0.0.1 exports nothing, or nothing that this host may see.\n")


def test_refused():
    done = exports("127.0.0.1", "-o", f"mountport={CLOSED_PORT}")
    assert done.returncode == 32 and not done.stdout
    assert done.stderr.startswith("fusenfs: cannot list the exports of 127.0.0.1: ") and "[conn-refused]" in done.stderr


def test_no_portmapper():
    """The portmapper is the only one that was asked: of the NFS port nothing is known."""
    with PacketFilter() as packets:
        packets.reset("tcp dport 111")
        packets.reject("udp dport 111")
        done = exports("127.0.0.1")
    assert done.returncode == 32 and "[rpcbind-refused]" in done.stderr and "2049" not in done.stderr
    assert "try: fusenfs exports 127.0.0.1 -o mountport=20048" in done.stderr


@pytest.mark.parametrize("words", [[], ["a", "b"], ["nas", "--write"]])
def test_usage(words):
    done = exports(*words)
    assert done.returncode == 1 and "[usage]" in done.stderr and "try: fusenfs exports SERVER" in done.stderr
