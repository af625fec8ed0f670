"""Reads and writes that move one byte or half of what was asked for, and signals that interrupt them: the daemon's, its engines' and the
commands'. Kernels may do that at any time, so nobody may notice: no request fails, and every byte is the same as without.

Single calls are drawn by chance; SEQMSED_SEED repeats a run, SEQMSED_FAULTS asks for more of them (`make soak`).
"""
import os
import random
import shutil
import subprocess

import numpy
import pytest

from daemon import CALIB, MODEL, PATIENCE, SANITIZER, SEQMSED, TOP, Daemon
from test_tus import create, patch, result

FAULTS = int(os.environ.get("SEQMSED_FAULTS", 12))
SEED = int(os.environ.get("SEQMSED_SEED", random.SystemRandom().randrange(1 << 32)))
CALLS = ("write", "pwrite", "read", "pread", "send", "recv")  # as short_io.c numbers them
HOW = ("half", "one byte", "interrupted")
LITTLE_MEMORY = 1  # of activations; the rest goes to a file

pytestmark = pytest.mark.skipif(SANITIZER == "tsan" or not shutil.which("gcc"), reason="needs a compiler, and calls that can be wrapped")


class Cuts:
    """What short_io.c is told while a process runs: for each kind of call five numbers in a file."""
    COUNT, AT, EVERY, HOW, CUT = range(5)

    def __init__(self, path):
        path.write_bytes(bytes(8 * 5 * len(CALLS)))
        self.path, self.numbers = path, numpy.memmap(path, "int64", "r+", shape=(len(CALLS), 5))

    def all(self, how, every):
        self.numbers[:, self.HOW], self.numbers[:, self.EVERY] = HOW.index(how), every

    def one(self, call, how, at):
        self.numbers[CALLS.index(call), [self.HOW, self.AT]] = HOW.index(how), at

    def counts(self):
        return {call: int(n) for call, n in zip(CALLS, self.numbers[:, self.COUNT])}

    def cut(self):
        return {call: int(n) for call, n in zip(CALLS, self.numbers[:, self.CUT]) if n}


class Places:
    """Cuts of a daemon (and of commands) and of the engines it starts."""

    def __init__(self, library, folder):
        self.daemon, self.engines = Cuts(folder / "cuts"), Cuts(folder / "engine_cuts")
        self.env = {"LD_PRELOAD": library, "SHORT_IO": str(self.daemon.path), "SHORT_IO_ENGINE": str(self.engines.path)}
        if SANITIZER == "asan":
            # Loaded first, its leak checker no longer finds what ONNX Runtime keeps to the end; the other tests look for leaks.
            self.env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0:detect_leaks=0"


@pytest.fixture(name="places", scope="module")
def fixture_places(tmp_path_factory):
    """places(folder): for processes that run there."""
    library = str(tmp_path_factory.mktemp("short_io") / "short_io.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, str(TOP / "tests/http/short_io.c"), "-ldl"], check=True)
    if SANITIZER == "asan":
        runtime = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, check=True, text=True).stdout.strip()
        library += ":" + os.path.realpath(runtime)
    return lambda folder: Places(library, folder)


def command(env, *argv):
    done = subprocess.run([SEQMSED, *map(str, argv)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120 * PATIENCE, check=False,
                          env=os.environ | env)
    assert done.returncode == 0, (argv, done.stderr)


def content(folder):
    """Of every file but the reports, which say how long it took."""
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir()) if not f.name.startswith("report")}


# ---- seqmsed quantize ----

def quantized(folder, env):
    command(env, "quantize", MODEL, CALIB, "-o", folder, "--quiet", "--num-candidates=5", f"--max-memory-bytes={LITTLE_MEMORY}")
    return content(folder)


@pytest.mark.seconds(120)
def test_quantize(tmp_path, places):
    expected = quantized(tmp_path / "expected", {})
    assert len(expected) > 3
    for how, every in (("half", 1), ("half", 3), ("one byte", 2), ("interrupted", 2), ("interrupted", 5)):
        p = places(tmp_path)
        p.daemon.all(how, every)
        assert quantized(tmp_path / "out", p.env) == expected, (how, every)
        assert set(p.daemon.cut()) >= {"write", "pwrite", "read", "pread"}, p.daemon.cut()


