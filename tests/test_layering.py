"""The rules of the source tree: who may include whom, what the policy may touch, licences, sizes.
CONTRIBUTING.md says why. Each rule is tried on a tree that breaks it as well."""

import fnmatch
import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent
# Of conn/, for fuse/.
PUBLIC = {"conn.h", "loop.h", "util.h", "mutex.h", "mount.h", "service.h", "registry.h", "ask.h", "snapshot.h",
          "histogram.h"}
GENERATED = {"message_lines.h"}  # by the build, from fuse/
CODECS = {"fuse/nfs3.c", "fuse/nfs3_decode.c", "fuse/nlm4.c", "conn/rpcbind.c", "conn/mount3.c"}
NFS3_FILES = {"fuse/nfs3.c", "fuse/nfs3.h", "fuse/nfs3_decode.c"}
NFS3_TYPES = r"\b(fattr3|sattr3|nfs_fh3|nfsstat3|wcc_data|post_op_attr|[A-Z]+3(args|res\w*))\b"
POLICY_SYMBOLS = {"memcpy", "memset", "memmove", "__stack_chk_fail"}
POLICY_INCLUDES = {'"policy.h"', '"conn.h"', '"util.h"'}
LICENCE = "SPDX-License-Identifier: GPL-2.0-or-later"
LINES = 1000
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"][^>"]+[>"])', re.MULTILINE)
SANITIZER_SYMBOL = re.compile(r"_+(asan|ubsan|tsan|gcov)_")


def sources(top, *directories, suffixes=(".c", ".h")):
    """(path relative to top, text) of the files in these directories."""
    for directory in directories:
        for path in sorted((top / directory).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield str(path.relative_to(top)), path.read_text()


def includes(text):
    return INCLUDE.findall(text)


def code(text):
    """Without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(\\.|[^"\\\n])*"', " ", text, flags=re.DOTALL)


# --- the rules: each yields what breaks it


def fuse_uses_public_headers(top):
    """fuse/ uses the public headers of conn/, its own, and none of anybody else's."""
    for name, text in sources(top, "fuse"):
        for header in includes(text):
            if header[0] == "<":
                continue
            path = ((top / name).parent / header.strip('"')).resolve()
            own = path.is_relative_to(top / "fuse") and (path.exists() or path.name in GENERATED)
            if not own and not (path.parent == top / "conn" and path.name in PUBLIC):
                yield f"{name}: {header}"


def conn_uses_only_itself(top):
    """conn/ uses nothing of fuse/, and no libfuse."""
    for name, text in sources(top, "conn"):
        for header in includes(text):
            own = "/" not in header and (top / "conn" / header.strip('"')).exists()
            if header[0] == '"' and not own or "fuse" in header:
                yield f"{name}: {header}"


def conn_knows_no_fuse(top):
    """Not even its words: no FUSE type or function, no NFS file procedure, in conn/."""
    for name, text in sources(top, "conn"):
        for word in re.findall(r"\b(fuse_\w+|FUSE_\w+|NFS3_\w+|nfs3_\w+)\b", code(text)):
            yield f"{name}: {word}"


def conn_never_logs(top):
    """conn/ tells its owner, by an event; it prints nothing."""
    for name, text in sources(top, "conn"):
        for word in re.findall(r"\b(printf|fprintf|dprintf|vfprintf|perror|puts|fputs|syslog|log_\w+)"
                               r"\s*\(", code(text)):
            yield f"{name}: {word}"


def codecs_in_their_place(top):
    """libnfs: its codecs, in the files that are for it; its client library nowhere."""
    for name, text in sources(top, "fuse", "conn"):
        for header in includes(text):
            if "nfsc/" not in header and "libnfs" not in header:
                continue
            if name not in CODECS or re.search(r"libnfs\.h|libnfs-raw\.h", header):
                yield f"{name}: {header}"


def nfs3_types_in_their_place(top):
    """Types of the protocol stay in nfs3.*, so that an nfs4.c can stand beside it."""
    for name, text in sources(top, "fuse", "conn"):
        if name in NFS3_FILES:
            continue
        for match in re.finditer(NFS3_TYPES, code(text)):
            yield f"{name}: {match.group()}"


def no_header_named_fuse(top):
    """A header named fuse.h would hide libfuse's."""
    for name, text in sources(top, "fuse", "conn"):
        if name.endswith("/fuse.h") or "<fuse.h>" in includes(text):
            yield name


def policy_is_pure(top):
    """policy.c decides and does nothing: no lock, clock, socket or memory. Looked at in the object
    file, where nothing can hide."""
    for header in includes((top / "conn/policy.c").read_text()):
        if header not in POLICY_INCLUDES:
            yield f"conn/policy.c: {header}"
    built = top / "policy.o"
    done = subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-c", top / "conn/policy.c",
                           "-o", built], capture_output=True, text=True, check=False)
    if done.returncode:
        yield done.stderr
        return
    symbols = subprocess.run(["nm", "-u", built], capture_output=True, text=True, check=True).stdout
    for symbol in symbols.split():
        if symbol not in POLICY_SYMBOLS | {"U"} and not SANITIZER_SYMBOL.match(symbol):
            yield f"conn/policy.c calls {symbol}"


def has_licence(top):
    """Every C file begins with its licence."""
    for name, text in sources(top, "fuse", "conn", "tests"):
        if LICENCE not in text.partition("\n")[0]:
            yield name


def is_not_too_long(top):
    """A file that one cannot keep in mind is two files."""
    for name, text in sources(top, "fuse", "conn"):
        if text.count("\n") > LINES:
            yield f"{name}: {text.count(chr(10))} lines"


