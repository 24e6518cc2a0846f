#!/bin/bash
# Builds the Debian package on a release of Debian (packaging/deb, lintian included), installs it in another, clean one of
# the same release, and tests what is installed there (tests/test_deb.py). Needs root, and a mirror.
# shellcheck disable=SC2016 # expanded in there
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
. tests/lab/packages.sh
. tests/lab/root.sh

# As an administrator does; the mirror's list is needed for what the package depends on.
INSTALL='
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
cd /usr/src/fusenfs
{ apt-get -q update && apt-get -qy install --no-install-recommends ./fusenfs_*.deb; } >install.log 2>&1 ||
	{ tail -n 20 install.log >&2; exit 1; }'

usage()
{
	cat <<'EOT'
Usage: tests/lab/deb.sh [SUITE [ARGUMENT...]]
  SUITE      bookworm, trixie, sid ...; default: bookworm, then trixie
  ARGUMENT   for pytest: tests/lab/deb.sh trixie -k mount -x
The packages are left in /var/tmp/fusenfs-SUITE/deb, the releases beside them; remove /var/tmp/fusenfs-SUITE to start
afresh.
EOT
}

# build_package DIR: into DIR/deb
build_package()
{
	make_root "$suite" "$1/root"
	copy_network "$1/root"
	copy_tree "$1/root"
	echo "Building the package on Debian $suite"
	in_root "$1/root" packaging/deb
	rm -rf "$1/deb"
	mv "$1/root/usr/src/fusenfs/build-deb" "$1/deb"
}

# install_package DIR: on a copy of DIR/clean, which stays as debootstrap has made it
install_package()
{
	make_root "$suite" "$1/clean"
	rm -rf --one-file-system "$1/installed"
	cp -a "$1/clean" "$1/installed"
	copy_network "$1/installed"
	cp "$1"/deb/fusenfs_*.deb "$1/installed/usr/src/fusenfs"
	echo "Installing the package on Debian $suite"
	in_root "$1/installed" bash -c "$INSTALL"
}

case "${1:-}" in
-h | --help) usage; exit ;;
*[!a-z]*) usage >&2; exit 1 ;;
esac
need_root
need_fuse
if [ $# = 0 ]; then
	"$0" bookworm
	exec "$0" trixie
fi
suite=$1
shift
dir=/var/tmp/fusenfs-$suite
take_directory "$dir"
build_package "$dir"
install_package "$dir"
FUSENFS_TEST_DEB=$dir/installed tests/run --slow tests/test_deb.py "$@"
