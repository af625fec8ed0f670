"""Models with random damage, end to end: each is refused with a reason or searched, and the daemon is none the worse."""
import os
import random

import pytest

from daemon import SANITIZER, SLOW, ZOO

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


@pytest.mark.seconds(600)
def test_mutated_models(start):
    print(f"SEQMSED_SEED={SEED}")
    dice = random.Random(SEED)
    daemon = start("--workers", "2", "--max-job-memory-bytes", "512M", "--max-job-seconds", "20")
    pid, seen = daemon.pid, {}
    sources = [(f.read_bytes(), f.with_suffix(".npz")) for f in sorted(ZOO.glob("*.onnx")) if f.with_suffix(".npz").exists() and f.stat().st_size < 200000]
    calibrations, jobs = {}, []
    for _ in range(MUTANTS):
        data, calib = dice.choice(sources)
        r = daemon.request("PUT", "/v1/models", damage(dice, data))
        assert r.status in (200, 201, 422), r
        if r.status == 422:
            assert r.code in FAILURES, r
            seen[r.code] = seen.get(r.code, 0) + 1
            continue
        if calib not in calibrations:
            calibrations[calib] = daemon.calibration(calib)
        r = daemon.submit(model=r.json()["id"], calibration=calibrations[calib], params={"num_candidates": 2, "num_batches": 1})
        assert r.status in (202, 409, 422), r
        if r.status == 202:
            jobs.append(r.json()["id"])
        else:
            seen[f"submit {r.code}"] = seen.get(f"submit {r.code}", 0) + 1
    for job in jobs:
        j = daemon.wait(job, 300)
        what = j["error"]["code"] if j["error"] else j["status"]
        assert what == "succeeded" or what in FAILURES, j
        assert j["usage"]["peak_rss_bytes"] < (2000 if SLOW > 1 else 900) * MiB, j
        seen[what] = seen.get(what, 0) + 1
    print(seen)
    assert sum(seen.values()) == MUTANTS and daemon.pid == pid and daemon.process.poll() is None
    assert seen.get("succeeded", 0) > MUTANTS // 20  # the damage is not so wild that nothing gets past the first look
