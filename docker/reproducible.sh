#!/bin/sh
# Builds twice, in different folders, at different times, with other settings of everything that should not matter, and compares what came out, byte by byte:
#
#     docker/reproducible.sh DEPS      DEPS is build/deps
#
# The files are those that git knows, as they are in the work tree. The last line is `N passed, N failed`.
set -eu

[ $# -eq 1 ] || { echo "usage: docker/reproducible.sh DEPS" >&2; exit 2; }
deps=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

build() { # FOLDER JOBS SETTING…
	folder=$1 jobs=$2
	shift 2
	mkdir -p "$folder/build"
	git ls-files -z -- . ':!tests' | xargs -0 cp --parents -t "$folder"
	ln -s "$deps" "$folder/build/deps"
	echo "building in $folder"
	(cd "$folder" && env -u MAKEFLAGS -u MAKELEVEL CCACHE_DISABLE=1 "$@" make -s "-j$jobs" deb >make.log 2>&1) || { tail -n 20 "$folder/make.log"; exit 1; }
}

a=$work/a
b=$work/a_longer/name/b
(umask 022; build "$a" 2 TZ=UTC LC_ALL=C HOME=/tmp)
(umask 077; build "$b" 3 TZ=Asia/Kathmandu LC_ALL=C.UTF-8 HOME=/nonexistent USER=somebody)

passed=0 failed=0
for f in seqmsed libseqmse.a $(cd "$a/build" && ls deb/*.deb); do
	if cmp "$a/build/$f" "$b/build/$f"; then
		passed=$((passed + 1))
		echo "ok - $f $(sha256sum <"$a/build/$f" | cut -c 1-16)"
	else
		failed=$((failed + 1))
		echo "not ok - $f"
	fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
