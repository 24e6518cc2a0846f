#!/bin/bash
# own_directories.sh COMMAND...: runs it with directories of its own in the places that all daemons of a host share, so that
# suites at the same time, and mounts of this machine, do not see each other: sockets, records of locks, users' sockets in
# /tmp. For lanes.sh and tests/run, in a mount namespace of its own and below $FUSENFS_TEST_DIR.
set -euo pipefail

own()
{
	mkdir -p "$1" "$FUSENFS_TEST_DIR/own$1"
	chmod "$2" "$FUSENFS_TEST_DIR/own$1"
	mount --bind "$FUSENFS_TEST_DIR/own$1" "$1"
}

own /run/fusenfs 755
own /var/lib/fusenfs 755
case "$PWD/" in
/tmp/*) ;; # the sources are there
*) own /tmp 1777 ;;
esac
exec "$@"
