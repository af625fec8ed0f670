#!/usr/bin/env python3
"""Makes repr.txt: the bits of a double and Python's repr of it, a pair a line. tests/unit/test_json.c reads it."""
import pathlib
import random
import struct

HERE = pathlib.Path(__file__).resolve().parent


def bits(v):
    return struct.unpack("<Q", struct.pack("<d", v))[0]


def doubles():
    yield from (0.0, -0.0, 1.0, -8.0, 0.1, 0.3, 1 / 3, 2 / 3, 100.0, 123456.789, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308)
    yield from (9999999999999998.0, 1e16, 1.2e16, 123456789012345680.0, 0.0001, 0.00012, 0.00001, 1e22, 1e23, 9007199254740993.0)
    yield from (2.0 ** e for e in range(-1074, 1024, 7))
    yield from (2.0 ** e for e in (-44, -1022, -1023, 53, 54, 63, 64))
    rng = random.Random(1)
    for _ in range(300):
        yield struct.unpack("<d", struct.pack("<Q", rng.getrandbits(63) % bits(float("inf"))))[0]
    for _ in range(300):
        yield round(rng.uniform(-1, 1) * 10 ** rng.randint(-6, 17), rng.randint(0, 12))
    for _ in range(200):  # scales of grids: single precision divided by a small integer
        yield struct.unpack("<f", struct.pack("<f", rng.random()))[0] / rng.choice((7, 8, 127, 128, 255))
    for _ in range(50):  # subnormal
        yield struct.unpack("<d", struct.pack("<Q", rng.getrandbits(rng.randint(1, 52))))[0]


def main():
    lines = [f"{bits(v):016x} {v!r}\n" for v in doubles()]
    (HERE / "repr.txt").write_text("".join(lines))


main()
