# SPDX-License-Identifier: GPL-2.0-or-later
"""A daemon that answers what it likes: a user's mount has one that he may have written himself, and root asks it. The commands
end, say something, and what they print commands no terminal."""

import contextlib
import copy
import json
import os
import pty
import re
import socket
import subprocess
import threading
import time

import pytest

from lab.command import fusenfs, program

EVIL = "\033]0;evil\007\n\033[31m\u009b31m\x7f"
LATENCY = {"count": 9, "total_seconds": 1.5, "max_seconds": 0.5, "p50_seconds": 0.1, "p99_seconds": 0.2, "errors": 1,
           "buckets_us": [[4, 3], [4096, 6]]}
CONNECTION = {"id": 0, "state": "down", "local": "10.0.0.1:1", "remote": "10.0.0.2:2", "since_seconds": 5, "reason": "why",
              "in_flight": 1, "unsent": 1, "oldest_seconds": 1, "received_bytes": 1, "sent_bytes": 1, "calls": 1,
              "tcp_rtt_seconds": 0.1, "tcp_retransmits": 0, "reconnects": 0, "steering": "untried", "metadata": False,
              "leaving": False, "stale": False}
ANSWER = {"schema": 1, "mount": "/mnt", "source": "nas:/", "state": "ok", "live": True, "ready": False, "unmounting": False,
          "pid": 1, "uid": 0, "version": "1", "uptime_seconds": 9, "options": "nconnect=1,soft", "log": "info",
          "umounttimeo_seconds": 1, "monotonic_seconds": 5, "read_bytes": 1, "written_bytes": 1, "metadata_operations": 1,
          "metadata_hits": 1, "process": {"cpu_seconds": 1, "resident_bytes": 1}, "connections_up": 0,
          "connections_wanted": 1, "server": {"host": "nas", "state": "silent", "silent_seconds": 3, "addresses": 1},
          "connections": [CONNECTION], "requests": {"waiting": 1, "oldest_seconds": 4, "queued_calls": 1,
                                                    "oldest": {"operation": "READ", "pid": 1, "uid": 0}},
          "unsaved_bytes": 0, "open_files": 0, "inodes": 1, "loops": 1, "loops_busy": 1, "operations": {"READ": LATENCY},
          "procedures": {"READ": LATENCY}, "users": [{"pid": 1, "uid": 0, "operations": 5, "read_bytes": 1,
                                                      "written_bytes": 1, "idle_seconds": 0}]}
COMMANDS = [["status"], ["status", "--json"], ["stats"], ["stats", "--json"], ["stats", "--format=mountstats"],
            ["health"], ["health", "--json"], ["health", "--live"], ["set"]]


@pytest.fixture
def daemon(tmp_path):
    """Its socket; daemon.answer: what it says, an object or text."""
    class Daemon:
        path, answer = tmp_path / "sock", ANSWER

        def serve(self):
            with contextlib.suppress(OSError):
                while True:
                    client, _ = self.socket.accept()
                    with client, contextlib.suppress(OSError):
                        client.recv(1000)
                        text = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
                        client.sendall(text)
    made = Daemon()
    made.socket = socket.socket(socket.AF_UNIX)
    made.socket.bind(str(made.path))
    made.socket.listen()
    thread = threading.Thread(target=made.serve)
    thread.start()
    yield made
    made.socket.shutdown(socket.SHUT_RDWR)
    thread.join()
    made.socket.close()


def run(daemon, words, mount="/mnt/x"):
    tail = ["timeo=5"] if words == ["set"] else []
    result = fusenfs(words[0], *words[1:], mount, *tail, f"--ctl={daemon.path}")
    assert result.status in (0, 1, 2, 32), result
    assert not re.search("Sanitizer|runtime error", result.output), result
    return result


