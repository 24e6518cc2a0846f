# SPDX-License-Identifier: GPL-2.0-or-later
"""What is installed beside the program: units, manuals, completion, profiles, scripts. Each is given to the program
that reads it on a real system, and must be without a warning."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from lab.procs import run_bounded

TOP = Path(__file__).resolve().parents[1]
BUILD = os.environ.get("FUSENFS_BUILD", str(TOP / "build"))
PROGRAM = os.environ.get("FUSENFS", f"{BUILD}/fusenfs")


@pytest.fixture(scope="session")
def installed(workdir):
    """Where `meson install` puts everything."""
    place = workdir / "packaging-installed"
    run_bounded(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", place])
    return place


def one(place, pattern):
    found = list(place.rglob(pattern))
    assert len(found) == 1, (pattern, found)
    return found[0]


def run(*argv):
    return run_bounded(argv, check=False)


# --- systemd


def verify(directory, *names):
    """systemd-analyze's complaints about units in a directory; not about manuals and programs that are not
    installed here."""
    done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", *(str(directory / n) for n in names)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
                          env=os.environ | {"SYSTEMD_UNIT_PATH": f"{directory}:"})
    return [line for line in done.stdout.splitlines()
            if not re.search(r"Command 'man .*failed|Command .*fusenfs is not executable", line)]


def test_service(installed, tmp_path):
    text = one(installed, "fusenfs@.service").read_text()
    assert "/bin/fusenfs " in text and "@bindir@" not in text
    (tmp_path / "fusenfs@nas.service").write_text(text)
    assert verify(tmp_path, "fusenfs@nas.service") == []
    (tmp_path / "fusenfs@bad.service").write_text(text.replace("Restart=on-failure", "Restart=now and then"))
    assert "now and then" in verify(tmp_path, "fusenfs@bad.service")[0]


def test_example_units(installed, tmp_path):
    for name in ("mnt-nas.mount", "mnt-nas.automount"):
        (tmp_path / name).write_text(one(installed, name).read_text())
    assert verify(tmp_path, "mnt-nas.mount", "mnt-nas.automount") == []


def test_example_configuration(installed):
    """What the service is given can be parsed."""
    values = dict(line.split("=", 1) for line in one(installed, "example.conf").read_text().splitlines()
                  if line and line[0] != "#")
    assert set(values) == {"SOURCE", "TARGET", "OPTIONS"}
    done = run(PROGRAM, "fstab", values["SOURCE"], values["TARGET"], "-o", values["OPTIONS"])
    assert done.returncode == 0, done.stdout


UNITS = [
    # source, mount point, options; name of the unit, What=, Where=, Options=
    ("nas:/export", "/mnt/nas", "nconnect=8", "mnt-nas", "nas:/export", "/mnt/nas", "nconnect=8,_netdev"),
    ("nas:/a b", "/srv//x-y/./z z/", "", r"srv-x\x2dy-z\x20z", "nas:/a b", "/srv/x-y/z z", "_netdev"),
    ("nas:/100%", "/.hidden", "_netdev,ro", r"\x2ehidden", "nas:/100%%", "/.hidden", "_netdev,ro"),
    ("[fd00::1]:/", "/", "ro", "-", "[fd00::1]:/", "/", "ro,_netdev"),
    ("nas:/ä", "/mnt/ä", "ro", r"mnt-\xc3\xa4", "nas:/ä", "/mnt/ä", "ro,_netdev"),
]


@pytest.mark.parametrize("source, point, options, name, what, where, words", UNITS, ids=[u[3] for u in UNITS])
def test_unit(tmp_path, source, point, options, name, what, where, words):
    """`fusenfs unit` prints what systemd takes under the name that it says."""
    done = run(PROGRAM, "unit", source, point, *(["-o", options] if options else []))
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == f"# /etc/systemd/system/{name}.mount"
    for line in (f"What={what}", f"Where={where}", f"Options={words}", "Type=fusenfs"):
        assert line in lines
    assert run("systemd-escape", "--path", point).stdout.strip() == name
    (tmp_path / f"{name}.mount").write_text(done.stdout)
    assert verify(tmp_path, f"{name}.mount") == []


def test_unit_is_checked():
    """What no unit can be made of is an error, as are the options of any mount."""
    for words, regex in ((["nas:/x", "mnt"], "absolute"), (["nas:/x", "/a/../b"], r"\.\."), (["nas:/x\\", "/b"], "cannot"),
                         (["nas:/x", "/b", "-o", "nconnect=0"], "bad-value"), (["nas:/x"], "usage")):
        done = run(PROGRAM, "unit", *words)
        assert done.returncode == 1 and re.search(regex, done.stdout), done.stdout
