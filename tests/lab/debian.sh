#!/bin/bash
# Builds and tests fusenfs on another release of Debian: its compiler, libfuse, libnfs, Python and
# NFS-Ganesha, on this machine's kernel. Needs root, and a mirror for what is not installed yet.
# shellcheck disable=SC2016 # expanded by apt-get, or in there
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
. tests/lab/packages.sh

# Runs "$@" with the directory $0 as its root, in this mount namespace. By pivot_root: in a chroot
# NFS-Ganesha would not find the file systems it exports, nor unshare(1) make user namespaces.
PRIVATE_ROOT='
set -e
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount --rbind /sys sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mknod run/fuse c 10 229
mount --bind run/fuse dev/fuse # tests change its mode
pivot_root . mnt
cd /usr/src/fusenfs
umount --lazy /mnt
exec "$@"'

# In there. The guard of install_packages() keeps servers from starting.
BUILD_AND_TEST='
set -euo pipefail
. tests/lab/packages.sh
install_packages "${BUILD_PACKAGES[@]}" "${LAB_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
echo "Debian $(cat /etc/debian_version):" \
	$(dpkg-query -W -f "\${source:Package} \${Version}, " gcc libfuse3-dev libnfs-dev nfs-ganesha)
exec tests/run --werror "$@"'

usage()
{
	cat <<'EOF'
Usage: tests/lab/debian.sh SUITE [ARGUMENT...]
  SUITE      bookworm, trixie, sid ...; kept in /var/tmp/fusenfs-SUITE: remove that to start afresh
  ARGUMENT   for tests/run: tests/lab/debian.sh trixie tests/test_names.py -k rename -x
EOF
}

# mirror: where this machine gets its packages from
mirror()
{
	local uris
	mapfile -t uris < <(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian')
	echo "${uris[0]:-http://deb.debian.org/debian}"
}

# A directory that other users cannot enter, nor have prepared: setuid programs get old in it.
take_directory()
{
	mkdir -m 700 "$dir" 2>/dev/null || true
	if [ -L "$dir" ] || [ ! -O "$dir" ]; then die "$dir belongs to somebody else"; fi
	exec 9<"$dir"
	flock --nonblock 9 || die "$dir is in use by another $0"
}

# Under its own name only when it is complete.
make_root()
{
	local log=$dir/debootstrap.log script=/usr/share/debootstrap/scripts/$suite
	[ -e "$script" ] || script=${script%/*}/sid # younger than this debootstrap
	echo "Installing Debian $suite in $dir/root"
	rm -rf --one-file-system "$dir/new"
	isolated debootstrap --variant=minbase "$suite" "$dir/new" "$(mirror)" "$script" >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; die "debootstrap failed"; }
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$dir/new/etc/hosts"
	ln -s ../proc/self/mounts "$dir/new/etc/mtab" # NFS-Ganesha wants it
	echo 'tester:x:1000:1000::/:/bin/sh' >>"$dir/new/etc/passwd" # fusermount3 wants a name
	mv "$dir/new" "$dir/root"
}

# How this machine reaches the mirror may have changed since.
copy_network()
{
	local to=$dir/root/etc
	apt-config dump | grep -E '^Acquire::(https?|Check-)' >"$to/apt/apt.conf.d/90machine" || true
	cp --dereference --remove-destination /etc/resolv.conf "$to/resolv.conf" || true
}

# The tree as it is, committed or not. What was built there for the last one stays, what a killed or
# --keep run has left goes.
copy_tree()
{
	local to=$dir/root/usr/src/fusenfs
	rm -rf --one-file-system "$dir"/root/var/tmp/fusenfs-*
	mkdir -p "$to"
	find "$to" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
	tar -c --exclude=./.git --exclude='./build*' --exclude=__pycache__ . |
		tar -x --no-same-owner -C "$to"
}

case "${1:-}" in
-h | --help) usage; exit ;;
"" | *[!a-z]*) usage >&2; exit 1 ;;
esac
suite=$1
shift
dir=/var/tmp/fusenfs-$suite
need_root
need_fuse
take_directory
if [ ! -d "$dir/root" ]; then
	install_packages debootstrap
	make_root
fi
copy_network
copy_tree
isolated bash -c "$PRIVATE_ROOT" "$dir/root" env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
	${http_proxy:+"http_proxy=$http_proxy"} bash -c "$BUILD_AND_TEST" tests/run "$@"
