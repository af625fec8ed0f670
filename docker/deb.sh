#!/bin/sh
# Debian packages of what was built, for `make deb`:
#
#     docker/deb.sh DIR      DIR/installed holds what `make install DESTDIR=DIR/installed PREFIX=/usr` put there
#
# They are left beside DIR, and are the same to the last byte for the same contents: times are the changelog's.
set -eu

[ $# -eq 1 ] || { echo "usage: docker/deb.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
cd "$1"
rm -rf debian
cp -r "$here/debian" debian
# -d: what this is built from was needed before; compilers' flags are not ours to change here.
dpkg-buildpackage --build=binary --no-sign -d >build.log 2>&1 || { tail -n 40 build.log >&2; exit 1; }
ls ../*.deb
