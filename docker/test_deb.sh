#!/bin/sh
# The Debian packages, as an administrator meets them: lintian, then installed, used, upgraded, removed and purged in a fresh Debian.
#
#     docker/test_deb.sh DEBS ROOT      (root; needs lintian and debootstrap)
#
# DEBS is a folder of packages (`make deb`), ROOT that of the Debian (docker/chroot.sh), which is made if it is not there. The last line is `N passed, 0 failed`.
set -eu

[ $# -eq 2 ] || { echo "usage: docker/test_deb.sh DEBS ROOT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
passed=0

ok() {
	passed=$((passed + 1))
	echo "ok $passed - $1"
}

lintian --allow-root --fail-on error,warning,pedantic "$1"/*.deb
ok "lintian has nothing to say"

"$here/chroot.sh" "$2" 'apt-get -qq update && rm -rf /debs /in_root.sh && mkdir /debs'
cp "$1"/*.deb "$2/debs/"
cp "$here/../tests/data/digits/model.onnx" "$here/../tests/data/digits/calib.npz" "$2/debs/"
cp "$here/test_deb_in_root.sh" "$2/in_root.sh"
"$here/chroot.sh" "$2" 'sh /in_root.sh' >"$1/in_root.log" 2>&1 || { tail -n 40 "$1/in_root.log"; echo "$passed passed, 1 failed"; exit 1; }
grep '^ok ' "$1/in_root.log"
echo "$((passed + $(grep -c '^ok ' "$1/in_root.log"))) passed, 0 failed"
