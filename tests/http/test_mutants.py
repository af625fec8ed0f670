"""Models and archives with random damage, end to end: each is refused with a reason or searched, and the daemon is none the worse."""
import collections
import io
import os
import random
import zipfile

import pytest

from daemon import COUNTED, SANITIZER, SLOW, ZOO, Daemon, can_trace
from test_sandbox import REACHES, behind_walls, end_traced

pytestmark = pytest.mark.skipif(SANITIZER is not None, reason="a sanitizer's words end up between the daemon's log lines")

MUTANTS = int(os.environ.get("SEQMSED_MUTANTS", 500 // SLOW))
SEED = int(os.environ.get("SEQMSED_SEED", random.SystemRandom().randrange(1 << 32)))
MiB = 1 << 20
FAILURES = {"not-an-onnx", "unsupported-graph", "calibration-mismatch", "non-finite-activation", "out-of-memory-budget", "ort-error", "bad-param",
            "deadline-exceeded", "worker-crashed"}


def damage(dice, data):
    """A few bytes are turned over, cut out, doubled, or taken from another place; lengths are hit as often as weights."""
    data = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(min(len(data), 4000)) if dice.random() < 0.7 else dice.randrange(len(data))
        n = dice.randint(1, 8)
        how = dice.randrange(6)
        if how == 0:
            data[at] ^= 1 << dice.randrange(8)
        elif how == 1:
            data[at] = dice.choice((0, 1, 0x7f, 0x80, 0xff))
        elif how == 2:
            del data[at:at + n]
        elif how == 3:
            data[at:at] = data[at:at + n]
        elif how == 4:
            data[at:at] = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
        else:
            other = dice.randrange(len(data))
            data[at:at + n] = data[other:other + n]
        if not data:
            return b"\0"
    return bytes(data)


SOURCES = [(f, f.with_suffix(".npz")) for f in sorted(ZOO.glob("*.onnx")) if f.with_suffix(".npz").exists() and f.stat().st_size < 200000]
FLAGS = "--workers", "2", "--max-job-memory-bytes", "512M", "--max-job-seconds", "20"


def damage_archive(dice, path):
    """The archive itself, or an array in it that then has its right checksum."""
    if dice.random() < 0.3:
        return damage(dice, path.read_bytes())
    out = io.BytesIO()
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(out, "w", dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as z:
        hit = dice.choice(whole.namelist())
        for name in whole.namelist():
            z.writestr(name, damage(dice, whole.read(name)) if name == hit else whole.read(name))
    return out.getvalue()


class Feeder:
    """Uploads, and submits what is taken; seen counts what became of each."""

    def __init__(self, daemon):
        self.daemon, self.known, self.jobs, self.seen = daemon, {}, [], collections.Counter()

    def upload(self, kind, body):
        """The id, or None: it was refused with a reason."""
        r = self.daemon.request("PUT", f"/v1/{kind}", body)
        assert r.status in (200, 201, 422), r
        if r.status != 422:
            return r.json()["id"]
        assert r.code in FAILURES, r
        self.seen[r.code] += 1
        return None

    def whole(self, kind, path):
        """An undamaged one."""
        if path not in self.known:
            self.known[path] = self.upload(kind, path)
        return self.known[path]

    def submit(self, model, calibration):
        if model and calibration:
            r = self.daemon.submit(model=model, calibration=calibration, params={"num_candidates": 2, "num_batches": 1})
            assert r.status in (202, 409, 422), r
            if r.status == 202:
                self.jobs.append(r.json()["id"])
            else:
                self.seen[f"submit {r.code}"] += 1

    def wait(self):
        for job in self.jobs:
            j = self.daemon.wait(job, 300)
            what = j["error"]["code"] if j["error"] else j["status"]
            assert what == "succeeded" or what in FAILURES, j
            assert j["usage"]["peak_rss_bytes"] < (2000 if SLOW > 1 else 900) * MiB, j
            self.seen[what] += 1
        print(dict(self.seen))


@pytest.mark.seconds(600 if MUTANTS <= 500 else 36000)
@pytest.mark.parametrize("kind, n", [("models", MUTANTS), ("calibrations", MUTANTS // 5)])
def test_mutants(start, kind, n):
    print(f"SEQMSED_SEED={SEED}")
    dice, daemon = random.Random(SEED), start(*FLAGS)
    feeder, pid = Feeder(daemon), daemon.pid
    for _ in range(n):
        model, calib = dice.choice(SOURCES)
        if kind == "models":
            one = feeder.upload("models", damage(dice, model.read_bytes()))
            feeder.submit(one, one and feeder.whole("calibrations", calib))
        else:
            feeder.submit(feeder.whole("models", model), feeder.upload("calibrations", damage_archive(dice, calib)))
    feeder.wait()
    assert sum(feeder.seen.values()) == n and daemon.pid == pid and daemon.process.poll() is None
    assert feeder.seen["succeeded"] > n // 20  # the damage is not so wild that nothing gets past the first look


@pytest.mark.seconds(600 if MUTANTS <= 500 else 36000)
@pytest.mark.skipif(COUNTED or not can_trace(), reason="needs strace, and engines that write nothing as they end")
def test_what_mutants_reach_for(tmp_path):
    """Whatever a damaged model makes its engine do, strace sees it open, connect to or start nothing behind its walls."""
    print(f"SEQMSED_SEED={SEED}")
    dice, n = random.Random(SEED), MUTANTS // 20
    daemon, trace = Daemon(tmp_path, *FLAGS), tmp_path / "trace"
    daemon.prefix = ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={REACHES},seccomp,clone,clone3"]
    daemon.start()
    try:
        feeder = Feeder(daemon)
        for _ in range(n):
            model, calib = dice.choice(SOURCES)
            one = feeder.upload("models", damage(dice, model.read_bytes()))
            feeder.submit(one, one and feeder.whole("calibrations", calib))
        feeder.wait()
    finally:
        end_traced(daemon)
    assert behind_walls(trace) >= n // 2
