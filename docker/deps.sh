#!/bin/sh
# Everything that seqmsed is built from and tested with, on Debian 12:
#
#     docker/deps.sh [--dev] DIR
#
# 1. Debian packages, through apt, if any is missing (root). --dev adds the tools of `make format`, `lint` and `fuzz`.
# 2. DIR/onnxruntime/include: ONNX Runtime's C headers. Debian 12 has no package of them, the next release has: it is
#    downloaded by its package name and unpacked, not installed. The system's apt state is left alone.
# 3. DIR/python: ONNX Runtime's Python wheel and numpy, for the demo and the benchmark, and
#    DIR/onnxruntime/lib: the library inside that wheel.
#
# A second run finds all of it in place and needs neither root nor network.
set -eu

ORT_VERSION=1.32.0
HEADERS=libonnxruntime-dev # Debian package
NEXT=trixie                # the first Debian release that has it

PACKAGES="gcc libc6-dev make pkg-config ca-certificates curl git
	protobuf-c-compiler libprotobuf-c-dev libonnx-dev libzip-dev libjansson-dev libopenblas-dev libssl-dev
	libuv1-dev libmicrohttpd-dev libsqlite3-dev libcmocka-dev
	python3 python3-pip python3-pytest python3-numpy strace"
DEV_PACKAGES="clang libclang-rt-14-dev clang-format clang-tidy cppcheck"

if [ "${1:-}" = --dev ]; then
	PACKAGES="$PACKAGES $DEV_PACKAGES"
	shift
fi
[ $# -eq 1 ] || { echo "usage: docker/deps.sh [--dev] DIR" >&2; exit 2; }
mkdir -p "$1"
DIR=$(cd "$1" && pwd)

say() { printf 'deps: %s\n' "$*"; }

missing_packages() {
	for p in $PACKAGES; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || printf '%s ' "$p"
	done
}

install_packages() {
	missing=$(missing_packages)
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		say "these packages are missing; run \`make deps\` as root, or install them: $missing" >&2
		exit 1
	fi
	say "installing $missing"
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q -o Acquire::Retries=3 update
	# shellcheck disable=SC2086 # a list of words
	apt-get -q -y -o Acquire::Retries=3 install --no-install-recommends $missing
}

# Writes the system's own main archive, with the suite's name replaced, as apt sources into folder $1.
derive_sources() {
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	next=$suite
	[ "$suite" = bookworm ] && next=$NEXT
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -f "$f" ] && sed -nE "s/^deb( +\[[^]]*\])? +([^ ]+) +$suite +(.* )?main( .*)?\$/deb\1 \2 $next main/p" "$f"
	done >"$1/next.list"
	# deb822: of every stanza of this suite, the fields that say where and whose key.
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -f "$f" ] && { grep -v '^#' "$f"; echo; }
	done | awk -v suite="$suite" -v next_suite="$next" '
		function flush() {
			if (uris != "" && off != "no" && (" " types " ") ~ / deb / && (" " suites " ") ~ (" " suite " ") &&
			    (" " components " ") ~ / main /)
				printf "Types: deb\nURIs:%s\nSuites: %s\nComponents: main\n%s\n", uris, next_suite, key
			uris = types = suites = components = key = off = ""; in_key = 0
		}
		/^[ \t]*$/ { flush(); next }
		/^[ \t]/ { if (in_key) key = key $0 "\n"; next }
		{ field = tolower($0); sub(/:.*/, "", field); value = $0; sub(/^[^:]*:/, "", value); in_key = 0 }
		field == "types" { types = value }
		field == "uris" { uris = value }
		field == "suites" { suites = value }
		field == "components" { components = value }
		field == "enabled" { off = tolower(value); gsub(/[ \t]/, "", off) }
		field == "signed-by" { key = "Signed-By:" value "\n"; in_key = 1 }
		END { flush() }' >"$1/next.sources"
}

fetch_headers() {
	[ -f "$DIR/onnxruntime/include/onnxruntime_c_api.h" ] && return 0
	say "fetching $HEADERS, without installing it"
	work=$DIR/apt
	rm -rf "$work"
	mkdir -p "$work/sources" "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
	derive_sources "$work/sources"
	set -- -q -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" -o Dir::State::Lists="$work/lists" \
		-o Dir::Cache="$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 \
		-o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
	apt-get "$@" update
	(cd "$work" && apt-get "$@" download "$HEADERS")
	dpkg-deb -x "$work/$HEADERS"_*.deb "$work/root"
	header=$(find "$work/root" -name onnxruntime_c_api.h)
	mkdir -p "$DIR/onnxruntime"
	rm -rf "$DIR/onnxruntime/include"
	cp -r "$(dirname "$header")" "$DIR/onnxruntime/include"
	rm -rf "$work"
}

fetch_library() {
	[ "$(cat "$DIR/onnxruntime/version" 2>/dev/null)" = "$ORT_VERSION" ] && return 0
	say "fetching the onnxruntime $ORT_VERSION wheel"
	rm -rf "$DIR/python" "$DIR/onnxruntime/lib"
	/usr/bin/python3 -m pip --disable-pip-version-check --no-input install --quiet --no-compile --only-binary=:all: \
		--root-user-action=ignore --target "$DIR/python" "onnxruntime==$ORT_VERSION" 'numpy>=2,<3'
	mkdir -p "$DIR/onnxruntime/lib"
	cp "$DIR/python/onnxruntime/capi/libonnxruntime.so.$ORT_VERSION" "$DIR/onnxruntime/lib/"
	ln -sf "libonnxruntime.so.$ORT_VERSION" "$DIR/onnxruntime/lib/libonnxruntime.so.1"
	echo "$ORT_VERSION" >"$DIR/onnxruntime/version"
}

install_packages
fetch_headers
fetch_library
say "ready: Debian packages, ONNX Runtime $ORT_VERSION in $DIR/onnxruntime"
