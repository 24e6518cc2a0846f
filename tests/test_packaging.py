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
    (tmp_path / "fusenfs-notify.service").write_text(one(installed, "fusenfs-notify.service").read_text())
    assert verify(tmp_path, "fusenfs-notify.service") == []
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


# --- completion

COMPLETE = r"""
. /usr/share/bash-completion/bash_completion
program=$1 file=$2 line=$3
PATH=${program%/*}:$PATH
. "$file"
set -f
# As readline splits it, by COMP_WORDBREAKS; the cursor is at the end.
COMP_LINE=$line COMP_POINT=${#line}
mapfile -t COMP_WORDS < <(/usr/bin/python3 -c '
import re, sys
print("\n".join(re.findall(r"[=:]+|[^\s=:]+", sys.argv[1]) + ([""] if sys.argv[1][-1] in " =:" else [])))' "$line")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_TYPE=9 COMP_KEY=9
compopt() { :; } # not within a completion of readline's
_fusenfs fusenfs
printf '%s\n' "${COMPREPLY[@]}"
"""
COMPLETIONS = [
    # line, some that are offered, some that are not
    ("fusenfs ", {"help", "fstab", "unit"}, {"nconnect="}),
    ("fusenfs fs", {"fstab"}, {"unit"}),
    ("fusenfs sta", {"status", "stats"}, {"set"}),
    ("fusenfs umount --", {"--lazy", "--force"}, {"--json", "--foreground"}),
    ("fusenfs stats --f", {"--format=mountstats"}, {"--foreground"}),
    ("fusenfs set /mnt hard,timeo", {"hard,timeo="}, {"timeo="}),
    ("fusenfs help ", {"options"}, {"fstab"}),
    ("fusenfs --log-f", {"--log-format=json", "--log-format=auto"}, {"--log-level=info"}),
    ("fusenfs --log-format=j", {"json", "journal"}, {"text", "--log-format=json"}),
    ("fusenfs nas:/x /mnt -o nconn", {"nconnect="}, {"nconn"}),
    ("fusenfs nas:/x /mnt -o ro,lookup", {"ro,lookupcache=all", "ro,lookupcache=none"}, {"lookupcache=all"}),
    ("fusenfs nas:/x /mnt -o ro,lookupcache=p", {"pos", "positive"}, {"all", "ro,lookupcache=pos"}),
    ("fusenfs nas:/x /mnt -o nconnect=8,so", {"8,soft", "8,softerr", "8,softwrite=hold"}, {"soft"}),
    ("fusenfs nas:/x /mnt -o ver", {"vers=3"}, {"vers=4"}),
    ("fusenfs unit nas:/x /us", {"/usr"}, set()),
    ("fusenfs nas:/x /us", {"/usr"}, set()),
    ("mount.fusenfs nas:/x /mnt -o nor", {"noresvport"}, set()),
]


@pytest.mark.parametrize("line, offered, others", COMPLETIONS, ids=[c[0] for c in COMPLETIONS])
def test_completion(installed, line, offered, others):
    done = run("bash", "--norc", "-c", COMPLETE, "bash", PROGRAM, one(installed, "completions/fusenfs"), line)
    replies = set(done.stdout.splitlines())
    assert offered <= replies and not others & replies, done.stdout


def test_completion_is_the_option_table():
    """Every option that is documented can be completed, and the other way round."""
    table = set(re.findall(r"^  (\w[\w.]*)", run(PROGRAM, "help", "options").stdout.partition("\nAccepted")[0], re.M))
    words = set(re.findall(r"^option ([\w.-]+)", run(PROGRAM, "help", "completion").stdout, re.M))
    generic = run(PROGRAM, "help", "options").stdout.partition("no effect inside the daemon:")[2].partition("\n\n")[0]
    assert table and words == table | {word.rstrip("*") for word in generic.split()}


# --- manuals, scripts

PAGES = ["fusenfs.1", "fusenfs-errors.7", "mount.fusenfs.8"]


@pytest.mark.parametrize("page", PAGES)
def test_manual(installed, page):
    """Neither groff nor mandoc has a complaint."""
    path = one(installed, page)
    done = subprocess.run(["man", "--warnings", "--local-file", path], capture_output=True, text=True, check=False,
                          env=os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "80"})
    assert (done.returncode, done.stderr) == (0, "") and "SEE ALSO" in done.stdout
    done = run("mandoc", "-T", "lint", "-W", "style", path)
    assert done.stdout == ""


