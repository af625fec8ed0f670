#!/bin/sh
# The part of test_deb.sh that runs in the fresh Debian, as root. /debs holds the packages, a model and its data.
set -eu

ok() { echo "ok - $1"; }
fail() {
	echo "not ok - $1"
	exit 1
}
files() { find / -xdev \( -path /proc -o -path /debs -o -path /var/cache -o -path /var/log -o -path /var/lib/apt -o -path /tmp -o -path /dev \) -prune -o -print | sort; }
as_seqmsed() { setpriv --reuid seqmsed --regid seqmsed --init-groups --reset-env "$@"; }

# What it depends on stays; only our own traces count.
apt-get -qq purge -y seqmsed libseqmse-dev 2>/dev/null || true
apt-get -qq install -y --no-install-recommends /debs/*.deb >/dev/null
apt-get -qq purge -y seqmsed libseqmse-dev >/dev/null
files >/tmp/before

apt-get -qq install -y --no-install-recommends /debs/*.deb >/dev/null
[ "$(stat -c '%U %a' /var/lib/seqmsed)" = "seqmsed 700" ] || fail "the state folder is the user's alone"
dpkg --verify seqmsed libseqmse-dev >/tmp/verify && [ ! -s /tmp/verify ] || fail "files are as packed"
ok "installs, with a user and a state folder"

case $(as_seqmsed seqmsed version) in *"ONNX Runtime 1."*) ;; *) fail "the program finds its runtime" ;; esac
as_seqmsed seqmsed quantize /debs/model.onnx /debs/calib.npz -o /tmp/plain --quiet
[ -s /tmp/plain/model.encodings ] || fail "quantize writes encodings"
ok "quantizes"

# The unit's own command, on a free port.
unit=/lib/systemd/system/seqmsed.service
command=$(sed -n 's/^ExecStart=//p' $unit | sed 's/:8080/:0/')
[ "$(sed -n 's/^User=//p' $unit)" = seqmsed ] || fail "the unit names the user"
start() {
	: >/tmp/address # or the last daemon's would be taken for this one's
	# shellcheck disable=SC2086 # a command line
	setpriv --reuid seqmsed --regid seqmsed --init-groups --reset-env $command >/tmp/address 2>/tmp/log &
	daemon=$!
	i=0
	until grep -q '^listening on ' /tmp/address; do
		i=$((i + 1))
		[ $i -lt 600 ] || fail "the daemon starts: $(cat /tmp/log)"
		sleep 0.1
	done
	SEQMSED_SERVER=$(sed -n 's/^listening on //p' /tmp/address)
	export SEQMSED_SERVER
}
stop() {
	kill "$daemon"
	wait "$daemon" || fail "the daemon ends well: $(cat /tmp/log)"
}
start
seqmsed submit /debs/model.onnx /debs/calib.npz --param-bw 4 -o /tmp/served >/tmp/submitted 2>&1 || fail "a job is submitted: $(cat /tmp/submitted /tmp/log)"
cmp /tmp/plain/model.encodings /tmp/served/*encodings* || fail "a daemon's result is the plain one"
stop
ok "serves, and finds what the plain command finds"

apt-get -qq install -y --reinstall /debs/*.deb >/dev/null
start
[ "$(seqmsed list | grep -c succeeded)" = 1 ] || fail "a reinstalled daemon knows its jobs"
stop
key=$(as_seqmsed seqmsed key add ann --scope read,submit --state-dir /var/lib/seqmsed)
case $key in sqm_*) ;; *) fail "the user makes keys: $key" ;; esac
start
if seqmsed list >/dev/null 2>&1; then fail "without its key nobody gets in"; fi
stop
ok "keeps its state when it is installed again; keys"

apt-get -qq install -y --no-install-recommends gcc libc6-dev pkg-config >/dev/null
printf '#include <core/search/seqmse.h>\nint main(void) { return seqmse_layers(0) != 0; }\n' >/tmp/one.c
# shellcheck disable=SC2046 # a list of flags
gcc -c /tmp/one.c $(pkg-config --cflags libseqmse) -o /tmp/one.o && gcc /tmp/one.o $(pkg-config --libs libseqmse) -o /tmp/one || fail "a program links with the library"
ok "a program links with the library"

apt-get -qq remove -y seqmsed libseqmse-dev >/dev/null
[ ! -e /usr/bin/seqmsed ] && [ -s /var/lib/seqmsed/seqmsed.db ] || fail "removing keeps the state: $(ls /var/lib/seqmsed)"
apt-get -qq purge -y seqmsed >/dev/null
files >/tmp/after
getent passwd seqmsed >/dev/null && fail "the user is gone"
ok "removing keeps the state, purging takes it and the user"
left=$(comm -13 /tmp/before /tmp/after | grep -E 'seqms' || true)
[ -z "$left" ] || fail "nothing is left behind: $left"
ok "nothing is left behind"
