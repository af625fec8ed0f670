#!/bin/sh
# The Dockerfile, built and run where there is no Docker: with buildah, and a Debian made by debootstrap in the place of the registry's.
#
#     docker/test_image.sh ROOT      (root; needs buildah, debootstrap and unshare)
#
# ROOT is a folder for that Debian (docker/chroot.sh). What the image holds is then started as a container would be: its user, its settings, the root
# read-only, no capabilities. The last line is `N passed, 0 failed`.
set -eu

[ $# -eq 1 ] || { echo "usage: docker/test_image.sh ROOT" >&2; exit 2; }
command -v buildah >/dev/null || { echo "buildah is missing: apt-get install buildah" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
buildah() { command buildah --root "$work/graph" --runroot "$work/run" --storage-driver vfs "$@"; }
trap 'buildah umount --all >/dev/null 2>&1 || true; rm -rf "$work"' EXIT INT TERM
passed=0
ok() {
	passed=$((passed + 1))
	echo "ok $passed - $1"
}

# The base, with what this machine needs to reach the network (chroot.sh put certificates there, if any).
"$here/chroot.sh" "$1" true
[ ! -f "$1/etc/lent-certificates.crt" ] || printf '[global]\ncert = /etc/lent-certificates.crt\n' >"$1/etc/pip.conf"
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$work/policy.json"
base=$(buildah from scratch)
tar -C "$1" --exclude='./proc/*' --exclude='./dev/*' --exclude='./root/*' --exclude='./debs' -cf "$work/base.tar" .
buildah add --quiet "$base" "$work/base.tar" / >/dev/null
buildah commit --quiet --rm --signature-policy "$work/policy.json" "$base" docker.io/library/debian:bookworm-slim >/dev/null
rm "$work/base.tar"

git clone -q "$here/.." "$work/checkout"
(cd "$work/checkout" && buildah bud --isolation chroot --signature-policy "$work/policy.json" --pull-never --format docker \
	--ignorefile docker/Dockerfile.dockerignore -f docker/Dockerfile -t seqmsed .) >"$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }
ok "the image is built"

image=$(buildah from --pull-never seqmsed)
config() { buildah inspect --format "$1" "$image"; }
[ "$(config '{{.Docker.Config.User}}')" = 850:850 ] || { echo "not ok - it runs as nobody special"; exit 1; }
config '{{range .Docker.Config.Env}}{{println .}}{{end}}' | grep = | sed 's/^/export /' >"$work/env"
config '{{range .Docker.Config.Healthcheck.Test}}{{print . " "}}{{end}}' | sed 's/^CMD //' >"$work/health"
root=$(buildah mount "$image")
cp "$here/../tests/data/digits/model.onnx" "$here/../tests/data/digits/calib.npz" "$work/"
mkdir "$work/state"
chown 850:850 "$work/state" # as a named volume takes over the image's owner
[ "$(stat -c '%u %g %a' "$root/var/lib/seqmsed")" = "850 850 700" ] || { echo "not ok - the volume is the user's alone"; exit 1; }

# A port of this machine: 8080 may be taken, and a container would have a network of its own.
sed -i 's/0\.0\.0\.0:8080/127.0.0.1:0/' "$work/env"
cat >"$work/inside" <<'E2'
set -eu
. /tmp/env
if touch /anywhere 2>/dev/null; then echo "not ok - the root is read-only"; exit 1; fi
key=$(seqmsed key add ann --scope read,submit)
seqmsed serve >/tmp/address 2>/tmp/log &
daemon=$!
until grep -q '^listening on ' /tmp/address; do kill -0 $daemon; sleep 0.1; done
SEQMSED_SERVER=$(sed -n 's/^listening on //p' /tmp/address)
export SEQMSED_SERVER
$(sed "s|http://127.0.0.1:8080|$SEQMSED_SERVER|" /tmp/health)
code=$(curl -s -o /dev/null -w '%{http_code}' "$SEQMSED_SERVER/v1/jobs")
[ "$code" = 401 ] || { echo "not ok - without the key: $code"; exit 1; }
curl -fsS -H "Authorization: Bearer $key" -T /tmp/model.onnx "$SEQMSED_SERVER/v1/models" | grep -q '"id": "mdl_'
SEQMSED_KEY=$key seqmsed submit /tmp/model.onnx /tmp/calib.npz -o /tmp/out
[ -s /tmp/out/model.encodings ]
kill $daemon
wait $daemon
E2
# shellcheck disable=SC2016 # expanded by the inner shell
unshare --mount --pid --fork --kill-child sh -euc '
	root=$1 work=$2
	mount --bind "$root" "$root"
	mount -t proc proc "$root/proc"
	for d in null urandom random; do touch "$root/dev/$d" && mount --bind /dev/$d "$root/dev/$d"; done
	mount --bind "$work/state" "$root/var/lib/seqmsed"
	mount -t tmpfs tmpfs "$root/tmp"
	cp "$work/env" "$work/health" "$work/inside" "$work/model.onnx" "$work/calib.npz" "$root/tmp/"
	mount -o remount,bind,ro "$root"
	exec chroot "$root" setpriv --reuid 850 --regid 850 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs sh /tmp/inside' sh "$root" "$work" || {
	echo "$passed passed, 1 failed"
	exit 1
}
ok "as the image's user, on a read-only root, without capabilities: key, session, health, end"
echo "$passed passed, 0 failed"
