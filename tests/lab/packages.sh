# shellcheck shell=bash disable=SC2034
# Sourced by tests/run, packaging/try and other scripts: Debian packages, without starting any of
# their services; and namespaces that leave nothing behind.

BUILD_PACKAGES=(meson ninja-build gcc libc6-dev pkg-config libfuse3-dev libnfs-dev libjansson-dev
	libmicrohttpd-dev)
LAB_PACKAGES=(fuse3 nfs-ganesha nfs-ganesha-vfs rpcbind python3 iproute2 mount e2fsprogs)
TEST_PACKAGES=(nfs-common nfs-ganesha-mem python3-pytest python3-pytest-timeout nftables strace tmux systemd
	apparmor bash-completion rpm mandoc man-db shellcheck python3-yaml)
BENCH_PACKAGES=(git rsync)
BOOT_PACKAGES=(systemd-container debootstrap)
IMAGE_PACKAGES=(podman crun debootstrap)
PACKAGE_PACKAGES=(debhelper dh-apparmor dpkg-dev fakeroot lintian rpm)
POLICY=/usr/sbin/policy-rc.d

# Debian's tools first: another Python or meson may precede them in PATH.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
PROGRAMS=/var/cache/fusenfs-tests # programs out of packages that are not installed
PATH+=:$PROGRAMS

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

need_root()
{
	[ "$(id -u)" = 0 ] || die "must run as root: it mounts, and starts an NFS server (try: sudo $0)"
}

need_fuse()
{
	[ -c /dev/fuse ] || modprobe fuse 2>/dev/null || true
	[ -c /dev/fuse ] || die "/dev/fuse does not exist (in a container: --privileged," \
		"or --device /dev/fuse --cap-add SYS_ADMIN)"
}

# missing_packages NAME...: those not installed
missing_packages()
{
	local name
	for name in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || echo "$name"
	done
}

# install_packages NAME...: silent when nothing is missing
install_packages()
{
	local missing
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	command -v apt-get >/dev/null || die "needs Debian's packages ${missing[*]}"
	echo "Installing ${missing[*]}"
	apt_get install "${missing[@]}"
}

# install_build_dependencies DIR: what DIR/debian/control wants on this release; silent when nothing is missing
install_build_dependencies()
{
	local missing
	! missing=$(cd "$1" && dpkg-checkbuilddeps 2>&1) || return 0
	echo "Installing ${missing#*dependencies: }"
	apt_get build-dep "$1"
}

# fetch_program PACKAGE NAME: one program of a package that has a service and brings much else along; kept in PROGRAMS.
# Silent when it is there; a test is skipped when it cannot be had.
fetch_program()
(
	! command -v "$2" >/dev/null || exit 0
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	cd "$work" || exit
	echo "Fetching $2"
	if download "$1" && dpkg-deb --fsys-tarfile "$1"_*.deb | tar -x ./usr/bin/"$2"; then
		install -D -t "$PROGRAMS" usr/bin/"$2"
	else
		echo "$2 cannot be had: no package $1" >&2
	fi
)

download()
{
	set -- apt-get -q -o APT::Sandbox::User=root download "$1"
	"$@" >/dev/null 2>&1 || { apt-get -q update && "$@"; } >/dev/null 2>&1
}

# apt_get COMMAND WORD...: its output only when it fails
apt_get()
{
	local log
	log=$(mktemp)
	apt_guarded "$log" "$@" || { tail -n 20 "$log" >&2; rm -f "$log"; die "apt-get failed"; }
	rm -f "$log"
}

# The subshell's trap takes the guard away again, also after ^C.
apt_guarded()
(
	log=$1
	shift
	if [ ! -e $POLICY ]; then
		trap 'rm -f $POLICY' EXIT
		printf '#!/bin/sh\nexit 101\n' >$POLICY
		chmod 755 $POLICY
	fi
	export DEBIAN_FRONTEND=noninteractive
	{ apt-get -q update && apt-get -qy --no-install-recommends "$@"; } >"$log" 2>&1 || exit
	keep_off_next_boot "$@" >>"$log" 2>&1
)

# Servers installed for a test are not to appear at the next boot either.
keep_off_next_boot()
{
	[ -d /run/systemd/system ] || return 0
	case " $* " in *" nfs-ganesha "*) systemctl disable nfs-ganesha.service || true ;; esac
	case " $* " in *" rpcbind "*) systemctl disable rpcbind.service rpcbind.socket || true ;; esac
}

# build_program DIR MESON_OPTION...: shows the compiler's output only when it fails or warns
build_program()
{
	local dir=$1 log
	shift
	log=$(mktemp)
	if ! run_build "$dir" "$@" >"$log" 2>&1; then
		cat "$log" >&2
		rm -f "$log"
		die "the build failed"
	fi
	grep -A4 'warning:' "$log" >&2 || true
	rm -f "$log"
}

run_build()
{
	local dir=$1 verb=setup
	shift
	[ ! -f "$dir/build.ninja" ] || verb=configure
	meson $verb "$dir" "$@" && ninja -C "$dir"
}

# isolated CMD...: in namespaces of its own for mounts and processes. When CMD ends, however it ends,
# the kernel takes away what it has left mounted or running; when this script is killed, CMD is too.
isolated()
{
	env --default-signal=INT setpriv --pdeathsig KILL \
		unshare --mount --pid --fork --kill-child=KILL --mount-proc "$@" &
	child=$!
	trap 'kill -KILL "$child"' TERM HUP
	trap : INT # reaches CMD as well, which cleans up and ends
	while kill -0 $child 2>/dev/null; do
		status=0
		wait $child 2>/dev/null || status=$?
	done
	trap - TERM HUP INT
	return "$status"
}
