#!/bin/bash
# Runs the files of the suite two at a time, each by a pytest of its own with a server and a network of
# its own: most tests wait. For tests/run. Arguments go to every pytest.
#
# A file that passes is one line, its log is deleted with FUSENFS_TEST_DIR; one that fails is shown.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."

LANES=${TESTS_LANES:-2}
export FUSENFS_TEST_DIR

# one FILE ARGUMENT...: pytest exits with 5 if no test of the file is selected.
one()
{
	local file=$1 name log status=0
	shift
	name=$(basename "$file" .py)
	log=$FUSENFS_TEST_DIR/$name.log
	mkdir -m 755 "$FUSENFS_TEST_DIR/$name"
	# A mount namespace of its own: one that the other lane makes would keep mounts of this alive.
	FUSENFS_TEST_DIR=$FUSENFS_TEST_DIR/$name unshare --mount tests/lab/own_directories.sh /usr/bin/python3 -m pytest \
		-c tests/pytest.ini --rootdir tests -q "$@" "$file" >"$log" 2>&1 </dev/null || status=$?
	(
		flock 9
		case $status in
		0 | 5) printf '%-24s %s\n' "$name" "$(tail -n 1 "$log")" ;;
		*) printf '\n===== %s =====\n' "$name"; cat "$log" ;;
		esac
		sed -n '/^=* worst seconds/,/^===/p' "$log" | sed '$d'
	) 9>>"$FUSENFS_TEST_DIR/lanes.lock"
	[ $status = 0 ] || [ $status = 5 ]
}
export -f one

# The larger the file, the longer it takes, more or less.
{ echo tests/posix; ls -S tests/test_*.py; } |
	xargs -P "$LANES" -I FILE bash -c 'one "$@"' one FILE "$@"
