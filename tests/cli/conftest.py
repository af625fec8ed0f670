"""What the tests of the command line share: `run` starts the program, `work` is a folder with a sound model and its data."""
import os
import pathlib
import subprocess
import types

import numpy
import pytest

import onnx_bytes

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
SEQMSED = os.environ.get("SEQMSED", str(TOP / "build/seqmsed"))


@pytest.fixture
def run():
    """run("quantize", …) returns the finished process, with text in stdout and stderr. No test may crash the program."""
    def start(*argv, **options):
        done = subprocess.run([SEQMSED, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, timeout=300, **options)
        done.stdout, done.stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert done.returncode in (0, 1, 2), f"exit status {done.returncode}\n{done.stderr}"
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        return done
    return start


@pytest.fixture
def work(tmp_path):
    """A folder: model.onnx (two layers), calib.npz (8 samples), and out, which does not exist."""
    (tmp_path / "model.onnx").write_bytes(onnx_bytes.two_layers())
    x = numpy.random.default_rng(3).normal(size=(8, 6)).astype(numpy.float32)
    numpy.savez(tmp_path / "calib.npz", x=x)
    return types.SimpleNamespace(dir=tmp_path, model=tmp_path / "model.onnx", calib=tmp_path / "calib.npz", out=tmp_path / "out", x=x)


@pytest.fixture
def quantize(run, work):
    def start(*flags, **options):
        return run("quantize", work.model, work.calib, "-o", work.out, *flags, **options)
    return start


@pytest.fixture
def refused(quantize, work):
    """refused(code, text, …) expects that quantize fails with that code, in one line that has all the texts, and leaves nothing."""
    def check(code, *texts, flags=()):
        before = sorted(work.dir.rglob("*"))
        done = quantize(*flags)
        assert done.returncode == 1, f"exit status {done.returncode}: {done.stdout}{done.stderr}"
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("seqmsed: "), done.stderr
        assert lines[0].endswith(f"({code})"), done.stderr
        for text in texts:
            assert str(text) in lines[0]
        assert sorted(work.dir.rglob("*")) == before, "something was left behind"
        return lines[0]
    return check
