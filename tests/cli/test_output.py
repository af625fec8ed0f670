"""Where results go, what is said meanwhile, and how it ends when it cannot go on."""
import fcntl
import json
import os
import pathlib
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import numpy
import pytest

import onnx_bytes
from conftest import SEQMSED, TOP

ZOO = TOP / "tests/data/zoo"
DIGITS = TOP / "tests/data/digits"
FILES = {"model.encodings", "model.onnx", "model_qdq.onnx", "model_qdq_prequantized.onnx", "report.json", "report.html"}


# ---- the command line ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [
    ["--no-such-flag"], ["--no-such-flag", "1"], ["-x"], ["--param-bw"], ["--param-bw", "0"], ["--param-bw", "17"], ["--param-bw", "-4"],
    ["--param-bw", ""], ["--param-bw", "4 "], ["--param-bw", "0x4"], ["--param-bw", "99999999999999999999"], ["--num-candidates", "-1"],
    ["--batch-size", "-1"], ["--batch-size", "1.5"], ["--num-batches", "x"], ["--threads", "-2"], ["--threads", "1000000"],
    ["--max-memory-bytes", "lots"], ["--max-memory-bytes", "-1"], ["--max-memory-bytes", "99999999999T"], ["--encoding-version", ""],
    ["--encoding-version", "2.2.0"], ["--json=yes", "--nonsense"], ["another-word"], ["--" + "x" * 300], ["--" + "x" * 300 + "=1"],
    ["--param-bw", "%s%n%n"]], ids=lambda f: " ".join(f)[:40])
def test_wrong_flags(work, quantize, flags):
    done = quantize(*flags)
    assert done.returncode == 2 and done.stderr.startswith("seqmsed: ") and len(done.stderr.splitlines()) == 1, done.stderr
    assert not work.out.exists()


def test_an_empty_output_name(run, work):
    done = run("quantize", work.model, work.calib, "-o", "")
    assert done.returncode in (1, 2) and done.stderr.startswith("seqmsed: ")


def test_a_dry_run_estimates_and_writes_nothing(run, work):
    env = dict(os.environ, XDG_CACHE_HOME=str(work.dir / "cache"))
    before = sorted(work.dir.rglob("*"))
    done = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "--dry-run", "--json", env=env)
    assert done.returncode == 0, done.stderr
    event = json.loads(done.stdout)
    estimate = event["estimate"]
    assert event["event"] == "estimate" and estimate["seconds"] == pytest.approx(sum(estimate["phases"].values()))
    assert 16 << 20 < estimate["peak_bytes"] < 1 << 30 and estimate["spilled_bytes"] == 0
    kept = work.dir / "cache/seqmsed/rates.json"
    assert sorted(set(work.dir.rglob("*")) - set(before)) == [work.dir / "cache", kept.parent, kept]
    rates = kept.read_bytes()
    words = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "--dry-run", "-o", work.out, env=env)
    assert words.returncode == 0 and words.stdout.startswith("about ") and "MiB of memory" in words.stdout
    assert kept.read_bytes() == rates and not work.out.exists()
    wrong = run("quantize", DIGITS / "model.onnx", work.calib, "--dry-run", env=env)
    assert wrong.returncode == 1 and "(calibration" in wrong.stderr, wrong.stderr


# ---- the output folder --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out", "a/b/c", "out/", "a//b/", "./out", "a/../out"])
def test_folders_are_made(work, run, name):
    place = f"{work.dir}/{name}"
    (work.dir / "a").mkdir() if ".." in name else None
    assert run("quantize", work.model, work.calib, "-o", place, "--quiet").returncode == 0
    assert {f.name for f in pathlib.Path(place).iterdir()} == FILES


@pytest.mark.parametrize("name", ["out", "a/b/c", "out/", "a//b/", "./out"])
def test_folders_that_were_made_are_removed(work, run, name):
    numpy.savez(work.calib, x=work.x[:, :3])
    before = sorted(work.dir.rglob("*"))
    assert run("quantize", work.model, work.calib, "-o", f"{work.dir}/{name}").returncode == 1
    assert sorted(work.dir.rglob("*")) == before


def test_folders_that_were_there_stay(work, run):
    (work.dir / "a").mkdir()
    numpy.savez(work.calib, x=work.x[:, :3])
    assert run("quantize", work.model, work.calib, "-o", work.dir / "a/b/c").returncode == 1
    assert (work.dir / "a").is_dir() and not list((work.dir / "a").iterdir())


def test_output_is_a_file(work, refused):
    work.out.write_text("precious")
    refused("io", work.out)
    assert work.out.read_text() == "precious"


