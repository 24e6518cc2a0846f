# shellcheck shell=bash
# Sourced by debian.sh, deb.sh, boot.sh and image.sh, after packages.sh: a Debian of its own in a directory of /var/tmp, with
# this machine's kernel.

# Runs "$@" with the directory $0 as its root, in this mount namespace. By pivot_root: in a chroot
# NFS-Ganesha would not find the file systems it exports, nor unshare(1) make user namespaces.
# shellcheck disable=SC2016,SC2034 # expanded in there; used by who sources this
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
umount --lazy /mnt
cd /usr/src/fusenfs
exec "$@"'

# mirror: where this machine gets its packages from
mirror()
{
	local uris
	# shellcheck disable=SC2016 # expanded by apt-get
	mapfile -t uris < <(apt-get indextargets --format '$(REPO_URI)' 'Label: Debian')
	echo "${uris[0]:-http://deb.debian.org/debian}"
}

# take_directory DIR: one that other users cannot enter, nor have prepared: setuid programs get old in it. And for one
# script at a time.
take_directory()
{
	mkdir -m 700 "$1" 2>/dev/null || true
	if [ -L "$1" ] || [ ! -O "$1" ]; then die "$1 belongs to somebody else"; fi
	exec 9<"$1"
	flock --nonblock 9 || die "$1 is in use by another script"
}

# make_root SUITE ROOT: the smallest Debian there is. Under its own name only when it is complete.
make_root()
{
	local suite=$1 root=$2 new=$2.new log=$2.log script=/usr/share/debootstrap/scripts/$1
	[ ! -d "$root" ] || return 0
	install_packages debootstrap
	[ -e "$script" ] || script=${script%/*}/sid # younger than this debootstrap
	echo "Installing Debian $suite in $root"
	rm -rf --one-file-system "$new"
	isolated debootstrap --variant=minbase "$suite" "$new" "$(mirror)" "$script" >"$log" 2>&1 ||
		{ tail -n 20 "$log" >&2; die "debootstrap failed"; }
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$new/etc/hosts"
	ln -s ../proc/self/mounts "$new/etc/mtab" # NFS-Ganesha wants it
	echo 'tester:x:1000:1000::/:/bin/sh' >>"$new/etc/passwd" # fusermount3 wants a name
	mkdir -p "$new/usr/src/fusenfs"
	mv "$new" "$root"
}

# copy_network ROOT: how this machine reaches the mirror may have changed since.
copy_network()
{
	apt-config dump | grep -E '^Acquire::(https?|Check-)' >"$1/etc/apt/apt.conf.d/90machine" || true
	cp --dereference --remove-destination /etc/resolv.conf "$1/etc/resolv.conf" || true
}

# copy_tree ROOT: the tree as it is, committed or not. What was built there for the last one stays, what a killed or
# --keep run has left goes.
copy_tree()
{
	local to=$1/usr/src/fusenfs
	rm -rf --one-file-system "$1"/var/tmp/fusenfs-*
	mkdir -p "$to"
	find "$to" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
	tar -c --exclude=./.git --exclude='./build*' --exclude=__pycache__ . |
		tar -x --no-same-owner -C "$to"
}

# in_root ROOT COMMAND...: in namespaces of its own, in a copy of the tree
in_root()
{
	local root=$1
	shift
	isolated bash -c "$PRIVATE_ROOT" "$root" env -i HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
		${http_proxy:+"http_proxy=$http_proxy"} "$@"
}