def rendered(installed, page):
    text = run_bounded(["mandoc", "-T", "utf8", one(installed, page)]).stdout
    return re.sub(".\b", "", text)


def has_entry(text, word):
    """What is explained stands at the indentation of paragraphs."""
    return bool(re.search(rf"(?m)^       {re.escape(word)}(\s|$)", text))


def test_manual_has_the_option_table(installed):
    """Every option that --help options documents has its entry, with its default."""
    text = rendered(installed, "fusenfs.1")
    for line in run(PROGRAM, "help", "options").stdout.partition("\nAccepted")[0].splitlines():
        match = re.match(r"  (\S+)  ", line)
        if match:
            assert has_entry(text, match.group(1)), line


def test_manual_has_every_message(installed):
    """Ids that the source uses, and no others; each with what is said."""
    sources = "".join(path.read_text() for path in (TOP / "fuse").rglob("*.c") if path.name != "message_help.c")
    catalogue = re.findall(r'X\((MSG_\w+), "([^"]+)", (\w+)', (TOP / "fuse/message.h").read_text())
    text = rendered(installed, "fusenfs-errors.7")
    assert len(catalogue) > 60
    for name, id_, _ in catalogue:
        assert has_entry(text, id_) == bool(re.search(rf"\b{name}\b", sources)), id_
    flat = " ".join(text.split())
    assert "... does not export '...'" in flat and "nfs: server ... not responding, ..." in flat


def test_journal_catalog(installed):
    """For journalctl -x: each id that the journal gets is in it once."""
    text = one(installed, "fusenfs.catalog").read_text()
    ids = re.findall(r"^-- ([0-9a-f]{32})$", text, re.M)
    assert len(ids) == len(set(ids)) > 60
    assert "Subject: fusenfs: server-down\n" in text


def shell_scripts():
    for top in ("tests", "packaging"):
        for path in sorted((TOP / top).rglob("*")):
            if path.is_file() and path.suffix != ".py":
                with open(path, "rb") as file:
                    first = file.readline(80)
                if re.match(rb"#!.*/(ba)?sh\b", first) or b"shellcheck shell=" in first:
                    yield path
    yield TOP / "packaging/completion/fusenfs"


def test_shellcheck():
    """Every shell script; what it sources is followed."""
    scripts = list(shell_scripts())
    assert TOP / "tests/run" in scripts and TOP / "packaging/deb" in scripts and len(scripts) > 8
    done = run("shellcheck", "--external-sources", f"--source-path={TOP}", *scripts)
    assert done.returncode == 0, done.stdout


def test_completion_of_mounts(installed, mount):
    """Commands about mounts get the mount points there are."""
    m = mount(nconnect=1)
    done = run("bash", "--norc", "-c", COMPLETE, "bash", PROGRAM, one(installed, "completions/fusenfs"), "fusenfs status /")
    assert str(m.path) in done.stdout.splitlines()


# --- packages


def test_apparmor_profile(installed, tmp_path):
    """It compiles; and a wrong word does not."""
    text = one(installed, "usr.bin.fusenfs").read_text()
    assert "@bindir@" not in text
    for profile, status in ((text, 0), (text.replace("ipc_lock", "ipc_luck"), 1)):
        (tmp_path / "profile").write_text(profile)
        assert run("apparmor_parser", "-Q", "-K", tmp_path / "profile").returncode == status


def test_versions_agree():
    """meson.build, the changelog of the Debian package, and the spec."""
    version = re.search(r"version: '([^']+)'", (TOP / "meson.build").read_text()).group(1)
    assert re.match(r"fusenfs \(([^)]+)\)", (TOP / "packaging/debian/changelog").read_text()).group(1) == version
    spec = (TOP / "packaging/rpm/fusenfs.spec").read_text()
    assert re.search(r"^Version: +(\S+)$", spec, re.M).group(1) == version
    assert f"fusenfs {version}" in run(PROGRAM, "--version").stdout


def test_spec_is_parsed():
    done = run("rpmspec", "--parse", TOP / "packaging/rpm/fusenfs.spec")
    assert done.returncode == 0 and "warning" not in done.stdout, done.stdout


@pytest.mark.slow
def test_rpm(tmp_path):
    """It can be built, and has what the Debian package has."""
    run_bounded([TOP / "packaging/rpm/build", tmp_path], 300)
    files = run_bounded(["rpm", "-qpl", *tmp_path.glob("*.rpm")]).stdout.splitlines()
    assert {"/usr/bin/fusenfs", "/usr/sbin/mount.fusenfs", "/usr/lib/systemd/system/fusenfs@.service"} <= set(files)
