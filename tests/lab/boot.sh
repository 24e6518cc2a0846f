#!/bin/bash
# Boots a Debian with fusenfs in a container, with the server up, down and dying: builds the image that
# tests/test_boot.py needs, when it is missing (some minutes, needs a mirror), and runs that. Needs root.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
. tests/lab/packages.sh
. tests/lab/root.sh

PACKAGES=systemd,systemd-sysv,dbus,fuse3,libfuse3-3,libnfs13,libjansson4,libmicrohttpd12,iproute2,procps,util-linux
dir=/var/tmp/fusenfs-boot

usage()
{
	cat <<'EOT'
Usage: tests/lab/boot.sh [ARGUMENT...]
  ARGUMENT   for pytest: tests/lab/boot.sh -k watchdog -x
The image is kept in /var/tmp/fusenfs-boot: remove that to start afresh.
EOT
}

# Under its own name only when it is complete. The release is this machine's: the program is built here.
make_image()
{
	local log=$dir/debootstrap.log suite
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mkdir -m 700 $dir 2>/dev/null || true
	if [ -L $dir ] || [ ! -O $dir ]; then die "$dir belongs to somebody else"; fi
	echo "Installing Debian $suite in $dir/root"
	rm -rf --one-file-system $dir/new
	isolated debootstrap --variant=minbase --include=$PACKAGES "$suite" $dir/new "$(mirror)" >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; die "debootstrap failed"; }
	rm -f $dir/new/var/cache/apt/archives/*.deb
	mkdir -p $dir/new/var/log/journal
	rm -rf --one-file-system $dir/root
	mv $dir/new $dir/root
	echo $PACKAGES >$dir/packages
}

case "${1:-}" in
-h | --help) usage; exit ;;
esac
need_root
need_fuse
# The test of the package has no network.
install_packages "${BOOT_PACKAGES[@]}" "${PACKAGE_PACKAGES[@]}"
install_build_dependencies packaging
[ "$(cat $dir/packages 2>/dev/null)" = $PACKAGES ] || make_image
exec tests/run --slow tests/test_boot.py "$@"
