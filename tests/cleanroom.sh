#!/bin/sh
# Does what the README tells a newcomer to do, where nothing is installed: in a fresh Debian 12.
#
#     tests/cleanroom.sh DIR [COMMAND]      (root, with debootstrap and unshare)
#
# DIR becomes the root of a minimal Debian (it is made if it is not there yet, from the mirror that this machine uses; remove
# it to start over). The commit that is checked out is cloned into DIR/root/seqmsed, and COMMAND, by default
# `make demo && make test`, runs there. What this machine needs to reach the network (name servers, certificates, pip's
# settings) is lent to it.
set -eu

[ $# -ge 1 ] || { echo "usage: tests/cleanroom.sh DIR [COMMAND]" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
root=$(cd "$1" && pwd)
command=${2:-make demo && make test}

# The first mirror of the system's own sources, of either format.
mirror() {
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -f "$f" ] && sed -n 's/^URIs:[ \t]*\([^ \t]*\).*/\1/p' "$f"
	done
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -f "$f" ] && sed -nE 's/^deb( +\[[^]]*\])? +([^ ]+) +bookworm .*/\2/p' "$f"
	done
}

if [ ! -f "$root/etc/debian_version" ]; then
	debootstrap --variant=minbase bookworm "$root" "$(mirror | head -n 1)"
fi

cp /etc/resolv.conf "$root/etc/resolv.conf"
for f in /etc/apt/apt.conf.d/*; do # how to reach the mirror, nothing else
	case $f in */docker-*) continue ;; esac
	if grep -q '^Acquire::' "$f" && ! grep -qvE '^(Acquire::.*|#.*|//.*|)$' "$f"; then cp "$f" "$root/etc/apt/apt.conf.d/"; fi
done
lend=
if [ -n "${PIP_CERT:-}" ]; then
	cp "$PIP_CERT" "$root/etc/lent-certificates.crt"
	lend="PIP_CERT=/etc/lent-certificates.crt SSL_CERT_FILE=/etc/lent-certificates.crt"
fi
for v in PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT http_proxy https_proxy no_proxy; do
	eval "value=\${$v:-}"
	[ -z "$value" ] || lend="$lend $v=$value"
done

rm -rf "$root/root/seqmsed"
git clone -q "$here" "$root/root/seqmsed"

# A name space of its own: the mounts vanish with the last process.
# shellcheck disable=SC2016,SC2086 # expanded by the inner shell; a list of words
exec unshare --mount --pid --fork sh -c '
	root=$1 command=$2; shift 2
	mount -t proc proc "$root/proc"
	mkdir -p "$root/dev/pts" "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
	mount -t tmpfs tmpfs "$root/dev/shm"
	exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" sh -euc "
		export DEBIAN_FRONTEND=noninteractive
		apt-get -qq update
		apt-get -qq -y install --no-install-recommends git make >/dev/null
		cd /root/seqmsed
		$command"' sh "$root" "$command" $lend
