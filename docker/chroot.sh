#!/bin/sh
# A command in a fresh Debian 12, where nothing that a developer installed by hand can help:
#
#     docker/chroot.sh DIR COMMAND      (root, with debootstrap and unshare)
#
# DIR becomes the root of a minimal Debian, if it is not there yet, from the mirror that this machine uses; remove it to start over. COMMAND is
# a line of shell, run by root in it. Its processes end with it, and so do the mounts. What this machine needs to reach the network (name servers,
# certificates, pip's settings) is lent to it.
set -eu

[ $# -eq 2 ] || { echo "usage: docker/chroot.sh DIR COMMAND" >&2; exit 2; }
mkdir -p "$1"
root=$(cd "$1" && pwd)
command=$2

# The first mirror of the system's own sources, of either format.
mirror() {
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -f "$f" ] && sed -n 's/^URIs:[ \t]*\([^ \t]*\).*/\1/p' "$f"
	done
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -f "$f" ] && sed -nE 's/^deb( +\[[^]]*\])? +([^ ]+) +bookworm .*/\2/p' "$f"
	done
}

if [ ! -f "$root/etc/made" ]; then
	debootstrap --variant=minbase bookworm "$root" "$(mirror | head -n 1)"
	touch "$root/etc/made"
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

# shellcheck disable=SC2016,SC2086 # expanded by the inner shell; a list of words
exec unshare --mount --pid --fork --kill-child sh -c '
	root=$1 command=$2; shift 2
	mount -t proc proc "$root/proc"
	mkdir -p "$root/dev/pts" "$root/dev/shm"
	mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts"
	mount -t tmpfs tmpfs "$root/dev/shm"
	exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
		PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@" sh -euc "$command"' sh "$root" "$command" $lend