def test_output_below_a_file(work, run):
    (work.dir / "file").write_text("precious")
    done = run("quantize", work.model, work.calib, "-o", work.dir / "file/out")
    assert done.returncode == 1 and str(work.dir / "file") in done.stderr
    assert (work.dir / "file").read_text() == "precious"


def test_output_name_too_long(work, run):
    done = run("quantize", work.model, work.calib, "-o", work.dir / ("x" * 300))
    assert done.returncode == 1
    done = run("quantize", work.model, work.calib, "-o", "y/" * 3000)
    assert done.returncode == 1


def test_a_folder_lies_where_a_file_goes(work, quantize):
    """All or none: the other files do not appear either."""
    (work.out / "report.json").mkdir(parents=True)
    done = quantize()
    assert done.returncode == 1 and "report.json" in done.stderr
    assert [f.name for f in work.out.rglob("*")] == ["report.json"]


def test_output_that_may_not_be_written(work, run):
    """/proc takes no files, not even from root."""
    done = run("quantize", work.model, work.calib, "-o", "/proc/seqmsed-test")
    assert done.returncode == 1 and "/proc/seqmsed-test" in done.stderr


def test_output_of_somebody_else(work, refused):
    if os.getuid() == 0:
        pytest.skip("root may write everywhere")
    work.out.mkdir(mode=0o500)
    refused("io", work.out)


@pytest.fixture(name="small_disk")
def fixture_small_disk(work):
    """A file system of 64 KiB."""
    place = work.dir / "small"
    place.mkdir()
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=False,
                                          capture_output=True).returncode:
        pytest.skip("cannot mount a small tmpfs")
    yield place
    subprocess.run(["umount", place], check=True)


def test_disk_full(small_disk, run):
    done = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", small_disk / "out")
    assert done.returncode == 1 and done.stderr.endswith("(disk-full)\n") and len(done.stderr.splitlines()) == 1, done.stderr
    assert not list(small_disk.iterdir())


def test_disk_full_keeps_earlier_results(small_disk, work, run):
    assert run("quantize", work.model, work.calib, "-o", small_disk, "--quiet").returncode == 0
    before = {f.name: f.read_bytes() for f in small_disk.iterdir()}
    assert run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", small_disk).returncode == 1
    assert {f.name: f.read_bytes() for f in small_disk.iterdir()} == before


def test_no_room_to_spill(small_disk, work, run):
    done = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", work.out, "--max-memory-bytes", 1,
               env={**os.environ, "TMPDIR": str(small_disk)})
    assert done.returncode == 1 and done.stderr.endswith("(disk-full)\n"), done.stderr
    assert not work.out.exists() and not list(small_disk.iterdir())


def test_nowhere_to_spill(work, run):
    done = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", work.out, "--max-memory-bytes", 1,
               env={**os.environ, "TMPDIR": str(work.dir / "missing")})
    assert done.returncode == 1 and str(work.dir / "missing") in done.stderr, done.stderr
    assert not work.out.exists()


