#!/bin/sh
# Does what the README tells a newcomer to do, where nothing is installed: in a fresh Debian 12.
#
#     tests/cleanroom.sh DIR [COMMAND]      (root, with debootstrap and unshare)
#
# DIR is the Debian's root (docker/chroot.sh). The commit that is checked out is cloned into DIR/root/seqmsed, and COMMAND, by default
# `make demo && make test`, runs there.
set -eu

[ $# -ge 1 ] || { echo "usage: tests/cleanroom.sh DIR [COMMAND]" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
command=${2:-make demo && make test}

"$here/docker/chroot.sh" "$1" 'apt-get -qq update && apt-get -qq -y install --no-install-recommends git make >/dev/null && rm -rf /root/seqmsed'
git clone -q "$here" "$1/root/seqmsed"
exec "$here/docker/chroot.sh" "$1" "cd /root/seqmsed
$command"
