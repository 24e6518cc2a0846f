#!/bin/bash
# Builds and tests fusenfs on another release of Debian: its compiler, libfuse, libnfs, Python and
# NFS-Ganesha, on this machine's kernel. Needs root, and a mirror for what is not installed yet.
# shellcheck disable=SC2016 # expanded in there
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
. tests/lab/packages.sh
. tests/lab/root.sh

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
	cat <<'EOT'
Usage: tests/lab/debian.sh SUITE [ARGUMENT...]
  SUITE      bookworm, trixie, sid ...; kept in /var/tmp/fusenfs-SUITE: remove that to start afresh
  ARGUMENT   for tests/run: tests/lab/debian.sh trixie tests/test_names.py -k rename -x
EOT
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
take_directory "$dir"
make_root "$suite" "$dir/root"
copy_network "$dir/root"
copy_tree "$dir/root"
in_root "$dir/root" bash -c "$BUILD_AND_TEST" tests/run "$@"
