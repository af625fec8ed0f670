#!/usr/bin/env python3
"""Makes the array files beside this script; tests/unit/test_npz.c knows what is in them. Needs numpy (python3-numpy)."""
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
COUNT = np.arange(24).reshape(4, 3, 2)
TYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64")


def arrays():
    yield "bool", COUNT % 3 == 0
    for name in TYPES:
        yield name, COUNT.astype(name)
    yield "fortran", np.asfortranarray(COUNT.astype("float32"))
    yield "rank0", np.array(2.5, dtype="float32")
    yield "rank1", np.arange(5, dtype="int16")
    yield "empty", np.zeros((0, 3), dtype="float32")
    yield "empty_inside", np.zeros((3, 0), dtype="float32")
    yield "text", np.array(["cat", "dog"])
    yield "record", np.zeros(2, dtype=[("a", "<f4"), ("b c", "<i2", (2, 2))])
    yield "big_endian", COUNT.astype(">f4")
    yield "object", np.array([{"a": 1}, None], dtype=object)


def main():
    np.savez(HERE / "stored.npz", **dict(arrays()))
    np.savez_compressed(HERE / "deflated.npz", **dict(arrays()))
    for version in (1, 2, 3):
        with open(HERE / f"version{version}.npy", "wb") as f:
            np.lib.format.write_array(f, COUNT.astype("float32"), version=(version, 0))
    np.save(HERE / "fortran.npy", np.asfortranarray(COUNT.astype("float64")))
    np.save(HERE / "rank0.npy", np.array(7, dtype="int64"))
    np.save(HERE / "empty.npy", np.zeros((0,), dtype="float32"))


main()