def every_message_is_said(top):
    """An id of the catalogue that nothing ever says is a promise broken."""
    said = "".join(code(text) for name, text in sources(top, "fuse")
                   if name not in ("fuse/message.h", "fuse/message_help.c"))
    for enumerator in re.findall(r"\bX\((MSG_\w+),", (top / "fuse/message.h").read_text()):
        if not re.search(rf"\b{enumerator}\b", said):
            yield f"message.h: {enumerator}"


def every_message_is_provoked(top):
    """Each id of the catalogue is named by a test, as the user sees it ([id]) or as JSON has it ("id"). That something
    is broken which cannot break is left to a unit test."""
    told = "".join(text for _, text in sources(top, "tests", suffixes=(".py",)))
    units = "".join(text for _, text in sources(top, "tests/unit"))
    for enumerator, name in re.findall(r'\bX\((MSG_\w+), "([^"]+)"', (top / "fuse/message.h").read_text()):
        named = re.search(rf"\[{name}\\?\]|[\"']{name}[\"']", told)
        if not named and not (name == "bug" and enumerator in units):
            yield f"message.h: {name}"


RULES = [fuse_uses_public_headers, conn_uses_only_itself, conn_knows_no_fuse, conn_never_logs,
         codecs_in_their_place, nfs3_types_in_their_place, no_header_named_fuse, policy_is_pure,
         has_licence, is_not_too_long, every_message_is_said, every_message_is_provoked]


@pytest.fixture
def tree(tmp_path):
    """A copy of the sources."""
    for directory in ("fuse", "conn", "tests"):
        shutil.copytree(TOP / directory, tmp_path / directory,
                        ignore=lambda where, names: [n for n in names if n == "__pycache__" or
                                                     Path(where, n).is_file() and
                                                     Path(n).suffix not in (".c", ".h", ".py")])
    return tmp_path


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule(tree, rule):
    """The tree keeps the rule."""
    assert list(rule(tree)) == []


BROKEN = [
    (fuse_uses_public_headers, "fuse/inode.c", '#include "../conn/pool.h"'),
    (fuse_uses_public_headers, "fuse/inode.h", '#  include "../conn/connection.h"'),
    (fuse_uses_public_headers, "fuse/inode.c", '#include "../tests/unit/fakeserver.h"'),
    (conn_uses_only_itself, "conn/pool.c", '#include "../fuse/log.h"'),
    (conn_uses_only_itself, "conn/loop.c", "#include <fuse_lowlevel.h>"),
    (conn_knows_no_fuse, "conn/loop.c", "struct fuse_session;"),
    (conn_never_logs, "conn/pool.c", 'static void f(void) { fprintf(stderr, "x"); }'),
    (codecs_in_their_place, "fuse/file.c", "#include <nfsc/libnfs-raw-nfs.h>"),
    (codecs_in_their_place, "fuse/nfs3.c", "#include <nfsc/libnfs.h>"),
    (codecs_in_their_place, "conn/mount3.c", "#include <nfsc/libnfs-raw.h>"),
    (nfs3_types_in_their_place, "fuse/file.c", "struct fattr3;"),
    (no_header_named_fuse, "fuse/fuse.h", ""),
    (policy_is_pure, "conn/policy.c", '#include "mutex.h"'),
    (policy_is_pure, "conn/policy.c", "long time(long *); long g(void) { return time(0); }"),
    (policy_is_pure, "conn/policy.c", "int64_t g(void) { return clock_ns(); }"),
    (has_licence, "fuse/new.c", "int x;"),
    (is_not_too_long, "fuse/new.c", "\n" * 1001),
    (every_message_is_said, "fuse/message.h", 'X(MSG_NOBODY, "nobody", EXIT_OK, SEVERITY_NOTICE)'),
    (every_message_is_provoked, "fuse/message.h", 'X(MSG_NOBODY, "no" "body", EXIT_OK, SEVERITY_NOTICE)'.replace('" "', "-")),
]


@pytest.mark.parametrize("rule, name, line", BROKEN,
                         ids=[f"{rule.__name__}-{i}" for i, (rule, *_) in enumerate(BROKEN)])
def test_rule_is_watched(tree, rule, name, line):
    """A tree that breaks the rule is noticed, and the file is named."""
    before = set(rule(tree))
    with open(tree / name, "a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    found = set(rule(tree)) - before
    assert found and all(name.split("/")[1] in what for what in found)


# --- the documents


def tour_words():
    text = re.search(r"## Source tour\n\n```\n(.*?)```", (TOP / "README.md").read_text(), re.DOTALL).group(1)
    return set(re.findall(r"[a-z]\w*\*?", text))


def test_tour_names_every_file():
    """Who looks for what a file is for finds its name in README."""
    words = tour_words()
    assert "message*" in words and len(words) > 200
    files = [path for directory in ("fuse", "fuse/control", "fuse/command", "conn") for path in (TOP / directory).glob("*.[ch]")]
    assert [path for path in files if not any(fnmatch.fnmatch(path.stem, word) for word in words)] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_paths_exist(name):
    """Every file of the tree that is named is there; {a,b} and * as in a shell."""
    paths = set(re.findall(r"(?<![\w/.-])(?:fuse|conn|tests|packaging|\.ci)/[\w./@*{},-]*[\w*}]", (TOP / name).read_text()))
    assert len(paths) > 15
    for path in paths - {"tests/fuzz/corpus/NAME/crash_"}:
        before, _, after = path.partition("{")
        inside, _, after = after.partition("}")
        for word in inside.split(","):
            assert list(TOP.glob(f"{before}{word}{after}")), path