def test_stdout_closed_early(work):
    """Whoever reads the events may go away; the results are written."""
    with subprocess.Popen([SEQMSED, "quantize", work.model, work.calib, "-o", work.out, "--json"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as p:
        p.stdout.close()
        p.stderr.read()
    assert p.returncode == 0 and {f.name for f in work.out.iterdir()} == FILES


# ---- what is said ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_left_in_the_temporary_folder(work, run):
    """Nor does ONNX Runtime leave something there, or at home, on its own account; ours is what was measured of the machine."""
    tmp, home = work.dir / "tmp", work.dir / "home"
    tmp.mkdir()
    home.mkdir()
    env = {**os.environ, "TMPDIR": str(tmp), "HOME": str(home)}
    env.pop("XDG_CACHE_HOME", None)
    assert run("quantize", work.model, work.calib, "-o", work.out, env=env).returncode == 0
    assert not list(tmp.iterdir())
    assert [f for f in home.rglob("*") if f.is_file()] == [home / ".cache/seqmsed/rates.json"]


def test_a_pipe_sees_no_progress(quantize):
    done = quantize()
    assert done.returncode == 0 and done.stderr == ""


def test_quiet_is_quiet(quantize):
    done = quantize("--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_terminal_sees_progress(work):
    """Layers, and how fast they go; no line is wider than the terminal, which could not draw over it. The search takes long enough to be seen."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    with subprocess.Popen([SEQMSED, "quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", work.out, "--batch-size", "1", "--threads", "1",
                           "--loss-fn", "l1", "--num-candidates", "200"], stdout=subprocess.DEVNULL, stderr=theirs) as p:
        os.close(theirs)
        seen = b""
        try:
            while chunk := os.read(ours, 4096):
                seen += chunk
        except OSError:
            pass
    os.close(ours)
    assert p.returncode == 0 and b"%" in seen and seen.rstrip().endswith(b"\x1b[K")
    lines = [line for line in seen.decode().split("\r\x1b[K") if "%" in line]
    assert all(len(line) < 50 for line in lines), lines
    assert any(re.match(r"search +\d+%  layer \d of 6", line) for line in lines), lines


def events(done):
    lines = done.stdout.splitlines()
    assert all(line.startswith("{") for line in lines)
    return [json.loads(line) for line in lines]


def test_json_events(work, run):
    done = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", work.out, "--json")
    said = events(done)
    assert done.returncode == 0 and done.stderr == ""
    assert [e["event"] for e in said][-1] == "done" and sum(e["event"] == "layer" for e in said) == 6
    fractions = [e["fraction"] for e in said if e["event"] == "progress"]
    assert fractions == sorted(fractions) and all(0 <= f <= 1 for f in fractions)


@pytest.mark.parametrize("name", ["odd_names", "duplicate_names", "dead_and_tiny"])
def test_json_survives_odd_names_and_numbers(work, run, name):
    done = run("quantize", ZOO / f"{name}.onnx", ZOO / f"{name}.npz", "-o", work.out, "--json")
    assert done.returncode == 0 and events(done)[-1] == {"event": "done"}
    for file in ("report.json", "model.encodings"):
        json.loads((work.out / file).read_text())


def test_json_error_of_a_name_that_is_no_text(work, run):
    bad = onnx_bytes.two_layers().replace(b"Relu", b"R\xff\"u")
    work.model.write_bytes(bad)
    done = run("quantize", work.model, work.calib, "-o", work.out, "--json")
    assert done.returncode == 1 and events(done)[-1]["event"] == "error"


def test_json_errors_of_every_kind_end_the_stream(work, run):
    numpy.savez(work.calib, x=work.x[:, :3])
    done = run("quantize", work.model, work.calib, "-o", work.out, "--json")
    last = events(done)[-1]
    assert done.returncode == 1 and last["event"] == "error" and last["code"] == "calibration-mismatch" and str(work.calib) in last["detail"]


# ---- interrupted -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.05, 0.3, 1.0])
def test_interrupted(work, sig, delay):
    rng = numpy.random.default_rng(1)
    numpy.savez(work.calib, image=rng.random((20000, 1, 8, 8)).astype(numpy.float32))
    with subprocess.Popen([SEQMSED, "quantize", DIGITS / "model.onnx", work.calib, "-o", work.out, "--batch-size", "4", "--threads", "1"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "TMPDIR": str(work.dir)}) as p:
        time.sleep(delay)
        p.send_signal(sig)
        sent = time.monotonic()
        said = p.stderr.read().decode()
        p.wait()
    assert time.monotonic() - sent < 100
    if p.returncode == -sig:  # before the program was ready for it
        assert delay < 1
    else:
        assert p.returncode == 1 and said == "seqmsed: canceled (canceled)\n", said
    assert sorted(f.name for f in work.dir.iterdir()) == ["calib.npz", "model.onnx"]


# ---- the same bytes ---------------------------------------------------------------------------------------------------------------

DIFFERENT_WAYS = [("--threads", 1), ("--threads", 2), ("--threads", 3), ("--threads", 7), ("--threads", 2), ("--max-memory-bytes", 1),
                  ("--max-memory-bytes", "1K", "--threads", 3), ("--batch-size", 32, "--max-memory-bytes", "20K")]


@pytest.mark.parametrize("name", ["conv2d", "conv_same_upper", "conv_wide", "half_precision", "sequences", "nested_captures", "shared_deep_first",
                                  "unequal_branches", "embedding", "matmul_dynamic"])
def test_same_bytes(work, run, name):
    """Neither threads nor spilling nor repetition changes a byte of the encodings."""
    found = set()
    for flags in DIFFERENT_WAYS:
        done = run("quantize", ZOO / f"{name}.onnx", ZOO / f"{name}.npz", "-o", work.out, "--quiet", *flags)
        assert done.returncode == 0, done.stderr
        found.add(tuple((work.out / f).read_bytes() for f in ("model.encodings", "model_qdq.onnx")))
    assert len(found) == 1


def test_same_bytes_when_spilling_for_real(work, run):
    """Every batch goes to the disk and comes back; nothing of it is left."""
    found = set()
    for budget in ("1", "30K", "1G"):
        done = run("quantize", DIGITS / "model.onnx", DIGITS / "calib.npz", "-o", work.out, "--max-memory-bytes", budget, "--quiet",
                   env={**os.environ, "TMPDIR": str(work.dir)})
        assert done.returncode == 0, done.stderr
        found.add((work.out / "model.encodings").read_bytes())
    assert len(found) == 1 and {f.name for f in work.dir.iterdir()} == {"calib.npz", "model.onnx", "out"}