def with_strings(value, text):
    """All strings of an answer, but its keys."""
    if isinstance(value, dict):
        return {key: with_strings(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [with_strings(one, text) for one in value]
    return value + text if isinstance(value, str) else value


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_terminal(daemon, words):
    """No name and no answer of a daemon commands the terminal."""
    evil = with_strings(ANSWER, EVIL)
    evil["operations"] = {"READ" + EVIL: LATENCY}
    for answer in (evil, {"error": {"id": "bad-value", "reason": EVIL, "why": EVIL, "action": EVIL, "try": [EVIL] * 9}}):
        daemon.answer = answer
        result = run(daemon, words, f"/mnt/{EVIL}")
        strange = "[\0-\x08\x0b-\x1f\x80-\x9f]" if "--json" in words else "[\0-\x08\x0b-\x1f\x7f-\x9f]"
        assert result.output and not re.search(strange, result.output), result
        assert "\nevil" not in result.output
        if "--json" in words and answer is evil:
            json.loads(result.output)


def test_terminal_top(daemon):
    """Nor does it while top uses it."""
    daemon.answer = with_strings(ANSWER, EVIL)
    leader, follower = pty.openpty()
    top = subprocess.Popen([program(), "top", "/mnt/x", "0.2", f"--ctl={daemon.path}"], stdin=follower, stdout=follower,
                           stderr=follower)
    os.close(follower)
    time.sleep(1)
    os.write(leader, b"q")
    output = b""
    with contextlib.suppress(OSError):
        while True:
            output += os.read(leader, 65536)
    assert top.wait(10) == 0 and b"10.0.0.2" in output
    os.close(leader)
    rest = re.sub(rb"\x1b\[(\?1049[hl]|\?25[hl]|H|K|J|0?m|7m)", b"", output).decode()
    assert not re.search("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", rest), rest


def test_mountstats_words(daemon):
    """Blanks in names are as the kernel writes them: mountstats(8) takes lines apart."""
    daemon.answer = {**ANSWER, "mount": "/mnt/a b\n", "source": "nas:/c\td\\e"}
    output = run(daemon, ["stats", "--format=mountstats"]).output
    assert output.splitlines()[0] == "device nas:/c\\011d\\134e mounted on /mnt/a\\040b\\012 with fstype nfs statvers=1.1"


def test_health_words(daemon):
    """What it says of its state is no more than a word."""
    daemon.answer = {**ANSWER, "state": 'ok","ready":true,"x":"'}
    result = run(daemon, ["health", "--json"])
    assert result.status == 1 and json.loads(result.output)["ready"] is False


def places(value, path=()):
    """All that can be another value."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(path, by):
    answer = {"": copy.deepcopy(ANSWER)}
    place = answer
    for key in ("", *path)[:-1]:
        place = place[key]
    place[("", *path)[-1]] = by
    return answer[""]


@pytest.mark.parametrize("value", [None, -1, 1e300, -1e300, 2**63 - 1, "word", [], {}, [[[]]], {"error": 1}, True],
                         ids=lambda value: json.dumps(value))
def test_values(daemon, value):
    """Anything in any place."""
    for path in places(ANSWER):
        daemon.answer = replaced(path, value)
        run(daemon, ["stats"])
        run(daemon, ["stats", "--format=mountstats"])
        run(daemon, ["health", "--live"])
    daemon.answer = {key: value for key in ANSWER}
    for words in COMMANDS:
        run(daemon, words)


@pytest.mark.parametrize("answer", [
    b"", b"\0", b"\n", b"null", b"[]", b"1", b'{"schema":1', b"\xff\xfe", b"[" * 100000, b'{"a":' * 100000,
    b'{"connections":[' + b"{}," * 300000 + b"{}]}", b'{"users":[' + b"{}," * 300000 + b"{}]}",
    b'{"operations":{' + b",".join(b'"%d":{}' % i for i in range(60000)) + b"}}", b"x" * (8 << 20)],
    ids=lambda answer: f"{answer[:16]!r} {len(answer)}")
def test_answers(daemon, answer):
    """Nonsense, and too much of it: they end soon."""
    daemon.answer = answer
    for words in (["status"], ["stats"], ["health"]):
        start = time.monotonic()
        run(daemon, words)
        assert time.monotonic() - start < 5
