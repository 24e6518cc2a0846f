# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the catalogue that the other suites have no reason to provoke. (test_layering.py: each is named by a test.)"""

import os
import re
import signal
import subprocess

import pytest

from lab import rpc
from lab.procs import run_bounded, wait_for
from support import is_sanitized
from test_mount_errors import USER, Mountd, attempts, user_namespace  # noqa: F401
# ruff: noqa: F811

MNT3ERR_NOTDIR, MNT3ERR_SERVERFAULT = 20, 10006


def test_many_connections(attempts):
    """More than the kernel client would make: a notice, and the mount is made."""
    result = attempts.mount("nconnect=17")
    assert result.status == 0 and re.search(r"nconnect=17: .* \[many-connections\]$", result.output, re.MULTILINE)
    attempts.umount()


def test_fusermount_refuses(attempts):
    """As it does when users have mounted enough; what it says is in the message."""
    script = user_namespace(attempts, "echo mount_max=0 >{0}/conf; mount --bind {0}/conf /etc/fuse.conf")
    said = attempts.fails(32, "fuse-failed", user=USER, namespace=script)
    assert "fusermount3 did not mount on" in said and "LEFT" not in said
    assert re.search("why: .*too many FUSE filesystems mounted", said)


def test_below_a_hung_mount(attempts):
    """What is mounted above the mount point does not answer: it is not waited for."""
    (attempts.server.rw / "d").mkdir()
    assert attempts.mount().status == 0
    daemon = attempts.daemon()
    os.kill(daemon, signal.SIGSTOP)
    try:
        result = attempts.mount(mnt=attempts.mnt / "d")
        assert result.status == 32 and result.seconds < 7, result
        assert re.search(rf"looking at {attempts.mnt}/d took longer than \d s \[mountpoint-timeout\]$", result.output, re.M)
        assert f"resolved so far: {attempts.mnt}" in result.output and "try: findmnt -T" in result.output
    finally:
        os.kill(daemon, signal.SIGCONT)
    wait_for(lambda: attempts.processes() == [daemon], 10, "the end of who has looked")
    attempts.umount()


def mount_by(attempts, mountd, name):
    ports = f"port={attempts.server.nfs_port},mountport={mountd.port},mountproto=tcp"
    return attempts.fails(32, name, ports, ports=False, source="127.0.0.1:/data")


@pytest.mark.parametrize("status, name, text", [
    (MNT3ERR_NOTDIR, "export-not-dir", "'/data' on 127.0.0.1 is not a directory"),
    (MNT3ERR_SERVERFAULT, "mountd-error", "answered MNT of '/data' with MNT3ERR_SERVERFAULT"),
    (12345, "mountd-error", "12345"),
    (None, "mountd-error", "sent a malformed reply")])
def test_mountd_error(attempts, status, name, text):
    """mountd's other answers, among them those that no standard knows, and half of one."""
    with Mountd(status, {"/data": []}) as mountd:
        said = mount_by(attempts, mountd, name)
    assert text in said and "why:" in said and "try:" in said


@pytest.mark.parametrize("flavors, text", [
    ([390004], "wants Kerberos for '/data' (flavors 390004)"), ([390003, 390005], "wants Kerberos"),
    ([6], "does not accept AUTH_SYS for '/data' (flavors 6)")])
def test_auth_flavor(attempts, flavors, text):
    """The export has no AUTH_SYS among the flavors that MNT tells: refused before anything is sent with it."""
    more = rpc.opaque(b"h" * 32) + rpc.u32(len(flavors)) + b"".join(map(rpc.u32, flavors))
    with Mountd(0, {}, more) as mountd:
        said = mount_by(attempts, mountd, "auth-flavor")
    assert text in said and "try:" in said


# Once main() has begun, malloc and its kin succeed so many times, and never again.
MISER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
typedef int (*main_t)(int, char **, char **);
static _Atomic long left = -1; /* no limit yet */
static main_t real_main;

static int spent(void)
{
	if (left < 0 || (left > 0 && left-- > 0))
		return 0;
	errno = ENOMEM;
	return 1;
}
void *malloc(size_t n) { return spent() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return spent() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return spent() ? NULL : __libc_realloc(p, n); }

static int miser_main(int argc, char **argv, char **envp)
{
	left = atol(getenv("MALLOCS"));
	return real_main(argc, argv, envp);
}
int __libc_start_main(main_t main, int argc, char **argv, void (*init)(void), void (*fini)(void),
		      void (*rtld_fini)(void), void *stack_end)
{
	int (*next)(main_t, int, char **, void (*)(void), void (*)(void), void (*)(void), void *) =
		dlsym(RTLD_NEXT, "__libc_start_main");

	real_main = main;
	return next(miser_main, argc, argv, init, fini, rtld_fini, stack_end);
}
"""


@pytest.fixture(scope="module")
def miser(tmp_path_factory):
    place = tmp_path_factory.mktemp("miser")
    (place / "miser.c").write_text(MISER)
    run_bounded(["gcc", "-shared", "-fPIC", "-O1", "-o", place / "miser.so", place / "miser.c"])
    return place / "miser.so"


@pytest.mark.skipif(is_sanitized(), reason="a sanitizer has a malloc of its own")
def test_no_memory(attempts, miser):
    """Wherever it runs out before there is a mount, that is said, nothing is left, and nobody hangs."""
    for mallocs in [*range(40), *range(40, 600, 20)]:
        env = attempts.env | {"LD_PRELOAD": str(miser), "MALLOCS": str(mallocs)}
        done = run_bounded(attempts.argv(attempts.source, attempts.mnt, "-o", attempts.ports), check=False, env=env)
        print(mallocs, done.returncode, done.stdout)
        if attempts.mounted:
            assert done.returncode == 0
            subprocess.run(["umount", "-l", attempts.mnt], check=True)
        elif "memory [no-memory]" in done.stdout or mallocs < 20:
            assert done.returncode == 2 and "out of memory [no-memory]\n" in done.stdout
        else:  # a thread that cannot be made, a mount that the kernel has no memory for
            assert done.returncode in (2, 32) and re.search(r"\[(no-memory|system|fuse-failed)\]$", done.stdout, re.M)
        attempts.wait_gone()
