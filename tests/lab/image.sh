#!/bin/bash
# Builds the container image (packaging/container/Containerfile) without a registry: its base is debootstrapped. Then
# tests/test_image.py looks at it, and runs it. Needs root, buildah, crun and a mirror; takes some minutes.
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
	buildah --root $dir/storage --runroot $dir/run --storage-driver vfs "$@"
}

# What docker.io/library/debian:bookworm-slim is, near enough.
make_base()
{
	local suite container
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	rm -rf --one-file-system $dir/base
	echo "Installing Debian $suite in $dir/base"
	isolated debootstrap --variant=minbase "$suite" $dir/base "$(mirror)" >$dir/debootstrap.log 2>&1 ||
		{ tail -n 20 $dir/debootstrap.log >&2; die "debootstrap failed"; }
	apt-config dump | grep -E '^Acquire::(https?|Check-)' >$dir/base/etc/apt/apt.conf.d/90machine || true
	rm -f $dir/base/var/cache/apt/archives/*.deb
	container=$(storage from scratch)
	storage copy --quiet "$container" $dir/base / >/dev/null
	storage config --cmd /bin/bash "$container"
	storage commit --quiet --rm "$container" localhost/fusenfs-base >/dev/null
	rm -rf --one-file-system $dir/base
}

need_root
need_fuse
install_packages "${IMAGE_PACKAGES[@]}"
mkdir -m 700 $dir 2>/dev/null || true
if [ -L $dir ] || [ ! -O $dir ]; then die "$dir belongs to somebody else"; fi
storage inspect --type image localhost/fusenfs-base >/dev/null 2>&1 || make_base
echo "Building the image"
storage build --quiet --isolation chroot --build-arg BASE=localhost/fusenfs-base --tag localhost/fusenfs \
	--file packaging/container/Containerfile . >$dir/build.log 2>&1 ||
	{ tail -n 20 $dir/build.log >&2; die "buildah failed"; }
# Unpacked, for the test to run.
container=$(storage from localhost/fusenfs)
trap 'storage rm "$container" >/dev/null' EXIT
storage inspect --type image localhost/fusenfs >$dir/image.json
rm -rf --one-file-system $dir/rootfs
cp -a "$(storage mount "$container")" $dir/rootfs
tests/run --slow tests/test_image.py "$@"
