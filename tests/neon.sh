#!/bin/sh
# The code on another processor, aarch64, without having one: every file is compiled for it, and the SIMD kernels run against their plain twins in an emulator.
#
#     tests/neon.sh BUILD [compiler's options]            (`make neon-check`, which makes what is generated; `make deps-dev` brings compiler and emulator)
set -eu
BUILD=$1
shift
CC=aarch64-linux-gnu-gcc
OUT=$BUILD/neon
mkdir -p "$OUT"

# Libraries' headers are those of this machine, behind the other's own.
set -- "$@" -idirafter /usr/include -idirafter "/usr/include/$(gcc -print-multiarch)"

echo "neon: compiling everything"
ls core/*/*.c server/*.c server/*/*.c api/*.c | xargs -P "$(nproc)" -n 8 $CC "$@" -Werror -fsyntax-only

echo "neon: compiling the kernels and their test"
$CC "$@" -O3 -static -Wl,--gc-sections -ffunction-sections -o "$OUT/test_twins" tests/unit/test_twins.c core/kernels/gram_small.c core/kernels/lags_single.c \
	core/kernels/lags_many.c core/kernels/lags.c core/kernels/outer.c \
	core/kernels/shifts.c core/kernels/weigh.c core/base/numbers.c core/base/tiles.c core/base/err.c core/base/extremes.c core/grid/quant.c -lm

# A twin that was compiled like the kernel would agree with it whatever it did: four floats at a time in the one, none in the other.
disassemble() { aarch64-linux-gnu-objdump -d --no-show-raw-insn --disassemble="$1" "$OUT/test_twins"; }
for f in gram_small lags_dots lags_column outer_neon lags_fold shifts_split extremes quant_fake; do
	disassemble "$f" | grep -q '\.4s' || { echo "neon: $f does not use NEON"; exit 1; }
	! disassemble "${f%_neon}_plain" | grep -q '\.4s' || { echo "neon: ${f}_plain uses NEON"; exit 1; }
done
for f in weigh_products weigh_squares lags_classes; do
	disassemble "$f" | grep -q '\.2d' || { echo "neon: $f does not use NEON"; exit 1; }
	! disassemble "${f}_plain" | grep -q '\.2d' || { echo "neon: ${f}_plain uses NEON"; exit 1; }
done
qemu-aarch64 "$OUT/test_twins"