# ---- the daemon ----

def session(daemon, folder, env):
    """Uploads of both kinds, a job, everything that can be fetched of it, a backup. What is to be the same in every run."""
    model = daemon.model()
    body, url = CALIB.read_bytes(), create(daemon, CALIB.stat().st_size, kind="calibrations", model=model)
    for at in range(0, len(body), len(body) // 3):
        assert patch(daemon, url, at, body[at:at + len(body) // 3]).status == 204
    calibration = result(daemon, url)["id"]
    job = daemon.job(model, calibration, num_candidates=5, max_memory_bytes=LITTLE_MEMORY)
    daemon.succeed(job)
    seen = {"model": daemon.get(f"/v1/models/{model}/content").body, "calibration": daemon.get(f"/v1/calibrations/{calibration}/content").body}
    assert seen == {"model": MODEL.read_bytes(), "calibration": body}
    seen |= {version: daemon.encodings(job, version) for version in ("0.6.1", "1.0.0", "2.1.0")}
    command(env, "submit", MODEL, CALIB, "--num-candidates=5", "--all", "--server", daemon.url, "-o", folder / "fetched", "--quiet")
    seen |= content(folder / "fetched")
    command(env, "backup", folder / "backup.tar", "--state-dir", daemon.state)
    return seen


def check(folder, seen):
    """Whoever starts over the state, or its backup, finds what the session found."""
    (folder / "restored/state").mkdir(parents=True)
    subprocess.run(["tar", "xf", str(folder / "backup.tar"), "-C", str(folder / "restored/state")], check=True)
    for daemon in Daemon(folder), Daemon(folder / "restored"):
        daemon.start()
        jobs = [j["id"] for j in daemon.json("/v1/jobs")["data"]]
        assert len(jobs) == 2 and all(daemon.encodings(job) == seen["1.0.0"] for job in jobs)
        daemon.close()
        assert daemon.check_consistent() == 0


def run(folder, p):
    folder.mkdir(exist_ok=True)
    daemon = Daemon(folder, "--http-threads", "1", "--request-threads", "1")
    daemon.env = p.env
    daemon.start()
    try:
        seen = session(daemon, folder, p.env)
    finally:
        daemon.close()
    check(folder, seen)
    return seen


@pytest.fixture(name="undisturbed", scope="module")
def fixture_undisturbed(tmp_path_factory, places, reference):
    """(what a session gives, how many calls of each kind the daemon and its engines made)"""
    folder = tmp_path_factory.mktemp("undisturbed")
    p = places(folder)
    seen = run(folder, p)
    assert seen["1.0.0"] == reference(num_candidates=5)
    assert all(p.daemon.counts().values()) and all(p.engines.counts()[c] for c in ("write", "pwrite", "read", "pread"))
    return seen, {"daemon": p.daemon.counts(), "engines": p.engines.counts()}


@pytest.mark.seconds(180)
@pytest.mark.parametrize("how, every", [("half", 1), ("half", 3), ("one byte", 2), ("interrupted", 2), ("interrupted", 5)])
def test_again_and_again(tmp_path, places, undisturbed, how, every):
    p = places(tmp_path)
    p.daemon.all(how, every)
    p.engines.all(how, every)
    assert run(tmp_path, p) == undisturbed[0]
    print(f"daemon and commands: {p.daemon.cut()}; engines: {p.engines.cut()}")
    assert set(p.daemon.cut()) == set(CALLS) and set(p.engines.cut()) >= {"write", "pwrite", "read", "pread"}


@pytest.mark.seconds(180 if FAULTS <= 100 else 36000)
def test_once(tmp_path, places, undisturbed):
    print(f"SEQMSED_SEED={SEED}")
    dice, (expected, counts) = random.Random(SEED), undisturbed
    for i in range(FAULTS):
        who = dice.choice(list(counts))
        call, how = dice.choice([c for c in CALLS if counts[who][c]]), dice.choice(HOW)
        at = dice.randint(1, counts[who][call])
        folder = tmp_path / str(i)
        folder.mkdir()
        p = places(folder)
        (p.daemon if who == "daemon" else p.engines).one(call, how, at)
        print(f"{who}: {call} {at} {how}")
        assert run(folder, p) == expected, (who, call, at, how)
        shutil.rmtree(folder)
