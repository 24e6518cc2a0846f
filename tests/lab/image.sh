#!/bin/bash
# Builds the container image (packaging/container/Containerfile) by podman and without a registry: its base is
# debootstrapped. Then tests/test_image.py looks at it, and runs it by podman and by crun. Needs root and a mirror; takes
# some minutes.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
. tests/lab/packages.sh
. tests/lab/root.sh

dir=/var/tmp/fusenfs-image

case "${1:-}" in
-h | --help)
	echo "Usage: tests/lab/image.sh [ARGUMENT...]   arguments are for pytest"
	echo "Kept in $dir: remove that to start afresh."
	exit
	;;
esac

storage()
{
	podman --root $dir/storage --runroot $dir/run --storage-driver vfs "$@"
}

# What docker.io/library/debian:bookworm-slim is, near enough.
make_base()
{
	local suite
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	rm -rf --one-file-system $dir/base
	echo "Installing Debian $suite in $dir/base"
	isolated debootstrap --variant=minbase "$suite" $dir/base "$(mirror)" >$dir/debootstrap.log 2>&1 ||
		{ tail -n 20 $dir/debootstrap.log >&2; die "debootstrap failed"; }
	apt-config dump | grep -E '^Acquire::(https?|Check-)' >$dir/base/etc/apt/apt.conf.d/90machine || true
	rm -f $dir/base/var/cache/apt/archives/*.deb
	tar -C $dir/base -c . | storage import --quiet --change 'CMD ["/bin/bash"]' - localhost/fusenfs-base >/dev/null
	rm -rf --one-file-system $dir/base
}

need_root
need_fuse
install_packages "${IMAGE_PACKAGES[@]}"
mkdir -m 700 $dir 2>/dev/null || true
if [ -L $dir ] || [ ! -O $dir ]; then die "$dir belongs to somebody else"; fi
storage image exists localhost/fusenfs-base || make_base
echo "Building the image"
storage build --quiet --isolation chroot --build-arg BASE=localhost/fusenfs-base --tag localhost/fusenfs \
	--file packaging/container/Containerfile . >$dir/build.log 2>&1 ||
	{ tail -n 20 $dir/build.log >&2; die "podman failed"; }
# Unpacked, for crun.
storage inspect --type image localhost/fusenfs >$dir/image.json
rm -rf --one-file-system $dir/rootfs
cp -a "$(storage image mount localhost/fusenfs)" $dir/rootfs
storage image unmount localhost/fusenfs >/dev/null
tests/run --slow tests/test_image.py "$@"
