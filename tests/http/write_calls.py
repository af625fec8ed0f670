"""Every call with which a daemon changes something outside itself, by number: what write_calls.c is told while the daemon runs."""
import collections
import os
import random
import shutil
import subprocess

import numpy
import pytest

from daemon import SANITIZER, TOP

SEED = int(os.environ.get("SEQMSED_SEED", random.SystemRandom().randrange(1 << 32)))
CALLS = ("write", "send", "create", "sync", "rename", "link", "remove", "folder", "size", "times")  # as write_calls.c numbers them

needs_it = pytest.mark.skipif(SANITIZER is not None or not shutil.which("gcc"), reason="needs a compiler, and an allocator that comes first")


def library(folder):
    path = folder / "write_calls.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(path), str(TOP / "tests/http/write_calls.c"), "-ldl"], check=True)
    return path


class Orders:
    """For one daemon; at(n): it ends at its n-th call, or the call fails with an error, and those of its kind after it, too (on)."""
    COUNT, AT, ERROR, ON, HIT = range(5)

    def __init__(self, lib, path):
        path.write_bytes(bytes(4096))
        self.numbers = numpy.memmap(path, "int64", "r+", shape=(8,))
        self.calls = numpy.memmap(path, "uint8", "r+", offset=64)
        self.env = {"LD_PRELOAD": str(lib), "WRITE_CALLS": str(path)}

    def at(self, n, error=0, on=False):
        self.numbers[[self.AT, self.ERROR, self.ON]] = n, error, on

    @property
    def count(self):
        return int(self.numbers[self.COUNT])

    @property
    def hit(self):
        return int(self.numbers[self.HIT])

    def name(self, n):
        return CALLS[self.calls[n]]

    def names(self):
        """How many calls of each kind there were."""
        return dict(collections.Counter(self.name(n) for n in range(1, self.count + 1)))


def points(total, how_many):
    """So many numbers of calls drawn by chance (a seed repeats them), or, of 0, all."""
    numbers = range(1, total + 1)
    return sorted(random.Random(SEED).sample(numbers, min(how_many, total))) if how_many else numbers
